/* identity_test.c -- certificates that name a node, and those that do not. */
#include "host/identity.h"

#include <openssl/x509v3.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define ID    "11111111-2222-4333-8444-55555555abcd"
#define OTHER "11111111-2222-4333-8444-55555555abce"

/* Not signed: who signed it is not looked at here. NULL: without. */
static X509 *certificate(const char *common_name, const char *alternatives)
{
    X509 *made = X509_new();
    assert_non_null(made);
    if (common_name != NULL)
        assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_ASC,
                                                    (const unsigned char *)common_name, -1, -1, 0),
                         1);
    if (alternatives != NULL) {
        X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, alternatives);
        assert_non_null(names);
        assert_int_equal(X509_add_ext(made, names, -1), 1);
        X509_EXTENSION_free(names);
    }
    return made;
}

static bool names(const char *common_name, const char *alternatives, const char *node_id)
{
    X509 *made = certificate(common_name, alternatives);
    bool found = weir_identity_names(made, weir_str(node_id));
    X509_free(made);
    return found;
}

static void a_node_is_named_in_one_of_three_places(void **state)
{
    (void)state;
    assert_true(names(ID, NULL, ID));
    assert_true(names("11111111-2222-4333-8444-55555555ABCD", NULL, ID));
    assert_true(names("dp.example", "DNS:dp.example,DNS:" ID, ID));
    assert_true(names("dp.example", "URI:urn:uuid:" ID, ID));
    assert_true(names(NULL, "URI:URN:UUID:11111111-2222-4333-8444-55555555ABCD", ID));
    assert_true(names(OTHER, "URI:urn:uuid:" ID, ID));
}

static void everything_else_names_nobody(void **state)
{
    (void)state;
    assert_false(names(NULL, NULL, ID));
    assert_false(names(OTHER, NULL, ID));
    assert_false(names("dp.example", "DNS:dp.example", ID));
    assert_false(names(ID "0", NULL, ID));
    assert_false(names("dp.example", "URI:urn:uuid:" OTHER ",URI:" ID ",email:" ID "@x", ID));
    assert_false(names("dp.example", "URI:urn:uuid:,URI:u", ID));
    assert_false(names("dp.example", "DNS:" ID ".example", ID));
}

static void an_id_has_one_spelling(void **state)
{
    (void)state;
    assert_false(names(ID, NULL, "11111111-2222-4333-8444-55555555ABCD"));
    assert_false(names("dp", NULL, "dp"));
    assert_false(names(NULL, NULL, ""));
}

/* A zero byte ends the text for who reads it as a C string; not here. */
static void a_zero_byte_ends_no_name(void **state)
{
    static const char trick[] = ID "\0.example";
    (void)state;
    X509 *made = certificate(NULL, NULL);
    assert_int_equal(X509_NAME_add_entry_by_txt(X509_get_subject_name(made), "CN", MBSTRING_UTF8,
                                                (const unsigned char *)trick,
                                                (int)sizeof(trick) - 1, -1, 0),
                     1);
    assert_false(weir_identity_names(made, WEIR_STR(ID)));
    X509_free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_is_named_in_one_of_three_places),
        cmocka_unit_test(everything_else_names_nobody),
        cmocka_unit_test(an_id_has_one_spelling),
        cmocka_unit_test(a_zero_byte_ends_no_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
