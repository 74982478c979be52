/* fleet_sync.c -- weir.sync.v1 of a simulated data plane: it counts what comes and
 * remembers how far it is. It keeps no entities, so it knows no digest: its
 * acknowledgements say so, and a control plane compares nothing. */
#include "fleet.h"

#include "cluster/client.h"

static int on_state(void *context, weir_sync_state_t *ret, weir_error_t *err)
{
    const fleet_sync_t *s = fleet_node_sync(context);
    (void)err;
    *ret = (weir_sync_state_t){
        .version = s->version,
        .stage = s->stage,
        .stage_pages_done = s->pages_done,
        .stage_version = s->stage_version,
        .stage_seen = s->stage_seen,
    };
    snprintf(ret->stage_cursor, sizeof(ret->stage_cursor), "%s", s->cursor);
    return WEIR_OK;
}

static int on_key(void *context, const weir_digest_key_t *key, weir_error_t *err)
{
    (void)context;
    (void)key;
    (void)err;
    return WEIR_OK;
}

static int on_apply(void *context, const weir_sync_batch_t *batch, weir_sync_applied_t *ret,
                    weir_error_t *err)
{
    fleet_sync_t *s = fleet_node_sync(context);
    *ret = (weir_sync_applied_t){ 0 };
    if (batch->staged && s->stage == 0)
        return weir_error_set(err, WEIR_NOT_FOUND, NULL, "there is no stage");
    size_t count = weir_json_count(batch->deltas);
    if (batch->staged) {
        s->stage_version = batch->version;
        s->stage_entities += count;
    } else if (batch->version != s->version || batch->buckets != NULL) {
        s->version = batch->version;
        fleet_node_applied(context, s->version, count, false);
    }
    return WEIR_OK;
}

static int on_stage(void *context, uint64_t snapshot, uint64_t entities, weir_str_t reason,
                    weir_error_t *err)
{
    fleet_sync_t *s = fleet_node_sync(context);
    (void)entities;
    (void)reason;
    (void)err;
    if (s->stage != snapshot)
        *s = (fleet_sync_t){ .version = s->version, .stage = snapshot, .stage_version = snapshot };
    return WEIR_OK;
}

static int on_page(void *context, const weir_sync_page_t *page, weir_error_t *err)
{
    fleet_sync_t *s = fleet_node_sync(context);
    if (page->next.len >= sizeof(s->cursor))
        return weir_error_set(err, WEIR_TOO_LARGE, NULL, "a cursor that is too long");
    s->pages_done = page->next.data == NULL;
    snprintf(s->cursor, sizeof(s->cursor), "%.*s", (int)page->next.len,
             s->pages_done ? "" : page->next.data);
    if (page->version > s->stage_seen)
        s->stage_seen = page->version;
    s->stage_entities += weir_json_count(page->entities);
    return WEIR_OK;
}

static void on_discard(void *context)
{
    fleet_sync_t *s = fleet_node_sync(context);
    *s = (fleet_sync_t){ .version = s->version };
}

static int on_switch_over(void *context, weir_error_t *err)
{
    fleet_sync_t *s = fleet_node_sync(context);
    (void)err;
    size_t entities = s->stage_entities;
    *s = (fleet_sync_t){ .version = s->stage_version };
    fleet_node_applied(context, s->version, entities, true);
    return WEIR_OK;
}

static int on_sums(void *context, bool staged, weir_digest_t *sums, weir_error_t *err)
{
    (void)context;
    (void)staged;
    (void)sums; /* zeroed: of no entity. Not asked for: there is no digest that could differ. */
    (void)err;
    return WEIR_OK;
}

const weir_client_sync_t fleet_sync = {
    .state = on_state,
    .key = on_key,
    .apply = on_apply,
    .stage = on_stage,
    .page = on_page,
    .switch_over = on_switch_over,
    .discard = on_discard,
    .sums = on_sums,
};
