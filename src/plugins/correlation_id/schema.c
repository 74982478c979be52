/* schema.c -- what the configuration of correlation-id may hold. */
#include "weir/schema.h"

#include <stdio.h>
#include <strings.h>

/* The incumbent takes any name. One of these would change where a message ends or whom it
 * is for, at the upstream and, if it is echoed, at the client. */
static int check_header(weir_str_t value, weir_error_t *err)
{
    static const char *const framing[] = { "connection", "content-length",    "host",
                                           "keep-alive", "proxy-connection",  "te",
                                           "trailer",    "transfer-encoding", "upgrade" };
    for (size_t i = 0; i < sizeof(framing) / sizeof(framing[0]); i++) {
        if (strlen(framing[i]) != value.len || strncasecmp(framing[i], value.data, value.len) != 0)
            continue;
        err->code = WEIR_INVALID;
        snprintf(err->reason, sizeof(err->reason),
                 "'%s' is a header of the connection and cannot carry an id", framing[i]);
        return WEIR_INVALID;
    }
    return WEIR_OK;
}

static const weir_field_t config_fields[] = {
    { .name = "header_name",
      .type = WEIR_TYPE_STRING,
      .initial = "\"Kong-Request-ID\"",
      .check = check_header },
    { .name = "generator",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REQUIRED,
      .initial = "\"uuid#counter\"",
      .one_of = "uuid uuid#counter tracker" },
    { .name = "echo_downstream",
      .type = WEIR_TYPE_BOOLEAN,
      .flags = WEIR_REQUIRED,
      .initial = "false" },
    { 0 },
};

static const weir_field_t fields[] = {
    WEIR_PLUGIN_PROTOCOLS_HTTP,
    { .name = "config", .type = WEIR_TYPE_RECORD, .flags = WEIR_REQUIRED, .fields = config_fields },
    { 0 },
};

const weir_plugin_schema_t weir_plugin_schema_correlation_id = {
    .name = "correlation-id",
    .priority = 100001,
    .fields = fields,
};
