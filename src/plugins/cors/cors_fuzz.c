/* cors_fuzz.c -- origins from anybody's bytes.
 *
 * Properties: the normal form is no longer than the text, the host is a piece of it, and it
 * is its own normal form. */
#include "base/base.h"
#include "plugins/cors/cors.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cors_origin_t once;
    cors_origin_t twice;
    char *room = malloc(size + 1); /* of the exact sizes, so that a step past is seen */
    char *other = malloc(size + 1);
    weir_assert(room != NULL && other != NULL);
    if (size > 0) {
        cors_origin((weir_str_t){ (const char *)data, size }, room, &once);
        weir_assert(once.whole.len > 0 && once.whole.len <= size);
        weir_assert(once.host.data >= room &&
                    once.host.data + once.host.len <= room + once.whole.len);
        cors_origin(once.whole, other, &twice);
        weir_assert(twice.whole.len <= once.whole.len);
    }
    free(room);
    free(other);
    return 0;
}
