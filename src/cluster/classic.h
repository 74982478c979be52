/* classic.h -- the classic full sync on the control plane (sync-protocol D): the whole
 * configuration in one compressed frame, made once for all who can take it, and a
 * session of /v1/outlet. The data plane's end: classic_client.h.
 *
 * The exporter is thread-safe; a session is used by one thread and knows no sockets
 * and no clock, as session.h. */
#ifndef WEIR_CLASSIC_H
#define WEIR_CLASSIC_H

#include "cluster/registry.h"

/* -- what is pushed -------------------------------------------------------------------- */

/* As a data plane sends it back in its pings: 32 characters. */
enum { WEIR_CLASSIC_HASH = 32 };
#define WEIR_CLASSIC_NO_HASH "00000000000000000000000000000000"

typedef struct weir_classic_exporter weir_classic_exporter_t;
typedef struct weir_classic_frame weir_classic_frame_t; /* counted; immutable */

typedef struct weir_classic_exporter_options {
    weir_store_t *store; /* borrowed */
    size_t payload_max;  /* cluster_max_payload: of a compressed frame */
} weir_classic_exporter_options_t;

int weir_classic_exporter_new(const weir_classic_exporter_options_t *options,
                              weir_classic_exporter_t **ret, weir_error_t *err);
void weir_classic_exporter_free(weir_classic_exporter_t *exporter);

/* The set as of `version` or newer, for data planes of `level` (weir_compat_level()).
 * One is made at a time; the newest of each level is kept. Reads the store and
 * compresses: run it on a thread that may block. The caller releases *ret.
 * WEIR_TOO_LARGE: it does not fit into payload_max; reason says so. */
int weir_classic_export(weir_classic_exporter_t *exporter, int64_t level, uint64_t version,
                        int64_t now_ms, weir_classic_frame_t **ret, weir_error_t *err);
/* The same if it is there already, else NULL. Neither reads the store nor waits for it. */
weir_classic_frame_t *weir_classic_ready(weir_classic_exporter_t *exporter, int64_t level,
                                         uint64_t version);
/* Frames made, and given out again. */
void weir_classic_exporter_count(weir_classic_exporter_t *exporter, uint64_t *ret_made,
                                 uint64_t *ret_reused);

weir_classic_frame_t *weir_classic_frame_keep(weir_classic_frame_t *frame);
void weir_classic_frame_release(weir_classic_frame_t *frame); /* NULL is fine */
/* The payload: gzip of a "reconfigure" message. */
weir_str_t weir_classic_frame_payload(const weir_classic_frame_t *frame);
uint64_t weir_classic_frame_version(const weir_classic_frame_t *frame);
/* Terminated. Another one exactly when what data planes get is another; the same for
 * every level. */
const char *weir_classic_frame_hash(const weir_classic_frame_t *frame);
/* Names of the plugins in it, sorted, each once; NULL after the last. */
const char *weir_classic_frame_plugin(const weir_classic_frame_t *frame, size_t index);

/* -- when it is pushed (D.6) --------------------------------------------------------------- */

/* The first change goes out at once, those of the next `pause_ms` together after it. */
typedef struct weir_classic_rounds {
    int64_t pause_ms; /* db_update_frequency */
    int64_t began_ms; /* the last round */
    uint64_t pushed;  /* the version of that round */
} weir_classic_rounds_t;

/* When a round for `newest` may begin; INT64_MAX: there is nothing new. */
int64_t weir_classic_due(const weir_classic_rounds_t *rounds, uint64_t newest);
void weir_classic_began(weir_classic_rounds_t *rounds, uint64_t newest, int64_t now_ms);

/* -- a session ------------------------------------------------------------------------------- */

typedef struct weir_classic_session weir_classic_session_t;

enum {
    WEIR_CLASSIC_INFO_MS = 5000,     /* basic_info must be there by then */
    WEIR_CLASSIC_IDLE_MS = 45000,    /* no ping for so long: close */
    WEIR_CLASSIC_RESEND_MS = 5000,   /* a ping with an old hash that soon says nothing yet */
    WEIR_CLASSIC_RESENDS_MAX = 3,    /* of one version to one data plane */
    WEIR_CLASSIC_INFO_MAX = 1 << 20, /* bytes of a frame from a data plane */
    WEIR_CLASSIC_PLUGINS_MAX = 1024, /* in its list; what is more is left out */
    WEIR_CLASSIC_TEXT_MAX = 128,     /* bytes of a text that is kept */
};

/* What the query of the upgrade says (A.2). Values are kept as they are. */
typedef struct weir_classic_query {
    weir_str_t node_id, hostname, version; /* data NULL: not given */
} weir_classic_query_t;

/* Never fails: what is not there stays absent, of equal keys the first counts. */
void weir_classic_query_read(weir_str_t query, weir_classic_query_t *ret);

/* A frame that a session wants. The host answers with weir_classic_session_frame(). */
typedef struct weir_classic_want {
    int64_t level;
    uint64_t version; /* or newer */
} weir_classic_want_t;

typedef struct weir_classic_session_options {
    weir_classic_query_t query; /* copied */
    size_t payload_max;         /* cluster_max_payload */
    const char *compat_version; /* cluster_compat_version; borrowed */
    weir_registry_t *registry;  /* borrowed */
    weir_str_t ip;              /* copied */
    int64_t certificate_expiry_s;
    void *context;
    /* Queues bytes for the peer; they are copied. */
    int (*send)(void *context, weir_str_t bytes);
    /* Queues a frame's payload, by reference. Keeps it. */
    int (*send_frame)(void *context, weir_classic_frame_t *frame);
    /* Whether an earlier payload still waits to be written: the next one waits, too. */
    bool (*busy)(void *context);
    void (*want)(void *context, const weir_classic_want_t *want);
    /* One event, for the host's log. */
    void (*event)(void *context, const char *text);
    /* The same for what somebody should look at; NULL: event(). */
    void (*warning)(void *context, const char *text);
} weir_classic_session_options_t;

int weir_classic_session_new(const weir_classic_session_options_t *options, int64_t now_ms,
                             weir_classic_session_t **ret, weir_error_t *err);
void weir_classic_session_free(weir_classic_session_t *session, int64_t now_ms);

/* Each returns WEIR_OK, or WEIR_CLOSED (err->reason: why): drop the connection
 * when what is queued has been sent. */
int weir_classic_session_input(weir_classic_session_t *session, weir_str_t bytes, int64_t now_ms,
                               weir_error_t *err);
int weir_classic_session_tick(weir_classic_session_t *session, int64_t now_ms, weir_error_t *err);
/* `version` is to be pushed, as soon as basic_info is there. Always WEIR_OK. */
int weir_classic_session_push(weir_classic_session_t *session, uint64_t version, int64_t now_ms);
/* What was wanted; `frame` NULL: it could not be made, `failure` says why. */
int weir_classic_session_frame(weir_classic_session_t *session, weir_classic_frame_t *frame,
                               const weir_error_t *failure, int64_t now_ms, weir_error_t *err);

weir_str_t weir_classic_session_node(const weir_classic_session_t *session);

#endif
