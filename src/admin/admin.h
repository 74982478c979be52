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
    /* A request is about to write and to wait for data planes: takes a place among those
     * that may; the host gives it back when it has answered. False: there is none. NULL:
     * requests need no place. */
    bool (*may_wait)(void *context);
    /* {"data": [...], "next": version or null}: the newest versions below `before`,
     * newest first, `limit` at the most, and how many data planes have each. NULL, or
     * WEIR_NOT_FOUND: there are no data planes here. */
    int (*changes)(void *context, uint64_t before, size_t limit, weir_json_t **ret,
                   weir_error_t *err);
    /* The way of one version to each data plane. WEIR_NOT_FOUND: err->reason says why. */
    int (*change)(void *context, uint64_t version, weir_json_t **ret, weir_error_t *err);
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

/* What a write wants to be answered after (docs/admin-extensions.md): the library only
 * says it, whoever sends the answer waits. */
typedef enum weir_wish_kind {
    WEIR_WISH_NOT = 0, /* is not to wait */
    WEIR_WISH_ALL,     /* every connected data plane serves the version */
    WEIR_WISH_COUNT,   /* so many do */
    WEIR_WISH_LABEL,   /* every connected one that has this label does */
} weir_wish_kind_t;

typedef struct weir_wish {
    weir_wish_kind_t kind;
    size_t count;
    weir_str_t key, value; /* of the label; terminated, in the response's arena */
    int64_t timeout_ms;
    bool place_taken; /* host.may_wait() said yes */
} weir_wish_t;

typedef struct weir_admin_response {
    int status;
    uint64_t version; /* of a write that succeeded; of the newest if it changed nothing */
    weir_wish_t wish;
    weir_uuid_t *written; /* entities that were written, if there is a wish; in `arena` */
    size_t written_count;
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
