/* batch.c -- applies rows in one LMDB transaction: documents and sums here, records and
 * what follows from them in judge.c.
 *
 * The state, with the version, is written last: workers key their caches by the
 * version of a record, and a record by the number of its commit. */
#include "image/batch.h"
#include "image/touched.h"

#include "base/json.h"

#include <errno.h>
#include <sys/statvfs.h>

/* -- begin, abort ------------------------------------------------------------------------ */

int weir_batch_begin(weir_image_t *image, bool full, uint64_t version, weir_batch_t **ret,
                     weir_error_t *err)
{
    weir_batch_t *batch = weir_calloc(1, sizeof(*batch));
    if (batch == NULL)
        return weir_error_memory(err);
    batch->image = image;
    batch->full = full;
    batch->version = version;
    weir_buffer_init(&batch->pending, SIZE_MAX / 2);
    prepared_init(&batch->row);
    weir_buffer_init(&batch->differences, SIZE_MAX / 2);
    weir_buffer_init(&batch->news, SIZE_MAX / 2);
    int code = mdb_txn_begin(image->env, NULL, 0, &batch->txn);
    int rc = code == 0 ? load_state(image, batch->txn, &batch->state, err)
                       : lmdb_error(code, err, "begin");
    if (rc == WEIR_NOT_FOUND)
        rc = weir_error_set(err, WEIR_CORRUPT, NULL, "the image has lost its state");
    if (rc != WEIR_OK) {
        weir_batch_abort(batch);
        return rc;
    }
    batch->state.commits++;
    batch->writer = (writer_t){ .txn = batch->txn,
                                .dbi = image->dbi,
                                .state = &batch->state,
                                .touched = &batch->touched,
                                .documented_order = image->options.documented_order };
    *ret = batch;
    return WEIR_OK;
}

void weir_batch_abort(weir_batch_t *batch)
{
    if (batch == NULL)
        return;
    if (batch->txn != NULL)
        mdb_txn_abort(batch->txn);
    sums_forget(batch);
    weir_buffer_release(&batch->pending);
    prepared_release(&batch->row);
    weir_buffer_release(&batch->differences);
    weir_buffer_release(&batch->news);
    weir_free(batch->seen);
    weir_free(batch);
}

int read_document(weir_batch_t *batch, const entity_key_t *key, weir_str_t *ret, weir_error_t *err)
{
    MDB_val k = val_key(key);
    MDB_val value;
    int code = mdb_get(batch->txn, batch->image->dbi[DB_DOCUMENTS], &k, &value);
    if (code != 0)
        return lmdb_error(code, err, "documents");
    *ret = val_str(value);
    return WEIR_OK;
}

/* -- put -----------------------------------------------------------------------------------------
 */

/* What a put found under its key. */
typedef enum before { BEFORE_NOTHING, BEFORE_OTHER, BEFORE_SAME } before_t;

static int compare_stored(weir_batch_t *batch, const entity_key_t *key, const told_t *told,
                          weir_str_t text, told_t *ret_told, before_t *ret, weir_error_t *err)
{
    weir_str_t stored = { NULL, 0 };
    *ret_told = (told_t){ 0 };
    int rc = read_document(batch, key, &stored, err);
    *ret = rc == WEIR_NOT_FOUND ? BEFORE_NOTHING : BEFORE_OTHER;
    if (rc != WEIR_OK)
        return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
    rc = told_load(batch, key, ret_told, err);
    if (rc != WEIR_OK)
        return rc;
    if (weir_str_equal(stored, text) && ret_told->has_hash == told->has_hash &&
        (!told->has_hash || weir_digest_equal(&ret_told->hash, &told->hash))) {
        *ret = BEFORE_SAME;
        return WEIR_OK;
    }
    return sums_discount(batch, ret_told, stored, err);
}

/* Stores the document and counts it. */
static int put_document(weir_batch_t *batch, prepared_t *p, before_t *ret, weir_error_t *err)
{
    told_t before;
    weir_str_t text = weir_buffer_str(&p->text);
    int rc = compare_stored(batch, &p->key, &p->told, text, &before, ret, err);
    if (rc != WEIR_OK || *ret == BEFORE_SAME)
        return rc;
    batch->state.entities += *ret == BEFORE_NOTHING;
    note_change(&batch->state, p->key.bytes[0]);
    MDB_val k = val_key(&p->key);
    MDB_val value = val(text.data, text.len);
    int code = mdb_put(batch->txn, batch->image->dbi[DB_DOCUMENTS], &k, &value, 0);
    if (code != 0)
        return lmdb_error(code, err, "documents");
    rc = told_store(batch, &p->key, &p->told, before.stored, err);
    if (rc != WEIR_OK || batch->state.has_digest == 0)
        return rc;
    rc = prepare_hash(batch->image->digester, p, err);
    if (rc == WEIR_OK)
        sums_change(batch, &p->told.id, &p->hash, true);
    return rc;
}

static void note_workspace(weir_batch_t *batch, const weir_json_t *entity)
{
    weir_str_t id = weir_json_get_string(entity, "id", WEIR_STR(""));
    if (weir_str_is(weir_json_get_string(entity, "name", WEIR_STR("")), "default"))
        weir_uuid_parse(id, &batch->state.workspace);
}

static int judge_row(weir_batch_t *batch, prepared_t *p, before_t before, weir_error_t *err)
{
    links_t nothing = { .count = 0 };
    if (before == BEFORE_SAME && is_good(batch, &p->key) && !quarantine_has(batch, &p->key))
        return WEIR_OK;
    int rc = prepare_entity(p, err);
    if (rc == WEIR_INVALID)
        return refuse(batch, &p->key, weir_str(p->schema->name), p->row, &nothing, p->why.field,
                      p->why.reason, err);
    if (rc != WEIR_OK)
        return rc;
    if (p->schema->type == WEIR_WORKSPACES)
        note_workspace(batch, p->entity);
    return judge(batch, p, before == BEFORE_NOTHING, false, err);
}

int put_prepared(weir_batch_t *batch, prepared_t *p, weir_error_t *err)
{
    links_t nothing = { .count = 0 };
    before_t before = BEFORE_NOTHING;
    batch->rows++;
    if (batch->image->filling)
        cool_sometimes(batch->image, batch->rows);
    int rc = bucket_check(batch, &p->told.id, err);
    if (rc == WEIR_OK)
        rc = put_document(batch, p, &before, err);
    if (rc == WEIR_OK && (batch->full || batch->in_bucket))
        rc = seen_add(batch, &p->key, err);
    if (rc == WEIR_OK && batch->in_bucket && before != BEFORE_SAME)
        rc = bucket_note(
            batch, before == BEFORE_NOTHING ? WEIR_DIFFERENCE_MISSING : WEIR_DIFFERENCE_DOCUMENT,
            &p->told, p->row, err);
    if (rc != WEIR_OK)
        return rc;
    return p->schema != NULL
               ? judge_row(batch, p, before, err)
               : refuse(batch, &p->key, p->told.type, p->row, &nothing, "", UNKNOWN_TYPE, err);
}

int put_row(weir_batch_t *batch, const weir_batch_row_t *row, weir_error_t *err)
{
    prepared_clear(&batch->row);
    int rc = prepare_document(row, &batch->row, err);
    return rc == WEIR_OK ? put_prepared(batch, &batch->row, err) : rc;
}

int weir_batch_put(weir_batch_t *batch, weir_str_t type, const weir_json_t *row, weir_error_t *err)
{
    weir_batch_row_t put = { .type = type, .row = row };
    return put_row(batch, &put, err);
}

int weir_batch_put_told(weir_batch_t *batch, weir_str_t type, const weir_uuid_t *id,
                        const weir_json_t *row, const weir_digest_t *told, weir_error_t *err)
{
    weir_batch_row_t put = { .type = type, .has_id = true, .id = *id, .row = row };
    put.has_hash = told != NULL;
    if (told != NULL)
        put.hash = *told;
    return put_row(batch, &put, err);
}

/* -- delete --------------------------------------------------------------------------------------
 */

/* Takes the document out of the sums. */
static int discount(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err)
{
    told_t told;
    weir_str_t text = { NULL, 0 };
    if (batch->state.has_digest == 0)
        return WEIR_OK;
    int rc = read_document(batch, key, &text, err);
    if (rc == WEIR_OK)
        rc = told_load(batch, key, &told, err);
    return rc == WEIR_OK ? sums_discount(batch, &told, text, err) : rc;
}

int remove_entity(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err)
{
    batch->rows++;
    int rc = discount(batch, key, err);
    if (rc != WEIR_OK)
        return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
    MDB_val k = val_key(key);
    int code = mdb_del(batch->txn, batch->image->dbi[DB_DOCUMENTS], &k, NULL);
    if (code == MDB_NOTFOUND)
        return WEIR_OK;
    if (code != 0)
        return lmdb_error(code, err, "documents");
    batch->state.entities--;
    note_change(&batch->state, key->bytes[0]);
    links_t nothing = { .count = 0 };
    rc = told_remove(batch, key, err);
    if (rc == WEIR_OK)
        rc = links_store(batch, key, &nothing, false, err);
    if (rc == WEIR_OK)
        rc = quarantine_remove(batch, key, err);
    return rc == WEIR_OK ? drop_record(batch, key, err) : rc;
}

static int remove_named(weir_batch_t *batch, weir_str_t type, const weir_uuid_t *id,
                        const weir_json_t *key_json, weir_error_t *err)
{
    told_t told;
    entity_key_t key = identify(weir_schema_named(type), type, id, key_json, &told);
    return remove_entity(batch, &key, err);
}

int weir_batch_delete(weir_batch_t *batch, weir_str_t type, const weir_json_t *key_json,
                      weir_error_t *err)
{
    return remove_named(batch, type, NULL, key_json, err);
}

int weir_batch_delete_id(weir_batch_t *batch, weir_str_t type, const weir_uuid_t *id,
                         weir_error_t *err)
{
    return remove_named(batch, type, id, NULL, err);
}

/* -- commit --------------------------------------------------------------------------------------
 */

typedef struct unseen {
    weir_batch_t *batch;
    weir_buffer_t gone; /* entity keys */
} unseen_t;

static int note_unseen(void *context, MDB_val key, MDB_val value, weir_error_t *err)
{
    unseen_t *unseen = context;
    entity_key_t k;
    (void)value;
    if (key.mv_size != ID_BYTES)
        return WEIR_OK;
    memcpy(k.bytes, key.mv_data, ID_BYTES);
    if (seen_has(unseen->batch, &k) ||
        weir_buffer_append(&unseen->gone, (weir_str_t){ (const char *)k.bytes, ID_BYTES }) ==
            WEIR_OK)
        return WEIR_OK;
    return weir_error_memory(err);
}

/* Full batches: whatever was not put goes. */
static int remove_unseen(weir_batch_t *batch, weir_error_t *err)
{
    unseen_t unseen = { .batch = batch };
    weir_buffer_init(&unseen.gone, SIZE_MAX / 2);
    int rc = each_record(batch->txn, batch->image->dbi[DB_DOCUMENTS], "documents", note_unseen,
                         &unseen, err);
    for (size_t at = 0; rc == WEIR_OK && at < unseen.gone.len; at += ID_BYTES) {
        entity_key_t k;
        memcpy(k.bytes, unseen.gone.data + at, ID_BYTES);
        rc = remove_entity(batch, &k, err);
    }
    weir_buffer_release(&unseen.gone);
    return rc;
}

enum { SPACE_BYTES_LOW = 1024 * 1024 };

/* LMDB calls a write that came up short EIO, which most often is a full disk. */
static int commit_error(const weir_image_t *image, int code, weir_error_t *err)
{
    struct statvfs disk;
    if (code == EIO && statvfs(image->path, &disk) == 0 &&
        (uint64_t)disk.f_bavail * disk.f_frsize < SPACE_BYTES_LOW)
        code = ENOSPC;
    return lmdb_error(code, err, "commit");
}

static int commit_state(weir_batch_t *batch, weir_error_t *err)
{
    weir_image_t *image = batch->image;
    int rc = WEIR_OK;
    if (batch->has_stage)
        rc = store_note(image, batch->txn, NOTE_STAGE, &batch->stage, sizeof(batch->stage), err);
    if (rc == WEIR_OK)
        rc = touched_store(&batch->writer, err);
    if (rc == WEIR_OK)
        rc = store_note(image, batch->txn, "state", &batch->state, sizeof(batch->state), err);
    if (rc == WEIR_OK)
        rc = unsynced_before_commit(image, batch->rows, err);
    if (rc != WEIR_OK)
        return rc;
    int code = mdb_txn_commit(batch->txn);
    batch->txn = NULL; /* gone, also when that failed */
    if (code != 0)
        return commit_error(image, code, err);
    weir_buffer_t before = image->news;
    image->news = batch->news;
    image->news_left_out = batch->news_left_out;
    batch->news = before;
    return WEIR_OK;
}

int batch_finish(weir_batch_t *batch, int64_t now_ms, int64_t committed_ms, weir_error_t *err)
{
    weir_assert(!batch->in_bucket);
    batch->now_ms = now_ms;
    int rc = batch->full ? remove_unseen(batch, err) : WEIR_OK;
    if (rc == WEIR_OK && batch->has_stage && batch->stage.pages_done)
        rc = links_check(batch, err);
    if (rc == WEIR_OK)
        rc = judge_pending(batch, err);
    if (rc == WEIR_OK)
        rc = rank_classes(&batch->writer, err);
    if (rc == WEIR_OK)
        rc = sums_write(batch, err);
    if (rc == WEIR_OK && batch->code != 0)
        rc = lmdb_error(batch->code, err, "records");
    if (rc == WEIR_OK) {
        batch->state.version = batch->version;
        batch->state.complete |= batch->full;
        batch->state.committed_ms = committed_ms;
        rc = commit_state(batch, err);
    }
    weir_batch_abort(batch);
    return rc;
}

int weir_batch_commit(weir_batch_t *batch, int64_t now_ms, weir_error_t *err)
{
    return batch_finish(batch, now_ms, now_ms, err);
}
