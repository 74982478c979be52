/* older_names.c -- names that members of a plugin's configuration had before
 * (weir_older_name_t; plugins.json, "shorthand_rules").
 *
 * They are taken out of what comes in, so that the rest of the engine knows one name for
 * one thing, and put back into what is stored, where every reader finds both: the Admin
 * API, data planes and their versions that know only one of them. */
#include "model/engine.h"

#include "base/json.h"

#include <stdio.h>

enum { NAME_BYTES_MAX = 96 };

/* Where the last name of `path` stands: its object, made on the way if `make`. NULL:
 * there is none, or something else in its place. */
static weir_json_t *holder(weir_engine_t *engine, weir_json_t *object, const char *path, bool make,
                           const char **ret_name)
{
    char name[NAME_BYTES_MAX];
    for (size_t len = 0; (len = strcspn(path, ".")), path[len] != '\0'; path += len + 1) {
        weir_assert(len < sizeof(name));
        memcpy(name, path, len);
        name[len] = '\0';
        weir_json_t *next = weir_json_get_mutable(object, name);
        if (next == NULL && make) {
            if (weir_json_set(object, name, weir_json_new_object()) != WEIR_OK)
                engine->failed = WEIR_NO_MEMORY;
            next = weir_json_get_mutable(object, name);
        }
        if (weir_json_kind(next) != WEIR_JSON_OBJECT)
            return NULL;
        object = next;
    }
    *ret_name = path;
    return object;
}

static const weir_json_t *value_of(weir_engine_t *engine, weir_json_t *object, const char *path)
{
    const char *name = NULL;
    const weir_json_t *in = holder(engine, object, path, false, &name);
    return in != NULL ? weir_json_get(in, name) : NULL;
}

/* A value in the words of the incumbent's language. */
static void print(const weir_json_t *value, char *text, size_t bytes)
{
    weir_str_t string = weir_json_string(value);
    if (weir_json_kind(value) == WEIR_JSON_NUMBER)
        snprintf(text, bytes, "%.14g", weir_json_number(value));
    else if (weir_json_kind(value) == WEIR_JSON_BOOLEAN)
        snprintf(text, bytes, "%s", weir_json_boolean(value) ? "true" : "false");
    else
        snprintf(text, bytes, "%.*s", WEIR_STR_ARG(string));
}

/* NULL: both names say the same, or one of them nothing. */
static weir_json_t *mismatch(weir_engine_t *engine, const weir_older_name_t *older,
                             const weir_json_t *value, const weir_json_t *present)
{
    char mine[128];
    char other[128];
    if (weir_json_is_null(value) || weir_json_is_null(present) || weir_json_equal(value, present))
        return NULL;
    print(value, mine, sizeof(mine));
    print(present, other, sizeof(other));
    return weir_engine_text(engine,
                            "both deprecated and new field are used but their values mismatch: "
                            "%s = %s vs %s = %s",
                            older->name, mine, older->path, other);
}

/* The value moves to the newer name, unless that is there. Takes `value`. */
static void move(weir_engine_t *engine, const weir_older_name_t *older, weir_json_t *value,
                 weir_json_t *config)
{
    const char *name = NULL;
    weir_json_t *in = holder(engine, config, older->path, true, &name);
    if (in == NULL || weir_json_get(in, name) != NULL)
        weir_json_free(value);
    else if (weir_json_set(in, name, value) != WEIR_OK)
        engine->failed = WEIR_NO_MEMORY;
}

static weir_json_t *take(weir_engine_t *engine, const weir_older_name_t *names, weir_json_t *config,
                         weir_json_t *errors)
{
    for (const weir_older_name_t *older = names; older->name != NULL; older++) {
        weir_json_t *value = weir_json_take(config, older->name);
        if (value == NULL)
            continue;
        weir_field_t field = { .name = older->name, .type = older->type, .flags = older->flags };
        weir_json_t *error = weir_engine_validate_field(engine, &field, value);
        if (error == NULL)
            error = mismatch(engine, older, value, value_of(engine, config, older->path));
        if (error == NULL) {
            move(engine, older, value, config);
        } else {
            weir_json_free(value);
            errors = weir_engine_add(engine, errors, older->name, error);
        }
    }
    return errors;
}

static const weir_field_t *next_with_names(const weir_field_t *field)
{
    while (field != NULL && field->name != NULL && field->older == NULL)
        field++;
    return field != NULL && field->name != NULL ? field : NULL;
}

weir_json_t *weir_engine_take_older(weir_engine_t *engine, weir_json_t *body)
{
    weir_json_t *errors = NULL;
    for (const weir_field_t *f = next_with_names(engine->sub_fields); f != NULL;
         f = next_with_names(f + 1)) {
        weir_json_t *config = weir_json_get_mutable(body, f->name);
        if (weir_json_kind(config) == WEIR_JSON_OBJECT)
            errors = take(engine, f->older, config, errors);
    }
    return errors;
}

void weir_engine_drop_older(const weir_engine_t *engine, weir_json_t *entity)
{
    for (const weir_field_t *f = next_with_names(engine->sub_fields); f != NULL;
         f = next_with_names(f + 1)) {
        weir_json_t *config = weir_json_get_mutable(entity, f->name);
        for (const weir_older_name_t *older = f->older; older->name != NULL; older++)
            weir_json_remove(config, older->name);
    }
}

int weir_engine_show_older(weir_engine_t *engine, weir_json_t *entity)
{
    for (const weir_field_t *f = next_with_names(engine->sub_fields); f != NULL;
         f = next_with_names(f + 1)) {
        weir_json_t *config = weir_json_get_mutable(entity, f->name);
        for (const weir_older_name_t *older = f->older; older->name != NULL; older++) {
            const weir_json_t *value = value_of(engine, config, older->path);
            weir_json_t *shown = value != NULL ? weir_json_copy(value) : weir_json_new_null();
            if (weir_json_set(config, older->name, shown) != WEIR_OK)
                return WEIR_NO_MEMORY;
        }
    }
    return WEIR_OK;
}
