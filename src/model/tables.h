/* tables.h -- what the tables of entities share, and where each of them is. Private to
 * src/model; the fields and checks of a kind are in the entities_*.c of its subject. */
#ifndef WEIR_TABLES_H
#define WEIR_TABLES_H

#include "weir/schema.h"

#define ID_FIELD                                                               \
    {                                                                          \
        .name = "id", .type = WEIR_TYPE_STRING, .flags = WEIR_AUTO | WEIR_UUID \
    }
#define CREATED_AT                                                                           \
    {                                                                                        \
        .name = "created_at", .type = WEIR_TYPE_INTEGER, .flags = WEIR_AUTO | WEIR_TIMESTAMP \
    }
#define UPDATED_AT                                                                           \
    {                                                                                        \
        .name = "updated_at", .type = WEIR_TYPE_INTEGER, .flags = WEIR_AUTO | WEIR_TIMESTAMP \
    }
#define TAGS                                                           \
    {                                                                  \
        .name = "tags", .type = WEIR_TYPE_SET, .of = &weir_element_tag \
    }
#define FLAG(field, value)                                                                     \
    {                                                                                          \
        .name = (field), .type = WEIR_TYPE_BOOLEAN, .flags = WEIR_REQUIRED, .initial = (value) \
    }
#define TEXT(field)                               \
    {                                             \
        .name = (field), .type = WEIR_TYPE_STRING \
    }
/* Said explicitly, as the incumbent does here and there. */
#define NOT_REQUIRED   "{\"required\":false}"
#define WEIR_PROTOCOLS "grpc grpcs http https tcp tls tls_passthrough udp"

extern const weir_field_t weir_element_tag, weir_element_texts, weir_element_protocol,
    weir_element_wildcard_host;
extern const weir_pattern_t weir_no_empty_segments[];

extern const weir_field_t weir_workspace_fields[], weir_parameter_fields[], weir_consumer_fields[],
    weir_certificate_fields[], weir_ca_certificate_fields[], weir_sni_fields[],
    weir_service_fields[], weir_route_fields[], weir_upstream_fields[], weir_target_fields[],
    weir_plugin_fields[];
extern const weir_check_t weir_consumer_checks[], weir_certificate_checks[],
    weir_ca_certificate_checks[], weir_service_checks[], weir_route_checks[],
    weir_upstream_checks[];

extern const weir_field_t weir_keyauth_fields[], weir_basicauth_fields[], weir_hmacauth_fields[],
    weir_jwt_fields[], weir_acl_fields[], weir_oauth2_fields[], weir_oauth2_code_fields[],
    weir_oauth2_token_fields[];
extern const weir_check_t weir_jwt_checks[];

extern const weir_field_t weir_vault_fields[], weir_key_set_fields[], weir_key_fields[];
extern const weir_check_t weir_key_checks[];

/* Subschemas of routes, one for each family of protocols. */
extern const weir_field_t weir_route_http_fields[], weir_route_stream_fields[],
    weir_route_grpc_fields[];
extern const weir_check_t weir_route_http_checks[], weir_route_stream_checks[],
    weir_route_grpc_checks[];

#endif
