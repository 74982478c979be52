/* apply.c -- one operation inside the transaction of its group: the checks, the
 * row, its index rows, its deltas.
 *
 * A refusal may leave rows behind that were already changed: the savepoint
 * around the whole write takes them back. */
#include "store/sqlite/internal.h"

#include "base/json.h"

#include <math.h>
#include <stdio.h>

enum { CASCADE_DEPTH_MAX = 8 };

/* A replacement makes both timestamps anew, at about the time of its commit. */
static const double ANEW_S = 10;

static int refuse(weir_store_result_t *result, weir_refusal_t why, size_t op)
{
    result->refusal = why;
    result->op = op;
    return WEIR_CONFLICT;
}

static void name_key(weir_store_result_t *result, weir_str_t name)
{
    snprintf(result->key, sizeof(result->key), "%.*s", WEIR_STR_ARG(name));
}

static int hash(group_t *g, weir_entity_type_t type, const weir_uuid_t *id, weir_str_t document,
                weir_digest_t *ret, weir_error_t *err)
{
    return weir_digester_entity(g->store->digester, weir_str(weir_schema(type)->name), id, document,
                                ret, err);
}

/* What every change ends with: the log and the digest learn of it. `gone`: the hash
 * of what was there; NULL: nothing was. A document without data: nothing is now. */
static int record(group_t *g, weir_entity_type_t type, const weir_uuid_t *id,
                  const weir_digest_t *gone, weir_str_t document, weir_error_t *err)
{
    weir_digest_t come;
    if (document.data != NULL) {
        int rc = hash(g, type, id, document, &come, err);
        if (rc != WEIR_OK)
            return rc;
    }
    weir_sqlite_sums_change(g, id, gone, document.data != NULL ? &come : NULL);
    if (g->seq >> SEQ_BITS != 0)
        return weir_error_set(err, WEIR_TOO_LARGE, NULL, "one write changes more than %d entities",
                              1 << SEQ_BITS);
    uint64_t version = g->state.version + 1;
    uint64_t position = version << SEQ_BITS | g->seq;
    g->seq++;
    g->state.log_entries++;
    weir_sqlite_recent_note(&g->store->recent, version, type, id, document);
    return weir_sqlite_run(g->db, S_DELTA_INSERT, err, "iiuuit", (int64_t)position, (int64_t)type,
                           id, &g->store->workspace, g->now_ms, document);
}

/* -- what is there --------------------------------------------------------------------- */

typedef struct stored {
    bool there;
    bool expired;
    uint64_t version;
    uint8_t content[16];
    weir_digest_t hash;
    weir_json_t *entity; /* ours */
} stored_t;

/* Want of memory looks like no text, or like damaged text: the difference
 * between a shortage and a broken database is worth an allocation. */
static int parse_stored(weir_str_t document, weir_json_t **ret, weir_error_t *err)
{
    enum { PROBE_BYTES = 4096 };
    if (document.data != NULL && weir_json_parse(document, ret, err) == WEIR_OK)
        return WEIR_OK;
    void *probe = document.data != NULL ? weir_malloc(PROBE_BYTES) : NULL;
    if (probe == NULL)
        return weir_error_memory(err);
    weir_free(probe);
    return weir_error_set(err, WEIR_CORRUPT, NULL, "database: a stored document is damaged");
}

static int read_stored(group_t *g, weir_entity_type_t type, const weir_uuid_t *id, stored_t *ret,
                       weir_error_t *err)
{
    *ret = (stored_t){ 0 };
    sqlite3_stmt *row = NULL;
    int rc = weir_sqlite_select(g->db, S_STORED, &row, err, "iu", (int64_t)type, id);
    if (rc != WEIR_OK)
        return rc;
    rc = weir_sqlite_step(g->db, row, err);
    if (rc == WEIR_OK) {
        ret->there = true;
        ret->version = (uint64_t)sqlite3_column_int64(row, 0);
        ret->expired =
            sqlite3_column_type(row, 1) != SQLITE_NULL && sqlite3_column_int64(row, 1) <= g->now_ms;
        const void *content = sqlite3_column_blob(row, 2);
        if (content != NULL && sqlite3_column_bytes(row, 2) == sizeof(ret->content))
            memcpy(ret->content, content, sizeof(ret->content));
        weir_str_t document = weir_sqlite_column_str(row, 3);
        rc = parse_stored(document, &ret->entity, err);
        if (rc == WEIR_OK)
            rc = hash(g, type, id, document, &ret->hash, err);
    }
    sqlite3_reset(row);
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

static int exists(group_t *g, const index_reference_t *reference, weir_error_t *err)
{
    sqlite3_stmt *row = NULL;
    int rc = weir_sqlite_select(g->db, S_EXISTS, &row, err, "iu", (int64_t)reference->to,
                                &reference->id);
    if (rc != WEIR_OK)
        return rc;
    rc = weir_sqlite_step(g->db, row, err);
    sqlite3_reset(row);
    return rc;
}

/* -- index rows -------------------------------------------------------------------------- */

static int key_owner(group_t *g, weir_entity_type_t type, const index_key_t *key, weir_uuid_t *ret,
                     weir_error_t *err)
{
    sqlite3_stmt *row = NULL;
    int rc = weir_sqlite_select(g->db, S_KEY_OWNER, &row, err, "itt", (int64_t)type,
                                weir_str(key->name), key->value);
    if (rc != WEIR_OK)
        return rc;
    rc = weir_sqlite_step(g->db, row, err);
    if (rc == WEIR_OK)
        weir_sqlite_column_uuid(row, 0, ret);
    sqlite3_reset(row);
    return rc;
}

/* Frees the key if its holder has expired but is not yet deleted. */
static int evict_expired(group_t *g, weir_entity_type_t type, const weir_uuid_t *holder,
                         size_t index, bool *ret, weir_store_result_t *result, weir_error_t *err)
{
    stored_t stored;
    int rc = read_stored(g, type, holder, &stored, err);
    weir_json_free(stored.entity);
    *ret = rc == WEIR_OK && stored.there && stored.expired;
    return *ret ? weir_sqlite_apply_delete(g, type, holder, index, result, err) : rc;
}

static int insert_key(group_t *g, const weir_store_op_t *op, const index_key_t *key, size_t index,
                      weir_store_result_t *result, weir_error_t *err)
{
    for (bool again = true; again;) {
        int rc = weir_sqlite_run(g->db, S_KEY_INSERT, err, "ittu", (int64_t)op->type,
                                 weir_str(key->name), key->value, &op->id);
        if (rc != WEIR_OK || sqlite3_changes(g->db->db) == 1)
            return rc;
        weir_uuid_t holder = { { 0 } };
        rc = key_owner(g, op->type, key, &holder, err);
        if (rc != WEIR_OK)
            return rc == WEIR_NOT_FOUND ? weir_error_set(err, WEIR_CORRUPT, NULL, "a key is lost")
                                        : rc;
        if (weir_uuid_equal(&holder, &op->id))
            return WEIR_OK;
        rc = evict_expired(g, op->type, &holder, index, &again, result, err);
        if (rc != WEIR_OK)
            return rc;
        result->holder = holder;
    }
    name_key(result, weir_str(key->name));
    return refuse(result, WEIR_REFUSED_UNIQUE, index);
}

static int insert_reference(group_t *g, const weir_store_op_t *op,
                            const index_reference_t *reference, size_t index,
                            weir_store_result_t *result, weir_error_t *err)
{
    if (reference->must_exist) {
        int rc = exists(g, reference, err);
        if (rc == WEIR_NOT_FOUND) {
            result->other = reference->to;
            result->other_id = reference->id;
            name_key(result, weir_str(reference->field));
            return refuse(result, WEIR_REFUSED_REFERENCE, index);
        }
        if (rc != WEIR_OK)
            return rc;
    }
    return weir_sqlite_run(g->db, S_REFERENCE_INSERT, err, "iuiitu", (int64_t)reference->to,
                           &reference->id, (int64_t)reference->on_delete, (int64_t)op->type,
                           weir_str(reference->field), &op->id);
}

static bool has_key(const indexed_t *in, const index_key_t *key)
{
    for (size_t i = 0; i < in->key_count; i++)
        if (strcmp(in->keys[i].name, key->name) == 0 &&
            weir_str_equal(in->keys[i].value, key->value))
            return true;
    return false;
}

static bool has_reference(const indexed_t *in, const index_reference_t *reference)
{
    for (size_t i = 0; i < in->reference_count; i++)
        if (strcmp(in->references[i].field, reference->field) == 0 &&
            weir_uuid_equal(&in->references[i].id, &reference->id))
            return true;
    return false;
}

static bool same_tags(const indexed_t *a, const indexed_t *b)
{
    for (size_t i = 0; i < a->tag_count && i < b->tag_count; i++)
        if (!weir_str_equal(a->tags[i], b->tags[i]))
            return false;
    return a->tag_count == b->tag_count;
}

/* Takes away the index rows of `gone` that `kept` does not have. */
static int remove_index(group_t *g, weir_entity_type_t type, const weir_uuid_t *id,
                        const indexed_t *gone, const indexed_t *kept, weir_error_t *err)
{
    int rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < gone->key_count; i++)
        if (!has_key(kept, &gone->keys[i]))
            rc = weir_sqlite_run(g->db, S_KEY_DELETE, err, "itt", (int64_t)type,
                                 weir_str(gone->keys[i].name), gone->keys[i].value);
    for (size_t i = 0; rc == WEIR_OK && i < gone->reference_count; i++) {
        const index_reference_t *reference = &gone->references[i];
        if (!has_reference(kept, reference))
            rc = weir_sqlite_run(g->db, S_REFERENCE_DELETE, err, "iuiitu", (int64_t)reference->to,
                                 &reference->id, (int64_t)reference->on_delete, (int64_t)type,
                                 weir_str(reference->field), id);
    }
    for (size_t i = 0; rc == WEIR_OK && !same_tags(gone, kept) && i < gone->tag_count; i++)
        rc = weir_sqlite_run(g->db, S_TAG_DELETE, err, "itu", (int64_t)type, gone->tags[i], id);
    if (rc == WEIR_OK && gone->plugin_name.data != NULL)
        rc = weir_sqlite_run(g->db, S_PLUGIN_COUNT, err, "ti", gone->plugin_name, (int64_t)-1);
    return rc;
}

/* Adds the index rows of an entity that `present` does not have. */
static int insert_index(group_t *g, const prepared_op_t *op, const indexed_t *present, size_t index,
                        weir_store_result_t *result, weir_error_t *err)
{
    const indexed_t *indexed = &op->indexed;
    int rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < indexed->key_count; i++)
        if (!has_key(present, &indexed->keys[i]))
            rc = insert_key(g, op->op, &indexed->keys[i], index, result, err);
    for (size_t i = 0; rc == WEIR_OK && i < indexed->reference_count; i++)
        if (!has_reference(present, &indexed->references[i]))
            rc = insert_reference(g, op->op, &indexed->references[i], index, result, err);
    for (size_t i = 0; rc == WEIR_OK && !same_tags(indexed, present) && i < indexed->tag_count; i++)
        rc = weir_sqlite_run(g->db, S_TAG_INSERT, err, "itui", (int64_t)op->op->type,
                             indexed->tags[i], &op->op->id, (int64_t)i + 1);
    if (rc == WEIR_OK && indexed->plugin_name.data != NULL)
        rc = weir_sqlite_run(g->db, S_PLUGIN_COUNT, err, "ti", indexed->plugin_name, (int64_t)1);
    return rc;
}

/* -- put ------------------------------------------------------------------------------------ */

/* A creation time that a client chose is a change; one that a replacement made
 * anew is not. */
static bool unchanged(const group_t *g, const prepared_op_t *op, const stored_t *stored)
{
    if (!stored->there || memcmp(op->content, stored->content, sizeof(op->content)) != 0)
        return false;
    double made = op->updated_at > 0 ? op->updated_at : (double)g->now_ms / 1000;
    return op->created_at == weir_json_get_number(stored->entity, "created_at", 0) ||
           fabs(op->created_at - made) < (op->updated_at > 0 ? 1 : ANEW_S);
}

static int put_entity(group_t *g, const prepared_op_t *op, weir_error_t *err)
{
    const weir_store_op_t *want = op->op;
    weir_str_t content = { (const char *)op->content, sizeof(op->content) };
    return weir_sqlite_run(g->db, S_ENTITY_PUT, err, "iuiunbt", (int64_t)want->type, &want->id,
                           (int64_t)(g->state.version + 1), &g->store->workspace, op->expires_ms,
                           content, op->document);
}

/* The row and its index rows; `before` is what was there, if anything. */
static int replace(group_t *g, const prepared_op_t *op, const stored_t *before, size_t index,
                   weir_store_result_t *result, weir_error_t *err)
{
    const weir_store_op_t *want = op->op;
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, OP_BYTES_MAX);
    indexed_t present = { 0 };
    int rc = WEIR_OK;
    if (before->there) {
        rc = weir_sqlite_index(weir_schema(want->type), before->entity, &arena, &present, err);
        if (rc == WEIR_OK)
            rc = remove_index(g, want->type, &want->id, &present, &op->indexed, err);
    }
    if (rc == WEIR_OK)
        rc = insert_index(g, op, &present, index, result, err);
    if (rc == WEIR_OK)
        rc = put_entity(g, op, err);
    if (rc == WEIR_OK)
        rc = record(g, want->type, &want->id, before->there ? &before->hash : NULL, op->document,
                    err);
    g->state.counts[want->type] += rc == WEIR_OK && !before->there;
    return rc;
}

static int apply_put_over(group_t *g, const prepared_op_t *op, stored_t *stored, size_t index,
                          weir_store_result_t *result, weir_error_t *err)
{
    const weir_store_op_t *want = op->op;
    if (stored->expired) { /* gone already, for everybody who looks */
        int rc = weir_sqlite_apply_delete(g, want->type, &want->id, index, result, err);
        if (rc != WEIR_OK)
            return rc;
        stored->there = false;
    }
    if (want->expected == WEIR_EXPECT_ABSENT && stored->there)
        return refuse(result, WEIR_REFUSED_PRIMARY, index);
    if (want->expected != WEIR_EXPECT_ABSENT && want->expected != WEIR_EXPECT_ANYTHING &&
        (!stored->there || stored->version != want->expected))
        return refuse(result, WEIR_REFUSED_CHANGED, index);
    if (unchanged(g, op, stored))
        return WEIR_OK;
    return replace(g, op, stored, index, result, err);
}

static int apply_put(group_t *g, const prepared_op_t *op, size_t index, weir_store_result_t *result,
                     weir_error_t *err)
{
    stored_t stored;
    int rc = read_stored(g, op->op->type, &op->op->id, &stored, err);
    if (rc == WEIR_OK)
        rc = apply_put_over(g, op, &stored, index, result, err);
    weir_json_free(stored.entity);
    return rc;
}

/* -- delete ---------------------------------------------------------------------------------- */

typedef struct referrer {
    weir_entity_type_t type;
    weir_uuid_t id;
} referrer_t;

static int next_referrer(group_t *g, sqlite3_stmt *select, referrer_t *ret, weir_error_t *err)
{
    int rc = weir_sqlite_step(g->db, select, err);
    if (rc != WEIR_OK)
        return rc;
    ret->type = (weir_entity_type_t)sqlite3_column_int(select, 0);
    weir_sqlite_column_uuid(select, 1, &ret->id);
    return WEIR_OK;
}

static int refuse_if_held(group_t *g, weir_entity_type_t type, const weir_uuid_t *id, size_t index,
                          weir_store_result_t *result, weir_error_t *err)
{
    sqlite3_stmt *select = NULL;
    referrer_t who;
    int rc = weir_sqlite_select(g->db, S_REFERRERS, &select, err, "iui", (int64_t)type, id,
                                (int64_t)WEIR_ON_DELETE_RESTRICT);
    if (rc != WEIR_OK)
        return rc;
    rc = next_referrer(g, select, &who, err);
    if (rc == WEIR_OK) {
        result->other = who.type;
        result->other_id = who.id;
        name_key(result, weir_sqlite_column_str(select, 2));
        rc = refuse(result, WEIR_REFUSED_REFERENCED, index);
    }
    sqlite3_reset(select);
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

/* Those that go with it, as an array of referrer_t: read before anything is
 * deleted, since that changes the rows under the statement. */
static int find_cascade(group_t *g, weir_entity_type_t type, const weir_uuid_t *id,
                        weir_buffer_t *ret, weir_error_t *err)
{
    sqlite3_stmt *select = NULL;
    int rc = weir_sqlite_select(g->db, S_REFERRERS, &select, err, "iui", (int64_t)type, id,
                                (int64_t)WEIR_ON_DELETE_CASCADE);
    if (rc != WEIR_OK)
        return rc;
    referrer_t who;
    memset(&who, 0, sizeof(who));
    while ((rc = next_referrer(g, select, &who, err)) == WEIR_OK)
        if (weir_buffer_append(ret, (weir_str_t){ (const char *)&who, sizeof(who) }) != WEIR_OK) {
            rc = ret->failed == WEIR_TOO_LARGE
                     ? weir_error_set(err, WEIR_TOO_LARGE, NULL, "too many entities refer to it")
                     : weir_error_memory(err);
            break;
        }
    sqlite3_reset(select);
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

static int delete_row(group_t *g, weir_entity_type_t type, const weir_uuid_t *id,
                      const stored_t *stored, weir_error_t *err)
{
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, OP_BYTES_MAX);
    indexed_t gone;
    static const indexed_t none;
    int rc = weir_sqlite_index(weir_schema(type), stored->entity, &arena, &gone, err);
    if (rc == WEIR_OK)
        rc = remove_index(g, type, id, &gone, &none, err);
    if (rc == WEIR_OK)
        rc = weir_sqlite_run(g->db, S_ENTITY_DELETE, err, "iu", (int64_t)type, id);
    if (rc == WEIR_OK)
        rc = record(g, type, id, &stored->hash, (weir_str_t){ NULL, 0 }, err);
    g->state.counts[type] -= rc == WEIR_OK;
    return rc;
}

static int delete_with_children(group_t *g, weir_entity_type_t type, const weir_uuid_t *id,
                                unsigned depth, size_t index, weir_store_result_t *result,
                                weir_error_t *err);

static int delete_children(group_t *g, const weir_buffer_t *children, unsigned depth, size_t index,
                           weir_store_result_t *result, weir_error_t *err)
{
    int rc = WEIR_OK;
    for (size_t at = 0; rc == WEIR_OK && at < children->len; at += sizeof(referrer_t)) {
        referrer_t child;
        memcpy(&child, children->data + at, sizeof(child));
        rc = delete_with_children(g, child.type, &child.id, depth, index, result, err);
    }
    return rc;
}

static int delete_with_children(group_t *g, weir_entity_type_t type, const weir_uuid_t *id,
                                unsigned depth, size_t index, weir_store_result_t *result,
                                weir_error_t *err)
{
    if (depth > CASCADE_DEPTH_MAX)
        return weir_error_set(err, WEIR_CORRUPT, NULL, "references run in a circle");
    stored_t stored;
    int rc = read_stored(g, type, id, &stored, err);
    if (rc != WEIR_OK || !stored.there) {
        weir_json_free(stored.entity);
        return rc;
    }
    WEIR_AUTO(buffer) weir_buffer_t children;
    weir_buffer_init(&children, OP_BYTES_MAX);
    rc = refuse_if_held(g, type, id, index, result, err);
    if (rc == WEIR_OK)
        rc = find_cascade(g, type, id, &children, err);
    if (rc == WEIR_OK)
        rc = delete_row(g, type, id, &stored, err);
    weir_json_free(stored.entity);
    return rc == WEIR_OK ? delete_children(g, &children, depth + 1, index, result, err) : rc;
}

int weir_sqlite_apply_delete(group_t *group, weir_entity_type_t type, const weir_uuid_t *id,
                             size_t index, weir_store_result_t *result, weir_error_t *err)
{
    return delete_with_children(group, type, id, 0, index, result, err);
}

static int apply_delete(group_t *g, const weir_store_op_t *want, size_t index,
                        weir_store_result_t *result, weir_error_t *err)
{
    if (want->expected != WEIR_EXPECT_ANYTHING) {
        stored_t stored;
        int rc = read_stored(g, want->type, &want->id, &stored, err);
        weir_json_free(stored.entity);
        if (rc != WEIR_OK)
            return rc;
        if (!stored.there || stored.version != want->expected)
            return refuse(result, WEIR_REFUSED_CHANGED, index);
    }
    return weir_sqlite_apply_delete(g, want->type, &want->id, index, result, err);
}

int weir_sqlite_apply(group_t *group, const prepared_op_t *op, size_t index,
                      weir_store_result_t *result, weir_error_t *err)
{
    return op->op->kind == WEIR_STORE_PUT ? apply_put(group, op, index, result, err)
                                          : apply_delete(group, op->op, index, result, err);
}
