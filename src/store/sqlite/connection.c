/* connection.c -- connections, prepared statements, the pool of readers. */
#include "store/sqlite/internal.h"

#include "base/clock.h"

static const char *const sql[STATEMENTS] = {
    [S_BEGIN] = "BEGIN IMMEDIATE",
    [S_BEGIN_READ] = "BEGIN",
    [S_COMMIT] = "COMMIT",
    [S_ROLLBACK] = "ROLLBACK",
    [S_SAVEPOINT] = "SAVEPOINT w",
    [S_RELEASE] = "RELEASE w",
    [S_ROLLBACK_TO] = "ROLLBACK TO w",
    [S_GET] = "SELECT version, document, expires_ms, content FROM entity WHERE type=?1 AND id=?2",
    [S_EXISTS] = "SELECT 1 FROM entity WHERE type=?1 AND id=?2",
    [S_FIND] = "SELECT e.id, e.version, e.document, e.expires_ms FROM unique_key k JOIN entity e "
               "ON e.type=k.type AND e.id=k.id WHERE k.type=?1 AND k.key=?2 AND k.value=?3",
    [S_LIST] = "SELECT id, version, document, expires_ms FROM entity "
               "WHERE type=?1 AND id>?2 ORDER BY id",
    [S_LIST_CHILDREN] = "SELECT e.id, e.version, e.document, e.expires_ms FROM reference r "
                        "JOIN entity e ON e.type=r.type AND e.id=r.id WHERE r.to_type=?3 AND "
                        "r.to_id=?4 AND r.type=?1 AND r.field=?5 AND r.id>?2 ORDER BY r.id",
    [S_ENTITY_PUT] = "INSERT OR REPLACE INTO "
                     "entity(type,id,version,workspace,expires_ms,content,document) "
                     "VALUES(?1,?2,?3,?4,?5,?6,?7)",
    [S_ENTITY_DELETE] = "DELETE FROM entity WHERE type=?1 AND id=?2",
    [S_KEY_INSERT] = "INSERT OR IGNORE INTO unique_key(type,key,value,id) VALUES(?1,?2,?3,?4)",
    [S_KEY_OWNER] = "SELECT id FROM unique_key WHERE type=?1 AND key=?2 AND value=?3",
    [S_KEY_DELETE] = "DELETE FROM unique_key WHERE type=?1 AND key=?2 AND value=?3",
    [S_REFERENCE_INSERT] = "INSERT OR REPLACE INTO "
                           "reference(to_type,to_id,type,field,id,on_delete) "
                           "VALUES(?1,?2,?3,?4,?5,?6)",
    [S_REFERENCE_DELETE] = "DELETE FROM reference WHERE to_type=?1 AND to_id=?2 AND type=?3 AND "
                           "field=?4 AND id=?5",
    [S_REFERRERS] = "SELECT type, id, on_delete, field FROM reference "
                    "WHERE to_type=?1 AND to_id=?2 AND on_delete=?3",
    [S_TAG_INSERT] = "INSERT OR IGNORE INTO tag(type,tag,id,ordinal) VALUES(?1,?2,?3,?4)",
    [S_TAG_DELETE] = "DELETE FROM tag WHERE type=?1 AND tag=?2 AND id=?3",
    [S_TAGS_PAGE] = "SELECT tag, type, id, ordinal FROM tag WHERE (id,ordinal)>(?1,?2) "
                    "ORDER BY id, ordinal LIMIT ?3",
    [S_TAGS_OF] = "SELECT tag, type, id, ordinal FROM tag WHERE tag=?4 AND (id,ordinal)>(?1,?2) "
                  "ORDER BY id, ordinal LIMIT ?3",
    [S_PLUGIN_NAMES] = "SELECT name FROM plugin_name WHERE count>0 ORDER BY name",
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
    [S_DELTA_COUNT] = "SELECT count(*) FROM delta",
    [S_SNAPSHOT] = "SELECT id, workspace, document, expires_ms FROM entity WHERE type=?1 "
                   "ORDER BY id",
    [S_EXPIRED] = "SELECT type, id, version FROM entity WHERE expires_ms<=?1 "
                  "ORDER BY expires_ms LIMIT ?2",
    [S_PLANE_PUT] = "INSERT OR REPLACE INTO data_plane(node,expires_ms,document) VALUES(?1,?2,?3)",
    [S_PLANES] = "SELECT node, document FROM data_plane WHERE expires_ms>?1 ORDER BY node",
};

int sqlite_error(connection_t *connection, weir_error_t *err)
{
    int code = sqlite3_errcode(connection->db);
    int weir = code == SQLITE_FULL ? WEIR_FULL : code == SQLITE_NOMEM ? WEIR_NO_MEMORY : WEIR_IO;
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        weir = WEIR_CORRUPT;
    return weir_error_set(err, weir, NULL, "database: %s", sqlite3_errmsg(connection->db));
}

int connection_open(const char *path, connection_t *ret, weir_error_t *err)
{
    *ret = (connection_t){ 0 };
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (sqlite3_open_v2(path, &ret->db, flags, NULL) != SQLITE_OK) {
        int rc = weir_error_set(err, WEIR_IO, "database", "cannot open %s: %s", path,
                                ret->db != NULL ? sqlite3_errmsg(ret->db) : "out of memory");
        connection_close(ret);
        return rc;
    }
    sqlite3_busy_timeout(ret->db, BUSY_TIMEOUT_MS);
    /* FULL: what was acknowledged survives a power loss, not only a crash. */
    static const char pragmas[] = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                                  "PRAGMA cache_size=-16384; PRAGMA mmap_size=1073741824;"
                                  "PRAGMA temp_store=MEMORY; PRAGMA wal_autocheckpoint=4000;";
    if (sqlite3_exec(ret->db, pragmas, NULL, NULL, NULL) != SQLITE_OK) {
        int rc = sqlite_error(ret, err);
        connection_close(ret);
        return rc;
    }
    return WEIR_OK;
}

void connection_close(connection_t *connection)
{
    for (size_t i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(connection->statements[i]);
    sqlite3_close(connection->db);
    *connection = (connection_t){ 0 };
}

sqlite3_stmt *statement(connection_t *connection, statement_t which, weir_error_t *err)
{
    sqlite3_stmt **slot = &connection->statements[which];
    if (*slot == NULL && sqlite3_prepare_v3(connection->db, sql[which], -1,
                                            SQLITE_PREPARE_PERSISTENT, slot, NULL) != SQLITE_OK) {
        sqlite_error(connection, err);
        return NULL;
    }
    return *slot;
}

int execute(connection_t *connection, sqlite3_stmt *prepared, weir_error_t *err)
{
    int code = sqlite3_step(prepared);
    int rc = code == SQLITE_DONE || code == SQLITE_ROW ? WEIR_OK : sqlite_error(connection, err);
    sqlite3_reset(prepared);
    return rc;
}

int execute_simple(connection_t *connection, statement_t which, weir_error_t *err)
{
    sqlite3_stmt *prepared = statement(connection, which, err);
    return prepared != NULL ? execute(connection, prepared, err)
           : err != NULL    ? err->code
                            : WEIR_IO;
}

void bind_uuid(sqlite3_stmt *prepared, int index, const weir_uuid_t *uuid)
{
    sqlite3_bind_blob(prepared, index, uuid->bytes, WEIR_UUID_BYTES, SQLITE_STATIC);
}

void bind_text(sqlite3_stmt *prepared, int index, weir_str_t text)
{
    sqlite3_bind_text(prepared, index, text.data, (int)text.len, SQLITE_STATIC);
}

void column_uuid(sqlite3_stmt *prepared, int index, weir_uuid_t *ret)
{
    const void *blob = sqlite3_column_blob(prepared, index);
    if (blob != NULL && sqlite3_column_bytes(prepared, index) == WEIR_UUID_BYTES)
        memcpy(ret->bytes, blob, WEIR_UUID_BYTES);
    else
        memset(ret, 0, sizeof(*ret));
}

weir_str_t column_str(sqlite3_stmt *prepared, int index)
{
    const char *text = (const char *)sqlite3_column_text(prepared, index);
    return (weir_str_t){ text, text != NULL ? (size_t)sqlite3_column_bytes(prepared, index) : 0 };
}

int reader_take(weir_store_t *store, connection_t **ret, weir_error_t *err)
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
    int rc = fresh != NULL ? connection_open(store->path, fresh, err) : weir_error_memory(err);
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

void reader_give(weir_store_t *store, connection_t *connection)
{
    pthread_mutex_lock(&store->readers_lock);
    store->idle[store->idle_count++] = connection;
    pthread_cond_signal(&store->readers_free);
    pthread_mutex_unlock(&store->readers_lock);
}

int meta_get(connection_t *connection, const char *name, weir_arena_t *arena, weir_str_t *ret,
             weir_error_t *err)
{
    sqlite3_stmt *get = statement(connection, S_META_GET, err);
    if (get == NULL)
        return WEIR_IO;
    bind_text(get, 1, weir_str(name));
    int code = sqlite3_step(get);
    int rc = WEIR_NOT_FOUND;
    if (code == SQLITE_ROW) {
        *ret = weir_arena_copy(arena, column_str(get, 0));
        rc = ret->data != NULL ? WEIR_OK : weir_error_memory(err);
    } else if (code != SQLITE_DONE) {
        rc = sqlite_error(connection, err);
    }
    sqlite3_reset(get);
    return rc;
}

int meta_put(connection_t *connection, const char *name, weir_str_t value, weir_error_t *err)
{
    sqlite3_stmt *put = statement(connection, S_META_PUT, err);
    if (put == NULL)
        return WEIR_IO;
    bind_text(put, 1, weir_str(name));
    bind_text(put, 2, value);
    return execute(connection, put, err);
}
