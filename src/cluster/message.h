/* message.h -- JSON-RPC messages in snappy blocks (sync-protocol B.2, B.3).
 *
 * Despite its name "x-snappy-framed" the wire carries raw snappy blocks. */
#ifndef WEIR_MESSAGE_H
#define WEIR_MESSAGE_H

#include "base/buffer.h"
#include "weir/json.h"

/* Uncompresses and parses one message. The length in the header is checked
 * before anything is allocated. WEIR_TOO_LARGE, WEIR_INVALID. */
int weir_message_decode(weir_str_t block, size_t uncompressed_max, weir_json_t **ret,
                        weir_error_t *err);
/* Prints and compresses, appending to `out`. */
int weir_message_encode(const weir_json_t *message, weir_buffer_t *out, weir_error_t *err);
int weir_message_compress(weir_str_t text, weir_buffer_t *out, weir_error_t *err);

/* A number of JSON-RPC as a peer sends it: what is echoed is what came. */
typedef enum weir_id_kind { WEIR_ID_NONE, WEIR_ID_NULL, WEIR_ID_FINE, WEIR_ID_ODD } weir_id_kind_t;
weir_id_kind_t weir_message_id(const weir_json_t *message);

/* Whole messages, for the caller to free; NULL when memory is short. `id` is
 * copied; NULL: a message without one. Each takes `params` and `result`. */
weir_json_t *weir_message_call(const char *method, weir_json_t *params, const weir_json_t *id);
weir_json_t *weir_message_result(const weir_json_t *id, weir_json_t *result);
weir_json_t *weir_message_error(const weir_json_t *id, int code, const char *text);
/* {"default": {"NAME": value}}: the one namespace that there is. Takes `value`. */
weir_json_t *weir_message_in_default(const char *name, weir_json_t *value);

/* Versions as the two dialects write them (sync-protocol C.1). */
enum { WEIR_TOKEN_LEN = 32 };
void weir_token_format(uint64_t version, char out[WEIR_TOKEN_LEN + 1]);
/* False for what is no token of ours, the 32 zeros of an empty node included. */
bool weir_token_parse(weir_str_t text, uint64_t *ret);

/* -- shared encodings ---------------------------------------------------------------
 * A snappy block is its length and a run of elements; elements of one run can
 * follow those of another. So the long part of an answer is compressed once and
 * shared by all sessions; each puts its own short beginning in front. */

typedef struct weir_elements {
    weir_buffer_t bytes;   /* compressed, without the length */
    uint64_t uncompressed; /* what they stand for */
    weir_buffer_t chunk;   /* not yet compressed */
} weir_elements_t;

void weir_elements_init(weir_elements_t *elements, size_t bytes_max);
void weir_elements_release(weir_elements_t *elements);
/* Appends text; compresses in pieces, so memory is that of the compressed form.
 * WEIR_TOO_LARGE when bytes_max is reached. */
int weir_elements_append(weir_elements_t *elements, weir_str_t text);
int weir_elements_finish(weir_elements_t *elements);
/* Appends `text` as literal elements to `out` (no compression). */
int weir_elements_literal(weir_buffer_t *out, weir_str_t text);
/* Appends the length that begins a block. */
int weir_elements_length(weir_buffer_t *out, uint64_t uncompressed);

#endif
