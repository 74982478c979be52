/* ngx_modules.c -- the three symbols by which nginx finds the modules of a
 * dynamic module file; its own build would generate this.
 *
 * The order is that of init_process: the core opens the store before the others
 * use it. An HTTP filter of ours must run before the header filter of nginx, so
 * it names the module that it has to precede. */
#include <ngx_config.h>
#include <ngx_core.h>

extern ngx_module_t ngx_http_weir_module;
extern ngx_module_t ngx_http_weir_admin_module;
extern ngx_module_t ngx_http_weir_cluster_module;
extern ngx_module_t ngx_http_weir_status_module;
extern ngx_module_t ngx_http_weir_proxy_module;
extern ngx_module_t ngx_http_weir_filter_module;

#define EXPORTED __attribute__((visibility("default")))

extern char *ngx_module_order[]; /* the other two are declared by nginx */

EXPORTED ngx_module_t *ngx_modules[] = {
    &ngx_http_weir_module,
    &ngx_http_weir_admin_module,
    &ngx_http_weir_cluster_module,
    &ngx_http_weir_status_module,
    &ngx_http_weir_proxy_module,
    &ngx_http_weir_filter_module,
    NULL,
};

EXPORTED char *ngx_module_names[] = {
    (char *)"ngx_http_weir_module",
    (char *)"ngx_http_weir_admin_module",
    (char *)"ngx_http_weir_cluster_module",
    (char *)"ngx_http_weir_status_module",
    (char *)"ngx_http_weir_proxy_module",
    (char *)"ngx_http_weir_filter_module",
    NULL,
};

/* For the module that is named first: the names that follow are in its order. */
EXPORTED char *ngx_module_order[] = {
    (char *)"ngx_http_weir_filter_module",
    (char *)"ngx_http_copy_filter_module",
    NULL,
};
