/* request_size_limiting_test.c -- request-size-limiting over the fake request, by hand and
 * by recordings. */
#include "plugins/request_size_limiting/request_size_limiting.h"

#include "plugins/corpus.h"

#define NAME  "request-size-limiting"
#define BYTES "{\"allowed_payload_size\":10,\"size_unit\":\"bytes\"}"
#define NEEDS \
    "{\"allowed_payload_size\":10,\"size_unit\":\"bytes\",\"require_content_length\":true}"

typedef struct sent {
    const char *config, *length, *encoding, *expect, *body;
} sent_t;

static weir_phase_result_t send_it(weir_request_t *request, const sent_t *sent)
{
    const char *const headers[][2] = { { "content-length", sent->length },
                                       { "transfer-encoding", sent->encoding },
                                       { "Expect", sent->expect } };
    fixture_init(request, "POST", "/");
    for (size_t i = 0; i < WEIR_COUNT(headers); i++)
        if (headers[i][1] != NULL)
            fixture_header(request, weir_str(headers[i][0]), weir_str(headers[i][1]));
    fixture_body(request, weir_str(sent->body));
    return fixture_run(request, NAME, sent->config);
}

static void what_is_too_long_is_refused(void **state)
{
    (void)state;
    static const struct {
        sent_t sent;
        int status; /* 0: it passes */
        bool read;  /* the body was awaited */
    } rows[] = {
        { { BYTES, "10", NULL, NULL, NULL }, 0, false },
        { { BYTES, "11", NULL, NULL, NULL }, 413, false },
        { { BYTES, "011", NULL, NULL, NULL }, 413, false },
        { { BYTES, "99999999999999999999999999999999", NULL, NULL, NULL }, 413, false },
        { { BYTES, "11", NULL, "100-continue", NULL }, 417, false },
        { { BYTES, "11", NULL, "100-Continue", NULL }, 417, false },
        { { BYTES, "11", NULL, "101-continue", NULL }, 413, false },
        { { BYTES, NULL, "chunked", NULL, "0123456789" }, 0, true },
        { { BYTES, NULL, "chunked", NULL, "0123456789a" }, 413, true },
        { { BYTES, NULL, "chunked", "100-continue", "0123456789a" }, 417, true },
        { { BYTES, "x", NULL, NULL, "0123456789a" }, 413, true },
        { { BYTES, NULL, NULL, NULL, NULL }, 0, true },
        { { NEEDS, NULL, NULL, NULL, NULL }, 411, false },
        { { NEEDS, "x", NULL, NULL, NULL }, 411, false },
        { { NEEDS, NULL, "gzip, chunked", NULL, NULL }, 411, false },
        { { NEEDS, NULL, "chunked", NULL, "0123456789" }, 0, true },
        { { NEEDS, "0", NULL, NULL, NULL }, 0, false },
        { { "{\"allowed_payload_size\":-1}", "0", NULL, NULL, NULL }, 413, false },
        { { "{\"allowed_payload_size\":0}", "0", NULL, NULL, NULL }, 0, false },
        { { "{\"allowed_payload_size\":0}", "1", NULL, NULL, NULL }, 413, false },
        { { "{\"allowed_payload_size\":2,\"size_unit\":\"kilobytes\"}", "2048", NULL, NULL, NULL },
          0,
          false },
        { { "{\"allowed_payload_size\":2,\"size_unit\":\"kilobytes\"}", "2049", NULL, NULL, NULL },
          413,
          false },
        { { "{}", "134217728", NULL, NULL, NULL }, 0, false },
        { { "{}", "134217729", NULL, NULL, NULL }, 413, false },
        { { "{\"allowed_payload_size\":null}", "134217729", NULL, NULL, NULL }, 413, false },
        { { "{\"allowed_payload_size\":1e300}", "922337203685477580", NULL, NULL, NULL },
          0,
          false },
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        weir_request_t request;
        weir_phase_result_t result = send_it(&request, &rows[i].sent);
        if (request.status != rows[i].status || request.body_asked != rows[i].read ||
            result != (rows[i].status != 0 ? WEIR_PHASE_ANSWER : WEIR_PHASE_NEXT))
            fail_msg("row %zu: %d", i, request.status);
        fixture_release(&request);
    }
}

static void a_body_in_a_file_is_measured_and_a_fault_is_one(void **state)
{
    (void)state;
    weir_request_t request;
    WEIR_AUTO(buffer) weir_buffer_t record;
    static const struct {
        int read;
        const char *body;
        weir_phase_result_t result;
    } rows[] = { { WEIR_TOO_LARGE, "0123456789", WEIR_PHASE_NEXT },
                 { WEIR_TOO_LARGE, "0123456789a", WEIR_PHASE_ANSWER },
                 { WEIR_NO_MEMORY, "0", WEIR_PHASE_ERROR } };
    fixture_compile(NAME, BYTES, &record);
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        fixture_init(&request, "POST", "/");
        fixture_body(&request, weir_str(rows[i].body));
        request.read_body = rows[i].read;
        assert_int_equal(fixture_access(&request, NAME, weir_buffer_str(&record)), rows[i].result);
        fixture_release(&request);
    }
    fixture_init(&request, "POST", "/");
    assert_int_equal(fixture_access(&request, NAME, (weir_str_t){ record.data, 15 }),
                     WEIR_PHASE_ERROR);
    fixture_release(&request);
    fixture_compile_short_of_memory(NAME, BYTES);
}

static void recorded_exchanges_come_out_the_same(void **state)
{
    (void)state;
    corpus_assert(NAME, 0, 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_too_long_is_refused),
        cmocka_unit_test(a_body_in_a_file_is_measured_and_a_fault_is_one),
        cmocka_unit_test(recorded_exchanges_come_out_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
