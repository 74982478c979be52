/* metrics.c -- numbers in the text form of Prometheus (metrics.h). */
#include "base/metrics.h"

#include <stdio.h>
#include <stdlib.h>

const weir_duration_bounds_t weir_apply_bounds = {
    15,
    { 50, 100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 500000, 1000000, 5000000,
      30000000 },
};

const weir_duration_bounds_t weir_change_bounds = {
    15,
    { 1000, 2000, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000,
      10000000, 30000000, 60000000 },
};

void weir_metric_begin(weir_buffer_t *out, const char *name, const char *kind, const char *help)
{
    weir_buffer_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

/* Most numbers need no more digits to be read back the same. */
static const char *short_text(double value, char *text, size_t size)
{
    snprintf(text, size, "%.15g", value);
    return text;
}

static void print_value(weir_buffer_t *out, double value)
{
    static const double exact = 9007199254740992.0; /* 2^53 */
    char text[32];
    if (value >= -exact && value <= exact && value == (double)(int64_t)value)
        weir_buffer_printf(out, " %" PRId64 "\n", (int64_t)value);
    else if (strtod(short_text(value, text, sizeof(text)), NULL) == value)
        weir_buffer_printf(out, " %s\n", text);
    else
        weir_buffer_printf(out, " %.17g\n", value);
}

void weir_metric_sample(weir_buffer_t *out, const char *name, double value)
{
    weir_buffer_append(out, weir_str(name));
    print_value(out, value);
}

void weir_metric_label(weir_buffer_t *out, weir_str_t text)
{
    weir_buffer_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '\n') {
            weir_buffer_append(out, WEIR_STR("\\n"));
            continue;
        }
        if (c == '"' || c == '\\')
            weir_buffer_byte(out, '\\');
        weir_buffer_byte(out, c);
    }
    weir_buffer_byte(out, '"');
}

void weir_metric_labelled(weir_buffer_t *out, const char *name, const char *label, weir_str_t text,
                          double value)
{
    weir_buffer_printf(out, "%s{%s=", name, label);
    weir_metric_label(out, text);
    weir_buffer_byte(out, '}');
    print_value(out, value);
}

void weir_metric(weir_buffer_t *out, const char *name, const char *kind, const char *help,
                 double value)
{
    weir_metric_begin(out, name, kind, help);
    weir_metric_sample(out, name, value);
}

/* -- histograms of durations ---------------------------------------------------------- */

void weir_durations_add(weir_durations_t *durations, const weir_duration_bounds_t *bounds,
                        int64_t us)
{
    size_t i = 0;
    if (us < 0)
        us = 0;
    while (i < bounds->count && us > bounds->us[i])
        i++;
    durations->buckets[i]++;
    durations->count++;
    durations->sum_us += (uint64_t)us;
}

void weir_metric_durations(weir_buffer_t *out, const char *name, const char *help,
                           const weir_duration_bounds_t *bounds, const weir_durations_t *durations)
{
    uint64_t below = 0;
    weir_metric_begin(out, name, "histogram", help);
    for (size_t i = 0; i < bounds->count; i++) {
        below += durations->buckets[i];
        weir_buffer_printf(out, "%s_bucket{le=\"%g\"} %" PRIu64 "\n", name,
                           (double)bounds->us[i] / 1e6, below);
    }
    weir_buffer_printf(out, "%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", name, durations->count);
    weir_buffer_printf(out, "%s_sum %.6f\n%s_count %" PRIu64 "\n", name,
                       (double)durations->sum_us / 1e6, name, durations->count);
}
