/* ngx_http_weir_cluster_upgrade.h -- who may connect to the cluster listener, and the
 * upgrade to WebSocket (sync-protocol A.1, A.2). */
#ifndef NGX_HTTP_WEIR_CLUSTER_UPGRADE_H
#define NGX_HTTP_WEIR_CLUSTER_UPGRADE_H

#include "base/base.h"

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

/* Why the client's certificate is not good enough for `mode` (cluster_mtls), or NULL.
 * *ret_expiry_s: the end of its life in unix seconds, 0 if that cannot be read. */
const char *ngx_http_weir_cluster_distrust(ngx_connection_t *c, const char *mode,
                                           int64_t *ret_expiry_s);

/* Whether the client's certificate names this node (cluster_bind_identity). */
bool ngx_http_weir_cluster_named(ngx_connection_t *c, weir_str_t node_id);

typedef struct {
    ngx_str_t key;      /* Sec-WebSocket-Key */
    ngx_str_t protocol; /* Sec-WebSocket-Protocol as it was offered; len 0: none */
    ngx_flag_t upgrade, connection, version, meta; /* meta: kong.meta.v1 is offered */
} ngx_http_weir_upgrade_t;

/* Why the request is no upgrade that we take, or NULL. */
const char *ngx_http_weir_cluster_no_upgrade(ngx_http_request_t *r, ngx_http_weir_upgrade_t *ret);

/* Writes the 101 answer to `out`, at most `size` bytes; how many. `protocol`: the one
 * agreed upon; len 0: none. */
size_t ngx_http_weir_cluster_accept(ngx_str_t key, ngx_str_t protocol, u_char *out, size_t size);

#endif
