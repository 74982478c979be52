/* unchanged_test.c -- a change writes the pages of what it changes, not of what stays: LMDB copies
 * a page for whatever is put into it, the same again, too, and every copy is written to disk. */
#include "image/batch.h"
#include "image/rows.h"

#define U1 "0b000000-0000-4000-8000-000000000001"

#define OF_CONSUMER(id, name, custom_id, tag)                                 \
    "{\"id\":\"" id "\",\"username\":\"" name "\",\"custom_id\":\"" custom_id \
    "\",\"tags\":[\"" tag "\"]}"
#define TAGGED_KEY(tag) \
    "{\"id\":\"" K1 "\",\"key\":\"k\",\"tags\":[\"" tag "\"]," REF("consumer", C1) "}"
#define UPSTREAM(slots) "{\"id\":\"" U1 "\",\"name\":\"u.test\",\"slots\":" slots "}"

/* Where the first entry of a database is in the file: elsewhere after its page was written. */
static const void *place_of(fixture_t *f, database_t database)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    assert_int_equal(mdb_txn_begin(f->image->env, NULL, MDB_RDONLY, &txn), 0);
    assert_int_equal(mdb_cursor_open(txn, f->image->dbi[database], &cursor), 0);
    assert_int_equal(mdb_cursor_get(cursor, &key, &value, MDB_FIRST), 0);
    const void *place = key.mv_data;
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return place;
}

static void assert_name(fixture_t *f, const char *name, const char *id)
{
    weir_consumer_t consumer;
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    int rc = weir_reader_consumer_named(f->reader, weir_str(name), &consumer, &f->err);
    if (id == NULL) {
        assert_int_equal(rc, WEIR_NOT_FOUND);
    } else {
        weir_uuid_t expected = fixture_uuid(id);
        fixture_ok(f, rc);
        assert_true(weir_uuid_equal(&consumer.id, &expected));
    }
    weir_reader_leave(f->reader);
}

static void names_that_stay_are_not_written(void **state)
{
    fixture_t *f = *state;
    fixture_put_alone(f, "consumers", OF_CONSUMER(C1, "u", "c", "a"));
    const void *names = place_of(f, DB_NAMES);
    const void *records = place_of(f, DB_RECORDS);
    fixture_put_alone(f, "consumers", OF_CONSUMER(C1, "u", "c", "b"));
    assert_ptr_equal(place_of(f, DB_NAMES), names);
    assert_ptr_not_equal(place_of(f, DB_RECORDS), records);
    fixture_put_alone(f, "consumers", OF_CONSUMER(C1, "u", "d", "b"));
    assert_ptr_not_equal(place_of(f, DB_NAMES), names);
    assert_name(f, "u", C1);
    assert_name(f, "d", C1);
    assert_name(f, "c", NULL);
    fixture_put_alone(f, "upstreams", UPSTREAM("10"));
    names = place_of(f, DB_NAMES);
    fixture_put_alone(f, "upstreams", UPSTREAM("20"));
    assert_ptr_equal(place_of(f, DB_NAMES), names);
}

/* A name that leaves goes after the one that comes: within a batch also from one to another. */
static void names_change_places(void **state)
{
    fixture_t *f = *state;
    fixture_begin(f, false);
    fixture_put(f, "consumers", OF_CONSUMER(C1, "x", "1", "a"));
    fixture_put(f, "consumers", OF_CONSUMER(C2, "y", "2", "a"));
    fixture_commit(f);
    fixture_begin(f, false);
    fixture_put(f, "consumers", OF_CONSUMER(C1, "y", "1", "a"));
    fixture_put(f, "consumers", OF_CONSUMER(C2, "x", "2", "a"));
    fixture_commit(f);
    assert_name(f, "y", C1);
    assert_name(f, "x", C2);
    /* its own names, too */
    fixture_put_alone(f, "consumers", OF_CONSUMER(C1, "1", "y", "a"));
    assert_name(f, "1", C1);
    assert_name(f, "y", C1);
    fixture_delete_alone(f, "consumers", "{\"id\":\"" C1 "\"}");
    assert_name(f, "1", NULL);
    assert_name(f, "y", NULL);
    assert_name(f, "x", C2);
    assert_name(f, "2", C2);
}

/* The same name may lead elsewhere: then it is another entry. */
static void a_name_that_stays_leads_where_the_newer_record_says(void **state)
{
    fixture_t *f = *state;
    weir_credential_t credential;
    weir_uuid_t consumer = fixture_uuid(C2);
    fixture_begin(f, false);
    fixture_put(f, "consumers", CONSUMER(C1, "u"));
    fixture_put(f, "consumers", CONSUMER(C2, "v"));
    fixture_put(f, "keyauth_credentials", KEY(K1, "k", C1));
    fixture_commit(f);
    fixture_put_alone(f, "keyauth_credentials", KEY(K1, "k", C2));
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    fixture_ok(f, weir_reader_credential(f->reader, WEIR_KEYAUTH_CREDENTIALS, WEIR_STR("k"), 0,
                                         &credential, &f->err));
    assert_true(weir_uuid_equal(&credential.consumer, &consumer));
    weir_reader_leave(f->reader);
}

static void links_that_stay_are_not_written(void **state)
{
    fixture_t *f = *state;
    fixture_begin(f, false);
    fixture_put(f, "consumers", CONSUMER(C1, "u"));
    fixture_put(f, "consumers", CONSUMER(C2, "v"));
    fixture_put(f, "keyauth_credentials", TAGGED_KEY("a"));
    fixture_commit(f);
    const void *links = place_of(f, DB_LINKS);
    const void *dependents = place_of(f, DB_DEPENDENTS);
    fixture_put_alone(f, "keyauth_credentials", TAGGED_KEY("b"));
    assert_ptr_equal(place_of(f, DB_LINKS), links);
    assert_ptr_equal(place_of(f, DB_DEPENDENTS), dependents);
    fixture_put_alone(f, "keyauth_credentials", KEY(K1, "k", C2));
    assert_ptr_not_equal(place_of(f, DB_LINKS), links);
    /* who lost it does not take it along, who has it does */
    fixture_delete_alone(f, "consumers", "{\"id\":\"" C1 "\"}");
    assert_int_equal(quarantined(f).count, 0);
    fixture_delete_alone(f, "consumers", "{\"id\":\"" C2 "\"}");
    assert_int_equal(quarantined(f).count, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(names_that_stay_are_not_written),
        TEST(names_change_places),
        TEST(a_name_that_stays_leads_where_the_newer_record_says),
        TEST(links_that_stay_are_not_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
