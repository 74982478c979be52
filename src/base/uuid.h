/* uuid.h -- UUIDs as 16 bytes and as text. */
#ifndef WEIR_UUID_H
#define WEIR_UUID_H

#include "base/base.h"

enum { WEIR_UUID_BYTES = 16, WEIR_UUID_TEXT = 36 };

typedef struct weir_uuid {
    uint8_t bytes[WEIR_UUID_BYTES];
} weir_uuid_t;

/* 8-4-4-4-12 hexadecimal digits in any case, no version check (entity-schemas:
 * "uuid format"). WEIR_INVALID, without a message, for anything else. */
int weir_uuid_parse(weir_str_t text, weir_uuid_t *ret);
/* Lower case, terminated. */
void weir_uuid_format(const weir_uuid_t *uuid, char text[WEIR_UUID_TEXT + 1]);
/* Version 4. WEIR_IO when the system has no randomness. */
int weir_uuid_random(weir_uuid_t *ret);
/* Version 5: SHA-1 of namespace and name. */
void weir_uuid_named(const weir_uuid_t *space, weir_str_t name, weir_uuid_t *ret);

static inline bool weir_uuid_equal(const weir_uuid_t *a, const weir_uuid_t *b)
{
    return memcmp(a->bytes, b->bytes, WEIR_UUID_BYTES) == 0;
}

static inline bool weir_uuid_is_zero(const weir_uuid_t *a)
{
    static const weir_uuid_t zero;
    return weir_uuid_equal(a, &zero);
}

#endif
