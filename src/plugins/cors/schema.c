/* schema.c -- what the configuration of cors may hold. */
#include "weir/schema.h"

#define METHODS "GET HEAD PUT PATCH POST DELETE OPTIONS TRACE CONNECT"

static const weir_field_t origin = { .type = WEIR_TYPE_STRING, .check = weir_check_any_or_regex };
static const weir_field_t header = { .type = WEIR_TYPE_STRING };
static const weir_field_t method = { .type = WEIR_TYPE_STRING, .one_of = METHODS };

static const weir_field_t config_fields[] = {
    { .name = "origins", .type = WEIR_TYPE_ARRAY, .of = &origin },
    { .name = "headers", .type = WEIR_TYPE_ARRAY, .of = &header },
    { .name = "exposed_headers", .type = WEIR_TYPE_ARRAY, .of = &header },
    { .name = "methods",
      .type = WEIR_TYPE_ARRAY,
      .initial = "[\"GET\",\"HEAD\",\"PUT\",\"PATCH\",\"POST\",\"DELETE\",\"OPTIONS\",\"TRACE\","
                 "\"CONNECT\"]",
      .of = &method },
    { .name = "max_age", .type = WEIR_TYPE_NUMBER },
    { .name = "credentials",
      .type = WEIR_TYPE_BOOLEAN,
      .flags = WEIR_REQUIRED,
      .initial = "false" },
    { .name = "private_network",
      .type = WEIR_TYPE_BOOLEAN,
      .flags = WEIR_REQUIRED,
      .initial = "false" },
    { .name = "allow_origin_absent", /* of 3.10 */
      .type = WEIR_TYPE_BOOLEAN,
      .flags = WEIR_REQUIRED | WEIR_NEWER,
      .initial = "true" },
    { .name = "preflight_continue",
      .type = WEIR_TYPE_BOOLEAN,
      .flags = WEIR_REQUIRED,
      .initial = "false" },
    { 0 },
};

static const weir_field_t fields[] = {
    WEIR_PLUGIN_NO_CONSUMER, /* nobody is known yet */
    WEIR_PLUGIN_PROTOCOLS_HTTP,
    { .name = "config", .type = WEIR_TYPE_RECORD, .flags = WEIR_REQUIRED, .fields = config_fields },
    { 0 },
};

const weir_plugin_schema_t weir_plugin_schema_cors = {
    .name = "cors",
    .priority = 2000,
    .fields = fields,
};
