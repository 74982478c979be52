/* group_test.c -- many threads at once: versions without holes, a log that is
 * complete, readers that see one version. And at random: the tables are what
 * the log adds up to, and the index rows are those of the entities. */
#include "store/fixture.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 8, WRITES = 150, RANDOM_WRITES = 3000, IDS = 60 };

typedef struct writer {
    test_store_t *test;
    unsigned number;
    unsigned acknowledged; /* writes that changed something */
    uint64_t last_version;
    _Atomic uint64_t *watched;
    bool failed;
} writer_t;

/* Assertions of cmocka jump, which a thread of its own must not: it only notes. */
static int put(writer_t *writer, weir_entity_type_t type, unsigned n, const char *members,
               weir_store_result_t *result)
{
    char text[512];
    char id[WEIR_UUID_TEXT + 1];
    snprintf(text, sizeof(text), "{\"id\":\"%s\",%s}", test_id_text(n, id), members);
    WEIR_AUTO(json) weir_json_t *entity = NULL;
    if (weir_json_parse(weir_str(text), &entity, NULL) != WEIR_OK)
        return WEIR_INVALID;
    weir_store_op_t op = { WEIR_STORE_PUT, type, test_id(n), entity, WEIR_EXPECT_ANYTHING };
    return weir_store_write(writer->test->store, &op, 1, result, NULL);
}

static void note(writer_t *writer, int rc, const weir_store_result_t *result)
{
    writer->failed |= rc != WEIR_OK && rc != WEIR_CONFLICT;
    writer->failed |= rc == WEIR_OK && result->version < writer->last_version;
    if (rc != WEIR_OK || !result->changed)
        return;
    writer->failed |= result->version == writer->last_version; /* each has its own */
    writer->failed |= *writer->watched < result->version;      /* told before we are */
    writer->last_version = result->version;
    writer->acknowledged++;
}

static void *write_many(void *context)
{
    writer_t *writer = context;
    unsigned base = 1000 * (writer->number + 1);
    for (unsigned i = 0; i < WRITES && !writer->failed; i++) {
        weir_store_result_t result;
        char members[128];
        /* Its own rows; every fifth fights with the others for a name; every
         * seventh is the same as before. */
        if (i % 5 == 0)
            snprintf(members, sizeof(members), "\"username\":\"shared-%u\"", i);
        else
            snprintf(members, sizeof(members), "\"username\":\"own-%u-%u\"", writer->number, i);
        note(writer, put(writer, WEIR_CONSUMERS, base + i, members, &result), &result);
        if (i % 7 == 0)
            note(writer, put(writer, WEIR_CONSUMERS, base + i, members, &result), &result);
        if (i % 3 == 0) {
            weir_store_op_t op = { WEIR_STORE_DELETE, WEIR_CONSUMERS, test_id(base + i - i / 2),
                                   NULL, WEIR_EXPECT_ANYTHING };
            note(writer, weir_store_write(writer->test->store, &op, 1, &result, NULL), &result);
        }
    }
    return NULL;
}

static void watch(void *context, uint64_t version)
{
    _Atomic uint64_t *watched = context;
    *watched = version;
}

static void concurrent_writes_get_versions_without_holes(void **state)
{
    test_store_t *test = *state;
    _Atomic uint64_t watched = 0;
    weir_store_watch(test->store, watch, &watched);
    uint64_t before = weir_store_version(test->store);
    pthread_t threads[THREADS];
    writer_t writers[THREADS];
    for (unsigned i = 0; i < THREADS; i++) {
        writers[i] = (writer_t){ .test = test, .number = i, .watched = &watched };
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, &writers[i]), 0);
    }
    unsigned acknowledged = 0;
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_false(writers[i].failed);
        acknowledged += writers[i].acknowledged;
    }
    assert_int_equal(weir_store_version(test->store), before + acknowledged);
    assert_int_equal(watched, before + acknowledged);
    weir_store_numbers_t numbers;
    weir_store_numbers(test->store, &numbers);
    assert_true(numbers.writes >= before + acknowledged);
    assert_true(numbers.commits > 0);
    assert_true(numbers.commits <= numbers.writes);
    assert_int_equal(numbers.failures, 0);
    assert_true(numbers.log_entries >= acknowledged); /* one delta each, at least */
    test_assert_log_adds_up(test);
    test_reopen(test);
    test_assert_log_adds_up(test);
}

/* -- readers ------------------------------------------------------------------------------ */

/* Pairs of rows always change together. */
static void *write_pairs(void *context)
{
    writer_t *writer = context;
    for (unsigned i = 0; i < WRITES && !writer->failed; i++) {
        char text[256];
        char id[WEIR_UUID_TEXT + 1];
        weir_json_t *entities[2] = { NULL, NULL };
        weir_store_op_t ops[2];
        for (unsigned k = 0; k < 2; k++) {
            snprintf(text, sizeof(text), "{\"id\":\"%s\",\"custom_id\":\"%u-%u\"}",
                     test_id_text(k + 1, id), k, i);
            writer->failed |= weir_json_parse(weir_str(text), &entities[k], NULL) != WEIR_OK;
            ops[k] = (weir_store_op_t){ WEIR_STORE_PUT, WEIR_CONSUMERS, test_id(k + 1), entities[k],
                                        WEIR_EXPECT_ANYTHING };
        }
        weir_store_result_t result;
        writer->failed |= weir_store_write(writer->test->store, ops, 2, &result, NULL) != WEIR_OK;
        weir_json_free(entities[0]);
        weir_json_free(entities[1]);
    }
    return NULL;
}

typedef struct pair {
    unsigned rows;
    char tail[2][32];
} pair_t;

static int note_pair(void *context, const weir_delta_t *row)
{
    pair_t *pair = context;
    if (row->type != WEIR_CONSUMERS || pair->rows >= 2)
        return WEIR_OK;
    weir_str_t text = row->document;
    size_t dash = text.len;
    while (dash > 0 && text.data[dash - 1] != '-')
        dash--;
    snprintf(pair->tail[pair->rows++], sizeof(pair->tail[0]), "%.*s", (int)(text.len - dash),
             text.data + dash);
    return WEIR_OK;
}

static void a_snapshot_while_others_write_is_of_one_version(void **state)
{
    test_store_t *test = *state;
    writer_t writer = { .test = test };
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, write_pairs, &writer), 0);
    unsigned torn = 0;
    unsigned backwards = 0;
    uint64_t last = 0;
    for (unsigned i = 0; i < 200; i++) {
        pair_t pair = { 0 };
        uint64_t version = 0;
        int rc = weir_store_snapshot(test->store, note_pair, &pair, &version, NULL);
        torn += rc != WEIR_OK || (pair.rows != 0 && strcmp(pair.tail[0], pair.tail[1]) != 0);
        torn += version > 1 && pair.rows != 2;
        backwards += version < last;
        last = version;
    }
    pthread_join(thread, NULL);
    assert_false(writer.failed);
    assert_int_equal(torn, 0);
    assert_int_equal(backwards, 0);
}

/* -- at random ------------------------------------------------------------------------------ */

static unsigned random_below(unsigned *seed, unsigned below)
{
    return (unsigned)rand_r(seed) % below;
}

/* Few ids and few names, so that everything clashes with everything. */
static weir_json_t *random_entity(unsigned *seed, weir_entity_type_t type, unsigned n)
{
    char members[256];
    unsigned parent = random_below(seed, IDS);
    unsigned name = random_below(seed, IDS);
    switch (type) {
    case WEIR_SERVICES:
        snprintf(members, sizeof(members), "\"name\":\"s%u\",\"tags\":[\"t%u\",\"u\"]", name,
                 name % 3);
        break;
    case WEIR_ROUTES:
        snprintf(members, sizeof(members), name % 4 == 0 ? "\"name\":null" : "\"service\":@%u",
                 parent);
        break;
    case WEIR_CONSUMERS:
        snprintf(members, sizeof(members), "\"username\":\"c%u\",\"custom_id\":\"x%u\"", name,
                 random_below(seed, IDS));
        break;
    case WEIR_KEYAUTH_CREDENTIALS:
        snprintf(members, sizeof(members), "\"key\":\"k%u\",\"consumer\":@%u%s", name, parent,
                 name % 6 == 0 ? ",\"ttl\":1" : "");
        break;
    default:
        snprintf(members, sizeof(members),
                 name % 2 == 0 ? "\"name\":\"p%u\",\"route\":@%u"
                               : "\"name\":\"p%u\",\"consumer\":@%u,\"tags\":[\"t\"]",
                 name % 5, parent);
        break;
    }
    return test_entity(n, members);
}

typedef struct index_count {
    size_t keys, references, tags;
} index_count_t;

static int count_key(void *context, const char *name, weir_str_t value)
{
    (void)name, (void)value;
    ((index_count_t *)context)->keys++;
    return WEIR_OK;
}

static int count_reference(void *context, const weir_field_t *field, const weir_schema_t *to,
                           const weir_uuid_t *id)
{
    (void)field, (void)to, (void)id;
    ((index_count_t *)context)->references++;
    return WEIR_OK;
}

/* Straight from the tables: expired rows are there until they are deleted. */
static void assert_indexes_are_exact(test_store_t *test)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *rows = NULL;
    index_count_t counted = { 0 };
    assert_int_equal(sqlite3_open(test->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, "SELECT type, document FROM entity", -1, &rows, NULL),
                     SQLITE_OK);
    while (sqlite3_step(rows) == SQLITE_ROW) {
        const weir_schema_t *schema = weir_schema((weir_entity_type_t)sqlite3_column_int(rows, 0));
        WEIR_AUTO(json) weir_json_t *entity = NULL;
        weir_str_t text = weir_str((const char *)sqlite3_column_text(rows, 1));
        assert_int_equal(weir_json_parse(text, &entity, NULL), WEIR_OK);
        weir_model_keys(schema, entity, count_key, &counted);
        weir_model_references(schema, entity, count_reference, &counted);
        counted.tags += weir_json_count(weir_json_get(entity, "tags"));
    }
    sqlite3_finalize(rows);
    sqlite3_close(db);
    assert_int_equal(test_ask(test->path, "SELECT count(*) FROM unique_key"), counted.keys);
    assert_int_equal(test_ask(test->path, "SELECT count(*) FROM reference"), counted.references);
    assert_int_equal(test_ask(test->path, "SELECT count(*) FROM tag"), counted.tags);
    assert_int_equal(test_ask(test->path, "SELECT count(*) FROM unique_key k LEFT JOIN entity e ON "
                                          "e.type=k.type AND e.id=k.id WHERE e.id IS NULL"),
                     0);
    assert_int_equal(test_ask(test->path, "SELECT count(*) FROM reference r LEFT JOIN entity e ON "
                                          "e.type=r.to_type AND e.id=r.to_id WHERE e.id IS NULL"),
                     0);
    assert_int_equal(test_ask(test->path, "SELECT sum(count) FROM plugin_name"),
                     test_ask(test->path, "SELECT count(*) FROM entity WHERE type=11"));
    assert_int_equal(
        test_ask(test->path, "SELECT coalesce((SELECT log_entries FROM commit_log ORDER BY version "
                             "DESC LIMIT 1), (SELECT value FROM meta WHERE name='log_entries'))"),
        test_ask(test->path, "SELECT count(*) FROM delta"));
}

static void random_writes(test_store_t *test, unsigned *seed)
{
    static const weir_entity_type_t types[] = { WEIR_SERVICES, WEIR_ROUTES, WEIR_CONSUMERS,
                                                WEIR_KEYAUTH_CREDENTIALS, WEIR_PLUGINS };
    unsigned codes[2] = { 0, 0 };
    for (unsigned i = 0; i < RANDOM_WRITES; i++) {
        weir_store_op_t ops[3];
        weir_json_t *entities[3] = { NULL, NULL, NULL };
        unsigned count = 1 + random_below(seed, 3);
        for (unsigned k = 0; k < count; k++) {
            unsigned n = random_below(seed, IDS);
            weir_entity_type_t type = types[random_below(seed, WEIR_COUNT(types))];
            bool delete = random_below(seed, 4) == 0;
            entities[k] = delete ? NULL : random_entity(seed, type, n);
            ops[k] = (weir_store_op_t){ delete ? WEIR_STORE_DELETE : WEIR_STORE_PUT, type,
                                        test_id(n), entities[k], WEIR_EXPECT_ANYTHING };
        }
        weir_store_result_t result;
        int rc = weir_store_write(test->store, ops, count, &result, NULL);
        assert_true(rc == WEIR_OK || rc == WEIR_CONFLICT);
        assert_true((rc == WEIR_CONFLICT) == (result.refusal != WEIR_REFUSED_NOT));
        codes[rc == WEIR_OK]++;
        for (unsigned k = 0; k < count; k++)
            weir_json_free(entities[k]);
        size_t expired = 0;
        if (i % 100 == 0)
            assert_int_equal(weir_store_expire(test->store, 2000, 5, &expired, NULL), WEIR_OK);
    }
    assert_true(codes[0] > RANDOM_WRITES / 10 && codes[1] > RANDOM_WRITES / 10);
}

static void after_random_writes_the_log_adds_up_to_the_tables(void **state)
{
    test_store_t *test = *state;
    const char *given = getenv("WEIR_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
    print_message("WEIR_SEED=%u repeats this\n", seed);
    random_writes(test, &seed);
    size_t expired = 0;
    assert_int_equal(weir_store_expire(test->store, 2000, 10000, &expired, NULL), WEIR_OK);
    test_assert_log_adds_up(test);
    assert_indexes_are_exact(test);
    test_reopen(test);
    test_assert_log_adds_up(test);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(concurrent_writes_get_versions_without_holes),
        TEST(a_snapshot_while_others_write_is_of_one_version),
        TEST(after_random_writes_the_log_adds_up_to_the_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
