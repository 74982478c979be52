/* corpus_test.c -- recorded requests of the incumbent (WEIR_CORPUS/routing) give
 * the same route, and the same path upstream. Skipped without the corpus. */
#include "image/fixture.h"

#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

typedef struct corpus {
    fixture_t image;
    const weir_json_t *scenario;
    size_t routes, targets, skipped, failed;
} corpus_t;

/* -- configurations ------------------------------------------------------------------ */

/* Every occurrence of `what`; lines are small enough to be copied. */
static char *replace(char *text, const char *what, const char *with)
{
    weir_buffer_t out;
    weir_buffer_init(&out, SIZE_MAX / 2);
    char *at = text;
    for (char *hit; (hit = strstr(at, what)) != NULL; at = hit + strlen(what)) {
        weir_buffer_append(&out, (weir_str_t){ at, (size_t)(hit - at) });
        weir_buffer_append(&out, weir_str(with));
    }
    weir_buffer_append(&out, weir_str(at));
    weir_buffer_byte(&out, '\0');
    weir_free(text);
    return out.data;
}

static char *fill_in(char *line)
{
    static const char *const values[][2] = {
        { "\"${upstream_port}\"", "22080" }, { "\"${upstream_tls_port}\"", "22079" },
        { "\"${dead_port}\"", "22078" },     { "${upstream_host}", "127.0.0.1" },
        { "${upstream_port}", "22080" },     { "${upstream_tls_port}", "22079" },
        { "${upstream_port_2}", "22081" },   { "${dead_port}", "22078" },
        { "${proxy_port}", "8000" },         { "${proxy_tls_port}", "8443" },
    };
    for (size_t i = 0; i < WEIR_COUNT(values); i++)
        line = replace(line, values[i][0], values[i][1]);
    return line;
}

/* A declarative entity names others by their ids alone. */
static weir_json_t *as_row(const weir_json_t *entity)
{
    static const char *const foreign[] = { "service", "route", "consumer" };
    weir_json_t *row = weir_json_copy(entity);
    for (size_t i = 0; i < WEIR_COUNT(foreign); i++) {
        weir_str_t id = weir_json_get_string(row, foreign[i], (weir_str_t){ NULL, 0 });
        if (id.data == NULL)
            continue;
        weir_json_t *reference = weir_json_new_object();
        assert_int_equal(weir_json_set(reference, "id", weir_json_new_string(id)), WEIR_OK);
        assert_int_equal(weir_json_set(row, foreign[i], reference), WEIR_OK);
    }
    return row;
}

static void put_configuration(corpus_t *c)
{
    static const char *const types[] = { "services", "routes", "plugins" };
    const weir_json_t *config = weir_json_get(c->scenario, "config");
    fixture_begin(&c->image, true);
    for (size_t i = 0; i < WEIR_COUNT(types); i++)
        for (const weir_json_t *e = weir_json_first(weir_json_get(config, types[i])); e != NULL;
             e = weir_json_next(e)) {
            WEIR_AUTO(json) weir_json_t *row = as_row(e);
            fixture_put_json(&c->image, types[i], row);
        }
    fixture_commit(&c->image);
}

/* -- requests ------------------------------------------------------------------------ */

static const char *const absent = "(absent)";

/* Characters of the corpus are bytes. */
static weir_str_t as_bytes(weir_str_t text, char *out)
{
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c >= 0xC2 && c <= 0xC3 && i + 1 < text.len) /* U+0080 to U+00FF */
            c = (unsigned char)((c << 6) | (text.data[++i] & 0x3F));
        out[len++] = (char)c;
    }
    return (weir_str_t){ out, len };
}

static weir_str_t trim(weir_str_t text)
{
    while (text.len > 0 && text.data[0] == ' ')
        text = (weir_str_t){ text.data + 1, text.len - 1 };
    while (text.len > 0 && text.data[text.len - 1] == ' ')
        text.len--;
    return text;
}

static bool read_request(const weir_json_t *json, fixture_request_t *ret, weir_str_t *ret_target)
{
    weir_str_t nothing = { NULL, 0 };
    static char bytes[1 << 20];
    char *room = bytes;
    *ret_target = as_bytes(weir_json_get_string(json, "target", WEIR_STR("")), room);
    room += ret_target->len;
    if (ret_target->len == 0 || ret_target->data[0] != '/')
        return false;
    fixture_request(ret, "", NULL, "");
    ret->match.method = weir_json_get_string(json, "method", WEIR_STR("GET"));
    const weir_json_t *tls = weir_json_get(json, "tls");
    if (!weir_json_is_null(tls)) {
        ret->match.https = true;
        ret->match.listener_port = 8443;
        ret->match.sni = weir_json_get_string(tls, "sni", nothing);
    }
    if (weir_json_count(weir_json_get(json, "headers")) > 90)
        return false;
    for (const weir_json_t *h = weir_json_first(weir_json_get(json, "headers")); h != NULL;
         h = weir_json_next(h)) {
        weir_str_t name = weir_json_string(weir_json_first(h));
        weir_str_t value = as_bytes(weir_json_string(weir_json_next(weir_json_first(h))), room);
        room += value.len;
        if (fixture_same_name(name, WEIR_STR("host"), '-')) {
            if (!ret->match.has_host)
                ret->match.host = trim(value);
            ret->match.has_host = true;
        } else {
            fixture_add_header(ret, name, value);
        }
    }
    return true;
}

/* -- replies ------------------------------------------------------------------------- */

/* The id of the route whose plugin answered, `absent` for "no route", or NULL when
 * the reply does not tell. */
static const char *expected_route(const corpus_t *c, const weir_json_t *reply)
{
    const weir_json_t *body = weir_json_get(reply, "body");
    if (weir_json_get_number(reply, "status", 0) == 404 &&
        weir_str_starts(weir_json_get_string(body, "message", WEIR_STR("")),
                        WEIR_STR("no Route matched")))
        return absent;
    if (weir_json_kind(body) != WEIR_JSON_STRING)
        return NULL;
    const weir_json_t *config = weir_json_get(c->scenario, "config");
    for (const weir_json_t *p = weir_json_first(weir_json_get(config, "plugins")); p != NULL;
         p = weir_json_next(p)) {
        weir_str_t text =
            weir_json_get_string(weir_json_get(p, "config"), "body", (weir_str_t){ NULL, 0 });
        if (text.data != NULL && weir_str_equal(text, weir_json_string(body)))
            return weir_json_get_string(p, "route", WEIR_STR("")).data;
    }
    return NULL;
}

static void complain(corpus_t *c, const weir_json_t *request, const char *want, const char *got)
{
    weir_buffer_t text;
    weir_buffer_init(&text, 1 << 20);
    weir_json_print(request, &text);
    if (c->failed++ < 40)
        print_message("%.*s: %.*s: expected %s, got %s\n",
                      WEIR_STR_ARG(weir_json_get_string(c->scenario, "id", WEIR_STR(""))),
                      WEIR_STR_ARG(weir_buffer_str(&text)), want, got);
    weir_buffer_release(&text);
}

static size_t path_length(weir_str_t target)
{
    const char *mark = target.len > 1 ? memchr(target.data + 1, '?', target.len - 1) : NULL;
    return mark != NULL ? (size_t)(mark - target.data) : target.len;
}

static void check_upstream(corpus_t *c, const weir_json_t *step, const weir_match_t *match,
                           weir_str_t path)
{
    const weir_json_t *reply = weir_json_get(step, "reply");
    weir_str_t want =
        weir_json_get_string(weir_json_get(reply, "upstream"), "target", (weir_str_t){ NULL, 0 });
    if (want.data == NULL || weir_str_starts(want, WEIR_STR("re:")))
        return;
    weir_service_t service;
    char out[65536];
    fixture_t *f = &c->image;
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    if (weir_reader_service(f->reader, &match->route.service, &service, &f->err) == WEIR_OK) {
        size_t len = weir_path_upstream(service.path, path, match->path_matched,
                                        match->route.strip_path, out, sizeof(out) - 1);
        out[len] = '\0';
        want.len = path_length(want);
        c->targets++;
        if (!weir_str_equal(want, (weir_str_t){ out, len }))
            complain(c, weir_json_get(step, "request"), want.data, out);
    }
    weir_reader_leave(f->reader);
}

static void check_step(corpus_t *c, const weir_json_t *step)
{
    static fixture_request_t request;
    weir_str_t target;
    char path[65536];
    const weir_json_t *json = weir_json_get(step, "request");
    const char *want = expected_route(c, weir_json_get(step, "reply"));
    if (!read_request(json, &request, &target) || target.len > sizeof(path)) {
        c->skipped++;
        return;
    }
    size_t cut = path_length(target);
    request.match.path.data = path;
    request.match.path.len = weir_path_normalize((weir_str_t){ target.data, cut }, path);
    weir_match_t match;
    int rc = fixture_match(&c->image, &request, &match);
    char got[WEIR_UUID_TEXT + 1] = "(absent)";
    if (rc == WEIR_OK)
        weir_uuid_format(&match.route.id, got);
    if (want != NULL) {
        c->routes++;
        if (strcmp(want, got) != 0)
            complain(c, json, want, got);
    } else if (rc == WEIR_OK) {
        check_upstream(c, step, &match, request.match.path);
    } else {
        c->skipped++;
    }
}

static void check_file(corpus_t *c, const char *name)
{
    FILE *file = fopen(name, "r");
    assert_non_null(file);
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, file) > 0) {
        char *text = fill_in(weir_strdup(weir_str(line)));
        weir_json_t *scenario = NULL; /* stays so if it holds "\\u0000" */
        int rc = weir_json_parse(weir_str(text), &scenario, NULL);
        c->scenario = scenario;
        if (rc == WEIR_OK && weir_json_is_null(weir_json_get(scenario, "flavour"))) {
            put_configuration(c);
            for (const weir_json_t *s = weir_json_first(weir_json_get(scenario, "steps"));
                 s != NULL; s = weir_json_next(s))
                check_step(c, s);
        }
        weir_json_free(scenario);
        weir_free(text);
    }
    free(line);
    fclose(file);
}

static void recorded_requests_get_the_recorded_route(void **state)
{
    (void)state;
    const char *corpus = getenv("WEIR_CORPUS");
    char pattern[4096];
    snprintf(pattern, sizeof(pattern), "%s/routing/*.jsonl", corpus != NULL ? corpus : "");
    glob_t files;
    if (corpus == NULL || glob(pattern, 0, NULL, &files) != 0)
        skip();
    static corpus_t c;
    fixture_open(&c.image);
    for (size_t i = 0; i < files.gl_pathc; i++)
        check_file(&c, files.gl_pathv[i]);
    globfree(&files);
    fixture_close(&c.image);
    print_message("%zu routes, %zu paths upstream compared, %zu steps skipped\n", c.routes,
                  c.targets, c.skipped);
    assert_true(c.routes > 2000);
    assert_int_equal(c.failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_requests_get_the_recorded_route),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
