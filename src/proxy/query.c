/* query.c -- arguments of a query: find, decode, take out. */
#include "proxy/query.h"

#include <stdlib.h>

bool weir_query_next(weir_str_t *query, weir_query_argument_t *ret)
{
    while (query->len > 0) {
        const char *end = memchr(query->data, '&', query->len);
        weir_str_t part = { query->data, end != NULL ? (size_t)(end - query->data) : query->len };
        size_t used = part.len + (end != NULL ? 1 : 0);
        query->data += used;
        query->len -= used;
        const char *equals = part.len > 0 ? memchr(part.data, '=', part.len) : NULL;
        ret->name = part;
        ret->value = (weir_str_t){ NULL, 0 };
        if (equals != NULL) {
            ret->name.len = (size_t)(equals - part.data);
            ret->value = (weir_str_t){ equals + 1, part.len - ret->name.len - 1 };
        }
        if (ret->name.len > 0)
            return true;
    }
    return false;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The byte at text[*i], which moves behind it. */
static char decoded(weir_str_t text, size_t *i)
{
    char c = text.data[(*i)++];
    if (c == '+')
        return ' ';
    if (c != '%' || text.len - *i < 2)
        return c;
    int high = digit(text.data[*i]);
    int low = digit(text.data[*i + 1]);
    if (high < 0 || low < 0)
        return c;
    *i += 2;
    return (char)(high * 16 + low);
}

size_t weir_query_decode(weir_str_t text, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len;)
        out[len++] = decoded(text, &i);
    return len;
}

bool weir_query_decodes_to(weir_str_t text, weir_str_t plain)
{
    size_t at = 0;
    for (size_t i = 0; i < text.len; at++)
        if (at >= plain.len || decoded(text, &i) != plain.data[at])
            return false;
    return at == plain.len;
}

static size_t encode(weir_str_t text, char *out)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t len = 0;
    for (size_t i = 0; i < text.len;) {
        char c = decoded(text, &i);
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        if (plain) {
            out[len++] = c;
        } else if (c == ' ') {
            out[len++] = '+';
        } else {
            out[len++] = '%';
            out[len++] = hex[(unsigned char)c >> 4];
            out[len++] = hex[(unsigned char)c & 15];
        }
    }
    return len;
}

bool weir_query_without(weir_str_t query, weir_str_t name, char *out, size_t *ret_len)
{
    weir_query_argument_t argument;
    bool found = false;
    for (weir_str_t rest = query; !found && weir_query_next(&rest, &argument);)
        found = weir_query_decodes_to(argument.name, name);
    if (!found)
        return false;

    size_t len = 0;
    while (weir_query_next(&query, &argument)) {
        if (weir_query_decodes_to(argument.name, name))
            continue;
        if (len > 0)
            out[len++] = '&';
        len += encode(argument.name, out + len);
        out[len++] = '=';
        len += encode(argument.value, out + len);
    }
    *ret_len = len;
    return true;
}

typedef struct values_s {
    weir_str_t list[WEIR_QUERY_ARGUMENTS_MAX];
    size_t count;
} values_t;

static int compare_values(const void *a, const void *b)
{
    const weir_str_t *x = a;
    const weir_str_t *y = b;
    size_t least = x->len < y->len ? x->len : y->len;
    int order = least > 0 ? memcmp(x->data, y->data, least) : 0;
    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* Decoded into `space`. */
static void find_values(weir_str_t query, weir_str_t name, char *space, values_t *ret)
{
    weir_query_argument_t argument;
    ret->count = 0;
    for (size_t i = 0; i < WEIR_QUERY_ARGUMENTS_MAX && weir_query_next(&query, &argument); i++) {
        if (!weir_query_decodes_to(argument.name, name))
            continue;
        weir_str_t *value = &ret->list[ret->count++];
        *value = WEIR_STR("true");
        if (argument.value.data == NULL)
            continue;
        *value = (weir_str_t){ space, weir_query_decode(argument.value, space) };
        space += value->len;
    }
}

size_t weir_query_values_bytes(weir_str_t query)
{
    /* as they are joined, and before that as they are sorted */
    return 2 * query.len + WEIR_QUERY_ARGUMENTS_MAX * sizeof("true,");
}

bool weir_query_values(weir_str_t query, weir_str_t name, char *out, size_t *ret_len)
{
    values_t values;
    size_t len = 0;
    find_values(query, name, out + weir_query_values_bytes(query) - query.len, &values);
    if (values.count == 0)
        return false;
    qsort(values.list, values.count, sizeof(values.list[0]), compare_values);
    for (size_t i = 0; i < values.count; i++) {
        if (i > 0)
            out[len++] = ',';
        memcpy(out + len, values.list[i].data, values.list[i].len);
        len += values.list[i].len;
    }
    *ret_len = len;
    return true;
}
