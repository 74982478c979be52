/* regex.c -- compiled regular expressions of routes, per process.
 *
 * Compiled at first use, kept by (route, version of its record, index); the least
 * recently used goes when there are too many. Matching is bounded: a pattern that
 * needs too long does not match. */
#include "base/bounded_regex.h"
#include "image/internal.h"

#include <stdio.h>

enum {
    GROUPS_MAX = 64, /* of a pattern, that can be asked for */
    NAME_MAX_BYTES = 128,
};

typedef struct slot {
    weir_uuid_t route;
    uint64_t version;
    unsigned index;
    uint64_t used; /* the cache's clock */
    pcre2_code *code;
    bool broken;
} slot_t;

enum { WAYS = 4 }; /* slots looked at for one key */

struct regex_cache {
    slot_t *slots;
    size_t sets;
    uint64_t clock;
    weir_regex_bounds_t bounds;
    pcre2_match_data *groups; /* where all groups of a match are */
};

struct regex_cache *regex_cache_new(size_t max)
{
    struct regex_cache *cache = weir_calloc(1, sizeof(*cache));
    if (cache == NULL)
        return NULL;
    cache->sets = max / WAYS;
    cache->slots = weir_calloc(cache->sets * WAYS, sizeof(slot_t));
    cache->groups = pcre2_match_data_create(GROUPS_MAX, NULL);
    if (cache->slots == NULL || cache->groups == NULL ||
        weir_regex_bounds_init(&cache->bounds) != WEIR_OK) {
        regex_cache_free(cache);
        return NULL;
    }
    return cache;
}

void regex_cache_free(struct regex_cache *cache)
{
    if (cache == NULL)
        return;
    for (size_t i = 0; cache->slots != NULL && i < cache->sets * WAYS; i++)
        pcre2_code_free(cache->slots[i].code);
    weir_free(cache->slots);
    pcre2_match_data_free(cache->groups);
    weir_regex_bounds_release(&cache->bounds);
    weir_free(cache);
}

static slot_t *find_slot(struct regex_cache *cache, const weir_uuid_t *route, uint64_t version,
                         unsigned index)
{
    uint64_t hash = version * UINT64_C(0x9e3779b97f4a7c15) + index;
    for (size_t i = 0; i < WEIR_UUID_BYTES; i++)
        hash = (hash ^ route->bytes[i]) * UINT64_C(1099511628211);
    slot_t *set = &cache->slots[(hash >> 16) % cache->sets * WAYS];
    slot_t *oldest = set;
    for (slot_t *slot = set; slot < set + WAYS; slot++) {
        if (slot->used > 0 && slot->version == version && slot->index == index &&
            weir_uuid_equal(&slot->route, route))
            return slot;
        if (slot->used < oldest->used)
            oldest = slot;
    }
    pcre2_code_free(oldest->code);
    *oldest = (slot_t){ .route = *route, .version = version, .index = index };
    return oldest;
}

static void compile(slot_t *slot, weir_str_t pattern, bool anchored)
{
    char text[WEIR_REGEX_BYTES_MAX + 2];
    slot->broken = true;
    if (pattern.len > WEIR_REGEX_BYTES_MAX)
        return;
    /* "^" is glued on as text, not as an option: it binds to the first alternative
     * only (routing 1.5). */
    size_t len = 0;
    if (anchored)
        text[len++] = '^';
    memcpy(text + len, pattern.data, pattern.len);
    len += pattern.len;
    slot->code =
        weir_regex_compile((weir_str_t){ text, len }, PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY);
    slot->broken = slot->code == NULL;
}

bool regex_matches(struct regex_cache *cache, const weir_uuid_t *route, uint64_t version,
                   unsigned index, weir_str_t pattern, bool anchored, weir_str_t text,
                   size_t *ret_len)
{
    slot_t *slot = find_slot(cache, route, version, index);
    if (slot->used == 0)
        compile(slot, pattern, anchored);
    slot->used = ++cache->clock;
    if (slot->broken)
        return false;
    int rc = pcre2_match(slot->code, (PCRE2_SPTR)text.data, text.len, 0, 0, cache->bounds.data,
                         cache->bounds.context);
    if (rc < 0)
        return false;
    const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(cache->bounds.data);
    *ret_len = offsets[1] - offsets[0];
    return true;
}

bool regex_group(struct regex_cache *cache, const weir_uuid_t *route, uint64_t version,
                 unsigned index, weir_str_t pattern, weir_str_t text, weir_str_t name,
                 size_t *ret_len, weir_str_t *ret)
{
    char key[NAME_MAX_BYTES];
    if (name.len >= sizeof(key) ||
        !regex_matches(cache, route, version, index, pattern, true, text, ret_len))
        return false;
    memcpy(key, name.data, name.len);
    key[name.len] = '\0';
    const slot_t *slot = find_slot(cache, route, version, index);
    int number = pcre2_substring_number_from_name(slot->code, (PCRE2_SPTR)key);
    if (number <= 0 || number >= GROUPS_MAX ||
        pcre2_match(slot->code, (PCRE2_SPTR)text.data, text.len, 0, 0, cache->groups,
                    cache->bounds.context) < 0)
        return false;
    const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(cache->groups);
    PCRE2_SIZE start = offsets[2 * number], end = offsets[2 * number + 1];
    if (start == PCRE2_UNSET || end < start)
        return false;
    *ret = (weir_str_t){ text.data + start, end - start };
    return true;
}
