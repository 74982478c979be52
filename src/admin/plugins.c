/* plugins.c -- what is special about plugins (admin-api 9.7). */
#include "admin/internal.h"

bool plugin_is_enabled(const weir_admin_t *admin, weir_str_t name)
{
    size_t count = 0;
    const weir_plugin_schema_t *const *plugins = weir_plugin_schemas(&count);
    for (size_t i = 0; i < count; i++)
        if (weir_str_is(name, plugins[i]->name))
            return admin->plugin_enabled[i];
    return false;
}

/* Of a plugin that is not in this build they are kept and sent to the data planes all the
 * same: they let nobody in by themselves. */
bool credentials_are_offered(const weir_admin_t *admin, const char *plugin)
{
    const weir_settings_t *settings = admin->options.settings;
    for (size_t n = weir_setting_count(settings, "plugins"); n > 0; n--) {
        const char *name = weir_setting_item(settings, "plugins", n - 1);
        if (strcmp(name, "bundled") == 0 || strcmp(name, plugin) == 0)
            return true;
    }
    return false;
}

static bool share_a_protocol(const weir_json_t *a, const weir_json_t *b)
{
    for (const weir_json_t *one = weir_json_first(a); one != NULL; one = weir_json_next(one))
        for (const weir_json_t *two = weir_json_first(b); two != NULL; two = weir_json_next(two))
            if (weir_json_equal(one, two))
                return true;
    return false;
}

/* *ret: whether the row has one of these protocols. */
static int row_matches(call_t *call, const weir_row_t *row, const weir_json_t *protocols, bool *ret)
{
    WEIR_AUTO(json) weir_json_t *route = NULL;
    int rc = weir_json_parse(row->document, &route, call->err);
    *ret = rc == WEIR_OK && share_a_protocol(protocols, weir_json_get(route, "protocols"));
    return rc;
}

static int check_route(call_t *call, const weir_uuid_t *id, const weir_json_t *protocols)
{
    weir_row_t row;
    int rc = row_get(call, WEIR_ROUTES, id, call->arena, &row);
    if (rc == WEIR_NOT_FOUND)
        return WEIR_OK; /* refused when it is stored */
    bool matches = false;
    if (rc == WEIR_OK)
        rc = row_matches(call, &row, protocols, &matches);
    if (rc != WEIR_OK || matches)
        return rc;
    return answer_violation(call, "protocols", "must match the associated route's protocols");
}

/* One of the service's routes, if it has any. Stops at the first that fits. */
static int check_service(call_t *call, const weir_uuid_t *id, const weir_json_t *protocols)
{
    weir_store_query_t query = {
        .type = WEIR_ROUTES, .parent_field = "service", .parent = *id, .limit = PAGE_SIZE_MAX
    };
    bool any = false;
    for (bool more = true; more;) {
        WEIR_AUTO(arena) weir_arena_t arena;
        weir_arena_init(&arena, call->arena->bytes_max);
        weir_rows_t page;
        int rc = row_list(call, &query, &arena, &page);
        for (size_t i = 0; rc == WEIR_OK && i < page.count; i++) {
            bool matches = false;
            any = true;
            rc = row_matches(call, &page.rows[i], protocols, &matches);
            if (rc == WEIR_OK && matches)
                return WEIR_OK;
            query.has_after = true;
            query.after = page.rows[i].id;
        }
        if (rc != WEIR_OK)
            return rc;
        more = page.more && page.count > 0;
    }
    return any ? answer_violation(
                     call, "protocols",
                     "must match the protocols of at least one route pointing to this Plugin's "
                     "service")
               : WEIR_OK;
}

/* A member of the body, or of the stored plugin if the body says nothing. */
static const weir_json_t *member(const call_t *call, const located_t *at, const char *name)
{
    const weir_json_t *given = weir_json_get(call->body, name);
    return given == NULL && at != NULL && call->method == METHOD_PATCH
               ? weir_json_get(at->entity, name)
               : given;
}

static int check_protocols(call_t *call, weir_write_t kind, const located_t *at)
{
    if (kind != WEIR_INSERT && !at->by_id)
        return WEIR_OK; /* the incumbent does not look when a name stands in the path */
    bool concerns = weir_json_get(call->body, "protocols") != NULL;
    if (kind == WEIR_UPDATE)
        concerns = concerns || weir_json_get(call->body, "service") != NULL ||
                   weir_json_get(call->body, "route") != NULL;
    const weir_json_t *protocols = member(call, at, "protocols");
    if (!concerns || weir_json_kind(protocols) != WEIR_JSON_ARRAY)
        return WEIR_OK;
    const weir_json_t *route = member(call, at, "route");
    const weir_json_t *service = member(call, at, "service");
    weir_uuid_t id;
    if (weir_json_kind(route) == WEIR_JSON_OBJECT)
        return weir_uuid_parse(weir_json_get_string(route, "id", WEIR_STR("")), &id) == WEIR_OK
                   ? check_route(call, &id, protocols)
                   : WEIR_OK;
    if (weir_uuid_parse(weir_json_get_string(service, "id", WEIR_STR("")), &id) == WEIR_OK)
        return check_service(call, &id, protocols);
    return WEIR_OK;
}

int check_plugin(call_t *call, weir_write_t kind, located_t *at)
{
    weir_str_t name = weir_json_get_string(call->body, "name", (weir_str_t){ NULL, 0 });
    if (name.data != NULL && weir_plugin_schema(name) != NULL &&
        !plugin_is_enabled(call->admin, name))
        return answer_violation(call, "name",
                                "plugin '%.*s' not enabled; add it to the 'plugins' "
                                "configuration property",
                                WEIR_STR_ARG(name));
    if (kind == WEIR_UPDATE) {
        int rc = located_parse(call, at);
        if (rc != WEIR_OK)
            return rc;
    }
    return check_protocols(call, kind, at);
}

int complete_plugin_patch(call_t *call, located_t *at)
{
    if (at->schema->type != WEIR_PLUGINS || weir_json_get(call->body, "name") != NULL)
        return WEIR_OK;
    if (!at->there)
        return answer_not_found(call);
    int rc = located_parse(call, at);
    if (rc != WEIR_OK)
        return rc;
    weir_str_t name = weir_json_get_string(at->entity, "name", WEIR_STR(""));
    rc = set_text(call->body, "name", name);
    if (rc == WEIR_OK && call->is_form)
        rc = weir_model_infer(at->schema, call->body);
    call->is_form = false;
    return rc == WEIR_OK ? WEIR_OK : weir_error_memory(call->err);
}
