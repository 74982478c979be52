/* waiters_test.c -- waiting until data planes have a version. */
#include "cluster/fixture.h"

enum { PURGE_S = 1000 };

static unsigned told;

static void over(void *context)
{
    ++*(unsigned *)context;
}

static weir_registry_t *new_registry(void)
{
    weir_registry_t *registry = NULL;
    assert_int_equal(weir_registry_new(PURGE_S, &registry, NULL), WEIR_OK);
    told = 0;
    return registry;
}

/* Node `n`; `labels` NULL: none. */
static const char *name_of(unsigned n)
{
    static char names[8][WEIR_UUID_TEXT + 1];
    static unsigned next;
    weir_uuid_t id;
    char *name = names[next++ % WEIR_COUNT(names)];
    fixture_id(n, &id);
    weir_uuid_format(&id, name);
    return name;
}

static void join(weir_registry_t *registry, unsigned n, const char *labels)
{
    weir_json_t *value = labels != NULL ? fixture_json(labels) : NULL;
    weir_node_facts_t facts = { .node_id = weir_str(name_of(n)), .labels = value };
    bool twin = false;
    assert_non_null(weir_registry_connected(registry, &facts, 1000, &twin));
    weir_json_free(value);
}

static void leave(weir_registry_t *registry, unsigned n)
{
    weir_registry_disconnected(registry, fixture_node(registry, name_of(n)), 1000);
}

static void apply(weir_registry_t *registry, unsigned n, uint64_t version)
{
    weir_registry_applied(registry, fixture_node(registry, name_of(n)), version, 5, 2000000);
}

/* The node reports entity `n` (0: none) as quarantined, and an error or NULL. */
static void report(weir_registry_t *registry, unsigned node, unsigned n, const char *error)
{
    char text[512];
    char list[256] = "";
    if (n > 0)
        snprintf(list, sizeof(list), "{\"type\":\"routes\",\"id\":\"%s\"}", name_of(n));
    snprintf(text, sizeof(text), "{\"quarantined\":[%s],\"last_error\":%s%s%s}", list,
             error != NULL ? "\"" : "", error != NULL ? error : "null", error != NULL ? "\"" : "");
    weir_json_t *value = fixture_json(text);
    weir_registry_report(registry, fixture_node(registry, name_of(node)), value, 3000);
    weir_json_free(value);
}

static weir_waiter_t *wait_for(weir_registry_t *registry, weir_wait_kind_t kind, uint64_t version,
                               size_t count)
{
    static weir_uuid_t entity;
    weir_waiter_t *waiter = NULL;
    fixture_id(77, &entity);
    weir_wait_t wait = { .kind = kind,
                         .version = version,
                         .count = count,
                         .entities = &entity,
                         .entity_count = 1,
                         .over = over,
                         .context = &told };
    if (kind == WEIR_WAIT_LABEL) {
        wait.key = WEIR_STR("region");
        wait.value = WEIR_STR("eu");
    }
    assert_int_equal(weir_registry_wait(registry, &wait, &waiter, NULL), WEIR_OK);
    return waiter;
}

/* "applied pending failed", then "over" or "confirmed". */
static const char *look(weir_waiter_t *waiter)
{
    static char text[128];
    weir_arrivals_t a;
    bool is_over = weir_waiter_look(waiter, &a);
    snprintf(text, sizeof(text), "%zu %zu %zu%s%s", a.applied, a.pending, a.failed,
             is_over ? " over" : "", a.confirmed ? " confirmed" : "");
    return text;
}

static void all_have_come_when_the_last_has(void **state)
{
    weir_registry_t *registry = new_registry();
    (void)state;
    weir_waiter_t *waiter = wait_for(registry, WEIR_WAIT_ALL, 5, 0);
    assert_string_equal(look(waiter), "0 0 0"); /* nobody is not everybody */
    join(registry, 1, NULL);
    join(registry, 2, NULL);
    join(registry, 3, NULL);
    assert_string_equal(look(waiter), "0 3 0");
    apply(registry, 1, 4);
    apply(registry, 2, 7);
    apply(registry, 3, 5);
    assert_string_equal(look(waiter), "2 1 0");
    assert_int_equal(told, 0);
    apply(registry, 1, 5);
    assert_int_equal(told, 1);
    assert_string_equal(look(waiter), "3 0 0 over confirmed");
    apply(registry, 1, 6);
    assert_int_equal(told, 1); /* once is enough */
    apply(registry, 1, 0);     /* it has lost its image */
    assert_string_equal(look(waiter), "2 1 0");
    apply(registry, 1, 6);
    assert_int_equal(told, 2);
    weir_waiter_free(waiter);
    weir_registry_free(registry);
}

static void who_leaves_is_not_waited_for_and_who_comes_is(void **state)
{
    weir_registry_t *registry = new_registry();
    (void)state;
    join(registry, 1, NULL);
    join(registry, 2, NULL);
    apply(registry, 1, 5);
    weir_waiter_t *waiter = wait_for(registry, WEIR_WAIT_ALL, 5, 0);
    assert_string_equal(look(waiter), "1 1 0");
    join(registry, 3, NULL);
    leave(registry, 2);
    assert_string_equal(look(waiter), "1 1 0");
    assert_int_equal(told, 0);
    join(registry, 3, NULL); /* a second socket of the same node */
    leave(registry, 3);
    assert_string_equal(look(waiter), "1 1 0");
    leave(registry, 3);
    assert_int_equal(told, 1);
    assert_string_equal(look(waiter), "1 0 0 over confirmed");
    leave(registry, 1);
    assert_string_equal(look(waiter), "0 0 0");
    weir_waiter_free(waiter);
    weir_registry_free(registry);
}

static void a_number_and_a_label_choose_whom_is_waited_for(void **state)
{
    weir_registry_t *registry = new_registry();
    (void)state;
    join(registry, 1, "{\"region\":\"eu\"}");
    join(registry, 2, "{\"region\":\"us\"}");
    join(registry, 3, NULL);
    weir_waiter_t *two = wait_for(registry, WEIR_WAIT_COUNT, 5, 2);
    weir_waiter_t *label = wait_for(registry, WEIR_WAIT_LABEL, 5, 0);
    assert_string_equal(look(label), "0 1 0");
    apply(registry, 2, 5);
    assert_string_equal(look(label), "0 1 0");
    assert_string_equal(look(two), "1 2 0");
    apply(registry, 1, 5);
    assert_string_equal(look(label), "1 0 0 over confirmed");
    assert_string_equal(look(two), "2 1 0 over confirmed");
    join(registry, 3, "{\"region\":\"eu\"}"); /* it comes again, with another label */
    assert_string_equal(look(label), "1 1 0");
    weir_waiter_free(two);
    weir_waiter_free(label);
    weir_registry_free(registry);
}

static void who_refuses_an_entity_of_the_version_has_failed(void **state)
{
    weir_registry_t *registry = new_registry();
    (void)state;
    join(registry, 1, NULL);
    join(registry, 2, NULL);
    report(registry, 1, 77, NULL); /* since an older version: not this one's failure */
    weir_waiter_t *waiter = wait_for(registry, WEIR_WAIT_ALL, 5, 0);
    assert_string_equal(look(waiter), "0 2 0");
    apply(registry, 1, 5);
    assert_string_equal(look(waiter), "0 1 1");
    report(registry, 1, 0, NULL); /* it was mended */
    assert_string_equal(look(waiter), "1 1 0");
    report(registry, 2, 78, NULL); /* another entity */
    apply(registry, 2, 5);
    assert_string_equal(look(waiter), "2 0 0 over confirmed");
    report(registry, 2, 77, NULL);
    assert_string_equal(look(waiter), "1 0 1 over");
    weir_waiter_free(waiter);
    weir_registry_free(registry);
}

static void who_reports_an_error_has_failed_until_it_has_the_version(void **state)
{
    weir_registry_t *registry = new_registry();
    (void)state;
    join(registry, 1, NULL);
    report(registry, 1, 0, "an old one");
    weir_waiter_t *waiter = wait_for(registry, WEIR_WAIT_ALL, 5, 0);
    assert_string_equal(look(waiter), "0 1 0");
    report(registry, 1, 0, "the disk is full");
    assert_int_equal(told, 1);
    assert_string_equal(look(waiter), "0 0 1 over");
    apply(registry, 1, 5);
    assert_string_equal(look(waiter), "1 0 0 over confirmed");
    weir_waiter_free(waiter);
    weir_registry_free(registry);
}

/* -- against a count of everything ------------------------------------------------------- */

enum { NODES = 12, WAITERS = 9, EVENTS = 20000 };

typedef struct model {
    unsigned sockets[NODES], bad[NODES];
    bool eu[NODES];
    uint64_t version[NODES];
    unsigned error[NODES]; /* the event of its last error */
} model_t;

typedef struct expected {
    weir_waiter_t *waiter;
    weir_wait_kind_t kind;
    uint64_t version;
    unsigned since;
} expected_t;

static unsigned random_below(unsigned *seed, unsigned end)
{
    *seed = *seed * 1103515245U + 12345U;
    return (*seed >> 16) % end;
}

static void check(const model_t *m, const expected_t *e, unsigned event)
{
    size_t counts[3] = { 0 };
    for (unsigned n = 0; n < NODES; n++) {
        if (m->sockets[n] == 0 || (e->kind == WEIR_WAIT_LABEL && !m->eu[n]))
            continue;
        if (m->version[n] >= e->version)
            counts[m->bad[n] == 77 ? 2 : 0]++;
        else
            counts[m->error[n] > e->since ? 2 : 1]++;
    }
    weir_arrivals_t a;
    weir_waiter_look(e->waiter, &a);
    if (a.applied != counts[0] || a.pending != counts[1] || a.failed != counts[2])
        fail_msg("event %u, version %u: %zu %zu %zu, not %zu %zu %zu", event, (unsigned)e->version,
                 a.applied, a.pending, a.failed, counts[0], counts[1], counts[2]);
}

static void happen(weir_registry_t *registry, model_t *m, unsigned *seed, unsigned event)
{
    unsigned n = random_below(seed, NODES);
    switch (random_below(seed, 7)) {
    case 0:
        m->eu[n] = random_below(seed, 2) == 0;
        m->sockets[n]++;
        join(registry, n, m->eu[n] ? "{\"region\":\"eu\"}" : NULL);
        break;
    case 1:
        if (m->sockets[n] == 0)
            break;
        m->sockets[n]--;
        leave(registry, n);
        break;
    case 2:
        if (m->sockets[n] == 0)
            break; /* it may not be known yet */
        m->bad[n] = random_below(seed, 3) == 0 ? 77 : random_below(seed, 2) * 78;
        if (random_below(seed, 3) == 0)
            m->error[n] = event;
        report(registry, n, m->bad[n], m->error[n] == event ? "error" : NULL);
        break;
    default:
        if (m->sockets[n] == 0)
            break;
        m->version[n] = random_below(seed, 10) == 0 ? random_below(seed, 40)
                                                    : m->version[n] + random_below(seed, 3);
        apply(registry, n, m->version[n]);
        break;
    }
}

static void counts_are_those_of_a_look_at_every_node(void **state)
{
    weir_registry_t *registry = new_registry();
    model_t m = { 0 };
    expected_t waiters[WAITERS] = { 0 };
    unsigned seed = 1;
    (void)state;
    for (unsigned event = 1; event < EVENTS; event++) {
        unsigned w = random_below(&seed, WAITERS * 10);
        if (w < WAITERS) {
            weir_waiter_free(waiters[w].waiter);
            weir_wait_kind_t kind = (weir_wait_kind_t)random_below(&seed, 3);
            uint64_t version = m.version[0] + random_below(&seed, 8);
            waiters[w] =
                (expected_t){ wait_for(registry, kind, version, 2), kind, version, event - 1 };
        }
        happen(registry, &m, &seed, event);
        for (unsigned i = 0; i < WAITERS; i++)
            if (waiters[i].waiter != NULL)
                check(&m, &waiters[i], event);
    }
    for (unsigned i = 0; i < WAITERS; i++)
        weir_waiter_free(waiters[i].waiter);
    weir_registry_free(registry);
}

static void without_memory_nobody_waits_and_nothing_is_left_behind(void **state)
{
    weir_registry_t *registry = new_registry();
    weir_uuid_t entity = { { 1 } };
    weir_wait_t wait = { .kind = WEIR_WAIT_LABEL,
                         .version = 1,
                         .key = WEIR_STR("k"),
                         .value = WEIR_STR("v"),
                         .entities = &entity,
                         .entity_count = 1,
                         .over = over,
                         .context = &told };
    int rc = WEIR_NO_MEMORY;
    (void)state;
    for (unsigned n = 1; rc != WEIR_OK && n < 20; n++) {
        weir_waiter_t *waiter = NULL;
        weir_test_fail_allocation(n);
        rc = weir_registry_wait(registry, &wait, &waiter, NULL);
        weir_test_fail_allocation(0);
        assert_true(rc == WEIR_OK || rc == WEIR_NO_MEMORY);
        weir_waiter_free(waiter);
    }
    assert_int_equal(rc, WEIR_OK);
    weir_registry_free(registry); /* asserts that nobody is left */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_have_come_when_the_last_has),
        cmocka_unit_test(who_leaves_is_not_waited_for_and_who_comes_is),
        cmocka_unit_test(a_number_and_a_label_choose_whom_is_waited_for),
        cmocka_unit_test(who_refuses_an_entity_of_the_version_has_failed),
        cmocka_unit_test(who_reports_an_error_has_failed_until_it_has_the_version),
        cmocka_unit_test(counts_are_those_of_a_look_at_every_node),
        cmocka_unit_test(without_memory_nobody_waits_and_nothing_is_left_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
