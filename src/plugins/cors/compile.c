/* compile.c -- the configuration of cors as a record (cors.h): lists become the values of
 * headers, origins their normal forms. */
#include "plugins/cors/cors.h"

#include <stdio.h>
#include <stdlib.h>

static const weir_str_t absent = { NULL, 0 };

/* A configuration may hold any byte; one that ends a line would end the header. */
static void copy_value(char *room, weir_str_t text)
{
    for (size_t i = 0; i < text.len; i++)
        room[i] = (unsigned char)text.data[i] < ' ' || text.data[i] == 127 ? ' ' : text.data[i];
}

static int put_value(weir_str_t text, weir_record_writer_t *out)
{
    char *room = malloc(text.len + 1);
    if (room == NULL)
        return WEIR_NO_MEMORY;
    copy_value(room, text);
    int rc = weir_record_put_str(out, (weir_str_t){ room, text.len });
    free(room);
    return rc;
}

/* "a,b"; of an empty list absent. */
static int put_list(const weir_json_t *list, weir_record_writer_t *out)
{
    size_t bytes = 1;
    size_t len = 0;
    if (weir_json_count(list) == 0)
        return weir_record_put_str(out, absent);
    for (const weir_json_t *item = weir_json_first(list); item != NULL; item = weir_json_next(item))
        bytes += weir_json_string(item).len + 1;
    char *room = malloc(bytes);
    if (room == NULL)
        return WEIR_NO_MEMORY;
    for (const weir_json_t *item = weir_json_first(list); item != NULL;
         item = weir_json_next(item)) {
        if (len > 0)
            room[len++] = ',';
        copy_value(room + len, weir_json_string(item));
        len += weir_json_string(item).len;
    }
    int rc = weir_record_put_str(out, (weir_str_t){ room, len });
    free(room);
    return rc;
}

static int put_max_age(const weir_json_t *config, weir_record_writer_t *out)
{
    char text[32];
    const weir_json_t *max_age = weir_json_get(config, "max_age");
    if (weir_json_is_null(max_age))
        return weir_record_put_str(out, absent);
    snprintf(text, sizeof(text), "%.14g", weir_json_number(max_age));
    return weir_record_put_str(out, weir_str(text));
}

/* -- origins --------------------------------------------------------------------------- */

/* Nothing in it means anything in a regular expression, as far as origins are concerned. */
static bool is_plain(weir_str_t text)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     c == '.' || c == ':' || c == '/' || c == '-';
        if (!plain)
            return false;
    }
    return true;
}

/* Matching begins at the beginning anyway, and shall end at the end. */
static int put_regex(weir_str_t text, weir_record_writer_t *out)
{
    bool by_host = text.len == 0 || memchr(text.data, ':', text.len) == NULL;
    bool ends = weir_str_ends(text, WEIR_STR("$"));
    if (weir_str_starts(text, WEIR_STR("^"))) {
        text.data++;
        text.len--;
    }
    char *room = malloc(text.len + 2);
    if (room == NULL)
        return WEIR_NO_MEMORY;
    memcpy(room, text.data, text.len);
    room[text.len] = '$';
    weir_record_put_u64(out, by_host ? CORS_RULE_HOST_REGEX : CORS_RULE_WHOLE_REGEX);
    int rc = weir_record_put_str(out, (weir_str_t){ room, text.len + !ends });
    free(room);
    return rc;
}

static int put_origin(weir_str_t text, weir_record_writer_t *out)
{
    cors_origin_t origin;
    if (!is_plain(text))
        return put_regex(text, out);
    char *room = malloc(text.len + 1);
    if (room == NULL)
        return WEIR_NO_MEMORY;
    cors_origin(text, room, &origin);
    weir_record_put_u64(out, CORS_RULE_SAME);
    int rc = weir_record_put_str(out, origin.whole);
    free(room);
    return rc;
}

static int put_origins(const weir_json_t *origins, uint64_t flags, bool one,
                       weir_record_writer_t *out)
{
    if ((flags & (CORS_ALL | CORS_ANY)) != 0 || one)
        return weir_record_put_u64(out, 0);
    int rc = weir_record_put_u64(out, weir_json_count(origins));
    for (const weir_json_t *item = weir_json_first(origins); rc == WEIR_OK && item != NULL;
         item = weir_json_next(item))
        rc = put_origin(weir_json_string(item), out);
    return rc;
}

static uint64_t flags_of(const weir_json_t *config, const weir_json_t *origins)
{
    uint64_t flags = 0;
    size_t count = weir_json_count(origins);
    if (weir_json_get_boolean(config, "credentials", false))
        flags |= CORS_CREDENTIALS;
    if (weir_json_get_boolean(config, "private_network", false))
        flags |= CORS_PRIVATE_NETWORK;
    if (weir_json_get_boolean(config, "preflight_continue", false))
        flags |= CORS_PREFLIGHT_CONTINUE;
    if (!weir_json_get_boolean(config, "allow_origin_absent", true))
        flags |= CORS_ONLY_ORIGINS;
    for (const weir_json_t *item = weir_json_first(origins); item != NULL;
         item = weir_json_next(item))
        if (weir_str_is(weir_json_string(item), "*"))
            flags |= count > 1 ? CORS_ANY : CORS_ALL;
    return count == 0 ? flags | CORS_ALL : flags;
}

int cors_compile(const weir_json_t *config, weir_record_writer_t *out, weir_error_t *err)
{
    (void)err; /* the configuration is valid, and a lack of memory needs no words */
    const weir_json_t *origins = weir_json_get(config, "origins");
    const weir_json_t *methods = weir_json_get(config, "methods");
    uint64_t flags = flags_of(config, origins);
    weir_str_t first = weir_json_string(weir_json_first(origins));
    bool one = weir_json_count(origins) == 1 && is_plain(first);
    weir_record_put_u64(out, flags);
    int rc = one ? put_value(first, out) : weir_record_put_str(out, absent);
    if (rc == WEIR_OK)
        rc = put_list(weir_json_get(config, "headers"), out);
    if (rc == WEIR_OK)
        rc = put_list(weir_json_get(config, "exposed_headers"), out);
    if (rc == WEIR_OK && weir_json_count(methods) > 0)
        rc = put_list(methods, out);
    else if (rc == WEIR_OK)
        rc = weir_record_put_str(out,
                                 WEIR_STR("GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT"));
    if (rc == WEIR_OK)
        rc = put_max_age(config, out);
    return rc == WEIR_OK ? put_origins(origins, flags, one, out) : rc;
}
