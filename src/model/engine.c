/* engine.c -- completing entities: subschemas, defaults, merging. */
#include "model/engine.h"

#include "base/json.h"
#include "model/tables.h"

#include <stdarg.h>
#include <stdio.h>

bool weir_words_have(const char *words, weir_str_t text)
{
    for (const char *at = words; *at != '\0';) {
        size_t len = strcspn(at, " ");
        if (len == text.len && memcmp(at, text.data, len) == 0)
            return true;
        at += len + strspn(at + len, " ");
    }
    return false;
}

bool weir_engine_nonempty(const weir_json_t *value)
{
    switch (weir_json_kind(value)) {
    case WEIR_JSON_ABSENT:
    case WEIR_JSON_NULL:
        return false;
    case WEIR_JSON_STRING:
        return weir_json_string(value).len > 0;
    case WEIR_JSON_ARRAY:
    case WEIR_JSON_OBJECT:
        return weir_json_first(value) != NULL;
    case WEIR_JSON_BOOLEAN:
    case WEIR_JSON_NUMBER:
        return true;
    }
    return false;
}

weir_json_t *weir_engine_text(weir_engine_t *engine, const char *format, ...)
{
    char small[512];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(small, sizeof(small), format, arguments);
    va_end(arguments);
    weir_json_t *text = NULL;
    if ((size_t)len < sizeof(small)) {
        text = weir_json_new_string((weir_str_t){ small, (size_t)len });
    } else {
        WEIR_AUTO(free) char *large = weir_malloc((size_t)len + 1);
        if (large != NULL) {
            va_start(arguments, format);
            vsnprintf(large, (size_t)len + 1, format, arguments);
            va_end(arguments);
            text = weir_json_new_string((weir_str_t){ large, (size_t)len });
        }
    }
    if (text == NULL)
        engine->failed = WEIR_NO_MEMORY;
    return text;
}

weir_json_t *weir_engine_add(weir_engine_t *engine, weir_json_t *errors, const char *name,
                             weir_json_t *error)
{
    if (errors == NULL)
        errors = weir_json_new_object();
    if (errors == NULL || error == NULL) {
        weir_json_free(error);
        engine->failed = WEIR_NO_MEMORY;
        return errors;
    }
    if (weir_json_set(errors, name, error) != WEIR_OK)
        engine->failed = WEIR_NO_MEMORY;
    return errors;
}

weir_json_t *weir_engine_add_entity(weir_engine_t *engine, weir_json_t *errors, const char *text)
{
    weir_json_t *list = weir_json_get_mutable(errors, "@entity");
    if (list == NULL) {
        errors = weir_engine_add(engine, errors, "@entity", weir_json_new_array());
        list = weir_json_get_mutable(errors, "@entity");
    }
    if (list == NULL || weir_json_append(list, weir_engine_text(engine, "%s", text)) != WEIR_OK)
        engine->failed = WEIR_NO_MEMORY;
    return errors;
}

/* -- subschemas ----------------------------------------------------------- */

/* A value in the words of the incumbent's language, between two texts. */
static weir_json_t *unknown(weir_engine_t *engine, const char *before, const weir_json_t *value,
                            const char *after)
{
    switch (weir_json_kind(value)) {
    case WEIR_JSON_STRING:
        return weir_engine_text(engine, "%s%.*s%s", before, WEIR_STR_ARG(weir_json_string(value)),
                                after);
    case WEIR_JSON_NUMBER:
        return weir_engine_text(engine, "%s%.14g%s", before, weir_json_number(value), after);
    case WEIR_JSON_BOOLEAN:
        return weir_engine_text(engine, "%s%s%s", before,
                                weir_json_boolean(value) ? "true" : "false", after);
    case WEIR_JSON_NULL:
        return weir_engine_text(engine, "%suserdata: NULL%s", before, after);
    case WEIR_JSON_ABSENT:
    case WEIR_JSON_ARRAY:
    case WEIR_JSON_OBJECT:
        break;
    }
    return weir_engine_text(engine, "%snil%s", before, after);
}

/* By the first protocol of the set that there is (entity-schemas:
 * route_subschema_choice). */
static weir_json_t *choose_route(weir_engine_t *engine, const weir_json_t *entity)
{
    const weir_json_t *protocols = weir_json_get(entity, "protocols");
    if (weir_json_is_null(protocols))
        return weir_engine_add(engine, NULL, "protocols",
                               weir_engine_text(engine, "required field missing"));
    bool list = weir_json_kind(protocols) == WEIR_JSON_ARRAY;
    const weir_json_t *first = list ? weir_json_first(protocols) : protocols;
    for (const weir_json_t *item = first; item != NULL; item = list ? weir_json_next(item) : NULL) {
        weir_str_t name = weir_json_string(item);
        if (name.data == NULL)
            continue;
        if (weir_words_have("http https", name)) {
            engine->sub_fields = weir_route_http_fields;
            engine->sub_checks = weir_route_http_checks;
            return NULL;
        }
        if (weir_words_have("tcp tls udp tls_passthrough", name)) {
            engine->sub_fields = weir_route_stream_fields;
            engine->sub_checks = weir_route_stream_checks;
            return NULL;
        }
        if (weir_words_have("grpc grpcs", name)) {
            engine->sub_fields = weir_route_grpc_fields;
            engine->sub_checks = weir_route_grpc_checks;
            return NULL;
        }
    }
    return weir_engine_add(engine, NULL, "protocols", unknown(engine, "unknown type: ", first, ""));
}

static weir_json_t *choose_plugin(weir_engine_t *engine, const weir_json_t *entity)
{
    const weir_json_t *name = weir_json_get(entity, "name");
    if (weir_json_is_null(name))
        return weir_engine_add(engine, NULL, "name",
                               weir_engine_text(engine, "required field missing"));
    weir_str_t text = weir_json_string(name);
    if (text.data == NULL)
        return weir_engine_add(engine, NULL, "name", weir_engine_text(engine, "expected a string"));
    const weir_plugin_schema_t *plugin = weir_plugin_schema(text);
    if (plugin == NULL)
        return weir_engine_add(engine, NULL, "name",
                               weir_engine_text(engine,
                                                "plugin '%.*s' not enabled; add it to the "
                                                "'plugins' configuration property",
                                                WEIR_STR_ARG(text)));
    engine->sub_fields = plugin->fields;
    engine->sub_checks = plugin->checks;
    return NULL;
}

static weir_json_t *choose_vault(weir_engine_t *engine, const weir_json_t *entity)
{
    const weir_json_t *name = weir_json_get(entity, "name");
    if (weir_json_is_null(name))
        return weir_engine_add(engine, NULL, "name",
                               weir_engine_text(engine, "required field missing"));
    const weir_plugin_schema_t *vault =
        weir_vault_schema(weir_json_get_string(entity, "name", WEIR_STR("")));
    if (vault == NULL)
        return weir_engine_add(engine, NULL, "name",
                               unknown(engine, "vault '", name, "' is not installed"));
    engine->sub_fields = vault->fields;
    engine->sub_checks = vault->checks;
    return NULL;
}

weir_json_t *weir_engine_subschema(weir_engine_t *engine, const weir_json_t *entity)
{
    engine->sub_fields = NULL;
    engine->sub_checks = NULL;
    if (engine->schema->type == WEIR_ROUTES)
        return choose_route(engine, entity);
    if (engine->schema->type == WEIR_PLUGINS)
        return choose_plugin(engine, entity);
    if (engine->schema->type == WEIR_VAULTS)
        return choose_vault(engine, entity);
    return NULL;
}

const weir_field_t *weir_engine_field(const weir_engine_t *engine, const weir_field_t *field,
                                      weir_field_t *room)
{
    if (engine->sub_fields == NULL)
        return field;
    for (const weir_field_t *sub = engine->sub_fields; sub->name != NULL; sub++) {
        if (strcmp(sub->name, field->name) != 0)
            continue;
        if (sub->type != WEIR_TYPE_NONE)
            return sub;
        *room = *field;
        room->flags |= sub->flags;
        room->error = sub->error;
        return room;
    }
    return field;
}

/* -- defaults ------------------------------------------------------------- */

static weir_json_t *initial_value(weir_engine_t *engine, const weir_field_t *field)
{
    weir_json_t *value = NULL;
    if (field->initial != NULL) {
        if (weir_json_parse(weir_str(field->initial), &value, NULL) != WEIR_OK)
            value = NULL;
    } else if (field->type == WEIR_TYPE_RECORD && (field->flags & WEIR_REQUIRED)) {
        value = weir_json_new_object();
    } else {
        value = weir_json_new_null();
    }
    if (value == NULL)
        engine->failed = WEIR_NO_MEMORY;
    return value;
}

/* Fills the records inside `value`, wherever they are. Takes and returns it. */
static weir_json_t *complete_inside(weir_engine_t *engine, const weir_field_t *field,
                                    weir_json_t *value)
{
    weir_json_kind_t kind = weir_json_kind(value);
    if (field->type == WEIR_TYPE_RECORD && field->fields != NULL) {
        bool empty_array = kind == WEIR_JSON_ARRAY && weir_json_first(value) == NULL;
        if (empty_array) { /* how Lua prints an empty table */
            weir_json_free(value);
            value = weir_json_new_object();
        }
        return kind == WEIR_JSON_OBJECT || empty_array
                   ? weir_engine_complete(engine, field->fields, value, false)
                   : value;
    }
    bool list = field->type == WEIR_TYPE_ARRAY || field->type == WEIR_TYPE_SET;
    if (list && field->of != NULL && field->of->type == WEIR_TYPE_RECORD &&
        kind == WEIR_JSON_ARRAY) {
        weir_json_t *done = weir_json_new_array();
        weir_json_t *item = NULL;
        while ((item = weir_json_first_mutable(value)) != NULL) {
            weir_json_detach(value, item);
            item = complete_inside(engine, field->of, item);
            if (done == NULL || weir_json_append(done, item) != WEIR_OK)
                engine->failed = WEIR_NO_MEMORY;
        }
        weir_json_free(value);
        return done;
    }
    if (list && kind == WEIR_JSON_OBJECT && weir_json_first(value) == NULL) {
        weir_json_free(value);
        value = weir_json_new_array();
        if (value == NULL)
            engine->failed = WEIR_NO_MEMORY;
    }
    if (field->type == WEIR_TYPE_MAP && kind == WEIR_JSON_ARRAY && weir_json_first(value) == NULL) {
        weir_json_free(value);
        value = weir_json_new_object();
        if (value == NULL)
            engine->failed = WEIR_NO_MEMORY;
    }
    return value;
}

/* What is left of `object` goes to the end of `out`, to be refused later. */
static void keep_unknown(weir_engine_t *engine, weir_json_t *object, weir_json_t *out)
{
    weir_json_t *unknown = NULL;
    for (size_t i = 0;
         out != NULL && i < WEIR_UNKNOWN_MAX && (unknown = weir_json_first_mutable(object)) != NULL;
         i++) {
        WEIR_AUTO(free) char *name = weir_strdup(weir_str(weir_json_name(unknown)));
        weir_json_detach(object, unknown);
        if (name == NULL) {
            weir_json_free(unknown);
            engine->failed = WEIR_NO_MEMORY;
        } else if (weir_json_set(out, name, unknown) != WEIR_OK) {
            engine->failed = WEIR_NO_MEMORY;
        }
    }
}

weir_json_t *weir_engine_complete(weir_engine_t *engine, const weir_field_t *fields,
                                  weir_json_t *object, bool top)
{
    weir_json_t *out = weir_json_new_object();
    if (out == NULL)
        engine->failed = WEIR_NO_MEMORY;
    for (const weir_field_t *base = fields; out != NULL && base->name != NULL; base++) {
        weir_field_t room;
        const weir_field_t *field = top ? weir_engine_field(engine, base, &room) : base;
        if (!weir_engine_knows(engine, base, object))
            continue;
        weir_json_t *value = weir_json_take(object, base->name);
        if (value == NULL)
            value = initial_value(engine, field);
        value = complete_inside(engine, field, value);
        if (weir_json_set(out, base->name, value) != WEIR_OK)
            engine->failed = WEIR_NO_MEMORY;
    }
    keep_unknown(engine, object, out);
    weir_json_free(object);
    return out;
}

static const weir_field_t *find_field(const weir_field_t *fields, const char *name)
{
    for (const weir_field_t *field = fields; field != NULL && field->name != NULL; field++)
        if (strcmp(field->name, name) == 0)
            return field;
    return NULL;
}

int weir_engine_merge(weir_engine_t *engine, const weir_field_t *fields, weir_json_t *base,
                      const weir_json_t *patch, bool top)
{
    size_t unknown = 0;
    for (const weir_json_t *member = weir_json_first(patch); member != NULL;
         member = weir_json_next(member)) {
        const char *name = weir_json_name(member);
        weir_field_t room;
        const weir_field_t *field = find_field(fields, name);
        if (field == NULL && unknown++ >= WEIR_UNKNOWN_MAX)
            continue;
        if (field != NULL && top)
            field = weir_engine_field(engine, field, &room);
        weir_json_t *present = weir_json_get_mutable(base, name);
        bool record = weir_json_kind(member) == WEIR_JSON_OBJECT ||
                      (weir_json_kind(member) == WEIR_JSON_ARRAY &&
                       weir_json_first(member) == NULL); /* how Lua prints an empty table */
        if (field != NULL && field->type == WEIR_TYPE_RECORD && field->fields != NULL && record &&
            weir_json_kind(present) == WEIR_JSON_OBJECT) {
            int rc = weir_engine_merge(engine, field->fields, present, member, false);
            if (rc != WEIR_OK)
                return rc;
            continue;
        }
        weir_json_t *copy = weir_json_copy(member);
        if (weir_json_set(base, name, copy) != WEIR_OK)
            return WEIR_NO_MEMORY;
    }
    return WEIR_OK;
}
