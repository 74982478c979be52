/* tls.h -- a data plane's connection to its control plane: TCP and TLS, never
 * blocking (sync-protocol A.1). Used by the agent and by the fleet simulator. */
#ifndef WEIR_AGENT_TLS_H
#define WEIR_AGENT_TLS_H

#include "base/buffer.h"
#include "base/settings.h"

typedef struct tls_context tls_context_t;
typedef struct tls tls_t;
typedef struct ssl_session_st tls_session_t; /* what a later handshake can be shortened with */

/* What a context is made of; read while it is made only. */
typedef struct tls_files {
    const char *certificate, *key; /* paths of PEM files */
    const char *trust;             /* path: who may sign the control plane's certificate */
    const char *server_name;       /* that the certificate must have; NULL or "": the host */
} tls_files_t;

/* Serves any number of connections. WEIR_INVALID names cluster_cert, cluster_cert_key
 * or cluster_ca_cert. The caller frees it after its connections. */
int tls_context_open(const tls_files_t *files, tls_context_t **ret, weir_error_t *err);
/* The same of a node: certificates from PREFIX/ssl; trust as cluster_mtls says. */
int tls_context_new(const weir_settings_t *settings, tls_context_t **ret, weir_error_t *err);
void tls_context_free(tls_context_t *context);

/* Begins a connection to "host:port". `resume` (or NULL): the session of an earlier
 * one, borrowed for the call; the control plane may decline it. */
int tls_connect(tls_context_t *context, const char *address, tls_session_t *resume, tls_t **ret,
                weir_error_t *err);
/* What tls_connect() can resume; NULL: nothing. The caller frees it. */
tls_session_t *tls_session(tls_t *tls);
void tls_session_free(tls_session_t *session); /* NULL is fine */
void tls_free(tls_t *tls);                     /* NULL is fine */

int tls_fd(const tls_t *tls);
short tls_events(const tls_t *tls); /* what poll() shall wait for */
bool tls_ready(const tls_t *tls);   /* the handshake is done */

/* Goes on with the handshake. WEIR_OK: done; WEIR_AGAIN; else it failed. */
int tls_handshake(tls_t *tls, weir_error_t *err);
/* WEIR_OK with *ret_len > 0, WEIR_AGAIN, WEIR_CLOSED. */
int tls_read(tls_t *tls, char *bytes, size_t capacity, size_t *ret_len, weir_error_t *err);
/* Queues and sends what can be sent. WEIR_FULL: `queue_max` would be exceeded. */
int tls_write(tls_t *tls, weir_str_t bytes, size_t queue_max, weir_error_t *err);
int tls_flush(tls_t *tls, weir_error_t *err);
size_t tls_queued(const tls_t *tls); /* bytes that wait to be sent */

#endif
