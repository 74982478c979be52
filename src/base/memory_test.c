/* memory_test.c -- arena, buffer, errors, numbers. */
#include "base/arena.h"
#include "base/buffer.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

/* -- arena --------------------------------------------------------------------- */

static void an_arena_hands_out_aligned_memory_that_does_not_overlap(void **state)
{
    (void)state;
    weir_arena_t arena;
    weir_arena_init(&arena, 1 << 20);
    char *before = NULL;
    for (size_t bytes = 1; bytes < 3000; bytes += 7) {
        char *block = weir_arena_alloc(&arena, bytes);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % _Alignof(max_align_t), 0);
        memset(block, (int)bytes, bytes);
        if (before != NULL)
            assert_int_equal(before[0], (char)(bytes - 7));
        before = block;
    }
    weir_arena_release(&arena);
}

static void an_arena_ends_at_its_maximum(void **state)
{
    (void)state;
    weir_arena_t arena;
    weir_arena_init(&arena, 64);
    assert_non_null(weir_arena_alloc(&arena, 48));
    assert_null(weir_arena_alloc(&arena, 32));
    assert_non_null(weir_arena_alloc(&arena, 16));
    assert_null(weir_arena_alloc(&arena, SIZE_MAX));
    weir_arena_release(&arena);
    assert_non_null(weir_arena_alloc(&arena, 64)); /* usable again */
    weir_arena_release(&arena);
}

static void a_cleared_arena_hands_out_the_same_memory_again(void **state)
{
    enum { MANY = 300, BYTES = 4000, KEPT = 256 * 1024 };
    (void)state;
    weir_arena_t arena;
    weir_arena_init(&arena, SIZE_MAX / 2);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < MANY; i++) {
            char *block = weir_arena_alloc(&arena, BYTES);
            assert_non_null(block);
            memset(block, (int)i, BYTES);
        }
        weir_arena_clear(&arena, KEPT);
        assert_int_equal(arena.bytes, 0);
        weir_test_fail_allocation(1); /* what was kept is enough for a part */
        for (size_t got = 0; got < KEPT / 3; got += BYTES)
            assert_non_null(weir_arena_alloc(&arena, BYTES));
        weir_test_fail_allocation(0);
        weir_arena_clear(&arena, KEPT);
    }
    weir_arena_clear(&arena, 0);
    weir_test_fail_allocation(1);
    assert_null(weir_arena_alloc(&arena, 1)); /* nothing was */
    weir_test_fail_allocation(0);
    weir_arena_release(&arena);
}

static void an_arena_copies_and_prints(void **state)
{
    (void)state;
    weir_arena_t arena;
    weir_arena_init(&arena, 1 << 16);
    weir_str_t copy = weir_arena_copy(&arena, WEIR_STR("abc"));
    assert_string_equal(copy.data, "abc");
    weir_str_t empty = weir_arena_copy(&arena, (weir_str_t){ NULL, 0 });
    assert_non_null(empty.data);
    weir_str_t text = weir_arena_printf(&arena, "%s-%d", "x", 42);
    assert_string_equal(text.data, "x-42");
    assert_int_equal(text.len, 4);
    weir_test_fail_allocation(1);
    assert_null(weir_arena_printf(&arena, "%20000d", 1).data);
    weir_test_fail_allocation(0);
    weir_arena_release(&arena);
}

/* -- buffer ----------------------------------------------------------------------- */

static void a_buffer_grows_and_keeps_what_it_has(void **state)
{
    (void)state;
    WEIR_AUTO(buffer) weir_buffer_t buffer;
    weir_buffer_init(&buffer, 1 << 20);
    for (int i = 0; i < 5000; i++)
        weir_buffer_printf(&buffer, "%d,", i);
    assert_int_equal(buffer.failed, WEIR_OK);
    assert_memory_equal(buffer.data, "0,1,2,3,", 8);
    assert_memory_equal(buffer.data + buffer.len - 5, "4999,", 5);
    weir_buffer_consume(&buffer, 2);
    assert_memory_equal(buffer.data, "1,2,", 4);
}

static void a_long_print_fits_whole(void **state)
{
    (void)state;
    WEIR_AUTO(buffer) weir_buffer_t buffer;
    weir_buffer_init(&buffer, 4096);
    assert_int_equal(weir_buffer_printf(&buffer, "%1000d", 7), WEIR_OK);
    assert_int_equal(buffer.len, 1000);
    assert_int_equal(buffer.data[999], '7');
}

static void a_failure_of_a_buffer_sticks_until_it_is_cleared(void **state)
{
    (void)state;
    WEIR_AUTO(buffer) weir_buffer_t buffer;
    weir_buffer_init(&buffer, 4);
    assert_int_equal(weir_buffer_append(&buffer, WEIR_STR("abc")), WEIR_OK);
    assert_int_equal(weir_buffer_append(&buffer, WEIR_STR("de")), WEIR_TOO_LARGE);
    assert_int_equal(weir_buffer_byte(&buffer, 'd'), WEIR_TOO_LARGE);
    assert_int_equal(buffer.len, 3);
    weir_buffer_clear(&buffer);
    assert_int_equal(weir_buffer_append(&buffer, WEIR_STR("abcd")), WEIR_OK);
    weir_buffer_release(&buffer);
    weir_test_fail_allocation(1);
    assert_int_equal(weir_buffer_byte(&buffer, 'd'), WEIR_NO_MEMORY);
    weir_test_fail_allocation(0);
    assert_int_equal(weir_buffer_byte(&buffer, 'd'), WEIR_NO_MEMORY);
}

/* -- errors ------------------------------------------------------------------------- */

static void an_error_may_be_made_of_itself(void **state)
{
    (void)state;
    weir_error_t err = { 0 };
    weir_error_set(&err, WEIR_INVALID, "name", "must be %d", 1);
    assert_int_equal(weir_error_set(&err, WEIR_IO, err.field, "again: %s", err.reason), WEIR_IO);
    assert_string_equal(err.field, "name");
    assert_string_equal(err.reason, "again: must be 1");
}

static void an_error_is_cut_and_terminated(void **state)
{
    (void)state;
    weir_error_t err = { 0 };
    char field[300];
    memset(field, 'f', sizeof(field));
    field[299] = '\0';
    weir_error_set(&err, WEIR_INVALID, field, "%2000d", 1);
    assert_int_equal(strlen(err.field), sizeof(err.field) - 1);
    assert_int_equal(strlen(err.reason), sizeof(err.reason) - 1);
    weir_error_within(&err, WEIR_IO, "%1000d", 2);
    assert_true(strlen(err.reason) < sizeof(err.reason));
    assert_int_equal(weir_error_set(NULL, WEIR_FULL, NULL, "nobody asks"), WEIR_FULL);
}

static void where_comes_before_the_reason(void **state)
{
    (void)state;
    weir_error_t err = { 0 };
    weir_error_set(&err, WEIR_INVALID, NULL, "no");
    assert_int_equal(weir_error_within(&err, WEIR_IO, "delta %d", 3), WEIR_IO);
    assert_string_equal(err.reason, "delta 3: no");
    assert_int_equal(err.code, WEIR_IO);
}

static void a_full_disk_is_told_from_other_faults(void **state)
{
    (void)state;
    weir_error_t err = { 0 };
    assert_int_equal(weir_error_errno(&err, ENOSPC, "write"), WEIR_FULL);
    assert_int_equal(weir_error_errno(&err, EDQUOT, "write"), WEIR_FULL);
    assert_int_equal(weir_error_errno(&err, EACCES, "write %s", "x"), WEIR_IO);
    assert_string_equal(err.reason, "write x: Permission denied");
    assert_string_equal(weir_code_name(WEIR_FULL), "full");
    assert_string_equal(weir_code_name(-1), "unknown");
    assert_string_equal(weir_code_name(9999), "unknown");
}

/* -- numbers --------------------------------------------------------------------------- */

static void a_number_is_the_whole_text_and_in_range(void **state)
{
    (void)state;
    int64_t value = 77;
    static const char *const bad[] = { "",
                                       "-",
                                       "+1",
                                       " 1",
                                       "1 ",
                                       "0x1",
                                       "1.0",
                                       "1e3",
                                       "9223372036854775808",
                                       "99999999999999999999999999" };
    for (size_t i = 0; i < WEIR_COUNT(bad); i++)
        assert_int_equal(weir_parse_int64(weir_str(bad[i]), INT64_MIN, INT64_MAX, &value),
                         WEIR_INVALID);
    assert_int_equal(weir_parse_int64(WEIR_STR("11"), 0, 10, &value), WEIR_INVALID);
    assert_int_equal(value, 77);
    assert_int_equal(weir_parse_int64(WEIR_STR("-9223372036854775808"), INT64_MIN, 0, &value),
                     WEIR_OK);
    assert_true(value == INT64_MIN);
    assert_int_equal(weir_parse_int64(WEIR_STR("007"), 0, 10, &value), WEIR_OK);
    assert_int_equal(value, 7);
}

static weir_str_t formatted(char *out, size_t bytes, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    weir_str_t text = weir_str_format(out, bytes, format, arguments);
    va_end(arguments);
    return text;
}

static void a_format_is_cut_where_its_room_ends(void **state)
{
    char out[8];
    (void)state;
    assert_true(weir_str_is(formatted(out, sizeof(out), "%s", "1234567"), "1234567"));
    assert_true(weir_str_is(formatted(out, sizeof(out), "%s", "12345678"), "1234567"));
    assert_true(weir_str_is(formatted(out, sizeof(out), "%d", 12), "12"));
    assert_int_equal(formatted(out, sizeof(out), "%s", "").len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_arena_hands_out_aligned_memory_that_does_not_overlap),
        cmocka_unit_test(an_arena_ends_at_its_maximum),
        cmocka_unit_test(a_cleared_arena_hands_out_the_same_memory_again),
        cmocka_unit_test(an_arena_copies_and_prints),
        cmocka_unit_test(a_buffer_grows_and_keeps_what_it_has),
        cmocka_unit_test(a_long_print_fits_whole),
        cmocka_unit_test(a_format_is_cut_where_its_room_ends),
        cmocka_unit_test(a_failure_of_a_buffer_sticks_until_it_is_cleared),
        cmocka_unit_test(an_error_may_be_made_of_itself),
        cmocka_unit_test(an_error_is_cut_and_terminated),
        cmocka_unit_test(where_comes_before_the_reason),
        cmocka_unit_test(a_full_disk_is_told_from_other_faults),
        cmocka_unit_test(a_number_is_the_whole_text_and_in_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
