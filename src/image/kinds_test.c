/* kinds_test.c -- kinds of entities that workers do not read: their documents are kept,
 * judged as any other, and end when they end. */
#include "image/batch.h"
#include "image/rows.h"

#define O1 "0a000000-0000-4000-8000-000000000001"
#define T1 "7a000000-0000-4000-8000-000000000001"
#define T2 "7a000000-0000-4000-8000-000000000002"
#define Z1 "5a000000-0000-4000-8000-000000000001"

#define OAUTH2(id, consumer) \
    "{\"id\":\"" id "\",\"name\":\"app\",\"client_id\":\"i\"," REF("consumer", consumer) "}"
#define TOKEN(id, text, ttl)                                                         \
    "{\"id\":\"" id "\",\"access_token\":\"" text "\",\"expires_in\":5,\"ttl\":" ttl \
    "," REF("credential", O1) "}"
#define PLAIN_KEY(id, set) \
    "{\"id\":\"" id "\",\"kid\":\"1\",\"jwk\":\"{vault://env/x}\"," REF("set", set) "}"

static void what_they_refer_to_must_be_there(void **state)
{
    fixture_t *f = *state;
    fixture_begin(f, true);
    fixture_put(f, "keys", PLAIN_KEY(K1, Z1));
    fixture_put(f, "acls", "{\"id\":\"" P1 "\",\"group\":\"g\"," REF("consumer", C1) "}");
    fixture_put(f, "oauth2_tokens", TOKEN(T1, "a", "null"));
    fixture_put(f, "oauth2_credentials", OAUTH2(O1, C1));
    fixture_commit(f);
    found_t found = quarantined(f);
    assert_int_equal(found.count, 4); /* the token waits for a credential that waits */
    fixture_begin(f, false);
    fixture_put(f, "key_sets", "{\"id\":\"" Z1 "\",\"name\":\"set\"}");
    fixture_put(f, "consumers", CONSUMER(C1, "u"));
    fixture_commit(f);
    assert_int_equal(quarantined(f).count, 0);
    fixture_delete_alone(f, "key_sets", "{\"id\":\"" Z1 "\"}");
    found = quarantined(f);
    assert_int_equal(found.count, 1);
    assert_string_equal(found.type, "keys");
    assert_string_equal(found.field, "set");
}

static void what_their_schema_refuses_is_quarantined(void **state)
{
    fixture_t *f = *state;
    static const struct {
        const char *type, *row, *field;
    } rows[] = {
        { "vaults", "{\"id\":\"" P1 "\",\"name\":\"aws\",\"prefix\":\"ab\"}", "name" },
        { "keys", "{\"id\":\"" K1 "\",\"kid\":\"1\",\"jwk\":\"{}\"}", "@entity" },
        { "acls", "{\"id\":\"" P2 "\"," REF("consumer", C1) "}", "group" },
        { "hmacauth_credentials", "{\"id\":\"" K2 "\",\"username\":\"a\",\"later\":1}", "later" },
    };
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        fixture_begin(f, true);
        fixture_put(f, "consumers", CONSUMER(C1, "u"));
        fixture_put(f, rows[i].type, rows[i].row);
        fixture_commit(f);
        found_t found = quarantined(f);
        assert_int_equal(found.count, 1);
        assert_string_equal(found.type, rows[i].type);
        if (strcmp(rows[i].field, "later") != 0) /* the consumer is missing, too */
            assert_string_equal(found.field, rows[i].field);
    }
}

static bool is_there(fixture_t *f, weir_entity_type_t type, const char *id)
{
    weir_uuid_t uuid = fixture_uuid(id);
    weir_batch_t *batch = NULL;
    entity_key_t key = entity_key(type, &uuid);
    fixture_ok(f, weir_batch_begin(f->image, false, 0, &batch, &f->err));
    bool there = is_good(batch, &key);
    weir_batch_abort(batch);
    return there;
}

static void tokens_and_codes_end_as_credentials_do(void **state)
{
    fixture_t *f = *state;
    size_t count = 0;
    int64_t next_ms = 0;
    fixture_begin(f, true);
    fixture_put(f, "consumers", CONSUMER(C1, "u"));
    fixture_put(f, "oauth2_credentials", OAUTH2(O1, C1));
    fixture_put(f, "oauth2_tokens", TOKEN(T1, "a", "4000000000"));
    fixture_put(f, "oauth2_authorization_codes",
                "{\"id\":\"" T2 "\",\"code\":\"c\",\"ttl\":4000000100," REF("credential", O1) "}");
    fixture_commit(f);
    assert_true(is_there(f, WEIR_OAUTH2_TOKENS, T1));
    fixture_ok(f, weir_image_expire(f->image, INT64_C(4000000001000), &count, &next_ms, &f->err));
    assert_int_equal(count, 1);
    assert_int_equal(next_ms, INT64_C(4000000100000));
    assert_false(is_there(f, WEIR_OAUTH2_TOKENS, T1));
    assert_true(is_there(f, WEIR_OAUTH2_AUTHORIZATION_CODES, T2));
    assert_int_equal(quarantined(f).count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_they_refer_to_must_be_there),
        TEST(what_their_schema_refuses_is_quarantined),
        TEST(tokens_and_codes_end_as_credentials_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
