/* codec.h -- how messages are compressed: as raw snappy blocks, or, between two Weirs,
 * as zstd frames (docs/sync-v1.md, section 1), and how several messages share the
 * long part of it.
 *
 * A snappy block is its length and a run of elements, and elements of one run can
 * follow those of another; zstd frames can follow each other as they are. So what
 * many sessions send is compressed once, and each puts its own short beginning in
 * front. */
#ifndef WEIR_CODEC_H
#define WEIR_CODEC_H

#include "base/buffer.h"

typedef enum weir_codec {
    WEIR_CODEC_SNAPPY = 0, /* "x-snappy-framed": raw blocks, in spite of the name */
    WEIR_CODEC_ZSTD,       /* "x-zstd" */
} weir_codec_t;

/* Its name in the hello. */
const char *weir_codec_name(weir_codec_t codec);

/* Appends what `block` holds. Nothing is allocated by a length that the peer claims.
 * WEIR_TOO_LARGE: more than `bytes_max`; WEIR_INVALID: damaged. */
int weir_codec_inflate(weir_codec_t codec, weir_str_t block, size_t bytes_max, weir_buffer_t *out,
                       weir_error_t *err);
/* Appends `text` as one whole block. */
int weir_codec_deflate(weir_codec_t codec, weir_str_t text, weir_buffer_t *out, weir_error_t *err);

/* -- pieces of a block -------------------------------------------------------------- */

/* A run that others can share. */
typedef struct weir_elements {
    weir_codec_t codec;
    weir_buffer_t bytes;   /* compressed, without what begins a block */
    uint64_t uncompressed; /* what they stand for */
    weir_buffer_t chunk;   /* not yet compressed */
} weir_elements_t;

void weir_elements_init(weir_elements_t *elements, weir_codec_t codec, size_t bytes_max);
void weir_elements_release(weir_elements_t *elements);
/* Appends text; compresses in pieces, so memory is that of the compressed form.
 * WEIR_TOO_LARGE when bytes_max is reached. */
int weir_elements_append(weir_elements_t *elements, weir_str_t text);
int weir_elements_finish(weir_elements_t *elements);

/* What begins a block, for all of its pieces together. */
int weir_elements_length(weir_codec_t codec, uint64_t uncompressed, weir_buffer_t *out);
/* Appends a short text as a piece of its own. */
int weir_elements_literal(weir_codec_t codec, weir_str_t text, weir_buffer_t *out);

#endif
