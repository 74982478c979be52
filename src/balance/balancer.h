/* balancer.h -- which address of an upstream a request goes to (routing 9.5, 9.6).
 *
 * A peer is an address of a target. A balancer is made of all of an upstream's peers, and
 * never changes them. It is of one worker; what it is told of health is of all. */
#ifndef WEIR_BALANCE_BALANCER_H
#define WEIR_BALANCE_BALANCER_H

#include "balance/health.h"
#include "image/image.h"

enum {
    WEIR_PEERS_MAX = 32768,
    WEIR_PICK_FAILED_MAX = 16, /* peers that a request passes over; more often it begins anew */
    WEIR_NO_PEER = -1,
};

typedef struct weir_balancer weir_balancer_t;

typedef struct weir_peer {
    weir_str_t host;    /* of its target, as configured */
    weir_str_t address; /* as text, IPv6 in brackets, without the port */
    uint16_t port;
    uint16_t weight;
    weir_health_ref_t health;
} weir_peer_t;

typedef struct weir_balancer_options {
    weir_algorithm_t algorithm;
    uint32_t slots;              /* of the ring */
    uint32_t threshold_centi;    /* how much of the weight must be more than available */
    const weir_health_t *health; /* NULL: all are healthy */
    const weir_peer_t *peers;    /* copied; texts are looked at here alone */
    size_t count;                /* at most WEIR_PEERS_MAX */
    size_t targets;              /* of how many targets they are, those of no weight included */
    uint64_t seed;               /* of the order of turns */
} weir_balancer_options_t;

/* WEIR_NO_MEMORY. */
int weir_balancer_new(const weir_balancer_options_t *options, weir_balancer_t **ret);
void weir_balancer_free(weir_balancer_t *balancer); /* NULL is fine */

/* A request's choices. All zero at first but for `hash`. */
typedef struct weir_pick {
    uint32_t hash; /* weir_balance_hash() of what the upstream hashes on */
    unsigned failed_count;
    uint16_t failed[WEIR_PICK_FAILED_MAX];
} weir_pick_t;

/* XXH32 with the seed 0. */
uint32_t weir_balance_hash(weir_str_t text);

/* The number of a peer, or WEIR_NO_PEER: none is available, or less than the threshold
 * says. Peers that failed are passed over while there are others. `now_ms`: of a clock
 * that only goes on. */
int weir_balancer_pick(weir_balancer_t *balancer, const weir_pick_t *pick, uint64_t now_ms);
/* The last one failed: the next pick looks elsewhere. */
void weir_pick_failed(weir_pick_t *pick, int peer);

/* A connection to the peer is wanted; it is done with. */
void weir_balancer_acquire(weir_balancer_t *balancer, int peer);
void weir_balancer_release(weir_balancer_t *balancer, int peer);
/* How long it took to answer. */
void weir_balancer_latency(weir_balancer_t *balancer, int peer, uint32_t ms, uint64_t now_ms);

#endif
