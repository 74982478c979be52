/* ngx_http_weir_cluster.h -- what the protocols of the cluster listener share: the
 * connection of a data plane, whatever it speaks. */
#ifndef NGX_HTTP_WEIR_CLUSTER_H
#define NGX_HTTP_WEIR_CLUSTER_H

#include "node/ngx_http_weir.h"

#include "cluster/classic.h"
#include "cluster/outbox.h"
#include "cluster/session.h"

#include <ngx_thread_pool.h>

extern ngx_module_t ngx_http_weir_cluster_module;

/* A session's functions; see cluster/session.h for what they promise. */
typedef struct {
    void (*free)(void *session, int64_t now);
    int (*input)(void *session, weir_str_t bytes, int64_t now, weir_error_t *err);
    int (*tick)(void *session, int64_t now, weir_error_t *err);
    int (*notify)(void *session, uint64_t version, int64_t now, weir_error_t *err); /* or NULL */
    weir_str_t (*node)(const void *session);
} ngx_http_weir_protocol_t;

typedef struct {
    ngx_queue_t queue;
    ngx_connection_t *connection; /* NULL: closed; lives on for its works */
    ngx_http_request_t *request;
    const ngx_http_weir_protocol_t *protocol;
    void *session;
    weir_outbox_t out;
    ngx_uint_t works;
    int64_t written_ms; /* when the outbox last moved, or was empty */
    unsigned closing : 1;
    unsigned failed : 1; /* out of memory inside a callback */
} ngx_http_weir_peer_t;

/* What waits for a thread, and what has one. */
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

/* Of this worker; NULL without a cluster listener. */
extern ngx_http_weir_cluster_t *weir_cluster;

/* -- ngx_http_weir_cluster_module.c ------------------------------------------------------ */

int64_t ngx_http_weir_now_ms(void);

/* -- ngx_http_weir_cluster_peer.c: the life of a connection ------------------------------- */

enum {
    NGX_HTTP_WEIR_STALL_MS_MAX = 30000, /* nothing could be written for so long: disconnect */
    NGX_HTTP_WEIR_CLOSE_MS_MAX = 5000,  /* for the last bytes */
};

/* The cleanup of its request: the connection goes, whoever ends it. */
void ngx_http_weir_peer_cleanup(void *data);
void ngx_http_weir_peer_end(ngx_http_weir_peer_t *peer);
/* A close frame, then the end. The peer may be gone afterwards. */
void ngx_http_weir_peer_goodbye(ngx_http_weir_peer_t *peer);
/* Handlers of its connection's events. */
void ngx_http_weir_peer_read(ngx_event_t *rev);
void ngx_http_weir_peer_write(ngx_event_t *wev);
/* After each call of a session: its verdict, then what it wants to say. The peer may be
 * gone afterwards. */
void ngx_http_weir_peer_after(ngx_http_weir_peer_t *peer, int rc, const weir_error_t *err);
/* Frees a closed peer that no work holds any more. */
void ngx_http_weir_peer_unref(ngx_http_weir_peer_t *peer);

/* -- ngx_http_weir_cluster_session.c: sessions of JSON-RPC, and what they have encoded -----------
 */

void ngx_http_weir_lanes_init(void);
/* Gives `peer` a session. */
int ngx_http_weir_cluster_session(ngx_http_weir_peer_t *peer, int64_t expiry_s, weir_error_t *err);
/* Whether a certificate must name the node id (cluster_bind_identity). */
ngx_flag_t ngx_http_weir_cluster_binds_identity(void);
/* Answers what is there already; gives the rest to the threads, in order. */
void ngx_http_weir_cluster_pump(void);

/* -- ngx_http_weir_cluster_classic.c: the classic push (sync-protocol D) ---------------------- */

/* `peers`: of every protocol. */
ngx_int_t ngx_http_weir_classic_open(ngx_cycle_t *cycle, ngx_http_weir_main_conf_t *conf,
                                     ngx_thread_pool_t *pool, ngx_queue_t *peers);
void ngx_http_weir_classic_close(void);
/* Gives `peer` a session. */
int ngx_http_weir_classic_session(ngx_http_weir_peer_t *peer, const weir_classic_query_t *query,
                                  int64_t expiry_s, weir_error_t *err);
/* There is a newer version. */
void ngx_http_weir_classic_committed(uint64_t version);
/* Gives frames to who waits for them, or has them made. */
void ngx_http_weir_classic_pump(void);

#endif
