/* ngx_http_weir_cluster_classic.c -- the classic push on the cluster listener: who waits
 * for the whole set, when it is pushed, and the thread that makes it.
 *
 * Nothing is exported while there is no classic data plane. */
#include "host/ngx_http_weir_cluster.h"

#include "cluster/classic.h"

enum {
    THREADS_MAX = 1,    /* that export: one makes it, the rest would only wait for it */
    BUSY_BYTES = 65536, /* more waits to be written: the next set waits, too */
};

/* A set that a session waits for. */
typedef struct {
    ngx_queue_t queue;
    ngx_http_weir_peer_t *peer;
    weir_classic_want_t want;
    weir_classic_frame_t *frame;
    weir_error_t error;
    int64_t now;
} ngx_http_weir_wish_t;

typedef struct {
    ngx_http_weir_main_conf_t *conf;
    ngx_thread_pool_t *pool;
    ngx_queue_t *peers; /* of every protocol */
    weir_classic_exporter_t *exporter;
    weir_classic_rounds_t rounds;
    ngx_queue_t waiting;
    ngx_uint_t running, sessions;
    ngx_event_t round;
    ngx_connection_t round_connection; /* what nginx's debug log looks at */
    size_t payload_max;
} ngx_http_weir_classic_t;

static ngx_http_weir_classic_t *classic; /* of this worker; NULL without a cluster listener */

/* -- what the session asks of its host --------------------------------------------------- */

static int send_bytes(void *context, weir_str_t bytes)
{
    ngx_http_weir_peer_t *peer = context;
    return weir_outbox_put(&peer->out, bytes);
}

static void release_frame(void *frame)
{
    weir_classic_frame_release(frame);
}

static int send_frame(void *context, weir_classic_frame_t *frame)
{
    ngx_http_weir_peer_t *peer = context;
    weir_classic_frame_t *kept = weir_classic_frame_keep(frame);
    int rc =
        weir_outbox_put_shared(&peer->out, weir_classic_frame_payload(kept), kept, release_frame);
    if (rc != WEIR_OK) {
        weir_classic_frame_release(kept);
    }
    return rc;
}

static bool is_busy(void *context)
{
    const ngx_http_weir_peer_t *peer = context;
    return peer->out.bytes > BUSY_BYTES;
}

static void say(void *context, const char *text)
{
    ngx_http_weir_peer_t *peer = context;
    ngx_log_error(NGX_LOG_NOTICE, peer->connection->log, 0, "weir: data plane %s peer=%V", text,
                  &peer->connection->addr_text);
}

static void warn(void *context, const char *text)
{
    ngx_http_weir_peer_t *peer = context;
    ngx_log_error(NGX_LOG_WARN, peer->connection->log, 0, "weir: data plane %s peer=%V", text,
                  &peer->connection->addr_text);
}

/* Only queues it: the session is at work. ngx_http_weir_classic_pump() follows. */
static void want(void *context, const weir_classic_want_t *wanted)
{
    ngx_http_weir_peer_t *peer = context;
    ngx_thread_task_t *task =
        ngx_calloc(sizeof(ngx_thread_task_t) + sizeof(ngx_http_weir_wish_t), ngx_cycle->log);
    if (task == NULL) {
        peer->failed = 1;
        return;
    }
    ngx_http_weir_wish_t *wish = (ngx_http_weir_wish_t *)(task + 1);
    task->ctx = wish;
    wish->peer = peer;
    wish->want = *wanted;
    peer->works++;
    ngx_queue_insert_tail(&classic->waiting, &wish->queue);
}

/* -- making it ----------------------------------------------------------------------------- */

/* Hands the frame to the session, if it is still there. Frees the wish. */
static void wish_done(ngx_http_weir_wish_t *wish)
{
    ngx_http_weir_peer_t *peer = wish->peer;
    weir_error_t err = { 0 };
    peer->works--;
    if (peer->connection != NULL && !peer->closing) {
        int rc = weir_classic_session_frame(peer->session, wish->frame, &wish->error,
                                            ngx_http_weir_now_ms(), &err);
        ngx_http_weir_peer_after(peer, rc, &err);
    } else {
        ngx_http_weir_peer_unref(peer);
    }
    weir_classic_frame_release(wish->frame);
    ngx_free((ngx_thread_task_t *)wish - 1);
}

/* In a thread. */
static void export_set(void *data, ngx_log_t *log)
{
    ngx_http_weir_wish_t *wish = data;
    (void)log;
    (void)weir_classic_export(classic->exporter, wish->want.level, wish->want.version, wish->now,
                              &wish->frame, &wish->error);
}

static void exported(ngx_event_t *event)
{
    classic->running--;
    wish_done(event->data);
    ngx_http_weir_classic_pump();
}

static void start(ngx_http_weir_wish_t *wish)
{
    ngx_thread_task_t *task = (ngx_thread_task_t *)wish - 1;
    task->handler = export_set;
    task->event.handler = exported;
    task->event.data = wish;
    wish->now = ngx_http_weir_now_ms();
    if (ngx_thread_task_post(classic->pool, task) == NGX_OK) {
        classic->running++;
        return;
    }
    weir_error_set(&wish->error, WEIR_AGAIN, NULL, "the control plane is too busy");
    wish_done(wish);
}

void ngx_http_weir_classic_pump(void)
{
    while (!ngx_queue_empty(&classic->waiting)) {
        ngx_queue_t *first = ngx_queue_head(&classic->waiting);
        ngx_http_weir_wish_t *wish = ngx_queue_data(first, ngx_http_weir_wish_t, queue);
        ngx_flag_t gone = wish->peer->connection == NULL;
        /* The analyzer does not follow ngx_queue_remove: a wish that is done has left. */
        if (!gone) { /* NOLINT(clang-analyzer-unix.Malloc) */
            wish->frame =
                weir_classic_ready(classic->exporter, wish->want.level, wish->want.version);
        }
        if (!gone && wish->frame == NULL && classic->running >= THREADS_MAX) {
            return;
        }
        ngx_queue_remove(first);
        if (gone || wish->frame != NULL) {
            wish_done(wish);
        } else {
            start(wish);
        }
    }
}

/* -- rounds (D.6) ------------------------------------------------------------------------------ */

static void push_all(uint64_t version);

static void plan_round(void)
{
    uint64_t newest = weir_store_version(classic->conf->store);
    int64_t due = weir_classic_due(&classic->rounds, newest);
    int64_t now = ngx_http_weir_now_ms();
    if (classic->sessions == 0 || due == INT64_MAX || ngx_exiting) {
        return;
    }
    if (due <= now) {
        push_all(newest);
    } else if (!classic->round.timer_set) {
        ngx_add_timer(&classic->round, (ngx_msec_t)(due - now));
    }
}

static void round_due(ngx_event_t *event)
{
    (void)event;
    plan_round();
}

static const ngx_http_weir_protocol_t classic_protocol;

static void push_all(uint64_t version)
{
    ngx_queue_t *next;
    int64_t now = ngx_http_weir_now_ms();

    weir_classic_began(&classic->rounds, version, now);
    for (ngx_queue_t *q = ngx_queue_head(classic->peers); q != ngx_queue_sentinel(classic->peers);
         q = next) {
        ngx_http_weir_peer_t *peer = ngx_queue_data(q, ngx_http_weir_peer_t, queue);
        next = ngx_queue_next(q);
        if (!peer->closing && peer->protocol == &classic_protocol) {
            weir_classic_session_push(peer->session, version, now);
        }
    }
    ngx_http_weir_classic_pump();
}

void ngx_http_weir_classic_committed(uint64_t version)
{
    (void)version;
    plan_round();
}

/* -- sessions ------------------------------------------------------------------------------------
 */

static void session_free(void *session, int64_t now)
{
    classic->sessions--;
    weir_classic_session_free(session, now);
}

static int session_input(void *session, weir_str_t bytes, int64_t now, weir_error_t *err)
{
    return weir_classic_session_input(session, bytes, now, err);
}

static int session_tick(void *session, int64_t now, weir_error_t *err)
{
    return weir_classic_session_tick(session, now, err);
}

static weir_str_t session_node(const void *session)
{
    return weir_classic_session_node(session);
}

static const ngx_http_weir_protocol_t classic_protocol = {
    session_free, session_input, session_tick, NULL, session_node,
};

int ngx_http_weir_classic_session(ngx_http_weir_peer_t *peer, const weir_classic_query_t *query,
                                  int64_t expiry_s, weir_error_t *err)
{
    const weir_settings_t *settings = classic->conf->settings;
    weir_classic_session_t *session = NULL;
    weir_classic_session_options_t options = {
        .query = *query,
        .payload_max = classic->payload_max,
        .compat_version = weir_setting_string(settings, "cluster_compat_version"),
        .registry = classic->conf->registry,
        .ip = ngx_http_weir_str(peer->connection->addr_text),
        .certificate_expiry_s = expiry_s,
        .context = peer,
        .send = send_bytes,
        .send_frame = send_frame,
        .busy = is_busy,
        .want = want,
        .event = say,
        .warning = warn,
    };
    int64_t now = ngx_http_weir_now_ms();
    int rc = weir_classic_session_new(&options, now, &session, err);
    if (rc != WEIR_OK) {
        return rc;
    }
    peer->protocol = &classic_protocol;
    peer->session = session;
    uint64_t newest = weir_store_version(classic->conf->store);
    if (classic->sessions++ == 0) {
        classic->rounds.pushed = newest; /* it gets it now: that is no round */
    }
    return weir_classic_session_push(session, newest, now);
}

/* -- the worker ------------------------------------------------------------------------------- */

ngx_int_t ngx_http_weir_classic_open(ngx_cycle_t *cycle, ngx_http_weir_main_conf_t *conf,
                                     ngx_thread_pool_t *pool, ngx_queue_t *peers)
{
    weir_error_t err = { 0 };
    classic = ngx_pcalloc(cycle->pool, sizeof(*classic));
    if (classic == NULL) {
        return NGX_ERROR;
    }
    classic->conf = conf;
    classic->pool = pool;
    classic->peers = peers;
    ngx_queue_init(&classic->waiting);
    classic->payload_max = (size_t)weir_setting_integer(conf->settings, "cluster_max_payload");
    classic->rounds.pause_ms =
        (int64_t)(weir_setting_number(conf->settings, "db_update_frequency") * 1000);
    weir_classic_exporter_options_t options = { conf->store, classic->payload_max };
    if (weir_classic_exporter_new(&options, &classic->exporter, &err) != WEIR_OK) {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "weir: the classic push fails: %s", err.reason);
        return NGX_ERROR;
    }
    classic->round_connection.fd = (ngx_socket_t)-1;
    classic->round.data = &classic->round_connection;
    classic->round.handler = round_due;
    classic->round.log = cycle->log;
    classic->round.cancelable = 1;
    return NGX_OK;
}

/* The exporter stays: connections that are cut off now still refer to it, and the
 * process ends. */
void ngx_http_weir_classic_close(void)
{
    if (classic != NULL && classic->round.timer_set) {
        ngx_del_timer(&classic->round);
    }
}
