/* conf.h -- the proxy's part of nginx.conf. Knows no nginx. */
#ifndef WEIR_PROXY_CONF_H
#define WEIR_PROXY_CONF_H

#include "base/buffer.h"
#include "base/settings.h"

/* Appends what stands inside http { }: the upstream block, and the servers for
 * proxy_listen. Nothing when proxy_listen is off. */
int weir_proxy_conf(const weir_settings_t *settings, weir_buffer_t *out, weir_error_t *err);

#endif
