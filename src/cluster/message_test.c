/* message_test.c -- snappy blocks, ids, version tokens, shared encodings. */
#include "cluster/fixture.h"

static int decode(weir_str_t block, size_t max, weir_error_t *err)
{
    weir_json_t *message = NULL;
    int rc = weir_message_decode(WEIR_CODEC_SNAPPY, block, max, &message, err);
    weir_json_free(message);
    return rc;
}

static void what_is_encoded_is_decoded(void **state)
{
    (void)state;
    WEIR_AUTO(json) weir_json_t *message = fixture_json("{\"jsonrpc\":\"2.0\",\"x\":[1,\"ü\"]}");
    WEIR_AUTO(json) weir_json_t *back = NULL;
    WEIR_AUTO(buffer) weir_buffer_t block;
    weir_buffer_init(&block, 1000);
    assert_int_equal(weir_message_encode(WEIR_CODEC_SNAPPY, message, &block, NULL), WEIR_OK);
    assert_int_equal(
        weir_message_decode(WEIR_CODEC_SNAPPY, weir_buffer_str(&block), 1000, &back, NULL),
        WEIR_OK);
    assert_true(weir_json_equal(message, back));
}

static void a_length_that_lies_allocates_nothing(void **state)
{
    weir_error_t err = { 0 };
    (void)state;
    /* 4 GiB less one, then 1 MiB: nothing of it follows. */
    assert_int_equal(decode(WEIR_STR("\xff\xff\xff\xff\x0fx"), 1 << 24, &err), WEIR_TOO_LARGE);
    assert_string_equal(err.field, "cluster_max_payload");
    weir_test_fail_allocation(1); /* it must not even be tried */
    int rc = decode(WEIR_STR("\x80\x80\x40x"), 1 << 24, &err);
    weir_test_fail_allocation(0);
    assert_int_equal(rc, WEIR_INVALID);
}

static void what_is_no_block_is_refused(void **state)
{
    weir_error_t err = { 0 };
    (void)state;
    assert_int_equal(decode(WEIR_STR(""), 1000, &err), WEIR_INVALID);
    assert_int_equal(decode(WEIR_STR("{\"jsonrpc\":\"2.0\"}"), 1000, &err), WEIR_INVALID);
    assert_int_equal(decode(WEIR_STR("\xff\x06\x00\x00sNaPpY"), 1000, &err), WEIR_INVALID);
    assert_int_equal(decode(WEIR_STR("\x02\x04{}"), 1000, &err), WEIR_OK);
    assert_int_equal(decode(WEIR_STR("\x02\x04{x"), 1000, &err), WEIR_INVALID);
}

static void ids_are_numbers_or_texts_of_numbers(void **state)
{
    static const struct {
        const char *json;
        weir_id_kind_t kind;
    } cases[] = {
        { "{}", WEIR_ID_NONE },
        { "{\"id\":null}", WEIR_ID_NULL },
        { "{\"id\":0}", WEIR_ID_FINE },
        { "{\"id\":-1.5}", WEIR_ID_FINE },
        { "{\"id\":\"7\"}", WEIR_ID_FINE },
        { "{\"id\":\"seven\"}", WEIR_ID_ODD },
        { "{\"id\":\"7x\"}", WEIR_ID_ODD },
        { "{\"id\":true}", WEIR_ID_ODD },
        { "{\"id\":[1]}", WEIR_ID_ODD },
        { "{\"id\":\"\"}", WEIR_ID_ODD },
    };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        WEIR_AUTO(json) weir_json_t *message = fixture_json(cases[i].json);
        assert_int_equal(weir_message_id(message), cases[i].kind);
    }
}

static void tokens_are_thirty_two_characters(void **state)
{
    char text[WEIR_TOKEN_LEN + 1];
    uint64_t version = 7;
    (void)state;
    weir_token_format(1000, text);
    assert_string_equal(text, "v02_00000000000000000000000003e8");
    assert_true(weir_token_parse(weir_str(text), &version));
    assert_int_equal(version, 1000);
    weir_token_format(UINT64_MAX, text);
    assert_true(weir_token_parse(weir_str(text), &version));
    assert_true(version == UINT64_MAX);
    static const char *const none[] = {
        "",
        "00000000000000000000000000000000",
        "v02_00000000000000000000000003e",
        "v02_00000000000000000000000003e80",
        "v02_00000000000000000000000003E8",
        "v02_0000000000010000000000000000", /* more than 64 bits */
        "v02_0000000000000000000000000 e8",
    };
    for (size_t i = 0; i < WEIR_COUNT(none); i++)
        assert_false(weir_token_parse(weir_str(none[i]), &version));
}

static void each_allocation_of_a_message_may_fail(void **state)
{
    (void)state;
    for (unsigned n = 1;; n++) {
        weir_json_t *id = weir_json_new_number(1);
        WEIR_AUTO(buffer) weir_buffer_t block;
        weir_buffer_init(&block, 1000);
        weir_test_fail_allocation(n);
        weir_json_t *message = weir_message_call(
            "a.b", weir_message_in_default("version", weir_json_new_number(1)), id);
        int rc = weir_message_encode(WEIR_CODEC_SNAPPY, message, &block, NULL);
        weir_test_fail_allocation(0);
        weir_json_free(message);
        weir_json_free(id);
        if (rc == WEIR_OK)
            return;
        assert_true(n < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(a_length_that_lies_allocates_nothing),
        cmocka_unit_test(what_is_no_block_is_refused),
        cmocka_unit_test(ids_are_numbers_or_texts_of_numbers),
        cmocka_unit_test(tokens_are_thirty_two_characters),
        cmocka_unit_test(each_allocation_of_a_message_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
