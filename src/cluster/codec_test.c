/* codec_test.c -- blocks, bombs, and blocks made of shared pieces; in both codecs. */
#include "cluster/fixture.h"

#include <zstd.h>

static const weir_codec_t codecs[] = { WEIR_CODEC_SNAPPY, WEIR_CODEC_ZSTD };

#define FOR_EACH_CODEC(codec) \
    for (weir_codec_t codec = WEIR_CODEC_SNAPPY; codec <= WEIR_CODEC_ZSTD; codec++)

static void fill(weir_buffer_t *out, size_t bytes, uint64_t seed)
{
    fixture_random_t random = { seed };
    for (size_t i = 0; i < bytes; i++)
        weir_buffer_byte(out, (char)('a' + fixture_next(&random, 8)));
}

static void what_goes_in_comes_out(void **state)
{
    static const size_t sizes[] = { 0, 1, 59, 60, 61, 255, 256, 65535, 65536, 65537, 3000000 };
    (void)state;
    FOR_EACH_CODEC(codec)
    {
        for (size_t i = 0; i < WEIR_COUNT(sizes); i++) {
            WEIR_AUTO(buffer) weir_buffer_t text;
            WEIR_AUTO(buffer) weir_buffer_t block;
            WEIR_AUTO(buffer) weir_buffer_t back;
            weir_buffer_init(&text, 1 << 22);
            weir_buffer_init(&block, 1 << 22);
            weir_buffer_init(&back, 1 << 23);
            fill(&text, sizes[i], i + 1);
            assert_int_equal(weir_codec_deflate(codec, weir_buffer_str(&text), &block, NULL),
                             WEIR_OK);
            assert_int_equal(
                weir_codec_inflate(codec, weir_buffer_str(&block), sizes[i], &back, NULL), WEIR_OK);
            assert_true(weir_str_equal(weir_buffer_str(&text), weir_buffer_str(&back)));
            if (sizes[i] == 0)
                continue;
            weir_buffer_clear(&back);
            assert_int_equal(
                weir_codec_inflate(codec, weir_buffer_str(&block), sizes[i] - 1, &back, NULL),
                WEIR_TOO_LARGE);
        }
    }
}

/* A little that becomes a lot: refused at the limit, and nothing beyond it is held. */
static void bombs_are_refused(void **state)
{
    enum { BOMB_BYTES = 64 << 20, LIMIT = 1 << 20 };
    (void)state;
    char *zeros = calloc(1, BOMB_BYTES);
    assert_non_null(zeros);
    for (size_t i = 0; i < WEIR_COUNT(codecs); i++) {
        weir_error_t err = { 0 };
        WEIR_AUTO(buffer) weir_buffer_t block;
        WEIR_AUTO(buffer) weir_buffer_t back;
        weir_buffer_init(&block, 1 << 27);
        weir_buffer_init(&back, 1 << 27);
        assert_int_equal(
            weir_codec_deflate(codecs[i], (weir_str_t){ zeros, BOMB_BYTES }, &block, NULL),
            WEIR_OK);
        assert_int_equal(weir_codec_inflate(codecs[i], weir_buffer_str(&block), LIMIT, &back, &err),
                         WEIR_TOO_LARGE);
        assert_string_equal(err.field, "cluster_max_payload");
        assert_true(back.capacity <= 4 * LIMIT);
    }
    free(zeros);
}

/* A frame whose window alone would take more memory than a reader gives. */
static void wide_windows_are_refused(void **state)
{
    enum { BYTES = 48 << 20 };
    (void)state;
    WEIR_AUTO(buffer) weir_buffer_t back;
    weir_buffer_init(&back, 1 << 27);
    char *zeros = calloc(1, BYTES);
    size_t room = ZSTD_compressBound(BYTES);
    char *frame = malloc(room);
    ZSTD_CCtx *context = ZSTD_createCCtx();
    assert_non_null(zeros);
    assert_non_null(frame);
    ZSTD_CCtx_setParameter(context, ZSTD_c_windowLog, 25);
    ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 0);
    ZSTD_inBuffer in = { zeros, BYTES, 0 };
    ZSTD_outBuffer out = { frame, room, 0 };
    assert_int_equal(ZSTD_compressStream2(context, &out, &in, ZSTD_e_end), 0);
    assert_int_equal(
        weir_codec_inflate(WEIR_CODEC_ZSTD, (weir_str_t){ frame, out.pos }, 1 << 26, &back, NULL),
        WEIR_INVALID);
    ZSTD_freeCCtx(context);
    free(frame);
    free(zeros);
}

/* WEIR_SEED repeats a run. Whatever a block is changed to, it is refused or within
 * its limit. */
static void damaged_blocks_are_refused(void **state)
{
    enum { BLOCKS = 5000, LIMIT = 20000 };
    const char *given = getenv("WEIR_SEED");
    fixture_random_t random = { given != NULL ? strtoull(given, NULL, 10) : 20261126 };
    size_t refused = 0;
    (void)state;
    print_message("seed %llu\n", (unsigned long long)random.state);
    for (size_t i = 0; i < 2 * BLOCKS; i++) {
        weir_codec_t codec = codecs[i % 2];
        WEIR_AUTO(buffer) weir_buffer_t text;
        WEIR_AUTO(buffer) weir_buffer_t block;
        WEIR_AUTO(buffer) weir_buffer_t back;
        weir_buffer_init(&text, LIMIT);
        weir_buffer_init(&block, 2 * LIMIT);
        weir_buffer_init(&back, 1 << 22);
        fill(&text, fixture_next(&random, 4000), i);
        assert_int_equal(weir_codec_deflate(codec, weir_buffer_str(&text), &block, NULL), WEIR_OK);
        for (uint32_t n = fixture_next(&random, 4); n < 4 && block.len > 0; n++)
            block.data[fixture_next(&random, (uint32_t)block.len)] ^=
                (char)(1u << fixture_next(&random, 8));
        if (fixture_next(&random, 3) == 0)
            block.len = fixture_next(&random, (uint32_t)block.len + 1);
        int rc = weir_codec_inflate(codec, weir_buffer_str(&block), LIMIT, &back, NULL);
        assert_true(rc == WEIR_OK || rc == WEIR_INVALID || rc == WEIR_TOO_LARGE);
        assert_true(rc != WEIR_OK || back.len <= LIMIT);
        refused += rc != WEIR_OK;
    }
    assert_true(refused > BLOCKS / 4);
}

/* A block made of literals and of elements compressed in several chunks. */
static void shared_elements_join_into_one_block(void **state)
{
    enum { LONG = 200000, NUMBERS = 600000 };
    const weir_str_t first = WEIR_STR("{\"a\":\"");
    const weir_str_t second = WEIR_STR("\",\"b\":");
    (void)state;
    char *filler = malloc(LONG);
    assert_non_null(filler);
    memset(filler, 'l', LONG);
    FOR_EACH_CODEC(codec)
    {
        weir_elements_t elements;
        weir_elements_init(&elements, codec, 1 << 23);
        weir_elements_append(&elements, WEIR_STR("[0"));
        for (int i = 1; i < NUMBERS; i++) {
            char text[32];
            int len = snprintf(text, sizeof(text), ",%d", (int)(i * 7919L % 60013));
            weir_elements_append(&elements, (weir_str_t){ text, (size_t)len });
        }
        weir_elements_append(&elements, WEIR_STR("]"));
        assert_int_equal(weir_elements_finish(&elements), WEIR_OK);
        uint64_t whole = first.len + LONG + second.len + elements.uncompressed + 1;
        WEIR_AUTO(buffer) weir_buffer_t block;
        weir_buffer_init(&block, 1 << 23);
        weir_elements_length(codec, whole, &block);
        weir_elements_literal(codec, first, &block);
        weir_elements_literal(codec, (weir_str_t){ filler, LONG }, &block);
        weir_elements_literal(codec, second, &block);
        weir_buffer_append(&block, weir_buffer_str(&elements.bytes));
        weir_elements_literal(codec, WEIR_STR("}"), &block);
        WEIR_AUTO(json) weir_json_t *message = NULL;
        assert_int_equal(weir_message_decode(codec, weir_buffer_str(&block), whole, &message, NULL),
                         WEIR_OK);
        assert_int_equal(weir_json_count(weir_json_get(message, "b")), NUMBERS);
        assert_int_equal(weir_json_string(weir_json_get(message, "a")).len, LONG);
        weir_elements_release(&elements);
    }
    free(filler);
}

static void elements_know_their_limit(void **state)
{
    (void)state;
    FOR_EACH_CODEC(codec)
    {
        weir_elements_t elements;
        fixture_random_t random = { 1 };
        int rc = WEIR_OK;
        weir_elements_init(&elements, codec, 1000);
        for (int i = 0; i < 3000000 && rc == WEIR_OK; i++) {
            char byte = (char)fixture_next(&random, 256);
            rc = weir_elements_append(&elements, (weir_str_t){ &byte, 1 });
        }
        assert_int_equal(rc, WEIR_TOO_LARGE);
        weir_elements_release(&elements);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_goes_in_comes_out),
        cmocka_unit_test(bombs_are_refused),
        cmocka_unit_test(wide_windows_are_refused),
        cmocka_unit_test(damaged_blocks_are_refused),
        cmocka_unit_test(shared_elements_join_into_one_block),
        cmocka_unit_test(elements_know_their_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
