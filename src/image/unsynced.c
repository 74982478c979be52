/* unsynced.c -- knows whether an image that is not flushed at each commit can be
 * trusted after a restart.
 *
 * Without flushing, pages reach the disk in any order. The death of a process does
 * no harm, for the kernel has them all; the death of the machine does, and nobody
 * would see it. So the first commit after a flush leaves a file "unsynced" with the
 * identity of this boot, itself flushed; a flush of the image removes it. One left
 * by another boot means that the image is not to be believed. */
#include "image/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { BOOT_BYTES = 64 };

/* False where the system does not tell: then there is nothing to compare. */
static bool read_small(const char *path, char out[BOOT_BYTES])
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = file >= 0 ? read(file, out, BOOT_BYTES - 1) : -1;
    if (file >= 0)
        close(file);
    out[len > 0 ? len : 0] = '\0';
    return len > 0;
}

static bool this_boot(char out[BOOT_BYTES])
{
    return read_small("/proc/sys/kernel/random/boot_id", out);
}

static int mark_path(const weir_image_t *image, char out[4096], weir_error_t *err)
{
    if (snprintf(out, 4096, "%s/unsynced", image->path) >= 4096)
        return weir_error_set(err, WEIR_INVALID, "path", "longer than 4096 bytes");
    return WEIR_OK;
}

int unsynced_check(const weir_image_t *image, weir_error_t *err)
{
    char path[4096], marked[BOOT_BYTES], now[BOOT_BYTES];
    int rc = mark_path(image, path, err);
    if (rc != WEIR_OK || !read_small(path, marked) || !this_boot(now) || strcmp(marked, now) == 0)
        return rc;
    return weir_error_set(err, WEIR_CORRUPT, NULL,
                          "the machine went down before the image was on the disk");
}

static int flush_file(int file, const char *text)
{
    size_t len = strlen(text);
    return write(file, text, len) == (ssize_t)len && fsync(file) == 0 ? 0 : -1;
}

int unsynced_mark(weir_image_t *image, weir_error_t *err)
{
    char path[4096], now[BOOT_BYTES];
    if (image->options.sync || image->unsynced)
        return WEIR_OK;
    int rc = mark_path(image, path, err);
    if (rc != WEIR_OK || !this_boot(now))
        return rc;
    int directory = open(image->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0660);
    bool done = file >= 0 && directory >= 0 && flush_file(file, now) == 0 && fsync(directory) == 0;
    int number = errno;
    if (file >= 0)
        close(file);
    if (directory >= 0)
        close(directory);
    if (!done)
        return weir_error_errno(err, number, "cannot write %s", path);
    image->unsynced = true;
    return WEIR_OK;
}

bool unsynced_left(const weir_image_t *image)
{
    char path[4096];
    return mark_path(image, path, NULL) == WEIR_OK && access(path, F_OK) == 0;
}

void unsynced_clear(weir_image_t *image)
{
    char path[4096];
    /* One that stays costs a full synchronisation after the machine's next death. */
    if (mark_path(image, path, NULL) == WEIR_OK)
        unlink(path);
    image->unsynced = false;
}
