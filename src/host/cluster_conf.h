/* cluster_conf.h -- the server block of the cluster listener (sync-protocol A.1). */
#ifndef WEIR_CLUSTER_CONF_H
#define WEIR_CLUSTER_CONF_H

#include "base/buffer.h"
#include "base/settings.h"

/* Appends what stands inside `http { }` on a control plane. The certificate
 * settings must be paths of files. WEIR_INVALID: one of them is missing. */
int weir_cluster_conf(const weir_settings_t *settings, weir_buffer_t *out, weir_error_t *err);

#endif
