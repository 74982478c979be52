/* unsynced_test.c -- the machine goes down, at any moment: what an image holds then.
 *
 * The disk is played: it has the file as of the last fdatasync(), which is ours here, and
 * any of the pages that were written since, by chance (WEIR_SEED). */
#include "image/chance.h"
#include "image/internal.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PAGE_BYTES = 4096, ROUTES = 12 };

/* -- a disk ------------------------------------------------------------------------------ */

static struct {
    uint8_t *bytes; /* what was flushed */
    size_t len;
    atomic_bool playing; /* or this is the next boot's */
    atomic_uint flushes;
    atomic_int failure; /* errno of flushing; 0: it works */
    atomic_bool slow;   /* a flush goes on for as long */
    atomic_bool inside; /* ... one does */
} disk;

static uint8_t *read_all(int file, size_t *ret_len)
{
    struct stat info;
    assert_int_equal(fstat(file, &info), 0);
    *ret_len = (size_t)info.st_size;
    uint8_t *bytes = malloc(*ret_len + 1);
    assert_non_null(bytes);
    assert_int_equal(pread(file, bytes, *ret_len, 0), (ssize_t)*ret_len);
    return bytes;
}

/* Instead of the C library's, for LMDB too. */
__attribute__((visibility("default"))) int fdatasync(int fildes)
{
    if (!disk.playing)
        return 0;
    if (disk.failure != 0) {
        errno = disk.failure;
        return -1;
    }
    size_t len = 0;
    uint8_t *bytes = read_all(fildes, &len); /* what comes meanwhile has no promise */
    atomic_store(&disk.inside, true);
    while (atomic_load(&disk.slow))
        usleep(1000);
    atomic_store(&disk.inside, false);
    free(disk.bytes);
    disk.bytes = bytes;
    disk.len = len;
    disk.flushes++;
    return 0;
}

/* -- threads, a table of readers --------------------------------------------------------------- */

static bool no_threads, readers_full, full_once_grown;

static void find_real(const char *name, void *ret_function)
{
    void *found = dlsym(RTLD_NEXT, name);
    assert_non_null(found);
    memcpy(ret_function, &found, sizeof(found));
}

/* Instead of the C library's. */
__attribute__((visibility("default"))) int pthread_create(pthread_t *thread,
                                                          const pthread_attr_t *attributes,
                                                          void *(*run)(void *), void *context)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = NULL;
    find_real("pthread_create", &real);
    return no_threads ? EAGAIN : real(thread, attributes, run, context);
}

/* Instead of LMDB's: workers may take the last slot between two transactions of the agent. */
__attribute__((visibility("default"))) int mdb_txn_begin(MDB_env *env, MDB_txn *parent,
                                                         unsigned flags, MDB_txn **txn)
{
    int (*real)(MDB_env *, MDB_txn *, unsigned, MDB_txn **) = NULL;
    find_real("mdb_txn_begin", &real);
    return readers_full && (flags & MDB_RDONLY) != 0 ? MDB_READERS_FULL
                                                     : real(env, parent, flags, txn);
}

__attribute__((visibility("default"))) int mdb_env_set_mapsize(MDB_env *env, size_t size)
{
    int (*real)(MDB_env *, size_t) = NULL;
    find_real("mdb_env_set_mapsize", &real);
    readers_full = full_once_grown;
    return real(env, size);
}

/* -- an image, and what a machine that goes down leaves of it -----------------------------------
 */

typedef struct lives {
    fixture_t running;
    fixture_t after;                /* of the next boot */
    unsigned path_of[ROUTES][4096]; /* by version: the number in each route's path */
} lives_t;

static weir_image_options_t options_of(const fixture_t *f)
{
    weir_image_options_t options = fixture_options(f);
    options.sync = true;
    return options;
}

static void open_synced(fixture_t *f)
{
    weir_image_options_t options = options_of(f);
    fixture_ok(f, weir_image_open(&options, &f->image, &f->err));
}

static int setup(void **state)
{
    lives_t *lives = calloc(1, sizeof(*lives));
    assert_non_null(lives);
    memset(&disk, 0, sizeof(disk)); /* no thread is there */
    disk.playing = true;
    fixture_directory(&lives->running);
    fixture_directory(&lives->after);
    open_synced(&lives->running);
    *state = lives;
    return 0;
}

static int teardown(void **state)
{
    lives_t *lives = *state;
    disk.failure = 0;
    atomic_store(&disk.slow, false); /* a flush may be on its way */
    fixture_close(&lives->running);
    fixture_close(&lives->after);
    free(disk.bytes);
    free(lives);
    return 0;
}

static void write_file(const char *folder, const char *name, const void *bytes, size_t len)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0660);
    assert_true(file >= 0);
    assert_int_equal(write(file, bytes, len), (ssize_t)len);
    close(file);
}

static uint8_t *read_file(const char *folder, const char *name, size_t *ret_len)
{
    char path[400];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return NULL;
    uint8_t *bytes = read_all(file, ret_len);
    close(file);
    return bytes;
}

/* `newer`: of 4 pages that were written since the last flush, how many reached the disk. */
static void machine_goes_down(lives_t *lives, unsigned newer)
{
    size_t len = 0, mark_len = 0;
    uint8_t *pages = read_file(lives->running.path, "data.mdb", &len);
    uint8_t *mark = read_file(lives->running.path, "unsynced", &mark_len);
    assert_non_null(pages);
    for (size_t at = 0; at < len; at += PAGE_BYTES)
        if (below(4) >= newer) {
            memset(pages + at, 0, PAGE_BYTES);
            if (at + PAGE_BYTES <= disk.len)
                memcpy(pages + at, disk.bytes + at, PAGE_BYTES);
        }
    fixture_close(&lives->after);
    fixture_directory(&lives->after);
    write_file(lives->after.path, "data.mdb", pages, len);
    if (mark != NULL) {
        memcpy(mark, "00000000", 8); /* another boot */
        write_file(lives->after.path, "unsynced", mark, mark_len);
    }
    free(pages);
    free(mark);
}

static void commit(lives_t *lives)
{
    fixture_t *f = &lives->running;
    unsigned version = (unsigned)f->version + 1;
    assert_true(version < 4096);
    fixture_begin(f, false);
    for (unsigned k = 0; k < ROUTES; k++)
        lives->path_of[k][version] = lives->path_of[k][version - 1];
    for (unsigned times = 1 + below(3); times > 0; times--) {
        unsigned k = below(ROUTES);
        char row[200];
        snprintf(row, sizeof(row),
                 "{\"id\":\"5fd1eb1b-0000-4000-8000-0000000000%02u\",\"paths\":[\"/of%u/in%u\"],"
                 "\"protocols\":[\"http\"]}",
                 k, k, version);
        fixture_put(f, "routes", row);
        lives->path_of[k][version] = version;
    }
    fixture_commit(f);
}

/* What becomes of a commit; it does not count for `lives`. */
static int try_commit(fixture_t *f)
{
    weir_batch_t *batch = NULL;
    fixture_ok(f, weir_batch_begin(f->image, false, f->version + 1, &batch, &f->err));
    return weir_batch_commit(batch, FIXTURE_NOW_MS, &f->err);
}

static uint64_t version_of(fixture_t *f)
{
    weir_image_state_t state;
    fixture_ok(f, weir_image_state(f->image, &state, &f->err));
    return state.version;
}

/* Everything, and nothing else, of its version is there. */
static void assert_whole(lives_t *lives)
{
    fixture_t *f = &lives->after;
    uint64_t version = version_of(f);
    weir_image_verdict_t verdict;
    fixture_ok(f, weir_image_verify(f->image, NULL, NULL, &verdict, &f->err));
    assert_int_equal(verdict.bad_records, 0);
    fixture_open_reader(f);
    for (unsigned k = 0; k < ROUTES; k++) {
        char path[64];
        fixture_request_t request;
        weir_match_t match;
        unsigned in = lives->path_of[k][version];
        for (unsigned other = 1; other <= lives->running.version; other++) {
            snprintf(path, sizeof(path), "/of%u/in%u", k, other);
            fixture_request(&request, "GET", NULL, path);
            /* "/of1/in1" is the beginning of "/of1/in12". */
            bool begins = in != 0 && (other == in || other / 10 == in || other / 100 == in ||
                                      other / 1000 == in);
            assert_int_equal(fixture_match(f, &request, &match), begins ? WEIR_OK : WEIR_NOT_FOUND);
        }
    }
}

static void next_boot(lives_t *lives)
{
    fixture_t *f = &lives->after;
    disk.playing = false;
    /* A worker may be up before the agent. */
    assert_int_equal(weir_reader_open(f->path, &f->reader, &f->err), WEIR_NOT_FOUND);
    open_synced(f);
    assert_whole(lives);
    disk.playing = true;
}

/* -- tests ---------------------------------------------------------------------------------- */

static void settle(lives_t *lives)
{
    fixture_ok(&lives->running, unsynced_settle(lives->running.image, &lives->running.err));
}

/* It has begun when this returns, and goes on until the disk is slow no more. */
static void begin_slow_flush(fixture_t *f)
{
    atomic_store(&disk.slow, true);
    fixture_ok(f, weir_image_settle(f->image, &f->err));
    while (!atomic_load(&disk.inside))
        usleep(1000);
}

/* To the end, if it begins. */
static void flush(lives_t *lives)
{
    fixture_t *f = &lives->running;
    fixture_ok(f, weir_image_flush(f->image, &f->err));
    fixture_ok(f, unsynced_wait(f->image, &f->err));
}

static void whatever_pages_are_lost_the_version_settled_last_is_there(void **state)
{
    lives_t *lives = *state;
    uint64_t settled = 0;
    for (unsigned round = rounds(150); round > 0; round--) {
        commit(lives);
        unsigned before = disk.flushes;
        flush(lives);
        if (disk.flushes != before)
            settled = lives->running.version; /* much has come together */
        if (below(20) == 0) {
            settle(lives);
            settled = lives->running.version;
        }
        machine_goes_down(lives, below(5));
        next_boot(lives);
        assert_int_equal(version_of(&lives->after), settled);
    }
}

/* The file has as many pages as the rows between two times of settling write. */
static void what_is_held_is_let_go_of(void **state)
{
    enum { COMMITS = 1200 };
    lives_t *lives = *state;
    fixture_t *f = &lives->running;
    weir_image_state_t early, late;
    for (unsigned i = 0; i < COMMITS; i++) {
        commit(lives);
        flush(lives);
        if (i == COMMITS / 4)
            fixture_ok(f, weir_image_state(f->image, &early, &f->err));
    }
    fixture_ok(f, weir_image_state(f->image, &late, &f->err));
    assert_true(disk.flushes > 10);
    assert_true(disk.flushes < COMMITS / 10);
    assert_in_range(late.bytes_used, early.bytes_used, early.bytes_used + early.bytes_used / 4);
}

static void a_map_that_grows_loses_nothing(void **state)
{
    lives_t *lives = *state;
    fixture_t *f = &lives->running;
    for (unsigned i = 0; i < 5; i++)
        commit(lives);
    fixture_ok(f, weir_image_grow(f->image, &f->err));
    uint64_t settled = f->version;
    for (unsigned i = 0; i < 5; i++)
        commit(lives);
    machine_goes_down(lives, 1);
    next_boot(lives);
    assert_int_equal(version_of(&lives->after), settled);
}

static void a_mark_of_which_half_is_there_is_not_believed(void **state)
{
    lives_t *lives = *state;
    commit(lives);
    settle(lives);
    machine_goes_down(lives, 4);
    size_t len = 0;
    uint8_t *mark = read_file(lives->after.path, "unsynced", &len);
    assert_non_null(mark);
    write_file(lives->after.path, "unsynced", mark, len / 2);
    free(mark);
    weir_image_options_t options = options_of(&lives->after);
    assert_int_equal(weir_image_open(&options, &lives->after.image, &lives->after.err),
                     WEIR_CORRUPT);
}

static void the_next_boot_goes_on_from_there(void **state)
{
    lives_t *lives = *state;
    for (unsigned i = 0; i < 20; i++) {
        commit(lives);
        if (i == 15)
            settle(lives);
    }
    machine_goes_down(lives, 2);
    next_boot(lives);
    fixture_t *f = &lives->after;
    disk.playing = false;
    f->version = version_of(f);
    fixture_put_alone(f, "routes",
                      "{\"id\":\"5fd1eb1b-0000-4000-8000-000000000099\",\"paths\":[\"/new\"],"
                      "\"protocols\":[\"http\"]}");
    weir_reader_close(f->reader);
    weir_image_close(f->image); /* as a process that dies: the mark is of this boot */
    open_synced(f);
    fixture_open_reader(f);
    assert_int_equal(version_of(f), f->version);
    fixture_request_t request;
    weir_match_t match;
    fixture_request(&request, "GET", NULL, "/new");
    assert_int_equal(fixture_match(f, &request, &match), WEIR_OK);
}

static void a_commit_serves_before_it_is_flushed(void **state)
{
    lives_t *lives = *state;
    fixture_t *f = &lives->running;
    commit(lives);
    settle(lives);
    unsigned before = disk.flushes;
    commit(lives);
    commit(lives);
    assert_int_equal(disk.flushes, before);
    assert_int_equal(version_of(f), f->version);
    settle(lives);
    assert_int_equal(disk.flushes, before + 1);
    settle(lives); /* nothing to do */
    assert_int_equal(disk.flushes, before + 1);
}

static void after_a_flush_that_failed_nothing_is_taken_and_the_disk_not_believed(void **state)
{
    lives_t *lives = *state;
    fixture_t *f = &lives->running;
    commit(lives);
    disk.failure = EIO;
    assert_int_equal(unsynced_settle(f->image, &f->err), WEIR_IO);
    assert_int_equal(try_commit(f), WEIR_IO);
    assert_int_equal(version_of(f), f->version); /* which serves on */
    disk.failure = 0;
    commit(lives);
    fixture_ok(f, unsynced_settle(f->image, &f->err));
    machine_goes_down(lives, 4);
    weir_image_options_t options = options_of(&lives->after);
    assert_int_equal(weir_image_open(&options, &lives->after.image, &lives->after.err),
                     WEIR_CORRUPT);
}

/* What is there is the version before until the flush has ended, then the one with which it
 * began; and what came meanwhile with the next flush. As many commits as it takes until pages
 * of the former would be written over, were they not held. */
static void commits_go_on_while_the_disk_flushes(void **state)
{
    enum { BETWEEN = 20, MEANWHILE = 60, CRASHES = 6 };
    lives_t *lives = *state;
    fixture_t *f = &lives->running;
    for (unsigned round = rounds(5); round > 0; round--) {
        commit(lives);
        settle(lives);
        uint64_t before = f->version;
        for (unsigned i = 0; i < BETWEEN; i++)
            commit(lives);
        uint64_t begun = f->version;
        begin_slow_flush(f);
        for (unsigned i = 1; i <= MEANWHILE; i++) {
            commit(lives);
            fixture_ok(f, weir_image_flush(f->image, &f->err));
            fixture_ok(f, weir_image_settle(f->image, &f->err));
            assert_non_null(f->image->flushing);
            if (i % (MEANWHILE / CRASHES) != 0)
                continue;
            machine_goes_down(lives, below(5));
            next_boot(lives);
            assert_int_equal(version_of(&lives->after), before);
        }
        atomic_store(&disk.slow, false);
        fixture_ok(f, unsynced_wait(f->image, &f->err));
        machine_goes_down(lives, below(5));
        next_boot(lives);
        assert_int_equal(version_of(&lives->after), begun);
        fixture_ok(f, weir_image_settle(f->image, &f->err));
        fixture_ok(f, unsynced_wait(f->image, &f->err));
        machine_goes_down(lives, below(5));
        next_boot(lives);
        assert_int_equal(version_of(&lives->after), f->version);
    }
}

static void without_a_thread_it_is_flushed_at_once(void **state)
{
    lives_t *lives = *state;
    fixture_t *f = &lives->running;
    commit(lives);
    no_threads = true;
    fixture_ok(f, weir_image_settle(f->image, &f->err));
    no_threads = false;
    machine_goes_down(lives, 0);
    next_boot(lives);
    assert_int_equal(version_of(&lives->after), f->version);
    fixture_ok(f, unsynced_wait(f->image, &f->err));
    commit(lives);
}

static void a_flush_that_fails_on_its_way_ends_the_taking(void **state)
{
    lives_t *lives = *state;
    fixture_t *f = &lives->running;
    commit(lives);
    disk.failure = EIO;
    fixture_ok(f, weir_image_settle(f->image, &f->err)); /* it begins */
    int rc = WEIR_OK;
    for (unsigned tries = 0; rc == WEIR_OK && tries < 5000; tries++, usleep(1000))
        rc = weir_image_flush(f->image, &f->err);
    assert_int_equal(rc, WEIR_IO);
    assert_int_equal(try_commit(f), WEIR_IO);
    disk.failure = 0;
    commit(lives);
}

/* What comes while the disk stands still has a bound: then it is waited for. */
static void a_disk_that_stands_still_is_waited_for_in_the_end(void **state)
{
    lives_t *lives = *state;
    fixture_t *f = &lives->running;
    commit(lives);
    unsigned before = disk.flushes;
    begin_slow_flush(f);
    commit(lives);
    f->image->unsettled_pages += 1000;
    fixture_ok(f, weir_image_flush(f->image, &f->err));
    assert_non_null(f->image->flushing);
    f->image->unsettled_pages += 1000000;
    atomic_store(&disk.slow, false);
    fixture_ok(f, weir_image_flush(f->image, &f->err)); /* until that one has ended */
    assert_in_range(disk.flushes, before + 1, before + 2);
    fixture_ok(f, unsynced_wait(f->image, &f->err));
}

static void what_cannot_be_held_is_not_written_over(void **state)
{
    lives_t *lives = *state;
    fixture_t *f = &lives->running;
    for (unsigned i = 0; i < 5; i++)
        commit(lives);
    full_once_grown = true;
    int grown = weir_image_grow(f->image, &f->err);
    full_once_grown = false;
    assert_true(readers_full);
    uint64_t settled = f->version;
    for (unsigned tries = 0; tries < 3; tries++)
        assert_int_not_equal(try_commit(f), WEIR_OK);
    readers_full = false;
    assert_int_not_equal(grown, WEIR_OK);
    assert_int_equal(version_of(f), settled); /* which serves on */
    machine_goes_down(lives, 1);
    next_boot(lives);
    assert_int_equal(version_of(&lives->after), settled);
    for (unsigned i = 0; i < 5; i++)
        commit(lives); /* it can be held again: the first of these did */
    machine_goes_down(lives, 2);
    next_boot(lives);
    assert_int_equal(version_of(&lives->after), settled);
}

static void an_image_that_was_closed_in_order_is_believed(void **state)
{
    lives_t *lives = *state;
    fixture_t *f = &lives->running;
    commit(lives);
    fixture_ok(f, weir_image_sync(f->image, &f->err));
    machine_goes_down(lives, 0);
    disk.playing = false;
    open_synced(&lives->after);
    assert_whole(lives);
    assert_int_equal(version_of(&lives->after), f->version);
}

static void what_has_no_older_commit_is_not_believed(void **state)
{
    lives_t *lives = *state;
    static const uint8_t nothing[2 * PAGE_BYTES];
    commit(lives);
    machine_goes_down(lives, 4);
    write_file(lives->after.path, "data.mdb", nothing, sizeof(nothing));
    weir_image_options_t options = options_of(&lives->after);
    assert_int_equal(weir_image_open(&options, &lives->after.image, &lives->after.err),
                     WEIR_CORRUPT);
}

int main(void)
{
    start_random();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whatever_pages_are_lost_the_version_settled_last_is_there,
                                        setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_held_is_let_go_of, setup, teardown),
        cmocka_unit_test_setup_teardown(a_map_that_grows_loses_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(commits_go_on_while_the_disk_flushes, setup, teardown),
        cmocka_unit_test_setup_teardown(without_a_thread_it_is_flushed_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flush_that_fails_on_its_way_ends_the_taking, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_disk_that_stands_still_is_waited_for_in_the_end, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_held_is_not_written_over, setup, teardown),
        cmocka_unit_test_setup_teardown(a_mark_of_which_half_is_there_is_not_believed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_next_boot_goes_on_from_there, setup, teardown),
        cmocka_unit_test_setup_teardown(a_commit_serves_before_it_is_flushed, setup, teardown),
        cmocka_unit_test_setup_teardown(
            after_a_flush_that_failed_nothing_is_taken_and_the_disk_not_believed, setup, teardown),
        cmocka_unit_test_setup_teardown(an_image_that_was_closed_in_order_is_believed, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_has_no_older_commit_is_not_believed, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
