/* proxy_conf.c -- test tool: prints the proxy's part of nginx.conf.
 *
 * usage: proxy-conf SETTINGS */
#include "proxy/conf.h"

#include <stdio.h>

enum { CONF_BYTES_MAX = 1024 * 1024 };

int main(int argc, char **argv)
{
    weir_error_t err = { 0 };
    weir_settings_t *settings = NULL;
    weir_buffer_t out;
    if (argc != 2) {
        fprintf(stderr, "usage: proxy-conf SETTINGS\n");
        return 2;
    }
    weir_buffer_init(&out, CONF_BYTES_MAX);
    int rc = weir_settings_load(argv[1], NULL, NULL, &settings, &err);
    if (rc == WEIR_OK)
        rc = weir_proxy_conf(settings, &out, &err);
    if (rc == WEIR_OK)
        printf("%.*s", WEIR_STR_ARG(weir_buffer_str(&out)));
    else
        fprintf(stderr, "proxy-conf: %s: %s\n", err.field, err.reason);
    weir_buffer_release(&out);
    weir_settings_free(settings);
    return rc == WEIR_OK ? 0 : 1;
}
