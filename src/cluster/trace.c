/* trace.c -- a ring of versions and a histogram (trace.h). */
#include "cluster/trace.h"

#include <pthread.h>

/* Upper bounds of the histogram, in milliseconds; one more for all above. */
static const int64_t bounds_ms[] = { 1,   2,    5,    10,   25,    50,    100,  250,
                                     500, 1000, 2500, 5000, 10000, 30000, 60000 };

enum { BUCKETS = WEIR_COUNT(bounds_ms) + 1 };

typedef struct histogram {
    uint64_t buckets[BUCKETS];
    uint64_t count, sum_us;
} histogram_t;

struct weir_trace {
    pthread_mutex_t lock;
    uint64_t first, newest; /* versions in [first, newest] have been noted ... */
    size_t size;            /* ... of which the last `size` are still there */
    histogram_t histogram;
    weir_trace_row_t rows[];
};

int weir_trace_new(size_t versions, uint64_t newest, weir_trace_t **ret, weir_error_t *err)
{
    weir_assert(versions > 0);
    weir_trace_t *trace = weir_calloc(1, sizeof(*trace) + versions * sizeof(*trace->rows));
    if (trace == NULL)
        return weir_error_memory(err);
    pthread_mutex_init(&trace->lock, NULL);
    trace->size = versions;
    trace->newest = newest;
    trace->first = newest + 1;
    *ret = trace;
    return WEIR_OK;
}

void weir_trace_free(weir_trace_t *trace)
{
    if (trace == NULL)
        return;
    pthread_mutex_destroy(&trace->lock);
    weir_free(trace);
}

static weir_trace_row_t *row_of(weir_trace_t *trace, uint64_t version)
{
    return &trace->rows[version % trace->size];
}

/* Under the lock. */
static uint64_t oldest(const weir_trace_t *trace)
{
    uint64_t kept = trace->newest >= trace->size ? trace->newest - trace->size + 1 : 1;
    return kept > trace->first ? kept : trace->first;
}

void weir_trace_committed(weir_trace_t *trace, uint64_t version, int64_t now_us)
{
    pthread_mutex_lock(&trace->lock);
    uint64_t from = trace->newest + 1;
    if (version > trace->size && from < version - trace->size + 1)
        from = version - trace->size + 1; /* the others would be overwritten at once */
    for (uint64_t v = from; v <= version; v++)
        *row_of(trace, v) = (weir_trace_row_t){ v, now_us, 0 };
    if (version > trace->newest)
        trace->newest = version;
    pthread_mutex_unlock(&trace->lock);
}

void weir_trace_encoded(weir_trace_t *trace, uint64_t after, uint64_t version, int64_t now_us)
{
    pthread_mutex_lock(&trace->lock);
    uint64_t from = after + 1 > oldest(trace) ? after + 1 : oldest(trace);
    for (uint64_t v = from; v <= version && v <= trace->newest; v++)
        if (row_of(trace, v)->encoded_us == 0)
            row_of(trace, v)->encoded_us = now_us;
    pthread_mutex_unlock(&trace->lock);
}

void weir_trace_observe(weir_trace_t *trace, int64_t us)
{
    size_t i = 0;
    if (us < 0)
        us = 0; /* clocks are set */
    while (i < WEIR_COUNT(bounds_ms) && us > bounds_ms[i] * 1000)
        i++;
    pthread_mutex_lock(&trace->lock);
    trace->histogram.buckets[i]++;
    trace->histogram.count++;
    trace->histogram.sum_us += (uint64_t)us;
    pthread_mutex_unlock(&trace->lock);
}

int weir_trace_get(weir_trace_t *trace, uint64_t version, weir_trace_row_t *ret)
{
    pthread_mutex_lock(&trace->lock);
    bool there = version >= oldest(trace) && version <= trace->newest;
    if (there)
        *ret = *row_of(trace, version);
    pthread_mutex_unlock(&trace->lock);
    return there ? WEIR_OK : WEIR_NOT_FOUND;
}

void weir_trace_range(weir_trace_t *trace, uint64_t *ret_oldest, uint64_t *ret_newest)
{
    pthread_mutex_lock(&trace->lock);
    *ret_oldest = oldest(trace);
    *ret_newest = trace->newest;
    pthread_mutex_unlock(&trace->lock);
}

size_t weir_trace_list(weir_trace_t *trace, uint64_t before, size_t limit, weir_trace_row_t *ret)
{
    size_t count = 0;
    pthread_mutex_lock(&trace->lock);
    uint64_t version = before > trace->newest ? trace->newest : before - 1;
    for (; before > 0 && version >= oldest(trace) && count < limit; version--)
        ret[count++] = *row_of(trace, version);
    pthread_mutex_unlock(&trace->lock);
    return count;
}

int weir_trace_metrics(weir_trace_t *trace, weir_buffer_t *out)
{
    static const char name[] = "weir_change_applied_seconds";
    pthread_mutex_lock(&trace->lock);
    histogram_t h = trace->histogram;
    pthread_mutex_unlock(&trace->lock);
    weir_buffer_printf(out,
                       "# HELP %s From the commit of a change to a data plane having it\n"
                       "# TYPE %s histogram\n",
                       name, name);
    uint64_t below = 0;
    for (size_t i = 0; i < WEIR_COUNT(bounds_ms); i++) {
        below += h.buckets[i];
        weir_buffer_printf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
                           (double)bounds_ms[i] / 1000, below);
    }
    weir_buffer_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, h.count);
    weir_buffer_printf(out, "%s_sum %.6f\n%s_count %" PRIu64 "\n", name, (double)h.sum_us / 1e6,
                       name, h.count);
    return out->failed;
}
