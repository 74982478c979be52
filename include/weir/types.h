/* types.h -- the small vocabulary that every room and every plugin speaks:
 * strings with a length, result codes, one error object.
 *
 * Part of the public plugin ABI. */
#ifndef WEIR_TYPES_H
#define WEIR_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* A borrowed run of bytes, not terminated. Whoever hands it out says how long
 * it lives. An absent string is { NULL, 0 }; an empty one has a pointer. */
typedef struct weir_str {
    const char *data;
    size_t len;
} weir_str_t;

#define WEIR_STR(literal) ((weir_str_t){ (literal), sizeof(literal) - 1 })
/* For printf("%.*s"). */
#define WEIR_STR_ARG(s) (int)(s).len, (s).data

static inline weir_str_t weir_str(const char *text)
{
    return (weir_str_t){ text, text != NULL ? strlen(text) : 0 };
}

static inline bool weir_str_equal(weir_str_t a, weir_str_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static inline bool weir_str_is(weir_str_t a, const char *text)
{
    return weir_str_equal(a, weir_str(text));
}

static inline bool weir_str_starts(weir_str_t a, weir_str_t prefix)
{
    return a.len >= prefix.len && (prefix.len == 0 || memcmp(a.data, prefix.data, prefix.len) == 0);
}

static inline bool weir_str_ends(weir_str_t a, weir_str_t suffix)
{
    return a.len >= suffix.len &&
           (suffix.len == 0 || memcmp(a.data + a.len - suffix.len, suffix.data, suffix.len) == 0);
}

/* What the caller can do about it. Every function that can fail returns one. */
typedef enum weir_code {
    WEIR_OK = 0,
    WEIR_NOT_FOUND, /* an answer, not a fault: sets no message */
    WEIR_INVALID,   /* the input is wrong: field and reason say what */
    WEIR_CONFLICT,  /* somebody else was first */
    WEIR_AGAIN,     /* try later, or with more input */
    WEIR_TOO_LARGE, /* a limit was exceeded: reason names it */
    WEIR_NO_MEMORY, /* an allocation failed */
    WEIR_FULL,      /* disk, map or queue is full */
    WEIR_IO,        /* the operating system refused */
    WEIR_CORRUPT,   /* stored data does not make sense */
    WEIR_CLOSED,    /* the other end is gone */
    WEIR_TIMEOUT,
    WEIR_UNSUPPORTED, /* well-formed, but not something this build does */
} weir_code_t;

/* In the caller's storage; nothing to release. Text is always terminated and
 * cut, never overrun. */
typedef struct weir_error {
    int code;         /* weir_code_t, the same as the function returned */
    char field[96];   /* where; empty if it concerns no field */
    char reason[416]; /* what is wrong, and what would be right */
} weir_error_t;

#endif
