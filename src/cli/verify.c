/* verify.c -- `weir sync verify`: computes the digest of what a node holds anew and
 * compares it with the one that it keeps. Reads beside the running node. */
#include "cli/cli.h"

#include "store/store.h"

#include <unistd.h>

/* What a database and an image are judged by. */
typedef struct verdict {
    uint64_t version, entities;
    weir_digest_t kept, computed;
    size_t bad_buckets;
    unsigned first_bad_bucket;
} verdict_t;

/* One line that is written over; nothing where nobody watches. */
static void print_progress(void *context, uint64_t entities)
{
    bool *shown = context;
    if (!isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r%" PRIu64 " entities read", entities);
    *shown = true;
}

static void end_progress(bool shown)
{
    if (shown)
        fputs("\n", stderr);
}

static int print_verdict(const char *what, const verdict_t *verdict)
{
    char kept[WEIR_DIGEST_TEXT + 1];
    char computed[WEIR_DIGEST_TEXT + 1];
    weir_digest_format(&verdict->kept, kept);
    weir_digest_format(&verdict->computed, computed);
    printf("%s: version %" PRIu64 ", %" PRIu64 " entities, digest %s, %s\n", what, verdict->version,
           verdict->entities, computed, verdict->bad_buckets == 0 ? "equal" : "different");
    if (verdict->bad_buckets == 0)
        return EXIT_OK;
    printf("%s: the digest that is kept is %s; %zu of %d buckets differ, the first is that of ids "
           "that begin with %03x\n",
           what, kept, verdict->bad_buckets, WEIR_DIGEST_BUCKETS, verdict->first_bad_bucket);
    return EXIT_FAILED;
}

static int verify_database(const weir_settings_t *settings)
{
    char path[CLI_PATH_MAX];
    weir_store_t *store = NULL;
    weir_store_verdict_t found = { 0 };
    weir_error_t err = { 0 };
    bool shown = false;
    cli_path(weir_setting_string(settings, "prefix"), "weir.db", path, sizeof(path));
    weir_store_options_t options = {
        .path = path,
        .log_entries_max = (uint64_t)weir_setting_integer(settings, "cluster_sync_log_entries"),
    };
    int rc = weir_store_open(&options, &store, &err);
    if (rc == WEIR_OK)
        rc = weir_store_verify(store, print_progress, &shown, &found, &err);
    weir_store_close(store);
    end_progress(shown);
    return rc == WEIR_OK
               ? print_verdict("database", &(verdict_t){ found.version, found.entities, found.kept,
                                                         found.computed, found.bad_buckets,
                                                         found.first_bad_bucket })
               : cli_fail(&err);
}

static int verify_image(const weir_settings_t *settings)
{
    (void)settings;
    weir_error_t err = { 0 };
    weir_error_set(&err, WEIR_UNSUPPORTED, NULL, "verifying an image is not available yet");
    return cli_fail(&err);
}

int cli_sync_verify(const cli_options_t *options)
{
    weir_settings_t *settings = NULL;
    weir_error_t err = { 0 };
    if (cli_settings(options, &settings, &err) != WEIR_OK)
        return cli_fail(&err);
    bool database = strcmp(weir_setting_string(settings, "database"), "off") != 0;
    int status = database ? verify_database(settings) : EXIT_OK;
    if (strcmp(weir_setting_string(settings, "role"), "control_plane") != 0) {
        int image = verify_image(settings);
        status = status == EXIT_OK ? image : status;
    }
    weir_settings_free(settings);
    return status;
}
