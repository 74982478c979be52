/* view_test.c -- one state read in steps: pages that join without gaps, buckets,
 * deltas up to it, all unmoved by what is written meanwhile. */
#include "store/fixture.h"

#include "store/digest_fixture.h"

typedef struct seen {
    test_text_t text;
    size_t rows, bytes;
} seen_t;

static int see(void *context, const weir_delta_t *row)
{
    seen_t *seen = context;
    seen->rows++;
    seen->bytes += row->document.len;
    return test_add_delta(&seen->text, row);
}

static weir_store_view_t *open_view(test_store_t *test)
{
    weir_store_view_t *view = NULL;
    weir_error_t err = { 0 };
    if (weir_store_view_open(test->store, &view, &err) != WEIR_OK)
        fail_msg("view: %s", err.reason);
    return view;
}

/* Everything, in pages of `bytes_max`; no page but the last says that it is. */
static size_t read_pages(weir_store_view_t *view, size_t bytes_max, seen_t *all)
{
    weir_store_cursor_t cursor = { .type = WEIR_ENTITY_NONE };
    size_t pages = 0;
    for (bool more = true; more; pages++) {
        size_t rows = all->rows;
        size_t bytes = all->bytes;
        weir_error_t err = { 0 };
        if (weir_store_view_page(view, &cursor, bytes_max, see, all, &more, &err) != WEIR_OK)
            fail_msg("page: %s", err.reason);
        assert_true(all->rows > rows);
        assert_true(!more || all->bytes - bytes >= bytes_max);
        assert_true(pages < 1000);
    }
    return pages;
}

static void fill(test_store_t *test, unsigned count)
{
    for (unsigned n = 1; n <= count; n++) {
        char members[64];
        test_put(test, WEIR_SERVICES, n, "\"host\":\"h\"");
        snprintf(members, sizeof(members), "\"service\":@%u", n);
        test_put(test, WEIR_ROUTES, count + 1 - n, "\"name\":null");
        test_put(test, WEIR_CONSUMERS, n, "\"tags\":[\"t\"]");
    }
}

static void pages_of_any_size_make_up_the_snapshot(void **state)
{
    test_store_t *test = *state;
    fill(test, 20);
    static seen_t whole, paged;
    memset(&whole, 0, sizeof(whole));
    uint64_t version = 0;
    assert_int_equal(weir_store_snapshot(test->store, see, &whole, &version, NULL), WEIR_OK);
    assert_int_equal(whole.rows, 62); /* with the workspace and the cluster's id */
    weir_store_view_t *view = open_view(test);
    assert_int_equal(weir_store_view_version(view), version);
    static const size_t sizes[] = { 0, 1, 50, 60, 61, 200, 100000, SIZE_MAX };
    for (size_t i = 0; i < WEIR_COUNT(sizes); i++) {
        memset(&paged, 0, sizeof(paged));
        size_t pages = read_pages(view, sizes[i], &paged);
        assert_string_equal(paged.text.text, whole.text.text);
        assert_true(sizes[i] > 1 || pages == whole.rows);
        assert_true(sizes[i] < 100000 || pages == 1);
    }
    weir_store_view_close(view);
}

static void a_page_after_the_last_entity_is_empty(void **state)
{
    test_store_t *test = *state;
    weir_store_view_t *view = open_view(test);
    weir_store_cursor_t cursor = { .type = WEIR_ENTITY_NONE };
    static seen_t seen;
    bool more = true;
    assert_int_equal(weir_store_view_page(view, &cursor, SIZE_MAX, see, &seen, &more, NULL),
                     WEIR_OK);
    assert_false(more);
    size_t rows = seen.rows;
    weir_store_cursor_t last = cursor;
    more = true;
    assert_int_equal(weir_store_view_page(view, &cursor, SIZE_MAX, see, &seen, &more, NULL),
                     WEIR_OK);
    assert_false(more);
    assert_int_equal(seen.rows, rows);
    assert_memory_equal(&cursor, &last, sizeof(cursor));
    weir_store_view_close(view);
}

static void a_cursor_may_name_what_is_not_there_but_no_type_that_there_is_not(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_CONSUMERS, 2, "");
    test_put(test, WEIR_CONSUMERS, 4, "");
    weir_store_view_t *view = open_view(test);
    static seen_t seen;
    bool more = false;
    weir_store_cursor_t cursor = { WEIR_CONSUMERS, test_id(3) };
    assert_int_equal(weir_store_view_page(view, &cursor, 1, see, &seen, &more, NULL), WEIR_OK);
    assert_string_equal(seen.text.text, "v3 put consumers 4");
    weir_error_t err = { 0 };
    cursor.type = WEIR_ENTITY_TYPES;
    assert_int_equal(weir_store_view_page(view, &cursor, 1, see, &seen, &more, &err), WEIR_INVALID);
    assert_string_equal(err.field, "cursor");
    assert_int_equal(seen.rows, 1);
    weir_store_view_close(view);
}

static int stop_at_second(void *context, const weir_delta_t *row)
{
    (void)row;
    return ++*(unsigned *)context == 2 ? WEIR_NOT_FOUND : WEIR_OK;
}

static void a_page_that_its_reader_stops_moves_nothing(void **state)
{
    test_store_t *test = *state;
    weir_store_view_t *view = open_view(test);
    weir_store_cursor_t cursor = { .type = WEIR_ENTITY_NONE };
    unsigned rows = 0;
    bool more = true;
    assert_int_equal(
        weir_store_view_page(view, &cursor, SIZE_MAX, stop_at_second, &rows, &more, NULL),
        WEIR_NOT_FOUND);
    assert_int_equal(rows, 2);
    assert_int_equal(cursor.type, WEIR_ENTITY_NONE);
    rows = 0;
    assert_int_equal(weir_store_view_bucket(view, 0, stop_at_second, &rows, NULL), WEIR_OK);
    weir_store_view_close(view);
}

static void a_view_stays_what_it_was_while_others_write(void **state)
{
    test_store_t *test = *state;
    uint64_t before = weir_store_version(test->store);
    test_put(test, WEIR_CONSUMERS, 1, "\"username\":\"a\"");
    weir_store_view_t *view = open_view(test);
    static weir_digest_t sums[2][WEIR_DIGEST_BUCKETS];
    static seen_t seen;
    assert_int_equal(weir_store_view_sums(view, sums[0], NULL), WEIR_OK);
    weir_store_result_t result;
    test_put(test, WEIR_CONSUMERS, 2, "");
    assert_int_equal(test_delete(test, WEIR_CONSUMERS, 1, &result), WEIR_OK);
    assert_int_equal(weir_store_view_version(view), before + 1);
    assert_int_equal(weir_store_view_deltas(view, before, see, &seen, NULL), WEIR_OK);
    assert_string_equal(seen.text.text, "v2 put consumers 1");
    assert_int_equal(weir_store_view_sums(view, sums[1], NULL), WEIR_OK);
    assert_memory_equal(sums[0], sums[1], sizeof(sums[0]));
    memset(&seen, 0, sizeof(seen));
    assert_int_equal(weir_store_view_bucket(view, 0, see, &seen, NULL), WEIR_OK);
    assert_string_equal(seen.text.text, "v2 put consumers 1");
    weir_store_view_close(view);

    view = open_view(test);
    memset(&seen, 0, sizeof(seen));
    assert_int_equal(weir_store_view_bucket(view, 0, see, &seen, NULL), WEIR_OK);
    assert_string_equal(seen.text.text, "v4 put consumers 2");
    weir_store_view_close(view);
}

static void deltas_of_a_view_that_the_log_has_lost_are_not_found(void **state)
{
    test_store_t *test = *state;
    test->options.log_entries_max = 3;
    test_reopen(test);
    for (unsigned n = 1; n <= 10; n++)
        test_put(test, WEIR_CONSUMERS, n, "");
    weir_store_view_t *view = open_view(test);
    static seen_t seen;
    assert_int_equal(weir_store_view_deltas(view, 1, see, &seen, NULL), WEIR_NOT_FOUND);
    assert_int_equal(
        weir_store_view_deltas(view, weir_store_version(test->store), see, &seen, NULL), WEIR_OK);
    assert_int_equal(seen.rows, 0);
    weir_store_view_close(view);
}

static int note_bucket(void *context, const weir_delta_t *row)
{
    seen_t *seen = context;
    seen->rows++;
    seen->bytes = weir_digest_bucket(&row->id);
    return WEIR_OK;
}

static void every_entity_is_in_its_bucket_and_in_no_other(void **state)
{
    test_store_t *test = *state;
    static const uint8_t starts[][2] = {
        { 0, 0 },    { 0, 0x0f }, { 0, 0x10 },    { 0x7f, 0xff }, { 0x80, 0 },
        { 0x80, 1 }, { 0xff, 0 }, { 0xff, 0xef }, { 0xff, 0xf0 }, { 0xff, 0xff },
    };
    for (size_t i = 0; i < WEIR_COUNT(starts); i++)
        for (int end = 0; end < 2; end++) {
            weir_uuid_t id;
            memset(&id, end * 0xff, sizeof(id));
            memcpy(id.bytes, starts[i], 2);
            test_put_id(test, &id);
        }
    weir_store_view_t *view = open_view(test);
    static seen_t all;
    size_t rows = 0;
    for (unsigned bucket = 0; bucket < WEIR_DIGEST_BUCKETS; bucket++) {
        seen_t seen = { .bytes = bucket };
        assert_int_equal(weir_store_view_bucket(view, bucket, note_bucket, &seen, NULL), WEIR_OK);
        assert_int_equal(seen.bytes, bucket);
        rows += seen.rows;
    }
    read_pages(view, SIZE_MAX, &all);
    assert_int_equal(rows, all.rows);
    assert_int_equal(rows, 2 + 2 * WEIR_COUNT(starts));
    weir_store_view_close(view);
}

static void what_has_expired_is_in_pages_and_buckets_until_it_is_deleted(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_CONSUMERS, 1, "");
    test_put(test, WEIR_KEYAUTH_CREDENTIALS, 2, "\"key\":\"k\",\"consumer\":@1,\"ttl\":1");
    static seen_t paged, bucket, whole;
    uint64_t version = 0;
    weir_store_view_t *view = open_view(test);
    read_pages(view, 1, &paged);
    assert_int_equal(weir_store_view_bucket(view, 0, see, &bucket, NULL), WEIR_OK);
    weir_store_view_close(view);
    assert_non_null(strstr(paged.text.text, "keyauth_credentials 2"));
    assert_non_null(strstr(bucket.text.text, "keyauth_credentials 2"));
    assert_int_equal(weir_store_snapshot(test->store, see, &whole, &version, NULL), WEIR_OK);
    assert_null(strstr(whole.text.text, "keyauth_credentials 2"));
    test_assert_verified(test);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages_of_any_size_make_up_the_snapshot),
        TEST(a_page_after_the_last_entity_is_empty),
        TEST(a_cursor_may_name_what_is_not_there_but_no_type_that_there_is_not),
        TEST(a_page_that_its_reader_stops_moves_nothing),
        TEST(a_view_stays_what_it_was_while_others_write),
        TEST(deltas_of_a_view_that_the_log_has_lost_are_not_found),
        TEST(every_entity_is_in_its_bucket_and_in_no_other),
        TEST(what_has_expired_is_in_pages_and_buckets_until_it_is_deleted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
