/* buffer.c -- a growing run of bytes that knows its maximum. */
#include "base/buffer.h"

#include <stdarg.h>
#include <stdio.h>

enum { CAPACITY_FIRST = 256 };

void weir_buffer_init(weir_buffer_t *buffer, size_t len_max)
{
    *buffer = (weir_buffer_t){ .len_max = len_max };
}

void weir_buffer_release(weir_buffer_t *buffer)
{
    weir_free(buffer->data);
    *buffer = (weir_buffer_t){ .len_max = buffer->len_max };
}

void weir_buffer_clear(weir_buffer_t *buffer)
{
    buffer->len = 0;
    buffer->failed = WEIR_OK;
}

char *weir_buffer_reserve(weir_buffer_t *buffer, size_t bytes)
{
    if (buffer->failed != WEIR_OK)
        return NULL;
    if (bytes > buffer->len_max || buffer->len > buffer->len_max - bytes) {
        buffer->failed = WEIR_TOO_LARGE;
        return NULL;
    }
    size_t needed = buffer->len + bytes;
    if (needed > buffer->capacity || buffer->data == NULL) {
        size_t capacity = buffer->capacity > 0 ? buffer->capacity : CAPACITY_FIRST;
        while (capacity < needed)
            capacity = capacity > SIZE_MAX / 2 ? needed : capacity * 2;
        if (capacity > buffer->len_max)
            capacity = buffer->len_max > 0 ? buffer->len_max : 1;
        char *data = weir_realloc(buffer->data, capacity);
        if (data == NULL) {
            buffer->failed = WEIR_NO_MEMORY;
            return NULL;
        }
        buffer->data = data;
        buffer->capacity = capacity;
    }
    return buffer->data + buffer->len;
}

int weir_buffer_append(weir_buffer_t *buffer, weir_str_t text)
{
    char *to = weir_buffer_reserve(buffer, text.len);
    if (to != NULL && text.len > 0) {
        memcpy(to, text.data, text.len);
        buffer->len += text.len;
    }
    return buffer->failed;
}

int weir_buffer_byte(weir_buffer_t *buffer, char byte)
{
    char *to = weir_buffer_reserve(buffer, 1);
    if (to != NULL) {
        *to = byte;
        buffer->len++;
    }
    return buffer->failed;
}

int weir_buffer_printf(weir_buffer_t *buffer, const char *format, ...)
{
    char small[512];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(small, sizeof(small), format, arguments);
    va_end(arguments);
    weir_assert(len >= 0);
    if ((size_t)len < sizeof(small))
        return weir_buffer_append(buffer, (weir_str_t){ small, (size_t)len });

    char *to = weir_buffer_reserve(buffer, (size_t)len + 1);
    if (to == NULL)
        return buffer->failed;
    va_start(arguments, format);
    vsnprintf(to, (size_t)len + 1, format, arguments);
    va_end(arguments);
    buffer->len += (size_t)len;
    return WEIR_OK;
}

void weir_buffer_consume(weir_buffer_t *buffer, size_t bytes)
{
    weir_assert(bytes <= buffer->len);
    if (bytes == 0)
        return;
    buffer->len -= bytes;
    memmove(buffer->data, buffer->data + bytes, buffer->len);
}
