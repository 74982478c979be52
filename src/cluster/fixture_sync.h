/* fixture_sync.h -- a data plane of weir.sync.v1 that holds nothing and asserts what a
 * real one relies on. Included by *_test.c and *_fuzz.c only. */
#ifndef WEIR_CLUSTER_FIXTURE_SYNC_H
#define WEIR_CLUSTER_FIXTURE_SYNC_H

#include "cluster/client.h"

static inline void stub_check_list(const weir_json_t *list)
{
    weir_assert(weir_json_kind(list) == WEIR_JSON_ARRAY);
    for (const weir_json_t *e = weir_json_first(list); e != NULL; e = weir_json_next(e)) {
        weir_sync_entity_t entity;
        weir_sync_entity(e, &entity);
        weir_assert(entity.type.len > 0);
        weir_assert(entity.entity == NULL || weir_json_kind(entity.entity) == WEIR_JSON_OBJECT);
    }
}

static inline int stub_state(void *context, weir_sync_state_t *ret, weir_error_t *err)
{
    (void)context, (void)err;
    *ret = (weir_sync_state_t){ .version = 1, .has_digest = true };
    return WEIR_OK;
}

static inline int stub_key(void *context, const weir_digest_key_t *key, weir_error_t *err)
{
    (void)context, (void)key, (void)err;
    return WEIR_OK;
}

static inline int stub_apply(void *context, const weir_sync_batch_t *batch,
                             weir_sync_applied_t *ret, weir_error_t *err)
{
    (void)context;
    stub_check_list(batch->deltas);
    for (const weir_json_t *b = weir_json_first(batch->buckets); b != NULL; b = weir_json_next(b)) {
        double bucket = weir_json_get_number(b, "bucket", -1);
        weir_assert(bucket >= 0 && bucket < WEIR_DIGEST_BUCKETS);
        stub_check_list(weir_json_get(b, "entities"));
    }
    ret->has_digest = batch->version % 3 != 0;
    return batch->version % 5 == 4 ? weir_error_set(err, WEIR_FULL, NULL, "full") : WEIR_OK;
}

static inline int stub_stage(void *context, uint64_t snapshot, uint64_t entities, weir_str_t reason,
                             weir_error_t *err)
{
    (void)context, (void)entities, (void)reason, (void)err;
    weir_assert(snapshot > 0);
    return WEIR_OK;
}

static inline int stub_page(void *context, const weir_sync_page_t *page, weir_error_t *err)
{
    (void)context, (void)err;
    stub_check_list(page->entities);
    weir_assert(page->next.len < WEIR_SYNC_CURSOR_MAX);
    return WEIR_OK;
}

static inline int stub_switch(void *context, weir_error_t *err)
{
    (void)context, (void)err;
    return WEIR_OK;
}

static inline void stub_discard(void *context)
{
    (void)context;
}

static inline int stub_sums(void *context, bool staged, weir_digest_t *sums, weir_error_t *err)
{
    (void)context, (void)staged, (void)err;
    memset(sums, 0, WEIR_DIGEST_BUCKETS * sizeof(*sums));
    return WEIR_OK;
}

static inline int stub_random(void *context, uint8_t *bytes, size_t count)
{
    (void)context;
    memset(bytes, 1, count);
    return WEIR_OK;
}

static const weir_client_sync_t stub_callbacks = {
    .state = stub_state,
    .key = stub_key,
    .apply = stub_apply,
    .stage = stub_stage,
    .page = stub_page,
    .switch_over = stub_switch,
    .discard = stub_discard,
    .sums = stub_sums,
};

#endif
