/* cors_test.c -- cors over the fake request, by hand and by recordings. */
#include "plugins/cors/cors.h"

#include "plugins/corpus.h"

#define NAME         "cors"
#define ALLOW_ORIGIN "Access-Control-Allow-Origin"

static void ask(weir_request_t *request, const char *method, const char *origin)
{
    fixture_init(request, method, "/");
    if (origin != NULL)
        fixture_header(request, WEIR_STR("Origin"), weir_str(origin));
}

/* What header_filter makes of an answer. */
static void answer(weir_request_t *request, const char *config)
{
    weir_buffer_t record;
    fixture_compile(NAME, config, &record);
    weir_plugin(weir_str(NAME))->header_filter(request, weir_buffer_str(&record));
    weir_buffer_release(&record);
}

static void origins_have_a_normal_form(void **state)
{
    (void)state;
    static const struct {
        const char *text, *whole, *host;
    } rows[] = {
        { "http://a.test", "http://a.test", "a.test" },
        { "http://a.test:80", "http://a.test", "a.test" },
        { "https://a.test:443", "https://a.test", "a.test" },
        { "http://a.test:443", "http://a.test:443", "a.test" },
        { "https://a.test:80", "https://a.test:80", "a.test" },
        { "http://a.test:", "http://a.test", "a.test" },
        { "http://a.test/path?x#y", "http://a.test", "a.test" },
        { "http://a.test?x", "http://a.test", "a.test" },
        { "http://u:p@a.test:1/", "http://a.test:1", "a.test" },
        { "HTTP://A.TEST:80", "HTTP://A.TEST:80", "A.TEST" },
        { "http://[::1]:80", "http://[::1]", "[::1]" },
        { "http://[::1]", "http://[::1]", "[::1]" },
        { "http://[::1]:81", "http://[::1]:81", "[::1]" },
        { "//a.test:1", "a.test:1", "a.test" },
        { "moz-extension://x+y", "moz-extension://x+y", "x+y" },
        { "null", "null", "null" },
        { "a.test", "a.test", "a.test" },
        { "a.test:8080", "a.test:8080", "a.test:8080" },
        { "http://", "http://", "http://" },
        { "http://:80", "http://:80", "http://:80" },
        { "http:/a", "http:/a", "http:/a" },
        { ":", ":", ":" },
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        cors_origin_t origin;
        char *room = malloc(strlen(rows[i].text));
        assert_non_null(room);
        cors_origin(weir_str(rows[i].text), room, &origin);
        assert_text(origin.whole, rows[i].whole);
        assert_text(origin.host, rows[i].host);
        free(room);
    }
}

static void who_may_ask_is_told_so(void **state)
{
    (void)state;
    static const struct {
        const char *config, *origin, *allowed; /* NULL: nothing is said */
        bool varies, credentials;
    } rows[] = {
        { "{}", "http://x", "*", false, false },
        { "{}", NULL, "*", false, false },
        { "{\"origins\":[]}", "http://x", "*", false, false },
        { "{\"origins\":[\"*\"]}", "http://x", "*", false, false },
        { "{\"origins\":[\"*\"],\"credentials\":true}", "http://x:80", "http://x:80", true, true },
        { "{\"origins\":[\"*\"],\"credentials\":true}", NULL, "*", false, false },
        { "{\"origins\":[\"http://a\"]}", "http://x", "http://a", true, false },
        { "{\"origins\":[\"http://a\"],\"credentials\":true}", NULL, "http://a", true, true },
        { "{\"origins\":[\"http://a\",\"http://b:80\"]}", "http://b", "http://b", true, false },
        { "{\"origins\":[\"http://a\",\"http://b\"]}", "http://b:80", "http://b", true, false },
        { "{\"origins\":[\"http://a\",\"http://b\"]}", "http://c", NULL, true, false },
        { "{\"origins\":[\"http://a\",\"http://b\"]}", NULL, NULL, true, false },
        { "{\"origins\":[\"http://a\",\"http://b\"]}", "", NULL, true, false },
        { "{\"origins\":[\"http://a\",\"http://b\"],\"credentials\":true}", "http://c", NULL, true,
          true },
        { "{\"origins\":[\"http://a\",\"*\"]}", "http://c:80", "*", true, false },
        { "{\"origins\":[\"http://a\",\"*\"]}", NULL, NULL, true, false },
        /* of a host, or of all of it; from the beginning to the end */
        { "{\"origins\":[\"(.*[.])?a[.]test\"]}", "https://x.a.test:8", "https://x.a.test:8", true,
          false },
        { "{\"origins\":[\"(.*[.])?a[.]test\"]}", "https://a.test.evil", NULL, true, false },
        { "{\"origins\":[\"(.*[.])?a[.]test\"]}", "https://evila.test", NULL, true, false },
        { "{\"origins\":[\"^https://a[.]test$\"]}", "https://a.test:443", "https://a.test", true,
          false },
        { "{\"origins\":[\"^https://a[.]test$\"]}", "https://a.test:444", NULL, true, false },
        { "{\"origins\":[\"https://a[.]test(:[0-9]+)?\"]}", "https://a.test:444",
          "https://a.test:444", true, false },
        /* one that would take for ever does not fit */
        { "{\"origins\":[\"(a+)+[!]\"]}", "http://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
          NULL, true, false },
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        weir_request_t request;
        ask(&request, "GET", rows[i].origin);
        weir_request_set_answer_header(&request, WEIR_STR("access-control-allow-origin"),
                                       WEIR_STR("the upstream's"));
        answer(&request, rows[i].config);
        weir_str_t told = fixture_answered(&request, ALLOW_ORIGIN);
        bool fine =
            rows[i].allowed != NULL ? weir_str_is(told, rows[i].allowed) : told.data == NULL;
        weir_str_t with = fixture_answered(&request, "Access-Control-Allow-Credentials");
        if (!fine || (fixture_answered(&request, "Vary").data != NULL) != rows[i].varies ||
            weir_str_is(with, "true") != rows[i].credentials)
            fail_msg("row %zu: %.*s", i, WEIR_STR_ARG(told));
        fixture_release(&request);
    }
}

static void what_the_upstream_varies_by_stays(void **state)
{
    (void)state;
    weir_request_t request;
    ask(&request, "GET", "http://a");
    weir_request_answer_header(&request, WEIR_STR("Vary"), WEIR_STR("Accept"));
    answer(&request, "{\"origins\":[\"http://a\"],\"exposed_headers\":[\"X-A\",\"X-B\"]}");
    assert_int_equal(request.answer_header_count, 4);
    assert_text(request.answer_headers[0].value, "Accept");
    assert_text(request.answer_headers[1].value, "Origin");
    assert_text(fixture_answered(&request, "Access-Control-Expose-Headers"), "X-A,X-B");
    fixture_release(&request);
}

static void preflights_are_answered(void **state)
{
    (void)state;
    static const struct {
        const char *config, *method, *name, *value; /* of the headers of the preflight */
        const char *told, *is;                      /* NULL: it is not there */
        bool answered;
    } rows[] = {
        { "{}", "GET", NULL, NULL, "Access-Control-Allow-Methods",
          "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT", true },
        { "{\"methods\":[\"PUT\",\"GET\"]}", "GET", NULL, NULL, "Access-Control-Allow-Methods",
          "PUT,GET", true },
        { "{\"methods\":[]}", "GET", NULL, NULL, "Access-Control-Allow-Methods",
          "GET,HEAD,PUT,PATCH,POST,DELETE,OPTIONS,TRACE,CONNECT", true },
        { "{}", "GET", "Access-Control-Request-Headers", "X, y", "Access-Control-Allow-Headers",
          "X, y", true },
        { "{\"headers\":[\"A\",\"B\"]}", "GET", "Access-Control-Request-Headers", "X",
          "Access-Control-Allow-Headers", "A,B", true },
        { "{\"headers\":[]}", "GET", NULL, NULL, "Access-Control-Allow-Headers", NULL, true },
        { "{\"max_age\":1.5}", "GET", NULL, NULL, "Access-Control-Max-Age", "1.5", true },
        { "{}", "GET", NULL, NULL, "Access-Control-Max-Age", NULL, true },
        { "{\"private_network\":true}", "GET", "Access-Control-Request-Private-Network", "true",
          "Access-Control-Allow-Private-Network", "true", true },
        { "{\"private_network\":true}", "GET", "Access-Control-Request-Private-Network", "yes",
          "Access-Control-Allow-Private-Network", NULL, true },
        { "{}", "GET", "Access-Control-Request-Private-Network", "true",
          "Access-Control-Allow-Private-Network", NULL, true },
        { "{\"exposed_headers\":[\"A\"]}", "GET", NULL, NULL, "Access-Control-Expose-Headers", NULL,
          true },
        { "{\"preflight_continue\":true}", "GET", NULL, NULL, ALLOW_ORIGIN, NULL, false },
        { "{}", NULL, NULL, NULL, ALLOW_ORIGIN, "*", false }, /* no preflight */
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        weir_request_t request;
        ask(&request, "OPTIONS", "http://a");
        if (rows[i].method != NULL)
            fixture_header(&request, WEIR_STR("Access-Control-Request-Method"),
                           weir_str(rows[i].method));
        if (rows[i].name != NULL)
            fixture_header(&request, weir_str(rows[i].name), weir_str(rows[i].value));
        weir_phase_result_t result = fixture_run(&request, NAME, rows[i].config);
        answer(&request, rows[i].config);
        weir_str_t told = fixture_answered(&request, rows[i].told);
        bool fine = rows[i].is != NULL ? weir_str_is(told, rows[i].is) : told.data == NULL;
        if (!fine || request.answered != rows[i].answered ||
            result != (rows[i].answered ? WEIR_PHASE_ANSWER : WEIR_PHASE_NEXT) ||
            (rows[i].answered && (request.status != 200 || request.answer.data != NULL)))
            fail_msg("row %zu: %.*s", i, WEIR_STR_ARG(told));
        fixture_release(&request);
    }
}

/* Of 3.10: known from its control planes, as long as the Admin API speaks 3.9. */
static void who_says_no_origin_may_be_told_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *origin;
        bool told;
    } rows[] = { { NULL, false }, { "", false }, { "http://a", true } };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        weir_request_t request;
        ask(&request, "GET", rows[i].origin);
        answer(&request, "{\"allow_origin_absent\":false,\"exposed_headers\":[\"A\"]}");
        assert_int_equal(request.answer_header_count, rows[i].told ? 2 : 0);
        fixture_release(&request);
    }
    weir_json_t *body = NULL, *entity = NULL;
    char text[] = "{\"name\":\"cors\",\"config\":{\"allow_origin_absent\":false}}";
    weir_model_env_t env = { .now = 1.7e9 };
    weir_problem_t problem;
    weir_problem_init(&problem);
    assert_int_equal(weir_json_parse(weir_str(text), &body, NULL), WEIR_OK);
    assert_int_equal(weir_model_write(weir_schema(WEIR_PLUGINS), WEIR_INSERT, body, NULL, &env,
                                      &entity, &problem),
                     WEIR_INVALID);
    assert_text(weir_buffer_str(&problem.message),
                "schema violation (config.allow_origin_absent: unknown field)");
    weir_problem_release(&problem);
    weir_json_free(body);
}

/* The access phase never saw it, so nobody has answered it. */
static void a_preflight_that_no_route_matches_has_the_headers_of_an_error(void **state)
{
    (void)state;
    weir_request_t request;
    ask(&request, "OPTIONS", "http://a");
    fixture_header(&request, WEIR_STR("Access-Control-Request-Method"), WEIR_STR("GET"));
    request.route_id = FIXTURE_ABSENT;
    answer(&request, "{}");
    assert_text(fixture_answered(&request, ALLOW_ORIGIN), "*");
    fixture_release(&request);
}

static void a_configuration_ends_no_line(void **state)
{
    (void)state;
    weir_request_t request;
    ask(&request, "GET", "http://a");
    answer(&request, "{\"exposed_headers\":[\"A\\r\\nX: y\",\"\\u007f\"]}");
    assert_text(fixture_answered(&request, "Access-Control-Expose-Headers"), "A  X: y, ");
    fixture_release(&request);
}

static void a_record_of_nonsense_is_an_error(void **state)
{
    (void)state;
    weir_buffer_t record;
    fixture_compile(NAME, "{\"origins\":[\"http://a\",\"http://b\"]}", &record);
    weir_str_t whole = weir_buffer_str(&record);
    for (size_t len = 0; len < whole.len; len++) {
        weir_request_t request;
        ask(&request, "GET", "http://b");
        weir_phase_result_t result =
            fixture_access(&request, NAME, (weir_str_t){ whole.data, len });
        weir_plugin(weir_str(NAME))->header_filter(&request, (weir_str_t){ whole.data, len });
        assert_null(fixture_answered(&request, ALLOW_ORIGIN).data);
        assert_true(result == WEIR_PHASE_ERROR || len > whole.len / 2);
        fixture_release(&request);
    }
    weir_buffer_release(&record);
}

static void lack_of_memory_lets_nobody_ask(void **state)
{
    (void)state;
    weir_request_t request;
    fixture_compile_short_of_memory(NAME, "{\"origins\":[\"http://a\",\"b.*\"],\"headers\":[\"A\"],"
                                          "\"max_age\":1}");
    ask(&request, "GET", "http://a");
    request.allocations_left = 0;
    answer(&request, "{\"origins\":[\"http://a\",\"http://b\"]}");
    assert_null(fixture_answered(&request, ALLOW_ORIGIN).data);
    fixture_release(&request);
}

/* More than are kept, again and again: each says what it says. */
static void regular_expressions_are_kept_and_forgotten(void **state)
{
    (void)state;
    char regex[32];
    char text[32];
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < 600; i++) {
            snprintf(regex, sizeof(regex), "a%u[b]$", i);
            snprintf(text, sizeof(text), "a%ub", i);
            assert_int_equal(weir_regex_match(weir_str(regex), weir_str(text)), WEIR_OK);
            assert_int_equal(weir_regex_match(weir_str(regex), WEIR_STR("ab")), WEIR_NOT_FOUND);
        }
    for (int again = 0; again < 2; again++)
        assert_int_equal(weir_regex_match(WEIR_STR("("), WEIR_STR("a")), WEIR_INVALID);
    assert_int_equal(weir_regex_match(WEIR_STR("b"), WEIR_STR("ab")), WEIR_NOT_FOUND);
    weir_test_fail_allocation(1);
    assert_int_equal(weir_regex_match(WEIR_STR("never seen"), WEIR_STR("a")), WEIR_NO_MEMORY);
    weir_test_fail_allocation(0);
}

static void recorded_exchanges_come_out_the_same(void **state)
{
    (void)state;
    /* Of an empty Origin, which is a fault of the incumbent's own: what is said, and that
     * there is an answer, and which. */
    corpus_assert(NAME, 4, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(origins_have_a_normal_form),
        cmocka_unit_test(who_may_ask_is_told_so),
        cmocka_unit_test(what_the_upstream_varies_by_stays),
        cmocka_unit_test(preflights_are_answered),
        cmocka_unit_test(who_says_no_origin_may_be_told_nothing),
        cmocka_unit_test(a_preflight_that_no_route_matches_has_the_headers_of_an_error),
        cmocka_unit_test(a_configuration_ends_no_line),
        cmocka_unit_test(a_record_of_nonsense_is_an_error),
        cmocka_unit_test(lack_of_memory_lets_nobody_ask),
        cmocka_unit_test(regular_expressions_are_kept_and_forgotten),
        cmocka_unit_test(recorded_exchanges_come_out_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
