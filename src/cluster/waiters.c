/* waiters.c -- who waits until data planes have a version.
 *
 * A waiter keeps counts: how many data planes it is about, how many of them have its
 * version, how many failed at it. Waiters stand in the order of their versions, so a
 * data plane that moves from one version to another touches those in between alone:
 * each waiter is touched once by each data plane, however many of both there are.
 *
 *   waiters by version:   41   43   43   47   52
 *   a node, 42 to 47:          ++   ++   ++
 *
 * What a node counts for is a function of the node and the waiter (arrival_of()). Every
 * change of a node takes away what it counted for before and adds what it counts for
 * after, so the counts cannot drift. */
#include "cluster/registry_internal.h"

#include <stdlib.h>

struct weir_waiter {
    weir_registry_t *registry;
    weir_wait_t wait; /* key, value and entities are ours */
    target_t target;
    size_t total, applied, failed;
    bool told;
};

/* -- what a node counts for -------------------------------------------------------------- */

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(weir_uuid_t));
}

void sort_entities(weir_uuid_t *entities, size_t count)
{
    if (count > 0)
        qsort(entities, count, sizeof(*entities), compare_ids);
}

static bool refuses_one(const node_t *node, const target_t *target)
{
    for (size_t i = 0; i < node->bad_count && target->entity_count > 0; i++)
        if (bsearch(&node->bad[i], target->entities, target->entity_count, sizeof(weir_uuid_t),
                    compare_ids) != NULL)
            return true;
    return false;
}

/* What it lists as quarantined before it has the version is of older ones. */
arrival_t arrival_of(const node_t *node, const target_t *target)
{
    if (node->version >= target->version)
        return refuses_one(node, target) ? ARRIVAL_FAILED : ARRIVAL_APPLIED;
    return node->error > target->errors && node->error_ms >= target->errors_ms ? ARRIVAL_FAILED
                                                                               : ARRIVAL_PENDING;
}

static bool is_meant(const weir_waiter_t *waiter, const node_t *node)
{
    if (node->sockets == 0)
        return false;
    if (waiter->wait.kind != WEIR_WAIT_LABEL)
        return true;
    weir_str_t value = weir_json_get_string(weir_json_get(node->row, "labels"),
                                            waiter->wait.key.data, (weir_str_t){ NULL, 0 });
    return value.data != NULL && weir_str_equal(value, waiter->wait.value);
}

static void count_node(weir_waiter_t *waiter, const node_t *node, bool add)
{
    if (!is_meant(waiter, node))
        return;
    arrival_t arrival = arrival_of(node, &waiter->target);
    size_t one = add ? 1 : (size_t)-1;
    waiter->total += one;
    waiter->applied += arrival == ARRIVAL_APPLIED ? one : 0;
    waiter->failed += arrival == ARRIVAL_FAILED ? one : 0;
    weir_assert(waiter->applied + waiter->failed <= waiter->total);
}

static bool is_over(const weir_waiter_t *waiter)
{
    if (waiter->wait.kind == WEIR_WAIT_COUNT)
        return waiter->applied >= waiter->wait.count;
    return waiter->total > 0 && waiter->applied + waiter->failed == waiter->total;
}

static void tell(weir_waiter_t *waiter)
{
    if (waiter->told || !is_over(waiter))
        return;
    waiter->told = true;
    waiter->wait.over(waiter->wait.context);
}

/* -- changes of nodes ---------------------------------------------------------------------- */

void waiters_before(weir_registry_t *registry, const node_t *node)
{
    for (size_t i = 0; i < registry->waiter_count; i++)
        count_node(registry->waiters[i], node, false);
}

void waiters_after(weir_registry_t *registry, const node_t *node)
{
    for (size_t i = 0; i < registry->waiter_count; i++) {
        count_node(registry->waiters[i], node, true);
        tell(registry->waiters[i]);
    }
}

/* The first of a version above this one. */
static size_t first_above(const weir_registry_t *registry, uint64_t version)
{
    size_t low = 0;
    size_t high = registry->waiter_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (registry->waiters[middle]->target.version <= version)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void waiters_move(weir_registry_t *registry, node_t *node, uint64_t version)
{
    uint64_t low = node->version < version ? node->version : version;
    uint64_t high = node->version < version ? version : node->version;
    size_t from = first_above(registry, low);
    size_t to = first_above(registry, high);
    for (size_t i = from; i < to; i++)
        count_node(registry->waiters[i], node, false);
    node->version = version;
    for (size_t i = from; i < to; i++) {
        count_node(registry->waiters[i], node, true);
        tell(registry->waiters[i]);
    }
}

/* -- life ---------------------------------------------------------------------------------- */

static void free_waiter(weir_waiter_t *waiter)
{
    if (waiter == NULL)
        return;
    weir_free((char *)waiter->wait.key.data);
    weir_free((char *)waiter->wait.value.data);
    weir_free((weir_uuid_t *)waiter->wait.entities);
    weir_free(waiter);
}

/* False: no memory. */
static bool copy_text(weir_str_t *text)
{
    if (text->data == NULL)
        return true;
    text->data = weir_strdup(*text);
    return text->data != NULL;
}

static weir_waiter_t *copy_wait(weir_registry_t *registry, const weir_wait_t *wait)
{
    weir_waiter_t *waiter = weir_calloc(1, sizeof(*waiter));
    if (waiter == NULL)
        return NULL;
    size_t bytes = wait->entity_count * sizeof(*wait->entities);
    weir_uuid_t *entities = weir_malloc(bytes + 1);
    waiter->registry = registry;
    waiter->wait = *wait;
    waiter->wait.entities = entities;
    bool fine = copy_text(&waiter->wait.key);
    fine = copy_text(&waiter->wait.value) && fine;
    if (entities == NULL || !fine) {
        free_waiter(waiter);
        return NULL;
    }
    if (bytes > 0)
        memcpy(entities, wait->entities, bytes);
    sort_entities(entities, wait->entity_count);
    waiter->target = (target_t){ .version = wait->version,
                                 .entities = entities,
                                 .entity_count = wait->entity_count };
    return waiter;
}

static void count_at_start(const void *at, VISIT visit, void *context)
{
    if (visit == postorder || visit == leaf)
        count_node(context, *(const node_t *const *)at, true);
}

/* Of a version that no node can have yet, which is the rule, only labels need a look at
 * the nodes. */
static void count_all(weir_registry_t *registry, weir_waiter_t *waiter)
{
    waiter->target.errors = registry->errors;
    if (waiter->wait.kind != WEIR_WAIT_LABEL && waiter->wait.version > registry->highest)
        waiter->total = registry->connected;
    else
        twalk_r(registry->nodes, count_at_start, waiter);
}

static bool insert(weir_registry_t *registry, weir_waiter_t *waiter)
{
    if (registry->waiter_count == registry->waiter_capacity) {
        size_t capacity = registry->waiter_capacity > 0 ? registry->waiter_capacity * 2 : 16;
        weir_waiter_t **more = weir_realloc(registry->waiters, capacity * sizeof(*more));
        if (more == NULL)
            return false;
        registry->waiters = more;
        registry->waiter_capacity = capacity;
    }
    size_t at = first_above(registry, waiter->target.version);
    memmove(&registry->waiters[at + 1], &registry->waiters[at],
            (registry->waiter_count - at) * sizeof(*registry->waiters));
    registry->waiters[at] = waiter;
    registry->waiter_count++;
    return true;
}

int weir_registry_wait(weir_registry_t *registry, const weir_wait_t *wait, weir_waiter_t **ret,
                       weir_error_t *err)
{
    weir_waiter_t *waiter = copy_wait(registry, wait);
    if (waiter == NULL)
        return weir_error_memory(err);
    pthread_mutex_lock(&registry->lock);
    bool inserted = insert(registry, waiter);
    if (inserted)
        count_all(registry, waiter);
    pthread_mutex_unlock(&registry->lock);
    if (!inserted) {
        free_waiter(waiter);
        return weir_error_memory(err);
    }
    *ret = waiter;
    return WEIR_OK;
}

bool weir_waiter_look(weir_waiter_t *waiter, weir_arrivals_t *ret)
{
    pthread_mutex_lock(&waiter->registry->lock);
    bool over = is_over(waiter);
    waiter->told = over;
    *ret = (weir_arrivals_t){
        .applied = waiter->applied,
        .failed = waiter->failed,
        .pending = waiter->total - waiter->applied - waiter->failed,
        .confirmed = over && (waiter->wait.kind == WEIR_WAIT_COUNT || waiter->failed == 0),
    };
    pthread_mutex_unlock(&waiter->registry->lock);
    return over;
}

void weir_waiter_free(weir_waiter_t *waiter)
{
    if (waiter == NULL)
        return;
    weir_registry_t *registry = waiter->registry;
    pthread_mutex_lock(&registry->lock);
    size_t at = first_above(registry, waiter->target.version);
    while (at > 0 && registry->waiters[at - 1] != waiter)
        at--;
    weir_assert(at > 0);
    registry->waiter_count--;
    memmove(&registry->waiters[at - 1], &registry->waiters[at],
            (registry->waiter_count - (at - 1)) * sizeof(*registry->waiters));
    pthread_mutex_unlock(&registry->lock);
    free_waiter(waiter);
}
