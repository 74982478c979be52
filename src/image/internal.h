/* internal.h -- shared by the files of the image.
 *
 * Databases of the environment (keys; "id" is type byte + 16 bytes of UUID):
 *
 *   state       one struct: format, version, counters, digest. Written last in each
 *               transaction, read first by each reader. Beside it the key of digests,
 *               what was touched last (touched.h) and, in a stage, how far it is
 *   documents   id -> JSON as the control plane sent it: what digests are of. What
 *               is missing in it is completed when it is compiled
 *   records     id -> flat record. Its presence means: this entity is good
 *   router      class | host | 0 | path -> route entries, best first (router.h)
 *   buckets     ... | what tells them apart -> route entries, best first
 *   ranks       class | ~sort key -> number of route entries
 *   names       letter | key -> who has it: credentials, consumers, SNIs, upstreams
 *               (DUPSORT)
 *   plans       scope bits | UUIDs -> the plugins of that scope
 *   links       id -> what it refers to
 *   dependents  id referred to | id -> nothing: links, the other way round. So the
 *               targets of an upstream are a range of it
 *   quarantine  id -> why it is not (or not newly) served
 *   expiry      unix seconds, big endian | id -> nothing
 *   sums        bucket, u16 big endian -> sum of its entities' hashes; zero is absent
 *   told        id -> what is hashed if that does not follow from key and document:
 *               the type's name and id of an unknown type, a hash that was told (sums.c)
 *
 * The first two bytes of a key's UUID are those of the id that the control plane
 * named, also for rows of unknown types: so a bucket is a range of keys.
 *
 * What an entity has in router, names, plans and expiry follows from its record
 * alone: so taking an entity away, or replacing it, needs no search. */
#ifndef WEIR_IMAGE_INTERNAL_H
#define WEIR_IMAGE_INTERNAL_H

#include "base/buffer.h"
#include "image/image.h"

#include <lmdb.h>
#include <sys/types.h>
#include <time.h>

enum {
    FORMAT_DOCUMENTS = 5, /* documents and databases: another one cannot be read */
    FORMAT_RECORDS = 2,   /* records: another one is compiled anew from documents */
    ID_BYTES = 17,
    KEY_BYTES_MAX = 500,  /* LMDB's own limit is 511 */
    HOST_BYTES_MAX = 253, /* of a route's host, port included */
    HEADER_VALUE_BYTES_MAX = 1024,
    RECORD_BYTES_MAX = 16 * 1024 * 1024,
    CHANGED_TYPES = 32, /* types of entities that the state has room for */
};

_Static_assert((int)WEIR_ENTITY_TYPES <= (int)CHANGED_TYPES,
               "a type of entity has no place in the state");

typedef enum database {
    DB_STATE,
    DB_DOCUMENTS,
    DB_RECORDS,
    DB_ROUTER,
    DB_BUCKETS,
    DB_RANKS,
    DB_NAMES,
    DB_PLANS,
    DB_LINKS,
    DB_DEPENDENTS,
    DB_QUARANTINE,
    DB_EXPIRY,
    DB_SUMS,
    DB_TOLD,
    DATABASES
} database_t;

/* Host classes of the router, in the order of their keys. */
enum { CLASS_EXACT = 1, CLASS_SUFFIX, CLASS_PREFIX, CLASS_ANY, CLASSES };
enum { SCOPE_ROUTE = 1, SCOPE_SERVICE = 2, SCOPE_CONSUMER = 4, SCOPES = 8 };

typedef struct state {
    uint32_t format_documents, format_records;
    uint64_t version;
    uint64_t entities, quarantined, commits;
    int64_t committed_ms;
    uint64_t class_entries[CLASSES]; /* router entries of a class: 0 skips it */
    uint64_t class_best[CLASSES];    /* best sort key of a class */
    uint64_t routes_with_hosts, routes_with_paths;
    uint64_t disabled_services; /* 0: nobody needs to look */
    uint64_t scope_plugins[SCOPES];
    /* Record versions count on from here: no two images of a node share one, so
     * caches of workers survive that an image is replaced. */
    uint64_t generation;
    uint32_t complete;
    uint32_t documented_order; /* the priority layout that the router was built with */
    weir_uuid_t workspace;
    weir_digest_t digest; /* of all documents; with has_digest only */
    uint64_t told;        /* entries of DB_TOLD: 0 needs no look */
    uint32_t has_digest;  /* there is a key */
    uint32_t superseded;  /* another image has taken this one's place: readers move on */
    /* By type: `commits` when an entity of it last changed, document or record. What
     * workers remember is true as long as these stand still (weir_reader_changed()). */
    uint64_t changed[CHANGED_TYPES];
    uint64_t build;              /* of the software that last opened it for writing: a hash */
    uint64_t quarantine_changed; /* `commits` when what is quarantined last changed */
    /* Keys of what changes of routing concerned (touched.h): how many ever; how many when
     * everything was. */
    uint64_t touched, touched_all;
} state_t;

/* Of an entity that comes, goes or becomes another one in the commit at work. Types that
 * are unknown here have no records that anybody could remember. */
static inline void note_change(state_t *state, uint8_t type)
{
    if (type < CHANGED_TYPES)
        state->changed[type] = state->commits;
}

struct weir_image {
    MDB_env *env;
    MDB_dbi dbi[DATABASES];
    weir_image_options_t options;
    char *path;
    uint64_t map_bytes;
    /* unsynced.c: whether the mark is there; settling failed the last time; a flush did,
     * ever. `held`: no commit writes over what the mark leads to. */
    bool marked, failing, distrusted;
    MDB_txn *held;
    struct flushing *flushing; /* one that is on its way */
    uint64_t unsettled_pages;  /* that commits have written since, about; 0: none has */
    weir_digester_t *digester; /* sums.c; NULL: no key */
    weir_digest_key_t key;
    struct sum_changes *changes; /* of the batch at work */
    weir_buffer_t news;          /* entity keys: what the last commit quarantined */
    uint64_t news_left_out;      /* that there was no room for */
    uint64_t quarantine_read;    /* entries, by anybody: a change must not read them all */
    bool filling;                /* a stage: batches keep it cool */
    void *map;                   /* stage.c: where LMDB's map is; NULL: not looked yet */
    size_t map_length;
};

/* What an image is made with when it is made as a stage (stage.c). */
typedef struct birth {
    uint64_t generation;
    weir_stage_t stage;
} birth_t;

typedef struct followed followed_t; /* touched.h */

struct weir_reader {
    char *path;
    time_t looked_s; /* when we last looked whether the path still leads to what is open */
    MDB_env *env;
    MDB_dbi dbi[DATABASES];
    MDB_txn *txn; /* reset while outside */
    MDB_cursor *router, *buckets;
    bool inside;
    bool left;                   /* it was superseded, and we looked for the next one */
    state_t state;               /* as of enter */
    size_t txn_id;               /* that it is of */
    struct regex_cache *regexes; /* regex.c */
    followed_t *followed;
};

/* reader.c: outside of enter and leave, the state of now. */
int reader_look(weir_reader_t *reader, weir_error_t *err);
/* ... and look-ups, inside; WEIR_NOT_FOUND. */
int reader_get(weir_reader_t *reader, database_t database, weir_entity_type_t type,
               const weir_uuid_t *id, weir_str_t *ret, weir_error_t *err);
int reader_get_name(weir_reader_t *reader, char letter, weir_str_t text, weir_str_t *ret,
                    weir_error_t *err);
int reader_damaged(weir_error_t *err, const char *what);

typedef struct entity_key {
    uint8_t bytes[ID_BYTES];
} entity_key_t;

static inline entity_key_t entity_key(weir_entity_type_t type, const weir_uuid_t *id)
{
    entity_key_t key;
    key.bytes[0] = (uint8_t)type;
    memcpy(key.bytes + 1, id->bytes, WEIR_UUID_BYTES);
    return key;
}

static inline weir_uuid_t entity_key_id(const entity_key_t *key)
{
    weir_uuid_t id;
    memcpy(id.bytes, key->bytes + 1, WEIR_UUID_BYTES);
    return id;
}

static inline MDB_val val(const void *data, size_t bytes)
{
    return (MDB_val){ .mv_size = bytes, .mv_data = (void *)(uintptr_t)data };
}

static inline MDB_val val_key(const entity_key_t *key)
{
    return val(key->bytes, ID_BYTES);
}

static inline weir_str_t val_str(MDB_val value)
{
    return (weir_str_t){ value.mv_data, value.mv_size };
}

/* image.c */
int lmdb_error(int code, weir_error_t *err, const char *what);
/* Calls `each` with every record of a database, in the order of keys, until it returns
 * other than WEIR_OK. `each` must not change this database. Only the end of the database
 * is an end: any other code of LMDB is an error, `what` names the database in it. */
int each_record(MDB_txn *txn, MDB_dbi dbi, const char *what,
                int (*each)(void *context, MDB_val key, MDB_val value, weir_error_t *err),
                void *context, weir_error_t *err);
int open_databases(MDB_env *env, MDB_txn *txn, unsigned flags, MDB_dbi dbi[DATABASES],
                   weir_error_t *err);
/* Reads the state inside `txn`. WEIR_NOT_FOUND: the environment is new. */
int load_state(const weir_image_t *image, MDB_txn *txn, state_t *ret, weir_error_t *err);
/* A value of the state database under another name; WEIR_NOT_FOUND, WEIR_CORRUPT if
 * it has another length. */
int load_note(const weir_image_t *image, MDB_txn *txn, const char *name, void *ret, size_t bytes,
              weir_error_t *err);
int store_note(const weir_image_t *image, MDB_txn *txn, const char *name, const void *data,
               size_t bytes, weir_error_t *err);
#define NOTE_KEY   "digest key"
#define NOTE_STAGE "stage"
/* image.c: does the path still lead to what is open? If not, LMDB may have opened the data of
 * one image and the lock file of another. */
bool in_place(MDB_env *env, const char *path);
/* `birth`: as a stage, and what it begins with if it is new. */
int open_image(const weir_image_options_t *options, const birth_t *birth, weir_image_t **ret,
               weir_error_t *err);
/* Record versions count on from this: no two images share one. */
uint64_t new_generation(void);

/* stage.c: what a switch that was cut off left behind is put right. */
int recover_switch(const char *path, weir_error_t *err);
extern bool image_test_without_exchange; /* as if the file system had no exchange */

/* Lets go of the map; if much of it is resident: at a quiet moment, or for each step of what
 * goes through the whole image, `count` of them until now. */
void cool(weir_image_t *image);
void cool_if_much(weir_image_t *image);
void cool_sometimes(weir_image_t *image, uint64_t count);

/* sums.c: the key, from the state database; none is fine. */
int sums_open(weir_image_t *image, MDB_txn *txn, weir_error_t *err);
void sums_close(weir_image_t *image);

/* unsynced.c: before opening the environment: takes back what a machine that went down may
 * have left half-written. WEIR_CORRUPT: nothing of it can be believed. */
int unsynced_check(const char *image, weir_error_t *err);
/* A check has to come first: the machine went down while the image was written. */
bool unsynced_elsewhere(const char *image);
bool unsynced_left(const weir_image_t *image); /* by a process of this boot that died */
int unsynced_before_commit(weir_image_t *image, uint64_t rows, weir_error_t *err);
/* Everything committed is on the disk when it returns (options.sync). */
int unsynced_settle(weir_image_t *image, weir_error_t *err);
/* Until no flush is on its way: for what must not happen meanwhile. What became of the last one. */
int unsynced_wait(weir_image_t *image, weir_error_t *err);
/* Around what LMDB allows only while no transaction is open, and with nothing committed
 * in between: what the mark leads to is not held. */
void unsynced_let_go(weir_image_t *image);
int unsynced_hold(weir_image_t *image, weir_error_t *err);

void state_public(const state_t *state, MDB_env *env, weir_image_state_t *ret);
/* batch.c: every record and index made anew from the documents, in one transaction. */
int weir_image_recompile(weir_image_t *image, weir_error_t *err);
/* options.build as a number; 0: none. */
uint64_t build_number(const weir_image_options_t *options);
/* Judges again what is quarantined: this software may accept what another one did not. */
int weir_image_retry(weir_image_t *image, weir_error_t *err);

/* -- records: a run of values, read back in the order of writing (record.c) --------- */

typedef struct record_in {
    const char *at;
    size_t left;
    bool bad; /* something did not fit: nothing read after it means anything */
} record_in_t;

void put_u8(weir_buffer_t *out, uint8_t value);
void put_u16(weir_buffer_t *out, uint16_t value);
void put_u32(weir_buffer_t *out, uint32_t value);
void put_u64(weir_buffer_t *out, uint64_t value);
void put_uuid(weir_buffer_t *out, const weir_uuid_t *uuid);
void put_str(weir_buffer_t *out, weir_str_t text); /* data NULL stays absent */
uint8_t get_u8(record_in_t *in);
uint16_t get_u16(record_in_t *in);
uint32_t get_u32(record_in_t *in);
uint64_t get_u64(record_in_t *in);
weir_uuid_t get_uuid(record_in_t *in);
weir_str_t get_str(record_in_t *in);

/* Makes the record of a good entity (compile.c). WEIR_INVALID: err->field and
 * err->reason say why this data plane cannot serve it. */
int compile_record(const weir_image_options_t *options, weir_entity_type_t type,
                   const weir_json_t *entity, uint64_t version, weir_buffer_t *out,
                   weir_error_t *err);

/* The record of a plugin that this data plane cannot accept, and that no older
 * record stands in for: it may be there to keep somebody out, so the requests of its
 * scope are refused (weir_planned_t.refused). False: requests may pass without it. */
enum { GUARD_PRIORITY = INT32_MAX };
bool guard_record(const weir_json_t *row, uint64_t version, weir_buffer_t *out);

/* The same of upstreams and targets, after the version (upstreams.c). */
int compile_upstream(const weir_json_t *entity, weir_buffer_t *out, weir_error_t *err);
int compile_target(const weir_json_t *entity, weir_buffer_t *out, weir_error_t *err);

/* compile.c: parts of records. */
weir_uuid_t json_reference(const weir_json_t *entity, const char *field); /* zero: none */
/* Runs `put` with the number of bytes that it wrote in front: a reader can skip it. */
void put_block(weir_buffer_t *out, void (*put)(weir_buffer_t *, const weir_json_t *),
               const weir_json_t *list);
void put_headers(weir_buffer_t *out, const weir_json_t *headers);
enum { LIST_ELEMENTS_MAX = 60000 }; /* elements of a list of an entity */

/* Views: false when the record is nonsense. */
typedef struct route_view {
    weir_route_t route; /* but for the id */
    bool hosts_given;
    int64_t regex_priority;
    unsigned weight_base; /* attributes other than hosts, paths: counted */
    record_in_t methods, hosts, paths, headers, snis; /* str lists; headers: name, count, values */
    record_in_t path_offsets;                         /* u32 each, into paths */
    unsigned method_count, host_count, path_count, header_count, sni_count;
} route_view_t;
bool view_route(weir_str_t record, route_view_t *ret);
weir_str_t route_path(const route_view_t *view, unsigned index); /* data NULL: nonsense */
typedef struct service_view {
    weir_service_t service;
    bool enabled;
} service_view_t;
bool view_service(weir_str_t record, service_view_t *ret);
bool view_consumer(weir_str_t record, weir_consumer_t *ret);
typedef struct credential_view {
    weir_uuid_t consumer;
    weir_str_t key;
    int64_t expires_s;
    uint64_t version;
} credential_view_t;
bool view_credential(weir_str_t record, credential_view_t *ret);
bool view_certificate(weir_str_t record, weir_certificate_t *ret);
bool view_ca_certificate(weir_str_t record, weir_str_t *ret_pem, uint64_t *ret_version);
typedef struct sni_view {
    weir_str_t name;
    weir_uuid_t certificate;
} sni_view_t;
bool view_sni(weir_str_t record, sni_view_t *ret);
bool view_upstream(weir_str_t record, weir_upstream_t *ret); /* but for the id */
typedef struct target_view {
    weir_target_t target; /* but for the id */
    weir_uuid_t upstream;
} target_view_t;
bool view_target(weir_str_t record, target_view_t *ret);
typedef struct plugin_view {
    weir_str_t name, record;
    int32_t priority;
    bool enabled;
    uint64_t version;
    weir_uuid_t route, service, consumer;
} plugin_view_t;
bool view_plugin(weir_str_t record, plugin_view_t *ret);
/* A record's beginning: the version of the write that made it. */
record_in_t open_record(weir_str_t record, uint64_t *ret_version);
record_in_t get_block(record_in_t *in); /* a part with its length in front */

/* -- indexes (indexes.c): what follows from a record -------------------------------- */

/* Told instead of written (verify.c): what should be there. */
typedef struct checker {
    void *context;
    /* Of plans, `value` is one plugin of the list. */
    int (*entry)(void *context, database_t database, MDB_val key, MDB_val value);
    /* The marker of a router key says that there are entries of this split. One of them
     * comes next. */
    int (*split)(void *context, MDB_val key, unsigned split);
} checker_t;

/* Keys of what was touched last: the nth has place n % TOUCHED_MAX (touched.h). As much as
 * one page of the file holds. */
enum { TOUCHED_MAX = 1000 };
typedef struct touched {
    bool loaded;
    uint64_t first; /* state_t's `touched` before this transaction */
    uint32_t keys[TOUCHED_MAX];
} touched_t;
#define NOTE_TOUCHED "touched"

typedef struct leaving leaving_t; /* indexes.c */

typedef struct writer {
    const checker_t *check; /* NULL: write */
    MDB_txn *txn;
    const MDB_dbi *dbi;
    state_t *state;
    touched_t *touched; /* NULL: nobody follows */
    leaving_t *leaving; /* of index_replace(); NULL otherwise */
    bool documented_order;
} writer_t;

int index_record(writer_t *w, weir_entity_type_t type, const weir_uuid_t *id, weir_str_t record,
                 bool add, weir_error_t *err);
/* What follows from `before` goes, what follows from `after` comes; a name that both have is not
 * written. */
int index_replace(writer_t *w, weir_entity_type_t type, const weir_uuid_t *id, weir_str_t before,
                  weir_str_t after, weir_error_t *err);

int index_upstream(writer_t *w, const weir_uuid_t *id, weir_str_t record, bool add,
                   weir_error_t *err);
int index_target(writer_t *w, weir_str_t record, weir_error_t *err);
/* `text` under the kind of name `letter` -> `value` (indexes.c). */
int index_name(writer_t *w, char letter, weir_str_t text, weir_str_t value, bool add,
               weir_error_t *err);

/* Key of the names database: at most KEY_BYTES_MAX; long texts by their hash. */
enum { NAME_KEY_BYTES = 420 };
size_t name_key(char letter, weir_str_t text, uint8_t out[NAME_KEY_BYTES]);
enum {
    NAME_CREDENTIAL = 'k',
    NAME_USERNAME = 'u',
    NAME_CUSTOM_ID = 'c',
    NAME_SNI = 's',
    NAME_UPSTREAM = 'b',
    NAME_PROBED = 'p'
};

/* Key of a scope in the plans database; returns its length. NULL parts are absent. */
size_t scope_key(const weir_uuid_t *route, const weir_uuid_t *service, const weir_uuid_t *consumer,
                 uint8_t out[1 + 3 * WEIR_UUID_BYTES], unsigned *ret_scope);
/* One plugin of a plan's list. */
bool next_planned(record_in_t *list, weir_planned_t *ret, int32_t *ret_priority);

/* regex.c: compiled regular expressions, bounded, least recently used go first. */
struct regex_cache *regex_cache_new(size_t max);
void regex_cache_free(struct regex_cache *cache);
/* Searches `text` for "^" + pattern (a path) or pattern itself. *ret_len is what
 * matched. False: no match, or a pattern that cannot be compiled or run. */
bool regex_matches(struct regex_cache *cache, const weir_uuid_t *route, uint64_t version,
                   unsigned index, weir_str_t pattern, bool anchored, weir_str_t text,
                   size_t *ret_len);
/* The same of a path, and the group `name` of it, which took part in the match. False: it did
 * not, or there is no such group. */
bool regex_group(struct regex_cache *cache, const weir_uuid_t *route, uint64_t version,
                 unsigned index, weir_str_t pattern, weir_str_t text, weir_str_t name,
                 size_t *ret_len, weir_str_t *ret);

#endif
