/* main.c -- weir-agent: the process around agent.c. */
#include "agent/agent.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { EXIT_USAGE = 2, PATH_BYTES_MAX = 4096 };

static volatile int stop;
static volatile int reopen;

static void on_signal(int number)
{
    if (number == SIGUSR1)
        reopen = 1;
    else
        stop = 1;
}

static void usage(FILE *out)
{
    fputs("usage: weir-agent -p PREFIX\n"
          "\n"
          "The sync agent of a data plane: gets configuration from the control plane and\n"
          "keeps the image in PREFIX/image. Started by `weir start`; reads\n"
          "PREFIX/weir.settings, logs to PREFIX/logs/agent.log.\n"
          "\n"
          "  -p, --prefix PREFIX  directory of the node\n"
          "  -h, --help           this text\n"
          "\n"
          "Signals: TERM, INT stop it; USR1 opens its log anew.\n"
          "Exit status: 0 stopped, 1 it cannot work (see the log), 2 wrong usage.\n",
          out);
}

/* Held for life: an image has one writer, whatever became of pid files (a full disk
 * leaves an agent without one). By it `weir` finds an agent that no pid file names, so
 * it is a lock of fcntl(), which says whose it is; it would go if this process closed
 * any other descriptor of the file. */
static int take_lock(const char *prefix, weir_error_t *err)
{
    char path[PATH_BYTES_MAX];
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    snprintf(path, sizeof(path), "%s/pids/agent.lock", prefix);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return weir_error_errno(err, errno, "cannot open %s", path);
    if (fcntl(fd, F_SETLK, &lock) == 0)
        return WEIR_OK;
    int number = errno;
    bool held = number == EAGAIN || number == EACCES;
    if (held && fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK)
        weir_error_set(err, WEIR_CONFLICT, "prefix", "the agent %d writes this image already",
                       (int)lock.l_pid);
    else
        weir_error_errno(err, number, "cannot lock %s", path);
    close(fd);
    return err->code;
}

static int run(const char *prefix)
{
    char path[PATH_BYTES_MAX];
    weir_error_t err = { 0 };
    weir_settings_t *settings = NULL;
    weir_log_level_t level = WEIR_LOG_NOTICE;
    snprintf(path, sizeof(path), "%s/weir.settings", prefix);
    int rc = weir_settings_load(path, NULL, prefix, &settings, &err);
    if (rc == WEIR_OK) {
        weir_log_level_parse(weir_str(weir_setting_string(settings, "log_level")), &level);
        snprintf(path, sizeof(path), "%s/logs/agent.log", prefix);
        rc = weir_log_open(path, level, "agent", &err);
    }
    if (rc == WEIR_OK)
        rc = take_lock(prefix, &err);
    if (rc == WEIR_OK)
        rc = weir_agent_run(settings, &stop, &reopen, &err);
    if (rc != WEIR_OK) {
        weir_log(WEIR_LOG_CRIT, "cannot work field=%s reason=\"%s\"",
                 err.field[0] != '\0' ? err.field : "-", err.reason);
        fprintf(stderr, "weir-agent: %s%s%s\n", err.field, err.field[0] != '\0' ? ": " : "",
                err.reason);
    }
    weir_settings_free(settings);
    return rc == WEIR_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        { "prefix", required_argument, NULL, 'p' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    const char *prefix = NULL;
    int option = 0;
    while ((option = getopt_long(argc, argv, "p:h", options, NULL)) != -1) {
        switch (option) {
        case 'p':
            prefix = optarg;
            break;
        case 'h':
            usage(stdout);
            return EXIT_SUCCESS;
        default:
            usage(stderr);
            return EXIT_USAGE;
        }
    }
    if (prefix == NULL || optind < argc) {
        usage(stderr);
        return EXIT_USAGE;
    }
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    return run(prefix);
}
