/* sync_pair_test.c -- both ends of weir.sync.v1, joined: deltas and their acks. In the end
 * the data plane holds the control plane's set, to the byte. */
#include "cluster/sync_plane.h"

static void deltas_alone_keep_both_ends_the_same(void **state)
{
    (void)state;
    for (unsigned run = 0; run < RUNS; run++) {
        plane_t *p = plane_open(wire_seed(run), 100000, run % 2);
        plane_random_run(p, 0, 0);
        plane_assert_same(p);
        assert_int_equal(p->stages, 1); /* the first */
        assert_string_equal(p->reason, "unknown");
        assert_true(p->batches > 5);
        assert_int_equal(p->heals, 0);
        assert_int_equal(p->wire.store.counters.mismatches, 0);
        plane_close(p);
    }
}

static void cuts_and_faults_cost_no_second_set(void **state)
{
    (void)state;
    for (unsigned run = 0; run < RUNS; run++) {
        plane_t *p = plane_open(wire_seed(run), 100000, run % 2);
        plane_random_run(p, 200, 300);
        plane_assert_same(p);
        assert_int_equal(p->switches, 1);
        assert_int_equal(p->heals, 0);
        assert_int_equal(p->wire.store.counters.mismatches, 0);
        plane_close(p);
    }
}

static void a_lone_change_needs_no_time(void **state)
{
    (void)state;
    plane_t *p = plane_open(wire_seed(0), 100000, true);
    plane_settle(p);
    int64_t before_ms = p->wire.now_ms;
    plane_change(p);
    assert_int_equal(p->wire.host.wants_count, 1);
    assert_int_equal(fixture_host_answer(&p->wire.host, p->wire.now_ms), WEIR_OK);
    wire_deliver_down(&p->wire, 1 << 20); /* one way: no question is asked */
    plane_assert_same(p);
    wire_deliver_up(&p->wire, 1 << 20);
    assert_int_equal(p->wire.now_ms, before_ms);
    assert_int_equal(p->wire.store.counters.mismatches, 0);
    plane_close(p);
}

static void many_changes_go_as_one_batch_after_the_ack(void **state)
{
    (void)state;
    plane_t *p = plane_open(wire_seed(0), 100000, true);
    plane_settle(p);
    size_t batches = p->batches;
    plane_change(p);
    assert_int_equal(fixture_host_answer(&p->wire.host, p->wire.now_ms), WEIR_OK);
    for (int i = 0; i < 10; i++)
        plane_change(p);
    assert_int_equal(p->wire.host.wants_count, 0); /* one is under way */
    plane_settle(p);
    plane_assert_same(p);
    assert_int_equal(p->batches, batches + 2);
    plane_close(p);
}

static void what_cannot_be_applied_is_tried_again_ever_more_slowly(void **state)
{
    (void)state;
    plane_t *p = plane_open(wire_seed(0), 100000, true);
    plane_settle(p);
    p->fails = true;
    plane_change(p);
    int64_t begin_ms = p->wire.now_ms;
    while (p->wire.now_ms - begin_ms < 60000) {
        p->wire.now_ms += 10;
        wire_deliver_up(&p->wire, 1 << 20);
        if (p->wire.host.wants_count > 0)
            assert_int_equal(fixture_host_answer(&p->wire.host, p->wire.now_ms), WEIR_OK);
        wire_deliver_down(&p->wire, 1 << 20);
        wire_tick(&p->wire);
    }
    assert_true(p->refused >= 14 && p->refused <= 19);
    assert_non_null(strstr(p->wire.host.events, "no space on the disk"));
    p->fails = false;
    plane_settle(p);
    plane_assert_same(p);
    assert_int_equal(p->stages, 1);
    plane_close(p);
}

static void who_never_acknowledges_is_closed(void **state)
{
    (void)state;
    plane_t *p = plane_open(wire_seed(0), 100000, true);
    plane_settle(p);
    plane_change(p);
    assert_int_equal(fixture_host_answer(&p->wire.host, p->wire.now_ms), WEIR_OK);
    weir_error_t err = { 0 };
    int rc = WEIR_OK;
    for (int i = 0; i < 7 && rc == WEIR_OK; i++) {
        WEIR_AUTO(buffer) weir_buffer_t ping;
        weir_buffer_init(&ping, 64);
        fixture_frame(&ping, WEIR_FRAME_PING, true, WEIR_STR(""));
        p->wire.now_ms += 10000; /* alive, but silent in this */
        rc = weir_session_input(p->wire.host.session, weir_buffer_str(&ping), p->wire.now_ms, &err);
        if (rc == WEIR_OK)
            rc = weir_session_tick(p->wire.host.session, p->wire.now_ms, &err);
    }
    assert_int_equal(rc, WEIR_CLOSED);
    assert_non_null(strstr(err.reason, "no ack"));
    plane_close(p);
}

static void an_idle_connection_lives_and_costs_no_spinning(void **state)
{
    size_t turns = 0;
    (void)state;
    plane_t *p = plane_open(wire_seed(0), 100000, true);
    plane_settle(p);
    int64_t end_ms = p->wire.now_ms + 600000;
    while (p->wire.now_ms < end_ms) {
        int64_t next = weir_client_deadline(p->wire.client);
        p->wire.now_ms = next > p->wire.now_ms ? next : p->wire.now_ms + 1;
        wire_tick(&p->wire);
        assert_true(p->wire.connected);
        wire_deliver_up(&p->wire, 1 << 20);
        wire_deliver_down(&p->wire, 1 << 20);
        turns++;
    }
    assert_true(turns < 60);
    plane_close(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deltas_alone_keep_both_ends_the_same),
        cmocka_unit_test(cuts_and_faults_cost_no_second_set),
        cmocka_unit_test(a_lone_change_needs_no_time),
        cmocka_unit_test(many_changes_go_as_one_batch_after_the_ack),
        cmocka_unit_test(what_cannot_be_applied_is_tried_again_ever_more_slowly),
        cmocka_unit_test(who_never_acknowledges_is_closed),
        cmocka_unit_test(an_idle_connection_lives_and_costs_no_spinning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
