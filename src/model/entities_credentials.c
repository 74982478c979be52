/* entities_credentials.c -- tables: what consumers prove themselves with, and the groups
 * that they are in. */
#include "model/checks.h"
#include "model/tables.h"

#define OF_CONSUMER                                                                               \
    {                                                                                             \
        .name = "consumer", .type = WEIR_TYPE_FOREIGN, .flags = WEIR_REQUIRED, .to = "consumers", \
        .on_delete = WEIR_ON_DELETE_CASCADE                                                       \
    }
/* A text that the control plane makes up if it is not given. */
#define GENERATED(field, more, shown)                                           \
    {                                                                           \
        .name = (field), .type = WEIR_TYPE_STRING, .flags = WEIR_AUTO | (more), \
        .describe = (shown)                                                     \
    }
#define OPTIONAL(field, more)                                                                \
    {                                                                                        \
        .name = (field), .type = WEIR_TYPE_STRING, .flags = (more), .describe = NOT_REQUIRED \
    }
#define USERNAME                                                                           \
    {                                                                                      \
        .name = "username", .type = WEIR_TYPE_STRING, .flags = WEIR_REQUIRED | WEIR_UNIQUE \
    }

const weir_field_t weir_keyauth_fields[] = {
    ID_FIELD, CREATED_AT, OF_CONSUMER, GENERATED("key", WEIR_UNIQUE, NOT_REQUIRED), TAGS, { 0 },
};

/* The password is stored as a hash: secrets.c. */
const weir_field_t weir_basicauth_fields[] = {
    ID_FIELD,
    CREATED_AT,
    OF_CONSUMER,
    USERNAME,
    { .name = "password", .type = WEIR_TYPE_STRING, .flags = WEIR_REQUIRED | WEIR_ENCRYPTED },
    TAGS,
    { 0 },
};

const weir_field_t weir_hmacauth_fields[] = {
    ID_FIELD, CREATED_AT, OF_CONSUMER, USERNAME, GENERATED("secret", 0, NULL), TAGS, { 0 },
};

const weir_field_t weir_jwt_fields[] = {
    ID_FIELD,
    CREATED_AT,
    OF_CONSUMER,
    GENERATED("key", WEIR_UNIQUE, NOT_REQUIRED),
    GENERATED("secret", 0, NULL),
    TEXT("rsa_public_key"),
    { .name = "algorithm",
      .type = WEIR_TYPE_STRING,
      .initial = "\"HS256\"",
      .one_of = "HS256 HS384 HS512 RS256 RS384 RS512 ES256 ES384 ES512 PS256 PS384 PS512 EdDSA" },
    TAGS,
    { 0 },
};

/* The incumbent forgot the ES algorithms; and an algorithm that is null it takes for one
 * of these. */
const weir_check_t weir_jwt_checks[] = {
    { .kind = WEIR_CHECK_CONDITIONAL,
      .if_field = "algorithm",
      .if_one_of = "RS256 RS384 RS512 PS256 PS384 PS512 EdDSA",
      .if_null = true,
      .then_field = "rsa_public_key",
      .then_required = true,
      .then_check = weir_check_signature_key,
      .describe = "{\"conditional\":{\"if_field\":\"algorithm\",\"if_match\":{\"match_any\":"
                  "{\"patterns\":[\"^RS256$\",\"^RS384$\",\"^RS512$\",\"^PS256$\",\"^PS384$\","
                  "\"^PS512$\",\"^EdDSA$\"]}},\"then_field\":\"rsa_public_key\","
                  "\"then_match\":{\"required\":true}}}" },
    { 0 },
};

const weir_field_t weir_acl_fields[] = {
    ID_FIELD,    CREATED_AT,
    OF_CONSUMER, { .name = "group", .type = WEIR_TYPE_STRING, .flags = WEIR_REQUIRED },
    TAGS,        { 0 },
};

/* -- oauth2 --------------------------------------------------------------------- */

static const weir_field_t redirect_uri = { .type = WEIR_TYPE_STRING, .check = weir_check_uri };

/* With hash_secret the secret is stored as a hash: secrets.c. */
const weir_field_t weir_oauth2_fields[] = {
    ID_FIELD,
    CREATED_AT,
    OF_CONSUMER,
    { .name = "name", .type = WEIR_TYPE_STRING, .flags = WEIR_REQUIRED },
    GENERATED("client_id", WEIR_UNIQUE, NOT_REQUIRED),
    GENERATED("client_secret", WEIR_ENCRYPTED, NOT_REQUIRED),
    FLAG("hash_secret", "false"),
    { .name = "redirect_uris",
      .type = WEIR_TYPE_ARRAY,
      .of = &redirect_uri,
      .describe = NOT_REQUIRED },
    TAGS,
    { .name = "client_type",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REQUIRED,
      .initial = "\"confidential\"",
      .one_of = "confidential public" },
    { 0 },
};

#define MAYBE_OF(field, entity)                                                                 \
    {                                                                                           \
        .name = (field), .type = WEIR_TYPE_FOREIGN, .flags = WEIR_DEFAULT_NULL, .to = (entity), \
        .on_delete = WEIR_ON_DELETE_CASCADE                                                     \
    }
#define OF_CREDENTIAL                                                            \
    {                                                                            \
        .name = "credential", .type = WEIR_TYPE_FOREIGN, .flags = WEIR_REQUIRED, \
        .to = "oauth2_credentials", .on_delete = WEIR_ON_DELETE_CASCADE          \
    }

const weir_field_t weir_oauth2_code_fields[] = {
    ID_FIELD,
    CREATED_AT,
    MAYBE_OF("service", "services"),
    OF_CREDENTIAL,
    GENERATED("code", WEIR_UNIQUE, NOT_REQUIRED),
    OPTIONAL("authenticated_userid", 0),
    TEXT("scope"),
    OPTIONAL("challenge", 0),
    { .name = "challenge_method",
      .type = WEIR_TYPE_STRING,
      .one_of = "S256",
      .describe = NOT_REQUIRED },
    MAYBE_OF("plugin", "plugins"),
    { 0 },
};

const weir_field_t weir_oauth2_token_fields[] = {
    ID_FIELD,
    CREATED_AT,
    MAYBE_OF("service", "services"),
    OF_CREDENTIAL,
    { .name = "token_type",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REQUIRED,
      .initial = "\"bearer\"",
      .one_of = "bearer" },
    { .name = "expires_in", .type = WEIR_TYPE_INTEGER, .flags = WEIR_REQUIRED },
    GENERATED("access_token", WEIR_UNIQUE, NOT_REQUIRED),
    OPTIONAL("refresh_token", WEIR_UNIQUE),
    OPTIONAL("authenticated_userid", 0),
    TEXT("scope"),
    { 0 },
};
