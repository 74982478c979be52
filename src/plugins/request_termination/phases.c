/* phases.c -- request-termination: answers instead of the upstream.
 *
 * spec: plugins 2.11. It comes last, so authentication, limits and transformers
 * have had their say. */
#include "plugins/request_termination/request_termination.h"

typedef struct config {
    uint64_t status, echo;
    weir_str_t trigger, content_type, body, message;
} config_t;

static bool read_config(weir_str_t record, config_t *ret)
{
    weir_record_reader_t in = weir_record_read(record);
    return weir_record_u64(&in, &ret->status) && weir_record_u64(&in, &ret->echo) &&
           weir_record_str(&in, &ret->trigger) && weir_record_str(&in, &ret->content_type) &&
           weir_record_str(&in, &ret->body) && weir_record_str(&in, &ret->message) &&
           ret->status >= 100 && ret->status <= 599;
}

static bool is_triggered(weir_request_t *request, weir_str_t trigger)
{
    weir_str_t ignored;
    return trigger.data == NULL || weir_request_header(request, trigger, 0, &ignored) ||
           weir_request_argument(request, trigger, 0, &ignored);
}

static weir_phase_result_t answer_echo(weir_request_t *request, const config_t *config)
{
    int rc = weir_request_read_body(request);
    if (rc == WEIR_AGAIN)
        return WEIR_PHASE_AGAIN;
    if (rc != WEIR_OK && rc != WEIR_TOO_LARGE) /* then it is echoed without its body */
        return WEIR_PHASE_ERROR;
    weir_str_t body = request_termination_echo(request, config->message);
    if (body.data == NULL)
        return WEIR_PHASE_ERROR;
    rc =
        weir_request_answer(request, (int)config->status, WEIR_STR(REQUEST_TERMINATION_JSON), body);
    return rc == WEIR_OK ? WEIR_PHASE_ANSWER : WEIR_PHASE_ERROR;
}

static weir_phase_result_t access_phase(weir_request_t *request, weir_str_t record)
{
    config_t config;
    if (!read_config(record, &config))
        return WEIR_PHASE_ERROR;
    if (!is_triggered(request, config.trigger))
        return WEIR_PHASE_NEXT;
    if (config.echo != 0)
        return answer_echo(request, &config);
    int rc = weir_request_answer(request, (int)config.status, config.content_type, config.body);
    return rc == WEIR_OK ? WEIR_PHASE_ANSWER : WEIR_PHASE_ERROR;
}

const weir_plugin_t weir_plugin_request_termination = {
    .abi = WEIR_PLUGIN_ABI,
    .schema = &weir_plugin_schema_request_termination,
    .compile = request_termination_compile,
    .access = access_phase,
};
