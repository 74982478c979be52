/* entities.c -- the schemas of all entities, as tables (entity-schemas.json). */
#include "model/checks.h"
#include "model/model.h"

#define ID_FIELD                                                               \
    {                                                                          \
        .name = "id", .type = WEIR_TYPE_STRING, .flags = WEIR_AUTO | WEIR_UUID \
    }
#define CREATED_AT                                                                           \
    {                                                                                        \
        .name = "created_at", .type = WEIR_TYPE_INTEGER, .flags = WEIR_AUTO | WEIR_TIMESTAMP \
    }
#define UPDATED_AT                                                                           \
    {                                                                                        \
        .name = "updated_at", .type = WEIR_TYPE_INTEGER, .flags = WEIR_AUTO | WEIR_TIMESTAMP \
    }
#define TAGS                                              \
    {                                                     \
        .name = "tags", .type = WEIR_TYPE_SET, .of = &tag \
    }
#define FLAG(field, value)                                                                     \
    {                                                                                          \
        .name = (field), .type = WEIR_TYPE_BOOLEAN, .flags = WEIR_REQUIRED, .initial = (value) \
    }
/* Said explicitly, as the incumbent does here and there. */
#define NOT_REQUIRED "{\"required\":false}"
#define PROTOCOLS    "grpc grpcs http https tcp tls tls_passthrough udp"

static const weir_field_t tag = { .type = WEIR_TYPE_STRING,
                                  .flags = WEIR_REQUIRED,
                                  .check = weir_check_tag };
static const weir_field_t text = { .type = WEIR_TYPE_STRING };
static const weir_field_t texts = { .type = WEIR_TYPE_ARRAY, .of = &text };
static const weir_field_t uuid_text = { .type = WEIR_TYPE_STRING, .flags = WEIR_UUID };
static const weir_field_t protocol = { .type = WEIR_TYPE_STRING, .one_of = PROTOCOLS };
static const weir_field_t header_name = { .type = WEIR_TYPE_STRING,
                                          .check = weir_check_header_name };
static const weir_field_t wildcard_host = { .type = WEIR_TYPE_STRING,
                                            .check = weir_check_wildcard_host };
static const weir_field_t none[] = { { 0 } };

const weir_field_t weir_element_http_protocol = { .type = WEIR_TYPE_STRING,
                                                  .one_of = "grpc grpcs http https" };

/* -- workspaces, parameters ----------------------------------------------- */

static const weir_field_t workspace_fields[] = {
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

static const weir_field_t parameter_fields[] = {
    CREATED_AT,
    { .name = "key", .type = WEIR_TYPE_STRING, .flags = WEIR_REQUIRED | WEIR_UNIQUE },
    { .name = "value", .type = WEIR_TYPE_STRING, .flags = WEIR_REQUIRED },
    { 0 },
};

/* -- consumers, credentials ----------------------------------------------- */

static const weir_field_t consumer_fields[] = {
    ID_FIELD,
    CREATED_AT,
    UPDATED_AT,
    { .name = "username", .type = WEIR_TYPE_STRING, .flags = WEIR_UNIQUE },
    { .name = "custom_id", .type = WEIR_TYPE_STRING, .flags = WEIR_UNIQUE },
    TAGS,
    { 0 },
};

static const weir_check_t consumer_checks[] = {
    { .kind = WEIR_CHECK_AT_LEAST_ONE_OF, .fields = "custom_id username" },
    { 0 },
};

static const weir_field_t keyauth_fields[] = {
    ID_FIELD,
    CREATED_AT,
    { .name = "consumer",
      .type = WEIR_TYPE_FOREIGN,
      .flags = WEIR_REQUIRED,
      .to = "consumers",
      .on_delete = WEIR_ON_DELETE_CASCADE },
    { .name = "key",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_UNIQUE | WEIR_AUTO,
      .describe = NOT_REQUIRED },
    TAGS,
    { 0 },
};

/* -- certificates --------------------------------------------------------- */

static const weir_field_t certificate_fields[] = {
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
      .of = &wildcard_host,
      .describe = NOT_REQUIRED },
    { 0 },
};

static const weir_check_t certificate_checks[] = {
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

static const weir_field_t ca_certificate_fields[] = {
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

static const weir_check_t ca_certificate_checks[] = {
    { .kind = WEIR_CHECK_CUSTOM, .fields = "cert", .custom = weir_check_single_unexpired_ca },
    { 0 },
};

static const weir_field_t sni_fields[] = {
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

static const weir_pattern_t no_empty_segments[] = {
    { "//", "must not have empty segments" },
    { 0 },
};

static const weir_field_t service_fields[] = {
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
      .one_of = PROTOCOLS },
    { .name = "host", .type = WEIR_TYPE_STRING, .flags = WEIR_REQUIRED, .check = weir_check_host },
    { .name = "port",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_REQUIRED | WEIR_HAS_RANGE,
      .initial = "80",
      .max = 65535 },
    { .name = "path",
      .type = WEIR_TYPE_STRING,
      .starts_with = "/",
      .match_none = no_empty_segments,
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

static const weir_check_t service_checks[] = {
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

/* -- routes --------------------------------------------------------------- */

static const char *const exclusive_protocols[] = {
    "http https", "tcp tls udp", "tls_passthrough", "grpc grpcs", NULL,
};

static const weir_field_t ip_and_port_fields[] = {
    { .name = "ip", .type = WEIR_TYPE_STRING, .check = weir_check_ip_or_cidr },
    { .name = "port", .type = WEIR_TYPE_INTEGER, .flags = WEIR_HAS_RANGE, .max = 65535 },
    { 0 },
};
static const weir_check_t ip_or_port[] = {
    { .kind = WEIR_CHECK_AT_LEAST_ONE_OF, .fields = "ip port" },
    { 0 },
};
static const weir_field_t ip_and_port = { .type = WEIR_TYPE_RECORD,
                                          .fields = ip_and_port_fields,
                                          .checks = ip_or_port };
static const weir_field_t method = { .type = WEIR_TYPE_STRING,
                                     .check = weir_check_method,
                                     .describe = "{\"match\":\"^%u+$\"}" };
static const weir_field_t route_host = {
    .type = WEIR_TYPE_STRING,
    .check = weir_check_route_host,
    .describe = "{\"match_all\":[{\"pattern\":\"^[^*]*%*?[^*]*$\","
                "\"err\":\"invalid wildcard: must have at most one wildcard\"}],"
                "\"match_any\":{\"patterns\":[\"^%*%.\",\"%.%*$\",\"^[^*]*$\"],"
                "\"err\":\"invalid wildcard: must be placed at leftmost or rightmost label\"}}",
};
static const weir_field_t route_path = {
    .type = WEIR_TYPE_STRING,
    .check = weir_check_route_path,
    .describe = "{\"match_none\":[{\"pattern\":\"//\","
                "\"err\":\"must not have empty segments\"}],"
                "\"match_any\":{\"patterns\":[\"^/\",\"^~/\"],"
                "\"err\":\"should start with: / (fixed path) or ~/ (regex path)\"}}",
};
static const weir_pattern_t not_host[] = {
    { "^[Hh][Oo][Ss][Tt]$",
      "cannot contain 'host' header, which must be specified in the 'hosts' attribute" },
    { 0 },
};
static const weir_field_t route_header_name = { .type = WEIR_TYPE_STRING,
                                                .match_none = not_host,
                                                .check = weir_check_header_name };

static const weir_field_t route_fields[] = {
    ID_FIELD,
    CREATED_AT,
    UPDATED_AT,
    { .name = "name",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_UNIQUE,
      .check = weir_check_utf8_name },
    { .name = "protocols",
      .type = WEIR_TYPE_SET,
      .flags = WEIR_REQUIRED,
      .initial = "[\"http\",\"https\"]",
      .len_min = 1,
      .exclusive = exclusive_protocols,
      .of = &protocol },
    { .name = "https_redirect_status_code",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_REQUIRED,
      .initial = "426",
      .one_of = "426 301 302 307 308" },
    FLAG("strip_path", "true"),
    FLAG("preserve_host", "false"),
    FLAG("request_buffering", "true"),
    FLAG("response_buffering", "true"),
    TAGS,
    { .name = "service", .type = WEIR_TYPE_FOREIGN, .to = "services" },
    { .name = "snis", .type = WEIR_TYPE_SET, .of = &wildcard_host },
    { .name = "sources", .type = WEIR_TYPE_SET, .of = &ip_and_port },
    { .name = "destinations", .type = WEIR_TYPE_SET, .of = &ip_and_port },
    { .name = "methods", .type = WEIR_TYPE_SET, .of = &method },
    { .name = "hosts", .type = WEIR_TYPE_ARRAY, .of = &route_host },
    { .name = "paths", .type = WEIR_TYPE_ARRAY, .of = &route_path },
    { .name = "headers", .type = WEIR_TYPE_MAP, .keys = &route_header_name, .of = &texts },
    { .name = "regex_priority", .type = WEIR_TYPE_INTEGER, .initial = "0" },
    { .name = "path_handling", .type = WEIR_TYPE_STRING, .initial = "\"v0\"", .one_of = "v0 v1" },
    { 0 },
};

static const weir_check_t route_checks[] = {
    { .kind = WEIR_CHECK_CONDITIONAL,
      .if_field = "protocols",
      .if_not_one_of = "grpcs https tls tls_passthrough",
      .then_field = "snis",
      .then_empty = true,
      .error = "'snis' can only be set when 'protocols' is 'grpcs', 'https', 'tls' or "
               "'tls_passthrough'" },
    { .kind = WEIR_CHECK_CUSTOM, .fields = "path_handling" }, /* only a warning there */
    { .kind = WEIR_CHECK_CUSTOM,
      .fields = "id protocols snis sources destinations methods hosts paths headers expression "
                "regex_priority priority",
      .custom = weir_check_route_expression,
      .describe = "{\"custom_entity_check\":{\"field_sources\":[\"id\",\"protocols\",\"snis\","
                  "\"sources\",\"destinations\",\"methods\",\"hosts\",\"paths\",\"headers\","
                  "\"expression\",\"regex_priority\",\"priority\"],"
                  "\"run_with_missing_fields\":true}}" },
    { 0 },
};

#define FORBIDDEN(field, protocols)                                      \
    {                                                                    \
        .name = (field), .flags = WEIR_MUST_BE_NULL,                     \
        .error = "cannot set '" field "' when 'protocols' is " protocols \
    }
#define ONE_OF_THESE(names, when, unless, words)                                          \
    {                                                                                     \
        .kind = WEIR_CHECK_AT_LEAST_ONE_WHEN, .fields = (names), .if_field = "protocols", \
        .if_one_of = (when), .if_not_one_of = (unless),                                   \
        .error = "must set one of %s when 'protocols' is " words                          \
    }

extern const weir_field_t weir_route_http_fields[], weir_route_stream_fields[],
    weir_route_grpc_fields[];
extern const weir_check_t weir_route_http_checks[], weir_route_stream_checks[],
    weir_route_grpc_checks[];

const weir_field_t weir_route_http_fields[] = {
    FORBIDDEN("sources", "'http' or 'https'"),
    FORBIDDEN("destinations", "'http' or 'https'"),
    { 0 },
};
const weir_check_t weir_route_http_checks[] = {
    ONE_OF_THESE("methods hosts headers paths snis", "https", NULL, "'https'"),
    ONE_OF_THESE("methods hosts headers paths", "http", "https", "'http'"),
    { 0 },
};

#define STREAM "'tcp', 'tls', 'tls_passthrough' or 'udp'"
const weir_field_t weir_route_stream_fields[] = {
    FORBIDDEN("methods", STREAM),
    FORBIDDEN("hosts", STREAM),
    FORBIDDEN("paths", STREAM),
    FORBIDDEN("headers", STREAM),
    { 0 },
};
const weir_check_t weir_route_stream_checks[] = {
    ONE_OF_THESE("sources destinations snis", "tcp tls udp", "tls_passthrough",
                 "'tcp', 'tls' or 'udp'"),
    { .kind = WEIR_CHECK_AT_LEAST_ONE_WHEN,
      .fields = "snis",
      .if_field = "protocols",
      .if_one_of = "tls_passthrough",
      .if_not_one_of = "tcp tls udp",
      .error = "must set snis when 'protocols' is 'tls_passthrough'" },
    { 0 },
};

#define GRPC "'grpc' or 'grpcs'"
const weir_field_t weir_route_grpc_fields[] = {
    { .name = "strip_path",
      .type = WEIR_TYPE_BOOLEAN,
      .flags = WEIR_REQUIRED | WEIR_MUST_NOT_BE_TRUE,
      .initial = "false",
      .error = "cannot set 'strip_path' when 'protocols' is " GRPC },
    FORBIDDEN("methods", GRPC),
    FORBIDDEN("sources", GRPC),
    FORBIDDEN("destinations", GRPC),
    { 0 },
};
const weir_check_t weir_route_grpc_checks[] = {
    ONE_OF_THESE("hosts headers paths snis", "grpcs", NULL, "'grpcs'"),
    ONE_OF_THESE("hosts headers paths", "grpc", "grpcs", "'grpc'"),
    { 0 },
};

/* -- upstreams, targets --------------------------------------------------- */

#define SMALL_COUNT(field)                                                                   \
    {                                                                                        \
        .name = (field), .type = WEIR_TYPE_INTEGER, .flags = WEIR_HAS_RANGE, .initial = "0", \
        .max = 255                                                                           \
    }
#define INTERVAL(field, value)                                                                  \
    {                                                                                           \
        .name = (field), .type = WEIR_TYPE_NUMBER, .flags = WEIR_HAS_RANGE, .initial = (value), \
        .max = 65535                                                                            \
    }
#define CHECK_TYPE                                                       \
    {                                                                    \
        .name = "type", .type = WEIR_TYPE_STRING, .initial = "\"http\"", \
        .one_of = "tcp http https grpc grpcs"                            \
    }
#define RECORD(field, members)                                                              \
    {                                                                                       \
        .name = (field), .type = WEIR_TYPE_RECORD, .flags = WEIR_REQUIRED, .initial = "{}", \
        .fields = (members)                                                                 \
    }

static const weir_field_t http_status = {
    .type = WEIR_TYPE_INTEGER, .flags = WEIR_HAS_RANGE, .min = 100, .max = 999
};
#define STATUSES(value)                                                                          \
    {                                                                                            \
        .name = "http_statuses", .type = WEIR_TYPE_ARRAY, .initial = (value), .of = &http_status \
    }

/* The order inside is that of the recorded description; it means nothing. */
static const weir_field_t active_healthy[] = {
    SMALL_COUNT("successes"),
    INTERVAL("interval", "0"),
    STATUSES("[200,302]"),
    { 0 },
};
static const weir_field_t active_unhealthy[] = {
    INTERVAL("interval", "0"),    SMALL_COUNT("tcp_failures"),
    SMALL_COUNT("timeouts"),      STATUSES("[429,404,500,501,502,503,504,505]"),
    SMALL_COUNT("http_failures"), { 0 },
};
static const weir_field_t passive_healthy[] = {
    STATUSES("[200,201,202,203,204,205,206,207,208,226,300,301,302,303,304,305,306,307,308]"),
    SMALL_COUNT("successes"),
    { 0 },
};
static const weir_field_t passive_unhealthy[] = {
    SMALL_COUNT("tcp_failures"),
    SMALL_COUNT("timeouts"),
    STATUSES("[429,500,503]"),
    SMALL_COUNT("http_failures"),
    { 0 },
};
static const weir_field_t active_fields[] = {
    { .name = "https_sni",
      .type = WEIR_TYPE_STRING,
      .check = weir_check_sni,
      .describe = NOT_REQUIRED },
    INTERVAL("timeout", "1"),
    RECORD("healthy", active_healthy),
    RECORD("unhealthy", active_unhealthy),
    { .name = "headers",
      .type = WEIR_TYPE_MAP,
      .keys = &header_name,
      .of = &texts,
      .describe = NOT_REQUIRED },
    CHECK_TYPE,
    FLAG("https_verify_certificate", "true"),
    { .name = "concurrency",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_HAS_RANGE,
      .initial = "10",
      .min = 1,
      .max = 2147483648 },
    { .name = "http_path",
      .type = WEIR_TYPE_STRING,
      .initial = "\"/\"",
      .starts_with = "/",
      .match_none = no_empty_segments,
      .check = weir_check_path },
    { 0 },
};
static const weir_field_t passive_fields[] = {
    CHECK_TYPE,
    RECORD("healthy", passive_healthy),
    RECORD("unhealthy", passive_unhealthy),
    { 0 },
};
static const weir_field_t healthcheck_fields[] = {
    RECORD("active", active_fields),
    RECORD("passive", passive_fields),
    { .name = "threshold",
      .type = WEIR_TYPE_NUMBER,
      .flags = WEIR_HAS_RANGE,
      .initial = "0",
      .max = 100 },
    { 0 },
};

/* The default that is shown lacks the threshold, though a new upstream has it. */
#define HEALTHCHECKS_SHOWN                                                                         \
    "{\"default\":{\"active\":{\"timeout\":1,\"healthy\":{\"http_statuses\":[200,302],"            \
    "\"successes\":0,\"interval\":0},\"unhealthy\":{\"interval\":0,\"tcp_failures\":0,"            \
    "\"timeouts\":0,\"http_statuses\":[429,404,500,501,502,503,504,505],\"http_failures\":0},"     \
    "\"type\":\"http\",\"https_verify_certificate\":true,\"concurrency\":10,\"http_path\":\"/\"}," \
    "\"passive\":{\"type\":\"http\",\"healthy\":{\"http_statuses\":[200,201,202,203,204,205,206,"  \
    "207,208,226,300,301,302,303,304,305,306,307,308],\"successes\":0},\"unhealthy\":{"            \
    "\"tcp_failures\":0,\"timeouts\":0,\"http_statuses\":[429,500,503],\"http_failures\":0}}}}"

#define HASH_INPUTS "none consumer ip header cookie path query_arg uri_capture"
#define HASH_INPUT(field)                                                                       \
    {                                                                                           \
        .name = (field), .type = WEIR_TYPE_STRING, .initial = "\"none\"", .one_of = HASH_INPUTS \
    }
#define HEADER_NAME(field)                                                         \
    {                                                                              \
        .name = (field), .type = WEIR_TYPE_STRING, .check = weir_check_header_name \
    }
#define TEXT(field)                               \
    {                                             \
        .name = (field), .type = WEIR_TYPE_STRING \
    }

static const weir_field_t upstream_fields[] = {
    ID_FIELD,
    CREATED_AT,
    { .name = "name",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REQUIRED | WEIR_UNIQUE,
      .check = weir_check_upstream_name },
    UPDATED_AT,
    { .name = "algorithm",
      .type = WEIR_TYPE_STRING,
      .initial = "\"round-robin\"",
      .one_of = "consistent-hashing least-connections round-robin latency" },
    HASH_INPUT("hash_on"),
    HASH_INPUT("hash_fallback"),
    HEADER_NAME("hash_on_header"),
    HEADER_NAME("hash_fallback_header"),
    { .name = "hash_on_cookie", .type = WEIR_TYPE_STRING, .check = weir_check_cookie_name },
    { .name = "hash_on_cookie_path",
      .type = WEIR_TYPE_STRING,
      .initial = "\"/\"",
      .starts_with = "/",
      .match_none = no_empty_segments,
      .check = weir_check_path },
    TEXT("hash_on_query_arg"),
    TEXT("hash_fallback_query_arg"),
    TEXT("hash_on_uri_capture"),
    TEXT("hash_fallback_uri_capture"),
    { .name = "slots",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_HAS_RANGE,
      .initial = "10000",
      .min = 10,
      .max = 65536 },
    { .name = "healthchecks",
      .type = WEIR_TYPE_RECORD,
      .flags = WEIR_REQUIRED,
      .initial = "{}",
      .fields = healthcheck_fields,
      .describe = HEALTHCHECKS_SHOWN },
    TAGS,
    { .name = "host_header",
      .type = WEIR_TYPE_STRING,
      .check = weir_check_host_with_optional_port },
    { .name = "client_certificate", .type = WEIR_TYPE_FOREIGN, .to = "certificates" },
    { .name = "use_srv_name", .type = WEIR_TYPE_BOOLEAN, .initial = "false" },
    { 0 },
};

#define HASH_NEEDS(on, input, field)                                            \
    {                                                                           \
        .kind = WEIR_CHECK_CONDITIONAL, .if_field = (on), .if_one_of = (input), \
        .then_field = (field), .then_required = true                            \
    }
#define HASH_FALLBACK(input, allowed)                                                \
    {                                                                                \
        .kind = WEIR_CHECK_CONDITIONAL, .if_field = "hash_on", .if_one_of = (input), \
        .then_field = "hash_fallback", .then_one_of = (allowed)                      \
    }
#define HASH_DISTINCT(names)                           \
    {                                                  \
        .kind = WEIR_CHECK_DISTINCT, .fields = (names) \
    }

static const weir_check_t upstream_checks[] = {
    HASH_NEEDS("hash_on", "header", "hash_on_header"),
    HASH_NEEDS("hash_fallback", "header", "hash_fallback_header"),
    HASH_NEEDS("hash_on", "cookie", "hash_on_cookie"),
    HASH_NEEDS("hash_fallback", "cookie", "hash_on_cookie"),
    HASH_FALLBACK("none", "none"),
    HASH_FALLBACK("cookie", "none"),
    HASH_FALLBACK("consumer", "none ip header cookie path query_arg uri_capture"),
    HASH_FALLBACK("ip", "none consumer header cookie path query_arg uri_capture"),
    HASH_FALLBACK("path", "none consumer header cookie query_arg ip uri_capture"),
    HASH_DISTINCT("hash_on_header hash_fallback_header"),
    HASH_NEEDS("hash_on", "query_arg", "hash_on_query_arg"),
    HASH_NEEDS("hash_fallback", "query_arg", "hash_fallback_query_arg"),
    HASH_DISTINCT("hash_on_query_arg hash_fallback_query_arg"),
    HASH_NEEDS("hash_on", "uri_capture", "hash_on_uri_capture"),
    HASH_NEEDS("hash_fallback", "uri_capture", "hash_fallback_uri_capture"),
    HASH_DISTINCT("hash_on_uri_capture hash_fallback_uri_capture"),
    { 0 },
};

static const weir_field_t target_fields[] = {
    ID_FIELD,
    { .name = "created_at", .type = WEIR_TYPE_NUMBER, .flags = WEIR_AUTO | WEIR_TIMESTAMP },
    { .name = "updated_at", .type = WEIR_TYPE_NUMBER, .flags = WEIR_AUTO | WEIR_TIMESTAMP },
    { .name = "upstream",
      .type = WEIR_TYPE_FOREIGN,
      .flags = WEIR_REQUIRED,
      .to = "upstreams",
      .on_delete = WEIR_ON_DELETE_CASCADE },
    { .name = "target",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REQUIRED,
      .check = weir_check_target },
    { .name = "weight",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_HAS_RANGE,
      .initial = "100",
      .max = 65535 },
    TAGS,
    { 0 },
};

/* -- plugins -------------------------------------------------------------- */

#define PLUGIN_SCOPE(field, entity)                                                             \
    {                                                                                           \
        .name = (field), .type = WEIR_TYPE_FOREIGN, .flags = WEIR_DEFAULT_NULL, .to = (entity), \
        .on_delete = WEIR_ON_DELETE_CASCADE                                                     \
    }

static const weir_field_t plugin_fields[] = {
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
      .of = &protocol },
    FLAG("enabled", "true"),
    TAGS,
    { 0 },
};

/* -- the list ------------------------------------------------------------- */

static const char *const target_key[] = { "upstream", "target", NULL };
static const char *const plugin_key[] = { "name", "route", "service", "consumer", NULL };

static const weir_schema_t schemas[WEIR_ENTITY_TYPES] = {
    [WEIR_WORKSPACES] = { .type = WEIR_WORKSPACES,
                          .name = "workspaces",
                          .endpoint_key = "name",
                          .primary_key = "id",
                          .fields = workspace_fields },
    [WEIR_PARAMETERS] = { .type = WEIR_PARAMETERS,
                          .name = "parameters",
                          .primary_key = "key",
                          .fields = parameter_fields },
    [WEIR_CONSUMERS] = { .type = WEIR_CONSUMERS,
                         .name = "consumers",
                         .admin_name = "consumers",
                         .endpoint_key = "username",
                         .primary_key = "id",
                         .fields = consumer_fields,
                         .checks = consumer_checks,
                         .workspaceable = true },
    [WEIR_CERTIFICATES] = { .type = WEIR_CERTIFICATES,
                            .name = "certificates",
                            .admin_name = "certificates",
                            .primary_key = "id",
                            .fields = certificate_fields,
                            .checks = certificate_checks,
                            .workspaceable = true },
    [WEIR_CA_CERTIFICATES] = { .type = WEIR_CA_CERTIFICATES,
                               .name = "ca_certificates",
                               .admin_name = "ca_certificates",
                               .primary_key = "id",
                               .fields = ca_certificate_fields,
                               .checks = ca_certificate_checks },
    [WEIR_SERVICES] = { .type = WEIR_SERVICES,
                        .name = "services",
                        .admin_name = "services",
                        .endpoint_key = "name",
                        .primary_key = "id",
                        .fields = service_fields,
                        .checks = service_checks,
                        .workspaceable = true },
    [WEIR_ROUTES] = { .type = WEIR_ROUTES,
                      .name = "routes",
                      .admin_name = "routes",
                      .endpoint_key = "name",
                      .primary_key = "id",
                      .fields = route_fields,
                      .checks = route_checks,
                      .workspaceable = true },
    [WEIR_SNIS] = { .type = WEIR_SNIS,
                    .name = "snis",
                    .admin_name = "snis",
                    .endpoint_key = "name",
                    .primary_key = "id",
                    .fields = sni_fields,
                    .workspaceable = true },
    [WEIR_UPSTREAMS] = { .type = WEIR_UPSTREAMS,
                         .name = "upstreams",
                         .admin_name = "upstreams",
                         .endpoint_key = "name",
                         .primary_key = "id",
                         .fields = upstream_fields,
                         .checks = upstream_checks,
                         .workspaceable = true },
    [WEIR_TARGETS] = { .type = WEIR_TARGETS,
                       .name = "targets",
                       .admin_name = "targets",
                       .endpoint_key = "target",
                       .primary_key = "id",
                       .cache_key = target_key,
                       .fields = target_fields,
                       .workspaceable = true },
    [WEIR_PLUGINS] = { .type = WEIR_PLUGINS,
                       .name = "plugins",
                       .admin_name = "plugins",
                       .endpoint_key = "instance_name",
                       .primary_key = "id",
                       .cache_key = plugin_key,
                       .fields = plugin_fields,
                       .workspaceable = true },
    [WEIR_KEYAUTH_CREDENTIALS] = { .type = WEIR_KEYAUTH_CREDENTIALS,
                                   .name = "keyauth_credentials",
                                   .admin_name = "key-auths",
                                   .nested_name = "key-auth",
                                   .endpoint_key = "key",
                                   .primary_key = "id",
                                   .fields = keyauth_fields,
                                   .workspaceable = true,
                                   .ttl = true },
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
        WEIR_WORKSPACES, WEIR_CA_CERTIFICATES, WEIR_CERTIFICATES, WEIR_CONSUMERS,
        WEIR_PARAMETERS, WEIR_SERVICES,        WEIR_ROUTES,       WEIR_PLUGINS,
        WEIR_SNIS,       WEIR_UPSTREAMS,       WEIR_TARGETS,      WEIR_KEYAUTH_CREDENTIALS,
    };
    *ret_count = WEIR_COUNT(order);
    return order;
}
