/* rules_test.c -- rules for single values: hosts, targets, paths, names. */
#include "model/checks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

typedef int (*rule_t)(weir_str_t value, weir_error_t *err);

typedef struct example {
    const char *value;
    const char *reason; /* NULL: fine */
} example_t;

static void follow(rule_t rule, const example_t *examples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        weir_error_t err = { 0 };
        int rc = rule(weir_str(examples[i].value), &err);
        if ((rc == WEIR_OK) != (examples[i].reason == NULL))
            fail_msg("%s: %s", examples[i].value, rc == WEIR_OK ? "taken" : err.reason);
        if (rc != WEIR_OK)
            assert_string_equal(err.reason, examples[i].reason);
    }
}

#define INVALID "invalid value: " WEIR_VALUE

static void hosts_are_names_or_addresses_without_a_port(void **state)
{
    (void)state;
    static const example_t examples[] = {
        { "a", NULL },
        { "a.b-c_d.", NULL },
        { "-a", NULL },
        { "a-", INVALID },
        { "a..b", INVALID },
        { ".", INVALID },
        { "1.2.3.4", NULL },
        { "1.2.3", INVALID },
        { "256.1.1.1", INVALID },
        { "::1", NULL },
        { "[::1]", NULL },
        { "[::1", INVALID },
        { "[::1]:80", "must not have a port" },
        { "a:80", "must not have a port" },
        { "a:x", INVALID },
        { "http://a", INVALID },
        { "a b", INVALID },
    };
    follow(weir_check_host, examples, WEIR_COUNT(examples));
}

static void hosts_of_routes_have_one_wildcard_at_an_end_and_maybe_a_port(void **state)
{
    (void)state;
    static const example_t examples[] = {
        { "a.test:80", NULL },
        { "*.a.test", NULL },
        { "a.*", NULL },
        { "*.a.test:8080", NULL },
        { "*.a.*", "invalid wildcard: must have at most one wildcard" },
        { "a.*.b", "invalid wildcard: must be placed at leftmost or rightmost label" },
        { "*a", "invalid wildcard: must be placed at leftmost or rightmost label" },
        { "*.a b", "invalid hostname: abc.a b" },
        { "a.test:70000", "invalid port number" },
        { "a.test:x", "invalid hostname: " WEIR_VALUE },
    };
    follow(weir_check_route_host, examples, WEIR_COUNT(examples));
}

static void server_names_are_no_addresses(void **state)
{
    (void)state;
    static const example_t examples[] = {
        { "*.a.test", NULL },
        { "a.*", NULL },
        { "*", NULL },
        { "*.a.*", "only one wildcard must be specified" },
        { "a.*.b", "wildcard must be leftmost or rightmost character" },
        { "1.2.3.4", "must not be an IP" },
        { "1.2.3.4:80", "must not be an IP" },
        { "a.test:80", "must not have a port" },
        { "*.a b", "invalid value: abc.a b" },
    };
    follow(weir_check_wildcard_host, examples, WEIR_COUNT(examples));
}

static void names_of_upstreams_are_host_names(void **state)
{
    (void)state;
    static const example_t examples[] = {
        { "a.test", NULL },
        { "1.2.3.4", "Invalid name ('" WEIR_VALUE "'); no ip addresses allowed" },
        { "a:80", "Invalid name ('" WEIR_VALUE "'); no port allowed" },
        { "a b", "Invalid name ('" WEIR_VALUE "'); must be a valid hostname" },
        { "\xff", "Invalid name; must be a valid hostname" },
    };
    follow(weir_check_upstream_name, examples, WEIR_COUNT(examples));
}

static void targets_have_one_form(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {
        { "a.test", "a.test:8000" },
        { "A.test:0", "A.test:0" },
        { "010.0.0.1:80", "10.0.0.1:80" },
        { "::1", "[0000:0000:0000:0000:0000:0000:0000:0001]:8000" },
        { "[fe80::A]:65535", "[fe80:0000:0000:0000:0000:0000:0000:000a]:65535" },
    };
    char normal[128];
    for (size_t i = 0; i < WEIR_COUNT(pairs); i++) {
        assert_int_equal(weir_target_normalize(weir_str(pairs[i][0]), normal, sizeof(normal)),
                         WEIR_OK);
        assert_string_equal(normal, pairs[i][1]);
    }
    static const char *const wrong[] = { "", "a:65536", "a b", "[::1]:x", "1.2.3.4.5", "a:" };
    for (size_t i = 0; i < WEIR_COUNT(wrong); i++)
        assert_int_equal(weir_target_normalize(weir_str(wrong[i]), normal, sizeof(normal)),
                         WEIR_INVALID);
    assert_int_equal(weir_target_normalize(WEIR_STR("a.test:80"), normal, 4), WEIR_INVALID);
}

static void addresses_may_have_a_prefix_length(void **state)
{
    (void)state;
#define NO_RANGE "invalid ip or cidr range: '" WEIR_VALUE "'"
    static const example_t examples[] = {
        { "10.0.0.0/8", NULL },      { "::1", NULL },
        { "::1/128", NULL },         { "10.0.0.1", NULL },
        { "10.0.0.0/33", NO_RANGE }, { "::1/129", NO_RANGE },
        { "a", NO_RANGE },           { "10.0.0.0/", NO_RANGE },
    };
    follow(weir_check_ip_or_cidr, examples, WEIR_COUNT(examples));
}

static void paths_of_routes_are_normal_or_regular_expressions(void **state)
{
    (void)state;
    static const example_t examples[] = {
        { "/", NULL },
        { "/a b{c}", NULL },
        { "/a%20b", "non-normalized path, consider use '/a b' instead" },
        { "/a%2Fb", NULL },
        { "/a%2fb", "non-normalized path, consider use '/a%2Fb' instead" },
        { "/%61", "non-normalized path, consider use '/a' instead" },
        { "/a/../b", "non-normalized path, consider use '/b' instead" },
        { "/a/./b/..", "non-normalized path, consider use '/a/' instead" },
        { "/a//b", "must not have empty segments" },
        { "~/a//b", "must not have empty segments" },
        { "a", "should start with: / (fixed path) or ~/ (regex path)" },
        { "~a", "should start with: / (fixed path) or ~/ (regex path)" },
        { "/a%2", "invalid url-encoded value: '%2'" },
        { "/a%zzb", "invalid url-encoded value: '%zz'" },
        { "~/a[0-9]+$", NULL },
    };
    follow(weir_check_route_path, examples, WEIR_COUNT(examples));
}

static void names_are_utf8_with_few_ascii_characters(void **state)
{
    (void)state;
    static const example_t examples[] = {
        { "a.-_~9", NULL },
        { "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", NULL },
        { "a b", "invalid value '" WEIR_VALUE "': the only accepted ascii characters are "
                 "alphanumerics or ., -, _, and ~" },
        { "ab\xff", "invalid utf-8 character sequence detected at position 3" },
        { "\xc0\x80", "invalid utf-8 character sequence detected at position 1" },
        { "\xed\xa0\x80", "invalid utf-8 character sequence detected at position 1" },
        { "a\xe2\x82", "invalid utf-8 character sequence detected at position 2" },
    };
    follow(weir_check_utf8_name, examples, WEIR_COUNT(examples));
}

static void no_byte_sequence_makes_the_utf8_check_read_past_its_end(void **state)
{
    (void)state;
    for (unsigned first = 0x80; first < 0x100; first++) {
        char *one = weir_malloc(1); /* exactly as long: the sanitizer sees a byte too many */
        assert_non_null(one);
        *one = (char)first;
        size_t position = 99;
        assert_false(weir_utf8_valid((weir_str_t){ one, 1 }, &position));
        assert_int_equal(position, 0);
        weir_free(one);
    }
}

static void a_certificate_is_more_than_its_armour(void **state)
{
    (void)state;
    weir_error_t err = { 0 };
    assert_int_equal(weir_check_certificate(WEIR_STR("-----BEGIN CERTIFICATE-----\nAAAA\n"
                                                     "-----END CERTIFICATE-----\n"),
                                            &err),
                     WEIR_INVALID);
    assert_memory_equal(err.reason, "invalid certificate: ", 21);
    assert_int_equal(weir_check_key(WEIR_STR("x"), &err), WEIR_INVALID);
    assert_memory_equal(err.reason, "invalid key: ", 13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_are_names_or_addresses_without_a_port),
        cmocka_unit_test(hosts_of_routes_have_one_wildcard_at_an_end_and_maybe_a_port),
        cmocka_unit_test(server_names_are_no_addresses),
        cmocka_unit_test(names_of_upstreams_are_host_names),
        cmocka_unit_test(targets_have_one_form),
        cmocka_unit_test(addresses_may_have_a_prefix_length),
        cmocka_unit_test(paths_of_routes_are_normal_or_regular_expressions),
        cmocka_unit_test(names_are_utf8_with_few_ascii_characters),
        cmocka_unit_test(no_byte_sequence_makes_the_utf8_check_read_past_its_end),
        cmocka_unit_test(a_certificate_is_more_than_its_armour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
