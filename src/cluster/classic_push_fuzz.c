/* classic_push_fuzz.c -- any bytes as a push to a data plane: as they are if they begin as
 * gzip or zlib, else as the text inside of one. */
#include "cluster/classic_table.h"

#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 65536, INFLATED_MAX = 1 << 20 };

static int on_row(void *context, weir_str_t type, const weir_json_t *row, weir_error_t *err)
{
    size_t *rows = context;
    (void)err;
    weir_assert(type.len > 0 && weir_json_kind(row) == WEIR_JSON_OBJECT);
    (*rows)++;
    return WEIR_OK;
}

static void read_push(weir_str_t payload)
{
    weir_classic_head_t head;
    size_t rows = 0;
    if (weir_classic_read_head(payload, INFLATED_MAX, &head, NULL) != WEIR_OK || !head.reconfigure)
        return;
    weir_assert(strlen(head.hash) > 0);
    if (weir_classic_read_rows(payload, INFLATED_MAX, &head, on_row, &rows, NULL) == WEIR_OK)
        weir_assert(rows >= head.rows);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Bytef packed[2 * INPUT_MAX];
    uLongf len = sizeof(packed);
    if (size < 2 || size > INPUT_MAX)
        return 0;
    bool compressed = (data[0] == 0x1f && data[1] == 0x8b) || data[0] == 0x78;
    if (compressed)
        read_push((weir_str_t){ (const char *)data, size });
    else if (compress2(packed, &len, data, size, 0) == Z_OK)
        read_push((weir_str_t){ (const char *)packed, len });
    return 0;
}
