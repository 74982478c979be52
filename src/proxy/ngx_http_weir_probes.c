/* ngx_http_weir_probes.c -- active health checks (routing 10).
 *
 * The first worker asks every address of the upstreams that want it, as often as they say;
 * what it learns all workers see. Which upstreams these are is an index of the image. A round
 * of an upstream asks as many at once as its `concurrency` says, and the next one begins when
 * it is over. Here only http and https are asked: tcp is for layer 4, and grpc is not in this
 * build; which is said in the log. */
#include "proxy/ngx_http_weir_balance.h"

#include "balance/probe.h"

enum {
    TICK_MS = 100,
    LOOK_MS = 1000, /* for upstreams that have come or gone */
    PROBED_MAX = 10000,
    POOL_BYTES = 512,
};

/* An upstream that has active checks. Counted: it holds itself in the list, and each of its
 * probes. */
typedef struct probed_s {
    ngx_queue_t queue; /* by id */
    ngx_uint_t references;
    ngx_http_weir_balance_t *balance;
    weir_uuid_t id;
    ngx_msec_t due[2];              /* of the usable, of the others */
    ngx_http_weir_places_t *places; /* of the round; NULL: none is under way */
    ngx_uint_t at, running;
    bool asked[2];         /* who is asked in the round */
    unsigned starting : 1; /* probes are being started */
    unsigned stale : 1;    /* it has changed: no more rounds with what is known */
    unsigned gone : 1;
    ngx_ssl_t ssl; /* ctx NULL: not made yet */
} probed_t;

typedef struct probe_s {
    probed_t *of;
    ngx_http_weir_places_t *places;
    const ngx_http_weir_place_t *place;
    ngx_peer_connection_t peer;
    ngx_pool_t *pool;
    ngx_str_t request;
    size_t sent, received;
    unsigned connected : 1;
    u_char answer[WEIR_PROBE_STATUS_BYTES];
} probe_t;

/* Of this worker. */
static struct {
    ngx_http_weir_proxy_main_conf_t *main;
    ngx_queue_t list;
    ngx_event_t tick;
    ngx_msec_t looked; /* when */
    uint64_t changed;  /* weir_reader_changed() that the list is of */
} probes;

static ngx_connection_t tick_owner = { .fd = (ngx_socket_t)-1 };

static void run_round(probed_t *probed);

/* -- upstreams ----------------------------------------------------------------------------- */

static void release(probed_t *probed)
{
    if (--probed->references > 0)
        return;
    ngx_http_weir_places_release(probed->places);
    ngx_http_weir_balance_release(probed->balance);
    if (probed->ssl.ctx != NULL)
        ngx_ssl_cleanup_ctx(&probed->ssl);
    ngx_free(probed);
}

/* -- TLS ------------------------------------------------------------------------------------ */

static bool trust(SSL_CTX *ctx, const weir_settings_t *settings)
{
    bool fine = true;
    for (size_t i = 0; i < weir_setting_count(settings, "lua_ssl_trusted_certificate"); i++) {
        const char *file = weir_setting_item(settings, "lua_ssl_trusted_certificate", i);
        fine = fine && (weir_str_is(weir_str(file), "system")
                            ? SSL_CTX_set_default_verify_paths(ctx)
                            : SSL_CTX_load_verify_locations(ctx, file, NULL)) == 1;
    }
    ERR_clear_error();
    return fine;
}

static bool make_tls(probed_t *probed)
{
    if (probed->ssl.ctx != NULL)
        return true;
    probed->ssl.log = ngx_cycle->log;
    if (ngx_ssl_create(&probed->ssl, NGX_SSL_TLSv1_2 | NGX_SSL_TLSv1_3, NULL) != NGX_OK)
        return false;
    if (probed->balance->upstream.probes.verify &&
        !trust(probed->ssl.ctx, probes.main->node->settings))
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "weir: lua_ssl_trusted_certificate cannot be used for active checks");
    return true;
}

static weir_str_t host_of(const probe_t *probe)
{
    weir_str_t fixed = probe->of->balance->upstream.host_header;
    return fixed.data != NULL ? fixed : ngx_http_weir_str(probe->place->target->host);
}

/* Without a port; "" for an address. */
static ngx_str_t server_name(const probe_t *probe)
{
    weir_str_t name = probe->of->balance->upstream.probes.sni;
    if (name.data == NULL)
        name = host_of(probe);
    const char *colon = name.len > 0 ? memchr(name.data, ':', name.len) : NULL;
    if (colon != NULL)
        name.len = (size_t)(colon - name.data);
    if (name.len == 0 || name.data[0] == '[' ||
        ngx_inet_addr((u_char *)(uintptr_t)name.data, name.len) != INADDR_NONE)
        name.len = 0;
    return ngx_http_weir_copy(probe->pool, name);
}

/* -- one probe ------------------------------------------------------------------------------- */

static void end(probe_t *probe)
{
    probed_t *probed = probe->of;
    ngx_connection_t *c = probe->peer.connection;
    if (c != NULL) {
        if (c->ssl != NULL) {
            c->ssl->no_wait_shutdown = 1;
            c->ssl->no_send_shutdown = 1;
            ngx_ssl_shutdown(c);
        }
        ngx_close_connection(c);
    }
    ngx_http_weir_places_release(probe->places);
    ngx_destroy_pool(probe->pool); /* it lies in it */
    probed->running--;
    if (!probed->starting)
        run_round(probed);
    release(probed);
}

static void end_with(probe_t *probe, weir_health_event_t event)
{
    ngx_http_weir_report(probe->of->balance, &probe->of->balance->upstream.active, probe->place,
                         event, ngx_cycle->log);
    end(probe);
}

static void end_with_status(probe_t *probe, unsigned status)
{
    const weir_health_limits_t *limits = &probe->of->balance->upstream.active;
    if (weir_statuses_has(&limits->unhealthy, status))
        end_with(probe, WEIR_HEALTH_HTTP_FAILURE);
    else if (weir_statuses_has(&limits->healthy, status))
        end_with(probe, WEIR_HEALTH_SUCCESS);
    else
        end(probe);
}

/* False: it has ended. */
static bool wait_for(probe_t *probe, ngx_event_t *event, ngx_int_t (*handle)(ngx_event_t *event))
{
    if (handle(event) == NGX_OK)
        return true;
    end(probe);
    return false;
}

static ngx_int_t handle_write(ngx_event_t *event)
{
    return ngx_handle_write_event(event, 0);
}

static ngx_int_t handle_read(ngx_event_t *event)
{
    return ngx_handle_read_event(event, 0);
}

static void read_answer(ngx_event_t *event)
{
    ngx_connection_t *c = event->data;
    probe_t *probe = c->data;
    if (event->timedout) {
        end_with(probe, WEIR_HEALTH_TIMEOUT);
        return;
    }
    while (probe->sent == probe->request.len) {
        ssize_t n =
            c->recv(c, probe->answer + probe->received, sizeof(probe->answer) - probe->received);
        if (n == NGX_AGAIN)
            break;
        if (n <= 0) {
            end_with(probe, WEIR_HEALTH_TCP_FAILURE);
            return;
        }
        probe->received += (size_t)n;
        int status = weir_probe_status((weir_str_t){ (char *)probe->answer, probe->received });
        if (status < 0)
            end_with(probe, WEIR_HEALTH_TCP_FAILURE);
        else if (status > 0)
            end_with_status(probe, (unsigned)status);
        if (status != 0)
            return;
    }
    wait_for(probe, c->read, handle_read);
}

static void send_request(ngx_event_t *event)
{
    ngx_connection_t *c = event->data;
    probe_t *probe = c->data;
    while (probe->sent < probe->request.len) {
        ssize_t n = c->send(c, probe->request.data + probe->sent, probe->request.len - probe->sent);
        if (n == NGX_AGAIN) {
            wait_for(probe, c->write, handle_write);
            return;
        }
        if (n <= 0) {
            end_with(probe, WEIR_HEALTH_TCP_FAILURE);
            return;
        }
        probe->sent += (size_t)n;
    }
    if (wait_for(probe, c->write, handle_write))
        read_answer(c->read);
}

static void begin_request(probe_t *probe)
{
    ngx_connection_t *c = probe->peer.connection;
    c->read->handler = read_answer;
    c->write->handler = send_request;
    send_request(c->write);
}

static void shaken(ngx_connection_t *c)
{
    probe_t *probe = c->data;
    bool verify = probe->of->balance->upstream.probes.verify;
    ngx_str_t name = server_name(probe);
    bool fine = c->ssl->handshaked;
    if (fine && verify)
        fine = SSL_get_verify_result(c->ssl->connection) == X509_V_OK &&
               (name.len == 0 || ngx_ssl_check_host(c, &name) == NGX_OK);
    if (fine)
        begin_request(probe);
    else
        end_with(probe, c->read->timedout ? WEIR_HEALTH_TIMEOUT : WEIR_HEALTH_TCP_FAILURE);
}

static void begin_tls(probe_t *probe)
{
    ngx_connection_t *c = probe->peer.connection;
    ngx_str_t name = server_name(probe);
    if (!make_tls(probe->of) ||
        ngx_ssl_create_connection(&probe->of->ssl, c, NGX_SSL_BUFFER | NGX_SSL_CLIENT) != NGX_OK ||
        (name.len > 0 && SSL_set_tlsext_host_name(c->ssl->connection, (char *)name.data) != 1)) {
        end(probe);
        return;
    }
    if (ngx_ssl_handshake(c) == NGX_AGAIN)
        c->ssl->handler = shaken;
    else
        shaken(c);
}

static void connected(ngx_event_t *event)
{
    ngx_connection_t *c = event->data;
    probe_t *probe = c->data;
    int error = 0;
    socklen_t len = sizeof(error);
    if (event->timedout) {
        end_with(probe, WEIR_HEALTH_TIMEOUT);
        return;
    }
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error != 0) {
        end_with(probe, WEIR_HEALTH_TCP_FAILURE);
        return;
    }
    if (probe->of->balance->upstream.probes.kind == WEIR_PROBE_HTTPS)
        begin_tls(probe);
    else
        begin_request(probe);
}

static bool make_request(probe_t *probe)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, WEIR_PROBE_REQUEST_BYTES_MAX);
    if (weir_probe_request(&probe->of->balance->upstream.probes, host_of(probe), &text) != WEIR_OK)
        return false;
    probe->request = ngx_http_weir_copy(probe->pool, weir_buffer_str(&text));
    return probe->request.data != NULL;
}

static void connect_to(probe_t *probe)
{
    ngx_http_weir_address_t *address = (ngx_http_weir_address_t *)&probe->place->address;
    probe->peer.sockaddr = &address->sockaddr;
    probe->peer.socklen = address->socklen;
    probe->peer.name = &address->name;
    probe->peer.get = ngx_event_get_peer;
    probe->peer.log = ngx_cycle->log;
    probe->peer.log_error = NGX_ERROR_INFO;
    ngx_int_t rc = ngx_event_connect_peer(&probe->peer);
    ngx_connection_t *c = probe->peer.connection;
    if (rc == NGX_DECLINED) {
        end_with(probe, WEIR_HEALTH_TCP_FAILURE);
        return;
    }
    if ((rc != NGX_OK && rc != NGX_AGAIN) || c == NULL) {
        end(probe); /* we lack sockets or memory: that says nothing of the target */
        return;
    }
    c->data = probe;
    c->pool = probe->pool;
    c->log = c->read->log = c->write->log = c->pool->log = ngx_cycle->log;
    c->read->handler = connected;
    c->write->handler = connected;
    /* for all of it */
    ngx_add_timer(c->read, ngx_max(probe->of->balance->upstream.probes.timeout_ms, 1));
    if (rc == NGX_OK)
        connected(c->write);
}

static void start_probe(probed_t *probed, const ngx_http_weir_place_t *place)
{
    ngx_pool_t *pool = ngx_create_pool(POOL_BYTES, ngx_cycle->log);
    probe_t *probe = pool != NULL ? ngx_pcalloc(pool, sizeof(*probe)) : NULL;
    if (probe == NULL) {
        if (pool != NULL)
            ngx_destroy_pool(pool);
        return; /* the next round */
    }
    probe->pool = pool;
    probe->of = probed;
    probe->place = place;
    probe->places = probed->places;
    probed->references++;
    probed->places->references++;
    probed->running++;
    if (make_request(probe))
        connect_to(probe);
    else
        end(probe);
}

/* -- rounds ---------------------------------------------------------------------------------- */

/* As many as may be under way; the round is over with the last of them. */
static void run_round(probed_t *probed)
{
    const weir_probes_t *how = &probed->balance->upstream.probes;
    probed->starting = 1;
    while (probed->places != NULL && probed->at < probed->places->count &&
           probed->running < how->concurrency) {
        const ngx_http_weir_place_t *place = &probed->places->list[probed->at++];
        if (place->target->weight > 0 && !probed->gone &&
            probed->asked[weir_health_usable(&place->health) ? 0 : 1])
            start_probe(probed, place);
    }
    probed->starting = 0;
    if (probed->places == NULL || probed->running > 0 || probed->at < probed->places->count)
        return;
    ngx_http_weir_places_release(probed->places);
    probed->places = NULL;
}

static void look_at(probed_t *probed)
{
    const weir_probes_t *how = &probed->balance->upstream.probes;
    const uint32_t intervals[2] = { how->healthy_interval_ms, how->unhealthy_interval_ms };
    if (probed->places != NULL || probed->stale || how->kind > WEIR_PROBE_HTTPS ||
        !ngx_http_weir_balance_resolve(probed->balance) || probed->balance->places == NULL)
        return;
    for (size_t i = 0; i < WEIR_COUNT(intervals); i++) {
        probed->asked[i] =
            intervals[i] > 0 && (ngx_msec_int_t)(ngx_current_msec - probed->due[i]) >= 0;
        if (probed->asked[i])
            probed->due[i] = ngx_current_msec + intervals[i];
    }
    if (!probed->asked[0] && !probed->asked[1])
        return;
    probed->places = probed->balance->places;
    probed->places->references++;
    probed->at = 0;
    run_round(probed);
}

/* -- the list --------------------------------------------------------------------------------- */

typedef struct ids_s {
    weir_uuid_t *list;
    size_t count;
} ids_t;

static int add_id(void *context, const weir_uuid_t *upstream, weir_error_t *err)
{
    ids_t *ids = context;
    (void)err;
    if (ids->count == PROBED_MAX) {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "weir: more than %d upstreams have active checks: the rest has none",
                      PROBED_MAX);
        return WEIR_AGAIN;
    }
    ids->list[ids->count++] = *upstream;
    return WEIR_OK;
}

static bool read_ids(weir_reader_t *reader, ids_t *ids)
{
    weir_error_t err = { 0 };
    int rc = weir_reader_enter(reader, &err);
    if (rc != WEIR_OK)
        return false;
    rc = weir_reader_probed(reader, add_id, ids, &err);
    weir_reader_leave(reader);
    return rc == WEIR_OK || rc == WEIR_AGAIN;
}

static void say_what_is_not_run(const weir_upstream_t *upstream)
{
    static const char *const kinds[] = { "http", "https", "tcp", "grpc", "grpcs" };
    if (upstream->probes.kind > WEIR_PROBE_HTTPS)
        ngx_log_error(NGX_LOG_WARN, ngx_cycle->log, 0,
                      "weir: active checks of upstream \"%*s\" are of type %s: they are not run",
                      upstream->name.len, upstream->name.data, kinds[upstream->probes.kind]);
}

/* The upstream as it is now; a round that is under way ends with what it began with. */
static void renew(probed_t *probed, ngx_http_weir_balance_t *balance)
{
    if (balance == probed->balance) {
        ngx_http_weir_balance_release(balance);
        return;
    }
    probed->stale = probed->running > 0;
    if (probed->stale) { /* its probes need the old one: another time */
        ngx_http_weir_balance_release(balance);
        probes.changed = 0;
        return;
    }
    if (probed->balance != NULL)
        ngx_http_weir_balance_release(probed->balance);
    probed->balance = balance;
    if (probed->ssl.ctx != NULL)
        ngx_ssl_cleanup_ctx(&probed->ssl);
    probed->ssl.ctx = NULL;
    say_what_is_not_run(&balance->upstream);
}

static void drop(probed_t *probed)
{
    ngx_queue_remove(&probed->queue);
    probed->gone = 1;
    release(probed);
}

/* One more before `at`. NULL: no memory. */
static probed_t *add_before(ngx_queue_t *at, const weir_uuid_t *id)
{
    probed_t *probed = ngx_calloc(sizeof(*probed), ngx_cycle->log);
    if (probed == NULL)
        return NULL;
    probed->references = 1;
    probed->id = *id;
    probed->due[0] = probed->due[1] = ngx_current_msec;
    ngx_queue_insert_tail(at, &probed->queue); /* of `at` as a head: right before it */
    return probed;
}

/* Both the list and the ids are in order. */
static void merge(const ids_t *ids)
{
    ngx_queue_t *q = ngx_queue_head(&probes.list);
    for (size_t i = 0; i < ids->count; i++) {
        int order = 1;
        while (q != ngx_queue_sentinel(&probes.list)) {
            probed_t *probed = ngx_queue_data(q, probed_t, queue);
            order = memcmp(probed->id.bytes, ids->list[i].bytes, WEIR_UUID_BYTES);
            if (order >= 0)
                break;
            q = ngx_queue_next(q);
            drop(probed);
        }
        probed_t *probed = order == 0 ? ngx_queue_data(q, probed_t, queue) : NULL;
        ngx_http_weir_balance_t *balance = ngx_http_weir_balance_find(probes.main, &ids->list[i]);
        if (balance == NULL)
            continue;
        if (probed == NULL)
            probed = add_before(q, &ids->list[i]);
        else
            q = ngx_queue_next(q);
        if (probed != NULL)
            renew(probed, balance);
        else
            ngx_http_weir_balance_release(balance);
    }
    while (q != ngx_queue_sentinel(&probes.list)) {
        probed_t *probed = ngx_queue_data(q, probed_t, queue);
        q = ngx_queue_next(q);
        drop(probed);
    }
}

/* Once a second at most, and only if an upstream or a target has changed: so the cost of a
 * change is that of the upstreams that have checks, in one worker. */
static void look_for_changes(void)
{
    static const uint32_t types = 1u << WEIR_UPSTREAMS | 1u << WEIR_TARGETS;
    uint64_t changed = 0;
    ids_t ids = { .count = 0 };
    probes.looked = ngx_current_msec;
    weir_reader_t *reader = ngx_http_weir_reader(probes.main->node, ngx_cycle->log);
    if (reader == NULL || weir_reader_changed(reader, types, &changed, NULL) != WEIR_OK ||
        changed == probes.changed)
        return;
    ids.list = ngx_alloc(PROBED_MAX * sizeof(*ids.list), ngx_cycle->log);
    if (ids.list != NULL && read_ids(reader, &ids)) {
        probes.changed = changed;
        merge(&ids);
    }
    ngx_free(ids.list);
}

static void tick(ngx_event_t *event)
{
    if (ngx_exiting || ngx_terminate)
        return;
    if (ngx_current_msec - probes.looked >= LOOK_MS || probes.looked == 0)
        look_for_changes();
    for (ngx_queue_t *q = ngx_queue_head(&probes.list); q != ngx_queue_sentinel(&probes.list);) {
        probed_t *probed = ngx_queue_data(q, probed_t, queue);
        q = ngx_queue_next(q);
        look_at(probed);
    }
    ngx_add_timer(event, ngx_queue_empty(&probes.list) ? LOOK_MS : TICK_MS);
}

ngx_int_t ngx_http_weir_probes_init_process(ngx_cycle_t *cycle)
{
    bool first =
        (ngx_process == NGX_PROCESS_WORKER || ngx_process == NGX_PROCESS_SINGLE) && ngx_worker == 0;
    ngx_queue_init(&probes.list);
    probes.main = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_weir_proxy_module);
    if (probes.main == NULL || probes.main->node == NULL || probes.main->health == NULL || !first)
        return NGX_OK;
    probes.tick.handler = tick;
    probes.tick.log = cycle->log;
    probes.tick.data = &tick_owner;
    probes.tick.cancelable = 1;
    ngx_add_timer(&probes.tick, TICK_MS);
    return NGX_OK;
}
