/* digest_test.c -- sums of keyed hashes. */
#include "model/digest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static const weir_uuid_t id = { { 0xab, 0xcd, 0xef } };

static weir_digest_t hash_of(weir_digester_t *d, const char *type, const weir_uuid_t *of,
                             const char *document)
{
    weir_digest_t ret = { 0 };
    assert_int_equal(weir_digester_entity(d, weir_str(type), of, weir_str(document), &ret, NULL),
                     WEIR_OK);
    return ret;
}

static weir_digester_t *digester(uint8_t first_byte)
{
    weir_digest_key_t key = { { first_byte } };
    weir_digester_t *d = NULL;
    assert_int_equal(weir_digester_new(&key, &d, NULL), WEIR_OK);
    return d;
}

/* What another implementation must reach: python3 -c 'import hashlib; print(hashlib.blake2b(
 * b"routes\0" + bytes.fromhex("abcdef") + bytes(13) + b"{}", digest_size=16,
 * key=bytes([1]) + bytes(31)).hexdigest())' */
static void test_known_value(void **state)
{
    (void)state;
    weir_digester_t *d = digester(1);
    weir_digest_t hash = hash_of(d, "routes", &id, "{}");
    char text[WEIR_DIGEST_TEXT + 1];
    weir_digest_format(&hash, text);
    assert_string_equal(text, "55fc601628af7f294634be767d3a6210");
    weir_digester_free(d);
}

static void test_every_part_counts(void **state)
{
    (void)state;
    weir_digester_t *d = digester(1);
    weir_digester_t *other = digester(2);
    weir_uuid_t near = id;
    near.bytes[15] = 1;
    weir_digest_t hash = hash_of(d, "routes", &id, "{}");
    weir_digest_t again = hash_of(d, "routes", &id, "{}");
    assert_true(weir_digest_equal(&hash, &again));
    const weir_digest_t others[] = {
        hash_of(d, "route", &id, "{}"),   hash_of(d, "routes", &near, "{}"),
        hash_of(d, "routes", &id, "{ }"), hash_of(other, "routes", &id, "{}"),
        hash_of(d, "routes", &id, ""),
    };
    for (size_t i = 0; i < WEIR_COUNT(others); i++)
        assert_false(weir_digest_equal(&hash, &others[i]));
    weir_digester_free(d);
    weir_digester_free(other);
}

static void test_sums(void **state)
{
    (void)state;
    weir_digest_t sum = { 1, UINT64_MAX };
    const weir_digest_t two = { 0, 2 };
    weir_digest_add(&sum, &two);
    assert_true(weir_digest_equal(&sum, &(weir_digest_t){ 2, 1 }));
    weir_digest_subtract(&sum, &two);
    assert_true(weir_digest_equal(&sum, &(weir_digest_t){ 1, UINT64_MAX }));

    /* The order of adding does not matter, and what is taken away leaves no trace. */
    weir_digester_t *d = digester(1);
    weir_digest_t a = hash_of(d, "routes", &id, "a");
    weir_digest_t b = hash_of(d, "routes", &id, "b");
    weir_digest_t one = { 0 };
    weir_digest_t other = { 0 };
    weir_digest_add(&one, &a);
    weir_digest_add(&one, &b);
    weir_digest_add(&other, &b);
    weir_digest_add(&other, &a);
    assert_true(weir_digest_equal(&one, &other));
    weir_digest_subtract(&one, &a);
    assert_true(weir_digest_equal(&one, &b));
    weir_digester_free(d);
}

static void test_text(void **state)
{
    (void)state;
    char text[WEIR_DIGEST_TEXT + 1];
    weir_digest_t back = { 0 };
    weir_digest_format(&(weir_digest_t){ 0x0123456789abcdef, 0xfedcba9876543210 }, text);
    assert_string_equal(text, "0123456789abcdeffedcba9876543210");
    assert_int_equal(weir_digest_parse(weir_str(text), &back), WEIR_OK);
    assert_true(
        weir_digest_equal(&back, &(weir_digest_t){ 0x0123456789abcdef, 0xfedcba9876543210 }));
    assert_int_equal(weir_digest_parse(WEIR_STR("0123"), &back), WEIR_INVALID);
    text[5] = 'g';
    assert_int_equal(weir_digest_parse(weir_str(text), &back), WEIR_INVALID);
}

static void test_keys(void **state)
{
    (void)state;
    weir_digest_key_t key;
    weir_digest_key_t back;
    char text[2 * WEIR_DIGEST_KEY_BYTES + 1];
    assert_int_equal(weir_digest_key_random(&key), WEIR_OK);
    weir_digest_key_format(&key, text);
    assert_int_equal(weir_digest_key_parse(weir_str(text), &back), WEIR_OK);
    assert_memory_equal(&key, &back, sizeof(key));

    char one[WEIR_DIGEST_FINGERPRINT_TEXT + 1];
    char other[WEIR_DIGEST_FINGERPRINT_TEXT + 1];
    weir_digester_t *d = digester(1);
    weir_digester_t *e = digester(2);
    assert_int_equal(weir_digester_fingerprint(d, one, NULL), WEIR_OK);
    assert_int_equal(weir_digester_fingerprint(e, other, NULL), WEIR_OK);
    assert_string_not_equal(one, other);
    weir_digester_free(d);
    weir_digester_free(e);
}

static void test_buckets(void **state)
{
    (void)state;
    assert_int_equal(weir_digest_bucket(&id), 0xabc);
    assert_int_equal(weir_digest_bucket(&(weir_uuid_t){ { 0xff, 0xff } }), WEIR_DIGEST_BUCKETS - 1);
    assert_int_equal(weir_digest_bucket(&(weir_uuid_t){ { 0x00, 0x0f } }), 0);
}

static void test_no_memory(void **state)
{
    (void)state;
    weir_digest_key_t key = { { 1 } };
    weir_digester_t *d = NULL;
    weir_test_fail_allocation(1);
    assert_int_equal(weir_digester_new(&key, &d, NULL), WEIR_NO_MEMORY);
    weir_test_fail_allocation(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_value), cmocka_unit_test(test_every_part_counts),
        cmocka_unit_test(test_sums),        cmocka_unit_test(test_text),
        cmocka_unit_test(test_keys),        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
