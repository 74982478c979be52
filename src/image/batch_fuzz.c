/* batch_fuzz.c -- deltas as a control plane may send them: lines of JSON,
 * {"type":...,"row":{...}} to put and {"type":...,"key":{...}} to delete, "" to
 * commit. Nothing may fail but memory; and an image without quarantine must be the
 * one that is built at once from its documents. */
#include "image/compare.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void apply(fixture_t *f, weir_str_t line)
{
    WEIR_AUTO(json) weir_json_t *delta = NULL;
    if (weir_json_parse(line, &delta, NULL) != WEIR_OK)
        return;
    weir_str_t type = weir_json_get_string(delta, "type", WEIR_STR(""));
    const weir_json_t *row = weir_json_get(delta, "row");
    const weir_json_t *key = weir_json_get(delta, "key");
    if (key != NULL)
        fixture_ok(f, weir_batch_delete(f->batch, type, key, &f->err));
    else if (row != NULL)
        fixture_ok(f, weir_batch_put(f->batch, type, row, &f->err));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fixture_t f, once;
    if (f.image == NULL) {
        fixture_open(&f);
        fixture_open(&once);
    }
    fixture_begin(&f, true);
    for (size_t at = 0; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t len = end != NULL ? (size_t)(end - data) - at : size - at;
        if (len == 0) {
            fixture_commit(&f);
            fixture_begin(&f, false);
        } else {
            apply(&f, (weir_str_t){ (const char *)data + at, len });
        }
        at += len + 1;
    }
    fixture_commit(&f);
    weir_image_state_t state;
    fixture_ok(&f, weir_image_state(f.image, &state, &f.err));
    if (state.quarantined == 0) {
        compare_copy(&f, &once);
        weir_assert(compare_images(&f, &once) == -1);
    }
    return 0;
}
