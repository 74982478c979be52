/* world.c -- random writes to a store. */
#include "world.h"

#include "base/clock.h"

#include <inttypes.h>

enum { ARENA_BYTES_MAX = 1 << 22, OPS_MAX = 6 };

unsigned world_below(world_t *w, unsigned n)
{
    /* SplitMix64: good from any seed, also small ones. */
    uint64_t z = w->random += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (unsigned)((z ^ z >> 31) % n);
}

bool world_percent(world_t *w, unsigned n)
{
    return world_below(w, 100) < n;
}

/* Memory, not a disk: what is proved here is not what a disk keeps. */
static const char *fast_place(void)
{
    return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : NULL;
}

void world_open(world_t *w, uint64_t seed, uint64_t log_entries_max)
{
    *w = (world_t){ .random = seed };
    test_create(&w->store, fast_place());
    w->store.options.log_entries_max = log_entries_max;
    test_reopen(&w->store);
}

void world_close(world_t *w)
{
    test_destroy(&w->store);
    for (size_t t = 0; t < WEIR_ENTITY_TYPES; t++)
        for (size_t s = 0; s < SLOTS; s++)
            free(w->references[t][s]);
}

static char *note(world_t *w)
{
    return w->last[w->ops % LAST_OPS];
}

void world_print_last(const world_t *w)
{
    for (unsigned long i = w->ops > LAST_OPS ? w->ops - LAST_OPS : 0; i < w->ops; i++)
        print_message("%lu: %s\n", i, w->last[i % LAST_OPS]);
}

/* -- one operation ----------------------------------------------------------------------- */

static int random_text(void *context, char *text, size_t len)
{
    world_t *w = context;
    for (size_t i = 0; i < len; i++)
        text[i] = (char)('a' + world_below(w, 26));
    return WEIR_OK;
}

static bool current_row(world_t *w, weir_entity_type_t type, const weir_uuid_t *id,
                        weir_json_t **ret, uint64_t *ret_version)
{
    WEIR_AUTO(arena) weir_arena_t arena;
    weir_arena_init(&arena, ARENA_BYTES_MAX);
    weir_row_t row;
    weir_error_t err = { 0 };
    int rc = weir_store_get(w->store.store, type, id, &arena, &row, &err);
    if (rc == WEIR_NOT_FOUND)
        return false;
    if (rc != WEIR_OK || weir_json_parse(row.document, ret, &err) != WEIR_OK)
        fail_msg("get: %s", err.reason);
    *ret_version = row.version;
    return true;
}

/* By the model, as the Admin API does; NULL: it refuses. */
static weir_json_t *completed(world_t *w, weir_entity_type_t type, weir_write_t kind,
                              const weir_json_t *body, const weir_json_t *current)
{
    weir_model_env_t env = { .now = (double)weir_clock_ms() / 1000,
                             .random_text = random_text,
                             .context = w };
    weir_problem_t problem;
    weir_problem_init(&problem);
    weir_json_t *entity = NULL;
    int rc = weir_model_write(weir_schema(type), kind, body, current, &env, &entity, &problem);
    weir_problem_release(&problem);
    assert_true(rc == WEIR_OK || rc == WEIR_INVALID);
    return rc == WEIR_OK ? entity : NULL;
}

static uint64_t random_expectation(world_t *w, bool exists, uint64_t version)
{
    unsigned dice = world_below(w, 100);
    if (dice < 60)
        return WEIR_EXPECT_ANYTHING;
    if (dice < 63)
        return version > 1 ? version - 1 : WEIR_EXPECT_ABSENT; /* somebody was faster */
    if (dice < 66)
        return WEIR_EXPECT_ABSENT;
    return exists ? version : WEIR_EXPECT_ABSENT;
}

/* A put of the whole entity: made by the model, or bad and put straight in. */
static bool random_put(world_t *w, weir_entity_type_t type, unsigned slot, weir_store_op_t *op)
{
    bool good = false;
    WEIR_AUTO(json) weir_json_t *current = NULL;
    uint64_t version = 0;
    bool exists = current_row(w, type, &op->id, &current, &version);
    WEIR_AUTO(json) weir_json_t *row = random_row(w, type, slot, &good);
    op->expected = random_expectation(w, exists, version);
    if (!good) {
        op->entity = row;
        row = NULL;
        return true;
    }
    op->entity = completed(w, type, exists ? WEIR_UPSERT : WEIR_INSERT, row, current);
    return op->entity != NULL;
}

/* A patch may heal. */
static bool random_change(world_t *w, weir_entity_type_t type, unsigned slot, weir_store_op_t *op)
{
    WEIR_AUTO(json) weir_json_t *current = NULL;
    uint64_t version = 0;
    if (slot_kind(slot) == SLOT_BAD || !current_row(w, type, &op->id, &current, &version))
        return false;
    if (slot_kind(slot) == SLOT_HEALS)
        w->healed[type][slot] = true;
    op->expected = world_percent(w, 95) ? version : version - 1;
    if (world_percent(w, 10)) { /* what is there already: changes nothing */
        op->entity = current;
        current = NULL;
        return true;
    }
    WEIR_AUTO(json) weir_json_t *patch = random_patch(w, type);
    op->entity = completed(w, type, WEIR_UPDATE, patch, current);
    return op->entity != NULL;
}

/* False: there is nothing to write (absent, or the model refused). The caller frees
 * op->entity. */
static bool random_op(world_t *w, weir_store_op_t *op)
{
    weir_entity_type_t type = world_types[world_below(w, (unsigned)world_type_count)];
    unsigned slot = world_below(w, SLOTS);
    unsigned dice = world_below(w, 100);
    *op = (weir_store_op_t){ .kind = WEIR_STORE_PUT,
                             .type = type,
                             .id = slot_id(type, slot),
                             .expected = WEIR_EXPECT_ANYTHING };
    snprintf(note(w), LAST_BYTES, "%s %s %u (kind %d)",
             dice < 15   ? "delete"
             : dice < 40 ? "change"
                         : "put",
             weir_schema(type)->name, slot, (int)slot_kind(slot));
    w->ops++;
    if (dice < 15) {
        op->kind = WEIR_STORE_DELETE;
        return true;
    }
    return dice < 40 ? random_change(w, type, slot, op) : random_put(w, type, slot, op);
}

void world_write(world_t *w)
{
    weir_store_op_t ops[OPS_MAX];
    size_t want = world_percent(w, 15) ? 2 + world_below(w, OPS_MAX - 1) : 1;
    size_t count = 0;
    for (size_t i = 0; i < want; i++) {
        if (random_op(w, &ops[count]))
            count++;
        else
            w->invalid++;
    }
    if (count == 0)
        return;
    uint64_t before = weir_store_version(w->store.store);
    weir_store_result_t result = { 0 };
    weir_error_t err = { 0 };
    int rc = weir_store_write(w->store.store, ops, count, &result, &err);
    uint64_t after = weir_store_version(w->store.store);
    w->writes++;
    if (rc == WEIR_CONFLICT) {
        w->refused++;
        w->refusals[result.refusal]++;
        assert_int_equal(after, before);
    } else if (rc == WEIR_OK) {
        w->changes += result.changed;
        assert_int_equal(after, before + result.changed);
        assert_int_equal(result.version, after);
    } else {
        fail_msg("write: %s: %s", weir_code_name(rc), err.reason);
    }
    for (size_t i = 0; i < count; i++)
        weir_json_free((weir_json_t *)(uintptr_t)ops[i].entity);
}

size_t world_expire(world_t *w)
{
    weir_error_t err = { 0 };
    size_t count = 0;
    if (weir_store_expire(w->store.store, weir_clock_ms(), 1000, &count, &err) != WEIR_OK)
        fail_msg("expire: %s", err.reason);
    return count;
}

void world_settled(world_t *w)
{
    for (size_t t = 0; t < world_type_count; t++)
        for (unsigned slot = 0; slot < SLOTS; slot++) {
            WEIR_AUTO(json) weir_json_t *row = NULL;
            uint64_t version = 0;
            weir_uuid_t id = slot_id(world_types[t], slot);
            if (world_types[t] == WEIR_KEYAUTH_CREDENTIALS)
                continue; /* may end any moment, in the store before in the image */
            if (slot_kind(slot) == SLOT_HEALS && w->healed[world_types[t]][slot] &&
                !current_row(w, world_types[t], &id, &row, &version))
                w->healed[world_types[t]][slot] = false;
        }
}
