/* tls.c -- a data plane's connection to its control plane. */
#include "agent/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATH_BYTES_MAX = 4096, NAME_BYTES_MAX = 256, VERIFY_DEPTH = 4 };

struct tls_context {
    SSL_CTX *ssl;
    char server_name[NAME_BYTES_MAX]; /* empty: the host */
};

struct tls {
    int fd;
    SSL *ssl;
    bool connected, ready;
    short events;
    weir_buffer_t out;
};

static int ssl_failure(weir_error_t *err, int code, const char *what)
{
    char text[200] = "no reason given";
    unsigned long number = ERR_get_error();
    if (number != 0)
        ERR_error_string_n(number, text, sizeof(text));
    ERR_clear_error();
    return weir_error_set(err, code, NULL, "%s: %s", what, text);
}

static int use_files(SSL_CTX *ssl, const tls_files_t *files, weir_error_t *err)
{
    if (SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION) != 1)
        return ssl_failure(err, WEIR_IO, "TLS");
    if (SSL_CTX_use_certificate_chain_file(ssl, files->certificate) != 1)
        return ssl_failure(err, WEIR_INVALID, "cluster_cert");
    if (SSL_CTX_use_PrivateKey_file(ssl, files->key, SSL_FILETYPE_PEM) != 1)
        return ssl_failure(err, WEIR_INVALID, "cluster_cert_key");
    if (SSL_CTX_load_verify_locations(ssl, files->trust, NULL) != 1)
        return ssl_failure(err, WEIR_INVALID,
                           strcmp(files->trust, files->certificate) == 0 ? "cluster_cert"
                                                                         : "cluster_ca_cert");
    return WEIR_OK;
}

int tls_context_open(const tls_files_t *files, tls_context_t **ret, weir_error_t *err)
{
    tls_context_t *context = weir_calloc(1, sizeof(*context));
    if (context == NULL)
        return weir_error_memory(err);
    if (files->server_name != NULL)
        snprintf(context->server_name, sizeof(context->server_name), "%s", files->server_name);
    context->ssl = SSL_CTX_new(TLS_client_method());
    int rc = context->ssl != NULL ? use_files(context->ssl, files, err)
                                  : ssl_failure(err, WEIR_IO, "TLS");
    if (rc != WEIR_OK) {
        tls_context_free(context);
        return rc;
    }
    SSL_CTX_set_verify(context->ssl, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_verify_depth(context->ssl, VERIFY_DEPTH);
    X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(context->ssl), X509_V_FLAG_PARTIAL_CHAIN);
    /* A connection is silent most of the time: its 32 KiB of buffers need not stay. */
    SSL_CTX_set_mode(context->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                       SSL_MODE_RELEASE_BUFFERS);
    *ret = context;
    return WEIR_OK;
}

static const char *file_of(const weir_settings_t *settings, const char *name, char *path)
{
    snprintf(path, PATH_BYTES_MAX, "%s/ssl/%s", weir_setting_string(settings, "prefix"), name);
    return path;
}

int tls_context_new(const weir_settings_t *settings, tls_context_t **ret, weir_error_t *err)
{
    char certificate[PATH_BYTES_MAX];
    char key[PATH_BYTES_MAX];
    char authority[PATH_BYTES_MAX];
    bool shared = strcmp(weir_setting_string(settings, "cluster_mtls"), "shared") == 0;
    tls_files_t files = {
        .certificate = file_of(settings, "cluster.crt", certificate),
        .key = file_of(settings, "cluster.key", key),
        /* In shared mode the common certificate is its own trust anchor (A.1). */
        .trust = shared ? certificate : file_of(settings, "cluster_ca.crt", authority),
        .server_name =
            shared ? "kong_clustering" : weir_setting_string(settings, "cluster_server_name"),
    };
    return tls_context_open(&files, ret, err);
}

void tls_context_free(tls_context_t *context)
{
    if (context == NULL)
        return;
    SSL_CTX_free(context->ssl);
    weir_free(context);
}

static int open_socket(const char *host, const char *port, int *ret, weir_error_t *err)
{
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
    struct addrinfo *found = NULL;
    int code = getaddrinfo(host, port, &hints, &found);
    if (code != 0)
        return weir_error_set(err, WEIR_IO, "cluster_control_plane", "%s: %s", host,
                              gai_strerror(code));
    int rc = WEIR_IO;
    for (const struct addrinfo *a = found; rc != WEIR_OK && a != NULL; a = a->ai_next) {
        int fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            rc = weir_error_errno(err, errno, "socket");
            continue;
        }
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
        if (connect(fd, a->ai_addr, a->ai_addrlen) == 0 || errno == EINPROGRESS) {
            *ret = fd;
            rc = WEIR_OK;
        } else {
            rc = weir_error_errno(err, errno, "connect to %s:%s", host, port);
            close(fd);
        }
    }
    freeaddrinfo(found);
    return rc;
}

static int begin_tls(tls_context_t *context, tls_t *tls, const char *host, weir_error_t *err)
{
    const char *name = context->server_name[0] != '\0' ? context->server_name : host;
    tls->ssl = SSL_new(context->ssl);
    if (tls->ssl == NULL || SSL_set_fd(tls->ssl, tls->fd) != 1 ||
        SSL_set_tlsext_host_name(tls->ssl, name) != 1)
        return ssl_failure(err, WEIR_IO, "TLS");
    X509_VERIFY_PARAM *param = SSL_get0_param(tls->ssl);
    if (X509_VERIFY_PARAM_set1_ip_asc(param, name) != 1 &&
        X509_VERIFY_PARAM_set1_host(param, name, 0) != 1)
        return ssl_failure(err, WEIR_IO, "TLS name");
    SSL_set_connect_state(tls->ssl);
    return WEIR_OK;
}

int tls_connect(tls_context_t *context, const char *address, tls_session_t *resume, tls_t **ret,
                weir_error_t *err)
{
    char host[NAME_BYTES_MAX];
    const char *colon = strrchr(address, ':');
    if (colon == NULL || (size_t)(colon - address) >= sizeof(host))
        return weir_error_set(err, WEIR_INVALID, "cluster_control_plane",
                              "expected host:port, got \"%s\"", address);
    snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
    tls_t *tls = weir_calloc(1, sizeof(*tls));
    if (tls == NULL)
        return weir_error_memory(err);
    tls->fd = -1;
    tls->events = POLLOUT;
    weir_buffer_init(&tls->out, SIZE_MAX / 2);
    int rc = open_socket(host, colon + 1, &tls->fd, err);
    if (rc == WEIR_OK)
        rc = begin_tls(context, tls, host, err);
    if (rc == WEIR_OK && resume != NULL && SSL_set_session(tls->ssl, resume) != 1)
        ERR_clear_error(); /* then it is a whole handshake */
    if (rc != WEIR_OK) {
        tls_free(tls);
        return rc;
    }
    *ret = tls;
    return WEIR_OK;
}

void tls_free(tls_t *tls)
{
    if (tls == NULL)
        return;
    SSL_free(tls->ssl);
    if (tls->fd >= 0)
        close(tls->fd);
    weir_buffer_release(&tls->out);
    weir_free(tls);
}

tls_session_t *tls_session(tls_t *tls)
{
    return SSL_get1_session(tls->ssl);
}

void tls_session_free(tls_session_t *session)
{
    SSL_SESSION_free(session);
}

int tls_fd(const tls_t *tls)
{
    return tls->fd;
}

short tls_events(const tls_t *tls)
{
    return (short)(tls->events | (tls->ready && tls->out.len > 0 ? POLLOUT : 0));
}

bool tls_ready(const tls_t *tls)
{
    return tls->ready;
}

/* What OpenSSL wants next: WEIR_AGAIN, or why it failed. */
static int wants(tls_t *tls, int result, weir_error_t *err, const char *what)
{
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        tls->events = POLLIN;
        return WEIR_AGAIN;
    case SSL_ERROR_WANT_WRITE:
        tls->events = POLLIN | POLLOUT;
        return WEIR_AGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return weir_error_set(err, WEIR_CLOSED, NULL, "the control plane closed the connection");
    case SSL_ERROR_SYSCALL:
        if (errno != 0)
            return weir_error_errno(err, errno, "%s", what);
        return weir_error_set(err, WEIR_CLOSED, NULL, "the control plane dropped the connection");
    default: {
        long verified = SSL_get_verify_result(tls->ssl);
        if (verified != X509_V_OK) {
            ERR_clear_error();
            return weir_error_set(err, WEIR_CLOSED, NULL, "certificate of the control plane: %s",
                                  X509_verify_cert_error_string(verified));
        }
        if (ERR_GET_REASON(ERR_peek_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
            ERR_clear_error(); /* a process that ends takes its sockets along: no error */
            return weir_error_set(err, WEIR_CLOSED, NULL,
                                  "the control plane dropped the connection");
        }
        return ssl_failure(err, WEIR_CLOSED, what);
    }
    }
}

int tls_handshake(tls_t *tls, weir_error_t *err)
{
    if (!tls->connected) {
        int number = 0;
        socklen_t len = sizeof(number);
        if (getsockopt(tls->fd, SOL_SOCKET, SO_ERROR, &number, &len) != 0)
            number = errno;
        if (number != 0)
            return weir_error_errno(err, number, "connect");
        tls->connected = true;
    }
    ERR_clear_error();
    errno = 0;
    int result = SSL_do_handshake(tls->ssl);
    if (result != 1)
        return wants(tls, result, err, "TLS handshake");
    tls->ready = true;
    tls->events = POLLIN;
    return WEIR_OK;
}

int tls_read(tls_t *tls, char *bytes, size_t capacity, size_t *ret_len, weir_error_t *err)
{
    ERR_clear_error();
    errno = 0;
    int result = SSL_read(tls->ssl, bytes, (int)capacity);
    if (result <= 0)
        return wants(tls, result, err, "read");
    tls->events = POLLIN;
    *ret_len = (size_t)result;
    return WEIR_OK;
}

int tls_flush(tls_t *tls, weir_error_t *err)
{
    enum { WRITE_MAX = 1 << 20 };
    while (tls->ready && tls->out.len > 0) {
        ERR_clear_error();
        errno = 0;
        int part = tls->out.len < WRITE_MAX ? (int)tls->out.len : WRITE_MAX;
        int result = SSL_write(tls->ssl, tls->out.data, part);
        if (result <= 0) {
            int rc = wants(tls, result, err, "write");
            return rc == WEIR_AGAIN ? WEIR_OK : rc;
        }
        weir_buffer_consume(&tls->out, (size_t)result);
    }
    return WEIR_OK;
}

int tls_write(tls_t *tls, weir_str_t bytes, size_t queue_max, weir_error_t *err)
{
    if (tls->out.len + bytes.len > queue_max)
        return weir_error_set(err, WEIR_FULL, NULL, "more than %zu bytes wait to be sent",
                              queue_max);
    if (weir_buffer_append(&tls->out, bytes) != WEIR_OK)
        return weir_error_memory(err);
    return WEIR_OK; /* sent at the end of the turn, in one piece */
}

size_t tls_queued(const tls_t *tls)
{
    return tls->out.len;
}
