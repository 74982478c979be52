/* phases.c -- correlation-id: every request has an id in a header, its own or one of ours.
 *
 * spec: plugins 2.13. */
#include "plugins/correlation_id/correlation_id.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum { ID_BYTES_MAX = 256 };

typedef struct config {
    uint64_t generator, echo;
    weir_str_t header;
} config_t;

/* False also if there is nothing to do: without a name there is no header. */
static bool read_config(weir_str_t record, config_t *ret)
{
    weir_record_reader_t in = weir_record_read(record);
    return weir_record_u64(&in, &ret->generator) && weir_record_u64(&in, &ret->echo) &&
           weir_record_str(&in, &ret->header) && ret->generator <= CORRELATION_ID_TRACKER;
}

/* -- ids ------------------------------------------------------------------------- */

/* Of this worker, for as long as it lives: nothing that a change could make wrong. */
static bool count(char text[ID_BYTES_MAX])
{
    static char worker[WEIR_UUID_TEXT_BYTES];
    static uint64_t counter;
    if (counter == 0 && weir_random_uuid(worker) != WEIR_OK)
        return false;
    snprintf(text, ID_BYTES_MAX, "%s#%" PRIu64, worker, ++counter);
    return true;
}

static bool track(weir_request_t *request, char text[ID_BYTES_MAX])
{
    weir_connection_t connection;
    if (weir_request_connection(request, &connection) != WEIR_OK)
        return false;
    int64_t now_ms = weir_request_now_ms(request);
    int len = snprintf(
        text, ID_BYTES_MAX, "%.*s-%u-%ld-%" PRIu64 "-%" PRIu64 "-%" PRId64 ".%03" PRId64,
        WEIR_STR_ARG(connection.server_address), weir_request_port(request), (long)getpid(),
        connection.serial, connection.requests, now_ms / 1000, now_ms % 1000);
    return len > 0 && len < ID_BYTES_MAX;
}

static bool generate(weir_request_t *request, const config_t *config, char text[ID_BYTES_MAX])
{
    switch (config->generator) {
    case CORRELATION_ID_UUID:
        return weir_random_uuid(text) == WEIR_OK;
    case CORRELATION_ID_COUNTER:
        return count(text);
    default:
        return track(request, text);
    }
}

/* The request's own, or what the access phase gave it. An empty one is none. */
static bool find(weir_request_t *request, const config_t *config, weir_str_t *ret)
{
    if (!weir_request_header(request, config->header, 0, ret))
        return false;
    size_t blank = 0;
    while (blank < ret->len && strchr(" \t\r\n\v\f", ret->data[blank]) != NULL &&
           ret->data[blank] != '\0')
        blank++;
    return blank < ret->len;
}

/* -- phases ------------------------------------------------------------------------ */

static weir_phase_result_t access_phase(weir_request_t *request, weir_str_t record)
{
    config_t config;
    weir_str_t id;
    char made[ID_BYTES_MAX];
    if (!read_config(record, &config))
        return WEIR_PHASE_ERROR;
    if (config.header.data == NULL || find(request, &config, &id))
        return WEIR_PHASE_NEXT;
    if (!generate(request, &config, made))
        return WEIR_PHASE_ERROR;
    return weir_request_set_header(request, config.header, weir_str(made)) == WEIR_OK
               ? WEIR_PHASE_NEXT
               : WEIR_PHASE_ERROR;
}

/* Also of an answer that came before the access phase: then the id is made here. */
static void header_filter(weir_request_t *request, weir_str_t record)
{
    config_t config;
    weir_str_t id;
    char made[ID_BYTES_MAX];
    if (!read_config(record, &config) || config.echo == 0 || config.header.data == NULL)
        return;
    if (!find(request, &config, &id)) {
        if (!generate(request, &config, made))
            return;
        id = weir_str(made);
    }
    weir_request_set_answer_header(request, config.header, id);
}

const weir_plugin_t weir_plugin_correlation_id = {
    .abi = WEIR_PLUGIN_ABI,
    .schema = &weir_plugin_schema_correlation_id,
    .compile = correlation_id_compile,
    .access = access_phase,
    .header_filter = header_filter,
};
