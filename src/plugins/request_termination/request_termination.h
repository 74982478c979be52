/* request_termination.h -- what the files of this folder share: the record.
 *
 * compile.c writes it, phases.c reads it, in this order:
 *   number   the status code
 *   number   1: echo the request
 *   string   the header or query argument that it waits for; absent: always
 *   string   the content type; absent: none
 *   string   the body, ready to be sent; absent: none, or an echo
 *   string   the message of an echo; absent: none */
#ifndef WEIR_REQUEST_TERMINATION_H
#define WEIR_REQUEST_TERMINATION_H

#include "weir/plugin.h"

#define REQUEST_TERMINATION_JSON "application/json; charset=utf-8"

extern const weir_plugin_schema_t weir_plugin_schema_request_termination; /* schema.c */
int request_termination_compile(const weir_json_t *config, weir_record_writer_t *out,
                                weir_error_t *err);

/* The request as JSON, in its own memory: echo.c. {NULL,0} when that is short. The
 * body has been read. */
weir_str_t request_termination_echo(weir_request_t *request, weir_str_t message);

#endif
