/* sync.c -- `weir sync status`: what the image of a data plane holds, and what
 * its agent says of the control plane. */
#include "cli/cli.h"

#include "agent/classic.h"
#include "agent/report.h"
#include "base/clock.h"
#include "base/json.h"
#include "image/image.h"

#include <time.h>
#include <unistd.h>

static void print_time(const char *label, int64_t ms)
{
    char text[32];
    struct tm calendar;
    time_t seconds = (time_t)(ms / 1000);
    if (ms <= 0)
        return;
    gmtime_r(&seconds, &calendar);
    strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &calendar);
    printf("%-16s %s\n", label, text);
}

enum { QUARANTINED_SHOWN = 100 };

/* One line for each; what comes from outside must not forge one. */
static int print_quarantined(void *context, const weir_quarantined_t *q)
{
    size_t *shown = context;
    if (++*shown > QUARANTINED_SHOWN)
        return WEIR_OK;
    char line[1024];
    snprintf(line, sizeof(line), "  %.*s %.*s%s%.*s %.*s: %.*s%s", WEIR_STR_ARG(q->type),
             WEIR_STR_ARG(q->id), q->name.len > 0 ? " " : "", WEIR_STR_ARG(q->name),
             WEIR_STR_ARG(q->field), WEIR_STR_ARG(q->reason),
             q->serving ? " (an older one serves)" : "");
    for (char *c = line; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    puts(line);
    return WEIR_OK;
}

static int print_all_quarantined(const char *path, weir_error_t *err)
{
    weir_reader_t *reader = NULL;
    size_t shown = 0;
    int rc = weir_reader_open(path, &reader, err);
    if (rc == WEIR_OK)
        rc = weir_reader_enter(reader, err);
    if (rc == WEIR_OK) {
        rc = weir_reader_quarantined(reader, print_quarantined, &shown, err);
        weir_reader_leave(reader);
    }
    weir_reader_close(reader);
    if (shown > QUARANTINED_SHOWN)
        printf("  ... and %zu more\n", shown - QUARANTINED_SHOWN);
    return rc;
}

static int print_image(const char *prefix, uint64_t *ret_version, weir_error_t *err)
{
    char path[CLI_PATH_MAX];
    weir_reader_t *reader = NULL;
    weir_image_state_t state = { 0 };
    cli_path(prefix, "image", path, sizeof(path));
    int rc = weir_reader_open(path, &reader, err);
    if (rc == WEIR_NOT_FOUND)
        return weir_error_set(err, rc, NULL, "there is no configuration yet in %s", path);
    if (rc == WEIR_OK)
        rc = weir_reader_enter(reader, err);
    if (rc == WEIR_OK) {
        rc = weir_reader_state(reader, &state, err);
        weir_reader_leave(reader);
    }
    weir_reader_close(reader);
    if (rc != WEIR_OK)
        return rc;
    *ret_version = state.version;
    if (classic_is_local(state.version)) {
        char hash[WEIR_CLASSIC_HASH_MAX + 1];
        classic_read_hash(prefix, &state, hash);
        printf("%-16s %s\n", "classic push", hash);
    } else {
        printf("%-16s %" PRIu64 "\n", "version", state.version);
    }
    printf("%-16s %s\n", "complete", state.complete ? "yes" : "no");
    printf("%-16s %" PRIu64 "\n", "entities", state.entities);
    printf("%-16s %" PRIu64 "\n", "quarantined", state.quarantined);
    printf("%-16s %" PRIu64 "\n", "commits", state.commits);
    print_time("last change", state.committed_ms);
    return state.quarantined > 0 ? print_all_quarantined(path, err) : WEIR_OK;
}

/* -- what the agent says ------------------------------------------------------------------ */

/* Text of an unknown origin: no control characters, so that it forges no line. */
static void print_text(const char *label, weir_str_t text)
{
    if (text.len == 0)
        return;
    printf("%-16s ", label);
    for (size_t i = 0; i < text.len; i++)
        putchar((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f ? ' ' : text.data[i]);
    putchar('\n');
}

static weir_str_t text_of(const weir_json_t *said, const char *name)
{
    return weir_json_get_string(said, name, WEIR_STR(""));
}

/* The report is a moment older than the image, whose version is known better. */
static void print_lag(const weir_json_t *said, uint64_t version)
{
    double newest = weir_json_get_number(said, "newest", 0);
    if (classic_is_local(version))
        return; /* a push has no version: nobody is behind one */
    if (newest < (double)version)
        newest = (double)version;
    printf("%-16s %.0f\n", "newest version", newest);
    printf("%-16s %.0f\n", "behind by", newest - (double)version);
}

static void print_proof(const weir_json_t *said)
{
    const weir_json_t *equal = weir_json_get(said, "digest_equal");
    const weir_json_t *heal = weir_json_get(said, "last_heal");
    print_text("digest", text_of(said, "digest"));
    if (!weir_json_is_null(equal))
        print_text("same set", weir_json_boolean(equal)
                                   ? WEIR_STR("yes, when it was last compared")
                                   : WEIR_STR("no, when it was last compared"));
    if (weir_json_kind(heal) != WEIR_JSON_OBJECT)
        return;
    print_time("last heal", (int64_t)weir_json_get_number(heal, "at_ms", 0));
    printf("%-16s %.0f entities\n", "healed", weir_json_get_number(heal, "entities", 0));
}

static void print_full_sync(const weir_json_t *said)
{
    const weir_json_t *full = weir_json_get(said, "full_sync");
    double come = weir_json_get_number(full, "entities", 0);
    double expected = weir_json_get_number(full, "expected", 0);
    if (weir_json_kind(full) != WEIR_JSON_OBJECT)
        return;
    if (expected < come || expected <= 0) /* more may come than there were at first */
        printf("%-16s %.0f entities so far\n", "full sync", come);
    else
        printf("%-16s %.0f of %.0f entities (%.0f %%)\n", "full sync", come, expected,
               100 * come / expected);
}

/* The agent writes when something has changed, once a second at the most. */
static void print_agent(const weir_json_t *said, pid_t pid)
{
    double written_ms = weir_json_get_number(said, "written_ms", 0);
    double age_ms = (double)weir_clock_ms() - written_ms;
    printf("%-16s running (pid %d)", "agent", (int)pid);
    if (written_ms > 0 && age_ms >= 0) /* a clock may have been set */
        printf(", its last news are %.1f s old", age_ms / 1000);
    putchar('\n');
}

static void print_report(const char *prefix, uint64_t version)
{
    pid_t pid = cli_running(prefix, "agent");
    weir_agent_report_t report;
    weir_agent_report_read(prefix, &report);
    if (report.said == NULL || pid == 0) {
        printf("%-16s %s\n", "agent", pid == 0 ? "not running" : "has not said anything yet");
        weir_agent_report_release(&report);
        return;
    }
    const weir_json_t *said = report.said;
    weir_str_t plane = text_of(said, "control_plane");
    bool connected = weir_json_get_boolean(said, "connected", false);
    print_agent(said, pid);
    printf("%-16s %.*s, %s\n", "control plane", WEIR_STR_ARG(plane),
           connected ? "connected" : "not connected");
    print_text("protocol", text_of(said, "protocol"));
    print_lag(said, version);
    print_full_sync(said);
    print_proof(said);
    print_text("last error", text_of(said, "last_error"));
    print_text("last full sync", text_of(said, "last_resync"));
    weir_agent_report_release(&report);
}

int cli_sync_status(const cli_options_t *options)
{
    char prefix[CLI_PATH_MAX];
    weir_error_t err = { 0 };
    uint64_t version = 0;
    int rc = cli_prefix(options, prefix, sizeof(prefix), &err);
    if (rc == WEIR_OK)
        rc = print_image(prefix, &version, &err);
    if (rc == WEIR_OK || rc == WEIR_NOT_FOUND)
        print_report(prefix, version);
    return rc == WEIR_OK ? EXIT_OK : cli_fail(&err);
}
