/* json_text.c -- JSON as text in a request's memory (weir/plugin.h). */
#include "base/json.h"
#include "weir/plugin.h"

enum { JSON_BYTES_MAX = 1 << 24 };

weir_str_t weir_request_print_json(weir_request_t *request, const weir_json_t *value)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, JSON_BYTES_MAX);
    if (value == NULL || weir_json_print(value, &text) != WEIR_OK)
        return (weir_str_t){ NULL, 0 };
    char *copy = weir_request_alloc(request, text.len);
    if (copy != NULL)
        memcpy(copy, text.data, text.len);
    return (weir_str_t){ copy, copy != NULL ? text.len : 0 };
}
