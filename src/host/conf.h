/* conf.h -- the nginx.conf of a node, made from its settings. Knows no nginx. */
#ifndef WEIR_HOST_CONF_H
#define WEIR_HOST_CONF_H

#include "base/buffer.h"
#include "base/settings.h"

typedef struct weir_host_conf {
    const char *module;        /* path of ngx_http_weir_module.so */
    const char *settings_path; /* what weir_settings_save() wrote */
    const char *user;          /* of the workers; NULL: who starts nginx */
    unsigned cores;            /* what "auto" workers are */
    uint64_t files_max;        /* open files that a worker may be given at most; 0: any */
} weir_host_conf_t;

/* Appends the whole file to `out`. The certificates among the settings must be
 * paths of files by now, and there must be some for each TLS listener. */
int weir_host_conf(const weir_settings_t *settings, const weir_host_conf_t *conf,
                   weir_buffer_t *out, weir_error_t *err);

#endif
