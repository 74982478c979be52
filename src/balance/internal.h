/* internal.h -- shared by the files of this room. */
#ifndef WEIR_BALANCE_INTERNAL_H
#define WEIR_BALANCE_INTERNAL_H

#include "balance/balancer.h"

/* turns.c: numbers in an order of chance in which each comes as often as its weight says,
 * the same order every turn. */
typedef struct turns {
    size_t count;
    uint32_t *weights, *left; /* of this turn, by number */
    uint32_t *sums;           /* of `left`, a tree: sums[i] of a run that ends with i - 1 */
    uint64_t total, total_left;
    uint64_t seed, random;
} turns_t;
int turns_init(turns_t *turns, const weir_peer_t *peers, size_t count, uint64_t seed);
void turns_release(turns_t *turns);
void turns_restart(turns_t *turns);           /* in another order */
size_t turns_draw(turns_t *turns);            /* some weight is not 0 */
void turns_pass(turns_t *turns, size_t peer); /* no more of it in this turn */

/* ring.c: slot -> number of a peer + 1; 0: nobody's. */
typedef struct ring {
    uint32_t points;
    uint16_t *slots;
} ring_t;
int ring_init(ring_t *ring, const weir_balancer_options_t *options);
void ring_release(ring_t *ring);

#endif
