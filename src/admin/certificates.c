/* certificates.c -- certificates with their pseudo field `snis` (admin-api 9.4).
 *
 * The names are rows of their own. A certificate and the names that come and go
 * with it are one write: all or nothing. */
#include "admin/internal.h"

#include <stdlib.h>

typedef struct name_row {
    weir_str_t name;
    weir_uuid_t id;
    uint64_t version;
} name_row_t;

typedef struct names {
    name_row_t *rows;
    size_t count;
} names_t;

/* What the request says about names. */
typedef struct wanted {
    bool given; /* the body has the member */
    weir_str_t *names;
    size_t count;
} wanted_t;

/* -- finding ------------------------------------------------------------------------- */

int locate_certificate(call_t *call, weir_str_t text, located_t *ret)
{
    const weir_schema_t *certificates = weir_schema(WEIR_CERTIFICATES);
    weir_uuid_t id;
    if (weir_uuid_parse(text, &id) == WEIR_OK)
        return locate_id(call, certificates, &id, ret);
    *ret = (located_t){ .schema = certificates, .text = text };
    WEIR_AUTO(located) located_t sni = { 0 };
    int rc = locate(call, weir_schema(WEIR_SNIS), text, &sni);
    if (rc != WEIR_OK || !sni.there)
        return rc;
    rc = located_parse(call, &sni);
    if (rc != WEIR_OK || reference_of(sni.entity, "certificate", &id) != WEIR_OK)
        return rc;
    rc = locate_id(call, certificates, &id, ret);
    ret->by_id = false;
    ret->text = text;
    return rc;
}

int before_certificate(call_t *call)
{
    bool makes_one = call->method == METHOD_PUT && call->path->parameter_count == 1;
    weir_uuid_t id;
    if (makes_one || weir_uuid_parse(call->parameters[0], &id) == WEIR_OK)
        return WEIR_OK;
    WEIR_AUTO(located) located_t at = { 0 };
    int rc = locate_certificate(call, call->parameters[0], &at);
    return rc == WEIR_OK && !at.there ? answer_message(call, 404, "SNI not found") : rc;
}

static int by_name(const void *a, const void *b)
{
    const weir_str_t *left = &((const name_row_t *)a)->name;
    const weir_str_t *right = &((const name_row_t *)b)->name;
    size_t len = left->len < right->len ? left->len : right->len;
    int order = memcmp(left->data, right->data, len);
    return order != 0 ? order : (left->len > right->len) - (left->len < right->len);
}

/* The names of a certificate, sorted; in `arena`. */
static int names_of(call_t *call, const weir_uuid_t *certificate, weir_arena_t *arena, names_t *ret)
{
    weir_store_query_t query = { .type = WEIR_SNIS,
                                 .parent_field = "certificate",
                                 .parent = *certificate,
                                 .limit = PAGE_SIZE_MAX };
    weir_buffer_t rows;
    weir_buffer_init(&rows, SIZE_MAX);
    int rc = WEIR_OK;
    for (weir_rows_t page = { .more = true }; rc == WEIR_OK && page.more;) {
        rc = row_list(call, &query, arena, &page);
        for (size_t i = 0; rc == WEIR_OK && i < page.count; i++) {
            WEIR_AUTO(json) weir_json_t *sni = NULL;
            rc = weir_json_parse(page.rows[i].document, &sni, call->err);
            name_row_t row = { .id = page.rows[i].id, .version = page.rows[i].version };
            row.name = weir_arena_copy(arena, weir_json_get_string(sni, "name", WEIR_STR("")));
            if (rc == WEIR_OK && row.name.data == NULL)
                rc = weir_error_memory(call->err);
            weir_buffer_append(&rows, (weir_str_t){ (const char *)&row, sizeof(row) });
            query.has_after = true;
            query.after = row.id;
        }
        if (page.count == 0)
            break;
    }
    if (rc == WEIR_OK && rows.failed != WEIR_OK)
        rc = weir_error_memory(call->err);
    if (rc == WEIR_OK) {
        ret->count = rows.len / sizeof(name_row_t);
        ret->rows = weir_arena_alloc(arena, rows.len + 1);
        if (ret->rows == NULL)
            rc = weir_error_memory(call->err);
        else if (rows.len > 0)
            memcpy(ret->rows, rows.data, rows.len);
    }
    weir_buffer_release(&rows);
    if (rc == WEIR_OK)
        qsort(ret->rows, ret->count, sizeof(*ret->rows), by_name);
    return rc;
}

int show_snis(call_t *call, const weir_uuid_t *certificate, weir_buffer_t *out)
{
    names_t names;
    int rc = names_of(call, certificate, call->arena, &names);
    if (rc != WEIR_OK)
        return rc;
    weir_buffer_append(out, WEIR_STR("\"snis\":["));
    for (size_t i = 0; i < names.count; i++) {
        if (i > 0)
            weir_buffer_byte(out, ',');
        weir_json_print_string(names.rows[i].name, out);
    }
    return weir_buffer_byte(out, ']');
}

/* -- what is wanted ---------------------------------------------------------------------- */

static bool has_name(const weir_str_t *names, size_t count, weir_str_t name)
{
    for (size_t i = 0; i < count; i++)
        if (weir_str_equal(names[i], name))
            return true;
    return false;
}

/* A list, or (but for POST) one name. Anything else is left for the model to refuse. */
static int take_names(call_t *call, weir_str_t also, wanted_t *ret)
{
    *ret = (wanted_t){ 0 };
    const weir_json_t *snis = weir_json_get(call->body, "snis");
    ret->given = snis != NULL;
    if (weir_json_kind(snis) == WEIR_JSON_STRING && call->method != METHOD_POST) {
        weir_json_t *list = weir_json_new_array();
        if (list == NULL ||
            weir_json_append(list, weir_json_new_string(weir_json_string(snis))) != WEIR_OK) {
            weir_json_free(list);
            return weir_error_memory(call->err);
        }
        if (weir_json_set(call->body, "snis", list) != WEIR_OK)
            return weir_error_memory(call->err);
        snis = weir_json_get(call->body, "snis");
    }
    bool is_list = weir_json_kind(snis) == WEIR_JSON_ARRAY;
    size_t count = is_list ? weir_json_count(snis) : 0;
    if (count > SNIS_MAX)
        return answer_violation(call, "snis", "length must be at most %d", SNIS_MAX);
    ret->names = weir_arena_alloc(call->arena, (count + 1) * sizeof(*ret->names));
    if (ret->names == NULL)
        return weir_error_memory(call->err);
    for (const weir_json_t *one = is_list ? weir_json_first(snis) : NULL; one != NULL;
         one = weir_json_next(one))
        if (weir_json_kind(one) == WEIR_JSON_STRING)
            ret->names[ret->count++] = weir_json_string(one);
    if (also.data != NULL && !has_name(ret->names, ret->count, also))
        ret->names[ret->count++] = also;
    return WEIR_OK;
}

static int compare_texts(const void *a, const void *b)
{
    name_row_t left = { .name = *(const weir_str_t *)a };
    name_row_t right = { .name = *(const weir_str_t *)b };
    return by_name(&left, &right);
}

/* The first name that comes twice. */
static int find_duplicate(call_t *call, const wanted_t *wanted, weir_str_t *ret)
{
    size_t bytes = wanted->count * sizeof(*wanted->names);
    weir_str_t *sorted = weir_arena_alloc(call->arena, bytes + 1);
    if (sorted == NULL)
        return weir_error_memory(call->err);
    if (bytes > 0)
        memcpy(sorted, wanted->names, bytes);
    qsort(sorted, wanted->count, sizeof(*sorted), compare_texts);
    *ret = (weir_str_t){ NULL, 0 };
    for (size_t i = 1; i < wanted->count && ret->data == NULL; i++)
        if (weir_str_equal(sorted[i - 1], sorted[i]))
            *ret = sorted[i];
    return WEIR_OK;
}

/* Each name can be one and belongs to nobody else. `own` NULL: a new certificate. */
static int check_names(call_t *call, const wanted_t *wanted, const weir_uuid_t *own)
{
    weir_str_t twice = { NULL, 0 };
    int rc = find_duplicate(call, wanted, &twice);
    if (rc == WEIR_OK && twice.data != NULL)
        return answer_violation(call, "snis", "%.*s is duplicated", WEIR_STR_ARG(twice));
    const weir_schema_t *snis = weir_schema(WEIR_SNIS);
    for (size_t i = 0; rc == WEIR_OK && i < wanted->count; i++) {
        weir_problem_t problem;
        weir_problem_init(&problem);
        rc = weir_model_check_key(snis, wanted->names[i], &problem);
        if (rc != WEIR_OK)
            return answer_refusal(call, rc, &problem);
        weir_problem_release(&problem);
        weir_row_t row;
        rc = row_find(call, WEIR_SNIS, "name", wanted->names[i], call->arena, &row);
        if (rc == WEIR_NOT_FOUND) {
            rc = WEIR_OK;
            continue;
        }
        WEIR_AUTO(json) weir_json_t *sni = NULL;
        weir_uuid_t owner;
        if (rc == WEIR_OK)
            rc = weir_json_parse(row.document, &sni, call->err);
        if (rc != WEIR_OK || reference_of(sni, "certificate", &owner) != WEIR_OK)
            return rc;
        if (own != NULL && weir_uuid_equal(own, &owner))
            continue;
        char id[WEIR_UUID_TEXT + 1];
        weir_uuid_format(&owner, id);
        return answer_violation(call, "snis",
                                "%.*s already associated with existing certificate '%s'",
                                WEIR_STR_ARG(wanted->names[i]), id);
    }
    return rc;
}

/* -- the write ---------------------------------------------------------------------------- */

typedef struct plan {
    weir_store_op_t *ops;
    size_t count;
    weir_json_t **entities; /* of the SNIs; ours */
    size_t entity_count;
} plan_t;

static void weir_plan_cleanup(plan_t *plan)
{
    for (size_t i = 0; i < plan->entity_count; i++)
        weir_json_free(plan->entities[i]);
}

static int plan_sni(call_t *call, plan_t *plan, weir_str_t name, const weir_uuid_t *certificate)
{
    WEIR_AUTO(json) weir_json_t *body = weir_json_new_object();
    if (set_text(body, "name", name) != WEIR_OK ||
        set_reference(body, "certificate", certificate) != WEIR_OK)
        return weir_error_memory(call->err);
    const weir_schema_t *snis = weir_schema(WEIR_SNIS);
    weir_json_t *entity = NULL;
    int rc = model_write(call, snis, WEIR_INSERT, body, NULL, &entity);
    if (rc != WEIR_OK)
        return rc;
    plan->entities[plan->entity_count++] = entity;
    weir_store_op_t *op = &plan->ops[plan->count++];
    *op = (weir_store_op_t){
        .kind = WEIR_STORE_PUT, .type = WEIR_SNIS, .entity = entity, .expected = WEIR_EXPECT_ABSENT
    };
    return weir_entity_id(snis, entity, &op->id);
}

/* Names that go, then names that come. */
static int plan_names(call_t *call, plan_t *plan, const wanted_t *wanted, const names_t *held,
                      const weir_uuid_t *certificate)
{
    int rc = WEIR_OK;
    for (size_t i = 0; i < held->count; i++) {
        if (has_name(wanted->names, wanted->count, held->rows[i].name))
            continue;
        plan->ops[plan->count++] = (weir_store_op_t){ .kind = WEIR_STORE_DELETE,
                                                      .type = WEIR_SNIS,
                                                      .id = held->rows[i].id,
                                                      .expected = held->rows[i].version };
    }
    for (size_t i = 0; rc == WEIR_OK && i < wanted->count; i++) {
        name_row_t key = { .name = wanted->names[i] };
        if (bsearch(&key, held->rows, held->count, sizeof(key), by_name) == NULL)
            rc = plan_sni(call, plan, wanted->names[i], certificate);
    }
    return rc;
}

/* Stores `entity` and what `wanted` says; NULL: the names stay as they are. */
static int write_certificate(call_t *call, const weir_json_t *entity, uint64_t expected, int status,
                             const wanted_t *wanted)
{
    const weir_schema_t *schema = weir_schema(WEIR_CERTIFICATES);
    names_t held = { 0 };
    weir_uuid_t id;
    int rc = weir_entity_id(schema, entity, &id);
    weir_assert(rc == WEIR_OK);
    if (wanted != NULL)
        rc = names_of(call, &id, call->arena, &held);
    if (rc != WEIR_OK)
        return rc;
    size_t most = 1 + held.count + (wanted != NULL ? wanted->count : 0);
    __attribute__((cleanup(weir_plan_cleanup))) plan_t plan = {
        .ops = weir_arena_alloc(call->arena, most * sizeof(weir_store_op_t)),
        .entities = weir_arena_alloc(call->arena, most * sizeof(weir_json_t *)),
    };
    if (plan.ops == NULL || plan.entities == NULL)
        return weir_error_memory(call->err);
    plan.ops[plan.count++] =
        (weir_store_op_t){ WEIR_STORE_PUT, schema->type, id, entity, expected };
    if (wanted != NULL)
        rc = plan_names(call, &plan, wanted, &held, &id);
    if (rc != WEIR_OK)
        return rc;
    weir_store_result_t result;
    rc = store_write(call, plan.ops, plan.count, &result);
    if (rc == ANSWERED && result.op > 0 && result.refusal == WEIR_REFUSED_UNIQUE)
        return WEIR_AGAIN; /* the name was free a moment ago */
    if (rc != WEIR_OK)
        return rc;
    WEIR_AUTO(located) located_t stored = { 0 };
    rc = locate_id(call, schema, &id, &stored);
    if (rc != WEIR_OK)
        return rc;
    return stored.there ? answer_row(call, status, schema, &stored.row)
                        : answer_written(call, status, schema, NULL, entity);
}

static int attempt_create(call_t *call)
{
    wanted_t wanted;
    int rc = take_names(call, (weir_str_t){ NULL, 0 }, &wanted);
    if (rc == WEIR_OK)
        rc = check_names(call, &wanted, NULL);
    WEIR_AUTO(json) weir_json_t *entity = NULL;
    if (rc == WEIR_OK)
        rc = model_write(call, call->path->schema, WEIR_INSERT, call->body, NULL, &entity);
    if (rc != WEIR_OK)
        return rc;
    return write_certificate(call, entity, WEIR_EXPECT_ABSENT, 201, &wanted);
}

static int attempt_put(call_t *call, located_t *at)
{
    bool makes_name = !at->by_id && (!at->there || weir_json_get(call->body, "snis") != NULL);
    wanted_t wanted;
    int rc = take_names(call, makes_name ? at->text : (weir_str_t){ NULL, 0 }, &wanted);
    if (rc == WEIR_OK)
        rc = check_names(call, &wanted, at->there || at->by_id ? &at->id : NULL);
    if (rc == WEIR_OK && at->there)
        rc = located_parse(call, at);
    if (rc != WEIR_OK)
        return rc;
    const weir_json_t *given = weir_json_get(call->body, "id");
    weir_uuid_t ignored;
    bool bad_id =
        !weir_json_is_null(given) && weir_uuid_parse(weir_json_string(given), &ignored) != WEIR_OK;
    if (at->by_id && !at->there && !bad_id) {
        char text[WEIR_UUID_TEXT + 1];
        weir_uuid_format(&at->id, text);
        if (set_text(call->body, "id", weir_str(text)) != WEIR_OK)
            return weir_error_memory(call->err);
    }
    WEIR_AUTO(json) weir_json_t *entity = NULL;
    rc = model_write(call, at->schema, WEIR_UPSERT, call->body, at->entity, &entity);
    if (rc != WEIR_OK)
        return rc;
    return write_certificate(call, entity, at->there ? at->row.version : WEIR_EXPECT_ABSENT, 200,
                             &wanted);
}

static int attempt_patch(call_t *call, located_t *at)
{
    if (!at->there)
        return answer_missing(call, at);
    wanted_t wanted;
    int rc = take_names(call, (weir_str_t){ NULL, 0 }, &wanted);
    if (rc == WEIR_OK)
        rc = check_names(call, &wanted, &at->id);
    if (rc == WEIR_OK)
        rc = located_parse(call, at);
    WEIR_AUTO(json) weir_json_t *entity = NULL;
    if (rc == WEIR_OK)
        rc = model_write(call, at->schema, WEIR_UPDATE, call->body, at->entity, &entity);
    if (rc != WEIR_OK)
        return rc;
    if (changes_id(call, at))
        return answer_missing(call, at);
    return write_certificate(call, entity, at->row.version, 200, wanted.given ? &wanted : NULL);
}

int handle_certificates(call_t *call)
{
    if (call->method == METHOD_GET)
        return list_entities(call, call->path->schema, NULL);
    return repeat(call, WEIR_STR("POST"), attempt_create);
}

static int attempt_certificate(call_t *call)
{
    WEIR_AUTO(located) located_t at = { 0 };
    int rc = locate_certificate(call, call->parameters[0], &at);
    if (rc != WEIR_OK)
        return rc;
    switch (call->method) {
    case METHOD_PUT:
        return attempt_put(call, &at);
    case METHOD_PATCH:
        return attempt_patch(call, &at);
    case METHOD_DELETE:
        return delete_entity(call, &at, WEIR_EXPECT_ANYTHING);
    default:
        return at.there ? answer_row(call, 200, at.schema, &at.row) : answer_missing(call, &at);
    }
}

int handle_certificate(call_t *call)
{
    return repeat(call, call->parameters[0], attempt_certificate);
}
