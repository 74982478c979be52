/* fixture.h -- what the tests of this room share: an image in a directory of its
 * own, rows as JSON text, requests. Included by *_test.c, *_fuzz.c and the bench. */
#ifndef WEIR_IMAGE_FIXTURE_H
#define WEIR_IMAGE_FIXTURE_H

#include "base/json.h"
#include "image/image.h"
#include "image/path.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FIXTURE_NOW_MS INT64_C(1700000000123)

typedef struct fixture {
    char path[256];
    weir_image_t *image;
    weir_reader_t *reader;
    weir_batch_t *batch; /* the one that puts and deletes go to */
    uint64_t version;
    weir_error_t err;
} fixture_t;

static inline weir_image_options_t fixture_options(const fixture_t *f)
{
    return (weir_image_options_t){ .path = f->path, .map_bytes = 1ULL << 30, .readers_max = 64 };
}

/* A directory that nobody else has; the image in it is not made yet. */
static inline void fixture_directory(fixture_t *f)
{
    const char *base = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";
    *f = (fixture_t){ 0 };
    snprintf(f->path, sizeof(f->path), "%.200s/weir-image-XXXXXX", base);
    if (mkdtemp(f->path) == NULL)
        abort();
}

/* For what must not fail: says why it did. */
static inline void fixture_ok(fixture_t *f, int rc)
{
    if (rc == WEIR_OK)
        return;
    fprintf(stderr, "%s: %s: %s\n", weir_code_name(rc), f->err.field, f->err.reason);
    abort();
}

static inline void fixture_open_reader(fixture_t *f)
{
    fixture_ok(f, weir_reader_open(f->path, &f->reader, &f->err));
}

static inline void fixture_open_with(fixture_t *f, const weir_image_options_t *options)
{
    fixture_directory(f);
    weir_image_options_t own = *options;
    own.path = f->path;
    fixture_ok(f, weir_image_open(&own, &f->image, &f->err));
    fixture_open_reader(f);
}

static inline void fixture_open(fixture_t *f)
{
    weir_image_options_t options = fixture_options(f);
    fixture_open_with(f, &options);
}

static inline int fixture_remove_one(const char *path, const struct stat *info, int flag,
                                     struct FTW *walk)
{
    (void)info, (void)flag, (void)walk;
    return remove(path);
}

static inline void fixture_remove(const char *path)
{
    nftw(path, fixture_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void fixture_close(fixture_t *f)
{
    weir_batch_abort(f->batch);
    weir_reader_close(f->reader);
    weir_image_close(f->image);
    fixture_remove(f->path);
    *f = (fixture_t){ 0 };
}

static inline void fixture_begin(fixture_t *f, bool full)
{
    fixture_ok(f, weir_batch_begin(f->image, full, ++f->version, &f->batch, &f->err));
}

static inline void fixture_put_json(fixture_t *f, const char *type, const weir_json_t *row)
{
    fixture_ok(f, weir_batch_put(f->batch, weir_str(type), row, &f->err));
}

static inline weir_json_t *fixture_json(fixture_t *f, const char *text)
{
    weir_json_t *value = NULL;
    fixture_ok(f, weir_json_parse(weir_str(text), &value, &f->err));
    return value;
}

static inline void fixture_put(fixture_t *f, const char *type, const char *row)
{
    WEIR_AUTO(json) weir_json_t *value = fixture_json(f, row);
    fixture_put_json(f, type, value);
}

static inline void fixture_delete(fixture_t *f, const char *type, const char *key)
{
    WEIR_AUTO(json) weir_json_t *value = fixture_json(f, key);
    fixture_ok(f, weir_batch_delete(f->batch, weir_str(type), value, &f->err));
}

static inline void fixture_commit(fixture_t *f)
{
    weir_batch_t *batch = f->batch;
    f->batch = NULL;
    fixture_ok(f, weir_batch_commit(batch, FIXTURE_NOW_MS, &f->err));
}

/* Batches of one row. */
static inline void fixture_put_alone(fixture_t *f, const char *type, const char *row)
{
    fixture_begin(f, false);
    fixture_put(f, type, row);
    fixture_commit(f);
}

static inline void fixture_delete_alone(fixture_t *f, const char *type, const char *key)
{
    fixture_begin(f, false);
    fixture_delete(f, type, key);
    fixture_commit(f);
}

static inline weir_uuid_t fixture_uuid(const char *text)
{
    weir_uuid_t id;
    if (weir_uuid_parse(weir_str(text), &id) != WEIR_OK)
        abort();
    return id;
}

/* -- requests --------------------------------------------------------------------- */

enum { FIXTURE_HEADERS_MAX = 128 };

typedef struct fixture_request {
    weir_match_request_t match;
    size_t header_count;
    struct {
        weir_str_t name, value;
    } headers[FIXTURE_HEADERS_MAX];
} fixture_request_t;

static inline char fixture_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* '-' and '_' of `a` both stand for `separator`. */
static inline bool fixture_same_name(weir_str_t a, weir_str_t b, char separator)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        char x = a.data[i] == '_' || a.data[i] == '-' ? separator : fixture_lower(a.data[i]);
        if (x != fixture_lower(b.data[i]))
            return false;
    }
    return true;
}

/* As routing 1.2: "x_foo" is looked for first, then "x-foo". */
static inline bool fixture_header(void *context, weir_str_t name, size_t nth, weir_str_t *ret)
{
    const fixture_request_t *request = context;
    for (const char *separator = "_-"; *separator != '\0'; separator++) {
        size_t found = 0;
        for (size_t i = 0; i < request->header_count; i++)
            if (fixture_same_name(name, request->headers[i].name, *separator) && found++ == nth) {
                *ret = request->headers[i].value;
                return true;
            }
        if (found > 0)
            return false;
    }
    return false;
}

static inline void fixture_request(fixture_request_t *request, const char *method, const char *host,
                                   const char *path)
{
    *request = (fixture_request_t){ .match = { .method = weir_str(method),
                                               .has_host = host != NULL,
                                               .host = weir_str(host),
                                               .path = weir_str(path),
                                               .listener_port = 8000,
                                               .header = fixture_header,
                                               .context = request } };
}

static inline void fixture_add_header(fixture_request_t *request, weir_str_t name, weir_str_t value)
{
    if (request->header_count == FIXTURE_HEADERS_MAX)
        abort();
    request->headers[request->header_count].name = name;
    request->headers[request->header_count++].value = value;
}

/* WEIR_OK or WEIR_NOT_FOUND. Strings of *ret live no longer: see its id only. */
static inline int fixture_match(fixture_t *f, fixture_request_t *request, weir_match_t *ret)
{
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    int rc = weir_reader_match(f->reader, &request->match, ret, &f->err);
    weir_reader_leave(f->reader);
    if (rc != WEIR_OK && rc != WEIR_NOT_FOUND)
        fixture_ok(f, rc);
    return rc;
}

#endif
