/* fault_test.c -- requests that meet each other, and requests that meet trouble:
 * nothing is lost, nothing is half done, and the host gets a reason to log. */
#include "admin/fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>

#include <cmocka.h>

enum { THREADS = 8, WRITES = 25 };

static int setup(void **state)
{
    *state = fixture_new(NULL);
    return 0;
}

static int teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

/* One request with a response of its own. Returns the status. */
static int send(weir_admin_t *admin, const char *method, const char *target, const char *body,
                weir_error_t *err)
{
    weir_admin_header_t header = { WEIR_STR("Content-Type"), WEIR_STR("application/json") };
    weir_admin_request_t request = { .method = weir_str(method),
                                     .target = weir_str(target),
                                     .headers = &header,
                                     .header_count = 1,
                                     .body = weir_str(body),
                                     .has_body = true };
    weir_admin_response_t response;
    weir_admin_response_init(&response, 1024 * 1024);
    weir_admin_handle(admin, &request, &response, err);
    int status = response.status;
    weir_admin_response_release(&response);
    return status;
}

typedef struct writer {
    weir_admin_t *admin;
    int number, refused;
} writer_t;

/* Each thread counts up a member of its own of the same row. */
static void *patch_own_member(void *context)
{
    static const char *const members[THREADS] = {
        "retries", "port", "connect_timeout", "read_timeout", "write_timeout",
        "retries", "port", "connect_timeout"
    };
    writer_t *writer = context;
    for (int i = 1; i <= WRITES; i++) {
        char body[64];
        weir_error_t err;
        snprintf(body, sizeof(body), "{\"%s\":%d}", members[writer->number], i);
        writer->refused += send(writer->admin, "PATCH", "/services/s", body, &err) != 200;
    }
    return NULL;
}

static void patches_of_one_row_at_once_lose_nothing(void **state)
{
    fixture_t *f = *state;
    fixture_call(f, "POST", "/services", "{\"name\":\"s\",\"host\":\"h\"}");
    pthread_t threads[THREADS];
    writer_t writers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        writers[i] = (writer_t){ f->admin, i, 0 };
        assert_int_equal(pthread_create(&threads[i], NULL, patch_own_member, &writers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(writers[i].refused, 0);
    }
    assert_int_equal(fixture_call(f, "GET", "/services/s", NULL), 200);
    assert_int_equal((int)weir_json_get_number(f->json, "read_timeout", 0), WRITES);
    assert_int_equal((int)weir_json_get_number(f->json, "write_timeout", 0), WRITES);
}

static void *put_same_name(void *context)
{
    writer_t *writer = context;
    for (int i = 0; i < WRITES; i++) {
        char target[64];
        weir_error_t err;
        snprintf(target, sizeof(target), "/consumers/c%d", i);
        writer->refused += send(writer->admin, "PUT", target, "{}", &err) != 200;
    }
    return NULL;
}

static void puts_of_one_new_name_at_once_make_one_row(void **state)
{
    fixture_t *f = *state;
    pthread_t threads[THREADS];
    writer_t writers[THREADS];
    for (int i = 0; i < THREADS; i++) {
        writers[i] = (writer_t){ f->admin, i, 0 };
        assert_int_equal(pthread_create(&threads[i], NULL, put_same_name, &writers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(writers[i].refused, 0);
    }
    assert_int_equal(weir_store_count(f->options.store, WEIR_CONSUMERS), WRITES);
}

/* Each allocation of a request fails once: a 500 with a reason, or the answer. */
static void torture(fixture_t *f, const char *method, const char *target, const char *body,
                    int wanted)
{
    for (unsigned n = 1; n < 5000; n++) {
        weir_error_t err = { 0 };
        uint64_t version = weir_store_version(f->options.store);
        weir_test_fail_allocation(n);
        int status = send(f->admin, method, target, body, &err);
        weir_test_fail_allocation(0);
        if (status == wanted && err.code == WEIR_OK)
            return;
        if (status != 500 || err.code == WEIR_OK)
            fail_msg("%s %s, allocation %u: %d, %s", method, target, n, status, err.reason);
        if (weir_store_version(f->options.store) != version)
            return; /* stored, but the answer could not be written: still a 500 */
    }
    fail_msg("%s %s never succeeds", method, target);
}

static void without_memory_a_request_is_a_500_and_not_half_done(void **state)
{
    fixture_t *f = *state;
    torture(f, "POST", "/services", "{\"name\":\"s\",\"host\":\"h\",\"tags\":[\"a\"]}", 201);
    torture(f, "PATCH", "/services/s", "{\"retries\":1}", 200);
    torture(f, "PUT", "/services/s", "{\"host\":\"g\"}", 200);
    torture(f, "POST", "/services/s/routes", "{\"paths\":[\"/\"]}", 201);
    torture(f, "GET", "/services", "", 200);
    torture(f, "POST", "/services", "{\"host\":1}", 400);
    torture(f, "GET", "/", "", 200);
    torture(f, "GET", "/schemas/services", "", 200);
    torture(f, "GET", "/consumers/x?size=a", "", 404);
    torture(f, "GET", "/tags", "", 200);
}

static void a_full_disk_is_a_500_and_the_next_write_works(void **state)
{
    fixture_t *f = *state;
    fixture_call(f, "PUT", "/consumers/anna", "{}");
    uint64_t version = weir_store_version(f->options.store);
    struct rlimit before;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 4096, before.rlim_max });
    int status = fixture_call(f, "PUT", "/consumers/bob", "{}");
    setrlimit(RLIMIT_FSIZE, &before);
    assert_int_equal(status, 500);
    assert_string_equal(f->text, "{\"message\":\"An unexpected error occurred\"}");
    assert_int_not_equal(f->err.code, WEIR_OK);
    assert_int_equal(weir_store_version(f->options.store), version);
    assert_int_equal(fixture_call(f, "GET", "/consumers/bob", NULL), 404);
    assert_int_equal(fixture_call(f, "PUT", "/consumers/bob", "{}"), 200);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(patches_of_one_row_at_once_lose_nothing),
        TEST(puts_of_one_new_name_at_once_make_one_row),
        TEST(without_memory_a_request_is_a_500_and_not_half_done),
        TEST(a_full_disk_is_a_500_and_the_next_write_works),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
