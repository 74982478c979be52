/* fixture.h -- what the tests of this room share: a database in a directory of
 * its own, entities from text, a copy of the set kept from deltas. Included by
 * *_test.c only. */
#ifndef WEIR_STORE_FIXTURE_H
#define WEIR_STORE_FIXTURE_H

#include "base/json.h"
#include "store/store.h"

#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct test_store {
    char directory[256];
    char path[300];
    weir_store_options_t options;
    weir_store_t *store;
} test_store_t;

static inline void test_reopen(test_store_t *test)
{
    weir_error_t err = { 0 };
    weir_store_close(test->store);
    test->store = NULL;
    if (weir_store_open(&test->options, &test->store, &err) != WEIR_OK)
        fail_msg("open: %s", err.reason);
}

/* In `parent`; NULL: where temporary files go. */
static inline void test_create(test_store_t *test, const char *parent)
{
    *test = (test_store_t){ 0 };
    const char *place = getenv("TMPDIR");
    place = parent != NULL ? parent : place != NULL ? place : P_tmpdir;
    snprintf(test->directory, sizeof(test->directory), "%s/weir-store-XXXXXX", place);
    assert_non_null(mkdtemp(test->directory));
    snprintf(test->path, sizeof(test->path), "%s/weir.db", test->directory);
    test->options = (weir_store_options_t){ .path = test->path, .log_entries_max = 100000 };
    weir_error_t err = { 0 };
    size_t done = 0;
    if (weir_store_migrate(&test->options, &done, &err) != WEIR_OK)
        fail_msg("migrate: %s", err.reason);
    test_reopen(test);
}

static inline void test_destroy(test_store_t *test)
{
    weir_store_close(test->store);
    weir_store_reset(&test->options, NULL);
    rmdir(test->directory);
}

static inline int test_setup(void **state)
{
    test_store_t *test = calloc(1, sizeof(*test));
    test_create(test, NULL);
    *state = test;
    return 0;
}

static inline int test_teardown(void **state)
{
    test_destroy(*state);
    free(*state);
    return 0;
}

/* The n-th id; ids sort as their numbers. */
static inline weir_uuid_t test_id(unsigned n)
{
    weir_uuid_t id = { { 0 } };
    id.bytes[12] = (uint8_t)(n >> 24);
    id.bytes[13] = (uint8_t)(n >> 16);
    id.bytes[14] = (uint8_t)(n >> 8);
    id.bytes[15] = (uint8_t)n;
    return id;
}

static inline const char *test_id_text(unsigned n, char text[WEIR_UUID_TEXT + 1])
{
    weir_uuid_t id = test_id(n);
    weir_uuid_format(&id, text);
    return text;
}

/* {"id":"<n>",MEMBERS} where @n in `members` stands for {"id":"<n>"}. */
static inline weir_json_t *test_entity(unsigned n, const char *members)
{
    char text[8192];
    char id[WEIR_UUID_TEXT + 1];
    size_t len = (size_t)snprintf(text, sizeof(text), "{\"id\":\"%s\"%s", test_id_text(n, id),
                                  members[0] != '\0' ? "," : "");
    for (const char *at = members; *at != '\0';) {
        assert_true(len + 64 < sizeof(text));
        if (*at != '@') {
            text[len++] = *at++;
            continue;
        }
        char *end = NULL;
        unsigned other = (unsigned)strtoul(at + 1, &end, 10);
        len += (size_t)snprintf(text + len, sizeof(text) - len, "{\"id\":\"%s\"}",
                                test_id_text(other, id));
        at = end;
    }
    text[len++] = '}';
    weir_json_t *entity = NULL;
    weir_error_t err = { 0 };
    if (weir_json_parse((weir_str_t){ text, len }, &entity, &err) != WEIR_OK)
        fail_msg("%.*s: %s", (int)len, text, err.reason);
    return entity;
}

static inline int test_write_put(test_store_t *test, weir_entity_type_t type, unsigned n,
                                 const char *members, uint64_t expected, weir_store_result_t *ret)
{
    WEIR_AUTO(json) weir_json_t *entity = test_entity(n, members);
    weir_store_op_t op = { WEIR_STORE_PUT, type, test_id(n), entity, expected };
    weir_error_t err = { 0 };
    int rc = weir_store_write(test->store, &op, 1, ret, &err);
    if (rc != WEIR_OK && rc != WEIR_CONFLICT)
        print_message("write: %s: %s\n", weir_code_name(rc), err.reason);
    return rc;
}

/* Puts what must succeed; returns the version. */
static inline uint64_t test_put(test_store_t *test, weir_entity_type_t type, unsigned n,
                                const char *members)
{
    weir_store_result_t result;
    int rc = test_write_put(test, type, n, members, WEIR_EXPECT_ANYTHING, &result);
    if (rc != WEIR_OK)
        fail_msg("put %u %s: %s, refusal %d on %s", n, members, weir_code_name(rc),
                 (int)result.refusal, result.key);
    return result.version;
}

static inline int test_delete(test_store_t *test, weir_entity_type_t type, unsigned n,
                              weir_store_result_t *ret)
{
    weir_store_op_t op = { WEIR_STORE_DELETE, type, test_id(n), NULL, WEIR_EXPECT_ANYTHING };
    return weir_store_write(test->store, &op, 1, ret, NULL);
}

static inline bool test_exists(test_store_t *test, weir_entity_type_t type, unsigned n)
{
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, 1 << 20);
    weir_uuid_t id = test_id(n);
    weir_row_t row;
    int rc = weir_store_get(test->store, type, &id, &arena, &row, NULL);
    assert_true(rc == WEIR_OK || rc == WEIR_NOT_FOUND);
    return rc == WEIR_OK;
}

/* The deltas of (after, newest] as text: "v3 put services 1 v3 delete ..."; the
 * number is the last four bytes of the id. */
typedef struct test_text {
    char text[16384];
    size_t len;
} test_text_t;

static inline int test_add_delta(void *context, const weir_delta_t *delta)
{
    test_text_t *to = context;
    const uint8_t *b = delta->id.bytes;
    unsigned n = (unsigned)b[12] << 24 | (unsigned)b[13] << 16 | (unsigned)b[14] << 8 | b[15];
    to->len += (size_t)snprintf(to->text + to->len, sizeof(to->text) - to->len, "%sv%d %s %s %u",
                                to->len > 0 ? ", " : "", (int)delta->version,
                                delta->document.data != NULL ? "put" : "delete",
                                weir_schema(delta->type)->name, n);
    assert_true(to->len < sizeof(to->text));
    return WEIR_OK;
}

static inline const char *test_deltas(test_store_t *test, uint64_t after, test_text_t *text)
{
    text->len = 0;
    text->text[0] = '\0';
    weir_error_t err = { 0 };
    int rc = weir_store_deltas(test->store, after, UINT64_MAX, test_add_delta, text, &err);
    if (rc != WEIR_OK)
        fail_msg("deltas: %s %s", weir_code_name(rc), err.reason);
    return text->text;
}

/* The numbers of a query's rows, "1 2 3 +": + if there are more. */
static inline const char *test_list(test_store_t *test, const weir_store_query_t *query,
                                    test_text_t *text)
{
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, 1 << 20);
    weir_rows_t rows;
    weir_error_t err = { 0 };
    if (weir_store_list(test->store, query, &arena, &rows, &err) != WEIR_OK)
        fail_msg("list: %s", err.reason);
    text->len = 0;
    text->text[0] = '\0';
    for (size_t i = 0; i < rows.count; i++)
        text->len +=
            (size_t)snprintf(text->text + text->len, sizeof(text->text) - text->len, "%s%u",
                             i > 0 ? " " : "", (unsigned)rows.rows[i].id.bytes[15]);
    snprintf(text->text + text->len, sizeof(text->text) - text->len, "%s", rows.more ? " +" : "");
    return text->text;
}

/* A watcher: *context is the newest version that it heard of. */
static inline void test_remember(void *context, uint64_t version)
{
    *(uint64_t *)context = version;
}

/* Straight into the database, behind the back of the store. */
static inline void test_execute(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

/* The number that a query returns. */
static inline long long test_ask(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *select = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &select, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(select), SQLITE_ROW);
    long long answer = sqlite3_column_int64(select, 0);
    sqlite3_finalize(select);
    sqlite3_close(db);
    return answer;
}

/* -- a copy of the set, kept by applying deltas ---------------------------------------- */

typedef struct test_copy_row {
    weir_entity_type_t type;
    weir_uuid_t id;
    char *document; /* NULL: deleted */
} test_copy_row_t;

typedef struct test_copy {
    test_copy_row_t *rows;
    size_t count, capacity;
    uint64_t version; /* of the last delta; they must come without holes */
} test_copy_t;

static inline test_copy_row_t *test_copy_find(test_copy_t *copy, weir_entity_type_t type,
                                              const weir_uuid_t *id)
{
    for (size_t i = copy->count; i > 0; i--) /* recent ones are asked for most */
        if (copy->rows[i - 1].type == type && weir_uuid_equal(&copy->rows[i - 1].id, id))
            return &copy->rows[i - 1];
    return NULL;
}

static inline int test_copy_apply(void *context, const weir_delta_t *delta)
{
    test_copy_t *copy = context;
    assert_true(delta->version == copy->version || delta->version == copy->version + 1);
    copy->version = delta->version;
    test_copy_row_t *row = test_copy_find(copy, delta->type, &delta->id);
    if (row == NULL) {
        if (copy->count == copy->capacity) {
            copy->capacity = copy->capacity * 2 + 64;
            copy->rows = realloc(copy->rows, copy->capacity * sizeof(*copy->rows));
            assert_non_null(copy->rows);
        }
        row = &copy->rows[copy->count++];
        *row = (test_copy_row_t){ .type = delta->type, .id = delta->id };
    }
    free(row->document);
    row->document =
        delta->document.data != NULL ? strndup(delta->document.data, delta->document.len) : NULL;
    return WEIR_OK;
}

static inline void test_copy_release(test_copy_t *copy)
{
    for (size_t i = 0; i < copy->count; i++)
        free(copy->rows[i].document);
    free(copy->rows);
    *copy = (test_copy_t){ 0 };
}

static inline size_t test_copy_living(const test_copy_t *copy)
{
    size_t living = 0;
    for (size_t i = 0; i < copy->count; i++)
        living += copy->rows[i].document != NULL;
    return living;
}

typedef struct test_comparison {
    test_copy_t *copy;
    size_t rows;
} test_comparison_t;

static inline int test_compare_row(void *context, const weir_delta_t *row)
{
    test_comparison_t *with = context;
    test_copy_row_t *copied = test_copy_find(with->copy, row->type, &row->id);
    assert_non_null(copied);
    assert_non_null(copied->document);
    assert_int_equal(strlen(copied->document), row->document.len);
    assert_memory_equal(copied->document, row->document.data, row->document.len);
    with->rows++;
    return WEIR_OK;
}

/* The log from its start adds up to what the tables hold. */
static inline void test_assert_log_adds_up(test_store_t *test)
{
    test_copy_t copy = { 0 };
    weir_error_t err = { 0 };
    if (weir_store_deltas(test->store, 0, UINT64_MAX, test_copy_apply, &copy, &err) != WEIR_OK)
        fail_msg("deltas: %s", err.reason);
    assert_int_equal(copy.version, weir_store_version(test->store));
    test_comparison_t with = { .copy = &copy };
    uint64_t version = 0;
    if (weir_store_snapshot(test->store, test_compare_row, &with, &version, &err) != WEIR_OK)
        fail_msg("snapshot: %s", err.reason);
    assert_int_equal(version, copy.version);
    assert_int_equal(with.rows, test_copy_living(&copy));
    uint64_t counted = 0;
    for (int type = 1; type < WEIR_ENTITY_TYPES; type++)
        counted += weir_store_count(test->store, (weir_entity_type_t)type);
    assert_int_equal(counted, with.rows);
    test_copy_release(&copy);
}

#endif
