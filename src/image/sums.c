/* sums.c -- the digest of what the control plane sent: one sum for each bucket and
 * one of all, kept by each document that comes or goes (docs/sync-v1.md, 2).
 *
 * While an image has a key everything that is put counts, whoever sent it: also a
 * set of a control plane that knows no digests leaves right sums. Where the control
 * plane told a hash (it adapted the row to us), that counts until another row comes. */
#include "image/batch.h"

struct sum_changes {
    weir_digest_t list[WEIR_DIGEST_BUCKETS]; /* of the batch at work, to be added */
    uint64_t touched[WEIR_DIGEST_BUCKETS / 64];
};

/* -- the key --------------------------------------------------------------------------- */

/* All that a key needs. */
static int prepare(weir_image_t *image, const weir_digest_key_t *key, weir_digester_t **ret,
                   weir_error_t *err)
{
    if (image->changes == NULL)
        image->changes = weir_calloc(1, sizeof(*image->changes));
    return image->changes != NULL ? weir_digester_new(key, ret, err) : weir_error_memory(err);
}

static void use_key(weir_image_t *image, const weir_digest_key_t *key, weir_digester_t *digester)
{
    weir_digester_free(image->digester);
    image->digester = digester;
    image->key = *key;
}

int sums_open(weir_image_t *image, MDB_txn *txn, weir_error_t *err)
{
    weir_digest_key_t key;
    weir_digester_t *digester = NULL;
    int rc = load_note(image, txn, NOTE_KEY, &key, sizeof(key), err);
    if (rc == WEIR_OK)
        rc = prepare(image, &key, &digester, err);
    if (rc == WEIR_OK)
        use_key(image, &key, digester);
    return rc == WEIR_NOT_FOUND ? WEIR_OK : rc;
}

void sums_close(weir_image_t *image)
{
    weir_digester_free(image->digester);
    weir_free(image->changes);
}

int weir_image_digest_key(weir_image_t *image, char ret[WEIR_DIGEST_FINGERPRINT_TEXT + 1],
                          weir_error_t *err)
{
    ret[0] = '\0';
    return image->digester != NULL ? weir_digester_fingerprint(image->digester, ret, err) : WEIR_OK;
}

/* -- what was told ---------------------------------------------------------------------- */

enum { TOLD_HASH = 1 };

bool told_view(MDB_val value, told_t *ret)
{
    record_in_t in = { value.mv_data, value.mv_size, false };
    ret->has_hash = get_u8(&in) & TOLD_HASH;
    ret->hash.high = get_u64(&in);
    ret->hash.low = get_u64(&in);
    ret->id = get_uuid(&in);
    ret->type = get_str(&in);
    return !in.bad && ret->type.data != NULL;
}

int told_get(MDB_txn *txn, MDB_dbi dbi, uint64_t count, const entity_key_t *key, told_t *ret,
             weir_error_t *err)
{
    const weir_schema_t *schema = weir_schema((weir_entity_type_t)key->bytes[0]);
    *ret =
        (told_t){ .id = entity_key_id(key), .type = weir_str(schema != NULL ? schema->name : "") };
    MDB_val k = val_key(key);
    MDB_val value;
    int code = count > 0 ? mdb_get(txn, dbi, &k, &value) : MDB_NOTFOUND;
    if (code == MDB_NOTFOUND)
        return WEIR_OK;
    if (code != 0)
        return lmdb_error(code, err, "told");
    ret->stored = true;
    return told_view(value, ret)
               ? WEIR_OK
               : weir_error_set(err, WEIR_CORRUPT, NULL, "what was told of an entity is damaged");
}

int told_load(weir_batch_t *batch, const entity_key_t *key, told_t *ret, weir_error_t *err)
{
    return told_get(batch->txn, batch->image->dbi[DB_TOLD], batch->state.told, key, ret, err);
}

int told_remove(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err)
{
    MDB_val k = val_key(key);
    int code = batch->state.told > 0 ? mdb_del(batch->txn, batch->image->dbi[DB_TOLD], &k, NULL)
                                     : MDB_NOTFOUND;
    if (code == 0)
        batch->state.told--;
    return code == 0 || code == MDB_NOTFOUND ? WEIR_OK : lmdb_error(code, err, "told");
}

int told_store(weir_batch_t *batch, const entity_key_t *key, const told_t *told, bool before,
               weir_error_t *err)
{
    if (!told->has_hash && key->bytes[0] != WEIR_ENTITY_NONE)
        return before ? told_remove(batch, key, err) : WEIR_OK;
    WEIR_AUTO(buffer) weir_buffer_t out;
    weir_buffer_init(&out, RECORD_BYTES_MAX);
    put_u8(&out, told->has_hash ? TOLD_HASH : 0);
    put_u64(&out, told->hash.high);
    put_u64(&out, told->hash.low);
    put_uuid(&out, &told->id);
    put_str(&out, told->type);
    if (out.failed != WEIR_OK)
        return weir_error_memory(err);
    MDB_val k = val_key(key);
    MDB_val value = val(out.data, out.len);
    int code = mdb_put(batch->txn, batch->image->dbi[DB_TOLD], &k, &value, 0);
    if (code != 0)
        return lmdb_error(code, err, "told");
    batch->state.told += before ? 0 : 1;
    return WEIR_OK;
}

/* -- sums ------------------------------------------------------------------------------- */

int told_hash(weir_digester_t *digester, const told_t *told, weir_str_t document,
              weir_digest_t *ret, weir_error_t *err)
{
    *ret = told->hash;
    return told->has_hash
               ? WEIR_OK
               : weir_digester_entity(digester, told->type, &told->id, document, ret, err);
}

void sums_change(weir_batch_t *batch, const weir_uuid_t *id, const weir_digest_t *hash, bool add)
{
    unsigned bucket = weir_digest_bucket(id);
    struct sum_changes *changes = batch->image->changes;
    changes->touched[bucket / 64] |= UINT64_C(1) << bucket % 64;
    void (*apply)(weir_digest_t *, const weir_digest_t *) =
        add ? weir_digest_add : weir_digest_subtract;
    apply(&changes->list[bucket], hash);
    apply(&batch->state.digest, hash);
}

int sums_discount(weir_batch_t *batch, const told_t *told, weir_str_t document, weir_error_t *err)
{
    weir_digest_t hash;
    if (batch->state.has_digest == 0)
        return WEIR_OK;
    int rc = told_hash(batch->image->digester, told, document, &hash, err);
    if (rc == WEIR_OK)
        sums_change(batch, &told->id, &hash, false);
    return rc;
}

static MDB_val bucket_val(unsigned bucket, uint8_t bytes[2])
{
    bytes[0] = (uint8_t)(bucket >> 8);
    bytes[1] = (uint8_t)bucket;
    return val(bytes, 2);
}

int sums_get(const weir_image_t *image, MDB_txn *txn, unsigned bucket, weir_digest_t *ret,
             weir_error_t *err)
{
    uint8_t bytes[2];
    MDB_val key = bucket_val(bucket, bytes);
    MDB_val value;
    *ret = (weir_digest_t){ 0, 0 };
    int code = mdb_get(txn, image->dbi[DB_SUMS], &key, &value);
    if (code == 0 && value.mv_size != WEIR_DIGEST_BYTES)
        return weir_error_set(err, WEIR_CORRUPT, NULL, "the sum of bucket %u is damaged", bucket);
    if (code == 0)
        weir_digest_load(value.mv_data, ret);
    return code == 0 || code == MDB_NOTFOUND ? WEIR_OK : lmdb_error(code, err, "sums");
}

static int set_sum(const weir_image_t *image, MDB_txn *txn, unsigned bucket,
                   const weir_digest_t *sum, weir_error_t *err)
{
    uint8_t bytes[2], stored[WEIR_DIGEST_BYTES];
    MDB_val key = bucket_val(bucket, bytes);
    weir_digest_store(sum, stored);
    MDB_val value = val(stored, sizeof(stored));
    int code = sum->high != 0 || sum->low != 0 ? mdb_put(txn, image->dbi[DB_SUMS], &key, &value, 0)
                                               : mdb_del(txn, image->dbi[DB_SUMS], &key, NULL);
    return code == 0 || code == MDB_NOTFOUND ? WEIR_OK : lmdb_error(code, err, "sums");
}

/* Calls `each` for every bucket that the batch touched, in order. */
static int each_touched(weir_batch_t *batch,
                        int (*each)(weir_batch_t *batch, unsigned bucket, weir_error_t *err),
                        weir_error_t *err)
{
    int rc = WEIR_OK;
    struct sum_changes *changes = batch->image->changes;
    for (unsigned word = 0; changes != NULL && word < WEIR_DIGEST_BUCKETS / 64; word++)
        for (uint64_t left = changes->touched[word]; rc == WEIR_OK && left != 0; left &= left - 1)
            rc = each(batch, word * 64 + (unsigned)__builtin_ctzll(left), err);
    return rc;
}

static int write_touched(weir_batch_t *batch, unsigned bucket, weir_error_t *err)
{
    weir_digest_t sum;
    int rc = sums_get(batch->image, batch->txn, bucket, &sum, err);
    if (rc != WEIR_OK)
        return rc;
    weir_digest_add(&sum, &batch->image->changes->list[bucket]);
    return set_sum(batch->image, batch->txn, bucket, &sum, err);
}

int sums_write(weir_batch_t *batch, weir_error_t *err)
{
    return each_touched(batch, write_touched, err);
}

static int forget_touched(weir_batch_t *batch, unsigned bucket, weir_error_t *err)
{
    (void)err;
    batch->image->changes->list[bucket] = (weir_digest_t){ 0, 0 };
    return WEIR_OK;
}

void sums_forget(weir_batch_t *batch)
{
    each_touched(batch, forget_touched, NULL);
    if (batch->image->changes != NULL)
        memset(batch->image->changes->touched, 0, sizeof(batch->image->changes->touched));
}

int weir_batch_digest(weir_batch_t *batch, weir_digest_t *ret, weir_error_t *err)
{
    (void)err;
    *ret = batch->state.digest;
    return batch->state.has_digest != 0 ? WEIR_OK : WEIR_NOT_FOUND;
}

static int read_sums(const weir_image_t *image, MDB_txn *txn, weir_digest_t *sums,
                     weir_error_t *err)
{
    int rc = WEIR_OK;
    for (unsigned bucket = 0; rc == WEIR_OK && bucket < WEIR_DIGEST_BUCKETS; bucket++)
        rc = sums_get(image, txn, bucket, &sums[bucket], err);
    return rc;
}

int weir_image_sums(weir_image_t *image, weir_digest_t *sums, weir_error_t *err)
{
    MDB_txn *txn = NULL;
    if (image->digester == NULL)
        return WEIR_NOT_FOUND;
    int code = mdb_txn_begin(image->env, NULL, MDB_RDONLY, &txn);
    if (code != 0)
        return lmdb_error(code, err, "begin");
    int rc = read_sums(image, txn, sums, err);
    mdb_txn_abort(txn);
    return rc;
}

/* -- all anew ----------------------------------------------------------------------------- */

typedef struct summing {
    weir_image_t *image;
    uint64_t count;
    MDB_txn *txn;
    uint64_t told;
    weir_digester_t *digester;
    weir_digest_t *sums;
} summing_t;

static int sum_one(void *context, MDB_val key, MDB_val value, weir_error_t *err)
{
    summing_t *s = context;
    entity_key_t k;
    told_t told;
    weir_digest_t hash;
    if (key.mv_size != ID_BYTES)
        return weir_error_set(err, WEIR_CORRUPT, NULL, "the key of a document is damaged");
    memcpy(k.bytes, key.mv_data, ID_BYTES);
    cool_sometimes(s->image, ++s->count);
    int rc = told_get(s->txn, s->image->dbi[DB_TOLD], s->told, &k, &told, err);
    if (rc == WEIR_OK)
        rc = told_hash(s->digester, &told, val_str(value), &hash, err);
    if (rc == WEIR_OK)
        weir_digest_add(&s->sums[weir_digest_bucket(&told.id)], &hash);
    return rc;
}

static int sum_again(weir_batch_t *batch, weir_digester_t *digester, weir_digest_t *sums,
                     weir_error_t *err)
{
    weir_image_t *image = batch->image;
    summing_t s = { .image = image,
                    .txn = batch->txn,
                    .told = batch->state.told,
                    .digester = digester,
                    .sums = sums };
    int rc = each_record(batch->txn, image->dbi[DB_DOCUMENTS], "documents", sum_one, &s, err);
    int code = rc == WEIR_OK ? mdb_drop(batch->txn, image->dbi[DB_SUMS], 0) : 0;
    if (code != 0)
        rc = lmdb_error(code, err, "sums");
    batch->state.digest = (weir_digest_t){ 0, 0 };
    batch->state.has_digest = 1;
    for (unsigned bucket = 0; rc == WEIR_OK && bucket < WEIR_DIGEST_BUCKETS; bucket++) {
        weir_digest_add(&batch->state.digest, &sums[bucket]);
        rc = set_sum(image, batch->txn, bucket, &sums[bucket], err);
    }
    return rc;
}

/* The sums of another key, in one transaction: half of them would be nobody's. */
static int change_key(weir_image_t *image, const weir_digest_key_t *key, weir_digester_t *digester,
                      weir_digest_t *sums, weir_error_t *err)
{
    weir_batch_t *batch = NULL;
    int rc = weir_batch_begin(image, false, 0, &batch, err);
    if (rc != WEIR_OK)
        return rc;
    batch->version = batch->state.version;
    rc = sum_again(batch, digester, sums, err);
    if (rc == WEIR_OK)
        rc = store_note(image, batch->txn, NOTE_KEY, key, sizeof(*key), err);
    if (rc == WEIR_OK)
        return batch_finish(batch, 0, batch->state.committed_ms, err);
    weir_batch_abort(batch);
    return rc;
}

int weir_image_set_digest_key(weir_image_t *image, const weir_digest_key_t *key, weir_error_t *err)
{
    if (image->digester != NULL && memcmp(&image->key, key, sizeof(*key)) == 0)
        return WEIR_OK;
    weir_digester_t *digester = NULL;
    WEIR_AUTO(free) weir_digest_t *sums = weir_calloc(WEIR_DIGEST_BUCKETS, sizeof(*sums));
    if (sums == NULL)
        return weir_error_memory(err);
    int rc = prepare(image, key, &digester, err);
    if (rc == WEIR_OK)
        rc = change_key(image, key, digester, sums, err);
    if (rc == WEIR_OK)
        use_key(image, key, digester);
    else
        weir_digester_free(digester);
    return rc;
}
