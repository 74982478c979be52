/* property_test.c -- random routes come, change and go; the index must always answer
 * as a matcher that tries every route, and be the index that is built at once.
 *
 * The matcher below is written from routing 1.2 to 1.8 and knows nothing of the
 * image. WEIR_SEED repeats a run; WEIR_ROUNDS makes it longer. */
#include "image/chance.h"
#include "image/compare.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* -- the vocabulary: small, so that everything meets everything ---------------------------- */

#define LONG_PATH                                                                              \
    "/lllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll" \
    "llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll" \
    "llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll" \
    "llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll" \
    "llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll" \
    "llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"

static const char *const hosts[] = { "a.com",   "b.com",    "x.a.com",      "y.x.a.com",
                                     "*.a.com", "*.com",    "a.*",          "x.a.*",
                                     "b.*",     "a.com:81", "x.a.com:8000", "*.a.com:81" };
static const char *const paths[] = {
    "/",
    "/a",
    "/a/",
    "/a/b",
    "/b",
    "/ab",
    "/a/b/c",
    "/%2F",
    LONG_PATH,
    LONG_PATH "x",
    LONG_PATH "/yy",
    "~/a",
    "~/a/[a-z]+",
    "~/.*c$",
    "~/(a|b)/c",
    "~/a/b?",
    "~/x|/b",
    "~/(?<n>[a-b]+)",
    "~" LONG_PATH "[xy]",
    "~/a.c",
};
static const char *const methods[] = { "GET", "POST", "PUT", "FOO", "BAR" };
static const char *const header_names[] = { "v", "w", "X-Long-Name" };
static const char *const header_values[] = { "1", "2", "Abc", "~*^[0-9]+$", "~*B" };
static const char *const snis[] = { "a.com", "b.com.", "*.a.com", "*.com.", "a.*", "x.a.*" };
static const int regex_priorities[] = { 0, 0, 0, 1, 2, 5, 1024, 4095, 5000, -1 };

static const char *const request_hosts[] = { "a.com",        "b.com", "x.a.com",      "y.x.a.com",
                                             "a.com:81",     "a.org", "x.a.org:8000", "b.net",
                                             "y.x.a.com:81", "A.com", ".a.com",       "com" };
static const char *const request_paths[] = {
    "/",   "/a",     "/a/",   "/a/b", "/a/b/c",       "/a/bc",          "/b",      "/b/c",
    "/ab", "/x/b/c", "/%2Fa", "/q",   LONG_PATH "xz", LONG_PATH "/yyy", LONG_PATH, "/axc",
};
static const char *const request_values[] = { "1", "2", "abc", "ABC", "33", "xbx", "" };
static const char *const request_snis[] = { "a.com", "b.com", "x.a.com", "a.org", "x.a.net", "q" };

#define PICK(list) ((list)[below(WEIR_COUNT(list))])

/* -- routes -------------------------------------------------------------------------------- */

enum { LIST_MAX = 4, HEADERS_MAX = 3, ROUTES_MAX = 80, SERVICES = 3 };

typedef struct list {
    const char *items[LIST_MAX];
    unsigned count;
} list_t;

typedef struct route {
    bool exists;
    weir_uuid_t id;
    list_t hosts, paths, methods, snis;
    list_t headers[HEADERS_MAX]; /* values of header_names[i]; count 0: not given */
    int regex_priority;
    int service; /* index; -1: none */
} route_t;

typedef struct world {
    fixture_t image;
    route_t routes[ROUTES_MAX];
    bool enabled[SERVICES];
    bool documented;
} world_t;

static list_t random_list(const char *const *from, size_t count, unsigned percent)
{
    list_t list = { .count = 0 };
    if (below(100) >= percent)
        return list;
    unsigned want = 1 + below(below(3) == 0 ? LIST_MAX : 1);
    for (unsigned i = 0; i < want; i++) {
        const char *item = from[below((unsigned)count)];
        bool there = false;
        for (unsigned k = 0; k < list.count; k++)
            there = there || strcmp(list.items[k], item) == 0;
        if (!there)
            list.items[list.count++] = item;
    }
    return list;
}

static void random_route(route_t *route)
{
    route->exists = true;
    route->hosts = random_list(hosts, WEIR_COUNT(hosts), 50);
    route->paths = random_list(paths, WEIR_COUNT(paths), 60);
    route->methods = random_list(methods, WEIR_COUNT(methods), 25);
    route->snis = random_list(snis, WEIR_COUNT(snis), 20);
    for (unsigned i = 0; i < HEADERS_MAX; i++)
        route->headers[i] = random_list(header_values, WEIR_COUNT(header_values), 15);
    if (route->hosts.count + route->methods.count + route->snis.count == 0 &&
        route->paths.count == 0)
        route->paths = random_list(paths, WEIR_COUNT(paths), 100);
    route->regex_priority = PICK(regex_priorities);
    route->service = (int)below(SERVICES + 1) - 1;
}

static void set(weir_json_t *object, const char *name, weir_json_t *value)
{
    assert_int_equal(weir_json_set(object, name, value), WEIR_OK);
}

static weir_json_t *array_of(const list_t *list)
{
    weir_json_t *array = weir_json_new_array();
    for (unsigned i = 0; i < list->count; i++)
        assert_int_equal(weir_json_append(array, weir_json_new_string(weir_str(list->items[i]))),
                         WEIR_OK);
    return array;
}

static weir_json_t *id_object(const weir_uuid_t *id)
{
    char text[WEIR_UUID_TEXT + 1];
    weir_uuid_format(id, text);
    weir_json_t *object = weir_json_new_object();
    set(object, "id", weir_json_new_string(weir_str(text)));
    return object;
}

static weir_uuid_t service_id(int index)
{
    weir_uuid_t id = { { 0 } };
    id.bytes[0] = 0x5e;
    id.bytes[6] = 0x40;
    id.bytes[8] = 0x80;
    id.bytes[15] = (uint8_t)index;
    return id;
}

static void put_route(world_t *w, const route_t *route)
{
    WEIR_AUTO(json) weir_json_t *row = id_object(&route->id);
    const list_t *lists[] = { &route->hosts, &route->paths, &route->methods, &route->snis };
    static const char *const names[] = { "hosts", "paths", "methods", "snis" };
    for (size_t i = 0; i < WEIR_COUNT(lists); i++)
        if (lists[i]->count > 0)
            set(row, names[i], array_of(lists[i]));
    weir_json_t *headers = weir_json_new_object();
    for (unsigned i = 0; i < HEADERS_MAX; i++)
        if (route->headers[i].count > 0)
            set(headers, header_names[i], array_of(&route->headers[i]));
    if (weir_json_first(headers) != NULL)
        set(row, "headers", headers);
    else
        weir_json_free(headers);
    set(row, "regex_priority", weir_json_new_number(route->regex_priority));
    set(row, "created_at", weir_json_new_number(1700000000));
    set(row, "updated_at", weir_json_new_number(1700000000));
    if (route->service >= 0) {
        weir_uuid_t id = service_id(route->service);
        set(row, "service", id_object(&id));
    }
    fixture_put_json(&w->image, "routes", row);
}

static void put_service(world_t *w, int index)
{
    weir_uuid_t id = service_id(index);
    WEIR_AUTO(json) weir_json_t *row = id_object(&id);
    set(row, "host", weir_json_new_string(WEIR_STR("up.test")));
    set(row, "enabled", weir_json_new_boolean(w->enabled[index]));
    set(row, "created_at", weir_json_new_number(1700000000));
    set(row, "updated_at", weir_json_new_number(1700000000));
    fixture_put_json(&w->image, "services", row);
}

static void change_something(world_t *w)
{
    if (below(20) == 0) {
        int index = (int)below(SERVICES);
        w->enabled[index] = !w->enabled[index];
        put_service(w, index);
        return;
    }
    route_t *route = &w->routes[below(ROUTES_MAX)];
    if (route->exists && below(3) == 0) {
        route->exists = false;
        WEIR_AUTO(json) weir_json_t *key = id_object(&route->id);
        fixture_ok(&w->image,
                   weir_batch_delete(w->image.batch, WEIR_STR("routes"), key, &w->image.err));
        return;
    }
    random_route(route);
    put_route(w, route);
}

/* -- the matcher that tries every route ------------------------------------------------------ */

typedef struct request {
    const char *method, *host, *path, *sni; /* NULL: none */
    bool https;
    const char *headers[HEADERS_MAX][2]; /* NULL: fewer */
} request_t;

static bool begins(const char *text, const char *with, size_t len)
{
    return strncmp(text, with, len) == 0;
}

static bool ends(const char *text, const char *with, size_t len)
{
    size_t have = strlen(text);
    return have >= len && strncmp(text + have - len, with, len) == 0 &&
           strlen(text + have - len) == len;
}

/* "x.*" is how it begins, "*.x" how it ends. */
static bool wildcard(const char *text, const char *want, size_t len)
{
    if (len > 1 && want[len - 1] == '*')
        return begins(text, want, len - 1);
    if (want[0] == '*')
        return ends(text, want + 1, len - 1);
    return strlen(text) == len && begins(text, want, len);
}

static bool host_holds(const char *want, const request_t *r)
{
    if (r->host == NULL)
        return false;
    char name[64] = "";
    size_t name_len = strcspn(r->host, ":");
    memcpy(name, r->host, name_len);
    long port = r->host[name_len] == ':' ? strtol(r->host + name_len + 1, NULL, 10) : 8000;
    size_t len = strcspn(want, ":");
    if (want[len] == ':' && strtol(want + len + 1, NULL, 10) != port)
        return false;
    return wildcard(name, want, len);
}

static bool sni_holds(const char *want, const request_t *r)
{
    size_t len = strlen(want);
    if (want[len - 1] == '.')
        len--;
    return r->sni != NULL && wildcard(r->sni, want, len);
}

/* Length of what matched, or -1. `text` is searched for `pattern`. */
static int search(const char *pattern, const char *text)
{
    static struct {
        char pattern[1024];
        pcre2_code *code;
    } known[64];
    size_t i = 0;
    while (known[i].code != NULL && strcmp(known[i].pattern, pattern) != 0)
        i++;
    int number = 0;
    PCRE2_SIZE offset = 0;
    assert_true(i < WEIR_COUNT(known) - 1);
    if (known[i].code == NULL) {
        snprintf(known[i].pattern, sizeof(known[i].pattern), "%s", pattern);
        known[i].code =
            pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                          PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY, &number, &offset, NULL);
        assert_non_null(known[i].code);
    }
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    int rc = pcre2_match(known[i].code, (PCRE2_SPTR)text, strlen(text), 0, 0, data, NULL);
    int len = rc < 0
                  ? -1
                  : (int)(pcre2_get_ovector_pointer(data)[1] - pcre2_get_ovector_pointer(data)[0]);
    pcre2_match_data_free(data);
    return len;
}

static void lower(const char *text, char *out)
{
    while ((*out++ = fixture_lower(*text++)) != '\0')
        continue;
}

static bool header_holds(const list_t *want, const char *const *values)
{
    char a[64], b[64];
    for (unsigned i = 0; i < want->count; i++)
        for (unsigned n = 0; n < 2 && values[n] != NULL; n++) {
            bool regex = begins(want->items[i], "~*", 2);
            lower(want->items[i] + (regex ? 2 : 0), a);
            lower(values[n], b);
            if (regex ? search(a, b) >= 0 : strcmp(a, b) == 0)
                return true;
        }
    return false;
}

static bool any(const list_t *list, bool (*holds)(const char *, const request_t *),
                const request_t *r)
{
    for (unsigned i = 0; i < list->count; i++)
        if (holds(list->items[i], r))
            return true;
    return list->count == 0;
}

static bool method_holds(const char *want, const request_t *r)
{
    return strcmp(want, r->method) == 0;
}

static bool all_but_paths_hold(const world_t *w, const route_t *route, const request_t *r)
{
    if (!route->exists || (route->service >= 0 && !w->enabled[route->service]))
        return false;
    for (unsigned i = 0; i < HEADERS_MAX; i++)
        if (route->headers[i].count > 0 && !header_holds(&route->headers[i], r->headers[i]))
            return false;
    return any(&route->hosts, host_holds, r) && any(&route->methods, method_holds, r) &&
           (!r->https || any(&route->snis, sni_holds, r));
}

typedef struct priority {
    uint64_t parts[8]; /* compared in turn, the larger is better */
    weir_uuid_t tie;
} priority_t;

static priority_t priority_of(const world_t *w, const route_t *route, bool regex, size_t len,
                              unsigned group, bool several)
{
    unsigned headers = 0;
    bool plain = route->hosts.count > 0;
    for (unsigned i = 0; i < HEADERS_MAX; i++)
        headers += route->headers[i].count > 0;
    for (unsigned i = 0; i < route->hosts.count; i++)
        plain = plain && strchr(route->hosts.items[i], '*') == NULL;
    unsigned weight = (route->hosts.count > 0) + (route->paths.count > 0) +
                      (route->methods.count > 0) + (route->snis.count > 0) + (headers > 0);
    int64_t rp = regex ? route->regex_priority : 0;
    len = regex ? 0 : len;
    priority_t p = { .tie = route->id };
    if (w->documented) {
        p.parts[0] = weight, p.parts[1] = plain, p.parts[2] = headers, p.parts[3] = regex;
        p.parts[4] = (uint32_t)rp, p.parts[5] = len;
    } else if (weight <= 3) {
        p.parts[1] = plain, p.parts[2] = regex;
        p.parts[3] =
            (uint64_t)weight << 29 | (uint64_t)headers << 20 | ((uint64_t)rp & 4095) << 19 | len;
    } else {
        p.parts[0] = 1, p.parts[1] = weight, p.parts[2] = headers;
        p.parts[3] = (uint64_t)(rp + INT32_MAX), p.parts[4] = len, p.parts[5] = plain;
        p.parts[6] = regex;
    }
    if (several) { /* sub-route ids, routing 1.7 */
        char id[WEIR_UUID_TEXT + 1], name[64];
        weir_uuid_t space = fixture_uuid("7f145bf9-0dce-4f91-98eb-debbce4b9f6b");
        weir_uuid_format(&route->id, id);
        snprintf(name, sizeof(name), "%s#%u", id, group + 1);
        weir_uuid_named(&space, weir_str(name), &p.tie);
    }
    return p;
}

static bool is_better(const priority_t *a, const priority_t *b)
{
    for (size_t i = 0; i < WEIR_COUNT(a->parts); i++)
        if (a->parts[i] != b->parts[i])
            return a->parts[i] > b->parts[i];
    return memcmp(a->tie.bytes, b->tie.bytes, WEIR_UUID_BYTES) > 0;
}

typedef struct answer {
    const route_t *route;
    int matched; /* -1: no path took part */
    priority_t priority;
} answer_t;

static void consider(answer_t *best, const route_t *route, int matched, const priority_t *priority)
{
    if (best->route == NULL || is_better(priority, &best->priority))
        *best = (answer_t){ route, matched, *priority };
}

static long group_key(const char *path)
{
    return path[0] == '~' ? -1 : (long)strlen(path);
}

static void try_paths(const world_t *w, const route_t *route, const request_t *r, answer_t *best)
{
    long groups[LIST_MAX];
    unsigned count = 0;
    unsigned of[LIST_MAX];
    for (unsigned i = 0; i < route->paths.count; i++) {
        long key = group_key(route->paths.items[i]);
        unsigned g = 0;
        while (g < count && groups[g] != key)
            g++;
        if (g == count)
            groups[count++] = key;
        of[i] = g;
    }
    for (unsigned i = 0; i < route->paths.count; i++) {
        const char *path = route->paths.items[i];
        bool regex = path[0] == '~';
        char pattern[1024];
        snprintf(pattern, sizeof(pattern), "^%s", path + 1);
        int matched = regex                                 ? search(pattern, r->path)
                      : begins(r->path, path, strlen(path)) ? (int)strlen(path)
                                                            : -1;
        if (matched < 0)
            continue;
        priority_t p = priority_of(w, route, regex, strlen(path), of[i], count > 1);
        consider(best, route, matched, &p);
    }
}

static answer_t try_every_route(const world_t *w, const request_t *r)
{
    answer_t best = { .route = NULL };
    for (size_t i = 0; i < ROUTES_MAX; i++) {
        const route_t *route = &w->routes[i];
        if (!all_but_paths_hold(w, route, r))
            continue;
        if (route->paths.count > 0) {
            try_paths(w, route, r, &best);
            continue;
        }
        priority_t p = priority_of(w, route, false, 0, 0, false);
        consider(&best, route, -1, &p);
    }
    return best;
}

/* -- the property ----------------------------------------------------------------------------- */

static request_t random_request(void)
{
    request_t r = { .method = PICK(methods),
                    .host = below(10) == 0 ? NULL : PICK(request_hosts),
                    .path = PICK(request_paths),
                    .https = below(2) };
    if (r.https && below(5) != 0)
        r.sni = PICK(request_snis);
    for (unsigned i = 0; i < HEADERS_MAX; i++)
        for (unsigned n = 0; n < below(3); n++)
            r.headers[i][n] = PICK(request_values);
    return r;
}

static void show_route(world_t *w, const weir_uuid_t *id)
{
    fixture_t *f = &w->image;
    weir_str_t text;
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    if (id != NULL && weir_reader_document(f->reader, WEIR_ROUTES, id, &text, &f->err) == WEIR_OK)
        print_message("%.*s\n", WEIR_STR_ARG(text));
    weir_reader_leave(f->reader);
}

static void check_request(world_t *w)
{
    static fixture_request_t q;
    request_t r = random_request();
    fixture_request(&q, r.method, r.host, r.path);
    q.match.https = r.https;
    q.match.sni = weir_str(r.sni);
    for (unsigned i = 0; i < HEADERS_MAX; i++)
        for (unsigned n = 0; n < 2 && r.headers[i][n] != NULL; n++)
            fixture_add_header(&q, weir_str(header_names[i]), weir_str(r.headers[i][n]));
    answer_t want = try_every_route(w, &r);
    weir_match_t got;
    int rc = fixture_match(&w->image, &q, &got);
    int matched = rc == WEIR_OK && got.has_path ? (int)got.path_matched : -1;
    if (rc == (want.route != NULL ? WEIR_OK : WEIR_NOT_FOUND) &&
        (rc != WEIR_OK ||
         (weir_uuid_equal(&got.route.id, &want.route->id) && matched == want.matched)))
        return;
    char id[2][WEIR_UUID_TEXT + 1] = { "none", "none" };
    if (want.route != NULL)
        weir_uuid_format(&want.route->id, id[0]);
    if (rc == WEIR_OK)
        weir_uuid_format(&got.route.id, id[1]);
    print_message("%s %s %s sni %s: expected %s (%d), got %s (%d)\n", r.method,
                  r.host != NULL ? r.host : "-", r.path, r.sni != NULL ? r.sni : "-", id[0],
                  want.route != NULL ? want.matched : 0, id[1], matched);
    show_route(w, want.route != NULL ? &want.route->id : NULL);
    show_route(w, rc == WEIR_OK ? &got.route.id : NULL);
    fail();
}

static void check_index(world_t *w)
{
    fixture_t once;
    weir_image_options_t options = fixture_options(&once);
    options.documented_order = w->documented;
    fixture_open_with(&once, &options);
    compare_copy(&w->image, &once);
    int different = compare_images(&w->image, &once);
    assert_true(compare_verified(&w->image));
    fixture_close(&once);
    assert_int_equal(different, -1);
}

static int show_quarantined(void *context, const weir_quarantined_t *entry)
{
    (void)context;
    print_message("%.*s: %.*s\n", WEIR_STR_ARG(entry->field), WEIR_STR_ARG(entry->reason));
    return WEIR_INVALID;
}

static void run(bool documented)
{
    static world_t w;
    w = (world_t){ .documented = documented, .enabled = { true, true, true } };
    weir_image_options_t options = fixture_options(&w.image);
    options.documented_order = documented;
    fixture_open_with(&w.image, &options);
    fixture_begin(&w.image, true);
    for (int i = 0; i < SERVICES; i++)
        put_service(&w, i);
    fixture_commit(&w.image);
    for (size_t i = 0; i < ROUTES_MAX; i++)
        for (size_t k = 0; k < WEIR_UUID_BYTES; k++)
            w.routes[i].id.bytes[k] = (uint8_t)below(256);
    for (unsigned round = rounds(300); round > 0; round--) {
        fixture_begin(&w.image, false);
        for (unsigned i = 1 + below(6); i > 0; i--)
            change_something(&w);
        fixture_commit(&w.image);
        assert_int_equal(
            weir_image_quarantined(w.image.image, show_quarantined, NULL, &w.image.err), WEIR_OK);
        for (int i = 0; i < 40; i++)
            check_request(&w);
        if (round % 50 == 1)
            check_index(&w);
    }
    fixture_close(&w.image);
}

static void the_index_answers_as_a_matcher_that_tries_every_route(void **state)
{
    (void)state;
    start_random();
    run(false);
}

static void the_same_in_the_documented_order(void **state)
{
    (void)state;
    run(true);
}

/* -- every type of entity -----------------------------------------------------------------------
 */

enum { ENTITIES = 12 };

static const char *const entity_types[] = {
    "services", "routes", "consumers", "plugins", "keyauth_credentials", "upstreams", "targets"
};
enum { SERVICES_AT, ROUTES_AT, CONSUMERS_AT, PLUGINS_AT, KEYS_AT, UPSTREAMS_AT, TARGETS_AT, TYPES };

static void add_reference(weir_buffer_t *row, const char *field, unsigned type, unsigned percent)
{
    if (below(100) < percent)
        weir_buffer_printf(row, ",\"%s\":{\"id\":\"%08x-0000-4000-8000-%012u\"}", field, type,
                           below(ENTITIES));
}

/* Chosen once for each entity: a changed reference that leads nowhere would leave an
 * older record serving, and that is history, not configuration. They may lead
 * nowhere from the start, or from some time on. */
static const char *references_of(unsigned type, unsigned number)
{
    static weir_buffer_t kept[TYPES][ENTITIES];
    weir_buffer_t *text = &kept[type][number];
    if (text->len == 0) {
        weir_buffer_init(text, 1024);
        if (type == ROUTES_AT || type == PLUGINS_AT)
            add_reference(text, "service", SERVICES_AT, 40);
        if (type == PLUGINS_AT)
            add_reference(text, "route", ROUTES_AT, 20);
        if (type == KEYS_AT)
            add_reference(text, "consumer", CONSUMERS_AT, 100);
        if (type == TARGETS_AT)
            add_reference(text, "upstream", UPSTREAMS_AT, 100);
        weir_buffer_byte(text, '\0');
    }
    return text->data;
}

static void add_fields(weir_buffer_t *row, unsigned type, unsigned number)
{
    static const char *const plugins[] = { "request-termination", "key-auth", "unheard-of" };
    const char *enabled = below(3) ? "true" : "false";
    if (type == SERVICES_AT)
        weir_buffer_printf(row, ",\"host\":\"u%u.test\",\"enabled\":%s", below(3), enabled);
    else if (type == ROUTES_AT)
        weir_buffer_printf(row, ",\"paths\":[\"/%u\"],\"headers\":{\"h\":[\"%u\"]}", below(3),
                           below(3));
    else if (type == CONSUMERS_AT)
        weir_buffer_printf(row, ",\"username\":\"u%u\",\"custom_id\":\"c%u\"", below(9), number);
    else if (type == PLUGINS_AT)
        weir_buffer_printf(row, ",\"name\":\"%s\",\"enabled\":%s", plugins[number % 3], enabled);
    else if (type == UPSTREAMS_AT)
        weir_buffer_printf(row,
                           ",\"name\":\"u%u.test\",\"healthchecks\":{\"active\":{\"healthy\":"
                           "{\"interval\":%u}}}",
                           below(3), below(2));
    else if (type == TARGETS_AT)
        weir_buffer_printf(row, ",\"target\":\"t%u.test:80\",\"weight\":%u", number, below(3));
    else
        weir_buffer_printf(row, ",\"key\":\"k%u\"%s", below(9),
                           below(2) ? ",\"ttl\":1800000000" : "");
}

static void put_entity(fixture_t *f, unsigned type, unsigned number)
{
    WEIR_AUTO(buffer) weir_buffer_t row;
    weir_buffer_init(&row, 4096);
    weir_buffer_printf(&row,
                       "{\"id\":\"%08x-0000-4000-8000-%012u\",\"created_at\":1,\"updated_at\":1%s",
                       type, number, references_of(type, number));
    add_fields(&row, type, number);
    weir_buffer_byte(&row, '}');
    weir_buffer_byte(&row, '\0');
    fixture_put(f, entity_types[type], row.data);
}

static void delete_entity(fixture_t *f, unsigned type, unsigned number)
{
    char key[64];
    snprintf(key, sizeof(key), "{\"id\":\"%08x-0000-4000-8000-%012u\"}", type, number);
    fixture_delete(f, entity_types[type], key);
}

static void an_image_kept_by_deltas_is_the_one_built_at_once_or_in_parts(void **state)
{
    (void)state;
    fixture_t f, once;
    static const weir_digest_key_t key = { { 7 } };
    fixture_open(&f);
    fixture_open(&once);
    fixture_ok(&f, weir_image_set_digest_key(f.image, &key, &f.err));
    for (unsigned round = rounds(400); round > 0; round--) {
        fixture_begin(&f, false);
        for (unsigned i = 1 + below(8); i > 0; i--) {
            unsigned type = below(TYPES);
            unsigned number = below(ENTITIES);
            if (below(3) == 0)
                delete_entity(&f, type, number);
            else
                put_entity(&f, type, number);
        }
        fixture_commit(&f);
        compare_copy(&f, &once);
        int different = compare_images(&f, &once);
        if (different >= 0)
            print_message("database %d differs\n", different);
        assert_int_equal(different, -1);
        assert_true(compare_verified(&f));
        if (round % 8 == 4) {
            compare_stage(&f, &once);
            assert_int_equal(compare_images(&f, &once), -1);
            assert_true(compare_verified(&once));
        }
        if (round % 8 == 0) { /* and now and then to one that has no past at all */
            fixture_close(&once);
            fixture_open(&once);
        }
    }
    fixture_close(&f);
    fixture_close(&once);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_index_answers_as_a_matcher_that_tries_every_route),
        cmocka_unit_test(the_same_in_the_documented_order),
        cmocka_unit_test(an_image_kept_by_deltas_is_the_one_built_at_once_or_in_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
