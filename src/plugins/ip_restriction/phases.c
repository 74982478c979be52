/* phases.c -- ip-restriction: who comes from where may not, or alone may.
 *
 * spec: plugins 2.10. */
#include "plugins/ip_restriction/ip_restriction.h"

#include <arpa/inet.h>
#include <stdio.h>

typedef struct lists {
    weir_str_t v4, v6; /* data NULL: there are none */
} lists_t;

typedef struct config {
    uint64_t status;
    weir_str_t message; /* data NULL: one that names the address */
    lists_t deny, allow;
} config_t;

static bool read_list(weir_record_reader_t *in, size_t bytes, weir_str_t *ret)
{
    return weir_record_str(in, ret) && ret->len % (2 * bytes) == 0;
}

static bool read_lists(weir_record_reader_t *in, lists_t *ret)
{
    return read_list(in, IP_RESTRICTION_V4_BYTES, &ret->v4) &&
           read_list(in, IP_RESTRICTION_V6_BYTES, &ret->v6);
}

static bool read_config(weir_str_t record, config_t *ret)
{
    weir_record_reader_t in = weir_record_read(record);
    return weir_record_u64(&in, &ret->status) && weir_record_str(&in, &ret->message) &&
           read_lists(&in, &ret->deny) && read_lists(&in, &ret->allow);
}

/* -- addresses ------------------------------------------------------------------------- */

typedef struct address {
    unsigned char bytes[IP_RESTRICTION_V6_BYTES];
    size_t len;
} address_t;

static bool read_address(weir_str_t text, address_t *ret)
{
    char copy[INET6_ADDRSTRLEN];
    if (text.data == NULL || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    ret->len = IP_RESTRICTION_V4_BYTES;
    if (inet_pton(AF_INET, copy, ret->bytes) == 1)
        return true;
    ret->len = IP_RESTRICTION_V6_BYTES;
    return inet_pton(AF_INET6, copy, ret->bytes) == 1;
}

/* Whether one of the ranges has it. */
static bool in_ranges(weir_str_t ranges, const unsigned char *address, size_t bytes)
{
    size_t low = 0;
    size_t high = ranges.len / (2 * bytes); /* the first that begins behind it is at most there */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(ranges.data + middle * 2 * bytes, address, bytes) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 && memcmp(ranges.data + (low * 2 - 1) * bytes, address, bytes) >= 0;
}

/* An IPv4 client on a socket of IPv6 is in the lists of both. */
static bool in_lists(const lists_t *lists, const address_t *address)
{
    static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
    if (address->len == IP_RESTRICTION_V4_BYTES)
        return in_ranges(lists->v4, address->bytes, IP_RESTRICTION_V4_BYTES);
    return in_ranges(lists->v6, address->bytes, IP_RESTRICTION_V6_BYTES) ||
           (memcmp(address->bytes, mapped, sizeof(mapped)) == 0 &&
            in_ranges(lists->v4, address->bytes + sizeof(mapped), IP_RESTRICTION_V4_BYTES));
}

/* -- the phase --------------------------------------------------------------------------- */

static weir_phase_result_t refuse(weir_request_t *request, uint64_t status, weir_str_t message)
{
    return status != 0 && weir_request_fail(request, (int)status, message) == WEIR_OK
               ? WEIR_PHASE_ANSWER
               : WEIR_PHASE_ERROR;
}

static weir_phase_result_t access_phase(weir_request_t *request, weir_str_t record)
{
    config_t config;
    address_t address;
    char named[INET6_ADDRSTRLEN + 32];
    if (!read_config(record, &config))
        return WEIR_PHASE_ERROR;
    weir_str_t client = weir_request_client_address(request);
    if (weir_str_starts(client, WEIR_STR("unix:")))
        return refuse(request, 403,
                      WEIR_STR("Cannot identify the client IP address, unix domain sockets are "
                               "not supported."));
    if (!read_address(client, &address))
        return WEIR_PHASE_ERROR;
    bool allows_some = config.allow.v4.data != NULL || config.allow.v6.data != NULL;
    if (!in_lists(&config.deny, &address) && (!allows_some || in_lists(&config.allow, &address)))
        return WEIR_PHASE_NEXT;
    snprintf(named, sizeof(named), "IP address not allowed: %.*s", WEIR_STR_ARG(client));
    return refuse(request, config.status,
                  config.message.data != NULL ? config.message : weir_str(named));
}

const weir_plugin_t weir_plugin_ip_restriction = {
    .abi = WEIR_PLUGIN_ABI,
    .schema = &weir_plugin_schema_ip_restriction,
    .compile = ip_restriction_compile,
    .access = access_phase,
};
