/* credentials_test.c -- credentials, groups, keys and vaults over the Admin API (admin-api
 * 9.8, 9.9). The recorded exchanges judge the texts; here stands what they can't say. */
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

static void a_group_is_found_by_its_name_below_its_consumer(void **state)
{
    fixture_t *f = *state;
    fixture_call(f, "PUT", "/consumers/anna", "{}");
    fixture_call(f, "PUT", "/consumers/bob", "{}");
    assert_int_equal(fixture_call(f, "PUT", "/consumers/anna/acls/g", "{}"), 200);
    uint64_t version = weir_store_version(f->options.store);
    char id[64];
    snprintf(id, sizeof(id), "%s", fixture_text(f, "id"));
    assert_int_equal(fixture_call(f, "PUT", "/consumers/anna/acls/g", "{\"tags\":[\"t\"]}"), 200);
    assert_string_equal(fixture_text(f, "id"), id); /* the same row */
    assert_int_equal(weir_store_version(f->options.store), version + 1);
    assert_int_equal(fixture_call(f, "GET", "/consumers/bob/acls/g", NULL), 404);
    assert_int_equal((int)strlen(fixture_text(f, "request_id")), 32);
    assert_int_equal(fixture_call(f, "PUT", "/consumers/nobody/acls/g", "{}"), 404);
    assert_int_equal(fixture_call(f, "DELETE", "/consumers/bob/acls/g", NULL), 404);
    assert_int_equal(fixture_call(f, "DELETE", "/consumers/anna/acls/g", NULL), 204);
    assert_int_equal(weir_store_count(f->options.store, WEIR_ACLS), 0);
}

static void a_consumer_takes_its_credentials_and_their_tokens_along(void **state)
{
    fixture_t *f = *state;
    fixture_call(f, "PUT", "/consumers/anna", "{}");
    fixture_call(f, "POST", "/consumers/anna/acls", "{\"group\":\"g\"}");
    fixture_call(f, "POST", "/consumers/anna/jwt", "{}");
    fixture_call(f, "POST", "/consumers/anna/oauth2", "{\"name\":\"a\",\"client_id\":\"i\"}");
    assert_int_equal(fixture_call(f, "POST", "/oauth2/i/oauth2_tokens", "{\"expires_in\":5}"), 201);
    uint64_t version = weir_store_version(f->options.store);
    assert_int_equal(fixture_call(f, "DELETE", "/consumers/anna", NULL), 204);
    assert_int_equal(weir_store_version(f->options.store), version + 1);
    static const weir_entity_type_t types[] = { WEIR_ACLS, WEIR_JWT_SECRETS,
                                                WEIR_OAUTH2_CREDENTIALS, WEIR_OAUTH2_TOKENS };
    for (size_t i = 0; i < WEIR_COUNT(types); i++)
        assert_int_equal(weir_store_count(f->options.store, types[i]), 0);
}

static void an_expired_token_is_free_again(void **state)
{
    fixture_t *f = *state;
    fixture_call(f, "PUT", "/consumers/anna", "{}");
    fixture_call(f, "POST", "/consumers/anna/oauth2", "{\"name\":\"a\",\"client_id\":\"i\"}");
    assert_int_equal(fixture_call(f, "POST", "/oauth2/i/oauth2_tokens",
                                  "{\"access_token\":\"a\",\"expires_in\":5,\"ttl\":1,"
                                  "\"created_at\":1000}"),
                     201);
    assert_int_equal(fixture_call(f, "GET", "/oauth2_tokens/a", NULL), 404);
    assert_int_equal(fixture_call(f, "POST", "/oauth2/i/oauth2_tokens",
                                  "{\"access_token\":\"a\",\"expires_in\":5,\"ttl\":100}"),
                     201);
    double ttl = weir_json_get_number(f->json, "ttl", 0);
    assert_true(ttl > 90 && ttl <= 100);
}

static void a_password_that_was_hashed_is_not_hashed_by_other_changes(void **state)
{
    fixture_t *f = *state;
    char hash[64];
    fixture_call(f, "PUT", "/consumers/anna", "{}");
    fixture_call(f, "POST", "/consumers/anna/basic-auth",
                 "{\"username\":\"u\",\"password\":\"p\"}");
    snprintf(hash, sizeof(hash), "%s", fixture_text(f, "password"));
    assert_int_equal((int)strlen(hash), 40);
    assert_int_equal(fixture_call(f, "PATCH", "/basic-auths/u", "{\"tags\":[\"t\"]}"), 200);
    assert_string_equal(fixture_text(f, "password"), hash);
    assert_int_equal(fixture_call(f, "PATCH", "/basic-auths/u", "{\"password\":\"q\"}"), 400);
    assert_int_equal(
        fixture_call(f, "PATCH", "/consumers/anna/basic-auth/u", "{\"password\":\"q\"}"), 200);
    assert_string_not_equal(fixture_text(f, "password"), hash);
}

static void a_key_set_takes_its_keys_along(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(fixture_call(f, "PUT", "/key-sets/s", "{}"), 200);
    assert_int_equal(fixture_call(f, "POST", "/key-sets/s/keys",
                                  "{\"kid\":\"1\",\"jwk\":\"{vault://env/x}\",\"name\":\"k\"}"),
                     201);
    assert_int_equal(fixture_call(f, "GET", "/keys/k/set", NULL), 200);
    assert_int_equal(fixture_call(f, "DELETE", "/key-sets/s", NULL), 204);
    assert_int_equal(fixture_call(f, "GET", "/keys/k", NULL), 404);
}

static void the_settings_may_leave_out_what_belongs_to_a_plugin(void **state)
{
    (void)state;
    static const char *const settings[] = { "plugins=key-auth,jwt", NULL };
    fixture_t *f = fixture_new(settings);
    fixture_call(f, "PUT", "/consumers/anna", "{}");
    assert_int_equal(fixture_call(f, "GET", "/consumers/anna/jwt", NULL), 200);
    assert_int_equal(fixture_call(f, "GET", "/consumers/anna/acls", NULL), 404);
    assert_int_equal(fixture_call(f, "GET", "/oauth2_tokens", NULL), 404);
    assert_int_equal(fixture_call(f, "GET", "/services/x/oauth2_tokens", NULL), 404);
    assert_int_equal(fixture_call(f, "GET", "/key-sets", NULL), 200);
    fixture_free(f);
}

/* What would keep somebody out is taken only if data planes do that. */
static void a_plugin_that_no_data_plane_runs_is_refused(void **state)
{
    fixture_t *f = *state;
    static const char *const names[] = { "acl", "hmac-auth", "oauth2", "basic-auth", "jwt" };
    for (size_t i = 0; i < WEIR_COUNT(names); i++) {
        char body[64];
        snprintf(body, sizeof(body), "{\"name\":\"%s\"}", names[i]);
        assert_int_equal(fixture_call(f, "POST", "/plugins", body), 400);
    }
    assert_int_equal(weir_store_count(f->options.store, WEIR_PLUGINS), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_group_is_found_by_its_name_below_its_consumer),
        TEST(a_consumer_takes_its_credentials_and_their_tokens_along),
        TEST(an_expired_token_is_free_again),
        TEST(a_password_that_was_hashed_is_not_hashed_by_other_changes),
        TEST(a_key_set_takes_its_keys_along),
        cmocka_unit_test(the_settings_may_leave_out_what_belongs_to_a_plugin),
        TEST(a_plugin_that_no_data_plane_runs_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
