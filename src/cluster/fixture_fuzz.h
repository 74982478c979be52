/* fixture_fuzz.h -- what the fuzz targets of this room share: hosts that swallow
 * everything, frames from JSON, lines of the input. Included by *_fuzz.c only. */
#ifndef WEIR_CLUSTER_FIXTURE_FUZZ_H
#define WEIR_CLUSTER_FIXTURE_FUZZ_H

#include "cluster/encode.h"
#include "cluster/frame.h"

enum { FUZZ_FRAME_BYTES_MAX = 1 << 20, FUZZ_WANTS_MAX = 64 };

/* What a session wants, until the target answers. */
typedef struct fuzz_host {
    weir_want_t wants[FUZZ_WANTS_MAX];
    size_t count;
} fuzz_host_t;

static inline void fuzz_want(void *context, const weir_want_t *want)
{
    fuzz_host_t *host = context;
    weir_assert(host->count < FUZZ_WANTS_MAX);
    host->wants[host->count++] = *want;
}

static inline int fuzz_send(void *context, weir_str_t bytes)
{
    (void)context, (void)bytes;
    return WEIR_OK;
}

static inline int fuzz_send_answer(void *context, weir_answer_t *answer)
{
    (void)context, (void)answer;
    return WEIR_OK;
}

static inline int fuzz_random(void *context, uint8_t *bytes, size_t count)
{
    (void)context;
    memset(bytes, 'r', count);
    return WEIR_OK;
}

static inline void fuzz_event(void *context, const char *text)
{
    (void)context, (void)text;
}

/* The next line. False: there is none. */
static inline bool fuzz_line(weir_str_t *rest, weir_str_t *ret)
{
    if (rest->len == 0)
        return false;
    const char *end = memchr(rest->data, '\n', rest->len);
    size_t len = end != NULL ? (size_t)(end - rest->data) : rest->len;
    *ret = (weir_str_t){ rest->data, len };
    len += end != NULL;
    *rest = (weir_str_t){ rest->data + len, rest->len - len };
    return true;
}

/* A snappy block as a frame, masked as from a client if `mask`. The caller releases. */
static inline weir_buffer_t fuzz_frame(weir_str_t json, bool mask)
{
    static const uint8_t key[4] = { 1, 2, 3, 4 };
    uint8_t header[WEIR_FRAME_HEADER_MAX];
    weir_buffer_t block;
    weir_buffer_t bytes;
    weir_buffer_init(&block, FUZZ_FRAME_BYTES_MAX);
    weir_buffer_init(&bytes, FUZZ_FRAME_BYTES_MAX);
    weir_codec_deflate(WEIR_CODEC_SNAPPY, json, &block, NULL);
    size_t len = weir_frame_header(WEIR_FRAME_BINARY, block.len, mask ? key : NULL, header);
    weir_buffer_append(&bytes, (weir_str_t){ (const char *)header, len });
    weir_buffer_append(&bytes, weir_buffer_str(&block));
    if (mask && block.len > 0)
        weir_frame_mask(bytes.data + len, block.len, key);
    weir_buffer_release(&block);
    return bytes;
}

#endif
