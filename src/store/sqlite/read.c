/* read.c -- rows by id, by key and by page. */
#include "store/sqlite/internal.h"

#include "base/clock.h"

/* Rows of entities are always (id, version, document, expires_ms). */
enum { COLUMN_ID, COLUMN_VERSION, COLUMN_DOCUMENT, COLUMN_EXPIRES };

static bool expired(sqlite3_stmt *row, int64_t now_ms)
{
    return sqlite3_column_type(row, COLUMN_EXPIRES) != SQLITE_NULL &&
           sqlite3_column_int64(row, COLUMN_EXPIRES) <= now_ms;
}

static int copy_row(sqlite3_stmt *from, weir_entity_type_t type, weir_arena_t *arena,
                    weir_row_t *ret, weir_error_t *err)
{
    *ret = (weir_row_t){ .type = type };
    weir_sqlite_column_uuid(from, COLUMN_ID, &ret->id);
    ret->version = (uint64_t)sqlite3_column_int64(from, COLUMN_VERSION);
    weir_str_t document = weir_sqlite_column_str(from, COLUMN_DOCUMENT);
    if (document.data != NULL)
        ret->document = weir_arena_copy(arena, document);
    return ret->document.data != NULL ? WEIR_OK : weir_error_memory(err);
}

/* The only row of a select, which it resets. */
static int read_row(connection_t *connection, sqlite3_stmt *select, weir_entity_type_t type,
                    weir_arena_t *arena, weir_row_t *ret, weir_error_t *err)
{
    int rc = weir_sqlite_step(connection, select, err);
    if (rc == WEIR_OK && expired(select, weir_clock_ms()))
        rc = WEIR_NOT_FOUND;
    if (rc == WEIR_OK)
        rc = copy_row(select, type, arena, ret, err);
    sqlite3_reset(select);
    return rc;
}

int weir_sqlite_get(weir_store_t *base, weir_entity_type_t type, const weir_uuid_t *id,
                    weir_arena_t *arena, weir_row_t *ret, weir_error_t *err)
{
    connection_t *connection = NULL;
    int rc = weir_sqlite_reader_take(store_of(base), &connection, err);
    if (rc != WEIR_OK)
        return rc;
    sqlite3_stmt *get = NULL;
    rc = weir_sqlite_select(connection, S_GET, &get, err, "iu", (int64_t)type, id);
    if (rc == WEIR_OK)
        rc = read_row(connection, get, type, arena, ret, err);
    weir_sqlite_reader_give(store_of(base), connection);
    return rc;
}

int weir_sqlite_find(weir_store_t *base, weir_entity_type_t type, const char *key, weir_str_t value,
                     weir_arena_t *arena, weir_row_t *ret, weir_error_t *err)
{
    connection_t *connection = NULL;
    int rc = weir_sqlite_reader_take(store_of(base), &connection, err);
    if (rc != WEIR_OK)
        return rc;
    sqlite3_stmt *find = NULL;
    rc = weir_sqlite_select(connection, S_FIND, &find, err, "itt", (int64_t)type, weir_str(key),
                            value);
    if (rc == WEIR_OK)
        rc = read_row(connection, find, type, arena, ret, err);
    weir_sqlite_reader_give(store_of(base), connection);
    return rc;
}

/* -- pages --------------------------------------------------------------------------- */

enum { TAGS_QUERY_MAX = 5 };

/* AND: the first tag's rows that also have the others; OR: a merge of ordered
 * runs. Both walk indexes from `after` on and stop after a page. */
static int tags_sql(const weir_store_query_t *query, weir_buffer_t *text)
{
    weir_buffer_append(text, WEIR_STR("SELECT e.id, e.version, e.document, e.expires_ms FROM ("));
    for (size_t i = 0; i < query->tag_count; i++) {
        if (query->tags_any)
            weir_buffer_printf(text, "%sSELECT id FROM tag WHERE type=?1 AND tag=?%zu AND id>?2",
                               i > 0 ? " UNION " : "", i + 3);
        else if (i == 0)
            weir_buffer_append(text,
                               WEIR_STR("SELECT id FROM tag t WHERE type=?1 AND tag=?3 AND id>?2"));
        else
            weir_buffer_printf(text,
                               " AND EXISTS(SELECT 1 FROM tag WHERE type=?1 AND tag=?%zu AND "
                               "id=t.id)",
                               i + 3);
    }
    return weir_buffer_append(text, WEIR_STR(" ORDER BY id) p JOIN entity e ON e.type=?1 AND "
                                             "e.id=p.id ORDER BY p.id"));
}

/* Its text depends on the number of tags, so it is not kept: preparing it costs
 * tens of microseconds. The caller finalizes. */
static int select_tagged(connection_t *connection, const weir_store_query_t *query,
                         sqlite3_stmt **ret, weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 8192);
    if (tags_sql(query, &text) != WEIR_OK)
        return weir_error_memory(err);
    if (sqlite3_prepare_v2(connection->db, text.data, (int)text.len, ret, NULL) != SQLITE_OK)
        return weir_sqlite_error(connection, err);
    int code = sqlite3_bind_int(*ret, 1, (int)query->type);
    if (code == SQLITE_OK)
        code = query->has_after
                   ? sqlite3_bind_blob(*ret, 2, query->after.bytes, WEIR_UUID_BYTES, SQLITE_STATIC)
                   : sqlite3_bind_zeroblob(*ret, 2, 0);
    for (size_t i = 0; code == SQLITE_OK && i < query->tag_count; i++)
        code = sqlite3_bind_text(*ret, (int)i + 3, query->tags[i].data, (int)query->tags[i].len,
                                 SQLITE_STATIC);
    return code == SQLITE_OK ? WEIR_OK : weir_sqlite_error(connection, err);
}

static int select_page(connection_t *connection, const weir_store_query_t *query,
                       sqlite3_stmt **ret, weir_error_t *err)
{
    const weir_uuid_t *after = query->has_after ? &query->after : NULL;
    int64_t type = (int64_t)query->type;
    if (query->tag_count > 0)
        return select_tagged(connection, query, ret, err);
    if (query->parent_field == NULL)
        return weir_sqlite_select(connection, S_LIST, ret, err, "iu", type, after);
    const weir_field_t *field =
        weir_schema_field(weir_schema(query->type), weir_str(query->parent_field));
    weir_assert(field != NULL && field->to != NULL);
    return weir_sqlite_select(connection, S_LIST_CHILDREN, ret, err, "iuiuti", type, after,
                              (int64_t)weir_schema_named(weir_str(field->to))->type, &query->parent,
                              weir_str(query->parent_field),
                              (int64_t)weir_sqlite_on_delete(query->type, field));
}

static int read_page(connection_t *connection, sqlite3_stmt *page, const weir_store_query_t *query,
                     weir_arena_t *arena, weir_rows_t *ret, weir_error_t *err)
{
    int64_t now_ms = weir_clock_ms();
    int rc = WEIR_OK;
    while (rc == WEIR_OK && (rc = weir_sqlite_step(connection, page, err)) == WEIR_OK) {
        if (expired(page, now_ms))
            continue;
        if (ret->count == query->limit) {
            ret->more = true;
            return WEIR_OK;
        }
        rc = copy_row(page, query->type, arena, &ret->rows[ret->count], err);
        ret->count += rc == WEIR_OK;
    }
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

int weir_sqlite_list(weir_store_t *base, const weir_store_query_t *query, weir_arena_t *arena,
                     weir_rows_t *ret, weir_error_t *err)
{
    weir_assert(query->limit > 0 && query->tag_count <= TAGS_QUERY_MAX);
    weir_assert(query->tag_count == 0 || query->parent_field == NULL);
    weir_rows_t rows = { .rows = weir_arena_alloc(arena, query->limit * sizeof(weir_row_t)) };
    if (rows.rows == NULL)
        return weir_error_memory(err);
    connection_t *connection = NULL;
    int rc = weir_sqlite_reader_take(store_of(base), &connection, err);
    if (rc != WEIR_OK)
        return rc;
    sqlite3_stmt *page = NULL;
    rc = select_page(connection, query, &page, err);
    if (rc == WEIR_OK)
        rc = read_page(connection, page, query, arena, &rows, err);
    if (query->tag_count > 0)
        sqlite3_finalize(page);
    else
        sqlite3_reset(page);
    weir_sqlite_reader_give(store_of(base), connection);
    if (rc == WEIR_OK)
        *ret = rows;
    return rc;
}

/* -- tags and names ------------------------------------------------------------------------ */

typedef struct tag_page {
    weir_tag_row_t *rows;
    int *ordinals;
    size_t count;
    size_t limit;
    bool more;
} tag_page_t;

static int read_tags(connection_t *connection, sqlite3_stmt *select, weir_arena_t *arena,
                     tag_page_t *page, weir_error_t *err)
{
    int rc = WEIR_OK;
    while (rc == WEIR_OK && (rc = weir_sqlite_step(connection, select, err)) == WEIR_OK) {
        if (page->count == page->limit) {
            page->more = true;
            return WEIR_OK;
        }
        weir_tag_row_t *row = &page->rows[page->count];
        row->tag = weir_arena_copy(arena, weir_sqlite_column_str(select, 0));
        row->type = (weir_entity_type_t)sqlite3_column_int(select, 1);
        weir_sqlite_column_uuid(select, 2, &row->id);
        page->ordinals[page->count++] = sqlite3_column_int(select, 3);
        rc = row->tag.data != NULL ? WEIR_OK : weir_error_memory(err);
    }
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

int weir_sqlite_tags(weir_store_t *base, weir_str_t tag, const weir_uuid_t *after,
                     int after_ordinal, size_t limit, weir_arena_t *arena, weir_tag_row_t **ret,
                     int **ret_ordinals, size_t *ret_count, bool *ret_more, weir_error_t *err)
{
    weir_assert(limit > 0);
    tag_page_t page = { .rows = weir_arena_alloc(arena, limit * sizeof(*page.rows)),
                        .ordinals = weir_arena_alloc(arena, limit * sizeof(*page.ordinals)),
                        .limit = limit };
    if (page.rows == NULL || page.ordinals == NULL)
        return weir_error_memory(err);
    connection_t *connection = NULL;
    int rc = weir_sqlite_reader_take(store_of(base), &connection, err);
    if (rc != WEIR_OK)
        return rc;
    sqlite3_stmt *select = NULL;
    if (tag.data != NULL)
        rc = weir_sqlite_select(connection, S_TAGS_OF, &select, err, "uiit", after,
                                (int64_t)after_ordinal, (int64_t)limit + 1, tag);
    else
        rc = weir_sqlite_select(connection, S_TAGS_PAGE, &select, err, "uii", after,
                                (int64_t)after_ordinal, (int64_t)limit + 1);
    if (rc == WEIR_OK)
        rc = read_tags(connection, select, arena, &page, err);
    sqlite3_reset(select);
    weir_sqlite_reader_give(store_of(base), connection);
    if (rc != WEIR_OK)
        return rc;
    *ret = page.rows;
    *ret_ordinals = page.ordinals;
    *ret_count = page.count;
    *ret_more = page.more;
    return WEIR_OK;
}

int weir_sqlite_plugin_names(weir_store_t *base, weir_arena_t *arena, weir_str_t **ret,
                             size_t *ret_count, weir_error_t *err)
{
    enum { NAMES_MAX = 1024 };
    weir_str_t *found = weir_arena_alloc(arena, NAMES_MAX * sizeof(*found));
    if (found == NULL)
        return weir_error_memory(err);
    connection_t *connection = NULL;
    int rc = weir_sqlite_reader_take(store_of(base), &connection, err);
    if (rc != WEIR_OK)
        return rc;
    sqlite3_stmt *select = NULL;
    rc = weir_sqlite_select(connection, S_PLUGIN_NAMES, &select, err, "");
    size_t count = 0;
    while (rc == WEIR_OK && count < NAMES_MAX &&
           (rc = weir_sqlite_step(connection, select, err)) == WEIR_OK) {
        found[count] = weir_arena_copy(arena, weir_sqlite_column_str(select, 0));
        rc = found[count++].data != NULL ? WEIR_OK : weir_error_memory(err);
    }
    sqlite3_reset(select);
    weir_sqlite_reader_give(store_of(base), connection);
    if (rc != WEIR_OK && rc != WEIR_NOT_FOUND)
        return rc;
    *ret = found;
    *ret_count = count;
    return WEIR_OK;
}
