/* view.c -- one committed state, read in steps: pages, buckets, sums, deltas; and
 * the snapshot, which is a view read in one go.
 *
 * All entities are read by one statement, a range of ids of one type, so memory
 * does not grow with what is read and a page costs what is in it. */
#include "store/sqlite/internal.h"

#include "base/clock.h"

typedef struct view {
    weir_store_view_t base;
    connection_t *connection;
    uint64_t version;
} view_t;

static view_t *view_of(weir_store_view_t *base)
{
    return (view_t *)base;
}

/* -- ranges of entities --------------------------------------------------------------------- */

/* Rows on their way to `fn`. */
typedef struct scan {
    connection_t *connection;
    uint64_t version; /* as `fn` is told */
    weir_delta_fn fn;
    void *context;
    int64_t expired_ms; /* what has expired by then is left out; 0: nothing is */
    size_t bytes, bytes_max;
    weir_store_cursor_t last; /* the row that `fn` got last */
    bool more;                /* stopped before a row, for `bytes_max` */
} scan_t;

static int scan_row(scan_t *scan, weir_entity_type_t type, sqlite3_stmt *rows, weir_error_t *err)
{
    if (scan->expired_ms > 0 && sqlite3_column_type(rows, 3) != SQLITE_NULL &&
        sqlite3_column_int64(rows, 3) <= scan->expired_ms)
        return WEIR_OK;
    if (scan->bytes > 0 && scan->bytes >= scan->bytes_max) {
        scan->more = true;
        return WEIR_OK;
    }
    weir_delta_t row = { .version = scan->version,
                         .type = type,
                         .document = weir_sqlite_column_str(rows, 2) };
    weir_sqlite_column_uuid(rows, 0, &row.id);
    weir_sqlite_column_uuid(rows, 1, &row.workspace);
    if (row.document.data == NULL)
        return weir_error_memory(err);
    scan->bytes += row.document.len;
    scan->last = (weir_store_cursor_t){ type, row.id };
    return scan->fn(scan->context, &row);
}

static const weir_uuid_t greatest_id = { { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                           0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff } };

/* Ids in (after, up_to]; `after` NULL: from the first on. */
static int scan_type(scan_t *scan, weir_entity_type_t type, const weir_uuid_t *after,
                     const weir_uuid_t *up_to, weir_error_t *err)
{
    sqlite3_stmt *rows = NULL;
    int rc = weir_sqlite_select(scan->connection, S_ENTITIES, &rows, err, "iuu", (int64_t)type,
                                after, up_to);
    bool end = rc != WEIR_OK;
    while (!end && !scan->more) {
        rc = weir_sqlite_step(scan->connection, rows, err);
        end = rc != WEIR_OK;
        if (rc == WEIR_NOT_FOUND)
            rc = WEIR_OK;
        else if (rc == WEIR_OK) {
            rc = scan_row(scan, type, rows, err); /* WEIR_NOT_FOUND of `fn` is no end */
            end = rc != WEIR_OK;
        }
    }
    sqlite3_reset(rows);
    return rc;
}

/* What follows the cursor. */
static int scan_after(scan_t *scan, const weir_store_cursor_t *cursor, weir_error_t *err)
{
    size_t count = 0;
    size_t at = 0;
    const weir_entity_type_t *order = weir_schema_order(&count);
    const weir_uuid_t *after = NULL;
    if (cursor->type != WEIR_ENTITY_NONE) {
        while (at < count && order[at] != cursor->type)
            at++;
        if (at == count)
            return weir_error_set(err, WEIR_INVALID, "cursor", "names a type that there is not: %d",
                                  (int)cursor->type);
        after = &cursor->id;
    }
    int rc = WEIR_OK;
    for (; rc == WEIR_OK && !scan->more && at < count; at++, after = NULL)
        rc = scan_type(scan, order[at], after, &greatest_id, err);
    return rc;
}

static const weir_store_cursor_t beginning = { .type = WEIR_ENTITY_NONE };

int weir_sqlite_each_entity(connection_t *connection, weir_delta_fn fn, void *context,
                            weir_error_t *err)
{
    scan_t scan = { .connection = connection, .fn = fn, .context = context, .bytes_max = SIZE_MAX };
    return scan_after(&scan, &beginning, err);
}

/* -- a view ----------------------------------------------------------------------------------- */

static int begin(view_t *view, weir_error_t *err)
{
    int rc = weir_sqlite_run(view->connection, S_BEGIN_READ, err, "");
    /* The first read is what fixes the state that is seen. */
    return rc == WEIR_OK ? weir_sqlite_commits_version(view->connection, &view->version, err) : rc;
}

int weir_sqlite_view_open(weir_store_t *base, weir_store_view_t **ret, weir_error_t *err)
{
    view_t *view = weir_calloc(1, sizeof(*view));
    if (view == NULL)
        return weir_error_memory(err);
    view->base.store = base;
    int rc = weir_sqlite_reader_take(store_of(base), &view->connection, err);
    if (rc == WEIR_OK)
        rc = begin(view, err);
    if (rc != WEIR_OK) {
        weir_sqlite_view_close(&view->base);
        return rc;
    }
    *ret = &view->base;
    return WEIR_OK;
}

/* The pool ends the transaction of a connection that comes back. */
void weir_sqlite_view_close(weir_store_view_t *base)
{
    view_t *view = view_of(base);
    if (view->connection != NULL)
        weir_sqlite_reader_give(store_of(base->store), view->connection);
    weir_free(view);
}

uint64_t weir_sqlite_view_version(const weir_store_view_t *base)
{
    return ((const view_t *)base)->version;
}

int weir_sqlite_view_deltas(weir_store_view_t *base, uint64_t after, weir_delta_fn fn,
                            void *context, weir_error_t *err)
{
    view_t *view = view_of(base);
    return weir_sqlite_read_log(view->connection, after, view->version, fn, context, err);
}

int weir_sqlite_view_page(weir_store_view_t *base, weir_store_cursor_t *cursor, size_t bytes_max,
                          weir_delta_fn fn, void *context, bool *ret_more, weir_error_t *err)
{
    const view_t *view = view_of(base);
    scan_t scan = { .connection = view->connection,
                    .version = view->version,
                    .fn = fn,
                    .context = context,
                    .bytes_max = bytes_max,
                    .last = *cursor };
    int rc = scan_after(&scan, cursor, err);
    if (rc != WEIR_OK)
        return rc;
    *cursor = scan.last;
    *ret_more = scan.more;
    return WEIR_OK;
}

int weir_sqlite_view_sums(weir_store_view_t *base, weir_digest_t *sums, weir_error_t *err)
{
    return weir_sqlite_commits_sums(view_of(base)->connection, sums, err);
}

/* The greatest id of a bucket. */
static weir_uuid_t last_of(unsigned bucket)
{
    weir_uuid_t id = greatest_id;
    id.bytes[0] = (uint8_t)(bucket >> 4);
    id.bytes[1] = (uint8_t)((bucket & 15) << 4 | 15);
    return id;
}

int weir_sqlite_view_bucket(weir_store_view_t *base, unsigned bucket, weir_delta_fn fn,
                            void *context, weir_error_t *err)
{
    weir_assert(bucket < WEIR_DIGEST_BUCKETS);
    const view_t *view = view_of(base);
    scan_t scan = { .connection = view->connection,
                    .version = view->version,
                    .fn = fn,
                    .context = context,
                    .bytes_max = SIZE_MAX };
    weir_uuid_t after = last_of(bucket - (bucket > 0));
    weir_uuid_t up_to = last_of(bucket);
    size_t count = 0;
    const weir_entity_type_t *order = weir_schema_order(&count);
    int rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < count; i++)
        rc = scan_type(&scan, order[i], bucket > 0 ? &after : NULL, &up_to, err);
    return rc;
}

/* -- the whole set ------------------------------------------------------------------------------
 */

int weir_sqlite_snapshot(weir_store_t *base, weir_delta_fn fn, void *context, uint64_t *ret_version,
                         weir_error_t *err)
{
    weir_store_view_t *opened = NULL;
    int rc = weir_sqlite_view_open(base, &opened, err);
    if (rc != WEIR_OK)
        return rc;
    const view_t *view = view_of(opened);
    *ret_version = view->version;
    scan_t scan = { .connection = view->connection,
                    .version = view->version,
                    .fn = fn,
                    .context = context,
                    .expired_ms = weir_clock_ms(),
                    .bytes_max = SIZE_MAX };
    rc = scan_after(&scan, &beginning, err);
    weir_sqlite_view_close(opened);
    return rc;
}
