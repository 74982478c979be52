/* apply_test.c -- when much is quarantined: a change that has nothing to do with it reads
 * nothing of it, for the log or for the report; one that adds to it is in the report, whose
 * list is short, by what it added. */
#include "agent/agent_internal.h"
#include "base/json.h"
#include "image/fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { BAD = 500, LISTED = 100 };

typedef struct change {
    const char *members;
    unsigned first, count;
} change_t;

static int fill(weir_batch_t *batch, const void *what, weir_error_t *err)
{
    const change_t *change = what;
    fixture_t nobody = { .version = 0 };
    int rc = WEIR_OK;
    for (unsigned i = 0; rc == WEIR_OK && i < change->count; i++) {
        char text[256];
        snprintf(text, sizeof(text), "{\"id\":\"c0000000-0000-4000-8000-%012u\",%s}",
                 change->first + i, change->members);
        WEIR_AUTO(json) weir_json_t *row = fixture_json(&nobody, text);
        rc = weir_batch_put(batch, WEIR_STR("consumers"), row, err);
    }
    return rc;
}

static void apply(agent_t *agent, uint64_t version, const change_t *change)
{
    weir_error_t err = { 0 };
    assert_int_equal(agent_commit(agent, agent->image, false, version, fill, change, &err),
                     WEIR_OK);
    agent_applied(agent, false, version, change->count, 1);
}

static void assert_listed_once(const weir_json_t *report, const char *id)
{
    unsigned found = 0;
    const weir_json_t *list = weir_json_get(report, "quarantined");
    assert_int_equal(weir_json_count(list), LISTED);
    for (const weir_json_t *e = weir_json_first(list); e != NULL; e = weir_json_next(e))
        found += weir_str_equal(weir_json_string(weir_json_get(e, "id")), weir_str(id)) ? 1 : 0;
    assert_int_equal(found, 1);
}

static void a_change_reads_nothing_of_what_is_quarantined(void **state)
{
    static agent_t agent;
    static fixture_t f;
    uint64_t version = 1;
    (void)state;
    fixture_open(&f);
    agent.image = f.image;
    status_init(&agent.status, f.path, "");
    apply(&agent, version++, &(change_t){ "\"no_such_field\":1", 1, BAD });
    weir_json_t *report = agent_report(&agent, true);
    assert_int_equal(weir_json_get_number(report, "quarantined_count", 0), BAD);
    assert_int_equal(weir_json_count(weir_json_get(report, "quarantined")), LISTED);
    weir_json_free(report);

    uint64_t read = weir_image_quarantine_read(f.image);
    for (unsigned i = 0; i < 10; i++) {
        apply(&agent, version++, &(change_t){ "\"custom_id\":\"good\"", 1000, 1 });
        assert_null(agent_report(&agent, false));
    }
    assert_int_equal(weir_image_quarantine_read(f.image), read);

    /* One more: its line in the log, itself and then the first ones for the report. */
    apply(&agent, version++, &(change_t){ "\"no_such_field\":1", 2000, 1 });
    report = agent_report(&agent, false);
    assert_int_equal(weir_json_get_number(report, "quarantined_count", 0), BAD + 1);
    assert_listed_once(report, "c0000000-0000-4000-8000-000000002000");
    assert_listed_once(report, "c0000000-0000-4000-8000-000000000001");
    weir_json_free(report);
    assert_true(weir_image_quarantine_read(f.image) <= read + 2 + LISTED + 1);

    /* What was listed anyway is listed once. */
    apply(&agent, version++, &(change_t){ "\"no_such_field\":2", 1, 1 });
    report = agent_report(&agent, false);
    assert_listed_once(report, "c0000000-0000-4000-8000-000000000001");
    weir_json_free(report);
    assert_null(agent_report(&agent, false));

    status_error(&agent.status, "the disk is full");
    report = agent_report(&agent, false);
    assert_non_null(report);
    weir_json_free(report);
    report = agent_report(&agent, true); /* another connection has had none */
    assert_non_null(report);
    weir_json_free(report);
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_change_reads_nothing_of_what_is_quarantined),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
