/* buffer.h -- a growing run of bytes that knows its maximum.
 *
 * Failures stick: after one (no memory, maximum reached) every further append
 * does nothing, so a writer checks once at the end. */
#ifndef WEIR_BUFFER_H
#define WEIR_BUFFER_H

#include "base/base.h"

typedef struct weir_buffer {
    char *data; /* ours; may be NULL while len is 0; not terminated */
    size_t len;
    size_t capacity;
    size_t len_max;
    int failed; /* WEIR_OK, WEIR_NO_MEMORY or WEIR_TOO_LARGE */
} weir_buffer_t;

/* Nothing is allocated before the first append. */
void weir_buffer_init(weir_buffer_t *buffer, size_t len_max);
void weir_buffer_release(
    weir_buffer_t *buffer); /* init'ed or zeroed; may be used again after init */
/* Empties it, keeps the memory, forgets a failure. */
void weir_buffer_clear(weir_buffer_t *buffer);

/* Each returns buffer->failed. */
int weir_buffer_append(weir_buffer_t *buffer, weir_str_t text);
int weir_buffer_byte(weir_buffer_t *buffer, char byte);
int weir_buffer_printf(weir_buffer_t *buffer, const char *format, ...) WEIR_PRINTF(2, 3);
/* Makes room for `bytes` more and returns where to write them, or NULL. The
 * caller then adds what it wrote to len. */
char *weir_buffer_reserve(weir_buffer_t *buffer, size_t bytes);
/* Drops the first `bytes` bytes. */
void weir_buffer_consume(weir_buffer_t *buffer, size_t bytes);

static inline weir_str_t weir_buffer_str(const weir_buffer_t *buffer)
{
    return (weir_str_t){ buffer->data != NULL ? buffer->data : "", buffer->len };
}

static inline void weir_buffer_cleanup(weir_buffer_t *buffer)
{
    weir_buffer_release(buffer);
}

#endif
