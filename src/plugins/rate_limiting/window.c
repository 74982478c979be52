/* window.c -- the windows in which requests count (spec: plugins 2.1, 4). */
#include "plugins/rate_limiting/rate_limiting.h"

#include <time.h>

enum { MONTH = 4 }; /* the first period whose windows are of different lengths */

/* The month, or year, of the calendar. */
static void calendar(size_t period, int64_t now_s, rate_limiting_window_t *ret)
{
    time_t now = (time_t)now_s;
    struct tm begin;
    gmtime_r(&now, &begin);
    struct tm first = { .tm_year = begin.tm_year, .tm_mday = 1 };
    if (period == MONTH)
        first.tm_mon = begin.tm_mon;
    struct tm next = first;
    if (period == MONTH)
        next.tm_mon++;
    else
        next.tm_year++;
    ret->begins_s = timegm(&first);
    ret->ends_s = timegm(&next);
}

rate_limiting_window_t rate_limiting_window(size_t period, int64_t now_s)
{
    static const int64_t lengths_s[RATE_LIMITING_PERIODS] = { 1,     60,         3600,
                                                              86400, 30 * 86400, 365 * 86400 };
    rate_limiting_window_t window = { .length_s = lengths_s[period] };
    if (period >= MONTH) {
        calendar(period, now_s, &window);
        return window;
    }
    window.begins_s = now_s - now_s % window.length_s;
    window.ends_s = window.begins_s + window.length_s;
    return window;
}
