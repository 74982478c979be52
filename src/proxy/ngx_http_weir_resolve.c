/* ngx_http_weir_resolve.c -- from a service's host to addresses (routing 9.1).
 *
 * An address stands for itself, the hosts file comes next, then name servers are
 * asked, with the search domains of resolv.conf. nginx's resolver keeps what it
 * learned; an answer that it has comes at once. */
#include "proxy/ngx_http_weir_proxy.h"

enum { NAME_BYTES_MAX = 256 };

typedef struct resolving_s {
    ngx_http_weir_ctx_t *ctx;
    ngx_resolver_ctx_t *query; /* NULL between two */
    size_t candidate;
    ngx_uint_t inside; /* ngx_resolve_name() has not returned yet */
    ngx_int_t rc;
    char name[NAME_BYTES_MAX];
} resolving_t;

static weir_resolv_t system_resolv;
static bool system_resolv_read;

static const weir_resolv_t *resolv(void)
{
    if (!system_resolv_read)
        weir_resolv_load("/etc/resolv.conf", &system_resolv);
    system_resolv_read = true;
    return &system_resolv;
}

static ngx_int_t set_address(ngx_pool_t *pool, const struct sockaddr *sockaddr, socklen_t socklen,
                             in_port_t port, ngx_http_weir_address_t *ret)
{
    if (socklen > sizeof(ret->in6))
        return NGX_ERROR;
    ngx_memcpy(&ret->sockaddr, sockaddr, socklen);
    ret->socklen = socklen;
    ngx_inet_set_port(&ret->sockaddr, port);
    ret->hash = ngx_murmur_hash2((u_char *)&ret->sockaddr, socklen);
    u_char text[NGX_SOCKADDR_STRLEN];
    size_t len = ngx_sock_ntop(&ret->sockaddr, socklen, text, sizeof(text), 1);
    ret->name = ngx_http_weir_copy(pool, (weir_str_t){ (const char *)text, len });
    return ret->name.data != NULL ? NGX_OK : NGX_ERROR;
}

/* NGX_DECLINED: not an address. */
static ngx_int_t literal(ngx_pool_t *pool, weir_str_t text, in_port_t port,
                         ngx_http_weir_address_t **ret)
{
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } address;
    ngx_memzero(&address, sizeof(address));
    u_char *data = (u_char *)(uintptr_t)text.data;
    size_t len = text.len;
    if (len > 2 && data[0] == '[' && data[len - 1] == ']') {
        data++;
        len -= 2;
    }
    in_addr_t v4 = ngx_inet_addr(data, len);
    if (v4 != INADDR_NONE) {
        address.in.sin_family = AF_INET;
        address.in.sin_addr.s_addr = v4;
    } else if (ngx_strlchr(data, data + len, ':') != NULL &&
               ngx_inet6_addr(data, len, address.in6.sin6_addr.s6_addr) == NGX_OK) {
        address.in6.sin6_family = AF_INET6;
    } else {
        return NGX_DECLINED;
    }
    *ret = ngx_palloc(pool, sizeof(**ret));
    socklen_t socklen = address.any.sa_family == AF_INET ? sizeof(address.in) : sizeof(address.in6);
    return *ret != NULL ? set_address(pool, &address.any, socklen, port, *ret) : NGX_ERROR;
}

ngx_int_t ngx_http_weir_known_address(ngx_pool_t *pool, const weir_hosts_t *hosts,
                                      const ngx_http_weir_service_t *service,
                                      ngx_http_weir_address_t **ret)
{
    weir_str_t host = ngx_http_weir_str(service->host);
    ngx_int_t rc = literal(pool, host, service->port, ret);
    if (rc != NGX_DECLINED)
        return rc;
    weir_str_t address = weir_hosts_find(hosts, host);
    return address.data != NULL ? literal(pool, address, service->port, ret) : NGX_DECLINED;
}

/* -- name servers ------------------------------------------------------------------- */

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

static ngx_int_t ask(resolving_t *resolving);

static ngx_int_t take_answer(resolving_t *resolving)
{
    ngx_http_weir_ctx_t *ctx = resolving->ctx;
    ngx_resolver_ctx_t *query = resolving->query;
    if (query->state == NGX_RESOLVE_NXDOMAIN) {
        ngx_resolve_name_done(query);
        resolving->query = NULL;
        resolving->candidate++;
        return ask(resolving);
    }
    if (query->state != NGX_OK) {
        const char *reason = ngx_resolver_strerror(query->state);
        ngx_log_error(NGX_LOG_ERR, ctx->r->connection->log, 0, "%s could not be resolved (%i: %s)",
                      resolving->name, query->state, reason);
        ngx_resolve_name_done(query);
        resolving->query = NULL;
        return fail_server(ctx, reason);
    }
    ngx_uint_t count = ngx_min(query->naddrs, ADDRESSES_MAX);
    ngx_int_t rc = NGX_OK;
    ctx->addresses = ngx_palloc(ctx->r->pool, count * sizeof(*ctx->addresses));
    for (ngx_uint_t i = 0; rc == NGX_OK && i < count; i++)
        rc = ctx->addresses != NULL
                 ? set_address(ctx->r->pool, query->addrs[i].sockaddr, query->addrs[i].socklen,
                               ctx->routed->service.port, &ctx->addresses[i])
                 : NGX_ERROR;
    ngx_resolve_name_done(query);
    resolving->query = NULL;
    if (rc != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ctx->address_count = count;
    ctx->resolved = 1;
    return NGX_DECLINED;
}

static void answered(ngx_resolver_ctx_t *query)
{
    resolving_t *resolving = query->data;
    ngx_http_weir_ctx_t *ctx = resolving->ctx;
    ngx_http_request_t *r = ctx->r;
    ngx_connection_t *c = r->connection;
    ngx_uint_t inside = resolving->inside;
    ngx_int_t rc = take_answer(resolving);
    resolving->rc = rc;
    if (inside || rc == NGX_BUSY)
        return; /* whoever asked looks at resolving->rc, or another question is out */
    ngx_http_set_log_request(c->log, r);
    if (rc == NGX_DECLINED)
        ngx_http_core_run_phases(r);
    else
        ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(c);
}

static ngx_int_t ask(resolving_t *resolving)
{
    ngx_http_weir_ctx_t *ctx = resolving->ctx;
    ngx_http_request_t *r = ctx->r;
    ngx_http_core_loc_conf_t *core = ngx_http_get_module_loc_conf(r, ngx_http_core_module);
    ngx_resolver_ctx_t temporary;
    size_t len =
        weir_resolv_candidate(resolv(), ngx_http_weir_str(ctx->routed->service.host),
                              resolving->candidate, resolving->name, sizeof(resolving->name));
    if (len == 0)
        return fail_name(ctx);
    ngx_memzero(&temporary, sizeof(temporary));
    temporary.name.data = (u_char *)resolving->name;
    temporary.name.len = len;
    ngx_resolver_ctx_t *query = ngx_resolve_start(core->resolver, &temporary);
    if (query == NGX_NO_RESOLVER)
        return fail_server(ctx, "no name server is known");
    if (query == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    query->name = temporary.name;
    query->handler = answered;
    query->data = resolving;
    query->timeout = core->resolver_timeout;
    resolving->query = query;
    resolving->rc = NGX_BUSY;
    resolving->inside++;
    ngx_int_t rc = ngx_resolve_name(query);
    resolving->inside--;
    if (rc != NGX_OK) {
        resolving->query = NULL; /* freed by the resolver */
        return fail_server(ctx, "the question could not be sent");
    }
    return resolving->rc;
}

void ngx_http_weir_resolve_cancel(ngx_http_weir_ctx_t *ctx)
{
    resolving_t *resolving = ctx->resolving;
    if (resolving != NULL && resolving->query != NULL)
        ngx_resolve_name_done(resolving->query);
    ctx->resolving = NULL;
}

ngx_int_t ngx_http_weir_resolve(ngx_http_weir_ctx_t *ctx)
{
    if (ctx->resolving != NULL)
        return NGX_BUSY; /* something else has woken the request */
    if (ctx->routed->address != NULL) {
        ctx->addresses = ctx->routed->address;
        ctx->address_count = 1;
        ctx->resolved = 1;
        return NGX_DECLINED;
    }
    resolving_t *resolving = ngx_pcalloc(ctx->r->pool, sizeof(*resolving));
    if (resolving == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    resolving->ctx = ctx;
    ctx->resolving = resolving;
    return ask(resolving);
}
