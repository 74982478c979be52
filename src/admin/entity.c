/* entity.c -- rows: found by what a path says, shown, written.
 *
 * A write reads its row, computes outside of any transaction and is stored only
 * if the row is still the one that was read; otherwise it starts over. */
#include "admin/internal.h"

#include "model/checks.h"

#include <math.h>
#include <openssl/rand.h>
#include <stdio.h>

/* -- finding ----------------------------------------------------------------------- */

int locate_id(call_t *call, const weir_schema_t *schema, const weir_uuid_t *id, located_t *ret)
{
    *ret = (located_t){ .schema = schema, .by_id = true, .id = *id };
    int rc = weir_store_get(call->admin->options.store, schema->type, id, call->arena, &ret->row,
                            call->err);
    ret->there = rc == WEIR_OK;
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

static int answer_bad_primary_key(call_t *call)
{
    weir_problem_t problem;
    weir_problem_init(&problem);
    weir_json_t *fields = weir_json_new_object();
    int rc = WEIR_NO_MEMORY;
    if (set_text(fields, "id", WEIR_STR("expected a valid UUID")) == WEIR_OK)
        rc = weir_problem_set(&problem, 1, "invalid primary key", fields,
                              "invalid primary key: '{id=\"expected a valid UUID\"}'");
    else
        weir_json_free(fields);
    return answer_refusal(call, rc, &problem);
}

int locate(call_t *call, const weir_schema_t *schema, weir_str_t text, located_t *ret)
{
    weir_uuid_t id;
    if (weir_uuid_parse(text, &id) == WEIR_OK) {
        int rc = locate_id(call, schema, &id, ret);
        ret->text = text;
        return rc;
    }
    *ret = (located_t){ .schema = schema, .text = text };
    if (schema->endpoint_key == NULL)
        return answer_bad_primary_key(call);
    if (memchr(text.data, '\0', text.len) != NULL)
        return answer_page(call, 400);
    weir_problem_t problem;
    weir_problem_init(&problem);
    int rc = weir_model_check_key(schema, text, &problem);
    if (rc != WEIR_OK)
        return answer_refusal(call, rc, &problem);
    weir_problem_release(&problem);
    rc = weir_store_find(call->admin->options.store, schema->type, schema->endpoint_key, text,
                         call->arena, &ret->row, call->err);
    ret->there = rc == WEIR_OK;
    if (ret->there)
        ret->id = ret->row.id;
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

int located_parse(call_t *call, located_t *at)
{
    weir_assert(at->there);
    if (at->entity != NULL)
        return WEIR_OK;
    int rc = weir_json_parse(at->row.document, &at->entity, call->err);
    return rc == WEIR_INVALID
               ? weir_error_within(call->err, WEIR_CORRUPT, "a stored %s", at->schema->name)
               : rc;
}

int answer_missing(call_t *call, const located_t *at)
{
    weir_problem_t problem;
    weir_problem_init(&problem);
    weir_json_t *fields = weir_json_new_object();
    const char *key = at->by_id ? "id" : at->schema->endpoint_key;
    char id[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&at->id, id);
    weir_str_t value = at->by_id ? weir_str(id) : at->text;
    int rc = WEIR_NO_MEMORY;
    if (set_text(fields, key, value) == WEIR_OK)
        rc = weir_problem_set(&problem, 6, "not found", fields,
                              "could not find the entity with %s'{%s=\"%.*s\"}'",
                              at->by_id ? "primary key " : "", key, WEIR_STR_ARG(value));
    else
        weir_json_free(fields);
    return answer_refusal(call, rc, &problem);
}

int set_text(weir_json_t *body, const char *field, weir_str_t text)
{
    if (body == NULL)
        return WEIR_NO_MEMORY;
    return weir_json_set(body, field, weir_json_new_string(text));
}

int reference_of(const weir_json_t *entity, const char *field, weir_uuid_t *ret)
{
    weir_str_t id = weir_json_get_string(weir_json_get(entity, field), "id", WEIR_STR(""));
    return weir_uuid_parse(id, ret) == WEIR_OK ? WEIR_OK : WEIR_NOT_FOUND;
}

int set_reference(weir_json_t *body, const char *field, const weir_uuid_t *id)
{
    char text[WEIR_UUID_TEXT + 1];
    weir_uuid_format(id, text);
    weir_json_t *reference = weir_json_new_object();
    if (set_text(reference, "id", weir_str(text)) != WEIR_OK) {
        weir_json_free(reference);
        return WEIR_NO_MEMORY;
    }
    return weir_json_set(body, field, reference);
}

/* -- the model ----------------------------------------------------------------------- */

/* Letters and digits, each equally likely. */
static int random_text(void *context, char *text, size_t len)
{
    (void)context;
    static const char alphabet[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    enum { LETTERS = sizeof(alphabet) - 1, FAIR = 256 / LETTERS * LETTERS };
    unsigned char bytes[64];
    for (size_t done = 0; done < len;) {
        if (RAND_bytes(bytes, sizeof(bytes)) != 1)
            return WEIR_IO;
        for (size_t i = 0; i < sizeof(bytes) && done < len; i++)
            if (bytes[i] < FAIR)
                text[done++] = alphabet[bytes[i] % LETTERS];
    }
    return WEIR_OK;
}

static int resolve(void *context, const weir_schema_t *schema, const char *unique_field,
                   weir_str_t value, weir_uuid_t *ret, weir_error_t *err)
{
    (void)err; /* ours is seen by the host */
    call_t *call = context;
    weir_row_t row;
    int rc = weir_store_find(call->admin->options.store, schema->type, unique_field, value,
                             call->arena, &row, call->err);
    if (rc == WEIR_OK)
        *ret = row.id;
    return rc;
}

static int answer_primary(call_t *call, const weir_store_op_t *op);

weir_model_env_t model_env(call_t *call)
{
    return (weir_model_env_t){
        .now = call->now, .random_text = random_text, .resolve = resolve, .context = call
    };
}

/* The incumbent's database takes no other text; answers would be no JSON. */
static bool is_utf8(const weir_json_t *value, size_t *ret_position)
{
    weir_str_t text = weir_json_string(value);
    if (text.data != NULL && !weir_utf8_valid(text, ret_position))
        return false;
    for (const weir_json_t *m = weir_json_first(value); m != NULL; m = weir_json_next(m)) {
        const char *name = weir_json_name(m);
        if ((name != NULL && !weir_utf8_valid(weir_str(name), ret_position)) ||
            !is_utf8(m, ret_position))
            return false;
    }
    return true;
}

static int check_text(call_t *call, const weir_json_t *entity)
{
    size_t position = 0;
    for (const weir_json_t *m = weir_json_first(entity); m != NULL; m = weir_json_next(m))
        if (!is_utf8(m, &position))
            return answer_violation(call, weir_json_name(m),
                                    "invalid utf-8 character sequence detected at position %zu",
                                    position + 1);
    return WEIR_OK;
}

/* Fields that their schema lets be null and the incumbent's database does not. It
 * reports that as a primary key that is taken; so that data planes never see such a
 * row, so do we. */
static int check_not_null(call_t *call, const weir_schema_t *schema, const weir_json_t *entity)
{
    const char *field = schema->type == WEIR_TARGETS     ? "weight"
                        : schema->type == WEIR_UPSTREAMS ? "slots"
                                                         : NULL;
    if (field == NULL || !weir_json_is_null(weir_json_get(entity, field)))
        return WEIR_OK;
    weir_store_op_t op = { .type = schema->type };
    weir_entity_id(schema, entity, &op.id);
    return answer_primary(call, &op);
}

int model_write(call_t *call, const weir_schema_t *schema, weir_write_t kind,
                const weir_json_t *body, const weir_json_t *current, weir_json_t **ret)
{
    weir_problem_t problem;
    weir_problem_init(&problem);
    weir_model_env_t env = model_env(call);
    int rc = weir_model_write(schema, kind, body, current, &env, ret, &problem);
    if (rc != WEIR_OK)
        return answer_refusal(call, rc, &problem);
    weir_problem_release(&problem);
    rc = check_text(call, *ret);
    if (rc == WEIR_OK)
        rc = check_not_null(call, schema, *ret);
    if (rc != WEIR_OK) {
        weir_json_free(*ret);
        *ret = NULL;
    }
    return rc;
}

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

static int answer_primary(call_t *call, const weir_store_op_t *op)
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
            int rc =
                weir_store_list(call->admin->options.store, &query, call->arena, &rows, call->err);
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

int store_write(call_t *call, const weir_store_op_t *ops, size_t count, weir_store_result_t *result)
{
    *result = (weir_store_result_t){ 0 };
    int rc = weir_store_write(call->admin->options.store, ops, count, result, call->err);
    if (rc != WEIR_CONFLICT)
        return rc;
    weir_assert(result->op < count);
    const weir_store_op_t *op = &ops[result->op];
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

static size_t lock_of(weir_str_t about)
{
    uint32_t hash = 2166136261U; /* FNV-1a */
    for (size_t i = 0; i < about.len; i++)
        hash = (hash ^ (unsigned char)about.data[i]) * 16777619U;
    return hash & (RETRY_LOCKS - 1);
}

/* Whoever has to repeat holds the lock of its row, and whoever comes meanwhile waits
 * for it, also for a first attempt. So only requests that were on their way already
 * can come in between: fewer than REPEATS_MAX, as the host's threads are. */
int repeat(call_t *call, weir_str_t about, int (*attempt)(call_t *call))
{
    size_t lock = lock_of(about);
    atomic_uint *repeating = &call->admin->repeating[lock];
    if (call->method == METHOD_GET || atomic_load(repeating) == 0) {
        int rc = attempt(call);
        if (rc != WEIR_AGAIN)
            return rc;
    }
    atomic_fetch_add(repeating, 1);
    pthread_mutex_lock(&call->admin->retry_locks[lock]);
    int rc = WEIR_AGAIN;
    for (unsigned n = 0; rc == WEIR_AGAIN && n < REPEATS_MAX; n++)
        rc = attempt(call);
    pthread_mutex_unlock(&call->admin->retry_locks[lock]);
    atomic_fetch_sub(repeating, 1);
    if (rc != WEIR_AGAIN)
        return rc;
    return weir_error_set(call->err, WEIR_CONFLICT, NULL,
                          "the row changed during each of %d attempts to write it", REPEATS_MAX);
}

/* -- showing ----------------------------------------------------------------------------- */

/* Seconds left instead of the stored time of expiry. */
static int show_with_ttl(call_t *call, weir_json_t *entity, weir_buffer_t *out)
{
    const weir_json_t *expiry = weir_json_get(entity, "ttl");
    weir_json_t *left = weir_json_kind(expiry) == WEIR_JSON_NUMBER
                            ? weir_json_new_number(floor(weir_json_number(expiry) - call->now))
                            : weir_json_new_null();
    int rc = weir_json_set(entity, "ttl", left);
    return rc == WEIR_OK ? weir_json_print(entity, out) : rc;
}

int show_document(call_t *call, const weir_schema_t *schema, const weir_uuid_t *id, weir_str_t text,
                  weir_buffer_t *out)
{
    if (schema->ttl) {
        WEIR_AUTO(json) weir_json_t *entity = NULL;
        int rc = weir_json_parse(text, &entity, call->err);
        return rc == WEIR_OK ? show_with_ttl(call, entity, out) : WEIR_CORRUPT;
    }
    if (schema->type != WEIR_CERTIFICATES)
        return weir_buffer_append(out, text);
    weir_assert(text.len > 2 && text.data[text.len - 1] == '}');
    weir_buffer_append(out, (weir_str_t){ text.data, text.len - 1 });
    weir_buffer_byte(out, ',');
    int rc =
        id != NULL ? show_snis(call, id, out) : weir_buffer_append(out, WEIR_STR("\"snis\":null"));
    return rc == WEIR_OK ? weir_buffer_byte(out, '}') : rc;
}

static int shown(call_t *call, int rc)
{
    if (rc == WEIR_OK)
        return WEIR_OK;
    if (call->err->code == WEIR_OK)
        weir_error_set(call->err, rc, NULL, "the answer could not be composed: %s",
                       weir_code_name(rc));
    return rc;
}

int answer_row(call_t *call, int status, const weir_schema_t *schema, const weir_row_t *row)
{
    weir_buffer_t *out = answer_json(call, status);
    return shown(call, show_document(call, schema, &row->id, row->document, out));
}

int answer_written(call_t *call, int status, const weir_schema_t *schema, const weir_uuid_t *id,
                   const weir_json_t *entity)
{
    weir_buffer_t *out = answer_json(call, status);
    if (!schema->ttl && schema->type != WEIR_CERTIFICATES)
        return shown(call, weir_json_print(entity, out));
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, call->response->body.len_max);
    int rc = weir_json_print(entity, &text);
    if (rc == WEIR_OK)
        rc = show_document(call, schema, id, weir_buffer_str(&text), out);
    return shown(call, rc);
}
