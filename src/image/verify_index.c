/* verify_index.c -- do the indexes say what the records say?
 *
 * Every entry that follows from a record is looked for; and as no two records make the
 * same entry, an index that has as many as were found has no others. */
#include "image/batch.h"
#include "image/router.h"

#include <stdlib.h>

/* An entry of the router that a route makes: more than once, if the route names a host
 * twice, but it is stored once. */
typedef struct made {
    uint64_t hash, sort_key;
    uint8_t class;
    bool found;
} made_t;

typedef struct indexes {
    verify_t *v;
    MDB_cursor *cursors[DATABASES]; /* of those that have several values under a key */
    uint64_t found[DATABASES];
    uint64_t records;
    state_t counted; /* counters that follow from the records */
    uint64_t ranks;  /* sum over all router entries of a mix of class and sort key */
    weir_buffer_t made;
    uint8_t split_class; /* of the entry that comes next: a bucket's key does not say it */
    writer_t writer;
} indexes_t;

static uint64_t mix(const void *data, size_t bytes, uint64_t hash)
{
    for (size_t i = 0; i < bytes; i++)
        hash = (hash ^ ((const uint8_t *)data)[i]) * UINT64_C(1099511628211);
    return (hash ^ hash >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
}

static uint64_t mix_rank(uint8_t class, uint64_t sort_key)
{
    return mix(&sort_key, sizeof(sort_key), class + UINT64_C(14695981039346656037));
}

/* -- looking for what a record makes ------------------------------------------------------ */

static bool has_planned(MDB_val list, MDB_val planned)
{
    record_in_t in = { list.mv_data, list.mv_size, false };
    weir_planned_t one;
    int32_t priority = 0;
    for (const char *start = in.at; next_planned(&in, &one, &priority); start = in.at)
        if ((size_t)(in.at - start) == planned.mv_size &&
            memcmp(start, planned.mv_data, planned.mv_size) == 0)
            return true;
    return false;
}

static int look(const indexes_t *x, database_t database, MDB_val key, MDB_val value, bool *ret)
{
    *ret = false;
    MDB_val stored = value;
    if (x->cursors[database] != NULL) {
        int code = mdb_cursor_get(x->cursors[database], &key, &stored, MDB_GET_BOTH);
        *ret = code == 0;
        return code == 0 || code == MDB_NOTFOUND ? WEIR_OK : lmdb_error(code, x->v->err, "verify");
    }
    int rc = verify_get(x->v, database, key, &stored);
    if (rc == WEIR_OK)
        *ret = database != DB_PLANS || has_planned(stored, value);
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

static int look_for_entry(void *context, database_t database, MDB_val key, MDB_val value)
{
    indexes_t *x = context;
    bool found = false;
    int rc = look(x, database, key, value, &found);
    if (rc != WEIR_OK)
        return rc;
    if (database != DB_ROUTER && database != DB_BUCKETS) {
        x->found[database] += found;
        x->v->ret->bad_records += !found;
        return WEIR_OK;
    }
    router_entry_t entry = { .sort_key = 0 };
    router_entry_decode(value, &entry);
    made_t made = { .hash = mix(value.mv_data, value.mv_size,
                                mix(key.mv_data, key.mv_size, (uint64_t)database)),
                    .sort_key = entry.sort_key,
                    .class =
                        database == DB_BUCKETS ? x->split_class : *(const uint8_t *)key.mv_data,
                    .found = found };
    /* The database is in the lowest bit of the hash, for the count at the end. */
    made.hash = made.hash << 1 | (database == DB_BUCKETS);
    return weir_buffer_append(&x->made, (weir_str_t){ (const char *)&made, sizeof(made) }) ==
                   WEIR_OK
               ? WEIR_OK
               : weir_error_memory(x->v->err);
}

static int look_for_split(void *context, MDB_val key, unsigned split)
{
    indexes_t *x = context;
    MDB_val value;
    router_entry_t entry;
    x->split_class = *(const uint8_t *)key.mv_data;
    int rc = verify_get(x->v, DB_ROUTER, key, &value);
    if (rc != WEIR_OK && rc != WEIR_NOT_FOUND)
        return rc;
    if (rc == WEIR_NOT_FOUND || !router_entry_decode(value, &entry) ||
        !(entry.flags & ENTRY_MARKER) || !(entry.methods & split))
        x->v->ret->bad_records++;
    return WEIR_OK;
}

static int compare_made(const void *a, const void *b)
{
    const made_t *x = a;
    const made_t *y = b;
    return (x->hash > y->hash) - (x->hash < y->hash);
}

/* The router entries of one route, each once. */
static void count_made(indexes_t *x)
{
    made_t *list = (made_t *)(void *)x->made.data;
    size_t count = x->made.len / sizeof(*list);
    if (count > 1)
        qsort(list, count, sizeof(*list), compare_made);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && list[i].hash == list[i - 1].hash)
            continue;
        x->found[list[i].hash & 1 ? DB_BUCKETS : DB_ROUTER] += list[i].found;
        x->v->ret->bad_records += !list[i].found;
        x->ranks += mix_rank(list[i].class, list[i].sort_key);
    }
    weir_buffer_clear(&x->made);
}

static int check_one_record(void *context, MDB_val key, MDB_val value, weir_error_t *err)
{
    indexes_t *x = context;
    entity_key_t k;
    MDB_val document;
    if (key.mv_size != ID_BYTES)
        return weir_error_set(err, WEIR_CORRUPT, NULL, "the key of a record is damaged");
    memcpy(k.bytes, key.mv_data, ID_BYTES);
    cool_sometimes(x->v->image, ++x->records);
    int rc = verify_get(x->v, DB_DOCUMENTS, key, &document);
    if (rc != WEIR_OK && rc != WEIR_NOT_FOUND)
        return rc;
    x->v->ret->bad_records += rc == WEIR_NOT_FOUND;
    weir_uuid_t id = entity_key_id(&k);
    rc = index_record(&x->writer, (weir_entity_type_t)k.bytes[0], &id, val_str(value), true, err);
    if (rc == WEIR_CORRUPT) { /* a record that cannot be read: that it differs is known */
        x->v->ret->bad_records++;
        rc = WEIR_OK;
    }
    count_made(x);
    return rc;
}

/* -- what is stored ------------------------------------------------------------------------------
 */

typedef struct stored {
    indexes_t *x;
    uint64_t count, ranks;
    uint64_t class_entries[CLASSES];
    uint64_t class_best[CLASSES];
} stored_t;

/* A marker's splits have entries. */
static int check_marker(stored_t *s, MDB_val key, MDB_val value, unsigned splits)
{
    indexes_t *x = s->x;
    uint8_t marker[ENTRY_BYTES];
    router_entry_t right = router_marker(splits);
    router_entry_encode(&right, marker);
    if (splits == 0 || memcmp(value.mv_data, marker, sizeof(marker)) != 0)
        x->v->ret->bad_records++;
    for (unsigned split = 1; split <= SPLIT_METHOD; split <<= 1) {
        uint8_t prefix[KEY_BYTES_MAX];
        place_t place = { .key = key, .split = split };
        MDB_val at;
        MDB_val first;
        if (!(splits & split))
            continue;
        size_t len = bucket_key(&place, false, prefix);
        at = val(prefix, len);
        int code = mdb_cursor_get(x->cursors[DB_BUCKETS], &at, &first, MDB_SET_RANGE);
        if (code != 0 && code != MDB_NOTFOUND)
            return lmdb_error(code, x->v->err, "buckets");
        if (code != 0 || at.mv_size < len || memcmp(at.mv_data, prefix, len) != 0)
            x->v->ret->bad_records++;
    }
    return WEIR_OK;
}

static int count_router(void *context, MDB_val key, MDB_val value, weir_error_t *err)
{
    stored_t *s = context;
    router_entry_t entry;
    (void)err;
    uint8_t class = *(const uint8_t *)key.mv_data;
    if (class >= CLASSES || !router_entry_decode(value, &entry)) {
        s->count++; /* too many by this one */
        return WEIR_OK;
    }
    s->class_entries[class]++;
    if (entry.flags & ENTRY_MARKER)
        return check_marker(s, key, value, entry.methods);
    s->count++;
    return WEIR_OK;
}

static int count_rank(void *context, MDB_val key, MDB_val value, weir_error_t *err)
{
    stored_t *s = context;
    uint64_t count = 0;
    uint64_t inverted = 0;
    const uint8_t *bytes = key.mv_data;
    (void)err;
    if (key.mv_size != 9 || value.mv_size != sizeof(count) || bytes[0] >= CLASSES) {
        s->x->v->ret->bad_records++;
        return WEIR_OK;
    }
    memcpy(&count, value.mv_data, sizeof(count));
    for (size_t i = 1; i < 9; i++)
        inverted = inverted << 8 | bytes[i];
    if (s->class_best[bytes[0]] == 0)
        s->class_best[bytes[0]] = ~inverted;
    s->ranks += count * mix_rank(bytes[0], ~inverted);
    return WEIR_OK;
}

static int count_planned(void *context, MDB_val key, MDB_val value, weir_error_t *err)
{
    stored_t *s = context;
    (void)key, (void)err;
    record_in_t in = { value.mv_data, value.mv_size, false };
    weir_planned_t one;
    int32_t priority = 0;
    while (next_planned(&in, &one, &priority))
        s->count++;
    s->x->v->ret->bad_records += in.bad || in.left > 0;
    return WEIR_OK;
}

/* Of who refers to whom: both sides say the same. */
static int count_links(void *context, MDB_val key, MDB_val value, weir_error_t *err)
{
    stored_t *s = context;
    record_in_t in = { value.mv_data, value.mv_size, false };
    (void)err;
    while (in.left > ID_BYTES && key.mv_size == ID_BYTES) {
        uint8_t bytes[2 * ID_BYTES];
        MDB_val nothing;
        get_u8(&in);
        memcpy(bytes, in.at, ID_BYTES);
        memcpy(bytes + ID_BYTES, key.mv_data, ID_BYTES);
        get_u8(&in);
        get_uuid(&in);
        int rc = verify_get(s->x->v, DB_DEPENDENTS, val(bytes, sizeof(bytes)), &nothing);
        if (rc != WEIR_OK && rc != WEIR_NOT_FOUND)
            return rc;
        s->x->found[DB_DEPENDENTS] += rc == WEIR_OK;
        s->x->v->ret->bad_records += rc == WEIR_NOT_FOUND;
    }
    return WEIR_OK;
}

static int walk(stored_t *s, database_t database,
                int (*each)(void *context, MDB_val key, MDB_val value, weir_error_t *err))
{
    s->count = 0;
    return each_record(s->x->v->txn, s->x->v->image->dbi[database], "verify", each, s,
                       s->x->v->err);
}

/* As many as were found. */
static void compare(indexes_t *x, database_t database, uint64_t stored)
{
    x->v->ret->bad_records += stored - x->found[database];
}

static int compare_size(indexes_t *x, database_t database)
{
    MDB_stat stat;
    int code = mdb_stat(x->v->txn, x->v->image->dbi[database], &stat);
    if (code != 0)
        return lmdb_error(code, x->v->err, "verify");
    compare(x, database, stat.ms_entries);
    return WEIR_OK;
}

static int check_stored(indexes_t *x)
{
    stored_t s = { .x = x };
    const state_t *state = &x->v->state;
    int rc = walk(&s, DB_ROUTER, count_router);
    if (rc == WEIR_OK) {
        compare(x, DB_ROUTER, s.count);
        rc = walk(&s, DB_RANKS, count_rank);
    }
    if (rc == WEIR_OK)
        rc = walk(&s, DB_PLANS, count_planned);
    if (rc == WEIR_OK) {
        compare(x, DB_PLANS, s.count);
        rc = walk(&s, DB_LINKS, count_links);
    }
    static const database_t sized[] = { DB_BUCKETS, DB_NAMES, DB_EXPIRY, DB_DEPENDENTS };
    for (size_t i = 0; rc == WEIR_OK && i < WEIR_COUNT(sized); i++)
        rc = compare_size(x, sized[i]);
    const state_t *counted = &x->counted;
    if (s.ranks != x->ranks ||
        memcmp(s.class_entries, state->class_entries, sizeof(s.class_entries)) != 0 ||
        memcmp(s.class_best, state->class_best, sizeof(s.class_best)) != 0)
        x->v->ret->bad_records++;
    if (counted->routes_with_hosts != state->routes_with_hosts ||
        counted->routes_with_paths != state->routes_with_paths ||
        counted->disabled_services != state->disabled_services ||
        memcmp(counted->scope_plugins, state->scope_plugins, sizeof(state->scope_plugins)) != 0)
        x->v->ret->bad_records++;
    return rc;
}

static int open_cursors(indexes_t *x)
{
    static const database_t several[] = { DB_ROUTER, DB_BUCKETS, DB_NAMES };
    for (size_t i = 0; i < WEIR_COUNT(several); i++) {
        int code =
            mdb_cursor_open(x->v->txn, x->v->image->dbi[several[i]], &x->cursors[several[i]]);
        if (code != 0)
            return lmdb_error(code, x->v->err, "verify");
    }
    return WEIR_OK;
}

int verify_indexes(verify_t *v)
{
    indexes_t x = { .v = v };
    checker_t checker = { &x, look_for_entry, look_for_split };
    weir_buffer_init(&x.made, SIZE_MAX / 2);
    x.writer = (writer_t){ .check = &checker,
                           .txn = v->txn,
                           .dbi = v->image->dbi,
                           .state = &x.counted,
                           .documented_order = v->image->options.documented_order };
    int rc = open_cursors(&x);
    if (rc == WEIR_OK)
        rc =
            each_record(v->txn, v->image->dbi[DB_RECORDS], "records", check_one_record, &x, v->err);
    if (rc == WEIR_OK)
        rc = check_stored(&x);
    for (size_t i = 0; i < DATABASES; i++)
        if (x.cursors[i] != NULL)
            mdb_cursor_close(x.cursors[i]);
    weir_buffer_release(&x.made);
    return rc;
}
