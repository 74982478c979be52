/* trace.h -- when the newest versions were committed and encoded, and how long data
 * planes took to have them. Memory is bounded: a ring, and a histogram.
 *
 * Thread-safe, with a lock that nobody holds for long: whoever commits writes here.
 * Times are Unix time in microseconds. */
#ifndef WEIR_TRACE_H
#define WEIR_TRACE_H

#include "base/buffer.h"

typedef struct weir_trace weir_trace_t;

typedef struct weir_trace_row {
    uint64_t version;
    int64_t committed_us;
    int64_t encoded_us; /* 0: not known */
} weir_trace_row_t;

/* Remembers so many versions, from the one after `newest` on. */
int weir_trace_new(size_t versions, uint64_t newest, weir_trace_t **ret, weir_error_t *err);
void weir_trace_free(weir_trace_t *trace); /* NULL is fine */

/* Everything up to `version` is committed. */
void weir_trace_committed(weir_trace_t *trace, uint64_t version, int64_t now_us);
/* Versions in (after, version] were encoded; the first time counts. */
void weir_trace_encoded(weir_trace_t *trace, uint64_t after, uint64_t version, int64_t now_us);
/* A data plane has a change that was committed `us` ago. */
void weir_trace_observe(weir_trace_t *trace, int64_t us);

/* WEIR_NOT_FOUND: not remembered. */
int weir_trace_get(weir_trace_t *trace, uint64_t version, weir_trace_row_t *ret);
/* Which are remembered; *ret_oldest > *ret_newest: none. */
void weir_trace_range(weir_trace_t *trace, uint64_t *ret_oldest, uint64_t *ret_newest);
/* Those below `before`, the newest first; how many were written to `ret`. */
size_t weir_trace_list(weir_trace_t *trace, uint64_t before, size_t limit, weir_trace_row_t *ret);

/* weir_change_applied_seconds, in the text form of Prometheus. */
int weir_trace_metrics(weir_trace_t *trace, weir_buffer_t *out);

#endif
