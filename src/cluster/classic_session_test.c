/* classic_session_test.c -- the classic full sync: a control plane's end of one socket.
 * What comes from outside and is wrong: classic_garbage_test.c. */
#include "cluster/classic_fixture.h"
#include "cluster/compat.h"

static void a_query_is_read_as_it_is(void **state)
{
    (void)state;
    weir_classic_query_t q;
    weir_classic_query_read(
        WEIR_STR("x=1&node_version=3.9.1&node_id=&node_id=b&node_hostname=a%2Db"), &q);
    assert_true(weir_str_is(q.version, "3.9.1"));
    assert_true(q.node_id.data != NULL && q.node_id.len == 0);
    assert_true(weir_str_is(q.hostname, "a%2Db"));
    weir_classic_query_read(WEIR_STR("&&node_idx=1&=&"), &q);
    assert_null(q.node_id.data);
    weir_classic_query_read((weir_str_t){ NULL, 0 }, &q);
    assert_null(q.version.data);
}

static void a_session_is_pushed_to_and_answers_pings(void **state)
{
    (void)state;
    fixture_store_t store = { 0 };
    fixture_classic_t host;
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_classic_open(&host, &store, "3.9.1", 0);
    assert_int_equal(fixture_classic_say(&host, WEIR_FRAME_BINARY, FIXTURE_INFO, 10), WEIR_OK);
    assert_int_equal(host.wants, 1);
    assert_int_equal(fixture_classic_answer(&host, 20), WEIR_OK);
    assert_string_equal(fixture_classic_sent(&host), "push\n");
    assert_int_equal(fixture_classic_say(&host, WEIR_FRAME_PING, host.hash, 30), WEIR_OK);
    assert_string_equal(fixture_classic_sent(&host), "pong\n");
    weir_json_t *nodes = NULL;
    assert_int_equal(weir_registry_list(store.registry, 1, 30, &nodes, NULL), WEIR_OK);
    const weir_json_t *row = weir_json_first(nodes);
    assert_true(weir_str_is(weir_json_get_string(row, "config_hash", WEIR_STR("")), host.hash));
    assert_true(weir_str_is(weir_json_get_string(row, "sync_status", WEIR_STR("")), "normal"));
    assert_true(weir_json_get_number(row, "lag", 9) == 0);
    weir_json_free(nodes);
    fixture_classic_close(&host, 40);
    fixture_store_close(&store);
}

static void a_lost_push_is_sent_again_three_times(void **state)
{
    (void)state;
    fixture_store_t store = { 0 };
    fixture_classic_t host;
    int64_t now = 0;
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_classic_open(&host, &store, "3.9.1", now);
    fixture_classic_say(&host, WEIR_FRAME_BINARY, FIXTURE_INFO, now);
    fixture_classic_answer(&host, now);
    fixture_classic_say(&host, WEIR_FRAME_PING, WEIR_CLASSIC_NO_HASH, now + 1000);
    assert_int_equal(host.wants, 0); /* too soon to say anything */
    for (int i = 0; i < 5; i++) {
        now += 30000;
        fixture_classic_say(&host, WEIR_FRAME_PING, WEIR_CLASSIC_NO_HASH, now);
        assert_int_equal(host.wants, i < WEIR_CLASSIC_RESENDS_MAX ? 1 : 0);
        while (host.wants > 0)
            assert_int_equal(fixture_classic_answer(&host, now), WEIR_OK);
    }
    assert_string_equal(fixture_classic_sent(&host),
                        "push\npong\npong\npush\npong\npush\npong\npush\npong\npong\n");
    fixture_classic_close(&host, now);
    fixture_store_close(&store);
}

static void who_has_it_is_not_sent_it_and_a_busy_one_waits(void **state)
{
    (void)state;
    fixture_store_t store = { 0 };
    fixture_classic_t host;
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_classic_open(&host, &store, "3.9.1", 0);
    char hash[33];
    weir_json_free(fixture_exported(&store, weir_compat_level(3009001000), hash));
    fixture_classic_say(&host, WEIR_FRAME_BINARY, FIXTURE_INFO, 0);
    fixture_classic_say(&host, WEIR_FRAME_PING, hash, 1);
    assert_int_equal(fixture_classic_answer(&host, 2), WEIR_OK);
    assert_string_equal(fixture_classic_sent(&host), "pong\n");
    host.busy = true;
    weir_classic_session_push(host.session, fixture_put(&store, 1, "x"), 3);
    weir_classic_session_push(host.session, fixture_put(&store, 2, "x"), 4);
    assert_int_equal(host.wants, 0);
    host.busy = false;
    assert_int_equal(weir_classic_session_tick(host.session, 1000, NULL), WEIR_OK);
    assert_int_equal(host.wants, 1);
    assert_int_equal(fixture_classic_answer(&host, 1001), WEIR_OK);
    assert_string_equal(fixture_classic_sent(&host), "push\n");
    fixture_classic_close(&host, 2000);
    fixture_store_close(&store);
}

static void a_session_ends_when_nobody_speaks(void **state)
{
    (void)state;
    fixture_store_t store = { 0 };
    fixture_classic_t host;
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_classic_open(&host, &store, "3.9.1", 0);
    assert_int_equal(weir_classic_session_tick(host.session, 4999, NULL), WEIR_OK);
    assert_int_equal(weir_classic_session_tick(host.session, 5000, NULL), WEIR_CLOSED);
    assert_string_equal(fixture_classic_sent(&host), "close\n");
    fixture_classic_close(&host, 5000);
    fixture_classic_open(&host, &store, "3.9.1", 0);
    fixture_classic_say(&host, WEIR_FRAME_BINARY, FIXTURE_INFO, 1000);
    fixture_classic_say(&host, WEIR_FRAME_PING, WEIR_CLASSIC_NO_HASH, 40000);
    assert_int_equal(weir_classic_session_tick(host.session, 84999, NULL), WEIR_OK);
    assert_int_equal(weir_classic_session_tick(host.session, 85000, NULL), WEIR_CLOSED);
    fixture_classic_close(&host, 85000);
    fixture_store_close(&store);
}

typedef struct odd {
    const char *version;
    unsigned opcode;
    const char *payload;
    int rc;
    const char *sent;
} odd_t;

static void odd_beginnings_end_as_they_should(void **state)
{
    (void)state;
    static const odd_t odds[] = {
        { "3.9.1", 2, "{", WEIR_CLOSED, "close\n" },
        { "3.9.1", 2, "{\"type\":\"basic_info\",\"plugins\":7}", WEIR_CLOSED, "close\n" },
        { "3.9.1", 2, "{\"type\":\"basic_info\",\"plugins\":{}}", WEIR_OK, "" },
        { "3.9.1", 1, FIXTURE_INFO, WEIR_CLOSED, "" },
        { "3.9.1", 9, WEIR_CLASSIC_NO_HASH, WEIR_CLOSED, "" },
        { "3.9.1", 8, "", WEIR_CLOSED, "" },
        { "3.9.1-enterprise", 2, FIXTURE_INFO, WEIR_OK, "" },
        { "3.0.0", 2, FIXTURE_INFO, WEIR_OK, "" },
        { "3.10.0", 2, FIXTURE_INFO, WEIR_CLOSED, "close\n" },
        { "2.9.1", 2, FIXTURE_INFO, WEIR_CLOSED, "close\n" },
        { "4.0.0", 2, FIXTURE_INFO, WEIR_CLOSED, "close\n" },
        { "3.9", 2, FIXTURE_INFO, WEIR_CLOSED, "close\n" },
        { "x", 2, FIXTURE_INFO, WEIR_CLOSED, "close\n" },
    };
    fixture_store_t store = { 0 };
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    for (size_t i = 0; i < WEIR_COUNT(odds); i++) {
        fixture_classic_t host;
        fixture_classic_open(&host, &store, odds[i].version, 0);
        assert_int_equal(fixture_classic_say(&host, odds[i].opcode, odds[i].payload, 1),
                         odds[i].rc);
        assert_string_equal(fixture_classic_sent(&host), odds[i].sent);
        fixture_classic_close(&host, 2);
    }
    weir_json_t *nodes = NULL;
    assert_int_equal(weir_registry_list(store.registry, 1, 3, &nodes, NULL), WEIR_OK);
    const weir_json_t *row = weir_json_first(nodes);
    assert_int_equal(weir_json_count(nodes), 1); /* one node id; "x" is no version for a row */
    assert_true(weir_str_is(weir_json_get_string(row, "version", WEIR_STR("")), "3.9"));
    assert_true(weir_str_is(weir_json_get_string(row, "sync_status", WEIR_STR("")),
                            "kong_version_incompatible"));
    weir_json_free(nodes);
    fixture_store_close(&store);
}

static void plugins_decide_whether_it_is_pushed(void **state)
{
    (void)state;
    static const char *const lists[][2] = {
        { "[]", "plugin_set_incompatible" },
        { "[{\"name\":\"acl\",\"version\":\"3.9.1\"}]", "plugin_set_incompatible" },
        { "[{\"name\":\"key-auth\",\"version\":\"3.10.0\"}]", "plugin_version_incompatible" },
        { "[{\"name\":\"key-auth\",\"version\":\"2.9.1\"}]", "plugin_version_incompatible" },
        { "[{\"name\":\"key-auth\",\"version\":\"3.2.9\"}]", "normal" },
        { "[{\"name\":\"key-auth\",\"version\":\"new\"}]", "normal" },
        { "[{\"name\":\"key-auth\"},{\"name\":7},7,{}]", "normal" },
    };
    fixture_store_t store = { 0 };
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_put_row(&store, WEIR_PLUGINS, 1, "\"name\":\"key-auth\",\"config\":{}");
    for (size_t i = 0; i < WEIR_COUNT(lists); i++) {
        char info[512];
        fixture_classic_t host;
        bool fits = strcmp(lists[i][1], "normal") == 0;
        snprintf(info, sizeof(info), "{\"type\":\"basic_info\",\"plugins\":%s}", lists[i][0]);
        fixture_classic_open(&host, &store, "3.9.1", 0);
        assert_int_equal(fixture_classic_say(&host, 2, info, 1), WEIR_OK);
        assert_int_equal(fixture_classic_answer(&host, 2), WEIR_OK);
        assert_int_equal(fixture_classic_say(&host, 9, WEIR_CLASSIC_NO_HASH, 3), WEIR_OK);
        assert_string_equal(fixture_classic_sent(&host), fits ? "push\npong\n" : "pong\n");
        weir_json_t *nodes = NULL;
        assert_int_equal(weir_registry_list(store.registry, 1, 3, &nodes, NULL), WEIR_OK);
        assert_true(
            weir_str_is(weir_json_get_string(weir_json_first(nodes), "sync_status", WEIR_STR("")),
                        lists[i][1]));
        weir_json_free(nodes);
        fixture_classic_close(&host, 4);
    }
    fixture_store_close(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_query_is_read_as_it_is),
        cmocka_unit_test(a_session_is_pushed_to_and_answers_pings),
        cmocka_unit_test(a_lost_push_is_sent_again_three_times),
        cmocka_unit_test(who_has_it_is_not_sent_it_and_a_busy_one_waits),
        cmocka_unit_test(a_session_ends_when_nobody_speaks),
        cmocka_unit_test(odd_beginnings_end_as_they_should),
        cmocka_unit_test(plugins_decide_whether_it_is_pushed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
