/* phases.c -- rate-limiting: so many requests in a second, minute, ..., year, and no more.
 *
 * spec: plugins 2.1. What is counted is in the memory that all workers share
 * (weir_counter_take()); a key is made of what the instance is bound to and of whose
 * request it is, so no change of the configuration resets a counter. */
#include "plugins/rate_limiting/rate_limiting.h"

#include <stdio.h>

typedef struct config {
    uint64_t by, flags, status;
    weir_str_t message; /* data NULL: that of the status */
    weir_str_t told_apart;
    double limits[RATE_LIMITING_PERIODS]; /* 0: none */
} config_t;

static bool read_config(weir_str_t record, config_t *ret)
{
    weir_record_reader_t in = weir_record_read(record);
    bool good = weir_record_u64(&in, &ret->by) && weir_record_u64(&in, &ret->flags) &&
                weir_record_u64(&in, &ret->status) && weir_record_str(&in, &ret->message) &&
                weir_record_str(&in, &ret->told_apart);
    for (size_t period = 0; good && period < RATE_LIMITING_PERIODS; period++) {
        uint64_t bits = 0;
        good = weir_record_u64(&in, &bits);
        ret->limits[period] = rate_limiting_limit(bits);
        good &= ret->limits[period] >= 0; /* so it is a number, too */
    }
    return good;
}

/* -- whose request it is ---------------------------------------------------------- */

/* data NULL: what the configuration tells requests apart by is not there. */
static weir_str_t named(weir_request_t *request, const config_t *config)
{
    weir_str_t found = { NULL, 0 };
    switch (config->by) {
    case RATE_LIMITING_BY_CONSUMER:
        found = weir_request_consumer_id(request);
        if (found.data == NULL)
            found = weir_request_credential_id(request);
        break;
    case RATE_LIMITING_BY_CREDENTIAL:
        found = weir_request_credential_id(request);
        break;
    case RATE_LIMITING_BY_SERVICE:
        found = weir_request_service_id(request);
        break;
    case RATE_LIMITING_BY_HEADER:
        if (config->told_apart.data == NULL ||
            !weir_request_header(request, config->told_apart, 0, &found))
            found.data = NULL;
        break;
    case RATE_LIMITING_BY_PATH:
        found = weir_request_path(request);
        if (found.data == NULL || config->told_apart.data == NULL ||
            !weir_str_equal(found, config->told_apart))
            found.data = NULL;
        break;
    default:
        break;
    }
    return found;
}

/* What its counters are called; data NULL: no memory. */
static weir_str_t key_of(weir_request_t *request, const config_t *config)
{
    weir_scope_t scope;
    weir_str_t who = named(request, config);
    if (who.data == NULL)
        who = weir_request_client_address(request);
    weir_request_scope(request, &scope);
    size_t bytes = sizeof(scope.route) + sizeof(scope.service) + who.len + 1;
    char *key = weir_request_alloc(request, bytes);
    if (key == NULL)
        return (weir_str_t){ NULL, 0 };
    size_t len = (size_t)snprintf(key, bytes, "%s:%s:", scope.route, scope.service);
    memcpy(key + len, who.data, who.len);
    return (weir_str_t){ key, len + who.len };
}

/* -- how much is left ------------------------------------------------------------------ */

/* One period that has a limit. */
typedef struct usage {
    size_t period;
    double limit, remaining; /* after this request, not below 0 */
    int64_t length_s, reset_s;
} usage_t;

typedef struct usages {
    usage_t all[RATE_LIMITING_PERIODS];
    weir_window_t windows[RATE_LIMITING_PERIODS];
    size_t count;
    bool counted;
    const usage_t *least; /* with the least left; of equals the longest */
} usages_t;

/* A limit of 2.5 lets three requests through: the third finds half a one left. */
static uint64_t whole(double limit)
{
    static const double most = 9007199254740992; /* 2^53: as far as a double counts */
    uint64_t below = (uint64_t)(limit < most ? limit : most);
    return below + ((double)below < limit && limit < most);
}

static void open_windows(const config_t *config, int64_t now_s, usages_t *ret)
{
    ret->count = 0;
    for (size_t period = 0; period < RATE_LIMITING_PERIODS; period++) {
        if (!(config->limits[period] > 0))
            continue;
        rate_limiting_window_t window = rate_limiting_window(period, now_s);
        int64_t left_s = window.length_s - (now_s - window.begins_s);
        ret->windows[ret->count] = (weir_window_t){ .length_s = window.length_s,
                                                    .ends_s = window.ends_s,
                                                    .limit = whole(config->limits[period]) };
        ret->all[ret->count++] = (usage_t){ .period = period,
                                            .limit = config->limits[period],
                                            .length_s = window.length_s,
                                            .reset_s = left_s > 1 ? left_s : 1 };
    }
}

static void judge(usages_t *usages)
{
    usages->least = NULL;
    for (size_t i = 0; i < usages->count; i++) {
        usage_t *usage = &usages->all[i];
        double left = usage->limit - (double)usages->windows[i].count;
        if (usages->counted)
            left--;
        usage->remaining = left > 0 ? left : 0;
        if (usages->least == NULL || usage->remaining <= usages->least->remaining)
            usages->least = usage; /* periods rise, so of equals the last */
    }
}

/* -- what the client is told --------------------------------------------------------------- */

enum { NAME_BYTES_MAX = 48, NUMBER_BYTES_MAX = 32 };

static int tell(weir_request_t *request, const char *name, double number)
{
    char text[NUMBER_BYTES_MAX];
    snprintf(text, sizeof(text), "%.14g", number);
    return weir_request_answer_header(request, weir_str(name), weir_str(text));
}

static int tell_period(weir_request_t *request, const usage_t *usage)
{
    static const char *const titles[RATE_LIMITING_PERIODS] = { "Second", "Minute", "Hour",
                                                               "Day",    "Month",  "Year" };
    char name[NAME_BYTES_MAX];
    snprintf(name, sizeof(name), "X-RateLimit-Limit-%s", titles[usage->period]);
    int rc = tell(request, name, usage->limit);
    snprintf(name, sizeof(name), "X-RateLimit-Remaining-%s", titles[usage->period]);
    return rc == WEIR_OK ? tell(request, name, usage->remaining) : rc;
}

static int tell_all(weir_request_t *request, const usages_t *usages)
{
    const usage_t *least = usages->least;
    int rc = least != NULL ? WEIR_OK : WEIR_INVALID;
    for (size_t i = 0; rc == WEIR_OK && i < usages->count; i++)
        rc = tell_period(request, &usages->all[i]);
    if (rc == WEIR_OK)
        rc = tell(request, "RateLimit-Limit", least->limit);
    if (rc == WEIR_OK)
        rc = tell(request, "RateLimit-Remaining", least->remaining);
    if (rc == WEIR_OK)
        rc = tell(request, "RateLimit-Reset", (double)least->reset_s);
    if (rc == WEIR_OK && !usages->counted)
        rc = tell(request, "Retry-After", (double)least->reset_s);
    return rc;
}

static weir_phase_result_t access_phase(weir_request_t *request, weir_str_t record)
{
    config_t config;
    usages_t usages;
    if (!read_config(record, &config))
        return WEIR_PHASE_ERROR;
    weir_str_t key = key_of(request, &config);
    open_windows(&config, weir_request_now_s(request), &usages);
    if (key.data == NULL || usages.count == 0)
        return WEIR_PHASE_ERROR;
    int rc = weir_counter_take(request, key, usages.windows, usages.count, &usages.counted);
    if (rc != WEIR_OK) /* it was not counted, and who asked for it may pass so */
        return config.flags & RATE_LIMITING_FAULT_TOLERANT ? WEIR_PHASE_NEXT : WEIR_PHASE_ERROR;
    judge(&usages);
    if (!(config.flags & RATE_LIMITING_HIDE_HEADERS))
        rc = tell_all(request, &usages);
    if (rc != WEIR_OK)
        return WEIR_PHASE_ERROR;
    if (usages.counted)
        return WEIR_PHASE_NEXT;
    return config.status != 0 &&
                   weir_request_fail(request, (int)config.status, config.message) == WEIR_OK
               ? WEIR_PHASE_ANSWER
               : WEIR_PHASE_ERROR;
}

const weir_plugin_t weir_plugin_rate_limiting = {
    .abi = WEIR_PLUGIN_ABI,
    .schema = &weir_plugin_schema_rate_limiting,
    .compile = rate_limiting_compile,
    .access = access_phase,
};
