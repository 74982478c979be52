/* internal.h -- a session from inside: session.c has its life and its frames,
 * calls.c what the messages mean. */
#ifndef WEIR_CLUSTER_INTERNAL_H
#define WEIR_CLUSTER_INTERNAL_H

#include "cluster/frame.h"
#include "cluster/hello.h"
#include "cluster/session.h"

enum {
    WANTS_MAX = 32,           /* get_delta calls under way in a session */
    BATCH_MAX = 256,          /* messages in an array */
    UNCOMPRESSED_FACTOR = 16, /* of cluster_max_payload: of a message from the peer */
};

/* One place of a batch's answer: a message, or an answer of the encoder with the
 * id of its call. */
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
    weir_want_t want;
    weir_json_t *id; /* of the call; NULL: this place is free */
    batch_t *batch;  /* NULL: answered by a message of its own */
    size_t slot;
} pending_want_t;

struct weir_session {
    weir_session_options_t options;
    weir_frame_reader_t *frames;
    char ip[WEIR_HELLO_TEXT_MAX + 1], node[WEIR_HELLO_TEXT_MAX + 1];
    weir_dialect_t dialect;
    bool ready;      /* the hello is done */
    bool listed;     /* it lists kong.sync.v2 */
    bool subscribed; /* it has called get_delta: it wants notifications */
    int64_t started_ms, heard_ms, pinged_ms;
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
int session_closed(weir_error_t *err, const char *why);
/* An empty close frame first: above the framing, a violation ends so (A.3). */
int session_close(weir_session_t *s, weir_error_t *err, const char *why);
int session_send_frame(weir_session_t *s, weir_opcode_t opcode, weir_str_t payload,
                       weir_error_t *err);
/* Takes `message`; NULL counts as "no memory". */
int session_send(weir_session_t *s, weir_json_t *message, weir_error_t *err);
/* Tells of the newest version, if that is due. */
int session_push(weir_session_t *s, int64_t now_ms, weir_error_t *err);
void session_event(weir_session_t *s, const char *format, ...) WEIR_PRINTF(2, 3);

/* calls.c */
int session_take_message(weir_session_t *s, weir_str_t payload, int64_t now_ms, weir_error_t *err);
void session_drop_calls(weir_session_t *s);

#endif
