/* ngx_http_weir_match.c -- from a request to its route, service and plugins.
 *
 * The reader is entered and left within one call; what is kept is copied. A line that
 * was matched before is not looked up again until a change may concern it (routed.c). */
#include "proxy/ngx_http_weir_proxy.h"

#include "image/path.h"
#include "plugins/plugins.h"

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

static ngx_str_t raw_path(const ngx_http_request_t *r)
{
    ngx_str_t target = r->unparsed_uri;
    if (target.len > 1) {
        const u_char *mark = memchr(target.data + 1, '?', target.len - 1);
        if (mark != NULL)
            target.len = (size_t)(mark - target.data);
    }
    return target;
}

static void make_input(ngx_http_weir_ctx_t *ctx, weir_match_request_t *input)
{
    ngx_http_request_t *r = ctx->r;
    ctx->port = ngx_http_weir_port(r);
    ctx->raw_path = raw_path(r);
    *input = (weir_match_request_t){
        .method = ngx_http_weir_str(r->method_name),
        .path = ngx_http_weir_str(ctx->raw_path), /* one that is remembered is also normal */
        .listener_port = ctx->port,
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
}

/* -- in the image ------------------------------------------------------------------------- */

int ngx_http_weir_copy_plan(weir_reader_t *reader, ngx_pool_t *pool, const weir_uuid_t *route,
                            const weir_uuid_t *service, const weir_uuid_t *consumer,
                            ngx_http_weir_step_t **ret, ngx_uint_t *ret_count, weir_error_t *err)
{
    weir_plan_t plan;
    int rc = weir_reader_plan(reader, route, service, consumer, &plan, err);
    if (rc != WEIR_OK)
        return rc;
    /* never of no bytes: a plan of no plugins is a plan */
    ngx_http_weir_step_t *steps = ngx_pcalloc(pool, (plan.count + 1) * sizeof(*steps));
    if (steps == NULL)
        return weir_error_memory(err);
    for (size_t i = 0; i < plan.count; i++) {
        const weir_planned_t *planned = &plan.plugins[i];
        steps[i].plugin = weir_plugin(planned->plugin);
        steps[i].record = ngx_http_weir_str(ngx_http_weir_copy(pool, planned->record));
        steps[i].name = ngx_http_weir_str(ngx_http_weir_copy(pool, planned->plugin));
        steps[i].refused = planned->refused;
        steps[i].route = planned->route;
        steps[i].service = planned->service;
        steps[i].consumer = planned->consumer;
        if (steps[i].name.data == NULL ||
            (planned->record.data != NULL && steps[i].record.data == NULL))
            return weir_error_memory(err);
    }
    *ret = steps;
    *ret_count = plan.count;
    return WEIR_OK;
}

/* The request's own copy of the path, normalised. */
static bool make_path(ngx_http_weir_ctx_t *ctx, weir_str_t path)
{
    ctx->path.data = ngx_pnalloc(ctx->r->pool, path.len + 1);
    if (ctx->path.data == NULL)
        return false;
    ctx->path.len = weir_path_normalize(path, (char *)ctx->path.data);
    return true;
}

/* Inside the reader. WEIR_NOT_FOUND: no route; WEIR_AGAIN: not ready. */
static int look_up(ngx_http_weir_ctx_t *ctx, weir_reader_t *reader,
                   const weir_match_request_t *input, const ngx_http_weir_line_t *line,
                   weir_error_t *err)
{
    weir_image_state_t state;
    weir_match_t match;
    uint64_t moment = 0;
    int rc = weir_reader_state(reader, &state, err);
    if (rc == WEIR_OK && !state.complete)
        return WEIR_AGAIN;
    if (rc == WEIR_OK)
        rc = weir_reader_moment(reader, &moment, err);
    if (rc == WEIR_OK)
        rc = weir_reader_match(reader, input, &match, err);
    if (rc != WEIR_OK)
        return rc;
    rc = ngx_http_weir_route(ngx_http_weir_proxy_main(ctx->r), reader, &match.route, moment,
                             &ctx->routed, err);
    if (rc != WEIR_OK)
        return rc == WEIR_NOT_FOUND
                   ? weir_error_set(err, WEIR_CORRUPT, NULL, "a route's service has no record")
                   : rc;
    ctx->path_matched = match.has_path ? match.path_matched : 0;
    if (!match.by_headers)
        ngx_http_weir_remember(line, ctx->routed, moment, ctx->path_matched);
    return WEIR_OK;
}

/* As look_up(). `inside`: the reader is entered already. */
static int find_in(ngx_http_weir_ctx_t *ctx, weir_reader_t *reader, bool inside, weir_error_t *err)
{
    weir_match_request_t input;
    ngx_http_weir_line_t line;
    uint64_t moment = 0;
    make_input(ctx, &input);
    ngx_http_weir_line(&input, &line);
    int rc = line.len > 0 ? weir_reader_moment(reader, &moment, err) : WEIR_OK;
    if (rc != WEIR_OK)
        return rc;
    ctx->routed = ngx_http_weir_recall(&line, reader, &input, moment, &ctx->path_matched);
    if (ctx->routed != NULL) {
        ctx->path = ctx->raw_path;
    } else {
        if (!make_path(ctx, input.path))
            return weir_error_memory(err);
        input.path = ngx_http_weir_str(ctx->path);
        if (!weir_str_equal(input.path, ngx_http_weir_str(ctx->raw_path)))
            line.len = 0;
        rc = inside ? WEIR_OK : weir_reader_enter(reader, err);
        if (rc == WEIR_OK)
            rc = look_up(ctx, reader, &input, &line, err);
        if (!inside)
            weir_reader_leave(reader);
    }
    return rc;
}

/* The same, and ctx->config_version: of one and the same transaction of the image, also
 * when the line is remembered. */
static int find_with_version(ngx_http_weir_ctx_t *ctx, weir_reader_t *reader, weir_error_t *err)
{
    weir_image_state_t state;
    int rc = weir_reader_enter(reader, err);
    if (rc != WEIR_OK)
        return rc;
    rc = weir_reader_state(reader, &state, err);
    if (rc == WEIR_OK) {
        ctx->config_version = state.complete ? state.version : 0;
        rc = find_in(ctx, reader, true, err);
    }
    weir_reader_leave(reader);
    return rc;
}

/* ctx->routed and what is known with it. As look_up(). */
static int find_route(ngx_http_weir_ctx_t *ctx, weir_error_t *err)
{
    ngx_http_request_t *r = ctx->r;
    const ngx_http_weir_proxy_main_conf_t *main = ngx_http_weir_proxy_main(r);
    weir_reader_t *reader = ngx_http_weir_reader(main->node, r->connection->log);
    if (reader == NULL)
        return WEIR_AGAIN;
    int rc = main->headers & HEADER_CONFIG_VERSION ? find_with_version(ctx, reader, err)
                                                   : find_in(ctx, reader, false, err);
    if (rc == WEIR_OK) {
        ctx->plan = ctx->routed->plan;
        ctx->plan_count = ctx->routed->plan_count;
    }
    return rc;
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
    int status = ctx->routed->route.https_redirect_status_code;
    if (status == 426)
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
    return ngx_http_weir_answer_status(r, (ngx_uint_t)status);
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
    ngx_uint_t protocols = ctx->routed->route.protocols;
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
    weir_error_t err;
    err.reason[0] = '\0'; /* the rest of it is not worth a request's time */
    switch (find_route(ctx, &err)) {
    case WEIR_OK:
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
    const ngx_http_weir_routed_t *routed = ctx->routed;
    weir_error_t err = { 0 };
    weir_reader_t *reader =
        ngx_http_weir_reader(ngx_http_weir_proxy_main(r)->node, r->connection->log);
    int rc = reader != NULL ? weir_reader_enter(reader, &err) : WEIR_AGAIN;
    if (rc == WEIR_OK) {
        rc = ngx_http_weir_copy_plan(reader, r->pool, routed != NULL ? &routed->route.id : NULL,
                                     routed != NULL && routed->has_service ? &routed->service.id
                                                                           : NULL,
                                     weir_uuid_is_zero(&ctx->consumer) ? NULL : &ctx->consumer,
                                     &ctx->plan, &ctx->plan_count, &err);
        weir_reader_leave(reader);
    }
    if (rc == WEIR_OK)
        return NGX_OK;
    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "weir: no plan of plugins: %s", err.reason);
    return NGX_ERROR;
}
