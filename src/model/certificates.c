/* certificates.c -- rules for certificates and keys, over OpenSSL. */
#include "model/checks.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

static void weir_bio_cleanup(BIO **bio)
{
    BIO_free(*bio);
}

static void weir_x509_cleanup(X509 **certificate)
{
    X509_free(*certificate);
}

static void weir_pkey_cleanup(EVP_PKEY **key)
{
    EVP_PKEY_free(*key);
}

static int no_passphrase(char *buffer, int bytes, int writing, void *context)
{
    (void)buffer, (void)bytes, (void)writing, (void)context;
    return -1; /* never ask on the terminal */
}

static X509 *parse_certificate(weir_str_t text)
{
    WEIR_AUTO(bio) BIO *bio = BIO_new_mem_buf(text.data, (int)text.len);
    if (bio == NULL)
        return NULL;
    X509 *certificate = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL);
    if (certificate == NULL && BIO_reset(bio) == 1)
        certificate = d2i_X509_bio(bio, NULL);
    return certificate;
}

static EVP_PKEY *parse_key(weir_str_t text)
{
    WEIR_AUTO(bio) BIO *bio = BIO_new_mem_buf(text.data, (int)text.len);
    if (bio == NULL)
        return NULL;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    if (key == NULL && BIO_reset(bio) == 1)
        key = PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL);
    if (key == NULL && BIO_reset(bio) == 1)
        key = d2i_PrivateKey_bio(bio, NULL);
    return key;
}

/* The text that the incumbent takes from its library, with OpenSSL's own words. */
static int library_failure(const char *what, const char *call, weir_error_t *err)
{
    unsigned long number = ERR_peek_last_error();
    char text[200];
    ERR_error_string_n(number, text, sizeof(text));
    ERR_clear_error();
    return weir_error_set(err, WEIR_INVALID, NULL, "%s%s %s:crypto:0:", what, call, text);
}

int weir_check_certificate(weir_str_t value, weir_error_t *err)
{
    WEIR_AUTO(x509) X509 *certificate = parse_certificate(value);
    if (certificate == NULL)
        return library_failure("invalid certificate: ", "x509.new:", err);
    ERR_clear_error();
    return WEIR_OK;
}

int weir_check_key(weir_str_t value, weir_error_t *err)
{
    WEIR_AUTO(pkey) EVP_PKEY *key = parse_key(value);
    if (key == NULL)
        return library_failure("invalid key: ", "pkey.new:load_key:", err);
    ERR_clear_error();
    return WEIR_OK;
}

int weir_check_signature_key(weir_str_t value, weir_error_t *err)
{
    WEIR_AUTO(pkey) EVP_PKEY *key = parse_key(value);
    ERR_clear_error();
    return key != NULL ? WEIR_OK : weir_error_set(err, WEIR_INVALID, NULL, "invalid key");
}

/* -- pairs of keys ------------------------------------------------------------ */

static EVP_PKEY *parse_half(weir_str_t text, bool private)
{
    WEIR_AUTO(bio) BIO *bio = BIO_new_mem_buf(text.data, (int)text.len);
    if (bio == NULL)
        return NULL;
    return private ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL)
                   : PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, NULL);
}

/* Text that is to be read as a key: there, and no reference to a vault. */
static bool is_key_text(weir_str_t text)
{
    return text.data != NULL && !weir_str_starts(text, WEIR_STR("{vault://"));
}

int weir_check_pem_pair(const weir_json_t *pem, weir_error_t *err)
{
    weir_str_t public_text = weir_json_get_string(pem, "public_key", (weir_str_t){ NULL, 0 });
    weir_str_t private_text = weir_json_get_string(pem, "private_key", (weir_str_t){ NULL, 0 });
    WEIR_AUTO(pkey)
    EVP_PKEY *public = is_key_text(public_text) ? parse_half(public_text, false) : NULL;
    if (public == NULL && is_key_text(public_text)) {
        ERR_clear_error();
        return weir_error_set(err, WEIR_INVALID, NULL, "could not load public key");
    }
    WEIR_AUTO(pkey)
    EVP_PKEY *private = is_key_text(private_text) ? parse_half(private_text, true) : NULL;
    if (private == NULL && is_key_text(private_text))
        return library_failure("could not load private key", "pkey.new:load_key:", err);
    ERR_clear_error();
    if (public != NULL && private != NULL && EVP_PKEY_eq(public, private) != 1)
        return weir_error_set(err, WEIR_INVALID, NULL, "public key does not match private key");
    return WEIR_OK;
}

/* -- certificates and their keys ------------------------------------------------ */

static int check_pair(const weir_json_t *entity, const char *cert_name, const char *key_name,
                      const char *reason, weir_error_t *err)
{
    weir_str_t cert_text = weir_json_get_string(entity, cert_name, (weir_str_t){ NULL, 0 });
    weir_str_t key_text = weir_json_get_string(entity, key_name, (weir_str_t){ NULL, 0 });
    if (cert_text.data == NULL || key_text.data == NULL)
        return WEIR_OK;
    WEIR_AUTO(x509) X509 *certificate = parse_certificate(cert_text);
    WEIR_AUTO(pkey) EVP_PKEY *key = parse_key(key_text);
    bool fine =
        certificate != NULL && key != NULL && EVP_PKEY_eq(X509_get0_pubkey(certificate), key) == 1;
    ERR_clear_error();
    return fine ? WEIR_OK : weir_error_set(err, WEIR_INVALID, NULL, "%s", reason);
}

int weir_check_cert_matches_key(const weir_json_t *entity, int64_t now_s, weir_error_t *err)
{
    (void)now_s;
    return check_pair(entity, "cert", "key", "certificate does not match key", err);
}

int weir_check_cert_alt_matches_key_alt(const weir_json_t *entity, int64_t now_s, weir_error_t *err)
{
    (void)now_s;
    return check_pair(entity, "cert_alt", "key_alt", "alternative certificate does not match key",
                      err);
}

int weir_check_cert_types_differ(const weir_json_t *entity, int64_t now_s, weir_error_t *err)
{
    (void)now_s;
    weir_str_t first = weir_json_get_string(entity, "cert", (weir_str_t){ NULL, 0 });
    weir_str_t second = weir_json_get_string(entity, "cert_alt", (weir_str_t){ NULL, 0 });
    if (first.data == NULL || second.data == NULL)
        return WEIR_OK;
    WEIR_AUTO(x509) X509 *a = parse_certificate(first);
    WEIR_AUTO(x509) X509 *b = parse_certificate(second);
    ERR_clear_error();
    if (a == NULL || b == NULL)
        return WEIR_OK; /* said by the field's own rule */
    if (EVP_PKEY_base_id(X509_get0_pubkey(a)) != EVP_PKEY_base_id(X509_get0_pubkey(b)))
        return WEIR_OK;
    return weir_error_set(err, WEIR_INVALID, NULL,
                          "certificate and alternative certificate need to have different type "
                          "(e.g. RSA and ECDSA), the provided certificates were both of the same "
                          "type");
}

static size_t count_pem_certificates(weir_str_t text)
{
    size_t count = 0;
    const char *at = text.data;
    const char *end = text.data + text.len;
    while ((at = memmem(at, (size_t)(end - at), "-----BEGIN CERTIFICATE-----", 27)) != NULL) {
        count++;
        at += 27;
    }
    return count;
}

int weir_check_single_unexpired_ca(const weir_json_t *entity, int64_t now_s, weir_error_t *err)
{
    weir_str_t text = weir_json_get_string(entity, "cert", (weir_str_t){ NULL, 0 });
    if (text.data == NULL)
        return WEIR_OK;
    if (count_pem_certificates(text) > 1)
        return weir_error_set(err, WEIR_INVALID, NULL,
                              "please submit only one certificate at a time");
    WEIR_AUTO(x509) X509 *certificate = parse_certificate(text);
    ERR_clear_error();
    if (certificate == NULL)
        return WEIR_OK;
    time_t now = (time_t)now_s;
    if (X509_cmp_time(X509_get0_notAfter(certificate), &now) < 0)
        return weir_error_set(err, WEIR_INVALID, NULL,
                              "certificate expired, \"Not After\" time is in the past");
    if (!(X509_get_extension_flags(certificate) & EXFLAG_CA))
        return weir_error_set(err, WEIR_INVALID, NULL,
                              "certificate does not appear to be a CA because it is missing the "
                              "\"CA\" basic constraint");
    return WEIR_OK;
}

int weir_certificate_digest(weir_str_t pem, char ret[65], weir_error_t *err)
{
    static const char hex[] = "0123456789abcdef";
    WEIR_AUTO(x509) X509 *certificate = parse_certificate(pem);
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (certificate == NULL || X509_digest(certificate, EVP_sha256(), digest, &len) != 1)
        return library_failure("invalid certificate: ", "x509.new:", err);
    for (unsigned i = 0; i < len && i < 32; i++) {
        ret[2 * i] = hex[digest[i] >> 4];
        ret[2 * i + 1] = hex[digest[i] & 15];
    }
    ret[64] = '\0';
    return WEIR_OK;
}
