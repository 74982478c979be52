/* digest_fixture.h -- for tests that judge by the digest: a verdict, entities with
 * ids of any bucket. Included by *_test.c only. */
#ifndef WEIR_STORE_DIGEST_FIXTURE_H
#define WEIR_STORE_DIGEST_FIXTURE_H

#include "store/fixture.h"

static inline weir_store_verdict_t test_verdict(test_store_t *test)
{
    weir_store_verdict_t verdict = { 0 };
    weir_error_t err = { 0 };
    if (weir_store_verify(test->store, NULL, NULL, &verdict, &err) != WEIR_OK)
        fail_msg("verify: %s", err.reason);
    return verdict;
}

/* What is kept on disk and in memory is what the documents add up to. */
static inline void test_assert_verified(test_store_t *test)
{
    weir_store_verdict_t verdict = test_verdict(test);
    if (verdict.bad_buckets > 0)
        fail_msg("version %" PRIu64 ": %zu sums are wrong, the first of bucket %u", verdict.version,
                 verdict.bad_buckets, verdict.first_bad_bucket);
    assert_true(weir_digest_equal(&verdict.kept, &verdict.computed));
    assert_int_equal(verdict.version, weir_store_version(test->store));
    weir_digest_t known;
    assert_int_equal(weir_store_digest(test->store, verdict.version, &known), WEIR_OK);
    assert_true(weir_digest_equal(&known, &verdict.computed));
}

/* A consumer of that id. */
static inline void test_put_id(test_store_t *test, const weir_uuid_t *id)
{
    char id_text[WEIR_UUID_TEXT + 1];
    char text[64];
    weir_json_t *entity = NULL;
    weir_uuid_format(id, id_text);
    snprintf(text, sizeof(text), "{\"id\":\"%s\"}", id_text);
    assert_int_equal(weir_json_parse(weir_str(text), &entity, NULL), WEIR_OK);
    weir_store_op_t op = { WEIR_STORE_PUT, WEIR_CONSUMERS, *id, entity, WEIR_EXPECT_ANYTHING };
    weir_store_result_t result;
    assert_int_equal(weir_store_write(test->store, &op, 1, &result, NULL), WEIR_OK);
    weir_json_free(entity);
}

#endif
