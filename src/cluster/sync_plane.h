/* sync_plane.h -- a data plane of weir.sync.v1 that keeps its sets in memory, joined to a
 * control plane by pipes that are cut into random pieces and cut off at random, with writes
 * and faults in between. Included by the tests of weir.sync.v1 only. */
#ifndef WEIR_CLUSTER_SYNC_PLANE_H
#define WEIR_CLUSTER_SYNC_PLANE_H

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
    bool fails_late;     /* a page is taken, and found not to be put when the next one comes */
    bool took_page;
    weir_digest_key_t key;
    size_t stages, resumed, pages, switches, batches, heals, healed, refused;
    char reason[64]; /* of the last snapshot */
} plane_t;

/* -- a set ------------------------------------------------------------------------------ */

static inline row_t *set_find(set_t *set, weir_str_t type, const weir_uuid_t *id, bool make)
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

static inline void row_drop(row_t *row)
{
    free(row->text);
    *row = (row_t){ .text = NULL };
}

static inline void set_clear(set_t *set)
{
    for (size_t i = 0; i < ROWS; i++)
        row_drop(&set->rows[i]);
    set->version = 0;
}

static inline void set_copy(const set_t *from, set_t *to)
{
    set_clear(to);
    *to = *from;
    for (size_t i = 0; i < ROWS; i++)
        to->rows[i].text = from->rows[i].text != NULL ? strdup(from->rows[i].text) : NULL;
}

/* 1: what was there was another one. */
static inline size_t set_put(set_t *set, const weir_json_t *element)
{
    weir_sync_entity_t e;
    weir_sync_entity(element, &e);
    row_t *row = set_find(set, e.type, &e.id, e.entity != NULL);
    if (e.entity == NULL) {
        size_t there = row != NULL;
        if (row != NULL)
            row_drop(row);
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

static inline void plane_sums(const plane_t *p, const set_t *set, weir_digest_t *sums,
                              weir_digest_t *total)
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

static inline int plane_refuses(plane_t *p, weir_error_t *err)
{
    p->refused++;
    return weir_error_set(err, WEIR_FULL, NULL, "no space on the disk");
}

static inline int plane_state(void *context, weir_sync_state_t *ret, weir_error_t *err)
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
        plane_sums(p, &p->live, sums, &ret->digest);
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

static inline int plane_key(void *context, const weir_digest_key_t *key, weir_error_t *err)
{
    plane_t *p = context;
    if (p->fails)
        return plane_refuses(p, err);
    p->key = *key;
    p->has_key = true;
    return WEIR_OK;
}

static inline size_t set_heal(set_t *set, const weir_json_t *bucket)
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
            row_drop(row);
            healed++;
        }
    }
    for (const weir_json_t *e = weir_json_first(entities); e != NULL; e = weir_json_next(e))
        healed += set_put(set, e);
    return healed;
}

static inline int plane_apply(void *context, const weir_sync_batch_t *batch,
                              weir_sync_applied_t *ret, weir_error_t *err)
{
    static weir_digest_t sums[WEIR_DIGEST_BUCKETS];
    plane_t *p = context;
    set_t *set = batch->staged ? &p->stage : &p->live;
    if (p->fails)
        return plane_refuses(p, err);
    assert_true(!batch->staged || p->has_stage);
    for (const weir_json_t *e = weir_json_first(batch->deltas); e != NULL; e = weir_json_next(e))
        set_put(set, e);
    for (const weir_json_t *b = weir_json_first(batch->buckets); b != NULL; b = weir_json_next(b))
        ret->healed_entities += set_heal(set, b);
    p->batches++;
    p->heals += batch->buckets != NULL;
    p->healed += ret->healed_entities;
    set->version = batch->version;
    ret->has_digest = p->has_key;
    plane_sums(p, set, sums, &ret->digest);
    return WEIR_OK;
}

static inline void plane_discard(void *context)
{
    plane_t *p = context;
    set_clear(&p->stage);
    p->has_stage = false;
}

static inline int plane_stage(void *context, uint64_t snapshot, uint64_t entities,
                              weir_str_t reason, weir_error_t *err)
{
    plane_t *p = context;
    (void)entities;
    if (p->fails)
        return plane_refuses(p, err);
    p->took_page = false;
    snprintf(p->reason, sizeof(p->reason), "%.*s", WEIR_STR_ARG(reason));
    p->stages++;
    if (p->has_stage && p->snapshot == snapshot) {
        p->resumed++;
        return WEIR_OK;
    }
    plane_discard(p);
    p->has_stage = true;
    p->pages_done = false;
    p->snapshot = p->stage.version = snapshot;
    p->seen = 0;
    p->cursor[0] = '\0';
    return WEIR_OK;
}

static inline int plane_page(void *context, const weir_sync_page_t *page, weir_error_t *err)
{
    plane_t *p = context;
    if (p->fails || (p->fails_late && p->took_page))
        return plane_refuses(p, err);
    p->took_page = true;
    if (p->fails_late)
        return WEIR_OK;
    assert_int_equal(page->snapshot, p->snapshot);
    assert_true(page->version >= p->snapshot);
    for (const weir_json_t *e = weir_json_first(page->entities); e != NULL; e = weir_json_next(e))
        set_put(&p->stage, e);
    p->seen = page->version > p->seen ? page->version : p->seen;
    p->pages_done = page->next.data == NULL;
    snprintf(p->cursor, sizeof(p->cursor), "%.*s", WEIR_STR_ARG(page->next));
    p->pages++;
    return WEIR_OK;
}

static inline int plane_switch(void *context, weir_error_t *err)
{
    plane_t *p = context;
    if (p->fails)
        return plane_refuses(p, err);
    assert_true(p->has_stage && p->pages_done && p->stage.version >= p->seen);
    set_copy(&p->stage, &p->live);
    plane_discard(p);
    p->switches++;
    return WEIR_OK;
}

static inline int plane_sums_of(void *context, bool staged, weir_digest_t *sums, weir_error_t *err)
{
    plane_t *p = context;
    weir_digest_t total;
    if (p->fails)
        return plane_refuses(p, err);
    plane_sums(p, staged ? &p->stage : &p->live, sums, &total);
    return WEIR_OK;
}

static inline int plane_refuses_v2(void *context, const weir_update_t *update, weir_error_t *err)
{
    (void)context, (void)update;
    return weir_error_set(err, WEIR_INVALID, NULL, "kong.sync.v2 is not spoken here");
}

/* -- a pair ------------------------------------------------------------------------------------ */

static const weir_client_sync_t plane_callbacks = {
    .state = plane_state,
    .key = plane_key,
    .apply = plane_apply,
    .stage = plane_stage,
    .page = plane_page,
    .switch_over = plane_switch,
    .discard = plane_discard,
    .sums = plane_sums_of,
};

static inline void plane_open_client(plane_t *p)
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
        .apply = plane_refuses_v2,
        .event = wire_event,
        .sync = &plane_callbacks,
        .zstd = true,
    };
    assert_int_equal(weir_client_new(&options, p->live.version, &p->wire.client, NULL), WEIR_OK);
}

static inline plane_t *plane_open(uint64_t seed, uint64_t log_entries_max, bool zstd)
{
    plane_t *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    wire_open(&p->wire, seed, log_entries_max);
    p->wire.store.sync_v1 = true;
    p->wire.store.zstd = zstd;
    plane_open_client(p);
    print_message("seed %llu\n", (unsigned long long)seed);
    return p;
}

static inline void plane_close(plane_t *p)
{
    set_clear(&p->live);
    set_clear(&p->stage);
    wire_close(&p->wire);
    free(p);
}

/* As after kill -9: what is held stays, everything else is gone. */
static inline void plane_restart(plane_t *p)
{
    wire_cut(&p->wire);
    weir_client_free(p->wire.client);
    plane_open_client(p);
}

static inline void plane_write(plane_t *p)
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
static inline void plane_change(plane_t *p)
{
    static unsigned count;
    char tag[32];
    snprintf(tag, sizeof(tag), "change-%u", ++count);
    fixture_put(&p->wire.store, 1, tag);
    wire_notify(&p->wire);
}

static inline size_t set_compare_one(set_t *set, const weir_delta_t *row)
{
    const char *type = weir_schema(row->type)->name;
    row_t *held = set_find(set, weir_str(type), &row->id, false);
    return held != NULL && weir_str_is(row->document, held->text) ? 0 : 1;
}

typedef struct comparison {
    set_t *set;
    size_t rows, different;
} comparison_t;

static inline int set_compare(void *context, const weir_delta_t *row)
{
    comparison_t *c = context;
    c->rows++;
    c->different += set_compare_one(c->set, row);
    return WEIR_OK;
}

static inline void plane_assert_same(plane_t *p)
{
    comparison_t c = { .set = &p->live };
    uint64_t version = 0;
    size_t held = 0;
    assert_int_equal(weir_store_snapshot(p->wire.store.store, set_compare, &c, &version, NULL),
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

static inline bool plane_is_quiet(const plane_t *p)
{
    return p->wire.connected && p->wire.host.wants_count == 0 && p->wire.up.len == 0 &&
           p->wire.down.len == 0 && p->wire.host.out.first == NULL &&
           weir_client_ready(p->wire.client) && !p->wire.client->sync.calling &&
           !p->wire.client->sync.waiting && !p->wire.client->sync.starting;
}

static inline void plane_settle(plane_t *p)
{
    for (int i = 0; i < 400000; i++) {
        wire_step(&p->wire);
        if (p->live.version == weir_store_version(p->wire.store.store) && plane_is_quiet(p))
            return;
    }
    print_message("did not settle; events:\n%s%s", p->wire.events, p->wire.host.events);
    fail();
}

/* Changes what is held behind the protocol's back. */
static inline size_t plane_corrupt(plane_t *p, size_t rows)
{
    size_t done = 0;
    for (size_t i = 0; i < ROWS && done < rows; i++) {
        row_t *row = &p->live.rows[i];
        if (row->text == NULL || strcmp(row->type, "consumers") != 0)
            continue;
        if (done++ % 2 == 0)
            row_drop(row);
        else
            row->text[strlen(row->text) - 2] ^= 1;
    }
    return done;
}

static inline void plane_random_run(plane_t *p, unsigned cuts, unsigned faults)
{
    for (int i = 0; i < STEPS; i++) {
        if (fixture_next(&p->wire.random, 20) == 0)
            plane_write(p);
        if (cuts > 0 && fixture_next(&p->wire.random, cuts) == 0)
            fixture_next(&p->wire.random, 3) == 0 ? plane_restart(p) : wire_cut(&p->wire);
        if (faults > 0 && fixture_next(&p->wire.random, faults) == 0)
            p->fails = !p->fails;
        wire_step(&p->wire);
    }
    p->fails = false;
    plane_settle(p);
}

#endif
