/* regex.c -- compiled regular expressions of routes, per process.
 *
 * Compiled at first use, kept by (route, version of its record, index); the least
 * recently used goes when there are too many. Matching is bounded: a pattern that
 * needs too long does not match. */
#include "image/internal.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdio.h>

enum {
    MATCH_LIMIT = 1000000, /* some milliseconds at worst */
    DEPTH_LIMIT = 10000,
    HEAP_LIMIT_KIB = 1024,
    STACK_BYTES_FIRST = 32 * 1024, /* of compiled code */
    STACK_BYTES_MAX = 1024 * 1024,
    PATTERN_MAX = 16384,
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
    pcre2_match_data *data, *groups; /* where the whole match is; and all of its groups */
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

struct regex_cache *regex_cache_new(size_t max)
{
    struct regex_cache *cache = weir_calloc(1, sizeof(*cache));
    if (cache == NULL)
        return NULL;
    cache->sets = max / WAYS;
    cache->stack = pcre2_jit_stack_create(STACK_BYTES_FIRST, STACK_BYTES_MAX, NULL);
    cache->slots = weir_calloc(cache->sets * WAYS, sizeof(slot_t));
    cache->data = pcre2_match_data_create(1, NULL);
    cache->groups = pcre2_match_data_create(GROUPS_MAX, NULL);
    cache->context = pcre2_match_context_create(NULL);
    if (cache->slots == NULL || cache->data == NULL || cache->groups == NULL ||
        cache->context == NULL) {
        regex_cache_free(cache);
        return NULL;
    }
    pcre2_set_match_limit(cache->context, MATCH_LIMIT);
    pcre2_set_depth_limit(cache->context, DEPTH_LIMIT);
    pcre2_set_heap_limit(cache->context, HEAP_LIMIT_KIB);
    if (cache->stack != NULL)
        pcre2_jit_stack_assign(cache->context, NULL, cache->stack);
    return cache;
}

void regex_cache_free(struct regex_cache *cache)
{
    if (cache == NULL)
        return;
    for (size_t i = 0; cache->slots != NULL && i < cache->sets * WAYS; i++)
        pcre2_code_free(cache->slots[i].code);
    weir_free(cache->slots);
    pcre2_match_data_free(cache->data);
    pcre2_match_data_free(cache->groups);
    pcre2_match_context_free(cache->context);
    pcre2_jit_stack_free(cache->stack);
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
    char text[PATTERN_MAX + 2];
    int number = 0;
    PCRE2_SIZE offset = 0;
    slot->broken = true;
    if (pattern.len > PATTERN_MAX)
        return;
    /* "^" is glued on as text, not as an option: it binds to the first alternative
     * only (routing 1.5). */
    size_t len = 0;
    if (anchored)
        text[len++] = '^';
    memcpy(text + len, pattern.data, pattern.len);
    len += pattern.len;
    slot->code = pcre2_compile((PCRE2_SPTR)text, len, PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY,
                               &number, &offset, NULL);
    if (slot->code == NULL)
        return;
    pcre2_jit_compile(slot->code, PCRE2_JIT_COMPLETE); /* without it: slower, the same */
    slot->broken = false;
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
    int rc =
        pcre2_match(slot->code, (PCRE2_SPTR)text.data, text.len, 0, 0, cache->data, cache->context);
    if (rc < 0)
        return false;
    const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(cache->data);
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
                    cache->context) < 0)
        return false;
    const PCRE2_SIZE *offsets = pcre2_get_ovector_pointer(cache->groups);
    PCRE2_SIZE start = offsets[2 * number], end = offsets[2 * number + 1];
    if (start == PCRE2_UNSET || end < start)
        return false;
    *ret = (weir_str_t){ text.data + start, end - start };
    return true;
}
