/* entities.c -- the list of all entities (entity-schemas.json). Their tables are in
 * entities_core.c, entities_routes.c, entities_upstreams.c, entities_credentials.c and
 * entities_keys.c. */
#include "model/checks.h"
#include "model/model.h"
#include "model/tables.h"

/* -- what tables share -------------------------------------------------------- */

static const weir_field_t text = { .type = WEIR_TYPE_STRING };

const weir_field_t weir_element_tag = { .type = WEIR_TYPE_STRING,
                                        .flags = WEIR_REQUIRED,
                                        .check = weir_check_tag };
const weir_field_t weir_element_texts = { .type = WEIR_TYPE_ARRAY, .of = &text };
const weir_field_t weir_element_protocol = { .type = WEIR_TYPE_STRING, .one_of = WEIR_PROTOCOLS };
const weir_field_t weir_element_wildcard_host = { .type = WEIR_TYPE_STRING,
                                                  .check = weir_check_wildcard_host };
const weir_field_t weir_element_http_protocol = { .type = WEIR_TYPE_STRING,
                                                  .one_of = "grpc grpcs http https" };
const weir_pattern_t weir_no_empty_segments[] = {
    { "//", "must not have empty segments" },
    { 0 },
};

/* -- the list ------------------------------------------------------------- */

static const char *const target_key[] = { "upstream", "target", NULL };
static const char *const plugin_key[] = { "name", "route", "service", "consumer", NULL };
static const char *const acl_key[] = { "consumer", "group", NULL };
static const char *const key_key[] = { "kid", "set", NULL };

static const weir_schema_t schemas[WEIR_ENTITY_TYPES] = {
    [WEIR_WORKSPACES] = { .type = WEIR_WORKSPACES,
                          .name = "workspaces",
                          .endpoint_key = "name",
                          .primary_key = "id",
                          .fields = weir_workspace_fields },
    [WEIR_PARAMETERS] = { .type = WEIR_PARAMETERS,
                          .name = "parameters",
                          .primary_key = "key",
                          .fields = weir_parameter_fields },
    [WEIR_CONSUMERS] = { .type = WEIR_CONSUMERS,
                         .name = "consumers",
                         .admin_name = "consumers",
                         .endpoint_key = "username",
                         .primary_key = "id",
                         .fields = weir_consumer_fields,
                         .checks = weir_consumer_checks,
                         .workspaceable = true },
    [WEIR_CERTIFICATES] = { .type = WEIR_CERTIFICATES,
                            .name = "certificates",
                            .admin_name = "certificates",
                            .primary_key = "id",
                            .fields = weir_certificate_fields,
                            .checks = weir_certificate_checks,
                            .workspaceable = true },
    [WEIR_CA_CERTIFICATES] = { .type = WEIR_CA_CERTIFICATES,
                               .name = "ca_certificates",
                               .admin_name = "ca_certificates",
                               .primary_key = "id",
                               .fields = weir_ca_certificate_fields,
                               .checks = weir_ca_certificate_checks },
    [WEIR_SERVICES] = { .type = WEIR_SERVICES,
                        .name = "services",
                        .admin_name = "services",
                        .endpoint_key = "name",
                        .primary_key = "id",
                        .fields = weir_service_fields,
                        .checks = weir_service_checks,
                        .workspaceable = true },
    [WEIR_ROUTES] = { .type = WEIR_ROUTES,
                      .name = "routes",
                      .admin_name = "routes",
                      .endpoint_key = "name",
                      .primary_key = "id",
                      .fields = weir_route_fields,
                      .checks = weir_route_checks,
                      .workspaceable = true },
    [WEIR_SNIS] = { .type = WEIR_SNIS,
                    .name = "snis",
                    .admin_name = "snis",
                    .endpoint_key = "name",
                    .primary_key = "id",
                    .fields = weir_sni_fields,
                    .workspaceable = true },
    [WEIR_UPSTREAMS] = { .type = WEIR_UPSTREAMS,
                         .name = "upstreams",
                         .admin_name = "upstreams",
                         .endpoint_key = "name",
                         .primary_key = "id",
                         .fields = weir_upstream_fields,
                         .checks = weir_upstream_checks,
                         .workspaceable = true },
    [WEIR_TARGETS] = { .type = WEIR_TARGETS,
                       .name = "targets",
                       .admin_name = "targets",
                       .endpoint_key = "target",
                       .primary_key = "id",
                       .cache_key = target_key,
                       .fields = weir_target_fields,
                       .workspaceable = true },
    [WEIR_PLUGINS] = { .type = WEIR_PLUGINS,
                       .name = "plugins",
                       .admin_name = "plugins",
                       .endpoint_key = "instance_name",
                       .primary_key = "id",
                       .cache_key = plugin_key,
                       .fields = weir_plugin_fields,
                       .workspaceable = true },
    [WEIR_KEYAUTH_CREDENTIALS] = { .type = WEIR_KEYAUTH_CREDENTIALS,
                                   .name = "keyauth_credentials",
                                   .admin_name = "key-auths",
                                   .nested_name = "key-auth",
                                   .plugin = "key-auth",
                                   .endpoint_key = "key",
                                   .primary_key = "id",
                                   .fields = weir_keyauth_fields,
                                   .workspaceable = true,
                                   .ttl = true },
    [WEIR_BASICAUTH_CREDENTIALS] = { .type = WEIR_BASICAUTH_CREDENTIALS,
                                     .name = "basicauth_credentials",
                                     .admin_name = "basic-auths",
                                     .nested_name = "basic-auth",
                                     .plugin = "basic-auth",
                                     .endpoint_key = "username",
                                     .primary_key = "id",
                                     .fields = weir_basicauth_fields,
                                     .workspaceable = true },
    [WEIR_HMACAUTH_CREDENTIALS] = { .type = WEIR_HMACAUTH_CREDENTIALS,
                                    .name = "hmacauth_credentials",
                                    .admin_name = "hmac-auths",
                                    .nested_name = "hmac-auth",
                                    .plugin = "hmac-auth",
                                    .endpoint_key = "username",
                                    .primary_key = "id",
                                    .fields = weir_hmacauth_fields,
                                    .workspaceable = true },
    [WEIR_JWT_SECRETS] = { .type = WEIR_JWT_SECRETS,
                           .name = "jwt_secrets",
                           .admin_name = "jwts",
                           .nested_name = "jwt",
                           .plugin = "jwt",
                           .endpoint_key = "key",
                           .primary_key = "id",
                           .fields = weir_jwt_fields,
                           .checks = weir_jwt_checks,
                           .workspaceable = true },
    [WEIR_ACLS] = { .type = WEIR_ACLS,
                    .name = "acls",
                    .admin_name = "acls",
                    .plugin = "acl",
                    .primary_key = "id",
                    .cache_key = acl_key,
                    .fields = weir_acl_fields,
                    .workspaceable = true },
    [WEIR_OAUTH2_CREDENTIALS] = { .type = WEIR_OAUTH2_CREDENTIALS,
                                  .name = "oauth2_credentials",
                                  .admin_name = "oauth2",
                                  .plugin = "oauth2",
                                  .endpoint_key = "client_id",
                                  .primary_key = "id",
                                  .fields = weir_oauth2_fields,
                                  .workspaceable = true },
    [WEIR_OAUTH2_AUTHORIZATION_CODES] = { .type = WEIR_OAUTH2_AUTHORIZATION_CODES,
                                          .name = "oauth2_authorization_codes",
                                          .plugin = "oauth2",
                                          .primary_key = "id",
                                          .fields = weir_oauth2_code_fields,
                                          .workspaceable = true,
                                          .ttl = true },
    [WEIR_OAUTH2_TOKENS] = { .type = WEIR_OAUTH2_TOKENS,
                             .name = "oauth2_tokens",
                             .admin_name = "oauth2_tokens",
                             .plugin = "oauth2",
                             .endpoint_key = "access_token",
                             .primary_key = "id",
                             .fields = weir_oauth2_token_fields,
                             .workspaceable = true,
                             .ttl = true },
    [WEIR_VAULTS] = { .type = WEIR_VAULTS,
                      .name = "vaults",
                      .admin_name = "vaults",
                      .endpoint_key = "prefix",
                      .primary_key = "id",
                      .fields = weir_vault_fields,
                      .workspaceable = true },
    [WEIR_KEY_SETS] = { .type = WEIR_KEY_SETS,
                        .name = "key_sets",
                        .admin_name = "key-sets",
                        .endpoint_key = "name",
                        .primary_key = "id",
                        .fields = weir_key_set_fields,
                        .workspaceable = true },
    [WEIR_KEYS] = { .type = WEIR_KEYS,
                    .name = "keys",
                    .admin_name = "keys",
                    .endpoint_key = "name",
                    .primary_key = "id",
                    .cache_key = key_key,
                    .fields = weir_key_fields,
                    .checks = weir_key_checks,
                    .workspaceable = true },
};

const weir_schema_t *weir_schema(weir_entity_type_t type)
{
    return type > WEIR_ENTITY_NONE && type < WEIR_ENTITY_TYPES ? &schemas[type] : NULL;
}

const weir_schema_t *weir_schema_named(weir_str_t name)
{
    for (size_t i = 1; i < WEIR_ENTITY_TYPES; i++)
        if (weir_str_is(name, schemas[i].name))
            return &schemas[i];
    return NULL;
}

const weir_field_t *weir_schema_field(const weir_schema_t *schema, weir_str_t name)
{
    for (const weir_field_t *field = schema->fields; field->name != NULL; field++)
        if (weir_str_is(name, field->name))
            return field;
    return NULL;
}

/* Topological by foreign key, workspaces first, as the incumbent's dump
 * (sync-protocol C.3). */
const weir_entity_type_t *weir_schema_order(size_t *ret_count)
{
    static const weir_entity_type_t order[] = {
        WEIR_WORKSPACES,
        WEIR_CA_CERTIFICATES,
        WEIR_CERTIFICATES,
        WEIR_CONSUMERS,
        WEIR_KEY_SETS,
        WEIR_KEYS,
        WEIR_PARAMETERS,
        WEIR_SERVICES,
        WEIR_ROUTES,
        WEIR_PLUGINS,
        WEIR_SNIS,
        WEIR_UPSTREAMS,
        WEIR_TARGETS,
        WEIR_VAULTS,
        WEIR_ACLS,
        WEIR_BASICAUTH_CREDENTIALS,
        WEIR_HMACAUTH_CREDENTIALS,
        WEIR_JWT_SECRETS,
        WEIR_KEYAUTH_CREDENTIALS,
        WEIR_OAUTH2_CREDENTIALS,
        WEIR_OAUTH2_AUTHORIZATION_CODES,
        WEIR_OAUTH2_TOKENS,
    };
    *ret_count = WEIR_COUNT(order);
    return order;
}
