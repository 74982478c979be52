/* log_test.c -- what a caller sees over time: the log, its ends, its watcher, expiry. */
#include "store/fixture.h"

/* -- the log ----------------------------------------------------------------------------------- */

static void a_range_of_the_log_is_exact(void **state)
{
    test_store_t *test = *state;
    test_text_t text = { 0 };
    for (unsigned n = 1; n <= 5; n++)
        test_put(test, WEIR_CONSUMERS, n, "");
    assert_int_equal(weir_store_deltas(test->store, 2, 4, test_add_delta, &text, NULL), WEIR_OK);
    assert_string_equal(text.text, "v3 put consumers 2, v4 put consumers 3");
    assert_string_equal(test_deltas(test, 6, &text), "");
    assert_string_equal(test_deltas(test, 1000, &text), "");
}

static int stop(void *context, const weir_delta_t *delta)
{
    (void)delta;
    unsigned *left = context;
    return --*left == 0 ? WEIR_CLOSED : WEIR_OK;
}

static void a_reader_may_stop_with_its_own_code(void **state)
{
    test_store_t *test = *state;
    unsigned left = 1;
    uint64_t version = 0;
    assert_int_equal(weir_store_deltas(test->store, 0, 1, stop, &left, NULL), WEIR_CLOSED);
    left = 2;
    assert_int_equal(weir_store_snapshot(test->store, stop, &left, &version, NULL), WEIR_CLOSED);
    test_put(test, WEIR_CONSUMERS, 1, ""); /* no transaction was left open */
    assert_true(test_exists(test, WEIR_CONSUMERS, 1));
}

static void the_log_is_bounded_by_count(void **state)
{
    test_store_t *test = *state;
    test->options.log_entries_max = 10;
    test_reopen(test);
    for (unsigned n = 1; n <= 40; n++)
        test_put(test, WEIR_CONSUMERS, n, "");
    uint64_t newest = weir_store_version(test->store);
    uint64_t floor = weir_store_log_floor(test->store);
    assert_int_equal(floor, newest - 10);
    test_copy_t copy = { .version = floor };
    assert_int_equal(weir_store_deltas(test->store, floor, newest, test_copy_apply, &copy, NULL),
                     WEIR_OK);
    assert_int_equal(copy.count, 10);
    assert_int_equal(
        weir_store_deltas(test->store, floor - 1, newest, test_copy_apply, &copy, NULL),
        WEIR_NOT_FOUND);
    assert_int_equal(weir_store_deltas(test->store, 0, newest, test_copy_apply, &copy, NULL),
                     WEIR_NOT_FOUND);
    assert_int_equal(copy.count, 10); /* nothing of a range with a hole was shown */
    test_copy_release(&copy);
    test_reopen(test);
    assert_int_equal(weir_store_log_floor(test->store), floor);
    test_put(test, WEIR_CONSUMERS, 41, "");
    assert_int_equal(weir_store_log_floor(test->store), floor + 1); /* the count was kept */
}

static void a_full_log_is_pruned_of_some_deltas_at_once(void **state)
{
    enum { MAX = 192, ABOVE = 3 }; /* one in 64 */
    test_store_t *test = *state;
    test->options.log_entries_max = MAX;
    test_reopen(test);
    uint64_t before = 0;
    unsigned prunes = 0;
    for (unsigned n = 1; n <= MAX + 5 * (ABOVE + 1); n++) {
        uint64_t newest = test_put(test, WEIR_CONSUMERS, n, "");
        uint64_t floor = weir_store_log_floor(test->store);
        assert_true(newest <= MAX || newest - floor >= MAX);
        assert_true(newest - floor <= MAX + ABOVE);
        assert_true(floor == before || newest - floor == MAX);
        prunes += floor != before;
        before = floor;
    }
    assert_int_equal(prunes, 5);
}

/* One write of 201 deltas, then small ones. */
static void a_long_version_leaves_the_log_in_pieces_but_is_never_given_in_part(void **state)
{
    test_store_t *test = *state;
    weir_store_result_t result;
    test_put(test, WEIR_CONSUMERS, 1, "");
    for (unsigned n = 0; n < 200; n++) {
        char members[64];
        snprintf(members, sizeof(members), "\"key\":\"k%u\",\"consumer\":@1", n);
        test_put(test, WEIR_KEYAUTH_CREDENTIALS, 2 + n, members);
    }
    assert_int_equal(test_delete(test, WEIR_CONSUMERS, 1, &result), WEIR_OK);
    uint64_t version = result.version;
    test->options.log_entries_max = 100;
    test_reopen(test);
    uint64_t in_pieces = 0;
    static test_text_t text;
    for (unsigned n = 0; weir_store_log_floor(test->store) < version || n < 60; n++) {
        assert_true(n < 200);
        test_put(test, WEIR_CONSUMERS, 1000 + n, "");
        text.len = 0;
        int rc = weir_store_deltas(test->store, version - 1, version, test_add_delta, &text, NULL);
        assert_true(rc == WEIR_NOT_FOUND || rc == WEIR_OK);
        assert_int_equal(rc == WEIR_NOT_FOUND, weir_store_log_floor(test->store) >= version);
        assert_true(rc == WEIR_OK || text.len == 0);
        in_pieces += rc == WEIR_NOT_FOUND;
    }
    assert_true(in_pieces > 10);
    assert_int_equal(
        weir_store_deltas(test->store, version, UINT64_MAX, test_add_delta, &text, NULL), WEIR_OK);
}

static void the_log_is_bounded_by_age(void **state)
{
    test_store_t *test = *state;
    for (unsigned n = 1; n <= 5; n++)
        test_put(test, WEIR_CONSUMERS, n, "");
    test->options.log_age_ms_max = 1;
    test_reopen(test);
    usleep(20000);
    uint64_t version = test_put(test, WEIR_CONSUMERS, 6, "");
    assert_int_equal(weir_store_log_floor(test->store), version - 1);
    test_text_t text;
    assert_string_equal(test_deltas(test, version - 1, &text), "v7 put consumers 6");
}

static void a_snapshot_shows_parents_before_children(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_SERVICES, 5, "");
    test_put(test, WEIR_ROUTES, 1, "\"service\":@5");
    test_put(test, WEIR_CONSUMERS, 9, "");
    test_put(test, WEIR_KEYAUTH_CREDENTIALS, 2, "\"key\":\"k\",\"consumer\":@9");
    test_copy_t copy = { .version = 5 };
    uint64_t version = 0;
    assert_int_equal(weir_store_snapshot(test->store, test_copy_apply, &copy, &version, NULL),
                     WEIR_OK);
    assert_int_equal(version, 5);
    assert_int_equal(copy.count, 6); /* and the workspace and the cluster's id */
    size_t at[WEIR_ENTITY_TYPES] = { 0 };
    for (size_t i = 0; i < copy.count; i++)
        at[copy.rows[i].type] = i;
    assert_true(at[WEIR_SERVICES] < at[WEIR_ROUTES]);
    assert_true(at[WEIR_CONSUMERS] < at[WEIR_KEYAUTH_CREDENTIALS]);
    assert_int_equal(at[WEIR_WORKSPACES], 0);
    test_copy_release(&copy);
}

static void a_watcher_hears_of_commits_that_changed_something(void **state)
{
    test_store_t *test = *state;
    uint64_t heard = 0;
    weir_store_watch(test->store, test_remember, &heard);
    uint64_t version = test_put(test, WEIR_CONSUMERS, 1, "");
    assert_int_equal(heard, version);
    heard = 0;
    test_put(test, WEIR_CONSUMERS, 1, "");
    assert_int_equal(heard, 0);
    weir_store_watch(test->store, NULL, NULL);
    test_put(test, WEIR_CONSUMERS, 2, "");
    assert_int_equal(heard, 0);
}

/* -- expiry -------------------------------------------------------------------------------------
 */

static void an_expired_row_is_invisible_at_once_and_deleted_later(void **state)
{
    test_store_t *test = *state;
    test_text_t text;
    test_put(test, WEIR_CONSUMERS, 1, "");
    test_put(test, WEIR_KEYAUTH_CREDENTIALS, 2, "\"key\":\"a\",\"consumer\":@1,\"ttl\":1000");
    uint64_t before = test_put(test, WEIR_KEYAUTH_CREDENTIALS, 3,
                               "\"key\":\"b\",\"consumer\":@1,\"ttl\":99999999999");
    assert_false(test_exists(test, WEIR_KEYAUTH_CREDENTIALS, 2));
    assert_true(test_exists(test, WEIR_KEYAUTH_CREDENTIALS, 3));
    weir_store_query_t query = { .type = WEIR_KEYAUTH_CREDENTIALS, .limit = 5 };
    assert_string_equal(test_list(test, &query, &text), "3");
    query.parent_field = "consumer";
    query.parent = test_id(1);
    assert_string_equal(test_list(test, &query, &text), "3");
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, 1 << 20);
    weir_row_t row;
    assert_int_equal(weir_store_find(test->store, WEIR_KEYAUTH_CREDENTIALS, "key", WEIR_STR("a"),
                                     &arena, &row, NULL),
                     WEIR_NOT_FOUND);
    size_t count = 0;
    assert_int_equal(weir_store_expire(test->store, 999999, 10, &count, NULL), WEIR_OK);
    assert_int_equal(count, 0); /* not yet */
    assert_int_equal(weir_store_expire(test->store, 1000000, 10, &count, NULL), WEIR_OK);
    assert_int_equal(count, 1);
    assert_string_equal(test_deltas(test, before, &text), "v5 delete keyauth_credentials 2");
    assert_int_equal(weir_store_expire(test->store, 1000000, 10, &count, NULL), WEIR_OK);
    assert_int_equal(count, 0);
    assert_int_equal(weir_store_version(test->store), before + 1);
}

static void expired_rows_are_deleted_a_few_at_a_time(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_CONSUMERS, 1, "");
    char members[64];
    for (unsigned n = 10; n < 15; n++) {
        snprintf(members, sizeof(members), "\"key\":\"%u\",\"consumer\":@1,\"ttl\":%u", n, n);
        test_put(test, WEIR_KEYAUTH_CREDENTIALS, n, members);
    }
    size_t count = 0;
    assert_int_equal(weir_store_expire(test->store, 1000000, 2, &count, NULL), WEIR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(weir_store_count(test->store, WEIR_KEYAUTH_CREDENTIALS), 3);
    assert_int_equal(weir_store_expire(test->store, 1000000, 10, &count, NULL), WEIR_OK);
    assert_int_equal(count, 3);
    test_assert_log_adds_up(test);
}

static void an_expired_row_gives_way_to_a_new_one(void **state)
{
    test_store_t *test = *state;
    test_text_t text;
    test_put(test, WEIR_CONSUMERS, 1, "");
    test_put(test, WEIR_KEYAUTH_CREDENTIALS, 2, "\"key\":\"a\",\"consumer\":@1,\"ttl\":1");
    uint64_t before =
        test_put(test, WEIR_KEYAUTH_CREDENTIALS, 3, "\"key\":\"b\",\"consumer\":@1,\"ttl\":1");
    weir_store_result_t result;
    assert_int_equal(test_write_put(test, WEIR_KEYAUTH_CREDENTIALS, 4,
                                    "\"key\":\"a\",\"consumer\":@1", WEIR_EXPECT_ABSENT, &result),
                     WEIR_OK);
    assert_int_equal(test_write_put(test, WEIR_KEYAUTH_CREDENTIALS, 3,
                                    "\"key\":\"c\",\"consumer\":@1", WEIR_EXPECT_ABSENT, &result),
                     WEIR_OK);
    assert_string_equal(test_deltas(test, before, &text),
                        "v5 delete keyauth_credentials 2, v5 put keyauth_credentials 4, "
                        "v6 delete keyauth_credentials 3, v6 put keyauth_credentials 3");
    assert_int_equal(weir_store_count(test->store, WEIR_KEYAUTH_CREDENTIALS), 2);
    test_assert_log_adds_up(test);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_range_of_the_log_is_exact),
        TEST(a_reader_may_stop_with_its_own_code),
        TEST(the_log_is_bounded_by_count),
        TEST(a_full_log_is_pruned_of_some_deltas_at_once),
        TEST(a_long_version_leaves_the_log_in_pieces_but_is_never_given_in_part),
        TEST(the_log_is_bounded_by_age),
        TEST(a_snapshot_shows_parents_before_children),
        TEST(a_watcher_hears_of_commits_that_changed_something),
        TEST(an_expired_row_is_invisible_at_once_and_deleted_later),
        TEST(expired_rows_are_deleted_a_few_at_a_time),
        TEST(an_expired_row_gives_way_to_a_new_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
