/* entity_fuzz.c -- bodies of clients and rows of control planes. The first byte
 * picks the type, the rest is JSON. What is accepted must be accepted again. */
#include "model/fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count_key(void *context, const char *name, weir_str_t value)
{
    (void)name;
    *(size_t *)context += value.len;
    return WEIR_OK;
}

static int count_reference(void *context, const weir_field_t *field, const weir_schema_t *to,
                           const weir_uuid_t *id)
{
    (void)field, (void)to, (void)id;
    ++*(size_t *)context;
    return WEIR_OK;
}

static void write_as(const weir_schema_t *schema, weir_write_t kind, const weir_json_t *body,
                     const weir_json_t *current)
{
    weir_model_env_t env = fixture_env();
    weir_problem_t problem;
    weir_json_t *entity = NULL;
    weir_problem_init(&problem);
    int rc = weir_model_write(schema, kind, body, current, &env, &entity, &problem);
    weir_assert(rc == WEIR_OK || rc == WEIR_INVALID);
    if (rc == WEIR_OK) {
        weir_json_t *again = NULL;
        size_t count = 0;
        weir_model_keys(schema, entity, count_key, &count);
        weir_model_references(schema, entity, count_reference, &count);
        rc = weir_model_accept(schema, entity, env.now, &again, &problem);
        weir_assert(rc == WEIR_OK ? weir_json_equal(entity, again) : rc == WEIR_INVALID);
        weir_json_free(rc == WEIR_OK ? again : NULL);
        weir_json_free(entity);
    } else {
        weir_assert(problem.code != 0 && problem.message.len > 0);
    }
    weir_problem_release(&problem);
}

static void accept_row(const weir_schema_t *schema, const weir_json_t *row)
{
    weir_problem_t problem;
    weir_json_t *entity = NULL;
    weir_problem_init(&problem);
    int rc = weir_model_accept(schema, row, FIXTURE_NOW, &entity, &problem);
    if (rc == WEIR_OK) {
        weir_json_t *again = NULL;
        rc = weir_model_accept(schema, entity, FIXTURE_NOW, &again, &problem);
        weir_assert(rc == WEIR_OK && weir_json_equal(entity, again));
        write_as(schema, WEIR_UPDATE, row, entity);
        weir_json_free(again);
        weir_json_free(entity);
    }
    weir_problem_release(&problem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const weir_schema_t *schema = weir_schema((weir_entity_type_t)(data[0] % WEIR_ENTITY_TYPES));
    weir_json_t *body = NULL;
    weir_str_t text = { (const char *)data + 1, size - 1 };
    if (schema == NULL || weir_json_parse(text, &body, NULL) != WEIR_OK)
        return 0;
    write_as(schema, WEIR_INSERT, body, NULL);
    accept_row(schema, body);
    if (weir_json_kind(body) == WEIR_JSON_OBJECT) {
        weir_model_infer(schema, body);
        write_as(schema, WEIR_INSERT, body, NULL);
    }
    weir_json_free(body);
    return 0;
}
