/* heal.c -- makes one bucket exactly what the control plane says (docs/sync-v1.md, 7),
 * and remembers what was different, by name. */
#include "image/batch.h"

#include "base/json.h"

#include <stdio.h>

enum { NAME_SHOWN_MAX = 64, SECRET_SHOWN = 4 };

int bucket_check(const weir_batch_t *batch, const weir_uuid_t *id, weir_error_t *err)
{
    char text[WEIR_UUID_TEXT + 1];
    if (!batch->in_bucket || weir_digest_bucket(id) == batch->bucket)
        return WEIR_OK;
    weir_uuid_format(id, text);
    return weir_error_set(err, WEIR_INVALID, "id", "%s is not of bucket %u", text, batch->bucket);
}

int weir_batch_bucket_begin(weir_batch_t *batch, unsigned bucket, weir_error_t *err)
{
    weir_assert(!batch->full && !batch->in_bucket);
    if (bucket >= WEIR_DIGEST_BUCKETS)
        return weir_error_set(err, WEIR_INVALID, "bucket", "%u, but there are %d", bucket,
                              WEIR_DIGEST_BUCKETS);
    seen_clear(batch);
    weir_buffer_clear(&batch->differences);
    batch->bucket = bucket;
    batch->in_bucket = true;
    return WEIR_OK;
}

/* What people call an entity. Of a key, which may be a secret, only how it begins. */
static weir_str_t name_of(weir_str_t type, const weir_json_t *row, char out[NAME_SHOWN_MAX])
{
    static const char *const names[] = { "name", "username", "key" };
    for (size_t i = 0; i < WEIR_COUNT(names); i++) {
        weir_str_t name = weir_json_get_string(row, names[i], (weir_str_t){ NULL, 0 });
        if (name.data == NULL)
            continue;
        bool secret = strcmp(names[i], "key") == 0 && !weir_str_is(type, "parameters");
        size_t max = secret ? SECRET_SHOWN : NAME_SHOWN_MAX - 4;
        if (name.len <= max && !secret)
            snprintf(out, NAME_SHOWN_MAX, "%.*s", WEIR_STR_ARG(name));
        else
            snprintf(out, NAME_SHOWN_MAX, "%.*s...", (int)(name.len < max ? name.len : max),
                     name.data);
        return weir_str(out);
    }
    return WEIR_STR("");
}

int bucket_note(weir_batch_t *batch, weir_difference_t what, const told_t *told,
                const weir_json_t *row, weir_error_t *err)
{
    char name[NAME_SHOWN_MAX];
    weir_buffer_t *out = &batch->differences;
    put_u8(out, (uint8_t)what);
    put_str(out, told->type);
    put_uuid(out, &told->id);
    put_str(out, name_of(told->type, row, name));
    return out->failed == WEIR_OK ? WEIR_OK : weir_error_memory(err);
}

/* Adds the keys of one type in the bucket that were not put to `out`. */
static int find_extra(weir_batch_t *batch, uint8_t type, weir_buffer_t *out, weir_error_t *err)
{
    MDB_cursor *cursor = NULL;
    int code = mdb_cursor_open(batch->txn, batch->image->dbi[DB_DOCUMENTS], &cursor);
    if (code != 0)
        return lmdb_error(code, err, "documents");
    uint8_t first[3] = { type, (uint8_t)(batch->bucket >> 4), (uint8_t)(batch->bucket << 4) };
    MDB_val key = val(first, sizeof(first));
    MDB_val value;
    int rc = WEIR_OK;
    for (code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
         code == 0 && rc == WEIR_OK && key.mv_size == ID_BYTES;
         code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
        entity_key_t k;
        memcpy(k.bytes, key.mv_data, ID_BYTES);
        weir_uuid_t id = entity_key_id(&k);
        if (k.bytes[0] != type || weir_digest_bucket(&id) != batch->bucket)
            break;
        if (!seen_has(batch, &k) &&
            weir_buffer_append(out, (weir_str_t){ (const char *)k.bytes, ID_BYTES }) != WEIR_OK)
            rc = weir_error_memory(err);
    }
    mdb_cursor_close(cursor);
    return code == 0 || code == MDB_NOTFOUND ? rc : lmdb_error(code, err, "documents");
}

static int remove_extra(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err)
{
    told_t told;
    weir_str_t text = { NULL, 0 };
    WEIR_AUTO(json) weir_json_t *row = NULL;
    int rc = read_document(batch, key, &text, err);
    if (rc == WEIR_OK && weir_json_parse(text, &row, NULL) == WEIR_NO_MEMORY)
        rc = weir_error_memory(err); /* one that is damaged has no name, and goes */
    if (rc == WEIR_OK)
        rc = told_load(batch, key, &told, err);
    if (rc == WEIR_OK)
        rc = bucket_note(batch, WEIR_DIFFERENCE_EXTRA, &told, row, err);
    return rc == WEIR_OK ? remove_entity(batch, key, err) : rc;
}

static int remove_all_extra(weir_batch_t *batch, weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t gone;
    weir_buffer_init(&gone, SIZE_MAX / 2);
    int rc = WEIR_OK;
    for (uint8_t type = WEIR_ENTITY_NONE; rc == WEIR_OK && type < WEIR_ENTITY_TYPES; type++)
        rc = find_extra(batch, type, &gone, err);
    for (size_t at = 0; rc == WEIR_OK && at < gone.len; at += ID_BYTES) {
        entity_key_t key;
        memcpy(key.bytes, gone.data + at, ID_BYTES);
        rc = remove_extra(batch, &key, err);
    }
    return rc;
}

int weir_batch_bucket_end(weir_batch_t *batch,
                          void (*found)(void *context, weir_difference_t what, weir_str_t type,
                                        const weir_uuid_t *id, weir_str_t name),
                          void *context, weir_error_t *err)
{
    weir_assert(batch->in_bucket);
    int rc = remove_all_extra(batch, err);
    batch->in_bucket = false;
    if (rc != WEIR_OK)
        return rc;
    record_in_t in = { batch->differences.data, batch->differences.len, false };
    while (in.left > 0 && !in.bad) {
        weir_difference_t what = (weir_difference_t)get_u8(&in);
        weir_str_t type = get_str(&in);
        weir_uuid_t id = get_uuid(&in);
        weir_str_t name = get_str(&in);
        found(context, what, type, &id, name);
    }
    return WEIR_OK;
}
