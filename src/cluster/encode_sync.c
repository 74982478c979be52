/* encode_sync.c -- the messages of weir.sync.v1 that carry entities: deltas, pages of
 * a snapshot, what heals a difference (docs/sync-v1.md, sections 4, 5 and 7). */
#include "cluster/encode_internal.h"

#include "cluster/compat.h"

#include <stdio.h>

enum {
    HEAL_BUCKETS_MAX = 256, /* more bad buckets: a snapshot is cheaper */
    HEAL_BYTES_MAX = 64 * 1024 * 1024,
    SNAPSHOT_SHARED_MAX = 65536, /* versions that a shared snapshot may be behind */
};

/* A list of entities on its way into an answer. */
typedef struct listing {
    weir_elements_t *out;
    weir_digester_t *digester; /* NULL: nothing is adapted */
    int64_t level;
    bool first;
    size_t bytes, bytes_max; /* of documents; bytes_max 0: no limit */
    uint64_t count;
    uint64_t version; /* of the last one */
} listing_t;

static int append(weir_elements_t *out, const char *text)
{
    return weir_elements_append(out, weir_str(text));
}

static int append_number(weir_elements_t *out, const char *before, uint64_t number)
{
    char text[96];
    int len = snprintf(text, sizeof(text), "%s%" PRIu64, before, number);
    return weir_elements_append(out, (weir_str_t){ text, (size_t)len });
}

/* What a data plane is to count in the place of what it was sent. */
static int append_hash(weir_elements_t *out, const weir_digest_t *hash)
{
    char text[WEIR_DIGEST_TEXT + 1];
    weir_digest_format(hash, text);
    int rc = append(out, ",\"hash\":\"");
    if (rc == WEIR_OK)
        rc = append(out, text);
    return rc == WEIR_OK ? append(out, "\"") : rc;
}

/* Documents are JSON already. */
static int list_entity(void *context, const weir_delta_t *row)
{
    listing_t *l = context;
    const weir_schema_t *schema = weir_schema(row->type);
    char head[160];
    char id[WEIR_UUID_TEXT + 1];
    if (schema == NULL)
        return WEIR_CORRUPT;
    weir_uuid_format(&row->id, id);
    int len = snprintf(head, sizeof(head),
                       "%s{\"type\":\"%s\",\"id\":\"%s\",\"entity\":", l->first ? "" : ",",
                       schema->name, id);
    l->first = false;
    l->count++;
    l->version = row->version;
    l->bytes += (size_t)len + row->document.len;
    weir_digest_t hash = { 0 };
    int rc = weir_elements_append(l->out, (weir_str_t){ head, (size_t)len });
    if (rc == WEIR_OK)
        rc = encoder_append_document(l->out, row, l->level, l->digester, &hash);
    if (rc == WEIR_OK && (hash.high | hash.low) != 0)
        rc = append_hash(l->out, &hash);
    return rc == WEIR_OK ? append(l->out, "}") : rc;
}

/* A list for `want`; end_list() whatever comes of it. */
static int begin_list(weir_encoder_t *encoder, const weir_want_t *want, weir_answer_t *answer,
                      listing_t *ret, weir_error_t *err)
{
    *ret = (listing_t){ .out = &answer->elements, .first = true, .level = want->level };
    return want->level >= weir_compat_newest()
               ? WEIR_OK
               : weir_digester_new(weir_store_digest_key(encoder->options.store), &ret->digester,
                                   err);
}

static void end_list(listing_t *list)
{
    weir_digester_free(list->digester);
}

/* The same for changes: stops between two versions once there is enough. */
static int list_change(void *context, const weir_delta_t *row)
{
    listing_t *l = context;
    if (l->bytes_max > 0 && l->bytes >= l->bytes_max && row->version != l->version)
        return WEIR_AGAIN;
    return list_entity(context, row);
}

/* ,"digest":"..." or null, as of the answer's version, which it then knows, too. */
static int append_digest(weir_encoder_t *encoder, weir_answer_t *answer)
{
    char text[WEIR_DIGEST_TEXT + 1];
    answer->has_digest =
        weir_store_digest(encoder->options.store, answer->version, &answer->digest) == WEIR_OK;
    if (!answer->has_digest)
        return append(&answer->elements, ",\"digest\":null");
    weir_digest_format(&answer->digest, text);
    int rc = append(&answer->elements, ",\"digest\":\"");
    if (rc == WEIR_OK)
        rc = append(&answer->elements, text);
    return rc == WEIR_OK ? append(&answer->elements, "\"") : rc;
}

static int finish(weir_encoder_t *encoder, int rc, const char *what, weir_answer_t *answer,
                  weir_answer_t **ret, weir_error_t *err)
{
    if (rc == WEIR_OK)
        rc = weir_elements_finish(&answer->elements);
    if (rc == WEIR_OK) {
        *ret = answer;
        return rc;
    }
    weir_answer_release(answer);
    return rc == WEIR_NOT_FOUND ? rc : encoder_too_large(encoder, rc, what, err);
}

/* -- deltas ---------------------------------------------------------------------------- */

/* The members after the list come last, because a batch ends where it is full. */
static int write_deltas(weir_encoder_t *encoder, const weir_want_t *want, uint64_t latest,
                        weir_answer_t *answer, listing_t *list, weir_error_t *err)
{
    list->bytes_max = encoder->options.batch_bytes;
    list->version = want->version;
    int rc = append_number(list->out,
                           "{\"jsonrpc\":\"2.0\",\"method\":\"weir.sync.v1.deltas\","
                           "\"params\":[{\"after\":",
                           want->version);
    if (rc == WEIR_OK)
        rc = append(list->out, ",\"deltas\":[");
    bool cut = false;
    if (rc == WEIR_OK && want->version < latest) {
        rc = weir_store_deltas(encoder->options.store, want->version, latest, list_change, list,
                               err);
        cut = rc == WEIR_AGAIN;
        rc = cut ? WEIR_OK : rc;
    }
    if (rc != WEIR_OK)
        return rc;
    answer->version = cut ? list->version : latest;
    rc = append_number(list->out, "],\"version\":", answer->version);
    if (rc == WEIR_OK)
        rc = append_number(list->out, ",\"newest\":", latest);
    if (rc == WEIR_OK)
        rc = append_digest(encoder, answer);
    if (rc == WEIR_OK)
        rc = append(list->out, "}]}");
    pthread_mutex_lock(&encoder->lock);
    encoder->counters.deltas += list->count;
    encoder->counters.delta_bytes += list->bytes;
    pthread_mutex_unlock(&encoder->lock);
    return rc;
}

/* One snapshot for all who need one at about the same time, so that they share its
 * pages. Any version whose successors are all in the log will do. */
static uint64_t shared_snapshot(weir_encoder_t *encoder, uint64_t latest)
{
    pthread_mutex_lock(&encoder->lock);
    uint64_t floor = weir_store_log_floor(encoder->options.store);
    uint64_t version = encoder->snapshot;
    /* Not one whose beginning is about to leave the log. */
    if (version == 0 || version > latest || latest - version > SNAPSHOT_SHARED_MAX ||
        version < floor + (latest - floor) / 2)
        version = encoder->snapshot = latest;
    pthread_mutex_unlock(&encoder->lock);
    return version;
}

static void count_snapshot(weir_encoder_t *encoder, const char *reason)
{
    weir_encoder_counters_t *c = &encoder->counters;
    pthread_mutex_lock(&encoder->lock);
    c->snapshots_unknown += strcmp(reason, "unknown") == 0;
    c->snapshots_ahead += strcmp(reason, "ahead") == 0;
    c->snapshots_behind += strcmp(reason, "behind") == 0;
    c->snapshots_threshold += strcmp(reason, "threshold") == 0;
    c->snapshots_digest += strcmp(reason, "digest") == 0;
    pthread_mutex_unlock(&encoder->lock);
}

static int answer_snapshot(weir_encoder_t *encoder, const weir_want_t *want, const char *reason,
                           uint64_t latest, weir_answer_t **ret, weir_error_t *err)
{
    answer_key_t key = encoder_key(want, false, latest);
    weir_answer_t *answer = answer_new(&key, encoder->options.payload_max);
    if (answer == NULL)
        return weir_error_memory(err);
    answer->snapshot = (weir_snapshot_t){
        .version = shared_snapshot(encoder, latest),
        .entities = encoder_entities(encoder),
        .reason = reason,
    };
    count_snapshot(encoder, reason);
    *ret = answer;
    return WEIR_OK;
}

int encode_deltas(weir_encoder_t *encoder, const weir_want_t *want, uint64_t latest,
                  weir_answer_t **ret, weir_error_t *err)
{
    const char *reason = encoder_needs_all(encoder, want, latest);
    if (reason != NULL)
        return answer_snapshot(encoder, want, reason, latest, ret, err);
    answer_key_t key = encoder_key(want, false, latest);
    weir_answer_t *answer = answer_new(&key, encoder->options.payload_max);
    if (answer == NULL)
        return weir_error_memory(err);
    listing_t list;
    int rc = begin_list(encoder, want, answer, &list, err);
    if (rc == WEIR_OK)
        rc = write_deltas(encoder, want, latest, answer, &list, err);
    end_list(&list);
    rc = finish(encoder, rc, "one change", answer, ret, err);
    if (rc == WEIR_NOT_FOUND) /* the log was shortened meanwhile */
        return answer_snapshot(encoder, want, "behind", latest, ret, err);
    if (rc == WEIR_TOO_LARGE) /* a version of its own that fits into no message */
        return answer_snapshot(encoder, want, "threshold", latest, ret, err);
    return rc;
}

/* -- what is read of one committed state --------------------------------------------------- */

typedef int (*write_fn)(weir_encoder_t *encoder, const weir_want_t *want, weir_store_view_t *view,
                        weir_answer_t *answer, listing_t *list, weir_error_t *err);

static int encode_view(weir_encoder_t *encoder, const weir_want_t *want, write_fn write,
                       const char *what, weir_answer_t **ret, weir_error_t *err)
{
    answer_key_t key = encoder_key(want, false, 0);
    weir_answer_t *answer = answer_new(&key, encoder->options.payload_max);
    weir_store_view_t *view = NULL;
    if (answer == NULL)
        return weir_error_memory(err);
    listing_t list;
    int rc = begin_list(encoder, want, answer, &list, err);
    if (rc == WEIR_OK)
        rc = weir_store_view_open(encoder->options.store, &view, err);
    if (rc == WEIR_OK)
        rc = write(encoder, want, view, answer, &list, err);
    weir_store_view_close(view);
    end_list(&list);
    return finish(encoder, rc, what, answer, ret, err);
}

/* -- a page ------------------------------------------------------------------------------ */

static int append_cursor(weir_elements_t *out, const weir_store_cursor_t *cursor, bool more)
{
    char text[128];
    char id[WEIR_UUID_TEXT + 1];
    if (!more)
        return append(out, ",\"next\":null");
    weir_uuid_format(&cursor->id, id);
    int len =
        snprintf(text, sizeof(text), ",\"next\":\"%s/%s\"", weir_schema(cursor->type)->name, id);
    return weir_elements_append(out, (weir_str_t){ text, (size_t)len });
}

static int write_page(weir_encoder_t *encoder, const weir_want_t *want, weir_store_view_t *view,
                      weir_answer_t *answer, listing_t *list, weir_error_t *err)
{
    weir_store_cursor_t cursor = want->cursor;
    bool more = false;
    answer->version = weir_store_view_version(view);
    int rc = append_number(list->out, "{\"snapshot\":", want->version);
    if (rc == WEIR_OK)
        rc = append_number(list->out, ",\"version\":", answer->version);
    if (rc == WEIR_OK)
        rc = append(list->out, ",\"entities\":[");
    if (rc == WEIR_OK)
        rc = weir_store_view_page(view, &cursor, encoder->options.batch_bytes, list_entity, list,
                                  &more, err);
    if (rc == WEIR_OK)
        rc = append(list->out, "]");
    if (rc == WEIR_OK)
        rc = append_cursor(list->out, &cursor, more);
    return rc == WEIR_OK ? append(list->out, "}") : rc;
}

int encode_page(weir_encoder_t *encoder, const weir_want_t *want, weir_answer_t **ret,
                weir_error_t *err)
{
    if (!weir_encoder_holds(encoder, want->version))
        return weir_error_set(err, WEIR_NOT_FOUND, NULL,
                              "the log no longer has what came after snapshot %" PRIu64,
                              want->version);
    return encode_view(encoder, want, write_page, "a page", ret, err);
}

/* -- healing ------------------------------------------------------------------------------ */

static int write_bucket(weir_store_view_t *view, unsigned bucket, listing_t *list, bool first,
                        weir_error_t *err)
{
    int rc = append_number(list->out, first ? "{\"bucket\":" : ",{\"bucket\":", bucket);
    if (rc == WEIR_OK)
        rc = append(list->out, ",\"entities\":[");
    list->first = true;
    if (rc == WEIR_OK)
        rc = weir_store_view_bucket(view, bucket, list_entity, list, err);
    return rc == WEIR_OK ? append(list->out, "]}") : rc;
}

static int write_buckets(weir_store_view_t *view, const weir_digest_t *theirs, listing_t *list,
                         weir_error_t *err)
{
    WEIR_AUTO(free)
    weir_digest_t *ours = weir_calloc(WEIR_DIGEST_BUCKETS, sizeof(*ours));
    if (ours == NULL)
        return weir_error_memory(err);
    int rc = weir_store_view_sums(view, ours, err);
    size_t bad = 0;
    for (unsigned i = 0; rc == WEIR_OK && i < WEIR_DIGEST_BUCKETS; i++) {
        if (weir_digest_equal(&ours[i], &theirs[i]))
            continue;
        if (bad == HEAL_BUCKETS_MAX || list->bytes > HEAL_BYTES_MAX)
            return WEIR_TOO_LARGE;
        rc = write_bucket(view, i, list, bad++ == 0, err);
    }
    return rc;
}

static int write_heal(weir_encoder_t *encoder, const weir_want_t *want, weir_store_view_t *view,
                      weir_answer_t *answer, listing_t *list, weir_error_t *err)
{
    answer->version = weir_store_view_version(view);
    if (want->version > answer->version)
        return weir_error_set(err, WEIR_NOT_FOUND, NULL, "there is no version %" PRIu64,
                              want->version);
    int rc = append_number(list->out, "{\"after\":", want->version);
    if (rc == WEIR_OK)
        rc = append_number(list->out, ",\"version\":", answer->version);
    if (rc == WEIR_OK)
        rc = append_digest(encoder, answer);
    if (rc == WEIR_OK)
        rc = append(list->out, ",\"deltas\":[");
    if (rc == WEIR_OK)
        rc = weir_store_view_deltas(view, want->version, list_entity, list, err);
    if (rc == WEIR_OK)
        rc = append(list->out, "],\"buckets\":[");
    if (rc == WEIR_OK)
        rc = write_buckets(view, want->sums, list, err);
    return rc == WEIR_OK ? append(list->out, "]}") : rc;
}

int encode_heal(weir_encoder_t *encoder, const weir_want_t *want, weir_answer_t **ret,
                weir_error_t *err)
{
    int rc = encode_view(encoder, want, write_heal, "what differs", ret, err);
    if (rc == WEIR_OK) {
        pthread_mutex_lock(&encoder->lock);
        encoder->counters.heals++;
        pthread_mutex_unlock(&encoder->lock);
    }
    return rc;
}
