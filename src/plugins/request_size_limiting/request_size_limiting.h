/* request_size_limiting.h -- what the files of this folder share: the record. */
#ifndef WEIR_REQUEST_SIZE_LIMITING_H
#define WEIR_REQUEST_SIZE_LIMITING_H

#include "weir/plugin.h"

/* -- the record: compile.c writes, phases.c reads, in this order ----------------
 *   number   bytes that a body may have, an int64_t: less than 0 lets nothing through
 *   number   1: a request has to say how long its body is */

extern const weir_plugin_schema_t weir_plugin_schema_request_size_limiting; /* schema.c */
int request_size_limiting_compile(const weir_json_t *config, weir_record_writer_t *out,
                                  weir_error_t *err);

#endif
