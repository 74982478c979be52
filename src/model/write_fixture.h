/* write_fixture.h -- what tests of writes share: stored, or refused with which words.
 * Included by *_test.c only. */
#ifndef WEIR_MODEL_WRITE_FIXTURE_H
#define WEIR_MODEL_WRITE_FIXTURE_H

#include "model/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#define ID  "00000000-0000-4000-8000-000000000001"
#define ID2 "00000000-0000-4000-8000-0000000000AB"

static inline int write_json(weir_entity_type_t type, weir_write_t write, const char *body_text,
                             const char *current_text, weir_json_t **ret, weir_problem_t *problem)
{
    weir_model_env_t env = fixture_env();
    weir_json_t *body = fixture_json(body_text);
    weir_json_t *current = fixture_json(current_text);
    assert_non_null(body);
    assert_true(current_text == NULL || current != NULL);
    weir_problem_init(problem);
    int rc = weir_model_write(weir_schema(type), write, body, current, &env, ret, problem);
    weir_json_free(body);
    weir_json_free(current);
    return rc;
}

static inline void refused(weir_entity_type_t type, weir_write_t write, const char *body,
                           const char *current, int code, const char *message, const char *fields)
{
    weir_problem_t problem;
    weir_json_t *entity = NULL;
    int rc = write_json(type, write, body, current, &entity, &problem);
    assert_int_equal(rc, WEIR_INVALID);
    assert_int_equal(problem.code, code);
    weir_buffer_byte(&problem.message, '\0');
    assert_string_equal(problem.message.data, message);
    weir_json_t *want = fixture_json(fields);
    assert_true(weir_json_equal(problem.fields, want));
    weir_json_free(want);
    weir_problem_release(&problem);
}

/* Each member of `expected` is in the entity; the caller looks at more. */
static inline weir_json_t *stored(weir_entity_type_t type, weir_write_t write, const char *body,
                                  const char *current, const char *expected)
{
    weir_problem_t problem;
    weir_json_t *entity = NULL;
    int rc = write_json(type, write, body, current, &entity, &problem);
    if (rc == WEIR_INVALID)
        print_error("%.*s\n", WEIR_STR_ARG(weir_buffer_str(&problem.message)));
    assert_int_equal(rc, WEIR_OK);
    weir_problem_release(&problem);
    weir_json_t *want = fixture_json(expected);
    assert_non_null(want);
    for (const weir_json_t *member = weir_json_first(want); member != NULL;
         member = weir_json_next(member))
        if (!weir_json_equal(weir_json_get(entity, weir_json_name(member)), member))
            fail_msg("%s differs", weir_json_name(member));
    weir_json_free(want);
    return entity;
}

#define STORED(...) weir_json_free(stored(__VA_ARGS__))

#endif
