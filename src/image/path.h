/* path.h -- request paths: normalisation for matching, and what goes upstream. */
#ifndef WEIR_PATH_H
#define WEIR_PATH_H

#include "base/base.h"

/* Normalises a raw path (routing 1.3). `out` has room for `path.len` bytes; the
 * result never grows. Returns its length. */
size_t weir_path_normalize(weir_str_t path, char *out);

/* The path sent upstream (routing 6, path handling v0), escaped. `path` is
 * normalised, `matched` bytes of it are stripped if `strip`. Writes at most
 * `out_bytes`; returns the length, or 0 if it would not fit: 3 x (base.len +
 * path.len) + 2 always does. */
size_t weir_path_upstream(weir_str_t base, weir_str_t path, size_t matched, bool strip, char *out,
                          size_t out_bytes);

#endif
