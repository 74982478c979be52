/* store.h -- the control plane's database: entities, deltas and versions, in
 * one transaction.
 *
 * Callers see no SQL and no engine: sqlite/ stands behind this today, a
 * PostgreSQL one can (design, decision 1). Thread-safe: any thread may call
 * anything; concurrent writes share one transaction and one fsync, a savepoint
 * each (decision 2). What a function returned as stored is on disk.
 *
 * Versions count committed writes that changed something, from 1, in commit
 * order. A version has one or more deltas, in the order to be applied. */
#ifndef WEIR_STORE_H
#define WEIR_STORE_H

#include "base/arena.h"
#include "base/base.h"
#include "model/digest.h"
#include "model/model.h"

typedef struct weir_store weir_store_t;

typedef struct weir_store_options {
    const char *path;         /* the database file; created with mode 0600 */
    uint64_t log_entries_max; /* cluster_sync_log_entries: deltas kept */
    int64_t log_age_ms_max;   /* cluster_sync_log_age; 0: no limit by age */
} weir_store_options_t;

/* Opens, checks the schema version. WEIR_NOT_FOUND: not bootstrapped (see
 * weir_store_migrate); WEIR_UNSUPPORTED: made by a newer Weir. */
int weir_store_open(const weir_store_options_t *options, weir_store_t **ret, weir_error_t *err);
void weir_store_close(weir_store_t *store);

/* Migrations, for `weir migrations`. *ret_done counts those that ran. The first
 * also creates the default workspace and the cluster_id parameter. */
int weir_store_migrate(const weir_store_options_t *options, size_t *ret_done, weir_error_t *err);
int weir_store_migrations(const weir_store_options_t *options,
                          void (*migration)(void *context, const char *name, bool done),
                          void *context, weir_error_t *err);
int weir_store_reset(const weir_store_options_t *options, weir_error_t *err);

/* The id of the workspace "default". */
const weir_uuid_t *weir_store_default_workspace(const weir_store_t *store);

/* -- reading ---------------------------------------------------------------- */

typedef struct weir_row {
    weir_entity_type_t type;
    weir_uuid_t id;
    uint64_t version;    /* of the write that made it what it is */
    weir_str_t document; /* the entity as JSON text */
} weir_row_t;

/* WEIR_NOT_FOUND if there is none (or it has expired). The document lives in `arena`. */
int weir_store_get(weir_store_t *store, weir_entity_type_t type, const weir_uuid_t *id,
                   weir_arena_t *arena, weir_row_t *ret, weir_error_t *err);
/* By a unique key as weir_model_keys() names it. */
int weir_store_find(weir_store_t *store, weir_entity_type_t type, const char *key, weir_str_t value,
                    weir_arena_t *arena, weir_row_t *ret, weir_error_t *err);

typedef struct weir_store_query {
    weir_entity_type_t type;
    /* Only children of this parent: by the foreign field `parent_field`. NULL: all. */
    const char *parent_field;
    weir_uuid_t parent;
    /* Only rows with these tags: all of them, or any of them. */
    const weir_str_t *tags;
    size_t tag_count;
    bool tags_any;
    bool has_after; /* rows with an id greater than `after` */
    weir_uuid_t after;
    size_t limit; /* rows at the most; > 0 */
} weir_store_query_t;

typedef struct weir_rows {
    weir_row_t *rows;
    size_t count;
    bool more; /* there are rows after the last one */
} weir_rows_t;

/* Ordered by id. Cost: the page, not the table. */
int weir_store_list(weir_store_t *store, const weir_store_query_t *query, weir_arena_t *arena,
                    weir_rows_t *ret, weir_error_t *err);

typedef struct weir_tag_row {
    weir_str_t tag;
    weir_entity_type_t type;
    weir_uuid_t id;
} weir_tag_row_t;

/* Rows of /tags: ordered by (entity id, ordinal); only those of `tag` if it is set. */
int weir_store_tags(weir_store_t *store, weir_str_t tag, const weir_uuid_t *after,
                    int after_ordinal, size_t limit, weir_arena_t *arena, weir_tag_row_t **ret,
                    int **ret_ordinals, size_t *ret_count, bool *ret_more, weir_error_t *err);

/* Distinct names of plugin rows, for `enabled_in_cluster`; sorted. */
int weir_store_plugin_names(weir_store_t *store, weir_arena_t *arena, weir_str_t **ret,
                            size_t *ret_count, weir_error_t *err);

/* -- writing ---------------------------------------------------------------- */

typedef enum weir_store_kind { WEIR_STORE_PUT, WEIR_STORE_DELETE } weir_store_kind_t;

/* `expected` guards against writes between the caller's read and this write. */
#define WEIR_EXPECT_ABSENT   UINT64_C(0)
#define WEIR_EXPECT_ANYTHING UINT64_MAX

typedef struct weir_store_op {
    weir_store_kind_t kind;
    weir_entity_type_t type;
    weir_uuid_t id;
    const weir_json_t *entity; /* PUT: complete, as weir_model_write() made it */
    uint64_t expected;         /* the row's version, ABSENT or ANYTHING */
} weir_store_op_t;

typedef enum weir_refusal {
    WEIR_REFUSED_NOT = 0,
    WEIR_REFUSED_CHANGED,    /* the row is not of the expected version: read again */
    WEIR_REFUSED_PRIMARY,    /* PUT of an id that exists, expected ABSENT */
    WEIR_REFUSED_UNIQUE,     /* `key`/`value` belong to another row */
    WEIR_REFUSED_REFERENCE,  /* foreign field `key` refers to nothing */
    WEIR_REFUSED_REFERENCED, /* DELETE: rows of `other` refer to it and restrict */
} weir_refusal_t;

typedef struct weir_store_result {
    uint64_t version; /* of this write; of the newest before it if nothing changed */
    bool changed;
    weir_refusal_t refusal;
    size_t op;                /* which operation was refused */
    char key[64];             /* field or "cache_key" */
    weir_uuid_t holder;       /* UNIQUE: the row that has it */
    weir_entity_type_t other; /* REFERENCE: type referred to; REFERENCED: who refers */
    weir_uuid_t other_id;     /* REFERENCED: one of them */
} weir_store_result_t;

/* All operations or none; one version. Cascades are worked out here: their
 * deltas follow the parent's. WEIR_CONFLICT: refused, *ret says why; WEIR_FULL:
 * no space, nothing is stored. DELETE of what is not there changes nothing. */
int weir_store_write(weir_store_t *store, const weir_store_op_t *ops, size_t count,
                     weir_store_result_t *ret, weir_error_t *err);

/* Called after each commit, with the newest version, by whichever thread
 * committed: must be quick and must not call the store. One at a time; NULL
 * ends it. */
void weir_store_watch(weir_store_t *store, void (*committed)(void *context, uint64_t version),
                      void *context);

/* -- deltas ----------------------------------------------------------------- */

typedef struct weir_delta {
    uint64_t version;
    weir_entity_type_t type;
    weir_uuid_t id;
    weir_uuid_t workspace;
    weir_str_t document; /* data NULL: deleted. Lives during the call */
} weir_delta_t;

typedef int (*weir_delta_fn)(void *context, const weir_delta_t *delta);

uint64_t weir_store_version(weir_store_t *store); /* newest committed; no I/O */
/* The log holds every version > this one. */
uint64_t weir_store_log_floor(weir_store_t *store);

/* Every delta with version in (after, up_to], in order. WEIR_NOT_FOUND: `after`
 * is older than the log. Stops at the first result of `fn` that is not WEIR_OK
 * and returns it. */
int weir_store_deltas(weir_store_t *store, uint64_t after, uint64_t up_to, weir_delta_fn fn,
                      void *context, weir_error_t *err);
/* Whether the deltas of every version after `after` are in memory, and no more than
 * `bytes_max` altogether: reading them now is no I/O and takes microseconds. */
bool weir_store_deltas_at_hand(weir_store_t *store, uint64_t after, size_t bytes_max);
/* Every entity, in weir_schema_order(), all as of one version (*ret_version).
 * Memory does not grow with the set. */
int weir_store_snapshot(weir_store_t *store, weir_delta_fn fn, void *context, uint64_t *ret_version,
                        weir_error_t *err);
uint64_t weir_store_count(weir_store_t *store, weir_entity_type_t type); /* rows; no scan */

/* What it did since it was opened, and how long its log is; for metrics, no I/O. */
typedef struct weir_store_numbers {
    uint64_t log_entries; /* deltas that are kept */
    uint64_t writes;      /* that were tried: also those that changed nothing or were refused */
    uint64_t commits;     /* transactions that the writes shared */
    uint64_t failures;    /* transactions that could not be stored */
} weir_store_numbers_t;
void weir_store_numbers(weir_store_t *store, weir_store_numbers_t *ret);

/* -- proof and pages (docs/sync-v1.md) --------------------------------------- */

/* The key of this cluster's digests: made with the database, never changed. */
const weir_digest_key_t *weir_store_digest_key(const weir_store_t *store);
/* The digest of the whole set as of `version`. The newest few thousand versions of
 * this process are remembered: WEIR_NOT_FOUND for others. Neither reads the database
 * nor waits for it. */
int weir_store_digest(weir_store_t *store, uint64_t version, weir_digest_t *ret);

/* Where a page begins: after this entity, in weir_schema_order() and by id. */
typedef struct weir_store_cursor {
    weir_entity_type_t type; /* WEIR_ENTITY_NONE: at the very beginning */
    weir_uuid_t id;
} weir_store_cursor_t;

/* One committed state, to be read in several steps. It holds a connection and keeps
 * the database's log from being shortened: close it soon. For one thread. */
typedef struct weir_store_view weir_store_view_t;

int weir_store_view_open(weir_store_t *store, weir_store_view_t **ret, weir_error_t *err);
void weir_store_view_close(weir_store_view_t *view); /* NULL is fine */
uint64_t weir_store_view_version(const weir_store_view_t *view);
/* As weir_store_deltas(), up to the view's version. */
int weir_store_view_deltas(weir_store_view_t *view, uint64_t after, weir_delta_fn fn, void *context,
                           weir_error_t *err);
/* Entities after `cursor`, until their documents come to `bytes_max` or more (one at
 * least); what has expired and is not deleted yet is among them. *cursor moves behind
 * the last one; *ret_more: there are others. */
int weir_store_view_page(weir_store_view_t *view, weir_store_cursor_t *cursor, size_t bytes_max,
                         weir_delta_fn fn, void *context, bool *ret_more, weir_error_t *err);
/* The sums of all buckets: WEIR_DIGEST_BUCKETS of them. */
int weir_store_view_sums(weir_store_view_t *view, weir_digest_t *sums, weir_error_t *err);
/* The entities of a bucket, in weir_schema_order(). Cost: the bucket, not the set. */
int weir_store_view_bucket(weir_store_view_t *view, unsigned bucket, weir_delta_fn fn,
                           void *context, weir_error_t *err);

typedef struct weir_store_verdict {
    uint64_t version, entities;
    weir_digest_t kept, computed; /* of the whole set */
    size_t bad_buckets;
    unsigned first_bad_bucket;
} weir_store_verdict_t;

/* Computes every sum anew from the documents and compares it with what is kept.
 * `progress` (may be NULL) is told of the entities so far, now and then. */
int weir_store_verify(weir_store_t *store, void (*progress)(void *context, uint64_t entities),
                      void *context, weir_store_verdict_t *ret, weir_error_t *err);

/* Deletes what has expired by `now_ms`, at most `limit` rows; as any write. */
int weir_store_expire(weir_store_t *store, int64_t now_ms, size_t limit, size_t *ret_count,
                      weir_error_t *err);

/* -- data planes: last known state, kept over restarts ----------------------- */

/* `document`: the row as /clustering/data-planes shows it. Not versioned, no delta. */
int weir_store_put_data_plane(weir_store_t *store, const weir_uuid_t *node, weir_str_t document,
                              int64_t expires_ms, weir_error_t *err);
int weir_store_data_planes(weir_store_t *store, int64_t now_ms, weir_delta_fn fn, void *context,
                           weir_error_t *err);

#endif
