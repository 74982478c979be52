/* session.h -- one data plane's socket, on the control plane: what it may say, and
 * what is said to it (sync-protocol B, C.5, C.6).
 *
 * Knows no sockets, no clock, no threads: bytes and time go in; bytes, wishes and
 * log lines come out through callbacks. Used by one thread.
 *
 * At most one notification is under way: while its answer, or a get_delta, is not
 * done, newer versions only raise the mark, and go out as one batch after it. */
#ifndef WEIR_SESSION_H
#define WEIR_SESSION_H

#include "cluster/encode.h"
#include "cluster/registry.h"

typedef struct weir_session weir_session_t;

enum {
    WEIR_SESSION_HELLO_MS = 5000, /* the hello must be there by then */
    WEIR_SESSION_CALL_MS = 5000,  /* how long an answer to a call is waited for */
    WEIR_SESSION_PING_MS = 30000, /* nothing came for so long: ping */
    WEIR_SESSION_IDLE_MS = 45000, /* ... for so long: close */
    WEIR_SESSION_ACK_MS = 60000,  /* weir.sync.v1: how long an ack is waited for */
};

/* Over all sessions of an event loop. */
typedef struct weir_sync_counters {
    /* Of weir.sync.v1. */
    uint64_t starts, acks, mismatches, heals, healed_entities, resumes, failures;
    uint64_t messages_in, messages_out; /* binary frames: hellos, JSON-RPC */
} weir_sync_counters_t;

typedef struct weir_session_options {
    size_t payload_max;                  /* cluster_max_payload */
    const char *compat_version;          /* cluster_compat_version */
    bool sync;                           /* cluster_rpc_sync */
    bool sync_v1;                        /* weir.sync.v1 is offered */
    bool zstd;                           /* ... with zstd */
    const weir_digest_key_t *digest_key; /* of the store; borrowed; for weir.sync.v1 */
    /* Of this and all sessions; NULL: not counted. */
    weir_sync_counters_t *counters;
    weir_registry_t *registry; /* borrowed */
    weir_str_t ip;             /* copied */
    int64_t certificate_expiry_s;
    void *context;
    /* Queues bytes for the peer; they are copied. */
    int (*send)(void *context, weir_str_t bytes);
    /* Queues the elements of an answer, by reference. Keeps it. */
    int (*send_answer)(void *context, weir_answer_t *answer);
    /* Takes want->sums; answers with weir_session_answer(), whenever. */
    void (*want)(void *context, const weir_want_t *want);
    /* Unix time in microseconds, for traces of changes; NULL: milliseconds will do. */
    int64_t (*clock_us)(void *context);
    /* The log still has everything after `version` (weir_encoder_holds()). */
    bool (*holds)(void *context, uint64_t version);
    /* Whether the peer's certificate is that of this node (cluster_bind_identity); NULL:
     * any node id may be claimed. */
    bool (*named)(void *context, weir_str_t node_id);
    /* One event, for the host's log. */
    void (*event)(void *context, const char *text);
    /* The same for what somebody should look at; NULL: event(). */
    void (*warning)(void *context, const char *text);
} weir_session_options_t;

int weir_session_new(const weir_session_options_t *options, int64_t now_ms, weir_session_t **ret,
                     weir_error_t *err);
void weir_session_free(weir_session_t *session, int64_t now_ms); /* NULL is fine */

/* Each returns WEIR_OK, or WEIR_CLOSED (err->reason: why): drop the connection
 * when what is queued has been sent. */
int weir_session_input(weir_session_t *session, weir_str_t bytes, int64_t now_ms,
                       weir_error_t *err);
int weir_session_tick(weir_session_t *session, int64_t now_ms, weir_error_t *err);
/* There is a newer version. */
int weir_session_notify(weir_session_t *session, uint64_t version, int64_t now_ms,
                        weir_error_t *err);
/* `answer` NULL: it could not be made; `failure` says why. */
int weir_session_answer(weir_session_t *session, const weir_want_t *want, weir_answer_t *answer,
                        const weir_error_t *failure, int64_t now_ms, weir_error_t *err);

/* What it speaks with its node. */
typedef enum weir_session_protocol {
    WEIR_SESSION_NO_HELLO, /* nothing yet */
    WEIR_SESSION_KONG_39,  /* kong.sync.v2 in either dialect */
    WEIR_SESSION_KONG_310,
    WEIR_SESSION_WEIR_V1, /* weir.sync.v1 */
    WEIR_SESSION_PROTOCOLS,
} weir_session_protocol_t;
weir_session_protocol_t weir_session_protocol(const weir_session_t *session);
weir_str_t weir_session_node(const weir_session_t *session); /* empty before the hello */

#endif
