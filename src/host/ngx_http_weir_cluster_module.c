/* ngx_http_weir_cluster_module.c -- the cluster listener of a control plane.
 *
 * Owns the connections of data planes from the WebSocket upgrade on: bytes go to a session (of
 * kong.sync.v2 here, of the classic push in ngx_http_weir_cluster_classic.c) and come back through
 * an outbox. Everything runs in the event loop of the one worker; what reads the
 * store or compresses runs in the thread pool and hands its result back.
 *
 * A commit wakes the loop through an eventfd, so that a lone change is pushed at
 * once; no timer is in its way. */
#include "node/ngx_http_weir.h"

#include "base/clock.h"
#include "cluster/hello.h"
#include "cluster/session.h"
#include "host/ngx_http_weir_cluster.h"
#include "host/ngx_http_weir_cluster_count.h"
#include "host/ngx_http_weir_cluster_upgrade.h"

#include <ngx_thread_pool.h>

#include <sys/eventfd.h>

enum {
    TICK_MS = 1000,
    SAVE_TICKS = 5,          /* the registry is written so often, if it changed */
    SAVE_NODES_MAX = 256,    /* at once */
    INCREMENT_TASKS_MAX = 4, /* threads that encode at a time: the Admin API needs the others */
    FULL_TASKS_MAX = 1,      /* one makes a full dump, the rest would only wait for it */
    READ_BYTES = 16384,
    READS_MAX = 16,       /* in one turn of the loop, for one data plane */
    STALL_MS_MAX = 30000, /* nothing could be written for so long: disconnect */
    CLOSE_MS_MAX = 5000,  /* for the last bytes */
    OUTBOX_SLACK_BYTES = 1024 * 1024,
};

typedef struct {
    ngx_flag_t enabled; /* a location has weir_cluster */
} ngx_http_weir_cluster_main_conf_t;

typedef struct {
    ngx_flag_t enabled; /* ... of this server: its refusals are logged */
} ngx_http_weir_cluster_srv_conf_t;

/* One question to the encoder, on its way through the thread pool. */
typedef struct {
    ngx_queue_t queue;
    ngx_http_weir_peer_t *peer;
    weir_want_t want;
    ngx_flag_t full;
    weir_answer_t *answer;
    weir_error_t error;
} ngx_http_weir_work_t;

typedef struct {
    ngx_queue_t waiting, working;
    ngx_uint_t waited, running, running_max; /* how many are in which */
} ngx_http_weir_lane_t;

typedef struct {
    ngx_http_weir_main_conf_t *conf;
    ngx_thread_pool_t *pool;
    weir_encoder_t *encoder;
    weir_registry_t *registry;
    ngx_queue_t peers;
    ngx_http_weir_lane_t increments, fulls;
    ngx_connection_t *wake; /* the eventfd */
    int wake_fd;            /* the same, for the threads that commit */
    ngx_event_t tick;
    ngx_connection_t tick_connection; /* what nginx's debug log looks at */
    ngx_uint_t ticks;
    ngx_flag_t saving;
    weir_sync_counters_t counters;
    uint64_t bytes_in, bytes_out; /* of data planes, above TLS */
    weir_error_t save_error;
    size_t payload_max;
} ngx_http_weir_cluster_t;

static void *ngx_http_weir_cluster_create_main_conf(ngx_conf_t *cf);
static void *ngx_http_weir_cluster_create_srv_conf(ngx_conf_t *cf);
static char *ngx_http_weir_cluster(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_http_weir_cluster_classic(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_http_weir_cluster_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_weir_cluster_init_process(ngx_cycle_t *cycle);
static void ngx_http_weir_cluster_exit_process(ngx_cycle_t *cycle);
static void ngx_http_weir_cluster_pump(void);

static ngx_http_weir_cluster_t *cluster; /* of this worker; NULL without weir_cluster */

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

/* -- the life of a connection -------------------------------------------------------------- */

void ngx_http_weir_peer_unref(ngx_http_weir_peer_t *peer)
{
    if (peer->connection == NULL && peer->works == 0) {
        ngx_free(peer);
    }
}

/* The request's cleanup: the connection goes, whoever ends it. */
static void ngx_http_weir_peer_cleanup(void *data)
{
    ngx_http_weir_peer_t *peer = data;
    ngx_queue_remove(&peer->queue);
    if (peer->session != NULL) {
        peer->protocol->free(peer->session, now_ms());
    }
    peer->session = NULL;
    weir_outbox_release(&peer->out);
    peer->connection = NULL;
    peer->request = NULL;
    ngx_http_weir_peer_unref(peer);
}

static void ngx_http_weir_peer_end(ngx_http_weir_peer_t *peer)
{
    ngx_connection_t *c = peer->connection;
    u_char scrap[READ_BYTES];
    /* What lies unread would make the kernel send a reset, which can overtake the
     * close frame. */
    for (ngx_uint_t i = 0; i < READS_MAX && c->recv(c, scrap, sizeof(scrap)) > 0; i++) {
        continue;
    }
    ngx_http_finalize_request(peer->request, NGX_HTTP_CLOSE);
    ngx_http_run_posted_requests(c);
}

/* Writes what can be written. The peer may be gone afterwards. */
static void ngx_http_weir_peer_flush(ngx_http_weir_peer_t *peer)
{
    ngx_connection_t *c = peer->connection;
    for (;;) {
        weir_str_t bytes = weir_outbox_front(&peer->out);
        if (bytes.len == 0) {
            peer->written_ms = now_ms();
            break;
        }
        ssize_t sent = c->send(c, (u_char *)bytes.data, bytes.len);
        if (sent == NGX_ERROR) {
            ngx_http_weir_peer_end(peer);
            return;
        }
        if (sent <= 0) {
            break;
        }
        weir_outbox_advance(&peer->out, (size_t)sent);
        cluster->bytes_out += (uint64_t)sent;
        peer->written_ms = now_ms();
    }
    if ((peer->closing && peer->out.first == NULL) ||
        ngx_handle_write_event(c->write, 0) != NGX_OK) {
        ngx_http_weir_peer_end(peer);
    }
}

/* After each call of the session: its verdict, then what it wants to say. */
void ngx_http_weir_peer_after(ngx_http_weir_peer_t *peer, int rc, const weir_error_t *err)
{
    if (peer->failed && rc == WEIR_OK) {
        rc = WEIR_NO_MEMORY;
        err = NULL;
    }
    if (rc != WEIR_OK && !peer->closing) {
        weir_str_t node = peer->protocol->node(peer->session);
        ngx_log_error(NGX_LOG_NOTICE, peer->connection->log, 0,
                      "weir: data plane disconnected node=%*s peer=%V reason=\"%s\"", node.len,
                      node.data, &peer->connection->addr_text,
                      err != NULL ? err->reason : "out of memory");
        peer->closing = 1;
        peer->written_ms = now_ms();
    }
    ngx_http_weir_peer_flush(peer);
}

static void ngx_http_weir_peer_goodbye(ngx_http_weir_peer_t *peer)
{
    if (!peer->closing) {
        (void)weir_outbox_put(&peer->out, (weir_str_t){ "\x88\0", 2 });
        peer->closing = 1;
        peer->written_ms = now_ms();
    }
    ngx_http_weir_peer_flush(peer);
}

static void ngx_http_weir_peer_read(ngx_event_t *rev)
{
    ngx_connection_t *c = rev->data;
    ngx_http_weir_peer_t *peer;
    u_char bytes[READ_BYTES];
    weir_error_t err = { 0 };
    int rc = WEIR_OK;

    peer = ngx_http_get_module_ctx((ngx_http_request_t *)c->data, ngx_http_weir_cluster_module);
    if (c->close) {
        ngx_http_weir_peer_goodbye(peer);
        return;
    }
    for (ngx_uint_t i = 0; rc == WEIR_OK && !peer->failed; i++) {
        if (i == READS_MAX) {
            ngx_post_event(rev, &ngx_posted_next_events);
            break;
        }
        ssize_t got = c->recv(c, bytes, sizeof(bytes));
        if (got == NGX_AGAIN) {
            break;
        }
        if (got <= 0) {
            if (!peer->closing) {
                weir_str_t node = peer->protocol->node(peer->session);
                ngx_log_error(NGX_LOG_NOTICE, c->log, 0,
                              "weir: data plane gone node=%*s peer=%V reason=\"%s\"", node.len,
                              node.data, &c->addr_text,
                              got == 0 ? "it closed the connection" : "the connection broke");
            }
            ngx_http_weir_peer_end(peer);
            return;
        }
        cluster->bytes_in += (uint64_t)got;
        if (!peer->closing) {
            weir_str_t input = { (const char *)bytes, (size_t)got };
            rc = peer->protocol->input(peer->session, input, now_ms(), &err);
        }
        if (!rev->ready) {
            break; /* it has seen the end of what is there: asking again is a system call */
        }
    }
    if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        ngx_http_weir_peer_end(peer);
        return;
    }
    ngx_http_weir_peer_after(peer, rc, &err);
    ngx_http_weir_cluster_pump();
}

static void ngx_http_weir_peer_write(ngx_event_t *wev)
{
    ngx_connection_t *c = wev->data;
    ngx_http_weir_peer_flush(
        ngx_http_get_module_ctx((ngx_http_request_t *)c->data, ngx_http_weir_cluster_module));
}

/* -- what the session asks of its host ------------------------------------------------------- */

static int peer_send(void *context, weir_str_t bytes)
{
    ngx_http_weir_peer_t *peer = context;
    return weir_outbox_put(&peer->out, bytes);
}

static int peer_send_answer(void *context, weir_answer_t *answer)
{
    ngx_http_weir_peer_t *peer = context;
    return weir_outbox_put_answer(&peer->out, answer);
}

static int64_t peer_clock_us(void *context)
{
    (void)context;
    return weir_clock_us();
}

static bool peer_holds(void *context, uint64_t version)
{
    (void)context;
    return weir_encoder_holds(cluster->encoder, version);
}

static void peer_event(void *context, const char *text)
{
    ngx_http_weir_peer_t *peer = context;
    ngx_log_error(NGX_LOG_NOTICE, peer->connection->log, 0, "weir: data plane %s peer=%V", text,
                  &peer->connection->addr_text);
}

static void peer_warning(void *context, const char *text)
{
    ngx_http_weir_peer_t *peer = context;
    ngx_log_error(NGX_LOG_WARN, peer->connection->log, 0, "weir: data plane %s peer=%V", text,
                  &peer->connection->addr_text);
}

static bool binds_identity(void)
{
    return weir_setting_boolean(cluster->conf->settings, "cluster_bind_identity");
}

static bool peer_named(void *context, weir_str_t node_id)
{
    ngx_http_weir_peer_t *peer = context;
    return ngx_http_weir_cluster_named(peer->connection, node_id);
}

/* Only queues it: the session is at work. ngx_http_weir_cluster_pump() follows. */
static void peer_want(void *context, const weir_want_t *want)
{
    ngx_http_weir_peer_t *peer = context;
    ngx_thread_task_t *task =
        ngx_calloc(sizeof(ngx_thread_task_t) + sizeof(ngx_http_weir_work_t), ngx_cycle->log);
    if (task == NULL) {
        peer->failed = 1;
        return;
    }
    ngx_http_weir_work_t *work = (ngx_http_weir_work_t *)(task + 1);
    task->ctx = work;
    work->peer = peer;
    work->want = *want;
    work->full = weir_encoder_takes_long(cluster->encoder, want);
    peer->works++;
    ngx_http_weir_lane_t *lane = work->full ? &cluster->fulls : &cluster->increments;
    ngx_queue_insert_tail(&lane->waiting, &work->queue);
    lane->waited++;
}

/* Hands the result to the session, if it is still there. Frees the work. */
static void ngx_http_weir_work_done(ngx_http_weir_work_t *work)
{
    ngx_http_weir_peer_t *peer = work->peer;
    weir_error_t err = { 0 };
    peer->works--;
    if (peer->connection != NULL && !peer->closing) {
        int rc = weir_session_answer(peer->session, &work->want, work->answer, &work->error,
                                     now_ms(), &err);
        ngx_http_weir_peer_after(peer, rc, &err);
    } else {
        ngx_http_weir_peer_unref(peer);
    }
    weir_answer_release(work->answer);
    weir_want_release(&work->want);
    ngx_free((ngx_thread_task_t *)work - 1);
}

/* In a thread. */
static void encode(void *data, ngx_log_t *log)
{
    ngx_http_weir_work_t *work = data;
    (void)log;
    (void)weir_encoder_answer(cluster->encoder, &work->want, &work->answer, &work->error);
    if (work->answer != NULL && work->want.kind <= WEIR_WANT_DELTAS &&
        !weir_answer_is_full(work->answer) && weir_answer_snapshot(work->answer) == NULL) {
        weir_registry_encoded(cluster->registry, work->want.version,
                              weir_answer_version(work->answer), weir_clock_us());
    }
}

static ngx_http_weir_lane_t *lane_of(const ngx_http_weir_work_t *work)
{
    return work->full ? &cluster->fulls : &cluster->increments;
}

static void encoded(ngx_event_t *event)
{
    ngx_http_weir_work_t *work = event->data;
    ngx_queue_remove(&work->queue);
    lane_of(work)->running--;
    ngx_http_weir_work_done(work);
    ngx_http_weir_cluster_pump();
}

static void start(ngx_http_weir_work_t *work)
{
    ngx_thread_task_t *task = (ngx_thread_task_t *)work - 1;
    task->handler = encode;
    task->event.handler = encoded;
    task->event.data = work;
    if (ngx_thread_task_post(cluster->pool, task) == NGX_OK) {
        ngx_queue_insert_tail(&lane_of(work)->working, &work->queue);
        lane_of(work)->running++;
        return;
    }
    weir_error_set(&work->error, WEIR_AGAIN, NULL, "the control plane is too busy, ask again");
    ngx_http_weir_work_done(work);
}

/* The same is in the making: what comes of it will do. */
static ngx_flag_t in_the_making(const ngx_http_weir_lane_t *lane, const weir_want_t *want)
{
    ngx_queue_t *q;

    for (q = ngx_queue_head(&lane->working); q != ngx_queue_sentinel(&lane->working);
         q = ngx_queue_next(q)) {
        const ngx_http_weir_work_t *work = ngx_queue_data(q, ngx_http_weir_work_t, queue);
        if (weir_want_same(&work->want, want)) {
            return 1;
        }
    }
    return 0;
}

static void run_lane(ngx_http_weir_lane_t *lane)
{
    while (!ngx_queue_empty(&lane->waiting)) {
        ngx_queue_t *first = ngx_queue_head(&lane->waiting);
        ngx_http_weir_work_t *work = ngx_queue_data(first, ngx_http_weir_work_t, queue);
        const weir_want_t *want = &work->want;
        /* The analyzer does not follow ngx_queue_remove: work that is done has left the lane. */
        if (work->peer->connection != NULL) { /* NOLINT(clang-analyzer-unix.Malloc) */
            work->answer = weir_encoder_ready(cluster->encoder, want);
        }
        if (work->answer == NULL && work->peer->connection != NULL &&
            (lane->running >= lane->running_max || in_the_making(lane, want))) {
            return;
        }
        ngx_queue_remove(first);
        lane->waited--;
        if (work->answer != NULL || work->peer->connection == NULL) {
            ngx_http_weir_work_done(work);
        } else {
            start(work);
        }
    }
}

/* Answers what is there already; gives the rest to the threads, in order. */
static void ngx_http_weir_cluster_pump(void)
{
    run_lane(&cluster->increments);
    run_lane(&cluster->fulls);
    ngx_http_weir_classic_pump();
}

/* -- the upgrade ------------------------------------------------------------------------------- */

static void session_free(void *session, int64_t now)
{
    weir_session_free(session, now);
}

static int session_input(void *session, weir_str_t bytes, int64_t now, weir_error_t *err)
{
    return weir_session_input(session, bytes, now, err);
}

static int session_tick(void *session, int64_t now, weir_error_t *err)
{
    return weir_session_tick(session, now, err);
}

static int session_notify(void *session, uint64_t version, int64_t now, weir_error_t *err)
{
    return weir_session_notify(session, version, now, err);
}

static weir_str_t session_node(const void *session)
{
    return weir_session_node(session);
}

/* kong.sync.v2 */
static const ngx_http_weir_protocol_t sync_protocol = {
    session_free, session_input, session_tick, session_notify, session_node,
};

static int open_session(ngx_http_weir_peer_t *peer, int64_t expiry_s, weir_error_t *err)
{
    const weir_settings_t *settings = cluster->conf->settings;
    weir_session_t *session = NULL;
    weir_session_options_t options = {
        .payload_max = cluster->payload_max,
        .compat_version = weir_setting_string(settings, "cluster_compat_version"),
        .sync = weir_setting_boolean(settings, "cluster_rpc_sync"),
        .sync_v1 = strcmp(weir_setting_string(settings, "cluster_sync_protocol"),
                          WEIR_CAPABILITY_SYNC_V1) == 0,
        .zstd = strcmp(weir_setting_string(settings, "cluster_sync_compression"), "zstd") == 0,
        .digest_key = weir_store_digest_key(cluster->conf->store),
        .counters = &cluster->counters,
        .holds = peer_holds,
        .clock_us = peer_clock_us,
        .registry = cluster->registry,
        .ip = ngx_http_weir_str(peer->connection->addr_text),
        .certificate_expiry_s = expiry_s,
        .context = peer,
        .send = peer_send,
        .send_answer = peer_send_answer,
        .want = peer_want,
        .named = binds_identity() ? peer_named : NULL,
        .event = peer_event,
        .warning = peer_warning,
    };
    int rc = weir_session_new(&options, now_ms(), &session, err);
    if (rc != WEIR_OK) {
        return rc;
    }
    peer->protocol = &sync_protocol;
    peer->session = session;
    return weir_session_notify(session, weir_store_version(cluster->conf->store), now_ms(), err);
}

/* `query`: of a classic data plane; NULL: of another one. */
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
    weir_outbox_init(&peer->out, 2 * cluster->payload_max + OUTBOX_SLACK_BYTES);
    weir_error_t err = { 0 };
    ngx_http_cleanup_t *cleanup = ngx_http_cleanup_add(r, 0);
    if (cleanup == NULL ||
        (query != NULL ? ngx_http_weir_classic_session(peer, query, expiry_s, &err)
                       : open_session(peer, expiry_s, &err)) != WEIR_OK) {
        ngx_free(peer);
        return NULL;
    }
    cleanup->handler = ngx_http_weir_peer_cleanup;
    cleanup->data = peer;
    ngx_queue_insert_tail(&cluster->peers, &peer->queue);
    return peer;
}

/* Why nobody who cannot prove who it is, or asks wrongly, comes in; NULL: it may. */
static const char *ngx_http_weir_cluster_refusal(ngx_http_request_t *r, int64_t *ret_expiry_s,
                                                 ngx_http_weir_upgrade_t *ret)
{
    const char *reason = ngx_http_weir_cluster_distrust(
        r->connection, weir_setting_string(cluster->conf->settings, "cluster_mtls"), ret_expiry_s);
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

    if (cluster == NULL) {
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

    if (cluster == NULL) {
        return NGX_HTTP_CLOSE;
    }
    const char *reason = ngx_http_weir_cluster_distrust(
        r->connection, weir_setting_string(cluster->conf->settings, "cluster_mtls"), &expiry_s);
    if (reason != NULL) {
        return ngx_http_weir_cluster_refuse(r, reason);
    }
    weir_classic_query_read(ngx_http_weir_str(r->args), &query);
    if (query.node_id.data == NULL || query.version.data == NULL) {
        return NGX_HTTP_BAD_REQUEST;
    }
    reason = ngx_http_weir_cluster_no_upgrade(r, &upgrade);
    if (reason == NULL && binds_identity() &&
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
    uint64_t version = weir_store_version(cluster->conf->store);
    for (q = ngx_queue_head(&cluster->peers); q != ngx_queue_sentinel(&cluster->peers); q = next) {
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
    cluster->saving = 0;
    if (cluster->save_error.code != WEIR_OK) {
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "weir: the state of data planes cannot be stored reason=\"%s\"",
                      cluster->save_error.reason);
    }
    ngx_free(task);
}

static void save_registry(void)
{
    ngx_thread_task_t *task = ngx_calloc(sizeof(*task), ngx_cycle->log);
    if (task == NULL) {
        return;
    }
    task->ctx = cluster;
    task->handler = save_in_thread;
    task->event.handler = saved;
    task->event.data = task;
    if (ngx_thread_task_post(cluster->pool, task) == NGX_OK) {
        cluster->saving = 1;
    } else {
        ngx_free(task);
    }
}

static void tick_peer(ngx_http_weir_peer_t *peer, int64_t now)
{
    weir_error_t err = { 0 };
    int64_t stalled = now - peer->written_ms;
    if (peer->out.first != NULL && stalled > (peer->closing ? CLOSE_MS_MAX : STALL_MS_MAX)) {
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

    for (q = ngx_queue_head(&cluster->peers); q != ngx_queue_sentinel(&cluster->peers); q = next) {
        next = ngx_queue_next(q);
        ngx_http_weir_peer_t *peer = ngx_queue_data(q, ngx_http_weir_peer_t, queue);
        if (ngx_exiting) {
            ngx_http_weir_peer_goodbye(peer);
        } else {
            tick_peer(peer, now);
        }
    }
    ngx_http_weir_cluster_pump();
    if (++cluster->ticks % SAVE_TICKS == 0 && !cluster->saving) {
        save_registry();
    }
    ngx_add_timer(event, TICK_MS);
}

static ngx_int_t open_wake(ngx_cycle_t *cycle)
{
    cluster->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (cluster->wake_fd == -1) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, ngx_errno, "weir: eventfd() failed");
        return NGX_ERROR;
    }
    cluster->wake = ngx_get_connection(cluster->wake_fd, cycle->log);
    if (cluster->wake == NULL) {
        close(cluster->wake_fd);
        return NGX_ERROR;
    }
    cluster->wake->read->handler = woken;
    cluster->wake->read->log = cycle->log;
    return ngx_handle_read_event(cluster->wake->read, 0);
}

static ngx_int_t open_rooms(ngx_cycle_t *cycle)
{
    const weir_settings_t *settings = cluster->conf->settings;
    weir_error_t err = { 0 };
    cluster->payload_max = (size_t)weir_setting_integer(settings, "cluster_max_payload");
    weir_encoder_options_t options = {
        .store = cluster->conf->store,
        .payload_max = cluster->payload_max,
        .full_sync_threshold =
            (uint64_t)weir_setting_integer(settings, "cluster_full_sync_threshold"),
        .batch_bytes = (size_t)weir_setting_integer(settings, "cluster_sync_batch_size"),
        .kept_bytes = (size_t)weir_setting_integer(settings, "cluster_sync_cache_size"),
    };
    int64_t purge_s = weir_setting_integer(settings, "cluster_data_plane_purge_delay");
    int rc = weir_encoder_new(&options, &cluster->encoder, &err);
    if (rc == WEIR_OK) {
        rc = weir_registry_new(purge_s, &cluster->registry, &err);
    }
    if (rc != WEIR_OK) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "weir: the cluster listener fails: %s",
                      err.reason);
        return NGX_ERROR;
    }
    size_t traced = (size_t)weir_setting_integer(settings, "cluster_trace_versions");
    if (weir_registry_trace(cluster->registry, traced, weir_store_version(cluster->conf->store),
                            &err) != WEIR_OK) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "weir: changes cannot be followed: %s",
                      err.reason);
        return NGX_ERROR;
    }
    if (weir_registry_load(cluster->registry, cluster->conf->store, now_ms(), &err) != WEIR_OK) {
        ngx_log_error(NGX_LOG_WARN, cycle->log, 0,
                      "weir: the state of data planes cannot be read reason=\"%s\"", err.reason);
    }
    return NGX_OK;
}

/* -- numbers -------------------------------------------------------------------------------------
 */

static ngx_http_weir_lane_count_t count_lane(const ngx_http_weir_lane_t *lane)
{
    return (ngx_http_weir_lane_count_t){ lane->waited, lane->running };
}

ngx_flag_t ngx_http_weir_cluster_count(ngx_http_weir_cluster_counts_t *ret)
{
    ngx_queue_t *q;

    if (cluster == NULL) {
        return 0;
    }
    *ret = (ngx_http_weir_cluster_counts_t){
        .sync = cluster->counters,
        .increments = count_lane(&cluster->increments),
        .fulls = count_lane(&cluster->fulls),
        .bytes_in = cluster->bytes_in,
        .bytes_out = cluster->bytes_out,
    };
    weir_encoder_count(cluster->encoder, &ret->encoder);
    for (q = ngx_queue_head(&cluster->peers); q != ngx_queue_sentinel(&cluster->peers);
         q = ngx_queue_next(q)) {
        const ngx_http_weir_peer_t *peer = ngx_queue_data(q, ngx_http_weir_peer_t, queue);
        if (peer->protocol == &sync_protocol) {
            ret->sessions[weir_session_protocol(peer->session)]++;
        } else {
            ret->classic_sessions++;
        }
        ret->outbox_bytes += peer->out.bytes;
    }
    return 1;
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
    cluster = ngx_pcalloc(cycle->pool, sizeof(*cluster));
    if (cluster == NULL) {
        return NGX_ERROR;
    }
    cluster->conf = conf;
    ngx_queue_init(&cluster->peers);
    ngx_queue_init(&cluster->increments.waiting);
    ngx_queue_init(&cluster->increments.working);
    ngx_queue_init(&cluster->fulls.waiting);
    ngx_queue_init(&cluster->fulls.working);
    cluster->increments.running_max = INCREMENT_TASKS_MAX;
    cluster->fulls.running_max = FULL_TASKS_MAX;
    cluster->pool = ngx_thread_pool_get(cycle, &pool_name);
    if (cluster->pool == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "weir: there is no thread_pool \"weir\"");
        return NGX_ERROR;
    }
    if (open_rooms(cycle) != NGX_OK || open_wake(cycle) != NGX_OK) {
        return NGX_ERROR;
    }
    conf->registry = cluster->registry;
    if (ngx_http_weir_classic_open(cycle, conf, cluster->pool, &cluster->peers) != NGX_OK) {
        return NGX_ERROR;
    }
    weir_store_watch(conf->store, committed, cluster);

    cluster->tick_connection.fd = (ngx_socket_t)-1;
    cluster->tick.data = &cluster->tick_connection;
    cluster->tick.handler = tick;
    cluster->tick.log = cycle->log;
    cluster->tick.cancelable = 1;
    ngx_add_timer(&cluster->tick, TICK_MS);
    return NGX_OK;
}

static void ngx_http_weir_cluster_exit_process(ngx_cycle_t *cycle)
{
    weir_error_t err = { 0 };

    (void)cycle;
    if (cluster == NULL) {
        return;
    }
    weir_store_watch(cluster->conf->store, NULL, NULL);
    (void)weir_registry_save(cluster->registry, cluster->conf->store, WEIR_REGISTRY_NODES_MAX,
                             now_ms(), &err);
    ngx_close_connection(cluster->wake);
    ngx_http_weir_classic_close();
    /* Encoder and registry stay: connections that are cut off now still refer to
     * them, and the process ends. */
    cluster->conf->registry = NULL;
    cluster->tick.timer_set ? ngx_del_timer(&cluster->tick) : (void)0;
}
