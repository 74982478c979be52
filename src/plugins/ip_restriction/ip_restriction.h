/* ip_restriction.h -- what the files of this folder share: the record. */
#ifndef WEIR_IP_RESTRICTION_H
#define WEIR_IP_RESTRICTION_H

#include "weir/plugin.h"

/* -- the record: compile.c writes, phases.c reads, in this order ----------------
 *   number   the status of a refusal; 0: one that no answer can have
 *   string   the message of a refusal; absent: it names the address
 *   4 strings  what is denied of IPv4 and of IPv6, what is allowed of them: ranges that
 *              do not touch, rising, each its first and its last address as bytes. The
 *              latter two are absent if everybody is allowed */
enum {
    IP_RESTRICTION_V4_BYTES = 4,
    IP_RESTRICTION_V6_BYTES = 16,
};

extern const weir_plugin_schema_t weir_plugin_schema_ip_restriction; /* schema.c */
int ip_restriction_compile(const weir_json_t *config, weir_record_writer_t *out, weir_error_t *err);

#endif
