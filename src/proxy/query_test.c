/* query_test.c -- arguments of a query. */
#include "proxy/query.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void arguments_come_in_order_and_a_flag_has_no_value(void **state)
{
    (void)state;
    weir_str_t query = WEIR_STR("a=1&&b&=x&c=&d=1=2");
    weir_query_argument_t argument;
    assert_true(weir_query_next(&query, &argument));
    assert_true(weir_str_is(argument.name, "a") && weir_str_is(argument.value, "1"));
    assert_true(weir_query_next(&query, &argument));
    assert_true(weir_str_is(argument.name, "b"));
    assert_null(argument.value.data);
    assert_true(weir_query_next(&query, &argument));
    assert_true(weir_str_is(argument.name, "c"));
    assert_non_null(argument.value.data);
    assert_int_equal(argument.value.len, 0);
    assert_true(weir_query_next(&query, &argument));
    assert_true(weir_str_is(argument.name, "d") && weir_str_is(argument.value, "1=2"));
    assert_false(weir_query_next(&query, &argument));
}

static void broken_escapes_stand_for_themselves(void **state)
{
    static const char *const rows[][2] = {
        { "a+b", "a b" }, { "%41%62", "Ab" }, { "%4", "%4" },
        { "%", "%" },     { "%zz", "%zz" },   { "%%41", "%A" },
        { "%2B", "+" },   { "", "" },         { "100%25", "100%" },
    };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        char out[16];
        weir_str_t text = weir_str(rows[i][0]);
        weir_str_t got = { out, weir_query_decode(text, out) };
        assert_true(weir_str_is(got, rows[i][1]));
        assert_true(weir_query_decodes_to(text, weir_str(rows[i][1])));
        assert_false(weir_query_decodes_to(text, WEIR_STR("something else")));
    }
}

static void taking_an_argument_out_encodes_the_rest_anew(void **state)
{
    static const char *const rows[][3] = {
        { "apikey=k&k=1", "apikey", "k=1" },
        { "a=1&apikey=k&b", "apikey", "a=1&b=" },
        { "api%6Bey=k&x[]=a b", "apikey", "x%5B%5D=a+b" },
        { "apikey=1&apikey=2", "apikey", "" },
        { "x=%zz&apikey", "apikey", "x=%25zz" },
        { "apikey=&q=a%20b+c", "apikey", "q=a+b+c" },
    };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        char out[128];
        size_t len = 0;
        assert_true(weir_query_without(weir_str(rows[i][0]), weir_str(rows[i][1]), out, &len));
        weir_str_t got = { out, len };
        if (!weir_str_is(got, rows[i][2]))
            fail_msg("%s: %.*s", rows[i][0], WEIR_STR_ARG(got));
    }
}

static void a_query_that_lacks_the_argument_is_left_alone(void **state)
{
    char out[64] = "untouched";
    size_t len = 7;
    (void)state;
    assert_false(weir_query_without(WEIR_STR("a=%20"), WEIR_STR("apikey"), out, &len));
    assert_false(weir_query_without(WEIR_STR(""), WEIR_STR("apikey"), out, &len));
    assert_string_equal(out, "untouched");
    assert_int_equal(len, 7);
}

static void values_of_an_argument_are_one_text(void **state)
{
    (void)state;
    static const char *const rows[][3] = {
        { "foo=a", "foo", "a" },
        { "foo", "foo", "true" },
        { "foo=", "foo", "" },
        { "foo=s&foo&foo=1&foo=", "foo", ",1,s,true" },
        { "bar=1&f%6fo=%41+b&foo=%2c", "foo", ",,A b" },
        { "foo=2&x=&foo=10&foo=1", "foo", "1,10,2" },
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        weir_str_t query = weir_str(rows[i][0]);
        char *out = weir_malloc(weir_query_values_bytes(query));
        size_t len = 0;
        assert_true(weir_query_values(query, weir_str(rows[i][1]), out, &len));
        assert_true(weir_str_is((weir_str_t){ out, len }, rows[i][2]));
        weir_free(out);
    }
    char none[1024];
    size_t len = 7;
    assert_false(weir_query_values(WEIR_STR("a=1"), WEIR_STR("foo"), none, &len));
    assert_int_equal(len, 7);
}

/* Those that are looked at, and no more. */
static void a_hundred_values_fit(void **state)
{
    (void)state;
    char text[400];
    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = i % 2 ? '&' : 'a';
    weir_str_t query = { text, sizeof(text) };
    char *out = weir_malloc(weir_query_values_bytes(query));
    size_t len = 0;
    assert_true(weir_query_values(query, WEIR_STR("a"), out, &len));
    assert_int_equal(len, WEIR_QUERY_ARGUMENTS_MAX * 5 - 1);
    weir_free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_come_in_order_and_a_flag_has_no_value),
        cmocka_unit_test(broken_escapes_stand_for_themselves),
        cmocka_unit_test(taking_an_argument_out_encodes_the_rest_anew),
        cmocka_unit_test(a_query_that_lacks_the_argument_is_left_alone),
        cmocka_unit_test(values_of_an_argument_are_one_text),
        cmocka_unit_test(a_hundred_values_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
