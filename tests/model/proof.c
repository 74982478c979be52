/* proof.c -- digests, healing and stages: the parts of weir.sync.v1 that store and image
 * play, without the wire between them. */
#include "follower.h"

#include "base/clock.h"

enum { PAGE_BYTES = 16 * 1024, BUCKETS_SABOTAGED_MAX = 5 };

/* -- digests ------------------------------------------------------------------------------ */

static void add_strangers(const follower_t *f, const world_t *w, weir_digest_t *sum)
{
    weir_digester_t *digester = NULL;
    assert_int_equal(weir_digester_new(weir_store_digest_key(w->store.store), &digester, NULL),
                     WEIR_OK);
    for (unsigned i = 0; i < STRANGERS; i++) {
        char text[128];
        char id_text[WEIR_UUID_TEXT + 1];
        weir_uuid_t id = stranger_id(i);
        weir_digest_t one;
        if (f->strangers[i] == 0)
            continue;
        weir_uuid_format(&id, id_text);
        snprintf(text, sizeof(text), "{\"id\":\"%s\",\"says\":%d}", id_text, f->strangers[i]);
        assert_int_equal(weir_digester_entity(digester, WEIR_STR(STRANGER_TYPE), &id,
                                              weir_str(text), &one, NULL),
                         WEIR_OK);
        weir_digest_add(sum, &one);
    }
    weir_digester_free(digester);
}

void follower_prove(follower_t *f, world_t *w)
{
    weir_image_state_t state;
    weir_digest_t wanted;
    weir_image_verdict_t verdict;
    fixture_ok(&f->image, weir_image_state(f->image.image, &state, &f->image.err));
    assert_int_equal(weir_store_digest(w->store.store, state.version, &wanted), WEIR_OK);
    add_strangers(f, w, &wanted);
    assert_true(state.has_digest);
    if (!weir_digest_equal(&state.digest, &wanted))
        fail_msg("version %" PRIu64 ": the digest differs", state.version);
    fixture_ok(&f->image, weir_image_verify(f->image.image, NULL, NULL, &verdict, &f->image.err));
    if (verdict.bad_buckets != 0 || verdict.bad_records != 0)
        fail_msg("version %" PRIu64 ": %zu bad sums, %" PRIu64 " bad records", state.version,
                 verdict.bad_buckets, verdict.bad_records);
}

/* -- rows of a view -------------------------------------------------------------------------- */

typedef struct into {
    follower_t *f;
    weir_batch_t *batch;
    int rc; /* of the batch, where WEIR_FULL is no failure */
} into_t;

static int put_delta(void *context, const weir_delta_t *delta)
{
    into_t *into = context;
    WEIR_AUTO(json) weir_json_t *row = NULL;
    weir_str_t type = weir_str(weir_schema(delta->type)->name);
    if (delta->document.data == NULL) {
        into->rc = weir_batch_delete_id(into->batch, type, &delta->id, &into->f->image.err);
        return into->rc;
    }
    assert_int_equal(weir_json_parse(delta->document, &row, NULL), WEIR_OK);
    into->rc = weir_batch_put_told(into->batch, type, &delta->id, row, NULL, &into->f->image.err);
    return into->rc;
}

static weir_store_view_t *open_view(world_t *w)
{
    weir_store_view_t *view = NULL;
    weir_error_t err = { 0 };
    if (weir_store_view_open(w->store.store, &view, &err) != WEIR_OK)
        fail_msg("view: %s", err.reason);
    return view;
}

static int end_batch(into_t *into, int rc)
{
    if (rc == WEIR_OK)
        return weir_batch_commit(into->batch, weir_clock_ms(), &into->f->image.err);
    weir_batch_abort(into->batch);
    return rc;
}

/* -- stages -------------------------------------------------------------------------------------
 */

static int put_page(follower_t *f, weir_image_t *image, weir_store_view_t *view,
                    weir_store_cursor_t *cursor, bool *ret_more)
{
    into_t into = { .f = f };
    weir_stage_t stage;
    fixture_ok(&f->image, weir_image_stage(image, &stage, &f->image.err));
    uint64_t version = weir_store_view_version(view);
    int rc = weir_batch_begin(image, false, version, &into.batch, &f->image.err);
    if (rc != WEIR_OK)
        return rc;
    rc = weir_store_view_page(view, cursor, PAGE_BYTES, put_delta, &into, ret_more, NULL);
    snprintf(stage.cursor, sizeof(stage.cursor), "%d", (int)cursor->type);
    stage.seen = version;
    stage.pages_done = !*ret_more;
    weir_batch_stage(into.batch, &stage);
    return end_batch(&into, rc);
}

static int put_strangers(follower_t *f, weir_image_t *image, uint64_t version)
{
    into_t into = { .f = f };
    int rc = weir_batch_begin(image, false, version, &into.batch, &f->image.err);
    for (unsigned i = 0; rc == WEIR_OK && i < STRANGERS; i++) {
        char text[128];
        char id_text[WEIR_UUID_TEXT + 1];
        weir_uuid_t id = stranger_id(i);
        WEIR_AUTO(json) weir_json_t *row = NULL;
        if (f->strangers[i] == 0)
            continue;
        weir_uuid_format(&id, id_text);
        snprintf(text, sizeof(text), "{\"id\":\"%s\",\"says\":%d}", id_text, f->strangers[i]);
        assert_int_equal(weir_json_parse(weir_str(text), &row, NULL), WEIR_OK);
        rc =
            weir_batch_put_told(into.batch, WEIR_STR(STRANGER_TYPE), &id, row, NULL, &f->image.err);
    }
    return end_batch(&into, rc);
}

/* False: left half way. */
static bool fill(follower_t *f, world_t *w, weir_image_t *image, weir_store_view_t *view)
{
    weir_store_cursor_t cursor = { .type = WEIR_ENTITY_NONE };
    for (bool more = true; more;) {
        weir_store_cursor_t before = cursor;
        int rc = put_page(f, image, view, &cursor, &more);
        if (follower_grown(f, image, rc)) {
            cursor = before;
            more = true;
            continue;
        }
        fixture_ok(&f->image, rc);
        if (world_percent(w, 3))
            return false;
    }
    int rc = put_strangers(f, image, weir_store_view_version(view));
    while (follower_grown(f, image, rc))
        rc = put_strangers(f, image, weir_store_view_version(view));
    fixture_ok(&f->image, rc);
    return true;
}

void follower_stage(follower_t *f, world_t *w)
{
    weir_image_t *stage = NULL;
    weir_store_view_t *view = open_view(w);
    uint64_t version = weir_store_view_version(view);
    int rc = weir_image_stage_open(f->image.image, version, &stage, &f->image.err);
    while (follower_grown(f, f->image.image, rc))
        rc = weir_image_stage_open(f->image.image, version, &stage, &f->image.err);
    fixture_ok(&f->image, rc);
    bool filled = fill(f, w, stage, view);
    weir_store_view_close(view);
    if (!filled) {
        if (world_percent(w, 50))
            weir_image_stage_discard(stage);
        else
            weir_image_close(stage); /* what is there is found the next time */
        f->abandoned++;
        return;
    }
    weir_reader_close(f->image.reader);
    f->image.reader = NULL;
    rc = weir_image_switch(&f->image.image, stage, &f->image.err);
    while (follower_grown(f, stage, rc))
        rc = weir_image_switch(&f->image.image, stage, &f->image.err);
    fixture_ok(&f->image, rc);
    fixture_open_reader(&f->image);
    f->image.version = version;
    f->staged++;
}

/* -- healing -------------------------------------------------------------------------------------
 */

/* Takes some entities away, and writes over others what nobody said. */
static int sabotage(follower_t *f, world_t *w)
{
    into_t into = { .f = f };
    int rc = weir_batch_begin(f->image.image, false, f->image.version, &into.batch, &f->image.err);
    for (unsigned n = 1 + world_below(w, BUCKETS_SABOTAGED_MAX); rc == WEIR_OK && n > 0; n--) {
        weir_entity_type_t type = world_types[world_below(w, (unsigned)world_type_count)];
        weir_uuid_t id = slot_id(type, 8 * world_below(w, SLOTS / 8) + SLOT_GOOD);
        char id_text[WEIR_UUID_TEXT + 1];
        char text[160];
        WEIR_AUTO(json) weir_json_t *row = NULL;
        weir_uuid_format(&id, id_text);
        if (type != WEIR_CONSUMERS || world_percent(w, 50)) {
            rc = weir_batch_delete_id(into.batch, weir_str(weir_schema(type)->name), &id,
                                      &f->image.err);
            continue;
        }
        snprintf(text, sizeof(text), "{\"id\":\"%s\",\"username\":\"nobody%u\",\"created_at\":1}",
                 id_text, world_below(w, 9));
        assert_int_equal(weir_json_parse(weir_str(text), &row, NULL), WEIR_OK);
        rc = weir_batch_put_told(into.batch, WEIR_STR("consumers"), &id, row, NULL, &f->image.err);
    }
    return end_batch(&into, rc);
}

static void count_found(void *context, weir_difference_t what, weir_str_t type,
                        const weir_uuid_t *id, weir_str_t name)
{
    (void)what, (void)type, (void)id, (void)name;
    ++*(unsigned long *)context;
}

static int heal_bucket(into_t *into, weir_store_view_t *view, unsigned bucket, unsigned long *found)
{
    weir_error_t *err = &into->f->image.err;
    int rc = weir_batch_bucket_begin(into->batch, bucket, err);
    if (rc == WEIR_OK)
        rc = weir_store_view_bucket(view, bucket, put_delta, into, NULL);
    if (rc == WEIR_OK)
        rc = weir_batch_bucket_end(into->batch, count_found, found, err);
    return rc;
}

/* All buckets that differ, in one batch; strangers are no part of the comparison. */
static int heal(follower_t *f, weir_store_view_t *view, unsigned long *ret_buckets,
                unsigned long *ret_found)
{
    static weir_digest_t mine[WEIR_DIGEST_BUCKETS], theirs[WEIR_DIGEST_BUCKETS];
    weir_uuid_t stranger = stranger_id(0);
    into_t into = { .f = f };
    *ret_buckets = *ret_found = 0;
    fixture_ok(&f->image, weir_image_sums(f->image.image, mine, &f->image.err));
    fixture_ok(&f->image, weir_store_view_sums(view, theirs, &f->image.err));
    int rc = weir_batch_begin(f->image.image, false, weir_store_view_version(view), &into.batch,
                              &f->image.err);
    for (unsigned bucket = 0; rc == WEIR_OK && bucket < WEIR_DIGEST_BUCKETS; bucket++) {
        if (weir_digest_equal(&mine[bucket], &theirs[bucket]) ||
            bucket == weir_digest_bucket(&stranger))
            continue;
        rc = heal_bucket(&into, view, bucket, ret_found);
        ++*ret_buckets;
    }
    return end_batch(&into, rc);
}

void follower_sabotage_and_heal(follower_t *f, world_t *w)
{
    int rc = sabotage(f, w);
    while (follower_grown(f, f->image.image, rc))
        rc = sabotage(f, w);
    fixture_ok(&f->image, rc);
    while (f->image.version < weir_store_version(w->store.store))
        follower_apply(f, w, UINT64_MAX / 2);
    unsigned long buckets = 0;
    unsigned long found = 0;
    weir_store_view_t *view = open_view(w);
    rc = heal(f, view, &buckets, &found);
    while (follower_grown(f, f->image.image, rc))
        rc = heal(f, view, &buckets, &found);
    weir_store_view_close(view);
    fixture_ok(&f->image, rc);
    assert_true(found >= buckets); /* a bucket that differs has an entity that does */
    f->sabotaged++;
    f->healed += found;
    follower_prove(f, w);
}
