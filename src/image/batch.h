/* batch.h -- one write transaction at work, private to src/image. */
#ifndef WEIR_BATCH_H
#define WEIR_BATCH_H

#include "image/internal.h"

enum { LINKS_MAX = 8, LINK_DOCUMENT = 1, LINK_RECORD = 2, DOCUMENT_BYTES_MAX = 64 * 1024 * 1024 };

/* What an entity refers to; kept for its document and for its record, which are
 * of different writes while it is quarantined. */
typedef struct link {
    uint8_t from; /* LINK_ bits */
    entity_key_t to;
    const char *field; /* not stored */
} link_t;

typedef struct links {
    link_t list[LINKS_MAX];
    size_t count;
} links_t;

/* What is hashed of an entity: its type's name, its id and its document, or instead
 * the hash that the control plane told (sums.c). */
typedef struct told {
    bool stored; /* this is more than what key and document say */
    bool has_hash;
    weir_digest_t hash;
    weir_uuid_t id;
    weir_str_t type;
} told_t;

/* What can be said of a row without the image (prepare.c): at once, or ahead of the batch
 * in another thread (ahead.c). Its owner is who put it there; all in it is its own but
 * `row` and the names of types, which belong to whoever puts the row. */
typedef struct prepared {
    const weir_json_t *row;
    const weir_schema_t *schema; /* NULL: an unknown type */
    entity_key_t key;
    told_t told;
    weir_buffer_t text; /* the document */
    bool hashed;
    weir_digest_t hash; /* what counts for it in the sums */
    /* Each is made when it is wanted first; `why` goes with a verdict that is no success. */
    bool judged, linked, compiled;
    int verdict;
    weir_error_t why;
    weir_json_t *entity; /* as the model completes it; of `memory`, read only */
    weir_arena_t memory;
    links_t links;
    weir_buffer_t record;
} prepared_t;

struct weir_batch {
    weir_image_t *image;
    MDB_txn *txn;
    state_t state;
    writer_t writer;
    touched_t touched;
    bool full;
    uint64_t rows; /* put and removed */
    int code;      /* of LMDB: what a question about a record failed with; 0 is fine */
    uint64_t version;
    int64_t now_ms; /* what is past by then has expired; known at commit */
    /* Keys to be looked at (again) at commit: what waits for something that it
     * refers to, or lost it. */
    weir_buffer_t pending;
    weir_buffer_t news; /* as the image's, which gets it at commit */
    uint64_t news_left_out;
    prepared_t row; /* the one at work */
    /* Full batches and buckets: what was put. Open addressing; an empty slot has
     * type 0xff. */
    entity_key_t *seen;
    size_t seen_count, seen_capacity;
    bool in_bucket; /* heal.c */
    unsigned bucket;
    weir_buffer_t differences;
    bool has_stage;
    weir_stage_t stage;
};

/* -- batch.c ------------------------------------------------------------------------- */

int put_row(weir_batch_t *batch, const weir_batch_row_t *row, weir_error_t *err);
/* `p`: its document is prepared, and what else somebody had time for. */
int put_prepared(weir_batch_t *batch, prepared_t *p, weir_error_t *err);
/* The entity as if it had never been; unknown ones are nothing to do. */
int remove_entity(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err);
/* As weir_batch_commit(): what ended by `now_ms` has expired; `committed_ms` is noted. */
int batch_finish(weir_batch_t *batch, int64_t now_ms, int64_t committed_ms, weir_error_t *err);
/* WEIR_NOT_FOUND; else lives until the next write. */
int read_document(weir_batch_t *batch, const entity_key_t *key, weir_str_t *ret, weir_error_t *err);

#define UNKNOWN_TYPE "this data plane knows no such type of entity"

/* -- prepare.c --------------------------------------------------------------------------- */

void prepared_init(prepared_t *p);
void prepared_clear(prepared_t *p); /* for the next row; buffers stay */
void prepared_release(prepared_t *p);
/* Which entity a row is, and what is hashed of it (all but a hash that was told). */
entity_key_t identify(const weir_schema_t *schema, weir_str_t type, const weir_uuid_t *id,
                      const weir_json_t *row, told_t *told);
/* The row as the model completes it. WEIR_INVALID: `why` says why not. */
int accept_row(const weir_schema_t *schema, const entity_key_t *key, const weir_json_t *row,
               weir_json_t **ret, weir_error_t *why);
/* `p` is clear. Key and document of a row that is not to be deleted. */
int prepare_document(const weir_batch_row_t *row, prepared_t *p, weir_error_t *err);
int prepare_hash(weir_digester_t *digester, prepared_t *p, weir_error_t *err);
/* Of a known type. WEIR_INVALID: the model refuses it, p->why says why. */
int prepare_entity(prepared_t *p, weir_error_t *err);
/* After prepare_entity(). As compile_record(); p->why says why not. `version`: the record's. */
int prepare_record(const weir_image_options_t *options, uint64_t version, prepared_t *p);

/* -- judge.c: is an entity good? ------------------------------------------------------- */

int drop_record(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err);
bool is_good(weir_batch_t *batch, const entity_key_t *key);
/* Quarantine. `document`: what the row refers to. */
int refuse(weir_batch_t *batch, const entity_key_t *key, weir_str_t type, const weir_json_t *row,
           const links_t *document, const char *field, const char *reason, weir_error_t *err);
/* When it ends, in unix milliseconds; 0: never. */
int64_t end_ms(const weir_schema_t *schema, const weir_json_t *entity);
/* The entity of `p` is valid: is all there that it refers to, and does it compile? With
 * `last` false, what is missing may still come. `fresh`: nothing of it is stored but its
 * document. */
int judge(weir_batch_t *batch, prepared_t *p, bool fresh, bool last, weir_error_t *err);
int judge_pending(weir_batch_t *batch, weir_error_t *err);

/* -- quarantine.c ------------------------------------------------------------------------ */

bool view_quarantined(weir_str_t value, weir_quarantined_t *ret);
int quarantine_put(weir_batch_t *batch, const entity_key_t *key, weir_str_t type,
                   const weir_json_t *row, const char *field, const char *reason, bool serving,
                   weir_error_t *err);
int quarantine_remove(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err);
bool quarantine_has(weir_batch_t *batch, const entity_key_t *key);

/* -- links.c -------------------------------------------------------------------------------- */

int links_of(const weir_schema_t *schema, const weir_json_t *entity, links_t *ret,
             weir_error_t *err);
int links_load(weir_batch_t *batch, const entity_key_t *key, links_t *ret, weir_error_t *err);
/* Replaces what is stored for `key` (`fresh`: nothing), and the other way round. */
int links_store(weir_batch_t *batch, const entity_key_t *key, const links_t *links, bool fresh,
                weir_error_t *err);
/* Adds everybody who refers to `key` to the pending ones. */
int links_wake(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err);
/* Pending: each that refers to what is not good. Reads all links, and of the records those that
 * are referred to, in the order of both. */
int links_check(weir_batch_t *batch, weir_error_t *err);

int seen_add(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err);
bool seen_has(const weir_batch_t *batch, const entity_key_t *key);
void seen_clear(weir_batch_t *batch);

int pending_add(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err);

/* -- verify.c, verify_index.c ------------------------------------------------------------------ */

typedef struct verify {
    weir_image_t *image;
    MDB_txn *txn;
    state_t state;
    int64_t now_ms;
    weir_image_verdict_t *ret;
    weir_error_t *err;
} verify_t;

/* WEIR_NOT_FOUND; anything else that is no success is an error. */
int verify_get(const verify_t *v, database_t database, MDB_val key, MDB_val *ret);
/* Every index entry follows from a record, and every one that does is there. */
int verify_indexes(verify_t *v);

/* -- sums.c ------------------------------------------------------------------------------------ */

bool told_view(MDB_val value, told_t *ret);
/* What is hashed of the entity `key`; `type` lives until the next write. */
int told_get(MDB_txn *txn, MDB_dbi dbi, uint64_t count, const entity_key_t *key, told_t *ret,
             weir_error_t *err);
int told_load(weir_batch_t *batch, const entity_key_t *key, told_t *ret, weir_error_t *err);
/* `before`: something is stored. */
int told_store(weir_batch_t *batch, const entity_key_t *key, const told_t *told, bool before,
               weir_error_t *err);
int told_remove(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err);
int told_hash(weir_digester_t *digester, const told_t *told, weir_str_t document,
              weir_digest_t *ret, weir_error_t *err);
/* Adds the hash of a document of this id to the sums, or takes it away; there is a key. */
void sums_change(weir_batch_t *batch, const weir_uuid_t *id, const weir_digest_t *hash, bool add);
/* Takes a document out of them. Nothing to do without a key. */
int sums_discount(weir_batch_t *batch, const told_t *told, weir_str_t document, weir_error_t *err);
int sums_get(const weir_image_t *image, MDB_txn *txn, unsigned bucket, weir_digest_t *ret,
             weir_error_t *err);
int sums_write(weir_batch_t *batch, weir_error_t *err); /* what the batch changed */
void sums_forget(weir_batch_t *batch);                  /* at its end */

/* -- heal.c --------------------------------------------------------------------------------------
 */

/* Inside a bucket: WEIR_INVALID for an id that is not of it. */
int bucket_check(const weir_batch_t *batch, const weir_uuid_t *id, weir_error_t *err);
/* Notes that a row was put, and how it differs from what was there. */
int bucket_note(weir_batch_t *batch, weir_difference_t what, const told_t *told,
                const weir_json_t *row, weir_error_t *err);

#endif
