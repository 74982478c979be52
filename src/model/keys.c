/* keys.c -- what a store or an image indexes of an entity: identity, unique keys,
 * references. */
#include "base/json.h"
#include "model/model.h"

#include <stdio.h>

/* Namespace of ids that are derived from keys; ours, never shown to a client. */
static const weir_uuid_t key_space = { { 0x8a, 0x0d, 0x5c, 0x3e, 0x51, 0x7b, 0x4f, 0x0c, 0x9a, 0x43,
                                         0x6e, 0x1c, 0x27, 0xb9, 0x64, 0xd2 } };

int weir_entity_id(const weir_schema_t *schema, const weir_json_t *entity, weir_uuid_t *ret)
{
    weir_str_t key = weir_json_get_string(entity, schema->primary_key, (weir_str_t){ NULL, 0 });
    if (key.data == NULL)
        return WEIR_INVALID;
    if (strcmp(schema->primary_key, "id") == 0)
        return weir_uuid_parse(key, ret);
    weir_uuid_named(&key_space, key, ret);
    return WEIR_OK;
}

/* The parts of a composite key joined by ':'; a foreign one by its id, null as
 * nothing: the incumbent's cache_key without its padding. */
static int composite_key(const weir_schema_t *schema, const weir_json_t *entity, weir_buffer_t *out)
{
    for (const char *const *name = schema->cache_key; *name != NULL; name++) {
        const weir_json_t *value = weir_json_get(entity, *name);
        if (name != schema->cache_key)
            weir_buffer_byte(out, ':');
        if (weir_json_kind(value) == WEIR_JSON_OBJECT)
            weir_buffer_append(out, weir_json_get_string(value, "id", WEIR_STR("")));
        else if (weir_json_kind(value) == WEIR_JSON_STRING)
            weir_buffer_append(out, weir_json_string(value));
    }
    return out->failed;
}

int weir_model_keys(const weir_schema_t *schema, const weir_json_t *entity,
                    int (*key)(void *context, const char *name, weir_str_t value), void *context)
{
    int rc = WEIR_OK;
    for (const weir_field_t *field = schema->fields; rc == WEIR_OK && field->name != NULL;
         field++) {
        if (!(field->flags & WEIR_UNIQUE))
            continue;
        weir_str_t value = weir_json_get_string(entity, field->name, (weir_str_t){ NULL, 0 });
        if (value.data != NULL)
            rc = key(context, field->name, value);
    }
    if (rc != WEIR_OK || schema->cache_key == NULL)
        return rc;
    weir_buffer_t joined;
    weir_buffer_init(&joined, 64 * 1024);
    rc = composite_key(schema, entity, &joined);
    if (rc == WEIR_OK)
        rc = key(context, "cache_key", weir_buffer_str(&joined));
    weir_buffer_release(&joined);
    return rc;
}

int weir_model_references(const weir_schema_t *schema, const weir_json_t *entity,
                          int (*reference)(void *context, const weir_field_t *field,
                                           const weir_schema_t *to, const weir_uuid_t *id),
                          void *context)
{
    int rc = WEIR_OK;
    for (const weir_field_t *field = schema->fields; rc == WEIR_OK && field->name != NULL;
         field++) {
        if (field->type != WEIR_TYPE_FOREIGN)
            continue;
        const weir_json_t *value = weir_json_get(entity, field->name);
        weir_uuid_t id;
        if (weir_uuid_parse(weir_json_get_string(value, "id", WEIR_STR("")), &id) != WEIR_OK)
            continue;
        const weir_schema_t *to = weir_schema_named(weir_str(field->to));
        if (to != NULL)
            rc = reference(context, field, to, &id);
    }
    return rc;
}
