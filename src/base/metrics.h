/* metrics.h -- numbers in the text form of Prometheus, and histograms of durations.
 *
 * Printers append to a buffer, whose failure sticks: check it once at the end. Label
 * values are escaped here; names and help texts come from the program. */
#ifndef WEIR_METRICS_H
#define WEIR_METRICS_H

#include "base/buffer.h"

#define WEIR_METRIC_COUNTER "counter"
#define WEIR_METRIC_GAUGE   "gauge"

/* The lines before the samples of a metric: HELP and TYPE. */
void weir_metric_begin(weir_buffer_t *out, const char *name, const char *kind, const char *help);
/* One sample, without labels. Whole numbers print in full up to 2^53. */
void weir_metric_sample(weir_buffer_t *out, const char *name, double value);
/* One sample with one label. */
void weir_metric_labelled(weir_buffer_t *out, const char *name, const char *label, weir_str_t text,
                          double value);
/* A metric of one sample. */
void weir_metric(weir_buffer_t *out, const char *name, const char *kind, const char *help,
                 double value);
/* A label's value with its quotes. What is no UTF-8 text should not get here. */
void weir_metric_label(weir_buffer_t *out, weir_str_t text);

/* -- histograms of durations ---------------------------------------------------------- */

enum { WEIR_DURATION_BOUNDS_MAX = 24 };

/* Upper bounds in microseconds, rising. */
typedef struct weir_duration_bounds {
    size_t count;
    int64_t us[WEIR_DURATION_BOUNDS_MAX];
} weir_duration_bounds_t;

/* Each bucket counts what no smaller one does; the last is of all above the bounds. */
typedef struct weir_durations {
    uint64_t buckets[WEIR_DURATION_BOUNDS_MAX + 1];
    uint64_t count, sum_us;
} weir_durations_t;

/* Applying a batch on a data plane: 50 us to 30 s. */
extern const weir_duration_bounds_t weir_apply_bounds;
/* From a commit to a data plane that has it: 1 ms to 60 s. */
extern const weir_duration_bounds_t weir_change_bounds;

/* Less than nothing (clocks are set) counts as nothing. */
void weir_durations_add(weir_durations_t *durations, const weir_duration_bounds_t *bounds,
                        int64_t us);
/* A histogram, in seconds. */
void weir_metric_durations(weir_buffer_t *out, const char *name, const char *help,
                           const weir_duration_bounds_t *bounds, const weir_durations_t *durations);

#endif
