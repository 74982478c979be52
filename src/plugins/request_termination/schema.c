/* schema.c -- what the configuration of request-termination may hold. */
#include "weir/schema.h"

#include <stdio.h>

static bool is_given(const weir_json_t *config, const char *name)
{
    return !weir_json_is_null(weir_json_get(config, name));
}

/* The answer is a message, or a body with its type, or an echo of the request:
 * plugins.json, "message_body_echo". */
static int check_config(const weir_json_t *config, weir_error_t *err)
{
    bool content_type = is_given(config, "content_type");
    bool body = is_given(config, "body");
    const char *reason = NULL;
    if (is_given(config, "message") && (content_type || body))
        reason = "message cannot be used with content_type or body";
    else if (content_type && !body)
        reason = "content_type requires a body";
    else if (weir_json_get_boolean(config, "echo", false) && (content_type || body))
        reason = "echo cannot be used with content_type and body";
    if (reason == NULL)
        return WEIR_OK;
    err->code = WEIR_INVALID;
    snprintf(err->reason, sizeof(err->reason), "%s", reason);
    return WEIR_INVALID;
}

static const weir_field_t config_fields[] = {
    { .name = "status_code",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_REQUIRED | WEIR_HAS_RANGE,
      .initial = "503",
      .min = 100,
      .max = 599 },
    { .name = "message", .type = WEIR_TYPE_STRING },
    { .name = "content_type", .type = WEIR_TYPE_STRING },
    { .name = "body", .type = WEIR_TYPE_STRING },
    { .name = "echo", .type = WEIR_TYPE_BOOLEAN, .flags = WEIR_REQUIRED, .initial = "false" },
    { .name = "trigger", .type = WEIR_TYPE_STRING, .check = weir_check_header_name },
    { 0 },
};

static const weir_field_t fields[] = {
    WEIR_PLUGIN_PROTOCOLS_HTTP,
    { .name = "config",
      .type = WEIR_TYPE_RECORD,
      .flags = WEIR_REQUIRED,
      .fields = config_fields,
      .check_record = check_config },
    { 0 },
};

const weir_plugin_schema_t weir_plugin_schema_request_termination = {
    .name = "request-termination",
    .priority = 2,
    .fields = fields,
};
