/* digest_test.c -- the sums that are kept are those of the documents, whatever was
 * written, refused or reopened and whoever wrote; damage is found where it is. */
#include "store/digest_fixture.h"

enum { RANDOM_WRITES = 3000, IDS = 40 };

static weir_digest_t digest_of(test_store_t *test, uint64_t version)
{
    weir_digest_t digest;
    if (weir_store_digest(test->store, version, &digest) != WEIR_OK)
        fail_msg("the digest of version %" PRIu64 " is not known", version);
    return digest;
}

static weir_digest_t newest(test_store_t *test)
{
    return digest_of(test, weir_store_version(test->store));
}

static void assert_same(weir_digest_t a, weir_digest_t b)
{
    assert_true(weir_digest_equal(&a, &b));
}

static void assert_differs(weir_digest_t a, weir_digest_t b)
{
    assert_false(weir_digest_equal(&a, &b));
}

/* -- what the digest is of ---------------------------------------------------------------- */

static void the_digest_is_the_sum_of_the_hashes_in_the_protocol(void **state)
{
    test_store_t *test = *state;
    weir_digest_t sum = newest(test);
    test_put(test, WEIR_CONSUMERS, 7, "\"username\":\"u\"");
    weir_digester_t *digester = NULL;
    weir_digest_t hash;
    weir_uuid_t id = test_id(7);
    char id_text[WEIR_UUID_TEXT + 1];
    char document[128];
    snprintf(document, sizeof(document), "{\"id\":\"%s\",\"username\":\"u\"}",
             test_id_text(7, id_text));
    assert_int_equal(weir_digester_new(weir_store_digest_key(test->store), &digester, NULL),
                     WEIR_OK);
    assert_int_equal(
        weir_digester_entity(digester, WEIR_STR("consumers"), &id, weir_str(document), &hash, NULL),
        WEIR_OK);
    weir_digester_free(digester);
    weir_digest_add(&sum, &hash);
    assert_same(newest(test), sum);
}

static void the_same_set_has_the_same_digest_again(void **state)
{
    test_store_t *test = *state;
    weir_store_result_t result;
    weir_digest_t before = newest(test);
    test_put(test, WEIR_SERVICES, 1, "\"host\":\"a\"");
    weir_digest_t one = newest(test);
    assert_differs(one, before);
    test_put(test, WEIR_SERVICES, 1, "\"host\":\"b\"");
    assert_differs(newest(test), one);
    test_put(test, WEIR_SERVICES, 1, "\"host\":\"a\"");
    assert_same(newest(test), one);
    test_put(test, WEIR_PLUGINS, 3, "\"name\":\"p\",\"service\":@1");
    assert_int_equal(test_delete(test, WEIR_SERVICES, 1, &result), WEIR_OK); /* and the plugin */
    assert_same(newest(test), before);
    test_assert_verified(test);
}

static void what_is_refused_leaves_the_digest_as_it_was(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_CONSUMERS, 1, "\"username\":\"taken\"");
    weir_digest_t before = newest(test);
    WEIR_AUTO(json) weir_json_t *first = test_entity(2, "\"username\":\"free\"");
    WEIR_AUTO(json) weir_json_t *second = test_entity(3, "\"username\":\"taken\"");
    weir_store_op_t ops[] = {
        { WEIR_STORE_DELETE, WEIR_PARAMETERS, test_id(9), NULL, WEIR_EXPECT_ANYTHING },
        { WEIR_STORE_PUT, WEIR_CONSUMERS, test_id(2), first, WEIR_EXPECT_ANYTHING },
        { WEIR_STORE_PUT, WEIR_CONSUMERS, test_id(3), second, WEIR_EXPECT_ANYTHING },
    };
    weir_store_result_t result;
    assert_int_equal(weir_store_write(test->store, ops, 3, &result, NULL), WEIR_CONFLICT);
    assert_same(newest(test), before);
    test_put(test, WEIR_CONSUMERS, 4, ""); /* writes what the refused one would have left */
    test_assert_verified(test);
    test_reopen(test);
    test_assert_verified(test);
}

static void an_expired_row_counts_until_it_is_deleted(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_CONSUMERS, 1, "");
    weir_digest_t without = newest(test);
    test_put(test, WEIR_KEYAUTH_CREDENTIALS, 2, "\"key\":\"k\",\"consumer\":@1,\"ttl\":1");
    assert_false(test_exists(test, WEIR_KEYAUTH_CREDENTIALS, 2));
    test_assert_verified(test);
    assert_differs(newest(test), without);
    size_t count = 0;
    assert_int_equal(weir_store_expire(test->store, 2000, 10, &count, NULL), WEIR_OK);
    assert_int_equal(count, 1);
    assert_same(newest(test), without);
    test_assert_verified(test);
}

/* -- versions ------------------------------------------------------------------------------- */

static void every_version_has_the_digest_that_it_had(void **state)
{
    enum { VERSIONS = 30 };
    test_store_t *test = *state;
    weir_digest_t had[VERSIONS];
    uint64_t first = weir_store_version(test->store) + 1;
    for (unsigned n = 0; n < VERSIONS; n++) {
        test_put(test, WEIR_CONSUMERS, n + 1, "");
        had[n] = newest(test);
    }
    for (unsigned n = 0; n < VERSIONS; n++)
        assert_same(digest_of(test, first + n), had[n]);
    weir_digest_t none;
    assert_int_equal(weir_store_digest(test->store, first + VERSIONS, &none), WEIR_NOT_FOUND);
    assert_int_equal(weir_store_digest(test->store, 0, &none), WEIR_OK);
    assert_same(none, (weir_digest_t){ 0 });
    test_reopen(test);
    assert_same(newest(test), had[VERSIONS - 1]);
    assert_int_equal(weir_store_digest(test->store, first, &none), WEIR_NOT_FOUND);
}

static void the_oldest_digests_are_forgotten(void **state)
{
    enum { REMEMBERED = 8192 };
    test_store_t *test = *state;
    for (unsigned n = 0; n < REMEMBERED; n++)
        test_put(test, WEIR_CONSUMERS, 1, n % 2 == 0 ? "" : "\"username\":\"u\"");
    uint64_t version = weir_store_version(test->store);
    weir_digest_t digest;
    assert_int_equal(weir_store_digest(test->store, version - REMEMBERED + 1, &digest), WEIR_OK);
    assert_int_equal(weir_store_digest(test->store, version - REMEMBERED, &digest), WEIR_NOT_FOUND);
    assert_same(digest_of(test, version), digest_of(test, version - 2));
    assert_differs(digest_of(test, version), digest_of(test, version - 1));
}

/* Where a sync costs nothing, for what is not about disks. */
static int setup_in_memory(void **state)
{
    test_store_t *test = calloc(1, sizeof(*test));
    test_create(test, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : NULL);
    *state = test;
    return 0;
}

static void remember_digest(void *context, uint64_t version)
{
    test_store_t *test = context;
    weir_digest_t digest;
    if (weir_store_digest(test->store, version, &digest) != WEIR_OK)
        test->options.path = NULL;
}

static void whoever_hears_of_a_version_finds_its_digest(void **state)
{
    test_store_t *test = *state;
    weir_store_watch(test->store, remember_digest, test);
    for (unsigned n = 1; n < 20; n++)
        test_put(test, WEIR_CONSUMERS, n, "");
    bool missed = test->options.path == NULL;
    test->options.path = test->path;
    assert_false(missed);
}

/* -- at random ------------------------------------------------------------------------------- */

static unsigned random_below(unsigned *seed, unsigned below)
{
    return (unsigned)rand_r(seed) % below;
}

/* Few ids and names, so that writes clash; ids of many buckets. */
static weir_json_t *random_entity(unsigned *seed, weir_entity_type_t type, unsigned n)
{
    char members[128];
    unsigned name = random_below(seed, IDS);
    unsigned parent = random_below(seed, IDS);
    if (type == WEIR_SERVICES)
        snprintf(members, sizeof(members), "\"name\":\"s%u\"", name);
    else if (type == WEIR_ROUTES)
        snprintf(members, sizeof(members), "\"service\":@%u", parent);
    else if (type == WEIR_CONSUMERS)
        snprintf(members, sizeof(members), "\"username\":\"c%u\"", name);
    else
        snprintf(members, sizeof(members), "\"key\":\"k%u\",\"consumer\":@%u%s", name, parent,
                 name % 6 == 0 ? ",\"ttl\":1" : "");
    return test_entity(n, members);
}

static int random_write(test_store_t *test, unsigned *seed)
{
    static const weir_entity_type_t types[] = { WEIR_SERVICES, WEIR_ROUTES, WEIR_CONSUMERS,
                                                WEIR_KEYAUTH_CREDENTIALS };
    weir_store_op_t ops[4];
    weir_json_t *entities[4] = { NULL };
    unsigned count = 1 + random_below(seed, 4);
    for (unsigned k = 0; k < count; k++) {
        unsigned n = random_below(seed, IDS);
        weir_entity_type_t type = types[random_below(seed, WEIR_COUNT(types))];
        bool delete = random_below(seed, 4) == 0;
        entities[k] = delete ? NULL : random_entity(seed, type, n);
        ops[k] = (weir_store_op_t){ delete ? WEIR_STORE_DELETE : WEIR_STORE_PUT, type, test_id(n),
                                    entities[k], WEIR_EXPECT_ANYTHING };
    }
    weir_store_result_t result;
    int rc = weir_store_write(test->store, ops, count, &result, NULL);
    for (unsigned k = 0; k < count; k++)
        weir_json_free(entities[k]);
    return rc;
}

/* Another process, as during a reload. */
static void write_elsewhere(const test_store_t *test, unsigned seed)
{
    weir_store_t *other = NULL;
    assert_int_equal(weir_store_open(&test->options, &other, NULL), WEIR_OK);
    test_store_t elsewhere = *test;
    elsewhere.store = other;
    for (unsigned i = 0; i < 5; i++)
        random_write(&elsewhere, &seed);
    test_assert_verified(&elsewhere);
    weir_store_close(other);
}

static void after_random_writes_by_anybody_the_sums_are_those_of_the_documents(void **state)
{
    test_store_t *test = *state;
    const char *given = getenv("WEIR_SEED");
    unsigned seed = given != NULL ? (unsigned)strtoul(given, NULL, 10) : (unsigned)getpid();
    print_message("WEIR_SEED=%u repeats this\n", seed);
    unsigned codes[2] = { 0, 0 };
    for (unsigned i = 0; i < RANDOM_WRITES; i++) {
        int rc = random_write(test, &seed);
        assert_true(rc == WEIR_OK || rc == WEIR_CONFLICT);
        codes[rc == WEIR_OK]++;
        size_t expired = 0;
        if (i % 100 == 0)
            assert_int_equal(weir_store_expire(test->store, 2000, 5, &expired, NULL), WEIR_OK);
        if (i % 150 == 0) {
            write_elsewhere(test, seed);
            random_write(test, &seed);
            test_put(test, WEIR_UPSTREAMS, i, ""); /* brings the version up to the other's */
        }
        if (i % 50 == 0)
            test_assert_verified(test);
        if (i % 400 == 0)
            test_reopen(test);
    }
    assert_true(codes[0] > RANDOM_WRITES / 10 && codes[1] > RANDOM_WRITES / 10);
    test_assert_verified(test);
    test_reopen(test);
    test_assert_verified(test);
}

/* A consumer in the bucket that these bytes begin. */
static void put_in_bucket(test_store_t *test, unsigned n, uint8_t first, uint8_t second)
{
    weir_uuid_t id = test_id(n);
    id.bytes[0] = first;
    id.bytes[1] = second;
    test_put_id(test, &id);
}

/* What a store says of the whole. */
typedef struct whole {
    uint64_t version, floor, log_entries, consumers, services;
} whole_t;

static whole_t whole_of(test_store_t *test)
{
    weir_store_numbers_t numbers;
    weir_store_numbers(test->store, &numbers);
    return (whole_t){ weir_store_version(test->store), weir_store_log_floor(test->store),
                      numbers.log_entries, weir_store_count(test->store, WEIR_CONSUMERS),
                      weir_store_count(test->store, WEIR_SERVICES) };
}

static void assert_whole(test_store_t *test, const whole_t *expected)
{
    whole_t found = whole_of(test);
    assert_int_equal(found.version, expected->version);
    assert_int_equal(found.floor, expected->floor);
    assert_int_equal(found.log_entries, expected->log_entries);
    assert_int_equal(found.consumers, expected->consumers);
    assert_int_equal(found.services, expected->services);
    test_assert_verified(test);
}

/* What the log of commits and the tables say together is what was in memory. */
static void assert_kept(test_store_t *test)
{
    whole_t before = whole_of(test);
    test_reopen(test);
    assert_whole(test, &before);
}

/* Enough groups to fold the log of commits several times, with ids of every bucket. */
static void state_and_sums_survive_the_folding_of_their_log(void **state)
{
    enum { WRITES = 300 };
    test_store_t *test = *state;
    weir_store_result_t result;
    test->options.log_entries_max = 20; /* so that the floor moves */
    test_reopen(test);
    for (unsigned i = 0; i < WRITES; i++) {
        put_in_bucket(test, i, (uint8_t)(i * 37), (uint8_t)(i * 11));
        if (i % 13 == 0 || (i > 55 && i < 70) || (i > 120 && i < 135))
            assert_kept(test);
        if (i == 64 || i == 100) /* a count that is none again */
            test_put(test, WEIR_SERVICES, 1000, "");
        if (i == 66 || i == 190)
            assert_int_equal(test_delete(test, WEIR_SERVICES, 1000, &result), WEIR_OK);
    }
    assert_kept(test);
    assert_true(weir_store_log_floor(test->store) > 0);
}

/* -- damage ------------------------------------------------------------------------------------ */

static void count_progress(void *context, uint64_t entities)
{
    assert_true(entities > *(uint64_t *)context);
    *(uint64_t *)context = entities;
}

static void a_damaged_document_is_found_in_its_bucket(void **state)
{
    test_store_t *test = *state;
    put_in_bucket(test, 5, 0xab, 0xcd);
    for (unsigned n = 1; n < 30; n++)
        test_put(test, WEIR_CONSUMERS, n, "");
    weir_digest_t was = newest(test);
    test_execute(test->path,
                 "UPDATE entity SET document=replace(document,'ab','aB') WHERE hex(id) LIKE "
                 "'ABCD%'");
    weir_store_verdict_t verdict = test_verdict(test);
    assert_int_equal(verdict.bad_buckets, 1);
    assert_int_equal(verdict.first_bad_bucket, 0xabc);
    assert_int_equal(verdict.entities, 32);
    assert_same(verdict.kept, was);
    assert_differs(verdict.computed, was);
}

static void a_lost_row_is_found_in_its_bucket(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_CONSUMERS, 1, "");
    test_put(test, WEIR_CONSUMERS, 2, "");
    test_execute(test->path,
                 "DELETE FROM entity WHERE hex(id) LIKE '%01' AND hex(id) LIKE '0000%'");
    weir_store_verdict_t verdict = test_verdict(test);
    assert_int_equal(verdict.bad_buckets, 1);
    assert_int_equal(verdict.first_bad_bucket, 0);
    assert_int_equal(verdict.entities, 3);
}

static void damaged_sums_are_found(void **state)
{
    test_store_t *test = *state;
    test_assert_verified(test);
    test_execute(test->path, "UPDATE commit_log SET sums=x'';"
                             "INSERT OR REPLACE INTO bucket VALUES(77,zeroblob(15)||x'01');"
                             "INSERT OR REPLACE INTO bucket VALUES(4095,zeroblob(15)||x'01');");
    weir_store_verdict_t verdict = test_verdict(test);
    assert_true(verdict.bad_buckets >= 2);
    test_execute(test->path, "INSERT OR REPLACE INTO bucket VALUES(77,x'01')");
    weir_error_t err = { 0 };
    assert_int_equal(weir_store_verify(test->store, NULL, NULL, &verdict, &err), WEIR_CORRUPT);
    test_execute(test->path, "DELETE FROM bucket; UPDATE commit_log SET sums=x'ffff'");
    assert_int_equal(weir_store_verify(test->store, NULL, NULL, &verdict, &err), WEIR_CORRUPT);
    weir_store_t *damaged = NULL;
    assert_int_equal(weir_store_open(&test->options, &damaged, &err), WEIR_CORRUPT);
    test_execute(test->path, "UPDATE commit_log SET sums=x'', counts=x'0102'");
    err = (weir_error_t){ 0 };
    assert_int_equal(weir_store_open(&test->options, &damaged, &err), WEIR_CORRUPT);
    assert_non_null(strstr(err.reason, "a count in the log is damaged"));
}

static void verifying_tells_how_far_it_is(void **state)
{
    test_store_t *test = *state;
    test_execute(test->path,
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<40000) "
                 "INSERT INTO entity SELECT 3,randomblob(16),1,NULL,NULL,zeroblob(16),'{}' FROM n");
    uint64_t told = 0;
    weir_store_verdict_t verdict;
    assert_int_equal(weir_store_verify(test->store, count_progress, &told, &verdict, NULL),
                     WEIR_OK);
    assert_true(told > 0 && told <= verdict.entities);
    assert_true(verdict.bad_buckets > 4000); /* nobody summed those */
}

/* -- migration --------------------------------------------------------------------------------- */

/* Until the tables have everything, and the log of commits nothing: what earlier builds had. */
static void put_until_folded(test_store_t *test)
{
    unsigned n = 1;
    while (test_ask(test->path, "SELECT count(*) FROM commit_log") > 0 && n < 100)
        test_put(test, WEIR_CONSUMERS, n++, "");
    assert_true(n > 1 && n < 100);
}

static void assert_migrates(test_store_t *test, size_t missing)
{
    weir_error_t err = { 0 };
    size_t done = 0;
    assert_int_equal(weir_store_open(&test->options, &test->store, &err), WEIR_NOT_FOUND);
    assert_non_null(strstr(err.reason, "weir migrations up"));
    assert_int_equal(weir_store_migrate(&test->options, &done, NULL), WEIR_OK);
    assert_int_equal(done, missing);
    test_reopen(test);
    test_assert_verified(test);
}

static void a_database_of_the_first_release_gets_its_sums(void **state)
{
    test_store_t *test = *state;
    put_until_folded(test);
    weir_digest_key_t key = *weir_store_digest_key(test->store);
    weir_store_close(test->store);
    test->store = NULL;
    test_execute(test->path, "DROP TABLE bucket; DROP TABLE commit_log;"
                             "DELETE FROM meta WHERE name='digest_key';"
                             "UPDATE meta SET value='1' WHERE name='migrations'");
    assert_migrates(test, 2);
    assert_memory_not_equal(&key, weir_store_digest_key(test->store), sizeof(key));
    key = *weir_store_digest_key(test->store);
    size_t done = 0;
    assert_int_equal(weir_store_migrate(&test->options, &done, NULL), WEIR_OK);
    test_reopen(test);
    assert_memory_equal(&key, weir_store_digest_key(test->store), sizeof(key));
}

/* Its log had sums only; the newest of the counts were always in their table. */
static void a_database_with_a_log_of_sums_keeps_what_is_in_it(void **state)
{
    test_store_t *test = *state;
    put_in_bucket(test, 500, 0xab, 0xcd);
    put_until_folded(test);
    whole_t before = whole_of(test);
    weir_store_close(test->store);
    test->store = NULL;
    test_execute(test->path,
                 "DROP TABLE commit_log;"
                 "CREATE TABLE bucket_log(version INTEGER PRIMARY KEY, sums BLOB NOT NULL);"
                 "INSERT INTO bucket_log SELECT (SELECT value FROM meta WHERE name='version'),"
                 " CAST(x'0abc'||sum AS BLOB) FROM bucket WHERE bucket=2748;"
                 "DELETE FROM bucket WHERE bucket=2748;"
                 "UPDATE meta SET value='2' WHERE name='migrations'");
    assert_int_equal(test_ask(test->path, "SELECT count(*) FROM bucket_log"), 1);
    assert_migrates(test, 1);
    assert_whole(test, &before);
    test_put(test, WEIR_CONSUMERS, 700, "");
    assert_kept(test);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_digest_is_the_sum_of_the_hashes_in_the_protocol),
        TEST(the_same_set_has_the_same_digest_again),
        TEST(what_is_refused_leaves_the_digest_as_it_was),
        TEST(an_expired_row_counts_until_it_is_deleted),
        TEST(every_version_has_the_digest_that_it_had),
        cmocka_unit_test_setup_teardown(the_oldest_digests_are_forgotten, setup_in_memory,
                                        test_teardown),
        TEST(whoever_hears_of_a_version_finds_its_digest),
        cmocka_unit_test_setup_teardown(
            after_random_writes_by_anybody_the_sums_are_those_of_the_documents, setup_in_memory,
            test_teardown),
        TEST(state_and_sums_survive_the_folding_of_their_log),
        TEST(a_damaged_document_is_found_in_its_bucket),
        TEST(a_lost_row_is_found_in_its_bucket),
        TEST(damaged_sums_are_found),
        TEST(verifying_tells_how_far_it_is),
        TEST(a_database_of_the_first_release_gets_its_sums),
        TEST(a_database_with_a_log_of_sums_keeps_what_is_in_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
