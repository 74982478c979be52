/* websocket_test.c -- one end of a WebSocket: what comes out of bytes, what is answered,
 * and how it ends. */
#include "cluster/fixture.h"
#include "cluster/websocket.h"

typedef struct end {
    weir_websocket_t ws;
    weir_websocket_protocol_t protocol;
    char log[512];      /* what the protocol was given, one line each */
    weir_buffer_t sent; /* as bytes */
    bool full;          /* the host takes no more */
    int rc;
    weir_error_t err;
    int64_t now_ms;
} end_t;

static int note(end_t *e, const char *what, weir_str_t payload, weir_error_t *err)
{
    size_t len = strlen(e->log);
    snprintf(e->log + len, sizeof(e->log) - len, "%s %.*s\n", what,
             (int)(payload.len < 20 ? payload.len : 20), payload.data);
    return weir_str_is(payload, "drop") ? weir_websocket_drop(err, "told to") : WEIR_OK;
}

static int on_message(void *context, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    (void)now_ms;
    return note(context, "message", payload, err);
}

static int on_ping(void *context, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    (void)now_ms;
    return note(context, "ping", payload, err);
}

static int on_pong(void *context, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    (void)now_ms;
    return note(context, "pong", payload, err);
}

static int on_text(void *context, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    (void)now_ms;
    return note(context, "text", payload, err);
}

static int on_send(void *context, weir_str_t bytes)
{
    end_t *e = context;
    return e->full ? WEIR_TOO_LARGE : weir_buffer_append(&e->sent, bytes);
}

static int on_random(void *context, uint8_t *bytes, size_t count)
{
    (void)context;
    memset(bytes, 'r', count);
    return WEIR_OK;
}

/* `e` stays where it is: the callbacks know it. */
static int begin(end_t *e, weir_websocket_protocol_t protocol)
{
    *e = (end_t){ .protocol = protocol, .now_ms = 1000 };
    e->protocol.message = on_message;
    weir_buffer_init(&e->sent, 1 << 20);
    weir_websocket_options_t options = {
        .protocol = &e->protocol,
        .context = e,
        .payload_max = 1000,
        .ping_ms = 30000,
        .idle_ms = 45000,
        .host = e,
        .send = on_send,
        .random = on_random,
    };
    return weir_websocket_begin(&e->ws, &options, e->now_ms, &e->err);
}

static void end(end_t *e)
{
    weir_websocket_release(&e->ws);
    weir_buffer_release(&e->sent);
}

static void give(end_t *e, const char *bytes, size_t len)
{
    e->rc = weir_websocket_input(&e->ws, (weir_str_t){ bytes, len }, e->now_ms, &e->err);
}

#define GIVE(e, bytes) give(e, bytes, sizeof(bytes) - 1)

static void give_frame(end_t *e, weir_opcode_t opcode, const char *payload)
{
    WEIR_AUTO(buffer) weir_buffer_t bytes;
    weir_buffer_init(&bytes, 4096);
    fixture_frame(&bytes, opcode, e->protocol.server, weir_str(payload));
    give(e, bytes.data, bytes.len);
}

static void assert_sent(end_t *e, const char *bytes, size_t len)
{
    assert_int_equal(e->sent.len, len);
    assert_memory_equal(weir_buffer_str(&e->sent).data, bytes, len);
    weir_buffer_clear(&e->sent);
}

#define ASSERT_SENT(e, bytes) assert_sent(e, bytes, sizeof(bytes) - 1)

/* Ended, after a close frame or without one. */
static void assert_ended(end_t *e, bool close_frame, const char *why)
{
    assert_int_equal(e->rc, WEIR_CLOSED);
    assert_int_equal(e->err.code, WEIR_CLOSED);
    assert_non_null(strstr(e->err.reason, why));
    if (close_frame)
        ASSERT_SENT(e, "\x88\x00");
    else
        ASSERT_SENT(e, "");
}

static const weir_websocket_protocol_t plain_server = { .server = true };

static void messages_come_whole_however_the_bytes_are_cut(void **state)
{
    static const char bytes[] = "\x82\x03one\x89\x01p\x8a\x00\x82\x00\x82\x03two";
    (void)state;
    for (size_t step = 1; step < sizeof(bytes); step++) {
        end_t e;
        assert_int_equal(begin(&e, (weir_websocket_protocol_t){ 0 }), WEIR_OK);
        for (size_t at = 0; at < sizeof(bytes) - 1; at += step) {
            size_t left = sizeof(bytes) - 1 - at;
            give(&e, bytes + at, left < step ? left : step);
            assert_int_equal(e.rc, WEIR_OK);
        }
        assert_string_equal(e.log, "message one\nmessage \nmessage two\n");
        ASSERT_SENT(&e, "\x8a\x80rrrr"); /* one empty pong, masked */
        end(&e);
    }
}

static void a_protocol_may_have_pings_pongs_and_texts_of_its_own(void **state)
{
    static const weir_websocket_protocol_t curious = {
        .ping = on_ping,
        .pong = on_pong,
        .text = on_text,
    };
    end_t e;
    (void)state;
    begin(&e, curious);
    GIVE(&e, "\x89\x01p\x8a\x01q\x81\x01t");
    assert_int_equal(e.rc, WEIR_OK);
    assert_string_equal(e.log, "ping p\npong q\ntext t\n");
    ASSERT_SENT(&e, ""); /* nothing is answered for it */
    end(&e);
    begin(&e, (weir_websocket_protocol_t){ 0 });
    GIVE(&e, "\x81\x01t");
    assert_int_equal(e.rc, WEIR_CLOSED);
    ASSERT_SENT(&e, "\x88\x80rrrr");
    end(&e);
}

static void nothing_is_taken_after_the_protocol_has_ended_it(void **state)
{
    end_t e;
    (void)state;
    begin(&e, (weir_websocket_protocol_t){ 0 });
    GIVE(&e, "\x82\x04"
             "drop\x82\x04more");
    assert_ended(&e, false, "told to");
    assert_string_equal(e.log, "message drop\n");
    end(&e);
}

static void a_violation_above_the_framing_ends_with_a_close_frame(void **state)
{
    static const struct {
        weir_opcode_t opcode;
        const char *payload, *why;
    } cases[] = {
        { WEIR_FRAME_TEXT, "t", "a text frame" },
        { WEIR_FRAME_CONTINUATION, "c", "a fragmented message" },
        { WEIR_FRAME_CLOSE, "", "closed by the data plane" },
        { WEIR_FRAME_CLOSE, "\x03\xe8", "closed by the data plane" },
    };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        end_t e;
        begin(&e, plain_server);
        give_frame(&e, WEIR_FRAME_BINARY, "hello");
        give_frame(&e, cases[i].opcode, cases[i].payload);
        assert_ended(&e, true, cases[i].why);
        assert_string_equal(e.log, "message hello\n");
        end(&e);
    }
}

static void broken_framing_ends_without_a_close_frame(void **state)
{
    end_t e;
    (void)state;
    begin(&e, plain_server);
    give_frame(&e, WEIR_FRAME_BINARY, "hello");
    GIVE(&e, "\x82\x01x"); /* not masked */
    assert_ended(&e, false, "not masked");
    end(&e);
    begin(&e, plain_server);
    GIVE(&e, "\x82\xfe\x03\xe9\1\2\3\4x"); /* 1001 bytes */
    assert_ended(&e, false, "more than 1000");
    end(&e);
}

/* A.3, D.1: how the two protocols differ when the first frame is wrong. */
static void a_servers_first_frame_must_be_a_message(void **state)
{
    static const weir_opcode_t odd[] = { WEIR_FRAME_PING, WEIR_FRAME_PONG, WEIR_FRAME_TEXT,
                                         WEIR_FRAME_CLOSE, WEIR_FRAME_CONTINUATION };
    (void)state;
    for (unsigned quiet = 0; quiet < 2; quiet++) {
        weir_websocket_protocol_t protocol = { .server = true, .begins_quietly = quiet };
        end_t e;
        for (size_t i = 0; i < WEIR_COUNT(odd); i++) {
            begin(&e, protocol);
            give_frame(&e, odd[i], "");
            assert_ended(&e, false, "the first frame");
            end(&e);
        }
        begin(&e, protocol);
        GIVE(&e, "\x02\x81\0\0\0\0x"); /* FIN=0 */
        assert_ended(&e, !quiet, quiet ? "the first frame" : "a fragmented message");
        assert_string_equal(e.log, "");
        end(&e);
    }
}

static void silence_is_answered_by_pings_and_then_the_end(void **state)
{
    end_t e;
    (void)state;
    begin(&e, plain_server);
    give_frame(&e, WEIR_FRAME_BINARY, "hello"); /* at 1.0 s */
    for (int64_t at = 1000; at < 46000; at += 500) {
        assert_int_equal(weir_websocket_tick(&e.ws, at, &e.err), WEIR_OK);
        if (at == 31000 || at == 36000 || at == 41000)
            ASSERT_SENT(&e, "\x89\x00");
        else
            ASSERT_SENT(&e, "");
        int64_t due = at < 31000 ? 31000 : at < 36000 ? 36000 : at < 41000 ? 41000 : 46000;
        assert_int_equal(weir_websocket_deadline(&e.ws), due);
    }
    e.rc = weir_websocket_tick(&e.ws, 46000, &e.err);
    assert_ended(&e, true, "nothing came for 45 seconds");
    end(&e);
}

static void every_frame_breaks_the_silence(void **state)
{
    static const weir_opcode_t frames[] = { WEIR_FRAME_PONG, WEIR_FRAME_PING, WEIR_FRAME_BINARY };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(frames); i++) {
        end_t e;
        begin(&e, (weir_websocket_protocol_t){ 0 });
        assert_int_equal(weir_websocket_tick(&e.ws, 44000, &e.err), WEIR_OK);
        e.now_ms = 45000;
        give_frame(&e, frames[i], "");
        assert_int_equal(weir_websocket_deadline(&e.ws), 75000);
        weir_buffer_clear(&e.sent);
        assert_int_equal(weir_websocket_tick(&e.ws, 74999, &e.err), WEIR_OK);
        ASSERT_SENT(&e, "");
        end(&e);
    }
}

static void what_is_sent_is_masked_by_a_client_alone(void **state)
{
    end_t e;
    (void)state;
    begin(&e, plain_server);
    weir_websocket_send(&e.ws, WEIR_FRAME_BINARY, WEIR_STR("abc"), NULL);
    ASSERT_SENT(&e, "\x82\x03"
                    "abc");
    weir_websocket_send_head(&e.ws, 126, NULL);
    ASSERT_SENT(&e, "\x82\x7e\x00\x7e");
    end(&e);
    begin(&e, (weir_websocket_protocol_t){ 0 });
    weir_websocket_send(&e.ws, WEIR_FRAME_BINARY, WEIR_STR("abc"), NULL);
    ASSERT_SENT(&e, "\x82\x83rrrr\x13\x10\x11");
    end(&e);
}

static void what_cannot_be_sent_ends_the_connection(void **state)
{
    static const char large[1001] = { 0 };
    (void)state;
    for (unsigned server = 0; server < 2; server++) {
        end_t e;
        begin(&e, (weir_websocket_protocol_t){ .server = server });
        e.rc = weir_websocket_send(&e.ws, WEIR_FRAME_BINARY, (weir_str_t){ large, 1001 }, &e.err);
        assert_ended(&e, false, "larger than cluster_max_payload");
        e.full = true;
        e.rc = weir_websocket_send(&e.ws, WEIR_FRAME_PING, WEIR_STR(""), &e.err);
        assert_ended(&e, false, "output queue is full");
        /* Why it ends is said even if the close frame finds no room. */
        e.rc = weir_websocket_close(&e.ws, &e.err, "because");
        assert_ended(&e, false, "because");
        end(&e);
    }
}

/* RFC 6455's answer to the key of sixteen 'r', and a first message in the same read. */
static const char upgraded[] = "HTTP/1.1 101 Switching Protocols\r\n"
                               "Sec-WebSocket-Accept: vdq49Su4aL7xW8nwsMW5qkYfD8A=\r\n\r\n"
                               "\x82\x01m";

static int on_opened(void *context, int64_t now_ms, weir_error_t *err)
{
    (void)now_ms;
    return note(context, "opened", WEIR_STR(""), err);
}

static void a_client_asks_first_and_frames_may_follow_in_the_same_read(void **state)
{
    weir_websocket_request_t request = { "cp:1", "/x", NULL };
    size_t len = sizeof(upgraded) - 1;
    end_t e;
    (void)state;
    for (size_t step = 1; step <= len; step++) {
        begin(&e, (weir_websocket_protocol_t){ .opened = on_opened });
        assert_int_equal(weir_websocket_upgrade(&e.ws, &request, &e.err), WEIR_OK);
        weir_buffer_byte(&e.sent, '\0');
        assert_non_null(strstr(e.sent.data, "GET /x HTTP/1.1\r\n"));
        for (size_t at = 0; at < len; at += step)
            give(&e, upgraded + at, len - at < step ? len - at : step);
        assert_int_equal(e.rc, WEIR_OK);
        assert_string_equal(e.log, "opened \nmessage m\n");
        end(&e);
    }
    begin(&e, (weir_websocket_protocol_t){ .opened = on_opened });
    weir_websocket_upgrade(&e.ws, &request, &e.err);
    weir_buffer_clear(&e.sent);
    GIVE(&e, "HTTP/1.1 404 Not Found\r\n\r\n\x82\x01m");
    assert_ended(&e, false, "404 Not Found");
    assert_int_equal(e.ws.upgrade.status, 404);
    assert_string_equal(e.log, "");
    end(&e);
}

static void no_allocation_is_trusted(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        end_t e;
        weir_test_fail_allocation(n);
        e.rc = begin(&e, (weir_websocket_protocol_t){ 0 });
        if (e.rc == WEIR_OK)
            GIVE(&e, "\x89\x00\x82\x02hi");
        weir_test_fail_allocation(0);
        int rc = e.rc;
        end(&e);
        if (rc == WEIR_OK)
            return;
        assert_true(rc == WEIR_NO_MEMORY || rc == WEIR_CLOSED);
        assert_true(n < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_come_whole_however_the_bytes_are_cut),
        cmocka_unit_test(a_protocol_may_have_pings_pongs_and_texts_of_its_own),
        cmocka_unit_test(nothing_is_taken_after_the_protocol_has_ended_it),
        cmocka_unit_test(a_violation_above_the_framing_ends_with_a_close_frame),
        cmocka_unit_test(broken_framing_ends_without_a_close_frame),
        cmocka_unit_test(a_servers_first_frame_must_be_a_message),
        cmocka_unit_test(silence_is_answered_by_pings_and_then_the_end),
        cmocka_unit_test(every_frame_breaks_the_silence),
        cmocka_unit_test(what_is_sent_is_masked_by_a_client_alone),
        cmocka_unit_test(what_cannot_be_sent_ends_the_connection),
        cmocka_unit_test(a_client_asks_first_and_frames_may_follow_in_the_same_read),
        cmocka_unit_test(no_allocation_is_trusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
