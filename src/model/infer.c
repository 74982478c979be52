/* infer.c -- what a form sends is text: into what the schema wants (admin-api 3.3).
 * What does not fit stays as it is and then fails validation. */
#include "model/engine.h"

#include "base/json.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

static int infer_value(const weir_field_t *field, weir_json_t *container, weir_json_t *value,
                       weir_json_t **ret);

/* Puts `made` in the place of `value`. Takes `made`. */
static int replace(weir_json_t *container, weir_json_t *value, weir_json_t *made, weir_json_t **ret)
{
    if (made == NULL)
        return WEIR_NO_MEMORY;
    const char *name = weir_json_name(value);
    if (name != NULL) {
        WEIR_AUTO(free) char *copy = weir_strdup(weir_str(name));
        if (copy == NULL) {
            weir_json_free(made);
            return WEIR_NO_MEMORY;
        }
        int rc = weir_json_set(container, copy, made);
        *ret = rc == WEIR_OK ? weir_json_get_mutable(container, copy) : NULL;
        return rc;
    }
    /* Elements of an array: rebuild the order around it. */
    weir_json_t *rest = weir_json_next_mutable(value);
    weir_json_detach(container, value);
    weir_json_free(value);
    int rc = weir_json_append(container, made);
    while (rc == WEIR_OK && rest != NULL) {
        weir_json_t *next = weir_json_next_mutable(rest);
        bool more = next != NULL && next != made;
        weir_json_detach(container, rest);
        rc = weir_json_append(container, rest);
        rest = more ? next : NULL;
    }
    *ret = made;
    return rc;
}

static bool number_from(weir_str_t text, double *ret)
{
    char copy[64];
    text = weir_str_trim(text);
    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    if (strchr("nNiI", copy[0]) != NULL || strpbrk(copy, "nNiI") != NULL)
        return false; /* nan, inf */
    char *end = NULL;
    double number = strtod(copy, &end);
    if (end != copy + text.len || !isfinite(number))
        return false;
    *ret = number;
    return true;
}

static int infer_members(const weir_field_t *fields, weir_json_t *object)
{
    for (weir_json_t *member = weir_json_first_mutable(object); member != NULL;
         member = weir_json_next_mutable(member)) {
        for (const weir_field_t *field = fields; field->name != NULL; field++) {
            if (strcmp(field->name, weir_json_name(member)) != 0)
                continue;
            weir_json_t *now = member;
            int rc = infer_value(field, object, member, &now);
            if (rc != WEIR_OK)
                return rc;
            member = now;
            break;
        }
    }
    return WEIR_OK;
}

static int infer_elements(const weir_field_t *element, weir_json_t *container)
{
    for (weir_json_t *item = weir_json_first_mutable(container); element != NULL && item != NULL;
         item = weir_json_next_mutable(item)) {
        weir_json_t *now = item;
        int rc = infer_value(element, container, item, &now);
        if (rc != WEIR_OK)
            return rc;
        item = now;
    }
    return WEIR_OK;
}

static int infer_list(const weir_field_t *field, weir_json_t *container, weir_json_t *value,
                      weir_json_t **ret)
{
    weir_json_kind_t kind = weir_json_kind(value);
    if (kind == WEIR_JSON_STRING || kind == WEIR_JSON_BOOLEAN || kind == WEIR_JSON_NUMBER) {
        weir_json_t *list = weir_json_new_array();
        if (list == NULL || weir_json_append(list, weir_json_copy(value)) != WEIR_OK) {
            weir_json_free(list);
            return WEIR_NO_MEMORY;
        }
        int rc = replace(container, value, list, &value);
        if (rc != WEIR_OK)
            return rc;
        *ret = value;
        kind = WEIR_JSON_ARRAY;
    }
    return kind == WEIR_JSON_ARRAY ? infer_elements(field->of, value) : WEIR_OK;
}

static int infer_value(const weir_field_t *field, weir_json_t *container, weir_json_t *value,
                       weir_json_t **ret)
{
    *ret = value;
    weir_str_t text = weir_json_string(value);
    bool is_text = text.data != NULL;
    if (is_text && text.len == 0)
        return replace(container, value, weir_json_new_null(), ret);
    double number = 0;
    switch (field->type) {
    case WEIR_TYPE_INTEGER:
    case WEIR_TYPE_NUMBER:
        return is_text && number_from(text, &number)
                   ? replace(container, value, weir_json_new_number(number), ret)
                   : WEIR_OK;
    case WEIR_TYPE_BOOLEAN:
        if (is_text && (weir_str_is(text, "true") || weir_str_is(text, "false")))
            return replace(container, value, weir_json_new_boolean(text.data[0] == 't'), ret);
        return WEIR_OK;
    case WEIR_TYPE_ARRAY:
    case WEIR_TYPE_SET:
        return infer_list(field, container, value, ret);
    case WEIR_TYPE_MAP:
        return weir_json_kind(value) == WEIR_JSON_OBJECT ? infer_elements(field->of, value)
                                                         : WEIR_OK;
    case WEIR_TYPE_RECORD:
        if (weir_json_kind(value) == WEIR_JSON_OBJECT && field->fields != NULL)
            return infer_members(field->fields, value);
        return WEIR_OK;
    case WEIR_TYPE_FOREIGN: {
        const weir_schema_t *to = weir_schema_named(weir_str(field->to));
        if (weir_json_kind(value) == WEIR_JSON_OBJECT && to != NULL)
            return infer_members(to->fields, value);
        return WEIR_OK;
    }
    case WEIR_TYPE_STRING:
    case WEIR_TYPE_NONE:
        break;
    }
    return WEIR_OK;
}

int weir_model_infer(const weir_schema_t *schema, weir_json_t *body)
{
    static const weir_field_t ttl[] = { { .name = "ttl", .type = WEIR_TYPE_NUMBER }, { 0 } };
    int rc = infer_members(schema->fields, body);
    if (rc == WEIR_OK && schema->ttl)
        rc = infer_members(ttl, body);
    if (rc == WEIR_OK && schema->type == WEIR_SERVICES) {
        weir_json_t *url = weir_json_get_mutable(body, "url");
        static const weir_field_t plain = { .type = WEIR_TYPE_STRING };
        if (url != NULL)
            rc = infer_value(&plain, body, url, &url);
    }
    if (rc != WEIR_OK || schema->type != WEIR_PLUGINS)
        return rc;
    const weir_plugin_schema_t *plugin =
        weir_plugin_schema(weir_json_get_string(body, "name", WEIR_STR("")));
    return plugin != NULL ? infer_members(plugin->fields, body) : WEIR_OK;
}
