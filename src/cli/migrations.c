/* migrations.c -- `weir migrations`: the database of a control plane. */
#include "cli/cli.h"

#include "store/store.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct migration_list {
    size_t done, pending;
    bool print;
} migration_list_t;

static void count_migration(void *context, const char *name, bool done)
{
    migration_list_t *list = context;
    if (done)
        list->done++;
    else
        list->pending++;
    if (list->print)
        printf("%-8s %s\n", done ? "done" : "pending", name);
}

/* The settings, and the store's options over them; the prefix is made. */
static int open_settings(const cli_options_t *options, weir_settings_t **ret, char *path,
                         weir_store_options_t *store, weir_error_t *err)
{
    weir_settings_t *settings = NULL;
    int rc = cli_settings(options, &settings, err);
    if (rc != WEIR_OK)
        return rc;
    const char *prefix = weir_setting_string(settings, "prefix");
    if (strcmp(weir_setting_string(settings, "database"), "off") == 0) {
        rc = weir_error_set(err, WEIR_INVALID, "database", "is off: there is nothing to migrate");
    } else if (strlen(prefix) > CLI_PATH_MAX - 128) {
        rc = weir_error_set(err, WEIR_TOO_LARGE, "prefix", "too long a path");
    } else if (mkdir(prefix, 0755) != 0 && errno != EEXIST) {
        rc = weir_error_errno(err, errno, "cannot make the folder %s", prefix);
    }
    if (rc != WEIR_OK) {
        weir_settings_free(settings);
        return rc;
    }
    cli_path(prefix, "weir.db", path, CLI_PATH_MAX);
    *store = (weir_store_options_t){
        .path = path,
        .log_entries_max = (uint64_t)weir_setting_integer(settings, "cluster_sync_log_entries"),
    };
    *ret = settings;
    return WEIR_OK;
}

/* The worker of a running control plane goes on owning its database. */
static int give_files(const weir_settings_t *settings, weir_error_t *err)
{
    const char *user = NULL;
    int rc = cli_worker_user(settings, &user, err);
    return rc == WEIR_OK ? cli_give_files(settings, user, err) : rc;
}

/* An older process would go on writing what it knows, past the newer tables. */
static int refuse_beside_a_node(const weir_settings_t *settings, const weir_store_options_t *store,
                                weir_error_t *err)
{
    migration_list_t list = { 0 };
    int rc = weir_store_migrations(store, count_migration, &list, err);
    if (rc == WEIR_OK && list.done > 0 && list.pending > 0 &&
        cli_running(weir_setting_string(settings, "prefix"), "nginx") != 0)
        rc = weir_error_set(err, WEIR_CONFLICT, NULL,
                            "the node is running: stop it first (weir stop)");
    return rc;
}

static int migrate(const cli_options_t *options, bool first)
{
    char path[CLI_PATH_MAX];
    weir_settings_t *settings = NULL;
    weir_store_options_t store;
    weir_error_t err = { 0 };
    size_t done = 0;
    int rc = open_settings(options, &settings, path, &store, &err);
    if (rc == WEIR_OK && !first && access(path, F_OK) != 0)
        rc = weir_error_set(&err, WEIR_NOT_FOUND, NULL,
                            "the database %s is not there: run weir migrations bootstrap", path);
    if (rc == WEIR_OK)
        rc = refuse_beside_a_node(settings, &store, &err);
    if (rc == WEIR_OK)
        rc = weir_store_migrate(&store, &done, &err);
    if (rc == WEIR_OK)
        rc = give_files(settings, &err);
    if (rc == WEIR_OK && done > 0)
        printf("%s: %zu migration%s done\n", path, done, done == 1 ? "" : "s");
    else if (rc == WEIR_OK)
        printf("%s: up to date\n", path);
    weir_settings_free(settings);
    return rc == WEIR_OK ? EXIT_OK : cli_fail(&err);
}

int cli_migrations_bootstrap(const cli_options_t *options)
{
    return migrate(options, true);
}

int cli_migrations_up(const cli_options_t *options)
{
    return migrate(options, false);
}

int cli_migrations_list(const cli_options_t *options)
{
    char path[CLI_PATH_MAX];
    weir_settings_t *settings = NULL;
    weir_store_options_t store;
    weir_error_t err = { 0 };
    migration_list_t list = { .print = true };
    int rc = open_settings(options, &settings, path, &store, &err);
    if (rc == WEIR_OK && access(path, F_OK) != 0)
        rc = weir_error_set(&err, WEIR_NOT_FOUND, NULL,
                            "the database %s is not there: run weir migrations bootstrap", path);
    if (rc == WEIR_OK)
        rc = weir_store_migrations(&store, count_migration, &list, &err);
    weir_settings_free(settings);
    return rc == WEIR_OK ? EXIT_OK : cli_fail(&err);
}

int cli_migrations_reset(const cli_options_t *options)
{
    char path[CLI_PATH_MAX];
    weir_settings_t *settings = NULL;
    weir_store_options_t store;
    weir_error_t err = { 0 };
    if (!options->yes) {
        fputs("weir: migrations reset deletes every entity: say --yes to mean it\n", stderr);
        return EXIT_FAILED;
    }
    int rc = open_settings(options, &settings, path, &store, &err);
    if (rc == WEIR_OK && cli_running(weir_setting_string(settings, "prefix"), "nginx") != 0)
        rc = weir_error_set(&err, WEIR_CONFLICT, NULL,
                            "the node is running: stop it first (weir stop)");
    if (rc == WEIR_OK)
        rc = weir_store_reset(&store, &err);
    if (rc == WEIR_OK)
        printf("%s: all entities are gone; weir migrations bootstrap makes it anew\n", path);
    weir_settings_free(settings);
    return rc == WEIR_OK ? EXIT_OK : cli_fail(&err);
}
