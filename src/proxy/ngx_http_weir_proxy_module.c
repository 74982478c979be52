/* ngx_http_weir_proxy_module.c -- directives, settings and phases of the proxy. */
#include "proxy/ngx_http_weir_proxy.h"

#include "proxy/rules.h"

#include <openssl/rand.h>

static void *create_main_conf(ngx_conf_t *cf);
static void *create_loc_conf(ngx_conf_t *cf);
static ngx_int_t init(ngx_conf_t *cf);
static ngx_int_t init_process(ngx_cycle_t *cycle);
static char *set_proxy(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static ngx_int_t add_variables(ngx_conf_t *cf);

static ngx_command_t commands[] = {
    /* weir_proxy KIND: what is answered here comes from the image. */
    { ngx_string("weir_proxy"), NGX_HTTP_LOC_CONF | NGX_CONF_TAKE1, set_proxy,
      NGX_HTTP_LOC_CONF_OFFSET, 0, NULL },
    /* weir_balancer: in the upstream that proxy_pass names. */
    { ngx_string("weir_balancer"), NGX_HTTP_UPS_CONF | NGX_CONF_NOARGS, ngx_http_weir_balancer, 0,
      0, NULL },
    ngx_null_command,
};

static ngx_http_module_t module_context = {
    add_variables, init, create_main_conf, NULL, NULL, NULL, create_loc_conf, NULL,
};

ngx_module_t ngx_http_weir_proxy_module = {
    NGX_MODULE_V1, &module_context,
    commands,      NGX_HTTP_MODULE,
    NULL,          NULL,
    init_process,  NULL,
    NULL,          NULL,
    NULL,          NGX_MODULE_V1_PADDING,
};

/* -- configuration ------------------------------------------------------------------- */

static void *create_main_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_weir_proxy_main_conf_t));
}

static void *create_loc_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_weir_proxy_loc_conf_t));
}

static char *set_proxy(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    static const char *const kinds[KINDS] = {
        [KIND_NONE] = "",
        [KIND_BUFFERED] = "buffered",
        [KIND_UNBUFFERED_REQUEST] = "unbuffered_request",
        [KIND_UNBUFFERED_RESPONSE] = "unbuffered_response",
        [KIND_UNBUFFERED] = "unbuffered",
        [KIND_ERROR] = "error",
    };
    (void)cmd;
    ngx_http_weir_proxy_loc_conf_t *location = conf;
    ngx_http_weir_proxy_main_conf_t *main =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_weir_proxy_module);
    ngx_str_t *args = cf->args->elts;
    for (ngx_uint_t kind = KIND_BUFFERED; kind < KINDS; kind++) {
        if (!weir_str_is(ngx_http_weir_str(args[1]), kinds[kind]))
            continue;
        location->kind = (ngx_http_weir_kind_t)kind;
        main->locations[kind] = ((ngx_http_conf_ctx_t *)cf->ctx)->loc_conf;
        main->server = ((ngx_http_conf_ctx_t *)cf->ctx)->srv_conf;
        return NGX_CONF_OK;
    }
    return (char *)"takes buffered, unbuffered_request, unbuffered_response, unbuffered or error";
}

/* routing 7.2 */
static ngx_uint_t header_bits(const weir_settings_t *settings)
{
    static const struct {
        weir_str_t name;
        ngx_uint_t bits;
    } known[] = {
        { { "server_tokens", 13 }, HEADER_SERVER | HEADER_VIA },
        { { "latency_tokens", 14 },
          HEADER_PROXY_LATENCY | HEADER_UPSTREAM_LATENCY | HEADER_RESPONSE_LATENCY },
        { { "server", 6 }, HEADER_SERVER },
        { { "via", 3 }, HEADER_VIA },
        { { "x-kong-proxy-latency", 20 }, HEADER_PROXY_LATENCY },
        { { "x-kong-upstream-latency", 23 }, HEADER_UPSTREAM_LATENCY },
        { { "x-kong-response-latency", 23 }, HEADER_RESPONSE_LATENCY },
        { { "x-kong-upstream-status", 22 }, HEADER_UPSTREAM_STATUS },
        { { "x-kong-request-id", 17 }, HEADER_REQUEST_ID },
    };
    ngx_uint_t bits = 0;
    for (size_t i = 0; i < weir_setting_count(settings, "headers"); i++) {
        weir_str_t item = weir_str(weir_setting_item(settings, "headers", i));
        if (i == 0 && weir_str_equal_nocase(item, WEIR_STR("off")))
            break;
        for (size_t k = 0; k < WEIR_COUNT(known); k++)
            if (weir_str_equal_nocase(item, known[k].name))
                bits |= known[k].bits;
    }
    return bits;
}

static ngx_int_t read_trusted(ngx_conf_t *cf, ngx_http_weir_proxy_main_conf_t *main,
                              const weir_settings_t *settings)
{
    size_t count = weir_setting_count(settings, "trusted_ips");
    if (count == 0)
        return NGX_OK;
    main->trusted = ngx_array_create(cf->pool, count, sizeof(ngx_cidr_t));
    for (size_t i = 0; main->trusted != NULL && i < count; i++) {
        ngx_str_t item =
            ngx_http_weir_text(weir_str(weir_setting_item(settings, "trusted_ips", i)));
        if (weir_str_is(ngx_http_weir_str(item), "unix:"))
            continue; /* only for nginx itself */
        ngx_cidr_t *cidr = ngx_array_push(main->trusted);
        if (cidr == NULL || ngx_ptocidr(&item, cidr) == NGX_ERROR) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "trusted_ips: invalid entry \"%V\"", &item);
            return NGX_ERROR;
        }
    }
    return main->trusted != NULL ? NGX_OK : NGX_ERROR;
}

static ngx_int_t read_port_maps(ngx_conf_t *cf, ngx_http_weir_proxy_main_conf_t *main,
                                const weir_settings_t *settings)
{
    size_t count = weir_setting_count(settings, "port_maps");
    if (count == 0)
        return NGX_OK;
    main->port_maps = ngx_array_create(cf->pool, count, sizeof(ngx_http_weir_port_t));
    for (size_t i = 0; main->port_maps != NULL && i < count; i++) {
        weir_str_t rest = weir_str(weir_setting_item(settings, "port_maps", i));
        weir_str_t client;
        int64_t from, to;
        ngx_http_weir_port_t *port = ngx_array_push(main->port_maps);
        if (port == NULL || !weir_list_next(&rest, ':', &client) ||
            weir_parse_int64(client, 1, 65535, &from) != WEIR_OK ||
            weir_parse_int64(rest, 1, 65535, &to) != WEIR_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "port_maps: invalid entry \"%s\"",
                               weir_setting_item(settings, "port_maps", i));
            return NGX_ERROR;
        }
        *port = (ngx_http_weir_port_t){ .listener = (in_port_t)to, .client = (in_port_t)from };
    }
    return main->port_maps != NULL ? NGX_OK : NGX_ERROR;
}

static ngx_int_t make_tokens(ngx_conf_t *cf, ngx_http_weir_proxy_main_conf_t *main,
                             const weir_settings_t *settings)
{
    const char *version = weir_setting_string(settings, "cluster_compat_version");
    size_t bytes = sizeof("1.1 kong/") + ngx_strlen(version);
    main->via.data = ngx_pnalloc(cf->pool, bytes);
    if (main->via.data == NULL)
        return NGX_ERROR;
    main->via.len = (size_t)(ngx_sprintf(main->via.data, "1.1 kong/%s", version) - main->via.data);
    main->token.data = main->via.data + sizeof("1.1 ") - 1;
    main->token.len = main->via.len - (sizeof("1.1 ") - 1);
    return NGX_OK;
}

static void release_hosts(void *data)
{
    weir_hosts_free(data);
}

static ngx_int_t read_hosts(ngx_conf_t *cf, ngx_http_weir_proxy_main_conf_t *main,
                            const weir_settings_t *settings)
{
    weir_error_t err = { 0 };
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(cf->pool, 0);
    if (cleanup == NULL)
        return NGX_ERROR;
    if (weir_hosts_load(weir_setting_string(settings, "dns_hostsfile"), &main->hosts, &err) !=
        WEIR_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s", err.reason);
        return NGX_ERROR;
    }
    cleanup->handler = release_hosts;
    cleanup->data = main->hosts;
    return NGX_OK;
}

static ngx_int_t read_settings(ngx_conf_t *cf, ngx_http_weir_proxy_main_conf_t *main)
{
    const weir_settings_t *settings = main->node->settings;
    size_t upstream = weir_setting_count(settings, "headers_upstream");
    main->headers = header_bits(settings);
    if (weir_setting_boolean(settings, "config_version_header"))
        main->headers |= HEADER_CONFIG_VERSION;
    main->debug = weir_setting_boolean(settings, "allow_debug_header");
    main->request_id_upstream =
        upstream > 0 &&
        !weir_str_equal_nocase(weir_str(weir_setting_item(settings, "headers_upstream", 0)),
                               WEIR_STR("off"));
    main->error_default =
        weir_media_accepted(weir_str(weir_setting_string(settings, "error_default_type")));
    if (read_trusted(cf, main, settings) != NGX_OK ||
        read_port_maps(cf, main, settings) != NGX_OK || make_tokens(cf, main, settings) != NGX_OK)
        return NGX_ERROR;
    return read_hosts(cf, main, settings);
}

/* -- the context of a request ------------------------------------------------------------- */

/* Not secrets: they only have to differ between requests, workers and nodes. */
static uint64_t random_state[2];

static uint64_t next_random(void)
{
    uint64_t a = random_state[0];
    uint64_t b = random_state[1];
    random_state[0] = b;
    a ^= a << 23;
    random_state[1] = a ^ b ^ (a >> 18) ^ (b >> 5);
    return random_state[1] + b;
}

/* Eight digits, one in each byte. */
static uint64_t hex_digits(uint32_t number)
{
    uint64_t digits = (number | (uint64_t)number << 16) & 0x0000ffff0000ffff;
    digits = (digits | digits << 8) & 0x00ff00ff00ff00ff;
    digits = (digits | digits << 4) & 0x0f0f0f0f0f0f0f0f;
    uint64_t letters = (digits + 0x0606060606060606) >> 4 & 0x0101010101010101; /* 1: a to f */
    return digits + 0x3030303030303030 + letters * ('a' - '9' - 1);
}

static void make_request_id(u_char out[REQUEST_ID_LEN])
{
    for (size_t i = 0; i < REQUEST_ID_LEN; i += 2 * sizeof(uint64_t)) {
        uint64_t random = next_random();
        uint64_t text[] = { hex_digits((uint32_t)random), hex_digits((uint32_t)(random >> 32)) };
        ngx_memcpy(out + i, text, sizeof(text));
    }
}

static void release_ctx(void *data)
{
    ngx_http_weir_ctx_t *ctx = data;
    ngx_http_weir_resolve_cancel(ctx);
    ngx_http_weir_balance_end(ctx);
    if (ctx->tls != NULL)
        ngx_http_weir_tls_release(ctx->tls);
    ctx->tls = NULL;
    ngx_http_weir_route_release(ctx->routed);
    ctx->routed = NULL;
}

ngx_http_weir_ctx_t *ngx_http_weir_ctx(ngx_http_request_t *r)
{
    ngx_http_weir_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_weir_proxy_module);
    if (ctx != NULL || !(r->internal || r->filter_finalize || r->error_page))
        return ctx;
    /* A redirect to the error page has cleared the contexts; ours is in the pool. */
    for (ngx_pool_cleanup_t *c = r->pool->cleanup; c != NULL; c = c->next) {
        if (c->handler == release_ctx) {
            ngx_http_set_ctx(r, c->data, ngx_http_weir_proxy_module);
            return c->data;
        }
    }
    return NULL;
}

ngx_http_weir_ctx_t *ngx_http_weir_ctx_make(ngx_http_request_t *r)
{
    ngx_http_weir_ctx_t *ctx = ngx_http_weir_ctx(r);
    if (ctx != NULL)
        return ctx;
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(r->pool, sizeof(*ctx));
    if (cleanup == NULL)
        return NULL;
    ctx = cleanup->data;
    ngx_memzero(ctx, sizeof(*ctx));
    cleanup->handler = release_ctx;
    ctx->r = r;
    make_request_id(ctx->request_id);
    ngx_http_set_ctx(r, ctx, ngx_http_weir_proxy_module);
    return ctx;
}

ngx_msec_t ngx_http_weir_age(ngx_http_request_t *r)
{
    ngx_time_t *now = ngx_timeofday();
    ngx_msec_int_t age = (ngx_msec_int_t)((now->sec - r->start_sec) * 1000 +
                                          (ngx_msec_int_t)(now->msec - r->start_msec));
    return (ngx_msec_t)ngx_max(age, 0);
}

in_port_t ngx_http_weir_port(ngx_http_request_t *r)
{
    in_port_t port = 0;
    if (ngx_connection_local_sockaddr(r->connection, NULL, 0) == NGX_OK)
        port = ngx_inet_get_port(r->connection->local_sockaddr);
    ngx_array_t *maps = ngx_http_weir_proxy_main(r)->port_maps;
    for (ngx_uint_t i = 0; maps != NULL && i < maps->nelts; i++) {
        const ngx_http_weir_port_t *map = (ngx_http_weir_port_t *)maps->elts + i;
        if (map->listener == port)
            return map->client;
    }
    return port;
}

bool ngx_http_weir_trusted(ngx_http_request_t *r)
{
    ngx_http_weir_proxy_main_conf_t *main = ngx_http_weir_proxy_main(r);
    if (main->trusted == NULL)
        return false;
    /* realip may have put another address in the place of the peer's. */
    ngx_addr_t address = { .sockaddr = r->connection->sockaddr };
    ngx_http_variable_value_t *peer =
        ngx_http_get_indexed_variable(r, (ngx_uint_t)main->realip_index);
    if (peer != NULL && !peer->not_found &&
        ngx_parse_addr(r->pool, &address, peer->data, peer->len) != NGX_OK)
        return false;
    return ngx_cidr_match(address.sockaddr, main->trusted) == NGX_OK;
}

bool ngx_http_weir_header(ngx_http_request_t *r, weir_str_t name, size_t nth, weir_str_t *ret)
{
    ngx_list_part_t *part = &r->headers_in.headers.part;
    for (; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++) {
            if (headers[i].key.len != name.len ||
                ngx_strncasecmp(headers[i].key.data, (u_char *)(uintptr_t)name.data, name.len) !=
                    0 ||
                nth-- > 0)
                continue;
            *ret = ngx_http_weir_str(headers[i].value);
            return true;
        }
    }
    return false;
}

/* -- $kong_request_id, for logs -------------------------------------------------------------- */

static ngx_int_t request_id_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
                                     uintptr_t data)
{
    (void)data;
    ngx_http_weir_ctx_t *ctx = ngx_http_weir_ctx_make(r);
    if (ctx == NULL)
        return NGX_ERROR;
    v->data = ctx->request_id;
    v->len = REQUEST_ID_LEN;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
    return NGX_OK;
}

static ngx_int_t add_variables(ngx_conf_t *cf)
{
    ngx_str_t name = ngx_string("kong_request_id");
    ngx_http_variable_t *variable = ngx_http_add_variable(cf, &name, 0);
    if (variable == NULL)
        return NGX_ERROR;
    variable->get_handler = request_id_variable;
    return NGX_OK;
}

/* -- phases ---------------------------------------------------------------------------------------
 */

static ngx_http_weir_kind_t kind_of(ngx_http_request_t *r)
{
    return ((ngx_http_weir_proxy_loc_conf_t *)ngx_http_get_module_loc_conf(
                r, ngx_http_weir_proxy_module))
        ->kind;
}

static ngx_int_t finish(ngx_http_request_t *r, ngx_int_t rc)
{
    ngx_http_finalize_request(r, rc);
    return NGX_DONE;
}

/* Goes on as if another location had been found. No redirect: contexts stay. */
static void switch_location(ngx_http_request_t *r, ngx_http_weir_kind_t kind)
{
    void **location = ngx_http_weir_proxy_main(r)->locations[kind];
    if (location == NULL)
        return;
    r->loc_conf = location;
    ngx_http_update_location_config(r);
}

static ngx_int_t rewrite_phase(ngx_http_request_t *r)
{
    ngx_http_weir_kind_t kind = kind_of(r);
    if (kind == KIND_NONE || r != r->main)
        return NGX_DECLINED;
    if (kind == KIND_ERROR) {
        if (r->err_status != 0)
            return NGX_DECLINED;
        switch_location(r, KIND_BUFFERED); /* a client that asks for the page by its name */
    }
    ngx_http_weir_ctx_t *ctx = ngx_http_weir_ctx_make(r);
    if (ctx == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (ctx->routed != NULL)
        return NGX_DECLINED;
    ngx_int_t rc = ngx_http_weir_match(ctx);
    return rc == NGX_DECLINED ? rc : finish(r, rc);
}

static void choose_location(ngx_http_weir_ctx_t *ctx)
{
    const weir_route_t *route = &ctx->routed->route;
    bool request = route->request_buffering || ctx->body_read;
    if (request && route->response_buffering)
        return;
    switch_location(ctx->r, route->response_buffering ? KIND_UNBUFFERED_REQUEST
                            : request                 ? KIND_UNBUFFERED_RESPONSE
                                                      : KIND_UNBUFFERED);
}

static void body_ready(ngx_http_request_t *r)
{
    ngx_http_weir_ctx_t *ctx = ngx_http_weir_ctx(r);
    ctx->body_read = 1;
    r->write_event_handler = ngx_http_core_run_phases;
    ngx_http_core_run_phases(r);
}

static ngx_int_t read_body(ngx_http_request_t *r)
{
    ngx_int_t rc = ngx_http_read_client_request_body(r, body_ready);
    if (rc >= NGX_HTTP_SPECIAL_RESPONSE)
        return rc;
    return finish(r, NGX_DONE);
}

static ngx_int_t run_plugins(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    ngx_int_t rc = ngx_http_weir_run_plugins(ctx);
    if (rc == NGX_AGAIN)
        return read_body(r);
    if (rc == NGX_ERROR)
        return finish(r, ngx_http_weir_fail(r, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                            WEIR_STR("An unexpected error occurred")));
    if (rc != NGX_OK)
        return rc;
    if (ctx->answered)
        return finish(r, ngx_http_weir_answer_of_plugin(ctx));
    if (!ctx->routed->has_service)
        return finish(r, ngx_http_weir_fail(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                            WEIR_STR("no Service found with those values")));
    if (ctx->routed->service.protocol & (WEIR_PROTOCOL_GRPC | WEIR_PROTOCOL_GRPCS))
        return finish(r, ngx_http_weir_fail(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                            WEIR_STR("gRPC services are not supported yet")));
    return NGX_OK;
}

static ngx_int_t access_phase(ngx_http_request_t *r)
{
    ngx_http_weir_kind_t kind = kind_of(r);
    if (kind == KIND_NONE || kind == KIND_ERROR || r != r->main)
        return NGX_DECLINED;
    ngx_http_weir_ctx_t *ctx = ngx_http_weir_ctx(r);
    if (ctx == NULL || ctx->routed == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ngx_int_t rc = NGX_OK;
    if (!ctx->prepared) {
        rc = run_plugins(ctx);
        if (rc != NGX_OK)
            return rc;
        rc = ngx_http_weir_prepare(ctx);
        if (rc != NGX_OK)
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        choose_location(ctx);
    }
    if (ctx->resolved)
        return NGX_DECLINED;
    rc = ngx_http_weir_resolve(ctx);
    if (rc == NGX_BUSY)
        return NGX_AGAIN;
    return rc == NGX_DECLINED ? rc : finish(r, rc);
}

static ngx_int_t content(ngx_http_request_t *r)
{
    ngx_http_weir_ctx_t *ctx = ngx_http_weir_ctx(r);
    if (ctx == NULL || !ctx->prepared || !ctx->resolved)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return ngx_http_weir_send(ctx);
}

static ngx_int_t log_phase(ngx_http_request_t *r)
{
    ngx_http_weir_ctx_t *ctx = ngx_http_weir_ctx(r);
    if (ctx == NULL)
        return NGX_OK;
    if (ctx->swapped)
        ngx_http_weir_swap_out(ctx);
    ngx_http_weir_balance_log(ctx);
    ngx_http_weir_run_logs(ctx);
    return NGX_OK;
}

/* -- start
 * ------------------------------------------------------------------------------------------ */

static ngx_int_t add_handler(ngx_http_core_main_conf_t *core, ngx_http_phases phase,
                             ngx_http_handler_pt handler)
{
    ngx_http_handler_pt *slot = ngx_array_push(&core->phases[phase].handlers);
    if (slot == NULL)
        return NGX_ERROR;
    *slot = handler;
    return NGX_OK;
}

static ngx_int_t set_content_handlers(ngx_conf_t *cf, ngx_http_weir_proxy_main_conf_t *main)
{
    for (ngx_uint_t kind = KIND_BUFFERED; kind < KINDS; kind++) {
        void **location = main->locations[kind];
        if (location == NULL)
            continue;
        ngx_http_core_loc_conf_t *core = location[ngx_http_core_module.ctx_index];
        if (kind == KIND_ERROR) {
            core->handler = ngx_http_weir_error_handler;
            continue;
        }
        if (core->handler == NULL) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "weir_proxy stands without proxy_pass");
            return NGX_ERROR;
        }
        main->proxy_handler = core->handler;
        core->handler = content;
    }
    return NGX_OK;
}

static ngx_int_t init(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    ngx_http_weir_proxy_main_conf_t *main =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_weir_proxy_module);
    if (main->locations[KIND_BUFFERED] == NULL)
        return NGX_OK; /* a control plane */
    main->node = ngx_http_conf_get_module_main_conf(cf, ngx_http_weir_module);
    if (main->node == NULL || main->node->settings == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "weir_proxy needs weir_settings");
        return NGX_ERROR;
    }
    ngx_str_t name = ngx_string("realip_remote_addr");
    main->realip_index = ngx_http_get_variable_index(cf, &name);
    if (main->realip_index == NGX_ERROR || read_settings(cf, main) != NGX_OK ||
        set_content_handlers(cf, main) != NGX_OK ||
        ngx_http_weir_counters_init(cf, main) != NGX_OK ||
        ngx_http_weir_health_init(cf, main) != NGX_OK ||
        add_handler(core, NGX_HTTP_REWRITE_PHASE, rewrite_phase) != NGX_OK ||
        add_handler(core, NGX_HTTP_ACCESS_PHASE, access_phase) != NGX_OK ||
        add_handler(core, NGX_HTTP_LOG_PHASE, log_phase) != NGX_OK)
        return NGX_ERROR;
    return ngx_http_weir_tls_init(cf);
}

static ngx_int_t init_process(ngx_cycle_t *cycle)
{
    if (RAND_bytes((u_char *)random_state, sizeof(random_state)) != 1) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0, "weir: the system has no randomness");
        return NGX_ERROR;
    }
    random_state[0] |= 1; /* never all zero */
    if (ngx_http_weir_routed_init_process(cycle) != NGX_OK ||
        ngx_http_weir_targets_init_process(cycle) != NGX_OK ||
        ngx_http_weir_probes_init_process(cycle) != NGX_OK ||
        ngx_http_weir_cache_init_process(cycle) != NGX_OK)
        return NGX_ERROR;
    return ngx_http_weir_balancer_init_process(cycle);
}
