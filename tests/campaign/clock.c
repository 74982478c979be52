/* clock.c -- a wall clock that a test can set: preloaded into the processes of a node.
 *
 * The file named by TEST_CLOCK_FILE holds one int64, nanoseconds to be added; it is
 * mapped, so a jump is seen at once by every process, also by those whose environment
 * was cleared (nginx does that, which is why libfaketime does not serve here: it looks
 * for its file whenever it is asked). The monotonic clocks are left alone. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define NS       INT64_C(1000000000)

static const volatile int64_t *offset_ns;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void open_clock(void)
{
    const char *path = getenv("TEST_CLOCK_FILE");
    int fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    real_clock_gettime =
        (int (*)(clockid_t, struct timespec *))(uintptr_t)dlsym(RTLD_NEXT, "clock_gettime");
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof(*offset_ns), PROT_READ, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED)
        offset_ns = map;
    close(fd);
}

/* Declared once more: the library's own declarations may say `nonnull`. */
EXPORTED int clock_gettime(clockid_t clock_id, struct timespec *tp)
{
    if (real_clock_gettime == NULL)
        open_clock(); /* somebody's constructor came first */
    int rc = real_clock_gettime(clock_id, tp);
    if (rc != 0 || offset_ns == NULL ||
        (clock_id != CLOCK_REALTIME && clock_id != CLOCK_REALTIME_COARSE))
        return rc;
    int64_t ns = (int64_t)tp->tv_sec * NS + tp->tv_nsec + *offset_ns;
    tp->tv_sec = ns / NS;
    tp->tv_nsec = ns % NS;
    return 0;
}

EXPORTED int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
    struct timespec now;
    (void)tz;
    int rc = clock_gettime(CLOCK_REALTIME, &now);
    tv->tv_sec = now.tv_sec;
    tv->tv_usec = now.tv_nsec / 1000;
    return rc;
}

EXPORTED time_t time(time_t *timer)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (timer != NULL)
        *timer = now.tv_sec;
    return now.tv_sec;
}
