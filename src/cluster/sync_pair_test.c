/* sync_pair_test.c -- both ends of weir.sync.v1, joined by pipes that are cut into random
 * pieces and cut off at random, with writes and faults in between. In the end the data
 * plane holds the control plane's set, to the byte. */
#include "cluster/client_internal.h"
#include "cluster/pair.h"

enum { ROWS = 512, ENTITIES = 120, STEPS = 4000, RUNS = 12 };

typedef struct row {
    char type[32];
    weir_uuid_t id;
    char *text; /* NULL: this place is free */
} row_t;

typedef struct set {
    uint64_t version;
    row_t rows[ROWS];
} set_t;

typedef struct plane {
    wire_t wire; /* first: the callbacks of the wire see it */
    set_t live, stage;
    bool has_stage, pages_done;
    uint64_t snapshot, seen;
    char cursor[WEIR_SYNC_CURSOR_MAX];
    bool has_key, fails; /* fails: whatever it shall do */
    weir_digest_key_t key;
    size_t stages, resumed, pages, switches, batches, heals, healed, refused;
    char reason[64]; /* of the last snapshot */
} plane_t;

/* -- a set ------------------------------------------------------------------------------ */

static row_t *find(set_t *set, weir_str_t type, const weir_uuid_t *id, bool make)
{
    row_t *room = NULL;
    for (size_t i = 0; i < ROWS; i++) {
        row_t *row = &set->rows[i];
        if (row->text != NULL && weir_str_is(type, row->type) && weir_uuid_equal(&row->id, id))
            return row;
        if (row->text == NULL && room == NULL)
            room = row;
    }
    if (!make)
        return NULL;
    assert_non_null(room);
    *room = (row_t){ .id = *id };
    snprintf(room->type, sizeof(room->type), "%.*s", WEIR_STR_ARG(type));
    return room;
}

static void drop(row_t *row)
{
    free(row->text);
    *row = (row_t){ .text = NULL };
}

static void clear(set_t *set)
{
    for (size_t i = 0; i < ROWS; i++)
        drop(&set->rows[i]);
    set->version = 0;
}

static void copy_set(const set_t *from, set_t *to)
{
    clear(to);
    *to = *from;
    for (size_t i = 0; i < ROWS; i++)
        to->rows[i].text = from->rows[i].text != NULL ? strdup(from->rows[i].text) : NULL;
}

/* 1: what was there was another one. */
static size_t put(set_t *set, const weir_json_t *element)
{
    weir_sync_entity_t e;
    weir_sync_entity(element, &e);
    row_t *row = find(set, e.type, &e.id, e.entity != NULL);
    if (e.entity == NULL) {
        size_t there = row != NULL;
        if (row != NULL)
            drop(row);
        return there;
    }
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 1 << 20);
    assert_int_equal(weir_json_print(e.entity, &text), WEIR_OK);
    char *copy = strndup(text.data, text.len);
    size_t other = row->text == NULL || strcmp(row->text, copy) != 0;
    free(row->text);
    row->text = copy;
    return other;
}

static void sums_of(const plane_t *p, const set_t *set, weir_digest_t *sums, weir_digest_t *total)
{
    weir_digester_t *digester = NULL;
    assert_int_equal(weir_digester_new(&p->key, &digester, NULL), WEIR_OK);
    memset(sums, 0, WEIR_DIGEST_BUCKETS * sizeof(*sums));
    *total = (weir_digest_t){ 0 };
    for (size_t i = 0; i < ROWS; i++) {
        const row_t *row = &set->rows[i];
        weir_digest_t hash;
        if (row->text == NULL)
            continue;
        assert_int_equal(weir_digester_entity(digester, weir_str(row->type), &row->id,
                                              weir_str(row->text), &hash, NULL),
                         WEIR_OK);
        weir_digest_add(&sums[weir_digest_bucket(&row->id)], &hash);
        weir_digest_add(total, &hash);
    }
    weir_digester_free(digester);
}

/* -- the data plane behind the client ------------------------------------------------------- */

static int refuse(plane_t *p, weir_error_t *err)
{
    p->refused++;
    return weir_error_set(err, WEIR_FULL, NULL, "no space on the disk");
}

static int on_state(void *context, weir_sync_state_t *ret, weir_error_t *err)
{
    static weir_digest_t sums[WEIR_DIGEST_BUCKETS];
    plane_t *p = context;
    (void)err;
    *ret = (weir_sync_state_t){ .version = p->live.version, .has_digest = p->has_key };
    if (p->has_key) {
        weir_digester_t *digester = NULL;
        weir_digester_new(&p->key, &digester, NULL);
        weir_digester_fingerprint(digester, ret->key, NULL);
        weir_digester_free(digester);
        sums_of(p, &p->live, sums, &ret->digest);
    }
    if (p->has_stage) {
        ret->stage = p->snapshot;
        ret->stage_pages_done = p->pages_done;
        ret->stage_version = p->stage.version;
        ret->stage_seen = p->seen;
        snprintf(ret->stage_cursor, sizeof(ret->stage_cursor), "%s", p->cursor);
    }
    return WEIR_OK;
}

static int on_key(void *context, const weir_digest_key_t *key, weir_error_t *err)
{
    plane_t *p = context;
    if (p->fails)
        return refuse(p, err);
    p->key = *key;
    p->has_key = true;
    return WEIR_OK;
}

static size_t heal_bucket(set_t *set, const weir_json_t *bucket)
{
    size_t healed = 0;
    unsigned number = (unsigned)weir_json_get_number(bucket, "bucket", 0);
    const weir_json_t *entities = weir_json_get(bucket, "entities");
    for (size_t i = 0; i < ROWS; i++) {
        row_t *row = &set->rows[i];
        bool stays = row->text == NULL || weir_digest_bucket(&row->id) != number;
        for (const weir_json_t *e = weir_json_first(entities); e != NULL && !stays;
             e = weir_json_next(e)) {
            weir_sync_entity_t entity;
            weir_sync_entity(e, &entity);
            stays = weir_str_is(entity.type, row->type) && weir_uuid_equal(&entity.id, &row->id);
        }
        if (!stays) {
            drop(row);
            healed++;
        }
    }
    for (const weir_json_t *e = weir_json_first(entities); e != NULL; e = weir_json_next(e))
        healed += put(set, e);
    return healed;
}

static int on_apply(void *context, const weir_sync_batch_t *batch, weir_sync_applied_t *ret,
                    weir_error_t *err)
{
    static weir_digest_t sums[WEIR_DIGEST_BUCKETS];
    plane_t *p = context;
    set_t *set = batch->staged ? &p->stage : &p->live;
    if (p->fails)
        return refuse(p, err);
    assert_true(!batch->staged || p->has_stage);
    for (const weir_json_t *e = weir_json_first(batch->deltas); e != NULL; e = weir_json_next(e))
        put(set, e);
    for (const weir_json_t *b = weir_json_first(batch->buckets); b != NULL; b = weir_json_next(b))
        ret->healed_entities += heal_bucket(set, b);
    p->batches++;
    p->heals += batch->buckets != NULL;
    p->healed += ret->healed_entities;
    set->version = batch->version;
    ret->has_digest = p->has_key;
    sums_of(p, set, sums, &ret->digest);
    return WEIR_OK;
}

static void on_discard(void *context)
{
    plane_t *p = context;
    clear(&p->stage);
    p->has_stage = false;
}

static int on_stage(void *context, uint64_t snapshot, uint64_t entities, weir_str_t reason,
                    weir_error_t *err)
{
    plane_t *p = context;
    (void)entities;
    if (p->fails)
        return refuse(p, err);
    snprintf(p->reason, sizeof(p->reason), "%.*s", WEIR_STR_ARG(reason));
    p->stages++;
    if (p->has_stage && p->snapshot == snapshot) {
        p->resumed++;
        return WEIR_OK;
    }
    on_discard(p);
    p->has_stage = true;
    p->pages_done = false;
    p->snapshot = p->stage.version = snapshot;
    p->seen = 0;
    p->cursor[0] = '\0';
    return WEIR_OK;
}

static int on_page(void *context, const weir_sync_page_t *page, weir_error_t *err)
{
    plane_t *p = context;
    if (p->fails)
        return refuse(p, err);
    assert_int_equal(page->snapshot, p->snapshot);
    assert_true(page->version >= p->snapshot);
    for (const weir_json_t *e = weir_json_first(page->entities); e != NULL; e = weir_json_next(e))
        put(&p->stage, e);
    p->seen = page->version > p->seen ? page->version : p->seen;
    p->pages_done = page->next.data == NULL;
    snprintf(p->cursor, sizeof(p->cursor), "%.*s", WEIR_STR_ARG(page->next));
    p->pages++;
    return WEIR_OK;
}

static int on_switch(void *context, weir_error_t *err)
{
    plane_t *p = context;
    if (p->fails)
        return refuse(p, err);
    assert_true(p->has_stage && p->pages_done && p->stage.version >= p->seen);
    copy_set(&p->stage, &p->live);
    on_discard(p);
    p->switches++;
    return WEIR_OK;
}

static int on_sums(void *context, bool staged, weir_digest_t *sums, weir_error_t *err)
{
    plane_t *p = context;
    weir_digest_t total;
    if (p->fails)
        return refuse(p, err);
    sums_of(p, staged ? &p->stage : &p->live, sums, &total);
    return WEIR_OK;
}

static int on_v2(void *context, const weir_update_t *update, weir_error_t *err)
{
    (void)context, (void)update;
    return weir_error_set(err, WEIR_INVALID, NULL, "kong.sync.v2 is not spoken here");
}

/* -- a pair ------------------------------------------------------------------------------------ */

static const weir_client_sync_t sync_callbacks = {
    .state = on_state,
    .key = on_key,
    .apply = on_apply,
    .stage = on_stage,
    .page = on_page,
    .switch_over = on_switch,
    .discard = on_discard,
    .sums = on_sums,
};

static void open_client(plane_t *p)
{
    weir_client_options_t options = {
        .host = "cp:8005",
        .node_id = WEIR_STR(FIXTURE_NODE),
        .hostname = "dp",
        .compat_version = "3.9.1",
        .payload_max = FIXTURE_PAYLOAD_MAX,
        .call_timeout_ms = 60000,
        .context = p,
        .send = wire_send,
        .random = wire_random,
        .apply = on_v2,
        .event = wire_event,
        .sync = &sync_callbacks,
        .zstd = true,
    };
    assert_int_equal(weir_client_new(&options, p->live.version, &p->wire.client, NULL), WEIR_OK);
}

static plane_t *open_plane(uint64_t seed, uint64_t log_entries_max, bool zstd)
{
    plane_t *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    wire_open(&p->wire, seed, log_entries_max);
    p->wire.store.sync_v1 = true;
    p->wire.store.zstd = zstd;
    open_client(p);
    print_message("seed %llu\n", (unsigned long long)seed);
    return p;
}

static void close_plane(plane_t *p)
{
    clear(&p->live);
    clear(&p->stage);
    wire_close(&p->wire);
    free(p);
}

/* As after kill -9: what is held stays, everything else is gone. */
static void restart_client(plane_t *p)
{
    wire_cut(&p->wire);
    weir_client_free(p->wire.client);
    open_client(p);
}

static void write_once(plane_t *p)
{
    char tag[32];
    unsigned number = fixture_next(&p->wire.random, ENTITIES);
    snprintf(tag, sizeof(tag), "t%u", fixture_next(&p->wire.random, 1000000));
    if (fixture_next(&p->wire.random, 4) == 0)
        fixture_delete(&p->wire.store, number);
    else
        fixture_put(&p->wire.store, number, tag);
    wire_notify(&p->wire);
}

/* A write that changes something, whatever was there. */
static void change(plane_t *p)
{
    static unsigned count;
    char tag[32];
    snprintf(tag, sizeof(tag), "change-%u", ++count);
    fixture_put(&p->wire.store, 1, tag);
    wire_notify(&p->wire);
}

static size_t compare_one(set_t *set, const weir_delta_t *row)
{
    const char *type = weir_schema(row->type)->name;
    row_t *held = find(set, weir_str(type), &row->id, false);
    return held != NULL && weir_str_is(row->document, held->text) ? 0 : 1;
}

typedef struct comparison {
    set_t *set;
    size_t rows, different;
} comparison_t;

static int compare(void *context, const weir_delta_t *row)
{
    comparison_t *c = context;
    c->rows++;
    c->different += compare_one(c->set, row);
    return WEIR_OK;
}

static void assert_same(plane_t *p)
{
    comparison_t c = { .set = &p->live };
    uint64_t version = 0;
    size_t held = 0;
    assert_int_equal(weir_store_snapshot(p->wire.store.store, compare, &c, &version, NULL),
                     WEIR_OK);
    for (size_t i = 0; i < ROWS; i++)
        held += p->live.rows[i].text != NULL;
    if (c.different > 0 || held != c.rows || p->live.version != version)
        print_message("version %llu of %llu, rows %zu of %zu, different %zu\nevents:\n%s%s",
                      (unsigned long long)p->live.version, (unsigned long long)version, held,
                      c.rows, c.different, p->wire.events, p->wire.host.events);
    assert_int_equal(p->live.version, version);
    assert_int_equal(c.different, 0);
    assert_int_equal(held, c.rows);
}

static bool quiet(const plane_t *p)
{
    return p->wire.connected && p->wire.host.wants_count == 0 && p->wire.up.len == 0 &&
           p->wire.down.len == 0 && p->wire.host.out.first == NULL &&
           weir_client_ready(p->wire.client) && !p->wire.client->sync.calling &&
           !p->wire.client->sync.waiting && !p->wire.client->sync.starting;
}

static void settle(plane_t *p)
{
    for (int i = 0; i < 400000; i++) {
        wire_step(&p->wire);
        if (p->live.version == weir_store_version(p->wire.store.store) && quiet(p))
            return;
    }
    print_message("did not settle; events:\n%s%s", p->wire.events, p->wire.host.events);
    fail();
}

/* Changes what is held behind the protocol's back. */
static size_t corrupt(plane_t *p, size_t rows)
{
    size_t done = 0;
    for (size_t i = 0; i < ROWS && done < rows; i++) {
        row_t *row = &p->live.rows[i];
        if (row->text == NULL || strcmp(row->type, "consumers") != 0)
            continue;
        if (done++ % 2 == 0)
            drop(row);
        else
            row->text[strlen(row->text) - 2] ^= 1;
    }
    return done;
}

static void random_run(plane_t *p, unsigned cuts, unsigned faults)
{
    for (int i = 0; i < STEPS; i++) {
        if (fixture_next(&p->wire.random, 20) == 0)
            write_once(p);
        if (cuts > 0 && fixture_next(&p->wire.random, cuts) == 0)
            fixture_next(&p->wire.random, 3) == 0 ? restart_client(p) : wire_cut(&p->wire);
        if (faults > 0 && fixture_next(&p->wire.random, faults) == 0)
            p->fails = !p->fails;
        wire_step(&p->wire);
    }
    p->fails = false;
    settle(p);
}

/* -- tests ----------------------------------------------------------------------------------------
 */

static void deltas_alone_keep_both_ends_the_same(void **state)
{
    (void)state;
    for (unsigned run = 0; run < RUNS; run++) {
        plane_t *p = open_plane(wire_seed(run), 100000, run % 2);
        random_run(p, 0, 0);
        assert_same(p);
        assert_int_equal(p->stages, 1); /* the first */
        assert_string_equal(p->reason, "unknown");
        assert_true(p->batches > 5);
        assert_int_equal(p->heals, 0);
        assert_int_equal(p->wire.store.counters.mismatches, 0);
        close_plane(p);
    }
}

static void cuts_and_faults_cost_no_second_set(void **state)
{
    (void)state;
    for (unsigned run = 0; run < RUNS; run++) {
        plane_t *p = open_plane(wire_seed(run), 100000, run % 2);
        random_run(p, 200, 300);
        assert_same(p);
        assert_int_equal(p->switches, 1);
        assert_int_equal(p->heals, 0);
        assert_int_equal(p->wire.store.counters.mismatches, 0);
        close_plane(p);
    }
}

/* The set comes in pages; it is cut off in the middle, again and again. */
static void pages_go_on_where_they_stopped(void **state)
{
    (void)state;
    for (unsigned run = 0; run < RUNS; run++) {
        plane_t *p = open_plane(wire_seed(run), 100000, run % 2);
        for (unsigned i = 0; i < ENTITIES; i++)
            fixture_put(&p->wire.store, i, "first");
        random_run(p, 60, 0);
        assert_same(p);
        assert_int_equal(p->switches, 1);
        /* As many pages as one pass has, and those that were cut off on their way. */
        assert_true(p->pages >= 5 && p->pages <= 5 + 3 * ENTITIES / 10);
        close_plane(p);
    }
}

static void who_is_behind_the_log_gets_pages(void **state)
{
    (void)state;
    plane_t *p = open_plane(wire_seed(0), 64, true);
    random_run(p, 0, 0);
    wire_cut(&p->wire);
    for (int i = 0; i < 400; i++)
        write_once(p);
    size_t before = p->switches;
    settle(p);
    assert_same(p);
    assert_int_equal(p->switches, before + 1);
    assert_string_equal(p->reason, "behind");
    close_plane(p);
}

static void who_is_ahead_gets_pages(void **state)
{
    (void)state;
    plane_t *p = open_plane(wire_seed(0), 1000, true);
    random_run(p, 0, 0);
    wire_cut(&p->wire);
    p->live.version += 1000;
    settle(p);
    assert_same(p);
    assert_string_equal(p->reason, "ahead");
    close_plane(p);
}

static void what_differs_is_found_and_healed_alone(void **state)
{
    (void)state;
    for (unsigned run = 0; run < RUNS; run++) {
        plane_t *p = open_plane(wire_seed(run), 100000, run % 2);
        random_run(p, 0, 0);
        size_t rows = corrupt(p, 1 + run % 4);
        size_t stages = p->stages;
        assert_true(rows > 0);
        fixture_put(&p->wire.store, 999, "news"); /* the next ack shows it */
        wire_notify(&p->wire);
        settle(p);
        assert_same(p);
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
        close_plane(p);
    }
}

static void healing_goes_on_under_writes_cuts_and_faults(void **state)
{
    (void)state;
    for (unsigned run = 0; run < RUNS; run++) {
        plane_t *p = open_plane(wire_seed(run), 100000, run % 2);
        random_run(p, 0, 0);
        corrupt(p, 3);
        random_run(p, 200, 300);
        assert_same(p);
        assert_true(p->heals > 0);
        close_plane(p);
    }
}

/* All versions of a restored database exist on the data plane as well, with other
 * contents: the versions alone do not show it. */
static void a_restored_database_is_noticed_by_the_digest(void **state)
{
    (void)state;
    plane_t *p = open_plane(wire_seed(0), 1000, true);
    random_run(p, 0, 0);
    wire_cut(&p->wire);
    for (size_t i = 0; i < ROWS; i++) { /* it held something else at this version */
        row_t *row = &p->live.rows[i];
        if (row->text != NULL && strcmp(row->type, "consumers") == 0)
            row->text[strlen(row->text) - 2] ^= 1;
    }
    settle(p);
    assert_same(p);
    close_plane(p);
}

/* Restored while its pages were on their way: what was staged never was. */
static void a_stage_of_another_history_is_thrown_away(void **state)
{
    (void)state;
    plane_t *p = open_plane(wire_seed(0), 1000, true);
    for (unsigned i = 0; i < ENTITIES; i++)
        fixture_put(&p->wire.store, i, "first");
    for (int i = 0; i < 100000 && !p->pages_done; i++)
        wire_step(&p->wire);
    assert_true(p->has_stage && p->pages_done);
    p->seen += 1000;
    restart_client(p);
    settle(p);
    assert_same(p);
    assert_int_equal(p->switches, 1);
    assert_non_null(strstr(p->wire.events, "another history"));
    close_plane(p);
}

static void a_lone_change_needs_no_time(void **state)
{
    (void)state;
    plane_t *p = open_plane(wire_seed(0), 100000, true);
    settle(p);
    int64_t before_ms = p->wire.now_ms;
    change(p);
    assert_int_equal(p->wire.host.wants_count, 1);
    assert_int_equal(fixture_host_answer(&p->wire.host, p->wire.now_ms), WEIR_OK);
    wire_deliver_down(&p->wire, 1 << 20); /* one way: no question is asked */
    assert_same(p);
    wire_deliver_up(&p->wire, 1 << 20);
    assert_int_equal(p->wire.now_ms, before_ms);
    assert_int_equal(p->wire.store.counters.mismatches, 0);
    close_plane(p);
}

static void many_changes_go_as_one_batch_after_the_ack(void **state)
{
    (void)state;
    plane_t *p = open_plane(wire_seed(0), 100000, true);
    settle(p);
    size_t batches = p->batches;
    change(p);
    assert_int_equal(fixture_host_answer(&p->wire.host, p->wire.now_ms), WEIR_OK);
    for (int i = 0; i < 10; i++)
        change(p);
    assert_int_equal(p->wire.host.wants_count, 0); /* one is under way */
    settle(p);
    assert_same(p);
    assert_int_equal(p->batches, batches + 2);
    close_plane(p);
}

static void what_cannot_be_applied_is_tried_again_ever_more_slowly(void **state)
{
    (void)state;
    plane_t *p = open_plane(wire_seed(0), 100000, true);
    settle(p);
    p->fails = true;
    change(p);
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
    settle(p);
    assert_same(p);
    assert_int_equal(p->stages, 1);
    close_plane(p);
}

static void who_never_acknowledges_is_closed(void **state)
{
    (void)state;
    plane_t *p = open_plane(wire_seed(0), 100000, true);
    settle(p);
    change(p);
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
    close_plane(p);
}

static void an_idle_connection_lives_and_costs_no_spinning(void **state)
{
    size_t turns = 0;
    (void)state;
    plane_t *p = open_plane(wire_seed(0), 100000, true);
    settle(p);
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
    close_plane(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deltas_alone_keep_both_ends_the_same),
        cmocka_unit_test(cuts_and_faults_cost_no_second_set),
        cmocka_unit_test(pages_go_on_where_they_stopped),
        cmocka_unit_test(who_is_behind_the_log_gets_pages),
        cmocka_unit_test(who_is_ahead_gets_pages),
        cmocka_unit_test(what_differs_is_found_and_healed_alone),
        cmocka_unit_test(healing_goes_on_under_writes_cuts_and_faults),
        cmocka_unit_test(a_restored_database_is_noticed_by_the_digest),
        cmocka_unit_test(a_stage_of_another_history_is_thrown_away),
        cmocka_unit_test(a_lone_change_needs_no_time),
        cmocka_unit_test(many_changes_go_as_one_batch_after_the_ack),
        cmocka_unit_test(what_cannot_be_applied_is_tried_again_ever_more_slowly),
        cmocka_unit_test(who_never_acknowledges_is_closed),
        cmocka_unit_test(an_idle_connection_lives_and_costs_no_spinning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
