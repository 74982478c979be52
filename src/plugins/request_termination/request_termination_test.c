/* request_termination_test.c -- request-termination over the fake request, by hand
 * and by recordings. */
#include "plugins/corpus.h"
#include "plugins/request_termination/request_termination.h"

#include <unistd.h>

#define NAME "request-termination"
#define JSON "application/json; charset=utf-8"

static void each_status_has_its_message_or_no_body(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        int status;
        const char *type, *body; /* NULL: none */
    } rows[] = {
        { "{}", 503, JSON, "{\"message\":\"Service unavailable\"}" },
        { "{\"status_code\":401}", 401, JSON, "{\"message\":\"Unauthorized\"}" },
        { "{\"status_code\":404}", 404, JSON, "{\"message\":\"Not found\"}" },
        { "{\"status_code\":405}", 405, JSON, "{\"message\":\"Method not allowed\"}" },
        { "{\"status_code\":500}", 500, JSON, "{\"message\":\"An unexpected error occurred\"}" },
        { "{\"status_code\":502}", 502, JSON, "{\"message\":\"Bad Gateway\"}" },
        { "{\"status_code\":204}", 204, NULL, NULL },
        { "{\"status_code\":403}", 403, NULL, NULL },
        { "{\"status_code\":418,\"message\":\"tea\\n\\\"/\"}", 418, JSON,
          "{\"message\":\"tea\\n\\\"/\"}" },
        { "{\"status_code\":503,\"body\":\"b\"}", 503, NULL, "b" },
        { "{\"body\":\"b\",\"content_type\":\"t/x\"}", 503, "t/x", "b" },
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        weir_request_t request;
        fixture_init(&request, "GET", "/");
        assert_int_equal(fixture_run(&request, NAME, rows[i].config), WEIR_PHASE_ANSWER);
        assert_int_equal(request.status, rows[i].status);
        assert_int_equal(request.content_type.data == NULL, rows[i].type == NULL);
        assert_int_equal(request.answer.data == NULL, rows[i].body == NULL);
        if (rows[i].type != NULL)
            assert_text(request.content_type, rows[i].type);
        if (rows[i].body != NULL)
            assert_text(request.answer, rows[i].body);
        fixture_release(&request);
    }
}

static void a_trigger_is_a_header_or_an_argument(void **state)
{
    (void)state;
    static const struct {
        const char *target, *header;
        weir_phase_result_t result;
    } rows[] = {
        { "/", NULL, WEIR_PHASE_NEXT },
        { "/", "x-stop", WEIR_PHASE_ANSWER },
        { "/?X-Stop=1", NULL, WEIR_PHASE_ANSWER },
        { "/?X-Stop", NULL, WEIR_PHASE_ANSWER },
        { "/?x-stop=1", NULL, WEIR_PHASE_NEXT },
        { "/X-Stop", "x-stops", WEIR_PHASE_NEXT },
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        weir_request_t request;
        fixture_init(&request, "GET", rows[i].target);
        if (rows[i].header != NULL)
            fixture_header(&request, weir_str(rows[i].header), WEIR_STR(""));
        assert_int_equal(fixture_run(&request, NAME, "{\"trigger\":\"X-Stop\"}"), rows[i].result);
        assert_int_equal(request.answered, rows[i].result == WEIR_PHASE_ANSWER);
        fixture_release(&request);
    }
}

static weir_json_t *expected_echo(void)
{
    char host[256] = "", pid[32];
    gethostname(host, sizeof(host) - 1);
    snprintf(pid, sizeof(pid), "%d", (int)getpid());
    weir_json_t *expected = NULL;
    weir_json_parse(
        WEIR_STR("{\"message\":\"Service unavailable\",\"matched_route\":{\"name\":\"rt\"},"
                 "\"kong\":{\"node_id\":\"00000000-0000-4000-8000-00000000000d\"},"
                 "\"request\":{\"scheme\":\"https\",\"host\":\"test.example\",\"port\":8443,"
                 "\"headers\":{\"content-type\":\"application/json\",\"x-a\":[\"1\",\"2\",\"3\"]},"
                 "\"query\":{\"a b\":\"c d\",\"f\":true,\"t\":[\"1\",true]},"
                 "\"body\":{\"n\":[1]},\"raw_body\":\"{\\\"n\\\":[1]}\",\"method\":\"POST\","
                 "\"path\":\"/p/q\",\"uri_captures\":{}}}"),
        &expected, NULL);
    weir_json_t *node = weir_json_get_mutable(expected, "kong");
    weir_json_set(node, "hostname", weir_json_new_string(weir_str(host)));
    weir_json_set(node, "worker_pid", weir_json_new_number(getpid()));
    return expected;
}

static void start_echo(weir_request_t *request)
{
    fixture_init(request, "POST", "/p/q?a%20b=c+d&f&t=1&t");
    fixture_header(request, WEIR_STR("Content-Type"), WEIR_STR("application/json"));
    fixture_header(request, WEIR_STR("X-A"), WEIR_STR("1"));
    fixture_header(request, WEIR_STR("x-a"), WEIR_STR("2"));
    fixture_header(request, WEIR_STR("X-a"), WEIR_STR("3"));
    fixture_body(request, WEIR_STR("{\"n\":[1]}"));
}

static void an_echo_shows_the_request(void **state)
{
    (void)state;
    weir_request_t request;
    start_echo(&request);
    assert_int_equal(fixture_run(&request, NAME, "{\"echo\":true}"), WEIR_PHASE_ANSWER);
    assert_int_equal(request.status, 503);
    assert_text(request.content_type, JSON);
    weir_json_t *found = NULL, *expected = expected_echo();
    assert_int_equal(weir_json_parse(request.answer, &found, NULL), WEIR_OK);
    print_message("%.*s\n", WEIR_STR_ARG(request.answer));
    assert_true(weir_json_equal(found, expected));
    weir_json_free(found);
    weir_json_free(expected);
    fixture_release(&request);
}

static void an_echo_without_a_body_or_message_leaves_them_out(void **state)
{
    (void)state;
    weir_request_t request;
    fixture_init(&request, "GET", "/");
    fixture_run(&request, NAME, "{\"echo\":true,\"status_code\":200}");
    weir_json_t *found = NULL;
    assert_int_equal(weir_json_parse(request.answer, &found, NULL), WEIR_OK);
    assert_null(weir_json_get(found, "message"));
    assert_null(weir_json_get(found, "matched_service"));
    const weir_json_t *shown = weir_json_get(found, "request");
    assert_null(weir_json_get(shown, "body"));
    assert_text(weir_json_get_string(shown, "raw_body", WEIR_STR("x")), "");
    weir_json_free(found);
    fixture_release(&request);
}

static void an_echo_survives_every_lack_of_memory(void **state)
{
    (void)state;
    weir_buffer_t record;
    fixture_compile(NAME, "{\"echo\":true}", &record);
    weir_phase_result_t result = WEIR_PHASE_ERROR;
    for (unsigned n = 1; result != WEIR_PHASE_ANSWER; n++) {
        weir_request_t request;
        start_echo(&request);
        request.body_asked = true;
        weir_test_fail_allocation(n);
        result = fixture_access(&request, NAME, weir_buffer_str(&record));
        weir_test_fail_allocation(0);
        assert_int_equal(request.answered, result == WEIR_PHASE_ANSWER);
        assert_true(n < 1000);
        fixture_release(&request);
    }
    weir_buffer_release(&record);
}

static void compiling_survives_every_lack_of_memory(void **state)
{
    (void)state;
    fixture_compile_short_of_memory(NAME, "{\"status_code\":404}");
}

static void a_damaged_record_is_an_error(void **state)
{
    (void)state;
    weir_buffer_t record;
    fixture_compile(NAME, "{\"trigger\":\"x\",\"message\":\"m\"}", &record);
    for (size_t len = 0; len < record.len; len++) {
        weir_request_t request;
        fixture_init(&request, "GET", "/");
        assert_int_equal(fixture_access(&request, NAME, (weir_str_t){ record.data, len }),
                         WEIR_PHASE_ERROR);
        fixture_release(&request);
    }
    weir_buffer_release(&record);
}

static void recorded_exchanges_are_met(void **state)
{
    (void)state;
    corpus_assert(NAME, 0, 60);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_status_has_its_message_or_no_body),
        cmocka_unit_test(a_trigger_is_a_header_or_an_argument),
        cmocka_unit_test(an_echo_shows_the_request),
        cmocka_unit_test(an_echo_without_a_body_or_message_leaves_them_out),
        cmocka_unit_test(an_echo_survives_every_lack_of_memory),
        cmocka_unit_test(compiling_survives_every_lack_of_memory),
        cmocka_unit_test(a_damaged_record_is_an_error),
        cmocka_unit_test(recorded_exchanges_are_met),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
