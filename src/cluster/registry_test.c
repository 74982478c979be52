/* registry_test.c -- the table of data planes. */
#include "base/clock.h"
#include "cluster/fixture.h"

enum { PURGE_S = 1000 };

static bool connect_from(weir_registry_t *registry, const char *id, const char *ip, int64_t now_ms)
{
    weir_node_facts_t facts = {
        .node_id = weir_str(id),
        .hostname = WEIR_STR("dp-host"),
        .ip = weir_str(ip),
        .version = WEIR_STR("3.9.1"),
        .certificate_expiry_s = 1800000000,
    };
    bool twin = false;
    (void)weir_registry_connected(registry, &facts, now_ms, &twin);
    return twin;
}

static void connect_node(weir_registry_t *registry, const char *id, int64_t now_ms)
{
    connect_from(registry, id, "10.0.0.1", now_ms);
}

/* The row of a node; the caller frees *ret_rows. */
static const weir_json_t *row_of(weir_registry_t *registry, const char *id, int64_t now_ms,
                                 weir_json_t **ret_rows)
{
    assert_int_equal(weir_registry_list(registry, 100, now_ms, ret_rows, NULL), WEIR_OK);
    for (const weir_json_t *row = weir_json_first(*ret_rows); row != NULL;
         row = weir_json_next(row))
        if (weir_str_is(weir_json_string(weir_json_get(row, "id")), id))
            return row;
    return NULL;
}

static double number(const weir_json_t *row, const char *name)
{
    assert_int_equal(weir_json_kind(weir_json_get(row, name)), WEIR_JSON_NUMBER);
    return weir_json_number(weir_json_get(row, name));
}

static void a_node_is_gone_when_its_last_socket_closes(void **state)
{
    weir_registry_t *registry = NULL;
    weir_json_t *rows = NULL;
    size_t known = 0;
    size_t connected = 0;
    (void)state;
    assert_int_equal(weir_registry_new(PURGE_S, &registry, NULL), WEIR_OK);
    connect_node(registry, FIXTURE_NODE, 1000);
    connect_node(registry, FIXTURE_NODE, 1000);
    weir_registry_disconnected(registry, fixture_node(registry, FIXTURE_NODE), 2000);
    weir_registry_count(registry, &known, &connected);
    assert_int_equal(known, 1);
    assert_int_equal(connected, 1);
    weir_registry_disconnected(registry, fixture_node(registry, FIXTURE_NODE), 3000);
    weir_registry_count(registry, &known, &connected);
    assert_int_equal(connected, 0);
    const weir_json_t *row = row_of(registry, FIXTURE_NODE, 13000, &rows);
    assert_false(weir_json_boolean(weir_json_get(row, "connected")));
    assert_int_equal(number(row, "ttl"), PURGE_S - 10);
    weir_json_free(rows);
    weir_registry_free(registry);
}

static void a_row_tells_what_the_node_said(void **state)
{
    weir_registry_t *registry = NULL;
    weir_json_t *rows = NULL;
    (void)state;
    weir_registry_new(PURGE_S, &registry, NULL);
    connect_node(registry, FIXTURE_NODE, 1000);
    weir_registry_seen(registry, fixture_node(registry, FIXTURE_NODE),
                       WEIR_STR("v02_0000000000000000000000000060"), 96, 5000);
    const weir_json_t *row = row_of(registry, FIXTURE_NODE, 6000, &rows);
    assert_int_equal(number(row, "config_version"), 96);
    assert_int_equal(number(row, "newest_version"), 100);
    assert_int_equal(number(row, "lag"), 4);
    assert_int_equal(number(row, "last_seen"), 5);
    assert_int_equal(number(row, "ttl"), PURGE_S);
    assert_true(weir_str_is(weir_json_string(weir_json_get(row, "sync_status")), "normal"));
    assert_true(weir_str_is(weir_json_string(weir_json_get(row, "hostname")), "dp-host"));
    assert_int_equal(number(weir_json_get(row, "cert_details"), "expiry_timestamp"), 1800000000);
    weir_json_free(rows);
    weir_registry_free(registry);
}

static void a_report_is_kept_within_limits(void **state)
{
    weir_registry_t *registry = NULL;
    weir_json_t *rows = NULL;
    WEIR_AUTO(buffer) weir_buffer_t text;
    (void)state;
    weir_buffer_init(&text, 1 << 22);
    weir_buffer_append(&text, WEIR_STR("{\"quarantined_count\":5000,\"last_error\":7,\"extra\":[1],"
                                       "\"quarantined\":[1"));
    for (int i = 0; i < 5000; i++)
        weir_buffer_printf(&text, ",{\"type\":\"routes\",\"id\":\"%d\",\"reason\":%d}", i, i);
    weir_buffer_append(&text, WEIR_STR("]}"));
    weir_buffer_byte(&text, '\0');
    weir_json_t *report = fixture_json(text.data);
    weir_registry_new(PURGE_S, &registry, NULL);
    connect_node(registry, FIXTURE_NODE, 1000);
    weir_registry_report(registry, fixture_node(registry, FIXTURE_NODE), report, 2000);
    weir_registry_report(registry, fixture_node(registry, "nobody"), report, 2000);
    const weir_json_t *row = row_of(registry, FIXTURE_NODE, 3000, &rows);
    assert_int_equal(weir_json_count(weir_json_get(row, "quarantined")), 100);
    assert_int_equal(number(row, "quarantined_count"), 5000);
    assert_true(weir_json_is_null(weir_json_get(row, "last_error")));
    assert_null(weir_json_get(row, "extra"));
    weir_json_free(report);
    weir_json_free(rows);
    weir_registry_free(registry);
}

static void what_is_known_survives_a_restart(void **state)
{
    fixture_store_t f = { 0 };
    weir_registry_t *again = NULL;
    weir_json_t *rows = NULL;
    (void)state;
    fixture_store_open(&f, 1000, FIXTURE_PAYLOAD_MAX, 0);
    connect_node(f.registry, FIXTURE_NODE, 1000);
    connect_node(f.registry, "no-uuid", 1000);
    weir_registry_seen(f.registry, fixture_node(f.registry, FIXTURE_NODE),
                       WEIR_STR("v02_0000000000000000000000000060"), 96, 1000);
    assert_int_equal(weir_registry_save(f.registry, f.store, 10, 1000, NULL), WEIR_OK);
    weir_registry_new(1209600, &again, NULL);
    assert_int_equal(weir_registry_load(again, f.store, 2000, NULL), WEIR_OK);
    const weir_json_t *row = row_of(again, FIXTURE_NODE, 2000, &rows);
    assert_non_null(row);
    assert_int_equal(number(row, "config_version"), 96);
    assert_false(weir_json_boolean(weir_json_get(row, "connected")));
    assert_int_equal(weir_json_count(rows), 1);
    weir_json_free(rows);
    weir_registry_free(again);
    fixture_store_close(&f);
}

static int count_row(void *context, const weir_delta_t *row)
{
    (void)row;
    ++*(size_t *)context;
    return WEIR_OK;
}

static int last_seen_of(void *context, const weir_delta_t *row)
{
    weir_json_t *members = NULL;
    assert_int_equal(weir_json_parse(row->document, &members, NULL), WEIR_OK);
    *(double *)context = weir_json_get_number(members, "last_seen", 0);
    weir_json_free(members);
    return WEIR_OK;
}

/* When its row in the store was written, seconds after `begin_ms`, if it is alive now. */
static double stored_after(fixture_store_t *f, int64_t begin_ms, int64_t after_s)
{
    double seen = 0;
    int64_t now_ms = begin_ms + after_s * 1000;
    weir_registry_seen(f->registry, fixture_node(f->registry, FIXTURE_NODE),
                       WEIR_STR("v02_0000000000000000000000000060"), 96, now_ms);
    assert_int_equal(weir_registry_save(f->registry, f->store, 10, now_ms, NULL), WEIR_OK);
    weir_store_data_planes(f->store, begin_ms, last_seen_of, &seen, NULL);
    return seen - (double)(begin_ms / 1000);
}

static void signs_of_life_cost_a_write_a_minute(void **state)
{
    fixture_store_t f = { 0 };
    int64_t begin_ms = weir_clock_ms() / 1000 * 1000;
    (void)state;
    fixture_store_open(&f, 1000, FIXTURE_PAYLOAD_MAX, 0);
    connect_node(f.registry, FIXTURE_NODE, begin_ms);
    assert_int_equal(stored_after(&f, begin_ms, 0), 0);
    for (int64_t after_s = 5; after_s < 60; after_s += 5)
        assert_int_equal(stored_after(&f, begin_ms, after_s), 0);
    assert_int_equal(stored_after(&f, begin_ms, 60), 60);
    assert_int_equal(stored_after(&f, begin_ms, 65), 60);
    weir_registry_disconnected(f.registry, fixture_node(f.registry, FIXTURE_NODE), begin_ms);
    fixture_store_close(&f);
}

static void who_has_been_away_too_long_is_forgotten(void **state)
{
    fixture_store_t f = { 0 };
    weir_registry_t *registry = NULL;
    size_t known = 0;
    size_t connected = 0;
    size_t stored = 0;
    char id[WEIR_UUID_TEXT + 1];
    int64_t begin_ms = weir_clock_ms(); /* the store has a clock of its own */
    (void)state;
    fixture_store_open(&f, 1000, FIXTURE_PAYLOAD_MAX, 0);
    weir_registry_new(PURGE_S, &registry, NULL);
    for (unsigned i = 0; i < 200; i++) {
        weir_uuid_t uuid;
        fixture_id(i, &uuid);
        weir_uuid_format(&uuid, id);
        connect_node(registry, id, begin_ms);
        if (i > 0)
            weir_registry_disconnected(registry, fixture_node(registry, id), begin_ms);
    }
    assert_int_equal(weir_registry_save(registry, f.store, 256, begin_ms, NULL), WEIR_OK);
    weir_store_data_planes(f.store, begin_ms, count_row, &stored, NULL);
    assert_int_equal(stored, 200);
    int64_t later_ms = begin_ms + PURGE_S * 1000 + 1;
    for (int i = 0; i < 5; i++)
        assert_int_equal(weir_registry_save(registry, f.store, 256, later_ms, NULL), WEIR_OK);
    weir_registry_count(registry, &known, &connected);
    assert_int_equal(known, 1); /* which is still connected */
    weir_registry_free(registry);
    fixture_store_close(&f);
}

static void each_allocation_may_fail_and_no_row_is_lost(void **state)
{
    (void)state;
    for (unsigned n = 1; n < 60; n++) {
        weir_registry_t *registry = NULL;
        weir_json_t *rows = NULL;
        weir_registry_new(PURGE_S, &registry, NULL);
        weir_test_fail_allocation(n);
        connect_node(registry, FIXTURE_NODE, 1000);
        weir_registry_seen(registry, fixture_node(registry, FIXTURE_NODE), WEIR_STR("x"), 1, 1000);
        int rc = weir_registry_list(registry, 1, 1000, &rows, NULL);
        weir_test_fail_allocation(0);
        assert_true(rc == WEIR_OK || rc == WEIR_NO_MEMORY);
        weir_json_free(rc == WEIR_OK ? rows : NULL);
        weir_registry_disconnected(registry, fixture_node(registry, FIXTURE_NODE), 1000);
        weir_registry_free(registry);
    }
}

static void only_connected_nodes_count_and_each_has_its_series(void **state)
{
    static const char other[] = "00000000-0000-4000-8000-000000000002";
    static const char gone[] = "00000000-0000-4000-8000-000000000003";
    weir_registry_t *registry = NULL;
    weir_registry_totals_t totals;
    WEIR_AUTO(json) weir_json_t *report = NULL;
    WEIR_AUTO(buffer) weir_buffer_t out;
    (void)state;
    assert_int_equal(weir_registry_new(PURGE_S, &registry, NULL), WEIR_OK);
    connect_node(registry, FIXTURE_NODE, 1000);
    connect_node(registry, other, 1000);
    connect_node(registry, gone, 1000);
    weir_registry_applied(registry, fixture_node(registry, FIXTURE_NODE), 10, -1, 2000000);
    weir_registry_applied(registry, fixture_node(registry, "00000000-0000-4000-8000-000000000002"),
                          7, -1, 2000000);
    weir_registry_digest(registry, fixture_node(registry, FIXTURE_NODE), 1);
    weir_registry_digest(registry, fixture_node(registry, "00000000-0000-4000-8000-000000000002"),
                         0);
    assert_int_equal(
        weir_json_parse(WEIR_STR("{\"quarantined\":[],\"quarantined_count\":4}"), &report, NULL),
        WEIR_OK);
    weir_registry_report(registry, fixture_node(registry, other), report, 2000);
    weir_registry_report(registry, fixture_node(registry, gone), report, 2000);
    weir_registry_digest(registry, fixture_node(registry, gone), 0);
    weir_registry_disconnected(registry, fixture_node(registry, gone), 3000);
    weir_registry_totals(registry, 10, &totals);
    assert_int_equal(totals.known, 3);
    assert_int_equal(totals.connected, 2);
    assert_int_equal(totals.lagging, 1);
    assert_int_equal(totals.lag_max, 3);
    assert_int_equal(totals.quarantining, 1);
    assert_int_equal(totals.quarantined, 4);
    assert_int_equal(totals.compared, 2);
    assert_int_equal(totals.differing, 1);

    weir_buffer_init(&out, 65536);
    assert_int_equal(weir_registry_node_metrics(registry, 10, 2, &out), WEIR_OK);
    weir_buffer_byte(&out, '\0');
    assert_non_null(strstr(out.data, "\nweir_data_plane_lag_versions{node_id=\"00000000-0000-4000-"
                                     "8000-000000000002\",hostname=\"dp-host\"} 3\n"));
    assert_non_null(strstr(out.data, "000000000003")); /* gone, but not forgotten */
    assert_null(strstr(out.data, FIXTURE_NODE));       /* the limit was two */
    weir_registry_free(registry);
}

static void who_is_connected_from_two_addresses_is_told_once(void **state)
{
    weir_registry_t *registry = NULL;
    (void)state;
    assert_int_equal(weir_registry_new(PURGE_S, &registry, NULL), WEIR_OK);
    assert_false(connect_from(registry, FIXTURE_NODE, "10.0.0.1", 1000));
    assert_false(connect_from(registry, FIXTURE_NODE, "10.0.0.1", 2000)); /* a second socket */
    assert_true(connect_from(registry, FIXTURE_NODE, "10.0.0.2", 3000));
    assert_false(connect_from(registry, FIXTURE_NODE, "10.0.0.1", 4000));
    assert_false(connect_from(registry, FIXTURE_NODE, "10.0.0.3", 5000));
    for (int i = 0; i < 5; i++)
        weir_registry_disconnected(registry, fixture_node(registry, FIXTURE_NODE), 6000);
    assert_false(connect_from(registry, FIXTURE_NODE, "10.0.0.4", 7000)); /* it has moved */
    assert_true(connect_from(registry, FIXTURE_NODE, "10.0.0.5", 8000));
    weir_registry_free(registry);
}

/* What a session holds is its place: forgetting others does not move it, and it is not
 * forgotten before its last socket has closed. */
static void a_place_stays_until_its_last_socket_closes(void **state)
{
    fixture_store_t f;
    bool twin = false;
    (void)state;
    fixture_store_open(&f, 1000, FIXTURE_PAYLOAD_MAX, 0);
    weir_node_facts_t facts = { .node_id = WEIR_STR(FIXTURE_NODE) };
    weir_registry_node_t *first = weir_registry_connected(f.registry, &facts, 1000, &twin);
    weir_registry_node_t *second = weir_registry_connected(f.registry, &facts, 1000, &twin);
    assert_ptr_equal(first, second);
    weir_registry_disconnected(f.registry, first, 1000);
    for (unsigned n = 0; n < 50; n++) {
        char id[16];
        snprintf(id, sizeof(id), "other-%u", n);
        connect_node(f.registry, id, 1000);
        weir_registry_disconnected(f.registry, fixture_node(f.registry, id), 1000);
    }
    int64_t later_ms = 1000 + FIXTURE_PURGE_S * INT64_C(1000) * 2;
    assert_int_equal(weir_registry_save(f.registry, f.store, 10, later_ms, NULL), WEIR_OK);
    size_t known = 0;
    size_t connected = 0;
    weir_registry_count(f.registry, &known, &connected);
    assert_int_equal(known, 1);
    weir_registry_applied(f.registry, second, 7, -1, later_ms * 1000);
    assert_int_equal(fixture_node(f.registry, FIXTURE_NODE)->version, 7);
    weir_registry_disconnected(f.registry, second, later_ms);
    weir_registry_disconnected(f.registry, NULL, later_ms); /* there was no place for it */
    fixture_store_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_connected_nodes_count_and_each_has_its_series),
        cmocka_unit_test(a_node_is_gone_when_its_last_socket_closes),
        cmocka_unit_test(a_row_tells_what_the_node_said),
        cmocka_unit_test(a_place_stays_until_its_last_socket_closes),
        cmocka_unit_test(who_is_connected_from_two_addresses_is_told_once),
        cmocka_unit_test(a_report_is_kept_within_limits),
        cmocka_unit_test(what_is_known_survives_a_restart),
        cmocka_unit_test(signs_of_life_cost_a_write_a_minute),
        cmocka_unit_test(who_has_been_away_too_long_is_forgotten),
        cmocka_unit_test(each_allocation_may_fail_and_no_row_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
