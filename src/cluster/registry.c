/* registry.c -- the data planes that a control plane knows, live. */
#include "cluster/registry.h"

#include "base/json.h"
#include "cluster/message.h"

#include <pthread.h>
#include <search.h>
#include <stdlib.h>

enum {
    ID_BYTES_MAX = 128,
    TEXT_BYTES_MAX = 256,
    DOCUMENT_BYTES_MAX = 1024 * 1024,
    QUARANTINED_MAX = 100, /* listed of a node; the count has them all */
    REWRITE_MS = 60000,    /* a row that only shows signs of life is written so often */
    FORGET_MAX = 64,       /* nodes forgotten at once */
};

typedef struct node {
    char id[ID_BYTES_MAX + 1];
    weir_json_t *row; /* the members that are kept over restarts */
    uint64_t version;
    unsigned sockets;
    bool changed; /* in something that is written at once */
    bool moved;   /* only in its version or signs of life */
    int64_t last_seen_ms, saved_ms;
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

/* A member that could not be set for want of memory keeps its old value. Takes
 * `value`. True: it is another one than before. */
static bool set(node_t *node, const char *name, weir_json_t *value)
{
    if (value == NULL)
        return false;
    if (weir_json_equal(weir_json_get(node->row, name), value)) {
        weir_json_free(value);
        return false;
    }
    return weir_json_set(node->row, name, value) == WEIR_OK;
}

static weir_json_t *new_text(weir_str_t text, size_t bytes_max)
{
    if (text.len > bytes_max)
        text.len = bytes_max;
    while (text.len > 0 && text.len == bytes_max && (text.data[text.len - 1] & 0x80))
        text.len--; /* no half of a character at the end */
    return text.data != NULL ? weir_json_new_string(text) : weir_json_new_null();
}

static bool set_text(node_t *node, const char *name, weir_str_t text)
{
    return set(node, name, new_text(text, TEXT_BYTES_MAX));
}

static void seen(node_t *node, int64_t now_ms)
{
    int64_t seconds = now_ms / 1000;
    node->last_seen_ms = now_ms;
    node->moved |= set(node, "last_seen", weir_json_new_number((double)seconds));
    set(node, "updated_at", weir_json_new_number((double)seconds));
}

static weir_json_t *copy_or_null(const weir_json_t *value)
{
    return value != NULL ? weir_json_copy(value) : weir_json_new_null();
}

static weir_json_t *certificate_details(int64_t expiry_s)
{
    weir_json_t *details = weir_json_new_object();
    if (details != NULL && weir_json_set(details, "expiry_timestamp",
                                         weir_json_new_number((double)expiry_s)) == WEIR_OK)
        return details;
    weir_json_free(details);
    return NULL;
}

void weir_registry_connected(weir_registry_t *registry, const weir_node_facts_t *facts,
                             int64_t now_ms)
{
    pthread_mutex_lock(&registry->lock);
    node_t *node = find(registry, facts->node_id, true);
    if (node != NULL) {
        registry->connected += node->sockets++ == 0;
        node->changed |= set_text(node, "hostname", facts->hostname);
        node->changed |= set_text(node, "ip", facts->ip);
        node->changed |= set_text(node, "version", facts->version);
        node->changed |= set(node, "labels", copy_or_null(facts->labels));
        node->changed |= set(node, "rpc_capabilities", copy_or_null(facts->capabilities));
        node->changed |=
            set(node, "cert_details", certificate_details(facts->certificate_expiry_s));
        node->changed |= set_text(node, "sync_status", WEIR_STR("normal"));
        if (weir_json_get(node->row, "config_hash") == NULL)
            set_text(node, "config_hash", WEIR_STR("00000000000000000000000000000000"));
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
        node->moved |= set_text(node, "config_hash", config_hash);
        seen(node, now_ms);
    }
    pthread_mutex_unlock(&registry->lock);
}

/* A copy of a list of quarantined entities within our limits; NULL: no memory. */
static weir_json_t *copy_quarantined(const weir_json_t *list)
{
    static const char *const texts[] = { "type", "id", "name", "field", "reason" };
    weir_json_t *out = weir_json_new_array();
    int rc = out != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    size_t count = 0;
    for (const weir_json_t *item = weir_json_first(list);
         rc == WEIR_OK && item != NULL && count < QUARANTINED_MAX; item = weir_json_next(item)) {
        weir_json_t *entry = weir_json_new_object();
        rc = entry != NULL ? WEIR_OK : WEIR_NO_MEMORY;
        for (size_t i = 0; rc == WEIR_OK && i < WEIR_COUNT(texts); i++)
            rc = weir_json_set(
                entry, texts[i],
                new_text(weir_json_string(weir_json_get(item, texts[i])), TEXT_BYTES_MAX));
        if (rc == WEIR_OK)
            rc = weir_json_set(
                entry, "serving_older",
                weir_json_new_boolean(weir_json_get_boolean(item, "serving_older", false)));
        if (rc == WEIR_OK)
            rc = weir_json_append(out, entry);
        else
            weir_json_free(entry);
        count++;
    }
    if (rc == WEIR_OK)
        return out;
    weir_json_free(out);
    return NULL;
}

void weir_registry_report(weir_registry_t *registry, weir_str_t node_id, const weir_json_t *report,
                          int64_t now_ms)
{
    pthread_mutex_lock(&registry->lock);
    node_t *node = find(registry, node_id, false);
    if (node != NULL) {
        const weir_json_t *list = weir_json_get(report, "quarantined");
        double count =
            weir_json_get_number(report, "quarantined_count", (double)weir_json_count(list));
        node->changed |= set(node, "quarantined", copy_quarantined(list));
        node->changed |= set(node, "quarantined_count",
                             weir_json_new_number(count > 0 && count < 1e15 ? count : 0));
        node->changed |=
            set_text(node, "last_error", weir_json_string(weir_json_get(report, "last_error")));
        seen(node, now_ms);
    }
    pthread_mutex_unlock(&registry->lock);
}

void weir_registry_refused(weir_registry_t *registry, weir_str_t node_id, const weir_json_t *fault,
                           int64_t now_ms)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, DOCUMENT_BYTES_MAX);
    const weir_json_t *error = weir_json_get(fault, "error");
    /* Its "message" is the same for every fault: what is wrong stands in these. */
    weir_buffer_append(&text, WEIR_STR("it refuses the configuration: "));
    weir_json_print(weir_json_get(error, "fields"), &text);
    weir_buffer_byte(&text, ' ');
    weir_json_print(weir_json_get(error, "flattened_errors"), &text);
    pthread_mutex_lock(&registry->lock);
    node_t *node = find(registry, node_id, false);
    if (node != NULL) {
        node->changed |= set_text(node, "last_error", weir_buffer_str(&text));
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
        { "config_version", (double)node->version }, /* applied */
        { "newest_version", (double)l->newest },
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
    node_t *forgotten[FORGET_MAX];
    size_t forgotten_count;
    int64_t purge_delay_ms, now_ms;
} collection_t;

static bool is_due(const collection_t *c, const node_t *node)
{
    return node->changed || (node->moved && c->now_ms - node->saved_ms >= REWRITE_MS);
}

static void collect(const void *at, VISIT visit, void *context)
{
    collection_t *c = context;
    node_t *node = *(node_t *const *)at;
    if (visit != postorder && visit != leaf)
        return;
    if (node->sockets == 0 && c->now_ms - node->last_seen_ms > c->purge_delay_ms) {
        if (c->forgotten_count < FORGET_MAX)
            c->forgotten[c->forgotten_count++] = node;
        return;
    }
    if (!is_due(c, node) || c->count == c->limit)
        return;
    node->changed = node->moved = false;
    node->saved_ms = c->now_ms;
    saved_t *saved = &c->list[c->count];
    if (weir_uuid_parse(weir_str(node->id), &saved->id) != WEIR_OK)
        return; /* a row needs a UUID (sync-protocol A.2) */
    weir_buffer_init(&saved->text, DOCUMENT_BYTES_MAX);
    weir_json_print(node->row, &saved->text);
    saved->expires_ms = node->last_seen_ms + c->purge_delay_ms;
    if (saved->text.failed == WEIR_OK)
        c->count++;
    else
        weir_buffer_release(&saved->text);
}

/* Under the lock, and not during the walk. */
static void forget(weir_registry_t *registry, const collection_t *c)
{
    for (size_t i = 0; i < c->forgotten_count; i++) {
        tdelete(c->forgotten[i], &registry->nodes, by_id);
        free_node(c->forgotten[i]);
        registry->known--;
    }
}

int weir_registry_save(weir_registry_t *registry, weir_store_t *store, size_t limit, int64_t now_ms,
                       weir_error_t *err)
{
    collection_t c = {
        .limit = limit,
        .purge_delay_ms = registry->purge_delay_s * 1000,
        .now_ms = now_ms,
    };
    c.list = weir_calloc(limit, sizeof(*c.list));
    if (c.list == NULL)
        return weir_error_memory(err);
    pthread_mutex_lock(&registry->lock);
    twalk_r(registry->nodes, collect, &c);
    forget(registry, &c);
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
        node->saved_ms = node->last_seen_ms;
        if (!weir_token_parse(weir_json_get_string(node->row, "config_hash", WEIR_STR("")),
                              &node->version))
            node->version = 0;
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
