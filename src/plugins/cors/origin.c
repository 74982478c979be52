/* origin.c -- what an origin says, in a form that can be compared. */
#include "plugins/cors/cors.h"

static weir_str_t after(weir_str_t text, size_t count)
{
    return (weir_str_t){ text.data + count, text.len - count };
}

static bool is_alnum(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* Takes "scheme:" off; len 0: there is none. */
static weir_str_t take_scheme(weir_str_t *text)
{
    size_t len = 0;
    while (len < text->len &&
           (is_alnum(text->data[len]) ||
            (len > 0 && strchr("+-.", text->data[len]) != NULL && text->data[len] != '\0')))
        len++;
    if (len == 0 || len == text->len || text->data[len] != ':')
        return (weir_str_t){ text->data, 0 };
    weir_str_t scheme = { text->data, len };
    *text = after(*text, len + 1);
    return scheme;
}

/* Takes "//authority" off, without who is to log in there; len 0: there is none. */
static weir_str_t take_authority(weir_str_t *text)
{
    size_t len = 0;
    if (!weir_str_starts(*text, WEIR_STR("//")))
        return (weir_str_t){ text->data, 0 };
    *text = after(*text, 2);
    while (len < text->len && text->data[len] != '/' && text->data[len] != '?' &&
           text->data[len] != '#')
        len++;
    weir_str_t authority = { text->data, len };
    const char *at = len > 0 ? memchr(authority.data, '@', len) : NULL;
    return at != NULL ? after(authority, (size_t)(at + 1 - authority.data)) : authority;
}

/* Takes ":port" off the end, which is not a piece of an IPv6 address. */
static weir_str_t take_port(weir_str_t *authority)
{
    weir_str_t none = { authority->data, 0 };
    size_t at = authority->len;
    while (at > 0 && authority->data[at - 1] != ':' && authority->data[at - 1] != ']')
        at--;
    if (at == 0 || authority->data[at - 1] != ':')
        return none;
    weir_str_t port = after(*authority, at);
    authority->len = at - 1;
    return port;
}

static bool is_of_scheme(weir_str_t port, weir_str_t scheme)
{
    return (weir_str_is(scheme, "http") && weir_str_is(port, "80")) ||
           (weir_str_is(scheme, "https") && weir_str_is(port, "443"));
}

static size_t add(char *room, size_t at, weir_str_t text)
{
    if (text.len > 0)
        memcpy(room + at, text.data, text.len);
    return at + text.len;
}

void cors_origin(weir_str_t text, char *room, cors_origin_t *ret)
{
    weir_str_t rest = text;
    weir_str_t scheme = take_scheme(&rest);
    weir_str_t host = take_authority(&rest);
    weir_str_t port = take_port(&host);
    if (host.len == 0) {
        add(room, 0, text);
        ret->whole = ret->host = (weir_str_t){ room, text.len };
        return;
    }
    size_t len = add(room, 0, scheme);
    if (scheme.len > 0)
        len = add(room, len, WEIR_STR("://"));
    ret->host = (weir_str_t){ room + len, host.len };
    len = add(room, len, host);
    if (port.len > 0 && !is_of_scheme(port, scheme)) {
        len = add(room, len, WEIR_STR(":"));
        len = add(room, len, port);
    }
    ret->whole = (weir_str_t){ room, len };
}
