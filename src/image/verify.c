/* verify.c -- is the image what its documents say? Sums and records here, what follows
 * from records in verify_index.c. One read transaction, one document at a time. */
#include "image/batch.h"

#include "base/clock.h"
#include "base/json.h"

enum { PROGRESS_EVERY = 10000 };

typedef struct documents {
    verify_t v;
    weir_digest_t *sums;
    uint64_t count, quarantined, told, links;
    void (*progress)(void *context, uint64_t entities);
    void *context;
    weir_buffer_t record;
} documents_t;

int verify_get(const verify_t *v, database_t database, MDB_val key, MDB_val *ret)
{
    int code = mdb_get(v->txn, v->image->dbi[database], &key, ret);
    return code == 0 ? WEIR_OK : lmdb_error(code, v->err, "verify");
}

/* What an entity should have, beside its document. */
typedef struct expected {
    bool refused, expired;
    weir_str_t record; /* but for its version; data NULL: none */
    links_t links;
} expected_t;

static int is_there(const verify_t *v, database_t database, const entity_key_t *key, bool *ret)
{
    MDB_val value;
    int rc = verify_get(v, database, val_key(key), &value);
    *ret = rc == WEIR_OK;
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

static int expect_guard(documents_t *d, const entity_key_t *key, const weir_json_t *row,
                        expected_t *ret)
{
    ret->refused = true;
    if (key->bytes[0] != WEIR_PLUGINS)
        return WEIR_OK;
    weir_buffer_clear(&d->record);
    if (guard_record(row, 0, &d->record))
        ret->record = weir_buffer_str(&d->record);
    return d->record.failed == WEIR_NO_MEMORY ? weir_error_memory(d->v.err) : WEIR_OK;
}

static int expect_compiled(documents_t *d, const weir_schema_t *schema, const entity_key_t *key,
                           const weir_json_t *entity, expected_t *ret)
{
    weir_error_t why = { 0 };
    weir_buffer_clear(&d->record);
    int rc = compile_record(&d->v.image->options, schema->type, entity, 0, &d->record, &why);
    if (rc == WEIR_NO_MEMORY)
        return weir_error_memory(d->v.err);
    if (rc != WEIR_OK)
        return expect_guard(d, key, entity, ret);
    ret->record = weir_buffer_str(&d->record);
    for (size_t i = 0; i < ret->links.count; i++)
        ret->links.list[i].from = LINK_DOCUMENT | LINK_RECORD;
    return WEIR_OK;
}

static int expect_accepted(documents_t *d, const weir_schema_t *schema, const entity_key_t *key,
                           const weir_json_t *entity, expected_t *ret)
{
    int rc = links_of(schema, entity, &ret->links, d->v.err);
    int64_t end = end_ms(schema, entity);
    ret->expired = end > 0 && end <= d->v.now_ms;
    for (size_t i = 0; rc == WEIR_OK && i < ret->links.count; i++) {
        bool good = false;
        rc = is_there(&d->v, DB_RECORDS, &ret->links.list[i].to, &good);
        if (rc == WEIR_OK && !good)
            return expect_guard(d, key, entity, ret);
    }
    return rc == WEIR_OK ? expect_compiled(d, schema, key, entity, ret) : rc;
}

static int expect(documents_t *d, const entity_key_t *key, weir_str_t document, expected_t *ret)
{
    const weir_schema_t *schema = weir_schema((weir_entity_type_t)key->bytes[0]);
    WEIR_AUTO(json) weir_json_t *row = NULL;
    WEIR_AUTO(json) weir_json_t *entity = NULL;
    weir_error_t why = { 0 };
    *ret = (expected_t){ .refused = schema == NULL };
    int rc = weir_json_parse(document, &row, d->v.err);
    if (rc != WEIR_OK)
        return rc == WEIR_INVALID ? weir_error_within(d->v.err, WEIR_CORRUPT, "a document") : rc;
    if (schema == NULL)
        return WEIR_OK;
    rc = accept_row(schema, key, row, &entity, &why);
    if (rc == WEIR_INVALID)
        return expect_guard(d, key, row, ret);
    return rc == WEIR_OK ? expect_accepted(d, schema, key, entity, ret)
                         : weir_error_memory(d->v.err);
}

/* Records begin with the number of the commit that made them. */
static bool same_record(MDB_val stored, weir_str_t expected)
{
    enum { VERSION_BYTES = 8 };
    return stored.mv_size == expected.len && expected.len >= VERSION_BYTES &&
           memcmp((const char *)stored.mv_data + VERSION_BYTES, expected.data + VERSION_BYTES,
                  expected.len - VERSION_BYTES) == 0;
}

static bool same_links(MDB_val stored, const links_t *expected, bool exact)
{
    size_t bytes = 1 + ID_BYTES;
    if (exact && stored.mv_size != expected->count * bytes)
        return false;
    for (size_t i = 0; i < expected->count; i++) {
        if (stored.mv_size < (i + 1) * bytes)
            return false;
        const uint8_t *at = (const uint8_t *)stored.mv_data + i * bytes;
        bool from = exact ? *at == expected->list[i].from : (*at & LINK_DOCUMENT) != 0;
        if (!from || memcmp(at + 1, expected->list[i].to.bytes, ID_BYTES) != 0)
            return false;
    }
    return true;
}

static int check_links(documents_t *d, const entity_key_t *key, const links_t *links, bool exact)
{
    MDB_val stored = { 0, NULL };
    int rc = verify_get(&d->v, DB_LINKS, val_key(key), &stored);
    if (rc != WEIR_OK && rc != WEIR_NOT_FOUND)
        return rc;
    d->links += rc == WEIR_OK;
    d->v.ret->bad_records += same_links(stored, links, exact) ? 0 : 1;
    return WEIR_OK;
}

static int check_record(documents_t *d, const entity_key_t *key, const expected_t *want)
{
    MDB_val quarantine = { 0, NULL };
    MDB_val record = { 0, NULL };
    weir_quarantined_t entry = { .serving = false };
    int rc = verify_get(&d->v, DB_QUARANTINE, val_key(key), &quarantine);
    if (rc != WEIR_OK && rc != WEIR_NOT_FOUND)
        return rc;
    bool quarantined = rc == WEIR_OK;
    d->quarantined += quarantined;
    bool readable = !quarantined || view_quarantined(val_str(quarantine), &entry);
    rc = verify_get(&d->v, DB_RECORDS, val_key(key), &record);
    if (rc != WEIR_OK && rc != WEIR_NOT_FOUND)
        return rc;
    bool right = rc == WEIR_OK ? want->record.data != NULL && same_record(record, want->record)
                               : want->record.data == NULL;
    if (entry.serving) /* by a record whose document is not kept: what it was is not known */
        right = rc == WEIR_OK && want->refused;
    else if (want->expired)
        right = right || rc == WEIR_NOT_FOUND;
    if (quarantined != want->refused && !want->expired)
        right = false;
    d->v.ret->bad_records += right && readable ? 0 : 1;
    return check_links(d, key, &want->links, !entry.serving && !want->expired);
}

/* -- sums ------------------------------------------------------------------------------------ */

/* Of a known type it says no more than a hash. */
static bool told_fits(const told_t *told, const entity_key_t *key)
{
    const weir_schema_t *schema = weir_schema((weir_entity_type_t)key->bytes[0]);
    weir_uuid_t id = entity_key_id(key);
    if (!told->stored)
        return schema != NULL;
    return schema != NULL ? told->has_hash && weir_str_is(told->type, schema->name) &&
                                weir_uuid_equal(&told->id, &id)
                          : weir_digest_bucket(&told->id) == weir_digest_bucket(&id);
}

static int add_to_sums(documents_t *d, const entity_key_t *key, weir_str_t document)
{
    told_t told;
    weir_digest_t hash;
    const weir_image_t *image = d->v.image;
    int rc = told_get(d->v.txn, image->dbi[DB_TOLD], d->v.state.told, key, &told, d->v.err);
    if (rc != WEIR_OK)
        return rc;
    d->told += told.stored;
    d->v.ret->bad_records += told_fits(&told, key) ? 0 : 1;
    if (d->v.state.has_digest == 0)
        return WEIR_OK;
    rc = told_hash(image->digester, &told, document, &hash, d->v.err);
    if (rc == WEIR_OK)
        weir_digest_add(&d->sums[weir_digest_bucket(&told.id)], &hash);
    return rc;
}

static int compare_sums(documents_t *d)
{
    weir_image_verdict_t *ret = d->v.ret;
    weir_digest_t total = { 0, 0 };
    for (unsigned bucket = WEIR_DIGEST_BUCKETS; bucket-- > 0;) {
        weir_digest_t kept;
        int rc = sums_get(d->v.image, d->v.txn, bucket, &kept, d->v.err);
        if (rc != WEIR_OK)
            return rc;
        weir_digest_add(&ret->computed, &d->sums[bucket]);
        weir_digest_add(&total, &kept);
        if (weir_digest_equal(&kept, &d->sums[bucket]))
            continue;
        ret->bad_buckets++;
        ret->first_bad_bucket = bucket;
    }
    /* The total is kept beside the sums: as good as they are, or one more is bad. */
    if (!weir_digest_equal(&total, &ret->kept) && ret->bad_buckets == 0)
        ret->bad_buckets = 1;
    return WEIR_OK;
}

/* -- all of it ----------------------------------------------------------------------------------
 */

static int check_document(void *context, MDB_val key, MDB_val value, weir_error_t *err)
{
    documents_t *d = context;
    entity_key_t k;
    expected_t want;
    if (key.mv_size != ID_BYTES)
        return weir_error_set(err, WEIR_CORRUPT, NULL, "the key of a document is damaged");
    memcpy(k.bytes, key.mv_data, ID_BYTES);
    int rc = add_to_sums(d, &k, val_str(value));
    if (rc == WEIR_OK)
        rc = expect(d, &k, val_str(value), &want);
    if (rc == WEIR_OK)
        rc = check_record(d, &k, &want);
    cool_sometimes(d->v.image, d->count);
    if (++d->count % PROGRESS_EVERY == 0 && d->progress != NULL)
        d->progress(d->context, d->count);
    return rc;
}

static int compare_count(documents_t *d, database_t database, uint64_t want)
{
    MDB_stat stat;
    int code = mdb_stat(d->v.txn, d->v.image->dbi[database], &stat);
    if (code != 0)
        return lmdb_error(code, d->v.err, "verify");
    uint64_t have = stat.ms_entries;
    d->v.ret->bad_records += have > want ? have - want : want - have;
    return WEIR_OK;
}

static int verify_all(documents_t *d)
{
    const state_t *state = &d->v.state;
    d->v.ret->version = state->version;
    d->v.ret->kept = state->digest;
    int rc = each_record(d->v.txn, d->v.image->dbi[DB_DOCUMENTS], "documents", check_document, d,
                         d->v.err);
    d->v.ret->entities = d->count;
    if (rc == WEIR_OK && state->has_digest != 0)
        rc = compare_sums(d);
    /* What no document asks for. */
    if (rc == WEIR_OK)
        rc = compare_count(d, DB_QUARANTINE, d->quarantined);
    if (rc == WEIR_OK)
        rc = compare_count(d, DB_LINKS, d->links);
    if (rc == WEIR_OK)
        rc = compare_count(d, DB_TOLD, d->told);
    if (d->count != state->entities || d->quarantined != state->quarantined ||
        d->told != state->told)
        d->v.ret->bad_records++;
    return rc == WEIR_OK ? verify_indexes(&d->v) : rc;
}

int weir_image_verify(weir_image_t *image, void (*progress)(void *context, uint64_t entities),
                      void *context, weir_image_verdict_t *ret, weir_error_t *err)
{
    *ret = (weir_image_verdict_t){ 0 };
    documents_t d = { .v = { .image = image, .now_ms = weir_clock_ms(), .ret = ret, .err = err },
                      .progress = progress,
                      .context = context };
    weir_buffer_init(&d.record, RECORD_BYTES_MAX);
    WEIR_AUTO(free) weir_digest_t *sums = weir_calloc(WEIR_DIGEST_BUCKETS, sizeof(*sums));
    if (sums == NULL)
        return weir_error_memory(err);
    d.sums = sums;
    int code = mdb_txn_begin(image->env, NULL, MDB_RDONLY, &d.v.txn);
    if (code != 0)
        return lmdb_error(code, err, "begin");
    int rc = load_state(image, d.v.txn, &d.v.state, err);
    if (rc == WEIR_OK)
        rc = verify_all(&d);
    mdb_txn_abort(d.v.txn);
    weir_buffer_release(&d.record);
    return rc;
}
