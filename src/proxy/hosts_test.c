/* hosts_test.c -- the hosts file, resolv.conf, and the order of questions. */
#include "proxy/hosts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

static char path[64];

static const char *file_with(const char *text)
{
    snprintf(path, sizeof(path), "/tmp/weir-hosts-test-%d", (int)getpid());
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
    return path;
}

static int remove_file(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static weir_hosts_t *hosts_of(const char *text)
{
    weir_hosts_t *hosts = NULL;
    weir_error_t err = { 0 };
    assert_int_equal(weir_hosts_load(file_with(text), &hosts, &err), WEIR_OK);
    return hosts;
}

static void names_are_found_in_any_case_and_the_first_address_stays(void **state)
{
    (void)state;
    weir_hosts_t *hosts = hosts_of("10.0.0.1 a.test A2 # 10.9.9.9 b\n"
                                   "# 10.0.0.2 c\n"
                                   "10.0.0.3\ta.test\n"
                                   "nonsense d\n"
                                   "::5 six six4\n10.0.0.6 six4\n"
                                   "10.0.0.7");
    assert_true(weir_str_is(weir_hosts_find(hosts, WEIR_STR("A.TEST")), "10.0.0.1"));
    assert_true(weir_str_is(weir_hosts_find(hosts, WEIR_STR("a2")), "10.0.0.1"));
    assert_true(weir_str_is(weir_hosts_find(hosts, WEIR_STR("six")), "::5"));
    assert_true(weir_str_is(weir_hosts_find(hosts, WEIR_STR("six4")), "10.0.0.6"));
    assert_null(weir_hosts_find(hosts, WEIR_STR("b")).data);
    assert_null(weir_hosts_find(hosts, WEIR_STR("c")).data);
    assert_null(weir_hosts_find(hosts, WEIR_STR("d")).data);
    assert_null(weir_hosts_find(hosts, WEIR_STR("")).data);
    weir_hosts_free(hosts);
}

static void localhost_is_known_without_a_file(void **state)
{
    (void)state;
    weir_hosts_t *hosts = NULL;
    weir_error_t err = { 0 };
    assert_int_equal(weir_hosts_load("/nonexistent/hosts", &hosts, &err), WEIR_OK);
    assert_true(weir_str_is(weir_hosts_find(hosts, WEIR_STR("localhost")), "127.0.0.1"));
    weir_hosts_free(hosts);
}

static void short_memory_is_an_error_that_leaks_nothing(void **state)
{
    (void)state;
    file_with("10.0.0.1 a\n");
    int rc = WEIR_NO_MEMORY;
    for (unsigned n = 1; rc != WEIR_OK; n++) {
        weir_hosts_t *hosts = NULL;
        weir_error_t err = { 0 };
        weir_test_fail_allocation(n);
        rc = weir_hosts_load(path, &hosts, &err);
        weir_test_fail_allocation(0);
        assert_true(rc == WEIR_OK || hosts == NULL);
        weir_hosts_free(hosts);
        assert_true(n < 100);
    }
}

static void name_servers_are_given_as_nginx_wants_them(void **state)
{
    (void)state;
    weir_resolv_t resolv;
    weir_resolv_load(file_with("nameserver 10.0.0.1\n; nameserver 10.0.0.9\n"
                               "nameserver fe80::1%eth0\nnameserver ::2\nnameserver 10.0.0.3 # x\n"
                               "nameserver 10.0.0.4\ndomain old\nsearch a.test . b.test\n"
                               "options rotate ndots:2 timeout:1\n"),
                     &resolv);
    assert_int_equal(resolv.server_count, 3);
    assert_string_equal(resolv.servers[0], "10.0.0.1");
    assert_string_equal(resolv.servers[1], "[::2]");
    assert_string_equal(resolv.servers[2], "10.0.0.3");
    assert_int_equal(resolv.search_count, 2);
    assert_string_equal(resolv.search[1], "b.test");
    assert_int_equal(resolv.ndots, 2);
    weir_resolv_load("/nonexistent/resolv.conf", &resolv);
    assert_int_equal(resolv.server_count, 0);
    assert_int_equal(resolv.ndots, 1);
}

static void the_dots_of_a_name_decide_what_is_asked_first(void **state)
{
    static const weir_resolv_t resolv = { .search = { "a.test", "b.test" },
                                          .search_count = 2,
                                          .ndots = 1 };
    static const struct {
        const char *name, *questions[4];
    } rows[] = {
        { "short", { "short.a.test", "short.b.test", "short", NULL } },
        { "with.dot", { "with.dot", "with.dot.a.test", "with.dot.b.test", NULL } },
        { "whole.", { "whole", NULL } },
    };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(rows); i++) {
        for (size_t n = 0; n < 4; n++) {
            char out[64];
            size_t len =
                weir_resolv_candidate(&resolv, weir_str(rows[i].name), n, out, sizeof(out));
            const char *want = rows[i].questions[n];
            assert_int_equal(len, want != NULL ? strlen(want) : 0);
            if (want == NULL)
                break;
            assert_memory_equal(out, want, len);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(names_are_found_in_any_case_and_the_first_address_stays,
                                  remove_file),
        cmocka_unit_test(localhost_is_known_without_a_file),
        cmocka_unit_test_teardown(short_memory_is_an_error_that_leaks_nothing, remove_file),
        cmocka_unit_test_teardown(name_servers_are_given_as_nginx_wants_them, remove_file),
        cmocka_unit_test(the_dots_of_a_name_decide_what_is_asked_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
