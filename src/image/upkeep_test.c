/* upkeep_test.c -- formats, growth, full disks, short memory, images set aside. */
#include "image/rows.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* -- formats, growth, setting aside --------------------------------------------------------- */

static void change_state(fixture_t *f, void (*change)(state_t *state))
{
    MDB_txn *txn = NULL;
    MDB_val key = val("state", 5);
    MDB_val value;
    state_t state;
    assert_int_equal(mdb_txn_begin(f->image->env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_get(txn, f->image->dbi[DB_STATE], &key, &value), 0);
    memcpy(&state, value.mv_data, sizeof(state));
    change(&state);
    value = val(&state, sizeof(state));
    assert_int_equal(mdb_put(txn, f->image->dbi[DB_STATE], &key, &value, 0), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
}

static int reopen(fixture_t *f)
{
    weir_image_options_t options = fixture_options(f);
    weir_image_close(f->image);
    f->image = NULL;
    f->err = (weir_error_t){ 0 };
    return weir_image_open(&options, &f->image, &f->err);
}

static void newer_documents(state_t *state)
{
    state->format_documents = FORMAT_DOCUMENTS + 1;
}

static void older_documents(state_t *state)
{
    state->format_documents = FORMAT_DOCUMENTS - 1;
}

static void newer_records(state_t *state)
{
    state->format_records = FORMAT_RECORDS + 1;
}

static void older_records(state_t *state)
{
    state->format_records = FORMAT_RECORDS - 1;
}

static void an_image_of_a_newer_version_is_refused_and_set_aside(void **state)
{
    fixture_t *f = *state;
    char name[300];
    fixture_put_alone(f, "routes", ROUTE(R1, "/a"));
    change_state(f, newer_records);
    assert_int_equal(reopen(f), WEIR_UNSUPPORTED);
    assert_non_null(strstr(f->err.reason, "format"));
    assert_int_equal(weir_reader_enter(f->reader, &f->err), WEIR_UNSUPPORTED);
    fixture_ok(f, weir_image_set_aside(f->path, FIXTURE_NOW_MS, name, sizeof(name), &f->err));
    assert_int_equal(access(name, F_OK), 0);
    fixture_ok(f, reopen(f));
    assert_int_equal(state_of(f).version, 0);
    change_state(f, newer_documents);
    assert_int_equal(reopen(f), WEIR_UNSUPPORTED);
    fixture_remove(name);
}

/* Its documents were completed: no digest can be of them. */
static void an_image_of_the_earlier_format_is_refused_and_set_aside(void **state)
{
    fixture_t *f = *state;
    char name[300];
    fixture_put_alone(f, "routes", ROUTE(R1, "/a"));
    change_state(f, older_documents);
    assert_int_equal(weir_reader_enter(f->reader, &f->err), WEIR_UNSUPPORTED);
    assert_int_equal(reopen(f), WEIR_UNSUPPORTED);
    fixture_ok(f, weir_image_set_aside(f->path, FIXTURE_NOW_MS, name, sizeof(name), &f->err));
    fixture_ok(f, reopen(f));
    assert_int_equal(state_of(f).entities, 0);
    fixture_remove(name);
}

static void older_records_are_made_anew_from_the_documents(void **state)
{
    fixture_t *f = *state;
    fixture_t other;
    fixture_open(&other);
    for (fixture_t *one = f; one != NULL; one = one == f ? &other : NULL) {
        fixture_begin(one, true);
        fixture_put(one, "services", SERVICE(S1));
        fixture_put(one, "routes", ROUTE_OF(R1, "/a", S1));
        fixture_put(one, "routes", ROUTE_OF(R2, "/b", S2));
        fixture_put(one, "consumers", CONSUMER(C1, "u"));
        fixture_put(one, "keyauth_credentials", KEY(K1, "secret", C1));
        fixture_put(one, "plugins", "{\"id\":\"" P1 "\",\"name\":\"key-auth\"}");
        fixture_put(one, "teapots", "{\"id\":\"" R1 "\"}");
        fixture_commit(one);
    }
    weir_reader_close(f->reader);
    f->reader = NULL;
    change_state(f, older_records);
    fixture_ok(f, reopen(f));
    fixture_open_reader(f);
    assert_int_equal(quarantined(f).count, 2);
    assert_true(serves(f, "/a"));
    assert_int_equal(state_of(f).version, 1);
    assert_int_equal(compare_images(f, &other), -1);
    fixture_close(&other);
}

static void another_order_makes_the_index_anew(void **state)
{
    fixture_t *f = *state;
    static fixture_request_t request;
    weir_match_t match;
    fixture_begin(f, true);
    fixture_put(f, "routes", "{\"id\":\"" R1 "\",\"hosts\":[\"a.com\"]}");
    fixture_put(f, "routes", "{\"id\":\"" R2 "\",\"paths\":[\"/x\"],\"methods\":[\"GET\"]}");
    fixture_commit(f);
    fixture_request(&request, "GET", "a.com", "/x"); /* case 129 */
    assert_int_equal(fixture_match(f, &request, &match), WEIR_OK);
    assert_memory_equal(match.route.id.bytes, fixture_uuid(R1).bytes, 16);
    weir_image_options_t options = fixture_options(f);
    options.documented_order = true;
    weir_image_close(f->image);
    fixture_ok(f, weir_image_open(&options, &f->image, &f->err));
    assert_int_equal(fixture_match(f, &request, &match), WEIR_OK);
    assert_memory_equal(match.route.id.bytes, fixture_uuid(R2).bytes, 16);
}

/* Also if none of it can be made again, which an image without routes stands for. */
static void an_index_made_anew_outdates_what_was_matched(void **state)
{
    fixture_t *f = *state;
    fixture_put_alone(f, "consumers", CONSUMER(C1, "u"));
    uint64_t before = routing_of(f);
    weir_image_options_t options = fixture_options(f);
    options.documented_order = true;
    weir_image_close(f->image);
    fixture_ok(f, weir_image_open(&options, &f->image, &f->err));
    assert_int_not_equal(routing_of(f), before);
}

/* An image that was opened with a map of just its size: what it needs beside what it
 * holds does not fit. */
static void open_tightly(fixture_t *f, bool documented_order)
{
    weir_image_state_t before;
    fixture_ok(f, weir_image_state(f->image, &before, &f->err));
    weir_image_options_t options = fixture_options(f);
    options.documented_order = documented_order;
    options.map_bytes = before.bytes_used;
    weir_image_close(f->image);
    f->image = NULL;
    fixture_ok(f, weir_image_open(&options, &f->image, &f->err));
}

static void put_many(fixture_t *f, const char *type, const char *members)
{
    fixture_begin(f, true);
    fixture_put(f, "consumers", CONSUMER(C1, "u"));
    for (unsigned i = 0; i < 2000; i++) {
        char row[512];
        snprintf(row, sizeof(row), "{\"id\":\"%08x-0000-4000-8000-000000000000\",", i + 1);
        size_t len = strlen(row);
        snprintf(row + len, sizeof(row) - len, members, i);
        fixture_put(f, type, row);
    }
    fixture_commit(f);
}

static void the_map_grows_for_records_that_are_made_anew(void **state)
{
    fixture_t *f = *state;
    put_many(f, "routes", "\"paths\":[\"/p%u\"]}");
    open_tightly(f, true);
}

static void the_map_grows_for_what_expires(void **state)
{
    fixture_t *f = *state;
    size_t count = 0;
    int64_t next_ms = 0;
    put_many(f, "keyauth_credentials",
             "\"key\":\"k%u\",\"ttl\":1700000001,\"consumer\":{\"id\":\"" C1 "\"}}");
    open_tightly(f, false);
    fixture_ok(f, weir_image_expire(f->image, FIXTURE_NOW_MS + 10000, &count, &next_ms, &f->err));
    assert_int_equal(count, 1000);
}

static void a_damaged_file_is_reported(void **state)
{
    fixture_t *f = *state;
    char file[300];
    weir_image_close(f->image);
    weir_reader_close(f->reader);
    f->image = NULL;
    f->reader = NULL;
    snprintf(file, sizeof(file), "%s/data.mdb", f->path);
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    for (int i = 0; i < 10000; i++)
        fputs("nonsense", out);
    fclose(out);
    weir_image_options_t options = fixture_options(f);
    assert_int_equal(weir_image_open(&options, &f->image, &f->err), WEIR_CORRUPT);
    assert_int_equal(weir_reader_open(f->path, &f->reader, &f->err), WEIR_CORRUPT);
}

static void an_image_that_lost_its_machine_before_a_flush_is_not_believed(void **state)
{
    fixture_t *f = *state;
    char mark[300];
    snprintf(mark, sizeof(mark), "%s/unsynced", f->path);
    fixture_put_alone(f, "routes", ROUTE(R1, "/a"));
    assert_int_equal(access(mark, F_OK), 0);
    fixture_ok(f, reopen(f)); /* the death of a process does no harm */
    assert_int_equal(access(mark, F_OK), -1);
    FILE *out = fopen(mark, "w");
    assert_non_null(out);
    fputs("another boot", out);
    fclose(out);
    assert_int_equal(reopen(f), WEIR_CORRUPT);
    assert_int_equal(unlink(mark), 0);
    fixture_ok(f, reopen(f));
    fixture_put_alone(f, "routes", ROUTE(R1, "/b"));
    fixture_ok(f, weir_image_sync(f->image, &f->err));
    assert_int_equal(access(mark, F_OK), -1);
}

static void readers_move_to_an_image_that_replaced_theirs(void **state)
{
    fixture_t *f = *state;
    char name[300];
    fixture_begin(f, true);
    fixture_put(f, "routes", ROUTE(R1, "/old"));
    fixture_commit(f);
    assert_true(serves(f, "/old"));
    uint64_t routing = routing_of(f);
    weir_image_close(f->image);
    f->image = NULL;
    fixture_ok(f, weir_image_set_aside(f->path, FIXTURE_NOW_MS, name, sizeof(name), &f->err));
    weir_image_options_t options = fixture_options(f);
    usleep(2000); /* a generation is a millisecond: never two images in one */
    fixture_ok(f, weir_image_open(&options, &f->image, &f->err));
    f->reader->looked_s = 0;
    assert_true(serves(f, "/old")); /* the new one is not complete */
    assert_int_equal(routing_of(f), routing);
    fixture_begin(f, true);
    fixture_put(f, "routes", ROUTE(R2, "/new"));
    fixture_commit(f);
    f->reader->looked_s = 0;
    assert_int_not_equal(routing_of(f), routing); /* whoever remembers sees it first here */
    assert_true(serves(f, "/new"));
    assert_false(serves(f, "/old"));
    fixture_remove(name);
}

static void a_full_map_grows_while_readers_read(void **state)
{
    (void)state;
    fixture_t f;
    weir_image_options_t options = fixture_options(&f);
    options.map_bytes = 256 * 1024;
    fixture_open_with(&f, &options);
    fixture_put_alone(&f, "routes", ROUTE(R1, "/a"));
    assert_true(serves(&f, "/a"));
    int grown = 0;
    for (unsigned n = 0; n < 2000;) {
        int rc = WEIR_OK;
        fixture_begin(&f, false);
        for (unsigned i = 0; rc == WEIR_OK && i < 100; i++) {
            char row[256];
            snprintf(row, sizeof(row),
                     "{\"id\":\"40000000-0000-4000-8000-%012u\",\"paths\":[\"/p%u\"]}", 100 + n + i,
                     n + i);
            WEIR_AUTO(json) weir_json_t *json = fixture_json(&f, row);
            rc = weir_batch_put(f.batch, WEIR_STR("routes"), json, &f.err);
        }
        weir_batch_t *batch = f.batch;
        f.batch = NULL;
        if (rc == WEIR_OK)
            rc = weir_batch_commit(batch, 0, &f.err);
        else
            weir_batch_abort(batch);
        assert_true(serves(&f, "/a")); /* the old set, or the new one */
        if (rc == WEIR_OK) {
            n += 100;
            continue;
        }
        assert_int_equal(rc, WEIR_FULL);
        assert_string_equal(f.err.field, "map");
        fixture_ok(&f, weir_image_grow(f.image, &f.err));
        grown++;
    }
    assert_true(grown >= 2);
    assert_true(serves(&f, "/p1999"));
    fixture_close(&f);
}

static void a_disk_that_is_full_leaves_the_old_set(void **state)
{
    fixture_t *f = *state;
    char file[300];
    struct stat info;
    struct rlimit before, small;
    fixture_put_alone(f, "routes", ROUTE(R1, "/a"));
    snprintf(file, sizeof(file), "%s/data.mdb", f->path);
    assert_int_equal(stat(file, &info), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = (rlim_t)info.st_size + 64 * 1024; /* stands in for a small disk */
    void (*handler)(int) = signal(SIGXFSZ, SIG_IGN);
    fixture_begin(f, true);
    for (unsigned i = 0; i < 2000; i++) {
        char row[256];
        snprintf(row, sizeof(row),
                 "{\"id\":\"40000000-0000-4000-8000-%012u\",\"paths\":[\"/p%u\"]}", 100 + i, i);
        fixture_put(f, "routes", row);
    }
    weir_batch_t *batch = f->batch;
    f->batch = NULL;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int rc = weir_batch_commit(batch, 0, &f->err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, handler);
    assert_true(rc == WEIR_FULL || rc == WEIR_IO); /* a short write is EIO to LMDB */
    assert_string_equal(f->err.field, "");         /* no matter of the map */
    assert_true(serves(f, "/a"));
    assert_false(serves(f, "/p1"));
    fixture_put_alone(f, "routes", ROUTE(R2, "/b"));
    assert_true(serves(f, "/a") && serves(f, "/b"));
}

static void the_first_set_is_complete_only_after_a_full_batch(void **state)
{
    fixture_t *f = *state;
    assert_false(state_of(f).complete);
    fixture_put_alone(f, "routes", ROUTE(R1, "/a"));
    assert_false(state_of(f).complete);
    fixture_begin(f, true);
    fixture_put(f, "workspaces", "{\"id\":\"" C1 "\",\"name\":\"default\"}");
    fixture_commit(f);
    assert_true(state_of(f).complete);
    assert_memory_equal(state_of(f).default_workspace.bytes, fixture_uuid(C1).bytes, 16);
}

static void there_is_no_reader_without_an_image(void **state)
{
    (void)state;
    weir_reader_t *reader = NULL;
    weir_error_t err;
    assert_int_equal(weir_reader_open("/nonexistent/weir", &reader, &err), WEIR_NOT_FOUND);
    assert_null(reader);
}

/* -- memory ------------------------------------------------------------------------------------ */

static int write_and_read(fixture_t *f, const weir_json_t *service, const weir_json_t *route,
                          const weir_json_t *bad)
{
    weir_batch_t *batch = NULL;
    int rc = weir_batch_begin(f->image, true, 9, &batch, &f->err);
    if (rc == WEIR_OK)
        rc = weir_batch_put(batch, WEIR_STR("routes"), route, &f->err);
    if (rc == WEIR_OK)
        rc = weir_batch_put(batch, WEIR_STR("services"), service, &f->err);
    if (rc == WEIR_OK)
        rc = weir_batch_put(batch, WEIR_STR("plugins"), bad, &f->err);
    if (rc == WEIR_OK)
        return weir_batch_commit(batch, 0, &f->err);
    weir_batch_abort(batch);
    return rc;
}

static void no_failing_allocation_leaves_half_a_batch(void **state)
{
    fixture_t *f = *state;
    fixture_begin(f, true);
    fixture_put(f, "routes", ROUTE(P1, "/old"));
    fixture_commit(f);
    WEIR_AUTO(json) weir_json_t *service = fixture_json(f, SERVICE(S1));
    WEIR_AUTO(json) weir_json_t *route = fixture_json(f, ROUTE_OF(R1, "/a", S1));
    WEIR_AUTO(json) weir_json_t *bad = fixture_json(f, "{\"id\":\"" P1 "\",\"name\":\"nix\"}");
    int rc = WEIR_NO_MEMORY;
    unsigned n = 0;
    while (rc != WEIR_OK && ++n < 20000) {
        weir_test_fail_allocation(n);
        rc = write_and_read(f, service, route, bad);
        weir_test_fail_allocation(0);
        if (rc != WEIR_OK) {
            /* A parser that is short of memory cannot say so: "no JSON". */
            if (rc != WEIR_NO_MEMORY && rc != WEIR_CORRUPT)
                fail_msg("allocation %u: %s: %s", n, weir_code_name(rc), f->err.reason);
            assert_true(serves(f, "/old"));
            assert_false(serves(f, "/a"));
        }
    }
    assert_true(n > 20);
    assert_true(serves(f, "/a"));
    assert_false(serves(f, "/old"));
    assert_int_equal(quarantined(f).count, 1);
    for (n = 1, rc = WEIR_NO_MEMORY; rc != WEIR_OK && n < 100; n++) {
        weir_reader_t *reader = NULL;
        weir_test_fail_allocation(n);
        rc = weir_reader_open(f->path, &reader, &f->err);
        weir_test_fail_allocation(0);
        weir_reader_close(reader);
    }
    assert_int_equal(rc, WEIR_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_image_of_a_newer_version_is_refused_and_set_aside),
        TEST(an_image_of_the_earlier_format_is_refused_and_set_aside),
        TEST(older_records_are_made_anew_from_the_documents),
        TEST(another_order_makes_the_index_anew),
        TEST(an_index_made_anew_outdates_what_was_matched),
        TEST(the_map_grows_for_records_that_are_made_anew),
        TEST(the_map_grows_for_what_expires),
        TEST(a_damaged_file_is_reported),
        TEST(an_image_that_lost_its_machine_before_a_flush_is_not_believed),
        TEST(readers_move_to_an_image_that_replaced_theirs),
        cmocka_unit_test(a_full_map_grows_while_readers_read),
        TEST(a_disk_that_is_full_leaves_the_old_set),
        TEST(the_first_set_is_complete_only_after_a_full_batch),
        cmocka_unit_test(there_is_no_reader_without_an_image),
        TEST(no_failing_allocation_leaves_half_a_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
