/* write.c -- from an entity to a stored row, or to the answer that says why not.
 *
 * A write reads its row, computes outside of any transaction and is stored only
 * if the row is still the one that was read; otherwise it starts over. */
#include "admin/internal.h"

/* -- the store's refusals (admin-api 6.2) ----------------------------------------------- */

static weir_json_t *reference_value(const weir_uuid_t *id)
{
    char text[WEIR_UUID_TEXT + 1];
    weir_uuid_format(id, text);
    weir_json_t *reference = weir_json_new_object();
    if (set_text(reference, "id", weir_str(text)) == WEIR_OK)
        return reference;
    weir_json_free(reference);
    return NULL;
}

/* The parts of the unique key that is taken, as `fields`. */
static weir_json_t *unique_fields(const weir_schema_t *schema, const char *key,
                                  const weir_json_t *entity)
{
    const char *const single[] = { key, NULL };
    const char *const *names =
        strcmp(key, "cache_key") == 0 && schema->cache_key != NULL ? schema->cache_key : single;
    weir_json_t *fields = weir_json_new_object();
    for (; fields != NULL && *names != NULL; names++) {
        const weir_json_t *value = weir_json_get(entity, *names);
        weir_json_t *copy = value != NULL ? weir_json_copy(value) : weir_json_new_null();
        if (weir_json_set(fields, *names, copy) != WEIR_OK) {
            weir_json_free(fields);
            return NULL;
        }
    }
    return fields;
}

static int answer_unique(call_t *call, const weir_store_op_t *op, const char *key)
{
    weir_problem_t problem;
    weir_problem_init(&problem);
    weir_json_t *fields = unique_fields(weir_schema(op->type), key, op->entity);
    if (fields == NULL)
        return answer_refusal(call, WEIR_NO_MEMORY, &problem);
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 64 * 1024);
    weir_problem_print_key(fields, &text);
    int rc = weir_problem_set(&problem, 5, "unique constraint violation", fields,
                              "UNIQUE violation detected on '%.*s'",
                              WEIR_STR_ARG(weir_buffer_str(&text)));
    return answer_refusal(call, rc, &problem);
}

int answer_primary(call_t *call, const weir_store_op_t *op)
{
    weir_problem_t problem;
    weir_problem_init(&problem);
    char id[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&op->id, id);
    weir_json_t *fields = reference_value(&op->id);
    int rc = fields != NULL ? weir_problem_set(&problem, 3, "primary key violation", fields,
                                               "primary key violation on key '{id=\"%s\"}'", id)
                            : WEIR_NO_MEMORY;
    return answer_refusal(call, rc, &problem);
}

static int answer_no_such_reference(call_t *call, const weir_store_result_t *result)
{
    weir_problem_t problem;
    weir_problem_init(&problem);
    char id[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&result->other_id, id);
    weir_json_t *fields = weir_json_new_object();
    int rc = WEIR_NO_MEMORY;
    if (fields != NULL &&
        weir_json_set(fields, result->key, reference_value(&result->other_id)) == WEIR_OK)
        rc = weir_problem_set(
            &problem, 4, "foreign key violation", fields,
            "the foreign key '{id=\"%s\"}' does not reference an existing '%s' entity.", id,
            weir_schema(result->other)->name);
    else
        weir_json_free(fields);
    return answer_refusal(call, rc, &problem);
}

/* Of several kinds that refer to the row the incumbent names the one whose table
 * is the youngest: upstreams before services. */
static int name_referrer(call_t *call, const weir_store_op_t *op, weir_entity_type_t known,
                         const char **ret)
{
    *ret = weir_schema(known)->name;
    for (int type = WEIR_ENTITY_TYPES - 1; type > (int)known; type--) {
        const weir_schema_t *schema = weir_schema((weir_entity_type_t)type);
        for (const weir_field_t *field = schema->fields; field->name != NULL; field++) {
            if (field->type != WEIR_TYPE_FOREIGN || field->on_delete == WEIR_ON_DELETE_CASCADE ||
                strcmp(field->to, weir_schema(op->type)->name) != 0 ||
                schema->type == WEIR_SNIS) /* they go with their certificate */
                continue;
            weir_store_query_t query = {
                .type = schema->type, .parent_field = field->name, .parent = op->id, .limit = 1
            };
            weir_rows_t rows;
            int rc = row_list(call, &query, call->arena, &rows);
            if (rc != WEIR_OK)
                return rc;
            if (rows.count > 0) {
                *ret = schema->name;
                return WEIR_OK;
            }
        }
    }
    return WEIR_OK;
}

static int answer_referenced(call_t *call, const weir_store_op_t *op,
                             const weir_store_result_t *result)
{
    const char *who = NULL;
    int found = name_referrer(call, op, result->other, &who);
    if (found != WEIR_OK)
        return found;
    weir_problem_t problem;
    weir_problem_init(&problem);
    if (op->type == WEIR_CA_CERTIFICATES) {
        char id[WEIR_UUID_TEXT + 1];
        char other[WEIR_UUID_TEXT + 1];
        weir_uuid_format(&op->id, id);
        weir_uuid_format(&result->other_id, other);
        int rc = weir_problem_set(&problem, 19, "foreign keys referenced by others", NULL,
                                  "ca certificate %s is still referenced by %s (id = %s)", id, who,
                                  other);
        return answer_refusal(call, rc, &problem);
    }
    weir_json_t *fields = weir_json_new_object();
    int rc = WEIR_NO_MEMORY;
    if (set_text(fields, "@referenced_by", weir_str(who)) == WEIR_OK)
        rc = weir_problem_set(&problem, 4, "foreign key violation", fields,
                              "an existing '%s' entity references this '%s' entity", who,
                              weir_schema(op->type)->name);
    else
        weir_json_free(fields);
    return answer_refusal(call, rc, &problem);
}

int answer_refused_op(call_t *call, const weir_store_op_t *op, const weir_store_result_t *result)
{
    switch (result->refusal) {
    case WEIR_REFUSED_CHANGED:
        return WEIR_AGAIN;
    case WEIR_REFUSED_PRIMARY:
        return answer_primary(call, op);
    case WEIR_REFUSED_UNIQUE:
        return answer_unique(call, op, result->key);
    case WEIR_REFUSED_REFERENCE:
        return answer_no_such_reference(call, result);
    case WEIR_REFUSED_REFERENCED:
        return answer_referenced(call, op, result);
    case WEIR_REFUSED_NOT:
        break;
    }
    return weir_error_set(call->err, WEIR_CORRUPT, NULL, "the store refused without a reason");
}

int store_commit(call_t *call, const weir_store_op_t *ops, size_t count,
                 weir_store_result_t *result)
{
    weir_admin_response_t *response = call->response;
    *result = (weir_store_result_t){ 0 };
    if (response->wish.kind != WEIR_WISH_NOT) {
        response->written = weir_arena_alloc(call->arena, count * sizeof(*response->written));
        if (response->written == NULL)
            return weir_error_memory(call->err);
        for (size_t i = 0; i < count; i++)
            response->written[i] = ops[i].id;
        response->written_count = count;
    }
    int rc = weir_store_write(call->admin->options.store, ops, count, result, call->err);
    response->version = result->version;
    return rc;
}

int store_write(call_t *call, const weir_store_op_t *ops, size_t count, weir_store_result_t *result)
{
    if (call->staging != NULL)
        return staging_write(call, ops, count, result);
    int rc = store_commit(call, ops, count, result);
    if (rc != WEIR_CONFLICT)
        return rc;
    weir_assert(result->op < count);
    return answer_refused_op(call, &ops[result->op], result);
}

static size_t lock_of(weir_str_t about)
{
    uint32_t hash = 2166136261U; /* FNV-1a */
    for (size_t i = 0; i < about.len; i++)
        hash = (hash ^ (unsigned char)about.data[i]) * 16777619U;
    return hash & (RETRY_LOCKS - 1);
}

/* One attempt of a request, beside others or, of a transaction that others have kept
 * from its turn, alone. */
static int attempt_beside_others(call_t *call, int (*attempt)(call_t *call))
{
    if (call->method == METHOD_GET)
        return attempt(call);
    pthread_rwlock_rdlock(&call->admin->writers);
    int rc = attempt(call);
    pthread_rwlock_unlock(&call->admin->writers);
    return rc;
}

/* Whoever has to repeat holds the lock of its row, and whoever comes meanwhile waits
 * for it, also for a first attempt. So only requests that were on their way already
 * can come in between: fewer than REPEATS_MAX, as the host's threads are. */
int repeat(call_t *call, weir_str_t about, int (*attempt)(call_t *call))
{
    if (call->staging != NULL)
        return attempt(call); /* the transaction starts over, as a whole */
    size_t lock = lock_of(about);
    atomic_uint *repeating = &call->admin->repeating[lock];
    if (call->method == METHOD_GET || atomic_load(repeating) == 0) {
        int rc = attempt_beside_others(call, attempt);
        if (rc != WEIR_AGAIN)
            return rc;
    }
    atomic_fetch_add(repeating, 1);
    pthread_mutex_lock(&call->admin->retry_locks[lock]);
    int rc = WEIR_AGAIN;
    for (unsigned n = 0; rc == WEIR_AGAIN && n < REPEATS_MAX; n++)
        rc = attempt_beside_others(call, attempt);
    pthread_mutex_unlock(&call->admin->retry_locks[lock]);
    atomic_fetch_sub(repeating, 1);
    if (rc != WEIR_AGAIN)
        return rc;
    return weir_error_set(call->err, WEIR_CONFLICT, NULL,
                          "the row changed during each of %d attempts to write it", REPEATS_MAX);
}
