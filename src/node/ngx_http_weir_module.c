/* ngx_http_weir_module.c -- the core module: settings, node id, store, reader.
 *
 * Directive: `weir_settings PATH;` in http{}. In a worker it opens the store (on
 * a control plane), and every second it removes what has expired. */
#include "node/ngx_http_weir.h"

#include "base/clock.h"
#include "image/image.h"

enum { EXPIRED_ROWS_MAX = 1000, EXPIRY_INTERVAL_MS = 1000, RETRY_MS = 1000 };

typedef struct ngx_http_weir_expiry_s {
    ngx_http_weir_main_conf_t *conf;
    int rc;
    weir_error_t err;
} ngx_http_weir_expiry_t;

static void *ngx_http_weir_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_weir_settings(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_http_weir_init_process(ngx_cycle_t *cycle);

static ngx_command_t ngx_http_weir_commands[] = {
    { ngx_string("weir_settings"), NGX_HTTP_MAIN_CONF | NGX_CONF_TAKE1, ngx_http_weir_settings,
      NGX_HTTP_MAIN_CONF_OFFSET, 0, NULL },
    ngx_null_command,
};

static ngx_http_module_t ngx_http_weir_module_ctx = {
    NULL, NULL, ngx_http_weir_create_main_conf, NULL, NULL, NULL, NULL, NULL,
};

ngx_module_t ngx_http_weir_module = {
    NGX_MODULE_V1,
    &ngx_http_weir_module_ctx,
    ngx_http_weir_commands,
    NGX_HTTP_MODULE,
    NULL,
    NULL,
    ngx_http_weir_init_process,
    NULL,
    NULL,
    NULL,
    NULL,
    NGX_MODULE_V1_PADDING,
};

ngx_http_weir_main_conf_t *ngx_http_weir_main(ngx_cycle_t *cycle)
{
    if (ngx_get_conf(cycle->conf_ctx, ngx_http_module) == NULL) {
        return NULL;
    }
    ngx_http_weir_main_conf_t *conf =
        ngx_http_cycle_get_module_main_conf(cycle, ngx_http_weir_module);
    return conf != NULL && conf->settings != NULL ? conf : NULL;
}

ngx_thread_pool_t *ngx_http_weir_thread_pool(ngx_cycle_t *cycle)
{
    ngx_str_t name = ngx_string("weir");
    return ngx_thread_pool_get(cycle, &name);
}

/* -- configuration ----------------------------------------------------------- */

static void ngx_http_weir_release_settings(void *data)
{
    weir_settings_free(data);
}

static void *ngx_http_weir_create_main_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_weir_main_conf_t));
}

/* PREFIX/weir.id is made by `weir prepare`. */
static ngx_int_t ngx_http_weir_read_id(ngx_conf_t *cf, ngx_http_weir_main_conf_t *main)
{
    char path[PATH_MAX];
    char text[WEIR_UUID_TEXT];
    const char *prefix = weir_setting_string(main->settings, "prefix");
    snprintf(path, sizeof(path), "%s/weir.id", prefix);
    ngx_fd_t fd = ngx_open_file((u_char *)path, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);
    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno, "cannot open \"%s\"", path);
        return NGX_ERROR;
    }
    ssize_t got = ngx_read_fd(fd, text, sizeof(text));
    ngx_close_file(fd);
    if (got != WEIR_UUID_TEXT ||
        weir_uuid_parse((weir_str_t){ text, WEIR_UUID_TEXT }, &main->node_id) != WEIR_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "no UUID in \"%s\"", path);
        return NGX_ERROR;
    }
    return NGX_OK;
}

static char *ngx_http_weir_settings(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    (void)cmd;
    ngx_http_weir_main_conf_t *main = conf;
    if (main->settings != NULL) {
        return (char *)"is duplicate";
    }
    ngx_str_t *values = cf->args->elts;
    weir_error_t err = { 0 };
    if (weir_settings_load((char *)values[1].data, NULL, NULL, &main->settings, &err) != WEIR_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "%s: %s", err.field, err.reason);
        return NGX_CONF_ERROR;
    }
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(cf->pool, 0);
    if (cleanup == NULL) {
        weir_settings_free(main->settings);
        return NGX_CONF_ERROR;
    }
    cleanup->handler = ngx_http_weir_release_settings;
    cleanup->data = main->settings;

    main->role = weir_setting_string(main->settings, "role");
    if (gethostname(main->hostname, sizeof(main->hostname) - 1) != 0) {
        ngx_memcpy(main->hostname, "localhost", sizeof("localhost"));
    }
    return ngx_http_weir_read_id(cf, main) == NGX_OK ? NGX_CONF_OK : NGX_CONF_ERROR;
}

/* -- the reader of the image --------------------------------------------------- */

static void ngx_http_weir_close_reader(void *data)
{
    ngx_http_weir_main_conf_t *conf = data;
    weir_reader_close(conf->reader);
    conf->reader = NULL;
}

struct weir_reader *ngx_http_weir_reader(ngx_http_weir_main_conf_t *conf, ngx_log_t *log)
{
    if (conf->reader != NULL) {
        return conf->reader;
    }
    char folder[PATH_MAX];
    weir_error_t err = { 0 };
    snprintf(folder, sizeof(folder), "%s/image", weir_setting_string(conf->settings, "prefix"));
    int rc = weir_reader_open(folder, &conf->reader, &err);
    if (rc != WEIR_OK && rc != WEIR_NOT_FOUND) {
        ngx_log_error(NGX_LOG_ERR, log, 0, "cannot open the image \"%s\": %s", folder, err.reason);
    }
    return conf->reader;
}

/* -- the worker ------------------------------------------------------------------ */

static void ngx_http_weir_close_store(void *data)
{
    ngx_http_weir_main_conf_t *conf = data;
    weir_store_close(conf->store);
    conf->store = NULL;
}

static ngx_int_t ngx_http_weir_open_store(ngx_cycle_t *cycle, ngx_http_weir_main_conf_t *conf)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/weir.db", weir_setting_string(conf->settings, "prefix"));
    weir_store_options_t options = {
        .path = path,
        .log_entries_max =
            (uint64_t)weir_setting_integer(conf->settings, "cluster_sync_log_entries"),
        .log_age_ms_max = weir_setting_integer(conf->settings, "cluster_sync_log_age") * 1000,
    };
    weir_error_t err = { 0 };
    if (weir_store_open(&options, &conf->store, &err) == WEIR_OK) {
        return NGX_OK;
    }
    ngx_log_error(NGX_LOG_ALERT, cycle->log, 0, "cannot open the database \"%s\": %s", path,
                  err.reason);
    return NGX_ERROR;
}

/* In a thread of the pool. */
static void ngx_http_weir_expire(void *data, ngx_log_t *log)
{
    (void)log;
    ngx_http_weir_expiry_t *expiry = data;
    size_t count = 0;
    expiry->rc = weir_store_expire(expiry->conf->store, weir_clock_ms(), EXPIRED_ROWS_MAX, &count,
                                   &expiry->err);
}

static void ngx_http_weir_expired(ngx_event_t *event)
{
    ngx_http_weir_expiry_t *expiry = event->data;
    if (expiry->rc != WEIR_OK) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0, "cannot remove what has expired: %s",
                      expiry->err.reason);
    }
    if (!ngx_exiting) {
        ngx_add_timer(&expiry->conf->expiry, EXPIRY_INTERVAL_MS);
    }
}

static void ngx_http_weir_expiry_timer(ngx_event_t *event)
{
    ngx_http_weir_main_conf_t *conf = event->data;
    ngx_thread_pool_t *pool = ngx_http_weir_thread_pool((ngx_cycle_t *)ngx_cycle);
    if (ngx_exiting) {
        return;
    }
    if (pool == NULL || ngx_thread_task_post(pool, conf->expiry_task) != NGX_OK) {
        ngx_add_timer(&conf->expiry, EXPIRY_INTERVAL_MS);
    }
}

static ngx_int_t ngx_http_weir_start_expiry(ngx_cycle_t *cycle, ngx_http_weir_main_conf_t *conf)
{
    conf->expiry_task = ngx_thread_task_alloc(cycle->pool, sizeof(ngx_http_weir_expiry_t));
    if (conf->expiry_task == NULL) {
        return NGX_ERROR;
    }
    ngx_http_weir_expiry_t *expiry = conf->expiry_task->ctx;
    ngx_memzero(expiry, sizeof(*expiry));
    expiry->conf = conf;
    conf->expiry_task->handler = ngx_http_weir_expire;
    conf->expiry_task->event.handler = ngx_http_weir_expired;
    conf->expiry_task->event.data = expiry;

    conf->expiry.handler = ngx_http_weir_expiry_timer;
    conf->expiry.data = conf;
    conf->expiry.log = cycle->log;
    conf->expiry.cancelable = 1;
    ngx_add_timer(&conf->expiry, EXPIRY_INTERVAL_MS);
    return NGX_OK;
}

/* After the exit_process of every module, so that those may still use it. */
static ngx_int_t ngx_http_weir_at_exit(ngx_cycle_t *cycle, ngx_pool_cleanup_pt handler,
                                       ngx_http_weir_main_conf_t *conf)
{
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(cycle->pool, 0);
    if (cleanup == NULL) {
        return NGX_ERROR;
    }
    cleanup->handler = handler;
    cleanup->data = conf;
    return NGX_OK;
}

static ngx_int_t ngx_http_weir_init_process(ngx_cycle_t *cycle)
{
    ngx_http_weir_main_conf_t *conf = ngx_http_weir_main(cycle);
    if (conf == NULL || (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)) {
        return NGX_OK;
    }
    if (ngx_http_weir_at_exit(cycle, ngx_http_weir_close_reader, conf) != NGX_OK) {
        return NGX_ERROR;
    }
    if (ngx_strcmp(conf->role, "data_plane") == 0) {
        return NGX_OK;
    }
    if (ngx_http_weir_open_store(cycle, conf) != NGX_OK) {
        /* NGX_ERROR here would make the master give up on this worker for good. */
        ngx_msleep(RETRY_MS);
        exit(1);
    }
    if (ngx_http_weir_at_exit(cycle, ngx_http_weir_close_store, conf) != NGX_OK) {
        return NGX_ERROR;
    }
    return ngx_http_weir_start_expiry(cycle, conf);
}
