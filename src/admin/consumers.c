/* consumers.c -- the one thing that is special about consumers (admin-api 9.6). */
#include "admin/internal.h"

/* ?custom_id=x: a list of the one that has it, or of none. */
static int find_by_custom_id(call_t *call, const argument_t *custom_id)
{
    if (custom_id->value.len == 0 || arguments_count(&call->query, "custom_id") > 1)
        return answer_message(call, 400, "custom_id must be an unempty string");
    weir_row_t row;
    int rc = weir_store_find(call->admin->options.store, WEIR_CONSUMERS, "custom_id",
                             custom_id->value, call->arena, &row, call->err);
    if (rc != WEIR_OK && rc != WEIR_NOT_FOUND)
        return rc;
    weir_buffer_t *out = answer_json(call, 200);
    weir_buffer_append(out, WEIR_STR("{\"data\":["));
    if (rc == WEIR_OK)
        weir_buffer_append(out, row.document);
    weir_buffer_append(out, WEIR_STR("],\"next\":null}"));
    return out->failed == WEIR_OK ? ANSWERED : weir_error_memory(call->err);
}

int handle_consumers(call_t *call)
{
    const argument_t *custom_id = arguments_find(&call->query, "custom_id");
    if (call->method == METHOD_GET && custom_id != NULL)
        return find_by_custom_id(call, custom_id);
    return handle_collection(call);
}
