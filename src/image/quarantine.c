/* quarantine.c -- what this data plane cannot accept: kept, named, tried again
 * (design 7). */
#include "image/batch.h"

int quarantine_put(weir_batch_t *batch, const entity_key_t *key, weir_str_t type,
                   const weir_json_t *row, const char *field, const char *reason, bool serving,
                   weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t value;
    weir_buffer_init(&value, RECORD_BYTES_MAX);
    weir_str_t id = weir_json_get_string(row, "id", (weir_str_t){ NULL, 0 });
    if (id.data == NULL)
        id = weir_json_get_string(row, "key", WEIR_STR(""));
    put_u64(&value, batch->version);
    put_u8(&value, serving);
    put_str(&value, type);
    put_str(&value, id);
    put_str(&value,
            weir_json_get_string(row, "name", weir_json_get_string(row, "username", WEIR_STR(""))));
    put_str(&value, weir_str(field[0] != '\0' ? field : "@entity"));
    put_str(&value, weir_str(reason));
    if (value.failed != WEIR_OK)
        return weir_error_memory(err);
    if (!quarantine_has(batch, key))
        batch->state.quarantined++;
    MDB_val k = val_key(key);
    MDB_val data = val(value.data, value.len);
    int code = mdb_put(batch->txn, batch->image->dbi[DB_QUARANTINE], &k, &data, 0);
    return code == 0 ? WEIR_OK : lmdb_error(code, err, "quarantine");
}

bool quarantine_has(weir_batch_t *batch, const entity_key_t *key)
{
    MDB_val k = val_key(key);
    MDB_val value;
    return batch->state.quarantined > 0 &&
           mdb_get(batch->txn, batch->image->dbi[DB_QUARANTINE], &k, &value) == 0;
}

int quarantine_remove(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err)
{
    if (batch->state.quarantined == 0)
        return WEIR_OK;
    MDB_val k = val_key(key);
    int code = mdb_del(batch->txn, batch->image->dbi[DB_QUARANTINE], &k, NULL);
    if (code == MDB_NOTFOUND)
        return WEIR_OK;
    if (code == 0)
        batch->state.quarantined--;
    return code == 0 ? WEIR_OK : lmdb_error(code, err, "quarantine");
}

bool view_quarantined(weir_str_t value, weir_quarantined_t *ret)
{
    record_in_t in = { value.data, value.len, false };
    *ret = (weir_quarantined_t){ .version = get_u64(&in) };
    ret->serving = get_u8(&in);
    ret->type = get_str(&in);
    ret->id = get_str(&in);
    ret->name = get_str(&in);
    ret->field = get_str(&in);
    ret->reason = get_str(&in);
    return !in.bad;
}

typedef struct entries {
    int (*each)(void *context, const weir_quarantined_t *entry);
    void *context;
} entries_t;

static int give_entry(void *context, MDB_val key, MDB_val value, weir_error_t *err)
{
    entries_t *to = context;
    weir_quarantined_t entry;
    (void)key;
    return view_quarantined(val_str(value), &entry)
               ? to->each(to->context, &entry)
               : weir_error_set(err, WEIR_CORRUPT, NULL, "a quarantine entry is damaged");
}

static int walk(MDB_txn *txn, MDB_dbi dbi,
                int (*each)(void *context, const weir_quarantined_t *entry), void *context,
                weir_error_t *err)
{
    entries_t to = { each, context };
    return each_record(txn, dbi, "quarantine", give_entry, &to, err);
}

int weir_image_quarantined(weir_image_t *image,
                           int (*each)(void *context, const weir_quarantined_t *entry),
                           void *context, weir_error_t *err)
{
    MDB_txn *txn = NULL;
    int code = mdb_txn_begin(image->env, NULL, MDB_RDONLY, &txn);
    if (code != 0)
        return lmdb_error(code, err, "begin");
    int rc = walk(txn, image->dbi[DB_QUARANTINE], each, context, err);
    mdb_txn_abort(txn);
    return rc;
}

int weir_reader_quarantined(weir_reader_t *reader,
                            int (*each)(void *context, const weir_quarantined_t *entry),
                            void *context, weir_error_t *err)
{
    weir_assert(reader->inside);
    return walk(reader->txn, reader->dbi[DB_QUARANTINE], each, context, err);
}
