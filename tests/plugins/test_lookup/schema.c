/* schema.c -- test-lookup has no configuration. */
#include "weir/schema.h"

static const weir_field_t config_fields[] = { { 0 } };

static const weir_field_t fields[] = {
    WEIR_PLUGIN_PROTOCOLS_HTTP,
    { .name = "config", .type = WEIR_TYPE_RECORD, .flags = WEIR_REQUIRED, .fields = config_fields },
    { 0 },
};

const weir_plugin_schema_t weir_plugin_schema_test_lookup = {
    .name = "test-lookup",
    .priority = 1000,
    .fields = fields,
};
