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

/* -- the request line -------------------------------------------------------------- */

/* The query with its '?', or nothing. A '?' in the first byte is none. */
static weir_str_t raw_query(const ngx_http_weir_ctx_t *ctx)
{
    size_t len = ctx->r->unparsed_uri.len - ctx->raw_path.len;
    if (len == 0)
        return (weir_str_t){ "", 0 };
    const char *mark = (const char *)ctx->raw_path.data + ctx->raw_path.len;
    const char *fragment = memchr(mark, '#', len); /* nginx takes that for no part of it */
    return (weir_str_t){ mark, fragment != NULL ? (size_t)(fragment - mark) : len };
}

static ngx_int_t make_uri(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    weir_str_t base = ngx_http_weir_str(ctx->routed->service.path);
    weir_str_t path = ngx_http_weir_str(ctx->path);
    weir_str_t query = raw_query(ctx);
    if (base.data == NULL)
        base = WEIR_STR("/");
    if (ctx->arguments_changed)
        query = ngx_http_weir_str(ctx->arguments);
    size_t bytes = 3 * (base.len + path.len) + 2;
    ctx->uri.data = ngx_pnalloc(r->pool, bytes + query.len);
    if (ctx->uri.data == NULL)
        return NGX_ERROR;
    ctx->uri.len = weir_path_upstream(base, path, ctx->path_matched, ctx->routed->route.strip_path,
                                      (char *)ctx->uri.data, bytes);
    if (query.len > 0)
        ngx_memcpy(ctx->uri.data + ctx->uri.len, query.data, query.len);
    ctx->uri.len += query.len;
    return ctx->uri.len > 0 ? NGX_OK : NGX_ERROR;
}

ngx_str_t ngx_http_weir_host_text(ngx_pool_t *pool, ngx_str_t name, in_port_t port, bool secure)
{
    ngx_str_t text = ngx_null_string;
    bool bracket = ngx_strlchr(name.data, name.data + name.len, ':') != NULL && name.data[0] != '[';
    text.data = ngx_pnalloc(pool, name.len + sizeof("[]:65535"));
    if (text.data == NULL)
        return text;
    u_char *end = ngx_sprintf(text.data, bracket ? "[%V]" : "%V", &name);
    if (port != (secure ? 443 : 80))
        end = ngx_sprintf(end, ":%ui", (ngx_uint_t)port);
    text.len = (size_t)(end - text.data);
    return text;
}

/* -- headers that pass ---------------------------------------------------------------- */

/* What the client says in headers that the gateway sets itself, or that end here. */
typedef enum said_e {
    SAID_TE,
    SAID_UPGRADE,
    SAID_VIA,
    SAID_FOR, /* X-Forwarded-... */
    SAID_PROTO,
    SAID_HOST,
    SAID_PORT,
    SAID_PATH,
    SAID_PREFIX,
    SAID_REQUEST_ID,
    SAID_OTHER, /* nobody asks for it */
    SAID_KINDS,
    PASSES = SAID_KINDS
} said_t;

static said_t kind_of(const ngx_table_elt_t *header, bool id_is_ours)
{
    static const struct {
        weir_str_t name;
        said_t kind;
    } known[] = {
        { { "te", 2 }, SAID_TE },
        { { "via", 3 }, SAID_VIA },
        { { "host", 4 }, SAID_OTHER },
        { { "proxy", 5 }, SAID_OTHER },
        { { "upgrade", 7 }, SAID_UPGRADE },
        { { "x-real-ip", 9 }, SAID_OTHER },
        { { "connection", 10 }, SAID_OTHER },
        { { "keep-alive", 10 }, SAID_OTHER },
        { { "x-forwarded-for", 15 }, SAID_FOR },
        { { "x-forwarded-host", 16 }, SAID_HOST },
        { { "x-forwarded-port", 16 }, SAID_PORT },
        { { "x-forwarded-path", 16 }, SAID_PATH },
        { { "proxy-connection", 16 }, SAID_OTHER },
        { { "x-forwarded-proto", 17 }, SAID_PROTO },
        { { "x-kong-request-id", 17 }, SAID_REQUEST_ID },
        { { "x-forwarded-prefix", 18 }, SAID_PREFIX },
    };
    weir_str_t name = { (const char *)header->lowcase_key, header->key.len };
    for (size_t i = 0; i < WEIR_COUNT(known); i++)
        if (weir_str_equal(name, known[i].name))
            return known[i].kind == SAID_REQUEST_ID && !id_is_ours ? PASSES : known[i].kind;
    return PASSES;
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

/* Only the first line of the header counts (routing 7.1). */
static weir_str_t listed_headers(ngx_http_request_t *r)
{
    weir_str_t connection = { NULL, 0 };
    ngx_http_weir_header(r, WEIR_STR("connection"), 0, &connection);
    return weir_connection_list(connection);
}

/* To `out` what passes; to `said` the first line of each of the others. How many pass. */
static ngx_uint_t sort_client_headers(ngx_http_weir_ctx_t *ctx, ngx_table_elt_t *out,
                                      ngx_str_t said[SAID_KINDS])
{
    ngx_http_request_t *r = ctx->r;
    bool id_is_ours = ngx_http_weir_proxy_main(r)->request_id_upstream != 0;
    weir_str_t listed = listed_headers(r);
    ngx_uint_t count = 0;
    ngx_list_part_t *part = &r->headers_in.headers.part;
    for (; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            said_t kind = kind_of(&headers[i], id_is_ours);
            if (kind != PASSES) {
                if (said[kind].data == NULL)
                    said[kind] = headers[i].value;
            } else if (!is_overridden(ctx, &headers[i]) &&
                       !(listed.len > 0 &&
                         weir_connection_lists(listed, ngx_http_weir_str(headers[i].key)))) {
                out[count++] = headers[i];
            }
        }
    }
    return count;
}

/* -- headers that are ours -------------------------------------------------------------- */

/* All of them go as the value of one header: nginx writes its name, its value, and what
 * belongs between and after them. So it neither looks each of them up among the names that
 * it leaves out, nor copies them one by one. */

/* What they say; len 0: the line is left out. */
typedef struct own_s {
    ngx_str_t client, chain; /* X-Real-IP, X-Forwarded-For */
    ngx_str_t proto, host, port, path, prefix;
    ngx_str_t via, request_id;
    bool trailers;
    u_char digits[NGX_INT64_LEN]; /* of the port */
} own_t;

/* What begins a line. */
#define LINE(name) WEIR_STR("\r\n" name ": ")

/* Of all lines together, but for their values. */
enum {
    NAMES_BYTES = sizeof("\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nTE: trailers"
                         "\r\nX-Real-IP: \r\nX-Forwarded-For: \r\nX-Forwarded-Proto: "
                         "\r\nX-Forwarded-Host: \r\nX-Forwarded-Port: \r\nX-Forwarded-Path: "
                         "\r\nX-Forwarded-Prefix: \r\nVia: \r\nX-Kong-Request-Id: ")
};

static ngx_inline u_char *put(u_char *at, weir_str_t text)
{
    return ngx_cpymem(at, text.data, text.len);
}

static ngx_inline u_char *put_line(u_char *at, weir_str_t line, ngx_str_t value)
{
    return value.len > 0 ? ngx_cpymem(put(at, line), value.data, value.len) : at;
}

static ngx_int_t join(const ngx_http_weir_ctx_t *ctx, const own_t *own, ngx_table_elt_t *ret)
{
    size_t bytes = NAMES_BYTES + ctx->host.len + own->client.len + own->chain.len + own->proto.len +
                   own->host.len + own->port.len + own->path.len + own->prefix.len + own->via.len +
                   own->request_id.len;
    u_char *at = ngx_pnalloc(ctx->r->pool, bytes);
    if (at == NULL)
        return NGX_ERROR;
    ngx_memzero(ret, sizeof(*ret));
    ngx_str_set(&ret->key, "Host");
    /* Its capitals keep nginx from finding a name of its own here. */
    ret->lowcase_key = ret->key.data;
    ret->value.data = at;
    at = ngx_cpymem(at, ctx->host.data, ctx->host.len);
    at = put(at, LINE("Connection"));
    at = ctx->upgrade ? put(at, WEIR_STR("keep-alive, Upgrade\r\nUpgrade: websocket"))
                      : put(at, WEIR_STR("keep-alive"));
    if (own->trailers)
        at = put(at, WEIR_STR("\r\nTE: trailers"));
    at = put_line(at, LINE("X-Real-IP"), own->client);
    at = put_line(at, LINE("X-Forwarded-For"), own->chain);
    at = put_line(at, LINE("X-Forwarded-Proto"), own->proto);
    at = put_line(at, LINE("X-Forwarded-Host"), own->host);
    at = put_line(at, LINE("X-Forwarded-Port"), own->port);
    at = put_line(at, LINE("X-Forwarded-Path"), own->path);
    at = put_line(at, LINE("X-Forwarded-Prefix"), own->prefix);
    at = put_line(at, LINE("Via"), own->via);
    at = put_line(at, LINE("X-Kong-Request-Id"), own->request_id);
    ret->value.len = (size_t)(at - ret->value.data);
    weir_assert(ret->value.len <= bytes);
    return NGX_OK;
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
    if (ctx->routed->route.strip_path && ctx->path_matched > 0 &&
        !(ctx->path_matched == 1 && ctx->path.data[0] == '/')) {
        prefix = ctx->path;
        prefix.len = ctx->path_matched;
    }
    return prefix;
}

/* routing 7.1: what the client says counts only if it is trusted. */
static ngx_int_t set_forwarded(ngx_http_weir_ctx_t *ctx, const ngx_str_t said[SAID_KINDS],
                               own_t *own)
{
    static ngx_str_t schemes[] = { ngx_string("http"), ngx_string("https") };
    ngx_http_request_t *r = ctx->r;
    ngx_http_core_srv_conf_t *server = ngx_http_get_module_srv_conf(r, ngx_http_core_module);
    own->client = r->connection->addr_text;
    own->chain = own->client;
    if (said[SAID_FOR].data != NULL) {
        own->chain = appended(r->pool, said[SAID_FOR], peer_address(r));
        if (own->chain.data == NULL)
            return NGX_ERROR;
    }
    own->proto = schemes[r->connection->ssl != NULL];
    own->host = r->headers_in.server.len > 0 ? r->headers_in.server : server->server_name;
    own->port = ngx_http_weir_digits(own->digits, ctx->port);
    own->path = ctx->raw_path;
    own->prefix = matched_prefix(ctx);
    if (!ngx_http_weir_trusted(r))
        return NGX_OK;
    const struct {
        said_t kind;
        ngx_str_t *value;
    } believed[] = { { SAID_PROTO, &own->proto },
                     { SAID_HOST, &own->host },
                     { SAID_PORT, &own->port },
                     { SAID_PATH, &own->path },
                     { SAID_PREFIX, &own->prefix } };
    for (size_t i = 0; i < WEIR_COUNT(believed); i++)
        if (said[believed[i].kind].data != NULL)
            *believed[i].value = said[believed[i].kind];
    return NGX_OK;
}

static ngx_int_t set_via(ngx_http_request_t *r, ngx_str_t before, own_t *own)
{
    ngx_http_weir_proxy_main_conf_t *main = ngx_http_weir_proxy_main(r);
    own->via = main->via;
    if (r->http_version != NGX_HTTP_VERSION_11) {
        u_char *text = ngx_pnalloc(r->pool, main->via.len);
        if (text == NULL)
            return NGX_ERROR;
        own->via.data = text;
        own->via.len =
            (size_t)(ngx_sprintf(text, "%s %V", r->http_version == NGX_HTTP_VERSION_20 ? "2" : "1",
                                 &main->token) -
                     text);
    }
    if (before.len > 0)
        own->via = appended(r->pool, before, own->via);
    return own->via.data != NULL ? NGX_OK : NGX_ERROR;
}

static ngx_uint_t add_overrides(const ngx_http_weir_ctx_t *ctx, ngx_table_elt_t *out)
{
    const ngx_http_weir_override_t *overrides =
        ctx->overrides != NULL ? ctx->overrides->elts : NULL;
    ngx_uint_t count = 0;
    for (ngx_uint_t i = 0; overrides != NULL && i < ctx->overrides->nelts; i++) {
        if (overrides[i].value.len == 0)
            continue;
        ngx_memzero(&out[count], sizeof(out[count]));
        out[count].key = overrides[i].name;
        out[count].lowcase_key = overrides[i].name.data; /* as in join() */
        out[count++].value = overrides[i].value;
    }
    return count;
}

static ngx_int_t make_headers(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    ngx_str_t said[SAID_KINDS] = { 0 };
    own_t own;
    ngx_uint_t count = 1 + (ctx->overrides != NULL ? ctx->overrides->nelts : 0);
    for (ngx_list_part_t *part = &r->headers_in.headers.part; part != NULL; part = part->next)
        count += part->nelts;
    ngx_table_elt_t *headers = ngx_palloc(r->pool, count * sizeof(*headers));
    if (headers == NULL)
        return NGX_ERROR;

    count = 1 + sort_client_headers(ctx, headers + 1, said); /* ours comes first */
    ctx->upgrade =
        weir_str_equal_nocase(ngx_http_weir_str(said[SAID_UPGRADE]), WEIR_STR("websocket")) ? 1 : 0;
    own.trailers = said[SAID_TE].len > 0 && weir_te_has_trailers(ngx_http_weir_str(said[SAID_TE]));
    ngx_str_null(&own.request_id);
    if (ngx_http_weir_proxy_main(r)->request_id_upstream)
        own.request_id = (ngx_str_t){ REQUEST_ID_LEN, ctx->request_id };
    if (set_forwarded(ctx, said, &own) != NGX_OK || set_via(r, said[SAID_VIA], &own) != NGX_OK ||
        join(ctx, &own, &headers[0]) != NGX_OK)
        return NGX_ERROR;
    count += add_overrides(ctx, headers + count);

    ctx->headers.part.elts = headers;
    ctx->headers.part.nelts = count;
    ctx->headers.part.next = NULL;
    return NGX_OK;
}

ngx_int_t ngx_http_weir_head(ngx_http_weir_ctx_t *ctx, ngx_str_t host)
{
    /* routing 6, "Host sent upstream" */
    ctx->host = ctx->routed->route.preserve_host && ctx->r->headers_in.host != NULL
                    ? ctx->r->headers_in.host->value
                    : host;
    return make_headers(ctx);
}

ngx_int_t ngx_http_weir_prepare(ngx_http_weir_ctx_t *ctx)
{
    if (make_uri(ctx) != NGX_OK ||
        (!ctx->routed->has_upstream && ngx_http_weir_head(ctx, ctx->routed->host) != NGX_OK))
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
