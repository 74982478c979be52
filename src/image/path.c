/* path.c -- request paths: normalisation for matching, and what goes upstream. */
#include "image/path.h"

#include <ctype.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_reserved(unsigned char c)
{
    return c != '\0' && strchr("!*'();:@&=+$,/?%#[]", c) != NULL;
}

/* Escapes decoded, but for reserved characters, whose digits become upper case. */
static size_t decode(weir_str_t path, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < path.len; i++) {
        char c = path.data[i];
        if (c != '%' || path.len - i < 3 || hex(path.data[i + 1]) < 0 ||
            hex(path.data[i + 2]) < 0) {
            out[len++] = c;
            continue;
        }
        unsigned char byte = (unsigned char)(hex(path.data[i + 1]) << 4 | hex(path.data[i + 2]));
        if (is_reserved(byte)) {
            out[len++] = '%';
            out[len++] = (char)toupper((unsigned char)path.data[i + 1]);
            out[len++] = (char)toupper((unsigned char)path.data[i + 2]);
        } else {
            out[len++] = (char)byte;
        }
        i += 2;
    }
    return len;
}

/* Dot segments and doubled slashes, in place. */
static size_t collapse(char *path, size_t len)
{
    size_t to = 0;
    size_t from = 0;
    if (len > 0 && path[0] != '/') { /* leading "../" and "./" are dropped */
        size_t end = 0;
        while (end < len && path[end] != '/')
            end++;
        bool dots = (end == 1 && path[0] == '.') || (end == 2 && path[0] == '.' && path[1] == '.');
        from = end;
        to = dots ? 0 : end;
    }
    while (from < len) {
        size_t end = from + 1; /* path[from] is '/' */
        while (end < len && path[end] != '/')
            end++;
        size_t segment = end - from - 1;
        bool last = end == len;
        bool one = segment == 1 && path[from + 1] == '.';
        bool two = segment == 2 && path[from + 1] == '.' && path[from + 2] == '.';
        if (two)
            while (to > 0 && path[--to] != '/')
                continue;
        if (one || two) {
            if (last)
                path[to++] = '/';
        } else if (segment > 0 || last) {
            memmove(path + to, path + from, end - from);
            to += end - from;
        }
        from = end;
    }
    return to;
}

size_t weir_path_normalize(weir_str_t path, char *out)
{
    if (path.len < 2) {
        if (path.len == 1)
            out[0] = path.data[0];
        return path.len;
    }
    /* Most paths are normal already. */
    bool plain = path.data[0] == '/';
    for (size_t i = 0; plain && i < path.len; i++)
        plain = path.data[i] != '%' && (path.data[i] != '/' || i + 1 == path.len ||
                                        (path.data[i + 1] != '/' && path.data[i + 1] != '.'));
    if (plain) {
        memcpy(out, path.data, path.len);
        return path.len;
    }
    return collapse(out, decode(path, out));
}

/* -- upstream ----------------------------------------------------------------------------- */

typedef struct escaped {
    char *out;
    size_t bytes, len;
    bool full;
} escaped_t;

static bool goes_as_it_is(unsigned char c)
{
    static const bool plain[256] = {
        ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true, ['-'] = true,
        ['_'] = true,         ['.'] = true,         ['~'] = true,         ['!'] = true,
        ['#'] = true,         ['$'] = true,         ['&'] = true,         ['\''] = true,
        ['('] = true,         [')'] = true,         ['*'] = true,         ['+'] = true,
        [','] = true,         ['/'] = true,         [':'] = true,         [';'] = true,
        ['='] = true,         ['?'] = true,         ['@'] = true,         ['['] = true,
        [']'] = true,         ['%'] = true,
    };
    return plain[c];
}

static void append(escaped_t *e, weir_str_t text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        size_t need = goes_as_it_is(c) ? 1 : 3;
        if (e->bytes - e->len < need) {
            e->full = true;
            return;
        }
        if (need == 1) {
            e->out[e->len++] = (char)c;
        } else {
            e->out[e->len++] = '%';
            e->out[e->len++] = digits[c >> 4];
            e->out[e->len++] = digits[c & 15];
        }
    }
}

/* What is left of the path: "." and ".." vanish, a leading "./" or "../" too. */
static weir_str_t sanitize(weir_str_t rest)
{
    if (weir_str_is(rest, ".") || weir_str_is(rest, ".."))
        return (weir_str_t){ rest.data, 0 };
    if (weir_str_starts(rest, WEIR_STR("./")))
        return (weir_str_t){ rest.data + 2, rest.len - 2 };
    if (weir_str_starts(rest, WEIR_STR("../")))
        return (weir_str_t){ rest.data + 3, rest.len - 3 };
    return rest;
}

static weir_str_t without_last(weir_str_t text)
{
    return (weir_str_t){ text.data, text.len - 1 };
}

static weir_str_t without_first(weir_str_t text)
{
    return (weir_str_t){ text.data + 1, text.len - 1 };
}

/* The table of routing 6. */
static void join(escaped_t *e, weir_str_t base, weir_str_t path, weir_str_t rest, bool strip)
{
    bool base_slash = base.len > 0 && base.data[base.len - 1] == '/';
    bool path_slash = path.len > 0 && path.data[path.len - 1] == '/';
    bool rest_slash = rest.len > 0 && rest.data[0] == '/';
    if (!strip) {
        if (base_slash) {
            append(e, base);
            append(e, path.len > 0 ? without_first(path) : path);
        } else {
            append(e, base);
            if (!weir_str_is(path, "/"))
                append(e, path);
        }
    } else if (base_slash) {
        if (rest.len == 0)
            append(e, base.len == 1 || path_slash ? base : without_last(base));
        else {
            append(e, rest_slash ? without_last(base) : base);
            append(e, rest);
        }
    } else {
        append(e, base);
        if (rest.len == 0) {
            if (path.len > 1 && path_slash)
                append(e, WEIR_STR("/"));
        } else {
            if (!rest_slash)
                append(e, WEIR_STR("/"));
            append(e, rest);
        }
    }
}

size_t weir_path_upstream(weir_str_t base, weir_str_t path, size_t matched, bool strip, char *out,
                          size_t out_bytes)
{
    escaped_t e = { .out = out, .bytes = out_bytes };
    if (base.len == 0)
        base = WEIR_STR("/");
    if (matched == 0)
        matched = 1; /* nothing matched by path: only the slash is stripped */
    if (matched > path.len)
        matched = path.len;
    weir_str_t rest = sanitize((weir_str_t){ path.data + matched, path.len - matched });
    join(&e, base, path, rest, strip);
    return e.full ? 0 : e.len;
}
