/* tls.h -- the agent's connection to its control plane: TCP and TLS, never
 * blocking (sync-protocol A.1). */
#ifndef WEIR_AGENT_TLS_H
#define WEIR_AGENT_TLS_H

#include "base/buffer.h"
#include "base/settings.h"

typedef struct tls_context tls_context_t;
typedef struct tls tls_t;

/* Certificates from PREFIX/ssl; trust as cluster_mtls says. */
int tls_context_new(const weir_settings_t *settings, tls_context_t **ret, weir_error_t *err);
void tls_context_free(tls_context_t *context);

/* Begins a connection to "host:port". */
int tls_connect(tls_context_t *context, const char *address, tls_t **ret, weir_error_t *err);
void tls_free(tls_t *tls); /* NULL is fine */

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

#endif
