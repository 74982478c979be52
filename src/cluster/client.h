/* client.h -- the data plane's end of the wire (sync-protocol A.2, B, C.7, C.9).
 *
 * Knows no sockets and no clock: the agent connects and speaks TLS, and gives
 * bytes and time in. One client lives through many connections. */
#ifndef WEIR_CLIENT_H
#define WEIR_CLIENT_H

#include "cluster/message.h"

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
    /* {"quarantined":[...],"quarantined_count":n,"last_error":...}: for a control
     * plane that takes reports. NULL: none. The client frees it. */
    weir_json_t *(*report)(void *context);
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

bool weir_client_ready(const weir_client_t *client);       /* the hello is done */
uint64_t weir_client_version(const weir_client_t *client); /* applied */
uint64_t weir_client_newest(const weir_client_t *client);  /* known to exist */

#endif
