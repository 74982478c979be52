/* registry.h -- the data planes that a control plane knows, live.
 *
 * Thread-safe: sessions write from the event loop, the Admin API reads from its
 * threads. A node may have several sockets; it is gone when the last closes. */
#ifndef WEIR_REGISTRY_H
#define WEIR_REGISTRY_H

#include "base/buffer.h"
#include "store/store.h"

typedef struct weir_registry weir_registry_t;

enum { WEIR_REGISTRY_NODES_MAX = 100000 };

int weir_registry_new(int64_t purge_delay_s, weir_registry_t **ret, weir_error_t *err);
void weir_registry_free(weir_registry_t *registry);

/* What a session knows of its node. Strings are copied. */
typedef struct weir_node_facts {
    weir_str_t node_id; /* as the node says it; need not be a UUID */
    weir_str_t hostname, ip, version;
    const weir_json_t *labels;       /* object; or NULL */
    const weir_json_t *capabilities; /* array; or NULL */
    int64_t certificate_expiry_s;    /* 0: unknown */
} weir_node_facts_t;

void weir_registry_connected(weir_registry_t *registry, const weir_node_facts_t *facts,
                             int64_t now_ms);
void weir_registry_disconnected(weir_registry_t *registry, weir_str_t node_id, int64_t now_ms);
/* The node said that it has `version` (config_hash: 32 characters). */
void weir_registry_seen(weir_registry_t *registry, weir_str_t node_id, weir_str_t config_hash,
                        uint64_t version, int64_t now_ms);
/* Its report (a Weir): {"quarantined": [...], "quarantined_count": n, "last_error":
 * text or null}; what is known of it is copied, within limits. */
void weir_registry_report(weir_registry_t *registry, weir_str_t node_id, const weir_json_t *report,
                          int64_t now_ms);

/* notify_validation_error of a 3.10 node (sync-protocol C.7): becomes its last_error. */
void weir_registry_refused(weir_registry_t *registry, weir_str_t node_id, const weir_json_t *fault,
                           int64_t now_ms);

/* Array of rows for /clustering/data-planes (sync-protocol F.2, and what Weir
 * adds: connected, version, lag, quarantined, last_error), ordered by id. */
int weir_registry_list(weir_registry_t *registry, uint64_t newest, int64_t now_ms,
                       weir_json_t **ret, weir_error_t *err);
/* Numbers for metrics. */
void weir_registry_count(weir_registry_t *registry, size_t *ret_known, size_t *ret_connected);

/* Writes what has changed to the store, at most `limit` nodes, and forgets who has
 * been away for longer than purge_delay_s. What changes with every version or
 * sign of life is written only now and then, so that many nodes cost few writes. */
int weir_registry_save(weir_registry_t *registry, weir_store_t *store, size_t limit, int64_t now_ms,
                       weir_error_t *err);
/* Reads it all back, at start. */
int weir_registry_load(weir_registry_t *registry, weir_store_t *store, int64_t now_ms,
                       weir_error_t *err);

#endif
