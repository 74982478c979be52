/* verify_test.c -- an image that follows from its documents is found right; and whatever
 * entry of whatever database goes, comes or changes, it is seen. */
#include "image/rows.h"

#include "base/clock.h"

static const weir_digest_key_t some_key = { { 1, 2, 3 } };

static weir_image_verdict_t verdict_of(fixture_t *f)
{
    weir_image_verdict_t verdict;
    fixture_ok(f, weir_image_verify(f->image, NULL, NULL, &verdict, &f->err));
    return verdict;
}

static bool is_right(fixture_t *f)
{
    weir_image_verdict_t verdict = verdict_of(f);
    return verdict.bad_buckets == 0 && verdict.bad_records == 0 &&
           weir_digest_equal(&verdict.kept, &verdict.computed);
}

static void put_told(fixture_t *f, const char *type, const char *id, const char *row)
{
    weir_uuid_t uuid = fixture_uuid(id);
    weir_digest_t told = { 1, 2 };
    WEIR_AUTO(json) weir_json_t *json = fixture_json(f, row);
    fixture_ok(f, weir_batch_put_told(f->batch, weir_str(type), &uuid, json, &told, &f->err));
}

/* One of everything that an image can hold. */
static void put_everything(fixture_t *f)
{
    char key[256];
    fixture_begin(f, true);
    fixture_put(f, "services", SERVICE(S1));
    fixture_put(f, "services", "{\"id\":\"" S2 "\",\"host\":\"off.test\",\"enabled\":false}");
    fixture_put(f, "routes",
                "{\"id\":\"" R1 "\",\"hosts\":[\"a.com\",\"*.b.com\",\"a.com\"],\"paths\":[\"/a\","
                "\"/a/b\",\"~/c[0-9]\"]," REF("service", S1) "}");
    fixture_put(f, "routes", "{\"id\":\"" R2 "\",\"paths\":[\"/h\"],\"headers\":{\"v\":[\"1\"]}}");
    fixture_put(f, "routes", ROUTE_OF(R3, "/gone", C2));
    put_told(f, "consumers", C1, CONSUMER(C1, "u"));
    snprintf(key, sizeof(key),
             "{\"id\":\"" K1 "\",\"key\":\"k\"," REF("consumer", C1) ",\"ttl\":%" PRId64 "}",
             weir_clock_ms() / 1000 + 10000);
    fixture_put(f, "keyauth_credentials", key);
    fixture_put(f, "keyauth_credentials",
                "{\"id\":\"" K2 "\",\"key\":\"l\"," REF("consumer", C1) ",\"ttl\":1600000000}");
    fixture_put(f, "plugins", "{\"id\":\"" P1 "\",\"name\":\"key-auth\"}");
    fixture_put(f, "plugins",
                "{\"id\":\"" P2 "\",\"name\":\"key-auth\"," REF(
                    "route", R1) ",\"config\":{\"nonsense\":1}}"); /* has a guard */
    fixture_put(f, "teapots", "{\"id\":\"" R1 "\"}");
    weir_batch_t *batch = f->batch;
    f->batch = NULL;
    fixture_ok(f, weir_batch_commit(batch, weir_clock_ms(), &f->err));
    fixture_put_alone(f, "routes", "{\"id\":\"" R2 "\",\"paths\":[\"no\"]}"); /* older serves */
}

typedef struct item {
    uint8_t key[512], value[4096];
    size_t key_len, value_len;
} item_t;

static MDB_txn *begin(fixture_t *f)
{
    MDB_txn *txn = NULL;
    assert_int_equal(mdb_txn_begin(f->image->env, NULL, 0, &txn), 0);
    return txn;
}

static size_t item_at(fixture_t *f, database_t database, size_t at, item_t *ret)
{
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    MDB_txn *txn = begin(f);
    size_t count = 0;
    assert_int_equal(mdb_cursor_open(txn, f->image->dbi[database], &cursor), 0);
    for (; mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0; count++) {
        if (count != at)
            continue;
        assert_true(key.mv_size <= sizeof(ret->key) && value.mv_size <= sizeof(ret->value));
        memcpy(ret->key, key.mv_data, ret->key_len = key.mv_size);
        memcpy(ret->value, value.mv_data, ret->value_len = value.mv_size);
    }
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return count;
}

static void change(fixture_t *f, database_t database, const item_t *item, bool add)
{
    MDB_txn *txn = begin(f);
    MDB_val key = val(item->key, item->key_len);
    MDB_val value = val(item->value, item->value_len);
    assert_int_equal(add ? mdb_put(txn, f->image->dbi[database], &key, &value, 0)
                         : mdb_del(txn, f->image->dbi[database], &key, &value),
                     0);
    assert_int_equal(mdb_txn_commit(txn), 0);
}

/* Where a value's last byte is told, but decides nothing. */
static bool is_idle(database_t database)
{
    return database == DB_QUARANTINE || database == DB_DEPENDENTS || database == DB_EXPIRY;
}

static void spoil(fixture_t *f, database_t database, const item_t *item)
{
    item_t other = *item;
    change(f, database, item, false);
    if (is_right(f))
        fail_msg("database %d: an entry less is not seen", database);
    other.key[other.key_len - 1] ^= 0x80; /* nobody has that one */
    change(f, database, &other, true);
    if (is_right(f))
        fail_msg("database %d: another key is not seen", database);
    change(f, database, item, true);
    if (is_right(f))
        fail_msg("database %d: an entry more is not seen", database);
    change(f, database, &other, false);
    if (!is_right(f))
        fail_msg("database %d: all is as it was, and that is not seen", database);
    if (is_idle(database))
        return;
    other = *item;
    other.value[other.value_len - 1] ^= 1;
    change(f, database, item, false);
    change(f, database, &other, true);
    weir_image_verdict_t verdict;
    /* A document that is no JSON any more cannot be judged. */
    int rc = weir_image_verify(f->image, NULL, NULL, &verdict, &f->err);
    if (rc == WEIR_OK && verdict.bad_records == 0 && verdict.bad_buckets == 0)
        fail_msg("database %d: another value is not seen", database);
    change(f, database, &other, false);
    change(f, database, item, true);
    assert_true(is_right(f));
}

static void whatever_entry_changes_is_seen(void **state)
{
    fixture_t *f = *state;
    static item_t item;
    fixture_ok(f, weir_image_set_digest_key(f->image, &some_key, &f->err));
    put_everything(f);
    weir_image_verdict_t verdict = verdict_of(f);
    assert_int_equal(verdict.entities, 11);
    assert_int_equal(verdict.version, 2);
    assert_true(is_right(f));
    for (int d = DB_DOCUMENTS; d < DATABASES; d++) {
        size_t count = 1;
        for (size_t i = 0; i < count; i++) {
            count = item_at(f, (database_t)d, i, &item);
            assert_true(count > 0); /* each database has a part in this */
            if (d == DB_RECORDS && memcmp(item.key + 1, fixture_uuid(R2).bytes, 16) == 0)
                continue; /* an older record serves: only the next test can tell */
            spoil(f, (database_t)d, &item);
        }
    }
}

static void numbers_that_do_not_add_up_are_seen(void **state)
{
    fixture_t *f = *state;
    put_everything(f);
    MDB_txn *txn = begin(f);
    state_t stored;
    fixture_ok(f, load_state(f->image, txn, &stored, &f->err));
    mdb_txn_abort(txn);
    uint64_t *const numbers[] = {
        &stored.entities,          &stored.quarantined,       &stored.class_entries[CLASS_ANY],
        &stored.routes_with_hosts, &stored.routes_with_paths, &stored.class_best[CLASS_ANY],
        &stored.disabled_services, &stored.scope_plugins[0],  &stored.told,
    };
    for (size_t i = 0; i <= WEIR_COUNT(numbers); i++) {
        if (i > 0)
            (*numbers[i - 1])--;
        if (i < WEIR_COUNT(numbers))
            (*numbers[i])++;
        txn = begin(f);
        fixture_ok(f, store_note(f->image, txn, "state", &stored, sizeof(stored), &f->err));
        assert_int_equal(mdb_txn_commit(txn), 0);
        if (is_right(f) != (i == WEIR_COUNT(numbers)))
            fail_msg("number %zu", i);
    }
}

static void count_progress(void *context, uint64_t entities)
{
    *(uint64_t *)context = entities;
}

static void it_tells_how_far_it_is(void **state)
{
    fixture_t *f = *state;
    uint64_t last = 0;
    weir_image_verdict_t verdict;
    fixture_begin(f, false);
    for (unsigned i = 0; i < 10050; i++) {
        char row[128];
        snprintf(row, sizeof(row), "{\"id\":\"40000000-0000-4000-8000-%012u\",\"username\":\"%u\"}",
                 i, i);
        fixture_put(f, "consumers", row);
    }
    fixture_commit(f);
    fixture_ok(f, weir_image_verify(f->image, count_progress, &last, &verdict, &f->err));
    assert_int_equal(last, 10000);
    assert_int_equal(verdict.entities, 10050);
    assert_int_equal(verdict.bad_records, 0);
}

static void a_tool_looks_without_touching_anything(void **state)
{
    fixture_t *f = *state;
    weir_image_t *other = NULL;
    weir_image_verdict_t verdict;
    weir_image_options_t options = fixture_options(f);
    options.look_only = true;
    options.map_bytes = 0;
    fixture_ok(f, weir_image_set_digest_key(f->image, &some_key, &f->err));
    put_everything(f);
    weir_image_close(f->image); /* LMDB: an environment once in a process */
    weir_reader_close(f->reader);
    f->reader = NULL;
    f->image = NULL;
    fixture_ok(f, weir_image_open(&options, &other, &f->err));
    fixture_ok(f, weir_image_verify(other, NULL, NULL, &verdict, &f->err));
    assert_int_equal(verdict.bad_records + verdict.bad_buckets, 0);
    assert_int_equal(verdict.entities, 11);
    weir_batch_t *batch = NULL;
    assert_int_not_equal(weir_batch_begin(other, false, 1, &batch, &f->err), WEIR_OK);
    weir_image_close(other);
    options.documented_order = true;
    assert_int_equal(weir_image_open(&options, &other, &f->err), WEIR_UNSUPPORTED);
    options.path = "/nonexistent/weir";
    assert_int_equal(weir_image_open(&options, &other, &f->err), WEIR_NOT_FOUND);
}

static void no_failing_allocation_makes_a_wrong_verdict(void **state)
{
    fixture_t *f = *state;
    fixture_ok(f, weir_image_set_digest_key(f->image, &some_key, &f->err));
    put_everything(f);
    int rc = WEIR_NO_MEMORY;
    unsigned n = 0;
    while (rc != WEIR_OK && ++n < 20000) {
        weir_image_verdict_t verdict;
        weir_test_fail_allocation(n);
        rc = weir_image_verify(f->image, NULL, NULL, &verdict, &f->err);
        weir_test_fail_allocation(0);
        /* A parser that is short of memory cannot say so. */
        assert_true(rc == WEIR_NO_MEMORY || rc == WEIR_CORRUPT || rc == WEIR_OK);
        if (rc == WEIR_OK)
            assert_int_equal(verdict.bad_records + verdict.bad_buckets, 0);
    }
    assert_true(n > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(whatever_entry_changes_is_seen),
        TEST(numbers_that_do_not_add_up_are_seen),
        TEST(it_tells_how_far_it_is),
        TEST(a_tool_looks_without_touching_anything),
        TEST(no_failing_allocation_makes_a_wrong_verdict),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
