/* json.h -- JSON values: parse, look, change, print.
 *
 * The one place where a JSON library is known (Debian's cJSON today). A value
 * is a tree on the heap; whoever holds its root owns all of it. Objects keep
 * the order in which members were added. Part of the public plugin ABI. */
#ifndef WEIR_JSON_H
#define WEIR_JSON_H

#include "weir/types.h"

typedef struct cJSON weir_json_t;

typedef enum weir_json_kind {
    WEIR_JSON_ABSENT = 0, /* of a NULL pointer */
    WEIR_JSON_NULL,
    WEIR_JSON_BOOLEAN,
    WEIR_JSON_NUMBER,
    WEIR_JSON_STRING,
    WEIR_JSON_ARRAY,
    WEIR_JSON_OBJECT,
} weir_json_kind_t;

/* Parses exactly one value; white space around it is allowed, anything else
 * after it is not. Of equal member names the last wins. Nesting deeper than
 * 1000 and "\u0000" are refused. WEIR_INVALID says at which byte. The caller
 * frees what it gets; err may be NULL. */
int weir_json_parse(weir_str_t text, weir_json_t **ret, weir_error_t *err);

/* Reading. NULL is a legal argument everywhere: it is "absent". */
weir_json_kind_t weir_json_kind(const weir_json_t *value);
const weir_json_t *weir_json_get(const weir_json_t *object, const char *name); /* or NULL */
weir_json_t *weir_json_get_mutable(weir_json_t *object, const char *name);
/* The member's string/number/boolean, or `otherwise` when it is of another kind. */
weir_str_t weir_json_get_string(const weir_json_t *object, const char *name, weir_str_t otherwise);
double weir_json_get_number(const weir_json_t *object, const char *name, double otherwise);
bool weir_json_get_boolean(const weir_json_t *object, const char *name, bool otherwise);
weir_str_t weir_json_string(const weir_json_t *value); /* {NULL,0} if it is no string */
double weir_json_number(const weir_json_t *value);     /* 0 if it is no number */
bool weir_json_boolean(const weir_json_t *value);      /* false if it is no boolean */
bool weir_json_is_integer(const weir_json_t *value);   /* a number without fraction, within 2^53 */
static inline bool weir_json_is_null(const weir_json_t *value) /* null or absent */
{
    return weir_json_kind(value) <= WEIR_JSON_NULL;
}
size_t weir_json_count(const weir_json_t *container); /* members or elements: O(n) */
/* Iteration over members or elements; the name of a member. */
const weir_json_t *weir_json_first(const weir_json_t *container);
const weir_json_t *weir_json_next(const weir_json_t *value);
weir_json_t *weir_json_first_mutable(weir_json_t *container);
weir_json_t *weir_json_next_mutable(weir_json_t *value);
const char *weir_json_name(const weir_json_t *member); /* NULL for an element */
/* Same kind and value; members in any order, elements in order. */
bool weir_json_equal(const weir_json_t *a, const weir_json_t *b);

/* Making. NULL when memory is short. */
weir_json_t *weir_json_new_null(void);
weir_json_t *weir_json_new_boolean(bool value);
weir_json_t *weir_json_new_number(double value);
weir_json_t *weir_json_new_string(weir_str_t text);
weir_json_t *weir_json_new_array(void);
weir_json_t *weir_json_new_object(void);
weir_json_t *weir_json_copy(const weir_json_t *value);
void weir_json_free(weir_json_t *value); /* NULL is fine */

/* Changing. Each takes `value` over, also when it fails; a NULL value counts as
 * "no memory", so constructors can be nested without checks in between.
 * WEIR_OK or WEIR_NO_MEMORY. */
int weir_json_set(weir_json_t *object, const char *name,
                  weir_json_t *value); /* adds or replaces in place */
int weir_json_append(weir_json_t *array, weir_json_t *value);
/* Takes it out; the caller owns it. NULL if absent. */
weir_json_t *weir_json_take(weir_json_t *object, const char *name);
void weir_json_remove(weir_json_t *object, const char *name);
/* Takes an element or member out of its container. */
void weir_json_detach(weir_json_t *container, weir_json_t *value);

static inline void weir_json_cleanup(weir_json_t **value)
{
    weir_json_free(*value);
}

#endif
