/* ngx_http_weir_cluster_upgrade.c -- who may connect to the cluster listener, and the
 * upgrade to WebSocket (sync-protocol A.1, A.2). */
#include "host/ngx_http_weir_cluster_upgrade.h"

#include "host/identity.h"

#include <ngx_sha1.h>

#include <openssl/x509.h>

/* The end of a certificate's life; 0 if it cannot be read. */
static int64_t not_after(const X509 *certificate)
{
    struct tm tm;
    return ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

/* shared mode: it must be our own certificate. */
static const char *not_shared(SSL *ssl, const X509 *peer)
{
    unsigned char theirs[EVP_MAX_MD_SIZE];
    unsigned char ours[EVP_MAX_MD_SIZE];
    unsigned theirs_len = 0;
    unsigned ours_len = 0;
    const X509 *own = SSL_get_certificate(ssl);
    if (own == NULL || X509_digest(own, EVP_sha256(), ours, &ours_len) != 1 ||
        X509_digest(peer, EVP_sha256(), theirs, &theirs_len) != 1) {
        return "its certificate cannot be compared with cluster_cert";
    }
    if (theirs_len != ours_len || CRYPTO_memcmp(theirs, ours, ours_len) != 0) {
        return "its certificate is not cluster_cert, which cluster_mtls = shared demands";
    }
    return NULL;
}

const char *ngx_http_weir_cluster_distrust(ngx_connection_t *c, const char *mode,
                                           int64_t *ret_expiry_s)
{
    const char *reason = NULL;
    if (c->ssl == NULL) {
        return "it does not speak TLS, so there is no certificate";
    }
    X509 *peer = SSL_get_peer_certificate(c->ssl->connection);
    if (peer == NULL) {
        return "it presents no certificate";
    }
    *ret_expiry_s = not_after(peer);
    long verified = SSL_get_verify_result(c->ssl->connection);
    if (X509_cmp_current_time(X509_get0_notAfter(peer)) != 1) {
        reason = "its certificate has expired";
    } else if (X509_cmp_current_time(X509_get0_notBefore(peer)) != -1) {
        reason = "its certificate is not valid yet";
    } else if (strcmp(mode, "pki") != 0) {
        reason = not_shared(c->ssl->connection, peer);
    } else if (verified != X509_V_OK) {
        reason = X509_verify_cert_error_string(verified);
    }
    X509_free(peer);
    return reason;
}

bool ngx_http_weir_cluster_named(ngx_connection_t *c, weir_str_t node_id)
{
    X509 *peer = c->ssl != NULL ? SSL_get_peer_certificate(c->ssl->connection) : NULL;
    bool named = peer != NULL && weir_identity_names(peer, node_id);
    X509_free(peer);
    return named;
}

enum { KEY_MAX = 128, PROTOCOL_MAX = 128 };

/* Whether a comma-separated list has the word. */
static ngx_flag_t has_word(ngx_str_t list, const char *word, ngx_flag_t any_case)
{
    size_t len = ngx_strlen(word);
    size_t at = 0;
    while (at < list.len) {
        while (at < list.len && (list.data[at] == ' ' || list.data[at] == '\t')) {
            at++;
        }
        size_t end = at;
        while (end < list.len && list.data[end] != ',') {
            end++;
        }
        size_t next = end + 1;
        while (end > at && (list.data[end - 1] == ' ' || list.data[end - 1] == '\t')) {
            end--;
        }
        if (end - at == len && (any_case ? ngx_strncasecmp(list.data + at, (u_char *)word, len)
                                         : ngx_strncmp(list.data + at, word, len)) == 0) {
            return 1;
        }
        at = next;
    }
    return 0;
}

static ngx_flag_t is_named(const ngx_table_elt_t *header, const char *name)
{
    return header->key.len == ngx_strlen(name) &&
           ngx_strncasecmp(header->key.data, (u_char *)name, header->key.len) == 0;
}

static void look_at(const ngx_table_elt_t *header, ngx_http_weir_upgrade_t *ret)
{
    if (is_named(header, "upgrade")) {
        ret->upgrade |= has_word(header->value, "websocket", 1);
    } else if (is_named(header, "connection")) {
        ret->connection |= has_word(header->value, "upgrade", 1);
    } else if (is_named(header, "sec-websocket-version")) {
        ret->version = has_word(header->value, "13", 0);
    } else if (is_named(header, "sec-websocket-protocol")) {
        ret->meta |= has_word(header->value, "kong.meta.v1", 0);
        ret->protocol = header->value;
    } else if (is_named(header, "sec-websocket-key")) {
        ret->key = header->value;
    }
}

const char *ngx_http_weir_cluster_no_upgrade(ngx_http_request_t *r, ngx_http_weir_upgrade_t *ret)
{
    ngx_list_part_t *part;
    ngx_table_elt_t *header;
    ngx_uint_t i;

    ngx_memzero(ret, sizeof(*ret));
    part = &r->headers_in.headers.part;
    do {
        header = part->elts;
        for (i = 0; i < part->nelts; i++) {
            look_at(&header[i], ret);
        }
        part = part->next;
    } while (part != NULL);
    if (r->method != NGX_HTTP_GET || r->http_version != NGX_HTTP_VERSION_11) {
        return "it asks by something else than GET of HTTP/1.1";
    }
    if (r->headers_in.content_length_n > 0 || r->headers_in.chunked) {
        return "its request has a body";
    }
    if (!ret->upgrade || !ret->connection) {
        return "it asks for no upgrade to websocket";
    }
    if (!ret->version) {
        return "its Sec-WebSocket-Version is not 13";
    }
    if (ret->key.len == 0 || ret->key.len > KEY_MAX) {
        return "its Sec-WebSocket-Key is missing or too long";
    }
    return ret->protocol.len > PROTOCOL_MAX ? "its Sec-WebSocket-Protocol is too long" : NULL;
}

size_t ngx_http_weir_cluster_accept(ngx_str_t key, ngx_str_t protocol, u_char *out, size_t size)
{
    static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    u_char digest[20];
    u_char base64[ngx_base64_encoded_length(sizeof(digest))];
    ngx_str_t from = { sizeof(digest), digest };
    ngx_str_t to = { 0, base64 };
    ngx_sha1_t sha1;

    ngx_sha1_init(&sha1);
    ngx_sha1_update(&sha1, key.data, key.len);
    ngx_sha1_update(&sha1, magic, sizeof(magic) - 1);
    ngx_sha1_final(digest, &sha1);
    ngx_encode_base64(&to, &from);
    u_char *end = ngx_snprintf(
        out, size,
        "HTTP/1.1 101 Switching Protocols" CRLF "Date: %V" CRLF "Connection: upgrade" CRLF
        "%s%V%sUpgrade: websocket" CRLF "Sec-WebSocket-Accept: %V" CRLF CRLF,
        &ngx_cached_http_time, protocol.len > 0 ? "Sec-WebSocket-Protocol: " : "", &protocol,
        protocol.len > 0 ? CRLF : "", &to);
    return (size_t)(end - out);
}
