/* record.h -- where a plugin's compile function writes (weir/plugin.h). */
#ifndef WEIR_PLUGIN_RECORD_H
#define WEIR_PLUGIN_RECORD_H

#include "base/buffer.h"
#include "weir/plugin.h"

struct weir_record_writer {
    weir_buffer_t *out;
};

/* Compiles `config` by the plugin `name`: the callback of the image's options. A
 * plugin without a compile function has an empty record. */
int weir_plugin_compile(void *context, weir_str_t name, const weir_json_t *config,
                        weir_buffer_t *out, weir_error_t *err);

#endif
