/* start.c -- `weir start`, stop, quit, restart, reload, health. */
#include "cli/cli.h"

#include "base/clock.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    START_S = 30,        /* until the listeners answer */
    CONFIGURATION_S = 5, /* then, until a data plane has a configuration */
    STOP_S = 15,
    QUIT_S = 600,
    POLL_MS = 20,
    LOG_LINES = 12,
    LOG_BYTES = 8192,
};

static const char *const pieces[] = { "supervisor", "nginx", "agent" };

static bool has_agent(const weir_settings_t *settings)
{
    return strcmp(weir_setting_string(settings, "role"), "control_plane") != 0;
}

/* -- what went wrong --------------------------------------------------------------- */

static void print_tail(const char *prefix, const char *name, long from)
{
    char path[CLI_PATH_MAX];
    char text[LOG_BYTES + 1];
    cli_path(prefix, name, path, sizeof(path));
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    fseek(file, size - from > LOG_BYTES ? size - LOG_BYTES : from, SEEK_SET);
    size_t got = fread(text, 1, LOG_BYTES, file);
    fclose(file);
    text[got] = '\0';
    const char *at = text + got;
    for (int lines = 0; at > text; at--)
        if (at[-1] == '\n' && at != text + got && ++lines == LOG_LINES)
            break;
    if (*at != '\0')
        fprintf(stderr, "---- %s\n%s", path, at);
}

static long log_size(const char *prefix, const char *name)
{
    char path[CLI_PATH_MAX];
    cli_path(prefix, name, path, sizeof(path));
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return 0;
    fseek(file, 0, SEEK_END);
    long size = ftell(file);
    fclose(file);
    return size;
}

static const char *const log_names[] = { "logs/supervisor.log", "logs/error.log",
                                         "logs/agent.log" };

/* Workers whose master was killed hold the ports and go on serving: how many. */
static size_t kill_orphans(const char *prefix)
{
    if (cli_running(prefix, "nginx") != 0)
        return 0;
    size_t killed = cli_kill_group(cli_read_pid(prefix, "nginx"), prefix);
    for (int tries = 0; killed > 0 && tries < 100; tries++) {
        cli_sleep_ms(10); /* until their sockets are closed */
        if (cli_kill_group(cli_read_pid(prefix, "nginx"), prefix) == 0)
            break;
    }
    return killed;
}

/* -- starting ------------------------------------------------------------------------ */

static int check_database(const weir_settings_t *settings, weir_error_t *err)
{
    char path[CLI_PATH_MAX];
    const char *prefix = weir_setting_string(settings, "prefix");
    if (strcmp(weir_setting_string(settings, "database"), "off") == 0)
        return WEIR_OK;
    cli_path(prefix, "weir.db", path, sizeof(path));
    const weir_store_options_t options = { .path = path, .log_entries_max = 1 };
    weir_store_t *store = NULL;
    int rc = access(path, F_OK) == 0 ? weir_store_open(&options, &store, err) : WEIR_NOT_FOUND;
    weir_store_close(store);
    if (rc == WEIR_NOT_FOUND)
        return weir_error_set(err, rc, NULL,
                              "the database is not bootstrapped; run: weir migrations bootstrap "
                              "-p %s",
                              prefix);
    return rc;
}

/* Leaves `weir supervise` behind, in a session of its own. */
static int leave_supervisor(const char *prefix, weir_error_t *err)
{
    char self[CLI_PATH_MAX];
    char log[CLI_PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (len < 0)
        return weir_error_errno(err, errno, "where this program lies");
    self[len] = '\0';
    cli_path(prefix, "logs/supervisor.log", log, sizeof(log));
    pid_t child = fork();
    if (child < 0)
        return weir_error_errno(err, errno, "cannot start a process");
    if (child == 0) {
        setsid();
        if (fork() != 0)
            _exit(0);
        int null = open("/dev/null", O_RDWR);
        int out = open(log, O_WRONLY | O_APPEND | O_CREAT, 0640);
        dup2(null, STDIN_FILENO);
        dup2(out, STDOUT_FILENO);
        dup2(out, STDERR_FILENO);
        closefrom(STDERR_FILENO + 1);
        execl(self, "weir", "supervise", "-p", prefix, (char *)NULL);
        _exit(127);
    }
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
        continue;
    return WEIR_OK;
}

/* A node with a database has started when it answers; a data plane may have to
 * wait for its control plane (wait_for_configuration). */
static bool answers(const weir_settings_t *settings)
{
    char body[256];
    const char *path = NULL;
    const weir_listen_t *listen = cli_probe_address(settings, &path);
    bool data_plane = strcmp(weir_setting_string(settings, "role"), "data_plane") == 0;
    if (data_plane || listen == NULL)
        return true;
    if (strcmp(weir_setting_string(settings, "role"), "traditional") == 0)
        path = "/status"; /* its readiness is that of its data plane */
    return cli_get(listen, path, body, sizeof(body)) == 200;
}

/* Whether every listener of the node's role accepts connections. */
static bool all_listen(const weir_settings_t *settings)
{
    static const char *const names[] = { "admin_listen", "cluster_listen", "status_listen",
                                         "proxy_listen" };
    const char *role = weir_setting_string(settings, "role");
    for (size_t i = 0; i < WEIR_COUNT(names); i++) {
        bool proxy = i == 3;
        bool control = i < 2;
        if ((proxy && strcmp(role, "control_plane") == 0) ||
            (control && strcmp(role, "data_plane") == 0))
            continue;
        for (size_t at = 0; at < weir_setting_listen_count(settings, names[i]); at++)
            if (!cli_listens(weir_setting_listen(settings, names[i], at)))
                return false;
    }
    return true;
}

static bool processes_run(const weir_settings_t *settings)
{
    const char *prefix = weir_setting_string(settings, "prefix");
    return cli_running(prefix, "supervisor") != 0 && cli_running(prefix, "nginx") != 0 &&
           (!has_agent(settings) || cli_running(prefix, "agent") != 0);
}

static int stop_now(const char *prefix, int number, int seconds, weir_error_t *err);

static int wait_for_start(const weir_settings_t *settings, int seconds, weir_error_t *err)
{
    const char *prefix = weir_setting_string(settings, "prefix");
    int64_t began = weir_clock_monotonic_ms();
    for (;;) {
        if (processes_run(settings) && all_listen(settings) && answers(settings))
            return WEIR_OK;
        int64_t waited = weir_clock_monotonic_ms() - began;
        if (waited > 1000 && cli_running(prefix, "supervisor") == 0)
            return weir_error_set(err, WEIR_IO, NULL, "the supervisor has ended");
        if (waited > seconds * 1000)
            return weir_error_set(err, WEIR_TIMEOUT, NULL, "the node did not answer within %d s",
                                  seconds);
        cli_sleep_ms(POLL_MS);
    }
}

/* A data plane serves once it has a configuration; without a control plane it
 * waits for one, and that is no failure. */
static void wait_for_configuration(const weir_settings_t *settings)
{
    char body[256] = "";
    const char *path = NULL;
    const weir_listen_t *listen = cli_probe_address(settings, &path);
    int64_t began = weir_clock_monotonic_ms();
    if (listen == NULL)
        return;
    int status = 0;
    while ((status = cli_get(listen, path, body, sizeof(body))) != 200 &&
           weir_clock_monotonic_ms() - began < CONFIGURATION_S * 1000)
        cli_sleep_ms(POLL_MS);
    if (status != 200)
        printf("not ready yet: %s\n", body[0] != '\0' ? body : "no answer");
}

static int start(weir_settings_t *settings, int seconds, weir_error_t *err)
{
    const char *prefix = weir_setting_string(settings, "prefix");
    long sizes[WEIR_COUNT(log_names)];
    for (size_t i = 0; i < WEIR_COUNT(log_names); i++)
        sizes[i] = log_size(prefix, log_names[i]);
    int rc = leave_supervisor(prefix, err);
    if (rc == WEIR_OK)
        rc = wait_for_start(settings, seconds > 0 ? seconds : START_S, err);
    if (rc == WEIR_OK) {
        wait_for_configuration(settings);
        printf("started %s in %s\n", weir_setting_string(settings, "role"), prefix);
        return WEIR_OK;
    }
    for (size_t i = 0; i < WEIR_COUNT(log_names); i++)
        print_tail(prefix, log_names[i], sizes[i]);
    stop_now(prefix, SIGTERM, STOP_S, NULL);
    return rc;
}

static void warn_without_effect(void *context, const char *name)
{
    (void)context;
    fprintf(stderr, "weir: warning: %s has no effect in Weir\n", name);
}

int cli_start(const cli_options_t *options)
{
    weir_settings_t *settings = NULL;
    weir_error_t err = { 0 };
    int rc = cli_settings(options, &settings, &err);
    const char *prefix = rc == WEIR_OK ? weir_setting_string(settings, "prefix") : "";
    pid_t pid = rc == WEIR_OK ? cli_running(prefix, "supervisor") : 0;
    if (pid != 0)
        rc = weir_error_set(&err, WEIR_CONFLICT, NULL, "the node in %s is already running (pid %d)",
                            prefix, (int)pid);
    if (rc == WEIR_OK) {
        if (options->file != NULL)
            weir_settings_without_effect(settings, warn_without_effect, NULL);
        rc = cli_prepare_prefix(settings, &err);
    }
    if (rc == WEIR_OK)
        rc = check_database(settings, &err);
    if (rc == WEIR_OK && kill_orphans(prefix) > 0)
        printf("killed workers that an earlier nginx had left behind\n");
    if (rc == WEIR_OK && cli_running(prefix, "nginx") == 0)
        rc = cli_check_ports(settings, &err);
    if (rc == WEIR_OK)
        rc = start(settings, options->timeout_s, &err);
    weir_settings_free(settings);
    return rc == WEIR_OK ? EXIT_OK : cli_fail(&err);
}

/* -- stopping ----------------------------------------------------------------------------- */

static bool anything_runs(const char *prefix)
{
    for (size_t i = 0; i < WEIR_COUNT(pieces); i++)
        if (cli_running(prefix, pieces[i]) != 0)
            return true;
    return false;
}

/* Without a supervisor the others are told themselves. */
static int stop_now(const char *prefix, int number, int seconds, weir_error_t *err)
{
    pid_t supervisor = cli_running(prefix, "supervisor");
    int64_t began = weir_clock_monotonic_ms();
    if (supervisor != 0) {
        kill(supervisor, number);
    } else {
        for (size_t i = 1; i < WEIR_COUNT(pieces); i++) {
            pid_t pid = cli_running(prefix, pieces[i]);
            if (pid != 0)
                kill(pid, strcmp(pieces[i], "nginx") == 0 ? number : SIGTERM);
        }
    }
    while (anything_runs(prefix)) {
        if (weir_clock_monotonic_ms() - began > seconds * 1000)
            return weir_error_set(err, WEIR_TIMEOUT, NULL, "the node did not stop within %d s",
                                  seconds);
        cli_sleep_ms(POLL_MS);
    }
    return WEIR_OK;
}

static int stop_with(const cli_options_t *options, int number, int seconds)
{
    char prefix[CLI_PATH_MAX];
    weir_error_t err = { 0 };
    int rc = cli_prefix(options, prefix, sizeof(prefix), &err);
    size_t orphans = rc == WEIR_OK ? kill_orphans(prefix) : 0;
    if (rc == WEIR_OK && orphans == 0 && !anything_runs(prefix))
        rc = weir_error_set(&err, WEIR_NOT_FOUND, NULL, "no node is running in %s", prefix);
    if (rc == WEIR_OK)
        rc = stop_now(prefix, number, options->timeout_s > 0 ? options->timeout_s : seconds, &err);
    if (rc == WEIR_OK)
        printf("stopped %s\n", prefix);
    return rc == WEIR_OK ? EXIT_OK : cli_fail(&err);
}

int cli_stop(const cli_options_t *options)
{
    return stop_with(options, SIGTERM, STOP_S);
}

int cli_quit(const cli_options_t *options)
{
    return stop_with(options, SIGQUIT, QUIT_S);
}

int cli_restart(const cli_options_t *options)
{
    char prefix[CLI_PATH_MAX];
    weir_settings_t *settings = NULL;
    weir_error_t err = { 0 };
    /* What cannot start must not be stopped for it. */
    int rc = cli_settings(options, &settings, &err);
    if (rc == WEIR_OK)
        rc = cli_prefix(options, prefix, sizeof(prefix), &err);
    weir_settings_free(settings);
    if (rc == WEIR_OK && anything_runs(prefix))
        rc = stop_now(prefix, SIGTERM, STOP_S, &err);
    return rc == WEIR_OK ? cli_start(options) : cli_fail(&err);
}

int cli_reload(const cli_options_t *options)
{
    weir_settings_t *settings = NULL;
    weir_error_t err = { 0 };
    int rc = cli_settings(options, &settings, &err);
    pid_t pid =
        rc == WEIR_OK ? cli_running(weir_setting_string(settings, "prefix"), "supervisor") : 0;
    if (rc == WEIR_OK && pid == 0)
        rc = weir_error_set(&err, WEIR_NOT_FOUND, NULL, "no node is running in %s",
                            weir_setting_string(settings, "prefix"));
    if (rc == WEIR_OK)
        rc = cli_prepare_prefix(settings, &err);
    if (rc == WEIR_OK && kill(pid, SIGHUP) != 0)
        rc = weir_error_errno(&err, errno, "cannot tell the supervisor");
    if (rc == WEIR_OK)
        printf("reloaded %s\n", weir_setting_string(settings, "prefix"));
    weir_settings_free(settings);
    return rc == WEIR_OK ? EXIT_OK : cli_fail(&err);
}

int cli_health(const cli_options_t *options)
{
    char prefix[CLI_PATH_MAX];
    char path[CLI_PATH_MAX];
    weir_settings_t *settings = NULL;
    weir_error_t err = { 0 };
    int rc = cli_prefix(options, prefix, sizeof(prefix), &err);
    cli_path(rc == WEIR_OK ? prefix : "", "weir.settings", path, sizeof(path));
    if (rc == WEIR_OK)
        rc = weir_settings_load(path, NULL, NULL, &settings, &err);
    if (rc != WEIR_OK)
        return cli_fail(&err);
    bool healthy = true;
    for (size_t i = 0; i < WEIR_COUNT(pieces); i++) {
        pid_t pid = cli_running(prefix, pieces[i]);
        if (strcmp(pieces[i], "agent") == 0 && !has_agent(settings))
            continue;
        if (pid != 0)
            printf("%-10s running (pid %d)\n", pieces[i], (int)pid);
        else
            printf("%-10s not running\n", pieces[i]);
        healthy = healthy && pid != 0;
    }
    weir_settings_free(settings);
    return healthy ? EXIT_OK : EXIT_FAILED;
}
