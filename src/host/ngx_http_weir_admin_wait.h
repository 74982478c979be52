/* ngx_http_weir_admin_wait.h -- an answer of the Admin API that is held until data
 * planes have the version it tells of (docs/admin-extensions.md).
 *
 * Nobody waits in a thread: the registry posts an event when a wait is over, and a timer
 * ends the others. All of it on the event loop, but for taking a place. */
#ifndef NGX_HTTP_WEIR_ADMIN_WAIT_H
#define NGX_HTTP_WEIR_ADMIN_WAIT_H

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "admin/admin.h"
#include "cluster/registry.h"

typedef struct ngx_http_weir_admin_wait_s {
    ngx_http_request_t *request;
    weir_waiter_t *waiter; /* NULL: not waiting */
    weir_arrivals_t arrivals;
    ngx_event_t over;  /* posted by the registry */
    ngx_event_t timer; /* once a second, or at the end */
    ngx_msec_t end;
    void (*answer)(ngx_http_request_t *r);
} ngx_http_weir_admin_wait_t;

/* How many requests may wait at once. */
void ngx_http_weir_admin_wait_places(ngx_uint_t places);
/* Takes a place, on any thread; false: there is none. */
bool ngx_http_weir_admin_wait_take(void *context);
void ngx_http_weir_admin_wait_give_back(void);

/* NGX_OK: answer now; NGX_AGAIN: answer() is called when it is time. `wait` is zeroed,
 * and lives in r->pool. `registry` NULL: there are no data planes. */
ngx_int_t ngx_http_weir_admin_wait_begin(ngx_http_weir_admin_wait_t *wait, ngx_http_request_t *r,
                                         weir_registry_t *registry,
                                         const weir_admin_response_t *response,
                                         void (*answer)(ngx_http_request_t *r));
/* Also if it has not begun, or is over. */
void ngx_http_weir_admin_wait_end(ngx_http_weir_admin_wait_t *wait);

/* Weir-Confirmed, -Applied, -Pending and -Failed. */
ngx_int_t ngx_http_weir_admin_wait_headers(const ngx_http_weir_admin_wait_t *wait,
                                           ngx_http_request_t *r);

#endif
