/* compat_internal.h -- the tables of compat.c: which fields each version brought
 * (compat_fields.c), and what more has to change (compat_checks.c). */
#ifndef WEIR_COMPAT_INTERNAL_H
#define WEIR_COMPAT_INTERNAL_H

#include "cluster/compat.h"

#define COMPAT_VERSION(major, minor, patch) \
    ((major)*INT64_C(1000000000) + (minor)*INT64_C(1000000) + (patch)*INT64_C(1000))

/* Data planes older than `before` don't know these members of a plugin's config: paths
 * with dots, separated by blanks. */
typedef struct compat_fields {
    int64_t before;
    const char *plugin;
    const char *paths;
} compat_fields_t;

extern const compat_fields_t compat_fields[];
extern const size_t compat_fields_count;

typedef struct compat_edit {
    weir_json_t *entity;
    weir_json_t *config; /* of a plugin; NULL */
    const char *plugin;  /* its name; "" */
    bool changed;
    int rc;
} compat_edit_t;

/* Data planes older than `before` get an entity of `type` as `check` makes it. Newest
 * first: each begins where the newer one ended. */
typedef struct compat_check {
    int64_t before;
    const char *type;
    const char *plugins; /* names separated by blanks, or NULL */
    void (*check)(compat_edit_t *edit);
} compat_check_t;

extern const compat_check_t compat_checks[];
extern const size_t compat_checks_count;

/* Editing; each notes a change or a failure in `edit`. A NULL object is nothing to do.
 * `path`: "a.b.c" below `object`. */
void compat_remove(compat_edit_t *edit, weir_json_t *object, const char *path, size_t len);
void compat_set(compat_edit_t *edit, weir_json_t *object, const char *name, weir_json_t *value);
bool compat_has_word(const char *words, const char *word);

#endif
