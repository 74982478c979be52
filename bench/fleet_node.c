/* fleet_node.c -- one simulated data plane: its connection, the protocol, its faults.
 *
 * The protocol is the agent's own (cluster/client.h); this file and fleet_sync.c are
 * all of the fleet that knows it. Where the agent makes an image, a node remembers the
 * version. What a fault changes is decided in three places: whether a node reads
 * (`reads`), what it may send (`on_send`), what it sends besides (`misbehave`). */
#include "fleet.h"

#include "agent/retry.h"
#include "base/clock.h"
#include "base/uuid.h"
#include "cluster/client.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    READS_MAX = 16,          /* in one turn */
    SLOW_TICK_MS = 100,      /* a slow node reads so often */
    SMALL_RECEIVE_BYTES = 1, /* the kernel makes the least it can of it */
    GREEDY_MS = 20,          /* between two questions for everything */
    GREEDY_QUEUE_BYTES = 4096,
    GARBAGE_MS = 1000, /* a malformed message so long after the last, about */
    GARBAGE_BYTES_MAX = 65536,
    TURN_MS = 5,     /* who may not connect yet asks again */
    CALL_MS = 60000, /* as the agent: a large set may take its time */
};

struct fleet_node {
    fleet_place_t place; /* first: the loop's */
    fleet_loop_t *loop;
    fleet_shared_t *shared;
    weir_client_t *client;
    tls_t *tls;
    tls_session_t *session; /* to be resumed */
    uint64_t random;
    unsigned index, tries;
    fleet_fault_t fault;
    uint32_t events; /* that epoll was asked for */
    bool beginning;  /* counted by its loop */
    bool ready;      /* counted as such */
    bool lost;       /* could not queue output: the connection goes */
    bool deaf;       /* reads nothing any more */
    int64_t connecting_ms, retry_ms;
    int64_t read_ms;   /* a slow node's last turn */
    int64_t fault_ms;  /* when it misbehaves next */
    int64_t busy_ms;   /* applies until then: 0: does not */
    uint64_t applying; /* the version that it has then */
    uint64_t asked;
    fleet_muzzle_t muzzle;
    fleet_sync_t sync;
};

/* -- callbacks of the client -------------------------------------------------------------- */

static int on_send(void *context, weir_str_t bytes)
{
    fleet_node_t *node = context;
    if (node->fault == FAULT_MUTE && weir_client_ready(node->client) &&
        !fleet_muzzle_passes(&node->muzzle, bytes))
        return WEIR_OK;
    weir_error_t err = { 0 };
    int rc = tls_write(node->tls, bytes, 2 * node->shared->options->payload_max, &err);
    node->lost |= rc != WEIR_OK;
    if (rc == WEIR_OK)
        fleet_add(&node->shared->counters.bytes_out, bytes.len);
    return rc;
}

static int on_random(void *context, uint8_t *bytes, size_t count)
{
    fleet_node_t *node = context;
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)fleet_random(&node->random);
    return WEIR_OK;
}

static void on_event(void *context, const char *text)
{
    fleet_node_t *node = context;
    /* As in the agent: its own log lines of this kind are faults. */
    if (strstr(text, "refused") != NULL || strstr(text, "could not") != NULL ||
        strstr(text, "no answer") != NULL)
        fleet_count_reason(node->shared, text);
}

fleet_sync_t *fleet_node_sync(fleet_node_t *node)
{
    return &node->sync;
}

void fleet_node_applied(fleet_node_t *node, uint64_t version, size_t entities, bool full)
{
    const fleet_options_t *options = node->shared->options;
    fleet_add(&node->shared->counters.updates, 1);
    fleet_add(&node->shared->counters.full_updates, full);
    fleet_add(&node->shared->counters.deltas, entities);
    if (options->apply_ms_max == 0) {
        fleet_versions_applied(node->shared->versions, node->index, version,
                               weir_clock_monotonic_us());
    } else {
        /* The client goes on at once; what it says is held until the node has "applied" it. */
        uint64_t spread = (uint64_t)(options->apply_ms_max - options->apply_ms_min) + 1;
        int64_t took = options->apply_ms_min + (int64_t)(fleet_random(&node->random) % spread);
        node->busy_ms = weir_clock_monotonic_ms() + took;
        node->applying = version;
    }
    node->deaf |= node->fault == FAULT_STALL;
}

/* kong.sync.v2; fleet_sync.c has the other protocol. */
static int on_apply(void *context, const weir_update_t *update, weir_error_t *err)
{
    (void)err;
    fleet_node_applied(context, update->version, weir_json_count(update->deltas), update->full);
    return WEIR_OK;
}

static void end_busy(fleet_node_t *node)
{
    node->busy_ms = 0;
    fleet_versions_applied(node->shared->versions, node->index, node->applying,
                           weir_clock_monotonic_us());
}

/* -- connecting ------------------------------------------------------------------------------ */

static void end_beginning(fleet_node_t *node)
{
    if (node->beginning)
        fleet_loop_begun(node->loop);
    node->beginning = false;
}

static void disconnect(fleet_node_t *node, const char *reason)
{
    fleet_counters_t *counters = &node->shared->counters;
    if (node->busy_ms != 0)
        end_busy(node); /* it is applied all the same */
    if (node->tls != NULL && tls_ready(node->tls)) {
        if (node->shared->options->resume) {
            tls_session_free(node->session);
            node->session = tls_session(node->tls);
        }
        atomic_fetch_sub(&counters->tls_open, 1);
    }
    if (node->ready) {
        node->tries = 0;
        atomic_fetch_sub(&counters->ready, 1);
        atomic_store(&counters->ready_us, weir_clock_monotonic_us());
    }
    end_beginning(node);
    weir_client_disconnected(node->client);
    tls_free(node->tls); /* closing takes it out of epoll */
    node->tls = NULL;
    node->ready = node->lost = node->deaf = false;
    node->retry_ms = weir_clock_monotonic_ms() +
                     retry_delay_ms(node->tries, (uint32_t)fleet_random(&node->random));
    node->tries++;
    fleet_add(&counters->disconnects, 1);
    fleet_count_reason(node->shared, reason);
}

/* A small window, so that what is not read fills the control plane, not our kernel. */
static void narrow(const fleet_node_t *node)
{
    int bytes = SMALL_RECEIVE_BYTES;
    if (node->fault == FAULT_SLOW || node->fault == FAULT_STALL || node->fault == FAULT_GREEDY)
        setsockopt(tls_fd(node->tls), SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
}

static void try_connect(fleet_node_t *node, int64_t now_ms)
{
    weir_error_t err = { 0 };
    if (!fleet_loop_begin(node->loop)) {
        node->retry_ms = now_ms + TURN_MS;
        return;
    }
    node->beginning = true;
    node->connecting_ms = now_ms;
    fleet_add(&node->shared->counters.connects, 1);
    int rc = tls_connect(node->shared->tls, node->shared->options->control_plane, node->session,
                         &node->tls, &err);
    if (rc == WEIR_OK) {
        struct epoll_event event = { .events = EPOLLOUT, .data.ptr = node };
        node->events = event.events;
        narrow(node);
        if (epoll_ctl(fleet_loop_epoll(node->loop), EPOLL_CTL_ADD, tls_fd(node->tls), &event) != 0)
            rc = weir_error_set(&err, WEIR_IO, NULL, "epoll_ctl failed");
    }
    if (rc != WEIR_OK)
        disconnect(node, err.reason);
}

static int handshake(fleet_node_t *node, int64_t now_ms, weir_error_t *err)
{
    int rc = tls_handshake(node->tls, err);
    if (rc == WEIR_AGAIN)
        return WEIR_OK;
    if (rc != WEIR_OK)
        return rc;
    fleet_add(&node->shared->counters.handshakes, 1);
    atomic_fetch_add(&node->shared->counters.tls_open, 1);
    node->muzzle = (fleet_muzzle_t){ 0 };
    if (node->fault == FAULT_HALF_OPEN)
        end_beginning(node);
    return node->fault == FAULT_HALF_OPEN ? WEIR_OK
                                          : weir_client_connected(node->client, now_ms, err);
}

/* -- reading ---------------------------------------------------------------------------------- */

static bool reads(const fleet_node_t *node)
{
    return !node->deaf && node->busy_ms == 0;
}

static int take(fleet_node_t *node, weir_str_t bytes, int64_t now_ms, weir_error_t *err)
{
    fleet_add(&node->shared->counters.bytes_in, bytes.len);
    return node->fault == FAULT_HALF_OPEN ? WEIR_OK
                                          : weir_client_input(node->client, bytes, now_ms, err);
}

/* Up to `bytes_max`. */
static int read_some(fleet_node_t *node, size_t bytes_max, int64_t now_ms, weir_error_t *err)
{
    size_t room = 0;
    char *scratch = fleet_loop_scratch(node->loop, &room);
    int rc = WEIR_OK;
    for (int i = 0; rc == WEIR_OK && i < READS_MAX && bytes_max > 0; i++) {
        size_t len = 0;
        if (node->lost || !reads(node))
            break;
        rc = tls_read(node->tls, scratch, bytes_max < room ? bytes_max : room, &len, err);
        if (rc == WEIR_OK) {
            bytes_max -= len;
            rc = take(node, (weir_str_t){ scratch, len }, now_ms, err);
        }
    }
    return rc == WEIR_AGAIN ? WEIR_OK : rc;
}

/* A slow node looks at the clock, not at the socket. */
static int read_slowly(fleet_node_t *node, int64_t now_ms, weir_error_t *err)
{
    int64_t passed = now_ms - node->read_ms;
    if (passed < SLOW_TICK_MS)
        return WEIR_OK;
    node->read_ms = now_ms;
    uint64_t bytes = node->shared->options->slow_bytes * SLOW_TICK_MS / 1000;
    return read_some(node, bytes > 0 ? (size_t)bytes : 1, now_ms, err);
}

static int read_input(fleet_node_t *node, uint32_t events, int64_t now_ms, weir_error_t *err)
{
    if (node->fault == FAULT_SLOW && node->ready)
        return read_slowly(node, now_ms, err);
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        return read_some(node, SIZE_MAX, now_ms, err);
    return WEIR_OK;
}

/* -- misbehaving ------------------------------------------------------------------------------- */

static int send_extra(fleet_node_t *node, const weir_buffer_t *bytes, weir_error_t *err)
{
    if (bytes->failed != WEIR_OK)
        return weir_error_memory(err);
    fleet_add(&node->shared->counters.bytes_out, bytes->len);
    return tls_write(node->tls, weir_buffer_str(bytes), SIZE_MAX / 2, err);
}

static int misbehave(fleet_node_t *node, int64_t now_ms, weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t bytes;
    weir_buffer_init(&bytes, GARBAGE_BYTES_MAX);
    if (!node->ready || now_ms < node->fault_ms)
        return WEIR_OK;
    if (node->fault == FAULT_GARBAGE) {
        fleet_garbage(&node->random, &bytes);
        fleet_add(&node->shared->counters.garbage, 1);
        node->fault_ms =
            now_ms + GARBAGE_MS / 2 + (int64_t)(fleet_random(&node->random) % GARBAGE_MS);
        return send_extra(node, &bytes, err);
    }
    if (node->fault != FAULT_GREEDY)
        return WEIR_OK;
    node->deaf = true;
    node->fault_ms = now_ms + GREEDY_MS;
    if (tls_queued(node->tls) > GREEDY_QUEUE_BYTES)
        return WEIR_OK;
    bytes.failed = fleet_ask_all(&node->random, ++node->asked, &bytes);
    return send_extra(node, &bytes, err);
}

/* -- a turn ---------------------------------------------------------------------------------------
 */

static void note_ready(fleet_node_t *node, int64_t now_ms)
{
    if (node->ready || !weir_client_ready(node->client))
        return;
    fleet_counters_t *counters = &node->shared->counters;
    end_beginning(node);
    node->ready = true;
    node->tries = 0;
    node->read_ms = now_ms;
    node->asked = 1000; /* its own ids, above those of the client */
    node->fault_ms =
        now_ms +
        (node->fault == FAULT_GARBAGE ? (int64_t)(fleet_random(&node->random) % GARBAGE_MS) : 0);
    fleet_add(&counters->hellos, 1);
    atomic_store(&counters->ready_us, weir_clock_monotonic_us());
    atomic_fetch_add(&counters->ready, 1);
}

/* What a node that reads does of itself. */
static int live(fleet_node_t *node, uint32_t events, int64_t now_ms, weir_error_t *err)
{
    int rc = read_input(node, events, now_ms, err);
    if (rc != WEIR_OK || node->fault == FAULT_HALF_OPEN || node->deaf)
        return rc;
    note_ready(node, now_ms);
    rc = weir_client_tick(node->client, weir_clock_monotonic_ms(), err);
    return rc;
}

static int serve(fleet_node_t *node, uint32_t events, int64_t now_ms, weir_error_t *err)
{
    int rc = WEIR_OK;
    if (node->busy_ms != 0 && now_ms >= node->busy_ms)
        end_busy(node);
    if (!tls_ready(node->tls)) {
        if (events != 0)
            rc = handshake(node, now_ms, err);
        else if (now_ms - node->connecting_ms >= RETRY_CONNECT_MS)
            rc = weir_error_set(err, WEIR_TIMEOUT, NULL, "no connection within 5 seconds");
    } else if (reads(node)) {
        rc = live(node, events, now_ms, err);
    } else if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) {
        rc = weir_error_set(err, WEIR_CLOSED, NULL, "the control plane dropped the connection");
    }
    if (rc == WEIR_OK)
        rc = misbehave(node, now_ms, err);
    if (node->busy_ms == 0) {
        weir_error_t flush = { 0 };
        int flushed = tls_flush(node->tls, &flush); /* a close frame goes out, too */
        if (rc == WEIR_OK && flushed != WEIR_OK) {
            rc = flushed;
            *err = flush;
        }
    }
    if (rc == WEIR_OK && node->lost)
        rc = weir_error_set(err, WEIR_CLOSED, NULL, "the output queue is full");
    return rc;
}

/* -- what it waits for --------------------------------------------------------------------------
 */

static uint32_t wanted_events(const fleet_node_t *node)
{
    short polled = tls_events(node->tls);
    bool slow = node->fault == FAULT_SLOW && node->ready;
    uint32_t events = 0;
    if (!tls_ready(node->tls))
        return (uint32_t)((polled & 1) ? EPOLLIN : 0) | (uint32_t)((polled & 4) ? EPOLLOUT : 0);
    if (reads(node) && !slow)
        events |= EPOLLIN;
    else
        events |= EPOLLRDHUP;
    if (node->busy_ms == 0 && tls_queued(node->tls) > 0)
        events |= EPOLLOUT;
    return events;
}

static int64_t wanted_time(const fleet_node_t *node)
{
    if (node->tls == NULL)
        return node->retry_ms;
    if (!tls_ready(node->tls))
        return node->connecting_ms + RETRY_CONNECT_MS;
    if (node->busy_ms != 0)
        return node->busy_ms;
    if (node->fault == FAULT_HALF_OPEN || (node->deaf && node->fault == FAULT_STALL))
        return INT64_MAX;
    int64_t at = node->deaf ? INT64_MAX : weir_client_deadline(node->client);
    if (node->ready && (node->fault == FAULT_GREEDY || node->fault == FAULT_GARBAGE) &&
        node->fault_ms < at)
        at = node->fault_ms;
    if (node->ready && node->fault == FAULT_SLOW && node->read_ms + SLOW_TICK_MS < at)
        at = node->read_ms + SLOW_TICK_MS;
    return at;
}

static void arm(fleet_node_t *node)
{
    if (node->tls != NULL) {
        struct epoll_event event = { .events = wanted_events(node), .data.ptr = node };
        if (event.events != node->events &&
            epoll_ctl(fleet_loop_epoll(node->loop), EPOLL_CTL_MOD, tls_fd(node->tls), &event) == 0)
            node->events = event.events;
    }
    fleet_loop_at(node->loop, &node->place, wanted_time(node));
}

/* A timer ran off, but what it waited for may lie in the socket: then it was we who are
 * late, with thousands of others, as no data plane of its own machine would be. */
static uint32_t waiting_input(const fleet_node_t *node)
{
    struct pollfd fd = { .fd = tls_fd(node->tls), .events = POLLIN };
    bool ours = node->fault != FAULT_SLOW && reads(node);
    return ours && poll(&fd, 1, 0) > 0 ? EPOLLIN : 0;
}

void fleet_node_turn(fleet_node_t *node, uint32_t events, int64_t now_ms)
{
    weir_error_t err = { 0 };
    if (events == 0 && node->tls != NULL)
        events = waiting_input(node);
    if (node->tls == NULL) {
        if (now_ms >= node->retry_ms)
            try_connect(node, now_ms);
    } else if (serve(node, events, now_ms, &err) != WEIR_OK) {
        disconnect(node, err.reason);
    } else if (!node->deaf) {
        note_ready(node, now_ms);
    }
    arm(node);
}

bool fleet_node_cut(fleet_node_t *node, int64_t now_ms)
{
    if (node->tls == NULL || !tls_ready(node->tls))
        return false;
    struct linger reset = { .l_onoff = 1, .l_linger = 0 };
    setsockopt(tls_fd(node->tls), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    fleet_add(&node->shared->counters.cuts, 1);
    disconnect(node, "cut on purpose");
    (void)now_ms;
    arm(node);
    return true;
}

/* -- its life
 * ---------------------------------------------------------------------------------------- */

/* The same for the same seed: a fleet that starts again is the fleet that was there. */
static void make_id(uint64_t *random, char text[WEIR_UUID_TEXT + 1])
{
    weir_uuid_t id;
    for (size_t i = 0; i < WEIR_UUID_BYTES; i++)
        id.bytes[i] = (uint8_t)fleet_random(random);
    id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40);
    id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
    weir_uuid_format(&id, text);
}

/* What fleet_fault.c makes is of kong.sync.v2, or in snappy blocks: garbage shall come
 * further than into zstd. */
static int open_client(fleet_node_t *node, weir_error_t *err)
{
    const fleet_options_t *o = node->shared->options;
    char id[WEIR_UUID_TEXT + 1];
    char hostname[64];
    make_id(&node->random, id);
    snprintf(hostname, sizeof(hostname), "fleet-%u", node->index);
    weir_client_options_t options = {
        .host = o->control_plane,
        .node_id = weir_str(id),
        .hostname = hostname,
        .compat_version = o->compat_version,
        .labels = o->labels,
        .payload_max = o->payload_max,
        .call_timeout_ms = CALL_MS,
        .ping_ms = o->ping_ms,
        .context = node,
        .send = on_send,
        .random = on_random,
        .apply = on_apply,
        .sync = o->sync_v1 && node->fault != FAULT_GREEDY ? &fleet_sync : NULL,
        .zstd = o->zstd && node->fault != FAULT_GARBAGE,
        .event = on_event,
    };
    return weir_client_new(&options, 0, &node->client, err);
}

int fleet_node_new(fleet_loop_t *loop, fleet_shared_t *shared, unsigned index, fleet_fault_t fault,
                   int64_t first_ms, fleet_node_t **ret, weir_error_t *err)
{
    fleet_node_t *node = weir_calloc(1, sizeof(*node));
    if (node == NULL)
        return weir_error_memory(err);
    node->place = (fleet_place_t){ .node = node, .heap_at = FLEET_NOT_QUEUED };
    node->loop = loop;
    node->shared = shared;
    node->index = index;
    node->fault = fault;
    node->retry_ms = first_ms;
    uint64_t seed = shared->options->seed;
    node->random = fleet_random(&seed) ^ ((uint64_t)index << 20);
    int rc = open_client(node, err);
    if (rc != WEIR_OK) {
        fleet_node_free(node);
        return rc;
    }
    fleet_loop_at(loop, &node->place, first_ms);
    *ret = node;
    return WEIR_OK;
}

void fleet_node_free(fleet_node_t *node)
{
    if (node == NULL)
        return;
    if (node->client != NULL)
        weir_client_disconnected(node->client);
    tls_free(node->tls);
    tls_session_free(node->session);
    weir_client_free(node->client);
    weir_free(node);
}
