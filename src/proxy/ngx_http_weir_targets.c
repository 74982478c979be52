/* ngx_http_weir_targets.c -- upstreams and their targets, as a worker remembers them.
 *
 * An upstream is read when the first request wants it, and again after it or one of its
 * targets has changed; with each new moment of the image it is asked whether it stands. What is
 * remembered has as many bytes as upstream_cache_size says, least recently used ones go.
 *
 * Names are asked for by the first request, which waits, and then when their time is over, while
 * what is known serves on. All addresses of a name have the whole weight (routing 9.5). */
#include "proxy/ngx_http_weir_balance.h"

enum {
    BUCKETS = 4096, /* a power of two */
    POOL_BYTES = 1024,
    TARGETS_MAX = 10000, /* of one upstream; more are not served */
    RETRY_S = 30,        /* after a name server has failed */
};

/* Of this worker. */
static struct {
    ngx_http_weir_proxy_main_conf_t *main;
    ngx_queue_t buckets[BUCKETS];
    ngx_queue_t used;
    size_t bytes, bytes_max;
} known;

ngx_int_t ngx_http_weir_targets_init_process(ngx_cycle_t *cycle)
{
    ngx_queue_init(&known.used);
    for (size_t i = 0; i < BUCKETS; i++) {
        ngx_queue_init(&known.buckets[i]);
    }
    known.main = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_weir_proxy_module);
    if (known.main != NULL && known.main->node != NULL)
        known.bytes_max =
            (size_t)weir_setting_integer(known.main->node->settings, "upstream_cache_size");
    return NGX_OK;
}

weir_health_t *ngx_http_weir_health(const ngx_http_weir_proxy_main_conf_t *main)
{
    return main->health != NULL ? main->health->data : NULL;
}

/* -- references ------------------------------------------------------------------------------- */

void ngx_http_weir_places_release(ngx_http_weir_places_t *places)
{
    if (places == NULL || --places->references > 0)
        return;
    weir_balancer_free(places->balancer);
    ngx_destroy_pool(places->pool);
}

static void forget_addresses(ngx_http_weir_target_t *target)
{
    if (target->pool != NULL)
        ngx_destroy_pool(target->pool);
    target->pool = NULL;
    target->addresses = NULL;
    target->address_count = 0;
}

void ngx_http_weir_balance_release(ngx_http_weir_balance_t *balance)
{
    if (--balance->references > 0)
        return;
    weir_assert(ngx_queue_empty(&balance->waiting)); /* who waits has a reference */
    for (ngx_uint_t i = 0; i < balance->target_count; i++) {
        ngx_http_weir_target_t *target = &balance->targets[i];
        if (target->lookup == NULL)
            continue;
        ngx_http_weir_lookup_cancel(target->lookup);
        forget_addresses(target);
    }
    ngx_http_weir_places_release(balance->places);
    ngx_destroy_pool(balance->pool);
}

static void forget(ngx_http_weir_balance_t *balance)
{
    weir_assert(balance->queue.next != NULL && balance->chain.next != NULL); /* in both lists */
    ngx_queue_remove(&balance->queue);
    ngx_queue_remove(&balance->chain);
    known.bytes -= balance->bytes;
    ngx_http_weir_balance_release(balance);
}

/* -- places --------------------------------------------------------------------------------------
 */

/* A checker exists only if there is something that can take a target out (routing 10). */
static bool is_checked(const weir_upstream_t *upstream)
{
    const weir_health_limits_t *passive = &upstream->passive;
    return upstream->probes.healthy_interval_ms > 0 || upstream->probes.unhealthy_interval_ms > 0 ||
           passive->http_failures > 0 || passive->tcp_failures > 0 || passive->timeouts > 0;
}

static void find_health(const weir_upstream_t *upstream, ngx_http_weir_place_t *place)
{
    weir_health_t *health = ngx_http_weir_health(known.main);
    if (health == NULL || !is_checked(upstream) || place->target->weight == 0)
        return;
    uint64_t id = weir_health_id(upstream->name, ngx_http_weir_str(place->target->host),
                                 ngx_http_weir_str(place->address.name));
    ngx_slab_pool_t *pool = (ngx_slab_pool_t *)known.main->health->shm.addr;
    ngx_shmtx_lock(&pool->mutex);
    place->health = weir_health_find(health, id, (uint32_t)ngx_time());
    ngx_shmtx_unlock(&pool->mutex);
}

/* The address as text without its port. */
static weir_str_t without_port(const ngx_http_weir_address_t *address)
{
    weir_str_t text = ngx_http_weir_str(address->name);
    while (text.len > 0 && text.data[text.len - 1] != ':')
        text.len--;
    text.len -= text.len > 0;
    return text;
}

static ngx_uint_t list_places(const ngx_http_weir_balance_t *balance, ngx_http_weir_place_t *list,
                              weir_peer_t *peers, ngx_pool_t *pool)
{
    ngx_uint_t count = 0;
    for (ngx_uint_t i = 0; i < balance->target_count; i++) {
        const ngx_http_weir_target_t *target = &balance->targets[i];
        for (ngx_uint_t k = 0; k < target->address_count && count < WEIR_PEERS_MAX; k++) {
            ngx_http_weir_place_t *place = &list[count];
            place->target = target;
            place->address = target->addresses[k];
            place->address.name =
                ngx_http_weir_copy(pool, ngx_http_weir_str(target->addresses[k].name));
            if (place->address.name.data == NULL)
                return count;
            find_health(&balance->upstream, place);
            peers[count++] = (weir_peer_t){ .host = ngx_http_weir_str(target->host),
                                            .address = without_port(&place->address),
                                            .port = target->port,
                                            .weight = target->weight,
                                            .health = place->health };
        }
    }
    return count;
}

static int fill_places(const ngx_http_weir_balance_t *balance, ngx_uint_t count,
                       ngx_http_weir_places_t *places)
{
    bool checked = is_checked(&balance->upstream);
    weir_peer_t *peers = ngx_alloc((count + 1) * sizeof(*peers), ngx_cycle->log);
    places->list = ngx_pcalloc(places->pool, (count + 1) * sizeof(*places->list));
    if (peers == NULL || places->list == NULL) {
        ngx_free(peers);
        return WEIR_NO_MEMORY;
    }
    places->count = list_places(balance, places->list, peers, places->pool);
    weir_balancer_options_t options = { .algorithm = balance->upstream.algorithm,
                                        .slots = balance->upstream.slots,
                                        .threshold_centi = balance->upstream.threshold_centi,
                                        .health = checked ? ngx_http_weir_health(known.main) : NULL,
                                        .peers = peers,
                                        .count = places->count,
                                        .targets = balance->target_count,
                                        .seed =
                                            (uint64_t)ngx_random() << 31 ^ (uint64_t)ngx_random() };
    int rc = weir_balancer_new(&options, &places->balancer);
    ngx_free(peers);
    return rc;
}

/* Out of memory what there was serves on. */
static bool make_places(ngx_http_weir_balance_t *balance)
{
    ngx_uint_t count = 0;
    for (ngx_uint_t i = 0; i < balance->target_count; i++)
        count += balance->targets[i].address_count;
    count = ngx_min(count, WEIR_PEERS_MAX);
    ngx_pool_t *pool = ngx_create_pool(POOL_BYTES, ngx_cycle->log);
    ngx_http_weir_places_t *places = pool != NULL ? ngx_pcalloc(pool, sizeof(*places)) : NULL;
    if (places == NULL) {
        if (pool != NULL)
            ngx_destroy_pool(pool);
        return false;
    }
    places->pool = pool;
    places->references = 1;
    if (fill_places(balance, count, places) != WEIR_OK) {
        ngx_http_weir_places_release(places);
        return false;
    }
    ngx_http_weir_places_release(balance->places);
    balance->places = places;
    return true;
}

/* If there are none, or an address has changed. */
static void renew_places(ngx_http_weir_balance_t *balance)
{
    if ((balance->changed || balance->places == NULL) && make_places(balance))
        balance->changed = 0;
}

/* -- names ---------------------------------------------------------------------------------------
 */

static void wake(ngx_http_weir_balance_t *balance)
{
    balance->references++; /* the last of those that wait may be the last that knows it */
    while (!ngx_queue_empty(&balance->waiting)) {
        ngx_queue_t *q = ngx_queue_head(&balance->waiting);
        ngx_http_weir_choice_t *choice = ngx_queue_data(q, ngx_http_weir_choice_t, queue);
        ngx_http_request_t *r = choice->ctx->r;
        ngx_connection_t *c = r->connection;
        weir_assert(q->next != NULL);
        ngx_queue_remove(q);
        choice->waiting = 0;
        ngx_http_set_log_request(c->log, r);
        ngx_http_core_run_phases(r);
        ngx_http_run_posted_requests(c);
    }
    ngx_http_weir_balance_release(balance);
}

static int compare_addresses(const void *a, const void *b)
{
    const ngx_http_weir_address_t *x = a;
    const ngx_http_weir_address_t *y = b;
    size_t least = ngx_min(x->name.len, y->name.len);
    int order = ngx_memcmp(x->name.data, y->name.data, least);
    return order != 0 ? order : (x->name.len > y->name.len) - (x->name.len < y->name.len);
}

/* Whether they are others than before; name servers may turn their order. */
static bool take_addresses(ngx_http_weir_target_t *target, const ngx_http_weir_lookup_t *lookup)
{
    ngx_uint_t count = lookup->address_count;
    ngx_pool_t *pool = ngx_create_pool(POOL_BYTES, ngx_cycle->log);
    ngx_http_weir_address_t *list =
        pool != NULL ? ngx_pcalloc(pool, (count + 1) * sizeof(*list)) : NULL;
    bool fine = list != NULL;
    for (ngx_uint_t i = 0; fine && i < count; i++)
        fine = ngx_http_weir_set_address(pool, lookup->addresses[i].sockaddr,
                                         lookup->addresses[i].socklen, target->port,
                                         &list[i]) == NGX_OK;
    bool same = fine && count == target->address_count;
    if (fine)
        ngx_qsort(list, count, sizeof(*list), compare_addresses);
    for (ngx_uint_t i = 0; same && i < count; i++)
        same = compare_addresses(&list[i], &target->addresses[i]) == 0;
    if (!fine || same) {
        if (pool != NULL)
            ngx_destroy_pool(pool);
        return false;
    }
    forget_addresses(target);
    target->pool = pool;
    target->addresses = list;
    target->address_count = count;
    return true;
}

static void name_answered(ngx_http_weir_lookup_t *lookup)
{
    ngx_http_weir_target_t *target = lookup->data;
    ngx_http_weir_balance_t *balance = target->balance;
    bool first = target->until == 0;
    bool changed = false;
    target->asking = 0;
    target->until = ngx_time() + RETRY_S;
    if (lookup->state == NGX_OK) {
        changed = take_addresses(target, lookup);
        target->until = ngx_max(lookup->until, ngx_time() + 1);
    } else if (lookup->state == NGX_RESOLVE_NXDOMAIN && target->address_count > 0) {
        forget_addresses(target); /* with any other failure what is known serves on */
        changed = true;
    }
    if (balance->refresh_at == 0 || target->until < balance->refresh_at)
        balance->refresh_at = target->until;
    if (first)
        balance->unanswered--;
    balance->changed |= changed;
    if (balance->unanswered > 0 || balance->looking)
        return;
    renew_places(balance);
    wake(balance);
}

static void ask(ngx_http_weir_balance_t *balance)
{
    time_t now = ngx_time();
    balance->refresh_at = 0;
    balance->looking = 1;
    for (ngx_uint_t i = 0; i < balance->target_count; i++) {
        ngx_http_weir_target_t *target = &balance->targets[i];
        if (target->lookup == NULL || target->asking)
            continue;
        if (target->until > now) {
            if (balance->refresh_at == 0 || target->until < balance->refresh_at)
                balance->refresh_at = target->until;
            continue;
        }
        target->asking = 1;
        ngx_http_weir_lookup(target->lookup);
    }
    balance->looking = 0;
    if (balance->unanswered == 0)
        renew_places(balance);
}

bool ngx_http_weir_balance_resolve(ngx_http_weir_balance_t *balance)
{
    if (balance->refresh_at != 0 && balance->refresh_at <= ngx_time())
        ask(balance);
    if (balance->unanswered > 0)
        return false;
    if (balance->places == NULL)
        renew_places(balance); /* there was no memory for it */
    return true;
}

/* -- from the image ------------------------------------------------------------------------------
 */

typedef struct reading_s {
    ngx_http_weir_balance_t *balance;
    ngx_uint_t capacity;
    bool failed;
} reading_t;

static weir_str_t kept(ngx_pool_t *pool, weir_str_t text, bool *failed)
{
    ngx_str_t copy = ngx_http_weir_copy(pool, text);
    *failed = *failed || (text.data != NULL && copy.data == NULL);
    return ngx_http_weir_str(copy);
}

static void keep_bytes(ngx_pool_t *pool, const void **bytes, size_t len, bool *failed)
{
    void *copy = ngx_pnalloc(pool, len + 1);
    *failed = *failed || copy == NULL;
    if (copy != NULL && len > 0)
        ngx_memcpy(copy, *bytes, len);
    *bytes = copy;
}

static void keep_limits(ngx_pool_t *pool, weir_health_limits_t *limits, bool *failed)
{
    keep_bytes(pool, (const void **)&limits->healthy.bytes, 2 * limits->healthy.count, failed);
    keep_bytes(pool, (const void **)&limits->unhealthy.bytes, 2 * limits->unhealthy.count, failed);
}

/* What it points to lies in the image: a copy of that. */
static bool keep_upstream(ngx_pool_t *pool, weir_upstream_t *upstream)
{
    bool failed = false;
    upstream->name = kept(pool, upstream->name, &failed);
    upstream->host_header = kept(pool, upstream->host_header, &failed);
    upstream->cookie_path = kept(pool, upstream->cookie_path, &failed);
    upstream->hash_on.name = kept(pool, upstream->hash_on.name, &failed);
    upstream->hash_fallback.name = kept(pool, upstream->hash_fallback.name, &failed);
    upstream->probes.path = kept(pool, upstream->probes.path, &failed);
    upstream->probes.sni = kept(pool, upstream->probes.sni, &failed);
    keep_bytes(pool, &upstream->probes.headers, upstream->probes.headers_bytes, &failed);
    keep_limits(pool, &upstream->passive, &failed);
    keep_limits(pool, &upstream->active, &failed);
    return !failed;
}

static bool make_room(reading_t *reading)
{
    ngx_http_weir_balance_t *balance = reading->balance;
    if (balance->target_count < reading->capacity)
        return true;
    ngx_uint_t capacity = reading->capacity > 0 ? 2 * reading->capacity : 8;
    ngx_http_weir_target_t *targets = ngx_pcalloc(balance->pool, capacity * sizeof(*targets));
    if (targets == NULL)
        return false;
    if (balance->target_count > 0)
        ngx_memcpy(targets, balance->targets, balance->target_count * sizeof(*targets));
    balance->targets = targets;
    reading->capacity = capacity;
    return true;
}

static int read_target(void *context, const weir_target_t *from, weir_error_t *err)
{
    reading_t *reading = context;
    ngx_http_weir_balance_t *balance = reading->balance;
    if (balance->target_count == TARGETS_MAX) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "weir: upstream \"%*s\" has more than %d targets: the rest is not served",
                      balance->upstream.name.len, balance->upstream.name.data, TARGETS_MAX);
        return WEIR_AGAIN;
    }
    if (!make_room(reading))
        return weir_error_memory(err);
    ngx_http_weir_target_t *target = &balance->targets[balance->target_count];
    target->host = ngx_http_weir_copy(balance->pool, from->host);
    target->port = from->port;
    target->weight = from->weight;
    if (target->host.data == NULL)
        return weir_error_memory(err);
    balance->target_count++;
    return WEIR_OK;
}

/* Once they have their places: addresses that are known, questions for the others. */
static bool prepare_targets(ngx_http_weir_balance_t *balance)
{
    ngx_http_weir_proxy_main_conf_t *main = known.main;
    for (ngx_uint_t i = 0; i < balance->target_count; i++) {
        ngx_http_weir_target_t *target = &balance->targets[i];
        target->balance = balance;
        ngx_int_t rc =
            ngx_http_weir_known_address(balance->pool, main->hosts, ngx_http_weir_str(target->host),
                                        target->port, &target->addresses);
        if (rc == NGX_ERROR)
            return false;
        if (rc == NGX_OK) {
            target->address_count = 1;
            continue;
        }
        target->lookup = ngx_pcalloc(balance->pool, sizeof(*target->lookup));
        if (target->lookup == NULL)
            return false;
        target->lookup->host = ngx_http_weir_str(target->host);
        target->lookup->core = main->locations[KIND_BUFFERED][ngx_http_core_module.ctx_index];
        target->lookup->log = ngx_cycle->log;
        target->lookup->done = name_answered;
        target->lookup->data = target;
        balance->unanswered++;
        balance->refresh_at = 1; /* at once */
    }
    return balance->unanswered > 0 || make_places(balance);
}

/* Inside the reader. */
static int fill(weir_reader_t *reader, const weir_uuid_t *id, ngx_http_weir_balance_t *balance,
                weir_error_t *err)
{
    reading_t reading = { .balance = balance };
    int rc = weir_reader_moment(reader, &balance->moment, err);
    if (rc == WEIR_OK)
        rc = weir_reader_upstream(reader, id, &balance->upstream, err);
    if (rc == WEIR_OK && !keep_upstream(balance->pool, &balance->upstream))
        rc = weir_error_memory(err);
    if (rc == WEIR_OK)
        rc = weir_reader_targets(reader, id, read_target, &reading, err);
    return rc == WEIR_AGAIN ? WEIR_OK : rc;
}

static ngx_http_weir_balance_t *read_upstream(weir_reader_t *reader, const weir_uuid_t *id)
{
    weir_error_t err = { .reason = "it is gone" };
    ngx_pool_t *pool = ngx_create_pool(POOL_BYTES, ngx_cycle->log);
    ngx_http_weir_balance_t *balance = pool != NULL ? ngx_pcalloc(pool, sizeof(*balance)) : NULL;
    if (balance == NULL) {
        if (pool != NULL)
            ngx_destroy_pool(pool);
        return NULL;
    }
    balance->pool = pool;
    balance->references = 1;
    ngx_queue_init(&balance->waiting);
    int rc = weir_reader_enter(reader, &err);
    if (rc == WEIR_OK) {
        rc = fill(reader, id, balance, &err);
        weir_reader_leave(reader);
    }
    if (rc == WEIR_OK && !prepare_targets(balance))
        rc = weir_error_memory(&err);
    if (rc == WEIR_OK)
        return balance;
    ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0, "weir: an upstream cannot be read: %s",
                  err.reason);
    ngx_http_weir_balance_release(balance);
    return NULL;
}

static size_t size_of(const ngx_http_weir_balance_t *balance)
{
    enum { TARGET_BYTES = 700 }; /* with its text, its place and its peer */
    size_t ring = balance->upstream.algorithm == WEIR_CONSISTENT_HASHING
                      ? 2 * (size_t)balance->upstream.slots
                      : 0;
    return sizeof(*balance) + POOL_BYTES + ring + balance->target_count * TARGET_BYTES;
}

/* -- what is remembered --------------------------------------------------------------------------
 */

static ngx_queue_t *bucket_of(const weir_uuid_t *id)
{
    uint32_t hash = ngx_murmur_hash2((u_char *)(uintptr_t)id->bytes, sizeof(id->bytes));
    return &known.buckets[hash % BUCKETS];
}

static ngx_http_weir_balance_t *recall(const weir_uuid_t *id)
{
    ngx_queue_t *bucket = bucket_of(id);
    for (ngx_queue_t *q = ngx_queue_head(bucket); q != ngx_queue_sentinel(bucket);
         q = ngx_queue_next(q)) {
        ngx_http_weir_balance_t *balance = ngx_queue_data(q, ngx_http_weir_balance_t, chain);
        if (weir_uuid_equal(&balance->upstream.id, id))
            return balance;
    }
    return NULL;
}

static void remember(ngx_http_weir_balance_t *balance)
{
    balance->bytes = size_of(balance);
    balance->references++;
    known.bytes += balance->bytes;
    ngx_queue_insert_head(&known.used, &balance->queue);
    ngx_queue_insert_head(bucket_of(&balance->upstream.id), &balance->chain);
    while (known.bytes > known.bytes_max && ngx_queue_last(&known.used) != &balance->queue)
        forget(ngx_queue_data(ngx_queue_last(&known.used), ngx_http_weir_balance_t, queue));
}

static bool stands(weir_reader_t *reader, ngx_http_weir_balance_t *balance)
{
    uint64_t moment = 0;
    if (weir_reader_moment(reader, &moment, NULL) != WEIR_OK)
        return true; /* what is known serves on */
    if (balance->moment != moment &&
        !weir_reader_upstream_stands(reader, &balance->upstream.id, balance->moment))
        return false;
    balance->moment = moment;
    return true;
}

ngx_http_weir_balance_t *ngx_http_weir_balance_find(ngx_http_weir_proxy_main_conf_t *main,
                                                    const weir_uuid_t *id)
{
    weir_reader_t *reader = ngx_http_weir_reader(main->node, ngx_cycle->log);
    ngx_http_weir_balance_t *balance = recall(id);
    if (reader == NULL)
        return NULL;
    if (balance != NULL && stands(reader, balance)) {
        ngx_queue_remove(&balance->queue);
        ngx_queue_insert_head(&known.used, &balance->queue);
        balance->references++;
        return balance;
    }
    if (balance != NULL)
        forget(balance);
    balance = read_upstream(reader, id);
    if (balance != NULL)
        remember(balance);
    return balance;
}
