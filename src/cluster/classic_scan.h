/* classic_scan.h -- a reconfigure message read in a stream: its members one by one, each
 * row of its config_table as a text of its own (sync-protocol D.2).
 *
 * So a data plane needs memory for a row, not for the set. What is inside a value is
 * not judged here: who parses it does. What nobody looks at, as a member that is longer
 * than any known one, only has to end where its quotes and brackets say. */
#ifndef WEIR_CLASSIC_SCAN_H
#define WEIR_CLASSIC_SCAN_H

#include "base/buffer.h"

enum {
    WEIR_SCAN_NAME_MAX = 64,              /* of a member: longer ones are refused */
    WEIR_SCAN_VALUE_MAX = 4096,           /* of a member that is no list of rows */
    WEIR_SCAN_ROW_MAX = 16 * 1024 * 1024, /* bytes of one row */
};

typedef struct weir_scan weir_scan_t;

/* Each may end the reading by another result than WEIR_OK. NULL: of no interest. */
typedef struct weir_scan_events {
    /* A member of the message, or of config_table (`table`): its value's text; data
     * NULL if that is longer than WEIR_SCAN_VALUE_MAX. */
    int (*value)(void *context, bool table, const char *name, weir_str_t text, weir_error_t *err);
    /* A list of config_table begins. */
    int (*list)(void *context, const char *name, weir_error_t *err);
    /* An element of it. */
    int (*row)(void *context, const char *list, weir_str_t text, weir_error_t *err);
    void *context;
} weir_scan_events_t;

int weir_scan_new(const weir_scan_events_t *events, weir_scan_t **ret, weir_error_t *err);
void weir_scan_free(weir_scan_t *scan); /* NULL is fine */
/* WEIR_CORRUPT: it is no JSON, or no object; WEIR_TOO_LARGE: a row. */
int weir_scan_feed(weir_scan_t *scan, weir_str_t bytes, weir_error_t *err);
/* The end: WEIR_CORRUPT if something is missing. */
int weir_scan_end(weir_scan_t *scan, weir_error_t *err);

/* Inflates gzip or zlib (D.2) in pieces, `bytes_max` in all. WEIR_CORRUPT: it is
 * neither, or cut off; WEIR_TOO_LARGE: it would be more. */
int weir_scan_inflate(weir_str_t payload, uint64_t bytes_max,
                      int (*piece)(void *context, weir_str_t bytes, weir_error_t *err),
                      void *context, weir_error_t *err);

#endif
