/* changes_test.c -- the way of a version to the data planes. */
#include "cluster/fixture.h"

enum { PURGE_S = 1000, KEPT = 8 };

#define OTHER "11111111-2222-4333-8444-666666666666"

static weir_registry_t *new_registry(uint64_t newest)
{
    weir_registry_t *registry = NULL;
    assert_int_equal(weir_registry_new(PURGE_S, &registry, NULL), WEIR_OK);
    assert_int_equal(weir_registry_trace(registry, KEPT, newest, NULL), WEIR_OK);
    return registry;
}

static void join(weir_registry_t *registry, const char *id, int64_t now_ms)
{
    weir_node_facts_t facts = { .node_id = weir_str(id), .hostname = WEIR_STR("dp-host") };
    bool twin = false;
    assert_non_null(weir_registry_connected(registry, &facts, now_ms, &twin));
}

/* The caller frees. */
static weir_json_t *change(weir_registry_t *registry, uint64_t version)
{
    weir_json_t *out = NULL;
    assert_int_equal(weir_registry_change(registry, version, NULL, 0, &out, NULL), WEIR_OK);
    return out;
}

static const char *refusal(weir_registry_t *registry, uint64_t version)
{
    static weir_error_t err;
    weir_json_t *out = NULL;
    assert_int_equal(weir_registry_change(registry, version, NULL, 0, &out, &err), WEIR_NOT_FOUND);
    return err.reason;
}

static double number(const weir_json_t *from, const char *name)
{
    assert_int_equal(weir_json_kind(weir_json_get(from, name)), WEIR_JSON_NUMBER);
    return weir_json_number(weir_json_get(from, name));
}

static const weir_json_t *stop_of(const weir_json_t *from, const char *id)
{
    const weir_json_t *stop = weir_json_first(weir_json_get(from, "data_planes"));
    while (stop != NULL && !weir_str_is(weir_json_get_string(stop, "id", WEIR_STR("")), id))
        stop = weir_json_next(stop);
    assert_non_null(stop);
    return stop;
}

static bool is_state(const weir_json_t *stop, const char *state)
{
    return weir_str_is(weir_json_get_string(stop, "state", WEIR_STR("")), state);
}

static void a_version_tells_when_each_data_plane_was_sent_it_and_had_it(void **state)
{
    weir_registry_t *registry = new_registry(40);
    (void)state;
    join(registry, FIXTURE_NODE, 1);
    join(registry, OTHER, 1);
    weir_registry_committed(registry, 43, 5000); /* three at once */
    weir_registry_encoded(registry, 40, 43, 5100);
    weir_registry_encoded(registry, 41, 43, 5900); /* again, for another node */
    weir_registry_sent(registry, fixture_node(registry, FIXTURE_NODE), 40, 43, 5200);
    weir_registry_sent(registry, fixture_node(registry, OTHER), 40, 43, 5300);
    weir_registry_applied(registry, fixture_node(registry, FIXTURE_NODE), 43, 77, 5700);
    weir_json_t *c = change(registry, 42);
    assert_int_equal(number(c, "version"), 42);
    assert_int_equal(number(c, "committed_us"), 5000);
    assert_int_equal(number(c, "encoded_us"), 5100);
    assert_int_equal(number(c, "applied"), 1);
    assert_int_equal(number(c, "pending"), 1);
    assert_int_equal(number(c, "failed"), 0);
    const weir_json_t *stop = stop_of(c, FIXTURE_NODE);
    assert_true(is_state(stop, "applied"));
    assert_int_equal(number(stop, "sent_us"), 5200);
    assert_int_equal(number(stop, "applied_us"), 5700);
    assert_int_equal(number(stop, "apply_us"), 77);
    stop = stop_of(c, OTHER);
    assert_true(is_state(stop, "pending"));
    assert_int_equal(number(stop, "sent_us"), 5300);
    assert_true(weir_json_is_null(weir_json_get(stop, "applied_us")));
    weir_json_free(c);
    /* A node of kong.sync.v2 fetches, and says what it has. */
    weir_registry_disconnected(registry, fixture_node(registry, FIXTURE_NODE), 6);
    weir_registry_seen(registry, fixture_node(registry, OTHER), WEIR_STR("x"), 42, 8);
    c = change(registry, 42);
    assert_int_equal(weir_json_count(weir_json_get(c, "data_planes")), 1); /* connected ones */
    stop = stop_of(c, OTHER);
    assert_int_equal(number(stop, "applied_us"), 8000);
    assert_true(weir_json_is_null(weir_json_get(stop, "apply_us")));
    weir_json_free(c);
    weir_registry_free(registry);
}

static void what_a_data_plane_refuses_shows_at_the_version_that_wrote_it(void **state)
{
    weir_registry_t *registry = new_registry(0);
    weir_uuid_t entities[2];
    char text[256];
    char id[WEIR_UUID_TEXT + 1];
    weir_json_t *c = NULL;
    (void)state;
    fixture_id(9, &entities[0]);
    fixture_id(3, &entities[1]);
    weir_uuid_format(&entities[1], id);
    join(registry, FIXTURE_NODE, 1);
    weir_registry_committed(registry, 1, 5000);
    weir_registry_applied(registry, fixture_node(registry, FIXTURE_NODE), 1, 7, 6000);
    snprintf(text, sizeof(text), "{\"quarantined\":[{\"id\":\"%s\"}]}", id);
    weir_json_t *report = fixture_json(text);
    weir_registry_report(registry, fixture_node(registry, FIXTURE_NODE), report, 7);
    weir_json_free(report);
    assert_int_equal(weir_registry_change(registry, 1, entities, 2, &c, NULL), WEIR_OK);
    assert_true(is_state(stop_of(c, FIXTURE_NODE), "failed"));
    assert_int_equal(number(c, "failed"), 1);
    weir_json_free(c);
    weir_registry_free(registry);
}

static void only_the_newest_are_remembered_and_the_others_say_so(void **state)
{
    weir_registry_t *registry = new_registry(100);
    weir_json_t *c = NULL;
    (void)state;
    assert_non_null(strstr(refusal(registry, 100), "before this control plane was started"));
    assert_non_null(strstr(refusal(registry, 101), "no version 101 yet: the newest is 100"));
    weir_registry_committed(registry, 101, 5000);
    weir_registry_committed(registry, 101, 9000); /* nothing new */
    c = change(registry, 101);
    assert_int_equal(number(c, "committed_us"), 5000);
    weir_json_free(c);
    weir_registry_committed(registry, 101 + 3 * KEPT, 6000);
    assert_non_null(strstr(refusal(registry, 101), "versions from 118 on"));
    assert_non_null(strstr(refusal(registry, 117), "no longer remembered"));
    weir_json_free(change(registry, 118));
    weir_json_free(change(registry, 125));
    weir_registry_free(registry);
}

static void pages_go_from_the_newest_to_the_oldest_and_count_who_has_each(void **state)
{
    weir_registry_t *registry = new_registry(10);
    weir_json_t *page = NULL;
    uint64_t before = INT64_MAX;
    unsigned rows = 0;
    unsigned pages = 0;
    double last = 100;
    (void)state;
    join(registry, FIXTURE_NODE, 1);
    join(registry, OTHER, 1);
    weir_registry_committed(registry, 17, 5000);
    weir_registry_applied(registry, fixture_node(registry, FIXTURE_NODE), 17, 1, 6000);
    weir_registry_applied(registry, fixture_node(registry, OTHER), 14, 1, 6000);
    for (bool more = true; more; pages++) {
        assert_int_equal(weir_registry_changes(registry, before, 3, &page, NULL), WEIR_OK);
        for (const weir_json_t *row = weir_json_first(weir_json_get(page, "data")); row != NULL;
             row = weir_json_next(row), rows++) {
            double version = number(row, "version");
            assert_true(version < last);
            last = version;
            assert_int_equal(number(row, "applied"), version <= 14 ? 2 : 1);
            assert_int_equal(number(row, "pending"), version <= 14 ? 0 : 1);
        }
        more = !weir_json_is_null(weir_json_get(page, "next"));
        before = more ? (uint64_t)number(page, "next") : 0;
        weir_json_free(page);
    }
    assert_int_equal(rows, 7);
    assert_int_equal(pages, 3);
    assert_int_equal(weir_registry_changes(registry, 1, 3, &page, NULL), WEIR_OK);
    assert_int_equal(weir_json_count(weir_json_get(page, "data")), 0);
    weir_json_free(page);
    weir_registry_free(registry);
}

static void pushes_are_remembered_within_bounds(void **state)
{
    weir_registry_t *registry = NULL;
    (void)state;
    weir_registry_new(PURGE_S, &registry, NULL);
    weir_registry_trace(registry, 1000, 0, NULL);
    join(registry, FIXTURE_NODE, 1);
    weir_registry_committed(registry, 100, 1000);
    for (uint64_t v = 1; v <= 100; v++) {
        weir_registry_sent(registry, fixture_node(registry, FIXTURE_NODE), v - 1, v,
                           (int64_t)(2000 + v));
        weir_registry_sent(registry, fixture_node(registry, FIXTURE_NODE), v, v,
                           9000); /* with nothing in it */
        weir_registry_applied(registry, fixture_node(registry, FIXTURE_NODE), v, 1,
                              (int64_t)(3000 + v));
    }
    weir_json_t *c = change(registry, 69); /* the last that is still there */
    assert_int_equal(number(stop_of(c, FIXTURE_NODE), "applied_us"), 3069);
    weir_json_free(c);
    c = change(registry, 68);
    assert_true(is_state(stop_of(c, FIXTURE_NODE), "applied"));
    assert_true(weir_json_is_null(weir_json_get(stop_of(c, FIXTURE_NODE), "applied_us")));
    weir_json_free(c);
    weir_registry_free(registry);
}

static const char *metrics(weir_registry_t *registry)
{
    static char text[4096];
    WEIR_AUTO(buffer) weir_buffer_t out;
    weir_buffer_init(&out, sizeof(text) - 1);
    assert_int_equal(weir_registry_metrics(registry, &out), WEIR_OK);
    memcpy(text, out.data, out.len);
    text[out.len] = '\0';
    return text;
}

static void the_histogram_has_the_oldest_change_of_each_push(void **state)
{
    weir_registry_t *registry = new_registry(0);
    (void)state;
    weir_registry_committed(registry, 1, 900000);
    join(registry, FIXTURE_NODE, 1000); /* version 1 was there before it */
    weir_registry_applied(registry, fixture_node(registry, FIXTURE_NODE), 1, 1, 1000500);
    assert_non_null(strstr(metrics(registry), "weir_change_applied_seconds_count 0\n"));
    weir_registry_committed(registry, 2, 1100000);
    weir_registry_committed(registry, 3, 1109000);
    weir_registry_applied(registry, fixture_node(registry, FIXTURE_NODE), 3, 1,
                          1112000); /* 12 ms after 2 */
    weir_registry_applied(registry, fixture_node(registry, FIXTURE_NODE), 3, 1,
                          1190000); /* again: nothing */
    weir_registry_committed(registry, 4, 1200000);
    weir_registry_applied(registry, fixture_node(registry, FIXTURE_NODE), 4, 1,
                          1199000); /* a clock was set */
    const char *text = metrics(registry);
    assert_non_null(strstr(text, "# TYPE weir_change_applied_seconds histogram\n"));
    assert_non_null(strstr(text, "_bucket{le=\"0.001\"} 1\n"));
    assert_non_null(strstr(text, "_bucket{le=\"0.01\"} 1\n"));
    assert_non_null(strstr(text, "_bucket{le=\"0.025\"} 2\n"));
    assert_non_null(strstr(text, "_bucket{le=\"+Inf\"} 2\n"));
    assert_non_null(strstr(text, "_sum 0.012000\n"));
    assert_non_null(strstr(text, "_count 2\n"));
    weir_registry_free(registry);
}

static void a_row_says_whether_the_digests_are_equal(void **state)
{
    static const struct {
        int said;
        const char *shown;
    } cases[] = { { 1, "true" }, { 0, "false" }, { -1, "null" } };
    weir_registry_t *registry = new_registry(0);
    (void)state;
    join(registry, FIXTURE_NODE, 1);
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        weir_json_t *rows = NULL;
        WEIR_AUTO(buffer) weir_buffer_t text;
        weir_buffer_init(&text, 64);
        weir_registry_digest(registry, fixture_node(registry, FIXTURE_NODE), cases[i].said);
        weir_registry_digest(registry, fixture_node(registry, "nobody"), cases[i].said);
        assert_int_equal(weir_registry_list(registry, 1, 1, &rows, NULL), WEIR_OK);
        weir_json_print(weir_json_get(weir_json_first(rows), "digest_equal"), &text);
        assert_true(weir_str_is(weir_buffer_str(&text), cases[i].shown));
        weir_json_free(rows);
    }
    weir_registry_free(registry);
}

static void each_allocation_may_fail(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 80; n++) {
        weir_registry_t *registry = new_registry(0);
        weir_json_t *out = NULL;
        join(registry, FIXTURE_NODE, 1);
        weir_registry_committed(registry, 2, 5000);
        weir_test_fail_allocation(n);
        weir_registry_sent(registry, fixture_node(registry, FIXTURE_NODE), 0, 2, 6000);
        weir_registry_applied(registry, fixture_node(registry, FIXTURE_NODE), 2, 1, 6000);
        int rc = weir_registry_change(registry, 2, NULL, 0, &out, NULL);
        assert_true(rc == WEIR_OK || rc == WEIR_NO_MEMORY);
        weir_json_free(rc == WEIR_OK ? out : NULL);
        rc = weir_registry_changes(registry, 9, 9, &out, NULL);
        assert_true(rc == WEIR_OK || rc == WEIR_NO_MEMORY);
        weir_test_fail_allocation(0);
        weir_json_free(rc == WEIR_OK ? out : NULL);
        weir_registry_free(registry);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_version_tells_when_each_data_plane_was_sent_it_and_had_it),
        cmocka_unit_test(what_a_data_plane_refuses_shows_at_the_version_that_wrote_it),
        cmocka_unit_test(only_the_newest_are_remembered_and_the_others_say_so),
        cmocka_unit_test(pages_go_from_the_newest_to_the_oldest_and_count_who_has_each),
        cmocka_unit_test(pushes_are_remembered_within_bounds),
        cmocka_unit_test(the_histogram_has_the_oldest_change_of_each_push),
        cmocka_unit_test(a_row_says_whether_the_digests_are_equal),
        cmocka_unit_test(each_allocation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
