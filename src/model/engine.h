/* engine.h -- the machine behind the schema tables, private to src/model. */
#ifndef WEIR_ENGINE_H
#define WEIR_ENGINE_H

#include "model/model.h"

/* Members that no table knows: more than these are neither kept nor listed, so
 * that a body of a million names costs a million steps and not their square. */
enum { WEIR_UNKNOWN_MAX = 256 };

/* One run over one entity. Memory that runs short is remembered in `failed`:
 * the functions below then go on with NULL, and the caller looks at the end. */
typedef struct weir_engine {
    const weir_schema_t *schema;
    const weir_field_t *sub_fields; /* of the subschema, or NULL */
    const weir_check_t *sub_checks;
    int64_t now_s;
    bool updating;  /* PATCH: entity checks say so */
    bool accepting; /* a control plane's: WEIR_NEWER fields are known */
    int failed;     /* WEIR_OK or WEIR_NO_MEMORY */
} weir_engine_t;

/* Members that stand for others (services.url, ...) become those, in place.
 * WEIR_INVALID: `problem` says why. */
int weir_engine_shorthands(weir_engine_t *engine, weir_write_t kind, weir_json_t *body,
                           weir_problem_t *problem);
/* Older names of members in a body (weir_older_name_t of engine->sub_fields) become the
 * members. Returns the errors object, or NULL. */
weir_json_t *weir_engine_take_older(weir_engine_t *engine, weir_json_t *body);
/* Takes them out of an entity as it is stored, and puts them into one that is to be. */
void weir_engine_drop_older(const weir_engine_t *engine, weir_json_t *entity);
int weir_engine_show_older(weir_engine_t *engine, weir_json_t *entity);
/* The algorithm of an upstream that a read shows, whatever was written. */
int weir_engine_upstream_algorithm(weir_json_t *entity);

/* Chooses the subschema of `entity` (routes by protocol, plugins and vaults by name).
 * Returns the errors object if there is none (`{"name": "plugin 'x' not ..."}`). */
weir_json_t *weir_engine_subschema(weir_engine_t *engine, const weir_json_t *entity);

/* The field as the subschema specialises it; `room` is where to put a mixture. */
const weir_field_t *weir_engine_field(const weir_engine_t *engine, const weir_field_t *field,
                                      weir_field_t *room);

/* Whether `record` may have the field, or has to have it to be complete. */
static inline bool weir_engine_knows(const weir_engine_t *engine, const weir_field_t *field,
                                     const weir_json_t *record)
{
    return (field->flags & WEIR_NEWER) == 0 ||
           (engine->accepting && weir_json_get(record, field->name) != NULL);
}

/* A new object with every field of the table in its order: what `object` has, or
 * the default. Members that the table lacks follow. Takes `object`. */
weir_json_t *weir_engine_complete(weir_engine_t *engine, const weir_field_t *fields,
                                  weir_json_t *object, bool top);
/* `patch` over `base`: records member by member, everything else replaced. */
int weir_engine_merge(weir_engine_t *engine, const weir_field_t *fields, weir_json_t *base,
                      const weir_json_t *patch, bool top);

/* NULL when `entity` is fine; else what is wrong, shaped as `fields` of an
 * answer. Normalises in place (sets lose duplicates, ids become lower case). */
weir_json_t *weir_engine_validate(weir_engine_t *engine, weir_json_t *entity);
/* The same for one field's value. */
weir_json_t *weir_engine_validate_field(weir_engine_t *engine, const weir_field_t *field,
                                        weir_json_t *value);
/* Entity checks: adds to `errors` (made if NULL). */
weir_json_t *weir_engine_check(weir_engine_t *engine, const weir_check_t *checks,
                               const weir_json_t *entity, weir_json_t *errors);

/* A JSON string; NULL (and engine->failed) when memory is short. */
weir_json_t *weir_engine_text(weir_engine_t *engine, const char *format, ...) WEIR_PRINTF(2, 3);
/* Sets errors[name], making the object if there is none. Takes `error`. */
weir_json_t *weir_engine_add(weir_engine_t *engine, weir_json_t *errors, const char *name,
                             weir_json_t *error);
/* Appends a text to errors["@entity"]. */
weir_json_t *weir_engine_add_entity(weir_engine_t *engine, weir_json_t *errors, const char *text);

/* Not null, not "", not empty (admin-api 7). */
bool weir_engine_nonempty(const weir_json_t *value);
/* Is `text` one of the words of `words` (separated by spaces)? */
bool weir_words_have(const char *words, weir_str_t text);

#endif
