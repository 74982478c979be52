/* encode_internal.h -- an encoder from inside: encode.c chooses, keeps and answers
 * get_delta; encode_sync.c makes the messages of weir.sync.v1. */
#ifndef WEIR_ENCODE_INTERNAL_H
#define WEIR_ENCODE_INTERNAL_H

#include "cluster/answer.h"

struct weir_encoder {
    weir_encoder_options_t options;
    answers_t *kept;
    pthread_mutex_t lock; /* of what follows */
    weir_encoder_counters_t counters;
    uint64_t snapshot;         /* that the latest nodes were sent to; 0: none */
    pthread_mutex_t full_lock; /* one full dump is made at a time: the others reuse it */
};

/* encode.c */
/* Why increments do not lead from there to `latest`; NULL: they do. */
const char *encoder_needs_all(weir_encoder_t *encoder, const weir_want_t *want, uint64_t latest);
uint64_t encoder_entities(const weir_encoder_t *encoder); /* that there are */
answer_key_t encoder_key(const weir_want_t *want, bool full, uint64_t latest);
int encoder_too_large(const weir_encoder_t *encoder, int rc, const char *what, weir_error_t *err);

/* Appends the document of a row, or null, in the form that nodes of `level` know. With a
 * digester: the hash of the form that is stored, zero if that is what was appended. */
int encoder_append_document(weir_elements_t *out, const weir_delta_t *row, int64_t level,
                            weir_digester_t *digester, weir_digest_t *ret_hash);

/* encode_sync.c: of these kinds. The answers are not kept yet. */
int encode_deltas(weir_encoder_t *encoder, const weir_want_t *want, uint64_t latest,
                  weir_answer_t **ret, weir_error_t *err);
int encode_page(weir_encoder_t *encoder, const weir_want_t *want, weir_answer_t **ret,
                weir_error_t *err);
int encode_heal(weir_encoder_t *encoder, const weir_want_t *want, weir_answer_t **ret,
                weir_error_t *err);

#endif
