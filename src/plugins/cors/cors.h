/* cors.h -- what the files of this folder share: the record, and origins. */
#ifndef WEIR_CORS_H
#define WEIR_CORS_H

#include "weir/plugin.h"

/* -- the record: compile.c writes, phases.c reads, in this order ----------------
 *   number   the flags below
 *   string   the one origin that is told to everybody; absent: see below
 *   strings  what is allowed to be sent (absent: what is asked for), what may be read
 *            (absent: nothing is said), methods, max age (absent: nothing is said)
 *   number   how many origins follow, none if one of the above says it all
 *   of each: a number, which rule it is, and a string */
enum {
    CORS_CREDENTIALS = 1,
    CORS_PRIVATE_NETWORK = 2,
    CORS_PREFLIGHT_CONTINUE = 4,
    CORS_ALL = 8,           /* everybody is told "*" */
    CORS_ANY = 16,          /* there is a "*" among several: whoever says an origin is told "*" */
    CORS_ONLY_ORIGINS = 32, /* an answer to who says no origin has no headers */
};

typedef enum cors_rule {
    CORS_RULE_SAME = 0,    /* the normal form of the origin is that */
    CORS_RULE_HOST_REGEX,  /* the host fits */
    CORS_RULE_WHOLE_REGEX, /* the normal form fits */
} cors_rule_t;

extern const weir_plugin_schema_t weir_plugin_schema_cors; /* schema.c */
int cors_compile(const weir_json_t *config, weir_record_writer_t *out, weir_error_t *err);

/* -- origins: origin.c ---------------------------------------------------------------- */
typedef struct cors_origin {
    weir_str_t whole; /* scheme://host[:port], without the port that the scheme has anyway */
    weir_str_t host;
} cors_origin_t;

/* The normal form of what is not empty; what is no URL with a host stays as it is. `room`
 * has place for text.len bytes and is what the result points into. */
void cors_origin(weir_str_t text, char *room, cors_origin_t *ret);

#endif
