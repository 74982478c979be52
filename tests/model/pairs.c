/* pairs.c -- certificates of authorities, good for every type that wants one. */
#include "pairs.h"

#include "base/base.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>

pair_t pairs[PAIRS];

static void to_text(BIO *from, char *to)
{
    char *data = NULL;
    long bytes = BIO_get_mem_data(from, &data);
    size_t at = 0;
    for (long i = 0; i < bytes; i++) {
        if (at + 3 > PEM_BYTES_MAX)
            abort();
        if (data[i] == '\n')
            to[at++] = '\\';
        to[at++] = data[i] == '\n' ? 'n' : data[i];
    }
    to[at] = '\0';
    BIO_free(from);
}

static void make(pair_t *pair, int number)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_NAME *name = X509_get_subject_name(certificate);
    char common[32];
    snprintf(common, sizeof(common), "authority %d", number);
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), number + 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -86400);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400L * 365);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common, -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_set_pubkey(certificate, key);
    X509_EXTENSION *extension =
        X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    X509_add_ext(certificate, extension, -1);
    BIO *text = BIO_new(BIO_s_mem());
    BIO *secret = BIO_new(BIO_s_mem());
    if (X509_sign(certificate, key, EVP_sha256()) == 0 || !PEM_write_bio_X509(text, certificate) ||
        !PEM_write_bio_PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL))
        abort();
    to_text(text, pair->certificate);
    to_text(secret, pair->key);
    X509_EXTENSION_free(extension);
    X509_free(certificate);
    EVP_PKEY_free(key);
}

void pairs_make(void)
{
    for (int i = 0; i < PAIRS; i++)
        make(&pairs[i], i);
}
