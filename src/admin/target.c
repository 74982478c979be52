/* target.c -- the request target: percent-encoding and arguments. */
#include "admin/internal.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

weir_str_t decode(weir_arena_t *arena, weir_str_t text)
{
    char *out = weir_arena_alloc(arena, text.len + 1);
    if (out == NULL)
        return (weir_str_t){ NULL, 0 };
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '%' && i + 2 < text.len && hex_digit(text.data[i + 1]) >= 0 &&
            hex_digit(text.data[i + 2]) >= 0) {
            c = (char)(hex_digit(text.data[i + 1]) * 16 + hex_digit(text.data[i + 2]));
            i += 2;
        } else if (c == '+') {
            c = ' ';
        }
        out[len++] = c;
    }
    out[len] = '\0';
    return (weir_str_t){ out, len };
}

void encode(weir_buffer_t *out, weir_str_t text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                     (c != '\0' && strchr("-_.!~*'()", c) != NULL);
        if (plain)
            weir_buffer_byte(out, (char)c);
        else
            weir_buffer_printf(out, "%%%02X", c);
    }
}

static size_t count_parts(weir_str_t text)
{
    size_t count = 1;
    for (size_t i = 0; i < text.len; i++)
        count += text.data[i] == '&';
    return count;
}

int arguments_parse(weir_arena_t *arena, weir_str_t text, arguments_t *ret)
{
    *ret = (arguments_t){ 0 };
    size_t parts = count_parts(text);
    size_t capacity = parts < ARGUMENTS_MAX ? parts : ARGUMENTS_MAX;
    ret->list = weir_arena_alloc(arena, capacity * sizeof(*ret->list));
    if (ret->list == NULL)
        return WEIR_NO_MEMORY;
    for (size_t at = 0; at < text.len;) {
        const char *end = memchr(text.data + at, '&', text.len - at);
        weir_str_t part = { text.data + at,
                            end != NULL ? (size_t)(end - text.data) - at : text.len - at };
        at += part.len + 1;
        const char *equals = memchr(part.data, '=', part.len);
        weir_str_t name = { part.data, equals != NULL ? (size_t)(equals - part.data) : part.len };
        if (name.len == 0)
            continue; /* "=x" and "&&" say nothing */
        if (ret->count == ARGUMENTS_MAX)
            return WEIR_TOO_LARGE;
        argument_t *argument = &ret->list[ret->count++];
        *argument = (argument_t){ .name = decode(arena, name) };
        if (equals != NULL) {
            weir_str_t value = { equals + 1, part.len - name.len - 1 };
            argument->value = decode(arena, value);
            if (argument->value.data == NULL)
                return WEIR_NO_MEMORY;
        }
        if (argument->name.data == NULL)
            return WEIR_NO_MEMORY;
    }
    return WEIR_OK;
}

const argument_t *arguments_find(const arguments_t *arguments, const char *name)
{
    for (size_t i = 0; i < arguments->count; i++)
        if (weir_str_is(arguments->list[i].name, name))
            return &arguments->list[i];
    return NULL;
}

size_t arguments_count(const arguments_t *arguments, const char *name)
{
    size_t count = 0;
    for (size_t i = 0; i < arguments->count; i++)
        count += weir_str_is(arguments->list[i].name, name);
    return count;
}
