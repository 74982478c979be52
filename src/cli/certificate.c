/* certificate.c -- self-signed certificates: `weir hybrid gen_cert`, and the
 * defaults of TLS listeners. */
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <unistd.h>

enum { GEN_CERT_DAYS = 1095, SERIAL_BYTES = 16, RSA_BITS = 2048 };

static int openssl_error(weir_error_t *err, const char *what)
{
    char text[160];
    ERR_error_string_n(ERR_get_error(), text, sizeof(text));
    return weir_error_set(err, WEIR_IO, NULL, "cannot make %s: %s", what, text);
}

static EVP_PKEY *make_key(cli_key_t kind)
{
    switch (kind) {
    case CLI_KEY_P384:
        return EVP_EC_gen("P-384"); /* secp384r1 */
    case CLI_KEY_P256:
        return EVP_EC_gen("P-256");
    case CLI_KEY_RSA:
        return EVP_RSA_gen(RSA_BITS);
    }
    return NULL;
}

static bool set_serial(X509 *certificate)
{
    unsigned char bytes[SERIAL_BYTES];
    if (RAND_bytes(bytes, sizeof(bytes)) != 1)
        return false;
    bytes[0] &= 0x7f; /* a serial number is positive */
    BIGNUM *number = BN_bin2bn(bytes, sizeof(bytes), NULL);
    bool ok =
        number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return ok;
}

static bool fill(X509 *certificate, EVP_PKEY *key, const char *name, int days)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    return X509_set_version(certificate, X509_VERSION_3) && set_serial(certificate) &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), 0) != NULL &&
           X509_time_adj_ex(X509_getm_notAfter(certificate), days, 0, NULL) != NULL &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1,
                                      -1, 0) &&
           X509_set_issuer_name(certificate, subject) && X509_set_pubkey(certificate, key) &&
           X509_sign(certificate, key, EVP_sha256()) > 0;
}

/* A file that must not be there yet: nobody's key is overwritten. */
static FILE *create(const char *path, mode_t mode, weir_error_t *err)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0 && errno == EEXIST)
        weir_error_set(err, WEIR_CONFLICT, NULL, "%s exists already and is left as it is", path);
    else if (fd < 0)
        weir_error_errno(err, errno, "cannot write %s", path);
    return fd >= 0 ? fdopen(fd, "w") : NULL;
}

static int write_pair(X509 *certificate, EVP_PKEY *key, const char *certificate_path,
                      const char *key_path, weir_error_t *err)
{
    weir_error_t reason = { .code = WEIR_IO };
    FILE *certificate_file = create(certificate_path, 0644, &reason);
    FILE *key_file = certificate_file != NULL ? create(key_path, 0600, &reason) : NULL;
    bool ok = key_file != NULL && PEM_write_X509(certificate_file, certificate) == 1 &&
              PEM_write_PKCS8PrivateKey(key_file, key, NULL, NULL, 0, NULL, NULL) == 1;
    if (certificate_file != NULL && fclose(certificate_file) != 0)
        ok = false;
    if (key_file != NULL && fclose(key_file) != 0)
        ok = false;
    if (ok)
        return WEIR_OK;
    if (certificate_file != NULL)
        unlink(certificate_path); /* ours, half done */
    if (key_file != NULL) {
        unlink(key_path);
        return openssl_error(err, key_path);
    }
    return weir_error_set(err, reason.code, NULL, "%s", reason.reason);
}

int cli_make_certificate(cli_key_t kind, const char *name, int days, const char *certificate_path,
                         const char *key_path, weir_error_t *err)
{
    EVP_PKEY *key = make_key(kind);
    X509 *certificate = X509_new();
    int rc = WEIR_OK;
    if (key == NULL || certificate == NULL || !fill(certificate, key, name, days))
        rc = openssl_error(err, "a certificate");
    if (rc == WEIR_OK)
        rc = write_pair(certificate, key, certificate_path, key_path, err);
    X509_free(certificate);
    EVP_PKEY_free(key);
    return rc;
}

int cli_gen_cert(const cli_options_t *options)
{
    weir_error_t err = { 0 };
    if (options->argument_count == 1 || options->argument_count > 2) {
        fputs("weir: hybrid gen_cert takes two file names or none (see weir hybrid --help)\n",
              stderr);
        return EXIT_USAGE;
    }
    const char *certificate = options->argument_count > 0 ? options->arguments[0] : "cluster.crt";
    const char *key = options->argument_count > 0 ? options->arguments[1] : "cluster.key";
    /* CN and no subject alternative name: what data planes ask for (sync-protocol A.1). */
    if (cli_make_certificate(CLI_KEY_P384, "kong_clustering", GEN_CERT_DAYS, certificate, key,
                             &err) != WEIR_OK)
        return cli_fail(&err);
    printf("wrote %s and %s: give them to the control plane and to every data plane as\n"
           "cluster_cert and cluster_cert_key\n",
           certificate, key);
    return EXIT_OK;
}
