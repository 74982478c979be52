/* confirm_test.c -- confirmed writes over the wire: a write that a data plane could not
 * accept is never confirmed, not even for a moment, whatever the pieces and whatever was
 * cut off. Between two Weirs, in both protocols. */
#include "cluster/pair.h"

typedef struct plane {
    wire_t wire; /* first: the callbacks of the wire see it */
    uint64_t version;
    bool bad; /* it quarantines entity 2 */
    weir_waiter_t *waiter;
    bool over;
} plane_t;

/* -- a data plane that keeps its version alone ------------------------------------------- */

static int on_update(void *context, const weir_update_t *update, weir_error_t *err)
{
    (void)err;
    ((plane_t *)context)->version = update->version;
    return WEIR_OK;
}

static int on_state(void *context, weir_sync_state_t *ret, weir_error_t *err)
{
    (void)err;
    *ret = (weir_sync_state_t){ .version = ((plane_t *)context)->version };
    return WEIR_OK;
}

static int on_key(void *context, const weir_digest_key_t *key, weir_error_t *err)
{
    (void)context, (void)key, (void)err;
    return WEIR_OK;
}

static int on_batch(void *context, const weir_sync_batch_t *batch, weir_sync_applied_t *ret,
                    weir_error_t *err)
{
    (void)ret, (void)err;
    ((plane_t *)context)->version = batch->version;
    return WEIR_OK;
}

static weir_json_t *on_report(void *context, bool afresh)
{
    (void)afresh;
    char text[256];
    char id[WEIR_UUID_TEXT + 1];
    weir_uuid_t uuid;
    const plane_t *p = context;
    fixture_id(2, &uuid);
    weir_uuid_format(&uuid, id);
    snprintf(text, sizeof(text), "{\"quarantined\":[%s%s%s],\"last_error\":null}",
             p->bad ? "{\"type\":\"consumers\",\"id\":\"" : "", p->bad ? id : "",
             p->bad ? "\"}" : "");
    return fixture_json(text);
}

static void on_over(void *context)
{
    *(bool *)context = true;
}

/* -- the wire, up byte by byte -------------------------------------------------------------- */

/* Everything that goes up; the waiter is looked at after every byte. */
static void carry_up(plane_t *p)
{
    while (p->wire.upgraded && p->wire.up.len > 0) {
        weir_arrivals_t arrivals = { 0 };
        wire_deliver_up(&p->wire, 1);
        if (p->waiter == NULL)
            continue;
        (void)weir_waiter_look(p->waiter, &arrivals);
        assert_false(arrivals.confirmed);
        assert_int_equal(arrivals.applied, 0);
    }
}

static void carry_down(plane_t *p)
{
    if (!p->wire.connected)
        wire_connect(&p->wire);
    else if (!p->wire.upgraded)
        wire_upgrade(&p->wire);
    while (p->wire.host.wants_count > 0)
        assert_int_equal(fixture_host_answer(&p->wire.host, p->wire.now_ms), WEIR_OK);
    wire_deliver_down(&p->wire, 1 << 20);
}

static void settle(plane_t *p)
{
    for (int i = 0; i < 20; i++) {
        p->wire.now_ms++;
        carry_down(p);
        carry_up(p);
    }
    assert_int_equal(p->version, weir_store_version(p->wire.store.store));
}

static void open_plane(plane_t *p, bool sync_v1)
{
    static const weir_client_sync_t callbacks = { .state = on_state,
                                                  .key = on_key,
                                                  .apply = on_batch };
    *p = (plane_t){ .bad = false };
    wire_open(&p->wire, wire_seed(0), 100000);
    p->wire.store.sync_v1 = sync_v1;
    p->version = fixture_put(&p->wire.store, 1, "a");
    weir_client_options_t options = {
        .host = "cp:8005",
        .node_id = WEIR_STR(FIXTURE_NODE),
        .hostname = "dp",
        .compat_version = "3.10.0",
        .payload_max = FIXTURE_PAYLOAD_MAX,
        .call_timeout_ms = 60000,
        .context = p,
        .send = wire_send,
        .random = wire_random,
        .apply = on_update,
        .report = on_report,
        .sync = sync_v1 ? &callbacks : NULL,
        .event = wire_event,
    };
    assert_int_equal(weir_client_new(&options, p->version, &p->wire.client, NULL), WEIR_OK);
    settle(p);
    assert_string_equal(weir_client_protocol(p->wire.client),
                        sync_v1 ? "weir.sync.v1" : "kong.sync.v2");
}

/* Writes entity 2, which the data plane will not accept, and waits for it. */
static void write_and_wait(plane_t *p)
{
    weir_uuid_t id;
    fixture_id(2, &id);
    weir_wait_t wait = {
        .kind = WEIR_WAIT_ALL,
        .version = fixture_put(&p->wire.store, 2, "b"),
        .entities = &id,
        .entity_count = 1,
        .over = on_over,
        .context = &p->over,
    };
    assert_int_equal(weir_registry_wait(p->wire.store.registry, &wait, &p->waiter, NULL), WEIR_OK);
    p->bad = true;
    wire_notify(&p->wire);
}

static void close_plane(plane_t *p)
{
    weir_arrivals_t arrivals = { 0 };
    assert_true(p->over);
    assert_true(weir_waiter_look(p->waiter, &arrivals));
    assert_int_equal(arrivals.failed, 1);
    assert_false(arrivals.confirmed);
    weir_waiter_free(p->waiter);
    wire_close(&p->wire);
}

/* -- tests ---------------------------------------------------------------------------------- */

static void what_is_quarantined_is_known_before_the_version_is_there(void **state)
{
    (void)state;
    for (unsigned sync_v1 = 0; sync_v1 < 2; sync_v1++) {
        plane_t p;
        open_plane(&p, sync_v1);
        write_and_wait(&p);
        settle(&p);
        close_plane(&p);
    }
}

static void also_if_the_connection_broke_between_applying_and_telling(void **state)
{
    (void)state;
    for (unsigned sync_v1 = 0; sync_v1 < 2; sync_v1++) {
        plane_t p;
        open_plane(&p, sync_v1);
        write_and_wait(&p);
        uint64_t before = p.version;
        for (int i = 0; i < 20 && p.version == before; i++) {
            carry_up(&p);
            carry_down(&p);
        }
        assert_int_equal(p.version, before + 1);
        wire_cut(&p.wire); /* what it said of it is lost */
        settle(&p);
        close_plane(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_quarantined_is_known_before_the_version_is_there),
        cmocka_unit_test(also_if_the_connection_broke_between_applying_and_telling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
