/* fleet_loop.c -- one epoll loop and its timers; owns a share of the nodes.
 *
 * Timers are a binary heap of the nodes by due time. A node sets its timer only
 * when it comes earlier than before: one that runs off too early costs a look. */
#include "fleet.h"

#include "base/clock.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS = 256, WAIT_MS_MAX = 1000, SCRATCH_BYTES = 65536 };

struct fleet_loop {
    fleet_shared_t *shared;
    int epoll, wake;
    unsigned first, count;
    fleet_node_t **nodes;
    fleet_place_t **heap;
    int heap_count;
    unsigned beginning; /* nodes on their way from connect() to the end of the hello */
    uint64_t random;
    atomic_uint cuts; /* connections still to be reset */
    pthread_t thread;
    bool running;
    char scratch[SCRATCH_BYTES];
};

int fleet_loop_epoll(const fleet_loop_t *loop)
{
    return loop->epoll;
}

char *fleet_loop_scratch(fleet_loop_t *loop, size_t *ret_bytes)
{
    *ret_bytes = sizeof(loop->scratch);
    return loop->scratch;
}

bool fleet_loop_begin(fleet_loop_t *loop)
{
    unsigned most = loop->shared->options->handshakes / loop->shared->options->threads;
    if (loop->shared->options->handshakes > 0 && loop->beginning >= (most > 0 ? most : 1))
        return false;
    loop->beginning++;
    return true;
}

void fleet_loop_begun(fleet_loop_t *loop)
{
    weir_assert(loop->beginning > 0);
    loop->beginning--;
}

/* -- timers ------------------------------------------------------------------------------ */

static void put(fleet_loop_t *loop, int at, fleet_place_t *place)
{
    loop->heap[at] = place;
    place->heap_at = at;
}

static void sift_up(fleet_loop_t *loop, int at)
{
    fleet_place_t *place = loop->heap[at];
    while (at > 0 && loop->heap[(at - 1) / 2]->due_ms > place->due_ms) {
        put(loop, at, loop->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    put(loop, at, place);
}

static void sift_down(fleet_loop_t *loop, int at)
{
    fleet_place_t *place = loop->heap[at];
    for (;;) {
        int child = 2 * at + 1;
        if (child + 1 < loop->heap_count &&
            loop->heap[child + 1]->due_ms < loop->heap[child]->due_ms)
            child++;
        if (child >= loop->heap_count || loop->heap[child]->due_ms >= place->due_ms)
            break;
        put(loop, at, loop->heap[child]);
        at = child;
    }
    put(loop, at, place);
}

static void dequeue(fleet_loop_t *loop, fleet_place_t *place)
{
    int at = place->heap_at;
    if (at == FLEET_NOT_QUEUED)
        return;
    place->heap_at = FLEET_NOT_QUEUED;
    fleet_place_t *last = loop->heap[--loop->heap_count];
    if (last == place)
        return;
    put(loop, at, last);
    sift_up(loop, at);
    sift_down(loop, last->heap_at);
}

void fleet_loop_at(fleet_loop_t *loop, fleet_place_t *place, int64_t due_ms)
{
    if (place->heap_at != FLEET_NOT_QUEUED && place->due_ms <= due_ms)
        return; /* it looks again then */
    dequeue(loop, place);
    if (due_ms == INT64_MAX)
        return;
    place->due_ms = due_ms;
    put(loop, loop->heap_count++, place);
    sift_up(loop, place->heap_at);
}

/* -- the thread ---------------------------------------------------------------------------- */

static void run_timers(fleet_loop_t *loop)
{
    int64_t now = weir_clock_monotonic_ms();
    /* Not more than there are: one that is due again at once waits for its turn. */
    for (unsigned i = 0; i < loop->count && loop->heap_count > 0; i++) {
        fleet_place_t *place = loop->heap[0];
        if (place->due_ms > now)
            break;
        dequeue(loop, place);
        fleet_node_turn(place->node, 0, weir_clock_monotonic_ms());
    }
}

static void run_cuts(fleet_loop_t *loop)
{
    unsigned wanted = atomic_exchange(&loop->cuts, 0);
    unsigned at = (unsigned)(fleet_random(&loop->random) % loop->count);
    int64_t now = weir_clock_monotonic_ms();
    for (unsigned i = 0; i < loop->count && wanted > 0; i++)
        wanted -= fleet_node_cut(loop->nodes[(at + i) % loop->count], now);
}

static int wait_ms(const fleet_loop_t *loop)
{
    if (loop->heap_count == 0)
        return WAIT_MS_MAX;
    int64_t wait = loop->heap[0]->due_ms - weir_clock_monotonic_ms();
    return wait <= 0 ? 0 : wait < WAIT_MS_MAX ? (int)wait : WAIT_MS_MAX;
}

static void *run(void *context)
{
    fleet_loop_t *loop = context;
    struct epoll_event events[EVENTS];
    while (!atomic_load(&loop->shared->stop)) {
        int count = epoll_wait(loop->epoll, events, EVENTS, wait_ms(loop));
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr != NULL) {
                fleet_node_turn(events[i].data.ptr, events[i].events, weir_clock_monotonic_ms());
                continue;
            }
            uint64_t value = 0;
            ssize_t got = read(loop->wake, &value, sizeof(value));
            (void)got; /* only to be woken */
        }
        run_timers(loop);
        if (atomic_load(&loop->cuts) > 0)
            run_cuts(loop);
    }
    return NULL;
}

static void wake(const fleet_loop_t *loop)
{
    uint64_t one = 1;
    ssize_t done = write(loop->wake, &one, sizeof(one));
    (void)done; /* EAGAIN: it is awake */
}

void fleet_loop_cut(fleet_loop_t *loop, unsigned count)
{
    atomic_fetch_add(&loop->cuts, count);
    wake(loop);
}

/* -- its life -------------------------------------------------------------------------------- */

static int open_files(fleet_loop_t *loop, weir_error_t *err)
{
    struct epoll_event event = { .events = EPOLLIN };
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (loop->epoll < 0 || loop->wake < 0 ||
        epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake, &event) != 0)
        return weir_error_errno(err, errno, "epoll");
    return WEIR_OK;
}

static int make_nodes(fleet_loop_t *loop, const fleet_fault_t *faults, weir_error_t *err)
{
    unsigned rate = loop->shared->options->connect_rate;
    int64_t now = weir_clock_monotonic_ms();
    loop->nodes = weir_calloc(loop->count, sizeof(fleet_node_t *));
    loop->heap = weir_calloc(loop->count, sizeof(fleet_place_t *));
    if (loop->nodes == NULL || loop->heap == NULL)
        return weir_error_memory(err);
    for (unsigned i = 0; i < loop->count; i++) {
        /* Loops take turns, so that together they keep to the rate. */
        unsigned turn = i * loop->shared->options->threads;
        int64_t at = rate > 0 ? now + (int64_t)turn * 1000 / rate : now;
        int rc = fleet_node_new(loop, loop->shared, loop->first + i, faults[loop->first + i], at,
                                &loop->nodes[i], err);
        if (rc != WEIR_OK)
            return rc;
    }
    return WEIR_OK;
}

int fleet_loop_new(fleet_shared_t *shared, unsigned first, unsigned count,
                   const fleet_fault_t *faults, fleet_loop_t **ret, weir_error_t *err)
{
    fleet_loop_t *loop = weir_calloc(1, sizeof(*loop));
    if (loop == NULL)
        return weir_error_memory(err);
    loop->shared = shared;
    loop->first = first;
    loop->count = count;
    loop->random = shared->options->seed ^ first;
    loop->epoll = loop->wake = -1;
    int rc = open_files(loop, err);
    if (rc == WEIR_OK)
        rc = make_nodes(loop, faults, err);
    if (rc != WEIR_OK) {
        fleet_loop_free(loop);
        return rc;
    }
    *ret = loop;
    return WEIR_OK;
}

int fleet_loop_start(fleet_loop_t *loop, weir_error_t *err)
{
    int number = pthread_create(&loop->thread, NULL, run, loop);
    if (number != 0)
        return weir_error_errno(err, number, "thread");
    loop->running = true;
    return WEIR_OK;
}

void fleet_loop_join(fleet_loop_t *loop)
{
    if (!loop->running)
        return;
    wake(loop);
    pthread_join(loop->thread, NULL);
    loop->running = false;
}

void fleet_loop_free(fleet_loop_t *loop)
{
    if (loop == NULL)
        return;
    for (unsigned i = 0; loop->nodes != NULL && i < loop->count; i++)
        fleet_node_free(loop->nodes[i]);
    weir_free(loop->nodes);
    weir_free(loop->heap);
    if (loop->epoll >= 0)
        close(loop->epoll);
    if (loop->wake >= 0)
        close(loop->wake);
    weir_free(loop);
}
