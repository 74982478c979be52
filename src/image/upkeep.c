/* upkeep.c -- what the agent does to an image between batches: a larger map, expired
 * rows, records of another version made anew. */
#include "image/batch.h"
#include "image/touched.h"

#include "base/clock.h"
#include "base/json.h"

#include <stdio.h>

int weir_image_grow(weir_image_t *image, weir_error_t *err)
{
    MDB_envinfo info;
    bool held = image->held != NULL;
    int rc = held ? unsynced_settle(image, err) : WEIR_OK;
    if (rc != WEIR_OK)
        return rc;
    unsynced_let_go(image);
    image->map = NULL; /* it may be elsewhere afterwards */
    int code = mdb_env_info(image->env, &info);
    if (code == 0)
        code = mdb_env_set_mapsize(image->env, info.me_mapsize * 2);
    if (code == 0)
        image->map_bytes = info.me_mapsize * 2;
    rc = code == 0 ? WEIR_OK : lmdb_error(code, err, "grow");
    int again = held ? unsynced_hold(image, err) : WEIR_OK;
    return rc != WEIR_OK ? rc : again;
}

/* Whether what ended with `rc` is worth another try: the map was too small, and grows. */
static bool grown(weir_image_t *image, int rc, weir_error_t *err)
{
    return rc == WEIR_FULL && strcmp(err->field, "map") == 0 &&
           weir_image_grow(image, err) == WEIR_OK;
}

static int drop_derived(weir_batch_t *batch, weir_error_t *err)
{
    static const database_t derived[] = { DB_RECORDS,    DB_ROUTER, DB_BUCKETS, DB_RANKS,
                                          DB_NAMES,      DB_PLANS,  DB_LINKS,   DB_DEPENDENTS,
                                          DB_QUARANTINE, DB_EXPIRY };
    for (size_t i = 0; i < WEIR_COUNT(derived); i++) {
        int code = mdb_drop(batch->txn, batch->image->dbi[derived[i]], 0);
        if (code != 0)
            return lmdb_error(code, err, "drop");
    }
    state_t *state = &batch->state;
    memset(state->class_entries, 0, sizeof(state->class_entries));
    memset(state->scope_plugins, 0, sizeof(state->scope_plugins));
    state->routes_with_hosts = 0;
    state->routes_with_paths = 0;
    state->disabled_services = 0;
    state->quarantined = 0;
    for (int type = 0; type < CHANGED_TYPES; type++)
        note_change(state, (uint8_t)type); /* also if no record of it can be made again */
    touch_everything(&batch->writer);
    state->format_records = FORMAT_RECORDS;
    state->documented_order = batch->image->options.documented_order;
    return WEIR_OK;
}

static int note_pending(void *context, MDB_val key, MDB_val value, weir_error_t *err)
{
    entity_key_t k;
    (void)value;
    if (key.mv_size != ID_BYTES)
        return WEIR_OK;
    memcpy(k.bytes, key.mv_data, ID_BYTES);
    return pending_add(context, &k, err);
}

static int all_pending(weir_batch_t *batch, weir_error_t *err)
{
    return each_record(batch->txn, batch->image->dbi[DB_DOCUMENTS], "documents", note_pending,
                       batch, err);
}

static int recompile_once(weir_image_t *image, weir_error_t *err)
{
    weir_batch_t *batch = NULL;
    int rc = weir_batch_begin(image, false, 0, &batch, err);
    if (rc != WEIR_OK)
        return rc;
    batch->version = batch->state.version;
    rc = drop_derived(batch, err);
    if (rc == WEIR_OK)
        rc = all_pending(batch, err);
    if (rc != WEIR_OK) {
        weir_batch_abort(batch);
        return rc;
    }
    return batch_finish(batch, weir_clock_ms(), batch->state.committed_ms, err);
}

int weir_image_recompile(weir_image_t *image, weir_error_t *err)
{
    weir_error_t own = { 0 };
    err = err != NULL ? err : &own;
    int rc = recompile_once(image, err);
    while (grown(image, rc, err))
        rc = recompile_once(image, err);
    return rc;
}

/* -- another software ------------------------------------------------------------------- */

uint64_t build_number(const weir_image_options_t *options)
{
    uint64_t hash = UINT64_C(14695981039346656037); /* FNV-1a */
    for (const char *c = options->build; c != NULL && *c != '\0'; c++)
        hash = (hash ^ (uint8_t)*c) * UINT64_C(1099511628211);
    return options->build != NULL ? hash : 0;
}

/* A row whose type was not known is kept under a key of its own: as if it came now. */
static int adopt(weir_batch_t *batch, const entity_key_t *key, MDB_val value, weir_error_t *err)
{
    weir_quarantined_t entry;
    weir_uuid_t id;
    WEIR_AUTO(json) weir_json_t *row = NULL;
    MDB_val k = val_key(key);
    MDB_val document;
    if (!view_quarantined(val_str(value), &entry))
        return weir_error_set(err, WEIR_CORRUPT, NULL, "a quarantine entry is damaged");
    char type[64];
    snprintf(type, sizeof(type), "%.*s", WEIR_STR_ARG(entry.type));
    const weir_schema_t *schema = weir_schema_named(weir_str(type));
    if (schema == NULL)
        return WEIR_OK; /* it still is not */
    int code = mdb_get(batch->txn, batch->image->dbi[DB_DOCUMENTS], &k, &document);
    if (code != 0)
        return lmdb_error(code, err, "documents");
    int rc = weir_json_parse(val_str(document), &row, err);
    if (rc != WEIR_OK || weir_entity_id(schema, row, &id) != WEIR_OK)
        return rc;
    rc = remove_entity(batch, key, err);
    return rc == WEIR_OK ? weir_batch_put_told(batch, weir_str(type), &id, row, NULL, err) : rc;
}

typedef struct quarantined_keys {
    weir_batch_t *batch;
    weir_buffer_t odd; /* keys of unknown types: putting changes what is walked over */
} quarantined_keys_t;

static int note_quarantined(void *context, MDB_val key, MDB_val value, weir_error_t *err)
{
    quarantined_keys_t *keys = context;
    if (key.mv_size != ID_BYTES || ((const uint8_t *)key.mv_data)[0] != WEIR_ENTITY_NONE)
        return note_pending(keys->batch, key, value, err);
    return weir_buffer_append(&keys->odd, val_str(key)) == WEIR_OK ? WEIR_OK
                                                                   : weir_error_memory(err);
}

static int judge_quarantined(weir_batch_t *batch, weir_error_t *err)
{
    quarantined_keys_t keys = { .batch = batch };
    MDB_dbi dbi = batch->image->dbi[DB_QUARANTINE];
    weir_buffer_init(&keys.odd, SIZE_MAX / 2);
    int rc = each_record(batch->txn, dbi, "quarantine", note_quarantined, &keys, err);
    for (size_t at = 0; rc == WEIR_OK && at < keys.odd.len; at += ID_BYTES) {
        entity_key_t key;
        memcpy(key.bytes, keys.odd.data + at, ID_BYTES);
        MDB_val k = val_key(&key);
        MDB_val value;
        int code = mdb_get(batch->txn, dbi, &k, &value);
        rc = code == 0 ? adopt(batch, &key, value, err) : lmdb_error(code, err, "quarantine");
    }
    weir_buffer_release(&keys.odd);
    return rc;
}

static int retry_once(weir_image_t *image, weir_error_t *err)
{
    weir_batch_t *batch = NULL;
    int rc = weir_batch_begin(image, false, 0, &batch, err);
    if (rc != WEIR_OK)
        return rc;
    batch->version = batch->state.version;
    batch->state.build = build_number(&image->options);
    rc = batch->state.quarantined > 0 ? judge_quarantined(batch, err) : WEIR_OK;
    if (rc != WEIR_OK) {
        weir_batch_abort(batch);
        return rc;
    }
    return batch_finish(batch, weir_clock_ms(), batch->state.committed_ms, err);
}

int weir_image_retry(weir_image_t *image, weir_error_t *err)
{
    weir_error_t own = { 0 };
    err = err != NULL ? err : &own;
    int rc = retry_once(image, err);
    while (grown(image, rc, err))
        rc = retry_once(image, err);
    return rc;
}

/* The first of the expiry index. WEIR_NOT_FOUND: it is empty. */
static int first_expiry(weir_batch_t *batch, int64_t *ret_ms, entity_key_t *ret, weir_error_t *err)
{
    MDB_cursor *cursor = NULL;
    MDB_val key;
    MDB_val value;
    int code = mdb_cursor_open(batch->txn, batch->image->dbi[DB_EXPIRY], &cursor);
    if (code == 0)
        code = mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
    bool fits = code == 0 && key.mv_size == 8 + ID_BYTES;
    if (fits) {
        uint64_t expires_s = 0;
        for (size_t i = 0; i < 8; i++)
            expires_s = expires_s << 8 | ((const uint8_t *)key.mv_data)[i];
        *ret_ms = expires_s < INT64_MAX / 1000 ? (int64_t)expires_s * 1000 : INT64_MAX;
        memcpy(ret->bytes, (const uint8_t *)key.mv_data + 8, ID_BYTES);
    }
    if (cursor != NULL)
        mdb_cursor_close(cursor);
    if (code == 0 && !fits)
        return weir_error_set(err, WEIR_CORRUPT, NULL, "the expiry index is damaged");
    return code == 0 ? WEIR_OK : lmdb_error(code, err, "expiry");
}

static int expire_once(weir_image_t *image, int64_t now_ms, size_t *ret_count, int64_t *ret_next_ms,
                       weir_error_t *err)
{
    enum { EXPIRE_MAX = 1000 }; /* one commit stays short */
    *ret_count = 0;
    *ret_next_ms = 0;
    weir_batch_t *batch = NULL;
    int rc = weir_batch_begin(image, false, 0, &batch, err);
    if (rc != WEIR_OK)
        return rc;
    batch->version = batch->state.version;
    for (;;) {
        entity_key_t entity;
        rc = first_expiry(batch, ret_next_ms, &entity, err);
        if (rc != WEIR_OK || *ret_next_ms > now_ms || *ret_count == EXPIRE_MAX)
            break;
        /* Its document stays until the control plane deletes it; should that be another
         * one, which is not served yet, it is judged anew. */
        rc = drop_record(batch, &entity, err);
        if (rc == WEIR_OK)
            rc = pending_add(batch, &entity, err);
        if (rc != WEIR_OK)
            break;
        ++*ret_count;
    }
    if (rc == WEIR_NOT_FOUND) {
        *ret_next_ms = 0;
        rc = WEIR_OK;
    }
    if (rc != WEIR_OK || *ret_count == 0) {
        weir_batch_abort(batch);
        return rc;
    }
    return batch_finish(batch, now_ms, batch->state.committed_ms, err);
}

int weir_image_expire(weir_image_t *image, int64_t now_ms, size_t *ret_count, int64_t *ret_next_ms,
                      weir_error_t *err)
{
    weir_error_t own = { 0 };
    err = err != NULL ? err : &own;
    int rc = expire_once(image, now_ms, ret_count, ret_next_ms, err);
    while (grown(image, rc, err))
        rc = expire_once(image, now_ms, ret_count, ret_next_ms, err);
    return rc;
}
