/* links.c -- who refers to whom, both ways, and the set of what a batch put. */
#include "image/batch.h"

static int add_link(void *context, const weir_field_t *field, const weir_schema_t *to,
                    const weir_uuid_t *id)
{
    links_t *links = context;
    if (links->count == LINKS_MAX)
        return WEIR_TOO_LARGE;
    links->list[links->count++] = (link_t){ LINK_DOCUMENT, entity_key(to->type, id), field->name };
    return WEIR_OK;
}

int links_of(const weir_schema_t *schema, const weir_json_t *entity, links_t *ret,
             weir_error_t *err)
{
    ret->count = 0;
    int rc = weir_model_references(schema, entity, add_link, ret);
    return rc == WEIR_OK ? rc : weir_error_set(err, rc, NULL, "more than %d references", LINKS_MAX);
}

int links_load(weir_batch_t *batch, const entity_key_t *key, links_t *ret, weir_error_t *err)
{
    ret->count = 0;
    MDB_val k = val_key(key);
    MDB_val value;
    int code = mdb_get(batch->txn, batch->image->dbi[DB_LINKS], &k, &value);
    if (code == MDB_NOTFOUND)
        return WEIR_OK;
    if (code != 0)
        return lmdb_error(code, err, "links");
    record_in_t in = { value.mv_data, value.mv_size, false };
    while (in.left > ID_BYTES && ret->count < LINKS_MAX) {
        link_t *link = &ret->list[ret->count++];
        link->from = get_u8(&in);
        link->field = "";
        link->to.bytes[0] = get_u8(&in);
        weir_uuid_t id = get_uuid(&in);
        memcpy(link->to.bytes + 1, id.bytes, WEIR_UUID_BYTES);
    }
    return WEIR_OK;
}

static bool has_link(const links_t *links, const entity_key_t *to)
{
    for (size_t i = 0; i < links->count; i++)
        if (memcmp(links->list[i].to.bytes, to->bytes, ID_BYTES) == 0)
            return true;
    return false;
}

static bool same_links(const links_t *a, const links_t *b)
{
    bool same = a->count == b->count;
    for (size_t i = 0; same && i < a->count; i++)
        same = a->list[i].from == b->list[i].from &&
               memcmp(a->list[i].to.bytes, b->list[i].to.bytes, ID_BYTES) == 0;
    return same;
}

static int change_dependent(weir_batch_t *batch, const entity_key_t *to, const entity_key_t *from,
                            bool add, weir_error_t *err)
{
    uint8_t bytes[2 * ID_BYTES];
    memcpy(bytes, to->bytes, ID_BYTES);
    memcpy(bytes + ID_BYTES, from->bytes, ID_BYTES);
    MDB_val key = val(bytes, sizeof(bytes));
    MDB_val nothing = val("", 0);
    MDB_dbi dbi = batch->image->dbi[DB_DEPENDENTS];
    int code =
        add ? mdb_put(batch->txn, dbi, &key, &nothing, 0) : mdb_del(batch->txn, dbi, &key, NULL);
    return code == 0 || code == MDB_NOTFOUND ? WEIR_OK : lmdb_error(code, err, "dependents");
}

int links_store(weir_batch_t *batch, const entity_key_t *key, const links_t *links, bool fresh,
                weir_error_t *err)
{
    links_t before = { .count = 0 };
    int rc = fresh ? WEIR_OK : links_load(batch, key, &before, err);
    if (rc != WEIR_OK || same_links(&before, links))
        return rc;
    for (size_t i = 0; rc == WEIR_OK && i < before.count; i++)
        if (!has_link(links, &before.list[i].to))
            rc = change_dependent(batch, &before.list[i].to, key, false, err);
    for (size_t i = 0; rc == WEIR_OK && i < links->count; i++)
        if (!has_link(&before, &links->list[i].to))
            rc = change_dependent(batch, &links->list[i].to, key, true, err);
    if (rc != WEIR_OK)
        return rc;
    uint8_t bytes[LINKS_MAX * (1 + ID_BYTES)];
    size_t len = 0;
    for (size_t i = 0; i < links->count; i++) {
        bytes[len++] = links->list[i].from;
        memcpy(bytes + len, links->list[i].to.bytes, ID_BYTES);
        len += ID_BYTES;
    }
    MDB_val k = val_key(key);
    MDB_val value = val(bytes, len);
    MDB_dbi dbi = batch->image->dbi[DB_LINKS];
    int code =
        len > 0 ? mdb_put(batch->txn, dbi, &k, &value, 0) : mdb_del(batch->txn, dbi, &k, NULL);
    return code == 0 || code == MDB_NOTFOUND ? WEIR_OK : lmdb_error(code, err, "links");
}

int links_wake(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err)
{
    MDB_cursor *cursor = NULL;
    int code = mdb_cursor_open(batch->txn, batch->image->dbi[DB_DEPENDENTS], &cursor);
    if (code != 0)
        return lmdb_error(code, err, "dependents");
    MDB_val k = val_key(key);
    MDB_val value;
    int rc = WEIR_OK;
    for (code = mdb_cursor_get(cursor, &k, &value, MDB_SET_RANGE);
         rc == WEIR_OK && code == 0 && k.mv_size == (size_t)2 * ID_BYTES &&
         memcmp(k.mv_data, key->bytes, ID_BYTES) == 0;
         code = mdb_cursor_get(cursor, &k, &value, MDB_NEXT)) {
        entity_key_t from;
        memcpy(from.bytes, (const uint8_t *)k.mv_data + ID_BYTES, ID_BYTES);
        rc = pending_add(batch, &from, err);
    }
    mdb_cursor_close(cursor);
    return code == 0 || code == MDB_NOTFOUND ? rc : lmdb_error(code, err, "dependents");
}

typedef struct check {
    weir_batch_t *batch;
    entity_key_t to; /* that was looked for last */
    bool good;
    uint64_t count;
} check_t;

static int check_dependent(void *context, MDB_val key, MDB_val value, weir_error_t *err)
{
    check_t *c = context;
    (void)value;
    if (key.mv_size != (size_t)2 * ID_BYTES)
        return WEIR_OK;
    if (c->count == 0 || memcmp(c->to.bytes, key.mv_data, ID_BYTES) != 0) {
        memcpy(c->to.bytes, key.mv_data, ID_BYTES);
        c->good = is_good(c->batch, &c->to);
    }
    cool_sometimes(c->batch->image, ++c->count);
    entity_key_t from;
    memcpy(from.bytes, (const uint8_t *)key.mv_data + ID_BYTES, ID_BYTES);
    return c->good ? WEIR_OK : pending_add(c->batch, &from, err);
}

int links_check(weir_batch_t *batch, weir_error_t *err)
{
    check_t check = { .batch = batch };
    return each_record(batch->txn, batch->image->dbi[DB_DEPENDENTS], "dependents", check_dependent,
                       &check, err);
}

int pending_add(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err)
{
    int rc =
        weir_buffer_append(&batch->pending, (weir_str_t){ (const char *)key->bytes, ID_BYTES });
    return rc == WEIR_OK ? rc : weir_error_memory(err);
}

/* -- the set of a full batch, or of a bucket
 * ------------------------------------------------------------- */

enum { SLOT_EMPTY = 0xff, SEEN_FIRST = 1024 };

static size_t seen_slot(const entity_key_t *table, size_t capacity, const entity_key_t *key)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < ID_BYTES; i++)
        hash = (hash ^ key->bytes[i]) * UINT64_C(1099511628211);
    size_t at = (hash ^ hash >> 32) & (capacity - 1);
    while (table[at].bytes[0] != SLOT_EMPTY && memcmp(&table[at], key, ID_BYTES) != 0)
        at = (at + 1) & (capacity - 1);
    return at;
}

int seen_add(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err)
{
    if (2 * batch->seen_count >= batch->seen_capacity) {
        size_t capacity = batch->seen_capacity > 0 ? 2 * batch->seen_capacity : SEEN_FIRST;
        entity_key_t *table = weir_malloc(capacity * sizeof(*table));
        if (table == NULL)
            return weir_error_memory(err);
        memset(table, SLOT_EMPTY, capacity * sizeof(*table));
        for (size_t i = 0; i < batch->seen_capacity; i++)
            if (batch->seen[i].bytes[0] != SLOT_EMPTY)
                table[seen_slot(table, capacity, &batch->seen[i])] = batch->seen[i];
        weir_free(batch->seen);
        batch->seen = table;
        batch->seen_capacity = capacity;
    }
    size_t at = seen_slot(batch->seen, batch->seen_capacity, key);
    batch->seen_count += batch->seen[at].bytes[0] == SLOT_EMPTY;
    batch->seen[at] = *key;
    return WEIR_OK;
}

bool seen_has(const weir_batch_t *batch, const entity_key_t *key)
{
    return batch->seen_capacity > 0 &&
           batch->seen[seen_slot(batch->seen, batch->seen_capacity, key)].bytes[0] != SLOT_EMPTY;
}

void seen_clear(weir_batch_t *batch)
{
    if (batch->seen_count > 0)
        memset(batch->seen, SLOT_EMPTY, batch->seen_capacity * sizeof(*batch->seen));
    batch->seen_count = 0;
}
