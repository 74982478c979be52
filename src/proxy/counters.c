/* counters.c -- each counter has two sets of places where it may stand.
 *
 *   header | set | set | ...      set: 16 tags (a line of the processor's cache),
 *                                      16 ends, 16 values, 16 ids
 *
 * A new one goes into the set that has more room, which fills them evenly; a place whose
 * window is over is free. No list, no pointer, no sweep: what a call touches is two
 * sets, however large the memory is. */
#include "proxy/counters.h"

#include <openssl/evp.h>

enum { WAYS = 16, LINE_BYTES = 64 };

typedef struct set {
    uint32_t tags[WAYS]; /* of the ids; 0: never used */
    int64_t ends[WAYS];  /* unix seconds; over: free */
    uint64_t values[WAYS];
    weir_counter_id_t ids[WAYS];
} set_t;

struct weir_counters {
    uint64_t set_count;
    uint64_t refused;
    char unused[LINE_BYTES - 2 * sizeof(uint64_t)];
    set_t sets[];
};

_Static_assert(sizeof(struct weir_counters) == LINE_BYTES, "sets begin with a line");
_Static_assert(sizeof(set_t) % LINE_BYTES == 0, "sets are whole lines");

/* A place of a set. */
typedef struct place {
    set_t *set; /* NULL: none */
    size_t way;
} place_t;

int weir_counter_id(weir_str_t owner, weir_str_t key, weir_counter_id_t *ret)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    uint64_t lengths[] = { owner.len };
    static EVP_MD *sha256; /* looked up once: that takes as long as the hash */
    if (sha256 == NULL)
        sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    EVP_MD_CTX *context = sha256 != NULL ? EVP_MD_CTX_new() : NULL;
    bool fine = context != NULL && EVP_DigestInit_ex(context, sha256, NULL) == 1 &&
                EVP_DigestUpdate(context, lengths, sizeof(lengths)) == 1 &&
                EVP_DigestUpdate(context, owner.data, owner.len) == 1 &&
                EVP_DigestUpdate(context, key.data, key.len) == 1 &&
                EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (!fine)
        return WEIR_NO_MEMORY;
    memcpy(ret, digest, sizeof(*ret));
    return WEIR_OK;
}

/* Spreads the bits of a number over all of them (the end of SplitMix64). */
static uint64_t mixed(uint64_t number)
{
    number += UINT64_C(0x9e3779b97f4a7c15);
    number = (number ^ number >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    number = (number ^ number >> 27) * UINT64_C(0x94d049bb133111eb);
    return number ^ number >> 31;
}

/* The counter of one of the windows of an id: a hash is made once for all of them. */
static weir_counter_id_t of_window(const weir_counter_id_t *id, int64_t length_s)
{
    uint64_t mask = mixed((uint64_t)length_s);
    return (weir_counter_id_t){ { id->half[0] ^ mask, id->half[1] ^ mixed(mask) } };
}

weir_counters_t *weir_counters_make(void *memory, size_t bytes)
{
    weir_counters_t *counters = memory;
    weir_assert(bytes >= WEIR_COUNTERS_BYTES_MIN && (uintptr_t)memory % LINE_BYTES == 0);
    counters->set_count = (bytes - sizeof(*counters)) / sizeof(set_t);
    return counters;
}

size_t weir_counters_capacity(const weir_counters_t *counters)
{
    return counters->set_count * WAYS;
}

static uint32_t tag_of(const weir_counter_id_t *id)
{
    uint32_t tag = (uint32_t)(id->half[0] ^ id->half[1] >> 32);
    return tag != 0 ? tag : 1;
}

static size_t way_of(const set_t *set, uint32_t tag, const weir_counter_id_t *id)
{
    for (size_t way = 0; way < WAYS; way++)
        if (set->tags[way] == tag && memcmp(&set->ids[way], id, sizeof(*id)) == 0)
            return way;
    return WAYS;
}

/* How many places are free, and which is the first. */
static size_t room(const set_t *set, int64_t now_s, size_t *ret_first)
{
    size_t count = 0;
    for (size_t way = WAYS; way-- > 0;) {
        if (set->ends[way] > now_s)
            continue;
        *ret_first = way;
        count++;
    }
    return count;
}

static void both_sets(weir_counters_t *counters, const weir_counter_id_t *id, set_t *ret[2])
{
    ret[0] = &counters->sets[id->half[0] % counters->set_count];
    ret[1] = &counters->sets[id->half[1] % counters->set_count];
}

static place_t find(weir_counters_t *counters, const weir_counter_id_t *id)
{
    set_t *sets[2];
    both_sets(counters, id, sets);
    for (size_t i = 0; i < 2; i++) {
        size_t way = way_of(sets[i], tag_of(id), id);
        if (way < WAYS)
            return (place_t){ sets[i], way };
    }
    return (place_t){ NULL, 0 };
}

/* The end comes last: before it is there, the place is free. */
static place_t take(weir_counters_t *counters, const weir_counter_id_t *id, int64_t now_s)
{
    set_t *sets[2];
    size_t first[2] = { 0, 0 };
    both_sets(counters, id, sets);
    size_t rooms[2] = { room(sets[0], now_s, &first[0]), room(sets[1], now_s, &first[1]) };
    size_t i = rooms[1] > rooms[0];
    if (rooms[i] == 0)
        return (place_t){ NULL, 0 };
    sets[i]->ends[first[i]] = 0;
    sets[i]->values[first[i]] = 0;
    sets[i]->ids[first[i]] = *id;
    sets[i]->tags[first[i]] = tag_of(id);
    return (place_t){ sets[i], first[i] };
}

/* Whether what stands there counts still: it is of this window, or of the next one, where
 * the clock of somebody else is already; of months and years that may be the longer one.
 * Further ahead, the clock was set back. */
static bool is_current(int64_t stored_end, int64_t end, int64_t length_s)
{
    return stored_end == end || (stored_end > end && stored_end - end <= length_s + length_s / 8);
}

static uint64_t count_in(place_t place, int64_t end, int64_t length_s)
{
    return place.set != NULL && is_current(place.set->ends[place.way], end, length_s)
               ? place.set->values[place.way]
               : 0;
}

/* Where the counter of the window stands from now on, with nothing in it if it is new.
 * set NULL: there is no place. */
static place_t open_window(weir_counters_t *counters, const weir_counter_id_t *id, int64_t now_s,
                           int64_t end, int64_t length_s)
{
    place_t place = find(counters, id);
    if (place.set == NULL)
        place = take(counters, id, now_s);
    if (place.set == NULL) {
        counters->refused++;
        return place;
    }
    if (!is_current(place.set->ends[place.way], end, length_s)) {
        place.set->values[place.way] = 0;
        place.set->ends[place.way] = end;
    }
    return place;
}

int weir_counters_add(weir_counters_t *counters, const weir_counter_id_t *id, int64_t window_s,
                      int64_t now_s, uint64_t amount, uint64_t *ret)
{
    int64_t end = (now_s / window_s + 1) * window_s;
    weir_counter_id_t own = of_window(id, window_s);
    *ret = 0;
    if (amount == 0) {
        *ret = count_in(find(counters, &own), end, window_s);
        return WEIR_OK;
    }
    place_t place = open_window(counters, &own, now_s, end, window_s);
    if (place.set == NULL)
        return WEIR_FULL;
    uint64_t *value = &place.set->values[place.way];
    *ret = *value = UINT64_MAX - *value < amount ? UINT64_MAX : *value + amount;
    return WEIR_OK;
}

/* Takes back what weir_counters_take() has counted in the first windows. */
static void give_back(const place_t *places, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (--places[i].set->values[places[i].way] == 0)
            places[i].set->ends[places[i].way] = 0;
}

int weir_counters_take(weir_counters_t *counters, const weir_counter_id_t *id, int64_t now_s,
                       weir_window_t *windows, size_t count, bool *ret_counted)
{
    place_t places[WEIR_WINDOWS_MAX];
    *ret_counted = true;
    weir_assert(count <= WEIR_WINDOWS_MAX);
    for (size_t i = 0; i < count; i++) {
        weir_window_t *w = &windows[i];
        weir_counter_id_t own = of_window(id, w->length_s);
        w->count = count_in(find(counters, &own), w->ends_s, w->length_s);
        *ret_counted &= w->count < w->limit;
    }
    for (size_t i = 0; *ret_counted && i < count; i++) {
        weir_counter_id_t own = of_window(id, windows[i].length_s);
        places[i] = open_window(counters, &own, now_s, windows[i].ends_s, windows[i].length_s);
        if (places[i].set == NULL) {
            give_back(places, i);
            *ret_counted = false;
            return WEIR_FULL;
        }
        places[i].set->values[places[i].way]++;
    }
    return WEIR_OK;
}

uint64_t weir_counters_refused(const weir_counters_t *counters)
{
    return counters->refused;
}
