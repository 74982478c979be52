/* counters.h -- counters of fixed windows, in memory that several processes share.
 *
 * Knows no nginx: who maps the memory also brings the lock (weir_counters_add() is
 * called with it held). Nothing in the memory points anywhere, and a process that dies
 * in the middle of a call leaves every counter but that one as it was. */
#ifndef WEIR_PROXY_COUNTERS_H
#define WEIR_PROXY_COUNTERS_H

#include "base/base.h"
#include "weir/plugin.h"

enum {
    WEIR_COUNTERS_BYTES_MIN = 4096,
    WEIR_COUNTERS_WINDOW_S_MAX = 10 * 366 * 86400,
};

typedef struct weir_counters weir_counters_t; /* lies in the memory itself */

/* Which counters: the first half of a SHA-256 of all that names them. */
typedef struct weir_counter_id {
    uint64_t half[2];
} weir_counter_id_t;

/* Keys of different owners are different counters, and so, for the functions below, are
 * windows of different lengths under one id. WEIR_NO_MEMORY. */
int weir_counter_id(weir_str_t owner, weir_str_t key, weir_counter_id_t *ret);

/* `memory` is zeroed, of at least WEIR_COUNTERS_BYTES_MIN, and aligned to 64 bytes; about
 * 36 bytes of it make a counter. */
weir_counters_t *weir_counters_make(void *memory, size_t bytes);
/* How many counters fit at the most; some 80 % of them before the first WEIR_FULL. */
size_t weir_counters_capacity(const weir_counters_t *counters);

/* Adds to the window of `now_s` and says what that makes; of 0 the value alone, and
 * nothing is kept. Windows begin at multiples of window_s (1 to WEIR_COUNTERS_WINDOW_S_MAX)
 * of unix time. A clock that is behind that of others by less than a window counts in
 * theirs. Windows that are over give way to others. WEIR_FULL: not counted, all
 * places that this counter could have are taken by windows that are not over. */
int weir_counters_add(weir_counters_t *counters, const weir_counter_id_t *id, int64_t window_s,
                      int64_t now_s, uint64_t amount, uint64_t *ret);

/* Adds 1 in all windows, or in none (weir_counter_take()). Their ends are after now_s, and
 * no more than an eighth of a length further than a length. WEIR_FULL: in none. */
int weir_counters_take(weir_counters_t *counters, const weir_counter_id_t *id, int64_t now_s,
                       weir_window_t *windows, size_t count, bool *ret_counted);

/* How many calls were not counted because there was no place. */
uint64_t weir_counters_refused(const weir_counters_t *counters);

#endif
