/* sync_session.c -- weir.sync.v1 at the control plane's end (docs/sync-v1.md).
 *
 * At most one message with deltas is under way: what is committed meanwhile goes with
 * the next one, after the acknowledgement. So a slow data plane holds up nobody and
 * costs no more than what one message does. */
#include "cluster/internal.h"

#include "base/json.h"

#include <stdio.h>

bool session_sync_method(weir_str_t method)
{
    return weir_str_starts(method, WEIR_STR(WEIR_CAPABILITY_SYNC_V1 "."));
}

/* -- saying ---------------------------------------------------------------------------- */

/* Takes `params`. */
static int notify(weir_session_t *s, const char *method, weir_json_t *params, weir_error_t *err)
{
    return session_send(s, weir_message_call(method, params, NULL), err);
}

static int send_key(weir_session_t *s, weir_error_t *err)
{
    char text[2 * WEIR_DIGEST_KEY_BYTES + 1];
    weir_digest_key_format(s->options.digest_key, text);
    weir_json_t *params = weir_json_new_object();
    if (params != NULL &&
        weir_json_set(params, "key", weir_json_new_string(weir_str(text))) != WEIR_OK) {
        weir_json_free(params);
        params = NULL;
    }
    return notify(s, WEIR_CAPABILITY_SYNC_V1 ".key", params, err);
}

static int send_snapshot(weir_session_t *s, uint64_t version, uint64_t entities, const char *reason,
                         weir_error_t *err)
{
    weir_json_t *params = weir_json_new_object();
    int rc = params != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    if (rc == WEIR_OK)
        rc = weir_json_set(params, "snapshot", weir_json_new_number((double)version));
    if (rc == WEIR_OK)
        rc = weir_json_set(params, "entities", weir_json_new_number((double)entities));
    if (rc == WEIR_OK)
        rc = weir_json_set(params, "newest", weir_json_new_number((double)s->newest));
    if (rc == WEIR_OK)
        rc = weir_json_set(params, "reason", weir_json_new_string(weir_str(reason)));
    if (rc != WEIR_OK) {
        weir_json_free(params);
        params = NULL;
    }
    /* It says from where it wants deltas when it has the pages. */
    s->sync.started = false;
    session_event(s, "snapshot node=%s version=%" PRIu64 " reason=%s", s->node, version, reason);
    return notify(s, WEIR_CAPABILITY_SYNC_V1 ".snapshot", params, err);
}

static int64_t clock_us(const weir_session_t *s, int64_t now_ms)
{
    return s->options.clock_us != NULL ? s->options.clock_us(s->options.context) : now_ms * 1000;
}

/* -- pushing ----------------------------------------------------------------------------- */

static void want_deltas(weir_session_t *s, bool known)
{
    weir_want_t want = {
        .number = ++s->next_want,
        .kind = WEIR_WANT_DELTAS,
        .codec = s->codec,
        .level = s->level,
        .known = known,
        .staged = s->sync.staged,
        .whole = s->sync.whole,
        .version = s->sync.sent,
    };
    s->sync.want = want.number;
    s->options.want(s->options.context, &want);
}

int session_sync_push(weir_session_t *s, weir_error_t *err)
{
    (void)err;
    if (s->sync.started && !s->sync.in_flight && s->sync.want == 0 && s->newest > s->sync.sent)
        want_deltas(s, true);
    return WEIR_OK;
}

/* What was sent: a version, with the digest that the node is to have then. */
static void set_sent(weir_session_t *s, const weir_answer_t *answer, int64_t now_ms)
{
    if (!s->sync.staged)
        weir_registry_sent(s->options.registry, s->registered, s->sync.sent,
                           weir_answer_version(answer), clock_us(s, now_ms));
    s->sync.sent = weir_answer_version(answer);
    s->sync.has_digest = weir_answer_digest(answer, &s->sync.digest);
    s->sync.sent_ms = now_ms;
    s->sync.in_flight = true;
}

int session_sync_deltas(weir_session_t *s, weir_answer_t *answer, const weir_error_t *failure,
                        int64_t now_ms, weir_error_t *err)
{
    s->sync.want = 0;
    if (answer == NULL) {
        session_event(s, "cannot be sent deltas node=%s error=\"%s\"", s->node, failure->reason);
        return session_close(s, err, "its deltas could not be made");
    }
    const weir_snapshot_t *snapshot = weir_answer_snapshot(answer);
    if (snapshot != NULL)
        return send_snapshot(s, snapshot->version, snapshot->entities, snapshot->reason, err);
    batch_slot_t slot = { .answer = answer };
    int rc = session_send_pieces(s, &slot, 1, false, err);
    if (rc == WEIR_TOO_LARGE)
        return session_close(s, err, "its deltas are larger than cluster_max_payload");
    if (rc == WEIR_OK)
        set_sent(s, answer, now_ms);
    return rc;
}

/* -- what it says: start ------------------------------------------------------------------- */

static bool has_key(const weir_session_t *s, const weir_json_t *params)
{
    char ours[WEIR_DIGEST_FINGERPRINT_TEXT + 1] = "";
    weir_digester_t *digester = NULL;
    weir_str_t theirs = weir_json_get_string(params, "key", (weir_str_t){ NULL, 0 });
    if (theirs.data == NULL || weir_digester_new(s->options.digest_key, &digester, NULL) != WEIR_OK)
        return false; /* sending it once too often does no harm */
    int rc = weir_digester_fingerprint(digester, ours, NULL);
    weir_digester_free(digester);
    return rc == WEIR_OK && weir_str_is(theirs, ours);
}

static void note_error(weir_session_t *s, const weir_json_t *params)
{
    weir_str_t text = weir_json_get_string(params, "error", (weir_str_t){ NULL, 0 });
    if (text.data == NULL)
        return;
    session_event(s, "could not apply node=%s error=\"%.*s\"", s->node,
                  (int)(text.len < 256 ? text.len : 256), text.data);
    if (s->options.counters != NULL)
        s->options.counters->failures++;
}

/* Its pages go on where they stopped, if what came since can still be sent. */
static bool resumes(const weir_session_t *s, const weir_json_t *params, uint64_t *ret)
{
    const weir_json_t *page = weir_json_get(params, "page");
    return weir_json_kind(page) == WEIR_JSON_OBJECT &&
           weir_message_version(page, "snapshot", ret) && *ret > 0 && *ret <= s->newest &&
           s->options.holds != NULL && s->options.holds(s->options.context, *ret);
}

static int take_start(weir_session_t *s, const weir_json_t *params, int64_t now_ms,
                      weir_error_t *err)
{
    uint64_t version = 0;
    uint64_t snapshot = 0;
    if (weir_json_kind(params) != WEIR_JSON_OBJECT ||
        !weir_message_version(params, "version", &version))
        return session_close(s, err, "a start without a version");
    if (s->options.counters != NULL)
        s->options.counters->starts++;
    note_error(s, params);
    int rc = has_key(s, params) ? WEIR_OK : send_key(s, err);
    if (rc != WEIR_OK)
        return rc;
    s->sync = (sync_state_t){ .agreed = true,
                              .started = true,
                              .staged = weir_json_get_boolean(params, "staged", false),
                              .whole = weir_json_get_boolean(params, "whole", false),
                              .sent = version };
    if (!s->sync.whole && resumes(s, params, &snapshot)) {
        if (s->options.counters != NULL)
            s->options.counters->resumes++;
        return send_snapshot(s, snapshot, 0, "resume", err);
    }
    if (!s->sync.staged) {
        char hash[WEIR_TOKEN_LEN + 1];
        weir_token_format(version, hash);
        weir_registry_seen(s->options.registry, s->registered, weir_str(hash), version, now_ms);
    }
    want_deltas(s, version > 0);
    return WEIR_OK;
}

/* -- ack --------------------------------------------------------------------------------------- */

static void note_healed(weir_session_t *s, const weir_json_t *params)
{
    const weir_json_t *healed = weir_json_get(params, "healed");
    if (weir_json_kind(healed) != WEIR_JSON_OBJECT)
        return;
    double buckets = weir_json_get_number(healed, "buckets", 0);
    double entities = weir_json_get_number(healed, "entities", 0);
    session_event(s, "healed node=%s buckets=%.0f entities=%.0f", s->node, buckets, entities);
    if (s->options.counters != NULL && entities >= 0 && entities < 1e12) {
        s->options.counters->heals++;
        s->options.counters->healed_entities += (uint64_t)entities;
    }
}

/* 1: it has our set; 0: it has another one; -1: nobody knows. */
static int compare_digest(weir_session_t *s, const weir_json_t *params)
{
    weir_digest_t theirs;
    weir_str_t text = weir_json_get_string(params, "digest", WEIR_STR(""));
    if (!s->sync.has_digest || weir_digest_parse(text, &theirs) != WEIR_OK)
        return -1;
    if (weir_digest_equal(&theirs, &s->sync.digest))
        return 1;
    session_event(s, "digest mismatch node=%s version=%" PRIu64, s->node, s->sync.sent);
    if (s->options.counters != NULL)
        s->options.counters->mismatches++;
    return 0;
}

static int take_ack(weir_session_t *s, const weir_json_t *params, int64_t now_ms, weir_error_t *err)
{
    uint64_t version = 0;
    if (weir_json_kind(params) != WEIR_JSON_OBJECT ||
        !weir_message_version(params, "version", &version))
        return session_close(s, err, "an ack without a version");
    if (!s->sync.in_flight)
        return WEIR_OK; /* of what was before a start */
    if (version != s->sync.sent)
        return session_close(s, err, "an ack of a version that was not sent");
    s->sync.in_flight = false;
    if (weir_json_get_boolean(params, "staged", false))
        return WEIR_OK;
    s->sync.staged = false;
    if (s->options.counters != NULL)
        s->options.counters->acks++;
    note_healed(s, params);
    double us = weir_json_get_number(params, "us", -1);
    weir_registry_digest(s->options.registry, s->registered, compare_digest(s, params));
    weir_registry_applied(s->options.registry, s->registered, version,
                          us >= 0 && us < 1e15 ? (int64_t)us : -1, clock_us(s, now_ms));
    return WEIR_OK;
}

/* -- calls: page, heal --------------------------------------------------------------------------
 */

/* "routes/UUID", or nothing for the beginning. */
static bool read_cursor(weir_str_t text, weir_store_cursor_t *ret)
{
    *ret = (weir_store_cursor_t){ .type = WEIR_ENTITY_NONE };
    if (text.len == 0)
        return text.data != NULL;
    const char *slash = memchr(text.data, '/', text.len);
    if (slash == NULL)
        return false;
    size_t name_len = (size_t)(slash - text.data);
    const weir_schema_t *schema = weir_schema_named((weir_str_t){ text.data, name_len });
    if (schema == NULL ||
        weir_uuid_parse((weir_str_t){ slash + 1, text.len - name_len - 1 }, &ret->id) != WEIR_OK)
        return false;
    ret->type = schema->type;
    return true;
}

static int take_page(weir_session_t *s, const weir_json_t *id, const weir_json_t *params,
                     weir_error_t *err)
{
    weir_want_t want = {
        .kind = WEIR_WANT_PAGE, .codec = s->codec, .level = s->level, .known = true
    };
    weir_str_t after = weir_json_get_string(params, "after", (weir_str_t){ NULL, 0 });
    if (id == NULL || !weir_message_version(params, "snapshot", &want.version) ||
        !read_cursor(after, &want.cursor))
        return session_close(s, err, "a call for a page that names none");
    return session_want(s, id, NULL, &want, err);
}

static int read_sums(weir_str_t text, weir_digest_t **ret)
{
    if (text.len != (size_t)WEIR_DIGEST_BUCKETS * WEIR_DIGEST_TEXT)
        return WEIR_INVALID;
    weir_digest_t *sums = weir_calloc(WEIR_DIGEST_BUCKETS, sizeof(*sums));
    if (sums == NULL)
        return WEIR_NO_MEMORY;
    for (size_t i = 0; i < WEIR_DIGEST_BUCKETS; i++) {
        weir_str_t part = { text.data + i * WEIR_DIGEST_TEXT, WEIR_DIGEST_TEXT };
        if (weir_digest_parse(part, &sums[i]) != WEIR_OK) {
            weir_free(sums);
            return WEIR_INVALID;
        }
    }
    *ret = sums;
    return WEIR_OK;
}

static int take_heal(weir_session_t *s, const weir_json_t *id, const weir_json_t *params,
                     weir_error_t *err)
{
    weir_want_t want = {
        .kind = WEIR_WANT_HEAL, .codec = s->codec, .level = s->level, .known = true
    };
    if (id == NULL || !weir_message_version(params, "version", &want.version))
        return session_close(s, err, "a call to be healed without a version");
    int rc = read_sums(weir_json_get_string(params, "sums", WEIR_STR("")), &want.sums);
    if (rc != WEIR_OK)
        return session_close(s, err,
                             rc == WEIR_NO_MEMORY ? "out of memory for sums"
                                                  : "a call to be healed without sums");
    s->sync.started = false; /* no deltas before the answer, which brings some */
    s->sync.want = 0;
    return session_want(s, id, NULL, &want, err);
}

void session_sync_answered(weir_session_t *s, weir_want_kind_t kind, const weir_answer_t *answer,
                           int64_t now_ms)
{
    if (kind != WEIR_WANT_HEAL || answer == NULL)
        return;
    s->sync.started = true;
    set_sent(s, answer, now_ms);
}

/* -- messages -------------------------------------------------------------------------------------
 */

int session_sync_take(weir_session_t *s, weir_str_t method, const weir_json_t *id,
                      const weir_json_t *params, int64_t now_ms, weir_error_t *err)
{
    enum { PREFIX_LEN = sizeof(WEIR_CAPABILITY_SYNC_V1) }; /* with the dot */
    weir_str_t name = { method.data + PREFIX_LEN, method.len - PREFIX_LEN };
    if (weir_str_is(name, "start"))
        return take_start(s, params, now_ms, err);
    if (weir_str_is(name, "ack"))
        return take_ack(s, params, now_ms, err);
    if (weir_str_is(name, "page"))
        return take_page(s, id, params, err);
    if (weir_str_is(name, "heal"))
        return take_heal(s, id, params, err);
    return id != NULL
               ? session_send(
                     s, weir_message_error(id, WEIR_RPC_METHOD_NOT_FOUND, "Method not found"), err)
               : WEIR_OK;
}

int session_sync_tick(weir_session_t *s, int64_t now_ms, weir_error_t *err)
{
    if (s->sync.in_flight && now_ms - s->sync.sent_ms >= WEIR_SESSION_ACK_MS)
        return session_close(s, err, "no ack within 60 seconds");
    return session_sync_push(s, err);
}
