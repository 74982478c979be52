/* verify.c -- `weir sync verify`: computes the digest of what a node holds anew and
 * compares it with the one that it keeps. Reads beside the running node. */
#include "cli/cli.h"

#include "image/image.h"
#include "plugins/record.h"
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

/* A control plane that keeps no digest sends no key: then the sums are of nothing. */
static bool has_digest(const weir_image_verdict_t *found)
{
    return found->entities == 0 || found->bad_buckets > 0 ||
           !weir_digest_equal(&found->computed, &(weir_digest_t){ 0 });
}

static int print_image_verdict(const weir_image_verdict_t *found)
{
    int status = EXIT_OK;
    if (has_digest(found))
        status = print_verdict("image", &(verdict_t){ found->version, found->entities, found->kept,
                                                      found->computed, found->bad_buckets,
                                                      found->first_bad_bucket });
    else
        printf("image: version %" PRIu64 ", %" PRIu64 " entities, no digest: the control plane "
               "has sent no key\n",
               found->version, found->entities);
    if (found->bad_records == 0)
        return status;
    printf("image: %" PRIu64 " records and index entries do not follow from their documents\n",
           found->bad_records);
    return EXIT_FAILED;
}

static int verify_image(const weir_settings_t *settings)
{
    char path[CLI_PATH_MAX];
    weir_image_t *image = NULL;
    weir_image_verdict_t found = { 0 };
    weir_error_t err = { 0 };
    bool shown = false;
    cli_path(weir_setting_string(settings, "prefix"), "image", path, sizeof(path));
    weir_image_options_t options = {
        .path = path,
        .map_bytes = (uint64_t)weir_setting_integer(settings, "lmdb_map_size"),
        .readers_max = 1, /* the agent's number counts: it is there already */
        .look_only = true,
        .documented_order =
            strcmp(weir_setting_string(settings, "router_priority"), "documented") == 0,
        .compile_plugin = weir_plugin_compile,
    };
    int rc = weir_image_open(&options, &image, &err);
    if (rc == WEIR_NOT_FOUND)
        weir_error_set(&err, rc, NULL, "there is no configuration yet in %s", path);
    if (rc == WEIR_OK)
        rc = weir_image_verify(image, print_progress, &shown, &found, &err);
    weir_image_close(image);
    end_progress(shown);
    return rc == WEIR_OK ? print_image_verdict(&found) : cli_fail(&err);
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
