/* compile.c -- the configuration of rate-limiting as a record (rate_limiting.h). */
#include "plugins/rate_limiting/rate_limiting.h"

static const weir_str_t absent = { NULL, 0 };

static rate_limiting_by_t by_of(const weir_json_t *config)
{
    static const struct {
        const char *name;
        rate_limiting_by_t by;
    } names[] = {
        { "consumer", RATE_LIMITING_BY_CONSUMER }, { "credential", RATE_LIMITING_BY_CREDENTIAL },
        { "service", RATE_LIMITING_BY_SERVICE },   { "header", RATE_LIMITING_BY_HEADER },
        { "path", RATE_LIMITING_BY_PATH },
    };
    weir_str_t name = weir_json_get_string(config, "limit_by", WEIR_STR("ip"));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (weir_str_is(name, names[i].name))
            return names[i].by;
    return RATE_LIMITING_BY_IP;
}

int rate_limiting_compile(const weir_json_t *config, weir_record_writer_t *out, weir_error_t *err)
{
    (void)err; /* the configuration is valid, and a lack of memory needs no words */
    rate_limiting_by_t by = by_of(config);
    uint64_t flags = 0;
    if (weir_json_get_boolean(config, "fault_tolerant", true))
        flags |= RATE_LIMITING_FAULT_TOLERANT;
    if (weir_json_get_boolean(config, "hide_client_headers", false))
        flags |= RATE_LIMITING_HIDE_HEADERS;
    const char *told_apart = by == RATE_LIMITING_BY_HEADER ? "header_name" : "path";
    bool named = by == RATE_LIMITING_BY_HEADER || by == RATE_LIMITING_BY_PATH;
    weir_record_put_u64(out, by);
    weir_record_put_u64(out, flags);
    weir_record_put_status(out, weir_json_get_number(config, "error_code", 429));
    weir_record_put_str(out, weir_json_get_string(config, "error_message", absent));
    int rc =
        weir_record_put_str(out, named ? weir_json_get_string(config, told_apart, absent) : absent);
    for (size_t period = 0; rc == WEIR_OK && period < RATE_LIMITING_PERIODS; period++)
        rc = weir_record_put_u64(out, rate_limiting_bits(weir_json_get_number(
                                          config, rate_limiting_periods[period], 0)));
    return rc;
}
