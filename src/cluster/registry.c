/* registry.c -- the data planes that a control plane knows, live. */
#include "cluster/message.h"
#include "cluster/registry_internal.h"

#include <stdio.h>

int registry_by_id(const void *a, const void *b)
{
    return strcmp(((const node_t *)a)->id, ((const node_t *)b)->id);
}

void registry_free_node(void *pointer)
{
    node_t *node = pointer;
    weir_json_free(node->row);
    weir_free(node->bad);
    weir_free(node->pushes);
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
    weir_assert(registry->waiter_count == 0);
    weir_free(registry->waiters);
    weir_trace_free(registry->trace);
    tdestroy(registry->nodes, registry_free_node);
    pthread_mutex_destroy(&registry->lock);
    weir_free(registry);
}

node_t *registry_find(weir_registry_t *registry, weir_str_t id, bool make)
{
    node_t key;
    if (id.len == 0 || id.len > ID_BYTES_MAX)
        return NULL;
    memcpy(key.id, id.data, id.len);
    key.id[id.len] = '\0';
    node_t **found = tfind(&key, &registry->nodes, registry_by_id);
    if (found != NULL || !make || registry->known >= WEIR_REGISTRY_NODES_MAX)
        return found != NULL ? *found : NULL;
    node_t *node = weir_calloc(1, sizeof(*node));
    if (node == NULL)
        return NULL;
    memcpy(node->id, key.id, sizeof(node->id));
    registry_set_hash(node, WEIR_STR("00000000000000000000000000000000"));
    node->digest_equal = -1;
    node->row = weir_json_new_object();
    if (node->row == NULL || tsearch(node, &registry->nodes, registry_by_id) == NULL) {
        registry_free_node(node);
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

void registry_set_hash(node_t *node, weir_str_t hash)
{
    snprintf(node->config_hash, sizeof(node->config_hash), "%.*s", WEIR_STR_ARG(hash));
}

/* Every message of a data plane comes by here: so nothing is put into the row. */
static void seen(node_t *node, int64_t now_ms)
{
    node->moved |= node->last_seen_ms / 1000 != now_ms / 1000;
    node->last_seen_ms = now_ms;
}

static void seen_with(node_t *node, weir_str_t hash, int64_t now_ms)
{
    node->moved |= !weir_str_is(hash, node->config_hash);
    registry_set_hash(node, hash);
    seen(node, now_ms);
}

void registry_refresh(node_t *node)
{
    int64_t seconds = node->last_seen_ms / 1000;
    set_text(node, "config_hash", weir_str(node->config_hash));
    set(node, "last_seen", weir_json_new_number((double)seconds));
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

/* Under the lock; before its row has the new address. */
static bool is_new_twin(node_t *node, weir_str_t ip)
{
    weir_str_t before = weir_json_string(weir_json_get(node->row, "ip"));
    if (node->sockets == 0 || node->twin || before.data == NULL ||
        (before.len == ip.len && memcmp(before.data, ip.data, ip.len) == 0))
        return false;
    node->twin = true;
    return true;
}

node_t *weir_registry_connected(weir_registry_t *registry, const weir_node_facts_t *facts,
                                int64_t now_ms, bool *ret_twin)
{
    *ret_twin = false;
    pthread_mutex_lock(&registry->lock);
    node_t *node = registry_find(registry, facts->node_id, true);
    if (node != NULL) {
        waiters_before(registry, node);
        *ret_twin = is_new_twin(node, facts->ip);
        if (node->sockets++ == 0) {
            registry->connected++;
            node->connected_us = now_ms * 1000;
        }
        node->changed |= set_text(node, "hostname", facts->hostname);
        node->changed |= set_text(node, "ip", facts->ip);
        node->changed |= set_text(node, "version", facts->version);
        node->changed |= set(node, "labels", copy_or_null(facts->labels));
        if (facts->capabilities != NULL)
            node->changed |= set(node, "rpc_capabilities", weir_json_copy(facts->capabilities));
        else if (weir_json_get(node->row, "rpc_capabilities") == NULL)
            node->changed |= set(node, "rpc_capabilities", weir_json_new_array());
        node->changed |=
            set(node, "cert_details", certificate_details(facts->certificate_expiry_s));
        node->changed |= set_text(node, "sync_status", WEIR_STR("normal"));
        seen(node, now_ms);
        registry_refresh(node);
        waiters_after(registry, node);
    }
    pthread_mutex_unlock(&registry->lock);
    return node;
}

void weir_registry_disconnected(weir_registry_t *registry, node_t *node, int64_t now_ms)
{
    pthread_mutex_lock(&registry->lock);
    if (node != NULL) {
        weir_assert(node->sockets > 0);
        waiters_before(registry, node);
        registry->connected -= --node->sockets == 0;
        node->twin &= node->sockets > 0;
        seen(node, now_ms);
        waiters_after(registry, node);
    }
    pthread_mutex_unlock(&registry->lock);
}

/* Whoever counts the node for its version is told once, when it changes. */
static void has_now(weir_registry_t *registry, node_t *node, uint64_t version, int64_t apply_us,
                    int64_t now_us)
{
    if (version == node->version)
        return;
    note_applied(registry, node, version, apply_us, now_us);
    waiters_move(registry, node, version);
    if (version > registry->highest)
        registry->highest = version;
}

void weir_registry_status(weir_registry_t *registry, node_t *node, weir_str_t status,
                          int64_t now_ms)
{
    pthread_mutex_lock(&registry->lock);
    if (node != NULL) {
        node->changed |= set_text(node, "sync_status", status);
        seen(node, now_ms);
    }
    pthread_mutex_unlock(&registry->lock);
}

void weir_registry_seen(weir_registry_t *registry, node_t *node, weir_str_t config_hash,
                        uint64_t version, int64_t now_ms)
{
    pthread_mutex_lock(&registry->lock);
    if (node != NULL) {
        has_now(registry, node, version, -1, now_ms * 1000);
        seen_with(node, config_hash, now_ms);
    }
    pthread_mutex_unlock(&registry->lock);
}

void weir_registry_applied(weir_registry_t *registry, node_t *node, uint64_t version,
                           int64_t apply_us, int64_t now_us)
{
    char hash[WEIR_TOKEN_LEN + 1];
    weir_token_format(version, hash);
    pthread_mutex_lock(&registry->lock);
    if (node != NULL) {
        has_now(registry, node, version, apply_us, now_us);
        seen_with(node, weir_str(hash), now_us / 1000);
    }
    pthread_mutex_unlock(&registry->lock);
}

void weir_registry_digest(weir_registry_t *registry, node_t *node, int equal)
{
    pthread_mutex_lock(&registry->lock);
    if (node != NULL)
        node->digest_equal = equal < 0 ? -1 : equal != 0;
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

/* The ids of what is listed. Without memory they are not known: nothing counts as failed. */
static void note_bad(node_t *node, const weir_json_t *list)
{
    size_t most = weir_json_first(list) != NULL ? QUARANTINED_MAX : 0;
    weir_free(node->bad);
    node->bad_count = 0;
    node->bad = most > 0 ? weir_malloc(most * sizeof(*node->bad)) : NULL;
    if (node->bad == NULL)
        return;
    for (const weir_json_t *item = weir_json_first(list); item != NULL && node->bad_count < most;
         item = weir_json_next(item))
        if (weir_uuid_parse(weir_json_string(weir_json_get(item, "id")),
                            &node->bad[node->bad_count]) == WEIR_OK)
            node->bad_count++;
}

/* Under the lock, within waiters_before() and _after(). */
static void note_error(weir_registry_t *registry, node_t *node, weir_str_t text, int64_t now_ms)
{
    node->changed |= set_text(node, "last_error", text);
    if (text.data == NULL)
        return;
    node->error = ++registry->errors;
    node->error_ms = now_ms;
}

void weir_registry_report(weir_registry_t *registry, node_t *node, const weir_json_t *report,
                          int64_t now_ms)
{
    pthread_mutex_lock(&registry->lock);
    if (node != NULL) {
        const weir_json_t *list = weir_json_get(report, "quarantined");
        double count =
            weir_json_get_number(report, "quarantined_count", (double)weir_json_count(list));
        node->changed |= set(node, "quarantined", copy_quarantined(list));
        node->changed |= set(node, "quarantined_count",
                             weir_json_new_number(count > 0 && count < 1e15 ? count : 0));
        waiters_before(registry, node);
        note_bad(node, list);
        note_error(registry, node, weir_json_string(weir_json_get(report, "last_error")), now_ms);
        waiters_after(registry, node);
        seen(node, now_ms);
    }
    pthread_mutex_unlock(&registry->lock);
}

void weir_registry_refused(weir_registry_t *registry, node_t *node, const weir_json_t *fault,
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
    if (node != NULL) {
        waiters_before(registry, node);
        note_error(registry, node, weir_buffer_str(&text), now_ms);
        waiters_after(registry, node);
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
