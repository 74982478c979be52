/* compat.h -- entities for data planes of older versions (sync-protocol D.5).
 *
 * A data plane refuses what its version does not know, so the control plane takes it
 * out first, or says it as it was said then. One entity at a time, in the form of
 * kong.sync.v2 (foreign keys as objects): the classic push and weir.sync.v1 use it. */
#ifndef WEIR_COMPAT_H
#define WEIR_COMPAT_H

#include "base/base.h"
#include "model/model.h"

/* A version as a number that can be compared: a.b.c.d is a*10^9 + b*10^6 + c*10^3 + d,
 * of each part the leading digits, what is missing counts as 0. -1: it begins with no
 * digit. Parts above 999 count as 999. */
int64_t weir_compat_version(weir_str_t text);
/* Whether it is "major.minor.patch", whatever follows; -1 for both if not. */
bool weir_compat_parts(weir_str_t text, int64_t *ret_major, int64_t *ret_minor);

/* Versions with the same level get the same entities: an encoding can be shared. */
int64_t weir_compat_level(int64_t dp_version);
/* The level at which nothing is changed. */
int64_t weir_compat_newest(void);

/* Changes `entity` in place into what a data plane of `dp_version` (a version or a
 * level) understands. *ret_changed: whether anything was. WEIR_NO_MEMORY. */
int weir_compat_adapt(weir_entity_type_t type, weir_json_t *entity, int64_t dp_version,
                      bool *ret_changed, weir_error_t *err);
/* The same by the name of the entity's type ("plugins"), which need not be known here. */
int weir_compat_adapt_named(weir_str_t type, weir_json_t *entity, int64_t dp_version,
                            bool *ret_changed, weir_error_t *err);

#endif
