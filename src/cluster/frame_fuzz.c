/* frame_fuzz.c -- any bytes as frames, in pieces. */
#include "cluster/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    weir_frame_reader_t *reader = NULL;
    size_t step = 1 + data[0];
    if (weir_frame_reader_new(data[1] & 1, 4096, &reader, NULL) != WEIR_OK)
        return 0;
    int rc = WEIR_AGAIN;
    for (size_t at = 2; at < size && rc == WEIR_AGAIN; at += step) {
        weir_str_t part = { (const char *)data + at, size - at < step ? size - at : step };
        weir_frame_t frame;
        while ((rc = weir_frame_next(reader, &part, &frame, NULL)) == WEIR_OK)
            weir_assert(frame.payload.len <= 4096);
    }
    weir_frame_reader_free(reader);
    return 0;
}
