/* internal.h -- shared by the files of the SQLite engine.
 *
 *   open.c        open, close, migrations       connection.c  statements, readers
 *   read.c        rows, pages of them           prepare.c     a write, before the queue
 *   group.c       the queue and the commit      apply.c       a write, in the transaction
 *   log.c         deltas                        view.c        one state, in pages or whole
 *   sums.c        the digest of what is stored       recent.c      the newest deltas, in memory
 *   commits.c     version, counts and sums, a row for each commit    wal_file.c    its log's file
 *
 * One connection writes: that of the thread which leads a group (group.c). A
 * bounded pool of others reads. Every statement is prepared once a connection. */
#ifndef WEIR_STORE_SQLITE_H
#define WEIR_STORE_SQLITE_H

#include "base/buffer.h"
#include "store/engine.h"

#include <pthread.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <stdatomic.h>

enum {
    READERS_MAX = 32,
    BUSY_TIMEOUT_MS = 10000,
    SEQ_BITS = 24,            /* a delta's position is version << SEQ_BITS | seq */
    OP_BYTES_MAX = 256 << 20, /* memory that one write may take */
    DIGESTS_REMEMBERED = 8192,
};

typedef enum statement {
    S_BEGIN,
    S_BEGIN_READ,
    S_COMMIT,
    S_ROLLBACK,
    S_SAVEPOINT,
    S_RELEASE,
    S_ROLLBACK_TO,
    S_GET,
    S_EXISTS,
    S_FIND,
    S_LIST,
    S_LIST_CHILDREN,
    S_STORED,
    S_ENTITY_PUT,
    S_ENTITY_DELETE,
    S_KEY_INSERT,
    S_KEY_OWNER,
    S_KEY_DELETE,
    S_REFERENCE_INSERT,
    S_REFERENCE_DELETE,
    S_REFERRERS,
    S_TAG_INSERT,
    S_TAG_DELETE,
    S_TAGS_PAGE,
    S_TAGS_OF,
    S_PLUGIN_NAMES,
    S_PLUGIN_COUNT,
    S_DELTA_INSERT,
    S_DELTA_RANGE,
    S_DELTA_OLDEST,
    S_DELTA_DELETE,
    S_META_GET,
    S_META_PUT,
    S_COUNT_PUT,
    S_COUNTS,
    S_DATA_VERSION,
    S_ENTITIES,
    S_SUMS,
    S_SUM_PUT,
    S_VERSION,
    S_COMMITS,
    S_COMMIT_LOG,
    S_COMMITS_EMPTY,
    S_EXPIRED,
    S_PLANE_PUT,
    S_PLANES_EXPIRE,
    S_PLANES,
    STATEMENTS
} statement_t;

typedef struct connection {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
} connection_t;

/* What the database says of itself; the memory's copy of it follows a commit. */
typedef struct state {
    uint64_t version;
    uint64_t floor;
    uint64_t log_entries;
    uint64_t counts[WEIR_ENTITY_TYPES];
    weir_digest_t digest; /* the total of all sums */
} state_t;

/* Which buckets: each once, in the order in which they came. */
typedef struct bucket_set {
    uint16_t buckets[WEIR_DIGEST_BUCKETS];
    bool has[WEIR_DIGEST_BUCKETS];
    size_t count;
} bucket_set_t;

/* The sums that something changed, as they were before. */
typedef struct sums_layer {
    bucket_set_t set;
    weir_digest_t saved[WEIR_DIGEST_BUCKETS]; /* of those in the set */
} sums_layer_t;

/* The leader's (sums.c). */
typedef struct sums {
    weir_digest_t now[WEIR_DIGEST_BUCKETS];
    sums_layer_t write, group;
    bucket_set_t logged; /* newer in the log of commits than in the table */
} sums_t;

typedef struct known_digest {
    uint64_t version;
    weir_digest_t digest;
} known_digest_t;

/* A version is in the slot of its number, until a later one takes that. */
typedef struct digest_ring {
    pthread_mutex_t lock;
    known_digest_t known[DIGESTS_REMEMBERED];
} digest_ring_t;

enum { RECENT_BYTES = 1 << 20, RECENT_VERSIONS = 4096 };

/* The newest deltas (recent.c). */
typedef struct recent {
    weir_buffer_t noted;              /* of the group at work: the leader's */
    pthread_mutex_t lock;             /* of what follows */
    uint64_t first, newest;           /* versions that are there, whole; none: newest is 0 */
    uint64_t end;                     /* bytes ever written; the ring has the last of them */
    uint64_t starts[RECENT_VERSIONS]; /* a version is in the slot of its number */
    char bytes[RECENT_BYTES];
} recent_t;

typedef struct pending pending_t;

typedef struct store {
    weir_store_t base;
    weir_store_options_t options;
    char *path;
    weir_uuid_t workspace;
    weir_digest_key_t digest_key;

    pthread_mutex_t queue_lock;
    pthread_cond_t arrivals; /* for a leader that gathers */
    pending_t *queue_first, *queue_last;
    size_t queue_count;
    size_t gather_until;        /* arrivals are signalled at this many; 0: nobody waits */
    size_t expected;            /* writes in the next group, if everybody comes again */
    struct timespec gather_end; /* until when they are waited for */
    int64_t commit_us;          /* what a commit takes, smoothed */
    bool leading;

    /* The leader's. */
    connection_t writer;
    state_t state;
    unsigned careful;     /* groups that begin with savepoints */
    int64_t data_version; /* another process changes it by committing */
    sums_t sums;
    size_t commit_rows; /* in the table commit_log */
    weir_digester_t *digester;

    pthread_mutex_t readers_lock;
    pthread_cond_t readers_free;
    connection_t *idle[READERS_MAX];
    size_t idle_count, readers_count;

    /* Copies of `state` for everybody. */
    _Atomic uint64_t version, floor, log_entries;
    _Atomic uint64_t counts[WEIR_ENTITY_TYPES];
    digest_ring_t ring;
    recent_t recent;

    _Atomic uint64_t writes, commits, failures; /* since it was opened */

    pthread_mutex_t watch_lock;
    void (*committed)(void *context, uint64_t version);
    void *watch_context;
} store_t;

static inline store_t *store_of(weir_store_t *base)
{
    return (store_t *)base;
}

/* -- connection.c ----------------------------------------------------------------- */

int weir_sqlite_connect(const char *path, bool writer, connection_t *ret, weir_error_t *err);
void weir_sqlite_disconnect(connection_t *connection);
/* The error of the connection's last call; WEIR_FULL for a full disk. */
int weir_sqlite_error(connection_t *connection, weir_error_t *err);

/* A prepared statement with its values bound, one letter each: i int64_t,
 * n the same, 0 is null, u weir_uuid_t * (NULL: less than any), t weir_str_t
 * (data NULL: null), b weir_str_t as bytes. Values must live until the
 * statement is reset; the caller steps and resets. */
int weir_sqlite_select(connection_t *connection, statement_t which, sqlite3_stmt **ret,
                       weir_error_t *err, const char *kinds, ...);
/* The same for a statement that returns nothing: stepped and reset. */
int weir_sqlite_run(connection_t *connection, statement_t which, weir_error_t *err,
                    const char *kinds, ...);
/* Steps. WEIR_OK: a row; WEIR_NOT_FOUND: the end. */
int weir_sqlite_step(connection_t *connection, sqlite3_stmt *select, weir_error_t *err);
void weir_sqlite_column_uuid(sqlite3_stmt *row, int index, weir_uuid_t *ret);
weir_str_t weir_sqlite_column_str(sqlite3_stmt *row, int index); /* until the next step */

/* A connection of the pool; waits for one when all are in use. */
int weir_sqlite_reader_take(store_t *store, connection_t **ret, weir_error_t *err);
void weir_sqlite_reader_give(store_t *store, connection_t *connection);

/* Small facts by name. A number that is absent is 0. */
int weir_sqlite_meta_get(connection_t *connection, const char *name, weir_arena_t *arena,
                         weir_str_t *ret, weir_error_t *err);
int weir_sqlite_meta_put(connection_t *connection, const char *name, weir_str_t value,
                         weir_error_t *err);
int weir_sqlite_meta_number(connection_t *connection, const char *name, uint64_t *ret,
                            weir_error_t *err);
int weir_sqlite_meta_put_number(connection_t *connection, const char *name, uint64_t value,
                                weir_error_t *err);

/* -- wal_file.c --------------------------------------------------------------------- */

/* The name of the file layer to open databases with; NULL: SQLite's own. What is opened with
 * it must also be told that rolled back pages are dropped. */
const char *weir_sqlite_files(void);
void weir_sqlite_drop_at_rollback(sqlite3 *connection);

/* -- prepare.c ---------------------------------------------------------------------- */

enum { KEYS_MAX = 8, REFERENCES_MAX = 128, TAGS_MAX = 1024 };

typedef struct index_key {
    const char *name;
    weir_str_t value;
} index_key_t;

typedef struct index_reference {
    const char *field;
    weir_entity_type_t to;
    weir_uuid_t id;
    int on_delete; /* weir_on_delete_t */
    bool must_exist;
} index_reference_t;

/* What an entity is found by. */
typedef struct indexed {
    index_key_t keys[KEYS_MAX];
    size_t key_count;
    index_reference_t *references;
    size_t reference_count;
    weir_str_t *tags;
    size_t tag_count;
    weir_str_t plugin_name; /* of plugins; data NULL otherwise */
    weir_arena_t *arena;
} indexed_t;

typedef struct prepared_op {
    const weir_store_op_t *op;
    weir_str_t document;
    uint8_t content[16]; /* hash of the document without its timestamps */
    double created_at, updated_at;
    int64_t expires_ms; /* 0: never */
    indexed_t indexed;
} prepared_op_t;

/* WEIR_TOO_LARGE, WEIR_NO_MEMORY: *err says more. */
int weir_sqlite_prepare(const weir_store_op_t *op, weir_arena_t *arena, prepared_op_t *ret,
                        weir_error_t *err);
int weir_sqlite_index(const weir_schema_t *schema, const weir_json_t *entity, weir_arena_t *arena,
                      indexed_t *ret, weir_error_t *err);
/* What happens to an entity of `type` when what its field refers to goes. */
int weir_sqlite_on_delete(weir_entity_type_t type, const weir_field_t *field);

/* -- group.c ------------------------------------------------------------------------- */

/* Where what the group made of the whole was written (commits.c). */
typedef enum saved {
    SAVED_NOT,
    SAVED_IN_LOG,
    SAVED_IN_TABLES, /* and the log emptied */
} saved_t;

/* One transaction at work, thrown away if it fails. */
typedef struct group {
    store_t *store;
    connection_t *db;
    state_t state; /* as it will be */
    int64_t now_ms;
    uint64_t seq;    /* of the next delta of the write at work */
    bool savepoints; /* one around each write */
    bool undone;     /* a write was, or, without savepoints, has to be */
    saved_t saved;
} group_t;

/* What a queued call does inside its savepoint. WEIR_CONFLICT: refused. */
typedef int (*weir_sqlite_work_t)(group_t *group, void *context, weir_store_result_t *result,
                                  weir_error_t *err);

/* Queues `work` and returns when it is on disk, or refused, or failed. A work
 * that added deltas gets a version. */
int weir_sqlite_commit(store_t *store, weir_sqlite_work_t work, void *context,
                       weir_store_result_t *ret, weir_error_t *err);
void weir_sqlite_publish(store_t *store, const state_t *state);

/* -- commits.c ----------------------------------------------------------------------- */

/* The state and the leader's sums, at start and after another process wrote. */
int weir_sqlite_commits_load(store_t *store, state_t *ret, weir_error_t *err);
/* As a transaction of `connection` sees it: the version, and WEIR_DIGEST_BUCKETS sums. */
int weir_sqlite_commits_version(connection_t *connection, uint64_t *ret, weir_error_t *err);
int weir_sqlite_commits_sums(connection_t *connection, weir_digest_t *sums, weir_error_t *err);
/* Writes what the group, which has a new version, made of state and sums. */
int weir_sqlite_commits_save(group_t *group, weir_error_t *err);
/* Not committed: the sums are again what they were before the group. */
void weir_sqlite_commits_end(group_t *group, bool committed);

/* -- apply.c --------------------------------------------------------------------------- */

int weir_sqlite_apply(group_t *group, const prepared_op_t *op, size_t index,
                      weir_store_result_t *result, weir_error_t *err);
/* Deletes an entity and what goes with it. What is not there changes nothing. */
int weir_sqlite_apply_delete(group_t *group, weir_entity_type_t type, const weir_uuid_t *id,
                             size_t index, weir_store_result_t *result, weir_error_t *err);

/* -- sums.c ----------------------------------------------------------------------------- */

/* Reads the key, makes the leader's digester. */
int weir_sqlite_sums_open(store_t *store, weir_error_t *err);
/* WEIR_DIGEST_BUCKETS of them, as the table has them. */
int weir_sqlite_sums_table(connection_t *connection, weir_digest_t *sums, weir_error_t *err);
/* Lays those of a row of the log over them; `logged` (or NULL) gets their buckets. */
int weir_sqlite_sums_take(sqlite3_stmt *row, int column, weir_digest_t *sums, bucket_set_t *logged,
                          weir_error_t *err);
/* Nothing is known to be in the log. */
void weir_sqlite_sums_forget(sums_t *sums);
/* Makes the key, and the sums of what is there. */
int weir_sqlite_sums_migrate(connection_t *connection, weir_error_t *err);

void weir_sqlite_sums_begin_write(sums_t *sums);
void weir_sqlite_sums_undo_write(sums_t *sums);
/* Not committed: they are again what they were before the group. */
void weir_sqlite_sums_end_group(sums_t *sums, bool committed, bool folded);
/* An entity changes: its hash before, and after; NULL: there is none. */
void weir_sqlite_sums_change(group_t *group, const weir_uuid_t *id, const weir_digest_t *gone,
                             const weir_digest_t *come);
/* Those that the group changed, as a row of the log has them; the caller frees ret->data. */
int weir_sqlite_sums_print(const store_t *store, weir_str_t *ret, weir_error_t *err);
/* To the table: those of the log, and those that the group changed. */
int weir_sqlite_sums_put(group_t *group, weir_error_t *err);

/* In the order of versions, and before they are published. */
void weir_sqlite_remember(store_t *store, uint64_t version, const weir_digest_t *digest);

/* -- recent.c ------------------------------------------------------------------------------ */

/* By the leader: a group begins; what it has noted is as it was at the mark; a delta of
 * it; it is committed (before its versions are published); what came of others' writes
 * is not known. */
void weir_sqlite_recent_begin_group(recent_t *recent);
size_t weir_sqlite_recent_mark(const recent_t *recent);
void weir_sqlite_recent_undo(recent_t *recent, size_t mark);
void weir_sqlite_recent_note(recent_t *recent, uint64_t version, weir_entity_type_t type,
                             const weir_uuid_t *id, weir_str_t document);
void weir_sqlite_recent_publish(recent_t *recent);
void weir_sqlite_recent_forget(recent_t *recent);

/* Whether all versions in (after, up_to] are there, and have no more than `bytes_max`. */
bool weir_sqlite_recent_has(recent_t *recent, uint64_t after, uint64_t up_to, size_t bytes_max);
/* As weir_sqlite_read_log(), whose result is in *ret; false: it is not all there, or there
 * is no memory, and `fn` was not called. */
bool weir_sqlite_recent_read(store_t *store, uint64_t after, uint64_t up_to, weir_delta_fn fn,
                             void *context, int *ret);

/* -- log.c, view.c ------------------------------------------------------------------------ */

int weir_sqlite_read_log(connection_t *connection, uint64_t after, uint64_t up_to, weir_delta_fn fn,
                         void *context, weir_error_t *err);
/* Every entity, in weir_schema_order(). */
int weir_sqlite_each_entity(connection_t *connection, weir_delta_fn fn, void *context,
                            weir_error_t *err);

/* -- the engine's functions -------------------------------------------------------------- */

int weir_sqlite_get(weir_store_t *base, weir_entity_type_t type, const weir_uuid_t *id,
                    weir_arena_t *arena, weir_row_t *ret, weir_error_t *err);
int weir_sqlite_find(weir_store_t *base, weir_entity_type_t type, const char *key, weir_str_t value,
                     weir_arena_t *arena, weir_row_t *ret, weir_error_t *err);
int weir_sqlite_list(weir_store_t *base, const weir_store_query_t *query, weir_arena_t *arena,
                     weir_rows_t *ret, weir_error_t *err);
int weir_sqlite_tags(weir_store_t *base, weir_str_t tag, const weir_uuid_t *after,
                     int after_ordinal, size_t limit, weir_arena_t *arena, weir_tag_row_t **ret,
                     int **ret_ordinals, size_t *ret_count, bool *ret_more, weir_error_t *err);
int weir_sqlite_plugin_names(weir_store_t *base, weir_arena_t *arena, weir_str_t **ret,
                             size_t *ret_count, weir_error_t *err);
int weir_sqlite_deltas(weir_store_t *base, uint64_t after, uint64_t up_to, weir_delta_fn fn,
                       void *context, weir_error_t *err);
bool weir_sqlite_deltas_at_hand(weir_store_t *base, uint64_t after, size_t bytes_max);
int weir_sqlite_snapshot(weir_store_t *base, weir_delta_fn fn, void *context, uint64_t *ret_version,
                         weir_error_t *err);
const weir_digest_key_t *weir_sqlite_digest_key(const weir_store_t *base);
int weir_sqlite_digest(weir_store_t *base, uint64_t version, weir_digest_t *ret);
int weir_sqlite_view_open(weir_store_t *base, weir_store_view_t **ret, weir_error_t *err);
void weir_sqlite_view_close(weir_store_view_t *base);
uint64_t weir_sqlite_view_version(const weir_store_view_t *base);
int weir_sqlite_view_deltas(weir_store_view_t *base, uint64_t after, weir_delta_fn fn,
                            void *context, weir_error_t *err);
int weir_sqlite_view_page(weir_store_view_t *base, weir_store_cursor_t *cursor, size_t bytes_max,
                          weir_delta_fn fn, void *context, bool *ret_more, weir_error_t *err);
int weir_sqlite_view_sums(weir_store_view_t *base, weir_digest_t *sums, weir_error_t *err);
int weir_sqlite_view_bucket(weir_store_view_t *base, unsigned bucket, weir_delta_fn fn,
                            void *context, weir_error_t *err);
int weir_sqlite_data_planes(weir_store_t *base, int64_t now_ms, weir_delta_fn fn, void *context,
                            weir_error_t *err);
int weir_sqlite_write(weir_store_t *base, const weir_store_op_t *ops, size_t count,
                      weir_store_result_t *ret, weir_error_t *err);
int weir_sqlite_expire(weir_store_t *base, int64_t now_ms, size_t limit, size_t *ret_count,
                       weir_error_t *err);
int weir_sqlite_put_data_plane(weir_store_t *base, const weir_uuid_t *node, weir_str_t document,
                               int64_t expires_ms, weir_error_t *err);
void weir_sqlite_watch(weir_store_t *base, void (*committed)(void *context, uint64_t version),
                       void *context);

#endif
