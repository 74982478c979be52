/* cache_test.c -- what a worker remembers for plugins, and for how long. */
#include "proxy/cache.h"

#include <setjmp.h>
#include <stdio.h>

#include <cmocka.h>

enum { KB = 1024, NOW_S = 1700000000 };

static weir_cache_key_t key(const char *owner, const char *text, uint64_t types)
{
    return (weir_cache_key_t){ weir_str(owner), weir_str(text), types };
}

static void keep(weir_cache_t *cache, const char *text, uint64_t changed, const char *value)
{
    weir_cache_key_t under = key("plugin", text, 1);
    weir_cache_keep(cache, &under, changed, 0, weir_str(value));
}

/* The value, or NULL data. */
static weir_str_t find(weir_cache_t *cache, const char *text, uint64_t changed)
{
    weir_str_t value = { NULL, 0 };
    weir_cache_key_t under = key("plugin", text, 1);
    int rc = weir_cache_find(cache, &under, changed, NOW_S, &value);
    assert_int_equal(rc, value.data != NULL ? WEIR_OK : WEIR_NOT_FOUND);
    return value;
}

static void a_value_is_found_under_its_number_only(void **state)
{
    (void)state;
    weir_cache_t *cache = weir_cache_new(64 * KB);
    assert_null(find(cache, "k", 7).data);
    keep(cache, "k", 7, "value");
    assert_true(weir_str_is(find(cache, "k", 7), "value"));
    assert_true(weir_str_is(find(cache, "k", 7), "value"));
    assert_null(find(cache, "k", 8).data);
    assert_null(find(cache, "k", 7).data); /* gone for good: numbers do not come back */
    keep(cache, "k", 8, "");
    assert_true(weir_str_is(find(cache, "k", 8), "")); /* nothing is a value, too */
    keep(cache, "k", 8, "other");
    assert_true(weir_str_is(find(cache, "k", 8), "other"));
    weir_cache_free(cache);
}

static void owners_keys_and_types_tell_values_apart(void **state)
{
    (void)state;
    weir_cache_t *cache = weir_cache_new(64 * KB);
    const weir_cache_key_t keys[] = { key("ab", "c", 1), key("a", "bc", 1), key("a", "bc", 3),
                                      key("", "abc", 1) };
    weir_str_t value;
    for (size_t i = 0; i < WEIR_COUNT(keys); i++) {
        char text[2] = { (char)('0' + i), '\0' };
        assert_int_equal(weir_cache_find(cache, &keys[i], 1, NOW_S, &value), WEIR_NOT_FOUND);
        weir_cache_keep(cache, &keys[i], 1, 0, weir_str(text));
    }
    for (size_t i = 0; i < WEIR_COUNT(keys); i++) {
        assert_int_equal(weir_cache_find(cache, &keys[i], 1, NOW_S, &value), WEIR_OK);
        assert_int_equal(value.data[0], '0' + i);
    }
    weir_cache_free(cache);
}

static void what_ends_is_not_found_from_that_second_on(void **state)
{
    (void)state;
    weir_cache_t *cache = weir_cache_new(64 * KB);
    weir_cache_key_t under = key("plugin", "k", 1);
    weir_str_t value;
    weir_cache_keep(cache, &under, 1, NOW_S + 1, WEIR_STR("v"));
    assert_int_equal(weir_cache_find(cache, &under, 1, NOW_S, &value), WEIR_OK);
    assert_int_equal(weir_cache_find(cache, &under, 1, NOW_S + 1, &value), WEIR_NOT_FOUND);
    weir_cache_free(cache);
}

static void it_never_takes_more_than_it_may_and_keeps_what_is_used(void **state)
{
    (void)state;
    weir_cache_t *cache = weir_cache_new(64 * KB);
    char text[32], value[400];
    memset(value, 'v', sizeof(value) - 1);
    value[sizeof(value) - 1] = '\0';
    keep(cache, "used", 1, "always");
    for (int i = 0; i < 5000; i++) {
        snprintf(text, sizeof(text), "key %d", i);
        keep(cache, text, 1, value);
        assert_true(weir_cache_bytes(cache) <= 64 * KB);
        assert_true(weir_str_is(find(cache, "used", 1), "always"));
    }
    assert_true(weir_cache_bytes(cache) > 32 * KB);
    assert_true(weir_str_is(find(cache, "key 4999", 1), value));
    assert_null(find(cache, "key 0", 1).data);
    weir_cache_free(cache);
}

static void a_thousand_small_values_fit_and_are_all_found(void **state)
{
    (void)state;
    weir_cache_t *cache = weir_cache_new(1024 * KB);
    char text[32];
    unsigned found = 0;
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "%d", i);
        keep(cache, text, 1, text);
    }
    for (int i = 0; i < 1000; i++) {
        snprintf(text, sizeof(text), "%d", i);
        weir_str_t value = find(cache, text, 1);
        found += weir_str_is(value, text);
    }
    assert_true(found >= 995); /* a set may be full before the cache is */
    weir_cache_free(cache);
}

static void what_is_too_large_is_not_kept_and_what_it_replaced_is_gone(void **state)
{
    (void)state;
    static char large[16 * KB];
    memset(large, 'x', sizeof(large) - 1);
    weir_cache_t *cache = weir_cache_new(64 * KB);
    keep(cache, "k", 1, "small");
    keep(cache, "k", 1, large);
    assert_null(find(cache, "k", 1).data);
    keep(cache, large, 1, "v");
    assert_null(find(cache, large, 1).data);
    assert_int_equal(weir_cache_bytes(cache), 0);
    weir_cache_free(cache);
}

static void a_value_may_be_kept_again_from_where_it_was_found(void **state)
{
    (void)state;
    weir_cache_t *cache = weir_cache_new(64 * KB);
    weir_cache_key_t under = key("plugin", "k", 1);
    keep(cache, "k", 1, "value");
    weir_cache_keep(cache, &under, 2, 0, find(cache, "k", 1));
    assert_true(weir_str_is(find(cache, "k", 2), "value"));
    weir_cache_free(cache);
}

static void without_memory_it_remembers_nothing_and_stays_whole(void **state)
{
    (void)state;
    weir_test_fail_allocation(1);
    assert_null(weir_cache_new(64 * KB));
    weir_test_fail_allocation(0);
    assert_null(weir_cache_new(0));
    weir_cache_t *cache = weir_cache_new(64 * KB);
    keep(cache, "k", 1, "before");
    weir_test_fail_allocation(1);
    keep(cache, "k", 1, "after");
    weir_test_fail_allocation(0);
    assert_null(find(cache, "k", 1).data); /* never the value before */
    keep(cache, "k", 1, "after");
    assert_true(weir_str_is(find(cache, "k", 1), "after"));
    weir_cache_free(cache);
    weir_cache_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_is_found_under_its_number_only),
        cmocka_unit_test(owners_keys_and_types_tell_values_apart),
        cmocka_unit_test(what_ends_is_not_found_from_that_second_on),
        cmocka_unit_test(it_never_takes_more_than_it_may_and_keeps_what_is_used),
        cmocka_unit_test(a_thousand_small_values_fit_and_are_all_found),
        cmocka_unit_test(what_is_too_large_is_not_kept_and_what_it_replaced_is_gone),
        cmocka_unit_test(a_value_may_be_kept_again_from_where_it_was_found),
        cmocka_unit_test(without_memory_it_remembers_nothing_and_stays_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
