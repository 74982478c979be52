/* wish_test.c -- what a write says about being confirmed, and what the host is told. */
#include "admin/fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static size_t places;

static bool take_place(void *context)
{
    (void)context;
    if (places == 0)
        return false;
    places--;
    return true;
}

static int setup(void **state)
{
    static const char *const settings[] = { "admin_wait_timeout=7", "admin_wait_timeout_max=20",
                                            NULL };
    fixture_t *f = fixture_new(settings);
    weir_error_t err = { 0 };
    weir_admin_free(f->admin);
    f->options.host.may_wait = take_place;
    fixture_check(weir_admin_new(&f->options, &f->admin, &err), &err);
    places = 100;
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

static int call_with_header(fixture_t *f, const char *name, const char *value)
{
    weir_admin_header_t headers[] = { { WEIR_STR("Content-Type"), WEIR_STR("application/json") },
                                      { weir_str(name), weir_str(value) } };
    weir_admin_request_t request = { .method = WEIR_STR("PUT"),
                                     .target = WEIR_STR("/consumers/anna"),
                                     .headers = headers,
                                     .header_count = WEIR_COUNT(headers),
                                     .body = WEIR_STR("{}"),
                                     .has_body = true };
    return fixture_send(f, &request);
}

static void a_wish_comes_out_with_the_version_and_the_entities(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(fixture_call(f, "PUT", "/consumers/a?wait_for=all", "{}"), 200);
    assert_int_equal(f->response.wish.kind, WEIR_WISH_ALL);
    assert_int_equal(f->response.wish.timeout_ms, 7000);
    assert_true(f->response.wish.place_taken);
    assert_int_equal(f->response.version, weir_store_version(f->options.store));
    assert_int_equal(f->response.written_count, 1);
    char id[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&f->response.written[0], id);
    assert_string_equal(id, fixture_text(f, "id"));
    assert_int_equal(fixture_call(f, "DELETE",
                                  "/consumers/a?wait_for=label:region=eu%3D1&wait_timeout=0.5",
                                  NULL),
                     204);
    assert_int_equal(f->response.wish.kind, WEIR_WISH_LABEL);
    assert_string_equal(f->response.wish.key.data, "region");
    assert_string_equal(f->response.wish.value.data, "eu=1");
    assert_int_equal(f->response.wish.timeout_ms, 500);
    assert_int_equal(call_with_header(f, "weir-wait-for", "3"), 200);
    assert_int_equal(f->response.wish.kind, WEIR_WISH_COUNT);
    assert_int_equal(f->response.wish.count, 3);
    assert_int_equal(fixture_call(f, "POST", "/transactions?wait_for=2",
                                  "{\"operations\":[{\"op\":\"upsert\",\"path\":\"/consumers/x\"},"
                                  "{\"op\":\"upsert\",\"path\":\"/consumers/y\"}]}"),
                     200);
    assert_int_equal(f->response.wish.count, 2);
    assert_int_equal(f->response.written_count, 2);
    /* What only reads does not wait. */
    assert_int_equal(fixture_call(f, "GET", "/consumers/x?wait_for=all", NULL), 200);
    assert_int_equal(f->response.wish.kind, WEIR_WISH_NOT);
}

static void every_write_says_its_version_and_nothing_else_does(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(fixture_call(f, "POST", "/services", "{\"name\":\"s\",\"host\":\"h\"}"), 201);
    assert_string_equal(fixture_header(f, "Weir-Version"), "2");
    assert_int_equal(fixture_call(f, "PATCH", "/services/s", "{\"host\":\"h\"}"), 200);
    assert_string_equal(fixture_header(f, "Weir-Version"), "2"); /* nothing has changed */
    assert_int_equal(fixture_call(f, "DELETE", "/services/s", NULL), 204);
    assert_string_equal(fixture_header(f, "Weir-Version"), "3");
    assert_int_equal(fixture_call(f, "DELETE", "/services/s", NULL), 204);
    assert_string_equal(fixture_header(f, "Weir-Version"), "3");
    assert_int_equal(fixture_call(f, "GET", "/services", NULL), 200);
    assert_string_equal(fixture_header(f, "Weir-Version"), "");
    assert_int_equal(fixture_call(f, "POST", "/services", "{}"), 400);
    assert_string_equal(fixture_header(f, "Weir-Version"), "");
    assert_int_equal(fixture_call(f, "POST", "/schemas/services/validate", "{\"host\":\"h\"}"),
                     200);
    assert_string_equal(fixture_header(f, "Weir-Version"), "");
}

static void a_bad_word_is_named_before_anything_is_written(void **state)
{
    static const struct {
        const char *query, *field;
    } cases[] = {
        { "wait_for=some", "wait_for" },
        { "wait_for=", "wait_for" },
        { "wait_for", "wait_for" },
        { "wait_for=0", "wait_for" },
        { "wait_for=-1", "wait_for" },
        { "wait_for=1000001", "wait_for" },
        { "wait_for=label:", "wait_for" },
        { "wait_for=label:a", "wait_for" },
        { "wait_for=label:a=", "wait_for" },
        { "wait_for=label:=b", "wait_for" },
        { "wait_for=label:a=%20%00", "" },
        { "wait_for=all&wait_timeout=x", "wait_timeout" },
        { "wait_for=all&wait_timeout=", "wait_timeout" },
        { "wait_for=all&wait_timeout=-1", "wait_timeout" },
        { "wait_for=all&wait_timeout=1e3", "wait_timeout" },
        { "wait_for=all&wait_timeout=1.2.3", "wait_timeout" },
        { "wait_for=all&wait_timeout=20.5", "wait_timeout" },
        { "wait_timeout=21", "wait_timeout" },
    };
    fixture_t *f = *state;
    uint64_t version = weir_store_version(f->options.store);
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        char target[256];
        snprintf(target, sizeof(target), "/consumers/a?%s", cases[i].query);
        int status = fixture_call(f, "PUT", target, "{}");
        bool named = cases[i].field[0] == '\0' ||
                     weir_json_get(weir_json_get(f->json, "fields"), cases[i].field) != NULL;
        if (status != 400 || !named)
            fail_msg("%s: %d %s", cases[i].query, status, f->text);
    }
    assert_int_equal(call_with_header(f, "Weir-Wait-Timeout", "x"), 400);
    assert_int_equal(weir_store_version(f->options.store), version);
}

static void when_no_place_is_left_nothing_is_written(void **state)
{
    fixture_t *f = *state;
    places = 1;
    assert_int_equal(fixture_call(f, "PUT", "/consumers/a?wait_for=all", "{}"), 200);
    assert_int_equal(fixture_call(f, "PUT", "/consumers/b?wait_for=all", "{}"), 503);
    assert_non_null(strstr(f->text, "admin_wait_requests"));
    assert_false(f->response.wish.place_taken);
    assert_int_equal(weir_store_count(f->options.store, WEIR_CONSUMERS), 1);
    assert_int_equal(fixture_call(f, "PUT", "/consumers/b", "{}"), 200);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_wish_comes_out_with_the_version_and_the_entities),
        TEST(every_write_says_its_version_and_nothing_else_does),
        TEST(a_bad_word_is_named_before_anything_is_written),
        TEST(when_no_place_is_left_nothing_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
