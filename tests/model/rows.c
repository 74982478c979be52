/* rows.c -- random rows of every type. */
#include "pairs.h"
#include "world.h"

const weir_entity_type_t world_types[] = {
    WEIR_CA_CERTIFICATES,
    WEIR_CERTIFICATES,
    WEIR_CONSUMERS,
    WEIR_SERVICES,
    WEIR_ROUTES,
    WEIR_PLUGINS,
    WEIR_SNIS,
    WEIR_UPSTREAMS,
    WEIR_TARGETS,
    WEIR_KEYAUTH_CREDENTIALS,
    WEIR_KEY_SETS,
    WEIR_KEYS,
    WEIR_VAULTS,
    WEIR_ACLS,
    WEIR_BASICAUTH_CREDENTIALS,
    WEIR_HMACAUTH_CREDENTIALS,
    WEIR_JWT_SECRETS,
    WEIR_OAUTH2_CREDENTIALS,
    WEIR_OAUTH2_AUTHORIZATION_CODES,
    WEIR_OAUTH2_TOKENS,
};
const size_t world_type_count = WEIR_COUNT(world_types);

enum { NAMES = 4 * SLOTS }; /* some collide */

#define PICK(w, list) ((list)[world_below(w, WEIR_COUNT(list))])

slot_kind_t slot_kind(unsigned slot)
{
    unsigned within = slot % 8;
    return within < SLOT_GOOD ? (slot_kind_t)within : SLOT_GOOD;
}

weir_uuid_t slot_id(weir_entity_type_t type, unsigned slot)
{
    /* Spread, so that the order of ids is not that of slots. */
    weir_uuid_t id = { { 0 } };
    id.bytes[0] = (uint8_t)(slot * 167 + (unsigned)type * 13);
    id.bytes[6] = 0x40;
    id.bytes[8] = 0x80;
    id.bytes[14] = (uint8_t)type;
    id.bytes[15] = (uint8_t)slot;
    return id;
}

/* -- references ------------------------------------------------------------------------ */

static void refer(world_t *w, weir_buffer_t *row, const char *field, weir_entity_type_t to,
                  bool any_kind, unsigned percent)
{
    if (!world_percent(w, percent))
        return;
    unsigned slot = world_below(w, SLOTS);
    while (!any_kind && slot_kind(slot) != SLOT_GOOD)
        slot = world_below(w, SLOTS);
    char text[WEIR_UUID_TEXT + 1];
    weir_uuid_t id = slot_id(to, slot);
    weir_uuid_format(&id, text);
    weir_buffer_printf(row, ",\"%s\":{\"id\":\"%s\"}", field, text);
}

static void refer_by_type(world_t *w, weir_buffer_t *row, weir_entity_type_t type, bool any)
{
    if (type == WEIR_ROUTES)
        refer(w, row, "service", WEIR_SERVICES, any, 70);
    if (type == WEIR_SERVICES && world_percent(w, 20)) {
        weir_buffer_printf(row, ",\"protocol\":\"https\"");
        refer(w, row, "client_certificate", WEIR_CERTIFICATES, any, 80);
    }
    if (type == WEIR_UPSTREAMS)
        refer(w, row, "client_certificate", WEIR_CERTIFICATES, any, 20);
    if (type == WEIR_SNIS)
        refer(w, row, "certificate", WEIR_CERTIFICATES, any, 100);
    if (type == WEIR_TARGETS)
        refer(w, row, "upstream", WEIR_UPSTREAMS, any, 100);
    if (weir_schema_field(weir_schema(type), WEIR_STR("consumer")) != NULL && type != WEIR_PLUGINS)
        refer(w, row, "consumer", WEIR_CONSUMERS, any, 100);
    if (type == WEIR_KEYS)
        refer(w, row, "set", WEIR_KEY_SETS, any, 60);
    if (type == WEIR_OAUTH2_AUTHORIZATION_CODES || type == WEIR_OAUTH2_TOKENS) {
        refer(w, row, "credential", WEIR_OAUTH2_CREDENTIALS, any, 100);
        refer(w, row, "service", WEIR_SERVICES, any, 30);
    }
    if (type == WEIR_OAUTH2_AUTHORIZATION_CODES)
        refer(w, row, "plugin", WEIR_PLUGINS, any, 30);
    if (type != WEIR_PLUGINS)
        return;
    refer(w, row, "service", WEIR_SERVICES, any, 40);
    refer(w, row, "route", WEIR_ROUTES, any, 40);
    refer(w, row, "consumer", WEIR_CONSUMERS, any, 25);
}

static void add_references(world_t *w, weir_buffer_t *row, weir_entity_type_t type, unsigned slot)
{
    if (slot_kind(slot) == SLOT_GOOD) {
        refer_by_type(w, row, type, false);
        return;
    }
    if (w->references[type][slot] == NULL) {
        WEIR_AUTO(buffer) weir_buffer_t text;
        weir_buffer_init(&text, 4096);
        refer_by_type(w, &text, type, true);
        weir_buffer_byte(&text, '\0');
        w->references[type][slot] = strdup(text.data);
    }
    weir_buffer_printf(row, "%s", w->references[type][slot]);
}

/* -- fields ---------------------------------------------------------------------------- */

static void add_pair(world_t *w, weir_buffer_t *row, bool with_key)
{
    const pair_t *pair = &pairs[world_below(w, PAIRS)];
    weir_buffer_printf(row, ",\"cert\":\"%s\"", pair->certificate);
    if (with_key)
        weir_buffer_printf(row, ",\"key\":\"%s\"", pair->key);
}

static void add_service(world_t *w, weir_buffer_t *row)
{
    weir_buffer_printf(row, ",\"name\":\"s%u\",\"host\":\"u%u.test\",\"enabled\":%s,\"retries\":%u",
                       world_below(w, NAMES), world_below(w, 3),
                       world_percent(w, 75) ? "true" : "false", world_below(w, 9));
}

static void add_list(world_t *w, weir_buffer_t *row, const char *field, const char *const *from,
                     size_t count)
{
    unsigned first = world_below(w, (unsigned)count);
    weir_buffer_printf(row, ",\"%s\":[\"%s\"", field, from[first]);
    if (world_percent(w, 30))
        weir_buffer_printf(row, ",\"%s\"", from[(first + 1) % count]);
    weir_buffer_printf(row, "]");
}

static void add_route(world_t *w, weir_buffer_t *row)
{
    static const char *const paths[] = { "/a",   "/a/b",    "/b",         "/%2F",
                                         "~/a.", "~/[0-9]", "~/(?<n>x+)", "/" };
    static const char *const hosts[] = { "a.com", "x.a.com", "*.a.com", "a.*", "b.com:81" };
    static const char *const methods[] = { "GET", "POST", "PUT" };
    static const char *const snis[] = { "a.com", "*.a.com", "b.com" };
    weir_buffer_printf(row, ",\"name\":\"r%u\",\"regex_priority\":%u", world_below(w, NAMES),
                       world_below(w, 3));
    add_list(w, row, "paths", paths, WEIR_COUNT(paths));
    if (world_percent(w, 40))
        add_list(w, row, "hosts", hosts, WEIR_COUNT(hosts));
    if (world_percent(w, 20))
        add_list(w, row, "methods", methods, WEIR_COUNT(methods));
    if (world_percent(w, 15))
        add_list(w, row, "snis", snis, WEIR_COUNT(snis));
    if (world_percent(w, 20))
        weir_buffer_printf(row, ",\"headers\":{\"x-a\":[\"%u\"]}", world_below(w, 4));
}

static void add_plugin(world_t *w, weir_buffer_t *row, bool bad)
{
    static const char *const unknown[] = { "unheard-of", "acl", "file-log" };
    weir_buffer_printf(row, ",\"enabled\":%s", world_percent(w, 80) ? "true" : "false");
    if (world_percent(w, 20))
        weir_buffer_printf(row, ",\"instance_name\":\"i%u\"", world_below(w, NAMES));
    if (bad) {
        weir_buffer_printf(row, ",\"name\":\"%s\",\"config\":{\"x\":%u}", PICK(w, unknown),
                           world_below(w, 5));
    } else if (world_percent(w, 50)) {
        weir_buffer_printf(row, ",\"name\":\"key-auth\",\"config\":{\"key_names\":[\"k%u\"]}",
                           world_below(w, 5));
    } else {
        weir_buffer_printf(row, ",\"name\":\"request-termination\",\"config\":{\"status_code\":%u}",
                           400 + world_below(w, 9));
    }
}

static void add_ttl(world_t *w, weir_buffer_t *row)
{
    if (world_percent(w, 40)) /* some end within the run */
        weir_buffer_printf(row, ",\"ttl\":%u", world_percent(w, 60) ? 1 : 5000);
}

static void add_key(world_t *w, weir_buffer_t *row)
{
    unsigned kid = world_below(w, NAMES);
    weir_buffer_printf(row, ",\"name\":\"y%u\",\"kid\":\"%u\"", world_below(w, NAMES), kid);
    if (world_percent(w, 50)) /* RFC 8037, appendix A */
        weir_buffer_printf(row,
                           ",\"jwk\":\"{\\\"kid\\\":\\\"%u\\\",\\\"kty\\\":\\\"OKP\\\","
                           "\\\"crv\\\":\\\"Ed25519\\\",\\\"x\\\":"
                           "\\\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\\\"}\",\"pem\":null",
                           kid);
    else
        weir_buffer_printf(row, ",\"jwk\":null,\"pem\":{\"private_key\":\"%s\"}",
                           pairs[world_below(w, PAIRS)].key);
}

/* What consumers prove themselves with, but for keys. */
static void add_credential(world_t *w, weir_buffer_t *row, weir_entity_type_t type)
{
    switch (type) {
    case WEIR_ACLS:
        weir_buffer_printf(row, ",\"group\":\"g%u\"", world_below(w, NAMES));
        break;
    case WEIR_BASICAUTH_CREDENTIALS:
        weir_buffer_printf(row, ",\"username\":\"b%u\",\"password\":\"p%u\"", world_below(w, NAMES),
                           world_below(w, 9));
        break;
    case WEIR_HMACAUTH_CREDENTIALS:
        weir_buffer_printf(row, ",\"username\":\"h%u\",\"secret\":\"s%u\"", world_below(w, NAMES),
                           world_below(w, 9));
        break;
    case WEIR_JWT_SECRETS:
        weir_buffer_printf(row, ",\"key\":\"j%u\",\"secret\":\"s%u\"", world_below(w, NAMES),
                           world_below(w, 9));
        break;
    case WEIR_OAUTH2_CREDENTIALS:
        weir_buffer_printf(row, ",\"name\":\"app\",\"client_id\":\"o%u\"", world_below(w, NAMES));
        break;
    case WEIR_OAUTH2_AUTHORIZATION_CODES:
        weir_buffer_printf(row, ",\"code\":\"c%u\"", world_below(w, NAMES));
        add_ttl(w, row);
        break;
    case WEIR_OAUTH2_TOKENS:
        weir_buffer_printf(row, ",\"access_token\":\"a%u\",\"expires_in\":5",
                           world_below(w, NAMES));
        add_ttl(w, row);
        break;
    default:
        fail();
    }
}

static void add_fields(world_t *w, weir_buffer_t *row, weir_entity_type_t type, bool bad)
{
    switch (type) {
    case WEIR_SERVICES:
        add_service(w, row);
        break;
    case WEIR_ROUTES:
        add_route(w, row);
        break;
    case WEIR_PLUGINS:
        add_plugin(w, row, bad);
        break;
    case WEIR_CONSUMERS:
        weir_buffer_printf(row, ",\"username\":\"u%u\"", world_below(w, NAMES));
        if (world_percent(w, 50))
            weir_buffer_printf(row, ",\"custom_id\":\"c%u\"", world_below(w, NAMES));
        break;
    case WEIR_KEYAUTH_CREDENTIALS:
        weir_buffer_printf(row, ",\"key\":\"k%u\"", world_below(w, NAMES));
        add_ttl(w, row);
        break;
    case WEIR_CERTIFICATES:
        add_pair(w, row, true);
        break;
    case WEIR_CA_CERTIFICATES:
        add_pair(w, row, false);
        break;
    case WEIR_SNIS:
        weir_buffer_printf(row, ",\"name\":\"%sn%u.test\"", world_percent(w, 20) ? "*." : "",
                           world_below(w, NAMES));
        break;
    case WEIR_UPSTREAMS:
        weir_buffer_printf(row, ",\"name\":\"up%u\",\"slots\":%u", world_below(w, NAMES),
                           10 + world_below(w, 9));
        break;
    case WEIR_TARGETS:
        weir_buffer_printf(row, ",\"target\":\"t%u.test:80\",\"weight\":%u", world_below(w, 20),
                           world_below(w, 9));
        break;
    case WEIR_KEY_SETS:
        weir_buffer_printf(row, ",\"name\":\"z%u\"", world_below(w, NAMES));
        break;
    case WEIR_KEYS:
        add_key(w, row);
        break;
    case WEIR_VAULTS:
        weir_buffer_printf(row, ",\"name\":\"env\",\"prefix\":\"v%u\"", world_below(w, NAMES));
        break;
    case WEIR_ACLS:
    case WEIR_BASICAUTH_CREDENTIALS:
    case WEIR_HMACAUTH_CREDENTIALS:
    case WEIR_JWT_SECRETS:
    case WEIR_OAUTH2_CREDENTIALS:
    case WEIR_OAUTH2_AUTHORIZATION_CODES:
    case WEIR_OAUTH2_TOKENS:
        add_credential(w, row, type);
        break;
    case WEIR_ENTITY_NONE:
    case WEIR_WORKSPACES:
    case WEIR_PARAMETERS:
    case WEIR_ENTITY_TYPES:
        fail();
    }
}

/* What a data plane refuses though a control plane took it: a field that it does not
 * know, or a header longer than a record may have. */
static void spoil(world_t *w, weir_buffer_t *row, weir_entity_type_t type)
{
    if (type == WEIR_ROUTES && world_percent(w, 50))
        weir_buffer_printf(row, ",\"headers\":{\"x-long\":[\"%01100d\"]}", 7);
    else
        weir_buffer_printf(row, ",\"shape\":%u", world_below(w, 4));
}

static weir_json_t *parsed(const weir_buffer_t *text)
{
    weir_json_t *row = NULL;
    weir_error_t err = { 0 };
    if (weir_json_parse(weir_buffer_str(text), &row, &err) != WEIR_OK)
        fail_msg("%.*s: %s", WEIR_STR_ARG(weir_buffer_str(text)), err.reason);
    return row;
}

static bool has_tags(weir_entity_type_t type)
{
    return weir_schema_field(weir_schema(type), WEIR_STR("tags")) != NULL;
}

static void add_tags(world_t *w, weir_buffer_t *row, weir_entity_type_t type)
{
    if (has_tags(type) && world_percent(w, 50))
        weir_buffer_printf(row, ",\"tags\":[\"t%u\"]", world_below(w, 100));
}

weir_json_t *random_row(world_t *w, weir_entity_type_t type, unsigned slot, bool *ret_good)
{
    slot_kind_t kind = slot_kind(slot);
    bool bad =
        kind == SLOT_BAD || (kind == SLOT_HEALS && !w->healed[type][slot] && !world_percent(w, 20));
    if (kind == SLOT_HEALS && !bad)
        w->healed[type][slot] = true; /* also if it is refused: that only costs variety */
    char id[WEIR_UUID_TEXT + 1];
    weir_uuid_t uuid = slot_id(type, slot);
    weir_uuid_format(&uuid, id);
    WEIR_AUTO(buffer) weir_buffer_t row;
    weir_buffer_init(&row, 65536);
    weir_buffer_printf(&row, "{\"id\":\"%s\"", id);
    add_references(w, &row, type, slot);
    add_fields(w, &row, type, bad);
    add_tags(w, &row, type);
    if (bad && type != WEIR_PLUGINS)
        spoil(w, &row, type);
    weir_buffer_byte(&row, '}');
    *ret_good = !bad;
    return parsed(&row);
}

weir_json_t *random_patch(world_t *w, weir_entity_type_t type)
{
    WEIR_AUTO(buffer) weir_buffer_t row;
    weir_buffer_init(&row, 65536);
    unsigned mark = world_below(w, 100);
    if (has_tags(type))
        weir_buffer_printf(&row, "{\"tags\":[\"p%u\"]", mark);
    else
        weir_buffer_printf(&row, "{\"scope\":\"p%u\"", mark);
    if (type != WEIR_PLUGINS && world_percent(w, 60))
        add_fields(w, &row, type, false);
    else if (type == WEIR_PLUGINS)
        weir_buffer_printf(&row, ",\"enabled\":%s", world_percent(w, 50) ? "true" : "false");
    if (world_percent(w, 5))
        weir_buffer_printf(&row, ",\"no_such_field\":1"); /* the model refuses */
    weir_buffer_byte(&row, '}');
    return parsed(&row);
}
