/* json.h -- text to JSON values and back (the values: include/weir/json.h). */
#ifndef WEIR_BASE_JSON_H
#define WEIR_BASE_JSON_H

#include "base/buffer.h"
#include "weir/json.h"

/* Parses exactly one value; white space around it is allowed, anything else
 * after it is not. Of equal member names the last wins. Nesting deeper than
 * 1000 and "\u0000" are refused. WEIR_INVALID says at which byte. */
int weir_json_parse(weir_str_t text, weir_json_t **ret, weir_error_t *err);

/* Appends the value without white space. '/' is not escaped; integers up to
 * 2^53 print in full, other numbers with the fewest digits that read back the
 * same. Returns out->failed. */
int weir_json_print(const weir_json_t *value, weir_buffer_t *out);
/* Appends `text` as a JSON string with its quotes. */
int weir_json_print_string(weir_str_t text, weir_buffer_t *out);

#endif
