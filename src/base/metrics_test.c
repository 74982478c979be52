/* metrics_test.c -- what Prometheus is told, byte by byte. */
#include "base/metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void assert_printed(weir_buffer_t *out, const char *expected)
{
    assert_int_equal(weir_buffer_byte(out, '\0'), WEIR_OK);
    assert_string_equal(out->data, expected);
    weir_buffer_release(out);
}

static void a_metric_has_its_help_its_type_and_its_value(void **state)
{
    weir_buffer_t out;
    (void)state;
    weir_buffer_init(&out, 4096);
    weir_metric(&out, "weir_x_total", WEIR_METRIC_COUNTER, "Things", 12345678901234567.0);
    weir_metric(&out, "weir_y", WEIR_METRIC_GAUGE, "Seconds", 0.008);
    weir_metric(&out, "weir_z", WEIR_METRIC_GAUGE, "Bytes", 4503599627370497.0);
    assert_printed(&out, "# HELP weir_x_total Things\n# TYPE weir_x_total counter\n"
                         "weir_x_total 12345678901234568\n"
                         "# HELP weir_y Seconds\n# TYPE weir_y gauge\nweir_y 0.008\n"
                         "# HELP weir_z Bytes\n# TYPE weir_z gauge\nweir_z 4503599627370497\n");
}

static void a_label_cannot_end_its_line(void **state)
{
    weir_buffer_t out;
    (void)state;
    weir_buffer_init(&out, 4096);
    weir_metric_labelled(&out, "weir_x", "name", WEIR_STR("a\"b\\c\nd"), 1);
    assert_printed(&out, "weir_x{name=\"a\\\"b\\\\c\\nd\"} 1\n");
}

static void a_duration_counts_in_every_bucket_that_reaches_it(void **state)
{
    static const weir_duration_bounds_t bounds = { 3, { 10, 1000, 1000000 } };
    weir_durations_t durations = { { 0 } };
    weir_buffer_t out;
    (void)state;
    weir_buffer_init(&out, 4096);
    weir_durations_add(&durations, &bounds, -5); /* a clock was set back */
    weir_durations_add(&durations, &bounds, 10); /* a bound is within its bucket */
    weir_durations_add(&durations, &bounds, 11);
    weir_durations_add(&durations, &bounds, 5000000);
    weir_metric_durations(&out, "weir_d_seconds", "Durations", &bounds, &durations);
    assert_printed(&out, "# HELP weir_d_seconds Durations\n# TYPE weir_d_seconds histogram\n"
                         "weir_d_seconds_bucket{le=\"1e-05\"} 2\n"
                         "weir_d_seconds_bucket{le=\"0.001\"} 3\n"
                         "weir_d_seconds_bucket{le=\"1\"} 3\n"
                         "weir_d_seconds_bucket{le=\"+Inf\"} 4\n"
                         "weir_d_seconds_sum 5.000021\nweir_d_seconds_count 4\n");
}

static void the_bounds_rise(void **state)
{
    const weir_duration_bounds_t *all[] = { &weir_apply_bounds, &weir_change_bounds };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(all); i++) {
        assert_true(all[i]->count <= WEIR_DURATION_BOUNDS_MAX);
        for (size_t at = 1; at < all[i]->count; at++)
            assert_true(all[i]->us[at - 1] < all[i]->us[at]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_metric_has_its_help_its_type_and_its_value),
        cmocka_unit_test(a_label_cannot_end_its_line),
        cmocka_unit_test(a_duration_counts_in_every_bucket_that_reaches_it),
        cmocka_unit_test(the_bounds_rise),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
