/* ngx_http_weir_cluster_module.c -- the cluster listener of a control plane.
 *
 * Directives, who comes in, and the worker's own events; each connection is then a peer
 * (ngx_http_weir_cluster_peer.c) with a session of JSON-RPC (.._session.c) or of the
 * classic push (.._classic.c). Everything runs in the event loop of the one worker;
 * what reads the store or compresses runs in the thread pool and hands its result back.
 *
 * A commit wakes the loop through an eventfd, so that a lone change is pushed at
 * once; no timer is in its way. */
#include "node/ngx_http_weir.h"

#include "base/clock.h"
#include "host/ngx_http_weir_cluster.h"
#include "host/ngx_http_weir_cluster_upgrade.h"

#include <sys/eventfd.h>

enum {
    TICK_MS = 1000,
    SAVE_TICKS = 5,       /* the registry is written so often, if it changed */
    SAVE_NODES_MAX = 256, /* at once */
    OUTBOX_SLACK_BYTES = 1024 * 1024,
};

typedef struct {
    ngx_flag_t enabled; /* a location has weir_cluster */
} ngx_http_weir_cluster_main_conf_t;

typedef struct {
    ngx_flag_t enabled; /* ... of this server: its refusals are logged */
} ngx_http_weir_cluster_srv_conf_t;

static void *ngx_http_weir_cluster_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_weir_cluster_create_srv_conf(ngx_conf_t *cf);
static char *ngx_http_weir_cluster(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_http_weir_cluster_classic(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_http_weir_cluster_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_weir_cluster_init_process(ngx_cycle_t *cycle);
static void ngx_http_weir_cluster_exit_process(ngx_cycle_t *cycle);

ngx_http_weir_cluster_t *weir_cluster;

static ngx_command_t ngx_http_weir_cluster_commands[] = {
    /* weir_cluster; -- this location is where data planes connect */
    { ngx_string("weir_cluster"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, ngx_http_weir_cluster,
      NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL },
    /* weir_cluster_classic; -- ... those of the classic push */
    { ngx_string("weir_cluster_classic"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS,
      ngx_http_weir_cluster_classic, NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL },
    ngx_null_command,
};

static ngx_http_module_t ngx_http_weir_cluster_module_ctx = {
    NULL,
    ngx_http_weir_cluster_postconfiguration,
    ngx_http_weir_cluster_create_main_conf,
    NULL,
    ngx_http_weir_cluster_create_srv_conf,
    NULL,
    NULL,
    NULL,
};

ngx_module_t ngx_http_weir_cluster_module = {
    NGX_MODULE_V1,
    &ngx_http_weir_cluster_module_ctx,
    ngx_http_weir_cluster_commands,
    NGX_HTTP_MODULE,
    NULL,
    NULL,
    ngx_http_weir_cluster_init_process,
    NULL,
    NULL,
    ngx_http_weir_cluster_exit_process,
    NULL,
    NGX_MODULE_V1_PADDING,
};

static int64_t now_ms(void)
{
    return ngx_http_weir_now_ms();
}

int64_t ngx_http_weir_now_ms(void)
{
    ngx_time_t *now = ngx_timeofday();
    return (int64_t)now->sec * 1000 + (int64_t)now->msec;
}

/* -- configuration ------------------------------------------------------------------- */

static void *ngx_http_weir_cluster_create_main_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_weir_cluster_main_conf_t));
}

static void *ngx_http_weir_cluster_create_srv_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_weir_cluster_srv_conf_t));
}

static ngx_int_t ngx_http_weir_cluster_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_weir_cluster_classic_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_weir_cluster_log(ngx_http_request_t *r);

static char *ngx_http_weir_cluster_set(ngx_conf_t *cf, ngx_http_weir_cluster_main_conf_t *main_conf,
                                       ngx_http_handler_pt handler)
{
    ngx_http_weir_cluster_srv_conf_t *server;
    ngx_http_core_loc_conf_t *location;

    location = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    location->handler = handler;
    server = ngx_http_conf_get_module_srv_conf(cf, ngx_http_weir_cluster_module);
    server->enabled = 1;
    main_conf->enabled = 1;
    return NGX_CONF_OK;
}

static char *ngx_http_weir_cluster(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    (void)cmd;
    return ngx_http_weir_cluster_set(cf, conf, ngx_http_weir_cluster_handler);
}

static char *ngx_http_weir_cluster_classic(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    (void)cmd;
    return ngx_http_weir_cluster_set(cf, conf, ngx_http_weir_cluster_classic_handler);
}

static ngx_int_t ngx_http_weir_cluster_postconfiguration(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t *core;
    ngx_http_handler_pt *handler;

    core = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    handler = ngx_array_push(&core->phases[NGX_HTTP_LOG_PHASE].handlers);
    if (handler == NULL) {
        return NGX_ERROR;
    }
    *handler = ngx_http_weir_cluster_log;
    return NGX_OK;
}

/* -- the upgrade ------------------------------------------------------------------------------- */

static ngx_http_weir_peer_t *ngx_http_weir_peer_new(ngx_http_request_t *r, int64_t expiry_s,
                                                    const weir_classic_query_t *query)
{
    ngx_http_weir_peer_t *peer = ngx_calloc(sizeof(*peer), r->connection->log);
    if (peer == NULL) {
        return NULL;
    }
    peer->connection = r->connection;
    peer->request = r;
    peer->written_ms = now_ms();
    weir_outbox_init(&peer->out, 2 * weir_cluster->payload_max + OUTBOX_SLACK_BYTES);
    weir_error_t err = { 0 };
    ngx_http_cleanup_t *cleanup = ngx_http_cleanup_add(r, 0);
    if (cleanup == NULL ||
        (query != NULL ? ngx_http_weir_classic_session(peer, query, expiry_s, &err)
                       : ngx_http_weir_cluster_session(peer, expiry_s, &err)) != WEIR_OK) {
        ngx_free(peer);
        return NULL;
    }
    cleanup->handler = ngx_http_weir_peer_cleanup;
    cleanup->data = peer;
    ngx_queue_insert_tail(&weir_cluster->peers, &peer->queue);
    return peer;
}

/* Why nobody who cannot prove who it is, or asks wrongly, comes in; NULL: it may. */
static const char *ngx_http_weir_cluster_refusal(ngx_http_request_t *r, int64_t *ret_expiry_s,
                                                 ngx_http_weir_upgrade_t *ret)
{
    const char *reason = ngx_http_weir_cluster_distrust(
        r->connection, weir_setting_string(weir_cluster->conf->settings, "cluster_mtls"),
        ret_expiry_s);
    return reason != NULL ? reason : ngx_http_weir_cluster_no_upgrade(r, ret);
}

static ngx_int_t ngx_http_weir_cluster_refuse(ngx_http_request_t *r, const char *reason)
{
    ngx_log_error(NGX_LOG_NOTICE, r->connection->log, 0,
                  "weir: data plane refused peer=%V reason=\"%s\"", &r->connection->addr_text,
                  reason);
    return NGX_HTTP_CLOSE;
}

static ngx_int_t ngx_http_weir_cluster_serve(ngx_http_request_t *r, ngx_http_weir_peer_t *peer,
                                             ngx_str_t key, ngx_str_t protocol)
{
    ngx_connection_t *c = r->connection;
    u_char head[512];

    ngx_http_set_ctx(r, peer, ngx_http_weir_cluster_module);
    r->main->count++;
    r->keepalive = 0;
    r->headers_out.status = NGX_HTTP_SWITCHING_PROTOCOLS;
    c->read->handler = ngx_http_weir_peer_read;
    c->write->handler = ngx_http_weir_peer_write;
    c->log->action = (char *)"serving a data plane";
    c->idle = 1; /* a graceful end of the worker reaches it */
    (void)ngx_tcp_nodelay(c);

    size_t len = ngx_http_weir_cluster_accept(key, protocol, head, sizeof(head));
    (void)weir_outbox_put(&peer->out, (weir_str_t){ (const char *)head, len });
    weir_error_t err = { 0 };
    int rc = WEIR_OK;
    if (r->header_in->last > r->header_in->pos) { /* it did not wait for the 101 */
        weir_str_t early = { (const char *)r->header_in->pos,
                             (size_t)(r->header_in->last - r->header_in->pos) };
        r->header_in->pos = r->header_in->last;
        rc = peer->protocol->input(peer->session, early, now_ms(), &err);
    }
    if (rc != WEIR_OK) {
        peer->closing = 1;
    }
    /* Reading and writing begin in the next turn: this one still holds `r`. */
    ngx_post_event(c->write, &ngx_posted_events);
    ngx_post_event(c->read, &ngx_posted_events);
    return NGX_DONE;
}

static ngx_int_t ngx_http_weir_cluster_handler(ngx_http_request_t *r)
{
    static ngx_str_t protocol = ngx_string("kong.meta.v1");
    ngx_http_weir_upgrade_t upgrade;
    int64_t expiry_s = 0;

    if (weir_cluster == NULL) {
        return NGX_HTTP_CLOSE;
    }
    const char *reason = ngx_http_weir_cluster_refusal(r, &expiry_s, &upgrade);
    if (reason == NULL && !upgrade.meta) {
        reason = "its Sec-WebSocket-Protocol lacks kong.meta.v1";
    }
    if (reason != NULL) {
        return ngx_http_weir_cluster_refuse(r, reason);
    }
    ngx_http_weir_peer_t *peer = ngx_http_weir_peer_new(r, expiry_s, NULL);
    return peer != NULL ? ngx_http_weir_cluster_serve(r, peer, upgrade.key, protocol) : NGX_ERROR;
}

/* sync-protocol A.2: whatever subprotocol is offered is agreed to, as the original does. */
static ngx_int_t ngx_http_weir_cluster_classic_handler(ngx_http_request_t *r)
{
    ngx_http_weir_upgrade_t upgrade;
    weir_classic_query_t query;
    int64_t expiry_s = 0;

    if (weir_cluster == NULL) {
        return NGX_HTTP_CLOSE;
    }
    const char *reason = ngx_http_weir_cluster_distrust(
        r->connection, weir_setting_string(weir_cluster->conf->settings, "cluster_mtls"),
        &expiry_s);
    if (reason != NULL) {
        return ngx_http_weir_cluster_refuse(r, reason);
    }
    weir_classic_query_read(ngx_http_weir_str(r->args), &query);
    if (query.node_id.data == NULL || query.version.data == NULL) {
        return NGX_HTTP_BAD_REQUEST;
    }
    reason = ngx_http_weir_cluster_no_upgrade(r, &upgrade);
    if (reason == NULL && ngx_http_weir_cluster_binds_identity() &&
        !ngx_http_weir_cluster_named(r->connection, query.node_id)) {
        reason = "its certificate does not name the node id that it claims "
                 "(cluster_bind_identity)";
    }
    if (reason != NULL) {
        return ngx_http_weir_cluster_refuse(r, reason);
    }
    ngx_http_weir_peer_t *peer = ngx_http_weir_peer_new(r, expiry_s, &query);
    return peer != NULL ? ngx_http_weir_cluster_serve(r, peer, upgrade.key, upgrade.protocol)
                        : NGX_ERROR;
}

/* What nginx itself refused on this listener, and why. */
static ngx_int_t ngx_http_weir_cluster_log(ngx_http_request_t *r)
{
    ngx_http_weir_cluster_srv_conf_t *server;
    ngx_uint_t status = r->err_status ? r->err_status : r->headers_out.status;
    const char *reason = "bad request";

    server = ngx_http_get_module_srv_conf(r, ngx_http_weir_cluster_module);
    if (!server->enabled || status < NGX_HTTP_BAD_REQUEST || status == NGX_HTTP_CLOSE) {
        return NGX_OK;
    }
    long verified = r->connection->ssl != NULL
                        ? SSL_get_verify_result(r->connection->ssl->connection)
                        : X509_V_OK;
    if (status == NGX_HTTP_NOT_FOUND) {
        reason = "no such path";
    } else if (verified != X509_V_OK) {
        reason = X509_verify_cert_error_string(verified);
    }
    ngx_log_error(NGX_LOG_NOTICE, r->connection->log, 0,
                  "weir: data plane refused peer=%V status=%ui%s reason=\"%s\"",
                  &r->connection->addr_text, status,
                  verified != X509_V_OK && status != NGX_HTTP_NOT_FOUND ? " certificate" : "",
                  reason);
    return NGX_OK;
}

/* -- the worker's own events ---------------------------------------------------------------------
 */

/* By whichever thread committed. */
static void committed(void *context, uint64_t version)
{
    ngx_http_weir_cluster_t *of = context;
    uint64_t one = 1;
    weir_registry_committed(of->registry, version, weir_clock_us());
    ssize_t done = write(of->wake_fd, &one, sizeof(one));
    (void)done; /* EAGAIN: it is awake already */
}

static void woken(ngx_event_t *rev)
{
    ngx_connection_t *c = rev->data;
    ngx_queue_t *q;
    ngx_queue_t *next;
    uint64_t count = 0;

    if (c->close) {
        return; /* a graceful end: nothing to do */
    }
    while (read(c->fd, &count, sizeof(count)) == sizeof(count)) {
        continue;
    }
    uint64_t version = weir_store_version(weir_cluster->conf->store);
    for (q = ngx_queue_head(&weir_cluster->peers); q != ngx_queue_sentinel(&weir_cluster->peers);
         q = next) {
        ngx_http_weir_peer_t *peer = ngx_queue_data(q, ngx_http_weir_peer_t, queue);
        next = ngx_queue_next(q); /* this one may go */
        weir_error_t err = { 0 };
        if (!peer->closing && peer->protocol->notify != NULL) {
            int rc = peer->protocol->notify(peer->session, version, now_ms(), &err);
            ngx_http_weir_peer_after(peer, rc, &err);
        }
    }
    ngx_http_weir_cluster_pump(); /* what the sessions want now */
    ngx_http_weir_classic_committed(version);
}

static void save_in_thread(void *data, ngx_log_t *log)
{
    ngx_http_weir_cluster_t *of = data;
    (void)log;
    of->save_error = (weir_error_t){ 0 };
    (void)weir_registry_save(of->registry, of->conf->store, SAVE_NODES_MAX, now_ms(),
                             &of->save_error);
}

static void saved(ngx_event_t *event)
{
    ngx_thread_task_t *task = event->data;
    weir_cluster->saving = 0;
    if (weir_cluster->save_error.code != WEIR_OK) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "weir: the state of data planes cannot be stored reason=\"%s\"",
                      weir_cluster->save_error.reason);
    }
    ngx_free(task);
}

static void save_registry(void)
{
    ngx_thread_task_t *task = ngx_calloc(sizeof(*task), ngx_cycle->log);
    if (task == NULL) {
        return;
    }
    task->ctx = weir_cluster;
    task->handler = save_in_thread;
    task->event.handler = saved;
    task->event.data = task;
    if (ngx_thread_task_post(weir_cluster->pool, task) == NGX_OK) {
        weir_cluster->saving = 1;
    } else {
        ngx_free(task);
    }
}

static void tick_peer(ngx_http_weir_peer_t *peer, int64_t now)
{
    weir_error_t err = { 0 };
    int64_t stalled = now - peer->written_ms;
    if (peer->out.first != NULL &&
        stalled > (peer->closing ? NGX_HTTP_WEIR_CLOSE_MS_MAX : NGX_HTTP_WEIR_STALL_MS_MAX)) {
        weir_str_t node = peer->protocol->node(peer->session);
        ngx_log_error(NGX_LOG_WARN, peer->connection->log, 0,
                      "weir: data plane too slow, disconnected node=%*s peer=%V waiting_bytes=%uz",
                      node.len, node.data, &peer->connection->addr_text, peer->out.bytes);
        ngx_http_weir_peer_end(peer);
        return;
    }
    if (!peer->closing) {
        int rc = peer->protocol->tick(peer->session, now, &err);
        ngx_http_weir_peer_after(peer, rc, &err);
    }
}

static void tick(ngx_event_t *event)
{
    ngx_queue_t *q;
    ngx_queue_t *next;
    int64_t now = now_ms();

    for (q = ngx_queue_head(&weir_cluster->peers); q != ngx_queue_sentinel(&weir_cluster->peers);
         q = next) {
        next = ngx_queue_next(q);
        ngx_http_weir_peer_t *peer = ngx_queue_data(q, ngx_http_weir_peer_t, queue);
        if (ngx_exiting) {
            ngx_http_weir_peer_goodbye(peer);
        } else {
            tick_peer(peer, now);
        }
    }
    ngx_http_weir_cluster_pump();
    if (++weir_cluster->ticks % SAVE_TICKS == 0 && !weir_cluster->saving) {
        save_registry();
    }
    ngx_add_timer(event, TICK_MS);
}

static ngx_int_t open_wake(ngx_cycle_t *cycle)
{
    weir_cluster->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (weir_cluster->wake_fd == -1) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno, "weir: eventfd() failed");
        return NGX_ERROR;
    }
    weir_cluster->wake = ngx_get_connection(weir_cluster->wake_fd, cycle->log);
    if (weir_cluster->wake == NULL) {
        close(weir_cluster->wake_fd);
        return NGX_ERROR;
    }
    weir_cluster->wake->read->handler = woken;
    weir_cluster->wake->read->log = cycle->log;
    return ngx_handle_read_event(weir_cluster->wake->read, 0);
}

static ngx_int_t open_rooms(ngx_cycle_t *cycle)
{
    const weir_settings_t *settings = weir_cluster->conf->settings;
    weir_error_t err = { 0 };
    weir_cluster->payload_max = (size_t)weir_setting_integer(settings, "cluster_max_payload");
    weir_encoder_options_t options = {
        .store = weir_cluster->conf->store,
        .payload_max = weir_cluster->payload_max,
        .full_sync_threshold =
            (uint64_t)weir_setting_integer(settings, "cluster_full_sync_threshold"),
        .batch_bytes = (size_t)weir_setting_integer(settings, "cluster_sync_batch_size"),
        .kept_bytes = (size_t)weir_setting_integer(settings, "cluster_sync_cache_size"),
    };
    int64_t purge_s = weir_setting_integer(settings, "cluster_data_plane_purge_delay");
    int rc = weir_encoder_new(&options, &weir_cluster->encoder, &err);
    if (rc == WEIR_OK) {
        rc = weir_registry_new(purge_s, &weir_cluster->registry, &err);
    }
    if (rc != WEIR_OK) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "weir: the cluster listener fails: %s",
                      err.reason);
        return NGX_ERROR;
    }
    size_t traced = (size_t)weir_setting_integer(settings, "cluster_trace_versions");
    if (weir_registry_trace(weir_cluster->registry, traced,
                            weir_store_version(weir_cluster->conf->store), &err) != WEIR_OK) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "weir: changes cannot be followed: %s",
                      err.reason);
        return NGX_ERROR;
    }
    if (weir_registry_load(weir_cluster->registry, weir_cluster->conf->store, now_ms(), &err) !=
        WEIR_OK) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                      "weir: the state of data planes cannot be read reason=\"%s\"", err.reason);
    }
    return NGX_OK;
}

static ngx_int_t ngx_http_weir_cluster_init_process(ngx_cycle_t *cycle)
{
    static ngx_str_t pool_name = ngx_string("weir");
    ngx_http_weir_cluster_main_conf_t *main_conf;
    ngx_http_weir_main_conf_t *conf = ngx_http_weir_main(cycle);

    main_conf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_weir_cluster_module);
    if (conf == NULL || main_conf == NULL || !main_conf->enabled || conf->store == NULL ||
        (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)) {
        return NGX_OK;
    }
    weir_cluster = ngx_pcalloc(cycle->pool, sizeof(*weir_cluster));
    if (weir_cluster == NULL) {
        return NGX_ERROR;
    }
    weir_cluster->conf = conf;
    ngx_queue_init(&weir_cluster->peers);
    ngx_http_weir_lanes_init();
    weir_cluster->pool = ngx_thread_pool_get(cycle, &pool_name);
    if (weir_cluster->pool == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "weir: there is no thread_pool \"weir\"");
        return NGX_ERROR;
    }
    if (open_rooms(cycle) != NGX_OK || open_wake(cycle) != NGX_OK) {
        return NGX_ERROR;
    }
    conf->registry = weir_cluster->registry;
    if (ngx_http_weir_classic_open(cycle, conf, weir_cluster->pool, &weir_cluster->peers) !=
        NGX_OK) {
        return NGX_ERROR;
    }
    weir_store_watch(conf->store, committed, weir_cluster);

    weir_cluster->tick_connection.fd = (ngx_socket_t)-1;
    weir_cluster->tick.data = &weir_cluster->tick_connection;
    weir_cluster->tick.handler = tick;
    weir_cluster->tick.log = cycle->log;
    weir_cluster->tick.cancelable = 1;
    ngx_add_timer(&weir_cluster->tick, TICK_MS);
    return NGX_OK;
}

static void ngx_http_weir_cluster_exit_process(ngx_cycle_t *cycle)
{
    weir_error_t err = { 0 };

    (void)cycle;
    if (weir_cluster == NULL) {
        return;
    }
    weir_store_watch(weir_cluster->conf->store, NULL, NULL);
    (void)weir_registry_save(weir_cluster->registry, weir_cluster->conf->store,
                             WEIR_REGISTRY_NODES_MAX, now_ms(), &err);
    ngx_close_connection(weir_cluster->wake);
    ngx_http_weir_classic_close();
    /* Encoder and registry stay: connections that are cut off now still refer to
     * them, and the process ends. */
    weir_cluster->conf->registry = NULL;
    weir_cluster->tick.timer_set ? ngx_del_timer(&weir_cluster->tick) : (void)0;
}
