/* match.c -- the route of a request.
 *
 * Every stored prefix of the path, under every form of the host, is a candidate;
 * the entry with the largest (sort key, tie) whose conditions hold wins. Entries
 * of one key come best first, so a key is left as soon as its next entry cannot
 * win any more. */
#include "image/router.h"

#include <ctype.h>

typedef struct match {
    weir_reader_t *reader;
    const weir_match_request_t *request;
    weir_str_t host; /* without its port */
    int port;
    uint16_t method;
    bool found;
    router_entry_t best;
    size_t best_len;
    bool best_has_path;
    weir_error_t *err;
} match_t;

static bool better(const router_entry_t *a, const router_entry_t *b)
{
    if (a->sort_key != b->sort_key)
        return a->sort_key > b->sort_key;
    return memcmp(a->tie.bytes, b->tie.bytes, WEIR_UUID_BYTES) > 0;
}

/* -- conditions that need the record --------------------------------------------------- */

enum { HEADER_VALUES_MAX = 100, HEADER_BYTES_MAX = 8192 };

static bool equal_lowered(weir_str_t configured, weir_str_t value)
{
    if (configured.len != value.len)
        return false;
    for (size_t i = 0; i < value.len; i++)
        if (tolower((unsigned char)configured.data[i]) != tolower((unsigned char)value.data[i]))
            return false;
    return true;
}

static weir_str_t lower(weir_str_t text, char *out, size_t bytes)
{
    size_t len = text.len < bytes ? text.len : bytes;
    for (size_t i = 0; i < len; i++)
        out[i] = (char)tolower((unsigned char)text.data[i]);
    return (weir_str_t){ out, len };
}

/* "~*re": the lower-cased pattern in the lower-cased value (routing 1.4). */
static bool header_regex(match_t *m, const router_entry_t *entry, uint64_t version, unsigned index,
                         weir_str_t configured, weir_str_t value)
{
    char pattern[HEADER_BYTES_MAX];
    char text[HEADER_BYTES_MAX];
    size_t len = 0;
    weir_str_t regex = { configured.data + 2, configured.len - 2 };
    return regex_matches(m->reader->regexes, &entry->route, version, 0x10000 + index,
                         lower(regex, pattern, sizeof(pattern)), false,
                         lower(value, text, sizeof(text)), &len);
}

static bool headers_hold(match_t *m, const router_entry_t *entry, const route_view_t *view)
{
    record_in_t in = view->headers;
    unsigned index = 0;
    for (unsigned h = 0; h < view->header_count; h++) {
        weir_str_t name = get_str(&in);
        unsigned count = get_u16(&in);
        bool holds = false;
        for (unsigned i = 0; i < count; i++, index++) {
            weir_str_t want = get_str(&in);
            weir_str_t value;
            bool regex = want.len > 2 && want.data[0] == '~' && want.data[1] == '*';
            for (size_t n = 0; !holds && n < HEADER_VALUES_MAX && m->request->header != NULL &&
                               m->request->header(m->request->context, name, n, &value);
                 n++)
                holds = regex ? header_regex(m, entry, view->route.version, index, want, value)
                              : equal_lowered(want, value);
        }
        if (in.bad || !holds)
            return false;
    }
    return true;
}

static bool sni_holds(match_t *m, const route_view_t *view)
{
    if (view->sni_count == 0 || !m->request->https)
        return true;
    weir_str_t sni = m->request->sni;
    if (sni.data == NULL)
        return false;
    record_in_t in = view->snis;
    for (unsigned i = 0; i < view->sni_count; i++) {
        weir_str_t want = get_str(&in);
        bool prefix = want.len > 1 && want.data[want.len - 1] == '*';
        if (!prefix && want.len > 1 && want.data[want.len - 1] == '.')
            want.len--;
        if (prefix ? weir_str_starts(sni, (weir_str_t){ want.data, want.len - 1 })
            : want.len > 1 && want.data[0] == '*'
                ? weir_str_ends(sni, (weir_str_t){ want.data + 1, want.len - 1 })
                : weir_str_equal(sni, want))
            return true;
    }
    return false;
}

static bool method_holds(match_t *m, const route_view_t *view)
{
    record_in_t in = view->methods;
    for (unsigned i = 0; i < view->method_count; i++)
        if (weir_str_equal(get_str(&in), m->request->method))
            return true;
    return view->method_count == 0;
}

static weir_str_t nth(record_in_t list, unsigned index)
{
    weir_str_t text = { NULL, 0 };
    for (unsigned i = 0; i <= index; i++)
        text = get_str(&list);
    return text;
}

static bool path_holds(match_t *m, const router_entry_t *entry, const route_view_t *view,
                       size_t *len)
{
    if (!(entry->flags & (ENTRY_REGEX | ENTRY_CUT)))
        return true; /* the key said so */
    weir_str_t path =
        entry->path < view->path_count ? nth(view->paths, entry->path) : (weir_str_t){ NULL, 0 };
    if (path.data == NULL)
        return false;
    if (entry->flags & ENTRY_REGEX)
        return regex_matches(m->reader->regexes, &entry->route, view->route.version, entry->path,
                             (weir_str_t){ path.data + 1, path.len - 1 }, true, m->request->path,
                             len);
    *len = path.len;
    return weir_str_starts(m->request->path, path);
}

/* Routes of a disabled service do not exist (routing 1.1). */
static bool service_serves(match_t *m, const route_view_t *view)
{
    if (weir_uuid_is_zero(&view->route.service))
        return true;
    entity_key_t key = entity_key(WEIR_SERVICES, &view->route.service);
    MDB_val k = val_key(&key);
    MDB_val value;
    service_view_t service;
    return mdb_get(m->reader->txn, m->reader->dbi[DB_RECORDS], &k, &value) == 0 &&
           view_service(val_str(value), &service) && service.enabled;
}

static bool read_route(match_t *m, const weir_uuid_t *route, route_view_t *ret)
{
    entity_key_t key = entity_key(WEIR_ROUTES, route);
    MDB_val k = val_key(&key);
    MDB_val value;
    return mdb_get(m->reader->txn, m->reader->dbi[DB_RECORDS], &k, &value) == 0 &&
           view_route(val_str(value), ret);
}

static bool holds(match_t *m, const router_entry_t *entry, size_t *len)
{
    if (entry->port != 0 && entry->port != m->port)
        return false;
    if (!(entry->flags & ENTRY_ANY_METHOD) && !(entry->methods & m->method))
        return false;
    route_view_t view;
    if (!read_route(m, &entry->route, &view))
        return false;
    if ((entry->flags & ENTRY_RESIDUAL) &&
        !(method_holds(m, &view) && headers_hold(m, entry, &view) && sni_holds(m, &view)))
        return false;
    return path_holds(m, entry, &view, len) && service_serves(m, &view);
}

/* -- the walk ------------------------------------------------------------------------------- */

/* All entries of the key that the cursor stands on. */
static void visit(match_t *m, MDB_val value, size_t path_len)
{
    MDB_val key;
    int code = 0;
    for (; code == 0; code = mdb_cursor_get(m->reader->router, &key, &value, MDB_NEXT_DUP)) {
        router_entry_t entry;
        size_t len = path_len;
        if (!router_entry_decode(value, &entry))
            return;
        if (m->found && !better(&entry, &m->best))
            return;
        if (!holds(m, &entry, &len))
            continue;
        m->found = true;
        m->best = entry;
        m->best_len = len;
        m->best_has_path = entry.path != NO_PATH;
        return; /* what follows under this key is worse */
    }
}

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
static void walk(match_t *m, uint8_t class, weir_str_t host)
{
    uint8_t bytes[KEY_BYTES_MAX];
    if (host.len + 2 > sizeof(bytes) || m->reader->state.class_entries[class] == 0)
        return;
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
        visit(m, value, len);
        if (len == 0)
            return;
        len--;
    }
}

static void walk_hosts(match_t *m)
{
    if (m->request->has_host) {
        weir_str_t host = m->host;
        walk(m, CLASS_EXACT, host);
        for (size_t i = 0; i < host.len; i++) {
            if (host.data[i] != '.')
                continue;
            walk(m, CLASS_SUFFIX, (weir_str_t){ host.data + i, host.len - i });
            walk(m, CLASS_PREFIX, (weir_str_t){ host.data, i + 1 });
        }
    }
    walk(m, CLASS_ANY, WEIR_STR(""));
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
        if (m.host.len > HOST_MAX || !is_utf8(m.host))
            return WEIR_NOT_FOUND;
    }
    if (m.port == PORT_NONE)
        m.port = request->listener_port;
    if (!is_utf8(request->path))
        return WEIR_NOT_FOUND; /* routing 1.3 */
    m.method = method_bit(request->method);
    walk_hosts(&m);
    route_view_t view;
    if (!m.found || !read_route(&m, &m.best.route, &view))
        return WEIR_NOT_FOUND;
    *ret = (weir_match_t){ .route = view.route,
                           .has_path = m.best_has_path,
                           .path_matched = m.best_has_path ? m.best_len : 0 };
    ret->route.id = m.best.route;
    return WEIR_OK;
}
