/* client.h -- the data plane's end of the wire (sync-protocol A.2, B, C.7, C.9).
 *
 * Knows no sockets and no clock: the agent connects and speaks TLS, and gives
 * bytes and time in. One client lives through many connections. */
#ifndef WEIR_CLIENT_H
#define WEIR_CLIENT_H

#include "cluster/message.h"
#include "model/digest.h"

typedef struct weir_client weir_client_t;

enum {
    WEIR_CLIENT_STEP_MS = 5000,  /* upgrade, hello, each answer */
    WEIR_CLIENT_POLL_MS = 30000, /* get_delta at least so often */
    WEIR_CLIENT_PING_MS = 30000, /* nothing came for so long: ping; half as long again: close */
};

/* An answer of get_delta to be applied in one piece. */
typedef struct weir_update {
    bool full;
    uint64_t version;          /* of the last delta: the new one */
    const weir_json_t *deltas; /* array; each checked for type, version and key */
} weir_update_t;

/* -- weir.sync.v1 (docs/sync-v1.md) ------------------------------------------------- */

/* An entity of a list; everything in it lives as long as the message. */
typedef struct weir_sync_entity {
    weir_str_t type;
    weir_uuid_t id;
    const weir_json_t *entity; /* object; NULL: deleted */
    bool has_hash;             /* the control plane adapted it: the hash of its own form */
    weir_digest_t hash;
} weir_sync_entity_t;

/* Reads an element of a list that a callback was given. */
void weir_sync_entity(const weir_json_t *element, weir_sync_entity_t *ret);

/* What is to be applied in one transaction. All of it has been checked for its form. */
typedef struct weir_sync_batch {
    bool staged;      /* onto the stage, not onto what serves */
    uint64_t version; /* that it leads to */
    const weir_json_t *deltas;
    const weir_json_t *buckets; /* array of {"bucket": n, "entities": [...]}; NULL: none */
} weir_sync_batch_t;

typedef struct weir_sync_applied {
    bool has_digest;
    weir_digest_t digest;
    uint64_t us;
    uint64_t healed_entities; /* that differed in the buckets */
} weir_sync_applied_t;

typedef struct weir_sync_page {
    uint64_t snapshot;
    uint64_t version;            /* in which it was read */
    const weir_json_t *entities; /* array, of `memory` */
    weir_arena_t *memory; /* who wants to keep the page exchanges it for another, with whatever
                             is in that */
    weir_str_t next;      /* of the next page; data NULL: this was the last one */
} weir_sync_page_t;

enum { WEIR_SYNC_CURSOR_MAX = 64 };

/* What a data plane holds when a connection begins. */
typedef struct weir_sync_state {
    uint64_t version; /* that serves; 0: none */
    bool has_digest;
    weir_digest_t digest;
    char key[WEIR_DIGEST_FINGERPRINT_TEXT + 1]; /* of the digest key; empty: none */
    uint64_t stage;                             /* its snapshot; 0: there is none */
    bool stage_pages_done;
    uint64_t stage_version, stage_seen; /* of its last batch; newest of all its pages */
    char stage_cursor[WEIR_SYNC_CURSOR_MAX];
} weir_sync_state_t;

/* The data plane itself. What fails is tried again later, from what `state` says. */
typedef struct weir_client_sync {
    int (*state)(void *context, weir_sync_state_t *ret, weir_error_t *err);
    int (*key)(void *context, const weir_digest_key_t *key, weir_error_t *err);
    /* Wholly, or not at all. */
    int (*apply)(void *context, const weir_sync_batch_t *batch, weir_sync_applied_t *ret,
                 weir_error_t *err);
    /* Begins a stage, or goes on with the one of this snapshot; any other is thrown away.
     * `entities`: how many will come, about; 0: unknown. */
    int (*stage)(void *context, uint64_t snapshot, uint64_t entities, weir_str_t reason,
                 weir_error_t *err);
    /* It may be put while the next one is on its way: then what became of it is the answer
     * to the next one, and nothing is put after one that failed; the last one is put when
     * this returns. */
    int (*page)(void *context, const weir_sync_page_t *page, weir_error_t *err);
    /* The stage takes the place of what serves. */
    int (*switch_over)(void *context, weir_error_t *err);
    /* There is no use for the stage any more. */
    void (*discard)(void *context);
    /* Of all buckets, WEIR_DIGEST_BUCKETS of them: of the stage, or of what serves. */
    int (*sums)(void *context, bool staged, weir_digest_t *sums, weir_error_t *err);
} weir_client_sync_t;

typedef struct weir_client_options {
    const char *host;   /* "host:port", for the Host header */
    weir_str_t node_id; /* copied, as all of these */
    const char *hostname, *compat_version;
    const char *const *labels; /* "key:value", NULL-ended; or NULL */
    size_t payload_max;
    int64_t call_timeout_ms; /* of get_delta: 0: WEIR_CLIENT_STEP_MS */
    int64_t ping_ms;         /* cluster_heartbeat_interval; 0: WEIR_CLIENT_PING_MS */
    void *context;
    int (*send)(void *context, weir_str_t bytes);
    int (*random)(void *context, uint8_t *bytes, size_t count);
    /* Applies it wholly, or not at all. On failure the version stays. */
    int (*apply)(void *context, const weir_update_t *update, weir_error_t *err);
    const weir_client_sync_t *sync; /* weir.sync.v1; borrowed; NULL: not offered */
    bool zstd;                      /* ... with zstd, if the control plane wants that */
    /* {"quarantined":[...],"quarantined_count":n,"last_error":...}: for a control
     * plane that takes reports. NULL: none, or, unless it is wanted `afresh` (by a connection
     * that has had none), nothing else than the last time. The client frees it. */
    weir_json_t *(*report)(void *context, bool afresh);
    void (*event)(void *context, const char *text);
} weir_client_options_t;

int weir_client_new(const weir_client_options_t *options, uint64_t version, weir_client_t **ret,
                    weir_error_t *err);
void weir_client_free(weir_client_t *client);

/* TLS is up: begins the upgrade. */
int weir_client_connected(weir_client_t *client, int64_t now_ms, weir_error_t *err);
/* WEIR_OK or WEIR_CLOSED (reason: why): drop the connection. */
int weir_client_input(weir_client_t *client, weir_str_t bytes, int64_t now_ms, weir_error_t *err);
int weir_client_tick(weir_client_t *client, int64_t now_ms, weir_error_t *err);
/* When tick wants to be called, at the latest. */
int64_t weir_client_deadline(const weir_client_t *client);
void weir_client_disconnected(weir_client_t *client);

bool weir_client_ready(const weir_client_t *client); /* the hello is done */
/* This connection showed that the control plane has no kong.sync.v2 for us: the hello
 * lacks it, or there is no /v2/outlet. Until the next weir_client_connected(). */
bool weir_client_unoffered(const weir_client_t *client);
uint64_t weir_client_version(const weir_client_t *client); /* applied */
uint64_t weir_client_newest(const weir_client_t *client);  /* known to exist */
/* "weir.sync.v1" or "kong.sync.v2"; NULL before the hello is done. */
const char *weir_client_protocol(const weir_client_t *client);
/* Of what serves, when it was last compared with the control plane's set: 1 equal, 0 not,
 * -1 never compared. */
int weir_client_digest_equal(const weir_client_t *client);
uint64_t weir_client_mismatches(const weir_client_t *client); /* digests that differed */

#endif
