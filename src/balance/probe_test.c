/* probe_test.c -- what an active check sends, and what it makes of the answer. */
#include "balance/probe.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void a_request_is_what_was_configured(void **state)
{
    (void)state;
    static const char headers[] = "\1\0\0\0a\2\0\1\0\0\0001\1\0\0\0002\1\0\0\0b\1\0\4\0\0\0x\r\ny";
    weir_probes_t probes = { .path = WEIR_STR("/up"),
                             .headers = headers,
                             .headers_bytes = sizeof(headers) - 1,
                             .header_count = 2 };
    WEIR_AUTO(buffer) weir_buffer_t out;
    weir_buffer_init(&out, WEIR_PROBE_REQUEST_BYTES_MAX);
    assert_int_equal(weir_probe_request(&probes, WEIR_STR("h.test"), &out), WEIR_OK);
    weir_buffer_byte(&out, '\0');
    assert_string_equal(out.data,
                        "GET /up HTTP/1.0\r\na: 1\r\na: 2\r\nb: xy\r\nHost: h.test\r\n\r\n");
}

static void a_request_has_a_limit(void **state)
{
    (void)state;
    weir_probes_t probes = { .path = WEIR_STR("/") };
    WEIR_AUTO(buffer) weir_buffer_t out;
    weir_buffer_init(&out, 20);
    assert_int_equal(weir_probe_request(&probes, WEIR_STR("a.long.name.test"), &out),
                     WEIR_TOO_LARGE);
}

static void a_status_is_read_as_soon_as_it_is_there(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int status;
    } cases[] = { { "", 0 },
                  { "HTTP/1.1 20", 0 },
                  { "HTTP/1.1 200", 200 },
                  { "HTTP/1.0 503 Service", 503 },
                  { "HTTP/2.0 999 x", 999 },
                  { "HTTP/1.1 099", -1 },
                  { "HTTP/1.1  200", -1 },
                  { "HTTP/1.1 2x0", -1 },
                  { "SSH-2.0", -1 },
                  { "h", -1 } };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++)
        assert_int_equal(weir_probe_status(weir_str(cases[i].text)), cases[i].status);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_is_what_was_configured),
        cmocka_unit_test(a_request_has_a_limit),
        cmocka_unit_test(a_status_is_read_as_soon_as_it_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
