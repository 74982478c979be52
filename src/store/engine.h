/* engine.h -- what an engine provides behind store.h: the same calls, with the
 * same meaning. Only store.c and the engines include this.
 *
 * An engine's store begins with a weir_store_t, so that the front can find the
 * functions and the engine its own state. */
#ifndef WEIR_STORE_ENGINE_H
#define WEIR_STORE_ENGINE_H

#include "store/store.h"

typedef struct weir_engine {
    int (*open)(const weir_store_options_t *options, weir_store_t **ret, weir_error_t *err);
    void (*close)(weir_store_t *store);
    int (*migrate)(const weir_store_options_t *options, size_t *ret_done, weir_error_t *err);
    int (*migrations)(const weir_store_options_t *options,
                      void (*migration)(void *context, const char *name, bool done), void *context,
                      weir_error_t *err);
    int (*reset)(const weir_store_options_t *options, weir_error_t *err);
    const weir_uuid_t *(*default_workspace)(const weir_store_t *store);

    int (*get)(weir_store_t *store, weir_entity_type_t type, const weir_uuid_t *id,
               weir_arena_t *arena, weir_row_t *ret, weir_error_t *err);
    int (*find)(weir_store_t *store, weir_entity_type_t type, const char *key, weir_str_t value,
                weir_arena_t *arena, weir_row_t *ret, weir_error_t *err);
    int (*list)(weir_store_t *store, const weir_store_query_t *query, weir_arena_t *arena,
                weir_rows_t *ret, weir_error_t *err);
    int (*tags)(weir_store_t *store, weir_str_t tag, const weir_uuid_t *after, int after_ordinal,
                size_t limit, weir_arena_t *arena, weir_tag_row_t **ret, int **ret_ordinals,
                size_t *ret_count, bool *ret_more, weir_error_t *err);
    int (*plugin_names)(weir_store_t *store, weir_arena_t *arena, weir_str_t **ret,
                        size_t *ret_count, weir_error_t *err);

    int (*write)(weir_store_t *store, const weir_store_op_t *ops, size_t count,
                 weir_store_result_t *ret, weir_error_t *err);
    int (*expire)(weir_store_t *store, int64_t now_ms, size_t limit, size_t *ret_count,
                  weir_error_t *err);
    void (*watch)(weir_store_t *store, void (*committed)(void *context, uint64_t version),
                  void *context);

    uint64_t (*version)(weir_store_t *store);
    uint64_t (*log_floor)(weir_store_t *store);
    uint64_t (*count)(weir_store_t *store, weir_entity_type_t type);
    void (*numbers)(weir_store_t *store, weir_store_numbers_t *ret);
    int (*deltas)(weir_store_t *store, uint64_t after, uint64_t up_to, weir_delta_fn fn,
                  void *context, weir_error_t *err);
    bool (*deltas_at_hand)(weir_store_t *store, uint64_t after, size_t bytes_max);
    int (*snapshot)(weir_store_t *store, weir_delta_fn fn, void *context, uint64_t *ret_version,
                    weir_error_t *err);

    const weir_digest_key_t *(*digest_key)(const weir_store_t *store);
    int (*digest)(weir_store_t *store, uint64_t version, weir_digest_t *ret);
    int (*view_open)(weir_store_t *store, weir_store_view_t **ret, weir_error_t *err);
    void (*view_close)(weir_store_view_t *view);
    uint64_t (*view_version)(const weir_store_view_t *view);
    int (*view_deltas)(weir_store_view_t *view, uint64_t after, weir_delta_fn fn, void *context,
                       weir_error_t *err);
    int (*view_page)(weir_store_view_t *view, weir_store_cursor_t *cursor, size_t bytes_max,
                     weir_delta_fn fn, void *context, bool *ret_more, weir_error_t *err);
    int (*view_sums)(weir_store_view_t *view, weir_digest_t *sums, weir_error_t *err);
    int (*view_bucket)(weir_store_view_t *view, unsigned bucket, weir_delta_fn fn, void *context,
                       weir_error_t *err);

    int (*put_data_plane)(weir_store_t *store, const weir_uuid_t *node, weir_str_t document,
                          int64_t expires_ms, weir_error_t *err);
    int (*data_planes)(weir_store_t *store, int64_t now_ms, weir_delta_fn fn, void *context,
                       weir_error_t *err);
} weir_engine_t;

struct weir_store {
    const weir_engine_t *engine;
};

/* An engine's view begins with this. */
struct weir_store_view {
    weir_store_t *store;
};

/* Sums made anew from entities, by verify.c and by the migrations of engines. */
typedef struct weir_tally {
    weir_digester_t *digester;
    weir_digest_t *sums; /* of each bucket */
    uint64_t entities;
    void (*progress)(void *context, uint64_t entities); /* may be NULL */
    void *context;
    weir_error_t *err;
} weir_tally_t;

/* A weir_delta_fn; `context` is a weir_tally_t. */
int weir_store_tally(void *context, const weir_delta_t *row);

extern const weir_engine_t weir_sqlite_engine;

#endif
