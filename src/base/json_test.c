/* json_test.c -- text to values and back; UUIDs. */
#include "base/json.h"
#include "base/uuid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static weir_json_t *parse(const char *text)
{
    weir_json_t *value = NULL;
    weir_error_t err = { 0 };
    if (weir_json_parse(weir_str(text), &value, &err) != WEIR_OK)
        fail_msg("%s: %s", text, err.reason);
    return value;
}

/* What `text` prints as. */
static void prints_as(const char *text, const char *wanted)
{
    WEIR_AUTO(json) weir_json_t *value = parse(text);
    WEIR_AUTO(buffer) weir_buffer_t out;
    weir_buffer_init(&out, 1 << 20);
    assert_int_equal(weir_json_print(value, &out), WEIR_OK);
    weir_buffer_byte(&out, '\0');
    assert_string_equal(out.data, wanted);
}

static void printing_has_no_blanks_and_keeps_the_order(void **state)
{
    (void)state;
    prints_as(" { \"b\" : [ 1 , 2 ] , \"a\" : null } ", "{\"b\":[1,2],\"a\":null}");
    prints_as("\"a/b\\/c\"", "\"a/b/c\"");
    prints_as("\"\\u0001\\n\\t\\\"\\\\\"", "\"\\u0001\\n\\t\\\"\\\\\"");
    prints_as("\"\\u00e4\\ud83d\\ude00\"", "\"\xc3\xa4\xf0\x9f\x98\x80\"");
    prints_as("[true,false,{},[]]", "[true,false,{},[]]");
}

static void numbers_read_back_the_same(void **state)
{
    (void)state;
    prints_as("[9007199254740991,9007199254740992,-1,0,-0]",
              "[9007199254740991,9007199254740992,-1,0,0]");
    prints_as("1795578678.19", "1795578678.19");
    prints_as("0.1", "0.1");
    prints_as("1e3", "1000");
    prints_as("0.30000000000000004", "0.30000000000000004");
}

static void of_equal_members_the_last_wins(void **state)
{
    (void)state;
    prints_as("{\"a\":1,\"b\":2,\"a\":3}", "{\"b\":2,\"a\":3}");
}

static void what_is_no_json_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",    "{",       "[1,]",        "{\"a\":}",        "nul",  "1 2",
        "\"a", "{'a':1}", "\"\\u0000\"", "{\"\\u0000\":1}", "[1]x", "{\"a\" 1}"
    };
    for (size_t i = 0; i < WEIR_COUNT(bad); i++) {
        weir_json_t *value = NULL;
        weir_error_t err = { 0 };
        assert_int_equal(weir_json_parse(weir_str(bad[i]), &value, &err), WEIR_INVALID);
        assert_null(value);
        assert_true(err.reason[0] != '\0');
    }
    prints_as("\"\\\\u0000\"", "\"\\\\u0000\""); /* an escaped backslash, then text */
}

static void deep_nesting_is_refused_and_not_overrun(void **state)
{
    (void)state;
    enum { DEEP = 100000 };
    char *text = malloc(DEEP);
    memset(text, '[', DEEP);
    weir_json_t *value = NULL;
    assert_int_equal(weir_json_parse((weir_str_t){ text, DEEP }, &value, NULL), WEIR_INVALID);
    free(text);
}

static void values_are_looked_at_changed_and_compared(void **state)
{
    (void)state;
    WEIR_AUTO(json) weir_json_t *value = parse("{\"s\":\"x\",\"n\":5,\"b\":true,\"l\":[1,2]}");
    assert_true(weir_str_is(weir_json_get_string(value, "s", WEIR_STR("?")), "x"));
    assert_true(weir_str_is(weir_json_get_string(value, "n", WEIR_STR("?")), "?"));
    assert_true(weir_json_get_number(value, "n", 0) == 5);
    assert_true(weir_json_get_boolean(value, "b", false));
    assert_null(weir_json_get(value, "S")); /* names are case-sensitive */
    assert_int_equal(weir_json_count(weir_json_get(value, "l")), 2);
    assert_int_equal(weir_json_kind(NULL), WEIR_JSON_ABSENT);

    WEIR_AUTO(json) weir_json_t *other = parse("{\"l\":[1,2],\"b\":true,\"n\":5,\"s\":\"x\"}");
    assert_true(weir_json_equal(value, other));
    assert_int_equal(weir_json_set(other, "n", weir_json_new_number(6)), WEIR_OK);
    assert_false(weir_json_equal(value, other));
    weir_json_remove(other, "n");
    assert_null(weir_json_get(other, "n"));
    assert_int_equal(weir_json_set(other, "x", NULL), WEIR_NO_MEMORY);
}

static void parsing_and_printing_end_cleanly_when_memory_is_short(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,\"two\",{\"three\":null}],\"b\":{\"c\":\"d\"}}";
    for (unsigned n = 1; n < 1000; n++) {
        weir_json_t *value = NULL;
        WEIR_AUTO(buffer) weir_buffer_t out;
        weir_buffer_init(&out, 4096);
        weir_test_fail_allocation(n);
        int rc = weir_json_parse(WEIR_STR(text), &value, NULL);
        int printed = rc == WEIR_OK ? weir_json_print(value, &out) : rc;
        weir_test_fail_allocation(0);
        weir_json_free(value);
        if (printed == WEIR_OK)
            return;
    }
    fail_msg("it never ended");
}

/* -- UUIDs ------------------------------------------------------------------------ */

static void a_uuid_reads_in_any_case_and_prints_in_lower(void **state)
{
    (void)state;
    weir_uuid_t uuid;
    char text[WEIR_UUID_TEXT + 1];
    assert_int_equal(weir_uuid_parse(WEIR_STR("0123ABCD-ef01-4567-89ab-CDEF01234567"), &uuid),
                     WEIR_OK);
    weir_uuid_format(&uuid, text);
    assert_string_equal(text, "0123abcd-ef01-4567-89ab-cdef01234567");
    static const char *const bad[] = { "",
                                       "0123abcd-ef01-4567-89ab-cdef0123456",
                                       "0123abcd-ef01-4567-89ab-cdef012345678",
                                       "0123abcdXef01-4567-89ab-cdef01234567",
                                       "g123abcd-ef01-4567-89ab-cdef01234567",
                                       "0123abcd-ef0-14567-89ab-cdef01234567" };
    for (size_t i = 0; i < WEIR_COUNT(bad); i++)
        assert_int_equal(weir_uuid_parse(weir_str(bad[i]), &uuid), WEIR_INVALID);
}

static void random_uuids_are_of_version_4_and_differ(void **state)
{
    (void)state;
    weir_uuid_t one;
    weir_uuid_t two;
    assert_int_equal(weir_uuid_random(&one), WEIR_OK);
    assert_int_equal(weir_uuid_random(&two), WEIR_OK);
    assert_false(weir_uuid_equal(&one, &two));
    assert_int_equal(one.bytes[6] >> 4, 4);
    assert_int_equal(one.bytes[8] >> 6, 2);
}

static void named_uuids_are_those_of_the_standard(void **state)
{
    (void)state;
    weir_uuid_t dns;
    weir_uuid_t uuid;
    char text[WEIR_UUID_TEXT + 1];
    weir_uuid_parse(WEIR_STR("6ba7b810-9dad-11d1-80b4-00c04fd430c8"), &dns);
    weir_uuid_named(&dns, WEIR_STR("www.example.com"), &uuid);
    weir_uuid_format(&uuid, text);
    assert_string_equal(text, "2ed6657d-e927-568b-95e1-2665a8aea6a2");
}

static void values_of_an_arena_go_with_it(void **state)
{
    (void)state;
    weir_arena_t arena;
    weir_arena_init(&arena, 1 << 20);
    WEIR_AUTO(json) weir_json_t *heap = parse("{\"a\":[1,\"two\"]}");
    assert_null(weir_json_place(&arena));
    weir_json_t *value = parse("{\"a\":1,\"a\":[1,\"two\",{\"b\":null}],\"c\":\"d\"}");
    weir_json_t *copy = weir_json_copy(heap);
    assert_int_equal(weir_json_set(value, "c", weir_json_new_string(WEIR_STR("another"))), WEIR_OK);
    weir_json_remove(value, "a");
    assert_int_equal(weir_json_set(value, "a", weir_json_copy(copy)), WEIR_OK);
    weir_json_free(copy); /* which does nothing */
    assert_ptr_equal(weir_json_place(NULL), &arena);
    assert_true(weir_json_equal(copy, heap));
    WEIR_AUTO(json) weir_json_t *wanted = parse("{\"c\":\"another\",\"a\":{\"a\":[1,\"two\"]}}");
    assert_true(weir_json_equal(value, wanted));
    weir_arena_release(&arena);
}

static void an_arena_that_is_full_makes_no_values(void **state)
{
    (void)state;
    weir_arena_t arena;
    weir_json_t *value = NULL;
    weir_arena_init(&arena, 256);
    weir_json_place(&arena);
    int rc = weir_json_parse(WEIR_STR("[1,2,3,4,5,6,7,8,9]"), &value, NULL);
    weir_json_place(NULL);
    assert_int_not_equal(rc, WEIR_OK);
    weir_arena_release(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(printing_has_no_blanks_and_keeps_the_order),
        cmocka_unit_test(numbers_read_back_the_same),
        cmocka_unit_test(of_equal_members_the_last_wins),
        cmocka_unit_test(what_is_no_json_is_refused),
        cmocka_unit_test(deep_nesting_is_refused_and_not_overrun),
        cmocka_unit_test(values_are_looked_at_changed_and_compared),
        cmocka_unit_test(parsing_and_printing_end_cleanly_when_memory_is_short),
        cmocka_unit_test(values_of_an_arena_go_with_it),
        cmocka_unit_test(an_arena_that_is_full_makes_no_values),
        cmocka_unit_test(a_uuid_reads_in_any_case_and_prints_in_lower),
        cmocka_unit_test(random_uuids_are_of_version_4_and_differ),
        cmocka_unit_test(named_uuids_are_those_of_the_standard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
