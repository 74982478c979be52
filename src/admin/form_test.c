/* form_test.c -- names of form fields, and multipart bodies (admin-api 3.3). */
#include "admin/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static void expands(const char *form, const char *json)
{
    WEIR_AUTO(arena) weir_arena_t arena;
    WEIR_AUTO(json) weir_json_t *made = NULL;
    WEIR_AUTO(json) weir_json_t *wanted = NULL;
    weir_arena_init(&arena, 1024 * 1024);
    arguments_t arguments;
    assert_int_equal(arguments_parse(&arena, weir_str(form), &arguments), WEIR_OK);
    made = form_expand(&arguments, false);
    assert_non_null(made);
    assert_int_equal(weir_json_parse(weir_str(json), &wanted, NULL), WEIR_OK);
    weir_buffer_t text;
    weir_buffer_init(&text, 1024 * 1024);
    weir_json_print(made, &text);
    if (!weir_json_equal(made, wanted))
        fail_msg("%s: %.*s instead of %s", form, WEIR_STR_ARG(weir_buffer_str(&text)), json);
    weir_buffer_release(&text);
}

static void dots_make_objects(void **state)
{
    (void)state;
    expands("a.b.c=v&a.b.d=w&x=1", "{\"a\":{\"b\":{\"c\":\"v\",\"d\":\"w\"}},\"x\":\"1\"}");
}

static void brackets_make_arrays_or_members(void **state)
{
    (void)state;
    expands("a[]=1&a[]=2", "{\"a\":[\"1\",\"2\"]}");
    expands("a[2]=w&a[1]=v", "{\"a\":[\"v\",\"w\"]}");
    expands("a[key]=v&a[k.with.dot]=w", "{\"a\":{\"key\":\"v\",\"k.with.dot\":\"w\"}}");
    expands("a[1].b=v&a[1].c[x]=w", "{\"a\":[{\"b\":\"v\",\"c\":{\"x\":\"w\"}}]}");
    expands("a%5b%5D=1&a%255B%255d=2", "{\"a\":[\"1\",\"2\"]}");
}

static void a_hole_makes_no_array(void **state)
{
    (void)state;
    expands("a[2]=w", "{\"a\":{\"2\":\"w\"}}");
    expands("a[].b=v", "{\"a\":{\"\":{\"b\":\"v\"}}}");
}

static void a_name_that_comes_again_makes_a_list(void **state)
{
    (void)state;
    expands("a=1&a=2&a=3", "{\"a\":[\"1\",\"2\",\"3\"]}");
    expands("a=1&a[]=2", "{\"a\":[\"1\",\"2\"]}");
    expands("a[]=1&a=2", "{\"a\":[\"1\",\"2\"]}");
}

static void a_name_without_a_value_is_true(void **state)
{
    (void)state;
    expands("a&b=", "{\"a\":true,\"b\":\"\"}");
}

static void what_is_no_list_of_parts_stands_for_itself(void **state)
{
    (void)state;
    expands("a[b=1&.c=2&d.=3&[e]=4&f[g]h=5",
            "{\"a[b\":\"1\",\".c\":\"2\",\"d.\":\"3\",\"[e]\":\"4\",\"f[g]h\":\"5\"}");
}

static void values_are_decoded(void **state)
{
    (void)state;
    expands("a=x+y%20z%2&b=%zz&=1&&", "{\"a\":\"x y z%2\",\"b\":\"%zz\"}");
}

static void multipart(const char *type, const char *body, const char *json)
{
    WEIR_AUTO(arena) weir_arena_t arena;
    WEIR_AUTO(json) weir_json_t *made = NULL;
    WEIR_AUTO(json) weir_json_t *wanted = NULL;
    weir_arena_init(&arena, 1024 * 1024);
    arguments_t arguments;
    assert_int_equal(multipart_parse(&arena, weir_str(type), weir_str(body), &arguments), WEIR_OK);
    made = form_expand(&arguments, true);
    assert_int_equal(weir_json_parse(weir_str(json), &wanted, NULL), WEIR_OK);
    assert_true(weir_json_equal(made, wanted));
}

static void the_last_part_of_a_name_wins(void **state)
{
    (void)state;
    multipart("multipart/form-data; boundary=X",
              "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n"
              "--X\r\ncontent-disposition: form-data; name=a; filename=\"f\"\r\n"
              "Content-Type: text/plain\r\n\r\n2\r\nx\r\n--X--\r\n",
              "{\"a\":\"2\\r\\nx\"}");
}

static void a_body_that_is_no_multipart_says_nothing(void **state)
{
    (void)state;
    multipart("multipart/form-data", "garbage", "{}");
    multipart("multipart/form-data; boundary=X", "garbage", "{}");
    multipart("multipart/form-data; boundary=X", "--X\r\nContent-Disposition: form-data; name=a",
              "{}");
    multipart("multipart/form-data; boundary=\"a b\"",
              "--a b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n--a b--",
              "{\"a\":\"\"}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dots_make_objects),
        cmocka_unit_test(brackets_make_arrays_or_members),
        cmocka_unit_test(a_hole_makes_no_array),
        cmocka_unit_test(a_name_that_comes_again_makes_a_list),
        cmocka_unit_test(a_name_without_a_value_is_true),
        cmocka_unit_test(what_is_no_list_of_parts_stands_for_itself),
        cmocka_unit_test(values_are_decoded),
        cmocka_unit_test(the_last_part_of_a_name_wins),
        cmocka_unit_test(a_body_that_is_no_multipart_says_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
