/* correlation_id.h -- what the files of this folder share: the record. */
#ifndef WEIR_CORRELATION_ID_H
#define WEIR_CORRELATION_ID_H

#include "weir/plugin.h"

/* -- the record: compile.c writes, phases.c reads, in this order ----------------
 *   number   how an id is made
 *   number   1: the answer has it, too
 *   string   the name of the header, fit for HTTP; absent: no header */
typedef enum correlation_id_generator {
    CORRELATION_ID_UUID = 0,
    CORRELATION_ID_COUNTER, /* of the worker, behind the worker's UUID */
    CORRELATION_ID_TRACKER, /* where the request came in, and when */
} correlation_id_generator_t;

extern const weir_plugin_schema_t weir_plugin_schema_correlation_id; /* schema.c */
int correlation_id_compile(const weir_json_t *config, weir_record_writer_t *out, weir_error_t *err);

#endif
