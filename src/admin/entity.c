/* entity.c -- rows: found by what a path says, judged by the model, shown. */
#include "admin/internal.h"

#include "model/checks.h"

#include <math.h>
#include <openssl/rand.h>
#include <stdio.h>

/* -- finding ----------------------------------------------------------------------- */

int locate_id(call_t *call, const weir_schema_t *schema, const weir_uuid_t *id, located_t *ret)
{
    *ret = (located_t){ .schema = schema, .by_id = true, .id = *id };
    int rc = row_get(call, schema->type, id, call->arena, &ret->row);
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
    rc = row_find(call, schema->type, schema->endpoint_key, text, call->arena, &ret->row);
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
    int rc = row_find(call, schema->type, unique_field, value, call->arena, &row);
    if (rc == WEIR_OK)
        *ret = row.id;
    return rc;
}

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
