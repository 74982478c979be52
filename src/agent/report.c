/* report.c -- what the agent said of itself, for others (report.h). */
#include "agent/report.h"

#include "base/json.h"
#include "base/metrics.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

/* The kernel's name of the process: the program's, cut to 15 bytes. */
static const char agent_name[] = "weir-agent";

/* -- reading ----------------------------------------------------------------------------- */

static weir_json_t *read_file(const char *path)
{
    weir_json_t *said = NULL;
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, WEIR_AGENT_REPORT_BYTES_MAX);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return NULL;
    ssize_t got = 0;
    do {
        enum { PART = 8192 };
        char *to = weir_buffer_reserve(&text, PART);
        got = to != NULL ? read(fd, to, PART) : 0;
        text.len += got > 0 ? (size_t)got : 0;
    } while (got > 0);
    close(fd);
    /* One that is too long is cut off, and no JSON. */
    if (weir_json_parse(weir_buffer_str(&text), &said, NULL) != WEIR_OK)
        return NULL;
    if (weir_json_kind(said) == WEIR_JSON_OBJECT)
        return said;
    weir_json_free(said);
    return NULL;
}

void weir_agent_report_read(const char *prefix, weir_agent_report_t *ret)
{
    char path[PATH_MAX];
    *ret = (weir_agent_report_t){ NULL };
    snprintf(path, sizeof(path), "%s/agent.json", prefix);
    ret->said = read_file(path);
    double pid = weir_json_get_number(ret->said, "pid", 0);
    if (pid >= 1 && pid <= INT_MAX)
        ret->runs = weir_process_look((pid_t)pid, &ret->process) == WEIR_OK &&
                    strcmp(ret->process.name, agent_name) == 0;
}

void weir_agent_report_release(weir_agent_report_t *report)
{
    weir_json_free(report->said);
    report->said = NULL;
}

/* A number that is none of ours (negative, endless) counts as 0. */
static double number(const weir_json_t *object, const char *name)
{
    double value = weir_json_get_number(object, name, 0);
    return value > 0 && value < 1e18 ? value : 0;
}

/* Nobody is connected who does not run. */
static bool connected(const weir_agent_report_t *report)
{
    return report->runs && weir_json_get_boolean(report->said, "connected", false);
}

/* -- /status ------------------------------------------------------------------------------- */

int weir_agent_report_print(const weir_agent_report_t *report, weir_buffer_t *out)
{
    static const char *const members[] = {
        "control_plane",     "protocol",   "newest",     "lag",        "digest",
        "digest_equal",      "batches",    "deltas",     "full_syncs", "last_resync",
        "digest_mismatches", "heals",      "last_heal",  "full_sync",  "heard_ms",
        "applied_ms",        "written_ms", "last_error",
    };
    weir_buffer_printf(out, "{\"agent\":%s,\"connected\":%s", report->runs ? "true" : "false",
                       connected(report) ? "true" : "false");
    for (size_t i = 0; i < WEIR_COUNT(members); i++) {
        const weir_json_t *value = weir_json_get(report->said, members[i]);
        if (value == NULL)
            continue;
        weir_buffer_printf(out, ",\"%s\":", members[i]);
        weir_json_print(value, out);
    }
    return weir_buffer_byte(out, '}');
}

/* -- metrics --------------------------------------------------------------------------------- */

static void print_numbers(const weir_json_t *said, weir_buffer_t *out)
{
    static const struct {
        const char *member, *name, *kind, *help;
        double unit; /* what 1 of the member is */
    } all[] = {
        { "newest", "weir_agent_newest_version", WEIR_METRIC_GAUGE,
          "Newest version that the control plane told of", 1 },
        { "lag", "weir_agent_lag_versions", WEIR_METRIC_GAUGE, "Versions that are missing", 1 },
        { "batches", "weir_agent_batches_total", WEIR_METRIC_COUNTER,
          "Transactions of the image that brought a change", 1 },
        { "deltas", "weir_agent_deltas_total", WEIR_METRIC_COUNTER, "Entities applied", 1 },
        { "full_sync_us", "weir_agent_last_full_sync_seconds", WEIR_METRIC_GAUGE,
          "What the last full sync took", 1e-6 },
        { "bytes_in", "weir_agent_received_bytes_total", WEIR_METRIC_COUNTER,
          "Bytes from the control plane, above TLS", 1 },
        { "bytes_out", "weir_agent_sent_bytes_total", WEIR_METRIC_COUNTER,
          "Bytes to the control plane, above TLS", 1 },
        { "digest_mismatches", "weir_agent_digest_mismatches_total", WEIR_METRIC_COUNTER,
          "Digests that were not the control plane's", 1 },
        { "heals", "weir_agent_heals_total", WEIR_METRIC_COUNTER,
          "Times that buckets were put right", 1 },
        { "healed_entities", "weir_agent_healed_entities_total", WEIR_METRIC_COUNTER,
          "Entities that differed in them", 1 },
        { "heard_ms", "weir_agent_last_contact_timestamp_seconds", WEIR_METRIC_GAUGE,
          "When the control plane last sent something; 0: never", 1e-3 },
        { "map_bytes", "weir_config_map_bytes", WEIR_METRIC_GAUGE,
          "Address space of the image, as the agent has it", 1 },
    };
    for (size_t i = 0; i < WEIR_COUNT(all); i++)
        weir_metric(out, all[i].name, all[i].kind, all[i].help,
                    number(said, all[i].member) * all[i].unit);
}

static void print_resyncs(const weir_json_t *said, weir_buffer_t *out)
{
    static const char name[] = "weir_agent_full_syncs_total";
    static const char *const reasons[] = {
        "first", "image_set_aside", "control_plane", "ahead", "behind", "threshold", "digest",
    };
    const weir_json_t *resyncs = weir_json_get(said, "resyncs");
    weir_metric_begin(out, name, WEIR_METRIC_COUNTER, "Whole sets applied, by why they came");
    for (size_t i = 0; i < WEIR_COUNT(reasons); i++)
        weir_metric_labelled(out, name, "reason", weir_str(reasons[i]),
                             number(resyncs, reasons[i]));
}

static void print_digest(const weir_json_t *said, weir_buffer_t *out)
{
    const weir_json_t *equal = weir_json_get(said, "digest_equal");
    weir_metric(out, "weir_agent_digest_known", WEIR_METRIC_GAUGE,
                "Whether the set was ever compared with the control plane's",
                !weir_json_is_null(equal));
    /* What is not known must not look like a difference. */
    weir_metric(out, "weir_agent_digest_differs", WEIR_METRIC_GAUGE,
                "Whether it was another one when that was last done",
                weir_json_kind(equal) == WEIR_JSON_BOOLEAN && !weir_json_boolean(equal));
}

static void print_progress(const weir_json_t *said, weir_buffer_t *out)
{
    const weir_json_t *full = weir_json_get(said, "full_sync");
    weir_metric(out, "weir_agent_full_sync_running", WEIR_METRIC_GAUGE,
                "Whether a whole set is on its way", weir_json_kind(full) == WEIR_JSON_OBJECT);
    weir_metric(out, "weir_agent_full_sync_entities", WEIR_METRIC_GAUGE,
                "Entities of it that have come", number(full, "entities"));
    weir_metric(out, "weir_agent_full_sync_expected_entities", WEIR_METRIC_GAUGE,
                "Entities of it that will have come, about; 0: unknown", number(full, "expected"));
}

static void print_applies(const weir_json_t *said, weir_buffer_t *out)
{
    const weir_json_t *applies = weir_json_get(said, "applies");
    const weir_json_t *bucket = weir_json_first(weir_json_get(applies, "buckets"));
    weir_durations_t durations = { .sum_us = (uint64_t)number(applies, "sum_us") };
    for (size_t i = 0; i <= weir_apply_bounds.count && bucket != NULL; i++) {
        double count = weir_json_number(bucket);
        durations.buckets[i] = count > 0 && count < 1e18 ? (uint64_t)count : 0;
        durations.count += durations.buckets[i];
        bucket = weir_json_next(bucket);
    }
    weir_metric_durations(out, "weir_agent_apply_seconds",
                          "Applying a batch that is no whole set, in one transaction",
                          &weir_apply_bounds, &durations);
}

int weir_agent_report_metrics(const weir_agent_report_t *report, weir_buffer_t *out)
{
    weir_metric(out, "weir_agent_up", WEIR_METRIC_GAUGE, "Whether the sync agent runs",
                report->runs);
    weir_metric(out, "weir_agent_connected", WEIR_METRIC_GAUGE,
                "Whether it is connected to the control plane", connected(report));
    if (report->said == NULL)
        return out->failed;
    print_numbers(report->said, out);
    print_resyncs(report->said, out);
    print_digest(report->said, out);
    print_progress(report->said, out);
    print_applies(report->said, out);
    return out->failed;
}
