/* jwk.c -- JSON Web Keys (RFC 7517, 7518 section 6, 8037): what the entity `keys` accepts. */
#include "base/json.h"
#include "model/checks.h"
#include "model/engine.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

/* The longest number of a key: a modulus of 16,384 bits, which is the library's limit. */
enum { NUMBER_BYTES_MAX = 2048, POINT_BYTES_MAX = 66 };

static void weir_bld_cleanup(OSSL_PARAM_BLD **builder)
{
    OSSL_PARAM_BLD_free(*builder);
}

/* -- numbers in base64url ---------------------------------------------------------- */

static int digit(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* Big endian, as they stand there. *ret_len 0: the key has no such member. */
static bool number(const weir_json_t *jwk, const char *name, unsigned char out[NUMBER_BYTES_MAX],
                   size_t *ret_len)
{
    weir_str_t text = weir_json_get_string(jwk, name, (weir_str_t){ NULL, 0 });
    unsigned bits = 0;
    uint32_t held = 0;
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        int value = digit(text.data[i]);
        if (value < 0 || len == NUMBER_BYTES_MAX)
            return false;
        held = held << 6 | (uint32_t)value;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            out[len++] = (unsigned char)(held >> bits);
        }
    }
    *ret_len = len;
    return true;
}

/* Adds the number `name` as `param`; that it is not there is no failure. */
static bool push_number(OSSL_PARAM_BLD *builder, const char *param, const weir_json_t *jwk,
                        const char *name, BIGNUM **ret)
{
    unsigned char bytes[NUMBER_BYTES_MAX];
    size_t len = 0;
    if (!number(jwk, name, bytes, &len))
        return false;
    if (len == 0)
        return true;
    *ret = BN_bin2bn(bytes, (int)len, NULL);
    return *ret != NULL && OSSL_PARAM_BLD_push_BN(builder, param, *ret) == 1;
}

/* -- keys -------------------------------------------------------------------------- */

static bool loads(const char *algorithm, int selection, OSSL_PARAM_BLD *builder)
{
    EVP_PKEY *key = NULL;
    OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_name(NULL, algorithm, NULL);
    bool fine = params != NULL && context != NULL && EVP_PKEY_fromdata_init(context) == 1 &&
                EVP_PKEY_fromdata(context, &key, selection, params) == 1;
    EVP_PKEY_free(key);
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(params);
    return fine;
}

static bool rsa_loads(const weir_json_t *jwk)
{
    static const char *const parts[][2] = {
        { "n", OSSL_PKEY_PARAM_RSA_N },          { "e", OSSL_PKEY_PARAM_RSA_E },
        { "d", OSSL_PKEY_PARAM_RSA_D },          { "p", OSSL_PKEY_PARAM_RSA_FACTOR1 },
        { "q", OSSL_PKEY_PARAM_RSA_FACTOR2 },    { "dp", OSSL_PKEY_PARAM_RSA_EXPONENT1 },
        { "dq", OSSL_PKEY_PARAM_RSA_EXPONENT2 }, { "qi", OSSL_PKEY_PARAM_RSA_COEFFICIENT1 },
    };
    WEIR_AUTO(bld) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    BIGNUM *numbers[WEIR_COUNT(parts)] = { NULL };
    bool fine = builder != NULL;
    for (size_t i = 0; fine && i < WEIR_COUNT(parts); i++)
        fine = push_number(builder, parts[i][1], jwk, parts[i][0], &numbers[i]);
    fine = fine && numbers[0] != NULL && numbers[1] != NULL;
    if (fine)
        fine = loads("RSA", numbers[2] != NULL ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, builder);
    for (size_t i = 0; i < WEIR_COUNT(parts); i++)
        BN_clear_free(numbers[i]);
    return fine;
}

static const struct {
    const char *name, *group;
    size_t bytes; /* of a coordinate */
} curves[] = {
    { "P-256", "prime256v1", 32 },
    { "P-384", "secp384r1", 48 },
    { "P-521", "secp521r1", POINT_BYTES_MAX },
    { "secp256k1", "secp256k1", 32 },
};

/* A coordinate at its full length. */
static bool coordinate(const weir_json_t *jwk, const char *name, size_t bytes, unsigned char *out)
{
    unsigned char shown[NUMBER_BYTES_MAX];
    size_t len = 0;
    if (!number(jwk, name, shown, &len) || len == 0 || len > bytes)
        return false;
    memset(out, 0, bytes - len);
    memcpy(out + bytes - len, shown, len);
    return true;
}

static bool ec_loads(const weir_json_t *jwk)
{
    weir_str_t name = weir_json_get_string(jwk, "crv", WEIR_STR(""));
    size_t i = 0;
    while (i < WEIR_COUNT(curves) && !weir_str_is(name, curves[i].name))
        i++;
    unsigned char point[1 + 2 * POINT_BYTES_MAX] = { 4 }; /* not compressed */
    if (i == WEIR_COUNT(curves) || !coordinate(jwk, "x", curves[i].bytes, point + 1) ||
        !coordinate(jwk, "y", curves[i].bytes, point + 1 + curves[i].bytes))
        return false;
    WEIR_AUTO(bld) OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    BIGNUM *secret = NULL;
    bool fine = builder != NULL &&
                OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME,
                                                curves[i].group, 0) == 1 &&
                OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point,
                                                 1 + 2 * curves[i].bytes) == 1 &&
                push_number(builder, OSSL_PKEY_PARAM_PRIV_KEY, jwk, "d", &secret);
    if (fine)
        fine = loads("EC", secret != NULL ? EVP_PKEY_KEYPAIR : EVP_PKEY_PUBLIC_KEY, builder);
    BN_clear_free(secret);
    return fine;
}

static bool okp_loads(const weir_json_t *jwk)
{
    static const char *const names[] = { "Ed25519", "Ed448", "X25519", "X448" };
    weir_str_t name = weir_json_get_string(jwk, "crv", WEIR_STR(""));
    unsigned char bytes[NUMBER_BYTES_MAX];
    size_t i = 0;
    size_t len = 0;
    while (i < WEIR_COUNT(names) && !weir_str_is(name, names[i]))
        i++;
    if (i == WEIR_COUNT(names) || !number(jwk, "d", bytes, &len))
        return false;
    EVP_PKEY *key = NULL;
    if (len > 0)
        key = EVP_PKEY_new_raw_private_key_ex(NULL, names[i], NULL, bytes, len);
    else if (number(jwk, "x", bytes, &len) && len > 0)
        key = EVP_PKEY_new_raw_public_key_ex(NULL, names[i], NULL, bytes, len);
    bool fine = key != NULL;
    EVP_PKEY_free(key);
    return fine;
}

static bool key_loads(const weir_json_t *jwk)
{
    weir_str_t kty = weir_json_get_string(jwk, "kty", WEIR_STR(""));
    bool fine = weir_str_is(kty, "RSA")   ? rsa_loads(jwk)
                : weir_str_is(kty, "EC")  ? ec_loads(jwk)
                : weir_str_is(kty, "OKP") ? okp_loads(jwk)
                                          : false;
    ERR_clear_error();
    return fine;
}

/* -- members ------------------------------------------------------------------------ */

static bool is_text_list(const weir_json_t *value)
{
    if (weir_json_kind(value) != WEIR_JSON_ARRAY)
        return false;
    for (const weir_json_t *item = weir_json_first(value); item != NULL;
         item = weir_json_next(item))
        if (weir_json_kind(item) != WEIR_JSON_STRING)
            return false;
    return true;
}

static int refuse(const char *member, const char *why, weir_error_t *err)
{
    return weir_error_set(err, WEIR_INVALID, NULL, "Validation error: schema violation (%.64s: %s)",
                          member, why);
}

static int check_members(const weir_json_t *jwk, weir_error_t *err)
{
    static const char lists[] = "key_ops x5c";
    static const char texts[] = "issuer kty use alg kid x5u x5t x5t#S256 k x y crv n e d p q dp dq "
                                "qi oth r t";
    for (const weir_json_t *m = weir_json_first(jwk); m != NULL; m = weir_json_next(m)) {
        weir_str_t name = weir_str(weir_json_name(m));
        if (weir_words_have(lists, name)) {
            if (!weir_json_is_null(m) && !is_text_list(m))
                return refuse(name.data, "expected an array", err);
        } else if (!weir_words_have(texts, name)) {
            return refuse(name.data, "unknown field", err);
        } else if (!weir_json_is_null(m) && weir_json_kind(m) != WEIR_JSON_STRING) {
            return refuse(name.data, "expected a string", err);
        }
    }
    return WEIR_OK;
}

int weir_check_jwk_of_key(const weir_json_t *entity, int64_t now_s, weir_error_t *err)
{
    (void)now_s;
    weir_str_t text = weir_json_get_string(entity, "jwk", (weir_str_t){ NULL, 0 });
    if (text.data == NULL)
        return WEIR_OK;
    WEIR_AUTO(json) weir_json_t *jwk = NULL;
    int rc = weir_json_parse(text, &jwk, NULL);
    if (rc == WEIR_NO_MEMORY)
        return weir_error_memory(err);
    if (rc != WEIR_OK || weir_json_kind(jwk) != WEIR_JSON_OBJECT)
        return weir_error_set(err, WEIR_INVALID, NULL, "could not json decode jwk string");
    weir_str_t kid = weir_json_get_string(jwk, "kid", (weir_str_t){ NULL, 0 });
    if (kid.data == NULL || !weir_str_equal(kid, weir_json_get_string(entity, "kid", WEIR_STR(""))))
        return weir_error_set(err, WEIR_INVALID, NULL, "kid in jwk.kid must be equal to keys.kid");
    if (!key_loads(jwk))
        return weir_error_set(err, WEIR_INVALID, NULL,
                              "could not load JWK, likely not a valid key");
    return check_members(jwk, err);
}
