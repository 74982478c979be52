/* codec.c -- snappy and zstd, whole and in pieces. */
#include "cluster/codec.h"

#include <pthread.h>
#include <snappy-c.h>
#include <zstd.h>

enum {
    SNAPPY_CHUNK_BYTES = 64 * 1024,
    ZSTD_CHUNK_BYTES = 1024 * 1024,
    ZSTD_LEVEL = 1,
    ZSTD_WINDOW_LOG_MAX = 23, /* 8 MiB: a reader's memory */
    INFLATE_STEP_MIN = 1024,
    INFLATE_STEP_MAX = 256 * 1024,
    INFLATER_BYTES_KEPT_MAX = 1024 * 1024,
    DEFLATER_BYTES_KEPT_MAX = 256 * 1024,
};

const char *weir_codec_name(weir_codec_t codec)
{
    return codec == WEIR_CODEC_ZSTD ? "x-zstd" : "x-snappy-framed";
}

/* -- whole blocks ---------------------------------------------------------------------- */

static int too_large(size_t bytes_max, weir_error_t *err)
{
    return weir_error_set(err, WEIR_TOO_LARGE, "cluster_max_payload",
                          "a message of more than %zu bytes when uncompressed", bytes_max);
}

static int inflate_snappy(weir_str_t block, size_t bytes_max, weir_buffer_t *out, weir_error_t *err)
{
    size_t len = 0;
    if (snappy_uncompressed_length(block.data, block.len, &len) != SNAPPY_OK)
        return weir_error_set(err, WEIR_INVALID, NULL, "no snappy block");
    if (len > bytes_max)
        return too_large(bytes_max, err);
    /* What is left of a lie about the length: a block cannot grow by more. */
    if (len / 64 > block.len + 64)
        return weir_error_set(err, WEIR_INVALID, NULL, "a snappy block with a false length");
    char *to = weir_buffer_reserve(out, len);
    if (to == NULL)
        return weir_error_memory(err);
    if (snappy_uncompress(block.data, block.len, to, &len) != SNAPPY_OK)
        return weir_error_set(err, WEIR_INVALID, NULL, "a damaged snappy block");
    out->len += len;
    return WEIR_OK;
}

/* Grows with what comes out, never by what a header says. */
static int inflate_frames(ZSTD_DCtx *context, weir_str_t block, size_t bytes_max,
                          weir_buffer_t *out, weir_error_t *err)
{
    ZSTD_inBuffer in = { block.data, block.len, 0 };
    size_t start = out->len;
    /* About what short messages and long ones come to; whatever it is, it grows. */
    size_t step = block.len * 8 + INFLATE_STEP_MIN;
    step = step < INFLATE_STEP_MAX ? step : INFLATE_STEP_MAX;
    size_t hint = 1; /* 0: a frame has come to its end */
    while (in.pos < in.size || hint != 0) {
        size_t left = bytes_max - (out->len - start) + 1; /* one more: to see it overflow */
        size_t room = step < left ? step : left;
        char *to = weir_buffer_reserve(out, room);
        if (to == NULL)
            return weir_error_memory(err);
        ZSTD_outBuffer piece = { to, room, 0 };
        size_t before = in.pos;
        hint = ZSTD_decompressStream(context, &piece, &in);
        if (ZSTD_isError(hint))
            return weir_error_set(err, WEIR_INVALID, NULL, "a damaged zstd frame: %s",
                                  ZSTD_getErrorName(hint));
        out->len += piece.pos;
        if (out->len - start > bytes_max)
            return too_large(bytes_max, err);
        if (in.pos == before && piece.pos == 0)
            return weir_error_set(err, WEIR_INVALID, NULL, "a zstd frame without its end");
    }
    return WEIR_OK;
}

static pthread_once_t inflater_once = PTHREAD_ONCE_INIT;
static pthread_key_t inflater_key;

static void free_inflater(void *context)
{
    ZSTD_freeDCtx(context);
}

static void make_inflater_key(void)
{
    weir_assert(pthread_key_create(&inflater_key, free_inflater) == 0);
}

/* The thread's own: making one costs more than inflating an acknowledgement (of 1,000 data
 * planes it was a third of a control plane's time for a change). */
static ZSTD_DCtx *inflater(void)
{
    pthread_once(&inflater_once, make_inflater_key);
    ZSTD_DCtx *context = pthread_getspecific(inflater_key);
    if (context != NULL)
        return context;
    context = ZSTD_createDCtx();
    if (context == NULL ||
        ZSTD_isError(ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX)) ||
        pthread_setspecific(inflater_key, context) != 0) {
        ZSTD_freeDCtx(context);
        return NULL;
    }
    return context;
}

/* Ready for the next message; what a large window took is given back. */
static void settle_inflater(ZSTD_DCtx *context)
{
    if (ZSTD_sizeof_DCtx(context) > INFLATER_BYTES_KEPT_MAX) {
        pthread_setspecific(inflater_key, NULL);
        ZSTD_freeDCtx(context);
    } else {
        ZSTD_DCtx_reset(context, ZSTD_reset_session_only);
    }
}

static int inflate_zstd(weir_str_t block, size_t bytes_max, weir_buffer_t *out, weir_error_t *err)
{
    if (block.len == 0)
        return weir_error_set(err, WEIR_INVALID, NULL, "no zstd frame");
    ZSTD_DCtx *context = inflater();
    if (context == NULL)
        return weir_error_memory(err);
    int rc = inflate_frames(context, block, bytes_max, out, err);
    settle_inflater(context);
    return rc;
}

int weir_codec_inflate(weir_codec_t codec, weir_str_t block, size_t bytes_max, weir_buffer_t *out,
                       weir_error_t *err)
{
    return codec == WEIR_CODEC_ZSTD ? inflate_zstd(block, bytes_max, out, err)
                                    : inflate_snappy(block, bytes_max, out, err);
}

static pthread_once_t deflater_once = PTHREAD_ONCE_INIT;
static pthread_key_t deflater_key;

static void free_deflater(void *context)
{
    ZSTD_freeCCtx(context);
}

static void make_deflater_key(void)
{
    weir_assert(pthread_key_create(&deflater_key, free_deflater) == 0);
}

/* The thread's own: making one asks the processor what it can do, which on a virtual
 * machine takes longer than compressing a change. That of a large message is not kept:
 * there are many threads. Returns the length, 0 without memory: all that can fail with
 * room enough. */
static size_t deflate_zstd(char *to, size_t room, weir_str_t text)
{
    pthread_once(&deflater_once, make_deflater_key);
    ZSTD_CCtx *context = pthread_getspecific(deflater_key);
    if (context == NULL)
        context = ZSTD_createCCtx();
    if (context == NULL)
        return 0;
    size_t len = ZSTD_compressCCtx(context, to, room, text.data, text.len, ZSTD_LEVEL);
    bool keep = ZSTD_sizeof_CCtx(context) <= DEFLATER_BYTES_KEPT_MAX;
    if (pthread_setspecific(deflater_key, keep ? context : NULL) != 0 || !keep)
        ZSTD_freeCCtx(context);
    return ZSTD_isError(len) ? 0 : len;
}

static int compress(weir_codec_t codec, weir_str_t text, weir_buffer_t *out)
{
    size_t len = codec == WEIR_CODEC_ZSTD ? ZSTD_compressBound(text.len)
                                          : snappy_max_compressed_length(text.len);
    char *to = weir_buffer_reserve(out, len);
    if (to == NULL)
        return out->failed;
    if (codec == WEIR_CODEC_ZSTD) {
        len = deflate_zstd(to, len, text);
        if (len == 0)
            return WEIR_NO_MEMORY;
    } else if (snappy_compress(text.data, text.len, to, &len) != SNAPPY_OK) {
        return WEIR_NO_MEMORY;
    }
    out->len += len;
    return WEIR_OK;
}

int weir_codec_deflate(weir_codec_t codec, weir_str_t text, weir_buffer_t *out, weir_error_t *err)
{
    int rc = compress(codec, text, out);
    return rc == WEIR_OK
               ? rc
               : weir_error_set(err, rc, NULL, "no room for a message of %zu bytes", text.len);
}

/* -- pieces ------------------------------------------------------------------------------ */

static size_t chunk_bytes(weir_codec_t codec)
{
    return codec == WEIR_CODEC_ZSTD ? ZSTD_CHUNK_BYTES : SNAPPY_CHUNK_BYTES;
}

void weir_elements_init(weir_elements_t *elements, weir_codec_t codec, size_t bytes_max)
{
    *elements = (weir_elements_t){ .codec = codec };
    weir_buffer_init(&elements->bytes, bytes_max);
    weir_buffer_init(&elements->chunk, chunk_bytes(codec));
}

void weir_elements_release(weir_elements_t *elements)
{
    weir_buffer_release(&elements->bytes);
    weir_buffer_release(&elements->chunk);
}

/* The length that snappy puts in front of a block. */
static size_t length_bytes(weir_codec_t codec, weir_str_t block)
{
    size_t start = 0;
    if (codec == WEIR_CODEC_ZSTD)
        return 0;
    while (start < block.len && (block.data[start] & 0x80))
        start++;
    return start + 1;
}

static int flush_chunk(weir_elements_t *elements)
{
    weir_buffer_t *chunk = &elements->chunk;
    if (chunk->len == 0)
        return elements->bytes.failed;
    WEIR_AUTO(buffer) weir_buffer_t block;
    weir_buffer_init(&block, ZSTD_COMPRESSBOUND(ZSTD_CHUNK_BYTES) + SNAPPY_CHUNK_BYTES);
    int rc = compress(elements->codec, weir_buffer_str(chunk), &block);
    if (rc != WEIR_OK)
        return rc;
    size_t start = length_bytes(elements->codec, weir_buffer_str(&block));
    elements->uncompressed += chunk->len;
    weir_buffer_clear(chunk);
    return weir_buffer_append(&elements->bytes,
                              (weir_str_t){ block.data + start, block.len - start });
}

int weir_elements_append(weir_elements_t *elements, weir_str_t text)
{
    int rc = elements->bytes.failed;
    size_t size = chunk_bytes(elements->codec);
    while (rc == WEIR_OK && text.len > 0) {
        size_t room = size - elements->chunk.len;
        size_t part = text.len < room ? text.len : room;
        rc = weir_buffer_append(&elements->chunk, (weir_str_t){ text.data, part });
        text = (weir_str_t){ text.data + part, text.len - part };
        if (rc == WEIR_OK && elements->chunk.len == size)
            rc = flush_chunk(elements);
    }
    return rc;
}

int weir_elements_finish(weir_elements_t *elements)
{
    int rc = flush_chunk(elements);
    weir_buffer_release(&elements->chunk);
    return rc;
}

/* One element: its length less one in the tag, or in one or two bytes after it. */
static void snappy_literal(weir_buffer_t *out, weir_str_t text)
{
    size_t n = text.len - 1;
    if (n < 60) {
        weir_buffer_byte(out, (char)(n << 2));
    } else if (n < 256) {
        weir_buffer_byte(out, (char)(60 << 2));
        weir_buffer_byte(out, (char)n);
    } else {
        weir_buffer_byte(out, (char)(61 << 2));
        weir_buffer_byte(out, (char)n);
        weir_buffer_byte(out, (char)(n >> 8));
    }
    weir_buffer_append(out, text);
}

int weir_elements_literal(weir_codec_t codec, weir_str_t text, weir_buffer_t *out)
{
    if (codec == WEIR_CODEC_ZSTD)
        return text.len > 0 ? compress(codec, text, out) : out->failed;
    while (text.len > 0) {
        size_t part = text.len < SNAPPY_CHUNK_BYTES ? text.len : SNAPPY_CHUNK_BYTES;
        snappy_literal(out, (weir_str_t){ text.data, part });
        text = (weir_str_t){ text.data + part, text.len - part };
    }
    return out->failed;
}

int weir_elements_length(weir_codec_t codec, uint64_t uncompressed, weir_buffer_t *out)
{
    if (codec == WEIR_CODEC_ZSTD)
        return out->failed;
    while (uncompressed >= 0x80) {
        weir_buffer_byte(out, (char)(uncompressed | 0x80));
        uncompressed >>= 7;
    }
    return weir_buffer_byte(out, (char)uncompressed);
}
