/* json.h -- JSON values to text (the values, and parsing: include/weir/json.h). */
#ifndef WEIR_BASE_JSON_H
#define WEIR_BASE_JSON_H

#include "base/buffer.h"
#include "weir/json.h"

/* Appends the value without white space. '/' is not escaped; integers up to
 * 2^53 print in full, other numbers with the fewest digits that read back the
 * same. Returns out->failed. */
int weir_json_print(const weir_json_t *value, weir_buffer_t *out);
/* Appends `text` as a JSON string with its quotes. */
int weir_json_print_string(weir_str_t text, weir_buffer_t *out);

#endif
