/* classic_info.c -- what a data plane of the classic push says of itself: the query of
 * the upgrade, basic_info, and whether it fits (sync-protocol A.2, D.1, D.5). */
#include "cluster/classic_internal.h"

#include "base/json.h"
#include "cluster/compat.h"

#include <stdio.h>

enum { LABELS_MAX = 64 };

/* -- the query ------------------------------------------------------------------------- */

static void take_argument(weir_str_t argument, weir_classic_query_t *ret)
{
    const struct {
        const char *name;
        weir_str_t *value;
    } known[] = {
        { "node_id=", &ret->node_id },
        { "node_hostname=", &ret->hostname },
        { "node_version=", &ret->version },
    };
    for (size_t i = 0; i < WEIR_COUNT(known); i++) {
        weir_str_t name = weir_str(known[i].name);
        if (weir_str_starts(argument, name) && known[i].value->data == NULL)
            *known[i].value = (weir_str_t){ argument.data + name.len, argument.len - name.len };
    }
}

void weir_classic_query_read(weir_str_t query, weir_classic_query_t *ret)
{
    *ret = (weir_classic_query_t){ 0 };
    for (size_t at = 0; at < query.len;) {
        const char *end = memchr(query.data + at, '&', query.len - at);
        size_t len = end != NULL ? (size_t)(end - query.data) - at : query.len - at;
        take_argument((weir_str_t){ query.data + at, len }, ret);
        at += len + 1;
    }
}

/* -- basic_info ---------------------------------------------------------------------------- */

static weir_str_t cut(weir_str_t text)
{
    if (text.len > WEIR_CLASSIC_TEXT_MAX)
        text.len = WEIR_CLASSIC_TEXT_MAX;
    return text;
}

static int copy_labels(const weir_json_t *from, weir_json_t **ret)
{
    if (weir_json_kind(from) != WEIR_JSON_OBJECT)
        return WEIR_OK;
    weir_json_t *labels = weir_json_new_object();
    int rc = labels != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    size_t count = 0;
    for (const weir_json_t *m = weir_json_first(from);
         rc == WEIR_OK && m != NULL && count < LABELS_MAX; m = weir_json_next(m)) {
        weir_str_t text = weir_json_string(m);
        if (text.data == NULL || strlen(weir_json_name(m)) > WEIR_CLASSIC_TEXT_MAX)
            continue;
        rc = weir_json_set(labels, weir_json_name(m), weir_json_new_string(cut(text)));
        count++;
    }
    *ret = labels;
    return rc;
}

static void read_plugin(const weir_json_t *item, classic_info_t *info)
{
    weir_str_t none = { NULL, 0 };
    weir_str_t name = weir_json_get_string(item, "name", none);
    weir_str_t version = weir_json_get_string(item, "version", none);
    if (name.data == NULL || name.len > CLASSIC_PLUGIN_NAME_MAX)
        return;
    classic_plugin_t *plugin = &info->plugins[info->plugin_count++];
    memcpy(plugin->name, name.data, name.len + 1);
    (void)weir_compat_parts(version, &plugin->major, &plugin->minor);
}

/* An object stands for an empty list (B.2). */
static int read_plugins(const weir_json_t *list, classic_info_t *info)
{
    size_t count = weir_json_kind(list) == WEIR_JSON_ARRAY ? weir_json_count(list) : 0;
    if (count == 0)
        return WEIR_OK;
    if (count > WEIR_CLASSIC_PLUGINS_MAX)
        count = WEIR_CLASSIC_PLUGINS_MAX;
    info->plugins = weir_calloc(count, sizeof(*info->plugins));
    if (info->plugins == NULL)
        return WEIR_NO_MEMORY;
    for (const weir_json_t *item = weir_json_first(list); item != NULL && count > 0;
         item = weir_json_next(item), count--)
        read_plugin(item, info);
    return WEIR_OK;
}

static int refuse(weir_error_t *err, const char *why)
{
    return weir_error_set(err, WEIR_INVALID, NULL, "%s", why);
}

int classic_info_read(weir_str_t payload, classic_info_t *ret, weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *message = NULL;
    classic_info_t info = { 0 };
    if (weir_json_parse(payload, &message, NULL) != WEIR_OK)
        return refuse(err, "basic_info is no JSON");
    if (!weir_str_is(weir_json_get_string(message, "type", WEIR_STR("")), "basic_info"))
        return refuse(err, "the first message is no basic_info");
    const weir_json_t *plugins = weir_json_get(message, "plugins");
    if (weir_json_kind(plugins) != WEIR_JSON_ARRAY && weir_json_kind(plugins) != WEIR_JSON_OBJECT)
        return refuse(err, "basic_info has no list of plugins");
    int rc = read_plugins(plugins, &info);
    if (rc == WEIR_OK)
        rc = copy_labels(weir_json_get(message, "labels"), &info.labels);
    if (rc != WEIR_OK) {
        classic_info_release(&info);
        return weir_error_memory(err);
    }
    *ret = info;
    return WEIR_OK;
}

void classic_info_release(classic_info_t *info)
{
    weir_free(info->plugins);
    weir_json_free(info->labels);
    *info = (classic_info_t){ 0 };
}

/* -- does it fit (D.5)? ---------------------------------------------------------------------- */

bool classic_version_fits(weir_str_t ours, weir_str_t version)
{
    int64_t major = 0;
    int64_t minor = 0;
    int64_t our_major = 0;
    int64_t our_minor = 0;
    return weir_compat_parts(ours, &our_major, &our_minor) &&
           weir_compat_parts(version, &major, &minor) && major == our_major && minor <= our_minor;
}

static const classic_plugin_t *find(const classic_info_t *info, const char *name)
{
    for (size_t i = 0; i < info->plugin_count; i++)
        if (strcmp(info->plugins[i].name, name) == 0)
            return &info->plugins[i];
    return NULL;
}

/* Every plugin of ours has our version. */
static bool plugin_fits(const classic_plugin_t *plugin, int64_t our_major, int64_t our_minor)
{
    if (strcmp(plugin->name, "opentelemetry") == 0 && plugin->major == 0 && plugin->minor == 1)
        return true; /* it had a number of its own once */
    return plugin->major < 0 || our_major < 0 ||
           (plugin->major == our_major && plugin->minor <= our_minor);
}

const char *classic_plugins_fit(const classic_info_t *info, weir_str_t ours,
                                const weir_classic_frame_t *frame, const char **ret_plugin)
{
    int64_t major = -1;
    int64_t minor = -1;
    (void)weir_compat_parts(ours, &major, &minor);
    for (size_t i = 0; (*ret_plugin = weir_classic_frame_plugin(frame, i)) != NULL; i++) {
        const classic_plugin_t *plugin = find(info, *ret_plugin);
        if (plugin == NULL)
            return "plugin_set_incompatible";
        if (!plugin_fits(plugin, major, minor))
            return "plugin_version_incompatible";
    }
    /* filter_set_incompatible cannot be: there are no WebAssembly filters here. */
    return "normal";
}
