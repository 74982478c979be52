/* message.c -- JSON-RPC messages in compressed blocks. */
#include "cluster/message.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>

enum { MESSAGE_BYTES_MAX = 1 << 30 };

int weir_message_decode(weir_codec_t codec, weir_str_t block, size_t uncompressed_max,
                        weir_json_t **ret, weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, MESSAGE_BYTES_MAX);
    int rc = weir_codec_inflate(codec, block, uncompressed_max, &text, err);
    return rc == WEIR_OK ? weir_json_parse_marked(weir_buffer_str(&text), ret, err) : rc;
}

int weir_message_read(weir_codec_t codec, weir_str_t block, size_t uncompressed_max,
                      weir_arena_t *arena, const weir_json_t **ret, weir_error_t *err)
{
    weir_json_t *message = NULL;
    weir_arena_t *before = weir_json_place(arena);
    int rc = weir_message_decode(codec, block, uncompressed_max, &message, err);
    weir_json_place(before);
    *ret = message;
    return rc;
}

int weir_message_encode(weir_codec_t codec, const weir_json_t *message, weir_buffer_t *out,
                        weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, MESSAGE_BYTES_MAX);
    if (message == NULL || weir_json_print(message, &text) != WEIR_OK)
        return weir_error_memory(err);
    return weir_codec_deflate(codec, weir_buffer_str(&text), out, err);
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

bool weir_message_version(const weir_json_t *params, const char *name, uint64_t *ret)
{
    const weir_json_t *value = weir_json_get(params, name);
    double number = weir_json_number(value);
    if (!weir_json_is_integer(value) || number < 0 || number >= (double)(UINT64_C(1) << 53))
        return false;
    *ret = (uint64_t)number;
    return true;
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
