/* corpus_test.c -- recorded exchanges against weir_model_write.
 *
 * A gateway in miniature: a list of entities instead of a store, paths of one
 * to four segments. It compares what the model decides (codes 2, 10, 11 and 13,
 * and the entities of successful writes) and steps over what the store or the
 * Admin API decides. Skipped when the recordings are not there. */
#include "model/fixture.h"

#include <ctype.h>
#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { ENTITIES_MAX = 512, VARIABLES_MAX = 64, SEGMENTS_MAX = 4, LINE_BYTES_MAX = 1 << 22 };

typedef struct stored {
    const weir_schema_t *schema;
    weir_json_t *entity;
} stored_t;

typedef struct world {
    stored_t stored[ENTITIES_MAX];
    size_t stored_count;
    struct {
        char name[64];
        char value[256];
    } variables[VARIABLES_MAX];
    size_t variable_count;
    const char *scenario;
    unsigned compared, failed;
} world_t;

/* A path taken apart. */
typedef struct place {
    const weir_schema_t *schema;
    const weir_schema_t *parent_schema; /* NULL: top level */
    char parent[256];
    char key[256]; /* empty: the collection */
} place_t;

/* -- the store ------------------------------------------------------------ */

static void world_clear(world_t *world)
{
    for (size_t i = 0; i < world->stored_count; i++)
        weir_json_free(world->stored[i].entity);
    world->stored_count = 0;
    world->variable_count = 0;
}

static stored_t *find(world_t *world, const weir_schema_t *schema, const char *field,
                      weir_str_t value)
{
    for (size_t i = 0; i < world->stored_count; i++) {
        stored_t *stored = &world->stored[i];
        weir_str_t text = weir_json_get_string(stored->entity, field, (weir_str_t){ NULL, 0 });
        if (stored->schema == schema && text.data != NULL && weir_str_equal(text, value))
            return stored;
    }
    return NULL;
}

static stored_t *find_by_key(world_t *world, const weir_schema_t *schema, const char *key)
{
    weir_uuid_t id;
    char text[WEIR_UUID_TEXT + 1];
    if (weir_uuid_parse(weir_str(key), &id) == WEIR_OK) {
        weir_uuid_format(&id, text);
        return find(world, schema, "id", weir_str(text));
    }
    return schema->endpoint_key != NULL ? find(world, schema, schema->endpoint_key, weir_str(key))
                                        : NULL;
}

static void put(world_t *world, const weir_schema_t *schema, weir_json_t *entity)
{
    weir_str_t id = weir_json_get_string(entity, "id", WEIR_STR(""));
    stored_t *present = find(world, schema, "id", id);
    if (present != NULL) {
        weir_json_free(present->entity);
        present->entity = entity;
        return;
    }
    assert_true(world->stored_count < ENTITIES_MAX);
    world->stored[world->stored_count++] = (stored_t){ schema, entity };
}

static void drop(world_t *world, stored_t *stored)
{
    weir_json_free(stored->entity);
    *stored = world->stored[--world->stored_count];
}

static int resolve(void *context, const weir_schema_t *schema, const char *unique_field,
                   weir_str_t value, weir_uuid_t *ret, weir_error_t *err)
{
    (void)err;
    stored_t *stored = find(context, schema, unique_field, value);
    if (stored == NULL)
        return WEIR_NOT_FOUND;
    return weir_uuid_parse(weir_json_get_string(stored->entity, "id", WEIR_STR("")), ret);
}

/* -- recorded text to what it means --------------------------------------- */

static const char *variable(world_t *world, weir_str_t name)
{
    for (size_t i = 0; i < world->variable_count; i++)
        if (weir_str_is(name, world->variables[i].name))
            return world->variables[i].value;
    return NULL;
}

static void save_variables(world_t *world, const weir_json_t *step, const weir_json_t *entity)
{
    for (const weir_json_t *save = weir_json_first(weir_json_get(step, "save")); save != NULL;
         save = weir_json_next(save)) {
        char path[64];
        snprintf(path, sizeof(path), "%.*s", WEIR_STR_ARG(weir_json_string(save)));
        const weir_json_t *value = entity;
        for (char *at = path; at != NULL && value != NULL;) {
            char *dot = strchr(at, '.');
            if (dot != NULL)
                *dot++ = '\0';
            value = weir_json_get(value, at);
            at = dot;
        }
        if (weir_json_kind(value) != WEIR_JSON_STRING || world->variable_count >= VARIABLES_MAX)
            continue;
        size_t i = world->variable_count++;
        snprintf(world->variables[i].name, sizeof(world->variables[i].name), "%s",
                 weir_json_name(save));
        snprintf(world->variables[i].value, sizeof(world->variables[i].value), "%.*s",
                 WEIR_STR_ARG(weir_json_string(value)));
    }
}

/* Puts the values of ${variables} into `text`. False if one is not known. */
static bool expand(world_t *world, weir_str_t text, weir_buffer_t *out)
{
    bool fine = true;
    for (size_t i = 0; i < text.len; i++) {
        const char *end = memchr(text.data + i, '}', text.len - i);
        if (text.data[i] != '$' || i + 1 == text.len || text.data[i + 1] != '{' || end == NULL) {
            weir_buffer_byte(out, text.data[i]);
            continue;
        }
        weir_str_t name = { text.data + i + 2, (size_t)(end - text.data) - i - 2 };
        const char *value = variable(world, name);
        fine = fine && value != NULL;
        weir_buffer_append(out, weir_str(value != NULL ? value : "?"));
        i = (size_t)(end - text.data);
    }
    return fine;
}

/* The value with its variables expanded; NULL if one is not known. */
static weir_json_t *expanded(world_t *world, const weir_json_t *value)
{
    weir_buffer_t text, full;
    weir_json_t *ret = NULL;
    weir_buffer_init(&text, LINE_BYTES_MAX);
    weir_buffer_init(&full, LINE_BYTES_MAX);
    if (value == NULL)
        weir_buffer_append(&text, WEIR_STR("{}"));
    else
        weir_json_print(value, &text);
    if (expand(world, weir_buffer_str(&text), &full))
        weir_json_parse(weir_buffer_str(&full), &ret, NULL);
    weir_buffer_release(&text);
    weir_buffer_release(&full);
    return ret;
}

static bool is_wild(weir_str_t expected, const weir_json_t *actual)
{
    weir_uuid_t id;
    if (weir_str_is(expected, "<ignored>") || weir_str_starts(expected, WEIR_STR("${")))
        return true;
    if (weir_str_is(expected, "<uuid>"))
        return weir_uuid_parse(weir_json_string(actual), &id) == WEIR_OK;
    if (weir_str_is(expected, "<random>"))
        return weir_json_string(actual).len == 32;
    if (weir_str_is(expected, "<now>") || weir_str_is(expected, "<now.ms>"))
        return weir_json_kind(actual) == WEIR_JSON_NUMBER &&
               fabs(weir_json_number(actual) - FIXTURE_NOW) < 86400;
    return false;
}

static bool text_fits(weir_str_t expected, weir_str_t actual)
{
    char whole[8192];
    snprintf(whole, sizeof(whole), "%.*s", WEIR_STR_ARG(expected));
    const char *mark = strstr(whole, "<library text>");
    if (mark == NULL)
        return weir_str_equal(expected, actual);
    weir_str_t start = { whole, (size_t)(mark - whole) };
    return weir_str_starts(actual, start);
}

static bool fits(const weir_json_t *expected, const weir_json_t *actual)
{
    weir_str_t text = weir_json_string(expected);
    if (text.data != NULL && is_wild(text, actual))
        return true;
    if (weir_json_kind(expected) != weir_json_kind(actual))
        return false;
    if (text.data != NULL)
        return text_fits(text, weir_json_string(actual));
    if (weir_json_kind(expected) == WEIR_JSON_ARRAY) {
        const weir_json_t *a = weir_json_first(expected);
        const weir_json_t *b = weir_json_first(actual);
        for (; a != NULL && b != NULL; a = weir_json_next(a), b = weir_json_next(b))
            if (!fits(a, b))
                return false;
        return a == NULL && b == NULL;
    }
    if (weir_json_kind(expected) != WEIR_JSON_OBJECT)
        return weir_json_equal(expected, actual);
    for (const weir_json_t *a = weir_json_first(expected); a != NULL; a = weir_json_next(a))
        if (weir_json_get(actual, weir_json_name(a)) == NULL ||
            !fits(a, weir_json_get(actual, weir_json_name(a))))
            return false;
    return weir_json_count(expected) == weir_json_count(actual);
}

/* -- paths ---------------------------------------------------------------- */

static const weir_schema_t *schema_at(const char *segment, bool nested)
{
    size_t count = 0;
    const weir_entity_type_t *order = weir_schema_order(&count);
    for (size_t i = 0; i < count; i++) {
        const weir_schema_t *schema = weir_schema(order[i]);
        const char *name =
            nested && schema->nested_name != NULL ? schema->nested_name : schema->admin_name;
        if (nested && name == NULL)
            name = schema->name; /* targets have no collection of their own */
        if (name != NULL && strcmp(name, segment) == 0)
            return schema;
    }
    return NULL;
}

static void decode(char *text)
{
    char *out = text;
    for (const char *at = text; *at != '\0'; at++) {
        if (at[0] == '%' && isxdigit((unsigned char)at[1]) && isxdigit((unsigned char)at[2])) {
            char digits[3] = { at[1], at[2], '\0' };
            *out++ = (char)strtoul(digits, NULL, 16);
            at += 2;
        } else {
            *out++ = *at == '+' ? ' ' : *at;
        }
    }
    *out = '\0';
}

static bool parse_path(const char *path, place_t *ret)
{
    char segments[SEGMENTS_MAX][256];
    size_t count = 0;
    if (strchr(path, '?') != NULL)
        return false;
    for (const char *at = path; *at == '/' && at[1] != '\0';) {
        size_t len = strcspn(at + 1, "/");
        if (count == SEGMENTS_MAX || len >= sizeof(segments[0]))
            return false;
        snprintf(segments[count], sizeof(segments[0]), "%.*s", (int)len, at + 1);
        decode(segments[count++]);
        at += len + 1;
    }
    *ret = (place_t){ 0 };
    ret->schema = count == 1 || count == 2 ? schema_at(segments[0], false) : NULL;
    if (count == 2)
        snprintf(ret->key, sizeof(ret->key), "%s", segments[1]);
    if (count >= 3) {
        ret->parent_schema = schema_at(segments[0], false);
        ret->schema = schema_at(segments[2], true);
        snprintf(ret->parent, sizeof(ret->parent), "%s", segments[1]);
        if (count == 4)
            snprintf(ret->key, sizeof(ret->key), "%s", segments[3]);
        if (ret->parent_schema == NULL)
            return false;
    }
    return ret->schema != NULL;
}

/* -- one step ------------------------------------------------------------- */

static bool is_ours(const weir_json_t *reply, const weir_schema_t *schema)
{
    int status = (int)weir_json_get_number(reply, "status", 0);
    const weir_json_t *json = weir_json_get(reply, "json");
    int code = (int)weir_json_get_number(json, "code", 0);
    char message[1024];
    snprintf(message, sizeof(message), "%.*s",
             WEIR_STR_ARG(weir_json_get_string(json, "message", WEIR_STR(""))));
    if (status == 200 || status == 201)
        return true;
    if (strstr(message, "must match the") != NULL || /* asks routes: the Admin API's */
        strstr(message, "already associated") != NULL || strstr(message, "is duplicated") != NULL)
        return false;
    if (schema->type == WEIR_CERTIFICATES && code == 10)
        return false; /* names of the snis member are looked up by the Admin API */
    return status == 400 && (code == 2 || code == 11 || code == 13);
}

/* A plugin that this build lacks, which the recorded gateway had. */
static bool of_other_build(const weir_schema_t *schema, const weir_json_t *body,
                           const weir_json_t *reply)
{
    weir_str_t name = weir_json_get_string(body, "name", (weir_str_t){ NULL, 0 });
    if (schema->type != WEIR_PLUGINS || name.data == NULL || weir_plugin_schema(name) != NULL)
        return false;
    weir_str_t message =
        weir_json_get_string(weir_json_get(reply, "json"), "message", WEIR_STR(""));
    char text[512];
    snprintf(text, sizeof(text), "%.*s", WEIR_STR_ARG(message));
    return strstr(text, "not enabled") == NULL;
}

static void complain(world_t *world, const weir_json_t *request, const weir_json_t *expected,
                     int rc, const weir_json_t *entity, const weir_problem_t *problem)
{
    weir_buffer_t text;
    weir_buffer_init(&text, LINE_BYTES_MAX);
    weir_buffer_printf(&text, "%s\n  request  ", world->scenario);
    weir_json_print(request, &text);
    weir_buffer_append(&text, WEIR_STR("\n  expected "));
    weir_json_print(expected, &text);
    weir_buffer_printf(&text, "\n  actual   %s ", weir_code_name(rc));
    if (rc == WEIR_OK) {
        weir_json_print(entity, &text);
    } else {
        weir_buffer_printf(&text, "%d %s ", problem->code, problem->name);
        weir_buffer_append(&text, weir_buffer_str(&problem->message));
        weir_buffer_byte(&text, ' ');
        weir_json_print(problem->fields, &text);
    }
    fprintf(stderr, "%.*s\n", WEIR_STR_ARG(weir_buffer_str(&text)));
    weir_buffer_release(&text);
    world->failed++;
}

static bool entity_fits(const place_t *place, const weir_json_t *step, const weir_json_t *expected,
                        const weir_json_t *entity)
{
    weir_json_t *want = weir_json_copy(expected);
    weir_json_t *have = weir_json_copy(entity);
    if (place->schema->type == WEIR_CERTIFICATES) /* rows of their own */
        weir_json_remove(want, "snis");
    if (place->schema->ttl) { /* seconds left there, a time here */
        weir_json_remove(want, "ttl");
        weir_json_remove(have, "ttl");
    }
    for (const weir_json_t *path = weir_json_first(weir_json_get(step, "ignore")); path != NULL;
         path = weir_json_next(path)) {
        char name[128];
        snprintf(name, sizeof(name), "%.*s", WEIR_STR_ARG(weir_json_string(path)));
        if (weir_json_get(want, name) != NULL)
            weir_json_set(want, name, weir_json_new_string(WEIR_STR("<ignored>")));
    }
    bool fine = fits(want, have);
    weir_json_free(want);
    weir_json_free(have);
    return fine;
}

static bool problem_fits(const weir_json_t *expected, const weir_problem_t *problem)
{
    const weir_json_t *fields = weir_json_get(expected, "fields");
    return problem->code == (int)weir_json_get_number(expected, "code", 0) &&
           text_fits(weir_json_get_string(expected, "message", WEIR_STR("")),
                     weir_buffer_str(&problem->message)) &&
           weir_str_equal(weir_json_get_string(expected, "name", WEIR_STR("")),
                          weir_str(problem->name)) &&
           (fields == NULL ? problem->fields == NULL : fits(fields, problem->fields));
}

/* What the Admin API puts into a body before the model sees it. False: it would
 * answer by itself. */
static bool complete_body(world_t *world, const place_t *place, weir_write_t write,
                          const stored_t *current, weir_json_t *body)
{
    if (place->parent_schema != NULL) {
        stored_t *parent = find_by_key(world, place->parent_schema, place->parent);
        const weir_field_t *field = place->schema->fields;
        while (field->name != NULL &&
               (field->to == NULL || strcmp(field->to, place->parent_schema->name) != 0))
            field++;
        if (parent == NULL || field->name == NULL)
            return false;
        if (write != WEIR_UPDATE || weir_json_get(body, field->name) == NULL) {
            weir_json_t *reference = weir_json_new_object();
            weir_json_set(reference, "id", weir_json_copy(weir_json_get(parent->entity, "id")));
            weir_json_set(body, field->name, reference);
        }
    }
    weir_uuid_t id;
    weir_uuid_t given;
    const weir_json_t *sent = weir_json_get(body, "id");
    bool judged = sent != NULL && weir_uuid_parse(weir_json_string(sent), &given) != WEIR_OK;
    if (write == WEIR_UPSERT && weir_uuid_parse(weir_str(place->key), &id) == WEIR_OK && judged)
        return true; /* a bad id is left for the model to refuse */
    if (write == WEIR_UPSERT && weir_uuid_parse(weir_str(place->key), &id) == WEIR_OK)
        weir_json_set(body, "id", weir_json_new_string(weir_str(place->key)));
    else if (write == WEIR_UPSERT && place->schema->endpoint_key != NULL)
        weir_json_set(body, place->schema->endpoint_key,
                      weir_json_new_string(weir_str(place->key)));
    else if (write == WEIR_UPSERT)
        return false;
    (void)current;
    return true;
}

/* True: go on with the scenario; false: what follows depends on what is not here. */
static bool run_write(world_t *world, const place_t *place, weir_write_t write,
                      const weir_json_t *step)
{
    const weir_json_t *request = weir_json_get(step, "request");
    const weir_json_t *reply = weir_json_get(step, "reply");
    int status = (int)weir_json_get_number(reply, "status", 0);
    stored_t *current =
        place->key[0] != '\0' ? find_by_key(world, place->schema, place->key) : NULL;
    weir_json_t *body = expanded(world, weir_json_get(request, "json"));
    bool usable = body != NULL && is_ours(reply, place->schema) &&
                  (write != WEIR_UPDATE || current != NULL) &&
                  !of_other_build(place->schema, body, reply) &&
                  weir_json_get(request, "form") == NULL && weir_json_get(request, "raw") == NULL;
    if (weir_json_kind(body) == WEIR_JSON_ARRAY) { /* [] means no fields, too */
        weir_json_free(body);
        body = weir_json_new_object();
    }
    usable = usable && complete_body(world, place, write, current, body);
    if (!usable) {
        weir_json_free(body);
        return status >= 400;
    }
    weir_model_env_t env = fixture_env();
    env.resolve = resolve;
    env.context = world;
    weir_problem_t problem;
    weir_problem_init(&problem);
    weir_json_t *entity = NULL;
    int rc = weir_model_write(place->schema, write, body, current != NULL ? current->entity : NULL,
                              &env, &entity, &problem);
    const weir_json_t *expected = weir_json_get(reply, "json");
    world->compared++;
    bool fine = status >= 400 ? rc == WEIR_INVALID && problem_fits(expected, &problem)
                              : rc == WEIR_OK && entity_fits(place, step, expected, entity);
    if (!fine)
        complain(world, request, expected, rc, entity, &problem);
    weir_problem_release(&problem);
    weir_json_free(body);
    if (rc != WEIR_OK)
        return status >= 400;
    save_variables(world, step, entity);
    if (status < 400)
        put(world, place->schema, entity);
    else
        weir_json_free(entity);
    return true;
}

static void check_key(world_t *world, const place_t *place, const weir_json_t *step)
{
    const weir_json_t *expected = weir_json_get(weir_json_get(step, "reply"), "json");
    if ((int)weir_json_get_number(expected, "code", 0) != 10 || place->key[0] == '\0' ||
        place->parent_schema != NULL || place->schema->type == WEIR_CERTIFICATES)
        return;
    weir_problem_t problem;
    weir_problem_init(&problem);
    int rc = weir_model_check_key(place->schema, weir_str(place->key), &problem);
    world->compared++;
    if (rc != WEIR_INVALID || !problem_fits(expected, &problem))
        complain(world, weir_json_get(step, "request"), expected, rc, NULL, &problem);
    weir_problem_release(&problem);
}

static bool run_step(world_t *world, const weir_json_t *step)
{
    const weir_json_t *request = weir_json_get(step, "request");
    int status = (int)weir_json_get_number(weir_json_get(step, "reply"), "status", 0);
    weir_str_t method = weir_json_get_string(request, "method", WEIR_STR(""));
    weir_buffer_t path;
    weir_buffer_init(&path, 4096);
    expand(world, weir_json_get_string(request, "path", WEIR_STR("")), &path);
    weir_buffer_byte(&path, '\0');
    place_t place;
    bool known = path.failed == WEIR_OK && parse_path(path.data, &place);
    weir_buffer_release(&path);
    if (weir_str_is(method, "GET") || weir_str_is(method, "OPTIONS") ||
        weir_str_is(method, "HEAD")) {
        if (known)
            check_key(world, &place, step);
        return true;
    }
    if (!known)
        return status >= 400;
    check_key(world, &place, step);
    if (weir_str_is(method, "POST"))
        return run_write(world, &place, WEIR_INSERT, step);
    if (weir_str_is(method, "PATCH") ||
        (weir_str_is(method, "PUT") && place.schema->type == WEIR_TARGETS))
        return run_write(world, &place, WEIR_UPDATE, step);
    if (weir_str_is(method, "PUT"))
        return run_write(world, &place, WEIR_UPSERT, step);
    stored_t *stored = find_by_key(world, place.schema, place.key);
    if (weir_str_is(method, "DELETE") && status == 204 && stored != NULL)
        drop(world, stored);
    return true;
}

static void run_scenario(world_t *world, char *line)
{
    /* Our JSON has no NUL characters; another control character does as well. */
    for (char *at = line; (at = strstr(at, "\\u0000")) != NULL; at += 6)
        at[5] = '1';
    weir_json_t *scenario = fixture_json(line);
    assert_non_null(scenario);
    if (weir_str_is(weir_json_get_string(scenario, "mode", WEIR_STR("")), "postgres")) {
        world->scenario = weir_json_string(weir_json_get(scenario, "id")).data;
        for (const weir_json_t *step = weir_json_first(weir_json_get(scenario, "steps"));
             step != NULL && run_step(world, step); step = weir_json_next(step))
            continue;
    }
    world_clear(world);
    weir_json_free(scenario);
}

static void run_file(const char *name)
{
    const char *folder = getenv("WEIR_CORPUS");
    char path[1024];
    snprintf(path, sizeof(path), "%s/admin/%s.jsonl", folder != NULL ? folder : "../shared/corpus",
             name);
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        skip();
        return;
    }
    world_t *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, file) > 0)
        run_scenario(world, line);
    unsigned failed = world->failed;
    print_message("%s: %u compared, %u failed\n", name, world->compared, failed);
    free(line);
    free(world);
    fclose(file);
    assert_int_equal(failed, 0);
}

#define FILE_TEST(title, name)      \
    static void title(void **state) \
    {                               \
        (void)state;                \
        run_file(name);             \
    }

FILE_TEST(each_field_takes_and_refuses_what_the_recordings_say, "fields")
FILE_TEST(crud_bodies_become_the_recorded_entities, "crud")
FILE_TEST(upstreams_and_targets_follow_the_recordings, "upstreams")
FILE_TEST(certificates_follow_the_recordings, "certificates")
FILE_TEST(plugins_follow_the_recordings, "plugins")
FILE_TEST(plugin_configurations_follow_the_recordings, "plugin-configs")
FILE_TEST(credentials_follow_the_recordings, "credentials")
FILE_TEST(bodies_of_the_http_recordings_are_taken, "http")

/* -- rows that control planes sent ---------------------------------------- */

static void accept_row(world_t *world, const weir_json_t *delta)
{
    const weir_json_t *row = weir_json_get(delta, "entity");
    weir_str_t type = weir_json_get_string(delta, "type", WEIR_STR(""));
    const weir_schema_t *schema = weir_schema_named(type);
    if (weir_json_kind(row) != WEIR_JSON_OBJECT || schema == NULL ||
        of_other_build(schema, row, NULL))
        return;
    weir_problem_t problem;
    weir_problem_init(&problem);
    weir_json_t *entity = NULL;
    int rc = weir_model_accept(schema, row, FIXTURE_NOW, &entity, &problem);
    weir_json_t *want = weir_json_copy(row);
    weir_json_remove(want, "ws_id");
    if (schema->type == WEIR_CERTIFICATES)
        weir_json_remove(want, "snis");
    world->compared++;
    if (rc != WEIR_OK || !weir_json_equal(want, entity))
        complain(world, delta, want, rc, entity, &problem);
    weir_json_free(want);
    weir_json_free(rc == WEIR_OK ? entity : NULL);
    weir_problem_release(&problem);
}

static void accept_rows_in(world_t *world, const weir_json_t *value)
{
    for (const weir_json_t *child = weir_json_first(value); child != NULL;
         child = weir_json_next(child)) {
        if (weir_json_get(child, "entity") != NULL)
            accept_row(world, child);
        else
            accept_rows_in(world, child);
    }
}

static void rows_of_recorded_control_planes_are_accepted_as_they_are(void **state)
{
    (void)state;
    char pattern[1024];
    const char *folder = getenv("WEIR_CORPUS");
    snprintf(pattern, sizeof(pattern), "%s/wire/v2-*-{crud,full,cascade}-*.jsonl",
             folder != NULL ? folder : "../shared/corpus");
    glob_t files;
    if (glob(pattern, GLOB_BRACE, NULL, &files) != 0) {
        skip();
        return;
    }
    world_t *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    char *line = NULL;
    size_t capacity = 0;
    for (size_t i = 0; i < files.gl_pathc; i++) {
        world->scenario = files.gl_pathv[i];
        FILE *file = fopen(files.gl_pathv[i], "r");
        while (file != NULL && getline(&line, &capacity, file) > 0) {
            weir_json_t *frame = fixture_json(line);
            accept_rows_in(world, frame);
            weir_json_free(frame);
        }
        if (file != NULL)
            fclose(file);
    }
    unsigned failed = world->failed;
    print_message("wire: %u compared, %u failed\n", world->compared, failed);
    free(line);
    free(world);
    globfree(&files);
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_field_takes_and_refuses_what_the_recordings_say),
        cmocka_unit_test(crud_bodies_become_the_recorded_entities),
        cmocka_unit_test(upstreams_and_targets_follow_the_recordings),
        cmocka_unit_test(certificates_follow_the_recordings),
        cmocka_unit_test(plugins_follow_the_recordings),
        cmocka_unit_test(plugin_configurations_follow_the_recordings),
        cmocka_unit_test(credentials_follow_the_recordings),
        cmocka_unit_test(bodies_of_the_http_recordings_are_taken),
        cmocka_unit_test(rows_of_recorded_control_planes_are_accepted_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
