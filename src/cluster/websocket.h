/* websocket.h -- one end of a WebSocket between the planes (sync-protocol A.3): what both
 * protocols have in common at both of their ends.
 *
 * Whole messages come out and go in. Frames, masks, pings, silence, and how a violation
 * ends are settled here; a protocol says what a message means, and in what it differs.
 * Knows no sockets and no clock. Used by one thread. */
#ifndef WEIR_WEBSOCKET_H
#define WEIR_WEBSOCKET_H

#include "cluster/frame.h"
#include "cluster/upgrade.h"

/* What a protocol makes of a frame: WEIR_OK, or WEIR_CLOSED as of weir_websocket_drop().
 * `payload` lives until it returns. */
typedef int weir_websocket_take_t(void *context, weir_str_t payload, int64_t now_ms,
                                  weir_error_t *err);

typedef struct weir_websocket_protocol {
    bool server; /* a control plane: what comes is masked, and begins with a message */
    /* Until the first frame is taken, a violation ends without a close frame. */
    bool begins_quietly;
    int (*opened)(void *context, int64_t now_ms, weir_error_t *err); /* a client: upgraded */
    weir_websocket_take_t *message;                                  /* binary and whole */
    weir_websocket_take_t *ping; /* NULL: answered by an empty pong */
    weir_websocket_take_t *pong; /* NULL: a sign of life, as every frame */
    weir_websocket_take_t *text; /* NULL: a violation */
} weir_websocket_protocol_t;

typedef struct weir_websocket_options {
    const weir_websocket_protocol_t *protocol; /* borrowed */
    void *context;                             /* of the protocol */
    size_t payload_max;                        /* of a frame, in and out */
    int64_t ping_ms;                           /* nothing came for so long: ping; 0: never */
    int64_t idle_ms;                           /* ... for so long: close */
    void *host;                                /* for these: */
    /* Queues bytes for the peer; they are copied. */
    int (*send)(void *host, weir_str_t bytes);
    int (*random)(void *host, uint8_t *bytes, size_t count); /* a client's */
} weir_websocket_options_t;

/* What a client asks for; see weir_upgrade_request(). Borrowed: all of it while the call
 * lasts, `subprotocol` until the answer is there. */
typedef struct weir_websocket_request {
    const char *host, *target, *subprotocol;
} weir_websocket_request_t;

typedef struct weir_websocket {
    weir_websocket_options_t options;
    weir_frame_reader_t *frames;
    weir_upgrade_t upgrade; /* a client's */
    const char *subprotocol;
    bool upgrading;              /* its answer is not there yet */
    bool begun;                  /* a frame was taken */
    int64_t heard_ms, pinged_ms; /* the last frame, or the beginning; our last ping */
} weir_websocket_t;

/* The connection begins now. *ws is zeroed, or of an earlier connection. WEIR_NO_MEMORY. */
int weir_websocket_begin(weir_websocket_t *ws, const weir_websocket_options_t *options,
                         int64_t now_ms, weir_error_t *err);
void weir_websocket_release(weir_websocket_t *ws); /* zeroed is fine */

/* All of these return WEIR_OK, or WEIR_CLOSED (err->reason: why): drop the connection when
 * what is queued has been sent. */
int weir_websocket_input(weir_websocket_t *ws, weir_str_t bytes, int64_t now_ms, weir_error_t *err);
/* A client's first word. */
int weir_websocket_upgrade(weir_websocket_t *ws, const weir_websocket_request_t *request,
                           weir_error_t *err);
/* Pings, or ends what is silent. */
int weir_websocket_tick(weir_websocket_t *ws, int64_t now_ms, weir_error_t *err);
/* When tick has something to do, if nothing comes until then. */
int64_t weir_websocket_deadline(const weir_websocket_t *ws);

int weir_websocket_send(weir_websocket_t *ws, weir_opcode_t opcode, weir_str_t payload,
                        weir_error_t *err);
/* A server's: only what comes before a message of `len` bytes, which the caller sends. */
int weir_websocket_send_head(weir_websocket_t *ws, uint64_t len, weir_error_t *err);

/* Return WEIR_CLOSED. An empty close frame first, as for all that is wrong above the
 * framing; without one, as for broken framing and the first message of a v2 connection. */
int weir_websocket_close(weir_websocket_t *ws, weir_error_t *err, const char *why);
int weir_websocket_drop(weir_error_t *err, const char *why);
/* The same, for bytes that the host did not take. */
int weir_websocket_overflow(const weir_websocket_t *ws, weir_error_t *err);

#endif
