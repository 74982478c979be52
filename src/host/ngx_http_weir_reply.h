/* ngx_http_weir_reply.h -- replies whose headers and body lie in memory already: of the
 * Admin API, of the status endpoint. */
#ifndef NGX_HTTP_WEIR_REPLY_H
#define NGX_HTTP_WEIR_REPLY_H

#include "node/ngx_http_weir.h"

/* Both texts must live as long as the request. NULL: no memory. */
ngx_table_elt_t *ngx_http_weir_reply_header(ngx_http_request_t *r, weir_str_t name,
                                            weir_str_t value);
/* The head, whose status, type and headers are set, and then `body`, which must live as
 * long as the request. */
ngx_int_t ngx_http_weir_reply_send(ngx_http_request_t *r, weir_str_t body);

#endif
