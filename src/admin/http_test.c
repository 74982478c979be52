/* http_test.c -- what holds for every path: methods, slashes, headers, content
 * types, bodies (admin-api 1, 2, 3). */
#include "admin/fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static int setup(void **state)
{
    *state = fixture_new(NULL);
    return 0;
}

static int teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

static void every_answer_names_server_and_origin(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(fixture_call(f, "GET", "/nope", NULL), 404);
    assert_string_equal(fixture_header(f, "Server"), "kong/3.9.1");
    assert_string_equal(fixture_header(f, "Access-Control-Allow-Origin"), "*");
    assert_string_equal(fixture_header(f, "Access-Control-Allow-Credentials"), "true");
    assert_string_equal(fixture_header(f, "Content-Type"), "application/json; charset=utf-8");
    assert_string_not_equal(fixture_header(f, "X-Kong-Admin-Latency"), "");
    assert_string_equal(f->text, "{\"message\":\"Not found\"}");
}

static void an_origin_that_is_not_allowed_gets_the_first_that_is(void **state)
{
    (void)state;
    const char *const settings[] = {
        "admin_gui_url=http://gui.test:8002/manager, https://other.test", "headers=off", NULL
    };
    fixture_t *f = fixture_new(settings);
    weir_admin_header_t header = { WEIR_STR("Origin"), WEIR_STR("https://other.test") };
    weir_admin_request_t request = { .method = WEIR_STR("GET"),
                                     .target = WEIR_STR("/services"),
                                     .headers = &header,
                                     .header_count = 1 };
    assert_int_equal(fixture_send(f, &request), 200);
    assert_string_equal(fixture_header(f, "Access-Control-Allow-Origin"), "https://other.test");
    header.value = WEIR_STR("http://evil.test");
    assert_int_equal(fixture_send(f, &request), 200);
    assert_string_equal(fixture_header(f, "Access-Control-Allow-Origin"), "http://gui.test:8002");
    assert_string_equal(fixture_header(f, "Server"), ""); /* headers=off */
    assert_string_equal(fixture_header(f, "X-Kong-Admin-Latency"), "");
    fixture_free(f);
}

static void methods_are_told_apart_from_paths(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(fixture_call(f, "OPTIONS", "/routes/none", NULL), 204);
    assert_string_equal(fixture_header(f, "Allow"), "DELETE, GET, HEAD, OPTIONS, PATCH, PUT");
    assert_int_equal(fixture_call(f, "OPTIONS", "/nope", NULL), 404);
    assert_int_equal(fixture_call(f, "GEEEET", "/services", NULL), 405);
    assert_string_equal(fixture_header(f, "Allow"), "");
    assert_int_equal(fixture_call(f, "HEAD", "/cache", NULL), 200);
    assert_string_equal(fixture_header(f, "Content-Type"), "text/html; charset=UTF-8");
}

static void one_slash_at_the_end_is_tolerated_and_no_more(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(fixture_call(f, "GET", "/services/", NULL), 200);
    assert_int_equal(fixture_call(f, "GET", "/services//", NULL), 404);
    assert_int_equal(fixture_call(f, "GET", "//services", NULL), 404);
    assert_int_equal(fixture_call(f, "GET", "/", NULL), 200);
}

static void fixed_paths_shadow_entities_of_that_name(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(fixture_call(f, "GET", "/plugins/enabled", NULL), 200);
    assert_non_null(weir_json_get(f->json, "enabled_plugins"));
    assert_int_equal(fixture_call(f, "GET", "/schemas/plugins/validate", NULL), 405);
}

static void the_content_type_is_judged_before_the_path(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(fixture_call_as(f, "POST", "/nope", "text/plain", "x"), 415);
    assert_int_equal(fixture_call_as(f, "PUT", "/services/x", "Application/JSON", "{}"), 415);
    assert_int_equal(fixture_call_as(f, "GET", "/services", "text/plain", "x"), 200);
    weir_admin_header_t twice[] = {
        { WEIR_STR("Content-Type"), WEIR_STR("application/json") },
        { WEIR_STR("content-type"), WEIR_STR("application/json") },
    };
    weir_admin_request_t request = { .method = WEIR_STR("POST"),
                                     .target = WEIR_STR("/services"),
                                     .headers = twice,
                                     .header_count = 2,
                                     .has_body = true,
                                     .body = WEIR_STR("{}") };
    assert_int_equal(fixture_send(f, &request), 400);
    request.header_count = 0;
    assert_int_equal(fixture_send(f, &request), 415);
    request.has_body = false;
    request.chunked = true; /* even if empty */
    assert_int_equal(fixture_send(f, &request), 415);
}

static void a_body_that_is_no_json_object_is_refused(void **state)
{
    fixture_t *f = *state;
    static const char *const bad[] = { "",     "{", "[1]",  "\"x\"",
                                       "null", "1", "{} x", "\xef\xbb\xbf{}" };
    for (size_t i = 0; i < WEIR_COUNT(bad); i++) {
        assert_int_equal(fixture_call(f, "POST", "/consumers", bad[i]), 400);
        assert_string_equal(f->text, "{\"message\":\"Cannot parse JSON body\"}");
    }
    assert_int_equal(fixture_call(f, "PUT", "/consumers/anna", "[]"), 200);
}

static void a_thousand_arguments_and_no_more(void **state)
{
    fixture_t *f = *state;
    weir_buffer_t text;
    weir_buffer_init(&text, 1024 * 1024);
    for (int i = 0; i < 1000; i++)
        weir_buffer_printf(&text, "%sa%d=1", i > 0 ? "&" : "/services?", i);
    weir_buffer_byte(&text, '\0');
    assert_int_equal(fixture_call(f, "GET", text.data, NULL), 200);
    assert_int_equal(fixture_form(f, "POST", "/services", text.data + 10), 400);
    assert_int_equal((int)weir_json_get_number(f->json, "code", 0), 2);
    text.len--;
    weir_buffer_append(&text, WEIR_STR("&one=more"));
    weir_buffer_byte(&text, '\0');
    assert_int_equal(fixture_call(f, "GET", text.data, NULL), 400);
    assert_string_equal(f->text, "{\"message\":\"Too many arguments\"}");
    assert_int_equal(fixture_form(f, "POST", "/services", text.data + 10), 400);
    assert_string_equal(f->text, "{\"message\":\"Too many arguments\"}");
    weir_buffer_release(&text);
}

static void names_in_paths_are_percent_decoded(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(fixture_call(f, "PUT", "/consumers/a%20b%2Fc", "{}"), 200);
    assert_string_equal(fixture_text(f, "username"), "a b/c");
    assert_int_equal(fixture_call(f, "GET", "/consumers/a+b%2fc", NULL), 200);
    assert_int_equal(fixture_call(f, "GET", "/consumers/a%00", NULL), 400);
}

static void only_a_control_plane_shows_its_data_planes(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(fixture_call(f, "GET", "/clustering/data-planes", NULL), 400);
    const char *const settings[] = { "role=control_plane", NULL };
    fixture_t *cp = fixture_new(settings);
    weir_uuid_t node;
    weir_uuid_parse(WEIR_STR("00000000-0000-4000-8000-000000000001"), &node);
    weir_str_t row = WEIR_STR("{\"id\":\"00000000-0000-4000-8000-000000000001\",\"ip\":\"::1\","
                              "\"hostname\":\"dp\",\"config_hash\":\"0\",\"last_seen\":1}");
    fixture_check(weir_store_put_data_plane(cp->options.store, &node, row, INT64_MAX, NULL),
                  &cp->err);
    assert_int_equal(fixture_call(cp, "GET", "/clustering/data-planes", NULL), 200);
    assert_int_equal(fixture_rows(cp), 1);
    assert_int_equal(fixture_call(cp, "GET", "/clustering/status", NULL), 200);
    assert_string_equal(fixture_header(cp, "Deprecation"), "true");
    assert_non_null(weir_json_get(cp->json, "00000000-0000-4000-8000-000000000001"));
    assert_int_equal(fixture_call(cp, "PUT", "/upstreams/u/targets/t/healthy", "{}"), 404);
    fixture_free(cp);
}

static void a_plugin_that_the_settings_leave_out_is_not_there(void **state)
{
    (void)state;
    const char *const settings[] = { "plugins=request-termination", NULL };
    fixture_t *f = fixture_new(settings);
    assert_int_equal(fixture_call(f, "GET", "/key-auths", NULL), 404);
    assert_int_equal(fixture_call(f, "GET", "/schemas/plugins/key-auth", NULL), 404);
    assert_int_equal(fixture_call(f, "POST", "/plugins", "{\"name\":\"key-auth\"}"), 400);
    assert_string_equal(fixture_text(f, "message"),
                        "schema violation (name: plugin 'key-auth' not enabled; add it to the "
                        "'plugins' configuration property)");
    assert_int_equal(fixture_call(f, "POST", "/plugins", "{\"name\":\"request-termination\"}"),
                     201);
    fixture_free(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(every_answer_names_server_and_origin),
        TEST(an_origin_that_is_not_allowed_gets_the_first_that_is),
        TEST(methods_are_told_apart_from_paths),
        TEST(one_slash_at_the_end_is_tolerated_and_no_more),
        TEST(fixed_paths_shadow_entities_of_that_name),
        TEST(the_content_type_is_judged_before_the_path),
        TEST(a_body_that_is_no_json_object_is_refused),
        TEST(a_thousand_arguments_and_no_more),
        TEST(names_in_paths_are_percent_decoded),
        TEST(only_a_control_plane_shows_its_data_planes),
        TEST(a_plugin_that_the_settings_leave_out_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
