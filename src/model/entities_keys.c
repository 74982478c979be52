/* entities_keys.c -- tables: vaults, sets of keys, keys. */
#include "model/checks.h"
#include "model/model.h"
#include "model/tables.h"

/* -- vaults --------------------------------------------------------------------- */

static const weir_pattern_t vault_prefix[] = {
    { "^[a-z][a-z0-9-]*?[a-z0-9]+$", NULL },
    { 0 },
};

const weir_field_t weir_vault_fields[] = {
    ID_FIELD,
    { .name = "prefix",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REQUIRED | WEIR_UNIQUE | WEIR_UNIQUE_ACROSS_WS,
      .not_one_of = "env", /* the types of vaults that there are */
      .match = vault_prefix,
      .describe = "{\"match\":\"^[a-z][a-z%d-]-[a-z%d]+$\"}" },
    { .name = "name", .type = WEIR_TYPE_STRING, .flags = WEIR_REQUIRED },
    TEXT("description"),
    { .name = "config", .type = WEIR_TYPE_RECORD, .flags = WEIR_ABSTRACT },
    CREATED_AT,
    UPDATED_AT,
    TAGS,
    { 0 },
};

static const weir_pattern_t variable_prefix[] = {
    { "^[A-Za-z_-][A-Za-z0-9_-]*$", NULL },
    { 0 },
};

static const weir_field_t env_config[] = {
    { .name = "prefix",
      .type = WEIR_TYPE_STRING,
      .match = variable_prefix,
      .describe = "{\"match\":\"^[%a_-][%a%d_-]*$\"}" },
    { 0 },
};

static const weir_field_t env_fields[] = {
    { .name = "config", .type = WEIR_TYPE_RECORD, .flags = WEIR_REQUIRED, .fields = env_config },
    { 0 },
};

const weir_plugin_schema_t *weir_vault_schema(weir_str_t name)
{
    static const weir_plugin_schema_t env = { .name = "env", .fields = env_fields };
    return weir_str_is(name, env.name) ? &env : NULL;
}

/* -- keys ----------------------------------------------------------------------- */

const weir_field_t weir_key_set_fields[] = {
    ID_FIELD,
    { .name = "name", .type = WEIR_TYPE_STRING, .flags = WEIR_UNIQUE, .describe = NOT_REQUIRED },
    TAGS,
    CREATED_AT,
    UPDATED_AT,
    { 0 },
};

static const weir_field_t pem_fields[] = {
    { .name = "private_key",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REFERENCEABLE | WEIR_ENCRYPTED },
    { .name = "public_key", .type = WEIR_TYPE_STRING, .flags = WEIR_REFERENCEABLE },
    { 0 },
};

static const weir_check_t pem_checks[] = {
    { .kind = WEIR_CHECK_AT_LEAST_ONE_OF, .fields = "private_key public_key" },
    { 0 },
};

const weir_field_t weir_key_fields[] = {
    ID_FIELD,
    { .name = "set",
      .type = WEIR_TYPE_FOREIGN,
      .to = "key_sets",
      .on_delete = WEIR_ON_DELETE_CASCADE },
    { .name = "name", .type = WEIR_TYPE_STRING, .flags = WEIR_UNIQUE, .describe = NOT_REQUIRED },
    { .name = "kid", .type = WEIR_TYPE_STRING, .flags = WEIR_REQUIRED },
    { .name = "jwk", .type = WEIR_TYPE_STRING, .flags = WEIR_REFERENCEABLE | WEIR_ENCRYPTED },
    { .name = "pem",
      .type = WEIR_TYPE_RECORD,
      .fields = pem_fields,
      .checks = pem_checks,
      .check_record = weir_check_pem_pair },
    TAGS,
    CREATED_AT,
    UPDATED_AT,
    { 0 },
};

const weir_check_t weir_key_checks[] = {
    { .kind = WEIR_CHECK_MUTUALLY_EXCLUSIVE, .fields = "pem jwk" },
    { .kind = WEIR_CHECK_AT_LEAST_ONE_OF, .fields = "pem jwk" },
    { .kind = WEIR_CHECK_CUSTOM, .fields = "jwk pem kid", .custom = weir_check_jwk_of_key },
    { 0 },
};
