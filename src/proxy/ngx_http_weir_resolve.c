/* ngx_http_weir_resolve.c -- from a service's host to addresses (routing 9.1). */
#include "proxy/ngx_http_weir_proxy.h"

typedef struct resolving_s {
    ngx_http_weir_ctx_t *ctx;
    ngx_http_weir_lookup_t lookup;
    unsigned inside : 1; /* ngx_http_weir_lookup() has not returned yet */
    ngx_int_t rc;
} resolving_t;

/* Results: NGX_DECLINED (resolved, go on), NGX_BUSY (a question is out), else what an
 * answer to the client returned, for ngx_http_finalize_request(). */

static ngx_int_t fail_name(ngx_http_weir_ctx_t *ctx)
{
    return ngx_http_weir_fail(ctx->r, NGX_HTTP_SERVICE_UNAVAILABLE,
                              WEIR_STR("name resolution failed"));
}

static ngx_int_t fail_server(ngx_http_weir_ctx_t *ctx, const char *reason)
{
    static const char format[] = "failed the initial dns/balancer resolve for '%V' with: %s";
    size_t bytes = sizeof(format) + ctx->routed->service.host.len + ngx_strlen(reason);
    u_char *text = ngx_pnalloc(ctx->r->pool, bytes);
    if (text == NULL)
        return NGX_ERROR;
    u_char *end = ngx_sprintf(text, format, &ctx->routed->service.host, reason);
    weir_str_t message = { (const char *)text, (size_t)(end - text) };
    return ngx_http_weir_fail(ctx->r, NGX_HTTP_INTERNAL_SERVER_ERROR, message);
}

static ngx_int_t take_answer(resolving_t *resolving)
{
    ngx_http_weir_ctx_t *ctx = resolving->ctx;
    ngx_http_weir_lookup_t *lookup = &resolving->lookup;
    if (lookup->state == NGX_RESOLVE_NXDOMAIN)
        return fail_name(ctx);
    if (lookup->state != NGX_OK)
        return fail_server(ctx, lookup->reason);
    ngx_int_t rc = NGX_OK;
    ngx_uint_t count = lookup->address_count;
    ctx->addresses = ngx_palloc(ctx->r->pool, count * sizeof(*ctx->addresses));
    for (ngx_uint_t i = 0; rc == NGX_OK && i < count; i++)
        rc = ctx->addresses != NULL
                 ? ngx_http_weir_set_address(ctx->r->pool, lookup->addresses[i].sockaddr,
                                             lookup->addresses[i].socklen,
                                             ctx->routed->service.port, &ctx->addresses[i])
                 : NGX_ERROR;
    if (rc != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ctx->address_count = count;
    ctx->resolved = 1;
    return NGX_DECLINED;
}

static void answered(ngx_http_weir_lookup_t *lookup)
{
    resolving_t *resolving = lookup->data;
    ngx_http_request_t *r = resolving->ctx->r;
    ngx_connection_t *c = r->connection;
    ngx_int_t rc = take_answer(resolving);
    resolving->rc = rc;
    if (resolving->inside)
        return; /* whoever asked looks at resolving->rc */
    ngx_http_set_log_request(c->log, r);
    if (rc == NGX_DECLINED)
        ngx_http_core_run_phases(r);
    else
        ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}

void ngx_http_weir_resolve_cancel(ngx_http_weir_ctx_t *ctx)
{
    resolving_t *resolving = ctx->resolving;
    if (resolving != NULL)
        ngx_http_weir_lookup_cancel(&resolving->lookup);
    ctx->resolving = NULL;
}

ngx_int_t ngx_http_weir_resolve(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    if (ctx->resolving != NULL)
        return NGX_BUSY; /* something else has woken the request */
    if (ctx->routed->address != NULL) {
        ctx->addresses = ctx->routed->address;
        ctx->address_count = 1;
        ctx->resolved = 1;
        return NGX_DECLINED;
    }
    if (ctx->routed->has_upstream)
        return ngx_http_weir_balance(ctx);
    resolving_t *resolving = ngx_pcalloc(r->pool, sizeof(*resolving));
    if (resolving == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    resolving->ctx = ctx;
    resolving->rc = NGX_BUSY;
    resolving->lookup.host = ngx_http_weir_str(ctx->routed->service.host);
    resolving->lookup.core = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    resolving->lookup.log = r->connection->log;
    resolving->lookup.done = answered;
    resolving->lookup.data = resolving;
    ctx->resolving = resolving;
    resolving->inside = 1;
    ngx_http_weir_lookup(&resolving->lookup);
    resolving->inside = 0;
    return resolving->rc;
}
