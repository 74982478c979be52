/* describe_test.c -- what /schemas shows of the tables. */
#include "model/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void shows(weir_json_t *description, const char *name, const char *expected)
{
    assert_non_null(description);
    weir_json_t *want = fixture_json(expected);
    assert_non_null(want);
    const weir_json_t *field = weir_json_first(weir_json_get(description, "fields"));
    while (field != NULL && weir_json_get(field, name) == NULL)
        field = weir_json_next(field);
    bool same = weir_json_equal(weir_json_get(field, name), want);
    weir_json_free(want);
    weir_json_free(description);
    assert_true(same);
}

static void a_field_shows_its_rules_and_default(void **state)
{
    (void)state;
    shows(weir_schema_describe(weir_schema(WEIR_SERVICES)), "retries",
          "{\"type\":\"integer\",\"default\":5,\"between\":[0,32767]}");
    shows(weir_schema_describe(weir_schema(WEIR_SERVICES)), "tls_verify_depth",
          "{\"type\":\"integer\",\"default\":null,\"between\":[0,64]}");
    shows(weir_schema_describe(weir_schema(WEIR_ROUTES)), "https_redirect_status_code",
          "{\"type\":\"integer\",\"required\":true,\"one_of\":[426,301,302,307,308],"
          "\"default\":426}");
}

static void a_reference_shows_its_target_but_not_the_schema_there(void **state)
{
    (void)state;
    shows(weir_schema_describe(weir_schema(WEIR_KEYAUTH_CREDENTIALS)), "consumer",
          "{\"type\":\"foreign\",\"required\":true,\"reference\":\"consumers\","
          "\"on_delete\":\"cascade\"}");
}

static void rules_that_are_code_show_the_patterns_that_they_stand_for(void **state)
{
    (void)state;
    shows(weir_schema_describe(weir_schema(WEIR_ROUTES)), "methods",
          "{\"type\":\"set\",\"elements\":{\"type\":\"string\",\"match\":\"^%u+$\"}}");
}

static void a_plugin_shows_only_what_it_specialises(void **state)
{
    (void)state;
    const weir_plugin_schema_t *plugin = weir_plugin_schema(WEIR_STR("key-auth"));
    assert_non_null(plugin);
    shows(weir_plugin_schema_describe(plugin, false), "consumer",
          "{\"type\":\"foreign\",\"reference\":\"consumers\",\"eq\":null}");
    shows(weir_plugin_schema_describe(plugin, true), "key_names",
          "{\"type\":\"array\",\"required\":true,\"elements\":{\"type\":\"string\"},"
          "\"default\":[\"apikey\"]}");
}

static void a_description_fails_cleanly_at_every_allocation(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 20000; n++) {
        weir_test_fail_allocation(n);
        weir_json_t *description = weir_schema_describe(weir_schema(WEIR_CONSUMERS));
        weir_test_fail_allocation(0);
        if (description != NULL) {
            weir_json_free(description);
            assert_true(n > 10);
            return;
        }
    }
    fail_msg("never succeeded");
}

/* -- the recordings ------------------------------------------------------- */

/* What the recordings leave out: what the recorded engine adds once it is used. */
static void normalize(weir_json_t *value)
{
    static const char *const inner[] = { "elements", "keys", "values" };
    if (weir_json_get_number(value, "len_min", 0) == 1)
        weir_json_remove(value, "len_min");
    for (size_t i = 0; i < WEIR_COUNT(inner); i++)
        if (weir_json_kind(weir_json_get(value, inner[i])) == WEIR_JSON_OBJECT)
            weir_json_remove(weir_json_get_mutable(value, inner[i]), "required");
    for (weir_json_t *child = weir_json_first_mutable(value); child != NULL;
         child = weir_json_next_mutable(child))
        normalize(child);
}

/* What we answer; NULL if the path is of something that this build lacks. */
static weir_json_t *answer(const char *path)
{
    weir_str_t text = weir_str(path);
    bool config_only = weir_str_starts(text, WEIR_STR("/plugins/schema/"));
    weir_str_t start = config_only ? WEIR_STR("/plugins/schema/") : WEIR_STR("/schemas/plugins/");
    if (weir_str_starts(text, start)) {
        const weir_plugin_schema_t *plugin = weir_plugin_schema(weir_str(path + start.len));
        return plugin != NULL ? weir_plugin_schema_describe(plugin, config_only) : NULL;
    }
    if (!weir_str_starts(text, WEIR_STR("/schemas/")))
        return NULL;
    const weir_schema_t *schema = weir_schema_named(weir_str(path + 9));
    return schema != NULL ? weir_schema_describe(schema) : NULL;
}

static unsigned compare_line(const char *line, unsigned *compared)
{
    unsigned failed = 0;
    weir_json_t *scenario = fixture_json(line);
    for (const weir_json_t *step = weir_json_first(weir_json_get(scenario, "steps")); step != NULL;
         step = weir_json_next(step)) {
        const weir_json_t *request = weir_json_get(step, "request");
        const weir_json_t *reply = weir_json_get(step, "reply");
        if (!weir_str_is(weir_json_get_string(request, "method", WEIR_STR("")), "GET") ||
            !weir_str_is(weir_json_get_string(scenario, "mode", WEIR_STR("")), "postgres") ||
            weir_json_get_number(reply, "status", 0) != 200)
            continue;
        weir_json_t *have = answer(weir_json_string(weir_json_get(request, "path")).data);
        if (have == NULL)
            continue;
        normalize(have);
        ++*compared;
        if (!weir_json_equal(have, weir_json_get(reply, "json"))) {
            weir_buffer_t text;
            weir_buffer_init(&text, 1 << 20);
            weir_json_print(weir_json_get(request, "path"), &text);
            weir_buffer_append(&text, WEIR_STR("\n  expected "));
            weir_json_print(weir_json_get(reply, "json"), &text);
            weir_buffer_append(&text, WEIR_STR("\n  actual   "));
            weir_json_print(have, &text);
            fprintf(stderr, "%.*s\n", WEIR_STR_ARG(weir_buffer_str(&text)));
            weir_buffer_release(&text);
            failed++;
        }
        weir_json_free(have);
    }
    weir_json_free(scenario);
    return failed;
}

static void compare_file(const char *name)
{
    char path[1024];
    const char *folder = getenv("WEIR_CORPUS");
    snprintf(path, sizeof(path), "%s/admin/%s.jsonl", folder != NULL ? folder : "../shared/corpus",
             name);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        skip();
        return;
    }
    unsigned compared = 0;
    unsigned failed = 0;
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, file) > 0)
        failed += compare_line(line, &compared);
    free(line);
    fclose(file);
    print_message("%s: %u compared, %u failed\n", name, compared, failed);
    assert_int_equal(failed, 0);
}

static void entities_are_described_as_recorded(void **state)
{
    (void)state;
    compare_file("schemas");
}

static void plugins_are_described_as_recorded(void **state)
{
    (void)state;
    compare_file("plugin-configs");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_field_shows_its_rules_and_default),
        cmocka_unit_test(a_reference_shows_its_target_but_not_the_schema_there),
        cmocka_unit_test(rules_that_are_code_show_the_patterns_that_they_stand_for),
        cmocka_unit_test(a_plugin_shows_only_what_it_specialises),
        cmocka_unit_test(a_description_fails_cleanly_at_every_allocation),
        cmocka_unit_test(entities_are_described_as_recorded),
        cmocka_unit_test(plugins_are_described_as_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
