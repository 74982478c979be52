/* stage_test.c -- a set that is filled beside the one that serves, in parts, by a process
 * that may die at any moment, and takes its place in one step. */
#include "image/rows.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static const weir_digest_key_t some_key = { { 1, 2, 3 } };

enum { ROUTES = 60, PER_PAGE = 4 };

/* Every route of a generation is named after it. */
static int put_route(weir_batch_t *batch, uint64_t generation, unsigned i, weir_error_t *err)
{
    char text[256];
    WEIR_AUTO(json) weir_json_t *row = NULL;
    snprintf(text, sizeof(text),
             "{\"id\":\"40000000-0000-4000-8000-%012u\",\"name\":\"g%" PRIu64 "-%u\","
             "\"paths\":[\"/%u\"]}",
             i, generation, i, i);
    int rc = weir_json_parse(weir_str(text), &row, err);
    return rc == WEIR_OK ? weir_batch_put(batch, WEIR_STR("routes"), row, err) : rc;
}

/* The next page, from where the stage's cursor says. */
static int put_page(weir_image_t *image, weir_error_t *err)
{
    weir_stage_t stage;
    weir_batch_t *batch = NULL;
    int rc = weir_image_stage(image, &stage, err);
    if (rc == WEIR_OK)
        rc = weir_batch_begin(image, false, stage.snapshot, &batch, err);
    unsigned at = (unsigned)strtoul(stage.cursor, NULL, 10);
    for (unsigned i = at; rc == WEIR_OK && i < at + PER_PAGE; i++)
        rc = put_route(batch, stage.snapshot, i, err);
    if (rc != WEIR_OK) {
        weir_batch_abort(batch);
        return rc;
    }
    snprintf(stage.cursor, sizeof(stage.cursor), "%u", at + PER_PAGE);
    stage.pages_done = at + PER_PAGE >= ROUTES;
    stage.seen = stage.snapshot;
    stage.expected = ROUTES;
    weir_batch_stage(batch, &stage);
    return weir_batch_commit(batch, FIXTURE_NOW_MS, err);
}

static int fill(weir_image_t *image, weir_error_t *err)
{
    weir_stage_t stage;
    int rc = weir_image_stage(image, &stage, err);
    while (rc == WEIR_OK && !stage.pages_done) {
        rc = put_page(image, err);
        if (rc == WEIR_OK)
            rc = weir_image_stage(image, &stage, err);
    }
    return rc;
}

static int write_full(weir_image_t *image, uint64_t generation, weir_error_t *err)
{
    weir_batch_t *batch = NULL;
    int rc = weir_batch_begin(image, true, generation, &batch, err);
    for (unsigned i = 0; rc == WEIR_OK && i < ROUTES; i++)
        rc = put_route(batch, generation, i, err);
    if (rc == WEIR_OK)
        return weir_batch_commit(batch, FIXTURE_NOW_MS, err);
    weir_batch_abort(batch);
    return rc;
}

/* The generation that the reader sees; UINT64_MAX: a mixture. */
static uint64_t read_generation(weir_reader_t *reader)
{
    weir_error_t err;
    weir_image_state_t state = { 0 };
    bool whole = true;
    if (weir_reader_enter(reader, &err) != WEIR_OK)
        return UINT64_MAX;
    weir_reader_state(reader, &state, &err);
    for (unsigned i = 0; state.version > 0 && i < ROUTES; i++) {
        fixture_request_t request;
        char path[32], name[64];
        weir_match_t match;
        snprintf(path, sizeof(path), "/%u/", i);
        snprintf(name, sizeof(name), "g%" PRIu64 "-%u", state.version, i);
        fixture_request(&request, "GET", "x", path);
        int rc = weir_reader_match(reader, &request.match, &match, &err);
        whole = whole && rc == WEIR_OK && weir_str_is(match.route.name, name);
    }
    weir_reader_leave(reader);
    return whole ? state.version : UINT64_MAX;
}

static const char *beside(const fixture_t *f, const char *suffix)
{
    static char path[300];
    snprintf(path, sizeof(path), "%s%s", f->path, suffix);
    return path;
}

static bool there(const fixture_t *f, const char *suffix)
{
    return access(beside(f, suffix), F_OK) == 0;
}

static weir_image_t *open_stage(fixture_t *f, uint64_t snapshot)
{
    weir_image_t *stage = NULL;
    fixture_ok(f, weir_image_stage_open(f->image, snapshot, &stage, &f->err));
    return stage;
}

/* Closing an environment frees the slots of all readers of this process. */
static void reopen(fixture_t *f)
{
    weir_image_options_t options = fixture_options(f);
    weir_reader_close(f->reader);
    weir_image_close(f->image);
    f->image = NULL;
    fixture_ok(f, weir_image_open(&options, &f->image, &f->err));
    fixture_open_reader(f);
}

/* -- filling -------------------------------------------------------------------------------------
 */

static void a_stage_serves_nobody_until_it_takes_the_place(void **state)
{
    fixture_t *f = *state;
    fixture_ok(f, weir_image_set_digest_key(f->image, &some_key, &f->err));
    fixture_ok(f, write_full(f->image, 1, &f->err));
    uint64_t routing = routing_of(f);
    weir_image_t *stage = open_stage(f, 2);
    fixture_ok(f, fill(stage, &f->err));
    assert_int_equal(read_generation(f->reader), 1);
    weir_image_state_t filled;
    fixture_ok(f, weir_image_state(stage, &filled, &f->err));
    assert_true(filled.has_digest);
    assert_false(filled.complete);
    fixture_ok(f, weir_image_switch(&f->image, stage, &f->err));
    assert_ptr_equal(f->image, stage);
    assert_int_not_equal(routing_of(f), routing); /* at once, without a look at the clock */
    assert_int_equal(read_generation(f->reader), 2);
    assert_true(state_of(f).complete);
    weir_image_state_t now = state_of(f);
    assert_true(weir_digest_equal(&now.digest, &filled.digest));
    assert_false(there(f, ".stage"));
    fixture_put_alone(f, "routes", ROUTE(R1, "/after"));
    assert_true(serves(f, "/after"));
    assert_int_equal(weir_image_stage_open(f->image, 0, &stage, &f->err), WEIR_NOT_FOUND);
    reopen(f);
    assert_true(serves(f, "/after"));
}

static void a_stage_goes_on_only_with_its_own_snapshot(void **state)
{
    fixture_t *f = *state;
    weir_stage_t at;
    weir_image_t *stage = NULL;
    assert_int_equal(weir_image_stage_open(f->image, 0, &stage, &f->err), WEIR_NOT_FOUND);
    assert_false(there(f, ".stage"));
    stage = open_stage(f, 7);
    fixture_ok(f, put_page(stage, &f->err));
    weir_image_close(stage);
    for (int i = 0; i < 2; i++) { /* whatever it is, and by name */
        stage = open_stage(f, i == 0 ? 0 : 7);
        fixture_ok(f, weir_image_stage(stage, &at, &f->err));
        assert_int_equal(at.snapshot, 7);
        assert_string_equal(at.cursor, "4");
        assert_int_equal(at.expected, ROUTES);
        weir_image_close(stage);
    }
    stage = open_stage(f, 8);
    fixture_ok(f, weir_image_stage(stage, &at, &f->err));
    assert_int_equal(at.snapshot, 8);
    assert_string_equal(at.cursor, "");
    assert_int_equal(at.expected, 0);
    weir_image_state_t empty;
    fixture_ok(f, weir_image_state(stage, &empty, &f->err));
    assert_int_equal(empty.entities, 0);
    weir_image_stage_discard(stage);
    assert_false(there(f, ".stage"));
}

static void a_stage_that_is_damaged_is_thrown_away(void **state)
{
    fixture_t *f = *state;
    weir_image_t *stage = open_stage(f, 7);
    fixture_ok(f, put_page(stage, &f->err));
    weir_image_close(stage);
    FILE *out = fopen(beside(f, ".stage/data.mdb"), "w");
    assert_non_null(out);
    for (int i = 0; i < 10000; i++)
        fputs("nonsense", out);
    fclose(out);
    stage = open_stage(f, 7);
    weir_stage_t at;
    fixture_ok(f, weir_image_stage(stage, &at, &f->err));
    assert_string_equal(at.cursor, "");
    weir_image_stage_discard(stage);
}

/* -- dying
 * ------------------------------------------------------------------------------------------ */

static pid_t fork_child(void)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* should the test fail, nobody waits for it */
    return child;
}

static void pause_us(long us)
{
    struct timespec time = { us / 1000000, us % 1000000 * 1000 };
    nanosleep(&time, NULL);
}

/* Fills stages and switches to them, for ever. */
static void fill_for_ever(fixture_t *f)
{
    weir_image_options_t options = fixture_options(f);
    if (weir_image_open(&options, &f->image, &f->err) != WEIR_OK)
        _exit(1);
    for (;;) {
        weir_image_state_t now;
        weir_image_t *stage = NULL;
        int rc = weir_image_state(f->image, &now, &f->err);
        if (rc == WEIR_OK)
            rc = weir_image_stage_open(f->image, 0, &stage, &f->err);
        if (rc == WEIR_NOT_FOUND)
            rc = weir_image_stage_open(f->image, now.version + 1, &stage, &f->err);
        if (rc == WEIR_OK)
            rc = fill(stage, &f->err);
        if (rc == WEIR_OK)
            rc = weir_image_switch(&f->image, stage, &f->err);
        if (rc != WEIR_OK) {
            fprintf(stderr, "%s: %s\n", weir_code_name(rc), f->err.reason);
            _exit(2);
        }
    }
}

static void killed_at_any_moment(bool without_exchange)
{
    enum { KILLS = 60, KILLS_MAX = 2000, SWITCHES = 5 };
    fixture_t f;
    uint64_t before = 0;
    static uint64_t seed = 88172645463325252ULL;
    fixture_directory(&f);
    image_test_without_exchange = without_exchange;
    for (int i = 0; i < KILLS || (i < KILLS_MAX && before <= SWITCHES); i++) {
        int status = 0;
        pid_t child = fork_child();
        if (child == 0)
            fill_for_ever(&f);
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        pause_us(3000 + (long)(seed >> 40) % 30000);
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status)); /* it did not give up by itself */
        if (!there(&f, "") && !there(&f, ".superseded"))
            continue; /* killed before its first commit */
        weir_image_options_t options = fixture_options(&f);
        fixture_ok(&f, weir_image_open(&options, &f.image, &f.err));
        fixture_open_reader(&f);
        uint64_t now = read_generation(f.reader);
        assert_true(now != UINT64_MAX && now >= before);
        assert_false(there(&f, ".superseded"));
        before = now;
        weir_reader_close(f.reader);
        f.reader = NULL;
        weir_image_close(f.image);
        f.image = NULL;
    }
    image_test_without_exchange = false;
    assert_true(before > SWITCHES);
    fixture_remove(beside(&f, ".stage"));
    fixture_close(&f);
}

static void a_kill_at_any_moment_costs_at_most_a_page(void **state)
{
    (void)state;
    killed_at_any_moment(false);
}

static void nor_more_where_directories_cannot_be_exchanged(void **state)
{
    (void)state;
    killed_at_any_moment(true);
}

/* What a crash between the two renames leaves. */
static void half_a_switch_is_put_right_when_the_image_is_opened(void **state)
{
    fixture_t *f = *state;
    char aside[300];
    weir_stage_t at;
    fixture_ok(f, write_full(f->image, 1, &f->err));
    weir_image_t *stage = open_stage(f, 2);
    fixture_ok(f, fill(stage, &f->err));
    weir_image_close(stage);
    snprintf(aside, sizeof(aside), "%s", beside(f, ".superseded"));
    assert_int_equal(rename(f->path, aside), 0);
    reopen(f);
    assert_int_equal(read_generation(f->reader), 1);
    stage = open_stage(f, 0);
    fixture_ok(f, weir_image_stage(stage, &at, &f->err));
    assert_true(at.pages_done);
    image_test_without_exchange = true;
    fixture_ok(f, weir_image_switch(&f->image, stage, &f->err));
    image_test_without_exchange = false;
    assert_int_equal(read_generation(f->reader), 2);
    assert_int_equal(mkdir(aside, 0700), 0); /* or a crash after both */
    reopen(f);
    assert_int_equal(access(aside, F_OK), -1);
    assert_int_equal(read_generation(f->reader), 2);
}

/* -- readers
 * --------------------------------------------------------------------------------------- */

static weir_reader_t *open_reader(const char *path)
{
    weir_reader_t *reader = NULL;
    weir_error_t err;
    if (weir_reader_open(path, &reader, &err) != WEIR_OK)
        _exit(3);
    return reader;
}

/* Reads until it has seen `last`. Exit status 0: every look showed one whole generation,
 * and none older than the one before. */
static void read_until(const char *path, uint64_t last)
{
    weir_reader_t *reader = open_reader(path);
    uint64_t before = 0;
    while (before < last) {
        uint64_t now = read_generation(reader);
        if (now == UINT64_MAX || now < before)
            _exit(now == UINT64_MAX ? 1 : 2);
        before = now;
    }
    _exit(0);
}

/* Answers each byte with the generation that it sees then. */
static void read_when_asked(const char *path, int in, int out)
{
    char byte;
    uint64_t now = 0;
    weir_reader_t *reader = open_reader(path);
    while (read(in, &byte, 1) == 1) {
        now = read_generation(reader);
        if (write(out, &now, sizeof(now)) != sizeof(now))
            _exit(1);
    }
    _exit(0);
}

static void expect_success(pid_t child)
{
    int status = -1;
    waitpid(child, &status, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void readers_never_see_parts_of_either_and_move_at_once(void **state)
{
    (void)state;
    enum { SWITCHES = 30 };
    fixture_t f;
    int ask[2], answer[2];
    uint64_t seen = 0;
    fixture_directory(&f);
    assert_int_equal(pipe2(ask, O_CLOEXEC) + pipe2(answer, O_CLOEXEC), 0);
    weir_image_options_t options = fixture_options(&f);
    fixture_ok(&f, weir_image_open(&options, &f.image, &f.err));
    fixture_ok(&f, write_full(f.image, 1, &f.err));
    weir_image_close(f.image); /* LMDB must not come through a fork */
    pid_t looker = fork_child();
    if (looker == 0)
        read_until(f.path, 1 + SWITCHES);
    pid_t asked = fork_child();
    if (asked == 0) {
        close(ask[1]);
        read_when_asked(f.path, ask[0], answer[1]);
    }
    fixture_ok(&f, weir_image_open(&options, &f.image, &f.err));
    for (uint64_t g = 1; g <= 1 + SWITCHES; g++) {
        if (g > 1) {
            weir_image_t *stage = open_stage(&f, g);
            fixture_ok(&f, fill(stage, &f.err));
            fixture_ok(&f, weir_image_switch(&f.image, stage, &f.err));
        }
        assert_int_equal(write(ask[1], "?", 1), 1);
        assert_int_equal(read(answer[0], &seen, sizeof(seen)), sizeof(seen));
        assert_int_equal(seen, g); /* with the first look after the switch */
    }
    close(ask[0]);
    close(ask[1]);
    expect_success(looker);
    expect_success(asked);
    close(answer[0]);
    close(answer[1]);
    fixture_close(&f);
}

static void no_two_images_share_a_record_version(void **state)
{
    fixture_t *f = *state;
    uint64_t before = 0;
    for (uint64_t g = 1; g <= 5; g++) {
        weir_image_t *stage = open_stage(f, g);
        weir_image_t *live = f->image;
        f->image = stage;
        fixture_put_alone(f, "services", SERVICE(S1));
        f->image = live;
        fixture_ok(f, weir_image_switch(&f->image, stage, &f->err));
        uint64_t now = record_version(f, S1);
        assert_true(now > before);
        before = now;
    }
}

/* -- faults
 * ------------------------------------------------------------------------------------------ */

static void a_full_disk_leaves_the_stage_as_it_was(void **state)
{
    fixture_t *f = *state;
    struct stat info;
    struct rlimit before, small;
    fixture_ok(f, write_full(f->image, 1, &f->err));
    weir_image_t *stage = open_stage(f, 2);
    fixture_ok(f, put_page(stage, &f->err));
    assert_int_equal(stat(beside(f, ".stage/data.mdb"), &info), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = (rlim_t)info.st_size; /* stands in for a small disk */
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = WEIR_OK;
    for (int i = 0; i < 200 && rc == WEIR_OK; i++)
        rc = put_page(stage, &f->err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    assert_true(rc == WEIR_FULL || rc == WEIR_IO);
    assert_int_equal(read_generation(f->reader), 1);
    fixture_ok(f, fill(stage, &f->err)); /* there is room again */
    fixture_ok(f, weir_image_switch(&f->image, stage, &f->err));
    assert_int_equal(read_generation(f->reader), 2);
}

static void a_full_map_of_a_stage_grows(void **state)
{
    (void)state;
    fixture_t f;
    weir_image_options_t options = fixture_options(&f);
    options.map_bytes = 96 * 1024;
    fixture_open_with(&f, &options);
    weir_image_t *stage = open_stage(&f, 2);
    int grown = 0;
    int rc = WEIR_OK;
    while ((rc = fill(stage, &f.err)) != WEIR_OK) {
        assert_int_equal(rc, WEIR_FULL);
        assert_string_equal(f.err.field, "map");
        fixture_ok(&f, weir_image_grow(stage, &f.err));
        grown++;
    }
    assert_true(grown > 0);
    fixture_ok(&f, weir_image_switch(&f.image, stage, &f.err));
    assert_int_equal(read_generation(f.reader), 2);
    fixture_close(&f);
}

/* From opening to the switch; on failure the stage is closed, and stays. */
static int sync_once(fixture_t *f, uint64_t snapshot)
{
    weir_image_t *stage = NULL;
    int rc = weir_image_stage_open(f->image, snapshot, &stage, &f->err);
    if (rc == WEIR_OK)
        rc = fill(stage, &f->err);
    if (rc == WEIR_OK)
        rc = weir_image_switch(&f->image, stage, &f->err);
    if (rc != WEIR_OK)
        weir_image_close(stage);
    return rc;
}

static void no_failing_allocation_switches_to_half_a_set(void **state)
{
    fixture_t *f = *state;
    fixture_ok(f, weir_image_set_digest_key(f->image, &some_key, &f->err));
    fixture_ok(f, write_full(f->image, 1, &f->err));
    int rc = WEIR_NO_MEMORY;
    unsigned n = 0;
    while (rc != WEIR_OK && ++n < 100000) {
        weir_test_fail_allocation(n);
        rc = sync_once(f, 2);
        weir_test_fail_allocation(0);
        if (rc != WEIR_OK) {
            /* A parser that is short of memory cannot say so: "no JSON". */
            if (rc != WEIR_NO_MEMORY && rc != WEIR_CORRUPT && rc != WEIR_INVALID)
                fail_msg("allocation %u: %s: %s", n, weir_code_name(rc), f->err.reason);
            assert_int_equal(read_generation(f->reader), 1);
        }
    }
    assert_true(n > 20);
    assert_int_equal(read_generation(f->reader), 2);
}

/* -- memory
 * ------------------------------------------------------------------------------------------ */

static long resident_kb(void)
{
    long kb = 0;
    char line[256];
    FILE *in = fopen("/proc/self/smaps_rollup", "r");
    assert_non_null(in);
    while (fgets(line, sizeof(line), in) != NULL)
        if (strncmp(line, "Pss_File:", 9) == 0)
            kb += strtol(strchr(line, ':') + 1, NULL, 10);
    fclose(in);
    return kb;
}

/* So many documents of 100 KB, of an image without a reader that has a map of its own. */
static void fill_with_large(fixture_t *f, unsigned count)
{
    static char text[100000];
    memset(text, 'x', sizeof(text) - 1);
    fixture_begin(f, true);
    for (unsigned i = 0; i < count; i++) {
        weir_json_t *row = weir_json_new_object();
        char id[64];
        snprintf(id, sizeof(id), "40000000-0000-4000-8000-%012u", i);
        assert_int_equal(weir_json_set(row, "id", weir_json_new_string(weir_str(id))), WEIR_OK);
        assert_int_equal(weir_json_set(row, "x", weir_json_new_string(weir_str(text))), WEIR_OK);
        fixture_put_json(f, "teapots", row);
        weir_json_free(row);
    }
    fixture_commit(f);
    weir_reader_close(f->reader);
    f->reader = NULL;
}

static void cooling_gives_the_map_back(void **state)
{
    fixture_t *f = *state;
    fill_with_large(f, 200);
    fixture_ok(f, weir_image_set_digest_key(f->image, &some_key, &f->err)); /* reads all */
    long before = resident_kb();
    cool(f->image);
    long after = resident_kb();
    assert_true(before - after > 200 * 90);
    assert_int_equal(state_of(f).entities, 200);
}

static void a_walk_over_all_of_it_holds_some_of_it_in_memory(void **state)
{
    enum { COUNT = 1500, HELD_KB = 60 * 1024 };
    fixture_t *f = *state;
    fill_with_large(f, COUNT);
    cool(f->image);
    long before = resident_kb();
    fixture_ok(f, weir_image_set_digest_key(f->image, &some_key, &f->err)); /* reads all */
    assert_true(COUNT * 90L > 2 * HELD_KB);
    assert_true(resident_kb() - before < HELD_KB);
}

static int touch_page(void *context, MDB_val key, MDB_val value, weir_error_t *err)
{
    unsigned *sum = context;
    (void)key;
    (void)err;
    for (size_t at = 0; at < value.mv_size; at += 4096)
        *sum += ((const uint8_t *)value.mv_data)[at];
    return WEIR_OK;
}

static void map_everything(fixture_t *f)
{
    MDB_txn *txn = NULL;
    unsigned sum = 0;
    assert_int_equal(mdb_txn_begin(f->image->env, NULL, MDB_RDONLY, &txn), 0);
    fixture_ok(
        f, each_record(txn, f->image->dbi[DB_DOCUMENTS], "documents", touch_page, &sum, &f->err));
    mdb_txn_abort(txn);
    assert_true(sum > 0);
}

static void a_quiet_second_gives_much_memory_back(void **state)
{
    fixture_t *f = *state;
    fill_with_large(f, 600);
    map_everything(f);
    long mapped = resident_kb();
    fixture_ok(f, weir_image_settle(f->image, &f->err)); /* there was something to do */
    assert_true(resident_kb() > mapped - 1024);
    fixture_ok(f, weir_image_settle(f->image, &f->err));
    assert_true(mapped - resident_kb() > 600 * 80);
}

int main(void)
{
    cmocka_set_test_filter(getenv("WEIR_TEST"));
    const struct CMUnitTest tests[] = {
        TEST(a_stage_serves_nobody_until_it_takes_the_place),
        TEST(a_stage_goes_on_only_with_its_own_snapshot),
        TEST(a_stage_that_is_damaged_is_thrown_away),
        cmocka_unit_test(a_kill_at_any_moment_costs_at_most_a_page),
        cmocka_unit_test(nor_more_where_directories_cannot_be_exchanged),
        TEST(half_a_switch_is_put_right_when_the_image_is_opened),
        cmocka_unit_test(readers_never_see_parts_of_either_and_move_at_once),
        TEST(no_two_images_share_a_record_version),
        TEST(a_full_disk_leaves_the_stage_as_it_was),
        cmocka_unit_test(a_full_map_of_a_stage_grows),
        TEST(no_failing_allocation_switches_to_half_a_set),
        TEST(cooling_gives_the_map_back),
        TEST(a_walk_over_all_of_it_holds_some_of_it_in_memory),
        TEST(a_quiet_second_gives_much_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
