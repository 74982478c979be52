/* memory_test.c -- every allocation of a write fails once: the write says so,
 * leaves nothing behind, and works the next time. (Leaks: the sanitizers.) */
#include "model/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { ALLOCATIONS_MAX = 100000 };

typedef struct sample {
    weir_entity_type_t type;
    weir_write_t write;
    const char *body;
    const char *current;
    int expected;
} sample_t;

static const sample_t samples[] = {
    { WEIR_CONSUMERS, WEIR_INSERT, "{\"username\":\"anna\",\"tags\":[\"a\",\"b\",\"a\"]}", NULL,
      WEIR_OK },
    { WEIR_CONSUMERS, WEIR_UPDATE, "{\"custom_id\":\"c\"}",
      "{\"id\":\"00000000-0000-4000-8000-000000000001\",\"created_at\":1,\"updated_at\":1,"
      "\"username\":\"anna\",\"custom_id\":null,\"tags\":null}",
      WEIR_OK },
    { WEIR_SERVICES, WEIR_INSERT, "{\"url\":\"https://u:p@a.test:8443/x?y#z\",\"name\":\"s\"}",
      NULL, WEIR_OK },
    { WEIR_SERVICES, WEIR_INSERT,
      "{\"name\":\"a b\",\"host\":5,\"port\":\"x\",\"tags\":[null,1],\"nosuch\":1,"
      "\"protocol\":\"tcp\",\"path\":\"/x\"}",
      NULL, WEIR_INVALID },
    { WEIR_SERVICES, WEIR_INSERT, "{\"url\":\"\"}", NULL, WEIR_INVALID },
    { WEIR_ROUTES, WEIR_INSERT,
      "{\"name\":\"r\",\"paths\":[\"/a\",\"~/b(c|d)$\"],\"hosts\":[\"*.a.test\"],"
      "\"methods\":[\"GET\"],\"headers\":{\"x-a\":[\"1\",\"~*^b$\"]},\"service\":{\"name\":"
      "\"there\"}}",
      NULL, WEIR_OK },
    { WEIR_ROUTES, WEIR_INSERT, "{\"paths\":[\"/\"],\"service\":{\"name\":\"absent\"}}", NULL,
      WEIR_INVALID },
    { WEIR_ROUTES, WEIR_INSERT,
      "{\"protocols\":[\"tcp\",\"tls_passthrough\"],\"sources\":[{}],\"paths\":[\"/\"]}", NULL,
      WEIR_INVALID },
    { WEIR_UPSTREAMS, WEIR_INSERT, "{\"name\":\"u.test\",\"hash_on\":\"ip\"}", NULL, WEIR_OK },
    { WEIR_UPSTREAMS, WEIR_INSERT,
      "{\"name\":\"u.test\",\"healthchecks\":{\"active\":{\"headers\":{\"x\":[\"\"]},"
      "\"healthy\":{\"http_statuses\":[1]}}}}",
      NULL, WEIR_INVALID },
    { WEIR_TARGETS, WEIR_INSERT,
      "{\"target\":\"[::1]:80\",\"upstream\":{\"id\":\"00000000-0000-4000-8000-000000000001\"}}",
      NULL, WEIR_OK },
    { WEIR_PLUGINS, WEIR_INSERT,
      "{\"name\":\"key-auth\",\"config\":{\"key_names\":[\"k\"]},\"route\":{\"name\":\"there\"}}",
      NULL, WEIR_OK },
    { WEIR_PLUGINS, WEIR_INSERT,
      "{\"name\":\"key-auth\",\"config\":{\"key_names\":[\"k\",\"a b\"],\"x\":{}}}", NULL,
      WEIR_INVALID },
    { WEIR_KEYAUTH_CREDENTIALS, WEIR_INSERT, "{\"consumer\":{\"username\":\"there\"},\"ttl\":60}",
      NULL, WEIR_OK },
    { WEIR_KEYAUTH_CREDENTIALS, WEIR_INSERT, "{\"consumer\":{\"username\":\"there\"},\"ttl\":-1}",
      NULL, WEIR_INVALID },
    { WEIR_BASICAUTH_CREDENTIALS, WEIR_INSERT,
      "{\"consumer\":{\"username\":\"there\"},\"username\":\"u\",\"password\":\"p\"}", NULL,
      WEIR_OK },
    { WEIR_OAUTH2_CREDENTIALS, WEIR_INSERT,
      "{\"consumer\":{\"username\":\"there\"},\"name\":\"a\",\"hash_secret\":true}", NULL,
      WEIR_OK },
    { WEIR_KEYS, WEIR_INSERT,
      "{\"kid\":\"1\",\"jwk\":\"{\\\"kid\\\":\\\"1\\\",\\\"kty\\\":\\\"OKP\\\",\\\"crv\\\":"
      "\\\"Ed25519\\\",\\\"x\\\":\\\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\\\"}\"}",
      NULL, WEIR_OK },
    { WEIR_VAULTS, WEIR_INSERT, "{\"name\":\"aws\",\"prefix\":\"ab\"}", NULL, WEIR_INVALID },
};

static int write_once(const sample_t *sample, const weir_json_t *body, const weir_json_t *current,
                      unsigned fail)
{
    weir_model_env_t env = fixture_env();
    weir_problem_t problem;
    weir_json_t *entity = NULL;
    weir_problem_init(&problem);
    weir_test_fail_allocation(fail);
    int rc = weir_model_write(weir_schema(sample->type), sample->write, body, current, &env,
                              &entity, &problem);
    weir_test_fail_allocation(0);
    if (rc == WEIR_OK)
        assert_non_null(entity);
    if (rc == WEIR_INVALID) {
        assert_int_not_equal(problem.code, 0);
        assert_int_equal(problem.message.failed, WEIR_OK);
        assert_true(problem.message.len > 0);
    }
    weir_json_free(rc == WEIR_OK ? entity : NULL);
    weir_problem_release(&problem);
    return rc;
}

static void a_write_survives_the_failure_of_each_allocation(void **state)
{
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(samples); i++) {
        weir_json_t *body = fixture_json(samples[i].body);
        weir_json_t *current = fixture_json(samples[i].current);
        assert_non_null(body);
        int rc = WEIR_NO_MEMORY;
        unsigned n = 1;
        for (; rc == WEIR_NO_MEMORY && n < ALLOCATIONS_MAX; n++)
            rc = write_once(&samples[i], body, current, n);
        weir_json_free(body);
        weir_json_free(current);
        if (rc != samples[i].expected)
            fail_msg("sample %zu: %s at allocation %u", i, weir_code_name(rc), n - 1);
        assert_true(n > 5);
    }
}

static void a_row_is_accepted_or_memory_is_short(void **state)
{
    (void)state;
    weir_json_t *row = fixture_json(
        "{\"id\":\"00000000-0000-4000-8000-000000000001\",\"name\":\"key-auth\",\"ws_id\":\"x\","
        "\"gone\":null,\"config\":{\"key_names\":[\"k\"],\"gone\":null},\"enabled\":true}");
    int rc = WEIR_NO_MEMORY;
    for (unsigned n = 1; rc == WEIR_NO_MEMORY && n < ALLOCATIONS_MAX; n++) {
        weir_problem_t problem;
        weir_json_t *entity = NULL;
        weir_problem_init(&problem);
        weir_test_fail_allocation(n);
        rc = weir_model_accept(weir_schema(WEIR_PLUGINS), row, FIXTURE_NOW, &entity, &problem);
        weir_test_fail_allocation(0);
        weir_json_free(rc == WEIR_OK ? entity : NULL);
        weir_problem_release(&problem);
    }
    weir_json_free(row);
    assert_int_equal(rc, WEIR_OK);
}

static void inferring_survives_the_failure_of_each_allocation(void **state)
{
    (void)state;
    int rc = WEIR_NO_MEMORY;
    for (unsigned n = 1; rc == WEIR_NO_MEMORY && n < ALLOCATIONS_MAX; n++) {
        weir_json_t *body =
            fixture_json("{\"retries\":\"3\",\"tags\":\"a\",\"enabled\":\"true\",\"name\":\"\","
                         "\"ca_certificates\":[\"\",\"x\"],\"client_certificate\":{\"id\":\"\"}}");
        assert_non_null(body);
        weir_test_fail_allocation(n);
        rc = weir_model_infer(weir_schema(WEIR_SERVICES), body);
        weir_test_fail_allocation(0);
        weir_json_free(body);
    }
    assert_int_equal(rc, WEIR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_write_survives_the_failure_of_each_allocation),
        cmocka_unit_test(a_row_is_accepted_or_memory_is_short),
        cmocka_unit_test(inferring_survives_the_failure_of_each_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
