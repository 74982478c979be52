/* admin.h -- the Admin API as a library: a request goes in, a response comes out.
 *
 * Synchronous and thread-safe; knows no sockets. src/host runs it in nginx's
 * thread pool, the unit tests call it directly. Behaviour: spec/admin-api.md. */
#ifndef WEIR_ADMIN_H
#define WEIR_ADMIN_H

#include "base/buffer.h"
#include "base/settings.h"
#include "store/store.h"

typedef struct weir_admin weir_admin_t;

/* What only the host knows. Every callback may be NULL: then the member that it
 * feeds says nothing. They are called on the request's thread. */
typedef struct weir_admin_host {
    void *context;
    /* Adds `server` (and memory) members of GET /status to `status`. */
    int (*status)(void *context, weir_json_t *status);
    /* Array for /clustering/data-planes, the live view; NULL: the store's rows. */
    int (*data_planes)(void *context, weir_json_t **ret, weir_error_t *err);
    /* Adds `pids`, `timers`, ... to the answer of GET /. */
    int (*node)(void *context, weir_json_t *node);
    /* Sets a target (as stored) healthy or not; `address` {NULL,0}: all of its
     * addresses. WEIR_NOT_FOUND, as without the callback: nobody checks it. */
    int (*set_health)(void *context, const weir_json_t *upstream, const weir_json_t *target,
                      weir_str_t address, bool healthy, weir_error_t *err);
    /* Makes the node log from `level` (base/log.h) on. NULL: it can't be changed. */
    int (*set_log_level)(void *context, int level, weir_error_t *err);
} weir_admin_host_t;

typedef struct weir_admin_options {
    weir_store_t *store; /* borrowed, as all of these */
    const weir_settings_t *settings;
    weir_uuid_t node_id;
    const char *hostname;
    weir_admin_host_t host;
} weir_admin_options_t;

int weir_admin_new(const weir_admin_options_t *options, weir_admin_t **ret, weir_error_t *err);
void weir_admin_free(weir_admin_t *admin);

typedef struct weir_admin_header {
    weir_str_t name, value;
} weir_admin_header_t;

typedef struct weir_admin_request {
    weir_str_t method;
    weir_str_t target; /* raw request target: path and query, still encoded */
    const weir_admin_header_t *headers;
    size_t header_count;
    weir_str_t body;
    bool has_body; /* a Content-Length other than 0, or chunked */
    bool chunked;
} weir_admin_request_t;

typedef struct weir_admin_response {
    int status;
    weir_admin_header_t headers[12]; /* in `arena`; Content-Length is the host's */
    size_t header_count;
    weir_buffer_t body; /* of HEAD: what GET has; the host sends its length alone */
    weir_arena_t arena;
} weir_admin_response_t;

void weir_admin_response_init(weir_admin_response_t *response, size_t body_max);
void weir_admin_response_release(weir_admin_response_t *response);

/* Always fills in a response; faults become a 500 with the error in *err, for
 * the host to log (err->code WEIR_OK: nothing to log). */
void weir_admin_handle(weir_admin_t *admin, const weir_admin_request_t *request,
                       weir_admin_response_t *response, weir_error_t *err);

#endif
