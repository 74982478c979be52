/* ngx_http_weir.h -- what the nginx modules of one node share.
 *
 * ngx_http_weir_module (core) reads the settings while nginx reads its
 * configuration and opens the store when a worker starts; the admin, cluster,
 * proxy and status modules take both from here. */
#ifndef NGX_HTTP_WEIR_H
#define NGX_HTTP_WEIR_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "base/settings.h"
#include "base/uuid.h"
#include "store/store.h"

struct weir_registry; /* cluster/registry.h: the data planes, live */
struct weir_reader;   /* image/image.h */

typedef struct ngx_http_weir_main_conf_s {
    weir_settings_t *settings; /* directive weir_settings; freed with the cycle */
    const char *role;          /* "control_plane", "data_plane" or "traditional" */
    weir_uuid_t node_id;       /* PREFIX/weir.id */
    char hostname[256];
    /* Of this worker, set in init_process of the core module, before that of
     * the modules after it; NULL on a data plane. */
    weir_store_t *store;
    /* Set by the cluster module in its init_process; NULL without it. */
    struct weir_registry *registry;

    /* The core module's own: see ngx_http_weir_reader(). */
    struct weir_reader *reader;
    ngx_event_t expiry;
    ngx_thread_task_t *expiry_task;
} ngx_http_weir_main_conf_t;

extern ngx_module_t ngx_http_weir_module;

/* The main configuration of the running cycle, or NULL without weir_settings. */
ngx_http_weir_main_conf_t *ngx_http_weir_main(ngx_cycle_t *cycle);

/* This process' reader of PREFIX/image, or NULL while there is none. LMDB must be
 * opened only once a process, so all modules share it. It follows by itself when the
 * image is set aside and made anew (weir_reader_open()). */
struct weir_reader *ngx_http_weir_reader(ngx_http_weir_main_conf_t *conf, ngx_log_t *log);

/* The thread pool "weir", where everything runs that may block; NULL on a data plane,
 * whose workers are of one thread. */
ngx_thread_pool_t *ngx_http_weir_thread_pool(ngx_cycle_t *cycle);

static ngx_inline weir_str_t ngx_http_weir_str(ngx_str_t text)
{
    return (weir_str_t){ (const char *)text.data, text.len };
}

#endif
