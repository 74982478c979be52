/* rules.h -- what the headers of a request and of its answer mean for a proxy
 * (routing 7): hop-by-hop names, TE, Upgrade. Knows no server. */
#ifndef WEIR_PROXY_RULES_H
#define WEIR_PROXY_RULES_H

#include "base/base.h"

/* ASCII only. */
bool weir_bytes_equal_nocase(const char *a, const char *b, size_t len);

/* Most names differ in length already. */
static inline bool weir_str_equal_nocase(weir_str_t a, weir_str_t b)
{
    return a.len == b.len && weir_bytes_equal_nocase(a.data, b.data, a.len);
}

/* What of a Connection header may name others; len 0: nothing, as of "keep-alive", "close"
 * and "upgrade" alone, which are by far the most common. */
weir_str_t weir_connection_list(weir_str_t connection);

/* Whether a Connection header makes `name` a matter of this connection alone.
 * `close`, `upgrade` and `keep-alive` are never that. */
bool weir_connection_lists(weir_str_t connection, weir_str_t name);

/* Whether a TE header says that trailers are understood. */
bool weir_te_has_trailers(weir_str_t te);

/* The next part of `*list` that stands before `separator`, trimmed. False at
 * the end. */
bool weir_list_next(weir_str_t *list, char separator, weir_str_t *ret);

#endif
