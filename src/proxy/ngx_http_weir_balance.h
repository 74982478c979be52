/* ngx_http_weir_balance.h -- an upstream as a worker knows it, shared by the nginx files that
 * balance.
 *
 * What was read of an upstream (ngx_http_weir_balance_t) never changes but for the addresses of
 * names; an upstream or a target that changed is read anew, and requests that began with the old
 * ones end with them. Both are counted. */
#ifndef NGX_HTTP_WEIR_BALANCE_H
#define NGX_HTTP_WEIR_BALANCE_H

#include "balance/balancer.h"
#include "proxy/ngx_http_weir_proxy.h"

typedef struct ngx_http_weir_balance_s ngx_http_weir_balance_t;

typedef struct ngx_http_weir_target_s {
    ngx_http_weir_balance_t *balance;
    ngx_str_t host; /* IPv6 in brackets */
    in_port_t port;
    uint16_t weight;
    ngx_http_weir_address_t *addresses;
    ngx_uint_t address_count;
    ngx_pool_t *pool;               /* of the addresses of a name; NULL: it has none */
    ngx_http_weir_lookup_t *lookup; /* NULL: its address is known without */
    time_t until;                   /* then it is asked for again; 0: it never was */
    unsigned asking : 1;
} ngx_http_weir_target_t;

/* An address of a target. */
typedef struct ngx_http_weir_place_s {
    ngx_http_weir_address_t address;
    const ngx_http_weir_target_t *target;
    weir_health_ref_t health;
} ngx_http_weir_place_t;

/* All addresses of an upstream at one time; counted. Another answer of a name server is
 * another one of these. */
typedef struct ngx_http_weir_places_s {
    ngx_uint_t references;
    ngx_pool_t *pool;
    weir_balancer_t *balancer;
    ngx_http_weir_place_t *list; /* in the balancer's order */
    ngx_uint_t count;
} ngx_http_weir_places_t;

struct ngx_http_weir_balance_s {
    ngx_queue_t queue; /* of all, most recently used first */
    ngx_queue_t chain; /* of those with one hash */
    ngx_uint_t references;
    uint64_t moment; /* weir_reader_moment() that it was true at last */
    size_t bytes;    /* about; what it counts for */
    ngx_pool_t *pool;
    weir_upstream_t upstream; /* its texts are in the pool */
    ngx_http_weir_target_t *targets;
    ngx_uint_t target_count;
    ngx_http_weir_places_t *places;
    ngx_uint_t unanswered; /* names that were never answered for */
    time_t refresh_at;     /* when a name has to be asked for again; 0: none has */
    ngx_queue_t waiting;   /* requests, for the first answers */
    unsigned looking : 1;  /* questions are being sent: answers that come at once are counted */
    unsigned changed : 1;  /* the addresses are others than those in `places` */
};

/* What a request has of an upstream. */
typedef struct ngx_http_weir_choice_s {
    ngx_http_weir_balance_t *balance;
    ngx_http_weir_places_t *places; /* NULL: not chosen yet */
    weir_pick_t pick;
    int peer; /* in `places`, or WEIR_NO_PEER */
    ngx_http_weir_ctx_t *ctx;
    ngx_queue_t queue; /* of those that wait */
    unsigned waiting : 1;
    unsigned connecting : 1; /* the first address was given to nginx */
    unsigned lost : 1;       /* a retry found no other */
    ngx_str_t cookie;        /* that was made for the hash: "NAME=..."; data NULL: none */
    size_t cookie_name_len;  /* of it, with the '=' */
} ngx_http_weir_choice_t;

/* -- targets.c ----------------------------------------------------------------------------- */

/* The upstream, from memory or read anew; the caller's reference. NULL: it could not be read,
 * or is not there (any more), which is logged. */
ngx_http_weir_balance_t *ngx_http_weir_balance_find(ngx_http_weir_proxy_main_conf_t *main,
                                                    const weir_uuid_t *id);
void ngx_http_weir_balance_release(ngx_http_weir_balance_t *balance);
void ngx_http_weir_places_release(ngx_http_weir_places_t *places); /* NULL is fine */
/* Asks for names whose time is over. Whether the addresses are there that requests need: if not,
 * who waits in `waiting` is woken when they are. */
bool ngx_http_weir_balance_resolve(ngx_http_weir_balance_t *balance);
/* The counters of all workers; NULL: none. */
weir_health_t *ngx_http_weir_health(const ngx_http_weir_proxy_main_conf_t *main);

/* -- balance.c ----------------------------------------------------------------------------- */

/* Something that happened to an address, by the limits of active or passive checks. */
void ngx_http_weir_report(const ngx_http_weir_balance_t *balance,
                          const weir_health_limits_t *limits, const ngx_http_weir_place_t *place,
                          weir_health_event_t event, ngx_log_t *log);

/* -- hash.c -------------------------------------------------------------------------------- */

/* What the upstream hashes on, for this request, into choice->pick; a cookie that is missing
 * is made. NGX_ERROR: no memory. */
ngx_int_t ngx_http_weir_hash(ngx_http_weir_choice_t *choice);

#endif
