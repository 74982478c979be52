/* paths.c -- which paths there are, and who answers them (admin-api 2, 8).
 *
 * Most come out of the schema tables: a collection and an entity for each schema,
 * and for each reference a nested collection, a nested entity and a foreign
 * entity. The table below has the others. */
#include "admin/internal.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    ENTITY_METHODS = METHOD_DELETE | METHOD_GET | METHOD_PATCH | METHOD_PUT,
    COLLECTION_METHODS = METHOD_GET | METHOD_POST,
};

static const path_t node_paths[] = {
    { "/", METHOD_GET, .handle = handle_node },
    { "/endpoints", METHOD_GET, .handle = handle_endpoints },
    { "/status", METHOD_GET, .handle = handle_status },
    { "/status/dns", METHOD_GET, .handle = handle_dns },
    { "/timers", METHOD_GET, .handle = handle_timers },
    { "/plugins/enabled", METHOD_GET, .handle = handle_enabled_plugins },
    { "/plugins/schema/{name}", METHOD_GET, .handle = handle_plugin_schema_config },
    { "/schemas/{name}", METHOD_GET, .handle = handle_schema },
    { "/schemas/plugins/{name}", METHOD_GET, .handle = handle_plugin_schema },
    { "/schemas/vaults/{name}", METHOD_GET, .handle = handle_vault_schema },
    { "/schemas/filters/{name}", METHOD_GET, .handle = handle_no_filter },
    { "/schemas/{db_entity_name}/validate", METHOD_POST, .handle = handle_validate },
    { "/schemas/plugins/validate", METHOD_POST, .handle = handle_validate_plugin },
    { "/schemas/vaults/validate", METHOD_POST, .handle = handle_validate_vault },
    { "/config", METHOD_GET | METHOD_POST, .handle = handle_config },
    { "/cache", METHOD_DELETE, .handle = handle_cache },
    { "/cache/{key}", METHOD_DELETE | METHOD_GET, .handle = handle_cache_key },
    { "/debug/node/log-level", METHOD_GET, .handle = handle_log_level },
    { "/debug/node/log-level/{log_level}", METHOD_PUT, .handle = handle_set_log_level },
    { "/clustering/data-planes", METHOD_GET, .handle = handle_data_planes },
    { "/clustering/changes", METHOD_GET, .handle = handle_changes },
    { "/clustering/changes/{version}", METHOD_GET, .handle = handle_change },
    { "/transactions", METHOD_POST, .handle = handle_transactions, .stores = true },
    { "/clustering/status", METHOD_GET, .handle = handle_cluster_status },
    { "/tags", COLLECTION_METHODS, .handle = handle_tags },
    { "/tags/{tags}", METHOD_GET, ENTITY_METHODS, .handle = handle_tag },
};

/* WebAssembly filters are not in this build: their paths say so, as they do in an
 * incumbent that has them switched off. */
static const path_t filter_paths[] = {
    { "/filter-chains", COLLECTION_METHODS },
    { "/filter-chains/{filter_chains}", ENTITY_METHODS },
    { "/filter-chains/{filter_chains}/route", ENTITY_METHODS },
    { "/filter-chains/{filter_chains}/service", ENTITY_METHODS },
    { "/routes/{routes}/filter-chains", COLLECTION_METHODS },
    { "/routes/{routes}/filter-chains/{filter_chains}", ENTITY_METHODS },
    { "/services/{services}/filter-chains", COLLECTION_METHODS },
    { "/services/{services}/filter-chains/{filter_chains}", ENTITY_METHODS },
    { "/routes/{routes}/filters/all", METHOD_GET },
    { "/routes/{routes}/filters/enabled", METHOD_GET },
    { "/routes/{routes}/filters/disabled", METHOD_GET },
};

static const path_t target_paths[] = {
    { "/upstreams/{upstreams}/targets", COLLECTION_METHODS, .handle = handle_targets,
      .stores = true },
    { "/upstreams/{upstreams}/targets/all", METHOD_GET, .handle = handle_targets_all },
    { "/upstreams/{upstreams}/targets/{targets}", ENTITY_METHODS, .handle = handle_target,
      .stores = true },
    { "/upstreams/{upstreams}/health", METHOD_GET, .handle = handle_health },
};

/* A control plane balances nothing, so it has none of these. */
static const path_t health_paths[] = {
    { "/upstreams/{upstreams}/targets/{targets}/healthy", METHOD_PUT },
    { "/upstreams/{upstreams}/targets/{targets}/unhealthy", METHOD_PUT },
    { "/upstreams/{upstreams}/targets/{targets}/{address}/healthy", METHOD_PUT },
    { "/upstreams/{upstreams}/targets/{targets}/{address}/unhealthy", METHOD_PUT },
};

/* -- building ------------------------------------------------------------------------ */

static void split(path_t *path)
{
    weir_str_t rest = weir_str(path->pattern + 1);
    path->segment_count = 0;
    path->parameter_count = 0;
    while (rest.len > 0) {
        weir_assert(path->segment_count < PATH_SEGMENTS_MAX);
        const char *slash = memchr(rest.data, '/', rest.len);
        size_t len = slash != NULL ? (size_t)(slash - rest.data) : rest.len;
        path->segments[path->segment_count++] = (weir_str_t){ rest.data, len };
        path->parameter_count += rest.data[0] == '{';
        size_t skip = slash != NULL ? len + 1 : len;
        rest = (weir_str_t){ rest.data + skip, rest.len - skip };
    }
    weir_assert(path->parameter_count <= PATH_PARAMETERS_MAX);
}

static int add(weir_admin_t *admin, const path_t *path, weir_error_t *err)
{
    if (path->pattern == NULL)
        return weir_error_memory(err);
    if (admin->path_count == admin->path_capacity) {
        size_t capacity = admin->path_capacity > 0 ? admin->path_capacity * 2 : 128;
        path_t *more = weir_realloc(admin->paths, capacity * sizeof(*more));
        if (more == NULL)
            return weir_error_memory(err);
        admin->paths = more;
        admin->path_capacity = capacity;
    }
    admin->paths[admin->path_count] = *path;
    split(&admin->paths[admin->path_count++]);
    return WEIR_OK;
}

static int add_all(weir_admin_t *admin, const path_t *paths, size_t count,
                   const weir_schema_t *schema, const weir_schema_t *parent, handler_t handle,
                   weir_error_t *err)
{
    const weir_field_t *upstream =
        parent != NULL ? weir_schema_field(schema, WEIR_STR("upstream")) : NULL;
    int rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < count; i++) {
        path_t path = paths[i];
        path.schema = schema;
        path.parent = parent;
        path.field = upstream;
        if (handle != NULL)
            path.handle = handle;
        rc = add(admin, &path, err);
    }
    return rc;
}

static int add_filters(weir_admin_t *admin, weir_error_t *err)
{
    int rc = WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < WEIR_COUNT(filter_paths); i++) {
        path_t path = filter_paths[i];
        path.handle = path.before = handle_no_wasm;
        rc = add(admin, &path, err);
    }
    return rc;
}

static int add_entity(weir_admin_t *admin, const weir_schema_t *schema, weir_error_t *err)
{
    bool certificates = schema->type == WEIR_CERTIFICATES;
    bool consumers = schema->type == WEIR_CONSUMERS;
    path_t collection = {
        .pattern = weir_arena_printf(&admin->arena, "/%s", schema->admin_name).data,
        .methods = COLLECTION_METHODS,
        .handle = certificates ? handle_certificates
                  : consumers  ? handle_consumers
                               : handle_collection,
        .schema = schema,
        .stores = true,
    };
    path_t entity = {
        .pattern =
            weir_arena_printf(&admin->arena, "/%s/{%s}", schema->admin_name, schema->name).data,
        .methods = ENTITY_METHODS,
        .handle = certificates ? handle_certificate : handle_entity,
        .before = certificates ? before_certificate : NULL,
        .schema = schema,
        .stores = true,
    };
    int rc = add(admin, &collection, err);
    return rc == WEIR_OK ? add(admin, &entity, err) : rc;
}

/* The three paths that a reference makes. */
static int add_reference(weir_admin_t *admin, const weir_schema_t *child, const weir_field_t *field,
                         const weir_schema_t *parent, weir_error_t *err)
{
    const char *nested = child->nested_name != NULL ? child->nested_name : child->admin_name;
    handler_t before = parent->type == WEIR_CERTIFICATES ? before_certificate : NULL;
    path_t collection = { .pattern = weir_arena_printf(&admin->arena, "/%s/{%s}/%s",
                                                       parent->admin_name, parent->name, nested)
                                         .data,
                          .methods = COLLECTION_METHODS,
                          .handle = handle_nested_collection,
                          .before = before,
                          .schema = child,
                          .parent = parent,
                          .field = field,
                          .stores = true };
    path_t entity = collection;
    entity.pattern = weir_arena_printf(&admin->arena, "/%s/{%s}/%s/{%s}", parent->admin_name,
                                       parent->name, nested, child->name)
                         .data;
    entity.methods = ENTITY_METHODS;
    entity.handle = child->type == WEIR_ACLS ? handle_acl : handle_nested_entity;
    if (child->type == WEIR_ACLS)
        entity.before = before_acl;
    path_t foreign = { .pattern = weir_arena_printf(&admin->arena, "/%s/{%s}/%s", child->admin_name,
                                                    child->name, field->name)
                                      .data,
                       .methods = ENTITY_METHODS,
                       .handle = handle_foreign_entity,
                       .schema = parent,
                       .parent = child,
                       .field = field,
                       .stores = true };
    int rc = add(admin, &collection, err);
    if (rc == WEIR_OK)
        rc = add(admin, &entity, err);
    /* The incumbent has no way from an SNI to its certificate. */
    return rc == WEIR_OK && child->type != WEIR_SNIS ? add(admin, &foreign, err) : rc;
}

/* Credentials are there only with their plugin. */
static bool is_offered(const weir_admin_t *admin, const weir_schema_t *schema)
{
    if (schema->plugin != NULL && !credentials_are_offered(admin, schema->plugin))
        return false;
    return schema->admin_name != NULL && schema->type != WEIR_TARGETS;
}

static int add_entities(weir_admin_t *admin, weir_error_t *err)
{
    int rc = WEIR_OK;
    for (int type = 1; rc == WEIR_OK && type < WEIR_ENTITY_TYPES; type++) {
        const weir_schema_t *schema = weir_schema((weir_entity_type_t)type);
        if (schema == NULL || !is_offered(admin, schema))
            continue;
        rc = add_entity(admin, schema, err);
        for (const weir_field_t *field = schema->fields; rc == WEIR_OK && field->name != NULL;
             field++) {
            const weir_schema_t *parent =
                field->type == WEIR_TYPE_FOREIGN ? weir_schema_named(weir_str(field->to)) : NULL;
            if (parent != NULL && is_offered(admin, parent))
                rc = add_reference(admin, schema, field, parent, err);
        }
    }
    return rc;
}

static int by_parameters(const void *a, const void *b)
{
    const path_t *left = a;
    const path_t *right = b;
    if (left->parameter_count != right->parameter_count)
        return left->parameter_count < right->parameter_count ? -1 : 1;
    return strcmp(left->pattern, right->pattern);
}

int paths_build(weir_admin_t *admin, weir_error_t *err)
{
    const weir_schema_t *targets = weir_schema(WEIR_TARGETS);
    const weir_schema_t *upstreams = weir_schema(WEIR_UPSTREAMS);
    bool is_control_plane =
        strcmp(weir_setting_string(admin->options.settings, "role"), "control_plane") == 0;
    int rc = add_all(admin, node_paths, WEIR_COUNT(node_paths), NULL, NULL, NULL, err);
    if (rc == WEIR_OK)
        rc = add_filters(admin, err);
    if (rc == WEIR_OK)
        rc = add_entities(admin, err);
    if (rc == WEIR_OK)
        rc = add_all(admin, target_paths, WEIR_COUNT(target_paths), targets, upstreams, NULL, err);
    if (rc == WEIR_OK && !is_control_plane)
        rc = add_all(admin, health_paths, WEIR_COUNT(health_paths), targets, upstreams,
                     handle_target_health, err);
    path_t cluster_level = { is_control_plane
                                 ? "/debug/cluster/control-planes-nodes/log-level/{log_level}"
                                 : "/debug/cluster/log-level/{log_level}",
                             METHOD_PUT, .handle = handle_set_log_level };
    if (rc == WEIR_OK)
        rc = add(admin, &cluster_level, err);
    if (rc == WEIR_OK)
        qsort(admin->paths, admin->path_count, sizeof(*admin->paths), by_parameters);
    return rc;
}

/* -- matching ------------------------------------------------------------------------------ */

/* *ret_count segments; false: too many, or an empty one. */
static bool cut(weir_str_t text, weir_str_t segments[PATH_SEGMENTS_MAX], size_t *ret_count)
{
    *ret_count = 0;
    if (text.len == 0 || text.data[0] != '/')
        return false;
    for (size_t at = 1; at < text.len || (at == text.len && at > 1);) {
        const char *slash = at < text.len ? memchr(text.data + at, '/', text.len - at) : NULL;
        size_t end = slash != NULL ? (size_t)(slash - text.data) : text.len;
        if (end == at || *ret_count == PATH_SEGMENTS_MAX)
            return false;
        segments[(*ret_count)++] = (weir_str_t){ text.data + at, end - at };
        at = end + 1;
    }
    return true;
}

static bool fits(const path_t *path, const weir_str_t *segments, call_t *call)
{
    size_t parameters = 0;
    for (size_t i = 0; i < path->segment_count; i++) {
        if (path->segments[i].data[0] == '{')
            call->raw[parameters++] = segments[i];
        else if (!weir_str_equal(path->segments[i], segments[i]))
            return false;
    }
    return true;
}

const path_t *paths_match(call_t *call, weir_str_t text)
{
    weir_str_t segments[PATH_SEGMENTS_MAX];
    size_t count = 0;
    if (text.len > 1 && text.data[text.len - 1] == '/')
        text.len--; /* one slash at the end is tolerated */
    if (!cut(text, segments, &count))
        return NULL;
    for (size_t i = 0; i < call->admin->path_count; i++) {
        const path_t *path = &call->admin->paths[i];
        if (path->segment_count == count && fits(path, segments, call))
            return path;
    }
    return NULL;
}
