/* log.c -- the deltas of a range of versions, read row by row: memory does not grow
 * with what is read; and the rows of data planes. */
#include "store/sqlite/internal.h"

/* Versions have no holes: the first row of a range is the first of the version
 * after `after`, unless that one was pruned, or half of it. Looking at the rows
 * themselves, instead of asking for the floor, leaves no moment between the two. */
static int read_deltas(connection_t *connection, sqlite3_stmt *range, uint64_t after,
                       uint64_t up_to, weir_delta_fn fn, void *context, weir_error_t *err)
{
    uint64_t next = after + 1;
    int rc = WEIR_OK;
    while (rc == WEIR_OK && (rc = weir_sqlite_step(connection, range, err)) == WEIR_OK) {
        uint64_t position = (uint64_t)sqlite3_column_int64(range, 0);
        weir_delta_t delta = {
            .version = position >> SEQ_BITS,
            .type = (weir_entity_type_t)sqlite3_column_int(range, 1),
            .document = weir_sqlite_column_str(range, 4),
        };
        weir_sqlite_column_uuid(range, 2, &delta.id);
        weir_sqlite_column_uuid(range, 3, &delta.workspace);
        if (delta.document.data == NULL && sqlite3_column_type(range, 4) != SQLITE_NULL)
            return weir_error_memory(err); /* a put must never look like a deletion */
        if (delta.version >= next && position != next << SEQ_BITS)
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

int weir_sqlite_read_log(connection_t *connection, uint64_t after, uint64_t up_to, weir_delta_fn fn,
                         void *context, weir_error_t *err)
{
    if (after >= up_to)
        return WEIR_OK;
    sqlite3_stmt *range = NULL;
    int rc =
        weir_sqlite_select(connection, S_DELTA_RANGE, &range, err, "ii",
                           (int64_t)((after + 1) << SEQ_BITS), (int64_t)((up_to + 1) << SEQ_BITS));
    if (rc == WEIR_OK)
        rc = read_deltas(connection, range, after, up_to, fn, context, err);
    sqlite3_reset(range);
    return rc;
}

/* What the log no longer has, the memory may still have: for everybody it is gone. */
static bool is_in_log(const store_t *store, uint64_t after)
{
    return after >= store->floor;
}

bool weir_sqlite_deltas_at_hand(weir_store_t *base, uint64_t after, size_t bytes_max)
{
    store_t *store = store_of(base);
    return is_in_log(store, after) &&
           weir_sqlite_recent_has(&store->recent, after, store->version, bytes_max);
}

int weir_sqlite_deltas(weir_store_t *base, uint64_t after, uint64_t up_to, weir_delta_fn fn,
                       void *context, weir_error_t *err)
{
    store_t *store = store_of(base);
    uint64_t newest = store->version;
    up_to = up_to < newest ? up_to : newest;
    if (after >= up_to)
        return WEIR_OK;
    int rc = WEIR_OK;
    if (is_in_log(store, after) && weir_sqlite_recent_read(store, after, up_to, fn, context, &rc))
        return rc;
    connection_t *connection = NULL;
    rc = weir_sqlite_reader_take(store, &connection, err);
    if (rc != WEIR_OK)
        return rc;
    rc = weir_sqlite_read_log(connection, after, up_to, fn, context, err);
    weir_sqlite_reader_give(store, connection);
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
