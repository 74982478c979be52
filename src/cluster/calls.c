/* calls.c -- what the messages of a data plane mean (sync-protocol B.3, C.2, C.6).
 *
 * Where the original's handler dies and no answer ever comes, none comes here
 * either: README.md lists these cases and the few that differ. */
#include "cluster/internal.h"

#include "base/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* -- answers: alone or in their batch ------------------------------------------------------ */

/* Where the answer to the message at work goes. */
typedef struct reply {
    const weir_json_t *id; /* NULL: to be given none */
    batch_t *batch;        /* NULL: at once, by itself */
} reply_t;

static void free_batch(batch_t *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        weir_json_free(batch->slots[i].message);
        weir_json_free(batch->slots[i].id);
        weir_answer_release(batch->slots[i].answer);
    }
    weir_free(batch);
}

/* Takes `message`. */
static int give(weir_session_t *s, const reply_t *reply, weir_json_t *message, weir_error_t *err)
{
    if (reply->batch == NULL || message == NULL)
        return session_send(s, message, err);
    reply->batch->slots[reply->batch->count++].message = message;
    return WEIR_OK;
}

static int give_error(weir_session_t *s, const reply_t *reply, int code, const char *text,
                      weir_error_t *err)
{
    return give(s, reply, weir_message_error(reply->id, code, text), err);
}

static int too_large(weir_session_t *s, const weir_json_t *id, weir_error_t *err)
{
    char text[160];
    weir_error_t why = { 0 };
    weir_error_set(&why, WEIR_TOO_LARGE, NULL,
                   "the answer is larger than cluster_max_payload (%zu bytes)",
                   s->options.payload_max);
    memcpy(text, why.reason, sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    session_event(s, "cannot answer node=%s error=\"%s\"", s->node, text);
    return session_send(s, weir_message_error(id, WEIR_RPC_SERVER_ERROR, text), err);
}

/* Sends the answers of a batch, once all of them are there. */
static int finish_batch(weir_session_t *s, batch_t *batch, weir_error_t *err)
{
    if (!batch->complete || batch->open > 0)
        return WEIR_OK;
    int rc = WEIR_OK;
    if (batch->count > 0)
        rc = session_send_pieces(s, batch->slots, batch->count, true, err);
    if (rc == WEIR_TOO_LARGE)
        rc = too_large(s, NULL, err);
    free_batch(batch);
    return rc;
}

/* -- get_delta (C.2, C.6) --------------------------------------------------------------------- */

static bool is_nothing(weir_str_t text)
{
    return weir_str_is(text, "00000000000000000000000000000000");
}

static bool number_of(const weir_json_t *version, double *ret)
{
    if (weir_json_kind(version) == WEIR_JSON_NUMBER) {
        *ret = weir_json_number(version);
        return true;
    }
    weir_str_t text = weir_json_string(version);
    char *end = NULL;
    if (text.data == NULL || text.len == 0 || text.len > 32)
        return false;
    *ret = strtod(text.data, &end);
    return end == text.data + text.len && isfinite(*ret);
}

/* What version a node says that it has. False: no answer can be given (C.1). */
static bool reported_version(weir_session_t *s, const weir_json_t *space, weir_want_t *want)
{
    const weir_json_t *version = weir_json_get(space, "version");
    weir_str_t text = weir_json_string(version);
    double number = 0;
    /* C.9: who claims to be older but sends a token speaks the newer dialect. */
    if (text.data != NULL && (is_nothing(text) || weir_token_parse(text, &want->version)))
        s->dialect = WEIR_DIALECT_310;
    want->dialect = s->dialect;
    if (s->dialect == WEIR_DIALECT_310) {
        want->known = text.data != NULL && weir_token_parse(text, &want->version);
        return true; /* anything else is unknown: everything is sent */
    }
    if (!number_of(version, &number))
        return false;
    /* Versions are whole numbers; beyond 2^53 they would not be exact. */
    want->known = number >= 1 && number < 9007199254740992.0 && floor(number) == number;
    want->version = want->known ? (uint64_t)number : 0;
    return true;
}

static void note_seen(weir_session_t *s, const weir_want_t *want, int64_t now_ms)
{
    char hash[WEIR_TOKEN_LEN + 1];
    uint64_t version = want->known ? want->version : 0;
    if (s->dialect == WEIR_DIALECT_39 || !want->known)
        snprintf(hash, sizeof(hash), "%032llu", (unsigned long long)version);
    else
        weir_token_format(version, hash);
    weir_registry_seen(s->options.registry, s->registered, weir_str(hash), version, now_ms);
}

int session_want(weir_session_t *s, const weir_json_t *id, batch_t *batch, weir_want_t *want,
                 weir_error_t *err)
{
    pending_want_t *place = s->wants;
    while (place < s->wants + WANTS_MAX && place->id != NULL)
        place++;
    if (place == s->wants + WANTS_MAX) {
        weir_want_release(want);
        return session_close(s, err, "too many calls at once");
    }
    place->id = weir_json_copy(id);
    if (place->id == NULL) {
        weir_want_release(want);
        return session_close(s, err, "out of memory for a call");
    }
    want->number = ++s->next_want;
    place->want = *want;
    place->want.sums = NULL;
    place->batch = batch;
    if (batch != NULL) {
        place->slot = batch->count++;
        batch->open++;
    }
    s->wants_open++;
    s->options.want(s->options.context, want);
    return WEIR_OK;
}

static int take_get_delta(weir_session_t *s, const reply_t *reply, const weir_json_t *params,
                          int64_t now_ms, weir_error_t *err)
{
    if (params == NULL || weir_json_is_null(params))
        return WEIR_OK; /* no answer (B.3) */
    const weir_json_t *space = weir_json_get(params, "default");
    if (space == NULL)
        return reply->id != NULL ? give_error(s, reply, WEIR_RPC_SERVER_ERROR,
                                              "default namespace does not exist inside params", err)
                                 : WEIR_OK;
    weir_want_t want = { .kind = WEIR_WANT_GET_DELTA, .codec = s->codec, .level = s->level };
    if (weir_json_kind(space) != WEIR_JSON_OBJECT || !reported_version(s, space, &want))
        return WEIR_OK;
    note_seen(s, &want, now_ms);
    if (reply->id == NULL)
        return WEIR_OK; /* it only tells what it has (C.7) */
    s->subscribed = s->listed;
    return session_want(s, reply->id, reply->batch, &want, err);
}

/* docs/sync-v1.md, sections 5 and 7. */
static int failure_code(weir_want_kind_t kind, int code)
{
    if (kind == WEIR_WANT_PAGE && code == WEIR_NOT_FOUND)
        return WEIR_RPC_SNAPSHOT_GONE;
    if (kind == WEIR_WANT_HEAL && (code == WEIR_NOT_FOUND || code == WEIR_TOO_LARGE))
        return WEIR_RPC_TOO_DIFFERENT;
    return WEIR_RPC_SERVER_ERROR;
}

/* Puts the answer where it belongs. Takes what the place holds. */
static int settle(weir_session_t *s, pending_want_t *place, weir_answer_t *answer,
                  const weir_error_t *failure, weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *id = place->id;
    batch_t *batch = place->batch;
    size_t slot = place->slot;
    weir_want_kind_t kind = place->want.kind;
    *place = (pending_want_t){ 0 };
    s->wants_open--;
    batch_slot_t result = { .answer = answer, .id = id };
    if (answer == NULL)
        result = (batch_slot_t){
            .message = weir_message_error(id, failure_code(kind, failure->code), failure->reason),
        };
    if (batch == NULL && answer == NULL)
        return session_send(s, result.message, err);
    if (batch == NULL) {
        int rc = session_send_pieces(s, &result, 1, false, err);
        return rc == WEIR_TOO_LARGE ? too_large(s, id, err) : rc;
    }
    if (answer != NULL) {
        result.answer = weir_answer_keep(answer);
        id = NULL; /* now in the batch */
    }
    batch->slots[slot] = result;
    batch->open--;
    if (answer == NULL && result.message == NULL)
        return session_close(s, err, "out of memory for an answer");
    return finish_batch(s, batch, err);
}

static void note_answer(weir_session_t *s, const weir_want_t *want, const weir_answer_t *answer,
                        const weir_error_t *failure)
{
    if (answer == NULL) {
        session_event(s, "cannot be answered node=%s error=\"%s\"", s->node, failure->reason);
        return;
    }
    uint64_t version = weir_answer_version(answer);
    if (version > s->notified)
        s->notified = version;
    if (weir_answer_is_full(answer))
        session_event(s, "full sync node=%s from=%" PRIu64 " to=%" PRIu64, s->node,
                      want->known ? want->version : 0, version);
}

int weir_session_answer(weir_session_t *s, const weir_want_t *want, weir_answer_t *answer,
                        const weir_error_t *failure, int64_t now_ms, weir_error_t *err)
{
    if (want->kind == WEIR_WANT_DELTAS)
        return want->number == s->sync.want ? session_sync_deltas(s, answer, failure, now_ms, err)
                                            : WEIR_OK; /* it began anew meanwhile */
    pending_want_t *place = s->wants;
    while (place < s->wants + WANTS_MAX &&
           (place->id == NULL || place->want.number != want->number))
        place++;
    if (place == s->wants + WANTS_MAX)
        return WEIR_OK;
    if (want->kind == WEIR_WANT_GET_DELTA)
        note_answer(s, want, answer, failure);
    else
        session_sync_answered(s, want->kind, answer, now_ms);
    int rc = settle(s, place, answer, failure, err);
    return rc == WEIR_OK ? session_push(s, now_ms, err) : rc;
}

/* -- messages (B.3) ---------------------------------------------------------------------------- */

static int take_call(weir_session_t *s, const reply_t *reply, const weir_json_t *message,
                     int64_t now_ms, weir_error_t *err)
{
    weir_str_t method = weir_json_get_string(message, "method", WEIR_STR(""));
    const weir_json_t *params = weir_json_get(message, "params");
    const weir_json_t *first =
        weir_json_kind(params) == WEIR_JSON_ARRAY ? weir_json_first(params) : NULL;
    bool modern = s->dialect == WEIR_DIALECT_310;
    bool get_delta = weir_str_is(method, WEIR_CAPABILITY_SYNC ".get_delta");
    bool fault = weir_str_is(method, WEIR_CAPABILITY_SYNC ".notify_validation_error");
    bool report = weir_str_is(method, WEIR_CAPABILITY_REPORT ".status");
    if (s->sync.agreed && reply->batch == NULL && session_sync_method(method))
        return session_sync_take(s, method, reply->id, first, now_ms, err);
    if (!s->options.sync || (!get_delta && !fault && !report))
        return reply->id == NULL && modern
                   ? WEIR_OK
                   : give_error(s, reply, WEIR_RPC_METHOD_NOT_FOUND, "Method not found", err);
    if (reply->id == NULL && !modern)
        return session_close(s, err, "a call without an id");
    if (get_delta)
        return take_get_delta(s, reply, first, now_ms, err);
    if (first == NULL)
        return WEIR_OK; /* no answer, as above */
    if (report)
        weir_registry_report(s->options.registry, s->registered, first, now_ms);
    else
        weir_registry_refused(s->options.registry, s->registered, first, now_ms);
    return reply->id != NULL
               ? give(s, reply, weir_message_result(reply->id, weir_json_new_boolean(true)), err)
               : WEIR_OK;
}

static int take_response(weir_session_t *s, const weir_json_t *message, weir_error_t *err)
{
    const weir_json_t *id = weir_json_get(message, "id");
    if (id == NULL && s->dialect == WEIR_DIALECT_39)
        return session_close(s, err, "an answer without an id");
    if (!s->call_open || weir_json_kind(id) != WEIR_JSON_NUMBER ||
        weir_json_number(id) != (double)s->call_id)
        return WEIR_OK; /* late, or to nothing */
    s->call_open = false;
    weir_str_t text =
        weir_json_get_string(weir_json_get(message, "error"), "message", (weir_str_t){ NULL, 0 });
    if (text.data != NULL)
        session_event(s, "refuses notify_new_version node=%s error=\"%.*s\"", s->node,
                      (int)(text.len < 256 ? text.len : 256), text.data);
    return WEIR_OK;
}

static int take_object(weir_session_t *s, const weir_json_t *message, batch_t *batch,
                       int64_t now_ms, weir_error_t *err)
{
    if (!weir_str_is(weir_json_get_string(message, "jsonrpc", WEIR_STR("")), "2.0"))
        return session_close(s, err, "jsonrpc is not \"2.0\"");
    weir_id_kind_t kind = weir_message_id(message);
    if (kind == WEIR_ID_NULL || kind == WEIR_ID_ODD)
        return session_close(s, err, "an id that is no number");
    if (weir_json_get(message, "method") == NULL)
        return take_response(s, message, err);
    reply_t reply = { .id = weir_json_get(message, "id"), .batch = batch };
    return take_call(s, &reply, message, now_ms, err);
}

static int take_elements(weir_session_t *s, const weir_json_t *array, batch_t *batch,
                         int64_t now_ms, weir_error_t *err)
{
    int rc = WEIR_OK;
    const weir_json_t *item = weir_json_first(array);
    for (size_t count = 0; rc == WEIR_OK && item != NULL; item = weir_json_next(item)) {
        if (count++ == BATCH_MAX)
            return session_close(s, err, "a batch of more than 256 messages");
        /* What is no object is answered outside the array, before it [V10]. */
        rc = weir_json_kind(item) == WEIR_JSON_OBJECT
                 ? take_object(s, item, batch, now_ms, err)
                 : session_send(
                       s, weir_message_error(NULL, WEIR_RPC_INVALID_REQUEST, "not a valid object"),
                       err);
    }
    return rc;
}

static int take_batch(weir_session_t *s, const weir_json_t *array, int64_t now_ms,
                      weir_error_t *err)
{
    if (s->dialect == WEIR_DIALECT_39)
        return session_close(s, err, "a batch, which this dialect does not have");
    if (weir_json_first(array) == NULL)
        return session_send(
            s, weir_message_error(NULL, WEIR_RPC_INVALID_REQUEST, "empty batch array"), err);
    batch_t *batch = weir_calloc(1, sizeof(*batch));
    if (batch == NULL)
        return session_close(s, err, "out of memory for a batch");
    int rc = take_elements(s, array, batch, now_ms, err);
    batch->complete = true;
    if (rc == WEIR_OK)
        return finish_batch(s, batch, err);
    if (batch->open == 0)
        free_batch(batch); /* else session_drop_calls() finds it */
    return rc;
}

int session_take_message(weir_session_t *s, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *message = NULL;
    weir_error_t why = { 0 };
    size_t uncompressed_max = s->options.payload_max * UNCOMPRESSED_FACTOR;
    int rc = weir_message_decode(s->codec, payload, uncompressed_max, &message, &why);
    if (rc != WEIR_OK)
        return session_close(s, err, why.reason);
    if (weir_json_kind(message) == WEIR_JSON_ARRAY)
        rc = take_batch(s, message, now_ms, err);
    else if (weir_json_kind(message) == WEIR_JSON_OBJECT)
        rc = take_object(s, message, NULL, now_ms, err);
    else
        return session_close(s, err, "a message that is no object");
    return rc == WEIR_OK ? session_push(s, now_ms, err) : rc;
}

void session_drop_calls(weir_session_t *s)
{
    for (size_t i = 0; i < WANTS_MAX; i++) {
        pending_want_t *place = &s->wants[i];
        batch_t *batch = place->batch;
        if (place->id != NULL && batch != NULL && --batch->open == 0)
            free_batch(batch);
        weir_json_free(place->id);
        *place = (pending_want_t){ 0 };
    }
}
