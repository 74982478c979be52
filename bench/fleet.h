/* fleet.h -- a fleet of simulated data planes, from inside.
 *
 * fleet.c          the process: options, threads, signals
 * fleet_options.c  the command line
 * fleet_loop.c     one epoll loop and its timers; owns a share of the nodes
 * fleet_node.c     one data plane: connection, protocol
 * fleet_sync.c     weir.sync.v1 of a node: how far it is
 * fleet_fault.c    what faulty nodes send, and what becomes of what they would send
 * fleet_versions.c which node had which version when
 * fleet_report.c   progress lines and the JSON report
 * fleet_control.c  commands on stdin
 *
 * Nodes belong to their loop's thread; all that threads share is here in
 * fleet_shared_t: counters are atomic, versions and reasons have their locks. */
#ifndef WEIR_FLEET_H
#define WEIR_FLEET_H

#include "agent/tls.h"
#include "base/buffer.h"
#include "weir/json.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum {
    FLEET_NODES_MAX = 100000, /* as many as a control plane remembers */
    FLEET_THREADS_MAX = 64,
    FLEET_LABELS_MAX = 10,
    FLEET_REASONS_MAX = 64,
    FLEET_REASON_BYTES = 160,
};

/* -- options ------------------------------------------------------------------------- */

typedef enum fleet_fault {
    FAULT_NONE,
    FAULT_SLOW,      /* reads so many bytes a second */
    FAULT_STALL,     /* after its first update it reads nothing more, says nothing more */
    FAULT_GREEDY,    /* reads nothing, but asks for everything again and again */
    FAULT_HALF_OPEN, /* TLS, and then nothing */
    FAULT_MUTE,      /* reads, but never acknowledges, answers or asks */
    FAULT_GARBAGE,   /* sends malformed messages */
    FAULT_KINDS,
} fleet_fault_t;

const char *fleet_fault_name(fleet_fault_t fault); /* "none", "slow", ... */

typedef struct fleet_options {
    const char *control_plane; /* host:port */
    tls_files_t files;
    const char *compat_version, *json;                 /* json: path of the report, or NULL */
    const char *labels[FLEET_LABELS_MAX + 1];          /* key:value, NULL-ended */
    unsigned nodes, threads, connect_rate, handshakes; /* a second; 0: all at once */
    double percent[FAULT_KINDS];                       /* of the nodes; [FAULT_NONE] is not used */
    uint64_t seed, slow_bytes;                         /* a second */
    int64_t duration_ms, cut_every_ms;                 /* 0: without end; never */
    int64_t apply_ms_min, apply_ms_max, ping_ms;       /* ping_ms 0: the client's own */
    size_t payload_max;
    bool resume, control, quiet;
    bool sync_v1, zstd; /* offer weir.sync.v1; in zstd frames */
} fleet_options_t;

/* WEIR_OK; WEIR_NOT_FOUND: --help was wanted and printed; WEIR_INVALID: said why. */
int fleet_options_parse(int argc, char **argv, fleet_options_t *ret, weir_error_t *err);

/* -- versions ------------------------------------------------------------------------ */

/* Of one version: when nodes had it, or a later one. Moments are of
 * CLOCK_MONOTONIC, in microseconds; quantiles count from first_us. */
typedef struct fleet_spread {
    uint64_t version;
    unsigned reached, expected; /* nodes without a fault */
    unsigned others;            /* nodes with one */
    int64_t first_us, last_us, p50_us, p99_us;
} fleet_spread_t;

typedef struct fleet_versions fleet_versions_t;

/* `expected`: of each of the `nodes`, whether it has to get every version; copied. */
int fleet_versions_new(unsigned nodes, const bool *expected, fleet_versions_t **ret,
                       weir_error_t *err);
void fleet_versions_free(fleet_versions_t *versions);
/* Node `index` has `version` since `at_us`. Any thread. */
void fleet_versions_applied(fleet_versions_t *versions, unsigned index, uint64_t version,
                            int64_t at_us);
/* Waits until `count` expected nodes have `version` or later, at most until
 * `until_us`. WEIR_OK, WEIR_TIMEOUT or WEIR_NO_MEMORY; *ret is how far it came. */
int fleet_versions_wait(fleet_versions_t *versions, uint64_t version, unsigned count,
                        int64_t until_us, fleet_spread_t *ret);
/* The newest that any node has, and the oldest that an expected one has. */
void fleet_versions_range(fleet_versions_t *versions, uint64_t *ret_newest, uint64_t *ret_oldest);
unsigned fleet_versions_expected(const fleet_versions_t *versions);
/* Calls `each` for every version that is remembered, oldest first. */
void fleet_versions_walk(fleet_versions_t *versions,
                         void (*each)(void *context, const fleet_spread_t *spread), void *context);

/* -- what all share -------------------------------------------------------------------- */

typedef struct fleet_counters {
    _Atomic uint64_t connects, handshakes, hellos, disconnects, cuts;
    _Atomic uint64_t updates, full_updates, deltas;
    _Atomic uint64_t bytes_in, bytes_out; /* inside TLS */
    _Atomic uint64_t garbage;             /* malformed messages sent */
    _Atomic int64_t tls_open, ready;      /* now */
    _Atomic int64_t ready_us;             /* when `ready` last changed */
} fleet_counters_t;

typedef struct fleet_reason {
    char text[FLEET_REASON_BYTES];
    uint64_t count;
} fleet_reason_t;

typedef struct fleet_shared {
    const fleet_options_t *options;
    tls_context_t *tls;
    fleet_versions_t *versions;
    fleet_counters_t counters;
    unsigned by_fault[FAULT_KINDS];
    pthread_mutex_t lock; /* of the reasons */
    fleet_reason_t reasons[FLEET_REASONS_MAX];
    size_t reasons_count;
    uint64_t reasons_other; /* of more kinds than there is room for */
    int64_t started_us;
    atomic_bool stop;
} fleet_shared_t;

/* Counts why a connection ended. Any thread. */
void fleet_count_reason(fleet_shared_t *shared, const char *text);

static inline void fleet_add(_Atomic uint64_t *counter, uint64_t number)
{
    atomic_fetch_add_explicit(counter, number, memory_order_relaxed);
}

/* -- one node ------------------------------------------------------------------------------ */

typedef struct fleet_loop fleet_loop_t;
typedef struct fleet_node fleet_node_t;

enum { FLEET_NOT_QUEUED = -1 };

/* The loop's view of a node: what it waits for. */
typedef struct fleet_place {
    fleet_node_t *node;
    int64_t due_ms; /* when its timer runs off */
    int heap_at;    /* FLEET_NOT_QUEUED: no timer */
} fleet_place_t;

/* `first_ms`: when it connects first. The loop owns it. */
int fleet_node_new(fleet_loop_t *loop, fleet_shared_t *shared, unsigned index, fleet_fault_t fault,
                   int64_t first_ms, fleet_node_t **ret, weir_error_t *err);
void fleet_node_free(fleet_node_t *node);
fleet_place_t *fleet_node_place(fleet_node_t *node);
/* Something happened (EPOLL* events; 0: its timer ran off). */
void fleet_node_turn(fleet_node_t *node, uint32_t events, int64_t now_ms);
/* A reset, as of a lost machine; it connects again. False: it is not connected. */
bool fleet_node_cut(fleet_node_t *node, int64_t now_ms);

/* How far a node is in weir.sync.v1 (docs/sync-v1.md): what an agent has in its image. */
enum { FLEET_CURSOR_MAX = 64 };
typedef struct fleet_sync {
    uint64_t version;
    uint64_t stage; /* the snapshot that is on its way; 0: none */
    uint64_t stage_version, stage_seen, stage_entities;
    bool pages_done;
    char cursor[FLEET_CURSOR_MAX];
} fleet_sync_t;

extern const struct weir_client_sync fleet_sync; /* for weir_client_new() */
fleet_sync_t *fleet_node_sync(fleet_node_t *node);
/* An update came, and the node has `version` with it. */
void fleet_node_applied(fleet_node_t *node, uint64_t version, size_t entities, bool full);

/* -- faults ---------------------------------------------------------------------------------- */

/* Splitmix64: every node has its own, so a seed repeats a run. */
uint64_t fleet_random(uint64_t *state);

/* Appends one malformed message, the kind of it by chance. */
void fleet_garbage(uint64_t *random, weir_buffer_t *out);
/* Appends a question for the whole configuration, as a frame. `id` is its number. */
int fleet_ask_all(uint64_t *random, uint64_t id, weir_buffer_t *out);

/* Lets only control frames through. */
typedef struct fleet_muzzle {
    size_t dropping; /* bytes of a frame that are still to come */
    bool passing;    /* ... and go through */
} fleet_muzzle_t;
/* Whether a piece of output (a frame, or its head and then its payload) may go. */
bool fleet_muzzle_passes(fleet_muzzle_t *muzzle, weir_str_t bytes);

/* -- a loop --------------------------------------------------------------------------------- */

/* Nodes first .. first + count - 1, in a thread of their own from start on. */
int fleet_loop_new(fleet_shared_t *shared, unsigned first, unsigned count,
                   const fleet_fault_t *faults, fleet_loop_t **ret, weir_error_t *err);
int fleet_loop_start(fleet_loop_t *loop, weir_error_t *err);
/* Resets up to `count` connections of its own, by chance. Any thread; done soon. */
void fleet_loop_cut(fleet_loop_t *loop, unsigned count);
/* shared->stop is set: waits for the thread. */
void fleet_loop_join(fleet_loop_t *loop);
void fleet_loop_free(fleet_loop_t *loop); /* NULL is fine */

/* For the nodes of the loop, in its thread. */
/* Whether one more may begin a connection now: a process that has begun more than it can
 * work off within the control plane's patience measures itself. begun: give it back. */
bool fleet_loop_begin(fleet_loop_t *loop);
void fleet_loop_begun(fleet_loop_t *loop);
int fleet_loop_epoll(const fleet_loop_t *loop);
void fleet_loop_at(fleet_loop_t *loop, fleet_place_t *place, int64_t due_ms);
char *fleet_loop_scratch(fleet_loop_t *loop, size_t *ret_bytes); /* for what is read */

/* -- report and control ------------------------------------------------------------------------ */

void fleet_progress(fleet_shared_t *shared);                      /* one line on stderr */
weir_json_t *fleet_report(fleet_shared_t *shared, bool versions); /* NULL: no memory */
int fleet_report_write(fleet_shared_t *shared, const char *path, weir_error_t *err);

typedef struct fleet_control {
    fleet_shared_t *shared;
    fleet_loop_t **loops;
    unsigned loops_count;
    void (*meanwhile)(void); /* called now and then while a command waits */
} fleet_control_t;

/* One line of stdin, without its end; answers on stdout. False: quit. */
bool fleet_control_line(fleet_control_t *control, char *line);
void fleet_control_cut(fleet_control_t *control, unsigned count);

#endif
