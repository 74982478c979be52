/* log.c -- structured log lines of the processes that are not nginx. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES_MAX = 4096 };

static int log_fd = STDERR_FILENO;
static weir_log_level_t log_level = WEIR_LOG_NOTICE;
static const char *log_process = "weir";

static const char *const level_names[] = {
    [WEIR_LOG_EMERG] = "emerg", [WEIR_LOG_ALERT] = "alert", [WEIR_LOG_CRIT] = "crit",
    [WEIR_LOG_ERROR] = "error", [WEIR_LOG_WARN] = "warn",   [WEIR_LOG_NOTICE] = "notice",
    [WEIR_LOG_INFO] = "info",   [WEIR_LOG_DEBUG] = "debug",
};

int weir_log_level_parse(weir_str_t name, weir_log_level_t *ret)
{
    for (int level = WEIR_LOG_EMERG; level <= WEIR_LOG_DEBUG; level++) {
        if (weir_str_is(name, level_names[level])) {
            *ret = (weir_log_level_t)level;
            return WEIR_OK;
        }
    }
    return WEIR_INVALID;
}

int weir_log_open(const char *path, weir_log_level_t level, const char *process, weir_error_t *err)
{
    int fd = STDERR_FILENO;
    if (path != NULL) {
        fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
        if (fd < 0)
            return weir_error_errno(err, errno, "cannot open the log %s", path);
    }
    int before = log_fd;
    log_fd = fd;
    log_level = level;
    log_process = process;
    if (before != STDERR_FILENO)
        close(before);
    return WEIR_OK;
}

bool weir_log_enabled(weir_log_level_t level)
{
    return level <= log_level;
}

void weir_log(weir_log_level_t level, const char *format, ...)
{
    if (level > log_level)
        return;
    char line[LINE_BYTES_MAX];
    struct timespec now;
    struct tm calendar;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &calendar);
    size_t len = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &calendar);
    len += (size_t)snprintf(line + len, sizeof(line) - len,
                            ".%03ldZ %s %s[%d]: ", now.tv_nsec / 1000000, level_names[level],
                            log_process, (int)getpid());
    size_t message = len;
    va_list arguments;
    va_start(arguments, format);
    int more = vsnprintf(line + len, sizeof(line) - len - 1, format, arguments);
    va_end(arguments);
    if (more > 0)
        len += (size_t)more < sizeof(line) - len - 1 ? (size_t)more : sizeof(line) - len - 2;
    /* What came from outside must not forge a line. */
    for (size_t i = message; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = ' ';
    line[len++] = '\n';
    ssize_t written = write(log_fd, line, len);
    (void)written; /* there is nowhere left to complain */
}
