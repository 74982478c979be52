/* classic_filter.c -- which rows the classic push leaves out (sync-protocol D.2):
 * disabled services and plugins, routes of disabled services, and what refers to a
 * service or route that is left out. */
#include "cluster/classic_internal.h"

enum { CAPACITY_FIRST = 64 };

struct classic_dropped_id {
    weir_entity_type_t type; /* WEIR_ENTITY_NONE: this place is free */
    weir_uuid_t id;
};

/* Ids are random, or chosen by who writes the configuration; every byte counts, so that
 * numbered ones spread, too. */
static size_t hash_of(weir_entity_type_t type, const weir_uuid_t *id)
{
    uint64_t hash = UINT64_C(1469598103934665603) ^ (uint64_t)type;
    for (size_t i = 0; i < WEIR_UUID_BYTES; i++)
        hash = (hash ^ id->bytes[i]) * UINT64_C(1099511628211);
    return (size_t)(hash ^ hash >> 32);
}

/* Its place, or the free one where it belongs. The table is never full. */
static struct classic_dropped_id *place_of(const classic_dropped_t *dropped,
                                           weir_entity_type_t type, const weir_uuid_t *id)
{
    size_t at = hash_of(type, id) & (dropped->capacity - 1);
    while (dropped->ids[at].type != WEIR_ENTITY_NONE &&
           (dropped->ids[at].type != type || !weir_uuid_equal(&dropped->ids[at].id, id)))
        at = (at + 1) & (dropped->capacity - 1);
    return &dropped->ids[at];
}

static bool is_dropped(const classic_dropped_t *dropped, weir_entity_type_t type,
                       const weir_uuid_t *id)
{
    return dropped->capacity > 0 && place_of(dropped, type, id)->type != WEIR_ENTITY_NONE;
}

static int grow(classic_dropped_t *dropped)
{
    classic_dropped_t larger = {
        .count = dropped->count,
        .capacity = dropped->capacity > 0 ? 2 * dropped->capacity : CAPACITY_FIRST,
    };
    larger.ids = weir_calloc(larger.capacity, sizeof(*larger.ids));
    if (larger.ids == NULL)
        return WEIR_NO_MEMORY;
    for (size_t i = 0; i < dropped->capacity; i++)
        if (dropped->ids[i].type != WEIR_ENTITY_NONE)
            *place_of(&larger, dropped->ids[i].type, &dropped->ids[i].id) = dropped->ids[i];
    weir_free(dropped->ids);
    *dropped = larger;
    return WEIR_OK;
}

static int drop(classic_dropped_t *dropped, weir_entity_type_t type, const weir_uuid_t *id)
{
    if (2 * (dropped->count + 1) > dropped->capacity && grow(dropped) != WEIR_OK)
        return WEIR_NO_MEMORY;
    *place_of(dropped, type, id) = (struct classic_dropped_id){ type, *id };
    dropped->count++;
    return WEIR_OK;
}

static int look(void *context, const weir_field_t *field, const weir_schema_t *to,
                const weir_uuid_t *id)
{
    (void)field;
    return is_dropped(context, to->type, id) ? WEIR_CONFLICT : WEIR_OK;
}

int classic_drops(classic_dropped_t *dropped, const weir_schema_t *schema, const weir_uuid_t *id,
                  const weir_json_t *row, bool *ret)
{
    bool can_be_disabled = schema->type == WEIR_SERVICES || schema->type == WEIR_PLUGINS;
    *ret = can_be_disabled && !weir_json_get_boolean(row, "enabled", true);
    if (!*ret && dropped->count > 0)
        *ret = weir_model_references(schema, row, look, dropped) == WEIR_CONFLICT;
    bool has_children = schema->type == WEIR_SERVICES || schema->type == WEIR_ROUTES;
    return *ret && has_children ? drop(dropped, schema->type, id) : WEIR_OK;
}

void classic_dropped_release(classic_dropped_t *dropped)
{
    weir_free(dropped->ids);
    *dropped = (classic_dropped_t){ 0 };
}
