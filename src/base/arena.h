/* arena.h -- memory for one request or one batch, dropped whole.
 *
 * One owner, one thread. Nothing is freed singly. */
#ifndef WEIR_ARENA_H
#define WEIR_ARENA_H

#include "base/base.h"

typedef struct weir_arena_block weir_arena_block_t;

typedef struct weir_arena {
    weir_arena_block_t *blocks; /* newest first */
    weir_arena_block_t *spare;  /* kept by weir_arena_clear() */
    size_t bytes;               /* handed out so far */
    size_t bytes_max;
} weir_arena_t;

void weir_arena_init(weir_arena_t *arena, size_t bytes_max);
void weir_arena_release(weir_arena_t *arena); /* frees all; usable again */
/* What was handed out is gone; up to `keep_bytes` of its memory are at hand for what comes next. */
void weir_arena_clear(weir_arena_t *arena, size_t keep_bytes);

/* Aligned for any type, not zeroed. NULL: no memory, or bytes_max reached. */
void *weir_arena_alloc(weir_arena_t *arena, size_t bytes);
void *weir_arena_zalloc(weir_arena_t *arena, size_t bytes);
/* Terminated copies. data is NULL on failure. */
weir_str_t weir_arena_copy(weir_arena_t *arena, weir_str_t text);
weir_str_t weir_arena_printf(weir_arena_t *arena, const char *format, ...) WEIR_PRINTF(2, 3);

static inline void weir_arena_cleanup(weir_arena_t *arena)
{
    weir_arena_release(arena);
}

#endif
