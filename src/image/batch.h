/* batch.h -- one write transaction at work, private to src/image. */
#ifndef WEIR_BATCH_H
#define WEIR_BATCH_H

#include "image/internal.h"

enum { LINKS_MAX = 8, LINK_DOCUMENT = 1, LINK_RECORD = 2 };

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

struct weir_batch {
    weir_image_t *image;
    MDB_txn *txn;
    state_t state;
    writer_t writer;
    bool full;
    int code; /* of LMDB: what a question about a record failed with; 0 is fine */
    uint64_t version;
    /* Keys to be looked at (again) at commit: what waits for something that it
     * refers to, or lost it. */
    weir_buffer_t pending;
    /* Full batches: what was put. Open addressing; an empty slot has type 0xff. */
    entity_key_t *seen;
    size_t seen_count, seen_capacity;
};

/* batch.c: the entity as if it had never been; unknown ones are nothing to do. */
int remove_entity(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err);

/* Key of a row whose type, or whose id, is unknown here. */
entity_key_t odd_key(weir_entity_type_t type, weir_str_t type_name, const weir_json_t *row);

/* quarantine.c */
bool view_quarantined(weir_str_t value, weir_quarantined_t *ret);
int quarantine_put(weir_batch_t *batch, const entity_key_t *key, weir_str_t type,
                   const weir_json_t *row, const char *field, const char *reason, bool serving,
                   weir_error_t *err);
int quarantine_remove(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err);
bool quarantine_has(weir_batch_t *batch, const entity_key_t *key);

/* links.c */
int links_of(const weir_schema_t *schema, const weir_json_t *entity, links_t *ret,
             weir_error_t *err);
int links_load(weir_batch_t *batch, const entity_key_t *key, links_t *ret, weir_error_t *err);
/* Replaces what is stored for `key`, and the other way round. */
int links_store(weir_batch_t *batch, const entity_key_t *key, const links_t *links,
                weir_error_t *err);
/* Adds everybody who refers to `key` to the pending ones. */
int links_wake(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err);

/* links.c */
int seen_add(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err);
bool seen_has(const weir_batch_t *batch, const entity_key_t *key);

int pending_add(weir_batch_t *batch, const entity_key_t *key, weir_error_t *err);

#endif
