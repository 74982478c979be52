/* write_test.c -- what becomes of a body: stored, or refused with which words. */
#include "model/write_fixture.h"

/* -- defaults, automatic values ------------------------------------------- */

static void a_new_entity_is_complete_and_in_the_order_of_its_schema(void **state)
{
    (void)state;
    weir_json_t *entity =
        stored(WEIR_SERVICES, WEIR_INSERT, "{\"tags\":[],\"host\":\"a.test\"}", NULL,
               "{\"created_at\":1700000000,\"updated_at\":1700000000,\"name\":null,\"retries\":5,"
               "\"protocol\":\"http\",\"host\":\"a.test\",\"port\":80,\"path\":null,"
               "\"connect_timeout\":60000,\"tags\":[],\"client_certificate\":null,"
               "\"tls_verify\":null,\"enabled\":true}");
    const weir_field_t *field = weir_schema(WEIR_SERVICES)->fields;
    for (const weir_json_t *member = weir_json_first(entity); member != NULL;
         member = weir_json_next(member), field++)
        assert_string_equal(weir_json_name(member), field->name);
    assert_null(field->name);
    weir_uuid_t id;
    assert_int_equal(weir_entity_id(weir_schema(WEIR_SERVICES), entity, &id), WEIR_OK);
    weir_json_free(entity);
}

static void nested_records_get_their_defaults_and_keep_what_is_given(void **state)
{
    (void)state;
    weir_json_t *entity =
        stored(WEIR_UPSTREAMS, WEIR_INSERT,
               "{\"name\":\"u.test\",\"healthchecks\":{\"active\":{\"healthy\":{\"interval\":5}}}}",
               NULL, "{\"slots\":10000,\"hash_on\":\"none\",\"algorithm\":\"round-robin\"}");
    const weir_json_t *active = weir_json_get(weir_json_get(entity, "healthchecks"), "active");
    const weir_json_t *healthy = weir_json_get(active, "healthy");
    assert_true(weir_json_get_number(healthy, "interval", 0) == 5);
    assert_int_equal(weir_json_count(weir_json_get(healthy, "http_statuses")), 2);
    assert_true(weir_json_get_number(active, "concurrency", 0) == 10);
    weir_json_free(entity);
}

static void an_explicit_null_stays_null_unless_required(void **state)
{
    (void)state;
    STORED(WEIR_SERVICES, WEIR_INSERT, "{\"host\":\"a\",\"retries\":null}", NULL,
           "{\"retries\":null}");
    refused(WEIR_SERVICES, WEIR_INSERT, "{\"host\":\"a\",\"port\":null}", NULL, 2,
            "schema violation (port: required field missing)",
            "{\"port\":\"required field missing\"}");
}

static void a_client_may_choose_id_and_creation_time_but_not_the_update_time(void **state)
{
    (void)state;
    STORED(WEIR_CONSUMERS, WEIR_INSERT,
           "{\"id\":\"" ID2 "\",\"username\":\"a\",\"created_at\":5,\"updated_at\":\"x\"}", NULL,
           "{\"id\":\"00000000-0000-4000-8000-0000000000ab\",\"created_at\":5,"
           "\"updated_at\":1700000000}");
    refused(WEIR_CONSUMERS, WEIR_INSERT, "{\"id\":null,\"username\":\"a\"}", NULL, 3,
            "primary key violation on key '{id=\"userdata: NULL\"}'", "{\"id\":null}");
}

static void targets_have_times_with_fractions(void **state)
{
    (void)state;
    STORED(WEIR_TARGETS, WEIR_INSERT, "{\"target\":\"a\",\"upstream\":{\"id\":\"" ID "\"}}", NULL,
           "{\"target\":\"a:8000\",\"created_at\":1700000000.123,\"weight\":100}");
}

/* -- shorthands, transformations ------------------------------------------ */

static void a_url_becomes_protocol_host_port_and_path(void **state)
{
    (void)state;
    STORED(WEIR_SERVICES, WEIR_INSERT, "{\"url\":\"https://a.test/x?q#f\"}", NULL,
           "{\"protocol\":\"https\",\"host\":\"a.test\",\"port\":443,\"path\":\"/x\"}");
    STORED(WEIR_SERVICES, WEIR_INSERT, "{\"url\":\"http://a.test:443\"}", NULL,
           "{\"protocol\":\"http\",\"port\":443,\"path\":null}");
    refused(WEIR_SERVICES, WEIR_INSERT, "{\"url\":\"invalid url\"}", NULL, 2,
            "2 schema violations (host: required field missing; path: should start with: /)",
            "{\"host\":\"required field missing\",\"path\":\"should start with: /\"}");
    refused(WEIR_SERVICES, WEIR_INSERT, "{\"url\":5}", NULL, 2,
            "schema violation (url: expected a string)", "{\"url\":\"expected a string\"}");
}

static void algorithm_and_hash_input_of_an_upstream_follow_each_other(void **state)
{
    (void)state;
    STORED(WEIR_UPSTREAMS, WEIR_INSERT, "{\"name\":\"u\",\"hash_on\":\"ip\"}", NULL,
           "{\"algorithm\":\"consistent-hashing\",\"hash_on\":\"ip\"}");
    STORED(WEIR_UPSTREAMS, WEIR_INSERT,
           "{\"name\":\"u\",\"algorithm\":\"least-connections\",\"hash_on\":\"ip\"}", NULL,
           "{\"algorithm\":\"least-connections\",\"hash_on\":\"none\"}");
    STORED(WEIR_UPSTREAMS, WEIR_INSERT, "{\"name\":\"u\",\"algorithm\":\"consistent-hashing\"}",
           NULL, "{\"algorithm\":\"round-robin\",\"hash_on\":\"none\"}");
}

static void a_target_is_stored_in_its_normal_form(void **state)
{
    (void)state;
    STORED(WEIR_TARGETS, WEIR_INSERT, "{\"target\":\"[::1]:80\",\"upstream\":{\"name\":\"there\"}}",
           NULL,
           "{\"target\":\"[0000:0000:0000:0000:0000:0000:0000:0001]:80\","
           "\"upstream\":{\"id\":\"00000000-0000-4000-8000-0000000000aa\"}}");
}

static void a_set_loses_later_duplicates(void **state)
{
    (void)state;
    STORED(WEIR_CONSUMERS, WEIR_INSERT, "{\"username\":\"a\",\"tags\":[\"b\",\"a\",\"b\"]}", NULL,
           "{\"tags\":[\"b\",\"a\"]}");
}

/* -- ttl, keys ------------------------------------------------------------ */

#define CREDENTIAL                                                                        \
    "{\"id\":\"" ID "\",\"created_at\":1,\"consumer\":{\"id\":\"" ID "\"},\"key\":\"k\"," \
    "\"tags\":null,\"ttl\":1700000500}"

static void a_ttl_is_stored_as_the_time_when_it_ends(void **state)
{
    (void)state;
    STORED(WEIR_KEYAUTH_CREDENTIALS, WEIR_INSERT,
           "{\"consumer\":{\"username\":\"there\"},\"ttl\":60}", NULL,
           "{\"ttl\":1700000060,\"key\":\"rrrrrrrrrrrrrrrrrrrrrrrrrrrrrrrr\"}");
    STORED(WEIR_KEYAUTH_CREDENTIALS, WEIR_UPDATE, "{\"tags\":[]}", CREDENTIAL,
           "{\"ttl\":1700000500}");
    STORED(WEIR_KEYAUTH_CREDENTIALS, WEIR_UPSERT, "{\"consumer\":{\"id\":\"" ID "\"}}", CREDENTIAL,
           "{\"ttl\":null,\"id\":\"" ID "\"}");
    refused(WEIR_KEYAUTH_CREDENTIALS, WEIR_INSERT,
            "{\"consumer\":{\"username\":\"there\"},\"ttl\":100000001}", NULL, 11,
            "invalid option (ttl: must be an integer between 0 and 100000000)",
            "{\"ttl\":\"must be an integer between 0 and 100000000\"}");
    refused(WEIR_CONSUMERS, WEIR_INSERT, "{\"username\":\"a\",\"ttl\":1}", NULL, 2,
            "schema violation (ttl: unknown field)", "{\"ttl\":\"unknown field\"}");
}

/* -- references ----------------------------------------------------------- */

static void a_reference_by_name_becomes_an_id_alone(void **state)
{
    (void)state;
    STORED(WEIR_ROUTES, WEIR_INSERT,
           "{\"paths\":[\"/\"],\"service\":{\"id\":\"x\",\"name\":\"there\"}}", NULL,
           "{\"service\":{\"id\":\"00000000-0000-4000-8000-0000000000aa\"}}");
    STORED(WEIR_ROUTES, WEIR_INSERT,
           "{\"paths\":[\"/\"],\"service\":{\"id\":\"" ID2 "\",\"host\":5}}", NULL,
           "{\"service\":{\"id\":\"00000000-0000-4000-8000-0000000000ab\"}}");
}

static void a_reference_that_leads_nowhere_is_named(void **state)
{
    (void)state;
    refused(WEIR_PLUGINS, WEIR_INSERT,
            "{\"name\":\"key-auth\",\"route\":{\"name\":\"x\"},\"service\":{\"name\":\"y\"}}", NULL,
            13,
            "2 foreign keys unresolved (route.name: the foreign key cannot be resolved with "
            "'{name=\"x\"}' for an existing 'routes' entity; service.name: the foreign key cannot "
            "be resolved with '{name=\"y\"}' for an existing 'services' entity)",
            "{\"route\":{\"name\":\"the foreign key cannot be resolved with '{name=\\\"x\\\"}' for "
            "an existing 'routes' entity\"},\"service\":{\"name\":\"the foreign key cannot be "
            "resolved with '{name=\\\"y\\\"}' for an existing 'services' entity\"}}");
    refused(WEIR_ROUTES, WEIR_INSERT, "{\"paths\":[\"/\"],\"service\":{\"name\":null}}", NULL, 2,
            "schema violation (service.id: missing primary key)",
            "{\"service\":{\"id\":\"missing primary key\"}}");
}

/* -- refusals ------------------------------------------------------------- */

static void every_wrong_field_is_named_in_order_of_the_alphabet(void **state)
{
    (void)state;
    refused(WEIR_SERVICES, WEIR_INSERT,
            "{\"host\":\"a:80\",\"path\":\"//\",\"connect_timeout\":0,\"tags\":[\"a\",\"b/c\"],"
            "\"zz\":{}}",
            NULL, 2,
            "5 schema violations (connect_timeout: value should be between 1 and 2147483646; host: "
            "must not have a port; path: must not have empty segments; tags.2: invalid tag 'b/c': "
            "expected printable ascii (except `,` and `/`) or valid utf-8 sequences; zz: unknown "
            "field)",
            "{\"connect_timeout\":\"value should be between 1 and 2147483646\",\"host\":\"must not "
            "have a port\",\"path\":\"must not have empty segments\",\"tags\":[null,\"invalid tag "
            "'b/c': expected printable ascii (except `,` and `/`) or valid utf-8 sequences\"],"
            "\"zz\":\"unknown field\"}");
}

static void deep_errors_are_printed_as_tables(void **state)
{
    (void)state;
    refused(WEIR_PLUGINS, WEIR_INSERT,
            "{\"name\":\"key-auth\",\"config\":{\"key_names\":[\"a\",\"b c\"]}}", NULL, 2,
            "schema violation (config.key_names: {\n  [2] = \"bad header name 'b c', allowed "
            "characters are A-Z, a-z, 0-9, '_', and '-'\"\n})",
            "{\"config\":{\"key_names\":[null,\"bad header name 'b c', allowed characters are A-Z, "
            "a-z, 0-9, '_', and '-'\"]}}");
    refused(WEIR_ROUTES, WEIR_INSERT, "{\"protocols\":[\"tcp\"],\"sources\":[{}]}", NULL, 2,
            "schema violation (sources.1: {\n  [\"@entity\"] = {\n    \"at least one of these "
            "fields must be non-empty: 'ip', 'port'\"\n  }\n})",
            "{\"sources\":[{\"@entity\":[\"at least one of these fields must be non-empty: 'ip', "
            "'port'\"]}]}");
}

static void conditions_name_the_field_and_the_reason(void **state)
{
    (void)state;
    refused(WEIR_SERVICES, WEIR_INSERT, "{\"host\":\"h\",\"protocol\":\"tcp\",\"path\":\"/x\"}",
            NULL, 2,
            "2 schema violations (failed conditional validation given value of field 'protocol'; "
            "path: value must be null)",
            "{\"path\":\"value must be null\",\"@entity\":[\"failed conditional validation given "
            "value of field 'protocol'\"]}");
}

static void a_route_needs_something_to_match(void **state)
{
    (void)state;
    refused(WEIR_ROUTES, WEIR_INSERT, "{}", NULL, 2,
            "schema violation (must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when "
            "'protocols' is 'https')",
            "{\"@entity\":[\"must set one of 'methods', 'hosts', 'headers', 'paths', 'snis' when "
            "'protocols' is 'https'\"]}");
    STORED(WEIR_ROUTES, WEIR_INSERT, "{\"protocols\":[\"grpc\"],\"paths\":[\"/\"]}", NULL,
           "{\"strip_path\":false}");
    refused(WEIR_ROUTES, WEIR_INSERT,
            "{\"protocols\":[\"grpc\"],\"paths\":[\"/\"],\"strip_path\":true}", NULL, 2,
            "schema violation (strip_path: cannot set 'strip_path' when 'protocols' is 'grpc' or "
            "'grpcs')",
            "{\"strip_path\":\"cannot set 'strip_path' when 'protocols' is 'grpc' or 'grpcs'\"}");
}

static void a_regex_must_fit_both_engines(void **state)
{
    (void)state;
    refused(WEIR_ROUTES, WEIR_INSERT, "{\"paths\":[\"~/(\"]}", NULL, 2,
            "schema violation (paths.1: invalid regex: '/(' (PCRE returned: pcre2_compile() "
            "failed: missing closing parenthesis in \"/(\"))",
            "{\"paths\":[\"invalid regex: '/(' (PCRE returned: pcre2_compile() failed: missing "
            "closing parenthesis in \\\"/(\\\")\"]}");
    static const char *const refusals[][2] = {
        { "/a(?=b)", "look-around, including look-ahead and look-behind, is not supported" },
        { "/a(?<!b)c", "look-around, including look-ahead and look-behind, is not supported" },
        { "/(a)\\\\1", "backreferences are not supported" },
        { "/a++", "possessive quantifiers are not supported" },
        { "/(?>a)", "unrecognized flag" },
        { "/{id}", "repetition quantifier expects a valid decimal" },
        { "/\\\\Z", "unrecognized escape sequence" },
        { "/[[a]", "unclosed character class" },
    };
    for (size_t i = 0; i < WEIR_COUNT(refusals); i++) {
        char body[128];
        char want[256];
        weir_problem_t problem;
        weir_json_t *entity = NULL;
        snprintf(body, sizeof(body), "{\"paths\":[\"~%s\"]}", refusals[i][0]);
        snprintf(want, sizeof(want), "regex parse error: %s in", refusals[i][1]);
        int rc = write_json(WEIR_ROUTES, WEIR_INSERT, body, NULL, &entity, &problem);
        if (rc != WEIR_INVALID)
            fail_msg("%s was taken", refusals[i][0]);
        weir_buffer_byte(&problem.message, '\0');
        if (strstr(problem.message.data, want) == NULL)
            fail_msg("%s: %s", refusals[i][0], problem.message.data);
        weir_problem_release(&problem);
    }
    STORED(WEIR_ROUTES, WEIR_INSERT,
           "{\"paths\":[\"~/(?<id>[[:alpha:]_]{1,3}?)(?:x|\\\\d+)\\\\.json$\"]}", NULL, "{}");
}

static void a_long_value_is_shown_whole(void **state)
{
    (void)state;
    char body[1200];
    char name[900];
    memset(name, 'a', sizeof(name) - 1);
    name[0] = ' ';
    name[sizeof(name) - 1] = '\0';
    snprintf(body, sizeof(body), "{\"host\":\"h\",\"name\":\"%s\"}", name);
    weir_problem_t problem;
    weir_json_t *entity = NULL;
    assert_int_equal(write_json(WEIR_SERVICES, WEIR_INSERT, body, NULL, &entity, &problem),
                     WEIR_INVALID);
    weir_buffer_byte(&problem.message, '\0');
    assert_non_null(strstr(problem.message.data, name));
    weir_problem_release(&problem);
}

static void a_member_named_as_the_place_of_errors_is_only_unknown(void **state)
{
    (void)state;
    refused(WEIR_ROUTES, WEIR_INSERT, "{\"@entity\":{\"a\":1}}", NULL, 2,
            "2 schema violations (unknown field; must set one of 'methods', 'hosts', 'headers', "
            "'paths', 'snis' when 'protocols' is 'https')",
            "{\"@entity\":[\"unknown field\",\"must set one of 'methods', 'hosts', 'headers', "
            "'paths', 'snis' when 'protocols' is 'https'\"]}");
}

/* {"n0":1,...} or ["t0",...]: `format` takes a number. */
static char *many(const char *start, const char *format, size_t count, const char *end)
{
    weir_buffer_t text;
    weir_buffer_init(&text, 64 * 1024 * 1024);
    weir_buffer_append(&text, weir_str(start));
    for (size_t i = 0; i < count; i++) {
        char item[32];
        snprintf(item, sizeof(item), format, i);
        weir_buffer_append(&text, weir_str(i > 0 ? "," : ""));
        weir_buffer_append(&text, weir_str(item));
    }
    weir_buffer_append(&text, weir_str(end));
    weir_buffer_byte(&text, '\0');
    assert_int_equal(text.failed, WEIR_OK);
    return text.data;
}

/* Minutes, if any step were quadratic. */
static void hundred_thousand_members_or_elements_are_refused_or_taken_in_no_time(void **state)
{
    (void)state;
    weir_problem_t problem;
    weir_json_t *entity = NULL;
    char *body = many("{", "\"n%zu\":1", 100000, "}");
    assert_int_equal(write_json(WEIR_SERVICES, WEIR_INSERT, body, NULL, &entity, &problem),
                     WEIR_INVALID);
    assert_true(weir_json_count(problem.fields) > 200);
    weir_problem_release(&problem);
    assert_int_equal(write_json(WEIR_CONSUMERS, WEIR_UPDATE, body,
                                "{\"id\":\"" ID "\",\"username\":\"a\"}", &entity, &problem),
                     WEIR_INVALID);
    weir_problem_release(&problem);
    weir_free(body);

    body = many("{\"username\":\"a\",\"tags\":[", "\"t%zu\"", 100000, ",\"t7\",\"t0\"]}");
    entity = stored(WEIR_CONSUMERS, WEIR_INSERT, body, NULL, "{\"username\":\"a\"}");
    const weir_json_t *tags = weir_json_get(entity, "tags");
    assert_int_equal(weir_json_count(tags), 100000);
    assert_true(weir_str_is(weir_json_string(weir_json_first(tags)), "t0"));
    weir_json_free(entity);
    weir_free(body);

    body = many("{\"username\":\"a\",\"tags\":[", "%zu", 100000, "]}");
    assert_int_equal(write_json(WEIR_CONSUMERS, WEIR_INSERT, body, NULL, &entity, &problem),
                     WEIR_INVALID);
    weir_problem_release(&problem);
    weir_free(body);
}

/* -- plugins -------------------------------------------------------------- */

static void an_unknown_plugin_is_all_that_is_said(void **state)
{
    (void)state;
    refused(WEIR_PLUGINS, WEIR_INSERT, "{\"name\":\"nope\",\"foo\":1}", NULL, 2,
            "schema violation (name: plugin 'nope' not enabled; add it to the 'plugins' "
            "configuration property)",
            "{\"name\":\"plugin 'nope' not enabled; add it to the 'plugins' configuration "
            "property\"}");
    refused(WEIR_PLUGINS, WEIR_INSERT, "{\"foo\":1}", NULL, 2,
            "schema violation (name: required field missing)",
            "{\"name\":\"required field missing\"}");
}

static void a_plugin_keeps_to_its_scopes_and_protocols(void **state)
{
    (void)state;
    refused(WEIR_PLUGINS, WEIR_INSERT,
            "{\"name\":\"key-auth\",\"consumer\":{\"id\":\"" ID "\"},\"protocols\":[\"tcp\"]}",
            NULL, 2,
            "2 schema violations (consumer: value must be null; protocols.1: expected one of: "
            "grpc, grpcs, http, https)",
            "{\"consumer\":\"value must be null\",\"protocols\":[\"expected one of: grpc, grpcs, "
            "http, https\"]}");
    refused(WEIR_PLUGINS, WEIR_INSERT,
            "{\"name\":\"request-termination\",\"config\":{\"content_type\":\"t\"}}", NULL, 2,
            "schema violation (config: content_type requires a body)",
            "{\"config\":\"content_type requires a body\"}");
}

static void a_plugin_configuration_is_completed(void **state)
{
    (void)state;
    STORED(WEIR_PLUGINS, WEIR_INSERT, "{\"name\":\"request-termination\"}", NULL,
           "{\"config\":{\"status_code\":503,\"message\":null,\"content_type\":null,\"body\":null,"
           "\"echo\":false,\"trigger\":null},\"protocols\":[\"grpc\",\"grpcs\",\"http\","
           "\"https\"],\"enabled\":true}");
}

/* -- PUT and PATCH -------------------------------------------------------- */

#define PLUGIN                                                                              \
    "{\"id\":\"" ID "\",\"name\":\"key-auth\",\"instance_name\":null,\"created_at\":1,"     \
    "\"updated_at\":1,\"route\":null,\"service\":null,\"consumer\":null,\"config\":{"       \
    "\"key_names\":[\"a\"],\"hide_credentials\":true,\"anonymous\":null,\"key_in_header\":" \
    "true,\"key_in_query\":true,\"key_in_body\":false,\"run_on_preflight\":true,\"realm\":" \
    "null},\"protocols\":[\"http\"],\"enabled\":true,\"tags\":null}"

static void a_patch_merges_records_and_replaces_the_rest(void **state)
{
    (void)state;
    weir_json_t *entity =
        stored(WEIR_PLUGINS, WEIR_UPDATE,
               "{\"id\":\"" ID2 "\",\"config\":{\"key_names\":[\"b\"]},\"enabled\":false}", PLUGIN,
               "{\"id\":\"" ID "\",\"enabled\":false,\"created_at\":1,\"updated_at\":1700000000,"
               "\"protocols\":[\"http\"]}");
    const weir_json_t *config = weir_json_get(entity, "config");
    assert_true(weir_json_get_boolean(config, "hide_credentials", false));
    assert_true(
        weir_str_is(weir_json_string(weir_json_first(weir_json_get(config, "key_names"))), "b"));
    weir_json_free(entity);
    refused(WEIR_PLUGINS, WEIR_UPDATE, "{\"config\":null}", PLUGIN, 2,
            "schema violation (config: required field missing)",
            "{\"config\":\"required field missing\"}");
    refused(WEIR_CONSUMERS, WEIR_UPDATE, "{\"username\":null}",
            "{\"id\":\"" ID "\",\"created_at\":1,\"updated_at\":1,\"username\":\"a\","
            "\"custom_id\":null,\"tags\":null}",
            2,
            "schema violation (when updating, at least one of these fields must be non-empty: "
            "'custom_id', 'username')",
            "{\"@entity\":[\"when updating, at least one of these fields must be non-empty: "
            "'custom_id', 'username'\"]}");
}

static void a_put_replaces_everything_but_the_identity(void **state)
{
    (void)state;
    STORED(WEIR_PLUGINS, WEIR_UPSERT, "{\"id\":\"" ID2 "\",\"name\":\"key-auth\"}", PLUGIN,
           "{\"id\":\"" ID "\",\"created_at\":1700000000,\"protocols\":[\"grpc\",\"grpcs\","
           "\"http\",\"https\"]}");
    refused(WEIR_PLUGINS, WEIR_UPSERT, "{\"id\":\"x\",\"name\":\"key-auth\"}", PLUGIN, 2,
            "schema violation (id: expected a valid UUID)", "{\"id\":\"expected a valid UUID\"}");
}

/* -- rows of a control plane ---------------------------------------------- */

static int accept_json(weir_entity_type_t type, const char *text, weir_json_t **ret,
                       weir_problem_t *problem)
{
    weir_json_t *row = fixture_json(text);
    assert_non_null(row);
    weir_problem_init(problem);
    int rc = weir_model_accept(weir_schema(type), row, FIXTURE_NOW, ret, problem);
    weir_json_free(row);
    return rc;
}

static void a_data_plane_completes_rows_and_drops_unknown_nulls(void **state)
{
    (void)state;
    weir_problem_t problem;
    weir_json_t *entity = NULL;
    int rc = accept_json(WEIR_PLUGINS,
                         "{\"id\":\"" ID "\",\"name\":\"key-auth\",\"ws_id\":\"" ID "\",\"later\":"
                         "null,\"config\":{\"key_names\":{},\"later\":null},\"created_at\":7}",
                         &entity, &problem);
    assert_int_equal(rc, WEIR_OK);
    assert_null(weir_json_get(entity, "later"));
    assert_null(weir_json_get(entity, "ws_id"));
    const weir_json_t *config = weir_json_get(entity, "config");
    assert_null(weir_json_get(config, "later"));
    assert_int_equal(weir_json_kind(weir_json_get(config, "key_names")), WEIR_JSON_ARRAY);
    assert_true(weir_json_get_boolean(config, "key_in_header", false));
    assert_true(weir_json_get_number(entity, "created_at", 0) == 7);
    weir_json_free(entity);
    weir_problem_release(&problem);
}

static void a_data_plane_refuses_unknown_values_and_rows_without_identity(void **state)
{
    (void)state;
    weir_problem_t problem;
    weir_json_t *entity = NULL;
    int rc = accept_json(WEIR_CONSUMERS, "{\"id\":\"" ID "\",\"username\":\"a\",\"later\":1}",
                         &entity, &problem);
    assert_int_equal(rc, WEIR_INVALID);
    assert_int_equal(problem.code, 2);
    weir_problem_release(&problem);
    rc = accept_json(WEIR_CONSUMERS, "{\"username\":\"a\"}", &entity, &problem);
    assert_int_equal(rc, WEIR_INVALID);
    assert_non_null(weir_json_get(problem.fields, "id"));
    weir_problem_release(&problem);
    rc = accept_json(WEIR_CONSUMERS, "[1]", &entity, &problem);
    assert_int_equal(rc, WEIR_INVALID);
    weir_problem_release(&problem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_entity_is_complete_and_in_the_order_of_its_schema),
        cmocka_unit_test(nested_records_get_their_defaults_and_keep_what_is_given),
        cmocka_unit_test(an_explicit_null_stays_null_unless_required),
        cmocka_unit_test(a_client_may_choose_id_and_creation_time_but_not_the_update_time),
        cmocka_unit_test(targets_have_times_with_fractions),
        cmocka_unit_test(a_url_becomes_protocol_host_port_and_path),
        cmocka_unit_test(algorithm_and_hash_input_of_an_upstream_follow_each_other),
        cmocka_unit_test(a_target_is_stored_in_its_normal_form),
        cmocka_unit_test(a_set_loses_later_duplicates),
        cmocka_unit_test(a_ttl_is_stored_as_the_time_when_it_ends),
        cmocka_unit_test(a_reference_by_name_becomes_an_id_alone),
        cmocka_unit_test(a_reference_that_leads_nowhere_is_named),
        cmocka_unit_test(every_wrong_field_is_named_in_order_of_the_alphabet),
        cmocka_unit_test(deep_errors_are_printed_as_tables),
        cmocka_unit_test(conditions_name_the_field_and_the_reason),
        cmocka_unit_test(a_route_needs_something_to_match),
        cmocka_unit_test(a_regex_must_fit_both_engines),
        cmocka_unit_test(a_long_value_is_shown_whole),
        cmocka_unit_test(a_member_named_as_the_place_of_errors_is_only_unknown),
        cmocka_unit_test(hundred_thousand_members_or_elements_are_refused_or_taken_in_no_time),
        cmocka_unit_test(an_unknown_plugin_is_all_that_is_said),
        cmocka_unit_test(a_plugin_keeps_to_its_scopes_and_protocols),
        cmocka_unit_test(a_plugin_configuration_is_completed),
        cmocka_unit_test(a_patch_merges_records_and_replaces_the_rest),
        cmocka_unit_test(a_put_replaces_everything_but_the_identity),
        cmocka_unit_test(a_data_plane_completes_rows_and_drops_unknown_nulls),
        cmocka_unit_test(a_data_plane_refuses_unknown_values_and_rows_without_identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
