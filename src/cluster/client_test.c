/* client_test.c -- a data plane before control planes of every kind. */
#include "cluster/fixture.h"

#include <openssl/evp.h>

typedef struct talk {
    weir_client_t *client;
    weir_buffer_t sent; /* to the control plane */
    weir_buffer_t said; /* the same, one frame a line */
    int64_t now_ms;
    int rc;
    weir_error_t err;
    char applied[1024]; /* one line each */
    char events[4096];
    const char *report;
} talk_t;

static int on_send(void *context, weir_str_t bytes)
{
    return weir_buffer_append(&((talk_t *)context)->sent, bytes);
}

static int on_random(void *context, uint8_t *bytes, size_t count)
{
    (void)context;
    memset(bytes, 'r', count);
    return WEIR_OK;
}

static int on_apply(void *context, const weir_update_t *update, weir_error_t *err)
{
    talk_t *t = context;
    (void)err;
    size_t len = strlen(t->applied);
    snprintf(t->applied + len, sizeof(t->applied) - len, "%s %llu %zu\n",
             update->full ? "full" : "part", (unsigned long long)update->version,
             weir_json_count(update->deltas));
    return WEIR_OK;
}

static weir_json_t *on_report(void *context, bool afresh)
{
    (void)afresh;
    talk_t *t = context;
    return t->report != NULL ? fixture_json(t->report) : NULL;
}

static void on_event(void *context, const char *text)
{
    talk_t *t = context;
    size_t len = strlen(t->events);
    snprintf(t->events + len, sizeof(t->events) - len, "%s\n", text);
}

static int64_t ping_ms; /* of the next client; 0: as usual */

static void open_talk(talk_t *t, const char *compat_version, uint64_t version)
{
    *t = (talk_t){ .now_ms = 1000 };
    weir_buffer_init(&t->sent, 1 << 20);
    weir_buffer_init(&t->said, 1 << 20);
    weir_client_options_t options = {
        .host = "cp:8005",
        .node_id = WEIR_STR(FIXTURE_NODE),
        .hostname = "dp",
        .compat_version = compat_version,
        .payload_max = FIXTURE_PAYLOAD_MAX,
        .call_timeout_ms = 60000,
        .ping_ms = ping_ms,
        .context = t,
        .send = on_send,
        .random = on_random,
        .apply = on_apply,
        .report = on_report,
        .event = on_event,
    };
    assert_int_equal(weir_client_new(&options, version, &t->client, NULL), WEIR_OK);
    assert_int_equal(weir_client_connected(t->client, t->now_ms, NULL), WEIR_OK);
}

static void close_talk(talk_t *t)
{
    weir_client_free(t->client);
    weir_buffer_release(&t->sent);
    weir_buffer_release(&t->said);
}

static void give(talk_t *t, weir_str_t bytes)
{
    t->rc = weir_client_input(t->client, bytes, t->now_ms, &t->err);
}

static void give_frame(talk_t *t, unsigned opcode, const char *payload)
{
    WEIR_AUTO(buffer) weir_buffer_t bytes;
    weir_buffer_init(&bytes, 1 << 20);
    fixture_frame(&bytes, opcode, false, weir_str(payload));
    give(t, weir_buffer_str(&bytes));
}

static void say(talk_t *t, const char *json)
{
    WEIR_AUTO(buffer) weir_buffer_t bytes;
    weir_buffer_init(&bytes, 1 << 20);
    fixture_message(&bytes, false, json);
    give(t, weir_buffer_str(&bytes));
}

/* What the client said since the last look. */
static const char *said(talk_t *t)
{
    weir_buffer_clear(&t->said);
    fixture_describe(weir_buffer_str(&t->sent), false, &t->said);
    weir_buffer_clear(&t->sent);
    weir_buffer_byte(&t->said, '\0');
    return t->said.data;
}

/* 16 times 'r' as key; its Accept was worked out once by hand. */
static void upgrade(talk_t *t)
{
    char text[512];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned char base64[64];
    unsigned len = 0;
    static const char key[] = "cnJycnJycnJycnJycnJycg=="
                              "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    EVP_Digest(key, sizeof(key) - 1, digest, &len, EVP_sha1(), NULL);
    EVP_EncodeBlock(base64, digest, (int)len);
    snprintf(text, sizeof(text),
             "HTTP/1.1 101 Switching Protocols\r\nDate: now\r\nConnection: upgrade\r\n"
             "sec-websocket-protocol: kong.meta.v1\r\nUpgrade: websocket\r\n"
             "Sec-WebSocket-Accept: %s\r\n\r\n",
             base64);
    give(t, weir_str(text));
    assert_int_equal(t->rc, WEIR_OK);
}

/* Up to the first get_delta. */
static void meet(talk_t *t, const char *compat_version, uint64_t version, const char *capabilities)
{
    char text[256];
    open_talk(t, compat_version, version);
    upgrade(t);
    weir_buffer_clear(&t->sent);
    snprintf(text, sizeof(text),
             "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"rpc_capabilities\":%s,"
             "\"rpc_frame_encoding\":\"x-snappy-framed\"}}",
             capabilities);
    give_frame(t, WEIR_FRAME_BINARY, text);
}

#define KONG "[\"kong.sync.v2\"]"
#define WEIR "[\"kong.sync.v2\",\"weir.report.v1\"]"
#define V39(n)                                                                       \
    "{\"type\":\"routes\",\"version\":" #n ",\"ws_id\":\"w\",\"pk\":{\"id\":\"r\"}," \
    "\"entity\":{\"id\":\"r\"}}"
#define V310(n)                                                                                   \
    "{\"type\":\"routes\",\"version\":\"v02_000000000000000000000000000" #n "\",\"ws_id\":\"w\"," \
    "\"entity\":{\"id\":\"r\"}}"
#define RESULT(id, members) \
    "{\"jsonrpc\":\"2.0\",\"id\":" #id ",\"result\":{\"default\":{" members "}}}"
#define NOTIFY(id, version)                                                               \
    "{\"jsonrpc\":\"2.0\",\"id\":" #id ",\"method\":\"kong.sync.v2.notify_new_version\"," \
    "\"params\":[{\"default\":{\"new_version\":" version "}}]}"

static void it_introduces_itself_as_recorded(void **state)
{
    talk_t t;
    (void)state;
    open_talk(&t, "3.9.1", 0);
    weir_buffer_byte(&t.sent, '\0');
    assert_string_equal(t.sent.data, "GET /v2/outlet HTTP/1.1\r\nUpgrade: websocket\r\n"
                                     "Host: cp:8005\r\n"
                                     "Sec-WebSocket-Key: cnJycnJycnJycnJycnJycg==\r\n"
                                     "Sec-WebSocket-Protocol: kong.meta.v1\r\n"
                                     "Sec-WebSocket-Version: 13\r\nConnection: Upgrade\r\n\r\n");
    close_talk(&t);
}

static void answers_to_the_upgrade_that_do_not_fit_are_refused(void **state)
{
    static const char *const cases[] = {
        "HTTP/1.1 404 Not Found\r\n\r\n",
        "HTTP/1.0 101 Switching Protocols\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n",
        "\r\n\r\n",
    };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        talk_t t;
        open_talk(&t, "3.9.1", 0);
        give(&t, weir_str(cases[i]));
        assert_int_equal(t.rc, WEIR_CLOSED);
        close_talk(&t);
    }
    talk_t t;
    open_talk(&t, "3.9.1", 0);
    for (int i = 0; i < 20000 && t.rc == WEIR_OK; i++) /* a head without an end */
        give(&t, WEIR_STR("x"));
    assert_int_equal(t.rc, WEIR_CLOSED);
    close_talk(&t);
}

static void it_speaks_the_dialect_that_fits_the_peer(void **state)
{
    static const struct {
        const char *version, *capabilities, *wanted;
    } cases[] = {
        { "3.9.1", KONG, "\"version\":7" },
        { "3.10.0", KONG, "\"version\":\"v02_0000000000000000000000000007\"" },
        { "3.9.1", WEIR, "\"version\":\"v02_0000000000000000000000000007\"" },
    };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        talk_t t;
        meet(&t, cases[i].version, 7, cases[i].capabilities);
        assert_non_null(strstr(said(&t), cases[i].wanted));
        close_talk(&t);
    }
}

static void a_control_plane_without_sync_is_left(void **state)
{
    talk_t t;
    (void)state;
    meet(&t, "3.9.1", 0, "{}");
    assert_int_equal(t.rc, WEIR_CLOSED);
    assert_non_null(strstr(t.err.reason, "kong.sync.v2"));
    close_talk(&t);
}

static void only_a_true_flag_makes_a_set_whole(void **state)
{
    static const struct {
        const char *flags, *applied;
    } cases[] = {
        { "", "part 5 1\n" },
        { "\"wipe\":false,", "part 5 1\n" },
        { "\"wipe\":true,", "full 5 1\n" },
        { "\"full_sync\":true,", "full 5 1\n" },
        { "\"full_sync\":false,\"wipe\":true,", "full 5 1\n" },
        { "\"wipe\":null,", "" },
        { "\"wipe\":\"false\",", "" },
        { "\"full_sync\":1,", "" },
    };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        talk_t t;
        char text[512];
        meet(&t, "3.9.1", 4, KONG);
        snprintf(text, sizeof(text), RESULT(0, "%s\"deltas\":[" V39(5) "]"), cases[i].flags);
        say(&t, text);
        assert_int_equal(t.rc, WEIR_OK);
        assert_string_equal(t.applied, cases[i].applied);
        assert_int_equal(weir_client_version(t.client), cases[i].applied[0] != '\0' ? 5 : 4);
        close_talk(&t);
    }
}

static void flags_that_contradict_each_other_wipe_nothing(void **state)
{
    talk_t t;
    (void)state;
    meet(&t, "3.10.0", 4, KONG);
    say(&t, RESULT(0, "\"full_sync\":false,\"wipe\":true,\"deltas\":[" V310(5) "]"));
    assert_string_equal(t.applied, "");
    close_talk(&t);
    meet(&t, "3.9.1", 4, KONG);
    say(&t, RESULT(0, "\"full_sync\":true,\"wipe\":false,\"deltas\":[" V39(5) "]"));
    assert_string_equal(t.applied, "part 5 1\n"); /* 3.9 does not know full_sync */
    close_talk(&t);
}

static void an_answer_that_makes_no_sense_changes_nothing(void **state)
{
    static const char *const cases[] = {
        "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":\"text\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{}}",
        "{\"jsonrpc\":\"2.0\",\"id\":0}",
        RESULT(0, "\"wipe\":false"),
        RESULT(0, "\"deltas\":null"),
        RESULT(0, "\"deltas\":{\"a\":1}"),
        RESULT(0, "\"deltas\":[1]"),
        RESULT(0, "\"deltas\":[{\"version\":5,\"entity\":{}}]"),
        RESULT(0, "\"deltas\":[{\"type\":\"routes\",\"entity\":{}}]"),
        RESULT(0, "\"deltas\":[" V39(5) "," V310(6) "]"),
        RESULT(0, "\"deltas\":[{\"type\":\"routes\",\"version\":5,\"entity\":\"x\"}]"),
        RESULT(0, "\"deltas\":[{\"type\":\"routes\",\"version\":5,\"entity\":null}]"),
        RESULT(0, "\"deltas\":[{\"type\":\"routes\",\"version\":-1,\"entity\":{}}]"),
    };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        talk_t t;
        meet(&t, "3.9.1", 4, KONG);
        said(&t);
        say(&t, cases[i]);
        assert_int_equal(t.rc, WEIR_OK);
        assert_string_equal(t.applied, "");
        assert_string_equal(said(&t), ""); /* not at once: it would go round and round */
        t.now_ms += 100;
        assert_int_equal(weir_client_tick(t.client, t.now_ms, NULL), WEIR_OK);
        assert_non_null(strstr(said(&t), "get_delta"));
        close_talk(&t);
    }
}

static void an_empty_list_never_advances(void **state)
{
    talk_t t;
    (void)state;
    meet(&t, "3.9.1", 4, KONG);
    say(&t, RESULT(0, "\"wipe\":true,\"deltas\":{}"));
    assert_string_equal(t.applied, "");
    assert_int_equal(weir_client_version(t.client), 4);
    close_talk(&t);
}

static void the_last_version_counts_even_if_it_is_lower(void **state)
{
    talk_t t;
    (void)state;
    meet(&t, "3.9.1", 9, KONG);
    say(&t, RESULT(0, "\"wipe\":true,\"deltas\":[" V39(3) "]"));
    assert_int_equal(weir_client_version(t.client), 3);
    assert_int_equal(weir_client_newest(t.client), 3);
    close_talk(&t);
}

static void notifications_are_answered_as_recorded(void **state)
{
    talk_t t;
    (void)state;
    meet(&t, "3.9.1", 4, KONG);
    say(&t, RESULT(0, "\"wipe\":false,\"deltas\":[]"));
    said(&t);
    say(&t, NOTIFY(28, "5"));
    const char *text = said(&t);
    assert_non_null(strstr(text, "{\"jsonrpc\":\"2.0\",\"id\":28,\"result\":true}\n"));
    assert_non_null(strstr(text, "get_delta"));
    say(&t, RESULT(1, "\"deltas\":[" V39(5) "]"));
    said(&t);
    say(&t, NOTIFY(29, "5")); /* equal */
    assert_string_equal(said(&t), "{\"jsonrpc\":\"2.0\",\"id\":29,\"result\":true}\n");
    say(&t, NOTIFY(30, "\"v02_000000000000000000000000000f\"")); /* the other dialect */
    assert_string_equal(said(&t), "{\"jsonrpc\":\"2.0\",\"id\":30,\"result\":true}\n");
    say(&t, "{\"jsonrpc\":\"2.0\",\"id\":31,\"method\":\"kong.sync.v2.notify_new_version\","
            "\"params\":[{}]}");
    assert_non_null(strstr(said(&t), "default namespace does not exist inside params"));
    say(&t, NOTIFY(32, "null"));
    assert_non_null(strstr(said(&t), "'new_version' key does not exist"));
    say(&t, "{\"jsonrpc\":\"2.0\",\"id\":33,\"method\":\"a.b\",\"params\":[{}]}");
    assert_non_null(strstr(said(&t), "-32601"));
    close_talk(&t);
}

static void a_batch_is_answered_by_an_array(void **state)
{
    talk_t t;
    (void)state;
    meet(&t, "3.10.0", 4, KONG);
    said(&t);
    say(&t, "[" NOTIFY(1, "\"v02_0000000000000000000000000005\"") "," NOTIFY(
                2, "\"v02_0000000000000000000000000005\"") "]");
    assert_string_equal(said(&t), "[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":true},"
                                  "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":true}]\n");
    close_talk(&t);
    meet(&t, "3.9.1", 4, KONG);
    said(&t);
    say(&t, "[]");
    assert_int_equal(t.rc, WEIR_CLOSED);
    assert_string_equal(said(&t), "close\n");
    close_talk(&t);
}

static void the_other_dialect_is_tried_once_and_only_before_anything_was_understood(void **state)
{
    talk_t t;
    (void)state;
    meet(&t, "3.9.1", 4, KONG);
    say(&t, RESULT(0, "\"full_sync\":true,\"deltas\":[" V310(5) "]"));
    said(&t);
    t.now_ms += 100;
    weir_client_tick(t.client, t.now_ms, NULL);
    assert_non_null(strstr(said(&t), "\"version\":\"v02_0000000000000000000000000004\""));
    say(&t, RESULT(1, "\"full_sync\":true,\"deltas\":[" V310(5) "]"));
    assert_string_equal(t.applied, "full 5 1\n");
    said(&t);
    say(&t, NOTIFY(1, "\"v02_0000000000000000000000000006\""));
    said(&t);
    say(&t, RESULT(2, "\"full_sync\":false,\"deltas\":[" V39(6) "]")); /* a single slip */
    t.now_ms += 100;
    weir_client_tick(t.client, t.now_ms, NULL);
    assert_non_null(strstr(said(&t), "\"version\":\"v02_0000000000000000000000000005\""));
    close_talk(&t);
}

static void silence_is_noticed_and_a_late_answer_dropped(void **state)
{
    talk_t t;
    (void)state;
    meet(&t, "3.9.1", 4, KONG);
    say(&t, RESULT(0, "\"wipe\":false,\"deltas\":[]"));
    say(&t, NOTIFY(0, "5"));
    said(&t);
    t.now_ms += 5000;
    assert_int_equal(weir_client_tick(t.client, t.now_ms, NULL), WEIR_OK);
    t.now_ms += 100;
    assert_int_equal(weir_client_tick(t.client, t.now_ms, NULL), WEIR_OK);
    assert_non_null(strstr(said(&t), "\"id\":2"));
    say(&t, RESULT(1, "\"deltas\":[" V39(5) "]"));
    assert_string_equal(t.applied, "");
    say(&t, RESULT(2, "\"deltas\":[" V39(5) "]"));
    assert_string_equal(t.applied, "part 5 1\n");
    close_talk(&t);
}

static void a_newer_original_is_told_what_is_not_served(void **state)
{
    talk_t t;
    (void)state;
    meet(&t, "3.10.0", 4, KONG);
    t.report = "{\"quarantined\":[{\"type\":\"routes\",\"id\":\"r\",\"name\":\"n\",\"field\":"
               "\"paths\",\"reason\":\"bad path\"}],\"quarantined_count\":1,\"last_error\":null}";
    said(&t);
    say(&t, RESULT(0, "\"latest_version\":\"L\",\"deltas\":[" V310(5) "]"));
    const char *text = said(&t);
    assert_non_null(strstr(text, "kong.sync.v2.notify_validation_error"));
    assert_non_null(strstr(text, "\"version\":\"L\""));
    assert_non_null(strstr(text, "{\"errors\":[{\"type\":\"field\",\"field\":\"paths\",\"message\":"
                                 "\"bad path\"}],\"entity_type\":\"route\",\"entity_id\":\"r\""));
    assert_null(strstr(text, "weir.report"));
    close_talk(&t);
}

static void a_report_is_sent_once_as_long_as_nothing_else_is_known(void **state)
{
    talk_t t;
    (void)state;
    meet(&t, "3.9.1", 4, WEIR);
    t.report = "{\"quarantined\":[],\"quarantined_count\":0,\"last_error\":null}";
    say(&t, RESULT(0, "\"deltas\":[" V310(5) "]"));
    assert_non_null(strstr(said(&t), "weir.report.v1.status"));
    say(&t, NOTIFY(0, "\"v02_0000000000000000000000000006\""));
    say(&t, RESULT(1, "\"deltas\":[" V310(6) "]"));
    assert_null(strstr(said(&t), "weir.report.v1.status"));
    t.report = "{\"quarantined\":[],\"quarantined_count\":0,\"last_error\":\"x\"}";
    say(&t, NOTIFY(1, "\"v02_0000000000000000000000000007\""));
    say(&t, RESULT(2, "\"deltas\":[" V310(7) "]"));
    assert_non_null(strstr(said(&t), "weir.report.v1.status"));
    close_talk(&t);
}

static void violations_end_the_connection_with_a_close_frame(void **state)
{
    static const struct {
        unsigned opcode;
        const char *payload;
    } cases[] = {
        { WEIR_FRAME_TEXT, "text" },
        { WEIR_FRAME_BINARY, "" },
        { WEIR_FRAME_BINARY, "{}" },
        { WEIR_FRAME_CLOSE, "" },
    };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        talk_t t;
        meet(&t, "3.9.1", 4, KONG);
        said(&t);
        give_frame(&t, cases[i].opcode, cases[i].payload);
        assert_int_equal(t.rc, WEIR_CLOSED);
        assert_string_equal(said(&t), "close\n");
        close_talk(&t);
    }
}

static void pings_are_answered_and_sent(void **state)
{
    talk_t t;
    (void)state;
    meet(&t, "3.9.1", 4, KONG);
    say(&t, RESULT(0, "\"deltas\":[]"));
    said(&t);
    give_frame(&t, WEIR_FRAME_PING, "abc");
    assert_string_equal(said(&t), "pong 0\n");
    t.now_ms += 30000;
    weir_client_tick(t.client, t.now_ms, NULL);
    const char *text = said(&t);
    assert_non_null(strstr(text, "ping\n"));
    assert_non_null(strstr(text, "get_delta"));
    t.now_ms += 15000;
    assert_int_equal(weir_client_tick(t.client, t.now_ms, NULL), WEIR_CLOSED);
    close_talk(&t);
}

static void the_heartbeat_is_what_is_set(void **state)
{
    talk_t t;
    (void)state;
    ping_ms = 2000;
    meet(&t, "3.9.1", 4, KONG);
    ping_ms = 0;
    say(&t, RESULT(0, "\"deltas\":[]"));
    said(&t);
    assert_true(weir_client_deadline(t.client) <= t.now_ms + 2000);
    t.now_ms += 1999;
    weir_client_tick(t.client, t.now_ms, NULL);
    assert_string_equal(said(&t), "");
    t.now_ms += 1;
    weir_client_tick(t.client, t.now_ms, NULL);
    assert_string_equal(said(&t), "ping\n");
    give_frame(&t, WEIR_FRAME_PONG, "");
    t.now_ms += 2000;
    assert_int_equal(weir_client_tick(t.client, t.now_ms, NULL), WEIR_OK);
    assert_string_equal(said(&t), "ping\n");
    t.now_ms += 1000;
    assert_int_equal(weir_client_tick(t.client, t.now_ms, NULL), WEIR_CLOSED);
    close_talk(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_introduces_itself_as_recorded),
        cmocka_unit_test(answers_to_the_upgrade_that_do_not_fit_are_refused),
        cmocka_unit_test(it_speaks_the_dialect_that_fits_the_peer),
        cmocka_unit_test(a_control_plane_without_sync_is_left),
        cmocka_unit_test(only_a_true_flag_makes_a_set_whole),
        cmocka_unit_test(flags_that_contradict_each_other_wipe_nothing),
        cmocka_unit_test(an_answer_that_makes_no_sense_changes_nothing),
        cmocka_unit_test(an_empty_list_never_advances),
        cmocka_unit_test(the_last_version_counts_even_if_it_is_lower),
        cmocka_unit_test(notifications_are_answered_as_recorded),
        cmocka_unit_test(a_batch_is_answered_by_an_array),
        cmocka_unit_test(the_other_dialect_is_tried_once_and_only_before_anything_was_understood),
        cmocka_unit_test(silence_is_noticed_and_a_late_answer_dropped),
        cmocka_unit_test(a_newer_original_is_told_what_is_not_served),
        cmocka_unit_test(a_report_is_sent_once_as_long_as_nothing_else_is_known),
        cmocka_unit_test(violations_end_the_connection_with_a_close_frame),
        cmocka_unit_test(pings_are_answered_and_sent),
        cmocka_unit_test(the_heartbeat_is_what_is_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
