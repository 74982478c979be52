/* verify.c -- the sums that are kept, compared with those of the documents. Knows
 * no engine: what it reads it reads through a view. */
#include "store/engine.h"

enum { PROGRESS_EVERY = 16384 };

int weir_store_tally(void *context, const weir_delta_t *row)
{
    weir_tally_t *tally = context;
    weir_digest_t hash;
    const weir_schema_t *schema = weir_schema(row->type);
    int rc = weir_digester_entity(tally->digester, weir_str(schema->name), &row->id, row->document,
                                  &hash, tally->err);
    if (rc != WEIR_OK)
        return rc;
    weir_digest_add(&tally->sums[weir_digest_bucket(&row->id)], &hash);
    tally->entities++;
    if (tally->progress != NULL && tally->entities % PROGRESS_EVERY == 0)
        tally->progress(tally->context, tally->entities);
    return WEIR_OK;
}

static void compare(const weir_digest_t *kept, const weir_digest_t *computed,
                    weir_store_verdict_t *verdict)
{
    for (unsigned i = 0; i < WEIR_DIGEST_BUCKETS; i++) {
        weir_digest_add(&verdict->kept, &kept[i]);
        weir_digest_add(&verdict->computed, &computed[i]);
        if (!weir_digest_equal(&kept[i], &computed[i]) && verdict->bad_buckets++ == 0)
            verdict->first_bad_bucket = i;
    }
}

static int verify_view(weir_store_view_t *view, weir_tally_t *tally, weir_digest_t *kept,
                       weir_store_verdict_t *verdict, weir_error_t *err)
{
    weir_store_cursor_t cursor = { .type = WEIR_ENTITY_NONE };
    bool more = false;
    int rc = weir_store_view_sums(view, kept, err);
    if (rc == WEIR_OK)
        rc = weir_store_view_page(view, &cursor, SIZE_MAX, weir_store_tally, tally, &more, err);
    if (rc != WEIR_OK)
        return rc;
    verdict->version = weir_store_view_version(view);
    verdict->entities = tally->entities;
    compare(kept, tally->sums, verdict);
    return WEIR_OK;
}

int weir_store_verify(weir_store_t *store, void (*progress)(void *context, uint64_t entities),
                      void *context, weir_store_verdict_t *ret, weir_error_t *err)
{
    weir_digest_t *sums = weir_calloc(2 * (size_t)WEIR_DIGEST_BUCKETS, sizeof(*sums));
    if (sums == NULL)
        return weir_error_memory(err);
    weir_tally_t tally = { .sums = sums, .progress = progress, .context = context, .err = err };
    weir_store_view_t *view = NULL;
    weir_store_verdict_t verdict = { 0 };
    int rc = weir_digester_new(weir_store_digest_key(store), &tally.digester, err);
    if (rc == WEIR_OK)
        rc = weir_store_view_open(store, &view, err);
    if (rc == WEIR_OK)
        rc = verify_view(view, &tally, sums + WEIR_DIGEST_BUCKETS, &verdict, err);
    weir_store_view_close(view);
    weir_digester_free(tally.digester);
    weir_free(sums);
    if (rc == WEIR_OK)
        *ret = verdict;
    return rc;
}
