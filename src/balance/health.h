/* health.h -- what is known of the health of targets, in memory that all workers share
 * (routing 10).
 *
 * Knows no nginx: who maps the memory also brings the lock (weir_health_find() is called
 * with it held). All else is one atomic word for each address: a process that dies in the
 * middle of a call leaves it whole. */
#ifndef WEIR_BALANCE_HEALTH_H
#define WEIR_BALANCE_HEALTH_H

#include "base/base.h"

enum { WEIR_HEALTH_BYTES_MIN = 4096 };

typedef struct weir_health weir_health_t;           /* lies in the memory itself */
typedef struct weir_health_cell weir_health_cell_t; /* of one address */

/* Where something is known of an address. cell NULL: nothing is, it is healthy. A cell that
 * was given to another address since then counts as none. */
typedef struct weir_health_ref {
    weir_health_cell_t *cell;
    uint64_t id;
} weir_health_ref_t;

typedef enum weir_health_state {
    WEIR_HEALTHY,
    WEIR_MOSTLY_HEALTHY, /* it has failed, but not often enough */
    WEIR_MOSTLY_UNHEALTHY,
    WEIR_UNHEALTHY,
} weir_health_state_t;

typedef enum weir_health_event {
    WEIR_HEALTH_SUCCESS,
    WEIR_HEALTH_HTTP_FAILURE,
    WEIR_HEALTH_TCP_FAILURE,
    WEIR_HEALTH_TIMEOUT,
} weir_health_event_t;

/* `memory` is zeroed, of at least WEIR_HEALTH_BYTES_MIN, and aligned to 64 bytes; 24 bytes
 * of it make an address. */
weir_health_t *weir_health_make(void *memory, size_t bytes);
size_t weir_health_capacity(const weir_health_t *health);

/* The same address in two upstreams, or under two names, is two. `address`: with its port. */
uint64_t weir_health_id(weir_str_t upstream, weir_str_t host, weir_str_t address);
/* Its place, or a fresh one; the least recently found healthy one of a full set gives way,
 * and only if there is none the least recently found of all. */
weir_health_ref_t weir_health_find(weir_health_t *health, uint64_t id, uint32_t now_s);

weir_health_state_t weir_health_state(const weir_health_ref_t *ref);
bool weir_health_usable(const weir_health_ref_t *ref);
/* Another number whenever an address has become usable, or is so no longer. */
uint64_t weir_health_changes(const weir_health_t *health);
/* `limit`: how many of these make the other state; 0: they are ignored. Whether it has
 * become usable, or is so no longer. */
bool weir_health_report(weir_health_t *health, const weir_health_ref_t *ref,
                        weir_health_event_t event, unsigned limit);

#endif
