/* log.h -- structured log lines of the processes that are not nginx.
 *
 * One line an event, written with one write(2):
 *   2026-11-25T20:13:55.123Z notice agent[812]: applied version=12 deltas=3
 * The message is a few fixed words; what varies follows as key=value, with
 * quotes where a value has spaces. Rooms return errors; only main loops log. */
#ifndef WEIR_LOG_H
#define WEIR_LOG_H

#include "base/base.h"

/* The names and the order of nginx and of the log_level setting. */
typedef enum weir_log_level {
    WEIR_LOG_EMERG = 1,
    WEIR_LOG_ALERT,
    WEIR_LOG_CRIT,
    WEIR_LOG_ERROR,
    WEIR_LOG_WARN,
    WEIR_LOG_NOTICE,
    WEIR_LOG_INFO,
    WEIR_LOG_DEBUG,
} weir_log_level_t;

/* WEIR_INVALID, without a message, for a name that is none. */
int weir_log_level_parse(weir_str_t name, weir_log_level_t *ret);

/* Where lines go from now on: `path` is opened for appending (NULL: standard
 * error). `process` is a literal. May be called again, to reopen after rotation. */
int weir_log_open(const char *path, weir_log_level_t level, const char *process, weir_error_t *err);
bool weir_log_enabled(weir_log_level_t level);
void weir_log(weir_log_level_t level, const char *format, ...) WEIR_PRINTF(2, 3);

#endif
