/* key_auth_fuzz.c -- fields of bodies from anybody's bytes.
 *
 * The first byte is the content type, the rest the body. Property: once the field
 * is cut out, it is not found any more, and cutting again finds nothing to cut. */
#include "base/base.h"
#include "plugins/key_auth/key_auth.h"

#include <stdlib.h>

enum { BLOCKS_MAX = 16 };

struct weir_request {
    void *blocks[BLOCKS_MAX];
    size_t count;
};

void *weir_request_alloc(weir_request_t *request, size_t bytes)
{
    weir_assert(request->count < BLOCKS_MAX);
    return request->blocks[request->count++] = malloc(bytes);
}

static void check(weir_request_t *request, weir_str_t type, weir_str_t text)
{
    const weir_str_t name = WEIR_STR("apikey");
    weir_str_t value = { NULL, 0 }, rest = { NULL, 0 };
    key_auth_body_t body;
    key_auth_body_open(&body, type, text);
    int found = key_auth_body_find(&body, request, name, &value);
    int cut = key_auth_body_without(&body, request, name, &rest);
    key_auth_body_close(&body);
    weir_assert(found != WEIR_OK || (value.data != NULL && cut == WEIR_OK));
    if (cut != WEIR_OK)
        return;
    weir_assert(rest.len < text.len);
    key_auth_body_open(&body, type, rest);
    weir_assert(key_auth_body_find(&body, request, name, &value) == WEIR_NOT_FOUND);
    weir_assert(key_auth_body_without(&body, request, name, &rest) == WEIR_NOT_FOUND);
    key_auth_body_close(&body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const types[] = { "application/x-www-form-urlencoded", "application/json",
                                         "multipart/form-data; boundary=b" };
    if (size == 0)
        return 0;
    weir_request_t request = { .count = 0 };
    weir_str_t text = { (const char *)data + 1, size - 1 };
    check(&request, weir_str(types[data[0] % WEIR_COUNT(types)]), text);
    for (size_t i = 0; i < request.count; i++)
        free(request.blocks[i]);
    return 0;
}
