/* process_test.c -- a writer and readers in processes of their own, some of which die. */
#include "image/fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

enum { ROUTES = 40 };

static void pause_us(long us)
{
    struct timespec time = { us / 1000000, us % 1000000 * 1000 };
    nanosleep(&time, NULL);
}

/* Every route of a generation carries its number; even ones have one route more. */
static int write_generation(weir_image_t *image, uint64_t generation, weir_error_t *err)
{
    weir_batch_t *batch = NULL;
    int rc = weir_batch_begin(image, true, generation, &batch, err);
    for (unsigned i = 0; rc == WEIR_OK && i < ROUTES + (generation % 2 == 0); i++) {
        char text[256];
        weir_json_t *row = NULL;
        snprintf(text, sizeof(text),
                 "{\"id\":\"40000000-0000-4000-8000-%012u\",\"name\":\"g%" PRIu64 "-%u\","
                 "\"paths\":[\"/%u\"]}",
                 i, generation, i, i);
        rc = weir_json_parse(weir_str(text), &row, err);
        if (rc == WEIR_OK)
            rc = weir_batch_put(batch, WEIR_STR("routes"), row, err);
        weir_json_free(row);
    }
    if (rc == WEIR_OK)
        return weir_batch_commit(batch, 0, err);
    weir_batch_abort(batch);
    return rc;
}

/* The generation that the reader sees; 0: none yet; UINT64_MAX: a mixture. */
static uint64_t read_generation(weir_reader_t *reader)
{
    weir_error_t err;
    weir_image_state_t state = { 0 };
    bool whole = true;
    if (weir_reader_enter(reader, &err) != WEIR_OK)
        return UINT64_MAX;
    weir_reader_state(reader, &state, &err);
    for (unsigned i = 0; state.version > 0 && i < ROUTES + 1; i++) {
        static fixture_request_t request;
        char path[32], name[64];
        weir_match_t match;
        snprintf(path, sizeof(path), "/%u/", i);
        snprintf(name, sizeof(name), "g%" PRIu64 "-%u", state.version, i);
        fixture_request(&request, "GET", "x", path);
        int rc = weir_reader_match(reader, &request.match, &match, &err);
        if (i == ROUTES && state.version % 2 != 0)
            whole = whole && (rc == WEIR_NOT_FOUND || !weir_str_is(match.route.name, name));
        else
            whole = whole && rc == WEIR_OK && weir_str_is(match.route.name, name);
    }
    weir_reader_leave(reader);
    return whole ? state.version : UINT64_MAX;
}

static weir_reader_t *open_reader(const char *path)
{
    weir_reader_t *reader = NULL;
    weir_error_t err;
    for (int i = 0; i < 1000 && weir_reader_open(path, &reader, &err) != WEIR_OK; i++)
        pause_us(10000);
    return reader;
}

static pid_t fork_child(void)
{
    fflush(NULL);
    pid_t child = fork();
    assert_true(child >= 0);
    return child;
}

/* Reads until it has seen `last`. Exit status: 0 if every look showed one whole
 * generation, and none older than the one before. */
static void read_until(const char *path, uint64_t last)
{
    weir_reader_t *reader = open_reader(path);
    if (reader == NULL)
        _exit(3);
    uint64_t before = 0;
    while (before < last) {
        uint64_t now = read_generation(reader);
        if (now == UINT64_MAX || now < before)
            _exit(now == UINT64_MAX ? 1 : 2);
        before = now;
    }
    weir_reader_close(reader);
    _exit(0);
}

static void a_reader_never_sees_half_a_batch(void **state)
{
    (void)state;
    enum { GENERATIONS = 200, READERS = 2 };
    fixture_t f;
    pid_t children[READERS];
    fixture_directory(&f);
    for (int i = 0; i < READERS; i++)
        if ((children[i] = fork_child()) == 0)
            read_until(f.path, GENERATIONS);
    weir_image_options_t options = fixture_options(&f);
    fixture_ok(&f, weir_image_open(&options, &f.image, &f.err));
    for (uint64_t g = 1; g <= GENERATIONS; g++)
        fixture_ok(&f, write_generation(f.image, g, &f.err));
    for (int i = 0; i < READERS; i++) {
        int status = -1;
        waitpid(children[i], &status, 0);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
    fixture_close(&f);
}

static void write_for_ever(fixture_t *f, uint64_t generation, bool sync)
{
    weir_image_options_t options = fixture_options(f);
    options.sync = sync;
    if (weir_image_open(&options, &f->image, &f->err) != WEIR_OK)
        _exit(1);
    while (write_generation(f->image, ++generation, &f->err) == WEIR_OK)
        continue;
    _exit(2);
}

static void a_writer_killed_at_any_moment_leaves_a_whole_generation(void **state)
{
    (void)state;
    enum { KILLS = 60 };
    fixture_t f;
    fixture_directory(&f);
    uint64_t before = 0;
    uint64_t seed = 88172645463325252ULL;
    for (int i = 0; i < KILLS; i++) {
        int status = 0;
        pid_t child = fork_child();
        if (child == 0)
            write_for_ever(&f, before, i % 2);
        seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
        pause_us(3000 + (long)(seed >> 40) % 20000);
        kill(child, SIGKILL);
        waitpid(child, &status, 0);
        assert_true(WIFSIGNALED(status)); /* it did not give up by itself */
        weir_reader_t *reader = NULL;
        int rc = weir_reader_open(f.path, &reader, &f.err);
        if (rc == WEIR_NOT_FOUND)
            continue; /* killed before its first commit */
        fixture_ok(&f, rc);
        uint64_t now = read_generation(reader);
        weir_reader_close(reader);
        assert_true(now != UINT64_MAX);
        assert_true(now >= before);
        before = now;
    }
    weir_image_options_t options = fixture_options(&f);
    fixture_ok(&f, weir_image_open(&options, &f.image, &f.err));
    fixture_ok(&f, write_generation(f.image, before + 1, &f.err));
    fixture_close(&f);
    assert_true(before > KILLS);
}

/* Enters and is killed inside. */
static void die_inside(const char *path)
{
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork_child();
    if (child == 0) {
        weir_reader_t *reader = open_reader(path);
        weir_error_t err;
        byte = reader != NULL && weir_reader_enter(reader, &err) == WEIR_OK ? 'y' : 'n';
        if (write(ready[1], &byte, 1) == 1)
            pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    close(ready[0]);
    close(ready[1]);
    assert_int_equal(byte, 'y');
}

static void the_slots_of_dead_readers_are_cleared(void **state)
{
    (void)state;
    fixture_t f;
    size_t count = 0;
    fixture_directory(&f);
    weir_image_options_t options = fixture_options(&f);
    fixture_ok(&f, weir_image_open(&options, &f.image, &f.err));
    fixture_ok(&f, write_generation(f.image, 1, &f.err));
    die_inside(f.path);
    die_inside(f.path);
    fixture_ok(&f, weir_image_clear_stale(f.image, &count, &f.err));
    assert_int_equal(count, 2);
    fixture_ok(&f, weir_image_clear_stale(f.image, &count, &f.err));
    assert_int_equal(count, 0);
    fixture_close(&f);
}

static void readers_clear_dead_slots_themselves_when_all_are_taken(void **state)
{
    (void)state;
    fixture_t f;
    fixture_directory(&f);
    weir_image_options_t options = fixture_options(&f);
    options.readers_max = 8;
    fixture_ok(&f, weir_image_open(&options, &f.image, &f.err));
    fixture_ok(&f, write_generation(f.image, 1, &f.err));
    for (int i = 0; i < 200; i++) /* LMDB rounds the table up to a page */
        die_inside(f.path);
    fixture_close(&f);
}

/* Puts until the map has grown a good deal; exits with 0. */
static void fill_growing(const fixture_t *f)
{
    enum { BATCHES = 40, ROWS = 50 };
    weir_image_options_t options = fixture_options(f);
    options.map_bytes = 256 * 1024;
    weir_image_t *image = NULL;
    weir_error_t err = { 0 };
    int rc = weir_image_open(&options, &image, &err);
    for (unsigned n = 0; rc == WEIR_OK && n < BATCHES * ROWS;) {
        weir_batch_t *batch = NULL;
        rc = weir_batch_begin(image, n == 0, n + 1, &batch, &err);
        for (unsigned i = 0; rc == WEIR_OK && i < ROWS; i++) {
            char text[1200];
            weir_json_t *row = NULL;
            snprintf(text, sizeof(text),
                     "{\"id\":\"c0000000-0000-4000-8000-%012u\",\"username\":\"u%01000u\"}", n + i,
                     n + i);
            rc = weir_json_parse(weir_str(text), &row, &err);
            if (rc == WEIR_OK)
                rc = weir_batch_put(batch, WEIR_STR("consumers"), row, &err);
            weir_json_free(row);
        }
        if (rc == WEIR_OK)
            rc = weir_batch_commit(batch, 0, &err);
        else
            weir_batch_abort(batch);
        if (rc == WEIR_FULL && strcmp(err.field, "map") == 0)
            rc = weir_image_grow(image, &err);
        else
            n += ROWS;
    }
    _exit(rc == WEIR_OK ? 0 : 1);
}

/* The size that a reader has seen when it opens is history when it begins to read. */
static void a_reader_opens_while_the_map_grows(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 15; round++) {
        fixture_t f;
        fixture_directory(&f);
        pid_t child = fork();
        if (child == 0)
            fill_growing(&f);
        int status = 0;
        while (waitpid(child, &status, WNOHANG) == 0) {
            weir_reader_t *reader = NULL;
            int rc = weir_reader_open(f.path, &reader, &f.err);
            if (rc == WEIR_OK)
                weir_reader_close(reader);
            else if (rc != WEIR_NOT_FOUND) /* not there yet */
                fail_msg("%s: %s", weir_code_name(rc), f.err.reason);
        }
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        fixture_remove(f.path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_never_sees_half_a_batch),
        cmocka_unit_test(a_writer_killed_at_any_moment_leaves_a_whole_generation),
        cmocka_unit_test(a_reader_opens_while_the_map_grows),
        cmocka_unit_test(the_slots_of_dead_readers_are_cleared),
        cmocka_unit_test(readers_clear_dead_slots_themselves_when_all_are_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
