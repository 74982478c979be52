/* judge.c -- is an entity good? Then it has a record, and what follows from that.
 *
 * Otherwise it is quarantined: its document is kept, and its last record serves on as
 * long as what *that* refers to is there. What waits for something, or lost something,
 * is on the pending list and is judged again at commit, when the whole batch is known;
 * so the order of rows within a batch does not matter. Of a set that comes in pages the
 * same holds for all pages together. What has expired has a document
 * and nothing else, until the control plane deletes it. */
#include "image/batch.h"

#include "base/clock.h"
#include "base/json.h"

/* -- records ----------------------------------------------------------------------------------- */

bool is_good(weir_batch_t *batch, const entity_key_t *key)
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

int drop_record(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err)
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

static int set_record(weir_batch_t *batch, const entity_key_t *key, weir_str_t record, bool unknown,
                      weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t before;
    weir_buffer_init(&before, RECORD_BYTES_MAX);
    weir_uuid_t id = entity_key_id(key);
    weir_entity_type_t type = (weir_entity_type_t)key->bytes[0];
    int rc = unknown ? WEIR_NOT_FOUND : copy_record(batch, key, &before, err);
    bool fresh = rc == WEIR_NOT_FOUND;
    if (rc != WEIR_OK && !fresh)
        return rc;
    MDB_val k = val_key(key);
    MDB_val value = val(record.data, record.len);
    int code = mdb_put(batch->txn, batch->image->dbi[DB_RECORDS], &k, &value, 0);
    if (code != 0)
        return lmdb_error(code, err, "records");
    rc = fresh ? index_record(&batch->writer, type, &id, record, true, err)
               : index_replace(&batch->writer, type, &id, weir_buffer_str(&before), record, err);
    if (rc == WEIR_OK && !unknown)
        rc = quarantine_remove(batch, key, err);
    /* Somebody may have waited for it: then it is quarantined, or on the list. */
    bool wake = fresh && (batch->state.quarantined > 0 || batch->pending.len > 0);
    return rc == WEIR_OK && wake ? links_wake(batch, key, err) : rc;
}

/* -- refused --------------------------------------------------------------------------------- */

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

/* The links of a document that is not good, with those of the record that serves. */
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
        return links_store(batch, key, &both, false, err);
    rc = drop_record(batch, key, err);
    return rc == WEIR_OK ? links_store(batch, key, document, false, err) : rc;
}

int refuse(weir_batch_t *batch, const entity_key_t *key, weir_str_t type, const weir_json_t *row,
           const links_t *document, const char *field, const char *reason, weir_error_t *err)
{
    bool serving = false;
    int rc = keep_links(batch, key, document, &serving, err);
    if (rc == WEIR_OK && !serving && key->bytes[0] == WEIR_PLUGINS)
        rc = put_guard(batch, key, row, err);
    return rc == WEIR_OK ? quarantine_put(batch, key, type, row, field, reason, serving, err) : rc;
}

/* -- good, or not --------------------------------------------------------------------------------
 */

int64_t end_ms(const weir_schema_t *schema, const weir_json_t *entity)
{
    double ttl = schema->ttl ? weir_json_get_number(entity, "ttl", 0) : 0;
    if (ttl <= 0)
        return 0;
    return ttl < (double)(INT64_MAX / 1000) ? (int64_t)ttl * 1000 : INT64_MAX;
}

/* The control plane will delete it in its own time: until then its document counts. */
static int let_expire(weir_batch_t *batch, const entity_key_t *key, const links_t *links,
                      weir_error_t *err)
{
    int rc = drop_record(batch, key, err);
    if (rc == WEIR_OK)
        rc = links_store(batch, key, links, false, err);
    return rc == WEIR_OK ? quarantine_remove(batch, key, err) : rc;
}

static int refuse_for_link(weir_batch_t *batch, const prepared_t *p, const link_t *missing,
                           weir_error_t *err)
{
    weir_error_t why = { 0 };
    char id[WEIR_UUID_TEXT + 1];
    weir_uuid_t to = entity_key_id(&missing->to);
    weir_uuid_format(&to, id);
    weir_error_set(&why, WEIR_INVALID, missing->field,
                   "refers to %s %s, which is not there or not accepted",
                   weir_schema((weir_entity_type_t)missing->to.bytes[0])->name, id);
    return refuse(batch, &p->key, weir_str(p->schema->name), p->entity, &p->links, why.field,
                  why.reason, err);
}

/* All that it refers to is there. */
static int make_record(weir_batch_t *batch, prepared_t *p, bool fresh, weir_error_t *err)
{
    int rc =
        prepare_record(&batch->image->options, batch->state.generation + batch->state.commits, p);
    if (rc == WEIR_NO_MEMORY)
        return weir_error_memory(err);
    if (rc != WEIR_OK)
        return refuse(batch, &p->key, weir_str(p->schema->name), p->entity, &p->links, p->why.field,
                      p->why.reason, err);
    for (size_t i = 0; i < p->links.count; i++)
        p->links.list[i].from = LINK_DOCUMENT | LINK_RECORD;
    rc = links_store(batch, &p->key, &p->links, fresh, err);
    return rc == WEIR_OK ? set_record(batch, &p->key, weir_buffer_str(&p->record), fresh, err) : rc;
}

int judge(weir_batch_t *batch, prepared_t *p, bool fresh, bool last, weir_error_t *err)
{
    /* The time that counts is the commit's: what is over by our clock waits for it. */
    int64_t end = end_ms(p->schema, p->entity);
    if (end > 0 && end <= (last ? batch->now_ms : weir_clock_ms()))
        return last ? let_expire(batch, &p->key, &p->links, err) : pending_add(batch, &p->key, err);
    /* In the pages of a set nobody is asked, which would be one page of the image, at random,
     * for each: with the last page all are, in order (links_check). */
    bool later = batch->has_stage && !last;
    for (size_t i = 0; i < p->links.count && !later; i++)
        if (!is_good(batch, &p->links.list[i].to))
            return last ? refuse_for_link(batch, p, &p->links.list[i], err)
                        : pending_add(batch, &p->key, err);
    return make_record(batch, p, fresh, err);
}

/* -- again
 * ------------------------------------------------------------------------------------------ */

static int parse_document(weir_batch_t *batch, const entity_key_t *key, weir_json_t **ret,
                          weir_error_t *err)
{
    weir_str_t text = { NULL, 0 };
    int rc = read_document(batch, key, &text, err);
    if (rc == WEIR_OK)
        rc = weir_json_parse(text, ret, err);
    return rc == WEIR_INVALID ? weir_error_within(err, WEIR_CORRUPT, "a document of the image")
                              : rc;
}

/* A row of a type that was unknown when it came: this may be another version. */
static int judge_unknown(weir_batch_t *batch, const entity_key_t *key, const weir_json_t *row,
                         weir_error_t *err)
{
    told_t told;
    links_t nothing = { .count = 0 };
    int rc = told_load(batch, key, &told, err);
    if (rc != WEIR_OK)
        return rc;
    WEIR_AUTO(free) char *name = weir_strdup(told.type);
    if (name == NULL)
        return weir_error_memory(err);
    told.type = weir_str(name);
    if (weir_schema_named(told.type) == NULL)
        return refuse(batch, key, told.type, row, &nothing, "", UNKNOWN_TYPE, err);
    rc = remove_entity(batch, key, err);
    weir_batch_row_t put = { .type = told.type,
                             .has_id = true,
                             .id = told.id,
                             .has_hash = told.has_hash,
                             .hash = told.hash,
                             .row = row };
    return rc == WEIR_OK ? put_row(batch, &put, err) : rc;
}

static int judge_known(weir_batch_t *batch, prepared_t *p, weir_error_t *err)
{
    links_t nothing = { .count = 0 };
    int rc = prepare_entity(p, err);
    if (rc == WEIR_INVALID)
        return refuse(batch, &p->key, weir_str(p->schema->name), p->row, &nothing, p->why.field,
                      p->why.reason, err);
    return rc == WEIR_OK ? judge(batch, p, false, true, err) : rc;
}

/* What waited, or lost what it refers to. */
static int judge_again(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *row = NULL;
    int rc = parse_document(batch, key, &row, err);
    if (rc != WEIR_OK)
        return rc == WEIR_NOT_FOUND ? WEIR_OK : rc; /* gone meanwhile */
    const weir_schema_t *schema = weir_schema((weir_entity_type_t)key->bytes[0]);
    if (schema == NULL)
        return judge_unknown(batch, key, row, err);
    prepared_clear(&batch->row);
    batch->row.schema = schema;
    batch->row.key = *key;
    batch->row.row = row;
    rc = judge_known(batch, &batch->row, err);
    batch->row.row = NULL;
    return rc;
}

int judge_pending(weir_batch_t *batch, weir_error_t *err)
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
