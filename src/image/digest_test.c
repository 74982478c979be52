/* digest_test.c -- the kept sums are those of what was put, whatever happened to it;
 * rows that expire; buckets that are healed. */
#include "image/rows.h"

#include "base/clock.h"

static const weir_digest_key_t some_key = { { 1, 2, 3 } };
static const weir_digest_key_t other_key = { { 9 } };

/* -- what the control plane holds ------------------------------------------------------------ */

enum { HELD_MAX = 64 };

typedef struct held {
    bool exists, told;
    const char *type;
    weir_uuid_t id;
    char document[256];
    weir_digest_t hash; /* with `told` */
} held_t;

typedef struct world {
    fixture_t f;
    weir_digest_key_t key;
    held_t list[HELD_MAX];
} world_t;

static void sum_held(const world_t *w, weir_digest_t *sums, weir_digest_t *total)
{
    weir_digester_t *digester = NULL;
    assert_int_equal(weir_digester_new(&w->key, &digester, NULL), WEIR_OK);
    memset(sums, 0, WEIR_DIGEST_BUCKETS * sizeof(*sums));
    *total = (weir_digest_t){ 0, 0 };
    for (const held_t *h = w->list; h < w->list + HELD_MAX; h++) {
        weir_digest_t hash = h->hash;
        if (!h->exists)
            continue;
        if (!h->told)
            assert_int_equal(weir_digester_entity(digester, weir_str(h->type), &h->id,
                                                  weir_str(h->document), &hash, NULL),
                             WEIR_OK);
        weir_digest_add(&sums[weir_digest_bucket(&h->id)], &hash);
        weir_digest_add(total, &hash);
    }
    weir_digester_free(digester);
}

static void check_sums(world_t *w)
{
    static weir_digest_t kept[WEIR_DIGEST_BUCKETS], want[WEIR_DIGEST_BUCKETS];
    weir_digest_t total;
    sum_held(w, want, &total);
    fixture_ok(&w->f, weir_image_sums(w->f.image, kept, &w->f.err));
    assert_memory_equal(kept, want, sizeof(kept));
    weir_image_state_t now = state_of(&w->f);
    assert_true(now.has_digest);
    assert_true(weir_digest_equal(&now.digest, &total));
    assert_true(compare_verified(&w->f));
}

static uint64_t seed_state = 88172645463325252ULL;

static unsigned below(unsigned n)
{
    seed_state ^= seed_state << 13;
    seed_state ^= seed_state >> 7;
    seed_state ^= seed_state << 17;
    return (unsigned)(seed_state >> 20) % n;
}

/* Every type of trouble: refused rows, unknown types, references to nothing, rows that
 * are over already. */
static void random_held(held_t *h, unsigned number)
{
    static const char *const types[] = { "routes", "services", "teapots", "keyauth_credentials" };
    static const char *const bodies[] = {
        "\"paths\":[\"/%u\"]",
        "\"paths\":[\"no\"],\"x%u\":1",
        "\"host\":\"up%u.test\"",
        "\"host\":\"up.test\",\"port\":%u",
        "\"anything\":%u",
        "\"key\":\"k%u\",\"consumer\":{\"id\":\"" C1 "\"}",
        "\"key\":\"k%u\",\"consumer\":{\"id\":\"" C1 "\"},\"ttl\":1600000000",
    };
    unsigned type = number % 4;
    char id[WEIR_UUID_TEXT + 1], body[128];
    *h = (held_t){ .exists = true, .told = below(4) == 0, .type = types[type], .id = h->id };
    h->hash = (weir_digest_t){ below(1u << 30), below(1u << 30) };
    weir_uuid_format(&h->id, id);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(body, sizeof(body),
             bodies[type == 3 ? 5 + below(2) : 2 * type + below(1 + (type < 2))], below(3));
#pragma GCC diagnostic pop
    snprintf(h->document, sizeof(h->document), "{\"id\":\"%s\",%s}", id, body);
}

static void put_held(world_t *w, const held_t *h)
{
    WEIR_AUTO(json) weir_json_t *row = fixture_json(&w->f, h->document);
    fixture_ok(&w->f, weir_batch_put_told(w->f.batch, weir_str(h->type), &h->id, row,
                                          h->told ? &h->hash : NULL, &w->f.err));
}

static void drop_held(world_t *w, held_t *h)
{
    h->exists = false;
    fixture_ok(&w->f, weir_batch_delete_id(w->f.batch, weir_str(h->type), &h->id, &w->f.err));
}

static void start_world(world_t *w)
{
    memset(w, 0, sizeof(*w));
    fixture_open(&w->f);
    w->key = some_key;
    for (unsigned i = 0; i < HELD_MAX; i++) {
        w->list[i].type =
            (const char *[]){ "routes", "services", "teapots", "keyauth_credentials" }[i % 4];
        assert_int_equal(weir_uuid_random(&w->list[i].id), WEIR_OK);
        if (i % 3 == 0) /* some share a bucket */
            w->list[i].id.bytes[0] = 7, w->list[i].id.bytes[1] = (uint8_t)i;
    }
    fixture_ok(&w->f, weir_image_set_digest_key(w->f.image, &w->key, &w->f.err));
}

static void reopen(world_t *w)
{
    weir_image_options_t options = fixture_options(&w->f);
    weir_image_close(w->f.image);
    w->f.image = NULL;
    fixture_ok(&w->f, weir_image_open(&options, &w->f.image, &w->f.err));
}

static void put_everything(world_t *w)
{
    fixture_begin(&w->f, true);
    for (held_t *h = w->list; h < w->list + HELD_MAX; h++)
        if (h->exists)
            put_held(w, h);
    fixture_commit(&w->f);
}

static void abort_something(world_t *w)
{
    held_t gone = w->list[below(HELD_MAX)];
    held_t new = w->list[below(HELD_MAX)];
    fixture_begin(&w->f, below(2) == 0);
    drop_held(w, &gone);
    random_held(&new, below(4));
    put_held(w, &new);
    weir_batch_abort(w->f.batch);
    w->f.batch = NULL;
}

static void change_everything(world_t *w)
{
    fixture_begin(&w->f, false);
    for (unsigned k = below(6); k > 0; k--) {
        unsigned i = below(HELD_MAX);
        if (w->list[i].exists && below(3) == 0) {
            drop_held(w, &w->list[i]);
            continue;
        }
        random_held(&w->list[i], i);
        put_held(w, &w->list[i]);
        if (below(8) == 0)
            put_held(w, &w->list[i]);
    }
    fixture_commit(&w->f);
}

static void kept_sums_are_those_of_what_was_put(void **state)
{
    (void)state;
    static world_t w;
    start_world(&w);
    check_sums(&w);
    for (unsigned round = 0; round < 400; round++) {
        change_everything(&w);
        if (below(10) == 0)
            put_everything(&w);
        if (below(10) == 0)
            abort_something(&w);
        if (below(20) == 0)
            reopen(&w);
        check_sums(&w);
    }
    fixture_begin(&w.f, true);
    memset(w.list, 0, sizeof(w.list));
    fixture_commit(&w.f);
    check_sums(&w); /* of nothing: zeros */
    weir_image_state_t after = state_of(&w.f);
    assert_int_equal(after.digest.high | after.digest.low, 0);
    fixture_close(&w.f);
}

static void another_key_makes_all_sums_anew(void **state)
{
    (void)state;
    static world_t w;
    char before[WEIR_DIGEST_FINGERPRINT_TEXT + 1], after[WEIR_DIGEST_FINGERPRINT_TEXT + 1];
    start_world(&w);
    for (unsigned i = 0; i < HELD_MAX; i++) {
        random_held(&w.list[i], i);
        w.list[i].told = false;
    }
    put_everything(&w);
    fixture_ok(&w.f, weir_image_digest_key(w.f.image, before, &w.f.err));
    w.key = other_key;
    fixture_ok(&w.f, weir_image_set_digest_key(w.f.image, &w.key, &w.f.err));
    check_sums(&w);
    reopen(&w);
    check_sums(&w);
    fixture_ok(&w.f, weir_image_digest_key(w.f.image, after, &w.f.err));
    assert_string_not_equal(before, after);
    fixture_close(&w.f);
}

static void without_a_key_there_is_no_digest(void **state)
{
    fixture_t *f = *state;
    char fingerprint[WEIR_DIGEST_FINGERPRINT_TEXT + 1];
    static weir_digest_t sums[WEIR_DIGEST_BUCKETS];
    weir_digest_t digest;
    fixture_put_alone(f, "routes", ROUTE(R1, "/a"));
    assert_false(state_of(f).has_digest);
    assert_int_equal(weir_image_sums(f->image, sums, &f->err), WEIR_NOT_FOUND);
    fixture_ok(f, weir_image_digest_key(f->image, fingerprint, &f->err));
    assert_string_equal(fingerprint, "");
    fixture_begin(f, false);
    assert_int_equal(weir_batch_digest(f->batch, &digest, &f->err), WEIR_NOT_FOUND);
}

static void a_batch_tells_the_digest_as_it_goes(void **state)
{
    fixture_t *f = *state;
    weir_digest_t empty, one, none;
    weir_uuid_t id = fixture_uuid(R1);
    fixture_ok(f, weir_image_set_digest_key(f->image, &some_key, &f->err));
    fixture_begin(f, false);
    fixture_ok(f, weir_batch_digest(f->batch, &empty, &f->err));
    fixture_put(f, "routes", ROUTE(R1, "/a"));
    fixture_ok(f, weir_batch_digest(f->batch, &one, &f->err));
    fixture_ok(f, weir_batch_delete_id(f->batch, WEIR_STR("routes"), &id, &f->err));
    fixture_ok(f, weir_batch_digest(f->batch, &none, &f->err));
    assert_false(weir_digest_equal(&empty, &one));
    assert_true(weir_digest_equal(&empty, &none));
}

static void a_document_is_kept_as_it_came(void **state)
{
    fixture_t *f = *state;
    weir_uuid_t id = fixture_uuid(R1);
    weir_str_t document;
    static const char row[] = "{\"paths\":[\"/a\"],\"id\":\"" R1 "\",\"unheard_of\":null}";
    fixture_put_alone(f, "routes", row);
    assert_true(serves(f, "/a"));
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    fixture_ok(f, weir_reader_document(f->reader, WEIR_ROUTES, &id, &document, &f->err));
    assert_true(weir_str_is(document, row));
    weir_reader_leave(f->reader);
}

static void a_row_under_another_id_than_its_own_is_refused(void **state)
{
    fixture_t *f = *state;
    weir_uuid_t id = fixture_uuid(R2);
    WEIR_AUTO(json) weir_json_t *row = fixture_json(f, ROUTE(R1, "/a"));
    fixture_begin(f, false);
    fixture_ok(f, weir_batch_put_told(f->batch, WEIR_STR("routes"), &id, row, NULL, &f->err));
    fixture_commit(f);
    assert_int_equal(quarantined(f).count, 1);
    assert_string_equal(quarantined(f).field, "id");
    assert_false(serves(f, "/a"));
    fixture_begin(f, false);
    fixture_ok(f, weir_batch_delete_id(f->batch, WEIR_STR("routes"), &id, &f->err));
    fixture_commit(f);
    assert_int_equal(state_of(f).entities, 0);
}

/* -- expiry
 * ---------------------------------------------------------------------------------------- */

static void put_key_until(fixture_t *f, int64_t now_ms, int64_t end_s)
{
    char row[256];
    snprintf(row, sizeof(row),
             "{\"id\":\"" K1 "\",\"key\":\"secret\"," REF("consumer", C1) ",\"ttl\":%" PRId64 "}",
             end_s);
    fixture_begin(f, false);
    fixture_put(f, "consumers", CONSUMER(C1, "u"));
    fixture_put(f, "keyauth_credentials", row);
    weir_batch_t *batch = f->batch;
    f->batch = NULL;
    fixture_ok(f, weir_batch_commit(batch, now_ms, &f->err));
}

static bool accepted(fixture_t *f, int64_t now_ms)
{
    weir_credential_t found;
    fixture_ok(f, weir_reader_enter(f->reader, &f->err));
    int rc = weir_reader_credential(f->reader, WEIR_KEYAUTH_CREDENTIALS, WEIR_STR("secret"),
                                    now_ms / 1000, &found, &f->err);
    weir_reader_leave(f->reader);
    return rc == WEIR_OK;
}

static size_t expire(fixture_t *f, int64_t now_ms)
{
    size_t count = 0;
    int64_t next_ms = 0;
    fixture_ok(f, weir_image_expire(f->image, now_ms, &count, &next_ms, &f->err));
    return count;
}

static size_t entries(fixture_t *f, database_t database)
{
    MDB_stat stat;
    MDB_txn *txn = NULL;
    assert_int_equal(mdb_txn_begin(f->image->env, NULL, MDB_RDONLY, &txn), 0);
    assert_int_equal(mdb_stat(txn, f->image->dbi[database], &stat), 0);
    mdb_txn_abort(txn);
    return stat.ms_entries;
}

static void reopen_with(fixture_t *f, bool documented_order)
{
    weir_image_options_t options = fixture_options(f);
    options.documented_order = documented_order; /* another order: all is made anew */
    weir_image_close(f->image);
    f->image = NULL;
    fixture_ok(f, weir_image_open(&options, &f->image, &f->err));
}

static void what_expired_stays_away_until_a_later_end_comes(void **state)
{
    fixture_t *f = *state;
    int64_t now_ms = weir_clock_ms();
    int64_t end_s = now_ms / 1000 + 1000;
    fixture_ok(f, weir_image_set_digest_key(f->image, &some_key, &f->err));
    put_key_until(f, now_ms, end_s);
    weir_image_state_t before = state_of(f);
    assert_true(accepted(f, end_s * 1000 - 1));
    assert_false(accepted(f, end_s * 1000)); /* at once, also if the agent is late */
    assert_int_equal(expire(f, end_s * 1000 - 1), 0);
    assert_int_equal(expire(f, end_s * 1000), 1);
    assert_false(accepted(f, now_ms)); /* the clock went back: it is gone for good */
    assert_int_equal(entries(f, DB_EXPIRY), 0);
    assert_int_equal(entries(f, DB_RECORDS), 1);
    assert_int_equal(quarantined(f).count, 0);
    assert_int_equal(state_of(f).entities, 2);
    weir_image_state_t after = state_of(f);
    assert_true(weir_digest_equal(&before.digest, &after.digest));
    put_key_until(f, end_s * 1000, end_s); /* the same again: our clock is not there yet */
    assert_false(accepted(f, end_s * 1000));
    assert_int_equal(expire(f, end_s * 1000), 1);
    assert_int_equal(entries(f, DB_RECORDS), 1);
    put_key_until(f, end_s * 1000, end_s + 10);
    assert_true(accepted(f, end_s * 1000));
}

static void what_expired_does_not_come_back_with_a_restart(void **state)
{
    fixture_t *f = *state;
    int64_t end_s = FIXTURE_NOW_MS / 1000 - 10;
    put_key_until(f, (end_s - 5) * 1000, end_s);
    assert_int_equal(entries(f, DB_RECORDS), 2);
    reopen_with(f, false);
    assert_int_equal(expire(f, end_s * 1000), 1);
    reopen_with(f, false);
    assert_int_equal(entries(f, DB_RECORDS), 1);
    reopen_with(f, true);
    assert_int_equal(entries(f, DB_RECORDS), 1);
    fixture_delete_alone(f, "consumers", "{\"id\":\"" C1 "\"}"); /* wakes it */
    fixture_put_alone(f, "consumers", CONSUMER(C1, "u"));
    assert_int_equal(entries(f, DB_RECORDS), 1);
    fixture_delete_alone(f, "keyauth_credentials", "{\"id\":\"" K1 "\"}");
    fixture_delete_alone(f, "consumers", "{\"id\":\"" C1 "\"}");
    for (int d = DB_DOCUMENTS; d < DATABASES; d++)
        assert_int_equal(entries(f, (database_t)d), 0);
}

/* -- healing
 * ---------------------------------------------------------------------------------------- */

typedef struct findings {
    size_t count[3];
    char name[3][64];
    char type[3][64];
} findings_t;

static void keep_finding(void *context, weir_difference_t what, weir_str_t type,
                         const weir_uuid_t *id, weir_str_t name)
{
    findings_t *findings = context;
    (void)id;
    findings->count[what]++;
    snprintf(findings->name[what], 64, "%.*s", WEIR_STR_ARG(name));
    snprintf(findings->type[what], 64, "%.*s", WEIR_STR_ARG(type));
}

static void heal(world_t *w, unsigned bucket, findings_t *findings)
{
    fixture_ok(&w->f, weir_batch_bucket_begin(w->f.batch, bucket, &w->f.err));
    for (held_t *h = w->list; h < w->list + HELD_MAX; h++)
        if (h->exists && weir_digest_bucket(&h->id) == bucket)
            put_held(w, h);
    fixture_ok(&w->f, weir_batch_bucket_end(w->f.batch, keep_finding, findings, &w->f.err));
}

/* The control plane changes things that the image does not hear of. */
static unsigned drift(world_t *w)
{
    unsigned changed = 0;
    for (unsigned i = 0; i < HELD_MAX; i++) {
        held_t before = w->list[i];
        if (below(3) == 0)
            continue;
        if (before.exists && below(2) == 0)
            w->list[i].exists = false;
        else
            random_held(&w->list[i], i);
        changed += before.exists != w->list[i].exists ||
                   strcmp(before.document, w->list[i].document) != 0 ||
                   before.told != w->list[i].told ||
                   (before.told && !weir_digest_equal(&before.hash, &w->list[i].hash));
    }
    return changed;
}

static void buckets_that_differ_are_healed(void **state)
{
    (void)state;
    static world_t w;
    static weir_digest_t kept[WEIR_DIGEST_BUCKETS], want[WEIR_DIGEST_BUCKETS];
    weir_digest_t total;
    start_world(&w);
    for (unsigned round = 0; round < 60; round++) {
        change_everything(&w);
        unsigned changed = drift(&w);
        findings_t findings = { { 0 }, { "" }, { "" } };
        sum_held(&w, want, &total);
        fixture_ok(&w.f, weir_image_sums(w.f.image, kept, &w.f.err));
        fixture_begin(&w.f, false);
        for (unsigned bucket = 0; bucket < WEIR_DIGEST_BUCKETS; bucket++)
            if (!weir_digest_equal(&kept[bucket], &want[bucket]))
                heal(&w, bucket, &findings);
        fixture_commit(&w.f);
        check_sums(&w);
        assert_int_equal(findings.count[0] + findings.count[1] + findings.count[2], changed);
    }
    fixture_close(&w.f);
}

static void differences_have_names(void **state)
{
    fixture_t *f = *state;
    findings_t found = { { 0 }, { "" }, { "" } };
    weir_uuid_t k1 = fixture_uuid(K1);
    weir_uuid_t c1 = fixture_uuid(C1);
    fixture_put_alone(f, "consumers", CONSUMER(C1, "who"));
    fixture_put_alone(f, "keyauth_credentials", KEY(K2, "secret-of-somebody", C1));
    WEIR_AUTO(json) weir_json_t *consumer = fixture_json(f, CONSUMER(C1, "whoever"));
    WEIR_AUTO(json) weir_json_t *key = fixture_json(f, KEY(K1, "another-secret", C1));
    fixture_begin(f, false);
    fixture_ok(f, weir_batch_bucket_begin(f->batch, 0xb00, &f->err));
    fixture_ok(
        f, weir_batch_put_told(f->batch, WEIR_STR("keyauth_credentials"), &k1, key, NULL, &f->err));
    assert_int_equal(
        weir_batch_put_told(f->batch, WEIR_STR("consumers"), &c1, consumer, NULL, &f->err),
        WEIR_INVALID); /* of another bucket */
    fixture_ok(f, weir_batch_bucket_end(f->batch, keep_finding, &found, &f->err));
    fixture_ok(f, weir_batch_bucket_begin(f->batch, 0xc00, &f->err));
    fixture_ok(f,
               weir_batch_put_told(f->batch, WEIR_STR("consumers"), &c1, consumer, NULL, &f->err));
    fixture_ok(f, weir_batch_bucket_end(f->batch, keep_finding, &found, &f->err));
    fixture_commit(f);
    assert_int_equal(found.count[WEIR_DIFFERENCE_MISSING], 1);
    assert_int_equal(found.count[WEIR_DIFFERENCE_EXTRA], 1);
    assert_int_equal(found.count[WEIR_DIFFERENCE_DOCUMENT], 1);
    assert_string_equal(found.name[WEIR_DIFFERENCE_MISSING], "anot...");
    assert_string_equal(found.name[WEIR_DIFFERENCE_EXTRA], "secr...");
    assert_string_equal(found.name[WEIR_DIFFERENCE_DOCUMENT], "whoever");
    assert_string_equal(found.type[WEIR_DIFFERENCE_EXTRA], "keyauth_credentials");
    assert_int_equal(weir_batch_begin(f->image, false, 9, &f->batch, &f->err), WEIR_OK);
    assert_int_equal(weir_batch_bucket_begin(f->batch, WEIR_DIGEST_BUCKETS, &f->err), WEIR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_sums_are_those_of_what_was_put),
        cmocka_unit_test(another_key_makes_all_sums_anew),
        TEST(without_a_key_there_is_no_digest),
        TEST(a_batch_tells_the_digest_as_it_goes),
        TEST(a_document_is_kept_as_it_came),
        TEST(a_row_under_another_id_than_its_own_is_refused),
        TEST(what_expired_stays_away_until_a_later_end_comes),
        TEST(what_expired_does_not_come_back_with_a_restart),
        cmocka_unit_test(buckets_that_differ_are_healed),
        TEST(differences_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
