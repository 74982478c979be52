/* classic_test.c -- the classic full sync: the export, a session, a client, and both
 * joined. What comes from outside and is wrong: classic_garbage_test.c. */
#include "cluster/classic_fixture.h"
#include "cluster/compat.h"

/* -- the export ------------------------------------------------------------------------- */

static const weir_json_t *rows(const weir_json_t *push, const char *set)
{
    return weir_json_get(weir_json_get(push, "config_table"), set);
}

static weir_json_t *exported(fixture_store_t *store, int64_t level, char hash[33])
{
    weir_classic_exporter_t *exporter = NULL;
    weir_classic_frame_t *frame = NULL;
    weir_error_t err = { 0 };
    weir_classic_exporter_options_t options = { store->store, FIXTURE_PAYLOAD_MAX };
    assert_int_equal(weir_classic_exporter_new(&options, &exporter, &err), WEIR_OK);
    assert_int_equal(weir_classic_export(exporter, level, 0, 1700000000123, &frame, &err), WEIR_OK);
    weir_json_t *push = fixture_unpack(weir_classic_frame_payload(frame));
    snprintf(hash, 33, "%s", weir_classic_frame_hash(frame));
    assert_true(weir_str_is(weir_json_get_string(push, "config_hash", WEIR_STR("")), hash));
    weir_classic_frame_release(frame);
    weir_classic_exporter_free(exporter);
    return push;
}

static void an_export_has_what_a_data_plane_needs(void **state)
{
    (void)state;
    char hash[33];
    fixture_store_t store = { 0 };
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    weir_json_t *push = exported(&store, weir_compat_newest(), hash);
    assert_true(weir_str_is(weir_json_get_string(push, "type", WEIR_STR("")), "reconfigure"));
    assert_true(weir_json_get_number(push, "timestamp", 0) == 1700000000.123);
    assert_int_equal(weir_json_count(rows(push, "workspaces")), 1);
    assert_int_equal(weir_json_count(rows(push, "parameters")), 1);
    assert_null(rows(push, "services"));
    const weir_json_t *hashes = weir_json_get(push, "hashes");
    assert_true(
        weir_str_is(weir_json_get_string(hashes, "routes", WEIR_STR("")), WEIR_CLASSIC_NO_HASH));
    weir_json_free(push);
    fixture_store_close(&store);
}

static void keys_are_bare_and_disabled_rows_stay_here(void **state)
{
    (void)state;
    char hash[33];
    char after[33];
    fixture_store_t store = { 0 };
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_put_row(&store, WEIR_SERVICES, 1, "\"name\":\"a\",\"enabled\":true");
    fixture_put_row(&store, WEIR_ROUTES, 11,
                    "\"name\":\"r\",\"service\":{\"id\":\"" FIXTURE_ID(01) "\"}");
    weir_json_t *push = exported(&store, weir_compat_newest(), hash);
    assert_true(weir_str_is(
        weir_json_get_string(weir_json_first(rows(push, "routes")), "service", WEIR_STR("")),
        FIXTURE_ID(01)));
    weir_json_free(push);
    /* All of these hang on a disabled service. */
    fixture_put_row(&store, WEIR_SERVICES, 2, "\"name\":\"b\",\"enabled\":false");
    fixture_put_row(&store, WEIR_ROUTES, 12,
                    "\"name\":\"s\",\"service\":{\"id\":\"" FIXTURE_ID(02) "\"}");
    fixture_put_row(
        &store, WEIR_PLUGINS, 21,
        "\"name\":\"key-auth\",\"config\":{},\"route\":{\"id\":\"" FIXTURE_ID(12) "\"}");
    fixture_put_row(
        &store, WEIR_PLUGINS, 22,
        "\"name\":\"key-auth\",\"config\":{},\"service\":{\"id\":\"" FIXTURE_ID(02) "\"}");
    fixture_put_row(&store, WEIR_PLUGINS, 23, "\"name\":\"key-auth\",\"enabled\":false");
    push = exported(&store, weir_compat_newest(), after);
    assert_int_equal(weir_json_count(rows(push, "services")), 1);
    assert_int_equal(weir_json_count(rows(push, "routes")), 1);
    assert_null(rows(push, "plugins"));
    assert_string_equal(hash, after); /* nothing that a data plane gets has changed */
    weir_json_free(push);
    fixture_store_close(&store);
}

static void many_disabled_services_are_left_out(void **state)
{
    (void)state;
    enum { SERVICES = 300 };
    char hash[33];
    fixture_store_t store = { 0 };
    fixture_store_open(&store, 10000, FIXTURE_PAYLOAD_MAX, 0);
    for (unsigned i = 1; i <= SERVICES; i++) {
        char members[256];
        snprintf(members, sizeof(members), "\"name\":\"s%u\",\"enabled\":%s", i,
                 i % 3 == 0 ? "true" : "false");
        fixture_put_row(&store, WEIR_SERVICES, i, members);
        char text[WEIR_UUID_TEXT + 1];
        fixture_number_id(i, text);
        snprintf(members, sizeof(members), "\"name\":\"r%u\",\"service\":{\"id\":\"%s\"}", i, text);
        fixture_put_row(&store, WEIR_ROUTES, 1000 + i, members);
    }
    weir_json_t *push = exported(&store, weir_compat_newest(), hash);
    assert_int_equal(weir_json_count(rows(push, "services")), SERVICES / 3);
    assert_int_equal(weir_json_count(rows(push, "routes")), SERVICES / 3);
    weir_json_free(push);
    fixture_store_close(&store);
}

static void older_levels_get_other_rows_and_the_same_hash(void **state)
{
    (void)state;
    char hash[33];
    char older[33];
    fixture_store_t store = { 0 };
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_put_row(&store, WEIR_PLUGINS, 1,
                    "\"name\":\"key-auth\",\"instance_name\":null,\"config\":{\"realm\":\"r\"}");
    weir_json_free(exported(&store, weir_compat_newest(), hash));
    weir_json_t *push = exported(&store, weir_compat_level(3001001000), older);
    const weir_json_t *plugin = weir_json_first(rows(push, "plugins"));
    assert_null(weir_json_get(weir_json_get(plugin, "config"), "realm"));
    assert_null(weir_json_get(plugin, "instance_name"));
    assert_string_equal(hash, older);
    weir_json_free(push);
    fixture_store_close(&store);
}

static void a_frame_is_made_once_and_kept_until_a_newer_one(void **state)
{
    (void)state;
    fixture_store_t store = { 0 };
    weir_classic_exporter_t *exporter = NULL;
    weir_classic_frame_t *frames[4];
    uint64_t made = 0;
    uint64_t reused = 0;
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    uint64_t version = fixture_put(&store, 1, "t");
    weir_classic_exporter_options_t options = { store.store, FIXTURE_PAYLOAD_MAX };
    assert_int_equal(weir_classic_exporter_new(&options, &exporter, NULL), WEIR_OK);
    assert_null(weir_classic_ready(exporter, 7, version));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(weir_classic_export(exporter, 7, version, 0, &frames[i], NULL), WEIR_OK);
    assert_ptr_equal(frames[0], frames[2]);
    assert_int_equal(weir_classic_frame_version(frames[0]), version);
    uint64_t newer = fixture_put(&store, 2, "t");
    frames[3] = weir_classic_ready(exporter, 7, version); /* good enough for who waits for it */
    assert_ptr_equal(frames[3], frames[0]);
    assert_null(weir_classic_ready(exporter, 7, newer));
    weir_classic_frame_release(frames[3]);
    assert_int_equal(weir_classic_export(exporter, 9, newer, 0, &frames[3], NULL), WEIR_OK);
    assert_null(weir_classic_ready(exporter, 7, version)); /* an old one does not stay */
    weir_classic_exporter_count(exporter, &made, &reused);
    assert_int_equal(made, 2);
    assert_int_equal(reused, 3);
    for (size_t i = 0; i < 4; i++)
        weir_classic_frame_release(frames[i]);
    weir_classic_exporter_free(exporter);
    fixture_store_close(&store);
}

static void a_set_that_does_not_fit_is_named_and_not_tried_again(void **state)
{
    (void)state;
    fixture_store_t store = { 0 };
    weir_classic_exporter_t *exporter = NULL;
    weir_classic_frame_t *frame = NULL;
    weir_error_t err = { 0 };
    uint64_t version = 0;
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    for (unsigned i = 1; i <= 100; i++)
        version = fixture_put(&store, i, "tag");
    weir_classic_exporter_options_t options = { store.store, 1000 };
    assert_int_equal(weir_classic_exporter_new(&options, &exporter, NULL), WEIR_OK);
    uint64_t newer = version;
    for (int i = 0; i < 2; i++) { /* the second time it would fit, if it were tried */
        err = (weir_error_t){ 0 };
        assert_int_equal(weir_classic_export(exporter, 7, version, 0, &frame, &err),
                         WEIR_TOO_LARGE);
        assert_string_equal(err.field, "cluster_max_payload");
        assert_null(frame);
        for (unsigned n = 1; n <= 100 && i == 0; n++)
            newer = fixture_delete(&store, n);
    }
    assert_int_equal(weir_classic_export(exporter, 7, newer, 0, &frame, &err), WEIR_OK);
    weir_classic_frame_release(frame);
    weir_classic_exporter_free(exporter);
    fixture_store_close(&store);
}

static void every_allocation_of_an_export_may_fail(void **state)
{
    (void)state;
    fixture_store_t store = { 0 };
    weir_classic_exporter_t *exporter = NULL;
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_put_row(&store, WEIR_SERVICES, 1, "\"name\":\"a\",\"enabled\":false");
    fixture_put_row(&store, WEIR_PLUGINS, 2, "\"name\":\"key-auth\",\"config\":{}");
    weir_classic_exporter_options_t options = { store.store, FIXTURE_PAYLOAD_MAX };
    int rc = WEIR_NO_MEMORY;
    for (unsigned n = 1; rc != WEIR_OK && n < 2000; n++) {
        weir_classic_frame_t *frame = NULL;
        assert_int_equal(weir_classic_exporter_new(&options, &exporter, NULL), WEIR_OK);
        weir_test_fail_allocation(n);
        rc = weir_classic_export(exporter, 0, 1, 0, &frame, NULL);
        weir_test_fail_allocation(0);
        assert_true((rc == WEIR_OK) == (frame != NULL));
        weir_classic_frame_release(frame);
        weir_classic_exporter_free(exporter);
    }
    assert_int_equal(rc, WEIR_OK);
    fixture_store_close(&store);
}

/* -- rounds ---------------------------------------------------------------------------------- */

static void a_first_change_is_due_at_once_and_the_next_after_the_pause(void **state)
{
    (void)state;
    weir_classic_rounds_t rounds = { .pause_ms = 5000, .pushed = 3 };
    assert_int_equal(weir_classic_due(&rounds, 3), INT64_MAX);
    assert_true(weir_classic_due(&rounds, 4) <= 100000);
    weir_classic_began(&rounds, 4, 100000);
    assert_int_equal(weir_classic_due(&rounds, 4), INT64_MAX);
    assert_int_equal(weir_classic_due(&rounds, 9), 105000);
}

/* -- a session --------------------------------------------------------------------------------- */

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
    weir_json_free(exported(&store, weir_compat_level(3009001000), hash));
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

/* -- a client, and both ends joined --------------------------------------------------------------
 */

static void a_pair_agrees_on_the_set(void **state)
{
    (void)state;
    fixture_store_t store = { 0 };
    fixture_classic_t host;
    fixture_plane_t plane;
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_put(&store, 1, "x");
    fixture_classic_open(&host, &store, "3.9.1", 0);
    fixture_plane_open(&plane, 0);
    fixture_join(&host, &plane, 10);
    assert_int_equal(plane.applied, 1);
    assert_int_equal(plane.rows, 3); /* workspace, parameter, consumer */
    assert_string_equal(weir_classic_client_hash(plane.client), host.hash);
    weir_classic_session_push(host.session, fixture_put(&store, 2, "x"), 20);
    fixture_join(&host, &plane, 20);
    assert_int_equal(plane.applied, 2);
    assert_int_equal(plane.rows, 4);
    fixture_plane_close(&plane);
    fixture_classic_close(&host, 30);
    fixture_store_close(&store);
}

static const char *const control =
    "{\"type\":\"reconfigure\",\"config_hash\":\"%s\",\"config_table\":{\"_format_version\":\"%s\","
    "\"workspaces\":[],\"consumers\":[{\"username\":\"%s\"}],\"routes\":[{\"name\":\"r\","
    "\"paths\":[\"/a\",\"~/b\",\"/c(d)\"],\"service\":\"svc\"},{\"service\":{\"id\":\"x\"}},"
    "{\"service\":\"nobody\"}],\"services\":[{\"name\":\"svc\",\"id\":\"" FIXTURE_ID(07) "\"}]}}";

static void push_text(fixture_plane_t *plane, const char *hash, const char *format,
                      const char *user, int64_t now)
{
    char text[2048];
    snprintf(text, sizeof(text), control, hash, format, user);
    fixture_plane_push(plane, text, now);
}

static const weir_json_t *row_named(const fixture_plane_t *plane, const char *type, size_t index)
{
    const weir_json_t *list = weir_json_get(plane->table, type);
    const weir_json_t *row = weir_json_first(list);
    while (index-- > 0)
        row = weir_json_next(row);
    return row;
}

static void rows_are_completed_as_the_original_does(void **state)
{
    (void)state;
    fixture_plane_t plane;
    fixture_plane_open(&plane, 0);
    push_text(&plane, "h1", "2.1", "u", 10);
    assert_int_equal(plane.applied, 1);
    assert_string_equal(weir_classic_client_hash(plane.client), "h1");
    /* A name became an id, what is no name stays to be refused, an object stays. */
    const weir_json_t *second = row_named(&plane, "routes", 0);
    assert_true(weir_str_is(
        weir_json_get_string(weir_json_get(second, "service"), "id", WEIR_STR("")), "x"));
    const weir_json_t *first = row_named(&plane, "routes", 1);
    assert_true(weir_str_is(
        weir_json_get_string(weir_json_get(first, "service"), "id", WEIR_STR("")), FIXTURE_ID(07)));
    const weir_json_t *third = row_named(&plane, "routes", 2);
    assert_true(weir_str_is(weir_json_get_string(third, "service", WEIR_STR("")), "nobody"));
    /* Paths of the old format that look like one become regular expressions. */
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 4096);
    weir_json_print(weir_json_get(first, "paths"), &text);
    assert_true(weir_str_is(weir_buffer_str(&text), "[\"/a\",\"~/b\",\"~/c(d)\"]"));
    /* An id that follows from the name (E), and the workspace that must be. */
    const weir_json_t *consumer = row_named(&plane, "consumers", 0);
    weir_uuid_t id;
    assert_int_equal(weir_uuid_parse(weir_json_get_string(consumer, "id", WEIR_STR("")), &id),
                     WEIR_OK);
    assert_true(weir_str_is(
        weir_json_get_string(row_named(&plane, "workspaces", 0), "name", WEIR_STR("")), "default"));
    char before[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&id, before);
    push_text(&plane, "h2", "3.0", "u", 20);
    assert_true(weir_str_is(
        weir_json_get_string(row_named(&plane, "consumers", 0), "id", WEIR_STR("")), before));
    fixture_plane_close(&plane);
}

static void an_equal_hash_applies_nothing_and_is_said(void **state)
{
    (void)state;
    fixture_plane_t plane;
    fixture_plane_open(&plane, 0);
    push_text(&plane, "same", "3.0", "a", 10);
    assert_string_equal(fixture_plane_pings(&plane), "same\n");
    push_text(&plane, "same", "3.0", "b", 20);
    assert_int_equal(plane.applied, 1);
    assert_string_equal(fixture_plane_pings(&plane), "same\n");
    fixture_plane_close(&plane);
}

static void a_push_without_hash_has_one_of_its_rows(void **state)
{
    (void)state;
    static const char push[] =
        "{\"type\":\"reconfigure\",\"timestamp\":%d,\"config_table\":{"
        "\"_format_version\":\"3.0\",\"consumers\":[{\"username\":\"%s\"}]}}";
    char text[512];
    char first[WEIR_CLASSIC_HASH_MAX + 1];
    fixture_plane_t plane;
    fixture_plane_open(&plane, 0);
    snprintf(text, sizeof(text), push, 1, "a");
    fixture_plane_push(&plane, text, 10);
    snprintf(first, sizeof(first), "%s", weir_classic_client_hash(plane.client));
    assert_int_equal(strlen(first), 32);
    snprintf(text, sizeof(text), push, 2, "a");
    fixture_plane_push(&plane, text, 20);
    assert_int_equal(plane.applied, 1); /* the time alone is no change */
    snprintf(text, sizeof(text), push, 2, "b");
    fixture_plane_push(&plane, text, 30);
    assert_int_equal(plane.applied, 2);
    assert_string_not_equal(first, weir_classic_client_hash(plane.client));
    fixture_plane_close(&plane);
}

static void what_cannot_be_applied_now_is_tried_again(void **state)
{
    (void)state;
    fixture_plane_t plane;
    fixture_plane_open(&plane, 0);
    plane.fails = WEIR_FULL;
    push_text(&plane, "h", "3.0", "a", 10);
    assert_int_equal(plane.applied, 0);
    assert_string_equal(fixture_plane_pings(&plane), "");
    plane.fails = WEIR_OK;
    assert_int_equal(weir_classic_client_tick(plane.client, 9000, NULL), WEIR_OK);
    assert_int_equal(plane.applied, 0);
    assert_true(weir_classic_client_deadline(plane.client) <= 10010);
    assert_int_equal(weir_classic_client_tick(plane.client, 10010, NULL), WEIR_OK);
    assert_int_equal(plane.applied, 1);
    assert_string_equal(fixture_plane_pings(&plane), "h\n");
    fixture_plane_close(&plane);
}

static void pushes_are_refused_or_end_the_connection(void **state)
{
    (void)state;
#define TABLE(members) "{\"type\":\"reconfigure\",\"config_table\":{" members "}}"
    static const struct {
        const char *text;
        int rc; /* of the tick */
    } pushes[] = {
        { TABLE("\"consumers\":[]"), WEIR_OK },
        { TABLE("\"_format_version\":\"4.0\""), WEIR_OK },
        { TABLE("\"_format_version\":3.0"), WEIR_OK },
        { TABLE("\"_format_version\":\"3.0\",\"gizmo\":7"), WEIR_OK },
        { TABLE("\"_format_version\":\"3.0\",\"routes\":null"), WEIR_OK },
        { "{\"type\":\"hello\"}", WEIR_OK },
        { "{}", WEIR_OK },
        { TABLE("\"_format_version\":\"3.0\",\"consumers\":[7]"), WEIR_CLOSED },
        { TABLE("\"_format_version\":\"3.0\",\"consumers\":[{\"a\"}]"), WEIR_CLOSED },
        { TABLE("\"_format_version\":\"3.0\",\"consumers\":[{}"), WEIR_CLOSED },
        { TABLE("\"_format_version\":\"3.0\"},\"config_table\":{"), WEIR_CLOSED },
        { "[]", WEIR_CLOSED },
        { "7", WEIR_CLOSED },
        { "", WEIR_CLOSED },
        { "{\"type\":\"reconfigure\"} {}", WEIR_CLOSED },
        { "{\"type\":\"reconfigure\"", WEIR_CLOSED },
        { "{\"type\" \"reconfigure\"}", WEIR_CLOSED },
        { "{\"type\":}", WEIR_CLOSED },
        { "{,}", WEIR_CLOSED },
        { "{\"a\":1,}", WEIR_CLOSED },
    };
    for (size_t i = 0; i < WEIR_COUNT(pushes); i++) {
        fixture_plane_t plane;
        fixture_plane_open(&plane, 0);
        int rc = fixture_plane_push(&plane, pushes[i].text, 10);
        if (rc != pushes[i].rc || plane.applied != 0)
            fail_msg("%s: %d, applied %zu", pushes[i].text, rc, plane.applied);
        assert_string_equal(weir_classic_client_hash(plane.client), WEIR_CLASSIC_NO_HASH);
        fixture_plane_close(&plane);
    }
}

static void a_client_pings_and_ends_when_nobody_answers(void **state)
{
    (void)state;
    fixture_plane_t plane;
    fixture_plane_open(&plane, 0);
    assert_string_equal(fixture_plane_pings(&plane), WEIR_CLASSIC_NO_HASH "\n"); /* at once */
    assert_int_equal(weir_classic_client_tick(plane.client, 29999, NULL), WEIR_OK);
    assert_string_equal(fixture_plane_pings(&plane), "");
    assert_int_equal(weir_classic_client_tick(plane.client, 30000, NULL), WEIR_OK);
    assert_string_equal(fixture_plane_pings(&plane), WEIR_CLASSIC_NO_HASH "\n");
    assert_int_equal(weir_classic_client_tick(plane.client, 44999, NULL), WEIR_OK);
    assert_int_equal(weir_classic_client_tick(plane.client, 45000, NULL), WEIR_CLOSED);
    fixture_plane_close(&plane);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_export_has_what_a_data_plane_needs),
        cmocka_unit_test(keys_are_bare_and_disabled_rows_stay_here),
        cmocka_unit_test(many_disabled_services_are_left_out),
        cmocka_unit_test(older_levels_get_other_rows_and_the_same_hash),
        cmocka_unit_test(a_frame_is_made_once_and_kept_until_a_newer_one),
        cmocka_unit_test(a_set_that_does_not_fit_is_named_and_not_tried_again),
        cmocka_unit_test(every_allocation_of_an_export_may_fail),
        cmocka_unit_test(a_first_change_is_due_at_once_and_the_next_after_the_pause),
        cmocka_unit_test(a_query_is_read_as_it_is),
        cmocka_unit_test(a_session_is_pushed_to_and_answers_pings),
        cmocka_unit_test(a_lost_push_is_sent_again_three_times),
        cmocka_unit_test(who_has_it_is_not_sent_it_and_a_busy_one_waits),
        cmocka_unit_test(a_session_ends_when_nobody_speaks),
        cmocka_unit_test(odd_beginnings_end_as_they_should),
        cmocka_unit_test(plugins_decide_whether_it_is_pushed),
        cmocka_unit_test(a_pair_agrees_on_the_set),
        cmocka_unit_test(rows_are_completed_as_the_original_does),
        cmocka_unit_test(an_equal_hash_applies_nothing_and_is_said),
        cmocka_unit_test(a_push_without_hash_has_one_of_its_rows),
        cmocka_unit_test(what_cannot_be_applied_now_is_tried_again),
        cmocka_unit_test(pushes_are_refused_or_end_the_connection),
        cmocka_unit_test(a_client_pings_and_ends_when_nobody_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
