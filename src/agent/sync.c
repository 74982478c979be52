/* sync.c -- weir.sync.v1: what the client asks of this data plane (client.h,
 * docs/sync-v1.md). A set that comes in pages fills a stage beside the image. */
#include "agent/agent_internal.h"
#include "agent/classic.h"

#include "base/clock.h"
#include "base/log.h"

#include <stdio.h>

enum { PROGRESS_MS = 2000, HEALED_SAID_MAX = 1000 };

/* -- the page on its way ------------------------------------------------------------------ */

/* What became of the page that was put last, if nobody asked yet. */
static int end_page(agent_t *agent, weir_error_t *err)
{
    int rc = page_end(&agent->put, err);
    if (agent->put.grown)
        weir_log(WEIR_LOG_NOTICE, "the stage's map grows");
    agent->put.grown = false;
    if (rc != WEIR_OK)
        status_failed(&agent->status, err->reason);
    return rc;
}

/* The stage, when no page is on its way. One that failed is asked for again, from what the
 * stage holds. NULL: there is none. */
static weir_image_t *own_stage(agent_t *agent)
{
    weir_error_t ignored = { 0 };
    (void)end_page(agent, &ignored);
    page_drop(&agent->put);
    return agent->stage;
}

/* -- what is held ------------------------------------------------------------------------- */

static int add_stage(const agent_t *agent, weir_sync_state_t *ret, weir_error_t *err)
{
    weir_stage_t stage;
    weir_image_state_t state;
    int rc = weir_image_stage(agent->stage, &stage, err);
    if (rc == WEIR_OK)
        rc = weir_image_state(agent->stage, &state, err);
    if (rc != WEIR_OK)
        return rc;
    ret->stage = stage.snapshot;
    ret->stage_pages_done = stage.pages_done;
    ret->stage_seen = stage.seen;
    ret->stage_version = state.version > stage.snapshot ? state.version : stage.snapshot;
    snprintf(ret->stage_cursor, sizeof(ret->stage_cursor), "%s", stage.cursor);
    return WEIR_OK;
}

static int on_state(void *context, weir_sync_state_t *ret, weir_error_t *err)
{
    agent_t *agent = context;
    weir_image_state_t state;
    int rc = weir_image_state(agent->image, &state, err);
    if (rc != WEIR_OK)
        return rc;
    *ret = (weir_sync_state_t){ .version = classic_told_version(&state),
                                .has_digest = state.has_digest,
                                .digest = state.digest };
    rc = weir_image_digest_key(agent->image, ret->key, err);
    return rc == WEIR_OK && own_stage(agent) != NULL ? add_stage(agent, ret, err) : rc;
}

static int on_key(void *context, const weir_digest_key_t *key, weir_error_t *err)
{
    agent_t *agent = context;
    int rc = weir_image_set_digest_key(agent->image, key, err);
    weir_image_t *stage = own_stage(agent);
    return rc == WEIR_OK && stage != NULL ? weir_image_set_digest_key(stage, key, err) : rc;
}

static int on_sums(void *context, bool staged, weir_digest_t *sums, weir_error_t *err)
{
    agent_t *agent = context;
    return weir_image_sums(staged ? own_stage(agent) : agent->image, sums, err);
}

/* -- applying -------------------------------------------------------------------------------- */

int put_entities(weir_batch_t *batch, const weir_json_t *list, weir_error_t *err)
{
    size_t count = 0;
    WEIR_AUTO(free) weir_batch_row_t *rows = weir_calloc(weir_json_count(list) + 1, sizeof(*rows));
    if (rows == NULL)
        return weir_error_memory(err);
    for (const weir_json_t *e = weir_json_first(list); e != NULL; e = weir_json_next(e)) {
        weir_sync_entity_t entity;
        weir_sync_entity(e, &entity);
        rows[count++] = (weir_batch_row_t){ .type = entity.type,
                                            .has_id = true,
                                            .id = entity.id,
                                            .has_hash = entity.has_hash,
                                            .hash = entity.hash,
                                            .row = entity.entity };
    }
    return weir_batch_put_rows(batch, rows, count, err);
}

typedef struct filling {
    const weir_sync_batch_t *batch;
    weir_sync_applied_t *applied;
} filling_t;

static void on_difference(void *context, weir_difference_t what, weir_str_t type,
                          const weir_uuid_t *id, weir_str_t name)
{
    static const char *const names[] = {
        [WEIR_DIFFERENCE_MISSING] = "missing",
        [WEIR_DIFFERENCE_EXTRA] = "extra",
        [WEIR_DIFFERENCE_DOCUMENT] = "another document",
    };
    weir_sync_applied_t *applied = context;
    char text[WEIR_UUID_TEXT + 1];
    weir_uuid_format(id, text);
    if (applied->healed_entities++ < HEALED_SAID_MAX)
        weir_log(WEIR_LOG_WARN, "healed type=%.*s id=%s name=%.*s was=\"%s\"", WEIR_STR_ARG(type),
                 text, WEIR_STR_ARG(name), names[what]);
}

static int fill_batch(weir_batch_t *batch, const void *what, weir_error_t *err)
{
    const filling_t *filling = what;
    weir_sync_applied_t *applied = filling->applied;
    *applied = (weir_sync_applied_t){ 0 }; /* it may be the second try */
    int rc = put_entities(batch, filling->batch->deltas, err);
    for (const weir_json_t *b = weir_json_first(filling->batch->buckets);
         rc == WEIR_OK && b != NULL; b = weir_json_next(b)) {
        rc = weir_batch_bucket_begin(batch, (unsigned)weir_json_get_number(b, "bucket", 0), err);
        if (rc == WEIR_OK)
            rc = put_entities(batch, weir_json_get(b, "entities"), err);
        if (rc == WEIR_OK)
            rc = weir_batch_bucket_end(batch, on_difference, applied, err);
    }
    if (rc != WEIR_OK)
        return rc;
    rc = weir_batch_digest(batch, &applied->digest, err);
    applied->has_digest = rc == WEIR_OK;
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc; /* no key yet: no digest */
}

static int on_apply(void *context, const weir_sync_batch_t *batch, weir_sync_applied_t *ret,
                    weir_error_t *err)
{
    agent_t *agent = context;
    filling_t filling = { batch, ret };
    weir_image_t *image = batch->staged ? own_stage(agent) : agent->image;
    int64_t started_us = weir_clock_monotonic_us();
    size_t count = weir_json_count(batch->deltas);
    if (image == NULL)
        return weir_error_set(err, WEIR_NOT_FOUND, NULL, "there is no stage");
    /* Nothing to do but to say what is here. */
    if (count == 0 && batch->buckets == NULL) {
        weir_image_state_t state;
        int rc = weir_image_state(image, &state, err);
        if (rc != WEIR_OK || state.version == batch->version) {
            ret->has_digest = rc == WEIR_OK && state.has_digest;
            ret->digest = state.digest;
            return rc;
        }
    }
    int rc = agent_commit(agent, image, false, batch->version, fill_batch, &filling, err);
    if (rc != WEIR_OK)
        return rc;
    int64_t took_us = weir_clock_monotonic_us() - started_us;
    ret->us = (uint64_t)took_us;
    if (!batch->staged)
        agent_applied(agent, false, batch->version, count, took_us);
    if (batch->buckets != NULL)
        status_healed(&agent->status, ret->healed_entities);
    if (ret->healed_entities > 0)
        weir_log(WEIR_LOG_WARN, "healed version=%" PRIu64 " buckets=%zu entities=%" PRIu64,
                 batch->version, weir_json_count(batch->buckets), ret->healed_entities);
    return WEIR_OK;
}

/* -- the stage ----------------------------------------------------------------------------------
 */

static void on_discard(void *context)
{
    agent_t *agent = context;
    if (own_stage(agent) == NULL)
        return;
    weir_image_stage_discard(agent->stage);
    agent->stage = NULL;
    agent->stage_snapshot = 0;
    weir_log(WEIR_LOG_NOTICE, "the stage is thrown away");
}

static int fill_note(weir_batch_t *batch, const void *what, weir_error_t *err)
{
    (void)err;
    weir_batch_stage(batch, what);
    return WEIR_OK;
}

/* The control plane says how much will come only when a set begins: kept with it, so that
 * the agent of another run can say how far it is. */
static int note_expected(agent_t *agent, uint64_t snapshot, uint64_t entities, weir_error_t *err)
{
    weir_stage_t note;
    int rc = weir_image_stage(agent->stage, &note, err);
    if (rc != WEIR_OK)
        return rc;
    note.expected = entities;
    return agent_commit(agent, agent->stage, false, snapshot, fill_note, &note, err);
}

static int on_stage(void *context, uint64_t snapshot, uint64_t entities, weir_str_t reason,
                    weir_error_t *err)
{
    agent_t *agent = context;
    bool resumes = own_stage(agent) != NULL && agent->stage_snapshot == snapshot;
    if (!resumes)
        on_discard(agent);
    int rc = resumes ? WEIR_OK : weir_image_stage_open(agent->image, snapshot, &agent->stage, err);
    if (rc != WEIR_OK)
        return rc;
    agent->stage_began_ms = agent->stage_said_ms = weir_clock_monotonic_ms();
    if (!resumes) {
        agent->stage_entities = 0;
        agent->stage_expected = entities;
        agent->stage_snapshot = snapshot;
        rc = note_expected(agent, snapshot, entities, err);
    }
    if (rc != WEIR_OK)
        return rc;
    status_full_begins(&agent->status, reason);
    weir_log(WEIR_LOG_NOTICE,
             "full sync begins snapshot=%" PRIu64 " entities=%" PRIu64 " reason=%.*s", snapshot,
             agent->stage_expected, WEIR_STR_ARG(reason));
    return WEIR_OK;
}

static void say_progress(agent_t *agent, size_t entities)
{
    agent->stage_entities += entities;
    int64_t now_ms = weir_clock_monotonic_ms();
    if (now_ms - agent->stage_said_ms < PROGRESS_MS)
        return;
    agent->stage_said_ms = now_ms;
    weir_log(WEIR_LOG_NOTICE, "full sync goes on entities=%" PRIu64 " of=%" PRIu64,
             agent->stage_entities, agent->stage_expected);
}

static int on_page(void *context, const weir_sync_page_t *page, weir_error_t *err)
{
    agent_t *agent = context;
    weir_stage_t note;
    int rc = end_page(agent, err);
    if (rc == WEIR_OK && (agent->stage == NULL || agent->stage_snapshot != page->snapshot))
        rc = weir_error_set(err, WEIR_NOT_FOUND, NULL, "there is no stage of this snapshot");
    if (rc == WEIR_OK)
        rc = weir_image_stage(agent->stage, &note, err);
    if (rc != WEIR_OK)
        return rc;
    note.seen = page->version > note.seen ? page->version : note.seen;
    note.pages_done = page->next.data == NULL;
    snprintf(note.cursor, sizeof(note.cursor), "%.*s", WEIR_STR_ARG(page->next));
    say_progress(agent, weir_json_count(page->entities));
    page_begin(&agent->put, agent->stage, page, &note);
    return note.pages_done ? end_page(agent, err) : WEIR_OK;
}

static int on_switch(void *context, weir_error_t *err)
{
    agent_t *agent = context;
    weir_image_state_t state;
    int rc = weir_image_switch(&agent->image, own_stage(agent), err);
    if (rc != WEIR_OK) {
        status_failed(&agent->status, err->reason);
        return rc;
    }
    agent->stage = NULL;
    agent->stage_snapshot = 0;
    agent->expire_ms = 0;
    int64_t took_us = (weir_clock_monotonic_ms() - agent->stage_began_ms) * 1000;
    rc = weir_image_state(agent->image, &state, err);
    if (rc == WEIR_OK)
        agent_applied(agent, true, state.version, (size_t)state.entities, took_us);
    return rc;
}

int agent_open_stage(agent_t *agent, weir_error_t *err)
{
    weir_image_state_t state;
    weir_stage_t stage;
    int rc = weir_image_stage_open(agent->image, 0, &agent->stage, err);
    if (rc == WEIR_OK && weir_image_state(agent->stage, &state, NULL) == WEIR_OK)
        agent->stage_entities = state.entities;
    if (rc == WEIR_OK && weir_image_stage(agent->stage, &stage, NULL) == WEIR_OK) {
        agent->stage_snapshot = stage.snapshot;
        agent->stage_expected = stage.expected;
    }
    if (rc == WEIR_OK)
        weir_log(WEIR_LOG_NOTICE, "a full sync goes on where it stopped");
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

const weir_client_sync_t agent_sync = {
    .state = on_state,
    .key = on_key,
    .apply = on_apply,
    .stage = on_stage,
    .page = on_page,
    .switch_over = on_switch,
    .discard = on_discard,
    .sums = on_sums,
};
