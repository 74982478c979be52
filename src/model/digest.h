/* digest.h -- a set of entities as one number, kept by addition (design, decision 5).
 *
 * The digest of a set is the sum, modulo 2^128, of a keyed hash of each entity: so
 * adding one, taking one away or replacing one costs one hash or two, whatever the
 * size of the set, and two planes that hold the same set have the same number.
 * Beside the sum of all there is one for each of 4,096 buckets, told by the first 12
 * bits of the id: they say where two sets differ.
 *
 * The hash is BLAKE2b with a key that only the planes of a cluster know, so nobody
 * can choose documents whose hashes cancel out. */
#ifndef WEIR_DIGEST_H
#define WEIR_DIGEST_H

#include "base/uuid.h"

enum {
    WEIR_DIGEST_BYTES = 16,
    WEIR_DIGEST_TEXT = 32, /* hexadecimal digits */
    WEIR_DIGEST_BUCKETS = 4096,
    WEIR_DIGEST_KEY_BYTES = 32,
    WEIR_DIGEST_FINGERPRINT_TEXT = 16,
};

typedef struct weir_digest {
    uint64_t high, low;
} weir_digest_t;

typedef struct weir_digest_key {
    uint8_t bytes[WEIR_DIGEST_KEY_BYTES];
} weir_digest_key_t;

static inline void weir_digest_add(weir_digest_t *sum, const weir_digest_t *term)
{
    uint64_t low = sum->low + term->low;
    sum->high += term->high + (low < sum->low);
    sum->low = low;
}

static inline void weir_digest_subtract(weir_digest_t *sum, const weir_digest_t *term)
{
    sum->high -= term->high + (sum->low < term->low);
    sum->low -= term->low;
}

static inline bool weir_digest_equal(const weir_digest_t *a, const weir_digest_t *b)
{
    return a->high == b->high && a->low == b->low;
}

/* 0 to WEIR_DIGEST_BUCKETS - 1. Ids of one bucket are neighbours in their order. */
static inline unsigned weir_digest_bucket(const weir_uuid_t *id)
{
    return (unsigned)id->bytes[0] << 4 | id->bytes[1] >> 4;
}

/* Big endian. */
void weir_digest_store(const weir_digest_t *digest, uint8_t bytes[WEIR_DIGEST_BYTES]);
void weir_digest_load(const uint8_t bytes[WEIR_DIGEST_BYTES], weir_digest_t *ret);
/* Lower case, terminated. */
void weir_digest_format(const weir_digest_t *digest, char text[WEIR_DIGEST_TEXT + 1]);
/* Exactly 32 hexadecimal digits; WEIR_INVALID, without a message, for anything else. */
int weir_digest_parse(weir_str_t text, weir_digest_t *ret);

/* WEIR_IO when the system has no randomness. */
int weir_digest_key_random(weir_digest_key_t *ret);
/* Lower case, terminated: 64 digits. */
void weir_digest_key_format(const weir_digest_key_t *key, char text[2 * WEIR_DIGEST_KEY_BYTES + 1]);
int weir_digest_key_parse(weir_str_t text, weir_digest_key_t *ret);

/* Hashes with one key. For one thread at a time. */
typedef struct weir_digester weir_digester_t;

int weir_digester_new(const weir_digest_key_t *key, weir_digester_t **ret, weir_error_t *err);
void weir_digester_free(weir_digester_t *digester); /* NULL is fine */
/* The hash of one entity: of its type's name ("routes"), its id and its document, the
 * JSON text as the control plane stores it. WEIR_NO_MEMORY is all that can fail. */
int weir_digester_entity(weir_digester_t *digester, weir_str_t type, const weir_uuid_t *id,
                         weir_str_t document, weir_digest_t *ret, weir_error_t *err);
/* Tells keys apart without giving them away. */
int weir_digester_fingerprint(weir_digester_t *digester,
                              char text[WEIR_DIGEST_FINGERPRINT_TEXT + 1], weir_error_t *err);

#endif
