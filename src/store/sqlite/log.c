/* log.c -- what data planes are fed from: the deltas of a range of versions, and
 * the whole set as of one version. Each reads inside one transaction, row by
 * row: memory does not grow with what is read. */
#include "store/sqlite/internal.h"

#include "base/clock.h"

/* Versions have no holes: the first row of a range is of the version after
 * `after`, unless that one was pruned. Looking at the rows themselves, instead
 * of asking for the floor, leaves no moment between the two. */
static int read_deltas(connection_t *connection, sqlite3_stmt *range, uint64_t after,
                       uint64_t up_to, weir_delta_fn fn, void *context, weir_error_t *err)
{
    uint64_t next = after + 1;
    int rc = WEIR_OK;
    while (rc == WEIR_OK && (rc = weir_sqlite_step(connection, range, err)) == WEIR_OK) {
        weir_delta_t delta = {
            .version = (uint64_t)sqlite3_column_int64(range, 0) >> SEQ_BITS,
            .type = (weir_entity_type_t)sqlite3_column_int(range, 1),
            .document = weir_sqlite_column_str(range, 4),
        };
        weir_sqlite_column_uuid(range, 2, &delta.id);
        weir_sqlite_column_uuid(range, 3, &delta.workspace);
        if (delta.document.data == NULL && sqlite3_column_type(range, 4) != SQLITE_NULL)
            return weir_error_memory(err); /* a put must never look like a deletion */
        if (delta.version > next)
            return WEIR_NOT_FOUND;
        next = delta.version + 1;
        rc = fn(context, &delta);
        if (rc != WEIR_OK)
            return rc;
    }
    if (rc != WEIR_NOT_FOUND)
        return rc;
    return next > up_to ? WEIR_OK : WEIR_NOT_FOUND;
}

int weir_sqlite_deltas(weir_store_t *base, uint64_t after, uint64_t up_to, weir_delta_fn fn,
                       void *context, weir_error_t *err)
{
    store_t *store = store_of(base);
    uint64_t newest = store->version;
    up_to = up_to < newest ? up_to : newest;
    if (after >= up_to)
        return WEIR_OK;
    connection_t *connection = NULL;
    int rc = weir_sqlite_reader_take(store, &connection, err);
    if (rc != WEIR_OK)
        return rc;
    sqlite3_stmt *range = NULL;
    rc = weir_sqlite_select(connection, S_DELTA_RANGE, &range, err, "ii",
                            (int64_t)((after + 1) << SEQ_BITS), (int64_t)((up_to + 1) << SEQ_BITS));
    if (rc == WEIR_OK)
        rc = read_deltas(connection, range, after, up_to, fn, context, err);
    sqlite3_reset(range);
    weir_sqlite_reader_give(store, connection);
    return rc;
}

static int snapshot_type(connection_t *connection, weir_entity_type_t type, uint64_t version,
                         int64_t now_ms, weir_delta_fn fn, void *context, weir_error_t *err)
{
    sqlite3_stmt *rows = NULL;
    int rc = weir_sqlite_select(connection, S_SNAPSHOT, &rows, err, "i", (int64_t)type);
    bool stopped = false; /* by `fn`, whose WEIR_NOT_FOUND is not the end of the table */
    while (rc == WEIR_OK && (rc = weir_sqlite_step(connection, rows, err)) == WEIR_OK) {
        if (sqlite3_column_type(rows, 3) != SQLITE_NULL && sqlite3_column_int64(rows, 3) <= now_ms)
            continue;
        weir_delta_t row = { .version = version,
                             .type = type,
                             .document = weir_sqlite_column_str(rows, 2) };
        weir_sqlite_column_uuid(rows, 0, &row.id);
        weir_sqlite_column_uuid(rows, 1, &row.workspace);
        rc = row.document.data != NULL ? fn(context, &row) : weir_error_memory(err);
        stopped = rc != WEIR_OK;
    }
    sqlite3_reset(rows);
    return rc == WEIR_NOT_FOUND && !stopped ? WEIR_OK : rc;
}

static int snapshot(connection_t *connection, weir_delta_fn fn, void *context,
                    uint64_t *ret_version, weir_error_t *err)
{
    uint64_t version = 0;
    int rc = weir_sqlite_meta_number(connection, "version", &version, err);
    if (rc != WEIR_OK)
        return rc;
    *ret_version = version;
    int64_t now_ms = weir_clock_ms();
    size_t count = 0;
    const weir_entity_type_t *order = weir_schema_order(&count);
    for (size_t i = 0; rc == WEIR_OK && i < count; i++)
        rc = snapshot_type(connection, order[i], version, now_ms, fn, context, err);
    return rc;
}

int weir_sqlite_snapshot(weir_store_t *base, weir_delta_fn fn, void *context, uint64_t *ret_version,
                         weir_error_t *err)
{
    connection_t *connection = NULL;
    int rc = weir_sqlite_reader_take(store_of(base), &connection, err);
    if (rc != WEIR_OK)
        return rc;
    rc = weir_sqlite_run(connection, S_BEGIN_READ, err, "");
    if (rc == WEIR_OK) {
        rc = snapshot(connection, fn, context, ret_version, err);
        int end = weir_sqlite_run(connection, S_COMMIT, rc == WEIR_OK ? err : NULL, "");
        rc = rc == WEIR_OK ? end : rc;
    }
    weir_sqlite_reader_give(store_of(base), connection);
    return rc;
}

int weir_sqlite_data_planes(weir_store_t *base, int64_t now_ms, weir_delta_fn fn, void *context,
                            weir_error_t *err)
{
    connection_t *connection = NULL;
    int rc = weir_sqlite_reader_take(store_of(base), &connection, err);
    if (rc != WEIR_OK)
        return rc;
    sqlite3_stmt *planes = NULL;
    bool stopped = false;
    rc = weir_sqlite_select(connection, S_PLANES, &planes, err, "i", now_ms);
    while (rc == WEIR_OK && (rc = weir_sqlite_step(connection, planes, err)) == WEIR_OK) {
        weir_delta_t row = { .document = weir_sqlite_column_str(planes, 1) };
        weir_sqlite_column_uuid(planes, 0, &row.id);
        rc = row.document.data != NULL ? fn(context, &row) : weir_error_memory(err);
        stopped = rc != WEIR_OK;
    }
    sqlite3_reset(planes);
    weir_sqlite_reader_give(store_of(base), connection);
    return rc == WEIR_NOT_FOUND && !stopped ? WEIR_OK : rc;
}
