/* upstreams_test.c -- an upstream is found by its name, with its targets, and nothing of
 * another one; what changes of it concerns it alone. */
#include "image/rows.h"

#define U1 "11000000-0000-4000-8000-000000000001"
#define U2 "11000000-0000-4000-8000-000000000002"
#define T1 "22000000-0000-4000-8000-000000000001"
#define T2 "22000000-0000-4000-8000-000000000002"
#define T3 "22000000-0000-4000-8000-000000000003"

#define UPSTREAM(id, name, more) "{\"id\":\"" id "\",\"name\":\"" name "\"" more "}"
#define TARGET(id, upstream, target, more) \
    "{\"id\":\"" id "\",\"target\":\"" target "\"," REF("upstream", upstream) more "}"
#define KEY_OF(id) "{\"id\":\"" id "\"}"

typedef struct targets {
    size_t count;
    char text[256]; /* "host port weight, ...", or "name value, ..." of headers */
} targets_t;

static int add_target(void *context, const weir_target_t *target, weir_error_t *err)
{
    targets_t *targets = context;
    size_t len = strlen(targets->text);
    (void)err;
    snprintf(targets->text + len, sizeof(targets->text) - len, "%s%.*s %d %d",
             targets->count++ > 0 ? ", " : "", WEIR_STR_ARG(target->host), target->port,
             target->weight);
    return WEIR_OK;
}

static targets_t targets_of(fixture_t *f, const char *upstream)
{
    targets_t targets = { .count = 0 };
    weir_uuid_t id = fixture_uuid(upstream);
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    fixture_ok(f, weir_reader_targets(f->reader, &id, add_target, &targets, &f->err));
    weir_reader_leave(f->reader);
    return targets;
}

static int named(fixture_t *f, const char *name, weir_upstream_t *ret)
{
    weir_uuid_t id;
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    int rc = weir_reader_upstream_named(f->reader, weir_str(name), &id, &f->err);
    if (rc == WEIR_OK)
        fixture_ok(f, weir_reader_upstream(f->reader, &id, ret, &f->err));
    weir_reader_leave(f->reader); /* numbers of `ret` stay */
    return rc;
}

static int count_one(void *context, const weir_uuid_t *upstream, weir_error_t *err)
{
    (void)upstream, (void)err;
    ++*(size_t *)context;
    return WEIR_OK;
}

static size_t probed(fixture_t *f)
{
    size_t count = 0;
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    fixture_ok(f, weir_reader_probed(f->reader, count_one, &count, &f->err));
    weir_reader_leave(f->reader);
    return count;
}

static void fill(fixture_t *f)
{
    fixture_begin(f, true);
    fixture_put(f, "targets", TARGET(T1, U1, "a.test:81", ""));
    fixture_put(f, "targets", TARGET(T2, U1, "10.0.0.1", ",\"weight\":0"));
    fixture_put(f, "targets", TARGET(T3, U2, "[::1]:82", ",\"weight\":7"));
    fixture_put(f, "upstreams", UPSTREAM(U1, "one.test", ""));
    fixture_put(f, "upstreams", UPSTREAM(U2, "two.test", ",\"slots\":20"));
    fixture_commit(f);
    assert_int_equal(quarantined(f).count, 0);
}

static void an_upstream_has_its_targets_and_no_others(void **state)
{
    fixture_t *f = *state;
    weir_upstream_t upstream = { .slots = 0 };
    fill(f);
    assert_int_equal(named(f, "one.test", &upstream), WEIR_OK);
    assert_int_equal(upstream.slots, 10000);
    assert_int_equal(named(f, "two.test", &upstream), WEIR_OK);
    assert_int_equal(upstream.slots, 20);
    assert_int_equal(named(f, "ONE.test", &upstream), WEIR_NOT_FOUND);
    assert_string_equal(targets_of(f, U1).text, "a.test 81 100, 10.0.0.1 8000 0");
    assert_string_equal(targets_of(f, U2).text, "[0000:0000:0000:0000:0000:0000:0000:0001] 82 7");
}

static void a_target_moves_and_goes(void **state)
{
    fixture_t *f = *state;
    fill(f);
    fixture_put_alone(f, "targets", TARGET(T1, U2, "a.test:81", ""));
    assert_int_equal(targets_of(f, U1).count, 1);
    assert_int_equal(targets_of(f, U2).count, 2);
    fixture_delete_alone(f, "targets", KEY_OF(T1));
    assert_int_equal(targets_of(f, U2).count, 1);
    fixture_delete_alone(f, "upstreams", KEY_OF(U2));
    assert_int_equal(targets_of(f, U2).count, 0);
}

/* A refused one that served serves on, where it served. */
static void a_refused_target_is_no_target(void **state)
{
    fixture_t *f = *state;
    fill(f);
    fixture_put_alone(f, "targets", TARGET("22000000-0000-4000-8000-000000000009", U1, "a b", ""));
    fixture_put_alone(f, "targets", TARGET(T3, U1, "b b", ""));
    assert_int_equal(quarantined(f).count, 2);
    assert_int_equal(targets_of(f, U1).count, 2);
    assert_int_equal(targets_of(f, U2).count, 1);
}

static void a_renamed_upstream_is_found_by_its_new_name(void **state)
{
    fixture_t *f = *state;
    weir_upstream_t upstream = { .slots = 0 };
    fill(f);
    fixture_put_alone(f, "upstreams", UPSTREAM(U1, "new.test", ""));
    assert_int_equal(named(f, "one.test", &upstream), WEIR_NOT_FOUND);
    assert_int_equal(named(f, "new.test", &upstream), WEIR_OK);
    assert_int_equal(targets_of(f, U1).count, 2);
}

#define CHECKS                                                                                  \
    ",\"algorithm\":\"consistent-hashing\",\"hash_on\":\"header\",\"hash_on_header\":\"h\","    \
    "\"hash_fallback\":\"cookie\",\"hash_on_cookie\":\"c\",\"healthchecks\":{\"threshold\":"    \
    "12.5,\"passive\":{\"unhealthy\":{\"http_failures\":3,\"http_statuses\":[500,999]}},"       \
    "\"active\":{\"type\":\"https\",\"http_path\":\"/up\",\"timeout\":0.25,\"headers\":{\"a\":" \
    "[\"1\",\"2\"],\"b\":[\"3\"]},\"healthy\":{\"interval\":0.0001,\"successes\":2}}}"

static bool add_header(void *context, weir_str_t name, weir_str_t value)
{
    targets_t *list = context;
    size_t len = strlen(list->text);
    snprintf(list->text + len, sizeof(list->text) - len, "%s%.*s %.*s",
             list->count++ > 0 ? ", " : "", WEIR_STR_ARG(name), WEIR_STR_ARG(value));
    return true;
}

static void what_is_said_of_an_upstream_is_what_is_read(void **state)
{
    fixture_t *f = *state;
    weir_upstream_t u;
    weir_uuid_t id = fixture_uuid(U1);
    fixture_put_alone(f, "upstreams", UPSTREAM(U1, "one.test", CHECKS));
    assert_int_equal(quarantined(f).count, 0);
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    fixture_ok(f, weir_reader_upstream(f->reader, &id, &u, &f->err));
    assert_int_equal(u.algorithm, WEIR_CONSISTENT_HASHING);
    assert_int_equal(u.hash_on.input, WEIR_HASH_HEADER);
    assert_true(weir_str_is(u.hash_on.name, "h"));
    assert_int_equal(u.hash_fallback.input, WEIR_HASH_COOKIE);
    assert_true(weir_str_is(u.hash_fallback.name, "c"));
    assert_int_equal(u.threshold_centi, 1250);
    assert_int_equal(u.passive.http_failures, 3);
    assert_true(weir_statuses_has(&u.passive.unhealthy, 999));
    assert_false(weir_statuses_has(&u.passive.unhealthy, 503));
    assert_true(weir_statuses_has(&u.passive.healthy, 308));
    assert_int_equal(u.probes.kind, WEIR_PROBE_HTTPS);
    assert_true(weir_str_is(u.probes.path, "/up"));
    assert_int_equal(u.probes.timeout_ms, 250);
    assert_int_equal(u.probes.healthy_interval_ms, 1); /* something, not never */
    assert_int_equal(u.active.successes, 2);
    targets_t headers = { .count = 0 };
    weir_probes_headers(&u.probes, add_header, &headers);
    assert_string_equal(headers.text, "a 1, a 2, b 3");
    weir_reader_leave(f->reader);
}

static void who_is_to_be_probed_is_known_without_a_search(void **state)
{
    fixture_t *f = *state;
    fill(f);
    assert_int_equal(probed(f), 0);
    fixture_put_alone(f, "upstreams", UPSTREAM(U1, "one.test", CHECKS));
    fixture_put_alone(f, "upstreams", UPSTREAM(U2, "two.test", CHECKS));
    assert_int_equal(probed(f), 2);
    fixture_put_alone(f, "upstreams", UPSTREAM(U1, "one.test", ""));
    assert_int_equal(probed(f), 1);
    fixture_delete_alone(f, "upstreams", KEY_OF(U2));
    assert_int_equal(probed(f), 0);
}

/* Which of an upstream's id, its name and another upstream's id a change concerns. */
static void a_change_concerns_its_upstream_alone(void **state)
{
    enum { OWN = 1, HOST = 2, OTHER = 4 };
    static const struct {
        const char *type, *row;
        int stands;
    } cases[] = {
        { "targets", TARGET(T1, U1, "a.test:81", ",\"weight\":1"), HOST | OTHER },
        { "targets", TARGET(T3, U2, "c.test", ""), OWN | HOST },
        { "targets", TARGET(T3, U1, "[::1]:82", ""), HOST }, /* from one to the other */
        { "upstreams", UPSTREAM(U1, "one.test", ",\"slots\":50"), OTHER },
        { "upstreams", UPSTREAM(U2, "two.test", ",\"slots\":50"), OWN | HOST },
        { "upstreams", UPSTREAM(K1, "three.test", ""), OWN | HOST | OTHER },
        { "consumers", CONSUMER(C1, "u"), OWN | HOST | OTHER },
    };
    fixture_t *f = *state;
    weir_uuid_t own = fixture_uuid(U1), other = fixture_uuid(U2);
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        fill(f);
        uint64_t since = routing_of(f);
        fixture_put_alone(f, cases[i].type, cases[i].row);
        routing_of(f);
        int stands = (weir_reader_upstream_stands(f->reader, &own, since) ? OWN : 0) |
                     (weir_reader_host_stands(f->reader, WEIR_STR("one.test"), since) ? HOST : 0) |
                     (weir_reader_upstream_stands(f->reader, &other, since) ? OTHER : 0);
        print_message("%s %s\n", cases[i].type, cases[i].row);
        assert_int_equal(stands, cases[i].stands);
    }
}

static int capture(fixture_t *f, const char *path, size_t matched, const char *name,
                   weir_str_t *ret)
{
    weir_uuid_t id = fixture_uuid(R1);
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    int rc =
        weir_reader_capture(f->reader, &id, weir_str(path), matched, weir_str(name), ret, &f->err);
    weir_reader_leave(f->reader);
    return rc;
}

static void a_capture_is_of_the_expression_that_matched(void **state)
{
    fixture_t *f = *state;
    weir_str_t text;
    fixture_put_alone(f, "routes",
                      "{\"id\":\"" R1 "\",\"paths\":[\"/a\",\"~/a/(?<x>[0-9])\","
                      "\"~/a/(?<x>[0-9]+)(?<y>z)?\"]}");
    assert_int_equal(quarantined(f).count, 0);
    assert_int_equal(capture(f, "/a/12/b", 3, "x", &text), WEIR_NOT_FOUND);
    assert_int_equal(capture(f, "/a/12/b", 5, "x", &text), WEIR_OK);
    assert_true(weir_str_is(text, "12"));
    assert_int_equal(capture(f, "/a/1", 4, "x", &text), WEIR_OK);
    assert_true(weir_str_is(text, "1"));
    assert_int_equal(capture(f, "/a/12/b", 5, "y", &text), WEIR_NOT_FOUND); /* no part of it */
    assert_int_equal(capture(f, "/a/12/b", 5, "1", &text), WEIR_NOT_FOUND);
    assert_int_equal(capture(f, "/b", 2, "x", &text), WEIR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_upstream_has_its_targets_and_no_others),
        TEST(a_target_moves_and_goes),
        TEST(a_refused_target_is_no_target),
        TEST(a_renamed_upstream_is_found_by_its_new_name),
        TEST(what_is_said_of_an_upstream_is_what_is_read),
        TEST(who_is_to_be_probed_is_known_without_a_search),
        TEST(a_change_concerns_its_upstream_alone),
        TEST(a_capture_is_of_the_expression_that_matched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
