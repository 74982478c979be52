/* classic.c -- the classic full sync in the agent: what it says it has, and a push as a
 * batch. */
#include "agent/classic.h"

#include "plugins/plugins.h"

#include <stdlib.h>

static const char *const bundled[] = {
    "acl",
    "acme",
    "ai-prompt-decorator",
    "ai-prompt-guard",
    "ai-prompt-template",
    "ai-proxy",
    "ai-request-transformer",
    "ai-response-transformer",
    "aws-lambda",
    "azure-functions",
    "basic-auth",
    "bot-detection",
    "correlation-id",
    "cors",
    "datadog",
    "file-log",
    "grpc-gateway",
    "grpc-web",
    "hmac-auth",
    "http-log",
    "ip-restriction",
    "jwt",
    "key-auth",
    "ldap-auth",
    "loggly",
    "oauth2",
    "opentelemetry",
    "post-function",
    "pre-function",
    "prometheus",
    "proxy-cache",
    "rate-limiting",
    "redirect",
    "request-size-limiting",
    "request-termination",
    "request-transformer",
    "response-ratelimiting",
    "response-transformer",
    "session",
    "standard-webhooks",
    "statsd",
    "syslog",
    "tcp-log",
    "udp-log",
    "zipkin",
};

/* -- plugins --------------------------------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static size_t drop_doubles(const char **names, size_t count)
{
    size_t kept = 0;
    qsort(names, count, sizeof(*names), by_name);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || strcmp(names[kept - 1], names[i]) != 0)
            names[kept++] = names[i];
    return kept;
}

int classic_plugins(const weir_settings_t *settings, const char ***ret, weir_error_t *err)
{
    size_t ours = 0;
    size_t count = 0;
    const weir_plugin_t *const *plugins = weir_plugins(&ours);
    size_t items = weir_setting_count(settings, "plugins");
    const char **names = weir_calloc(items + WEIR_COUNT(bundled) + ours + 1, sizeof(*names));
    if (names == NULL)
        return weir_error_memory(err);
    for (size_t i = 0; i < items; i++) {
        const char *item = weir_setting_item(settings, "plugins", i);
        if (strcmp(item, "bundled") != 0 && strcmp(item, "off") != 0)
            names[count++] = item;
        else if (strcmp(item, "bundled") == 0 && count <= items) {
            for (size_t j = 0; j < WEIR_COUNT(bundled); j++)
                names[count++] = bundled[j];
            for (size_t j = 0; j < ours; j++)
                names[count++] = plugins[j]->schema->name;
        }
    }
    names[drop_doubles(names, count)] = NULL;
    *ret = names;
    return WEIR_OK;
}

/* -- applying -------------------------------------------------------------------------------- */

static int put_row(void *context, weir_str_t type, const weir_json_t *row, weir_error_t *err)
{
    return weir_batch_put(context, type, row, err);
}

int classic_put(weir_batch_t *batch, const weir_classic_update_t *update, weir_error_t *err)
{
    return weir_classic_read_rows(update->payload, update->inflated_max, update->head, put_row,
                                  batch, err);
}
