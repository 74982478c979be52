/* client_internal.h -- a client from inside: client.c has the connection, pull.c
 * what is asked of the control plane and what becomes of its answers. */
#ifndef WEIR_CLIENT_INTERNAL_H
#define WEIR_CLIENT_INTERNAL_H

#include "cluster/client.h"
#include "cluster/encode.h"
#include "cluster/hello.h"
#include "cluster/websocket.h"

enum { CLIENT_TEXT_MAX = 256 };

typedef enum client_step {
    CLIENT_DOWN,
    CLIENT_HELLO, /* connected; upgrade and hello are not done */
    CLIENT_READY,
} client_step_t;

/* weir.sync.v1 on one connection (sync_client.c). */
typedef struct client_sync {
    bool agreed;  /* in the hello */
    bool waiting; /* something failed: a start follows at `retry_ms`; nothing is taken */
    int64_t retry_ms;
    unsigned failures;           /* one after another */
    char error[CLIENT_TEXT_MAX]; /* for the next start; empty: none */
    bool staged;                 /* deltas go onto the stage, whose pages are all there */
    uint64_t snapshot;           /* whose pages are asked for; 0: none */
    uint64_t stage_version, stage_seen;
    bool calling;    /* a page or a heal is on its way */
    bool filling;    /* a page of this snapshot was taken */
    bool healing;    /* ... it is a heal */
    bool unhealable; /* what could not be healed comes as a whole */
    uint64_t call_id;
    int64_t since_ms; /* of the call, or of the start */
    bool starting;    /* nothing came yet after a start */
} client_sync_t;

struct weir_client {
    weir_client_options_t options;
    char host[CLIENT_TEXT_MAX], node_id[CLIENT_TEXT_MAX], hostname[CLIENT_TEXT_MAX];
    char compat_version[CLIENT_TEXT_MAX];
    client_step_t step;
    weir_websocket_t socket;
    weir_dialect_t dialect;
    weir_codec_t codec; /* of what comes after the hello */
    client_sync_t sync;
    bool weir_peer;
    bool unoffered; /* see client.h */
    bool proven;    /* an answer in this dialect was understood, on this connection */
    bool flipped;   /* the other dialect is tried (C.9) */
    uint64_t version, newest;
    int digest_equal;    /* as weir_client_digest_equal() */
    uint64_t mismatches; /* over all connections */
    int64_t started_ms;
    bool asking;
    uint64_t ask_id, next_id;
    int64_t asked_ms, next_ask_ms;
    unsigned failures;     /* get_delta calls that came to nothing, one after another */
    weir_arena_t memory;   /* of the message at work */
    weir_json_t *reported; /* the last report that was sent on this connection */
};

/* client.c */
/* After an empty close frame. */
int client_close(weir_client_t *c, weir_error_t *err, const char *why);
/* Takes `message`; NULL counts as "no memory". */
int client_send(weir_client_t *c, weir_json_t *message, weir_error_t *err);
void client_fault(weir_client_t *c, const char *what, const weir_error_t *why);

/* pull.c */
/* Asks for what is new, now. Nothing if a question is open. */
int pull_ask(weir_client_t *c, int64_t now_ms, weir_error_t *err);
int pull_take_response(weir_client_t *c, const weir_json_t *message, int64_t now_ms,
                       weir_error_t *err);
/* The control plane told of `version`. */
int pull_noticed(weir_client_t *c, uint64_t version, int64_t now_ms, weir_error_t *err);
int pull_tick(weir_client_t *c, int64_t now_ms, weir_error_t *err);
int pull_report(weir_client_t *c, weir_error_t *err);

/* sync_client.c: weir.sync.v1 */
int sync_begin(weir_client_t *c, int64_t now_ms, weir_error_t *err);
int sync_take_call(weir_client_t *c, const weir_json_t *message, int64_t now_ms, weir_error_t *err);
/* May take from `message` what it keeps. */
int sync_take_response(weir_client_t *c, const weir_json_t *message, int64_t now_ms,
                       weir_error_t *err);
int sync_tick(weir_client_t *c, int64_t now_ms, weir_error_t *err);
int64_t sync_deadline(const weir_client_t *c);

#endif
