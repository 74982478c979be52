/* outbox.h -- what waits to be written to one data plane.
 *
 * Short pieces are copied and joined, so that a frame leaves in one write; long
 * answers are kept by reference, so that a thousand sessions that are sent one
 * full dump hold it once. Used by one thread. */
#ifndef WEIR_OUTBOX_H
#define WEIR_OUTBOX_H

#include "cluster/encode.h"

typedef struct weir_outbox_piece weir_outbox_piece_t;

typedef struct weir_outbox {
    weir_outbox_piece_t *first, *last;
    size_t bytes; /* waiting */
    size_t bytes_max;
} weir_outbox_t;

void weir_outbox_init(weir_outbox_t *outbox, size_t bytes_max);
void weir_outbox_release(weir_outbox_t *outbox);

/* WEIR_TOO_LARGE: bytes_max would be passed, nothing is queued. */
int weir_outbox_put(weir_outbox_t *outbox, weir_str_t bytes);
int weir_outbox_put_answer(weir_outbox_t *outbox, weir_answer_t *answer);
/* Bytes that `owner` keeps; once they are written, or never will be, it is given to
 * `release`. Not if this fails. */
int weir_outbox_put_shared(weir_outbox_t *outbox, weir_str_t bytes, void *owner,
                           void (*release)(void *owner));

/* The next bytes to write, at most one TLS record; empty when there are none.
 * They stay where they are, and as long as they are, until weir_outbox_advance():
 * TLS wants an unfinished write to be repeated unchanged. */
weir_str_t weir_outbox_front(weir_outbox_t *outbox);
void weir_outbox_advance(weir_outbox_t *outbox, size_t bytes);

#endif
