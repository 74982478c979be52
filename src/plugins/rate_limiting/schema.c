/* schema.c -- what the configuration of rate-limiting may hold. */
#include "plugins/rate_limiting/rate_limiting.h"

#include <stdio.h>

const char *const rate_limiting_periods[RATE_LIMITING_PERIODS] = { "second", "minute", "hour",
                                                                   "day",    "month",  "year" };

static int refuse(weir_error_t *err, const char *reason)
{
    err->code = WEIR_INVALID;
    snprintf(err->reason, sizeof(err->reason), "%s", reason);
    return WEIR_INVALID;
}

/* Counters are of one data plane here. One that shall share them with others is refused
 * where it is configured, and does not get a limit for each node instead. */
static int check_policy(weir_str_t value, weir_error_t *err)
{
    if (weir_str_is(value, "cluster"))
        return refuse(err, "'cluster' needs a database that data planes write to, and they have "
                           "none; use 'local', which counts on each data plane");
    if (weir_str_is(value, "redis"))
        return refuse(err,
                      "'redis' is not supported; use 'local', which counts on each data plane");
    return WEIR_OK;
}

/* A limit of a longer period that is lower would make those of the shorter ones void. */
static int check_config(const weir_json_t *config, weir_error_t *err)
{
    for (size_t shorter = 0; shorter < RATE_LIMITING_PERIODS; shorter++) {
        double less = weir_json_get_number(config, rate_limiting_periods[shorter], 0);
        for (size_t longer = shorter + 1; longer < RATE_LIMITING_PERIODS; longer++) {
            double more = weir_json_get_number(config, rate_limiting_periods[longer], less);
            if (more >= less)
                continue;
            err->code = WEIR_INVALID;
            snprintf(err->reason, sizeof(err->reason),
                     "The limit for %s(%.1f) cannot be lower than the limit for %s(%.1f)",
                     rate_limiting_periods[longer], more, rate_limiting_periods[shorter], less);
            return WEIR_INVALID;
        }
    }
    if (weir_json_get_number(config, "sync_rate", -1) != -1)
        return refuse(err, "sync_rate other than -1 is only for policy redis");
    return WEIR_OK;
}

static const weir_pattern_t empty_segments[] = { { "//", "must not have empty segments" }, { 0 } };

static const weir_field_t redis_fields[] = {
    { .name = "host", .type = WEIR_TYPE_STRING, .check = weir_check_host },
    { .name = "port",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_HAS_RANGE,
      .initial = "6379",
      .min = 0,
      .max = 65535 },
    { .name = "timeout",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_HAS_RANGE,
      .initial = "2000",
      .min = 0,
      .max = 2147483646 },
    { .name = "username", .type = WEIR_TYPE_STRING, .flags = WEIR_REFERENCEABLE },
    { .name = "password",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REFERENCEABLE | WEIR_ENCRYPTED | WEIR_EMPTY_ALLOWED },
    { .name = "database", .type = WEIR_TYPE_INTEGER, .initial = "0" },
    { .name = "ssl",
      .type = WEIR_TYPE_BOOLEAN,
      .initial = "false",
      .describe = "{\"required\":false}" },
    { .name = "ssl_verify",
      .type = WEIR_TYPE_BOOLEAN,
      .initial = "false",
      .describe = "{\"required\":false}" },
    { .name = "server_name",
      .type = WEIR_TYPE_STRING,
      .check = weir_check_sni,
      .describe = "{\"required\":false}" },
    { 0 },
};

#define LIMIT(period)                                                                 \
    {                                                                                 \
        .name = (period), .type = WEIR_TYPE_NUMBER, .flags = WEIR_ABOVE_MIN, .min = 0 \
    }

static const weir_field_t config_fields[] = {
    LIMIT("second"),
    LIMIT("minute"),
    LIMIT("hour"),
    LIMIT("day"),
    LIMIT("month"),
    LIMIT("year"),
    { .name = "limit_by",
      .type = WEIR_TYPE_STRING,
      .initial = "\"consumer\"",
      .one_of = "consumer credential ip service header path" },
    { .name = "header_name", .type = WEIR_TYPE_STRING, .check = weir_check_header_name },
    { .name = "path",
      .type = WEIR_TYPE_STRING,
      .starts_with = "/",
      .match_none = empty_segments,
      .check = weir_check_path },
    { .name = "policy",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_EMPTY_ALLOWED,
      .initial = "\"local\"",
      .one_of = "local cluster redis",
      .check = check_policy },
    { .name = "fault_tolerant",
      .type = WEIR_TYPE_BOOLEAN,
      .flags = WEIR_REQUIRED,
      .initial = "true" },
    { .name = "redis", .type = WEIR_TYPE_RECORD, .flags = WEIR_REQUIRED, .fields = redis_fields },
    { .name = "hide_client_headers",
      .type = WEIR_TYPE_BOOLEAN,
      .flags = WEIR_REQUIRED,
      .initial = "false" },
    { .name = "error_code",
      .type = WEIR_TYPE_NUMBER,
      .flags = WEIR_ABOVE_MIN,
      .initial = "429",
      .min = 0 },
    { .name = "error_message", .type = WEIR_TYPE_STRING, .initial = "\"API rate limit exceeded\"" },
    { .name = "sync_rate", .type = WEIR_TYPE_NUMBER, .flags = WEIR_REQUIRED, .initial = "-1" },
    { 0 },
};

static const weir_older_name_t older_names[] = {
    { "redis_host", "redis.host", WEIR_TYPE_STRING, 0, "4.0" },
    { "redis_port", "redis.port", WEIR_TYPE_INTEGER, 0, "4.0" },
    { "redis_password", "redis.password", WEIR_TYPE_STRING, WEIR_EMPTY_ALLOWED, "4.0" },
    { "redis_username", "redis.username", WEIR_TYPE_STRING, 0, "4.0" },
    { "redis_ssl", "redis.ssl", WEIR_TYPE_BOOLEAN, 0, "4.0" },
    { "redis_ssl_verify", "redis.ssl_verify", WEIR_TYPE_BOOLEAN, 0, "4.0" },
    { "redis_server_name", "redis.server_name", WEIR_TYPE_STRING, 0, "4.0" },
    { "redis_timeout", "redis.timeout", WEIR_TYPE_INTEGER, 0, "4.0" },
    { "redis_database", "redis.database", WEIR_TYPE_INTEGER, 0, "4.0" },
    { 0 },
};

static const weir_field_t fields[] = {
    WEIR_PLUGIN_PROTOCOLS_HTTP,
    { .name = "config",
      .type = WEIR_TYPE_RECORD,
      .flags = WEIR_REQUIRED,
      .fields = config_fields,
      .older = older_names,
      .check_record = check_config },
    { 0 },
};

/* `then` must be given if `if` is the word. */
#define NEEDS(if_, word, then)                                                                \
    {                                                                                         \
        .kind = WEIR_CHECK_CONDITIONAL, .if_field = (if_), .if_one_of = (word),               \
        .then_field = (then), .then_required = true,                                          \
        .describe = "{\"conditional\":{\"if_field\":\"" if_ "\",\"if_match\":{\"eq\":\"" word \
                    "\"},\"then_field\":\"" then "\",\"then_match\":{\"required\":true}}}",   \
    }

static const weir_check_t checks[] = {
    { .kind = WEIR_CHECK_AT_LEAST_ONE_OF,
      .fields = "config.second config.minute config.hour config.day config.month config.year" },
    NEEDS("config.policy", "redis", "config.redis.host"),
    NEEDS("config.policy", "redis", "config.redis.port"),
    NEEDS("config.policy", "redis", "config.redis.timeout"),
    NEEDS("config.limit_by", "header", "config.header_name"),
    NEEDS("config.limit_by", "path", "config.path"),
    { 0 },
};

const weir_plugin_schema_t weir_plugin_schema_rate_limiting = {
    .name = "rate-limiting",
    .priority = 910,
    .fields = fields,
    .checks = checks,
};
