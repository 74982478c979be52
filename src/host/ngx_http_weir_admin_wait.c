/* ngx_http_weir_admin_wait.c -- answers that are held (ngx_http_weir_admin_wait.h). */
#include "host/ngx_http_weir_admin_wait.h"

#include "host/ngx_http_weir_reply.h"
#include "node/ngx_http_weir.h"

#include <stdatomic.h>

enum { LOOK_MS = 1000 }; /* whether the worker ends: an answer must not be lost with it */

static atomic_uint places_left;

void ngx_http_weir_admin_wait_places(ngx_uint_t places)
{
    atomic_store(&places_left, (unsigned)places);
}

bool ngx_http_weir_admin_wait_take(void *context)
{
    unsigned left = atomic_load(&places_left);
    (void)context;
    while (left > 0) {
        if (atomic_compare_exchange_weak(&places_left, &left, left - 1)) {
            return true;
        }
    }
    return false;
}

void ngx_http_weir_admin_wait_give_back(void)
{
    atomic_fetch_add(&places_left, 1);
}

/* -- the end of a wait ---------------------------------------------------------------- */

void ngx_http_weir_admin_wait_end(ngx_http_weir_admin_wait_t *wait)
{
    if (wait->timer.timer_set) {
        ngx_del_timer(&wait->timer);
    }
    if (wait->over.posted) {
        ngx_delete_posted_event(&wait->over);
    }
    weir_waiter_free(wait->waiter);
    wait->waiter = NULL;
}

static void ngx_http_weir_admin_wait_answer(ngx_http_weir_admin_wait_t *wait)
{
    ngx_http_request_t *r = wait->request;
    ngx_connection_t *c = r->connection;
    ngx_http_weir_admin_wait_end(wait);
    ngx_http_set_log_request(c->log, r);
    wait->answer(r); /* the request may be gone afterwards */
    ngx_http_run_posted_requests(c);
}

static void ngx_http_weir_admin_wait_over(ngx_event_t *event)
{
    ngx_http_weir_admin_wait_t *wait =
        (void *)((u_char *)event - offsetof(ngx_http_weir_admin_wait_t, over));
    /* What came with the acknowledgement counts, too: a report behind it, for one. */
    if (weir_waiter_look(wait->waiter, &wait->arrivals)) {
        ngx_http_weir_admin_wait_answer(wait);
    }
}

static void ngx_http_weir_admin_wait_tick(ngx_event_t *event)
{
    ngx_http_weir_admin_wait_t *wait =
        (void *)((u_char *)event - offsetof(ngx_http_weir_admin_wait_t, timer));
    ngx_msec_int_t left = (ngx_msec_int_t)(wait->end - ngx_current_msec);
    if (weir_waiter_look(wait->waiter, &wait->arrivals) || left <= 0 || ngx_exiting ||
        ngx_terminate) {
        ngx_http_weir_admin_wait_answer(wait);
        return;
    }
    ngx_add_timer(event, ngx_min((ngx_msec_t)left, LOOK_MS));
}

/* By the registry, under its lock: by a session, so on the event loop. */
static void ngx_http_weir_admin_wait_wake(void *context)
{
    ngx_http_weir_admin_wait_t *wait = context;
    ngx_post_event(&wait->over, &ngx_posted_events);
}

/* -- its beginning ------------------------------------------------------------------------ */

static int ngx_http_weir_admin_wait_register(ngx_http_weir_admin_wait_t *wait,
                                             weir_registry_t *registry,
                                             const weir_admin_response_t *response,
                                             weir_error_t *err)
{
    static const weir_wait_kind_t kinds[] = {
        [WEIR_WISH_ALL] = WEIR_WAIT_ALL,
        [WEIR_WISH_COUNT] = WEIR_WAIT_COUNT,
        [WEIR_WISH_LABEL] = WEIR_WAIT_LABEL,
    };
    weir_wait_t wanted = {
        .kind = kinds[response->wish.kind],
        .version = response->version,
        .count = response->wish.count,
        .key = response->wish.key,
        .value = response->wish.value,
        .entities = response->written,
        .entity_count = response->written_count,
        .over = ngx_http_weir_admin_wait_wake,
        .context = wait,
    };
    return weir_registry_wait(registry, &wanted, &wait->waiter, err);
}

/* Notices a client that goes: its request ends, and with it this wait. */
static void ngx_http_weir_admin_wait_watch_client(ngx_http_request_t *r)
{
    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
    if (r->connection->read->ready) {
        ngx_post_event(r->connection->read, &ngx_posted_events); /* it may have gone before */
    }
}

ngx_int_t ngx_http_weir_admin_wait_begin(ngx_http_weir_admin_wait_t *wait, ngx_http_request_t *r,
                                         weir_registry_t *registry,
                                         const weir_admin_response_t *response,
                                         void (*answer)(ngx_http_request_t *r))
{
    weir_error_t err = { 0 };
    if (registry == NULL) {
        return NGX_OK;
    }
    if (ngx_http_weir_admin_wait_register(wait, registry, response, &err) != WEIR_OK) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "Admin API: a write is not waited for: %s", err.reason);
        return NGX_OK; /* it is done all the same, and not confirmed */
    }
    if (weir_waiter_look(wait->waiter, &wait->arrivals) || response->wish.timeout_ms == 0) {
        ngx_http_weir_admin_wait_end(wait);
        return NGX_OK;
    }
    wait->request = r;
    wait->answer = answer;
    wait->end = ngx_current_msec + (ngx_msec_t)response->wish.timeout_ms;
    /* nginx's debug log looks for a connection behind an event's data. */
    wait->over.data = wait->timer.data = r->connection;
    wait->over.log = wait->timer.log = r->connection->log;
    wait->over.handler = ngx_http_weir_admin_wait_over;
    wait->timer.handler = ngx_http_weir_admin_wait_tick;
    ngx_add_timer(&wait->timer, ngx_min((ngx_msec_t)response->wish.timeout_ms, LOOK_MS));
    ngx_http_weir_admin_wait_watch_client(r);
    return NGX_AGAIN;
}

/* -- what the answer says of it ---------------------------------------------------------------- */

ngx_int_t ngx_http_weir_admin_wait_headers(const ngx_http_weir_admin_wait_t *wait,
                                           ngx_http_request_t *r)
{
    const struct {
        weir_str_t name;
        size_t count;
    } counts[] = {
        { WEIR_STR("Weir-Applied"), wait->arrivals.applied },
        { WEIR_STR("Weir-Pending"), wait->arrivals.pending },
        { WEIR_STR("Weir-Failed"), wait->arrivals.failed },
    };
    weir_str_t confirmed = wait->arrivals.confirmed ? WEIR_STR("true") : WEIR_STR("false");
    if (ngx_http_weir_reply_header(r, WEIR_STR("Weir-Confirmed"), confirmed) == NULL) {
        return NGX_ERROR;
    }
    for (size_t i = 0; i < WEIR_COUNT(counts); i++) {
        u_char *text = ngx_pnalloc(r->pool, NGX_SIZE_T_LEN);
        if (text == NULL) {
            return NGX_ERROR;
        }
        size_t len = (size_t)(ngx_sprintf(text, "%uz", counts[i].count) - text);
        weir_str_t value = { (const char *)text, len };
        if (ngx_http_weir_reply_header(r, counts[i].name, value) == NULL) {
            return NGX_ERROR;
        }
    }
    return NGX_OK;
}
