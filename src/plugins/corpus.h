/* corpus.h -- recorded exchanges (corpus plugins/) played over the fake request.
 *
 * Plays the cases whose plugins are all in this build (and do not count in Redis), as far as
 * plugins decide: a route by its path, the instance that wins, access, and what was then to be
 * answered or sent. Bodies that the server fills in, or that follow Accept, are the
 * proxy's. Skipped when the recordings are not there. */
#ifndef WEIR_PLUGINS_CORPUS_H
#define WEIR_PLUGINS_CORPUS_H

#include "plugins/fixture.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

typedef struct corpus {
    const weir_json_t *config;
    const weir_json_t *route;
    size_t path_len; /* of the route's path that matched */
    const char *id;  /* of the case */
    unsigned played, different;
    int64_t waited_ms;               /* by the steps so far */
    const weir_json_t *collected[7]; /* the instances that access met, by priority */
} corpus_t;

static inline weir_str_t corpus_text(const weir_json_t *object, const char *name)
{
    return weir_json_get_string(object, name, WEIR_STR(""));
}

static inline void corpus_differs(corpus_t *corpus, const char *what, weir_str_t found)
{
    print_error("%s: %s: %.*s\n", corpus->id, what, WEIR_STR_ARG(found));
    corpus->different++;
}

/* Whether `found` is what was recorded: that text, or one that fits "re:...". */
static inline bool corpus_fits(weir_str_t wanted, weir_str_t found)
{
    if (!weir_str_starts(wanted, WEIR_STR("re:")) || found.data == NULL)
        return weir_str_equal(wanted, found);
    int number = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)wanted.data + 3, wanted.len - 3, 0, &number, &offset, NULL);
    assert_non_null(code);
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    assert_non_null(data);
    bool fits = pcre2_match(code, (PCRE2_SPTR)found.data, found.len, 0, 0, data, NULL) >= 0;
    pcre2_match_data_free(data);
    pcre2_code_free(code);
    return fits;
}

static inline void corpus_match(corpus_t *corpus, weir_str_t target)
{
    corpus->route = NULL;
    corpus->path_len = 0;
    const weir_json_t *route = weir_json_first(weir_json_get(corpus->config, "routes"));
    for (; route != NULL; route = weir_json_next(route)) {
        weir_str_t path = weir_json_string(weir_json_first(weir_json_get(route, "paths")));
        if (weir_str_starts(target, path) && path.len > corpus->path_len) {
            corpus->route = route;
            corpus->path_len = path.len;
        }
    }
}

/* How specific an instance is; 0: it is not for this request (spec 1.3). */
static inline int corpus_rank(const corpus_t *corpus, const weir_json_t *plugin, weir_str_t who)
{
    static const int rank[8] = { 1, 3, 2, 5, 4, 7, 6, 8 }; /* consumer 4, route 1, service 2 */
    unsigned scope = 0;
    const char *names[] = { "route", "service", "consumer" };
    weir_str_t ids[] = { corpus_text(corpus->route, "id"), corpus_text(corpus->route, "service"),
                         who };
    for (unsigned i = 0; i < 3; i++) {
        if (weir_json_is_null(weir_json_get(plugin, names[i])))
            continue;
        if (!weir_str_equal(corpus_text(plugin, names[i]), ids[i]))
            return 0;
        scope |= 1u << i;
    }
    return weir_json_get_boolean(plugin, "enabled", true) ? rank[scope] : 0;
}

static inline const weir_json_t *corpus_instance(const corpus_t *corpus, weir_str_t name,
                                                 weir_str_t consumer)
{
    const weir_json_t *best = NULL;
    const weir_json_t *plugin = weir_json_first(weir_json_get(corpus->config, "plugins"));
    for (int most = 0; plugin != NULL; plugin = weir_json_next(plugin)) {
        int rank = weir_str_equal(corpus_text(plugin, "name"), name)
                       ? corpus_rank(corpus, plugin, consumer)
                       : 0;
        if (rank > most) {
            best = plugin;
            most = rank;
        }
    }
    return best;
}

static const char *const corpus_by_priority[] = {
    "correlation-id",        "cors",          "key-auth",           "ip-restriction",
    "request-size-limiting", "rate-limiting", "request-termination"
};

/* What the instance is bound to. */
static inline void corpus_scope(const weir_json_t *plugin, weir_request_t *request)
{
    const struct {
        const char *name;
        char *id;
    } all[] = { { "route", request->scope.route },
                { "service", request->scope.service },
                { "consumer", request->scope.consumer } };
    for (size_t i = 0; i < WEIR_COUNT(all); i++)
        snprintf(all[i].id, sizeof(request->scope.route), "%.*s",
                 WEIR_STR_ARG(weir_json_get_string(plugin, all[i].name, WEIR_STR("-"))));
}

/* The configuration of a collected instance; false: there is none. */
static inline bool corpus_config(const weir_json_t *plugin, weir_buffer_t *ret)
{
    if (plugin == NULL)
        return false;
    weir_buffer_init(ret, 1 << 16);
    weir_json_print(weir_json_get(plugin, "config"), ret);
    weir_buffer_byte(ret, '\0');
    return true;
}

/* All plugins of the build by priority; an answer or a fault ends it, but each instance is
 * chosen when its turn comes, by what is known then (plugins 1.1). */
static inline void corpus_access(corpus_t *corpus, weir_request_t *request)
{
    for (size_t i = 0; i < WEIR_COUNT(corpus_by_priority); i++) {
        corpus->collected[i] =
            corpus_instance(corpus, weir_str(corpus_by_priority[i]), weir_str(request->consumer));
        WEIR_AUTO(buffer) weir_buffer_t config = { 0 };
        if (request->answered || !corpus_config(corpus->collected[i], &config))
            continue;
        corpus_scope(corpus->collected[i], request);
        weir_phase_result_t result = fixture_run(request, corpus_by_priority[i], config.data);
        assert_int_not_equal(result, WEIR_PHASE_AGAIN);
        if (result == WEIR_PHASE_ERROR)
            weir_request_fail(request, 500, WEIR_STR("An unexpected error occurred"));
        else
            assert_int_equal(result == WEIR_PHASE_ANSWER, request->answered);
    }
}

/* The later phase of all, whoever answered; and what it did to the answer. */
static inline void corpus_header_filter(corpus_t *corpus, weir_request_t *request,
                                        const weir_json_t *reply)
{
    for (size_t i = 0; i < WEIR_COUNT(corpus_by_priority); i++) {
        const weir_plugin_t *plugin = weir_plugin(weir_str(corpus_by_priority[i]));
        WEIR_AUTO(buffer) weir_buffer_t config = { 0 };
        WEIR_AUTO(buffer) weir_buffer_t record = { 0 };
        if (plugin->header_filter == NULL || !corpus_config(corpus->collected[i], &config))
            continue;
        fixture_compile(corpus_by_priority[i], config.data, &record);
        plugin->header_filter(request, weir_buffer_str(&record));
    }
    for (size_t i = 0; i < request->answer_header_count; i++) {
        const fixture_line_t *line = &request->answer_headers[i];
        char name[128];
        snprintf(name, sizeof(name), "%.*s", WEIR_STR_ARG(line->name));
        const weir_json_t *wanted = weir_json_get(weir_json_get(reply, "headers"), name);
        if (weir_json_kind(wanted) == WEIR_JSON_ARRAY) /* the others are the upstream's */
            wanted = weir_json_first(wanted);
        if (!corpus_fits(weir_json_string(wanted), line->value))
            corpus_differs(corpus, name, line->value);
    }
    _Static_assert(WEIR_COUNT(corpus_by_priority) == WEIR_COUNT(corpus->collected),
                   "a place for each plugin");
    const weir_json_t *echoed = weir_json_get(weir_json_get(reply, "headers"), "Kong-Request-ID");
    weir_str_t ignored;
    if (echoed != NULL && request->answer_header_count == 0 &&
        !weir_request_header(request, WEIR_STR("X-Echo"), 0, &ignored)) /* the upstream's own */
        corpus_differs(corpus, "no header in the answer", weir_json_string(echoed));
}

static inline void corpus_check_answer(corpus_t *corpus, weir_request_t *request,
                                       const weir_json_t *reply)
{
    const weir_json_t *headers = weir_json_get(reply, "headers");
    const weir_json_t *body = weir_json_get(reply, "body");
    int status = (int)weir_json_get_number(reply, "status", 0);
    if (request->status != (status == 0 ? 408 : status)) /* 408 is no answer at all */
        corpus_differs(corpus, "status", request->answer);
    if (!weir_str_equal(request->challenge,
                        weir_json_get_string(headers, "WWW-Authenticate", FIXTURE_ABSENT)))
        corpus_differs(corpus, "WWW-Authenticate", request->challenge);
    if (request->failed) {
        if (weir_json_kind(body) == WEIR_JSON_OBJECT &&
            !weir_str_equal(corpus_text(body, "message"), request->answer))
            corpus_differs(corpus, "message", request->answer);
        return;
    }
    weir_str_t type = weir_json_get_string(headers, "Content-Type", FIXTURE_ABSENT);
    if (request->answer.data == NULL) {
        if (weir_str_is(type, "application/json; charset=utf-8"))
            corpus_differs(corpus, "no body", type);
        return;
    }
    if (!weir_str_equal(type, request->content_type))
        corpus_differs(corpus, "content type", request->content_type);
    weir_json_t *json = NULL;
    bool head = weir_str_is(request->method, "HEAD") || status == 204;
    if (weir_json_kind(body) == WEIR_JSON_OBJECT) {
        if (weir_json_parse(request->answer, &json, NULL) != WEIR_OK ||
            !weir_json_equal(json, body))
            corpus_differs(corpus, "body", request->answer);
        weir_json_free(json);
    } else if (!head && !weir_str_equal(weir_json_string(body), request->answer)) {
        corpus_differs(corpus, "body", request->answer);
    }
    char len[24];
    snprintf(len, sizeof(len), "%zu", request->answer.len);
    if (!weir_str_is(corpus_text(headers, "Content-Length"), len))
        corpus_differs(corpus, "Content-Length", weir_str(len));
}

static inline void corpus_check_headers(corpus_t *corpus, weir_request_t *request,
                                        const weir_json_t *upstream)
{
    const weir_json_t *header = weir_json_first(weir_json_get(upstream, "headers"));
    for (; header != NULL; header = weir_json_next(header)) {
        bool several = weir_json_kind(header) == WEIR_JSON_ARRAY;
        const weir_json_t *value = several ? weir_json_first(header) : header;
        for (size_t i = 0; value != NULL; i++) {
            weir_str_t found = fixture_sent(request, weir_json_name(header), i);
            if (!corpus_fits(weir_json_string(value), found))
                corpus_differs(corpus, weir_json_name(header), found);
            value = several ? weir_json_next(value) : NULL;
        }
    }
    const weir_json_t *absent = weir_json_first(weir_json_get(upstream, "absent"));
    for (; absent != NULL; absent = weir_json_next(absent)) {
        char name[128];
        snprintf(name, sizeof(name), "%.*s", WEIR_STR_ARG(weir_json_string(absent)));
        if (fixture_sent(request, name, 0).data != NULL)
            corpus_differs(corpus, "present", weir_str(name));
    }
}

static inline void corpus_check_upstream(corpus_t *corpus, weir_request_t *request,
                                         const weir_json_t *upstream)
{
    corpus_check_headers(corpus, request, upstream);
    weir_str_t path = request->target;
    path.len -= fixture_query(path).len;
    char target[1024]; /* without the path that the route takes off */
    snprintf(target, sizeof(target), "/%.*s%.*s", (int)(path.len - corpus->path_len),
             path.data + corpus->path_len, WEIR_STR_ARG(request->sent_query));
    if (!weir_str_is(corpus_text(upstream, "target"), target))
        corpus_differs(corpus, "target", weir_str(target));
    const weir_json_t *body = weir_json_get(upstream, "body");
    weir_json_t *json = NULL;
    if (weir_json_get(body, "sha256") != NULL) { /* a long one, recorded by that */
        if (weir_json_get_number(body, "length", 0) != (double)request->sent_body.len)
            corpus_differs(corpus, "length of the body", weir_str(""));
    } else if (weir_json_kind(body) == WEIR_JSON_STRING || request->body.data != NULL) {
        bool same = weir_str_equal(corpus_text(upstream, "body"), request->sent_body);
        if (weir_json_kind(body) == WEIR_JSON_OBJECT)
            same = weir_json_parse(request->sent_body, &json, NULL) == WEIR_OK &&
                   weir_json_equal(json, body);
        if (!same)
            corpus_differs(corpus, "body", request->sent_body);
        weir_json_free(json);
    }
}

/* The body that was sent, and, if that was so, its length. */
static inline void corpus_body(weir_request_t *request, const weir_json_t *asked)
{
    const weir_json_t *body = weir_json_get(asked, "body");
    weir_str_t text = weir_json_string(body), ignored;
    char length[24];
    char *repeated = NULL;
    if (weir_json_kind(body) == WEIR_JSON_OBJECT && weir_json_get(body, "repeat") != NULL) {
        size_t times = (size_t)weir_json_get_number(body, "times", 0);
        repeated = malloc(times + 1);
        assert_non_null(repeated);
        memset(repeated, *corpus_text(body, "repeat").data, times);
        text = (weir_str_t){ repeated, times };
    }
    fixture_body(request, text);
    free(repeated);
    snprintf(length, sizeof(length), "%zu", text.len);
    if (text.data != NULL &&
        !weir_request_header(request, WEIR_STR("Transfer-Encoding"), 0, &ignored) &&
        !weir_request_header(request, WEIR_STR("Content-Length"), 0, &ignored))
        fixture_header(request, WEIR_STR("Content-Length"), weir_str(length));
}

static inline void corpus_step(corpus_t *corpus, const weir_json_t *step)
{
    const weir_json_t *asked = weir_json_get(step, "request");
    const weir_json_t *reply = weir_json_get(step, "reply");
    char method[16], target[1024];
    snprintf(method, sizeof(method), "%.*s", WEIR_STR_ARG(corpus_text(asked, "method")));
    snprintf(target, sizeof(target), "%.*s", WEIR_STR_ARG(corpus_text(asked, "target")));
    corpus_match(corpus, weir_str(target));
    if (corpus->route == NULL || strcmp(method, "TRACE") == 0)
        return; /* the proxy's own answers */
    weir_request_t request;
    fixture_init(&request, method, target);
    request.world = corpus->config;
    corpus->waited_ms += (int64_t)weir_json_get_number(step, "wait_ms", 0);
    request.now_s += corpus->waited_ms / 1000;
    request.route_id = corpus_text(corpus->route, "id");
    request.service_id = weir_json_get_string(corpus->route, "service", FIXTURE_ABSENT);
    request.client_address = weir_json_get_string(asked, "from", request.client_address);
    const weir_json_t *header = weir_json_first(weir_json_get(asked, "headers"));
    for (; header != NULL; header = weir_json_next(header)) {
        const weir_json_t *name = weir_json_first(header);
        fixture_header(&request, weir_json_string(name), weir_json_string(weir_json_next(name)));
    }
    corpus_body(&request, asked);
    corpus_access(corpus, &request);
    const weir_json_t *upstream = weir_json_get(reply, "upstream");
    corpus->played++;
    corpus_header_filter(corpus, &request, reply);
    bool ended = request.answered || request.service_id.data != NULL;
    if (!ended || weir_json_get_number(reply, "status", 0) == 502) { /* the proxy's own */
        fixture_release(&request);
        return;
    }
    if (weir_json_is_null(upstream) != request.answered)
        corpus_differs(corpus, request.answered ? "answered" : "proxied", request.answer);
    else if (request.answered)
        corpus_check_answer(corpus, &request, reply);
    else
        corpus_check_upstream(corpus, &request, upstream);
    fixture_release(&request);
}

static inline bool corpus_is_ours(const weir_json_t *config)
{
    const weir_json_t *plugin = weir_json_first(weir_json_get(config, "plugins"));
    for (; plugin != NULL; plugin = weir_json_next(plugin)) {
        weir_str_t policy = corpus_text(weir_json_get(plugin, "config"), "policy");
        if (weir_plugin(corpus_text(plugin, "name")) == NULL || weir_str_is(policy, "redis"))
            return false;
    }
    return true;
}

/* Plays a file; the number of steps that differ. */
static inline unsigned corpus_play(const char *name, unsigned *ret_played)
{
    const char *folder = getenv("WEIR_CORPUS");
    char path[1024];
    snprintf(path, sizeof(path), "%s/plugins/%s.jsonl", folder != NULL ? folder : ".", name);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        skip();
    char *line = malloc(FIXTURE_LINE_BYTES_MAX);
    assert_non_null(line);
    corpus_t corpus = { 0 };
    while (fgets(line, FIXTURE_LINE_BYTES_MAX, file) != NULL) {
        weir_json_t *exchange = NULL;
        assert_int_equal(weir_json_parse(weir_str(line), &exchange, NULL), WEIR_OK);
        corpus.config = weir_json_get(exchange, "config");
        corpus.id = corpus_text(exchange, "id").data;
        corpus.waited_ms = 0;
        fixture_forget();
        const weir_json_t *step = weir_json_first(weir_json_get(exchange, "steps"));
        for (; step != NULL && corpus_is_ours(corpus.config); step = weir_json_next(step))
            corpus_step(&corpus, step);
        weir_json_free(exchange);
    }
    free(line);
    fclose(file);
    *ret_played = corpus.played;
    return corpus.different;
}

/* All but `different` steps come out as recorded, and more than `least` were played. */
static inline void corpus_assert(const char *name, unsigned different, unsigned least)
{
    unsigned played = 0;
    assert_int_equal(corpus_play(name, &played), different);
    print_message("%u steps\n", played);
    assert_true(played > least);
}

#endif
