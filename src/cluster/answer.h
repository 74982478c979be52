/* answer.h -- an answer of the encoder from inside, and those that are kept. */
#ifndef WEIR_ANSWER_H
#define WEIR_ANSWER_H

#include "cluster/encode.h"

#include <pthread.h>
#include <stdatomic.h>

/* What an answer is an answer to. Compared as bytes: no gaps, unused parts zero. */
typedef struct answer_key {
    uint32_t kind, codec, dialect, full;
    uint64_t from, version;
    int64_t level;
    uint64_t cursor_type;
    weir_uuid_t cursor_id;
} answer_key_t;

struct weir_answer {
    _Atomic unsigned references;
    answer_key_t key;
    bool full, has_digest;
    uint64_t version;
    weir_digest_t digest;
    weir_snapshot_t snapshot; /* version 0: none */
    weir_elements_t elements;
};

/* One reference, for the caller. NULL: no memory. */
weir_answer_t *answer_new(const answer_key_t *key, size_t bytes_max);

/* The answers that stay for the next session which wants them: the newest ones, up to
 * a number of bytes. */
typedef struct answers answers_t;

answers_t *answers_new(size_t bytes_max);
void answers_free(answers_t *answers); /* NULL is fine */
/* With a reference for the caller; NULL: not there. */
weir_answer_t *answers_find(answers_t *answers, const answer_key_t *key);
void answers_put(answers_t *answers, weir_answer_t *answer);
uint64_t answers_bytes(answers_t *answers);

#endif
