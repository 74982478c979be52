/* follower.h -- an image that follows a store, as an agent keeps one: by ranges of
 * versions, or by everything; and what may happen to it on the way. */
#ifndef WEIR_TESTS_FOLLOWER_H
#define WEIR_TESTS_FOLLOWER_H

#include "world.h"

#include "image/compare.h"

/* Rows that no store of ours holds: of types that this data plane does not know. */
enum { STRANGERS = 12 };
#define STRANGER_TYPE "vaults"

typedef struct follower {
    fixture_t image; /* image.version: what it holds */
    bool documented_order;
    uint64_t map_bytes;
    int strangers[STRANGERS]; /* 0: absent; else what the row says */
    unsigned long batches, fulls, aborted, grown, reopened, killed, reordered, expired;
    unsigned long staged, abandoned, healed, sabotaged;
} follower_t;

/* With the digest key of the store. */
void follower_open(follower_t *f, const world_t *w, bool documented_order, uint64_t map_bytes);
void follower_close(follower_t *f);
/* Brings the image forward by at most `versions`, as a control plane would answer. */
void follower_apply(follower_t *f, world_t *w, uint64_t versions);
/* Everything, as a difference to what is there. */
void follower_apply_all(follower_t *f, world_t *w);
/* The same strangers as another one. */
void follower_copy_strangers(follower_t *f, const follower_t *from);
/* A batch that is begun, filled and given up. */
void follower_abort(follower_t *f, world_t *w);
/* Closed and opened again; with `reorder` in the other order of routes, which makes
 * every record anew. */
void follower_reopen(follower_t *f, bool reorder, uint64_t map_bytes);
/* As follower_apply() in a process that dies by SIGKILL before or after the commit. */
void follower_die(follower_t *f, world_t *w, uint64_t versions, bool committed);
void follower_expire(follower_t *f, int64_t now_ms);
weir_uuid_t stranger_id(unsigned number);
/* The map of `image` grows if that is what `rc` says; then it is worth another try. */
bool follower_grown(follower_t *f, weir_image_t *image, int rc);

/* proof.c: digests, healing, stages (docs/sync-v1.md).
 * Fails unless the digest of the image is the store's (and the strangers'), and verifying
 * finds nothing. */
void follower_prove(follower_t *f, world_t *w);
/* Everything once more, in pages, into a stage that takes the image's place; sometimes
 * left half way, and gone on with or thrown away the next time. */
void follower_stage(follower_t *f, world_t *w);
/* What the image holds is changed behind everybody's back; then it catches up, and the
 * buckets that differ are healed. */
void follower_sabotage_and_heal(follower_t *f, world_t *w);

#endif
