/* answer_test.c -- forms and bodies of the gateway's own answers. */
#include "proxy/answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static void the_accepted_form_is_the_one_with_the_highest_quality(void **state)
{
    static const struct {
        const char *accept;
        weir_media_t media;
    } rows[] = {
        { "", WEIR_MEDIA_JSON },
        { "text/html", WEIR_MEDIA_HTML },
        { "text/plain", WEIR_MEDIA_PLAIN },
        { "application/xml", WEIR_MEDIA_XML },
        { "application/grpc", WEIR_MEDIA_GRPC },
        { "text/*", WEIR_MEDIA_PLAIN },
        { "application/*", WEIR_MEDIA_JSON },
        { "*/*", WEIR_MEDIA_JSON },
        { "image/png", WEIR_MEDIA_JSON },
        { "TEXT/HTML", WEIR_MEDIA_JSON }, /* names are compared as they are */
        { "text/html;q=0.5, application/xml", WEIR_MEDIA_XML },
        { "text/html;q=0.5, application/xml;q=0.499", WEIR_MEDIA_HTML },
        { "text/html, text/plain", WEIR_MEDIA_HTML }, /* the first of equals */
        { "text/html;q=0, text/plain;q=0", WEIR_MEDIA_JSON },
        { "text/html ; q=0.1 , text/plain;q=0.2", WEIR_MEDIA_PLAIN },
        { "text/html;q=0.1234, text/plain;q=0.9", WEIR_MEDIA_HTML }, /* no quality: 1 */
        { "text/html;q=1.001, text/plain", WEIR_MEDIA_HTML },
        { "text/html;level=1;q=0.2, text/plain;q=0.3", WEIR_MEDIA_PLAIN },
        { "nonsense, text/plain", WEIR_MEDIA_PLAIN },
        { ",,;;q=,text/html", WEIR_MEDIA_HTML },
        { "image/png;q=0.9, text/html;q=0.8", WEIR_MEDIA_JSON },
    };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(rows); i++)
        if (weir_media_accepted(weir_str(rows[i].accept)) != rows[i].media)
            fail_msg("%s", rows[i].accept);
}

static void bodies_are_those_of_the_incumbent_to_the_letter(void **state)
{
    static const char *const bodies[] = {
        [WEIR_MEDIA_JSON] = "{\n  \"message\":\"Not found\",\n  \"request_id\":\"77\"\n}",
        [WEIR_MEDIA_PLAIN] = "Not found\nrequest_id: 77\n",
        [WEIR_MEDIA_HTML] =
            "<!doctype html>\n<html>\n  <head>\n    <meta charset=\"utf-8\">\n"
            "    <title>Error</title>\n  </head>\n  <body>\n    <h1>Error</h1>\n"
            "    <p>Not found.</p>\n    <p>request_id: 77</p>\n  </body>\n</html>\n",
        [WEIR_MEDIA_XML] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<error>\n"
                           "  <message>Not found</message>\n  <requestid>77</requestid>\n"
                           "</error>\n",
        [WEIR_MEDIA_GRPC] = "",
    };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(bodies); i++) {
        char out[sizeof("Not found") + 2 + WEIR_ERROR_BODY_EXTRA];
        size_t len = weir_error_body((weir_media_t)i, WEIR_STR("Not found"), WEIR_STR("77"), out);
        assert_int_equal(len, strlen(bodies[i]));
        assert_memory_equal(out, bodies[i], len);
    }
}

static void every_body_fits_into_the_room_that_is_promised(void **state)
{
    (void)state;
    for (weir_media_t media = WEIR_MEDIA_JSON; media <= WEIR_MEDIA_GRPC; media++) {
        char out[WEIR_ERROR_BODY_EXTRA];
        assert_true(weir_error_body(media, WEIR_STR(""), WEIR_STR(""), out) <= sizeof(out));
    }
}

static void an_unknown_status_has_the_text_with_its_number(void **state)
{
    char scratch[64];
    (void)state;
    assert_string_equal(weir_status_message(404, scratch, sizeof(scratch)), "Not found");
    assert_string_equal(weir_status_message(599, scratch, sizeof(scratch)),
                        "The upstream server responded with 599");
}

static void a_page_shows_the_status_twice(void **state)
{
    char out[512];
    (void)state;
    size_t len = weir_page_body(weir_status_page(403), out, sizeof(out));
    static const char want[] = "<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body>\r\n"
                               "<center><h1>403 Forbidden</h1></center>\r\n</body>\r\n</html>\r\n";
    assert_int_equal(len, sizeof(want) - 1);
    assert_memory_equal(out, want, len);
    assert_null(weir_status_page(418));
    assert_null(weir_status_page(404)); /* that one has the template */
}

static void statuses_have_a_grpc_code_and_that_a_name(void **state)
{
    static const int rows[][2] = { { 200, 0 },  { 201, 0 },  { 400, 3 },  { 401, 16 },
                                   { 403, 7 },  { 404, 5 },  { 409, 6 },  { 418, 3 },
                                   { 429, 8 },  { 499, 1 },  { 500, 13 }, { 501, 12 },
                                   { 502, 13 }, { 503, 14 }, { 504, 4 },  { 302, 2 } };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(rows); i++)
        assert_int_equal(weir_grpc_status(rows[i][0]), rows[i][1]);
    assert_string_equal(weir_grpc_status_name(16), "Unauthenticated");
    assert_string_equal(weir_grpc_status_name(0), "OK");
    assert_string_equal(weir_grpc_status_name(17), "Unknown");
    assert_string_equal(weir_grpc_status_name(-1), "Unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_accepted_form_is_the_one_with_the_highest_quality),
        cmocka_unit_test(bodies_are_those_of_the_incumbent_to_the_letter),
        cmocka_unit_test(every_body_fits_into_the_room_that_is_promised),
        cmocka_unit_test(an_unknown_status_has_the_text_with_its_number),
        cmocka_unit_test(a_page_shows_the_status_twice),
        cmocka_unit_test(statuses_have_a_grpc_code_and_that_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
