/* ngx_http_weir_proxy.h -- shared by the nginx files of the proxy.
 *
 * A request goes: REWRITE (match: the reader is entered, what is needed is copied
 * to the request's pool, the reader is left), ACCESS (plugins, then what goes
 * upstream, then the upstream's addresses), CONTENT (nginx's proxy module, which
 * finds our URI and header list where it expects the client's, and our balancer),
 * header filter. Between two turns of the event loop no reader is held. */
#ifndef NGX_HTTP_WEIR_PROXY_H
#define NGX_HTTP_WEIR_PROXY_H

#include "image/image.h"
#include "node/ngx_http_weir.h"
#include "proxy/answer.h"
#include "proxy/hosts.h"
#include "weir/plugin.h"

enum {
    REQUEST_ID_LEN = 32,
    ADDRESSES_MAX = 16, /* of one name */
    NAME_BYTES_MAX = 256,
};

/* Which headers answers get (routing 7.2). */
enum {
    HEADER_SERVER = 1,
    HEADER_VIA = 2,
    HEADER_PROXY_LATENCY = 4,
    HEADER_UPSTREAM_LATENCY = 8,
    HEADER_RESPONSE_LATENCY = 16,
    HEADER_UPSTREAM_STATUS = 32,
    HEADER_REQUEST_ID = 64,
    HEADER_CONFIG_VERSION = 128, /* config_version_header */
};

/* The locations of the proxy's server. nginx knows by location only whether
 * bodies are buffered, so there is one for each case. */
typedef enum ngx_http_weir_kind_e {
    KIND_NONE = 0,
    KIND_BUFFERED,
    KIND_UNBUFFERED_REQUEST,
    KIND_UNBUFFERED_RESPONSE,
    KIND_UNBUFFERED,
    KIND_ERROR, /* answers nginx's own errors */
    KINDS
} ngx_http_weir_kind_t;

typedef struct ngx_http_weir_proxy_main_conf_s {
    ngx_http_weir_main_conf_t *node;
    ngx_uint_t headers;             /* HEADER_ bits */
    ngx_flag_t request_id_upstream; /* X-Kong-Request-Id */
    ngx_flag_t debug;               /* Kong-Debug is answered */
    ngx_array_t *trusted;           /* of ngx_cidr_t; NULL: nobody */
    ngx_array_t *port_maps;         /* of ngx_http_weir_port_t; NULL: none */
    ngx_int_t realip_index;         /* of $realip_remote_addr */
    ngx_str_t token;                /* "kong/3.9.1" */
    ngx_str_t via;                  /* "1.1 kong/3.9.1" */
    weir_media_t error_default;
    weir_hosts_t *hosts;
    ngx_shm_zone_t *counters;          /* of plugins; NULL: none */
    ngx_shm_zone_t *health;            /* of targets; NULL: none */
    void **locations[KINDS];           /* loc_conf of each */
    void **server;                     /* srv_conf */
    ngx_http_handler_pt proxy_handler; /* of nginx */
} ngx_http_weir_proxy_main_conf_t;

typedef struct ngx_http_weir_port_s {
    in_port_t listener, client;
} ngx_http_weir_port_t;

typedef struct ngx_http_weir_proxy_loc_conf_s {
    ngx_http_weir_kind_t kind;
} ngx_http_weir_proxy_loc_conf_t;

/* A request header that a plugin set, for those after it and for the upstream.
 * value.data NULL: removed. */
typedef struct ngx_http_weir_override_s {
    ngx_str_t name, value;
} ngx_http_weir_override_t;

typedef struct ngx_http_weir_address_s {
    union {
        struct sockaddr sockaddr;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
    };
    socklen_t socklen;
    uint32_t hash; /* of the address, for the pool of connections */
    ngx_str_t name;
} ngx_http_weir_address_t;

typedef struct ngx_http_weir_service_s {
    ngx_str_t path;      /* data NULL if unset */
    ngx_uint_t protocol; /* WEIR_PROTOCOL_ bit */
    in_port_t port;
    ngx_uint_t retries;
    ngx_msec_t connect_timeout, write_timeout, read_timeout;
    /* from here on: not for every request */
    int tls_verify, tls_verify_depth;
    weir_uuid_t id;
    ngx_str_t name, host;
    weir_uuid_t client_certificate;
    weir_uuid_t *ca_certificates;
    ngx_uint_t ca_certificate_count;
} ngx_http_weir_service_t;

/* A plugin that is to run. */
typedef struct ngx_http_weir_step_s {
    const weir_plugin_t *plugin; /* NULL: not in this build */
    weir_str_t name, record;
    bool refused;                         /* weir_planned_t */
    weir_uuid_t route, service, consumer; /* its scope; zero: not bound */
} ngx_http_weir_step_t;

/* A route as requests use it, with its service and the plan of a request without a
 * consumer: copied from the image once, then only read, by any number of requests.
 * Counted; all that it points to lies in its pool. With many routes in use a request
 * waits for this memory, so what every request reads stands together. */
typedef struct ngx_http_weir_routed_s {
    weir_route_t route;
    bool has_service;
    bool has_upstream; /* the service's host names one */
    ngx_uint_t references;
    uint64_t moment;                  /* weir_reader_moment() that it was true at last */
    ngx_http_weir_address_t *address; /* NULL: name servers have to be asked */
    ngx_http_weir_step_t *plan;
    ngx_uint_t plan_count;
    ngx_str_t host; /* what the upstream is called in Host */
    ngx_http_weir_service_t service;
    weir_uuid_t upstream;
    ngx_pool_t *pool;
} ngx_http_weir_routed_t;

typedef struct ngx_http_weir_tls_profile_s ngx_http_weir_tls_profile_t;

typedef struct weir_request { /* the ABI's opaque type */
    ngx_http_request_t *r;
    u_char request_id[REQUEST_ID_LEN + 1];

    unsigned upgrade : 1;       /* to WebSocket */
    unsigned answered : 1;      /* a plugin has given the answer */
    unsigned failed : 1;        /* ... as an error: answer_body is the message */
    unsigned body_read : 1;     /* for a plugin */
    unsigned replan : 1;        /* the consumer has changed */
    unsigned authenticated : 1; /* by a credential */
    unsigned proxied : 1;       /* an upstream was chosen */
    unsigned prepared : 1;      /* URI and headers for the upstream are made */
    unsigned swapped : 1;       /* ... and stand in the request */
    unsigned resolved : 1;      /* or answered */
    unsigned arguments_changed : 1;
    unsigned at_once : 1; /* the balancer may leave a kept connection to ngx_http_weir_send() */
    unsigned kept : 1;    /* it has */

    ngx_http_weir_routed_t *routed;   /* NULL: no route has matched */
    uint64_t config_version;          /* it was matched in; 0: not known, or not asked for */
    weir_uuid_t consumer, credential; /* zero: none */
    size_t path_matched;              /* weir_match_t */
    ngx_str_t path;                   /* normalised */
    ngx_str_t raw_path; /* the target as sent, up to its '?', which counts from the second byte */
    in_port_t port;     /* ngx_http_weir_port() */

    ngx_http_weir_step_t *plan; /* the route's, or in the pool */
    ngx_uint_t plan_count, plan_at;
    const ngx_http_weir_step_t *running; /* whose phase it is now */

    ngx_array_t *overrides; /* of ngx_http_weir_override_t; NULL: none */
    ngx_str_t arguments;    /* of the query, if changed */

    ngx_str_t uri, host; /* for the upstream */
    ngx_list_t headers;
    ngx_str_t client_uri; /* while ours are swapped in */
    ngx_list_t client_headers;
    ngx_http_weir_address_t *addresses;
    ngx_uint_t address_count, address_at;
    void *resolving;                        /* resolve.c */
    struct ngx_http_weir_choice_s *balance; /* balance.c; NULL: no upstream */
    ngx_http_weir_tls_profile_t *tls;
    void *peer; /* balancer.c */

    ngx_msec_t balanced;    /* age of the request when the balancer was last done */
    ngx_msec_t balanced_at; /* ngx_current_msec then */

    ngx_uint_t answer_status;
    ngx_str_t answer_type, answer_body;
} ngx_http_weir_ctx_t;

extern ngx_module_t ngx_http_weir_proxy_module;
extern ngx_module_t ngx_http_weir_filter_module;

static ngx_inline ngx_http_weir_proxy_main_conf_t *ngx_http_weir_proxy_main(ngx_http_request_t *r)
{
    return ngx_http_get_module_main_conf(r, ngx_http_weir_proxy_module);
}

/* -- module ------------------------------------------------------------------------ */

/* The request's context, also after an internal redirect to an error page; NULL
 * before it was made. */
ngx_http_weir_ctx_t *ngx_http_weir_ctx(ngx_http_request_t *r);
ngx_http_weir_ctx_t *ngx_http_weir_ctx_make(ngx_http_request_t *r);
/* Milliseconds since the request began. */
ngx_msec_t ngx_http_weir_age(ngx_http_request_t *r);
/* The port that clients know us by (port_maps). */
in_port_t ngx_http_weir_port(ngx_http_request_t *r);
/* Whether X-Forwarded-* of who is connected to us are believed (routing 7.1). */
bool ngx_http_weir_trusted(ngx_http_request_t *r);
/* The nth value of a request header as the client sent it. */
bool ngx_http_weir_header(ngx_http_request_t *r, weir_str_t name, size_t nth, weir_str_t *ret);

/* -- match, plugins ------------------------------------------------------------------ */

/* Copies into `pool` the plan for what is known: any of the ids may be NULL. Inside of
 * the reader; `ret` and `ret_count` are set on WEIR_OK. */
int ngx_http_weir_copy_plan(weir_reader_t *reader, ngx_pool_t *pool, const weir_uuid_t *route,
                            const weir_uuid_t *service, const weir_uuid_t *consumer,
                            ngx_http_weir_step_t **ret, ngx_uint_t *ret_count, weir_error_t *err);

/* NGX_DECLINED: matched; anything else was returned by an answer. */
ngx_int_t ngx_http_weir_match(ngx_http_weir_ctx_t *ctx);
/* Copies the plan for what is known of the request now. */
ngx_int_t ngx_http_weir_plan(ngx_http_weir_ctx_t *ctx);

/* NGX_OK (go on, or ctx->answered), NGX_AGAIN (waits for the body) or NGX_ERROR. */
ngx_int_t ngx_http_weir_run_plugins(ngx_http_weir_ctx_t *ctx);
void ngx_http_weir_run_header_filters(ngx_http_weir_ctx_t *ctx);
void ngx_http_weir_run_logs(ngx_http_weir_ctx_t *ctx);

/* -- what this worker remembers of the image (routed.c) ----------------------------- */

/* A request line, as far as it says which route serves it. */
typedef struct ngx_http_weir_line_s {
    u_char bytes[512];
    size_t len; /* 0: not to be remembered */
    uint32_t hash;
} ngx_http_weir_line_t;

/* `request`: with the path as sent, without the query. */
void ngx_http_weir_line(const weir_match_request_t *request, ngx_http_weir_line_t *ret);
/* The route that this line had, if no change since then can have given it another one, or
 * changed what is known of the route; the caller's reference. NULL: look into the image.
 * `request`: what the line was made of; `moment`: the reader's. */
ngx_http_weir_routed_t *ngx_http_weir_recall(const ngx_http_weir_line_t *line,
                                             const weir_reader_t *reader,
                                             const weir_match_request_t *request, uint64_t moment,
                                             size_t *ret_path_matched);
/* What has just been matched, inside of the reader, at `moment`. */
void ngx_http_weir_remember(const ngx_http_weir_line_t *line, ngx_http_weir_routed_t *routed,
                            uint64_t moment, size_t path_matched);
/* The route with all that belongs to it: remembered, or copied from the image. Inside of
 * the reader, whose moment it is. The caller's reference. WEIR_NOT_FOUND: its service has
 * no record. */
int ngx_http_weir_route(ngx_http_weir_proxy_main_conf_t *main, weir_reader_t *reader,
                        const weir_route_t *route, uint64_t moment, ngx_http_weir_routed_t **ret,
                        weir_error_t *err);
void ngx_http_weir_route_release(ngx_http_weir_routed_t *routed); /* NULL is fine */
ngx_int_t ngx_http_weir_routed_init_process(ngx_cycle_t *cycle);

/* -- what plugins remember and count (state.c) ----------------------------------------- */

/* The shared memory of the counters, which a reload takes over. */
ngx_int_t ngx_http_weir_counters_init(ngx_conf_t *cf, ngx_http_weir_proxy_main_conf_t *main);
ngx_int_t ngx_http_weir_cache_init_process(ngx_cycle_t *cycle);
typedef struct ngx_http_weir_counters_numbers_s {
    size_t capacity;
    uint64_t refused; /* since the memory is there */
} ngx_http_weir_counters_numbers_t;
/* False: this node has no counters. */
bool ngx_http_weir_counters_numbers(ngx_cycle_t *cycle, ngx_http_weir_counters_numbers_t *ret);

/* -- upstream --------------------------------------------------------------------------- */

/* Makes what is sent upstream. */
ngx_int_t ngx_http_weir_prepare(ngx_http_weir_ctx_t *ctx);
/* Puts it where nginx's proxy module looks, and takes it away again. */
void ngx_http_weir_swap_in(ngx_http_weir_ctx_t *ctx);
void ngx_http_weir_swap_out(ngx_http_weir_ctx_t *ctx);

/* The content of a prepared request: what nginx's proxy module returned. */
ngx_int_t ngx_http_weir_send(ngx_http_weir_ctx_t *ctx);

/* What `name` is called in the Host header (routing 6), for HTTPS if `secure`; data NULL: no
 * memory. */
ngx_str_t ngx_http_weir_host_text(ngx_pool_t *pool, ngx_str_t name, in_port_t port, bool secure);
/* The headers of the request that is sent, with this Host unless the client's is kept. A
 * service with an upstream gets them when a target is chosen, others in _prepare(). */
ngx_int_t ngx_http_weir_head(ngx_http_weir_ctx_t *ctx, ngx_str_t host);
/* The address of a host that is one, or stands in the hosts file. NGX_DECLINED: it is
 * neither. */
ngx_int_t ngx_http_weir_known_address(ngx_pool_t *pool, const weir_hosts_t *hosts, weir_str_t host,
                                      in_port_t port, ngx_http_weir_address_t **ret);
ngx_int_t ngx_http_weir_set_address(ngx_pool_t *pool, const struct sockaddr *sockaddr,
                                    socklen_t socklen, in_port_t port,
                                    ngx_http_weir_address_t *ret);

/* A question for the addresses of a name, with the search domains. Whoever owns it sets the
 * first part; `done` is called once, maybe before ngx_http_weir_lookup() returns, and may be
 * the end of it. */
typedef struct ngx_http_weir_lookup_s {
    weir_str_t host;
    ngx_http_core_loc_conf_t *core; /* its resolver is asked */
    ngx_log_t *log;
    void (*done)(struct ngx_http_weir_lookup_s *lookup);
    void *data;
    /* the answer */
    ngx_int_t state;                /* NGX_OK, NGX_RESOLVE_NXDOMAIN or anything else */
    const char *reason;             /* why not */
    ngx_resolver_addr_t *addresses; /* live until `done` returns */
    ngx_uint_t address_count;       /* at most ADDRESSES_MAX */
    time_t until;                   /* it is true */
    /* at work */
    ngx_resolver_ctx_t *query; /* NULL: no question is out */
    size_t candidate;
    char name[NAME_BYTES_MAX];
} ngx_http_weir_lookup_t;
void ngx_http_weir_lookup(ngx_http_weir_lookup_t *lookup);
void ngx_http_weir_lookup_cancel(ngx_http_weir_lookup_t *lookup); /* `done` is not called */

/* NGX_DECLINED: ctx->addresses are there; NGX_BUSY: the phases go on later; else what
 * an answer returned. */
ngx_int_t ngx_http_weir_resolve(ngx_http_weir_ctx_t *ctx);
void ngx_http_weir_resolve_cancel(ngx_http_weir_ctx_t *ctx);

/* -- the targets of an upstream (balance.c) ------------------------------------------------- */

/* As ngx_http_weir_resolve(), for a service whose host names an upstream. */
ngx_int_t ngx_http_weir_balance(ngx_http_weir_ctx_t *ctx);
/* The address for the attempt that begins; after the first, of another target if there is one,
 * and the request is made for that. `again`: the last one failed on a connection that was kept.
 * NGX_BUSY: no target is available. */
ngx_int_t ngx_http_weir_balance_next(ngx_http_weir_ctx_t *ctx, bool again,
                                     ngx_http_weir_address_t **ret);
/* The cookie that a hash made, in the place of one that the upstream sets. */
ngx_int_t ngx_http_weir_balance_header(ngx_http_weir_ctx_t *ctx);
/* Whether a retry found no target (routing 8.3: 503). */
bool ngx_http_weir_balance_is_lost(const ngx_http_weir_ctx_t *ctx);
void ngx_http_weir_balance_log(ngx_http_weir_ctx_t *ctx);
void ngx_http_weir_balance_end(ngx_http_weir_ctx_t *ctx);
/* Of the service, or else of its upstream; zero: none. */
const weir_uuid_t *ngx_http_weir_client_certificate(const ngx_http_weir_ctx_t *ctx);
ngx_int_t ngx_http_weir_targets_init_process(ngx_cycle_t *cycle);
/* Active checks, by the first worker (probes.c). */
ngx_int_t ngx_http_weir_probes_init_process(ngx_cycle_t *cycle);
/* The shared memory of what is known of targets' health, which a reload takes over. */
ngx_int_t ngx_http_weir_health_init(ngx_conf_t *cf, ngx_http_weir_proxy_main_conf_t *main);

char *ngx_http_weir_balancer(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
ngx_int_t ngx_http_weir_balancer_init_process(ngx_cycle_t *cycle);

/* -- TLS ---------------------------------------------------------------------------------- */

/* What a service needs of TLS. Counted: connections and requests hold them. */
struct ngx_http_weir_tls_profile_s {
    ngx_queue_t queue; /* most recently used first */
    ngx_uint_t references;
    uint32_t hash;
    ngx_ssl_t ssl;
    ngx_uint_t verify;
    ngx_uint_t key_len;
    u_char key[]; /* all that it was made of */
};

/* The profile of ctx->service, from the cache or made: ctx->tls. */
ngx_int_t ngx_http_weir_tls_profile(ngx_http_weir_ctx_t *ctx);
void ngx_http_weir_tls_release(ngx_http_weir_tls_profile_t *profile);

/* Certificates of clients' handshakes come from the image. */
ngx_int_t ngx_http_weir_tls_init(ngx_conf_t *cf);

/* -- answers --------------------------------------------------------------------------------- */

/* Sends an answer; returns what ngx_http_finalize_request() takes. type.len 0: no
 * Content-Type. */
ngx_int_t ngx_http_weir_answer(ngx_http_request_t *r, ngx_uint_t status, ngx_str_t type,
                               ngx_str_t body);
/* An error in the form that the client accepts (routing 8, producer A). */
ngx_int_t ngx_http_weir_fail(ngx_http_request_t *r, ngx_uint_t status, weir_str_t message);
/* No body is given: what the server makes of the status (plugins 1.5). */
ngx_int_t ngx_http_weir_answer_status(ngx_http_request_t *r, ngx_uint_t status);
/* What stands in ctx->answer_*, by the rules of plugins 1.5. */
ngx_int_t ngx_http_weir_answer_of_plugin(ngx_http_weir_ctx_t *ctx);
/* The content handler of the error location (producer B). */
ngx_int_t ngx_http_weir_error_handler(ngx_http_request_t *r);
bool ngx_http_weir_is_grpc(ngx_http_request_t *r); /* by Content-Type and HTTP/2 */
ngx_table_elt_t *ngx_http_weir_add_header(ngx_http_request_t *r, weir_str_t name, ngx_str_t value);

/* The number in decimal, within `out`. */
static ngx_inline ngx_str_t ngx_http_weir_digits(u_char out[NGX_INT64_LEN], ngx_uint_t number)
{
    u_char *at = out + NGX_INT64_LEN;
    do {
        *--at = (u_char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    return (ngx_str_t){ (size_t)(out + NGX_INT64_LEN - at), at };
}

/* The number in decimal; data NULL: no memory. */
static ngx_inline ngx_str_t ngx_http_weir_number(ngx_pool_t *pool, ngx_uint_t number)
{
    static u_char digit[] = "0123456789";
    if (number < 10) /* as most latencies are */
        return (ngx_str_t){ 1, digit + number };
    u_char *text = ngx_pnalloc(pool, NGX_INT64_LEN);
    return text != NULL ? ngx_http_weir_digits(text, number) : (ngx_str_t)ngx_null_string;
}

static ngx_inline ngx_str_t ngx_http_weir_text(weir_str_t text)
{
    ngx_str_t same = { text.len, (u_char *)(uintptr_t)text.data };
    return same;
}

/* data NULL: no memory, or it was NULL. */
static ngx_inline ngx_str_t ngx_http_weir_copy(ngx_pool_t *pool, weir_str_t text)
{
    ngx_str_t copy = ngx_null_string;
    if (text.data == NULL)
        return copy;
    copy.data = ngx_pnalloc(pool, text.len + 1);
    if (copy.data == NULL)
        return copy;
    ngx_memcpy(copy.data, text.data, text.len);
    copy.data[text.len] = '\0';
    copy.len = text.len;
    return copy;
}

#endif
