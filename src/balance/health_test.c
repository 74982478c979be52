/* health_test.c -- an address is taken out after as many failures as its limit says, and
 * comes back after as many successes (routing 10). */
#include "balance/health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static weir_health_t *table;
static void *memory;
static weir_health_ref_t one, two;

static uint64_t id_of(const char *address)
{
    return weir_health_id(WEIR_STR("u"), WEIR_STR("h"), weir_str(address));
}

static void make(size_t bytes)
{
    free(memory);
    memory = aligned_alloc(64, bytes);
    assert_non_null(memory);
    memset(memory, 0, bytes);
    table = weir_health_make(memory, bytes);
}

static int setup(void **state)
{
    (void)state;
    make(WEIR_HEALTH_BYTES_MIN);
    one = weir_health_find(table, id_of("1:80"), 1);
    two = weir_health_find(table, id_of("2:80"), 1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    free(memory);
    memory = NULL;
    return 0;
}

static void report(weir_health_event_t event, unsigned limit, unsigned times)
{
    while (times-- > 0)
        weir_health_report(table, &one, event, limit);
}

static void failures_add_up_to_the_limit(void **state)
{
    (void)state;
    uint64_t before = weir_health_changes(table);
    report(WEIR_HEALTH_HTTP_FAILURE, 3, 2);
    assert_int_equal(weir_health_state(&one), WEIR_MOSTLY_HEALTHY);
    assert_true(weir_health_usable(&one));
    assert_int_equal(weir_health_changes(table), before);
    assert_true(weir_health_report(table, &one, WEIR_HEALTH_HTTP_FAILURE, 3));
    assert_int_equal(weir_health_state(&one), WEIR_UNHEALTHY);
    assert_false(weir_health_usable(&one));
    assert_int_not_equal(weir_health_changes(table), before);
    assert_true(weir_health_usable(&two));
}

static void each_kind_of_failure_has_its_own_limit(void **state)
{
    (void)state;
    report(WEIR_HEALTH_HTTP_FAILURE, 3, 2);
    report(WEIR_HEALTH_TCP_FAILURE, 3, 2);
    report(WEIR_HEALTH_TIMEOUT, 3, 2);
    assert_true(weir_health_usable(&one));
    report(WEIR_HEALTH_TIMEOUT, 3, 1);
    assert_false(weir_health_usable(&one));
}

static void a_success_forgets_failures_only_if_successes_count(void **state)
{
    (void)state;
    report(WEIR_HEALTH_HTTP_FAILURE, 3, 2);
    report(WEIR_HEALTH_SUCCESS, 0, 5);
    report(WEIR_HEALTH_HTTP_FAILURE, 3, 1);
    assert_false(weir_health_usable(&one));
    setup(state);
    report(WEIR_HEALTH_HTTP_FAILURE, 3, 2);
    report(WEIR_HEALTH_SUCCESS, 1, 1);
    assert_int_equal(weir_health_state(&one), WEIR_HEALTHY);
    report(WEIR_HEALTH_HTTP_FAILURE, 3, 2);
    assert_true(weir_health_usable(&one));
}

static void a_limit_of_zero_is_never(void **state)
{
    (void)state;
    report(WEIR_HEALTH_HTTP_FAILURE, 0, 1000);
    assert_int_equal(weir_health_state(&one), WEIR_HEALTHY);
}

static void successes_in_a_row_bring_it_back(void **state)
{
    (void)state;
    report(WEIR_HEALTH_TCP_FAILURE, 1, 1);
    report(WEIR_HEALTH_SUCCESS, 2, 1);
    assert_int_equal(weir_health_state(&one), WEIR_MOSTLY_UNHEALTHY);
    report(WEIR_HEALTH_TCP_FAILURE, 2, 1); /* the row begins anew */
    report(WEIR_HEALTH_SUCCESS, 2, 1);
    assert_false(weir_health_usable(&one));
    report(WEIR_HEALTH_SUCCESS, 2, 1);
    assert_int_equal(weir_health_state(&one), WEIR_HEALTHY);
}

static void counters_do_not_turn_over(void **state)
{
    (void)state;
    report(WEIR_HEALTH_TCP_FAILURE, 255, 254);
    assert_true(weir_health_usable(&one));
    report(WEIR_HEALTH_TCP_FAILURE, 255, 1);
    assert_false(weir_health_usable(&one));
    report(WEIR_HEALTH_TCP_FAILURE, 255, 1000);
    assert_false(weir_health_usable(&one));
}

static void it_is_found_again_by_whoever_looks(void **state)
{
    (void)state;
    report(WEIR_HEALTH_TCP_FAILURE, 1, 1);
    weir_health_ref_t again = weir_health_find(table, id_of("1:80"), 99);
    assert_false(weir_health_usable(&again));
    assert_true(id_of("1:80") != weir_health_id(WEIR_STR("u"), WEIR_STR("h1"), WEIR_STR(":80")));
    assert_true(id_of("1:80") != weir_health_id(WEIR_STR("uh"), WEIR_STR(""), WEIR_STR("1:80")));
}

/* Whoever is forgotten is healthy, and what is said of it is said of nobody. */
static void a_full_table_forgets_the_healthy_first(void **state)
{
    (void)state;
    weir_health_ref_t refs[4096];
    char address[32];
    size_t count = 4 * weir_health_capacity(table);
    assert_true(count <= WEIR_COUNT(refs));
    report(WEIR_HEALTH_TCP_FAILURE, 1, 1);
    for (size_t i = 0; i < count; i++) {
        snprintf(address, sizeof(address), "x%zu", i);
        refs[i] = weir_health_find(table, id_of(address), (uint32_t)(2 + i));
    }
    assert_int_equal(weir_health_state(&one), WEIR_UNHEALTHY);
    size_t reported = 0;
    for (size_t i = 0; i < count; i++)
        reported += weir_health_report(table, &refs[i], WEIR_HEALTH_TCP_FAILURE, 1);
    assert_true(reported <= weir_health_capacity(table));
    assert_true(reported > weir_health_capacity(table) / 2);
}

static void who_has_no_place_is_healthy(void **state)
{
    (void)state;
    weir_health_ref_t none = { NULL, 5 };
    assert_true(weir_health_usable(&none));
    assert_false(weir_health_report(table, &none, WEIR_HEALTH_TCP_FAILURE, 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(failures_add_up_to_the_limit),
        TEST(each_kind_of_failure_has_its_own_limit),
        TEST(a_success_forgets_failures_only_if_successes_count),
        TEST(a_limit_of_zero_is_never),
        TEST(successes_in_a_row_bring_it_back),
        TEST(counters_do_not_turn_over),
        TEST(it_is_found_again_by_whoever_looks),
        TEST(a_full_table_forgets_the_healthy_first),
        TEST(who_has_no_place_is_healthy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
