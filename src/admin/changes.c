/* changes.c -- the way of each change to the data planes, by version
 * (docs/admin-extensions.md). The host knows it. */
#include "admin/internal.h"

static int answer_none(call_t *call)
{
    return answer_message(call, 404, "this node has no data planes to follow a change to");
}

/* The offset of a page is the version that the page before it ended with. */
static int parse_before(call_t *call, const page_t *page, uint64_t *ret)
{
    int64_t version = INT64_MAX;
    if (page->offset.data != NULL &&
        weir_parse_int64(page->offset, 1, INT64_MAX, &version) != WEIR_OK)
        return answer_bad_offset(call, page->offset, "not a version");
    *ret = (uint64_t)version;
    return WEIR_OK;
}

/* Makes "next" the path of the next page, with its offset beside it, as in every list. */
static int complete(call_t *call, weir_json_t *list, const page_t *page)
{
    const weir_json_t *next = weir_json_get(list, "next");
    if (weir_json_is_null(next))
        return WEIR_OK;
    weir_str_t offset = weir_arena_printf(call->arena, "%.0f", weir_json_number(next));
    weir_str_t path = weir_arena_printf(call->arena, "/clustering/changes?offset=%s&size=%zu",
                                        offset.data != NULL ? offset.data : "", page->size);
    if (offset.data == NULL || path.data == NULL)
        return weir_error_memory(call->err);
    int rc = weir_json_set(list, "offset", weir_json_new_string(offset));
    if (rc == WEIR_OK)
        rc = weir_json_set(list, "next", weir_json_new_string(path));
    return rc == WEIR_OK ? WEIR_OK : weir_error_memory(call->err);
}

int handle_changes(call_t *call)
{
    const weir_admin_host_t *host = &call->admin->options.host;
    if (host->changes == NULL)
        return answer_none(call);
    page_t page = { 0 };
    uint64_t before = 0;
    WEIR_AUTO(json) weir_json_t *list = NULL;
    int rc = page_parse(call, false, &page);
    if (rc == WEIR_OK)
        rc = parse_before(call, &page, &before);
    if (rc == WEIR_OK)
        rc = host->changes(host->context, before, page.size, &list, call->err);
    if (rc == WEIR_NOT_FOUND)
        return answer_none(call);
    if (rc == WEIR_OK)
        rc = complete(call, list, &page);
    return rc == WEIR_OK ? answer_value(call, 200, list) : rc;
}

int handle_change(call_t *call)
{
    const weir_admin_host_t *host = &call->admin->options.host;
    if (host->change == NULL)
        return answer_none(call);
    int64_t version = 0;
    if (weir_parse_int64(call->parameters[0], 1, INT64_MAX, &version) != WEIR_OK)
        return answer_message(call, 400, "a version is a whole number from 1 on");
    WEIR_AUTO(json) weir_json_t *change = NULL;
    weir_error_t why = { 0 };
    int rc = host->change(host->context, (uint64_t)version, &change, &why);
    if (rc == WEIR_NOT_FOUND)
        return answer_message(call, 404, "%s", why.reason);
    if (rc == WEIR_OK)
        return answer_value(call, 200, change);
    *call->err = why;
    return rc;
}
