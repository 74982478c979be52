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
/* Its report: {"quarantined": [...], "last_error": text or null}; copied. */
void weir_registry_report(weir_registry_t *registry, weir_str_t node_id, const weir_json_t *report,
                          int64_t now_ms);

/* Array of rows for /clustering/data-planes (sync-protocol F.2, and what Weir
 * adds: connected, version, lag, quarantined, last_error), ordered by id. */
int weir_registry_list(weir_registry_t *registry, uint64_t newest, int64_t now_ms,
                       weir_json_t **ret, weir_error_t *err);
/* Numbers for metrics. */
void weir_registry_count(weir_registry_t *registry, size_t *ret_known, size_t *ret_connected);

/* Writes what has changed since the last time to the store, at most `limit` nodes;
 * and reads it all back, at start. */
int weir_registry_save(weir_registry_t *registry, weir_store_t *store, size_t limit, int64_t now_ms,
                       weir_error_t *err);
int weir_registry_load(weir_registry_t *registry, weir_store_t *store, int64_t now_ms,
                       weir_error_t *err);

#endif
