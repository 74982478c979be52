/* classic.h -- the classic full sync in the agent: what it says it has, how a push
 * becomes a batch of the image, and what is remembered of it (sync-protocol D, I). */
#ifndef WEIR_AGENT_CLASSIC_H
#define WEIR_AGENT_CLASSIC_H

#include "base/settings.h"
#include "cluster/classic_client.h"
#include "image/image.h"

/* A push has no version, an image must have one. Those made here begin above every
 * version of a control plane, and never come again. */
bool classic_is_local(uint64_t version);
/* The version to be told to a control plane that counts them: 0 for what a push brought,
 * and for half a set, which is no set. */
uint64_t classic_told_version(const weir_image_state_t *state);

/* The hash of what the image holds: from PREFIX/classic.json if it tells of this version;
 * the version as a token if a control plane gave it; else 32 zeros. */
void classic_read_hash(const char *prefix, const weir_image_state_t *state,
                       char ret[WEIR_CLASSIC_HASH_MAX + 1]);

/* To be written after the commit of `version`. Losing it costs one push that changes
 * nothing, so a failure is only logged. */
void classic_write_hash(const char *prefix, uint64_t version, const char *hash);

/* The version for the next push. */
uint64_t classic_next_version(const weir_image_state_t *state);
/* Every row of the push into a full batch. */
int classic_put(weir_batch_t *batch, const weir_classic_update_t *update, weir_error_t *err);

/* Names of plugins for basic_info: those of the setting, `bundled` for everything that
 * the original brings, whether this build has it or not: a control plane withholds the
 * whole set from who lacks a single one, and here only its entities are quarantined.
 * Sorted, NULL-ended; the caller frees the list, the names live with `settings`. */
int classic_plugins(const weir_settings_t *settings, const char ***ret, weir_error_t *err);

#endif
