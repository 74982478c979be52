/* recent_test.c -- the newest deltas in memory: they are what the database says, or
 * they are not there; and groups in which a write is undone. */
#include "store/fixture.h"

#include <pthread.h>

/* Everything that a delta says, as one number: the order counts. */
typedef struct sum {
    uint64_t hash;
    size_t rows;
} sum_t;

static void mix(sum_t *sum, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sum->hash = (sum->hash ^ ((const uint8_t *)bytes)[i]) * UINT64_C(1099511628211);
}

static int add(void *context, const weir_delta_t *delta)
{
    sum_t *sum = context;
    mix(sum, &delta->version, sizeof(delta->version));
    mix(sum, &delta->type, sizeof(delta->type));
    mix(sum, delta->id.bytes, WEIR_UUID_BYTES);
    mix(sum, delta->workspace.bytes, WEIR_UUID_BYTES);
    mix(sum, delta->document.data != NULL ? "+" : "-", 1);
    mix(sum, delta->document.data, delta->document.len);
    sum->rows++;
    return WEIR_OK;
}

/* A view reads the database, always. */
static void assert_same_as_the_database(test_store_t *test, uint64_t after)
{
    sum_t memory = { 0 };
    sum_t database = { 0 };
    weir_store_view_t *view = NULL;
    assert_int_equal(weir_store_deltas(test->store, after, UINT64_MAX, add, &memory, NULL),
                     WEIR_OK);
    assert_int_equal(weir_store_view_open(test->store, &view, NULL), WEIR_OK);
    assert_int_equal(weir_store_view_deltas(view, after, add, &database, NULL), WEIR_OK);
    weir_store_view_close(view);
    assert_int_equal(memory.rows, database.rows);
    assert_true(memory.hash == database.hash);
}

static void put_long(test_store_t *test, unsigned n, size_t bytes)
{
    static char members[7000];
    assert_true(bytes < sizeof(members) - 32);
    int at = snprintf(members, sizeof(members), "\"username\":\"%u", n);
    memset(members + at, 'x', bytes);
    memcpy(members + (size_t)at + bytes, "\"", 2);
    test_put(test, WEIR_CONSUMERS, n, members);
}

static void what_is_at_hand_is_what_the_database_says(void **state)
{
    test_store_t *test = *state;
    weir_store_result_t result;
    uint64_t newest = weir_store_version(test->store);
    for (unsigned n = 1; n <= 50; n++) {
        char members[64];
        test_put(test, WEIR_CONSUMERS, n, "");
        snprintf(members, sizeof(members), "\"key\":\"k%u\",\"consumer\":@%u", n, n);
        test_put(test, WEIR_KEYAUTH_CREDENTIALS, 100 + n, members);
        if (n % 3 == 0) /* two deltas, no documents */
            assert_int_equal(test_delete(test, WEIR_CONSUMERS, n, &result), WEIR_OK);
        if (n % 5 == 0) /* refused: its consumer does not exist */
            assert_int_equal(test_write_put(test, WEIR_KEYAUTH_CREDENTIALS, 200 + n,
                                            "\"key\":\"other\",\"consumer\":@999",
                                            WEIR_EXPECT_ANYTHING, &result),
                             WEIR_CONFLICT);
        assert_true(weir_store_deltas_at_hand(test->store, newest, SIZE_MAX - 1));
        assert_same_as_the_database(test, newest);
        assert_same_as_the_database(test, weir_store_version(test->store) - 1);
        newest = n % 7 == 0 ? weir_store_version(test->store) - 1 : newest;
    }
}

static void old_versions_make_room_for_new_ones(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_CONSUMERS, 1, "");
    uint64_t first = weir_store_version(test->store);
    for (unsigned n = 0; n < 800; n++) /* some three times what there is room for */
        put_long(test, 1 + n % 40, 200 + 11 * (n % 577));
    uint64_t newest = weir_store_version(test->store);
    assert_false(weir_store_deltas_at_hand(test->store, first, SIZE_MAX - 1));
    assert_true(weir_store_deltas_at_hand(test->store, newest - 50, SIZE_MAX - 1));
    assert_false(weir_store_deltas_at_hand(test->store, newest - 50, 1000));
    for (uint64_t after = first; after < newest; after += 23)
        assert_same_as_the_database(test, after);
}

static void many_short_versions_make_room_too(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_CONSUMERS, 1, "");
    uint64_t first = weir_store_version(test->store);
    for (unsigned n = 0; n < 4200; n++) /* 4,096 are remembered */
        test_put(test, WEIR_CONSUMERS, 1, n % 2 == 0 ? "\"tags\":[\"a\"]" : "");
    uint64_t newest = weir_store_version(test->store);
    assert_false(weir_store_deltas_at_hand(test->store, first, SIZE_MAX - 1));
    assert_false(weir_store_deltas_at_hand(test->store, newest - 4097, SIZE_MAX - 1));
    assert_true(weir_store_deltas_at_hand(test->store, newest - 4096, SIZE_MAX - 1));
    assert_same_as_the_database(test, first);
    assert_same_as_the_database(test, newest - 4096);
}

static void nothing_is_at_hand_of_what_others_or_earlier_processes_wrote(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_CONSUMERS, 1, "");
    uint64_t before = weir_store_version(test->store);
    test_reopen(test);
    assert_false(weir_store_deltas_at_hand(test->store, before - 1, SIZE_MAX - 1));
    assert_same_as_the_database(test, before - 1);

    test_put(test, WEIR_CONSUMERS, 2, "");
    test_store_t other = *test;
    other.store = NULL;
    test_reopen(&other);
    test_put(&other, WEIR_CONSUMERS, 3, "");
    weir_store_close(other.store);
    test_put(test, WEIR_CONSUMERS, 4, "");
    assert_int_equal(weir_store_version(test->store), before + 3);
    assert_false(weir_store_deltas_at_hand(test->store, before, SIZE_MAX - 1));
    assert_true(weir_store_deltas_at_hand(test->store, before + 2, SIZE_MAX - 1));
    assert_same_as_the_database(test, before);
    assert_same_as_the_database(test, before + 2);
}

static void what_left_the_log_is_not_given_from_memory(void **state)
{
    test_store_t *test = *state;
    sum_t sum = { 0 };
    test->options.log_entries_max = 10;
    test_reopen(test);
    uint64_t before = weir_store_version(test->store);
    for (unsigned n = 1; n <= 30; n++)
        test_put(test, WEIR_CONSUMERS, n, "");
    assert_false(weir_store_deltas_at_hand(test->store, before, SIZE_MAX - 1));
    assert_int_equal(weir_store_deltas(test->store, before, UINT64_MAX, add, &sum, NULL),
                     WEIR_NOT_FOUND);
    assert_int_equal(sum.rows, 0);
}

/* -- groups in which a write is undone ------------------------------------------------------- */

enum { WRITERS = 8, WRITES = 300, REFUSED_EVERY = 97 };

typedef struct writer {
    test_store_t *test;
    unsigned first;
    unsigned stored, refused;
    bool wrong;
} writer_t;

/* Two puts each; every so often the second one must take the first back with it. */
static void *write_pairs(void *context)
{
    writer_t *w = context;
    for (unsigned n = 0; n < WRITES; n++) {
        bool bad = n % REFUSED_EVERY == REFUSED_EVERY - 1;
        unsigned id = w->first + 2 * n;
        char members[64];
        snprintf(members, sizeof(members), "\"key\":\"k%u\",\"consumer\":@%u", id,
                 bad ? 999999 : id);
        WEIR_AUTO(json) weir_json_t *consumer = test_entity(id, "");
        WEIR_AUTO(json) weir_json_t *key = test_entity(id + 1, members);
        weir_store_op_t ops[] = {
            { WEIR_STORE_PUT, WEIR_CONSUMERS, test_id(id), consumer, WEIR_EXPECT_ABSENT },
            { WEIR_STORE_PUT, WEIR_KEYAUTH_CREDENTIALS, test_id(id + 1), key, WEIR_EXPECT_ABSENT },
        };
        weir_store_result_t result;
        int rc = weir_store_write(w->test->store, ops, 2, &result, NULL);
        w->wrong |= rc != (bad ? WEIR_CONFLICT : WEIR_OK);
        w->wrong |= bad && (result.refusal != WEIR_REFUSED_REFERENCE || result.op != 1);
        w->stored += rc == WEIR_OK;
        w->refused += rc == WEIR_CONFLICT;
    }
    return NULL;
}

static void a_write_that_is_refused_undoes_nothing_of_its_group(void **state)
{
    test_store_t *test = *state;
    writer_t writers[WRITERS];
    pthread_t threads[WRITERS];
    uint64_t before = weir_store_version(test->store);
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (writer_t){ .test = test, .first = 1 + i * 2 * WRITES };
        assert_int_equal(pthread_create(&threads[i], NULL, write_pairs, &writers[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    uint64_t stored = 0;
    for (unsigned i = 0; i < WRITERS; i++) {
        assert_false(writers[i].wrong);
        assert_int_equal(writers[i].refused, WRITES / REFUSED_EVERY);
        stored += writers[i].stored;
    }
    assert_int_equal(weir_store_version(test->store), before + stored);
    assert_int_equal(weir_store_count(test->store, WEIR_CONSUMERS), stored);
    assert_int_equal(weir_store_count(test->store, WEIR_KEYAUTH_CREDENTIALS), stored);
    assert_same_as_the_database(test, before);
    test_assert_log_adds_up(test);
    weir_store_verdict_t verdict;
    weir_error_t err = { 0 };
    if (weir_store_verify(test->store, NULL, NULL, &verdict, &err) != WEIR_OK)
        fail_msg("verify: %s", err.reason);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_at_hand_is_what_the_database_says),
        TEST(old_versions_make_room_for_new_ones),
        TEST(many_short_versions_make_room_too),
        TEST(nothing_is_at_hand_of_what_others_or_earlier_processes_wrote),
        TEST(what_left_the_log_is_not_given_from_memory),
        TEST(a_write_that_is_refused_undoes_nothing_of_its_group),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
