/* answer.h -- the bodies of answers that the gateway makes itself.
 *
 * Which form a client accepts, the texts of status codes, the four templates and
 * the gRPC codes (routing 8). Knows no server. */
#ifndef WEIR_PROXY_ANSWER_H
#define WEIR_PROXY_ANSWER_H

#include "base/base.h"

typedef enum weir_media {
    WEIR_MEDIA_JSON = 0,
    WEIR_MEDIA_PLAIN,
    WEIR_MEDIA_HTML,
    WEIR_MEDIA_XML,
    WEIR_MEDIA_GRPC, /* that type, without a body */
} weir_media_t;

/* "application/json; charset=utf-8" and so on. */
weir_str_t weir_media_type(weir_media_t media);

/* The form for an Accept header, all its lines joined by ','. The highest q
 * wins, the first of equals; what is unknown means JSON. */
weir_media_t weir_media_accepted(weir_str_t accept);

/* The text that says what a status means. */
const char *weir_status_message(int status, char *scratch, size_t scratch_bytes);

/* Bytes that weir_error_body() may write: the message's and this. */
enum { WEIR_ERROR_BODY_EXTRA = 320 };

/* The error body of that form; its length. `out` has room for message.len +
 * id.len + WEIR_ERROR_BODY_EXTRA bytes. The message is inserted as it is. */
size_t weir_error_body(weir_media_t media, weir_str_t message, weir_str_t id, char *out);

/* "403 Forbidden" for statuses that have a page of their own when an answer
 * without body is asked for (plugins 1.5); NULL for all others. */
const char *weir_status_page(int status);
size_t weir_page_body(const char *title, char *out, size_t out_bytes);

int weir_grpc_status(int http_status);
const char *weir_grpc_status_name(int grpc_status);

#endif
