/* pull.c -- get_delta: when it is called, and what becomes of the answer
 * (sync-protocol C.2, C.3, C.7).
 *
 * A failure never loops: it is tried again a few times soon, then with the next
 * notification, but not more than once a second, or with the next poll. */
#include "cluster/client_internal.h"

enum {
    RETRY_MS = 100, /* as the original */
    RETRIES_MAX = 5,
    RETRY_LATER_MS = 1000,
    PARSE_FAILURE = 21, /* the original's code of notify_validation_error */
};

/* -- asking -------------------------------------------------------------------------------- */

static weir_json_t *version_json(const weir_client_t *c)
{
    char token[WEIR_TOKEN_LEN + 1];
    if (c->dialect == WEIR_DIALECT_39)
        return weir_json_new_number((double)c->version);
    if (c->version == 0)
        return weir_json_new_string(WEIR_STR("00000000000000000000000000000000"));
    weir_token_format(c->version, token);
    return weir_json_new_string(weir_str(token));
}

static weir_json_t *get_delta(const weir_client_t *c, const weir_json_t *id)
{
    return weir_message_call(WEIR_CAPABILITY_SYNC ".get_delta",
                             weir_message_in_default("version", version_json(c)), id);
}

int pull_ask(weir_client_t *c, int64_t now_ms, weir_error_t *err)
{
    if (c->asking)
        return WEIR_OK; /* what is new comes with, or after, its answer */
    WEIR_AUTO(json) weir_json_t *id = weir_json_new_number((double)c->next_id);
    if (id == NULL)
        return weir_websocket_drop(err, "out of memory for a call");
    c->asking = true;
    c->ask_id = c->next_id++;
    c->asked_ms = now_ms;
    c->next_ask_ms = now_ms + WEIR_CLIENT_POLL_MS;
    return client_send(c, get_delta(c, id), err);
}

/* The last question came to nothing. */
static void ask_later(weir_client_t *c, int64_t now_ms)
{
    c->failures++;
    int64_t at = now_ms + RETRY_MS;
    if (c->failures <= RETRIES_MAX && at < c->next_ask_ms)
        c->next_ask_ms = at;
}

int pull_noticed(weir_client_t *c, uint64_t version, int64_t now_ms, weir_error_t *err)
{
    if (version <= c->version)
        return WEIR_OK;
    if (version > c->newest)
        c->newest = version;
    if (c->failures == 0)
        return pull_ask(c, now_ms, err);
    int64_t at = c->asked_ms + (c->failures <= RETRIES_MAX ? RETRY_MS : RETRY_LATER_MS);
    if (at < c->next_ask_ms)
        c->next_ask_ms = at;
    return now_ms >= c->next_ask_ms ? pull_ask(c, now_ms, err) : WEIR_OK;
}

/* C.9: before anything was understood, the other dialect is tried once. */
static void try_other_dialect(weir_client_t *c)
{
    if (c->proven || c->flipped || c->weir_peer)
        return;
    c->flipped = true;
    c->dialect = c->dialect == WEIR_DIALECT_39 ? WEIR_DIALECT_310 : WEIR_DIALECT_39;
    c->options.event(c->options.context, c->dialect == WEIR_DIALECT_39
                                             ? "the other dialect is tried dialect=3.9"
                                             : "the other dialect is tried dialect=3.10");
}

int pull_tick(weir_client_t *c, int64_t now_ms, weir_error_t *err)
{
    int64_t patience = c->weir_peer ? c->options.call_timeout_ms : WEIR_CLIENT_STEP_MS;
    if (c->asking && now_ms - c->asked_ms >= patience) {
        c->asking = false; /* a late answer is dropped */
        c->options.event(c->options.context, "get_delta got no answer in time");
        try_other_dialect(c);
        ask_later(c, now_ms);
    }
    return now_ms >= c->next_ask_ms ? pull_ask(c, now_ms, err) : WEIR_OK;
}

/* -- telling --------------------------------------------------------------------------------- */

/* NULL: nothing to say, or nothing new on this connection. */
static weir_json_t *new_report(const weir_client_t *c)
{
    return c->options.report != NULL ? c->options.report(c->options.context, c->reported == NULL)
                                     : NULL;
}

int pull_report(weir_client_t *c, weir_error_t *err)
{
    weir_json_t *report = c->weir_peer ? new_report(c) : NULL;
    if (report == NULL || weir_json_equal(report, c->reported)) {
        weir_json_free(report);
        return WEIR_OK; /* nothing else than before */
    }
    weir_json_free(c->reported);
    c->reported = weir_json_copy(report);
    return client_send(c, weir_message_call(WEIR_CAPABILITY_REPORT ".status", report, NULL), err);
}

static int set_text(weir_json_t *object, const char *name, weir_str_t text)
{
    return weir_json_set(object, name, weir_json_new_string(text));
}

/* {"entity_type":"route","entity_id":...,"errors":[{"type":...,"message":...}]} */
static weir_json_t *flattened_error(const weir_json_t *entry)
{
    weir_str_t empty = WEIR_STR("");
    weir_str_t type = weir_json_get_string(entry, "type", empty);
    weir_str_t field = weir_json_get_string(entry, "field", empty);
    bool whole = weir_str_is(field, "@entity") || field.len == 0;
    if (type.len > 1 && type.data[type.len - 1] == 's')
        type.len--; /* the original names one entity, not its table */
    weir_json_t *fault = weir_json_new_object();
    weir_json_t *faults = weir_json_new_array();
    weir_json_t *out = weir_json_new_object();
    int rc = fault != NULL && faults != NULL && out != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    if (rc == WEIR_OK)
        rc = set_text(fault, "type", whole ? WEIR_STR("entity") : WEIR_STR("field"));
    if (rc == WEIR_OK && !whole)
        rc = set_text(fault, "field", field);
    if (rc == WEIR_OK)
        rc = set_text(fault, "message", weir_json_get_string(entry, "reason", empty));
    if (rc == WEIR_OK) {
        rc = weir_json_append(faults, fault);
        fault = NULL;
    }
    if (rc == WEIR_OK) {
        rc = weir_json_set(out, "errors", faults);
        faults = NULL;
    }
    if (rc == WEIR_OK)
        rc = set_text(out, "entity_type", type);
    if (rc == WEIR_OK)
        rc = set_text(out, "entity_id", weir_json_get_string(entry, "id", empty));
    if (rc == WEIR_OK)
        rc = set_text(out, "entity_name", weir_json_get_string(entry, "name", empty));
    weir_json_free(fault);
    weir_json_free(faults);
    if (rc == WEIR_OK)
        return out;
    weir_json_free(out);
    return NULL;
}

static weir_json_t *flattened_errors(const weir_json_t *quarantined)
{
    weir_json_t *list = weir_json_new_array();
    int rc = list != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    for (const weir_json_t *e = weir_json_first(quarantined); rc == WEIR_OK && e != NULL;
         e = weir_json_next(e))
        rc = weir_json_append(list, flattened_error(e));
    if (rc == WEIR_OK)
        return list;
    weir_json_free(list);
    return NULL;
}

/* params[0] of notify_validation_error. Takes `flattened`. */
static weir_json_t *validation_error(weir_str_t latest, const char *message, weir_json_t *flattened)
{
    weir_json_t *error = weir_json_new_object();
    weir_json_t *params = weir_json_new_object();
    int rc = error != NULL && params != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    if (rc == WEIR_OK)
        rc = weir_json_set(error, "code", weir_json_new_number(PARSE_FAILURE));
    if (rc == WEIR_OK)
        rc = set_text(error, "name", WEIR_STR("sync deltas parse failure"));
    if (rc == WEIR_OK)
        rc = set_text(error, "source",
                      WEIR_STR("kong.clustering.services.sync.validate.validate_deltas"));
    if (rc == WEIR_OK)
        rc = set_text(error, "message", weir_str(message));
    if (rc == WEIR_OK)
        rc = weir_json_set(error, "fields", weir_json_new_object());
    if (rc == WEIR_OK) {
        rc = weir_json_set(error, "flattened_errors", flattened);
        flattened = NULL;
    }
    if (rc == WEIR_OK) {
        rc = weir_json_set(params, "error", error);
        error = NULL;
    }
    if (rc == WEIR_OK)
        rc = set_text(params, "version", latest);
    weir_json_free(flattened);
    weir_json_free(error);
    if (rc == WEIR_OK)
        return params;
    weir_json_free(params);
    return NULL;
}

/* C.7: how a 3.10 control plane is told; 3.9 has no such thing, a Weir gets reports. */
static int tell_refused(weir_client_t *c, const weir_json_t *space, const char *message,
                        const weir_json_t *quarantined, weir_error_t *err)
{
    if (c->weir_peer || c->dialect != WEIR_DIALECT_310)
        return WEIR_OK;
    weir_str_t latest = weir_json_get_string(space, "latest_version",
                                             WEIR_STR("v02_deltas_have_no_latest_version_field"));
    return client_send(
        c,
        weir_message_call(WEIR_CAPABILITY_SYNC ".notify_validation_error",
                          validation_error(latest, message, flattened_errors(quarantined)), NULL),
        err);
}

/* A control plane of the original is told of what is not served by an error, once. */
static int tell_quarantined(weir_client_t *c, const weir_json_t *space, weir_error_t *err)
{
    WEIR_AUTO(json)
    weir_json_t *report = new_report(c);
    const weir_json_t *quarantined = weir_json_get(report, "quarantined");
    if (weir_json_first(quarantined) == NULL || weir_json_equal(report, c->reported))
        return WEIR_OK;
    weir_json_free(c->reported);
    c->reported = weir_json_copy(report);
    return tell_refused(c, space, "sync deltas is invalid: some entities are not served",
                        quarantined, err);
}

/* What is held now: a notification; 3.9 has only the call itself, once more. A Weir takes
 * it for the confirmation of writes: what is not served must be there before it. */
static int tell_applied(weir_client_t *c, const weir_json_t *space, int64_t now_ms,
                        weir_error_t *err)
{
    if (c->dialect == WEIR_DIALECT_39)
        return pull_ask(c, now_ms, err);
    int rc = pull_report(c, err);
    if (rc == WEIR_OK)
        rc = client_send(c, get_delta(c, NULL), err);
    return rc == WEIR_OK && !c->weir_peer ? tell_quarantined(c, space, err) : rc;
}

/* -- answers ----------------------------------------------------------------------------------- */

/* The version of a delta. False: none, or of the other dialect. */
static bool delta_version(const weir_client_t *c, const weir_json_t *delta, uint64_t *ret)
{
    const weir_json_t *version = weir_json_get(delta, "version");
    if (c->dialect == WEIR_DIALECT_310)
        return weir_json_kind(version) == WEIR_JSON_STRING &&
               weir_token_parse(weir_json_string(version), ret);
    double number = weir_json_number(version);
    if (weir_json_kind(version) != WEIR_JSON_NUMBER || !(number >= 0) || number > 1e15)
        return false;
    *ret = (uint64_t)number;
    return true;
}

/* A fault here drops the answer as a whole, as with the original (C.3): what is no
 * delta cannot be quarantined as an entity. WEIR_UNSUPPORTED: a version is of the
 * other dialect, or none. */
static int check_deltas(const weir_client_t *c, const weir_json_t *deltas, uint64_t *ret_version,
                        weir_error_t *why)
{
    size_t index = 0;
    for (const weir_json_t *d = weir_json_first(deltas); d != NULL; d = weir_json_next(d)) {
        const weir_json_t *entity = weir_json_get(d, "entity");
        bool deletes = weir_json_is_null(entity);
        const char *fault = NULL;
        bool dialect = true;
        if (weir_json_kind(d) != WEIR_JSON_OBJECT)
            fault = "is no object";
        else if (weir_json_string(weir_json_get(d, "type")).data == NULL)
            fault = "has no type";
        else if (!(dialect = delta_version(c, d, ret_version)))
            fault = "has no version of this dialect";
        else if (deletes && weir_json_kind(weir_json_get(d, "pk")) != WEIR_JSON_OBJECT)
            fault = "deletes, but has no pk";
        else if (!deletes && weir_json_kind(entity) != WEIR_JSON_OBJECT)
            fault = "has an entity that is no object";
        index++;
        if (fault != NULL)
            return weir_error_set(why, dialect ? WEIR_INVALID : WEIR_UNSUPPORTED, "deltas",
                                  "delta %zu %s", index, fault);
    }
    return WEIR_OK;
}

/* The original tests a flag for Lua truth, where null and "false" are true and
 * wipe everything. Here it is a boolean or absent, or the answer is refused. */
static int check_flag(const weir_json_t *flag, const char *name, weir_error_t *why)
{
    if (flag != NULL && weir_json_kind(flag) != WEIR_JSON_BOOLEAN)
        return weir_error_set(why, WEIR_INVALID, name, "is no boolean");
    return WEIR_OK;
}

/* Each dialect has a name of its own for the flag; the other's counts alone, but
 * not against it: a stray flag must not wipe what is served. */
static int read_flags(const weir_client_t *c, const weir_json_t *space, bool *ret_full,
                      weir_error_t *why)
{
    const weir_json_t *full_sync = weir_json_get(space, "full_sync");
    const weir_json_t *wipe = weir_json_get(space, "wipe");
    int rc = check_flag(full_sync, "full_sync", why);
    if (rc == WEIR_OK)
        rc = check_flag(wipe, "wipe", why);
    if (rc != WEIR_OK)
        return rc;
    bool both = full_sync != NULL && wipe != NULL;
    if (both && c->dialect == WEIR_DIALECT_39)
        full_sync = NULL;
    else if (both && weir_json_boolean(full_sync) != weir_json_boolean(wipe))
        return weir_error_set(why, WEIR_INVALID, "full_sync", "says something else than wipe");
    *ret_full = weir_json_boolean(full_sync) || weir_json_boolean(wipe);
    return WEIR_OK;
}

static int read_update(const weir_client_t *c, const weir_json_t *space, weir_update_t *update,
                       weir_error_t *why)
{
    const weir_json_t *deltas = weir_json_get(space, "deltas");
    weir_json_kind_t kind = weir_json_kind(deltas);
    /* An empty list may have been printed as {}. */
    bool list =
        kind == WEIR_JSON_ARRAY || (kind == WEIR_JSON_OBJECT && weir_json_first(deltas) == NULL);
    if (!list)
        return weir_error_set(why, WEIR_INVALID, "deltas", "is missing or no list");
    update->deltas = deltas;
    int rc = read_flags(c, space, &update->full, why);
    return rc == WEIR_OK ? check_deltas(c, deltas, &update->version, why) : rc;
}

static void settle(weir_client_t *c, int64_t now_ms)
{
    c->proven = true;
    c->failures = 0;
    c->next_ask_ms = now_ms + WEIR_CLIENT_POLL_MS;
}

static int apply(weir_client_t *c, const weir_json_t *space, const weir_update_t *update,
                 int64_t now_ms, weir_error_t *err)
{
    weir_error_t why = { 0 };
    if (c->options.apply(c->options.context, update, &why) != WEIR_OK) {
        client_fault(c, "an answer of get_delta could not be applied", &why);
        ask_later(c, now_ms);
        return pull_report(c, err);
    }
    bool forward = update->version > c->version;
    settle(c, now_ms);
    c->version = update->version;
    if (c->version > c->newest || update->full)
        c->newest = c->version;
    int rc = tell_applied(c, space, now_ms, err);
    if (rc != WEIR_OK || c->newest <= c->version)
        return rc;
    if (forward) /* something newer was announced meanwhile */
        return pull_ask(c, now_ms, err);
    ask_later(c, now_ms); /* the original asks again, too; but not without end */
    return WEIR_OK;
}

static int take_result(weir_client_t *c, const weir_json_t *result, int64_t now_ms,
                       weir_error_t *err)
{
    const weir_json_t *space = weir_json_get(result, "default");
    weir_update_t update = { 0 };
    weir_error_t why = { 0 };
    if (read_update(c, space, &update, &why) != WEIR_OK) {
        client_fault(c, "an answer of get_delta is refused", &why);
        int rc = tell_refused(c, space, why.reason, NULL, err);
        if (why.code == WEIR_UNSUPPORTED)
            try_other_dialect(c);
        ask_later(c, now_ms);
        return rc;
    }
    if (weir_json_first(update.deltas) != NULL)
        return apply(c, space, &update, now_ms, err);
    c->proven = true;
    if (c->newest <= c->version)
        settle(c, now_ms);
    else
        ask_later(c, now_ms); /* something newer was announced */
    return WEIR_OK;
}

int pull_take_response(weir_client_t *c, const weir_json_t *message, int64_t now_ms,
                       weir_error_t *err)
{
    const weir_json_t *id = weir_json_get(message, "id");
    if (!c->asking || weir_json_kind(id) != WEIR_JSON_NUMBER ||
        weir_json_number(id) != (double)c->ask_id)
        return WEIR_OK; /* late, or to nothing */
    c->asking = false;
    const weir_json_t *error = weir_json_get(message, "error");
    if (error == NULL)
        return take_result(c, weir_json_get(message, "result"), now_ms, err);
    weir_error_t why = { 0 };
    weir_str_t text = weir_json_get_string(error, "message", WEIR_STR("no message"));
    weir_error_set(&why, WEIR_INVALID, NULL, "%.*s", (int)(text.len < 300 ? text.len : 300),
                   text.data);
    client_fault(c, "get_delta was refused", &why);
    try_other_dialect(c);
    ask_later(c, now_ms);
    return WEIR_OK;
}
