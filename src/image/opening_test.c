/* opening_test.c -- a reader that is opened just while the agent switches to the next image
 * has one of the two, not the data of one and the reader slots of the other. */
#include "image/rows.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void (*before_lock_file)(void);

/* LMDB's, too: a reader opens the data first, then the lock file. */
__attribute__((visibility("default"))) int hooked_open(const char *path, int flags,
                                                       ...) __asm__("open");

int hooked_open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    unsigned mode = (flags & O_CREAT) != 0 ? va_arg(args, unsigned) : 0;
    va_end(args);
    const char *name = strrchr(path, '/');
    if (before_lock_file != NULL && name != NULL && strcmp(name, "/lock.mdb") == 0) {
        void (*then)(void) = before_lock_file;
        before_lock_file = NULL;
        then();
    }
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* -- the other process: a worker --------------------------------------------------------- */

static int to_agent[2], to_worker[2];

/* What the agent does next, it does now. */
static void agents_turn(void)
{
    char byte = 1;
    if (write(to_agent[1], &byte, 1) != 1 || read(to_worker[0], &byte, 1) != 1)
        _exit(9);
}

static int version_of(weir_reader_t *reader, uint64_t *ret)
{
    weir_error_t err;
    weir_image_state_t state;
    int rc = weir_reader_enter(reader, &err);
    if (rc != WEIR_OK) {
        fprintf(stderr, "%s\n", err.reason);
        return rc;
    }
    weir_reader_state(reader, &state, &err);
    weir_reader_leave(reader);
    *ret = state.version;
    return WEIR_OK;
}

static void be_a_worker(const weir_image_options_t *options)
{
    weir_error_t err;
    weir_reader_t *reader = NULL;
    uint64_t version = 0;
    agents_turn(); /* it makes the image */
    before_lock_file = agents_turn;
    if (weir_reader_open(options->path, &reader, &err) != WEIR_OK || before_lock_file != NULL)
        _exit(1);
    if (version_of(reader, &version) != WEIR_OK || version != 2)
        _exit(2);
    agents_turn(); /* it looks for dead readers */
    if (version_of(reader, &version) != WEIR_OK || version != 2)
        _exit(3);
    weir_reader_close(reader);
    _exit(0);
}

/* -- or `weir sync verify` ------------------------------------------------------------------- */

static void be_one_who_looks(const weir_image_options_t *options)
{
    weir_error_t err;
    weir_image_t *image = NULL;
    weir_image_state_t state;
    weir_image_options_t look = *options;
    look.look_only = true;
    agents_turn(); /* it makes the image */
    before_lock_file = agents_turn;
    if (weir_image_open(&look, &image, &err) != WEIR_OK || before_lock_file != NULL)
        _exit(1);
    if (weir_image_state(image, &state, &err) != WEIR_OK || state.version != 2)
        _exit(2);
    agents_turn();
    weir_image_close(image);
    _exit(0);
}

/* -- the agent ------------------------------------------------------------------------------ */

static void let_worker_go_on(void)
{
    char byte = 1;
    assert_int_equal(write(to_worker[1], &byte, 1), 1);
}

static void wait_for_worker(void)
{
    char byte = 0;
    assert_int_equal(read(to_agent[0], &byte, 1), 1); /* 0: it has ended */
}

static void put_version(fixture_t *f, weir_image_t *image, bool full, uint64_t version)
{
    weir_batch_t *batch = NULL;
    fixture_ok(f, weir_batch_begin(image, full, version, &batch, &f->err));
    fixture_ok(f, weir_batch_commit(batch, FIXTURE_NOW_MS, &f->err));
}

static void open_during_a_switch(void (*be)(const weir_image_options_t *))
{
    fixture_t f;
    weir_image_t *stage = NULL;
    size_t dead = 0;
    int status = 0;
    fixture_directory(&f);
    weir_image_options_t options = fixture_options(&f);
    assert_int_equal(pipe(to_agent), 0);
    assert_int_equal(pipe(to_worker), 0);
    fflush(NULL);
    pid_t worker = fork();
    assert_true(worker >= 0);
    if (worker == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        be(&options);
    }
    close(to_agent[1]);
    close(to_worker[0]);
    wait_for_worker();
    fixture_ok(&f, weir_image_open(&options, &f.image, &f.err));
    put_version(&f, f.image, true, 1);
    fixture_ok(&f, weir_image_stage_open(f.image, 2, &stage, &f.err));
    put_version(&f, stage, false, 2);
    let_worker_go_on();
    wait_for_worker(); /* it has opened the data of this image */
    fixture_ok(&f, weir_image_switch(&f.image, stage, &f.err));
    let_worker_go_on();
    wait_for_worker();
    fixture_ok(&f, weir_image_clear_stale(f.image, &dead, &f.err));
    let_worker_go_on();
    assert_int_equal(waitpid(worker, &status, 0), worker);
    fixture_close(&f);
    close(to_agent[0]);
    close(to_worker[1]);
    assert_int_equal(dead, 0);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_reader_that_opens_during_a_switch_keeps_its_slot(void **state)
{
    (void)state;
    open_during_a_switch(be_a_worker);
}

static void who_looks_during_a_switch_sees_the_new_image(void **state)
{
    (void)state;
    open_during_a_switch(be_one_who_looks);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_that_opens_during_a_switch_keeps_its_slot),
        cmocka_unit_test(who_looks_during_a_switch_sees_the_new_image),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
