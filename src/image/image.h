/* image.h -- the data plane's configuration: one LMDB environment, mapped by
 * every worker.
 *
 * One process writes (the agent), any number read. A reader sees exactly one
 * committed version. What it gets from the image lives until
 * weir_reader_leave(): copy what you keep and leave within microseconds; a
 * reader that stays pins old pages and the file grows. Nothing here logs.
 *
 * Documents (canonical JSON) and flat records lie side by side; a record is
 * data, not truth: every offset and length is checked when a view is made. */
#ifndef WEIR_IMAGE_H
#define WEIR_IMAGE_H

#include "base/arena.h"
#include "base/base.h"
#include "base/buffer.h"
#include "model/digest.h"
#include "model/model.h"

/* -- writing: the agent ------------------------------------------------------ */

typedef struct weir_image weir_image_t;
typedef struct weir_batch weir_batch_t;

typedef struct weir_image_options {
    const char *path;     /* a directory; made if absent (mode 0770, files 0660) */
    uint64_t map_bytes;   /* first size of the map: address space, not memory */
    unsigned readers_max; /* slots: 4 x workers + 32 */
    /* Readers see a commit at once; it goes to the disk with weir_image_flush() or
     * weir_image_settle(). When the machine goes down (not a process), commits since then are
     * taken back, whole and the newest first. False: flushed by weir_image_sync(); when the
     * machine goes down before that, weir_image_open() says WEIR_CORRUPT. */
    bool sync;
    bool documented_order; /* router_priority = documented (routing 1.6) */
    /* Which software this is ("0.1.0"). When another one opens the image than the last
     * that wrote it, what is quarantined is judged again. NULL: it is not. */
    const char *build;
    /* For tools beside the agent: nothing is made, written or put right. Only what
     * reads may be called: state, quarantined, sums, stage, verify. WEIR_NOT_FOUND: no
     * image there; WEIR_UNSUPPORTED also if its records are of another format or order. */
    bool look_only;
    /* Turns a plugin's configuration into its record (the registry's compile
     * functions); NULL: records stay empty. weir_batch_put_rows() calls it from a thread of
     * its own, never from two at once. */
    int (*compile_plugin)(void *context, weir_str_t name, const weir_json_t *config,
                          weir_buffer_t *out, weir_error_t *err);
    void *compile_context;
} weir_image_options_t;

/* WEIR_CORRUPT or WEIR_UNSUPPORTED (a newer format): see weir_image_set_aside(). */
int weir_image_open(const weir_image_options_t *options, weir_image_t **ret, weir_error_t *err);
void weir_image_close(weir_image_t *image); /* NULL is fine */
/* Renames the directory to PATH.aside-TIME, so that it can be looked at. */
int weir_image_set_aside(const char *path, int64_t now_ms, char *ret_name, size_t name_bytes,
                         weir_error_t *err);
/* After a commit, when whoever waits for it has been told: begins to flush if much has come
 * together since the last time (with options.sync). A thread of its own does it, while commits
 * go on; the next call says what became of it. */
int weir_image_flush(weir_image_t *image, weir_error_t *err);
/* For every second or so: the same, if anything was committed. What is flushed is what will be
 * there after the machine went down. If everything was already, memory that the writing touched
 * goes back to the system. On failure no further commit is taken until one succeeds. */
int weir_image_settle(weir_image_t *image, weir_error_t *err);
/* Everything committed is on the disk, and nothing has to be remembered about it. */
int weir_image_sync(weir_image_t *image, weir_error_t *err);
/* Clears slots of dead readers; how many. Call every second and when full. */
int weir_image_clear_stale(weir_image_t *image, size_t *ret_count, weir_error_t *err);

/* One transaction that brings the image to `version`. A full batch replaces the
 * whole set: what it does not put is gone at commit, and until then the old set
 * serves. */
int weir_batch_begin(weir_image_t *image, bool full, uint64_t version, weir_batch_t **ret,
                     weir_error_t *err);
/* `document`: a row as a control plane sent it. One that the model refuses is
 * kept, quarantined and reported; that is WEIR_OK. An unknown entity type or
 * plugin is quarantined as well. */
int weir_batch_put(weir_batch_t *batch, weir_str_t type, const weir_json_t *row, weir_error_t *err);
/* `key`: {"id":...} or {"key":...}. Unknown ones are nothing to do. */
int weir_batch_delete(weir_batch_t *batch, weir_str_t type, const weir_json_t *key,
                      weir_error_t *err);
/* References are resolved, records compiled, indexes kept, quarantine tried
 * again for what depends on what changed; the version goes in last. WEIR_FULL
 * (disk): nothing of it happened. Takes the batch, also when it fails. */
int weir_batch_commit(weir_batch_t *batch, int64_t now_ms, weir_error_t *err);
void weir_batch_abort(weir_batch_t *batch); /* NULL is fine */

/* -- proof (docs/sync-v1.md) --------------------------------------------------- */

/* As weir_batch_put(), for a row that comes with its id and, if the control plane had
 * to change it for this data plane's version, with the hash of its own form (`told`;
 * NULL: the hash is that of the row). While the image has a key, rows of
 * weir_batch_put() count as well, so its sums are right whoever sent the rows. */
int weir_batch_put_told(weir_batch_t *batch, weir_str_t type, const weir_uuid_t *id,
                        const weir_json_t *row, const weir_digest_t *told, weir_error_t *err);
int weir_batch_delete_id(weir_batch_t *batch, weir_str_t type, const weir_uuid_t *id,
                         weir_error_t *err);

/* A row as weir_batch_put_told() takes one, or what weir_batch_delete_id() takes. */
typedef struct weir_batch_row {
    weir_str_t type;
    bool has_id, has_hash; /* one to be deleted has an id */
    weir_uuid_t id;
    weir_digest_t hash;     /* that was told */
    const weir_json_t *row; /* NULL: delete it */
} weir_batch_row_t;

/* All of them, in this order, as if each were put or deleted by itself. Of many rows a
 * second thread does what needs no image (it validates, compiles, hashes) while the
 * caller's writes; it has ended when this returns. `rows`, and the JSON in them, are the
 * caller's and must not change meanwhile. */
int weir_batch_put_rows(weir_batch_t *batch, const weir_batch_row_t *rows, size_t count,
                        weir_error_t *err);

typedef enum weir_difference {
    WEIR_DIFFERENCE_MISSING,  /* it was not here */
    WEIR_DIFFERENCE_EXTRA,    /* it was here, and should not */
    WEIR_DIFFERENCE_DOCUMENT, /* it was another one */
} weir_difference_t;

/* From here to weir_batch_bucket_end() what is put is the whole content of `bucket`:
 * the rest of it goes; not in a full batch. WEIR_INVALID: there is no such bucket, or
 * (from a put) the id is not of it; then abort the batch. `found` is told each difference,
 * with what people call the entity (of a secret key no more than how it begins). */
int weir_batch_bucket_begin(weir_batch_t *batch, unsigned bucket, weir_error_t *err);
int weir_batch_bucket_end(weir_batch_t *batch,
                          void (*found)(void *context, weir_difference_t what, weir_str_t type,
                                        const weir_uuid_t *id, weir_str_t name),
                          void *context, weir_error_t *err);
/* The digest as it is with what the batch did so far; a full batch: before what it did
 * not put is gone. WEIR_NOT_FOUND: no key. */
int weir_batch_digest(weir_batch_t *batch, weir_digest_t *ret, weir_error_t *err);

/* The key of the cluster's digests; the image keeps it. Another one than before, or the
 * first: all sums are computed anew from the documents, in one transaction (hashes that
 * were told stay as they are: healing brings those of the new key). The same: nothing to
 * do. Without a key there is no digest. */
int weir_image_set_digest_key(weir_image_t *image, const weir_digest_key_t *key, weir_error_t *err);
/* Fingerprint of the key; empty without one. */
int weir_image_digest_key(weir_image_t *image, char ret[WEIR_DIGEST_FINGERPRINT_TEXT + 1],
                          weir_error_t *err);
/* The sums of all buckets: WEIR_DIGEST_BUCKETS of them. WEIR_NOT_FOUND: no key. */
int weir_image_sums(weir_image_t *image, weir_digest_t *sums, weir_error_t *err);

/* -- a full set in pages: the stage ------------------------------------------------
 *
 * A second image, PATH.stage, which is filled in as many batches as it takes while
 * the first one serves, and then takes its place in one step. */

enum { WEIR_STAGE_CURSOR_MAX = 64 };

typedef struct weir_stage {
    uint64_t snapshot;                  /* the version in which the pages began */
    uint64_t seen;                      /* newest version that a page was read in */
    uint64_t expected;                  /* entities that will come, about; 0: unknown */
    char cursor[WEIR_STAGE_CURSOR_MAX]; /* of the next page; empty: from the beginning */
    bool pages_done;
} weir_stage_t;

/* Opens PATH.stage with the options and the digest key of `live`, not flushed at each
 * commit; what is there already goes on if its snapshot is `snapshot`, anything else is
 * thrown away. `snapshot` 0: only what is there already, or WEIR_NOT_FOUND. Fill it with
 * batches that are not full; call weir_image_grow() as for any image. */
int weir_image_stage_open(weir_image_t *live, uint64_t snapshot, weir_image_t **ret,
                          weir_error_t *err);
/* As of its last commit. WEIR_NOT_FOUND: this image is no stage. */
int weir_image_stage(weir_image_t *stage, weir_stage_t *ret, weir_error_t *err);
/* Goes in with this batch, whose rows follow. Whether what they refer to is there, and good, is
 * looked at for all batches together, with the one in which `pages_done` becomes true. */
void weir_batch_stage(weir_batch_t *batch, const weir_stage_t *now);
/* `*live` is closed and replaced by `stage`, whose last batch has been committed: it is
 * marked complete, flushed, and put in place; readers move at once. A crash at any moment
 * leaves one or the other to be opened. On failure *live stays and serves, and `stage` is
 * open still. */
int weir_image_switch(weir_image_t **live, weir_image_t *stage, weir_error_t *err);
/* Closes and removes it. NULL is fine. */
void weir_image_stage_discard(weir_image_t *stage);

typedef struct weir_image_verdict {
    uint64_t version, entities;
    weir_digest_t kept, computed;
    size_t bad_buckets;
    unsigned first_bad_bucket;
    /* Records and index entries that do not follow from their documents, or are
     * missing. */
    uint64_t bad_records;
} weir_image_verdict_t;

/* Computes every sum anew from the documents, every record and index entry too, and
 * compares, as of one commit and in little memory; what is written meanwhile waits for
 * the disk space of what it replaces. What has expired by now may be there or not.
 * `progress` (may be NULL) is told of the entities so far, now and then. WEIR_CORRUPT:
 * it cannot even be read; differences are no error. Without a key the sums are zero. */
int weir_image_verify(weir_image_t *image, void (*progress)(void *context, uint64_t entities),
                      void *context, weir_image_verdict_t *ret, weir_error_t *err);

typedef struct weir_quarantined {
    weir_str_t type;
    weir_str_t id;    /* as text */
    weir_str_t name;  /* of the entity; empty if it has none */
    weir_str_t field; /* "@entity" for the whole */
    weir_str_t reason;
    bool serving;     /* an older, good record of it goes on serving */
    uint64_t version; /* in which it came */
} weir_quarantined_t;

/* Doubles the map, after WEIR_FULL with err->field "map": then repeat the batch.
 * Readers follow by themselves. */
int weir_image_grow(weir_image_t *image, weir_error_t *err);

/* Every quarantined entity, as of the last commit. `each` returns WEIR_AGAIN when it has
 * enough: that is WEIR_OK. */
int weir_image_quarantined(weir_image_t *image,
                           int (*each)(void *context, const weir_quarantined_t *entry),
                           void *context, weir_error_t *err);
/* What the last commit of this process quarantined, or quarantined again: at most
 * WEIR_NEWS_MAX of them, *ret_left_out is how many it did not remember. Its cost is theirs,
 * whatever else is quarantined. */
enum { WEIR_NEWS_MAX = 1000 };
int weir_image_news(weir_image_t *image,
                    int (*each)(void *context, const weir_quarantined_t *entry), void *context,
                    uint64_t *ret_left_out, weir_error_t *err);
/* Entries that these two have read since the image was opened: what a change costs must not
 * grow with what is quarantined (agent/apply_test.c). */
uint64_t weir_image_quarantine_read(const weir_image_t *image);

typedef struct weir_image_state {
    uint64_t version;     /* 0: empty */
    bool complete;        /* a full set has been committed once */
    uint64_t quarantined; /* entities */
    /* Another one whenever what is quarantined may be, also in another image; never 0. */
    uint64_t quarantine_stamp;
    uint64_t entities;
    uint64_t commits;     /* since the image was made */
    int64_t committed_ms; /* when the last one was */
    uint64_t bytes_used;  /* of the map */
    uint64_t map_bytes;   /* its size; it grows when it is full */
    weir_uuid_t default_workspace;
    bool has_digest;
    weir_digest_t digest;
} weir_image_state_t;

int weir_image_state(weir_image_t *image, weir_image_state_t *ret, weir_error_t *err);
/* Rows whose ttl ended by `now_ms` serve no longer, at most 1000 at a time; *ret_next_ms:
 * when the next one ends (not after `now_ms` if there are more already), or 0. Look-ups
 * do not find them from that second on, also if this comes late. Their documents stay,
 * and count, until the control plane deletes them. */
int weir_image_expire(weir_image_t *image, int64_t now_ms, size_t *ret_count, int64_t *ret_next_ms,
                      weir_error_t *err);

/* -- reading: workers, the status endpoint, `weir sync status` ---------------- */

typedef struct weir_reader weir_reader_t; /* one per process and thread */

/* WEIR_NOT_FOUND: no image there yet; try again later. When the agent sets the image
 * aside and makes another one, weir_reader_enter() moves there, within a second or
 * so of its first full set; to a stage that takes its place, with the first look after
 * the switch. Versions of records never repeat. */
int weir_reader_open(const char *path, weir_reader_t **ret, weir_error_t *err);
void weir_reader_close(weir_reader_t *reader);
int weir_reader_enter(weir_reader_t *reader, weir_error_t *err);
void weir_reader_leave(weir_reader_t *reader);
/* All of these between enter and leave. */
int weir_reader_state(weir_reader_t *reader, weir_image_state_t *ret, weir_error_t *err);

/* A number that is another one whenever an entity of `types` (a set: bit 1 << type) came,
 * went or changed, in whatever image: as long as it stays, all that this reader says of
 * these types is what it was, but for what expires with time. Also outside of enter and
 * leave, where it costs nothing but a look at LMDB's last transaction while nothing was
 * committed. */
int weir_reader_changed(weir_reader_t *reader, uint32_t types, uint64_t *ret, weir_error_t *err);
/* Moments of routing: a number that grows when anything changes that weir_reader_match(),
 * _service(), _upstream_named(), _upstream(), _targets() or _plan() (without a consumer) depend on.
 * While it stays they answer what they did. Costs what weir_reader_changed() costs, and as much as
 * was changed. */
int weir_reader_moment(weir_reader_t *reader, uint64_t *ret, weir_error_t *err);

/* What is matched against routes (routing 1.2). `path` is normalised already
 * (image/path.h). */
typedef struct weir_match_request {
    weir_str_t method;
    bool has_host;
    weir_str_t host; /* the Host header as sent, port included */
    weir_str_t path;
    bool https;
    weir_str_t sni;    /* data NULL: none */
    int listener_port; /* used if Host carries none */
    /* The nth (from 0) value of the request header `name`, any case: '-' and '_' in
     * `name` are one; "x_foo" is looked for first, then "x-foo" (routing 1.2). False
     * when there are fewer. */
    bool (*header)(void *context, weir_str_t name, size_t nth, weir_str_t *ret);
    void *context;
} weir_match_request_t;

enum {
    WEIR_PROTOCOL_HTTP = 1,
    WEIR_PROTOCOL_HTTPS = 2,
    WEIR_PROTOCOL_GRPC = 4,
    WEIR_PROTOCOL_GRPCS = 8,
    WEIR_PROTOCOL_TCP = 16,
    WEIR_PROTOCOL_TLS = 32,
    WEIR_PROTOCOL_UDP = 64,
    WEIR_PROTOCOL_TLS_PASSTHROUGH = 128,
};

typedef struct weir_route {
    weir_uuid_t id;
    weir_uuid_t service; /* zero: none */
    weir_str_t name;
    unsigned protocols; /* WEIR_PROTOCOL_ bits */
    int https_redirect_status_code;
    bool strip_path, preserve_host, request_buffering, response_buffering;
    uint64_t version; /* caches are keyed by (id, version) */
} weir_route_t;

typedef struct weir_match {
    weir_route_t route;
    bool has_path;       /* a path took part in the match */
    size_t path_matched; /* bytes of the path that it covered: what strip_path strips */
    /* Headers of the request were looked at, or could have been: method, host, path,
     * listener, scheme and SNI alone do not make the answer. */
    bool by_headers;
} weir_match_t;

/* The route that serves the request, in the incumbent's order (routing 1.4-1.8).
 * O(log n) probes. WEIR_NOT_FOUND: no route matches. */
int weir_reader_match(weir_reader_t *reader, const weir_match_request_t *request, weir_match_t *ret,
                      weir_error_t *err);

/* The group `name` of the first regular expression among the route's paths that covers the
 * first `matched` bytes of `path`; points into `path`. WEIR_NOT_FOUND: there is none. */
int weir_reader_capture(weir_reader_t *reader, const weir_uuid_t *route, weir_str_t path,
                        size_t matched, weir_str_t name, weir_str_t *ret, weir_error_t *err);

/* Whether a match that was made at the moment `since` is the one that would be made now,
 * but for what its route says itself. Never true of one that is not; not for matches
 * `by_headers`. Like the next one of the moment that weir_reader_moment() gave last, also
 * outside of enter and leave; touches no page of the image. */
bool weir_reader_match_stands(const weir_reader_t *reader, const weir_match_request_t *request,
                              uint64_t since);
/* The same for what is known of a route and its `service` (NULL: it has none), and for
 * the plan of both without a consumer. */
bool weir_reader_route_stands(const weir_reader_t *reader, const weir_uuid_t *route,
                              const weir_uuid_t *service, uint64_t since);

typedef struct weir_service {
    weir_uuid_t id;
    weir_str_t name, host, path; /* path: data NULL if unset */
    unsigned protocol;           /* one WEIR_PROTOCOL_ bit */
    int port;
    int retries;
    uint32_t connect_timeout_ms, write_timeout_ms, read_timeout_ms;
    int tls_verify;                 /* -1: unset */
    int tls_verify_depth;           /* -1: unset */
    weir_uuid_t client_certificate; /* zero: none */
    const weir_uuid_t *ca_certificates;
    size_t ca_certificate_count;
    uint64_t version;
} weir_service_t;

int weir_reader_service(weir_reader_t *reader, const weir_uuid_t *id, weir_service_t *ret,
                        weir_error_t *err);

/* -- upstreams and their targets (routing 9.2) -- */

typedef enum weir_algorithm {
    WEIR_ROUND_ROBIN,
    WEIR_CONSISTENT_HASHING,
    WEIR_LEAST_CONNECTIONS,
    WEIR_LATENCY,
} weir_algorithm_t;

typedef enum weir_hash_input {
    WEIR_HASH_NONE,
    WEIR_HASH_CONSUMER,
    WEIR_HASH_IP,
    WEIR_HASH_HEADER,
    WEIR_HASH_COOKIE,
    WEIR_HASH_PATH,
    WEIR_HASH_QUERY_ARG,
    WEIR_HASH_URI_CAPTURE,
} weir_hash_input_t;

/* What is hashed; `name`: of the header, cookie, argument or capture. */
typedef struct weir_hash_on {
    weir_hash_input_t input;
    weir_str_t name;
} weir_hash_on_t;

/* A list of HTTP statuses as it lies in the record. */
typedef struct weir_statuses {
    const uint8_t *bytes;
    size_t count;
} weir_statuses_t;
bool weir_statuses_has(const weir_statuses_t *statuses, unsigned status);

/* How often until a target is taken for healthy or not; 0: never (routing 10). */
typedef struct weir_health_limits {
    uint8_t successes, http_failures, tcp_failures, timeouts;
    weir_statuses_t healthy, unhealthy;
} weir_health_limits_t;

typedef enum weir_probe_kind {
    WEIR_PROBE_HTTP,
    WEIR_PROBE_HTTPS,
    WEIR_PROBE_TCP,
    WEIR_PROBE_GRPC,
    WEIR_PROBE_GRPCS,
} weir_probe_kind_t;

/* Active checks. Intervals of 0: none. */
typedef struct weir_probes {
    weir_probe_kind_t kind;
    uint32_t timeout_ms, healthy_interval_ms, unhealthy_interval_ms, concurrency;
    weir_str_t path, sni; /* sni: data NULL if unset */
    bool verify;
    const void *headers; /* weir_probes_headers() */
    size_t headers_bytes;
    unsigned header_count;
} weir_probes_t;

typedef struct weir_upstream {
    weir_uuid_t id;
    weir_str_t name, host_header, cookie_path; /* data NULL if unset */
    weir_algorithm_t algorithm;
    weir_hash_on_t hash_on, hash_fallback;
    uint32_t slots;
    weir_uuid_t client_certificate; /* zero: none */
    uint32_t threshold_centi;       /* hundredths of a percent */
    weir_health_limits_t passive, active;
    weir_probes_t probes;
    uint64_t version;
} weir_upstream_t;

typedef struct weir_target {
    weir_uuid_t id;
    weir_str_t host; /* an IPv6 address stands in brackets */
    uint16_t port, weight;
} weir_target_t;

/* The upstream that a service's host names, if any; WEIR_NOT_FOUND. */
int weir_reader_upstream_named(weir_reader_t *reader, weir_str_t name, weir_uuid_t *ret,
                               weir_error_t *err);
int weir_reader_upstream(weir_reader_t *reader, const weir_uuid_t *id, weir_upstream_t *ret,
                         weir_error_t *err);
/* Its targets, ordered by id; `each` may return other than WEIR_OK to end it. Costs what
 * they are. */
int weir_reader_targets(weir_reader_t *reader, const weir_uuid_t *upstream,
                        int (*each)(void *context, const weir_target_t *target, weir_error_t *err),
                        void *context, weir_error_t *err);
/* Every upstream that has active checks. Costs what they are. */
int weir_reader_probed(weir_reader_t *reader,
                       int (*each)(void *context, const weir_uuid_t *upstream, weir_error_t *err),
                       void *context, weir_error_t *err);
/* Every header of a probe, one call for each of its values, until `each` says false. */
void weir_probes_headers(const weir_probes_t *probes,
                         bool (*each)(void *context, weir_str_t name, weir_str_t value),
                         void *context);

/* As weir_reader_route_stands(): does `host` of a service still name the upstream that it
 * did, or still none? */
bool weir_reader_host_stands(const weir_reader_t *reader, weir_str_t host, uint64_t since);
/* ... are an upstream and all of its targets what they were? */
bool weir_reader_upstream_stands(const weir_reader_t *reader, const weir_uuid_t *id,
                                 uint64_t since);

typedef struct weir_consumer {
    weir_uuid_t id;
    weir_str_t username, custom_id; /* data NULL if unset */
    uint64_t version;
} weir_consumer_t;

int weir_reader_consumer(weir_reader_t *reader, const weir_uuid_t *id, weir_consumer_t *ret,
                         weir_error_t *err);
/* By id, or else by username or custom_id: what `anonymous` of auth plugins may name. */
int weir_reader_consumer_named(weir_reader_t *reader, weir_str_t key, weir_consumer_t *ret,
                               weir_error_t *err);

typedef struct weir_credential {
    weir_uuid_t id;
    weir_uuid_t consumer;
    int64_t expires_s; /* unix seconds; 0: never */
    uint64_t version;
} weir_credential_t;

/* A credential of `type` by its endpoint key (key-auth: the key). Expired ones
 * are not found. */
int weir_reader_credential(weir_reader_t *reader, weir_entity_type_t type, weir_str_t key,
                           int64_t now_s, weir_credential_t *ret, weir_error_t *err);

typedef struct weir_certificate {
    weir_uuid_t id;
    weir_str_t cert, key, cert_alt, key_alt; /* PEM; alt: data NULL if unset */
    uint64_t version;
} weir_certificate_t;

/* The certificate for a server name: exact, "*.rest", "left.*", "*" (routing 11). */
int weir_reader_sni(weir_reader_t *reader, weir_str_t server_name, weir_certificate_t *ret,
                    weir_error_t *err);
int weir_reader_certificate(weir_reader_t *reader, const weir_uuid_t *id, weir_certificate_t *ret,
                            weir_error_t *err);
int weir_reader_ca_certificate(weir_reader_t *reader, const weir_uuid_t *id, weir_str_t *ret_pem,
                               uint64_t *ret_version, weir_error_t *err);

/* One plugin that is to run: what its compile() made of its configuration. */
typedef struct weir_planned {
    weir_str_t plugin;                    /* "key-auth" */
    weir_uuid_t id;                       /* of the plugin entity */
    weir_uuid_t route, service, consumer; /* its scope; zero: not bound */
    weir_str_t record;
    uint64_t version;
    bool refused; /* it is quarantined, and its requests must not pass without it */
} weir_planned_t;

enum { WEIR_PLAN_PLUGINS_MAX = 64 }; /* distinct plugins on one request */

typedef struct weir_plan {
    weir_planned_t plugins[WEIR_PLAN_PLUGINS_MAX]; /* by priority, highest first */
    size_t count;
} weir_plan_t;

/* Of each plugin the most specific enabled one (plugins.md, "which instance
 * wins"). NULL for what the request does not have (yet). A handful of probes. */
int weir_reader_plan(weir_reader_t *reader, const weir_uuid_t *route, const weir_uuid_t *service,
                     const weir_uuid_t *consumer, weir_plan_t *ret, weir_error_t *err);

/* As weir_image_quarantined(), for tools. */
int weir_reader_quarantined(weir_reader_t *reader,
                            int (*each)(void *context, const weir_quarantined_t *entry),
                            void *context, weir_error_t *err);
/* The document of an entity, for tools and tests. */
int weir_reader_document(weir_reader_t *reader, weir_entity_type_t type, const weir_uuid_t *id,
                         weir_str_t *ret, weir_error_t *err);
/* Every document, ordered by type and id. */
int weir_reader_documents(weir_reader_t *reader,
                          int (*each)(void *context, weir_entity_type_t type, const weir_uuid_t *id,
                                      weir_str_t document),
                          void *context, weir_error_t *err);

#endif
