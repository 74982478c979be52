/* fixture.h -- a request that is none: what the tests of plugins run phases on,
 * and a player of recorded exchanges. Included by NAME_test.c only, once; it
 * defines the weir_request_* functions.
 *
 * The fake keeps what came from the client apart from what would go upstream. All
 * it hands out is allocated to its exact size, so that sanitizers see a step past. */
#ifndef WEIR_PLUGINS_FIXTURE_H
#define WEIR_PLUGINS_FIXTURE_H

#include "base/json.h"
#include "model/model.h"
#include "plugins/plugins.h"
#include "plugins/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include <cmocka.h>

enum {
    FIXTURE_LINES_MAX = 16,
    FIXTURE_BLOCKS_MAX = 512,
    FIXTURE_LINE_BYTES_MAX = 1 << 22,
    FIXTURE_COUNTERS_MAX = 64
};

#define FIXTURE_ABSENT ((weir_str_t){ NULL, 0 })

typedef struct fixture_line {
    weir_str_t name, value;
} fixture_line_t;

struct weir_request {
    /* from the client */
    weir_str_t method, target, body;
    fixture_line_t headers[FIXTURE_LINES_MAX];
    size_t header_count;
    const weir_json_t *world; /* consumers, keyauth_credentials of a configuration */
    int read_body;            /* what reading says once it is there; WEIR_OK, ... */
    bool body_asked;
    /* to the upstream */
    fixture_line_t sent[FIXTURE_LINES_MAX * 2];
    size_t sent_count;
    weir_str_t sent_query; /* with its '?' */
    weir_str_t sent_body;
    /* who */
    bool by_credential, anonymous;
    char consumer[37], credential[37];
    /* where and when: set by a test, or as fixture_init() has it */
    weir_str_t client_address, route_id, service_id;
    int64_t now_s;
    weir_scope_t scope;
    int counting; /* what weir_counter_ functions say */
    /* the answer */
    bool answered, failed;
    int status;
    weir_str_t content_type, answer; /* of fail: the message */
    weir_str_t challenge;            /* WWW-Authenticate */
    fixture_line_t answer_headers[FIXTURE_LINES_MAX * 2];
    size_t answer_header_count;
    /* memory */
    void *blocks[FIXTURE_BLOCKS_MAX];
    size_t block_count;
    size_t allocations_left; /* until weir_request_alloc fails */
};

/* What all requests of a test have counted; fixture_forget() lets it begin anew. */
static struct {
    char key[256];
    int64_t length_s, ends_s;
    uint64_t value;
} fixture_counters[FIXTURE_COUNTERS_MAX];
static size_t fixture_counter_count;

static inline void fixture_forget(void)
{
    fixture_counter_count = 0;
}

/* -- making and reading one ------------------------------------------------------ */

static inline weir_str_t fixture_copy(weir_request_t *request, weir_str_t text)
{
    if (text.data == NULL)
        return text;
    assert_true(request->block_count < FIXTURE_BLOCKS_MAX);
    char *copy = malloc(text.len > 0 ? text.len : 1);
    assert_non_null(copy);
    memcpy(copy, text.data, text.len);
    request->blocks[request->block_count++] = copy;
    return (weir_str_t){ copy, text.len };
}

static inline weir_str_t fixture_query(weir_str_t target)
{
    const char *query = target.len > 0 ? memchr(target.data, '?', target.len) : NULL;
    size_t at = query != NULL ? (size_t)(query - target.data) : target.len;
    return (weir_str_t){ target.data + at, target.len - at };
}

static inline void fixture_init(weir_request_t *request, const char *method, const char *target)
{
    static const char none[] = "00000000-0000-0000-0000-000000000000";
    *request = (weir_request_t){ .allocations_left = SIZE_MAX,
                                 .client_address = WEIR_STR("127.0.0.1"),
                                 .route_id = WEIR_STR("00000000-0000-4000-8000-00000000000e"),
                                 .service_id = { NULL, 0 },
                                 .now_s = 1700000000 };
    memcpy(request->scope.route, none, sizeof(none));
    memcpy(request->scope.service, none, sizeof(none));
    memcpy(request->scope.consumer, none, sizeof(none));
    request->method = fixture_copy(request, weir_str(method));
    request->target = fixture_copy(request, weir_str(target));
    request->sent_query = fixture_query(request->target);
}

static inline void fixture_release(weir_request_t *request)
{
    for (size_t i = 0; i < request->block_count; i++)
        free(request->blocks[i]);
    request->block_count = 0;
}

static inline void fixture_header(weir_request_t *request, weir_str_t name, weir_str_t value)
{
    assert_true(request->header_count < FIXTURE_LINES_MAX);
    fixture_line_t line = { fixture_copy(request, name), fixture_copy(request, value) };
    request->headers[request->header_count++] = line;
    request->sent[request->sent_count++] = line;
}

static inline void fixture_body(weir_request_t *request, weir_str_t body)
{
    request->body = request->sent_body = fixture_copy(request, body);
}

static inline bool fixture_named(const fixture_line_t *line, weir_str_t name)
{
    return line->name.len == name.len && strncasecmp(line->name.data, name.data, name.len) == 0;
}

/* The nth header that would be sent; data NULL if there is none. */
static inline weir_str_t fixture_sent(const weir_request_t *request, const char *name, size_t nth)
{
    for (size_t i = 0; i < request->sent_count; i++)
        if (fixture_named(&request->sent[i], weir_str(name)) && nth-- == 0)
            return request->sent[i].value;
    return FIXTURE_ABSENT;
}

/* A header that the answer would have; data NULL if there is none. */
static inline weir_str_t fixture_answered(const weir_request_t *request, const char *name)
{
    for (size_t i = 0; i < request->answer_header_count; i++)
        if (fixture_named(&request->answer_headers[i], weir_str(name)))
            return request->answer_headers[i].value;
    return FIXTURE_ABSENT;
}

#define assert_text(found, expected) assert_text_at(found, expected, __FILE__, __LINE__)
static inline void assert_text_at(weir_str_t found, const char *expected, const char *file,
                                  int line)
{
    if (weir_str_is(found, expected))
        return;
    print_error("\"%.*s\" is not \"%s\"\n", WEIR_STR_ARG(found), expected);
    _fail(file, line);
}

/* Compiles a configuration again and again, each time short of memory a little later. */
static inline void fixture_compile_short_of_memory(const char *name, const char *config)
{
    weir_json_t *value = NULL;
    assert_int_equal(weir_json_parse(weir_str(config), &value, NULL), WEIR_OK);
    int rc = WEIR_NO_MEMORY;
    for (unsigned n = 1; rc != WEIR_OK; n++) {
        weir_buffer_t record;
        weir_buffer_init(&record, 1 << 16);
        weir_test_fail_allocation(n);
        rc = weir_plugin_compile(NULL, weir_str(name), value, &record, NULL);
        weir_test_fail_allocation(0);
        assert_true(rc == WEIR_OK || rc == WEIR_NO_MEMORY);
        assert_true(n < 50);
        weir_buffer_release(&record);
    }
    weir_json_free(value);
}

/* The record of a plugin's configuration, completed by the model. The caller
 * releases it. */
static inline void fixture_compile(const char *name, const char *config, weir_buffer_t *ret)
{
    weir_json_t *row = NULL, *complete = NULL, *value = NULL;
    weir_problem_t problem;
    weir_problem_init(&problem);
    char id[] = "{\"id\":\"00000000-0000-4000-8000-000000000001\"}";
    assert_int_equal(weir_json_parse(weir_str(id), &row, NULL), WEIR_OK);
    assert_int_equal(weir_json_parse(weir_str(config), &value, NULL), WEIR_OK);
    weir_json_set(row, "name", weir_json_new_string(weir_str(name)));
    weir_json_set(row, "config", value);
    int rc =
        weir_model_accept(weir_schema_named(WEIR_STR("plugins")), row, 1.7e9, &complete, &problem);
    assert_int_equal(rc, WEIR_OK);
    weir_buffer_init(ret, 1 << 20);
    rc = weir_plugin_compile(NULL, weir_str(name), weir_json_get(complete, "config"), ret, NULL);
    assert_int_equal(rc, WEIR_OK);
    weir_problem_release(&problem);
    weir_json_free(complete);
    weir_json_free(row);
}

/* Access, with the body arriving late; the record is gone after each call. */
static inline weir_phase_result_t fixture_access(weir_request_t *request, const char *name,
                                                 weir_str_t record)
{
    weir_phase_result_t result = WEIR_PHASE_AGAIN;
    for (int calls = 0; calls < 2 && result == WEIR_PHASE_AGAIN; calls++) {
        char *passing = malloc(record.len > 0 ? record.len : 1);
        assert_non_null(passing);
        memcpy(passing, record.data, record.len);
        result = weir_plugin(weir_str(name))->access(request, (weir_str_t){ passing, record.len });
        free(passing);
    }
    return result;
}

/* Compiles `config` and runs it. */
static inline weir_phase_result_t fixture_run(weir_request_t *request, const char *name,
                                              const char *config)
{
    weir_buffer_t record;
    fixture_compile(name, config, &record);
    weir_phase_result_t result = fixture_access(request, name, weir_buffer_str(&record));
    weir_buffer_release(&record);
    return result;
}

/* -- the ABI --------------------------------------------------------------------- */

weir_str_t weir_request_method(weir_request_t *request)
{
    return request->method;
}

weir_str_t weir_request_target(weir_request_t *request)
{
    return request->target;
}

weir_str_t weir_request_path(weir_request_t *request)
{
    return (weir_str_t){ request->target.data,
                         request->target.len - fixture_query(request->target).len };
}

weir_str_t weir_request_client_address(weir_request_t *request)
{
    return request->client_address;
}

weir_str_t weir_request_scheme(weir_request_t *request)
{
    (void)request;
    return WEIR_STR("https");
}

weir_str_t weir_request_host(weir_request_t *request)
{
    (void)request;
    return WEIR_STR("test.example");
}

unsigned weir_request_port(weir_request_t *request)
{
    (void)request;
    return 8443;
}

weir_str_t weir_request_node_id(weir_request_t *request)
{
    (void)request;
    return WEIR_STR("00000000-0000-4000-8000-00000000000d");
}

const char *weir_request_id(weir_request_t *request)
{
    (void)request;
    return "0123456789abcdef0123456789abcdef";
}

int64_t weir_request_now_s(weir_request_t *request)
{
    return request->now_s;
}

void *weir_request_alloc(weir_request_t *request, size_t bytes)
{
    if (request->allocations_left == 0)
        return NULL;
    request->allocations_left--;
    char *block = malloc(bytes > 0 ? bytes : 1);
    assert_non_null(block);
    assert_true(request->block_count < FIXTURE_BLOCKS_MAX);
    return request->blocks[request->block_count++] = block;
}

int64_t weir_request_now_ms(weir_request_t *request)
{
    return weir_request_now_s(request) * 1000 + 7;
}

int weir_request_connection(weir_request_t *request, weir_connection_t *ret)
{
    if (request->allocations_left == 0)
        return WEIR_NO_MEMORY;
    *ret = (weir_connection_t){ fixture_copy(request, WEIR_STR("127.0.0.1")), 12, 3 };
    return WEIR_OK;
}

/* What plugins before have set is what the next one sees. */
bool weir_request_header(weir_request_t *request, weir_str_t name, size_t nth, weir_str_t *ret)
{
    for (size_t i = 0; i < request->sent_count; i++) {
        if (!fixture_named(&request->sent[i], name) || nth-- > 0)
            continue;
        *ret = request->sent[i].value;
        return true;
    }
    return false;
}

bool weir_request_header_at(weir_request_t *request, size_t index, weir_str_t *ret_name,
                            weir_str_t *ret_value)
{
    if (index >= request->header_count)
        return false;
    *ret_name = request->headers[index].name;
    *ret_value = request->headers[index].value;
    return true;
}

int weir_request_set_header(weir_request_t *request, weir_str_t name, weir_str_t value)
{
    size_t kept = 0;
    for (size_t i = 0; i < request->sent_count; i++)
        if (!fixture_named(&request->sent[i], name))
            request->sent[kept++] = request->sent[i];
    request->sent_count = kept;
    if (value.data != NULL)
        request->sent[request->sent_count++] =
            (fixture_line_t){ fixture_copy(request, name), fixture_copy(request, value) };
    return WEIR_OK;
}

static inline weir_str_t fixture_decode(weir_request_t *request, weir_str_t text)
{
    char out[1024];
    size_t len = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned byte = 0;
        char escape[3] = { i + 2 < text.len ? text.data[i + 1] : 'x',
                           i + 2 < text.len ? text.data[i + 2] : 'x', 0 };
        if (text.data[i] == '%' && sscanf(escape, "%2x", &byte) == 1 && strspn(escape, "x") == 0)
            out[len++] = (char)byte, i += 2;
        else
            out[len++] = text.data[i] == '+' ? ' ' : text.data[i];
        assert_true(len < sizeof(out));
    }
    return fixture_copy(request, (weir_str_t){ out, len });
}

/* Takes "name=value" off a query; both decoded. */
static inline bool fixture_next(weir_request_t *request, weir_str_t *query, weir_str_t *ret_pair,
                                fixture_line_t *ret)
{
    while (query->len > 0 && strchr("?&", query->data[0]) != NULL)
        query->data++, query->len--;
    if (query->len == 0)
        return false;
    const char *end = memchr(query->data, '&', query->len);
    *ret_pair = (weir_str_t){ query->data, end != NULL ? (size_t)(end - query->data) : query->len };
    query->data += ret_pair->len, query->len -= ret_pair->len;
    const char *equals = memchr(ret_pair->data, '=', ret_pair->len);
    size_t name = equals != NULL ? (size_t)(equals - ret_pair->data) : ret_pair->len;
    ret->name = fixture_decode(request, (weir_str_t){ ret_pair->data, name });
    ret->value = equals != NULL
                     ? fixture_decode(request, (weir_str_t){ equals + 1, ret_pair->len - name - 1 })
                     : FIXTURE_ABSENT;
    return true;
}

bool weir_request_argument_at(weir_request_t *request, size_t index, weir_str_t *ret_name,
                              weir_str_t *ret_value)
{
    weir_str_t query = fixture_query(request->target), pair;
    fixture_line_t found;
    while (fixture_next(request, &query, &pair, &found)) {
        if (index-- > 0)
            continue;
        *ret_name = found.name;
        *ret_value = found.value;
        return true;
    }
    return false;
}

bool weir_request_argument(weir_request_t *request, weir_str_t name, size_t nth, weir_str_t *ret)
{
    weir_str_t found;
    for (size_t i = 0; weir_request_argument_at(request, i, &found, ret); i++)
        if (weir_str_equal(found, name) && nth-- == 0)
            return true;
    return false;
}

int weir_request_remove_argument(weir_request_t *request, weir_str_t name)
{
    char out[1024] = "?";
    size_t len = 0;
    weir_str_t query = request->sent_query, pair;
    fixture_line_t found;
    while (fixture_next(request, &query, &pair, &found)) {
        if (weir_str_equal(found.name, name))
            continue;
        assert_true(len + pair.len + 1 < sizeof(out));
        out[len] = len == 0 ? '?' : '&';
        len++;
        memcpy(out + len, pair.data, pair.len);
        len += pair.len;
    }
    request->sent_query = fixture_copy(request, (weir_str_t){ out, len });
    return WEIR_OK;
}

int weir_request_read_body(weir_request_t *request)
{
    bool first = !request->body_asked;
    request->body_asked = true;
    return first ? WEIR_AGAIN : request->read_body;
}

weir_str_t weir_request_body(weir_request_t *request)
{
    assert_true(request->body_asked);
    return request->body;
}

int64_t weir_request_body_size(weir_request_t *request)
{
    assert_true(request->body_asked);
    return (int64_t)request->body.len;
}

int weir_request_set_body(weir_request_t *request, weir_str_t body)
{
    request->sent_body = body;
    return WEIR_OK;
}

static inline void fixture_identity(weir_request_t *request, const weir_json_t *consumer,
                                    weir_identity_t *ret)
{
    snprintf(ret->consumer_id, sizeof(ret->consumer_id), "%.*s",
             WEIR_STR_ARG(weir_json_get_string(consumer, "id", WEIR_STR(""))));
    ret->username =
        fixture_copy(request, weir_json_get_string(consumer, "username", FIXTURE_ABSENT));
    ret->custom_id =
        fixture_copy(request, weir_json_get_string(consumer, "custom_id", FIXTURE_ABSENT));
}

int weir_request_find_consumer(weir_request_t *request, weir_str_t id_or_name, weir_identity_t *ret)
{
    const weir_json_t *consumer = weir_json_first(weir_json_get(request->world, "consumers"));
    for (; consumer != NULL; consumer = weir_json_next(consumer)) {
        if (!weir_str_equal(weir_json_get_string(consumer, "id", WEIR_STR("")), id_or_name) &&
            !weir_str_equal(weir_json_get_string(consumer, "username", WEIR_STR("")), id_or_name))
            continue;
        fixture_identity(request, consumer, ret);
        return WEIR_OK;
    }
    return WEIR_NOT_FOUND;
}

int weir_request_find_credential(weir_request_t *request, const char *entity, weir_str_t key,
                                 weir_identity_t *ret)
{
    if (weir_str_is(key, "broken"))
        return WEIR_CORRUPT;
    const weir_json_t *credential = weir_json_first(weir_json_get(request->world, entity));
    for (; credential != NULL; credential = weir_json_next(credential)) {
        if (!weir_str_equal(weir_json_get_string(credential, "key", WEIR_STR("")), key))
            continue;
        snprintf(ret->credential_id, sizeof(ret->credential_id), "%.*s",
                 WEIR_STR_ARG(weir_json_get_string(credential, "id", WEIR_STR(""))));
        weir_str_t consumer = weir_json_get_string(credential, "consumer", WEIR_STR(""));
        return weir_request_find_consumer(request, consumer, ret);
    }
    return WEIR_NOT_FOUND;
}

int weir_request_authenticate(weir_request_t *request, const weir_identity_t *identity,
                              bool anonymous)
{
    request->by_credential = !anonymous;
    request->anonymous = anonymous;
    memcpy(request->consumer, identity->consumer_id, sizeof(request->consumer));
    memcpy(request->credential, identity->credential_id, sizeof(request->credential));
    weir_request_set_header(request, WEIR_STR("X-Consumer-ID"), weir_str(identity->consumer_id));
    weir_request_set_header(request, WEIR_STR("X-Consumer-Username"), identity->username);
    weir_request_set_header(request, WEIR_STR("X-Consumer-Custom-ID"), identity->custom_id);
    weir_request_set_header(request, WEIR_STR("X-Credential-Identifier"),
                            anonymous ? FIXTURE_ABSENT : weir_str(identity->credential_id));
    return weir_request_set_header(request, WEIR_STR("X-Anonymous-Consumer"),
                                   anonymous ? WEIR_STR("true") : FIXTURE_ABSENT);
}

bool weir_request_is_authenticated(weir_request_t *request)
{
    return request->by_credential;
}

weir_str_t weir_request_route_id(weir_request_t *request)
{
    return request->route_id;
}

weir_str_t weir_request_service_id(weir_request_t *request)
{
    return request->service_id;
}

weir_str_t weir_request_credential_id(weir_request_t *request)
{
    return request->by_credential && request->credential[0] != '\0' ? weir_str(request->credential)
                                                                    : FIXTURE_ABSENT;
}

void weir_request_scope(weir_request_t *request, weir_scope_t *ret)
{
    *ret = request->scope;
}

weir_str_t weir_request_consumer_id(weir_request_t *request)
{
    return request->consumer[0] != '\0' ? weir_str(request->consumer) : FIXTURE_ABSENT;
}

uint64_t weir_entity_types(const char *names)
{
    return names[0] != '\0';
}

int weir_cache_get(weir_request_t *request, weir_str_t key, uint64_t types, weir_cached_t *ret)
{
    (void)request, (void)key;
    *ret = (weir_cached_t){ .types = types };
    return WEIR_NOT_FOUND; /* a cache may forget */
}

void weir_cache_put(weir_request_t *request, weir_str_t key, const weir_cached_t *missed,
                    weir_str_t value, int64_t until_s)
{
    (void)request, (void)key, (void)missed, (void)value, (void)until_s;
}

/* The place of a counter, which is of the window that ends then. */
static inline size_t fixture_counter(weir_str_t key, int64_t length_s, int64_t ends_s)
{
    size_t i = 0;
    while (i < fixture_counter_count &&
           (!weir_str_is(key, fixture_counters[i].key) ||
            fixture_counters[i].length_s != length_s || fixture_counters[i].ends_s != ends_s))
        i++;
    if (i < fixture_counter_count)
        return i;
    assert_true(i < FIXTURE_COUNTERS_MAX);
    assert_true(key.len < sizeof(fixture_counters[i].key));
    fixture_counters[i].length_s = length_s;
    fixture_counters[i].ends_s = ends_s;
    fixture_counters[i].value = 0;
    snprintf(fixture_counters[i].key, sizeof(fixture_counters[i].key), "%.*s", WEIR_STR_ARG(key));
    fixture_counter_count++;
    return i;
}

int weir_counter_add(weir_request_t *request, weir_str_t key, int64_t window_s, uint64_t amount,
                     uint64_t *ret)
{
    *ret = 0;
    if (request->counting != WEIR_OK)
        return request->counting;
    int64_t ends_s = (request->now_s / window_s + 1) * window_s;
    *ret = fixture_counters[fixture_counter(key, window_s, ends_s)].value += amount;
    return WEIR_OK;
}

int weir_counter_take(weir_request_t *request, weir_str_t key, weir_window_t *windows, size_t count,
                      bool *ret_counted)
{
    *ret_counted = false;
    if (request->counting != WEIR_OK)
        return request->counting;
    *ret_counted = true;
    for (size_t i = 0; i < count; i++) {
        assert_true(windows[i].ends_s > request->now_s);
        size_t at = fixture_counter(key, windows[i].length_s, windows[i].ends_s);
        windows[i].count = fixture_counters[at].value;
        *ret_counted &= windows[i].count < windows[i].limit;
    }
    for (size_t i = 0; *ret_counted && i < count; i++)
        fixture_counters[fixture_counter(key, windows[i].length_s, windows[i].ends_s)].value++;
    return WEIR_OK;
}

weir_str_t weir_request_route_json(weir_request_t *request)
{
    (void)request;
    return WEIR_STR("{\"name\":\"rt\"}");
}

weir_str_t weir_request_service_json(weir_request_t *request)
{
    (void)request;
    return FIXTURE_ABSENT;
}

int weir_request_answer_header(weir_request_t *request, weir_str_t name, weir_str_t value)
{
    if (weir_str_is(name, "WWW-Authenticate")) {
        request->challenge = fixture_copy(request, value);
        return WEIR_OK;
    }
    assert_true(request->answer_header_count < WEIR_COUNT(request->answer_headers));
    request->answer_headers[request->answer_header_count++] =
        (fixture_line_t){ fixture_copy(request, name), fixture_copy(request, value) };
    return WEIR_OK;
}

int weir_request_set_answer_header(weir_request_t *request, weir_str_t name, weir_str_t value)
{
    size_t kept = 0;
    for (size_t i = 0; i < request->answer_header_count; i++)
        if (!fixture_named(&request->answer_headers[i], name))
            request->answer_headers[kept++] = request->answer_headers[i];
    request->answer_header_count = kept;
    if (value.data == NULL)
        return WEIR_OK;
    assert_true(kept < WEIR_COUNT(request->answer_headers));
    request->answer_headers[request->answer_header_count++] =
        (fixture_line_t){ fixture_copy(request, name), fixture_copy(request, value) };
    return WEIR_OK;
}

static inline int fixture_end(weir_request_t *request, int status, weir_str_t type, weir_str_t body)
{
    assert_false(request->answered);
    request->answered = true;
    request->status = status;
    request->content_type = fixture_copy(request, type);
    request->answer = fixture_copy(request, body);
    return WEIR_OK;
}

int weir_request_answer(weir_request_t *request, int status, weir_str_t content_type,
                        weir_str_t body)
{
    return fixture_end(request, status, content_type, body);
}

int weir_request_fail(weir_request_t *request, int status, weir_str_t message)
{
    request->failed = true;
    return fixture_end(request, status, FIXTURE_ABSENT, message);
}

/* A record that was cut short, wherever, is an error of access: nobody passes by it. */
static inline void fixture_record_cut_short(const char *name, const char *config)
{
    weir_buffer_t record;
    fixture_compile(name, config, &record);
    for (size_t len = 0; len < record.len; len++) {
        weir_request_t request;
        fixture_init(&request, "GET", "/");
        assert_int_equal(fixture_access(&request, name, (weir_str_t){ record.data, len }),
                         WEIR_PHASE_ERROR);
        fixture_release(&request);
    }
    weir_buffer_release(&record);
}

#endif
