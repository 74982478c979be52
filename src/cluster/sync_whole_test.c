/* sync_whole_test.c -- both ends of weir.sync.v1, joined: sets that come whole, in pages,
 * and differences that are healed. In the end both hold the same, to the byte. */
#include "cluster/sync_plane.h"

static void pages_go_on_where_they_stopped(void **state)
{
    (void)state;
    for (unsigned run = 0; run < RUNS; run++) {
        plane_t *p = plane_open(wire_seed(run), 100000, run % 2);
        for (unsigned i = 0; i < ENTITIES; i++)
            fixture_put(&p->wire.store, i, "first");
        plane_random_run(p, 60, 0);
        plane_assert_same(p);
        assert_int_equal(p->switches, 1);
        /* As many pages as one pass has, and those that were cut off on their way. */
        assert_true(p->pages >= 5 && p->pages <= 5 + 3 * ENTITIES / 10);
        plane_close(p);
    }
}

static void who_is_behind_the_log_gets_pages(void **state)
{
    (void)state;
    plane_t *p = plane_open(wire_seed(0), 64, true);
    plane_random_run(p, 0, 0);
    wire_cut(&p->wire);
    for (int i = 0; i < 400; i++)
        plane_write(p);
    size_t before = p->switches;
    plane_settle(p);
    plane_assert_same(p);
    assert_int_equal(p->switches, before + 1);
    assert_string_equal(p->reason, "behind");
    plane_close(p);
}

static void who_is_ahead_gets_pages(void **state)
{
    (void)state;
    plane_t *p = plane_open(wire_seed(0), 1000, true);
    plane_random_run(p, 0, 0);
    wire_cut(&p->wire);
    p->live.version += 1000;
    plane_settle(p);
    plane_assert_same(p);
    assert_string_equal(p->reason, "ahead");
    plane_close(p);
}

static void what_differs_is_found_and_healed_alone(void **state)
{
    (void)state;
    for (unsigned run = 0; run < RUNS; run++) {
        plane_t *p = plane_open(wire_seed(run), 100000, run % 2);
        plane_random_run(p, 0, 0);
        size_t rows = plane_corrupt(p, 1 + run % 4);
        size_t stages = p->stages;
        assert_true(rows > 0);
        fixture_put(&p->wire.store, 999, "news"); /* the next ack shows it */
        wire_notify(&p->wire);
        plane_settle(p);
        plane_assert_same(p);
        assert_int_equal(p->heals, 1);
        assert_int_equal(p->healed, rows);
        assert_int_equal(p->stages, stages);
        assert_int_equal(p->wire.store.counters.mismatches, 1);
        assert_int_equal(p->wire.store.counters.healed_entities, rows);
        assert_int_equal(weir_client_mismatches(p->wire.client), 1);
        assert_int_equal(weir_client_digest_equal(p->wire.client), 1);
        assert_string_equal(weir_client_protocol(p->wire.client), "weir.sync.v1");
        assert_int_equal(weir_session_protocol(p->wire.host.session), WEIR_SESSION_WEIR_V1);
        assert_non_null(strstr(p->wire.events, "a digest differs"));
        plane_close(p);
    }
}

static void healing_goes_on_under_writes_cuts_and_faults(void **state)
{
    (void)state;
    for (unsigned run = 0; run < RUNS; run++) {
        plane_t *p = plane_open(wire_seed(run), 100000, run % 2);
        plane_random_run(p, 0, 0);
        plane_corrupt(p, 3);
        plane_random_run(p, 200, 300);
        plane_assert_same(p);
        assert_true(p->heals > 0);
        plane_close(p);
    }
}

static void a_restored_database_is_noticed_by_the_digest(void **state)
{
    (void)state;
    plane_t *p = plane_open(wire_seed(0), 1000, true);
    plane_random_run(p, 0, 0);
    wire_cut(&p->wire);
    for (size_t i = 0; i < ROWS; i++) { /* it held something else at this version */
        row_t *row = &p->live.rows[i];
        if (row->text != NULL && strcmp(row->type, "consumers") == 0)
            row->text[strlen(row->text) - 2] ^= 1;
    }
    plane_settle(p);
    plane_assert_same(p);
    plane_close(p);
}

static void a_stage_of_another_history_is_thrown_away(void **state)
{
    (void)state;
    plane_t *p = plane_open(wire_seed(0), 1000, true);
    for (unsigned i = 0; i < ENTITIES; i++)
        fixture_put(&p->wire.store, i, "first");
    for (int i = 0; i < 100000 && !p->pages_done; i++)
        wire_step(&p->wire);
    assert_true(p->has_stage && p->pages_done);
    p->seen += 1000;
    plane_restart(p);
    plane_settle(p);
    plane_assert_same(p);
    assert_int_equal(p->switches, 1);
    assert_non_null(strstr(p->wire.events, "another history"));
    plane_close(p);
}

/* A page is put while the next one is under way: that one was taken says nothing yet. */
static void pages_that_are_never_put_are_tried_less_and_less_often(void **state)
{
    enum { MS = 60000, TRIES_MIN = 12, TRIES_MAX = 20 }; /* after 100 ms, 200, ... 5,000, 5,000 */
    (void)state;
    plane_t *p = plane_open(wire_seed(0), 1000, true);
    for (unsigned i = 0; i < ENTITIES; i++)
        fixture_put(&p->wire.store, i, "first");
    p->fails_late = true;
    for (int64_t end = p->wire.now_ms + MS; p->wire.now_ms < end;)
        wire_step(&p->wire);
    assert_int_equal(p->switches, 0);
    assert_true(p->refused >= TRIES_MIN && p->refused <= TRIES_MAX);
    p->fails_late = false;
    plane_settle(p);
    plane_assert_same(p);
    plane_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_go_on_where_they_stopped),
        cmocka_unit_test(who_is_behind_the_log_gets_pages),
        cmocka_unit_test(who_is_ahead_gets_pages),
        cmocka_unit_test(what_differs_is_found_and_healed_alone),
        cmocka_unit_test(healing_goes_on_under_writes_cuts_and_faults),
        cmocka_unit_test(a_restored_database_is_noticed_by_the_digest),
        cmocka_unit_test(a_stage_of_another_history_is_thrown_away),
        cmocka_unit_test(pages_that_are_never_put_are_tried_less_and_less_often),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
