/* conf.c -- the nginx.conf of a node.
 *
 * The main context, the Admin API and the status endpoints are written here; the
 * cluster listener and the proxy write their own server blocks. Paths without a
 * leading '/' are relative to the prefix, with which nginx is started. */
#include "host/conf.h"

#include "host/cluster_conf.h"
#include "proxy/conf.h"

#include <stdio.h>

enum {
    CONNECTIONS_AUTO = 16384,
    FILES_SPARE = 512, /* beside connections: listeners, logs, database, image */
    QUEUE_MAX = 65536,
    SHUTDOWN_SECONDS = 10,
};

static bool role_is(const weir_settings_t *settings, const char *role)
{
    return strcmp(weir_setting_string(settings, "role"), role) == 0;
}

static void directive_line(void *context, const char *directive, const char *value)
{
    weir_buffer_printf(context, "    %s %s;\n", directive, value);
}

static void server_directive_line(void *context, const char *directive, const char *value)
{
    weir_buffer_printf(context, "        %s %s;\n", directive, value);
}

static void main_directive_line(void *context, const char *directive, const char *value)
{
    weir_buffer_printf(context, "%s %s;\n", directive, value);
}

static int64_t connections(const weir_settings_t *settings)
{
    int64_t count = CONNECTIONS_AUTO;
    weir_str_t text = weir_str(weir_setting_string(settings, "nginx_events_worker_connections"));
    (void)weir_parse_int64(text, 1, INT32_MAX, &count); /* "auto" leaves it */
    return count;
}

/* A shell gives 1,024 open files, and each data plane of a control plane, each client
 * of a data plane is one: so as many are taken as there may be connections. */
static void open_files(const weir_settings_t *settings, const weir_host_conf_t *conf,
                       weir_buffer_t *out)
{
    const char *files = weir_setting_string(settings, "nginx_main_worker_rlimit_nofile");
    uint64_t wanted = (uint64_t)connections(settings) + FILES_SPARE;
    if (conf->files_max > 0 && wanted > conf->files_max)
        wanted = conf->files_max;
    if (strcmp(files, "auto") == 0)
        weir_buffer_printf(out, "worker_rlimit_nofile %" PRIu64 ";\n", wanted);
    else
        weir_buffer_printf(out, "worker_rlimit_nofile %s;\n", files);
}

/* A control plane has one worker: it owns the sockets of all data planes. */
static void workers(const weir_settings_t *settings, const weir_host_conf_t *conf,
                    weir_buffer_t *out)
{
    const char *count = weir_setting_string(settings, "nginx_worker_processes");
    if (!role_is(settings, "data_plane"))
        weir_buffer_printf(out, "worker_processes 1;\nworker_shutdown_timeout %ds;\n",
                           SHUTDOWN_SECONDS);
    else if (strcmp(count, "auto") == 0)
        weir_buffer_printf(out, "worker_processes %u;\n", conf->cores);
    else
        weir_buffer_printf(out, "worker_processes %s;\n", count);
    open_files(settings, conf, out);
}

static void main_context(const weir_settings_t *settings, const weir_host_conf_t *conf,
                         weir_buffer_t *out)
{
    weir_buffer_printf(out,
                       "# Written by `weir prepare`; changes here are lost.\n"
                       "load_module \"%s\";\n"
                       "daemon off;\n"
                       "pid pids/nginx.pid;\n",
                       conf->module);
    weir_buffer_printf(out, "error_log %s %s;\n", weir_setting_string(settings, "proxy_error_log"),
                       weir_setting_string(settings, "log_level"));
    if (conf->user != NULL)
        weir_buffer_printf(out, "user %s;\n", conf->user);
    workers(settings, conf, out);
    /* The Admin API's. A data plane has none: a process of one thread is spared the kernel's
     * and libc's locks, about 0.5 us of each proxied request. */
    if (!role_is(settings, "data_plane"))
        weir_buffer_printf(out, "thread_pool weir threads=%" PRId64 " max_queue=%d;\n",
                           weir_setting_integer(settings, "admin_threads"), QUEUE_MAX);
    weir_settings_directives(settings, "main", main_directive_line, out);

    /* Of a fleet that comes all at once (after a restart) a control plane takes as many as
     * it gets done: the others wait in the kernel, instead of all growing old together
     * until each has used up its patience in mid-handshake. */
    bool all = role_is(settings, "data_plane") &&
               weir_setting_boolean(settings, "nginx_events_multi_accept");
    weir_buffer_printf(out, "events {\n    worker_connections %" PRId64 ";\n    multi_accept %s;\n",
                       connections(settings), all ? "on" : "off");
    weir_settings_directives(settings, "events", directive_line, out);
    weir_buffer_append(out, WEIR_STR("}\n"));
}

static void http_context(const weir_settings_t *settings, const weir_host_conf_t *conf,
                         weir_buffer_t *out)
{
    weir_buffer_printf(out, "    weir_settings \"%s\";\n", conf->settings_path);
    weir_buffer_append(out, WEIR_STR("    access_log off;\n"
                                     "    default_type '';\n"
                                     "    server_tokens off;\n"
                                     "    underscores_in_headers on;\n"
                                     "    client_body_temp_path tmp/client_body;\n"
                                     "    proxy_temp_path tmp/proxy;\n"
                                     "    fastcgi_temp_path tmp/fastcgi;\n"
                                     "    uwsgi_temp_path tmp/uwsgi;\n"
                                     "    scgi_temp_path tmp/scgi;\n"));
    weir_settings_directives(settings, "http", directive_line, out);
}

/* -- the servers that are ours ---------------------------------------------------- */

/* The `listen` lines of a setting, and the certificates if one of them is TLS. */
static int listeners(const weir_settings_t *settings, const char *name, const char *certificates,
                     const char *keys, weir_buffer_t *out, weir_error_t *err)
{
    bool tls = false;
    for (size_t i = 0; i < weir_setting_listen_count(settings, name); i++) {
        const weir_listen_t *listen = weir_setting_listen(settings, name, i);
        weir_buffer_printf(out, "        listen %s;\n", listen->nginx);
        tls = tls || listen->ssl;
    }
    if (!tls)
        return WEIR_OK;
    size_t count = weir_setting_count(settings, certificates);
    if (count == 0 || count != weir_setting_count(settings, keys))
        return weir_error_set(err, WEIR_INVALID, certificates,
                              "needs as many certificates as %s has keys", keys);
    for (size_t i = 0; i < count; i++)
        weir_buffer_printf(out,
                           "        ssl_certificate \"%s\";\n"
                           "        ssl_certificate_key \"%s\";\n",
                           weir_setting_item(settings, certificates, i),
                           weir_setting_item(settings, keys, i));
    weir_buffer_append(out, WEIR_STR("        ssl_protocols TLSv1.2 TLSv1.3;\n"));
    return WEIR_OK;
}

static void logs(const weir_settings_t *settings, const char *access, const char *error,
                 weir_buffer_t *out)
{
    weir_buffer_printf(out, "        access_log %s;\n        error_log %s %s;\n",
                       weir_setting_string(settings, access), weir_setting_string(settings, error),
                       weir_setting_string(settings, "log_level"));
}

static int admin_server(const weir_settings_t *settings, weir_buffer_t *out, weir_error_t *err)
{
    if (weir_setting_listen_count(settings, "admin_listen") == 0)
        return WEIR_OK;
    weir_buffer_append(out, WEIR_STR("    server {\n"));
    int rc = listeners(settings, "admin_listen", "admin_ssl_cert", "admin_ssl_cert_key", out, err);
    if (rc != WEIR_OK)
        return rc;
    logs(settings, "admin_access_log", "admin_error_log", out);
    weir_buffer_printf(out,
                       "        client_max_body_size %s;\n"
                       "        client_body_buffer_size %s;\n",
                       weir_setting_string(settings, "nginx_admin_client_max_body_size"),
                       weir_setting_string(settings, "nginx_admin_client_body_buffer_size"));
    weir_settings_directives(settings, "admin", server_directive_line, out);
    /* Imports send everything over few connections. */
    weir_buffer_append(out, WEIR_STR("        keepalive_requests 1000000000;\n"
                                     "        charset UTF-8;\n"
                                     "        merge_slashes off;\n"
                                     "        location / {\n"
                                     "            weir_admin;\n"
                                     "        }\n"
                                     "    }\n"));
    return WEIR_OK;
}

static int status_server(const weir_settings_t *settings, weir_buffer_t *out, weir_error_t *err)
{
    if (weir_setting_listen_count(settings, "status_listen") == 0)
        return WEIR_OK;
    weir_buffer_append(out, WEIR_STR("    server {\n"));
    int rc =
        listeners(settings, "status_listen", "status_ssl_cert", "status_ssl_cert_key", out, err);
    if (rc != WEIR_OK)
        return rc;
    logs(settings, "status_access_log", "status_error_log", out);
    weir_settings_directives(settings, "status", server_directive_line, out);
    weir_buffer_append(out, WEIR_STR("        location / {\n"
                                     "            weir_status;\n"
                                     "        }\n"
                                     "    }\n"));
    return WEIR_OK;
}

static int servers(const weir_settings_t *settings, weir_buffer_t *out, weir_error_t *err)
{
    int rc = WEIR_OK;
    if (!role_is(settings, "data_plane")) {
        rc = admin_server(settings, out, err);
        if (rc == WEIR_OK)
            rc = weir_cluster_conf(settings, out, err);
    }
    if (rc == WEIR_OK && !role_is(settings, "control_plane"))
        rc = weir_proxy_conf(settings, out, err);
    return rc == WEIR_OK ? status_server(settings, out, err) : rc;
}

int weir_host_conf(const weir_settings_t *settings, const weir_host_conf_t *conf,
                   weir_buffer_t *out, weir_error_t *err)
{
    weir_assert(conf->cores > 0);
    if (strpbrk(conf->module, "\"\\$;{}\n") != NULL ||
        strpbrk(conf->settings_path, "\"\\$;{}\n") != NULL)
        return weir_error_set(err, WEIR_INVALID, "prefix",
                              "must have none of ; { } \" \\ $ and line ends: %s",
                              conf->settings_path);
    main_context(settings, conf, out);
    weir_buffer_append(out, WEIR_STR("http {\n"));
    http_context(settings, conf, out);
    int rc = servers(settings, out, err);
    if (rc != WEIR_OK)
        return rc;
    weir_buffer_append(out, WEIR_STR("}\n"));
    if (out->failed != WEIR_OK)
        return weir_error_set(err, out->failed, NULL, "no room for nginx.conf");
    return WEIR_OK;
}
