/* ngx_http_weir_cluster_session.c -- sessions of JSON-RPC on the cluster listener: what they
 * ask of their host, and the lanes in which threads encode what they want. */
#include "host/ngx_http_weir_cluster.h"

#include "base/clock.h"
#include "cluster/hello.h"
#include "host/ngx_http_weir_cluster_count.h"
#include "host/ngx_http_weir_cluster_upgrade.h"

enum {
    INCREMENT_TASKS_MAX = 4, /* threads that encode at a time: the Admin API needs the others */
    FULL_TASKS_MAX = 1,      /* one makes a full dump, the rest would only wait for it */
    QUICK_MAX = 16,          /* answers made by the event loop itself before it looks around */
};

/* One question to the encoder, on its way through the thread pool. */
typedef struct {
    ngx_queue_t queue;
    ngx_http_weir_peer_t *peer;
    weir_want_t want;
    ngx_flag_t full;
    weir_answer_t *answer;
    weir_error_t error;
} ngx_http_weir_work_t;

static void init_lane(ngx_http_weir_lane_t *lane, ngx_uint_t running_max)
{
    ngx_queue_init(&lane->waiting);
    ngx_queue_init(&lane->working);
    lane->running_max = running_max;
}

void ngx_http_weir_lanes_init(void)
{
    init_lane(&weir_cluster->increments, INCREMENT_TASKS_MAX);
    init_lane(&weir_cluster->fulls, FULL_TASKS_MAX);
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
    return weir_encoder_holds(weir_cluster->encoder, version);
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

ngx_flag_t ngx_http_weir_cluster_binds_identity(void)
{
    return weir_setting_boolean(weir_cluster->conf->settings, "cluster_bind_identity");
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
        weir_want_t unwanted = *want; /* what it holds is ours now */
        weir_want_release(&unwanted);
        peer->failed = 1;
        return;
    }
    ngx_http_weir_work_t *work = (ngx_http_weir_work_t *)(task + 1);
    task->ctx = work;
    work->peer = peer;
    work->want = *want;
    work->full = weir_encoder_takes_long(weir_cluster->encoder, want);
    peer->works++;
    ngx_http_weir_lane_t *lane = work->full ? &weir_cluster->fulls : &weir_cluster->increments;
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
                                     ngx_http_weir_now_ms(), &err);
        ngx_http_weir_peer_after(peer, rc, &err);
    } else {
        ngx_http_weir_peer_unref(peer);
    }
    weir_answer_release(work->answer);
    weir_want_release(&work->want);
    ngx_free((ngx_thread_task_t *)work - 1);
}

/* In a thread, or, what is quick, in the event loop. */
static void encode(void *data, ngx_log_t *log)
{
    ngx_http_weir_work_t *work = data;
    (void)log;
    (void)weir_encoder_answer(weir_cluster->encoder, &work->want, &work->answer, &work->error);
    if (work->answer != NULL && work->want.kind <= WEIR_WANT_DELTAS &&
        !weir_answer_is_full(work->answer) && weir_answer_snapshot(work->answer) == NULL) {
        weir_registry_encoded(weir_cluster->registry, work->want.version,
                              weir_answer_version(work->answer), weir_clock_us());
    }
}

static ngx_http_weir_lane_t *lane_of(const ngx_http_weir_work_t *work)
{
    return work->full ? &weir_cluster->fulls : &weir_cluster->increments;
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
    if (ngx_thread_task_post(weir_cluster->pool, task) == NGX_OK) {
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

/* If it is there already, or takes no longer than waking a thread. */
static void answer_at_once(ngx_http_weir_work_t *work, ngx_uint_t *made)
{
    work->answer = weir_encoder_ready(weir_cluster->encoder, &work->want);
    if (work->answer == NULL && *made < QUICK_MAX &&
        weir_encoder_is_quick(weir_cluster->encoder, &work->want)) {
        ++*made;
        encode(work, NULL);
    }
}

static void run_lane(ngx_http_weir_lane_t *lane)
{
    ngx_uint_t made = 0;
    while (!ngx_queue_empty(&lane->waiting)) {
        ngx_queue_t *first = ngx_queue_head(&lane->waiting);
        ngx_http_weir_work_t *work = ngx_queue_data(first, ngx_http_weir_work_t, queue);
        const weir_want_t *want = &work->want;
        /* The analyzer does not follow ngx_queue_remove: work that is done has left the lane. */
        if (work->peer->connection != NULL) { /* NOLINT(clang-analyzer-unix.Malloc) */
            answer_at_once(work, &made);
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

void ngx_http_weir_cluster_pump(void)
{
    run_lane(&weir_cluster->increments);
    run_lane(&weir_cluster->fulls);
    ngx_http_weir_classic_pump();
}

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

/* weir.sync.v1 and kong.sync.v2 */
static const ngx_http_weir_protocol_t sync_protocol = {
    session_free, session_input, session_tick, session_notify, session_node,
};

int ngx_http_weir_cluster_session(ngx_http_weir_peer_t *peer, int64_t expiry_s, weir_error_t *err)
{
    const weir_settings_t *settings = weir_cluster->conf->settings;
    weir_session_t *session = NULL;
    weir_session_options_t options = {
        .payload_max = weir_cluster->payload_max,
        .compat_version = weir_setting_string(settings, "cluster_compat_version"),
        .sync = weir_setting_boolean(settings, "cluster_rpc_sync"),
        .sync_v1 = strcmp(weir_setting_string(settings, "cluster_sync_protocol"),
                          WEIR_CAPABILITY_SYNC_V1) == 0,
        .zstd = strcmp(weir_setting_string(settings, "cluster_sync_compression"), "zstd") == 0,
        .digest_key = weir_store_digest_key(weir_cluster->conf->store),
        .counters = &weir_cluster->counters,
        .holds = peer_holds,
        .clock_us = peer_clock_us,
        .registry = weir_cluster->registry,
        .ip = ngx_http_weir_str(peer->connection->addr_text),
        .certificate_expiry_s = expiry_s,
        .context = peer,
        .send = peer_send,
        .send_answer = peer_send_answer,
        .want = peer_want,
        .named = ngx_http_weir_cluster_binds_identity() ? peer_named : NULL,
        .event = peer_event,
        .warning = peer_warning,
    };
    int rc = weir_session_new(&options, ngx_http_weir_now_ms(), &session, err);
    if (rc != WEIR_OK) {
        return rc;
    }
    peer->protocol = &sync_protocol;
    peer->session = session;
    return weir_session_notify(session, weir_store_version(weir_cluster->conf->store),
                               ngx_http_weir_now_ms(), err);
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

    if (weir_cluster == NULL) {
        return 0;
    }
    *ret = (ngx_http_weir_cluster_counts_t){
        .sync = weir_cluster->counters,
        .increments = count_lane(&weir_cluster->increments),
        .fulls = count_lane(&weir_cluster->fulls),
        .bytes_in = weir_cluster->bytes_in,
        .bytes_out = weir_cluster->bytes_out,
    };
    weir_encoder_count(weir_cluster->encoder, &ret->encoder);
    for (q = ngx_queue_head(&weir_cluster->peers); q != ngx_queue_sentinel(&weir_cluster->peers);
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
