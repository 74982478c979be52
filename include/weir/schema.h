/* schema.h -- the language of schema tables: what a field may hold.
 *
 * Entities (src/model/entities*.c) and plugin configurations
 * (src/plugins/NAME/schema.c) are constant tables of these; one engine
 * validates, completes and describes them. Tables end with an entry of zeros.
 * Part of the public plugin ABI. */
#ifndef WEIR_SCHEMA_H
#define WEIR_SCHEMA_H

#include "weir/json.h"
#include "weir/types.h"

typedef enum weir_type {
    WEIR_TYPE_NONE = 0,
    WEIR_TYPE_STRING,
    WEIR_TYPE_INTEGER, /* a number without fraction */
    WEIR_TYPE_NUMBER,
    WEIR_TYPE_BOOLEAN,
    WEIR_TYPE_ARRAY,
    WEIR_TYPE_SET, /* an array; later duplicates are dropped */
    WEIR_TYPE_MAP,
    WEIR_TYPE_RECORD,
    WEIR_TYPE_FOREIGN, /* {"id": ...} of another entity */
} weir_type_t;

typedef enum weir_field_flag {
    WEIR_REQUIRED = 1,            /* null is refused */
    WEIR_UNIQUE = 2,              /* no two entities have the same value */
    WEIR_UNIQUE_ACROSS_WS = 4,    /* not even in different workspaces */
    WEIR_AUTO = 8,                /* made by the control plane if absent */
    WEIR_UUID = 16,               /* text of a UUID */
    WEIR_TIMESTAMP = 32,          /* unix time, greater than 0 */
    WEIR_TRANSIENT = 64,          /* accepted and shown, not stored */
    WEIR_REFERENCEABLE = 128,     /* {vault://...} skips further checks */
    WEIR_ENCRYPTED = 256,         /* shown in descriptions only */
    WEIR_ABSTRACT = 512,          /* the subschema says what it is */
    WEIR_EMPTY_ALLOWED = 1024,    /* a string of length 0 is fine */
    WEIR_MUST_BE_NULL = 2048,     /* "eq": null; `error` replaces the text */
    WEIR_MUST_NOT_BE_TRUE = 4096, /* "ne": true; `error` replaces the text */
    WEIR_DEFAULT_NULL = 8192,     /* has an explicit default, which is null */
    WEIR_HAS_RANGE = 16384,       /* min and max count ("between") */
    WEIR_ABOVE_MIN = 32768,       /* more than min ("gt") */
    WEIR_NEWER = 65536,           /* of versions after ours: known if a control plane sends it */
} weir_field_flag_t;

typedef enum weir_on_delete {
    WEIR_ON_DELETE_RESTRICT = 0, /* the referred entity cannot be deleted */
    WEIR_ON_DELETE_CASCADE,      /* this entity goes with it */
} weir_on_delete_t;

/* A regular expression (PCRE2, byte semantics) and the text of its failure;
 * NULL: "invalid value: VALUE". */
typedef struct weir_pattern {
    const char *regex;
    const char *error;
} weir_pattern_t;

/* A name that a member of a plugin's configuration had before ("shorthand_fields"). It is
 * accepted, says the same as the member, and is shown beside it; both may be given, if
 * they say the same. */
typedef struct weir_older_name {
    const char *name;
    const char *path; /* of the member in the record: "redis.host" */
    weir_type_t type;
    unsigned flags;
    const char *removed_in; /* version of the incumbent */
} weir_older_name_t;

typedef struct weir_field weir_field_t;
typedef struct weir_check weir_check_t;

struct weir_field {
    const char *name;
    weir_type_t type;
    unsigned flags;      /* weir_field_flag_t */
    const char *initial; /* the default as JSON; NULL: none */
    const char *error;   /* instead of the default text of MUST_ flags and match_any */
    const char *one_of;  /* allowed values, separated by spaces */
    const char *not_one_of;
    double min, max;
    int len_min, len_max; /* 0: not given */
    const char *starts_with;
    const weir_pattern_t *match;      /* all of these, each with its text */
    const weir_pattern_t *match_none; /* none of these */
    const weir_pattern_t *match_any;  /* one of these; the text is the field's `error` */
    const char *const *exclusive;     /* sets of which only one may occur: "http https", ... */
    const weir_field_t *of;           /* of array and set: the element; of a map: the value */
    const weir_field_t *keys;         /* of a map */
    const weir_field_t *fields;       /* of a record */
    const weir_check_t *checks;       /* of a record */
    const weir_older_name_t *older;   /* of a plugin's `config` */
    const char *to;                   /* of a foreign field: entity name */
    weir_on_delete_t on_delete;
    /* Further rules in code. WEIR_INVALID: err->reason is the text. */
    int (*check)(weir_str_t value, weir_error_t *err);
    /* The same for a record as a whole, once its members are fine. */
    int (*check_record)(const weir_json_t *value, weir_error_t *err);
    /* JSON object: members that /schemas shows besides what follows from the
     * above, for rules that are code. */
    const char *describe;
};

typedef enum weir_check_kind {
    WEIR_CHECK_NONE = 0,
    WEIR_CHECK_AT_LEAST_ONE_OF,
    WEIR_CHECK_ONLY_ONE_OF,
    WEIR_CHECK_MUTUALLY_REQUIRED,
    WEIR_CHECK_DISTINCT,
    WEIR_CHECK_CONDITIONAL,
    WEIR_CHECK_AT_LEAST_ONE_WHEN, /* "conditional_at_least_one_of" */
    WEIR_CHECK_CUSTOM,
    WEIR_CHECK_MUTUALLY_EXCLUSIVE, /* one of the fields, or none */
} weir_check_kind_t;

/* A rule over several fields. `fields`: names separated by spaces. */
struct weir_check {
    weir_check_kind_t kind;
    const char *fields;
    /* Names look into records: "config.redis.host".
     * CONDITIONAL: if `if_field` is one of `if_one_of` (or none of
     * `if_not_one_of`; of a set: every element; with `if_null` also if it is null), then
     * `then_field` must be ...
     * AT_LEAST_ONE_WHEN: if the set `if_field` contains one of `if_one_of`, and
     * none of `if_not_one_of`, one of `fields` must be given. */
    const char *if_field, *if_one_of, *if_not_one_of;
    const char *then_field, *then_one_of;
    bool if_null, then_null, then_required, then_empty;
    int (*then_check)(weir_str_t value, weir_error_t *err); /* as `check` of a field */
    const char *error;                                      /* %s: the quoted list of fields */
    /* CUSTOM: skipped while one of `fields` is wrong or a vault reference.
     * NULL: only described. WEIR_INVALID: err->field (or "@entity" if empty)
     * and err->reason. */
    int (*custom)(const weir_json_t *entity, int64_t now_s, weir_error_t *err);
    const char *describe; /* JSON: what /schemas shows; NULL: follows from the above */
};

/* What a plugin adds to the schema of plugin entities. */
typedef struct weir_plugin_schema {
    const char *name; /* "key-auth" */
    int priority;     /* the larger runs first */
    /* Specialise fields of the plugins entity: `config` always; `protocols`,
     * and `consumer`, `service`, `route` with WEIR_MUST_BE_NULL, as needed. */
    const weir_field_t *fields;
    const weir_check_t *checks;
} weir_plugin_schema_t;

/* Shared pieces of plugin schemas. */
#define WEIR_PLUGIN_NO_CONSUMER                        \
    {                                                  \
        .name = "consumer", .flags = WEIR_MUST_BE_NULL \
    }
#define WEIR_PLUGIN_NO_SERVICE                        \
    {                                                 \
        .name = "service", .flags = WEIR_MUST_BE_NULL \
    }
#define WEIR_PLUGIN_NO_ROUTE                        \
    {                                               \
        .name = "route", .flags = WEIR_MUST_BE_NULL \
    }
extern const weir_field_t weir_element_http_protocol; /* grpc, grpcs, http, https */
#define WEIR_PLUGIN_PROTOCOLS_HTTP                                                               \
    {                                                                                            \
        .name = "protocols", .type = WEIR_TYPE_SET, .flags = WEIR_REQUIRED,                      \
        .initial = "[\"grpc\",\"grpcs\",\"http\",\"https\"]", .of = &weir_element_http_protocol, \
    }
/* "allowed characters are A-Z, a-z, 0-9, '_', and '-'" */
int weir_check_header_name(weir_str_t value, weir_error_t *err);
int weir_check_host(weir_str_t value, weir_error_t *err); /* name or address, no port */
int weir_check_sni(weir_str_t value, weir_error_t *err);  /* name only */
int weir_check_ip_or_cidr(weir_str_t value, weir_error_t *err);
int weir_check_any_or_regex(weir_str_t value, weir_error_t *err); /* "*", or PCRE2 takes it */
int weir_check_path(weir_str_t value, weir_error_t *err);         /* the characters of RFC 3986 */

#endif
