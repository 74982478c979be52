/* ngx_http_weir_cluster_count.h -- what the cluster module of this worker counts, for metrics. */
#ifndef NGX_HTTP_WEIR_CLUSTER_COUNT_H
#define NGX_HTTP_WEIR_CLUSTER_COUNT_H

#include "node/ngx_http_weir.h"

#include "cluster/session.h"

/* Questions to the encoder: that wait for a thread, that have one. */
typedef struct {
    ngx_uint_t waiting, working;
} ngx_http_weir_lane_count_t;

typedef struct {
    weir_encoder_counters_t encoder;
    weir_sync_counters_t sync;
    ngx_http_weir_lane_count_t increments, fulls;
    ngx_uint_t sessions[WEIR_SESSION_PROTOCOLS]; /* open now */
    ngx_uint_t classic_sessions;                 /* ... of the classic push */
    uint64_t bytes_in, bytes_out;                /* above TLS, since the worker started */
    uint64_t outbox_bytes;                       /* that wait to be written */
} ngx_http_weir_cluster_counts_t;

/* In the event loop; a walk over the open connections. 0: this worker has no cluster
 * listener, *ret is as it was. */
ngx_flag_t ngx_http_weir_cluster_count(ngx_http_weir_cluster_counts_t *ret);

#endif
