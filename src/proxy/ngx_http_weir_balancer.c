/* ngx_http_weir_balancer.c -- where a request goes, on which connection.
 *
 * nginx reads timeouts, TLS and retries of an upstream only after peer.init, so
 * a request that wants others than the location has gets its own copy of the
 * upstream's configuration there.
 *
 * Idle connections are kept in a pool of the worker. nginx's own compares only
 * addresses, so two services behind one address would share connections across
 * server names, client certificates and verification. Here a connection is found
 * again only by all of it: address, TLS profile, server name. */
#include "proxy/ngx_http_weir_proxy.h"

enum { BUCKETS = 1024 }; /* a power of two */

typedef struct idle_s {
    ngx_queue_t queue;  /* all idle ones by age, or the free list */
    ngx_queue_t bucket; /* those of one hash, newest first */
    ngx_connection_t *connection;
    ngx_msec_t since; /* ngx_current_msec when it became idle */
    uint32_t hash;
    socklen_t socklen;
    union {
        struct sockaddr any;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    } sockaddr;
    ngx_http_weir_tls_profile_t *tls; /* NULL: none; counted */
    ngx_str_t name;                   /* in the connection's pool */
} idle_t;

/* Of this worker. */
static struct {
    idle_t *items;
    ngx_queue_t free, idle;
    ngx_queue_t buckets[BUCKETS];
    ngx_uint_t requests_max; /* 0: no limit */
    ngx_msec_t timeout;      /* 0: for ever */
    ngx_event_t expiry;      /* one timer for all: no request pays for a timer of its own */
} pool;

typedef struct peer_s {
    ngx_http_weir_ctx_t *ctx;
    ngx_http_weir_address_t *address;
    uint32_t hash;
    ngx_str_t name;     /* of the connection that was taken from the pool */
    unsigned fresh : 1; /* a kept connection was dead: no more of these */
} peer_t;

/* nginx logs the descriptor of a timer's owner. */
static ngx_connection_t expiry_owner = { .fd = (ngx_socket_t)-1 };

static void expire(ngx_event_t *event);

/* -- the pool ---------------------------------------------------------------------- */

ngx_int_t ngx_http_weir_balancer_init_process(ngx_cycle_t *cycle)
{
    ngx_http_weir_proxy_main_conf_t *main =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_weir_proxy_module);
    ngx_queue_init(&pool.free);
    ngx_queue_init(&pool.idle);
    for (size_t i = 0; i < BUCKETS; i++) {
        ngx_queue_init(&pool.buckets[i]);
    }
    if (main == NULL || main->node == NULL)
        return NGX_OK;
    const weir_settings_t *settings = main->node->settings;
    size_t count = (size_t)weir_setting_integer(settings, "upstream_keepalive_pool_size");
    pool.requests_max =
        (ngx_uint_t)weir_setting_integer(settings, "upstream_keepalive_max_requests");
    pool.timeout =
        (ngx_msec_t)weir_setting_integer(settings, "upstream_keepalive_idle_timeout") * 1000;
    pool.expiry.handler = expire;
    pool.expiry.log = cycle->log;
    pool.expiry.data = &expiry_owner;
    pool.expiry.cancelable = 1;
    if (count == 0)
        return NGX_OK;
    pool.items = ngx_pcalloc(cycle->pool, count * sizeof(*pool.items));
    if (pool.items == NULL)
        return NGX_ERROR;
    for (size_t i = 0; i < count; i++) {
        ngx_queue_insert_tail(&pool.free, &pool.items[i].queue);
    }
    return NGX_OK;
}

static uint32_t hash_of(const ngx_http_weir_ctx_t *ctx, const ngx_http_weir_address_t *address)
{
    uint32_t hash = address->hash;
    if (ctx->tls != NULL)
        hash ^= ctx->tls->hash ^ ngx_murmur_hash2(ctx->host.data, ctx->host.len);
    return hash;
}

static bool fits(const idle_t *idle, const ngx_http_weir_ctx_t *ctx,
                 const ngx_http_weir_address_t *address, uint32_t hash)
{
    return idle->hash == hash && idle->tls == ctx->tls && idle->socklen == address->socklen &&
           ngx_memcmp(&idle->sockaddr, &address->sockaddr, idle->socklen) == 0 &&
           (idle->tls == NULL ||
            (idle->name.len == ctx->host.len &&
             ngx_memcmp(idle->name.data, ctx->host.data, idle->name.len) == 0));
}

static void close_connection(ngx_connection_t *c)
{
    if (c->ssl != NULL) {
        c->ssl->no_wait_shutdown = 1;
        c->ssl->no_send_shutdown = 1;
        if (ngx_ssl_shutdown(c) == NGX_AGAIN) {
            c->ssl->handler = close_connection;
            return;
        }
    }
    ngx_destroy_pool(c->pool);
    ngx_close_connection(c);
}

/* The connection leaves the pool; its item is free again. */
static ngx_connection_t *take_out(idle_t *idle)
{
    ngx_connection_t *c = idle->connection;
    ngx_queue_remove(&idle->queue);
    ngx_queue_remove(&idle->bucket);
    ngx_queue_insert_head(&pool.free, &idle->queue);
    if (idle->tls != NULL)
        ngx_http_weir_tls_release(idle->tls);
    idle->tls = NULL;
    idle->connection = NULL;
    return c;
}

static void ignore_write(ngx_event_t *event)
{
    (void)event;
}

/* Something happens on an idle connection: its end, or what nobody has asked for. */
static void idle_read(ngx_event_t *event)
{
    ngx_connection_t *c = event->data;
    char byte;
    if (!c->close) {
        ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK);
        if (n == -1 && ngx_socket_errno == NGX_EAGAIN) {
            event->ready = 0;
            if (ngx_handle_read_event(event, 0) == NGX_OK)
                return;
        }
    }
    take_out(c->data);
    close_connection(c);
}

/* The least recently used one is last. One at a time: no request waits until all that
 * became idle together are closed. */
static void expire(ngx_event_t *event)
{
    if (ngx_queue_empty(&pool.idle))
        return;
    idle_t *oldest = ngx_queue_data(ngx_queue_last(&pool.idle), idle_t, queue);
    ngx_msec_t age = ngx_current_msec - oldest->since;
    if (age < pool.timeout) {
        ngx_add_timer(event, pool.timeout - age);
        return;
    }
    close_connection(take_out(oldest));
    ngx_add_timer(event, 1);
}

static ngx_connection_t *find_idle(const ngx_http_weir_ctx_t *ctx,
                                   const ngx_http_weir_address_t *address, uint32_t hash,
                                   ngx_str_t *ret_name)
{
    ngx_queue_t *bucket = &pool.buckets[hash % BUCKETS];
    for (ngx_queue_t *q = ngx_queue_head(bucket); q != ngx_queue_sentinel(bucket);
         q = ngx_queue_next(q)) {
        idle_t *idle = ngx_queue_data(q, idle_t, bucket);
        if (fits(idle, ctx, address, hash)) {
            *ret_name = idle->name;
            return take_out(idle);
        }
    }
    return NULL;
}

static bool may_be_kept(const ngx_http_upstream_t *u, ngx_connection_t *c, ngx_uint_t state)
{
    return !(state & NGX_PEER_FAILED) && c != NULL && !c->read->eof && !c->read->error &&
           !c->read->timedout && !c->write->error && !c->write->timedout && u->keepalive &&
           u->request_body_sent && !ngx_terminate && !ngx_exiting && pool.items != NULL &&
           (pool.requests_max == 0 || c->requests < pool.requests_max);
}

/* False: the connection is closed by nginx, as ever. */
static bool keep(peer_t *peer, ngx_connection_t *c)
{
    ngx_http_weir_ctx_t *ctx = peer->ctx;
    ngx_str_t name = peer->name;
    if (ngx_handle_read_event(c->read, 0) != NGX_OK)
        return false;
    if (ctx->tls != NULL && name.data == NULL) {
        name = ngx_http_weir_copy(c->pool, ngx_http_weir_str(ctx->host));
        if (name.data == NULL)
            return false;
    }
    if (ngx_queue_empty(&pool.free))
        close_connection(take_out(ngx_queue_data(ngx_queue_last(&pool.idle), idle_t, queue)));
    idle_t *idle = ngx_queue_data(ngx_queue_head(&pool.free), idle_t, queue);
    ngx_queue_remove(&idle->queue);
    ngx_queue_insert_head(&pool.idle, &idle->queue);
    ngx_queue_insert_head(&pool.buckets[peer->hash % BUCKETS], &idle->bucket);
    idle->connection = c;
    idle->since = ngx_current_msec;
    if (pool.timeout > 0 && !pool.expiry.timer_set)
        ngx_add_timer(&pool.expiry, pool.timeout);
    idle->hash = peer->hash;
    idle->socklen = peer->address->socklen;
    ngx_memcpy(&idle->sockaddr, &peer->address->sockaddr, idle->socklen);
    idle->name = name;
    idle->tls = ctx->tls;
    if (idle->tls != NULL)
        idle->tls->references++;

    c->read->delayed = 0;
    if (c->read->timer_set)
        ngx_del_timer(c->read);
    if (c->write->timer_set)
        ngx_del_timer(c->write);
    c->write->handler = ignore_write;
    c->read->handler = idle_read;
    c->data = idle;
    c->idle = 1;
    c->log = c->read->log = c->write->log = c->pool->log = ngx_cycle->log;
    if (c->read->ready)
        idle_read(c->read);
    return true;
}

/* -- peers ---------------------------------------------------------------------------- */

static ngx_int_t get_peer(ngx_peer_connection_t *pc, void *data)
{
    peer_t *peer = data;
    ngx_http_weir_ctx_t *ctx = peer->ctx;
    if (ctx->balance == NULL) {
        peer->address = &ctx->addresses[ctx->address_at++ % ctx->address_count];
    } else {
        ngx_int_t rc = ngx_http_weir_balance_next(ctx, pc->cached, &peer->address);
        if (rc != NGX_OK)
            return rc;
    }
    pc->sockaddr = &peer->address->sockaddr;
    pc->socklen = peer->address->socklen;
    pc->name = &peer->address->name;
    pc->cached = 0;
    pc->connection = NULL;
    ctx->balanced = ngx_http_weir_age(ctx->r);
    ctx->balanced_at = ngx_current_msec;
    peer->hash = hash_of(ctx, peer->address);
    ngx_str_null(&peer->name);
    ngx_connection_t *c =
        peer->fresh ? NULL : find_idle(ctx, peer->address, peer->hash, &peer->name);
    if (c == NULL)
        return NGX_OK;
    c->idle = 0;
    c->sent = 0;
    c->data = NULL;
    c->log = c->read->log = c->write->log = c->pool->log = pc->log;
    pc->connection = c;
    pc->cached = 1;
    ctx->kept = ctx->at_once;
    return ctx->kept ? NGX_AGAIN : NGX_DONE;
}

static void free_peer(ngx_peer_connection_t *pc, void *data, ngx_uint_t state)
{
    peer_t *peer = data;
    if (may_be_kept(peer->ctx->r->upstream, pc->connection, state) && keep(peer, pc->connection))
        pc->connection = NULL;
    /* nginx does not count an attempt on a kept connection that turned out dead. */
    if (pc->cached && (state & NGX_PEER_FAILED))
        peer->fresh = 1;
    if (pc->tries > 0)
        pc->tries--;
}

static ngx_int_t set_session(ngx_peer_connection_t *pc, void *data)
{
    (void)pc, (void)data;
    return NGX_OK;
}

static void save_session(ngx_peer_connection_t *pc, void *data)
{
    (void)pc, (void)data;
}

/* -- a request ---------------------------------------------------------------------------- */

static bool needs_own_conf(const ngx_http_weir_ctx_t *ctx, const ngx_http_upstream_conf_t *conf)
{
    const ngx_http_weir_service_t *service = &ctx->routed->service;
    return ctx->tls != NULL || service->connect_timeout != conf->connect_timeout ||
           service->write_timeout != conf->send_timeout ||
           service->read_timeout != conf->read_timeout;
}

static ngx_int_t give_own_conf(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_upstream_t *u = ctx->r->upstream;
    ngx_http_upstream_conf_t *conf = ngx_palloc(ctx->r->pool, sizeof(*conf));
    if (conf == NULL)
        return NGX_ERROR;
    *conf = *u->conf;
    conf->connect_timeout = ctx->routed->service.connect_timeout;
    conf->send_timeout = ctx->routed->service.write_timeout;
    conf->read_timeout = ctx->routed->service.read_timeout;
    if (ctx->tls != NULL) {
        conf->ssl = &ctx->tls->ssl;
        conf->ssl_server_name = 1;
        conf->ssl_verify = (ngx_flag_t)ctx->tls->verify;
        conf->ssl_session_reuse = 0;
        conf->ssl_name = NULL;
        conf->ssl_certificate = NULL;
        u->ssl = 1;
        u->ssl_name = ctx->host; /* nginx cuts a port off, and sends no address */
    }
    u->conf = conf;
    return NGX_OK;
}

static ngx_int_t init_peer(ngx_http_request_t *r, ngx_http_upstream_srv_conf_t *upstream)
{
    (void)upstream;
    ngx_http_weir_ctx_t *ctx = ngx_http_weir_ctx(r);
    ngx_http_upstream_t *u = r->upstream;
    if (ctx == NULL || ctx->address_count == 0)
        return NGX_ERROR;
    if (ctx->swapped)
        ngx_http_weir_swap_out(ctx); /* the request has just been made */
    if (ctx->routed->service.protocol == WEIR_PROTOCOL_HTTPS &&
        ngx_http_weir_tls_profile(ctx) != NGX_OK)
        return NGX_ERROR;
    peer_t *peer = ngx_pcalloc(r->pool, sizeof(*peer));
    if (peer == NULL || (needs_own_conf(ctx, u->conf) && give_own_conf(ctx) != NGX_OK))
        return NGX_ERROR;
    peer->ctx = ctx;
    if (ctx->upgrade)
        u->buffering = 0;
    u->peer.data = peer;
    u->peer.get = get_peer;
    u->peer.free = free_peer;
    u->peer.tries = ctx->routed->service.retries + 1;
    u->peer.set_session = set_session;
    u->peer.save_session = save_session;
    ctx->proxied = 1;
    return NGX_OK;
}

static ngx_int_t init_upstream(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *upstream)
{
    (void)cf;
    upstream->peer.init = init_peer;
    return NGX_OK;
}

char *ngx_http_weir_balancer(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    (void)cmd, (void)conf;
    ngx_http_upstream_srv_conf_t *upstream =
        ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);
    upstream->peer.init_upstream = init_upstream;
    upstream->flags = NGX_HTTP_UPSTREAM_CREATE;
    return NGX_CONF_OK;
}
