/* entity_checks.c -- rules over several fields of an entity or a record. */
#include "model/engine.h"

#include <stdio.h>

enum { FIELDS_MAX = 16, TEXT_BYTES = 512 };

/* One name of a list of names separated by spaces. */
static bool next_name(const char **at, char *name, size_t bytes)
{
    *at += strspn(*at, " ");
    size_t len = strcspn(*at, " ");
    if (len == 0 || len >= bytes)
        return false;
    memcpy(name, *at, len);
    name[len] = '\0';
    *at += len;
    return true;
}

/* "a.b" looks inside records. */
static const weir_json_t *value_at(const weir_json_t *entity, const char *path)
{
    char name[96];
    while (entity != NULL) {
        size_t len = strcspn(path, ".");
        if (len >= sizeof(name))
            return NULL;
        memcpy(name, path, len);
        name[len] = '\0';
        entity = weir_json_get(entity, name);
        if (path[len] == '\0')
            return entity;
        path += len + 1;
    }
    return NULL;
}

static void quoted_list(const char *fields, char *text, size_t bytes)
{
    char name[96];
    size_t len = 0;
    text[0] = '\0';
    for (const char *at = fields; next_name(&at, name, sizeof(name));)
        len += (size_t)snprintf(text + len, len < bytes ? bytes - len : 0, "%s'%s'",
                                len > 0 ? ", " : "", name);
}

static size_t count_nonempty(const char *fields, const weir_json_t *entity, size_t *ret_total)
{
    char name[96];
    size_t count = 0;
    *ret_total = 0;
    for (const char *at = fields; next_name(&at, name, sizeof(name)); ++*ret_total)
        count += weir_engine_nonempty(value_at(entity, name));
    return count;
}

static bool all_distinct(const char *fields, const weir_json_t *entity)
{
    const weir_json_t *values[FIELDS_MAX];
    char name[96];
    size_t count = 0;
    for (const char *at = fields; next_name(&at, name, sizeof(name)) && count < FIELDS_MAX;) {
        const weir_json_t *value = value_at(entity, name);
        if (!weir_engine_nonempty(value))
            continue;
        for (size_t i = 0; i < count; i++)
            if (weir_json_equal(values[i], value))
                return false;
        values[count++] = value;
    }
    return true;
}

static bool scalar_fits(const weir_json_t *value, const char *one_of, const char *not_one_of)
{
    weir_str_t text = weir_json_string(value);
    if (text.data == NULL)
        return false;
    return (one_of == NULL || weir_words_have(one_of, text)) &&
           (not_one_of == NULL || !weir_words_have(not_one_of, text));
}

static bool condition_holds(const weir_check_t *check, const weir_json_t *entity)
{
    const weir_json_t *value = value_at(entity, check->if_field);
    if (check->if_null && weir_json_is_null(value))
        return true;
    if (weir_json_kind(value) != WEIR_JSON_ARRAY)
        return scalar_fits(value, check->if_one_of, check->if_not_one_of);
    for (const weir_json_t *item = weir_json_first(value); item != NULL;
         item = weir_json_next(item))
        if (!scalar_fits(item, check->if_one_of, check->if_not_one_of))
            return false;
    return true;
}

static weir_json_t *then_error(weir_engine_t *engine, const weir_check_t *check,
                               const weir_json_t *value)
{
    if (weir_json_is_null(value))
        return check->then_required ? weir_engine_text(engine, "required field missing") : NULL;
    if (check->then_null)
        return weir_engine_text(engine, "value must be null");
    if (check->then_empty && weir_json_first(value) != NULL)
        return weir_engine_text(engine, "length must be 0");
    if (check->then_check != NULL && weir_json_kind(value) == WEIR_JSON_STRING) {
        weir_error_t err = { 0 };
        if (check->then_check(weir_json_string(value), &err) != WEIR_OK)
            return weir_engine_text(engine, "%s", err.reason);
    }
    if (check->then_one_of != NULL &&
        !weir_words_have(check->then_one_of, weir_json_string(value))) {
        weir_field_t field = { .type = WEIR_TYPE_STRING, .one_of = check->then_one_of };
        weir_json_t *copy = weir_json_copy(value);
        weir_json_t *error = copy != NULL ? weir_engine_validate_field(engine, &field, copy) : NULL;
        weir_json_free(copy);
        return error;
    }
    return NULL;
}

/* Sets errors["a"]["b"] for "a.b"; takes `error`. What is wrong as a whole stays so. */
static weir_json_t *add_at(weir_engine_t *engine, weir_json_t *errors, const char *path,
                           weir_json_t *error)
{
    char name[96];
    size_t len = strcspn(path, ".");
    if (path[len] == '\0' || len >= sizeof(name))
        return weir_engine_add(engine, errors, path, error);
    memcpy(name, path, len);
    name[len] = '\0';
    weir_json_t *inner = weir_json_get_mutable(errors, name);
    if (inner != NULL && weir_json_kind(inner) != WEIR_JSON_OBJECT) {
        weir_json_free(error);
        return errors;
    }
    if (inner != NULL) {
        add_at(engine, inner, path + len + 1, error);
        return errors;
    }
    return weir_engine_add(engine, errors, name, add_at(engine, NULL, path + len + 1, error));
}

static weir_json_t *check_conditional(weir_engine_t *engine, const weir_check_t *check,
                                      const weir_json_t *entity, weir_json_t *errors)
{
    if (!condition_holds(check, entity))
        return errors;
    weir_json_t *error = then_error(engine, check, value_at(entity, check->then_field));
    if (error == NULL)
        return errors;
    errors = add_at(engine, errors, check->then_field, error);
    if (check->error != NULL)
        return weir_engine_add_entity(engine, errors, check->error);
    char text[TEXT_BYTES];
    snprintf(text, sizeof(text), "failed conditional validation given value of field '%s'",
             check->if_field);
    return weir_engine_add_entity(engine, errors, text);
}

static bool set_has_one_of(const weir_json_t *set, const char *words)
{
    for (const weir_json_t *item = weir_json_first(set); item != NULL; item = weir_json_next(item))
        if (weir_json_string(item).data != NULL && weir_words_have(words, weir_json_string(item)))
            return true;
    return false;
}

static weir_json_t *check_at_least_one_when(weir_engine_t *engine, const weir_check_t *check,
                                            const weir_json_t *entity, weir_json_t *errors)
{
    const weir_json_t *set = weir_json_get(entity, check->if_field);
    size_t total = 0;
    if (!set_has_one_of(set, check->if_one_of) ||
        (check->if_not_one_of != NULL && set_has_one_of(set, check->if_not_one_of)) ||
        count_nonempty(check->fields, entity, &total) > 0)
        return errors;
    char list[TEXT_BYTES];
    quoted_list(check->fields, list, sizeof(list));
    const char *mark = strstr(check->error, "%s");
    char text[2 * TEXT_BYTES];
    if (mark == NULL)
        snprintf(text, sizeof(text), "%s", check->error);
    else
        snprintf(text, sizeof(text), "%.*s%s%s", (int)(mark - check->error), check->error, list,
                 mark + 2);
    return weir_engine_add_entity(engine, errors, text);
}

static weir_json_t *check_custom(weir_engine_t *engine, const weir_check_t *check,
                                 const weir_json_t *entity, weir_json_t *errors)
{
    char name[96];
    if (check->custom == NULL)
        return errors;
    for (const char *at = check->fields; next_name(&at, name, sizeof(name));) {
        weir_str_t text = weir_json_get_string(entity, name, (weir_str_t){ "", 0 });
        if (weir_json_get(errors, name) != NULL || weir_str_starts(text, WEIR_STR("{vault://")))
            return errors;
    }
    weir_error_t err = { 0 };
    int rc = check->custom(entity, engine->now_s, &err);
    if (rc == WEIR_NO_MEMORY)
        engine->failed = rc;
    if (rc != WEIR_INVALID)
        return errors;
    if (err.field[0] != '\0')
        return weir_engine_add(engine, errors, err.field,
                               weir_engine_text(engine, "%s", err.reason));
    return weir_engine_add_entity(engine, errors, err.reason);
}

static weir_json_t *say(weir_engine_t *engine, weir_json_t *errors, const char *start,
                        const char *fields)
{
    char list[TEXT_BYTES];
    char text[2 * TEXT_BYTES];
    quoted_list(fields, list, sizeof(list));
    snprintf(text, sizeof(text), "%s: %s", start, list);
    return weir_engine_add_entity(engine, errors, text);
}

/* A record that is wrong as a whole has no members to be judged: "config" of a check of
 * "config.a config.b". */
static bool is_without_record(const weir_check_t *check, const weir_json_t *errors)
{
    char name[96];
    const char *path = check->fields != NULL ? check->fields : "";
    size_t len = strcspn(path, ". ");
    if (path[len] != '.' || len >= sizeof(name))
        return false;
    memcpy(name, path, len);
    name[len] = '\0';
    return weir_json_kind(weir_json_get(errors, name)) == WEIR_JSON_STRING;
}

weir_json_t *weir_engine_check(weir_engine_t *engine, const weir_check_t *checks,
                               const weir_json_t *entity, weir_json_t *errors)
{
    for (const weir_check_t *check = checks; check->kind != WEIR_CHECK_NONE; check++) {
        size_t total = 0;
        if (is_without_record(check, errors))
            continue;
        size_t given = check->fields != NULL ? count_nonempty(check->fields, entity, &total) : 0;
        switch (check->kind) {
        case WEIR_CHECK_AT_LEAST_ONE_OF:
            if (given == 0)
                errors = say(engine, errors,
                             engine->updating ? "when updating, at least one of these fields must "
                                                "be non-empty"
                                              : "at least one of these fields must be non-empty",
                             check->fields);
            break;
        case WEIR_CHECK_ONLY_ONE_OF:
            if (given != 1)
                errors = say(engine, errors, "exactly one of these fields must be non-empty",
                             check->fields);
            break;
        case WEIR_CHECK_MUTUALLY_REQUIRED:
            if (given != 0 && given != total)
                errors =
                    say(engine, errors, "all or none of these fields must be set", check->fields);
            break;
        case WEIR_CHECK_MUTUALLY_EXCLUSIVE:
            if (given > 1)
                errors = say(engine, errors, "only one or none of these fields must be set",
                             check->fields);
            break;
        case WEIR_CHECK_DISTINCT:
            if (!all_distinct(check->fields, entity))
                errors =
                    say(engine, errors, "values of these fields must be distinct", check->fields);
            break;
        case WEIR_CHECK_CONDITIONAL:
            errors = check_conditional(engine, check, entity, errors);
            break;
        case WEIR_CHECK_AT_LEAST_ONE_WHEN:
            errors = check_at_least_one_when(engine, check, entity, errors);
            break;
        case WEIR_CHECK_CUSTOM:
            errors = check_custom(engine, check, entity, errors);
            break;
        case WEIR_CHECK_NONE:
            break;
        }
    }
    return errors;
}
