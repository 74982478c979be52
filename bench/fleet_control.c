/* fleet_control.c -- commands on stdin: a line each, one line back.
 *
 * Answers begin with "ok", "timeout" or "error"; what follows are NAME=VALUE
 * pairs, or JSON after "stats" and "report". */
#include "fleet.h"

#include "base/clock.h"
#include "base/json.h"

#include <time.h>

enum {
    WORDS_MAX = 4,
    REPORT_BYTES_MAX = 16 * 1024 * 1024,
    SLICE_US = 200000, /* what else is due is looked at so often */
    LOOK_US = 2000,
    TIMEOUT_MS_MAX = 86400000,
};

static void answer(const char *text)
{
    puts(text);
    fflush(stdout);
}

/* Whether `text` is a number up to `max`; says so if not. */
static bool number(const char *text, int64_t max, int64_t *ret)
{
    if (text != NULL && weir_parse_int64(weir_str(text), 0, max, ret) == WEIR_OK)
        return true;
    answer("error reason=\"a number is missing, or is none\"");
    return false;
}

/* -- waiting ---------------------------------------------------------------------------- */

static void say_spread(const char *word, const fleet_spread_t *s)
{
    int64_t wall_us = weir_clock_ms() * 1000 - weir_clock_monotonic_us();
    printf("%s version=%" PRIu64 " nodes=%u of=%u", word, s->version, s->reached, s->expected);
    if (s->reached > 0)
        printf(" first_us=%" PRId64 " last_us=%" PRId64 " first_wall_us=%" PRId64
               " last_wall_us=%" PRId64 " p50_us=%" PRId64 " p99_us=%" PRId64 " max_us=%" PRId64,
               s->first_us, s->last_us, s->first_us + wall_us, s->last_us + wall_us, s->p50_us,
               s->p99_us, s->last_us - s->first_us);
    answer("");
}

static void wait_version(const fleet_control_t *control, char **words)
{
    int64_t version = 0;
    int64_t timeout_ms = 0;
    int64_t count = fleet_versions_expected(control->shared->versions);
    if (!number(words[1], INT64_MAX, &version) || !number(words[2], TIMEOUT_MS_MAX, &timeout_ms) ||
        (words[3] != NULL && !number(words[3], count, &count)))
        return;
    int64_t end_us = weir_clock_monotonic_us() + timeout_ms * 1000;
    int rc = WEIR_TIMEOUT;
    fleet_spread_t spread = { 0 };
    do {
        int64_t slice_us = weir_clock_monotonic_us() + SLICE_US;
        rc = fleet_versions_wait(control->shared->versions, (uint64_t)version, (unsigned)count,
                                 slice_us < end_us ? slice_us : end_us, &spread);
        control->meanwhile();
    } while (rc == WEIR_TIMEOUT && weir_clock_monotonic_us() < end_us &&
             !atomic_load(&control->shared->stop));
    if (rc == WEIR_NO_MEMORY)
        answer("error reason=\"out of memory, or the version is long forgotten\"");
    else
        say_spread(rc == WEIR_OK ? "ok" : "timeout", &spread);
}

static void wait_connected(const fleet_control_t *control, char **words)
{
    int64_t count = 0;
    int64_t timeout_ms = 0;
    fleet_counters_t *c = &control->shared->counters;
    if (!number(words[1], FLEET_NODES_MAX, &count) ||
        !number(words[2], TIMEOUT_MS_MAX, &timeout_ms))
        return;
    int64_t end_us = weir_clock_monotonic_us() + timeout_ms * 1000;
    struct timespec look = { .tv_nsec = LOOK_US * 1000 };
    while (atomic_load(&c->ready) < count && weir_clock_monotonic_us() < end_us &&
           !atomic_load(&control->shared->stop)) {
        nanosleep(&look, NULL);
        control->meanwhile();
    }
    int64_t ready = atomic_load(&c->ready);
    printf("%s connected=%" PRId64 " of=%u changed_us=%" PRId64, ready >= count ? "ok" : "timeout",
           ready, control->shared->options->nodes, atomic_load(&c->ready_us));
    answer("");
}

/* -- the others ---------------------------------------------------------------------------- */

static void say_report(const fleet_control_t *control, bool versions)
{
    WEIR_AUTO(json) weir_json_t *report = fleet_report(control->shared, versions);
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, REPORT_BYTES_MAX);
    if (report == NULL || weir_json_print(report, &text) != WEIR_OK ||
        weir_buffer_byte(&text, '\0') != WEIR_OK)
        answer("error reason=\"out of memory\"");
    else
        answer(text.data);
}

void fleet_control_cut(fleet_control_t *control, unsigned count)
{
    static uint64_t random; /* which loop; which node is the loop's choice */
    unsigned first = (unsigned)(fleet_random(&random) % control->loops_count);
    unsigned share = count / control->loops_count;
    unsigned rest = count % control->loops_count;
    for (unsigned i = 0; i < control->loops_count; i++)
        fleet_loop_cut(control->loops[(first + i) % control->loops_count], share + (i < rest));
}

static void cut(fleet_control_t *control, char **words)
{
    int64_t count = 0;
    if (!number(words[1], FLEET_NODES_MAX, &count))
        return;
    fleet_control_cut(control, (unsigned)count);
    answer("ok");
}

bool fleet_control_line(fleet_control_t *control, char *line)
{
    char *words[WORDS_MAX + 1] = { NULL };
    size_t count = 0;
    char *rest = line;
    for (char *word; (word = strsep(&rest, " \t\r")) != NULL && count < WORDS_MAX;)
        if (*word != '\0')
            words[count++] = word;
    if (count == 0)
        return true;
    if (strcmp(words[0], "quit") == 0)
        return false;
    if (strcmp(words[0], "wait") == 0)
        wait_version(control, words);
    else if (strcmp(words[0], "connected") == 0)
        wait_connected(control, words);
    else if (strcmp(words[0], "stats") == 0)
        say_report(control, false);
    else if (strcmp(words[0], "report") == 0)
        say_report(control, true);
    else if (strcmp(words[0], "cut") == 0)
        cut(control, words);
    else
        answer("error reason=\"no such command\"");
    return true;
}
