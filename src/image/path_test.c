/* path_test.c -- normalisation (routing 1.3) and the path sent upstream (routing 6). */
#include "image/path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void request_paths_become_normal(void **state)
{
    (void)state;
    static const char *const table[][2] = {
        { "", "" },
        { "/", "/" },
        { "/a/b", "/a/b" },
        { "/%61", "/a" },
        { "/%2f", "/%2F" },
        { "/%2525", "/%2525" },
        { "/%25", "/%25" },
        { "/%7e%20%22", "/~ \"" },
        { "/%e9", "/\xe9" },
        { "/%", "/%" },
        { "/%2", "/%2" },
        { "/%zz", "/%zz" },
        { "/./a", "/a" },
        { "/a/.", "/a/" },
        { "/a/..", "/" },
        { "/a/b/..", "/a/" },
        { "/a/../b", "/b" },
        { "/../../a", "/a" },
        { "/a/%2e%2e/b", "/b" },
        { "/%2e/a", "/a" },
        { "//a///b//", "/a/b/" },
        { "/a/..//b", "/b" },
        { "/a../.b/...", "/a../.b/..." },
        { "/status/../x", "/x" },
        { "/a/./a/../wor%6cd/a/../b", "/a/world/b" },
        { "../a", "/a" },
        { "./a", "/a" },
    };
    for (size_t i = 0; i < WEIR_COUNT(table); i++) {
        char out[256];
        size_t len = weir_path_normalize(weir_str(table[i][0]), out);
        if (!weir_str_equal((weir_str_t){ out, len }, weir_str(table[i][1])))
            fail_msg("%s became %.*s, not %s", table[i][0], (int)len, out, table[i][1]);
    }
}

typedef struct upstream_case {
    const char *base; /* NULL: the service has none */
    const char *route;
    int strip; /* 2: either */
    const char *request, *want;
} upstream_case_t;

static const upstream_case_t upstream_table[] = {
    { "/", "/", 2, "/", "/" },
    { "/", "/", 2, "/route/", "/route/" },
    { "/", "/", 2, "/routereq", "/routereq" },
    { NULL, "/", 2, "/route/req", "/route/req" },
    { "/", "/route", 0, "/route", "/route" },
    { "/", "/route", 0, "/routereq", "/routereq" },
    { "/", "/route", 1, "/route", "/" },
    { "/", "/route", 1, "/route/", "/" },
    { "/", "/route", 1, "/routereq", "/req" },
    { "/", "/route/", 1, "/route/", "/" },
    { "/", "/route/", 1, "/route/req", "/req" },
    { "/srv", "/rou", 0, "/roureq", "/srv/roureq" },
    { "/srv", "/rou", 1, "/roureq", "/srv/req" },
    { "/srv/", "/rou", 0, "/rou", "/srv/rou" },
    { "/srv/", "/rou", 1, "/rou", "/srv" },
    { "/service", "/", 2, "/", "/service" },
    { "/service", "/", 2, "/route", "/service/route" },
    { "/service", "/", 2, "/route/req", "/service/route/req" },
    { "/service", "/route", 0, "/route/", "/service/route/" },
    { "/service", "/route", 1, "/route", "/service" },
    { "/service", "/route", 1, "/route/", "/service/" },
    { "/service", "/route", 1, "/routereq", "/service/req" },
    { "/service", "/route/", 0, "/route/req", "/service/route/req" },
    { "/service", "/route/", 1, "/route/", "/service/" },
    { "/service", "/route/", 1, "/route/req", "/service/req" },
    { "/service/", "/", 2, "/", "/service/" },
    { "/service/", "/", 2, "/route", "/service/route" },
    { "/service/", "/route", 0, "/routereq", "/service/routereq" },
    { "/service/", "/route", 1, "/route", "/service" },
    { "/service/", "/route", 1, "/route/", "/service/" },
    { "/service/", "/route", 1, "/routereq", "/service/req" },
    { "/service/", "/route/", 1, "/route/", "/service/" },
    { "/service/", "/route/", 1, "/route/req", "/service/req" },
    { "/", "", 2, "/route/", "/route/" },
    { "/service", "", 2, "/", "/service" },
    { "/service", "", 2, "/route/", "/service/route/" },
    { "/service/", "", 2, "/", "/service/" },
    { "/service/", "", 2, "/route", "/service/route" },
    { "/service", "/route", 1, "/route./req", "/service/req" },
    { "/service", "/route", 1, "/route../req", "/service/req" },
    { "/service/", "/route", 1, "/route%2E%2e/req", "/service/req" },
    { "/service", "/route", 0, "/route%2E%2E/req", "/service/route../req" },
    { "/", "/anything", 0, "/anything/cat%20and%20dog", "/anything/cat%20and%20dog" },
    { "/", "/request", 0, "/request/foo%2fbar", "/request/foo%2Fbar" },
    { "/", "/hello", 1, "/h%65llo/anything/a/../b", "/anything/b" },
    { "/", "/a", 0, "/a/<>\"\\^`{|}", "/a/%3C%3E%22%5C%5E%60%7B%7C%7D" },
    { "/", "/a", 0, "/a/\xc3\xa9\x01", "/a/%C3%A9%01" },
};

static void upstream_paths_follow_the_reference_rows(void **state)
{
    (void)state;
    int failed = 0;
    for (size_t i = 0; i < WEIR_COUNT(upstream_table); i++)
        for (int strip = 0; strip < 2; strip++) {
            const upstream_case_t *c = &upstream_table[i];
            char path[256], out[1024];
            if (c->strip != 2 && c->strip != strip)
                continue;
            size_t len = weir_path_normalize(weir_str(c->request), path);
            size_t got = weir_path_upstream(weir_str(c->base), (weir_str_t){ path, len },
                                            strlen(c->route), strip, out, sizeof(out));
            if (!weir_str_equal((weir_str_t){ out, got }, weir_str(c->want))) {
                print_message("%s %s %d %s: %.*s, not %s\n", c->base, c->route, strip, c->request,
                              (int)got, out, c->want);
                failed++;
            }
        }
    assert_int_equal(failed, 0);
}

static void what_does_not_fit_is_refused_whole(void **state)
{
    (void)state;
    char out[64];
    weir_str_t path = WEIR_STR("/a<b");
    for (size_t room = 0; room < 6; room++)
        assert_int_equal(weir_path_upstream(WEIR_STR("/"), path, 0, false, out, room), 0);
    assert_int_equal(weir_path_upstream(WEIR_STR("/"), path, 0, false, out, 6), 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(request_paths_become_normal),
        cmocka_unit_test(upstream_paths_follow_the_reference_rows),
        cmocka_unit_test(what_does_not_fit_is_refused_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
