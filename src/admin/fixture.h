/* fixture.h -- what the tests of this room share: an Admin API over a database in
 * a directory of its own, requests in one line. Included by *_test.c, *_fuzz.c and
 * *_bench.c only. */
#ifndef WEIR_ADMIN_FIXTURE_H
#define WEIR_ADMIN_FIXTURE_H

#include "admin/admin.h"
#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { FIXTURE_BODY_MAX = 64 * 1024 * 1024 };

typedef struct fixture {
    char directory[256];
    char path[300];
    weir_store_options_t store_options;
    weir_settings_t *settings;
    weir_admin_options_t options;
    weir_admin_t *admin;
    /* Of the last call. */
    weir_admin_response_t response;
    weir_error_t err;
    weir_json_t *json; /* NULL if the body is none */
    char *text;        /* the body, terminated */
} fixture_t;

static inline void fixture_check(int rc, const weir_error_t *err)
{
    if (rc == WEIR_OK)
        return;
    fprintf(stderr, "fixture: %s %s (%s)\n", err->field, err->reason, weir_code_name(rc));
    abort();
}

/* `settings`: NAME=VALUE lines, ended by NULL; NULL: none. */
static inline fixture_t *fixture_new(const char *const *settings)
{
    fixture_t *f = calloc(1, sizeof(*f));
    weir_error_t err = { 0 };
    size_t done = 0;
    const char *place = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir;
    snprintf(f->directory, sizeof(f->directory), "%s/weir-admin-XXXXXX", place);
    if (mkdtemp(f->directory) == NULL)
        abort();
    snprintf(f->path, sizeof(f->path), "%s/weir.db", f->directory);
    f->store_options = (weir_store_options_t){ .path = f->path, .log_entries_max = 100000 };
    fixture_check(weir_store_migrate(&f->store_options, &done, &err), &err);
    fixture_check(weir_store_open(&f->store_options, &f->options.store, &err), &err);
    fixture_check(weir_settings_load(NULL, NULL, f->directory, &f->settings, &err), &err);
    for (; settings != NULL && *settings != NULL; settings++) {
        char name[64];
        const char *equals = strchr(*settings, '=');
        snprintf(name, sizeof(name), "%.*s", (int)(equals - *settings), *settings);
        fixture_check(weir_settings_set(f->settings, name, weir_str(equals + 1), &err), &err);
    }
    f->options.settings = f->settings;
    f->options.hostname = "test";
    fixture_check(
        weir_uuid_parse(WEIR_STR("00000000-0000-4000-8000-00000000cafe"), &f->options.node_id),
        &err);
    fixture_check(weir_admin_new(&f->options, &f->admin, &err), &err);
    return f;
}

static inline void fixture_forget(fixture_t *f)
{
    weir_json_free(f->json);
    free(f->text);
    f->json = NULL;
    f->text = NULL;
    weir_admin_response_release(&f->response);
}

static inline void fixture_free(fixture_t *f)
{
    fixture_forget(f);
    weir_admin_free(f->admin);
    weir_store_close(f->options.store);
    weir_settings_free(f->settings);
    weir_store_reset(&f->store_options, NULL);
    rmdir(f->directory);
    free(f);
}

static inline int fixture_send(fixture_t *f, const weir_admin_request_t *request)
{
    fixture_forget(f);
    weir_admin_response_init(&f->response, FIXTURE_BODY_MAX);
    weir_admin_handle(f->admin, request, &f->response, &f->err);
    weir_str_t body = weir_buffer_str(&f->response.body);
    f->text = strndup(body.data, body.len);
    weir_json_parse(body, &f->json, NULL);
    return f->response.status;
}

/* The status. `body` NULL: none; with `type` NULL it is JSON. */
static inline int fixture_call_as(fixture_t *f, const char *method, const char *target,
                                  const char *type, const char *body)
{
    weir_admin_header_t header = { WEIR_STR("Content-Type"),
                                   weir_str(type != NULL ? type : "application/json") };
    weir_admin_request_t request = {
        .method = weir_str(method),
        .target = weir_str(target),
        .headers = &header,
        .header_count = body != NULL,
        .body = weir_str(body != NULL ? body : ""),
        .has_body = body != NULL && body[0] != '\0',
    };
    return fixture_send(f, &request);
}

static inline int fixture_call(fixture_t *f, const char *method, const char *target,
                               const char *body)
{
    return fixture_call_as(f, method, target, NULL, body);
}

static inline int fixture_form(fixture_t *f, const char *method, const char *target,
                               const char *body)
{
    return fixture_call_as(f, method, target, "application/x-www-form-urlencoded", body);
}

/* Of the last answer: a member's text, "" if it is none; a header, "" if absent. */
static inline const char *fixture_text(const fixture_t *f, const char *member)
{
    weir_str_t text = weir_json_get_string(f->json, member, WEIR_STR(""));
    return text.data;
}

static inline const char *fixture_header(const fixture_t *f, const char *name)
{
    for (size_t i = 0; i < f->response.header_count; i++)
        if (weir_str_is(f->response.headers[i].name, name))
            return f->response.headers[i].value.data;
    return "";
}

static inline size_t fixture_rows(const fixture_t *f)
{
    return weir_json_count(weir_json_get(f->json, "data"));
}

#endif
