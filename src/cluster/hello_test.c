/* hello_test.c -- the first message of each side. */
#include "cluster/fixture.h"

static int read_hello(const char *text, weir_hello_t *hello)
{
    weir_error_t err = { 0 };
    *hello = (weir_hello_t){ 0 };
    return weir_hello_read(weir_str(text), hello, &err);
}

static void a_hello_tells_who_it_is(void **state)
{
    weir_hello_t hello;
    (void)state;
    assert_int_equal(read_hello(fixture_hello("3.9.1", true), &hello), WEIR_OK);
    assert_string_equal(hello.node_id, FIXTURE_NODE);
    assert_string_equal(hello.version, "3.9.1");
    assert_true(hello.sync && hello.report && hello.has_capabilities);
    assert_true(weir_str_is(weir_json_string(weir_json_get(hello.labels, "env")), "test"));
    assert_int_equal(weir_json_count(hello.capabilities), 2);
    weir_hello_release(&hello);
}

static void what_our_client_says_our_control_plane_understands(void **state)
{
    static const char *const labels[] = { "region:eu:1", "odd", ":x", "tier:", NULL };
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_greeting_t greeting = { .node_id = FIXTURE_NODE,
                                 .hostname = "host \"x\"",
                                 .version = "3.10.0",
                                 .labels = labels,
                                 .sync_v1 = true,
                                 .zstd = true };
    weir_hello_t hello = { 0 };
    weir_offer_t offer = {
        .sync = true, .report = true, .sync_v1 = true, .codec = WEIR_CODEC_ZSTD
    };
    (void)state;
    weir_buffer_init(&text, 4096);
    assert_int_equal(weir_hello_write(&greeting, &text), WEIR_OK);
    assert_int_equal(weir_hello_read(weir_buffer_str(&text), &hello, NULL), WEIR_OK);
    assert_string_equal(hello.hostname, "host \"x\"");
    assert_true(weir_str_is(weir_json_string(weir_json_get(hello.labels, "region")), "eu:1"));
    assert_int_equal(weir_json_count(hello.labels), 2);
    weir_buffer_clear(&text);
    assert_true(hello.sync && hello.report && hello.sync_v1 && hello.zstd);
    assert_int_equal(weir_hello_answer(&offer, &text), WEIR_OK);
    offer = (weir_offer_t){ 0 };
    assert_int_equal(weir_hello_read_answer(weir_buffer_str(&text), &offer, NULL), WEIR_OK);
    assert_true(offer.sync && offer.report && offer.sync_v1);
    assert_int_equal(offer.codec, WEIR_CODEC_ZSTD);
    weir_buffer_clear(&text);
    offer = (weir_offer_t){ .sync = true };
    weir_hello_answer(&offer, &text);
    assert_int_equal(weir_hello_read_answer(weir_buffer_str(&text), &offer, NULL), WEIR_OK);
    assert_true(offer.sync && !offer.report && !offer.sync_v1);
    weir_buffer_clear(&text);
    offer = (weir_offer_t){ 0 };
    weir_hello_answer(&offer, &text);
    assert_int_equal(weir_hello_read_answer(weir_buffer_str(&text), &offer, NULL), WEIR_OK);
    assert_false(offer.sync || offer.report || offer.sync_v1);
    assert_int_equal(offer.codec, WEIR_CODEC_SNAPPY);
    /* zstd was not agreed on without weir.sync.v1: what follows could not be read. */
    assert_int_equal(
        weir_hello_read_answer(WEIR_STR("{\"result\":{\"rpc_capabilities\":[\"kong.sync.v2\"],"
                                        "\"rpc_frame_encoding\":\"x-zstd\"}}"),
                               &offer, NULL),
        WEIR_INVALID);
    weir_hello_release(&hello);
}

static void a_hello_that_lacks_something_is_refused(void **state)
{
#define HELLO(params) \
    "{\"jsonrpc\":\"2.0\",\"method\":\"kong.meta.v1.hello\",\"params\":" params "}"
#define REST "\"rpc_frame_encodings\":[\"x-snappy-framed\"],\"kong_conf\":{}"
    static const char *const cases[] = {
        "",
        "[]",
        "null",
        "\"hello\"",
        "{\"jsonrpc\":\"2.0\",\"method\":\"kong.meta.v1.hello\"}",
        HELLO("[]"),
        HELLO("{}"),
        HELLO("[null]"),
        HELLO("[[]]"),
        HELLO("[{\"kong_version\":\"3\",\"kong_hostname\":\"h\"," REST "}]"),
        HELLO("[{\"kong_version\":3,\"kong_hostname\":\"h\",\"kong_node_id\":\"n\"," REST "}]"),
        HELLO("[{\"kong_version\":\"3\",\"kong_hostname\":\"h\",\"kong_node_id\":\"\"," REST "}]"),
        HELLO("[{\"kong_version\":\"3\",\"kong_hostname\":\"h\",\"kong_node_id\":\"a b\"," REST
              "}]"),
        HELLO("[{\"kong_version\":\"3\",\"kong_hostname\":\"h\",\"kong_node_id\":\"n\","
              "\"rpc_frame_encodings\":[\"x-zstd\"],\"kong_conf\":{}}]"),
        HELLO("[{\"kong_version\":\"3\",\"kong_hostname\":\"h\",\"kong_node_id\":\"n\","
              "\"rpc_frame_encodings\":[\"x-snappy-framed\"],\"kong_conf\":null}]"),
    };
    weir_hello_t hello;
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(cases); i++)
        assert_int_equal(read_hello(cases[i], &hello), WEIR_INVALID);
    assert_int_equal(read_hello(HELLO("[{\"kong_version\":\"3\",\"kong_hostname\":\"h\","
                                      "\"kong_node_id\":\"n\"," REST "}]"),
                                &hello),
                     WEIR_OK);
    assert_false(hello.has_capabilities);
    weir_hello_release(&hello);
}

static void lists_and_texts_of_a_hello_are_bounded(void **state)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_hello_t hello;
    (void)state;
    weir_buffer_init(&text, 1 << 20);
    weir_buffer_append(&text, WEIR_STR("{\"jsonrpc\":\"2.0\",\"method\":\"kong.meta.v1.hello\","
                                       "\"params\":[{\"kong_version\":\"3\",\"kong_node_id\":\"n\","
                                       "\"rpc_frame_encodings\":[\"x-snappy-framed\"],"
                                       "\"kong_hostname\":\""));
    for (int i = 0; i < 1000; i++)
        weir_buffer_byte(&text, 'h');
    weir_buffer_append(&text, WEIR_STR("\",\"rpc_capabilities\":[\"a\""));
    for (int i = 0; i < 1000; i++)
        weir_buffer_append(&text, WEIR_STR(",\"b\""));
    weir_buffer_append(&text, WEIR_STR("],\"kong_conf\":{\"cluster_dp_labels\":[\"k:v\""));
    for (int i = 0; i < 1000; i++)
        weir_buffer_printf(&text, ",\"k%d:v\"", i);
    weir_buffer_append(&text, WEIR_STR("]}}]}"));
    weir_buffer_byte(&text, '\0');
    assert_int_equal(read_hello(text.data, &hello), WEIR_OK);
    assert_int_equal(strlen(hello.hostname), WEIR_HELLO_TEXT_MAX);
    assert_int_equal(weir_json_count(hello.capabilities), WEIR_HELLO_LIST_MAX);
    assert_int_equal(weir_json_count(hello.labels), WEIR_HELLO_LIST_MAX);
    weir_hello_release(&hello);
}

static void versions_compare_as_numbers(void **state)
{
    (void)state;
    assert_int_equal(weir_hello_version(WEIR_STR("3.9.1")), 3009001);
    assert_int_equal(weir_hello_version(WEIR_STR("3.10.0-enterprise")), 3010000);
    assert_int_equal(weir_hello_version(WEIR_STR("3.9")), WEIR_VERSION_3_9);
    assert_int_equal(weir_hello_version(WEIR_STR("x")), -1);
    assert_int_equal(weir_hello_version(WEIR_STR("")), -1);
    assert_true(weir_hello_version(WEIR_STR("99999999999999999999.1.1")) > WEIR_VERSION_3_10);
}

static void each_allocation_of_reading_may_fail(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        weir_hello_t hello;
        const char *text = fixture_hello("3.9.1", true);
        weir_test_fail_allocation(n);
        int rc = read_hello(text, &hello);
        weir_test_fail_allocation(0);
        weir_hello_release(&hello);
        if (rc == WEIR_OK)
            return;
        assert_true(n < 500);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hello_tells_who_it_is),
        cmocka_unit_test(what_our_client_says_our_control_plane_understands),
        cmocka_unit_test(a_hello_that_lacks_something_is_refused),
        cmocka_unit_test(lists_and_texts_of_a_hello_are_bounded),
        cmocka_unit_test(versions_compare_as_numbers),
        cmocka_unit_test(each_allocation_of_reading_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
