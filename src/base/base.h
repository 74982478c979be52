/* base.h -- what everything else stands on: memory, errors, assertions.
 *
 * Nothing here knows configuration, networks or nginx. Nothing here logs. */
#ifndef WEIR_BASE_H
#define WEIR_BASE_H

#include "weir/types.h"

#include <inttypes.h>
#include <stdarg.h>

#if defined(__GNUC__)
#define WEIR_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define WEIR_USE_RESULT          __attribute__((warn_unused_result))
#else
#define WEIR_PRINTF(format, first)
#define WEIR_USE_RESULT
#endif

/* Runs weir_NAME_cleanup(&variable) when the variable leaves its scope. */
#define WEIR_AUTO(name) __attribute__((cleanup(weir_##name##_cleanup)))

#define WEIR_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* For our own mistakes; stays on in production; never judges input. */
#define weir_assert(condition) \
    ((condition) ? (void)0 : weir_assert_failed(#condition, __FILE__, __LINE__))
_Noreturn void weir_assert_failed(const char *condition, const char *file, int line);

/* Memory. All heap memory of the nginx-free rooms comes from here, so that the
 * tests can make the n-th allocation fail. NULL on failure, as malloc. */
void *weir_malloc(size_t bytes);
void *weir_calloc(size_t count, size_t bytes);
void *weir_realloc(void *block, size_t bytes);
void weir_free(void *block);        /* NULL is fine */
char *weir_strdup(weir_str_t text); /* terminated copy; the caller frees */

static inline void weir_free_cleanup(void *pointer)
{
    weir_free(*(void **)pointer);
}

/* For tests: the n-th allocation from now on fails (1 = the next), and all
 * that follow it; 0 switches it off. Counted per thread. */
void weir_test_fail_allocation(unsigned n);

/* Errors. `field` may be NULL. Returns `code`, so that callers can write
 * `return weir_error_set(err, ...)`. `err` may be NULL. */
int weir_error_set(weir_error_t *err, int code, const char *field, const char *format, ...)
    WEIR_PRINTF(4, 5);
/* WEIR_NO_MEMORY with its standard text. */
int weir_error_memory(weir_error_t *err);
/* WEIR_IO (WEIR_FULL for ENOSPC and EDQUOT) with strerror(number) appended. */
int weir_error_errno(weir_error_t *err, int number, const char *format, ...) WEIR_PRINTF(3, 4);
/* Puts "WHERE: " in front of the reason. Returns `code`. */
int weir_error_within(weir_error_t *err, int code, const char *format, ...) WEIR_PRINTF(3, 4);
/* "ok", "not found", ...; never NULL. */
const char *weir_code_name(int code);

/* Formats into `out`; what does not fit is cut off. Points into `out`. */
weir_str_t weir_str_format(char *out, size_t bytes, const char *format, va_list arguments)
    WEIR_PRINTF(3, 0);
/* Without the white space (isspace) at both ends; points into `text`. */
weir_str_t weir_str_trim(weir_str_t text);

/* Numbers from text. The whole text must be the number; base 10; WEIR_INVALID
 * otherwise (no message). *ret is written on success only. */
int weir_parse_int64(weir_str_t text, int64_t min, int64_t max, int64_t *ret);

#endif
