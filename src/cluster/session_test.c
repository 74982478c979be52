/* session_test.c -- what a control plane says to one data plane, and when. */
#include "cluster/fixture.h"

typedef struct talk {
    fixture_store_t store;
    fixture_host_t host;
    int64_t now_ms;
    weir_buffer_t said; /* what came since the last look, one frame a line */
    int rc;
} talk_t;

static void say(talk_t *t, const char *json)
{
    WEIR_AUTO(buffer) weir_buffer_t bytes;
    weir_buffer_init(&bytes, 1 << 24);
    fixture_message(&bytes, true, json);
    t->rc = weir_session_input(t->host.session, weir_buffer_str(&bytes), t->now_ms, NULL);
}

/* What came; lives until the next call. */
static const char *said(talk_t *t)
{
    WEIR_AUTO(buffer) weir_buffer_t bytes = fixture_take(&t->host.out);
    weir_buffer_clear(&t->said);
    fixture_describe(weir_buffer_str(&bytes), false, &t->said);
    weir_buffer_byte(&t->said, '\0');
    return t->said.data;
}

static void begin(talk_t *t, const char *version, bool report)
{
    *t = (talk_t){ .now_ms = 1000 };
    weir_buffer_init(&t->said, 1 << 26);
    fixture_store_open(&t->store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_host_open(&t->host, &t->store, "3.9.1", t->now_ms);
    WEIR_AUTO(buffer) weir_buffer_t bytes;
    weir_buffer_init(&bytes, 4096);
    fixture_frame(&bytes, WEIR_FRAME_BINARY, true, weir_str(fixture_hello(version, report)));
    assert_int_equal(weir_session_input(t->host.session, weir_buffer_str(&bytes), t->now_ms, NULL),
                     WEIR_OK);
    WEIR_AUTO(buffer) weir_buffer_t hello = fixture_take(&t->host.out);
    assert_non_null(memmem(hello.data, hello.len, "x-snappy-framed", 15));
}

static void end(talk_t *t)
{
    fixture_host_close(&t->host, t->now_ms);
    fixture_store_close(&t->store);
    weir_buffer_release(&t->said);
}

static void change(talk_t *t)
{
    static unsigned number;
    fixture_put(&t->store, ++number % 30, "t");
    assert_int_equal(
        weir_session_notify(t->host.session, weir_store_version(t->store.store), t->now_ms, NULL),
        WEIR_OK);
}

static void answer(talk_t *t)
{
    assert_int_equal(fixture_host_answer(&t->host, t->now_ms), WEIR_OK);
}

static size_t count(const char *text, const char *word)
{
    size_t found = 0;
    for (; (text = strstr(text, word)) != NULL; text++)
        found++;
    return found;
}

#define GET_DELTA_310(id)                                                    \
    "{\"jsonrpc\":\"2.0\",\"method\":\"kong.sync.v2.get_delta\",\"id\":" #id \
    ",\"params\":[{\"default\":{\"version\":\"00000000000000000000000000000000\"}}]}"

static void nobody_is_notified_before_it_asked(void **state)
{
    talk_t t;
    (void)state;
    begin(&t, "3.10.0", false);
    change(&t);
    assert_string_equal(said(&t), "");
    say(&t, GET_DELTA_310(0));
    answer(&t);
    assert_int_equal(count(said(&t), "\"full_sync\":true"), 1);
    change(&t);
    assert_int_equal(count(said(&t), "notify_new_version"), 1);
    end(&t);
}

static void two_hundred_changes_are_two_notifications(void **state)
{
    talk_t t;
    (void)state;
    begin(&t, "3.10.0", false);
    say(&t, GET_DELTA_310(0));
    answer(&t);
    said(&t);
    for (int i = 0; i < 200; i++)
        change(&t);
    assert_int_equal(count(said(&t), "notify_new_version"), 1);
    say(&t, "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":true}");
    char token[64];
    weir_token_format(weir_store_version(t.store.store), token);
    const char *second = said(&t);
    assert_int_equal(count(second, "notify_new_version"), 1);
    assert_non_null(strstr(second, token)); /* the newest */
    assert_non_null(strstr(second, "\"id\":1"));
    end(&t);
}

static void changes_during_an_answer_wait_for_it(void **state)
{
    talk_t t;
    (void)state;
    begin(&t, "3.9.1", false);
    say(&t, "{\"jsonrpc\":\"2.0\",\"method\":\"kong.sync.v2.get_delta\",\"id\":0,"
            "\"params\":[{\"default\":{\"version\":0}}]}");
    change(&t); /* part of the answer: it is made afterwards */
    assert_string_equal(said(&t), "");
    answer(&t);
    const char *text = said(&t);
    assert_int_equal(count(text, "\"wipe\":true"), 1);
    assert_int_equal(count(text, "notify_new_version"), 0);
    change(&t);
    assert_non_null(strstr(said(&t), "\"new_version\":3")); /* a number, as it speaks 3.9 */
    end(&t);
}

static void a_notification_without_an_answer_is_given_up_after_five_seconds(void **state)
{
    talk_t t;
    (void)state;
    begin(&t, "3.10.0", false);
    say(&t, GET_DELTA_310(0));
    answer(&t);
    change(&t);
    change(&t);
    assert_int_equal(count(said(&t), "notify_new_version"), 1);
    t.now_ms += 4999;
    assert_int_equal(weir_session_tick(t.host.session, t.now_ms, NULL), WEIR_OK);
    assert_string_equal(said(&t), "");
    t.now_ms += 1;
    assert_int_equal(weir_session_tick(t.host.session, t.now_ms, NULL), WEIR_OK);
    assert_int_equal(count(said(&t), "notify_new_version"), 1);
    end(&t);
}

static void who_claims_to_be_older_but_sends_tokens_is_answered_with_tokens(void **state)
{
    talk_t t;
    (void)state;
    begin(&t, "3.9.1", false);
    say(&t, GET_DELTA_310(0));
    answer(&t);
    assert_non_null(strstr(said(&t), "\"full_sync\":true"));
    change(&t);
    assert_non_null(strstr(said(&t), "\"new_version\":\"v02_"));
    end(&t);
}

static void a_batch_gets_one_array_in_its_order(void **state)
{
    talk_t t;
    (void)state;
    begin(&t, "3.10.0", false);
    say(&t, "[" GET_DELTA_310(7) ",{\"jsonrpc\":\"2.0\",\"method\":\"no.thing\",\"id\":8},"
                                 "{\"jsonrpc\":\"2.0\",\"method\":\"no.thing\"},3," GET_DELTA_310(
                                     9) "]");
    assert_int_equal(t.rc, WEIR_OK);
    assert_non_null(strstr(said(&t), "-32600")); /* what is no object: outside, before */
    /* The second first. */
    weir_want_t first = t.host.wants[0];
    t.host.wants[0] = t.host.wants[1];
    t.host.wants[1] = first;
    answer(&t);
    assert_string_equal(said(&t), "");
    answer(&t);
    const char *text = said(&t);
    assert_int_equal(text[0], '[');
    assert_int_equal(count(text, "\n"), 1);
    const char *seven = strstr(text, "\"id\":7");
    const char *eight = strstr(text, "\"id\":8");
    const char *nine = strstr(text, "\"id\":9");
    assert_true(seven != NULL && seven < eight && eight < nine);
    assert_int_equal(count(text, "\"full_sync\":true"), 2);
    end(&t);
}

static void a_connection_that_ends_inside_a_batch_leaks_nothing(void **state)
{
    talk_t t;
    (void)state;
    begin(&t, "3.10.0", false);
    say(&t, "[" GET_DELTA_310(1) "," GET_DELTA_310(2) "]");
    answer(&t);
    end(&t); /* one answer is there, one is not */
    begin(&t, "3.10.0", false);
    say(&t, "[" GET_DELTA_310(1) ",{\"jsonrpc\":\"1.0\"}]");
    assert_int_equal(t.rc, WEIR_CLOSED);
    end(&t);
}

static void an_answer_that_does_not_fit_is_an_error_that_names_the_limit(void **state)
{
    talk_t t;
    weir_error_t failure = { 0 };
    (void)state;
    begin(&t, "3.10.0", false);
    say(&t, GET_DELTA_310(3));
    weir_error_set(&failure, WEIR_TOO_LARGE, "cluster_max_payload",
                   "the set does not fit: cluster_max_payload");
    assert_int_equal(
        weir_session_answer(t.host.session, &t.host.wants[0], NULL, &failure, t.now_ms, NULL),
        WEIR_OK);
    t.host.wants_count = 0;
    assert_non_null(strstr(said(&t), "cluster_max_payload"));
    assert_non_null(strstr(t.host.events, "cluster_max_payload"));
    say(&t, GET_DELTA_310(4)); /* it lives */
    answer(&t);
    assert_non_null(strstr(said(&t), "\"full_sync\":true"));
    end(&t);
}

static void too_many_calls_at_once_end_the_connection(void **state)
{
    talk_t t;
    (void)state;
    begin(&t, "3.10.0", false);
    for (int i = 0; i < 32; i++)
        say(&t, GET_DELTA_310(5));
    assert_int_equal(t.rc, WEIR_OK);
    say(&t, GET_DELTA_310(5));
    assert_int_equal(t.rc, WEIR_CLOSED);
    assert_string_equal(said(&t), "close\n");
    end(&t);
}

static void a_validation_error_becomes_the_last_error_of_the_node(void **state)
{
    talk_t t;
    weir_json_t *rows = NULL;
    (void)state;
    begin(&t, "3.10.0", false);
    say(&t, "{\"jsonrpc\":\"2.0\",\"method\":\"kong.sync.v2.notify_validation_error\",\"params\":[{"
            "\"version\":\"v\",\"error\":{\"code\":21,\"fields\":{\"routes\":[\"bad path\"]},"
            "\"flattened_errors\":[]}}]}");
    assert_string_equal(said(&t), "");
    assert_int_equal(weir_registry_list(t.store.registry, 5, t.now_ms, &rows, NULL), WEIR_OK);
    weir_str_t text = weir_json_string(weir_json_get(weir_json_first(rows), "last_error"));
    assert_non_null(memmem(text.data, text.len, "bad path", 8));
    weir_json_free(rows);
    end(&t);
}

static void each_allocation_of_a_conversation_may_fail(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 400; n++) {
        talk_t t;
        begin(&t, "3.10.0", true);
        weir_answer_t *made = NULL;
        weir_want_t all = { .dialect = WEIR_DIALECT_310, .level = INT64_MAX };
        weir_encoder_answer(t.store.encoder, &all, &made, NULL);
        WEIR_AUTO(buffer) weir_buffer_t bytes;
        weir_buffer_init(&bytes, 1 << 16);
        fixture_message(&bytes, true, "[" GET_DELTA_310(1) "," GET_DELTA_310(2) "]");
        weir_test_fail_allocation(n);
        int rc = weir_session_input(t.host.session, weir_buffer_str(&bytes), t.now_ms, NULL);
        for (size_t i = 0; rc == WEIR_OK && i < t.host.wants_count; i++)
            rc = weir_session_answer(t.host.session, &t.host.wants[i], made, NULL, t.now_ms, NULL);
        weir_test_fail_allocation(0);
        weir_answer_release(made);
        end(&t);
        if (rc == WEIR_OK)
            return;
        assert_int_equal(rc, WEIR_CLOSED);
    }
    fail();
}

/* A claim that the certificate does not bear out: no answer, no row, the reason is said. */
static void who_is_not_named_by_its_certificate_gets_nothing(void **state)
{
    static const char *const only[] = { FIXTURE_NODE, "99999999-2222-4333-8444-555555555555" };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(only); i++) {
        fixture_store_t store = { 0 };
        fixture_host_t host;
        weir_error_t err = { 0 };
        size_t known = 0;
        size_t connected = 0;
        WEIR_AUTO(buffer) weir_buffer_t bytes;
        weir_buffer_init(&bytes, 4096);
        fixture_frame(&bytes, WEIR_FRAME_BINARY, true, weir_str(fixture_hello("3.9.1", false)));
        fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
        store.only = only[i];
        fixture_host_open(&host, &store, "3.9.1", 1000);
        int rc = weir_session_input(host.session, weir_buffer_str(&bytes), 1000, &err);
        weir_registry_count(store.registry, &known, &connected);
        assert_int_equal(rc, i == 0 ? WEIR_OK : WEIR_CLOSED);
        assert_int_equal(known, i == 0 ? 1 : 0);
        assert_int_equal(weir_outbox_front(&host.out).len > 0, i == 0);
        if (i > 0) {
            assert_non_null(strstr(err.reason, FIXTURE_NODE));
            assert_non_null(strstr(err.reason, "cluster_bind_identity"));
        }
        fixture_host_close(&host, 1000);
        fixture_store_close(&store);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_notified_before_it_asked),
        cmocka_unit_test(two_hundred_changes_are_two_notifications),
        cmocka_unit_test(changes_during_an_answer_wait_for_it),
        cmocka_unit_test(a_notification_without_an_answer_is_given_up_after_five_seconds),
        cmocka_unit_test(who_claims_to_be_older_but_sends_tokens_is_answered_with_tokens),
        cmocka_unit_test(a_batch_gets_one_array_in_its_order),
        cmocka_unit_test(a_connection_that_ends_inside_a_batch_leaks_nothing),
        cmocka_unit_test(an_answer_that_does_not_fit_is_an_error_that_names_the_limit),
        cmocka_unit_test(too_many_calls_at_once_end_the_connection),
        cmocka_unit_test(a_validation_error_becomes_the_last_error_of_the_node),
        cmocka_unit_test(who_is_not_named_by_its_certificate_gets_nothing),
        cmocka_unit_test(each_allocation_of_a_conversation_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
