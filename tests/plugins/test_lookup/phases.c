/* phases.c -- test-lookup: caches what it makes of a credential and its consumer under a
 * key of its own, also that there is none, and says it in X-Lookup: the consumer's
 * custom_id, "-" without one, "nobody". X-Cache: hit or miss. X-Pause: milliseconds
 * between looking up and keeping, in which a test changes the configuration; a plugin
 * that is none of a test must not block. */
#include "weir/plugin.h"

#include <stdlib.h>
#include <unistd.h>

extern const weir_plugin_schema_t weir_plugin_schema_test_lookup;
extern const weir_plugin_t weir_plugin_test_lookup;

static int look_up(weir_request_t *request, weir_str_t key, weir_str_t *ret, int64_t *ret_until_s)
{
    weir_identity_t identity = { 0 };
    int rc = weir_request_find_credential(request, "keyauth_credentials", key, &identity);
    *ret_until_s = identity.expires_s;
    *ret = rc == WEIR_NOT_FOUND              ? WEIR_STR("nobody")
           : identity.custom_id.data != NULL ? identity.custom_id
                                             : WEIR_STR("-");
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

static void pause_if_told(weir_request_t *request)
{
    enum { DIGITS_MAX = 3 };
    char digits[DIGITS_MAX + 1] = "";
    weir_str_t text;
    if (!weir_request_header(request, WEIR_STR("x-pause"), 0, &text) || text.len > DIGITS_MAX)
        return;
    memcpy(digits, text.data, text.len);
    usleep((unsigned)strtoul(digits, NULL, 10) * 1000);
}

static weir_phase_result_t access_phase(weir_request_t *request, weir_str_t record)
{
    static uint64_t types;
    weir_str_t key = { "", 0 };
    weir_cached_t cached;
    (void)record;
    if (types == 0)
        types = weir_entity_types("keyauth_credentials consumers");
    weir_request_header(request, WEIR_STR("apikey"), 0, &key);
    int rc = weir_cache_get(request, key, types, &cached);
    weir_str_t how = rc == WEIR_OK ? WEIR_STR("hit") : WEIR_STR("miss");
    if (rc == WEIR_NOT_FOUND) {
        int64_t until_s = 0;
        rc = look_up(request, key, &cached.value, &until_s);
        pause_if_told(request);
        if (rc == WEIR_OK)
            weir_cache_put(request, key, &cached, cached.value, until_s);
    }
    if (rc == WEIR_OK)
        rc = weir_request_answer_header(request, WEIR_STR("X-Lookup"), cached.value);
    if (rc == WEIR_OK)
        rc = weir_request_answer_header(request, WEIR_STR("X-Cache"), how);
    return rc == WEIR_OK ? WEIR_PHASE_NEXT : WEIR_PHASE_ERROR;
}

const weir_plugin_t weir_plugin_test_lookup = {
    .abi = WEIR_PLUGIN_ABI,
    .schema = &weir_plugin_schema_test_lookup,
    .access = access_phase,
};
