/* ngx_http_weir_tls.c -- the certificate for a client's handshake (routing 11).
 *
 * Asked for in OpenSSL's certificate callback, by the server name, from the image.
 * What was parsed is kept by (id, version) and bounded; a changed certificate is
 * another version. Without a name, or an entry for it, the certificate of the
 * configuration stays. */
#include "proxy/ngx_http_weir_proxy.h"

enum { PARSED_MAX = 4096, BUCKETS = 1024, CHAIN_MAX = 16 };

typedef struct pair_s {
    X509 *leaf;
    STACK_OF(X509) * chain;
    EVP_PKEY *key;
} pair_t;

typedef struct parsed_s {
    ngx_queue_t queue; /* most recently used first */
    struct parsed_s *next;
    weir_uuid_t id;
    uint64_t version;
    pair_t pairs[2]; /* the second may be of another kind of key */
    size_t pair_count;
} parsed_t;

/* Of this worker. */
static ngx_queue_t recent;
static parsed_t *buckets[BUCKETS];
static ngx_uint_t parsed_count;

static size_t bucket_of(const weir_uuid_t *id)
{
    return ngx_murmur_hash2((u_char *)(uintptr_t)id->bytes, WEIR_UUID_BYTES) % BUCKETS;
}

static void release_pair(pair_t *pair)
{
    X509_free(pair->leaf);
    sk_X509_pop_free(pair->chain, X509_free);
    EVP_PKEY_free(pair->key);
}

static void release(parsed_t *parsed)
{
    for (size_t i = 0; i < 2; i++)
        release_pair(&parsed->pairs[i]);
    ngx_free(parsed);
}

static int no_password(char *out, int bytes, int writing, void *data)
{
    (void)out, (void)bytes, (void)writing, (void)data;
    return 0;
}

static bool parse_pair(weir_str_t cert, weir_str_t key, pair_t *ret)
{
    BIO *in = BIO_new_mem_buf(cert.data, (int)cert.len);
    ret->leaf = in != NULL ? PEM_read_bio_X509(in, NULL, no_password, NULL) : NULL;
    ret->chain = sk_X509_new_null();
    X509 *next = NULL;
    while (ret->leaf != NULL && ret->chain != NULL && sk_X509_num(ret->chain) < CHAIN_MAX &&
           (next = PEM_read_bio_X509(in, NULL, no_password, NULL)) != NULL) {
        if (sk_X509_push(ret->chain, next) == 0) {
            X509_free(next);
            break;
        }
    }
    BIO_free(in);
    in = BIO_new_mem_buf(key.data, (int)key.len);
    ret->key = in != NULL ? PEM_read_bio_PrivateKey(in, NULL, no_password, NULL) : NULL;
    BIO_free(in);
    ERR_clear_error(); /* the end of the chain counts as an error there */
    return ret->leaf != NULL && ret->chain != NULL && ret->key != NULL;
}

static parsed_t *parse(const weir_certificate_t *certificate)
{
    parsed_t *parsed = ngx_calloc(sizeof(*parsed), ngx_cycle->log);
    if (parsed == NULL)
        return NULL;
    parsed->id = certificate->id;
    parsed->version = certificate->version;
    parsed->pair_count = 1;
    bool fine = parse_pair(certificate->cert, certificate->key, &parsed->pairs[0]);
    if (fine && certificate->cert_alt.data != NULL && certificate->key_alt.data != NULL) {
        parsed->pair_count = 2;
        fine = parse_pair(certificate->cert_alt, certificate->key_alt, &parsed->pairs[1]);
    }
    if (fine)
        return parsed;
    release(parsed);
    return NULL;
}

static void forget(parsed_t *parsed)
{
    parsed_t **at = &buckets[bucket_of(&parsed->id)];
    while (*at != parsed)
        at = &(*at)->next;
    *at = parsed->next;
    ngx_queue_remove(&parsed->queue);
    parsed_count--;
    release(parsed);
}

static parsed_t *find(const weir_certificate_t *certificate)
{
    parsed_t *parsed = buckets[bucket_of(&certificate->id)];
    while (parsed != NULL && !weir_uuid_equal(&parsed->id, &certificate->id))
        parsed = parsed->next;
    if (parsed != NULL && parsed->version != certificate->version) {
        forget(parsed);
        return NULL;
    }
    if (parsed != NULL) {
        ngx_queue_remove(&parsed->queue);
        ngx_queue_insert_head(&recent, &parsed->queue);
    }
    return parsed;
}

static parsed_t *find_or_parse(const weir_certificate_t *certificate)
{
    if (recent.next == NULL) {
        ngx_queue_init(&recent);
    }
    parsed_t *parsed = find(certificate);
    if (parsed != NULL)
        return parsed;
    parsed = parse(certificate);
    if (parsed == NULL)
        return NULL;
    if (parsed_count == PARSED_MAX)
        forget(ngx_queue_data(ngx_queue_last(&recent), parsed_t, queue));
    size_t bucket = bucket_of(&parsed->id);
    parsed->next = buckets[bucket];
    buckets[bucket] = parsed;
    ngx_queue_insert_head(&recent, &parsed->queue);
    parsed_count++;
    return parsed;
}

static bool use(SSL *ssl, const parsed_t *parsed)
{
    SSL_certs_clear(ssl);
    for (size_t i = 0; i < parsed->pair_count; i++) {
        const pair_t *pair = &parsed->pairs[i];
        if (SSL_use_certificate(ssl, pair->leaf) != 1 || SSL_set1_chain(ssl, pair->chain) != 1 ||
            SSL_use_PrivateKey(ssl, pair->key) != 1)
            return false;
    }
    return true;
}

/* 1: go on with the handshake, 0: abort it. */
static int choose_certificate(SSL *ssl, void *data)
{
    ngx_http_weir_proxy_main_conf_t *main = data;
    const ngx_connection_t *c = ngx_ssl_get_connection(ssl);
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    weir_certificate_t certificate;
    weir_error_t err = { 0 };
    weir_reader_t *reader = name != NULL ? ngx_http_weir_reader(main->node, c->log) : NULL;
    if (reader == NULL)
        return 1;
    if (weir_reader_enter(reader, &err) != WEIR_OK)
        return 1;
    int rc = weir_reader_sni(reader, weir_str(name), &certificate, &err);
    bool fine = rc == WEIR_NOT_FOUND;
    if (rc == WEIR_OK) {
        const parsed_t *parsed = find_or_parse(&certificate);
        fine = parsed != NULL && use(ssl, parsed);
    }
    weir_reader_leave(reader);
    if (!fine)
        ngx_log_error(NGX_LOG_ERR, c->log, 0, "weir: no usable certificate for \"%s\": %s", name,
                      err.reason);
    return fine;
}

ngx_int_t ngx_http_weir_tls_init(ngx_conf_t *cf)
{
    ngx_http_weir_proxy_main_conf_t *main =
        ngx_http_conf_get_module_main_conf(cf, ngx_http_weir_proxy_module);
    ngx_http_ssl_srv_conf_t *server = main->server[ngx_http_ssl_module.ctx_index];
    if (server != NULL && server->ssl.ctx != NULL)
        SSL_CTX_set_cert_cb(server->ssl.ctx, choose_certificate, main);
    return NGX_OK;
}
