/* fleet_test.c -- what the fleet says about versions, and what it lets faulty nodes send. */
#include "fleet.h"

#include "base/clock.h"
#include "cluster/frame.h"

#include <getopt.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { NODES = 4 };

static int set_up(void **state)
{
    static const bool expected[NODES] = { true, true, true, false };
    return fleet_versions_new(NODES, expected, (fleet_versions_t **)state, NULL);
}

static int tear_down(void **state)
{
    fleet_versions_free(*state);
    return 0;
}

static fleet_spread_t spread_of(fleet_versions_t *versions, uint64_t version, int wanted)
{
    fleet_spread_t spread;
    int64_t now = weir_clock_monotonic_us();
    assert_int_equal(fleet_versions_wait(versions, version, 3, now, &spread), wanted);
    return spread;
}

static void a_version_is_there_when_the_last_healthy_node_has_it(void **state)
{
    fleet_versions_applied(*state, 0, 5, 100);
    fleet_versions_applied(*state, 3, 5, 50); /* a faulty one: counted by itself */
    fleet_versions_applied(*state, 1, 5, 300);
    assert_int_equal(spread_of(*state, 5, WEIR_TIMEOUT).reached, 2);
    fleet_versions_applied(*state, 2, 5, 200);
    fleet_spread_t spread = spread_of(*state, 5, WEIR_OK);
    assert_int_equal(spread.others, 1);
    assert_int_equal(spread.first_us, 100);
    assert_int_equal(spread.last_us, 300);
    assert_int_equal(spread.p50_us, 100);
    assert_int_equal(spread.p99_us, 100);
}

static void a_node_that_skips_a_version_has_it_too(void **state)
{
    fleet_versions_applied(*state, 0, 7, 100); /* 5 and 6 in one update */
    fleet_versions_applied(*state, 1, 6, 110);
    fleet_versions_applied(*state, 1, 7, 130);
    fleet_versions_applied(*state, 2, 6, 120);
    fleet_spread_t six = spread_of(*state, 6, WEIR_OK);
    assert_int_equal(six.first_us, 100);
    assert_int_equal(six.last_us, 120);
    assert_int_equal(spread_of(*state, 7, WEIR_TIMEOUT).reached, 2);
    assert_int_equal(spread_of(*state, 8, WEIR_TIMEOUT).reached, 0);
}

static void versions_that_begin_anew_count_no_node_twice(void **state)
{
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < NODES; i++)
            fleet_versions_applied(*state, i, 9, 10);
        for (unsigned i = 0; i < NODES; i++)
            fleet_versions_applied(*state, i, 2, 20);
    }
    assert_int_equal(spread_of(*state, 9, WEIR_OK).reached, 3);
}

static void old_versions_are_forgotten_and_the_newest_are_not(void **state)
{
    enum { MANY = 5000 };
    for (uint64_t version = 1; version <= MANY; version++)
        for (unsigned i = 0; i < 3; i++)
            fleet_versions_applied(*state, i, version, (int64_t)(version * 10 + i));
    fleet_spread_t spread = spread_of(*state, MANY, WEIR_OK);
    assert_int_equal(spread.first_us, MANY * 10);
    assert_int_equal(spread.last_us, MANY * 10 + 2);
    assert_int_equal(spread_of(*state, 3, WEIR_NO_MEMORY).reached, 0);
}

/* Two bytes and more of a frame of `opcode`, as the client sends it: head, then payload. */
static unsigned passed(fleet_muzzle_t *muzzle, weir_opcode_t opcode, size_t payload)
{
    static const char bytes[70000];
    uint8_t head[WEIR_FRAME_HEADER_MAX];
    size_t len = weir_frame_header(opcode, payload, (const uint8_t *)"mask", head);
    unsigned count = fleet_muzzle_passes(muzzle, (weir_str_t){ (const char *)head, len });
    return count + (payload > 0 ? fleet_muzzle_passes(muzzle, (weir_str_t){ bytes, payload }) : 0);
}

static void a_mute_node_sends_control_frames_only(void **state)
{
    static const size_t sizes[] = { 1, 125, 126, 65535, 65536 };
    fleet_muzzle_t muzzle = { 0 };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(sizes); i++) {
        assert_int_equal(passed(&muzzle, WEIR_FRAME_BINARY, sizes[i]), 0);
        assert_int_equal(passed(&muzzle, WEIR_FRAME_PING, 0), 1);
        assert_int_equal(passed(&muzzle, WEIR_FRAME_PONG, 4), 2);
    }
}

static int parse(fleet_options_t *options, weir_error_t *err, const char *const *words)
{
    static const char *const needed[] = { "weir-fleet", "--control-plane", "h:1", "--cert",
                                          "c",          "--key",           "k" };
    static char copies[WEIR_COUNT(needed) + 10][64];
    char *argv[WEIR_COUNT(copies)];
    int argc = 0;
    for (; argc < (int)WEIR_COUNT(needed) || *words != NULL; argc++) {
        bool own = argc < (int)WEIR_COUNT(needed);
        snprintf(copies[argc], sizeof(copies[0]), "%s", own ? needed[argc] : *words++);
        argv[argc] = copies[argc];
    }
    optind = 0; /* getopt begins anew */
    return fleet_options_parse(argc, argv, options, err);
}

static void options_are_read(void **state)
{
    static const char *const words[] = { "--slow",  "10:512",     "--stall", "2.5", "--labels",
                                         "a:b,c:d", "--apply-ms", "5..20",   NULL };
    fleet_options_t options;
    weir_error_t err = { 0 };
    (void)state;
    assert_int_equal(parse(&options, &err, words), WEIR_OK);
    assert_true(options.percent[FAULT_SLOW] == 10 && options.percent[FAULT_STALL] == 2.5);
    assert_int_equal(options.slow_bytes, 512);
    assert_string_equal(options.labels[1], "c:d");
    assert_null(options.labels[2]);
    assert_int_equal(options.apply_ms_min, 5);
    assert_int_equal(options.apply_ms_max, 20);
    assert_string_equal(options.files.trust, "c");
}

static void wrong_options_are_refused_by_name(void **state)
{
    static const struct {
        const char *const words[5];
        const char *field;
    } cases[] = {
        { { "--nodes", "0" }, "nodes" },   { { "--stall", "101" }, "stall" },
        { { "--stall", "5:3" }, "stall" }, { { "--apply-ms", "9..3" }, "apply-ms" },
        { { "--labels", "x" }, "labels" }, { { "--slow", "60", "--mute", "60" }, "faults" },
    };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        fleet_options_t options;
        weir_error_t err = { 0 };
        assert_int_equal(parse(&options, &err, cases[i].words), WEIR_INVALID);
        assert_string_equal(err.field, cases[i].field);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_version_is_there_when_the_last_healthy_node_has_it,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_node_that_skips_a_version_has_it_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(versions_that_begin_anew_count_no_node_twice, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(old_versions_are_forgotten_and_the_newest_are_not, set_up,
                                        tear_down),
        cmocka_unit_test(a_mute_node_sends_control_frames_only),
        cmocka_unit_test(options_are_read),
        cmocka_unit_test(wrong_options_are_refused_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
