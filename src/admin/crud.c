/* crud.c -- what every entity can do: the handlers of the generated paths
 * (admin-api 4). Which entity it is about stands in call->path. */
#include "admin/internal.h"

/* -- one entity ----------------------------------------------------------------------- */

static int check_enabled_and_protocols(call_t *call, weir_write_t kind, located_t *at)
{
    const weir_schema_t *schema = at != NULL ? at->schema : call->path->schema;
    return schema->type == WEIR_PLUGINS ? check_plugin(call, kind, at) : WEIR_OK;
}

int make_room(call_t *call, const weir_schema_t *schema, int rc, const weir_store_result_t *result)
{
    enum { EXPIRED_AT_ONCE = 1000 };
    if (!schema->ttl || rc != ANSWERED ||
        (result->refusal != WEIR_REFUSED_PRIMARY && result->refusal != WEIR_REFUSED_UNIQUE))
        return rc;
    size_t count = 0;
    int expired = weir_store_expire(call->admin->options.store, (int64_t)(call->now * 1000),
                                    EXPIRED_AT_ONCE, &count, call->err);
    if (expired != WEIR_OK)
        return expired;
    return count > 0 ? WEIR_AGAIN : rc;
}

int create(call_t *call, const weir_schema_t *schema)
{
    int rc = check_enabled_and_protocols(call, WEIR_INSERT, NULL);
    if (rc != WEIR_OK)
        return rc;
    WEIR_AUTO(json) weir_json_t *entity = NULL;
    rc = model_write(call, schema, WEIR_INSERT, call->body, NULL, &entity);
    if (rc != WEIR_OK)
        return rc;
    weir_store_op_t op = { .kind = WEIR_STORE_PUT,
                           .type = schema->type,
                           .entity = entity,
                           .expected = WEIR_EXPECT_ABSENT };
    rc = weir_entity_id(schema, entity, &op.id);
    weir_assert(rc == WEIR_OK);
    weir_store_result_t result;
    rc = store_write(call, &op, 1, &result);
    if (rc != WEIR_OK)
        return make_room(call, schema, rc, &result);
    return answer_written(call, 201, schema, &op.id, entity);
}

/* The path's identity, in the body of a replacement. An id that can't be one stays
 * there, to be refused. */
static int put_identity(call_t *call, const located_t *at)
{
    if (!at->by_id)
        return set_text(call->body, at->schema->endpoint_key, at->text);
    if (at->there)
        return WEIR_OK;
    const weir_json_t *given = weir_json_get(call->body, "id");
    weir_uuid_t ignored;
    if (!weir_json_is_null(given) && weir_uuid_parse(weir_json_string(given), &ignored) != WEIR_OK)
        return WEIR_OK;
    char text[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&at->id, text);
    return set_text(call->body, "id", weir_str(text));
}

/* Somebody made the row between our look and our write. */
static bool lost_a_race(const located_t *at, const weir_store_result_t *result)
{
    if (at->there)
        return false;
    if (at->by_id)
        return result->refusal == WEIR_REFUSED_PRIMARY;
    return result->refusal == WEIR_REFUSED_UNIQUE &&
           strcmp(result->key, at->schema->endpoint_key) == 0;
}

int put_entity(call_t *call, located_t *at)
{
    if (put_identity(call, at) != WEIR_OK)
        return weir_error_memory(call->err);
    int rc = check_enabled_and_protocols(call, WEIR_UPSERT, at);
    if (rc == WEIR_OK && at->there)
        rc = located_parse(call, at);
    if (rc != WEIR_OK)
        return rc;
    WEIR_AUTO(json) weir_json_t *entity = NULL;
    rc = model_write(call, at->schema, WEIR_UPSERT, call->body, at->entity, &entity);
    if (rc != WEIR_OK)
        return rc;
    weir_store_op_t op = { .kind = WEIR_STORE_PUT,
                           .type = at->schema->type,
                           .entity = entity,
                           .expected = at->there ? at->row.version : WEIR_EXPECT_ABSENT };
    rc = weir_entity_id(at->schema, entity, &op.id);
    weir_assert(rc == WEIR_OK);
    weir_store_result_t result;
    rc = store_write(call, &op, 1, &result);
    if (rc == ANSWERED)
        rc = make_room(call, at->schema, rc, &result);
    if (rc == ANSWERED && lost_a_race(at, &result))
        return WEIR_AGAIN;
    if (rc != WEIR_OK)
        return rc;
    if (!result.changed && at->there)
        return answer_row(call, 200, at->schema, &at->row);
    return answer_written(call, 200, at->schema, at->foreign ? NULL : &op.id, entity);
}

/* An identity can't change: the incumbent then looks for a row that is not there. */
bool changes_id(const call_t *call, const located_t *at)
{
    weir_uuid_t id;
    weir_str_t given = weir_json_get_string(call->body, "id", WEIR_STR(""));
    return weir_uuid_parse(given, &id) == WEIR_OK && !weir_uuid_equal(&id, &at->id);
}

int patch_entity(call_t *call, located_t *at)
{
    int rc = complete_plugin_patch(call, at);
    if (rc != WEIR_OK)
        return rc;
    if (!at->there)
        return answer_missing(call, at);
    rc = check_enabled_and_protocols(call, WEIR_UPDATE, at);
    if (rc == WEIR_OK)
        rc = located_parse(call, at);
    if (rc != WEIR_OK)
        return rc;
    WEIR_AUTO(json) weir_json_t *entity = NULL;
    rc = model_write(call, at->schema, WEIR_UPDATE, call->body, at->entity, &entity);
    if (rc != WEIR_OK)
        return rc;
    if (changes_id(call, at))
        return answer_missing(call, at);
    weir_store_op_t op = { .kind = WEIR_STORE_PUT,
                           .type = at->schema->type,
                           .id = at->id,
                           .entity = entity,
                           .expected = at->row.version };
    weir_store_result_t result;
    rc = store_write(call, &op, 1, &result);
    if (rc != WEIR_OK)
        return make_room(call, at->schema, rc, &result);
    if (!result.changed)
        return answer_row(call, 200, at->schema, &at->row);
    return answer_written(call, 200, at->schema, at->foreign ? NULL : &op.id, entity);
}

int delete_entity(call_t *call, located_t *at, uint64_t expected)
{
    if (at->there) {
        weir_store_op_t op = {
            .kind = WEIR_STORE_DELETE, .type = at->schema->type, .id = at->id, .expected = expected
        };
        weir_store_result_t result;
        int rc = store_write(call, &op, 1, &result);
        if (rc != WEIR_OK)
            return rc;
    }
    return answer_empty(call, 204);
}

/* -- top level -------------------------------------------------------------------------- */

static int attempt_create(call_t *call)
{
    return create(call, call->path->schema);
}

int handle_collection(call_t *call)
{
    if (call->method == METHOD_GET)
        return list_entities(call, call->path->schema, NULL);
    return repeat(call, WEIR_STR("POST"), attempt_create);
}

static int attempt_entity(call_t *call)
{
    WEIR_AUTO(located) located_t at = { 0 };
    int rc = locate(call, call->path->schema, call->parameters[0], &at);
    if (rc != WEIR_OK)
        return rc;
    switch (call->method) {
    case METHOD_PUT:
        return put_entity(call, &at);
    case METHOD_PATCH:
        return patch_entity(call, &at);
    case METHOD_DELETE:
        return delete_entity(call, &at, WEIR_EXPECT_ANYTHING);
    default:
        return at.there ? answer_row(call, 200, at.schema, &at.row) : answer_not_found(call);
    }
}

int handle_entity(call_t *call)
{
    return repeat(call, call->parameters[0], attempt_entity);
}

/* -- below a parent ------------------------------------------------------------------------ */

int parent_of(call_t *call, located_t *ret)
{
    const weir_schema_t *parent = call->path->parent;
    int rc = parent->type == WEIR_CERTIFICATES ? locate_certificate(call, call->parameters[0], ret)
                                               : locate(call, parent, call->parameters[0], ret);
    return rc == WEIR_OK && !ret->there ? answer_not_found(call) : rc;
}

static int attempt_nested_create(call_t *call)
{
    WEIR_AUTO(located) located_t parent = { 0 };
    int rc = parent_of(call, &parent);
    if (rc != WEIR_OK)
        return rc;
    if (set_reference(call->body, call->path->field->name, &parent.id) != WEIR_OK)
        return weir_error_memory(call->err);
    return create(call, call->path->schema);
}

int handle_nested_collection(call_t *call)
{
    if (call->method == METHOD_POST)
        return repeat(call, WEIR_STR("POST"), attempt_nested_create);
    WEIR_AUTO(located) located_t parent = { 0 };
    int rc = parent_of(call, &parent);
    return rc == WEIR_OK ? list_entities(call, call->path->schema, &parent) : rc;
}

/* Whether `child` refers to this parent. */
static int belongs(call_t *call, located_t *child, const weir_uuid_t *parent, bool *ret)
{
    *ret = false;
    if (!child->there)
        return WEIR_OK;
    int rc = located_parse(call, child);
    weir_uuid_t id;
    if (rc == WEIR_OK && reference_of(child->entity, call->path->field->name, &id) == WEIR_OK)
        *ret = weir_uuid_equal(&id, parent);
    return rc;
}

int attempt_nested(call_t *call)
{
    WEIR_AUTO(located) located_t parent = { 0 };
    WEIR_AUTO(located) located_t child = { 0 };
    const char *field = call->path->field->name;
    bool ours = false;
    int rc = parent_of(call, &parent);
    if (rc == WEIR_OK)
        rc = locate(call, call->path->schema, call->parameters[1], &child);
    if (rc == WEIR_OK)
        rc = belongs(call, &child, &parent.id, &ours);
    if (rc != WEIR_OK)
        return rc;
    if (call->method != METHOD_PUT && !ours)
        return answer_not_found(call);
    bool sets = call->method == METHOD_PUT ||
                (call->method == METHOD_PATCH && weir_json_get(call->body, field) == NULL);
    if (sets && set_reference(call->body, field, &parent.id) != WEIR_OK)
        return weir_error_memory(call->err);
    switch (call->method) {
    case METHOD_PUT:
        return put_entity(call, &child);
    case METHOD_PATCH:
        return patch_entity(call, &child);
    case METHOD_DELETE:
        return delete_entity(call, &child, child.row.version);
    default:
        return answer_row(call, 200, child.schema, &child.row);
    }
}

int handle_nested_entity(call_t *call)
{
    return repeat(call, call->parameters[1], attempt_nested);
}

/* -- what an entity refers to ---------------------------------------------------------------- */

/* A new parent and the reference to it, in one write. */
static int put_new_parent(call_t *call, located_t *child)
{
    const weir_schema_t *schema = call->path->schema;
    WEIR_AUTO(json) weir_json_t *parent = NULL;
    WEIR_AUTO(json) weir_json_t *linked = NULL;
    WEIR_AUTO(json) weir_json_t *link = weir_json_new_object();
    weir_uuid_t id;
    if (weir_uuid_random(&id) != WEIR_OK)
        return weir_error_set(call->err, WEIR_IO, NULL, "no randomness");
    char text[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&id, text);
    if (set_text(call->body, "id", weir_str(text)) != WEIR_OK || link == NULL ||
        set_reference(link, call->path->field->name, &id) != WEIR_OK)
        return weir_error_memory(call->err);
    int rc = model_write(call, schema, WEIR_UPSERT, call->body, NULL, &parent);
    if (rc == WEIR_OK)
        rc = model_write(call, child->schema, WEIR_UPDATE, link, child->entity, &linked);
    if (rc != WEIR_OK)
        return rc;
    weir_store_op_t ops[] = {
        { WEIR_STORE_PUT, schema->type, id, parent, WEIR_EXPECT_ABSENT },
        { WEIR_STORE_PUT, child->schema->type, child->id, linked, child->row.version },
    };
    weir_store_result_t result;
    rc = store_write(call, ops, WEIR_COUNT(ops), &result);
    return rc == WEIR_OK ? answer_written(call, 200, schema, NULL, parent) : rc;
}

static int answer_foreign(call_t *call, const located_t *at)
{
    weir_buffer_t *out = answer_json(call, 200);
    return show_document(call, at->schema, NULL, at->row.document, out);
}

static int attempt_foreign(call_t *call)
{
    WEIR_AUTO(located) located_t child = { 0 };
    WEIR_AUTO(located) located_t parent = { 0 };
    int rc = locate(call, call->path->parent, call->parameters[0], &child);
    if (rc == WEIR_OK && !child.there)
        return answer_not_found(call);
    if (rc == WEIR_OK)
        rc = located_parse(call, &child);
    if (rc != WEIR_OK)
        return rc;
    weir_uuid_t id;
    if (reference_of(child.entity, call->path->field->name, &id) != WEIR_OK)
        return call->method == METHOD_PUT ? put_new_parent(call, &child) : answer_not_found(call);
    if (call->method == METHOD_DELETE)
        return answer_message(call, 405, "Method not allowed");
    rc = locate_id(call, call->path->schema, &id, &parent);
    if (rc == WEIR_OK && !parent.there)
        return WEIR_AGAIN; /* gone since the child was read */
    if (rc != WEIR_OK)
        return rc;
    parent.foreign = true;
    if (call->method == METHOD_PUT)
        return put_entity(call, &parent);
    if (call->method == METHOD_PATCH)
        return patch_entity(call, &parent);
    return answer_foreign(call, &parent);
}

int handle_foreign_entity(call_t *call)
{
    return repeat(call, call->parameters[0], attempt_foreign);
}
