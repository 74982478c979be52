/* key_auth.h -- what the files of this folder share: the record, and fields of
 * request bodies. */
#ifndef WEIR_KEY_AUTH_H
#define WEIR_KEY_AUTH_H

#include "weir/plugin.h"

/* -- the record: compile.c writes, phases.c reads, in this order ----------------
 *   number   where a key may be, and how it is treated: the flags below
 *   string   the WWW-Authenticate header
 *   string   the anonymous consumer, id or username; absent: none
 *   number   how many names follow
 *   strings  the names, in the order in which they are looked for */
enum {
    KEY_AUTH_IN_HEADER = 1,
    KEY_AUTH_IN_QUERY = 2,
    KEY_AUTH_IN_BODY = 4,
    KEY_AUTH_HIDE = 8,
    KEY_AUTH_ON_PREFLIGHT = 16,
};

extern const weir_plugin_schema_t weir_plugin_schema_key_auth; /* schema.c */
int key_auth_compile(const weir_json_t *config, weir_record_writer_t *out, weir_error_t *err);

/* -- bodies: body.c -------------------------------------------------------------- */
typedef enum key_auth_body_kind {
    KEY_AUTH_BODY_OTHER = 0, /* has no fields */
    KEY_AUTH_BODY_FORM,
    KEY_AUTH_BODY_JSON,
    KEY_AUTH_BODY_MULTIPART,
} key_auth_body_kind_t;

/* Borrows the text; close frees the rest. Zeroed: a body without fields. */
typedef struct key_auth_body {
    key_auth_body_kind_t kind;
    weir_str_t text;
    weir_str_t boundary; /* multipart */
    weir_json_t *json;   /* JSON */
} key_auth_body_t;

/* A text that is not what its type says has no fields. */
void key_auth_body_open(key_auth_body_t *body, weir_str_t content_type, weir_str_t text);
void key_auth_body_close(key_auth_body_t *body);

/* The field `name`, if it is a string. WEIR_NOT_FOUND: there is none, or it is a
 * flag, number, ...; WEIR_CONFLICT: several values (also a JSON array or object).
 * The value lives as long as the request, if the text of the body does. */
int key_auth_body_find(const key_auth_body_t *body, weir_request_t *request, weir_str_t name,
                       weir_str_t *ret);
/* The text without the field, every other byte as it was, in the request's memory.
 * WEIR_NOT_FOUND: it has no such field. */
int key_auth_body_without(const key_auth_body_t *body, weir_request_t *request, weir_str_t name,
                          weir_str_t *ret);

#endif
