/* conditions.c -- what a request must fulfil besides the key of an entry: port,
 * method, headers, SNI, regular expression, an enabled service (routing 1.4). */
#include "image/router.h"

#include <ctype.h>

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

weir_str_t lower_text(weir_str_t text, char *out, size_t bytes)
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
                         lower_text(regex, pattern, sizeof(pattern)), false,
                         lower_text(value, text, sizeof(text)), &len);
}

static bool headers_hold(match_t *m, const router_entry_t *entry, const route_view_t *view)
{
    record_in_t in = view->headers;
    unsigned index = 0;
    m->by_headers |= view->header_count > 0;
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
        char form = '=';
        weir_str_t want = sni_form(get_str(&in), &form);
        if (form == '<'   ? weir_str_starts(sni, want)
            : form == '>' ? weir_str_ends(sni, want)
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

static bool path_holds(match_t *m, const router_entry_t *entry, const route_view_t *view,
                       size_t *len)
{
    if (!(entry->flags & (ENTRY_REGEX | ENTRY_CUT)))
        return true; /* the key said so */
    weir_str_t path = route_path(view, entry->path);
    if (path.len == 0)
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

bool read_route(match_t *m, const weir_uuid_t *route, route_view_t *ret)
{
    entity_key_t key = entity_key(WEIR_ROUTES, route);
    MDB_val k = val_key(&key);
    MDB_val value;
    return mdb_get(m->reader->txn, m->reader->dbi[DB_RECORDS], &k, &value) == 0 &&
           view_route(val_str(value), ret);
}

bool entry_holds(match_t *m, const router_entry_t *entry, size_t *len)
{
    if (entry->port != 0 && entry->port != m->port)
        return false;
    if (!(entry->flags & ENTRY_ANY_METHOD) && !(entry->methods & m->method))
        return false;
    bool some_disabled = m->reader->state.disabled_services > 0;
    if (!(entry->flags & (ENTRY_RESIDUAL | ENTRY_REGEX | ENTRY_CUT)) && !some_disabled)
        return true; /* the entry says it all */
    route_view_t view;
    if (!read_route(m, &entry->route, &view))
        return false;
    if ((entry->flags & ENTRY_RESIDUAL) &&
        !(method_holds(m, &view) && headers_hold(m, entry, &view) && sni_holds(m, &view)))
        return false;
    return path_holds(m, entry, &view, len) && (!some_disabled || service_serves(m, &view));
}
