/* classic_client.h -- the data plane's end of the classic full sync (sync-protocol A.2,
 * D.1, D.4, D.7).
 *
 * Knows no sockets and no clock, as client.h. One client lives through many
 * connections. Of what it was pushed only the newest is applied, in tick. */
#ifndef WEIR_CLASSIC_CLIENT_H
#define WEIR_CLASSIC_CLIENT_H

#include "cluster/classic_table.h"

typedef struct weir_classic_client weir_classic_client_t;

enum {
    WEIR_CLASSIC_STEP_MS = 5000,   /* the upgrade */
    WEIR_CLASSIC_PING_MS = 30000,  /* a ping at least so often */
    WEIR_CLASSIC_QUIET_MS = 45000, /* nothing came for so long: close */
    WEIR_CLASSIC_RETRY_MS = 10000, /* what could not be applied is tried again */
};

/* A push to be applied in one piece. */
typedef struct weir_classic_update {
    const weir_classic_head_t *head;
    weir_str_t payload;    /* for weir_classic_read_rows() */
    uint64_t inflated_max; /* ... too */
} weir_classic_update_t;

typedef struct weir_classic_client_options {
    const char *host;   /* "host:port", for the Host header */
    weir_str_t node_id; /* copied, as all of these */
    const char *hostname, *compat_version;
    const char *const *labels;  /* "key:value", NULL-ended; or NULL */
    const char *const *plugins; /* names, sorted, NULL-ended */
    size_t payload_max;         /* cluster_max_payload */
    void *context;
    int (*send)(void *context, weir_str_t bytes);
    int (*random)(void *context, uint8_t *bytes, size_t count);
    /* Applies it wholly, or not at all. WEIR_CORRUPT, WEIR_TOO_LARGE: of the message.
     * WEIR_INVALID: refused for good. Others: tried again. */
    int (*apply)(void *context, const weir_classic_update_t *update, weir_error_t *err);
    void (*event)(void *context, const char *text);
} weir_classic_client_options_t;

int weir_classic_client_new(const weir_classic_client_options_t *options,
                            weir_classic_client_t **ret, weir_error_t *err);
void weir_classic_client_free(weir_classic_client_t *client); /* NULL is fine */

/* TLS is up: begins the upgrade. */
int weir_classic_client_connected(weir_classic_client_t *client, int64_t now_ms, weir_error_t *err);
/* WEIR_OK or WEIR_CLOSED (reason: why): drop the connection. */
int weir_classic_client_input(weir_classic_client_t *client, weir_str_t bytes, int64_t now_ms,
                              weir_error_t *err);
int weir_classic_client_tick(weir_classic_client_t *client, int64_t now_ms, weir_error_t *err);
/* When tick wants to be called, at the latest. */
int64_t weir_classic_client_deadline(const weir_classic_client_t *client);
void weir_classic_client_disconnected(weir_classic_client_t *client);

/* What is held now, after something else than this client changed it. */
void weir_classic_client_holds(weir_classic_client_t *client, const char *hash);
bool weir_classic_client_ready(const weir_classic_client_t *client); /* upgraded */
const char *weir_classic_client_hash(const weir_classic_client_t *client);

#endif
