/* ngx_http_weir_filter_module.c -- the headers of every answer (routing 7.2). */
#include "proxy/ngx_http_weir_proxy.h"

#include "proxy/rules.h"

static ngx_int_t init(ngx_conf_t *cf);

static ngx_http_output_header_filter_pt next_header_filter;

static ngx_http_module_t module_context = {
    NULL, init, NULL, NULL, NULL, NULL, NULL, NULL,
};

ngx_module_t ngx_http_weir_filter_module = {
    NGX_MODULE_V1, &module_context,       NULL, NGX_HTTP_MODULE, NULL, NULL, NULL, NULL, NULL, NULL,
    NULL,          NGX_MODULE_V1_PADDING,
};

static bool set(ngx_http_request_t *r, weir_str_t name, ngx_str_t value)
{
    return ngx_http_weir_add_header(r, name, value) != NULL;
}

/* Headers of the answer whose place ours take; NULL: it has none. */
typedef struct present_s {
    ngx_table_elt_t *via, *request_id, *config_version;
    ngx_table_elt_t *upstream_latency, *proxy_latency, *response_latency, *upstream_status;
} present_t;

static void look(ngx_table_elt_t *header, weir_str_t name, ngx_table_elt_t **ret)
{
    if (*ret == NULL && weir_str_equal_nocase(ngx_http_weir_str(header->key), name))
        *ret = header;
}

/* In one walk, and few names are as long as these. */
static present_t find_present(ngx_http_request_t *r)
{
    present_t present = { .via = NULL };
    ngx_list_part_t *part = &r->headers_out.headers.part;
    for (; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            if (headers[i].hash == 0)
                continue;
            look(&headers[i], WEIR_STR("via"), &present.via);
            look(&headers[i], WEIR_STR("x-kong-request-id"), &present.request_id);
            look(&headers[i], WEIR_STR("weir-config-version"), &present.config_version);
            look(&headers[i], WEIR_STR("x-kong-upstream-latency"), &present.upstream_latency);
            look(&headers[i], WEIR_STR("x-kong-proxy-latency"), &present.proxy_latency);
            look(&headers[i], WEIR_STR("x-kong-response-latency"), &present.response_latency);
            look(&headers[i], WEIR_STR("x-kong-upstream-status"), &present.upstream_status);
        }
    }
    return present;
}

/* In place of what an upstream says of itself under that name. */
static bool set_instead(ngx_http_request_t *r, ngx_table_elt_t *header, weir_str_t name,
                        ngx_str_t value)
{
    if (header == NULL)
        return set(r, name, value);
    header->value = value;
    return true;
}

static bool set_number(ngx_http_request_t *r, ngx_table_elt_t *header, weir_str_t name,
                       uint64_t value)
{
    ngx_str_t text = ngx_http_weir_number(r->pool, value);
    return text.data != NULL && set_instead(r, header, name, text);
}

/* -- what the upstream says to us alone --------------------------------------------- */

static bool ends_here(ngx_http_weir_ctx_t *ctx, const ngx_table_elt_t *header, weir_str_t listed)
{
    weir_str_t name = ngx_http_weir_str(header->key);
    weir_str_t te;
    if (listed.len > 0 && weir_connection_lists(listed, name))
        return true;
    if (weir_str_equal_nocase(name, WEIR_STR("upgrade")))
        return !(ctx->upgrade &&
                 weir_str_equal_nocase(ngx_http_weir_str(header->value), WEIR_STR("websocket")));
    if (weir_str_equal_nocase(name, WEIR_STR("trailer")))
        return !(ngx_http_weir_header(ctx->r, WEIR_STR("te"), 0, &te) && weir_te_has_trailers(te));
    return false;
}

static void remove_hop_by_hop(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    weir_str_t listed = { NULL, 0 };
    if (r->upstream == NULL)
        return;
    if (r->upstream->headers_in.connection != NULL)
        listed = weir_connection_list(ngx_http_weir_str(r->upstream->headers_in.connection->value));
    ngx_list_part_t *part = &r->headers_out.headers.part;
    for (; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++)
            if (headers[i].hash != 0 && ends_here(ctx, &headers[i], listed))
                headers[i].hash = 0;
    }
}

/* -- what we say --------------------------------------------------------------------------- */

static bool set_server(ngx_http_request_t *r, ngx_str_t token, bool shown)
{
    ngx_table_elt_t *header = r->headers_out.server;
    if (header == NULL)
        header = ngx_http_weir_add_header(r, WEIR_STR("Server"), token);
    if (header == NULL)
        return false;
    header->value = token;
    header->hash = shown ? 1 : 0; /* nginx leaves its own name out if there is one */
    r->headers_out.server = header;
    return true;
}

static bool set_via(ngx_http_request_t *r, const ngx_http_weir_proxy_main_conf_t *main,
                    ngx_table_elt_t *before)
{
    if (before == NULL)
        return set(r, WEIR_STR("Via"), main->via);
    ngx_str_t text;
    text.data = ngx_pnalloc(r->pool, before->value.len + 2 + main->via.len);
    if (text.data == NULL)
        return false;
    text.len = (size_t)(ngx_sprintf(text.data, "%V, %V", &before->value, &main->via) - text.data);
    before->value = text;
    return true;
}

static bool set_upstream_status(ngx_http_request_t *r, ngx_table_elt_t *before)
{
    const ngx_array_t *states = r->upstream_states;
    if (states == NULL || states->nelts == 0)
        return true;
    const ngx_http_upstream_state_t *last =
        (ngx_http_upstream_state_t *)states->elts + states->nelts - 1;
    return last->status == 0 ||
           set_number(r, before, WEIR_STR("X-Kong-Upstream-Status"), last->status);
}

static bool set_proxied(ngx_http_weir_ctx_t *ctx, const ngx_http_weir_proxy_main_conf_t *main,
                        const present_t *present)
{
    ngx_http_request_t *r = ctx->r;
    ngx_uint_t shown = main->headers;
    bool fine = true;
    /* nginx marks an upstream's silence with an empty header. */
    if ((shown & HEADER_SERVER) &&
        (r->headers_out.server == NULL || r->headers_out.server->value.len == 0))
        fine = set_server(r, main->token, true);
    if (fine && (shown & HEADER_UPSTREAM_LATENCY))
        fine = set_number(r, present->upstream_latency, WEIR_STR("X-Kong-Upstream-Latency"),
                          ngx_current_msec - ctx->balanced_at);
    if (fine && (shown & HEADER_PROXY_LATENCY))
        fine =
            set_number(r, present->proxy_latency, WEIR_STR("X-Kong-Proxy-Latency"), ctx->balanced);
    if (fine && (shown & HEADER_VIA))
        fine = set_via(r, main, present->via);
    if (fine && (shown & HEADER_UPSTREAM_STATUS))
        fine = set_upstream_status(r, present->upstream_status);
    return fine;
}

static bool set_own(ngx_http_weir_ctx_t *ctx, const ngx_http_weir_proxy_main_conf_t *main,
                    const present_t *present)
{
    ngx_http_request_t *r = ctx->r;
    ngx_uint_t shown = main->headers;
    return set_server(r, main->token, (shown & HEADER_SERVER) != 0) &&
           (!(shown & HEADER_RESPONSE_LATENCY) ||
            set_number(r, present->response_latency, WEIR_STR("X-Kong-Response-Latency"),
                       ngx_http_weir_age(r)));
}

static bool set_named(ngx_http_request_t *r, weir_str_t id_header, const weir_uuid_t *id,
                      weir_str_t name_header, ngx_str_t name)
{
    char text[WEIR_UUID_TEXT + 1];
    weir_uuid_format(id, text);
    ngx_str_t value = ngx_http_weir_copy(r->pool, weir_str(text));
    return value.data != NULL && set(r, id_header, value) &&
           (name.len == 0 || set(r, name_header, name));
}

/* routing 1.9 */
static bool wants_debug(ngx_http_weir_ctx_t *ctx, const ngx_http_weir_proxy_main_conf_t *main)
{
    weir_str_t value;
    return main->debug && ctx->routed != NULL &&
           ngx_http_weir_header(ctx->r, WEIR_STR("kong-debug"), 0, &value);
}

static bool set_debug(ngx_http_weir_ctx_t *ctx)
{
    const ngx_http_weir_routed_t *routed = ctx->routed;
    return set_named(ctx->r, WEIR_STR("Kong-Route-Id"), &routed->route.id,
                     WEIR_STR("Kong-Route-Name"), ngx_http_weir_text(routed->route.name)) &&
           (!routed->has_service ||
            set_named(ctx->r, WEIR_STR("Kong-Service-Id"), &routed->service.id,
                      WEIR_STR("Kong-Service-Name"), routed->service.name));
}

/* Both lengths at once: whoever reads the other one sees another answer. */
static bool is_ambiguous(ngx_http_request_t *r)
{
    return r->upstream != NULL && !r->internal && r->upstream->headers_in.content_length != NULL &&
           r->upstream->headers_in.chunked;
}

static ngx_int_t header_filter(ngx_http_request_t *r)
{
    ngx_http_weir_proxy_main_conf_t *main = ngx_http_weir_proxy_main(r);
    ngx_http_core_srv_conf_t *server = ngx_http_get_module_srv_conf(r, ngx_http_core_module);
    if (main->node == NULL || server->ctx->srv_conf != main->server || r != r->main)
        return next_header_filter(r);
    ngx_http_weir_ctx_t *ctx = ngx_http_weir_ctx_make(r);
    if (ctx == NULL)
        return NGX_ERROR;
    if (is_ambiguous(r)) {
        r->upstream->keepalive = 0;
        return ngx_http_filter_finalize_request(r, NULL, NGX_HTTP_BAD_GATEWAY);
    }
    if (ctx->proxied)
        remove_hop_by_hop(ctx);
    if (ctx->balance != NULL && ngx_http_weir_balance_header(ctx) != NGX_OK)
        return NGX_ERROR;
    ngx_http_weir_run_header_filters(ctx);
    present_t present = find_present(r);
    bool fine = ctx->proxied ? set_proxied(ctx, main, &present) : set_own(ctx, main, &present);
    if (fine && wants_debug(ctx, main))
        fine = set_debug(ctx);
    if (fine && (main->headers & HEADER_REQUEST_ID))
        fine = set_instead(r, present.request_id, WEIR_STR("X-Kong-Request-Id"),
                           (ngx_str_t){ REQUEST_ID_LEN, ctx->request_id });
    if (fine && ctx->config_version > 0)
        fine = set_number(r, present.config_version, WEIR_STR("Weir-Config-Version"),
                          ctx->config_version);
    return fine ? next_header_filter(r) : NGX_ERROR;
}

static ngx_int_t init(ngx_conf_t *cf)
{
    (void)cf;
    next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = header_filter;
    return NGX_OK;
}
