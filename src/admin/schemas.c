/* schemas.c -- descriptions of schemas, and validation without storing
 * (admin-api 9.10). */
#include "admin/internal.h"

static int answer_described(call_t *call, weir_json_t *description)
{
    WEIR_AUTO(json) weir_json_t *owned = description;
    return answer_value(call, 200, owned);
}

int handle_schema(call_t *call)
{
    weir_str_t name = call->parameters[0];
    const weir_schema_t *schema = weir_schema_named(name);
    if (schema == NULL)
        return answer_message(call, 404, "No entity named '%.*s'", WEIR_STR_ARG(name));
    return answer_described(call, weir_schema_describe(schema));
}

static int answer_plugin(call_t *call, bool config_only)
{
    weir_str_t name = call->parameters[0];
    const weir_plugin_schema_t *plugin = weir_plugin_schema(name);
    if (plugin == NULL || !plugin_is_enabled(call->admin, name))
        return answer_message(call, 404, "No plugin named '%.*s'", WEIR_STR_ARG(name));
    return answer_described(call, weir_plugin_schema_describe(plugin, config_only));
}

int handle_plugin_schema(call_t *call)
{
    return answer_plugin(call, false);
}

int handle_plugin_schema_config(call_t *call)
{
    return answer_plugin(call, true);
}

int handle_vault_schema(call_t *call)
{
    const weir_plugin_schema_t *vault = weir_vault_schema(call->parameters[0]);
    if (vault != NULL)
        return answer_described(call, weir_plugin_schema_describe(vault, false));
    return answer_message(call, 404, "No vault named '%.*s'", WEIR_STR_ARG(call->parameters[0]));
}

int handle_no_filter(call_t *call)
{
    return answer_message(call, 404, "Filter '%.*s' not found", WEIR_STR_ARG(call->parameters[0]));
}

/* -- validation ------------------------------------------------------------------------- */

/* Texts of a form where no schema says what they are: true, false, and nothing. */
static weir_json_t *plain_value(const weir_json_t *value)
{
    weir_str_t text = weir_json_string(value);
    if (text.data == NULL)
        return weir_json_copy(value);
    if (text.len == 0)
        return weir_json_new_null();
    if (weir_str_is(text, "true") || weir_str_is(text, "false"))
        return weir_json_new_boolean(text.data[0] == 't');
    return weir_json_copy(value);
}

static weir_json_t *plain_form(const weir_json_t *form)
{
    bool is_object = weir_json_kind(form) == WEIR_JSON_OBJECT;
    if (!is_object && weir_json_kind(form) != WEIR_JSON_ARRAY)
        return plain_value(form);
    weir_json_t *made = is_object ? weir_json_new_object() : weir_json_new_array();
    for (const weir_json_t *m = weir_json_first(form); made != NULL && m != NULL;
         m = weir_json_next(m)) {
        int rc = is_object ? weir_json_set(made, weir_json_name(m), plain_form(m))
                           : weir_json_append(made, plain_form(m));
        if (rc != WEIR_OK) {
            weir_json_free(made);
            return NULL;
        }
    }
    return made;
}

/* The query's arguments, then the body's, the later over the earlier. */
static weir_json_t *merged_parameters(call_t *call)
{
    WEIR_AUTO(json) weir_json_t *query = form_expand(&call->query, false);
    weir_json_t *merged = query != NULL ? plain_form(query) : NULL;
    WEIR_AUTO(json) weir_json_t *form = call->is_form ? plain_form(call->body) : NULL;
    const weir_json_t *body = call->is_form ? form : call->body;
    bool failed = merged == NULL || (call->is_form && form == NULL);
    for (const weir_json_t *m = weir_json_first(body); !failed && m != NULL; m = weir_json_next(m))
        failed = weir_json_set(merged, weir_json_name(m), weir_json_copy(m)) != WEIR_OK;
    if (failed) {
        weir_json_free(merged);
        return NULL;
    }
    weir_json_remove(merged, "db_entity_name"); /* the incumbent's name of the path parameter */
    return merged;
}

/* What a plugin may be is not only in its schema: the settings can leave it out. */
static int check_enabled(call_t *call, const weir_json_t *entity)
{
    weir_str_t name = weir_json_get_string(entity, "name", (weir_str_t){ NULL, 0 });
    if (name.data == NULL || weir_plugin_schema(name) == NULL ||
        plugin_is_enabled(call->admin, name))
        return WEIR_OK;
    return answer_violation(call, "name",
                            "plugin '%.*s' not enabled; add it to the 'plugins' configuration "
                            "property",
                            WEIR_STR_ARG(name));
}

static int validate(call_t *call, const weir_schema_t *schema)
{
    WEIR_AUTO(json) weir_json_t *entity = merged_parameters(call);
    WEIR_AUTO(json) weir_json_t *complete = NULL;
    if (entity == NULL)
        return weir_error_memory(call->err);
    int rc = schema->type == WEIR_PLUGINS ? check_enabled(call, entity) : WEIR_OK;
    if (rc != WEIR_OK)
        return rc;
    weir_problem_t problem;
    weir_problem_init(&problem);
    weir_model_env_t env = model_env(call);
    env.resolve = NULL;
    rc = weir_model_write(schema, WEIR_INSERT, entity, NULL, &env, &complete, &problem);
    if (rc != WEIR_OK)
        return answer_refusal(call, rc, &problem);
    weir_problem_release(&problem);
    return answer_message(call, 200, "schema validation successful");
}

int handle_validate(call_t *call)
{
    weir_str_t name = call->parameters[0];
    const weir_schema_t *schema = weir_schema_named(name);
    if (schema == NULL)
        return answer_message(call, 404, "No entity named '%.*s'", WEIR_STR_ARG(name));
    return validate(call, schema);
}

int handle_validate_plugin(call_t *call)
{
    return validate(call, weir_schema(WEIR_PLUGINS));
}

int handle_validate_vault(call_t *call)
{
    return validate(call, weir_schema(WEIR_VAULTS));
}
