/* encode.h -- answers of get_delta, encoded once and shared (design, decision 3).
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

typedef struct weir_encoder weir_encoder_t;
typedef struct weir_answer weir_answer_t; /* counted; immutable */

typedef struct weir_encoder_options {
    weir_store_t *store;          /* borrowed */
    size_t payload_max;           /* cluster_max_payload: of a compressed message */
    uint64_t full_sync_threshold; /* cluster_full_sync_threshold: more versions behind
                                     than this get everything; 0: decided by size */
} weir_encoder_options_t;

int weir_encoder_new(const weir_encoder_options_t *options, weir_encoder_t **ret,
                     weir_error_t *err);
void weir_encoder_free(weir_encoder_t *encoder);

/* What a node that has `version` needs: increments; everything if it is unknown
 * (`known` false), ahead, behind the log, or too far behind. The caller releases
 * *ret. WEIR_TOO_LARGE: it does not fit into payload_max; reason says so. */
int weir_encoder_answer(weir_encoder_t *encoder, bool known, uint64_t version,
                        weir_dialect_t dialect, weir_answer_t **ret, weir_error_t *err);

/* Of the same question: whether everything would be sent, and the answer if it is
 * there already (NULL: not). Neither reads the store nor waits. */
bool weir_encoder_sends_all(weir_encoder_t *encoder, bool known, uint64_t version);
weir_answer_t *weir_encoder_ready(weir_encoder_t *encoder, bool known, uint64_t version,
                                  weir_dialect_t dialect);

weir_answer_t *weir_answer_keep(weir_answer_t *answer);
void weir_answer_release(weir_answer_t *answer);           /* NULL is fine */
uint64_t weir_answer_version(const weir_answer_t *answer); /* that it brings a node to */
bool weir_answer_is_full(const weir_answer_t *answer);
/* The compressed elements of `result`, and how long they are when uncompressed. */
weir_str_t weir_answer_elements(const weir_answer_t *answer, uint64_t *ret_uncompressed);

typedef struct weir_encoder_counters {
    uint64_t increments, fulls, reused; /* answers made, and served again */
} weir_encoder_counters_t;
void weir_encoder_count(weir_encoder_t *encoder, weir_encoder_counters_t *ret);

#endif
