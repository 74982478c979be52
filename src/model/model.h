/* model.h -- what an entity is: schemas, validation, defaults, references.
 *
 * Everything is decided by tables (entities*.c and the plugins' schema.c), read
 * by one engine. Knows no storage and no network: what needs either is an
 * argument. Texts of errors are those of the incumbent (admin-api 6). */
#ifndef WEIR_MODEL_H
#define WEIR_MODEL_H

#include "base/base.h"
#include "base/buffer.h"
#include "base/uuid.h"
#include "weir/json.h"
#include "weir/schema.h"

/* Stored in databases and images: numbers never change their meaning. */
typedef enum weir_entity_type {
    WEIR_ENTITY_NONE = 0,
    WEIR_WORKSPACES = 1,
    WEIR_PARAMETERS = 2,
    WEIR_CONSUMERS = 3,
    WEIR_CERTIFICATES = 4,
    WEIR_CA_CERTIFICATES = 5,
    WEIR_SERVICES = 6,
    WEIR_ROUTES = 7,
    WEIR_SNIS = 8,
    WEIR_UPSTREAMS = 9,
    WEIR_TARGETS = 10,
    WEIR_PLUGINS = 11,
    WEIR_KEYAUTH_CREDENTIALS = 12,
    WEIR_BASICAUTH_CREDENTIALS = 13,
    WEIR_HMACAUTH_CREDENTIALS = 14,
    WEIR_JWT_SECRETS = 15,
    WEIR_ACLS = 16,
    WEIR_OAUTH2_CREDENTIALS = 17,
    WEIR_OAUTH2_AUTHORIZATION_CODES = 18,
    WEIR_OAUTH2_TOKENS = 19,
    WEIR_VAULTS = 20,
    WEIR_KEY_SETS = 21,
    WEIR_KEYS = 22,
    WEIR_ENTITY_TYPES /* one past the last */
} weir_entity_type_t;

typedef struct weir_schema {
    weir_entity_type_t type;
    const char *name;             /* "keyauth_credentials" */
    const char *admin_name;       /* "key-auths"; NULL: no Admin API of its own */
    const char *nested_name;      /* "key-auth": below a parent; NULL: as admin_name */
    const char *plugin;           /* whose credentials these are; NULL: of the core */
    const char *endpoint_key;     /* unique field usable in a path; NULL: only the id */
    const char *primary_key;      /* "id"; "key" for parameters */
    const char *const *cache_key; /* fields of the composite unique key, NULL-ended; or NULL */
    const weir_field_t *fields;   /* in the order in which they are printed */
    const weir_check_t *checks;   /* entity checks; or NULL */
    bool workspaceable;
    bool ttl;
} weir_schema_t;

const weir_schema_t *weir_schema(weir_entity_type_t type); /* NULL for no such type */
const weir_schema_t *weir_schema_named(weir_str_t name);   /* by entity name */
const weir_field_t *weir_schema_field(const weir_schema_t *schema, weir_str_t name);
/* Types in the order of a full dump: what is referred to comes first. */
const weir_entity_type_t *weir_schema_order(size_t *ret_count);

/* The plugins of this build, sorted by name. NULL for one that it lacks. */
const weir_plugin_schema_t *weir_plugin_schema(weir_str_t name);
const weir_plugin_schema_t *const *weir_plugin_schemas(size_t *ret_count);

/* What a vault of this type adds to the schema of vaults; NULL: there is none. */
const weir_plugin_schema_t *weir_vault_schema(weir_str_t name);

/* The id by which an entity is stored. `parameters` have no UUID: theirs is the
 * version 5 UUID of their key, so that every entity has 16 bytes of identity. */
int weir_entity_id(const weir_schema_t *schema, const weir_json_t *entity, weir_uuid_t *ret);

/* Why a write is refused (admin-api 6.2), ready to be an answer. */
typedef struct weir_problem {
    int code;         /* 2 schema violation, 10 invalid unique, ...; 0: none */
    const char *name; /* "schema violation": static */
    weir_buffer_t message;
    weir_json_t *fields; /* ours; NULL if the kind has none; of code 11 the `options` */
} weir_problem_t;

void weir_problem_init(weir_problem_t *problem);
void weir_problem_release(weir_problem_t *problem);
/* Takes `fields` over (NULL is fine). Returns WEIR_INVALID, or WEIR_NO_MEMORY. */
int weir_problem_set(weir_problem_t *problem, int code, const char *name, weir_json_t *fields,
                     const char *format, ...) WEIR_PRINTF(5, 6);
/* Code 2 with the message composed from `fields` as admin-api 6.3 says. */
int weir_problem_schema_violation(weir_problem_t *problem, weir_json_t *fields);
/* A key as the incumbent's texts show one: {id="x",ws_id=null}, parts sorted by name
 * (admin-api 6.3). Of an object's parts the first 16. */
void weir_problem_print_key(const weir_json_t *key, weir_buffer_t *out);

/* What a write needs to know of the world outside. */
typedef struct weir_model_env {
    double now; /* unix seconds with millisecond fraction */
    /* Fills `text` with `len` random letters and digits. */
    int (*random_text)(void *context, char *text, size_t len);
    /* Turns {"name":"x"} into the id of that entity. WEIR_NOT_FOUND if there is
     * none. NULL: names are not resolved ("missing primary key"). */
    int (*resolve)(void *context, const weir_schema_t *schema, const char *unique_field,
                   weir_str_t value, weir_uuid_t *ret, weir_error_t *err);
    void *context;
    bool full_errors; /* reserved for declarative input; false */
} weir_model_env_t;

typedef enum weir_write {
    WEIR_INSERT, /* POST: defaults, auto values */
    WEIR_UPSERT, /* PUT: a full replacement; `current` gives the id, if there is one */
    WEIR_UPDATE, /* PATCH: `body` over `current`, the result validated whole */
} weir_write_t;

/* One write, from the body a client sent to the entity to be stored: shorthand
 * fields, auto values, defaults, foreign names, validation, entity checks,
 * transformations (admin-api 7, "order of operations"). `body` is not changed.
 * UPSERT: with `current` its identity is kept, and an id in `body` only judged;
 * without, the caller puts the id or key of the path into `body`, unless the body
 * has an id that is no UUID: that one is left there to be refused.
 * On WEIR_OK *ret is the complete entity, fields in schema order, the caller's
 * to free; pseudo fields that are not stored (certificates.snis) are left out.
 * `ttl` of a ttl entity is stored as the absolute expiry in unix seconds.
 * On WEIR_INVALID `problem` says what is wrong. */
int weir_model_write(const weir_schema_t *schema, weir_write_t kind, const weir_json_t *body,
                     const weir_json_t *current, const weir_model_env_t *env, weir_json_t **ret,
                     weir_problem_t *problem);

/* A data plane's view: a row that some control plane sent. Missing fields get
 * their defaults, unknown null members are dropped, unknown others refused
 * (sync-protocol C.4, C.7 step 4); then validated like a write. *ret is the
 * completed row, the caller's to free. */
int weir_model_accept(const weir_schema_t *schema, const weir_json_t *row, double now,
                      weir_json_t **ret, weir_problem_t *problem);

/* A key from a path ("services/NAME") checked as the field itself (admin-api 3.4):
 * code 10 when it can't be one. */
int weir_model_check_key(const weir_schema_t *schema, weir_str_t value, weir_problem_t *problem);

/* What a form sends is text: turns `value` into what `field` wants, where it
 * fits (admin-api 3.3). Changes `body` in place. */
int weir_model_infer(const weir_schema_t *schema, weir_json_t *body);

/* What a store or an image must index. Each calls back for every hit and stops
 * at the first result that is not WEIR_OK, returning it.
 * Unique keys: `name` is the field, or "cache_key" for the composite one. A null
 * part of a single key is no key. `value` lives during the call. */
int weir_model_keys(const weir_schema_t *schema, const weir_json_t *entity,
                    int (*key)(void *context, const char *name, weir_str_t value), void *context);
/* Foreign fields that are set. on_delete says what happens to `entity`. */
int weir_model_references(const weir_schema_t *schema, const weir_json_t *entity,
                          int (*reference)(void *context, const weir_field_t *field,
                                           const weir_schema_t *to, const weir_uuid_t *id),
                          void *context);

/* The answer of GET /schemas/NAME, of its plugin form (also of a vault's subschema), and
 * of a plugin's config alone (admin-api 9.10). NULL when memory is short. */
weir_json_t *weir_schema_describe(const weir_schema_t *schema);
weir_json_t *weir_plugin_schema_describe(const weir_plugin_schema_t *plugin, bool config_only);

#endif
