/* ring.c -- consistent hashing as the incumbent does it, bit by bit, so that clients keep
 * their targets (routing 9.6). */
#include "balance/internal.h"

#include <stdio.h>
#include <stdlib.h>

enum { POINTS_MIN = 1000, POINTS_PER_TARGET = 160, KEY_BYTES_MAX = 128 };

/* -- XXH32 ------------------------------------------------------------------------------------ */

static const uint32_t primes[] = { 2654435761u, 2246822519u, 3266489917u, 668265263u, 374761393u };

static uint32_t rotated(uint32_t value, unsigned bits)
{
    return value << bits | value >> (32 - bits);
}

static uint32_t word_at(const uint8_t *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint32_t hash_lanes(const uint8_t **at, const uint8_t *end)
{
    uint32_t lanes[] = { primes[0] + primes[1], primes[1], 0, -primes[0] };
    for (; end - *at >= 16; *at += 16)
        for (size_t i = 0; i < 4; i++)
            lanes[i] = rotated(lanes[i] + word_at(*at + 4 * i) * primes[1], 13) * primes[0];
    return rotated(lanes[0], 1) + rotated(lanes[1], 7) + rotated(lanes[2], 12) +
           rotated(lanes[3], 18);
}

uint32_t weir_balance_hash(weir_str_t text)
{
    const uint8_t *at = (const uint8_t *)text.data;
    const uint8_t *end = at + text.len;
    uint32_t hash = text.len >= 16 ? hash_lanes(&at, end) : primes[4];
    hash += (uint32_t)text.len;
    for (; end - at >= 4; at += 4)
        hash = rotated(hash + word_at(at) * primes[2], 17) * primes[3];
    for (; at < end; at++)
        hash = rotated(hash + *at * primes[4], 11) * primes[0];
    hash = (hash ^ hash >> 15) * primes[1];
    hash = (hash ^ hash >> 13) * primes[2];
    return hash ^ hash >> 16;
}

/* -- the ring --------------------------------------------------------------------------------- */

static int compare_texts(weir_str_t a, weir_str_t b)
{
    size_t least = a.len < b.len ? a.len : b.len;
    int order = least > 0 ? memcmp(a.data, b.data, least) : 0;
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

/* By target, inside by "ip:port"; of one target the ports are the same. */
static int compare_peers(const void *a, const void *b)
{
    const weir_peer_t *x = *(const weir_peer_t *const *)a;
    const weir_peer_t *y = *(const weir_peer_t *const *)b;
    int order = compare_texts(x->host, y->host);
    if (order == 0)
        order = (x->port > y->port) - (x->port < y->port);
    return order != 0 ? order : compare_texts(x->address, y->address);
}

/* The slots of one peer. False: there are not enough of them. */
static bool place(ring_t *ring, const weir_peer_t *peer, size_t number, uint64_t count)
{
    char key[KEY_BYTES_MAX];
    for (uint64_t i = 1; i <= count; i++) {
        if (i > ring->points)
            return false;
        int len = snprintf(key, sizeof(key), "%.*s::%d %d", WEIR_STR_ARG(peer->address), peer->port,
                           (int)i);
        weir_assert(len > 0 && (size_t)len < sizeof(key));
        uint32_t slot = weir_balance_hash((weir_str_t){ key, (size_t)len }) % ring->points;
        if (ring->slots[slot] != 0)
            count++; /* taken: one more is tried */
        else
            ring->slots[slot] = (uint16_t)(number + 1);
    }
    return true;
}

int ring_init(ring_t *ring, const weir_balancer_options_t *options)
{
    uint64_t total = 0;
    ring->points = options->slots < POINTS_MIN ? POINTS_MIN : options->slots;
    ring->slots = weir_calloc(ring->points, sizeof(*ring->slots));
    const weir_peer_t **sorted = weir_calloc(options->count + 1, sizeof(const weir_peer_t *));
    bool fine = ring->slots != NULL && sorted != NULL;
    for (size_t i = 0; fine && i < options->count; i++) {
        sorted[i] = &options->peers[i];
        total += options->peers[i].weight;
    }
    if (fine)
        qsort(sorted, options->count, sizeof(const weir_peer_t *), compare_peers);
    bool room = fine;
    for (size_t i = 0; room && i < options->count; i++) {
        uint64_t weight = sorted[i]->weight;
        uint64_t count = weight == 0 ? 0 : weight * options->targets * POINTS_PER_TARGET / total;
        if (weight > 0 && count == 0)
            count = 1;
        room = place(ring, sorted[i], (size_t)(sorted[i] - options->peers), count);
    }
    weir_free(sorted);
    return fine ? WEIR_OK : WEIR_NO_MEMORY;
}

void ring_release(ring_t *ring)
{
    weir_free(ring->slots);
    ring->slots = NULL;
}
