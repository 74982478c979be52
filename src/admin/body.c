/* body.c -- what a request brings along: content type, JSON, forms (admin-api 3). */
#include "admin/internal.h"

#include <strings.h>

typedef enum body_kind {
    BODY_NONE = 0,
    BODY_JSON,
    BODY_MULTIPART,
    BODY_FORM,
    BODY_YAML,
} body_kind_t;

static weir_str_t header(const weir_admin_request_t *request, const char *name, size_t *ret_count)
{
    weir_str_t value = { NULL, 0 };
    *ret_count = 0;
    for (size_t i = 0; i < request->header_count; i++) {
        const weir_admin_header_t *one = &request->headers[i];
        if (one->name.len != strlen(name) || strncasecmp(one->name.data, name, one->name.len) != 0)
            continue;
        if (++*ret_count == 1)
            value = one->value.data != NULL ? one->value : WEIR_STR("");
    }
    return value;
}

/* By how the content type begins, as it is written. */
static body_kind_t kind_of(weir_str_t content_type)
{
    static const struct {
        weir_str_t prefix;
        body_kind_t kind;
    } kinds[] = {
        { WEIR_STR("application/json"), BODY_JSON },
        { WEIR_STR("multipart/form-data"), BODY_MULTIPART },
        { WEIR_STR("application/x-www-form-urlencoded"), BODY_FORM },
        { WEIR_STR("application/yaml"), BODY_YAML },
        { WEIR_STR("text/yaml"), BODY_YAML },
    };
    for (size_t i = 0; i < WEIR_COUNT(kinds); i++)
        if (weir_str_starts(content_type, kinds[i].prefix))
            return kinds[i].kind;
    return BODY_NONE;
}

int body_gate(call_t *call)
{
    if (!(call->method & (METHOD_POST | METHOD_PUT | METHOD_PATCH)))
        return WEIR_OK;
    size_t count = 0;
    weir_str_t content_type = header(call->request, "content-type", &count);
    if (count > 1)
        return answer_text(call, 400, WEIR_STR("Multiple Content-Type headers not allowed"));
    if (count == 0)
        return call->request->has_body || call->request->chunked ? answer_page(call, 415) : WEIR_OK;
    body_kind_t kind = kind_of(content_type);
    weir_str_t config = WEIR_STR("/config");
    bool is_config = weir_str_starts(call->request->target, config);
    if (kind == BODY_NONE || (kind == BODY_YAML && !is_config))
        return answer_page(call, 415);
    return WEIR_OK;
}

static int parse_json(call_t *call)
{
    weir_json_t *value = NULL;
    bool has_mark = weir_str_starts(call->request->body, WEIR_STR("\xef\xbb\xbf"));
    int rc = has_mark ? WEIR_INVALID : weir_json_parse(call->request->body, &value, NULL);
    if (rc == WEIR_NO_MEMORY)
        return weir_error_memory(call->err);
    if (rc == WEIR_OK && weir_json_kind(value) == WEIR_JSON_OBJECT) {
        call->body = value;
        return WEIR_OK;
    }
    bool empty_list =
        rc == WEIR_OK && weir_json_kind(value) == WEIR_JSON_ARRAY && weir_json_first(value) == NULL;
    weir_json_free(value);
    if (!empty_list)
        return answer_message(call, 400, "Cannot parse JSON body");
    call->body = weir_json_new_object();
    return call->body != NULL ? WEIR_OK : weir_error_memory(call->err);
}

/* JSON texts end at a NUL byte: one inside a form could only be misread. */
static bool has_nul(const arguments_t *arguments)
{
    for (size_t i = 0; i < arguments->count; i++) {
        const argument_t *one = &arguments->list[i];
        if (memchr(one->name.data, '\0', one->name.len) != NULL ||
            (one->value.len > 0 && memchr(one->value.data, '\0', one->value.len) != NULL))
            return true;
    }
    return false;
}

static int parse_form(call_t *call, body_kind_t kind, weir_str_t content_type)
{
    arguments_t arguments;
    int rc = kind == BODY_FORM
                 ? arguments_parse(call->arena, call->request->body, &arguments)
                 : multipart_parse(call->arena, content_type, call->request->body, &arguments);
    if (rc == WEIR_TOO_LARGE)
        return answer_message(call, 400, "Too many arguments");
    if (rc != WEIR_OK)
        return weir_error_memory(call->err);
    if (has_nul(&arguments))
        return answer_message(call, 400, "Cannot parse form body");
    call->is_form = true;
    call->body = form_expand(&arguments, kind == BODY_MULTIPART);
    return call->body != NULL ? WEIR_OK : weir_error_memory(call->err);
}

int body_parse(call_t *call)
{
    if (!(call->method & (METHOD_POST | METHOD_PUT | METHOD_PATCH)))
        return WEIR_OK;
    size_t count = 0;
    weir_str_t content_type = header(call->request, "content-type", &count);
    body_kind_t kind = kind_of(content_type);
    if (kind == BODY_JSON)
        return parse_json(call);
    if (kind == BODY_FORM || kind == BODY_MULTIPART)
        return parse_form(call, kind, content_type);
    call->body = weir_json_new_object();
    return call->body != NULL ? WEIR_OK : weir_error_memory(call->err);
}
