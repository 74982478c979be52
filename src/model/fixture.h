/* fixture.h -- what the tests of this room share: JSON from text, a world with
 * a fixed clock. Included by *_test.c, *_fuzz.c and *_bench.c only. */
#ifndef WEIR_MODEL_FIXTURE_H
#define WEIR_MODEL_FIXTURE_H

#include "base/json.h"
#include "model/model.h"

#include <stdlib.h>

#define FIXTURE_NOW 1700000000.123

/* For one test at a time; NULL for text that is no JSON. */
static inline weir_json_t *fixture_json(const char *text)
{
    weir_json_t *value = NULL;
    return text != NULL && weir_json_parse(weir_str(text), &value, NULL) == WEIR_OK ? value : NULL;
}

static inline int fixture_random(void *context, char *text, size_t len)
{
    (void)context;
    memset(text, 'r', len);
    return WEIR_OK;
}

/* Knows one entity of every type, named "there". */
static inline int fixture_resolve(void *context, const weir_schema_t *schema,
                                  const char *unique_field, weir_str_t value, weir_uuid_t *ret,
                                  weir_error_t *err)
{
    (void)context, (void)schema, (void)unique_field, (void)err;
    if (!weir_str_is(value, "there"))
        return WEIR_NOT_FOUND;
    return weir_uuid_parse(WEIR_STR("00000000-0000-4000-8000-0000000000aa"), ret);
}

static inline weir_model_env_t fixture_env(void)
{
    return (weir_model_env_t){
        .now = FIXTURE_NOW,
        .random_text = fixture_random,
        .resolve = fixture_resolve,
    };
}

#endif
