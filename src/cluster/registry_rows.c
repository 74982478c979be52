/* registry_rows.c -- the registry as rows: for /clustering/data-planes, and in the
 * store, so that it outlives a restart. */
#include "cluster/message.h"
#include "cluster/registry_internal.h"

enum {
    REWRITE_MS = 60000, /* a row that only shows signs of life is written so often */
    FORGET_MAX = 64,    /* nodes forgotten at once */
};

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
    node_t *node = *(node_t *const *)at;
    int64_t ttl = ttl_left(l, node);
    if (ttl <= 0)
        return;
    registry_refresh(node);
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
    weir_json_t *equal = node->digest_equal < 0 ? weir_json_new_null()
                                                : weir_json_new_boolean(node->digest_equal == 1);
    if (fine)
        fine = weir_json_set(row, "digest_equal", equal) == WEIR_OK;
    else
        weir_json_free(equal);
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
    registry_refresh(node);
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
        tdelete(c->forgotten[i], &registry->nodes, registry_by_id);
        registry_free_node(c->forgotten[i]);
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
    node_t *node = registry_find(registry, weir_str(id), true);
    if (node != NULL && node->sockets == 0 && weir_json_kind(members) == WEIR_JSON_OBJECT) {
        weir_json_free(node->row);
        node->row = members;
        members = NULL;
        node->last_seen_ms = (int64_t)weir_json_get_number(node->row, "last_seen", 0) * 1000;
        node->saved_ms = node->last_seen_ms;
        registry_set_hash(node, weir_json_get_string(node->row, "config_hash", WEIR_STR("")));
        if (!weir_token_parse(weir_str(node->config_hash), &node->version))
            node->version = 0;
        if (node->version > registry->highest)
            registry->highest = node->version;
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
