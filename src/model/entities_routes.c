/* entities_routes.c -- tables: routes, and what each family of protocols makes of them. */
#include "model/checks.h"
#include "model/tables.h"

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

const weir_field_t weir_route_fields[] = {
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
      .of = &weir_element_protocol },
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
    { .name = "snis", .type = WEIR_TYPE_SET, .of = &weir_element_wildcard_host },
    { .name = "sources", .type = WEIR_TYPE_SET, .of = &ip_and_port },
    { .name = "destinations", .type = WEIR_TYPE_SET, .of = &ip_and_port },
    { .name = "methods", .type = WEIR_TYPE_SET, .of = &method },
    { .name = "hosts", .type = WEIR_TYPE_ARRAY, .of = &route_host },
    { .name = "paths", .type = WEIR_TYPE_ARRAY, .of = &route_path },
    { .name = "headers",
      .type = WEIR_TYPE_MAP,
      .keys = &route_header_name,
      .of = &weir_element_texts },
    { .name = "regex_priority", .type = WEIR_TYPE_INTEGER, .initial = "0" },
    { .name = "path_handling", .type = WEIR_TYPE_STRING, .initial = "\"v0\"", .one_of = "v0 v1" },
    { 0 },
};

const weir_check_t weir_route_checks[] = {
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
