/* entities_core.c -- tables: workspaces, parameters, consumers, certificates, services,
 * plugins. */
#include "model/checks.h"
#include "model/tables.h"

static const weir_field_t uuid_text = { .type = WEIR_TYPE_STRING, .flags = WEIR_UUID };
static const weir_field_t none[] = { { 0 } };

/* -- workspaces, parameters ----------------------------------------------- */

const weir_field_t weir_workspace_fields[] = {
    ID_FIELD,
    { .name = "name",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REQUIRED | WEIR_UNIQUE,
      .not_one_of = "workspaces consumers certificates services routes snis upstreams targets "
                    "plugins tags ca_certificates clustering_data_planes parameters vaults "
                    "key_sets keys filter_chains",
      .check = weir_check_utf8_name },
    { .name = "comment", .type = WEIR_TYPE_STRING },
    CREATED_AT,
    UPDATED_AT,
    { .name = "meta", .type = WEIR_TYPE_RECORD, .flags = WEIR_REQUIRED, .fields = none },
    { .name = "config", .type = WEIR_TYPE_RECORD, .flags = WEIR_REQUIRED, .fields = none },
    { 0 },
};

const weir_field_t weir_parameter_fields[] = {
    CREATED_AT,
    { .name = "key", .type = WEIR_TYPE_STRING, .flags = WEIR_REQUIRED | WEIR_UNIQUE },
    { .name = "value", .type = WEIR_TYPE_STRING, .flags = WEIR_REQUIRED },
    { 0 },
};

/* -- consumers ----------------------------------------------- */

const weir_field_t weir_consumer_fields[] = {
    ID_FIELD,
    CREATED_AT,
    UPDATED_AT,
    { .name = "username", .type = WEIR_TYPE_STRING, .flags = WEIR_UNIQUE },
    { .name = "custom_id", .type = WEIR_TYPE_STRING, .flags = WEIR_UNIQUE },
    TAGS,
    { 0 },
};

const weir_check_t weir_consumer_checks[] = {
    { .kind = WEIR_CHECK_AT_LEAST_ONE_OF, .fields = "custom_id username" },
    { 0 },
};

/* -- certificates --------------------------------------------------------- */

const weir_field_t weir_certificate_fields[] = {
    ID_FIELD,
    CREATED_AT,
    UPDATED_AT,
    { .name = "cert",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REQUIRED | WEIR_REFERENCEABLE,
      .check = weir_check_certificate },
    { .name = "key",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REQUIRED | WEIR_REFERENCEABLE | WEIR_ENCRYPTED,
      .check = weir_check_key },
    { .name = "cert_alt",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REFERENCEABLE,
      .check = weir_check_certificate,
      .describe = NOT_REQUIRED },
    { .name = "key_alt",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REFERENCEABLE | WEIR_ENCRYPTED,
      .check = weir_check_key,
      .describe = NOT_REQUIRED },
    TAGS,
    { .name = "snis",
      .type = WEIR_TYPE_ARRAY,
      .flags = WEIR_TRANSIENT,
      .of = &weir_element_wildcard_host,
      .describe = NOT_REQUIRED },
    { 0 },
};

const weir_check_t weir_certificate_checks[] = {
    { .kind = WEIR_CHECK_MUTUALLY_REQUIRED, .fields = "cert_alt key_alt" },
    { .kind = WEIR_CHECK_CUSTOM, .fields = "cert key", .custom = weir_check_cert_matches_key },
    { .kind = WEIR_CHECK_CUSTOM,
      .fields = "cert_alt key_alt",
      .custom = weir_check_cert_alt_matches_key_alt },
    { .kind = WEIR_CHECK_CUSTOM,
      .fields = "cert cert_alt",
      .custom = weir_check_cert_types_differ },
    { 0 },
};

const weir_field_t weir_ca_certificate_fields[] = {
    ID_FIELD,
    CREATED_AT,
    UPDATED_AT,
    { .name = "cert",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REQUIRED,
      .check = weir_check_certificate },
    { .name = "cert_digest", .type = WEIR_TYPE_STRING, .flags = WEIR_UNIQUE },
    TAGS,
    { 0 },
};

const weir_check_t weir_ca_certificate_checks[] = {
    { .kind = WEIR_CHECK_CUSTOM, .fields = "cert", .custom = weir_check_single_unexpired_ca },
    { 0 },
};

const weir_field_t weir_sni_fields[] = {
    ID_FIELD,
    { .name = "name",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REQUIRED | WEIR_UNIQUE | WEIR_UNIQUE_ACROSS_WS,
      .check = weir_check_wildcard_host },
    CREATED_AT,
    UPDATED_AT,
    TAGS,
    { .name = "certificate",
      .type = WEIR_TYPE_FOREIGN,
      .flags = WEIR_REQUIRED,
      .to = "certificates" },
    { 0 },
};

/* -- services ------------------------------------------------------------- */

const weir_field_t weir_service_fields[] = {
    ID_FIELD,
    CREATED_AT,
    UPDATED_AT,
    { .name = "name",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_UNIQUE,
      .check = weir_check_utf8_name },
    { .name = "retries",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_HAS_RANGE,
      .initial = "5",
      .max = 32767 },
    { .name = "protocol",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REQUIRED,
      .initial = "\"http\"",
      .one_of = WEIR_PROTOCOLS },
    { .name = "host", .type = WEIR_TYPE_STRING, .flags = WEIR_REQUIRED, .check = weir_check_host },
    { .name = "port",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_REQUIRED | WEIR_HAS_RANGE,
      .initial = "80",
      .max = 65535 },
    { .name = "path",
      .type = WEIR_TYPE_STRING,
      .starts_with = "/",
      .match_none = weir_no_empty_segments,
      .check = weir_check_path },
    { .name = "connect_timeout",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_HAS_RANGE,
      .initial = "60000",
      .min = 1,
      .max = 2147483646 },
    { .name = "write_timeout",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_HAS_RANGE,
      .initial = "60000",
      .min = 1,
      .max = 2147483646 },
    { .name = "read_timeout",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_HAS_RANGE,
      .initial = "60000",
      .min = 1,
      .max = 2147483646 },
    TAGS,
    { .name = "client_certificate", .type = WEIR_TYPE_FOREIGN, .to = "certificates" },
    { .name = "tls_verify", .type = WEIR_TYPE_BOOLEAN },
    { .name = "tls_verify_depth",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_HAS_RANGE | WEIR_DEFAULT_NULL,
      .max = 64 },
    { .name = "ca_certificates", .type = WEIR_TYPE_ARRAY, .of = &uuid_text },
    FLAG("enabled", "true"),
    { 0 },
};

#define SERVICE_TLS_ONLY(field)                                                               \
    {                                                                                         \
        .kind = WEIR_CHECK_CONDITIONAL, .if_field = "protocol", .if_not_one_of = "https tls", \
        .then_field = (field), .then_null = true                                              \
    }

const weir_check_t weir_service_checks[] = {
    { .kind = WEIR_CHECK_CONDITIONAL,
      .if_field = "protocol",
      .if_one_of = "tcp tls udp grpc grpcs",
      .then_field = "path",
      .then_null = true },
    SERVICE_TLS_ONLY("client_certificate"),
    SERVICE_TLS_ONLY("tls_verify"),
    SERVICE_TLS_ONLY("tls_verify_depth"),
    SERVICE_TLS_ONLY("ca_certificates"),
    { 0 },
};

/* -- plugins -------------------------------------------------------------- */

#define PLUGIN_SCOPE(field, entity)                                                             \
    {                                                                                           \
        .name = (field), .type = WEIR_TYPE_FOREIGN, .flags = WEIR_DEFAULT_NULL, .to = (entity), \
        .on_delete = WEIR_ON_DELETE_CASCADE                                                     \
    }

const weir_field_t weir_plugin_fields[] = {
    ID_FIELD,
    { .name = "name", .type = WEIR_TYPE_STRING, .flags = WEIR_REQUIRED },
    { .name = "instance_name",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_UNIQUE,
      .check = weir_check_utf8_name },
    CREATED_AT,
    UPDATED_AT,
    PLUGIN_SCOPE("route", "routes"),
    PLUGIN_SCOPE("service", "services"),
    PLUGIN_SCOPE("consumer", "consumers"),
    { .name = "config", .type = WEIR_TYPE_RECORD, .flags = WEIR_ABSTRACT },
    { .name = "protocols",
      .type = WEIR_TYPE_SET,
      .flags = WEIR_REQUIRED,
      .initial = "[\"grpc\",\"grpcs\",\"http\",\"https\"]",
      .of = &weir_element_protocol },
    FLAG("enabled", "true"),
    TAGS,
    { 0 },
};
