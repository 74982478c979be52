/* process.c -- what the system says of a running process (process.h). */
#include "base/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { TEXT_BYTES_MAX = 1024 };

/* True: the text is there, and ended by a zero byte. */
static bool read_text(pid_t pid, const char *name, char *text)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, text, TEXT_BYTES_MAX - 1);
    close(fd);
    text[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* proc_pid_stat(5): the name is in parentheses and may hold any others. */
static bool read_stat(const char *text, weir_process_t *ret)
{
    unsigned long user = 0;
    unsigned long system = 0;
    int parent = 0;
    char state = '\0';
    const char *first = strchr(text, '(');
    const char *last = strrchr(text, ')');
    if (first == NULL || last == NULL || last < first ||
        sscanf(last + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &state, &parent,
               &user, &system) != 4)
        return false;
    if (state == 'Z' || state == 'X')
        return false; /* dead, and nobody has asked for its end yet */
    snprintf(ret->name, sizeof(ret->name), "%.*s", (int)(last - first - 1), first + 1);
    ret->parent = parent;
    ret->cpu_seconds = (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
    return true;
}

int weir_process_look(pid_t pid, weir_process_t *ret)
{
    char text[TEXT_BYTES_MAX];
    weir_process_t found = { .parent = 0 };
    unsigned long resident = 0;
    unsigned long shared = 0;
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (pid <= 0 || !read_text(pid, "stat", text) || !read_stat(text, &found) ||
        !read_text(pid, "statm", text) || sscanf(text, "%*u %lu %lu", &resident, &shared) != 2)
        return WEIR_NOT_FOUND;
    found.resident_bytes = resident * page;
    found.shared_bytes = shared * page;
    *ret = found;
    return WEIR_OK;
}
