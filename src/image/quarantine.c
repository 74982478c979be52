/* quarantine.c -- what this data plane cannot accept: kept, named, tried again
 * (design 7). */
#include "image/batch.h"

/* Each once; the list is short. */
static int note_news(weir_batch_t *batch, const entity_key_t *key, bool again)
{
    for (size_t at = 0; again && at < batch->news.len; at += ID_BYTES)
        if (memcmp(batch->news.data + at, key->bytes, ID_BYTES) == 0)
            return WEIR_OK;
    if (batch->news.len >= (size_t)WEIR_NEWS_MAX * ID_BYTES) {
        batch->news_left_out++;
        return WEIR_OK;
    }
    return weir_buffer_append(&batch->news, (weir_str_t){ (const char *)key->bytes, ID_BYTES });
}

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
    bool again = quarantine_has(batch, key);
    batch->state.quarantined += !again;
    batch->state.quarantine_changed = batch->state.commits;
    if (note_news(batch, key, again) != WEIR_OK)
        return weir_error_memory(err);
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
    if (code == 0) {
        batch->state.quarantined--;
        batch->state.quarantine_changed = batch->state.commits;
    }
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
    uint64_t read;
} entries_t;

static int give_entry(void *context, MDB_val key, MDB_val value, weir_error_t *err)
{
    entries_t *to = context;
    weir_quarantined_t entry;
    (void)key;
    to->read++;
    return view_quarantined(val_str(value), &entry)
               ? to->each(to->context, &entry)
               : weir_error_set(err, WEIR_CORRUPT, NULL, "a quarantine entry is damaged");
}

static int walk(MDB_txn *txn, MDB_dbi dbi, entries_t *to, weir_error_t *err)
{
    int rc = each_record(txn, dbi, "quarantine", give_entry, to, err);
    return rc == WEIR_AGAIN ? WEIR_OK : rc;
}

int weir_image_quarantined(weir_image_t *image,
                           int (*each)(void *context, const weir_quarantined_t *entry),
                           void *context, weir_error_t *err)
{
    MDB_txn *txn = NULL;
    entries_t to = { .each = each, .context = context };
    int code = mdb_txn_begin(image->env, NULL, MDB_RDONLY, &txn);
    if (code != 0)
        return lmdb_error(code, err, "begin");
    int rc = walk(txn, image->dbi[DB_QUARANTINE], &to, err);
    mdb_txn_abort(txn);
    image->quarantine_read += to.read;
    return rc;
}

/* What was accepted after all, in the same batch, is not there. */
static int give_news(const weir_image_t *image, MDB_txn *txn, entries_t *to, weir_error_t *err)
{
    int rc = WEIR_OK;
    for (size_t at = 0; rc == WEIR_OK && at < image->news.len; at += ID_BYTES) {
        MDB_val key = val(image->news.data + at, ID_BYTES);
        MDB_val value;
        int code = mdb_get(txn, image->dbi[DB_QUARANTINE], &key, &value);
        if (code == 0)
            rc = give_entry(to, key, value, err);
        else if (code != MDB_NOTFOUND)
            rc = lmdb_error(code, err, "quarantine");
    }
    return rc == WEIR_AGAIN ? WEIR_OK : rc;
}

int weir_image_news(weir_image_t *image,
                    int (*each)(void *context, const weir_quarantined_t *entry), void *context,
                    uint64_t *ret_left_out, weir_error_t *err)
{
    MDB_txn *txn = NULL;
    entries_t to = { .each = each, .context = context };
    *ret_left_out = image->news_left_out;
    if (image->news.len == 0)
        return WEIR_OK;
    int code = mdb_txn_begin(image->env, NULL, MDB_RDONLY, &txn);
    if (code != 0)
        return lmdb_error(code, err, "begin");
    int rc = give_news(image, txn, &to, err);
    mdb_txn_abort(txn);
    image->quarantine_read += to.read;
    return rc;
}

uint64_t weir_image_quarantine_read(const weir_image_t *image)
{
    return image->quarantine_read;
}

int weir_reader_quarantined(weir_reader_t *reader,
                            int (*each)(void *context, const weir_quarantined_t *entry),
                            void *context, weir_error_t *err)
{
    entries_t to = { .each = each, .context = context };
    weir_assert(reader->inside);
    return walk(reader->txn, reader->dbi[DB_QUARANTINE], &to, err);
}
