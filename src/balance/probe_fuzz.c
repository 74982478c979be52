/* probe_fuzz.c -- whatever a target answers to an active check, and in whatever pieces. */
#include "balance/probe.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int before = 0;
    for (size_t len = 0; len <= size && len <= 2 * WEIR_PROBE_STATUS_BYTES; len++) {
        /* A copy of its own size: one byte too far is seen. */
        char *copy = malloc(len > 0 ? len : 1);
        if (copy == NULL)
            return 0;
        if (len > 0)
            memcpy(copy, data, len);
        int status = weir_probe_status((weir_str_t){ copy, len });
        free(copy);
        weir_assert(before == 0 || status == before); /* more bytes make no other answer */
        weir_assert(status >= -1 && status <= 999 && (status <= 0 || status >= 100));
        before = status;
    }
    return 0;
}
