/* body.c -- a field of a request body: urlencoded, JSON or multipart.
 *
 * The bytes come from anybody. A field is cut out of the text instead of printing
 * the parsed rest, so that the upstream gets numbers, order and blanks as sent. */
#include "plugins/key_auth/key_auth.h"

#include <strings.h>

enum { BOUNDARY_BYTES_MAX = 256 };

static weir_str_t slice(weir_str_t text, size_t start, size_t end)
{
    return (weir_str_t){ text.data + start, end - start };
}

static bool equal_any_case(weir_str_t a, const char *b)
{
    return a.len == strlen(b) && strncasecmp(a.data, b, a.len) == 0;
}

static bool starts_any_case(weir_str_t text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len >= len && strncasecmp(text.data, prefix, len) == 0;
}

static weir_str_t trim(weir_str_t text)
{
    while (text.len > 0 && strchr(" \t\r\n", text.data[text.len - 1]) != NULL)
        text.len--;
    while (text.len > 0 && strchr(" \t\r\n", text.data[0]) != NULL)
        text.data++, text.len--;
    return text;
}

/* Takes what stands before the next `separator` outside quotes off `*rest`. */
static weir_str_t take_until(weir_str_t *rest, char separator)
{
    size_t at = 0;
    bool quoted = false;
    for (; at < rest->len && (quoted || rest->data[at] != separator); at++) {
        if (rest->data[at] == '"')
            quoted = !quoted;
        else if (quoted && rest->data[at] == '\\' && at + 1 < rest->len)
            at++;
    }
    weir_str_t taken = slice(*rest, 0, at);
    *rest = slice(*rest, at < rest->len ? at + 1 : at, rest->len);
    return taken;
}

/* A parameter of a header value: `name` in `form-data; name="x"`. */
static bool parameter(weir_str_t header, const char *name, weir_str_t *ret)
{
    take_until(&header, ';');
    while (header.len > 0) {
        weir_str_t value = take_until(&header, ';');
        if (!equal_any_case(trim(take_until(&value, '=')), name))
            continue;
        value = trim(value);
        if (value.len >= 2 && value.data[0] == '"' && value.data[value.len - 1] == '"')
            value = slice(value, 1, value.len - 1);
        *ret = value;
        return true;
    }
    return false;
}

void key_auth_body_open(key_auth_body_t *body, weir_str_t content_type, weir_str_t text)
{
    *body = (key_auth_body_t){ .text = text };
    if (text.len == 0)
        return;
    if (starts_any_case(content_type, "application/x-www-form-urlencoded")) {
        body->kind = KEY_AUTH_BODY_FORM;
    } else if (starts_any_case(content_type, "application/json")) {
        if (weir_json_parse(text, &body->json, NULL) == WEIR_OK)
            body->kind = KEY_AUTH_BODY_JSON;
    } else if (starts_any_case(content_type, "multipart/form-data")) {
        if (parameter(content_type, "boundary", &body->boundary) && body->boundary.len > 0 &&
            body->boundary.len <= BOUNDARY_BYTES_MAX)
            body->kind = KEY_AUTH_BODY_MULTIPART;
    }
}

void key_auth_body_close(key_auth_body_t *body)
{
    weir_json_free(body->json);
    *body = (key_auth_body_t){ 0 };
}

/* Each NAME_without() writes the text without the field to `out`, which has room
 * for all of it, and returns its length; *found: it had one. */

/* -- urlencoded ------------------------------------------------------------------ */

static int hex(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit = (char)(digit | 0x20);
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* The next byte, decoded; a broken escape stands for itself. */
static char take_decoded(weir_str_t *text)
{
    char byte = text->data[0];
    size_t taken = 1;
    if (byte == '+') {
        byte = ' ';
    } else if (byte == '%' && text->len >= 3 && hex(text->data[1]) >= 0 &&
               hex(text->data[2]) >= 0) {
        byte = (char)(hex(text->data[1]) << 4 | hex(text->data[2]));
        taken = 3;
    }
    *text = slice(*text, taken, text->len);
    return byte;
}

static bool decodes_to(weir_str_t text, weir_str_t plain)
{
    for (size_t i = 0; i < plain.len; i++)
        if (text.len == 0 || take_decoded(&text) != plain.data[i])
            return false;
    return text.len == 0;
}

static int decode(weir_request_t *request, weir_str_t text, weir_str_t *ret)
{
    char *out = weir_request_alloc(request, text.len + 1);
    if (out == NULL)
        return WEIR_NO_MEMORY;
    size_t len = 0;
    while (text.len > 0)
        out[len++] = take_decoded(&text);
    *ret = (weir_str_t){ out, len };
    return WEIR_OK;
}

/* The next `name=value`; value.data is NULL without '='. */
static bool form_next(weir_str_t *rest, weir_str_t *ret_pair, weir_str_t *ret_name,
                      weir_str_t *ret_value)
{
    if (rest->len == 0)
        return false;
    const char *end = memchr(rest->data, '&', rest->len);
    size_t len = end != NULL ? (size_t)(end - rest->data) : rest->len;
    *ret_pair = slice(*rest, 0, len);
    *rest = slice(*rest, end != NULL ? len + 1 : len, rest->len);
    const char *equals = memchr(ret_pair->data, '=', len);
    size_t name_len = equals != NULL ? (size_t)(equals - ret_pair->data) : len;
    *ret_name = slice(*ret_pair, 0, name_len);
    *ret_value = equals != NULL ? slice(*ret_pair, name_len + 1, len) : (weir_str_t){ NULL, 0 };
    return true;
}

static int form_find(const key_auth_body_t *body, weir_request_t *request, weir_str_t name,
                     weir_str_t *ret)
{
    weir_str_t rest = body->text, pair, found, value, only = { NULL, 0 };
    size_t count = 0;
    while (form_next(&rest, &pair, &found, &value)) {
        if (!decodes_to(found, name))
            continue;
        only = value;
        count++;
    }
    if (count > 1)
        return WEIR_CONFLICT;
    return only.data != NULL ? decode(request, only, ret) : WEIR_NOT_FOUND;
}

static size_t form_without(const key_auth_body_t *body, weir_str_t name, char *out, bool *found)
{
    weir_str_t rest = body->text, pair, of, value;
    size_t len = 0;
    bool first = true;
    while (form_next(&rest, &pair, &of, &value)) {
        if (decodes_to(of, name)) {
            *found = true;
            continue;
        }
        if (!first)
            out[len++] = '&';
        memcpy(out + len, pair.data, pair.len);
        len += pair.len;
        first = false;
    }
    return len;
}

/* -- JSON ------------------------------------------------------------------------ */

static int json_find(const key_auth_body_t *body, weir_request_t *request, weir_str_t name,
                     weir_str_t *ret)
{
    for (const weir_json_t *member = weir_json_first(body->json); member != NULL;
         member = weir_json_next(member)) {
        const char *found = weir_json_name(member); /* NULL in an array */
        if (found == NULL || !weir_str_is(name, found))
            continue;
        weir_json_kind_t kind = weir_json_kind(member);
        if (kind == WEIR_JSON_ARRAY || kind == WEIR_JSON_OBJECT)
            return WEIR_CONFLICT;
        if (kind != WEIR_JSON_STRING)
            return WEIR_NOT_FOUND;
        weir_str_t value = weir_json_string(member);
        char *copy = weir_request_alloc(request, value.len + 1);
        if (copy == NULL)
            return WEIR_NO_MEMORY;
        memcpy(copy, value.data, value.len);
        *ret = (weir_str_t){ copy, value.len };
        return WEIR_OK;
    }
    return WEIR_NOT_FOUND;
}

/* Past the string that starts at `at`. */
static size_t string_end(weir_str_t text, size_t at)
{
    for (at++; at < text.len && text.data[at] != '"'; at++)
        if (text.data[at] == '\\')
            at++;
    return at < text.len ? at + 1 : text.len;
}

/* The ',' or bracket that ends the member around `at`. */
static size_t member_end(weir_str_t text, size_t at)
{
    size_t depth = 0;
    while (at < text.len) {
        char byte = text.data[at];
        if (byte == '"') {
            at = string_end(text, at);
            continue;
        }
        if (depth == 0 && (byte == ',' || byte == '}' || byte == ']'))
            break;
        if (byte == '{' || byte == '[')
            depth++;
        else if (byte == '}' || byte == ']')
            depth--;
        at++;
    }
    return at;
}

/* Whether the JSON string `quoted` says `name`. */
static bool json_says(weir_str_t quoted, weir_str_t name)
{
    if (memchr(quoted.data, '\\', quoted.len) == NULL)
        return quoted.len == name.len + 2 && memcmp(quoted.data + 1, name.data, name.len) == 0;
    weir_json_t *value = NULL;
    if (weir_json_parse(quoted, &value, NULL) != WEIR_OK)
        return false;
    bool same = weir_str_equal(weir_json_string(value), name);
    weir_json_free(value);
    return same;
}

/* The text was parsed: it is an object, and brackets and quotes are balanced. A
 * name that comes twice goes twice. */
static size_t json_without(const key_auth_body_t *body, weir_str_t name, char *out, bool *found)
{
    weir_str_t text = body->text;
    size_t at = (size_t)((const char *)memchr(text.data, '{', text.len) - text.data) + 1;
    memcpy(out, text.data, at);
    size_t len = at;
    bool first = true;
    while (at < text.len && text.data[at] != '}') {
        size_t end = member_end(text, at);
        const char *quote = memchr(text.data + at, '"', end - at);
        size_t start = quote != NULL ? (size_t)(quote - text.data) : end;
        if (quote != NULL && json_says(slice(text, start, string_end(text, start)), name)) {
            *found = true;
        } else {
            if (!first)
                out[len++] = ',';
            memcpy(out + len, text.data + at, end - at);
            len += end - at;
            first = false;
        }
        at = end < text.len && text.data[end] == ',' ? end + 1 : end;
    }
    memcpy(out + len, text.data + at, text.len - at);
    return len + text.len - at;
}

/* -- multipart ------------------------------------------------------------------- */

/* A line "--BOUNDARY", or "--BOUNDARY--": `last`. */
typedef struct delimiter {
    size_t start, end;
    bool last;
} delimiter_t;

/* Reads the delimiter at `start`, of which the first `len` bytes fit. */
static bool read_delimiter(weir_str_t text, size_t start, size_t len, delimiter_t *ret)
{
    size_t at = start + len;
    *ret = (delimiter_t){ .start = start, .end = at };
    if (at + 2 <= text.len && memcmp(text.data + at, "--", 2) == 0) {
        ret->last = true;
        return true;
    }
    while (at < text.len && (text.data[at] == ' ' || text.data[at] == '\t'))
        at++;
    if (at < text.len && text.data[at] == '\r')
        at++;
    if (at >= text.len || text.data[at] != '\n')
        return false;
    ret->end = at + 1;
    return true;
}

static bool find_delimiter(const key_auth_body_t *body, size_t from, delimiter_t *ret)
{
    weir_str_t text = body->text, boundary = body->boundary;
    while (from < text.len) {
        const char *hit = memmem(text.data + from, text.len - from, boundary.data, boundary.len);
        if (hit == NULL)
            return false;
        size_t at = (size_t)(hit - text.data);
        if (at >= 2 && hit[-1] == '-' && hit[-2] == '-' && (at == 2 || hit[-3] == '\n') &&
            read_delimiter(text, at - 2, boundary.len + 2, ret))
            return true;
        from = at + 1;
    }
    return false;
}

typedef struct part {
    weir_str_t name; /* data NULL: none */
    weir_str_t content;
    size_t start, end; /* with its delimiter, up to the next one */
} part_t;

static void read_part(weir_str_t text, part_t *part)
{
    while (text.len > 0) {
        const char *newline = memchr(text.data, '\n', text.len);
        size_t len = newline != NULL ? (size_t)(newline - text.data) + 1 : text.len;
        weir_str_t line = trim(slice(text, 0, len));
        text = slice(text, len, text.len);
        if (line.len == 0)
            break; /* the headers end */
        weir_str_t value = line;
        if (equal_any_case(trim(take_until(&value, ':')), "Content-Disposition"))
            parameter(value, "name", &part->name);
    }
    if (text.len > 0 && text.data[text.len - 1] == '\n')
        text.len--;
    if (text.len > 0 && text.data[text.len - 1] == '\r')
        text.len--;
    part->content = text;
}

/* The part after `*at`, which moves to the delimiter that ends it. */
static bool next_part(const key_auth_body_t *body, size_t *at, part_t *ret)
{
    delimiter_t start, end;
    if (!find_delimiter(body, *at, &start) || start.last || !find_delimiter(body, start.end, &end))
        return false;
    *ret = (part_t){ .start = start.start, .end = end.start };
    read_part(slice(body->text, start.end, end.start), ret);
    *at = end.start;
    return true;
}

static bool part_is(const part_t *part, weir_str_t name)
{
    return part->name.data != NULL && weir_str_equal(part->name, name);
}

static int multipart_find(const key_auth_body_t *body, weir_str_t name, weir_str_t *ret)
{
    size_t at = 0, count = 0;
    part_t part;
    weir_str_t value = { NULL, 0 };
    while (next_part(body, &at, &part)) {
        if (!part_is(&part, name))
            continue;
        value = part.content;
        count++;
    }
    if (count > 1)
        return WEIR_CONFLICT;
    if (count == 0)
        return WEIR_NOT_FOUND;
    *ret = value;
    return WEIR_OK;
}

static size_t multipart_without(const key_auth_body_t *body, weir_str_t name, char *out,
                                bool *found)
{
    size_t at = 0, copied = 0, len = 0;
    part_t part;
    while (next_part(body, &at, &part)) {
        if (!part_is(&part, name))
            continue;
        memcpy(out + len, body->text.data + copied, part.start - copied);
        len += part.start - copied;
        copied = part.end;
        *found = true;
    }
    memcpy(out + len, body->text.data + copied, body->text.len - copied);
    return len + body->text.len - copied;
}

/* -- any of them ----------------------------------------------------------------- */

int key_auth_body_find(const key_auth_body_t *body, weir_request_t *request, weir_str_t name,
                       weir_str_t *ret)
{
    switch (body->kind) {
    case KEY_AUTH_BODY_FORM:
        return form_find(body, request, name, ret);
    case KEY_AUTH_BODY_JSON:
        return json_find(body, request, name, ret);
    case KEY_AUTH_BODY_MULTIPART:
        return multipart_find(body, name, ret);
    case KEY_AUTH_BODY_OTHER:
        break;
    }
    return WEIR_NOT_FOUND;
}

int key_auth_body_without(const key_auth_body_t *body, weir_request_t *request, weir_str_t name,
                          weir_str_t *ret)
{
    if (body->kind == KEY_AUTH_BODY_OTHER ||
        (body->kind == KEY_AUTH_BODY_JSON && weir_json_kind(body->json) != WEIR_JSON_OBJECT))
        return WEIR_NOT_FOUND;
    char *out = weir_request_alloc(request, body->text.len + 1);
    if (out == NULL)
        return WEIR_NO_MEMORY;
    size_t len = 0;
    bool found = false;
    switch (body->kind) {
    case KEY_AUTH_BODY_FORM:
        len = form_without(body, name, out, &found);
        break;
    case KEY_AUTH_BODY_JSON:
        len = json_without(body, name, out, &found);
        break;
    case KEY_AUTH_BODY_MULTIPART:
        len = multipart_without(body, name, out, &found);
        break;
    case KEY_AUTH_BODY_OTHER:
        break;
    }
    if (!found)
        return WEIR_NOT_FOUND;
    *ret = (weir_str_t){ out, len };
    return WEIR_OK;
}
