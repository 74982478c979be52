/* sync.c -- `weir sync status`: what the image of a data plane holds, and what
 * its agent says of the control plane. */
#include "cli/cli.h"

#include "agent/classic.h"
#include "base/buffer.h"
#include "base/json.h"
#include "image/image.h"

#include <time.h>
#include <unistd.h>

enum { REPORT_BYTES_MAX = 256 * 1024 };

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

static weir_json_t *read_report(const char *prefix)
{
    char path[CLI_PATH_MAX];
    weir_json_t *report = NULL;
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, REPORT_BYTES_MAX);
    cli_path(prefix, "agent.json", path, sizeof(path));
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return NULL;
    char *to = weir_buffer_reserve(&text, REPORT_BYTES_MAX);
    if (to != NULL)
        text.len = fread(to, 1, REPORT_BYTES_MAX, file);
    fclose(file);
    return weir_json_parse(weir_buffer_str(&text), &report, NULL) == WEIR_OK ? report : NULL;
}

/* The report is a moment older than the image, whose version is known better. */
static void print_report(const char *prefix, uint64_t version)
{
    pid_t pid = cli_running(prefix, "agent");
    weir_json_t *report = read_report(prefix);
    if (report == NULL || pid == 0) {
        printf("%-16s %s\n", "agent", pid == 0 ? "not running" : "has not said anything yet");
        weir_json_free(report);
        return;
    }
    weir_str_t nothing = WEIR_STR("");
    weir_str_t plane = weir_json_get_string(report, "control_plane", nothing);
    weir_str_t error = weir_json_get_string(report, "last_error", nothing);
    weir_str_t resync = weir_json_get_string(report, "last_resync", nothing);
    bool connected = weir_json_get_boolean(report, "connected", false);
    printf("%-16s running (pid %d)\n", "agent", (int)pid);
    printf("%-16s %.*s, %s\n", "control plane", WEIR_STR_ARG(plane),
           connected ? "connected" : "not connected");
    double newest = weir_json_get_number(report, "newest", 0);
    if (newest < (double)version)
        newest = (double)version;
    if (!classic_is_local(version)) { /* a push has no version: nobody is behind one */
        printf("%-16s %.0f\n", "newest version", newest);
        printf("%-16s %.0f\n", "behind by", newest - (double)version);
    }
    if (error.len > 0)
        printf("%-16s %.*s\n", "last error", WEIR_STR_ARG(error));
    if (resync.len > 0)
        printf("%-16s %.*s\n", "last full sync", WEIR_STR_ARG(resync));
    weir_json_free(report);
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
