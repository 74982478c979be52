/* encode.c -- answers of get_delta, encoded once and shared. */
#include "cluster/encode.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

enum {
    KEPT = 16,          /* answers that stay for the next session that wants them */
    SMALL_RANGE = 1024, /* versions that are never too many */
};

struct weir_answer {
    _Atomic unsigned references;
    bool full;
    uint64_t from, version;
    weir_dialect_t dialect;
    weir_elements_t elements;
};

struct weir_encoder {
    weir_encoder_options_t options;
    pthread_mutex_t lock;
    weir_answer_t *kept[KEPT];
    size_t next;
    weir_encoder_counters_t counters;
    pthread_mutex_t full_lock; /* one full dump is made at a time: the others reuse it */
};

int weir_encoder_new(const weir_encoder_options_t *options, weir_encoder_t **ret, weir_error_t *err)
{
    weir_encoder_t *encoder = weir_calloc(1, sizeof(*encoder));
    if (encoder == NULL)
        return weir_error_memory(err);
    encoder->options = *options;
    pthread_mutex_init(&encoder->lock, NULL);
    pthread_mutex_init(&encoder->full_lock, NULL);
    *ret = encoder;
    return WEIR_OK;
}

void weir_encoder_free(weir_encoder_t *encoder)
{
    if (encoder == NULL)
        return;
    for (size_t i = 0; i < KEPT; i++)
        weir_answer_release(encoder->kept[i]);
    pthread_mutex_destroy(&encoder->lock);
    pthread_mutex_destroy(&encoder->full_lock);
    weir_free(encoder);
}

weir_answer_t *weir_answer_keep(weir_answer_t *answer)
{
    answer->references++;
    return answer;
}

void weir_answer_release(weir_answer_t *answer)
{
    if (answer == NULL || --answer->references > 0)
        return;
    weir_elements_release(&answer->elements);
    weir_free(answer);
}

uint64_t weir_answer_version(const weir_answer_t *answer)
{
    return answer->version;
}

bool weir_answer_is_full(const weir_answer_t *answer)
{
    return answer->full;
}

weir_str_t weir_answer_elements(const weir_answer_t *answer, uint64_t *ret_uncompressed)
{
    *ret_uncompressed = answer->elements.uncompressed;
    return weir_buffer_str(&answer->elements.bytes);
}

void weir_encoder_count(weir_encoder_t *encoder, weir_encoder_counters_t *ret)
{
    pthread_mutex_lock(&encoder->lock);
    *ret = encoder->counters;
    pthread_mutex_unlock(&encoder->lock);
}

/* -- one answer --------------------------------------------------------------------- */

typedef struct encoding {
    weir_answer_t *answer;
    bool first;
    char version_text[WEIR_TOKEN_LEN + 8];
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
                       version_text(e->answer->dialect, delta->version, version), workspace,
                       wants_key ? "\"pk\":{\"id\":\"" : "", wants_key ? id : "",
                       wants_key ? "\"}," : "");
    e->first = false;
    int rc = weir_elements_append(out, (weir_str_t){ head, (size_t)len });
    if (rc == WEIR_OK)
        rc = weir_elements_append(out, delta->document.data != NULL ? delta->document
                                                                    : WEIR_STR("null"));
    return rc == WEIR_OK ? weir_elements_append(out, WEIR_STR("}")) : rc;
}

static int begin_answer(weir_elements_t *out)
{
    return weir_elements_append(out, WEIR_STR("{\"default\":{\"deltas\":["));
}

static int end_answer(weir_answer_t *answer)
{
    char tail[128];
    char version[WEIR_TOKEN_LEN + 8];
    version_text(answer->dialect, answer->version, version);
    int len = answer->dialect == WEIR_DIALECT_39
                  ? snprintf(tail, sizeof(tail), "],\"wipe\":%s}}", answer->full ? "true" : "false")
                  : snprintf(tail, sizeof(tail), "],\"full_sync\":%s,\"latest_version\":%s}}",
                             answer->full ? "true" : "false", version);
    int rc = weir_elements_append(&answer->elements, (weir_str_t){ tail, (size_t)len });
    return rc == WEIR_OK ? weir_elements_finish(&answer->elements) : rc;
}

static weir_answer_t *new_answer(const weir_encoder_t *encoder, bool full, uint64_t from,
                                 uint64_t version, weir_dialect_t dialect)
{
    weir_answer_t *answer = weir_calloc(1, sizeof(*answer));
    if (answer == NULL)
        return NULL;
    answer->references = 1;
    answer->full = full;
    answer->from = from;
    answer->version = version;
    answer->dialect = dialect;
    weir_elements_init(&answer->elements, WEIR_CODEC_SNAPPY, encoder->options.payload_max);
    return answer;
}

static int too_large(const weir_encoder_t *encoder, int rc, bool full, weir_error_t *err)
{
    if (rc != WEIR_TOO_LARGE)
        return rc == WEIR_NO_MEMORY ? weir_error_memory(err) : rc;
    return weir_error_set(err, rc, "cluster_max_payload",
                          "%s does not fit into one message of %zu bytes: raise "
                          "cluster_max_payload on both planes",
                          full ? "the whole configuration" : "the range of deltas",
                          encoder->options.payload_max);
}

static int make_increment(weir_encoder_t *encoder, uint64_t from, uint64_t version,
                          weir_dialect_t dialect, weir_answer_t **ret, weir_error_t *err)
{
    weir_answer_t *answer = new_answer(encoder, false, from, version, dialect);
    if (answer == NULL)
        return weir_error_memory(err);
    encoding_t e = { .answer = answer, .first = true };
    int rc = begin_answer(&answer->elements);
    if (rc == WEIR_OK && from < version)
        rc = weir_store_deltas(encoder->options.store, from, version, encode_delta, &e, err);
    if (rc == WEIR_OK)
        rc = end_answer(answer);
    if (rc == WEIR_OK)
        *ret = answer;
    else
        weir_answer_release(answer);
    return rc == WEIR_OK || rc == WEIR_NOT_FOUND ? rc : too_large(encoder, rc, false, err);
}

static int make_full(weir_encoder_t *encoder, weir_dialect_t dialect, weir_answer_t **ret,
                     weir_error_t *err)
{
    weir_answer_t *answer = new_answer(encoder, true, 0, 0, dialect);
    if (answer == NULL)
        return weir_error_memory(err);
    encoding_t e = { .answer = answer, .first = true };
    int rc = begin_answer(&answer->elements);
    if (rc == WEIR_OK)
        rc = weir_store_snapshot(encoder->options.store, encode_delta, &e, &answer->version, err);
    if (rc == WEIR_OK)
        rc = end_answer(answer);
    if (rc == WEIR_OK)
        *ret = answer;
    else
        weir_answer_release(answer);
    return rc == WEIR_OK ? rc : too_large(encoder, rc, true, err);
}

/* -- keeping and finding --------------------------------------------------------------- */

static weir_answer_t *find(weir_encoder_t *encoder, bool full, uint64_t from, uint64_t version,
                           weir_dialect_t dialect)
{
    weir_answer_t *found = NULL;
    pthread_mutex_lock(&encoder->lock);
    for (size_t i = 0; found == NULL && i < KEPT; i++) {
        weir_answer_t *a = encoder->kept[i];
        if (a != NULL && a->full == full && (full || a->from == from) && a->version == version &&
            a->dialect == dialect)
            found = weir_answer_keep(a);
    }
    encoder->counters.reused += found != NULL;
    pthread_mutex_unlock(&encoder->lock);
    return found;
}

static void keep(weir_encoder_t *encoder, weir_answer_t *answer)
{
    weir_assert(answer != NULL);
    pthread_mutex_lock(&encoder->lock);
    /* An old full dump is as large as the configuration: it goes at once. */
    for (size_t i = 0; answer->full && i < KEPT; i++) {
        if (encoder->kept[i] != NULL && encoder->kept[i]->full) {
            weir_answer_release(encoder->kept[i]);
            encoder->kept[i] = NULL;
        }
    }
    encoder->next = (encoder->next + 1) % KEPT;
    weir_answer_release(encoder->kept[encoder->next]);
    encoder->kept[encoder->next] = weir_answer_keep(answer);
    encoder->counters.fulls += answer->full;
    encoder->counters.increments += !answer->full;
    pthread_mutex_unlock(&encoder->lock);
}

static int full_answer(weir_encoder_t *encoder, weir_dialect_t dialect, weir_answer_t **ret,
                       weir_error_t *err)
{
    pthread_mutex_lock(&encoder->full_lock);
    int rc = WEIR_OK;
    *ret = find(encoder, true, 0, weir_store_version(encoder->options.store), dialect);
    if (*ret == NULL) {
        rc = make_full(encoder, dialect, ret, err);
        if (rc == WEIR_OK)
            keep(encoder, *ret);
    }
    pthread_mutex_unlock(&encoder->full_lock);
    return rc;
}

/* -- which of both -------------------------------------------------------------------- */

/* More versions behind than there are entities: everything is the shorter answer.
 * For a small set that is not worth a full sync. */
static uint64_t increment_versions_max(const weir_encoder_t *encoder)
{
    if (encoder->options.full_sync_threshold > 0)
        return encoder->options.full_sync_threshold;
    uint64_t entities = 0;
    size_t count = 0;
    const weir_entity_type_t *types = weir_schema_order(&count);
    for (size_t i = 0; i < count; i++)
        entities += weir_store_count(encoder->options.store, types[i]);
    return entities + SMALL_RANGE;
}

static bool sends_all(weir_encoder_t *encoder, bool known, uint64_t version, uint64_t latest)
{
    return !known || version == 0 || version > latest ||
           version < weir_store_log_floor(encoder->options.store) ||
           latest - version > increment_versions_max(encoder);
}

bool weir_encoder_sends_all(weir_encoder_t *encoder, bool known, uint64_t version)
{
    return sends_all(encoder, known, version, weir_store_version(encoder->options.store));
}

weir_answer_t *weir_encoder_ready(weir_encoder_t *encoder, bool known, uint64_t version,
                                  weir_dialect_t dialect)
{
    uint64_t latest = weir_store_version(encoder->options.store);
    bool full = sends_all(encoder, known, version, latest);
    return find(encoder, full, full ? 0 : version, latest, dialect);
}

int weir_encoder_answer(weir_encoder_t *encoder, bool known, uint64_t version,
                        weir_dialect_t dialect, weir_answer_t **ret, weir_error_t *err)
{
    uint64_t latest = weir_store_version(encoder->options.store);
    if (sends_all(encoder, known, version, latest))
        return full_answer(encoder, dialect, ret, err);
    *ret = find(encoder, false, version, latest, dialect);
    if (*ret != NULL)
        return WEIR_OK;
    int rc = make_increment(encoder, version, latest, dialect, ret, err);
    if (rc == WEIR_OK)
        keep(encoder, *ret);
    if (rc == WEIR_NOT_FOUND || rc == WEIR_TOO_LARGE)
        return full_answer(encoder, dialect, ret, err); /* behind the log, or cheaper so */
    return rc;
}
