/* fleet.c -- weir-fleet: thousands of simulated data planes in one process.
 *
 * The nodes run in the threads of their loops; the main thread reads commands,
 * prints progress, cuts connections and looks at signals. */
#include "fleet.h"

#include "base/clock.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    EXIT_USAGE = 2,
    FILES_SPARE = 64, /* beside one for each node */
    LINE_BYTES = 256,
    PROGRESS_MS = 1000,
    LOOK_MS = 100,
};

static volatile sig_atomic_t wants_end, wants_report;

/* Of the main thread. */
static struct {
    fleet_options_t options;
    fleet_shared_t shared;
    fleet_loop_t *loops[FLEET_THREADS_MAX];
    fleet_control_t control;
    int64_t progress_ms, cut_ms, end_ms;
    char line[LINE_BYTES];
    size_t line_len;
} fleet;

static void on_signal(int number)
{
    if (number == SIGUSR1)
        wants_report = 1;
    else
        wants_end = 1;
}

/* -- setting up ------------------------------------------------------------------------- */

static int raise_files(unsigned nodes, weir_error_t *err)
{
    struct rlimit limit;
    rlim_t wanted = (rlim_t)nodes + FILES_SPARE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return weir_error_errno(err, errno, "RLIMIT_NOFILE");
    if (limit.rlim_cur >= wanted)
        return WEIR_OK;
    rlim_t most = limit.rlim_max;
    limit.rlim_cur = wanted;
    if (limit.rlim_max < wanted)
        limit.rlim_max = wanted; /* root may */
    if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
        return WEIR_OK;
    return weir_error_set(err, WEIR_FULL, "nodes",
                          "%u nodes need %llu open files, and the limit is %llu: raise it "
                          "(ulimit -Hn %llu), or take fewer",
                          nodes, (unsigned long long)wanted, (unsigned long long)most,
                          (unsigned long long)wanted);
}

/* Which node has which fault: shares of them, mixed by the seed. */
static void deal_faults(const fleet_options_t *options, fleet_fault_t *faults)
{
    unsigned at = 0;
    for (int kind = FAULT_SLOW; kind < FAULT_KINDS; kind++) {
        double share = options->percent[kind] * options->nodes / 100;
        unsigned count = (unsigned)(share + 0.5);
        for (; count > 0 && at < options->nodes; count--)
            faults[at++] = (fleet_fault_t)kind;
    }
    uint64_t random = options->seed;
    for (unsigned i = options->nodes - 1; i > 0; i--) {
        unsigned other = (unsigned)(fleet_random(&random) % (i + 1));
        fleet_fault_t kept = faults[i];
        faults[i] = faults[other];
        faults[other] = kept;
    }
}

static int open_versions(const fleet_fault_t *faults, weir_error_t *err)
{
    unsigned nodes = fleet.options.nodes;
    bool *expected = weir_calloc(nodes, sizeof(*expected));
    if (expected == NULL)
        return weir_error_memory(err);
    for (unsigned i = 0; i < nodes; i++) {
        expected[i] = faults[i] == FAULT_NONE;
        fleet.shared.by_fault[faults[i]]++;
    }
    int rc = fleet_versions_new(nodes, expected, &fleet.shared.versions, err);
    weir_free(expected);
    return rc;
}

static int open_loops(const fleet_fault_t *faults, weir_error_t *err)
{
    unsigned threads = fleet.options.threads;
    unsigned first = 0;
    int rc = WEIR_OK;
    for (unsigned i = 0; rc == WEIR_OK && i < threads; i++) {
        unsigned count =
            fleet.options.nodes / threads + (i < fleet.options.nodes % threads ? 1 : 0);
        rc = fleet_loop_new(&fleet.shared, first, count, faults, &fleet.loops[i], err);
        first += count;
    }
    return rc;
}

static int set_up(weir_error_t *err)
{
    fleet.shared.options = &fleet.options;
    pthread_mutex_init(&fleet.shared.lock, NULL);
    fleet.shared.started_us = weir_clock_monotonic_us();
    int rc = raise_files(fleet.options.nodes, err);
    if (rc == WEIR_OK)
        rc = tls_context_open(&fleet.options.files, &fleet.shared.tls, err);
    if (rc != WEIR_OK)
        return rc;
    fleet_fault_t *faults = weir_calloc(fleet.options.nodes, sizeof(*faults));
    if (faults == NULL)
        return weir_error_memory(err);
    deal_faults(&fleet.options, faults);
    rc = open_versions(faults, err);
    if (rc == WEIR_OK)
        rc = open_loops(faults, err);
    weir_free(faults);
    for (unsigned i = 0; rc == WEIR_OK && i < fleet.options.threads; i++)
        rc = fleet_loop_start(fleet.loops[i], err);
    return rc;
}

static void tear_down(void)
{
    atomic_store(&fleet.shared.stop, true);
    for (unsigned i = 0; i < fleet.options.threads; i++)
        if (fleet.loops[i] != NULL)
            fleet_loop_join(fleet.loops[i]);
}

static void release(void)
{
    for (unsigned i = 0; i < fleet.options.threads; i++)
        fleet_loop_free(fleet.loops[i]);
    fleet_versions_free(fleet.shared.versions);
    tls_context_free(fleet.shared.tls);
    pthread_mutex_destroy(&fleet.shared.lock);
}

/* -- running ------------------------------------------------------------------------------- */

static void say(const weir_error_t *err)
{
    fprintf(stderr, "weir-fleet: %s%s%s\n", err->field, err->field[0] != '\0' ? ": " : "",
            err->reason);
}

/* What is due of what the main thread does by the clock. */
static void look(void)
{
    int64_t now = weir_clock_monotonic_ms();
    if (!fleet.options.quiet && now >= fleet.progress_ms) {
        fleet_progress(&fleet.shared);
        fleet.progress_ms = now + PROGRESS_MS;
    }
    if (fleet.options.cut_every_ms > 0 && now >= fleet.cut_ms) {
        if (fleet.cut_ms > 0)
            fleet_control_cut(&fleet.control, 1);
        fleet.cut_ms = now + fleet.options.cut_every_ms;
    }
    if (wants_report) {
        weir_error_t err = { 0 };
        wants_report = 0;
        if (fleet_report_write(&fleet.shared, fleet.options.json, &err) != WEIR_OK)
            say(&err);
    }
    if (wants_end || (fleet.options.duration_ms > 0 && now >= fleet.end_ms))
        atomic_store(&fleet.shared.stop, true);
}

/* The whole lines that have come. False: quit. */
static bool take_lines(void)
{
    for (;;) {
        char *end = memchr(fleet.line, '\n', fleet.line_len);
        if (end == NULL)
            break;
        *end = '\0';
        char line[LINE_BYTES];
        memcpy(line, fleet.line, (size_t)(end - fleet.line) + 1);
        fleet.line_len -= (size_t)(end - fleet.line) + 1;
        memmove(fleet.line, end + 1, fleet.line_len);
        if (!fleet_control_line(&fleet.control, line))
            return false;
    }
    return fleet.line_len < sizeof(fleet.line); /* a line without end is no command */
}

static bool read_commands(void)
{
    ssize_t got =
        read(STDIN_FILENO, fleet.line + fleet.line_len, sizeof(fleet.line) - fleet.line_len);
    if (got < 0)
        return errno == EINTR || errno == EAGAIN;
    if (got == 0)
        return false;
    fleet.line_len += (size_t)got;
    return take_lines();
}

static void run(void)
{
    struct pollfd in = { .fd = fleet.options.control ? STDIN_FILENO : -1, .events = POLLIN };
    fleet.end_ms = weir_clock_monotonic_ms() + fleet.options.duration_ms;
    fleet.progress_ms = weir_clock_monotonic_ms() + PROGRESS_MS;
    while (!atomic_load(&fleet.shared.stop)) {
        int ready = poll(&in, 1, LOOK_MS);
        if (ready > 0 && !read_commands())
            break;
        look();
    }
}

static void take_signals(void)
{
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
}

int main(int argc, char **argv)
{
    weir_error_t err = { 0 };
    int rc = fleet_options_parse(argc, argv, &fleet.options, &err);
    if (rc == WEIR_NOT_FOUND)
        return EXIT_SUCCESS;
    if (rc != WEIR_OK) {
        say(&err);
        return EXIT_USAGE;
    }
    fleet.control = (fleet_control_t){
        .shared = &fleet.shared,
        .loops = fleet.loops,
        .loops_count = fleet.options.threads,
        .meanwhile = look,
    };
    take_signals();
    rc = set_up(&err);
    if (rc == WEIR_OK) {
        run();
        tear_down();
        /* With commands the report is asked for, or goes to a file. */
        if (!fleet.options.control || fleet.options.json != NULL)
            rc = fleet_report_write(&fleet.shared, fleet.options.json, &err);
    } else {
        tear_down();
    }
    release();
    if (rc != WEIR_OK)
        say(&err);
    return rc == WEIR_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
