/* encode_test.c -- which answer a node gets, and that it is made once. */
#include "cluster/compat.h"
#include "cluster/fixture.h"

/* The answer as JSON; the caller frees. */
static weir_json_t *json_of(const weir_answer_t *answer)
{
    uint64_t uncompressed = 0;
    weir_json_t *json = NULL;
    weir_str_t elements = weir_answer_elements(answer, &uncompressed);
    WEIR_AUTO(buffer) weir_buffer_t block;
    weir_buffer_init(&block, 1 << 26);
    weir_elements_length(WEIR_CODEC_SNAPPY, uncompressed, &block);
    weir_buffer_append(&block, elements);
    assert_int_equal(
        weir_message_decode(WEIR_CODEC_SNAPPY, weir_buffer_str(&block), 1 << 28, &json, NULL),
        WEIR_OK);
    return json;
}

typedef struct ask {
    bool known;
    uint64_t version;
    weir_dialect_t dialect;
} ask_t;

static weir_want_t want_of(ask_t question)
{
    return (weir_want_t){ .kind = WEIR_WANT_GET_DELTA,
                          .level = weir_compat_newest(),
                          .known = question.known,
                          .version = question.version,
                          .dialect = question.dialect };
}

static int ask(fixture_store_t *f, ask_t question, weir_json_t **ret, bool *ret_full,
               weir_error_t *err)
{
    weir_answer_t *answer = NULL;
    weir_want_t want = want_of(question);
    int rc = weir_encoder_answer(f->encoder, &want, &answer, err);
    if (rc != WEIR_OK)
        return rc;
    *ret = json_of(answer);
    *ret_full = weir_answer_is_full(answer);
    weir_answer_release(answer);
    return WEIR_OK;
}

static bool is_full(fixture_store_t *f, bool known, uint64_t version)
{
    weir_json_t *json = NULL;
    bool full = false;
    assert_int_equal(ask(f, (ask_t){ known, version, WEIR_DIALECT_310 }, &json, &full, NULL),
                     WEIR_OK);
    weir_json_free(json);
    return full;
}

static void rows_have_the_form_of_their_dialect(void **state)
{
    fixture_store_t f = { 0 };
    weir_json_t *json = NULL;
    bool full = false;
    char text[WEIR_UUID_TEXT + 1];
    char wanted[1024];
    (void)state;
    fixture_store_open(&f, 1000, FIXTURE_PAYLOAD_MAX, 0);
    weir_uuid_format(weir_store_default_workspace(f.store), text);
    fixture_put(&f, 1, "a");
    fixture_delete(&f, 1);
    assert_int_equal(ask(&f, (ask_t){ true, 1, WEIR_DIALECT_39 }, &json, &full, NULL), WEIR_OK);
    snprintf(wanted, sizeof(wanted),
             "{\"default\":{\"deltas\":[{\"type\":\"consumers\",\"version\":2,\"ws_id\":\"%s\","
             "\"pk\":{\"id\":\"00000000-0000-4000-8000-000000000001\"},\"entity\":{\"id\":"
             "\"00000000-0000-4000-8000-000000000001\",\"username\":\"user-1\",\"custom_id\":null,"
             "\"tags\":[\"a\"],\"created_at\":1700000000,\"updated_at\":1700000000}},"
             "{\"type\":\"consumers\",\"version\":3,\"ws_id\":\"%s\","
             "\"pk\":{\"id\":\"00000000-0000-4000-8000-000000000001\"},\"entity\":null}],"
             "\"wipe\":false}}",
             text, text);
    weir_json_t *same = fixture_json(wanted);
    assert_true(weir_json_equal(json, same));
    weir_json_free(same);
    weir_json_free(json);
    assert_int_equal(ask(&f, (ask_t){ false, 0, WEIR_DIALECT_310 }, &json, &full, NULL), WEIR_OK);
    const weir_json_t *space = weir_json_get(json, "default");
    const weir_json_t *first = weir_json_first(weir_json_get(space, "deltas"));
    assert_true(full && weir_json_boolean(weir_json_get(space, "full_sync")));
    assert_true(weir_str_is(weir_json_string(weir_json_get(first, "type")), "workspaces"));
    assert_true(weir_str_is(weir_json_string(weir_json_get(first, "version")),
                            "v02_0000000000000000000000000003"));
    assert_null(weir_json_get(first, "pk"));
    weir_json_free(json);
    fixture_store_close(&f);
}

static void a_node_gets_increments_as_long_as_they_can_be_had(void **state)
{
    fixture_store_t f = { 0 };
    (void)state;
    fixture_store_open(&f, 100000, FIXTURE_PAYLOAD_MAX, 0);
    for (unsigned i = 0; i < 50; i++)
        fixture_put(&f, i, "a");
    uint64_t newest = weir_store_version(f.store);
    assert_true(is_full(&f, false, newest)); /* unknown */
    assert_true(is_full(&f, true, 0));
    assert_true(is_full(&f, true, newest + 1)); /* ahead: it cannot be ours */
    assert_false(is_full(&f, true, newest));
    assert_false(is_full(&f, true, newest - 1));
    assert_false(is_full(&f, true, 1));
    fixture_store_close(&f);
    fixture_store_open(&f, 100000, FIXTURE_PAYLOAD_MAX, 10);
    for (unsigned i = 0; i < 50; i++)
        fixture_put(&f, i, "a");
    newest = weir_store_version(f.store);
    assert_false(is_full(&f, true, newest - 10));
    assert_true(is_full(&f, true, newest - 11)); /* cluster_full_sync_threshold */
    fixture_store_close(&f);
}

static void what_is_longer_than_the_whole_set_is_replaced_by_it(void **state)
{
    fixture_store_t f = { 0 };
    char tag[32];
    (void)state;
    fixture_store_open(&f, 100000, FIXTURE_PAYLOAD_MAX, 0);
    for (unsigned i = 0; i < 1100; i++) {
        snprintf(tag, sizeof(tag), "t%u", i);
        fixture_put(&f, 1, tag);
    }
    assert_true(is_full(&f, true, 1));
    assert_false(is_full(&f, true, weir_store_version(f.store) - 1000));
    fixture_store_close(&f);
}

static void one_answer_serves_all_who_ask_the_same(void **state)
{
    fixture_store_t f = { 0 };
    weir_encoder_counters_t counters;
    weir_answer_t *answers[3] = { NULL };
    weir_want_t want = want_of((ask_t){ true, 1, WEIR_DIALECT_310 });
    weir_want_t older = want_of((ask_t){ true, 1, WEIR_DIALECT_39 });
    (void)state;
    fixture_store_open(&f, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_put(&f, 1, "a");
    assert_null(weir_encoder_ready(f.encoder, &want));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(weir_encoder_answer(f.encoder, &want, &answers[i], NULL), WEIR_OK);
    assert_ptr_equal(answers[0], answers[2]);
    weir_answer_t *ready = weir_encoder_ready(f.encoder, &want);
    assert_ptr_equal(ready, answers[0]);
    assert_null(weir_encoder_ready(f.encoder, &older));
    weir_encoder_count(f.encoder, &counters);
    assert_int_equal(counters.increments, 1);
    assert_int_equal(counters.reused, 3);
    fixture_put(&f, 1, "b"); /* from now on it is old */
    assert_null(weir_encoder_ready(f.encoder, &want));
    weir_answer_release(ready);
    for (size_t i = 0; i < 3; i++)
        weir_answer_release(answers[i]);
    fixture_store_close(&f);
}

/* Each reason for a whole set is answered, and counted, as what it is. */
static void a_snapshot_says_why(void **state)
{
    static const struct {
        weir_want_t want;
        const char *reason; /* NULL: deltas will do */
    } cases[] = {
        { { .known = true, .version = 1 }, NULL },
        { { .known = false }, "unknown" },
        { { .known = true, .version = 1000000 }, "ahead" },
        { { .known = true, .version = 1, .whole = true }, "digest" },
    };
    fixture_store_t f = { 0 };
    weir_encoder_counters_t counters;
    (void)state;
    fixture_store_open(&f, 1000, FIXTURE_PAYLOAD_MAX, 0);
    fixture_put(&f, 1, "a");
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        weir_want_t want = cases[i].want;
        weir_answer_t *answer = NULL;
        want.kind = WEIR_WANT_DELTAS;
        want.level = weir_compat_newest();
        assert_int_equal(weir_encoder_answer(f.encoder, &want, &answer, NULL), WEIR_OK);
        const weir_snapshot_t *snapshot = weir_answer_snapshot(answer);
        assert_int_equal(snapshot != NULL, cases[i].reason != NULL);
        if (snapshot != NULL)
            assert_string_equal(snapshot->reason, cases[i].reason);
        weir_answer_release(answer);
    }
    weir_encoder_count(f.encoder, &counters);
    assert_int_equal(counters.snapshots_unknown, 1);
    assert_int_equal(counters.snapshots_ahead, 1);
    assert_int_equal(counters.snapshots_digest, 1);
    fixture_store_close(&f);
}

static void a_set_that_does_not_fit_is_refused_and_the_limit_named(void **state)
{
    fixture_store_t f = { 0 };
    weir_json_t *json = NULL;
    weir_error_t err = { 0 };
    bool full = false;
    (void)state;
    fixture_store_open(&f, 1000, 200, 0);
    for (unsigned i = 0; i < 100; i++)
        fixture_put(&f, i, "a");
    assert_int_equal(ask(&f, (ask_t){ false, 0, WEIR_DIALECT_310 }, &json, &full, &err),
                     WEIR_TOO_LARGE);
    assert_string_equal(err.field, "cluster_max_payload");
    assert_non_null(strstr(err.reason, "cluster_max_payload"));
    fixture_store_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_have_the_form_of_their_dialect),
        cmocka_unit_test(a_node_gets_increments_as_long_as_they_can_be_had),
        cmocka_unit_test(what_is_longer_than_the_whole_set_is_replaced_by_it),
        cmocka_unit_test(one_answer_serves_all_who_ask_the_same),
        cmocka_unit_test(a_snapshot_says_why),
        cmocka_unit_test(a_set_that_does_not_fit_is_refused_and_the_limit_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
