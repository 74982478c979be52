/* counters_test.c -- counters of fixed windows: exact, bounded, and over when they are. */
#include "proxy/counters.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { BYTES = 1 << 20, NOW_S = 1700000040, MINUTE_S = 60 }; /* NOW_S: a minute begins */

static int open_memory(void **state)
{
    void *memory = aligned_alloc(64, BYTES);
    assert_non_null(memory);
    memset(memory, 0, BYTES);
    *state = weir_counters_make(memory, BYTES);
    return 0;
}

static int close_memory(void **state)
{
    free(*state); /* they lie at its beginning */
    return 0;
}

static int add_of(weir_counters_t *counters, const char *owner, const char *key, int64_t window_s,
                  int64_t now_s, uint64_t amount, uint64_t *ret)
{
    weir_counter_id_t id;
    assert_int_equal(weir_counter_id(weir_str(owner), weir_str(key), &id), WEIR_OK);
    return weir_counters_add(counters, &id, window_s, now_s, amount, ret);
}

static uint64_t add(weir_counters_t *counters, const char *key, int64_t now_s, uint64_t amount)
{
    uint64_t value = 0;
    assert_int_equal(add_of(counters, "plugin", key, MINUTE_S, now_s, amount, &value), WEIR_OK);
    return value;
}

static void each_window_counts_from_nothing(void **state)
{
    assert_int_equal(NOW_S % MINUTE_S, 0);
    assert_int_equal(add(*state, "k", NOW_S, 0), 0);
    assert_int_equal(add(*state, "k", NOW_S, 1), 1);
    assert_int_equal(add(*state, "k", NOW_S + 59, 2), 3);
    assert_int_equal(add(*state, "k", NOW_S + 59, 0), 3);
    assert_int_equal(add(*state, "k", NOW_S + 60, 0), 0);
    assert_int_equal(add(*state, "k", NOW_S + 60, 1), 1);
    assert_int_equal(add(*state, "k", NOW_S + 6000, 1), 1);
}

static void owners_keys_and_windows_tell_counters_apart(void **state)
{
    static const struct {
        const char *owner, *key;
        int64_t window_s;
    } rows[] = { { "a", "bc", 60 }, { "ab", "c", 60 }, { "a", "bc", 61 }, { "", "abc", 60 } };
    uint64_t value = 0;
    for (uint64_t round = 1; round <= 3; round++)
        for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
            assert_int_equal(
                add_of(*state, rows[i].owner, rows[i].key, rows[i].window_s, NOW_S, i + 1, &value),
                WEIR_OK);
            assert_int_equal(value, round * (i + 1));
        }
}

/* A worker that looked at the clock a moment ago, and one whose clock was set back. */
static void a_clock_that_is_behind_counts_in_the_window_of_the_others(void **state)
{
    assert_int_equal(add(*state, "k", NOW_S + 60, 5), 5);
    assert_int_equal(add(*state, "k", NOW_S + 59, 1), 6);
    assert_int_equal(add(*state, "k", NOW_S + 60, 1), 7);
    assert_int_equal(add(*state, "k", NOW_S - 3600, 1), 1);
}

static void a_counter_stops_at_the_end_of_numbers(void **state)
{
    assert_true(add(*state, "k", NOW_S, UINT64_MAX - 1) == UINT64_MAX - 1);
    assert_true(add(*state, "k", NOW_S, 1) == UINT64_MAX);
    assert_true(add(*state, "k", NOW_S, 7) == UINT64_MAX);
}

/* Fills it with counters of which each has its own value; how many there are. */
static size_t fill(weir_counters_t *counters, int64_t now_s)
{
    char key[32];
    uint64_t value = 0;
    for (size_t i = 0;; i++) {
        snprintf(key, sizeof(key), "%zu", i);
        int rc = add_of(counters, "plugin", key, MINUTE_S, now_s, i + 1, &value);
        if (rc == WEIR_FULL)
            return i;
        assert_int_equal(rc, WEIR_OK);
    }
}

static void when_it_is_full_it_says_so_and_all_others_count_on(void **state)
{
    char key[32];
    size_t count = fill(*state, NOW_S);
    size_t capacity = weir_counters_capacity(*state);
    assert_true(capacity * 36 <= BYTES && capacity * 37 > BYTES - 4096);
    assert_true(count >= capacity * 3 / 4);
    for (size_t i = 0; i < count; i++) {
        snprintf(key, sizeof(key), "%zu", i);
        assert_int_equal(add(*state, key, NOW_S + 1, 0), i + 1);
        assert_int_equal(add(*state, key, NOW_S + 1, 1), i + 2);
    }
    snprintf(key, sizeof(key), "%zu", count);
    assert_int_equal(add(*state, key, NOW_S, 0), 0); /* asking is always allowed */
}

static void windows_that_are_over_give_way(void **state)
{
    size_t count = fill(*state, NOW_S);
    for (int64_t minute = 1; minute <= 5; minute++)
        assert_true(fill(*state, NOW_S + minute * MINUTE_S) >= count * 9 / 10);
}

/* Random adds, also over the ends of windows, beside a plain table. */
static void it_says_what_a_plain_table_says(void **state)
{
    enum { KEYS = 500, STEPS = 200000 };
    static struct {
        int64_t window;
        uint64_t value;
    } plain[KEYS];
    srand(7);
    int64_t now_s = NOW_S;
    char key[32];
    for (int step = 0; step < STEPS; step++) {
        size_t i = (size_t)rand() % KEYS;
        uint64_t amount = (uint64_t)rand() % 4;
        now_s += rand() % 100 == 0;
        if (plain[i].window != now_s / MINUTE_S)
            plain[i].value = 0;
        plain[i].window = now_s / MINUTE_S;
        plain[i].value += amount;
        snprintf(key, sizeof(key), "%zu", i);
        assert_int_equal(add(*state, key, now_s, amount), plain[i].value);
    }
}

/* -- several windows at once -------------------------------------------------------- */

enum { HOUR_S = 3600, MONTH_S = 30 * 86400 };

/* Windows of a minute and of an hour with those limits; whether it was counted. */
static bool take(weir_counters_t *counters, const char *key, int64_t now_s, uint64_t of_minute,
                 uint64_t of_hour, weir_window_t ret[2])
{
    weir_counter_id_t id;
    bool counted = false;
    ret[0] = (weir_window_t){ MINUTE_S, (now_s / MINUTE_S + 1) * MINUTE_S, of_minute, 0 };
    ret[1] = (weir_window_t){ HOUR_S, (now_s / HOUR_S + 1) * HOUR_S, of_hour, 0 };
    assert_int_equal(weir_counter_id(weir_str("plugin"), weir_str(key), &id), WEIR_OK);
    assert_int_equal(weir_counters_take(counters, &id, now_s, ret, 2, &counted), WEIR_OK);
    return counted;
}

static void a_request_counts_in_all_windows_or_in_none(void **state)
{
    weir_window_t w[2];
    for (uint64_t i = 0; i < 3; i++) {
        assert_true(take(*state, "k", NOW_S, 3, 5, w));
        assert_true(w[0].count == i && w[1].count == i);
    }
    for (int again = 0; again < 10; again++) {
        assert_false(take(*state, "k", NOW_S, 3, 5, w));
        assert_true(w[0].count == 3 && w[1].count == 3);
    }
    assert_true(take(*state, "k", NOW_S + 60, 3, 5, w)); /* another minute of the same hour */
    assert_true(take(*state, "k", NOW_S + 60, 3, 5, w));
    assert_true(w[0].count == 1 && w[1].count == 4);
    assert_false(take(*state, "k", NOW_S + 60, 3, 5, w));
    assert_true(w[0].count == 2 && w[1].count == 5);
    assert_false(take(*state, "k", NOW_S + 60, 0, 50, w));
    assert_true(take(*state, "other", NOW_S + 60, 1, 1, w));
    assert_int_equal(add(*state, "k", NOW_S + 60, 0), 2); /* the same counters */
}

/* Months are of 28 to 31 days: who is still in February counts in March all the same. */
static void a_clock_that_is_behind_counts_in_the_longer_window_that_is_next(void **state)
{
    enum { MARCH_S = 1677628800, APRIL_S = 1680307200 }; /* of 2023 */
    weir_counter_id_t id;
    bool counted = false;
    weir_window_t march = { MONTH_S, APRIL_S, 9, 0 }, february = { MONTH_S, MARCH_S, 9, 0 };
    assert_int_equal(weir_counter_id(weir_str("p"), weir_str("k"), &id), WEIR_OK);
    for (int i = 0; i < 4; i++)
        weir_counters_take(*state, &id, MARCH_S, &march, 1, &counted);
    weir_counters_take(*state, &id, MARCH_S - 1, &february, 1, &counted);
    assert_true(counted && february.count == 4);
    weir_counters_take(*state, &id, MARCH_S, &march, 1, &counted);
    assert_true(counted && march.count == 5);
}

/* Where the second window finds no place, the first has not counted either. */
static void what_finds_no_place_is_in_no_window(void **state)
{
    weir_window_t w[2];
    weir_counters_t *counters = *state;
    char key[32];
    size_t full = 0, left = 0;
    fill(counters, NOW_S);
    assert_true(weir_counters_refused(counters) == 1);
    for (size_t i = 0; i < 2000; i++) {
        weir_counter_id_t id;
        bool counted = false;
        snprintf(key, sizeof(key), "new %zu", i);
        w[0] = (weir_window_t){ MINUTE_S, NOW_S + MINUTE_S, 9, 0 };
        w[1] = (weir_window_t){ HOUR_S, NOW_S + HOUR_S, 9, 0 };
        assert_int_equal(weir_counter_id(weir_str("plugin"), weir_str(key), &id), WEIR_OK);
        int rc = weir_counters_take(counters, &id, NOW_S, w, 2, &counted);
        assert_int_equal(rc, counted ? WEIR_OK : WEIR_FULL);
        full += rc == WEIR_FULL;
        assert_int_equal(add(counters, key, NOW_S, 0), counted);
        left += counted;
    }
    assert_true(full > 0 && left > 0);
    assert_true(weir_counters_refused(counters) == full + 1);
    assert_true(take(counters, "0", NOW_S + MINUTE_S, 1, 1, w)); /* a minute later there is room */
}

/* Random requests with random limits, beside a plain table. */
static void several_windows_say_what_a_plain_table_says(void **state)
{
    enum { KEYS = 200, STEPS = 100000 };
    static struct {
        int64_t minute, hour;
        uint64_t of_minute, of_hour;
    } plain[KEYS];
    srand(11);
    int64_t now_s = NOW_S;
    char key[32];
    for (int step = 0; step < STEPS; step++) {
        size_t i = (size_t)rand() % KEYS;
        weir_window_t w[2];
        now_s += rand() % 20 == 0;
        if (plain[i].minute != now_s / MINUTE_S)
            plain[i].of_minute = 0;
        if (plain[i].hour != now_s / HOUR_S)
            plain[i].of_hour = 0;
        plain[i].minute = now_s / MINUTE_S;
        plain[i].hour = now_s / HOUR_S;
        snprintf(key, sizeof(key), "%zu", i);
        bool counted = take(*state, key, now_s, 3 + i % 3, 20 + i % 50, w);
        assert_true(w[0].count == plain[i].of_minute && w[1].count == plain[i].of_hour);
        bool free = plain[i].of_minute < 3 + i % 3 && plain[i].of_hour < 20 + i % 50;
        assert_int_equal(counted, free);
        plain[i].of_minute += free;
        plain[i].of_hour += free;
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_memory, close_memory)
    const struct CMUnitTest tests[] = {
        TEST(each_window_counts_from_nothing),
        TEST(owners_keys_and_windows_tell_counters_apart),
        TEST(a_clock_that_is_behind_counts_in_the_window_of_the_others),
        TEST(a_counter_stops_at_the_end_of_numbers),
        TEST(when_it_is_full_it_says_so_and_all_others_count_on),
        TEST(windows_that_are_over_give_way),
        TEST(it_says_what_a_plain_table_says),
        TEST(a_request_counts_in_all_windows_or_in_none),
        TEST(a_clock_that_is_behind_counts_in_the_longer_window_that_is_next),
        TEST(what_finds_no_place_is_in_no_window),
        TEST(several_windows_say_what_a_plain_table_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
