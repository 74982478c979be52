/* read.c -- rows by id, by key, by page; the log and the snapshot. */
#include "store/sqlite/internal.h"

#include "base/clock.h"

#include <stdio.h>

static bool expired(sqlite3_stmt *row, int column, int64_t now_ms)
{
    return sqlite3_column_type(row, column) != SQLITE_NULL &&
           sqlite3_column_int64(row, column) <= now_ms;
}

int weir_store_get(weir_store_t *store, weir_entity_type_t type, const weir_uuid_t *id,
                   weir_arena_t *arena, weir_row_t *ret, weir_error_t *err)
{
    connection_t *connection = NULL;
    int rc = reader_take(store, &connection, err);
    if (rc != WEIR_OK)
        return rc;
    sqlite3_stmt *get = statement(connection, S_GET, err);
    if (get == NULL) {
        reader_give(store, connection);
        return WEIR_IO;
    }
    sqlite3_bind_int(get, 1, (int)type);
    bind_uuid(get, 2, id);
    int code = sqlite3_step(get);
    rc = WEIR_NOT_FOUND;
    if (code == SQLITE_ROW && !expired(get, 2, weir_clock_ms())) {
        *ret = (weir_row_t){ .type = type, .id = *id };
        ret->version = (uint64_t)sqlite3_column_int64(get, 0);
        ret->document = weir_arena_copy(arena, column_str(get, 1));
        rc = ret->document.data != NULL ? WEIR_OK : weir_error_memory(err);
    } else if (code != SQLITE_ROW && code != SQLITE_DONE) {
        rc = sqlite_error(connection, err);
    }
    sqlite3_reset(get);
    reader_give(store, connection);
    return rc;
}

/* Copies the row (id, version, document, expires_ms) that `from` stands on. */
static int copy_row(sqlite3_stmt *from, weir_entity_type_t type, weir_arena_t *arena,
                    weir_row_t *ret, weir_error_t *err)
{
    *ret = (weir_row_t){ .type = type };
    column_uuid(from, 0, &ret->id);
    ret->version = (uint64_t)sqlite3_column_int64(from, 1);
    ret->document = weir_arena_copy(arena, column_str(from, 2));
    return ret->document.data != NULL ? WEIR_OK : weir_error_memory(err);
}

int weir_store_find(weir_store_t *store, weir_entity_type_t type, const char *key, weir_str_t value,
                    weir_arena_t *arena, weir_row_t *ret, weir_error_t *err)
{
    connection_t *connection = NULL;
    int rc = reader_take(store, &connection, err);
    if (rc != WEIR_OK)
        return rc;
    sqlite3_stmt *find = statement(connection, S_FIND, err);
    if (find == NULL) {
        reader_give(store, connection);
        return WEIR_IO;
    }
    sqlite3_bind_int(find, 1, (int)type);
    bind_text(find, 2, weir_str(key));
    bind_text(find, 3, value);
    int code = sqlite3_step(find);
    rc = WEIR_NOT_FOUND;
    if (code == SQLITE_ROW && !expired(find, 3, weir_clock_ms()))
        rc = copy_row(find, type, arena, ret, err);
    else if (code != SQLITE_ROW && code != SQLITE_DONE)
        rc = sqlite_error(connection, err);
    sqlite3_reset(find);
    reader_give(store, connection);
    return rc;
}

/* -- pages --------------------------------------------------------------------- */

enum { TAGS_MAX = 5 };

/* AND: the first tag's rows that also have the others; OR: a merge of ordered
 * runs. Both walk indexes from `after` on. */
static int prepare_tags(connection_t *connection, const weir_store_query_t *query,
                        sqlite3_stmt **ret, weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 8192);
    weir_buffer_append(&text, WEIR_STR("SELECT e.id, e.version, e.document, e.expires_ms FROM ("));
    for (size_t i = 0; i < query->tag_count; i++) {
        if (query->tags_any)
            weir_buffer_printf(&text, "%sSELECT id FROM tag WHERE type=?1 AND tag=?%zu AND id>?2",
                               i > 0 ? " UNION " : "", i + 3);
        else if (i == 0)
            weir_buffer_append(&text,
                               WEIR_STR("SELECT id FROM tag t WHERE type=?1 AND tag=?3 AND id>?2"));
        else
            weir_buffer_printf(&text,
                               " AND EXISTS(SELECT 1 FROM tag WHERE type=?1 AND tag=?%zu AND "
                               "id=t.id)",
                               i + 3);
    }
    weir_buffer_append(&text, WEIR_STR(" ORDER BY id) p JOIN entity e ON e.type=?1 AND e.id=p.id "
                                       "ORDER BY p.id"));
    if (text.failed != WEIR_OK)
        return weir_error_memory(err);
    if (sqlite3_prepare_v2(connection->db, text.data, (int)text.len, ret, NULL) != SQLITE_OK)
        return sqlite_error(connection, err);
    for (size_t i = 0; i < query->tag_count; i++)
        bind_text(*ret, (int)i + 3, query->tags[i]);
    return WEIR_OK;
}

static int prepare_list(connection_t *connection, const weir_store_query_t *query,
                        sqlite3_stmt **ret, weir_error_t *err)
{
    if (query->tag_count > 0)
        return prepare_tags(connection, query, ret, err);
    bool children = query->parent_field != NULL;
    *ret = statement(connection, children ? S_LIST_CHILDREN : S_LIST, err);
    if (*ret == NULL)
        return WEIR_IO;
    if (children) {
        const weir_schema_t *schema = weir_schema(query->type);
        const weir_field_t *field = weir_schema_field(schema, weir_str(query->parent_field));
        weir_assert(field != NULL && field->to != NULL);
        sqlite3_bind_int(*ret, 3, (int)weir_schema_named(weir_str(field->to))->type);
        bind_uuid(*ret, 4, &query->parent);
        bind_text(*ret, 5, weir_str(query->parent_field));
    }
    return WEIR_OK;
}

int weir_store_list(weir_store_t *store, const weir_store_query_t *query, weir_arena_t *arena,
                    weir_rows_t *ret, weir_error_t *err)
{
    weir_assert(query->limit > 0 && query->tag_count <= TAGS_MAX);
    *ret = (weir_rows_t){ .rows = weir_arena_alloc(arena, query->limit * sizeof(weir_row_t)) };
    if (ret->rows == NULL)
        return weir_error_memory(err);
    connection_t *connection = NULL;
    sqlite3_stmt *list = NULL;
    int rc = reader_take(store, &connection, err);
    if (rc != WEIR_OK)
        return rc;
    rc = prepare_list(connection, query, &list, err);
    if (rc == WEIR_OK) {
        sqlite3_bind_int(list, 1, (int)query->type);
        sqlite3_bind_blob(list, 2, query->has_after ? query->after.bytes : (const uint8_t *)"",
                          query->has_after ? WEIR_UUID_BYTES : 0, SQLITE_STATIC);
        int64_t now_ms = weir_clock_ms();
        int code = SQLITE_DONE;
        while (rc == WEIR_OK && (code = sqlite3_step(list)) == SQLITE_ROW) {
            if (expired(list, 3, now_ms))
                continue;
            if (ret->count == query->limit) {
                ret->more = true;
                break;
            }
            rc = copy_row(list, query->type, arena, &ret->rows[ret->count], err);
            ret->count += rc == WEIR_OK;
        }
        if (rc == WEIR_OK && code != SQLITE_ROW && code != SQLITE_DONE)
            rc = sqlite_error(connection, err);
    }
    if (query->tag_count > 0)
        sqlite3_finalize(list);
    else if (list != NULL)
        sqlite3_reset(list);
    reader_give(store, connection);
    return rc;
}

int weir_store_tags(weir_store_t *store, weir_str_t tag, const weir_uuid_t *after,
                    int after_ordinal, size_t limit, weir_arena_t *arena, weir_tag_row_t **ret,
                    int **ret_ordinals, size_t *ret_count, bool *ret_more, weir_error_t *err)
{
    weir_tag_row_t *rows = weir_arena_alloc(arena, limit * sizeof(*rows));
    int *ordinals = weir_arena_alloc(arena, limit * sizeof(*ordinals));
    if (rows == NULL || ordinals == NULL)
        return weir_error_memory(err);
    connection_t *connection = NULL;
    int rc = reader_take(store, &connection, err);
    if (rc != WEIR_OK)
        return rc;
    sqlite3_stmt *page = statement(connection, tag.data != NULL ? S_TAGS_OF : S_TAGS_PAGE, err);
    size_t count = 0;
    *ret_more = false;
    if (page != NULL) {
        sqlite3_bind_blob(page, 1, after != NULL ? after->bytes : (const uint8_t *)"",
                          after != NULL ? WEIR_UUID_BYTES : 0, SQLITE_STATIC);
        sqlite3_bind_int(page, 2, after != NULL ? after_ordinal : 0);
        sqlite3_bind_int64(page, 3, (sqlite3_int64)limit + 1);
        if (tag.data != NULL)
            bind_text(page, 4, tag);
        while (rc == WEIR_OK && sqlite3_step(page) == SQLITE_ROW) {
            if (count == limit) {
                *ret_more = true;
                break;
            }
            rows[count].tag = weir_arena_copy(arena, column_str(page, 0));
            rows[count].type = (weir_entity_type_t)sqlite3_column_int(page, 1);
            column_uuid(page, 2, &rows[count].id);
            ordinals[count] = sqlite3_column_int(page, 3);
            rc = rows[count++].tag.data != NULL ? WEIR_OK : weir_error_memory(err);
        }
        sqlite3_reset(page);
    } else {
        rc = WEIR_IO;
    }
    reader_give(store, connection);
    *ret = rows;
    *ret_ordinals = ordinals;
    *ret_count = count;
    return rc;
}

int weir_store_plugin_names(weir_store_t *store, weir_arena_t *arena, weir_str_t **ret,
                            size_t *ret_count, weir_error_t *err)
{
    enum { NAMES_MAX = 256 };
    *ret = weir_arena_alloc(arena, NAMES_MAX * sizeof(**ret));
    *ret_count = 0;
    if (*ret == NULL)
        return weir_error_memory(err);
    connection_t *connection = NULL;
    int rc = reader_take(store, &connection, err);
    if (rc != WEIR_OK)
        return rc;
    sqlite3_stmt *names = statement(connection, S_PLUGIN_NAMES, err);
    rc = names != NULL ? WEIR_OK : WEIR_IO;
    while (rc == WEIR_OK && *ret_count < NAMES_MAX && sqlite3_step(names) == SQLITE_ROW) {
        weir_str_t name = weir_arena_copy(arena, column_str(names, 0));
        rc = name.data != NULL ? WEIR_OK : weir_error_memory(err);
        (*ret)[(*ret_count)++] = name;
    }
    if (names != NULL)
        sqlite3_reset(names);
    reader_give(store, connection);
    return rc;
}

/* -- the log ----------------------------------------------------------------------- */

int weir_store_deltas(weir_store_t *store, uint64_t after, uint64_t up_to, weir_delta_fn fn,
                      void *context, weir_error_t *err)
{
    connection_t *connection = NULL;
    int rc = reader_take(store, &connection, err);
    if (rc != WEIR_OK)
        return rc;
    /* The floor is looked at inside the transaction that reads the rows: pruning
     * between the two would leave a hole. */
    rc = execute_simple(connection, S_BEGIN_READ, err);
    sqlite3_stmt *range = rc == WEIR_OK ? statement(connection, S_DELTA_RANGE, err) : NULL;
    if (range != NULL) {
        sqlite3_bind_int64(range, 1, (sqlite3_int64)((after + 1) << SEQ_BITS));
        sqlite3_bind_int64(range, 2, (sqlite3_int64)((up_to + 1) << SEQ_BITS));
        uint64_t expected = after + 1;
        int code = SQLITE_DONE;
        while (rc == WEIR_OK && (code = sqlite3_step(range)) == SQLITE_ROW) {
            weir_delta_t delta = {
                .version = (uint64_t)sqlite3_column_int64(range, 0) >> SEQ_BITS,
                .type = (weir_entity_type_t)sqlite3_column_int(range, 1),
                .document = column_str(range, 4),
            };
            column_uuid(range, 2, &delta.id);
            column_uuid(range, 3, &delta.workspace);
            if (delta.version > expected)
                rc = WEIR_NOT_FOUND; /* versions have no holes: this one was pruned */
            else
                rc = fn(context, &delta);
            expected = delta.version + 1;
        }
        if (rc == WEIR_OK && code != SQLITE_DONE)
            rc = sqlite_error(connection, err);
        if (rc == WEIR_OK && expected <= up_to)
            rc = WEIR_NOT_FOUND;
        sqlite3_reset(range);
    } else if (rc == WEIR_OK) {
        rc = WEIR_IO;
    }
    execute_simple(connection, S_COMMIT, NULL);
    reader_give(store, connection);
    return rc;
}

static int snapshot_type(connection_t *connection, weir_entity_type_t type, uint64_t version,
                         weir_delta_fn fn, void *context, weir_error_t *err)
{
    sqlite3_stmt *rows = statement(connection, S_SNAPSHOT, err);
    if (rows == NULL)
        return WEIR_IO;
    sqlite3_bind_int(rows, 1, (int)type);
    int64_t now_ms = weir_clock_ms();
    int rc = WEIR_OK;
    int code = SQLITE_DONE;
    while (rc == WEIR_OK && (code = sqlite3_step(rows)) == SQLITE_ROW) {
        if (expired(rows, 3, now_ms))
            continue;
        weir_delta_t delta = { .version = version, .type = type, .document = column_str(rows, 2) };
        column_uuid(rows, 0, &delta.id);
        column_uuid(rows, 1, &delta.workspace);
        rc = fn(context, &delta);
    }
    if (rc == WEIR_OK && code != SQLITE_DONE)
        rc = sqlite_error(connection, err);
    sqlite3_reset(rows);
    return rc;
}

int weir_store_snapshot(weir_store_t *store, weir_delta_fn fn, void *context, uint64_t *ret_version,
                        weir_error_t *err)
{
    connection_t *connection = NULL;
    int rc = reader_take(store, &connection, err);
    if (rc != WEIR_OK)
        return rc;
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, 4096);
    weir_str_t text = { "0", 1 };
    int64_t version = 0;
    rc = execute_simple(connection, S_BEGIN_READ, err);
    if (rc == WEIR_OK)
        rc = meta_get(connection, "version", &arena, &text, err);
    if (rc == WEIR_OK || rc == WEIR_NOT_FOUND)
        rc = weir_parse_int64(text, 0, INT64_MAX, &version);
    *ret_version = (uint64_t)version;
    size_t count = 0;
    const weir_entity_type_t *order = weir_schema_order(&count);
    for (size_t i = 0; rc == WEIR_OK && i < count; i++)
        rc = snapshot_type(connection, order[i], *ret_version, fn, context, err);
    execute_simple(connection, S_COMMIT, NULL);
    reader_give(store, connection);
    return rc;
}

int weir_store_data_planes(weir_store_t *store, int64_t now_ms, weir_delta_fn fn, void *context,
                           weir_error_t *err)
{
    connection_t *connection = NULL;
    int rc = reader_take(store, &connection, err);
    if (rc != WEIR_OK)
        return rc;
    sqlite3_stmt *planes = statement(connection, S_PLANES, err);
    rc = planes != NULL ? WEIR_OK : WEIR_IO;
    if (planes != NULL)
        sqlite3_bind_int64(planes, 1, now_ms);
    while (rc == WEIR_OK && sqlite3_step(planes) == SQLITE_ROW) {
        weir_delta_t row = { .document = column_str(planes, 1) };
        column_uuid(planes, 0, &row.id);
        rc = fn(context, &row);
    }
    if (planes != NULL)
        sqlite3_reset(planes);
    reader_give(store, connection);
    return rc;
}
