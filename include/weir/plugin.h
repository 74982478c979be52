/* plugin.h -- the plugin ABI: what a plugin is and what it may do to a request.
 *
 * A plugin is one folder src/plugins/NAME with a schema table (schema.h), a
 * compile function that runs in the agent and turns its JSON configuration into
 * a flat record, and phase functions that run in the workers with that record.
 * It exports one `const weir_plugin_t weir_plugin_NAME` ('-' as '_').
 *
 * Nothing in a phase may block. Strings that a phase gets from the request live
 * until the request ends; the record only during the call. So what a phase hands
 * over is copied, except weir_request_set_body's text, which is to come from
 * weir_request_alloc(). */
#ifndef WEIR_PLUGIN_H
#define WEIR_PLUGIN_H

#include "weir/json.h"
#include "weir/schema.h"
#include "weir/types.h"

enum { WEIR_PLUGIN_ABI = 1 };

typedef struct weir_request weir_request_t; /* opaque: src/proxy has it */
typedef struct weir_record_writer weir_record_writer_t;

/* What a phase decided. */
typedef enum weir_phase_result {
    WEIR_PHASE_NEXT = 0, /* go on with the next plugin */
    WEIR_PHASE_ANSWER,   /* weir_request_answer() was called: the request ends here */
    WEIR_PHASE_AGAIN,    /* weir_request_read_body() was called: call me again when it is there */
    WEIR_PHASE_ERROR,    /* our own fault: 500, logged */
} weir_phase_result_t;

typedef struct weir_plugin {
    unsigned abi; /* WEIR_PLUGIN_ABI */
    const weir_plugin_schema_t *schema;
    /* Configuration (valid, complete) -> record. NULL: the record is empty. */
    int (*compile)(const weir_json_t *config, weir_record_writer_t *out, weir_error_t *err);
    weir_phase_result_t (*access)(weir_request_t *request, weir_str_t record);
    void (*header_filter)(weir_request_t *request, weir_str_t record);
    void (*log)(weir_request_t *request, weir_str_t record);
} weir_plugin_t;

/* -- compile: writing a record -------------------------------------------------
 * Values are read back in the order in which they were written. */
int weir_record_put_u64(weir_record_writer_t *out, uint64_t value);
int weir_record_put_str(weir_record_writer_t *out, weir_str_t value); /* {NULL,0} stays absent */
/* A status of an answer as a number, 0 if no answer can have it: not of 200 to 599. */
int weir_record_put_status(weir_record_writer_t *out, double status);
/* Its text as a string; NULL, as of a constructor that failed: WEIR_NO_MEMORY. */
int weir_record_put_json(weir_record_writer_t *out, const weir_json_t *value);

/* -- phases: reading a record. Each returns false at the end or on nonsense. --- */
typedef struct weir_record_reader {
    const char *at;
    size_t left;
} weir_record_reader_t;

static inline weir_record_reader_t weir_record_read(weir_str_t record)
{
    return (weir_record_reader_t){ record.data, record.len };
}
bool weir_record_u64(weir_record_reader_t *in, uint64_t *ret);
bool weir_record_str(weir_record_reader_t *in, weir_str_t *ret);

/* -- phases: the request --------------------------------------------------------- */
weir_str_t weir_request_method(weir_request_t *request);
weir_str_t weir_request_target(weir_request_t *request); /* raw, with the query */
/* Normalised, without the query: what routes are matched with. {NULL,0}: no route was. */
weir_str_t weir_request_path(weir_request_t *request);
weir_str_t weir_request_scheme(weir_request_t *request); /* "http" or "https" */
weir_str_t weir_request_host(weir_request_t *request);   /* lower case, without the port */
unsigned weir_request_port(weir_request_t *request);     /* of our listener */
/* The nth (from 0) value of a request header, any case; false when there are fewer. */
bool weir_request_header(weir_request_t *request, weir_str_t name, size_t nth, weir_str_t *ret);
/* The header lines as the client sent them, by index from 0; false at the end. */
bool weir_request_header_at(weir_request_t *request, size_t index, weir_str_t *ret_name,
                            weir_str_t *ret_value);
/* Replaces all values of a header sent upstream; value.data NULL removes it. */
int weir_request_set_header(weir_request_t *request, weir_str_t name, weir_str_t value);
/* The nth value of a query argument, decoded. `ret` has data NULL for "?name". */
bool weir_request_argument(weir_request_t *request, weir_str_t name, size_t nth, weir_str_t *ret);
/* The arguments in their order, decoded; likewise. */
bool weir_request_argument_at(weir_request_t *request, size_t index, weir_str_t *ret_name,
                              weir_str_t *ret_value);
/* Removes an argument from the query sent upstream. */
int weir_request_remove_argument(weir_request_t *request, weir_str_t name);
/* Starts reading the body: return WEIR_PHASE_AGAIN if it says WEIR_AGAIN. */
int weir_request_read_body(weir_request_t *request);
weir_str_t weir_request_body(weir_request_t *request);
/* Bytes of the body, once it is there; also of one that is too large to be looked at. */
int64_t weir_request_body_size(weir_request_t *request);
int weir_request_set_body(weir_request_t *request, weir_str_t body);
/* Memory that lives as long as the request. NULL when short. */
void *weir_request_alloc(weir_request_t *request, size_t bytes);
int64_t weir_request_now_s(weir_request_t *request);
int64_t weir_request_now_ms(weir_request_t *request); /* the same with milliseconds */
/* The client's address as text, without a port: whom trusted_ips let speak for others
 * may have said it. "unix:" over a Unix socket. */
weir_str_t weir_request_client_address(weir_request_t *request);
/* Where the request came in. */
typedef struct weir_connection {
    weir_str_t server_address; /* ours, without the port; lives as long as the request */
    uint64_t serial;           /* of the connection, in this worker */
    uint64_t requests;         /* of this connection, with this one */
} weir_connection_t;
int weir_request_connection(weir_request_t *request,
                            weir_connection_t *ret);      /* or WEIR_NO_MEMORY */
const char *weir_request_id(weir_request_t *request);     /* 32 hexadecimal digits */
weir_str_t weir_request_node_id(weir_request_t *request); /* text of a UUID */
/* JSON text in the request's memory; {NULL,0} when that is short, or `value` is NULL. */
weir_str_t weir_request_print_json(weir_request_t *request, const weir_json_t *value);

/* Whether a regular expression (PCRE2) matches from the beginning of a text: WEIR_OK, or
 * WEIR_NOT_FOUND. It is compiled once in a worker, and kept by its text as long as it is used;
 * one that needs too long does not match. WEIR_INVALID: it is none, or longer than 16 KiB. */
int weir_regex_match(weir_str_t regex, weir_str_t text);

/* A new random UUID (version 4) as text, terminated. WEIR_IO: no randomness. */
enum { WEIR_UUID_TEXT_BYTES = 37 };
int weir_random_uuid(char ret[WEIR_UUID_TEXT_BYTES]);

/* Identity. `key`: the credential's key text. Copies what it returns. */
typedef struct weir_identity {
    char credential_id[37];
    char consumer_id[37];
    weir_str_t username, custom_id; /* data NULL if unset */
    /* Another number whenever the entity has changed; none is given twice. */
    uint64_t credential_version, consumer_version;
    int64_t expires_s; /* of the credential: unix seconds, 0: never */
} weir_identity_t;
/* WEIR_NOT_FOUND: no such credential (or it has expired, or has no consumer). */
int weir_request_find_credential(weir_request_t *request, const char *entity, weir_str_t key,
                                 weir_identity_t *ret);
int weir_request_find_consumer(weir_request_t *request, weir_str_t id_or_name,
                               weir_identity_t *ret);
/* Makes it the request's consumer: headers for the upstream (plugins.md, "on
 * success"), consumer-scoped plugins. `anonymous`: no credential. */
int weir_request_authenticate(weir_request_t *request, const weir_identity_t *identity,
                              bool anonymous);
bool weir_request_is_authenticated(weir_request_t *request); /* by a credential */

/* Ids as text, in the request's memory; {NULL,0}: no route was matched, it has no service,
 * nobody is known (yet), or not by a credential. */
weir_str_t weir_request_route_id(weir_request_t *request);
weir_str_t weir_request_service_id(weir_request_t *request);
weir_str_t weir_request_consumer_id(weir_request_t *request);
weir_str_t weir_request_credential_id(weir_request_t *request);

/* What the instance whose phase runs is bound to: ids as text, of zeros where it is not. */
typedef struct weir_scope {
    char route[37], service[37], consumer[37];
} weir_scope_t;
void weir_request_scope(weir_request_t *request, weir_scope_t *ret);

/* The matched route and service as JSON text, for `echo`; {NULL,0} if none. */
weir_str_t weir_request_route_json(weir_request_t *request);
weir_str_t weir_request_service_json(weir_request_t *request);

/* -- phases: what a worker remembers (docs/plugins.md) ------------------------------
 *
 * Values of a plugin's own, under keys of its own: no other plugin sees them, and each
 * worker has its own. A value is found only as long as nothing has changed of the types
 * of entities that it was made from: not by a request that came in after the change was
 * committed here, be it a creation (so that nothing is there can be remembered, too), a
 * change or a deletion. That costs a comparison of numbers and no look into the
 * configuration. Nothing is kept for certain: the cache is bounded
 * (plugin_cache_size), and what was not used for longest goes. */

/* A set of entity types by their names, with spaces between ("consumers routes"; of the
 * plugins' own configurations: "plugins"). Names that this build does not know stand for
 * every type. */
uint64_t weir_entity_types(const char *names);

typedef struct weir_cached {
    weir_str_t value;        /* lives until the phase returns, or the next weir_cache_ call */
    uint64_t types, changed; /* for weir_cache_put() */
} weir_cached_t;

/* WEIR_NOT_FOUND: look into the configuration now, and hand the result over with `ret`,
 * which says of which moment it is at the latest: it is not found if a change came in
 * between. WEIR_IO: the configuration cannot be read. */
int weir_cache_get(weir_request_t *request, weir_str_t key, uint64_t types, weir_cached_t *ret);
/* `missed`: what weir_cache_get() left for the same key. until_s: unix seconds; at that
 * time what was true ends by itself (weir_identity_t.expires_s); 0: never. Copies. */
void weir_cache_put(weir_request_t *request, weir_str_t key, const weir_cached_t *missed,
                    weir_str_t value, int64_t until_s);

/* -- phases: what all workers count ----------------------------------------------------
 *
 * Adds to a plugin's own counter under `key` and says what that makes, as one step among
 * all workers. Windows are fixed: of window_s seconds, from multiples of it in unix time.
 * Neither a change of the configuration nor a reload resets a counter; a start does.
 * amount 0 asks only. WEIR_FULL: not counted, plugin_counters_size is too small for the
 * windows that are not over; the plugin says what then happens. WEIR_INVALID: a window of
 * less than a second or more than ten years. WEIR_UNSUPPORTED: plugin_counters_size is 0. */
int weir_counter_add(weir_request_t *request, weir_str_t key, int64_t window_s, uint64_t amount,
                     uint64_t *ret);

/* One of the windows in which a request counts. */
typedef struct weir_window {
    int64_t length_s; /* tells the counters of one key apart: of a month, any one number */
    int64_t ends_s;   /* unix seconds, of the window that it is now */
    uint64_t limit;   /* that many in the window, no more */
    uint64_t count;   /* set: what it was before this request */
} weir_window_t;
enum { WEIR_WINDOWS_MAX = 16 };

/* Counts one request in all of the windows of `key`, or, if one of them has reached its
 * limit, in none, as one step among all workers: of any number of requests at once exactly
 * `limit` are counted. These are the same counters as those of weir_counter_add(), which
 * see for their life and for the errors: with one nothing was counted. WEIR_FULL also adds
 * to the metric weir_plugin_counters_full_total. WEIR_INVALID: also more than
 * WEIR_WINDOWS_MAX, or a window that is over. *ret_counted: whether it was counted. */
int weir_counter_take(weir_request_t *request, weir_str_t key, weir_window_t *windows, size_t count,
                      bool *ret_counted);

/* Replaces all values of a header of the answer, in header_filter whoever gave it;
 * value.data NULL removes it. Not for headers that frame the message (Content-Length,
 * Transfer-Encoding, Connection) and not for Content-Type: WEIR_INVALID. */
int weir_request_set_answer_header(weir_request_t *request, weir_str_t name, weir_str_t value);

/* weir_request_answer_header: a line beside those that are there. The others end the
 * request. weir_request_answer: body as is; {NULL,0} for content_type:
 * without that header; {NULL,0} for body: none given, so the server fills in what
 * the status calls for (plugins 1.5); to a gRPC client the member `message` of a
 * JSON body goes as grpc-message. weir_request_fail: the error body of routing
 * 8.2 in the form that the client accepts; {NULL,0} for message: that of the status. */
int weir_request_answer_header(weir_request_t *request, weir_str_t name, weir_str_t value);
int weir_request_answer(weir_request_t *request, int status, weir_str_t content_type,
                        weir_str_t body);
int weir_request_fail(weir_request_t *request, int status, weir_str_t message);

#endif
