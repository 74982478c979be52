/* ngx_http_weir_lookup.c -- the addresses of a name (routing 9.3).
 *
 * An address stands for itself, the hosts file comes next, then name servers are asked,
 * with the search domains of resolv.conf. nginx's resolver keeps what it learned; an
 * answer that it has comes at once. */
#include "proxy/ngx_http_weir_proxy.h"

static weir_resolv_t system_resolv;
static bool system_resolv_read;

static const weir_resolv_t *resolv(void)
{
    if (!system_resolv_read)
        weir_resolv_load("/etc/resolv.conf", &system_resolv);
    system_resolv_read = true;
    return &system_resolv;
}

ngx_int_t ngx_http_weir_set_address(ngx_pool_t *pool, const struct sockaddr *sockaddr,
                                    socklen_t socklen, in_port_t port, ngx_http_weir_address_t *ret)
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
    return *ret != NULL ? ngx_http_weir_set_address(pool, &address.any, socklen, port, *ret)
                        : NGX_ERROR;
}

ngx_int_t ngx_http_weir_known_address(ngx_pool_t *pool, const weir_hosts_t *hosts, weir_str_t host,
                                      in_port_t port, ngx_http_weir_address_t **ret)
{
    ngx_int_t rc = literal(pool, host, port, ret);
    if (rc != NGX_DECLINED)
        return rc;
    weir_str_t address = weir_hosts_find(hosts, host);
    return address.data != NULL ? literal(pool, address, port, ret) : NGX_DECLINED;
}

/* -- name servers ----------------------------------------------------------------------------- */

static void ask(ngx_http_weir_lookup_t *lookup);

static void finish(ngx_http_weir_lookup_t *lookup, ngx_int_t state, const char *reason)
{
    ngx_resolver_ctx_t *query = lookup->query;
    lookup->state = state;
    lookup->reason = reason;
    lookup->query = NULL;
    lookup->done(lookup); /* may be the end of it: what is left is the question */
    if (query != NULL)
        ngx_resolve_name_done(query);
}

static void answered(ngx_resolver_ctx_t *query)
{
    ngx_http_weir_lookup_t *lookup = query->data;
    if (query->state == NGX_RESOLVE_NXDOMAIN) {
        lookup->query = NULL;
        ngx_resolve_name_done(query);
        lookup->candidate++;
        ask(lookup);
        return;
    }
    lookup->addresses = query->addrs;
    lookup->address_count = query->state == NGX_OK ? ngx_min(query->naddrs, ADDRESSES_MAX) : 0;
    lookup->until = query->valid;
    if (query->state != NGX_OK)
        ngx_log_error(NGX_LOG_ERR, lookup->log, 0, "%s could not be resolved (%i: %s)",
                      lookup->name, query->state, ngx_resolver_strerror(query->state));
    finish(lookup, query->state, ngx_resolver_strerror(query->state));
}

static void ask(ngx_http_weir_lookup_t *lookup)
{
    size_t len = weir_resolv_candidate(resolv(), lookup->host, lookup->candidate, lookup->name,
                                       sizeof(lookup->name));
    if (len == 0) {
        finish(lookup, NGX_RESOLVE_NXDOMAIN, "no such name");
        return;
    }
    ngx_resolver_ctx_t *query = ngx_resolve_start(lookup->core->resolver, NULL);
    if (query == NGX_NO_RESOLVER || query == NULL) {
        finish(lookup, NGX_ERROR, query == NULL ? "no memory" : "no name server is known");
        return;
    }
    query->name.data = (u_char *)lookup->name;
    query->name.len = len;
    query->handler = answered;
    query->data = lookup;
    query->timeout = lookup->core->resolver_timeout;
    lookup->query = query;
    if (ngx_resolve_name(query) != NGX_OK) { /* freed by the resolver */
        lookup->query = NULL;
        finish(lookup, NGX_ERROR, "the question could not be sent");
    }
}

void ngx_http_weir_lookup(ngx_http_weir_lookup_t *lookup)
{
    lookup->candidate = 0;
    lookup->query = NULL;
    lookup->address_count = 0;
    ask(lookup);
}

void ngx_http_weir_lookup_cancel(ngx_http_weir_lookup_t *lookup)
{
    if (lookup->query != NULL)
        ngx_resolve_name_done(lookup->query);
    lookup->query = NULL;
}
