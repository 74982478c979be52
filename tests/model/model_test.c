/* model_test.c -- whatever was written, in whatever batches it arrived and whatever
 * happened on the way: an image kept by increments is, byte for byte, the one that is
 * built at once from the whole set, and its digest is the store's.
 *
 * What may differ is masked in src/image/compare.h: the versions inside of records, of
 * the names, of the plans and of the quarantine, and the counters of commits; they say
 * when, not what. WEIR_SEED repeats a run, WEIR_OPS makes it longer. */
#include "follower.h"
#include "pairs.h"
#include "world.h"

#include "base/clock.h"

#include <inttypes.h>
#include <time.h>

enum {
    OPS = 20000,          /* of a run without WEIR_OPS */
    COMPARE_EVERY = 1000, /* operations */
    LOG_ENTRIES = 150,    /* short: who lags is behind it now and then */
    LAG_MAX = 60,         /* versions that gather before a batch; sometimes more */
};

typedef struct run {
    world_t world;
    follower_t image;
    unsigned long compared, entities, quarantined; /* sums over the comparisons */
    uint64_t seed;
} run_t;

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static uint64_t small_map(world_t *w)
{
    return (uint64_t)(256 + world_below(w, 1024)) * 1024;
}

/* Mostly a few; sometimes more than the log holds. */
static uint64_t random_lag(world_t *w)
{
    unsigned dice = world_below(w, 1000);
    return world_below(w, dice < 900 ? 5 : dice < 996 ? LAG_MAX : 2 * LOG_ENTRIES);
}

static void failed(run_t *run, const char *what)
{
    world_print_last(&run->world);
    fail_msg("%s after %lu operations; again: WEIR_SEED=%" PRIu64 " WEIR_OPS=%lu", what,
             run->world.ops, run->seed, run->world.ops);
}

static const char *database_name(int database)
{
    static const char *const names[] = { "state",   "documents",  "records",    "router",
                                         "buckets", "ranks",      "names",      "plans",
                                         "links",   "dependents", "quarantine", "expiry" };
    return (size_t)database < WEIR_COUNT(names) ? names[database] : "?";
}

/* Brings the image to the newest version and makes *once of everything. False: a row's
 * time came in between, so that the snapshot alone lacks it. */
static bool catch_up(run_t *run, follower_t *once)
{
    world_t *w = &run->world;
    world_expire(w);
    while (run->image.image.version < weir_store_version(w->store.store))
        follower_apply(&run->image, w, 1 + world_below(w, LAG_MAX));
    follower_open(once, w, run->image.documented_order, UINT64_C(1) << 28);
    follower_copy_strangers(once, &run->image);
    follower_apply_all(once, w);
    int64_t now_ms = weir_clock_ms();
    follower_expire(&run->image, now_ms);
    follower_expire(once, now_ms);
    return world_expire(w) == 0;
}

/* Compares with an image that has no past. */
static void compare(run_t *run)
{
    world_t *w = &run->world;
    follower_t once;
    while (!catch_up(run, &once))
        follower_close(&once);
    follower_prove(&run->image, w);
    int different = compare_images(&run->image.image, &once.image);
    if (different >= 0) {
        print_message("database %s differs\n", database_name(different));
        compare_explain(&run->image.image, &once.image, (database_t)different);
    }
    weir_image_state_t a, b;
    fixture_ok(&once.image, weir_image_state(run->image.image.image, &a, &once.image.err));
    fixture_ok(&once.image, weir_image_state(once.image.image, &b, &once.image.err));
    follower_close(&once);
    if (different >= 0)
        failed(run, "the image differs from the one built at once");
    assert_true(weir_uuid_equal(&a.default_workspace, &b.default_workspace));
    assert_int_equal(a.version, b.version);
    assert_true(a.complete);
    run->entities += a.entities;
    run->quarantined += a.quarantined;
    world_settled(w);
    run->compared++;
}

/* One of the things that happen to an image. */
static void happen(run_t *run)
{
    world_t *w = &run->world;
    follower_t *f = &run->image;
    unsigned dice = world_below(w, 100);
    if (dice < 10)
        follower_abort(f, w);
    else if (dice < 14)
        follower_reopen(f, false, small_map(w));
    else if (dice < 16)
        follower_reopen(f, true, small_map(w));
    else if (dice < 19)
        follower_die(f, w, 1 + world_below(w, LAG_MAX), world_percent(w, 50));
    else if (dice < 22)
        follower_apply_all(f, w);
    else if (dice < 30)
        follower_expire(f, weir_clock_ms());
    else if (dice < 32)
        world_expire(w);
    else if (dice < 36)
        follower_stage(f, w);
    else if (dice < 41)
        follower_sabotage_and_heal(f, w);
    else
        follower_apply(f, w, 1 + world_below(w, LAG_MAX));
}

/* Proves nothing if half of it never came about. */
static void assert_eventful(const run_t *run)
{
    const world_t *w = &run->world;
    const follower_t *f = &run->image;
    print_message("%lu operations in %lu writes: %lu changed something, %lu refused by the store, "
                  "%lu not written\n",
                  w->ops, w->writes, w->changes, w->refused, w->invalid);
    print_message("refused: changed %lu, primary %lu, unique %lu, reference %lu, referenced %lu\n",
                  w->refusals[WEIR_REFUSED_CHANGED], w->refusals[WEIR_REFUSED_PRIMARY],
                  w->refusals[WEIR_REFUSED_UNIQUE], w->refusals[WEIR_REFUSED_REFERENCE],
                  w->refusals[WEIR_REFUSED_REFERENCED]);
    print_message(
        "%lu batches: %lu full, %lu given up; map grown %lu times, reopened %lu "
        "(other order %lu), killed %lu, expired %lu; compared %lu times, with %lu entities of "
        "which %lu quarantined\n",
        f->batches, f->fulls, f->aborted, f->grown, f->reopened, f->reordered, f->killed,
        f->expired, run->compared, run->entities / run->compared, run->quarantined / run->compared);
    print_message("%lu stages took its place, %lu were left; sabotaged %lu times, %lu entities "
                  "healed\n",
                  f->staged, f->abandoned, f->sabotaged, f->healed);
    if (w->ops < OPS)
        return;
    assert_true(w->changes > w->ops / 10);
    for (int refusal = WEIR_REFUSED_CHANGED; refusal <= WEIR_REFUSED_REFERENCED; refusal++)
        assert_true(w->refusals[refusal] > 0);
    assert_true(f->fulls > 1 && f->aborted > 0 && f->grown > 0 && f->reordered > 0 &&
                f->killed > 0 && f->expired > 0 && f->staged > 0 && f->healed > 0 &&
                run->quarantined > 10 * run->compared);
}

static void an_image_kept_by_increments_is_the_one_built_at_once(void **state)
{
    (void)state;
    static run_t run;
    uint64_t seed = number_of("WEIR_SEED", (uint64_t)time(NULL) * 1000003 % 1000000007);
    uint64_t ops = number_of("WEIR_OPS", OPS);
    print_message("WEIR_SEED=%" PRIu64 " WEIR_OPS=%" PRIu64 "\n", seed, ops);
    run.seed = seed;
    world_open(&run.world, seed, LOG_ENTRIES);
    follower_open(&run.image, &run.world, false, small_map(&run.world));
    unsigned long next_compare = COMPARE_EVERY;
    uint64_t lag = 0;
    while (run.world.ops < ops) {
        world_write(&run.world);
        uint64_t behind = weir_store_version(run.world.store.store) - run.image.image.version;
        if (behind > lag) {
            happen(&run);
            lag = random_lag(&run.world);
        }
        if (run.world.ops >= next_compare) {
            compare(&run);
            next_compare += COMPARE_EVERY;
            lag = random_lag(&run.world); /* what it waited for may not come before the next */
        }
    }
    compare(&run);
    assert_eventful(&run);
    follower_close(&run.image);
    world_close(&run.world);
}

int main(void)
{
    setenv("TMPDIR", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : P_tmpdir, 0);
    pairs_make();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_image_kept_by_increments_is_the_one_built_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
