/* health.c -- a table of sets; the state and the counters of an address are one word. */
#include "balance/health.h"

enum { WAYS = 8, LINE_BYTES = 64 };

/* word: state, then the four counters, a byte each. `id` 0: free. */
struct weir_health_cell {
    uint64_t id;
    uint64_t word;
    uint32_t found_s; /* when it was last looked for */
    uint32_t unused;
};

struct weir_health {
    uint64_t set_count;
    uint64_t changes;
    char unused[LINE_BYTES - 2 * sizeof(uint64_t)];
    weir_health_cell_t cells[];
};

_Static_assert(sizeof(struct weir_health) == LINE_BYTES, "cells begin with a line");
_Static_assert(sizeof(weir_health_cell_t) * WAYS % LINE_BYTES == 0, "sets are whole lines");

/* -- the table -------------------------------------------------------------------------------- */

weir_health_t *weir_health_make(void *memory, size_t bytes)
{
    weir_health_t *health = memory;
    weir_assert(bytes >= WEIR_HEALTH_BYTES_MIN && (uintptr_t)memory % LINE_BYTES == 0);
    health->set_count = (bytes - sizeof(*health)) / (WAYS * sizeof(weir_health_cell_t));
    return health;
}

size_t weir_health_capacity(const weir_health_t *health)
{
    return health->set_count * WAYS;
}

static uint64_t add_text(uint64_t hash, weir_str_t text)
{
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (uint8_t)text.data[i]) * UINT64_C(1099511628211);
    hash = (hash ^ text.len) * UINT64_C(0x9e3779b97f4a7c15); /* where it ends */
    return hash ^ hash >> 32;
}

uint64_t weir_health_id(weir_str_t upstream, weir_str_t host, weir_str_t address)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    hash = add_text(add_text(add_text(hash, upstream), host), address);
    hash = (hash ^ hash >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
    hash ^= hash >> 32;
    return hash != 0 ? hash : 1;
}

static weir_health_state_t state_of(uint64_t word)
{
    return (weir_health_state_t)(word & 3);
}

static bool is_usable(uint64_t word)
{
    return state_of(word) <= WEIR_MOSTLY_HEALTHY;
}

/* Free ones first, then what is healthy, then the rest; the oldest of them. */
static weir_health_cell_t *choose(weir_health_cell_t *set)
{
    weir_health_cell_t *chosen = &set[0];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].id == 0)
            return &set[i];
        bool healthy = set[i].word == 0;
        bool better = healthy != (chosen->word == 0) ? healthy : set[i].found_s < chosen->found_s;
        if (better)
            chosen = &set[i];
    }
    return chosen;
}

weir_health_ref_t weir_health_find(weir_health_t *health, uint64_t id, uint32_t now_s)
{
    weir_health_cell_t *set = &health->cells[id % health->set_count * WAYS];
    weir_health_cell_t *cell = NULL;
    for (size_t i = 0; cell == NULL && i < WAYS; i++)
        if (set[i].id == id)
            cell = &set[i];
    if (cell == NULL) {
        cell = choose(set);
        __atomic_store_n(&cell->id, 0, __ATOMIC_SEQ_CST); /* nobody reports into it meanwhile */
        __atomic_store_n(&cell->word, 0, __ATOMIC_SEQ_CST);
        __atomic_store_n(&cell->id, id, __ATOMIC_SEQ_CST);
    }
    cell->found_s = now_s;
    return (weir_health_ref_t){ cell, id };
}

/* -- states ----------------------------------------------------------------------------------- */

static bool is_known(const weir_health_ref_t *ref)
{
    return ref->cell != NULL && __atomic_load_n(&ref->cell->id, __ATOMIC_RELAXED) == ref->id;
}

static uint64_t load(const weir_health_ref_t *ref)
{
    return is_known(ref) ? __atomic_load_n(&ref->cell->word, __ATOMIC_RELAXED) : 0;
}

weir_health_state_t weir_health_state(const weir_health_ref_t *ref)
{
    return state_of(load(ref));
}

bool weir_health_usable(const weir_health_ref_t *ref)
{
    return is_usable(load(ref));
}

uint64_t weir_health_changes(const weir_health_t *health)
{
    return __atomic_load_n(&health->changes, __ATOMIC_RELAXED);
}

static unsigned counter(uint64_t word, weir_health_event_t event)
{
    return word >> 8 * (1 + (unsigned)event) & 0xff;
}

static uint64_t with_counter(uint64_t word, weir_health_event_t event, unsigned value)
{
    unsigned shift = 8 * (1 + (unsigned)event);
    return (word & ~(UINT64_C(0xff) << shift)) | (uint64_t)value << shift;
}

static uint64_t with_state(uint64_t word, weir_health_state_t state)
{
    return (word & ~UINT64_C(3)) | state;
}

/* A report of what is the case already changes nothing. */
static uint64_t after(uint64_t word, weir_health_event_t event, unsigned limit)
{
    bool good = event == WEIR_HEALTH_SUCCESS;
    weir_health_state_t pure = good ? WEIR_HEALTHY : WEIR_UNHEALTHY;
    weir_health_state_t state = state_of(word);
    if (state == pure)
        return word;
    unsigned count = counter(word, event);
    count = count < 0xff ? count + 1 : count;
    for (int other = WEIR_HEALTH_SUCCESS; other <= WEIR_HEALTH_TIMEOUT; other++)
        if ((other == WEIR_HEALTH_SUCCESS) != good)
            word = with_counter(word, (weir_health_event_t)other, 0);
    word = with_counter(word, event, count);
    if (count >= limit)
        return with_state(word, pure);
    if (state == WEIR_HEALTHY)
        return with_state(word, WEIR_MOSTLY_HEALTHY);
    return state == WEIR_UNHEALTHY ? with_state(word, WEIR_MOSTLY_UNHEALTHY) : word;
}

bool weir_health_report(weir_health_t *health, const weir_health_ref_t *ref,
                        weir_health_event_t event, unsigned limit)
{
    if (limit == 0 || !is_known(ref))
        return false;
    uint64_t before = __atomic_load_n(&ref->cell->word, __ATOMIC_SEQ_CST);
    uint64_t now = after(before, event, limit);
    while (now != before && !__atomic_compare_exchange_n(&ref->cell->word, &before, now, false,
                                                         __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        now = after(before, event, limit);
    if (is_usable(now) == is_usable(before))
        return false;
    __atomic_add_fetch(&health->changes, 1, __ATOMIC_SEQ_CST);
    return true;
}
