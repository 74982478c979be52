/* json.h -- JSON values to text (the values, and parsing: include/weir/json.h). */
#ifndef WEIR_BASE_JSON_H
#define WEIR_BASE_JSON_H

#include "base/arena.h"
#include "base/buffer.h"
#include "weir/json.h"

/* The same, but "\u0000" becomes WEIR_JSON_NUL_MARK, a character that Unicode keeps
 * for such uses and that the model refuses: so what a peer sends wrong in one
 * entity is refused as that entity's fault, not as the whole message's. */
#define WEIR_JSON_NUL_MARK "\xEF\xB7\x90"
int weir_json_parse_marked(weir_str_t text, weir_json_t **ret, weir_error_t *err);

/* From here on values that this thread makes are of `arena`, until this is called with what it
 * returned; NULL: of the heap, one by one. Of an arena nothing is freed singly: weir_json_free()
 * does nothing meanwhile, so values of the heap may not be freed (nor replaced, nor removed from
 * others), and afterwards what the arena has may only be read. */
weir_arena_t *weir_json_place(weir_arena_t *arena);

/* Appends the value without white space. '/' is not escaped; integers up to
 * 2^53 print in full, other numbers with the fewest digits that read back the
 * same. Returns out->failed. */
int weir_json_print(const weir_json_t *value, weir_buffer_t *out);
/* Appends `text` as a JSON string with its quotes. */
int weir_json_print_string(weir_str_t text, weir_buffer_t *out);

#endif
