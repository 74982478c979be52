/* entities_upstreams.c -- tables: upstreams and their targets. */
#include "model/checks.h"
#include "model/tables.h"

static const weir_field_t header_name = { .type = WEIR_TYPE_STRING,
                                          .check = weir_check_header_name };

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
      .of = &weir_element_texts,
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
      .match_none = weir_no_empty_segments,
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

const weir_field_t weir_upstream_fields[] = {
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
      .match_none = weir_no_empty_segments,
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

const weir_check_t weir_upstream_checks[] = {
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

const weir_field_t weir_target_fields[] = {
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
