/* query_fuzz.c -- any bytes as a query: nothing is written beyond what is promised,
 * and what was taken out is gone. */
#include "proxy/answer.h"
#include "proxy/query.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || size > 65536)
        return 0;
    size_t name_len = data[0] % 16 < size - 1 ? data[0] % 16 : size - 1;
    weir_str_t name = { (const char *)data + 1, name_len };
    weir_str_t query = { (const char *)data + 1 + name_len, size - 1 - name_len };
    char *out = malloc(3 * query.len + 1);
    size_t len = 0;
    if (out == NULL)
        return 0;
    if (weir_query_without(query, name, out, &len)) {
        size_t again = 0;
        char *second = malloc(3 * len + 1);
        weir_assert(len <= 3 * query.len + 1);
        if (second != NULL)
            weir_assert(!weir_query_without((weir_str_t){ out, len }, name, second, &again));
        free(second);
    }
    free(out);
    out = malloc(weir_query_values_bytes(query));
    if (out != NULL && weir_query_values(query, name, out, &len))
        weir_assert(len <= weir_query_values_bytes(query));
    free(out);
    weir_media_accepted(query);
    return 0;
}
