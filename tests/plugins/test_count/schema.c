/* schema.c -- test-count: how many requests are let through in which window. */
#include "weir/schema.h"

static const weir_field_t config_fields[] = {
    { .name = "limit",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_REQUIRED | WEIR_HAS_RANGE,
      .initial = "1000000000",
      .min = 0,
      .max = 1e9 },
    { .name = "window",
      .type = WEIR_TYPE_INTEGER,
      .flags = WEIR_REQUIRED | WEIR_HAS_RANGE,
      .initial = "60",
      .min = 0,
      .max = 1e9 },
    { 0 },
};

static const weir_field_t fields[] = {
    WEIR_PLUGIN_PROTOCOLS_HTTP,
    { .name = "config", .type = WEIR_TYPE_RECORD, .flags = WEIR_REQUIRED, .fields = config_fields },
    { 0 },
};

const weir_plugin_schema_t weir_plugin_schema_test_count = {
    .name = "test-count",
    .priority = 900,
    .fields = fields,
};
