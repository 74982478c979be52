/* fleet_report.c -- progress lines and the JSON report of a fleet. */
#include "fleet.h"

#include "base/clock.h"
#include "base/json.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>

enum { REPORT_BYTES_MAX = 16 * 1024 * 1024, US_PER_S = 1000000 };

void fleet_count_reason(fleet_shared_t *shared, const char *text)
{
    char cut[FLEET_REASON_BYTES];
    snprintf(cut, sizeof(cut), "%s", text);
    pthread_mutex_lock(&shared->lock);
    size_t i = 0;
    while (i < shared->reasons_count && strcmp(shared->reasons[i].text, cut) != 0)
        i++;
    if (i < FLEET_REASONS_MAX) {
        fleet_reason_t *reason = &shared->reasons[i];
        if (i == shared->reasons_count) {
            memcpy(reason->text, cut, sizeof(cut));
            shared->reasons_count++;
        }
        reason->count++;
    } else {
        shared->reasons_other++;
    }
    pthread_mutex_unlock(&shared->lock);
}

/* -- progress ------------------------------------------------------------------------------ */

void fleet_progress(fleet_shared_t *shared)
{
    static uint64_t handshakes_before; /* by the main thread only */
    fleet_counters_t *c = &shared->counters;
    uint64_t newest = 0;
    uint64_t oldest = 0;
    uint64_t handshakes = atomic_load(&c->handshakes);
    fleet_versions_range(shared->versions, &newest, &oldest);
    fprintf(stderr,
            "fleet s=%" PRId64 " connected=%" PRId64 " of=%u handshakes/s=%" PRIu64
            " newest=%" PRIu64 " oldest=%" PRIu64 " updates=%" PRIu64 " in=%" PRIu64 " out=%" PRIu64
            " disconnects=%" PRIu64 "\n",
            (weir_clock_monotonic_us() - shared->started_us) / US_PER_S, atomic_load(&c->ready),
            shared->options->nodes, handshakes - handshakes_before, newest, oldest,
            atomic_load(&c->updates), atomic_load(&c->bytes_in), atomic_load(&c->bytes_out),
            atomic_load(&c->disconnects));
    handshakes_before = handshakes;
}

/* -- the report ------------------------------------------------------------------------------ */

typedef struct listing {
    weir_json_t *rows;
    int64_t wall_us; /* what is added to CLOCK_MONOTONIC */
    int rc;
} listing_t;

static int set_number(weir_json_t *object, const char *name, double value)
{
    return weir_json_set(object, name, weir_json_new_number(value));
}

static void list_version(void *context, const fleet_spread_t *s)
{
    listing_t *l = context;
    weir_json_t *row = weir_json_new_object();
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        { "version", (double)s->version },
        { "nodes", s->reached },
        { "of", s->expected },
        { "faulty_nodes", s->others },
        { "first_us", (double)s->first_us },
        { "last_us", (double)s->last_us },
        { "first_wall_us", (double)(s->first_us + l->wall_us) },
        { "last_wall_us", (double)(s->last_us + l->wall_us) },
        { "p50_us", (double)s->p50_us },
        { "p99_us", (double)s->p99_us },
        { "spread_us", (double)(s->last_us - s->first_us) },
    };
    /* Without a node there are no moments. */
    size_t count = s->reached > 0 ? WEIR_COUNT(numbers) : 4;
    for (size_t i = 0; l->rc == WEIR_OK && i < count; i++)
        l->rc = row != NULL ? set_number(row, numbers[i].name, numbers[i].value) : WEIR_NO_MEMORY;
    if (l->rc == WEIR_OK)
        l->rc = weir_json_append(l->rows, row);
    else
        weir_json_free(row);
}

static weir_json_t *versions_of(fleet_shared_t *shared)
{
    listing_t l = {
        .rows = weir_json_new_array(),
        .wall_us = weir_clock_ms() * 1000 - weir_clock_monotonic_us(),
    };
    if (l.rows == NULL)
        return NULL;
    fleet_versions_walk(shared->versions, list_version, &l);
    if (l.rc == WEIR_OK)
        return l.rows;
    weir_json_free(l.rows);
    return NULL;
}

static weir_json_t *reasons_of(fleet_shared_t *shared)
{
    weir_json_t *object = weir_json_new_object();
    int rc = object != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    pthread_mutex_lock(&shared->lock);
    for (size_t i = 0; rc == WEIR_OK && i < shared->reasons_count; i++)
        rc = set_number(object, shared->reasons[i].text, (double)shared->reasons[i].count);
    if (rc == WEIR_OK && shared->reasons_other > 0)
        rc = set_number(object, "(others)", (double)shared->reasons_other);
    pthread_mutex_unlock(&shared->lock);
    if (rc == WEIR_OK)
        return object;
    weir_json_free(object);
    return NULL;
}

static weir_json_t *faults_of(const fleet_shared_t *shared)
{
    weir_json_t *object = weir_json_new_object();
    int rc = object != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    for (int i = 0; rc == WEIR_OK && i < FAULT_KINDS; i++)
        rc = set_number(object, fleet_fault_name((fleet_fault_t)i), shared->by_fault[i]);
    if (rc == WEIR_OK)
        return object;
    weir_json_free(object);
    return NULL;
}

static double resident_kib(void)
{
    struct rusage usage = { 0 };
    getrusage(RUSAGE_SELF, &usage);
    return (double)usage.ru_maxrss;
}

static int set_counters(weir_json_t *report, fleet_shared_t *shared)
{
    fleet_counters_t *c = &shared->counters;
    uint64_t newest = 0;
    uint64_t oldest = 0;
    fleet_versions_range(shared->versions, &newest, &oldest);
    double seconds = (double)(weir_clock_monotonic_us() - shared->started_us) / US_PER_S;
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        { "seconds", seconds },
        { "nodes", shared->options->nodes },
        { "expected", fleet_versions_expected(shared->versions) },
        { "connected", (double)atomic_load(&c->ready) },
        { "connected_changed_us", (double)atomic_load(&c->ready_us) },
        { "tls_open", (double)atomic_load(&c->tls_open) },
        { "connects", (double)atomic_load(&c->connects) },
        { "handshakes", (double)atomic_load(&c->handshakes) },
        { "handshakes_per_second",
          seconds > 0 ? (double)atomic_load(&c->handshakes) / seconds : 0 },
        { "hellos", (double)atomic_load(&c->hellos) },
        { "disconnects", (double)atomic_load(&c->disconnects) },
        { "cuts", (double)atomic_load(&c->cuts) },
        { "garbage_sent", (double)atomic_load(&c->garbage) },
        { "updates", (double)atomic_load(&c->updates) },
        { "full_updates", (double)atomic_load(&c->full_updates) },
        { "deltas", (double)atomic_load(&c->deltas) },
        { "bytes_in", (double)atomic_load(&c->bytes_in) },
        { "bytes_out", (double)atomic_load(&c->bytes_out) },
        { "newest_version", (double)newest },
        { "oldest_version", (double)oldest },
        { "memory_peak_kib", resident_kib() },
    };
    int rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < WEIR_COUNT(numbers); i++)
        rc = set_number(report, numbers[i].name, numbers[i].value);
    return rc;
}

weir_json_t *fleet_report(fleet_shared_t *shared, bool versions)
{
    weir_json_t *report = weir_json_new_object();
    int rc = report != NULL ? set_counters(report, shared) : WEIR_NO_MEMORY;
    if (rc == WEIR_OK)
        rc = weir_json_set(report, "faults", faults_of(shared));
    if (rc == WEIR_OK)
        rc = weir_json_set(report, "disconnect_reasons", reasons_of(shared));
    if (rc == WEIR_OK && versions)
        rc = weir_json_set(report, "versions", versions_of(shared));
    if (rc == WEIR_OK)
        return report;
    weir_json_free(report);
    return NULL;
}

static int write_text(FILE *file, weir_str_t text)
{
    bool fine = fwrite(text.data, 1, text.len, file) == text.len && fputc('\n', file) != EOF;
    return fflush(file) == 0 && fine ? WEIR_OK : WEIR_IO;
}

/* `path` NULL: stdout. A file is whole or as it was. */
int fleet_report_write(fleet_shared_t *shared, const char *path, weir_error_t *err)
{
    char aside[4096];
    WEIR_AUTO(json) weir_json_t *report = fleet_report(shared, true);
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, REPORT_BYTES_MAX);
    if (report == NULL || weir_json_print(report, &text) != WEIR_OK)
        return weir_error_memory(err);
    if (path == NULL)
        return write_text(stdout, weir_buffer_str(&text)) == WEIR_OK
                   ? WEIR_OK
                   : weir_error_errno(err, errno, "stdout");
    if ((size_t)snprintf(aside, sizeof(aside), "%s.part", path) >= sizeof(aside))
        return weir_error_set(err, WEIR_INVALID, "json", "is too long a path");
    FILE *file = fopen(aside, "we");
    if (file == NULL)
        return weir_error_errno(err, errno, "%s", aside);
    int rc = write_text(file, weir_buffer_str(&text));
    if ((fclose(file) != 0) | (rc != WEIR_OK) || rename(aside, path) != 0) {
        rc = weir_error_errno(err, errno, "%s", path);
        unlink(aside);
    }
    return rc;
}
