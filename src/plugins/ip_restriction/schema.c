/* schema.c -- what the configuration of ip-restriction may hold. */
#include "weir/schema.h"

static const weir_field_t address = { .type = WEIR_TYPE_STRING, .check = weir_check_ip_or_cidr };

static const weir_field_t config_fields[] = {
    { .name = "allow", .type = WEIR_TYPE_ARRAY, .of = &address },
    { .name = "deny", .type = WEIR_TYPE_ARRAY, .of = &address },
    { .name = "status", .type = WEIR_TYPE_NUMBER },
    { .name = "message", .type = WEIR_TYPE_STRING },
    { 0 },
};

static const weir_field_t protocol = {
    .type = WEIR_TYPE_STRING,
    .one_of = "grpc grpcs http https tcp tls tls_passthrough udp",
};

static const weir_field_t fields[] = {
    { .name = "protocols",
      .type = WEIR_TYPE_SET,
      .flags = WEIR_REQUIRED,
      .initial = "[\"http\",\"https\",\"tcp\",\"tls\",\"grpc\",\"grpcs\"]",
      .of = &protocol },
    { .name = "config", .type = WEIR_TYPE_RECORD, .flags = WEIR_REQUIRED, .fields = config_fields },
    { 0 },
};

static const weir_check_t checks[] = {
    { .kind = WEIR_CHECK_AT_LEAST_ONE_OF, .fields = "config.allow config.deny" },
    { 0 },
};

const weir_plugin_schema_t weir_plugin_schema_ip_restriction = {
    .name = "ip-restriction",
    .priority = 990,
    .fields = fields,
    .checks = checks,
};
