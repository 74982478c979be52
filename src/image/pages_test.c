/* pages_test.c -- a set that comes in pages, in any order, makes the image that it makes at
 * once: what refers to something that comes later, is refused, or never comes. */
#include "image/chance.h"
#include "image/rows.h"

enum { SERVICES = 12, ROUTES = 24, PLUGINS = 30, SET = SERVICES + ROUTES + PLUGINS, ROW = 256 };

typedef struct set {
    const char *types[SET];
    char rows[SET][ROW];
    size_t count;
} set_t;

static void add(set_t *set, const char *type, const char *format, ...) WEIR_PRINTF(3, 4);

static void add(set_t *set, const char *type, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(set->rows[set->count], ROW, format, args);
    va_end(args);
    set->types[set->count++] = type;
}

/* Each service may be refused, and so may each route; the last ones of either are referred to
 * and do not come. */
static void make_set(set_t *set)
{
    static const char *const bad = ",\"no_such_field\":1";
    set->count = 0;
    for (unsigned i = 0; i < SERVICES; i++)
        add(set, "services",
            "{\"id\":\"5e000000-0000-4000-8000-%012u\",\"host\":\"h%u\",\"created_at\":1%s}", i, i,
            below(4) == 0 ? bad : "");
    for (unsigned i = 0; i < ROUTES; i++)
        add(set, "routes",
            "{\"id\":\"40000000-0000-4000-8000-%012u\",\"paths\":[\"/%u\"],\"created_at\":1,"
            "\"service\":{\"id\":\"5e000000-0000-4000-8000-%012u\"}%s}",
            i, i, below(SERVICES + 4), below(6) == 0 ? bad : "");
    for (unsigned i = 0; i < PLUGINS; i++)
        add(set, "plugins",
            "{\"id\":\"d0000000-0000-4000-8000-%012u\",\"name\":\"request-termination\","
            "\"created_at\":1,\"route\":{\"id\":\"40000000-0000-4000-8000-%012u\"}}",
            i, i < ROUTES ? i : ROUTES + below(4));
}

static void shuffle(set_t *set)
{
    for (size_t last = set->count - 1; last > 0; last--) {
        size_t at = below((unsigned)last + 1);
        const char *type = set->types[at];
        char row[ROW];
        memcpy(row, set->rows[at], ROW);
        set->types[at] = set->types[last];
        memmove(set->rows[at], set->rows[last], ROW);
        set->types[last] = type;
        memcpy(set->rows[last], row, ROW);
    }
}

static void put_at_once(fixture_t *f, const set_t *set)
{
    fixture_begin(f, true);
    for (size_t i = 0; i < set->count; i++)
        fixture_put(f, set->types[i], set->rows[i]);
    fixture_commit(f);
}

/* Pages of any length; one may be put twice, as after a cut. */
static void put_in_pages(fixture_t *f, const set_t *set)
{
    weir_image_t *stage = NULL;
    weir_image_t *live = f->image;
    weir_stage_t note = { .snapshot = 1, .seen = 1, .expected = set->count };
    fixture_ok(f, weir_image_stage_open(f->image, 1, &stage, &f->err));
    f->image = stage;
    for (size_t at = 0; at < set->count;) {
        size_t end = at + 1 + below(10);
        end = end < set->count ? end : set->count;
        note.pages_done = end == set->count;
        fixture_begin(f, false);
        weir_batch_stage(f->batch, &note);
        for (size_t i = at; i < end; i++)
            fixture_put(f, set->types[i], set->rows[i]);
        fixture_commit(f);
        if (below(5) != 0)
            at = end;
    }
    f->image = live;
    fixture_ok(f, weir_image_switch(&f->image, stage, &f->err));
}

static void a_set_in_pages_makes_the_image_that_it_makes_at_once(void **state)
{
    (void)state;
    static set_t set;
    static fixture_t paged, whole;
    for (unsigned round = rounds(40); round > 0; round--) {
        fixture_open(&paged);
        fixture_open(&whole);
        make_set(&set);
        put_at_once(&whole, &set);
        shuffle(&set);
        put_in_pages(&paged, &set);
        assert_int_equal(compare_images(&paged, &whole), -1);
        assert_true(compare_verified(&paged));
        assert_int_equal(quarantined(&paged).count, quarantined(&whole).count);
        assert_int_not_equal(quarantined(&whole).count, 0);
        fixture_close(&paged);
        fixture_close(&whole);
    }
}

/* What comes after the pages is looked at as it comes. */
static void what_comes_after_the_last_page_is_judged_at_once(void **state)
{
    fixture_t *f = *state;
    weir_image_t *stage = NULL;
    weir_image_t *live = f->image;
    weir_stage_t note = { .snapshot = 1, .seen = 1 };
    fixture_ok(f, weir_image_stage_open(f->image, 1, &stage, &f->err));
    f->image = stage;
    fixture_begin(f, false);
    weir_batch_stage(f->batch, &note);
    fixture_put(f, "routes", ROUTE_OF(R1, "/a", S1));
    fixture_commit(f);
    assert_int_equal(quarantined(f).count, 0); /* nobody has asked */
    fixture_begin(f, false);
    note.pages_done = true;
    weir_batch_stage(f->batch, &note);
    fixture_commit(f);
    assert_int_equal(quarantined(f).count, 1);
    assert_string_equal(quarantined(f).field, "service");
    fixture_put_alone(f, "routes", ROUTE_OF(R2, "/b", S2));
    assert_int_equal(quarantined(f).count, 2);
    fixture_put_alone(f, "services", SERVICE(S1));
    assert_int_equal(quarantined(f).count, 1);
    f->image = live;
    fixture_ok(f, weir_image_switch(&f->image, stage, &f->err));
    assert_true(serves(f, "/a"));
    assert_false(serves(f, "/b"));
}

int main(void)
{
    start_random();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_in_pages_makes_the_image_that_it_makes_at_once),
        cmocka_unit_test_setup_teardown(what_comes_after_the_last_page_is_judged_at_once, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
