/* changes.c -- the way of a version: committed, encoded, sent to each data plane and
 * applied by it (docs/admin-extensions.md). */
#include "cluster/registry_internal.h"

#include <stdlib.h>

/* -- noting ---------------------------------------------------------------------------- */

int weir_registry_trace(weir_registry_t *registry, size_t versions, uint64_t newest,
                        weir_error_t *err)
{
    weir_assert(registry->trace == NULL);
    return weir_trace_new(versions, newest, &registry->trace, err);
}

void weir_registry_committed(weir_registry_t *registry, uint64_t version, int64_t now_us)
{
    if (registry->trace != NULL)
        weir_trace_committed(registry->trace, version, now_us);
}

void weir_registry_encoded(weir_registry_t *registry, uint64_t after, uint64_t version,
                           int64_t now_us)
{
    if (registry->trace != NULL)
        weir_trace_encoded(registry->trace, after, version, now_us);
}

/* Without memory the way of this node is not known. */
static void add_push(node_t *node, const push_t *push)
{
    if (node->pushes == NULL)
        node->pushes = weir_calloc(PUSHES, sizeof(*node->pushes));
    if (node->pushes != NULL)
        node->pushes[node->push_count++ % PUSHES] = *push;
}

void weir_registry_sent(weir_registry_t *registry, node_t *node, uint64_t after, uint64_t version,
                        int64_t now_us)
{
    pthread_mutex_lock(&registry->lock);
    if (node != NULL && registry->trace != NULL && version > after) /* it carries something */
        add_push(node, &(push_t){ after, version, now_us, 0, -1 });
    pthread_mutex_unlock(&registry->lock);
}

/* From the commit of the oldest version that came with it; what was committed before the
 * node was connected it did not wait for. */
static void observe(weir_registry_t *registry, const node_t *node, uint64_t version, int64_t now_us)
{
    weir_trace_row_t row;
    uint64_t first = node->version + 1;
    bool waited = weir_trace_get(registry->trace, first, &row) == WEIR_OK &&
                  row.committed_us >= node->connected_us;
    if (!waited)
        waited = weir_trace_get(registry->trace, version, &row) == WEIR_OK &&
                 row.committed_us >= node->connected_us;
    if (waited)
        weir_trace_observe(registry->trace, now_us - row.committed_us);
}

void note_applied(weir_registry_t *registry, node_t *node, uint64_t version, int64_t apply_us,
                  int64_t now_us)
{
    if (registry->trace == NULL || version < node->version)
        return;
    bool covered = false;
    for (size_t i = 0; node->pushes != NULL && i < PUSHES; i++) {
        push_t *push = &node->pushes[i];
        if (push->version == 0 || push->version > version || push->applied_us != 0)
            continue;
        push->applied_us = now_us;
        push->apply_us = push->version == version ? apply_us : -1;
        covered |= push->version == version;
    }
    if (!covered) /* it fetched them */
        add_push(node, &(push_t){ node->version, version, 0, now_us, apply_us });
    if (node->sockets > 0)
        observe(registry, node, version, now_us);
}

/* -- a page of versions ------------------------------------------------------------------ */

static int set_time(weir_json_t *to, const char *name, int64_t us, int64_t unknown)
{
    return weir_json_set(to, name,
                         us == unknown ? weir_json_new_null() : weir_json_new_number((double)us));
}

static weir_json_t *new_change(const weir_trace_row_t *row)
{
    weir_json_t *change = weir_json_new_object();
    int rc = weir_json_set(change, "version", weir_json_new_number((double)row->version));
    if (rc == WEIR_OK)
        rc = set_time(change, "committed_us", row->committed_us, 0);
    if (rc == WEIR_OK)
        rc = set_time(change, "encoded_us", row->encoded_us, 0);
    if (rc == WEIR_OK)
        return change;
    weir_json_free(change);
    return NULL;
}

static int set_count(weir_json_t *to, const char *name, size_t count)
{
    return weir_json_set(to, name, weir_json_new_number((double)count));
}

typedef struct versions {
    uint64_t *list;
    size_t count, capacity;
} versions_t;

static void take_version(const void *at, VISIT visit, void *context)
{
    versions_t *versions = context;
    const node_t *node = *(const node_t *const *)at;
    if ((visit == postorder || visit == leaf) && node->sockets > 0 &&
        versions->count < versions->capacity)
        versions->list[versions->count++] = node->version;
}

static int compare_versions(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* Of the connected nodes, sorted. False: no memory. */
static bool take_versions(weir_registry_t *registry, versions_t *ret)
{
    *ret = (versions_t){ 0 };
    pthread_mutex_lock(&registry->lock);
    ret->capacity = registry->connected;
    ret->list = weir_malloc((ret->capacity + 1) * sizeof(*ret->list));
    if (ret->list != NULL)
        twalk_r(registry->nodes, take_version, ret);
    pthread_mutex_unlock(&registry->lock);
    if (ret->count > 0)
        qsort(ret->list, ret->count, sizeof(*ret->list), compare_versions);
    return ret->list != NULL;
}

/* How many are below `version`. */
static size_t count_below(const versions_t *versions, uint64_t version)
{
    size_t low = 0;
    size_t high = versions->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (versions->list[middle] < version)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int add_changes(weir_json_t *data, const weir_trace_row_t *rows, size_t count,
                       const versions_t *versions)
{
    int rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < count; i++) {
        size_t pending = count_below(versions, rows[i].version);
        weir_json_t *change = new_change(&rows[i]);
        rc = change != NULL ? set_count(change, "applied", versions->count - pending)
                            : WEIR_NO_MEMORY;
        if (rc == WEIR_OK)
            rc = set_count(change, "pending", pending);
        if (rc == WEIR_OK)
            rc = weir_json_append(data, change);
        else
            weir_json_free(change);
    }
    return rc;
}

static weir_json_t *new_page(weir_registry_t *registry, const weir_trace_row_t *rows, size_t count,
                             bool more)
{
    versions_t versions;
    weir_json_t *page = weir_json_new_object();
    weir_json_t *data = weir_json_new_array();
    int rc = page != NULL && data != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    if (!take_versions(registry, &versions))
        rc = WEIR_NO_MEMORY;
    if (rc == WEIR_OK)
        rc = add_changes(data, rows, count, &versions);
    weir_free(versions.list);
    if (rc == WEIR_OK) {
        rc = weir_json_set(page, "data", data);
        data = NULL;
    }
    if (rc == WEIR_OK)
        rc = weir_json_set(page, "next",
                           more ? weir_json_new_number((double)rows[count - 1].version)
                                : weir_json_new_null());
    if (rc == WEIR_OK)
        return page;
    weir_json_free(data);
    weir_json_free(page);
    return NULL;
}

int weir_registry_changes(weir_registry_t *registry, uint64_t before, size_t limit,
                          weir_json_t **ret, weir_error_t *err)
{
    weir_trace_row_t *rows = weir_malloc((limit + 1) * sizeof(*rows));
    if (rows == NULL)
        return weir_error_memory(err);
    size_t count =
        registry->trace != NULL ? weir_trace_list(registry->trace, before, limit + 1, rows) : 0;
    bool more = count > limit;
    weir_json_t *page = new_page(registry, rows, more ? limit : count, more);
    weir_free(rows);
    if (page == NULL)
        return weir_error_memory(err);
    *ret = page;
    return WEIR_OK;
}

/* -- one version ------------------------------------------------------------------------- */

typedef struct stop {
    char id[ID_BYTES_MAX + 1];
    char hostname[TEXT_BYTES_MAX + 1];
    arrival_t arrival;
    push_t push; /* version 0: not known */
} stop_t;

typedef struct way {
    target_t target;
    stop_t *stops;
    size_t count, capacity;
} way_t;

/* The push that brought it, or is to; of several the newest that was applied. */
static push_t push_of(const node_t *node, uint64_t version)
{
    push_t found = { 0 };
    for (size_t n = 0; node->pushes != NULL && n < PUSHES && n < node->push_count; n++) {
        const push_t *push = &node->pushes[(node->push_count - 1 - n) % PUSHES];
        if (push->after >= version || push->version < version)
            continue;
        if (push->applied_us != 0)
            return *push;
        if (found.version == 0)
            found = *push;
    }
    return found;
}

static void take_stop(const void *at, VISIT visit, void *context)
{
    way_t *way = context;
    const node_t *node = *(const node_t *const *)at;
    if ((visit != postorder && visit != leaf) || node->sockets == 0 || way->count == way->capacity)
        return;
    stop_t *stop = &way->stops[way->count++];
    memcpy(stop->id, node->id, sizeof(stop->id));
    weir_str_t name = weir_json_get_string(node->row, "hostname", WEIR_STR(""));
    size_t len = name.len < TEXT_BYTES_MAX ? name.len : TEXT_BYTES_MAX;
    memcpy(stop->hostname, name.data, len);
    stop->hostname[len] = '\0';
    stop->arrival = arrival_of(node, &way->target);
    stop->push = push_of(node, way->target.version);
}

static weir_json_t *new_stop(const stop_t *stop)
{
    static const char *const states[] = {
        [ARRIVAL_PENDING] = "pending", [ARRIVAL_APPLIED] = "applied", [ARRIVAL_FAILED] = "failed"
    };
    weir_json_t *out = weir_json_new_object();
    bool known = stop->push.version > 0;
    int rc = weir_json_set(out, "id", weir_json_new_string(weir_str(stop->id)));
    if (rc == WEIR_OK)
        rc = weir_json_set(out, "hostname", weir_json_new_string(weir_str(stop->hostname)));
    if (rc == WEIR_OK)
        rc = weir_json_set(out, "state", weir_json_new_string(weir_str(states[stop->arrival])));
    if (rc == WEIR_OK)
        rc = set_time(out, "sent_us", stop->push.sent_us, 0);
    if (rc == WEIR_OK)
        rc = set_time(out, "applied_us", stop->push.applied_us, 0);
    if (rc == WEIR_OK)
        rc = set_time(out, "apply_us", known ? stop->push.apply_us : -1, -1);
    if (rc == WEIR_OK)
        return out;
    weir_json_free(out);
    return NULL;
}

static int add_stops(weir_json_t *change, const way_t *way)
{
    size_t counts[ARRIVAL_FAILED + 1] = { 0 };
    weir_json_t *list = weir_json_new_array();
    int rc = list != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    for (size_t i = 0; rc == WEIR_OK && i < way->count; i++) {
        counts[way->stops[i].arrival]++;
        rc = weir_json_append(list, new_stop(&way->stops[i]));
    }
    if (rc == WEIR_OK)
        rc = set_count(change, "applied", counts[ARRIVAL_APPLIED]);
    if (rc == WEIR_OK)
        rc = set_count(change, "pending", counts[ARRIVAL_PENDING]);
    if (rc == WEIR_OK)
        rc = set_count(change, "failed", counts[ARRIVAL_FAILED]);
    if (rc == WEIR_OK)
        return weir_json_set(change, "data_planes", list);
    weir_json_free(list);
    return rc;
}

static int refuse(weir_registry_t *registry, uint64_t version, weir_error_t *err)
{
    uint64_t oldest = 1;
    uint64_t newest = 0;
    if (registry->trace != NULL)
        weir_trace_range(registry->trace, &oldest, &newest);
    if (version > newest)
        return weir_error_set(err, WEIR_NOT_FOUND, NULL,
                              "there is no version %" PRIu64 " yet: the newest is %" PRIu64,
                              version, newest);
    if (oldest > newest)
        return weir_error_set(err, WEIR_NOT_FOUND, NULL,
                              "version %" PRIu64 " is not remembered: it was committed before "
                              "this control plane was started",
                              version);
    return weir_error_set(err, WEIR_NOT_FOUND, NULL,
                          "version %" PRIu64 " is no longer remembered: versions from %" PRIu64
                          " on are (cluster_trace_versions)",
                          version, oldest);
}

int weir_registry_change(weir_registry_t *registry, uint64_t version, weir_uuid_t *entities,
                         size_t entity_count, weir_json_t **ret, weir_error_t *err)
{
    weir_trace_row_t row;
    if (registry->trace == NULL || weir_trace_get(registry->trace, version, &row) != WEIR_OK)
        return refuse(registry, version, err);
    sort_entities(entities, entity_count);
    way_t way = { .target = { .version = version,
                              .entities = entities,
                              .entity_count = entity_count,
                              .errors_ms = row.committed_us / 1000 } };
    pthread_mutex_lock(&registry->lock);
    way.capacity = registry->connected;
    way.stops = weir_malloc((way.capacity + 1) * sizeof(*way.stops));
    if (way.stops != NULL)
        twalk_r(registry->nodes, take_stop, &way);
    pthread_mutex_unlock(&registry->lock);
    weir_json_t *change = way.stops != NULL ? new_change(&row) : NULL;
    int rc = change != NULL ? add_stops(change, &way) : WEIR_NO_MEMORY;
    weir_free(way.stops);
    if (rc != WEIR_OK) {
        weir_json_free(change);
        return weir_error_memory(err);
    }
    *ret = change;
    return WEIR_OK;
}

int weir_registry_metrics(weir_registry_t *registry, weir_buffer_t *out)
{
    return registry->trace != NULL ? weir_trace_metrics(registry->trace, out) : out->failed;
}
