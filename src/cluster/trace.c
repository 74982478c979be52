/* trace.c -- a ring of versions and a histogram (trace.h). */
#include "cluster/trace.h"

#include "base/metrics.h"

#include <pthread.h>

struct weir_trace {
    pthread_mutex_t lock;
    uint64_t first, newest; /* versions in [first, newest] have been noted ... */
    size_t size;            /* ... of which the last `size` are still there */
    weir_durations_t durations;
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
    pthread_mutex_lock(&trace->lock);
    weir_durations_add(&trace->durations, &weir_change_bounds, us);
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
    pthread_mutex_lock(&trace->lock);
    weir_durations_t durations = trace->durations;
    pthread_mutex_unlock(&trace->lock);
    weir_metric_durations(out, "weir_change_applied_seconds",
                          "From the commit of a change to a data plane having it",
                          &weir_change_bounds, &durations);
    return out->failed;
}
