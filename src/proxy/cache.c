/* cache.c -- a table of sets of a few entries, and one list of all by last use.
 *
 * Sets, not chains: keys come from clients, and whoever finds many that fall together
 * makes his own entries push each other out, and no search longer. */
#include "proxy/cache.h"

enum {
    WAYS = 8,
    ENTRY_BYTES_TYPICAL = 256, /* how many slots there are to the bytes */
    ALLOCATION_BYTES = 16,     /* what the allocator keeps beside a block */
    LARGEST_PART = 8,
};

typedef struct entry {
    struct entry *newer, *older;
    struct entry **slot; /* where it stands in its set */
    uint64_t hash, types, changed;
    uint64_t used; /* count of uses when it was used last */
    int64_t ends_s;
    size_t owner_len, text_len, value_len;
    char bytes[]; /* owner, text, value */
} entry_t;

struct weir_cache {
    size_t bytes, bytes_max;
    size_t set_count;
    uint64_t uses;
    entry_t *newest, *oldest;
    entry_t *slots[]; /* WAYS of each set */
};

weir_cache_t *weir_cache_new(size_t bytes_max)
{
    size_t sets = bytes_max / ENTRY_BYTES_TYPICAL / WAYS + 1;
    weir_cache_t *cache =
        bytes_max > 0 ? weir_calloc(1, sizeof(*cache) + sets * WAYS * sizeof(entry_t *)) : NULL;
    if (cache == NULL)
        return NULL;
    cache->bytes_max = bytes_max;
    cache->set_count = sets;
    return cache;
}

size_t weir_cache_bytes(const weir_cache_t *cache)
{
    return cache->bytes;
}

static size_t entry_bytes(const entry_t *entry)
{
    return sizeof(*entry) + ALLOCATION_BYTES + entry->owner_len + entry->text_len +
           entry->value_len;
}

/* -- the list ------------------------------------------------------------------------- */

static void take_out(weir_cache_t *cache, entry_t *entry)
{
    if (entry->newer != NULL)
        entry->newer->older = entry->older;
    else
        cache->newest = entry->older;
    if (entry->older != NULL)
        entry->older->newer = entry->newer;
    else
        cache->oldest = entry->newer;
}

static void put_first(weir_cache_t *cache, entry_t *entry)
{
    entry->used = ++cache->uses;
    entry->newer = NULL;
    entry->older = cache->newest;
    if (cache->newest != NULL)
        cache->newest->newer = entry;
    else
        cache->oldest = entry;
    cache->newest = entry;
}

static void drop(weir_cache_t *cache, entry_t *entry)
{
    take_out(cache, entry);
    cache->bytes -= entry_bytes(entry);
    *entry->slot = NULL;
    weir_free(entry);
}

void weir_cache_free(weir_cache_t *cache)
{
    while (cache != NULL && cache->oldest != NULL)
        drop(cache, cache->oldest);
    weir_free(cache);
}

/* -- the table ------------------------------------------------------------------------- */

/* FNV-1a, and its high bits mixed into the low ones. */
static uint64_t hash_more(uint64_t hash, weir_str_t text)
{
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (uint8_t)text.data[i]) * UINT64_C(0x100000001b3);
    return (hash ^ 0xff) * UINT64_C(0x100000001b3); /* "a","b" is not "ab","" */
}

static uint64_t hash_of(const weir_cache_key_t *key)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ key->types;
    hash = hash_more(hash_more(hash, key->owner), key->text);
    return hash ^ hash >> 32;
}

static bool is_under(const entry_t *entry, const weir_cache_key_t *key, uint64_t hash)
{
    return entry->hash == hash && entry->types == key->types &&
           weir_str_equal((weir_str_t){ entry->bytes, entry->owner_len }, key->owner) &&
           weir_str_equal((weir_str_t){ entry->bytes + entry->owner_len, entry->text_len },
                          key->text);
}

static entry_t **set_of(weir_cache_t *cache, uint64_t hash)
{
    return &cache->slots[hash % cache->set_count * WAYS];
}

static entry_t *look(weir_cache_t *cache, const weir_cache_key_t *key, uint64_t hash)
{
    entry_t **set = set_of(cache, hash);
    for (size_t i = 0; i < WAYS; i++)
        if (set[i] != NULL && is_under(set[i], key, hash))
            return set[i];
    return NULL;
}

int weir_cache_find(weir_cache_t *cache, const weir_cache_key_t *key, uint64_t changed,
                    int64_t now_s, weir_str_t *ret)
{
    entry_t *entry = look(cache, key, hash_of(key));
    if (entry == NULL)
        return WEIR_NOT_FOUND;
    if (entry->changed != changed || (entry->ends_s != 0 && entry->ends_s <= now_s)) {
        drop(cache, entry);
        return WEIR_NOT_FOUND;
    }
    take_out(cache, entry);
    put_first(cache, entry);
    *ret = (weir_str_t){ entry->bytes + entry->owner_len + entry->text_len, entry->value_len };
    return WEIR_OK;
}

static entry_t *make_entry(const weir_cache_key_t *key, weir_str_t value)
{
    entry_t *entry = weir_malloc(sizeof(*entry) + key->owner.len + key->text.len + value.len);
    if (entry == NULL)
        return NULL;
    const weir_str_t parts[] = { key->owner, key->text, value };
    char *at = entry->bytes;
    for (size_t i = 0; i < WEIR_COUNT(parts); i++) {
        if (parts[i].len > 0)
            memcpy(at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
    entry->types = key->types;
    entry->owner_len = key->owner.len;
    entry->text_len = key->text.len;
    entry->value_len = value.len;
    return entry;
}

/* A free slot of the set; of a full one the least recently used goes. */
static entry_t **free_slot(weir_cache_t *cache, uint64_t hash)
{
    entry_t **set = set_of(cache, hash);
    entry_t **oldest = set;
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i] == NULL)
            return &set[i];
        if (set[i]->used < (*oldest)->used)
            oldest = &set[i];
    }
    drop(cache, *oldest);
    return oldest;
}

void weir_cache_keep(weir_cache_t *cache, const weir_cache_key_t *key, uint64_t changed,
                     int64_t ends_s, weir_str_t value)
{
    uint64_t hash = hash_of(key);
    entry_t *before = look(cache, key, hash);
    entry_t *entry = NULL;
    size_t part = cache->bytes_max / LARGEST_PART;
    if (value.len < part && key->text.len < part)
        entry = make_entry(key, value); /* first: the value may be what was found before */
    if (before != NULL)
        drop(cache, before);
    if (entry == NULL)
        return;
    entry->hash = hash;
    entry->changed = changed;
    entry->ends_s = ends_s;
    entry->slot = free_slot(cache, hash);
    *entry->slot = entry;
    put_first(cache, entry);
    cache->bytes += entry_bytes(entry);
    while (cache->bytes > cache->bytes_max && cache->oldest != NULL)
        drop(cache, cache->oldest);
}
