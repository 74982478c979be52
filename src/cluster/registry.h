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
    const weir_json_t *capabilities; /* array; NULL: those that are known stay (D.4) */
    int64_t certificate_expiry_s;    /* 0: unknown */
} weir_node_facts_t;

/* A data plane's place in the registry, for one of its sockets: from _connected() until
 * that socket's _disconnected() it stays where it is. NULL: there was no place for it; all
 * calls take that and do nothing. */
typedef struct weir_registry_node weir_registry_node_t;

/* Searches; nothing below does. *ret_twin: the node is connected from another address,
 * too; said once, until it has gone. */
weir_registry_node_t *weir_registry_connected(weir_registry_t *registry,
                                              const weir_node_facts_t *facts, int64_t now_ms,
                                              bool *ret_twin);
void weir_registry_disconnected(weir_registry_t *registry, weir_registry_node_t *node,
                                int64_t now_ms);
/* Its sync_status (D.5, F.2) is another one than "normal", or that again. */
void weir_registry_status(weir_registry_t *registry, weir_registry_node_t *node, weir_str_t status,
                          int64_t now_ms);
/* Times `now_us` are Unix time in microseconds (weir_clock_us()). */

/* A push of the versions in (after, version] was queued for it. */
void weir_registry_sent(weir_registry_t *registry, weir_registry_node_t *node, uint64_t after,
                        uint64_t version, int64_t now_us);
/* It acknowledged that it serves `version`; what applying took, -1: not known. Implies
 * weir_registry_seen(). */
void weir_registry_applied(weir_registry_t *registry, weir_registry_node_t *node, uint64_t version,
                           int64_t apply_us, int64_t now_us);
/* Whether its set is ours: 1, 0, or -1 when that is not known. */
void weir_registry_digest(weir_registry_t *registry, weir_registry_node_t *node, int equal);
/* The node said that it has `version` (config_hash: 32 characters). */
void weir_registry_seen(weir_registry_t *registry, weir_registry_node_t *node,
                        weir_str_t config_hash, uint64_t version, int64_t now_ms);
/* Its report (a Weir): {"quarantined": [...], "quarantined_count": n, "last_error":
 * text or null}; what is known of it is copied, within limits. */
void weir_registry_report(weir_registry_t *registry, weir_registry_node_t *node,
                          const weir_json_t *report, int64_t now_ms);

/* notify_validation_error of a 3.10 node (sync-protocol C.7): becomes its last_error. */
void weir_registry_refused(weir_registry_t *registry, weir_registry_node_t *node,
                           const weir_json_t *fault, int64_t now_ms);

/* Array of rows for /clustering/data-planes (sync-protocol F.2, and what Weir
 * adds: connected, version, lag, digest_equal, quarantined, last_error), ordered by id. */
int weir_registry_list(weir_registry_t *registry, uint64_t newest, int64_t now_ms,
                       weir_json_t **ret, weir_error_t *err);
/* Numbers for metrics. */
void weir_registry_count(weir_registry_t *registry, size_t *ret_known, size_t *ret_connected);
/* Of the data planes: all that are known, and, of those that are connected, how many ... */
typedef struct weir_registry_totals {
    size_t known, connected;
    size_t lagging;       /* do not have the newest version yet */
    size_t quarantining;  /* could not accept an entity */
    size_t differing;     /* had another set than ours when it was last compared */
    size_t compared;      /* had it compared */
    uint64_t lag_max;     /* versions that the last of them is behind */
    uint64_t quarantined; /* entities, over all of them */
} weir_registry_totals_t;
/* One walk over the nodes, under the lock. */
void weir_registry_totals(weir_registry_t *registry, uint64_t newest, weir_registry_totals_t *ret);

/* Writes what has changed to the store, at most `limit` nodes, and forgets who has
 * been away for longer than purge_delay_s. What changes with every version or
 * sign of life is written only now and then, so that many nodes cost few writes. */
int weir_registry_save(weir_registry_t *registry, weir_store_t *store, size_t limit, int64_t now_ms,
                       weir_error_t *err);
/* Reads it all back, at start. */
int weir_registry_load(weir_registry_t *registry, weir_store_t *store, int64_t now_ms,
                       weir_error_t *err);

/* -- waiting for a version ----------------------------------------------------------- */

typedef enum weir_wait_kind {
    WEIR_WAIT_ALL,   /* every connected data plane, and at least one */
    WEIR_WAIT_COUNT, /* so many of them */
    WEIR_WAIT_LABEL, /* every connected one with this label, and at least one */
} weir_wait_kind_t;

typedef struct weir_wait {
    weir_wait_kind_t kind;
    uint64_t version;
    size_t count;
    weir_str_t key, value;       /* copied */
    const weir_uuid_t *entities; /* that the version wrote: whoever quarantines one failed */
    size_t entity_count;
    /* It is over, at this moment: look. By whoever changed the registry, under its lock:
     * must be quick and must not call it. */
    void (*over)(void *context);
    void *context;
} weir_wait_t;

typedef struct weir_arrivals {
    size_t applied, pending, failed; /* of the connected data planes that are meant */
    bool confirmed;                  /* what was waited for has come */
} weir_arrivals_t;

typedef struct weir_waiter weir_waiter_t;

/* Costs a look at every node only for a label, or a version that some have already;
 * afterwards an acknowledgement costs the waiters that it concerns. The caller looks
 * once, frees it before the registry, and bounds how many there are. */
int weir_registry_wait(weir_registry_t *registry, const weir_wait_t *wait, weir_waiter_t **ret,
                       weir_error_t *err);
/* Whether it is over. If not, over() will be called (again). */
bool weir_waiter_look(weir_waiter_t *waiter, weir_arrivals_t *ret);
void weir_waiter_free(weir_waiter_t *waiter); /* NULL is fine */

/* -- the way of a change --------------------------------------------------------------- */

/* Remembers the newest versions, so many, and how long they take; without it the calls
 * below know nothing. `newest`: the store's version now. Before the registry is shared. */
int weir_registry_trace(weir_registry_t *registry, size_t versions, uint64_t newest,
                        weir_error_t *err);
/* Everything up to `version` is committed. Quick, on any thread. */
void weir_registry_committed(weir_registry_t *registry, uint64_t version, int64_t now_us);
/* Versions in (after, version] were encoded for sending. Quick, on any thread. */
void weir_registry_encoded(weir_registry_t *registry, uint64_t after, uint64_t version,
                           int64_t now_us);
/* {"data": [...], "next": version or null}: remembered versions below `before`, newest
 * first, `limit` at the most. */
int weir_registry_changes(weir_registry_t *registry, uint64_t before, size_t limit,
                          weir_json_t **ret, weir_error_t *err);
/* One version and its way to each connected data plane. `entities`, which it wrote, are
 * sorted in place. WEIR_NOT_FOUND: not remembered, err->reason says more. */
int weir_registry_change(weir_registry_t *registry, uint64_t version, weir_uuid_t *entities,
                         size_t entity_count, weir_json_t **ret, weir_error_t *err);
/* How long changes take, in the text form of Prometheus. */
int weir_registry_metrics(weir_registry_t *registry, weir_buffer_t *out);
/* Series of each of the first `limit` data planes by id, in the same form. */
int weir_registry_node_metrics(weir_registry_t *registry, uint64_t newest, size_t limit,
                               weir_buffer_t *out);

#endif
