/* cluster_conf.c -- the server block of the cluster listener.
 *
 * `optional_no_ca` in both modes: what a certificate is worth is decided, and
 * said in the log, by the cluster module before the upgrade. In pki mode nginx
 * hands it the result of the verification against cluster_ca_cert. */
#include "host/cluster_conf.h"

enum { VERIFY_DEPTH = 4 };

static int path_of(const weir_settings_t *settings, const char *name, const char **ret,
                   weir_error_t *err)
{
    const char *path = weir_setting_string(settings, name);
    if (path[0] == '\0')
        return weir_error_set(err, WEIR_INVALID, name, "is needed for the cluster listener");
    /* It becomes a quoted word of the configuration. */
    if (strpbrk(path, "\"\\\n\r$") != NULL)
        return weir_error_set(err, WEIR_INVALID, name, "is no path that nginx can be given: %.200s",
                              path);
    *ret = path;
    return WEIR_OK;
}

static void listeners(const weir_settings_t *settings, weir_buffer_t *out)
{
    size_t count = weir_setting_listen_count(settings, "cluster_listen");
    for (size_t i = 0; i < count; i++) {
        const weir_listen_t *listen = weir_setting_listen(settings, "cluster_listen", i);
        weir_buffer_printf(out, "        listen %s%s;\n", listen->nginx, listen->ssl ? "" : " ssl");
    }
}

static int trust(const weir_settings_t *settings, weir_buffer_t *out, weir_error_t *err)
{
    weir_buffer_printf(out,
                       "        ssl_verify_client optional_no_ca;\n"
                       "        ssl_verify_depth %d;\n",
                       VERIFY_DEPTH);
    if (strcmp(weir_setting_string(settings, "cluster_mtls"), "pki") != 0)
        return WEIR_OK;
    const char *authority = NULL;
    int rc = path_of(settings, "cluster_ca_cert", &authority, err);
    if (rc == WEIR_OK)
        weir_buffer_printf(out, "        ssl_client_certificate \"%s\";\n", authority);
    return rc;
}

int weir_cluster_conf(const weir_settings_t *settings, weir_buffer_t *out, weir_error_t *err)
{
    const char *certificate = NULL;
    const char *key = NULL;
    int rc = path_of(settings, "cluster_cert", &certificate, err);
    if (rc == WEIR_OK)
        rc = path_of(settings, "cluster_cert_key", &key, err);
    if (rc != WEIR_OK)
        return rc;
    weir_buffer_printf(out, "    server {\n");
    listeners(settings, out);
    weir_buffer_printf(out,
                       "        ssl_certificate \"%s\";\n"
                       "        ssl_certificate_key \"%s\";\n"
                       "        ssl_protocols TLSv1.2 TLSv1.3;\n"
                       "        ssl_session_cache shared:weir_cluster:10m;\n",
                       certificate, key);
    rc = trust(settings, out, err);
    if (rc != WEIR_OK)
        return rc;
    weir_buffer_printf(out, "        access_log off;\n"
                            "        client_header_timeout 5s;\n"
                            "        lingering_close off;\n"
                            "        location = /v1/outlet {\n"
                            "            weir_cluster_classic;\n"
                            "        }\n");
    if (weir_setting_boolean(settings, "cluster_rpc"))
        weir_buffer_printf(out, "        location = /v2/outlet {\n"
                                "            weir_cluster;\n"
                                "        }\n");
    weir_buffer_printf(out, "        location / {\n"
                            "            return 404;\n"
                            "        }\n"
                            "    }\n");
    return out->failed == WEIR_OK
               ? WEIR_OK
               : weir_error_set(err, out->failed, NULL, "no room for the cluster listener");
}
