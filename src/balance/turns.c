/* turns.c -- weighted round robin.
 *
 * The incumbent lists each address as often as its weight says, shuffles the list and goes
 * round it. With weights up to 65535 such a list can be of any size, so here there is none:
 * who comes next is drawn among what is left of the turn, in O(log n) by a tree of sums.
 * Each turn draws with the same random numbers, which is the same list again: a retry finds
 * who comes next in it, as with the incumbent. */
#include "balance/internal.h"

static uint64_t next_random(uint64_t *state)
{
    /* splitmix64 */
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    while (b != 0) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static void refill(turns_t *turns)
{
    memcpy(turns->left, turns->weights, turns->count * sizeof(*turns->left));
    for (size_t i = 1; i <= turns->count; i++)
        turns->sums[i] = turns->left[i - 1];
    for (size_t i = 1; i <= turns->count; i++) {
        size_t above = i + (i & -i);
        if (above <= turns->count)
            turns->sums[above] += turns->sums[i];
    }
    turns->total_left = turns->total;
    turns->random = turns->seed;
}

int turns_init(turns_t *turns, const weir_peer_t *peers, size_t count, uint64_t seed)
{
    uint32_t divisor = 0;
    *turns = (turns_t){ .count = count, .seed = seed };
    turns->weights = weir_calloc(3 * count + 1, sizeof(*turns->weights));
    if (turns->weights == NULL)
        return WEIR_NO_MEMORY;
    turns->left = turns->weights + count;
    turns->sums = turns->left + count;
    for (size_t i = 0; i < count; i++)
        divisor = common_divisor(peers[i].weight, divisor);
    for (size_t i = 0; i < count; i++) {
        turns->weights[i] = divisor > 0 ? peers[i].weight / divisor : 0;
        turns->total += turns->weights[i];
    }
    refill(turns);
    return WEIR_OK;
}

void turns_release(turns_t *turns)
{
    weir_free(turns->weights);
    *turns = (turns_t){ 0 };
}

void turns_restart(turns_t *turns)
{
    next_random(&turns->seed);
    refill(turns);
}

static void take(turns_t *turns, size_t peer, uint32_t amount)
{
    turns->left[peer] -= amount;
    turns->total_left -= amount;
    for (size_t i = peer + 1; i <= turns->count; i += i & -i)
        turns->sums[i] -= amount;
}

size_t turns_draw(turns_t *turns)
{
    weir_assert(turns->total > 0);
    if (turns->total_left == 0)
        refill(turns);
    uint64_t rest = next_random(&turns->random) % turns->total_left;
    size_t peer = 0;
    size_t step = 1;
    while (2 * step <= turns->count)
        step *= 2;
    for (; step > 0; step /= 2) {
        if (peer + step <= turns->count && turns->sums[peer + step] <= rest) {
            peer += step;
            rest -= turns->sums[peer];
        }
    }
    take(turns, peer, 1);
    return peer;
}

void turns_pass(turns_t *turns, size_t peer)
{
    take(turns, peer, turns->left[peer]);
}
