/* schema.c -- what the configuration of request-size-limiting may hold. */
#include "weir/schema.h"

static const weir_field_t config_fields[] = {
    { .name = "allowed_payload_size", .type = WEIR_TYPE_INTEGER, .initial = "128" },
    { .name = "size_unit",
      .type = WEIR_TYPE_STRING,
      .flags = WEIR_REQUIRED,
      .initial = "\"megabytes\"",
      .one_of = "megabytes kilobytes bytes" },
    { .name = "require_content_length",
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

const weir_plugin_schema_t weir_plugin_schema_request_size_limiting = {
    .name = "request-size-limiting",
    .priority = 951,
    .fields = fields,
};
