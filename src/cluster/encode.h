/* encode.h -- what data planes are sent, encoded once and shared (design, decision 3).
 *
 * Thread-safe. Encoding reads the store and compresses: run it on a thread that
 * may block. */
#ifndef WEIR_ENCODE_H
#define WEIR_ENCODE_H

#include "cluster/message.h"
#include "store/store.h"

typedef enum weir_dialect {
    WEIR_DIALECT_39 = 0, /* versions are numbers, `wipe` */
    WEIR_DIALECT_310,    /* versions are 32 characters, `full_sync` */
} weir_dialect_t;

typedef enum weir_want_kind {
    WEIR_WANT_GET_DELTA = 0, /* kong.sync.v2: an answer of get_delta */
    /* weir.sync.v1 (docs/sync-v1.md): */
    WEIR_WANT_DELTAS, /* what comes after `version`; or that a snapshot is needed */
    WEIR_WANT_PAGE,   /* of the snapshot `version`, after `cursor` */
    WEIR_WANT_HEAL,   /* what differs from `sums` */
} weir_want_kind_t;

/* What a session wants to have encoded. */
typedef struct weir_want {
    uint64_t number; /* of this wish, in its session */
    weir_want_kind_t kind;
    weir_codec_t codec;
    weir_dialect_t dialect;
    int64_t level; /* weir_compat_level() of the node: entities are adapted to it */
    bool known;    /* the node has `version` */
    bool staged;   /* DELTAS: for a stage: only the log's beginning counts */
    bool whole;    /* DELTAS: it wants everything: what it has could not be healed */
    uint64_t version;
    weir_store_cursor_t cursor;
    weir_digest_t *sums; /* HEAL: of all buckets; owned, see weir_want_release() */
} weir_want_t;

void weir_want_release(weir_want_t *want);
/* Both would be answered by the same. */
bool weir_want_same(const weir_want_t *a, const weir_want_t *b);

typedef struct weir_encoder weir_encoder_t;
typedef struct weir_answer weir_answer_t; /* counted; immutable */

typedef struct weir_encoder_options {
    weir_store_t *store;          /* borrowed */
    size_t payload_max;           /* cluster_max_payload: of a compressed message */
    uint64_t full_sync_threshold; /* cluster_full_sync_threshold: more versions behind
                                     than this get everything; 0: decided by size */
    size_t batch_bytes;           /* cluster_sync_batch_size: JSON of a page, of several versions */
    size_t kept_bytes;            /* cluster_sync_cache_size: of answers that stay for others */
} weir_encoder_options_t;

int weir_encoder_new(const weir_encoder_options_t *options, weir_encoder_t **ret,
                     weir_error_t *err);
void weir_encoder_free(weir_encoder_t *encoder);

/* The caller releases *ret. WEIR_TOO_LARGE: it does not fit into payload_max (HEAL: too
 * much differs), reason says so; WEIR_NOT_FOUND: the snapshot of a PAGE cannot be
 * completed any more, the version of a HEAL is unknown.
 * GET_DELTA: increments; everything if the version is unknown, ahead, behind the log,
 * or too far behind. */
int weir_encoder_answer(weir_encoder_t *encoder, const weir_want_t *want, weir_answer_t **ret,
                        weir_error_t *err);

/* Of the same wish: whether the answer takes long, and the answer if it is there
 * already (NULL: not). Neither reads the store nor waits. */
bool weir_encoder_takes_long(weir_encoder_t *encoder, const weir_want_t *want);
weir_answer_t *weir_encoder_ready(weir_encoder_t *encoder, const weir_want_t *want);
/* Whether making the answer takes some microseconds: a few changes that are in memory and
 * go out as they are. Then handing it to a thread would cost more than making it. */
bool weir_encoder_is_quick(weir_encoder_t *encoder, const weir_want_t *want);

/* The log still has everything after `version`: a set of pages since then can be mended. */
bool weir_encoder_holds(weir_encoder_t *encoder, uint64_t version);

weir_answer_t *weir_answer_keep(weir_answer_t *answer);
void weir_answer_release(weir_answer_t *answer); /* NULL is fine */
/* That it brings a node to; of a page: in which it was read. */
uint64_t weir_answer_version(const weir_answer_t *answer);
bool weir_answer_is_full(const weir_answer_t *answer);
/* The digest as of its version. False: not known any more. */
bool weir_answer_digest(const weir_answer_t *answer, weir_digest_t *ret);
/* The compressed elements, and how long they are when uncompressed: of `result`, or,
 * for DELTAS, of the whole message. */
weir_str_t weir_answer_elements(const weir_answer_t *answer, uint64_t *ret_uncompressed);

/* DELTAS: increments do not lead there, a snapshot does. NULL: they do. */
typedef struct weir_snapshot {
    uint64_t version, entities;
    const char *reason; /* "unknown", "ahead", "behind", "threshold", "digest" */
} weir_snapshot_t;
const weir_snapshot_t *weir_answer_snapshot(const weir_answer_t *answer);

typedef struct weir_encoder_counters {
    /* Answers made, and served again. */
    uint64_t increments, fulls, pages, heals, reused;
    uint64_t snapshots_unknown, snapshots_ahead, snapshots_behind, snapshots_threshold,
        snapshots_digest;
    uint64_t deltas, delta_bytes; /* in increments: of JSON, before compression */
    uint64_t kept_bytes;
} weir_encoder_counters_t;
void weir_encoder_count(weir_encoder_t *encoder, weir_encoder_counters_t *ret);

#endif
