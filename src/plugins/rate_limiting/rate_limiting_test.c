/* rate_limiting_test.c -- rate-limiting over the fake request, at times of our choice, by
 * hand and by recordings. */
#include "plugins/rate_limiting/rate_limiting.h"

#include "plugins/corpus.h"

#define NAME "rate-limiting"

enum { NOON_S = 1709208000 }; /* 2024-02-29 12:00:00 UTC */

static int forget(void **state)
{
    (void)state;
    fixture_forget();
    return 0;
}

/* One request at that time, the rest as `change` has it. */
typedef struct asked {
    int64_t now_s;
    const char *config, *target, *header, *address, *route, *service, *consumer, *credential;
    int counting;
} asked_t;

static weir_phase_result_t ask(weir_request_t *request, const asked_t *asked)
{
    fixture_init(request, "GET", asked->target != NULL ? asked->target : "/");
    request->now_s = asked->now_s != 0 ? asked->now_s : NOON_S;
    request->counting = asked->counting;
    if (asked->address != NULL)
        request->client_address = weir_str(asked->address);
    if (asked->header != NULL)
        fixture_header(request, WEIR_STR("X-Group"), weir_str(asked->header));
    if (asked->route != NULL)
        snprintf(request->scope.route, sizeof(request->scope.route), "%s", asked->route);
    if (asked->service != NULL) {
        request->service_id = weir_str(asked->service);
        snprintf(request->scope.service, sizeof(request->scope.service), "%s", asked->service);
    }
    if (asked->consumer != NULL)
        snprintf(request->consumer, sizeof(request->consumer), "%s", asked->consumer);
    if (asked->credential != NULL) {
        request->by_credential = true;
        snprintf(request->credential, sizeof(request->credential), "%s", asked->credential);
    }
    return fixture_run(request, NAME, asked->config);
}

/* How many requests of a kind pass before one is refused. */
static unsigned passed(const asked_t *asked)
{
    weir_request_t request;
    unsigned count = 0;
    for (;; count++) {
        weir_phase_result_t result = ask(&request, asked);
        assert_int_equal(result == WEIR_PHASE_ANSWER, request.answered);
        fixture_release(&request);
        assert_true(count < 100);
        if (result == WEIR_PHASE_ANSWER)
            return count;
        assert_int_equal(result, WEIR_PHASE_NEXT);
    }
}

static void check_headers(weir_request_t *request, const char *const expected[][2], size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_text(fixture_answered(request, expected[i][0]), expected[i][1]);
    assert_int_equal(request->answer_header_count, count);
}

static void headers_say_what_is_left_after_this_request(void **state)
{
    (void)state;
    weir_request_t request;
    asked_t asked = { .config = "{\"minute\":2,\"hour\":10}", .now_s = NOON_S + 17 };
    const char *const first[][2] = {
        { "X-RateLimit-Limit-Minute", "2" }, { "X-RateLimit-Remaining-Minute", "1" },
        { "X-RateLimit-Limit-Hour", "10" },  { "X-RateLimit-Remaining-Hour", "9" },
        { "RateLimit-Limit", "2" },          { "RateLimit-Remaining", "1" },
        { "RateLimit-Reset", "43" },
    };
    assert_int_equal(ask(&request, &asked), WEIR_PHASE_NEXT);
    check_headers(&request, first, WEIR_COUNT(first));
    fixture_release(&request);
    assert_int_equal(ask(&request, &asked), WEIR_PHASE_NEXT);
    fixture_release(&request);
    const char *const refused[][2] = {
        { "X-RateLimit-Limit-Minute", "2" }, { "X-RateLimit-Remaining-Minute", "0" },
        { "X-RateLimit-Limit-Hour", "10" },  { "X-RateLimit-Remaining-Hour", "8" },
        { "RateLimit-Limit", "2" },          { "RateLimit-Remaining", "0" },
        { "RateLimit-Reset", "43" },         { "Retry-After", "43" },
    };
    for (int again = 0; again < 3; again++) { /* what is refused does not count in the hour */
        assert_int_equal(ask(&request, &asked), WEIR_PHASE_ANSWER);
        assert_int_equal(request.status, 429);
        assert_text(request.answer, "API rate limit exceeded");
        check_headers(&request, refused, WEIR_COUNT(refused));
        fixture_release(&request);
    }
}

/* Of windows that are used up the longest says when to come again. */
static void the_longest_window_that_is_used_up_decides(void **state)
{
    (void)state;
    static const struct {
        const char *config, *reset;
    } rows[] = {
        { "{\"second\":1,\"minute\":1}", "60" },
        { "{\"minute\":1,\"hour\":1}", "3600" },
        { "{\"hour\":1,\"day\":1}", "43200" },
        { "{\"day\":1,\"month\":1}", "129600" },    /* 30 days: half of the 29th is left */
        { "{\"month\":1,\"year\":1}", "26395200" }, /* of 365 days 59.5 are over */
        { "{\"second\":1,\"year\":1}", "26395200" },
        { "{\"minute\":1,\"hour\":2}", "60" },
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        weir_request_t request;
        fixture_forget();
        assert_int_equal(passed(&(asked_t){ .config = rows[i].config }), 1);
        ask(&request, &(asked_t){ .config = rows[i].config });
        assert_text(fixture_answered(&request, "Retry-After"), rows[i].reset);
        assert_text(fixture_answered(&request, "RateLimit-Reset"), rows[i].reset);
        fixture_release(&request);
    }
}

static void windows_are_those_of_the_calendar(void **state)
{
    (void)state;
    static const struct {
        size_t period;
        int64_t begins_s, ends_s;
    } rows[] = {
        { 0, NOON_S, NOON_S + 1 },         { 1, NOON_S, NOON_S + 60 },
        { 2, NOON_S, NOON_S + 3600 },      { 3, NOON_S - 43200, NOON_S + 43200 },
        { 4, 1706745600, NOON_S + 43200 }, /* February, of 29 days */
        { 5, 1704067200, 1735689600 },     /* of 366 days */
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        rate_limiting_window_t window = rate_limiting_window(rows[i].period, NOON_S);
        assert_int_equal(window.begins_s, rows[i].begins_s);
        assert_int_equal(window.ends_s, rows[i].ends_s);
        window = rate_limiting_window(rows[i].period, rows[i].ends_s - 1);
        assert_int_equal(window.begins_s, rows[i].period == 0 ? NOON_S : rows[i].begins_s);
        window = rate_limiting_window(rows[i].period, rows[i].ends_s);
        assert_int_equal(window.begins_s, rows[i].ends_s);
    }
    rate_limiting_window_t december = rate_limiting_window(4, 1735689599);
    assert_int_equal(december.begins_s, 1733011200);
    assert_int_equal(december.ends_s, 1735689600);
}

static void a_new_window_counts_from_nothing(void **state)
{
    (void)state;
    static const int64_t steps_s[] = { 1, 60, 3600, 86400, 31 * 86400, 366 * 86400 };
    for (size_t period = 0; period < RATE_LIMITING_PERIODS; period++) {
        char config[64];
        snprintf(config, sizeof(config), "{\"%s\":3}", rate_limiting_periods[period]);
        for (int64_t window = 0; window < 3; window++) {
            asked_t asked = { .config = config, .now_s = NOON_S + window * steps_s[period] };
            assert_int_equal(passed(&asked), 3);
            assert_int_equal(passed(&asked), 0);
        }
        fixture_forget();
    }
    weir_request_t request; /* the second that is over is one to wait, not none */
    ask(&request, &(asked_t){ .config = "{\"second\":1}" });
    assert_text(fixture_answered(&request, "RateLimit-Reset"), "1");
    fixture_release(&request);
}

/* 31 days into a month of 31, the arithmetic of 30 would say 0 or less. */
static void a_reset_is_never_in_the_past(void **state)
{
    (void)state;
    weir_request_t request;
    ask(&request, &(asked_t){ .config = "{\"month\":9}", .now_s = 1706745599 }); /* January */
    assert_text(fixture_answered(&request, "RateLimit-Reset"), "1");
    fixture_release(&request);
}

#define A "00000000-0000-4000-8000-0000000000aa"
#define B "00000000-0000-4000-8000-0000000000bb"

/* Two kinds of requests: do they count together? */
static void who_counts_with_whom(void **state)
{
    (void)state;
#define BY(word, more) "{\"minute\":2,\"limit_by\":\"" word "\"" more "}"
#define HEADER         BY("header", ",\"header_name\":\"x-group\"")
#define PATH           BY("path", ",\"path\":\"/p\"")
    static const struct {
        asked_t one, other;
        bool together;
    } rows[] = {
        { { .config = BY("ip", "") }, { .config = BY("ip", "") }, true },
        { { .config = BY("ip", "") }, { .config = BY("ip", ""), .address = "10.0.0.1" }, false },
        { { .config = BY("consumer", ""), .consumer = A, .address = "10.0.0.1" },
          { .config = BY("consumer", ""), .consumer = A },
          true },
        { { .config = BY("consumer", ""), .consumer = A },
          { .config = BY("consumer", ""), .consumer = B },
          false },
        /* without a consumer: the credential, then the address */
        { { .config = BY("consumer", ""), .credential = A, .address = "10.0.0.1" },
          { .config = BY("consumer", ""), .credential = A },
          true },
        { { .config = BY("consumer", "") }, { .config = BY("ip", "") }, true },
        { { .config = BY("credential", ""), .consumer = A, .credential = A },
          { .config = BY("credential", ""), .consumer = A, .credential = B },
          false },
        { { .config = BY("credential", ""), .consumer = A },
          { .config = BY("credential", ""), .consumer = B },
          true },
        { { .config = BY("service", ""), .service = A, .address = "10.0.0.1" },
          { .config = BY("service", ""), .service = A },
          true },
        { { .config = BY("service", ""), .address = "10.0.0.1" },
          { .config = BY("service", "") },
          false },
        { { .config = HEADER, .header = "g", .address = "10.0.0.1" },
          { .config = HEADER, .header = "g" },
          true },
        { { .config = HEADER, .header = "g" }, { .config = HEADER, .header = "h" }, false },
        { { .config = HEADER }, { .config = BY("ip", "") }, true },
        { { .config = PATH, .target = "/p?a", .address = "10.0.0.1" },
          { .config = PATH, .target = "/p?b" },
          true },
        { { .config = PATH, .target = "/p/", .address = "10.0.0.1" },
          { .config = PATH, .target = "/p/" },
          false },
        { { .config = "{\"minute\":2,\"limit_by\":null}", .consumer = A },
          { .config = "{\"minute\":2,\"limit_by\":null}", .consumer = B },
          true },
        /* what the instance is bound to */
        { { .config = BY("ip", ""), .route = A }, { .config = BY("ip", ""), .route = B }, false },
        { { .config = BY("ip", ""), .service = A },
          { .config = BY("ip", ""), .service = B },
          false },
        { { .config = BY("ip", ""), .route = A }, { .config = BY("ip", ""), .service = A }, false },
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        fixture_forget();
        assert_int_equal(passed(&rows[i].one), 2);
        unsigned expected = rows[i].together ? 0 : 2;
        if (passed(&rows[i].other) != expected)
            fail_msg("row %zu", i);
    }
}

static void another_limit_goes_on_with_what_was_counted(void **state)
{
    (void)state;
    assert_int_equal(passed(&(asked_t){ .config = "{\"minute\":3}" }), 3);
    assert_int_equal(passed(&(asked_t){ .config = "{\"minute\":5}" }), 2);
    assert_int_equal(passed(&(asked_t){ .config = "{\"minute\":1,\"hour\":20}" }), 0);
    weir_request_t request;
    ask(&request, &(asked_t){ .config = "{\"minute\":1,\"hour\":20}" });
    assert_text(fixture_answered(&request, "X-RateLimit-Remaining-Minute"), "0");
    assert_text(fixture_answered(&request, "X-RateLimit-Remaining-Hour"), "20");
    fixture_release(&request);
}

static void limits_may_have_a_fraction_or_be_huge(void **state)
{
    (void)state;
    weir_request_t request;
    ask(&request, &(asked_t){ .config = "{\"minute\":2.5}" });
    assert_text(fixture_answered(&request, "X-RateLimit-Limit-Minute"), "2.5");
    assert_text(fixture_answered(&request, "X-RateLimit-Remaining-Minute"), "1.5");
    fixture_release(&request);
    assert_int_equal(passed(&(asked_t){ .config = "{\"minute\":2.5}" }), 2);
    assert_int_equal(passed(&(asked_t){ .config = "{\"hour\":0.1}" }), 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask(&request, &(asked_t){ .config = "{\"day\":1e300}" }), WEIR_PHASE_NEXT);
        assert_text(fixture_answered(&request, "RateLimit-Remaining"), "1e+300");
        fixture_release(&request);
    }
}

static void refusals_are_as_configured(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        int status; /* 0: our fault */
        const char *message;
        bool shown;
    } rows[] = {
        { "{\"minute\":1}", 429, "API rate limit exceeded", true },
        { "{\"minute\":1,\"error_code\":503,\"error_message\":\"no\"}", 503, "no", true },
        { "{\"minute\":1,\"error_code\":null}", 429, "API rate limit exceeded", true },
        { "{\"minute\":1,\"hide_client_headers\":true}", 429, "API rate limit exceeded", false },
        { "{\"minute\":1,\"error_message\":null}", 429, NULL, true },
        { "{\"minute\":1,\"error_code\":99}", 0, NULL, true },
        { "{\"minute\":1,\"error_code\":429.5}", 0, NULL, true },
        { "{\"minute\":1,\"error_code\":600}", 0, NULL, true },
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        weir_request_t request;
        fixture_forget();
        assert_int_equal(ask(&request, &(asked_t){ .config = rows[i].config }), WEIR_PHASE_NEXT);
        fixture_release(&request);
        weir_phase_result_t result = ask(&request, &(asked_t){ .config = rows[i].config });
        assert_int_equal(result, rows[i].status != 0 ? WEIR_PHASE_ANSWER : WEIR_PHASE_ERROR);
        assert_int_equal(request.status, rows[i].status);
        if (rows[i].message != NULL)
            assert_text(request.answer, rows[i].message);
        else
            assert_null(request.answer.data);
        assert_int_equal(request.answer_header_count > 0, rows[i].shown);
        fixture_release(&request);
    }
}

static void what_cannot_be_counted_passes_if_it_may(void **state)
{
    (void)state;
    weir_request_t request;
    static const int faults[] = { WEIR_FULL, WEIR_UNSUPPORTED, WEIR_NO_MEMORY };
    for (size_t i = 0; i < WEIR_COUNT(faults); i++) {
        asked_t asked = { .config = "{\"minute\":1}", .counting = faults[i] };
        assert_int_equal(ask(&request, &asked), WEIR_PHASE_NEXT);
        assert_int_equal(request.answer_header_count, 0);
        fixture_release(&request);
        asked.config = "{\"minute\":1,\"fault_tolerant\":false}";
        assert_int_equal(ask(&request, &asked), WEIR_PHASE_ERROR);
        fixture_release(&request);
    }
}

static void a_record_of_nonsense_is_an_error(void **state)
{
    (void)state;
    fixture_record_cut_short(NAME, "{\"minute\":1,\"limit_by\":\"header\",\"header_name\":\"x\"}");
}

static void lack_of_memory_is_an_error(void **state)
{
    (void)state;
    weir_request_t request;
    weir_buffer_t record;
    fixture_compile_short_of_memory(NAME, "{\"minute\":1}");
    fixture_compile(NAME, "{\"minute\":1}", &record);
    fixture_init(&request, "GET", "/");
    request.allocations_left = 0;
    assert_int_equal(fixture_access(&request, NAME, weir_buffer_str(&record)), WEIR_PHASE_ERROR);
    fixture_release(&request);
    weir_buffer_release(&record);
}

static void recorded_exchanges_come_out_the_same(void **state)
{
    (void)state;
    corpus_assert(NAME, 0, 80);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, forget)
    const struct CMUnitTest tests[] = {
        TEST(headers_say_what_is_left_after_this_request),
        TEST(the_longest_window_that_is_used_up_decides),
        TEST(windows_are_those_of_the_calendar),
        TEST(a_new_window_counts_from_nothing),
        TEST(a_reset_is_never_in_the_past),
        TEST(who_counts_with_whom),
        TEST(another_limit_goes_on_with_what_was_counted),
        TEST(limits_may_have_a_fraction_or_be_huge),
        TEST(refusals_are_as_configured),
        TEST(what_cannot_be_counted_passes_if_it_may),
        TEST(a_record_of_nonsense_is_an_error),
        TEST(lack_of_memory_is_an_error),
        TEST(recorded_exchanges_come_out_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
