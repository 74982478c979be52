/* correlation_id_test.c -- correlation-id over the fake request, by hand and by
 * recordings. */
#include "base/uuid.h"
#include "plugins/corpus.h"
#include "plugins/correlation_id/correlation_id.h"

#include <unistd.h>

#define NAME   "correlation-id"
#define HEADER "Kong-Request-ID"

static void filter(weir_request_t *request, const char *config)
{
    weir_buffer_t record;
    fixture_compile(NAME, config, &record);
    weir_plugin(weir_str(NAME))->header_filter(request, weir_buffer_str(&record));
    weir_buffer_release(&record);
}

static weir_str_t made_by(weir_request_t *request, const char *config)
{
    fixture_init(request, "GET", "/");
    assert_int_equal(fixture_run(request, NAME, config), WEIR_PHASE_NEXT);
    return fixture_sent(request, HEADER, 0);
}

static bool is_uuid_v4(weir_str_t text)
{
    weir_uuid_t id;
    return weir_uuid_parse(text, &id) == WEIR_OK && text.data[14] == '4';
}

static void a_uuid_is_another_one_for_each_request(void **state)
{
    (void)state;
    weir_request_t one, other;
    weir_str_t first = made_by(&one, "{\"generator\":\"uuid\"}");
    weir_str_t second = made_by(&other, "{\"generator\":\"uuid\"}");
    assert_true(is_uuid_v4(first) && is_uuid_v4(second));
    assert_false(weir_str_equal(first, second));
    fixture_release(&one);
    fixture_release(&other);
}

static void the_counter_counts_what_the_worker_made(void **state)
{
    (void)state;
    weir_request_t one, other;
    weir_str_t first = made_by(&one, "{}"); /* the default */
    weir_str_t second = made_by(&other, "{\"generator\":\"uuid#counter\"}");
    assert_true(is_uuid_v4((weir_str_t){ first.data, WEIR_UUID_TEXT }));
    assert_memory_equal(first.data, second.data, WEIR_UUID_TEXT + 1);
    assert_int_equal(first.data[WEIR_UUID_TEXT], '#');
    int64_t a = 0, b = 0;
    weir_str_t rest = { first.data + WEIR_UUID_TEXT + 1, first.len - WEIR_UUID_TEXT - 1 };
    assert_int_equal(weir_parse_int64(rest, 1, INT32_MAX, &a), WEIR_OK);
    rest = (weir_str_t){ second.data + WEIR_UUID_TEXT + 1, second.len - WEIR_UUID_TEXT - 1 };
    assert_int_equal(weir_parse_int64(rest, 1, INT32_MAX, &b), WEIR_OK);
    assert_int_equal(b, a + 1);
    fixture_release(&one);
    fixture_release(&other);
}

static void the_tracker_says_where_and_when(void **state)
{
    (void)state;
    weir_request_t request;
    char expected[128];
    snprintf(expected, sizeof(expected), "127.0.0.1-8443-%d-12-3-1700000000.007", (int)getpid());
    assert_text(made_by(&request, "{\"generator\":\"tracker\"}"), expected);
    fixture_release(&request);
}

static void an_id_of_the_client_is_kept_but_not_a_blank_one(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        bool kept;
    } rows[] = {
        { "mine", true }, { " x", true }, { "", false }, { "   ", false }, { "\t", false }
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        weir_request_t request;
        fixture_init(&request, "GET", "/");
        fixture_header(&request, WEIR_STR("kong-request-id"), weir_str(rows[i].value));
        assert_int_equal(fixture_run(&request, NAME, "{}"), WEIR_PHASE_NEXT);
        assert_int_equal(weir_str_is(fixture_sent(&request, HEADER, 0), rows[i].value),
                         rows[i].kept);
        assert_null(fixture_sent(&request, HEADER, 1).data);
        fixture_release(&request);
    }
}

static void the_answer_has_the_id_of_the_request(void **state)
{
    (void)state;
    weir_request_t request;
    weir_str_t id = made_by(&request, "{\"echo_downstream\":true}");
    weir_request_set_answer_header(&request, WEIR_STR("kong-request-id"), WEIR_STR("upstream's"));
    filter(&request, "{}");
    assert_text(request.answer_headers[0].value, "upstream's");
    filter(&request, "{\"echo_downstream\":true}");
    assert_int_equal(request.answer_header_count, 1);
    assert_text(request.answer_headers[0].name, HEADER);
    assert_true(weir_str_equal(request.answer_headers[0].value, id));
    fixture_release(&request);
}

static void an_answer_before_the_access_phase_has_an_id_as_well(void **state)
{
    (void)state;
    weir_request_t request;
    fixture_init(&request, "GET", "/");
    filter(&request, "{\"echo_downstream\":true,\"generator\":\"uuid\"}");
    assert_int_equal(request.answer_header_count, 1);
    assert_true(is_uuid_v4(request.answer_headers[0].value));
    fixture_release(&request);
}

static void a_name_ends_no_line(void **state)
{
    (void)state;
    weir_request_t request;
    fixture_init(&request, "GET", "/");
    fixture_run(&request, NAME, "{\"header_name\":\"a b\\r\\nX: y\"}");
    assert_text(request.sent[0].name, "a%20b%0D%0AX%3A%20y");
    fixture_release(&request);
    fixture_init(&request, "GET", "/");
    fixture_run(&request, NAME, "{\"header_name\":null,\"echo_downstream\":true}");
    filter(&request, "{\"header_name\":null,\"echo_downstream\":true}");
    assert_int_equal(request.sent_count + request.answer_header_count, 0);
    fixture_release(&request);
}

static void a_header_of_the_connection_is_refused(void **state)
{
    (void)state;
    weir_problem_t problem;
    weir_json_t *row = NULL, *complete = NULL;
    weir_problem_init(&problem);
    weir_json_parse(WEIR_STR("{\"id\":\"00000000-0000-4000-8000-000000000001\",\"name\":\"" NAME
                             "\",\"config\":{\"header_name\":\"Content-Length\"}}"),
                    &row, NULL);
    assert_int_equal(weir_model_accept(weir_schema(WEIR_PLUGINS), row, 1.7e9, &complete, &problem),
                     WEIR_INVALID);
    assert_text(weir_buffer_str(&problem.message),
                "schema violation (config.header_name: 'content-length' is a header of the "
                "connection and cannot carry an id)");
    weir_problem_release(&problem);
    weir_json_free(row);
}

static void compiling_survives_every_lack_of_memory(void **state)
{
    (void)state;
    fixture_compile_short_of_memory(NAME, "{\"header_name\":\"x\"}");
}

static void without_memory_a_request_fails(void **state)
{
    (void)state;
    weir_request_t request;
    fixture_init(&request, "GET", "/");
    request.allocations_left = 0;
    assert_int_equal(fixture_run(&request, NAME, "{\"generator\":\"tracker\"}"), WEIR_PHASE_ERROR);
    fixture_release(&request);
}

static void a_damaged_record_is_an_error(void **state)
{
    (void)state;
    weir_buffer_t record;
    fixture_compile(NAME, "{\"echo_downstream\":true}", &record);
    for (size_t len = 0; len < record.len; len++) {
        weir_request_t request;
        fixture_init(&request, "GET", "/");
        assert_int_equal(fixture_access(&request, NAME, (weir_str_t){ record.data, len }),
                         WEIR_PHASE_ERROR);
        weir_plugin(weir_str(NAME))->header_filter(&request, (weir_str_t){ record.data, len });
        assert_int_equal(request.answer_header_count, 0);
        fixture_release(&request);
    }
    weir_buffer_release(&record);
}

static void recorded_exchanges_are_met(void **state)
{
    (void)state;
    corpus_assert(NAME, 0, 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_uuid_is_another_one_for_each_request),
        cmocka_unit_test(the_counter_counts_what_the_worker_made),
        cmocka_unit_test(the_tracker_says_where_and_when),
        cmocka_unit_test(an_id_of_the_client_is_kept_but_not_a_blank_one),
        cmocka_unit_test(the_answer_has_the_id_of_the_request),
        cmocka_unit_test(an_answer_before_the_access_phase_has_an_id_as_well),
        cmocka_unit_test(a_name_ends_no_line),
        cmocka_unit_test(a_header_of_the_connection_is_refused),
        cmocka_unit_test(compiling_survives_every_lack_of_memory),
        cmocka_unit_test(without_memory_a_request_fails),
        cmocka_unit_test(a_damaged_record_is_an_error),
        cmocka_unit_test(recorded_exchanges_are_met),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
