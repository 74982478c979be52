/* ngx_http_weir_metrics.h -- what the status module knows of its node, and how that reads
 * as metrics. */
#ifndef NGX_HTTP_WEIR_METRICS_H
#define NGX_HTTP_WEIR_METRICS_H

#include "node/ngx_http_weir.h"

#include "agent/report.h"
#include "base/buffer.h"
#include "image/image.h"

/* What the node can say about its configuration. */
typedef struct ngx_http_weir_status_s {
    ngx_http_weir_main_conf_t *conf;
    ngx_flag_t has_store;
    ngx_flag_t store_answers;
    ngx_flag_t has_image;
    ngx_flag_t has_agent;
    weir_image_state_t image;
    weir_agent_report_t agent;
    const char *not_ready; /* NULL: ready */
} ngx_http_weir_status_t;

/* Everything for /metrics. Costs a walk over the connected data planes and, with
 * metrics_data_planes, one for each of their series. */
void ngx_http_weir_metrics(const ngx_http_weir_status_t *status, weir_buffer_t *out);

#endif
