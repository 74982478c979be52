/* rules.c -- hop-by-hop headers. */
#include "proxy/rules.h"

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

bool weir_bytes_equal_nocase(const char *a, const char *b, size_t len)
{
    if (len == 0 || memcmp(a, b, len) == 0)
        return true; /* as most are written */
    for (size_t i = 0; i < len; i++)
        if (lower(a[i]) != lower(b[i]))
            return false;
    return true;
}

bool weir_list_next(weir_str_t *list, char separator, weir_str_t *ret)
{
    if (list->len == 0)
        return false;
    const char *at = memchr(list->data, separator, list->len);
    weir_str_t part = { list->data, at != NULL ? (size_t)(at - list->data) : list->len };
    size_t used = part.len + (at != NULL ? 1 : 0);
    list->data += used;
    list->len -= used;
    while (part.len > 0 && (part.data[0] == ' ' || part.data[0] == '\t')) {
        part.data++;
        part.len--;
    }
    while (part.len > 0 && (part.data[part.len - 1] == ' ' || part.data[part.len - 1] == '\t'))
        part.len--;
    *ret = part;
    return true;
}

weir_str_t weir_connection_list(weir_str_t connection)
{
    bool plain = weir_str_equal_nocase(connection, WEIR_STR("keep-alive")) ||
                 weir_str_equal_nocase(connection, WEIR_STR("close")) ||
                 weir_str_equal_nocase(connection, WEIR_STR("upgrade"));
    return plain ? (weir_str_t){ connection.data, 0 } : connection;
}

bool weir_connection_lists(weir_str_t connection, weir_str_t name)
{
    if (weir_str_equal_nocase(name, WEIR_STR("close")) ||
        weir_str_equal_nocase(name, WEIR_STR("upgrade")) ||
        weir_str_equal_nocase(name, WEIR_STR("keep-alive")))
        return false;
    weir_str_t token;
    while (weir_list_next(&connection, ',', &token))
        if (weir_str_equal_nocase(token, name))
            return true;
    return false;
}

bool weir_te_has_trailers(weir_str_t te)
{
    weir_str_t token;
    while (weir_list_next(&te, ',', &token))
        if (weir_str_equal_nocase(token, WEIR_STR("trailers")))
            return true;
    return false;
}
