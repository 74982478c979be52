/* digest.c -- the keyed hash of an entity, and sums of them as bytes and text. */
#include "model/digest.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <sys/random.h>

struct weir_digester {
    EVP_MAC *mac;
    EVP_MAC_CTX *context;
    weir_digest_key_t key;
};

/* -- bytes and text ---------------------------------------------------------------------- */

static void store_word(uint64_t word, uint8_t *bytes)
{
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(word >> (56 - 8 * i));
}

static uint64_t load_word(const uint8_t *bytes)
{
    uint64_t word = 0;
    for (int i = 0; i < 8; i++)
        word = word << 8 | bytes[i];
    return word;
}

void weir_digest_store(const weir_digest_t *digest, uint8_t bytes[WEIR_DIGEST_BYTES])
{
    store_word(digest->high, bytes);
    store_word(digest->low, bytes + 8);
}

void weir_digest_load(const uint8_t bytes[WEIR_DIGEST_BYTES], weir_digest_t *ret)
{
    ret->high = load_word(bytes);
    ret->low = load_word(bytes + 8);
}

static void format_hex(const uint8_t *bytes, size_t count, char *text)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < count; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    text[2 * count] = '\0';
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int parse_hex(weir_str_t text, uint8_t *bytes, size_t count)
{
    if (text.len != 2 * count)
        return WEIR_INVALID;
    for (size_t i = 0; i < count; i++) {
        int high = hex_digit(text.data[2 * i]);
        int low = hex_digit(text.data[2 * i + 1]);
        if (high < 0 || low < 0)
            return WEIR_INVALID;
        bytes[i] = (uint8_t)(high << 4 | low);
    }
    return WEIR_OK;
}

void weir_digest_format(const weir_digest_t *digest, char text[WEIR_DIGEST_TEXT + 1])
{
    uint8_t bytes[WEIR_DIGEST_BYTES];
    weir_digest_store(digest, bytes);
    format_hex(bytes, sizeof(bytes), text);
}

int weir_digest_parse(weir_str_t text, weir_digest_t *ret)
{
    uint8_t bytes[WEIR_DIGEST_BYTES];
    int rc = parse_hex(text, bytes, sizeof(bytes));
    if (rc == WEIR_OK)
        weir_digest_load(bytes, ret);
    return rc;
}

/* -- the key ------------------------------------------------------------------------------- */

int weir_digest_key_random(weir_digest_key_t *ret)
{
    return getrandom(ret->bytes, sizeof(ret->bytes), 0) == (ssize_t)sizeof(ret->bytes) ? WEIR_OK
                                                                                       : WEIR_IO;
}

void weir_digest_key_format(const weir_digest_key_t *key, char text[2 * WEIR_DIGEST_KEY_BYTES + 1])
{
    format_hex(key->bytes, sizeof(key->bytes), text);
}

int weir_digest_key_parse(weir_str_t text, weir_digest_key_t *ret)
{
    return parse_hex(text, ret->bytes, sizeof(ret->bytes));
}

/* -- hashing --------------------------------------------------------------------------------- */

/* The first call sets the key and the length; later ones only begin anew. */
static bool begin(weir_digester_t *d, bool first)
{
    size_t size = WEIR_DIGEST_BYTES;
    OSSL_PARAM params[] = { OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size),
                            OSSL_PARAM_construct_end() };
    return first ? EVP_MAC_init(d->context, d->key.bytes, sizeof(d->key.bytes), params) == 1
                 : EVP_MAC_init(d->context, NULL, 0, NULL) == 1;
}

int weir_digester_new(const weir_digest_key_t *key, weir_digester_t **ret, weir_error_t *err)
{
    weir_digester_t *d = weir_calloc(1, sizeof(*d));
    if (d == NULL)
        return weir_error_memory(err);
    d->key = *key;
    d->mac = EVP_MAC_fetch(NULL, "BLAKE2BMAC", NULL);
    d->context = d->mac != NULL ? EVP_MAC_CTX_new(d->mac) : NULL;
    if (d->context == NULL || !begin(d, true)) {
        bool missing = d->mac == NULL;
        weir_digester_free(d);
        return missing ? weir_error_set(err, WEIR_UNSUPPORTED, NULL,
                                        "libcrypto has no BLAKE2BMAC: digests need it")
                       : weir_error_memory(err);
    }
    *ret = d;
    return WEIR_OK;
}

void weir_digester_free(weir_digester_t *digester)
{
    if (digester == NULL)
        return;
    EVP_MAC_CTX_free(digester->context);
    EVP_MAC_free(digester->mac);
    weir_free(digester);
}

static bool update(weir_digester_t *d, const void *bytes, size_t count)
{
    return count == 0 || EVP_MAC_update(d->context, bytes, count) == 1;
}

static bool finish(weir_digester_t *d, uint8_t out[WEIR_DIGEST_BYTES])
{
    size_t size = 0;
    return EVP_MAC_final(d->context, out, &size, WEIR_DIGEST_BYTES) == 1 &&
           size == WEIR_DIGEST_BYTES;
}

int weir_digester_entity(weir_digester_t *digester, weir_str_t type, const weir_uuid_t *id,
                         weir_str_t document, weir_digest_t *ret, weir_error_t *err)
{
    uint8_t out[WEIR_DIGEST_BYTES];
    /* The name ends with a zero and the id has a fixed length: nothing can be moved
     * from one part into the next. */
    if (!begin(digester, false) || !update(digester, type.data, type.len) ||
        !update(digester, "", 1) || !update(digester, id->bytes, sizeof(id->bytes)) ||
        !update(digester, document.data, document.len) || !finish(digester, out))
        return weir_error_memory(err);
    weir_digest_load(out, ret);
    return WEIR_OK;
}

int weir_digester_fingerprint(weir_digester_t *digester,
                              char text[WEIR_DIGEST_FINGERPRINT_TEXT + 1], weir_error_t *err)
{
    static const char label[] = "weir digest key fingerprint";
    uint8_t out[WEIR_DIGEST_BYTES];
    if (!begin(digester, false) || !update(digester, label, sizeof(label) - 1) ||
        !finish(digester, out))
        return weir_error_memory(err);
    format_hex(out, WEIR_DIGEST_FINGERPRINT_TEXT / 2, text);
    return WEIR_OK;
}
