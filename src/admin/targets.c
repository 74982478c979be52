/* targets.c -- the targets of an upstream and their health (admin-api 9.3).
 *
 * Unlike other lists this one has the newest first and counts its offset, so the
 * targets of the one upstream are read and sorted. */
#include "admin/internal.h"

#include <stdlib.h>

typedef struct aged {
    double created_at;
    const weir_row_t *row;
} aged_t;

static int newest_first(const void *a, const void *b)
{
    const aged_t *left = a;
    const aged_t *right = b;
    if (left->created_at != right->created_at)
        return left->created_at > right->created_at ? -1 : 1;
    return -memcmp(left->row->id.bytes, right->row->id.bytes, WEIR_UUID_BYTES);
}

static int add_page(call_t *call, const weir_rows_t *page, weir_buffer_t *to)
{
    for (size_t i = 0; i < page->count; i++) {
        WEIR_AUTO(json) weir_json_t *target = NULL;
        int rc = weir_json_parse(page->rows[i].document, &target, call->err);
        if (rc != WEIR_OK)
            return rc;
        aged_t one = { weir_json_get_number(target, "created_at", 0), &page->rows[i] };
        if (weir_buffer_append(to, (weir_str_t){ (const char *)&one, sizeof(one) }) != WEIR_OK)
            return weir_error_memory(call->err);
    }
    return WEIR_OK;
}

/* All of them, as aged_t in `ret`. */
static int read_targets(call_t *call, const weir_uuid_t *upstream, weir_buffer_t *ret)
{
    weir_store_query_t query = { .type = WEIR_TARGETS,
                                 .parent_field = "upstream",
                                 .parent = *upstream,
                                 .limit = PAGE_SIZE_MAX };
    bool more = true;
    while (more) {
        weir_rows_t page;
        int rc = weir_store_list(call->admin->options.store, &query, call->arena, &page, call->err);
        if (rc == WEIR_OK)
            rc = add_page(call, &page, ret);
        if (rc != WEIR_OK)
            return rc;
        more = page.more && page.count > 0;
        if (more) {
            query.has_after = true;
            query.after = page.rows[page.count - 1].id;
        }
    }
    if (ret->len > 0)
        qsort(ret->data, ret->len / sizeof(aged_t), sizeof(aged_t), newest_first);
    return WEIR_OK;
}

/* The count of rows to skip; a bad one is answered. */
static int skip_of(call_t *call, const page_t *page, size_t *ret)
{
    int64_t skip = 0;
    *ret = 0;
    if (page->offset.data == NULL)
        return WEIR_OK;
    if (weir_parse_int64(page->offset, 0, INT32_MAX, &skip) != WEIR_OK)
        return answer_bad_offset(call, page->offset, "not a number");
    *ret = (size_t)skip;
    return WEIR_OK;
}

static void end_list(call_t *call, size_t next, bool more, const char *collection)
{
    weir_buffer_t *out = &call->response->body;
    if (!more) {
        weir_buffer_append(out, WEIR_STR("],\"next\":null"));
        return;
    }
    weir_str_t path = weir_arena_printf(call->arena, "/upstreams/%.*s/%s?offset=%zu",
                                        WEIR_STR_ARG(call->raw[0]), collection, next);
    weir_buffer_append(out, WEIR_STR("],\"next\":"));
    weir_json_print_string(path, out);
    weir_buffer_printf(out, ",\"offset\":\"%zu\"", next);
    if (path.data == NULL)
        out->failed = WEIR_NO_MEMORY;
}

static int parse_page(call_t *call, page_t *page, size_t *ret_skip)
{
    int rc = page_parse(call, true, page);
    return rc == WEIR_OK ? skip_of(call, page, ret_skip) : rc;
}

/* One page of an upstream's targets, open behind the end of the list: the caller writes
 * what follows and closes the object. `collection` is the path's last part. ANSWERED when
 * a bad page was answered instead. */
static int list_targets(call_t *call, const located_t *upstream, const char *collection,
                        weir_buffer_t **ret)
{
    page_t page = { .cap_size = true };
    size_t skip = 0;
    int rc = parse_page(call, &page, &skip);
    WEIR_AUTO(buffer) weir_buffer_t rows;
    weir_buffer_init(&rows, SIZE_MAX);
    if (rc == WEIR_OK)
        rc = read_targets(call, &upstream->id, &rows);
    if (rc != WEIR_OK)
        return rc;
    const aged_t *sorted = (const aged_t *)(const void *)rows.data;
    size_t count = rows.len / sizeof(*sorted);
    size_t end = skip + page.size < count ? skip + page.size : count;
    weir_buffer_t *out = answer_json(call, 200);
    weir_buffer_append(out, WEIR_STR("{\"data\":["));
    for (size_t i = skip; i < end; i++) {
        weir_buffer_append(out, i > skip ? WEIR_STR(",") : WEIR_STR(""));
        weir_buffer_append(out, sorted[i].row->document);
    }
    end_list(call, end, end < count, collection);
    *ret = out;
    return WEIR_OK;
}

static int answer_targets(call_t *call, const located_t *upstream)
{
    weir_buffer_t *out = NULL;
    int rc = list_targets(call, upstream, "targets", &out);
    if (rc != WEIR_OK)
        return rc;
    weir_buffer_byte(out, '}');
    return out->failed == WEIR_OK ? ANSWERED : weir_error_memory(call->err);
}

static int attempt_create(call_t *call)
{
    WEIR_AUTO(located) located_t upstream = { 0 };
    int rc = parent_of(call, &upstream);
    if (rc != WEIR_OK)
        return rc;
    if (set_reference(call->body, "upstream", &upstream.id) != WEIR_OK)
        return weir_error_memory(call->err);
    return create(call, call->path->schema);
}

int handle_targets(call_t *call)
{
    if (call->method == METHOD_POST)
        return repeat(call, WEIR_STR("POST"), attempt_create);
    WEIR_AUTO(located) located_t upstream = { 0 };
    int rc = parent_of(call, &upstream);
    return rc == WEIR_OK ? answer_targets(call, &upstream) : rc;
}

int handle_targets_all(call_t *call)
{
    WEIR_AUTO(located) located_t upstream = { 0 };
    int rc = parent_of(call, &upstream);
    page_t page = { 0 };
    if (rc == WEIR_OK)
        rc = page_parse(call, true, &page);
    if (rc != WEIR_OK)
        return rc;
    weir_str_t path =
        weir_arena_printf(call->arena, "/upstreams/%.*s/targets/all", WEIR_STR_ARG(call->raw[0]));
    if (path.data == NULL)
        return weir_error_memory(call->err);
    return list_rows(call, call->path->schema, &upstream, "upstream", &page, path);
}

/* -- one target ---------------------------------------------------------------------------- */

/* By UUID, or by its text within the upstream. Somebody else's is not there. */
static int locate_target(call_t *call, const weir_uuid_t *upstream, weir_str_t text, located_t *ret)
{
    const weir_schema_t *targets = weir_schema(WEIR_TARGETS);
    weir_uuid_t id;
    weir_uuid_t owner;
    if (weir_uuid_parse(text, &id) == WEIR_OK) {
        int rc = locate_id(call, targets, &id, ret);
        if (rc == WEIR_OK && ret->there)
            rc = located_parse(call, ret);
        if (rc == WEIR_OK && ret->there &&
            (reference_of(ret->entity, "upstream", &owner) != WEIR_OK ||
             !weir_uuid_equal(&owner, upstream)))
            ret->there = false;
        return rc;
    }
    *ret = (located_t){ .schema = targets, .text = text };
    char owner_text[WEIR_UUID_TEXT + 1];
    weir_uuid_format(upstream, owner_text);
    weir_str_t key =
        weir_arena_printf(call->arena, "%s:%.*s", owner_text, WEIR_STR_ARG(text)); /* cache_key */
    if (key.data == NULL)
        return weir_error_memory(call->err);
    int rc = row_find(call, WEIR_TARGETS, "cache_key", key, call->arena, &ret->row);
    ret->there = rc == WEIR_OK;
    ret->id = ret->row.id;
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

/* Both, or a 404. */
static int upstream_and_target(call_t *call, located_t *upstream, located_t *target)
{
    int rc = parent_of(call, upstream);
    if (rc == WEIR_OK)
        rc = locate_target(call, &upstream->id, call->parameters[1], target);
    return rc == WEIR_OK && !target->there ? answer_not_found(call) : rc;
}

static int attempt_target(call_t *call)
{
    WEIR_AUTO(located) located_t upstream = { 0 };
    WEIR_AUTO(located) located_t target = { 0 };
    int rc = upstream_and_target(call, &upstream, &target);
    if (rc != WEIR_OK)
        return rc;
    switch (call->method) {
    case METHOD_PUT: /* merges, unlike elsewhere */
    case METHOD_PATCH:
        return patch_entity(call, &target);
    case METHOD_DELETE:
        return delete_entity(call, &target, target.row.version);
    default:
        return answer_row(call, 200, target.schema, &target.row);
    }
}

int handle_target(call_t *call)
{
    return repeat(call, call->parameters[1], attempt_target);
}

/* -- health --------------------------------------------------------------------------------- */

/* This room knows no balancer: `health` and `data` are missing, as they are with
 * the incumbent on a node that balances nothing. */
static int answer_balancer_health(call_t *call, const located_t *upstream)
{
    char id[WEIR_UUID_TEXT + 1];
    char node[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&upstream->id, id);
    weir_uuid_format(&call->admin->options.node_id, node);
    weir_buffer_t *out = answer_json(call, 200);
    weir_buffer_printf(out, "{\"next\":null,\"node_id\":\"%s\"}", node);
    return out->failed == WEIR_OK ? ANSWERED : weir_error_memory(call->err);
}

int handle_health(call_t *call)
{
    WEIR_AUTO(located) located_t upstream = { 0 };
    int rc = parent_of(call, &upstream);
    if (rc != WEIR_OK)
        return rc;
    const argument_t *whole = arguments_find(&call->query, "balancer_health");
    if (whole != NULL && weir_str_is(whole->value, "1"))
        return answer_balancer_health(call, &upstream);
    weir_buffer_t *out = NULL;
    rc = list_targets(call, &upstream, "health", &out);
    if (rc != WEIR_OK)
        return rc;
    char node[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&call->admin->options.node_id, node);
    weir_buffer_printf(out, ",\"node_id\":\"%s\"}", node);
    return out->failed == WEIR_OK ? ANSWERED : weir_error_memory(call->err);
}

int handle_target_health(call_t *call)
{
    WEIR_AUTO(located) located_t upstream = { 0 };
    WEIR_AUTO(located) located_t target = { 0 };
    int rc = upstream_and_target(call, &upstream, &target);
    if (rc == WEIR_OK)
        rc = located_parse(call, &upstream);
    if (rc == WEIR_OK)
        rc = located_parse(call, &target);
    if (rc != WEIR_OK)
        return rc;
    const weir_admin_host_t *host = &call->admin->options.host;
    weir_str_t address =
        call->path->parameter_count == 3 ? call->parameters[2] : (weir_str_t){ NULL, 0 };
    bool healthy = weir_str_is(call->path->segments[call->path->segment_count - 1], "healthy");
    rc = host->set_health != NULL ? host->set_health(host->context, upstream.entity, target.entity,
                                                     address, healthy, call->err)
                                  : WEIR_NOT_FOUND;
    if (rc == WEIR_NOT_FOUND)
        return answer_message(
            call, 400, "no healthchecker found for %.*s",
            WEIR_STR_ARG(weir_json_get_string(upstream.entity, "name", WEIR_STR(""))));
    return rc == WEIR_OK ? answer_empty(call, 204) : rc;
}
