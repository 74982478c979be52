/* open_test.c -- opening, migrating, other processes; the rows of data planes. */
#include "store/fixture.h"

#include <sys/stat.h>

/* -- data planes ----------------------------------------------------------------------------------
 */

static int join_documents(void *context, const weir_delta_t *row)
{
    test_text_t *text = context;
    text->len += (size_t)snprintf(text->text + text->len, sizeof(text->text) - text->len, "%.*s;",
                                  WEIR_STR_ARG(row->document));
    return WEIR_OK;
}

static void data_planes_are_kept_until_they_expire_and_make_no_version(void **state)
{
    test_store_t *test = *state;
    uint64_t version = weir_store_version(test->store);
    const int64_t later = INT64_C(99999999999999);
    weir_uuid_t one = test_id(1);
    weir_uuid_t two = test_id(2);
    assert_int_equal(weir_store_put_data_plane(test->store, &two, WEIR_STR("b"), later, NULL),
                     WEIR_OK);
    assert_int_equal(weir_store_put_data_plane(test->store, &one, WEIR_STR("a"), later, NULL),
                     WEIR_OK);
    assert_int_equal(weir_store_put_data_plane(test->store, &one, WEIR_STR("a2"), later + 5, NULL),
                     WEIR_OK);
    test_reopen(test);
    test_text_t text = { 0 };
    assert_int_equal(weir_store_data_planes(test->store, later - 1, join_documents, &text, NULL),
                     WEIR_OK);
    assert_string_equal(text.text, "a2;b;");
    text.len = 0;
    assert_int_equal(weir_store_data_planes(test->store, later + 1, join_documents, &text, NULL),
                     WEIR_OK);
    assert_string_equal(text.text, "a2;");
    assert_int_equal(weir_store_version(test->store), version);
}

/* -- opening and migrating
 * -------------------------------------------------------------------------- */

static void a_fresh_database_has_a_workspace_and_a_cluster_id(void **state)
{
    test_store_t *test = *state;
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, 1 << 20);
    weir_row_t row;
    assert_int_equal(weir_store_version(test->store), 1);
    assert_int_equal(weir_store_find(test->store, WEIR_WORKSPACES, "name", WEIR_STR("default"),
                                     &arena, &row, NULL),
                     WEIR_OK);
    assert_true(weir_uuid_equal(&row.id, weir_store_default_workspace(test->store)));
    WEIR_AUTO(json) weir_json_t *workspace = NULL;
    assert_int_equal(weir_json_parse(row.document, &workspace, NULL), WEIR_OK);
    static const char *const fields[] = { "comment", "created_at", "updated_at", "meta", "config" };
    for (size_t i = 0; i < WEIR_COUNT(fields); i++)
        assert_non_null(weir_json_get(workspace, fields[i]));
    assert_int_equal(weir_store_find(test->store, WEIR_PARAMETERS, "key", WEIR_STR("cluster_id"),
                                     &arena, &row, NULL),
                     WEIR_OK);
    test_assert_log_adds_up(test);
}

static void the_database_is_for_its_owner_only(void **state)
{
    test_store_t *test = *state;
    struct stat info;
    assert_int_equal(stat(test->path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
}

static void count_done(void *context, const char *name, bool done)
{
    assert_non_null(name);
    int *counts = context;
    counts[done]++;
}

static void a_database_that_was_not_bootstrapped_is_not_opened(void **state)
{
    test_store_t *test = *state;
    weir_error_t err = { 0 };
    weir_store_close(test->store);
    test->store = NULL;
    assert_int_equal(weir_store_reset(&test->options, &err), WEIR_OK);
    assert_int_equal(weir_store_open(&test->options, &test->store, &err), WEIR_NOT_FOUND);
    assert_non_null(strstr(err.reason, "bootstrap"));
    assert_int_not_equal(access(test->path, F_OK), 0); /* nothing was made */
    int counts[2] = { 0, 0 };
    assert_int_equal(weir_store_migrations(&test->options, count_done, counts, &err), WEIR_OK);
    assert_int_equal(counts[true], 0);
    assert_true(counts[false] > 0);
    assert_int_not_equal(access(test->path, F_OK), 0);

    size_t done = 0;
    assert_int_equal(weir_store_migrate(&test->options, &done, &err), WEIR_OK);
    assert_int_equal(done, counts[false]);
    assert_int_equal(weir_store_migrate(&test->options, &done, &err), WEIR_OK);
    assert_int_equal(done, 0); /* again is nothing */
    int after[2] = { 0, 0 };
    assert_int_equal(weir_store_migrations(&test->options, count_done, after, &err), WEIR_OK);
    assert_int_equal(after[true], counts[false]);
    test_reopen(test);
    assert_int_equal(weir_store_version(test->store), 1);
}

static void a_database_of_a_newer_version_is_refused(void **state)
{
    test_store_t *test = *state;
    weir_error_t err = { 0 };
    weir_store_close(test->store);
    test->store = NULL;
    test_execute(test->path, "UPDATE meta SET value='99' WHERE name='migrations'");
    assert_int_equal(weir_store_open(&test->options, &test->store, &err), WEIR_UNSUPPORTED);
    assert_non_null(strstr(err.reason, "newer"));
    size_t done = 0;
    assert_int_equal(weir_store_migrate(&test->options, &done, &err), WEIR_UNSUPPORTED);
    assert_int_equal(weir_store_migrations(&test->options, count_done, (int[2]){ 0 }, &err),
                     WEIR_UNSUPPORTED);
}

static void a_file_that_is_no_database_is_corrupt(void **state)
{
    test_store_t *test = *state;
    weir_error_t err = { 0 };
    weir_store_close(test->store);
    test->store = NULL;
    assert_int_equal(weir_store_reset(&test->options, &err), WEIR_OK);
    FILE *file = fopen(test->path, "w");
    assert_non_null(file);
    for (int i = 0; i < 1000; i++)
        fputs("this is no database\n", file);
    fclose(file);
    assert_int_equal(weir_store_open(&test->options, &test->store, &err), WEIR_CORRUPT);
    assert_int_equal(err.code, WEIR_CORRUPT);
}

static void what_another_process_commits_is_followed(void **state)
{
    test_store_t *test = *state;
    uint64_t heard = 0;
    weir_store_watch(test->store, test_remember, &heard);
    test_store_t other = *test;
    other.store = NULL;
    test_reopen(&other); /* its own connections, as another process has them */
    uint64_t version = test_put(&other, WEIR_CONSUMERS, 1, "");
    size_t count = 0;
    assert_int_equal(weir_store_expire(test->store, 0, 10, &count, NULL), WEIR_OK);
    assert_int_equal(weir_store_version(test->store), version);
    assert_int_equal(heard, version);
    assert_int_equal(test_put(test, WEIR_CONSUMERS, 2, ""), version + 1);
    assert_int_equal(test_put(&other, WEIR_CONSUMERS, 3, ""), version + 2);
    weir_store_close(other.store);
    test_reopen(test);
    test_assert_log_adds_up(test);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(data_planes_are_kept_until_they_expire_and_make_no_version),
        TEST(a_fresh_database_has_a_workspace_and_a_cluster_id),
        TEST(the_database_is_for_its_owner_only),
        TEST(a_database_that_was_not_bootstrapped_is_not_opened),
        TEST(a_database_of_a_newer_version_is_refused),
        TEST(a_file_that_is_no_database_is_corrupt),
        TEST(what_another_process_commits_is_followed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
