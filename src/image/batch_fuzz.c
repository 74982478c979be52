/* batch_fuzz.c -- deltas as a control plane may send them: lines of JSON,
 * {"type":...,"row":{...}} to put, with "id" and perhaps "hash" as in weir.sync.v1,
 * {"type":...,"key":{...}} or "id" alone to delete, {"bucket":N} to say that what follows
 * is all of a bucket, "" to commit. Nothing may fail but memory; whatever came, the image
 * follows from its documents; and one without quarantine must be the one that is built at
 * once from them. */
#include "image/compare.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void note_difference(void *context, weir_difference_t what, weir_str_t type,
                            const weir_uuid_t *id, weir_str_t name)
{
    (void)context, (void)id;
    weir_assert(what <= WEIR_DIFFERENCE_DOCUMENT && type.data != NULL && name.len < 100);
}

static void end_bucket(fixture_t *f)
{
    if (f->batch->in_bucket)
        fixture_ok(f, weir_batch_bucket_end(f->batch, note_difference, NULL, &f->err));
}

/* An id that is not of the bucket is refused, before anything of it is done. */
static void expect_ok(fixture_t *f, int rc)
{
    if (rc != WEIR_INVALID || !f->batch->in_bucket || strcmp(f->err.field, "id") != 0)
        fixture_ok(f, rc);
}

static void apply(fixture_t *f, weir_str_t line)
{
    WEIR_AUTO(json) weir_json_t *delta = NULL;
    weir_uuid_t id;
    weir_digest_t hash;
    if (weir_json_parse(line, &delta, NULL) != WEIR_OK)
        return;
    weir_str_t type = weir_json_get_string(delta, "type", WEIR_STR(""));
    const weir_json_t *row = weir_json_get(delta, "row");
    const weir_json_t *key = weir_json_get(delta, "key");
    double bucket = weir_json_get_number(delta, "bucket", -1);
    bool named = weir_uuid_parse(weir_json_get_string(delta, "id", WEIR_STR("")), &id) == WEIR_OK;
    bool told =
        weir_digest_parse(weir_json_get_string(delta, "hash", WEIR_STR("")), &hash) == WEIR_OK;
    if (bucket >= 0 && bucket < WEIR_DIGEST_BUCKETS) {
        end_bucket(f);
        if (!f->batch->full)
            fixture_ok(f, weir_batch_bucket_begin(f->batch, (unsigned)bucket, &f->err));
    } else if (key != NULL) {
        fixture_ok(f, weir_batch_delete(f->batch, type, key, &f->err));
    } else if (row != NULL && named) {
        expect_ok(f, weir_batch_put_told(f->batch, type, &id, row, told ? &hash : NULL, &f->err));
    } else if (row != NULL) {
        expect_ok(f, weir_batch_put(f->batch, type, row, &f->err));
    } else if (named) {
        fixture_ok(f, weir_batch_delete_id(f->batch, type, &id, &f->err));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fixture_t f, once;
    if (f.image == NULL) {
        fixture_open(&f);
        fixture_open(&once);
        static const weir_digest_key_t key = { { 1 } };
        fixture_ok(&f, weir_image_set_digest_key(f.image, &key, &f.err));
    }
    fixture_begin(&f, true);
    for (size_t at = 0; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t len = end != NULL ? (size_t)(end - data) - at : size - at;
        if (len == 0) {
            end_bucket(&f);
            fixture_commit(&f);
            fixture_begin(&f, false);
        } else {
            apply(&f, (weir_str_t){ (const char *)data + at, len });
        }
        at += len + 1;
    }
    end_bucket(&f);
    fixture_commit(&f);
    weir_assert(compare_verified(&f));
    weir_image_state_t state;
    fixture_ok(&f, weir_image_state(f.image, &state, &f.err));
    if (state.quarantined == 0) {
        compare_copy(&f, &once);
        weir_assert(compare_images(&f, &once) == -1);
    }
    return 0;
}
