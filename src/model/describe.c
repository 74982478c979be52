/* describe.c -- a schema as JSON, the answer of GET /schemas/NAME (admin-api 9.10).
 *
 * Functions are not shown; a table says with `describe` what stands for them. */
#include "model/engine.h"

#include "base/json.h"

typedef struct description {
    weir_engine_t engine; /* completes the defaults of records */
    const char *plugin;   /* its name; NULL: an entity */
    int failed;
} description_t;

static weir_json_t *fields_array(description_t *d, const weir_field_t *fields);
static weir_json_t *checks_array(description_t *d, const weir_check_t *checks);

/* Sets object[name]; remembers what failed. Takes `value`. */
static void put(description_t *d, weir_json_t *object, const char *name, weir_json_t *value)
{
    if (object == NULL) {
        weir_json_free(value);
        d->failed = WEIR_NO_MEMORY;
    } else if (weir_json_set(object, name, value) != WEIR_OK) {
        d->failed = WEIR_NO_MEMORY;
    }
}

static void append(description_t *d, weir_json_t *array, weir_json_t *value)
{
    if (array == NULL) {
        weir_json_free(value);
        d->failed = WEIR_NO_MEMORY;
    } else if (weir_json_append(array, value) != WEIR_OK) {
        d->failed = WEIR_NO_MEMORY;
    }
}

static weir_json_t *constant(description_t *d, const char *json)
{
    weir_json_t *value = NULL;
    if (weir_json_parse(weir_str(json), &value, NULL) != WEIR_OK)
        d->failed = WEIR_NO_MEMORY;
    return value;
}

static weir_json_t *text_value(const char *text)
{
    return weir_json_new_string(weir_str(text));
}

/* {name: value}. Takes `value`. */
static weir_json_t *single(description_t *d, const char *name, weir_json_t *value)
{
    weir_json_t *object = weir_json_new_object();
    put(d, object, name, value);
    return object;
}

/* The words of a list as an array, of numbers if `numeric`. */
static weir_json_t *words_array(description_t *d, const char *words, bool numeric)
{
    weir_json_t *array = weir_json_new_array();
    for (const char *at = words; *at != '\0';) {
        size_t len = strcspn(at, " ");
        weir_str_t word = { at, len };
        int64_t number = 0;
        if (numeric && weir_parse_int64(word, INT32_MIN, INT32_MAX, &number) == WEIR_OK)
            append(d, array, weir_json_new_number((double)number));
        else
            append(d, array, weir_json_new_string(word));
        at += len + strspn(at + len, " ");
    }
    return array;
}

static const char *type_name(weir_type_t type)
{
    switch (type) {
    case WEIR_TYPE_STRING:
        return "string";
    case WEIR_TYPE_INTEGER:
        return "integer";
    case WEIR_TYPE_NUMBER:
        return "number";
    case WEIR_TYPE_BOOLEAN:
        return "boolean";
    case WEIR_TYPE_ARRAY:
        return "array";
    case WEIR_TYPE_SET:
        return "set";
    case WEIR_TYPE_MAP:
        return "map";
    case WEIR_TYPE_RECORD:
        return "record";
    case WEIR_TYPE_FOREIGN:
        return "foreign";
    case WEIR_TYPE_NONE:
        break;
    }
    return "any";
}

/* -- fields --------------------------------------------------------------- */

static void flags(description_t *d, unsigned flags, weir_json_t *out)
{
    static const struct {
        unsigned flag;
        const char *name;
    } shown[] = {
        { WEIR_REQUIRED, "required" },
        { WEIR_UNIQUE, "unique" },
        { WEIR_UNIQUE_ACROSS_WS, "unique_across_ws" },
        { WEIR_AUTO, "auto" },
        { WEIR_UUID, "uuid" },
        { WEIR_TIMESTAMP, "timestamp" },
        { WEIR_TRANSIENT, "transient" },
        { WEIR_REFERENCEABLE, "referenceable" },
        { WEIR_ENCRYPTED, "encrypted" },
        { WEIR_ABSTRACT, "abstract" },
    };
    for (size_t i = 0; i < WEIR_COUNT(shown); i++)
        if (flags & shown[i].flag)
            put(d, out, shown[i].name, weir_json_new_boolean(true));
}

/* Members of the default that are null are not part of it. */
static void drop_nulls(weir_json_t *object)
{
    weir_json_t *next = NULL;
    for (weir_json_t *member = weir_json_first_mutable(object); member != NULL; member = next) {
        next = weir_json_next_mutable(member);
        if (weir_json_is_null(member)) {
            weir_json_detach(object, member);
            weir_json_free(member);
        } else if (weir_json_kind(member) == WEIR_JSON_OBJECT) {
            drop_nulls(member);
        }
    }
}

static void initial(description_t *d, const weir_field_t *field, weir_json_t *out)
{
    if (field->flags & WEIR_DEFAULT_NULL)
        put(d, out, "default", weir_json_new_null());
    if (field->initial == NULL)
        return;
    weir_json_t *value = constant(d, field->initial);
    if (field->type == WEIR_TYPE_RECORD && value != NULL) {
        value = weir_engine_complete(&d->engine, field->fields, value, false);
        drop_nulls(value);
    }
    put(d, out, "default", value);
}

static weir_json_t *patterns(description_t *d, const weir_pattern_t *list)
{
    weir_json_t *array = weir_json_new_array();
    for (const weir_pattern_t *p = list; p->regex != NULL; p++) {
        weir_json_t *item = single(d, "pattern", text_value(p->regex));
        if (p->error != NULL)
            put(d, item, "err", text_value(p->error));
        append(d, array, item);
    }
    return array;
}

static void match_any(description_t *d, const weir_field_t *field, weir_json_t *out)
{
    weir_json_t *array = weir_json_new_array();
    for (const weir_pattern_t *p = field->match_any; p->regex != NULL; p++)
        append(d, array, text_value(p->regex));
    weir_json_t *rule = single(d, "patterns", array);
    put(d, rule, "err", text_value(field->error));
    put(d, out, "match_any", rule);
}

static weir_json_t *exclusive(description_t *d, const char *const *subsets)
{
    weir_json_t *array = weir_json_new_array();
    for (; *subsets != NULL; subsets++)
        append(d, array, words_array(d, *subsets, false));
    return array;
}

static void rules(description_t *d, const weir_field_t *field, weir_json_t *out)
{
    bool numeric = field->type == WEIR_TYPE_INTEGER || field->type == WEIR_TYPE_NUMBER;
    if (field->one_of != NULL)
        put(d, out, "one_of", words_array(d, field->one_of, numeric));
    if (field->not_one_of != NULL)
        put(d, out, "not_one_of", words_array(d, field->not_one_of, numeric));
    if (field->flags & WEIR_HAS_RANGE) {
        weir_json_t *range = weir_json_new_array();
        append(d, range, weir_json_new_number(field->min));
        append(d, range, weir_json_new_number(field->max));
        put(d, out, "between", range);
    }
    if (field->flags & WEIR_ABOVE_MIN)
        put(d, out, "gt", weir_json_new_number(field->min));
    if (field->len_min > 0)
        put(d, out, "len_min", weir_json_new_number(field->len_min));
    if (field->flags & WEIR_EMPTY_ALLOWED)
        put(d, out, "len_min", weir_json_new_number(0));
    if (field->len_max > 0)
        put(d, out, "len_max", weir_json_new_number(field->len_max));
    if (field->starts_with != NULL)
        put(d, out, "starts_with", text_value(field->starts_with));
    if (field->match_none != NULL)
        put(d, out, "match_none", patterns(d, field->match_none));
    if (field->match != NULL && field->match[0].error == NULL && field->match[1].regex == NULL)
        put(d, out, "match", text_value(field->match[0].regex));
    else if (field->match != NULL)
        put(d, out, "match_all", patterns(d, field->match));
    if (field->match_any != NULL)
        match_any(d, field, out);
    if (field->exclusive != NULL)
        put(d, out, "mutually_exclusive_subsets", exclusive(d, field->exclusive));
    if (field->flags & (WEIR_MUST_BE_NULL | WEIR_MUST_NOT_BE_TRUE)) {
        bool null = field->flags & WEIR_MUST_BE_NULL;
        put(d, out, null ? "eq" : "ne", null ? weir_json_new_null() : weir_json_new_boolean(true));
        if (field->error != NULL)
            put(d, out, "err", text_value(field->error));
    }
}

/* {"redis_host": {"type": ..., "deprecation": {...}}}, ... */
static weir_json_t *older_names(description_t *d, const weir_field_t *record)
{
    weir_json_t *array = weir_json_new_array();
    for (const weir_older_name_t *older = record->older; older->name != NULL; older++) {
        weir_json_t *path = weir_json_new_array();
        for (const char *at = older->path; *at != '\0'; at += *at == '.') {
            size_t len = strcspn(at, ".");
            append(d, path, weir_json_new_string((weir_str_t){ at, len }));
            at += len;
        }
        weir_json_t *instead = weir_json_new_array();
        append(d, instead, single(d, "path", path));
        weir_json_t *why = single(d, "replaced_with", instead);
        put(d, why, "removal_in_version", text_value(older->removed_in));
        put(d, why, "message",
            weir_engine_text(&d->engine, "%s: %s.%s is deprecated, please use %s.%s instead",
                             d->plugin, record->name, older->name, record->name, older->path));
        weir_json_t *shown = single(d, "type", text_value(type_name(older->type)));
        if (older->flags & WEIR_EMPTY_ALLOWED)
            put(d, shown, "len_min", weir_json_new_number(0));
        put(d, shown, "deprecation", why);
        append(d, array, single(d, older->name, shown));
    }
    return array;
}

static weir_json_t *describe_field(description_t *d, const weir_field_t *field)
{
    weir_json_t *out = single(d, "type", text_value(type_name(field->type)));
    flags(d, field->flags, out);
    initial(d, field, out);
    rules(d, field, out);
    if (field->to != NULL)
        put(d, out, "reference", text_value(field->to));
    if (field->to != NULL && field->on_delete == WEIR_ON_DELETE_CASCADE)
        put(d, out, "on_delete", text_value("cascade"));
    if (field->keys != NULL)
        put(d, out, "keys", describe_field(d, field->keys));
    if (field->of != NULL)
        put(d, out, field->type == WEIR_TYPE_MAP ? "values" : "elements",
            describe_field(d, field->of));
    if (field->fields != NULL)
        put(d, out, "fields", fields_array(d, field->fields));
    if (field->older != NULL)
        put(d, out, "shorthand_fields", older_names(d, field));
    if (field->checks != NULL)
        put(d, out, "entity_checks", checks_array(d, field->checks));
    WEIR_AUTO(json)
    weir_json_t *more = field->describe != NULL ? constant(d, field->describe) : NULL;
    for (const weir_json_t *member = weir_json_first(more); member != NULL;
         member = weir_json_next(member))
        put(d, out, weir_json_name(member), weir_json_copy(member));
    return out;
}

static weir_json_t *fields_array(description_t *d, const weir_field_t *fields)
{
    weir_json_t *array = weir_json_new_array();
    for (const weir_field_t *field = fields; field->name != NULL; field++)
        if ((field->flags & WEIR_NEWER) == 0)
            append(d, array, single(d, field->name, describe_field(d, field)));
    return array;
}

/* -- entity checks -------------------------------------------------------- */

/* A single word is shown as the pattern that the incumbent has there; of a set,
 * the rule is one for its elements. */
static weir_json_t *if_match(description_t *d, const weir_check_t *check)
{
    const char *words = check->if_one_of != NULL ? check->if_one_of : check->if_not_one_of;
    const char *rule = check->if_one_of != NULL ? "one_of" : "not_one_of";
    if (check->then_empty) {
        weir_json_t *element = single(d, "type", text_value("string"));
        put(d, element, rule, words_array(d, words, false));
        return single(d, "elements", element);
    }
    if (check->if_one_of != NULL && strchr(words, ' ') == NULL)
        return single(d, "match", weir_engine_text(&d->engine, "^%s$", words));
    return single(d, rule, words_array(d, words, false));
}

static weir_json_t *then_match(description_t *d, const weir_check_t *check)
{
    if (check->then_null)
        return single(d, "eq", weir_json_new_null());
    if (check->then_required)
        return single(d, "required", weir_json_new_boolean(true));
    if (check->then_empty)
        return single(d, "len_eq", weir_json_new_number(0));
    return single(d, "one_of", words_array(d, check->then_one_of, false));
}

static weir_json_t *conditional(description_t *d, const weir_check_t *check)
{
    weir_json_t *rule = single(d, "if_field", text_value(check->if_field));
    put(d, rule, "if_match", if_match(d, check));
    put(d, rule, "then_field", text_value(check->then_field));
    put(d, rule, "then_match", then_match(d, check));
    if (check->error != NULL)
        put(d, rule, "then_err", text_value(check->error));
    return rule;
}

static weir_json_t *at_least_one_when(description_t *d, const weir_check_t *check)
{
    weir_json_t *rule = single(d, "if_field", text_value(check->if_field));
    weir_json_t *match = single(d, "type", text_value("string"));
    put(d, match, "one_of", words_array(d, check->if_one_of, false));
    put(d, rule, "if_match", single(d, "elements", match));
    put(d, rule, "then_at_least_one_of", words_array(d, check->fields, false));
    put(d, rule, "then_err", text_value(check->error));
    return rule;
}

static weir_json_t *describe_check(description_t *d, const weir_check_t *check)
{
    if (check->describe != NULL)
        return constant(d, check->describe);
    switch (check->kind) {
    case WEIR_CHECK_AT_LEAST_ONE_OF:
        return single(d, "at_least_one_of", words_array(d, check->fields, false));
    case WEIR_CHECK_ONLY_ONE_OF:
        return single(d, "only_one_of", words_array(d, check->fields, false));
    case WEIR_CHECK_MUTUALLY_EXCLUSIVE:
        return single(d, "mutually_exclusive", words_array(d, check->fields, false));
    case WEIR_CHECK_MUTUALLY_REQUIRED:
        return single(d, "mutually_required", words_array(d, check->fields, false));
    case WEIR_CHECK_DISTINCT:
        return single(d, "distinct", words_array(d, check->fields, false));
    case WEIR_CHECK_CONDITIONAL:
        return single(d, "conditional", conditional(d, check));
    case WEIR_CHECK_AT_LEAST_ONE_WHEN:
        return single(d, "conditional_at_least_one_of", at_least_one_when(d, check));
    case WEIR_CHECK_CUSTOM:
        return single(d, "custom_entity_check",
                      single(d, "field_sources", words_array(d, check->fields, false)));
    case WEIR_CHECK_NONE:
        break;
    }
    return NULL;
}

static weir_json_t *checks_array(description_t *d, const weir_check_t *checks)
{
    weir_json_t *array = weir_json_new_array();
    for (const weir_check_t *check = checks; check != NULL && check->kind != WEIR_CHECK_NONE;
         check++)
        append(d, array, describe_check(d, check));
    return array;
}

/* -- whole schemas -------------------------------------------------------- */

static weir_json_t *whole(description_t *d, weir_json_t *fields, const weir_check_t *checks)
{
    weir_json_t *out = single(d, "fields", fields);
    put(d, out, "entity_checks", checks_array(d, checks));
    if (d->failed == WEIR_OK && d->engine.failed == WEIR_OK)
        return out;
    weir_json_free(out);
    return NULL;
}

weir_json_t *weir_schema_describe(const weir_schema_t *schema)
{
    description_t d = { .engine.schema = schema };
    return whole(&d, fields_array(&d, schema->fields), schema->checks);
}

/* A field that the plugin only narrows (type NONE) shows type and target of the
 * field of the plugins entity. */
static weir_json_t *plugin_fields(description_t *d, const weir_plugin_schema_t *plugin)
{
    weir_json_t *array = weir_json_new_array();
    for (const weir_field_t *field = plugin->fields; field->name != NULL; field++) {
        weir_field_t shown = *field;
        if (field->type == WEIR_TYPE_NONE) {
            const weir_field_t *base = weir_schema_field(d->engine.schema, weir_str(field->name));
            weir_assert(base != NULL);
            shown.type = base->type;
            shown.to = base->to;
        }
        append(d, array, single(d, field->name, describe_field(d, &shown)));
    }
    return array;
}

weir_json_t *weir_plugin_schema_describe(const weir_plugin_schema_t *plugin, bool config_only)
{
    description_t d = { .engine.schema = weir_schema(WEIR_PLUGINS), .plugin = plugin->name };
    if (!config_only)
        return whole(&d, plugin_fields(&d, plugin), plugin->checks);
    const weir_field_t *config = plugin->fields;
    while (config->name != NULL && strcmp(config->name, "config") != 0)
        config++;
    weir_assert(config->name != NULL && config->fields != NULL);
    return whole(&d, fields_array(&d, config->fields), config->checks);
}
