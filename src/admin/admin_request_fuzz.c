/* admin_request_fuzz.c -- whole requests: method, target, content type and body,
 * separated by newlines. Whatever comes, there is an answer, and never a fault. */
#include "admin/fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static weir_str_t take_line(weir_str_t *rest)
{
    const char *end = rest->len > 0 ? memchr(rest->data, '\n', rest->len) : NULL;
    weir_str_t line = { rest->data, end != NULL ? (size_t)(end - rest->data) : rest->len };
    size_t used = end != NULL ? line.len + 1 : line.len;
    *rest = (weir_str_t){ rest->data + used, rest->len - used };
    return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { REQUESTS_PER_STORE = 20000 };
    static fixture_t *f;
    static unsigned count;
    if (f != NULL && ++count % REQUESTS_PER_STORE == 0) {
        fixture_free(f);
        f = NULL;
    }
    if (f == NULL)
        f = fixture_new(NULL);
    weir_str_t rest = { (const char *)data, size };
    weir_str_t method = take_line(&rest);
    weir_str_t target = take_line(&rest);
    weir_admin_header_t header = { WEIR_STR("Content-Type"), take_line(&rest) };
    weir_admin_request_t request = { .method = method,
                                     .target = target,
                                     .headers = &header,
                                     .header_count = header.value.len > 0,
                                     .body = rest,
                                     .has_body = rest.len > 0 };
    int status = fixture_send(f, &request);
    weir_assert(status >= 200 && status < 600);
    weir_assert(status != 500 && f->err.code == WEIR_OK);
    return 0;
}
