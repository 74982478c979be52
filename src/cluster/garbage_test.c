/* garbage_test.c -- thousands of malformed messages of each kind, at either end: each is
 * refused or ignored, the session is closed by the rule or lives, and no memory stays.
 *
 * WEIR_SEED repeats a run; WEIR_MESSAGES says how many of each kind (5,000). */
#include "cluster/client_internal.h"
#include "cluster/fixture.h"
#include "cluster/fixture_sync.h"

#include <malloc.h>

enum { TEXT_BYTES = 8192, HELD_BYTES_MAX = 64 << 20 };

#define ID     "\"11111111-2222-4333-8444-555555555555\""
#define ENTITY "{\"type\":\"consumers\",\"id\":" ID ",\"entity\":{\"id\":" ID "},\"hash\":" HASH "}"
#define HASH   "\"00112233445566778899aabbccddeeff\""
#define NOTE(method, params) \
    "{\"jsonrpc\":\"2.0\",\"method\":\"" method "\",\"params\":[" params "]}"
#define CALL(method, params) \
    "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"" method "\",\"params\":[" params "]}"
#define ANSWER(result) "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":" result "}"

/* What a data plane says. */
static const char *const up[] = {
    NOTE("weir.sync.v1.start", "{\"version\":1,\"digest\":" HASH ",\"key\":\"0011223344556677\","
                               "\"staged\":false,\"whole\":false,\"page\":{\"snapshot\":1,"
                               "\"after\":\"\"},\"error\":\"x\"}"),
    NOTE("weir.sync.v1.ack", "{\"version\":1,\"digest\":" HASH ",\"us\":3,\"staged\":false,"
                             "\"healed\":{\"buckets\":1,\"entities\":2}}"),
    CALL("weir.sync.v1.page",
         "{\"snapshot\":1,\"after\":\"consumers/11111111-2222-4333-8444-555555555555\"}"),
    CALL("weir.sync.v1.heal", "{\"version\":1,\"sums\":\"0011\"}"),
    NOTE("weir.report.v1.status",
         "{\"quarantined\":[{\"type\":\"routes\",\"id\":" ID ",\"name\":\"n\",\"field\":\"f\","
         "\"reason\":\"r\"}],\"quarantined_count\":1,\"last_error\":null}"),
    CALL("kong.sync.v2.get_delta",
         "{\"default\":{\"version\":\"v02_0000000000000000000000000001\"}}"),
    NOTE("kong.sync.v2.notify_validation_error",
         "{\"version\":\"v02_0000000000000000000000000001\",\"error\":{\"code\":21,"
         "\"message\":\"m\",\"flattened_errors\":[]}}"),
};

/* What a control plane says. */
static const char *const down[] = {
    NOTE("weir.sync.v1.deltas",
         "{\"after\":1,\"version\":2,\"newest\":2,\"digest\":" HASH ",\"deltas\":[" ENTITY "]}"),
    NOTE("weir.sync.v1.snapshot",
         "{\"snapshot\":2,\"newest\":2,\"entities\":10,\"reason\":\"unknown\"}"),
    NOTE("weir.sync.v1.key", "{\"key\":\"00112233445566778899aabbccddeeff"
                             "00112233445566778899aabbccddeeff\"}"),
    ANSWER("{\"snapshot\":2,\"version\":2,\"entities\":[" ENTITY "],\"next\":null}"),
    ANSWER("{\"after\":1,\"version\":2,\"digest\":" HASH ",\"deltas\":[" ENTITY
           "],\"buckets\":[{\"bucket\":273,\"entities\":[" ENTITY "]}]}"),
    "{\"jsonrpc\":\"2.0\",\"id\":0,\"error\":{\"code\":-32010,\"message\":\"gone\"}}",
    CALL("kong.sync.v2.notify_new_version",
         "{\"default\":{\"new_version\":\"v02_0000000000000000000000000001\"}}"),
    ANSWER("{\"default\":{\"full_sync\":false,\"deltas\":[{\"type\":\"consumers\",\"version\":"
           "\"v02_0000000000000000000000000002\",\"pk\":{\"id\":" ID "},\"entity\":null}]}}"),
};

static unsigned messages(void)
{
    const char *given = getenv("WEIR_MESSAGES");
    return given != NULL ? (unsigned)strtoul(given, NULL, 10) : 5000;
}

static fixture_random_t seeded(void)
{
    const char *given = getenv("WEIR_SEED");
    fixture_random_t random = { given != NULL ? strtoull(given, NULL, 10) : 20261126 };
    print_message("seed %llu\n", (unsigned long long)random.state);
    return random;
}

/* -- making garbage --------------------------------------------------------------------------- */

/* The end of the JSON value that begins at `at`, more or less. */
static size_t value_end(const char *text, size_t len, size_t at)
{
    int depth = 0;
    bool quoted = false;
    for (size_t i = at; i < len; i++) {
        char c = text[i];
        if (c == '"')
            quoted = !quoted;
        if (quoted)
            continue;
        if (c == '{' || c == '[')
            depth++;
        if ((c == '}' || c == ']') && --depth < 0)
            return i;
        if (depth == 0 && (c == ',' || c == '}' || c == ']'))
            return c == ',' ? i : i + 1;
    }
    return len;
}

/* Puts another value in the place of one. */
static void replace_value(fixture_random_t *random, weir_buffer_t *text)
{
    static const char *const values[] = {
        "null",        "true",
        "false",       "0",
        "-1",          "1e308",
        "-1e308",      "9007199254740993",
        "0.5",         "\"\"",
        "\"x\"",       "[]",
        "{}",          "[[[[[[[[[[[[]]]]]]]]]]]]",
        "[null]",      "[{}]",
        "{\"a\":{}}",  "18446744073709551616",
        "\"\\u0000\"", "\"v02_ffffffffffffffffffffffffffff\"",
        "4096",
    };
    char copy[TEXT_BYTES];
    size_t len = text->len < sizeof(copy) ? text->len : sizeof(copy);
    memcpy(copy, text->data, len);
    size_t at = fixture_next(random, (uint32_t)len);
    while (at < len && copy[at] != ':')
        at++;
    if (at >= len)
        return;
    at++;
    size_t end = value_end(copy, len, at);
    weir_buffer_clear(text);
    weir_buffer_append(text, (weir_str_t){ copy, at });
    weir_buffer_append(text, weir_str(values[fixture_next(random, WEIR_COUNT(values))]));
    weir_buffer_append(text, (weir_str_t){ copy + end, len - end });
}

static void damage(fixture_random_t *random, weir_buffer_t *text)
{
    switch (fixture_next(random, 6)) {
    case 0: /* a byte */
        text->data[fixture_next(random, (uint32_t)text->len)] = (char)fixture_next(random, 256);
        break;
    case 1: /* its end is missing */
        text->len = fixture_next(random, (uint32_t)text->len) + 1;
        break;
    default:
        for (uint32_t n = fixture_next(random, 3); n < 3; n++)
            replace_value(random, text);
        break;
    }
}

/* As bytes on the wire: most are well compressed, some are not. */
static void frame_of(fixture_random_t *random, weir_codec_t codec, bool mask, weir_str_t text,
                     weir_buffer_t *out)
{
    WEIR_AUTO(buffer) weir_buffer_t block;
    weir_buffer_init(&block, 1 << 20);
    weir_codec_deflate(codec, text, &block, NULL);
    if (fixture_next(random, 8) == 0 && block.len > 0)
        block.data[fixture_next(random, (uint32_t)block.len)] ^= 0x55;
    fixture_frame(out, WEIR_FRAME_BINARY, mask, weir_buffer_str(&block));
}

static size_t held_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* -- the control plane's end ---------------------------------------------------------------------
 */

static void greet(fixture_host_t *host, fixture_store_t *store, bool sync_v1, bool zstd)
{
    char hello[512];
    fixture_host_open(host, store, "3.10.0", 1000);
    snprintf(hello, sizeof(hello),
             "{\"jsonrpc\":\"2.0\",\"method\":\"kong.meta.v1.hello\",\"id\":1,\"params\":[{"
             "\"rpc_capabilities\":[\"kong.sync.v2\",\"weir.report.v1\"%s],"
             "\"rpc_frame_encodings\":[%s\"x-snappy-framed\"],\"kong_version\":\"3.10.0\","
             "\"kong_hostname\":\"dp\",\"kong_node_id\":\"" FIXTURE_NODE "\",\"kong_conf\":{}}]}",
             sync_v1 ? ",\"weir.sync.v1\"" : "", zstd ? "\"x-zstd\"," : "");
    WEIR_AUTO(buffer) weir_buffer_t bytes;
    weir_buffer_init(&bytes, 4096);
    fixture_frame(&bytes, WEIR_FRAME_BINARY, true, weir_str(hello));
    assert_int_equal(weir_session_input(host->session, weir_buffer_str(&bytes), 1000, NULL),
                     WEIR_OK);
    assert_int_equal(host->session->sync.agreed, sync_v1);
}

static int give_session(fixture_host_t *host, fixture_random_t *random, const char *message)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    WEIR_AUTO(buffer) weir_buffer_t bytes;
    weir_buffer_init(&text, TEXT_BYTES);
    weir_buffer_init(&bytes, 1 << 20);
    weir_buffer_append(&text, weir_str(message));
    damage(random, &text);
    frame_of(random, host->session->codec, true, weir_buffer_str(&text), &bytes);
    int rc = weir_session_input(host->session, weir_buffer_str(&bytes), 1000, NULL);
    while (rc == WEIR_OK && host->wants_count > 0)
        rc = fixture_host_answer(host, 1000);
    weir_buffer_t said = fixture_take(&host->out);
    weir_buffer_release(&said);
    return rc;
}

static void a_session_survives_any_message(void **state)
{
    fixture_random_t random = seeded();
    fixture_store_t store = { 0 };
    size_t closed = 0;
    (void)state;
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    store.sync_v1 = store.zstd = true;
    fixture_put(&store, 1, "a");
    size_t before = held_bytes();
    for (size_t kind = 0; kind < WEIR_COUNT(up); kind++) {
        bool zstd = kind % 2 == 0;
        fixture_host_t host;
        greet(&host, &store, true, zstd);
        for (unsigned i = 0; i < messages(); i++) {
            int rc = give_session(&host, &random, up[kind]);
            host.events[0] = '\0';
            if (rc == WEIR_OK)
                continue;
            assert_int_equal(rc, WEIR_CLOSED);
            closed++;
            fixture_host_close(&host, 1000);
            greet(&host, &store, true, zstd);
        }
        assert_true(held_bytes() < before + HELD_BYTES_MAX);
        fixture_host_close(&host, 1000);
    }
    assert_true(closed > messages());
    fixture_store_close(&store);
}

/* -- the data plane's end --------------------------------------------------------------------- */

static int on_send(void *context, weir_str_t bytes)
{
    (void)context, (void)bytes;
    return WEIR_OK;
}

static void on_event(void *context, const char *text)
{
    (void)context, (void)text;
}

static int on_v2(void *context, const weir_update_t *update, weir_error_t *err)
{
    (void)context, (void)err;
    assert_non_null(weir_json_first(update->deltas));
    return WEIR_OK;
}

static weir_client_t *new_client(size_t kind, weir_codec_t codec)
{
    static const weir_client_options_t options = {
        .host = "h:1",
        .node_id = { "n", 1 },
        .hostname = "h",
        .compat_version = "3.10.0",
        .payload_max = 1 << 20,
        .send = on_send,
        .random = stub_random,
        .apply = on_v2,
        .event = on_event,
        .sync = &stub_callbacks,
        .zstd = true,
    };
    weir_client_t *client = NULL;
    assert_int_equal(weir_client_new(&options, 1, &client, NULL), WEIR_OK);
    assert_int_equal(weir_client_connected(client, 0, NULL), WEIR_OK);
    client->socket.upgrading = false; /* upgrade and hello have targets of their own */
    client->step = CLIENT_READY;
    client->weir_peer = true;
    client->dialect = WEIR_DIALECT_310;
    client->codec = codec;
    client->sync.agreed = kind < 6; /* the others are of kong.sync.v2 */
    assert_int_equal(client->sync.agreed ? sync_begin(client, 0, NULL) : pull_ask(client, 0, NULL),
                     WEIR_OK);
    return client;
}

static int give_client(weir_client_t *client, fixture_random_t *random, size_t kind)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    WEIR_AUTO(buffer) weir_buffer_t bytes;
    weir_buffer_init(&text, TEXT_BYTES);
    weir_buffer_init(&bytes, 1 << 20);
    weir_buffer_append(&text, weir_str(down[kind]));
    damage(random, &text);
    /* An answer to a call that is open. */
    client->sync.calling = kind >= 3 && kind < 6;
    client->sync.healing = kind == 4;
    client->sync.call_id = client->ask_id = 0;
    client->asking = kind == 7;
    client->sync.snapshot = kind == 3 ? 2 : 0;
    frame_of(random, client->codec, false, weir_buffer_str(&text), &bytes);
    int rc = weir_client_input(client, weir_buffer_str(&bytes), 0, NULL);
    return rc == WEIR_OK ? weir_client_tick(client, 100, NULL) : rc;
}

static void a_client_survives_any_message(void **state)
{
    fixture_random_t random = seeded();
    size_t closed = 0;
    (void)state;
    size_t before = held_bytes();
    for (size_t kind = 0; kind < WEIR_COUNT(down); kind++) {
        weir_codec_t codec = kind < 6 && kind % 2 == 0 ? WEIR_CODEC_ZSTD : WEIR_CODEC_SNAPPY;
        weir_client_t *client = new_client(kind, codec);
        for (unsigned i = 0; i < messages(); i++) {
            int rc = give_client(client, &random, kind);
            if (rc == WEIR_OK)
                continue;
            assert_int_equal(rc, WEIR_CLOSED);
            closed++;
            weir_client_free(client);
            client = new_client(kind, codec);
        }
        assert_true(held_bytes() < before + HELD_BYTES_MAX);
        weir_client_free(client);
    }
    assert_true(closed > messages());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_session_survives_any_message),
        cmocka_unit_test(a_client_survives_any_message),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
