/* match_fuzz.c -- requests made of arbitrary bytes against routes of every kind; the
 * path also through normalisation and to the upstream.
 *
 * Input: method, host, SNI, header value, path, each ended by a newline but for the
 * last; the first byte holds switches. */
#include "image/fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const routes[] = {
    "\"paths\":[\"/\"]",
    "\"paths\":[\"/a\",\"/a/b\",\"~/a/[a-z]+$\",\"~/(x|y)\"]",
    "\"paths\":[\"~/(a*)*b\"]",
    "\"hosts\":[\"a.com\",\"*.a.com\",\"a.*\",\"a.com:81\"]",
    "\"hosts\":[\"*.com\"],\"paths\":[\"/a\"],\"methods\":[\"GET\",\"FOO\"]",
    "\"methods\":[\"FOO\"]",
    "\"headers\":{\"h\":[\"1\",\"2\"]}",
    "\"headers\":{\"h\":[\"~*^[a-f]+$\"]},\"paths\":[\"/h\"]",
    "\"snis\":[\"a.com\",\"*.b.com\",\"c.*\"]",
    "\"snis\":[\"a.com\"],\"paths\":[\"/a\"],\"headers\":{\"h\":[\"x\"]}",
};

static void open_world(fixture_t *f)
{
    fixture_open(f);
    fixture_begin(f, true);
    for (unsigned i = 0; i < WEIR_COUNT(routes); i++) {
        char row[512];
        snprintf(row, sizeof(row), "{\"id\":\"40000000-0000-4000-8000-%012u\",%s}", i, routes[i]);
        fixture_put(f, "routes", row);
    }
    fixture_commit(f);
}

static weir_str_t line(const uint8_t **at, size_t *left)
{
    const uint8_t *end = *left > 0 ? memchr(*at, '\n', *left) : NULL;
    weir_str_t text = { (const char *)*at, end != NULL ? (size_t)(end - *at) : *left };
    size_t used = text.len + (end != NULL);
    *at += used;
    *left -= used;
    return text;
}

static void check_paths(weir_str_t path, size_t matched)
{
    static char upstream[3 * 4096 + 64];
    for (int strip = 0; strip < 2; strip++) {
        size_t len = weir_path_upstream(WEIR_STR("/base/"), path, matched, strip, upstream,
                                        3 * (path.len + 6) + 2);
        weir_assert(len > 0);
        for (size_t i = 0; i < len; i++)
            weir_assert(upstream[i] > ' ' && (unsigned char)upstream[i] < 0x7f);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static fixture_t f;
    static fixture_request_t request;
    static char path[4096];
    if (f.image == NULL)
        open_world(&f);
    if (size < 1 || size > 4000)
        return 0;
    fixture_request(&request, "", NULL, "");
    uint8_t switches = *data++;
    size--;
    request.match.https = switches & 1;
    request.match.has_host = switches & 2;
    request.match.method = line(&data, &size);
    request.match.host = line(&data, &size);
    request.match.sni = line(&data, &size);
    if (switches & 4)
        request.match.sni.data = NULL;
    fixture_add_header(&request, WEIR_STR("h"), line(&data, &size));
    weir_str_t raw = { (const char *)data, size };
    size_t len = weir_path_normalize(raw, path);
    weir_assert(len <= raw.len);
    request.match.path = (weir_str_t){ path, len };
    weir_match_t match = { .path_matched = 0 };
    if (fixture_match(&f, &request, &match) == WEIR_OK)
        weir_assert(match.path_matched <= len);
    check_paths(request.match.path, match.path_matched);
    return 0;
}
