/* sums.c -- the digest of what is stored: a sum for each bucket of ids, kept in
 * memory by the leader and written with the group that changed it.
 *
 * The memory's copy runs ahead of the disk while a group is at work; what a write or
 * a whole group touched first is noted with its value before, so that either can be
 * taken back exactly, without allocating: taking back must not fail.
 *
 *   sums.now        as the writes of this group have made them so far
 *   sums.write      before the write at work   (undone with its savepoint)
 *   sums.group      before the group at work   (undone with its transaction)
 *
 * Ids are random: sixteen writes touch sixteen buckets on a dozen pages. So what a group
 * changed goes into its row of the log (commits.c), and from there to the table `bucket` (zeros may
 * be left out) once in many commits.
 *
 * The total of all buckets is in `state`, which goes and comes back with them. */
#include "store/sqlite/internal.h"

enum {
    BUCKET_BYTES = 2,
    LOGGED_BYTES = BUCKET_BYTES + WEIR_DIGEST_BYTES, /* big endian */
};

/* -- changes, and taking them back -------------------------------------------------------- */

static bool add(bucket_set_t *set, unsigned bucket)
{
    if (set->has[bucket])
        return false;
    set->has[bucket] = true;
    set->buckets[set->count++] = (uint16_t)bucket;
    return true;
}

static void clear(bucket_set_t *set)
{
    for (size_t i = 0; i < set->count; i++)
        set->has[set->buckets[i]] = false;
    set->count = 0;
}

static void note(sums_layer_t *layer, unsigned bucket, const weir_digest_t *before)
{
    if (add(&layer->set, bucket))
        layer->saved[bucket] = *before;
}

static void take_back(sums_t *sums, sums_layer_t *layer)
{
    for (size_t i = 0; i < layer->set.count; i++)
        sums->now[layer->set.buckets[i]] = layer->saved[layer->set.buckets[i]];
    clear(&layer->set);
}

void weir_sqlite_sums_begin_write(sums_t *sums)
{
    clear(&sums->write.set);
}

void weir_sqlite_sums_undo_write(sums_t *sums)
{
    take_back(sums, &sums->write);
}

void weir_sqlite_sums_end_group(sums_t *sums, bool committed, bool folded)
{
    clear(&sums->write.set);
    if (!committed)
        take_back(sums, &sums->group);
    else if (folded)
        clear(&sums->logged);
    else
        for (size_t i = 0; i < sums->group.set.count; i++)
            add(&sums->logged, sums->group.set.buckets[i]);
    clear(&sums->group.set);
}

void weir_sqlite_sums_forget(sums_t *sums)
{
    weir_assert(sums->group.set.count == 0);
    clear(&sums->logged);
}

void weir_sqlite_sums_change(group_t *g, const weir_uuid_t *id, const weir_digest_t *gone,
                             const weir_digest_t *come)
{
    sums_t *sums = &g->store->sums;
    unsigned bucket = weir_digest_bucket(id);
    note(&sums->write, bucket, &sums->now[bucket]);
    note(&sums->group, bucket, &sums->now[bucket]);
    if (gone != NULL) {
        weir_digest_subtract(&sums->now[bucket], gone);
        weir_digest_subtract(&g->state.digest, gone);
    }
    if (come != NULL) {
        weir_digest_add(&sums->now[bucket], come);
        weir_digest_add(&g->state.digest, come);
    }
}

/* -- writing ------------------------------------------------------------------------------- */

static int put_sum(connection_t *connection, unsigned bucket, const weir_digest_t *sum,
                   weir_error_t *err)
{
    uint8_t bytes[WEIR_DIGEST_BYTES];
    weir_digest_store(sum, bytes);
    return weir_sqlite_run(connection, S_SUM_PUT, err, "ib", (int64_t)bucket,
                           (weir_str_t){ (const char *)bytes, sizeof(bytes) });
}

static int put_sums(group_t *g, const bucket_set_t *set, const bucket_set_t *but, weir_error_t *err)
{
    int rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < set->count; i++)
        if (but == NULL || !but->has[set->buckets[i]])
            rc = put_sum(g->db, set->buckets[i], &g->store->sums.now[set->buckets[i]], err);
    return rc;
}

int weir_sqlite_sums_put(group_t *g, weir_error_t *err)
{
    const sums_t *sums = &g->store->sums;
    int rc = put_sums(g, &sums->logged, NULL, err);
    return rc == WEIR_OK ? put_sums(g, &sums->group.set, &sums->logged, err) : rc;
}

int weir_sqlite_sums_print(const store_t *store, weir_str_t *ret, weir_error_t *err)
{
    const sums_t *sums = &store->sums;
    size_t bytes = sums->group.set.count * LOGGED_BYTES;
    uint8_t *row = weir_malloc(bytes + 1); /* not even without sums a null */
    if (row == NULL)
        return weir_error_memory(err);
    uint8_t *at = row;
    for (size_t i = 0; i < sums->group.set.count; i++, at += LOGGED_BYTES) {
        unsigned bucket = sums->group.set.buckets[i];
        at[0] = (uint8_t)(bucket >> 8);
        at[1] = (uint8_t)bucket;
        weir_digest_store(&sums->now[bucket], at + BUCKET_BYTES);
    }
    *ret = (weir_str_t){ (const char *)row, bytes };
    return WEIR_OK;
}

/* -- reading ------------------------------------------------------------------------------- */

static int damaged(weir_error_t *err)
{
    return weir_error_set(err, WEIR_CORRUPT, NULL, "database: a sum of the digest is damaged");
}

static int take_sum(sqlite3_stmt *row, weir_digest_t *sums, weir_error_t *err)
{
    int64_t bucket = sqlite3_column_int64(row, 0);
    const void *bytes = sqlite3_column_blob(row, 1);
    if (bucket < 0 || bucket >= WEIR_DIGEST_BUCKETS ||
        sqlite3_column_bytes(row, 1) != WEIR_DIGEST_BYTES)
        return damaged(err);
    if (bytes == NULL)
        return weir_error_memory(err);
    weir_digest_load(bytes, &sums[bucket]);
    return WEIR_OK;
}

int weir_sqlite_sums_table(connection_t *connection, weir_digest_t *sums, weir_error_t *err)
{
    memset(sums, 0, WEIR_DIGEST_BUCKETS * sizeof(*sums));
    sqlite3_stmt *rows = NULL;
    int rc = weir_sqlite_select(connection, S_SUMS, &rows, err, "");
    while (rc == WEIR_OK && (rc = weir_sqlite_step(connection, rows, err)) == WEIR_OK)
        rc = take_sum(rows, sums, err);
    sqlite3_reset(rows);
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

int weir_sqlite_sums_take(sqlite3_stmt *row, int column, weir_digest_t *sums, bucket_set_t *logged,
                          weir_error_t *err)
{
    const uint8_t *bytes = sqlite3_column_blob(row, column);
    size_t count = (size_t)sqlite3_column_bytes(row, column);
    if (bytes == NULL && count > 0)
        return weir_error_memory(err);
    if (count % LOGGED_BYTES != 0)
        return damaged(err);
    for (size_t at = 0; at < count; at += LOGGED_BYTES) {
        unsigned bucket = (unsigned)bytes[at] << 8 | bytes[at + 1];
        if (bucket >= WEIR_DIGEST_BUCKETS)
            return damaged(err);
        weir_digest_load(bytes + at + BUCKET_BYTES, &sums[bucket]);
        if (logged != NULL)
            add(logged, bucket);
    }
    return WEIR_OK;
}

/* -- the key ------------------------------------------------------------------------------- */

static int read_key(connection_t *connection, weir_digest_key_t *ret, weir_error_t *err)
{
    enum { TEXT_BYTES = 1024 };
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, TEXT_BYTES);
    weir_str_t text = { NULL, 0 };
    int rc = weir_sqlite_meta_get(connection, "digest_key", &arena, &text, err);
    if (rc == WEIR_NOT_FOUND || (rc == WEIR_OK && weir_digest_key_parse(text, ret) != WEIR_OK))
        return weir_error_set(err, WEIR_CORRUPT, "database", "meta.digest_key is no key");
    return rc;
}

int weir_sqlite_sums_open(store_t *store, weir_error_t *err)
{
    int rc = read_key(&store->writer, &store->digest_key, err);
    return rc == WEIR_OK ? weir_digester_new(&store->digest_key, &store->digester, err) : rc;
}

static int make_key(connection_t *connection, weir_digest_key_t *ret, weir_error_t *err)
{
    char text[2 * WEIR_DIGEST_KEY_BYTES + 1];
    if (weir_digest_key_random(ret) != WEIR_OK)
        return weir_error_set(err, WEIR_IO, NULL, "the system has no randomness");
    weir_digest_key_format(ret, text);
    return weir_sqlite_meta_put(connection, "digest_key", weir_str(text), err);
}

int weir_sqlite_sums_migrate(connection_t *connection, weir_error_t *err)
{
    weir_digest_key_t key;
    weir_digester_t *digester = NULL;
    weir_digest_t *sums = weir_calloc(WEIR_DIGEST_BUCKETS, sizeof(*sums));
    if (sums == NULL)
        return weir_error_memory(err);
    int rc = make_key(connection, &key, err);
    if (rc == WEIR_OK)
        rc = weir_digester_new(&key, &digester, err);
    if (rc == WEIR_OK) {
        weir_tally_t tally = { .digester = digester, .sums = sums, .err = err };
        rc = weir_sqlite_each_entity(connection, weir_store_tally, &tally, err);
    }
    for (unsigned i = 0; rc == WEIR_OK && i < WEIR_DIGEST_BUCKETS; i++)
        if (!weir_digest_equal(&sums[i], &(weir_digest_t){ 0 }))
            rc = put_sum(connection, i, &sums[i], err);
    weir_digester_free(digester);
    weir_free(sums);
    return rc;
}

/* -- which version had which digest ----------------------------------------------------------- */

void weir_sqlite_remember(store_t *store, uint64_t version, const weir_digest_t *digest)
{
    digest_ring_t *ring = &store->ring;
    pthread_mutex_lock(&ring->lock);
    ring->known[version % DIGESTS_REMEMBERED] = (known_digest_t){ version, *digest };
    pthread_mutex_unlock(&ring->lock);
}

int weir_sqlite_digest(weir_store_t *base, uint64_t version, weir_digest_t *ret)
{
    digest_ring_t *ring = &store_of(base)->ring;
    if (version == 0) { /* of nothing; the slots of the ring begin with it, too */
        *ret = (weir_digest_t){ 0 };
        return WEIR_OK;
    }
    pthread_mutex_lock(&ring->lock);
    known_digest_t known = ring->known[version % DIGESTS_REMEMBERED];
    pthread_mutex_unlock(&ring->lock);
    if (known.version != version)
        return WEIR_NOT_FOUND;
    *ret = known.digest;
    return WEIR_OK;
}

const weir_digest_key_t *weir_sqlite_digest_key(const weir_store_t *base)
{
    return &((const store_t *)base)->digest_key;
}
