/* plugins.h -- the plugins of this build, with what they do.
 *
 * (Their schemas alone: weir_plugin_schema() in model/model.h.) */
#ifndef WEIR_PLUGINS_H
#define WEIR_PLUGINS_H

#include "weir/plugin.h"

/* NULL for one that this build lacks. */
const weir_plugin_t *weir_plugin(weir_str_t name);
/* All, sorted by name. */
const weir_plugin_t *const *weir_plugins(size_t *ret_count);

#endif
