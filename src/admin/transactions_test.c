/* transactions_test.c -- several operations in one request: all or none, one version,
 * and each does what it would do as a request of its own. */
#include "admin/fixture.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define ID(n) "00000000-0000-4000-8000-0000000000" n

static int setup(void **state)
{
    static const char *const settings[] = { "admin_transaction_operations=100", NULL };
    *state = fixture_new(settings);
    return 0;
}

static int teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

/* `operations`: the inside of the array. */
static int transact(fixture_t *f, const char *operations)
{
    WEIR_AUTO(buffer) weir_buffer_t body;
    weir_buffer_init(&body, FIXTURE_BODY_MAX);
    weir_buffer_printf(&body, "{\"operations\":[%s]}", operations);
    weir_buffer_byte(&body, '\0');
    return fixture_call(f, "POST", "/transactions", body.data);
}

static const weir_json_t *entity_at(const fixture_t *f, size_t index)
{
    const weir_json_t *entity = weir_json_first(weir_json_get(f->json, "entities"));
    while (index-- > 0)
        entity = weir_json_next(entity);
    return entity;
}

static const char *text_at(const fixture_t *f, size_t index, const char *member)
{
    return weir_json_get_string(entity_at(f, index), member, WEIR_STR("")).data;
}

static int error_index(const fixture_t *f)
{
    return (int)weir_json_get_number(weir_json_get(f->json, "operation"), "index", -1);
}

static void what_is_made_first_can_be_referred_to_by_id_and_by_name(void **state)
{
    fixture_t *f = *state;
    uint64_t version = weir_store_version(f->options.store);
    int status = transact(
        f, "{\"op\":\"create\",\"path\":\"/services\",\"body\":{\"name\":\"s\",\"url\":\"http://h/"
           "x\"}},"
           "{\"op\":\"create\",\"path\":\"/services/s/"
           "routes\",\"body\":{\"name\":\"r\",\"paths\":[\"/\"]}},"
           "{\"op\":\"create\",\"type\":\"routes\",\"body\":{\"id\":\"" ID(
               "01") "\",\"paths\":[\"/2\"],"
                     "\"service\":{\"name\":\"s\"}}},"
                     "{\"op\":\"create\",\"path\":\"/"
                     "plugins\",\"body\":{\"name\":\"key-auth\",\"route\":{\"id\":\"" ID(
                         "01") "\"},\"protocols\":[\"http\"]}},"
                               "{\"op\":\"upsert\",\"type\":\"consumers\",\"name\":\"an na\"},"
                               "{\"op\":\"create\",\"path\":\"/consumers/an%20na/"
                               "key-auth\",\"body\":{\"key\":\"k\",\"ttl\":100}},"
                               "{\"op\":\"update\",\"type\":\"services\",\"name\":\"s\",\"body\":{"
                               "\"retries\":2}},"
                               "{\"op\":\"delete\",\"path\":\"/routes/r\"}");
    assert_int_equal(status, 200);
    assert_int_equal(weir_store_version(f->options.store), version + 1);
    assert_int_equal((uint64_t)weir_json_get_number(f->json, "version", 0), version + 1);
    assert_true(weir_json_get_boolean(f->json, "changed", false));
    assert_string_equal(fixture_header(f, "Weir-Version"), "2");
    assert_int_equal(weir_json_count(weir_json_get(f->json, "entities")), 8);
    assert_string_equal(text_at(f, 0, "path"), "/x"); /* the shorthand was worked out */
    assert_string_equal(text_at(f, 1, "name"), "r");
    assert_string_equal(text_at(f, 4, "username"), "an na");
    double ttl = weir_json_get_number(entity_at(f, 5), "ttl", 0);
    assert_true(ttl > 90 && ttl <= 100); /* shown as seconds left */
    assert_int_equal((int)weir_json_get_number(entity_at(f, 6), "retries", 0), 2);
    assert_true(weir_json_is_null(entity_at(f, 7)));
    assert_int_equal(fixture_call(f, "GET", "/routes/" ID("01") "/service", NULL), 200);
    assert_int_equal((int)weir_json_get_number(f->json, "retries", 0), 2);
    assert_int_equal(fixture_call(f, "GET", "/routes/r", NULL), 404);
    assert_int_equal(fixture_call(f, "GET", "/key-auths/k/consumer", NULL), 200);
}

static void an_error_names_the_operation_and_nothing_is_stored(void **state)
{
    static const struct {
        const char *second; /* after a create of service s */
        int status, code;
        const char *field;
    } cases[] = {
        { "{\"op\":\"create\",\"path\":\"/routes\",\"body\":{\"paths\":[\"x\"]}}", 400, 2,
          "paths" },
        { "{\"op\":\"create\",\"path\":\"/services\",\"body\":{\"name\":\"s\",\"host\":\"h\"}}",
          409, 5, "name" },
        { "{\"op\":\"create\",\"path\":\"/services\",\"body\":{\"name\":\"old\",\"host\":\"h\"}}",
          409, 5, "name" },
        { "{\"op\":\"create\",\"path\":\"/services\",\"body\":{\"id\":\"" ID(
              "01") "\",\"host\":\"h\"}}",
          400, 3, "id" },
        { "{\"op\":\"create\",\"path\":\"/routes\",\"body\":{\"paths\":[\"/"
          "\"],\"service\":{\"id\":\"" ID("77") "\"}}}",
          400, 4, "service" },
        { "{\"op\":\"create\",\"path\":\"/routes\",\"body\":{\"paths\":[\"/"
          "\"],\"service\":{\"name\":"
          "\"later\"}}},{\"op\":\"create\",\"path\":\"/services\",\"body\":{\"name\":\"later\","
          "\"host\":\"h\"}}",
          400, 0, "service" },
        { "{\"op\":\"update\",\"path\":\"/services/none\",\"body\":{\"retries\":1}}", 404, 6,
          "name" },
        { "{\"op\":\"create\",\"path\":\"/services/none/routes\",\"body\":{\"paths\":[\"/\"]}}",
          404, 6, "path" },
        { "{\"op\":\"delete\",\"path\":\"/services/old\"}", 400, 4, "@referenced_by" },
        { "{\"op\":\"delete\",\"path\":\"/services/old\"},{\"op\":\"update\",\"path\":\"/routes/r/"
          "service\"}",
          400, 4, "@referenced_by" },
        { "{\"op\":\"create\",\"path\":\"/plugins\",\"body\":{\"name\":\"none\"}}", 400, 2,
          "name" },
        { "{\"op\":\"merge\",\"path\":\"/services\"}", 400, 2, "op" },
        { "{\"path\":\"/services\"}", 400, 2, "op" },
        { "{\"op\":\"create\"}", 400, 2, "path" },
        { "{\"op\":\"create\",\"path\":\"/services\",\"type\":\"services\"}", 400, 2, "path" },
        { "{\"op\":\"create\",\"path\":\"/services/x\"}", 400, 2, "op" },
        { "{\"op\":\"update\",\"path\":\"/services\"}", 400, 2, "op" },
        { "{\"op\":\"create\",\"path\":\"/transactions\"}", 400, 2, "path" },
        { "{\"op\":\"create\",\"path\":\"/nowhere\"}", 400, 2, "path" },
        { "{\"op\":\"create\",\"path\":\"/services?x=1\"}", 400, 2, "path" },
        { "{\"op\":\"update\",\"path\":\"/services/%00\"}", 400, 2, "path" },
        { "{\"op\":\"create\",\"type\":\"targets\"}", 400, 2, "type" },
        { "{\"op\":\"update\",\"type\":\"services\"}", 400, 2, "id" },
        { "{\"op\":\"update\",\"type\":\"services\",\"id\":\"x\",\"name\":\"x\"}", 400, 2, "name" },
        { "{\"op\":\"create\",\"type\":\"services\",\"name\":\"x\"}", 400, 2, "name" },
        { "{\"op\":\"create\",\"path\":\"/services\",\"body\":[1]}", 400, 2, "body" },
        { "{\"op\":\"delete\",\"path\":\"/services/s\",\"body\":{\"a\":1}}", 400, 2, "body" },
        { "{\"op\":\"create\",\"path\":\"/services\",\"bodi\":{}}", 400, 2, "bodi" },
        { "{\"op\":1,\"path\":\"/services\"}", 400, 2, "op" },
        { "7", 400, 2, "operations" },
    };
    fixture_t *f = *state;
    fixture_call(f, "POST", "/services",
                 "{\"id\":\"" ID("01") "\",\"name\":\"old\",\"host\":\"h\"}");
    fixture_call(f, "POST", "/services/old/routes", "{\"name\":\"r\",\"paths\":[\"/\"]}");
    uint64_t version = weir_store_version(f->options.store);
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        char operations[1024];
        snprintf(operations, sizeof(operations),
                 "{\"op\":\"create\",\"path\":\"/"
                 "services\",\"body\":{\"name\":\"s\",\"host\":\"h\"}},%s",
                 cases[i].second);
        int status = transact(f, operations);
        const weir_json_t *fields = weir_json_get(f->json, "fields");
        if (status != cases[i].status || error_index(f) != 1 ||
            (cases[i].code > 0 && (int)weir_json_get_number(f->json, "code", 0) != cases[i].code) ||
            weir_json_get(fields, cases[i].field) == NULL ||
            strncmp(fixture_text(f, "message"), "operation 1", 11) != 0 ||
            fixture_text(f, "name")[0] == '\0')
            fail_msg("case %zu: %d %s", i, status, f->text);
        assert_int_equal(weir_store_version(f->options.store), version);
        assert_string_equal(fixture_header(f, "Weir-Version"), "");
    }
    assert_int_equal(fixture_call(f, "GET", "/services/s", NULL), 404);
}

static void a_list_that_is_none_or_too_long_is_refused(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(fixture_call(f, "POST", "/transactions", "{}"), 400);
    assert_int_equal(fixture_call(f, "POST", "/transactions", "{\"operations\":{}}"), 400);
    assert_int_equal(fixture_call(f, "POST", "/transactions", "{\"operations\":[]}"), 400);
    assert_int_equal(fixture_call(f, "POST", "/transactions", "{\"operations\":[1],\"x\":1}"), 400);
    assert_non_null(weir_json_get(weir_json_get(f->json, "fields"), "x"));
    assert_int_equal(fixture_form(f, "POST", "/transactions", "operations[]=1"), 415);
    assert_int_equal(fixture_call(f, "GET", "/transactions", NULL), 405);
    WEIR_AUTO(buffer) weir_buffer_t many;
    weir_buffer_init(&many, 1024 * 1024);
    for (int i = 0; i < 101; i++)
        weir_buffer_printf(&many, "%s{\"op\":\"upsert\",\"path\":\"/consumers/c%d\"}",
                           i > 0 ? "," : "", i);
    weir_buffer_byte(&many, '\0');
    assert_int_equal(transact(f, many.data), 400);
    assert_non_null(strstr(f->text, "admin_transaction_operations"));
    assert_int_equal(weir_store_count(f->options.store, WEIR_CONSUMERS), 0);
    assert_int_equal(transact(f, strchr(many.data, ',') + sizeof("\"path\":\"/consumers/c0\"},")),
                     200);
    assert_int_equal(weir_store_count(f->options.store, WEIR_CONSUMERS), 100);
}

static void what_changes_nothing_makes_no_version(void **state)
{
    fixture_t *f = *state;
    fixture_call(f, "PUT", "/services/s", "{\"host\":\"h\"}");
    uint64_t version = weir_store_version(f->options.store);
    assert_int_equal(
        transact(f, "{\"op\":\"upsert\",\"path\":\"/services/s\",\"body\":{\"host\":\"h\"}},"
                    "{\"op\":\"delete\",\"path\":\"/consumers/none\"}"),
        200);
    assert_false(weir_json_get_boolean(f->json, "changed", true));
    assert_int_equal((uint64_t)weir_json_get_number(f->json, "version", 0), version);
    assert_int_equal(weir_store_version(f->options.store), version);
    assert_int_equal(transact(f, "{\"op\":\"delete\",\"path\":\"/consumers/none\"}"), 200);
}

static void what_a_deleted_parent_takes_along_is_gone_for_later_operations(void **state)
{
    fixture_t *f = *state;
    assert_int_equal(
        transact(f, "{\"op\":\"create\",\"path\":\"/upstreams\",\"body\":{\"name\":\"u\"}},"
                    "{\"op\":\"create\",\"path\":\"/upstreams/u/targets\",\"body\":"
                    "{\"target\":\"t:1\"}},"
                    "{\"op\":\"update\",\"path\":\"/upstreams/u/targets/t:1\",\"body\":"
                    "{\"weight\":7}},"
                    "{\"op\":\"create\",\"path\":\"/upstreams/u/targets\",\"body\":"
                    "{\"target\":\"t:2\"}},"
                    "{\"op\":\"delete\",\"path\":\"/upstreams/u/targets/t:2\"}"),
        200);
    assert_int_equal(fixture_call(f, "GET", "/upstreams/u/targets", NULL), 200);
    assert_int_equal(fixture_rows(f), 1);
    assert_int_equal(
        (int)weir_json_get_number(weir_json_first(weir_json_get(f->json, "data")), "weight", 0), 7);
    assert_int_equal(
        transact(f, "{\"op\":\"delete\",\"path\":\"/upstreams/u\"},"
                    "{\"op\":\"create\",\"path\":\"/upstreams\",\"body\":{\"name\":\"u\"}},"
                    "{\"op\":\"update\",\"path\":\"/upstreams/u/targets/t:1\",\"body\":"
                    "{\"weight\":8}}"),
        404);
    assert_int_equal(error_index(f), 2);
}

/* -- the same as one by one --------------------------------------------------------------- */

enum { PROPERTY_OPERATIONS = 12, PROPERTY_SEEDS = 400 };

typedef struct choice {
    const char *op, *method, *path, *body;
} choice_t;

static unsigned next_random(unsigned *seed)
{
    *seed = *seed * 1103515245U + 12345U;
    return *seed >> 16;
}

/* Few names, so that operations meet: taken keys, missing parents, cascades, swaps. */
static void choose(unsigned *seed, char path[128], char body[256], choice_t *ret)
{
    static const struct {
        const char *op, *method;
    } ops[] = {
        { "create", "POST" }, { "update", "PATCH" }, { "upsert", "PUT" }, { "delete", "DELETE" }
    };
    unsigned kind = next_random(seed) % 8;
    unsigned op = next_random(seed) % 4;
    unsigned n = next_random(seed) % 3;
    unsigned m = next_random(seed) % 3;
    unsigned id = next_random(seed) % 90 + 10;
    snprintf(body, 256, "{}");
    switch (kind) {
    case 0:
        snprintf(path, 128, op == 0 ? "/services" : "/services/s%u", n);
        snprintf(body, 256, "{\"name\":\"s%u\",\"host\":\"h\",\"retries\":%u%s", m, n,
                 op == 0 ? "" : "}");
        break;
    case 1:
        snprintf(path, 128, op == 0 ? "/services/s%u/routes" : "/routes/r%u", n);
        snprintf(body, 256, "{\"name\":\"r%u\",\"paths\":[\"/%u\"]%s", m, n, op == 0 ? "" : "}");
        break;
    case 2:
        snprintf(path, 128, op == 0 ? "/consumers" : "/consumers/c%u", n);
        snprintf(body, 256, "{\"username\":\"c%u\",\"tags\":[\"t%u\"]%s", m, n, op == 0 ? "" : "}");
        break;
    case 3:
        snprintf(path, 128, op == 0 ? "/consumers/c%u/key-auth" : "/key-auths/k%u", n);
        snprintf(body, 256, "{\"key\":\"k%u\",\"consumer\":{\"username\":\"c%u\"}%s", m, n,
                 op == 0 ? "" : "}");
        break;
    case 4:
        snprintf(path, 128, op == 0 ? "/routes/r%u/plugins" : "/plugins/p%u", n);
        snprintf(body, 256, "{\"name\":\"key-auth\",\"instance_name\":\"p%u\"%s", m,
                 op == 0 ? ",\"protocols\":[\"http\"]" : "}");
        break;
    case 5:
        snprintf(path, 128, op == 0 ? "/upstreams" : "/upstreams/u%u", n);
        snprintf(body, 256, "{\"name\":\"u%u\"%s", m, op == 0 ? "" : "}");
        break;
    case 6:
        op = op == 0 ? 1 : op;
        snprintf(path, 128, "/routes/r%u/service", n);
        snprintf(body, 256, "{\"host\":\"h\",\"retries\":%u}", m);
        break;
    default:
        snprintf(path, 128, op == 0 ? "/upstreams/u%u/targets" : "/upstreams/u%u/targets/t%u:1", n,
                 m);
        snprintf(body, 256, "{\"target\":\"t%u:1\",\"weight\":%u%s", m, n, op == 0 ? "" : "}");
        break;
    }
    if (op == 0)
        snprintf(body + strlen(body), 256 - strlen(body), ",\"id\":\"" ID("%u") "\"}", id);
    *ret = (choice_t){ ops[op].op, ops[op].method, path, op == 3 ? "" : body };
}

static int print_row(void *context, const weir_delta_t *row)
{
    weir_json_t *entity = NULL;
    if (row->type == WEIR_WORKSPACES || row->type == WEIR_PARAMETERS)
        return WEIR_OK; /* each database's own */
    weir_json_parse(row->document, &entity, NULL);
    weir_json_remove(entity, "created_at");
    weir_json_remove(entity, "updated_at");
    weir_json_print(entity, context);
    weir_buffer_byte(context, '\n');
    weir_json_free(entity);
    return WEIR_OK;
}

/* Everything that is stored, without times and in no order of ids that were drawn. */
static size_t print_store(fixture_t *f, weir_buffer_t *out)
{
    uint64_t version = 0;
    weir_buffer_init(out, FIXTURE_BODY_MAX);
    assert_int_equal(weir_store_snapshot(f->options.store, print_row, out, &version, NULL),
                     WEIR_OK);
    weir_buffer_byte(out, '\0');
    return out->len;
}

/* One by one until one fails; *ret: which. Its status is returned. */
static int one_by_one(fixture_t *f, unsigned seed, weir_buffer_t *operations, size_t *ret)
{
    int status = 200;
    size_t count = 2 + next_random(&seed) % (PROPERTY_OPERATIONS - 1);
    for (*ret = 0; *ret < count;) {
        char path[128];
        char body[256];
        choice_t c;
        choose(&seed, path, body, &c);
        /* An id drawn by the store can't be compared: what is new is only created. */
        if (strcmp(c.method, "PUT") == 0 && fixture_call(f, "GET", c.path, NULL) == 404)
            continue;
        status = fixture_call(f, c.method, c.path, c.body[0] != '\0' ? c.body : NULL);
        if (status >= 300 && next_random(&seed) % 8 > 0)
            continue; /* most of those that fail are left out, so that many go on */
        weir_buffer_printf(operations, "%s{\"op\":\"%s\",\"path\":\"%s\"%s%s}", *ret > 0 ? "," : "",
                           c.op, c.path, c.body[0] != '\0' ? ",\"body\":" : "", c.body);
        if (status >= 300)
            break;
        ++*ret;
    }
    /* What comes after one that fails must not hide why. */
    for (unsigned n = 0; status >= 300 && n < 3; n++) {
        char path[128];
        char body[256];
        choice_t c;
        choose(&seed, path, body, &c);
        weir_buffer_printf(operations, ",{\"op\":\"%s\",\"path\":\"%s\"}", c.op, c.path);
    }
    weir_buffer_byte(operations, '\0');
    return status;
}

static void operations_do_what_they_do_as_requests_of_their_own(void **state)
{
    size_t refused = 0;
    size_t done = 0;
    (void)state;
    for (unsigned seed = 1; seed <= PROPERTY_SEEDS; seed++) {
        fixture_t *single = fixture_new(NULL);
        fixture_t *whole = fixture_new(NULL);
        WEIR_AUTO(buffer) weir_buffer_t operations;
        WEIR_AUTO(buffer) weir_buffer_t wanted;
        WEIR_AUTO(buffer) weir_buffer_t got;
        weir_buffer_init(&operations, FIXTURE_BODY_MAX);
        size_t failed = 0;
        /* Some rows are there before, in both. */
        for (int i = 0; i < 2; i++) {
            fixture_t *f = i == 0 ? single : whole;
            fixture_call(f, "POST", "/services",
                         "{\"id\":\"" ID("01") "\",\"name\":\"s0\",\"host\":\"h\"}");
            fixture_call(f, "POST", "/consumers", "{\"id\":\"" ID("02") "\",\"username\":\"c0\"}");
            fixture_call(f, "POST", "/consumers/c0/key-auth",
                         "{\"id\":\"" ID("03") "\",\"key\":\"k0\"}");
            fixture_call(f, "POST", "/upstreams", "{\"id\":\"" ID("04") "\",\"name\":\"u0\"}");
            fixture_call(f, "POST", "/upstreams/u0/targets",
                         "{\"id\":\"" ID("05") "\",\"target\":\"t0:1\"}");
        }
        int status = one_by_one(single, seed * 7919U, &operations, &failed);
        int together = transact(whole, operations.data);
        if (status >= 300) {
            refused++;
            /* The store judges last, so a later operation may be the one that is named. */
            bool later = error_index(whole) > (int)failed && together < 500;
            if (!later && (together != status || error_index(whole) != (int)failed))
                fail_msg("seed %u: %zu got %d, together %d: %s\n%s", seed, failed, status, together,
                         whole->text, operations.data);
        } else {
            done++;
            size_t len = print_store(single, &wanted);
            if (together != 200 || print_store(whole, &got) != len ||
                memcmp(wanted.data, got.data, len) != 0)
                fail_msg("seed %u: together %d %s\n%s", seed, together, whole->text,
                         operations.data);
        }
        if (status >= 300 || together != 200)
            weir_buffer_init(&wanted, 1), weir_buffer_init(&got, 1);
        fixture_free(single);
        fixture_free(whole);
    }
    if (refused < PROPERTY_SEEDS / 10 || done < PROPERTY_SEEDS / 10)
        fail_msg("%zu refused, %zu done: one of them is hardly tried", refused, done);
}

/* -- beside others ---------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 30 };

typedef struct writer {
    fixture_t *f;
    int number, refused;
} writer_t;

static int send(fixture_t *f, const char *method, const char *target, const char *body)
{
    weir_admin_header_t header = { WEIR_STR("Content-Type"), WEIR_STR("application/json") };
    weir_admin_request_t request = { .method = weir_str(method),
                                     .target = weir_str(target),
                                     .headers = &header,
                                     .header_count = 1,
                                     .body = weir_str(body),
                                     .has_body = true };
    weir_admin_response_t response;
    weir_error_t err = { 0 };
    weir_admin_response_init(&response, 16 * 1024 * 1024);
    weir_admin_handle(f->admin, &request, &response, &err);
    int status = response.status;
    weir_admin_response_release(&response);
    return status;
}

static void *patch_alone(void *context)
{
    writer_t *w = context;
    for (int i = 1; i <= ROUNDS * 4; i++) {
        char body[64];
        snprintf(body, sizeof(body), "{\"retries\":%d}", i);
        w->refused += send(w->f, "PATCH", "/services/s", body) != 200;
    }
    return NULL;
}

/* Each sets one member of the contended row, after many of its own. */
static void *patch_in_transactions(void *context)
{
    static const char *const members[] = { "connect_timeout", "read_timeout", "write_timeout" };
    writer_t *w = context;
    for (int i = 1; i <= ROUNDS; i++) {
        WEIR_AUTO(buffer) weir_buffer_t body;
        weir_buffer_init(&body, 1024 * 1024);
        weir_buffer_printf(&body,
                           "{\"operations\":[{\"op\":\"update\",\"path\":\"/services/s\",\"body\":"
                           "{\"%s\":%d}}",
                           members[w->number], i);
        for (int n = 0; n < 40; n++)
            weir_buffer_printf(&body, ",{\"op\":\"upsert\",\"path\":\"/consumers/c%d-%d\"}",
                               w->number, n);
        weir_buffer_append(&body, WEIR_STR("]}"));
        weir_buffer_byte(&body, '\0');
        w->refused += send(w->f, "POST", "/transactions", body.data) != 200;
    }
    return NULL;
}

static void transactions_and_writes_of_one_row_lose_nothing(void **state)
{
    fixture_t *f = *state;
    pthread_t threads[THREADS];
    writer_t writers[THREADS];
    fixture_call(f, "POST", "/services", "{\"name\":\"s\",\"host\":\"h\"}");
    for (int i = 0; i < THREADS; i++) {
        writers[i] = (writer_t){ f, i, 0 };
        assert_int_equal(pthread_create(&threads[i], NULL,
                                        i < THREADS - 1 ? patch_in_transactions : patch_alone,
                                        &writers[i]),
                         0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(writers[i].refused, 0);
    }
    assert_int_equal(fixture_call(f, "GET", "/services/s", NULL), 200);
    assert_int_equal((int)weir_json_get_number(f->json, "connect_timeout", 0), ROUNDS);
    assert_int_equal((int)weir_json_get_number(f->json, "read_timeout", 0), ROUNDS);
    assert_int_equal((int)weir_json_get_number(f->json, "write_timeout", 0), ROUNDS);
    assert_int_equal((int)weir_json_get_number(f->json, "retries", 0), ROUNDS * 4);
}

static void without_memory_a_transaction_is_a_500_and_nothing_of_it_is_stored(void **state)
{
    fixture_t *f = *state;
    for (unsigned n = 1; n < 20000; n++) {
        uint64_t version = weir_store_version(f->options.store);
        weir_test_fail_allocation(n);
        int status =
            send(f, "POST", "/transactions",
                 "{\"operations\":[{\"op\":\"create\",\"path\":\"/services\",\"body\":"
                 "{\"name\":\"s\",\"host\":\"h\"}},"
                 "{\"op\":\"create\",\"path\":\"/services/s/routes\",\"body\":"
                 "{\"paths\":[\"/\"]}},"
                 "{\"op\":\"update\",\"path\":\"/services/s\",\"body\":{\"retries\":1}}]}");
        weir_test_fail_allocation(0);
        if (status == 200)
            return;
        assert_int_equal(status, 500);
        if (weir_store_version(f->options.store) != version)
            return; /* stored, but the answer could not be written: still a 500 */
        assert_int_equal(weir_store_count(f->options.store, WEIR_SERVICES), 0);
    }
    fail_msg("it never succeeds");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_made_first_can_be_referred_to_by_id_and_by_name),
        TEST(an_error_names_the_operation_and_nothing_is_stored),
        TEST(a_list_that_is_none_or_too_long_is_refused),
        TEST(what_changes_nothing_makes_no_version),
        TEST(what_a_deleted_parent_takes_along_is_gone_for_later_operations),
        cmocka_unit_test(operations_do_what_they_do_as_requests_of_their_own),
        TEST(transactions_and_writes_of_one_row_lose_nothing),
        TEST(without_memory_a_transaction_is_a_500_and_nothing_of_it_is_stored),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
