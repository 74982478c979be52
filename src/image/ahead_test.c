/* ahead_test.c -- rows that a second thread prepares make the image that they make one by
 * one: good and bad ones, rows that wait for others, rows that lose in the same batch what
 * they refer to, deletions in between. */
#include "image/rows.h"

static const weir_digest_key_t some_key = { { 1, 2, 3 } };

enum { ROWS = 3000 };

typedef struct many {
    weir_batch_row_t rows[ROWS];
    weir_json_t *json[ROWS];
    size_t count;
} many_t;

static weir_uuid_t number_id(unsigned kind, unsigned number)
{
    weir_uuid_t id = { { 0 } };
    unsigned mixed = number * 2654435761u; /* all buckets, and no order */
    id.bytes[0] = (uint8_t)(mixed >> 24);
    id.bytes[1] = (uint8_t)(mixed >> 16);
    id.bytes[6] = 0x40;
    id.bytes[8] = 0x80;
    id.bytes[13] = (uint8_t)kind;
    id.bytes[14] = (uint8_t)(number >> 8);
    id.bytes[15] = (uint8_t)number;
    return id;
}

static weir_batch_row_t *add(many_t *m, const char *type, weir_uuid_t id, const char *members)
{
    static fixture_t nobody;
    char text[WEIR_UUID_TEXT + 1];
    char row[512];
    assert_true(m->count < ROWS);
    weir_uuid_format(&id, text);
    snprintf(row, sizeof(row), "{\"id\":\"%s\",%s}", text, members != NULL ? members : "");
    weir_json_t *json = members != NULL ? fixture_json(&nobody, row) : NULL;
    m->json[m->count] = json;
    m->rows[m->count] =
        (weir_batch_row_t){ .type = weir_str(type), .has_id = true, .id = id, .row = json };
    return &m->rows[m->count++];
}

static void clear(many_t *m)
{
    for (size_t i = 0; i < m->count; i++)
        weir_json_free(m->json[i]);
    m->count = 0;
}

static void add_key(many_t *m, unsigned number, unsigned consumer)
{
    char members[256], text[WEIR_UUID_TEXT + 1];
    weir_uuid_t id = number_id(1, consumer);
    weir_uuid_format(&id, text);
    snprintf(members, sizeof(members),
             "\"key\":\"key-%u\",\"consumer\":{\"id\":\"%s\"},\"created_at\":1", number, text);
    add(m, "keyauth_credentials", number_id(2, number), members);
}

/* Consumers, of which every 7th is refused, and keys, some of nobody and some of those. */
static void make_set(many_t *m, unsigned count, const char *name)
{
    char members[256];
    for (unsigned i = 0; i < count; i++) {
        snprintf(members, sizeof(members), "\"username\":\"%s-%u\",\"created_at\":1%s", name, i,
                 i % 7 == 3 ? ",\"no_such_field\":1" : "");
        weir_batch_row_t *row = add(m, "consumers", number_id(1, i), members);
        row->has_hash = i % 5 == 0;
        row->hash = (weir_digest_t){ i, 7 };
    }
    for (unsigned i = 0; i < count; i++)
        add_key(m, i, i % 11 == 0 ? 60000 + i : i);
    add(m, "teapots", number_id(3, 1), "\"colour\":\"blue\"");
}

/* The same into both, at once into one of them. */
static void put_both(fixture_t *ahead, fixture_t *alone, const many_t *m)
{
    fixture_begin(ahead, false);
    fixture_ok(ahead, weir_batch_put_rows(ahead->batch, m->rows, m->count, &ahead->err));
    fixture_commit(ahead);
    fixture_begin(alone, false);
    for (size_t i = 0; i < m->count; i++)
        fixture_ok(alone, weir_batch_put_rows(alone->batch, &m->rows[i], 1, &alone->err));
    fixture_commit(alone);
    assert_int_equal(compare_images(ahead, alone), -1);
    assert_true(compare_verified(ahead));
    assert_int_equal(state_of(ahead).entities, state_of(alone).entities);
    assert_int_equal(quarantined(ahead).count, quarantined(alone).count);
    weir_digest_t sums[2] = { state_of(ahead).digest, state_of(alone).digest };
    assert_true(weir_digest_equal(&sums[0], &sums[1]));
}

static void rows_put_ahead_make_the_image_that_they_make_one_by_one(void **state)
{
    static many_t m;
    static fixture_t alone;
    fixture_t *f = *state;
    fixture_open(&alone);
    fixture_ok(f, weir_image_set_digest_key(f->image, &some_key, &f->err));
    fixture_ok(&alone, weir_image_set_digest_key(alone.image, &some_key, &alone.err));
    make_set(&m, 1000, "first");
    put_both(f, &alone, &m);
    /* 143 consumers, their keys, keys of nobody (91, of which 13 are counted), a teapot. */
    assert_int_equal(quarantined(f).count, 143 + 143 + 91 - 13 + 1);
    put_both(f, &alone, &m); /* again: nothing is new */
    clear(&m);
    make_set(&m, 1200, "second"); /* other documents, and some more of them */
    put_both(f, &alone, &m);
    clear(&m);
    fixture_close(&alone);
}

static void what_a_row_refers_to_may_go_in_the_same_batch(void **state)
{
    static many_t m;
    static fixture_t alone;
    fixture_t *f = *state;
    fixture_open(&alone);
    make_set(&m, 400, "a");
    put_both(f, &alone, &m);
    clear(&m);
    /* Each was good when the batch began: its going comes before the keys, but after
     * somebody looked. */
    for (unsigned i = 0; i < 400; i += 2)
        add(&m, "consumers", number_id(1, i), NULL);
    for (unsigned i = 0; i < 400; i++)
        add_key(&m, 1000 + i, i);
    put_both(f, &alone, &m);
    assert_int_equal(credential(f, "key-1001", &(weir_credential_t){ { { 0 } } }), WEIR_OK);
    assert_int_equal(credential(f, "key-1002", &(weir_credential_t){ { { 0 } } }), WEIR_NOT_FOUND);
    clear(&m);
    fixture_close(&alone);
}

static void a_row_that_fails_ends_both_threads(void **state)
{
    static many_t m;
    fixture_t *f = *state;
    make_set(&m, 1000, "a");
    for (size_t at = 0; at < 600; at += 149) {
        /* Of a bucket: the first that is of another one is refused. */
        unsigned bucket = weir_digest_bucket(&m.rows[at].id);
        fixture_begin(f, false);
        fixture_ok(f, weir_batch_bucket_begin(f->batch, bucket, &f->err));
        assert_int_equal(weir_batch_put_rows(f->batch, m.rows + at, m.count - at, &f->err),
                         WEIR_INVALID);
        assert_string_equal(f->err.field, "id");
        weir_batch_abort(f->batch);
        f->batch = NULL;
    }
    assert_int_equal(state_of(f).entities, 0);
    clear(&m);
}

/* -- news -------------------------------------------------------------------------------- */

static found_t news(fixture_t *f, uint64_t *ret_left_out)
{
    found_t found = { .count = 0 };
    fixture_ok(f, weir_image_news(f->image, keep, &found, ret_left_out, &f->err));
    return found;
}

static void a_change_reads_what_it_quarantined_and_nothing_else(void **state)
{
    static many_t m;
    uint64_t left_out = 0;
    fixture_t *f = *state;
    for (unsigned i = 0; i < 2500; i++)
        add(&m, "consumers", number_id(1, i), "\"no_such_field\":1");
    fixture_begin(f, false);
    fixture_ok(f, weir_batch_put_rows(f->batch, m.rows, m.count, &f->err));
    fixture_commit(f);
    clear(&m);
    assert_int_equal(news(f, &left_out).count, WEIR_NEWS_MAX);
    assert_int_equal(left_out, 2500 - WEIR_NEWS_MAX);
    uint64_t read = f->image->quarantine_read;
    uint64_t stamp = state_of(f).quarantine_stamp;

    fixture_put_alone(f, "services", SERVICE(S1));
    assert_int_equal(news(f, &left_out).count, 0);
    assert_int_equal(left_out, 0);
    assert_int_equal(state_of(f).quarantine_stamp, stamp);

    fixture_put_alone(f, "routes", ROUTE_OF(R1, "/one", S2));
    found_t found = news(f, &left_out);
    assert_int_equal(found.count, 1);
    assert_string_equal(found.id, R1);
    assert_int_not_equal(state_of(f).quarantine_stamp, stamp);
    stamp = state_of(f).quarantine_stamp;

    fixture_put_alone(f, "services", SERVICE(S2)); /* which the route waited for */
    assert_int_equal(news(f, &left_out).count, 0);
    assert_int_not_equal(state_of(f).quarantine_stamp, stamp);
    assert_int_equal(state_of(f).quarantined, 2500);
    assert_int_equal(f->image->quarantine_read, read + 1);
}

static void what_is_refused_and_then_accepted_in_one_batch_is_no_news(void **state)
{
    uint64_t left_out = 0;
    fixture_t *f = *state;
    fixture_begin(f, false);
    fixture_put(f, "consumers", "{\"id\":\"" C1 "\",\"no_such_field\":1}");
    fixture_put(f, "consumers", "{\"id\":\"" C2 "\",\"no_such_field\":1}");
    fixture_put(f, "consumers", "{\"id\":\"" C2 "\",\"no_such_field\":2}");
    fixture_put(f, "consumers", CONSUMER(C1, "a"));
    fixture_commit(f);
    found_t found = news(f, &left_out);
    assert_int_equal(found.count, 1);
    assert_string_equal(found.id, C2);
}

static int first_only(void *context, const weir_quarantined_t *entry)
{
    (void)entry;
    return ++*(unsigned *)context == 1 ? WEIR_AGAIN : WEIR_OK;
}

static void who_has_enough_reads_no_more(void **state)
{
    unsigned seen = 0;
    fixture_t *f = *state;
    fixture_put_alone(f, "consumers", "{\"id\":\"" C1 "\",\"no_such_field\":1}");
    fixture_put_alone(f, "consumers", "{\"id\":\"" C2 "\",\"no_such_field\":1}");
    assert_int_equal(weir_image_quarantined(f->image, first_only, &seen, &f->err), WEIR_OK);
    assert_int_equal(seen, 1);
    assert_int_equal(f->image->quarantine_read, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rows_put_ahead_make_the_image_that_they_make_one_by_one),
        TEST(what_a_row_refers_to_may_go_in_the_same_batch),
        TEST(a_row_that_fails_ends_both_threads),
        TEST(a_change_reads_what_it_quarantined_and_nothing_else),
        TEST(what_is_refused_and_then_accepted_in_one_batch_is_no_news),
        TEST(who_has_enough_reads_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
