/* older_names_test.c -- members of a plugin's configuration under the names that they had,
 * and rules over members of records. */
#include "model/write_fixture.h"

#include "base/base.h"

#define LIMITS(more) "{\"name\":\"rate-limiting\",\"config\":{\"minute\":5" more "}}"
#define CURRENT                                                                        \
    "{\"id\":\"" ID "\",\"name\":\"rate-limiting\",\"created_at\":1,\"updated_at\":1," \
    "\"config\":{\"minute\":5,\"redis_host\":\"a\",\"redis_port\":1,"                  \
    "\"redis\":{\"host\":\"a\",\"port\":1}},\"enabled\":true}"

/* What both names of a host and of a port say; NULL: null. */
static void says(weir_json_t *entity, const char *host, const char *port)
{
    const weir_json_t *config = weir_json_get(entity, "config");
    const weir_json_t *redis = weir_json_get(config, "redis");
    const struct {
        const weir_json_t *older, *newer;
        const char *text;
    } all[] = {
        { weir_json_get(config, "redis_host"), weir_json_get(redis, "host"), host },
        { weir_json_get(config, "redis_port"), weir_json_get(redis, "port"), port },
    };
    for (size_t i = 0; i < WEIR_COUNT(all); i++) {
        weir_json_t *want = fixture_json(all[i].text != NULL ? all[i].text : "null");
        assert_non_null(all[i].older);
        assert_true(weir_json_equal(all[i].older, want));
        assert_true(weir_json_equal(all[i].newer, want));
        weir_json_free(want);
    }
    weir_json_free(entity);
}

static void either_name_says_it_and_both_are_shown(void **state)
{
    (void)state;
    says(stored(WEIR_PLUGINS, WEIR_INSERT, LIMITS(",\"redis_host\":\"a\""), NULL, "{}"), "\"a\"",
         "6379");
    says(stored(WEIR_PLUGINS, WEIR_INSERT, LIMITS(",\"redis\":{\"host\":\"a\",\"port\":7}"), NULL,
                "{}"),
         "\"a\"", "7");
    says(stored(WEIR_PLUGINS, WEIR_INSERT,
                LIMITS(",\"redis\":{\"host\":\"a\"},\"redis_host\":\"a\",\"redis_port\":null"),
                NULL, "{}"),
         "\"a\"", NULL);
    says(stored(WEIR_PLUGINS, WEIR_INSERT,
                LIMITS(",\"redis\":{\"host\":\"a\",\"port\":3},\"redis_port\":null"), NULL, "{}"),
         "\"a\"", "3");
}

static void a_patch_by_either_name_changes_both(void **state)
{
    (void)state;
    says(stored(WEIR_PLUGINS, WEIR_UPDATE, "{\"config\":{\"redis_port\":2}}", CURRENT, "{}"),
         "\"a\"", "2");
    says(stored(WEIR_PLUGINS, WEIR_UPDATE, "{\"config\":{\"redis\":{\"port\":2}}}", CURRENT, "{}"),
         "\"a\"", "2");
    says(stored(WEIR_PLUGINS, WEIR_UPDATE, "{\"config\":{\"redis_host\":null}}", CURRENT, "{}"),
         NULL, "1");
    says(stored(WEIR_PLUGINS, WEIR_UPDATE, "{\"config\":[]}", CURRENT, "{}"), "\"a\"", "1");
    says(stored(WEIR_PLUGINS, WEIR_UPDATE, "{\"enabled\":false}", CURRENT, "{}"), "\"a\"", "1");
}

static void two_names_may_not_say_different_things(void **state)
{
    (void)state;
    refused(WEIR_PLUGINS, WEIR_INSERT,
            LIMITS(",\"redis_port\":1,\"redis\":{\"port\":2},\"redis_host\":5"), NULL, 2,
            "2 schema violations (redis_host: expected a string; redis_port: both deprecated and "
            "new field are used but their values mismatch: redis_port = 1 vs redis.port = 2)",
            "{\"redis_host\":\"expected a string\",\"redis_port\":\"both deprecated and new field "
            "are used but their values mismatch: redis_port = 1 vs redis.port = 2\"}");
    refused(WEIR_PLUGINS, WEIR_UPDATE,
            "{\"config\":{\"redis_ssl\":true,\"redis\":{\"ssl\":false}}}", CURRENT, 2,
            "schema violation (redis_ssl: both deprecated and new field are used but their values "
            "mismatch: redis_ssl = true vs redis.ssl = false)",
            "{\"redis_ssl\":\"both deprecated and new field are used but their values mismatch: "
            "redis_ssl = true vs redis.ssl = false\"}");
}

/* The newer name is judged by the rules of the field, and so is what came by the older. */
static void what_an_older_name_says_is_judged_like_the_newer(void **state)
{
    (void)state;
    refused(WEIR_PLUGINS, WEIR_INSERT, LIMITS(",\"redis_port\":70000"), NULL, 2,
            "schema violation (config.redis: {\n  port = \"value should be between 0 and 65535\"\n"
            "})",
            "{\"config\":{\"redis\":{\"port\":\"value should be between 0 and 65535\"}}}");
    refused(WEIR_PLUGINS, WEIR_INSERT, LIMITS(",\"redis\":\"x\",\"redis_port\":1"), NULL, 2,
            "schema violation (config.redis: expected a record)",
            "{\"config\":{\"redis\":\"expected a record\"}}");
}

static void a_row_of_a_control_plane_has_both(void **state)
{
    (void)state;
    weir_json_t *entity = NULL;
    weir_json_t *row = fixture_json(CURRENT);
    weir_problem_t problem;
    weir_problem_init(&problem);
    assert_int_equal(
        weir_model_accept(weir_schema(WEIR_PLUGINS), row, FIXTURE_NOW, &entity, &problem), WEIR_OK);
    weir_problem_release(&problem);
    weir_json_free(row);
    says(entity, "\"a\"", "1");
}

static void rules_look_into_records(void **state)
{
    (void)state;
    refused(WEIR_PLUGINS, WEIR_INSERT, LIMITS(",\"limit_by\":\"header\""), NULL, 2,
            "2 schema violations (failed conditional validation given value of field "
            "'config.limit_by'; config.header_name: required field missing)",
            "{\"config\":{\"header_name\":\"required field missing\"},\"@entity\":[\"failed "
            "conditional validation given value of field 'config.limit_by'\"]}");
    refused(WEIR_PLUGINS, WEIR_INSERT, "{\"name\":\"rate-limiting\",\"config\":{}}", NULL, 2,
            "schema violation (at least one of these fields must be non-empty: 'config.second', "
            "'config.minute', 'config.hour', 'config.day', 'config.month', 'config.year')",
            "{\"@entity\":[\"at least one of these fields must be non-empty: 'config.second', "
            "'config.minute', 'config.hour', 'config.day', 'config.month', 'config.year'\"]}");
    refused(WEIR_PLUGINS, WEIR_INSERT, LIMITS(",\"hour\":4"), NULL, 2,
            "schema violation (config: The limit for hour(4.0) cannot be lower than the limit for "
            "minute(5.0))",
            "{\"config\":\"The limit for hour(4.0) cannot be lower than the limit for "
            "minute(5.0)\"}");
}

/* Counters are of one data plane: a policy that says otherwise is refused by name. */
static void policies_that_share_counters_between_nodes_are_refused(void **state)
{
    (void)state;
    static const char *const policies[] = { "cluster", "redis" };
    for (size_t i = 0; i < WEIR_COUNT(policies); i++) {
        weir_problem_t problem;
        weir_json_t *entity = NULL;
        char body[128];
        snprintf(body, sizeof(body), LIMITS(",\"policy\":\"%s\",\"redis_host\":\"h\""),
                 policies[i]);
        int rc = write_json(WEIR_PLUGINS, WEIR_INSERT, body, NULL, &entity, &problem);
        assert_int_equal(rc, WEIR_INVALID);
        weir_str_t reason =
            weir_json_get_string(weir_json_get(problem.fields, "config"), "policy", WEIR_STR(""));
        assert_non_null(memmem(reason.data, reason.len, policies[i], strlen(policies[i])));
        assert_non_null(memmem(reason.data, reason.len, "use 'local'", strlen("use 'local'")));
        weir_problem_release(&problem);
    }
    refused(WEIR_PLUGINS, WEIR_INSERT, LIMITS(",\"sync_rate\":1"), NULL, 2,
            "schema violation (config: sync_rate other than -1 is only for policy redis)",
            "{\"config\":\"sync_rate other than -1 is only for policy redis\"}");
}

static void lack_of_memory_is_said(void **state)
{
    (void)state;
    int rc = WEIR_NO_MEMORY;
    for (unsigned n = 1; rc != WEIR_OK; n++) {
        weir_problem_t problem;
        weir_json_t *entity = NULL;
        weir_model_env_t env = fixture_env();
        weir_json_t *body = fixture_json("{\"config\":{\"redis_port\":2}}");
        weir_json_t *current = fixture_json(CURRENT);
        weir_problem_init(&problem);
        weir_test_fail_allocation(n);
        rc = weir_model_write(weir_schema(WEIR_PLUGINS), WEIR_UPDATE, body, current, &env, &entity,
                              &problem);
        weir_test_fail_allocation(0);
        assert_true(rc == WEIR_OK || rc == WEIR_NO_MEMORY);
        assert_true(n < 2000);
        weir_problem_release(&problem);
        weir_json_free(body);
        weir_json_free(current);
        weir_json_free(entity);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(either_name_says_it_and_both_are_shown),
        cmocka_unit_test(a_patch_by_either_name_changes_both),
        cmocka_unit_test(two_names_may_not_say_different_things),
        cmocka_unit_test(what_an_older_name_says_is_judged_like_the_newer),
        cmocka_unit_test(a_row_of_a_control_plane_has_both),
        cmocka_unit_test(rules_look_into_records),
        cmocka_unit_test(policies_that_share_counters_between_nodes_are_refused),
        cmocka_unit_test(lack_of_memory_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
