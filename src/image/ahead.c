/* ahead.c -- many rows into a batch, by two threads. What needs no transaction (prepare.c)
 * is prepared by both, a few rows at a time: one goes ahead, the caller's helps whenever
 * what comes next is not made yet. Only the caller's puts, in the order of the rows.
 *
 * The slots between them are a ring. Those of a step belong to whoever claimed it until
 * they are made, and then to the caller's until they are used; all of that changes under
 * the lock. Nothing outlives the call, so there is nothing to resume or to throw away when
 * a connection is cut. Without a thread to be had the caller's does everything. */
#include "image/batch.h"

#include <pthread.h>

enum {
    AHEAD_MIN = 256, /* fewer rows are not worth a thread */
    AHEAD_STEP = 32, /* rows that are claimed at once */
    AHEAD_STEPS = 4, /* of the ring */
    AHEAD_SLOTS = AHEAD_STEPS * AHEAD_STEP,
};

typedef struct ahead {
    const weir_image_options_t *options;
    const weir_batch_row_t *rows;
    size_t count;
    uint64_t version;          /* of the records */
    weir_digester_t *digester; /* of the one who goes ahead; NULL: no hashes */
    prepared_t *slots;
    int *codes; /* what became of the document of a slot */
    weir_error_t *errors;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    size_t claimed, used; /* rows */
    bool made[AHEAD_STEPS];
    bool stop;
} ahead_t;

/* -- both: preparing ------------------------------------------------------------------------ */

/* What fails but the document is tried again, and said, when it is put. The hash is left to
 * that as well if this is the one who puts. */
static void prepare(const ahead_t *a, size_t at, bool puts)
{
    size_t slot = at % AHEAD_SLOTS;
    prepared_t *p = &a->slots[slot];
    prepared_clear(p);
    a->errors[slot] = (weir_error_t){ 0 };
    if (a->rows[at].row == NULL)
        return;
    int rc = a->codes[slot] = prepare_document(&a->rows[at], p, &a->errors[slot]);
    if (rc == WEIR_OK && a->digester != NULL && !puts)
        rc = prepare_hash(a->digester, p, NULL);
    if (rc != WEIR_OK || p->schema == NULL || prepare_entity(p, NULL) != WEIR_OK)
        return;
    prepare_record(a->options, a->version, p);
}

static size_t step_end(const ahead_t *a, size_t at)
{
    return at + AHEAD_STEP < a->count ? at + AHEAD_STEP : a->count;
}

static bool *made(ahead_t *a, size_t at)
{
    return &a->made[at / AHEAD_STEP % AHEAD_STEPS];
}

static bool is_room(const ahead_t *a)
{
    return a->claimed < a->count && step_end(a, a->claimed) - a->used <= AHEAD_SLOTS;
}

/* The next step is prepared, without the lock that is held before and after. */
static void make_step(ahead_t *a, bool puts)
{
    size_t at = a->claimed;
    size_t end = step_end(a, at);
    *made(a, at) = false;
    a->claimed = end;
    pthread_mutex_unlock(&a->lock);
    for (size_t i = at; i < end; i++)
        prepare(a, i, puts);
    pthread_mutex_lock(&a->lock);
    *made(a, at) = true;
    pthread_cond_signal(&a->changed);
}

/* -- the one who goes ahead -------------------------------------------------------------- */

static void *go_ahead(void *context)
{
    ahead_t *a = context;
    pthread_mutex_lock(&a->lock);
    while (!a->stop && a->claimed < a->count) {
        if (is_room(a))
            make_step(a, false);
        else
            pthread_cond_wait(&a->changed, &a->lock);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

/* -- the one who puts --------------------------------------------------------------------- */

/* All before `at` are put; the step of `at` is made when this returns. */
static void wait_for_step(ahead_t *a, size_t at)
{
    pthread_mutex_lock(&a->lock);
    a->used = at;
    pthread_cond_signal(&a->changed);
    while (a->claimed == at || !*made(a, at)) {
        if (is_room(a))
            make_step(a, true);
        else
            pthread_cond_wait(&a->changed, &a->lock);
    }
    pthread_mutex_unlock(&a->lock);
}

static int put_one(weir_batch_t *batch, const weir_batch_row_t *row, weir_error_t *err)
{
    return row->row != NULL ? put_row(batch, row, err)
                            : weir_batch_delete_id(batch, row->type, &row->id, err);
}

static int put_made(weir_batch_t *batch, ahead_t *a, size_t at, weir_error_t *err)
{
    size_t slot = at % AHEAD_SLOTS;
    if (a->rows[at].row == NULL)
        return put_one(batch, &a->rows[at], err);
    if (a->codes[slot] == WEIR_OK)
        return put_prepared(batch, &a->slots[slot], err);
    return weir_error_set(err, a->codes[slot], NULL, "%s", a->errors[slot].reason);
}

static int put_all(weir_batch_t *batch, ahead_t *a, weir_error_t *err)
{
    int rc = WEIR_OK;
    for (size_t at = 0; rc == WEIR_OK && at < a->count; at++) {
        if (at % AHEAD_STEP == 0)
            wait_for_step(a, at);
        rc = put_made(batch, a, at, err);
    }
    return rc;
}

/* -- the call ---------------------------------------------------------------------------------- */

static int make_slots(ahead_t *a, weir_error_t *err)
{
    a->slots = weir_calloc(AHEAD_SLOTS, sizeof(*a->slots));
    a->codes = weir_calloc(AHEAD_SLOTS, sizeof(*a->codes));
    a->errors = weir_calloc(AHEAD_SLOTS, sizeof(*a->errors));
    if (a->slots == NULL || a->codes == NULL || a->errors == NULL)
        return weir_error_memory(err);
    for (size_t i = 0; i < AHEAD_SLOTS; i++)
        prepared_init(&a->slots[i]);
    return WEIR_OK;
}

static void release(ahead_t *a)
{
    for (size_t i = 0; a->slots != NULL && i < AHEAD_SLOTS; i++)
        prepared_release(&a->slots[i]);
    weir_free(a->slots);
    weir_free(a->codes);
    weir_free(a->errors);
    weir_digester_free(a->digester);
}

/* A help only: one cannot be shared between threads. */
static void take_digester(const weir_batch_t *batch, ahead_t *a)
{
    const weir_image_t *image = batch->image;
    if (batch->state.has_digest != 0 &&
        weir_digester_new(&image->key, &a->digester, NULL) != WEIR_OK)
        a->digester = NULL;
}

/* WEIR_UNSUPPORTED: there is no thread to be had. */
static int put_by_two(weir_batch_t *batch, ahead_t *a, weir_error_t *err)
{
    pthread_t thread;
    int rc = WEIR_UNSUPPORTED;
    pthread_mutex_init(&a->lock, NULL);
    pthread_cond_init(&a->changed, NULL);
    if (pthread_create(&thread, NULL, go_ahead, a) == 0) {
        rc = put_all(batch, a, err);
        pthread_mutex_lock(&a->lock);
        a->stop = true;
        pthread_cond_signal(&a->changed);
        pthread_mutex_unlock(&a->lock);
        pthread_join(thread, NULL);
    }
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    return rc;
}

int weir_batch_put_rows(weir_batch_t *batch, const weir_batch_row_t *rows, size_t count,
                        weir_error_t *err)
{
    int rc = WEIR_UNSUPPORTED;
    if (count >= AHEAD_MIN) {
        ahead_t a = { .options = &batch->image->options,
                      .rows = rows,
                      .count = count,
                      .version = batch->state.generation + batch->state.commits };
        rc = make_slots(&a, err);
        if (rc == WEIR_OK) {
            take_digester(batch, &a);
            rc = put_by_two(batch, &a, err);
        }
        release(&a);
    }
    if (rc != WEIR_UNSUPPORTED)
        return rc;
    rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < count; i++)
        rc = put_one(batch, &rows[i], err);
    return rc;
}
