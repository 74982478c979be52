/* fault_test.c -- what goes wrong outside: a kill at any moment, a disk that is
 * full or broken at any write, memory that ends at any allocation. What was
 * acknowledged is there, what was refused is not, and the store goes on. */
#include "store/digest_fixture.h"
#include "store/faulty_vfs.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { KILLS = 20, KILL_THREADS = 4, KILL_MS_MAX = 60, FAULTS_MAX = 2000 };

/* -- kill -9 -------------------------------------------------------------------------------- */

typedef struct acknowledgement {
    unsigned number; /* of the row */
    uint64_t version;
} acknowledgement_t;

typedef struct victim {
    weir_store_t *store;
    unsigned first;
    int pipe;
} victim_t;

static weir_json_t *row_of(unsigned n)
{
    char members[512];
    char padding[256];
    memset(padding, 'x', sizeof(padding));
    snprintf(members, sizeof(members), "\"username\":\"user-%u\",\"tags\":[\"%.*s\"]", n,
             (int)(n % 200), padding);
    return test_entity(n, members);
}

/* In the child, until it is killed. */
static void *write_for_ever(void *context)
{
    victim_t *victim = context;
    for (unsigned i = 0;; i++) {
        unsigned n = victim->first + i;
        weir_json_t *entity = row_of(n);
        weir_store_op_t op = { WEIR_STORE_PUT, WEIR_CONSUMERS, test_id(n), entity,
                               WEIR_EXPECT_ABSENT };
        weir_store_result_t result;
        if (weir_store_write(victim->store, &op, 1, &result, NULL) != WEIR_OK)
            _exit(3);
        weir_json_free(entity);
        acknowledgement_t done = { n, result.version };
        if (write(victim->pipe, &done, sizeof(done)) != sizeof(done))
            _exit(4);
    }
    return NULL;
}

static _Noreturn void be_killed(const weir_store_options_t *options, unsigned first, int out)
{
    weir_store_t *store = NULL;
    pthread_t threads[KILL_THREADS];
    victim_t victims[KILL_THREADS];
    if (weir_store_open(options, &store, NULL) != WEIR_OK)
        _exit(2);
    for (unsigned i = 0; i < KILL_THREADS; i++) {
        victims[i] = (victim_t){ store, first + i * 100000, out };
        if (pthread_create(&threads[i], NULL, write_for_ever, &victims[i]) != 0)
            _exit(2);
    }
    pthread_join(threads[0], NULL);
    _exit(5);
}

static void assert_row_is_there(test_store_t *test, const acknowledgement_t *done)
{
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, 1 << 20);
    WEIR_AUTO(json) weir_json_t *expected = row_of(done->number);
    WEIR_AUTO(json) weir_json_t *found = NULL;
    weir_uuid_t id = test_id(done->number);
    weir_row_t row;
    if (weir_store_get(test->store, WEIR_CONSUMERS, &id, &arena, &row, NULL) != WEIR_OK)
        fail_msg("row %u of version %" PRIu64 " was acknowledged and is lost", done->number,
                 done->version);
    assert_int_equal(row.version, done->version);
    assert_int_equal(weir_json_parse(row.document, &found, NULL), WEIR_OK);
    assert_true(weir_json_equal(found, expected));
}

/* Returns how many writes had been acknowledged. */
static unsigned kill_once(test_store_t *test, unsigned run, useconds_t after_us)
{
    int ends[2];
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        close(ends[0]);
        be_killed(&test->options, (run + 1) * 1000000, ends[1]);
    }
    close(ends[1]);
    usleep(after_us);
    assert_int_equal(kill(child, SIGKILL), 0);
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status)); /* not an exit of its own */

    test_reopen(test);
    unsigned count = 0;
    acknowledgement_t done;
    for (; read(ends[0], &done, sizeof(done)) == (ssize_t)sizeof(done); count++)
        assert_row_is_there(test, &done);
    close(ends[0]);
    weir_store_close(test->store);
    test->store = NULL;
    return count;
}

static void a_kill_at_any_moment_loses_nothing_acknowledged(void **state)
{
    test_store_t *test = *state;
    weir_store_close(test->store); /* a fork must not inherit it */
    test->store = NULL;
    unsigned seed = (unsigned)getpid();
    unsigned acknowledged = 0;
    for (unsigned run = 0; run < KILLS; run++)
        acknowledged += kill_once(test, run, 5000 + (useconds_t)rand_r(&seed) % 1000 * KILL_MS_MAX);
    assert_true(acknowledged > KILLS);
    test_reopen(test);
    test_assert_verified(test);
    test_assert_log_adds_up(test);
    assert_true(weir_store_count(test->store, WEIR_CONSUMERS) >= acknowledged);
}

static void a_kill_while_migrating_leaves_what_can_be_migrated(void **state)
{
    test_store_t *test = *state;
    weir_store_close(test->store);
    test->store = NULL;
    unsigned seed = (unsigned)getpid();
    for (unsigned run = 0; run < KILLS; run++) {
        assert_int_equal(weir_store_reset(&test->options, NULL), WEIR_OK);
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            size_t done = 0;
            _exit(weir_store_migrate(&test->options, &done, NULL));
        }
        usleep((useconds_t)rand_r(&seed) % 5000);
        kill(child, SIGKILL);
        assert_int_equal(waitpid(child, NULL, 0), child);
        size_t done = 0;
        weir_error_t err = { 0 };
        if (weir_store_migrate(&test->options, &done, &err) != WEIR_OK)
            fail_msg("migrate: %s", err.reason);
        test_reopen(test);
        assert_int_equal(weir_store_version(test->store), 1);
        assert_int_equal(weir_store_count(test->store, WEIR_WORKSPACES), 1);
        weir_store_close(test->store);
        test->store = NULL;
    }
}

/* -- disks ------------------------------------------------------------------------------------ */

static void look_at_the_log(void *context, uint64_t version)
{
    (void)version;
    unsigned *dirty = context;
    *dirty += faulty.log_dirty;
}

static void a_commit_is_synced_before_anybody_hears_of_it(void **state)
{
    test_store_t *test = *state;
    unsigned dirty = 0;
    weir_store_watch(test->store, look_at_the_log, &dirty);
    int syncs = faulty.log_syncs;
    for (unsigned n = 1; n <= 10; n++)
        test_put(test, WEIR_CONSUMERS, n, "");
    assert_int_equal(dirty, 0);
    assert_true(faulty.log_syncs >= syncs + 10);
}

static void the_pages_of_a_lone_write_go_to_the_log_in_one_call(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_CONSUMERS, 1, ""); /* the first one begins the log */
    int writes = faulty.log_writes;
    for (unsigned n = 2; n <= 11; n++)
        test_put(test, WEIR_CONSUMERS, n, "");
    assert_int_equal(faulty.log_writes, writes + 10);
}

/* Pages that no longer fit in memory go to the log before the commit, and come back from it. */
static void a_write_larger_than_the_cache_finds_what_it_wrote(void **state)
{
    enum { OPS = 4000, MIXED = 1237, BYTES = 4000 };
    test_store_t *test = *state;
    static weir_store_op_t ops[2 * OPS];
    static weir_json_t *entities[OPS];
    char members[BYTES + 32];
    for (unsigned i = 0; i < OPS; i++) {
        unsigned n = 1 + i * MIXED % OPS;
        unsigned len = (unsigned)snprintf(members, sizeof(members), "\"custom_id\":\"");
        memset(members + len, 'a' + (int)(n % 26), BYTES);
        snprintf(members + len + BYTES, sizeof(members) - len - BYTES, "%u\"", n);
        entities[i] = test_entity(n, members);
        ops[i] = (weir_store_op_t){ WEIR_STORE_PUT, WEIR_CONSUMERS, test_id(n), entities[i],
                                    WEIR_EXPECT_ABSENT };
        ops[2 * OPS - 1 - i] = (weir_store_op_t){ WEIR_STORE_DELETE, WEIR_CONSUMERS, test_id(n),
                                                  NULL, WEIR_EXPECT_ANYTHING };
    }
    weir_store_result_t result;
    weir_error_t err = { 0 };
    int writes = faulty.log_writes;
    assert_int_equal(weir_store_write(test->store, ops, OPS + OPS / 2, &result, &err), WEIR_OK);
    assert_true(faulty.log_writes > writes + 10);
    for (unsigned i = 0; i < OPS; i++)
        weir_json_free(entities[i]);
    assert_int_equal(weir_store_count(test->store, WEIR_CONSUMERS), OPS / 2);
    test_assert_verified(test);
    test_reopen(test);
    test_assert_verified(test);
    test_assert_log_adds_up(test);
}

static int put_three(test_store_t *test, unsigned first, weir_store_result_t *result,
                     weir_error_t *err)
{
    weir_json_t *entities[3];
    weir_store_op_t ops[3];
    for (unsigned i = 0; i < 3; i++) {
        entities[i] = row_of(first + i);
        ops[i] = (weir_store_op_t){ WEIR_STORE_PUT, WEIR_CONSUMERS, test_id(first + i), entities[i],
                                    WEIR_EXPECT_ABSENT };
    }
    int rc = weir_store_write(test->store, ops, 3, result, err);
    for (unsigned i = 0; i < 3; i++)
        weir_json_free(entities[i]);
    return rc;
}

static void every_failing_call_of_the_disk_refuses_the_write(test_store_t *test, int code,
                                                             int expected)
{
    weir_error_t err = { 0 };
    weir_store_result_t result;
    unsigned failures = 0;
    for (int n = 1; n < FAULTS_MAX; n++) {
        uint64_t version = weir_store_version(test->store);
        unsigned first = 10 * (unsigned)n;
        faulty.code = code;
        faulty.failures = 0;
        faulty.countdown = n;
        int rc = put_three(test, first, &result, &err);
        faulty.countdown = 0;
        if (rc == WEIR_OK) {
            assert_int_equal(faulty.failures, 0); /* nothing that failed was said to be stored */
            assert_true(failures > 0);
            test_assert_verified(test);
            test_reopen(test);
            test_assert_verified(test);
            test_assert_log_adds_up(test);
            return;
        }
        failures++;
        assert_int_equal(rc, expected);
        assert_int_equal(err.code, expected);
        assert_true(err.reason[0] != '\0');
        assert_false(result.changed);
        assert_int_equal(weir_store_version(test->store), version);
        assert_false(test_exists(test, WEIR_CONSUMERS, first));
        test_assert_verified(test);
        assert_int_equal(put_three(test, first, &result, &err), WEIR_OK); /* usable again */
        assert_int_equal(result.version, version + 1);
    }
    fail_msg("no run ended without a failure");
}

static void a_broken_disk_refuses_the_write_wherever_it_breaks(void **state)
{
    every_failing_call_of_the_disk_refuses_the_write(*state, SQLITE_IOERR_WRITE, WEIR_IO);
}

static void a_full_disk_refuses_the_write_wherever_it_is_full(void **state)
{
    every_failing_call_of_the_disk_refuses_the_write(*state, SQLITE_FULL, WEIR_FULL);
}

typedef struct refused {
    test_store_t *test;
    unsigned first;
    int code;
    weir_error_t err;
} refused_t;

static void *write_when_full(void *context)
{
    refused_t *refused = context;
    weir_store_result_t result;
    refused->code = put_three(refused->test, refused->first, &result, &refused->err);
    return NULL;
}

static void everybody_in_a_group_hears_that_the_disk_is_full(void **state)
{
    test_store_t *test = *state;
    uint64_t version = weir_store_version(test->store);
    pthread_t threads[8];
    refused_t refused[8];
    faulty.code = SQLITE_FULL;
    faulty.countdown = 1;
    for (unsigned i = 0; i < 8; i++) {
        refused[i] = (refused_t){ .test = test, .first = 10 * (i + 1) };
        assert_int_equal(pthread_create(&threads[i], NULL, write_when_full, &refused[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(refused[i].code, WEIR_FULL);
        assert_non_null(strstr(refused[i].err.reason, "full"));
    }
    faulty.countdown = 0;
    assert_int_equal(weir_store_version(test->store), version);
    assert_int_equal(weir_store_count(test->store, WEIR_CONSUMERS), 0);
    test_put(test, WEIR_CONSUMERS, 1, "");
    test_assert_log_adds_up(test);
    test_assert_verified(test);
}

/* A file system of 4 MB; false where this may not be made. */
static bool mount_small(const char *at)
{
    return mount("none", at, "tmpfs", 0, "size=4m,mode=700") == 0;
}

static unsigned fill(test_store_t *test, unsigned first, weir_error_t *err)
{
    for (unsigned n = first;; n++) {
        WEIR_AUTO(json) weir_json_t *entity = row_of(n);
        weir_store_op_t op = { WEIR_STORE_PUT, WEIR_CONSUMERS, test_id(n), entity,
                               WEIR_EXPECT_ANYTHING };
        weir_store_result_t result;
        int rc = weir_store_write(test->store, &op, 1, &result, err);
        if (rc == WEIR_FULL)
            return n - first;
        if (rc != WEIR_OK)
            fail_msg("write: %s %s", weir_code_name(rc), err->reason);
        assert_true(n < first + 100000);
    }
}

static void on_a_real_full_disk_nothing_is_lost_and_writing_goes_on_after_space_is_made(
    void **state)
{
    (void)state;
    char at[] = P_tmpdir "/weir-full-XXXXXX";
    assert_non_null(mkdtemp(at));
    if (!mount_small(at)) {
        rmdir(at);
        skip();
    }
    char ballast[64];
    snprintf(ballast, sizeof(ballast), "%s/ballast", at);
    int fd = creat(ballast, 0600);
    static const char zeros[1 << 20];
    bool loaded = write(fd, zeros, sizeof(zeros)) == sizeof(zeros);
    close(fd);
    test_store_t test;
    test_create(&test, at);
    weir_error_t err = { 0 };
    unsigned stored = fill(&test, 1, &err);
    bool reads = true;
    for (unsigned n = 1; n <= stored; n++)
        reads &= test_exists(&test, WEIR_CONSUMERS, n);
    bool cut = test_exists(&test, WEIR_CONSUMERS, stored + 1);
    unlink(ballast);
    unsigned more = fill(&test, stored + 1, &err);
    weir_store_close(test.store);
    test.store = NULL;
    weir_error_t reopening = { 0 };
    int rc = weir_store_open(&test.options, &test.store, &reopening);
    uint64_t count = rc == WEIR_OK ? weir_store_count(test.store, WEIR_CONSUMERS) : 0;
    test_destroy(&test);
    umount(at); /* before anything is asserted, so that it does not stay */
    rmdir(at);
    print_message("%u rows, then %u more\n", stored, more);
    assert_true(loaded);
    assert_true(stored > 50 && reads && !cut);
    assert_non_null(strstr(err.reason, "full"));
    assert_true(more > 0);
    assert_int_equal(rc, WEIR_OK);
    assert_int_equal(count, stored + more);
}

/* -- memory -------------------------------------------------------------------------------------
 */

static atomic_int sqlite_countdown; /* as faulty.countdown, of SQLite's allocations */

static bool sqlite_memory_ends(void)
{
    if (sqlite_countdown > 1)
        sqlite_countdown--;
    return sqlite_countdown == 1;
}

static void *sqlite_malloc(int bytes)
{
    return sqlite_memory_ends() ? NULL : malloc((size_t)bytes);
}

static void *sqlite_realloc(void *block, int bytes)
{
    return sqlite_memory_ends() ? NULL : realloc(block, (size_t)bytes);
}

static int sqlite_size(void *block)
{
    return block != NULL ? (int)malloc_usable_size(block) : 0;
}

static int sqlite_roundup(int bytes)
{
    return (bytes + 7) & ~7;
}

static int sqlite_nothing(void *unused)
{
    (void)unused;
    return SQLITE_OK;
}

static void sqlite_nothing_at_end(void *unused)
{
    (void)unused;
}

/* One of everything. Returns the first code that is not WEIR_OK. */
static int use_everything(test_store_t *test, weir_json_t *entity, unsigned n)
{
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, 1 << 20);
    weir_error_t err = { 0 };
    weir_store_result_t result;
    weir_row_t row;
    weir_rows_t rows;
    size_t expired = 0;
    weir_str_t tags[] = { WEIR_STR("a"), WEIR_STR("b") };
    weir_store_query_t query = { .type = WEIR_CONSUMERS, .limit = 3 };
    weir_store_query_t tagged = {
        .type = WEIR_CONSUMERS, .tags = tags, .tag_count = 2, .limit = 3
    };
    weir_store_verdict_t verdict;
    weir_store_op_t ops[] = {
        { WEIR_STORE_PUT, WEIR_CONSUMERS, test_id(n), entity, WEIR_EXPECT_ANYTHING },
        { WEIR_STORE_DELETE, WEIR_CONSUMERS, test_id(2), NULL, WEIR_EXPECT_ANYTHING },
    };
    int rc = weir_store_write(test->store, ops, 2, &result, &err);
    if (rc == WEIR_OK)
        rc = weir_store_get(test->store, WEIR_CONSUMERS, &ops[0].id, &arena, &row, &err);
    if (rc == WEIR_OK)
        rc = weir_store_find(test->store, WEIR_CONSUMERS, "username", WEIR_STR("u"), &arena, &row,
                             &err);
    if (rc == WEIR_OK)
        rc = weir_store_list(test->store, &query, &arena, &rows, &err);
    if (rc == WEIR_OK)
        rc = weir_store_list(test->store, &tagged, &arena, &rows, &err);
    if (rc == WEIR_OK)
        rc = weir_store_expire(test->store, 0, 3, &expired, &err);
    if (rc == WEIR_OK)
        rc = weir_store_put_data_plane(test->store, &ops[0].id, WEIR_STR("x"), INT64_MAX, &err);
    if (rc == WEIR_OK)
        rc = weir_store_verify(test->store, NULL, NULL, &verdict, &err);
    if (rc != WEIR_OK)
        assert_int_equal(rc, err.code);
    return rc;
}

static void run_out_of_memory(test_store_t *test, bool of_sqlite)
{
    test_put(test, WEIR_CONSUMERS, 1, "\"username\":\"u\",\"tags\":[\"a\",\"b\"]");
    unsigned failures = 0;
    for (int n = 1; n < FAULTS_MAX; n++) {
        char members[64];
        snprintf(members, sizeof(members), "\"username\":\"n%d\"", n);
        WEIR_AUTO(json) weir_json_t *entity = test_entity(100 + (unsigned)n, members);
        test_put(test, WEIR_CONSUMERS, 2, "\"tags\":[\"a\"]");
        if (of_sqlite)
            sqlite_countdown = n + 1;
        else
            weir_test_fail_allocation((unsigned)n);
        int rc = use_everything(test, entity, 100 + (unsigned)n);
        sqlite_countdown = 0;
        weir_test_fail_allocation(0);
        test_assert_verified(test);
        if (rc == WEIR_OK && failures > 0) {
            test_assert_log_adds_up(test);
            return;
        }
        if (rc != WEIR_NO_MEMORY)
            fail_msg("allocation %d: %s", n, weir_code_name(rc));
        failures++;
        if (n % 8 == 0)
            test_reopen(test); /* statements are prepared anew */
    }
    fail_msg("no run ended without a failure");
}

static void every_allocation_may_fail(void **state)
{
    run_out_of_memory(*state, false);
}

static void every_allocation_of_the_database_may_fail(void **state)
{
    run_out_of_memory(*state, true);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

int main(void)
{
    static const sqlite3_mem_methods memory = { sqlite_malloc,         free,
                                                sqlite_realloc,        sqlite_size,
                                                sqlite_roundup,        sqlite_nothing,
                                                sqlite_nothing_at_end, NULL };
    if (sqlite3_config(SQLITE_CONFIG_MALLOC, &memory) != SQLITE_OK)
        return 1;
    faulty_install();
    const struct CMUnitTest tests[] = {
        TEST(a_kill_at_any_moment_loses_nothing_acknowledged),
        TEST(a_kill_while_migrating_leaves_what_can_be_migrated),
        TEST(a_commit_is_synced_before_anybody_hears_of_it),
        TEST(the_pages_of_a_lone_write_go_to_the_log_in_one_call),
        TEST(a_write_larger_than_the_cache_finds_what_it_wrote),
        TEST(a_broken_disk_refuses_the_write_wherever_it_breaks),
        TEST(a_full_disk_refuses_the_write_wherever_it_is_full),
        TEST(everybody_in_a_group_hears_that_the_disk_is_full),
        cmocka_unit_test(
            on_a_real_full_disk_nothing_is_lost_and_writing_goes_on_after_space_is_made),
        TEST(every_allocation_may_fail),
        TEST(every_allocation_of_the_database_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
