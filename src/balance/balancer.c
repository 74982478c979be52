/* balancer.c -- the peers of an upstream, and a choice among them. */
#include "balance/internal.h"

#include <math.h>

enum { DRAWS_OF_FAILED_MAX = 8, DECAY_MS = 10000 };

typedef struct peer {
    weir_health_ref_t health;
    uint16_t weight;
    uint32_t connections;
    double latency_ms; /* below 0: not known yet */
    uint64_t latency_at;
} peer_t;

struct weir_balancer {
    weir_algorithm_t algorithm;
    uint32_t threshold_centi;
    const weir_health_t *health;
    uint64_t changes; /* weir_health_changes() that `unavailable` is of */
    uint64_t total, unavailable;
    turns_t turns;
    ring_t ring;
    size_t next; /* where a search begins, so that equals take turns */
    size_t count;
    peer_t peers[];
};

static void count_unavailable(weir_balancer_t *balancer)
{
    balancer->changes = balancer->health != NULL ? weir_health_changes(balancer->health) : 0;
    balancer->unavailable = 0;
    for (size_t i = 0; i < balancer->count; i++)
        if (!weir_health_usable(&balancer->peers[i].health))
            balancer->unavailable += balancer->peers[i].weight;
}

int weir_balancer_new(const weir_balancer_options_t *options, weir_balancer_t **ret)
{
    size_t count = options->count;
    weir_assert(count <= WEIR_PEERS_MAX);
    weir_balancer_t *balancer = weir_calloc(1, sizeof(*balancer) + count * sizeof(peer_t));
    if (balancer == NULL)
        return WEIR_NO_MEMORY;
    balancer->algorithm = options->algorithm;
    balancer->threshold_centi = options->threshold_centi;
    balancer->health = options->health;
    balancer->count = count;
    for (size_t i = 0; i < count; i++) {
        balancer->peers[i] = (peer_t){ .health = options->peers[i].health,
                                       .weight = options->peers[i].weight,
                                       .latency_ms = -1 };
        balancer->total += options->peers[i].weight;
    }
    balancer->next = count > 0 ? options->seed % count : 0;
    count_unavailable(balancer);
    int rc = WEIR_OK;
    if (options->algorithm == WEIR_ROUND_ROBIN)
        rc = turns_init(&balancer->turns, options->peers, count, options->seed);
    else if (options->algorithm == WEIR_CONSISTENT_HASHING)
        rc = ring_init(&balancer->ring, options);
    if (rc == WEIR_OK)
        *ret = balancer;
    else
        weir_balancer_free(balancer);
    return rc;
}

void weir_balancer_free(weir_balancer_t *balancer)
{
    if (balancer == NULL)
        return;
    turns_release(&balancer->turns);
    ring_release(&balancer->ring);
    weir_free(balancer);
}

/* -- picks --------------------------------------------------------------------------------------
 */

void weir_pick_failed(weir_pick_t *pick, int peer)
{
    if (peer >= 0)
        pick->failed[pick->failed_count++ % WEIR_PICK_FAILED_MAX] = (uint16_t)peer;
}

static bool has_failed(const weir_pick_t *pick, size_t peer)
{
    unsigned known =
        pick->failed_count < WEIR_PICK_FAILED_MAX ? pick->failed_count : WEIR_PICK_FAILED_MAX;
    for (unsigned i = 0; i < known; i++)
        if (pick->failed[i] == peer)
            return true;
    return false;
}

static bool is_usable(const weir_balancer_t *balancer, size_t peer)
{
    return weir_health_usable(&balancer->peers[peer].health);
}

/* One that has weight, is usable and has not failed, from `next` on. */
static int any_other(weir_balancer_t *balancer, const weir_pick_t *pick)
{
    for (size_t i = 0; i < balancer->count; i++) {
        size_t peer = (balancer->next + i) % balancer->count;
        if (balancer->peers[peer].weight > 0 && is_usable(balancer, peer) &&
            !has_failed(pick, peer)) {
            balancer->next = (peer + 1) % balancer->count;
            return (int)peer;
        }
    }
    return WEIR_NO_PEER;
}

static int pick_in_turn(weir_balancer_t *balancer, const weir_pick_t *pick)
{
    size_t failed = 0;
    int last = WEIR_NO_PEER;
    for (size_t draws = 2 * balancer->count + DRAWS_OF_FAILED_MAX; draws > 0; draws--) {
        size_t peer = turns_draw(&balancer->turns);
        if (!is_usable(balancer, peer)) {
            turns_pass(&balancer->turns, peer);
            continue;
        }
        if (!has_failed(pick, peer))
            return (int)peer;
        last = (int)peer;
        if (++failed < DRAWS_OF_FAILED_MAX)
            continue;
        int other = any_other(balancer, pick);
        return other != WEIR_NO_PEER ? other : last;
    }
    return last;
}

/* From the value's slot downwards; the one right above it is never looked at. On a ring that
 * is too small for all, some peers have no slot: they serve if nobody else can. */
static int pick_by_hash(weir_balancer_t *balancer, const weir_pick_t *pick)
{
    uint32_t points = balancer->ring.points;
    uint32_t slot = pick->hash % points;
    int failed = WEIR_NO_PEER;
    for (uint32_t i = 0; i + 1 < points; i++) {
        uint16_t number = balancer->ring.slots[slot];
        slot = slot > 0 ? slot - 1 : points - 1;
        if (number == 0 || !is_usable(balancer, number - 1u))
            continue;
        if (!has_failed(pick, number - 1u))
            return number - 1;
        if (failed == WEIR_NO_PEER)
            failed = number - 1;
    }
    int other = any_other(balancer, pick);
    return other != WEIR_NO_PEER ? other : failed;
}

/* Less is better. Without weight a peer is what is left when there is nothing else. */
static double cost_of(const weir_balancer_t *balancer, size_t number, double average,
                      uint64_t now_ms)
{
    const peer_t *peer = &balancer->peers[number];
    if (peer->weight == 0)
        return INFINITY;
    if (balancer->algorithm == WEIR_LEAST_CONNECTIONS)
        return (peer->connections + 1.0) / peer->weight;
    if (peer->latency_ms < 0)
        return average / peer->weight;
    double age = (double)(now_ms - peer->latency_at);
    return peer->latency_ms * exp(-age / DECAY_MS) / peer->weight;
}

static double average_latency(const weir_balancer_t *balancer)
{
    double sum = 0;
    size_t known = 0;
    for (size_t i = 0; i < balancer->count; i++) {
        if (balancer->peers[i].latency_ms < 0)
            continue;
        sum += balancer->peers[i].latency_ms;
        known++;
    }
    return known > 0 ? sum / (double)known : 0;
}

static int pick_cheapest(weir_balancer_t *balancer, const weir_pick_t *pick, uint64_t now_ms)
{
    int best[2] = { WEIR_NO_PEER, WEIR_NO_PEER }; /* of those that did not fail, that did */
    double least[2] = { INFINITY, INFINITY };
    double average = balancer->algorithm == WEIR_LATENCY ? average_latency(balancer) : 0;
    for (size_t i = 0; i < balancer->count; i++) {
        size_t peer = (balancer->next + i) % balancer->count;
        if (!is_usable(balancer, peer))
            continue;
        double cost = cost_of(balancer, peer, average, now_ms);
        bool failed = has_failed(pick, peer);
        if (best[failed] != WEIR_NO_PEER && cost >= least[failed])
            continue;
        best[failed] = (int)peer;
        least[failed] = cost;
    }
    int chosen = best[0];
    if (chosen == WEIR_NO_PEER && balancer->algorithm == WEIR_LEAST_CONNECTIONS)
        chosen = best[1];
    if (chosen != WEIR_NO_PEER)
        balancer->next = ((size_t)chosen + 1) % balancer->count;
    return chosen;
}

/* routing 9.5: more than the threshold, and never if nothing has weight. */
static bool is_healthy(const weir_balancer_t *balancer)
{
    return balancer->total > 0 && (balancer->total - balancer->unavailable) * 10000 >
                                      balancer->total * balancer->threshold_centi;
}

int weir_balancer_pick(weir_balancer_t *balancer, const weir_pick_t *pick, uint64_t now_ms)
{
    if (balancer->health != NULL && balancer->changes != weir_health_changes(balancer->health)) {
        count_unavailable(balancer);
        if (balancer->algorithm == WEIR_ROUND_ROBIN)
            turns_restart(&balancer->turns);
    }
    if (!is_healthy(balancer))
        return WEIR_NO_PEER;
    switch (balancer->algorithm) {
    case WEIR_ROUND_ROBIN:
        return pick_in_turn(balancer, pick);
    case WEIR_CONSISTENT_HASHING:
        return pick_by_hash(balancer, pick);
    case WEIR_LEAST_CONNECTIONS:
    case WEIR_LATENCY:
        return pick_cheapest(balancer, pick, now_ms);
    }
    return WEIR_NO_PEER;
}

/* -- what is learned ------------------------------------------------------------------------------
 */

void weir_balancer_acquire(weir_balancer_t *balancer, int peer)
{
    weir_assert(peer >= 0 && (size_t)peer < balancer->count);
    balancer->peers[peer].connections++;
}

void weir_balancer_release(weir_balancer_t *balancer, int peer)
{
    weir_assert(peer >= 0 && (size_t)peer < balancer->count);
    weir_assert(balancer->peers[peer].connections > 0);
    balancer->peers[peer].connections--;
}

void weir_balancer_latency(weir_balancer_t *balancer, int peer, uint32_t ms, uint64_t now_ms)
{
    weir_assert(peer >= 0 && (size_t)peer < balancer->count);
    peer_t *at = &balancer->peers[peer];
    double old = at->latency_ms < 0 ? average_latency(balancer) : at->latency_ms;
    double age = at->latency_ms < 0 ? DECAY_MS : (double)(now_ms - at->latency_at);
    double share = exp(-age / DECAY_MS);
    at->latency_ms = old * share + ms * (1 - share);
    at->latency_at = now_ms;
}
