/* ngx_http_weir_hash.c -- what an upstream hashes on, of one request (routing 9.6). */
#include "proxy/ngx_http_weir_balance.h"

#include "proxy/query.h"

/* Each gives the text, NGX_DECLINED if the request has none, or NGX_ERROR. */

static ngx_int_t consumer_text(ngx_http_weir_ctx_t *ctx, weir_str_t *ret)
{
    if (weir_uuid_is_zero(&ctx->consumer))
        return NGX_DECLINED;
    char *text = ngx_pnalloc(ctx->r->pool, WEIR_UUID_TEXT + 1);
    if (text == NULL)
        return NGX_ERROR;
    weir_uuid_format(&ctx->consumer, text);
    *ret = (weir_str_t){ text, WEIR_UUID_TEXT };
    return NGX_OK;
}

/* Its lines, joined. */
static ngx_int_t header_text(ngx_http_request_t *r, weir_str_t name, weir_str_t *ret)
{
    weir_str_t line;
    size_t bytes = 0, count = 0;
    for (; ngx_http_weir_header(r, name, count, &line); count++)
        bytes += line.len + 2;
    if (count == 0)
        return NGX_DECLINED;
    u_char *text = ngx_pnalloc(r->pool, bytes);
    if (text == NULL)
        return NGX_ERROR;
    u_char *at = text;
    for (size_t i = 0; i < count && ngx_http_weir_header(r, name, i, &line); i++) {
        if (i > 0)
            *at++ = ',', *at++ = ' ';
        at = ngx_cpymem(at, line.data, line.len);
    }
    *ret = (weir_str_t){ (const char *)text, (size_t)(at - text) };
    return NGX_OK;
}

static ngx_int_t make_cookie(ngx_http_weir_choice_t *choice, weir_str_t name, weir_str_t *ret)
{
    static const char format[] = "%*s=%s; Path=%*s; Same-Site=Lax; HttpOnly";
    weir_str_t path = choice->balance->upstream.cookie_path;
    char text[WEIR_UUID_TEXT + 1];
    weir_uuid_t id;
    ngx_str_t *cookie = &choice->cookie;
    u_char *data =
        ngx_pnalloc(choice->ctx->r->pool, sizeof(format) + name.len + WEIR_UUID_TEXT + path.len);
    if (data == NULL || weir_uuid_random(&id) != WEIR_OK)
        return NGX_ERROR;
    weir_uuid_format(&id, text);
    cookie->data = data;
    cookie->len =
        (size_t)(ngx_sprintf(data, format, name.len, name.data, text, path.len, path.data) - data);
    choice->cookie_name_len = name.len + 1;
    *ret = (weir_str_t){ (const char *)data + name.len + 1, WEIR_UUID_TEXT };
    return NGX_OK;
}

static ngx_int_t cookie_text(ngx_http_weir_choice_t *choice, weir_str_t name, weir_str_t *ret)
{
    ngx_str_t key = ngx_http_weir_text(name);
    ngx_str_t value = ngx_null_string;
    if (ngx_http_parse_multi_header_lines(&choice->ctx->r->headers_in.cookies, &key, &value) ==
        NGX_DECLINED)
        return make_cookie(choice, name, ret);
    *ret = ngx_http_weir_str(value);
    return NGX_OK;
}

static ngx_int_t argument_text(ngx_http_weir_ctx_t *ctx, weir_str_t name, weir_str_t *ret)
{
    weir_str_t query = ngx_http_weir_str(ctx->r->args);
    char *text = ngx_pnalloc(ctx->r->pool, weir_query_values_bytes(query));
    if (text == NULL)
        return NGX_ERROR;
    ret->data = text;
    return weir_query_values(query, name, text, &ret->len) ? NGX_OK : NGX_DECLINED;
}

static ngx_int_t capture_text(ngx_http_weir_ctx_t *ctx, weir_str_t name, weir_str_t *ret)
{
    ngx_http_request_t *r = ctx->r;
    weir_error_t err = { 0 };
    weir_str_t path = ngx_http_weir_str(ctx->path);
    weir_reader_t *reader =
        ngx_http_weir_reader(ngx_http_weir_proxy_main(r)->node, r->connection->log);
    if (reader == NULL || weir_reader_enter(reader, &err) != WEIR_OK)
        return NGX_DECLINED;
    int rc = weir_reader_capture(reader, &ctx->routed->route.id, path, ctx->path_matched, name, ret,
                                 &err);
    weir_reader_leave(reader);
    return rc == WEIR_OK ? NGX_OK : NGX_DECLINED;
}

static ngx_int_t text_of(ngx_http_weir_choice_t *choice, const weir_hash_on_t *on, weir_str_t *ret)
{
    ngx_http_weir_ctx_t *ctx = choice->ctx;
    switch (on->input) {
    case WEIR_HASH_NONE:
        return NGX_DECLINED;
    case WEIR_HASH_CONSUMER:
        return consumer_text(ctx, ret);
    case WEIR_HASH_IP:
        *ret = ngx_http_weir_str(ctx->r->connection->addr_text);
        return NGX_OK;
    case WEIR_HASH_HEADER:
        return header_text(ctx->r, on->name, ret);
    case WEIR_HASH_COOKIE:
        return cookie_text(choice, on->name, ret);
    case WEIR_HASH_PATH:
        *ret = ngx_http_weir_str(ctx->r->uri);
        return NGX_OK;
    case WEIR_HASH_QUERY_ARG:
        return argument_text(ctx, on->name, ret);
    case WEIR_HASH_URI_CAPTURE:
        return capture_text(ctx, on->name, ret);
    }
    return NGX_DECLINED;
}

ngx_int_t ngx_http_weir_hash(ngx_http_weir_choice_t *choice)
{
    const weir_upstream_t *upstream = &choice->balance->upstream;
    weir_str_t text = { NULL, 0 };
    ngx_int_t rc = text_of(choice, &upstream->hash_on, &text);
    if (rc == NGX_DECLINED)
        rc = text_of(choice, &upstream->hash_fallback, &text);
    if (rc == NGX_DECLINED)
        text = WEIR_STR(""); /* all of these share one target */
    if (rc == NGX_ERROR)
        return NGX_ERROR;
    choice->pick.hash = weir_balance_hash(text);
    return NGX_OK;
}
