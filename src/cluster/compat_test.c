/* compat_test.c -- entities for older data planes, against what the original control
 * plane pushed to them, and by hand for plugins that no recording has. */
#include "cluster/compat_internal.h"
#include "cluster/fixture.h"

enum { LINE_BYTES_MAX = 1 << 22 };

static int64_t version(const char *text)
{
    return weir_compat_version(weir_str(text));
}

static void versions_are_numbers_that_can_be_compared(void **state)
{
    (void)state;
    assert_int_equal(version("3.9.1"), 3009001000);
    assert_int_equal(version("3.10.0.0"), 3010000000);
    assert_int_equal(version("3.0.0.1"), 3000000001);
    assert_int_equal(version("3.9.1-enterprise"), 3009001000);
    assert_int_equal(version("3"), 3000000000);
    assert_int_equal(version(""), -1);
    assert_int_equal(version("x.1"), -1);
    assert_true(version("99999999999999999999.99999999999.9.9") > 0);
    int64_t major = 0;
    int64_t minor = 0;
    assert_true(weir_compat_parts(WEIR_STR("3.9.1-enterprise"), &major, &minor));
    assert_int_equal(major, 3);
    assert_int_equal(minor, 9);
    assert_false(weir_compat_parts(WEIR_STR("3.9"), &major, &minor));
    assert_false(weir_compat_parts(WEIR_STR("x"), &major, &minor));
    assert_false(weir_compat_parts(WEIR_STR("3.x.1"), &major, &minor));
}

static void versions_that_get_the_same_share_a_level(void **state)
{
    (void)state;
    assert_int_equal(weir_compat_level(version("3.8.1")), weir_compat_level(version("3.8.0")));
    assert_int_equal(weir_compat_level(version("3.9.1")), weir_compat_level(version("3.9.9")));
    assert_int_equal(weir_compat_level(version("3.10.0")), weir_compat_newest());
    assert_true(weir_compat_level(version("3.7.1")) < weir_compat_level(version("3.8.0")));
    assert_int_equal(weir_compat_level(version("3.0.2")), 0);
}

/* -- recorded pushes ------------------------------------------------------------------------- */

/* An empty list of the original prints as {}. */
static void normalise(weir_json_t *value)
{
    for (weir_json_t *m = weir_json_first_mutable(value); m != NULL;) {
        weir_json_t *next = weir_json_next_mutable(m);
        weir_json_kind_t kind = weir_json_kind(m);
        if (kind == WEIR_JSON_OBJECT && weir_json_first(m) == NULL && weir_json_name(m) != NULL) {
            char name[64];
            snprintf(name, sizeof(name), "%s", weir_json_name(m));
            assert_int_equal(weir_json_set(value, name, weir_json_new_array()), WEIR_OK);
        } else {
            normalise(m);
        }
        m = next;
    }
}

/* The config_table of the first push in a recording; NULL: there are no recordings. */
static weir_json_t *pushed(const char *recording)
{
    const char *corpus = getenv("WEIR_CORPUS");
    char path[512];
    snprintf(path, sizeof(path), "%s/wire/%s.jsonl", corpus != NULL ? corpus : "", recording);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return NULL;
    char *line = malloc(LINE_BYTES_MAX);
    assert_non_null(line);
    weir_json_t *table = NULL;
    while (line != NULL && table == NULL && fgets(line, LINE_BYTES_MAX, file) != NULL) {
        weir_json_t *frame = fixture_json(line);
        weir_json_t *message = weir_json_get_mutable(frame, "json");
        if (weir_json_kind(message) == WEIR_JSON_OBJECT)
            table = weir_json_take(message, "config_table");
        weir_json_free(frame);
    }
    free(line);
    fclose(file);
    assert_non_null(table);
    normalise(table);
    return table;
}

static const weir_json_t *with_id(const weir_json_t *rows, const weir_json_t *like)
{
    const char *key = weir_json_get(like, "id") != NULL ? "id" : "key";
    const weir_json_t *id = weir_json_get(like, key);
    for (const weir_json_t *row = weir_json_first(rows); row != NULL; row = weir_json_next(row))
        if (weir_json_equal(weir_json_get(row, key), id))
            return row;
    return NULL;
}

static size_t compare_rows(const char *set, weir_json_t *rows, const weir_json_t *wanted,
                           int64_t dp_version)
{
    size_t count = 0;
    for (weir_json_t *row = weir_json_first_mutable(rows); row != NULL;
         row = weir_json_next_mutable(row)) {
        bool changed = false;
        weir_json_t *before = weir_json_copy(row);
        assert_int_equal(weir_compat_adapt_named(weir_str(set), row, dp_version, &changed, NULL),
                         WEIR_OK);
        assert_int_equal(changed, !weir_json_equal(before, row));
        weir_json_free(before);
        const weir_json_t *expected = with_id(wanted, row);
        assert_non_null(expected);
        if (!weir_json_equal(row, expected)) {
            WEIR_AUTO(buffer) weir_buffer_t text;
            weir_buffer_init(&text, 1 << 20);
            weir_json_print(row, &text);
            weir_buffer_append(&text, WEIR_STR("\n  wanted "));
            weir_json_print(expected, &text);
            fail_msg("%s: %.*s", set, (int)text.len, text.data);
        }
        count++;
    }
    return count;
}

static void check_recorded(const char *newest, const char *older, const char *dp_version)
{
    weir_json_t *table = pushed(newest);
    weir_json_t *wanted = pushed(older);
    if (table == NULL || wanted == NULL)
        skip();
    size_t count = 0;
    for (weir_json_t *set = weir_json_first_mutable(table); set != NULL;
         set = weir_json_next_mutable(set))
        if (weir_json_kind(set) == WEIR_JSON_ARRAY)
            count += compare_rows(weir_json_name(set), set,
                                  weir_json_get(wanted, weir_json_name(set)), version(dp_version));
    assert_true(count > 50);
    weir_json_free(table);
    weir_json_free(wanted);
}

static void recorded_pushes_of_3_9_1_come_out_the_same(void **state)
{
    (void)state;
    static const char *const versions[] = { "3.0.2", "3.1.1",   "3.2.2",           "3.3.1", "3.4.3",
                                            "3.5.0", "3.6.1",   "3.7.1",           "3.8.1", "3.9.0",
                                            "3.9.9", "3.9.1.1", "3.9.1-enterprise" };
    for (size_t i = 0; i < WEIR_COUNT(versions); i++) {
        char older[64];
        snprintf(older, sizeof(older), "v1-version-%s", versions[i]);
        check_recorded("v1-version-3.9.1", older, versions[i]);
    }
}

static void recorded_pushes_of_3_10_come_out_the_same(void **state)
{
    (void)state;
    static const char *const versions[] = { "3.7.1", "3.8.1", "3.9.1", "3.10.0" };
    for (size_t i = 0; i < WEIR_COUNT(versions); i++) {
        char older[64];
        snprintf(older, sizeof(older), "v1-3.10-version-%s", versions[i]);
        check_recorded("v1-3.10-version-3.10.0", older, versions[i]);
    }
}

/* -- by hand: no recording has these -------------------------------------------------------------
 */

typedef struct example {
    const char *type, *version, *row, *wanted; /* wanted NULL: it stays as it is */
} example_t;

#define PLUGIN(name, config) "{\"name\":\"" name "\",\"config\":{" config "}}"

static const example_t examples[] = {
    /* A provider that came later becomes openai, and the route is passed on as it is. */
    { "plugins", "3.8.0",
      PLUGIN("ai-proxy", "\"route_type\":\"llm/v1/chat\",\"model\":{\"provider\":\"huggingface\","
                         "\"options\":{\"huggingface\":{\"use_cache\":true},\"upstream_url\":1}}"),
      PLUGIN("ai-proxy", "\"route_type\":\"preserve\",\"model\":{\"provider\":\"openai\","
                         "\"options\":{\"upstream_url\":1}}") },
    { "plugins", "3.9.0",
      PLUGIN("ai-proxy", "\"route_type\":\"llm/v1/chat\",\"model\":{\"provider\":\"huggingface\"}"),
      NULL },
    { "plugins", "3.7.0",
      PLUGIN("ai-proxy", "\"route_type\":\"llm/v1/chat\",\"model_name_header\":true,\"model\":{"
                         "\"provider\":\"gemini\",\"options\":{\"gemini\":{},\"upstream_url\":1}}"),
      PLUGIN("ai-proxy", "\"route_type\":\"preserve\",\"model\":{\"provider\":\"openai\","
                         "\"options\":{\"upstream_url\":1}}") },
    { "plugins", "3.6.0",
      PLUGIN("ai-proxy", "\"route_type\":\"llm/v1/chat\",\"model\":{\"provider\":\"bedrock\","
                         "\"options\":null}"),
      PLUGIN("ai-proxy", "\"route_type\":\"llm/v1/chat\",\"model\":{\"provider\":\"openai\","
                         "\"options\":null}") },
    { "plugins", "3.7.0",
      PLUGIN("ai-proxy", "\"route_type\":\"llm/v1/chat\",\"model\":{\"provider\":\"mistral\","
                         "\"options\":{\"upstream_url\":null}}"),
      PLUGIN("ai-proxy", "\"route_type\":\"llm/v1/chat\",\"model\":{\"provider\":\"mistral\","
                         "\"options\":{\"upstream_url\":\"https://api.mistral.ai:443\"}}") },
    { "plugins", "3.7.0",
      PLUGIN("ai-request-transformer", "\"max_request_body_size\":1,\"llm\":{\"model\":{"
                                       "\"provider\":\"gemini\"},\"auth\":{\"allow_override\":"
                                       "false,\"header_name\":\"h\"}}"),
      PLUGIN("ai-request-transformer", "\"llm\":{\"model\":{\"provider\":\"openai\"},\"auth\":{"
                                       "\"header_name\":\"h\"}}") },
    { "plugins", "3.7.0",
      PLUGIN("ai-prompt-guard", "\"match_all_roles\":true,\"allow_patterns\":1"),
      PLUGIN("ai-prompt-guard", "\"allow_patterns\":1") },
    { "plugins", "3.9.0", PLUGIN("ai-prompt-decorator", "\"llm_format\":\"openai\",\"prompts\":1"),
      PLUGIN("ai-prompt-decorator", "\"prompts\":1") },
    { "plugins", "3.7.0",
      PLUGIN("ai-prompt-template", "\"max_request_body_size\":1,\"templates\":[]"),
      PLUGIN("ai-prompt-template", "\"templates\":[]") },
    /* aws-lambda */
    { "plugins", "3.7.1",
      PLUGIN("aws-lambda", "\"aws_sts_endpoint_url\":\"u\",\"empty_arrays_mode\":\"legacy\","
                           "\"timeout\":1"),
      PLUGIN("aws-lambda", "\"timeout\":1") },
    { "plugins", "3.8.0", PLUGIN("aws-lambda", "\"aws_sts_endpoint_url\":\"u\""), NULL },
    { "plugins", "3.1.0",
      PLUGIN("aws-lambda", "\"aws_imds_protocol_version\":\"v1\",\"disable_https\":true,\"x\":1"),
      PLUGIN("aws-lambda", "\"x\":1") },
    /* Redis records were flat, and stay when they are not in use. */
    { "plugins", "3.5.0",
      PLUGIN("rate-limiting", "\"policy\":\"redis\",\"redis\":{\"host\":\"h\",\"port\":1,"
                              "\"username\":null,\"server_name\":\"s\"}"),
      PLUGIN("rate-limiting", "\"policy\":\"redis\",\"redis_host\":\"h\",\"redis_port\":1,"
                              "\"redis_username\":null,\"redis_server_name\":\"s\"") },
    { "plugins", "3.5.0",
      PLUGIN("response-ratelimiting", "\"policy\":\"local\",\"redis\":{\"host\":\"h\"}"), NULL },
    { "plugins", "3.6.0", PLUGIN("rate-limiting", "\"policy\":\"redis\",\"redis\":{\"host\":1}"),
      NULL },
    { "plugins", "3.5.0",
      PLUGIN("acme", "\"storage\":\"redis\",\"storage_config\":{\"redis\":{\"host\":\"h\","
                     "\"password\":\"p\",\"server_name\":\"s\",\"timeout\":1,\"extra_options\":{"
                     "\"namespace\":\"n\",\"scan_count\":10}}}"),
      PLUGIN("acme", "\"storage\":\"redis\",\"storage_config\":{\"redis\":{\"host\":\"h\","
                     "\"auth\":\"p\",\"ssl_server_name\":\"s\",\"namespace\":\"n\","
                     "\"scan_count\":10}}") },
    { "plugins", "3.4.0",
      PLUGIN("acme", "\"storage\":\"redis\",\"storage_config\":{\"redis\":{\"host\":\"h\","
                     "\"extra_options\":{\"namespace\":\"n\",\"scan_count\":10}}}"),
      PLUGIN("acme", "\"storage\":\"redis\",\"storage_config\":{\"redis\":{\"host\":\"h\","
                     "\"namespace\":\"n\"}}") },
    /* Traces */
    { "plugins", "3.3.0",
      PLUGIN("zipkin", "\"header_type\":\"aws\",\"default_header_type\":\"aws\""),
      PLUGIN("zipkin", "\"header_type\":\"preserve\",\"default_header_type\":\"b3\"") },
    { "plugins", "3.4.0", PLUGIN("zipkin", "\"default_header_type\":\"gcp\""),
      PLUGIN("zipkin", "\"default_header_type\":\"b3\"") },
    { "plugins", "3.4.0", PLUGIN("opentelemetry", "\"header_type\":\"aws\""), NULL },
    { "plugins", "3.2.0", PLUGIN("datadog", "\"host\":\"h\""),
      PLUGIN("datadog", "\"host\":\"h\",\"retry_count\":10,\"queue_size\":1,\"flush_timeout\":2") },
    /* Other entities */
    { "vaults", "3.2.0", "{\"name\":\"env\",\"config\":{\"prefix\":\"a-b-c\"},\"updated_at\":1}",
      "{\"name\":\"env\",\"config\":{\"prefix\":\"a_b_c\"},\"updated_at\":1}" },
    { "vaults", "3.2.0", "{\"name\":\"aws\",\"config\":{\"prefix\":\"a-b\"}}", NULL },
    { "services", "3.1.0",
      "{\"protocol\":\"tls\",\"tls_verify\":true,\"tls_verify_depth\":null,\"ca_certificates\":"
      "null,"
      "\"client_certificate\":{\"id\":\"x\"},\"host\":\"h\"}",
      "{\"protocol\":\"tls\",\"host\":\"h\"}" },
    { "services", "3.1.0", "{\"protocol\":\"https\",\"tls_verify\":true}", NULL },
    { "routes", "3.0.0", "{\"name\":\"r\",\"updated_at\":1}", NULL },
    { "keyauth_credentials", "3.0.0", "{\"key\":\"k\"}", NULL },
    /* Nothing to look into. */
    { "plugins", "3.0.0", "{\"name\":\"rate-limiting\",\"config\":null}", NULL },
    { "plugins", "3.0.0", "{\"name\":7}", NULL },
    { "plugins", "3.0.0", "{}", NULL },
};

static void plugins_of_no_recording_are_converted(void **state)
{
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(examples); i++) {
        const example_t *e = &examples[i];
        bool changed = false;
        weir_json_t *row = fixture_json(e->row);
        weir_json_t *wanted = fixture_json(e->wanted != NULL ? e->wanted : e->row);
        assert_int_equal(
            weir_compat_adapt_named(weir_str(e->type), row, version(e->version), &changed, NULL),
            WEIR_OK);
        WEIR_AUTO(buffer) weir_buffer_t text;
        weir_buffer_init(&text, 1 << 16);
        weir_json_print(row, &text);
        if (!weir_json_equal(row, wanted))
            fail_msg("%s for %s: is %.*s", e->row, e->version, (int)text.len, text.data);
        assert_int_equal(changed, e->wanted != NULL);
        weir_json_free(row);
        weir_json_free(wanted);
    }
}

static void a_newest_data_plane_gets_everything_as_it_is(void **state)
{
    (void)state;
    bool changed = true;
    weir_json_t *row = fixture_json(PLUGIN("cors", "\"allow_origin_absent\":true"));
    assert_int_equal(weir_compat_adapt(WEIR_PLUGINS, row, weir_compat_newest(), &changed, NULL),
                     WEIR_OK);
    assert_false(changed);
    assert_int_equal(weir_compat_adapt(WEIR_PLUGINS, row, version("3.9.1"), &changed, NULL),
                     WEIR_OK);
    assert_true(changed);
    weir_json_free(row);
}

static void a_failing_allocation_is_reported(void **state)
{
    (void)state;
    int rc = WEIR_NO_MEMORY;
    for (unsigned n = 1; rc != WEIR_OK && n < 100; n++) {
        bool changed = false;
        weir_error_t err = { 0 };
        weir_json_t *row = fixture_json(
            PLUGIN("rate-limiting", "\"policy\":\"redis\",\"redis\":{\"host\":\"h\",\"port\":1}"));
        weir_test_fail_allocation(n);
        rc = weir_compat_adapt(WEIR_PLUGINS, row, 0, &changed, &err);
        weir_test_fail_allocation(0);
        assert_true(rc == WEIR_OK || (rc == WEIR_NO_MEMORY && err.code == WEIR_NO_MEMORY));
        weir_json_free(row);
    }
    assert_int_equal(rc, WEIR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_are_numbers_that_can_be_compared),
        cmocka_unit_test(versions_that_get_the_same_share_a_level),
        cmocka_unit_test(recorded_pushes_of_3_9_1_come_out_the_same),
        cmocka_unit_test(recorded_pushes_of_3_10_come_out_the_same),
        cmocka_unit_test(plugins_of_no_recording_are_converted),
        cmocka_unit_test(a_newest_data_plane_gets_everything_as_it_is),
        cmocka_unit_test(a_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
