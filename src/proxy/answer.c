/* answer.c -- error bodies, and who gets which. */
#include "proxy/answer.h"

#include <stdio.h>

#define TEXT(literal)                  \
    {                                  \
        (literal), sizeof(literal) - 1 \
    }

/* -- forms ---------------------------------------------------------------------- */

static const struct media_name {
    weir_str_t name;
    weir_media_t media;
} media_names[] = {
    { TEXT("application/json"), WEIR_MEDIA_JSON }, { TEXT("text/html"), WEIR_MEDIA_HTML },
    { TEXT("application/xml"), WEIR_MEDIA_XML },   { TEXT("text/plain"), WEIR_MEDIA_PLAIN },
    { TEXT("text/*"), WEIR_MEDIA_PLAIN },          { TEXT("application/grpc"), WEIR_MEDIA_GRPC },
};

weir_str_t weir_media_type(weir_media_t media)
{
    switch (media) {
    case WEIR_MEDIA_PLAIN:
        return WEIR_STR("text/plain; charset=utf-8");
    case WEIR_MEDIA_HTML:
        return WEIR_STR("text/html; charset=utf-8");
    case WEIR_MEDIA_XML:
        return WEIR_STR("application/xml; charset=utf-8");
    case WEIR_MEDIA_GRPC:
        return WEIR_STR("application/grpc");
    case WEIR_MEDIA_JSON:
        break;
    }
    return WEIR_STR("application/json; charset=utf-8");
}

static weir_str_t trim(weir_str_t text)
{
    while (text.len > 0 && (text.data[0] == ' ' || text.data[0] == '\t')) {
        text.data++;
        text.len--;
    }
    while (text.len > 0 && (text.data[text.len - 1] == ' ' || text.data[text.len - 1] == '\t'))
        text.len--;
    return text;
}

/* Cuts off what stands before `separator`; all of it if there is none. */
static weir_str_t cut(weir_str_t *rest, char separator)
{
    const char *at = rest->len > 0 ? memchr(rest->data, separator, rest->len) : NULL;
    weir_str_t part = { rest->data, at != NULL ? (size_t)(at - rest->data) : rest->len };
    size_t used = part.len + (at != NULL ? 1 : 0);
    rest->data += used;
    rest->len -= used;
    return part;
}

/* "0", "1", "0.", "0.123", "1.000": thousandths; -1 for anything else. */
static int quality(weir_str_t text)
{
    if (text.len == 0 || text.len > 5 || (text.data[0] != '0' && text.data[0] != '1'))
        return -1;
    int value = (text.data[0] - '0') * 1000;
    int unit = 100;
    if (text.len > 1 && text.data[1] != '.')
        return -1;
    for (size_t i = 2; i < text.len; i++, unit /= 10) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return -1;
        value += (text.data[i] - '0') * unit;
    }
    return value <= 1000 ? value : -1;
}

static bool is_token(weir_str_t text)
{
    if (text.len == 0)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && memchr("-!#$&^_+.*", c, 10) == NULL)
            return false;
    }
    return true;
}

/* One item of an Accept header. False if it is none. */
static bool accept_item(weir_str_t item, weir_media_t *ret_media, int *ret_quality)
{
    weir_str_t type = trim(cut(&item, ';'));
    weir_str_t rest = type;
    weir_str_t major = cut(&rest, '/');
    if (!is_token(major) || !is_token(rest))
        return false;
    *ret_quality = 1000;
    while (item.len > 0) {
        weir_str_t parameter = trim(cut(&item, ';'));
        if (parameter.len > 2 && (parameter.data[0] | 0x20) == 'q' && parameter.data[1] == '=') {
            int q = quality((weir_str_t){ parameter.data + 2, parameter.len - 2 });
            if (q >= 0)
                *ret_quality = q;
        }
    }
    *ret_media = WEIR_MEDIA_JSON;
    for (size_t i = 0; i < WEIR_COUNT(media_names); i++)
        if (weir_str_equal(type, media_names[i].name))
            *ret_media = media_names[i].media;
    return true;
}

weir_media_t weir_media_accepted(weir_str_t accept)
{
    weir_media_t best = WEIR_MEDIA_JSON;
    int best_quality = 0;
    while (accept.len > 0) {
        weir_media_t media;
        int q;
        if (accept_item(trim(cut(&accept, ',')), &media, &q) && q > best_quality) {
            best = media;
            best_quality = q;
        }
    }
    return best;
}

/* -- texts ----------------------------------------------------------------------- */

typedef struct status_text {
    int status;
    const char *text;
} status_text_t;

/* routing 8.3 */
static const status_text_t messages[] = {
    { 400, "Bad request" },
    { 401, "Unauthorized" },
    { 402, "Payment required" },
    { 403, "Forbidden" },
    { 404, "Not found" },
    { 405, "Method not allowed" },
    { 406, "Not acceptable" },
    { 407, "Proxy authentication required" },
    { 408, "Request timeout" },
    { 409, "Conflict" },
    { 410, "Gone" },
    { 411, "Length required" },
    { 412, "Precondition failed" },
    { 413, "Payload too large" },
    { 414, "URI too long" },
    { 415, "Unsupported media type" },
    { 416, "Range not satisfiable" },
    { 417, "Expectation failed" },
    { 418, "I'm a teapot" },
    { 421, "Misdirected request" },
    { 422, "Unprocessable entity" },
    { 423, "Locked" },
    { 424, "Failed dependency" },
    { 425, "Too early" },
    { 426, "Upgrade required" },
    { 428, "Precondition required" },
    { 429, "Too many requests" },
    { 431, "Request header fields too large" },
    { 451, "Unavailable for legal reasons" },
    { 494, "Request header or cookie too large" },
    { 500, "An unexpected error occurred" },
    { 501, "Not implemented" },
    { 502, "An invalid response was received from the upstream server" },
    { 503, "The upstream server is currently unavailable" },
    { 504, "The upstream server is timing out" },
    { 505, "HTTP version not supported" },
    { 506, "Variant also negotiates" },
    { 507, "Insufficient storage" },
    { 508, "Loop detected" },
    { 510, "Not extended" },
    { 511, "Network authentication required" },
};

/* Statuses whose page the server would make (plugins 1.5). */
static const status_text_t pages[] = {
    { 301, "301 Moved Permanently" },
    { 302, "302 Found" },
    { 303, "303 See Other" },
    { 307, "307 Temporary Redirect" },
    { 308, "308 Permanent Redirect" },
    { 401, "401 Authorization Required" },
    { 402, "402 Payment Required" },
    { 403, "403 Forbidden" },
    { 406, "406 Not Acceptable" },
    { 409, "409 Conflict" },
    { 410, "410 Gone" },
    { 415, "415 Unsupported Media Type" },
    { 416, "416 Requested Range Not Satisfiable" },
    { 421, "421 Misdirected Request" },
    { 429, "429 Too Many Requests" },
    { 501, "501 Not Implemented" },
    { 505, "505 HTTP Version Not Supported" },
    { 507, "507 Insufficient Storage" },
};

static const char *find(const status_text_t *table, size_t count, int status)
{
    for (size_t i = 0; i < count; i++)
        if (table[i].status == status)
            return table[i].text;
    return NULL;
}

const char *weir_status_message(int status, char *scratch, size_t scratch_bytes)
{
    const char *text = find(messages, WEIR_COUNT(messages), status);
    if (text != NULL)
        return text;
    snprintf(scratch, scratch_bytes, "The upstream server responded with %d", status);
    return scratch;
}

const char *weir_status_page(int status)
{
    return find(pages, WEIR_COUNT(pages), status);
}

size_t weir_page_body(const char *title, char *out, size_t out_bytes)
{
    int n = snprintf(out, out_bytes,
                     "<html>\r\n<head><title>%s</title></head>\r\n<body>\r\n"
                     "<center><h1>%s</h1></center>\r\n</body>\r\n</html>\r\n",
                     title, title);
    weir_assert(n > 0 && (size_t)n < out_bytes);
    return (size_t)n;
}

/* -- bodies ------------------------------------------------------------------------ */

/* Before the message, between message and request id, after it. */
static const struct template
{
    weir_str_t head, middle, tail;
}
templates[] = {
    [WEIR_MEDIA_JSON] = { TEXT("{\n  \"message\":\""), TEXT("\",\n  \"request_id\":\""),
                          TEXT("\"\n}") },
    [WEIR_MEDIA_PLAIN] = { TEXT(""), TEXT("\nrequest_id: "), TEXT("\n") },
    [WEIR_MEDIA_HTML] = { TEXT("<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n"
                               "    <title>Error</title>\n  </head>\n  <body>\n    <h1>Error</h1>\n"
                               "    <p>"),
                          TEXT(".</p>\n    <p>request_id: "), TEXT("</p>\n  </body>\n</html>\n") },
    [WEIR_MEDIA_XML] = { TEXT("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n  <message>"),
                         TEXT("</message>\n  <requestid>"), TEXT("</requestid>\n</error>\n") },
    [WEIR_MEDIA_GRPC] = { TEXT(""), TEXT(""), TEXT("") },
};

size_t weir_error_body(weir_media_t media, weir_str_t message, weir_str_t id, char *out)
{
    if (media == WEIR_MEDIA_GRPC)
        return 0;
    const struct template *t = &templates[media];
    const weir_str_t parts[] = { t->head, message, t->middle, id, t->tail };
    char *at = out;
    for (size_t i = 0; i < WEIR_COUNT(parts); i++) {
        if (parts[i].len > 0)
            memcpy(at, parts[i].data, parts[i].len);
        at += parts[i].len;
    }
    return (size_t)(at - out);
}

/* -- gRPC ---------------------------------------------------------------------------- */

int weir_grpc_status(int http_status)
{
    static const int known[][2] = { { 400, 3 },  { 401, 16 }, { 403, 7 }, { 404, 5 },
                                    { 409, 6 },  { 429, 8 },  { 499, 1 }, { 500, 13 },
                                    { 501, 12 }, { 503, 14 }, { 504, 4 } };
    for (size_t i = 0; i < WEIR_COUNT(known); i++)
        if (known[i][0] == http_status)
            return known[i][1];
    switch (http_status / 100) {
    case 2:
        return 0;
    case 4:
        return 3;
    case 5:
        return 13;
    }
    return 2;
}

const char *weir_grpc_status_name(int grpc_status)
{
    static const char *const names[] = {
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    };
    if (grpc_status < 0 || (size_t)grpc_status >= WEIR_COUNT(names))
        return "Unknown";
    return names[grpc_status];
}
