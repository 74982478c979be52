/* pair_test.c -- both ends joined by pipes of bytes: cut into random pieces, cut
 * off at random, with writes in between. In the end both hold the same set.
 *
 * WEIR_SEED repeats a run; a failure prints its seed. */
#include "cluster/pair.h"

enum { ENTITIES = 40, TAG_BYTES = 24, STEPS = 3000, RUNS = 12 };

typedef struct set {
    char tags[ENTITIES][TAG_BYTES]; /* empty: there is no such consumer */
} set_t;

typedef struct pair {
    wire_t wire; /* first: the callbacks of the wire see it */
    set_t truth, held;
    bool plain; /* the peer is no Weir */
    weir_dialect_t dialect;
    bool apply_fails;
    size_t fulls, increments, refused, reports;
} pair_t;

/* -- the client's host -------------------------------------------------------------------- */

static unsigned number_of(weir_str_t id)
{
    weir_uuid_t uuid;
    assert_int_equal(weir_uuid_parse(id, &uuid), WEIR_OK);
    return (unsigned)uuid.bytes[14] << 8 | uuid.bytes[15];
}

static int client_applies(void *context, const weir_update_t *update, weir_error_t *err)
{
    pair_t *pair = context;
    if (pair->apply_fails) {
        pair->refused++;
        return weir_error_set(err, WEIR_FULL, NULL, "no space on the disk");
    }
    if (update->full)
        memset(&pair->held, 0, sizeof(pair->held));
    pair->fulls += update->full;
    pair->increments += !update->full;
    for (const weir_json_t *d = weir_json_first(update->deltas); d != NULL; d = weir_json_next(d)) {
        if (!weir_str_is(weir_json_get_string(d, "type", WEIR_STR("")), "consumers"))
            continue;
        const weir_json_t *entity = weir_json_get(d, "entity");
        const weir_json_t *key = weir_json_is_null(entity) ? weir_json_get(d, "pk") : entity;
        char *tag = pair->held.tags[number_of(weir_json_get_string(key, "id", WEIR_STR("")))];
        memset(tag, 0, TAG_BYTES);
        if (!weir_json_is_null(entity))
            snprintf(
                tag, TAG_BYTES, "%.*s",
                WEIR_STR_ARG(weir_json_string(weir_json_first(weir_json_get(entity, "tags")))));
    }
    return WEIR_OK;
}

static weir_json_t *client_reports(void *context, bool afresh)
{
    (void)afresh;
    ((pair_t *)context)->reports++;
    return fixture_json("{\"quarantined\":[{\"type\":\"routes\",\"id\":\"x\",\"name\":\"\","
                        "\"field\":\"paths\",\"reason\":\"bad\"}],\"quarantined_count\":1,"
                        "\"last_error\":null}");
}

/* -- the wire ---------------------------------------------------------------------------------- */

/* Makes a Weir look like something else to the client, and the other way round. */
static void disguise(wire_t *wire)
{
    pair_t *pair = (pair_t *)wire;
    char *word = memmem(pair->wire.down.data, pair->wire.down.len, "weir.report.v1", 14);
    if (!pair->plain || word == NULL)
        return;
    word[13] = '0';
    pair->wire.host.session->dialect = pair->dialect;
}

static void open_pair(pair_t *pair, uint64_t seed, uint64_t log_entries_max)
{
    static const char *const labels[] = { "env:test", NULL };
    *pair = (pair_t){ 0 };
    wire_open(&pair->wire, seed, log_entries_max);
    pair->wire.filter = disguise;
    weir_client_options_t options = {
        .host = "cp:8005",
        .node_id = WEIR_STR(FIXTURE_NODE),
        .hostname = "dp",
        .compat_version = "3.9.1",
        .labels = labels,
        .payload_max = FIXTURE_PAYLOAD_MAX,
        .call_timeout_ms = 60000,
        .context = pair,
        .send = wire_send,
        .random = wire_random,
        .apply = client_applies,
        .report = client_reports,
        .event = wire_event,
    };
    assert_int_equal(weir_client_new(&options, 0, &pair->wire.client, NULL), WEIR_OK);
}

static void close_pair(pair_t *pair)
{
    wire_close(&pair->wire);
}

static void write_once(pair_t *pair)
{
    unsigned number = fixture_next(&pair->wire.random, ENTITIES);
    char *tag = pair->truth.tags[number];
    memset(tag, 0, TAG_BYTES);
    if (fixture_next(&pair->wire.random, 4) == 0) {
        fixture_delete(&pair->wire.store, number);
    } else {
        snprintf(tag, TAG_BYTES, "t%u", fixture_next(&pair->wire.random, 1000000));
        fixture_put(&pair->wire.store, number, tag);
    }
    wire_notify(&pair->wire);
}

static void assert_same(pair_t *pair)
{
    assert_int_equal(weir_client_version(pair->wire.client),
                     weir_store_version(pair->wire.store.store));
    assert_memory_equal(&pair->held, &pair->truth, sizeof(set_t));
}

static void random_run(pair_t *pair, unsigned cuts)
{
    for (int i = 0; i < STEPS; i++) {
        if (fixture_next(&pair->wire.random, 30) == 0)
            write_once(pair);
        if (cuts > 0 && fixture_next(&pair->wire.random, cuts) == 0)
            wire_cut(&pair->wire);
        wire_step(&pair->wire);
    }
    wire_settle(&pair->wire);
    if (memcmp(&pair->held, &pair->truth, sizeof(set_t)) != 0)
        print_message("events:\n%s%s", pair->wire.events, pair->wire.host.events);
}

/* -- tests ----------------------------------------------------------------------------------------
 */

static void both_ends_hold_the_same_whatever_the_pieces(void **state)
{
    (void)state;
    for (unsigned run = 0; run < RUNS; run++) {
        pair_t pair;
        open_pair(&pair, wire_seed(run), 100000);
        print_message("seed %llu\n", (unsigned long long)pair.wire.random.state);
        random_run(&pair, 0);
        assert_same(&pair);
        assert_int_equal(pair.fulls, 1); /* the first; everything after it is increments */
        assert_true(pair.increments > 5);
        close_pair(&pair);
    }
}

static void both_ends_hold_the_same_after_cuts_without_a_second_full_set(void **state)
{
    (void)state;
    for (unsigned run = 0; run < RUNS; run++) {
        pair_t pair;
        open_pair(&pair, wire_seed(run), 100000);
        print_message("seed %llu\n", (unsigned long long)pair.wire.random.state);
        random_run(&pair, 300);
        assert_same(&pair);
        assert_true(pair.fulls <= 1);
        close_pair(&pair);
    }
}

static void a_node_behind_the_log_gets_the_whole_set(void **state)
{
    pair_t pair;
    (void)state;
    open_pair(&pair, wire_seed(0), 8);
    random_run(&pair, 0);
    assert_same(&pair);
    wire_cut(&pair.wire);
    for (int i = 0; i < 400; i++)
        write_once(&pair);
    size_t before = pair.fulls;
    wire_settle(&pair.wire);
    assert_same(&pair);
    assert_int_equal(pair.fulls, before + 1);
    close_pair(&pair);
}

static void both_dialects_of_the_original_work(void **state)
{
    (void)state;
    for (unsigned run = 0; run < 2 * RUNS; run++) {
        pair_t pair;
        open_pair(&pair, wire_seed(run), 100000);
        pair.plain = true;
        pair.dialect = run % 2 ? WEIR_DIALECT_310 : WEIR_DIALECT_39;
        print_message("seed %llu dialect %d\n", (unsigned long long)pair.wire.random.state,
                      (int)pair.dialect);
        random_run(&pair, 500);
        assert_same(&pair);
        close_pair(&pair);
    }
}

static void a_change_while_nothing_else_happens_is_fetched_at_once(void **state)
{
    pair_t pair;
    (void)state;
    open_pair(&pair, wire_seed(0), 100000);
    wire_settle(&pair.wire);
    int64_t before_ms = pair.wire.now_ms;
    write_once(&pair);
    for (int i = 0; i < 20; i++) { /* no time passes at all */
        wire_deliver_up(&pair.wire, 1 << 20);
        if (pair.wire.host.wants_count > 0)
            assert_int_equal(fixture_host_answer(&pair.wire.host, pair.wire.now_ms), WEIR_OK);
        wire_deliver_down(&pair.wire, 1 << 20);
    }
    assert_same(&pair);
    assert_int_equal(pair.wire.now_ms, before_ms);
    close_pair(&pair);
}

static void what_cannot_be_applied_is_asked_for_again_but_not_without_end(void **state)
{
    pair_t pair;
    (void)state;
    open_pair(&pair, wire_seed(0), 100000);
    wire_settle(&pair.wire);
    pair.apply_fails = true;
    write_once(&pair);
    int64_t begin_ms = pair.wire.now_ms;
    while (pair.wire.now_ms - begin_ms < 29000) {
        pair.wire.now_ms += 10;
        wire_deliver_up(&pair.wire, 1 << 20);
        if (pair.wire.host.wants_count > 0)
            assert_int_equal(fixture_host_answer(&pair.wire.host, pair.wire.now_ms), WEIR_OK);
        wire_deliver_down(&pair.wire, 1 << 20);
        wire_tick(&pair.wire);
    }
    assert_int_equal(pair.refused, 6); /* the original's five retries */
    pair.apply_fails = false;
    wire_settle(&pair.wire);
    assert_same(&pair);
    close_pair(&pair);
}

static void a_report_reaches_the_table_of_data_planes(void **state)
{
    pair_t pair;
    weir_json_t *rows = NULL;
    (void)state;
    open_pair(&pair, wire_seed(0), 100000);
    write_once(&pair);
    wire_settle(&pair.wire);
    assert_int_equal(weir_registry_list(pair.wire.store.registry,
                                        weir_store_version(pair.wire.store.store), pair.wire.now_ms,
                                        &rows, NULL),
                     WEIR_OK);
    const weir_json_t *row = weir_json_first(rows);
    assert_true(weir_str_is(weir_json_string(weir_json_get(row, "id")), FIXTURE_NODE));
    assert_true(weir_json_boolean(weir_json_get(row, "connected")));
    assert_int_equal(weir_json_number(weir_json_get(row, "quarantined_count")), 1);
    assert_int_equal(weir_json_number(weir_json_get(row, "lag")), 0);
    assert_true(
        weir_str_is(weir_json_string(weir_json_get(weir_json_get(row, "labels"), "env")), "test"));
    weir_json_free(rows);
    close_pair(&pair);
}

static void an_idle_connection_lives_and_costs_no_spinning(void **state)
{
    pair_t pair;
    size_t turns = 0;
    (void)state;
    open_pair(&pair, wire_seed(0), 100000);
    wire_settle(&pair.wire);
    int64_t end_ms = pair.wire.now_ms + 600000;
    while (pair.wire.now_ms < end_ms) { /* as the agent's loop: sleep to the deadline */
        int64_t next = weir_client_deadline(pair.wire.client);
        pair.wire.now_ms = next > pair.wire.now_ms ? next : pair.wire.now_ms + 1;
        wire_tick(&pair.wire);
        assert_true(pair.wire.connected);
        wire_deliver_up(&pair.wire, 1 << 20);
        if (pair.wire.host.wants_count > 0)
            assert_int_equal(fixture_host_answer(&pair.wire.host, pair.wire.now_ms), WEIR_OK);
        wire_deliver_down(&pair.wire, 1 << 20);
        turns++;
    }
    assert_true(turns < 60); /* a poll each 30 s, and a ping at most */
    close_pair(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ends_hold_the_same_whatever_the_pieces),
        cmocka_unit_test(both_ends_hold_the_same_after_cuts_without_a_second_full_set),
        cmocka_unit_test(a_node_behind_the_log_gets_the_whole_set),
        cmocka_unit_test(both_dialects_of_the_original_work),
        cmocka_unit_test(a_change_while_nothing_else_happens_is_fetched_at_once),
        cmocka_unit_test(what_cannot_be_applied_is_asked_for_again_but_not_without_end),
        cmocka_unit_test(a_report_reaches_the_table_of_data_planes),
        cmocka_unit_test(an_idle_connection_lives_and_costs_no_spinning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
