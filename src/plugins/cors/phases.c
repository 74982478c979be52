/* phases.c -- cors: tells browsers which pages of other origins may ask, and for what.
 *
 * spec: plugins 2.2. A preflight is answered here, before anybody asks who it is; every
 * other answer, whoever gave it, gets its headers in header_filter. */
#include "plugins/cors/cors.h"

#define ALLOW_ORIGIN "Access-Control-Allow-Origin"

typedef struct config {
    uint64_t flags;
    weir_str_t one, headers, exposed, methods, max_age; /* data NULL: see cors.h */
    uint64_t origin_count;
    weir_record_reader_t origins;
} config_t;

static bool read_config(weir_str_t record, config_t *ret)
{
    weir_record_reader_t in = weir_record_read(record);
    bool good = weir_record_u64(&in, &ret->flags) && weir_record_str(&in, &ret->one) &&
                weir_record_str(&in, &ret->headers) && weir_record_str(&in, &ret->exposed) &&
                weir_record_str(&in, &ret->methods) && weir_record_str(&in, &ret->max_age) &&
                weir_record_u64(&in, &ret->origin_count);
    ret->origins = in;
    return good && ret->methods.data != NULL;
}

/* -- origins --------------------------------------------------------------------------- */

static int fits(uint64_t rule, weir_str_t text, const cors_origin_t *origin)
{
    switch (rule) {
    case CORS_RULE_SAME:
        return weir_str_equal(text, origin->whole) ? WEIR_OK : WEIR_NOT_FOUND;
    case CORS_RULE_HOST_REGEX:
        return weir_regex_match(text, origin->host);
    case CORS_RULE_WHOLE_REGEX:
        return weir_regex_match(text, origin->whole);
    default:
        return WEIR_CORRUPT;
    }
}

/* What the page's origin is called; data NULL: it is none of those that may ask. */
static weir_str_t allowed(weir_request_t *request, const config_t *config, weir_str_t said)
{
    static const weir_str_t none = { NULL, 0 };
    cors_origin_t origin;
    weir_record_reader_t in = config->origins;
    char *room = said.len > 0 ? weir_request_alloc(request, said.len + 1) : NULL;
    if (room == NULL)
        return none;
    cors_origin(said, room, &origin);
    for (uint64_t i = 0; i < config->origin_count; i++) {
        uint64_t rule = 0;
        weir_str_t text;
        if (!weir_record_u64(&in, &rule) || !weir_record_str(&in, &text))
            return none;
        if (fits(rule, text, &origin) == WEIR_OK)
            return origin.whole;
    }
    return none;
}

/* -- headers that both phases give ---------------------------------------------------------- */

typedef int set_t(weir_request_t *request, weir_str_t name, weir_str_t value);

/* How a phase gives headers: in place of others, and beside them. */
typedef struct way {
    set_t *set, *add;
} way_t;

static int tell_vary(weir_request_t *request, const way_t *way)
{
    return way->add(request, WEIR_STR("vary"), WEIR_STR("Origin"));
}

/* *ret_all: any page may ask, whatever its origin. */
static int tell_origin(weir_request_t *request, const config_t *config, const way_t *way,
                       bool *ret_all)
{
    weir_str_t said;
    weir_str_t told = config->one;
    *ret_all = (config->flags & CORS_ALL) != 0;
    if (*ret_all)
        return way->set(request, WEIR_STR(ALLOW_ORIGIN), WEIR_STR("*"));
    int rc = tell_vary(request, way);
    bool asked = weir_request_header(request, WEIR_STR("Origin"), 0, &said);
    if (told.data == NULL && asked) {
        *ret_all = (config->flags & CORS_ANY) != 0;
        told = *ret_all ? WEIR_STR("*") : allowed(request, config, said);
    }
    return rc == WEIR_OK ? way->set(request, WEIR_STR(ALLOW_ORIGIN), told) : rc;
}

/* Nobody who lets everybody ask may let them bring credentials: such a page is told that
 * it alone may. */
static int tell_credentials(weir_request_t *request, const config_t *config, const way_t *way,
                            bool all)
{
    weir_str_t said;
    int rc = WEIR_OK;
    if ((config->flags & CORS_CREDENTIALS) == 0)
        return WEIR_OK;
    if (all) {
        if (!weir_request_header(request, WEIR_STR("Origin"), 0, &said))
            return WEIR_OK;
        rc = tell_vary(request, way);
        if (rc == WEIR_OK)
            rc = way->set(request, WEIR_STR(ALLOW_ORIGIN), said);
    }
    return rc == WEIR_OK
               ? way->set(request, WEIR_STR("Access-Control-Allow-Credentials"), WEIR_STR("true"))
               : rc;
}

static int tell(weir_request_t *request, const config_t *config, const way_t *way)
{
    bool all = false;
    int rc = tell_origin(request, config, way, &all);
    return rc == WEIR_OK ? tell_credentials(request, config, way, all) : rc;
}

/* -- access: preflights ----------------------------------------------------------------- */

static bool is_preflight(weir_request_t *request)
{
    weir_str_t ignored;
    return weir_str_is(weir_request_method(request), "OPTIONS") &&
           weir_request_header(request, WEIR_STR("Origin"), 0, &ignored) &&
           weir_request_header(request, WEIR_STR("Access-Control-Request-Method"), 0, &ignored);
}

static int tell_if(weir_request_t *request, const char *name, weir_str_t value)
{
    return value.data != NULL ? weir_request_set_answer_header(request, weir_str(name), value)
                              : WEIR_OK;
}

static int tell_preflight(weir_request_t *request, const config_t *config)
{
    /* The answer is ours alone: there is nothing to stand beside. */
    static const way_t way = { weir_request_set_answer_header, weir_request_set_answer_header };
    weir_str_t headers = config->headers;
    weir_str_t asked;
    int rc = tell(request, config, &way);
    if (headers.data == NULL &&
        weir_request_header(request, WEIR_STR("Access-Control-Request-Headers"), 0, &asked))
        headers = asked;
    if (rc == WEIR_OK)
        rc = tell_if(request, "Access-Control-Allow-Headers", headers);
    if (rc == WEIR_OK)
        rc = tell_if(request, "Access-Control-Allow-Methods", config->methods);
    if (rc == WEIR_OK)
        rc = tell_if(request, "Access-Control-Max-Age", config->max_age);
    if (rc == WEIR_OK && (config->flags & CORS_PRIVATE_NETWORK) != 0 &&
        weir_request_header(request, WEIR_STR("Access-Control-Request-Private-Network"), 0,
                            &asked) &&
        weir_str_is(asked, "true"))
        rc = tell_if(request, "Access-Control-Allow-Private-Network", WEIR_STR("true"));
    return rc;
}

static weir_phase_result_t access_phase(weir_request_t *request, weir_str_t record)
{
    config_t config;
    static const weir_str_t none = { NULL, 0 };
    if (!read_config(record, &config))
        return WEIR_PHASE_ERROR;
    if (!is_preflight(request) || (config.flags & CORS_PREFLIGHT_CONTINUE) != 0)
        return WEIR_PHASE_NEXT;
    int rc = tell_preflight(request, &config);
    if (rc == WEIR_OK)
        rc = weir_request_answer(request, 200, none, none);
    return rc == WEIR_OK ? WEIR_PHASE_ANSWER : WEIR_PHASE_ERROR;
}

/* -- header_filter: all other answers ------------------------------------------------------- */

/* Preflights have been answered, or are the upstream's; but not where no route matched,
 * and so nobody saw them. */
static void header_filter(weir_request_t *request, weir_str_t record)
{
    static const way_t way = { weir_request_set_answer_header, weir_request_answer_header };
    config_t config;
    weir_str_t said = { NULL, 0 };
    if (!read_config(record, &config) ||
        (is_preflight(request) && weir_request_route_id(request).data != NULL))
        return;
    weir_request_header(request, WEIR_STR("Origin"), 0, &said);
    if ((config.flags & CORS_ONLY_ORIGINS) != 0 && said.len == 0)
        return;
    if (tell(request, &config, &way) == WEIR_OK && config.exposed.data != NULL)
        weir_request_set_answer_header(request, WEIR_STR("Access-Control-Expose-Headers"),
                                       config.exposed);
}

const weir_plugin_t weir_plugin_cors = {
    .abi = WEIR_PLUGIN_ABI,
    .schema = &weir_plugin_schema_cors,
    .compile = cors_compile,
    .access = access_phase,
    .header_filter = header_filter,
};
