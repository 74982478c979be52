/* ip_restriction_test.c -- ip-restriction over the fake request, by hand and by recordings. */
#include "plugins/ip_restriction/ip_restriction.h"

#include "plugins/corpus.h"

#include <arpa/inet.h>

#define NAME "ip-restriction"

static weir_phase_result_t come(weir_request_t *request, const char *config, const char *address)
{
    fixture_init(request, "GET", "/");
    request->client_address = weir_str(address);
    return fixture_run(request, NAME, config);
}

static void check(const char *config, const char *address, bool passes)
{
    weir_request_t request;
    weir_phase_result_t result = come(&request, config, address);
    if (result != (passes ? WEIR_PHASE_NEXT : WEIR_PHASE_ANSWER))
        fail_msg("%s from %s", config, address);
    fixture_release(&request);
}

static void who_is_denied_or_not_allowed_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *config, *address;
        bool passes;
    } rows[] = {
        { "{\"deny\":[\"10.0.0.1\"]}", "10.0.0.1", false },
        { "{\"deny\":[\"10.0.0.1\"]}", "10.0.0.2", true },
        { "{\"deny\":[\"10.0.0.1\"]}", "::1", true },
        { "{\"deny\":[\"10.0.0.1\"],\"allow\":[]}", "10.0.0.2", true },
        { "{\"allow\":[\"10.0.0.1\"]}", "10.0.0.1", true },
        { "{\"allow\":[\"10.0.0.1\"]}", "10.0.0.2", false },
        { "{\"allow\":[\"10.0.0.1\"]}", "::1", false },
        { "{\"allow\":[\"10.0.0.0/8\"],\"deny\":[\"10.1.0.0/16\"]}", "10.1.2.3", false },
        { "{\"allow\":[\"10.0.0.0/8\"],\"deny\":[\"10.1.0.0/16\"]}", "10.2.2.3", true },
        /* the ends of blocks; bits behind the prefix say nothing */
        { "{\"allow\":[\"10.7.5.3/9\"]}", "10.0.0.0", true },
        { "{\"allow\":[\"10.7.5.3/9\"]}", "10.127.255.255", true },
        { "{\"allow\":[\"10.7.5.3/9\"]}", "10.128.0.0", false },
        { "{\"allow\":[\"10.7.5.3/9\"]}", "9.255.255.255", false },
        { "{\"allow\":[\"10.7.5.3/32\"]}", "10.7.5.3", true },
        { "{\"allow\":[\"10.7.5.3/32\"]}", "10.7.5.2", false },
        { "{\"allow\":[\"2001:db8::/33\"]}", "2001:db8:7fff::1", true },
        { "{\"allow\":[\"2001:db8::/33\"]}", "2001:db8:8000::", false },
        { "{\"allow\":[\"2001:db8::1\"]}", "2001:DB8:0:0::1", true },
        /* all of one family are nobody of the other */
        { "{\"deny\":[\"0.0.0.0/0\"]}", "255.255.255.255", false },
        { "{\"deny\":[\"0.0.0.0/0\"]}", "::", true },
        { "{\"allow\":[\"::/0\"]}", "1.2.3.4", false },
        { "{\"allow\":[\"::/0\"]}", "ffff::ffff", true },
        /* an IPv4 client on a socket of IPv6 */
        { "{\"deny\":[\"1.2.3.0/24\"]}", "::ffff:1.2.3.4", false },
        { "{\"deny\":[\"::ffff:0:0/96\"]}", "::ffff:1.2.3.4", false },
        { "{\"allow\":[\"1.2.3.0/24\"]}", "::ffff:1.2.4.4", false },
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++)
        check(rows[i].config, rows[i].address, rows[i].passes);
}

/* A long list of blocks that hold each other, beside one look at each of them. */
static void a_long_list_says_what_each_of_its_entries_says(void **state)
{
    (void)state;
    enum { BLOCKS = 300, CLIENTS = 2000 };
    static struct {
        uint32_t network, mask;
    } blocks[BLOCKS];
    WEIR_AUTO(buffer) weir_buffer_t config;
    weir_buffer_t record;
    weir_buffer_init(&config, 1 << 16);
    weir_buffer_printf(&config, "{\"deny\":[");
    srand(5);
    for (size_t i = 0; i < BLOCKS; i++) {
        unsigned bits = 14 + (unsigned)rand() % 19;
        uint32_t network = 10u << 24 | ((uint32_t)rand() & 0xffffff);
        blocks[i].mask = UINT32_MAX << (32 - bits);
        blocks[i].network = network & blocks[i].mask;
        weir_buffer_printf(&config, "%s\"%u.%u.%u.%u/%u\"", i > 0 ? "," : "", network >> 24,
                           network >> 16 & 255, network >> 8 & 255, network & 255, bits);
    }
    weir_buffer_printf(&config, "]}");
    weir_buffer_byte(&config, '\0');
    fixture_compile(NAME, config.data, &record);
    size_t denied = 0;
    for (size_t n = 0; n < CLIENTS; n++) {
        char text[INET_ADDRSTRLEN];
        uint32_t client = 10u << 24 | ((uint32_t)rand() & 0xffffff);
        if (n % 2 == 0) /* near an end of one of them */
            client = blocks[n % BLOCKS].network + (n % 4 == 0 ? ~blocks[n % BLOCKS].mask : 0) +
                     (uint32_t)rand() % 3 - 1;
        bool expected = false;
        for (size_t i = 0; i < BLOCKS; i++)
            expected |= (client & blocks[i].mask) == blocks[i].network;
        snprintf(text, sizeof(text), "%u.%u.%u.%u", client >> 24, client >> 16 & 255,
                 client >> 8 & 255, client & 255);
        weir_request_t request;
        fixture_init(&request, "GET", "/");
        request.client_address = weir_str(text);
        assert_int_equal(fixture_access(&request, NAME, weir_buffer_str(&record)),
                         expected ? WEIR_PHASE_ANSWER : WEIR_PHASE_NEXT);
        denied += expected;
        fixture_release(&request);
    }
    assert_true(denied > CLIENTS / 10 && denied < CLIENTS * 9 / 10);
    weir_buffer_release(&record);
}

static void refusals_are_as_configured(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        int status; /* 0: our fault */
        const char *message;
    } rows[] = {
        { "{\"deny\":[\"::/0\"]}", 403, "IP address not allowed: ::1" },
        { "{\"deny\":[\"::/0\"],\"status\":404}", 404, "IP address not allowed: ::1" },
        { "{\"deny\":[\"::/0\"],\"message\":\"no\"}", 403, "no" },
        { "{\"deny\":[\"::/0\"],\"status\":99}", 0, NULL },
        { "{\"deny\":[\"::/0\"],\"status\":403.5}", 0, NULL },
        { "{\"deny\":[\"::/0\"],\"status\":1e300}", 0, NULL },
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        weir_request_t request;
        weir_phase_result_t result = come(&request, rows[i].config, "::1");
        assert_int_equal(result, rows[i].status != 0 ? WEIR_PHASE_ANSWER : WEIR_PHASE_ERROR);
        assert_int_equal(request.status, rows[i].status);
        if (rows[i].message != NULL)
            assert_text(request.answer, rows[i].message);
        fixture_release(&request);
    }
}

static void without_an_address_nobody_passes(void **state)
{
    (void)state;
    weir_request_t request;
    assert_int_equal(come(&request, "{\"deny\":[\"1.1.1.1\"],\"status\":404}", "unix:"),
                     WEIR_PHASE_ANSWER);
    assert_int_equal(request.status, 403);
    assert_text(request.answer, "Cannot identify the client IP address, unix domain sockets are "
                                "not supported.");
    fixture_release(&request);
    assert_int_equal(come(&request, "{\"deny\":[\"1.1.1.1\"]}", "nowhere"), WEIR_PHASE_ERROR);
    fixture_release(&request);
}

static void a_record_of_nonsense_is_an_error(void **state)
{
    (void)state;
    fixture_record_cut_short(NAME, "{\"deny\":[\"10.0.0.0/8\"],\"allow\":[\"::1\"]}");
}

static void lack_of_memory_is_said(void **state)
{
    (void)state;
    fixture_compile_short_of_memory(NAME, "{\"deny\":[\"10.0.0.0/8\"],\"allow\":[\"::1\"]}");
}

/* What the model's rule lets through and the system does not understand. */
static void an_address_that_is_none_is_refused_when_it_is_compiled(void **state)
{
    (void)state;
    static const char *const texts[] = { "x",       "1.1.1.1/33", "1.1.1.1/",
                                         "::1/129", "1.1.1.1/-1", "1.1.1.1/8x" };
    for (size_t i = 0; i < WEIR_COUNT(texts); i++) {
        weir_json_t *config = NULL;
        char text[64];
        weir_buffer_t record;
        weir_error_t err = { 0 };
        weir_buffer_init(&record, 1 << 16);
        snprintf(text, sizeof(text), "{\"deny\":[\"%s\"]}", texts[i]);
        assert_int_equal(weir_json_parse(weir_str(text), &config, NULL), WEIR_OK);
        assert_int_equal(weir_plugin_compile(NULL, weir_str(NAME), config, &record, &err),
                         WEIR_INVALID);
        assert_non_null(strstr(err.reason, texts[i]));
        weir_json_free(config);
        weir_buffer_release(&record);
    }
}

static void recorded_exchanges_come_out_the_same(void **state)
{
    (void)state;
    corpus_assert(NAME, 0, 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_denied_or_not_allowed_is_refused),
        cmocka_unit_test(a_long_list_says_what_each_of_its_entries_says),
        cmocka_unit_test(refusals_are_as_configured),
        cmocka_unit_test(without_an_address_nobody_passes),
        cmocka_unit_test(a_record_of_nonsense_is_an_error),
        cmocka_unit_test(lack_of_memory_is_said),
        cmocka_unit_test(an_address_that_is_none_is_refused_when_it_is_compiled),
        cmocka_unit_test(recorded_exchanges_come_out_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
