/* entries.c -- the entries of a route, in and out of the router index.
 *
 * Everything written here follows from the route's record: an index kept change
 * by change is byte for byte the one that is built at once. */
#include "image/touched.h"

typedef struct change {
    writer_t *w;
    bool add;
    weir_error_t *err;
} change_t;

static uint8_t class_of(MDB_val key)
{
    return ((const uint8_t *)key.mv_data)[0];
}

/* Adds an entry under `key`, or takes it away. The same host or path twice in a
 * route is one entry: *ret_changed says whether this was it. */
static int change_value(change_t *c, database_t database, MDB_val key, const router_entry_t *entry,
                        bool add, bool *ret_changed)
{
    uint8_t bytes[ENTRY_BYTES];
    router_entry_encode(entry, bytes);
    MDB_val value = val(bytes, sizeof(bytes));
    MDB_dbi dbi = c->w->dbi[database];
    int code = add ? mdb_put(c->w->txn, dbi, &key, &value, MDB_NODUPDATA)
                   : mdb_del(c->w->txn, dbi, &key, &value);
    *ret_changed = code == 0;
    if (code == 0 || code == (add ? MDB_KEYEXIST : MDB_NOTFOUND))
        return WEIR_OK;
    return lmdb_error(code, c->err, "router");
}

/* -- markers ---------------------------------------------------------------------------- */

router_entry_t router_marker(unsigned splits)
{
    router_entry_t entry = {
        .sort_key = UINT64_MAX, .methods = (uint16_t)splits, .flags = ENTRY_MARKER, .path = NO_PATH
    };
    memset(entry.tie.bytes, 0xff, sizeof(entry.tie.bytes));
    return entry;
}

static int read_marker(change_t *c, MDB_val key, unsigned *ret_splits)
{
    MDB_val value;
    router_entry_t entry;
    *ret_splits = 0;
    int code = mdb_get(c->w->txn, c->w->dbi[DB_ROUTER], &key, &value);
    if (code == 0 && router_entry_decode(value, &entry) && (entry.flags & ENTRY_MARKER))
        *ret_splits = entry.methods;
    return code == 0 || code == MDB_NOTFOUND ? WEIR_OK : lmdb_error(code, c->err, "router");
}

static int write_marker(change_t *c, MDB_val key, unsigned before, unsigned after)
{
    bool changed = false;
    router_entry_t gone = router_marker(before);
    router_entry_t there = router_marker(after);
    int rc = WEIR_OK;
    uint64_t *count = &c->w->state->class_entries[class_of(key)];
    if (before != 0)
        rc = change_value(c, DB_ROUTER, key, &gone, false, &changed);
    *count -= changed;
    changed = false;
    if (rc == WEIR_OK && after != 0)
        rc = change_value(c, DB_ROUTER, key, &there, true, &changed);
    *count += changed;
    return rc;
}

/* Is there still an entry of this split? */
static int has_bucket(change_t *c, const place_t *place, bool *ret)
{
    uint8_t bytes[KEY_BYTES_MAX];
    size_t len = bucket_key(place, false, bytes);
    MDB_val key = val(bytes, len);
    MDB_val value;
    MDB_cursor *cursor = NULL;
    int code = mdb_cursor_open(c->w->txn, c->w->dbi[DB_BUCKETS], &cursor);
    if (code != 0)
        return lmdb_error(code, c->err, "buckets");
    code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
    *ret = code == 0 && key.mv_size >= len && memcmp(key.mv_data, bytes, len) == 0;
    mdb_cursor_close(cursor);
    return code == 0 || code == MDB_NOTFOUND ? WEIR_OK : lmdb_error(code, c->err, "buckets");
}

static int keep_marker(change_t *c, const place_t *place)
{
    unsigned before = 0;
    bool there = c->add;
    int rc = read_marker(c, place->key, &before);
    if (rc == WEIR_OK && !there)
        rc = has_bucket(c, place, &there);
    unsigned after = there ? before | place->split : before & ~place->split;
    return rc == WEIR_OK && after != before ? write_marker(c, place->key, before, after) : rc;
}

/* -- ranks ------------------------------------------------------------------------------- */

enum { RANK_BYTES = 9 };

static void rank_key(uint8_t class, uint64_t sort_key, uint8_t out[RANK_BYTES])
{
    out[0] = class;
    for (size_t i = 0; i < 8; i++)
        out[1 + i] = (uint8_t)(~sort_key >> 8 * (7 - i));
}

static int count_rank(change_t *c, uint8_t class, uint64_t sort_key)
{
    uint8_t bytes[RANK_BYTES];
    rank_key(class, sort_key, bytes);
    MDB_val key = val(bytes, sizeof(bytes));
    MDB_val value;
    MDB_dbi dbi = c->w->dbi[DB_RANKS];
    uint64_t count = 0;
    int code = mdb_get(c->w->txn, dbi, &key, &value);
    if (code == 0 && value.mv_size == sizeof(count))
        memcpy(&count, value.mv_data, sizeof(count));
    if (code != 0 && code != MDB_NOTFOUND)
        return lmdb_error(code, c->err, "ranks");
    count += c->add ? 1 : (uint64_t)-1;
    value = val(&count, sizeof(count));
    code =
        count != 0 ? mdb_put(c->w->txn, dbi, &key, &value, 0) : mdb_del(c->w->txn, dbi, &key, NULL);
    return code == 0 || code == MDB_NOTFOUND ? WEIR_OK : lmdb_error(code, c->err, "ranks");
}

int rank_classes(writer_t *w, weir_error_t *err)
{
    MDB_cursor *cursor = NULL;
    int code = mdb_cursor_open(w->txn, w->dbi[DB_RANKS], &cursor);
    if (code != 0)
        return lmdb_error(code, err, "ranks");
    for (int class = CLASS_EXACT; class < CLASSES; class ++) {
        uint8_t first = (uint8_t) class;
        MDB_val key = val(&first, 1);
        MDB_val value;
        uint64_t inverted = UINT64_MAX;
        code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
        if (code != 0 && code != MDB_NOTFOUND)
            break;
        if (code == 0 && key.mv_size == RANK_BYTES && class_of(key) == class)
            for (size_t i = 1; i < RANK_BYTES; i++)
                inverted = inverted << 8 | ((const uint8_t *)key.mv_data)[i];
        w->state->class_best[class] = ~inverted;
    }
    mdb_cursor_close(cursor);
    return code == 0 || code == MDB_NOTFOUND ? WEIR_OK : lmdb_error(code, err, "ranks");
}

/* -- a route -------------------------------------------------------------------------------- */

static int check_entry(const checker_t *check, const place_t *place, MDB_val key,
                       const router_entry_t *entry)
{
    uint8_t value[ENTRY_BYTES];
    router_entry_encode(entry, value);
    int rc = place->split != 0 ? check->split(check->context, place->key, place->split) : WEIR_OK;
    return rc == WEIR_OK ? check->entry(check->context, place->split != 0 ? DB_BUCKETS : DB_ROUTER,
                                        key, val(value, sizeof(value)))
                         : rc;
}

static int change_entry(void *context, const place_t *place, const router_entry_t *entry)
{
    change_t *c = context;
    bool changed = false;
    uint8_t bytes[KEY_BYTES_MAX];
    MDB_val key = place->key;
    if (place->split != 0)
        key = val(bytes, bucket_key(place, true, bytes));
    if (c->w->check != NULL)
        return check_entry(c->w->check, place, key, entry);
    int rc = touch_place(c->w, place->key, c->err);
    if (rc == WEIR_OK)
        rc = change_value(c, place->split != 0 ? DB_BUCKETS : DB_ROUTER, key, entry, c->add,
                          &changed);
    if (rc != WEIR_OK || !changed)
        return rc;
    if (place->split != 0)
        rc = keep_marker(c, place);
    else
        c->w->state->class_entries[class_of(key)] += c->add ? 1 : (uint64_t)-1;
    return rc == WEIR_OK ? count_rank(c, class_of(place->key), entry->sort_key) : rc;
}

/* How many routes have a host (a path): whether any has decides for all requests. */
static void count_kind(writer_t *w, uint64_t *count, bool has, bool add)
{
    if (!has)
        return;
    if (*count == (add ? 0 : 1))
        touch_everything(w);
    *count += add ? 1 : (uint64_t)-1;
}

int index_route(writer_t *w, const weir_uuid_t *route, weir_str_t record, bool add,
                weir_error_t *err)
{
    route_view_t view;
    change_t change = { w, add, err };
    if (!view_route(record, &view))
        return weir_error_set(err, WEIR_CORRUPT, NULL, "the record of a route is damaged");
    count_kind(w, &w->state->routes_with_hosts, view.host_count > 0, add);
    count_kind(w, &w->state->routes_with_paths, view.path_count > 0, add);
    int rc = touch_entity(w, WEIR_ROUTES, route, err);
    if (rc != WEIR_OK)
        return rc;
    return router_entries(route, &view, w->documented_order, change_entry, &change);
}
