/* classic_export_test.c -- the classic full sync: what a control plane exports, and when. */
#include "cluster/classic_fixture.h"
#include "cluster/compat.h"

static const weir_json_t *rows(const weir_json_t *push, const char *set)
{
    return weir_json_get(weir_json_get(push, "config_table"), set);
}

static void an_export_has_what_a_data_plane_needs(void **state)
{
    (void)state;
    char hash[33];
    fixture_store_t store = { 0 };
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    weir_json_t *push = fixture_exported(&store, weir_compat_newest(), hash);
    assert_true(weir_str_is(weir_json_get_string(push, "type", WEIR_STR("")), "reconfigure"));
    assert_true(weir_json_get_number(push, "timestamp", 0) == 1700000000.123);
    assert_int_equal(weir_json_count(rows(push, "workspaces")), 1);
    assert_int_equal(weir_json_count(rows(push, "parameters")), 1);
    assert_null(rows(push, "services"));
    const weir_json_t *hashes = weir_json_get(push, "hashes");
    assert_true(
        weir_str_is(weir_json_get_string(hashes, "routes", WEIR_STR("")), WEIR_CLASSIC_NO_HASH));
    weir_json_free(push);
    fixture_store_close(&store);
}

static void keys_are_bare_and_disabled_rows_stay_here(void **state)
{
    (void)state;
    char hash[33];
    char after[33];
    fixture_store_t store = { 0 };
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_put_row(&store, WEIR_SERVICES, 1, "\"name\":\"a\",\"enabled\":true");
    fixture_put_row(&store, WEIR_ROUTES, 11,
                    "\"name\":\"r\",\"service\":{\"id\":\"" FIXTURE_ID(01) "\"}");
    weir_json_t *push = fixture_exported(&store, weir_compat_newest(), hash);
    assert_true(weir_str_is(
        weir_json_get_string(weir_json_first(rows(push, "routes")), "service", WEIR_STR("")),
        FIXTURE_ID(01)));
    weir_json_free(push);
    /* All of these hang on a disabled service. */
    fixture_put_row(&store, WEIR_SERVICES, 2, "\"name\":\"b\",\"enabled\":false");
    fixture_put_row(&store, WEIR_ROUTES, 12,
                    "\"name\":\"s\",\"service\":{\"id\":\"" FIXTURE_ID(02) "\"}");
    fixture_put_row(
        &store, WEIR_PLUGINS, 21,
        "\"name\":\"key-auth\",\"config\":{},\"route\":{\"id\":\"" FIXTURE_ID(12) "\"}");
    fixture_put_row(
        &store, WEIR_PLUGINS, 22,
        "\"name\":\"key-auth\",\"config\":{},\"service\":{\"id\":\"" FIXTURE_ID(02) "\"}");
    fixture_put_row(&store, WEIR_PLUGINS, 23, "\"name\":\"key-auth\",\"enabled\":false");
    push = fixture_exported(&store, weir_compat_newest(), after);
    assert_int_equal(weir_json_count(rows(push, "services")), 1);
    assert_int_equal(weir_json_count(rows(push, "routes")), 1);
    assert_null(rows(push, "plugins"));
    assert_string_equal(hash, after); /* nothing that a data plane gets has changed */
    weir_json_free(push);
    fixture_store_close(&store);
}

static void many_disabled_services_are_left_out(void **state)
{
    (void)state;
    enum { SERVICES = 300 };
    char hash[33];
    fixture_store_t store = { 0 };
    fixture_store_open(&store, 10000, FIXTURE_PAYLOAD_MAX, 0);
    for (unsigned i = 1; i <= SERVICES; i++) {
        char members[256];
        snprintf(members, sizeof(members), "\"name\":\"s%u\",\"enabled\":%s", i,
                 i % 3 == 0 ? "true" : "false");
        fixture_put_row(&store, WEIR_SERVICES, i, members);
        char text[WEIR_UUID_TEXT + 1];
        fixture_number_id(i, text);
        snprintf(members, sizeof(members), "\"name\":\"r%u\",\"service\":{\"id\":\"%s\"}", i, text);
        fixture_put_row(&store, WEIR_ROUTES, 1000 + i, members);
    }
    weir_json_t *push = fixture_exported(&store, weir_compat_newest(), hash);
    assert_int_equal(weir_json_count(rows(push, "services")), SERVICES / 3);
    assert_int_equal(weir_json_count(rows(push, "routes")), SERVICES / 3);
    weir_json_free(push);
    fixture_store_close(&store);
}

static void older_levels_get_other_rows_and_the_same_hash(void **state)
{
    (void)state;
    char hash[33];
    char older[33];
    fixture_store_t store = { 0 };
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_put_row(&store, WEIR_PLUGINS, 1,
                    "\"name\":\"key-auth\",\"instance_name\":null,\"config\":{\"realm\":\"r\"}");
    weir_json_free(fixture_exported(&store, weir_compat_newest(), hash));
    weir_json_t *push = fixture_exported(&store, weir_compat_level(3001001000), older);
    const weir_json_t *plugin = weir_json_first(rows(push, "plugins"));
    assert_null(weir_json_get(weir_json_get(plugin, "config"), "realm"));
    assert_null(weir_json_get(plugin, "instance_name"));
    assert_string_equal(hash, older);
    weir_json_free(push);
    fixture_store_close(&store);
}

static void a_frame_is_made_once_and_kept_until_a_newer_one(void **state)
{
    (void)state;
    fixture_store_t store = { 0 };
    weir_classic_exporter_t *exporter = NULL;
    weir_classic_frame_t *frames[4];
    uint64_t made = 0;
    uint64_t reused = 0;
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    uint64_t version = fixture_put(&store, 1, "t");
    weir_classic_exporter_options_t options = { store.store, FIXTURE_PAYLOAD_MAX };
    assert_int_equal(weir_classic_exporter_new(&options, &exporter, NULL), WEIR_OK);
    assert_null(weir_classic_ready(exporter, 7, version));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(weir_classic_export(exporter, 7, version, 0, &frames[i], NULL), WEIR_OK);
    assert_ptr_equal(frames[0], frames[2]);
    assert_int_equal(weir_classic_frame_version(frames[0]), version);
    uint64_t newer = fixture_put(&store, 2, "t");
    frames[3] = weir_classic_ready(exporter, 7, version); /* good enough for who waits for it */
    assert_ptr_equal(frames[3], frames[0]);
    assert_null(weir_classic_ready(exporter, 7, newer));
    weir_classic_frame_release(frames[3]);
    assert_int_equal(weir_classic_export(exporter, 9, newer, 0, &frames[3], NULL), WEIR_OK);
    assert_null(weir_classic_ready(exporter, 7, version)); /* an old one does not stay */
    weir_classic_exporter_count(exporter, &made, &reused);
    assert_int_equal(made, 2);
    assert_int_equal(reused, 3);
    for (size_t i = 0; i < 4; i++)
        weir_classic_frame_release(frames[i]);
    weir_classic_exporter_free(exporter);
    fixture_store_close(&store);
}

static void a_set_that_does_not_fit_is_named_and_not_tried_again(void **state)
{
    (void)state;
    fixture_store_t store = { 0 };
    weir_classic_exporter_t *exporter = NULL;
    weir_classic_frame_t *frame = NULL;
    weir_error_t err = { 0 };
    uint64_t version = 0;
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    for (unsigned i = 1; i <= 100; i++)
        version = fixture_put(&store, i, "tag");
    weir_classic_exporter_options_t options = { store.store, 1000 };
    assert_int_equal(weir_classic_exporter_new(&options, &exporter, NULL), WEIR_OK);
    uint64_t newer = version;
    for (int i = 0; i < 2; i++) { /* the second time it would fit, if it were tried */
        err = (weir_error_t){ 0 };
        assert_int_equal(weir_classic_export(exporter, 7, version, 0, &frame, &err),
                         WEIR_TOO_LARGE);
        assert_string_equal(err.field, "cluster_max_payload");
        assert_null(frame);
        for (unsigned n = 1; n <= 100 && i == 0; n++)
            newer = fixture_delete(&store, n);
    }
    assert_int_equal(weir_classic_export(exporter, 7, newer, 0, &frame, &err), WEIR_OK);
    weir_classic_frame_release(frame);
    weir_classic_exporter_free(exporter);
    fixture_store_close(&store);
}

static void every_allocation_of_an_export_may_fail(void **state)
{
    (void)state;
    fixture_store_t store = { 0 };
    weir_classic_exporter_t *exporter = NULL;
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_put_row(&store, WEIR_SERVICES, 1, "\"name\":\"a\",\"enabled\":false");
    fixture_put_row(&store, WEIR_PLUGINS, 2, "\"name\":\"key-auth\",\"config\":{}");
    weir_classic_exporter_options_t options = { store.store, FIXTURE_PAYLOAD_MAX };
    int rc = WEIR_NO_MEMORY;
    for (unsigned n = 1; rc != WEIR_OK && n < 2000; n++) {
        weir_classic_frame_t *frame = NULL;
        assert_int_equal(weir_classic_exporter_new(&options, &exporter, NULL), WEIR_OK);
        weir_test_fail_allocation(n);
        rc = weir_classic_export(exporter, 0, 1, 0, &frame, NULL);
        weir_test_fail_allocation(0);
        assert_true((rc == WEIR_OK) == (frame != NULL));
        weir_classic_frame_release(frame);
        weir_classic_exporter_free(exporter);
    }
    assert_int_equal(rc, WEIR_OK);
    fixture_store_close(&store);
}

/* -- rounds ---------------------------------------------------------------------------------- */

static void a_first_change_is_due_at_once_and_the_next_after_the_pause(void **state)
{
    (void)state;
    weir_classic_rounds_t rounds = { .pause_ms = 5000, .pushed = 3 };
    assert_int_equal(weir_classic_due(&rounds, 3), INT64_MAX);
    assert_true(weir_classic_due(&rounds, 4) <= 100000);
    weir_classic_began(&rounds, 4, 100000);
    assert_int_equal(weir_classic_due(&rounds, 4), INT64_MAX);
    assert_int_equal(weir_classic_due(&rounds, 9), 105000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_export_has_what_a_data_plane_needs),
        cmocka_unit_test(keys_are_bare_and_disabled_rows_stay_here),
        cmocka_unit_test(many_disabled_services_are_left_out),
        cmocka_unit_test(older_levels_get_other_rows_and_the_same_hash),
        cmocka_unit_test(a_frame_is_made_once_and_kept_until_a_newer_one),
        cmocka_unit_test(a_set_that_does_not_fit_is_named_and_not_tried_again),
        cmocka_unit_test(every_allocation_of_an_export_may_fail),
        cmocka_unit_test(a_first_change_is_due_at_once_and_the_next_after_the_pause),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
