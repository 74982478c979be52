/* multipart.c -- multipart/form-data: the parts as arguments.
 *
 * A body that is not of this form has no arguments; the incumbent says nothing
 * about it either (admin-api 3.3). */
#include "admin/internal.h"

#include <strings.h>

enum { BOUNDARY_MAX = 200 };

/* The value of `name=` in a header's parameters, without its quotes. */
static bool parameter(weir_str_t header, const char *name, weir_str_t *ret)
{
    size_t name_len = strlen(name);
    for (size_t i = 0; i + name_len < header.len; i++) {
        bool starts = i == 0 || memchr("; \t", header.data[i - 1], 3) != NULL;
        if (!starts || strncasecmp(header.data + i, name, name_len) != 0 ||
            header.data[i + name_len] != '=')
            continue;
        weir_str_t value = { header.data + i + name_len + 1, header.len - i - name_len - 1 };
        if (value.len > 0 && value.data[0] == '"') {
            const char *quote = memchr(value.data + 1, '"', value.len - 1);
            if (quote == NULL)
                return false;
            *ret = (weir_str_t){ value.data + 1, (size_t)(quote - value.data) - 1 };
            return true;
        }
        size_t end = 0;
        while (end < value.len && memchr("; \t\r\n", value.data[end], 5) == NULL)
            end++;
        *ret = (weir_str_t){ value.data, end };
        return true;
    }
    return false;
}

static const char *find(weir_str_t text, size_t from, weir_str_t what)
{
    return from <= text.len ? memmem(text.data + from, text.len - from, what.data, what.len) : NULL;
}

/* The name in a part's Content-Disposition. */
static bool part_name(weir_str_t head, weir_str_t *ret)
{
    static const char wanted[] = "content-disposition:";
    for (size_t at = 0; at < head.len;) {
        const char *end = memchr(head.data + at, '\n', head.len - at);
        weir_str_t line = { head.data + at,
                            end != NULL ? (size_t)(end - head.data) - at : head.len - at };
        at += line.len + 1;
        if (line.len > sizeof(wanted) && strncasecmp(line.data, wanted, sizeof(wanted) - 1) == 0)
            return parameter(line, "name", ret);
    }
    return false;
}

static int add_part(weir_arena_t *arena, weir_str_t text, arguments_t *to)
{
    const char *blank = find(text, 0, WEIR_STR("\r\n\r\n"));
    if (blank == NULL)
        return WEIR_OK;
    weir_str_t head = { text.data, (size_t)(blank - text.data) };
    weir_str_t name;
    if (!part_name(head, &name) || name.len == 0)
        return WEIR_OK;
    if (to->count == ARGUMENTS_MAX)
        return WEIR_TOO_LARGE;
    weir_str_t value = { blank + 4, text.len - head.len - 4 };
    argument_t argument = { weir_arena_copy(arena, name), weir_arena_copy(arena, value) };
    if (argument.name.data == NULL || argument.value.data == NULL)
        return WEIR_NO_MEMORY;
    to->list[to->count++] = argument;
    return WEIR_OK;
}

int multipart_parse(weir_arena_t *arena, weir_str_t content_type, weir_str_t body, arguments_t *ret)
{
    *ret = (arguments_t){ .list = weir_arena_alloc(arena, ARGUMENTS_MAX * sizeof(*ret->list)) };
    if (ret->list == NULL)
        return WEIR_NO_MEMORY;
    weir_str_t boundary;
    if (!parameter(content_type, "boundary", &boundary) || boundary.len == 0 ||
        boundary.len > BOUNDARY_MAX || body.len == 0)
        return WEIR_OK;
    weir_str_t mark = weir_arena_printf(arena, "--%.*s", WEIR_STR_ARG(boundary));
    weir_str_t inner = weir_arena_printf(arena, "\r\n--%.*s", WEIR_STR_ARG(boundary));
    if (mark.data == NULL || inner.data == NULL)
        return WEIR_NO_MEMORY;
    const char *start = find(body, 0, mark);
    if (start == NULL)
        return WEIR_OK;
    size_t at = (size_t)(start - body.data) + mark.len;
    while (at + 2 <= body.len && memcmp(body.data + at, "\r\n", 2) == 0) {
        /* A part without header lines begins with the blank line at once. */
        const char *end = find(body, at, inner);
        if (end == NULL)
            return WEIR_OK;
        size_t end_at = (size_t)(end - body.data);
        size_t from = at + 2 <= end_at ? at + 2 : end_at;
        int rc = add_part(arena, (weir_str_t){ body.data + from, end_at - from }, ret);
        if (rc != WEIR_OK)
            return rc;
        at = end_at + inner.len;
    }
    return WEIR_OK;
}
