/* ngx_http_weir_upstream_tls.c -- TLS towards upstreams, as each service wants it.
 *
 * A profile is an SSL_CTX with what it was made of as its key: whether and how
 * deep to verify, the client certificate and the authorities with their versions.
 * A changed certificate is another key, so nothing has to be told of changes; the
 * profile that is no longer asked for leaves the cache, and lives on as long as a
 * connection or a request holds it. */
#include "proxy/ngx_http_weir_proxy.h"

enum {
    PROFILES_MAX = 1024,
    AUTHORITIES_MAX = 64,
    DEPTH_DEFAULT = 1,
    KEY_BYTES_MAX = 8 + (AUTHORITIES_MAX + 1) * (WEIR_UUID_BYTES + 8),
};

/* Of this worker; newest first. */
static ngx_queue_t profiles;
static ngx_uint_t profile_count;

typedef struct key_s {
    u_char bytes[KEY_BYTES_MAX];
    size_t len;
} profile_key_t;

static void put(profile_key_t *key, const void *bytes, size_t len)
{
    weir_assert(key->len + len <= sizeof(key->bytes));
    ngx_memcpy(key->bytes + key->len, bytes, len);
    key->len += len;
}

void ngx_http_weir_tls_release(ngx_http_weir_tls_profile_t *profile)
{
    if (--profile->references > 0)
        return;
    ngx_ssl_cleanup_ctx(&profile->ssl);
    ngx_free(profile);
}

static ngx_http_weir_tls_profile_t *find(const profile_key_t *key, uint32_t hash)
{
    for (ngx_queue_t *q = ngx_queue_head(&profiles); q != ngx_queue_sentinel(&profiles);
         q = ngx_queue_next(q)) {
        ngx_http_weir_tls_profile_t *profile =
            ngx_queue_data(q, ngx_http_weir_tls_profile_t, queue);
        if (profile->hash != hash || profile->key_len != key->len ||
            ngx_memcmp(profile->key, key->bytes, key->len) != 0)
            continue;
        ngx_queue_remove(q);
        ngx_queue_insert_head(&profiles, q);
        return profile;
    }
    return NULL;
}

static void remember(ngx_http_weir_tls_profile_t *profile)
{
    if (profile_count == PROFILES_MAX) {
        ngx_queue_t *last = ngx_queue_last(&profiles);
        ngx_queue_remove(last);
        ngx_http_weir_tls_release(ngx_queue_data(last, ngx_http_weir_tls_profile_t, queue));
        profile_count--;
    }
    ngx_queue_insert_head(&profiles, &profile->queue);
    profile->references++;
    profile_count++;
}

/* -- PEM ----------------------------------------------------------------------------- */

static int no_password(char *out, int bytes, int writing, void *data)
{
    (void)out, (void)bytes, (void)writing, (void)data;
    return 0;
}

static bool use_certificate(SSL_CTX *ctx, weir_str_t cert, weir_str_t key)
{
    BIO *in = BIO_new_mem_buf(cert.data, (int)cert.len);
    X509 *leaf = in != NULL ? PEM_read_bio_X509(in, NULL, no_password, NULL) : NULL;
    bool fine = leaf != NULL && SSL_CTX_use_certificate(ctx, leaf) == 1;
    X509 *next = NULL;
    while (fine && (next = PEM_read_bio_X509(in, NULL, no_password, NULL)) != NULL) {
        fine = SSL_CTX_add1_chain_cert(ctx, next) == 1;
        X509_free(next);
    }
    X509_free(leaf);
    BIO_free(in);
    in = fine ? BIO_new_mem_buf(key.data, (int)key.len) : NULL;
    EVP_PKEY *private_key =
        in != NULL ? PEM_read_bio_PrivateKey(in, NULL, no_password, NULL) : NULL;
    fine = private_key != NULL && SSL_CTX_use_PrivateKey(ctx, private_key) == 1;
    EVP_PKEY_free(private_key);
    BIO_free(in);
    ERR_clear_error(); /* the end of the chain counts as an error there */
    return fine;
}

static bool trust(SSL_CTX *ctx, weir_str_t pem)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    BIO *in = BIO_new_mem_buf(pem.data, (int)pem.len);
    X509 *authority = in != NULL ? PEM_read_bio_X509(in, NULL, no_password, NULL) : NULL;
    bool fine = authority != NULL && X509_STORE_add_cert(store, authority) == 1;
    X509_free(authority);
    BIO_free(in);
    ERR_clear_error();
    return fine;
}

/* -- a service's profile ------------------------------------------------------------------ */

typedef struct parts_s {
    bool has_certificate;
    weir_certificate_t certificate;
    weir_str_t authorities[AUTHORITIES_MAX];
    size_t authority_count;
} parts_t;

/* Inside the reader. What is missing is logged, and left out (routing 9.2). */
static void read_parts(ngx_http_weir_ctx_t *ctx, weir_reader_t *reader, parts_t *parts,
                       profile_key_t *key)
{
    const ngx_http_weir_service_t *service = &ctx->routed->service;
    ngx_log_t *log = ctx->r->connection->log;
    weir_error_t err = { 0 };
    const weir_uuid_t *certificate = ngx_http_weir_client_certificate(ctx);
    if (!weir_uuid_is_zero(certificate)) {
        parts->has_certificate =
            weir_reader_certificate(reader, certificate, &parts->certificate, &err) == WEIR_OK;
        if (parts->has_certificate) {
            put(key, &parts->certificate.id, sizeof(parts->certificate.id));
            put(key, &parts->certificate.version, sizeof(parts->certificate.version));
        } else {
            ngx_log_error(NGX_LOG_ERR, log, 0, "weir: a service's client certificate is missing");
        }
    }
    for (size_t i = 0; i < service->ca_certificate_count && i < AUTHORITIES_MAX; i++) {
        uint64_t version = 0;
        weir_str_t *pem = &parts->authorities[parts->authority_count];
        if (weir_reader_ca_certificate(reader, &service->ca_certificates[i], pem, &version, &err) !=
            WEIR_OK) {
            ngx_log_error(NGX_LOG_ERR, log, 0, "weir: a CA certificate of a service is missing");
            continue;
        }
        parts->authority_count++;
        put(key, &service->ca_certificates[i], sizeof(weir_uuid_t));
        put(key, &version, sizeof(version));
    }
}

static ngx_int_t use_default_certificate(ngx_http_weir_ctx_t *ctx, SSL_CTX *ssl)
{
    const weir_settings_t *settings = ngx_http_weir_proxy_main(ctx->r)->node->settings;
    if (!weir_setting_boolean(settings, "client_ssl"))
        return NGX_OK;
    const char *cert = weir_setting_string(settings, "client_ssl_cert");
    const char *key = weir_setting_string(settings, "client_ssl_cert_key");
    return SSL_CTX_use_certificate_chain_file(ssl, cert) == 1 &&
                   SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) == 1
               ? NGX_OK
               : NGX_ERROR;
}

static ngx_int_t fill(ngx_http_weir_ctx_t *ctx, ngx_http_weir_tls_profile_t *profile,
                      const parts_t *parts)
{
    const ngx_http_weir_service_t *service = &ctx->routed->service;
    ngx_log_t *log = ctx->r->connection->log;
    int depth = service->tls_verify_depth >= 0 ? service->tls_verify_depth : DEPTH_DEFAULT;
    SSL_CTX *ssl = profile->ssl.ctx;
    SSL_CTX_set_verify_depth(ssl, depth);
    if (parts->has_certificate &&
        !use_certificate(ssl, parts->certificate.cert, parts->certificate.key))
        ngx_log_error(NGX_LOG_ERR, log, 0, "weir: a client certificate cannot be used");
    if (!parts->has_certificate && use_default_certificate(ctx, ssl) != NGX_OK)
        ngx_ssl_error(NGX_LOG_ERR, log, 0, (char *)"weir: client_ssl_cert cannot be used");
    for (size_t i = 0; i < parts->authority_count; i++)
        if (!trust(ssl, parts->authorities[i]))
            ngx_log_error(NGX_LOG_ERR, log, 0, "weir: a CA certificate cannot be used");
    return NGX_OK;
}

static ngx_http_weir_tls_profile_t *make(ngx_http_weir_ctx_t *ctx, const parts_t *parts,
                                         const profile_key_t *key, uint32_t hash)
{
    ngx_log_t *log = ngx_cycle->log;
    ngx_http_weir_tls_profile_t *profile = ngx_calloc(sizeof(*profile) + key->len, log);
    if (profile == NULL)
        return NULL;
    profile->ssl.log = log;
    profile->hash = hash;
    profile->key_len = key->len;
    profile->verify = ctx->routed->service.tls_verify == 1;
    ngx_memcpy(profile->key, key->bytes, key->len);
    if (ngx_ssl_create(&profile->ssl, NGX_SSL_TLSv1_2 | NGX_SSL_TLSv1_3, NULL) != NGX_OK) {
        ngx_free(profile);
        return NULL;
    }
    profile->references = 1; /* the caller's */
    if (fill(ctx, profile, parts) == NGX_OK)
        return profile;
    ngx_http_weir_tls_release(profile);
    return NULL;
}

ngx_int_t ngx_http_weir_tls_profile(ngx_http_weir_ctx_t *ctx)
{
    const ngx_http_weir_service_t *service = &ctx->routed->service;
    weir_reader_t *reader = NULL;
    weir_error_t err = { 0 };
    parts_t parts;
    profile_key_t key = { .len = 0 };
    int8_t how[2] = { (int8_t)(service->tls_verify == 1), (int8_t)service->tls_verify_depth };
    if (profiles.next == NULL) {
        ngx_queue_init(&profiles);
    }
    put(&key, how, sizeof(how));
    parts.has_certificate = false;
    parts.authority_count = 0;
    if (!weir_uuid_is_zero(ngx_http_weir_client_certificate(ctx)) ||
        service->ca_certificate_count > 0) {
        reader = ngx_http_weir_reader(ngx_http_weir_proxy_main(ctx->r)->node, ngx_cycle->log);
        if (reader == NULL || weir_reader_enter(reader, &err) != WEIR_OK)
            return NGX_ERROR;
        read_parts(ctx, reader, &parts, &key);
    }
    uint32_t hash = ngx_murmur_hash2(key.bytes, key.len);
    ctx->tls = find(&key, hash);
    if (ctx->tls != NULL) {
        ctx->tls->references++;
    } else {
        ctx->tls = make(ctx, &parts, &key, hash);
        if (ctx->tls != NULL)
            remember(ctx->tls);
    }
    if (reader != NULL)
        weir_reader_leave(reader);
    return ctx->tls != NULL ? NGX_OK : NGX_ERROR;
}
