/* schema.c -- what the configuration of key-auth may hold. */
#include "weir/schema.h"

static const weir_field_t key_name = {
    .type = WEIR_TYPE_STRING,
    .check = weir_check_header_name, /* a key name must be usable as a header */
};

static const weir_field_t config_fields[] = {
    { .name = "key_names",
      .type = WEIR_TYPE_ARRAY,
      .flags = WEIR_REQUIRED,
      .initial = "[\"apikey\"]",
      .of = &key_name },
    { .name = "hide_credentials",
      .type = WEIR_TYPE_BOOLEAN,
      .flags = WEIR_REQUIRED,
      .initial = "false" },
    { .name = "anonymous", .type = WEIR_TYPE_STRING },
    { .name = "key_in_header",
      .type = WEIR_TYPE_BOOLEAN,
      .flags = WEIR_REQUIRED,
      .initial = "true" },
    { .name = "key_in_query",
      .type = WEIR_TYPE_BOOLEAN,
      .flags = WEIR_REQUIRED,
      .initial = "true" },
    { .name = "key_in_body",
      .type = WEIR_TYPE_BOOLEAN,
      .flags = WEIR_REQUIRED,
      .initial = "false" },
    { .name = "run_on_preflight",
      .type = WEIR_TYPE_BOOLEAN,
      .flags = WEIR_REQUIRED,
      .initial = "true" },
    { .name = "realm", .type = WEIR_TYPE_STRING, .describe = "{\"required\":false}" },
    { 0 },
};

static const weir_field_t fields[] = {
    WEIR_PLUGIN_NO_CONSUMER, /* it is what finds the consumer */
    WEIR_PLUGIN_PROTOCOLS_HTTP,
    { .name = "config", .type = WEIR_TYPE_RECORD, .flags = WEIR_REQUIRED, .fields = config_fields },
    { 0 },
};

const weir_plugin_schema_t weir_plugin_schema_key_auth = {
    .name = "key-auth",
    .priority = 1250,
    .fields = fields,
};
