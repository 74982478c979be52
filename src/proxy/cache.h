/* cache.h -- what plugins remember in one worker: values under keys of their own.
 *
 * A value is true for one state of the entities that it was made from, which the caller
 * names by a number (weir_reader_changed()); under another number it is not found. So a
 * change costs nothing here. Bounded in bytes; the least recently used go first. Knows
 * no nginx and no clock. One thread. */
#ifndef WEIR_PROXY_CACHE_H
#define WEIR_PROXY_CACHE_H

#include "base/base.h"

typedef struct weir_cache weir_cache_t;

typedef struct weir_cache_key {
    weir_str_t owner; /* keys of different owners are different */
    weir_str_t text;
    uint64_t types; /* the value was made from entities of these */
} weir_cache_key_t;

/* An entry takes its key, its value and about 100 bytes. NULL: no memory, or bytes_max
 * is 0. */
weir_cache_t *weir_cache_new(size_t bytes_max);
void weir_cache_free(weir_cache_t *cache); /* NULL is fine */

/* WEIR_NOT_FOUND also when what is there is of another number, or ended by `now_s`: then it
 * is dropped. What is found lives until the next call. */
int weir_cache_find(weir_cache_t *cache, const weir_cache_key_t *key, uint64_t changed,
                    int64_t now_s, weir_str_t *ret);
/* Copies. ends_s: unix seconds, 0: never. Replaces what is under the key; what is larger
 * than an eighth of the cache, or finds no memory, is not kept. */
void weir_cache_keep(weir_cache_t *cache, const weir_cache_key_t *key, uint64_t changed,
                     int64_t ends_s, weir_str_t value);
/* What it takes now. */
size_t weir_cache_bytes(const weir_cache_t *cache);

#endif
