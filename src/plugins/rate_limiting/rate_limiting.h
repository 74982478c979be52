/* rate_limiting.h -- what the files of this folder share: the record, and windows. */
#ifndef WEIR_RATE_LIMITING_H
#define WEIR_RATE_LIMITING_H

#include "weir/plugin.h"

enum { RATE_LIMITING_PERIODS = 6 };

/* second ... year, rising: a period is its index. */
extern const char *const rate_limiting_periods[RATE_LIMITING_PERIODS];

/* -- the record: compile.c writes, phases.c reads, in this order ----------------
 *   number   whose requests count together
 *   number   the flags below
 *   number   the status of a refusal; 0: one that no answer can have
 *   string   the message of a refusal; absent: that of the status
 *   string   the header, or the path, that the requests are told apart by; or absent
 *   6 numbers, by period: the bits of the limit, a double; 0: none */
typedef enum rate_limiting_by {
    RATE_LIMITING_BY_IP = 0,
    RATE_LIMITING_BY_CONSUMER,
    RATE_LIMITING_BY_CREDENTIAL,
    RATE_LIMITING_BY_SERVICE,
    RATE_LIMITING_BY_HEADER,
    RATE_LIMITING_BY_PATH,
} rate_limiting_by_t;

enum {
    RATE_LIMITING_FAULT_TOLERANT = 1,
    RATE_LIMITING_HIDE_HEADERS = 2,
};

static inline uint64_t rate_limiting_bits(double limit)
{
    uint64_t bits = 0;
    memcpy(&bits, &limit, sizeof(bits));
    return bits;
}

static inline double rate_limiting_limit(uint64_t bits)
{
    double limit = 0;
    memcpy(&limit, &bits, sizeof(limit));
    return limit;
}

extern const weir_plugin_schema_t weir_plugin_schema_rate_limiting; /* schema.c */
int rate_limiting_compile(const weir_json_t *config, weir_record_writer_t *out, weir_error_t *err);

/* -- windows: window.c -------------------------------------------------------------
 * Windows begin with the second, ..., year of UTC; their lengths are those of the
 * arithmetic of the incumbent, of 30 days to the month and 365 to the year. */
typedef struct rate_limiting_window {
    int64_t length_s;         /* of the arithmetic */
    int64_t begins_s, ends_s; /* of the calendar */
} rate_limiting_window_t;

/* The window of a period that now_s (not negative) is in. */
rate_limiting_window_t rate_limiting_window(size_t period, int64_t now_s);

#endif
