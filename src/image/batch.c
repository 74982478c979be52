/* batch.c -- applies rows in one LMDB transaction.
 *
 * An entity is good when the model accepts it and all that it refers to is good;
 * then it has a record, and its index entries. Otherwise it is quarantined: its
 * document is kept, and its last record serves on as long as what *that* refers to
 * is there. What waits for something, or lost something, is on the pending list
 * and is judged at commit, when the whole batch is known; so the order of rows
 * within a batch does not matter.
 *
 * The state, with the version, is written last: workers key their caches by the
 * version of a record, and a record by the number of its commit. */
#include "image/batch.h"
#include "image/router.h"

#include "base/clock.h"
#include "base/json.h"

#include <errno.h>
#include <sys/statvfs.h>

enum { DOCUMENT_BYTES_MAX = 64 * 1024 * 1024 };

/* -- begin, abort ------------------------------------------------------------------------ */

static int load_state(weir_batch_t *batch, weir_error_t *err)
{
    MDB_val key = val("state", 5);
    MDB_val value;
    int code = mdb_get(batch->txn, batch->image->dbi[DB_STATE], &key, &value);
    if (code != 0)
        return lmdb_error(code, err, "state");
    if (value.mv_size != sizeof(batch->state))
        return weir_error_set(err, WEIR_CORRUPT, NULL, "the image's state is damaged");
    memcpy(&batch->state, value.mv_data, sizeof(batch->state));
    return WEIR_OK;
}

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
    int code = mdb_txn_begin(image->env, NULL, 0, &batch->txn);
    int rc = code == 0 ? load_state(batch, err) : lmdb_error(code, err, "begin");
    if (rc != WEIR_OK) {
        weir_batch_abort(batch);
        return rc;
    }
    batch->state.commits++;
    batch->writer = (writer_t){ .txn = batch->txn,
                                .dbi = image->dbi,
                                .state = &batch->state,
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
    weir_buffer_release(&batch->pending);
    weir_free(batch->seen);
    weir_free(batch);
}

/* -- records ----------------------------------------------------------------------------------- */

static bool is_good(weir_batch_t *batch, const entity_key_t *key)
{
    MDB_val k = val_key(key);
    MDB_val value;
    int code = mdb_get(batch->txn, batch->image->dbi[DB_RECORDS], &k, &value);
    if (code != 0 && code != MDB_NOTFOUND)
        batch->code = code; /* no answer: the commit will fail, not the entity */
    return code == 0;
}

/* A copy of the record: what LMDB hands out in a write transaction does not
 * survive the next write. WEIR_NOT_FOUND if there is none. */
static int copy_record(weir_batch_t *batch, const entity_key_t *key, weir_buffer_t *ret,
                       weir_error_t *err)
{
    MDB_val k = val_key(key);
    MDB_val value;
    int code = mdb_get(batch->txn, batch->image->dbi[DB_RECORDS], &k, &value);
    if (code != 0)
        return lmdb_error(code, err, "records");
    return weir_buffer_append(ret, val_str(value)) == WEIR_OK ? WEIR_OK : weir_error_memory(err);
}

static int drop_record(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t before;
    weir_buffer_init(&before, RECORD_BYTES_MAX);
    int rc = copy_record(batch, key, &before, err);
    if (rc == WEIR_NOT_FOUND)
        return WEIR_OK;
    weir_uuid_t id = entity_key_id(key);
    weir_entity_type_t type = (weir_entity_type_t)key->bytes[0];
    if (rc == WEIR_OK)
        rc = index_record(&batch->writer, type, &id, weir_buffer_str(&before), false, err);
    if (rc != WEIR_OK)
        return rc;
    MDB_val k = val_key(key);
    int code = mdb_del(batch->txn, batch->image->dbi[DB_RECORDS], &k, NULL);
    return code == 0 ? links_wake(batch, key, err) : lmdb_error(code, err, "records");
}

static int set_record(weir_batch_t *batch, const entity_key_t *key, weir_str_t record,
                      weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t before;
    weir_buffer_init(&before, RECORD_BYTES_MAX);
    weir_uuid_t id = entity_key_id(key);
    weir_entity_type_t type = (weir_entity_type_t)key->bytes[0];
    int rc = copy_record(batch, key, &before, err);
    bool fresh = rc == WEIR_NOT_FOUND;
    if (rc == WEIR_OK)
        rc = index_record(&batch->writer, type, &id, weir_buffer_str(&before), false, err);
    if (rc != WEIR_OK && !fresh)
        return rc;
    MDB_val k = val_key(key);
    MDB_val value = val(record.data, record.len);
    int code = mdb_put(batch->txn, batch->image->dbi[DB_RECORDS], &k, &value, 0);
    if (code != 0)
        return lmdb_error(code, err, "records");
    rc = index_record(&batch->writer, type, &id, record, true, err);
    if (rc == WEIR_OK)
        rc = quarantine_remove(batch, key, err);
    /* Somebody may have waited for it. */
    return rc == WEIR_OK && fresh ? links_wake(batch, key, err) : rc;
}

/* -- judging one entity
 * ---------------------------------------------------------------------------- */

/* The links of a document that is not good, with those of the record that serves. */
/* A plugin's guard is a record, too, but nothing that serves. */
static bool is_guard(weir_batch_t *batch, const entity_key_t *key)
{
    MDB_val k = val_key(key);
    MDB_val value;
    plugin_view_t view;
    return key->bytes[0] == WEIR_PLUGINS &&
           mdb_get(batch->txn, batch->image->dbi[DB_RECORDS], &k, &value) == 0 &&
           view_plugin(val_str(value), &view) && view.priority == GUARD_PRIORITY;
}

static int put_guard(weir_batch_t *batch, const entity_key_t *key, const weir_json_t *row,
                     weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t record;
    weir_buffer_init(&record, RECORD_BYTES_MAX);
    if (!guard_record(row, batch->state.commits, &record))
        return record.failed == WEIR_NO_MEMORY ? weir_error_memory(err) : WEIR_OK;
    MDB_val k = val_key(key);
    MDB_val value = val(record.data, record.len);
    weir_uuid_t id = entity_key_id(key);
    int code = mdb_put(batch->txn, batch->image->dbi[DB_RECORDS], &k, &value, 0);
    if (code != 0)
        return lmdb_error(code, err, "records");
    return index_record(&batch->writer, WEIR_PLUGINS, &id, weir_buffer_str(&record), true, err);
}

static int keep_links(weir_batch_t *batch, const entity_key_t *key, const links_t *document,
                      bool *ret_serving, weir_error_t *err)
{
    links_t stored;
    links_t both = *document;
    int rc = links_load(batch, key, &stored, err);
    if (rc != WEIR_OK)
        return rc;
    bool serving = is_good(batch, key) && !is_guard(batch, key);
    for (size_t i = 0; i < stored.count; i++) {
        if (!(stored.list[i].from & LINK_RECORD))
            continue;
        serving = serving && is_good(batch, &stored.list[i].to);
        size_t at = 0;
        while (at < both.count &&
               memcmp(both.list[at].to.bytes, stored.list[i].to.bytes, ID_BYTES) != 0)
            at++;
        if (at == LINKS_MAX)
            continue;
        if (at == both.count)
            both.list[both.count++] = (link_t){ .to = stored.list[i].to };
        both.list[at].from |= LINK_RECORD;
    }
    *ret_serving = serving;
    if (serving)
        return links_store(batch, key, &both, err);
    rc = drop_record(batch, key, err);
    return rc == WEIR_OK ? links_store(batch, key, document, err) : rc;
}

static int refuse(weir_batch_t *batch, const entity_key_t *key, weir_str_t type,
                  const weir_json_t *row, const links_t *document, const char *field,
                  const char *reason, weir_error_t *err)
{
    bool serving = false;
    int rc = keep_links(batch, key, document, &serving, err);
    if (rc == WEIR_OK && !serving && key->bytes[0] == WEIR_PLUGINS)
        rc = put_guard(batch, key, row, err);
    return rc == WEIR_OK ? quarantine_put(batch, key, type, row, field, reason, serving, err) : rc;
}

/* The first field and text of the errors that the model found. */
static void first_problem(const weir_problem_t *problem, weir_error_t *ret)
{
    const weir_json_t *first = weir_json_first(problem->fields);
    const char *field = first != NULL && weir_json_name(first) != NULL ? weir_json_name(first) : "";
    weir_error_set(ret, WEIR_INVALID, field, "%.*s",
                   WEIR_STR_ARG(weir_buffer_str(&problem->message)));
}

/* `entity` is valid: is all there that it refers to, and does it compile? With
 * `last` false, what is missing may still come. */
static int judge(weir_batch_t *batch, const weir_schema_t *schema, const entity_key_t *key,
                 const weir_json_t *entity, bool last, weir_error_t *err)
{
    links_t links;
    weir_error_t why = { 0 };
    int rc = links_of(schema, entity, &links, err);
    if (rc != WEIR_OK)
        return rc;
    for (size_t i = 0; i < links.count; i++) {
        if (is_good(batch, &links.list[i].to))
            continue;
        if (!last)
            return pending_add(batch, key, err);
        char id[WEIR_UUID_TEXT + 1];
        weir_uuid_t to = entity_key_id(&links.list[i].to);
        weir_uuid_format(&to, id);
        weir_error_set(&why, WEIR_INVALID, links.list[i].field,
                       "refers to %s %s, which is not there or not accepted",
                       weir_schema((weir_entity_type_t)links.list[i].to.bytes[0])->name, id);
        return refuse(batch, key, weir_str(schema->name), entity, &links, why.field, why.reason,
                      err);
    }
    WEIR_AUTO(buffer) weir_buffer_t record;
    weir_buffer_init(&record, RECORD_BYTES_MAX);
    rc = compile_record(&batch->image->options, schema->type, entity,
                        batch->state.generation + batch->state.commits, &record, &why);
    if (rc == WEIR_NO_MEMORY)
        return weir_error_memory(err);
    if (rc != WEIR_OK)
        return refuse(batch, key, weir_str(schema->name), entity, &links, why.field, why.reason,
                      err);
    for (size_t i = 0; i < links.count; i++)
        links.list[i].from = LINK_DOCUMENT | LINK_RECORD;
    rc = links_store(batch, key, &links, err);
    return rc == WEIR_OK ? set_record(batch, key, weir_buffer_str(&record), err) : rc;
}

/* -- put -----------------------------------------------------------------------------------------
 */

/* Key of a row whose type, or whose id, is unknown here. */
entity_key_t odd_key(weir_entity_type_t type, weir_str_t type_name, const weir_json_t *row)
{
    static const weir_uuid_t space = { { 0x51, 0x0b, 0x5e, 0x11, 0x9d, 0x4a, 0x4c, 0x7e, 0x8b, 0x02,
                                         0x43, 0xfa, 0x68, 0x11, 0x0c, 0x3d } };
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, DOCUMENT_BYTES_MAX);
    weir_buffer_append(&text, type_name);
    weir_buffer_byte(&text, ':');
    weir_str_t id = weir_json_get_string(row, "id", (weir_str_t){ NULL, 0 });
    if (id.data != NULL)
        weir_buffer_append(&text, id);
    else
        weir_json_print(row, &text);
    weir_uuid_t named;
    weir_uuid_named(&space, weir_buffer_str(&text), &named);
    return entity_key(type, &named);
}

/* Stores the document; *ret_same if that is what was there. */
static int put_document(weir_batch_t *batch, const entity_key_t *key, const weir_json_t *row,
                        bool *ret_same, weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, DOCUMENT_BYTES_MAX);
    if (weir_json_print(row, &text) != WEIR_OK)
        return weir_error_set(err, text.failed, NULL, "a document does not fit into %d bytes",
                              DOCUMENT_BYTES_MAX);
    MDB_dbi dbi = batch->image->dbi[DB_DOCUMENTS];
    MDB_val k = val_key(key);
    MDB_val before;
    int code = mdb_get(batch->txn, dbi, &k, &before);
    if (code != 0 && code != MDB_NOTFOUND)
        return lmdb_error(code, err, "documents");
    *ret_same = code == 0 && weir_str_equal(val_str(before), weir_buffer_str(&text));
    if (*ret_same)
        return WEIR_OK;
    batch->state.entities += code == MDB_NOTFOUND;
    MDB_val value = val(text.data, text.len);
    code = mdb_put(batch->txn, dbi, &k, &value, 0);
    return code == 0 ? WEIR_OK : lmdb_error(code, err, "documents");
}

static int put_odd(weir_batch_t *batch, const entity_key_t *key, weir_str_t type,
                   const weir_json_t *row, const char *field, const char *reason, weir_error_t *err)
{
    bool same = false;
    links_t nothing = { .count = 0 };
    int rc = put_document(batch, key, row, &same, err);
    if (rc == WEIR_OK && batch->full)
        rc = seen_add(batch, key, err);
    return rc == WEIR_OK ? refuse(batch, key, type, row, &nothing, field, reason, err) : rc;
}

static void note_workspace(weir_batch_t *batch, const weir_json_t *entity)
{
    weir_str_t id = weir_json_get_string(entity, "id", WEIR_STR(""));
    if (weir_str_is(weir_json_get_string(entity, "name", WEIR_STR("")), "default"))
        weir_uuid_parse(id, &batch->state.workspace);
}

int weir_batch_put(weir_batch_t *batch, weir_str_t type, const weir_json_t *row, weir_error_t *err)
{
    const weir_schema_t *schema = weir_schema_named(type);
    entity_key_t key;
    if (schema == NULL) {
        key = odd_key(WEIR_ENTITY_NONE, type, row);
        return put_odd(batch, &key, type, row, "", "this data plane knows no such type of entity",
                       err);
    }
    weir_uuid_t id;
    if (weir_json_kind(row) != WEIR_JSON_OBJECT || weir_entity_id(schema, row, &id) != WEIR_OK) {
        key = odd_key(schema->type, type, row);
        return put_odd(batch, &key, type, row, schema->primary_key, "missing, or no valid key",
                       err);
    }
    key = entity_key(schema->type, &id);
    weir_problem_t problem;
    weir_problem_init(&problem);
    WEIR_AUTO(json) weir_json_t *entity = NULL;
    double now = (double)weir_clock_ms() / 1000;
    int rc = weir_model_accept(schema, row, now, &entity, &problem);
    if (rc == WEIR_INVALID) {
        weir_error_t why = { 0 };
        first_problem(&problem, &why);
        weir_problem_release(&problem);
        return put_odd(batch, &key, type, row, why.field, why.reason, err);
    }
    weir_problem_release(&problem);
    if (rc != WEIR_OK)
        return weir_error_memory(err);
    if (schema->type == WEIR_WORKSPACES)
        note_workspace(batch, entity);
    bool same = false;
    rc = put_document(batch, &key, entity, &same, err);
    if (rc == WEIR_OK && batch->full)
        rc = seen_add(batch, &key, err);
    if (rc != WEIR_OK || (same && is_good(batch, &key) && !quarantine_has(batch, &key)))
        return rc;
    return judge(batch, schema, &key, entity, false, err);
}

/* -- delete --------------------------------------------------------------------------------------
 */

int remove_entity(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err)
{
    MDB_val k = val_key(key);
    int code = mdb_del(batch->txn, batch->image->dbi[DB_DOCUMENTS], &k, NULL);
    if (code == MDB_NOTFOUND)
        return WEIR_OK;
    if (code != 0)
        return lmdb_error(code, err, "documents");
    batch->state.entities--;
    links_t nothing = { .count = 0 };
    int rc = links_store(batch, key, &nothing, err);
    if (rc == WEIR_OK)
        rc = quarantine_remove(batch, key, err);
    return rc == WEIR_OK ? drop_record(batch, key, err) : rc;
}

int weir_batch_delete(weir_batch_t *batch, weir_str_t type, const weir_json_t *key_json,
                      weir_error_t *err)
{
    const weir_schema_t *schema = weir_schema_named(type);
    weir_uuid_t id;
    entity_key_t key;
    if (schema != NULL && weir_entity_id(schema, key_json, &id) == WEIR_OK)
        key = entity_key(schema->type, &id);
    else
        key = odd_key(schema != NULL ? schema->type : WEIR_ENTITY_NONE, type, key_json);
    return remove_entity(batch, &key, err);
}

/* -- commit --------------------------------------------------------------------------------------
 */

static int read_document(weir_batch_t *batch, const entity_key_t *key, weir_json_t **ret,
                         weir_error_t *err)
{
    MDB_val k = val_key(key);
    MDB_val value;
    int code = mdb_get(batch->txn, batch->image->dbi[DB_DOCUMENTS], &k, &value);
    if (code != 0)
        return lmdb_error(code, err, "documents");
    int rc = weir_json_parse(val_str(value), ret, err);
    return rc == WEIR_INVALID ? weir_error_within(err, WEIR_CORRUPT, "a document of the image")
                              : rc;
}

/* What waited, or lost what it refers to. */
static int judge_again(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err)
{
    const weir_schema_t *schema = weir_schema((weir_entity_type_t)key->bytes[0]);
    WEIR_AUTO(json) weir_json_t *row = NULL;
    WEIR_AUTO(json) weir_json_t *entity = NULL;
    int rc = schema != NULL ? read_document(batch, key, &row, err) : WEIR_NOT_FOUND;
    if (rc != WEIR_OK)
        return rc == WEIR_NOT_FOUND ? WEIR_OK : rc; /* gone meanwhile */
    weir_problem_t problem;
    weir_problem_init(&problem);
    rc = weir_model_accept(schema, row, (double)weir_clock_ms() / 1000, &entity, &problem);
    weir_error_t why = { 0 };
    if (rc == WEIR_INVALID)
        first_problem(&problem, &why);
    weir_problem_release(&problem);
    links_t nothing = { .count = 0 };
    if (rc == WEIR_INVALID)
        return refuse(batch, key, weir_str(schema->name), row, &nothing, why.field, why.reason,
                      err);
    return rc == WEIR_OK ? judge(batch, schema, key, entity, true, err) : weir_error_memory(err);
}

static int judge_pending(weir_batch_t *batch, weir_error_t *err)
{
    int rc = WEIR_OK;
    for (size_t at = 0; rc == WEIR_OK && at < batch->pending.len; at += ID_BYTES) {
        entity_key_t key;
        memcpy(key.bytes, batch->pending.data + at, ID_BYTES); /* the list may grow below */
        rc = judge_again(batch, &key, err);
    }
    weir_buffer_clear(&batch->pending);
    return rc;
}

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
    MDB_val key = val("state", 5);
    MDB_val value = val(&batch->state, sizeof(batch->state));
    int code = mdb_put(batch->txn, batch->image->dbi[DB_STATE], &key, &value, 0);
    if (code != 0)
        return lmdb_error(code, err, "state");
    int rc = unsynced_mark(batch->image, err);
    if (rc != WEIR_OK)
        return rc;
    code = mdb_txn_commit(batch->txn);
    batch->txn = NULL; /* gone, also when that failed */
    return code == 0 ? WEIR_OK : commit_error(batch->image, code, err);
}

int weir_batch_commit(weir_batch_t *batch, int64_t now_ms, weir_error_t *err)
{
    int rc = batch->full ? remove_unseen(batch, err) : WEIR_OK;
    if (rc == WEIR_OK)
        rc = judge_pending(batch, err);
    if (rc == WEIR_OK)
        rc = rank_classes(&batch->writer, err);
    if (rc == WEIR_OK && batch->code != 0)
        rc = lmdb_error(batch->code, err, "records");
    if (rc == WEIR_OK) {
        batch->state.version = batch->version;
        batch->state.complete |= batch->full;
        batch->state.committed_ms = now_ms;
        rc = commit_state(batch, err);
    }
    weir_batch_abort(batch);
    return rc;
}
