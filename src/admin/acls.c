/* acls.c -- the groups of a consumer, by name: /consumers/{c}/acls/{group} (admin-api 9.8).
 * A group has no key of its own, so its consumer and its name lead to it. */
#include "admin/internal.h"

#include <stdio.h>

/* As the incumbent's core answers, not its Admin API. */
static int answer_no_such_group(call_t *call)
{
    weir_uuid_t id;
    char text[WEIR_UUID_TEXT + 1];
    if (weir_uuid_random(&id) != WEIR_OK)
        return weir_error_set(call->err, WEIR_IO, NULL, "no randomness");
    weir_uuid_format(&id, text);
    weir_buffer_t *out = answer_json(call, 404);
    weir_buffer_append(out, WEIR_STR("{\n  \"message\":\"Not found\",\n  \"request_id\":\""));
    for (const char *c = text; *c != '\0'; c++)
        if (*c != '-')
            weir_buffer_byte(out, *c);
    weir_buffer_append(out, WEIR_STR("\"\n}"));
    return out->failed == WEIR_OK ? ANSWERED : weir_error_memory(call->err);
}

static bool names_a_group(const call_t *call)
{
    weir_uuid_t id;
    return weir_uuid_parse(call->parameters[1], &id) != WEIR_OK;
}

/* The id of the consumer's group of that name. WEIR_NOT_FOUND if there is none, also if
 * there is no such consumer. */
static int find_group(call_t *call, weir_uuid_t *ret)
{
    WEIR_AUTO(located) located_t consumer = { 0 };
    weir_row_t row;
    int rc = locate(call, call->path->parent, call->parameters[0], &consumer);
    if (rc != WEIR_OK)
        return rc;
    if (!consumer.there)
        return WEIR_NOT_FOUND;
    char id[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&consumer.id, id);
    weir_str_t key =
        weir_arena_printf(call->arena, "%s:%.*s", id, WEIR_STR_ARG(call->parameters[1]));
    if (key.data == NULL)
        return weir_error_memory(call->err);
    rc = row_find(call, WEIR_ACLS, "cache_key", key, call->arena, &row);
    if (rc == WEIR_OK)
        *ret = row.id;
    return rc;
}

int before_acl(call_t *call)
{
    weir_uuid_t id;
    if (!names_a_group(call) || call->method == METHOD_PUT)
        return WEIR_OK;
    int rc = find_group(call, &id);
    return rc == WEIR_NOT_FOUND ? answer_no_such_group(call) : rc;
}

/* PUT of a group that is not there makes it. */
static int prepare_group(call_t *call, weir_uuid_t *ret)
{
    int rc = find_group(call, ret);
    if (call->method != METHOD_PUT)
        return rc == WEIR_NOT_FOUND ? answer_no_such_group(call) : rc;
    if (rc == WEIR_NOT_FOUND)
        rc = weir_uuid_random(ret);
    if (rc == WEIR_OK && weir_json_get(call->body, "group") == NULL)
        rc = set_text(call->body, "group", call->parameters[1]);
    return rc == WEIR_NO_MEMORY ? weir_error_memory(call->err) : rc;
}

/* As if its id had been in the path. */
static int attempt_group(call_t *call)
{
    weir_uuid_t id;
    weir_str_t group = call->parameters[1];
    int rc = prepare_group(call, &id);
    if (rc != WEIR_OK)
        return rc;
    char text[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&id, text);
    call->parameters[1] = weir_str(text);
    rc = attempt_nested(call);
    call->parameters[1] = group;
    return rc;
}

int handle_acl(call_t *call)
{
    return repeat(call, call->parameters[1], names_a_group(call) ? attempt_group : attempt_nested);
}
