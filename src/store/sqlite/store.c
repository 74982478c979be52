/* store.c -- opening, closing and migrating the database. */
#include "store/sqlite/internal.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct migration {
    const char *name;
    const char *sql;
} migration_t;

/* In order; never changed once released, only followed by others. */
static const migration_t migrations[] = {
    { "001_bootstrap",
      "CREATE TABLE entity(type INTEGER NOT NULL, id BLOB NOT NULL, version INTEGER NOT NULL,"
      " workspace BLOB, expires_ms INTEGER, content BLOB NOT NULL, document TEXT NOT NULL,"
      " PRIMARY KEY(type,id)) WITHOUT ROWID;"
      "CREATE INDEX entity_expiry ON entity(expires_ms) WHERE expires_ms IS NOT NULL;"
      "CREATE TABLE unique_key(type INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,"
      " id BLOB NOT NULL, PRIMARY KEY(type,key,value)) WITHOUT ROWID;"
      "CREATE TABLE reference(to_type INTEGER NOT NULL, to_id BLOB NOT NULL, type INTEGER NOT NULL,"
      " field TEXT NOT NULL, id BLOB NOT NULL, on_delete INTEGER NOT NULL,"
      " PRIMARY KEY(to_type,to_id,type,field,id)) WITHOUT ROWID;"
      "CREATE TABLE tag(type INTEGER NOT NULL, tag TEXT NOT NULL, id BLOB NOT NULL,"
      " ordinal INTEGER NOT NULL, PRIMARY KEY(type,tag,id)) WITHOUT ROWID;"
      "CREATE INDEX tag_entity ON tag(id,ordinal);"
      "CREATE INDEX tag_name ON tag(tag,id,ordinal);"
      "CREATE TABLE delta(position INTEGER PRIMARY KEY, type INTEGER NOT NULL, id BLOB NOT NULL,"
      " workspace BLOB, at_ms INTEGER NOT NULL, document TEXT);"
      "CREATE TABLE entity_count(type INTEGER PRIMARY KEY, count INTEGER NOT NULL);"
      "CREATE TABLE plugin_name(name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;"
      "CREATE TABLE data_plane(node BLOB PRIMARY KEY, expires_ms INTEGER NOT NULL,"
      " document TEXT NOT NULL) WITHOUT ROWID;" },
};

enum { ARENA_BYTES = 64 * 1024 };

static int migrations_done(connection_t *connection, size_t *ret, weir_error_t *err)
{
    if (sqlite3_exec(connection->db,
                     "CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID",
                     NULL, NULL, NULL) != SQLITE_OK)
        return sqlite_error(connection, err);
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, ARENA_BYTES);
    weir_str_t text;
    int64_t done = 0;
    int rc = meta_get(connection, "migrations", &arena, &text, err);
    if (rc == WEIR_NOT_FOUND) {
        *ret = 0;
        return WEIR_OK;
    }
    if (rc == WEIR_OK && weir_parse_int64(text, 0, INT32_MAX, &done) != WEIR_OK)
        rc = weir_error_set(err, WEIR_CORRUPT, NULL, "the database's migration state is no number");
    *ret = (size_t)done;
    if (rc == WEIR_OK && *ret > WEIR_COUNT(migrations))
        rc = weir_error_set(err, WEIR_UNSUPPORTED, NULL,
                            "the database was made by a newer version: it has %zu migrations, "
                            "this one knows %zu",
                            *ret, WEIR_COUNT(migrations));
    return rc;
}

static int load_state(weir_store_t *store, weir_error_t *err)
{
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, ARENA_BYTES);
    const char *names[] = { "version", "log_floor", "workspace" };
    int64_t numbers[2] = { 0 };
    for (size_t i = 0; i < WEIR_COUNT(names); i++) {
        weir_str_t text = { NULL, 0 };
        int rc = meta_get(&store->writer, names[i], &arena, &text, err);
        if (rc == WEIR_NOT_FOUND)
            continue;
        if (rc == WEIR_OK)
            rc = i < 2 ? weir_parse_int64(text, 0, INT64_MAX, &numbers[i])
                       : weir_uuid_parse(text, &store->workspace);
        if (rc != WEIR_OK)
            return rc == WEIR_INVALID
                       ? weir_error_set(err, WEIR_CORRUPT, NULL, "meta.%s is damaged", names[i])
                       : rc;
    }
    store->version = (uint64_t)numbers[0];
    store->floor = (uint64_t)numbers[1];

    sqlite3_stmt *counts = statement(&store->writer, S_COUNTS, err);
    sqlite3_stmt *entries = statement(&store->writer, S_DELTA_COUNT, err);
    if (counts == NULL || entries == NULL)
        return WEIR_IO;
    while (sqlite3_step(counts) == SQLITE_ROW) {
        int type = sqlite3_column_int(counts, 0);
        if (type > 0 && type < WEIR_ENTITY_TYPES)
            store->counts[type] = (uint64_t)sqlite3_column_int64(counts, 1);
    }
    sqlite3_reset(counts);
    if (sqlite3_step(entries) == SQLITE_ROW)
        store->log_entries = (uint64_t)sqlite3_column_int64(entries, 0);
    sqlite3_reset(entries);
    return WEIR_OK;
}

static int create_file(const char *path, weir_error_t *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return weir_error_errno(err, errno, "cannot open the database %s", path);
    close(fd);
    return WEIR_OK;
}

static int open_any(const weir_store_options_t *options, weir_store_t **ret, size_t *ret_done,
                    weir_error_t *err)
{
    weir_store_t *store = weir_calloc(1, sizeof(*store));
    if (store == NULL)
        return weir_error_memory(err);
    pthread_mutex_init(&store->queue_lock, NULL);
    pthread_mutex_init(&store->readers_lock, NULL);
    pthread_mutex_init(&store->watch_lock, NULL);
    pthread_cond_init(&store->readers_free, NULL);
    store->options = *options;
    store->path = weir_strdup(weir_str(options->path));
    int rc = store->path != NULL ? create_file(options->path, err) : weir_error_memory(err);
    if (rc == WEIR_OK)
        rc = connection_open(store->path, &store->writer, err);
    if (rc == WEIR_OK)
        rc = migrations_done(&store->writer, ret_done, err);
    if (rc == WEIR_OK && *ret_done > 0)
        rc = load_state(store, err);
    if (rc != WEIR_OK) {
        weir_store_close(store);
        return rc;
    }
    *ret = store;
    return WEIR_OK;
}

int weir_store_open(const weir_store_options_t *options, weir_store_t **ret, weir_error_t *err)
{
    if (access(options->path, F_OK) != 0)
        return weir_error_set(err, WEIR_NOT_FOUND, "database",
                              "%s does not exist: run `weir migrations bootstrap`", options->path);
    weir_store_t *store = NULL;
    size_t done = 0;
    int rc = open_any(options, &store, &done, err);
    if (rc != WEIR_OK)
        return rc;
    if (done < WEIR_COUNT(migrations)) {
        weir_store_close(store);
        return weir_error_set(err, WEIR_NOT_FOUND, "database",
                              "%s lacks %zu migrations: run `weir migrations %s`", options->path,
                              WEIR_COUNT(migrations) - done, done == 0 ? "bootstrap" : "up");
    }
    *ret = store;
    return WEIR_OK;
}

void weir_store_close(weir_store_t *store)
{
    if (store == NULL)
        return;
    for (size_t i = 0; i < store->idle_count; i++) {
        connection_close(store->idle[i]);
        weir_free(store->idle[i]);
    }
    connection_close(&store->writer);
    pthread_mutex_destroy(&store->queue_lock);
    pthread_mutex_destroy(&store->readers_lock);
    pthread_mutex_destroy(&store->watch_lock);
    pthread_cond_destroy(&store->readers_free);
    weir_free(store->path);
    weir_free(store);
}

const weir_uuid_t *weir_store_default_workspace(const weir_store_t *store)
{
    return &store->workspace;
}

static int run_migration(weir_store_t *store, size_t index, weir_error_t *err)
{
    connection_t *writer = &store->writer;
    char number[24];
    snprintf(number, sizeof(number), "%zu", index + 1);
    int rc = execute_simple(writer, S_BEGIN, err);
    if (rc == WEIR_OK && sqlite3_exec(writer->db, migrations[index].sql, NULL, NULL, NULL) != 0)
        rc = sqlite_error(writer, err);
    if (rc == WEIR_OK)
        rc = meta_put(writer, "migrations", weir_str(number), err);
    if (rc == WEIR_OK)
        rc = execute_simple(writer, S_COMMIT, err);
    if (rc != WEIR_OK)
        execute_simple(writer, S_ROLLBACK, NULL);
    return rc;
}

int weir_store_migrate(const weir_store_options_t *options, size_t *ret_done, weir_error_t *err)
{
    weir_store_t *store = NULL;
    size_t done = 0;
    int rc = open_any(options, &store, &done, err);
    if (rc != WEIR_OK)
        return rc;
    *ret_done = 0;
    for (size_t i = done; rc == WEIR_OK && i < WEIR_COUNT(migrations); i++) {
        rc = run_migration(store, i, err);
        *ret_done += rc == WEIR_OK;
    }
    /* Also when a kill came between the tables and their first rows. */
    if (rc == WEIR_OK && weir_uuid_is_zero(&store->workspace))
        rc = weir_store_write_first(store, err);
    weir_store_close(store);
    return rc;
}

int weir_store_migrations(const weir_store_options_t *options,
                          void (*migration)(void *context, const char *name, bool done),
                          void *context, weir_error_t *err)
{
    size_t done = 0;
    if (access(options->path, F_OK) == 0) {
        weir_store_t *store = NULL;
        int rc = open_any(options, &store, &done, err);
        if (rc != WEIR_OK)
            return rc;
        weir_store_close(store);
    }
    for (size_t i = 0; i < WEIR_COUNT(migrations); i++)
        migration(context, migrations[i].name, i < done);
    return WEIR_OK;
}

int weir_store_reset(const weir_store_options_t *options, weir_error_t *err)
{
    static const char *const endings[] = { "", "-wal", "-shm" };
    for (size_t i = 0; i < WEIR_COUNT(endings); i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s%s", options->path, endings[i]);
        if (unlink(path) != 0 && errno != ENOENT)
            return weir_error_errno(err, errno, "cannot remove %s", path);
    }
    return WEIR_OK;
}

uint64_t weir_store_version(weir_store_t *store)
{
    return store->version;
}

uint64_t weir_store_log_floor(weir_store_t *store)
{
    return store->floor;
}

uint64_t weir_store_count(weir_store_t *store, weir_entity_type_t type)
{
    return store->counts[type];
}

void weir_store_watch(weir_store_t *store, void (*committed)(void *context, uint64_t version),
                      void *context)
{
    pthread_mutex_lock(&store->watch_lock);
    store->committed = committed;
    store->watch_context = context;
    pthread_mutex_unlock(&store->watch_lock);
}
