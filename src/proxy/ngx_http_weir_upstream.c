/* ngx_http_weir_upstream.c -- what is sent to the upstream: URI and headers.
 *
 * nginx's proxy module copies the client's URI and header list into the request
 * that it makes. We put ours there just before (swap_in) and take them away in
 * the balancer, which runs right after (swap_out). So a request costs no
 * variables and no scripts. The names that nginx leaves out or sets itself (Host,
 * Connection, TE, Upgrade, Keep-Alive, Expect) it finds by their lower-case form:
 * where we do set one of them, that form is not given. */
#include "proxy/ngx_http_weir_proxy.h"

#include "image/path.h"
#include "proxy/rules.h"

enum { OWN_HEADERS_MAX = 16 };

/* Header lists are made of one part. */
typedef struct header_list_s {
    ngx_table_elt_t *headers;
    ngx_uint_t count;
} header_list_t;

/* -- the request line -------------------------------------------------------------- */

/* The query with its '?', or nothing. A '?' in the first byte is none. */
static weir_str_t raw_query(ngx_http_request_t *r)
{
    weir_str_t target = ngx_http_weir_str(r->unparsed_uri);
    const char *mark = target.len > 1 ? memchr(target.data + 1, '?', target.len - 1) : NULL;
    if (mark == NULL)
        return (weir_str_t){ "", 0 };
    size_t len = target.len - (size_t)(mark - target.data);
    const char *fragment = memchr(mark, '#', len); /* nginx takes that for no part of it */
    return (weir_str_t){ mark, fragment != NULL ? (size_t)(fragment - mark) : len };
}

static ngx_int_t make_uri(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    weir_str_t base = ngx_http_weir_str(ctx->service.path);
    weir_str_t path = ngx_http_weir_str(ctx->path);
    weir_str_t query = raw_query(r);
    if (base.data == NULL)
        base = WEIR_STR("/");
    if (ctx->arguments_changed)
        query = ngx_http_weir_str(ctx->arguments);
    size_t bytes = 3 * (base.len + path.len) + 2;
    ctx->uri.data = ngx_pnalloc(r->pool, bytes + query.len);
    if (ctx->uri.data == NULL)
        return NGX_ERROR;
    ctx->uri.len = weir_path_upstream(base, path, ctx->path_matched, ctx->strip_path,
                                      (char *)ctx->uri.data, bytes);
    if (query.len > 0)
        ngx_memcpy(ctx->uri.data + ctx->uri.len, query.data, query.len);
    ctx->uri.len += query.len;
    return ctx->uri.len > 0 ? NGX_OK : NGX_ERROR;
}

/* routing 6, "Host sent upstream" */
static ngx_int_t make_host(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    const ngx_http_weir_service_t *service = &ctx->service;
    if (ctx->preserve_host && r->headers_in.host != NULL) {
        ctx->host = r->headers_in.host->value;
        return NGX_OK;
    }
    bool secure = service->protocol == WEIR_PROTOCOL_HTTPS;
    bool bracket =
        ngx_strlchr(service->host.data, service->host.data + service->host.len, ':') != NULL &&
        service->host.data[0] != '[';
    ctx->host.data = ngx_pnalloc(r->pool, service->host.len + sizeof("[]:65535"));
    if (ctx->host.data == NULL)
        return NGX_ERROR;
    u_char *end = ngx_sprintf(ctx->host.data, bracket ? "[%V]" : "%V", &service->host);
    if (service->port != (secure ? 443 : 80))
        end = ngx_sprintf(end, ":%ui", (ngx_uint_t)service->port);
    ctx->host.len = (size_t)(end - ctx->host.data);
    return NGX_OK;
}

/* -- headers that pass ---------------------------------------------------------------- */

static bool is_named(const ngx_table_elt_t *header, const char *name)
{
    return ngx_memcmp(header->lowcase_key, name, header->key.len) == 0;
}

/* Headers that the gateway sets itself, or that end here. */
static bool is_ours(const ngx_table_elt_t *header, const ngx_http_weir_proxy_main_conf_t *main)
{
    switch (header->key.len) {
    case 2:
        return is_named(header, "te");
    case 3:
        return is_named(header, "via");
    case 4:
        return is_named(header, "host");
    case 5:
        return is_named(header, "proxy");
    case 7:
        return is_named(header, "upgrade");
    case 9:
        return is_named(header, "x-real-ip");
    case 10:
        return is_named(header, "connection") || is_named(header, "keep-alive");
    case 15:
        return is_named(header, "x-forwarded-for");
    case 16:
        return is_named(header, "x-forwarded-host") || is_named(header, "x-forwarded-port") ||
               is_named(header, "x-forwarded-path") || is_named(header, "proxy-connection");
    case 17:
        return is_named(header, "x-forwarded-proto") ||
               (main->request_id_upstream && is_named(header, "x-kong-request-id"));
    case 18:
        return is_named(header, "x-forwarded-prefix");
    }
    return false;
}

static bool is_overridden(const ngx_http_weir_ctx_t *ctx, const ngx_table_elt_t *header)
{
    if (ctx->overrides == NULL)
        return false;
    const ngx_http_weir_override_t *overrides = ctx->overrides->elts;
    for (ngx_uint_t i = 0; i < ctx->overrides->nelts; i++)
        if (overrides[i].name.len == header->key.len &&
            ngx_strncasecmp(overrides[i].name.data, header->key.data, header->key.len) == 0)
            return true;
    return false;
}

/* The header's name list. Only its first line counts (routing 7.1); "keep-alive",
 * "close" and "Upgrade" alone, by far the most common, name nothing. */
static weir_str_t listed_headers(ngx_http_request_t *r)
{
    weir_str_t connection = { NULL, 0 };
    if (ngx_http_weir_header(r, WEIR_STR("connection"), 0, &connection) &&
        (weir_str_equal_nocase(connection, WEIR_STR("keep-alive")) ||
         weir_str_equal_nocase(connection, WEIR_STR("close")) ||
         weir_str_equal_nocase(connection, WEIR_STR("upgrade"))))
        connection.len = 0;
    return connection;
}

static void copy_client_headers(ngx_http_weir_ctx_t *ctx, header_list_t *list)
{
    ngx_http_request_t *r = ctx->r;
    const ngx_http_weir_proxy_main_conf_t *main = ngx_http_weir_proxy_main(r);
    weir_str_t listed = listed_headers(r);
    ngx_list_part_t *part = &r->headers_in.headers.part;
    for (; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++)
            if (!is_ours(&headers[i], main) && !is_overridden(ctx, &headers[i]) &&
                !(listed.len > 0 &&
                  weir_connection_lists(listed, ngx_http_weir_str(headers[i].key))))
                list->headers[list->count++] = headers[i];
    }
}

/* -- headers that are ours -------------------------------------------------------------- */

static void add(header_list_t *list, weir_str_t name, ngx_str_t value)
{
    if (value.len == 0)
        return;
    ngx_table_elt_t *header = &list->headers[list->count++];
    ngx_memzero(header, sizeof(*header));
    header->key = ngx_http_weir_text(name);
    /* Its capitals keep nginx from finding a name of its own here. */
    header->lowcase_key = header->key.data;
    header->value = value;
}

/* The first line of a client's header; data NULL: none. */
static ngx_str_t sent(ngx_http_request_t *r, weir_str_t name)
{
    weir_str_t value;
    ngx_str_t none = ngx_null_string;
    return ngx_http_weir_header(r, name, 0, &value) ? ngx_http_weir_text(value) : none;
}

/* "BEFORE, VALUE" */
static ngx_str_t appended(ngx_pool_t *pool, ngx_str_t before, ngx_str_t value)
{
    ngx_str_t text = ngx_null_string;
    text.data = ngx_pnalloc(pool, before.len + 2 + value.len);
    if (text.data != NULL)
        text.len = (size_t)(ngx_sprintf(text.data, "%V, %V", &before, &value) - text.data);
    return text;
}

/* Who is connected to us, whatever realip makes of it. */
static ngx_str_t peer_address(ngx_http_request_t *r)
{
    ngx_http_weir_proxy_main_conf_t *main = ngx_http_weir_proxy_main(r);
    if (main->trusted == NULL)
        return r->connection->addr_text;
    ngx_http_variable_value_t *peer =
        ngx_http_get_indexed_variable(r, (ngx_uint_t)main->realip_index);
    if (peer == NULL || peer->not_found)
        return r->connection->addr_text;
    ngx_str_t text = { peer->len, peer->data };
    return text;
}

static ngx_str_t matched_prefix(const ngx_http_weir_ctx_t *ctx)
{
    ngx_str_t prefix = ngx_null_string;
    if (ctx->strip_path && ctx->path_matched > 0 &&
        !(ctx->path_matched == 1 && ctx->path.data[0] == '/')) {
        prefix = ctx->path;
        prefix.len = ctx->path_matched;
    }
    return prefix;
}

/* routing 7.1: what the client says counts only if it is trusted. */
static ngx_int_t add_forwarded(ngx_http_weir_ctx_t *ctx, header_list_t *list)
{
    static ngx_str_t schemes[] = { ngx_string("http"), ngx_string("https") };
    ngx_http_request_t *r = ctx->r;
    ngx_http_core_srv_conf_t *server = ngx_http_get_module_srv_conf(r, ngx_http_core_module);
    bool trusted = ngx_http_weir_trusted(r);
    ngx_str_t client = r->connection->addr_text;
    ngx_str_t chain = sent(r, WEIR_STR("x-forwarded-for"));
    if (chain.data == NULL) {
        chain = client;
    } else {
        chain = appended(r->pool, chain, peer_address(r));
        if (chain.data == NULL)
            return NGX_ERROR;
    }
    ngx_str_t port;
    port.data = ngx_pnalloc(r->pool, sizeof("65535"));
    if (port.data == NULL)
        return NGX_ERROR;
    port.len =
        (size_t)(ngx_sprintf(port.data, "%ui", (ngx_uint_t)ngx_http_weir_port(r)) - port.data);
    ngx_str_t path = r->unparsed_uri;
    const u_char *mark = path.len > 1 ? memchr(path.data + 1, '?', path.len - 1) : NULL;
    if (mark != NULL)
        path.len = (size_t)(mark - path.data);
    struct {
        weir_str_t name;
        ngx_str_t value;
    } headers[] = {
        { WEIR_STR("X-Forwarded-Proto"), schemes[r->connection->ssl != NULL] },
        { WEIR_STR("X-Forwarded-Host"),
          r->headers_in.server.len > 0 ? r->headers_in.server : server->server_name },
        { WEIR_STR("X-Forwarded-Port"), port },
        { WEIR_STR("X-Forwarded-Path"), path },
        { WEIR_STR("X-Forwarded-Prefix"), matched_prefix(ctx) },
    };
    add(list, WEIR_STR("X-Real-IP"), client);
    add(list, WEIR_STR("X-Forwarded-For"), chain);
    for (size_t i = 0; i < WEIR_COUNT(headers); i++) {
        ngx_str_t own = trusted ? sent(r, headers[i].name) : (ngx_str_t)ngx_null_string;
        add(list, headers[i].name, own.data != NULL ? own : headers[i].value);
    }
    return NGX_OK;
}

static ngx_int_t add_via(ngx_http_weir_ctx_t *ctx, header_list_t *list)
{
    ngx_http_request_t *r = ctx->r;
    ngx_http_weir_proxy_main_conf_t *main = ngx_http_weir_proxy_main(r);
    ngx_str_t own = main->via;
    if (r->http_version != NGX_HTTP_VERSION_11) {
        own.data = ngx_pnalloc(r->pool, main->via.len);
        if (own.data == NULL)
            return NGX_ERROR;
        own.len =
            (size_t)(ngx_sprintf(own.data, "%s %V",
                                 r->http_version == NGX_HTTP_VERSION_20 ? "2" : "1", &main->token) -
                     own.data);
    }
    ngx_str_t before = sent(r, WEIR_STR("via"));
    if (before.len > 0)
        own = appended(r->pool, before, own);
    if (own.data == NULL)
        return NGX_ERROR;
    add(list, WEIR_STR("Via"), own);
    return NGX_OK;
}

static void add_connection(ngx_http_weir_ctx_t *ctx, header_list_t *list)
{
    static ngx_str_t keep_alive = ngx_string("keep-alive");
    static ngx_str_t upgrading = ngx_string("keep-alive, Upgrade");
    static ngx_str_t websocket = ngx_string("websocket");
    static ngx_str_t trailers = ngx_string("trailers");
    ngx_http_request_t *r = ctx->r;
    ngx_str_t te = sent(r, WEIR_STR("te"));
    add(list, WEIR_STR("Connection"), ctx->upgrade ? upgrading : keep_alive);
    if (ctx->upgrade)
        add(list, WEIR_STR("Upgrade"), websocket);
    if (te.len > 0 && weir_te_has_trailers(ngx_http_weir_str(te)))
        add(list, WEIR_STR("TE"), trailers);
}

static void add_overrides(const ngx_http_weir_ctx_t *ctx, header_list_t *list)
{
    const ngx_http_weir_override_t *overrides =
        ctx->overrides != NULL ? ctx->overrides->elts : NULL;
    for (ngx_uint_t i = 0; overrides != NULL && i < ctx->overrides->nelts; i++)
        add(list, ngx_http_weir_str(overrides[i].name), overrides[i].value);
}

static ngx_int_t make_headers(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    ngx_http_weir_proxy_main_conf_t *main = ngx_http_weir_proxy_main(r);
    ngx_uint_t count = OWN_HEADERS_MAX;
    for (ngx_list_part_t *part = &r->headers_in.headers.part; part != NULL; part = part->next)
        count += part->nelts;
    if (ctx->overrides != NULL)
        count += ctx->overrides->nelts;
    header_list_t list = { ngx_palloc(r->pool, count * sizeof(ngx_table_elt_t)), 0 };
    if (list.headers == NULL)
        return NGX_ERROR;

    ngx_str_t upgrade = sent(r, WEIR_STR("upgrade"));
    ctx->upgrade = weir_str_equal_nocase(ngx_http_weir_str(upgrade), WEIR_STR("websocket")) ? 1 : 0;
    add(&list, WEIR_STR("Host"), ctx->host);
    copy_client_headers(ctx, &list);
    add_connection(ctx, &list);
    if (add_forwarded(ctx, &list) != NGX_OK || add_via(ctx, &list) != NGX_OK)
        return NGX_ERROR;
    if (main->request_id_upstream) {
        ngx_str_t id = { REQUEST_ID_LEN, ctx->request_id };
        add(&list, WEIR_STR("X-Kong-Request-Id"), id);
    }
    add_overrides(ctx, &list);

    ctx->headers.part.elts = list.headers;
    ctx->headers.part.nelts = list.count;
    ctx->headers.part.next = NULL;
    return NGX_OK;
}

ngx_int_t ngx_http_weir_prepare(ngx_http_weir_ctx_t *ctx)
{
    if (make_uri(ctx) != NGX_OK || make_host(ctx) != NGX_OK || make_headers(ctx) != NGX_OK)
        return NGX_ERROR;
    ctx->prepared = 1;
    return NGX_OK;
}

/* -- in and out ----------------------------------------------------------------------------- */

void ngx_http_weir_swap_in(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    weir_assert(!ctx->swapped);
    ctx->client_uri = r->unparsed_uri;
    ctx->client_headers = r->headers_in.headers;
    if (r->headers_in.headers.last == &r->headers_in.headers.part)
        ctx->client_headers.last = NULL; /* it points into the request: put right again below */
    r->unparsed_uri = ctx->uri;
    r->valid_unparsed_uri = 1;
    r->headers_in.headers.part = ctx->headers.part;
    r->headers_in.headers.last = &r->headers_in.headers.part;
    ctx->swapped = 1;
}

void ngx_http_weir_swap_out(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    weir_assert(ctx->swapped);
    r->unparsed_uri = ctx->client_uri;
    r->headers_in.headers = ctx->client_headers;
    if (ctx->client_headers.last == NULL)
        r->headers_in.headers.last = &r->headers_in.headers.part;
    ctx->swapped = 0;
}
