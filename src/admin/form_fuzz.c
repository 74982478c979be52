/* form_fuzz.c -- bodies of forms. The first line is the content type: multipart
 * if it has a boundary, urlencoded otherwise. */
#include "admin/internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, 256 * 1024 * 1024);
    weir_str_t text = { (const char *)data, size };
    const char *end = size > 0 ? memchr(text.data, '\n', size) : NULL;
    weir_str_t type = { text.data, end != NULL ? (size_t)(end - text.data) : 0 };
    size_t used = end != NULL ? type.len + 1 : 0;
    weir_str_t body = { text.data + used, size - used };
    bool is_multipart = type.len > 0;
    arguments_t arguments;
    int rc = is_multipart ? multipart_parse(&arena, type, body, &arguments)
                          : arguments_parse(&arena, body, &arguments);
    weir_assert(rc == WEIR_OK || rc == WEIR_TOO_LARGE);
    if (rc != WEIR_OK)
        return 0;
    weir_assert(arguments.count <= ARGUMENTS_MAX);
    weir_json_t *form = form_expand(&arguments, is_multipart);
    weir_assert(weir_json_kind(form) == WEIR_JSON_OBJECT);
    weir_json_free(form);
    return 0;
}
