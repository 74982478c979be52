/* texts.c -- rules for names, tags, paths. */
#include "model/checks.h"
#include "weir/schema.h"

#include <ctype.h>
#include <stdlib.h>

bool weir_utf8_valid(weir_str_t text, size_t *ret_position)
{
    const unsigned char *s = (const unsigned char *)text.data;
    size_t i = 0;
    while (i < text.len) {
        size_t more = s[i] < 0x80 ? 0 : s[i] < 0xC2 ? 4 : s[i] < 0xE0 ? 1 : s[i] < 0xF0 ? 2 : 3;
        bool fine = more < 4 && s[i] < 0xF5 && text.len - i > more;
        for (size_t k = 1; fine && k <= more; k++)
            fine = (s[i + k] & 0xC0) == 0x80;
        if (fine && more == 2)
            fine = !(s[i] == 0xE0 && s[i + 1] < 0xA0) && !(s[i] == 0xED && s[i + 1] > 0x9F);
        if (fine && more == 3)
            fine = !(s[i] == 0xF0 && s[i + 1] < 0x90) && !(s[i] == 0xF4 && s[i + 1] > 0x8F);
        if (!fine) {
            *ret_position = i;
            return false;
        }
        i += more + 1;
    }
    return true;
}

static int check_utf8(weir_str_t value, weir_error_t *err)
{
    size_t position = 0;
    if (weir_utf8_valid(value, &position))
        return WEIR_OK;
    return weir_error_set(err, WEIR_INVALID, NULL,
                          "invalid utf-8 character sequence detected at position %zu",
                          position + 1);
}

int weir_check_utf8_name(weir_str_t value, weir_error_t *err)
{
    int rc = check_utf8(value, err);
    for (size_t i = 0; rc == WEIR_OK && i < value.len; i++) {
        unsigned char c = (unsigned char)value.data[i];
        if (c < 0x80 && !isalnum(c) && c != '.' && c != '-' && c != '_' && c != '~')
            rc = weir_error_set(err, WEIR_INVALID, NULL,
                                "invalid value '" WEIR_VALUE
                                "': the only accepted ascii characters are "
                                "alphanumerics or ., -, _, and ~");
    }
    return rc;
}

int weir_check_tag(weir_str_t value, weir_error_t *err)
{
    int rc = check_utf8(value, err);
    for (size_t i = 0; rc == WEIR_OK && i < value.len; i++) {
        unsigned char c = (unsigned char)value.data[i];
        if (c < 0x20 || c == 0x7f || c == ',' || c == '/')
            rc = weir_error_set(err, WEIR_INVALID, NULL,
                                "invalid tag '" WEIR_VALUE
                                "': expected printable ascii (except `,` and `/`)"
                                " or valid utf-8 sequences");
    }
    return rc;
}

int weir_check_header_name(weir_str_t value, weir_error_t *err)
{
    bool fine = value.len > 0;
    for (size_t i = 0; fine && i < value.len; i++)
        fine =
            isalnum((unsigned char)value.data[i]) || value.data[i] == '-' || value.data[i] == '_';
    if (fine)
        return WEIR_OK;
    return weir_error_set(err, WEIR_INVALID, NULL,
                          "bad header name '" WEIR_VALUE
                          "', allowed characters are A-Z, a-z, 0-9, '_', "
                          "and '-'");
}

int weir_check_method(weir_str_t value, weir_error_t *err)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.data[i] < 'A' || value.data[i] > 'Z')
            return weir_error_set(err, WEIR_INVALID, NULL, "invalid value: " WEIR_VALUE);
    return WEIR_OK;
}

int weir_check_cookie_name(weir_str_t value, weir_error_t *err)
{
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.data[i];
        if (c <= 0x20 || c >= 0x7f || strchr("()<>@,;:\\\"/?={}[]", c) != NULL)
            return weir_error_set(
                err, WEIR_INVALID, NULL,
                "contains one or more invalid characters. ASCII control characters (0-31;127), "
                "space, tab and the characters ()<>@,;:\\\"/?={}[] are not allowed.");
    }
    return WEIR_OK;
}

static bool is_pchar(char c)
{
    return isalnum((unsigned char)c) || (c != '\0' && strchr(".-_~/%:@!$&'()*+,;=", c) != NULL);
}

/* Every '%' is followed by two hexadecimal digits. */
static int check_escapes(weir_str_t value, weir_error_t *err)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] != '%')
            continue;
        size_t left = value.len - i;
        if (left < 3 || !isxdigit((unsigned char)value.data[i + 1]) ||
            !isxdigit((unsigned char)value.data[i + 2]))
            return weir_error_set(err, WEIR_INVALID, NULL, "invalid url-encoded value: '%.*s'",
                                  (int)(left < 3 ? left : 3), value.data + i);
    }
    return WEIR_OK;
}

int weir_check_path(weir_str_t value, weir_error_t *err)
{
    for (size_t i = 0; i < value.len; i++)
        if (!is_pchar(value.data[i]))
            return weir_error_set(err, WEIR_INVALID, NULL,
                                  "invalid path: '" WEIR_VALUE
                                  "' (characters outside of the reserved list "
                                  "of RFC 3986 found)");
    return check_escapes(value, err);
}

/* The normal form of a configured prefix: like that of a request's path
 * (routing 1.3) without merging slashes, which are refused before. */
static size_t normalize(weir_str_t path, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < path.len; i++) {
        unsigned char c = (unsigned char)path.data[i];
        if (c == '%') {
            char digits[3] = { path.data[i + 1], path.data[i + 2], '\0' };
            unsigned char byte = (unsigned char)strtoul(digits, NULL, 16);
            if (strchr("!*'();:@&=+$,/?%#[]", byte) != NULL && byte != 0) {
                out[len++] = '%';
                out[len++] = (char)toupper((unsigned char)digits[0]);
                out[len++] = (char)toupper((unsigned char)digits[1]);
            } else {
                out[len++] = (char)byte;
            }
            i += 2;
        } else {
            out[len++] = (char)c;
        }
    }
    /* Dot segments, in place. */
    size_t to = 0;
    for (size_t from = 0; from < len;) {
        size_t end = from + 1;
        while (end < len && out[end] != '/')
            end++;
        size_t segment = end - from - 1;
        bool last = end == len;
        if (segment == 1 && out[from + 1] == '.') {
            if (last)
                out[to++] = '/';
        } else if (segment == 2 && out[from + 1] == '.' && out[from + 2] == '.') {
            while (to > 0 && out[--to] != '/')
                continue;
            if (last)
                out[to++] = '/';
        } else {
            memmove(out + to, out + from, end - from);
            to += end - from;
        }
        from = end;
    }
    return to;
}

enum { PATH_BYTES_MAX = 8192 };

int weir_check_route_path(weir_str_t value, weir_error_t *err)
{
    if (value.len > PATH_BYTES_MAX)
        return weir_error_set(err, WEIR_INVALID, NULL, "length must be at most %d", PATH_BYTES_MAX);
    for (size_t i = 1; i < value.len; i++)
        if (value.data[i] == '/' && value.data[i - 1] == '/')
            return weir_error_set(err, WEIR_INVALID, NULL, "must not have empty segments");
    if (!weir_str_starts(value, WEIR_STR("/")) && !weir_str_starts(value, WEIR_STR("~/")))
        return weir_error_set(err, WEIR_INVALID, NULL,
                              "should start with: / (fixed path) or ~/ (regex path)");
    int rc = check_escapes(value, err);
    if (rc != WEIR_OK)
        return rc;
    if (value.data[0] == '~')
        return weir_check_regex((weir_str_t){ value.data + 1, value.len - 1 }, err);
    char normal[PATH_BYTES_MAX];
    size_t len = normalize(value, normal);
    if (weir_str_equal(value, (weir_str_t){ normal, len }))
        return WEIR_OK;
    return weir_error_set(err, WEIR_INVALID, NULL,
                          "non-normalized path, consider use '%.*s' instead", (int)len, normal);
}

/* -- URIs ---------------------------------------------------------------------- */

/* Bytes of `text` before the first of `ends`. */
static size_t until(weir_str_t text, const char *ends)
{
    size_t len = 0;
    while (len < text.len && (text.data[len] == '\0' || strchr(ends, text.data[len]) == NULL))
        len++;
    return len;
}

/* The scheme with its colon; 0: there is none. */
static size_t scheme_len(weir_str_t uri)
{
    size_t len = 0;
    while (len < uri.len &&
           (isalnum((unsigned char)uri.data[len]) ||
            (len > 0 && uri.data[len] != '\0' && strchr("+-.", uri.data[len]) != NULL)))
        len++;
    return len > 0 && len < uri.len && uri.data[len] == ':' ? len + 1 : 0;
}

static bool has_host(weir_str_t rest)
{
    if (!weir_str_starts(rest, WEIR_STR("//")))
        return false;
    weir_str_t authority = { rest.data + 2, rest.len - 2 };
    authority.len = until(authority, "/");
    const char *at = memchr(authority.data, '@', authority.len);
    if (at != NULL) {
        size_t skip = (size_t)(at - authority.data) + 1;
        authority = (weir_str_t){ authority.data + skip, authority.len - skip };
    }
    return authority.len > 0 && authority.data[0] != ':';
}

int weir_check_uri(weir_str_t value, weir_error_t *err)
{
    size_t len = until(value, "#");
    size_t scheme = scheme_len((weir_str_t){ value.data, len });
    if (scheme == 0 || !has_host((weir_str_t){ value.data + scheme, len - scheme }))
        return weir_error_set(err, WEIR_INVALID, NULL, "cannot parse '" WEIR_VALUE "'");
    if (len < value.len)
        return weir_error_set(err, WEIR_INVALID, NULL, "fragment not allowed in '" WEIR_VALUE "'");
    return WEIR_OK;
}
