/* internal.h -- one request on its way through this room.
 *
 * handle.c takes it in, paths.c says who answers, a handler answers. Handlers
 * return WEIR_OK or ANSWERED when they have put an answer into the response;
 * anything else is a fault that handle.c turns into a 500. */
#ifndef WEIR_ADMIN_INTERNAL_H
#define WEIR_ADMIN_INTERNAL_H

#include "admin/admin.h"

#include "base/arena.h"
#include "base/json.h"

#include <pthread.h>
#include <stdatomic.h>

/* "The answer is given, stop here": what the answer_* functions return, so that
 * `return answer_message(...)` leaves every layer. */
enum { ANSWERED = WEIR_INVALID };

enum {
    ARGUMENTS_MAX = 1000,
    PATH_SEGMENTS_MAX = 8,
    PATH_PARAMETERS_MAX = 3,
    REPEATS_MAX = 64, /* of a write whose row others keep changing */
    RETRY_LOCKS = 64, /* power of two */
    RESPONSE_HEADERS_MAX = 12,
    PAGE_SIZE_DEFAULT = 100,
    PAGE_SIZE_MAX = 1000,
    SNIS_MAX = 10000, /* of one certificate in one request */
};

/* In alphabetical order: that is the order of Allow. */
typedef enum method {
    METHOD_DELETE = 1,
    METHOD_GET = 2,
    METHOD_HEAD = 4,
    METHOD_OPTIONS = 8,
    METHOD_PATCH = 16,
    METHOD_POST = 32,
    METHOD_PUT = 64,
    METHOD_OTHER = 128,
} method_t;

typedef struct call call_t;
typedef struct staging staging_t;
typedef int (*handler_t)(call_t *call);

typedef struct path {
    const char *pattern; /* "/services/{services}/routes": as /endpoints shows it */
    unsigned methods;    /* of method_t, without HEAD and OPTIONS */
    unsigned listed;     /* what OPTIONS says in addition */
    handler_t handle;
    handler_t before;            /* runs for every method, also OPTIONS; NULL: nothing */
    const weir_schema_t *schema; /* the entity that is answered with */
    const weir_schema_t *parent; /* nested: whose children; foreign: who refers */
    const weir_field_t *field;   /* the reference between the two */
    bool stores;                 /* its writes go to the store: they have a version */
    /* Set by paths.c. */
    weir_str_t segments[PATH_SEGMENTS_MAX]; /* of a parameter: with its braces */
    size_t segment_count;
    size_t parameter_count;
} path_t;

struct weir_admin {
    weir_admin_options_t options;
    weir_arena_t arena; /* patterns, origins */
    path_t *paths;      /* fewer parameters first */
    size_t path_count, path_capacity;
    bool *plugin_enabled; /* in the order of weir_plugin_schemas() */
    weir_str_t *origins;  /* of admin_gui_url */
    size_t origin_count;
    weir_str_t server; /* value of the Server header; data NULL: none */
    bool show_latency;
    pthread_mutex_t retry_locks[RETRY_LOCKS];
    atomic_uint repeating[RETRY_LOCKS]; /* requests that hold the lock or want it */
    pthread_rwlock_t writers;           /* every write beside others; a transaction also alone */
    pthread_mutex_t log_level_lock;
    int log_level, log_level_initial;
    int64_t log_level_until_ms; /* 0: for good */
};

/* One argument of a query or a form. */
typedef struct argument {
    weir_str_t name, value; /* decoded; value.data NULL: "name" without "=" */
} argument_t;

typedef struct arguments {
    argument_t *list;
    size_t count;
} arguments_t;

struct call {
    weir_admin_t *admin;
    const weir_admin_request_t *request;
    weir_admin_response_t *response;
    weir_error_t *err;
    weir_arena_t *arena; /* the response's */
    const path_t *path;
    method_t method;
    weir_str_t raw[PATH_PARAMETERS_MAX];        /* as written */
    weir_str_t parameters[PATH_PARAMETERS_MAX]; /* decoded */
    arguments_t query;
    weir_json_t *body; /* ours; an object, for POST, PUT and PATCH */
    bool is_form;
    double now;
    staging_t *staging; /* of a transaction's operation; NULL: writes are stored at once */
};

/* -- handle.c: what a transaction does as a request does ------------------------------ */
weir_str_t request_header(const weir_admin_request_t *request, const char *name);
/* Decodes call->raw into call->parameters. */
int decode_parameters(call_t *call);

/* -- target.c: paths and queries ------------------------------------------------ */
/* Percent-decoded copy, '+' as a blank. data NULL when memory is short. */
weir_str_t decode(weir_arena_t *arena, weir_str_t text);
/* Appends `text` percent-encoded but for letters, digits and "-_.!~*'()". */
void encode(weir_buffer_t *out, weir_str_t text);
/* WEIR_TOO_LARGE: more than ARGUMENTS_MAX. */
int arguments_parse(weir_arena_t *arena, weir_str_t text, arguments_t *ret);
/* The first of this name. */
const argument_t *arguments_find(const arguments_t *arguments, const char *name);
size_t arguments_count(const arguments_t *arguments, const char *name);

/* -- form.c, multipart.c: bodies of forms ------------------------------------------ */
/* Names expanded to objects and arrays (admin-api 3.3). `last_wins`: a repeated
 * name replaces what was there, instead of making a list. The caller frees. */
weir_json_t *form_expand(const arguments_t *arguments, bool last_wins);
int multipart_parse(weir_arena_t *arena, weir_str_t content_type, weir_str_t body,
                    arguments_t *ret);

/* -- body.c -------------------------------------------------------------------------- */
/* Whether the content type will do (admin-api 3.1); answers with 415 if not. */
int body_gate(call_t *call);
/* Fills call->body. */
int body_parse(call_t *call);

/* -- answer.c ------------------------------------------------------------------------ */
/* name and value must live as long as the response. */
void answer_header(call_t *call, const char *name, weir_str_t value);
int answer_empty(call_t *call, int status);
int answer_message(call_t *call, int status, const char *format, ...) WEIR_PRINTF(3, 4);
int answer_page(call_t *call, int status); /* the HTTP layer's HTML */
int answer_text(call_t *call, int status, weir_str_t text);
int answer_not_found(call_t *call);
/* The structured error. Releases `problem`. */
int answer_problem(call_t *call, weir_problem_t *problem);
/* Turns a result of the model into an answer or a fault. */
int answer_refusal(call_t *call, int rc, weir_problem_t *problem);
/* Starts a JSON answer whose body the caller writes. */
weir_buffer_t *answer_json(call_t *call, int status);
int answer_value(call_t *call, int status, const weir_json_t *value);
/* A code 2 on one field. */
int answer_violation(call_t *call, const char *field, const char *format, ...) WEIR_PRINTF(3, 4);

/* -- entity.c: rows, keys, writes ------------------------------------------------------ */
typedef struct located {
    const weir_schema_t *schema;
    bool by_id;
    weir_uuid_t id;  /* if by_id or there */
    weir_str_t text; /* as the client wrote it, decoded */
    bool foreign;    /* reached through a reference: a certificate shows no snis */
    bool there;
    weir_row_t row;
    weir_json_t *entity; /* parsed by located_parse(); the owner releases */
} located_t;

static inline void weir_located_cleanup(located_t *located)
{
    weir_json_free(located->entity);
}

/* Finds the row that a path parameter names (admin-api 3.4). A key that can't be
 * one is answered. ret->there says whether there is one. */
int locate(call_t *call, const weir_schema_t *schema, weir_str_t text, located_t *ret);
int locate_id(call_t *call, const weir_schema_t *schema, const weir_uuid_t *id, located_t *ret);
/* Parses the row once. */
int located_parse(call_t *call, located_t *at);
/* The code 6 of PATCH. */
int answer_missing(call_t *call, const located_t *at);

weir_model_env_t model_env(call_t *call);
/* Runs the model; a refusal is answered. *ret is the caller's. */
int model_write(call_t *call, const weir_schema_t *schema, weir_write_t kind,
                const weir_json_t *body, const weir_json_t *current, weir_json_t **ret);
/* The code 3 that says that the id is taken. */
int answer_primary(call_t *call, const weir_store_op_t *op);

/* -- write.c ------------------------------------------------------------------------------ */
/* Runs the store, or stages for it. WEIR_AGAIN: somebody changed the row in between,
 * start over. Other refusals are answered. */
int store_write(call_t *call, const weir_store_op_t *ops, size_t count,
                weir_store_result_t *result);
/* Runs the store and notes what the host needs to know. WEIR_CONFLICT: refused. */
int store_commit(call_t *call, const weir_store_op_t *ops, size_t count,
                 weir_store_result_t *result);
/* Answers a refusal of `op`. WEIR_AGAIN: the row has changed. */
int answer_refused_op(call_t *call, const weir_store_op_t *op, const weir_store_result_t *result);
/* Calls `attempt` until it does not return WEIR_AGAIN. `about`: what the path names. */
int repeat(call_t *call, weir_str_t about, int (*attempt)(call_t *call));

/* -- entity.c: showing --------------------------------------------------------------------- */
/* Appends the entity as answers show it: `text` is its stored document. `id` NULL:
 * without the snis of a certificate. */
int show_document(call_t *call, const weir_schema_t *schema, const weir_uuid_t *id, weir_str_t text,
                  weir_buffer_t *out);
int answer_row(call_t *call, int status, const weir_schema_t *schema, const weir_row_t *row);
/* The answer to a write: `entity` as the model made it. `id` NULL: see
 * located_t.foreign. */
int answer_written(call_t *call, int status, const weir_schema_t *schema, const weir_uuid_t *id,
                   const weir_json_t *entity);

/* The id that a foreign field of a parsed entity holds. WEIR_NOT_FOUND: null. */
int reference_of(const weir_json_t *entity, const char *field, weir_uuid_t *ret);
int set_reference(weir_json_t *body, const char *field, const weir_uuid_t *id);
int set_text(weir_json_t *body, const char *field, weir_str_t text);

/* -- staging.c: rows as this request sees them ----------------------------------------- */
/* As weir_store_get(), _find() and _list(), with what the transaction has written so
 * far. Of a list only children of a parent. */
int row_get(call_t *call, weir_entity_type_t type, const weir_uuid_t *id, weir_arena_t *arena,
            weir_row_t *ret);
int row_find(call_t *call, weir_entity_type_t type, const char *key, weir_str_t value,
             weir_arena_t *arena, weir_row_t *ret);
int row_list(call_t *call, const weir_store_query_t *query, weir_arena_t *arena, weir_rows_t *ret);
/* Sets call->staging, for about so many operations; its owner frees it. */
int staging_new(call_t *call, size_t operations);
void staging_free(staging_t *staging);
/* What is staged from now on belongs to this operation. */
void staging_begin(staging_t *staging, size_t operation);
/* In place of the store: nothing is refused but the deletion of what is referred to.
 * result->changed says what it would be. */
int staging_write(call_t *call, const weir_store_op_t *ops, size_t count,
                  weir_store_result_t *result);
const weir_store_op_t *staging_ops(const staging_t *staging, size_t *ret_count);
/* The operation that staged this op. */
size_t staging_operation(const staging_t *staging, size_t op);

/* -- transactions.c, wish.c, changes.c --------------------------------------------------- */
int handle_transactions(call_t *call);
/* What the request says about waiting; a bad word is answered. */
int wish_parse(call_t *call);
int handle_changes(call_t *call);
int handle_change(call_t *call);

/* -- crud.c: the generated paths ----------------------------------------------------- */
int handle_collection(call_t *call);
int handle_entity(call_t *call);
int handle_nested_collection(call_t *call);
int handle_nested_entity(call_t *call);
/* One attempt of the same, below repeat(). */
int attempt_nested(call_t *call);
int handle_foreign_entity(call_t *call);
/* Pieces that specials share. */
/* After a write was refused: the expired rows that still hold a key go away. WEIR_AGAIN
 * if there were any, else `rc`. */
int make_room(call_t *call, const weir_schema_t *schema, int rc, const weir_store_result_t *result);
int create(call_t *call, const weir_schema_t *schema);
/* The parent of a nested path. Missing: answered with 404. */
int parent_of(call_t *call, located_t *ret);
/* POST, PUT, PATCH, DELETE of one entity, one attempt each. */
int put_entity(call_t *call, located_t *at);
int patch_entity(call_t *call, located_t *at);
bool changes_id(const call_t *call, const located_t *at);
int delete_entity(call_t *call, located_t *at, uint64_t expected);

/* -- lists.c -------------------------------------------------------------------------- */
typedef struct page {
    bool cap_size; /* set by the caller: a larger size is cut, not refused */
    size_t size;
    weir_str_t size_text, tags_text; /* as given, decoded; data NULL: not given */
    weir_str_t *tags;
    size_t tag_count;
    bool tags_any;
    weir_str_t offset; /* data NULL: none */
} page_t;

/* size and offset; with `tags` also that filter. Bad ones are answered. */
int page_parse(call_t *call, bool tags, page_t *ret);
/* One page, children of `parent` (NULL: all). `path`: what "next" begins with. */
int list_rows(call_t *call, const weir_schema_t *schema, const located_t *parent,
              const char *parent_field, const page_t *page, weir_str_t path);
int list_entities(call_t *call, const weir_schema_t *schema, const located_t *parent);
/* A page of objects that have an `id`, sorted here. */
int list_values(call_t *call, const weir_json_t *list, const page_t *page, weir_str_t path);
int handle_tags(call_t *call);
int handle_tag(call_t *call);
/* Decodes an offset into the JSON array it holds; a bad one is answered. */
int offset_decode(call_t *call, weir_str_t offset, weir_json_t **ret);
void offset_encode(weir_buffer_t *out, weir_str_t json);
int answer_bad_offset(call_t *call, weir_str_t offset, const char *why);

/* -- certificates.c ------------------------------------------------------------------ */
int before_certificate(call_t *call);
/* As locate(), with the name of an SNI allowed. */
int locate_certificate(call_t *call, weir_str_t text, located_t *ret);
int handle_certificates(call_t *call);
int handle_certificate(call_t *call);
/* Appends `"snis":[...]`. */
int show_snis(call_t *call, const weir_uuid_t *certificate, weir_buffer_t *out);

/* -- consumers.c ------------------------------------------------------------------------ */
int handle_consumers(call_t *call);

/* -- acls.c ----------------------------------------------------------------------------- */
int before_acl(call_t *call);
int handle_acl(call_t *call); /* the group may be named by its name */

/* -- targets.c ------------------------------------------------------------------------- */
int handle_targets(call_t *call);
int handle_target(call_t *call);
int handle_targets_all(call_t *call);
int handle_health(call_t *call);
int handle_target_health(call_t *call);

/* -- plugins.c --------------------------------------------------------------------------- */
bool plugin_is_enabled(const weir_admin_t *admin, weir_str_t name);
/* Whether the credentials of a plugin have paths: unless the settings leave it out. */
bool credentials_are_offered(const weir_admin_t *admin, const char *plugin);
/* What must hold before the model looks at a plugin (admin-api 9.7). */
int check_plugin(call_t *call, weir_write_t kind, located_t *at);
/* PATCH without a name: the stored one joins the body; infers a form. */
int complete_plugin_patch(call_t *call, located_t *at);

/* -- schemas.c, node.c ----------------------------------------------------------------- */
int handle_schema(call_t *call);
int handle_plugin_schema(call_t *call);
int handle_plugin_schema_config(call_t *call);
int handle_vault_schema(call_t *call);
int handle_no_filter(call_t *call);
int handle_validate(call_t *call);
int handle_validate_plugin(call_t *call);
int handle_validate_vault(call_t *call);

int handle_node(call_t *call);
int handle_status(call_t *call);
int handle_dns(call_t *call);
int handle_timers(call_t *call);
int handle_endpoints(call_t *call);
int handle_enabled_plugins(call_t *call);
int handle_config(call_t *call);
int handle_cache(call_t *call);
int handle_cache_key(call_t *call);
int handle_log_level(call_t *call);
int handle_set_log_level(call_t *call);
int handle_data_planes(call_t *call);
int handle_cluster_status(call_t *call);
int handle_no_wasm(call_t *call);

/* -- paths.c -------------------------------------------------------------------------- */
int paths_build(weir_admin_t *admin, weir_error_t *err);
/* The path that `text` (raw, without query) is; fills call->raw. NULL: none. */
const path_t *paths_match(call_t *call, weir_str_t text);

#endif
