/* compile.c -- from a valid entity to the record that workers read. */
#include "image/internal.h"

#include "base/json.h"

static const weir_str_t absent = { NULL, 0 };

weir_uuid_t json_reference(const weir_json_t *entity, const char *field)
{
    weir_uuid_t id = { { 0 } };
    weir_str_t text = weir_json_get_string(weir_json_get(entity, field), "id", WEIR_STR(""));
    if (weir_uuid_parse(text, &id) != WEIR_OK)
        memset(&id, 0, sizeof(id));
    return id;
}

static unsigned protocol_bit(weir_str_t name)
{
    static const char *const names[] = { "http", "https", "grpc", "grpcs",
                                         "tcp",  "tls",   "udp",  "tls_passthrough" };
    for (unsigned i = 0; i < WEIR_COUNT(names); i++)
        if (weir_str_is(name, names[i]))
            return 1u << i;
    return 0;
}

static unsigned protocols_of(const weir_json_t *entity)
{
    unsigned protocols = 0;
    for (const weir_json_t *p = weir_json_first(weir_json_get(entity, "protocols")); p != NULL;
         p = weir_json_next(p))
        protocols |= protocol_bit(weir_json_string(p));
    return protocols;
}

static bool serves_http(const weir_json_t *entity)
{
    return weir_json_is_null(weir_json_get(entity, "protocols")) ||
           (protocols_of(entity) &
            (WEIR_PROTOCOL_HTTP | WEIR_PROTOCOL_HTTPS | WEIR_PROTOCOL_GRPC | WEIR_PROTOCOL_GRPCS));
}

static void put_strings(weir_buffer_t *out, const weir_json_t *list)
{
    for (const weir_json_t *item = weir_json_first(list); item != NULL; item = weir_json_next(item))
        put_str(out, weir_json_string(item));
}

void put_block(weir_buffer_t *out, void (*put)(weir_buffer_t *, const weir_json_t *),
               const weir_json_t *list)
{
    size_t start = out->len;
    put_u32(out, 0);
    put(out, list);
    if (out->failed != WEIR_OK)
        return;
    size_t bytes = out->len - start - 4;
    for (size_t i = 0; i < 4; i++)
        out->data[start + i] = (char)(bytes >> 8 * i);
}

/* Where each string of the block that follows begins: one of thousands is found at once. */
static void put_offsets(weir_buffer_t *out, const weir_json_t *list)
{
    size_t at = 0;
    for (const weir_json_t *item = weir_json_first(list); item != NULL;
         item = weir_json_next(item)) {
        put_u32(out, (uint32_t)at);
        at += 4 + weir_json_string(item).len;
    }
}

void put_headers(weir_buffer_t *out, const weir_json_t *headers)
{
    for (const weir_json_t *h = weir_json_first(headers); h != NULL; h = weir_json_next(h)) {
        put_str(out, weir_str(weir_json_name(h)));
        put_u16(out, (uint16_t)weir_json_count(h));
        put_strings(out, h);
    }
}

static int check_lists(const weir_json_t *entity, weir_error_t *err)
{
    static const char *const names[] = { "methods", "hosts", "paths", "headers", "snis" };
    for (size_t i = 0; i < WEIR_COUNT(names); i++)
        if (weir_json_count(weir_json_get(entity, names[i])) > LIST_ELEMENTS_MAX)
            return weir_error_set(err, WEIR_INVALID, names[i], "more than %d elements",
                                  LIST_ELEMENTS_MAX);
    for (const weir_json_t *host = weir_json_first(weir_json_get(entity, "hosts")); host != NULL;
         host = weir_json_next(host))
        if (weir_json_string(host).len > HOST_BYTES_MAX)
            return weir_error_set(err, WEIR_INVALID, "hosts", "longer than %d bytes",
                                  HOST_BYTES_MAX);
    for (const weir_json_t *h = weir_json_first(weir_json_get(entity, "headers")); h != NULL;
         h = weir_json_next(h)) {
        if (weir_json_count(h) > LIST_ELEMENTS_MAX)
            return weir_error_set(err, WEIR_INVALID, "headers", "more than %d values",
                                  LIST_ELEMENTS_MAX);
        for (const weir_json_t *v = weir_json_first(h); v != NULL; v = weir_json_next(v))
            if (weir_json_string(v).len > HEADER_VALUE_BYTES_MAX)
                return weir_error_set(err, WEIR_INVALID, "headers", "a value longer than %d bytes",
                                      HEADER_VALUE_BYTES_MAX);
    }
    return WEIR_OK;
}

static int compile_route(const weir_json_t *entity, weir_buffer_t *out, weir_error_t *err)
{
    int rc = check_lists(entity, err);
    if (rc != WEIR_OK)
        return rc;
    weir_uuid_t service = json_reference(entity, "service");
    put_uuid(out, &service);
    const weir_json_t *hosts = weir_json_get(entity, "hosts");
    put_u8(out, (uint8_t)((weir_json_get_boolean(entity, "strip_path", true) ? 1 : 0) |
                          (weir_json_get_boolean(entity, "preserve_host", false) ? 2 : 0) |
                          (weir_json_get_boolean(entity, "request_buffering", true) ? 4 : 0) |
                          (weir_json_get_boolean(entity, "response_buffering", true) ? 8 : 0) |
                          (weir_json_is_null(hosts) ? 0 : 16)));
    put_u8(out, (uint8_t)protocols_of(entity));
    put_u16(out, (uint16_t)weir_json_get_number(entity, "https_redirect_status_code", 426));
    put_u64(out, (uint64_t)(int64_t)weir_json_get_number(entity, "regex_priority", 0));
    unsigned weight = 0;
    weight += weir_json_first(weir_json_get(entity, "sources")) != NULL;
    weight += weir_json_first(weir_json_get(entity, "destinations")) != NULL;
    put_u8(out, (uint8_t)weight);
    put_str(out, weir_json_get_string(entity, "name", absent));
    const weir_json_t *methods = weir_json_get(entity, "methods");
    const weir_json_t *paths = weir_json_get(entity, "paths");
    const weir_json_t *headers = weir_json_get(entity, "headers");
    const weir_json_t *snis = weir_json_get(entity, "snis");
    put_u16(out, (uint16_t)weir_json_count(methods));
    put_u16(out, (uint16_t)weir_json_count(hosts));
    put_u16(out, (uint16_t)weir_json_count(paths));
    put_u16(out, (uint16_t)weir_json_count(headers));
    put_u16(out, (uint16_t)weir_json_count(snis));
    put_block(out, put_strings, methods);
    put_block(out, put_strings, hosts);
    put_block(out, put_offsets, paths);
    put_block(out, put_strings, paths);
    put_block(out, put_strings, snis);
    put_block(out, put_headers, headers);
    return out->failed;
}

static int tri_state(const weir_json_t *entity, const char *field)
{
    const weir_json_t *value = weir_json_get(entity, field);
    if (weir_json_is_null(value))
        return -1;
    return weir_json_kind(value) == WEIR_JSON_BOOLEAN ? weir_json_boolean(value)
                                                      : (int)weir_json_number(value);
}

static int compile_service(const weir_json_t *entity, weir_buffer_t *out)
{
    put_u8(out, weir_json_get_boolean(entity, "enabled", true));
    put_u8(out, (uint8_t)protocol_bit(weir_json_get_string(entity, "protocol", WEIR_STR("http"))));
    put_u16(out, (uint16_t)weir_json_get_number(entity, "port", 80));
    put_u16(out, (uint16_t)weir_json_get_number(entity, "retries", 5));
    put_u32(out, (uint32_t)weir_json_get_number(entity, "connect_timeout", 60000));
    put_u32(out, (uint32_t)weir_json_get_number(entity, "write_timeout", 60000));
    put_u32(out, (uint32_t)weir_json_get_number(entity, "read_timeout", 60000));
    put_u8(out, (uint8_t)tri_state(entity, "tls_verify"));
    put_u8(out, (uint8_t)tri_state(entity, "tls_verify_depth"));
    weir_uuid_t certificate = json_reference(entity, "client_certificate");
    put_uuid(out, &certificate);
    put_str(out, weir_json_get_string(entity, "name", absent));
    put_str(out, weir_json_get_string(entity, "host", absent));
    put_str(out, weir_json_get_string(entity, "path", absent));
    const weir_json_t *ids = weir_json_get(entity, "ca_certificates");
    put_u16(out, (uint16_t)weir_json_count(ids));
    for (const weir_json_t *item = weir_json_first(ids); item != NULL;
         item = weir_json_next(item)) {
        weir_uuid_t id = { { 0 } };
        if (weir_uuid_parse(weir_json_string(item), &id) != WEIR_OK)
            memset(&id, 0, sizeof(id));
        put_uuid(out, &id);
    }
    return out->failed;
}

static int compile_plugin(const weir_image_options_t *options, const weir_json_t *entity,
                          weir_buffer_t *out, weir_error_t *err)
{
    weir_str_t name = weir_json_get_string(entity, "name", WEIR_STR(""));
    const weir_plugin_schema_t *schema = weir_plugin_schema(name);
    if (schema == NULL)
        return weir_error_set(err, WEIR_INVALID, "name", "plugin '%.*s' is not in this build",
                              WEIR_STR_ARG(name));
    static const char *const scopes[] = { "route", "service", "consumer" };
    /* One of another subsystem alone does not run here (plugins 1.3). */
    put_u8(out, weir_json_get_boolean(entity, "enabled", true) && serves_http(entity));
    put_u32(out, (uint32_t)schema->priority);
    for (size_t i = 0; i < WEIR_COUNT(scopes); i++) {
        weir_uuid_t id = json_reference(entity, scopes[i]);
        put_uuid(out, &id);
    }
    put_str(out, name);
    WEIR_AUTO(buffer) weir_buffer_t record;
    weir_buffer_init(&record, RECORD_BYTES_MAX);
    if (options->compile_plugin != NULL) {
        int rc = options->compile_plugin(options->compile_context, name,
                                         weir_json_get(entity, "config"), &record, err);
        if (rc != WEIR_OK)
            return weir_error_within(err, rc, "plugin '%.*s' refuses its configuration",
                                     WEIR_STR_ARG(name));
    }
    put_str(out, weir_buffer_str(&record));
    return out->failed;
}

static bool is_one_of(weir_str_t plugin, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (weir_str_is(plugin, names[i]))
            return true;
    return false;
}

/* Plugins that only look on: without them a request is as safe as with them. */
static const char *const observers[] = { "datadog",       "file-log",   "http-log", "loggly",
                                         "opentelemetry", "prometheus", "statsd",   "syslog",
                                         "tcp-log",       "udp-log",    "zipkin" };
/* Plugins whose purpose is to keep somebody out. */
static const char *const keepers[] = { "acl",       "basic-auth",     "bot-detection",
                                       "hmac-auth", "ip-restriction", "jwt",
                                       "key-auth",  "ldap-auth",      "oauth2" };

bool guard_record(const weir_json_t *row, uint64_t version, weir_buffer_t *out)
{
    static const char *const scopes[] = { "route", "service", "consumer" };
    weir_str_t name = weir_json_get_string(row, "name", WEIR_STR(""));
    if (!weir_json_get_boolean(row, "enabled", true) || name.len == 0 ||
        is_one_of(name, observers, WEIR_COUNT(observers)))
        return false;
    bool bound = false;
    put_u64(out, version);
    put_u8(out, 1);
    put_u32(out, (uint32_t)GUARD_PRIORITY);
    for (size_t i = 0; i < WEIR_COUNT(scopes); i++) {
        weir_uuid_t id = json_reference(row, scopes[i]);
        if (weir_uuid_is_zero(&id) && !weir_json_is_null(weir_json_get(row, scopes[i])))
            return false; /* bound to nobody knows what */
        bound = bound || !weir_uuid_is_zero(&id);
        put_uuid(out, &id);
    }
    put_str(out, name);
    put_str(out, WEIR_STR(""));
    /* A global one would stop everything: only if it is there to keep out. */
    return out->failed == WEIR_OK && (bound || is_one_of(name, keepers, WEIR_COUNT(keepers)));
}

int compile_record(const weir_image_options_t *options, weir_entity_type_t type,
                   const weir_json_t *entity, uint64_t version, weir_buffer_t *out,
                   weir_error_t *err)
{
    int rc = WEIR_OK;
    put_u64(out, version);
    switch (type) {
    case WEIR_ROUTES:
        rc = compile_route(entity, out, err);
        break;
    case WEIR_SERVICES:
        rc = compile_service(entity, out);
        break;
    case WEIR_CONSUMERS:
        put_str(out, weir_json_get_string(entity, "username", absent));
        put_str(out, weir_json_get_string(entity, "custom_id", absent));
        break;
    case WEIR_KEYAUTH_CREDENTIALS: {
        weir_uuid_t consumer = json_reference(entity, "consumer");
        put_uuid(out, &consumer);
        put_u64(out, (uint64_t)weir_json_get_number(entity, "ttl", 0));
        put_str(out, weir_json_get_string(entity, "key", absent));
        break;
    }
    case WEIR_OAUTH2_AUTHORIZATION_CODES:
    case WEIR_OAUTH2_TOKENS: { /* of no consumer, and found by nobody: only its end counts */
        weir_uuid_t nobody = { { 0 } };
        put_uuid(out, &nobody);
        put_u64(out, (uint64_t)weir_json_get_number(entity, "ttl", 0));
        put_str(out, absent);
        break;
    }
    case WEIR_CERTIFICATES:
        put_str(out, weir_json_get_string(entity, "cert", absent));
        put_str(out, weir_json_get_string(entity, "key", absent));
        put_str(out, weir_json_get_string(entity, "cert_alt", absent));
        put_str(out, weir_json_get_string(entity, "key_alt", absent));
        break;
    case WEIR_CA_CERTIFICATES:
        put_str(out, weir_json_get_string(entity, "cert", absent));
        break;
    case WEIR_SNIS: {
        weir_uuid_t certificate = json_reference(entity, "certificate");
        put_uuid(out, &certificate);
        put_str(out, weir_json_get_string(entity, "name", absent));
        break;
    }
    case WEIR_PLUGINS:
        rc = compile_plugin(options, entity, out, err);
        break;
    case WEIR_UPSTREAMS:
        rc = compile_upstream(entity, out, err);
        break;
    case WEIR_TARGETS:
        rc = compile_target(entity, out, err);
        break;
    case WEIR_WORKSPACES:
    case WEIR_PARAMETERS:
    case WEIR_BASICAUTH_CREDENTIALS:
    case WEIR_HMACAUTH_CREDENTIALS:
    case WEIR_JWT_SECRETS:
    case WEIR_ACLS:
    case WEIR_OAUTH2_CREDENTIALS:
    case WEIR_VAULTS:
    case WEIR_KEY_SETS:
    case WEIR_KEYS:
        break; /* workers do not read these (yet): the version says that it is good */
    case WEIR_ENTITY_NONE:
    case WEIR_ENTITY_TYPES:
        return weir_error_set(err, WEIR_INVALID, NULL, "no such type of entity");
    }
    if (rc == WEIR_OK && out->failed != WEIR_OK)
        return weir_error_set(err, out->failed, NULL, "the record does not fit into %d bytes",
                              RECORD_BYTES_MAX);
    return rc;
}
