/* rules_test.c -- hop-by-hop headers. */
#include "proxy/rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void a_connection_header_takes_along_what_it_names(void **state)
{
    (void)state;
    assert_true(weir_connection_lists(WEIR_STR("X-A, x-b ,\tX-C"), WEIR_STR("x-a")));
    assert_true(weir_connection_lists(WEIR_STR("X-A, x-b ,\tX-C"), WEIR_STR("X-B")));
    assert_true(weir_connection_lists(WEIR_STR("X-A, x-b ,\tX-C"), WEIR_STR("x-c")));
    assert_false(weir_connection_lists(WEIR_STR("X-A, x-b"), WEIR_STR("x-")));
    assert_false(weir_connection_lists(WEIR_STR(""), WEIR_STR("x-a")));
    assert_false(weir_connection_lists(WEIR_STR("X-A b"), WEIR_STR("x-a")));
}

static void close_upgrade_and_keep_alive_are_never_taken(void **state)
{
    (void)state;
    weir_str_t all = WEIR_STR("close, Upgrade, Keep-Alive, x");
    assert_false(weir_connection_lists(all, WEIR_STR("Close")));
    assert_false(weir_connection_lists(all, WEIR_STR("upgrade")));
    assert_false(weir_connection_lists(all, WEIR_STR("keep-alive")));
    assert_true(weir_connection_lists(all, WEIR_STR("x")));
}

static void the_usual_connection_headers_list_nothing(void **state)
{
    (void)state;
    assert_int_equal(weir_connection_list(WEIR_STR("keep-alive")).len, 0);
    assert_int_equal(weir_connection_list(WEIR_STR("Keep-Alive")).len, 0);
    assert_int_equal(weir_connection_list(WEIR_STR("close")).len, 0);
    assert_int_equal(weir_connection_list(WEIR_STR("Upgrade")).len, 0);
    assert_int_equal(weir_connection_list((weir_str_t){ NULL, 0 }).len, 0);
    assert_true(weir_str_is(weir_connection_list(WEIR_STR("close, x")), "close, x"));
    assert_true(weir_str_is(weir_connection_list(WEIR_STR("keep-alives")), "keep-alives"));
}

static void trailers_count_only_without_parameters(void **state)
{
    (void)state;
    assert_true(weir_te_has_trailers(WEIR_STR("trailers")));
    assert_true(weir_te_has_trailers(WEIR_STR("gzip;q=0.5, Trailers")));
    assert_false(weir_te_has_trailers(WEIR_STR("trailers;q=1")));
    assert_false(weir_te_has_trailers(WEIR_STR("trailer")));
    assert_false(weir_te_has_trailers(WEIR_STR("")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_connection_header_takes_along_what_it_names),
        cmocka_unit_test(close_upgrade_and_keep_alive_are_never_taken),
        cmocka_unit_test(the_usual_connection_headers_list_nothing),
        cmocka_unit_test(trailers_count_only_without_parameters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
