/* arena.c -- memory for one request or one batch, dropped whole. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>

/* A block is as large as all before it together, within these. */
enum { BLOCK_BYTES_MIN = 16 * 1024, BLOCK_BYTES_MAX = 1024 * 1024 };

struct weir_arena_block {
    weir_arena_block_t *next;
    size_t used;
    size_t capacity;
    alignas(max_align_t) char data[];
};

void weir_arena_init(weir_arena_t *arena, size_t bytes_max)
{
    *arena = (weir_arena_t){ .bytes_max = bytes_max };
}

static void free_blocks(weir_arena_block_t *block)
{
    while (block != NULL) {
        weir_arena_block_t *next = block->next;
        weir_free(block);
        block = next;
    }
}

void weir_arena_release(weir_arena_t *arena)
{
    free_blocks(arena->blocks);
    free_blocks(arena->spare);
    arena->blocks = NULL;
    arena->spare = NULL;
    arena->bytes = 0;
}

void weir_arena_clear(weir_arena_t *arena, size_t keep_bytes)
{
    weir_arena_block_t *blocks[2] = { arena->blocks, arena->spare };
    arena->blocks = NULL;
    arena->spare = NULL;
    arena->bytes = 0;
    for (size_t i = 0; i < WEIR_COUNT(blocks); i++) {
        weir_arena_block_t *next = NULL;
        for (weir_arena_block_t *block = blocks[i]; block != NULL; block = next) {
            next = block->next;
            if (block->capacity > keep_bytes) {
                weir_free(block);
                continue;
            }
            keep_bytes -= block->capacity;
            block->next = arena->spare;
            arena->spare = block;
        }
    }
}

/* With room for `bytes`; NULL: no memory. */
static weir_arena_block_t *next_block(weir_arena_t *arena, size_t bytes)
{
    weir_arena_block_t *block = arena->spare;
    if (block != NULL && block->capacity >= bytes) {
        arena->spare = block->next;
    } else {
        size_t capacity = arena->bytes < BLOCK_BYTES_MAX ? arena->bytes : BLOCK_BYTES_MAX;
        capacity = capacity > BLOCK_BYTES_MIN ? capacity : BLOCK_BYTES_MIN;
        capacity = capacity > bytes ? capacity : bytes;
        block = weir_malloc(sizeof(*block) + capacity);
        if (block == NULL)
            return NULL;
        block->capacity = capacity;
    }
    block->used = 0;
    block->next = arena->blocks;
    arena->blocks = block;
    return block;
}

void *weir_arena_alloc(weir_arena_t *arena, size_t bytes)
{
    size_t rounded = (bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (rounded < bytes || rounded > arena->bytes_max || arena->bytes > arena->bytes_max - rounded)
        return NULL;
    weir_arena_block_t *block = arena->blocks;
    if (block == NULL || block->capacity - block->used < rounded) {
        block = next_block(arena, rounded);
        if (block == NULL)
            return NULL;
    }
    void *at = block->data + block->used;
    block->used += rounded;
    arena->bytes += rounded;
    return at;
}

void *weir_arena_zalloc(weir_arena_t *arena, size_t bytes)
{
    void *at = weir_arena_alloc(arena, bytes);
    if (at != NULL)
        memset(at, 0, bytes);
    return at;
}

weir_str_t weir_arena_copy(weir_arena_t *arena, weir_str_t text)
{
    char *copy = weir_arena_alloc(arena, text.len + 1);
    if (copy == NULL)
        return (weir_str_t){ NULL, 0 };
    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    return (weir_str_t){ copy, text.len };
}

weir_str_t weir_arena_printf(weir_arena_t *arena, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    weir_assert(len >= 0);
    char *text = weir_arena_alloc(arena, (size_t)len + 1);
    if (text == NULL)
        return (weir_str_t){ NULL, 0 };
    va_start(arguments, format);
    vsnprintf(text, (size_t)len + 1, format, arguments);
    va_end(arguments);
    return (weir_str_t){ text, (size_t)len };
}
