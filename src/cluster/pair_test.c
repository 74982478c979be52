/* pair_test.c -- both ends joined by pipes of bytes: cut into random pieces, cut
 * off at random, with writes in between. In the end both hold the same set.
 *
 * WEIR_SEED repeats a run; a failure prints its seed. */
#include "cluster/fixture.h"

#include <openssl/evp.h>

enum { ENTITIES = 40, TAG_BYTES = 24, STEPS = 3000, RUNS = 12 };

typedef struct set {
    char tags[ENTITIES][TAG_BYTES]; /* empty: there is no such consumer */
} set_t;

typedef struct pair {
    fixture_store_t store;
    fixture_host_t host;
    weir_client_t *client;
    weir_buffer_t up, down; /* to the control plane, and back */
    fixture_random_t random;
    set_t truth, held;
    bool connected, upgraded, plain; /* plain: the peer is no Weir */
    weir_dialect_t dialect;
    int64_t now_ms;
    bool apply_fails;
    size_t fulls, increments, refused, reports;
    char events[8192];
} pair_t;

/* -- the client's host -------------------------------------------------------------------- */

static int client_sends(void *context, weir_str_t bytes)
{
    return weir_buffer_append(&((pair_t *)context)->up, bytes);
}

static int client_random(void *context, uint8_t *bytes, size_t count)
{
    pair_t *pair = context;
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)fixture_next(&pair->random, 256);
    return WEIR_OK;
}

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

static weir_json_t *client_reports(void *context)
{
    ((pair_t *)context)->reports++;
    return fixture_json("{\"quarantined\":[{\"type\":\"routes\",\"id\":\"x\",\"name\":\"\","
                        "\"field\":\"paths\",\"reason\":\"bad\"}],\"quarantined_count\":1,"
                        "\"last_error\":null}");
}

static void client_event(void *context, const char *text)
{
    pair_t *pair = context;
    size_t len = strlen(pair->events);
    snprintf(pair->events + len, sizeof(pair->events) - len, "%s\n", text);
}

/* -- the wire ---------------------------------------------------------------------------------- */

static void open_pair(pair_t *pair, uint64_t seed, uint64_t log_entries_max)
{
    static const char *const labels[] = { "env:test", NULL };
    *pair = (pair_t){ .random = { seed }, .now_ms = 1000000 };
    fixture_store_open(&pair->store, log_entries_max, FIXTURE_PAYLOAD_MAX, 0);
    weir_buffer_init(&pair->up, 1 << 26);
    weir_buffer_init(&pair->down, 1 << 26);
    weir_client_options_t options = {
        .host = "cp:8005",
        .node_id = WEIR_STR(FIXTURE_NODE),
        .hostname = "dp",
        .compat_version = "3.9.1",
        .labels = labels,
        .payload_max = FIXTURE_PAYLOAD_MAX,
        .call_timeout_ms = 60000,
        .context = pair,
        .send = client_sends,
        .random = client_random,
        .apply = client_applies,
        .report = client_reports,
        .event = client_event,
    };
    assert_int_equal(weir_client_new(&options, 0, &pair->client, NULL), WEIR_OK);
}

static void cut(pair_t *pair)
{
    if (!pair->connected)
        return;
    weir_client_disconnected(pair->client);
    fixture_host_close(&pair->host, pair->now_ms);
    weir_buffer_clear(&pair->up);
    weir_buffer_clear(&pair->down);
    pair->connected = pair->upgraded = false;
}

static void close_pair(pair_t *pair)
{
    cut(pair);
    weir_client_free(pair->client);
    weir_buffer_release(&pair->up);
    weir_buffer_release(&pair->down);
    fixture_store_close(&pair->store);
}

static void connect_pair(pair_t *pair)
{
    fixture_host_open(&pair->host, &pair->store, "3.9.1", pair->now_ms);
    assert_int_equal(weir_client_connected(pair->client, pair->now_ms, NULL), WEIR_OK);
    pair->connected = true;
}

/* What the nginx module does. */
static void upgrade(pair_t *pair)
{
    weir_str_t head = weir_buffer_str(&pair->up);
    char *end = memmem(head.data, head.len, "\r\n\r\n", 4);
    char *key = memmem(head.data, head.len, "Sec-WebSocket-Key: ", 19);
    if (end == NULL)
        return;
    assert_true(weir_str_starts(head, WEIR_STR("GET /v2/outlet HTTP/1.1\r\nUpgrade: websocket\r\n"
                                               "Host: cp:8005\r\n")));
    char text[128];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned char base64[64];
    unsigned len = 0;
    snprintf(text, sizeof(text), "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 19);
    EVP_Digest(text, strlen(text), digest, &len, EVP_sha1(), NULL);
    EVP_EncodeBlock(base64, digest, (int)len);
    weir_buffer_printf(&pair->down,
                       "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                       "Sec-WebSocket-Protocol: kong.meta.v1\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Accept: %s\r\n\r\n",
                       base64);
    weir_buffer_consume(&pair->up, (size_t)(end + 4 - head.data));
    pair->upgraded = true;
}

/* Makes a Weir look like something else to the client, and the other way round. */
static void disguise(pair_t *pair)
{
    char *word = memmem(pair->down.data, pair->down.len, "weir.report.v1", 14);
    if (!pair->plain || word == NULL)
        return;
    word[13] = '0';
    pair->host.session->dialect = pair->dialect;
}

static void deliver_up(pair_t *pair, size_t most)
{
    size_t len = pair->up.len < most ? pair->up.len : most;
    if (!pair->upgraded || len == 0)
        return;
    int rc = weir_session_input(pair->host.session, (weir_str_t){ pair->up.data, len },
                                pair->now_ms, NULL);
    weir_buffer_consume(&pair->up, len);
    if (rc != WEIR_OK)
        cut(pair);
}

static void deliver_down(pair_t *pair, size_t most)
{
    if (!pair->connected)
        return;
    weir_buffer_t out = fixture_take(&pair->host.out);
    weir_buffer_append(&pair->down, weir_buffer_str(&out));
    weir_buffer_release(&out);
    disguise(pair);
    size_t len = pair->down.len < most ? pair->down.len : most;
    if (len == 0)
        return;
    /* A copy of its own length, so that reading past it is seen. */
    char *copy = malloc(len);
    memcpy(copy, pair->down.data, len);
    weir_buffer_consume(&pair->down, len);
    int rc = weir_client_input(pair->client, (weir_str_t){ copy, len }, pair->now_ms, NULL);
    free(copy);
    if (rc != WEIR_OK)
        cut(pair);
}

static void tick(pair_t *pair)
{
    if (!pair->connected)
        return;
    if (weir_client_tick(pair->client, pair->now_ms, NULL) != WEIR_OK ||
        weir_session_tick(pair->host.session, pair->now_ms, NULL) != WEIR_OK)
        cut(pair);
}

static void write_once(pair_t *pair)
{
    unsigned number = fixture_next(&pair->random, ENTITIES);
    char *tag = pair->truth.tags[number];
    memset(tag, 0, TAG_BYTES);
    if (fixture_next(&pair->random, 4) == 0) {
        fixture_delete(&pair->store, number);
    } else {
        snprintf(tag, TAG_BYTES, "t%u", fixture_next(&pair->random, 1000000));
        fixture_put(&pair->store, number, tag);
    }
    if (pair->connected &&
        weir_session_notify(pair->host.session, weir_store_version(pair->store.store), pair->now_ms,
                            NULL) != WEIR_OK)
        cut(pair);
}

static void step(pair_t *pair)
{
    static const size_t pieces[] = { 1, 2, 5, 17, 100, 1000, 100000 };
    size_t most = pieces[fixture_next(&pair->random, WEIR_COUNT(pieces))];
    pair->now_ms += fixture_next(&pair->random, 20);
    if (!pair->connected)
        connect_pair(pair);
    else if (!pair->upgraded)
        upgrade(pair);
    switch (fixture_next(&pair->random, 4)) {
    case 0:
        deliver_up(pair, most);
        break;
    case 1:
        deliver_down(pair, most);
        break;
    case 2:
        if (pair->connected && pair->host.wants_count > 0 &&
            fixture_host_answer(&pair->host, pair->now_ms) != WEIR_OK)
            cut(pair);
        break;
    case 3:
        tick(pair);
        break;
    }
}

static void settle(pair_t *pair)
{
    for (int i = 0; i < 200000; i++) {
        step(pair);
        if (weir_client_version(pair->client) == weir_store_version(pair->store.store) &&
            pair->connected && pair->host.wants_count == 0 && pair->up.len == 0 &&
            pair->down.len == 0 && pair->host.out.first == NULL)
            return;
    }
}

static void assert_same(pair_t *pair)
{
    assert_int_equal(weir_client_version(pair->client), weir_store_version(pair->store.store));
    assert_memory_equal(&pair->held, &pair->truth, sizeof(set_t));
}

static uint64_t seed(unsigned run)
{
    const char *given = getenv("WEIR_SEED");
    return given != NULL ? strtoull(given, NULL, 10) : 1000 + run;
}

static void random_run(pair_t *pair, unsigned cuts)
{
    for (int i = 0; i < STEPS; i++) {
        if (fixture_next(&pair->random, 30) == 0)
            write_once(pair);
        if (cuts > 0 && fixture_next(&pair->random, cuts) == 0)
            cut(pair);
        step(pair);
    }
    settle(pair);
    if (memcmp(&pair->held, &pair->truth, sizeof(set_t)) != 0)
        print_message("events:\n%s%s", pair->events, pair->host.events);
}

/* -- tests ----------------------------------------------------------------------------------------
 */

static void both_ends_hold_the_same_whatever_the_pieces(void **state)
{
    (void)state;
    for (unsigned run = 0; run < RUNS; run++) {
        pair_t pair;
        open_pair(&pair, seed(run), 100000);
        print_message("seed %llu\n", (unsigned long long)pair.random.state);
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
        open_pair(&pair, seed(run), 100000);
        print_message("seed %llu\n", (unsigned long long)pair.random.state);
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
    open_pair(&pair, seed(0), 8);
    random_run(&pair, 0);
    assert_same(&pair);
    cut(&pair);
    for (int i = 0; i < 400; i++)
        write_once(&pair);
    size_t before = pair.fulls;
    settle(&pair);
    assert_same(&pair);
    assert_int_equal(pair.fulls, before + 1);
    close_pair(&pair);
}

static void both_dialects_of_the_original_work(void **state)
{
    (void)state;
    for (unsigned run = 0; run < 2 * RUNS; run++) {
        pair_t pair;
        open_pair(&pair, seed(run), 100000);
        pair.plain = true;
        pair.dialect = run % 2 ? WEIR_DIALECT_310 : WEIR_DIALECT_39;
        print_message("seed %llu dialect %d\n", (unsigned long long)pair.random.state,
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
    open_pair(&pair, seed(0), 100000);
    settle(&pair);
    int64_t before_ms = pair.now_ms;
    write_once(&pair);
    for (int i = 0; i < 20; i++) { /* no time passes at all */
        deliver_up(&pair, 1 << 20);
        if (pair.host.wants_count > 0)
            assert_int_equal(fixture_host_answer(&pair.host, pair.now_ms), WEIR_OK);
        deliver_down(&pair, 1 << 20);
    }
    assert_same(&pair);
    assert_int_equal(pair.now_ms, before_ms);
    close_pair(&pair);
}

static void what_cannot_be_applied_is_asked_for_again_but_not_without_end(void **state)
{
    pair_t pair;
    (void)state;
    open_pair(&pair, seed(0), 100000);
    settle(&pair);
    pair.apply_fails = true;
    write_once(&pair);
    int64_t begin_ms = pair.now_ms;
    while (pair.now_ms - begin_ms < 29000) {
        pair.now_ms += 10;
        deliver_up(&pair, 1 << 20);
        if (pair.host.wants_count > 0)
            assert_int_equal(fixture_host_answer(&pair.host, pair.now_ms), WEIR_OK);
        deliver_down(&pair, 1 << 20);
        tick(&pair);
    }
    assert_int_equal(pair.refused, 6); /* the original's five retries */
    pair.apply_fails = false;
    settle(&pair);
    assert_same(&pair);
    close_pair(&pair);
}

static void a_report_reaches_the_table_of_data_planes(void **state)
{
    pair_t pair;
    weir_json_t *rows = NULL;
    (void)state;
    open_pair(&pair, seed(0), 100000);
    write_once(&pair);
    settle(&pair);
    assert_int_equal(weir_registry_list(pair.store.registry, weir_store_version(pair.store.store),
                                        pair.now_ms, &rows, NULL),
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
    open_pair(&pair, seed(0), 100000);
    settle(&pair);
    int64_t end_ms = pair.now_ms + 600000;
    while (pair.now_ms < end_ms) { /* as the agent's loop: sleep to the deadline */
        int64_t next = weir_client_deadline(pair.client);
        pair.now_ms = next > pair.now_ms ? next : pair.now_ms + 1;
        tick(&pair);
        assert_true(pair.connected);
        deliver_up(&pair, 1 << 20);
        if (pair.host.wants_count > 0)
            assert_int_equal(fixture_host_answer(&pair.host, pair.now_ms), WEIR_OK);
        deliver_down(&pair, 1 << 20);
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
