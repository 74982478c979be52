/* threads_test.c -- the model has no state but its compiled patterns: threads
 * that write from the first moment on get the same. Run it with
 * -Db_sanitize=thread as well. */
#include "model/fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { THREADS = 8, RUNS = 300 };

static void *write_often(void *context)
{
    unsigned *wrong = context;
    weir_model_env_t env = fixture_env();
    weir_json_t *good = fixture_json("{\"host\":\"a\",\"path\":\"/x\"}");
    weir_json_t *bad = fixture_json("{\"paths\":[\"/a\"],\"headers\":{\"Host\":[\"a\"]}}");
    for (unsigned i = 0; i < RUNS; i++) {
        weir_problem_t problem;
        weir_json_t *entity = NULL;
        weir_problem_init(&problem);
        if (weir_model_write(weir_schema(WEIR_SERVICES), WEIR_INSERT, good, NULL, &env, &entity,
                             &problem) != WEIR_OK)
            ++*wrong;
        weir_json_free(entity);
        entity = NULL;
        if (weir_model_write(weir_schema(WEIR_ROUTES), WEIR_INSERT, bad, NULL, &env, &entity,
                             &problem) != WEIR_INVALID ||
            weir_json_get(problem.fields, "headers") == NULL)
            ++*wrong;
        weir_problem_release(&problem);
    }
    weir_json_free(good);
    weir_json_free(bad);
    return NULL;
}

static void threads_that_write_at_once_get_the_same(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    unsigned wrong[THREADS] = { 0 };
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_often, &wrong[i]), 0);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(wrong[i], 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(threads_that_write_at_once_get_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
