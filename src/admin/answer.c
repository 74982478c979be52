/* answer.c -- putting answers together: messages, structured errors, pages
 * (admin-api 1, 6.1, 6.2). */
#include "admin/internal.h"

#include <stdarg.h>

void answer_header(call_t *call, const char *name, weir_str_t value)
{
    weir_admin_response_t *response = call->response;
    weir_assert(response->header_count < RESPONSE_HEADERS_MAX);
    response->headers[response->header_count++] = (weir_admin_header_t){ weir_str(name), value };
}

static void content_type(call_t *call, weir_str_t value)
{
    for (size_t i = 0; i < call->response->header_count; i++)
        if (weir_str_is(call->response->headers[i].name, "Content-Type")) {
            call->response->headers[i].value = value;
            return;
        }
    answer_header(call, "Content-Type", value);
}

weir_buffer_t *answer_json(call_t *call, int status)
{
    call->response->status = status;
    content_type(call, WEIR_STR("application/json; charset=utf-8"));
    weir_buffer_clear(&call->response->body);
    return &call->response->body;
}

/* Whether the body could be written. */
static int finished(call_t *call)
{
    int failed = call->response->body.failed;
    if (failed == WEIR_OK)
        return ANSWERED;
    return failed == WEIR_TOO_LARGE ? weir_error_set(call->err, WEIR_TOO_LARGE, NULL,
                                                     "the answer would be longer than %zu bytes",
                                                     call->response->body.len_max)
                                    : weir_error_memory(call->err);
}

int answer_empty(call_t *call, int status)
{
    call->response->status = status;
    weir_buffer_clear(&call->response->body);
    return ANSWERED;
}

int answer_text(call_t *call, int status, weir_str_t text)
{
    call->response->status = status;
    content_type(call, WEIR_STR("text/plain; charset=UTF-8"));
    weir_buffer_clear(&call->response->body);
    weir_buffer_append(&call->response->body, text);
    return finished(call);
}

int answer_page(call_t *call, int status)
{
    const char *title = status == 415   ? "Unsupported Media Type"
                        : status == 404 ? "Not Found"
                                        : "Bad Request";
    call->response->status = status;
    content_type(call, WEIR_STR("text/html; charset=UTF-8"));
    weir_buffer_clear(&call->response->body);
    weir_buffer_printf(&call->response->body,
                       "<!doctype html>\n<html><head><title>%d %s</title></head>"
                       "<body><h1>%d %s</h1></body></html>\n",
                       status, title, status, title);
    return finished(call);
}

int answer_message(call_t *call, int status, const char *format, ...)
{
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    weir_str_t said = weir_str_format(text, sizeof(text), format, arguments);
    va_end(arguments);
    weir_buffer_t *out = answer_json(call, status);
    weir_buffer_append(out, WEIR_STR("{\"message\":"));
    weir_json_print_string(said, out);
    weir_buffer_byte(out, '}');
    return finished(call);
}

int answer_not_found(call_t *call)
{
    return answer_message(call, 404, "Not found");
}

int answer_value(call_t *call, int status, const weir_json_t *value)
{
    if (value == NULL)
        return weir_error_memory(call->err);
    weir_json_print(value, answer_json(call, status));
    return finished(call);
}

/* -- structured errors ---------------------------------------------------------- */

static int status_of(int code)
{
    switch (code) {
    case 5:
        return 409;
    case 6:
        return 404;
    case 12:
        return 405;
    case 8:
    case 15:
    case 16:
    case 17:
    case 18:
        return 500;
    default:
        return 400;
    }
}

int answer_problem(call_t *call, weir_problem_t *problem)
{
    weir_buffer_t *out = answer_json(call, status_of(problem->code));
    weir_buffer_printf(out, "{\"code\":%d,\"name\":", problem->code);
    weir_json_print_string(weir_str(problem->name), out);
    weir_buffer_append(out, WEIR_STR(",\"message\":"));
    weir_json_print_string(weir_buffer_str(&problem->message), out);
    if (problem->fields != NULL) {
        weir_buffer_append(out, problem->code == 11 ? WEIR_STR(",\"options\":")
                                                    : WEIR_STR(",\"fields\":"));
        weir_json_print(problem->fields, out);
    }
    weir_buffer_byte(out, '}');
    weir_problem_release(problem);
    return finished(call);
}

int answer_refusal(call_t *call, int rc, weir_problem_t *problem)
{
    if (rc == WEIR_INVALID)
        return answer_problem(call, problem);
    weir_problem_release(problem);
    if (rc == WEIR_NO_MEMORY)
        return weir_error_memory(call->err);
    if (call->err->code == WEIR_OK)
        weir_error_set(call->err, rc, NULL, "the write could not be judged: %s",
                       weir_code_name(rc));
    return rc;
}

int answer_violation(call_t *call, const char *field, const char *format, ...)
{
    char text[2048];
    va_list arguments;
    va_start(arguments, format);
    weir_str_t said = weir_str_format(text, sizeof(text), format, arguments);
    va_end(arguments);
    weir_problem_t problem;
    weir_problem_init(&problem);
    weir_json_t *fields = weir_json_new_object();
    int rc = WEIR_NO_MEMORY;
    if (fields != NULL && weir_json_set(fields, field, weir_json_new_string(said)) == WEIR_OK)
        rc = weir_problem_schema_violation(&problem, fields);
    else
        weir_json_free(fields);
    return answer_refusal(call, rc, &problem);
}
