/* commits.c -- what a commit says of the whole: the version, the log, counts, sums.
 *
 * A lone write has little of its own: a row, a key, a delta. With a page each for the newest
 * version, the counts and the sums, half of what is written to the disk would be those. So
 * a commit adds one row with all of them to the table `commit_log`, and only every so many
 * commits that log goes to where it belongs, the tables `meta`, `entity_count` and `bucket`, and
 * is emptied. Whoever reads lays the log over the tables.
 *
 *   commit_log   version | log_entries | log_floor | counts that changed | sums that changed
 *
 * `store->commit_rows`, and the buckets in the log, follow a commit that succeeded. */
#include "store/sqlite/internal.h"

enum {
    ROWS_MAX = 64,
    TYPE_BYTES = 1,
    COUNT_BYTES = 8,
    ITEM_BYTES = TYPE_BYTES + COUNT_BYTES, /* a count in the log; big endian */
};

/* -- counts -------------------------------------------------------------------------------- */

/* Those that the group changed, at `to`; how many bytes. */
static size_t print_counts(const group_t *g, uint8_t to[WEIR_ENTITY_TYPES * ITEM_BYTES])
{
    uint8_t *at = to;
    for (int type = 1; type < WEIR_ENTITY_TYPES; type++) {
        uint64_t count = g->state.counts[type];
        if (count == g->store->state.counts[type])
            continue;
        *at++ = (uint8_t)type;
        for (int shift = 8 * (COUNT_BYTES - 1); shift >= 0; shift -= 8)
            *at++ = (uint8_t)(count >> shift);
    }
    return (size_t)(at - to);
}

/* Types that this build does not know are passed over, as in the table. */
static void set_count(state_t *state, int64_t type, uint64_t count)
{
    if (type > 0 && type < WEIR_ENTITY_TYPES)
        state->counts[type] = count;
}

static int take_counts(sqlite3_stmt *row, int column, state_t *state, weir_error_t *err)
{
    const uint8_t *bytes = sqlite3_column_blob(row, column);
    size_t count = (size_t)sqlite3_column_bytes(row, column);
    if (bytes == NULL && count > 0)
        return weir_error_memory(err);
    if (count % ITEM_BYTES != 0)
        return weir_error_set(err, WEIR_CORRUPT, NULL, "database: a count in the log is damaged");
    for (size_t at = 0; at < count; at += ITEM_BYTES) {
        uint64_t value = 0;
        for (size_t i = 0; i < COUNT_BYTES; i++)
            value = value << 8 | bytes[at + TYPE_BYTES + i];
        set_count(state, bytes[at], value);
    }
    return WEIR_OK;
}

/* -- reading ------------------------------------------------------------------------------- */

static int read_tables(connection_t *connection, state_t *state, weir_error_t *err)
{
    sqlite3_stmt *counts = NULL;
    int rc = weir_sqlite_meta_number(connection, "version", &state->version, err);
    if (rc == WEIR_OK)
        rc = weir_sqlite_meta_number(connection, "log_floor", &state->floor, err);
    if (rc == WEIR_OK)
        rc = weir_sqlite_meta_number(connection, "log_entries", &state->log_entries, err);
    if (rc == WEIR_OK)
        rc = weir_sqlite_select(connection, S_COUNTS, &counts, err, "");
    if (rc != WEIR_OK)
        return rc;
    while ((rc = weir_sqlite_step(connection, counts, err)) == WEIR_OK)
        set_count(state, sqlite3_column_int64(counts, 0),
                  (uint64_t)sqlite3_column_int64(counts, 1));
    sqlite3_reset(counts);
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

static int take_commit(sqlite3_stmt *row, state_t *state, weir_error_t *err)
{
    state->version = (uint64_t)sqlite3_column_int64(row, 0);
    state->log_entries = (uint64_t)sqlite3_column_int64(row, 1);
    state->floor = (uint64_t)sqlite3_column_int64(row, 2);
    return take_counts(row, 3, state, err);
}

/* Lays the log over what the tables say; `logged`: the buckets that are in it. */
static int read_log(connection_t *connection, state_t *state, weir_digest_t *sums,
                    bucket_set_t *logged, size_t *ret_rows, weir_error_t *err)
{
    sqlite3_stmt *log = NULL;
    *ret_rows = 0;
    int rc = weir_sqlite_select(connection, S_COMMITS, &log, err, "");
    while (rc == WEIR_OK && (rc = weir_sqlite_step(connection, log, err)) == WEIR_OK) {
        rc = take_commit(log, state, err);
        if (rc == WEIR_OK)
            rc = weir_sqlite_sums_take(log, 4, sums, logged, err);
        ++*ret_rows;
    }
    sqlite3_reset(log);
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

int weir_sqlite_commits_load(store_t *store, state_t *ret, weir_error_t *err)
{
    sums_t *sums = &store->sums;
    state_t state = { 0 };
    weir_sqlite_sums_forget(sums);
    int rc = read_tables(&store->writer, &state, err);
    if (rc == WEIR_OK)
        rc = weir_sqlite_sums_table(&store->writer, sums->now, err);
    if (rc == WEIR_OK)
        rc = read_log(&store->writer, &state, sums->now, &sums->logged, &store->commit_rows, err);
    if (rc != WEIR_OK)
        return rc;
    for (size_t i = 0; i < WEIR_DIGEST_BUCKETS; i++)
        weir_digest_add(&state.digest, &sums->now[i]);
    *ret = state;
    return WEIR_OK;
}

int weir_sqlite_commits_sums(connection_t *connection, weir_digest_t *sums, weir_error_t *err)
{
    state_t state = { 0 };
    size_t rows = 0;
    int rc = weir_sqlite_sums_table(connection, sums, err);
    return rc == WEIR_OK ? read_log(connection, &state, sums, NULL, &rows, err) : rc;
}

int weir_sqlite_commits_version(connection_t *connection, uint64_t *ret, weir_error_t *err)
{
    sqlite3_stmt *select = NULL;
    int rc = weir_sqlite_select(connection, S_VERSION, &select, err, "");
    if (rc == WEIR_OK)
        rc = weir_sqlite_step(connection, select, err);
    if (rc == WEIR_OK)
        *ret = (uint64_t)sqlite3_column_int64(select, 0);
    sqlite3_reset(select);
    return rc;
}

/* -- writing ------------------------------------------------------------------------------- */

static int add_row(group_t *g, weir_error_t *err)
{
    uint8_t counts[WEIR_ENTITY_TYPES * ITEM_BYTES];
    size_t len = print_counts(g, counts);
    weir_str_t sums = { NULL, 0 };
    int rc = weir_sqlite_sums_print(g->store, &sums, err);
    if (rc == WEIR_OK)
        rc = weir_sqlite_run(g->db, S_COMMIT_LOG, err, "iiibb", (int64_t)g->state.version,
                             (int64_t)g->state.log_entries, (int64_t)g->state.floor,
                             (weir_str_t){ (const char *)counts, len }, sums);
    weir_free((char *)sums.data);
    g->saved = SAVED_IN_LOG;
    return rc;
}

static int fold(group_t *g, weir_error_t *err)
{
    const state_t *state = &g->state;
    g->saved = SAVED_IN_TABLES;
    int rc = weir_sqlite_meta_put_number(g->db, "version", state->version, err);
    if (rc == WEIR_OK)
        rc = weir_sqlite_meta_put_number(g->db, "log_entries", state->log_entries, err);
    if (rc == WEIR_OK)
        rc = weir_sqlite_meta_put_number(g->db, "log_floor", state->floor, err);
    for (int type = 1; rc == WEIR_OK && type < WEIR_ENTITY_TYPES; type++)
        rc = weir_sqlite_run(g->db, S_COUNT_PUT, err, "ii", (int64_t)type,
                             (int64_t)state->counts[type]);
    if (rc == WEIR_OK)
        rc = weir_sqlite_sums_put(g, err);
    return rc == WEIR_OK ? weir_sqlite_run(g->db, S_COMMITS_EMPTY, err, "") : rc;
}

int weir_sqlite_commits_save(group_t *g, weir_error_t *err)
{
    return g->store->commit_rows < ROWS_MAX ? add_row(g, err) : fold(g, err);
}

void weir_sqlite_commits_end(group_t *g, bool committed)
{
    saved_t saved = committed ? g->saved : SAVED_NOT;
    if (saved == SAVED_IN_LOG)
        g->store->commit_rows++;
    else if (saved == SAVED_IN_TABLES)
        g->store->commit_rows = 0;
    weir_sqlite_sums_end_group(&g->store->sums, committed, saved == SAVED_IN_TABLES);
}
