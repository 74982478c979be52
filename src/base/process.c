/* process.c -- what the system says of a running process (process.h). */
#include "base/process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
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

/* The `nth` (from 0) of the words that follow each other with blanks between; 0: it is no
 * number, or there are fewer. */
static uint64_t number_at(const char *text, unsigned nth)
{
    for (text += strspn(text, " "); nth > 0; nth--) {
        text += strcspn(text, " ");
        text += strspn(text, " ");
    }
    return strtoull(text, NULL, 10);
}

/* proc_pid_stat(5): the name is in parentheses and may hold any others. */
static bool read_stat(const char *text, weir_process_t *ret)
{
    enum { PARENT = 1, USER_TICKS = 11, SYSTEM_TICKS = 12 }; /* after the name; 0 is the state */
    const char *first = strchr(text, '(');
    const char *last = strrchr(text, ')');
    if (first == NULL || last == NULL || last < first || last[1] != ' ')
        return false;
    const char *words = last + 2;
    if (words[0] == 'Z' || words[0] == 'X')
        return false; /* dead, and nobody has asked for its end yet */
    snprintf(ret->name, sizeof(ret->name), "%.*s", (int)(last - first - 1), first + 1);
    ret->parent = (pid_t)number_at(words, PARENT);
    ret->cpu_seconds = (double)(number_at(words, USER_TICKS) + number_at(words, SYSTEM_TICKS)) /
                       (double)sysconf(_SC_CLK_TCK);
    return true;
}

int weir_process_look(pid_t pid, weir_process_t *ret)
{
    char text[TEXT_BYTES_MAX];
    weir_process_t found = { .parent = 0 };
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (pid <= 0 || !read_text(pid, "stat", text) || !read_stat(text, &found) ||
        !read_text(pid, "statm", text))
        return WEIR_NOT_FOUND;
    found.resident_bytes = number_at(text, 1) * page;
    found.shared_bytes = number_at(text, 2) * page;
    *ret = found;
    return WEIR_OK;
}
