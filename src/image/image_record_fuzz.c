/* image_record_fuzz.c -- arbitrary bytes as records and as values of the indexes:
 * whatever a reader finds in an image, it must stay within it. */
#include "image/batch.h"
#include "image/fixture.h"
#include "image/router.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const weir_uuid_t some_id = { { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 } };

static int look_at_entry(void *context, const place_t *place, const router_entry_t *entry)
{
    uint8_t bytes[KEY_BYTES_MAX];
    uint8_t value[ENTRY_BYTES];
    size_t len = bucket_key(place, true, bytes);
    weir_assert(len <= sizeof(bytes) && place->key.mv_size <= KEY_BYTES_MAX);
    router_entry_encode(entry, value);
    router_entry_t back;
    weir_assert(router_entry_decode(val(value, sizeof(value)), &back));
    weir_assert(memcmp(&back.tie, &entry->tie, sizeof(back.tie)) == 0 && back.path == entry->path);
    return ++*(size_t *)context < 10000 ? WEIR_OK : WEIR_TOO_LARGE;
}

static bool look_at_header(void *context, weir_str_t name, weir_str_t value)
{
    (void)context;
    return name.len + value.len < RECORD_BYTES_MAX;
}

static void view_all(weir_str_t record)
{
    route_view_t route;
    service_view_t service;
    weir_consumer_t consumer;
    credential_view_t credential;
    weir_certificate_t certificate;
    sni_view_t sni;
    plugin_view_t plugin;
    weir_upstream_t upstream;
    target_view_t target;
    weir_quarantined_t quarantined;
    weir_str_t pem;
    uint64_t version;
    size_t entries = 0;
    if (view_route(record, &route))
        router_entries(&some_id, &route, record.len % 2, look_at_entry, &entries);
    view_service(record, &service);
    view_consumer(record, &consumer);
    view_credential(record, &credential);
    view_certificate(record, &certificate);
    view_ca_certificate(record, &pem, &version);
    view_sni(record, &sni);
    view_plugin(record, &plugin);
    view_target(record, &target);
    if (view_upstream(record, &upstream)) {
        weir_statuses_has(&upstream.passive.healthy, 200);
        weir_statuses_has(&upstream.active.unhealthy, 200);
        weir_probes_headers(&upstream.probes, look_at_header, NULL);
    }
    view_quarantined(record, &quarantined);
    told_t told;
    told_view(val(record.data, record.len), &told);
    record_in_t list = { record.data, record.len, false };
    weir_planned_t planned;
    int32_t priority;
    while (next_planned(&list, &planned, &priority))
        continue;
}

/* An image in which everything has the given bytes. */
static void write_all(fixture_t *f, weir_str_t bytes)
{
    static const uint8_t router_keys[][5] = { { CLASS_ANY, 0, '/', 'a' },
                                              { CLASS_ANY, 0, '/' },
                                              { CLASS_EXACT, 'h', 0, '/' },
                                              { CLASS_SUFFIX, '.', 'c', 0, '/' } };
    static const size_t router_lens[] = { 4, 3, 4, 5 };
    fixture_begin(f, true);
    MDB_txn *txn = f->batch->txn;
    MDB_val value = val(bytes.data, bytes.len);
    for (int type = WEIR_WORKSPACES; type < WEIR_ENTITY_TYPES; type++) {
        entity_key_t key = entity_key((weir_entity_type_t)type, &some_id);
        MDB_val k = val_key(&key);
        mdb_put(txn, f->image->dbi[DB_RECORDS], &k, &value, 0);
    }
    uint8_t scope[1 + 3 * WEIR_UUID_BYTES];
    unsigned bits;
    MDB_val plan = val(scope, scope_key(NULL, NULL, NULL, scope, &bits));
    mdb_put(txn, f->image->dbi[DB_PLANS], &plan, &value, 0);
    f->batch->state.scope_plugins[0] = 1;
    uint8_t entry[ENTRY_BYTES] = { 0 };
    memcpy(entry, bytes.data, bytes.len < sizeof(entry) ? bytes.len : sizeof(entry));
    memcpy(entry + 24, some_id.bytes, WEIR_UUID_BYTES); /* a route that has a record */
    for (size_t i = 0; i < WEIR_COUNT(router_lens); i++) {
        MDB_val k = val(router_keys[i], router_lens[i]);
        MDB_val e = val(entry, sizeof(entry));
        f->batch->state.class_entries[router_keys[i][0]] = 1;
        mdb_del(txn, f->image->dbi[DB_ROUTER], &k, NULL);
        mdb_put(txn, f->image->dbi[DB_ROUTER], &k, &e, 0);
        entry[46] ^= ENTRY_REGEX;
        uint8_t rank[9] = { router_keys[i][0] }; /* so that the class is always looked at */
        MDB_val r = val(rank, sizeof(rank));
        MDB_val one = val(&(uint64_t){ 1 }, sizeof(uint64_t));
        mdb_put(txn, f->image->dbi[DB_RANKS], &r, &one, 0);
    }
    static const char letters[] = { NAME_CREDENTIAL, NAME_USERNAME, NAME_SNI, NAME_UPSTREAM,
                                    NAME_PROBED };
    char names[][3] = {
        { WEIR_KEYAUTH_CREDENTIALS, 'k', 0 }, { 'u', 0 }, { 's', 0 }, { 'b', 0 }, { 0 }
    };
    entity_key_t some_upstream = entity_key(WEIR_UPSTREAMS, &some_id);
    entity_key_t some_target = entity_key(WEIR_TARGETS, &some_id);
    uint8_t dependent[2 * ID_BYTES];
    memcpy(dependent, some_upstream.bytes, ID_BYTES);
    memcpy(dependent + ID_BYTES, some_target.bytes, ID_BYTES);
    MDB_val d = val(dependent, sizeof(dependent));
    MDB_val nothing = val("", 0);
    mdb_put(txn, f->image->dbi[DB_DEPENDENTS], &d, &nothing, 0);
    for (size_t i = 0; i < sizeof(letters); i++) {
        uint8_t bytes_of_key[NAME_KEY_BYTES];
        MDB_val k = val(bytes_of_key, name_key(letters[i], weir_str(names[i]), bytes_of_key));
        MDB_val v = val(bytes.data, bytes.len < 100 ? bytes.len : 100);
        mdb_del(txn, f->image->dbi[DB_NAMES], &k, NULL);
        mdb_put(txn, f->image->dbi[DB_NAMES], &k, &v, 0);
    }
    fixture_commit(f);
}

static int read_target(void *context, const weir_target_t *target, weir_error_t *err)
{
    (void)context, (void)err;
    weir_assert(target->host.data != NULL);
    return WEIR_OK;
}

static int read_probed(void *context, const weir_uuid_t *upstream, weir_error_t *err)
{
    weir_upstream_t view;
    weir_reader_upstream(context, upstream, &view, err);
    return WEIR_OK;
}

static void read_all(fixture_t *f)
{
    static fixture_request_t request;
    static weir_plan_t plan;
    weir_match_t match;
    weir_service_t service;
    weir_consumer_t consumer;
    weir_credential_t credential;
    weir_certificate_t certificate;
    weir_str_t pem;
    uint64_t version;
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    static const char *const hosts[] = { "h", "x.c", NULL };
    for (size_t i = 0; i < WEIR_COUNT(hosts); i++) {
        fixture_request(&request, i > 0 ? "GET" : "ODD", hosts[i], "/a/b");
        fixture_add_header(&request, WEIR_STR("x"), WEIR_STR("y"));
        request.match.https = i % 2;
        request.match.sni = weir_str(hosts[i]);
        if (weir_reader_match(f->reader, &request.match, &match, &f->err) == WEIR_OK)
            weir_assert(!weir_uuid_is_zero(&match.route.id));
    }
    weir_reader_service(f->reader, &some_id, &service, &f->err);
    weir_reader_consumer(f->reader, &some_id, &consumer, &f->err);
    weir_reader_consumer_named(f->reader, WEIR_STR("u"), &consumer, &f->err);
    weir_reader_credential(f->reader, WEIR_KEYAUTH_CREDENTIALS, WEIR_STR("k"), 0, &credential,
                           &f->err);
    weir_reader_sni(f->reader, WEIR_STR("s"), &certificate, &f->err);
    weir_reader_certificate(f->reader, &some_id, &certificate, &f->err);
    weir_reader_ca_certificate(f->reader, &some_id, &pem, &version, &f->err);
    weir_reader_plan(f->reader, &some_id, &some_id, &some_id, &plan, &f->err);
    weir_uuid_t upstream;
    weir_reader_upstream_named(f->reader, WEIR_STR("b"), &upstream, &f->err);
    weir_reader_probed(f->reader, read_probed, f->reader, &f->err);
    weir_reader_targets(f->reader, &some_id, read_target, NULL, &f->err);
    weir_reader_leave(f->reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fixture_t f;
    if (f.image == NULL)
        fixture_open(&f);
    /* A copy of its own size: one byte too far is seen. */
    char *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL)
        return 0;
    memcpy(copy, data, size);
    view_all((weir_str_t){ copy, size });
    free(copy);
    if (size > 0 && size < 4096) {
        write_all(&f, (weir_str_t){ (const char *)data, size });
        read_all(&f);
    }
    return 0;
}
