/* ngx_http_weir_routed.c -- what a worker remembers of the image: routes with their
 * service and plan, and which request lines they serve.
 *
 * One table, in sets of a few slots, holds both: a route is remembered by its id, a
 * request line by its bytes. Each knows the moment of the image that it was true at last
 * (weir_reader_moment()). With the first use after another moment the reader is asked
 * whether a change since then can concern it; what no longer stands is looked up anew and
 * takes its own place again. So a change costs nothing here but for what it concerns, and
 * the table never holds more than router_cache_size items. */
#include "proxy/ngx_http_weir_proxy.h"

enum {
    WAYS = 3,         /* slots of a set: as many as one cache line holds */
    POOL_BYTES = 768, /* of a route with a service and a few plugins */
    LINE_BYTES = 64,  /* of the processor's cache */
    LINES_AHEAD = 10, /* of a route, that every request reads */
};

typedef struct item_s {
    uint64_t moment; /* when the line was matched, or found to stand; of a route: its own */
    size_t path_matched;
    size_t len;
    u_char key[];
} item_t;

/* With many routes in use it is memory that costs time here: a set is one line of the
 * processor's cache, and only the slot that has the hash is followed. */
typedef struct set_s {
    uint32_t hashes[WAYS];
    item_t *items[WAYS];                  /* NULL: free */
    ngx_http_weir_routed_t *routes[WAYS]; /* counted */
} __attribute__((aligned(LINE_BYTES))) set_t;

_Static_assert(sizeof(set_t) == LINE_BYTES, "a set is one line");

/* Of this worker. */
static struct {
    set_t *sets; /* NULL: nothing is remembered */
    uint32_t count;
    uint32_t next; /* which slot of a full set gives way */
} table;

ngx_int_t ngx_http_weir_routed_init_process(ngx_cycle_t *cycle)
{
    ngx_http_weir_proxy_main_conf_t *main =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_weir_proxy_module);
    if (main == NULL || main->node == NULL)
        return NGX_OK;
    table.count = (uint32_t)weir_setting_integer(main->node->settings, "router_cache_size") / WAYS;
    if (table.count == 0)
        return NGX_OK;
    table.sets = ngx_pmemalign(cycle->pool, table.count * sizeof(*table.sets), LINE_BYTES);
    if (table.sets == NULL)
        return NGX_ERROR;
    ngx_memzero(table.sets, table.count * sizeof(*table.sets));
    return NGX_OK;
}

/* -- routes, counted ------------------------------------------------------------------- */

void ngx_http_weir_route_release(ngx_http_weir_routed_t *routed)
{
    if (routed != NULL && --routed->references == 0)
        ngx_destroy_pool(routed->pool);
}

/* -- the table --------------------------------------------------------------------------- */

typedef struct found_s {
    item_t *item; /* NULL: nothing */
    ngx_http_weir_routed_t *routed;
} found_t;

/* Whether it stands or not. */
static found_t find(const u_char *key, size_t len, uint32_t hash)
{
    found_t found = { NULL, NULL };
    if (table.sets == NULL)
        return found;
    const set_t *set = &table.sets[hash % table.count];
    for (size_t slot = 0; slot < WAYS; slot++) {
        item_t *item = set->items[slot];
        ngx_http_weir_routed_t *routed = set->routes[slot];
        if (set->hashes[slot] != hash || routed == NULL)
            continue;
        /* All that a request reads of a route comes at once, not bit by bit. */
        for (size_t i = 0; i < LINES_AHEAD; i++)
            __builtin_prefetch((const u_char *)routed + i * LINE_BYTES);
        if (item->len == len && ngx_memcmp(item->key, key, len) == 0)
            return (found_t){ item, routed };
    }
    return found;
}

/* Where something goes: to its own place, to a free one, or in turn. */
static size_t choose_slot(const set_t *set, const item_t *item, uint32_t hash)
{
    size_t chosen = WAYS;
    for (size_t i = 0; i < WAYS; i++) {
        const item_t *there = set->items[i];
        if (there == NULL)
            chosen = i;
        else if (set->hashes[i] == hash && there->len == item->len &&
                 ngx_memcmp(there->key, item->key, item->len) == 0)
            return i;
    }
    return chosen < WAYS ? chosen : table.next++ % WAYS;
}

/* Without memory it is not remembered. */
static void keep(const u_char *key, size_t len, uint32_t hash, ngx_http_weir_routed_t *routed,
                 uint64_t moment, size_t path_matched)
{
    item_t *item = table.sets != NULL ? ngx_alloc(sizeof(*item) + len, ngx_cycle->log) : NULL;
    if (item == NULL)
        return;
    item->moment = moment;
    item->path_matched = path_matched;
    item->len = len;
    ngx_memcpy(item->key, key, len);

    set_t *set = &table.sets[hash % table.count];
    size_t slot = choose_slot(set, item, hash);
    routed->references++; /* before the other's end: it may be the same */
    ngx_free(set->items[slot]);
    ngx_http_weir_route_release(set->routes[slot]);
    set->items[slot] = item;
    set->routes[slot] = routed;
    set->hashes[slot] = hash;
}

/* -- request lines ---------------------------------------------------------------------- */

void ngx_http_weir_line(const weir_match_request_t *request, ngx_http_weir_line_t *ret)
{
    const weir_str_t parts[] = { request->method, request->host, request->sni, request->path };
    size_t len = 4;
    ret->len = 0;
    for (size_t i = 0; i < WEIR_COUNT(parts); i++)
        len += parts[i].len + 1;
    if (table.sets == NULL || len > sizeof(ret->bytes))
        return;
    u_char *at = ret->bytes;
    *at++ = 'l'; /* a line, and not the id of a route */
    *at++ = (u_char)(request->https | request->has_host << 1 | (request->sni.data != NULL) << 2);
    *at++ = (u_char)(request->listener_port & 0xff);
    *at++ = (u_char)(request->listener_port >> 8);
    for (size_t i = 0; i < WEIR_COUNT(parts); i++) {
        if (parts[i].len > 0)
            at = ngx_cpymem(at, parts[i].data, parts[i].len);
        *at++ = '\0'; /* none of them contains one */
    }
    ret->len = len;
    ret->hash = ngx_murmur_hash2(ret->bytes, len);
    __builtin_prefetch(&table.sets[ret->hash % table.count]);
}

static bool route_stands(const weir_reader_t *reader, ngx_http_weir_routed_t *routed,
                         uint64_t moment)
{
    const weir_uuid_t *service = routed->has_service ? &routed->route.service : NULL;
    if (routed->moment == moment)
        return true;
    if (!weir_reader_route_stands(reader, &routed->route.id, service, routed->moment) ||
        !weir_reader_host_stands(reader, ngx_http_weir_str(routed->service.host), routed->moment))
        return false;
    routed->moment = moment;
    return true;
}

static bool line_stands(const weir_reader_t *reader, const weir_match_request_t *request,
                        item_t *item, uint64_t moment)
{
    if (item->moment == moment)
        return true;
    if (!weir_reader_match_stands(reader, request, item->moment))
        return false;
    item->moment = moment;
    return true;
}

ngx_http_weir_routed_t *ngx_http_weir_recall(const ngx_http_weir_line_t *line,
                                             const weir_reader_t *reader,
                                             const weir_match_request_t *request, uint64_t moment,
                                             size_t *ret_path_matched)
{
    if (line->len == 0)
        return NULL;
    found_t found = find(line->bytes, line->len, line->hash);
    if (found.item == NULL || !line_stands(reader, request, found.item, moment) ||
        !route_stands(reader, found.routed, moment))
        return NULL;
    found.routed->references++;
    *ret_path_matched = found.item->path_matched;
    return found.routed;
}

void ngx_http_weir_remember(const ngx_http_weir_line_t *line, ngx_http_weir_routed_t *routed,
                            uint64_t moment, size_t path_matched)
{
    if (line->len > 0)
        keep(line->bytes, line->len, line->hash, routed, moment, path_matched);
}

/* -- from the image ---------------------------------------------------------------------- */

static bool copy_service(ngx_pool_t *pool, const weir_service_t *from, ngx_http_weir_service_t *to)
{
    to->id = from->id;
    to->protocol = from->protocol;
    to->port = (in_port_t)from->port;
    to->retries = (ngx_uint_t)from->retries;
    to->connect_timeout = from->connect_timeout_ms;
    to->write_timeout = from->write_timeout_ms;
    to->read_timeout = from->read_timeout_ms;
    to->tls_verify = from->tls_verify;
    to->tls_verify_depth = from->tls_verify_depth;
    to->client_certificate = from->client_certificate;
    to->host = ngx_http_weir_copy(pool, from->host);
    to->path = ngx_http_weir_copy(pool, from->path);
    if (to->host.data == NULL || (from->path.data != NULL && to->path.data == NULL))
        return false;
    to->ca_certificate_count = from->ca_certificate_count;
    if (from->ca_certificate_count > 0) {
        size_t bytes = from->ca_certificate_count * sizeof(weir_uuid_t);
        to->ca_certificates = ngx_pnalloc(pool, bytes);
        if (to->ca_certificates == NULL)
            return false;
        ngx_memcpy(to->ca_certificates, from->ca_certificates, bytes);
    }
    return true;
}

static int fill_service(ngx_http_weir_proxy_main_conf_t *main, weir_reader_t *reader,
                        const weir_service_t *service, ngx_http_weir_routed_t *ret,
                        weir_error_t *err)
{
    ngx_http_weir_service_t *own = &ret->service;
    if (!copy_service(ret->pool, service, own))
        return weir_error_memory(err);
    int rc = weir_reader_upstream_named(reader, service->host, &ret->upstream, err);
    ret->has_upstream = rc == WEIR_OK;
    if (rc != WEIR_NOT_FOUND)
        return rc;
    ret->host = ngx_http_weir_host_text(ret->pool, own->host, own->port,
                                        own->protocol == WEIR_PROTOCOL_HTTPS);
    bool failed = ret->host.data == NULL ||
                  ngx_http_weir_known_address(ret->pool, main->hosts, service->host, own->port,
                                              &ret->address) == NGX_ERROR;
    return failed ? weir_error_memory(err) : WEIR_OK;
}

/* Only debugging shows them, so they come after all that requests read. */
static int fill_names(weir_str_t route, weir_str_t service, ngx_http_weir_routed_t *ret,
                      weir_error_t *err)
{
    ret->route.name = ngx_http_weir_str(ngx_http_weir_copy(ret->pool, route));
    ret->service.name = ngx_http_weir_copy(ret->pool, service);
    bool failed = (route.data != NULL && ret->route.name.data == NULL) ||
                  (service.data != NULL && ret->service.name.data == NULL);
    return failed ? weir_error_memory(err) : WEIR_OK;
}

static int fill(ngx_http_weir_proxy_main_conf_t *main, weir_reader_t *reader,
                const weir_route_t *route, ngx_http_weir_routed_t *ret, weir_error_t *err)
{
    weir_service_t service = { .name = { NULL, 0 } };
    int rc = WEIR_OK;
    ret->route = *route;
    ret->has_service = !weir_uuid_is_zero(&route->service);
    if (ret->has_service) {
        rc = weir_reader_service(reader, &route->service, &service, err);
        if (rc == WEIR_OK)
            rc = fill_service(main, reader, &service, ret, err);
    }
    if (rc == WEIR_OK)
        rc = ngx_http_weir_copy_plan(reader, ret->pool, &ret->route.id,
                                     ret->has_service ? &ret->route.service : NULL, NULL,
                                     &ret->plan, &ret->plan_count, err);
    return rc == WEIR_OK ? fill_names(route->name, service.name, ret, err) : rc;
}

static int copy_route(ngx_http_weir_proxy_main_conf_t *main, weir_reader_t *reader,
                      const weir_route_t *route, uint64_t moment, ngx_http_weir_routed_t **ret,
                      weir_error_t *err)
{
    ngx_pool_t *pool = ngx_create_pool(POOL_BYTES, ngx_cycle->log);
    ngx_http_weir_routed_t *routed = pool != NULL ? ngx_pcalloc(pool, sizeof(*routed)) : NULL;
    if (routed == NULL) {
        if (pool != NULL)
            ngx_destroy_pool(pool);
        return weir_error_memory(err);
    }
    routed->pool = pool;
    routed->references = 1;
    routed->moment = moment;
    int rc = fill(main, reader, route, routed, err);
    if (rc == WEIR_OK)
        *ret = routed;
    else
        ngx_http_weir_route_release(routed);
    return rc;
}

int ngx_http_weir_route(ngx_http_weir_proxy_main_conf_t *main, weir_reader_t *reader,
                        const weir_route_t *route, uint64_t moment, ngx_http_weir_routed_t **ret,
                        weir_error_t *err)
{
    u_char key[1 + WEIR_UUID_BYTES];
    key[0] = 'r';
    ngx_memcpy(key + 1, route->id.bytes, WEIR_UUID_BYTES);
    uint32_t hash = ngx_murmur_hash2(key, sizeof(key));
    ngx_http_weir_routed_t *known = find(key, sizeof(key), hash).routed;
    if (known != NULL && route_stands(reader, known, moment)) {
        known->references++;
        *ret = known;
        return WEIR_OK;
    }
    int rc = copy_route(main, reader, route, moment, ret, err);
    if (rc != WEIR_OK)
        return rc;
    weir_assert(*ret != NULL);
    keep(key, sizeof(key), hash, *ret, moment, 0);
    return WEIR_OK;
}
