/* status.h -- what the agent says of itself: PREFIX/agent.json, written anew (and
 * whole) when something changes, at most once a second; read by `weir sync
 * status` and the status endpoint. */
#ifndef WEIR_AGENT_STATUS_H
#define WEIR_AGENT_STATUS_H

#include "base/settings.h"

enum { PATH_MAX_BYTES = 4096, STATUS_EVERY_MS = 1000 };

/* Why everything came instead of increments. */
typedef enum status_resync {
    RESYNC_FIRST,     /* there was nothing yet */
    RESYNC_SET_ASIDE, /* the image was of no use */
    RESYNC_SENT,      /* the control plane chose so: too far behind, or ahead */
    RESYNC_REASONS,
} status_resync_t;

typedef struct status {
    char path[PATH_MAX_BYTES], control_plane[256];
    bool connected, complete;
    uint64_t version, newest, quarantined, entities;
    uint64_t batches, deltas, fulls; /* since the agent started */
    uint64_t apply_us;               /* of the last batch */
    int64_t connected_ms, applied_ms;
    uint64_t resyncs[RESYNC_REASONS];
    status_resync_t expected; /* why the next one will have come */
    char last_error[512], last_resync[64];
    bool last_full; /* the last batch was everything */
    bool changed;
    int64_t written_ms;
} status_t;

void status_init(status_t *status, const char *prefix, const char *control_plane);
void status_connected(status_t *status, bool connected);
void status_versions(status_t *status, uint64_t version, uint64_t newest, uint64_t quarantined,
                     uint64_t entities, bool complete);
void status_applied(status_t *status, bool full, size_t deltas, int64_t took_us);
void status_failed(status_t *status, const char *reason);
void status_error(status_t *status, const char *reason);
/* The image was set aside. */
void status_set_aside(status_t *status);
/* `force`: now, also if nothing changed. Failing to write is said in the log. */
void status_write(status_t *status, bool force);
void status_reopen_log(status_t *status, const weir_settings_t *settings);

#endif
