/* ngx_http_weir_match.c -- from a request to its route, service and plugins.
 *
 * The reader is entered and left within one call; what is kept is copied. */
#include "proxy/ngx_http_weir_proxy.h"

#include "image/path.h"

enum { HEADERS_MAX = 100 }; /* that routes see; all are proxied */

/* -- input of the matcher (routing 1.2) ------------------------------------------------ */

/* `separator` stands for each '-' and '_' of the name. */
static bool name_matches(const ngx_table_elt_t *header, weir_str_t name, u_char separator)
{
    if (header->key.len != name.len)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        u_char want = (u_char)name.data[i];
        want = want == '-' || want == '_' ? separator : ngx_tolower(want);
        if (ngx_tolower(header->key.data[i]) != want)
            return false;
    }
    return true;
}

static bool nth_header(ngx_http_request_t *r, weir_str_t name, u_char separator, size_t nth,
                       weir_str_t *ret)
{
    ngx_list_part_t *part = &r->headers_in.headers.part;
    size_t left = HEADERS_MAX;
    for (; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts && left > 0; i++, left--) {
            if (!name_matches(&headers[i], name, separator) || nth-- > 0)
                continue;
            *ret = ngx_http_weir_str(headers[i].value);
            return true;
        }
    }
    return false;
}

/* x_foo finds "x_foo" if there is one, else "x-foo". */
static bool header_value(void *context, weir_str_t name, size_t nth, weir_str_t *ret)
{
    weir_str_t first;
    u_char separator = nth_header(context, name, '_', 0, &first) ? '_' : '-';
    return nth_header(context, name, separator, nth, ret);
}

/* The raw target up to its '?', looked for from the second byte. */
static weir_str_t raw_path(ngx_http_request_t *r)
{
    weir_str_t target = ngx_http_weir_str(r->unparsed_uri);
    if (target.len > 1) {
        const char *mark = memchr(target.data + 1, '?', target.len - 1);
        if (mark != NULL)
            target.len = (size_t)(mark - target.data);
    }
    return target;
}

static bool make_input(ngx_http_weir_ctx_t *ctx, weir_match_request_t *input)
{
    ngx_http_request_t *r = ctx->r;
    weir_str_t path = raw_path(r);
    ctx->path.data = ngx_pnalloc(r->pool, path.len + 1);
    if (ctx->path.data == NULL)
        return false;
    ctx->path.len = weir_path_normalize(path, (char *)ctx->path.data);
    *input = (weir_match_request_t){
        .method = ngx_http_weir_str(r->method_name),
        .path = ngx_http_weir_str(ctx->path),
        .listener_port = ngx_http_weir_port(r),
        .header = header_value,
        .context = r,
    };
    if (r->headers_in.host != NULL) {
        input->has_host = true;
        input->host = ngx_http_weir_str(r->headers_in.host->value);
    }
    if (r->connection->ssl != NULL) {
        input->https = true;
        input->sni =
            weir_str(SSL_get_servername(r->connection->ssl->connection, TLSEXT_NAMETYPE_host_name));
    }
    return true;
}

/* -- what is kept ------------------------------------------------------------------------- */

static bool copy_service(ngx_http_weir_ctx_t *ctx, const weir_service_t *service)
{
    ngx_pool_t *pool = ctx->r->pool;
    ngx_http_weir_service_t *to = &ctx->service;
    to->id = service->id;
    to->protocol = service->protocol;
    to->port = (in_port_t)service->port;
    to->retries = (ngx_uint_t)service->retries;
    to->connect_timeout = service->connect_timeout_ms;
    to->write_timeout = service->write_timeout_ms;
    to->read_timeout = service->read_timeout_ms;
    to->tls_verify = service->tls_verify;
    to->tls_verify_depth = service->tls_verify_depth;
    to->client_certificate = service->client_certificate;
    to->host = ngx_http_weir_copy(pool, service->host);
    to->path = ngx_http_weir_copy(pool, service->path);
    if (to->host.data == NULL || (service->path.data != NULL && to->path.data == NULL))
        return false;
    to->ca_certificate_count = service->ca_certificate_count;
    if (service->ca_certificate_count > 0) {
        size_t bytes = service->ca_certificate_count * sizeof(weir_uuid_t);
        to->ca_certificates = ngx_pnalloc(pool, bytes);
        if (to->ca_certificates == NULL)
            return false;
        ngx_memcpy(to->ca_certificates, service->ca_certificates, bytes);
    }
    return true;
}

static bool copy_plan(ngx_http_weir_ctx_t *ctx, const weir_plan_t *plan)
{
    ngx_pool_t *pool = ctx->r->pool;
    ctx->plan_count = plan->count;
    if (plan->count == 0)
        return true;
    ctx->plan = ngx_palloc(pool, plan->count * sizeof(*ctx->plan));
    for (size_t i = 0; ctx->plan != NULL && i < plan->count; i++) {
        ctx->plan[i] = plan->plugins[i];
        ngx_str_t name = ngx_http_weir_copy(pool, plan->plugins[i].plugin);
        ngx_str_t record = ngx_http_weir_copy(pool, plan->plugins[i].record);
        if (name.data == NULL || (plan->plugins[i].record.data != NULL && record.data == NULL))
            return false;
        ctx->plan[i].plugin = ngx_http_weir_str(name);
        ctx->plan[i].record = ngx_http_weir_str(record);
    }
    return ctx->plan != NULL;
}

static void copy_route(ngx_http_weir_ctx_t *ctx, const weir_match_t *match)
{
    ctx->route = match->route.id;
    ctx->protocols = match->route.protocols;
    ctx->redirect_status = match->route.https_redirect_status_code;
    ctx->strip_path = match->route.strip_path ? 1 : 0;
    ctx->preserve_host = match->route.preserve_host ? 1 : 0;
    ctx->request_buffering = match->route.request_buffering ? 1 : 0;
    ctx->response_buffering = match->route.response_buffering ? 1 : 0;
    ctx->path_matched = match->has_path ? match->path_matched : 0;
}

static bool copy_debug(ngx_http_weir_ctx_t *ctx, const weir_route_t *route,
                       const weir_service_t *service)
{
    ngx_http_request_t *r = ctx->r;
    weir_str_t value;
    if (!ngx_http_weir_proxy_main(r)->debug ||
        !ngx_http_weir_header(r, WEIR_STR("kong-debug"), 0, &value))
        return true;
    ctx->debug = ngx_pcalloc(r->pool, sizeof(*ctx->debug));
    if (ctx->debug == NULL)
        return false;
    weir_uuid_format(&route->id, ctx->debug->route_id);
    if (route->name.len > 0)
        ctx->debug->route_name = ngx_http_weir_copy(r->pool, route->name);
    if (service == NULL)
        return true;
    weir_uuid_format(&service->id, ctx->debug->service_id);
    if (service->name.len > 0)
        ctx->debug->service_name = ngx_http_weir_copy(r->pool, service->name);
    return true;
}

/* Inside the reader. WEIR_NOT_FOUND: no route; WEIR_AGAIN: not ready. */
static int look_up(ngx_http_weir_ctx_t *ctx, weir_reader_t *reader,
                   const weir_match_request_t *input, weir_error_t *err)
{
    weir_image_state_t state;
    weir_match_t match;
    weir_plan_t plan;
    weir_service_t service;
    int rc = weir_reader_state(reader, &state, err);
    if (rc == WEIR_OK && !state.complete)
        return WEIR_AGAIN;
    if (rc == WEIR_OK)
        rc = weir_reader_match(reader, input, &match, err);
    if (rc != WEIR_OK)
        return rc;
    copy_route(ctx, &match);
    ctx->has_service = weir_uuid_is_zero(&match.route.service) ? 0 : 1;
    if (ctx->has_service) {
        rc = weir_reader_service(reader, &match.route.service, &service, err);
        if (rc == WEIR_OK && !copy_service(ctx, &service))
            rc = weir_error_memory(err);
    }
    if (rc == WEIR_OK && !copy_debug(ctx, &match.route, ctx->has_service ? &service : NULL))
        rc = weir_error_memory(err);
    if (rc == WEIR_OK)
        rc = weir_reader_plan(reader, &match.route.id,
                              ctx->has_service ? &match.route.service : NULL, NULL, &plan, err);
    if (rc == WEIR_OK && !copy_plan(ctx, &plan))
        rc = weir_error_memory(err);
    return rc == WEIR_NOT_FOUND
               ? weir_error_set(err, WEIR_CORRUPT, NULL, "a route's service has no record")
               : rc;
}

/* -- after the match (routing 5) -------------------------------------------------------------- */

static bool forwarded_https(ngx_http_request_t *r)
{
    weir_str_t value;
    if (ngx_http_weir_trusted(r) &&
        ngx_http_weir_header(r, WEIR_STR("x-forwarded-proto"), 0, &value))
        return weir_str_is(value, "https");
    return r->connection->ssl != NULL;
}

static ngx_int_t need_upgrade(ngx_http_request_t *r, weir_str_t to, weir_str_t message)
{
    static ngx_str_t connection = ngx_string("Upgrade");
    if (ngx_http_weir_add_header(r, WEIR_STR("Connection"), connection) == NULL ||
        ngx_http_weir_add_header(r, WEIR_STR("Upgrade"), ngx_http_weir_text(to)) == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return ngx_http_weir_fail(r, 426, message);
}

static ngx_int_t redirect_to_https(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    if (ctx->redirect_status == 426)
        return need_upgrade(r, WEIR_STR("TLS/1.2, HTTP/1.1"),
                            WEIR_STR("Please use HTTPS protocol"));
    ngx_http_core_srv_conf_t *server = ngx_http_get_module_srv_conf(r, ngx_http_core_module);
    weir_str_t host = ngx_http_weir_str(r->headers_in.server.len > 0 ? r->headers_in.server
                                                                     : server->server_name);
    weir_str_t forwarded;
    if (ngx_http_weir_trusted(r) &&
        ngx_http_weir_header(r, WEIR_STR("x-forwarded-host"), 0, &forwarded))
        host = forwarded;
    ngx_str_t location;
    location.data = ngx_pnalloc(r->pool, sizeof("https://") + host.len + r->unparsed_uri.len);
    if (location.data == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    location.len = (size_t)(ngx_sprintf(location.data, "https://%*s%V", host.len,
                                        (u_char *)(uintptr_t)host.data, &r->unparsed_uri) -
                            location.data);
    if (ngx_http_weir_add_header(r, WEIR_STR("Location"), location) == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return ngx_http_weir_answer_status(r, (ngx_uint_t)ctx->redirect_status);
}

static bool has_grpc_type(ngx_http_request_t *r)
{
    return r->headers_in.content_type != NULL &&
           weir_str_starts(ngx_http_weir_str(r->headers_in.content_type->value),
                           WEIR_STR("application/grpc"));
}

/* A gRPC client that has to use TLS is told so in its own way. */
static ngx_int_t refuse_plain_grpc(ngx_http_request_t *r)
{
    static ngx_str_t status = ngx_string("1");
    static ngx_str_t message = ngx_string("gRPC request matched gRPCs route");
    static ngx_str_t type = ngx_string("application/grpc");
    static ngx_str_t none = ngx_null_string;
    if (ngx_http_weir_add_header(r, WEIR_STR("grpc-status"), status) == NULL ||
        ngx_http_weir_add_header(r, WEIR_STR("grpc-message"), message) == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    return ngx_http_weir_answer(r, NGX_HTTP_OK, type, none);
}

/* NGX_DECLINED: nothing is against it. */
static ngx_int_t check_protocol(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    ngx_uint_t protocols = ctx->protocols;
    if ((protocols & WEIR_PROTOCOL_HTTPS) && !(protocols & WEIR_PROTOCOL_HTTP) &&
        !forwarded_https(r))
        return redirect_to_https(ctx);
    if (!(protocols & (WEIR_PROTOCOL_GRPC | WEIR_PROTOCOL_GRPCS)))
        return NGX_DECLINED;
    if (!has_grpc_type(r))
        return ngx_http_weir_fail(r, 415, WEIR_STR("Non-gRPC request matched gRPC route"));
    if (r->http_version != NGX_HTTP_VERSION_20)
        return need_upgrade(r, WEIR_STR("HTTP/2"), WEIR_STR("Please use HTTP2 protocol"));
    if (!(protocols & WEIR_PROTOCOL_GRPC) && !forwarded_https(r))
        return refuse_plain_grpc(r);
    return NGX_DECLINED;
}

ngx_int_t ngx_http_weir_match(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    weir_match_request_t input;
    weir_error_t err = { 0 };
    weir_reader_t *reader =
        ngx_http_weir_reader(ngx_http_weir_proxy_main(r)->node, r->connection->log);
    if (!make_input(ctx, &input))
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    int rc = reader != NULL ? weir_reader_enter(reader, &err) : WEIR_AGAIN;
    if (rc == WEIR_OK) {
        rc = look_up(ctx, reader, &input, &err);
        weir_reader_leave(reader);
    }
    switch (rc) {
    case WEIR_OK:
        ctx->matched = 1;
        return check_protocol(ctx);
    case WEIR_NOT_FOUND:
        return ngx_http_weir_fail(r, NGX_HTTP_NOT_FOUND,
                                  WEIR_STR("no Route matched with those values"));
    case WEIR_AGAIN: /* never 404 or 401 because the configuration is still arriving */
        return ngx_http_weir_fail(r, NGX_HTTP_SERVICE_UNAVAILABLE,
                                  WEIR_STR("the configuration has not arrived yet"));
    default:
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "weir: the image cannot be read: %s",
                      err.reason);
        return ngx_http_weir_fail(r, NGX_HTTP_INTERNAL_SERVER_ERROR,
                                  WEIR_STR("An unexpected error occurred"));
    }
}

ngx_int_t ngx_http_weir_plan(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    weir_error_t err = { 0 };
    weir_plan_t plan;
    weir_reader_t *reader =
        ngx_http_weir_reader(ngx_http_weir_proxy_main(r)->node, r->connection->log);
    int rc = reader != NULL ? weir_reader_enter(reader, &err) : WEIR_AGAIN;
    if (rc == WEIR_OK) {
        rc = weir_reader_plan(reader, &ctx->route, ctx->has_service ? &ctx->service.id : NULL,
                              weir_uuid_is_zero(&ctx->consumer) ? NULL : &ctx->consumer, &plan,
                              &err);
        if (rc == WEIR_OK && !copy_plan(ctx, &plan))
            rc = weir_error_memory(&err);
        weir_reader_leave(reader);
    }
    if (rc == WEIR_OK)
        return NGX_OK;
    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "weir: no plan of plugins: %s", err.reason);
    return NGX_ERROR;
}
