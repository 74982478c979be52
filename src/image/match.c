/* match.c -- the route of a request.
 *
 * Every stored prefix of the path, under every form of the host, is a candidate;
 * the entry with the largest (sort key, tie) whose conditions hold wins. Entries
 * of one key come best first, so a key is left as soon as its next entry cannot
 * win any more. */
#include "image/router.h"

static bool better(const router_entry_t *a, const router_entry_t *b)
{
    if (a->sort_key != b->sort_key)
        return a->sort_key > b->sort_key;
    int order = memcmp(a->tie.bytes, b->tie.bytes, WEIR_UUID_BYTES);
    /* Of two regexes of one route, the one that it names first says what matched. */
    return order != 0 ? order > 0 : a->path < b->path;
}

/* Entries from where `cursor` stands, best first, up to the end of its key. */
static void visit(match_t *m, MDB_cursor *cursor, MDB_val value, size_t path_len)
{
    MDB_val key;
    int code = 0;
    for (; code == 0; code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT_DUP)) {
        router_entry_t entry;
        size_t len = path_len;
        if (!router_entry_decode(value, &entry) || (entry.flags & ENTRY_MARKER))
            return;
        if (m->found && !better(&entry, &m->best))
            return;
        if (!entry_holds(m, &entry, &len))
            continue;
        m->found = true;
        m->best = entry;
        m->best_len = len;
        return; /* what follows under this key is worse */
    }
}

/* -- buckets: entries told apart by a header, an SNI, a method ------------------------------ */

static void probe(match_t *m, const place_t *place, size_t path_len)
{
    uint8_t bytes[KEY_BYTES_MAX];
    MDB_val key = val(bytes, bucket_key(place, true, bytes));
    MDB_val value;
    if (mdb_cursor_get(m->reader->buckets, &key, &value, MDB_SET_KEY) == 0)
        visit(m, m->reader->buckets, value, path_len);
}

enum { VALUES_MAX = 100, NAMES_MAX = 256 };

/* The values that the request has of one header. */
static void probe_header(match_t *m, place_t *place, size_t path_len)
{
    char lowered[1024];
    weir_str_t value;
    for (size_t n = 0; n < VALUES_MAX && m->request->header != NULL &&
                       m->request->header(m->request->context, place->name, n, &value);
         n++) {
        if (value.len > sizeof(lowered))
            continue; /* no route has one that long */
        place->value = lower_text(value, lowered, sizeof(lowered));
        probe(m, place, path_len);
    }
}

/* Every header name that routes of this key are told apart by. */
static void probe_headers(match_t *m, MDB_val router_key, size_t path_len)
{
    place_t place = { .key = router_key, .split = SPLIT_HEADER };
    uint8_t bytes[KEY_BYTES_MAX];
    char name[SPLIT_NAME_MAX];
    size_t start = bucket_key(&place, false, bytes);
    size_t len = start;
    for (size_t i = 0; i < NAMES_MAX; i++) {
        MDB_val key = val(bytes, len);
        MDB_val value;
        if (mdb_cursor_get(m->reader->buckets, &key, &value, MDB_SET_RANGE) != 0 ||
            key.mv_size <= start || memcmp(key.mv_data, bytes, start) != 0)
            return;
        const char *text = (const char *)key.mv_data + start;
        const char *end = memchr(text, 0, key.mv_size - start);
        if (end == NULL || (size_t)(end - text) > sizeof(name))
            return;
        place.name = (weir_str_t){ name, (size_t)(end - text) };
        memcpy(name, text, place.name.len);
        probe_header(m, &place, path_len);
        memcpy(bytes + start, name, place.name.len);
        len = start + place.name.len;
        bytes[len++] = 1; /* behind all values of this name */
    }
}

static void probe_snis(match_t *m, MDB_val router_key, size_t path_len)
{
    place_t place = { .key = router_key, .split = SPLIT_SNI };
    weir_str_t sni = m->request->sni;
    if (sni.data == NULL || sni.len > 255)
        return;
    place.name = WEIR_STR("=");
    place.value = sni;
    probe(m, &place, path_len);
    for (size_t i = 0; i < sni.len; i++) {
        if (sni.data[i] != '.')
            continue;
        place.name = WEIR_STR(">");
        place.value = (weir_str_t){ sni.data + i, sni.len - i };
        probe(m, &place, path_len);
        place.name = WEIR_STR("<");
        place.value = (weir_str_t){ sni.data, i + 1 };
        probe(m, &place, path_len);
    }
}

static void visit_buckets(match_t *m, MDB_val router_key, unsigned splits, size_t path_len)
{
    m->by_headers |= (splits & SPLIT_HEADER) != 0;
    if (splits & SPLIT_HEADER)
        probe_headers(m, router_key, path_len);
    if ((splits & SPLIT_SNI) && m->request->https)
        probe_snis(m, router_key, path_len);
    if ((splits & SPLIT_NO_SNI) && !m->request->https) {
        place_t place = { .key = router_key, .split = SPLIT_NO_SNI };
        probe(m, &place, path_len);
    }
    if ((splits & SPLIT_METHOD) && m->method == METHOD_OTHER) {
        place_t place = { .key = router_key, .split = SPLIT_METHOD, .value = m->request->method };
        probe(m, &place, path_len);
    }
}

/* All entries of the key that the router's cursor stands on, at its first value. */
static void visit_key(match_t *m, MDB_val router_key, MDB_val value, size_t path_len)
{
    router_entry_t entry;
    unsigned splits = 0;
    MDB_val key;
    if (!router_entry_decode(value, &entry))
        return;
    if (entry.flags & ENTRY_MARKER) {
        splits = entry.methods;
        if (mdb_cursor_get(m->reader->router, &key, &value, MDB_NEXT_DUP) != 0)
            value.mv_size = 0; /* nothing but the marker */
    }
    visit(m, m->reader->router, value, path_len);
    if (splits != 0)
        visit_buckets(m, router_key, splits, path_len);
}

/* -- the walk ------------------------------------------------------------------------------- */

static size_t common(const uint8_t *a, size_t a_len, weir_str_t b)
{
    size_t max = a_len < b.len ? a_len : b.len;
    size_t len = 0;
    while (len < max && a[len] == (uint8_t)b.data[len])
        len++;
    return len;
}

/* Stored prefixes of the path under one host, longest first. The key before
 * "host 0 path" in order is either a prefix of it, or shows how much of the path
 * any earlier key can share with it. */
static void walk(void *context, uint8_t class, weir_str_t host)
{
    match_t *m = context;
    uint8_t bytes[KEY_BYTES_MAX];
    const state_t *state = &m->reader->state;
    if (host.len + 2 > sizeof(bytes) || state->class_entries[class] == 0)
        return;
    if (m->found && m->best.sort_key > state->class_best[class])
        return; /* no entry of this class can win */
    size_t start = 0;
    bytes[start++] = class;
    memcpy(bytes + start, host.data, host.len);
    start += host.len;
    bytes[start++] = 0;
    size_t room = sizeof(bytes) - start;
    size_t len = m->request->path.len < room ? m->request->path.len : room;
    memcpy(bytes + start, m->request->path.data, len);
    MDB_cursor *cursor = m->reader->router;
    for (;;) {
        MDB_val key = val(bytes, start + len);
        MDB_val value;
        int code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        bool exact =
            code == 0 && key.mv_size == start + len && memcmp(key.mv_data, bytes, start + len) == 0;
        if (!exact) {
            code = mdb_cursor_get(cursor, &key, &value, code == 0 ? MDB_PREV_NODUP : MDB_LAST);
            if (code != 0 || key.mv_size < start || memcmp(key.mv_data, bytes, start) != 0)
                return; /* outside of this host */
            size_t shared = common((const uint8_t *)key.mv_data + start, key.mv_size - start,
                                   (weir_str_t){ (const char *)bytes + start, len });
            if (shared < key.mv_size - start) {
                len = shared; /* not a prefix: none longer than this is there */
                continue;
            }
            len = shared;
            /* The cursor stands on the worst duplicate: go to the best one. After
             * MDB_LAST only a new search makes it move on from there. */
            if (mdb_cursor_get(cursor, &key, &value, MDB_SET) != 0)
                return;
        }
        visit_key(m, key, value, len);
        if (len == 0)
            return;
        len--;
    }
}

void each_host_form(const weir_match_request_t *request,
                    void (*each)(void *context, uint8_t class, weir_str_t host), void *context)
{
    if (request->has_host) {
        weir_str_t host;
        int port;
        split_host(request->host, &host, &port);
        each(context, CLASS_EXACT, host);
        for (size_t i = 0; i < host.len; i++) {
            if (host.data[i] != '.')
                continue;
            each(context, CLASS_SUFFIX, (weir_str_t){ host.data + i, host.len - i });
            each(context, CLASS_PREFIX, (weir_str_t){ host.data, i + 1 });
        }
    }
    each(context, CLASS_ANY, WEIR_STR(""));
}

/* One cheap look: ASCII is UTF-8. */
static bool is_utf8(weir_str_t text)
{
    size_t i = 0;
    while (i < text.len) {
        unsigned char c = (unsigned char)text.data[i];
        size_t more = c < 0x80 ? 0 : c < 0xC2 ? 9 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : c < 0xF5 ? 3 : 9;
        if (more >= text.len - i && more > 0)
            return false;
        for (size_t k = 1; k <= more; k++)
            if (((unsigned char)text.data[i + k] & 0xC0) != 0x80)
                return false;
        i += more + 1;
    }
    return true;
}

enum { HOST_MAX = 1024 };

int weir_reader_match(weir_reader_t *reader, const weir_match_request_t *request, weir_match_t *ret,
                      weir_error_t *err)
{
    weir_assert(reader->inside);
    match_t m = { .reader = reader, .request = request, .port = PORT_NONE, .err = err };
    if (request->has_host) {
        split_host(request->host, &m.host, &m.port);
        if (m.host.len > HOST_MAX)
            return WEIR_NOT_FOUND;
    }
    if (m.port == PORT_NONE)
        m.port = request->listener_port;
    /* The incumbent refuses what is no UTF-8, if a route looks at it (routing 1.3). */
    if ((reader->state.routes_with_hosts > 0 && !is_utf8(m.host)) ||
        (reader->state.routes_with_paths > 0 && !is_utf8(request->path)))
        return WEIR_NOT_FOUND;
    m.method = method_bit(request->method);
    each_host_form(request, walk, &m);
    route_view_t view;
    if (!m.found || !read_route(&m, &m.best.route, &view))
        return WEIR_NOT_FOUND;
    bool has_path = m.best.path != NO_PATH;
    *ret = (weir_match_t){ .route = view.route,
                           .has_path = has_path,
                           .path_matched = has_path ? m.best_len : 0,
                           .by_headers = m.by_headers };
    ret->route.id = m.best.route;
    return WEIR_OK;
}
