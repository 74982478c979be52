/* write.c -- one write, from what a client sent to what is stored.
 *
 * The order is the incumbent's (admin-api 7): shorthands, automatic values and
 * defaults, names of references, validation, entity checks, transformations. */
#include "model/checks.h"
#include "model/engine.h"
#include "model/secrets.h"

#include "base/json.h"

#include <math.h>
#include <stdio.h>

enum { RANDOM_KEY_LEN = 32, TTL_MAX_S = 100000000 };

typedef struct write {
    weir_engine_t engine;
    const weir_schema_t *schema;
    const weir_model_env_t *env;
    weir_write_t kind;
    weir_problem_t *problem;
    bool keep_digest; /* the certificate is not part of this write */
} write_t;

static int no_memory(weir_json_t *entity)
{
    weir_json_free(entity);
    return WEIR_NO_MEMORY;
}

static int set_text(weir_json_t *object, const char *name, weir_str_t text)
{
    return weir_json_set(object, name, weir_json_new_string(text));
}

/* -- automatic values ----------------------------------------------------- */

static weir_json_t *now_as(const weir_field_t *field, double now)
{
    return weir_json_new_number(field->type == WEIR_TYPE_INTEGER ? floor(now) : now);
}

static int auto_text(write_t *w, weir_json_t *body, const weir_field_t *field)
{
    char text[RANDOM_KEY_LEN];
    if (field->flags & WEIR_UUID) {
        weir_uuid_t uuid;
        char id[WEIR_UUID_TEXT + 1];
        if (weir_uuid_random(&uuid) != WEIR_OK)
            return WEIR_IO;
        weir_uuid_format(&uuid, id);
        return set_text(body, field->name, weir_str(id));
    }
    if (w->env->random_text == NULL)
        return WEIR_OK;
    int rc = w->env->random_text(w->env->context, text, sizeof(text));
    return rc == WEIR_OK ? set_text(body, field->name, (weir_str_t){ text, sizeof(text) }) : rc;
}

static int automatic(write_t *w, weir_json_t *body)
{
    int rc = WEIR_OK;
    for (const weir_field_t *field = w->schema->fields; rc == WEIR_OK && field->name != NULL;
         field++) {
        if (!(field->flags & WEIR_AUTO))
            continue;
        const weir_json_t *given = weir_json_get(body, field->name);
        if (strcmp(field->name, "updated_at") == 0)
            rc = weir_json_set(body, field->name, now_as(field, w->env->now));
        else if (w->kind == WEIR_UPDATE)
            continue;
        else if (field->flags & WEIR_TIMESTAMP)
            rc = weir_json_is_null(given)
                     ? weir_json_set(body, field->name, now_as(field, w->env->now))
                     : WEIR_OK;
        else if (given == NULL)
            rc = auto_text(w, body, field);
    }
    return rc;
}

/* -- references by name --------------------------------------------------- */

static int unresolved(write_t *w, weir_json_t **errors, const char *field, const char *unique,
                      weir_str_t value, const char *entity)
{
    weir_json_t *text = weir_engine_text(&w->engine,
                                         "the foreign key cannot be resolved with '{%s=\"%.*s\"}' "
                                         "for an existing '%s' entity",
                                         unique, WEIR_STR_ARG(value), entity);
    *errors = weir_engine_add(&w->engine, *errors, field,
                              weir_engine_add(&w->engine, NULL, unique, text));
    return w->engine.failed;
}

static int resolve_one(write_t *w, const weir_field_t *field, weir_json_t *value,
                       weir_json_t **errors)
{
    weir_uuid_t id;
    weir_str_t given = weir_json_get_string(value, "id", WEIR_STR(""));
    if (weir_uuid_parse(given, &id) == WEIR_OK)
        return WEIR_OK;
    const weir_schema_t *to = weir_schema_named(weir_str(field->to));
    for (const weir_field_t *key = to->fields; key->name != NULL; key++) {
        weir_str_t text = weir_json_get_string(value, key->name, (weir_str_t){ NULL, 0 });
        if (!(key->flags & WEIR_UNIQUE) || text.len == 0)
            continue;
        weir_error_t err = { 0 };
        int rc = w->env->resolve(w->env->context, to, key->name, text, &id, &err);
        if (rc == WEIR_NOT_FOUND)
            return unresolved(w, errors, field->name, key->name, text, to->name);
        if (rc != WEIR_OK)
            return rc;
        char id_text[WEIR_UUID_TEXT + 1];
        weir_uuid_format(&id, id_text);
        return set_text(value, "id", weir_str(id_text));
    }
    return WEIR_OK;
}

static int resolve(write_t *w, weir_json_t *entity)
{
    if (w->env->resolve == NULL)
        return WEIR_OK;
    weir_json_t *errors = NULL;
    for (const weir_field_t *field = w->schema->fields; field->name != NULL; field++) {
        weir_json_t *value = weir_json_get_mutable(entity, field->name);
        if (field->type != WEIR_TYPE_FOREIGN || weir_json_kind(value) != WEIR_JSON_OBJECT)
            continue;
        int rc = resolve_one(w, field, value, &errors);
        if (rc != WEIR_OK) {
            weir_json_free(errors);
            return rc;
        }
    }
    if (errors == NULL)
        return WEIR_OK;
    weir_buffer_t text;
    weir_buffer_init(&text, 64 * 1024);
    size_t count = 0;
    for (const weir_json_t *f = weir_json_first(errors); f != NULL;
         f = weir_json_next(f), count++) {
        const weir_json_t *inner = weir_json_first(f);
        weir_buffer_printf(&text, "%s%s.%s: ", count > 0 ? "; " : "", weir_json_name(f),
                           weir_json_name(inner));
        weir_buffer_append(&text, weir_json_string(inner));
    }
    weir_str_t all = weir_buffer_str(&text);
    int rc = count == 1
                 ? weir_problem_set(w->problem, 13, "foreign keys unresolved", errors,
                                    "foreign key unresolved (%.*s)", WEIR_STR_ARG(all))
                 : weir_problem_set(w->problem, 13, "foreign keys unresolved", errors,
                                    "%zu foreign keys unresolved (%.*s)", count, WEIR_STR_ARG(all));
    weir_buffer_release(&text);
    return rc;
}

/* -- ttl ------------------------------------------------------------------ */

/* Takes `ttl` out of the body; *ret is the absolute expiry (null: none), NULL if
 * the body has none (or null, which means the same). */
static int take_ttl(write_t *w, weir_json_t *body, weir_json_t **ret)
{
    *ret = NULL;
    if (!w->schema->ttl)
        return WEIR_OK;
    WEIR_AUTO(json) weir_json_t *ttl = weir_json_take(body, "ttl");
    if (weir_json_is_null(ttl))
        return WEIR_OK;
    double seconds = weir_json_number(ttl);
    if (!weir_json_is_integer(ttl) || seconds < 0 || seconds > TTL_MAX_S) {
        static const char why[] = "must be an integer between 0 and 100000000";
        weir_json_t *options =
            weir_engine_add(&w->engine, NULL, "ttl", weir_engine_text(&w->engine, "%s", why));
        return weir_problem_set(w->problem, 11, "invalid options", options,
                                "invalid option (ttl: %s)", why);
    }
    double start = floor(w->env->now);
    if (w->kind != WEIR_UPDATE) /* a new row counts from when it says that it was made */
        start = weir_json_get_number(body, "created_at", start);
    *ret = seconds > 0 ? weir_json_new_number(start + seconds) : weir_json_new_null();
    return *ret != NULL ? WEIR_OK : WEIR_NO_MEMORY;
}

/* -- transformations ------------------------------------------------------ */

static int transform(const write_t *w, weir_json_t *entity)
{
    if (w->schema->type == WEIR_CA_CERTIFICATES) {
        if (w->keep_digest && !weir_json_is_null(weir_json_get(entity, "cert_digest")))
            return WEIR_OK;
        char digest[65];
        weir_str_t cert = weir_json_get_string(entity, "cert", WEIR_STR(""));
        if (weir_certificate_digest(cert, digest, NULL) != WEIR_OK)
            return WEIR_OK; /* a vault reference */
        return set_text(entity, "cert_digest", weir_str(digest));
    }
    if (w->schema->type == WEIR_TARGETS) {
        char normal[1024];
        weir_str_t target = weir_json_get_string(entity, "target", WEIR_STR(""));
        if (weir_target_normalize(target, normal, sizeof(normal)) == WEIR_OK)
            return set_text(entity, "target", weir_str(normal));
    }
    if (w->schema->type == WEIR_UPSTREAMS)
        return weir_engine_upstream_algorithm(entity);
    return WEIR_OK;
}

static void drop_transient(const weir_schema_t *schema, weir_json_t *entity)
{
    for (const weir_field_t *field = schema->fields; field->name != NULL; field++)
        if (field->flags & WEIR_TRANSIENT)
            weir_json_remove(entity, field->name);
}

/* The id as it is stored: lower case. */
static int normalize_id(weir_json_t *entity)
{
    weir_uuid_t id;
    char text[WEIR_UUID_TEXT + 1];
    if (weir_uuid_parse(weir_json_get_string(entity, "id", WEIR_STR("")), &id) != WEIR_OK)
        return WEIR_OK;
    weir_uuid_format(&id, text);
    return set_text(entity, "id", weir_str(text));
}

/* -- the steps in order --------------------------------------------------- */

static int check_explicit_id(write_t *w, const weir_json_t *body)
{
    const weir_json_t *id = weir_json_get(body, "id");
    if (w->kind == WEIR_UPDATE || id == NULL || !weir_json_is_null(id) ||
        strcmp(w->schema->primary_key, "id") != 0)
        return WEIR_OK;
    weir_json_t *fields = weir_engine_add(&w->engine, NULL, "id", weir_json_new_null());
    return weir_problem_set(w->problem, 3, "primary key violation", fields,
                            "primary key violation on key '{id=\"userdata: NULL\"}'");
}

/* Members of a plugin's configuration that have other names now. */
static int older_names(write_t *w, weir_json_t *body, const weir_json_t *current)
{
    if (w->schema->type != WEIR_PLUGINS)
        return WEIR_OK;
    bool named = !weir_json_is_null(weir_json_get(body, "name")) || current == NULL;
    weir_json_t *errors = weir_engine_subschema(&w->engine, named ? body : current);
    if (errors == NULL) {
        errors = weir_engine_take_older(&w->engine, body);
        if (errors != NULL && w->engine.failed == WEIR_OK)
            return weir_problem_schema_violation(w->problem, errors);
    }
    weir_json_free(errors); /* that there is no such plugin is judged with the rest */
    return w->engine.failed;
}

/* What the client sent, with what it may leave out: not validated yet. Takes `body`. */
static int prepare(write_t *w, weir_json_t *body, const weir_json_t *current, weir_json_t **ret)
{
    weir_json_t *entity = body;
    if (w->kind == WEIR_UPDATE) {
        weir_json_remove(body, "id");
        entity = weir_json_copy(current);
        if (entity == NULL)
            return no_memory(body);
        weir_json_t *errors = weir_engine_subschema(&w->engine, entity);
        weir_json_free(errors); /* judged below, after the merge */
        weir_engine_drop_older(&w->engine, entity);
        int rc = weir_engine_merge(&w->engine, w->schema->fields, entity, body, true);
        weir_json_free(body);
        if (rc != WEIR_OK)
            return no_memory(entity);
    } else if (current != NULL) {
        /* A replacement keeps the identity; an id in the body is only judged. */
        const weir_json_t *id = weir_json_get(body, w->schema->primary_key);
        weir_uuid_t ignored;
        if (weir_json_is_null(id) || weir_uuid_parse(weir_json_string(id), &ignored) == WEIR_OK) {
            weir_json_t *key = weir_json_copy(weir_json_get(current, w->schema->primary_key));
            if (weir_json_set(entity, w->schema->primary_key, key) != WEIR_OK)
                return no_memory(entity);
        }
    }
    int rc = automatic(w, entity);
    if (rc != WEIR_OK) {
        weir_json_free(entity);
        return rc;
    }
    *ret = entity;
    return WEIR_OK;
}

/* Completes and validates; takes `entity`. */
static int settle(write_t *w, weir_json_t *entity, weir_json_t **ret)
{
    weir_json_t *errors = NULL;
    if (w->kind != WEIR_UPDATE) {
        /* The default of a route's protocols chooses its subschema. */
        const weir_field_t *protocols = w->schema->type == WEIR_ROUTES
                                            ? weir_schema_field(w->schema, WEIR_STR("protocols"))
                                            : NULL;
        weir_json_t *initial = NULL;
        if (protocols != NULL && weir_json_get(entity, "protocols") == NULL &&
            (weir_json_parse(weir_str(protocols->initial), &initial, NULL) != WEIR_OK ||
             weir_json_set(entity, "protocols", initial) != WEIR_OK))
            return no_memory(entity);
    }
    errors = weir_engine_subschema(&w->engine, entity);
    if (errors == NULL && w->engine.failed == WEIR_OK) {
        entity = weir_engine_complete(&w->engine, w->schema->fields, entity, true);
        if (entity == NULL || w->engine.failed != WEIR_OK)
            return no_memory(entity);
        int rc = resolve(w, entity);
        if (rc != WEIR_OK) {
            weir_json_free(entity);
            return rc;
        }
        errors = weir_engine_validate(&w->engine, entity);
    }
    if (w->engine.failed != WEIR_OK) {
        weir_json_free(errors);
        return no_memory(entity);
    }
    if (errors != NULL) {
        weir_json_free(entity);
        return weir_problem_schema_violation(w->problem, errors);
    }
    int rc = transform(w, entity);
    if (rc == WEIR_OK && w->schema->type == WEIR_PLUGINS)
        rc = weir_engine_show_older(&w->engine, entity);
    if (rc == WEIR_OK && strcmp(w->schema->primary_key, "id") == 0)
        rc = normalize_id(entity);
    if (rc != WEIR_OK) {
        weir_json_free(entity);
        return rc;
    }
    drop_transient(w->schema, entity);
    *ret = entity;
    return WEIR_OK;
}

/* Secrets that are stored as hashes become those; takes `entity`, which is valid. */
static int seal(write_t *w, const weir_json_t *sent, const weir_json_t *current,
                weir_json_t *entity)
{
    if (w->kind != WEIR_UPDATE)
        current = NULL; /* all of it is new */
    const char *rule = weir_secrets_rule(w->schema, sent, current, entity);
    int rc = rule == NULL ? weir_secrets_hash(w->schema, sent, current, w->env, entity) : WEIR_OK;
    if (rule == NULL && rc == WEIR_OK)
        return WEIR_OK;
    weir_json_free(entity);
    if (rc != WEIR_OK)
        return rc;
    weir_json_t *errors = weir_engine_add_entity(&w->engine, NULL, rule);
    if (w->engine.failed == WEIR_OK)
        return weir_problem_schema_violation(w->problem, errors);
    weir_json_free(errors);
    return WEIR_NO_MEMORY;
}

int weir_model_write(const weir_schema_t *schema, weir_write_t kind, const weir_json_t *body,
                     const weir_json_t *current, const weir_model_env_t *env, weir_json_t **ret,
                     weir_problem_t *problem)
{
    write_t w = { .schema = schema, .env = env, .kind = kind, .problem = problem };
    w.engine = (weir_engine_t){ .schema = schema,
                                .now_s = (int64_t)env->now,
                                .updating = kind == WEIR_UPDATE };
    w.keep_digest = kind == WEIR_UPDATE && weir_json_get(body, "cert") == NULL;
    weir_json_t *input =
        weir_json_kind(body) == WEIR_JSON_OBJECT ? weir_json_copy(body) : weir_json_new_object();
    if (input == NULL)
        return WEIR_NO_MEMORY;
    WEIR_AUTO(json) weir_json_t *expiry = NULL;
    int rc = weir_engine_shorthands(&w.engine, kind, input, problem);
    if (rc == WEIR_OK)
        rc = take_ttl(&w, input, &expiry);
    if (rc == WEIR_OK)
        rc = check_explicit_id(&w, input);
    if (rc == WEIR_OK)
        rc = older_names(&w, input, current);
    if (rc != WEIR_OK) {
        weir_json_free(input);
        return rc;
    }
    weir_json_t *entity = NULL;
    rc = prepare(&w, input, current, &entity);
    if (rc != WEIR_OK)
        return rc;
    WEIR_AUTO(json) weir_json_t *kept = schema->ttl ? weir_json_take(entity, "ttl") : NULL;
    rc = settle(&w, entity, &entity);
    if (rc == WEIR_OK)
        rc = seal(&w, body, current, entity);
    if (rc != WEIR_OK)
        return rc;
    if (schema->ttl) {
        weir_json_t *ttl = expiry != NULL                        ? expiry
                           : kind == WEIR_UPDATE && kept != NULL ? kept
                                                                 : weir_json_new_null();
        if (ttl == expiry)
            expiry = NULL;
        else if (ttl == kept)
            kept = NULL;
        if (weir_json_set(entity, "ttl", ttl) != WEIR_OK)
            return no_memory(entity);
    }
    *ret = entity;
    return WEIR_OK;
}

/* Unknown members that are null say nothing (sync-protocol C.4). */
static void drop_unknown_nulls(const weir_field_t *fields, weir_json_t *object)
{
    weir_json_t *next = NULL;
    for (weir_json_t *member = weir_json_first_mutable(object); member != NULL; member = next) {
        next = weir_json_next_mutable(member);
        if (!weir_json_is_null(member) && weir_json_kind(member) != WEIR_JSON_OBJECT)
            continue;
        const weir_field_t *field = fields;
        while (field->name != NULL && strcmp(field->name, weir_json_name(member)) != 0)
            field++;
        if (field->name == NULL && weir_json_is_null(member)) {
            weir_json_detach(object, member);
            weir_json_free(member);
        } else if (field->name != NULL && field->type == WEIR_TYPE_RECORD &&
                   field->fields != NULL && weir_json_kind(member) == WEIR_JSON_OBJECT) {
            drop_unknown_nulls(field->fields, member);
        }
    }
}

int weir_model_accept(const weir_schema_t *schema, const weir_json_t *row, double now,
                      weir_json_t **ret, weir_problem_t *problem)
{
    weir_model_env_t env = { .now = now };
    write_t w = { .schema = schema, .env = &env, .kind = WEIR_INSERT, .problem = problem };
    w.engine = (weir_engine_t){ .schema = schema, .now_s = (int64_t)now, .accepting = true };
    w.keep_digest = true;
    weir_json_t *entity =
        weir_json_kind(row) == WEIR_JSON_OBJECT ? weir_json_copy(row) : weir_json_new_object();
    if (entity == NULL)
        return WEIR_NO_MEMORY;
    weir_json_remove(entity, "ws_id");
    WEIR_AUTO(json) weir_json_t *ttl = schema->ttl ? weir_json_take(entity, "ttl") : NULL;
    drop_unknown_nulls(schema->fields, entity);
    weir_str_t name = weir_json_get_string(entity, "name", WEIR_STR(""));
    const weir_plugin_schema_t *sub = schema->type == WEIR_PLUGINS  ? weir_plugin_schema(name)
                                      : schema->type == WEIR_VAULTS ? weir_vault_schema(name)
                                                                    : NULL;
    for (const weir_field_t *f = sub != NULL ? sub->fields : NULL; f != NULL && f->name != NULL;
         f++)
        if (f->type == WEIR_TYPE_RECORD && f->fields != NULL)
            drop_unknown_nulls(f->fields, weir_json_get_mutable(entity, f->name));
    if (weir_json_is_null(weir_json_get(entity, schema->primary_key))) {
        weir_json_free(entity);
        weir_json_t *error = weir_engine_text(&w.engine, "required field missing");
        return weir_problem_schema_violation(
            problem, weir_engine_add(&w.engine, NULL, schema->primary_key, error));
    }
    int rc = older_names(&w, entity, NULL);
    if (rc != WEIR_OK) {
        weir_json_free(entity);
        return rc;
    }
    rc = settle(&w, entity, &entity);
    if (rc != WEIR_OK)
        return rc;
    if (schema->ttl) {
        bool set = weir_json_kind(ttl) == WEIR_JSON_NUMBER;
        weir_json_t *value = set ? ttl : weir_json_new_null();
        if (set)
            ttl = NULL;
        if (weir_json_set(entity, "ttl", value) != WEIR_OK)
            return no_memory(entity);
    }
    *ret = entity;
    return WEIR_OK;
}

int weir_model_check_key(const weir_schema_t *schema, weir_str_t value, weir_problem_t *problem)
{
    if (schema->endpoint_key == NULL)
        return WEIR_OK;
    const weir_field_t *field = weir_schema_field(schema, weir_str(schema->endpoint_key));
    weir_engine_t engine = { .schema = schema };
    WEIR_AUTO(json) weir_json_t *text = weir_json_new_string(value);
    if (text == NULL)
        return WEIR_NO_MEMORY;
    weir_json_t *error = weir_engine_validate_field(&engine, field, text);
    if (engine.failed != WEIR_OK)
        return WEIR_NO_MEMORY;
    if (error == NULL)
        return WEIR_OK;
    WEIR_AUTO(json) weir_json_t *owned = error;
    static const struct {
        const char *key;
        const char *name;
    } names[] = {
        { "name", "invalid unique name" },
        { "username", "invalid unique username" },
        { "key", "invalid unique key" },
        { "target", "invalid unique target" },
        { "instance_name", "invalid unique instance_name" },
        { "prefix", "invalid unique prefix" },
        { "client_id", "invalid unique client_id" },
        { "access_token", "invalid unique access_token" },
    };
    const char *name = "invalid unique";
    for (size_t i = 0; i < WEIR_COUNT(names); i++)
        if (strcmp(names[i].key, schema->endpoint_key) == 0)
            name = names[i].name;
    return weir_problem_set(problem, 10, name, NULL, "%.*s", WEIR_STR_ARG(weir_json_string(owned)));
}
