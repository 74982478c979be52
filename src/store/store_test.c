/* store_test.c -- what a caller sees: rows, pages, refusals, versions, cascades. */
#include "store/fixture.h"

/* -- rows -------------------------------------------------------------------------------- */

static void what_was_written_is_read_by_id_and_by_key(void **state)
{
    test_store_t *test = *state;
    uint64_t version = test_put(test, WEIR_SERVICES, 1, "\"name\":\"a\",\"host\":\"h\"");
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, 1 << 20);
    weir_uuid_t id = test_id(1);
    weir_row_t row;
    assert_int_equal(weir_store_get(test->store, WEIR_SERVICES, &id, &arena, &row, NULL), WEIR_OK);
    assert_int_equal(row.version, version);
    assert_true(weir_str_is(row.document, "{\"id\":\"00000000-0000-0000-0000-000000000001\","
                                          "\"name\":\"a\",\"host\":\"h\"}"));
    weir_row_t found;
    assert_int_equal(
        weir_store_find(test->store, WEIR_SERVICES, "name", WEIR_STR("a"), &arena, &found, NULL),
        WEIR_OK);
    assert_true(weir_uuid_equal(&found.id, &id));
    assert_true(weir_str_equal(found.document, row.document));
}

static void what_is_not_there_is_not_found(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_SERVICES, 1, "\"name\":\"a\"");
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, 1 << 20);
    weir_row_t row;
    assert_false(test_exists(test, WEIR_SERVICES, 2));
    assert_false(test_exists(test, WEIR_ROUTES, 1));
    assert_int_equal(
        weir_store_find(test->store, WEIR_SERVICES, "name", WEIR_STR("b"), &arena, &row, NULL),
        WEIR_NOT_FOUND);
    assert_int_equal(
        weir_store_find(test->store, WEIR_UPSTREAMS, "name", WEIR_STR("a"), &arena, &row, NULL),
        WEIR_NOT_FOUND);
}

static void a_renamed_row_is_found_by_its_new_key_only(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_SERVICES, 1, "\"name\":\"a\"");
    test_put(test, WEIR_SERVICES, 1, "\"name\":\"b\"");
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, 1 << 20);
    weir_row_t row;
    assert_int_equal(
        weir_store_find(test->store, WEIR_SERVICES, "name", WEIR_STR("a"), &arena, &row, NULL),
        WEIR_NOT_FOUND);
    assert_int_equal(
        weir_store_find(test->store, WEIR_SERVICES, "name", WEIR_STR("b"), &arena, &row, NULL),
        WEIR_OK);
    test_put(test, WEIR_SERVICES, 2, "\"name\":\"a\""); /* free again */
    assert_int_equal(weir_store_count(test->store, WEIR_SERVICES), 2);
}

static void everything_survives_closing(void **state)
{
    test_store_t *test = *state;
    weir_uuid_t workspace = *weir_store_default_workspace(test->store);
    uint64_t version = test_put(test, WEIR_CONSUMERS, 1, "\"username\":\"u\"");
    test_reopen(test);
    assert_true(test_exists(test, WEIR_CONSUMERS, 1));
    assert_int_equal(weir_store_version(test->store), version);
    assert_int_equal(weir_store_count(test->store, WEIR_CONSUMERS), 1);
    assert_true(weir_uuid_equal(weir_store_default_workspace(test->store), &workspace));
    test_assert_log_adds_up(test);
}

/* -- pages ------------------------------------------------------------------------------- */

static void pages_are_ordered_by_id_and_say_whether_more_follow(void **state)
{
    test_store_t *test = *state;
    test_text_t text;
    for (unsigned n = 5; n > 0; n--)
        test_put(test, WEIR_CONSUMERS, n, "");
    test_put(test, WEIR_UPSTREAMS, 9, "");
    weir_store_query_t query = { .type = WEIR_CONSUMERS, .limit = 2 };
    assert_string_equal(test_list(test, &query, &text), "1 2 +");
    query.has_after = true;
    query.after = test_id(2);
    assert_string_equal(test_list(test, &query, &text), "3 4 +");
    query.after = test_id(4);
    assert_string_equal(test_list(test, &query, &text), "5");
    query.after = test_id(3);
    assert_string_equal(test_list(test, &query, &text), "4 5");
    query.after = test_id(200);
    assert_string_equal(test_list(test, &query, &text), "");
}

static void children_are_listed_by_their_parent(void **state)
{
    test_store_t *test = *state;
    test_text_t text;
    test_put(test, WEIR_SERVICES, 1, "");
    test_put(test, WEIR_SERVICES, 2, "");
    for (unsigned n = 10; n < 14; n++)
        test_put(test, WEIR_ROUTES, n, n % 2 == 0 ? "\"service\":@1" : "\"service\":@2");
    test_put(test, WEIR_ROUTES, 14, "\"service\":null");
    weir_store_query_t query = {
        .type = WEIR_ROUTES, .parent_field = "service", .parent = test_id(1), .limit = 10
    };
    assert_string_equal(test_list(test, &query, &text), "10 12");
    test_put(test, WEIR_ROUTES, 12, "\"service\":@2"); /* moves */
    assert_string_equal(test_list(test, &query, &text), "10");
    query.parent = test_id(2);
    assert_string_equal(test_list(test, &query, &text), "11 12 13");
    query.has_after = true;
    query.after = test_id(11);
    query.limit = 1;
    assert_string_equal(test_list(test, &query, &text), "12 +");
    weir_store_result_t result;
    test_delete(test, WEIR_ROUTES, 13, &result);
    assert_string_equal(test_list(test, &query, &text), "12");
}

static void snis_are_listed_by_their_certificate(void **state)
{
    test_store_t *test = *state;
    test_text_t text;
    test_put(test, WEIR_CERTIFICATES, 1, "");
    test_put(test, WEIR_SNIS, 2, "\"name\":\"a.test\",\"certificate\":@1");
    weir_store_query_t query = {
        .type = WEIR_SNIS, .parent_field = "certificate", .parent = test_id(1), .limit = 10
    };
    assert_string_equal(test_list(test, &query, &text), "2");
}

static void tags_select_all_of_them_or_any_of_them(void **state)
{
    test_store_t *test = *state;
    test_text_t text;
    test_put(test, WEIR_CONSUMERS, 1, "\"tags\":[\"a\"]");
    test_put(test, WEIR_CONSUMERS, 2, "\"tags\":[\"a\",\"b\"]");
    test_put(test, WEIR_CONSUMERS, 3, "\"tags\":[\"b\"]");
    test_put(test, WEIR_CONSUMERS, 4, "\"tags\":null");
    test_put(test, WEIR_CONSUMERS, 5, "\"tags\":[\"b\",\"a\",\"c\"]");
    test_put(test, WEIR_SERVICES, 6, "\"tags\":[\"a\",\"b\"]");
    weir_str_t tags[] = { WEIR_STR("a"), WEIR_STR("b") };
    weir_store_query_t query = { .type = WEIR_CONSUMERS, .tags = tags, .tag_count = 2, .limit = 9 };
    assert_string_equal(test_list(test, &query, &text), "2 5");
    query.tags_any = true;
    assert_string_equal(test_list(test, &query, &text), "1 2 3 5");
    query.limit = 2;
    query.has_after = true;
    query.after = test_id(1);
    assert_string_equal(test_list(test, &query, &text), "2 3 +");
    query.tag_count = 1;
    assert_string_equal(test_list(test, &query, &text), "2 5");
    test_put(test, WEIR_CONSUMERS, 5, "\"tags\":[\"c\"]");
    assert_string_equal(test_list(test, &query, &text), "2");
}

static void tag_rows_are_paged_by_entity_and_ordinal(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_CONSUMERS, 1, "\"tags\":[\"b\",\"a\"]");
    test_put(test, WEIR_SERVICES, 2, "\"tags\":[\"a\"]");
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, 1 << 20);
    weir_tag_row_t *rows = NULL;
    int *ordinals = NULL;
    size_t count = 0;
    bool more = false;
    assert_int_equal(weir_store_tags(test->store, (weir_str_t){ NULL, 0 }, NULL, 0, 2, &arena,
                                     &rows, &ordinals, &count, &more, NULL),
                     WEIR_OK);
    assert_int_equal(count, 2);
    assert_true(more);
    assert_true(weir_str_is(rows[0].tag, "b"));
    assert_true(weir_str_is(rows[1].tag, "a"));
    assert_int_equal(rows[1].type, WEIR_CONSUMERS);
    assert_int_equal(ordinals[1], 2);
    assert_int_equal(weir_store_tags(test->store, (weir_str_t){ NULL, 0 }, &rows[1].id, ordinals[1],
                                     2, &arena, &rows, &ordinals, &count, &more, NULL),
                     WEIR_OK);
    assert_int_equal(count, 1);
    assert_false(more);
    assert_int_equal(rows[0].type, WEIR_SERVICES);
    assert_int_equal(weir_store_tags(test->store, WEIR_STR("a"), NULL, 0, 10, &arena, &rows,
                                     &ordinals, &count, &more, NULL),
                     WEIR_OK);
    assert_int_equal(count, 2);
}

static void plugin_names_are_those_in_use(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_SERVICES, 1, "");
    test_put(test, WEIR_PLUGINS, 2, "\"name\":\"key-auth\",\"service\":@1");
    test_put(test, WEIR_PLUGINS, 3, "\"name\":\"key-auth\"");
    test_put(test, WEIR_PLUGINS, 4, "\"name\":\"acl\"");
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, 1 << 20);
    weir_str_t *names = NULL;
    size_t count = 0;
    weir_store_result_t result;
    test_delete(test, WEIR_PLUGINS, 3, &result);
    assert_int_equal(weir_store_plugin_names(test->store, &arena, &names, &count, NULL), WEIR_OK);
    assert_int_equal(count, 2);
    assert_true(weir_str_is(names[0], "acl"));
    assert_true(weir_str_is(names[1], "key-auth"));
    test_put(test, WEIR_PLUGINS, 4, "\"name\":\"cors\"");
    test_delete(test, WEIR_PLUGINS, 2, &result);
    assert_int_equal(weir_store_plugin_names(test->store, &arena, &names, &count, NULL), WEIR_OK);
    assert_int_equal(count, 1);
    assert_true(weir_str_is(names[0], "cors"));
}

/* -- refusals ----------------------------------------------------------------------------- */

/* After a refusal: nothing is stored, no version is used up. */
static void assert_nothing_happened(test_store_t *test, uint64_t version)
{
    assert_int_equal(weir_store_version(test->store), version);
    test_put(test, WEIR_UPSTREAMS, 200, "");
    assert_int_equal(weir_store_version(test->store), version + 1);
    test_assert_log_adds_up(test);
}

static void an_id_that_exists_is_refused_as_primary_key(void **state)
{
    test_store_t *test = *state;
    uint64_t version = test_put(test, WEIR_SERVICES, 1, "\"name\":\"a\"");
    weir_store_result_t result;
    assert_int_equal(
        test_write_put(test, WEIR_SERVICES, 1, "\"name\":\"b\"", WEIR_EXPECT_ABSENT, &result),
        WEIR_CONFLICT);
    assert_int_equal(result.refusal, WEIR_REFUSED_PRIMARY);
    assert_false(result.changed);
    assert_nothing_happened(test, version);
}

static void a_row_of_another_version_is_refused_as_changed(void **state)
{
    test_store_t *test = *state;
    uint64_t first = test_put(test, WEIR_SERVICES, 1, "\"name\":\"a\"");
    weir_store_result_t result;
    assert_int_equal(test_write_put(test, WEIR_SERVICES, 1, "\"name\":\"b\"", first, &result),
                     WEIR_OK);
    uint64_t second = result.version;
    assert_int_equal(test_write_put(test, WEIR_SERVICES, 1, "\"name\":\"c\"", first, &result),
                     WEIR_CONFLICT);
    assert_int_equal(result.refusal, WEIR_REFUSED_CHANGED);
    assert_int_equal(test_write_put(test, WEIR_SERVICES, 7, "\"name\":\"c\"", first, &result),
                     WEIR_CONFLICT);
    assert_int_equal(result.refusal, WEIR_REFUSED_CHANGED);
    weir_store_op_t op = { WEIR_STORE_DELETE, WEIR_SERVICES, test_id(1), NULL, first };
    assert_int_equal(weir_store_write(test->store, &op, 1, &result, NULL), WEIR_CONFLICT);
    assert_int_equal(result.refusal, WEIR_REFUSED_CHANGED);
    assert_nothing_happened(test, second);
}

static void a_key_of_another_row_is_refused_and_its_holder_named(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_CONSUMERS, 1, "\"username\":\"u\",\"custom_id\":\"c\"");
    uint64_t version = test_put(test, WEIR_SERVICES, 2, "\"name\":\"u\""); /* another type */
    weir_store_result_t result;
    weir_uuid_t holder = test_id(1);
    assert_int_equal(test_write_put(test, WEIR_CONSUMERS, 3,
                                    "\"username\":\"v\",\"custom_id\":\"c\"", WEIR_EXPECT_ABSENT,
                                    &result),
                     WEIR_CONFLICT);
    assert_int_equal(result.refusal, WEIR_REFUSED_UNIQUE);
    assert_string_equal(result.key, "custom_id");
    assert_true(weir_uuid_equal(&result.holder, &holder));
    assert_nothing_happened(test, version);
}

static void a_composite_key_is_unique_too(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_SERVICES, 1, "");
    test_put(test, WEIR_PLUGINS, 2, "\"name\":\"acl\",\"service\":@1");
    uint64_t version = test_put(test, WEIR_PLUGINS, 3, "\"name\":\"acl\"");
    weir_store_result_t result;
    assert_int_equal(test_write_put(test, WEIR_PLUGINS, 4, "\"name\":\"acl\",\"service\":@1",
                                    WEIR_EXPECT_ABSENT, &result),
                     WEIR_CONFLICT);
    assert_int_equal(result.refusal, WEIR_REFUSED_UNIQUE);
    assert_string_equal(result.key, "cache_key");
    assert_nothing_happened(test, version);
}

static void a_reference_to_nothing_is_refused(void **state)
{
    test_store_t *test = *state;
    uint64_t version = test_put(test, WEIR_SERVICES, 1, "");
    weir_store_result_t result;
    weir_uuid_t missing = test_id(5);
    assert_int_equal(
        test_write_put(test, WEIR_ROUTES, 2, "\"service\":@5", WEIR_EXPECT_ABSENT, &result),
        WEIR_CONFLICT);
    assert_int_equal(result.refusal, WEIR_REFUSED_REFERENCE);
    assert_string_equal(result.key, "service");
    assert_int_equal(result.other, WEIR_SERVICES);
    assert_true(weir_uuid_equal(&result.other_id, &missing));
    assert_nothing_happened(test, version);
}

static void a_row_that_others_hold_is_not_deleted(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_SERVICES, 1, "");
    uint64_t version = test_put(test, WEIR_ROUTES, 2, "\"service\":@1");
    weir_store_result_t result;
    weir_uuid_t who = test_id(2);
    assert_int_equal(test_delete(test, WEIR_SERVICES, 1, &result), WEIR_CONFLICT);
    assert_int_equal(result.refusal, WEIR_REFUSED_REFERENCED);
    assert_int_equal(result.other, WEIR_ROUTES);
    assert_true(weir_uuid_equal(&result.other_id, &who));
    assert_string_equal(result.key, "service");
    assert_nothing_happened(test, version);
    test_put(test, WEIR_ROUTES, 2, "\"service\":null");
    assert_int_equal(test_delete(test, WEIR_SERVICES, 1, &result), WEIR_OK);
    assert_true(result.changed);
}

static void a_ca_certificate_in_a_services_list_is_held(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_CA_CERTIFICATES, 1, "\"cert_digest\":\"d\"");
    char id[WEIR_UUID_TEXT + 1];
    char members[256];
    /* One that does not exist is no reason to refuse the service. */
    snprintf(members, sizeof(members),
             "\"ca_certificates\":[\"%s\",\"00000000-0000-0000-0000-0000000000ff\",\"%s\"]",
             test_id_text(1, id), id);
    test_put(test, WEIR_SERVICES, 2, members);
    weir_store_result_t result;
    assert_int_equal(test_delete(test, WEIR_CA_CERTIFICATES, 1, &result), WEIR_CONFLICT);
    assert_int_equal(result.refusal, WEIR_REFUSED_REFERENCED);
    assert_string_equal(result.key, "ca_certificates");
    test_put(test, WEIR_SERVICES, 2, "\"ca_certificates\":[]");
    assert_int_equal(test_delete(test, WEIR_CA_CERTIFICATES, 1, &result), WEIR_OK);
}

static void a_refused_operation_undoes_those_before_it(void **state)
{
    test_store_t *test = *state;
    uint64_t version = test_put(test, WEIR_SERVICES, 1, "\"name\":\"a\",\"tags\":[\"t\"]");
    WEIR_AUTO(json) weir_json_t *other = test_entity(2, "\"name\":\"b\"");
    WEIR_AUTO(json) weir_json_t *renamed = test_entity(1, "\"name\":\"c\"");
    WEIR_AUTO(json) weir_json_t *clash = test_entity(3, "\"name\":\"b\"");
    weir_store_op_t ops[] = {
        { WEIR_STORE_PUT, WEIR_SERVICES, test_id(2), other, WEIR_EXPECT_ABSENT },
        { WEIR_STORE_PUT, WEIR_SERVICES, test_id(1), renamed, version },
        { WEIR_STORE_PUT, WEIR_SERVICES, test_id(3), clash, WEIR_EXPECT_ABSENT },
    };
    weir_store_result_t result;
    assert_int_equal(weir_store_write(test->store, ops, 3, &result, NULL), WEIR_CONFLICT);
    assert_int_equal(result.refusal, WEIR_REFUSED_UNIQUE);
    assert_int_equal(result.op, 2);
    assert_false(test_exists(test, WEIR_SERVICES, 2));
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, 1 << 20);
    weir_row_t row;
    assert_int_equal(
        weir_store_find(test->store, WEIR_SERVICES, "name", WEIR_STR("a"), &arena, &row, NULL),
        WEIR_OK);
    assert_nothing_happened(test, version);
}

/* -- what makes a version ------------------------------------------------------------------- */

static void a_write_that_changes_only_its_timestamps_makes_no_version(void **state)
{
    test_store_t *test = *state;
    uint64_t version =
        test_put(test, WEIR_SERVICES, 1, "\"name\":\"a\",\"created_at\":100,\"updated_at\":100");
    weir_store_result_t result;
    /* PATCH keeps the time of creation, PUT makes both anew. */
    static const char *const same[] = {
        "\"name\":\"a\",\"created_at\":100,\"updated_at\":200",
        "\"name\":\"a\",\"created_at\":300,\"updated_at\":300",
    };
    for (size_t i = 0; i < WEIR_COUNT(same); i++) {
        assert_int_equal(test_write_put(test, WEIR_SERVICES, 1, same[i], version, &result),
                         WEIR_OK);
        assert_false(result.changed);
        assert_int_equal(result.version, version);
    }
    assert_int_equal(test_write_put(test, WEIR_SERVICES, 1,
                                    "\"name\":\"a\",\"created_at\":50,\"updated_at\":400", version,
                                    &result),
                     WEIR_OK);
    assert_true(result.changed); /* the client chose another time of creation */
    assert_int_equal(result.version, version + 1);
}

static void deleting_what_is_not_there_makes_no_version(void **state)
{
    test_store_t *test = *state;
    uint64_t version = weir_store_version(test->store);
    weir_store_result_t result;
    assert_int_equal(test_delete(test, WEIR_SERVICES, 1, &result), WEIR_OK);
    assert_false(result.changed);
    assert_int_equal(result.version, version);
    assert_int_equal(weir_store_version(test->store), version);
}

static void operations_of_one_write_share_a_version_and_may_refer_to_each_other(void **state)
{
    test_store_t *test = *state;
    uint64_t before = weir_store_version(test->store);
    WEIR_AUTO(json) weir_json_t *service = test_entity(1, "");
    WEIR_AUTO(json) weir_json_t *route = test_entity(2, "\"service\":@1");
    weir_store_op_t ops[] = {
        { WEIR_STORE_PUT, WEIR_SERVICES, test_id(1), service, WEIR_EXPECT_ABSENT },
        { WEIR_STORE_PUT, WEIR_ROUTES, test_id(2), route, WEIR_EXPECT_ABSENT },
    };
    weir_store_result_t result;
    test_text_t text;
    assert_int_equal(weir_store_write(test->store, ops, 2, &result, NULL), WEIR_OK);
    assert_int_equal(result.version, before + 1);
    assert_string_equal(test_deltas(test, before, &text), "v2 put services 1, v2 put routes 2");
}

/* -- cascades -------------------------------------------------------------------------------- */

static void a_cascade_follows_its_parent_in_the_log(void **state)
{
    test_store_t *test = *state;
    test_text_t text;
    test_put(test, WEIR_SERVICES, 1, "");
    test_put(test, WEIR_ROUTES, 2, "\"service\":@1");
    test_put(test, WEIR_CONSUMERS, 3, "\"username\":\"u\"");
    test_put(test, WEIR_PLUGINS, 4, "\"name\":\"acl\",\"route\":@2,\"consumer\":@3");
    test_put(test, WEIR_PLUGINS, 5, "\"name\":\"acl\",\"consumer\":@3");
    uint64_t before = test_put(test, WEIR_KEYAUTH_CREDENTIALS, 6, "\"key\":\"k\",\"consumer\":@3");
    weir_store_result_t result;
    assert_int_equal(test_delete(test, WEIR_CONSUMERS, 3, &result), WEIR_OK);
    assert_string_equal(test_deltas(test, before, &text),
                        "v8 delete consumers 3, v8 delete plugins 4, v8 delete plugins 5, "
                        "v8 delete keyauth_credentials 6");
    assert_true(test_exists(test, WEIR_ROUTES, 2));
    assert_int_equal(weir_store_count(test->store, WEIR_PLUGINS), 0);
    /* Keys of what went are free. */
    test_put(test, WEIR_CONSUMERS, 7, "\"username\":\"u\"");
    test_put(test, WEIR_KEYAUTH_CREDENTIALS, 8, "\"key\":\"k\",\"consumer\":@7");
    test_assert_log_adds_up(test);
}

static void a_certificate_takes_its_snis_along(void **state)
{
    test_store_t *test = *state;
    test_text_t text;
    test_put(test, WEIR_CERTIFICATES, 1, "");
    test_put(test, WEIR_SNIS, 2, "\"name\":\"a.test\",\"certificate\":@1");
    uint64_t before = test_put(test, WEIR_SNIS, 3, "\"name\":\"b.test\",\"certificate\":@1");
    weir_store_result_t result;
    assert_int_equal(test_delete(test, WEIR_CERTIFICATES, 1, &result), WEIR_OK);
    assert_string_equal(test_deltas(test, before, &text),
                        "v5 delete certificates 1, v5 delete snis 2, v5 delete snis 3");
}

static void a_certificate_that_a_service_uses_keeps_its_snis(void **state)
{
    test_store_t *test = *state;
    test_put(test, WEIR_CERTIFICATES, 1, "");
    test_put(test, WEIR_SNIS, 2, "\"name\":\"a.test\",\"certificate\":@1");
    uint64_t version = test_put(test, WEIR_SERVICES, 3, "\"client_certificate\":@1");
    weir_store_result_t result;
    assert_int_equal(test_delete(test, WEIR_CERTIFICATES, 1, &result), WEIR_CONFLICT);
    assert_int_equal(result.other, WEIR_SERVICES);
    assert_string_equal(result.key, "client_certificate");
    assert_true(test_exists(test, WEIR_SNIS, 2));
    assert_nothing_happened(test, version);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_written_is_read_by_id_and_by_key),
        TEST(what_is_not_there_is_not_found),
        TEST(a_renamed_row_is_found_by_its_new_key_only),
        TEST(everything_survives_closing),
        TEST(pages_are_ordered_by_id_and_say_whether_more_follow),
        TEST(children_are_listed_by_their_parent),
        TEST(snis_are_listed_by_their_certificate),
        TEST(tags_select_all_of_them_or_any_of_them),
        TEST(tag_rows_are_paged_by_entity_and_ordinal),
        TEST(plugin_names_are_those_in_use),
        TEST(an_id_that_exists_is_refused_as_primary_key),
        TEST(a_row_of_another_version_is_refused_as_changed),
        TEST(a_key_of_another_row_is_refused_and_its_holder_named),
        TEST(a_composite_key_is_unique_too),
        TEST(a_reference_to_nothing_is_refused),
        TEST(a_row_that_others_hold_is_not_deleted),
        TEST(a_ca_certificate_in_a_services_list_is_held),
        TEST(a_refused_operation_undoes_those_before_it),
        TEST(a_write_that_changes_only_its_timestamps_makes_no_version),
        TEST(deleting_what_is_not_there_makes_no_version),
        TEST(operations_of_one_write_share_a_version_and_may_refer_to_each_other),
        TEST(a_cascade_follows_its_parent_in_the_log),
        TEST(a_certificate_takes_its_snis_along),
        TEST(a_certificate_that_a_service_uses_keeps_its_snis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
