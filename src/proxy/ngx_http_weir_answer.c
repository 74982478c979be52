/* ngx_http_weir_answer.c -- answers of the gateway itself. */
#include "proxy/ngx_http_weir_proxy.h"

#include "proxy/rules.h"

enum { ACCEPT_BYTES_MAX = 4096, PAGE_BYTES_MAX = 512 };

ngx_table_elt_t *ngx_http_weir_add_header(ngx_http_request_t *r, weir_str_t name, ngx_str_t value)
{
    ngx_table_elt_t *header = ngx_list_push(&r->headers_out.headers);
    if (header == NULL)
        return NULL;
    ngx_memzero(header, sizeof(*header));
    header->hash = 1;
    header->key = ngx_http_weir_text(name);
    header->lowcase_key = header->key.data;
    header->value = value;
    return header;
}

/* nginx would ask a client that waits for "100 Continue" for a body that nobody reads. It
 * gets its answer instead; as it may send the body all the same, or not, nothing can follow
 * on this connection (RFC 9110, 10.1.1). */
static ngx_int_t discard_body(ngx_http_request_t *r)
{
    bool awaits = r->headers_in.expect != NULL && !r->expect_tested && r->request_body == NULL;
    if (awaits && r->http_version == NGX_HTTP_VERSION_11) {
        r->expect_tested = 1;
        r->keepalive = 0;
    }
    return ngx_http_discard_request_body(r);
}

ngx_int_t ngx_http_weir_answer(ngx_http_request_t *r, ngx_uint_t status, ngx_str_t type,
                               ngx_str_t body)
{
    ngx_int_t rc = discard_body(r);
    if (rc != NGX_OK)
        return rc;
    r->headers_out.status = status;
    r->headers_out.content_length_n = (off_t)body.len;
    r->headers_out.content_type = type;
    r->headers_out.content_type_len = type.len;
    r->headers_out.content_type_lowcase = NULL;
    if (status == NGX_HTTP_NO_CONTENT || status == NGX_HTTP_NOT_MODIFIED || body.len == 0)
        r->header_only = 1;
    rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only)
        return rc;
    ngx_buf_t *buffer = ngx_calloc_buf(r->pool);
    if (buffer == NULL)
        return NGX_ERROR;
    buffer->pos = buffer->start = body.data;
    buffer->last = buffer->end = body.data + body.len;
    buffer->memory = 1;
    buffer->last_buf = r == r->main ? 1 : 0;
    buffer->last_in_chain = 1;
    ngx_chain_t out = { buffer, NULL };
    return ngx_http_output_filter(r, &out);
}

/* -- errors ---------------------------------------------------------------------- */

/* All lines of a request header, joined; len 0: none. */
static weir_str_t joined(ngx_http_request_t *r, weir_str_t name, char *out, size_t out_bytes)
{
    size_t len = 0;
    weir_str_t value;
    for (size_t n = 0; ngx_http_weir_header(r, name, n, &value); n++) {
        if (len + value.len + 1 > out_bytes)
            break;
        if (len > 0)
            out[len++] = ',';
        ngx_memcpy(out + len, value.data, value.len);
        len += value.len;
    }
    return (weir_str_t){ out, len };
}

bool ngx_http_weir_is_grpc(ngx_http_request_t *r)
{
    return r->http_version == NGX_HTTP_VERSION_20 && r->headers_in.content_type != NULL &&
           weir_str_starts(ngx_http_weir_str(r->headers_in.content_type->value),
                           WEIR_STR("application/grpc"));
}

/* `message` data NULL: the name of the gRPC status. */
static ngx_int_t answer_grpc(ngx_http_request_t *r, ngx_uint_t status, weir_str_t message)
{
    static ngx_str_t type = ngx_string("application/grpc");
    static ngx_str_t none = ngx_null_string;
    int code = weir_grpc_status((int)status);
    ngx_str_t number;
    number.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (number.data == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    number.len = (size_t)(ngx_sprintf(number.data, "%d", code) - number.data);
    if (message.data == NULL)
        message = weir_str(weir_grpc_status_name(code));
    ngx_str_t text = ngx_http_weir_copy(r->pool, message);
    if (text.data == NULL || ngx_http_weir_add_header(r, WEIR_STR("grpc-status"), number) == NULL ||
        ngx_http_weir_add_header(r, WEIR_STR("grpc-message"), text) == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return ngx_http_weir_answer(r, status, type, none);
}

/* What a client gets that accepts gRPC but does not speak it. */
static ngx_int_t answer_no_form(ngx_http_request_t *r, ngx_uint_t status)
{
    static ngx_str_t none = ngx_null_string;
    static ngx_str_t empty = ngx_string("");
    if (ngx_http_weir_add_header(r, WEIR_STR("Content-Type"), empty) == NULL)
        return NGX_ERROR;
    return ngx_http_weir_answer(r, status, none, none);
}

static ngx_int_t answer_error(ngx_http_request_t *r, ngx_uint_t status, weir_str_t message,
                              weir_media_t media)
{
    ngx_http_weir_ctx_t *ctx = ngx_http_weir_ctx_make(r);
    if (ctx == NULL)
        return NGX_ERROR;
    weir_str_t id = { (const char *)ctx->request_id, REQUEST_ID_LEN };
    ngx_str_t body;
    body.data = ngx_pnalloc(r->pool, message.len + id.len + WEIR_ERROR_BODY_EXTRA);
    if (body.data == NULL)
        return NGX_ERROR;
    body.len = weir_error_body(media, message, id, (char *)body.data);
    return ngx_http_weir_answer(r, status, ngx_http_weir_text(weir_media_type(media)), body);
}

ngx_int_t ngx_http_weir_fail(ngx_http_request_t *r, ngx_uint_t status, weir_str_t message)
{
    char accept[ACCEPT_BYTES_MAX];
    if (ngx_http_weir_is_grpc(r))
        return answer_grpc(r, status, (weir_str_t){ NULL, 0 });
    weir_media_t media = weir_media_accepted(joined(r, WEIR_STR("accept"), accept, sizeof(accept)));
    return media == WEIR_MEDIA_GRPC ? answer_no_form(r, status)
                                    : answer_error(r, status, message, media);
}

/* A client that says it means gRPC, without HTTP/2: the message alone, as JSON. */
static ngx_int_t answer_message(ngx_http_request_t *r, ngx_uint_t status, weir_str_t message)
{
    static const char before[] = "{\"message\":\"";
    ngx_str_t body;
    body.data = ngx_pnalloc(r->pool, sizeof(before) + message.len + 2);
    if (body.data == NULL)
        return NGX_ERROR;
    body.len =
        (size_t)(ngx_sprintf(body.data, "%s%*s\"}", before, message.len, message.data) - body.data);
    return ngx_http_weir_answer(r, status, ngx_http_weir_text(weir_media_type(WEIR_MEDIA_JSON)),
                                body);
}

/* By Accept, else by what the request itself is, else by the setting. */
static ngx_int_t answer_like_server(ngx_http_request_t *r, ngx_uint_t status, weir_str_t message)
{
    char bytes[ACCEPT_BYTES_MAX];
    weir_str_t first;
    weir_media_t media = ngx_http_weir_proxy_main(r)->error_default;
    if (ngx_http_weir_is_grpc(r))
        return answer_grpc(r, status, message);
    if (ngx_http_weir_header(r, WEIR_STR("accept"), 0, &first))
        media = weir_media_accepted(joined(r, WEIR_STR("accept"), bytes, sizeof(bytes)));
    else if (ngx_http_weir_header(r, WEIR_STR("content-type"), 0, &first))
        media = weir_media_accepted(first);
    return media == WEIR_MEDIA_GRPC ? answer_message(r, status, message)
                                    : answer_error(r, status, message, media);
}

ngx_int_t ngx_http_weir_error_handler(ngx_http_request_t *r)
{
    ngx_uint_t status = r->err_status;
    char scratch[64];
    r->err_status = 0;
    r->expect_tested = 1;
    ngx_http_weir_ctx_t *ctx = ngx_http_weir_ctx(r);
    if (ctx != NULL && ctx->swapped)
        ngx_http_weir_swap_out(ctx);
    if (ctx != NULL && ctx->balance != NULL && ngx_http_weir_balance_is_lost(ctx))
        status = NGX_HTTP_SERVICE_UNAVAILABLE;
    weir_str_t message = weir_str(weir_status_message((int)status, scratch, sizeof(scratch)));
    return answer_like_server(
        r, status == NGX_HTTP_REQUEST_HEADER_TOO_LARGE ? NGX_HTTP_BAD_REQUEST : status, message);
}

/* -- answers of plugins ------------------------------------------------------------- */

/* Statuses for which the server has the error template (plugins 1.5). */
static bool has_template(ngx_uint_t status)
{
    static const ngx_uint_t statuses[] = { 400, 404, 405, 411, 412, 413, 414,
                                           417, 494, 500, 502, 503, 504 };
    for (size_t i = 0; i < WEIR_COUNT(statuses); i++)
        if (statuses[i] == status)
            return true;
    return false;
}

ngx_int_t ngx_http_weir_answer_status(ngx_http_request_t *r, ngx_uint_t status)
{
    static ngx_str_t none = ngx_null_string;
    static ngx_str_t html = ngx_string("text/html");
    char scratch[64];
    if (status == NGX_HTTP_REQUEST_TIME_OUT) {
        r->keepalive = 0;
        return NGX_HTTP_CLOSE;
    }
    if (has_template(status))
        return answer_like_server(
            r, status == NGX_HTTP_REQUEST_HEADER_TOO_LARGE ? NGX_HTTP_BAD_REQUEST : status,
            weir_str(weir_status_message((int)status, scratch, sizeof(scratch))));
    const char *title = weir_status_page((int)status);
    if (title == NULL)
        return ngx_http_weir_answer(r, status, none, none);
    ngx_str_t page;
    page.data = ngx_pnalloc(r->pool, PAGE_BYTES_MAX);
    if (page.data == NULL)
        return NGX_ERROR;
    page.len = weir_page_body(title, (char *)page.data, PAGE_BYTES_MAX);
    return ngx_http_weir_answer(r, status, html, page);
}

/* The `message` of a JSON body is what a gRPC client is told. */
static ngx_int_t answer_grpc_of_plugin(ngx_http_weir_ctx_t *ctx)
{
    weir_json_t *body = NULL;
    weir_str_t message = { NULL, 0 };
    if (ctx->answer_body.data != NULL &&
        weir_json_parse(ngx_http_weir_str(ctx->answer_body), &body, NULL) == WEIR_OK)
        message = weir_json_get_string(body, "message", message);
    ngx_int_t rc = answer_grpc(ctx->r, ctx->answer_status, message);
    weir_json_free(body);
    return rc;
}

ngx_int_t ngx_http_weir_answer_of_plugin(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    if (ctx->failed)
        return ngx_http_weir_fail(r, ctx->answer_status, ngx_http_weir_str(ctx->answer_body));
    if (ngx_http_weir_is_grpc(r))
        return answer_grpc_of_plugin(ctx);
    if (ctx->answer_body.data == NULL)
        return ngx_http_weir_answer_status(r, ctx->answer_status);
    return ngx_http_weir_answer(r, ctx->answer_status, ctx->answer_type, ctx->answer_body);
}
