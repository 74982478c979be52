/* phases.c -- test-count: the least of a rate limiter. Counts the requests of a consumer
 * on a route, says so in X-Count, and answers 429 beyond the limit. X-Group tells requests
 * apart as consumers would; X-Times counts so often, each time for itself. */
#include "weir/plugin.h"

#include <stdio.h>
#include <stdlib.h>

extern const weir_plugin_schema_t weir_plugin_schema_test_count;
extern const weir_plugin_t weir_plugin_test_count;

static int compile(const weir_json_t *config, weir_record_writer_t *out, weir_error_t *err)
{
    (void)err;
    weir_record_put_u64(out, (uint64_t)weir_json_get_number(config, "limit", 0));
    return weir_record_put_u64(out, (uint64_t)weir_json_get_number(config, "window", 0));
}

/* What happens when nothing can be counted is for the plugin to say: this one lets
 * nobody pass. */
static weir_phase_result_t refuse(weir_request_t *request, int rc)
{
    weir_str_t why = rc == WEIR_FULL          ? WEIR_STR("counters are full")
                     : rc == WEIR_UNSUPPORTED ? WEIR_STR("there are no counters")
                                              : WEIR_STR("cannot count");
    return weir_request_fail(request, 503, why) == WEIR_OK ? WEIR_PHASE_ANSWER : WEIR_PHASE_ERROR;
}

static unsigned times_of(weir_request_t *request)
{
    enum { DIGITS_MAX = 6 };
    char digits[DIGITS_MAX + 1] = "";
    weir_str_t text;
    if (!weir_request_header(request, WEIR_STR("x-times"), 0, &text) || text.len > DIGITS_MAX)
        return 1;
    memcpy(digits, text.data, text.len);
    return (unsigned)strtoul(digits, NULL, 10);
}

static int count_request(weir_request_t *request, uint64_t window, uint64_t *ret)
{
    char key[128];
    weir_str_t route = weir_request_route_id(request);
    weir_str_t consumer = weir_request_consumer_id(request);
    weir_str_t group = { "", 0 };
    weir_request_header(request, WEIR_STR("x-group"), 0, &group);
    int len = snprintf(key, sizeof(key), "%.*s %.*s %.*s", WEIR_STR_ARG(route),
                       WEIR_STR_ARG(consumer), (int)(group.len % 32), group.data);
    int rc = WEIR_OK;
    for (unsigned times = times_of(request); rc == WEIR_OK && times > 0; times--)
        rc = weir_counter_add(request, (weir_str_t){ key, (size_t)len }, (int64_t)window, 1, ret);
    return rc;
}

static weir_phase_result_t access_phase(weir_request_t *request, weir_str_t record)
{
    char text[32];
    uint64_t limit = 0, window = 0, count = 0;
    weir_record_reader_t in = weir_record_read(record);
    if (!weir_record_u64(&in, &limit) || !weir_record_u64(&in, &window))
        return WEIR_PHASE_ERROR;
    int rc = count_request(request, window, &count);
    if (rc != WEIR_OK)
        return refuse(request, rc);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)count);
    if (weir_request_answer_header(request, WEIR_STR("X-Count"), weir_str(text)) != WEIR_OK)
        return WEIR_PHASE_ERROR;
    if (count <= limit)
        return WEIR_PHASE_NEXT;
    return weir_request_fail(request, 429, WEIR_STR("too many requests")) == WEIR_OK
               ? WEIR_PHASE_ANSWER
               : WEIR_PHASE_ERROR;
}

const weir_plugin_t weir_plugin_test_count = {
    .abi = WEIR_PLUGIN_ABI,
    .schema = &weir_plugin_schema_test_count,
    .compile = compile,
    .access = access_phase,
};
