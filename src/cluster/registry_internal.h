/* registry_internal.h -- what the files of the registry share: registry.c (nodes, what
 * happens to them), registry_rows.c (rows, over restarts), waiters.c (who waits for a
 * version), changes.c (the way of a version), trace.c (when versions were committed).
 *
 * Everything but the trace is under registry->lock; the trace has a lock of its own,
 * which may be taken under it: a thread that commits must never wait for a listing. */
#ifndef WEIR_CLUSTER_REGISTRY_INTERNAL_H
#define WEIR_CLUSTER_REGISTRY_INTERNAL_H

#include "base/json.h"
#include "cluster/message.h"
#include "cluster/registry.h"
#include "cluster/trace.h"

#include <pthread.h>
#include <search.h>

enum {
    ID_BYTES_MAX = 128,
    TEXT_BYTES_MAX = 256,
    DOCUMENT_BYTES_MAX = 1024 * 1024,
    QUARANTINED_MAX = 100, /* listed of a node; the count has them all */
    PUSHES = 32,           /* remembered of a node */
};

/* Versions in (after, version] on their way to a node. */
typedef struct push {
    uint64_t after, version;
    int64_t sent_us, applied_us; /* 0: not known */
    int64_t apply_us;            /* what applying took; -1: not known */
} push_t;

typedef struct weir_registry_node {
    char id[ID_BYTES_MAX + 1];
    weir_json_t *row; /* the members that are kept over restarts; see registry_refresh() */
    char config_hash[WEIR_TOKEN_LEN + 1];
    uint64_t version; /* set by waiters_move() alone while it is connected */
    unsigned sockets;
    bool changed; /* in something that is written at once */
    bool moved;   /* only in its version or signs of life */
    bool twin;    /* it was said that it is connected from two addresses */
    int64_t last_seen_ms, saved_ms;
    int64_t connected_us; /* when it last came */
    int digest_equal;     /* 1, 0, -1: unknown */
    weir_uuid_t *bad;     /* listed as quarantined; ours */
    size_t bad_count;
    uint64_t error; /* registry->errors of its last error; 0: none */
    int64_t error_ms;
    push_t *pushes; /* ring of PUSHES; NULL before the first */
    size_t push_count;
} node_t;

struct weir_registry {
    pthread_mutex_t lock;
    void *nodes; /* tree by id */
    size_t known, connected;
    int64_t purge_delay_s;
    uint64_t errors;         /* counts what nodes reported */
    uint64_t highest;        /* that any node ever had */
    weir_waiter_t **waiters; /* by version */
    size_t waiter_count, waiter_capacity;
    weir_trace_t *trace; /* NULL: none is kept */
};

/* -- registry.c ------------------------------------------------------------------------ */
/* Under the lock. Makes the node if `make`. */
node_t *registry_find(weir_registry_t *registry, weir_str_t id, bool make);
int registry_by_id(const void *a, const void *b);
void registry_free_node(void *pointer);
void registry_set_hash(node_t *node, weir_str_t hash);
/* Under the lock: what changes with every message, into the row, for who reads it. */
void registry_refresh(node_t *node);

/* -- waiters.c: all under the lock --------------------------------------------------------- */
/* A version, with what makes a node fail at it. */
typedef struct target {
    uint64_t version;
    const weir_uuid_t *entities; /* written by it, sorted */
    size_t entity_count;
    uint64_t errors;   /* an error after so many of the registry's counts ... */
    int64_t errors_ms; /* ... and not before then */
} target_t;

typedef enum arrival { ARRIVAL_PENDING, ARRIVAL_APPLIED, ARRIVAL_FAILED } arrival_t;

/* `entities` sorted in place. */
void sort_entities(weir_uuid_t *entities, size_t count);
arrival_t arrival_of(const node_t *node, const target_t *target);
/* Around every change of a node that is none of its version: what it counts for is taken
 * away, and added anew. */
void waiters_before(weir_registry_t *registry, const node_t *node);
void waiters_after(weir_registry_t *registry, const node_t *node);
/* Sets node->version. Costs the waiters between the old version and the new one. */
void waiters_move(weir_registry_t *registry, node_t *node, uint64_t version);

/* -- changes.c: under the lock ---------------------------------------------------------------- */
/* The node has this version now; before node->version says so. */
void note_applied(weir_registry_t *registry, node_t *node, uint64_t version, int64_t apply_us,
                  int64_t now_us);

#endif
