/* connection.c -- connections, prepared statements, the pool of readers. */
#include "store/sqlite/internal.h"

#include <stdarg.h>
#include <stdio.h>

static const char *const sql[STATEMENTS] = {
    [S_BEGIN] = "BEGIN IMMEDIATE",
    [S_BEGIN_READ] = "BEGIN",
    [S_COMMIT] = "COMMIT",
    [S_ROLLBACK] = "ROLLBACK",
    [S_SAVEPOINT] = "SAVEPOINT w",
    [S_RELEASE] = "RELEASE w",
    [S_ROLLBACK_TO] = "ROLLBACK TO w",
    [S_GET] = "SELECT id, version, document, expires_ms FROM entity WHERE type=?1 AND id=?2",
    [S_EXISTS] = "SELECT 1 FROM entity WHERE type=?1 AND id=?2",
    [S_FIND] = "SELECT e.id, e.version, e.document, e.expires_ms FROM unique_key k JOIN entity e "
               "ON e.type=k.type AND e.id=k.id WHERE k.type=?1 AND k.key=?2 AND k.value=?3",
    [S_LIST] = "SELECT id, version, document, expires_ms FROM entity "
               "WHERE type=?1 AND id>?2 ORDER BY id",
    [S_LIST_CHILDREN] = "SELECT e.id, e.version, e.document, e.expires_ms FROM reference r "
                        "JOIN entity e ON e.type=r.type AND e.id=r.id WHERE r.to_type=?3 AND "
                        "r.to_id=?4 AND r.on_delete=?6 AND r.type=?1 AND r.field=?5 AND r.id>?2 "
                        "ORDER BY r.id",
    [S_STORED] = "SELECT version, expires_ms, content, document FROM entity "
                 "WHERE type=?1 AND id=?2",
    [S_ENTITY_PUT] = "INSERT OR REPLACE INTO "
                     "entity(type,id,version,workspace,expires_ms,content,document) "
                     "VALUES(?1,?2,?3,?4,?5,?6,?7)",
    [S_ENTITY_DELETE] = "DELETE FROM entity WHERE type=?1 AND id=?2",
    [S_KEY_INSERT] = "INSERT OR IGNORE INTO unique_key(type,key,value,id) VALUES(?1,?2,?3,?4)",
    [S_KEY_OWNER] = "SELECT id FROM unique_key WHERE type=?1 AND key=?2 AND value=?3",
    [S_KEY_DELETE] = "DELETE FROM unique_key WHERE type=?1 AND key=?2 AND value=?3",
    [S_REFERENCE_INSERT] = "INSERT OR REPLACE INTO "
                           "reference(to_type,to_id,on_delete,type,field,id) "
                           "VALUES(?1,?2,?3,?4,?5,?6)",
    [S_REFERENCE_DELETE] = "DELETE FROM reference WHERE to_type=?1 AND to_id=?2 AND on_delete=?3 "
                           "AND type=?4 AND field=?5 AND id=?6",
    [S_REFERRERS] = "SELECT type, id, field FROM reference "
                    "WHERE to_type=?1 AND to_id=?2 AND on_delete=?3 ORDER BY type, field, id",
    [S_TAG_INSERT] = "INSERT OR REPLACE INTO tag(type,tag,id,ordinal) VALUES(?1,?2,?3,?4)",
    [S_TAG_DELETE] = "DELETE FROM tag WHERE type=?1 AND tag=?2 AND id=?3",
    [S_TAGS_PAGE] = "SELECT tag, type, id, ordinal FROM tag WHERE (id,ordinal)>(?1,?2) "
                    "ORDER BY id, ordinal LIMIT ?3",
    [S_TAGS_OF] = "SELECT tag, type, id, ordinal FROM tag WHERE tag=?4 AND (id,ordinal)>(?1,?2) "
                  "ORDER BY id, ordinal LIMIT ?3",
    [S_PLUGIN_NAMES] = "SELECT name FROM plugin_name WHERE count>0 ORDER BY name",
    [S_PLUGIN_COUNT] = "INSERT INTO plugin_name(name,count) VALUES(?1,?2) "
                       "ON CONFLICT(name) DO UPDATE SET count=count+?2",
    [S_DELTA_INSERT] = "INSERT INTO delta(position,type,id,workspace,at_ms,document) "
                       "VALUES(?1,?2,?3,?4,?5,?6)",
    [S_DELTA_RANGE] = "SELECT position, type, id, workspace, document FROM delta "
                      "WHERE position>=?1 AND position<?2 ORDER BY position",
    [S_DELTA_OLDEST] = "SELECT position, at_ms FROM delta ORDER BY position LIMIT 1",
    [S_DELTA_DELETE] = "DELETE FROM delta WHERE position<?1",
    [S_META_GET] = "SELECT value FROM meta WHERE name=?1",
    [S_META_PUT] = "INSERT OR REPLACE INTO meta(name,value) VALUES(?1,?2)",
    [S_COUNT_PUT] = "INSERT OR REPLACE INTO entity_count(type,count) VALUES(?1,?2)",
    [S_COUNTS] = "SELECT type, count FROM entity_count",
    [S_DATA_VERSION] = "PRAGMA data_version",
    [S_ENTITIES] = "SELECT id, workspace, document, expires_ms FROM entity "
                   "WHERE type=?1 AND id>?2 AND id<=?3 ORDER BY id",
    [S_SUMS] = "SELECT bucket, sum FROM bucket",
    [S_SUM_PUT] = "INSERT OR REPLACE INTO bucket(bucket,sum) VALUES(?1,?2)",
    [S_VERSION] = "SELECT coalesce((SELECT max(version) FROM commit_log),"
                  "(SELECT CAST(value AS INTEGER) FROM meta WHERE name='version'),0)",
    [S_COMMITS] = "SELECT version, log_entries, log_floor, counts, sums FROM commit_log "
                  "ORDER BY version",
    [S_COMMIT_LOG] = "INSERT INTO commit_log(version,log_entries,log_floor,counts,sums) "
                     "VALUES(?1,?2,?3,?4,?5)",
    [S_COMMITS_EMPTY] = "DELETE FROM commit_log",
    [S_EXPIRED] = "SELECT type, id FROM entity WHERE expires_ms<=?1 ORDER BY expires_ms LIMIT ?2",
    [S_PLANE_PUT] = "INSERT OR REPLACE INTO data_plane(node,expires_ms,document) VALUES(?1,?2,?3)",
    [S_PLANES_EXPIRE] = "DELETE FROM data_plane WHERE expires_ms<=?1",
    [S_PLANES] = "SELECT node, document FROM data_plane WHERE expires_ms>?1 ORDER BY node",
};

/* Pages of the database that the process holds: the writer's and, for each of the
 * READERS_MAX connections at the most, a reader's. The rest is the system's to keep.
 * The file is not mapped: what of it is touched would count as memory of the
 * process, up to all of it (220 MB at 300,000 entities), and writes are no faster. */
/* Leaves are hit at random, so a large cache finds few of them; and SQLite walks all of it at
 * the end of each transaction in which a node of a tree was split. Inner nodes have room. */
enum { WRITER_CACHE_KIB = 4 * 1024, READER_CACHE_KIB = 1024 };

/* FULL: what was acknowledged survives a power loss, not only a crash. The log
 * of pages is copied into the file whenever it has grown by some 16 MB; its own
 * file shrinks again after a burst. */
#define PRAGMAS                                         \
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" \
    "PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY;"     \
    "PRAGMA wal_autocheckpoint=4000; PRAGMA journal_size_limit=67108864;"

int weir_sqlite_error(connection_t *connection, weir_error_t *err)
{
    int weir = WEIR_IO;
    switch (sqlite3_errcode(connection->db) & 0xff) {
    case SQLITE_FULL:
        weir = WEIR_FULL;
        break;
    case SQLITE_NOMEM:
        weir = WEIR_NO_MEMORY;
        break;
    case SQLITE_TOOBIG:
        weir = WEIR_TOO_LARGE;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        weir = WEIR_CORRUPT;
        break;
    case SQLITE_BUSY:
        weir = WEIR_AGAIN;
        break;
    default:
        break;
    }
    return weir_error_set(err, weir, NULL, "database: %s", sqlite3_errmsg(connection->db));
}

/* What ends a transaction must not be prepared when memory is short. */
static int prepare_endings(connection_t *connection, weir_error_t *err)
{
    static const statement_t endings[] = { S_COMMIT, S_ROLLBACK, S_ROLLBACK_TO, S_RELEASE };
    sqlite3_stmt *unused = NULL;
    int rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < WEIR_COUNT(endings); i++)
        rc = weir_sqlite_select(connection, endings[i], &unused, err, "");
    return rc;
}

int weir_sqlite_connect(const char *path, bool writer, connection_t *ret, weir_error_t *err)
{
    *ret = (connection_t){ 0 };
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &ret->db, flags, weir_sqlite_files()) != SQLITE_OK) {
        int rc = ret->db == NULL ? weir_error_memory(err)
                                 : weir_error_set(err, WEIR_IO, "database", "cannot open %s: %s",
                                                  path, sqlite3_errmsg(ret->db));
        weir_sqlite_disconnect(ret);
        return rc;
    }
    weir_sqlite_drop_at_rollback(ret->db);
    sqlite3_busy_timeout(ret->db, BUSY_TIMEOUT_MS);
    char pragmas[512];
    snprintf(pragmas, sizeof(pragmas), PRAGMAS "PRAGMA cache_size=-%d; PRAGMA query_only=%d;",
             writer ? WRITER_CACHE_KIB : READER_CACHE_KIB, !writer);
    int rc = sqlite3_exec(ret->db, pragmas, NULL, NULL, NULL) == SQLITE_OK
                 ? prepare_endings(ret, err)
                 : weir_sqlite_error(ret, err);
    if (rc != WEIR_OK)
        weir_sqlite_disconnect(ret);
    return rc;
}

void weir_sqlite_disconnect(connection_t *connection)
{
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(connection->statements[i]);
    sqlite3_close(connection->db);
    *connection = (connection_t){ 0 };
}

/* -- statements ----------------------------------------------------------------------- */

static int bind_one(sqlite3_stmt *prepared, int index, char kind, va_list *values)
{
    switch (kind) {
    case 'i':
        return sqlite3_bind_int64(prepared, index, va_arg(*values, int64_t));
    case 'n': {
        int64_t number = va_arg(*values, int64_t);
        return number != 0 ? sqlite3_bind_int64(prepared, index, number)
                           : sqlite3_bind_null(prepared, index);
    }
    case 'u': {
        const weir_uuid_t *uuid = va_arg(*values, const weir_uuid_t *);
        return uuid != NULL
                   ? sqlite3_bind_blob(prepared, index, uuid->bytes, WEIR_UUID_BYTES, SQLITE_STATIC)
                   : sqlite3_bind_zeroblob(prepared, index, 0);
    }
    case 't': {
        weir_str_t text = va_arg(*values, weir_str_t);
        return sqlite3_bind_text64(prepared, index, text.data, text.len, SQLITE_STATIC,
                                   SQLITE_UTF8);
    }
    default: {
        weir_assert(kind == 'b');
        weir_str_t blob = va_arg(*values, weir_str_t);
        return sqlite3_bind_blob64(prepared, index, blob.data, blob.len, SQLITE_STATIC);
    }
    }
}

static int prepare(connection_t *connection, statement_t which, sqlite3_stmt **ret,
                   weir_error_t *err, const char *kinds, va_list *values)
{
    sqlite3_stmt **slot = &connection->statements[which];
    if (*slot == NULL && sqlite3_prepare_v3(connection->db, sql[which], -1,
                                            SQLITE_PREPARE_PERSISTENT, slot, NULL) != SQLITE_OK)
        return weir_sqlite_error(connection, err);
    for (int i = 0; kinds[i] != '\0'; i++)
        if (bind_one(*slot, i + 1, kinds[i], values) != SQLITE_OK)
            return weir_sqlite_error(connection, err);
    *ret = *slot;
    return WEIR_OK;
}

int weir_sqlite_select(connection_t *connection, statement_t which, sqlite3_stmt **ret,
                       weir_error_t *err, const char *kinds, ...)
{
    va_list values;
    va_start(values, kinds);
    int rc = prepare(connection, which, ret, err, kinds, &values);
    va_end(values);
    return rc;
}

int weir_sqlite_run(connection_t *connection, statement_t which, weir_error_t *err,
                    const char *kinds, ...)
{
    sqlite3_stmt *prepared = NULL;
    va_list values;
    va_start(values, kinds);
    int rc = prepare(connection, which, &prepared, err, kinds, &values);
    va_end(values);
    if (rc != WEIR_OK)
        return rc;
    int code = sqlite3_step(prepared);
    if (code != SQLITE_DONE && code != SQLITE_ROW)
        rc = weir_sqlite_error(connection, err);
    sqlite3_reset(prepared);
    return rc;
}

int weir_sqlite_step(connection_t *connection, sqlite3_stmt *select, weir_error_t *err)
{
    int code = sqlite3_step(select);
    return code == SQLITE_ROW    ? WEIR_OK
           : code == SQLITE_DONE ? WEIR_NOT_FOUND
                                 : weir_sqlite_error(connection, err);
}

void weir_sqlite_column_uuid(sqlite3_stmt *row, int index, weir_uuid_t *ret)
{
    const void *blob = sqlite3_column_blob(row, index);
    if (blob != NULL && sqlite3_column_bytes(row, index) == WEIR_UUID_BYTES)
        memcpy(ret->bytes, blob, WEIR_UUID_BYTES);
    else
        memset(ret, 0, sizeof(*ret));
}

weir_str_t weir_sqlite_column_str(sqlite3_stmt *row, int index)
{
    const char *text = (const char *)sqlite3_column_text(row, index);
    return (weir_str_t){ text, text != NULL ? (size_t)sqlite3_column_bytes(row, index) : 0 };
}

/* -- the pool ---------------------------------------------------------------------------- */

int weir_sqlite_reader_take(store_t *store, connection_t **ret, weir_error_t *err)
{
    pthread_mutex_lock(&store->readers_lock);
    while (store->idle_count == 0 && store->readers_count == READERS_MAX)
        pthread_cond_wait(&store->readers_free, &store->readers_lock);
    if (store->idle_count > 0) {
        *ret = store->idle[--store->idle_count];
        pthread_mutex_unlock(&store->readers_lock);
        return WEIR_OK;
    }
    store->readers_count++;
    pthread_mutex_unlock(&store->readers_lock);

    connection_t *fresh = weir_calloc(1, sizeof(*fresh));
    int rc = fresh != NULL ? weir_sqlite_connect(store->path, false, fresh, err)
                           : weir_error_memory(err);
    if (rc != WEIR_OK) {
        weir_free(fresh);
        pthread_mutex_lock(&store->readers_lock);
        store->readers_count--;
        pthread_cond_signal(&store->readers_free);
        pthread_mutex_unlock(&store->readers_lock);
        return rc;
    }
    *ret = fresh;
    return WEIR_OK;
}

/* One that is stuck in a transaction would show an old version for ever. */
void weir_sqlite_reader_give(store_t *store, connection_t *connection)
{
    bool stuck = !sqlite3_get_autocommit(connection->db) &&
                 weir_sqlite_run(connection, S_ROLLBACK, NULL, "") != WEIR_OK;
    if (stuck) {
        weir_sqlite_disconnect(connection);
        weir_free(connection);
    }
    pthread_mutex_lock(&store->readers_lock);
    if (stuck)
        store->readers_count--;
    else
        store->idle[store->idle_count++] = connection;
    pthread_cond_signal(&store->readers_free);
    pthread_mutex_unlock(&store->readers_lock);
}

/* -- meta ----------------------------------------------------------------------------------- */

int weir_sqlite_meta_get(connection_t *connection, const char *name, weir_arena_t *arena,
                         weir_str_t *ret, weir_error_t *err)
{
    sqlite3_stmt *get = NULL;
    int rc = weir_sqlite_select(connection, S_META_GET, &get, err, "t", weir_str(name));
    if (rc != WEIR_OK)
        return rc;
    rc = weir_sqlite_step(connection, get, err);
    if (rc == WEIR_OK) {
        *ret = weir_arena_copy(arena, weir_sqlite_column_str(get, 0));
        rc = ret->data != NULL ? WEIR_OK : weir_error_memory(err);
    }
    sqlite3_reset(get);
    return rc;
}

int weir_sqlite_meta_put(connection_t *connection, const char *name, weir_str_t value,
                         weir_error_t *err)
{
    return weir_sqlite_run(connection, S_META_PUT, err, "tt", weir_str(name), value);
}

int weir_sqlite_meta_number(connection_t *connection, const char *name, uint64_t *ret,
                            weir_error_t *err)
{
    sqlite3_stmt *get = NULL;
    int rc = weir_sqlite_select(connection, S_META_GET, &get, err, "t", weir_str(name));
    if (rc != WEIR_OK)
        return rc;
    int64_t number = 0;
    rc = weir_sqlite_step(connection, get, err);
    if (rc == WEIR_OK &&
        weir_parse_int64(weir_sqlite_column_str(get, 0), 0, INT64_MAX, &number) != WEIR_OK)
        rc = weir_error_set(err, WEIR_CORRUPT, NULL, "database: meta.%s is no number", name);
    sqlite3_reset(get);
    if (rc == WEIR_OK || rc == WEIR_NOT_FOUND)
        *ret = (uint64_t)number;
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

int weir_sqlite_meta_put_number(connection_t *connection, const char *name, uint64_t value,
                                weir_error_t *err)
{
    char text[24];
    snprintf(text, sizeof(text), "%" PRIu64, value);
    return weir_sqlite_meta_put(connection, name, weir_str(text), err);
}
