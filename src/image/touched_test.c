/* touched_test.c -- what workers remember stands exactly as long as it is true.
 *
 * Random services, routes and plugins come, change and go. What is remembered of a
 * request is what the proxy remembers; whatever the reader says still stands must be
 * what a fresh look finds. WEIR_SEED repeats a run; WEIR_ROUNDS makes it longer. */
#include "image/fixture.h"

#include "image/chance.h"
#include "image/internal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define LONG "/llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllll"

enum {
    SERVICES = 5,
    ROUTES = 24,
    PLUGINS = 16,
    CONSUMERS = 2,
    UPSTREAMS = 4,
    TARGETS = 12,
    REQUESTS = 160,
    BURST = 400
};

#define PICK(list) ((list)[below(WEIR_COUNT(list))])

/* -- configurations of chance -------------------------------------------------------------- */

static void add_list(weir_buffer_t *row, const char *field, const char *const *from, unsigned count,
                     unsigned percent)
{
    if (below(100) >= percent)
        return;
    unsigned first = below(count), second = below(count);
    weir_buffer_printf(row, ",\"%s\":[\"%s\"", field, from[first]);
    if (second != first && below(2))
        weir_buffer_printf(row, ",\"%s\"", from[second]);
    weir_buffer_append(row, WEIR_STR("]"));
}

static void add_reference(weir_buffer_t *row, const char *field, char kind, unsigned count,
                          unsigned percent)
{
    if (below(100) < percent)
        weir_buffer_printf(row, ",\"%s\":{\"id\":\"0000000%c-0000-4000-8000-%012u\"}", field, kind,
                           below(count));
}

static void put(fixture_t *f, const char *type, char kind, unsigned number, weir_buffer_t *fields)
{
    WEIR_AUTO(buffer) weir_buffer_t row;
    weir_buffer_init(&row, 8192);
    weir_buffer_printf(&row, "{\"id\":\"0000000%c-0000-4000-8000-%012u\"%.*s}", kind, number,
                       WEIR_STR_ARG(weir_buffer_str(fields)));
    weir_buffer_byte(&row, '\0');
    fixture_put(f, type, row.data);
}

static void put_service(fixture_t *f, unsigned number)
{
    WEIR_AUTO(buffer) weir_buffer_t fields;
    weir_buffer_init(&fields, 4096);
    weir_buffer_printf(&fields, ",\"host\":\"u%u.test\",\"enabled\":%s", below(9),
                       below(6) ? "true" : "false");
    put(f, "services", '1', number, &fields);
}

static void put_route(fixture_t *f, unsigned number)
{
    static const char *const hosts[] = { "a.test", "b.a.test", "*.a.test", "*.test", "a.*", "b.*" };
    static const char *const paths[] = { "/",       "/a",  "/a/b",   "/ab",     "/a/b/c/d/e/f",
                                         "~/a/.*c", "~/b", "~/[ab]", LONG "/x", LONG };
    static const char *const methods[] = { "GET", "POST", "FOO" };
    static const char *const snis[] = { "a.test", "*.test" };
    WEIR_AUTO(buffer) weir_buffer_t fields;
    weir_buffer_init(&fields, 4096);
    weir_buffer_printf(&fields, ",\"strip_path\":%s,\"protocols\":[\"http\",\"https\"]",
                       below(2) ? "true" : "false");
    add_list(&fields, "hosts", hosts, WEIR_COUNT(hosts), 60);
    add_list(&fields, "paths", paths, WEIR_COUNT(paths), 90);
    add_list(&fields, "methods", methods, WEIR_COUNT(methods), 30);
    add_list(&fields, "snis", snis, WEIR_COUNT(snis), 15);
    if (below(8) == 0)
        weir_buffer_append(&fields, WEIR_STR(",\"headers\":{\"h\":[\"1\"]}"));
    add_reference(&fields, "service", '1', SERVICES + 1, 70); /* one is never there */
    put(f, "routes", '2', number, &fields);
}

static void put_plugin(fixture_t *f, unsigned number)
{
    static const char *const names[] = { "request-termination", "key-auth", "unheard-of" };
    WEIR_AUTO(buffer) weir_buffer_t fields;
    weir_buffer_init(&fields, 4096);
    weir_buffer_printf(&fields, ",\"name\":\"%s\",\"enabled\":%s", PICK(names),
                       below(5) ? "true" : "false");
    add_reference(&fields, "route", '2', ROUTES, number < 2 ? 0 : 50);
    add_reference(&fields, "service", '1', SERVICES, number < 2 ? 0 : 60);
    if (below(4) == 0)
        add_reference(&fields, "consumer", '4', CONSUMERS, 100);
    put(f, "plugins", '3', number, &fields);
}

static void put_consumer(fixture_t *f, unsigned number)
{
    WEIR_AUTO(buffer) weir_buffer_t fields;
    weir_buffer_init(&fields, 4096);
    weir_buffer_printf(&fields, ",\"username\":\"c%u\",\"custom_id\":\"%u\"", number, below(99));
    put(f, "consumers", '4', number, &fields);
}

static void put_upstream(fixture_t *f, unsigned number)
{
    WEIR_AUTO(buffer) weir_buffer_t fields;
    weir_buffer_init(&fields, 4096);
    weir_buffer_printf(&fields, ",\"name\":\"u%u.test\",\"slots\":%u", below(9), 10 + below(9));
    put(f, "upstreams", '5', number, &fields);
}

static void put_target(fixture_t *f, unsigned number)
{
    WEIR_AUTO(buffer) weir_buffer_t fields;
    weir_buffer_init(&fields, 4096);
    weir_buffer_printf(&fields, ",\"target\":\"t%u.test:80\",\"weight\":%u", number, below(9));
    add_reference(&fields, "upstream", '5', UPSTREAMS + 1, 100); /* one is never there */
    put(f, "targets", '6', number, &fields);
}

static void take_away(fixture_t *f, const char *type, char kind, unsigned number)
{
    char key[64];
    snprintf(key, sizeof(key), "{\"id\":\"0000000%c-0000-4000-8000-%012u\"}", kind, number);
    fixture_delete(f, type, key);
}

static void change_something(fixture_t *f)
{
    switch (below(12)) {
    case 9:
        put_upstream(f, below(UPSTREAMS));
        break;
    case 10:
        put_target(f, below(TARGETS));
        break;
    case 11:
        if (below(4) == 0)
            take_away(f, "upstreams", '5', below(UPSTREAMS));
        else
            take_away(f, "targets", '6', below(TARGETS));
        break;
    case 0:
        take_away(f, "routes", '2', below(ROUTES));
        break;
    case 1:
        take_away(f, "plugins", '3', below(PLUGINS));
        break;
    case 2:
        if (below(4) == 0)
            take_away(f, "services", '1', below(SERVICES));
        break;
    case 3:
        put_service(f, below(SERVICES));
        break;
    case 4:
    case 5:
        put_plugin(f, below(4) ? 2 + below(PLUGINS - 2) : below(2));
        break;
    case 6:
        put_consumer(f, below(CONSUMERS));
        break;
    default:
        put_route(f, below(ROUTES));
    }
}

/* -- what is remembered of a request ---------------------------------------------------------- */

typedef struct facts {
    bool found, by_headers;
    weir_uuid_t route, service;
    size_t path_matched;
    uint64_t route_version, service_version;
    size_t plugin_count;
    weir_planned_t plugins[PLUGINS];
    char host[16];        /* of the service */
    weir_uuid_t upstream; /* that it names; zero: none */
    uint64_t balance;     /* a hash of that upstream and its targets */
} facts_t;

typedef struct remembered {
    fixture_request_t request;
    facts_t facts;
    uint64_t line, routed, balanced; /* moments */
} remembered_t;

static int mix_target(void *context, const weir_target_t *target, weir_error_t *err)
{
    uint64_t *hash = context;
    (void)err;
    *hash = *hash * 31 + target->id.bytes[15];
    *hash = *hash * 31 + target->weight;
    return WEIR_OK;
}

static void look_at_upstream(fixture_t *f, weir_str_t host, facts_t *ret)
{
    weir_upstream_t upstream = { .slots = 0 };
    snprintf(ret->host, sizeof(ret->host), "%.*s", WEIR_STR_ARG(host));
    if (weir_reader_upstream_named(f->reader, host, &ret->upstream, &f->err) != WEIR_OK)
        return;
    fixture_ok(f, weir_reader_upstream(f->reader, &ret->upstream, &upstream, &f->err));
    ret->balance = upstream.slots;
    fixture_ok(f,
               weir_reader_targets(f->reader, &ret->upstream, mix_target, &ret->balance, &f->err));
}

/* As the proxy does it. */
static void look(fixture_t *f, fixture_request_t *request, facts_t *ret, uint64_t *ret_moment)
{
    weir_match_t match;
    *ret = (facts_t){ .found = false };
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    fixture_ok(f, weir_reader_moment(f->reader, ret_moment, &f->err));
    int rc = weir_reader_match(f->reader, &request->match, &match, &f->err);
    if (rc == WEIR_OK) {
        bool served = !weir_uuid_is_zero(&match.route.service);
        weir_service_t service = { .version = 0 };
        weir_plan_t plan;
        ret->found = true;
        ret->by_headers = match.by_headers;
        ret->route = match.route.id;
        ret->service = match.route.service;
        ret->path_matched = match.has_path ? match.path_matched : 0;
        ret->route_version = match.route.version;
        if (served)
            fixture_ok(f, weir_reader_service(f->reader, &ret->service, &service, &f->err));
        ret->service_version = service.version;
        if (served)
            look_at_upstream(f, service.host, ret);
        fixture_ok(f, weir_reader_plan(f->reader, &ret->route, served ? &ret->service : NULL, NULL,
                                       &plan, &f->err));
        ret->plugin_count = plan.count;
        for (size_t i = 0; i < plan.count; i++)
            ret->plugins[i] = plan.plugins[i];
    }
    weir_reader_leave(f->reader);
}

static bool same_route(const facts_t *a, const facts_t *b)
{
    bool same = weir_uuid_equal(&a->upstream, &b->upstream) &&
                a->route_version == b->route_version && a->service_version == b->service_version &&
                weir_uuid_equal(&a->service, &b->service) && a->plugin_count == b->plugin_count;
    for (size_t i = 0; same && i < a->plugin_count; i++)
        same = weir_uuid_equal(&a->plugins[i].id, &b->plugins[i].id) &&
               a->plugins[i].version == b->plugins[i].version &&
               a->plugins[i].refused == b->plugins[i].refused;
    return same;
}

typedef struct counts {
    unsigned stood, fell, needless, balance_fell;
} counts_t;

static void check(fixture_t *f, remembered_t *r, counts_t *counts)
{
    facts_t fresh;
    uint64_t moment = 0, now = 0;
    r->request.header_count = below(2); /* what is remembered is true whatever they say */
    if (r->facts.found && !r->facts.by_headers) {
        const weir_uuid_t *service =
            weir_uuid_is_zero(&r->facts.service) ? NULL : &r->facts.service;
        fixture_ok(f, weir_reader_moment(f->reader, &moment, &f->err));
        bool line = weir_reader_match_stands(f->reader, &r->request.match, r->line);
        bool route = weir_reader_route_stands(f->reader, &r->facts.route, service, r->routed) &&
                     weir_reader_host_stands(f->reader, weir_str(r->facts.host), r->routed);
        bool balance = weir_reader_upstream_stands(f->reader, &r->facts.upstream, r->balanced);
        look(f, &r->request, &fresh, &now);
        assert_int_equal(now, moment);
        bool same = fresh.found && weir_uuid_equal(&fresh.route, &r->facts.route);
        if (line)
            assert_true(same && fresh.path_matched == r->facts.path_matched);
        if (route && same)
            assert_true(same_route(&fresh, &r->facts));
        if (route && same && balance)
            assert_true(fresh.balance == r->facts.balance);
        counts->balance_fell += route && same && !balance;
        counts->stood += line && route;
        counts->fell += !(line && route);
        counts->needless += !(line && route) && same && same_route(&fresh, &r->facts);
        r->line = line ? moment : r->line;
        r->routed = route ? moment : r->routed;
        r->balanced = balance ? moment : r->balanced;
        if (line && route && balance)
            return;
    }
    look(f, &r->request, &r->facts, &r->line);
    r->routed = r->balanced = r->line;
}

static void random_request(fixture_request_t *request)
{
    static const char *const hosts[] = { "a.test", "b.a.test:81", "c.a.test", "a.other",
                                         "b.else", "x",           NULL };
    static const char *const paths[] = { "/",  "/a",   "/a/b",         "/abc",    "/a/b/c/d/e/f/g",
                                         "/b", "/q/r", "/a/b/c/d/e/f", LONG "/x", LONG };
    static const char *const methods[] = { "GET", "POST", "FOO" };
    fixture_request(request, PICK(methods), PICK(hosts), PICK(paths));
    request->match.https = below(3) == 0;
    if (request->match.https)
        request->match.sni = weir_str(below(2) ? "a.test" : "c.test");
}

/* -- the property ---------------------------------------------------------------------- */

static void all_anew(fixture_t *f)
{
    fixture_begin(f, true);
    for (unsigned i = 0; i < SERVICES; i++)
        put_service(f, i);
    for (unsigned i = 0; i < CONSUMERS; i++)
        put_consumer(f, i);
    for (unsigned i = 0; i < UPSTREAMS; i++)
        put_upstream(f, i);
    for (unsigned i = 0; i < TARGETS; i++)
        put_target(f, i);
    for (unsigned i = 0; i < ROUTES / 2; i++)
        put_route(f, i);
    fixture_commit(f);
}

static void in_another_order(fixture_t *f, bool documented)
{
    weir_image_options_t options = fixture_options(f);
    options.documented_order = documented;
    weir_image_close(f->image);
    f->image = NULL;
    fixture_ok(f, weir_image_open(&options, &f->image, &f->err));
}

static void change(fixture_t *f, unsigned round)
{
    if (round % 60 == 59) {
        in_another_order(f, round % 120 == 59);
        return;
    }
    if (round % 45 == 44) {
        all_anew(f);
        return;
    }
    fixture_begin(f, false);
    for (unsigned i = round % 30 == 29 ? BURST : 1 + below(2); i > 0; i--)
        change_something(f);
    fixture_commit(f);
}

static void what_is_said_to_stand_is_what_a_fresh_look_finds(void **state)
{
    static remembered_t remembered[REQUESTS];
    fixture_t f;
    counts_t counts = { 0 };
    unsigned count = rounds(600);
    (void)state;
    start_random();
    fixture_open(&f);
    all_anew(&f);
    for (size_t i = 0; i < REQUESTS; i++) {
        remembered[i] = (remembered_t){ .line = 0 };
        random_request(&remembered[i].request);
        remembered[i].request.match.context = &remembered[i].request;
        fixture_add_header(&remembered[i].request, WEIR_STR("h"), WEIR_STR("1"));
    }
    for (unsigned round = 0; round < count; round++) {
        change(&f, round);
        if (below(4) == 0)
            continue; /* several changes at once */
        for (size_t i = 0; i < REQUESTS; i++)
            check(&f, &remembered[i], &counts);
    }
    print_message("stood %u, fell %u, of these needlessly %u\n", counts.stood, counts.fell,
                  counts.needless);
    assert_true(counts.stood > counts.fell); /* else nothing is gained */
    assert_true(counts.fell > counts.needless);
    assert_true(counts.balance_fell > 0);
    fixture_close(&f);
}

/* -- one by one -------------------------------------------------------------------------- */

#define ID(kind, n)      "0000000" kind "-0000-4000-8000-00000000000" n
#define SERVICE(n, more) "{\"id\":\"" ID("1", n) "\",\"host\":\"up.test\"" more "}"
#define ROUTE(n, more)                                                               \
    "{\"id\":\"" ID("2", n) "\",\"hosts\":[\"h" n ".test\"],\"paths\":[\"/" n "\"]," \
                            "\"service\":{\"id\":\"" ID("1", n) "\"}" more "}"
#define PLUGIN(more)      "{\"id\":\"" ID("3", "1") "\",\"name\":\"key-auth\"" more "}"
#define OF(what, kind, n) ",\"" what "\":{\"id\":\"" ID(kind, n) "\"}"

static remembered_t first, second;

static int setup(void **state)
{
    static fixture_t f;
    fixture_open(&f);
    fixture_begin(&f, true);
    fixture_put(&f, "services", SERVICE("1", ""));
    fixture_put(&f, "services", SERVICE("2", ""));
    fixture_put(&f, "consumers", "{\"id\":\"" ID("4", "1") "\",\"username\":\"u\"}");
    fixture_put(&f, "routes", ROUTE("1", ""));
    fixture_put(&f, "routes", ROUTE("2", ""));
    fixture_commit(&f);
    fixture_request(&first.request, "GET", "h1.test", "/1/x");
    fixture_request(&second.request, "GET", "h2.test", "/2");
    look(&f, &first.request, &first.facts, &first.line);
    look(&f, &second.request, &second.facts, &second.line);
    assert_true(first.facts.found && second.facts.found);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    fixture_close(*state);
    return 0;
}

enum { NEITHER = 0, LINE = 1, ROUTE_ITSELF = 2, BOTH = 3 };

static int standing(fixture_t *f, remembered_t *r)
{
    uint64_t moment = 0;
    fixture_ok(f, weir_reader_moment(f->reader, &moment, &f->err));
    return (weir_reader_match_stands(f->reader, &r->request.match, r->line) ? LINE : 0) |
           (weir_reader_route_stands(f->reader, &r->facts.route, &r->facts.service, r->line)
                ? ROUTE_ITSELF
                : 0);
}

static void a_change_concerns_what_it_changes_and_nothing_else(void **state)
{
    static const struct {
        const char *type, *row;
        int first, second;
    } cases[] = {
        { "routes", ROUTE("1", ",\"strip_path\":false"), NEITHER, BOTH },
        { "services", SERVICE("1", ",\"retries\":1"), LINE, BOTH },
        { "plugins", PLUGIN(OF("route", "2", "1")), LINE, BOTH },
        { "plugins", PLUGIN(OF("service", "1", "1")), LINE, BOTH },
        { "plugins", PLUGIN(OF("route", "2", "1") OF("consumer", "4", "1")), BOTH, BOTH },
        { "plugins", PLUGIN(""), NEITHER, NEITHER }, /* global */
        { "consumers", "{\"id\":\"" ID("4", "1") "\",\"username\":\"v\"}", BOTH, BOTH },
        { "services", SERVICE("3", ",\"enabled\":false"), NEITHER, NEITHER },
        { "routes", "{\"id\":\"" ID("2", "3") "\",\"paths\":[\"/1/x\"]}", ROUTE_ITSELF, BOTH },
        { "routes", "{\"id\":\"" ID("2", "3") "\",\"hosts\":[\"h1.*\"],\"paths\":[\"/\"]}",
          ROUTE_ITSELF, BOTH },
        { "routes", "{\"id\":\"" ID("2", "3") "\",\"hosts\":[\"h1.test\"],\"paths\":[\"/2\"]}",
          BOTH, BOTH },
    };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        fixture_t *f = *state;
        fixture_put_alone(f, cases[i].type, cases[i].row);
        print_message("%s %s\n", cases[i].type, cases[i].row);
        assert_int_equal(standing(f, &first), cases[i].first);
        assert_int_equal(standing(f, &second), cases[i].second);
        teardown(state);
        setup(state);
    }
}

/* What is no UTF-8 is refused where a route has a host, or a path (routing 1.3). */
static void the_first_route_with_a_host_or_a_path_concerns_everything(void **state)
{
    fixture_t *f = *state;
    fixture_delete_alone(f, "routes", "{\"id\":\"" ID("2", "1") "\"}");
    fixture_delete_alone(f, "routes", "{\"id\":\"" ID("2", "2") "\"}");
    fixture_put_alone(f, "routes", "{\"id\":\"" ID("2", "3") "\",\"methods\":[\"GET\"]}");
    fixture_request(&first.request, "GET", "\xff.test", "/");
    look(f, &first.request, &first.facts, &first.line);
    fixture_request(&second.request, "GET", "x.test", "/\xff");
    look(f, &second.request, &second.facts, &second.line);
    assert_true(first.facts.found && second.facts.found);
    fixture_put_alone(f, "routes", "{\"id\":\"" ID("2", "4") "\",\"hosts\":[\"elsewhere.com\"]}");
    assert_int_equal(standing(f, &first), NEITHER);
    look(f, &first.request, &first.facts, &first.line);
    assert_false(first.facts.found);
    fixture_put_alone(f, "routes", "{\"id\":\"" ID("2", "5") "\",\"paths\":[\"/elsewhere\"]}");
    look(f, &second.request, &second.facts, &second.line);
    assert_false(second.facts.found);
    fixture_delete_alone(f, "routes", "{\"id\":\"" ID("2", "5") "\"}");
    look(f, &second.request, &second.facts, &second.line);
    assert_true(second.facts.found);
    fixture_put_alone(f, "routes", "{\"id\":\"" ID("2", "5") "\",\"paths\":[\"/elsewhere\"]}");
    assert_int_equal(standing(f, &second), NEITHER);
}

/* More than the image says keys of: the reader cannot know, and says so. */
static void who_comes_late_remembers_nothing(void **state)
{
    fixture_t *f = *state;
    for (unsigned i = 0; i < TOUCHED_MAX + 8; i++)
        fixture_put_alone(f, "services", i % 2 ? SERVICE("3", ",\"retries\":1") : SERVICE("3", ""));
    assert_int_equal(standing(f, &first), NEITHER);
}

static void who_follows_step_by_step_remembers(void **state)
{
    fixture_t *f = *state;
    for (unsigned i = 0; i < TOUCHED_MAX + 8; i++) {
        fixture_put_alone(f, "services", i % 2 ? SERVICE("3", ",\"retries\":1") : SERVICE("3", ""));
        assert_int_equal(standing(f, &first), BOTH);
    }
}

/* Services that nothing remembered has to do with, each in a transaction that is followed. */
static void put_others(fixture_t *f, unsigned from, unsigned count)
{
    uint64_t moment = 0;
    for (unsigned n = from; n < from + count; n++) {
        char row[128];
        snprintf(row, sizeof(row),
                 "{\"id\":\"00000001-0000-4000-8000-%012u\",\"host\":\"other.test\"}", n);
        fixture_put_alone(f, "services", row);
        fixture_ok(f, weir_reader_moment(f->reader, &moment, &f->err));
    }
}

/* A dozen keys are asked for with each request: one that is in doubt is as good as none. */
static void what_others_touch_puts_hardly_anything_in_doubt(void **state)
{
    enum { ASKED = 2000, CHANGED = 300 };
    fixture_t *f = *state;
    uint64_t since = 0;
    unsigned fallen = 0;
    fixture_ok(f, weir_reader_moment(f->reader, &since, &f->err));
    put_others(f, 1000, CHANGED);
    for (unsigned n = 0; n < ASKED; n++) {
        weir_uuid_t id = { { 7, (uint8_t)(n >> 8), (uint8_t)n } };
        fallen += !weir_reader_route_stands(f->reader, &id, NULL, since);
    }
    assert_true(fallen <= ASKED / 1000);
}

static void what_was_touched_is_never_forgotten(void **state)
{
    fixture_t *f = *state;
    fixture_put_alone(f, "services", SERVICE("1", ",\"retries\":1"));
    for (unsigned part = 0; part < 20; part++) {
        assert_int_equal(standing(f, &first) & ROUTE_ITSELF, 0);
        put_others(f, 1000 + part * 500, 500);
    }
    look(f, &first.request, &first.facts, &first.line);
    assert_int_equal(standing(f, &first), BOTH);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_said_to_stand_is_what_a_fresh_look_finds),
        TEST(a_change_concerns_what_it_changes_and_nothing_else),
        TEST(the_first_route_with_a_host_or_a_path_concerns_everything),
        TEST(who_comes_late_remembers_nothing),
        TEST(who_follows_step_by_step_remembers),
        TEST(what_others_touch_puts_hardly_anything_in_doubt),
        TEST(what_was_touched_is_never_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
