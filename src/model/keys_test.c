/* keys_test.c -- identity, unique keys, references, keys of paths, and forms. */
#include "model/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define ID "00000000-0000-4000-8000-000000000001"

typedef struct seen {
    char text[512];
    size_t calls;
    int answer; /* of the last call */
} seen_t;

static int see_key(void *context, const char *name, weir_str_t value)
{
    seen_t *seen = context;
    size_t len = strlen(seen->text);
    snprintf(seen->text + len, sizeof(seen->text) - len, "%s=%.*s;", name, WEIR_STR_ARG(value));
    seen->calls++;
    return seen->answer;
}

static int see_reference(void *context, const weir_field_t *field, const weir_schema_t *to,
                         const weir_uuid_t *id)
{
    char text[WEIR_UUID_TEXT + 1];
    weir_uuid_format(id, text);
    seen_t *seen = context;
    size_t len = strlen(seen->text);
    snprintf(seen->text + len, sizeof(seen->text) - len, "%s:%s:%s:%d;", field->name, to->name,
             text + 34, field->on_delete);
    seen->calls++;
    return seen->answer;
}

static void keys_of(weir_entity_type_t type, const char *text, const char *expected)
{
    seen_t seen = { 0 };
    weir_json_t *entity = fixture_json(text);
    int rc = weir_model_keys(weir_schema(type), entity, see_key, &seen);
    weir_json_free(entity);
    assert_int_equal(rc, WEIR_OK);
    assert_string_equal(seen.text, expected);
}

static void unique_fields_that_are_set_are_keys(void **state)
{
    (void)state;
    keys_of(WEIR_CONSUMERS, "{\"username\":\"anna\",\"custom_id\":null}", "username=anna;");
    keys_of(WEIR_CONSUMERS, "{\"username\":\"anna\",\"custom_id\":\"c\"}",
            "username=anna;custom_id=c;");
    keys_of(WEIR_SERVICES, "{\"name\":null}", "");
    keys_of(WEIR_KEYAUTH_CREDENTIALS, "{\"key\":\"k\"}", "key=k;");
    keys_of(WEIR_CA_CERTIFICATES, "{\"cert_digest\":\"d\"}", "cert_digest=d;");
}

static void composite_keys_have_every_part_also_the_empty_ones(void **state)
{
    (void)state;
    keys_of(WEIR_PLUGINS,
            "{\"name\":\"key-auth\",\"route\":null,\"service\":{\"id\":\"" ID "\"},"
            "\"consumer\":null,\"instance_name\":\"i\"}",
            "instance_name=i;cache_key=key-auth::" ID ":;");
    keys_of(WEIR_TARGETS, "{\"target\":\"a:80\",\"upstream\":{\"id\":\"" ID "\"}}",
            "cache_key=" ID ":a:80;");
}

static void references_name_their_target_and_what_its_end_means(void **state)
{
    (void)state;
    seen_t seen = { 0 };
    weir_json_t *plugin = fixture_json("{\"route\":{\"id\":\"" ID "\"},\"service\":null,"
                                       "\"consumer\":{\"id\":\"" ID "\"}}");
    int rc = weir_model_references(weir_schema(WEIR_PLUGINS), plugin, see_reference, &seen);
    weir_json_free(plugin);
    assert_int_equal(rc, WEIR_OK);
    assert_string_equal(seen.text, "route:routes:01:1;consumer:consumers:01:1;");
}

static void the_first_answer_that_is_not_ok_ends_the_walk(void **state)
{
    (void)state;
    seen_t seen = { .answer = WEIR_CONFLICT };
    weir_json_t *consumer = fixture_json("{\"username\":\"a\",\"custom_id\":\"c\"}");
    assert_int_equal(weir_model_keys(weir_schema(WEIR_CONSUMERS), consumer, see_key, &seen),
                     WEIR_CONFLICT);
    assert_int_equal(seen.calls, 1);
    weir_json_free(consumer);
}

static void every_entity_has_sixteen_bytes_of_identity(void **state)
{
    (void)state;
    weir_uuid_t first, second, third;
    weir_json_t *a = fixture_json("{\"key\":\"cluster_id\",\"value\":\"1\"}");
    weir_json_t *b = fixture_json("{\"key\":\"cluster_id\",\"value\":\"2\"}");
    weir_json_t *c = fixture_json("{\"key\":\"other\",\"value\":\"1\"}");
    const weir_schema_t *schema = weir_schema(WEIR_PARAMETERS);
    assert_int_equal(weir_entity_id(schema, a, &first), WEIR_OK);
    assert_int_equal(weir_entity_id(schema, b, &second), WEIR_OK);
    assert_int_equal(weir_entity_id(schema, c, &third), WEIR_OK);
    assert_true(weir_uuid_equal(&first, &second));
    assert_false(weir_uuid_equal(&first, &third));
    assert_int_not_equal(weir_entity_id(weir_schema(WEIR_CONSUMERS), a, &first), WEIR_OK);
    weir_json_free(a);
    weir_json_free(b);
    weir_json_free(c);
}

static void what_is_referred_to_comes_first_in_a_full_dump(void **state)
{
    (void)state;
    size_t count = 0;
    const weir_entity_type_t *order = weir_schema_order(&count);
    bool before[WEIR_ENTITY_TYPES] = { false };
    assert_int_equal(count, WEIR_ENTITY_TYPES - 1);
    for (size_t i = 0; i < count; i++) {
        const weir_schema_t *schema = weir_schema(order[i]);
        for (const weir_field_t *field = schema->fields; field->name != NULL; field++)
            if (field->to != NULL)
                assert_true(before[weir_schema_named(weir_str(field->to))->type]);
        before[order[i]] = true;
    }
}

static void a_key_from_a_path_is_judged_as_its_field(void **state)
{
    (void)state;
    weir_problem_t problem;
    weir_problem_init(&problem);
    assert_int_equal(weir_model_check_key(weir_schema(WEIR_SERVICES), WEIR_STR("a"), &problem),
                     WEIR_OK);
    assert_int_equal(
        weir_model_check_key(weir_schema(WEIR_UPSTREAMS), WEIR_STR("1.2.3.4"), &problem),
        WEIR_INVALID);
    assert_int_equal(problem.code, 10);
    assert_string_equal(problem.name, "invalid unique name");
    assert_true(weir_str_is(weir_buffer_str(&problem.message),
                            "Invalid name ('1.2.3.4'); no ip addresses allowed"));
    assert_null(problem.fields);
    weir_problem_release(&problem);
}

/* -- forms ---------------------------------------------------------------- */

static void becomes(weir_entity_type_t type, const char *form, const char *expected)
{
    weir_json_t *body = fixture_json(form);
    weir_json_t *want = fixture_json(expected);
    assert_int_equal(weir_model_infer(weir_schema(type), body), WEIR_OK);
    bool same = weir_json_equal(body, want);
    weir_json_free(body);
    weir_json_free(want);
    if (!same)
        fail_msg("%s", form);
}

static void text_of_a_form_becomes_what_its_field_holds(void **state)
{
    (void)state;
    becomes(WEIR_SERVICES, "{\"retries\":\" 0x10 \",\"port\":\"2.5\",\"enabled\":\"false\"}",
            "{\"retries\":16,\"port\":2.5,\"enabled\":false}");
    becomes(WEIR_SERVICES, "{\"retries\":\"\",\"name\":\"\",\"url\":\"\"}",
            "{\"retries\":null,\"name\":null,\"url\":null}");
    becomes(WEIR_SERVICES, "{\"tags\":\"a\",\"ca_certificates\":[\"\",\"x\"]}",
            "{\"tags\":[\"a\"],\"ca_certificates\":[null,\"x\"]}");
    becomes(WEIR_ROUTES, "{\"headers\":{\"x\":\"1\"},\"service\":{\"port\":\"80\"}}",
            "{\"headers\":{\"x\":[\"1\"]},\"service\":{\"port\":80}}");
    becomes(WEIR_PLUGINS,
            "{\"name\":\"key-auth\",\"config\":{\"key_in_body\":\"true\",\"key_names\":\"k\"}}",
            "{\"name\":\"key-auth\",\"config\":{\"key_in_body\":true,\"key_names\":[\"k\"]}}");
    becomes(WEIR_KEYAUTH_CREDENTIALS, "{\"ttl\":\"60\",\"key\":\"60\"}",
            "{\"ttl\":60,\"key\":\"60\"}");
}

static void text_that_does_not_fit_stays_text(void **state)
{
    (void)state;
    becomes(WEIR_SERVICES,
            "{\"retries\":\"five\",\"enabled\":\"True\",\"port\":\"inf\",\"nosuch\":\"1\"}",
            "{\"retries\":\"five\",\"enabled\":\"True\",\"port\":\"inf\",\"nosuch\":\"1\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unique_fields_that_are_set_are_keys),
        cmocka_unit_test(composite_keys_have_every_part_also_the_empty_ones),
        cmocka_unit_test(references_name_their_target_and_what_its_end_means),
        cmocka_unit_test(the_first_answer_that_is_not_ok_ends_the_walk),
        cmocka_unit_test(every_entity_has_sixteen_bytes_of_identity),
        cmocka_unit_test(what_is_referred_to_comes_first_in_a_full_dump),
        cmocka_unit_test(a_key_from_a_path_is_judged_as_its_field),
        cmocka_unit_test(text_of_a_form_becomes_what_its_field_holds),
        cmocka_unit_test(text_that_does_not_fit_stays_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
