/* bounded_regex.h -- regular expressions from a configuration over texts from anybody:
 * matching is bounded, so no pattern can stop a worker. For the two caches of compiled
 * expressions (routes in src/image, plugins in src/plugins). */
#ifndef WEIR_BOUNDED_REGEX_H
#define WEIR_BOUNDED_REGEX_H

#include "base/base.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { WEIR_REGEX_BYTES_MAX = 16384 }; /* of a pattern */

/* What matching needs beside the expression; one a thread. */
typedef struct weir_regex_bounds {
    pcre2_match_context *context; /* a match that needs too long is none */
    pcre2_match_data *data;       /* of the whole match */
    pcre2_jit_stack *stack;       /* NULL: that of the machine */
} weir_regex_bounds_t;

/* WEIR_OK or WEIR_NO_MEMORY; *bounds is zeroed, or of an earlier try that failed. */
int weir_regex_bounds_init(weir_regex_bounds_t *bounds);
void weir_regex_bounds_release(weir_regex_bounds_t *bounds);

/* Compiled for the machine where that is possible. NULL: it is no expression, or there is no
 * memory. The caller frees it with pcre2_code_free(). */
pcre2_code *weir_regex_compile(weir_str_t pattern, uint32_t options);

#endif
