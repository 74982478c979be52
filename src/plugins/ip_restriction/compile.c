/* compile.c -- the configuration of ip-restriction as a record (ip_restriction.h).
 *
 * Lists become ranges that are sorted and do not touch, so that a request's look-up takes
 * the logarithm of their length. */
#include "plugins/ip_restriction/ip_restriction.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct range {
    unsigned char first[IP_RESTRICTION_V6_BYTES], last[IP_RESTRICTION_V6_BYTES];
} range_t;

static int nonsense(weir_str_t text, weir_error_t *err)
{
    if (err == NULL)
        return WEIR_INVALID;
    err->code = WEIR_INVALID;
    snprintf(err->field, sizeof(err->field), "config");
    snprintf(err->reason, sizeof(err->reason), "invalid ip or cidr range: '%.*s'",
             (int)(text.len < 64 ? text.len : 64), text.data);
    return WEIR_INVALID;
}

/* What is behind the slash; WEIR_INVALID: no number of bits. */
static int read_bits(const char *slash, size_t most, size_t *ret)
{
    char *end = NULL;
    *ret = most;
    if (slash == NULL)
        return WEIR_OK;
    unsigned long bits = strtoul(slash + 1, &end, 10);
    if (slash[1] < '0' || slash[1] > '9' || *end != '\0' || bits > most)
        return WEIR_INVALID;
    *ret = bits;
    return WEIR_OK;
}

/* "10.0.0.0/8" or "::1"; *ret_bytes is how long its addresses are. */
static int read_range(weir_str_t text, range_t *ret, size_t *ret_bytes)
{
    char copy[64];
    size_t bits = 0;
    if (text.data == NULL || text.len >= sizeof(copy))
        return WEIR_INVALID;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    char *slash = strchr(copy, '/');
    if (slash != NULL)
        *slash = '\0';
    *ret = (range_t){ 0 };
    *ret_bytes = IP_RESTRICTION_V4_BYTES;
    if (inet_pton(AF_INET, copy, ret->first) != 1) {
        *ret_bytes = IP_RESTRICTION_V6_BYTES;
        if (inet_pton(AF_INET6, copy, ret->first) != 1)
            return WEIR_INVALID;
    }
    if (read_bits(slash, *ret_bytes * 8, &bits) != WEIR_OK)
        return WEIR_INVALID;
    for (size_t i = 0; i < *ret_bytes; i++) {
        unsigned fixed = bits > 8 * i ? (unsigned)(bits - 8 * i) : 0;
        unsigned char mask = (unsigned char)(0xff00 >> (fixed < 8 ? fixed : 8));
        ret->first[i] &= mask;
        ret->last[i] = (unsigned char)(ret->first[i] | (unsigned char)~mask);
    }
    return WEIR_OK;
}

static int by_first(const void *a, const void *b)
{
    return memcmp(((const range_t *)a)->first, ((const range_t *)b)->first,
                  IP_RESTRICTION_V6_BYTES);
}

/* Blocks hold each other or do not touch: what is in the one before goes. */
static size_t merge(range_t *ranges, size_t count)
{
    size_t kept = 0;
    qsort(ranges, count, sizeof(*ranges), by_first);
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 &&
            memcmp(ranges[i].first, ranges[kept - 1].last, IP_RESTRICTION_V6_BYTES) <= 0) {
            if (memcmp(ranges[i].last, ranges[kept - 1].last, IP_RESTRICTION_V6_BYTES) > 0)
                memcpy(ranges[kept - 1].last, ranges[i].last, IP_RESTRICTION_V6_BYTES);
            continue;
        }
        ranges[kept++] = ranges[i];
    }
    return kept;
}

static int put_ranges(range_t *ranges, size_t count, size_t bytes, weir_record_writer_t *out)
{
    count = merge(ranges, count);
    unsigned char *text = malloc(count * 2 * bytes + 1);
    if (text == NULL)
        return WEIR_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        memcpy(text + i * 2 * bytes, ranges[i].first, bytes);
        memcpy(text + (i * 2 + 1) * bytes, ranges[i].last, bytes);
    }
    int rc = weir_record_put_str(out, (weir_str_t){ (char *)text, count * 2 * bytes });
    free(text);
    return rc;
}

/* Those of the list whose addresses are that long. */
static int put_list(const weir_json_t *list, size_t bytes, weir_record_writer_t *out,
                    weir_error_t *err)
{
    size_t count = 0;
    range_t *ranges = calloc(weir_json_count(list) + 1, sizeof(*ranges));
    int rc = ranges != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    for (const weir_json_t *item = weir_json_first(list); rc == WEIR_OK && item != NULL;
         item = weir_json_next(item)) {
        size_t its_bytes = 0;
        rc = read_range(weir_json_string(item), &ranges[count], &its_bytes);
        if (rc != WEIR_OK)
            rc = nonsense(weir_json_string(item), err);
        count += its_bytes == bytes;
    }
    if (rc == WEIR_OK)
        rc = put_ranges(ranges, count, bytes, out);
    free(ranges);
    return rc;
}

int ip_restriction_compile(const weir_json_t *config, weir_record_writer_t *out, weir_error_t *err)
{
    const weir_str_t absent = { NULL, 0 };
    const weir_json_t *deny = weir_json_get(config, "deny");
    const weir_json_t *allow = weir_json_get(config, "allow");
    weir_record_put_status(out, weir_json_get_number(config, "status", 403));
    weir_record_put_str(out, weir_json_get_string(config, "message", absent));
    int rc = put_list(deny, IP_RESTRICTION_V4_BYTES, out, err);
    if (rc == WEIR_OK)
        rc = put_list(deny, IP_RESTRICTION_V6_BYTES, out, err);
    if (rc == WEIR_OK && weir_json_count(allow) == 0) {
        weir_record_put_str(out, absent);
        return weir_record_put_str(out, absent);
    }
    if (rc == WEIR_OK)
        rc = put_list(allow, IP_RESTRICTION_V4_BYTES, out, err);
    if (rc == WEIR_OK)
        rc = put_list(allow, IP_RESTRICTION_V6_BYTES, out, err);
    return rc;
}
