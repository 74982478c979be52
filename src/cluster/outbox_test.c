/* outbox_test.c -- what waits to be written. */
#include "cluster/fixture.h"

static void short_pieces_leave_in_one_write(void **state)
{
    weir_outbox_t outbox;
    (void)state;
    weir_outbox_init(&outbox, 1000);
    assert_int_equal(weir_outbox_put(&outbox, WEIR_STR("head")), WEIR_OK);
    assert_int_equal(weir_outbox_put(&outbox, WEIR_STR("+body")), WEIR_OK);
    weir_str_t front = weir_outbox_front(&outbox);
    assert_int_equal(front.len, 9);
    assert_memory_equal(front.data, "head+body", 9);
    weir_outbox_advance(&outbox, 9);
    assert_int_equal(weir_outbox_front(&outbox).len, 0);
    assert_int_equal(outbox.bytes, 0);
    weir_outbox_release(&outbox);
}

static void an_unfinished_write_is_repeated_unchanged(void **state)
{
    weir_outbox_t outbox;
    (void)state;
    weir_outbox_init(&outbox, 1000);
    weir_outbox_put(&outbox, WEIR_STR("first"));
    weir_str_t before = weir_outbox_front(&outbox);
    weir_outbox_put(&outbox, WEIR_STR("second"));
    weir_str_t after = weir_outbox_front(&outbox);
    assert_ptr_equal(before.data, after.data);
    assert_int_equal(before.len, after.len);
    weir_outbox_advance(&outbox, 2);
    assert_memory_equal(weir_outbox_front(&outbox).data, "rst", 3);
    weir_outbox_advance(&outbox, 3);
    assert_memory_equal(weir_outbox_front(&outbox).data, "second", 6);
    weir_outbox_release(&outbox);
}

static void the_limit_is_kept_and_nothing_is_half_queued(void **state)
{
    weir_outbox_t outbox;
    (void)state;
    weir_outbox_init(&outbox, 10);
    assert_int_equal(weir_outbox_put(&outbox, WEIR_STR("12345678")), WEIR_OK);
    assert_int_equal(weir_outbox_put(&outbox, WEIR_STR("901")), WEIR_TOO_LARGE);
    assert_int_equal(weir_outbox_put(&outbox, WEIR_STR("90")), WEIR_OK);
    assert_int_equal(weir_outbox_front(&outbox).len, 10);
    weir_outbox_release(&outbox);
}

static void no_write_is_longer_than_a_record(void **state)
{
    enum { BYTES = 100000 };
    weir_outbox_t outbox;
    size_t sum = 0;
    (void)state;
    char *bytes = calloc(1, BYTES);
    weir_outbox_init(&outbox, BYTES);
    assert_int_equal(weir_outbox_put(&outbox, (weir_str_t){ bytes, BYTES }), WEIR_OK);
    for (weir_str_t part; (part = weir_outbox_front(&outbox)).len > 0; sum += part.len) {
        assert_true(part.len <= 16384);
        weir_outbox_advance(&outbox, part.len);
    }
    assert_int_equal(sum, BYTES);
    weir_outbox_release(&outbox);
    free(bytes);
}

static void a_long_answer_is_not_copied(void **state)
{
    fixture_store_t store = { 0 };
    weir_outbox_t boxes[2];
    weir_answer_t *answer = NULL;
    char tag[20001];
    fixture_random_t random = { 3 };
    (void)state;
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    for (unsigned n = 1; n <= 3; n++) {
        for (size_t i = 0; i + 1 < sizeof(tag); i++)
            tag[i] = (char)('!' + fixture_next(&random, 90));
        for (size_t i = 0; i + 1 < sizeof(tag); i++)
            if (tag[i] == '"' || tag[i] == '\\')
                tag[i] = 'x';
        tag[sizeof(tag) - 1] = '\0';
        fixture_put(&store, n, tag);
    }
    weir_want_t all = { .dialect = WEIR_DIALECT_310, .level = INT64_MAX };
    assert_int_equal(weir_encoder_answer(store.encoder, &all, &answer, NULL), WEIR_OK);
    uint64_t uncompressed = 0;
    weir_str_t elements = weir_answer_elements(answer, &uncompressed);
    assert_true(elements.len > 16384);
    for (size_t i = 0; i < 2; i++) {
        weir_outbox_init(&boxes[i], 1 << 24);
        weir_outbox_put(&boxes[i], WEIR_STR("head"));
        assert_int_equal(weir_outbox_put_answer(&boxes[i], answer), WEIR_OK);
        weir_outbox_put(&boxes[i], WEIR_STR("tail"));
        weir_outbox_front(&boxes[i]);
        weir_outbox_advance(&boxes[i], 4);
        assert_ptr_equal(weir_outbox_front(&boxes[i]).data, elements.data);
    }
    weir_answer_release(answer);
    weir_outbox_release(&boxes[0]); /* cut off in the middle */
    WEIR_AUTO(buffer) weir_buffer_t rest = fixture_take(&boxes[1]);
    assert_memory_equal(rest.data + rest.len - 4, "tail", 4);
    weir_outbox_release(&boxes[1]);
    fixture_store_close(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_pieces_leave_in_one_write),
        cmocka_unit_test(an_unfinished_write_is_repeated_unchanged),
        cmocka_unit_test(the_limit_is_kept_and_nothing_is_half_queued),
        cmocka_unit_test(no_write_is_longer_than_a_record),
        cmocka_unit_test(a_long_answer_is_not_copied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
