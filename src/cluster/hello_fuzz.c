/* hello_fuzz.c -- any bytes as a hello, and as the answer to one. */
#include "cluster/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weir_str_t bytes = { (const char *)data, size };
    weir_hello_t hello = { 0 };
    weir_offer_t offer = { 0 };
    if (weir_hello_read(bytes, &hello, NULL) == WEIR_OK) {
        weir_buffer_t out;
        weir_buffer_init(&out, 4096);
        weir_offer_t made = {
            .sync = true,
            .report = hello.report,
            .sync_v1 = hello.sync_v1,
            .codec = hello.sync_v1 && hello.zstd ? WEIR_CODEC_ZSTD : WEIR_CODEC_SNAPPY,
        };
        weir_hello_answer(&made, &out);
        weir_assert(weir_hello_read_answer(weir_buffer_str(&out), &offer, NULL) == WEIR_OK);
        weir_assert(offer.sync && offer.report == made.report && offer.sync_v1 == made.sync_v1 &&
                    offer.codec == made.codec);
        weir_buffer_release(&out);
    }
    weir_hello_release(&hello);
    (void)weir_hello_read_answer(bytes, &offer, NULL);
    return 0;
}
