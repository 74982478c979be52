/* group.c -- group commit.
 *
 * A caller prepares its write and queues it. The first that finds no leader
 * leads: it takes the queue, runs each write in one transaction, commits once,
 * makes the next in the queue the leader, and wakes the others. Versions are given
 * in the order of the queue, which is the order of commits; they have no holes.
 *
 * Few writes are refused, and a savepoint copies each page that a write changes. So
 * there is none at first: if a write must be undone, all of the group is, and run
 * once more, now with a savepoint around each write.
 *
 * What fails in the database itself (no space, I/O) fails the whole group:
 * nothing of it is stored. `store->state` only follows a commit that succeeded,
 * so after a failure it is still what the disk says.
 *
 *   callers     prepare | queue ............................ wake, return
 *   leader              take | BEGIN  w w w w  COMMIT+fsync | publish, hand over
 */
#include "store/sqlite/internal.h"

#include "base/clock.h"

#include <errno.h>

enum {
    WRITES_PER_GROUP_MAX = 512,
    PRUNE_EXTRA = 16, /* deltas pruned in a group beyond twice those it adds */
    PRUNE_SHARE = 64, /* of the limit, the part that may be there above it; PRUNE_EXTRA at most */
    GATHER_US_MAX = 500,
    CAREFUL_GROUPS = 64, /* begin with savepoints, after one in which a write was undone */
};

struct pending {
    pending_t *next;
    weir_sqlite_work_t work;
    void *context;
    weir_store_result_t *result;
    weir_error_t *err;
    int code;
    weir_digest_t digest; /* of result->version */
    bool lead;            /* woken to lead, not because it is done */
    sem_t wake;
};

/* -- the state ------------------------------------------------------------------------ */

/* A reload leaves the process that goes and the one that comes writing for a
 * moment: what the other committed is read again, inside our transaction. */
static int follow_others(group_t *g, weir_error_t *err)
{
    sqlite3_stmt *select = NULL;
    int rc = weir_sqlite_select(g->db, S_DATA_VERSION, &select, err, "");
    if (rc != WEIR_OK)
        return rc;
    rc = weir_sqlite_step(g->db, select, err);
    int64_t data_version = rc == WEIR_OK ? sqlite3_column_int64(select, 0) : 0;
    sqlite3_reset(select);
    store_t *store = g->store;
    if (rc == WEIR_OK && data_version != store->data_version) {
        rc = weir_sqlite_commits_load(store, &store->state, err);
        store->data_version = rc == WEIR_OK ? data_version : 0;
        weir_sqlite_recent_forget(&store->recent);
    }
    g->state = store->state;
    return rc;
}

/* Makes a committed state everybody's. */
void weir_sqlite_publish(store_t *store, const state_t *state)
{
    store->state = *state;
    weir_sqlite_remember(store, state->version, &state->digest);
    for (int type = 1; type < WEIR_ENTITY_TYPES; type++)
        store->counts[type] = state->counts[type];
    store->floor = state->floor;
    store->log_entries = state->log_entries;
    if (state->version == store->version)
        return;
    store->version = state->version;
    pthread_mutex_lock(&store->watch_lock);
    if (store->committed != NULL)
        store->committed(store->watch_context, state->version);
    pthread_mutex_unlock(&store->watch_lock);
}

/* -- the log's end -------------------------------------------------------------------------- */

static int oldest_delta(group_t *g, uint64_t *ret_position, int64_t *ret_at_ms, weir_error_t *err)
{
    sqlite3_stmt *oldest = NULL;
    int rc = weir_sqlite_select(g->db, S_DELTA_OLDEST, &oldest, err, "");
    if (rc != WEIR_OK)
        return rc;
    rc = weir_sqlite_step(g->db, oldest, err);
    if (rc == WEIR_OK) {
        *ret_position = (uint64_t)sqlite3_column_int64(oldest, 0);
        *ret_at_ms = sqlite3_column_int64(oldest, 1);
    }
    sqlite3_reset(oldest);
    return rc;
}

/* Deletes deltas of the oldest version, `max` at the most; a version of which some
 * are gone is lost already: nobody is given half of it (log.c). */
static int prune_oldest(group_t *g, uint64_t position, uint64_t max, uint64_t *ret_count,
                        weir_error_t *err)
{
    uint64_t version = position >> SEQ_BITS;
    uint64_t end = (version + 1) << SEQ_BITS;
    if (end - position > max)
        end = position + max;
    int rc = weir_sqlite_run(g->db, S_DELTA_DELETE, err, "i", (int64_t)end);
    if (rc != WEIR_OK)
        return rc;
    *ret_count = (uint64_t)sqlite3_changes64(g->db->db);
    g->state.log_entries -= *ret_count;
    g->state.floor = version;
    return WEIR_OK;
}

/* Whether a full log is to be pruned now: the pages at its old end are others than
 * those that a write changes anyway, so that some deltas go at once, not one with each write. */
static bool is_prune_due(const group_t *g)
{
    uint64_t max = g->store->options.log_entries_max;
    uint64_t above = max / PRUNE_SHARE < PRUNE_EXTRA ? max / PRUNE_SHARE : PRUNE_EXTRA;
    return g->state.log_entries > max + above;
}

/* Oldest versions go while there are too many deltas, or they are too old; some
 * more than the group added, so that the log shrinks and no write pays for
 * many: not even for one version of a million. The newest version always stays. */
static int prune(group_t *g, weir_error_t *err)
{
    const weir_store_options_t *options = &g->store->options;
    uint64_t left = 2 * (g->state.log_entries - g->store->state.log_entries) + PRUNE_EXTRA;
    bool due = is_prune_due(g);
    while (left > 0) {
        bool many = due && g->state.log_entries > options->log_entries_max;
        if (!many && options->log_age_ms_max == 0)
            return WEIR_OK;
        uint64_t position = 0;
        uint64_t count = 0;
        int64_t at_ms = 0;
        int rc = oldest_delta(g, &position, &at_ms, err);
        if (rc != WEIR_OK)
            return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
        bool old = options->log_age_ms_max > 0 && g->now_ms - at_ms > options->log_age_ms_max;
        if ((!many && !old) || position >> SEQ_BITS >= g->state.version)
            return WEIR_OK;
        rc = prune_oldest(g, position, left, &count, err);
        if (rc != WEIR_OK)
            return rc;
        left -= count;
    }
    return WEIR_OK;
}

/* -- one transaction ----------------------------------------------------------------------------
 */

static int undo_write(group_t *g, weir_error_t *err)
{
    int rc = weir_sqlite_run(g->db, S_ROLLBACK_TO, err, "");
    return rc == WEIR_OK ? weir_sqlite_run(g->db, S_RELEASE, err, "") : rc;
}

/* Whether the others of the group are not concerned. */
static bool is_own_failure(const group_t *g, int code)
{
    return code != WEIR_FULL && code != WEIR_IO && code != WEIR_CORRUPT && code != WEIR_AGAIN &&
           !sqlite3_get_autocommit(g->db->db);
}

/* WEIR_OK also for a write that was refused or failed alone; pending->code tells. */
static int run_one(group_t *g, pending_t *pending, weir_error_t *err)
{
    weir_store_result_t *result = pending->result;
    group_t before = *g;
    g->seq = 0;
    size_t mark = weir_sqlite_recent_mark(&g->store->recent);
    weir_sqlite_sums_begin_write(&g->store->sums);
    int rc = g->savepoints ? weir_sqlite_run(g->db, S_SAVEPOINT, err, "") : WEIR_OK;
    if (rc != WEIR_OK)
        return rc;
    rc = pending->work(g, pending->context, result, err);
    if (rc == WEIR_OK) {
        result->changed = g->seq > 0;
        g->state.version += result->changed;
        result->version = g->state.version;
        pending->digest = g->state.digest;
        return g->savepoints ? weir_sqlite_run(g->db, S_RELEASE, err, "") : WEIR_OK;
    }
    if (!is_own_failure(g, rc))
        return rc;
    if (!g->savepoints) {
        g->undone = true;
        return rc;
    }
    *g = before;
    g->undone = true;
    weir_sqlite_sums_undo_write(&g->store->sums);
    weir_sqlite_recent_undo(&g->store->recent, mark);
    result->version = g->state.version;
    pending->code = rc;
    if (pending->err != NULL && rc != WEIR_CONFLICT)
        *pending->err = *err;
    return undo_write(g, err);
}

static int finish(group_t *g, weir_error_t *err)
{
    int rc = WEIR_OK;
    if (g->state.version != g->store->state.version) {
        rc = prune(g, err);
        if (rc == WEIR_OK)
            rc = weir_sqlite_commits_save(g, err);
    }
    if (rc != WEIR_OK)
        return rc;
    int64_t start_us = weir_clock_monotonic_us();
    rc = weir_sqlite_run(g->db, S_COMMIT, err, "");
    int64_t took_us = weir_clock_monotonic_us() - start_us;
    g->store->commit_us += (took_us - g->store->commit_us) / 8;
    return rc;
}

static int try_group(group_t *g, pending_t *first, weir_error_t *err)
{
    int rc = WEIR_OK;
    weir_sqlite_recent_begin_group(&g->store->recent);
    if (!sqlite3_get_autocommit(g->db->db)) /* a rollback failed: now it must not */
        rc = weir_sqlite_run(g->db, S_ROLLBACK, err, "");
    if (rc == WEIR_OK)
        rc = weir_sqlite_run(g->db, S_BEGIN, err, "");
    if (rc == WEIR_OK)
        rc = follow_others(g, err);
    for (pending_t *p = first; rc == WEIR_OK && p != NULL; p = p->next)
        rc = run_one(g, p, err);
    if (rc == WEIR_OK)
        rc = finish(g, err);
    if (rc != WEIR_OK && !sqlite3_get_autocommit(g->db->db))
        weir_sqlite_run(g->db, S_ROLLBACK, NULL, "");
    weir_sqlite_commits_end(g, rc == WEIR_OK);
    return rc;
}

/* Whoever sees a version must find its digest: these come first. */
static void remember_group(store_t *store, const pending_t *first)
{
    weir_sqlite_remember(store, store->state.version, &store->state.digest); /* others' newest */
    for (const pending_t *p = first; p != NULL; p = p->next)
        if (p->code == WEIR_OK && p->result->changed)
            weir_sqlite_remember(store, p->result->version, &p->digest);
}

/* The log of pages holds old ones beside new ones: copying the new ones into
 * the file and cutting the log can make the room that was missing. */
static bool make_room(store_t *store)
{
    return sqlite3_wal_checkpoint_v2(store->writer.db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL,
                                     NULL) == SQLITE_OK;
}

static int try_afresh(store_t *store, pending_t *first, bool savepoints, group_t *ret,
                      weir_error_t *err)
{
    *ret = (group_t){
        .store = store, .db = &store->writer, .now_ms = weir_clock_ms(), .savepoints = savepoints
    };
    for (pending_t *p = first; p != NULL; p = p->next) {
        *p->result = (weir_store_result_t){ 0 };
        p->code = WEIR_OK;
    }
    return try_group(ret, first, err);
}

static int try_again_as_needed(store_t *store, pending_t *first, group_t *ret, weir_error_t *err)
{
    bool careful = store->careful > 0;
    store->careful -= careful;
    int rc = try_afresh(store, first, careful, ret, err);
    if (ret->undone)
        store->careful = CAREFUL_GROUPS;
    if (ret->undone && !careful)
        rc = try_afresh(store, first, true, ret, err);
    if (rc == WEIR_FULL && make_room(store))
        rc = try_afresh(store, first, true, ret, err);
    return rc;
}

static void run_group(store_t *store, pending_t *first)
{
    weir_error_t err = { 0 };
    for (const pending_t *p = first; p != NULL; p = p->next)
        store->writes++;
    group_t g;
    int rc = try_again_as_needed(store, first, &g, &err);
    if (rc == WEIR_OK) {
        remember_group(store, first);
        weir_sqlite_recent_publish(&store->recent);
        store->commits++;
        weir_sqlite_publish(store, &g.state);
        return;
    }
    store->failures++;
    for (pending_t *p = first; p != NULL; p = p->next) {
        *p->result = (weir_store_result_t){ .version = store->state.version };
        p->code = rc;
        if (p->err != NULL)
            *p->err = err;
    }
}

/* -- the queue ------------------------------------------------------------------------------------
 */

/* With the queue locked. True: `own` leads. */
static bool enqueue(store_t *store, pending_t *own)
{
    if (store->queue_last != NULL)
        store->queue_last->next = own;
    else
        store->queue_first = own;
    store->queue_last = own;
    store->queue_count++;
    if (store->gather_until > 0 && store->queue_count >= store->gather_until)
        pthread_cond_signal(&store->arrivals);
    bool lead = !store->leading;
    store->leading = true;
    return lead;
}

/* With the queue locked. Those whose writes were just committed usually come
 * with their next one at once: a leader that waits for them, a fraction of what
 * a commit costs, makes one commit of two. Nobody is waited for who did not
 * write just now: a lone writer never waits. */
static void gather(store_t *store)
{
    size_t expected = store->expected;
    store->gather_until = expected;
    while (store->queue_count < expected)
        if (pthread_cond_timedwait(&store->arrivals, &store->queue_lock, &store->gather_end) != 0)
            break;
    store->gather_until = 0;
}

/* With the queue locked. */
static pending_t *take_group(store_t *store)
{
    pending_t *first = store->queue_first;
    pending_t *last = first;
    size_t count = 1;
    for (; count < WRITES_PER_GROUP_MAX && last->next != NULL; count++)
        last = last->next;
    store->queue_first = last->next;
    if (store->queue_first == NULL)
        store->queue_last = NULL;
    last->next = NULL;
    store->queue_count -= count;
    return first;
}

/* With the queue locked. `count` writes are done: their writers, and those who
 * queued meanwhile, may all be in the next group. */
static void expect(store_t *store, size_t count)
{
    count += store->queue_count;
    store->expected = count < WRITES_PER_GROUP_MAX ? count : WRITES_PER_GROUP_MAX;
    int64_t wait_us = store->commit_us / 2 < GATHER_US_MAX ? store->commit_us / 2 : GATHER_US_MAX;
    clock_gettime(CLOCK_MONOTONIC, &store->gather_end);
    store->gather_end.tv_nsec += wait_us * 1000;
    store->gather_end.tv_sec += store->gather_end.tv_nsec / 1000000000;
    store->gather_end.tv_nsec %= 1000000000;
}

static void hand_over(store_t *store, const pending_t *first)
{
    size_t count = 0;
    for (const pending_t *p = first; p != NULL; p = p->next)
        count++;
    pthread_mutex_lock(&store->queue_lock);
    expect(store, count);
    pending_t *heir = store->queue_first;
    store->leading = heir != NULL;
    if (heir != NULL) {
        heir->lead = true;
        sem_post(&heir->wake);
    }
    pthread_mutex_unlock(&store->queue_lock);
}

static void wait_for_turn(pending_t *own)
{
    while (sem_wait(&own->wake) != 0)
        weir_assert(errno == EINTR);
}

int weir_sqlite_commit(store_t *store, weir_sqlite_work_t work, void *context,
                       weir_store_result_t *ret, weir_error_t *err)
{
    pending_t own = { .work = work, .context = context, .result = ret, .err = err };
    *ret = (weir_store_result_t){ .version = store->version };
    sem_init(&own.wake, 0, 0);
    pthread_mutex_lock(&store->queue_lock);
    bool lead = enqueue(store, &own);
    pthread_mutex_unlock(&store->queue_lock);
    if (!lead) {
        wait_for_turn(&own);
        if (!own.lead) {
            sem_destroy(&own.wake);
            return own.code;
        }
    }

    pthread_mutex_lock(&store->queue_lock);
    gather(store);
    pending_t *first = take_group(store);
    pthread_mutex_unlock(&store->queue_lock);
    run_group(store, first);
    hand_over(store, first);
    for (pending_t *p = first, *next = NULL; p != NULL; p = next) {
        next = p->next; /* once woken, its owner takes it off its stack */
        if (p != &own)
            sem_post(&p->wake);
    }
    sem_destroy(&own.wake);
    return own.code;
}

/* -- what is queued -------------------------------------------------------------------------------
 */

typedef struct write_context {
    const prepared_op_t *ops;
    size_t count;
} write_context_t;

static int run_ops(group_t *g, void *context, weir_store_result_t *result, weir_error_t *err)
{
    const write_context_t *write = context;
    int rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < write->count; i++)
        rc = weir_sqlite_apply(g, &write->ops[i], i, result, err);
    return rc;
}

int weir_sqlite_write(weir_store_t *base, const weir_store_op_t *ops, size_t count,
                      weir_store_result_t *ret, weir_error_t *err)
{
    store_t *store = store_of(base);
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, OP_BYTES_MAX);
    *ret = (weir_store_result_t){ .version = store->version };
    prepared_op_t *prepared = weir_arena_alloc(&arena, count * sizeof(*prepared));
    if (prepared == NULL)
        return weir_error_memory(err);
    for (size_t i = 0; i < count; i++) {
        int rc = weir_sqlite_prepare(&ops[i], &arena, &prepared[i], err);
        if (rc != WEIR_OK)
            return rc;
    }
    return weir_sqlite_commit(store, run_ops, &(write_context_t){ prepared, count }, ret, err);
}

typedef struct expire_context {
    int64_t now_ms;
    size_t limit;
    size_t count;
} expire_context_t;

typedef struct expired_row {
    weir_entity_type_t type;
    weir_uuid_t id;
} expired_row_t;

static int find_expired(group_t *g, const expire_context_t *expire, expired_row_t *rows,
                        size_t *ret_count, weir_error_t *err)
{
    sqlite3_stmt *select = NULL;
    int rc = weir_sqlite_select(g->db, S_EXPIRED, &select, err, "ii", expire->now_ms,
                                (int64_t)expire->limit);
    if (rc != WEIR_OK)
        return rc;
    *ret_count = 0;
    while (*ret_count < expire->limit && (rc = weir_sqlite_step(g->db, select, err)) == WEIR_OK) {
        rows[*ret_count].type = (weir_entity_type_t)sqlite3_column_int(select, 0);
        weir_sqlite_column_uuid(select, 1, &rows[(*ret_count)++].id);
    }
    sqlite3_reset(select);
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

static int run_expire(group_t *g, void *context, weir_store_result_t *result, weir_error_t *err)
{
    expire_context_t *expire = context;
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, OP_BYTES_MAX);
    expired_row_t *rows = weir_arena_alloc(&arena, expire->limit * sizeof(*rows));
    if (rows == NULL)
        return weir_error_memory(err);
    size_t count = 0;
    int rc = find_expired(g, expire, rows, &count, err);
    for (size_t i = 0; rc == WEIR_OK && i < count; i++)
        rc = weir_sqlite_apply_delete(g, rows[i].type, &rows[i].id, i, result, err);
    expire->count = count;
    return rc;
}

int weir_sqlite_expire(weir_store_t *base, int64_t now_ms, size_t limit, size_t *ret_count,
                       weir_error_t *err)
{
    expire_context_t expire = { .now_ms = now_ms, .limit = limit };
    weir_store_result_t result;
    int rc = weir_sqlite_commit(store_of(base), run_expire, &expire, &result, err);
    *ret_count = rc == WEIR_OK ? expire.count : 0;
    return rc;
}

typedef struct plane_context {
    const weir_uuid_t *node;
    weir_str_t document;
    int64_t expires_ms;
} plane_context_t;

static int run_plane(group_t *g, void *context, weir_store_result_t *result, weir_error_t *err)
{
    (void)result;
    const plane_context_t *plane = context;
    int rc = weir_sqlite_run(g->db, S_PLANES_EXPIRE, err, "i", g->now_ms);
    return rc == WEIR_OK ? weir_sqlite_run(g->db, S_PLANE_PUT, err, "uit", plane->node,
                                           plane->expires_ms, plane->document)
                         : rc;
}

int weir_sqlite_put_data_plane(weir_store_t *base, const weir_uuid_t *node, weir_str_t document,
                               int64_t expires_ms, weir_error_t *err)
{
    plane_context_t plane = { node, document, expires_ms };
    weir_store_result_t result;
    return weir_sqlite_commit(store_of(base), run_plane, &plane, &result, err);
}

void weir_sqlite_watch(weir_store_t *base, void (*committed)(void *context, uint64_t version),
                       void *context)
{
    store_t *store = store_of(base);
    pthread_mutex_lock(&store->watch_lock);
    store->committed = committed;
    store->watch_context = context;
    pthread_mutex_unlock(&store->watch_lock);
}
