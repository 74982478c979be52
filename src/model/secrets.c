/* secrets.c -- secrets of credentials that are stored as hashes: the password of basic-auth,
 * and the client secret of oauth2 if its owner wants that. */
#include "model/secrets.h"

#include "model/engine.h"

#include <openssl/evp.h>
#include <stdio.h>

enum {
    PBKDF2_ROUNDS = 10000,
    SALT_BYTES = 16,
    HASH_BYTES = 32,
    SHA1_BYTES = 20,
    BASE64_BYTES = 64, /* more than either has in base64 */
};

static const weir_str_t absent = { NULL, 0 };

static weir_str_t consumer_of(const weir_json_t *entity)
{
    return weir_json_get_string(weir_json_get(entity, "consumer"), "id", absent);
}

/* -- what has to come together -------------------------------------------------------- */

static bool same(weir_str_t a, weir_str_t b)
{
    return a.data != NULL && b.data != NULL && weir_str_equal(a, b);
}

const char *weir_secrets_rule(const weir_schema_t *schema, const weir_json_t *sent,
                              const weir_json_t *current, const weir_json_t *entity)
{
    if (schema->type == WEIR_BASICAUTH_CREDENTIALS) {
        bool hash = weir_engine_nonempty(weir_json_get(sent, "password"));
        bool salt = consumer_of(sent).data != NULL;
        if (current != NULL && hash != salt && !same(consumer_of(sent), consumer_of(current)))
            return "all or none of these fields must be set: 'password', 'consumer.id'";
    }
    if (schema->type == WEIR_OAUTH2_CREDENTIALS) {
        bool wish = current == NULL || weir_engine_nonempty(weir_json_get(sent, "hash_secret"));
        const weir_json_t *from = current != NULL ? sent : entity;
        weir_str_t secret = weir_json_get_string(from, "client_secret", absent);
        bool unchanged =
            current != NULL && same(secret, weir_json_get_string(current, "client_secret", absent));
        if (!unchanged && wish != (secret.data != NULL))
            return "all or none of these fields must be set: 'hash_secret', 'client_secret'";
    }
    return NULL;
}

/* -- hashes ----------------------------------------------------------------------------- */

static int set_text(weir_json_t *entity, const char *field, const char *text)
{
    return weir_json_set(entity, field, weir_json_new_string(weir_str(text)));
}

/* Lower case hexadecimal SHA-1 of the password and the consumer's id. */
static int hash_password(weir_json_t *entity)
{
    static const char hex[] = "0123456789abcdef";
    weir_str_t password = weir_json_get_string(entity, "password", WEIR_STR(""));
    weir_str_t consumer = consumer_of(entity);
    unsigned char hash[EVP_MAX_MD_SIZE];
    char text[2 * SHA1_BYTES + 1];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool fine = context != NULL && EVP_DigestInit_ex(context, EVP_sha1(), NULL) == 1 &&
                EVP_DigestUpdate(context, password.data, password.len) == 1 &&
                EVP_DigestUpdate(context, consumer.data, consumer.len) == 1 &&
                EVP_DigestFinal_ex(context, hash, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (!fine)
        return WEIR_NO_MEMORY;
    for (size_t i = 0; i < SHA1_BYTES; i++) {
        text[2 * i] = hex[hash[i] >> 4];
        text[2 * i + 1] = hex[hash[i] & 15];
    }
    text[2 * SHA1_BYTES] = '\0';
    return set_text(entity, "password", text);
}

/* Base64 without padding. */
static void encode(const unsigned char *bytes, int len, char out[BASE64_BYTES])
{
    int end = EVP_EncodeBlock((unsigned char *)out, bytes, len);
    while (end > 0 && out[end - 1] == '=')
        out[--end] = '\0';
}

static int hash_client_secret(const weir_model_env_t *env, weir_json_t *entity)
{
    weir_str_t secret = weir_json_get_string(entity, "client_secret", WEIR_STR(""));
    char salt[SALT_BYTES];
    unsigned char hash[HASH_BYTES];
    int rc =
        env->random_text != NULL ? env->random_text(env->context, salt, sizeof(salt)) : WEIR_IO;
    if (rc != WEIR_OK)
        return rc;
    if (PKCS5_PBKDF2_HMAC(secret.data, (int)secret.len, (const unsigned char *)salt, SALT_BYTES,
                          PBKDF2_ROUNDS, EVP_sha512(), HASH_BYTES, hash) != 1)
        return WEIR_NO_MEMORY;
    char salt_text[BASE64_BYTES];
    char hash_text[BASE64_BYTES];
    char text[2 * BASE64_BYTES + 64];
    encode((const unsigned char *)salt, SALT_BYTES, salt_text);
    encode(hash, HASH_BYTES, hash_text);
    snprintf(text, sizeof(text), "$pbkdf2-sha512$i=%d,l=%d$%s$%s", PBKDF2_ROUNDS, HASH_BYTES,
             salt_text, hash_text);
    return set_text(entity, "client_secret", text);
}

int weir_secrets_hash(const weir_schema_t *schema, const weir_json_t *sent,
                      const weir_json_t *current, const weir_model_env_t *env, weir_json_t *entity)
{
    const weir_json_t *from = current != NULL ? sent : entity;
    if (schema->type == WEIR_BASICAUTH_CREDENTIALS &&
        weir_engine_nonempty(weir_json_get(from, "password")))
        return hash_password(entity);
    if (schema->type == WEIR_OAUTH2_CREDENTIALS &&
        weir_json_get_boolean(from, "hash_secret", false) &&
        weir_engine_nonempty(weir_json_get(from, "client_secret")))
        return hash_client_secret(env, entity);
    return WEIR_OK;
}
