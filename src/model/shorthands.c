/* shorthands.c -- what a body may say in short, and what is put into another form
 * before the rest is looked at. */
#include "model/checks.h"
#include "model/engine.h"

#include "base/json.h"

/* -- services.url (admin-api 9.1) ----------------------------------------- */

typedef struct url {
    weir_str_t scheme, host, path; /* data NULL: none */
    int64_t port;                  /* -1: none */
} url_t;

/* Ends `text` before the first byte that is one of `ends`. */
static weir_str_t until(weir_str_t text, const char *ends)
{
    size_t len = 0;
    while (len < text.len && strchr(ends, text.data[len]) == NULL)
        len++;
    return (weir_str_t){ text.data, len };
}

/* "user@host:port". */
static void parse_authority(weir_str_t text, url_t *url)
{
    const char *at = memrchr(text.data, '@', text.len);
    if (at != NULL)
        text = (weir_str_t){ at + 1, text.len - (size_t)(at + 1 - text.data) };
    const char *colon = memrchr(text.data, ':', text.len);
    const char *bracket = memrchr(text.data, ']', text.len);
    if (colon != NULL && (bracket == NULL || colon > bracket)) {
        weir_str_t digits = { colon + 1, text.len - (size_t)(colon + 1 - text.data) };
        if (weir_parse_int64(digits, 0, 65535, &url->port) == WEIR_OK)
            text.len = (size_t)(colon - text.data);
    }
    if (text.len > 0)
        url->host = text;
}

/* Without a scheme all of it is a path. Query and fragment are dropped. */
static url_t parse_url(weir_str_t text)
{
    url_t url = { .port = -1 };
    const char *mark = memmem(text.data, text.len, "://", 3);
    if (mark != NULL) {
        url.scheme = (weir_str_t){ text.data, (size_t)(mark - text.data) };
        text = (weir_str_t){ mark + 3, text.len - url.scheme.len - 3 };
        weir_str_t authority = until(text, "/?#");
        parse_authority(authority, &url);
        text = (weir_str_t){ text.data + authority.len, text.len - authority.len };
    }
    weir_str_t path = until(text, "?#");
    if (path.len > 0)
        url.path = path;
    if (url.scheme.data == NULL)
        url.scheme = url.port == 443 ? WEIR_STR("https") : WEIR_STR("http");
    if (url.port < 0)
        url.port = weir_str_is(url.scheme, "https") ? 443 : 80;
    return url;
}

static int set_text(weir_json_t *object, const char *name, weir_str_t text)
{
    return weir_json_set(object, name,
                         text.data != NULL ? weir_json_new_string(text) : weir_json_new_null());
}

/* What the url says wins over members of the same body, also when it says nothing. */
static int expand_url(weir_json_t *body, const url_t *url)
{
    int rc = set_text(body, "protocol", url->scheme);
    if (rc == WEIR_OK)
        rc = set_text(body, "host", url->host);
    if (rc == WEIR_OK)
        rc = set_text(body, "path", url->path);
    if (rc == WEIR_OK && url->port >= 0)
        rc = weir_json_set(body, "port", weir_json_new_number((double)url->port));
    return rc;
}

static int refuse(weir_engine_t *engine, const char *field, const char *reason,
                  weir_problem_t *problem)
{
    weir_json_t *error = weir_engine_text(engine, "%s", reason);
    return weir_problem_schema_violation(problem, weir_engine_add(engine, NULL, field, error));
}

static int service(weir_engine_t *engine, weir_json_t *body, weir_problem_t *problem)
{
    WEIR_AUTO(json) weir_json_t *url = weir_json_take(body, "url");
    weir_str_t text = weir_json_string(url);
    url_t parts = { .port = -1 }; /* of null: nothing, and so it is refused */
    if (url == NULL)
        return WEIR_OK;
    if (text.data == NULL && !weir_json_is_null(url))
        return refuse(engine, "url", "expected a string", problem);
    if (text.data != NULL && text.len == 0)
        return refuse(engine, "url", "length must be at least 1", problem);
    if (text.data != NULL)
        parts = parse_url(text);
    return expand_url(body, &parts);
}

/* -- upstreams (entity-schemas.json, "shorthand_fields") ------------------ */

static int upstream(weir_json_t *body)
{
    weir_str_t algorithm = weir_json_get_string(body, "algorithm", WEIR_STR(""));
    if (weir_str_is(algorithm, "least-connections") || weir_str_is(algorithm, "latency"))
        if (weir_json_set(body, "hash_on", weir_json_new_null()) != WEIR_OK)
            return WEIR_NO_MEMORY;
    const weir_json_t *hash_on = weir_json_get(body, "hash_on");
    if (hash_on == NULL)
        return WEIR_OK;
    if (weir_json_is_null(hash_on))
        return weir_json_set(body, "hash_on", weir_json_new_string(WEIR_STR("none")));
    if (weir_json_kind(hash_on) != WEIR_JSON_STRING)
        return WEIR_OK;
    bool none = weir_str_is(weir_json_string(hash_on), "none");
    return weir_json_set(
        body, "algorithm",
        weir_json_new_string(none ? WEIR_STR("round-robin") : WEIR_STR("consistent-hashing")));
}

int weir_engine_upstream_algorithm(weir_json_t *entity)
{
    weir_str_t algorithm = weir_json_get_string(entity, "algorithm", WEIR_STR(""));
    weir_str_t hash_on = weir_json_get_string(entity, "hash_on", WEIR_STR("none"));
    bool hashing = weir_str_is(algorithm, "consistent-hashing");
    if ((hashing && weir_str_is(hash_on, "none")) || algorithm.len == 0)
        return weir_json_set(entity, "algorithm", weir_json_new_string(WEIR_STR("round-robin")));
    return WEIR_OK;
}

/* -- targets -------------------------------------------------------------- */

/* The incumbent brings a new target into its form before it looks at the rest. */
static int target(weir_engine_t *engine, weir_write_t kind, const weir_json_t *body,
                  weir_problem_t *problem)
{
    char normal[1024];
    weir_str_t text = weir_json_get_string(body, "target", (weir_str_t){ NULL, 0 });
    if (kind == WEIR_UPDATE || text.data == NULL ||
        weir_target_normalize(text, normal, sizeof(normal)) == WEIR_OK)
        return WEIR_OK;
    return refuse(engine, "target", "Invalid target; not a valid hostname or ip address", problem);
}

int weir_engine_shorthands(weir_engine_t *engine, weir_write_t kind, weir_json_t *body,
                           weir_problem_t *problem)
{
    if (engine->schema->type == WEIR_SERVICES)
        return service(engine, body, problem);
    if (engine->schema->type == WEIR_UPSTREAMS)
        return upstream(body);
    if (engine->schema->type == WEIR_TARGETS)
        return target(engine, kind, body, problem);
    return WEIR_OK;
}
