/* node.c -- the node itself: what it is, how it is, what it can (admin-api 8.2, 10). */
#include "admin/internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define NOT_A_CONTROL_PLANE                                                            \
    "this endpoint is only available when Kong is configured to run as Control Plane " \
    "for the cluster"

static const char *setting(const call_t *call, const char *name)
{
    return weir_setting_string(call->admin->options.settings, name);
}

/* -- GET / ---------------------------------------------------------------------------- */

static weir_json_t *available_plugins(const call_t *call)
{
    weir_json_t *available = weir_json_new_object();
    size_t count = 0;
    const weir_plugin_schema_t *const *plugins = weir_plugin_schemas(&count);
    const char *version = setting(call, "cluster_compat_version");
    for (size_t i = 0; available != NULL && i < count; i++) {
        if (!call->admin->plugin_enabled[i])
            continue;
        weir_json_t *plugin = weir_json_new_object();
        if (set_text(plugin, "version", weir_str(version)) != WEIR_OK ||
            weir_json_set(plugin, "priority", weir_json_new_number(plugins[i]->priority)) !=
                WEIR_OK) {
            weir_json_free(plugin);
            weir_json_free(available);
            return NULL;
        }
        if (weir_json_set(available, plugins[i]->name, plugin) != WEIR_OK) {
            weir_json_free(available);
            return NULL;
        }
    }
    return available;
}

static int plugins_in_use(call_t *call, weir_json_t **ret)
{
    weir_str_t *names = NULL;
    size_t count = 0;
    int rc =
        weir_store_plugin_names(call->admin->options.store, call->arena, &names, &count, call->err);
    if (rc != WEIR_OK)
        return rc;
    *ret = weir_json_new_array();
    for (size_t i = 0; *ret != NULL && i < count; i++)
        if (weir_json_append(*ret, weir_json_new_string(names[i])) != WEIR_OK) {
            weir_json_free(*ret);
            *ret = NULL;
        }
    return *ret != NULL ? WEIR_OK : weir_error_memory(call->err);
}

/* Members in the order of the incumbent's documentation; the host adds its own. */
static int node_members(call_t *call, weir_json_t *node)
{
    const weir_admin_options_t *options = &call->admin->options;
    char id[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&options->node_id, id);
    const struct {
        const char *name;
        const char *value;
    } texts[] = {
        { "tagline", "Welcome to kong" }, /* clients look for it */
        { "version", setting(call, "cluster_compat_version") },
        { "edition", "community" },
        { "hostname", options->hostname != NULL ? options->hostname : "" },
        { "node_id", id },
        { "lua_version", "none" },
    };
    for (size_t i = 0; i < WEIR_COUNT(texts); i++)
        if (set_text(node, texts[i].name, weir_str(texts[i].value)) != WEIR_OK)
            return weir_error_memory(call->err);
    weir_json_t *timers = weir_json_new_object();
    weir_json_t *plugins = weir_json_new_object();
    weir_json_t *used = NULL;
    int rc = weir_json_set(node, "timers", timers);
    if (rc == WEIR_OK)
        rc = weir_json_set(timers, "running", weir_json_new_number(0));
    if (rc == WEIR_OK)
        rc = weir_json_set(timers, "pending", weir_json_new_number(0));
    if (rc == WEIR_OK) {
        rc = weir_json_set(node, "plugins", plugins);
        if (rc == WEIR_OK)
            rc = weir_json_set(plugins, "available_on_server", available_plugins(call));
    } else {
        weir_json_free(plugins);
    }
    if (rc == WEIR_OK)
        rc = plugins_in_use(call, &used);
    if (rc == WEIR_OK)
        rc = weir_json_set(plugins, "enabled_in_cluster", used);
    if (rc == WEIR_OK)
        rc = weir_json_set(node, "configuration", weir_settings_json(options->settings));
    if (rc == WEIR_OK)
        rc = weir_json_set(node, "pids", weir_json_new_object());
    if (rc == WEIR_OK && options->host.node != NULL)
        rc = options->host.node(options->host.context, node);
    return rc == WEIR_NO_MEMORY ? weir_error_memory(call->err) : rc;
}

int handle_node(call_t *call)
{
    WEIR_AUTO(json) weir_json_t *node = weir_json_new_object();
    if (node == NULL)
        return weir_error_memory(call->err);
    int rc = node_members(call, node);
    return rc == WEIR_OK ? answer_value(call, 200, node) : rc;
}

/* -- GET /status -------------------------------------------------------------------------- */

/* unit and scale concern memory figures; clients get told when they are wrong. */
static int check_unit(call_t *call)
{
    const argument_t *unit = arguments_find(&call->query, "unit");
    const argument_t *scale = arguments_find(&call->query, "scale");
    if (unit != NULL && (unit->value.len != 1 || strchr("bBkKmMgG", unit->value.data[0]) == NULL))
        return answer_message(call, 400, "invalid unit '%.*s' (expected 'k/K', 'm/M', or 'g/G')",
                              WEIR_STR_ARG(unit->value));
    int64_t decimals = 0;
    if (scale != NULL &&
        weir_parse_int64(scale->value, INT32_MIN, INT32_MAX, &decimals) == WEIR_OK && decimals < 0)
        return answer_message(call, 400, "scale must be equal or greater than 0");
    return WEIR_OK;
}

static int status_members(call_t *call, weir_json_t *status)
{
    const weir_admin_host_t *host = &call->admin->options.host;
    weir_json_t *database = weir_json_new_object();
    weir_json_t *memory = weir_json_new_object();
    int rc = weir_json_set(status, "database", database);
    if (rc == WEIR_OK)
        rc = weir_json_set(database, "reachable", weir_json_new_boolean(true));
    if (rc == WEIR_OK)
        rc = weir_json_set(status, "memory", memory);
    else
        weir_json_free(memory);
    if (rc == WEIR_OK)
        rc = weir_json_set(memory, "workers_lua_vms", weir_json_new_array());
    if (rc == WEIR_OK)
        rc = weir_json_set(memory, "lua_shared_dicts", weir_json_new_object());
    if (rc == WEIR_OK && host->status != NULL)
        rc = host->status(host->context, status);
    return rc == WEIR_OK ? WEIR_OK : weir_error_memory(call->err);
}

int handle_status(call_t *call)
{
    int rc = check_unit(call);
    WEIR_AUTO(json) weir_json_t *status = weir_json_new_object();
    if (rc == WEIR_OK)
        rc = status != NULL ? status_members(call, status) : weir_error_memory(call->err);
    return rc == WEIR_OK ? answer_value(call, 200, status) : rc;
}

int handle_dns(call_t *call)
{
    return answer_message(call, 501, "not implemented with the legacy DNS client");
}

int handle_timers(call_t *call)
{
    weir_buffer_t *out = answer_json(call, 200);
    weir_buffer_append(out, WEIR_STR("{\"worker\":{\"id\":0,\"count\":1},\"stats\":{\"sys\":{"
                                     "\"total\":0,\"runs\":0,\"running\":0,\"pending\":0,"
                                     "\"waiting\":0},\"timers\":{},\"flamegraph\":{"
                                     "\"running\":\"\",\"pending\":\"\",\"elapsed_time\":\"\"}}}"));
    return out->failed == WEIR_OK ? ANSWERED : weir_error_memory(call->err);
}

/* -- what there is --------------------------------------------------------------------------- */

/* Segment by segment, so that what lies below a path follows it. */
static int by_segments(const void *a, const void *b)
{
    const char *left = (*(const path_t *const *)a)->pattern;
    const char *right = (*(const path_t *const *)b)->pattern;
    while (*left != '\0' && *left == *right) {
        left++;
        right++;
    }
    int l = *left == '/' ? 1 : (unsigned char)*left;
    int r = *right == '/' ? 1 : (unsigned char)*right;
    return l - r;
}

int handle_endpoints(call_t *call)
{
    const weir_admin_t *admin = call->admin;
    const path_t **sorted = weir_arena_alloc(call->arena, admin->path_count * sizeof(*sorted));
    if (sorted == NULL)
        return weir_error_memory(call->err);
    for (size_t i = 0; i < admin->path_count; i++)
        sorted[i] = &admin->paths[i];
    qsort(sorted, admin->path_count, sizeof(*sorted), by_segments);
    weir_buffer_t *out = answer_json(call, 200);
    weir_buffer_append(out, WEIR_STR("{\"data\":["));
    for (size_t i = 0; i < admin->path_count; i++)
        weir_buffer_printf(out, "%s\"%s\"", i > 0 ? "," : "", sorted[i]->pattern);
    weir_buffer_append(out, WEIR_STR("]}"));
    return out->failed == WEIR_OK ? ANSWERED : weir_error_memory(call->err);
}

int handle_enabled_plugins(call_t *call)
{
    size_t count = 0;
    const weir_plugin_schema_t *const *plugins = weir_plugin_schemas(&count);
    weir_buffer_t *out = answer_json(call, 200);
    weir_buffer_append(out, WEIR_STR("{\"enabled_plugins\":["));
    bool first = true;
    for (size_t i = 0; i < count; i++) {
        if (!call->admin->plugin_enabled[i])
            continue;
        weir_buffer_printf(out, "%s\"%s\"", first ? "" : ",", plugins[i]->name);
        first = false;
    }
    weir_buffer_append(out, WEIR_STR("]}"));
    return out->failed == WEIR_OK ? ANSWERED : weir_error_memory(call->err);
}

int handle_config(call_t *call)
{
    return answer_message(call, 400,
                          "this endpoint is only available when Kong is configured to not use a "
                          "database");
}

int handle_no_wasm(call_t *call)
{
    return answer_message(call, 400, "this endpoint is only available when wasm is enabled");
}

/* There is no cache between this API and the store: nothing to drop, nothing held. */
int handle_cache(call_t *call)
{
    return answer_empty(call, 204);
}

int handle_cache_key(call_t *call)
{
    return call->method == METHOD_DELETE ? answer_empty(call, 204) : answer_not_found(call);
}

/* -- log level --------------------------------------------------------------------------------- */

static const char *const level_names[] = {
    [WEIR_LOG_EMERG] = "emerg", [WEIR_LOG_ALERT] = "alert", [WEIR_LOG_CRIT] = "crit",
    [WEIR_LOG_ERROR] = "error", [WEIR_LOG_WARN] = "warn",   [WEIR_LOG_NOTICE] = "notice",
    [WEIR_LOG_INFO] = "info",   [WEIR_LOG_DEBUG] = "debug",
};

/* The level now: one that was set for a time ends by itself. With the lock held. */
static int current_level(call_t *call)
{
    weir_admin_t *admin = call->admin;
    const weir_admin_host_t *host = &admin->options.host;
    if (admin->log_level_until_ms != 0 && weir_clock_monotonic_ms() >= admin->log_level_until_ms) {
        admin->log_level = admin->log_level_initial;
        admin->log_level_until_ms = 0;
        if (host->set_log_level != NULL)
            host->set_log_level(host->context, admin->log_level, NULL);
    }
    return admin->log_level;
}

int handle_log_level(call_t *call)
{
    pthread_mutex_lock(&call->admin->log_level_lock);
    int level = current_level(call);
    pthread_mutex_unlock(&call->admin->log_level_lock);
    return answer_message(call, 200, "log level: %s", level_names[level]);
}

/* Seconds; 60 if not given or no number. Negative ones are the caller's to refuse. */
static double timeout_of(const call_t *call)
{
    const argument_t *timeout = arguments_find(&call->query, "timeout");
    char text[32];
    if (timeout == NULL || timeout->value.len == 0 || timeout->value.len >= sizeof(text))
        return 60;
    memcpy(text, timeout->value.data, timeout->value.len);
    text[timeout->value.len] = '\0';
    char *end = NULL;
    double seconds = strtod(text, &end);
    return *end == '\0' && isfinite(seconds) && seconds < 1e9 ? ceil(seconds) : 60;
}

static int set_level(call_t *call, int level, double timeout_s)
{
    weir_admin_t *admin = call->admin;
    const weir_admin_host_t *host = &admin->options.host;
    int rc = WEIR_OK;
    pthread_mutex_lock(&admin->log_level_lock);
    bool same = current_level(call) == level;
    if (!same && host->set_log_level != NULL)
        rc = host->set_log_level(host->context, level, call->err);
    if (rc == WEIR_OK && (!same || timeout_s == 0)) {
        admin->log_level = level;
        admin->log_level_until_ms =
            timeout_s > 0 ? weir_clock_monotonic_ms() + (int64_t)(timeout_s * 1000) : 0;
        if (timeout_s == 0)
            admin->log_level_initial = level;
    }
    pthread_mutex_unlock(&admin->log_level_lock);
    if (rc != WEIR_OK)
        return rc;
    return same ? answer_message(call, 200, "log level is already %s", level_names[level])
                : answer_message(call, 200, "log level changed");
}

int handle_set_log_level(call_t *call)
{
    weir_str_t name = call->parameters[0];
    weir_log_level_t level;
    if (weir_log_level_parse(name, &level) != WEIR_OK)
        return answer_message(call, 400, "unknown log level: %.*s", WEIR_STR_ARG(name));
    double timeout_s = timeout_of(call);
    if (timeout_s < 0)
        return answer_message(call, 400, "timeout must be greater than or equal to 0");
    if (call->admin->options.host.set_log_level == NULL)
        return answer_message(call, 501, "the log level of this node cannot be changed");
    return set_level(call, (int)level, timeout_s);
}

/* -- the cluster ---------------------------------------------------------------------------------
 */

typedef struct planes {
    weir_json_t *list;
    weir_error_t *err;
} planes_t;

static int add_plane(void *context, const weir_delta_t *row)
{
    planes_t *planes = context;
    weir_json_t *plane = NULL;
    int rc = weir_json_parse(row->document, &plane, planes->err);
    return rc == WEIR_OK ? weir_json_append(planes->list, plane) : rc;
}

/* The live view, or what the store remembers. The caller frees *ret. */
static int data_planes(call_t *call, weir_json_t **ret)
{
    const weir_admin_options_t *options = &call->admin->options;
    *ret = NULL;
    if (options->host.data_planes != NULL)
        return options->host.data_planes(options->host.context, ret, call->err);
    planes_t planes = { weir_json_new_array(), call->err };
    if (planes.list == NULL)
        return weir_error_memory(call->err);
    *ret = planes.list;
    return weir_store_data_planes(options->store, (int64_t)(call->now * 1000), add_plane, &planes,
                                  call->err);
}

static bool is_control_plane(const call_t *call)
{
    return strcmp(setting(call, "role"), "control_plane") == 0;
}

int handle_data_planes(call_t *call)
{
    if (!is_control_plane(call))
        return answer_message(call, 400, NOT_A_CONTROL_PLANE);
    page_t page = { 0 };
    int rc = page_parse(call, false, &page);
    WEIR_AUTO(json) weir_json_t *list = NULL;
    if (rc == WEIR_OK)
        rc = data_planes(call, &list);
    return rc == WEIR_OK ? list_values(call, list, &page, WEIR_STR("/clustering/data-planes")) : rc;
}

int handle_cluster_status(call_t *call)
{
    if (!is_control_plane(call))
        return answer_message(call, 400, NOT_A_CONTROL_PLANE);
    answer_header(call, "Deprecation", WEIR_STR("true"));
    WEIR_AUTO(json) weir_json_t *list = NULL;
    WEIR_AUTO(json) weir_json_t *status = weir_json_new_object();
    int rc = data_planes(call, &list);
    if (rc != WEIR_OK)
        return rc;
    static const char *const members[] = { "config_hash", "hostname", "ip", "last_seen" };
    for (const weir_json_t *plane = weir_json_first(list); plane != NULL;
         plane = weir_json_next(plane)) {
        weir_json_t *one = weir_json_new_object();
        for (size_t i = 0; one != NULL && i < WEIR_COUNT(members); i++) {
            const weir_json_t *value = weir_json_get(plane, members[i]);
            if (value != NULL && weir_json_set(one, members[i], weir_json_copy(value)) != WEIR_OK) {
                weir_json_free(one);
                one = NULL;
            }
        }
        weir_str_t id = weir_json_get_string(plane, "id", WEIR_STR(""));
        if (weir_json_set(status, id.data, one) != WEIR_OK)
            return weir_error_memory(call->err);
    }
    return answer_value(call, 200, status);
}
