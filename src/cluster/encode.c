/* encode.c -- which answer a data plane gets, and the answers of get_delta. */
#include "cluster/encode_internal.h"

#include "base/json.h"
#include "cluster/compat.h"

#include <stdio.h>

enum {
    SMALL_RANGE = 1024, /* versions that are never too many */
    QUICK_BYTES = 16 * 1024,
};

int weir_encoder_new(const weir_encoder_options_t *options, weir_encoder_t **ret, weir_error_t *err)
{
    weir_encoder_t *encoder = weir_calloc(1, sizeof(*encoder));
    answers_t *kept = encoder != NULL ? answers_new(options->kept_bytes) : NULL;
    if (kept == NULL) {
        weir_free(encoder);
        return weir_error_memory(err);
    }
    encoder->options = *options;
    encoder->kept = kept;
    pthread_mutex_init(&encoder->lock, NULL);
    pthread_mutex_init(&encoder->full_lock, NULL);
    *ret = encoder;
    return WEIR_OK;
}

void weir_encoder_free(weir_encoder_t *encoder)
{
    if (encoder == NULL)
        return;
    answers_free(encoder->kept);
    pthread_mutex_destroy(&encoder->lock);
    pthread_mutex_destroy(&encoder->full_lock);
    weir_free(encoder);
}

void weir_encoder_count(weir_encoder_t *encoder, weir_encoder_counters_t *ret)
{
    pthread_mutex_lock(&encoder->lock);
    *ret = encoder->counters;
    pthread_mutex_unlock(&encoder->lock);
    ret->kept_bytes = answers_bytes(encoder->kept);
}

/* -- wishes ------------------------------------------------------------------------------ */

void weir_want_release(weir_want_t *want)
{
    weir_free(want->sums);
    want->sums = NULL;
}

bool weir_want_same(const weir_want_t *a, const weir_want_t *b)
{
    return a->kind == b->kind && a->codec == b->codec && a->dialect == b->dialect &&
           a->level == b->level && a->known == b->known && a->staged == b->staged &&
           a->whole == b->whole && a->version == b->version && a->cursor.type == b->cursor.type &&
           weir_uuid_equal(&a->cursor.id, &b->cursor.id) && a->sums == NULL && b->sums == NULL;
}

answer_key_t encoder_key(const weir_want_t *want, bool full, uint64_t latest)
{
    answer_key_t key;
    memset(&key, 0, sizeof(key));
    key.kind = (uint32_t)want->kind;
    key.codec = (uint32_t)want->codec;
    key.dialect = (uint32_t)want->dialect;
    key.full = full;
    key.level = want->level;
    key.from = full ? 0 : want->version;
    if (want->kind == WEIR_WANT_PAGE) {
        key.cursor_type = (uint64_t)want->cursor.type;
        key.cursor_id = want->cursor.id;
    } else {
        key.version = latest;
    }
    return key;
}

/* -- get_delta --------------------------------------------------------------------- */

typedef struct encoding {
    weir_answer_t *answer;
    weir_dialect_t dialect;
    int64_t level;
    bool first;
} encoding_t;

static const char *version_text(weir_dialect_t dialect, uint64_t version,
                                char out[WEIR_TOKEN_LEN + 8])
{
    if (dialect == WEIR_DIALECT_39) {
        snprintf(out, WEIR_TOKEN_LEN + 8, "%llu", (unsigned long long)version);
    } else {
        out[0] = '"';
        weir_token_format(version, out + 1);
        memcpy(out + 1 + WEIR_TOKEN_LEN, "\"", 2);
    }
    return out;
}

/* Parses, adapts, and says whether that changed anything: only then there is a text. */
static int adapt(const weir_delta_t *row, int64_t level, weir_buffer_t *text, bool *ret_changed)
{
    WEIR_AUTO(json) weir_json_t *entity = NULL;
    int rc = weir_json_parse(row->document, &entity, NULL);
    if (rc == WEIR_OK)
        rc = weir_compat_adapt(row->type, entity, level, ret_changed, NULL);
    return rc == WEIR_OK && *ret_changed ? weir_json_print(entity, text) : rc;
}

int encoder_append_document(weir_elements_t *out, const weir_delta_t *row, int64_t level,
                            weir_digester_t *digester, weir_digest_t *ret_hash)
{
    bool changed = false;
    if (row->document.data == NULL)
        return weir_elements_append(out, WEIR_STR("null"));
    if (level >= weir_compat_newest())
        return weir_elements_append(out, row->document);
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, out->bytes.len_max);
    int rc = adapt(row, level, &text, &changed);
    if (rc != WEIR_OK)
        return rc;
    if (changed && digester != NULL)
        rc = weir_digester_entity(digester, weir_str(weir_schema(row->type)->name), &row->id,
                                  row->document, ret_hash, NULL);
    if (rc != WEIR_OK)
        return rc;
    return weir_elements_append(out, changed ? weir_buffer_str(&text) : row->document);
}

/* Rows are written as text: documents are JSON already (sync-protocol C.3). */
static int encode_delta(void *context, const weir_delta_t *delta)
{
    encoding_t *e = context;
    weir_elements_t *out = &e->answer->elements;
    const weir_schema_t *schema = weir_schema(delta->type);
    if (schema == NULL)
        return WEIR_CORRUPT;
    char head[384];
    char id[WEIR_UUID_TEXT + 1];
    char workspace[WEIR_UUID_TEXT + 1];
    char version[WEIR_TOKEN_LEN + 8];
    weir_uuid_format(&delta->id, id);
    weir_uuid_format(&delta->workspace, workspace);
    bool wants_key = !e->answer->full && strcmp(schema->primary_key, "id") == 0;
    int len = snprintf(head, sizeof(head),
                       "%s{\"type\":\"%s\",\"version\":%s,\"ws_id\":\"%s\",%s%s%s"
                       "\"entity\":",
                       e->first ? "" : ",", schema->name,
                       version_text(e->dialect, delta->version, version), workspace,
                       wants_key ? "\"pk\":{\"id\":\"" : "", wants_key ? id : "",
                       wants_key ? "\"}," : "");
    e->first = false;
    int rc = weir_elements_append(out, (weir_str_t){ head, (size_t)len });
    if (rc == WEIR_OK)
        rc = encoder_append_document(out, delta, e->level, NULL, NULL);
    return rc == WEIR_OK ? weir_elements_append(out, WEIR_STR("}")) : rc;
}

static int begin_answer(weir_elements_t *out)
{
    return weir_elements_append(out, WEIR_STR("{\"default\":{\"deltas\":["));
}

static int end_answer(weir_answer_t *answer, weir_dialect_t dialect)
{
    char tail[128];
    char version[WEIR_TOKEN_LEN + 8];
    version_text(dialect, answer->version, version);
    int len = dialect == WEIR_DIALECT_39
                  ? snprintf(tail, sizeof(tail), "],\"wipe\":%s}}", answer->full ? "true" : "false")
                  : snprintf(tail, sizeof(tail), "],\"full_sync\":%s,\"latest_version\":%s}}",
                             answer->full ? "true" : "false", version);
    int rc = weir_elements_append(&answer->elements, (weir_str_t){ tail, (size_t)len });
    return rc == WEIR_OK ? weir_elements_finish(&answer->elements) : rc;
}

int encoder_too_large(const weir_encoder_t *encoder, int rc, const char *what, weir_error_t *err)
{
    if (rc != WEIR_TOO_LARGE)
        return rc == WEIR_NO_MEMORY ? weir_error_memory(err) : rc;
    return weir_error_set(err, rc, "cluster_max_payload",
                          "%s does not fit into one message of %zu bytes: raise "
                          "cluster_max_payload on both planes",
                          what, encoder->options.payload_max);
}

static int make_increment(weir_encoder_t *encoder, const weir_want_t *want, uint64_t latest,
                          weir_answer_t **ret, weir_error_t *err)
{
    answer_key_t key = encoder_key(want, false, latest);
    weir_answer_t *answer = answer_new(&key, encoder->options.payload_max);
    if (answer == NULL)
        return weir_error_memory(err);
    encoding_t e = {
        .answer = answer, .dialect = want->dialect, .level = want->level, .first = true
    };
    int rc = begin_answer(&answer->elements);
    if (rc == WEIR_OK && want->version < latest)
        rc =
            weir_store_deltas(encoder->options.store, want->version, latest, encode_delta, &e, err);
    if (rc == WEIR_OK)
        rc = end_answer(answer, want->dialect);
    if (rc == WEIR_OK)
        *ret = answer;
    else
        weir_answer_release(answer);
    return rc == WEIR_OK || rc == WEIR_NOT_FOUND
               ? rc
               : encoder_too_large(encoder, rc, "the range of deltas", err);
}

static int make_full(weir_encoder_t *encoder, const weir_want_t *want, weir_answer_t **ret,
                     weir_error_t *err)
{
    answer_key_t key = encoder_key(want, true, 0);
    weir_answer_t *answer = answer_new(&key, encoder->options.payload_max);
    if (answer == NULL)
        return weir_error_memory(err);
    encoding_t e = {
        .answer = answer, .dialect = want->dialect, .level = want->level, .first = true
    };
    int rc = begin_answer(&answer->elements);
    if (rc == WEIR_OK)
        rc = weir_store_snapshot(encoder->options.store, encode_delta, &e, &answer->version, err);
    answer->key.version = answer->version;
    if (rc == WEIR_OK)
        rc = end_answer(answer, want->dialect);
    if (rc == WEIR_OK)
        *ret = answer;
    else
        weir_answer_release(answer);
    return rc == WEIR_OK ? rc : encoder_too_large(encoder, rc, "the whole configuration", err);
}

/* -- which of both -------------------------------------------------------------------- */

uint64_t encoder_entities(const weir_encoder_t *encoder)
{
    uint64_t entities = 0;
    size_t count = 0;
    const weir_entity_type_t *types = weir_schema_order(&count);
    for (size_t i = 0; i < count; i++)
        entities += weir_store_count(encoder->options.store, types[i]);
    return entities;
}

/* More versions behind than there are entities: everything is the shorter answer.
 * For a small set that is not worth a full sync. */
static uint64_t increment_versions_max(const weir_encoder_t *encoder)
{
    if (encoder->options.full_sync_threshold > 0)
        return encoder->options.full_sync_threshold;
    return encoder_entities(encoder) + SMALL_RANGE;
}

const char *encoder_needs_all(weir_encoder_t *encoder, const weir_want_t *want, uint64_t latest)
{
    if (want->whole)
        return "digest";
    if (!want->known || want->version == 0)
        return "unknown";
    if (want->version > latest)
        return "ahead";
    if (want->version < weir_store_log_floor(encoder->options.store))
        return "behind";
    return !want->staged && latest - want->version > increment_versions_max(encoder) ? "threshold"
                                                                                     : NULL;
}

bool weir_encoder_holds(weir_encoder_t *encoder, uint64_t version)
{
    return version > 0 && version <= weir_store_version(encoder->options.store) &&
           version >= weir_store_log_floor(encoder->options.store);
}

bool weir_encoder_takes_long(weir_encoder_t *encoder, const weir_want_t *want)
{
    switch (want->kind) {
    case WEIR_WANT_GET_DELTA:
        return encoder_needs_all(encoder, want, weir_store_version(encoder->options.store)) != NULL;
    case WEIR_WANT_PAGE:
    case WEIR_WANT_HEAL:
        return true;
    case WEIR_WANT_DELTAS:
        break;
    }
    return false;
}

bool weir_encoder_is_quick(weir_encoder_t *encoder, const weir_want_t *want)
{
    weir_store_t *store = encoder->options.store;
    return (want->kind == WEIR_WANT_DELTAS || want->kind == WEIR_WANT_GET_DELTA) &&
           want->level >= weir_compat_newest() &&
           weir_store_deltas_at_hand(store, want->version, QUICK_BYTES) &&
           encoder_needs_all(encoder, want, weir_store_version(store)) == NULL;
}

/* What is kept under which key; false for what is never kept. */
static bool kept_key(weir_encoder_t *encoder, const weir_want_t *want, uint64_t latest,
                     answer_key_t *ret)
{
    if (want->kind == WEIR_WANT_HEAL ||
        (want->kind == WEIR_WANT_PAGE && !weir_encoder_holds(encoder, want->version)))
        return false;
    const char *reason =
        want->kind == WEIR_WANT_PAGE ? NULL : encoder_needs_all(encoder, want, latest);
    if (reason != NULL && want->kind == WEIR_WANT_DELTAS)
        return false;
    *ret = encoder_key(want, reason != NULL, latest);
    return true;
}

weir_answer_t *weir_encoder_ready(weir_encoder_t *encoder, const weir_want_t *want)
{
    answer_key_t key;
    if (!kept_key(encoder, want, weir_store_version(encoder->options.store), &key))
        return NULL;
    weir_answer_t *answer = answers_find(encoder->kept, &key);
    if (answer != NULL) {
        pthread_mutex_lock(&encoder->lock);
        encoder->counters.reused++;
        pthread_mutex_unlock(&encoder->lock);
    }
    return answer;
}

static void keep(weir_encoder_t *encoder, weir_answer_t *answer)
{
    weir_assert(answer != NULL);
    if (answer->snapshot.version == 0)
        answers_put(encoder->kept, answer);
    pthread_mutex_lock(&encoder->lock);
    if (answer->key.kind == WEIR_WANT_PAGE)
        encoder->counters.pages++;
    else if (answer->snapshot.version == 0) {
        encoder->counters.fulls += answer->full;
        encoder->counters.increments += !answer->full;
    }
    pthread_mutex_unlock(&encoder->lock);
}

static int full_answer(weir_encoder_t *encoder, const weir_want_t *want, weir_answer_t **ret,
                       weir_error_t *err)
{
    pthread_mutex_lock(&encoder->full_lock);
    int rc = WEIR_OK;
    answer_key_t key = encoder_key(want, true, weir_store_version(encoder->options.store));
    *ret = answers_find(encoder->kept, &key);
    if (*ret == NULL) {
        rc = make_full(encoder, want, ret, err);
        if (rc == WEIR_OK)
            keep(encoder, *ret);
    }
    pthread_mutex_unlock(&encoder->full_lock);
    return rc;
}

static int get_delta_answer(weir_encoder_t *encoder, const weir_want_t *want, uint64_t latest,
                            weir_answer_t **ret, weir_error_t *err)
{
    if (encoder_needs_all(encoder, want, latest) != NULL)
        return full_answer(encoder, want, ret, err);
    int rc = make_increment(encoder, want, latest, ret, err);
    if (rc == WEIR_NOT_FOUND || rc == WEIR_TOO_LARGE)
        return full_answer(encoder, want, ret, err); /* behind the log, or cheaper so */
    if (rc == WEIR_OK)
        keep(encoder, *ret);
    return rc;
}

int weir_encoder_answer(weir_encoder_t *encoder, const weir_want_t *want, weir_answer_t **ret,
                        weir_error_t *err)
{
    uint64_t latest = weir_store_version(encoder->options.store);
    *ret = weir_encoder_ready(encoder, want);
    if (*ret != NULL)
        return WEIR_OK;
    if (want->kind == WEIR_WANT_GET_DELTA)
        return get_delta_answer(encoder, want, latest, ret, err);
    if (want->kind == WEIR_WANT_HEAL)
        return encode_heal(encoder, want, ret, err);
    int rc = want->kind == WEIR_WANT_PAGE ? encode_page(encoder, want, ret, err)
                                          : encode_deltas(encoder, want, latest, ret, err);
    if (rc == WEIR_OK)
        keep(encoder, *ret);
    return rc;
}
