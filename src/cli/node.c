/* node.c -- a node's prefix, its files and its processes. */
#include "cli/cli.h"

#include "base/buffer.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { GROUP_PIDS_MAX = 4096 };

int cli_fail(const weir_error_t *err)
{
    fprintf(stderr, "weir: %s%s%s\n", err->field, err->field[0] != '\0' ? ": " : "", err->reason);
    return EXIT_FAILED;
}

void cli_sleep_ms(int ms)
{
    struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
    nanosleep(&pause, NULL);
}

/* -- paths ---------------------------------------------------------------------- */

void cli_path(const char *prefix, const char *name, char *ret, size_t bytes)
{
    int len = snprintf(ret, bytes, "%s/%s", prefix, name);
    weir_assert(len > 0 && (size_t)len < bytes);
}

static const char *prefix_variable(void)
{
    const char *ours = getenv("WEIR_PREFIX");
    return ours != NULL ? ours : getenv("KONG_PREFIX");
}

int cli_prefix(const cli_options_t *options, char *ret, size_t bytes, weir_error_t *err)
{
    const char *prefix = options->prefix != NULL ? options->prefix : prefix_variable();
    weir_settings_t *settings = NULL;
    int rc = WEIR_OK;
    if (prefix == NULL && options->file != NULL)
        rc = weir_settings_load(options->file, NULL, NULL, &settings, err);
    if (rc != WEIR_OK)
        return rc;
    if (settings != NULL)
        prefix = weir_setting_string(settings, "prefix");
    if (prefix == NULL)
        prefix = "/usr/local/weir";

    char folder[CLI_PATH_MAX] = "";
    if (prefix[0] != '/' && getcwd(folder, sizeof(folder)) == NULL)
        rc = weir_error_errno(err, errno, "the current directory");
    int len = snprintf(ret, bytes, "%s%s%s", folder, folder[0] != '\0' ? "/" : "", prefix);
    weir_settings_free(settings);
    if (rc == WEIR_OK && (len < 0 || (size_t)len + 64 > bytes))
        rc = weir_error_set(err, WEIR_TOO_LARGE, "prefix", "too long a path");
    for (size_t end = strlen(ret); end > 1 && ret[end - 1] == '/'; end--)
        ret[end - 1] = '\0';
    return rc;
}

int cli_settings(const cli_options_t *options, weir_settings_t **ret, weir_error_t *err)
{
    char prefix[CLI_PATH_MAX];
    char before[CLI_PATH_MAX];
    const char *file = options->file;
    const char *wanted = options->prefix;
    if (file == NULL) {
        int rc = cli_prefix(options, prefix, sizeof(prefix), err);
        if (rc != WEIR_OK)
            return rc;
        cli_path(prefix, "weir.settings", before, sizeof(before));
        if (access(before, F_OK) == 0)
            file = before;
        else if (access(CLI_DEFAULT_FILE, F_OK) == 0)
            file = CLI_DEFAULT_FILE;
    }
    return weir_settings_load(file, (const char *const *)environ, wanted, ret, err);
}

static bool try_beside(const char *folder, const char *between, const char *name, char *ret,
                       size_t bytes)
{
    int len = snprintf(ret, bytes, "%s/%s%s", folder, between, name);
    return len > 0 && (size_t)len < bytes && access(ret, R_OK) == 0;
}

int cli_find(const char *name, char *ret, size_t bytes, weir_error_t *err)
{
    char self[CLI_PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (len < 0)
        return weir_error_errno(err, errno, "where this program lies");
    self[len] = '\0';
    char *slash = strrchr(self, '/');
    weir_assert(slash != NULL);
    *slash = '\0';
    if (try_beside(self, "", name, ret, bytes) ||
        try_beside(self, "../lib/weir/", name, ret, bytes) ||
        try_beside(self, "../libexec/weir/", name, ret, bytes))
        return WEIR_OK;
    return weir_error_set(err, WEIR_NOT_FOUND, NULL,
                          "%s is neither in %s nor in ../lib/weir or ../libexec/weir from there",
                          name, self);
}

int cli_find_nginx(char *ret, size_t bytes, weir_error_t *err)
{
    static const char *const folders[] = { "/usr/sbin", "/usr/local/sbin", "/usr/bin" };
    const char *path = getenv("PATH");
    while (path != NULL && *path != '\0') {
        size_t len = strcspn(path, ":");
        int got = snprintf(ret, bytes, "%.*s/nginx", (int)len, path);
        if (len > 0 && got > 0 && (size_t)got < bytes && access(ret, X_OK) == 0)
            return WEIR_OK;
        path += len + (path[len] == ':');
    }
    for (size_t i = 0; i < WEIR_COUNT(folders); i++) {
        snprintf(ret, bytes, "%s/nginx", folders[i]);
        if (access(ret, X_OK) == 0)
            return WEIR_OK;
    }
    return weir_error_set(err, WEIR_NOT_FOUND, NULL,
                          "there is no nginx in PATH or /usr/sbin: install the package nginx");
}

/* -- files -------------------------------------------------------------------------- */

int cli_write_file(const char *path, weir_str_t text, mode_t mode, weir_error_t *err)
{
    char beside[CLI_PATH_MAX + 8];
    snprintf(beside, sizeof(beside), "%s.new", path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0)
        return weir_error_errno(err, errno, "cannot write %s", beside);
    ssize_t wrote = write(fd, text.data, text.len);
    int number = wrote == (ssize_t)text.len ? 0 : wrote < 0 ? errno : ENOSPC;
    if (fchmod(fd, mode) != 0 && number == 0)
        number = errno;
    if (close(fd) != 0 && number == 0)
        number = errno;
    if (number == 0 && rename(beside, path) != 0)
        number = errno;
    return number == 0 ? WEIR_OK : weir_error_errno(err, number, "cannot write %s", path);
}

int cli_write_pid(const char *prefix, const char *name, pid_t pid, weir_error_t *err)
{
    char path[CLI_PATH_MAX];
    char file[64];
    char text[32];
    snprintf(file, sizeof(file), "pids/%s.pid", name);
    cli_path(prefix, file, path, sizeof(path));
    snprintf(text, sizeof(text), "%d\n", (int)pid);
    return cli_write_file(path, weir_str(text), 0644, err);
}

/* -- processes ------------------------------------------------------------------------ */

/* The next word of *at as a number; *at moves behind it. 0: it is none. */
static int next_number(const char **at)
{
    int64_t value = 0;
    *at += strspn(*at, " ");
    size_t len = strcspn(*at, " ");
    if (weir_parse_int64((weir_str_t){ *at, len }, 0, INT32_MAX, &value) != WEIR_OK)
        value = 0;
    *at += len;
    return (int)value;
}

static bool lives(pid_t pid, pid_t *ret_group)
{
    char path[64];
    char text[512];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return false;
    size_t got = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[got] = '\0';
    /* "PID (NAME) STATE PARENT GROUP ...", and the name may have anything in it. */
    const char *at = strrchr(text, ')');
    if (at == NULL || at[1] != ' ' || at[2] == '\0')
        return false;
    char state = at[2];
    at += 3;
    next_number(&at);
    if (ret_group != NULL)
        *ret_group = next_number(&at);
    return state != 'Z' && state != 'X';
}

bool cli_belongs(pid_t pid, const char *prefix)
{
    char path[320];
    char target[CLI_PATH_MAX];
    size_t len = strlen(prefix);
    bool found = false;
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *folder = opendir(path);
    if (folder == NULL)
        return false;
    for (struct dirent *entry = NULL; !found && (entry = readdir(folder)) != NULL;) {
        snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid, entry->d_name);
        ssize_t got = readlink(path, target, sizeof(target) - 1);
        found = got > (ssize_t)len && memcmp(target, prefix, len) == 0 && target[len] == '/';
    }
    closedir(folder);
    return found;
}

/* The prefix as the kernel shows paths: without links in it. */
static const char *real_prefix(const char *prefix, char *buffer)
{
    return realpath(prefix, buffer) != NULL ? buffer : prefix;
}

pid_t cli_read_pid(const char *prefix, const char *name)
{
    char path[CLI_PATH_MAX];
    char file[64];
    char text[16];
    int64_t pid = 0;
    snprintf(file, sizeof(file), "pids/%s.pid", name);
    cli_path(prefix, file, path, sizeof(path));
    FILE *stream = fopen(path, "re");
    if (stream == NULL)
        return 0;
    size_t got = fread(text, 1, sizeof(text), stream);
    fclose(stream);
    while (got > 0 && text[got - 1] == '\n')
        got--;
    return weir_parse_int64((weir_str_t){ text, got }, 2, INT32_MAX, &pid) == WEIR_OK ? (pid_t)pid
                                                                                      : 0;
}

/* Who holds pids/NAME.lock; 0: nobody. The agent does for as long as it lives. */
static pid_t lock_holder(const char *prefix, const char *name)
{
    char path[CLI_PATH_MAX];
    char file[64];
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    snprintf(file, sizeof(file), "pids/%s.lock", name);
    cli_path(prefix, file, path, sizeof(path));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    bool held = fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
    close(fd);
    return held ? lock.l_pid : 0;
}

static bool runs(pid_t pid, const char *prefix)
{
    return pid > 1 && lives(pid, NULL) && cli_belongs(pid, prefix);
}

pid_t cli_running(const char *prefix, const char *name)
{
    char real[CLI_PATH_MAX];
    const char *shown = real_prefix(prefix, real);
    pid_t pid = cli_read_pid(prefix, name);
    if (!runs(pid, shown)) /* or a full disk left the file with what was before */
        pid = lock_holder(prefix, name);
    return runs(pid, shown) ? pid : 0;
}

size_t cli_kill_group(pid_t group, const char *prefix)
{
    char real[CLI_PATH_MAX];
    size_t killed = 0;
    prefix = real_prefix(prefix, real);
    DIR *folder = opendir("/proc");
    if (folder == NULL || group <= 1)
        return 0;
    for (struct dirent *entry = NULL; (entry = readdir(folder)) != NULL;) {
        int64_t pid = 0;
        pid_t its_group = 0;
        if (weir_parse_int64(weir_str(entry->d_name), 2, INT32_MAX, &pid) != WEIR_OK)
            continue;
        if (!lives((pid_t)pid, &its_group) || its_group != group ||
            !cli_belongs((pid_t)pid, prefix))
            continue;
        if (kill((pid_t)pid, SIGKILL) == 0)
            killed++;
    }
    closedir(folder);
    return killed;
}
