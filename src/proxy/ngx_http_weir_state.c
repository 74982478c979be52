/* ngx_http_weir_state.c -- what plugins remember in a worker, and what all workers count
 * together (weir/plugin.h). */
#include "proxy/ngx_http_weir_proxy.h"

#include "balance/health.h"
#include "proxy/cache.h"
#include "proxy/counters.h"
#include "proxy/rules.h"

enum { COUNTERS_ALIGNMENT = 64, ZONE_BYTES_MIN = 65536 };

/* Of this worker; NULL: nothing is remembered. */
static weir_cache_t *cache;

/* -- the cache ----------------------------------------------------------------------------- */

static void close_cache(void *data)
{
    (void)data;
    weir_cache_free(cache);
    cache = NULL;
}

ngx_int_t ngx_http_weir_cache_init_process(ngx_cycle_t *cycle)
{
    ngx_http_weir_proxy_main_conf_t *main =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_weir_proxy_module);
    if (main == NULL || main->node == NULL)
        return NGX_OK;
    size_t bytes = (size_t)weir_setting_integer(main->node->settings, "plugin_cache_size");
    ngx_pool_cleanup_t *cleanup = bytes > 0 ? ngx_pool_cleanup_add(cycle->pool, 0) : NULL;
    if (bytes == 0)
        return NGX_OK;
    cache = cleanup != NULL ? weir_cache_new(bytes) : NULL;
    if (cache == NULL)
        return NGX_ERROR;
    cleanup->handler = close_cache;
    return NGX_OK;
}

uint64_t weir_entity_types(const char *names)
{
    weir_str_t rest = weir_str(names), name;
    uint64_t types = 0;
    while (weir_list_next(&rest, ' ', &name)) {
        if (name.len == 0)
            continue;
        const weir_schema_t *schema = weir_schema_named(name);
        types |= schema != NULL ? UINT64_C(1) << schema->type : UINT32_MAX;
    }
    return types;
}

static weir_cache_key_t key_of(const weir_request_t *request, weir_str_t text, uint64_t types)
{
    return (weir_cache_key_t){ .owner = request->running->name, .text = text, .types = types };
}

int weir_cache_get(weir_request_t *request, weir_str_t key, uint64_t types, weir_cached_t *ret)
{
    ngx_log_t *log = request->r->connection->log;
    weir_error_t err = { 0 };
    *ret = (weir_cached_t){ .types = types };
    weir_reader_t *reader = ngx_http_weir_reader(ngx_http_weir_proxy_main(request->r)->node, log);
    int rc = reader != NULL ? weir_reader_changed(reader, (uint32_t)types, &ret->changed, &err)
                            : weir_error_set(&err, WEIR_IO, NULL, "there is none");
    if (rc != WEIR_OK) {
        ngx_log_error(NGX_LOG_ERR, log, 0, "weir: the image cannot be read: %s", err.reason);
        return WEIR_IO;
    }
    weir_cache_key_t entry = key_of(request, key, types);
    return cache != NULL ? weir_cache_find(cache, &entry, ret->changed, ngx_time(), &ret->value)
                         : WEIR_NOT_FOUND;
}

void weir_cache_put(weir_request_t *request, weir_str_t key, const weir_cached_t *missed,
                    weir_str_t value, int64_t until_s)
{
    weir_cache_key_t entry = key_of(request, key, missed->types);
    if (cache != NULL)
        weir_cache_keep(cache, &entry, missed->changed, until_s, value);
}

/* -- the counters ------------------------------------------------------------------------------
 */

/* In the master, when it takes a configuration; `before`: of the one before it. `make`: what
 * the memory becomes. */
static ngx_int_t init_zone(ngx_shm_zone_t *zone, void *before,
                           void *(*make)(void *memory, size_t bytes))
{
    ngx_slab_pool_t *pool = (ngx_slab_pool_t *)zone->shm.addr;
    if (before != NULL) {
        zone->data = before;
        return NGX_OK;
    }
    if (zone->shm.exists) {
        zone->data = pool->data;
        return NGX_OK;
    }
    /* All of its pages in one piece: fresh memory of the system, so it is zeroed, and what
     * is not counted in takes no memory. */
    size_t bytes = (size_t)pool->pfree * ngx_pagesize;
    void *memory = ngx_slab_alloc(pool, bytes);
    if (memory == NULL) {
        ngx_log_error(NGX_LOG_EMERG, zone->shm.log, 0, "weir: no memory for %V in %uz bytes",
                      &zone->shm.name, zone->shm.size);
        return NGX_ERROR;
    }
#if (NGX_DEBUG_MALLOC)
    ngx_memzero(memory, bytes);
#endif
    weir_assert((uintptr_t)memory % COUNTERS_ALIGNMENT == 0);
    zone->data = make(memory, bytes);
    pool->data = zone->data;
    return NGX_OK;
}

static void *make_counters(void *memory, size_t bytes)
{
    return weir_counters_make(memory, bytes);
}

static ngx_int_t init_counters(ngx_shm_zone_t *zone, void *before)
{
    return init_zone(zone, before, make_counters);
}

static void *make_health(void *memory, size_t bytes)
{
    return weir_health_make(memory, bytes);
}

static ngx_int_t init_health(ngx_shm_zone_t *zone, void *before)
{
    return init_zone(zone, before, make_health);
}

static ngx_int_t add_zone(ngx_conf_t *cf, ngx_str_t name, size_t bytes, ngx_shm_zone_init_pt init,
                          ngx_shm_zone_t **ret)
{
    if (bytes == 0)
        return NGX_OK;
    *ret = ngx_shared_memory_add(cf, &name, ngx_max(bytes, ZONE_BYTES_MIN),
                                 &ngx_http_weir_proxy_module);
    if (*ret == NULL)
        return NGX_ERROR;
    (*ret)->init = init;
    return NGX_OK;
}

ngx_int_t ngx_http_weir_health_init(ngx_conf_t *cf, ngx_http_weir_proxy_main_conf_t *main)
{
    ngx_str_t name = ngx_string("weir_health");
    size_t bytes = (size_t)weir_setting_integer(main->node->settings, "upstream_health_size");
    return add_zone(cf, name, bytes, init_health, &main->health);
}

ngx_int_t ngx_http_weir_counters_init(ngx_conf_t *cf, ngx_http_weir_proxy_main_conf_t *main)
{
    ngx_str_t name = ngx_string("weir_counters");
    size_t bytes = (size_t)weir_setting_integer(main->node->settings, "plugin_counters_size");
    return add_zone(cf, name, bytes, init_counters, &main->counters);
}

/* Once a second in each worker: what is full stays so for a while, for every request. */
static void say_full(const weir_request_t *request)
{
    static time_t said;
    if (said == ngx_time())
        return;
    said = ngx_time();
    ngx_log_error(NGX_LOG_ERR, request->r->connection->log, 0,
                  "weir: plugin %*s: plugin_counters_size is too small, a request was not counted",
                  request->running->name.len, request->running->name.data);
}

/* The zone, with its lock held, and the id; nginx's master takes the lock from a worker
 * that dies with it. */
static int lock_counters(weir_request_t *request, weir_str_t key, ngx_shm_zone_t **ret,
                         weir_counter_id_t *ret_id)
{
    *ret = ngx_http_weir_proxy_main(request->r)->counters;
    if (*ret == NULL)
        return WEIR_UNSUPPORTED;
    int rc = weir_counter_id(request->running->name, key, ret_id);
    if (rc != WEIR_OK)
        return rc;
    ngx_shmtx_lock(&((ngx_slab_pool_t *)(*ret)->shm.addr)->mutex);
    return WEIR_OK;
}

static void unlock_counters(ngx_shm_zone_t *zone)
{
    ngx_shmtx_unlock(&((ngx_slab_pool_t *)zone->shm.addr)->mutex);
}

int weir_counter_add(weir_request_t *request, weir_str_t key, int64_t window_s, uint64_t amount,
                     uint64_t *ret)
{
    ngx_shm_zone_t *zone = NULL;
    weir_counter_id_t id;
    *ret = 0;
    if (window_s < 1 || window_s > WEIR_COUNTERS_WINDOW_S_MAX)
        return WEIR_INVALID;
    int rc = lock_counters(request, key, &zone, &id);
    if (rc != WEIR_OK)
        return rc;
    rc = weir_counters_add(zone->data, &id, window_s, ngx_time(), amount, ret);
    unlock_counters(zone);
    if (rc == WEIR_FULL)
        say_full(request);
    return rc;
}

static bool are_windows(const weir_window_t *windows, size_t count, int64_t now_s)
{
    bool good = count <= WEIR_WINDOWS_MAX;
    for (size_t i = 0; good && i < count; i++) {
        int64_t length_s = windows[i].length_s;
        good = length_s >= 1 && length_s <= WEIR_COUNTERS_WINDOW_S_MAX &&
               windows[i].ends_s > now_s &&
               windows[i].ends_s - now_s <= length_s + length_s / 8 + 1;
    }
    return good;
}

int weir_counter_take(weir_request_t *request, weir_str_t key, weir_window_t *windows, size_t count,
                      bool *ret_counted)
{
    ngx_shm_zone_t *zone = NULL;
    weir_counter_id_t id;
    *ret_counted = false;
    if (!are_windows(windows, count, ngx_time()))
        return WEIR_INVALID;
    int rc = lock_counters(request, key, &zone, &id);
    if (rc != WEIR_OK)
        return rc;
    rc = weir_counters_take(zone->data, &id, ngx_time(), windows, count, ret_counted);
    unlock_counters(zone);
    if (rc == WEIR_FULL)
        say_full(request);
    return rc;
}

bool ngx_http_weir_counters_numbers(ngx_cycle_t *cycle, ngx_http_weir_counters_numbers_t *ret)
{
    const ngx_http_weir_proxy_main_conf_t *main =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_weir_proxy_module);
    if (main == NULL || main->counters == NULL || main->counters->data == NULL)
        return false;
    *ret = (ngx_http_weir_counters_numbers_t){
        .capacity = weir_counters_capacity(main->counters->data),
        .refused = weir_counters_refused(main->counters->data),
    };
    return true;
}
