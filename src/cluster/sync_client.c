/* sync_client.c -- weir.sync.v1 at the data plane's end (docs/sync-v1.md).
 *
 * Nothing is remembered here that the data plane itself does not hold: whatever fails,
 * or is cut off, goes on with a start from what it says it has. */
#include "cluster/client_internal.h"

#include "base/json.h"

#include <stdio.h>

enum {
    RETRY_FIRST_MS = 100,
    RETRY_MAX_MS = 5000, /* a disk that is full may have room again at any moment */
};

/* -- saying ---------------------------------------------------------------------------- */

static int set_number(weir_json_t *object, const char *name, uint64_t number)
{
    return weir_json_set(object, name, weir_json_new_number((double)number));
}

static int set_text(weir_json_t *object, const char *name, const char *text)
{
    return weir_json_set(object, name, weir_json_new_string(weir_str(text)));
}

static int set_digest(weir_json_t *object, bool has_digest, const weir_digest_t *digest)
{
    char text[WEIR_DIGEST_TEXT + 1];
    if (!has_digest)
        return weir_json_set(object, "digest", weir_json_new_null());
    weir_digest_format(digest, text);
    return set_text(object, "digest", text);
}

/* Takes `params`; sends nothing if one of its members could not be made (`rc`). */
static int notify(weir_client_t *c, const char *method, weir_json_t *params, int rc,
                  weir_error_t *err)
{
    if (rc != WEIR_OK) {
        weir_json_free(params);
        params = NULL;
    }
    if (params == NULL)
        return weir_websocket_drop(err, "out of memory for a message");
    return client_send(c, weir_message_call(method, params, NULL), err);
}

/* Takes `params`. The answer comes to sync_take_response(). */
static int call(weir_client_t *c, const char *method, weir_json_t *params, int rc, int64_t now_ms,
                weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *id = weir_json_new_number((double)c->next_id);
    if (rc != WEIR_OK || id == NULL || params == NULL) {
        weir_json_free(params);
        return weir_websocket_drop(err, "out of memory for a call");
    }
    c->sync.calling = true;
    c->sync.call_id = c->next_id++;
    c->sync.since_ms = now_ms;
    return client_send(c, weir_message_call(method, params, id), err);
}

/* -- start -------------------------------------------------------------------------------- */

static int add_page(weir_json_t *params, const weir_sync_state_t *held)
{
    weir_json_t *page = weir_json_new_object();
    int rc = page != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    if (rc == WEIR_OK)
        rc = set_number(page, "snapshot", held->stage);
    if (rc == WEIR_OK)
        rc = set_text(page, "after", held->stage_cursor);
    if (rc == WEIR_OK)
        return weir_json_set(params, "page", page);
    weir_json_free(page);
    return rc;
}

static int send_start(weir_client_t *c, const weir_sync_state_t *held, int64_t now_ms,
                      weir_error_t *err)
{
    bool whole = c->sync.unhealable;
    bool staged = !whole && held->stage > 0 && held->stage_pages_done;
    weir_json_t *params = weir_json_new_object();
    int rc = params != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    if (rc == WEIR_OK)
        rc = set_number(params, "version", staged ? held->stage_version : held->version);
    if (rc == WEIR_OK && whole)
        rc = weir_json_set(params, "whole", weir_json_new_boolean(true));
    if (rc == WEIR_OK)
        rc = set_digest(params, held->has_digest && !staged, &held->digest);
    if (rc == WEIR_OK && held->key[0] != '\0')
        rc = set_text(params, "key", held->key);
    if (rc == WEIR_OK && staged)
        rc = weir_json_set(params, "staged", weir_json_new_boolean(true));
    if (rc == WEIR_OK && held->stage > 0 && !staged && !whole)
        rc = add_page(params, held);
    if (rc == WEIR_OK && c->sync.error[0] != '\0')
        rc = set_text(params, "error", c->sync.error);
    c->sync.staged = staged;
    c->sync.stage_version = held->stage_version;
    c->sync.stage_seen = held->stage_seen;
    c->sync.error[0] = '\0';
    c->sync.starting = true;
    c->sync.since_ms = now_ms;
    return notify(c, WEIR_CAPABILITY_SYNC_V1 ".start", params, rc, err);
}

/* What the data plane cannot do now it does later. */
static void fail(weir_client_t *c, const char *what, const weir_error_t *why, int64_t now_ms)
{
    int64_t delay = RETRY_FIRST_MS;
    for (unsigned i = 0; i < c->sync.failures && delay < RETRY_MAX_MS; i++)
        delay *= 2;
    client_fault(c, what, why);
    c->sync.failures++;
    c->sync.waiting = true;
    c->sync.calling = c->sync.healing = c->sync.starting = false;
    c->sync.snapshot = 0;
    c->sync.retry_ms = now_ms + (delay < RETRY_MAX_MS ? delay : RETRY_MAX_MS);
    snprintf(c->sync.error, sizeof(c->sync.error), "%.*s", CLIENT_TEXT_MAX - 1, why->reason);
}

static int start(weir_client_t *c, int64_t now_ms, weir_error_t *err)
{
    weir_sync_state_t held = { 0 };
    weir_error_t why = { 0 };
    c->sync.waiting = c->sync.calling = c->sync.healing = false;
    c->sync.snapshot = 0;
    if (c->options.sync->state(c->options.context, &held, &why) != WEIR_OK) {
        fail(c, "what is held could not be read", &why, now_ms);
        return WEIR_OK;
    }
    c->version = held.version;
    return send_start(c, &held, now_ms, err);
}

int sync_begin(weir_client_t *c, int64_t now_ms, weir_error_t *err)
{
    return start(c, now_ms, err);
}

/* -- entities ------------------------------------------------------------------------------- */

void weir_sync_entity(const weir_json_t *element, weir_sync_entity_t *ret)
{
    const weir_json_t *entity = weir_json_get(element, "entity");
    *ret = (weir_sync_entity_t){ .type = weir_json_get_string(element, "type", WEIR_STR("")) };
    weir_uuid_parse(weir_json_get_string(element, "id", WEIR_STR("")), &ret->id);
    ret->entity = weir_json_is_null(entity) ? NULL : entity;
    weir_str_t hash = weir_json_get_string(element, "hash", (weir_str_t){ NULL, 0 });
    ret->has_hash = hash.data != NULL && weir_digest_parse(hash, &ret->hash) == WEIR_OK;
}

/* What is no entity cannot be quarantined as one: the message is refused. */
static const char *fault_of(const weir_json_t *element)
{
    const weir_json_t *entity = weir_json_get(element, "entity");
    const weir_json_t *hash = weir_json_get(element, "hash");
    weir_uuid_t id;
    weir_digest_t digest;
    if (weir_json_kind(element) != WEIR_JSON_OBJECT)
        return "is no object";
    if (weir_json_get_string(element, "type", WEIR_STR("")).len == 0)
        return "has no type";
    if (weir_uuid_parse(weir_json_get_string(element, "id", WEIR_STR("")), &id) != WEIR_OK)
        return "has no id";
    if (entity == NULL ||
        (!weir_json_is_null(entity) && weir_json_kind(entity) != WEIR_JSON_OBJECT))
        return "has an entity that is no object";
    if (hash != NULL && (weir_json_string(hash).data == NULL ||
                         weir_digest_parse(weir_json_string(hash), &digest) != WEIR_OK))
        return "has a hash that is none";
    return NULL;
}

static int check_list(const weir_json_t *list, const char *name, weir_error_t *why)
{
    size_t index = 0;
    if (weir_json_kind(list) != WEIR_JSON_ARRAY)
        return weir_error_set(why, WEIR_INVALID, name, "is missing or no list");
    for (const weir_json_t *e = weir_json_first(list); e != NULL; e = weir_json_next(e)) {
        const char *fault = fault_of(e);
        index++;
        if (fault != NULL)
            return weir_error_set(why, WEIR_INVALID, name, "element %zu %s", index, fault);
    }
    return WEIR_OK;
}

static int check_buckets(const weir_json_t *list, weir_error_t *why)
{
    if (weir_json_kind(list) != WEIR_JSON_ARRAY)
        return weir_error_set(why, WEIR_INVALID, "buckets", "is missing or no list");
    double before = -1;
    for (const weir_json_t *b = weir_json_first(list); b != NULL; b = weir_json_next(b)) {
        const weir_json_t *number = weir_json_get(b, "bucket");
        double bucket = weir_json_number(number);
        if (!weir_json_is_integer(number) || bucket <= before || bucket >= WEIR_DIGEST_BUCKETS)
            return weir_error_set(why, WEIR_INVALID, "bucket", "is no number of a bucket");
        before = bucket;
        const weir_json_t *entities = weir_json_get(b, "entities");
        int rc = check_list(entities, "entities", why);
        for (const weir_json_t *e = weir_json_first(entities); rc == WEIR_OK && e != NULL;
             e = weir_json_next(e)) {
            weir_sync_entity_t entity;
            weir_sync_entity(e, &entity);
            if (entity.entity == NULL || weir_digest_bucket(&entity.id) != (unsigned)bucket)
                rc = weir_error_set(why, WEIR_INVALID, "entities", "are of another bucket");
        }
        if (rc != WEIR_OK)
            return rc;
    }
    return WEIR_OK;
}

static void note_newest(weir_client_t *c, const weir_json_t *params, uint64_t version)
{
    uint64_t newest = 0;
    if (weir_message_version(params, "newest", &newest) && newest > c->newest)
        c->newest = newest;
    if (version > c->newest)
        c->newest = version;
}

/* -- applying ---------------------------------------------------------------------------------- */

static int send_ack(weir_client_t *c, const weir_sync_batch_t *batch,
                    const weir_sync_applied_t *applied, weir_error_t *err)
{
    weir_json_t *params = weir_json_new_object();
    weir_json_t *healed = NULL;
    int rc = params != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    if (rc == WEIR_OK)
        rc = set_number(params, "version", batch->version);
    if (rc == WEIR_OK)
        rc = set_digest(params, applied->has_digest, &applied->digest);
    if (rc == WEIR_OK)
        rc = set_number(params, "us", applied->us);
    if (rc == WEIR_OK && batch->staged)
        rc = weir_json_set(params, "staged", weir_json_new_boolean(true));
    if (rc == WEIR_OK && batch->buckets != NULL) {
        healed = weir_json_new_object();
        rc = healed != NULL ? WEIR_OK : WEIR_NO_MEMORY;
        if (rc == WEIR_OK)
            rc = set_number(healed, "buckets", weir_json_count(batch->buckets));
        if (rc == WEIR_OK)
            rc = set_number(healed, "entities", applied->healed_entities);
        if (rc == WEIR_OK) {
            rc = weir_json_set(params, "healed", healed);
            healed = NULL;
        }
        weir_json_free(healed);
    }
    return notify(c, WEIR_CAPABILITY_SYNC_V1 ".ack", params, rc, err);
}

static int ask_heal(weir_client_t *c, bool staged, uint64_t version, int64_t now_ms,
                    weir_error_t *err)
{
    enum { TEXT_BYTES = WEIR_DIGEST_BUCKETS * WEIR_DIGEST_TEXT };
    weir_error_t why = { 0 };
    WEIR_AUTO(free)
    weir_digest_t *sums = weir_calloc(WEIR_DIGEST_BUCKETS, sizeof(*sums));
    WEIR_AUTO(free) char *text = weir_malloc(TEXT_BYTES + 1);
    if (sums == NULL || text == NULL)
        return weir_websocket_drop(err, "out of memory for sums");
    if (c->options.sync->sums(c->options.context, staged, sums, &why) != WEIR_OK) {
        fail(c, "the sums could not be read", &why, now_ms);
        return WEIR_OK;
    }
    for (size_t i = 0; i < WEIR_DIGEST_BUCKETS; i++)
        weir_digest_format(&sums[i], text + i * WEIR_DIGEST_TEXT);
    weir_json_t *params = weir_json_new_object();
    int rc = params != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    if (rc == WEIR_OK)
        rc = set_number(params, "version", version);
    if (rc == WEIR_OK)
        rc = set_text(params, "sums", text);
    c->sync.healing = true;
    return call(c, WEIR_CAPABILITY_SYNC_V1 ".heal", params, rc, now_ms, err);
}

/* With the digest that the control plane says there must be: 1 equal, 0 another one, -1: one
 * of the two is not known. */
static int compare(const weir_json_t *params, const weir_sync_applied_t *applied)
{
    weir_digest_t theirs;
    weir_str_t text = weir_json_get_string(params, "digest", WEIR_STR(""));
    if (!applied->has_digest || weir_digest_parse(text, &theirs) != WEIR_OK)
        return -1;
    return weir_digest_equal(&theirs, &applied->digest);
}

/* Another set than the control plane's, at the same version: it is healed; and if that
 * did not help, everything comes anew. */
static int mend(weir_client_t *c, const weir_sync_batch_t *batch, int64_t now_ms, weir_error_t *err)
{
    weir_error_t why = { 0 };
    weir_error_set(&why, WEIR_CORRUPT, "digest",
                   "the set as of version %" PRIu64 " is not that of the control plane",
                   batch->version);
    c->mismatches++;
    if (batch->buckets == NULL) {
        client_fault(c, "a digest differs: the buckets are compared", &why);
        return ask_heal(c, batch->staged, batch->version, now_ms, err);
    }
    if (batch->staged)
        c->options.sync->discard(c->options.context);
    c->sync.unhealable = true;
    fail(c, "a digest differs, after healing as well: everything is asked for", &why, now_ms);
    return WEIR_OK;
}

/* The stage is what the control plane holds, or further on than any of its pages. */
static int switch_over(weir_client_t *c, weir_sync_batch_t *batch, int64_t now_ms)
{
    weir_error_t why = { 0 };
    if (c->options.sync->switch_over(c->options.context, &why) != WEIR_OK) {
        fail(c, "the stage could not take over", &why, now_ms);
        return why.code != WEIR_OK ? why.code : WEIR_IO;
    }
    c->sync.staged = false;
    batch->staged = false;
    return WEIR_OK;
}

/* Checked already. */
static int apply(weir_client_t *c, weir_sync_batch_t *batch, const weir_json_t *params,
                 int64_t now_ms, weir_error_t *err)
{
    weir_sync_applied_t applied = { 0 };
    weir_error_t why = { 0 };
    if (c->options.sync->apply(c->options.context, batch, &applied, &why) != WEIR_OK) {
        fail(c, "a change could not be applied", &why, now_ms);
        return pull_report(c, err);
    }
    c->sync.failures = 0;
    note_newest(c, params, batch->version);
    int equal = compare(params, &applied);
    bool other = equal == 0;
    if (batch->staged) {
        c->sync.stage_version = batch->version;
        if (!other && batch->version >= c->sync.stage_seen &&
            switch_over(c, batch, now_ms) != WEIR_OK)
            return WEIR_OK;
    }
    if (!batch->staged)
        c->version = batch->version;
    if (!batch->staged && equal >= 0)
        c->digest_equal = equal;
    int rc = pull_report(c, err);
    if (rc == WEIR_OK)
        rc = send_ack(c, batch, &applied, err);
    if (rc != WEIR_OK)
        return rc;
    if (!batch->staged || batch->version >= c->sync.stage_seen)
        return other ? mend(c, batch, now_ms, err) : WEIR_OK;
    uint64_t newest = 0;
    if (!weir_message_version(params, "newest", &newest) || batch->version < newest)
        return WEIR_OK; /* the rest of the way is coming */
    /* Its pages were of versions that it no longer has: it was restored meanwhile. */
    c->options.sync->discard(c->options.context);
    weir_error_set(&why, WEIR_CORRUPT, "version",
                   "the control plane is at version %" PRIu64 ", a page came from %" PRIu64, newest,
                   c->sync.stage_seen);
    fail(c, "the stage is of another history", &why, now_ms);
    return WEIR_OK;
}

static int take_deltas(weir_client_t *c, const weir_json_t *params, int64_t now_ms,
                       weir_error_t *err)
{
    uint64_t after = 0;
    weir_sync_batch_t batch = { .staged = c->sync.staged,
                                .deltas = weir_json_get(params, "deltas") };
    weir_error_t why = { 0 };
    if (c->sync.healing)
        return WEIR_OK; /* the answer that is awaited has them, too */
    if (!weir_message_version(params, "after", &after) ||
        !weir_message_version(params, "version", &batch.version) || batch.version < after)
        return client_close(c, err, "deltas without their versions");
    if (check_list(batch.deltas, "deltas", &why) != WEIR_OK) {
        client_fault(c, "deltas are refused", &why);
        return client_close(c, err, "deltas that are none");
    }
    c->sync.starting = false;
    if (c->sync.snapshot != 0)
        return client_close(c, err, "deltas while pages are asked for");
    if (after != (batch.staged ? c->sync.stage_version : c->version))
        return start(c, now_ms, err);
    return apply(c, &batch, params, now_ms, err);
}

/* -- pages ---------------------------------------------------------------------------------------
 */

static int ask_page(weir_client_t *c, weir_str_t after, int64_t now_ms, weir_error_t *err)
{
    weir_json_t *params = weir_json_new_object();
    int rc = params != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    if (rc == WEIR_OK)
        rc = set_number(params, "snapshot", c->sync.snapshot);
    if (rc == WEIR_OK)
        rc = weir_json_set(params, "after", weir_json_new_string(after));
    return call(c, WEIR_CAPABILITY_SYNC_V1 ".page", params, rc, now_ms, err);
}

static int take_snapshot(weir_client_t *c, const weir_json_t *params, int64_t now_ms,
                         weir_error_t *err)
{
    uint64_t snapshot = 0;
    uint64_t entities = 0;
    weir_error_t why = { 0 };
    weir_sync_state_t held = { 0 };
    weir_str_t reason = weir_json_get_string(params, "reason", WEIR_STR("unknown"));
    if (!weir_message_version(params, "snapshot", &snapshot) || snapshot == 0)
        return client_close(c, err, "a snapshot without a version");
    (void)weir_message_version(params, "entities", &entities);
    note_newest(c, params, snapshot);
    c->sync.starting = false;
    c->sync.staged = false;
    reason.len = reason.len < 64 ? reason.len : 64;
    const weir_client_sync_t *sync = c->options.sync;
    if (sync->stage(c->options.context, snapshot, entities, reason, &why) != WEIR_OK ||
        sync->state(c->options.context, &held, &why) != WEIR_OK) {
        fail(c, "a stage could not be made", &why, now_ms);
        return WEIR_OK;
    }
    c->sync.unhealable = false;
    c->sync.snapshot = snapshot;
    c->sync.stage_seen = held.stage_seen;
    c->sync.filling = false;
    return ask_page(c, weir_str(held.stage_cursor), now_ms, err);
}

/* The next one is asked for before this one is put: both ends work at once. */
static int take_page(weir_client_t *c, const weir_json_t *result, int64_t now_ms, weir_error_t *err)
{
    const weir_json_t *next = weir_json_get(result, "next");
    weir_sync_page_t page = { .entities = weir_json_get(result, "entities"),
                              .memory = &c->memory,
                              .next = weir_json_string(next) };
    weir_error_t why = { 0 };
    if (!weir_message_version(result, "snapshot", &page.snapshot) ||
        !weir_message_version(result, "version", &page.version) ||
        page.snapshot != c->sync.snapshot || next == NULL ||
        (page.next.data == NULL && !weir_json_is_null(next)) ||
        page.next.len >= WEIR_SYNC_CURSOR_MAX ||
        check_list(page.entities, "entities", &why) != WEIR_OK) {
        client_fault(c, "a page is refused", &why);
        return client_close(c, err, "a page that is none");
    }
    int rc = page.next.data != NULL ? ask_page(c, page.next, now_ms, err) : WEIR_OK;
    if (rc != WEIR_OK)
        return rc;
    if (c->options.sync->page(c->options.context, &page, &why) != WEIR_OK) {
        fail(c, "a page could not be put", &why, now_ms);
        return WEIR_OK;
    }
    if (c->sync.filling)
        c->sync.failures = 0; /* the one before this is in */
    c->sync.filling = true;
    return page.next.data == NULL ? start(c, now_ms, err) : WEIR_OK;
}

/* -- answers ---------------------------------------------------------------------------------- */

static int take_heal(weir_client_t *c, const weir_json_t *result, int64_t now_ms, weir_error_t *err)
{
    uint64_t after = 0;
    weir_sync_batch_t batch = { .staged = c->sync.staged,
                                .deltas = weir_json_get(result, "deltas"),
                                .buckets = weir_json_get(result, "buckets") };
    weir_error_t why = { 0 };
    if (!weir_message_version(result, "after", &after) ||
        !weir_message_version(result, "version", &batch.version) || batch.version < after ||
        check_list(batch.deltas, "deltas", &why) != WEIR_OK ||
        check_buckets(batch.buckets, &why) != WEIR_OK) {
        client_fault(c, "what heals is refused", &why);
        return client_close(c, err, "what heals is none");
    }
    if (after != (batch.staged ? c->sync.stage_version : c->version))
        return start(c, now_ms, err);
    return apply(c, &batch, result, now_ms, err);
}

static int take_error(weir_client_t *c, bool healing, const weir_json_t *error, int64_t now_ms)
{
    double code = weir_json_get_number(error, "code", 0);
    weir_str_t text = weir_json_get_string(error, "message", WEIR_STR("no message"));
    weir_error_t why = { 0 };
    weir_error_set(&why, WEIR_INVALID, NULL, "%.*s", (int)(text.len < 200 ? text.len : 200),
                   text.data);
    if (healing)
        c->sync.unhealable = true;
    if (code == WEIR_RPC_SNAPSHOT_GONE || (healing && c->sync.staged))
        c->options.sync->discard(c->options.context);
    fail(c, healing ? "what differs could not be healed" : "a page is not to be had", &why, now_ms);
    c->sync.error[0] = '\0'; /* the control plane knows */
    return WEIR_OK;
}

int sync_take_response(weir_client_t *c, const weir_json_t *message, int64_t now_ms,
                       weir_error_t *err)
{
    const weir_json_t *id = weir_json_get(message, "id");
    if (!c->sync.calling || weir_json_kind(id) != WEIR_JSON_NUMBER ||
        weir_json_number(id) != (double)c->sync.call_id)
        return WEIR_OK; /* late, or to nothing */
    bool healing = c->sync.healing;
    c->sync.calling = c->sync.healing = false;
    const weir_json_t *error = weir_json_get(message, "error");
    const weir_json_t *result = weir_json_get(message, "result");
    if (error != NULL)
        return take_error(c, healing, error, now_ms);
    return healing ? take_heal(c, result, now_ms, err) : take_page(c, result, now_ms, err);
}

/* -- notifications ---------------------------------------------------------------------------- */

static int take_key(weir_client_t *c, const weir_json_t *params, int64_t now_ms, weir_error_t *err)
{
    weir_digest_key_t key;
    weir_error_t why = { 0 };
    if (weir_digest_key_parse(weir_json_get_string(params, "key", WEIR_STR("")), &key) != WEIR_OK)
        return client_close(c, err, "a digest key that is none");
    if (c->options.sync->key(c->options.context, &key, &why) != WEIR_OK)
        fail(c, "the digest key could not be taken", &why, now_ms);
    return WEIR_OK;
}

int sync_take_call(weir_client_t *c, const weir_json_t *message, int64_t now_ms, weir_error_t *err)
{
    weir_str_t method = weir_json_get_string(message, "method", WEIR_STR(""));
    const weir_json_t *params = weir_json_get(message, "params");
    params = weir_json_kind(params) == WEIR_JSON_ARRAY ? weir_json_first(params) : NULL;
    bool deltas = weir_str_is(method, WEIR_CAPABILITY_SYNC_V1 ".deltas");
    bool snapshot = weir_str_is(method, WEIR_CAPABILITY_SYNC_V1 ".snapshot");
    bool key = weir_str_is(method, WEIR_CAPABILITY_SYNC_V1 ".key");
    if (!deltas && !snapshot && !key)
        return WEIR_OK;
    if (weir_json_kind(params) != WEIR_JSON_OBJECT)
        return client_close(c, err, "a notification without params");
    if (c->sync.waiting)
        return WEIR_OK; /* a start follows, which begins anew */
    if (key)
        return take_key(c, params, now_ms, err);
    return deltas ? take_deltas(c, params, now_ms, err) : take_snapshot(c, params, now_ms, err);
}

/* -- time
 * ------------------------------------------------------------------------------------------------
 */

int sync_tick(weir_client_t *c, int64_t now_ms, weir_error_t *err)
{
    if ((c->sync.calling || c->sync.starting) &&
        now_ms - c->sync.since_ms >= c->options.call_timeout_ms)
        return client_close(c, err, "the control plane did not answer in time");
    return c->sync.waiting && now_ms >= c->sync.retry_ms ? start(c, now_ms, err) : WEIR_OK;
}

int64_t sync_deadline(const weir_client_t *c)
{
    if (c->sync.waiting)
        return c->sync.retry_ms;
    return c->sync.calling || c->sync.starting ? c->sync.since_ms + c->options.call_timeout_ms
                                               : INT64_MAX;
}
