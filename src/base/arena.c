/* arena.c -- memory for one request or one batch, dropped whole. */
#include "base/arena.h"

#include <stdalign.h>
#include <stdarg.h>
#include <stdio.h>

enum { BLOCK_BYTES = 16 * 1024 };

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

void weir_arena_release(weir_arena_t *arena)
{
    weir_arena_block_t *block = arena->blocks;
    while (block != NULL) {
        weir_arena_block_t *next = block->next;
        weir_free(block);
        block = next;
    }
    arena->blocks = NULL;
    arena->bytes = 0;
}

void *weir_arena_alloc(weir_arena_t *arena, size_t bytes)
{
    size_t rounded = (bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    if (rounded < bytes || rounded > arena->bytes_max || arena->bytes > arena->bytes_max - rounded)
        return NULL;
    weir_arena_block_t *block = arena->blocks;
    if (block == NULL || block->capacity - block->used < rounded) {
        size_t capacity = rounded > BLOCK_BYTES ? rounded : BLOCK_BYTES;
        block = weir_malloc(sizeof(*block) + capacity);
        if (block == NULL)
            return NULL;
        block->next = arena->blocks;
        block->used = 0;
        block->capacity = capacity;
        arena->blocks = block;
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
