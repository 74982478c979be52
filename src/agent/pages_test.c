/* pages_test.c -- the pages of a set, as the client gives them: each is put while the next
 * one comes, and nothing is put after one that failed until the set goes on from it. */
#include "agent/agent_internal.h"
#include "base/json.h"
#include "image/fixture.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { PAGES = 6, ROWS = 400, SNAPSHOT = 7 };

static fixture_t f;
static agent_t agent;
static weir_error_t err;
static weir_arena_t memory; /* as of a client's message */

static int set_up(void **state)
{
    (void)state;
    fixture_open(&f);
    weir_arena_init(&memory, SIZE_MAX / 2);
    agent = (agent_t){ .image = f.image };
    err = (weir_error_t){ 0 };
    status_init(&agent.status, f.path, "");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    page_drop(&agent.put);
    weir_arena_release(&memory);
    weir_image_stage_discard(agent.stage);
    f.image = agent.image;
    fixture_close(&f);
    return 0;
}

static weir_json_t *page_entities(unsigned page)
{
    weir_json_t *list = weir_json_new_array();
    for (unsigned i = 0; i < ROWS; i++) {
        char text[512];
        unsigned number = page * ROWS + i;
        snprintf(text, sizeof(text),
                 "{\"type\":\"consumers\",\"id\":\"c0000000-0000-4000-8000-%012u\",\"entity\":"
                 "{\"id\":\"c0000000-0000-4000-8000-%012u\",\"username\":\"u%u\"}}",
                 number, number, number);
        assert_int_equal(weir_json_append(list, fixture_json(&f, text)), WEIR_OK);
    }
    return list;
}

/* Page number `page`, after which the set goes on with the next number. */
static int take_page(unsigned page)
{
    char next[16];
    snprintf(next, sizeof(next), "%u", page + 1);
    weir_sync_page_t what = { .snapshot = SNAPSHOT, .version = SNAPSHOT + page };
    weir_json_place(&memory);
    what.entities = page_entities(page);
    what.memory = &memory;
    weir_json_place(NULL);
    if (page + 1 < PAGES)
        what.next = weir_str(next);
    int rc = agent_sync.page(&agent, &what, &err);
    weir_arena_clear(&memory, SIZE_MAX / 2); /* whatever is in it now */
    return rc;
}

static void begin_stage(void)
{
    assert_int_equal(
        agent_sync.stage(&agent, SNAPSHOT, PAGES * ROWS, WEIR_STR("unknown_version"), &err),
        WEIR_OK);
}

static weir_sync_state_t held(void)
{
    weir_sync_state_t state = { 0 };
    assert_int_equal(agent_sync.state(&agent, &state, &err), WEIR_OK);
    return state;
}

static uint64_t entities_in(weir_image_t *image)
{
    weir_image_state_t state;
    assert_int_equal(weir_image_state(image, &state, &err), WEIR_OK);
    return state.entities;
}

static void what_is_told_of_the_stage_waits_for_the_page_on_its_way(void **state)
{
    (void)state;
    begin_stage();
    for (unsigned page = 0; page + 1 < PAGES; page++) {
        char cursor[16];
        snprintf(cursor, sizeof(cursor), "%u", page + 1);
        assert_int_equal(take_page(page), WEIR_OK);
        assert_true(agent.put.running);
        weir_sync_state_t now = held();
        assert_false(agent.put.running);
        assert_string_equal(now.stage_cursor, cursor);
        assert_int_equal(now.stage_seen, SNAPSHOT + page);
        assert_false(now.stage_pages_done);
        assert_int_equal(entities_in(agent.stage), (page + 1) * ROWS);
    }
}

static void the_last_page_is_in_when_it_was_taken(void **state)
{
    (void)state;
    begin_stage();
    for (unsigned page = 0; page < PAGES; page++)
        assert_int_equal(take_page(page), WEIR_OK);
    assert_false(agent.put.running);
    assert_true(held().stage_pages_done);
    assert_int_equal(agent_sync.switch_over(&agent, &err), WEIR_OK);
    assert_int_equal(entities_in(agent.image), PAGES * ROWS);
    assert_int_equal(held().stage, 0);
}

/* Stands in for a disk that is full from here on. */
static void limit_files(bool full)
{
    static struct rlimit before;
    static void (*handler)(int);
    struct stat info;
    char path[512];
    snprintf(path, sizeof(path), "%s.stage/data.mdb", f.path);
    if (!full) {
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        signal(SIGXFSZ, handler);
        return;
    }
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = before;
    small.rlim_cur = (rlim_t)info.st_size;
    handler = signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
}

static void nothing_is_put_after_a_page_that_failed(void **state)
{
    (void)state;
    begin_stage();
    assert_int_equal(take_page(0), WEIR_OK);
    assert_string_equal(held().stage_cursor, "1");
    limit_files(true);
    assert_int_equal(take_page(1), WEIR_OK); /* on its way */
    page_wait(&agent.put);
    limit_files(false);
    assert_int_not_equal(take_page(2), WEIR_OK); /* what became of page 1 */
    assert_true(err.reason[0] != '\0');
    assert_string_equal(agent.status.last_error, err.reason);
    assert_string_equal(held().stage_cursor, "1");
    assert_int_equal(entities_in(agent.stage), ROWS);

    begin_stage(); /* the same: it goes on */
    for (unsigned page = 1; page < PAGES; page++)
        assert_int_equal(take_page(page), WEIR_OK);
    assert_int_equal(agent_sync.switch_over(&agent, &err), WEIR_OK);
    assert_int_equal(entities_in(agent.image), PAGES * ROWS);
}

static void a_last_page_that_fails_is_not_done(void **state)
{
    (void)state;
    begin_stage();
    for (unsigned page = 0; page + 1 < PAGES; page++)
        assert_int_equal(take_page(page), WEIR_OK);
    assert_false(held().stage_pages_done);
    limit_files(true);
    assert_int_not_equal(take_page(PAGES - 1), WEIR_OK);
    limit_files(false);
    assert_false(held().stage_pages_done);
    assert_int_equal(take_page(PAGES - 1), WEIR_OK);
    assert_true(held().stage_pages_done);
}

static void another_set_throws_away_the_page_on_its_way(void **state)
{
    (void)state;
    begin_stage();
    assert_int_equal(take_page(0), WEIR_OK);
    assert_int_equal(agent_sync.stage(&agent, SNAPSHOT + 1, ROWS, WEIR_STR("again"), &err),
                     WEIR_OK);
    assert_int_equal(entities_in(agent.stage), 0);
    assert_int_equal(held().stage, SNAPSHOT + 1);
    assert_int_equal(take_page(1), WEIR_NOT_FOUND); /* of the set before */
    assert_int_equal(take_page(1), WEIR_NOT_FOUND);
    agent_sync.discard(&agent);
    assert_int_equal(held().stage, 0);
    assert_int_equal(take_page(1), WEIR_NOT_FOUND);
}

static void a_map_that_is_full_grows_under_a_page(void **state)
{
    (void)state;
    weir_image_options_t options = fixture_options(&f);
    fixture_close(&f);
    options.map_bytes = 96 * 1024;
    fixture_open_with(&f, &options);
    agent.image = f.image;
    begin_stage();
    for (unsigned page = 0; page < PAGES; page++)
        assert_int_equal(take_page(page), WEIR_OK);
    assert_int_equal(entities_in(agent.stage), PAGES * ROWS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_told_of_the_stage_waits_for_the_page_on_its_way),
        TEST(the_last_page_is_in_when_it_was_taken),
        TEST(nothing_is_put_after_a_page_that_failed),
        TEST(a_last_page_that_fails_is_not_done),
        TEST(another_set_throws_away_the_page_on_its_way),
        TEST(a_map_that_is_full_grows_under_a_page),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
