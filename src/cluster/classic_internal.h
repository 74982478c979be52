/* classic_internal.h -- what the files of the classic full sync share. */
#ifndef WEIR_CLASSIC_INTERNAL_H
#define WEIR_CLASSIC_INTERNAL_H

#include "base/buffer.h"
#include "cluster/classic.h"
#include "model/model.h"

/* -- classic_filter.c: what is not sent (D.2) ------------------------------------------- */

/* Ids of services and routes that are left out: a hash table, as large as they are many. */
typedef struct classic_dropped {
    struct classic_dropped_id *ids;
    size_t count, capacity; /* capacity: a power of two, or 0 */
} classic_dropped_t;

/* Whether a row is left out: disabled, or it refers to one that is. Rows come parents
 * first. WEIR_NO_MEMORY. */
int classic_drops(classic_dropped_t *dropped, const weir_schema_t *schema, const weir_uuid_t *id,
                  const weir_json_t *row, bool *ret);
void classic_dropped_release(classic_dropped_t *dropped);

/* -- classic_info.c: what a data plane says of itself (D.1, D.5) -------------------------- */

enum { CLASSIC_PLUGIN_NAME_MAX = 63 };

typedef struct classic_plugin {
    char name[CLASSIC_PLUGIN_NAME_MAX + 1];
    int64_t major, minor; /* -1: no version, or one that is none */
} classic_plugin_t;

typedef struct classic_info {
    classic_plugin_t *plugins;
    size_t plugin_count;
    weir_json_t *labels; /* object of texts, or NULL */
} classic_info_t;

/* WEIR_INVALID: why it is no basic_info. */
int classic_info_read(weir_str_t payload, classic_info_t *ret, weir_error_t *err);
void classic_info_release(classic_info_t *info); /* zeroed or read */

/* Whether a data plane that has this `version` can be served by `ours`. */
bool classic_version_fits(weir_str_t ours, weir_str_t version);
/* The sync_status of a data plane with these plugins before `frame`: "normal", or why it
 * is not sent to it (*ret_plugin: because of which one). */
const char *classic_plugins_fit(const classic_info_t *info, weir_str_t ours,
                                const weir_classic_frame_t *frame, const char **ret_plugin);

#endif
