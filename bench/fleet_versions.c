/* fleet_versions.c -- which node had which version when.
 *
 * A node that goes from version 3 to 7 in one update has 4, 5, 6 and 7 at that
 * moment: so every version that somebody saw, or that is waited for, counts all
 * nodes, however their updates were cut. */
#include "fleet.h"

#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>

enum {
    REMEMBERED = 1024, /* versions of the report; older ones are forgotten */
    SAMPLED = 64,      /* of these, the newest, have every node's moment for quantiles */
    US_PER_S = 1000000,
};

typedef struct record {
    fleet_spread_t spread;
    int64_t *moments; /* of expected nodes, `spread.reached` of them; NULL: only the ends */
} record_t;

struct fleet_versions {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned nodes, expected_count;
    bool *expected;
    uint64_t *version; /* of each node */
    int64_t *since_us;
    uint64_t newest;
    record_t records[REMEMBERED]; /* by version, ascending */
    size_t count;
};

int fleet_versions_new(unsigned nodes, const bool *expected, fleet_versions_t **ret,
                       weir_error_t *err)
{
    fleet_versions_t *v = weir_calloc(1, sizeof(*v));
    if (v == NULL)
        return weir_error_memory(err);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&v->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&v->lock, NULL);
    v->nodes = nodes;
    v->expected = weir_calloc(nodes, sizeof(*v->expected));
    v->version = weir_calloc(nodes, sizeof(*v->version));
    v->since_us = weir_calloc(nodes, sizeof(*v->since_us));
    if (v->expected == NULL || v->version == NULL || v->since_us == NULL) {
        fleet_versions_free(v);
        return weir_error_memory(err);
    }
    memcpy(v->expected, expected, nodes * sizeof(*expected));
    for (unsigned i = 0; i < nodes; i++)
        v->expected_count += expected[i];
    *ret = v;
    return WEIR_OK;
}

void fleet_versions_free(fleet_versions_t *v)
{
    if (v == NULL)
        return;
    for (size_t i = 0; i < v->count; i++)
        weir_free(v->records[i].moments);
    pthread_cond_destroy(&v->changed);
    pthread_mutex_destroy(&v->lock);
    weir_free(v->expected);
    weir_free(v->version);
    weir_free(v->since_us);
    weir_free(v);
}

/* -- records, under the lock ----------------------------------------------------------- */

static int by_time(const void *a, const void *b)
{
    int64_t left = *(const int64_t *)a;
    int64_t right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void quantiles(record_t *r)
{
    size_t count = r->spread.reached;
    if (r->moments == NULL || count == 0)
        return;
    qsort(r->moments, count, sizeof(*r->moments), by_time);
    r->spread.p50_us = r->moments[(count - 1) / 2] - r->spread.first_us;
    r->spread.p99_us = r->moments[(count - 1) * 99 / 100] - r->spread.first_us;
}

/* Node `index` has this version since `at_us`. */
static void note(const fleet_versions_t *v, record_t *r, unsigned index, int64_t at_us)
{
    if (!v->expected[index]) {
        r->spread.others++;
        return;
    }
    if (r->spread.reached == v->expected_count)
        return; /* versions began anew on the control plane, and pass this one again */
    if (r->spread.reached == 0 || at_us < r->spread.first_us)
        r->spread.first_us = at_us;
    if (r->spread.reached == 0 || at_us > r->spread.last_us)
        r->spread.last_us = at_us;
    if (r->moments != NULL)
        r->moments[r->spread.reached] = at_us;
    r->spread.reached++;
}

/* The place of the first record that is not older. */
static size_t place_of(const fleet_versions_t *v, uint64_t version)
{
    size_t at = v->count;
    while (at > 0 && v->records[at - 1].spread.version >= version)
        at--; /* almost always at the end */
    return at;
}

static void forget_oldest(fleet_versions_t *v)
{
    weir_free(v->records[0].moments);
    v->count--;
    memmove(v->records, v->records + 1, v->count * sizeof(*v->records));
}

/* The record of `version`, made if there is none; NULL: it is older than all that
 * are remembered, or memory is short. */
static record_t *record_of(fleet_versions_t *v, uint64_t version)
{
    size_t at = place_of(v, version);
    if (at < v->count && v->records[at].spread.version == version)
        return &v->records[at];
    if (v->count == REMEMBERED) {
        if (at == 0)
            return NULL;
        forget_oldest(v);
        at--;
    }
    int64_t *moments = weir_malloc((v->expected_count + 1) * sizeof(*moments));
    if (moments == NULL)
        return NULL;
    memmove(v->records + at + 1, v->records + at, (v->count - at) * sizeof(*v->records));
    v->count++;
    record_t *r = &v->records[at];
    *r = (record_t){ .spread = { .version = version, .expected = v->expected_count },
                     .moments = moments };
    for (unsigned i = 0; i < v->nodes; i++)
        if (v->version[i] >= version)
            note(v, r, i, v->since_us[i]);
    if (v->count > SAMPLED) {
        record_t *old = &v->records[v->count - SAMPLED - 1];
        quantiles(old);
        weir_free(old->moments);
        old->moments = NULL;
    }
    return r;
}

/* -- the outside ------------------------------------------------------------------------ */

void fleet_versions_applied(fleet_versions_t *v, unsigned index, uint64_t version, int64_t at_us)
{
    pthread_mutex_lock(&v->lock);
    uint64_t before = v->version[index];
    if (version > before)
        (void)record_of(v, version); /* without memory it is not remembered */
    for (size_t i = v->count; i > 0 && v->records[i - 1].spread.version > before; i--)
        if (v->records[i - 1].spread.version <= version)
            note(v, &v->records[i - 1], index, at_us);
    v->version[index] = version;
    v->since_us[index] = at_us;
    if (version > v->newest)
        v->newest = version;
    pthread_cond_broadcast(&v->changed);
    pthread_mutex_unlock(&v->lock);
}

int fleet_versions_wait(fleet_versions_t *v, uint64_t version, unsigned count, int64_t until_us,
                        fleet_spread_t *ret)
{
    struct timespec until = {
        .tv_sec = until_us / US_PER_S,
        .tv_nsec = until_us % US_PER_S * 1000,
    };
    *ret = (fleet_spread_t){ .version = version, .expected = v->expected_count };
    int rc = WEIR_AGAIN;
    pthread_mutex_lock(&v->lock);
    while (rc == WEIR_AGAIN) {
        record_t *r = record_of(v, version); /* anew: records move */
        if (r == NULL) {
            rc = WEIR_NO_MEMORY;
            break;
        }
        bool late = false;
        if (r->spread.reached < count)
            late = pthread_cond_timedwait(&v->changed, &v->lock, &until) == ETIMEDOUT;
        r = record_of(v, version);
        if (r == NULL)
            rc = WEIR_NO_MEMORY;
        else if (r->spread.reached >= count)
            rc = WEIR_OK;
        else if (late)
            rc = WEIR_TIMEOUT;
        if (r != NULL && rc != WEIR_AGAIN) {
            quantiles(r);
            *ret = r->spread;
        }
    }
    pthread_mutex_unlock(&v->lock);
    return rc;
}

void fleet_versions_range(fleet_versions_t *v, uint64_t *ret_newest, uint64_t *ret_oldest)
{
    uint64_t oldest = UINT64_MAX;
    pthread_mutex_lock(&v->lock);
    for (unsigned i = 0; i < v->nodes; i++)
        if (v->expected[i] && v->version[i] < oldest)
            oldest = v->version[i];
    *ret_newest = v->newest;
    *ret_oldest = v->expected_count > 0 ? oldest : 0;
    pthread_mutex_unlock(&v->lock);
}

unsigned fleet_versions_expected(const fleet_versions_t *v)
{
    return v->expected_count;
}

void fleet_versions_walk(fleet_versions_t *v,
                         void (*each)(void *context, const fleet_spread_t *spread), void *context)
{
    pthread_mutex_lock(&v->lock);
    for (size_t i = 0; i < v->count; i++) {
        quantiles(&v->records[i]);
        each(context, &v->records[i].spread);
    }
    pthread_mutex_unlock(&v->lock);
}
