/* open.c -- opening, closing and migrating the database. */
#include "store/sqlite/internal.h"

#include "base/clock.h"
#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

typedef struct migration {
    const char *name;
    const char *sql;
    int (*run)(connection_t *connection, weir_error_t *err); /* after it; may be NULL */
} migration_t;

/* In order; never changed once released, only followed by others. */
static const migration_t migrations[] = {
    { "001_bootstrap",
      "CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
      "CREATE TABLE entity(type INTEGER NOT NULL, id BLOB NOT NULL, version INTEGER NOT NULL,"
      " workspace BLOB, expires_ms INTEGER, content BLOB NOT NULL, document TEXT NOT NULL,"
      " PRIMARY KEY(type,id)) WITHOUT ROWID;"
      "CREATE INDEX entity_expiry ON entity(expires_ms) WHERE expires_ms IS NOT NULL;"
      "CREATE TABLE unique_key(type INTEGER NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,"
      " id BLOB NOT NULL, PRIMARY KEY(type,key,value)) WITHOUT ROWID;"
      "CREATE TABLE reference(to_type INTEGER NOT NULL, to_id BLOB NOT NULL, type INTEGER NOT NULL,"
      " field TEXT NOT NULL, id BLOB NOT NULL, on_delete INTEGER NOT NULL,"
      " PRIMARY KEY(to_type,to_id,on_delete,type,field,id)) WITHOUT ROWID;"
      "CREATE TABLE tag(type INTEGER NOT NULL, tag TEXT NOT NULL, id BLOB NOT NULL,"
      " ordinal INTEGER NOT NULL, PRIMARY KEY(type,tag,id)) WITHOUT ROWID;"
      "CREATE INDEX tag_entity ON tag(id,ordinal);"
      "CREATE INDEX tag_name ON tag(tag,id,ordinal);"
      "CREATE TABLE delta(position INTEGER PRIMARY KEY, type INTEGER NOT NULL, id BLOB NOT NULL,"
      " workspace BLOB, at_ms INTEGER NOT NULL, document TEXT);"
      "CREATE TABLE entity_count(type INTEGER PRIMARY KEY, count INTEGER NOT NULL);"
      "CREATE TABLE plugin_name(name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID;"
      "CREATE TABLE data_plane(node BLOB PRIMARY KEY, expires_ms INTEGER NOT NULL,"
      " document TEXT NOT NULL) WITHOUT ROWID;"
      "CREATE INDEX data_plane_expiry ON data_plane(expires_ms);",
      NULL },
    { "002_digest",
      "CREATE TABLE bucket(bucket INTEGER PRIMARY KEY, sum BLOB NOT NULL);"
      "CREATE TABLE bucket_log(version INTEGER PRIMARY KEY, sums BLOB NOT NULL);",
      weir_sqlite_sums_migrate },
    { "003_commit_log",
      "CREATE TABLE commit_log(version INTEGER PRIMARY KEY, log_entries INTEGER NOT NULL,"
      " log_floor INTEGER NOT NULL, counts BLOB NOT NULL, sums BLOB NOT NULL);"
      "INSERT INTO commit_log SELECT version,"
      " coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name='log_entries'),0),"
      " coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE name='log_floor'),0),"
      " x'', sums FROM bucket_log;"
      "DROP TABLE bucket_log;",
      NULL },
};

enum { ARENA_BYTES = 64 * 1024 };

/* -- what was done before --------------------------------------------------------------- */

static int has_meta(connection_t *connection, bool *ret, weir_error_t *err)
{
    sqlite3_stmt *select = NULL;
    if (sqlite3_prepare_v2(connection->db, "SELECT 1 FROM sqlite_master WHERE name='meta'", -1,
                           &select, NULL) != SQLITE_OK)
        return weir_sqlite_error(connection, err);
    int rc = weir_sqlite_step(connection, select, err);
    *ret = rc == WEIR_OK;
    sqlite3_finalize(select);
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

static int migrations_done(connection_t *connection, size_t *ret, weir_error_t *err)
{
    *ret = 0;
    bool there = false;
    uint64_t done = 0;
    int rc = has_meta(connection, &there, err);
    if (rc == WEIR_OK && there)
        rc = weir_sqlite_meta_number(connection, "migrations", &done, err);
    if (rc == WEIR_OK && done > WEIR_COUNT(migrations))
        rc = weir_error_set(err, WEIR_UNSUPPORTED, "database",
                            "the database was made by a newer version: it has %" PRIu64
                            " migrations, this one knows %zu",
                            done, WEIR_COUNT(migrations));
    if (rc == WEIR_OK)
        *ret = (size_t)done;
    return rc;
}

static int load_workspace(store_t *store, weir_error_t *err)
{
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, ARENA_BYTES);
    weir_str_t text = { NULL, 0 };
    int rc = weir_sqlite_meta_get(&store->writer, "workspace", &arena, &text, err);
    if (rc == WEIR_OK && weir_uuid_parse(text, &store->workspace) != WEIR_OK)
        rc = weir_error_set(err, WEIR_CORRUPT, "database", "meta.workspace is no UUID");
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

/* -- open, close --------------------------------------------------------------------------- */

static int create_file(const char *path, weir_error_t *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return weir_error_errno(err, errno, "cannot open the database %s", path);
    close(fd);
    return WEIR_OK;
}

static store_t *new_store(const weir_store_options_t *options)
{
    store_t *store = weir_calloc(1, sizeof(*store));
    char *path = store != NULL ? weir_strdup(weir_str(options->path)) : NULL;
    if (path == NULL) {
        weir_free(store);
        return NULL;
    }
    /* All of it is there from the start, so that memory does not seem to grow with use. */
    explicit_bzero(&store->recent, sizeof(store->recent));
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&store->arrivals, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&store->queue_lock, NULL);
    pthread_mutex_init(&store->readers_lock, NULL);
    pthread_mutex_init(&store->watch_lock, NULL);
    pthread_mutex_init(&store->ring.lock, NULL);
    pthread_mutex_init(&store->recent.lock, NULL);
    pthread_cond_init(&store->readers_free, NULL);
    store->base.engine = &weir_sqlite_engine;
    store->options = *options;
    store->options.path = store->path = path;
    return store;
}

static void close_store(weir_store_t *base)
{
    store_t *store = store_of(base);
    weir_assert(!store->leading && store->idle_count == store->readers_count);
    for (size_t i = 0; i < store->idle_count; i++) {
        weir_sqlite_disconnect(store->idle[i]);
        weir_free(store->idle[i]);
    }
    weir_sqlite_disconnect(&store->writer);
    weir_digester_free(store->digester);
    pthread_cond_destroy(&store->arrivals);
    pthread_mutex_destroy(&store->queue_lock);
    pthread_mutex_destroy(&store->readers_lock);
    pthread_mutex_destroy(&store->watch_lock);
    pthread_mutex_destroy(&store->ring.lock);
    pthread_mutex_destroy(&store->recent.lock);
    weir_buffer_release(&store->recent.noted);
    pthread_cond_destroy(&store->readers_free);
    weir_free(store->path);
    weir_free(store);
}

static int load_all(store_t *store, size_t done, state_t *ret, weir_error_t *err)
{
    int rc = load_workspace(store, err);
    if (done < WEIR_COUNT(migrations))
        return rc; /* it is migrated, and opened anew */
    if (rc == WEIR_OK)
        rc = weir_sqlite_sums_open(store, err);
    return rc == WEIR_OK ? weir_sqlite_commits_load(store, ret, err) : rc;
}

/* In one transaction: the digest must be that of the version. */
static int load(store_t *store, size_t done, state_t *ret, weir_error_t *err)
{
    int rc = weir_sqlite_run(&store->writer, S_BEGIN_READ, err, "");
    if (rc != WEIR_OK)
        return rc;
    rc = load_all(store, done, ret, err);
    int end = weir_sqlite_run(&store->writer, S_COMMIT, rc == WEIR_OK ? err : NULL, "");
    return rc == WEIR_OK ? end : rc;
}

/* Opens whatever is there, bootstrapped or not; the file must exist. */
static int open_any(const weir_store_options_t *options, store_t **ret, size_t *ret_done,
                    weir_error_t *err)
{
    store_t *store = new_store(options);
    if (store == NULL)
        return weir_error_memory(err);
    int rc = weir_sqlite_connect(store->path, true, &store->writer, err);
    if (rc == WEIR_OK)
        rc = migrations_done(&store->writer, ret_done, err);
    state_t state = { 0 };
    if (rc == WEIR_OK && *ret_done > 0)
        rc = load(store, *ret_done, &state, err);
    if (rc != WEIR_OK) {
        close_store(&store->base);
        return rc;
    }
    weir_sqlite_publish(store, &state);
    *ret = store;
    return WEIR_OK;
}

static int open_store(const weir_store_options_t *options, weir_store_t **ret, weir_error_t *err)
{
    if (access(options->path, F_OK) != 0)
        return weir_error_set(err, WEIR_NOT_FOUND, "database",
                              "%s does not exist: run `weir migrations bootstrap`", options->path);
    store_t *store = NULL;
    size_t done = 0;
    int rc = open_any(options, &store, &done, err);
    if (rc != WEIR_OK)
        return rc;
    if (done < WEIR_COUNT(migrations) || weir_uuid_is_zero(&store->workspace)) {
        close_store(&store->base);
        return weir_error_set(err, WEIR_NOT_FOUND, "database",
                              "%s lacks %zu migrations: run `weir migrations %s`", options->path,
                              WEIR_COUNT(migrations) - done, done == 0 ? "bootstrap" : "up");
    }
    *ret = &store->base;
    return WEIR_OK;
}

static const weir_uuid_t *default_workspace(const weir_store_t *base)
{
    return &((const store_t *)base)->workspace;
}

static uint64_t newest_version(weir_store_t *base)
{
    return store_of(base)->version;
}

static uint64_t log_floor(weir_store_t *base)
{
    return store_of(base)->floor;
}

static uint64_t count_rows(weir_store_t *base, weir_entity_type_t type)
{
    weir_assert(type > WEIR_ENTITY_NONE && type < WEIR_ENTITY_TYPES);
    return store_of(base)->counts[type];
}

static void numbers(weir_store_t *base, weir_store_numbers_t *ret)
{
    store_t *store = store_of(base);
    *ret = (weir_store_numbers_t){ store->log_entries, store->writes, store->commits,
                                   store->failures };
}

/* -- migrations ------------------------------------------------------------------------------- */

/* All that are missing, in one transaction: two that run at once do the work
 * once. */
static int run_migrations(store_t *store, size_t *ret_done, weir_error_t *err)
{
    connection_t *writer = &store->writer;
    size_t before = 0;
    int rc = weir_sqlite_run(writer, S_BEGIN, err, "");
    if (rc != WEIR_OK)
        return rc;
    rc = migrations_done(writer, &before, err);
    for (size_t i = before; rc == WEIR_OK && i < WEIR_COUNT(migrations); i++) {
        if (sqlite3_exec(writer->db, migrations[i].sql, NULL, NULL, NULL) != SQLITE_OK)
            rc = weir_sqlite_error(writer, err);
        else if (migrations[i].run != NULL)
            rc = migrations[i].run(writer, err);
    }
    if (rc == WEIR_OK)
        rc = weir_sqlite_meta_put_number(writer, "migrations", WEIR_COUNT(migrations), err);
    if (rc == WEIR_OK)
        rc = weir_sqlite_run(writer, S_COMMIT, err, "");
    if (rc == WEIR_OK)
        *ret_done = WEIR_COUNT(migrations) - before;
    else if (!sqlite3_get_autocommit(writer->db))
        weir_sqlite_run(writer, S_ROLLBACK, NULL, "");
    return rc;
}

/* An entity as a write through the model makes it. */
static int complete(weir_entity_type_t type, weir_json_t *body, prepared_op_t *ret,
                    weir_store_op_t *op, weir_arena_t *arena, weir_json_t **ret_entity,
                    weir_error_t *err)
{
    weir_model_env_t env = { .now = (double)weir_clock_ms() / 1000 };
    const weir_schema_t *schema = weir_schema(type);
    weir_problem_t problem;
    weir_problem_init(&problem);
    int rc = weir_model_write(schema, WEIR_INSERT, body, NULL, &env, ret_entity, &problem);
    weir_problem_release(&problem);
    if (rc != WEIR_OK)
        return rc == WEIR_NO_MEMORY
                   ? weir_error_memory(err)
                   : weir_error_set(err, rc, NULL, "cannot make the first %s", schema->name);
    *op = (weir_store_op_t){ .kind = WEIR_STORE_PUT, .type = type, .entity = *ret_entity };
    rc = weir_entity_id(schema, *ret_entity, &op->id);
    if (rc != WEIR_OK)
        return weir_error_set(err, rc, NULL, "the first %s has no id", schema->name);
    return weir_sqlite_prepare(op, arena, ret, err);
}

static int make_first(weir_entity_type_t type, weir_json_t *body, group_t *g, weir_store_op_t *op,
                      weir_store_result_t *result, weir_error_t *err)
{
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, ARENA_BYTES);
    WEIR_AUTO(json) weir_json_t *entity = NULL;
    prepared_op_t prepared;
    int rc = complete(type, body, &prepared, op, &arena, &entity, err);
    if (rc == WEIR_OK && type == WEIR_WORKSPACES)
        g->store->workspace = op->id; /* it lies in itself */
    return rc == WEIR_OK ? weir_sqlite_apply(g, &prepared, 0, result, err) : rc;
}

/* The default workspace and the cluster's id. */
static int run_first(group_t *g, void *context, weir_store_result_t *result, weir_error_t *err)
{
    (void)context;
    if (g->state.version > 0)
        return WEIR_OK; /* somebody else was faster */
    WEIR_AUTO(json) weir_json_t *workspace = weir_json_new_object();
    WEIR_AUTO(json) weir_json_t *parameter = weir_json_new_object();
    weir_uuid_t cluster;
    char text[WEIR_UUID_TEXT + 1];
    if (weir_uuid_random(&cluster) != WEIR_OK)
        return weir_error_set(err, WEIR_IO, NULL, "the system has no randomness");
    weir_uuid_format(&cluster, text);
    if (workspace == NULL || parameter == NULL ||
        weir_json_set(workspace, "name", weir_json_new_string(WEIR_STR("default"))) != WEIR_OK ||
        weir_json_set(parameter, "key", weir_json_new_string(WEIR_STR("cluster_id"))) != WEIR_OK ||
        weir_json_set(parameter, "value", weir_json_new_string(weir_str(text))) != WEIR_OK)
        return weir_error_memory(err);
    weir_store_op_t op;
    int rc = make_first(WEIR_WORKSPACES, workspace, g, &op, result, err);
    if (rc != WEIR_OK)
        return rc;
    weir_uuid_format(&op.id, text);
    rc = weir_sqlite_meta_put(g->db, "workspace", weir_str(text), err);
    return rc == WEIR_OK ? make_first(WEIR_PARAMETERS, parameter, g, &op, result, err) : rc;
}

static int migrate(const weir_store_options_t *options, size_t *ret_done, weir_error_t *err)
{
    store_t *store = NULL;
    size_t before = 0;
    size_t done = 0;
    int rc = create_file(options->path, err);
    if (rc == WEIR_OK)
        rc = open_any(options, &store, &before, err);
    if (rc != WEIR_OK)
        return rc;
    weir_assert(store != NULL);
    if (before < WEIR_COUNT(migrations)) {
        rc = run_migrations(store, &done, err);
        if (rc == WEIR_OK)
            rc = weir_sqlite_sums_open(store, err);
    }
    /* Also when a kill came between the tables and their first rows. */
    weir_store_result_t result;
    if (rc == WEIR_OK && weir_uuid_is_zero(&store->workspace))
        rc = weir_sqlite_commit(store, run_first, NULL, &result, err);
    close_store(&store->base);
    if (rc == WEIR_OK)
        *ret_done = done;
    return rc;
}

static int list_migrations(const weir_store_options_t *options,
                           void (*migration)(void *context, const char *name, bool done),
                           void *context, weir_error_t *err)
{
    size_t done = 0;
    if (access(options->path, F_OK) == 0) {
        store_t *store = NULL;
        int rc = open_any(options, &store, &done, err);
        if (rc != WEIR_OK)
            return rc;
        close_store(&store->base);
    }
    for (size_t i = 0; i < WEIR_COUNT(migrations); i++)
        migration(context, migrations[i].name, i < done);
    return WEIR_OK;
}

static int reset(const weir_store_options_t *options, weir_error_t *err)
{
    static const char *const endings[] = { "-wal", "-shm", "" };
    for (size_t i = 0; i < WEIR_COUNT(endings); i++) {
        char path[PATH_MAX];
        int len = snprintf(path, sizeof(path), "%s%s", options->path, endings[i]);
        if (len < 0 || (size_t)len >= sizeof(path))
            return weir_error_set(err, WEIR_TOO_LARGE, "database", "the path is longer than %d",
                                  PATH_MAX - 1);
        if (unlink(path) != 0 && errno != ENOENT)
            return weir_error_errno(err, errno, "cannot remove %s", path);
    }
    return WEIR_OK;
}

const weir_engine_t weir_sqlite_engine = {
    .open = open_store,
    .close = close_store,
    .migrate = migrate,
    .migrations = list_migrations,
    .reset = reset,
    .default_workspace = default_workspace,
    .get = weir_sqlite_get,
    .find = weir_sqlite_find,
    .list = weir_sqlite_list,
    .tags = weir_sqlite_tags,
    .plugin_names = weir_sqlite_plugin_names,
    .write = weir_sqlite_write,
    .expire = weir_sqlite_expire,
    .watch = weir_sqlite_watch,
    .version = newest_version,
    .log_floor = log_floor,
    .count = count_rows,
    .numbers = numbers,
    .deltas = weir_sqlite_deltas,
    .deltas_at_hand = weir_sqlite_deltas_at_hand,
    .snapshot = weir_sqlite_snapshot,
    .digest_key = weir_sqlite_digest_key,
    .digest = weir_sqlite_digest,
    .view_open = weir_sqlite_view_open,
    .view_close = weir_sqlite_view_close,
    .view_version = weir_sqlite_view_version,
    .view_deltas = weir_sqlite_view_deltas,
    .view_page = weir_sqlite_view_page,
    .view_sums = weir_sqlite_view_sums,
    .view_bucket = weir_sqlite_view_bucket,
    .put_data_plane = weir_sqlite_put_data_plane,
    .data_planes = weir_sqlite_data_planes,
};
