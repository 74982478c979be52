/* agent_internal.h -- the sync agent from inside.
 *
 *   agent.c   the loop, the connection, the upkeep of the image
 *   link.c    which protocol a connection speaks
 *   apply.c   batches into the image, what became of them, the report of it
 *   sync.c    weir.sync.v1: what the client asks of this data plane
 *   pages.c   a page of a set into the stage, while the next one comes */
#ifndef WEIR_AGENT_INTERNAL_H
#define WEIR_AGENT_INTERNAL_H

#include "agent/status.h"
#include "agent/tls.h"
#include "cluster/classic_client.h"
#include "cluster/client.h"
#include "image/image.h"

#include <pthread.h>

enum { AGENT_LABELS_MAX = 16 };

/* A page on its way into the stage, by a thread of its own (pages.c). */
typedef struct page_put {
    bool running; /* all but this is the thread's meanwhile, and so is the stage */
    pthread_t thread;
    weir_image_t *stage;         /* borrowed */
    const weir_json_t *entities; /* of `memory` */
    weir_arena_t memory;         /* of the page that is put, or was put last */
    weir_stage_t note;           /* what is known of the stage with it */
    bool grown;                  /* the stage's map was */
    int rc;                      /* of pages that were put and not asked for yet */
    weir_error_t err;
} page_put_t;

typedef struct agent {
    const weir_settings_t *settings;
    weir_image_t *image;
    weir_image_t *stage; /* a set that is on its way, page by page; NULL: none */
    page_put_t put;
    uint64_t stage_snapshot;
    uint64_t stage_entities, stage_expected; /* that came; that will come, about */
    int64_t stage_began_ms, stage_said_ms;
    weir_client_t *client;
    weir_classic_client_t *classic;
    const char **plugins; /* their names, for the classic push */
    bool classic_only;    /* by setting */
    bool classic_next;    /* the control plane has nothing else: the next connection is */
    bool classic_now;     /* this one is */
    bool client_stale;    /* what `client` believes to be here is here no more */
    uint64_t mismatches;  /* of digests, that clients before this one met */
    tls_context_t *context;
    tls_t *tls;
    status_t status;
    const char *labels[AGENT_LABELS_MAX + 1];
    char address[256], hostname[256], node_id[WEIR_UUID_TEXT + 1];
    char prefix[2048];
    size_t queue_max;
    bool lost;             /* tls_write failed: the connection goes at the turn's end */
    int64_t connecting_ms; /* when this try began */
    int64_t retry_ms;      /* when the next try may begin */
    unsigned tries;        /* since the last success */
    int64_t said_ms;       /* the last failure's line */
    int64_t flush_said_ms; /* ... of a flush */
    char said[256];
    /* What the last report said: a change that changes nothing of it costs no report. */
    uint64_t reported_stamp; /* 0: there was none */
    char reported_error[STATUS_ERROR_MAX];
    int64_t expire_ms; /* when something may expire; 0: look */
} agent_t;

/* -- agent.c ------------------------------------------------------------------------- */

int agent_open_client(agent_t *agent, weir_error_t *err);

/* -- link.c -------------------------------------------------------------------------- */

/* As the functions of client.h and classic_client.h. */
bool link_ready(const agent_t *agent);
int link_connected(agent_t *agent, int64_t now, weir_error_t *err);
int link_input(agent_t *agent, weir_str_t bytes, int64_t now, weir_error_t *err);
int link_tick(agent_t *agent, int64_t now, weir_error_t *err);
int64_t link_deadline(const agent_t *agent);
const char *link_protocol(const agent_t *agent); /* "classic" or "rpc" */

/* Before a connection: differences, unless the setting or the control plane leaves only
 * the classic push. After a connection of that kind they are tried again (C.7). */
int link_choose(agent_t *agent, weir_error_t *err);
/* After one. True: nothing is wrong, the classic push comes next. */
bool link_lost(agent_t *agent);
/* The newest version that is known to exist, if `version` is here. */
uint64_t link_newest(const agent_t *agent, uint64_t version);
/* The protocol that is spoken, and whether the set was the control plane's. */
void link_facts(const agent_t *agent, status_facts_t *ret);
/* `common`: all but apply and the plugins. */
int link_open_classic(agent_t *agent, const weir_classic_client_options_t *common,
                      weir_error_t *err);

/* -- apply.c ------------------------------------------------------------------------- */

/* Fills one batch. */
typedef int (*agent_fill_t)(weir_batch_t *batch, const void *what, weir_error_t *err);

/* Begins a batch of `image`, fills and commits it; again in a larger map, if need be. By
 * whichever thread has the image. */
int commit_growing(weir_image_t *image, bool full, uint64_t version, agent_fill_t fill,
                   const void *what, bool *ret_grown, weir_error_t *err);
/* The same, and into the log and the status what became of it. */
int agent_commit(agent_t *agent, weir_image_t *image, bool full, uint64_t version,
                 agent_fill_t fill, const void *what, weir_error_t *err);
/* Into the log and the status: what was applied, what is quarantined anew. */
void agent_applied(agent_t *agent, bool full, uint64_t version, size_t entities, int64_t took_us);

/* Callbacks of the client (client.h). */
int agent_apply(void *context, const weir_update_t *update, weir_error_t *err);
weir_json_t *agent_report(void *context, bool afresh);

/* -- pages.c ------------------------------------------------------------------------- */

/* Begins to put the page; there is none on its way. Takes the page's memory, and gives that of
 * the page before for it. `note`: the stage with this page. Without a thread to be had it is put
 * when this returns. */
void page_begin(page_put_t *put, weir_image_t *stage, const weir_sync_page_t *page,
                const weir_stage_t *note);
/* Waits until none is on its way: the stage is the caller's. */
void page_wait(page_put_t *put);
/* The same; and what became of the last one, once. */
int page_end(page_put_t *put, weir_error_t *err);
/* Waits, and lets go of the memory. */
void page_drop(page_put_t *put);

/* -- sync.c -------------------------------------------------------------------------- */

extern const weir_client_sync_t agent_sync;

/* Into a batch, all of a list in the form of weir.sync.v1. */
int put_entities(weir_batch_t *batch, const weir_json_t *list, weir_error_t *err);

/* Finds the stage that an earlier run left. */
int agent_open_stage(agent_t *agent, weir_error_t *err);

#endif
