/* internal.h -- a session from inside: session.c has its life and its frames,
 * calls.c what the messages mean. */
#ifndef WEIR_CLUSTER_INTERNAL_H
#define WEIR_CLUSTER_INTERNAL_H

#include "cluster/hello.h"
#include "cluster/session.h"
#include "cluster/websocket.h"

enum {
    WANTS_MAX = 32,           /* get_delta calls under way in a session */
    BATCH_MAX = 256,          /* messages in an array */
    UNCOMPRESSED_FACTOR = 16, /* of cluster_max_payload: of a message from the peer */
};

/* One place of a batch's answer: a message; or an answer of the encoder with the id
 * of its call, or without one if it is a message by itself. */
typedef struct batch_slot {
    weir_json_t *message;
    weir_json_t *id;
    weir_answer_t *answer;
} batch_slot_t;

/* An array of calls whose answers go back as one array (B.3). */
typedef struct batch {
    batch_slot_t slots[BATCH_MAX];
    size_t count;
    size_t open;   /* answers that are not there yet */
    bool complete; /* every message has been looked at */
} batch_t;

typedef struct pending_want {
    weir_want_t want; /* its sums are the host's */
    weir_json_t *id;  /* of the call; NULL: this place is free */
    batch_t *batch;   /* NULL: answered by a message of its own */
    size_t slot;
} pending_want_t;

/* What a session knows of a node that speaks weir.sync.v1 (docs/sync-v1.md). */
typedef struct sync_state {
    bool agreed;    /* in the hello */
    bool started;   /* it said from which version it wants deltas */
    bool staged;    /* they go onto a stage */
    bool whole;     /* it wants everything: what it has could not be healed */
    bool in_flight; /* deltas or what heals were sent, and not acknowledged */
    uint64_t want;  /* number of the open wish for deltas; 0: none */
    uint64_t sent;  /* what it has, or will have with what is in flight */
    int64_t sent_ms;
    bool has_digest; /* of `sent` */
    weir_digest_t digest;
} sync_state_t;

struct weir_session {
    weir_session_options_t options;
    weir_websocket_t socket;
    weir_registry_node_t *registered; /* since the hello */
    char ip[WEIR_HELLO_TEXT_MAX + 1], node[WEIR_HELLO_TEXT_MAX + 1];
    weir_dialect_t dialect;
    weir_codec_t codec; /* of what comes after the hello */
    int64_t level;      /* of its version: what it is sent is adapted to it */
    sync_state_t sync;
    bool ready;      /* the hello is done */
    bool listed;     /* it lists kong.sync.v2 */
    bool subscribed; /* it has called get_delta: it wants notifications */
    int64_t started_ms;
    uint64_t next_id; /* of our calls */
    bool call_open;   /* a notification waits for its answer */
    uint64_t call_id;
    int64_t call_ms;
    uint64_t notified; /* newest version that it was told of, or sent */
    uint64_t newest;   /* newest that there is */
    pending_want_t wants[WANTS_MAX];
    size_t wants_open;
    uint64_t next_want;
};

/* session.c */
/* After an empty close frame. */
int session_close(weir_session_t *s, weir_error_t *err, const char *why);
/* Takes `message`; NULL counts as "no memory". */
int session_send(weir_session_t *s, weir_json_t *message, weir_error_t *err);
/* Tells of the newest version, if that is due. */
int session_push(weir_session_t *s, int64_t now_ms, weir_error_t *err);
void session_event(weir_session_t *s, const char *format, ...) WEIR_PRINTF(2, 3);

/* pieces.c: one slot is a message of its own, several an array. WEIR_TOO_LARGE:
 * nothing has been sent. */
int session_send_pieces(weir_session_t *s, const batch_slot_t *slots, size_t count, bool array,
                        weir_error_t *err);

/* calls.c */
/* Remembers a wish with the id of its call (copied), and tells the host. `batch`: of the
 * call; NULL: answered by itself. Takes what `want` holds. */
int session_want(weir_session_t *s, const weir_json_t *id, batch_t *batch, weir_want_t *want,
                 weir_error_t *err);
int session_take_message(weir_session_t *s, weir_str_t payload, int64_t now_ms, weir_error_t *err);
void session_drop_calls(weir_session_t *s);

/* sync_session.c: weir.sync.v1 */
bool session_sync_method(weir_str_t method);
int session_sync_take(weir_session_t *s, weir_str_t method, const weir_json_t *id,
                      const weir_json_t *params, int64_t now_ms, weir_error_t *err);
/* Asks the host for deltas, if that is due. */
int session_sync_push(weir_session_t *s, weir_error_t *err);
/* The wish for deltas is answered. */
int session_sync_deltas(weir_session_t *s, weir_answer_t *answer, const weir_error_t *failure,
                        int64_t now_ms, weir_error_t *err);
/* What a call is answered with is on its way. */
void session_sync_answered(weir_session_t *s, weir_want_kind_t kind, const weir_answer_t *answer,
                           int64_t now_ms);
int session_sync_tick(weir_session_t *s, int64_t now_ms, weir_error_t *err);

#endif
