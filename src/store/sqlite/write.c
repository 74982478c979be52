/* write.c -- group commit.
 *
 * A caller prepares its operations on its own thread (documents printed, keys,
 * references and tags taken out) and queues them. The first that finds no leader
 * leads: it takes the queue, runs each write in a savepoint of one transaction,
 * commits, and wakes everybody. Versions are given in the order of the queue, so
 * they are in commit order, without holes.
 *
 * Whatever fails in the database fails the whole group: nothing of it is stored,
 * and the in-memory counters are only changed after the commit. */
#include "store/sqlite/internal.h"

#include "base/clock.h"
#include "base/json.h"

#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>

enum {
    OP_BYTES_MAX = 256 * 1024 * 1024,
    CASCADE_DEPTH_MAX = 8,
    RESTRICT = WEIR_ON_DELETE_RESTRICT,
    CASCADE = WEIR_ON_DELETE_CASCADE,
    PRUNE_EXTRA = 16, /* versions pruned in a group beyond those it adds */
};

/* What an entity is indexed by, in the order in which it is found. */
typedef struct index_key {
    const char *name;
    weir_str_t value;
} index_key_t;

typedef struct index_reference {
    const char *field;
    weir_entity_type_t to;
    weir_uuid_t id;
    int on_delete;
    bool must_exist;
} index_reference_t;

enum { KEYS_MAX = 8, REFERENCES_MAX = 128, TAGS_MAX = 1024 };

typedef struct indexed {
    index_key_t keys[KEYS_MAX];
    size_t key_count;
    index_reference_t *references;
    size_t reference_count;
    weir_str_t *tags;
    size_t tag_count;
    weir_str_t plugin_name; /* of plugins; data NULL otherwise */
    weir_arena_t *arena;
} indexed_t;

typedef struct prepared_op {
    const weir_store_op_t *op;
    weir_str_t document;
    uint8_t content[16]; /* hash of the document without its timestamps */
    double created_at, updated_at;
    int64_t expires_ms; /* 0: never */
    indexed_t indexed;
} prepared_op_t;

struct pending {
    pending_t *next;
    prepared_op_t *ops;
    size_t count;
    weir_store_result_t *result;
    weir_error_t *err;
    int code;
    bool lead; /* woken to lead, not because it is done */
    sem_t wake;
};

/* The state of one group, thrown away if it fails. */
typedef struct group {
    weir_store_t *store;
    connection_t *db;
    uint64_t version, floor, log_entries;
    uint64_t version_first;            /* before the group */
    int64_t counts[WEIR_ENTITY_TYPES]; /* changes */
    int64_t now_ms;
    uint64_t seq; /* of the next delta of the write at work */
    uint64_t deltas;
} group_t;

/* -- preparing, on the caller's thread ------------------------------------------------ */

static int collect_key(void *context, const char *name, weir_str_t value)
{
    indexed_t *to = context;
    weir_assert(to->key_count < KEYS_MAX);
    weir_str_t copy = weir_arena_copy(to->arena, value);
    if (copy.data == NULL)
        return WEIR_NO_MEMORY;
    to->keys[to->key_count++] = (index_key_t){ name, copy };
    return WEIR_OK;
}

static int add_reference(indexed_t *to, const char *field, weir_entity_type_t type,
                         const weir_uuid_t *id, int on_delete, bool must_exist)
{
    if (to->reference_count == REFERENCES_MAX)
        return WEIR_TOO_LARGE;
    to->references[to->reference_count++] =
        (index_reference_t){ field, type, *id, on_delete, must_exist };
    return WEIR_OK;
}

static int collect_reference(void *context, const weir_field_t *field, const weir_schema_t *to,
                             const weir_uuid_t *id)
{
    indexed_t *indexed = context;
    /* A certificate takes its SNIs with it (entity-schemas: on_delete). */
    bool sni = to->type == WEIR_CERTIFICATES && strcmp(field->name, "certificate") == 0;
    return add_reference(indexed, field->name, to->type, id, sni ? CASCADE : (int)field->on_delete,
                         true);
}

/* services.ca_certificates: ids that need not exist, but hold what does. */
static int collect_ca_certificates(indexed_t *indexed, const weir_json_t *entity)
{
    int rc = WEIR_OK;
    for (const weir_json_t *item = weir_json_first(weir_json_get(entity, "ca_certificates"));
         rc == WEIR_OK && item != NULL; item = weir_json_next(item)) {
        weir_uuid_t id;
        if (weir_uuid_parse(weir_json_string(item), &id) == WEIR_OK)
            rc = add_reference(indexed, "ca_certificates", WEIR_CA_CERTIFICATES, &id, RESTRICT,
                               false);
    }
    return rc;
}

static int index_entity(const weir_schema_t *schema, const weir_json_t *entity, weir_arena_t *arena,
                        indexed_t *ret)
{
    *ret = (indexed_t){ .arena = arena };
    ret->references = weir_arena_alloc(arena, REFERENCES_MAX * sizeof(*ret->references));
    if (ret->references == NULL)
        return WEIR_NO_MEMORY;
    int rc = weir_model_keys(schema, entity, collect_key, ret);
    if (rc == WEIR_OK)
        rc = weir_model_references(schema, entity, collect_reference, ret);
    if (rc == WEIR_OK && schema->type == WEIR_SERVICES)
        rc = collect_ca_certificates(ret, entity);
    const weir_json_t *tags = weir_json_get(entity, "tags");
    size_t count = weir_json_count(tags);
    if (rc != WEIR_OK || count > TAGS_MAX)
        return rc != WEIR_OK ? rc : WEIR_TOO_LARGE;
    ret->tags = weir_arena_alloc(arena, count * sizeof(*ret->tags));
    if (ret->tags == NULL)
        return WEIR_NO_MEMORY;
    for (const weir_json_t *tag = weir_json_first(tags); tag != NULL; tag = weir_json_next(tag)) {
        ret->tags[ret->tag_count] = weir_arena_copy(arena, weir_json_string(tag));
        if (ret->tags[ret->tag_count++].data == NULL)
            return WEIR_NO_MEMORY;
    }
    if (schema->type == WEIR_PLUGINS) {
        ret->plugin_name =
            weir_arena_copy(arena, weir_json_get_string(entity, "name", WEIR_STR("")));
        rc = ret->plugin_name.data != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    }
    return rc;
}

/* Hash of the members that are not timestamps: they alone make no change. */
static int content_hash(const weir_json_t *entity, uint8_t ret[16])
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, OP_BYTES_MAX);
    for (const weir_json_t *m = weir_json_first(entity); m != NULL; m = weir_json_next(m)) {
        const char *name = weir_json_name(m);
        if (strcmp(name, "created_at") == 0 || strcmp(name, "updated_at") == 0)
            continue;
        weir_buffer_append(&text, (weir_str_t){ name, strlen(name) + 1 });
        weir_json_print(m, &text);
    }
    unsigned char digest[EVP_MAX_MD_SIZE];
    if (text.failed != WEIR_OK ||
        EVP_Digest(text.data, text.len, digest, NULL, EVP_sha256(), NULL) != 1)
        return WEIR_NO_MEMORY;
    memcpy(ret, digest, 16);
    return WEIR_OK;
}

static int prepare_op(const weir_store_op_t *op, weir_arena_t *arena, prepared_op_t *ret)
{
    *ret = (prepared_op_t){ .op = op };
    if (op->kind == WEIR_STORE_DELETE)
        return WEIR_OK;
    weir_buffer_t text;
    weir_buffer_init(&text, OP_BYTES_MAX);
    weir_json_print(op->entity, &text);
    ret->document = weir_arena_copy(arena, weir_buffer_str(&text));
    int rc = text.failed != WEIR_OK ? text.failed : WEIR_OK;
    weir_buffer_release(&text);
    if (rc != WEIR_OK || ret->document.data == NULL)
        return WEIR_NO_MEMORY;
    ret->created_at = weir_json_get_number(op->entity, "created_at", 0);
    ret->updated_at = weir_json_get_number(op->entity, "updated_at", 0);
    const weir_schema_t *schema = weir_schema(op->type);
    if (schema->ttl)
        ret->expires_ms = (int64_t)(weir_json_get_number(op->entity, "ttl", 0) * 1000);
    rc = content_hash(op->entity, ret->content);
    return rc == WEIR_OK ? index_entity(schema, op->entity, arena, &ret->indexed) : rc;
}

/* -- one write, on the leader's thread ---------------------------------------------------- */

static int refuse(weir_store_result_t *result, weir_refusal_t why, size_t op)
{
    result->refusal = why;
    result->op = op;
    return WEIR_CONFLICT;
}

static int add_delta(group_t *g, weir_entity_type_t type, const weir_uuid_t *id,
                     weir_str_t document, weir_error_t *err)
{
    sqlite3_stmt *insert = statement(g->db, S_DELTA_INSERT, err);
    if (insert == NULL)
        return WEIR_IO;
    if (g->seq >> SEQ_BITS != 0)
        return weir_error_set(err, WEIR_TOO_LARGE, NULL, "one write changes more than %d entities",
                              1 << SEQ_BITS);
    uint64_t position = (g->version + 1) << SEQ_BITS | g->seq;
    sqlite3_bind_int64(insert, 1, (sqlite3_int64)position);
    sqlite3_bind_int(insert, 2, (int)type);
    bind_uuid(insert, 3, id);
    bind_uuid(insert, 4, &g->store->workspace);
    sqlite3_bind_int64(insert, 5, g->now_ms);
    if (document.data != NULL)
        bind_text(insert, 6, document);
    else
        sqlite3_bind_null(insert, 6);
    g->seq++;
    g->deltas++;
    return execute(g->db, insert, err);
}

typedef struct stored {
    bool there;
    uint64_t version;
    uint8_t content[16];
    weir_json_t *entity; /* ours */
} stored_t;

static int read_stored(group_t *g, weir_entity_type_t type, const weir_uuid_t *id, bool want_entity,
                       stored_t *ret, weir_error_t *err)
{
    *ret = (stored_t){ 0 };
    sqlite3_stmt *get = statement(g->db, S_GET, err);
    if (get == NULL)
        return WEIR_IO;
    sqlite3_bind_int(get, 1, (int)type);
    bind_uuid(get, 2, id);
    int code = sqlite3_step(get);
    int rc = WEIR_OK;
    if (code == SQLITE_ROW) {
        ret->there = true;
        ret->version = (uint64_t)sqlite3_column_int64(get, 0);
        const void *content = sqlite3_column_blob(get, 3);
        if (content != NULL && sqlite3_column_bytes(get, 3) == sizeof(ret->content))
            memcpy(ret->content, content, sizeof(ret->content));
        if (want_entity)
            rc = weir_json_parse(column_str(get, 1), &ret->entity, err);
    } else if (code != SQLITE_DONE) {
        rc = sqlite_error(g->db, err);
    }
    sqlite3_reset(get);
    return rc;
}

static int exists(group_t *g, weir_entity_type_t type, const weir_uuid_t *id, bool *ret,
                  weir_error_t *err)
{
    sqlite3_stmt *get = statement(g->db, S_EXISTS, err);
    if (get == NULL)
        return WEIR_IO;
    sqlite3_bind_int(get, 1, (int)type);
    bind_uuid(get, 2, id);
    int code = sqlite3_step(get);
    *ret = code == SQLITE_ROW;
    int rc = code == SQLITE_ROW || code == SQLITE_DONE ? WEIR_OK : sqlite_error(g->db, err);
    sqlite3_reset(get);
    return rc;
}

static int insert_key(group_t *g, const prepared_op_t *op, const index_key_t *key, size_t index,
                      weir_store_result_t *result, weir_error_t *err)
{
    sqlite3_stmt *insert = statement(g->db, S_KEY_INSERT, err);
    sqlite3_stmt *owner = statement(g->db, S_KEY_OWNER, err);
    if (insert == NULL || owner == NULL)
        return WEIR_IO;
    sqlite3_bind_int(insert, 1, (int)op->op->type);
    bind_text(insert, 2, weir_str(key->name));
    bind_text(insert, 3, key->value);
    bind_uuid(insert, 4, &op->op->id);
    int rc = execute(g->db, insert, err);
    if (rc != WEIR_OK || sqlite3_changes(g->db->db) == 1)
        return rc;
    weir_uuid_t holder = { { 0 } };
    sqlite3_bind_int(owner, 1, (int)op->op->type);
    bind_text(owner, 2, weir_str(key->name));
    bind_text(owner, 3, key->value);
    if (sqlite3_step(owner) == SQLITE_ROW)
        column_uuid(owner, 0, &holder);
    sqlite3_reset(owner);
    if (weir_uuid_equal(&holder, &op->op->id))
        return WEIR_OK;
    result->holder = holder;
    snprintf(result->key, sizeof(result->key), "%s", key->name);
    return refuse(result, WEIR_REFUSED_UNIQUE, index);
}

static int delete_key(group_t *g, weir_entity_type_t type, const index_key_t *key,
                      weir_error_t *err)
{
    sqlite3_stmt *prepared = statement(g->db, S_KEY_DELETE, err);
    if (prepared == NULL)
        return WEIR_IO;
    sqlite3_bind_int(prepared, 1, (int)type);
    bind_text(prepared, 2, weir_str(key->name));
    bind_text(prepared, 3, key->value);
    return execute(g->db, prepared, err);
}

static int put_reference(group_t *g, weir_entity_type_t type, const weir_uuid_t *id,
                         const index_reference_t *reference, bool insert, weir_error_t *err)
{
    sqlite3_stmt *prepared =
        statement(g->db, insert ? S_REFERENCE_INSERT : S_REFERENCE_DELETE, err);
    if (prepared == NULL)
        return WEIR_IO;
    sqlite3_bind_int(prepared, 1, (int)reference->to);
    bind_uuid(prepared, 2, &reference->id);
    sqlite3_bind_int(prepared, 3, (int)type);
    bind_text(prepared, 4, weir_str(reference->field));
    bind_uuid(prepared, 5, id);
    if (insert)
        sqlite3_bind_int(prepared, 6, reference->on_delete);
    return execute(g->db, prepared, err);
}

static int put_tag(group_t *g, weir_entity_type_t type, const weir_uuid_t *id, weir_str_t tag,
                   int ordinal, weir_error_t *err)
{
    sqlite3_stmt *prepared = statement(g->db, ordinal > 0 ? S_TAG_INSERT : S_TAG_DELETE, err);
    if (prepared == NULL)
        return WEIR_IO;
    sqlite3_bind_int(prepared, 1, (int)type);
    bind_text(prepared, 2, tag);
    bind_uuid(prepared, 3, id);
    if (ordinal > 0)
        sqlite3_bind_int(prepared, 4, ordinal);
    return execute(g->db, prepared, err);
}

static int count_plugin(group_t *g, weir_str_t name, int change, weir_error_t *err)
{
    sqlite3_stmt *prepared = NULL;
    static const char text[] = "INSERT INTO plugin_name(name,count) VALUES(?1,?2) "
                               "ON CONFLICT(name) DO UPDATE SET count=count+?2";
    if (sqlite3_prepare_v2(g->db->db, text, -1, &prepared, NULL) != SQLITE_OK)
        return sqlite_error(g->db, err);
    bind_text(prepared, 1, name);
    sqlite3_bind_int(prepared, 2, change);
    int rc = execute(g->db, prepared, err);
    sqlite3_finalize(prepared);
    return rc;
}

/* Takes an entity's index rows away. */
static int remove_index(group_t *g, weir_entity_type_t type, const weir_uuid_t *id,
                        const indexed_t *indexed, weir_error_t *err)
{
    int rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < indexed->key_count; i++)
        rc = delete_key(g, type, &indexed->keys[i], err);
    for (size_t i = 0; rc == WEIR_OK && i < indexed->reference_count; i++)
        rc = put_reference(g, type, id, &indexed->references[i], false, err);
    for (size_t i = 0; rc == WEIR_OK && i < indexed->tag_count; i++)
        rc = put_tag(g, type, id, indexed->tags[i], 0, err);
    if (rc == WEIR_OK && indexed->plugin_name.data != NULL)
        rc = count_plugin(g, indexed->plugin_name, -1, err);
    return rc;
}

static int insert_index(group_t *g, const prepared_op_t *op, size_t index,
                        weir_store_result_t *result, weir_error_t *err)
{
    const indexed_t *indexed = &op->indexed;
    int rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < indexed->key_count; i++)
        rc = insert_key(g, op, &indexed->keys[i], index, result, err);
    for (size_t i = 0; rc == WEIR_OK && i < indexed->reference_count; i++) {
        const index_reference_t *reference = &indexed->references[i];
        bool there = true;
        if (reference->must_exist)
            rc = exists(g, reference->to, &reference->id, &there, err);
        if (rc == WEIR_OK && !there) {
            result->other = reference->to;
            result->other_id = reference->id;
            snprintf(result->key, sizeof(result->key), "%s", reference->field);
            return refuse(result, WEIR_REFUSED_REFERENCE, index);
        }
        if (rc == WEIR_OK)
            rc = put_reference(g, op->op->type, &op->op->id, reference, true, err);
    }
    for (size_t i = 0; rc == WEIR_OK && i < indexed->tag_count; i++)
        rc = put_tag(g, op->op->type, &op->op->id, indexed->tags[i], (int)i + 1, err);
    if (rc == WEIR_OK && indexed->plugin_name.data != NULL)
        rc = count_plugin(g, indexed->plugin_name, 1, err);
    return rc;
}

static bool unchanged(const prepared_op_t *op, const stored_t *stored)
{
    if (!stored->there || memcmp(op->content, stored->content, sizeof(op->content)) != 0)
        return false;
    /* A creation time that a client chose is a change; one that a replacement
     * made anew is not. */
    double before = weir_json_get_number(stored->entity, "created_at", 0);
    return op->created_at == before || fabs(op->created_at - op->updated_at) < 1;
}

static int put_entity(group_t *g, const prepared_op_t *op, weir_error_t *err)
{
    sqlite3_stmt *put = statement(g->db, S_ENTITY_PUT, err);
    if (put == NULL)
        return WEIR_IO;
    sqlite3_bind_int(put, 1, (int)op->op->type);
    bind_uuid(put, 2, &op->op->id);
    sqlite3_bind_int64(put, 3, (sqlite3_int64)(g->version + 1));
    bind_uuid(put, 4, &g->store->workspace);
    if (op->expires_ms > 0)
        sqlite3_bind_int64(put, 5, op->expires_ms);
    else
        sqlite3_bind_null(put, 5);
    sqlite3_bind_blob(put, 6, op->content, sizeof(op->content), SQLITE_STATIC);
    bind_text(put, 7, op->document);
    return execute(g->db, put, err);
}

static int run_put(group_t *g, const prepared_op_t *op, size_t index, weir_store_result_t *result,
                   weir_error_t *err)
{
    const weir_store_op_t *want = op->op;
    stored_t stored;
    int rc = read_stored(g, want->type, &want->id, true, &stored, err);
    WEIR_AUTO(json) weir_json_t *before = stored.entity;
    if (rc != WEIR_OK)
        return rc;
    if (want->expected == WEIR_EXPECT_ABSENT && stored.there)
        return refuse(result, WEIR_REFUSED_PRIMARY, index);
    if (want->expected != WEIR_EXPECT_ABSENT && want->expected != WEIR_EXPECT_ANYTHING &&
        (!stored.there || stored.version != want->expected))
        return refuse(result, WEIR_REFUSED_CHANGED, index);
    if (unchanged(op, &stored))
        return WEIR_OK;
    if (stored.there) {
        WEIR_AUTO(arena) weir_arena_t arena;
        weir_arena_init(&arena, OP_BYTES_MAX);
        indexed_t indexed;
        rc = index_entity(weir_schema(want->type), before, &arena, &indexed);
        if (rc == WEIR_OK)
            rc = remove_index(g, want->type, &want->id, &indexed, err);
    }
    if (rc == WEIR_OK)
        rc = put_entity(g, op, err);
    if (rc == WEIR_OK)
        rc = insert_index(g, op, index, result, err);
    if (rc == WEIR_OK)
        rc = add_delta(g, want->type, &want->id, op->document, err);
    g->counts[want->type] += rc == WEIR_OK && !stored.there;
    return rc;
}

typedef struct referrer {
    weir_entity_type_t type;
    weir_uuid_t id;
} referrer_t;

/* Who refers to an entity with this on_delete; all of them in `arena`. */
static int referrers(group_t *g, weir_entity_type_t type, const weir_uuid_t *id, int on_delete,
                     size_t limit, weir_buffer_t *ret, char *field, size_t field_bytes,
                     weir_error_t *err)
{
    sqlite3_stmt *select = statement(g->db, S_REFERRERS, err);
    if (select == NULL)
        return WEIR_IO;
    sqlite3_bind_int(select, 1, (int)type);
    bind_uuid(select, 2, id);
    sqlite3_bind_int(select, 3, on_delete);
    int rc = WEIR_OK;
    int code = SQLITE_DONE;
    for (size_t n = 0; rc == WEIR_OK && n < limit && (code = sqlite3_step(select)) == SQLITE_ROW;
         n++) {
        referrer_t one = { .type = (weir_entity_type_t)sqlite3_column_int(select, 0) };
        column_uuid(select, 1, &one.id);
        if (field != NULL)
            snprintf(field, field_bytes, "%.*s", WEIR_STR_ARG(column_str(select, 3)));
        rc = weir_buffer_append(ret, (weir_str_t){ (const char *)&one, sizeof(one) });
    }
    if (rc == WEIR_OK && code != SQLITE_ROW && code != SQLITE_DONE)
        rc = sqlite_error(g->db, err);
    sqlite3_reset(select);
    return rc == WEIR_OK || rc == WEIR_IO || rc == WEIR_FULL ? rc : weir_error_memory(err);
}

/* Refuses when somebody who restricts refers to it; then it goes, and whoever
 * goes with it after it. */
static int delete_entity(group_t *g, weir_entity_type_t type, const weir_uuid_t *id, unsigned depth,
                         size_t index, weir_store_result_t *result, weir_error_t *err)
{
    if (depth > CASCADE_DEPTH_MAX)
        return weir_error_set(err, WEIR_CORRUPT, NULL, "references run in a circle");
    stored_t stored;
    int rc = read_stored(g, type, id, true, &stored, err);
    WEIR_AUTO(json) weir_json_t *entity = stored.entity;
    if (rc != WEIR_OK || !stored.there)
        return rc;
    WEIR_AUTO(buffer) weir_buffer_t found;
    weir_buffer_init(&found, OP_BYTES_MAX);
    char field[sizeof(result->key)] = "";
    rc = referrers(g, type, id, RESTRICT, 1, &found, field, sizeof(field), err);
    if (rc == WEIR_OK && found.len > 0) {
        referrer_t who;
        memcpy(&who, found.data, sizeof(who));
        result->other = who.type;
        result->other_id = who.id;
        snprintf(result->key, sizeof(result->key), "%s", field);
        return refuse(result, WEIR_REFUSED_REFERENCED, index);
    }
    if (rc == WEIR_OK)
        rc = referrers(g, type, id, CASCADE, SIZE_MAX, &found, NULL, 0, err);

    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, OP_BYTES_MAX);
    indexed_t indexed;
    if (rc == WEIR_OK)
        rc = index_entity(weir_schema(type), entity, &arena, &indexed);
    if (rc == WEIR_OK)
        rc = remove_index(g, type, id, &indexed, err);
    sqlite3_stmt *remove = rc == WEIR_OK ? statement(g->db, S_ENTITY_DELETE, err) : NULL;
    if (remove == NULL)
        return rc != WEIR_OK ? rc : WEIR_IO;
    sqlite3_bind_int(remove, 1, (int)type);
    bind_uuid(remove, 2, id);
    rc = execute(g->db, remove, err);
    if (rc == WEIR_OK)
        rc = add_delta(g, type, id, (weir_str_t){ NULL, 0 }, err);
    g->counts[type]--;
    for (size_t at = 0; rc == WEIR_OK && at < found.len; at += sizeof(referrer_t)) {
        referrer_t child;
        memcpy(&child, found.data + at, sizeof(child));
        rc = delete_entity(g, child.type, &child.id, depth + 1, index, result, err);
    }
    return rc;
}

static int run_delete(group_t *g, const prepared_op_t *op, size_t index,
                      weir_store_result_t *result, weir_error_t *err)
{
    const weir_store_op_t *want = op->op;
    if (want->expected != WEIR_EXPECT_ANYTHING) {
        stored_t stored;
        int rc = read_stored(g, want->type, &want->id, false, &stored, err);
        if (rc != WEIR_OK)
            return rc;
        if (!stored.there || stored.version != want->expected)
            return refuse(result, WEIR_REFUSED_CHANGED, index);
    }
    return delete_entity(g, want->type, &want->id, 0, index, result, err);
}

/* -- the group -------------------------------------------------------------------------------- */

/* WEIR_OK or WEIR_CONFLICT: the group goes on. Anything else ends it. */
static int run_write(group_t *g, pending_t *pending)
{
    weir_store_result_t *result = pending->result;
    group_t before = *g;
    weir_error_t err = { 0 };
    g->seq = 0;
    int rc = execute_simple(g->db, S_SAVEPOINT, &err);
    for (size_t i = 0; rc == WEIR_OK && i < pending->count; i++) {
        const prepared_op_t *op = &pending->ops[i];
        rc = op->op->kind == WEIR_STORE_PUT ? run_put(g, op, i, result, &err)
                                            : run_delete(g, op, i, result, &err);
    }
    if (rc == WEIR_OK) {
        rc = execute_simple(g->db, S_RELEASE, &err);
        result->changed = g->seq > 0;
        g->version += result->changed;
        result->version = g->version;
    } else if (rc == WEIR_CONFLICT) {
        *g = before;
        int undo = execute_simple(g->db, S_ROLLBACK_TO, &err);
        if (undo == WEIR_OK)
            undo = execute_simple(g->db, S_RELEASE, &err);
        result->version = g->version;
        rc = undo == WEIR_OK ? WEIR_CONFLICT : undo;
    }
    pending->code = rc;
    if (rc != WEIR_OK && pending->err != NULL)
        *pending->err = err;
    return rc;
}

/* Oldest versions go while there are too many, or they are too old; a few at a
 * time, so that no write pays for many. */
static int prune(group_t *g, weir_error_t *err)
{
    const weir_store_options_t *options = &g->store->options;
    g->log_entries += g->deltas;
    uint64_t allowed = 2 * (g->version - g->version_first) + PRUNE_EXTRA;
    for (uint64_t n = 0; n < allowed; n++) {
        sqlite3_stmt *oldest = statement(g->db, S_DELTA_OLDEST, err);
        sqlite3_stmt *remove = statement(g->db, S_DELTA_DELETE, err);
        if (oldest == NULL || remove == NULL)
            return WEIR_IO;
        if (sqlite3_step(oldest) != SQLITE_ROW) {
            sqlite3_reset(oldest);
            return WEIR_OK;
        }
        uint64_t version = (uint64_t)sqlite3_column_int64(oldest, 0) >> SEQ_BITS;
        int64_t at_ms = sqlite3_column_int64(oldest, 1);
        sqlite3_reset(oldest);
        bool many = g->log_entries > options->log_entries_max;
        bool old = options->log_age_ms_max > 0 && g->now_ms - at_ms > options->log_age_ms_max;
        if ((!many && !old) || version >= g->version)
            return WEIR_OK;
        sqlite3_bind_int64(remove, 1, (sqlite3_int64)((version + 1) << SEQ_BITS));
        int rc = execute(g->db, remove, err);
        if (rc != WEIR_OK)
            return rc;
        g->log_entries -= (uint64_t)sqlite3_changes(g->db->db);
        g->floor = version;
    }
    return WEIR_OK;
}

static int put_number(group_t *g, const char *name, uint64_t value, weir_error_t *err)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    return meta_put(g->db, name, weir_str(text), err);
}

static int finish_group(group_t *g, weir_error_t *err)
{
    if (g->version == g->version_first)
        return execute_simple(g->db, S_COMMIT, err);
    int rc = prune(g, err);
    if (rc == WEIR_OK)
        rc = put_number(g, "version", g->version, err);
    if (rc == WEIR_OK && g->floor != g->store->floor)
        rc = put_number(g, "log_floor", g->floor, err);
    for (int type = 1; rc == WEIR_OK && type < WEIR_ENTITY_TYPES; type++) {
        if (g->counts[type] == 0)
            continue;
        sqlite3_stmt *put = statement(g->db, S_COUNT_PUT, err);
        if (put == NULL)
            return WEIR_IO;
        sqlite3_bind_int(put, 1, type);
        sqlite3_bind_int64(put, 2, (sqlite3_int64)g->store->counts[type] + g->counts[type]);
        rc = execute(g->db, put, err);
    }
    return rc == WEIR_OK ? execute_simple(g->db, S_COMMIT, err) : rc;
}

static void publish(group_t *g)
{
    weir_store_t *store = g->store;
    for (int type = 1; type < WEIR_ENTITY_TYPES; type++)
        store->counts[type] += (uint64_t)g->counts[type];
    store->log_entries = g->log_entries;
    store->floor = g->floor;
    if (g->version == store->version)
        return;
    store->version = g->version;
    pthread_mutex_lock(&store->watch_lock);
    if (store->committed != NULL)
        store->committed(store->watch_context, g->version);
    pthread_mutex_unlock(&store->watch_lock);
}

static void run_group(weir_store_t *store, pending_t *first)
{
    group_t g = { .store = store, .db = &store->writer, .now_ms = weir_clock_ms() };
    g.version = g.version_first = store->version;
    g.floor = store->floor;
    g.log_entries = store->log_entries;
    weir_error_t err = { 0 };
    int rc = execute_simple(g.db, S_BEGIN, &err);
    for (pending_t *p = first; rc == WEIR_OK && p != NULL; p = p->next) {
        rc = run_write(&g, p);
        if (rc != WEIR_OK && rc != WEIR_CONFLICT && p->err != NULL)
            err = *p->err;
        rc = rc == WEIR_CONFLICT ? WEIR_OK : rc;
    }
    if (rc == WEIR_OK)
        rc = finish_group(&g, &err);
    if (rc == WEIR_OK) {
        publish(&g);
        return;
    }
    if (!sqlite3_get_autocommit(g.db->db))
        execute_simple(g.db, S_ROLLBACK, NULL);
    for (pending_t *p = first; p != NULL; p = p->next) {
        *p->result = (weir_store_result_t){ .version = store->version };
        p->code = rc;
        if (p->err != NULL)
            *p->err = err;
    }
}

/* Queues `own` and returns when it is done, by itself or by another leader. */
static void run_queued(weir_store_t *store, pending_t *own)
{
    sem_init(&own->wake, 0, 0);
    pthread_mutex_lock(&store->queue_lock);
    if (store->queue_last != NULL)
        store->queue_last->next = own;
    else
        store->queue_first = own;
    store->queue_last = own;
    bool lead = !store->leading;
    store->leading = true;
    pthread_mutex_unlock(&store->queue_lock);
    if (!lead) {
        while (sem_wait(&own->wake) != 0)
            continue; /* a signal */
        if (!own->lead) {
            sem_destroy(&own->wake);
            return;
        }
    }

    pthread_mutex_lock(&store->queue_lock);
    pending_t *first = store->queue_first;
    pending_t *last = first;
    for (size_t n = 1; n < WRITES_PER_GROUP_MAX && last->next != NULL; n++)
        last = last->next;
    store->queue_first = last->next;
    if (store->queue_first == NULL)
        store->queue_last = NULL;
    last->next = NULL;
    pthread_mutex_unlock(&store->queue_lock);

    run_group(store, first);

    pthread_mutex_lock(&store->queue_lock);
    pending_t *heir = store->queue_first;
    store->leading = heir != NULL;
    if (heir != NULL) {
        heir->lead = true;
        sem_post(&heir->wake);
    }
    pthread_mutex_unlock(&store->queue_lock);
    for (pending_t *p = first, *next = NULL; p != NULL; p = next) {
        next = p->next; /* once woken, its owner takes it off its stack */
        if (p != own)
            sem_post(&p->wake);
    }
    sem_destroy(&own->wake);
}

int weir_store_write(weir_store_t *store, const weir_store_op_t *ops, size_t count,
                     weir_store_result_t *ret, weir_error_t *err)
{
    weir_assert(count > 0);
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, OP_BYTES_MAX);
    *ret = (weir_store_result_t){ .version = store->version };
    prepared_op_t *prepared = weir_arena_alloc(&arena, count * sizeof(*prepared));
    if (prepared == NULL)
        return weir_error_memory(err);
    for (size_t i = 0; i < count; i++) {
        int rc = prepare_op(&ops[i], &arena, &prepared[i]);
        if (rc == WEIR_TOO_LARGE)
            return weir_error_set(err, rc, NULL, "more than %d tags or %d references", TAGS_MAX,
                                  REFERENCES_MAX);
        if (rc != WEIR_OK)
            return weir_error_memory(err);
    }
    pending_t own = { .ops = prepared, .count = count, .result = ret, .err = err };
    run_queued(store, &own);
    return own.code;
}

/* -- what the engine writes itself ---------------------------------------------------------------
 */

int weir_store_write_first(weir_store_t *store, weir_error_t *err)
{
    double now = (double)(weir_clock_ms() / 1000);
    weir_uuid_t workspace;
    weir_uuid_t cluster;
    char id[WEIR_UUID_TEXT + 1];
    char cluster_id[WEIR_UUID_TEXT + 1];
    if (weir_uuid_random(&workspace) != WEIR_OK || weir_uuid_random(&cluster) != WEIR_OK)
        return weir_error_set(err, WEIR_IO, NULL, "the system has no randomness");
    weir_uuid_format(&workspace, id);
    weir_uuid_format(&cluster, cluster_id);

    char text[512];
    WEIR_AUTO(json) weir_json_t *first = NULL;
    WEIR_AUTO(json) weir_json_t *second = NULL;
    snprintf(text, sizeof(text),
             "{\"id\":\"%s\",\"name\":\"default\",\"comment\":null,\"created_at\":%.0f,"
             "\"updated_at\":%.0f,\"meta\":{},\"config\":{}}",
             id, now, now);
    int rc = weir_json_parse(weir_str(text), &first, err);
    snprintf(text, sizeof(text), "{\"created_at\":%.0f,\"key\":\"cluster_id\",\"value\":\"%s\"}",
             now, cluster_id);
    if (rc == WEIR_OK)
        rc = weir_json_parse(weir_str(text), &second, err);
    if (rc != WEIR_OK)
        return rc;
    weir_store_op_t ops[2] = {
        { .kind = WEIR_STORE_PUT, .type = WEIR_WORKSPACES, .id = workspace, .entity = first },
        { .kind = WEIR_STORE_PUT, .type = WEIR_PARAMETERS, .entity = second },
    };
    rc = weir_entity_id(weir_schema(WEIR_PARAMETERS), second, &ops[1].id);
    weir_store_result_t result;
    store->workspace = workspace;
    if (rc == WEIR_OK)
        rc = meta_put(&store->writer, "workspace", weir_str(id), err);
    return rc == WEIR_OK ? weir_store_write(store, ops, WEIR_COUNT(ops), &result, err) : rc;
}

int weir_store_expire(weir_store_t *store, int64_t now_ms, size_t limit, size_t *ret_count,
                      weir_error_t *err)
{
    *ret_count = 0;
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, OP_BYTES_MAX);
    weir_store_op_t *ops = weir_arena_zalloc(&arena, limit * sizeof(*ops));
    if (ops == NULL)
        return weir_error_memory(err);
    connection_t *connection = NULL;
    int rc = reader_take(store, &connection, err);
    if (rc != WEIR_OK)
        return rc;
    sqlite3_stmt *select = statement(connection, S_EXPIRED, err);
    size_t count = 0;
    if (select != NULL) {
        sqlite3_bind_int64(select, 1, now_ms);
        sqlite3_bind_int64(select, 2, (sqlite3_int64)limit);
        for (; count < limit && sqlite3_step(select) == SQLITE_ROW; count++) {
            ops[count].kind = WEIR_STORE_DELETE;
            ops[count].type = (weir_entity_type_t)sqlite3_column_int(select, 0);
            column_uuid(select, 1, &ops[count].id);
            ops[count].expected = (uint64_t)sqlite3_column_int64(select, 2);
        }
        sqlite3_reset(select);
    }
    reader_give(store, connection);
    /* One by one: a row that was renewed meanwhile must not hold up the others. */
    for (size_t i = 0; rc == WEIR_OK && i < count; i++) {
        weir_store_result_t result;
        rc = weir_store_write(store, &ops[i], 1, &result, err);
        *ret_count += rc == WEIR_OK;
        rc = rc == WEIR_CONFLICT ? WEIR_OK : rc;
    }
    return rc;
}

int weir_store_put_data_plane(weir_store_t *store, const weir_uuid_t *node, weir_str_t document,
                              int64_t expires_ms, weir_error_t *err)
{
    connection_t *connection = NULL;
    int rc = reader_take(store, &connection, err);
    if (rc != WEIR_OK)
        return rc;
    sqlite3_stmt *put = statement(connection, S_PLANE_PUT, err);
    rc = WEIR_IO;
    if (put != NULL) {
        bind_uuid(put, 1, node);
        sqlite3_bind_int64(put, 2, expires_ms);
        bind_text(put, 3, document);
        rc = execute(connection, put, err);
    }
    reader_give(store, connection);
    return rc;
}
