/* compat_checks.c -- what older data planes need besides fewer members: values that
 * had another name, records that were flat (sync-protocol D.5, "checkers"). */
#include "cluster/compat_internal.h"

#include <stdio.h>

#define V COMPAT_VERSION

static bool is(const weir_json_t *object, const char *name, const char *text)
{
    weir_str_t value = weir_json_get_string(object, name, (weir_str_t){ NULL, 0 });
    return value.data != NULL && weir_str_is(value, text);
}

static void set_text(compat_edit_t *edit, weir_json_t *object, const char *name, const char *text)
{
    compat_set(edit, object, name, weir_json_new_string(weir_str(text)));
}

/* `name` becomes `older`, with its value. */
static void rename_member(compat_edit_t *edit, weir_json_t *object, const char *name,
                          const char *older)
{
    weir_json_t *value = weir_json_take(object, name);
    if (value != NULL)
        compat_set(edit, object, older, value);
}

/* -- AI plugins ---------------------------------------------------------------------------- */

/* The record with `model`: the config of ai-proxy, its `llm` in the transformers. */
static weir_json_t *llm_of(compat_edit_t *edit)
{
    return strcmp(edit->plugin, "ai-proxy") == 0 ? edit->config
                                                 : weir_json_get_mutable(edit->config, "llm");
}

/* A provider that the data plane lacks becomes the one that takes anything. */
static void to_openai(compat_edit_t *edit)
{
    weir_json_t *llm = llm_of(edit);
    set_text(edit, weir_json_get_mutable(llm, "model"), "provider", "openai");
    if (strcmp(edit->plugin, "ai-proxy") == 0)
        set_text(edit, llm, "route_type", "preserve");
}

static void no_huggingface(compat_edit_t *edit)
{
    weir_json_t *model = weir_json_get_mutable(llm_of(edit), "model");
    if (is(model, "provider", "huggingface"))
        to_openai(edit);
    compat_remove(edit, weir_json_get_mutable(model, "options"), "huggingface",
                  strlen("huggingface"));
}

static void older_providers(compat_edit_t *edit)
{
    weir_json_t *model = weir_json_get_mutable(llm_of(edit), "model");
    if (is(model, "provider", "gemini") || is(model, "provider", "bedrock"))
        to_openai(edit);
    weir_json_t *options = weir_json_get_mutable(model, "options");
    if (is(model, "provider", "mistral") && options != NULL &&
        weir_json_is_null(weir_json_get(options, "upstream_url")))
        set_text(edit, options, "upstream_url", "https://api.mistral.ai:443");
}

static void no_preserve(compat_edit_t *edit)
{
    if (is(edit->config, "route_type", "preserve"))
        set_text(edit, edit->config, "route_type", "llm/v1/chat");
}

/* -- 3.8: names ----------------------------------------------------------------------------- */

static void no_sts_endpoint(compat_edit_t *edit)
{
    compat_remove(edit, edit->config, "aws_sts_endpoint_url", strlen("aws_sts_endpoint_url"));
}

static void one_endpoint(compat_edit_t *edit)
{
    rename_member(edit, edit->config, "traces_endpoint", "endpoint");
}

/* -- 3.6: redis records were flat -------------------------------------------------------------- */

static void flatten(compat_edit_t *edit, const weir_json_t *redis, const char *name,
                    weir_json_t *into, const char *older)
{
    const weir_json_t *value = weir_json_get(redis, name);
    if (value != NULL)
        compat_set(edit, into, older, weir_json_copy(value));
}

static void flat_rate_limiting(compat_edit_t *edit)
{
    static const char *const names[] = { "host",    "port", "username",   "password",   "database",
                                         "timeout", "ssl",  "ssl_verify", "server_name" };
    if (!is(edit->config, "policy", "redis"))
        return; /* the original leaves it as it is; recorded so */
    const weir_json_t *redis = weir_json_get(edit->config, "redis");
    for (size_t i = 0; i < WEIR_COUNT(names); i++) {
        char older[32];
        snprintf(older, sizeof(older), "redis_%s", names[i]);
        flatten(edit, redis, names[i], edit->config, older);
    }
    compat_remove(edit, edit->config, "redis", strlen("redis"));
}

static void flat_acme(compat_edit_t *edit)
{
    static const char *const names[][2] = {
        { "password", "auth" },
        { "server_name", "ssl_server_name" },
    };
    weir_json_t *redis =
        weir_json_get_mutable(weir_json_get_mutable(edit->config, "storage_config"), "redis");
    if (!is(edit->config, "storage", "redis") || weir_json_kind(redis) != WEIR_JSON_OBJECT)
        return;
    for (size_t i = 0; i < WEIR_COUNT(names); i++)
        rename_member(edit, redis, names[i][0], names[i][1]);
    weir_json_t *extra = weir_json_take(redis, "extra_options");
    flatten(edit, extra, "namespace", redis, "namespace");
    flatten(edit, extra, "scan_count", redis, "scan_count");
    edit->changed |= extra != NULL;
    weir_json_free(extra);
    compat_remove(edit, redis, "username", strlen("username"));
    compat_remove(edit, redis, "timeout", strlen("timeout"));
}

/* -- 3.5, 3.4: headers of traces --------------------------------------------------------------- */

static void no_header_type(compat_edit_t *edit, const char *type)
{
    if (is(edit->config, "header_type", type))
        set_text(edit, edit->config, "header_type", "preserve");
    if (strcmp(edit->plugin, "zipkin") == 0 && is(edit->config, "default_header_type", type))
        set_text(edit, edit->config, "default_header_type", "b3");
}

static void no_gcp_headers(compat_edit_t *edit)
{
    no_header_type(edit, "gcp");
}

static void no_aws_headers(compat_edit_t *edit)
{
    no_header_type(edit, "aws");
}

/* -- 3.3: queues ----------------------------------------------------------------------------------
 */

static void from_queue(compat_edit_t *edit, const char *older, const char *member, double otherwise)
{
    const weir_json_t *queue = weir_json_get(edit->config, "queue");
    double value = weir_json_get_number(queue, member, otherwise);
    compat_set(edit, edit->config, older, weir_json_new_number(value));
}

static void older_queue(compat_edit_t *edit)
{
    if (strcmp(edit->plugin, "opentelemetry") == 0) {
        from_queue(edit, "batch_span_count", "max_batch_size", 200);
        from_queue(edit, "batch_flush_delay", "max_coalescing_delay", 3);
        return;
    }
    compat_set(edit, edit->config, "retry_count", weir_json_new_number(10));
    from_queue(edit, "queue_size", "max_batch_size", 1);
    from_queue(edit, "flush_timeout", "max_coalescing_delay", 2);
}

static void vault_prefix(compat_edit_t *edit)
{
    weir_json_t *config = weir_json_get_mutable(edit->entity, "config");
    weir_str_t prefix = weir_json_get_string(config, "prefix", WEIR_STR(""));
    if (!is(edit->entity, "name", "env") || memchr(prefix.data, '-', prefix.len) == NULL)
        return;
    WEIR_AUTO(free) char *text = weir_strdup(prefix);
    for (char *c = text; c != NULL && *c != '\0'; c++)
        if (*c == '-')
            *c = '_';
    if (text != NULL)
        set_text(edit, config, "prefix", text);
    else
        edit->rc = WEIR_NO_MEMORY;
}

static void no_updated_at(compat_edit_t *edit)
{
    compat_remove(edit, edit->entity, "updated_at", strlen("updated_at"));
}

/* -- 3.2 ------------------------------------------------------------------------------------------
 */

static void plain_tls(compat_edit_t *edit)
{
    static const char *const names[] = { "client_certificate", "tls_verify", "tls_verify_depth",
                                         "ca_certificates" };
    for (size_t i = 0; i < WEIR_COUNT(names) && is(edit->entity, "protocol", "tls"); i++)
        compat_remove(edit, edit->entity, names[i], strlen(names[i]));
}

static void no_latency(compat_edit_t *edit)
{
    if (is(edit->entity, "algorithm", "latency"))
        set_text(edit, edit->entity, "algorithm", "round-robin");
}

static void no_instance_name(compat_edit_t *edit)
{
    compat_remove(edit, edit->entity, "instance_name", strlen("instance_name"));
}

static void older_session(compat_edit_t *edit)
{
    static const char *const names[][2] = {
        { "idling_timeout", "cookie_idletime" },   { "rolling_timeout", "cookie_lifetime" },
        { "stale_ttl", "cookie_discard" },         { "cookie_same_site", "cookie_samesite" },
        { "cookie_http_only", "cookie_httponly" }, { "remember", "cookie_persistent" },
    };
    for (size_t i = 0; i < WEIR_COUNT(names); i++)
        rename_member(edit, edit->config, names[i][0], names[i][1]);
    if (is(edit->config, "cookie_samesite", "Default"))
        set_text(edit, edit->config, "cookie_samesite", "Lax");
}

/* -- 3.1 ------------------------------------------------------------------------------------------
 */

static void no_srv_name(compat_edit_t *edit)
{
    compat_remove(edit, edit->entity, "use_srv_name", strlen("use_srv_name"));
}

#define AI "ai-proxy ai-request-transformer ai-response-transformer"

/* clang-format off */
const compat_check_t compat_checks[] = {
    { V(3, 9, 0), "plugins", AI, no_huggingface },
    { V(3, 8, 0), "plugins", "aws-lambda", no_sts_endpoint },
    { V(3, 8, 0), "plugins", "opentelemetry", one_endpoint },
    { V(3, 8, 0), "plugins", AI, older_providers },
    { V(3, 7, 0), "plugins", "ai-proxy", no_preserve },
    { V(3, 6, 0), "plugins", "acme", flat_acme },
    { V(3, 6, 0), "plugins", "rate-limiting response-ratelimiting", flat_rate_limiting },
    { V(3, 5, 0), "plugins", "opentelemetry zipkin", no_gcp_headers },
    { V(3, 4, 0), "plugins", "opentelemetry zipkin", no_aws_headers },
    { V(3, 3, 0), "plugins", "statsd datadog opentelemetry", older_queue },
    { V(3, 3, 0), "vaults", NULL, vault_prefix },
    { V(3, 3, 0), "ca_certificates", NULL, no_updated_at },
    { V(3, 3, 0), "certificates", NULL, no_updated_at },
    { V(3, 3, 0), "consumers", NULL, no_updated_at },
    { V(3, 3, 0), "targets", NULL, no_updated_at },
    { V(3, 3, 0), "upstreams", NULL, no_updated_at },
    { V(3, 3, 0), "plugins", NULL, no_updated_at },
    { V(3, 3, 0), "workspaces", NULL, no_updated_at },
    { V(3, 3, 0), "snis", NULL, no_updated_at },
    { V(3, 2, 0), "services", NULL, plain_tls },
    { V(3, 2, 0), "upstreams", NULL, no_latency },
    { V(3, 2, 0), "plugins", NULL, no_instance_name },
    { V(3, 2, 0), "plugins", "session", older_session },
    { V(3, 1, 0), "upstreams", NULL, no_srv_name },
};
/* clang-format on */
const size_t compat_checks_count = WEIR_COUNT(compat_checks);
