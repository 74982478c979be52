/* ngx_http_weir_admin_host.h -- what the Admin API asks of its host (admin/admin.h). */
#ifndef NGX_HTTP_WEIR_ADMIN_HOST_H
#define NGX_HTTP_WEIR_ADMIN_HOST_H

#include "node/ngx_http_weir.h"

#include "admin/admin.h"

/* The callbacks, for the node of this configuration, which must outlive them. */
weir_admin_host_t ngx_http_weir_admin_host(ngx_http_weir_main_conf_t *conf);

#endif
