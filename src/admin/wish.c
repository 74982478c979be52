/* wish.c -- what a write says about being confirmed by data planes: wait_for and
 * wait_timeout, or the headers Weir-Wait-For and Weir-Wait-Timeout
 * (docs/admin-extensions.md). Judged before anything is written. */
#include "admin/internal.h"

#include <math.h>
#include <stdlib.h>

enum { COUNT_MAX = 1000000, SECONDS_TEXT_MAX = 32 };

/* The argument, else the header; data NULL: neither. */
static weir_str_t given(const call_t *call, const char *argument, const char *header)
{
    const argument_t *found = arguments_find(&call->query, argument);
    if (found == NULL)
        return request_header(call->request, header);
    return found->value.data != NULL ? found->value : WEIR_STR("");
}

static int parse_label(call_t *call, weir_str_t text, weir_wish_t *ret)
{
    const char *equals = text.len > 0 ? memchr(text.data, '=', text.len) : NULL;
    size_t key_len = equals != NULL ? (size_t)(equals - text.data) : 0;
    if (key_len == 0 || key_len + 1 == text.len || memchr(text.data, '\0', text.len) != NULL)
        return answer_violation(call, "wait_for", "expected label:KEY=VALUE");
    ret->kind = WEIR_WISH_LABEL;
    ret->key = weir_arena_copy(call->arena, (weir_str_t){ text.data, key_len });
    ret->value = weir_arena_copy(call->arena, (weir_str_t){ equals + 1, text.len - key_len - 1 });
    return ret->key.data != NULL && ret->value.data != NULL ? WEIR_OK
                                                            : weir_error_memory(call->err);
}

static int parse_kind(call_t *call, weir_str_t text, weir_wish_t *ret)
{
    static const weir_str_t label = WEIR_STR("label:");
    int64_t count = 0;
    if (weir_str_is(text, "all")) {
        ret->kind = WEIR_WISH_ALL;
        return WEIR_OK;
    }
    if (weir_str_starts(text, label))
        return parse_label(call, (weir_str_t){ text.data + label.len, text.len - label.len }, ret);
    if (weir_parse_int64(text, 1, COUNT_MAX, &count) != WEIR_OK)
        return answer_violation(
            call, "wait_for", "expected all, a number from 1 to %d, or label:KEY=VALUE", COUNT_MAX);
    ret->kind = WEIR_WISH_COUNT;
    ret->count = (size_t)count;
    return WEIR_OK;
}

static bool seconds_of(weir_str_t text, double *ret)
{
    char copy[SECONDS_TEXT_MAX];
    if (text.len == 0 || text.len >= sizeof(copy) || memchr(text.data, '\0', text.len) != NULL)
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    if (strspn(copy, "0123456789.") != text.len)
        return false;
    char *end = NULL;
    *ret = strtod(copy, &end);
    return *end == '\0' && isfinite(*ret);
}

static int parse_timeout(call_t *call, weir_str_t text, weir_wish_t *ret)
{
    const weir_settings_t *settings = call->admin->options.settings;
    int64_t most = weir_setting_integer(settings, "admin_wait_timeout_max");
    double seconds = (double)weir_setting_integer(settings, "admin_wait_timeout");
    if (text.data == NULL && seconds > (double)most)
        seconds = (double)most;
    if (text.data != NULL && (!seconds_of(text, &seconds) || seconds > (double)most))
        return answer_violation(call, "wait_timeout",
                                "expected seconds from 0 to %" PRId64 " (admin_wait_timeout_max)",
                                most);
    ret->timeout_ms = (int64_t)(seconds * 1000);
    return WEIR_OK;
}

int wish_parse(call_t *call)
{
    weir_wish_t *wish = &call->response->wish;
    const weir_admin_host_t *host = &call->admin->options.host;
    weir_str_t text = given(call, "wait_for", "Weir-Wait-For");
    weir_str_t timeout = given(call, "wait_timeout", "Weir-Wait-Timeout");
    if (!call->path->stores || call->method == METHOD_GET ||
        (text.data == NULL && timeout.data == NULL))
        return WEIR_OK;
    weir_wish_t parsed = { 0 };
    int rc = text.data != NULL ? parse_kind(call, text, &parsed) : WEIR_OK;
    if (rc == WEIR_OK)
        rc = parse_timeout(call, timeout, &parsed);
    if (rc != WEIR_OK || parsed.kind == WEIR_WISH_NOT)
        return rc;
    if (host->may_wait != NULL && !host->may_wait(host->context))
        return answer_message(call, 503,
                              "too many writes wait for data planes: nothing was written; try "
                              "again, or without wait_for (admin_wait_requests)");
    parsed.place_taken = host->may_wait != NULL;
    *wish = parsed;
    return WEIR_OK;
}
