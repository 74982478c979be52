/* handle.c -- the way in and out: the checks that come before any handler, the
 * headers of every answer (admin-api 1, 2). */
#include "admin/internal.h"

#include "base/clock.h"
#include "base/log.h"

#include <strings.h>

enum {
    ARENA_BYTES_MAX = 512 * 1024 * 1024, /* a page of 1000 large entities, and their names */
    TARGET_BYTES_MAX = 64 * 1024,
};

/* -- life ---------------------------------------------------------------------------- */

/* scheme://host[:port] of each admin_gui_url. */
static int load_origins(weir_admin_t *admin)
{
    size_t count = weir_setting_count(admin->options.settings, "admin_gui_url");
    admin->origins = weir_arena_alloc(&admin->arena, (count + 1) * sizeof(*admin->origins));
    if (admin->origins == NULL)
        return WEIR_NO_MEMORY;
    for (size_t i = 0; i < count; i++) {
        weir_str_t url = weir_str(weir_setting_item(admin->options.settings, "admin_gui_url", i));
        const char *host = memmem(url.data, url.len, "://", 3);
        if (host == NULL)
            continue;
        size_t from = (size_t)(host - url.data) + 3;
        const char *path = memchr(url.data + from, '/', url.len - from);
        if (path != NULL)
            url.len = (size_t)(path - url.data);
        admin->origins[admin->origin_count++] = url;
    }
    return WEIR_OK;
}

/* `bundled` stands for all that come with this build. */
static int load_plugins(weir_admin_t *admin)
{
    const weir_settings_t *settings = admin->options.settings;
    size_t count = 0;
    const weir_plugin_schema_t *const *plugins = weir_plugin_schemas(&count);
    admin->plugin_enabled = weir_arena_zalloc(&admin->arena, count + 1);
    if (admin->plugin_enabled == NULL)
        return WEIR_NO_MEMORY;
    for (size_t n = weir_setting_count(settings, "plugins"); n > 0; n--) {
        const char *name = weir_setting_item(settings, "plugins", n - 1);
        for (size_t i = 0; i < count; i++)
            if (strcmp(name, "bundled") == 0 || strcmp(name, plugins[i]->name) == 0)
                admin->plugin_enabled[i] = true;
    }
    return WEIR_OK;
}

static int load_headers(weir_admin_t *admin)
{
    const weir_settings_t *settings = admin->options.settings;
    for (size_t n = weir_setting_count(settings, "headers"); n > 0; n--) {
        const char *name = weir_setting_item(settings, "headers", n - 1);
        if (strcasecmp(name, "latency_tokens") == 0 ||
            strcasecmp(name, "X-Kong-Admin-Latency") == 0)
            admin->show_latency = true;
        if (strcasecmp(name, "server_tokens") != 0 && strcasecmp(name, "Server") != 0)
            continue;
        admin->server = weir_arena_printf(&admin->arena, "kong/%s",
                                          weir_setting_string(settings, "cluster_compat_version"));
        if (admin->server.data == NULL)
            return WEIR_NO_MEMORY;
    }
    return WEIR_OK;
}

/* Whoever wants to write alone is not kept waiting by those who come after it. */
static void init_writers(weir_admin_t *admin)
{
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&admin->writers, &attributes);
    pthread_rwlockattr_destroy(&attributes);
}

int weir_admin_new(const weir_admin_options_t *options, weir_admin_t **ret, weir_error_t *err)
{
    weir_admin_t *admin = weir_calloc(1, sizeof(*admin));
    if (admin == NULL)
        return weir_error_memory(err);
    admin->options = *options;
    weir_arena_init(&admin->arena, 1024 * 1024);
    pthread_mutex_init(&admin->log_level_lock, NULL);
    init_writers(admin);
    for (size_t i = 0; i < RETRY_LOCKS; i++)
        pthread_mutex_init(&admin->retry_locks[i], NULL);
    weir_log_level_t level = WEIR_LOG_NOTICE;
    weir_log_level_parse(weir_str(weir_setting_string(options->settings, "log_level")), &level);
    admin->log_level = admin->log_level_initial = (int)level;
    int rc = load_origins(admin);
    if (rc == WEIR_OK)
        rc = load_plugins(admin);
    if (rc == WEIR_OK)
        rc = load_headers(admin);
    if (rc == WEIR_OK)
        rc = paths_build(admin, err);
    if (rc != WEIR_OK) {
        weir_admin_free(admin);
        return weir_error_memory(err);
    }
    *ret = admin;
    return WEIR_OK;
}

void weir_admin_free(weir_admin_t *admin)
{
    if (admin == NULL)
        return;
    for (size_t i = 0; i < RETRY_LOCKS; i++)
        pthread_mutex_destroy(&admin->retry_locks[i]);
    pthread_rwlock_destroy(&admin->writers);
    pthread_mutex_destroy(&admin->log_level_lock);
    weir_free(admin->paths);
    weir_arena_release(&admin->arena);
    weir_free(admin);
}

void weir_admin_response_init(weir_admin_response_t *response, size_t body_max)
{
    *response = (weir_admin_response_t){ 0 };
    weir_buffer_init(&response->body, body_max);
    weir_arena_init(&response->arena, ARENA_BYTES_MAX);
}

void weir_admin_response_release(weir_admin_response_t *response)
{
    weir_buffer_release(&response->body);
    weir_arena_release(&response->arena);
}

/* -- headers of every answer -------------------------------------------------------------- */

weir_str_t request_header(const weir_admin_request_t *request, const char *name)
{
    for (size_t i = 0; i < request->header_count; i++) {
        const weir_admin_header_t *one = &request->headers[i];
        if (one->name.len == strlen(name) && strncasecmp(one->name.data, name, one->name.len) == 0)
            return one->value;
    }
    return (weir_str_t){ NULL, 0 };
}

/* With admin_gui_url only its origins are allowed; the first stands for all that
 * are not. */
static weir_str_t allowed_origin(const call_t *call)
{
    const weir_admin_t *admin = call->admin;
    weir_str_t origin = request_header(call->request, "origin");
    if (admin->origin_count == 0)
        return origin.len > 0 ? origin : WEIR_STR("*");
    for (size_t i = 0; i < admin->origin_count; i++)
        if (weir_str_equal(admin->origins[i], origin))
            return origin;
    return admin->origins[0];
}

static void common_headers(call_t *call)
{
    weir_str_t origin = weir_arena_copy(call->arena, allowed_origin(call));
    answer_header(call, "Access-Control-Allow-Origin",
                  origin.data != NULL ? origin : WEIR_STR("*"));
    answer_header(call, "Access-Control-Allow-Credentials", WEIR_STR("true"));
    if (call->admin->server.data != NULL)
        answer_header(call, "Server", call->admin->server);
}

static void latency_header(call_t *call, int64_t started_ms)
{
    if (!call->admin->show_latency)
        return;
    weir_str_t text =
        weir_arena_printf(call->arena, "%" PRId64, weir_clock_monotonic_ms() - started_ms);
    if (text.data != NULL)
        answer_header(call, "X-Kong-Admin-Latency", text);
}

/* Of every write that was done, also if there was nothing to change. */
static void version_header(call_t *call)
{
    weir_admin_response_t *response = call->response;
    bool writes = call->method & (METHOD_DELETE | METHOD_PATCH | METHOD_POST | METHOD_PUT);
    if (call->path == NULL || !call->path->stores || !writes || response->status >= 300)
        return;
    if (response->version == 0)
        response->version = weir_store_version(call->admin->options.store);
    weir_str_t text = weir_arena_printf(call->arena, "%" PRIu64, response->version);
    if (text.data != NULL)
        answer_header(call, "Weir-Version", text);
}

/* -- the checks before a handler ------------------------------------------------------------ */

static const struct {
    const char *name;
    method_t method;
} methods[] = {
    { "DELETE", METHOD_DELETE },   { "GET", METHOD_GET },     { "HEAD", METHOD_HEAD },
    { "OPTIONS", METHOD_OPTIONS }, { "PATCH", METHOD_PATCH }, { "POST", METHOD_POST },
    { "PUT", METHOD_PUT },
};

static method_t method_of(weir_str_t name)
{
    for (size_t i = 0; i < WEIR_COUNT(methods); i++)
        if (weir_str_is(name, methods[i].name))
            return methods[i].method;
    return METHOD_OTHER;
}

static int answer_options(call_t *call)
{
    unsigned allowed = call->path->methods | call->path->listed | METHOD_OPTIONS;
    if (allowed & METHOD_GET)
        allowed |= METHOD_HEAD;
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 128);
    for (size_t i = 0; i < WEIR_COUNT(methods); i++)
        if (allowed & methods[i].method)
            weir_buffer_printf(&text, "%s%s", text.len > 0 ? ", " : "", methods[i].name);
    weir_str_t list = weir_arena_copy(call->arena, weir_buffer_str(&text));
    weir_str_t wanted = request_header(call->request, "access-control-request-headers");
    weir_str_t headers =
        weir_arena_copy(call->arena, wanted.len > 0 ? wanted : WEIR_STR("Content-Type"));
    if (list.data == NULL || headers.data == NULL)
        return weir_error_memory(call->err);
    answer_header(call, "Allow", list);
    answer_header(call, "Access-Control-Allow-Methods", list);
    answer_header(call, "Access-Control-Allow-Headers", headers);
    return answer_empty(call, 204);
}

int decode_parameters(call_t *call)
{
    for (size_t i = 0; i < call->path->parameter_count; i++) {
        call->parameters[i] = decode(call->arena, call->raw[i]);
        if (call->parameters[i].data == NULL)
            return weir_error_memory(call->err);
    }
    return WEIR_OK;
}

/* What a form sends is text; the schema says what it stands for. Without its name
 * a PATCH of a plugin waits until the stored one is known (complete_plugin_patch). */
static int infer(call_t *call)
{
    const weir_schema_t *schema = call->path->schema;
    if (!call->is_form || schema == NULL)
        return WEIR_OK;
    if (schema->type == WEIR_PLUGINS && call->method == METHOD_PATCH &&
        weir_json_get(call->body, "name") == NULL)
        return WEIR_OK;
    call->is_form = false;
    return weir_model_infer(schema, call->body) == WEIR_OK ? WEIR_OK : weir_error_memory(call->err);
}

/* OPTIONS, HEAD without GET, and methods that the path does not have. */
static int check_method(call_t *call)
{
    const path_t *path = call->path;
    if (call->method == METHOD_OPTIONS)
        return WEIR_OK;
    if (call->method == METHOD_HEAD && (path->methods & METHOD_GET)) {
        call->method = METHOD_GET; /* the host sends the length alone */
        return WEIR_OK;
    }
    if (call->method == METHOD_HEAD) {
        answer_header(call, "Content-Type", WEIR_STR("text/html; charset=UTF-8"));
        return answer_empty(call, 200);
    }
    if (!((path->methods | path->listed) & call->method))
        return answer_message(call, 405, "Method not allowed");
    return WEIR_OK;
}

static int run(call_t *call, weir_str_t path, weir_str_t query)
{
    int rc = body_gate(call);
    if (rc != WEIR_OK)
        return rc;
    call->path = paths_match(call, path);
    if (call->path == NULL)
        return answer_not_found(call);
    rc = check_method(call);
    if (rc == WEIR_OK)
        rc = decode_parameters(call);
    if (rc == WEIR_OK && call->path->before != NULL)
        rc = call->path->before(call);
    if (rc != WEIR_OK)
        return rc;
    if (call->method == METHOD_OPTIONS)
        return answer_options(call);
    rc = arguments_parse(call->arena, query, &call->query);
    if (rc == WEIR_TOO_LARGE)
        return answer_message(call, 400, "Too many arguments");
    if (rc != WEIR_OK)
        return weir_error_memory(call->err);
    rc = wish_parse(call);
    if (rc == WEIR_OK)
        rc = body_parse(call);
    if (rc == WEIR_OK)
        rc = infer(call);
    return rc == WEIR_OK ? call->path->handle(call) : rc;
}

/* The one path with nothing of this API about it. */
static bool answer_robots(call_t *call, weir_str_t path)
{
    if (!weir_str_is(path, "/robots.txt"))
        return false;
    call->response->status = 200;
    answer_header(call, "Content-Type", WEIR_STR("text/plain; charset=UTF-8"));
    if (call->admin->server.data != NULL)
        answer_header(call, "Server", call->admin->server);
    weir_buffer_append(&call->response->body, WEIR_STR("User-agent: *\nDisallow: /"));
    return true;
}

static void answer_fault(call_t *call, int rc)
{
    if (call->err->code == WEIR_OK)
        weir_error_set(call->err, rc, NULL, "%s", weir_code_name(rc));
    call->response->body.failed = WEIR_OK;
    answer_message(call, 500, "An unexpected error occurred");
}

void weir_admin_handle(weir_admin_t *admin, const weir_admin_request_t *request,
                       weir_admin_response_t *response, weir_error_t *err)
{
    int64_t started_ms = weir_clock_monotonic_ms();
    weir_error_t own = { 0 };
    call_t call = {
        .admin = admin,
        .request = request,
        .response = response,
        .err = err != NULL ? err : &own,
        .arena = &response->arena,
        .method = method_of(request->method),
        .now = (double)weir_clock_ms() / 1000,
    };
    *call.err = (weir_error_t){ 0 };
    weir_str_t path = request->target;
    weir_str_t query = { NULL, 0 };
    const char *mark = path.len > 0 ? memchr(path.data, '?', path.len) : NULL;
    if (mark != NULL) {
        size_t len = (size_t)(mark - path.data);
        query = (weir_str_t){ mark + 1, path.len - len - 1 };
        path.len = len;
    }
    if (answer_robots(&call, path))
        return;
    if (path.len > 0 && memmem(path.data, path.len, "%00", 3) != NULL) {
        answer_page(&call, 400); /* as the HTTP layer answers it, without our headers */
        return;
    }
    common_headers(&call);
    int rc = request->target.len <= TARGET_BYTES_MAX
                 ? run(&call, path, query)
                 : answer_message(&call, 414, "The request target is longer than %d bytes",
                                  TARGET_BYTES_MAX);
    weir_json_free(call.body);
    if (rc != WEIR_OK && rc != ANSWERED)
        answer_fault(&call, rc);
    else
        *call.err = (weir_error_t){ 0 };
    version_header(&call);
    latency_header(&call, started_ms);
}
