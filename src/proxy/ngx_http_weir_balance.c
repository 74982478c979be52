/* ngx_http_weir_balance.c -- one request and its upstream: which target, which other one after
 * a failure, and what is learned of their health (routing 9.1, 10).
 *
 * The first address is chosen before the request is made, as the Host header may be its; a
 * retry makes the request anew if the next one is called otherwise. What an attempt says of an
 * address' health is told when the next one is chosen, and of the last one in the log phase:
 * only then is it known that it was the last. */
#include "proxy/ngx_http_weir_balance.h"

#include "proxy/rules.h"

/* -- reports -------------------------------------------------------------------------------------
 */

void ngx_http_weir_report(const ngx_http_weir_balance_t *balance,
                          const weir_health_limits_t *limits, const ngx_http_weir_place_t *place,
                          weir_health_event_t event, ngx_log_t *log)
{
    ngx_http_weir_proxy_main_conf_t *main =
        ngx_http_cycle_get_module_main_conf(ngx_cycle, ngx_http_weir_proxy_module);
    weir_health_t *health = ngx_http_weir_health(main);
    const unsigned limit[] = { limits->successes, limits->http_failures, limits->tcp_failures,
                               limits->timeouts };
    if (health != NULL && weir_health_report(health, &place->health, event, limit[event]))
        ngx_log_error(NGX_LOG_WARN, log, 0, "weir: target %V of upstream \"%*s\" is %s",
                      &place->address.name, balance->upstream.name.len, balance->upstream.name.data,
                      weir_health_usable(&place->health) ? "healthy again" : "unhealthy");
}

static void report(const ngx_http_weir_choice_t *choice, weir_health_event_t event)
{
    ngx_http_weir_report(choice->balance, &choice->balance->upstream.passive,
                         &choice->places->list[choice->peer], event,
                         choice->ctx->r->connection->log);
}

static void report_status(const ngx_http_weir_choice_t *choice, ngx_uint_t status)
{
    const weir_health_limits_t *limits = &choice->balance->upstream.passive;
    if (status == NGX_HTTP_GATEWAY_TIME_OUT)
        report(choice, WEIR_HEALTH_TIMEOUT);
    else if (weir_statuses_has(&limits->unhealthy, (unsigned)status))
        report(choice, WEIR_HEALTH_HTTP_FAILURE);
    else if (weir_statuses_has(&limits->healthy, (unsigned)status))
        report(choice, WEIR_HEALTH_SUCCESS);
}

/* How the attempt before the one that begins now ended. */
static ngx_uint_t status_before(const ngx_http_request_t *r)
{
    const ngx_array_t *states = r->upstream_states;
    if (states == NULL || states->nelts < 2)
        return 0;
    return ((const ngx_http_upstream_state_t *)states->elts)[states->nelts - 2].status;
}

/* -- choices ---------------------------------------------------------------------------------- */

static void let_go(ngx_http_weir_choice_t *choice)
{
    if (choice->peer != WEIR_NO_PEER)
        weir_balancer_release(choice->places->balancer, choice->peer);
    choice->peer = WEIR_NO_PEER;
}

static bool choose(ngx_http_weir_choice_t *choice)
{
    int peer = weir_balancer_pick(choice->places->balancer, &choice->pick, ngx_current_msec);
    if (peer == WEIR_NO_PEER)
        return false;
    weir_balancer_acquire(choice->places->balancer, peer);
    choice->peer = peer;
    return true;
}

/* What the chosen target is called in Host; data NULL: no memory. */
static ngx_str_t host_of(const ngx_http_weir_choice_t *choice)
{
    const ngx_http_weir_place_t *place = &choice->places->list[choice->peer];
    weir_str_t fixed = choice->balance->upstream.host_header;
    ngx_str_t name = fixed.data != NULL ? ngx_http_weir_text(fixed) : place->target->host;
    bool secure = choice->ctx->routed->service.protocol == WEIR_PROTOCOL_HTTPS;
    return ngx_http_weir_host_text(choice->ctx->r->pool, name, place->target->port, secure);
}

static ngx_int_t no_peer(ngx_http_weir_ctx_t *ctx)
{
    return ngx_http_weir_fail(ctx->r, NGX_HTTP_SERVICE_UNAVAILABLE,
                              WEIR_STR("failure to get a peer from the ring-balancer"));
}

/* As ngx_http_weir_resolve(), with all addresses there. */
static ngx_int_t choose_first(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_weir_choice_t *choice = ctx->balance;
    const weir_upstream_t *upstream = &choice->balance->upstream;
    if (choice->balance->places == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR; /* no memory */
    choice->places = choice->balance->places;
    choice->places->references++;
    if (upstream->algorithm == WEIR_CONSISTENT_HASHING && ngx_http_weir_hash(choice) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    if (!choose(choice))
        return no_peer(ctx);
    ngx_str_t host = host_of(choice);
    if (host.data == NULL || ngx_http_weir_head(ctx, host) != NGX_OK)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    ctx->addresses = &choice->places->list[choice->peer].address;
    ctx->address_count = 1;
    ctx->resolved = 1;
    return NGX_DECLINED;
}

ngx_int_t ngx_http_weir_balance(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_weir_choice_t *choice = ctx->balance;
    if (choice != NULL)
        return choice->waiting ? NGX_BUSY : choose_first(ctx);
    choice = ngx_pcalloc(ctx->r->pool, sizeof(*choice));
    if (choice == NULL)
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    choice->ctx = ctx;
    choice->peer = WEIR_NO_PEER;
    choice->balance =
        ngx_http_weir_balance_find(ngx_http_weir_proxy_main(ctx->r), &ctx->routed->upstream);
    if (choice->balance == NULL)
        return no_peer(ctx);
    ctx->balance = choice;
    if (ngx_http_weir_balance_resolve(choice->balance))
        return choose_first(ctx);
    choice->waiting = 1;
    ngx_queue_insert_tail(&choice->balance->waiting, &choice->queue);
    return NGX_BUSY;
}

/* -- retries ---------------------------------------------------------------------------------- */

/* The request as it is to be sent, with the Host header of the next target. */
static ngx_int_t make_anew(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    ngx_http_upstream_t *u = r->upstream;
    ngx_str_t before = ctx->host;
    ngx_str_t host = host_of(ctx->balance);
    if (host.data == NULL)
        return NGX_ERROR;
    if (ctx->routed->route.preserve_host ||
        weir_str_equal(ngx_http_weir_str(host), ngx_http_weir_str(before)))
        return NGX_OK;
    if (ngx_http_weir_head(ctx, host) != NGX_OK)
        return NGX_ERROR;
    u->ssl_name = ctx->host;
    u->request_bufs = r->request_body != NULL ? r->request_body->bufs : NULL;
    ngx_http_weir_swap_in(ctx);
    ngx_int_t rc = u->create_request(r);
    ngx_http_weir_swap_out(ctx);
    return rc;
}

ngx_int_t ngx_http_weir_balance_next(ngx_http_weir_ctx_t *ctx, bool again,
                                     ngx_http_weir_address_t **ret)
{
    ngx_http_weir_choice_t *choice = ctx->balance;
    weir_assert(choice->peer != WEIR_NO_PEER);
    ngx_uint_t status = status_before(ctx->r);
    /* A kept connection that had died says nothing of the target. */
    again = again && status != NGX_HTTP_GATEWAY_TIME_OUT;
    if (choice->connecting && !again) {
        report(choice,
               status == NGX_HTTP_GATEWAY_TIME_OUT ? WEIR_HEALTH_TIMEOUT : WEIR_HEALTH_TCP_FAILURE);
        weir_pick_failed(&choice->pick, choice->peer);
        let_go(choice);
        if (!choose(choice)) {
            choice->lost = 1;
            return NGX_BUSY;
        }
        if (make_anew(ctx) != NGX_OK)
            return NGX_ERROR;
    }
    choice->connecting = 1;
    *ret = &choice->places->list[choice->peer].address;
    return NGX_OK;
}

bool ngx_http_weir_balance_is_lost(const ngx_http_weir_ctx_t *ctx)
{
    return ctx->balance->lost;
}

/* -- the end ---------------------------------------------------------------------------------- */

ngx_int_t ngx_http_weir_balance_header(ngx_http_weir_ctx_t *ctx)
{
    static const weir_str_t name = { "Set-Cookie", 10 };
    const ngx_http_weir_choice_t *choice = ctx->balance;
    ngx_table_elt_t *ours = NULL;
    if (choice->cookie.data == NULL)
        return NGX_OK;
    for (ngx_list_part_t *part = &ctx->r->headers_out.headers.part; part != NULL;
         part = part->next) {
        ngx_table_elt_t *headers = part->elts;
        for (ngx_uint_t i = 0; ours == NULL && i < part->nelts; i++)
            if (headers[i].hash != 0 &&
                weir_str_equal_nocase(ngx_http_weir_str(headers[i].key), name) &&
                headers[i].value.len >= choice->cookie_name_len &&
                ngx_memcmp(headers[i].value.data, choice->cookie.data, choice->cookie_name_len) ==
                    0)
                ours = &headers[i];
    }
    if (ours == NULL)
        return ngx_http_weir_add_header(ctx->r, name, choice->cookie) != NULL ? NGX_OK : NGX_ERROR;
    ours->value = choice->cookie;
    return NGX_OK;
}

void ngx_http_weir_balance_log(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_weir_choice_t *choice = ctx->balance;
    const ngx_http_upstream_t *u = ctx->r->upstream;
    if (choice == NULL || !choice->connecting || choice->peer == WEIR_NO_PEER || u == NULL ||
        u->state == NULL)
        return;
    report_status(choice, u->state->status);
    ngx_msec_t ms = u->state->response_time;
    if (u->state->connect_time == (ngx_msec_t)-1 || ms == (ngx_msec_t)-1)
        return; /* it never answered */
    if (choice->balance->upstream.algorithm == WEIR_LATENCY)
        weir_balancer_latency(choice->places->balancer, choice->peer,
                              (uint32_t)(ms + u->state->connect_time), ngx_current_msec);
}

void ngx_http_weir_balance_end(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_weir_choice_t *choice = ctx->balance;
    ctx->balance = NULL;
    if (choice == NULL)
        return;
    if (choice->waiting) {
        ngx_queue_remove(&choice->queue);
    }
    let_go(choice);
    ngx_http_weir_places_release(choice->places);
    ngx_http_weir_balance_release(choice->balance);
}

const weir_uuid_t *ngx_http_weir_client_certificate(const ngx_http_weir_ctx_t *ctx)
{
    const weir_uuid_t *own = &ctx->routed->service.client_certificate;
    const ngx_http_weir_choice_t *choice = ctx->balance;
    return weir_uuid_is_zero(own) && choice != NULL ? &choice->balance->upstream.client_certificate
                                                    : own;
}
