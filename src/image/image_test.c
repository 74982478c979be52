/* image_test.c -- batches, quarantine, names, plans, certificates. */
#include "image/batch.h"
#include "image/rows.h"

/* -- batches ---------------------------------------------------------------------------- */

static void what_was_put_is_read(void **state)
{
    fixture_t *f = *state;
    fixture_begin(f, true);
    fixture_put(f, "services",
                "{\"id\":\"" S1 "\",\"name\":\"s\",\"host\":\"up.test\",\"port\":8443,"
                "\"protocol\":\"https\",\"path\":\"/base\",\"read_timeout\":7,\"retries\":2,"
                "\"tls_verify\":true}");
    fixture_put(f, "consumers", "{\"id\":\"" C1 "\",\"username\":\"u\",\"custom_id\":\"c\"}");
    fixture_put(f, "keyauth_credentials", KEY(K1, "secret", C1));
    fixture_commit(f);
    weir_service_t service;
    weir_consumer_t consumer;
    weir_uuid_t id = fixture_uuid(S1);
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    fixture_ok(f, weir_reader_service(f->reader, &id, &service, &f->err));
    assert_true(weir_str_is(service.name, "s") && weir_str_is(service.path, "/base"));
    assert_int_equal(service.port, 8443);
    assert_int_equal(service.protocol, WEIR_PROTOCOL_HTTPS);
    assert_int_equal(service.read_timeout_ms, 7);
    assert_int_equal(service.retries, 2);
    assert_int_equal(service.tls_verify, 1);
    assert_int_equal(service.tls_verify_depth, -1);
    assert_true(weir_uuid_equal(&service.id, &id));
    static const char *const names[] = { "u", "c", C1 };
    for (size_t i = 0; i < WEIR_COUNT(names); i++) {
        fixture_ok(f,
                   weir_reader_consumer_named(f->reader, weir_str(names[i]), &consumer, &f->err));
        assert_true(weir_str_is(consumer.username, "u"));
    }
    assert_int_equal(weir_reader_consumer_named(f->reader, WEIR_STR("x"), &consumer, &f->err),
                     WEIR_NOT_FOUND);
    weir_reader_leave(f->reader);
    weir_credential_t found;
    assert_int_equal(credential(f, "secret", &found), WEIR_OK);
    assert_memory_equal(found.consumer.bytes, fixture_uuid(C1).bytes, 16);
    assert_int_equal(credential(f, "secre", &found), WEIR_NOT_FOUND);
}

static void an_abort_changes_nothing(void **state)
{
    fixture_t *f = *state;
    fixture_put_alone(f, "routes", ROUTE(R1, "/a"));
    fixture_begin(f, false);
    fixture_put(f, "routes", ROUTE(R2, "/b"));
    fixture_delete(f, "routes", "{\"id\":\"" R1 "\"}");
    weir_batch_abort(f->batch);
    f->batch = NULL;
    assert_true(serves(f, "/a"));
    assert_false(serves(f, "/b"));
    assert_int_equal(state_of(f).version, 1);
}

static void a_full_batch_writes_only_what_differs_and_removes_what_it_lacks(void **state)
{
    fixture_t *f = *state;
    fixture_begin(f, true);
    fixture_put(f, "services", "{\"id\":\"" S1 "\",\"host\":\"up.test\"}");
    fixture_put(f, "services", SERVICE(S2));
    fixture_put(f, "routes", ROUTE_OF(R1, "/a", S1));
    fixture_put(f, "routes", ROUTE_OF(R2, "/b", S2));
    fixture_commit(f);
    uint64_t before = record_version(f, S1);
    assert_true(state_of(f).complete);
    assert_int_equal(state_of(f).entities, 4);
    fixture_begin(f, true);
    fixture_put(f, "services", "{\"id\":\"" S1 "\",\"host\":\"up.test\"}");
    fixture_put(f, "routes", ROUTE_OF(R1, "/c", S1));
    fixture_commit(f);
    assert_int_equal(record_version(f, S1), before);
    assert_true(serves(f, "/c"));
    assert_false(serves(f, "/a"));
    assert_false(serves(f, "/b"));
    assert_int_equal(state_of(f).entities, 2);
    assert_int_equal(state_of(f).version, 2);
}

static void rows_of_a_batch_may_come_in_any_order(void **state)
{
    fixture_t *f = *state;
    fixture_begin(f, true);
    fixture_put(f, "plugins", "{\"id\":\"" P1 "\",\"name\":\"key-auth\"," REF("route", R1) "}");
    fixture_put(f, "keyauth_credentials", KEY(K1, "secret", C1));
    fixture_put(f, "routes", ROUTE_OF(R1, "/a", S1));
    fixture_put(f, "consumers", CONSUMER(C1, "u"));
    fixture_put(f, "services", SERVICE(S1));
    fixture_commit(f);
    assert_int_equal(quarantined(f).count, 0);
    assert_true(serves(f, "/a"));
}

/* -- quarantine ------------------------------------------------------------------------------ */

static void a_bad_row_is_kept_and_named_and_the_others_serve(void **state)
{
    fixture_t *f = *state;
    fixture_begin(f, false);
    fixture_put(f, "routes", "{\"id\":\"" R1 "\",\"name\":\"bad\",\"paths\":[\"a\"]}");
    fixture_put(f, "routes", ROUTE(R2, "/b"));
    fixture_commit(f);
    found_t found = quarantined(f);
    assert_int_equal(found.count, 1);
    assert_string_equal(found.type, "routes");
    assert_string_equal(found.id, R1);
    assert_string_equal(found.name, "bad");
    assert_string_equal(found.field, "paths");
    assert_false(found.serving);
    assert_int_equal(found.version, 1);
    assert_true(serves(f, "/b"));
    weir_uuid_t id = fixture_uuid(R1);
    weir_str_t document;
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    assert_int_equal(weir_reader_document(f->reader, WEIR_ROUTES, &id, &document, &f->err),
                     WEIR_OK);
    weir_reader_leave(f->reader);
    fixture_put_alone(f, "routes", ROUTE(R1, "/a"));
    assert_int_equal(quarantined(f).count, 0);
    assert_true(serves(f, "/a"));
}

static void the_last_good_record_serves_on(void **state)
{
    fixture_t *f = *state;
    fixture_put_alone(f, "routes", ROUTE(R1, "/a"));
    fixture_put_alone(f, "routes", "{\"id\":\"" R1 "\",\"paths\":[\"b\"]}");
    found_t found = quarantined(f);
    assert_int_equal(found.count, 1);
    assert_true(found.serving);
    assert_int_equal(found.version, 2);
    assert_true(serves(f, "/a"));
    fixture_delete_alone(f, "routes", "{\"id\":\"" R1 "\"}");
    assert_int_equal(quarantined(f).count, 0);
    assert_false(serves(f, "/a"));
}

static void a_good_record_stops_when_what_it_refers_to_goes(void **state)
{
    fixture_t *f = *state;
    fixture_begin(f, false);
    fixture_put(f, "services", SERVICE(S1));
    fixture_put(f, "routes", ROUTE_OF(R1, "/a", S1));
    fixture_commit(f);
    fixture_put_alone(f, "routes", ROUTE_OF(R1, "/b", S2)); /* S2 is not there */
    found_t found = quarantined(f);
    assert_true(found.serving);
    assert_string_equal(found.field, "service");
    assert_true(serves(f, "/a"));
    fixture_delete_alone(f, "services", "{\"id\":\"" S1 "\"}");
    found = quarantined(f);
    assert_int_equal(found.count, 1);
    assert_false(found.serving);
    assert_false(serves(f, "/a"));
    fixture_put_alone(f, "services", SERVICE(S2));
    assert_int_equal(quarantined(f).count, 0);
    assert_true(serves(f, "/b"));
}

static void what_waits_for_a_quarantined_entity_waits_and_heals_with_it(void **state)
{
    fixture_t *f = *state;
    fixture_begin(f, false);
    fixture_put(f, "services", "{\"id\":\"" S1 "\",\"host\":\"up.test\",\"port\":\"x\"}");
    fixture_put(f, "routes", ROUTE_OF(R1, "/a", S1));
    fixture_put(f, "plugins", "{\"id\":\"" P1 "\",\"name\":\"key-auth\"," REF("route", R1) "}");
    fixture_commit(f);
    assert_int_equal(quarantined(f).count, 3);
    fixture_put_alone(f, "services", SERVICE(S1));
    assert_int_equal(quarantined(f).count, 0);
    assert_true(serves(f, "/a"));
    /* A record that still serves is enough for those who refer to it. */
    fixture_put_alone(f, "services", "{\"id\":\"" S1 "\",\"host\":\"up.test\",\"port\":\"x\"}");
    assert_int_equal(quarantined(f).count, 1);
    assert_true(serves(f, "/a"));
}

static void unknown_types_plugins_and_keys_are_quarantined(void **state)
{
    fixture_t *f = *state;
    fixture_begin(f, true);
    fixture_put(f, "teapots", "{\"id\":\"" R1 "\",\"name\":\"t\"}");
    fixture_put(f, "plugins", "{\"id\":\"" P1 "\",\"name\":\"no-such-plugin\"}");
    fixture_put(f, "routes", "{\"id\":\"no uuid\",\"paths\":[\"/a\"]}");
    fixture_put(f, "routes", "{\"paths\":[\"/a\"]}");
    fixture_put(f, "routes", "[1]");
    fixture_put(f, "routes", ROUTE(R2, "/b"));
    fixture_commit(f);
    assert_int_equal(quarantined(f).count, 5);
    assert_true(serves(f, "/b"));
    fixture_begin(f, false);
    fixture_delete(f, "teapots", "{\"id\":\"" R1 "\"}");
    fixture_delete(f, "routes", "{\"id\":\"no uuid\"}");
    fixture_delete(f, "plugins", "{\"id\":\"" P1 "\"}");
    fixture_delete(f, "plugins", "{\"id\":\"" P2 "\"}"); /* never heard of */
    fixture_commit(f);
    assert_int_equal(quarantined(f).count, 2);
    fixture_begin(f, true);
    fixture_commit(f);
    assert_int_equal(quarantined(f).count, 0);
    assert_int_equal(state_of(f).entities, 0);
}

/* Refuses until told otherwise: a plugin whose compile function knows better. */
static int refuse_or_not(void *context, weir_str_t name, const weir_json_t *config,
                         weir_buffer_t *out, weir_error_t *err)
{
    (void)name, (void)config;
    if (*(const bool *)context)
        return weir_error_set(err, WEIR_INVALID, "config.x", "not today");
    return weir_buffer_append(out, WEIR_STR("compiled"));
}

static void a_full_batch_tries_all_quarantined_again(void **state)
{
    (void)state;
    fixture_t f;
    bool refuse = true;
    weir_image_options_t options = fixture_options(&f);
    options.compile_plugin = refuse_or_not;
    options.compile_context = &refuse;
    fixture_open_with(&f, &options);
    const char *row = "{\"id\":\"" P1 "\",\"name\":\"key-auth\",\"created_at\":1,\"updated_at\":1}";
    fixture_put_alone(&f, "plugins", row);
    found_t found = quarantined(&f);
    assert_string_equal(found.field, "config.x");
    assert_non_null(strstr(found.reason, "not today"));
    refuse = false;
    fixture_begin(&f, true);
    fixture_put(&f, "plugins", row);
    fixture_commit(&f);
    assert_int_equal(quarantined(&f).count, 0);
    weir_plan_t plan;
    fixture_ok(&f, weir_reader_enter(f.reader, &f.err));
    fixture_ok(&f, weir_reader_plan(f.reader, NULL, NULL, NULL, &plan, &f.err));
    assert_int_equal(plan.count, 1);
    assert_true(weir_str_is(plan.plugins[0].record, "compiled"));
    weir_reader_leave(f.reader);
    fixture_close(&f);
}

/* A row of a type that an older software did not know. */
static void put_as_unknown(fixture_t *f, const char *type, const char *text)
{
    weir_json_t *row = NULL;
    fixture_begin(f, false);
    fixture_ok(f, weir_json_parse(weir_str(text), &row, &f->err));
    weir_uuid_t odd = fixture_uuid(S2);
    entity_key_t key = entity_key(WEIR_ENTITY_NONE, &odd);
    MDB_val k = val_key(&key);
    MDB_val document = val(text, strlen(text));
    assert_int_equal(mdb_put(f->batch->txn, f->image->dbi[DB_DOCUMENTS], &k, &document, 0), 0);
    f->batch->state.entities++;
    fixture_ok(
        f, quarantine_put(f->batch, &key, weir_str(type), row, "", "no such type", false, &f->err));
    weir_json_free(row);
    fixture_commit(f);
}

static void another_software_judges_again_what_is_quarantined(void **state)
{
    (void)state;
    fixture_t f;
    bool refuse = true;
    weir_consumer_t consumer;
    weir_image_options_t options = fixture_options(&f);
    options.compile_plugin = refuse_or_not;
    options.compile_context = &refuse;
    options.build = "1.0";
    fixture_open_with(&f, &options);
    fixture_put_alone(&f, "plugins",
                      "{\"id\":\"" P1
                      "\",\"name\":\"key-auth\",\"created_at\":1,\"updated_at\":1}");
    put_as_unknown(&f, "consumers", CONSUMER(C1, "u"));
    fixture_put_alone(&f, "teapots", "{\"id\":\"" R1 "\"}");
    assert_int_equal(quarantined(&f).count, 3);
    refuse = false;
    weir_reader_close(f.reader);
    f.reader = NULL;
    for (int again = 0; again < 2; again++) { /* the same software: nothing is tried */
        options.build = again == 0 ? "1.0" : "1.1";
        weir_image_close(f.image);
        fixture_ok(&f, weir_image_open(&options, &f.image, &f.err));
        assert_int_equal(quarantined(&f).count, again == 0 ? 3 : 1);
    }
    fixture_open_reader(&f);
    fixture_ok(&f, weir_reader_enter(f.reader, &f.err));
    weir_uuid_t id = fixture_uuid(C1);
    fixture_ok(&f, weir_reader_consumer(f.reader, &id, &consumer, &f.err));
    weir_reader_close(f.reader);
    f.reader = NULL;
    assert_int_equal(state_of(&f).entities, 3);
    uint64_t commits = state_of(&f).commits;
    weir_image_close(f.image);
    fixture_ok(&f, weir_image_open(&options, &f.image, &f.err));
    assert_int_equal(state_of(&f).commits, commits);
    fixture_open_reader(&f);
    fixture_close(&f);
}

/* -- names ------------------------------------------------------------------------------- */

static void names_swap_and_move_within_a_batch(void **state)
{
    fixture_t *f = *state;
    weir_consumer_t consumer;
    fixture_begin(f, false);
    fixture_put(f, "consumers", CONSUMER(C1, "one"));
    fixture_put(f, "consumers", CONSUMER(C2, "two"));
    fixture_commit(f);
    fixture_begin(f, false);
    fixture_put(f, "consumers", CONSUMER(C1, "two"));
    fixture_put(f, "consumers", CONSUMER(C2, "one"));
    fixture_commit(f);
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    fixture_ok(f, weir_reader_consumer_named(f->reader, WEIR_STR("one"), &consumer, &f->err));
    assert_memory_equal(consumer.id.bytes, fixture_uuid(C2).bytes, 16);
    weir_reader_leave(f->reader);
    /* A key moves to another credential: first the new one, then the old one's end. */
    weir_credential_t found;
    fixture_put_alone(f, "keyauth_credentials", KEY(K1, "secret", C1));
    fixture_begin(f, false);
    fixture_put(f, "keyauth_credentials", KEY(K2, "secret", C2));
    fixture_delete(f, "keyauth_credentials", "{\"id\":\"" K1 "\"}");
    fixture_commit(f);
    assert_int_equal(credential(f, "secret", &found), WEIR_OK);
    assert_memory_equal(found.id.bytes, fixture_uuid(K2).bytes, 16);
    fixture_delete_alone(f, "keyauth_credentials", "{\"id\":\"" K2 "\"}");
    assert_int_equal(credential(f, "secret", &found), WEIR_NOT_FOUND);
}

static void long_keys_are_found_too(void **state)
{
    fixture_t *f = *state;
    char key[3001], row[4096];
    weir_credential_t found;
    memset(key, 'k', sizeof(key));
    key[3000] = '\0';
    fixture_put_alone(f, "consumers", CONSUMER(C1, "u"));
    snprintf(row, sizeof(row), "{\"id\":\"" K1 "\",\"key\":\"%s\"," REF("consumer", C1) "}", key);
    fixture_put_alone(f, "keyauth_credentials", row);
    assert_int_equal(credential(f, key, &found), WEIR_OK);
    key[2999] = 'x';
    assert_int_equal(credential(f, key, &found), WEIR_NOT_FOUND);
}

static void expired_rows_are_not_found_and_their_documents_stay(void **state)
{
    fixture_t *f = *state;
    char row[256];
    size_t count = 0;
    int64_t next_ms = 0;
    weir_credential_t found;
    int64_t now_s = FIXTURE_NOW_MS / 1000;
    static const char *const ids[] = { K1, K2 };
    fixture_put_alone(f, "consumers", CONSUMER(C1, "u"));
    for (int i = 0; i < 2; i++) {
        snprintf(row, sizeof(row),
                 "{\"id\":\"%s\",\"key\":\"k%d\"," REF("consumer", C1) ",\"ttl\":%" PRId64 "}",
                 ids[i], i, now_s + 10 * i);
        fixture_begin(f, false);
        fixture_put(f, "keyauth_credentials", row);
        weir_batch_t *batch = f->batch;
        f->batch = NULL;
        fixture_ok(f, weir_batch_commit(batch, FIXTURE_NOW_MS - 1000, &f->err));
    }
    assert_int_equal(credential(f, "k0", &found), WEIR_NOT_FOUND); /* its record is there */
    assert_int_equal(credential(f, "k1", &found), WEIR_OK);
    uint64_t version = state_of(f).version;
    fixture_ok(f, weir_image_expire(f->image, FIXTURE_NOW_MS, &count, &next_ms, &f->err));
    assert_int_equal(count, 1);
    assert_true(next_ms == (now_s + 10) * 1000);
    assert_int_equal(state_of(f).version, version);
    assert_int_equal(state_of(f).entities, 3);
    fixture_ok(f, weir_image_expire(f->image, FIXTURE_NOW_MS + 10000, &count, &next_ms, &f->err));
    assert_int_equal(count, 1);
    assert_int_equal(next_ms, 0);
    fixture_ok(f, weir_image_expire(f->image, FIXTURE_NOW_MS + 10000, &count, &next_ms, &f->err));
    assert_int_equal(count, 0);
}

/* -- plans ----------------------------------------------------------------------------- */

static void put_plugin(fixture_t *f, unsigned number, const char *name, const char *scope)
{
    char row[512];
    snprintf(row, sizeof(row), "{\"id\":\"d0000000-0000-4000-8000-%012u\",\"name\":\"%s\"%s%s}",
             number, name, scope[0] != '\0' ? "," : "", scope);
    fixture_put(f, "plugins", row);
}

/* Number of the winning instance of `name`, -1 if it does not run. */
static int planned(fixture_t *f, const char *name, const char *route, const char *service,
                   const char *consumer)
{
    weir_uuid_t ids[3] = { { { 0 } } };
    const char *texts[3] = { route, service, consumer };
    for (int i = 0; i < 3; i++)
        if (texts[i] != NULL)
            ids[i] = fixture_uuid(texts[i]);
    weir_plan_t plan;
    int number = -1;
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    fixture_ok(f, weir_reader_plan(f->reader, route != NULL ? &ids[0] : NULL,
                                   service != NULL ? &ids[1] : NULL,
                                   consumer != NULL ? &ids[2] : NULL, &plan, &f->err));
    for (size_t i = 0; i < plan.count; i++)
        if (weir_str_is(plan.plugins[i].plugin, name))
            number = plan.plugins[i].id.bytes[15];
    weir_reader_leave(f->reader);
    return number;
}

static void the_most_specific_plugin_runs(void **state)
{
    fixture_t *f = *state;
    const char *t = "request-termination";
    static const char *const scopes[] = {
        "",
        REF("service", S1),
        REF("route", R1),
        REF("consumer", C1),
        REF("route", R1) "," REF("service", S1),
        REF("service", S1) "," REF("consumer", C1),
        REF("route", R1) "," REF("consumer", C1),
        REF("route", R1) "," REF("service", S1) "," REF("consumer", C1),
    };
    fixture_begin(f, true);
    fixture_put(f, "services", SERVICE(S1));
    fixture_put(f, "services", SERVICE(S2));
    fixture_put(f, "routes", ROUTE_OF(R1, "/a", S1));
    fixture_put(f, "routes", ROUTE_OF(R2, "/b", S2));
    fixture_put(f, "consumers", CONSUMER(C1, "u"));
    for (unsigned i = 0; i < WEIR_COUNT(scopes); i++)
        put_plugin(f, i + 1, t, scopes[i]);
    fixture_commit(f);
    assert_int_equal(quarantined(f).count, 0);
    for (int i = 7; i > 0; i--) { /* take away the best, one by one */
        assert_int_equal(planned(f, t, R1, S1, C1), i + 1);
        char key[128];
        snprintf(key, sizeof(key), "{\"id\":\"d0000000-0000-4000-8000-%012d\"}", i + 1);
        fixture_delete_alone(f, "plugins", key);
    }
    assert_int_equal(planned(f, t, R1, S1, C1), 1);
    assert_int_equal(planned(f, t, R2, S2, NULL), 1);
    assert_int_equal(planned(f, t, NULL, NULL, NULL), 1);
    fixture_delete_alone(f, "plugins", "{\"id\":\"d0000000-0000-4000-8000-000000000001\"}");
    assert_int_equal(planned(f, t, R1, S1, C1), -1);
}

static void a_disabled_plugin_leaves_the_place_to_the_next(void **state)
{
    fixture_t *f = *state;
    fixture_begin(f, true);
    fixture_put(f, "routes", ROUTE(R1, "/a"));
    put_plugin(f, 1, "request-termination", "");
    put_plugin(f, 2, "request-termination", REF("route", R1) ",\"enabled\":false");
    put_plugin(f, 3, "key-auth", "");
    fixture_commit(f);
    assert_int_equal(planned(f, "request-termination", R1, NULL, NULL), 1);
    weir_plan_t plan;
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    fixture_ok(f, weir_reader_plan(f->reader, NULL, NULL, NULL, &plan, &f->err));
    assert_int_equal(plan.count, 2);
    assert_true(weir_str_is(plan.plugins[0].plugin, "key-auth")); /* priority 1250 before 2 */
    weir_reader_leave(f->reader);
}

/* Whether the first plugin of a request of route R1 is one that refuses it. */
static bool refuses(fixture_t *f)
{
    weir_plan_t plan;
    weir_uuid_t route;
    assert_int_equal(weir_uuid_parse(WEIR_STR(R1), &route), WEIR_OK);
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    fixture_ok(f, weir_reader_plan(f->reader, &route, NULL, NULL, &plan, &f->err));
    weir_reader_leave(f->reader);
    return plan.count > 0 && plan.plugins[0].refused;
}

#define BROKEN(name, more) \
    "{\"id\":\"" P1 "\",\"name\":\"" name "\",\"config\":{\"odd\":1}" more "}"

static void a_quarantined_plugin_does_not_let_pass_whom_it_may_keep_out(void **state)
{
    fixture_t *f = *state;
    fixture_begin(f, true);
    fixture_put(f, "routes", ROUTE(R1, "/a"));
    fixture_put(f, "plugins", BROKEN("key-auth", "," REF("route", R1)));
    fixture_commit(f);
    assert_true(refuses(f));
    fixture_put_alone(f, "plugins", BROKEN("no-such-plugin", "," REF("route", R1)));
    assert_true(refuses(f));
    fixture_put_alone(f, "plugins", BROKEN("http-log", "," REF("route", R1)));
    assert_false(refuses(f)); /* only looks on */
    fixture_put_alone(f, "plugins", BROKEN("no-such-plugin", ""));
    assert_false(refuses(f)); /* global: would stop everything */
    fixture_put_alone(f, "plugins", BROKEN("key-auth", ""));
    assert_true(refuses(f)); /* global, but there to keep out */
    fixture_put_alone(f, "plugins",
                      "{\"id\":\"" P1 "\",\"name\":\"key-auth\"," REF("route", R1) "}");
    assert_false(refuses(f)); /* healed */
    fixture_put_alone(f, "plugins", BROKEN("key-auth", "," REF("route", R1)));
    assert_false(refuses(f)); /* the good one serves on */
    fixture_delete_alone(f, "plugins", "{\"id\":\"" P1 "\"}");
    fixture_put_alone(f, "plugins", BROKEN("key-auth", "," REF("route", R1)));
    assert_true(refuses(f));
    fixture_delete_alone(f, "plugins", "{\"id\":\"" P1 "\"}");
    assert_false(refuses(f));
}

/* -- certificates ------------------------------------------------------------------------ */

static void put_record(fixture_t *f, weir_entity_type_t type, const char *id_text,
                       const weir_buffer_t *record)
{
    weir_uuid_t id = fixture_uuid(id_text);
    fixture_begin(f, false);
    entity_key_t key = entity_key(type, &id);
    MDB_val k = val_key(&key);
    MDB_val value = val(record->data, record->len);
    MDB_txn *txn = f->batch->txn;
    assert_int_equal(mdb_put(txn, f->image->dbi[DB_RECORDS], &k, &value, 0), 0);
    writer_t w = { .txn = txn, .dbi = f->image->dbi, .state = &(state_t){ 0 } };
    fixture_ok(f, index_record(&w, type, &id, weir_buffer_str(record), true, &f->err));
    fixture_commit(f);
}

/* A certificate that has its number as PEM text, with an SNI: the model would want
 * real ones. */
static void put_sni(fixture_t *f, unsigned number, const char *name)
{
    char certificate[64], sni[64], pem[16];
    WEIR_AUTO(buffer) weir_buffer_t record;
    snprintf(certificate, sizeof(certificate), "ce000000-0000-4000-8000-%012u", number);
    snprintf(sni, sizeof(sni), "51000000-0000-4000-8000-%012u", number);
    snprintf(pem, sizeof(pem), "%u", number);
    weir_buffer_init(&record, 4096);
    put_u64(&record, 1);
    for (int i = 0; i < 4; i++)
        put_str(&record, i < 2 ? weir_str(pem) : (weir_str_t){ NULL, 0 });
    put_record(f, WEIR_CERTIFICATES, certificate, &record);
    weir_buffer_clear(&record);
    put_u64(&record, 1);
    weir_uuid_t id = fixture_uuid(certificate);
    put_uuid(&record, &id);
    put_str(&record, weir_str(name));
    put_record(f, WEIR_SNIS, sni, &record);
}

static int certificate_of(fixture_t *f, const char *name)
{
    weir_certificate_t certificate;
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    int rc = weir_reader_sni(f->reader, weir_str(name), &certificate, &f->err);
    int number = rc == WEIR_OK ? certificate.cert.data[0] - '0' : 0;
    if (rc == WEIR_OK)
        assert_null(certificate.key_alt.data);
    weir_reader_leave(f->reader);
    return number;
}

static void server_names_choose_the_certificate_in_order(void **state)
{
    fixture_t *f = *state;
    put_sni(f, 1, "a.b.c");
    put_sni(f, 2, "*.b.c");
    put_sni(f, 3, "a.b.*");
    put_sni(f, 4, "*.c");
    assert_int_equal(certificate_of(f, "a.b.c"), 1);
    assert_int_equal(certificate_of(f, "x.b.c"), 2);
    assert_int_equal(certificate_of(f, "*.b.c"), 2);
    assert_int_equal(certificate_of(f, "a.b.x"), 3);
    assert_int_equal(certificate_of(f, "x.y.b.c"), 0); /* one label only */
    assert_int_equal(certificate_of(f, "x.c"), 0);     /* two labels: no "*.rest" */
    assert_int_equal(certificate_of(f, "A.b.c"), 2);   /* as sent */
    assert_int_equal(certificate_of(f, ""), 0);
    put_sni(f, 5, "*");
    assert_int_equal(certificate_of(f, "x.y.b.c"), 5);
    assert_int_equal(certificate_of(f, "q"), 5);
}

/* -- what workers may remember ---------------------------------------------------------- */

/* Puts one row, alone; whether what workers remember of routes is out of date by it. */
static bool outdates(fixture_t *f, const char *type, const char *row)
{
    uint64_t before = routing_of(f);
    fixture_put_alone(f, type, row);
    return routing_of(f) != before;
}

static void only_routes_services_and_plugins_outdate_what_was_matched(void **state)
{
    fixture_t *f = *state;
    assert_true(outdates(f, "services", SERVICE(S1)));
    assert_true(outdates(f, "routes", ROUTE_OF(R1, "/a", S1)));
    assert_true(outdates(f, "plugins", "{\"id\":\"" P1 "\",\"name\":\"key-auth\",\"config\":{}}"));
    assert_false(outdates(f, "consumers", "{\"id\":\"" C1 "\",\"username\":\"u\"}"));
    assert_false(outdates(f, "keyauth_credentials", KEY(K1, "secret", C1)));
    assert_true(outdates(f, "services", "{\"id\":\"" S1 "\",\"host\":\"other.test\"}"));
    uint64_t before = routing_of(f);
    assert_int_equal(routing_of(f), before);
    fixture_delete_alone(f, "plugins", "{\"id\":\"" P1 "\"}");
    assert_int_not_equal(routing_of(f), before);
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    before = routing_of(f);
    fixture_put_alone(f, "routes", ROUTE(R2, "/b"));
    assert_int_equal(routing_of(f), before); /* what is seen inside stays */
    weir_reader_leave(f->reader);
    assert_int_not_equal(routing_of(f), before);
}

static uint64_t changed_of(fixture_t *f, uint32_t types)
{
    uint64_t changed = 0;
    fixture_ok(f, weir_reader_changed(f->reader, types, &changed, &f->err));
    return changed;
}

static void each_type_has_a_number_that_any_change_of_it_moves(void **state)
{
    enum { KEYS = 1 << WEIR_KEYAUTH_CREDENTIALS, CONSUMERS = 1 << WEIR_CONSUMERS };
    fixture_t *f = *state;
    uint64_t keys = changed_of(f, KEYS), consumers = changed_of(f, CONSUMERS);
    fixture_put_alone(f, "consumers", "{\"id\":\"" C1 "\",\"username\":\"u\"}");
    assert_int_not_equal(changed_of(f, CONSUMERS), consumers);
    assert_int_equal(changed_of(f, KEYS), keys);
    assert_int_not_equal(changed_of(f, KEYS | CONSUMERS), keys);
    assert_int_equal(changed_of(f, 0), changed_of(f, 1 << WEIR_UPSTREAMS));

    uint64_t both = changed_of(f, KEYS | CONSUMERS);
    fixture_put_alone(f, "keyauth_credentials", KEY(K1, "secret", C1)); /* the first of its type */
    assert_int_not_equal(changed_of(f, KEYS), keys);
    assert_int_not_equal(changed_of(f, KEYS | CONSUMERS), both);
    both = changed_of(f, KEYS | CONSUMERS);
    fixture_put_alone(f, "keyauth_credentials", KEY(K1, "secret", C1)); /* the same once more */
    assert_int_equal(changed_of(f, KEYS | CONSUMERS), both);
    fixture_delete_alone(f, "keyauth_credentials", "{\"id\":\"" K1 "\"}");
    assert_int_not_equal(changed_of(f, KEYS | CONSUMERS), both);
}

/* Who asks for documents sees those of quarantined entities, too. */
static void a_document_that_is_refused_is_a_change_of_its_type(void **state)
{
    enum { CONSUMERS = 1 << WEIR_CONSUMERS };
    fixture_t *f = *state;
    uint64_t before = changed_of(f, CONSUMERS);
    fixture_put_alone(f, "consumers", "{\"id\":\"" C1 "\",\"username\":7}");
    assert_int_not_equal(changed_of(f, CONSUMERS), before);
    before = changed_of(f, CONSUMERS);
    fixture_delete_alone(f, "consumers", "{\"id\":\"" C1 "\"}");
    assert_int_not_equal(changed_of(f, CONSUMERS), before);
}

static void a_match_says_whether_headers_made_it(void **state)
{
    static const char *const rows[] = {
        "{\"id\":\"" R1 "\",\"protocols\":[\"http\"],\"paths\":[\"/plain\"]}",
        "{\"id\":\"" R2 "\",\"protocols\":[\"http\"],\"paths\":[\"/both\"]}",
        "{\"id\":\"" R3 "\",\"protocols\":[\"http\"],\"paths\":[\"/both\"],"
        "\"headers\":{\"x-version\":[\"2\"]}}",
    };
    fixture_t *f = *state;
    for (size_t i = 0; i < WEIR_COUNT(rows); i++)
        fixture_put_alone(f, "routes", rows[i]);
    static fixture_request_t request;
    weir_match_t match;
    fixture_request(&request, "GET", "x.test", "/plain");
    assert_int_equal(fixture_match(f, &request, &match), WEIR_OK);
    assert_false(match.by_headers);
    fixture_request(&request, "GET", "x.test", "/both");
    assert_int_equal(fixture_match(f, &request, &match), WEIR_OK);
    assert_true(match.by_headers); /* R2, because no header said R3 */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_put_is_read),
        TEST(an_abort_changes_nothing),
        TEST(a_full_batch_writes_only_what_differs_and_removes_what_it_lacks),
        TEST(rows_of_a_batch_may_come_in_any_order),
        TEST(a_bad_row_is_kept_and_named_and_the_others_serve),
        TEST(the_last_good_record_serves_on),
        TEST(a_good_record_stops_when_what_it_refers_to_goes),
        TEST(what_waits_for_a_quarantined_entity_waits_and_heals_with_it),
        TEST(unknown_types_plugins_and_keys_are_quarantined),
        cmocka_unit_test(a_full_batch_tries_all_quarantined_again),
        cmocka_unit_test(another_software_judges_again_what_is_quarantined),
        TEST(names_swap_and_move_within_a_batch),
        TEST(long_keys_are_found_too),
        TEST(expired_rows_are_not_found_and_their_documents_stay),
        TEST(the_most_specific_plugin_runs),
        TEST(a_disabled_plugin_leaves_the_place_to_the_next),
        TEST(a_quarantined_plugin_does_not_let_pass_whom_it_may_keep_out),
        TEST(server_names_choose_the_certificate_in_order),
        TEST(only_routes_services_and_plugins_outdate_what_was_matched),
        TEST(each_type_has_a_number_that_any_change_of_it_moves),
        TEST(a_document_that_is_refused_is_a_change_of_its_type),
        TEST(a_match_says_whether_headers_made_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
