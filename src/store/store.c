/* store.c -- hands every call of store.h to the engine behind it. */
#include "store/store.h"

#include "store/engine.h"

/* Another engine is chosen here, by what the options name. */
static const weir_engine_t *engine_of(const weir_store_options_t *options)
{
    weir_assert(options->path != NULL);
    return &weir_sqlite_engine;
}

int weir_store_open(const weir_store_options_t *options, weir_store_t **ret, weir_error_t *err)
{
    return engine_of(options)->open(options, ret, err);
}

void weir_store_close(weir_store_t *store)
{
    if (store != NULL)
        store->engine->close(store);
}

int weir_store_migrate(const weir_store_options_t *options, size_t *ret_done, weir_error_t *err)
{
    return engine_of(options)->migrate(options, ret_done, err);
}

int weir_store_migrations(const weir_store_options_t *options,
                          void (*migration)(void *context, const char *name, bool done),
                          void *context, weir_error_t *err)
{
    return engine_of(options)->migrations(options, migration, context, err);
}

int weir_store_reset(const weir_store_options_t *options, weir_error_t *err)
{
    return engine_of(options)->reset(options, err);
}

const weir_uuid_t *weir_store_default_workspace(const weir_store_t *store)
{
    return store->engine->default_workspace(store);
}

int weir_store_get(weir_store_t *store, weir_entity_type_t type, const weir_uuid_t *id,
                   weir_arena_t *arena, weir_row_t *ret, weir_error_t *err)
{
    return store->engine->get(store, type, id, arena, ret, err);
}

int weir_store_find(weir_store_t *store, weir_entity_type_t type, const char *key, weir_str_t value,
                    weir_arena_t *arena, weir_row_t *ret, weir_error_t *err)
{
    return store->engine->find(store, type, key, value, arena, ret, err);
}

int weir_store_list(weir_store_t *store, const weir_store_query_t *query, weir_arena_t *arena,
                    weir_rows_t *ret, weir_error_t *err)
{
    return store->engine->list(store, query, arena, ret, err);
}

int weir_store_tags(weir_store_t *store, weir_str_t tag, const weir_uuid_t *after,
                    int after_ordinal, size_t limit, weir_arena_t *arena, weir_tag_row_t **ret,
                    int **ret_ordinals, size_t *ret_count, bool *ret_more, weir_error_t *err)
{
    return store->engine->tags(store, tag, after, after_ordinal, limit, arena, ret, ret_ordinals,
                               ret_count, ret_more, err);
}

int weir_store_plugin_names(weir_store_t *store, weir_arena_t *arena, weir_str_t **ret,
                            size_t *ret_count, weir_error_t *err)
{
    return store->engine->plugin_names(store, arena, ret, ret_count, err);
}

int weir_store_write(weir_store_t *store, const weir_store_op_t *ops, size_t count,
                     weir_store_result_t *ret, weir_error_t *err)
{
    weir_assert(count > 0);
    return store->engine->write(store, ops, count, ret, err);
}

void weir_store_watch(weir_store_t *store, void (*committed)(void *context, uint64_t version),
                      void *context)
{
    store->engine->watch(store, committed, context);
}

uint64_t weir_store_version(weir_store_t *store)
{
    return store->engine->version(store);
}

uint64_t weir_store_log_floor(weir_store_t *store)
{
    return store->engine->log_floor(store);
}

void weir_store_numbers(weir_store_t *store, weir_store_numbers_t *ret)
{
    store->engine->numbers(store, ret);
}

int weir_store_deltas(weir_store_t *store, uint64_t after, uint64_t up_to, weir_delta_fn fn,
                      void *context, weir_error_t *err)
{
    return store->engine->deltas(store, after, up_to, fn, context, err);
}

bool weir_store_deltas_at_hand(weir_store_t *store, uint64_t after, size_t bytes_max)
{
    return store->engine->deltas_at_hand(store, after, bytes_max);
}

int weir_store_snapshot(weir_store_t *store, weir_delta_fn fn, void *context, uint64_t *ret_version,
                        weir_error_t *err)
{
    return store->engine->snapshot(store, fn, context, ret_version, err);
}

const weir_digest_key_t *weir_store_digest_key(const weir_store_t *store)
{
    return store->engine->digest_key(store);
}

int weir_store_digest(weir_store_t *store, uint64_t version, weir_digest_t *ret)
{
    return store->engine->digest(store, version, ret);
}

int weir_store_view_open(weir_store_t *store, weir_store_view_t **ret, weir_error_t *err)
{
    return store->engine->view_open(store, ret, err);
}

void weir_store_view_close(weir_store_view_t *view)
{
    if (view != NULL)
        view->store->engine->view_close(view);
}

uint64_t weir_store_view_version(const weir_store_view_t *view)
{
    return view->store->engine->view_version(view);
}

int weir_store_view_deltas(weir_store_view_t *view, uint64_t after, weir_delta_fn fn, void *context,
                           weir_error_t *err)
{
    return view->store->engine->view_deltas(view, after, fn, context, err);
}

int weir_store_view_page(weir_store_view_t *view, weir_store_cursor_t *cursor, size_t bytes_max,
                         weir_delta_fn fn, void *context, bool *ret_more, weir_error_t *err)
{
    return view->store->engine->view_page(view, cursor, bytes_max, fn, context, ret_more, err);
}

int weir_store_view_sums(weir_store_view_t *view, weir_digest_t *sums, weir_error_t *err)
{
    return view->store->engine->view_sums(view, sums, err);
}

int weir_store_view_bucket(weir_store_view_t *view, unsigned bucket, weir_delta_fn fn,
                           void *context, weir_error_t *err)
{
    return view->store->engine->view_bucket(view, bucket, fn, context, err);
}

uint64_t weir_store_count(weir_store_t *store, weir_entity_type_t type)
{
    return store->engine->count(store, type);
}

int weir_store_expire(weir_store_t *store, int64_t now_ms, size_t limit, size_t *ret_count,
                      weir_error_t *err)
{
    return store->engine->expire(store, now_ms, limit, ret_count, err);
}

int weir_store_put_data_plane(weir_store_t *store, const weir_uuid_t *node, weir_str_t document,
                              int64_t expires_ms, weir_error_t *err)
{
    return store->engine->put_data_plane(store, node, document, expires_ms, err);
}

int weir_store_data_planes(weir_store_t *store, int64_t now_ms, weir_delta_fn fn, void *context,
                           weir_error_t *err)
{
    return store->engine->data_planes(store, now_ms, fn, context, err);
}
