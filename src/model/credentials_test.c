/* credentials_test.c -- what is special about credentials, vaults and keys. */
#include "model/write_fixture.h"

#define HASHED   "12fcb46159f10ceb7a6bea1baff958d0e77bdf81" /* SHA-1 of "p" and ID */
#define REHASHED "10400f2591e42cf32691a5c782a41d10da460d94" /* of "q" and ID */
#define MOVED    "ac5b4a65e787fbfb42a31c7ba2297ce31b79ff53" /* of "p" and the other id */
#define OTHER    "00000000-0000-4000-8000-0000000000aa"
#define SECRET                                                                       \
    "$pbkdf2-sha512$i=10000,l=32$cnJycnJycnJycnJycnJycg$dPJNmKtGJB8ldd+ev/yc0eClIn/" \
    "4mrhsQGdIfQofWFk" /* of "s" */
#define ALL_OR_NONE "all or none of these fields must be set: "

/* -- basic-auth --------------------------------------------------------------- */

#define BASIC                                                               \
    "{\"id\":\"" ID "\",\"created_at\":1,\"consumer\":{\"id\":\"" ID "\"}," \
    "\"username\":\"u\",\"password\":\"" HASHED "\",\"tags\":null}"

static void a_password_is_stored_as_a_hash_with_its_consumer(void **state)
{
    (void)state;
    STORED(WEIR_BASICAUTH_CREDENTIALS, WEIR_INSERT,
           "{\"username\":\"u\",\"password\":\"p\",\"consumer\":{\"id\":\"" ID "\"}}", NULL,
           "{\"password\":\"" HASHED "\"}");
    STORED(WEIR_BASICAUTH_CREDENTIALS, WEIR_UPSERT,
           "{\"username\":\"u\",\"password\":\"p\",\"consumer\":{\"id\":\"" ID "\"}}", BASIC,
           "{\"password\":\"" HASHED "\"}");
    STORED(WEIR_BASICAUTH_CREDENTIALS, WEIR_UPDATE, "{\"username\":\"v\"}", BASIC,
           "{\"username\":\"v\",\"password\":\"" HASHED "\"}");
    STORED(WEIR_BASICAUTH_CREDENTIALS, WEIR_UPDATE,
           "{\"password\":\"q\",\"consumer\":{\"id\":\"" ID "\"}}", BASIC,
           "{\"password\":\"" REHASHED "\"}");
    STORED(WEIR_BASICAUTH_CREDENTIALS, WEIR_UPDATE,
           "{\"password\":\"p\",\"consumer\":{\"id\":\"" OTHER "\"}}", BASIC,
           "{\"password\":\"" MOVED "\"}");
    STORED(WEIR_BASICAUTH_CREDENTIALS, WEIR_UPDATE, "{\"consumer\":{\"id\":\"" ID "\"}}", BASIC,
           "{\"password\":\"" HASHED "\"}");
}

static void a_password_changes_with_its_consumer_only(void **state)
{
    (void)state;
    static const char *const bodies[] = { "{\"password\":\"q\"}",
                                          "{\"consumer\":{\"id\":\"" OTHER "\"}}" };
    for (size_t i = 0; i < WEIR_COUNT(bodies); i++)
        refused(WEIR_BASICAUTH_CREDENTIALS, WEIR_UPDATE, bodies[i], BASIC, 2,
                "schema violation (" ALL_OR_NONE "'password', 'consumer.id')",
                "{\"@entity\":[\"" ALL_OR_NONE "'password', 'consumer.id'\"]}");
}

static void a_data_plane_hashes_nothing(void **state)
{
    (void)state;
    weir_problem_t problem;
    weir_json_t *entity = NULL;
    weir_json_t *row = fixture_json(BASIC);
    weir_problem_init(&problem);
    assert_int_equal(weir_model_accept(weir_schema(WEIR_BASICAUTH_CREDENTIALS), row, FIXTURE_NOW,
                                       &entity, &problem),
                     WEIR_OK);
    assert_true(weir_str_is(weir_json_get_string(entity, "password", WEIR_STR("")), HASHED));
    weir_problem_release(&problem);
    weir_json_free(entity);
    weir_json_free(row);
}

/* -- oauth2 --------------------------------------------------------------------- */

#define OAUTH2                                                                          \
    "{\"id\":\"" ID "\",\"created_at\":1,\"consumer\":{\"id\":\"" ID "\"},"             \
    "\"name\":\"a\",\"client_id\":\"i\",\"client_secret\":\"s\",\"hash_secret\":false," \
    "\"redirect_uris\":null,\"tags\":null,\"client_type\":\"confidential\"}"

static void a_client_secret_is_hashed_if_its_owner_wants_that(void **state)
{
    (void)state;
    STORED(WEIR_OAUTH2_CREDENTIALS, WEIR_INSERT,
           "{\"name\":\"a\",\"client_secret\":\"s\",\"consumer\":{\"id\":\"" ID "\"}}", NULL,
           "{\"client_secret\":\"s\",\"client_id\":\"rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr\"}");
    STORED(WEIR_OAUTH2_CREDENTIALS, WEIR_INSERT,
           "{\"name\":\"a\",\"client_secret\":\"s\",\"hash_secret\":true,"
           "\"consumer\":{\"id\":\"" ID "\"}}",
           NULL, "{\"client_secret\":\"" SECRET "\",\"hash_secret\":true}");
    STORED(WEIR_OAUTH2_CREDENTIALS, WEIR_UPDATE, "{\"client_secret\":\"s\",\"hash_secret\":true}",
           OAUTH2, "{\"client_secret\":\"" SECRET "\"}");
    STORED(WEIR_OAUTH2_CREDENTIALS, WEIR_UPDATE, "{\"name\":\"b\"}", OAUTH2,
           "{\"name\":\"b\",\"client_secret\":\"s\"}");
    static const char *const bodies[] = { "{\"client_secret\":\"t\"}", "{\"hash_secret\":true}" };
    for (size_t i = 0; i < WEIR_COUNT(bodies); i++)
        refused(WEIR_OAUTH2_CREDENTIALS, WEIR_UPDATE, bodies[i], OAUTH2, 2,
                "schema violation (" ALL_OR_NONE "'hash_secret', 'client_secret')",
                "{\"@entity\":[\"" ALL_OR_NONE "'hash_secret', 'client_secret'\"]}");
}

static void a_redirect_uri_is_absolute_and_has_no_fragment(void **state)
{
    (void)state;
    static const struct {
        const char *uri, *error; /* NULL: fine */
    } rows[] = {
        { "https://a.test/back?x=1", NULL },
        { "app+x.y://host", NULL },
        { "https://me@a.test:8443/", NULL },
        { "https://", "cannot parse 'https://'" },
        { "https:///path", "cannot parse 'https:///path'" },
        { "https://:80/", "cannot parse 'https://:80/'" },
        { "/back", "cannot parse '/back'" },
        { "a.test/back", "cannot parse 'a.test/back'" },
        { "+x://host", "cannot parse '+x://host'" },
        { "https://a.test/#x", "fragment not allowed in 'https://a.test/#x'" },
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        char body[512], message[512], fields[512];
        snprintf(body, sizeof(body),
                 "{\"name\":\"a\",\"consumer\":{\"id\":\"" ID "\"},\"redirect_uris\":[\"%s\"]}",
                 rows[i].uri);
        if (rows[i].error == NULL) {
            STORED(WEIR_OAUTH2_CREDENTIALS, WEIR_INSERT, body, NULL, "{}");
            continue;
        }
        snprintf(message, sizeof(message), "schema violation (redirect_uris.1: %s)", rows[i].error);
        snprintf(fields, sizeof(fields), "{\"redirect_uris\":[\"%s\"]}", rows[i].error);
        refused(WEIR_OAUTH2_CREDENTIALS, WEIR_INSERT, body, NULL, 2, message, fields);
    }
}

static void tokens_and_codes_end(void **state)
{
    (void)state;
    STORED(WEIR_OAUTH2_TOKENS, WEIR_INSERT,
           "{\"credential\":{\"id\":\"" ID "\"},\"expires_in\":5,\"ttl\":60}", NULL,
           "{\"ttl\":1700000060,\"token_type\":\"bearer\",\"service\":null,"
           "\"access_token\":\"rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr\",\"refresh_token\":null}");
    STORED(WEIR_OAUTH2_AUTHORIZATION_CODES, WEIR_INSERT,
           "{\"credential\":{\"id\":\"" ID "\"},\"challenge_method\":\"S256\"}", NULL,
           "{\"ttl\":null,\"plugin\":null,\"code\":\"rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr\"}");
}

/* -- vaults, keys ------------------------------------------------------------------ */

static void a_vault_is_of_an_installed_type(void **state)
{
    (void)state;
    STORED(WEIR_VAULTS, WEIR_INSERT, "{\"name\":\"env\",\"prefix\":\"my-env\"}", NULL,
           "{\"config\":{\"prefix\":null}}");
    STORED(WEIR_VAULTS, WEIR_INSERT,
           "{\"name\":\"env\",\"prefix\":\"ab\",\"config\":{\"prefix\":\"A_\"}}", NULL,
           "{\"config\":{\"prefix\":\"A_\"}}");
    refused(WEIR_VAULTS, WEIR_INSERT,
            "{\"name\":\"env\",\"prefix\":\"ab\",\"config\":{\"prefix\":\"1\",\"x\":1}}", NULL, 2,
            "2 schema violations (config.prefix: invalid value: 1; config.x: unknown field)",
            "{\"config\":{\"prefix\":\"invalid value: 1\",\"x\":\"unknown field\"}}");
    refused(WEIR_VAULTS, WEIR_INSERT, "{\"name\":\"aws\",\"prefix\":\"ab\"}", NULL, 2,
            "schema violation (name: vault 'aws' is not installed)",
            "{\"name\":\"vault 'aws' is not installed\"}");
}

#define X              "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" /* RFC 8037, appendix A */
#define N              "AQAB"                                        /* small, but a number */
#define JWK(s)         "{\"kid\":\"1\",\"jwk\":\"" s "\"}"
#define KEY(s)         JWK("{\\\"kid\\\":\\\"1\\\"," s "}")
#define M(name, value) "\\\"" name "\\\":\\\"" value "\\\""

static void a_jwk_is_a_key_of_its_kid(void **state)
{
    (void)state;
    static const struct {
        const char *body, *error; /* NULL: fine */
    } rows[] = {
        { KEY(M("kty", "OKP") "," M("crv", "Ed25519") "," M("x", X)), NULL },
        { KEY(M("kty", "OKP") "," M("crv", "Ed25519") "," M("d", X) "," M("x", X)), NULL },
        { KEY(M("kty", "EC") "," M("crv", "P-256") "," M(
              "x", "3IrjImtfg2KR16tyVWF69bkNyAtVDVVXsj2g"
                   "QENImPQ") "," M("y", "RuByhLDVoEX5L35eZnwww5DB8ZG59tTDFk3-onJ3oig")),
          NULL },
        { KEY(M("kty", "RSA") "," M("n", N) "," M("e", N)), NULL },
        { KEY(M("kty", "EC") "," M("crv", "P-256") "," M("x", X) "," M("y", X)),
          "could not load JWK, likely not a valid key" },
        { KEY(M("kty", "EC") "," M("crv", "P-1") "," M("x", X) "," M("y", X)),
          "could not load JWK, likely not a valid key" },
        { KEY(M("kty", "OKP") "," M("crv", "Ed25519") "," M("x", "+")),
          "could not load JWK, likely not a valid key" },
        { KEY(M("kty", "OKP") "," M("crv", "Ed25519") "," M("x", "AA")),
          "could not load JWK, likely not a valid key" },
        { KEY(M("kty", "RSA") "," M("n", N)), "could not load JWK, likely not a valid key" },
        { KEY(M("kty", "oct") "," M("k", "AAAA")), "could not load JWK, likely not a valid key" },
        { KEY(M("kty", "OKP") "," M("crv", "Ed25519") "," M("x", X) "," M("z", "")),
          "Validation error: schema violation (z: unknown field)" },
        { KEY(M("kty", "OKP") "," M("crv", "Ed25519") "," M("x", X) "," M("x5c", "")),
          "Validation error: schema violation (x5c: expected an array)" },
        { JWK("{" M("kid", "2") "}"), "kid in jwk.kid must be equal to keys.kid" },
        { JWK("{}"), "kid in jwk.kid must be equal to keys.kid" },
        { JWK("x"), "could not json decode jwk string" },
        { JWK("[]"), "could not json decode jwk string" },
        { JWK("{vault://env/x}"), NULL },
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        char message[256], fields[256];
        if (rows[i].error == NULL) {
            STORED(WEIR_KEYS, WEIR_INSERT, rows[i].body, NULL, "{\"pem\":null,\"set\":null}");
            continue;
        }
        snprintf(message, sizeof(message), "schema violation (%s)", rows[i].error);
        snprintf(fields, sizeof(fields), "{\"@entity\":[\"%s\"]}", rows[i].error);
        refused(WEIR_KEYS, WEIR_INSERT, rows[i].body, NULL, 2, message, fields);
    }
}

static void a_number_of_a_jwk_has_a_limit(void **state)
{
    (void)state;
    static char body[16384];
    char digits[4001];
    memset(digits, 'A', sizeof(digits) - 1);
    digits[sizeof(digits) - 1] = '\0';
    snprintf(body, sizeof(body), KEY(M("kty", "RSA") "," M("n", "%s") "," M("e", N)), digits);
    refused(WEIR_KEYS, WEIR_INSERT, body, NULL, 2,
            "schema violation (could not load JWK, likely not a valid key)",
            "{\"@entity\":[\"could not load JWK, likely not a valid key\"]}");
}

static void a_key_is_either_jwk_or_pem(void **state)
{
    (void)state;
    static const char *const texts[] = { "{\"kid\":\"1\",\"jwk\":\"{vault://env/x}\","
                                         "\"pem\":{\"public_key\":\"{vault://env/y}\"}}",
                                         "{\"kid\":\"1\"}" };
    refused(WEIR_KEYS, WEIR_INSERT, texts[0], NULL, 2,
            "schema violation (only one or none of these fields must be set: 'pem', 'jwk')",
            "{\"@entity\":[\"only one or none of these fields must be set: 'pem', 'jwk'\"]}");
    refused(WEIR_KEYS, WEIR_INSERT, texts[1], NULL, 2,
            "schema violation (at least one of these fields must be non-empty: 'pem', 'jwk')",
            "{\"@entity\":[\"at least one of these fields must be non-empty: 'pem', 'jwk'\"]}");
}

#define PUBLIC                                                                                     \
    "-----BEGIN PUBLIC "                                                                           \
    "KEY-----"                                                                                     \
    "\\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE3IrjImtfg2KR16tyVWF69bkNyAtV\\nDVVXsj2gQENImPRG4HKEsN" \
    "WgRfkvfl5mfDDDkMHxkbn21MMWTf6icneiKA==\\n-----END PUBLIC KEY-----\\n"
#define PRIVATE                                                                                \
    "-----BEGIN PRIVATE "                                                                      \
    "KEY-----\\nMIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgUck+pT64gX54CyTx\\nBE5TMLkBK+" \
    "5Z1Q/"                                                                                    \
    "FzX2X5GL2YGWhRANCAATciuMia1+DYpHXq3JVYXr1uQ3IC1UN\\nVVeyPaBAQ0iY9EbgcoSw1aBF+S9+"         \
    "XmZ8MMOQwfGRufbUwxZN/qJyd6Io\\n-----END PRIVATE KEY-----\\n"
#define ALIEN                                                                                    \
    "-----BEGIN PUBLIC "                                                                         \
    "KEY-----\\nMCowBQYDK2VwAyEAXSWjieQ2/ihhRe+ETGGa1xy2a2+80ZonfkRGWKVgpkk=\\n-----END PUBLIC " \
    "KEY-----\\n"
#define PEM(s) "{\"kid\":\"1\",\"pem\":{" s "}}"

static void the_halves_of_a_pem_pair_belong_together(void **state)
{
    (void)state;
    STORED(WEIR_KEYS, WEIR_INSERT,
           PEM("\"public_key\":\"" PUBLIC "\",\"private_key\":\"" PRIVATE "\""), NULL, "{}");
    STORED(WEIR_KEYS, WEIR_INSERT, PEM("\"public_key\":\"" ALIEN "\""), NULL, "{}");
    STORED(WEIR_KEYS, WEIR_INSERT,
           PEM("\"public_key\":\"" PUBLIC "\",\"private_key\":\"{vault://env/k}\""), NULL, "{}");
    refused(WEIR_KEYS, WEIR_INSERT,
            PEM("\"public_key\":\"" ALIEN "\",\"private_key\":\"" PRIVATE "\""), NULL, 2,
            "schema violation (pem: public key does not match private key)",
            "{\"pem\":\"public key does not match private key\"}");
    refused(WEIR_KEYS, WEIR_INSERT, PEM("\"public_key\":\"" PRIVATE "\""), NULL, 2,
            "schema violation (pem: could not load public key)",
            "{\"pem\":\"could not load public key\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_password_is_stored_as_a_hash_with_its_consumer),
        cmocka_unit_test(a_password_changes_with_its_consumer_only),
        cmocka_unit_test(a_data_plane_hashes_nothing),
        cmocka_unit_test(a_client_secret_is_hashed_if_its_owner_wants_that),
        cmocka_unit_test(a_redirect_uri_is_absolute_and_has_no_fragment),
        cmocka_unit_test(tokens_and_codes_end),
        cmocka_unit_test(a_vault_is_of_an_installed_type),
        cmocka_unit_test(a_jwk_is_a_key_of_its_kid),
        cmocka_unit_test(a_number_of_a_jwk_has_a_limit),
        cmocka_unit_test(a_key_is_either_jwk_or_pem),
        cmocka_unit_test(the_halves_of_a_pem_pair_belong_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
