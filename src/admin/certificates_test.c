/* certificates_test.c -- certificates and their names (admin-api 9.4, 9.5). */
#include "admin/fixture.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

typedef struct pair {
    fixture_t *f;
    char cert[4096], key[4096]; /* PEM with \n written out, for JSON */
} pair_t;

#define FIRST  "00000000-0000-4000-8000-000000000001"
#define SECOND "00000000-0000-4000-8000-000000000002"

static void take_pem(BIO *bio, char *to, size_t bytes)
{
    char *pem = NULL;
    long len = BIO_get_mem_data(bio, &pem);
    size_t at = 0;
    for (long i = 0; i < len; i++)
        at += (size_t)snprintf(to + at, bytes - at, pem[i] == '\n' ? "\\n" : "%c", pem[i]);
    BIO_free(bio);
}

/* A key pair of its own each time, self-signed; `ca`: may sign others. */
static void make_pair(pair_t *pair, bool ca)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = X509_new();
    X509_set_version(cert, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), -10);
    X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN", MBSTRING_ASC,
                               (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(cert, X509_get_subject_name(cert));
    X509_set_pubkey(cert, key);
    X509_EXTENSION *constraints = X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints,
                                                      ca ? "critical,CA:TRUE" : "CA:FALSE");
    X509_add_ext(cert, constraints, -1);
    X509_EXTENSION_free(constraints);
    X509_sign(cert, key, EVP_sha256());
    BIO *out = BIO_new(BIO_s_mem());
    PEM_write_bio_X509(out, cert);
    take_pem(out, pair->cert, sizeof(pair->cert));
    out = BIO_new(BIO_s_mem());
    PEM_write_bio_PrivateKey(out, key, NULL, NULL, 0, NULL, NULL);
    take_pem(out, pair->key, sizeof(pair->key));
    X509_free(cert);
    EVP_PKEY_free(key);
}

static int setup(void **state)
{
    pair_t *pair = calloc(1, sizeof(*pair));
    pair->f = fixture_new(NULL);
    make_pair(pair, false);
    *state = pair;
    return 0;
}

static int teardown(void **state)
{
    pair_t *pair = *state;
    fixture_free(pair->f);
    free(pair);
    return 0;
}

/* Sends the pair with further members. */
static int put_pair(pair_t *pair, const char *method, const char *target, const char *more)
{
    char body[16384];
    snprintf(body, sizeof(body), "{\"cert\":\"%s\",\"key\":\"%s\"%s}", pair->cert, pair->key, more);
    return fixture_call(pair->f, method, target, body);
}

/* The names in the last answer, joined by blanks. */
static const char *names(const fixture_t *f)
{
    static char text[1024];
    text[0] = '\0';
    for (const weir_json_t *name = weir_json_first(weir_json_get(f->json, "snis")); name != NULL;
         name = weir_json_next(name)) {
        size_t len = strlen(text);
        snprintf(text + len, sizeof(text) - len, "%s%s", len > 0 ? " " : "",
                 weir_json_string(name).data);
    }
    return text;
}

static void a_certificate_and_its_names_are_one_write(void **state)
{
    pair_t *pair = *state;
    uint64_t version = weir_store_version(pair->f->options.store);
    assert_int_equal(put_pair(pair, "POST", "/certificates", ",\"snis\":[\"b.test\",\"a.test\"]"),
                     201);
    assert_string_equal(names(pair->f), "a.test b.test");
    assert_int_equal(weir_store_version(pair->f->options.store), version + 1);
    assert_int_equal(fixture_call(pair->f, "GET", "/certificates/b.test", NULL), 200);
    assert_string_equal(names(pair->f), "a.test b.test");
    assert_int_equal(fixture_call(pair->f, "GET", "/snis/a.test", NULL), 200);
}

static void a_refused_name_leaves_nothing_behind(void **state)
{
    pair_t *pair = *state;
    weir_store_t *store = pair->f->options.store;
    put_pair(pair, "POST", "/certificates", ",\"snis\":[\"a.test\"]");
    uint64_t version = weir_store_version(store);
    assert_int_equal(put_pair(pair, "POST", "/certificates", ",\"snis\":[\"c.test\",\"a.test\"]"),
                     400);
    assert_non_null(strstr(pair->f->text, "a.test already associated with existing certificate"));
    assert_int_equal(put_pair(pair, "POST", "/certificates", ",\"snis\":[\"c.test\",\"c.test\"]"),
                     400);
    assert_non_null(strstr(pair->f->text, "c.test is duplicated"));
    assert_int_equal(put_pair(pair, "POST", "/certificates", ",\"snis\":[\"1.2.3.4\"]"), 400);
    assert_int_equal((int)weir_json_get_number(pair->f->json, "code", 0), 10);
    assert_int_equal(weir_store_version(store), version);
    assert_int_equal(weir_store_count(store, WEIR_CERTIFICATES), 1);
    assert_int_equal(weir_store_count(store, WEIR_SNIS), 1);
}

static void patch_keeps_names_or_makes_the_list_exact(void **state)
{
    pair_t *pair = *state;
    fixture_t *f = pair->f;
    put_pair(pair, "POST", "/certificates", ",\"snis\":[\"a.test\",\"b.test\"]");
    assert_int_equal(fixture_call(f, "PATCH", "/certificates/a.test", "{\"tags\":[\"t\"]}"), 200);
    assert_string_equal(names(f), "a.test b.test");
    fixture_call(f, "PATCH", "/certificates/a.test", "{\"snis\":[\"c.test\",\"a.test\"]}");
    assert_int_equal(f->response.status, 200);
    assert_string_equal(names(f), "a.test c.test");
    assert_int_equal(fixture_call(f, "GET", "/snis/b.test", NULL), 404);
    assert_int_equal(fixture_call(f, "PATCH", "/certificates/a.test", "{\"snis\":[]}"), 200);
    assert_string_equal(names(f), "");
    assert_int_equal(fixture_call(f, "GET", "/certificates/a.test", NULL), 404);
    assert_string_equal(f->text, "{\"message\":\"SNI not found\"}");
}

static void put_by_a_new_name_makes_the_certificate_with_it(void **state)
{
    pair_t *pair = *state;
    assert_int_equal(put_pair(pair, "PUT", "/certificates/new.test", ""), 200);
    assert_string_equal(names(pair->f), "new.test");
    assert_int_equal(put_pair(pair, "PUT", "/certificates/new.test", ",\"snis\":[\"a.test\"]"),
                     200);
    assert_string_equal(names(pair->f), "a.test new.test");
    assert_int_equal(weir_store_count(pair->f->options.store, WEIR_CERTIFICATES), 1);
}

static void a_certificate_in_use_is_not_deleted_and_keeps_its_names(void **state)
{
    pair_t *pair = *state;
    fixture_t *f = pair->f;
    put_pair(pair, "POST", "/certificates", ",\"snis\":[\"a.test\"]");
    char body[256];
    snprintf(body, sizeof(body),
             "{\"name\":\"s\",\"url\":\"https://h\",\"client_certificate\":{\"id\":\"%s\"}}",
             fixture_text(f, "id"));
    assert_int_equal(fixture_call(f, "POST", "/services", body), 201);
    assert_int_equal(fixture_call(f, "DELETE", "/certificates/a.test", NULL), 400);
    assert_int_equal(fixture_call(f, "GET", "/snis/a.test", NULL), 200);
    assert_int_equal(fixture_call(f, "GET", "/services/s/client_certificate", NULL), 200);
    assert_true(weir_json_is_null(weir_json_get(f->json, "snis")));
    assert_int_equal(fixture_call(f, "DELETE", "/services/s", NULL), 204);
    assert_int_equal(fixture_call(f, "DELETE", "/certificates/a.test", NULL), 204);
    assert_int_equal(fixture_call(f, "GET", "/snis/a.test", NULL), 404);
}

static void a_ca_certificate_in_use_is_not_deleted(void **state)
{
    pair_t *pair = *state;
    fixture_t *f = pair->f;
    make_pair(pair, true);
    char body[8192];
    snprintf(body, sizeof(body), "{\"cert\":\"%s\"}", pair->cert);
    assert_int_equal(fixture_call(f, "POST", "/ca_certificates", body), 201);
    char target[64];
    snprintf(target, sizeof(target), "/ca_certificates/%s", fixture_text(f, "id"));
    assert_int_equal(fixture_call(f, "POST", "/ca_certificates", body), 409);
    snprintf(body, sizeof(body),
             "{\"name\":\"s\",\"url\":\"https://h\",\"ca_certificates\":[\"%s\"]}", target + 17);
    assert_int_equal(fixture_call(f, "POST", "/services", body), 201);
    assert_int_equal(fixture_call(f, "DELETE", target, NULL), 400);
    assert_int_equal((int)weir_json_get_number(f->json, "code", 0), 19);
    assert_int_equal(fixture_call(f, "DELETE", "/services/s", NULL), 204);
    assert_int_equal(fixture_call(f, "DELETE", target, NULL), 204);
}

static void in_a_transaction_names_go_from_one_certificate_to_another(void **state)
{
    pair_t *pair = *state;
    char body[32768];
    put_pair(pair, "PUT", "/certificates/" FIRST, ",\"snis\":[\"a.test\",\"b.test\"]");
    uint64_t version = weir_store_version(pair->f->options.store);
    snprintf(body, sizeof(body),
             "{\"operations\":["
             "{\"op\":\"update\",\"path\":\"/certificates/" FIRST
             "\",\"body\":{\"snis\":[\"b.test\"]}},"
             "{\"op\":\"upsert\",\"path\":\"/certificates/" SECOND
             "\",\"body\":{\"cert\":\"%s\",\"key\":\"%s\",\"snis\":[\"a.test\",\"c.test\"]}},"
             "{\"op\":\"update\",\"path\":\"/certificates/c.test\",\"body\":{\"tags\":[\"x\"]}},"
             "{\"op\":\"delete\",\"path\":\"/snis/b.test\"}]}",
             pair->cert, pair->key);
    assert_int_equal(fixture_call(pair->f, "POST", "/transactions", body), 200);
    assert_int_equal(weir_store_version(pair->f->options.store), version + 1);
    const weir_json_t *first = weir_json_first(weir_json_get(pair->f->json, "entities"));
    const weir_json_t *snis = weir_json_get(weir_json_next(weir_json_next(first)), "snis");
    assert_int_equal(weir_json_count(weir_json_get(first, "snis")), 1);
    assert_int_equal(weir_json_count(snis), 2); /* the third answer shows them all */
    assert_int_equal(fixture_call(pair->f, "GET", "/certificates/a.test", NULL), 200);
    assert_string_equal(fixture_text(pair->f, "id"), SECOND);
    assert_int_equal(weir_json_count(weir_json_get(pair->f->json, "tags")), 1);
    assert_int_equal(fixture_call(pair->f, "GET", "/certificates/" FIRST, NULL), 200);
    assert_int_equal(weir_json_count(weir_json_get(pair->f->json, "snis")), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_certificate_and_its_names_are_one_write),
        TEST(a_refused_name_leaves_nothing_behind),
        TEST(patch_keeps_names_or_makes_the_list_exact),
        TEST(put_by_a_new_name_makes_the_certificate_with_it),
        TEST(a_certificate_in_use_is_not_deleted_and_keeps_its_names),
        TEST(a_ca_certificate_in_use_is_not_deleted),
        TEST(in_a_transaction_names_go_from_one_certificate_to_another),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
