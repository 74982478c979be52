/* router.c -- the entries of a route: priority, splitting, keys (routing 1.4-1.8). */
#include "image/router.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

/* -- entries as bytes ------------------------------------------------------------------- */

static void be(uint8_t *out, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        out[i] = (uint8_t)(value >> 8 * (bytes - 1 - i));
}

static uint64_t from_be(const uint8_t *in, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value = value << 8 | in[i];
    return value;
}

void router_entry_encode(const router_entry_t *entry, uint8_t out[ENTRY_BYTES])
{
    be(out, ~entry->sort_key, 8);
    for (size_t i = 0; i < WEIR_UUID_BYTES; i++)
        out[8 + i] = (uint8_t)~entry->tie.bytes[i];
    memcpy(out + 24, entry->route.bytes, WEIR_UUID_BYTES);
    be(out + 40, entry->path, 2);
    be(out + 42, entry->methods, 2);
    be(out + 44, entry->port, 2);
    out[46] = entry->flags;
}

bool router_entry_decode(MDB_val value, router_entry_t *ret)
{
    if (value.mv_size != ENTRY_BYTES)
        return false;
    const uint8_t *in = value.mv_data;
    ret->sort_key = ~from_be(in, 8);
    for (size_t i = 0; i < WEIR_UUID_BYTES; i++)
        ret->tie.bytes[i] = (uint8_t)~in[8 + i];
    memcpy(ret->route.bytes, in + 24, WEIR_UUID_BYTES);
    ret->path = (uint16_t)from_be(in + 40, 2);
    ret->methods = (uint16_t)from_be(in + 42, 2);
    ret->port = (uint16_t)from_be(in + 44, 2);
    ret->flags = in[46];
    return true;
}

uint16_t method_bit(weir_str_t method)
{
    static const char *const names[] = { "GET",   "HEAD",    "POST",  "PUT",     "DELETE",
                                         "PATCH", "OPTIONS", "TRACE", "CONNECT", "PURGE" };
    for (unsigned i = 0; i < WEIR_COUNT(names); i++)
        if (weir_str_is(method, names[i]))
            return (uint16_t)(1u << i);
    return METHOD_OTHER;
}

/* What the incumbent's language takes for a number (routing 1.2): "80", "0x50",
 * "1e2", "-1". */
static bool port_number(weir_str_t text, int *ret)
{
    char copy[32];
    char *end = copy;
    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    if (strspn(copy, "0123456789abcdefABCDEFxX.+-pP") != text.len)
        return false;
    double value = strtod(copy, &end);
    if (*end != '\0')
        return false;
    *ret = value >= 0 && value <= 65535 && value == (int)value ? (int)value : PORT_ODD;
    return true;
}

void split_host(weir_str_t host, weir_str_t *ret_name, int *ret_port)
{
    *ret_name = host;
    *ret_port = PORT_NONE;
    const char *colon = host.len > 0 ? memchr(host.data, ':', host.len) : NULL;
    if (colon == NULL)
        return;
    weir_str_t digits = { colon + 1, host.len - (size_t)(colon + 1 - host.data) };
    if (!port_number(digits, ret_port))
        return; /* "[::1]:80" and the like stay whole */
    ret_name->len = (size_t)(colon - host.data);
}

/* -- regular expressions ------------------------------------------------------------------- */

static bool is_meta(char c)
{
    return c == '\0' || strchr("\\.[](){}*+?|^$#", c) != NULL;
}

static bool has_top_alternative(weir_str_t pattern)
{
    int depth = 0;
    bool in_class = false;
    for (size_t i = 0; i < pattern.len; i++) {
        char c = pattern.data[i];
        if (c == '\\')
            i++;
        else if (in_class)
            in_class = c != ']';
        else if (c == '[')
            in_class = true;
        else if (c == '(')
            depth++;
        else if (c == ')')
            depth--;
        else if (c == '|' && depth <= 0)
            return true; /* only the first alternative is anchored */
    }
    return false;
}

weir_str_t regex_literal_prefix(weir_str_t pattern)
{
    if (has_top_alternative(pattern))
        return (weir_str_t){ pattern.data, 0 };
    size_t len = 0;
    while (len < pattern.len && !is_meta(pattern.data[len]))
        len++;
    /* A quantifier belongs to the whole character before it. */
    if (len > 0 && len < pattern.len && strchr("*+?{", pattern.data[len]) != NULL) {
        len--;
        while (len > 0 && ((unsigned char)pattern.data[len] & 0xC0) == 0x80)
            len--;
    }
    return (weir_str_t){ pattern.data, len };
}

/* -- priority (routing 1.6) ----------------------------------------------------------------- */

typedef struct priority_parts {
    unsigned weight, headers;
    bool plain_hosts, regex;
    int64_t regex_priority;
    size_t path_len;
} priority_parts_t;

static uint64_t documented_key(const priority_parts_t *p)
{
    uint64_t rp = p->regex ? (uint64_t)(uint32_t)p->regex_priority : 0;
    return (uint64_t)p->weight << 61 | (uint64_t)p->plain_hosts << 60 | (uint64_t)p->headers << 52 |
           (uint64_t)p->regex << 51 | rp << 19 | (p->path_len & 0x7FFFF);
}

static uint64_t effective_key(const priority_parts_t *p)
{
    uint64_t len = p->path_len & 0x7FFF;
    int64_t rp = p->regex ? p->regex_priority : 0;
    if (p->weight <= 3) {
        uint64_t low = (uint64_t)p->weight << 29 | (uint64_t)p->headers << 20 |
                       ((uint64_t)rp & 4095) << 19 | len;
        return (uint64_t)p->plain_hosts << 62 | (uint64_t)p->regex << 61 | low;
    }
    uint64_t shifted = (uint32_t)((int32_t)rp) ^ UINT32_C(0x80000000);
    return UINT64_C(1) << 63 | (uint64_t)(p->weight & 7) << 60 | (uint64_t)p->headers << 52 |
           shifted << 20 | len << 2 | (uint64_t)p->plain_hosts << 1 | (uint64_t)p->regex;
}

/* -- the entries of a route ---------------------------------------------------------------------
 */

/* Several paths make sub-routes: one for each length of a prefix, in order of
 * appearance, and one for all regexes (routing 1.7). */
enum { GROUPS_MAX = 1024 };

typedef struct groups {
    size_t lengths[GROUPS_MAX]; /* SIZE_MAX: the regexes */
    size_t count;
} groups_t;

static size_t group_of(groups_t *groups, size_t length)
{
    for (size_t i = 0; i < groups->count; i++)
        if (groups->lengths[i] == length)
            return i;
    if (groups->count == GROUPS_MAX)
        return GROUPS_MAX - 1;
    groups->lengths[groups->count] = length;
    return groups->count++;
}

static bool is_regex(weir_str_t path)
{
    return path.len > 0 && path.data[0] == '~';
}

static size_t group_length(weir_str_t path)
{
    return is_regex(path) ? SIZE_MAX : path.len;
}

static void sub_route_id(const weir_uuid_t *route, size_t number, weir_uuid_t *ret)
{
    static const weir_uuid_t space = { { 0x7f, 0x14, 0x5b, 0xf9, 0x0d, 0xce, 0x4f, 0x91, 0x98, 0xeb,
                                         0xde, 0xbb, 0xce, 0x4b, 0x9f, 0x6b } };
    char id[WEIR_UUID_TEXT + 1];
    char name[64];
    weir_uuid_format(route, id);
    int len = snprintf(name, sizeof(name), "%s#%zu", id, number);
    weir_uuid_named(&space, (weir_str_t){ name, (size_t)len }, ret);
}

/* Class and the part of a configured host that goes into the key. */
static uint8_t host_class(weir_str_t host, weir_str_t *ret_part)
{
    *ret_part = host;
    if (host.len > 1 && host.data[0] == '*') {
        *ret_part = (weir_str_t){ host.data + 1, host.len - 1 };
        return CLASS_SUFFIX;
    }
    if (host.len > 1 && host.data[host.len - 1] == '*') {
        ret_part->len--;
        return CLASS_PREFIX;
    }
    return CLASS_EXACT;
}

static size_t entry_key(uint8_t class, weir_str_t host, weir_str_t path, uint8_t *out,
                        bool *ret_cut)
{
    size_t len = 0;
    out[len++] = class;
    if (host.len > 0)
        memcpy(out + len, host.data, host.len);
    len += host.len;
    out[len++] = 0;
    size_t room = KEY_BYTES_MAX - len;
    *ret_cut = path.len > room;
    size_t part = *ret_cut ? room : path.len;
    if (part > 0)
        memcpy(out + len, path.data, part);
    return len + part;
}

static uint16_t method_mask(const route_view_t *view, bool *ret_other)
{
    uint16_t mask = 0;
    record_in_t in = view->methods;
    for (unsigned i = 0; i < view->method_count; i++)
        mask |= method_bit(get_str(&in));
    *ret_other = mask & METHOD_OTHER;
    return mask;
}

/* -- splits -------------------------------------------------------------------------------------
 */

weir_str_t sni_form(weir_str_t configured, char *ret_form)
{
    weir_str_t text = configured;
    *ret_form = '=';
    if (text.len > 1 && text.data[text.len - 1] == '*') {
        *ret_form = '<';
        return (weir_str_t){ text.data, text.len - 1 };
    }
    if (text.len > 1 && text.data[text.len - 1] == '.')
        text.len--;
    if (text.len > 1 && text.data[0] == '*') {
        *ret_form = '>';
        return (weir_str_t){ text.data + 1, text.len - 1 };
    }
    return text;
}

static size_t put_hashed(weir_str_t text, size_t max, uint8_t *out)
{
    if (text.len <= max) {
        if (text.len > 0)
            memcpy(out, text.data, text.len);
        return text.len;
    }
    unsigned len = 0;
    if (EVP_Digest(text.data, text.len, out, &len, EVP_sha256(), NULL) != 1)
        weir_assert(false); /* SHA-256 of memory cannot fail */
    return len;
}

size_t bucket_key(const place_t *place, bool whole, uint8_t out[KEY_BYTES_MAX])
{
    size_t len = 0;
    if (place->key.mv_size > SPLIT_KEY_MAX)
        out[len++] = 0xff; /* no class: a hash follows */
    len += put_hashed(val_str(place->key), SPLIT_KEY_MAX, out + len);
    out[len++] = 0;
    out[len++] = (uint8_t)place->split;
    if (!whole)
        return len;
    if (place->name.len > 0)
        memcpy(out + len, place->name.data, place->name.len);
    len += place->name.len;
    out[len++] = 0;
    out[len++] = place->value.len > SPLIT_TEXT_MAX;
    return len + put_hashed(place->value, SPLIT_TEXT_MAX, out + len);
}

static bool is_exact_list(record_in_t *in, unsigned count)
{
    bool exact = true;
    for (unsigned i = 0; i < count; i++) {
        weir_str_t value = get_str(in);
        exact = exact && !weir_str_starts(value, WEIR_STR("~*"));
    }
    return exact;
}

typedef struct split {
    unsigned kind;
    weir_str_t name;
    record_in_t values;
    unsigned count;
} split_t;

/* The header with the fewest values, all of them plain. */
static void split_by_header(const route_view_t *view, split_t *ret)
{
    record_in_t in = view->headers;
    for (unsigned i = 0; i < view->header_count && !in.bad; i++) {
        weir_str_t name = get_str(&in);
        unsigned count = get_u16(&in);
        record_in_t values = in;
        bool fits = is_exact_list(&in, count) && count > 0 && count <= SPLIT_VALUES_MAX &&
                    name.len > 0 && name.len <= SPLIT_NAME_MAX;
        if (fits && (ret->kind == 0 || count < ret->count))
            *ret = (split_t){ SPLIT_HEADER, name, values, count };
    }
}

static bool all_odd(const route_view_t *view)
{
    record_in_t in = view->methods;
    for (unsigned i = 0; i < view->method_count; i++)
        if (method_bit(get_str(&in)) != METHOD_OTHER)
            return false;
    return true;
}

static split_t choose_split(const route_view_t *view)
{
    split_t split = { 0 };
    split_by_header(view, &split);
    if (split.kind != 0)
        return split;
    if (view->sni_count > 0 && view->sni_count <= SPLIT_VALUES_MAX)
        return (split_t){ SPLIT_SNI, { "", 0 }, view->snis, view->sni_count };
    if (view->method_count > 0 && view->method_count <= SPLIT_VALUES_MAX && all_odd(view))
        return (split_t){ SPLIT_METHOD, { "", 0 }, view->methods, view->method_count };
    return split;
}

static bool hosts_are_plain(const route_view_t *view)
{
    record_in_t in = view->hosts;
    for (unsigned i = 0; i < view->host_count; i++) {
        weir_str_t host = get_str(&in);
        if (host.len > 0 && memchr(host.data, '*', host.len) != NULL)
            return false;
    }
    return view->hosts_given;
}

typedef struct expansion {
    const route_view_t *view;
    split_t split;
    router_entry_t entry;
    int (*each)(void *context, const place_t *place, const router_entry_t *entry);
    void *context;
} expansion_t;

/* One host and path, under every value that tells it apart. */
static int expand_split(expansion_t *x, MDB_val key)
{
    place_t place = { .key = key, .split = x->split.kind, .name = x->split.name };
    if (place.split == 0)
        return x->each(x->context, &place, &x->entry);
    char lowered[1024];
    char form = '=';
    record_in_t in = x->split.values;
    int rc = WEIR_OK;
    for (unsigned i = 0; rc == WEIR_OK && i < x->split.count; i++) {
        place.value = get_str(&in);
        if (place.split == SPLIT_HEADER) {
            if (place.value.len > sizeof(lowered))
                continue; /* nobody sends that (compile.c refuses it) */
            place.value = lower_text(place.value, lowered, sizeof(lowered));
        }
        if (place.split == SPLIT_SNI) {
            place.value = sni_form(place.value, &form);
            place.name = (weir_str_t){ &form, 1 };
        }
        rc = x->each(x->context, &place, &x->entry);
    }
    if (rc == WEIR_OK && place.split == SPLIT_SNI) {
        place = (place_t){ .key = key, .split = SPLIT_NO_SNI };
        rc = x->each(x->context, &place, &x->entry);
    }
    return rc;
}

/* One path under every host. */
static int expand_hosts(expansion_t *x, weir_str_t path)
{
    uint8_t key[KEY_BYTES_MAX + 8];
    bool cut = false;
    uint8_t flags = x->entry.flags;
    record_in_t in = x->view->hosts;
    int rc = WEIR_OK;
    for (unsigned i = 0; rc == WEIR_OK && i < (x->view->host_count > 0 ? x->view->host_count : 1);
         i++) {
        weir_str_t part = { "", 0 };
        uint8_t class = CLASS_ANY;
        x->entry.port = 0;
        if (x->view->host_count > 0) {
            weir_str_t name;
            int port = PORT_NONE;
            split_host(get_str(&in), &name, &port);
            class = host_class(name, &part);
            x->entry.port = port > 0 ? (uint16_t)port : 0;
        }
        if (part.len > HOST_BYTES_MAX)
            continue; /* compile.c refuses it */
        size_t len = entry_key(class, part, path, key, &cut);
        x->entry.flags = (uint8_t)(flags | (cut ? ENTRY_CUT : 0));
        rc = expand_split(x, val(key, len));
    }
    x->entry.flags = flags;
    return rc;
}

static priority_parts_t parts_of(const route_view_t *view)
{
    priority_parts_t parts = { .headers = view->header_count > 255 ? 255 : view->header_count,
                               .plain_hosts = hosts_are_plain(view),
                               .regex_priority = view->regex_priority };
    parts.weight = (view->weight_base & 7) + (view->method_count > 0) + (view->host_count > 0) +
                   (view->header_count > 0) + (view->sni_count > 0) + (view->path_count > 0);
    if (parts.weight > 7)
        parts.weight = 7;
    return parts;
}

static int expand_paths(expansion_t *x, groups_t *groups, bool documented_order)
{
    const route_view_t *view = x->view;
    priority_parts_t parts = parts_of(view);
    if (parts.weight == 0)
        return WEIR_OK; /* an empty expression: never matches (routing 3) */
    record_in_t in = view->paths;
    for (unsigned i = 0; i < view->path_count; i++)
        group_of(groups, group_length(get_str(&in)));

    uint8_t base = x->entry.flags;
    int rc = WEIR_OK;
    in = view->paths;
    for (unsigned i = 0; rc == WEIR_OK && i < (view->path_count > 0 ? view->path_count : 1); i++) {
        weir_str_t path = view->path_count > 0 ? get_str(&in) : WEIR_STR("");
        size_t group = view->path_count > 0 ? group_of(groups, group_length(path)) : 0;
        x->entry.tie = x->entry.route;
        if (groups->count > 1)
            sub_route_id(&x->entry.route, group + 1, &x->entry.tie);
        parts.regex = is_regex(path);
        parts.path_len = parts.regex ? 0 : path.len;
        x->entry.sort_key = documented_order ? documented_key(&parts) : effective_key(&parts);
        x->entry.path = view->path_count > 0 ? (uint16_t)i : NO_PATH;
        x->entry.flags = (uint8_t)(base | (parts.regex ? ENTRY_REGEX : 0));
        weir_str_t literal = path;
        if (parts.regex)
            literal = regex_literal_prefix((weir_str_t){ path.data + 1, path.len - 1 });
        rc = expand_hosts(x, literal);
    }
    return rc;
}

int router_entries(const weir_uuid_t *route, const route_view_t *view, bool documented_order,
                   int (*each)(void *context, const place_t *place, const router_entry_t *entry),
                   void *context)
{
    if (!(view->route.protocols &
          (WEIR_PROTOCOL_HTTP | WEIR_PROTOCOL_HTTPS | WEIR_PROTOCOL_GRPC | WEIR_PROTOCOL_GRPCS)))
        return WEIR_OK; /* another subsystem's */
    bool other = false;
    expansion_t x = { .view = view, .each = each, .context = context };
    x.split = choose_split(view);
    x.entry.route = *route;
    x.entry.methods = method_mask(view, &other);
    x.entry.flags =
        (uint8_t)((view->method_count == 0 ? ENTRY_ANY_METHOD : 0) |
                  (view->header_count > 0 || view->sni_count > 0 || other ? ENTRY_RESIDUAL : 0));
    groups_t groups; /* 8 KiB: neither zeroed nor from the heap for each route */
    groups.count = 0;
    return expand_paths(&x, &groups, documented_order);
}
