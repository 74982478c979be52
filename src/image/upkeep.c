/* upkeep.c -- what the agent does to an image between batches: a larger map, expired
 * rows, records of another version made anew. */
#include "image/batch.h"

#include "base/clock.h"

int weir_image_grow(weir_image_t *image, weir_error_t *err)
{
    MDB_envinfo info;
    image->map = NULL; /* it may be elsewhere afterwards */
    int code = mdb_env_info(image->env, &info);
    if (code == 0)
        code = mdb_env_set_mapsize(image->env, info.me_mapsize * 2);
    if (code != 0)
        return lmdb_error(code, err, "grow");
    image->map_bytes = info.me_mapsize * 2;
    return WEIR_OK;
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
    for (uint8_t type = 0; type < CHANGED_TYPES; type++)
        note_change(state, type); /* also if no record of it can be made again */
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
