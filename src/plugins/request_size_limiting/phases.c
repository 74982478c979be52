/* phases.c -- request-size-limiting: a body may be so long, and no longer.
 *
 * spec: plugins 2.12. A request that says how long its body is is judged by that, before
 * a byte of the body is read; of others the body is awaited and measured. */
#include "plugins/request_size_limiting/request_size_limiting.h"

#include <strings.h>

typedef struct config {
    int64_t most;
    uint64_t needs_length;
} config_t;

static bool read_config(weir_str_t record, config_t *ret)
{
    weir_record_reader_t in = weir_record_read(record);
    uint64_t most = 0;
    bool good = weir_record_u64(&in, &most) && weir_record_u64(&in, &ret->needs_length);
    ret->most = (int64_t)most;
    return good;
}

static weir_phase_result_t refuse(weir_request_t *request, int status, const char *message)
{
    return weir_request_fail(request, status, weir_str(message)) == WEIR_OK ? WEIR_PHASE_ANSWER
                                                                            : WEIR_PHASE_ERROR;
}

static bool awaits_continue(weir_request_t *request)
{
    static const char expected[] = "100-continue";
    weir_str_t value;
    return weir_request_header(request, WEIR_STR("Expect"), 0, &value) &&
           value.len == sizeof(expected) - 1 && strncasecmp(value.data, expected, value.len) == 0;
}

static weir_phase_result_t judge(weir_request_t *request, const config_t *config, int64_t size)
{
    if (size <= config->most)
        return WEIR_PHASE_NEXT;
    return refuse(request, awaits_continue(request) ? 417 : 413, "Request size limit exceeded");
}

/* False: it does not say so in a number. */
static bool said_length(weir_request_t *request, int64_t *ret)
{
    weir_str_t text;
    if (!weir_request_header(request, WEIR_STR("Content-Length"), 0, &text) || text.len == 0)
        return false;
    *ret = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        if (*ret < INT64_MAX / 10 - 1) /* else it is too long for anything, whatever follows */
            *ret = *ret * 10 + (text.data[i] - '0');
    }
    return true;
}

static weir_phase_result_t access_phase(weir_request_t *request, weir_str_t record)
{
    config_t config;
    weir_str_t encoding = { "", 0 };
    int64_t size = 0;
    if (!read_config(record, &config))
        return WEIR_PHASE_ERROR;
    if (said_length(request, &size))
        return judge(request, &config, size);
    weir_request_header(request, WEIR_STR("Transfer-Encoding"), 0, &encoding);
    if (config.needs_length != 0 && !weir_str_is(encoding, "chunked"))
        return refuse(request, 411, "A valid Content-Length header is required");
    int rc = weir_request_read_body(request);
    if (rc == WEIR_AGAIN)
        return WEIR_PHASE_AGAIN;
    if (rc != WEIR_OK && rc != WEIR_TOO_LARGE) /* too large to be looked at, but measured */
        return WEIR_PHASE_ERROR;
    return judge(request, &config, weir_request_body_size(request));
}

const weir_plugin_t weir_plugin_request_size_limiting = {
    .abi = WEIR_PLUGIN_ABI,
    .schema = &weir_plugin_schema_request_size_limiting,
    .compile = request_size_limiting_compile,
    .access = access_phase,
};
