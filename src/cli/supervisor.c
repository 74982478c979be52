/* supervisor.c -- `weir supervise`: the process that keeps a node's processes.
 *
 * It starts nginx and, where there is a data plane, the agent; what dies is
 * started again, at once the first time, then with growing pauses. Killed itself,
 * the next one takes over those that live, through their pid files, and watches
 * them by pidfd, for they are not its children. Before a new nginx master starts,
 * what is left of the group of the last one is killed: orphaned workers would
 * hold the ports and go on serving.
 *
 * Signals: TERM and INT stop all at once, QUIT lets requests end, HUP reloads,
 * USR1 opens the logs anew. */
#include "cli/cli.h"

#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    CHILDREN_MAX = 2,
    PAUSE_FIRST_MS = 100,
    PAUSE_MS_MAX = 5000,
    STEADY_MS = 10000, /* after so long, the next death counts as the first again */
    STOP_MS_MAX = 10000,
    QUIT_MS_MAX = 600000,
};

typedef struct child {
    const char *name;
    char *const *command;
    pid_t pid; /* 0: not running */
    int pidfd;
    pid_t group; /* of the last one that ran */
    int64_t started_ms, restart_ms;
    unsigned failures;
} child_t;

typedef struct supervisor {
    char prefix[CLI_PATH_MAX];
    char log[CLI_PATH_MAX];
    weir_log_level_t level;
    child_t children[CHILDREN_MAX];
    size_t count;
    int signals;
    int64_t stopping_ms; /* deadline; 0: not stopping */
} supervisor_t;

/* -- one child ------------------------------------------------------------------------- */

static int watch(child_t *child, pid_t pid)
{
    int fd = pidfd_open(pid, 0);
    if (fd < 0)
        return -1;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    child->pid = pid;
    child->pidfd = fd;
    child->group = pid;
    child->started_ms = weir_clock_monotonic_ms();
    return 0;
}

/* A worker reads what it remembers of routes at random, and a control plane its database's
 * pages: address translation is much of what that costs. So the heap may have huge pages
 * (of glibc, where the kernel grants them). The threads of a control plane share a few
 * heaps: with one each, memory creeps up until every thread has seen every kind of request.
 * Each of its requests builds and frees a few hundred small pieces and some large ones, so a
 * thread keeps more of the small at hand (7 is the usual), and the rest is not given back to
 * the system each time: 5 % of the processor time of a write. What the operator has set
 * stays. */
#define HEAPS "glibc.malloc.hugetlb=1:glibc.malloc.arena_max=4"
#define HEAPS_OF_CONTROL_PLANE                                                 \
    HEAPS ":glibc.malloc.tcache_count=200:glibc.malloc.mmap_threshold=1048576" \
          ":glibc.malloc.trim_threshold=4194304"

static void prefer_heaps(const supervisor_t *supervisor)
{
    bool agent = supervisor->count > 1;
    setenv("GLIBC_TUNABLES", agent ? HEAPS : HEAPS_OF_CONTROL_PLANE, 0);
}

static _Noreturn void become(const supervisor_t *supervisor, const child_t *child)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    umask(strcmp(child->name, "agent") == 0 ? 007 : 022); /* see ownership.c */
    prefer_heaps(supervisor);
    int null = open("/dev/null", O_RDWR);
    int log = open(supervisor->log, O_WRONLY | O_APPEND | O_CREAT, 0640);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execv(child->command[0], child->command);
    fprintf(stderr, "cannot run %s: %s\n", child->command[0], strerror(errno));
    _exit(127);
}

static void later(child_t *child)
{
    int64_t now = weir_clock_monotonic_ms();
    if (child->started_ms != 0 && now - child->started_ms > STEADY_MS)
        child->failures = 0;
    int64_t pause = 0;
    if (child->failures > 0) {
        unsigned doublings = child->failures < 7 ? child->failures - 1 : 6;
        pause = (int64_t)PAUSE_FIRST_MS << doublings;
        if (pause > PAUSE_MS_MAX)
            pause = PAUSE_MS_MAX;
    }
    child->failures++;
    child->restart_ms = now + pause;
}

static void note_pid(const supervisor_t *supervisor, const child_t *child)
{
    weir_error_t err = { 0 };
    if (strcmp(child->name, "nginx") != 0 && /* nginx writes its own */
        cli_write_pid(supervisor->prefix, child->name, child->pid, &err) != WEIR_OK)
        weir_log(WEIR_LOG_ERROR, "no pid file name=%s reason=\"%s\"", child->name, err.reason);
}

static void start_child(supervisor_t *supervisor, child_t *child)
{
    size_t killed = cli_kill_group(child->group, supervisor->prefix);
    if (killed > 0) {
        weir_log(WEIR_LOG_WARN, "killed what its parent left behind name=%s count=%zu", child->name,
                 killed);
        cli_sleep_ms(PAUSE_FIRST_MS); /* until their sockets are closed */
    }
    child->restart_ms = 0;
    pid_t pid = fork();
    if (pid == 0)
        become(supervisor, child);
    if (pid < 0 || watch(child, pid) != 0) {
        weir_log(WEIR_LOG_CRIT, "cannot start name=%s errno=%d", child->name, errno);
        later(child);
        return;
    }
    setpgid(pid, pid); /* both do it: whoever comes first */
    weir_log(WEIR_LOG_NOTICE, "started name=%s pid=%d", child->name, (int)pid);
    note_pid(supervisor, child);
}

static void adopt_or_start(supervisor_t *supervisor, child_t *child)
{
    pid_t pid = cli_running(supervisor->prefix, child->name);
    /* Also of one that is gone: its group may not be. */
    child->group = cli_read_pid(supervisor->prefix, child->name);
    if (pid != 0 && watch(child, pid) == 0) {
        weir_log(WEIR_LOG_NOTICE, "took over name=%s pid=%d", child->name, (int)pid);
        note_pid(supervisor, child); /* it may have been found without one */
        return;
    }
    start_child(supervisor, child);
}

static void signal_child(const child_t *child, int number)
{
    if (child->pid != 0)
        kill(child->pid, number);
}

static void ended(supervisor_t *supervisor, child_t *child)
{
    int status = 0;
    char how[64] = "exit unknown"; /* of one that was taken over */
    if (waitpid(child->pid, &status, WNOHANG) == child->pid) {
        if (WIFSIGNALED(status))
            snprintf(how, sizeof(how), "signal %d", WTERMSIG(status));
        else
            snprintf(how, sizeof(how), "exit %d", WEXITSTATUS(status));
    }
    weir_log(supervisor->stopping_ms != 0 ? WEIR_LOG_NOTICE : WEIR_LOG_ERROR,
             "ended name=%s pid=%d how=\"%s\"", child->name, (int)child->pid, how);
    close(child->pidfd);
    child->pid = 0;
    child->pidfd = -1;
    if (supervisor->stopping_ms == 0)
        later(child);
}

/* -- all of them -------------------------------------------------------------------------- */

static void begin_stop(supervisor_t *supervisor, int number)
{
    bool gently = number == SIGQUIT;
    weir_log(WEIR_LOG_NOTICE, "stopping gently=%s", gently ? "yes" : "no");
    supervisor->stopping_ms = weir_clock_monotonic_ms() + (gently ? QUIT_MS_MAX : STOP_MS_MAX);
    for (size_t i = 0; i < supervisor->count; i++) {
        child_t *child = &supervisor->children[i];
        bool nginx = strcmp(child->name, "nginx") == 0;
        signal_child(child, gently && nginx ? SIGQUIT : SIGTERM);
    }
}

static void reload(supervisor_t *supervisor)
{
    weir_log(WEIR_LOG_NOTICE, "reloading");
    for (size_t i = 0; i < supervisor->count; i++) {
        child_t *child = &supervisor->children[i];
        child->failures = 0; /* its end is our wish */
        signal_child(child, strcmp(child->name, "nginx") == 0 ? SIGHUP : SIGTERM);
    }
}

static void open_log(const supervisor_t *supervisor)
{
    weir_error_t err = { 0 };
    if (weir_log_open(supervisor->log, supervisor->level, "supervisor", &err) != WEIR_OK)
        fprintf(stderr, "weir: %s\n", err.reason);
}

static void take_signal(supervisor_t *supervisor)
{
    struct signalfd_siginfo info;
    if (read(supervisor->signals, &info, sizeof(info)) != (ssize_t)sizeof(info))
        return;
    int number = (int)info.ssi_signo;
    if (number == SIGCHLD)
        return; /* the pidfds say who */
    if (number == SIGHUP && supervisor->stopping_ms == 0)
        reload(supervisor);
    else if (number == SIGUSR1)
        open_log(supervisor);
    else if (number != SIGHUP && (supervisor->stopping_ms == 0 || number == SIGTERM))
        begin_stop(supervisor, number);
    for (size_t i = 0; number == SIGUSR1 && i < supervisor->count; i++)
        signal_child(&supervisor->children[i], SIGUSR1);
}

static bool any_runs(const supervisor_t *supervisor)
{
    for (size_t i = 0; i < supervisor->count; i++)
        if (supervisor->children[i].pid != 0)
            return true;
    return false;
}

/* Milliseconds until something is due; -1: nothing is. */
static int next_due(const supervisor_t *supervisor)
{
    int64_t now = weir_clock_monotonic_ms();
    int64_t due = supervisor->stopping_ms;
    for (size_t i = 0; i < supervisor->count; i++) {
        const child_t *child = &supervisor->children[i];
        if (child->pid == 0 && supervisor->stopping_ms == 0 &&
            (due == 0 || child->restart_ms < due))
            due = child->restart_ms;
    }
    if (due == 0)
        return -1;
    return due > now ? (int)(due - now) : 0;
}

static void wait_for_events(supervisor_t *supervisor)
{
    struct pollfd events[CHILDREN_MAX + 1];
    events[0] = (struct pollfd){ .fd = supervisor->signals, .events = POLLIN };
    for (size_t i = 0; i < supervisor->count; i++)
        events[i + 1] = (struct pollfd){ .fd = supervisor->children[i].pidfd, .events = POLLIN };
    if (poll(events, supervisor->count + 1, next_due(supervisor)) < 0)
        return;
    for (size_t i = 0; i < supervisor->count; i++)
        if (events[i + 1].revents != 0 && supervisor->children[i].pid != 0)
            ended(supervisor, &supervisor->children[i]);
    if (events[0].revents != 0)
        take_signal(supervisor);
}

static void start_due(supervisor_t *supervisor)
{
    int64_t now = weir_clock_monotonic_ms();
    for (size_t i = 0; i < supervisor->count; i++) {
        child_t *child = &supervisor->children[i];
        if (child->pid == 0 && child->restart_ms <= now)
            start_child(supervisor, child);
    }
}

static void run(supervisor_t *supervisor)
{
    for (size_t i = 0; i < supervisor->count; i++)
        adopt_or_start(supervisor, &supervisor->children[i]);
    while (supervisor->stopping_ms == 0 || any_runs(supervisor)) {
        wait_for_events(supervisor);
        if (supervisor->stopping_ms == 0)
            start_due(supervisor);
        else if (weir_clock_monotonic_ms() > supervisor->stopping_ms)
            break;
    }
    for (size_t i = 0; i < supervisor->count; i++) {
        child_t *child = &supervisor->children[i];
        signal_child(child, SIGKILL);
        if (cli_kill_group(child->group, supervisor->prefix) > 0)
            weir_log(WEIR_LOG_WARN, "killed what did not stop name=%s", child->name);
    }
}

/* -- becoming it ---------------------------------------------------------------------------- */

/* Held for life: there is one supervisor a prefix. */
static int take_lock(const supervisor_t *supervisor, weir_error_t *err)
{
    char path[CLI_PATH_MAX];
    cli_path(supervisor->prefix, "pids/supervisor.lock", path, sizeof(path));
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0)
        return weir_error_errno(err, errno, "cannot open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        close(fd);
        return weir_error_set(err, WEIR_CONFLICT, NULL, "the node in %s is already running",
                              supervisor->prefix);
    }
    return WEIR_OK;
}

static int take_signals(supervisor_t *supervisor, weir_error_t *err)
{
    static const int numbers[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGCHLD };
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < WEIR_COUNT(numbers); i++)
        sigaddset(&set, numbers[i]);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    supervisor->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    return supervisor->signals >= 0 ? WEIR_OK : weir_error_errno(err, errno, "signalfd");
}

static void add_child(supervisor_t *supervisor, const char *name, char *const *command)
{
    weir_assert(supervisor->count < CHILDREN_MAX);
    supervisor->children[supervisor->count++] =
        (child_t){ .name = name, .command = command, .pidfd = -1 };
}

static int prepare(supervisor_t *supervisor, const cli_options_t *options, bool *ret_agent,
                   weir_error_t *err)
{
    char path[CLI_PATH_MAX];
    weir_settings_t *settings = NULL;
    int rc = cli_prefix(options, supervisor->prefix, sizeof(supervisor->prefix), err);
    if (rc != WEIR_OK)
        return rc;
    cli_path(supervisor->prefix, "logs/supervisor.log", supervisor->log, sizeof(supervisor->log));
    cli_path(supervisor->prefix, "weir.settings", path, sizeof(path));
    rc = weir_settings_load(path, NULL, NULL, &settings, err);
    if (rc != WEIR_OK)
        return rc;
    *ret_agent = strcmp(weir_setting_string(settings, "role"), "control_plane") != 0;
    weir_log_level_parse(weir_str(weir_setting_string(settings, "log_level")), &supervisor->level);
    weir_settings_free(settings);
    rc = take_lock(supervisor, err);
    if (rc == WEIR_OK)
        rc = weir_log_open(supervisor->log, supervisor->level, "supervisor", err);
    if (rc == WEIR_OK)
        rc = take_signals(supervisor, err);
    if (rc == WEIR_OK)
        rc = cli_write_pid(supervisor->prefix, "supervisor", getpid(), err);
    return rc;
}

int cli_supervise(const cli_options_t *options)
{
    char nginx[CLI_PATH_MAX];
    char agent[CLI_PATH_MAX];
    char conf[CLI_PATH_MAX];
    char folder[CLI_PATH_MAX];
    static supervisor_t supervisor = { .level = WEIR_LOG_NOTICE };
    weir_error_t err = { 0 };
    bool has_agent = false;
    int rc = prepare(&supervisor, options, &has_agent, &err);
    if (rc == WEIR_OK)
        rc = cli_find_nginx(nginx, sizeof(nginx), &err);
    if (rc == WEIR_OK && has_agent)
        rc = cli_find("weir-agent", agent, sizeof(agent), &err);
    if (rc != WEIR_OK)
        return cli_fail(&err);
    cli_path(supervisor.prefix, "nginx.conf", conf, sizeof(conf));
    cli_path(supervisor.prefix, "", folder, sizeof(folder));
    char *const nginx_command[] = { nginx, (char *)"-p", folder, (char *)"-c", conf, NULL };
    char *const agent_command[] = { agent, (char *)"-p", supervisor.prefix, NULL };
    add_child(&supervisor, "nginx", nginx_command);
    if (has_agent)
        add_child(&supervisor, "agent", agent_command);
    weir_log(WEIR_LOG_NOTICE, "watching prefix=%s", supervisor.prefix);
    run(&supervisor);
    weir_log(WEIR_LOG_NOTICE, "stopped");

    static const char *const names[] = { "agent", "supervisor" };
    for (size_t i = 0; i < WEIR_COUNT(names); i++) {
        char file[64];
        snprintf(file, sizeof(file), "pids/%s.pid", names[i]);
        cli_path(supervisor.prefix, file, conf, sizeof(conf));
        unlink(conf);
    }
    return EXIT_OK;
}
