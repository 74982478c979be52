/* hello.h -- the first message of each side (sync-protocol B.1), plain JSON. */
#ifndef WEIR_HELLO_H
#define WEIR_HELLO_H

#include "cluster/codec.h"
#include "weir/json.h"

#define WEIR_CAPABILITY_SYNC "kong.sync.v2"
/* Between two Weirs: */
#define WEIR_CAPABILITY_REPORT  "weir.report.v1"
#define WEIR_CAPABILITY_SYNC_V1 "weir.sync.v1" /* docs/sync-v1.md */

enum { WEIR_HELLO_TEXT_MAX = 128, WEIR_HELLO_LIST_MAX = 64 };

/* What a data plane says of itself. What is too long is cut, what are too many
 * are left out; the node's id is refused instead. */
typedef struct weir_hello {
    char node_id[WEIR_HELLO_TEXT_MAX + 1];
    char hostname[WEIR_HELLO_TEXT_MAX + 1];
    char version[WEIR_HELLO_TEXT_MAX + 1];
    bool has_capabilities;              /* without the list the original answers, then drops */
    bool sync, report, sync_v1;         /* capabilities that are listed */
    bool zstd;                          /* it can read x-zstd */
    weir_json_t *capabilities, *labels; /* array of strings, object of strings */
} weir_hello_t;

/* WEIR_INVALID: why the connection is to be dropped. */
int weir_hello_read(weir_str_t payload, weir_hello_t *ret, weir_error_t *err);
void weir_hello_release(weir_hello_t *hello); /* zeroed or read */

/* What both ends agree on: the control plane's answer. */
typedef struct weir_offer {
    bool sync, report, sync_v1;
    weir_codec_t codec;
} weir_offer_t;

/* Appends the control plane's answer. */
int weir_hello_answer(const weir_offer_t *offer, weir_buffer_t *out);

typedef struct weir_greeting {
    const char *node_id, *hostname, *version;
    const char *const *labels; /* "key:value", NULL-ended; or NULL */
    bool sync_v1, zstd;        /* can be spoken */
} weir_greeting_t;

/* Appends the data plane's hello. */
int weir_hello_write(const weir_greeting_t *greeting, weir_buffer_t *out);
/* Reads the answer. WEIR_INVALID: why this control plane is of no use. */
int weir_hello_read_answer(weir_str_t payload, weir_offer_t *ret, weir_error_t *err);

/* "3.10.0" and the like as a number that can be compared; -1: no version. */
int64_t weir_hello_version(weir_str_t text);
enum { WEIR_VERSION_3_9 = 3009000, WEIR_VERSION_3_10 = 3010000 };

#endif
