/* report_test.c -- what the agent writes is what others read; whatever else lies there
 * does no harm. */
#include "agent/report.h"
#include "agent/status.h"

#include "base/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/weir-report-XXXXXX";

static void lay(const char *text)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/agent.json", folder);
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* All metrics of what lies there, ended by a zero byte. */
static weir_buffer_t metrics(void)
{
    weir_agent_report_t report;
    weir_buffer_t out;
    weir_buffer_init(&out, 65536);
    weir_agent_report_read(folder, &report);
    assert_int_equal(weir_agent_report_metrics(&report, &out), WEIR_OK);
    weir_agent_report_release(&report);
    assert_int_equal(weir_buffer_byte(&out, '\0'), WEIR_OK);
    return out;
}

static void assert_line(const char *text, const char *line)
{
    char whole[256];
    snprintf(whole, sizeof(whole), "\n%s\n", line);
    if (strstr(text, whole) == NULL)
        fail_msg("no line \"%s\" in\n%s", line, text);
}

static void what_the_agent_counts_is_what_is_shown(void **state)
{
    static status_t status;
    (void)state;
    status_init(&status, folder, "cp:8005");
    status_set_aside(&status);
    status_connected(&status, true);
    status_received(&status, 1000);
    status_received(&status, 23);
    status_sent(&status, 7);
    status_full_begins(&status, WEIR_STR("unknown"));
    status_applied(&status, true, 500, 2500000);
    status_full_begins(&status, WEIR_STR("behind"));
    status_applied(&status, true, 500, 1500000);
    status_applied(&status, false, 3, 180);
    status_applied(&status, false, 4, 60000000);
    status_healed(&status, 2);
    status_facts_t facts = {
        .version = 41,
        .newest = 43,
        .complete = true,
        .map_bytes = 1 << 20,
        .protocol = "weir.sync.v1",
        .digest_equal = 0,
        .mismatches = 1,
        .stage_snapshot = 42,
        .stage_entities = 10,
        .stage_expected = 30,
    };
    status_facts(&status, &facts);
    status_write(&status, true);

    WEIR_AUTO(buffer) weir_buffer_t out = metrics();
    static const char *const lines[] = {
        "weir_agent_newest_version 43",
        "weir_agent_lag_versions 2",
        "weir_agent_batches_total 4",
        "weir_agent_deltas_total 1007",
        "weir_agent_last_full_sync_seconds 1.5",
        "weir_agent_received_bytes_total 1023",
        "weir_agent_sent_bytes_total 7",
        "weir_agent_full_syncs_total{reason=\"image_set_aside\"} 1",
        "weir_agent_full_syncs_total{reason=\"behind\"} 1",
        "weir_agent_full_syncs_total{reason=\"first\"} 0",
        "weir_agent_digest_known 1",
        "weir_agent_digest_differs 1",
        "weir_agent_digest_mismatches_total 1",
        "weir_agent_heals_total 1",
        "weir_agent_healed_entities_total 2",
        "weir_agent_full_sync_running 1",
        "weir_agent_full_sync_entities 10",
        "weir_agent_full_sync_expected_entities 30",
        "weir_agent_apply_seconds_bucket{le=\"0.0001\"} 0",
        "weir_agent_apply_seconds_bucket{le=\"0.00025\"} 1",
        "weir_agent_apply_seconds_bucket{le=\"30\"} 1",
        "weir_agent_apply_seconds_bucket{le=\"+Inf\"} 2",
        "weir_agent_apply_seconds_count 2",
        "weir_config_map_bytes 1048576",
    };
    for (size_t i = 0; i < WEIR_COUNT(lines); i++)
        assert_line(out.data, lines[i]);
    /* This process is no agent, whatever the file says. */
    assert_line(out.data, "weir_agent_connected 0");
}

static void nothing_compared_is_no_difference(void **state)
{
    static status_t status;
    (void)state;
    status_init(&status, folder, "cp:8005");
    status_write(&status, true);
    WEIR_AUTO(buffer) weir_buffer_t out = metrics();
    assert_line(out.data, "weir_agent_digest_known 0");
    assert_line(out.data, "weir_agent_digest_differs 0");
    assert_line(out.data, "weir_agent_full_sync_running 0");
}

static void the_same_facts_are_not_written_again(void **state)
{
    static status_t status;
    (void)state;
    status_init(&status, folder, "cp:8005");
    status_facts_t facts = { .version = 1, .newest = 1, .digest_equal = -1 };
    status_facts(&status, &facts);
    status_write(&status, true);
    status_facts(&status, &facts);
    assert_false(status.changed);
    facts.stage_entities = 1;
    status_facts(&status, &facts);
    assert_true(status.changed);
}

static void whatever_lies_there_does_no_harm(void **state)
{
    static const char *const files[] = {
        "",
        "{",
        "[]",
        "null",
        "{\"pid\":-1,\"lag\":-5,\"batches\":1e300,\"deltas\":\"x\",\"resyncs\":[],\"applies\":7}",
        /* one text in two lines: NOLINTNEXTLINE(bugprone-suspicious-missing-comma) */
        ("{\"pid\":1e99,\"applies\":{\"buckets\":[-1,1e300,\"x\",null,{}],\"sum_us\":-1},"
         "\"full_sync\":{\"entities\":-1},\"digest_equal\":\"yes\"}"),
    };
    (void)state;
    for (size_t i = 0; i < WEIR_COUNT(files); i++) {
        lay(files[i]);
        WEIR_AUTO(buffer) weir_buffer_t out = metrics();
        assert_line(out.data, "weir_agent_up 0");
        assert_null(strstr(out.data, " -")); /* no number below nothing */
        assert_null(strstr(out.data, "inf\n"));
        assert_null(strstr(out.data, "nan"));
    }
    /* Longer than what is read: as if it were not there. */
    char *text = malloc(WEIR_AGENT_REPORT_BYTES_MAX + 64);
    assert_non_null(text);
    memset(text, ' ', WEIR_AGENT_REPORT_BYTES_MAX + 60);
    memcpy(text + WEIR_AGENT_REPORT_BYTES_MAX + 40, "{\"lag\":1}", 10);
    lay(text);
    free(text);
    weir_agent_report_t report;
    weir_agent_report_read(folder, &report);
    assert_null(report.said);
    weir_agent_report_read("/no/such/folder", &report);
    assert_null(report.said);
}

static void status_shows_what_is_known(void **state)
{
    weir_agent_report_t report;
    WEIR_AUTO(buffer) weir_buffer_t out;
    WEIR_AUTO(json) weir_json_t *sync = NULL;
    (void)state;
    lay("{\"pid\":1,\"connected\":true,\"lag\":3,\"full_sync\":{\"entities\":1},\"secret\":1}");
    weir_buffer_init(&out, 65536);
    weir_agent_report_read(folder, &report);
    assert_int_equal(weir_agent_report_print(&report, &out), WEIR_OK);
    weir_agent_report_release(&report);
    assert_int_equal(weir_json_parse(weir_buffer_str(&out), &sync, NULL), WEIR_OK);
    assert_false(weir_json_get_boolean(sync, "connected", true)); /* pid 1 is no agent */
    assert_int_equal(weir_json_get_number(sync, "lag", 0), 3);
    assert_int_equal(weir_json_get_number(weir_json_get(sync, "full_sync"), "entities", 0), 1);
    assert_null(weir_json_get(sync, "secret"));
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) != NULL ? 0 : -1;
}

static int remove_folder(void **state)
{
    char path[128];
    (void)state;
    snprintf(path, sizeof(path), "%s/agent.json", folder);
    unlink(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_agent_counts_is_what_is_shown),
        cmocka_unit_test(nothing_compared_is_no_difference),
        cmocka_unit_test(the_same_facts_are_not_written_again),
        cmocka_unit_test(whatever_lies_there_does_no_harm),
        cmocka_unit_test(status_shows_what_is_known),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
