/* frame_test.c -- reading and writing WebSocket frames. */
#include "cluster/fixture.h"

typedef struct reading {
    weir_frame_reader_t *reader;
    size_t count;
    int rc;
    weir_error_t err;
    weir_frame_t last; /* its payload is gone */
    size_t bytes;      /* of payloads */
    char first, end;   /* bytes of the last payload that has some */
} reading_t;

static reading_t reading_of(bool masked, size_t payload_max)
{
    reading_t r = { 0 };
    assert_int_equal(weir_frame_reader_new(masked, payload_max, &r.reader, NULL), WEIR_OK);
    return r;
}

/* Gives the bytes in pieces of `step`. */
static void give(reading_t *r, weir_str_t bytes, size_t step)
{
    while (bytes.len > 0) {
        weir_str_t part = { bytes.data, bytes.len < step ? bytes.len : step };
        bytes = (weir_str_t){ bytes.data + part.len, bytes.len - part.len };
        while ((r->rc = weir_frame_next(r->reader, &part, &r->last, &r->err)) == WEIR_OK) {
            r->count++;
            r->bytes += r->last.payload.len;
            if (r->last.payload.len == 0)
                continue;
            r->first = r->last.payload.data[0];
            r->end = r->last.payload.data[r->last.payload.len - 1];
        }
        if (r->rc != WEIR_AGAIN)
            return;
    }
}

static void give_frame(reading_t *r, const char *bytes, size_t len)
{
    give(r, (weir_str_t){ bytes, len }, len);
}

#define GIVE(r, bytes) give_frame(r, bytes, sizeof(bytes) - 1)

static void what_is_written_is_read_whatever_the_length_and_the_pieces(void **state)
{
    static const size_t lengths[] = { 0, 1, 125, 126, 127, 65535, 65536, 100000 };
    static const size_t steps[] = { 1, 2, 3, 7, 4096, 4097, 1000000 };
    (void)state;
    for (int mask = 0; mask < 2; mask++) {
        WEIR_AUTO(buffer) weir_buffer_t bytes;
        weir_buffer_init(&bytes, 1 << 22);
        size_t sum = 0;
        for (size_t i = 0; i < WEIR_COUNT(lengths); i++) {
            char *payload = malloc(lengths[i] + 1);
            memset(payload, 'a' + (int)i, lengths[i] + 1);
            fixture_frame(&bytes, WEIR_FRAME_BINARY, mask, (weir_str_t){ payload, lengths[i] });
            sum += lengths[i];
            free(payload);
        }
        for (size_t i = 0; i < WEIR_COUNT(steps); i++) {
            reading_t r = reading_of(mask, 100000);
            give(&r, weir_buffer_str(&bytes), steps[i]);
            assert_int_equal(r.rc, WEIR_AGAIN);
            assert_int_equal(r.count, WEIR_COUNT(lengths));
            assert_int_equal(r.bytes, sum);
            assert_true(r.last.fin);
            assert_int_equal(r.end, 'a' + 7); /* unmasked */
            weir_frame_reader_free(r.reader);
        }
    }
}

static void a_stall_in_mid_frame_loses_nothing(void **state)
{
    (void)state;
    reading_t r = reading_of(false, 1000);
    GIVE(&r, "\x82\x05he");
    assert_int_equal(r.rc, WEIR_AGAIN);
    GIVE(&r, "llo\x89\x00\x82");
    assert_int_equal(r.count, 2); /* the message and a ping */
    GIVE(&r, "\x01x");
    assert_int_equal(r.count, 3);
    assert_int_equal(r.first, 'x');
    weir_frame_reader_free(r.reader);
}

static void broken_framing_is_refused(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *why;
    } cases[] = {
#define CASE(bytes, why) { bytes, sizeof(bytes) - 1, why }
        CASE("\x82\x01x", "not masked"),
        CASE("\xc2\x80\1\2\3\4", "reserved"),
        CASE("\x83\x80\1\2\3\4", "opcode 3"),
        CASE("\x8b\x80\1\2\3\4", "opcode 11"),
        CASE("\x89\xfe\x00\x7e\1\2\3\4x", ""),                         /* a ping of 126 bytes */
        CASE("\x09\x80\1\2\3\4", ""),                                  /* a ping with FIN=0 */
        CASE("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\1\2\3\4x", ""), /* 2^64 - 1 */
#undef CASE
    };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        reading_t r = reading_of(true, 1000);
        give_frame(&r, cases[i].bytes, cases[i].len);
        assert_int_equal(r.rc, WEIR_INVALID);
        assert_non_null(strstr(r.err.reason, cases[i].why));
        weir_frame_reader_free(r.reader);
    }
}

static void a_masked_frame_from_a_server_is_taken(void **state)
{
    (void)state;
    reading_t r = reading_of(false, 1000);
    GIVE(&r, "\x82\x81\1\2\3\4y");
    assert_int_equal(r.count, 1);
    assert_int_equal(r.first, 'y' ^ 1);
    weir_frame_reader_free(r.reader);
}

static void text_and_fragments_are_told_to_the_caller(void **state)
{
    (void)state;
    reading_t r = reading_of(false, 1000);
    GIVE(&r, "\x81\x01t");
    assert_int_equal(r.last.opcode, WEIR_FRAME_TEXT);
    GIVE(&r, "\x02\x01u");
    assert_false(r.last.fin);
    assert_int_equal(r.count, 2);
    weir_frame_reader_free(r.reader);
}

static void a_payload_over_the_limit_is_refused_before_it_is_kept(void **state)
{
    (void)state;
    reading_t r = reading_of(false, 125);
    GIVE(&r, "\x82\x7e\x00\x7ex");
    assert_int_equal(r.rc, WEIR_TOO_LARGE);
    assert_string_equal(r.err.field, "cluster_max_payload");
    weir_frame_reader_free(r.reader);
}

/* What is kept needs no allocation for the next frame. */
static void a_large_payload_is_not_kept_for_the_next_frame(void **state)
{
    static const size_t lengths[] = { 100, 100000 };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(lengths); i++) {
        WEIR_AUTO(buffer) weir_buffer_t bytes;
        weir_buffer_init(&bytes, 1 << 20);
        char *payload = calloc(1, lengths[i]);
        fixture_frame(&bytes, WEIR_FRAME_BINARY, false, (weir_str_t){ payload, lengths[i] });
        free(payload);
        reading_t r = reading_of(false, 1 << 20);
        give(&r, weir_buffer_str(&bytes), bytes.len);
        weir_test_fail_allocation(1);
        GIVE(&r, "\x82\x03xyz");
        weir_test_fail_allocation(0);
        assert_int_equal(r.rc, lengths[i] > 4096 ? WEIR_NO_MEMORY : WEIR_AGAIN);
        weir_frame_reader_free(r.reader);
    }
}

static void no_allocation_is_trusted(void **state)
{
    WEIR_AUTO(buffer) weir_buffer_t bytes;
    (void)state;
    weir_buffer_init(&bytes, 100000);
    fixture_frame(&bytes, WEIR_FRAME_BINARY, false, WEIR_STR("0123456789"));
    for (unsigned n = 1;; n++) {
        weir_frame_reader_t *reader = NULL;
        weir_frame_t frame;
        weir_str_t input = weir_buffer_str(&bytes);
        weir_test_fail_allocation(n);
        int rc = weir_frame_reader_new(false, 100, &reader, NULL);
        if (rc == WEIR_OK)
            rc = weir_frame_next(reader, &input, &frame, NULL);
        weir_test_fail_allocation(0);
        weir_frame_reader_free(reader);
        if (rc == WEIR_OK)
            return;
        assert_int_equal(rc, WEIR_NO_MEMORY);
        assert_true(n < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_whatever_the_length_and_the_pieces),
        cmocka_unit_test(a_stall_in_mid_frame_loses_nothing),
        cmocka_unit_test(broken_framing_is_refused),
        cmocka_unit_test(a_masked_frame_from_a_server_is_taken),
        cmocka_unit_test(text_and_fragments_are_told_to_the_caller),
        cmocka_unit_test(a_payload_over_the_limit_is_refused_before_it_is_kept),
        cmocka_unit_test(a_large_payload_is_not_kept_for_the_next_frame),
        cmocka_unit_test(no_allocation_is_trusted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
