/* status.h -- what the agent says of itself: PREFIX/agent.json, written anew (and
 * whole) when something changes, at most once a second; read by `weir sync
 * status` and the status endpoint. */
#ifndef WEIR_AGENT_STATUS_H
#define WEIR_AGENT_STATUS_H

#include "base/metrics.h"
#include "base/settings.h"
#include "model/digest.h"

enum { PATH_MAX_BYTES = 4096, STATUS_EVERY_MS = 1000, STATUS_ERROR_MAX = 512 };

/* Why everything came instead of increments. */
typedef enum status_resync {
    RESYNC_FIRST,     /* there was nothing yet */
    RESYNC_SET_ASIDE, /* the image was of no use */
    RESYNC_SENT,      /* the control plane chose so, and did not say why */
    /* ... and said why (docs/sync-v1.md, 5): */
    RESYNC_AHEAD,
    RESYNC_BEHIND,
    RESYNC_THRESHOLD,
    RESYNC_DIGEST,
    RESYNC_REASONS,
} status_resync_t;

/* What changes often, as the agent sees it each turn. */
typedef struct status_facts {
    uint64_t version, newest, quarantined, entities;
    bool complete;
    uint64_t bytes_used, map_bytes; /* of the image */
    const char *protocol;           /* that is spoken; NULL: not connected */
    bool has_digest;
    weir_digest_t digest;
    int digest_equal; /* to the control plane's when last compared: 1, 0; -1: never compared */
    uint64_t mismatches;
    uint64_t stage_snapshot;                 /* of a full sync that is under way; 0: none is */
    uint64_t stage_entities, stage_expected; /* that came; that will come, 0: unknown */
} status_facts_t;

typedef struct status {
    char path[PATH_MAX_BYTES], control_plane[256];
    bool connected;
    status_facts_t facts;
    uint64_t batches, deltas, fulls; /* since the agent started */
    uint64_t apply_us;               /* of the last batch */
    weir_durations_t applies;        /* of batches that were no full set */
    uint64_t full_us;                /* what the last full set took */
    uint64_t heals, healed_entities, last_healed_entities;
    uint64_t bytes_in, bytes_out; /* above TLS */
    int64_t connected_ms, applied_ms, healed_ms;
    int64_t heard_ms; /* when the control plane last sent something */
    int64_t heard_said_ms;
    uint64_t resyncs[RESYNC_REASONS];
    status_resync_t expected; /* why the next one will have come */
    char last_error[STATUS_ERROR_MAX], last_resync[64];
    bool last_full; /* the last batch was everything */
    bool changed;
    int64_t written_ms;
} status_t;

void status_init(status_t *status, const char *prefix, const char *control_plane);
void status_connected(status_t *status, bool connected);
void status_facts(status_t *status, const status_facts_t *facts);
void status_applied(status_t *status, bool full, size_t deltas, int64_t took_us);
/* Buckets were put right; so many entities of them differed. */
void status_healed(status_t *status, uint64_t entities);
/* So many bytes came, or went. */
void status_received(status_t *status, size_t bytes);
void status_sent(status_t *status, size_t bytes);
void status_failed(status_t *status, const char *reason);
void status_error(status_t *status, const char *reason);
/* The image was set aside. */
void status_set_aside(status_t *status);
/* A full sync begins, for the reason that the control plane gives ("behind", ...). */
void status_full_begins(status_t *status, weir_str_t reason);
/* `force`: now, also if nothing changed. Failing to write is said in the log. */
void status_write(status_t *status, bool force);
void status_reopen_log(status_t *status, const weir_settings_t *settings);

#endif
