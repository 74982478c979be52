/* admin_bench.c -- what a request costs: microseconds each, one thread.
 *
 *   admin-bench [COUNT]
 *
 * "validate" is a consumer's whole way but for the store; the difference to "post"
 * is the store's commit. */
#include "admin/fixture.h"

#include "base/clock.h"

static void measure(fixture_t *f, const char *name, const char *method, const char *target,
                    const char *body, int count)
{
    int64_t started = weir_clock_monotonic_us();
    for (int i = 0; i < count; i++) {
        char text[256];
        snprintf(text, sizeof(text), body, i);
        fixture_forget(f);
        weir_admin_header_t header = { WEIR_STR("Content-Type"), WEIR_STR("application/json") };
        weir_admin_request_t request = { .method = weir_str(method),
                                         .target = weir_str(target),
                                         .headers = &header,
                                         .header_count = 1,
                                         .body = weir_str(text),
                                         .has_body = true };
        weir_admin_response_init(&f->response, FIXTURE_BODY_MAX);
        weir_admin_handle(f->admin, &request, &f->response, &f->err);
    }
    double us = (double)(weir_clock_monotonic_us() - started) / count;
    printf("%-10s %8.2f us  (last status %d)\n", name, us, f->response.status);
}

int main(int argc, char **argv)
{
    int count = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 20000;
    fixture_t *f = fixture_new(NULL);
    measure(f, "validate", "POST", "/schemas/consumers/validate", "{\"username\":\"v%d\"}", count);
    measure(f, "post", "POST", "/consumers", "{\"username\":\"u%d\"}", count);
    measure(f, "get", "GET", "/consumers/u1", "", count);
    measure(f, "list100", "GET", "/consumers", "", count / 100);
    measure(f, "patch", "PATCH", "/consumers/u1", "{\"custom_id\":\"c%d\"}", count);
    measure(f, "unknown", "GET", "/nope", "", count);
    fixture_free(f);
    return 0;
}
