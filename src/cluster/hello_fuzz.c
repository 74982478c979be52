/* hello_fuzz.c -- any bytes as a hello, and as the answer to one. */
#include "cluster/hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weir_str_t bytes = { (const char *)data, size };
    weir_hello_t hello = { 0 };
    bool sync = false;
    bool report = false;
    if (weir_hello_read(bytes, &hello, NULL) == WEIR_OK) {
        weir_buffer_t out;
        weir_buffer_init(&out, 4096);
        weir_hello_answer(&hello, true, &out);
        weir_assert(weir_hello_read_answer(weir_buffer_str(&out), &sync, &report, NULL) == WEIR_OK);
        weir_assert(sync && report == hello.report);
        weir_buffer_release(&out);
    }
    weir_hello_release(&hello);
    (void)weir_hello_read_answer(bytes, &sync, &report, NULL);
    return 0;
}
