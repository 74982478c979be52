/* key_auth_test.c -- key-auth over the fake request, by hand and by recordings. */
#include "plugins/corpus.h"
#include "plugins/key_auth/key_auth.h"

static weir_json_t *world; /* alice with the key "k" */

static int make_world(void **state)
{
    (void)state;
    return weir_json_parse(
        WEIR_STR("{\"consumers\":[{\"id\":\"c1\",\"username\":\"alice\"},"
                 "{\"id\":\"c2\",\"username\":\"anon\"}],"
                 "\"keyauth_credentials\":[{\"id\":\"k1\",\"consumer\":\"c1\",\"key\":\"k\"},"
                 "{\"id\":\"k2\",\"consumer\":\"c1\",\"key\":\"\"}]}"),
        &world, NULL);
}

static int drop_world(void **state)
{
    (void)state;
    weir_json_free(world);
    return 0;
}

/* What happens to a POST; NULL or "" for what is not sent. */
typedef struct row {
    const char *config, *target, *headers, *type, *body; /* headers: "name: value\n..." */
    const char *refusal;                                 /* NULL: proxied as alice */
    const char *sent_target, *sent_body;
} row_t;

static void send_headers(weir_request_t *request, const char *headers)
{
    while (headers != NULL && *headers != '\0') {
        const char *colon = strstr(headers, ": ");
        const char *end = strchr(headers, '\n');
        assert_true(colon != NULL && end != NULL);
        fixture_header(request, (weir_str_t){ headers, (size_t)(colon - headers) },
                       (weir_str_t){ colon + 2, (size_t)(end - colon) - 2 });
        headers = end + 1;
    }
}

static void start(weir_request_t *request, const row_t *row)
{
    fixture_init(request, "POST", row->target != NULL ? row->target : "/");
    request->world = world;
    send_headers(request, row->headers);
    if (row->type != NULL)
        fixture_header(request, WEIR_STR("Content-Type"), weir_str(row->type));
    fixture_body(request, weir_str(row->body));
}

static void check(const row_t *row)
{
    weir_request_t request;
    start(&request, row);
    weir_phase_result_t result = fixture_run(&request, "key-auth", row->config);
    if (row->refusal != NULL) {
        assert_int_equal(result, WEIR_PHASE_ANSWER);
        assert_int_equal(request.status, 401);
        assert_text(request.answer, row->refusal);
        assert_false(request.by_credential);
    } else {
        assert_int_equal(result, WEIR_PHASE_NEXT);
        assert_string_equal(request.consumer, "c1");
        assert_text(fixture_sent(&request, "X-Credential-Identifier", 0), "k1");
    }
    if (row->sent_target != NULL) {
        assert_text(request.sent_query, row->sent_target);
        assert_null(fixture_sent(&request, "apikey", 0).data);
    }
    if (row->sent_body != NULL)
        assert_text(request.sent_body, row->sent_body);
    fixture_release(&request);
}

#define NO_KEY  "No API key found in request"
#define SEVERAL "Duplicate API key found"
#define FORM    "application/x-www-form-urlencoded"
#define IN_BODY "{\"key_in_body\":true}"
#define HIDE    "{\"key_in_body\":true,\"hide_credentials\":true}"
#define PART(name, value) \
    "--b\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"

static void check_all(const row_t *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        print_message("row %zu\n", i);
        check(&rows[i]);
    }
}

static void the_first_string_wins(void **state)
{
    (void)state;
    static const row_t rows[] = {
        { "{}", "/", "APIKEY: k\n" },
        { "{}", "/?apikey=k" },
        { "{}", "/?apikey=no", "apikey: k\n" },
        { "{}", "/?apikey=k", "apikey: no\n", .refusal = "Unauthorized" },
        { "{}", "/?apikey", .refusal = NO_KEY },
        { "{}", "/?apikey=", .refusal = NO_KEY },
        { "{}", "/?ApiKey=k", .refusal = NO_KEY },               /* arguments are case-sensitive */
        { "{}", "/?apikey=k", "apikey: \n", .refusal = NO_KEY }, /* an empty string, too */
        { "{}", "/", "apikey: k\napikey: k\n", .refusal = SEVERAL },
        { "{}", "/?apikey&apikey=k", .refusal = SEVERAL },
        { "{\"key_names\":[\"a\",\"b\"]}", "/?b=k" },
        { "{\"key_names\":[\"a\",\"b\"]}", "/?a=no", "b: k\n", .refusal = "Unauthorized" },
        { "{\"key_in_header\":false}", "/", "apikey: k\n", .refusal = NO_KEY },
        { "{\"key_in_query\":false}", "/?apikey=k", .refusal = NO_KEY },
        { "{\"key_names\":[]}", "/?apikey=k", "apikey: k\n", .refusal = NO_KEY },
    };
    check_all(rows, WEIR_COUNT(rows));
}

static void a_body_has_keys_in_three_forms(void **state)
{
    (void)state;
    static const row_t rows[] = {
        { IN_BODY, .type = FORM, .body = "x=1&apikey=k" },
        { IN_BODY, .type = FORM "; charset=utf-8", .body = "%61pikey=%6b" },
        { IN_BODY, .type = FORM, .body = "apikey", .refusal = NO_KEY },
        { IN_BODY, "/?apikey", .type = FORM, .body = "apikey=k" }, /* a flag hides no key */
        { IN_BODY, .type = FORM, .body = "apikey=k&apikey", .refusal = SEVERAL },
        { IN_BODY, .type = FORM, .body = "apikey=%4", .refusal = "Unauthorized" },
        { IN_BODY, .type = FORM, .body = "apikey[]=k", .refusal = NO_KEY },
        { IN_BODY, .type = "Application/JSON", .body = "{\"a\\u0070ikey\":\"\\u006b\"}" },
        { IN_BODY, .type = "application/json", .body = "{\"apikey\":\"no\",\"apikey\":\"k\"}" },
        { IN_BODY, .type = "application/json", .body = "{\"apikey\":1}", .refusal = NO_KEY },
        { IN_BODY, .type = "application/json", .body = "{\"apikey\":[\"k\"]}", .refusal = SEVERAL },
        { IN_BODY, .type = "application/json", .body = "[\"apikey\"]", .refusal = NO_KEY },
        { IN_BODY, .type = "application/json", .body = "{\"apikey\":\"k\"", .refusal = NO_KEY },
        { IN_BODY, .type = "text/plain", .body = "apikey=k", .refusal = NO_KEY },
        { IN_BODY, .type = "text/plain", .headers = "apikey: k\n", .body = "x" },
        { IN_BODY, .type = "multipart/form-data; boundary=b",
          .body = "preamble\r\n" PART("x", "1") PART("apikey", "k") "--b--\r\n" },
        { IN_BODY, .type = "multipart/form-data; charset=x; Boundary=\"b\"",
          .body = PART("apikey", "k") "--b--" },
        { IN_BODY, .type = "multipart/form-data; boundary=b",
          .body = PART("apikey", "k") PART("apikey", "k") "--b--", .refusal = SEVERAL },
        { IN_BODY, .type = "multipart/form-data; boundary=b", .body = PART("apikey", "k"),
          .refusal = NO_KEY }, /* it never ends */
        { IN_BODY, .type = "multipart/form-data; boundary=b",
          .body = PART("apikey", "k--b") "--b--", .refusal = "Unauthorized" },
        { IN_BODY, .type = "multipart/form-data", .body = PART("apikey", "k") "--b--",
          .refusal = NO_KEY },
        { "{}", .type = FORM, .body = "apikey=k", .refusal = NO_KEY },
    };
    check_all(rows, WEIR_COUNT(rows));
}

static void a_hidden_key_leaves_everything_else_as_it_was(void **state)
{
    (void)state;
    static const row_t rows[] = {
        { HIDE, "/?apikey=k&x=1", .sent_target = "?x=1" },
        { HIDE, "/?apikey=no&x=1", .sent_target = "?x=1", .refusal = "Unauthorized" },
        { HIDE, "/?x=%20", "apikey: k\n", .sent_target = "?x=%20" },
        { HIDE, "/?apikey=z", "apikey: k\n", FORM, "a=+1&apikey=no&b&=&apikey=2", .sent_target = "",
          .sent_body = "a=+1&b&=" },
        { HIDE, "/", "apikey: k\n", FORM, "a=1&", .sent_target = "", .sent_body = "a=1&" },
        { HIDE, "/", NULL, FORM, "apikey=k", .sent_target = "", .sent_body = "" },
        { HIDE, "/", NULL, "application/json",
          " {\"id\": 12345678901234567890, \"apikey\":\"k\" , \"t\":{\"apikey\":\"},\\\"\"}}\n",
          .sent_target = "",
          .sent_body = " {\"id\": 12345678901234567890, \"t\":{\"apikey\":\"},\\\"\"}}\n" },
        { HIDE, "/", NULL, "application/json", "{\"\\u0061pikey\":\"k\",\"apikey\":\"k\"}",
          .sent_target = "", .sent_body = "{}" },
        { HIDE, "/", NULL, "application/json", "{\"apikey\":\"k\",\"a\\\"\":[1,{}]}",
          .sent_target = "", .sent_body = "{\"a\\\"\":[1,{}]}" },
        { HIDE, "/", "apikey: k\n", "application/json", "[1, 2]", .sent_target = "",
          .sent_body = "[1, 2]" },
        { HIDE, "/", "apikey: k\n", "text/plain", "apikey=k", .sent_target = "",
          .sent_body = "apikey=k" },
        { HIDE, "/", NULL, "multipart/form-data; boundary=b",
          PART("x", "1") PART("apikey", "k") PART("y", "2") "--b--\r\n", .sent_target = "",
          .sent_body = PART("x", "1") PART("y", "2") "--b--\r\n" },
        { "{\"hide_credentials\":true}", "/", "apikey: k\n", FORM, "apikey=k", .sent_target = "",
          .sent_body = "apikey=k" },
    };
    check_all(rows, WEIR_COUNT(rows));
}

static void a_refusal_carries_the_challenge(void **state)
{
    (void)state;
    weir_request_t request;
    start(&request, &(row_t){ 0 });
    fixture_run(&request, "key-auth", "{\"realm\":\"my realm\"}");
    assert_text(request.challenge, "Key realm=\"my realm\"");
    fixture_release(&request);
    start(&request, &(row_t){ 0 });
    fixture_run(&request, "key-auth", "{}");
    assert_text(request.challenge, "Key");
    fixture_release(&request);
}

static void a_preflight_passes_untouched_if_it_may(void **state)
{
    (void)state;
    weir_request_t request;
    fixture_init(&request, "OPTIONS", "/?apikey=k");
    request.world = world;
    assert_int_equal(fixture_run(&request, "key-auth", "{\"run_on_preflight\":false}"),
                     WEIR_PHASE_NEXT);
    assert_false(request.by_credential);
    assert_null(fixture_sent(&request, "X-Consumer-ID", 0).data);
    assert_int_equal(fixture_run(&request, "key-auth", "{}"), WEIR_PHASE_NEXT);
    assert_true(request.by_credential);
    fixture_release(&request);
    check(&(row_t){ "{\"run_on_preflight\":false}", .refusal = NO_KEY }); /* a POST is none */
}

static void anonymous_is_for_who_is_not_known_yet(void **state)
{
    (void)state;
    static const char config[] = "{\"anonymous\":\"anon\"}";
    weir_request_t request;
    start(&request, &(row_t){ .headers = "apikey: no\n" });
    assert_int_equal(fixture_run(&request, "key-auth", config), WEIR_PHASE_NEXT);
    assert_true(request.anonymous);
    assert_string_equal(request.consumer, "c2");
    assert_null(request.challenge.data);
    /* the anonymous consumer has no credential: the next plugin tries again */
    assert_int_equal(fixture_run(&request, "key-auth", "{\"anonymous\":\"c1\"}"), WEIR_PHASE_NEXT);
    assert_string_equal(request.consumer, "c1");
    fixture_release(&request);

    start(&request, &(row_t){ .headers = "apikey: no\n" });
    request.by_credential = true; /* by another plugin: one is enough */
    assert_int_equal(fixture_run(&request, "key-auth", config), WEIR_PHASE_NEXT);
    assert_false(request.anonymous);
    /* without `anonymous` all have to pass */
    assert_int_equal(fixture_run(&request, "key-auth", "{}"), WEIR_PHASE_ANSWER);
    fixture_release(&request);
}

static void our_own_faults_are_no_refusals(void **state)
{
    (void)state;
    weir_request_t request;
    start(&request, &(row_t){ 0 });
    assert_int_equal(fixture_run(&request, "key-auth", "{\"anonymous\":\"nobody\"}"),
                     WEIR_PHASE_ERROR);
    assert_null(request.challenge.data);
    fixture_release(&request);
    start(&request, &(row_t){ .headers = "apikey: broken\n" });
    assert_int_equal(fixture_run(&request, "key-auth", "{}"), WEIR_PHASE_ERROR);
    assert_false(request.answered);
    fixture_release(&request);
}

static void a_body_that_cannot_be_read_has_no_key_or_is_our_fault(void **state)
{
    (void)state;
    const row_t row = { .type = FORM, .body = "apikey=k" };
    weir_request_t request;
    start(&request, &row);
    request.read_body = WEIR_TOO_LARGE;
    assert_int_equal(fixture_run(&request, "key-auth", HIDE), WEIR_PHASE_ANSWER);
    assert_text(request.answer, NO_KEY);
    fixture_release(&request);
    start(&request, &row);
    request.read_body = WEIR_IO;
    assert_int_equal(fixture_run(&request, "key-auth", HIDE), WEIR_PHASE_ERROR);
    fixture_release(&request);
}

static void a_body_is_not_awaited_without_need(void **state)
{
    (void)state;
    weir_request_t request;
    start(&request, &(row_t){ .headers = "apikey: k\n", .type = FORM, .body = "apikey=no" });
    assert_int_equal(fixture_run(&request, "key-auth", IN_BODY), WEIR_PHASE_NEXT);
    assert_false(request.body_asked);
    fixture_release(&request);
}

static void short_memory_is_an_error_and_changes_no_identity(void **state)
{
    (void)state;
    static const char *const bodies[][2] = {
        { FORM, "apikey=k&a=1" },
        { "application/json", "{\"apikey\":\"k\",\"a\":1}" },
        { "multipart/form-data; boundary=b", PART("apikey", "k") "--b--" },
    };
    for (size_t i = 0; i < WEIR_COUNT(bodies); i++) {
        weir_phase_result_t result = WEIR_PHASE_ERROR;
        size_t allowed = 0;
        for (; result != WEIR_PHASE_NEXT; allowed++) {
            assert_true(allowed < 10);
            weir_request_t request;
            start(&request, &(row_t){ .type = bodies[i][0], .body = bodies[i][1] });
            request.allocations_left = allowed;
            result = fixture_run(&request, "key-auth", HIDE);
            assert_true(result == WEIR_PHASE_NEXT || result == WEIR_PHASE_ERROR);
            assert_int_equal(request.by_credential, result == WEIR_PHASE_NEXT);
            fixture_release(&request);
        }
        assert_true(allowed > 1); /* it did fail */
    }
}

static void a_damaged_record_is_an_error(void **state)
{
    (void)state;
    weir_buffer_t record;
    fixture_compile("key-auth", "{\"key_names\":[\"a\",\"b\"],\"anonymous\":\"anon\"}", &record);
    for (size_t len = 0; len < record.len; len++) {
        weir_request_t request;
        start(&request, &(row_t){ 0 });
        assert_int_equal(fixture_access(&request, "key-auth", (weir_str_t){ record.data, len }),
                         WEIR_PHASE_ERROR);
        fixture_release(&request);
    }
    weir_buffer_release(&record);
}

static void compiling_survives_every_lack_of_memory(void **state)
{
    (void)state;
    weir_json_t *config = NULL;
    assert_int_equal(
        weir_json_parse(WEIR_STR("{\"key_names\":[\"a\"],\"realm\":\"r\"}"), &config, NULL),
        WEIR_OK);
    int rc = WEIR_NO_MEMORY;
    for (unsigned n = 1; rc != WEIR_OK; n++) {
        weir_buffer_t record;
        weir_buffer_init(&record, 1 << 16);
        weir_test_fail_allocation(n);
        rc = weir_plugin_compile(NULL, WEIR_STR("key-auth"), config, &record, NULL);
        weir_test_fail_allocation(0);
        assert_true(rc == WEIR_OK || rc == WEIR_NO_MEMORY);
        assert_true(n < 50);
        weir_buffer_release(&record);
    }
    weir_json_free(config);
}

static void recorded_exchanges_are_met(void **state)
{
    (void)state;
    corpus_assert("key-auth", 0, 60);
}

static void recorded_exchanges_of_several_plugins_are_met(void **state)
{
    (void)state;
    corpus_assert("cross-plugin", 0, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_string_wins),
        cmocka_unit_test(a_body_has_keys_in_three_forms),
        cmocka_unit_test(a_hidden_key_leaves_everything_else_as_it_was),
        cmocka_unit_test(a_refusal_carries_the_challenge),
        cmocka_unit_test(a_preflight_passes_untouched_if_it_may),
        cmocka_unit_test(anonymous_is_for_who_is_not_known_yet),
        cmocka_unit_test(our_own_faults_are_no_refusals),
        cmocka_unit_test(a_body_that_cannot_be_read_has_no_key_or_is_our_fault),
        cmocka_unit_test(a_body_is_not_awaited_without_need),
        cmocka_unit_test(short_memory_is_an_error_and_changes_no_identity),
        cmocka_unit_test(a_damaged_record_is_an_error),
        cmocka_unit_test(compiling_survives_every_lack_of_memory),
        cmocka_unit_test(recorded_exchanges_are_met),
        cmocka_unit_test(recorded_exchanges_of_several_plugins_are_met),
    };
    return cmocka_run_group_tests(tests, make_world, drop_world);
}
