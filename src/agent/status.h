/* status.h -- what the agent says of itself: PREFIX/agent.json, written anew (and
 * whole) when something changes, at most once a second; read by `weir sync
 * status` and the status endpoint. */
#ifndef WEIR_AGENT_STATUS_H
#define WEIR_AGENT_STATUS_H

#include "base/settings.h"

enum { PATH_MAX_BYTES = 4096, STATUS_EVERY_MS = 1000 };

typedef struct status {
    char path[PATH_MAX_BYTES], control_plane[256];
    bool connected, complete;
    uint64_t version, newest, quarantined, entities;
    uint64_t batches, deltas, fulls; /* since the agent started */
    uint64_t apply_us;               /* of the last batch */
    int64_t connected_ms, applied_ms;
    char last_error[512], last_resync[64];
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
void status_resync(status_t *status, const char *reason);
/* `force`: now, also if nothing changed. Failing to write is said in the log. */
void status_write(status_t *status, bool force);
void status_reopen_log(status_t *status, const weir_settings_t *settings);

#endif
