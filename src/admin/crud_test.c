/* crud_test.c -- what every entity can do, lists, and the specials (admin-api 4,
 * 5, 9). The recorded exchanges judge the texts; here stands what they can't say. */
#include "admin/fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ID(n) "00000000-0000-4000-8000-0000000000" n

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

static void an_entity_is_made_read_changed_and_deleted(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(fixture_call(f, "POST", "/services", "{\"name\":\"s\",\"host\":\"h\"}"), 201);
    assert_int_equal(fixture_call(f, "GET", "/services/s", NULL), 200);
    assert_string_equal(fixture_text(f, "host"), "h");
    assert_int_equal(fixture_call(f, "PATCH", "/services/s", "{\"retries\":2}"), 200);
    assert_int_equal((int)weir_json_get_number(f->json, "retries", 0), 2);
    assert_int_equal(fixture_call(f, "PUT", "/services/s", "{\"host\":\"g\"}"), 200);
    assert_int_equal((int)weir_json_get_number(f->json, "retries", 0), 5); /* replaced whole */
    assert_int_equal(fixture_call(f, "DELETE", "/services/s", NULL), 204);
    assert_string_equal(f->text, "");
    assert_int_equal(fixture_call(f, "DELETE", "/services/s", NULL), 204);
    assert_int_equal(fixture_call(f, "GET", "/services/s", NULL), 404);
}

static void a_put_that_changes_nothing_makes_no_version(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(fixture_call(f, "PUT", "/consumers/anna", "{}"), 200);
    uint64_t version = weir_store_version(f->options.store);
    char *first = strdup(f->text);
    assert_int_equal(fixture_call(f, "PUT", "/consumers/anna", "{}"), 200);
    assert_string_equal(f->text, first); /* what is stored is what is answered */
    assert_int_equal(weir_store_version(f->options.store), version);
    free(first);
}

static void a_reference_by_name_is_stored_as_an_id(void **state)
{
    fixture_t *f = *state;
    fixture_call(f, "POST", "/services", "{\"id\":\"" ID("01") "\",\"name\":\"s\",\"host\":\"h\"}");
    assert_int_equal(
        fixture_call(f, "POST", "/routes", "{\"paths\":[\"/\"],\"service\":{\"name\":\"s\"}}"),
        201);
    const weir_json_t *service = weir_json_get(f->json, "service");
    assert_string_equal(weir_json_get_string(service, "id", WEIR_STR("")).data, ID("01"));
    assert_int_equal(weir_json_count(service), 1);
    assert_int_equal(fixture_call(f, "DELETE", "/services/s", NULL), 400);
    assert_int_equal((int)weir_json_get_number(f->json, "code", 0), 4);
    assert_int_equal(fixture_call(f, "GET", "/services/s", NULL), 200);
}

static void a_child_of_another_parent_is_not_there(void **state)
{
    fixture_t *f = *state;
    fixture_call(f, "PUT", "/consumers/anna", "{}");
    fixture_call(f, "PUT", "/consumers/bob", "{}");
    assert_int_equal(fixture_call(f, "POST", "/consumers/anna/key-auth", "{\"key\":\"k\"}"), 201);
    assert_int_equal(fixture_call(f, "GET", "/consumers/anna/key-auth/k", NULL), 200);
    assert_int_equal(fixture_call(f, "GET", "/consumers/bob/key-auth/k", NULL), 404);
    assert_int_equal(fixture_call(f, "PATCH", "/consumers/bob/key-auth/k", "{}"), 404);
    assert_int_equal(fixture_call(f, "DELETE", "/consumers/bob/key-auth/k", NULL), 404);
    assert_int_equal(fixture_call(f, "PUT", "/consumers/bob/key-auth/k", "{}"), 200); /* moves */
    assert_int_equal(fixture_call(f, "GET", "/consumers/anna/key-auth", NULL), 200);
    assert_int_equal(fixture_rows(f), 0);
    assert_int_equal(fixture_call(f, "DELETE", "/consumers/bob", NULL), 204);
    assert_int_equal(fixture_call(f, "GET", "/key-auths/k", NULL), 404);
}

static void a_parent_that_a_child_lacks_is_made_with_the_link(void **state)
{
    fixture_t *f = *state;
    fixture_call(f, "POST", "/routes", "{\"name\":\"r\",\"paths\":[\"/\"]}");
    uint64_t version = weir_store_version(f->options.store);
    assert_int_equal(fixture_call(f, "PUT", "/routes/r/service", "{}"), 400);
    assert_int_equal(fixture_call(f, "GET", "/routes/r/service", NULL), 404);
    assert_int_equal(fixture_call(f, "PUT", "/routes/r/service", "{\"url\":\"http://h/x\"}"), 200);
    assert_int_equal(weir_store_version(f->options.store), version + 1); /* one write */
    assert_int_equal(fixture_call(f, "GET", "/routes/r/service", NULL), 200);
    assert_string_equal(fixture_text(f, "path"), "/x");
    assert_int_equal(fixture_call(f, "DELETE", "/routes/r/service", NULL), 405);
}

static void ttl_is_shown_as_seconds_left_and_an_expired_key_is_free_again(void **state)
{
    fixture_t *f = *state;
    fixture_call(f, "PUT", "/consumers/anna", "{}");
    assert_int_equal(
        fixture_call(f, "POST", "/consumers/anna/key-auth", "{\"key\":\"k\",\"ttl\":100}"), 201);
    double ttl = weir_json_get_number(f->json, "ttl", 0);
    assert_true(ttl > 90 && ttl <= 100);
    /* Made long ago, so gone at once; its row still stands in the database. */
    assert_int_equal(fixture_call(f, "POST", "/consumers/anna/key-auth",
                                  "{\"id\":\"" ID("01") "\",\"key\":\"old\",\"ttl\":1,"
                                                        "\"created_at\":1000}"),
                     201);
    assert_int_equal(fixture_call(f, "GET", "/key-auths/old", NULL), 404);
    assert_int_equal(fixture_call(f, "POST", "/consumers/anna/key-auth", "{\"key\":\"old\"}"), 201);
    assert_int_equal(fixture_call(f, "PUT", "/key-auths/" ID("01"),
                                  "{\"key\":\"new\",\"consumer\":{\"username\":\"anna\"}}"),
                     200);
}

static void pages_cover_everything_once(void **state)
{
    fixture_t *f = *state;
    char target[256];
    for (int i = 0; i < 10; i++) {
        snprintf(target, sizeof(target), "/consumers/c%d", i);
        fixture_call(f, "PUT", target, i % 2 == 0 ? "{\"tags\":[\"a\",\"b\"]}" : "{}");
    }
    size_t rows = 0;
    unsigned pages = 0;
    snprintf(target, sizeof(target), "/consumers?size=3");
    for (; target[0] != '\0'; pages++) {
        assert_int_equal(fixture_call(f, "GET", target, NULL), 200);
        rows += fixture_rows(f);
        snprintf(target, sizeof(target), "%s", fixture_text(f, "next"));
    }
    assert_int_equal(rows, 10);
    assert_int_equal(pages, 4);
    assert_int_equal(fixture_call(f, "GET", "/consumers?tags=a,b&size=5", NULL), 200);
    assert_int_equal(fixture_rows(f), 5);
    assert_true(weir_json_is_null(weir_json_get(f->json, "next")));
    assert_int_equal(fixture_call(f, "GET", "/consumers?tags=a,x", NULL), 200);
    assert_int_equal(fixture_rows(f), 0);
    assert_int_equal(fixture_call(f, "GET", "/consumers?tags=a,b/c", NULL), 400);
    assert_int_equal(fixture_call(f, "GET", "/consumers?size=1001", NULL), 400);
    assert_int_equal(fixture_call(f, "GET", "/consumers?size", NULL), 400);
    assert_int_equal(fixture_call(f, "GET", "/tags/a?size=2", NULL), 200);
    assert_int_equal(fixture_rows(f), 2);
    assert_string_not_equal(fixture_text(f, "offset"), "");
}

static void targets_come_newest_first_with_a_counted_offset(void **state)
{
    fixture_t *f = *state;
    fixture_call(f, "POST", "/upstreams", "{\"name\":\"u\"}");
    for (int i = 0; i < 5; i++) {
        char body[128];
        snprintf(body, sizeof(body), "{\"target\":\"t%d\",\"created_at\":%d}", i, 100 + i);
        assert_int_equal(fixture_call(f, "POST", "/upstreams/u/targets", body), 201);
    }
    assert_int_equal(fixture_call(f, "POST", "/upstreams/u/targets", "{\"target\":\"t1:8000\"}"),
                     409);
    assert_int_equal(fixture_call(f, "GET", "/upstreams/u/targets?size=2", NULL), 200);
    const weir_json_t *first = weir_json_first(weir_json_get(f->json, "data"));
    assert_string_equal(weir_json_get_string(first, "target", WEIR_STR("")).data, "t4:8000");
    assert_string_equal(fixture_text(f, "next"), "/upstreams/u/targets?offset=2");
    assert_int_equal(fixture_call(f, "GET", "/upstreams/u/targets?offset=4", NULL), 200);
    assert_int_equal(fixture_rows(f), 1);
    assert_int_equal(fixture_call(f, "GET", "/upstreams/u/targets?offset=x", NULL), 400);
    assert_int_equal(fixture_call(f, "DELETE", "/upstreams/u/targets/t4:8000", NULL), 204);
    assert_int_equal(fixture_call(f, "DELETE", "/upstreams/u/targets/t4:8000", NULL), 404);
}

static void a_form_is_read_with_the_schema_of_the_entity(void **state)
{
    fixture_t *f = *state;
    fixture_form(f, "POST", "/services", "name=s&url=http%3A%2F%2Fh&retries=3");
    assert_int_equal(f->response.status, 201);
    assert_int_equal(
        fixture_form(f, "POST", "/services/s/routes", "paths[]=/a&paths[]=/b&headers.x=1"), 201);
    const weir_json_t *headers = weir_json_get(f->json, "headers");
    assert_int_equal(weir_json_kind(weir_json_get(headers, "x")), WEIR_JSON_ARRAY);
    assert_int_equal(fixture_form(f, "PATCH", "/services/s", "retries=x"), 400);
    assert_int_equal(fixture_form(f, "PATCH", "/services/s", "name="), 200);
    assert_true(weir_json_is_null(weir_json_get(f->json, "name")));
    assert_int_equal(fixture_form(f, "POST", "/services", "host=a%00b"), 400);
}

static void a_plugin_must_share_a_protocol_with_its_route(void **state)
{
    fixture_t *f = *state;
    fixture_call(f, "POST", "/routes",
                 "{\"id\":\"" ID("01") "\",\"name\":\"r\",\"protocols\":[\"https\"],"
                                       "\"paths\":[\"/\"]}");
    static const char wrong[] = "{\"name\":\"key-auth\",\"protocols\":[\"http\"],"
                                "\"route\":{\"id\":\"" ID("01") "\"}}";
    assert_int_equal(fixture_call(f, "POST", "/plugins", wrong), 400);
    assert_string_equal(fixture_text(f, "message"),
                        "schema violation (protocols: must match the associated route's "
                        "protocols)");
    assert_int_equal(fixture_call(f, "POST", "/routes/r/plugins",
                                  "{\"name\":\"key-auth\",\"instance_name\":\"k\"}"),
                     201);
    assert_int_equal(fixture_call(f, "POST", "/routes/r/plugins", "{\"name\":\"key-auth\"}"), 409);
    assert_int_equal(fixture_form(f, "PATCH", "/plugins/k", "config.key_names=x"), 200);
    assert_int_equal(fixture_call(f, "PATCH", "/plugins/none", "{}"), 404);
    assert_string_equal(f->text, "{\"message\":\"Not found\"}");
}

static void text_that_is_not_utf8_is_refused(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(fixture_call(f, "POST", "/consumers", "{\"username\":\"ab\xff\"}"), 400);
    assert_string_equal(fixture_text(f, "message"),
                        "schema violation (username: invalid utf-8 character sequence detected at "
                        "position 3)");
    assert_int_equal(fixture_call(f, "PUT", "/consumers/%ff", "{}"), 400);
    assert_int_equal(fixture_call(f, "PUT", "/consumers/%C3%A9", "{}"), 200);
}

static void validation_stores_nothing(void **state)
{
    fixture_t *f = *state;
    uint64_t version = weir_store_version(f->options.store);
    assert_int_equal(fixture_call(f, "POST", "/schemas/services/validate", "{\"host\":\"h\"}"),
                     200);
    assert_int_equal(fixture_call(f, "POST", "/schemas/services/validate", "{}"), 400);
    assert_int_equal(fixture_call(f, "POST", "/schemas/nope/validate", "{}"), 404);
    assert_int_equal(
        fixture_call(f, "POST", "/schemas/plugins/validate", "{\"name\":\"key-auth\"}"), 200);
    assert_int_equal(weir_store_version(f->options.store), version);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_entity_is_made_read_changed_and_deleted),
        TEST(a_put_that_changes_nothing_makes_no_version),
        TEST(a_reference_by_name_is_stored_as_an_id),
        TEST(a_child_of_another_parent_is_not_there),
        TEST(a_parent_that_a_child_lacks_is_made_with_the_link),
        TEST(ttl_is_shown_as_seconds_left_and_an_expired_key_is_free_again),
        TEST(pages_cover_everything_once),
        TEST(targets_come_newest_first_with_a_counted_offset),
        TEST(a_form_is_read_with_the_schema_of_the_entity),
        TEST(a_plugin_must_share_a_protocol_with_its_route),
        TEST(text_that_is_not_utf8_is_refused),
        TEST(validation_stores_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
