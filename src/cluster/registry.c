/* registry.c -- the data planes that a control plane knows, live. */
#include "cluster/registry.h"

#include "base/json.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>

enum { ID_BYTES_MAX = 128, TEXT_BYTES_MAX = 256, DOCUMENT_BYTES_MAX = 1024 * 1024 };

typedef struct node {
    char id[ID_BYTES_MAX + 1];
    weir_json_t *row; /* the members that are kept over restarts */
    uint64_t version;
    unsigned sockets;
    bool changed;
    int64_t last_seen_ms;
} node_t;

struct weir_registry {
    pthread_mutex_t lock;
    void *nodes; /* tree by id */
    size_t known, connected;
    int64_t purge_delay_s;
};

static int by_id(const void *a, const void *b)
{
    return strcmp(((const node_t *)a)->id, ((const node_t *)b)->id);
}

static void free_node(void *pointer)
{
    node_t *node = pointer;
    weir_json_free(node->row);
    weir_free(node);
}

int weir_registry_new(int64_t purge_delay_s, weir_registry_t **ret, weir_error_t *err)
{
    weir_registry_t *registry = weir_calloc(1, sizeof(*registry));
    if (registry == NULL)
        return weir_error_memory(err);
    pthread_mutex_init(&registry->lock, NULL);
    registry->purge_delay_s = purge_delay_s;
    *ret = registry;
    return WEIR_OK;
}

void weir_registry_free(weir_registry_t *registry)
{
    if (registry == NULL)
        return;
    tdestroy(registry->nodes, free_node);
    pthread_mutex_destroy(&registry->lock);
    weir_free(registry);
}

/* Under the lock. Makes the node if `make`. */
static node_t *find(weir_registry_t *registry, weir_str_t id, bool make)
{
    node_t key;
    if (id.len == 0 || id.len > ID_BYTES_MAX)
        return NULL;
    memcpy(key.id, id.data, id.len);
    key.id[id.len] = '\0';
    node_t **found = tfind(&key, &registry->nodes, by_id);
    if (found != NULL || !make || registry->known >= WEIR_REGISTRY_NODES_MAX)
        return found != NULL ? *found : NULL;
    node_t *node = weir_calloc(1, sizeof(*node));
    if (node == NULL)
        return NULL;
    memcpy(node->id, key.id, sizeof(node->id));
    node->row = weir_json_new_object();
    if (node->row == NULL || tsearch(node, &registry->nodes, by_id) == NULL) {
        free_node(node);
        return NULL;
    }
    registry->known++;
    return node;
}

/* A member that could not be set for want of memory keeps its old value. */
static void set(node_t *node, const char *name, weir_json_t *value)
{
    if (value != NULL && weir_json_set(node->row, name, value) == WEIR_OK)
        node->changed = true;
}

static void set_text(node_t *node, const char *name, weir_str_t text)
{
    if (text.len > TEXT_BYTES_MAX)
        text.len = TEXT_BYTES_MAX;
    set(node, name, text.data != NULL ? weir_json_new_string(text) : weir_json_new_null());
}

static void seen(node_t *node, int64_t now_ms)
{
    node->last_seen_ms = now_ms;
    set(node, "last_seen", weir_json_new_number((double)(now_ms / 1000)));
    set(node, "updated_at", weir_json_new_number((double)(now_ms / 1000)));
}

void weir_registry_connected(weir_registry_t *registry, const weir_node_facts_t *facts,
                             int64_t now_ms)
{
    pthread_mutex_lock(&registry->lock);
    node_t *node = find(registry, facts->node_id, true);
    if (node != NULL) {
        registry->connected += node->sockets++ == 0;
        set_text(node, "hostname", facts->hostname);
        set_text(node, "ip", facts->ip);
        set_text(node, "version", facts->version);
        set(node, "labels",
            facts->labels != NULL ? weir_json_copy(facts->labels) : weir_json_new_null());
        set(node, "rpc_capabilities",
            facts->capabilities != NULL ? weir_json_copy(facts->capabilities)
                                        : weir_json_new_array());
        weir_json_t *details = weir_json_new_object();
        if (details != NULL &&
            weir_json_set(details, "expiry_timestamp",
                          weir_json_new_number((double)facts->certificate_expiry_s)) == WEIR_OK)
            set(node, "cert_details", details);
        else
            weir_json_free(details);
        if (weir_json_get(node->row, "config_hash") == NULL)
            set_text(node, "config_hash", WEIR_STR("00000000000000000000000000000000"));
        set_text(node, "sync_status", WEIR_STR("normal"));
        seen(node, now_ms);
    }
    pthread_mutex_unlock(&registry->lock);
}

void weir_registry_disconnected(weir_registry_t *registry, weir_str_t node_id, int64_t now_ms)
{
    pthread_mutex_lock(&registry->lock);
    node_t *node = find(registry, node_id, false);
    if (node != NULL && node->sockets > 0) {
        registry->connected -= --node->sockets == 0;
        seen(node, now_ms);
    }
    pthread_mutex_unlock(&registry->lock);
}

void weir_registry_seen(weir_registry_t *registry, weir_str_t node_id, weir_str_t config_hash,
                        uint64_t version, int64_t now_ms)
{
    pthread_mutex_lock(&registry->lock);
    node_t *node = find(registry, node_id, false);
    if (node != NULL) {
        node->version = version;
        set_text(node, "config_hash", config_hash);
        seen(node, now_ms);
    }
    pthread_mutex_unlock(&registry->lock);
}

void weir_registry_report(weir_registry_t *registry, weir_str_t node_id, const weir_json_t *report,
                          int64_t now_ms)
{
    static const char *const names[] = { "quarantined", "quarantined_count", "last_error" };
    pthread_mutex_lock(&registry->lock);
    node_t *node = find(registry, node_id, false);
    if (node != NULL) {
        for (size_t i = 0; i < WEIR_COUNT(names); i++) {
            const weir_json_t *value = weir_json_get(report, names[i]);
            if (value != NULL)
                set(node, names[i], weir_json_copy(value));
        }
        seen(node, now_ms);
    }
    pthread_mutex_unlock(&registry->lock);
}

void weir_registry_count(weir_registry_t *registry, size_t *ret_known, size_t *ret_connected)
{
    pthread_mutex_lock(&registry->lock);
    *ret_known = registry->known;
    *ret_connected = registry->connected;
    pthread_mutex_unlock(&registry->lock);
}

/* -- rows ------------------------------------------------------------------------------- */

typedef struct listing {
    weir_registry_t *registry;
    weir_json_t *rows;
    uint64_t newest;
    int64_t now_ms;
    bool failed;
} listing_t;

static int64_t ttl_left(const listing_t *l, const node_t *node)
{
    if (node->sockets > 0)
        return l->registry->purge_delay_s;
    return l->registry->purge_delay_s - (l->now_ms - node->last_seen_ms) / 1000;
}

static void list_node(const void *at, VISIT visit, void *context)
{
    listing_t *l = context;
    if (visit != postorder && visit != leaf)
        return;
    const node_t *node = *(const node_t *const *)at;
    int64_t ttl = ttl_left(l, node);
    if (ttl <= 0)
        return;
    weir_json_t *row = weir_json_copy(node->row);
    bool fine = row != NULL &&
                weir_json_set(row, "id", weir_json_new_string(weir_str(node->id))) == WEIR_OK;
    uint64_t lag = l->newest > node->version ? l->newest - node->version : 0;
    const struct {
        const char *name;
        double value;
    } numbers[] = {
        { "ttl", (double)ttl },
        { "config_version", (double)node->version },
        { "lag", (double)lag },
    };
    for (size_t i = 0; fine && i < WEIR_COUNT(numbers); i++)
        fine =
            weir_json_set(row, numbers[i].name, weir_json_new_number(numbers[i].value)) == WEIR_OK;
    if (fine)
        fine = weir_json_set(row, "connected", weir_json_new_boolean(node->sockets > 0)) == WEIR_OK;
    if (!fine) {
        weir_json_free(row);
        l->failed = true;
        return;
    }
    l->failed |= weir_json_append(l->rows, row) != WEIR_OK;
}

int weir_registry_list(weir_registry_t *registry, uint64_t newest, int64_t now_ms,
                       weir_json_t **ret, weir_error_t *err)
{
    listing_t l = { registry, weir_json_new_array(), newest, now_ms, false };
    if (l.rows == NULL)
        return weir_error_memory(err);
    pthread_mutex_lock(&registry->lock);
    twalk_r(registry->nodes, list_node, &l);
    pthread_mutex_unlock(&registry->lock);
    if (l.failed) {
        weir_json_free(l.rows);
        return weir_error_memory(err);
    }
    *ret = l.rows;
    return WEIR_OK;
}

/* -- over restarts ------------------------------------------------------------------------ */

typedef struct saved {
    weir_uuid_t id;
    weir_buffer_t text;
    int64_t expires_ms;
} saved_t;

typedef struct collection {
    saved_t *list;
    size_t count, limit;
    int64_t purge_delay_s;
} collection_t;

static void collect_changed(const void *at, VISIT visit, void *context)
{
    collection_t *c = context;
    node_t *node = *(node_t *const *)at;
    if ((visit != postorder && visit != leaf) || !node->changed || c->count == c->limit)
        return;
    node->changed = false;
    saved_t *saved = &c->list[c->count];
    if (weir_uuid_parse(weir_str(node->id), &saved->id) != WEIR_OK)
        return; /* a row needs a UUID (sync-protocol A.2) */
    weir_buffer_init(&saved->text, DOCUMENT_BYTES_MAX);
    weir_json_print(node->row, &saved->text);
    saved->expires_ms = node->last_seen_ms + c->purge_delay_s * 1000;
    c->count += saved->text.failed == WEIR_OK;
}

int weir_registry_save(weir_registry_t *registry, weir_store_t *store, size_t limit, int64_t now_ms,
                       weir_error_t *err)
{
    (void)now_ms;
    collection_t c = { .limit = limit, .purge_delay_s = registry->purge_delay_s };
    c.list = weir_calloc(limit, sizeof(*c.list));
    if (c.list == NULL)
        return weir_error_memory(err);
    pthread_mutex_lock(&registry->lock);
    twalk_r(registry->nodes, collect_changed, &c);
    pthread_mutex_unlock(&registry->lock);
    int rc = WEIR_OK;
    for (size_t i = 0; i < c.count; i++) {
        if (rc == WEIR_OK)
            rc = weir_store_put_data_plane(store, &c.list[i].id, weir_buffer_str(&c.list[i].text),
                                           c.list[i].expires_ms, err);
        weir_buffer_release(&c.list[i].text);
    }
    weir_free(c.list);
    return rc;
}

static int load_node(void *context, const weir_delta_t *row)
{
    weir_registry_t *registry = context;
    char id[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&row->id, id);
    weir_json_t *members = NULL;
    if (weir_json_parse(row->document, &members, NULL) != WEIR_OK)
        return WEIR_OK; /* a damaged row is made anew when the node comes */
    pthread_mutex_lock(&registry->lock);
    node_t *node = find(registry, weir_str(id), true);
    if (node != NULL && node->sockets == 0 && weir_json_kind(members) == WEIR_JSON_OBJECT) {
        weir_json_free(node->row);
        node->row = members;
        members = NULL;
        node->last_seen_ms = (int64_t)weir_json_get_number(node->row, "last_seen", 0) * 1000;
    }
    pthread_mutex_unlock(&registry->lock);
    weir_json_free(members);
    return WEIR_OK;
}

int weir_registry_load(weir_registry_t *registry, weir_store_t *store, int64_t now_ms,
                       weir_error_t *err)
{
    return weir_store_data_planes(store, now_ms, load_node, registry, err);
}
