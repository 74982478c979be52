/* message.c -- JSON-RPC messages in snappy blocks. */
#include "cluster/message.h"

#include "base/json.h"

#include <snappy-c.h>
#include <stdio.h>
#include <stdlib.h>

enum { MESSAGE_BYTES_MAX = 1 << 30, CHUNK_BYTES = 65536 };

int weir_message_decode(weir_str_t block, size_t uncompressed_max, weir_json_t **ret,
                        weir_error_t *err)
{
    size_t len = 0;
    if (snappy_uncompressed_length(block.data, block.len, &len) != SNAPPY_OK)
        return weir_error_set(err, WEIR_INVALID, NULL, "no snappy block");
    if (len > uncompressed_max)
        return weir_error_set(err, WEIR_TOO_LARGE, "cluster_max_payload",
                              "a message of %zu bytes when uncompressed, more than %zu", len,
                              uncompressed_max);
    /* What is left of a lie about the length: a block cannot grow by more. */
    if (len / 64 > block.len + 64)
        return weir_error_set(err, WEIR_INVALID, NULL, "a snappy block with a false length");
    WEIR_AUTO(free) char *text = weir_malloc(len);
    if (text == NULL)
        return weir_error_memory(err);
    if (snappy_uncompress(block.data, block.len, text, &len) != SNAPPY_OK)
        return weir_error_set(err, WEIR_INVALID, NULL, "a damaged snappy block");
    return weir_json_parse_marked((weir_str_t){ text, len }, ret, err);
}

int weir_message_compress(weir_str_t text, weir_buffer_t *out, weir_error_t *err)
{
    size_t len = snappy_max_compressed_length(text.len);
    char *to = weir_buffer_reserve(out, len);
    if (to == NULL)
        return weir_error_set(err, out->failed, NULL, "no room for a message of %zu bytes",
                              text.len);
    if (snappy_compress(text.data, text.len, to, &len) != SNAPPY_OK)
        return weir_error_set(err, WEIR_IO, NULL, "snappy failed");
    out->len += len;
    return WEIR_OK;
}

int weir_message_encode(const weir_json_t *message, weir_buffer_t *out, weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, MESSAGE_BYTES_MAX);
    if (message == NULL || weir_json_print(message, &text) != WEIR_OK)
        return weir_error_memory(err);
    return weir_message_compress(weir_buffer_str(&text), out, err);
}

weir_id_kind_t weir_message_id(const weir_json_t *message)
{
    const weir_json_t *id = weir_json_get(message, "id");
    switch (weir_json_kind(id)) {
    case WEIR_JSON_ABSENT:
        return WEIR_ID_NONE;
    case WEIR_JSON_NULL:
        return WEIR_ID_NULL;
    case WEIR_JSON_NUMBER:
        return WEIR_ID_FINE;
    case WEIR_JSON_STRING: {
        weir_str_t text = weir_json_string(id);
        char *end = NULL;
        strtod(text.data, &end);
        return text.len > 0 && *end == '\0' ? WEIR_ID_FINE : WEIR_ID_ODD;
    }
    case WEIR_JSON_BOOLEAN:
    case WEIR_JSON_ARRAY:
    case WEIR_JSON_OBJECT:
        break;
    }
    return WEIR_ID_ODD;
}

static weir_json_t *new_message(const weir_json_t *id)
{
    weir_json_t *message = weir_json_new_object();
    if (message == NULL)
        return NULL;
    int rc = weir_json_set(message, "jsonrpc", weir_json_new_string(WEIR_STR("2.0")));
    if (rc == WEIR_OK && id != NULL)
        rc = weir_json_set(message, "id", weir_json_copy(id));
    if (rc == WEIR_OK)
        return message;
    weir_json_free(message);
    return NULL;
}

/* Sets and returns the message, or frees it all. */
static weir_json_t *with(weir_json_t *message, const char *name, weir_json_t *value)
{
    if (message == NULL) {
        weir_json_free(value);
        return NULL;
    }
    if (weir_json_set(message, name, value) == WEIR_OK)
        return message;
    weir_json_free(message);
    return NULL;
}

weir_json_t *weir_message_call(const char *method, weir_json_t *params, const weir_json_t *id)
{
    weir_json_t *list = weir_json_new_array();
    if (list == NULL || weir_json_append(list, params) != WEIR_OK) {
        if (list == NULL)
            weir_json_free(params);
        weir_json_free(list);
        return NULL;
    }
    weir_json_t *message = with(new_message(id), "method", weir_json_new_string(weir_str(method)));
    return with(message, "params", list);
}

weir_json_t *weir_message_result(const weir_json_t *id, weir_json_t *result)
{
    return with(new_message(id), "result", result);
}

weir_json_t *weir_message_error(const weir_json_t *id, int code, const char *text)
{
    weir_json_t *error = weir_json_new_object();
    error = with(error, "code", weir_json_new_number(code));
    error = with(error, "message", weir_json_new_string(weir_str(text)));
    return with(new_message(id), "error", error);
}

weir_json_t *weir_message_in_default(const char *name, weir_json_t *value)
{
    weir_json_t *inner = with(weir_json_new_object(), name, value);
    return inner != NULL ? with(weir_json_new_object(), "default", inner) : NULL;
}

void weir_token_format(uint64_t version, char out[WEIR_TOKEN_LEN + 1])
{
    snprintf(out, WEIR_TOKEN_LEN + 1, "v02_%028llx", (unsigned long long)version);
}

bool weir_token_parse(weir_str_t text, uint64_t *ret)
{
    if (text.len != WEIR_TOKEN_LEN || memcmp(text.data, "v02_", 4) != 0)
        return false;
    uint64_t value = 0;
    for (size_t i = 4; i < WEIR_TOKEN_LEN; i++) {
        char c = text.data[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0 || value >> 60 != 0)
            return false;
        value = value << 4 | (unsigned)digit;
    }
    *ret = value;
    return true;
}

/* -- shared encodings -------------------------------------------------------------- */

void weir_elements_init(weir_elements_t *elements, size_t bytes_max)
{
    *elements = (weir_elements_t){ 0 };
    weir_buffer_init(&elements->bytes, bytes_max);
    weir_buffer_init(&elements->chunk, CHUNK_BYTES);
}

void weir_elements_release(weir_elements_t *elements)
{
    weir_buffer_release(&elements->bytes);
    weir_buffer_release(&elements->chunk);
}

/* Compresses the chunk and drops the length that snappy puts in front. */
static int flush_chunk(weir_elements_t *elements)
{
    weir_buffer_t *chunk = &elements->chunk;
    if (chunk->len == 0)
        return elements->bytes.failed;
    char block[CHUNK_BYTES + CHUNK_BYTES / 6 + 64];
    size_t len = sizeof(block);
    if (snappy_compress(chunk->data, chunk->len, block, &len) != SNAPPY_OK)
        return WEIR_IO;
    size_t start = 0;
    while (start < len && (block[start] & 0x80))
        start++;
    start++;
    elements->uncompressed += chunk->len;
    weir_buffer_clear(chunk);
    return weir_buffer_append(&elements->bytes, (weir_str_t){ block + start, len - start });
}

int weir_elements_append(weir_elements_t *elements, weir_str_t text)
{
    int rc = elements->bytes.failed;
    while (rc == WEIR_OK && text.len > 0) {
        size_t room = CHUNK_BYTES - elements->chunk.len;
        size_t part = text.len < room ? text.len : room;
        rc = weir_buffer_append(&elements->chunk, (weir_str_t){ text.data, part });
        text = (weir_str_t){ text.data + part, text.len - part };
        if (rc == WEIR_OK && elements->chunk.len == CHUNK_BYTES)
            rc = flush_chunk(elements);
    }
    return rc;
}

int weir_elements_finish(weir_elements_t *elements)
{
    int rc = flush_chunk(elements);
    weir_buffer_release(&elements->chunk);
    return rc;
}

/* One element: its length less one in the tag, or in one or two bytes after it. */
static void literal(weir_buffer_t *out, weir_str_t text)
{
    size_t n = text.len - 1;
    if (n < 60) {
        weir_buffer_byte(out, (char)(n << 2));
    } else if (n < 256) {
        weir_buffer_byte(out, (char)(60 << 2));
        weir_buffer_byte(out, (char)n);
    } else {
        weir_buffer_byte(out, (char)(61 << 2));
        weir_buffer_byte(out, (char)n);
        weir_buffer_byte(out, (char)(n >> 8));
    }
    weir_buffer_append(out, text);
}

int weir_elements_literal(weir_buffer_t *out, weir_str_t text)
{
    while (text.len > 0) {
        size_t part = text.len < CHUNK_BYTES ? text.len : CHUNK_BYTES;
        literal(out, (weir_str_t){ text.data, part });
        text = (weir_str_t){ text.data + part, text.len - part };
    }
    return out->failed;
}

int weir_elements_length(weir_buffer_t *out, uint64_t uncompressed)
{
    while (uncompressed >= 0x80) {
        weir_buffer_byte(out, (char)(uncompressed | 0x80));
        uncompressed >>= 7;
    }
    return weir_buffer_byte(out, (char)uncompressed);
}
