/* rows.h -- rows as text, and what the tests ask of an image in one line. For tests. */
#ifndef WEIR_IMAGE_ROWS_H
#define WEIR_IMAGE_ROWS_H

#include "image/compare.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define S1 "5e000000-0000-4000-8000-000000000001"
#define S2 "5e000000-0000-4000-8000-000000000002"
#define R1 "40000000-0000-4000-8000-000000000001"
#define R2 "40000000-0000-4000-8000-000000000002"
#define R3 "40000000-0000-4000-8000-000000000003"
#define C1 "c0000000-0000-4000-8000-000000000001"
#define C2 "c0000000-0000-4000-8000-000000000002"
#define K1 "b0000000-0000-4000-8000-000000000001"
#define K2 "b0000000-0000-4000-8000-000000000002"
#define P1 "d0000000-0000-4000-8000-000000000001"
#define P2 "d0000000-0000-4000-8000-000000000002"

#define REF(field, id) "\"" field "\":{\"id\":\"" id "\"}"
#define SERVICE(id)    "{\"id\":\"" id "\",\"host\":\"up.test\",\"created_at\":1,\"updated_at\":1}"
#define ROUTE(id, path) \
    "{\"id\":\"" id "\",\"paths\":[\"" path "\"],\"created_at\":1,\"updated_at\":1}"
#define ROUTE_OF(id, path, service)         \
    "{\"id\":\"" id "\",\"paths\":[\"" path \
    "\"]," REF("service", service) ",\"created_at\":1,\"updated_at\":1}"
#define CONSUMER(id, name) \
    "{\"id\":\"" id "\",\"username\":\"" name "\",\"created_at\":1,\"updated_at\":1}"
#define KEY(id, key, consumer) \
    "{\"id\":\"" id "\",\"key\":\"" key "\"," REF("consumer", consumer) ",\"created_at\":1}"

static inline int setup(void **state)
{
    static fixture_t f;
    fixture_open(&f);
    *state = &f;
    return 0;
}

static inline int teardown(void **state)
{
    fixture_close(*state);
    return 0;
}

/* -- looking -------------------------------------------------------------------------- */

typedef struct found {
    size_t count;
    char field[64], reason[512], type[64], id[64], name[64];
    bool serving;
    uint64_t version;
} found_t;

static inline int keep(void *context, const weir_quarantined_t *entry)
{
    found_t *found = context;
    found->count++;
    found->serving = entry->serving;
    found->version = entry->version;
    snprintf(found->field, sizeof(found->field), "%.*s", WEIR_STR_ARG(entry->field));
    snprintf(found->reason, sizeof(found->reason), "%.*s", WEIR_STR_ARG(entry->reason));
    snprintf(found->type, sizeof(found->type), "%.*s", WEIR_STR_ARG(entry->type));
    snprintf(found->id, sizeof(found->id), "%.*s", WEIR_STR_ARG(entry->id));
    snprintf(found->name, sizeof(found->name), "%.*s", WEIR_STR_ARG(entry->name));
    return WEIR_OK;
}

static inline found_t quarantined(fixture_t *f)
{
    found_t found = { .count = 0 };
    weir_image_state_t state;
    fixture_ok(f, weir_image_quarantined(f->image, keep, &found, &f->err));
    fixture_ok(f, weir_image_state(f->image, &state, &f->err));
    assert_int_equal(state.quarantined, found.count);
    return found;
}

static inline weir_image_state_t state_of(fixture_t *f)
{
    weir_image_state_t state;
    fixture_ok(f, weir_image_state(f->image, &state, &f->err));
    return state;
}

static inline bool serves(fixture_t *f, const char *path)
{
    static fixture_request_t request;
    weir_match_t match;
    fixture_request(&request, "GET", "x.test", path);
    return fixture_match(f, &request, &match) == WEIR_OK;
}

static inline uint64_t routing_of(fixture_t *f)
{
    uint64_t routing = 0;
    fixture_ok(f, weir_reader_moment(f->reader, &routing, &f->err));
    return routing;
}

static inline int credential(fixture_t *f, const char *key, weir_credential_t *ret)
{
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    int rc = weir_reader_credential(f->reader, WEIR_KEYAUTH_CREDENTIALS, weir_str(key),
                                    FIXTURE_NOW_MS / 1000, ret, &f->err);
    weir_reader_leave(f->reader);
    return rc;
}

static inline uint64_t record_version(fixture_t *f, const char *service)
{
    weir_service_t view;
    weir_uuid_t id = fixture_uuid(service);
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    fixture_ok(f, weir_reader_service(f->reader, &id, &view, &f->err));
    uint64_t version = view.version;
    weir_reader_leave(f->reader);
    return version;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
