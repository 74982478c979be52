/* ngx_http_weir_routed.c -- what a worker remembers of the image: routes with their
 * service and plan, and which request lines they serve.
 *
 * One table, in sets of a few slots, holds both: a route is remembered by its id, a
 * request line by its bytes. Everything in it is true for one routing number of the
 * image (weir_reader_routing()); what is of another is found no more and gives way to
 * the next that comes to its set. So a change costs nothing here, and the table never
 * holds more than router_cache_size items. */
#include "proxy/ngx_http_weir_proxy.h"

enum {
    WAYS = 3,         /* slots of a set: as many as one cache line holds */
    POOL_BYTES = 768, /* of a route with a service and a few plugins */
    LINE_BYTES = 64,  /* of the processor's cache */
    LINES_AHEAD = 10, /* of a route, that every request reads */
};

typedef struct item_s {
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
    ngx_http_weir_routed_t *routed; /* NULL: nothing */
    size_t path_matched;
} found_t;

static found_t find(const u_char *key, size_t len, uint32_t hash, uint64_t routing)
{
    found_t found = { NULL, 0 };
    if (table.sets == NULL)
        return found;
    const set_t *set = &table.sets[hash % table.count];
    for (size_t slot = 0; slot < WAYS; slot++) {
        const item_t *item = set->items[slot];
        ngx_http_weir_routed_t *routed = set->routes[slot];
        if (set->hashes[slot] != hash || routed == NULL)
            continue;
        /* All that a request reads of a route comes at once, not bit by bit. */
        for (size_t i = 0; i < LINES_AHEAD; i++)
            __builtin_prefetch((const u_char *)routed + i * LINE_BYTES);
        if (item->len == len && ngx_memcmp(item->key, key, len) == 0 && routed->routing == routing)
            return (found_t){ routed, item->path_matched };
    }
    return found;
}

/* Where something new goes: in place of nothing, of what is out of date, or in turn. */
static size_t choose_slot(const set_t *set, uint64_t routing)
{
    for (size_t i = 0; i < WAYS; i++)
        if (set->routes[i] == NULL || set->routes[i]->routing != routing)
            return i;
    return table.next++ % WAYS;
}

/* Without memory it is not remembered. */
static void keep(const u_char *key, size_t len, uint32_t hash, ngx_http_weir_routed_t *routed,
                 size_t path_matched)
{
    item_t *item = table.sets != NULL ? ngx_alloc(sizeof(*item) + len, ngx_cycle->log) : NULL;
    if (item == NULL)
        return;
    item->path_matched = path_matched;
    item->len = len;
    ngx_memcpy(item->key, key, len);

    set_t *set = &table.sets[hash % table.count];
    size_t slot = choose_slot(set, routed->routing);
    ngx_free(set->items[slot]);
    ngx_http_weir_route_release(set->routes[slot]);
    set->items[slot] = item;
    set->routes[slot] = routed;
    set->hashes[slot] = hash;
    routed->references++;
}

/* -- request lines ---------------------------------------------------------------------- */

void ngx_http_weir_line(const weir_match_request_t *request, weir_str_t path,
                        ngx_http_weir_line_t *ret)
{
    const weir_str_t parts[] = { request->method, request->host, request->sni, path };
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

ngx_http_weir_routed_t *ngx_http_weir_recall(const ngx_http_weir_line_t *line, uint64_t routing,
                                             size_t *ret_path_matched)
{
    if (line->len == 0)
        return NULL;
    found_t found = find(line->bytes, line->len, line->hash, routing);
    if (found.routed != NULL)
        found.routed->references++;
    *ret_path_matched = found.path_matched;
    return found.routed;
}

void ngx_http_weir_remember(const ngx_http_weir_line_t *line, ngx_http_weir_routed_t *routed,
                            size_t path_matched)
{
    if (line->len > 0)
        keep(line->bytes, line->len, line->hash, routed, path_matched);
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

static int fill_service(ngx_http_weir_proxy_main_conf_t *main, const weir_service_t *service,
                        ngx_http_weir_routed_t *ret, weir_error_t *err)
{
    if (!copy_service(ret->pool, service, &ret->service))
        return weir_error_memory(err);
    ret->host = ngx_http_weir_service_host(ret->pool, &ret->service);
    if (ret->host.data == NULL || ngx_http_weir_known_address(ret->pool, main->hosts, &ret->service,
                                                              &ret->address) == NGX_ERROR)
        return weir_error_memory(err);
    return WEIR_OK;
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
            rc = fill_service(main, &service, ret, err);
    }
    if (rc == WEIR_OK)
        rc = ngx_http_weir_copy_plan(reader, ret->pool, &ret->route.id,
                                     ret->has_service ? &ret->route.service : NULL, NULL,
                                     &ret->plan, &ret->plan_count, err);
    return rc == WEIR_OK ? fill_names(route->name, service.name, ret, err) : rc;
}

static int copy_route(ngx_http_weir_proxy_main_conf_t *main, weir_reader_t *reader,
                      const weir_route_t *route, uint64_t routing, ngx_http_weir_routed_t **ret,
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
    routed->routing = routing;
    int rc = fill(main, reader, route, routed, err);
    if (rc == WEIR_OK)
        *ret = routed;
    else
        ngx_http_weir_route_release(routed);
    return rc;
}

int ngx_http_weir_route(ngx_http_weir_proxy_main_conf_t *main, weir_reader_t *reader,
                        const weir_route_t *route, ngx_http_weir_routed_t **ret, weir_error_t *err)
{
    u_char key[1 + WEIR_UUID_BYTES];
    uint64_t routing = 0;
    int rc = weir_reader_routing(reader, &routing, err);
    if (rc != WEIR_OK)
        return rc;
    key[0] = 'r';
    ngx_memcpy(key + 1, route->id.bytes, WEIR_UUID_BYTES);
    uint32_t hash = ngx_murmur_hash2(key, sizeof(key));
    *ret = find(key, sizeof(key), hash, routing).routed;
    if (*ret != NULL) {
        (*ret)->references++;
        return WEIR_OK;
    }
    rc = copy_route(main, reader, route, routing, ret, err);
    if (rc != WEIR_OK)
        return rc;
    weir_assert(*ret != NULL);
    keep(key, sizeof(key), hash, *ret, 0);
    return WEIR_OK;
}
