/* classic_client_test.c -- the classic full sync: a data plane's end, and both ends joined.
 * What comes from outside and is wrong: classic_garbage_test.c. */
#include "cluster/classic_fixture.h"

static void a_pair_agrees_on_the_set(void **state)
{
    (void)state;
    fixture_store_t store = { 0 };
    fixture_classic_t host;
    fixture_plane_t plane;
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_put(&store, 1, "x");
    fixture_classic_open(&host, &store, "3.9.1", 0);
    fixture_plane_open(&plane, 0);
    fixture_join(&host, &plane, 10);
    assert_int_equal(plane.applied, 1);
    assert_int_equal(plane.rows, 3); /* workspace, parameter, consumer */
    assert_string_equal(weir_classic_client_hash(plane.client), host.hash);
    weir_classic_session_push(host.session, fixture_put(&store, 2, "x"), 20);
    fixture_join(&host, &plane, 20);
    assert_int_equal(plane.applied, 2);
    assert_int_equal(plane.rows, 4);
    fixture_plane_close(&plane);
    fixture_classic_close(&host, 30);
    fixture_store_close(&store);
}

static const char *const control =
    "{\"type\":\"reconfigure\",\"config_hash\":\"%s\",\"config_table\":{\"_format_version\":\"%s\","
    "\"workspaces\":[],\"consumers\":[{\"username\":\"%s\"}],\"routes\":[{\"name\":\"r\","
    "\"paths\":[\"/a\",\"~/b\",\"/c(d)\"],\"service\":\"svc\"},{\"service\":{\"id\":\"x\"}},"
    "{\"service\":\"nobody\"}],\"services\":[{\"name\":\"svc\",\"id\":\"" FIXTURE_ID(07) "\"}]}}";

static void push_text(fixture_plane_t *plane, const char *hash, const char *format,
                      const char *user, int64_t now)
{
    char text[2048];
    snprintf(text, sizeof(text), control, hash, format, user);
    fixture_plane_push(plane, text, now);
}

static const weir_json_t *row_named(const fixture_plane_t *plane, const char *type, size_t index)
{
    const weir_json_t *list = weir_json_get(plane->table, type);
    const weir_json_t *row = weir_json_first(list);
    while (index-- > 0)
        row = weir_json_next(row);
    return row;
}

static void rows_are_completed_as_the_original_does(void **state)
{
    (void)state;
    fixture_plane_t plane;
    fixture_plane_open(&plane, 0);
    push_text(&plane, "h1", "2.1", "u", 10);
    assert_int_equal(plane.applied, 1);
    assert_string_equal(weir_classic_client_hash(plane.client), "h1");
    /* A name became an id, what is no name stays to be refused, an object stays. */
    const weir_json_t *second = row_named(&plane, "routes", 0);
    assert_true(weir_str_is(
        weir_json_get_string(weir_json_get(second, "service"), "id", WEIR_STR("")), "x"));
    const weir_json_t *first = row_named(&plane, "routes", 1);
    assert_true(weir_str_is(
        weir_json_get_string(weir_json_get(first, "service"), "id", WEIR_STR("")), FIXTURE_ID(07)));
    const weir_json_t *third = row_named(&plane, "routes", 2);
    assert_true(weir_str_is(weir_json_get_string(third, "service", WEIR_STR("")), "nobody"));
    /* Paths of the old format that look like one become regular expressions. */
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 4096);
    weir_json_print(weir_json_get(first, "paths"), &text);
    assert_true(weir_str_is(weir_buffer_str(&text), "[\"/a\",\"~/b\",\"~/c(d)\"]"));
    /* An id that follows from the name (E), and the workspace that must be. */
    const weir_json_t *consumer = row_named(&plane, "consumers", 0);
    weir_uuid_t id;
    assert_int_equal(weir_uuid_parse(weir_json_get_string(consumer, "id", WEIR_STR("")), &id),
                     WEIR_OK);
    assert_true(weir_str_is(
        weir_json_get_string(row_named(&plane, "workspaces", 0), "name", WEIR_STR("")), "default"));
    char before[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&id, before);
    push_text(&plane, "h2", "3.0", "u", 20);
    assert_true(weir_str_is(
        weir_json_get_string(row_named(&plane, "consumers", 0), "id", WEIR_STR("")), before));
    fixture_plane_close(&plane);
}

static void an_equal_hash_applies_nothing_and_is_said(void **state)
{
    (void)state;
    fixture_plane_t plane;
    fixture_plane_open(&plane, 0);
    push_text(&plane, "same", "3.0", "a", 10);
    assert_string_equal(fixture_plane_pings(&plane), "same\n");
    push_text(&plane, "same", "3.0", "b", 20);
    assert_int_equal(plane.applied, 1);
    assert_string_equal(fixture_plane_pings(&plane), "same\n");
    fixture_plane_close(&plane);
}

static void a_push_without_hash_has_one_of_its_rows(void **state)
{
    (void)state;
    static const char push[] =
        "{\"type\":\"reconfigure\",\"timestamp\":%d,\"config_table\":{"
        "\"_format_version\":\"3.0\",\"consumers\":[{\"username\":\"%s\"}]}}";
    char text[512];
    char first[WEIR_CLASSIC_HASH_MAX + 1];
    fixture_plane_t plane;
    fixture_plane_open(&plane, 0);
    snprintf(text, sizeof(text), push, 1, "a");
    fixture_plane_push(&plane, text, 10);
    snprintf(first, sizeof(first), "%s", weir_classic_client_hash(plane.client));
    assert_int_equal(strlen(first), 32);
    snprintf(text, sizeof(text), push, 2, "a");
    fixture_plane_push(&plane, text, 20);
    assert_int_equal(plane.applied, 1); /* the time alone is no change */
    snprintf(text, sizeof(text), push, 2, "b");
    fixture_plane_push(&plane, text, 30);
    assert_int_equal(plane.applied, 2);
    assert_string_not_equal(first, weir_classic_client_hash(plane.client));
    fixture_plane_close(&plane);
}

static void what_cannot_be_applied_now_is_tried_again(void **state)
{
    (void)state;
    fixture_plane_t plane;
    fixture_plane_open(&plane, 0);
    plane.fails = WEIR_FULL;
    push_text(&plane, "h", "3.0", "a", 10);
    assert_int_equal(plane.applied, 0);
    assert_string_equal(fixture_plane_pings(&plane), "");
    plane.fails = WEIR_OK;
    assert_int_equal(weir_classic_client_tick(plane.client, 9000, NULL), WEIR_OK);
    assert_int_equal(plane.applied, 0);
    assert_true(weir_classic_client_deadline(plane.client) <= 10010);
    assert_int_equal(weir_classic_client_tick(plane.client, 10010, NULL), WEIR_OK);
    assert_int_equal(plane.applied, 1);
    assert_string_equal(fixture_plane_pings(&plane), "h\n");
    fixture_plane_close(&plane);
}

static void pushes_are_refused_or_end_the_connection(void **state)
{
    (void)state;
#define TABLE(members) "{\"type\":\"reconfigure\",\"config_table\":{" members "}}"
    static const struct {
        const char *text;
        int rc; /* of the tick */
    } pushes[] = {
        { TABLE("\"consumers\":[]"), WEIR_OK },
        { TABLE("\"_format_version\":\"4.0\""), WEIR_OK },
        { TABLE("\"_format_version\":3.0"), WEIR_OK },
        { TABLE("\"_format_version\":\"3.0\",\"gizmo\":7"), WEIR_OK },
        { TABLE("\"_format_version\":\"3.0\",\"routes\":null"), WEIR_OK },
        { "{\"type\":\"hello\"}", WEIR_OK },
        { "{}", WEIR_OK },
        { TABLE("\"_format_version\":\"3.0\",\"consumers\":[7]"), WEIR_CLOSED },
        { TABLE("\"_format_version\":\"3.0\",\"consumers\":[{\"a\"}]"), WEIR_CLOSED },
        { TABLE("\"_format_version\":\"3.0\",\"consumers\":[{}"), WEIR_CLOSED },
        { TABLE("\"_format_version\":\"3.0\"},\"config_table\":{"), WEIR_CLOSED },
        { "[]", WEIR_CLOSED },
        { "7", WEIR_CLOSED },
        { "", WEIR_CLOSED },
        { "{\"type\":\"reconfigure\"} {}", WEIR_CLOSED },
        { "{\"type\":\"reconfigure\"", WEIR_CLOSED },
        { "{\"type\" \"reconfigure\"}", WEIR_CLOSED },
        { "{\"type\":}", WEIR_CLOSED },
        { "{,}", WEIR_CLOSED },
        { "{\"a\":1,}", WEIR_CLOSED },
    };
    for (size_t i = 0; i < WEIR_COUNT(pushes); i++) {
        fixture_plane_t plane;
        fixture_plane_open(&plane, 0);
        int rc = fixture_plane_push(&plane, pushes[i].text, 10);
        if (rc != pushes[i].rc || plane.applied != 0)
            fail_msg("%s: %d, applied %zu", pushes[i].text, rc, plane.applied);
        assert_string_equal(weir_classic_client_hash(plane.client), WEIR_CLASSIC_NO_HASH);
        fixture_plane_close(&plane);
    }
}

static void a_client_pings_and_ends_when_nobody_answers(void **state)
{
    (void)state;
    fixture_plane_t plane;
    fixture_plane_open(&plane, 0);
    assert_string_equal(fixture_plane_pings(&plane), WEIR_CLASSIC_NO_HASH "\n"); /* at once */
    assert_int_equal(weir_classic_client_tick(plane.client, 29999, NULL), WEIR_OK);
    assert_string_equal(fixture_plane_pings(&plane), "");
    assert_int_equal(weir_classic_client_tick(plane.client, 30000, NULL), WEIR_OK);
    assert_string_equal(fixture_plane_pings(&plane), WEIR_CLASSIC_NO_HASH "\n");
    assert_int_equal(weir_classic_client_tick(plane.client, 44999, NULL), WEIR_OK);
    assert_int_equal(weir_classic_client_tick(plane.client, 45000, NULL), WEIR_CLOSED);
    fixture_plane_close(&plane);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pair_agrees_on_the_set),
        cmocka_unit_test(rows_are_completed_as_the_original_does),
        cmocka_unit_test(an_equal_hash_applies_nothing_and_is_said),
        cmocka_unit_test(a_push_without_hash_has_one_of_its_rows),
        cmocka_unit_test(what_cannot_be_applied_now_is_tried_again),
        cmocka_unit_test(pushes_are_refused_or_end_the_connection),
        cmocka_unit_test(a_client_pings_and_ends_when_nobody_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
