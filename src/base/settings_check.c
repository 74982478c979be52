/* settings_check.c -- what settings say together: defaults by role, and the
 * combinations that refuse the start (sync-protocol F.1). */
#include "base/settings_internal.h"

#include "base/uuid.h"

#include <stdio.h>

static const char *text_of(const weir_settings_t *settings, const char *name)
{
    return weir_setting_string(settings, name);
}

static bool is(const weir_settings_t *settings, const char *name, const char *text)
{
    return strcmp(text_of(settings, name), text) == 0;
}

static bool is_set(const weir_settings_t *settings, const char *name)
{
    return text_of(settings, name)[0] != '\0';
}

static int refuse(weir_error_t *err, const char *name, const char *reason)
{
    return weir_error_set(err, WEIR_INVALID, name, "%s", reason);
}

/* Not "given": a default of the role may be replaced by a later source. */
static int set_default(weir_settings_t *settings, const char *name, const char *text,
                       weir_error_t *err)
{
    if (weir_setting_given(settings, name))
        return WEIR_OK;
    size_t index = weir_setting_index(weir_str(name));
    int rc = weir_setting_parse(settings, index, weir_str(text), err);
    settings->values[index].given = false;
    return rc;
}

static int role_defaults(weir_settings_t *settings, weir_error_t *err)
{
    if (is(settings, "role", "data_plane"))
        return set_default(settings, "database", "off", err);
    if (!is(settings, "role", "traditional"))
        return WEIR_OK;
    /* A traditional node is a control plane with one data plane, over loopback. */
    int rc = set_default(settings, "cluster_listen", "127.0.0.1:8005", err);
    const weir_listen_t *listen = weir_setting_listen(settings, "cluster_listen", 0);
    if (rc != WEIR_OK || listen == NULL)
        return rc;
    char address[96];
    bool any = strcmp(listen->address, "0.0.0.0") == 0;
    snprintf(address, sizeof(address), "%s:%d", any ? "127.0.0.1" : listen->address, listen->port);
    return set_default(settings, "cluster_control_plane", address, err);
}

static int check_certificates(const weir_settings_t *settings, weir_error_t *err)
{
    static const char *const pairs[][2] = {
        { "cluster_cert", "cluster_cert_key" },       { "ssl_cert", "ssl_cert_key" },
        { "admin_ssl_cert", "admin_ssl_cert_key" },   { "status_ssl_cert", "status_ssl_cert_key" },
        { "client_ssl_cert", "client_ssl_cert_key" },
    };
    for (size_t i = 0; i < WEIR_COUNT(pairs); i++) {
        if (is_set(settings, pairs[i][0]) && !is_set(settings, pairs[i][1]))
            return refuse(err, pairs[i][1], "must be given together with the certificate");
        if (!is_set(settings, pairs[i][0]) && is_set(settings, pairs[i][1]))
            return refuse(err, pairs[i][0], "must be given together with the key");
    }
    if (weir_setting_boolean(settings, "client_ssl") && !is_set(settings, "client_ssl_cert"))
        return refuse(err, "client_ssl_cert", "must be given when client_ssl = on");
    if (is(settings, "ssl_cipher_suite", "custom") && !is_set(settings, "ssl_ciphers"))
        return refuse(err, "ssl_ciphers", "must be given when ssl_cipher_suite = custom");
    return WEIR_OK;
}

static int check_control_plane(const weir_settings_t *settings, weir_error_t *err)
{
    if (is(settings, "database", "off"))
        return refuse(err, "database", "must not be off when role = \"control_plane\"");
    if (weir_setting_listen_count(settings, "admin_listen") == 0)
        return refuse(err, "admin_listen", "must be specified when role = \"control_plane\"");
    if (weir_setting_listen_count(settings, "cluster_listen") == 0)
        return refuse(err, "cluster_listen", "must be specified when role = \"control_plane\"");
    if (is_set(settings, "cluster_dp_labels"))
        return refuse(err, "cluster_dp_labels", "can not be used when role = \"control_plane\"");
    if (is(settings, "cluster_mtls", "pki") && !is_set(settings, "cluster_ca_cert"))
        return refuse(err, "cluster_ca_cert", "must be specified when cluster_mtls = \"pki\"");
    return WEIR_OK;
}

static int check_data_plane(const weir_settings_t *settings, weir_error_t *err)
{
    if (!is(settings, "database", "off"))
        return refuse(err, "database",
                      "only in-memory storage can be used when role = \"data_plane\": "
                      "must be off");
    if (weir_setting_listen_count(settings, "proxy_listen") == 0)
        return refuse(err, "proxy_listen", "must be specified when role = \"data_plane\"");
    return WEIR_OK;
}

static int check_traditional(const weir_settings_t *settings, weir_error_t *err)
{
    if (is(settings, "database", "off"))
        return weir_error_set(err, WEIR_UNSUPPORTED, "database",
                              "a node without a database that is no data plane (DB-less) is not "
                              "in this build");
    if (is_set(settings, "cluster_dp_labels"))
        return refuse(err, "cluster_dp_labels", "can only be used when role = \"data_plane\"");
    if (weir_setting_listen_count(settings, "cluster_listen") == 0)
        return refuse(err, "cluster_listen",
                      "must not be off: the node's own agent connects there");
    return WEIR_OK;
}

static int check_role(const weir_settings_t *settings, weir_error_t *err)
{
    if (!is(settings, "role", "data_plane") && !is(settings, "cluster_mtls", "pki") &&
        weir_setting_boolean(settings, "cluster_bind_identity"))
        return refuse(err, "cluster_bind_identity",
                      "needs cluster_mtls = \"pki\": a shared certificate names no single node");
    if (is(settings, "role", "traditional"))
        return check_traditional(settings, err);
    if (!is_set(settings, "cluster_cert"))
        return refuse(err, "cluster_cert",
                      "cluster certificate and key must be provided to use Hybrid mode "
                      "(weir hybrid gen_cert makes them)");
    if (is(settings, "role", "control_plane"))
        return check_control_plane(settings, err);
    return check_data_plane(settings, err);
}

/* Differences travel by JSON-RPC: without it there are none, whatever is set. */
static int follow_rpc(weir_settings_t *settings, weir_error_t *err)
{
    if (weir_setting_boolean(settings, "cluster_rpc"))
        return WEIR_OK;
    size_t index = weir_setting_index(WEIR_STR("cluster_rpc_sync"));
    return weir_setting_parse(settings, index, WEIR_STR("off"), err);
}

/* The settings with listeners that a role opens. */
static const char *const *listener_names(const weir_settings_t *settings)
{
    static const char *const cp[] = { "admin_listen", "cluster_listen", "status_listen", NULL };
    static const char *const dp[] = { "proxy_listen", "status_listen", NULL };
    static const char *const all[] = { "admin_listen", "cluster_listen", "status_listen",
                                       "proxy_listen", NULL };
    if (is(settings, "role", "control_plane"))
        return cp;
    return is(settings, "role", "data_plane") ? dp : all;
}

/* Who listens on the address of `listen` before it in the order of `names`. */
static const char *earlier_listener(const weir_settings_t *settings, const char *const *names,
                                    const weir_listen_t *listen)
{
    for (; *names != NULL; names++) {
        size_t count = weir_setting_listen_count(settings, *names);
        for (size_t i = 0; i < count; i++) {
            const weir_listen_t *other = weir_setting_listen(settings, *names, i);
            if (other == listen)
                return NULL;
            if (other->port == listen->port && strcmp(other->address, listen->address) == 0)
                return *names;
        }
    }
    return NULL;
}

/* Two settings with one address would be two servers of nginx behind one socket,
 * and the first of them would answer for both. */
static int check_addresses(const weir_settings_t *settings, weir_error_t *err)
{
    const char *const *names = listener_names(settings);
    for (const char *const *name = names; *name != NULL; name++) {
        size_t count = weir_setting_listen_count(settings, *name);
        for (size_t i = 0; i < count; i++) {
            const weir_listen_t *listen = weir_setting_listen(settings, *name, i);
            const char *earlier = earlier_listener(settings, names, listen);
            if (earlier != NULL)
                return weir_error_set(err, WEIR_INVALID, *name, "%s:%d is already an address of %s",
                                      listen->address, listen->port, earlier);
        }
    }
    return WEIR_OK;
}

static int check_control_plane_address(const weir_settings_t *settings, weir_error_t *err)
{
    weir_str_t text = weir_str(text_of(settings, "cluster_control_plane"));
    size_t colon = text.len;
    while (colon > 0 && text.data[colon - 1] != ':')
        colon--;
    int64_t port = 0;
    if (colon < 2 || memchr(text.data, '/', text.len) != NULL ||
        memchr(text.data, ' ', text.len) != NULL ||
        weir_parse_int64((weir_str_t){ text.data + colon, text.len - colon }, 1, 65535, &port) !=
            WEIR_OK)
        return weir_error_set(err, WEIR_INVALID, "cluster_control_plane",
                              "must be HOST:PORT, got \"%.*s\"", WEIR_STR_ARG(text));
    return WEIR_OK;
}

/* Texts that end up in nginx.conf as they are. */
static int check_texts(const weir_settings_t *settings, weir_error_t *err)
{
    for (size_t i = 0; i < weir_setting_table_count; i++) {
        setting_kind_t kind = weir_setting_table[i].kind;
        if (kind != SETTING_TEXT && kind != SETTING_LIST && kind != SETTING_PATH)
            continue;
        if (strpbrk(settings->values[i].text, ";{}\"'\\$") != NULL)
            return weir_error_set(err, WEIR_INVALID, weir_setting_table[i].name,
                                  "must have none of ; { } \" ' \\ $, got \"%s\"",
                                  settings->values[i].text);
    }
    weir_uuid_t id;
    const char *node_id = text_of(settings, "node_id");
    if (node_id[0] != '\0' && weir_uuid_parse(weir_str(node_id), &id) != WEIR_OK)
        return weir_error_set(err, WEIR_INVALID, "node_id", "must be a UUID, got \"%s\"", node_id);
    int64_t count = 0;
    const char *workers = text_of(settings, "nginx_worker_processes");
    if (strcmp(workers, "auto") != 0 &&
        weir_parse_int64(weir_str(workers), 1, 1024, &count) != WEIR_OK)
        return weir_error_set(err, WEIR_INVALID, "nginx_worker_processes",
                              "must be auto or a number from 1 to 1024, got \"%s\"", workers);
    const char *connections = text_of(settings, "nginx_events_worker_connections");
    if (strcmp(connections, "auto") != 0 &&
        weir_parse_int64(weir_str(connections), 16, 10000000, &count) != WEIR_OK)
        return weir_error_set(err, WEIR_INVALID, "nginx_events_worker_connections",
                              "must be auto or a number from 16 to 10000000, got \"%s\"",
                              connections);
    return WEIR_OK;
}

int weir_settings_check(weir_settings_t *settings, weir_error_t *err)
{
    int rc = role_defaults(settings, err);
    if (rc == WEIR_OK)
        rc = follow_rpc(settings, err);
    if (rc == WEIR_OK)
        rc = check_texts(settings, err);
    if (rc == WEIR_OK)
        rc = check_role(settings, err);
    if (rc == WEIR_OK)
        rc = check_certificates(settings, err);
    if (rc == WEIR_OK)
        rc = check_addresses(settings, err);
    if (rc == WEIR_OK)
        rc = check_control_plane_address(settings, err);
    return rc;
}
