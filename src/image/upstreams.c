/* upstreams.c -- upstreams and targets: entity to record, record to view, what follows
 * from a record, look-ups.
 *
 * Which targets an upstream has is no index of its own: who refers to an upstream is a
 * range of the dependents, kept with every document. A target that is refused there has
 * no record, or an older one that says which upstream it serves in. */
#include "image/touched.h"

#include "base/json.h"
#include "model/checks.h"

#include <stdio.h>

static const weir_str_t absent = { NULL, 0 };

/* -- entity to record ------------------------------------------------------------------------- */

static uint8_t index_of(weir_str_t name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (weir_str_is(name, names[i]))
            return (uint8_t)i;
    return 0;
}

static void put_statuses(weir_buffer_t *out, const weir_json_t *list)
{
    for (const weir_json_t *item = weir_json_first(list); item != NULL; item = weir_json_next(item))
        put_u16(out, (uint16_t)weir_json_number(item));
}

/* "field", its prefix "hash_on" or "hash_fallback". A cookie has one name for both. */
static void put_hash_on(weir_buffer_t *out, const weir_json_t *entity, const char *field)
{
    static const char *const inputs[] = { "none",   "consumer", "ip",        "header",
                                          "cookie", "path",     "query_arg", "uri_capture" };
    char name[64] = "hash_on_cookie";
    weir_str_t input = weir_json_get_string(entity, field, WEIR_STR("none"));
    uint8_t index = index_of(input, inputs, WEIR_COUNT(inputs));
    if (index != WEIR_HASH_COOKIE)
        snprintf(name, sizeof(name), "%s_%s", field, inputs[index]);
    put_u8(out, index);
    put_str(out, weir_json_get_string(entity, name, absent));
}

static void put_count(weir_buffer_t *out, const weir_json_t *record, const char *field)
{
    put_u8(out, (uint8_t)weir_json_get_number(record, field, 0));
}

/* Of active or passive checks. */
static void put_limits(weir_buffer_t *out, const weir_json_t *checks)
{
    const weir_json_t *healthy = weir_json_get(checks, "healthy");
    const weir_json_t *unhealthy = weir_json_get(checks, "unhealthy");
    put_count(out, healthy, "successes");
    put_count(out, unhealthy, "http_failures");
    put_count(out, unhealthy, "tcp_failures");
    put_count(out, unhealthy, "timeouts");
    put_block(out, put_statuses, weir_json_get(healthy, "http_statuses"));
    put_block(out, put_statuses, weir_json_get(unhealthy, "http_statuses"));
}

static void put_ms(weir_buffer_t *out, const weir_json_t *record, const char *field, double initial)
{
    double ms = weir_json_get_number(record, field, initial) * 1000;
    uint32_t whole = (uint32_t)ms;
    put_u32(out, whole < ms ? whole + 1 : whole); /* never 0 of something */
}

static void put_probes(weir_buffer_t *out, const weir_json_t *active)
{
    static const char *const kinds[] = { "http", "https", "tcp", "grpc", "grpcs" };
    const weir_json_t *headers = weir_json_get(active, "headers");
    weir_str_t kind = weir_json_get_string(active, "type", WEIR_STR("http"));
    put_u8(out, index_of(kind, kinds, WEIR_COUNT(kinds)));
    put_ms(out, active, "timeout", 1);
    put_ms(out, weir_json_get(active, "healthy"), "interval", 0);
    put_ms(out, weir_json_get(active, "unhealthy"), "interval", 0);
    put_u32(out, (uint32_t)weir_json_get_number(active, "concurrency", 10));
    put_str(out, weir_json_get_string(active, "http_path", WEIR_STR("/")));
    put_str(out, weir_json_get_string(active, "https_sni", absent));
    put_u8(out, weir_json_get_boolean(active, "https_verify_certificate", true));
    put_u16(out, (uint16_t)weir_json_count(headers));
    put_block(out, put_headers, headers);
}

static int check_headers(const weir_json_t *active, weir_error_t *err)
{
    const weir_json_t *headers = weir_json_get(active, "headers");
    bool fits = weir_json_count(headers) <= LIST_ELEMENTS_MAX;
    for (const weir_json_t *h = weir_json_first(headers); fits && h != NULL; h = weir_json_next(h))
        fits = weir_json_count(h) <= LIST_ELEMENTS_MAX;
    return fits ? WEIR_OK
                : weir_error_set(err, WEIR_INVALID, "healthchecks",
                                 "more than %d headers or values", LIST_ELEMENTS_MAX);
}

int compile_upstream(const weir_json_t *entity, weir_buffer_t *out, weir_error_t *err)
{
    static const char *const algorithms[] = { "round-robin", "consistent-hashing",
                                              "least-connections", "latency" };
    const weir_json_t *checks = weir_json_get(entity, "healthchecks");
    const weir_json_t *active = weir_json_get(checks, "active");
    int rc = check_headers(active, err);
    if (rc != WEIR_OK)
        return rc;
    weir_str_t algorithm = weir_json_get_string(entity, "algorithm", WEIR_STR("round-robin"));
    weir_uuid_t certificate = json_reference(entity, "client_certificate");
    put_u8(out, index_of(algorithm, algorithms, WEIR_COUNT(algorithms)));
    put_u32(out, (uint32_t)weir_json_get_number(entity, "slots", 10000));
    put_uuid(out, &certificate);
    put_str(out, weir_json_get_string(entity, "name", absent));
    put_str(out, weir_json_get_string(entity, "host_header", absent));
    put_hash_on(out, entity, "hash_on");
    put_hash_on(out, entity, "hash_fallback");
    put_str(out, weir_json_get_string(entity, "hash_on_cookie_path", WEIR_STR("/")));
    put_u32(out, (uint32_t)(weir_json_get_number(checks, "threshold", 0) * 100 + 0.5));
    put_limits(out, weir_json_get(checks, "passive"));
    put_limits(out, active);
    put_probes(out, active);
    return out->failed;
}

int compile_target(const weir_json_t *entity, weir_buffer_t *out, weir_error_t *err)
{
    char text[512]; /* what the model accepts is shorter */
    int64_t port = 0;
    weir_str_t target = weir_json_get_string(entity, "target", WEIR_STR(""));
    if (weir_target_normalize(target, text, sizeof(text)) != WEIR_OK)
        return weir_error_set(err, WEIR_INVALID, "target", "is neither a name nor an address");
    const char *colon = strrchr(text, ':');
    if (colon == NULL || weir_parse_int64(weir_str(colon + 1), 0, 65535, &port) != WEIR_OK)
        return weir_error_set(err, WEIR_INVALID, "target", "has no port");
    weir_uuid_t upstream = json_reference(entity, "upstream");
    put_uuid(out, &upstream);
    put_u16(out, (uint16_t)port);
    put_u16(out, (uint16_t)weir_json_get_number(entity, "weight", 100));
    put_str(out, (weir_str_t){ text, (size_t)(colon - text) });
    return out->failed;
}

/* -- views ------------------------------------------------------------------------------------ */

static weir_statuses_t get_statuses(record_in_t *in)
{
    record_in_t block = get_block(in);
    return (weir_statuses_t){ (const uint8_t *)block.at, block.left / 2 };
}

bool weir_statuses_has(const weir_statuses_t *statuses, unsigned status)
{
    for (size_t i = 0; i < statuses->count; i++)
        if ((statuses->bytes[2 * i] | (unsigned)statuses->bytes[2 * i + 1] << 8) == status)
            return true;
    return false;
}

static void get_limits(record_in_t *in, weir_health_limits_t *ret)
{
    ret->successes = get_u8(in);
    ret->http_failures = get_u8(in);
    ret->tcp_failures = get_u8(in);
    ret->timeouts = get_u8(in);
    ret->healthy = get_statuses(in);
    ret->unhealthy = get_statuses(in);
}

static void get_probes(record_in_t *in, weir_probes_t *ret)
{
    ret->kind = (weir_probe_kind_t)get_u8(in);
    ret->timeout_ms = get_u32(in);
    ret->healthy_interval_ms = get_u32(in);
    ret->unhealthy_interval_ms = get_u32(in);
    ret->concurrency = get_u32(in);
    ret->path = get_str(in);
    ret->sni = get_str(in);
    ret->verify = get_u8(in);
    ret->header_count = get_u16(in);
    record_in_t headers = get_block(in);
    ret->headers = headers.at;
    ret->headers_bytes = headers.left;
}

static weir_hash_on_t get_hash_on(record_in_t *in)
{
    weir_hash_on_t on = { .input = (weir_hash_input_t)get_u8(in) };
    on.name = get_str(in);
    return on;
}

bool view_upstream(weir_str_t record, weir_upstream_t *ret)
{
    *ret = (weir_upstream_t){ 0 };
    record_in_t in = open_record(record, &ret->version);
    ret->algorithm = (weir_algorithm_t)get_u8(&in);
    ret->slots = get_u32(&in);
    ret->client_certificate = get_uuid(&in);
    ret->name = get_str(&in);
    ret->host_header = get_str(&in);
    ret->hash_on = get_hash_on(&in);
    ret->hash_fallback = get_hash_on(&in);
    ret->cookie_path = get_str(&in);
    ret->threshold_centi = get_u32(&in);
    get_limits(&in, &ret->passive);
    get_limits(&in, &ret->active);
    get_probes(&in, &ret->probes);
    return !in.bad && ret->name.data != NULL && ret->algorithm <= WEIR_LATENCY &&
           ret->hash_on.input <= WEIR_HASH_URI_CAPTURE &&
           ret->hash_fallback.input <= WEIR_HASH_URI_CAPTURE &&
           ret->probes.kind <= WEIR_PROBE_GRPCS;
}

bool view_target(weir_str_t record, target_view_t *ret)
{
    uint64_t version = 0;
    *ret = (target_view_t){ 0 };
    record_in_t in = open_record(record, &version);
    ret->upstream = get_uuid(&in);
    ret->target.port = get_u16(&in);
    ret->target.weight = get_u16(&in);
    ret->target.host = get_str(&in);
    return !in.bad && ret->target.host.data != NULL;
}

void weir_probes_headers(const weir_probes_t *probes,
                         bool (*each)(void *context, weir_str_t name, weir_str_t value),
                         void *context)
{
    record_in_t in = { probes->headers, probes->headers_bytes, false };
    bool more = true;
    for (unsigned h = 0; more && h < probes->header_count; h++) {
        weir_str_t name = get_str(&in);
        unsigned values = get_u16(&in);
        for (unsigned v = 0; more && v < values; v++) {
            weir_str_t value = get_str(&in);
            more = !in.bad && name.data != NULL && value.data != NULL && each(context, name, value);
        }
        more = more && !in.bad;
    }
}

/* -- what follows from a record ------------------------------------------------------------------
 */

static bool is_probed(const weir_upstream_t *upstream)
{
    return upstream->probes.healthy_interval_ms > 0 || upstream->probes.unhealthy_interval_ms > 0;
}

int index_upstream(writer_t *w, const weir_uuid_t *id, weir_str_t record, bool add,
                   weir_error_t *err)
{
    weir_upstream_t upstream;
    weir_str_t value = { (const char *)id->bytes, sizeof(id->bytes) };
    if (!view_upstream(record, &upstream))
        return weir_error_set(err, WEIR_CORRUPT, NULL, "the record of an upstream is damaged");
    int rc = touch_host(w, upstream.name, err);
    if (rc == WEIR_OK)
        rc = touch_entity(w, WEIR_UPSTREAMS, id, err);
    if (rc == WEIR_OK)
        rc = index_name(w, NAME_UPSTREAM, upstream.name, value, add, err);
    if (rc == WEIR_OK && is_probed(&upstream))
        rc = index_name(w, NAME_PROBED, WEIR_STR(""), value, add, err);
    return rc;
}

int index_target(writer_t *w, weir_str_t record, weir_error_t *err)
{
    target_view_t view;
    if (!view_target(record, &view))
        return weir_error_set(err, WEIR_CORRUPT, NULL, "the record of a target is damaged");
    return touch_entity(w, WEIR_UPSTREAMS, &view.upstream, err);
}

/* -- look-ups --------------------------------------------------------------------------------- */

int weir_reader_upstream_named(weir_reader_t *reader, weir_str_t name, weir_uuid_t *ret,
                               weir_error_t *err)
{
    weir_str_t value = { NULL, 0 };
    int rc = reader_get_name(reader, NAME_UPSTREAM, name, &value, err);
    if (rc != WEIR_OK)
        return rc;
    record_in_t in = { value.data, value.len, false };
    *ret = get_uuid(&in);
    return in.bad ? reader_damaged(err, "upstream's name") : WEIR_OK;
}

int weir_reader_upstream(weir_reader_t *reader, const weir_uuid_t *id, weir_upstream_t *ret,
                         weir_error_t *err)
{
    weir_str_t record = { NULL, 0 };
    int rc = reader_get(reader, DB_RECORDS, WEIR_UPSTREAMS, id, &record, err);
    if (rc != WEIR_OK)
        return rc;
    if (!view_upstream(record, ret))
        return reader_damaged(err, "upstream");
    ret->id = *id;
    return WEIR_OK;
}

static int give_target(weir_reader_t *reader, const entity_key_t *key, const weir_uuid_t *upstream,
                       int (*each)(void *context, const weir_target_t *target, weir_error_t *err),
                       void *context, weir_error_t *err)
{
    weir_str_t record = { NULL, 0 };
    target_view_t view;
    weir_uuid_t id = entity_key_id(key);
    int rc = reader_get(reader, DB_RECORDS, WEIR_TARGETS, &id, &record, err);
    if (rc == WEIR_NOT_FOUND)
        return WEIR_OK; /* quarantined */
    if (rc == WEIR_OK && !view_target(record, &view))
        rc = reader_damaged(err, "target");
    if (rc != WEIR_OK || !weir_uuid_equal(&view.upstream, upstream))
        return rc;
    view.target.id = id;
    return each(context, &view.target, err);
}

int weir_reader_targets(weir_reader_t *reader, const weir_uuid_t *upstream,
                        int (*each)(void *context, const weir_target_t *target, weir_error_t *err),
                        void *context, weir_error_t *err)
{
    weir_assert(reader->inside);
    MDB_cursor *cursor = NULL;
    uint8_t prefix[ID_BYTES + 1];
    entity_key_t of = entity_key(WEIR_UPSTREAMS, upstream);
    memcpy(prefix, of.bytes, ID_BYTES);
    prefix[ID_BYTES] = WEIR_TARGETS;
    int code = mdb_cursor_open(reader->txn, reader->dbi[DB_DEPENDENTS], &cursor);
    if (code != 0)
        return lmdb_error(code, err, "dependents");
    MDB_val key = val(prefix, sizeof(prefix));
    MDB_val nothing;
    int rc = WEIR_OK;
    for (code = mdb_cursor_get(cursor, &key, &nothing, MDB_SET_RANGE);
         rc == WEIR_OK && code == 0 && key.mv_size == (size_t)2 * ID_BYTES &&
         memcmp(key.mv_data, prefix, sizeof(prefix)) == 0;
         code = mdb_cursor_get(cursor, &key, &nothing, MDB_NEXT)) {
        entity_key_t target;
        memcpy(target.bytes, (const uint8_t *)key.mv_data + ID_BYTES, ID_BYTES);
        rc = give_target(reader, &target, upstream, each, context, err);
    }
    mdb_cursor_close(cursor);
    return code == 0 || code == MDB_NOTFOUND ? rc : lmdb_error(code, err, "dependents");
}

int weir_reader_probed(weir_reader_t *reader,
                       int (*each)(void *context, const weir_uuid_t *upstream, weir_error_t *err),
                       void *context, weir_error_t *err)
{
    weir_assert(reader->inside);
    MDB_cursor *cursor = NULL;
    uint8_t bytes[NAME_KEY_BYTES];
    MDB_val key = val(bytes, name_key(NAME_PROBED, WEIR_STR(""), bytes));
    MDB_val value;
    int rc = WEIR_OK;
    int code = mdb_cursor_open(reader->txn, reader->dbi[DB_NAMES], &cursor);
    if (code != 0)
        return lmdb_error(code, err, "names");
    for (code = mdb_cursor_get(cursor, &key, &value, MDB_SET); rc == WEIR_OK && code == 0;
         code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT_DUP)) {
        record_in_t in = { value.mv_data, value.mv_size, false };
        weir_uuid_t id = get_uuid(&in);
        rc = in.bad ? reader_damaged(err, "probed upstream") : each(context, &id, err);
    }
    mdb_cursor_close(cursor);
    return code == 0 || code == MDB_NOTFOUND ? rc : lmdb_error(code, err, "names");
}
