/* compile.c -- the configuration of request-termination as a record: the answer
 * is made here, once. */
#include "plugins/request_termination/request_termination.h"

static const weir_str_t absent = { NULL, 0 };

/* spec: plugins 2.11. Statuses that are not here have no body of their own. */
static weir_str_t message_of(const weir_json_t *config, unsigned status)
{
    static const struct {
        unsigned status;
        const char *message;
    } initial[] = {
        { 401, "Unauthorized" },       { 404, "Not found" },
        { 405, "Method not allowed" }, { 500, "An unexpected error occurred" },
        { 502, "Bad Gateway" },        { 503, "Service unavailable" },
    };
    weir_str_t message = weir_json_get_string(config, "message", absent);
    for (size_t i = 0; message.data == NULL && i < sizeof(initial) / sizeof(initial[0]); i++)
        if (initial[i].status == status)
            return weir_str(initial[i].message);
    return message;
}

static int put_message_body(weir_str_t message, weir_record_writer_t *out)
{
    weir_json_t *body = weir_json_new_object();
    int rc = body != NULL ? weir_json_set(body, "message", weir_json_new_string(message))
                          : WEIR_NO_MEMORY;
    weir_record_put_str(out, WEIR_STR(REQUEST_TERMINATION_JSON));
    rc = weir_record_put_json(out, rc == WEIR_OK ? body : NULL);
    weir_json_free(body);
    return rc;
}

int request_termination_compile(const weir_json_t *config, weir_record_writer_t *out,
                                weir_error_t *err)
{
    (void)err; /* the configuration is valid, and a lack of memory needs no words */
    unsigned status = (unsigned)weir_json_get_number(config, "status_code", 503);
    bool echo = weir_json_get_boolean(config, "echo", false);
    weir_str_t body = weir_json_get_string(config, "body", absent);
    weir_str_t message = message_of(config, status);
    weir_record_put_u64(out, status);
    weir_record_put_u64(out, echo ? 1 : 0);
    weir_record_put_str(out, weir_json_get_string(config, "trigger", absent));
    if (!echo && body.data == NULL && message.data != NULL) {
        int rc = put_message_body(message, out);
        if (rc != WEIR_OK)
            return rc;
    } else {
        weir_record_put_str(out, weir_json_get_string(config, "content_type", absent));
        weir_record_put_str(out, body);
    }
    return weir_record_put_str(out, echo ? message : absent);
}
