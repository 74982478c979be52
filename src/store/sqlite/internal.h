/* internal.h -- shared by the files of the SQLite engine.
 *
 * One connection writes, a bounded pool of others reads. Every statement is
 * prepared once per connection. */
#ifndef WEIR_STORE_SQLITE_H
#define WEIR_STORE_SQLITE_H

#include "base/buffer.h"
#include "store/store.h"

#include <pthread.h>
#include <semaphore.h>
#include <sqlite3.h>
#include <stdatomic.h>

enum {
    READERS_MAX = 32,
    BUSY_TIMEOUT_MS = 10000,
    SEQ_BITS = 20, /* a delta's rowid is version << SEQ_BITS | seq */
    WRITES_PER_GROUP_MAX = 512,
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
    S_DELTA_INSERT,
    S_DELTA_RANGE,
    S_DELTA_OLDEST,
    S_DELTA_DELETE,
    S_META_GET,
    S_META_PUT,
    S_COUNT_PUT,
    S_COUNTS,
    S_DELTA_COUNT,
    S_SNAPSHOT,
    S_EXPIRED,
    S_PLANE_PUT,
    S_PLANES,
    STATEMENTS
} statement_t;

typedef struct connection {
    sqlite3 *db;
    sqlite3_stmt *statements[STATEMENTS];
} connection_t;

typedef struct pending pending_t; /* write.c: a write that waits for its group */

struct weir_store {
    weir_store_options_t options;
    char *path;
    weir_uuid_t workspace;

    connection_t writer; /* whoever leads the group */
    pthread_mutex_t queue_lock;
    pending_t *queue_first, *queue_last;
    bool leading;

    pthread_mutex_t readers_lock;
    pthread_cond_t readers_free;
    connection_t *idle[READERS_MAX];
    size_t idle_count, readers_count;

    _Atomic uint64_t version, floor;
    _Atomic uint64_t counts[WEIR_ENTITY_TYPES];
    uint64_t log_entries; /* the leader's */

    pthread_mutex_t watch_lock;
    void (*committed)(void *context, uint64_t version);
    void *watch_context;
};

int connection_open(const char *path, connection_t *ret, weir_error_t *err);
void connection_close(connection_t *connection);
/* A statement ready to be bound. NULL: *err says why. */
sqlite3_stmt *statement(connection_t *connection, statement_t which, weir_error_t *err);
/* Steps and resets a statement that returns nothing. */
int execute(connection_t *connection, sqlite3_stmt *prepared, weir_error_t *err);
int execute_simple(connection_t *connection, statement_t which, weir_error_t *err);
/* The error of the connection's last call; WEIR_FULL for a full disk. */
int sqlite_error(connection_t *connection, weir_error_t *err);

void bind_uuid(sqlite3_stmt *prepared, int index, const weir_uuid_t *uuid);
void bind_text(sqlite3_stmt *prepared, int index, weir_str_t text);
void column_uuid(sqlite3_stmt *prepared, int index, weir_uuid_t *ret);
weir_str_t column_str(sqlite3_stmt *prepared, int index); /* until the next step */

/* A connection of the pool; waits for one when all are in use. */
int reader_take(weir_store_t *store, connection_t **ret, weir_error_t *err);
void reader_give(weir_store_t *store, connection_t *connection);

int meta_get(connection_t *connection, const char *name, weir_arena_t *arena, weir_str_t *ret,
             weir_error_t *err);
int meta_put(connection_t *connection, const char *name, weir_str_t value, weir_error_t *err);

int weir_store_write_first(weir_store_t *store, weir_error_t *err); /* write.c: bootstrap rows */

#endif
