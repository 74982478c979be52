/* message.h -- JSON-RPC messages in compressed blocks (sync-protocol B.2, B.3). */
#ifndef WEIR_MESSAGE_H
#define WEIR_MESSAGE_H

#include "base/arena.h"
#include "cluster/codec.h"
#include "weir/json.h"

/* Uncompresses and parses one message. WEIR_TOO_LARGE, WEIR_INVALID. */
int weir_message_decode(weir_codec_t codec, weir_str_t block, size_t uncompressed_max,
                        weir_json_t **ret, weir_error_t *err);
/* The same. The message is of `arena`, and read only. */
int weir_message_read(weir_codec_t codec, weir_str_t block, size_t uncompressed_max,
                      weir_arena_t *arena, const weir_json_t **ret, weir_error_t *err);
/* Prints and compresses, appending to `out`. */
int weir_message_encode(weir_codec_t codec, const weir_json_t *message, weir_buffer_t *out,
                        weir_error_t *err);

/* A number of JSON-RPC as a peer sends it: what is echoed is what came. */
typedef enum weir_id_kind { WEIR_ID_NONE, WEIR_ID_NULL, WEIR_ID_FINE, WEIR_ID_ODD } weir_id_kind_t;
weir_id_kind_t weir_message_id(const weir_json_t *message);

/* The member `name` of `params` as a version: a whole number below 2^53. False: it is none. */
bool weir_message_version(const weir_json_t *params, const char *name, uint64_t *ret);

/* Codes of errors (B.3; the last two: docs/sync-v1.md, sections 5 and 7). */
enum {
    WEIR_RPC_METHOD_NOT_FOUND = -32601,
    WEIR_RPC_INVALID_REQUEST = -32600,
    WEIR_RPC_SERVER_ERROR = -32000,
    WEIR_RPC_SNAPSHOT_GONE = -32010,
    WEIR_RPC_TOO_DIFFERENT = -32011,
};

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

#endif
