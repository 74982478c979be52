/* staging.c -- rows as one request sees them.
 *
 * Outside of a transaction that is the store. Within one, what its operations wrote so
 * far lies over the store: operations are staged here, found here by the next ones, and
 * go to the store as one write at the end. So every handler works on a transaction as
 * it does on a request of its own.
 *
 * The store judges once more, in its own transaction: whether rows are still the ones
 * that were read, keys are free, references exist. What is said here only has to be
 * what the store will find, in the same order, if nobody else writes. */
#include "admin/internal.h"

#include <math.h>

enum { HOLDERS_PAGE = 100 }; /* of those that may forbid a deletion */

typedef struct staged_row {
    weir_entity_type_t type;
    weir_uuid_t id;
    bool there;
    size_t written, deleted; /* by which step it was last, from 1; 0: by none */
    weir_str_t document;     /* if there, with `entity` */
    const weir_json_t *entity;
    size_t listed; /* by which listing it was last seen */
} staged_row_t;

/* One row in a chain of a table: under its id, one of its keys or references. What it
 * was found by may have changed since: the entity of the row judges. */
typedef struct chain {
    struct chain *next;
    uint64_t hash;
    staged_row_t *row;
} chain_t;

typedef enum table { BY_ID, BY_KEY, BY_PARENT, TABLES } table_t;

typedef struct step {
    weir_json_t *entity; /* ours; what the op of the same index puts */
    size_t operation;
} step_t;

struct staging {
    weir_arena_t *arena;
    weir_store_op_t *ops;
    step_t *steps;
    size_t count, capacity;
    size_t operation; /* that is being staged */
    size_t deletes, listings;
    chain_t **tables[TABLES];
    size_t mask;
};

int staging_new(call_t *call, size_t operations)
{
    size_t places = 64;
    while (places < operations * 2)
        places *= 2;
    staging_t *staging = weir_calloc(1, sizeof(*staging));
    if (staging == NULL)
        return weir_error_memory(call->err);
    staging->arena = call->arena;
    staging->mask = places - 1;
    for (table_t table = 0; table < TABLES; table++) {
        staging->tables[table] = weir_calloc(places, sizeof(chain_t *));
        if (staging->tables[table] == NULL) {
            staging_free(staging);
            return weir_error_memory(call->err);
        }
    }
    call->staging = staging;
    return WEIR_OK;
}

void staging_free(staging_t *staging)
{
    if (staging == NULL)
        return;
    for (size_t i = 0; i < staging->count; i++)
        weir_json_free(staging->steps[i].entity);
    for (table_t table = 0; table < TABLES; table++)
        weir_free(staging->tables[table]);
    weir_free(staging->ops);
    weir_free(staging->steps);
    weir_free(staging);
}

void staging_begin(staging_t *staging, size_t operation)
{
    staging->operation = operation;
}

/* -- the tables ---------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, weir_str_t text)
{
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (unsigned char)text.data[i]) * UINT64_C(1099511628211); /* FNV-1a */
    return hash;
}

static uint64_t hash_of(weir_entity_type_t type, const char *name, weir_str_t value)
{
    return mix(mix(UINT64_C(14695981039346656037) + (uint64_t)type, weir_str(name)), value);
}

static weir_str_t bytes_of(const weir_uuid_t *id)
{
    return (weir_str_t){ (const char *)id->bytes, WEIR_UUID_BYTES };
}

static int chain(staging_t *s, table_t table, uint64_t hash, staged_row_t *row)
{
    chain_t *link = weir_arena_alloc(s->arena, sizeof(*link));
    if (link == NULL)
        return WEIR_NO_MEMORY;
    chain_t **place = &s->tables[table][hash & s->mask];
    *link = (chain_t){ *place, hash, row };
    *place = link;
    return WEIR_OK;
}

static staged_row_t *find_row(const staging_t *s, weir_entity_type_t type, const weir_uuid_t *id)
{
    uint64_t hash = hash_of(type, "", bytes_of(id));
    for (chain_t *link = s->tables[BY_ID][hash & s->mask]; link != NULL; link = link->next)
        if (link->hash == hash && link->row->type == type && weir_uuid_equal(&link->row->id, id))
            return link->row;
    return NULL;
}

static staged_row_t *make_row(staging_t *s, weir_entity_type_t type, const weir_uuid_t *id)
{
    staged_row_t *row = find_row(s, type, id);
    if (row != NULL)
        return row;
    row = weir_arena_zalloc(s->arena, sizeof(*row));
    if (row == NULL || chain(s, BY_ID, hash_of(type, "", bytes_of(id)), row) != WEIR_OK)
        return NULL;
    row->type = type;
    row->id = *id;
    return row;
}

typedef struct indexing {
    staging_t *staging;
    staged_row_t *row;
} indexing_t;

static int index_key(void *context, const char *name, weir_str_t value)
{
    indexing_t *i = context;
    return chain(i->staging, BY_KEY, hash_of(i->row->type, name, value), i->row);
}

static int index_parent(void *context, const weir_field_t *field, const weir_schema_t *to,
                        const weir_uuid_t *id)
{
    indexing_t *i = context;
    (void)to;
    return chain(i->staging, BY_PARENT, hash_of(i->row->type, field->name, bytes_of(id)), i->row);
}

/* -- what a row holds ---------------------------------------------------------------------- */

typedef struct wanted_key {
    const char *name;
    weir_str_t value;
} wanted_key_t;

/* WEIR_AGAIN, as "found": it stops the iteration. */
static int is_wanted_key(void *context, const char *name, weir_str_t value)
{
    const wanted_key_t *wanted = context;
    return strcmp(name, wanted->name) == 0 && weir_str_equal(value, wanted->value) ? WEIR_AGAIN
                                                                                   : WEIR_OK;
}

typedef struct orphaned {
    const staging_t *staging;
    weir_entity_type_t type;
    size_t written;
} orphaned_t;

static int parent_has_gone(void *context, const weir_field_t *field, const weir_schema_t *to,
                           const weir_uuid_t *id)
{
    const orphaned_t *child = context;
    /* A certificate takes its SNIs with it, whatever the schema says of others. */
    bool cascades = field->on_delete == WEIR_ON_DELETE_CASCADE || child->type == WEIR_SNIS;
    const staged_row_t *parent = cascades ? find_row(child->staging, to->type, id) : NULL;
    return parent != NULL && parent->deleted > child->written ? WEIR_AGAIN : WEIR_OK;
}

/* Whether the store will have deleted it along with a parent. `written`: the step that
 * wrote it, 0: none of this transaction. */
static bool is_orphan(const staging_t *s, weir_entity_type_t type, const weir_json_t *entity,
                      size_t written)
{
    orphaned_t child = { s, type, written };
    return s->deletes > 0 &&
           weir_model_references(weir_schema(type), entity, parent_has_gone, &child) == WEIR_AGAIN;
}

static bool is_there(const staging_t *s, const staged_row_t *row)
{
    return row->there && !is_orphan(s, row->type, row->entity, row->written);
}

/* WEIR_NOT_FOUND: a row of the store that this transaction has deleted with a parent. */
static int check_stored(call_t *call, const weir_row_t *row)
{
    if (call->staging->deletes == 0)
        return WEIR_OK;
    WEIR_AUTO(json) weir_json_t *entity = NULL;
    int rc = weir_json_parse(row->document, &entity, call->err);
    if (rc != WEIR_OK)
        return rc;
    return is_orphan(call->staging, row->type, entity, 0) ? WEIR_NOT_FOUND : WEIR_OK;
}

/* Its version comes with the commit, and the first step of the row has guarded it. */
static weir_row_t shown(const staged_row_t *row)
{
    return (weir_row_t){ row->type, row->id, WEIR_EXPECT_ANYTHING, row->document };
}

/* -- reading --------------------------------------------------------------------------------- */

int row_get(call_t *call, weir_entity_type_t type, const weir_uuid_t *id, weir_arena_t *arena,
            weir_row_t *ret)
{
    weir_store_t *store = call->admin->options.store;
    if (call->staging == NULL)
        return weir_store_get(store, type, id, arena, ret, call->err);
    const staged_row_t *row = find_row(call->staging, type, id);
    if (row == NULL) {
        int rc = weir_store_get(store, type, id, arena, ret, call->err);
        return rc == WEIR_OK ? check_stored(call, ret) : rc;
    }
    if (!is_there(call->staging, row))
        return WEIR_NOT_FOUND;
    *ret = shown(row);
    return WEIR_OK;
}

int row_find(call_t *call, weir_entity_type_t type, const char *key, weir_str_t value,
             weir_arena_t *arena, weir_row_t *ret)
{
    weir_store_t *store = call->admin->options.store;
    const staging_t *s = call->staging;
    if (s == NULL)
        return weir_store_find(store, type, key, value, arena, ret, call->err);
    wanted_key_t wanted = { key, value };
    uint64_t hash = hash_of(type, key, value);
    for (chain_t *link = s->tables[BY_KEY][hash & s->mask]; link != NULL; link = link->next) {
        const staged_row_t *row = link->row;
        if (link->hash != hash || row->type != type || !is_there(s, row))
            continue;
        int found = weir_model_keys(weir_schema(type), row->entity, is_wanted_key, &wanted);
        if (found == WEIR_OK)
            continue; /* it had that key before a later step */
        *ret = shown(row);
        return found == WEIR_AGAIN ? WEIR_OK : weir_error_memory(call->err);
    }
    int rc = weir_store_find(store, type, key, value, arena, ret, call->err);
    if (rc != WEIR_OK)
        return rc;
    return find_row(s, type, &ret->id) != NULL ? WEIR_NOT_FOUND : check_stored(call, ret);
}

/* Drops the rows of a page that this transaction wrote or deleted. */
static int drop_staged(call_t *call, weir_rows_t *page)
{
    size_t kept = 0;
    for (size_t i = 0; i < page->count; i++) {
        int rc = find_row(call->staging, page->rows[i].type, &page->rows[i].id) != NULL
                     ? WEIR_NOT_FOUND
                     : check_stored(call, &page->rows[i]);
        if (rc == WEIR_OK)
            page->rows[kept++] = page->rows[i];
        else if (rc != WEIR_NOT_FOUND)
            return rc;
    }
    page->count = kept;
    return WEIR_OK;
}

static bool is_child(const staged_row_t *row, const weir_store_query_t *query)
{
    weir_uuid_t id;
    return row->type == query->type &&
           reference_of(row->entity, query->parent_field, &id) == WEIR_OK &&
           weir_uuid_equal(&id, &query->parent);
}

/* Puts the staged children behind the last page. */
static int add_staged(call_t *call, const weir_store_query_t *query, weir_arena_t *arena,
                      weir_rows_t *page)
{
    staging_t *s = call->staging;
    uint64_t hash = hash_of(query->type, query->parent_field, bytes_of(&query->parent));
    chain_t *first = s->tables[BY_PARENT][hash & s->mask];
    size_t most = page->count;
    for (const chain_t *link = first; link != NULL; link = link->next)
        most += link->hash == hash;
    weir_row_t *rows = weir_arena_alloc(arena, (most + 1) * sizeof(*rows));
    if (rows == NULL)
        return weir_error_memory(call->err);
    if (page->count > 0)
        memcpy(rows, page->rows, page->count * sizeof(*rows));
    page->rows = rows;
    s->listings++;
    for (const chain_t *link = first; link != NULL; link = link->next) {
        staged_row_t *row = link->row;
        if (link->hash != hash || row->listed == s->listings || !is_there(s, row) ||
            !is_child(row, query))
            continue;
        row->listed = s->listings;
        rows[page->count++] = shown(row);
    }
    return WEIR_OK;
}

int row_list(call_t *call, const weir_store_query_t *query, weir_arena_t *arena, weir_rows_t *ret)
{
    weir_store_t *store = call->admin->options.store;
    if (call->staging == NULL)
        return weir_store_list(store, query, arena, ret, call->err);
    weir_assert(query->parent_field != NULL && query->tag_count == 0);
    weir_store_query_t next = *query;
    int rc = WEIR_OK;
    do { /* a page of which nothing is left would look like the end */
        rc = weir_store_list(store, &next, arena, ret, call->err);
        if (rc == WEIR_OK && ret->count > 0) {
            next.has_after = true;
            next.after = ret->rows[ret->count - 1].id;
            rc = drop_staged(call, ret);
        }
    } while (rc == WEIR_OK && ret->count == 0 && ret->more);
    return rc == WEIR_OK && !ret->more ? add_staged(call, query, arena, ret) : rc;
}

/* -- writing --------------------------------------------------------------------------------- */

static int reserve(staging_t *s)
{
    if (s->count < s->capacity)
        return WEIR_OK;
    size_t capacity = s->capacity > 0 ? s->capacity * 2 : 64;
    weir_store_op_t *ops = weir_realloc(s->ops, capacity * sizeof(*ops));
    if (ops == NULL)
        return WEIR_NO_MEMORY;
    s->ops = ops;
    step_t *steps = weir_realloc(s->steps, capacity * sizeof(*steps));
    if (steps == NULL)
        return WEIR_NO_MEMORY;
    s->steps = steps;
    s->capacity = capacity;
    return WEIR_OK;
}

static bool is_timestamp(const weir_json_t *member)
{
    return strcmp(weir_json_name(member), "created_at") == 0 ||
           strcmp(weir_json_name(member), "updated_at") == 0;
}

/* As the store sees it: times alone are no change, but for a creation time that a
 * client chose. */
static bool is_change(const weir_json_t *entity, const weir_json_t *before)
{
    for (const weir_json_t *m = weir_json_first(entity); m != NULL; m = weir_json_next(m))
        if (!is_timestamp(m) && !weir_json_equal(m, weir_json_get(before, weir_json_name(m))))
            return true;
    double created_at = weir_json_get_number(entity, "created_at", 0);
    double updated_at = weir_json_get_number(entity, "updated_at", created_at);
    return created_at != weir_json_get_number(before, "created_at", 0) &&
           fabs(created_at - updated_at) >= 1;
}

/* *ret: whether a put changes what is there now. */
static int judge_put(call_t *call, const weir_store_op_t *op, bool *ret)
{
    *ret = true;
    weir_row_t row;
    if (op->expected == WEIR_EXPECT_ABSENT)
        return WEIR_OK;
    int rc = row_get(call, op->type, &op->id, call->arena, &row);
    if (rc != WEIR_OK) /* it has gone since it was read: the store will say so */
        return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
    WEIR_AUTO(json) weir_json_t *before = NULL;
    rc = weir_json_parse(row.document, &before, call->err);
    if (rc == WEIR_OK)
        *ret = is_change(op->entity, before);
    return rc;
}

static int lay_over(staging_t *s, const weir_store_op_t *op)
{
    staged_row_t *row = make_row(s, op->type, &op->id);
    if (row == NULL)
        return WEIR_NO_MEMORY;
    if (op->kind == WEIR_STORE_DELETE) {
        row->there = false;
        row->deleted = s->count;
        s->deletes++;
        return WEIR_OK;
    }
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, s->arena->bytes_max);
    if (weir_json_print(op->entity, &text) != WEIR_OK)
        return WEIR_NO_MEMORY;
    row->document = weir_arena_copy(s->arena, weir_buffer_str(&text));
    if (row->document.data == NULL)
        return WEIR_NO_MEMORY;
    row->there = true;
    row->written = s->count;
    row->entity = op->entity;
    indexing_t indexing = { s, row };
    const weir_schema_t *schema = weir_schema(op->type);
    int rc = weir_model_keys(schema, row->entity, index_key, &indexing);
    return rc == WEIR_OK ? weir_model_references(schema, row->entity, index_parent, &indexing) : rc;
}

/* Whether rows of `field` refer to what is to be deleted, and forbid it. */
static int find_holder(call_t *call, const weir_store_op_t *op, const weir_schema_t *schema,
                       const weir_field_t *field, weir_store_result_t *result)
{
    weir_rows_t rows;
    weir_store_query_t query = {
        .type = schema->type, .parent_field = field->name, .parent = op->id, .limit = HOLDERS_PAGE
    };
    int rc = row_list(call, &query, call->arena, &rows);
    if (rc != WEIR_OK || rows.count == 0)
        return rc;
    result->refusal = WEIR_REFUSED_REFERENCED;
    result->other = schema->type;
    result->other_id = rows.rows[0].id;
    return WEIR_CONFLICT;
}

/* The store would refuse a deletion of what is referred to, but only at the end: the
 * operations until then would miss a row that stays. WEIR_CONFLICT: *result says who. */
static int judge_delete(call_t *call, const weir_store_op_t *op, weir_store_result_t *result)
{
    int rc = WEIR_OK;
    for (int type = 1; rc == WEIR_OK && type < WEIR_ENTITY_TYPES; type++) {
        const weir_schema_t *schema = weir_schema((weir_entity_type_t)type);
        if (schema == NULL || type == WEIR_SNIS)
            continue;
        for (const weir_field_t *field = schema->fields; rc == WEIR_OK && field->name != NULL;
             field++)
            if (field->type == WEIR_TYPE_FOREIGN && field->on_delete != WEIR_ON_DELETE_CASCADE &&
                strcmp(field->to, weir_schema(op->type)->name) == 0)
                rc = find_holder(call, op, schema, field, result);
    }
    return rc;
}

static int stage(call_t *call, const weir_store_op_t *op, weir_store_result_t *result)
{
    staging_t *s = call->staging;
    bool changes = true;
    int rc =
        op->kind == WEIR_STORE_PUT ? judge_put(call, op, &changes) : judge_delete(call, op, result);
    if (rc != WEIR_OK)
        return rc == WEIR_CONFLICT ? answer_refused_op(call, op, result) : rc;
    weir_json_t *entity = op->entity != NULL ? weir_json_copy(op->entity) : NULL;
    if ((op->entity != NULL && entity == NULL) || reserve(s) != WEIR_OK) {
        weir_json_free(entity);
        return weir_error_memory(call->err);
    }
    s->ops[s->count] = *op;
    s->ops[s->count].entity = entity;
    s->steps[s->count] = (step_t){ entity, s->operation };
    s->count++;
    if (!changes)
        return WEIR_OK; /* staged all the same: it says what the row must still be */
    result->changed = true;
    return lay_over(s, &s->ops[s->count - 1]) == WEIR_OK ? WEIR_OK : weir_error_memory(call->err);
}

int staging_write(call_t *call, const weir_store_op_t *ops, size_t count,
                  weir_store_result_t *result)
{
    int rc = WEIR_OK;
    *result = (weir_store_result_t){ 0 };
    for (size_t i = 0; rc == WEIR_OK && i < count; i++)
        rc = stage(call, &ops[i], result);
    return rc;
}

const weir_store_op_t *staging_ops(const staging_t *staging, size_t *ret_count)
{
    *ret_count = staging->count;
    return staging->ops;
}

size_t staging_operation(const staging_t *staging, size_t op)
{
    weir_assert(op < staging->count);
    return staging->steps[op].operation;
}
