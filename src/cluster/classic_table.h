/* classic_table.h -- what a reconfigure message says, for a data plane: first its head,
 * then its rows in the form of kong.sync.v2 (sync-protocol D.2, D.7, E).
 *
 * Both read the compressed payload in a stream; neither holds the set. */
#ifndef WEIR_CLASSIC_TABLE_H
#define WEIR_CLASSIC_TABLE_H

#include "model/model.h"

enum {
    WEIR_CLASSIC_HASH_MAX = 64,       /* bytes of a config_hash that is sent back */
    WEIR_CLASSIC_INFLATE_MAX = 64,    /* times cluster_max_payload: of what is inflated */
    WEIR_CLASSIC_BY_NAME_MAX = 65536, /* rows that name a parent otherwise than by id */
};

typedef struct weir_classic_head {
    bool reconfigure; /* its type */
    char hash[WEIR_CLASSIC_HASH_MAX + 1];
    unsigned format; /* 11, 21 or 30 */
    bool empty;      /* nothing but workspaces: taken for no configuration at all */
    uint64_t rows;
} weir_classic_head_t;

/* `hash`: the one that is given; else one of the rows as they are written. All 0 if
 * `empty`. WEIR_CORRUPT, WEIR_TOO_LARGE: drop the connection; WEIR_INVALID: it is
 * refused as a whole, err->reason says why. */
int weir_classic_read_head(weir_str_t payload, uint64_t inflated_max, weir_classic_head_t *ret,
                           weir_error_t *err);

/* Each row once, in no order: foreign keys are objects, whatever they were; rows without
 * an id have one that follows from their name, or from all of them; there is a workspace
 * "default". The row belongs to the callee for the call only. Rows of types that are not
 * known here come as they are. */
int weir_classic_read_rows(weir_str_t payload, uint64_t inflated_max,
                           const weir_classic_head_t *head,
                           int (*row)(void *context, weir_str_t type, const weir_json_t *row,
                                      weir_error_t *err),
                           void *context, weir_error_t *err);

#endif
