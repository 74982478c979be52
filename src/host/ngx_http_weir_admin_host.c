/* ngx_http_weir_admin_host.c -- what the Admin API asks of its host. Everything here runs
 * on threads of the pool. */
#include "host/ngx_http_weir_admin_host.h"

#include "base/clock.h"
#include "cluster/registry.h"
#include "host/ngx_http_weir_admin_wait.h"

enum { CHANGE_ENTITIES_BYTES_MAX = 1000000 * WEIR_UUID_BYTES }; /* looked at for one version */

static int ngx_http_weir_admin_add_number(weir_json_t *to, const char *name, double value)
{
    return weir_json_set(to, name, weir_json_new_number(value));
}

static int ngx_http_weir_admin_status(void *context, weir_json_t *status)
{
    (void)context;
    weir_json_t *server = weir_json_new_object();
    const struct {
        const char *name;
        ngx_atomic_t value;
    } counters[] = {
        { "connections_accepted", *ngx_stat_accepted },
        { "connections_active", *ngx_stat_active },
        { "connections_handled", *ngx_stat_handled },
        { "connections_reading", *ngx_stat_reading },
        { "connections_waiting", *ngx_stat_waiting },
        { "connections_writing", *ngx_stat_writing },
        { "total_requests", *ngx_stat_requests },
    };
    for (size_t i = 0; server != NULL && i < WEIR_COUNT(counters); i++) {
        if (ngx_http_weir_admin_add_number(server, counters[i].name, (double)counters[i].value) !=
            WEIR_OK) {
            weir_json_free(server);
            server = NULL;
        }
    }
    return weir_json_set(status, "server", server);
}

static int ngx_http_weir_admin_data_planes(void *context, weir_json_t **ret, weir_error_t *err)
{
    ngx_http_weir_main_conf_t *conf = context;
    if (conf->registry == NULL) {
        *ret = weir_json_new_array();
        return *ret != NULL ? WEIR_OK : weir_error_memory(err);
    }
    return weir_registry_list(conf->registry, weir_store_version(conf->store), weir_clock_ms(), ret,
                              err);
}

static int ngx_http_weir_admin_changes(void *context, uint64_t before, size_t limit,
                                       weir_json_t **ret, weir_error_t *err)
{
    ngx_http_weir_main_conf_t *conf = context;
    if (conf->registry == NULL) {
        return WEIR_NOT_FOUND;
    }
    return weir_registry_changes(conf->registry, before, limit, ret, err);
}

/* Of a huge version the first million entities count. */
static int ngx_http_weir_admin_take_entity(void *context, const weir_delta_t *delta)
{
    weir_buffer_append(context, (weir_str_t){ (const char *)delta->id.bytes, WEIR_UUID_BYTES });
    return WEIR_OK;
}

static int ngx_http_weir_admin_change(void *context, uint64_t version, weir_json_t **ret,
                                      weir_error_t *err)
{
    ngx_http_weir_main_conf_t *conf = context;
    weir_buffer_t entities;
    if (conf->registry == NULL) {
        return weir_error_set(err, WEIR_NOT_FOUND, NULL, "there is no cluster listener");
    }
    weir_buffer_init(&entities, CHANGE_ENTITIES_BYTES_MAX);
    /* Without the log's help nothing shows as failed. */
    if (version <= weir_store_version(conf->store)) {
        (void)weir_store_deltas(conf->store, version - 1, version, ngx_http_weir_admin_take_entity,
                                &entities, NULL);
    }
    int rc = weir_registry_change(conf->registry, version, (weir_uuid_t *)(void *)entities.data,
                                  entities.len / WEIR_UUID_BYTES, ret, err);
    weir_buffer_release(&entities);
    return rc;
}

static int ngx_http_weir_admin_node(void *context, weir_json_t *node)
{
    (void)context;
    weir_json_t *workers = weir_json_new_array();
    weir_json_t *pids = weir_json_new_object();
    int rc = workers == NULL || pids == NULL ? WEIR_NO_MEMORY : WEIR_OK;
    if (rc == WEIR_OK) {
        rc = weir_json_append(workers, weir_json_new_number(ngx_pid));
    }
    if (rc == WEIR_OK) {
        rc = ngx_http_weir_admin_add_number(pids, "master", ngx_parent);
    }
    if (rc != WEIR_OK) {
        weir_json_free(workers);
        weir_json_free(pids);
        return rc;
    }
    rc = weir_json_set(pids, "workers", workers);
    if (rc != WEIR_OK) {
        weir_json_free(pids);
        return rc;
    }
    return weir_json_set(node, "pids", pids);
}

static void ngx_http_weir_admin_level(ngx_log_t *log, ngx_uint_t level)
{
    for (; log != NULL; log = log->next) {
        log->log_level = level;
    }
}

/* The worker's own log and those of its servers; requests take theirs from there.
 * A word each, so threads need no lock. The levels of base/log.h are nginx's. */
static int ngx_http_weir_admin_set_log_level(void *context, int level, weir_error_t *err)
{
    (void)context;
    (void)err;
    ngx_uint_t wanted = level == NGX_LOG_DEBUG ? NGX_LOG_DEBUG_ALL : (ngx_uint_t)level;
    ngx_http_core_main_conf_t *main =
        ngx_http_cycle_get_module_main_conf(ngx_cycle, ngx_http_core_module);
    ngx_http_core_srv_conf_t **servers = main->servers.elts;
    ngx_http_weir_admin_level(ngx_cycle->log, wanted);
    for (ngx_uint_t i = 0; i < main->servers.nelts; i++) {
        ngx_http_core_loc_conf_t *core = servers[i]->ctx->loc_conf[ngx_http_core_module.ctx_index];
        ngx_http_weir_admin_level(core->error_log, wanted);
    }
    return WEIR_OK;
}

weir_admin_host_t ngx_http_weir_admin_host(ngx_http_weir_main_conf_t *conf)
{
    return (weir_admin_host_t){
        .context = conf,
        .status = ngx_http_weir_admin_status,
        .data_planes = ngx_http_weir_admin_data_planes,
        .node = ngx_http_weir_admin_node,
        .may_wait = ngx_http_weir_admin_wait_take,
        .changes = ngx_http_weir_admin_changes,
        .change = ngx_http_weir_admin_change,
        .set_log_level = ngx_http_weir_admin_set_log_level,
    };
}
