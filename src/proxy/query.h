/* query.h -- the query part of a request target.
 *
 * Arguments are decoded as the incumbent does: '+' is a blank, %XX a byte, a
 * broken escape stands for itself. Knows no server. */
#ifndef WEIR_PROXY_QUERY_H
#define WEIR_PROXY_QUERY_H

#include "base/base.h"

/* Arguments that are looked at; the rest is proxied, but not seen. */
enum { WEIR_QUERY_ARGUMENTS_MAX = 100 };

/* One argument, still encoded. value.data is NULL for a flag ("?name"). */
typedef struct weir_query_argument {
    weir_str_t name, value;
} weir_query_argument_t;

/* Takes the next argument off `*query`. False at the end. Empty ones are skipped. */
bool weir_query_next(weir_str_t *query, weir_query_argument_t *ret);

/* `out` has room for text.len bytes. The length of the result. */
size_t weir_query_decode(weir_str_t text, char *out);
/* Whether `text` decodes to `plain`. */
bool weir_query_decodes_to(weir_str_t text, weir_str_t plain);

/* What the values of the argument `name` are together (routing 9.6): decoded, in the order of
 * their bytes, joined by ','; a flag is "true". Into `out`, which has room for
 * weir_query_values_bytes(). False, and nothing written, if it has no such argument. */
bool weir_query_values(weir_str_t query, weir_str_t name, char *out, size_t *ret_len);
size_t weir_query_values_bytes(weir_str_t query);

/* The query without `name`, re-encoded (plugins 2.3): into `out`, which has room
 * for 3 * query.len + 1 bytes. Writes the length; false, and nothing written, if
 * it has no such argument. */
bool weir_query_without(weir_str_t query, weir_str_t name, char *out, size_t *ret_len);

#endif
