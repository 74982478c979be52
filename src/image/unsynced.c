/* unsynced.c -- what of an image is on the disk, and what may be believed after the
 * machine went down.
 *
 * LMDB does not flush here (MDB_NOSYNC): a commit serves readers at once. The death of a
 * process does no harm, for the kernel has all pages; the death of the machine leaves any
 * of those that were not flushed, and nobody would see it. So, while an image is written,
 * a file "unsynced" beside it has the identity of this boot and one of two words:
 *
 *   last T   each commit is flushed before the next one (options.sync); all up to
 *            transaction T is known to be on the disk. LMDB keeps the last two
 *            transactions, each with a meta page of its own, and the pages of either are
 *            written by no later one. So after the death of the machine the older of the
 *            two is whole, and it takes the place of the newer if that is beyond T.
 *   all      flushed by weir_image_sync() only: the image is not to be believed.
 *
 * T is noted a while after a flush (weir_image_settle()): noting it costs a flush, too. */
#include "image/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, BOOT_BYTES = 64, MARK_BYTES = 128 };

static const uint32_t META_MAGIC = 0xBEEFC0DE;

/* -- LMDB 0.9's two meta pages ------------------------------------------------------------- */

enum {
    META_HEADER_BYTES = 16, /* of the page; it has the page's number, which stays */
    META_TXNID_OFFSET = 128,
    META_BYTES = 136,
};

typedef struct meta {
    uint8_t bytes[META_BYTES];
} meta_t;

static off_t meta_offset(unsigned page)
{
    return (off_t)page * sysconf(_SC_PAGESIZE) + META_HEADER_BYTES;
}

static uint64_t meta_txnid(const meta_t *meta)
{
    uint64_t txnid;
    memcpy(&txnid, meta->bytes + META_TXNID_OFFSET, sizeof(txnid));
    return txnid;
}

static bool read_meta(int file, unsigned page, meta_t *ret)
{
    uint32_t magic = 0;
    if (pread(file, ret->bytes, sizeof(ret->bytes), meta_offset(page)) != (ssize_t)META_BYTES)
        return false;
    memcpy(&magic, ret->bytes, sizeof(magic));
    return magic == META_MAGIC;
}

/* The older transaction becomes the last one, unless the newer is known to be whole. */
static bool take_back(int file, uint64_t flushed)
{
    meta_t metas[2];
    if (!read_meta(file, 0, &metas[0]) || !read_meta(file, 1, &metas[1]))
        return false;
    unsigned newer = meta_txnid(&metas[1]) > meta_txnid(&metas[0]) ? 1 : 0;
    const meta_t *older = &metas[1 - newer];
    if (meta_txnid(&metas[newer]) <= flushed || meta_txnid(&metas[newer]) == meta_txnid(older))
        return true;
    return meta_txnid(older) + 1 == meta_txnid(&metas[newer]) &&
           pwrite(file, older->bytes, META_BYTES, meta_offset(newer)) == (ssize_t)META_BYTES &&
           fdatasync(file) == 0;
}

/* -- the mark ------------------------------------------------------------------------------- */

/* False where there is none, or the system does not tell: then there is nothing to compare. */
static bool read_small(const char *path, char *out, size_t bytes)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = file >= 0 ? read(file, out, bytes - 1) : -1;
    if (file >= 0)
        close(file);
    out[len > 0 ? len : 0] = '\0';
    return len > 0;
}

static bool this_boot(char out[BOOT_BYTES])
{
    bool known = read_small("/proc/sys/kernel/random/boot_id", out, BOOT_BYTES);
    out[strcspn(out, "\n")] = '\0';
    return known;
}

static int path_in(const char *image, const char *name, char out[PATH_BYTES], weir_error_t *err)
{
    if (snprintf(out, PATH_BYTES, "%s/%s", image, name) >= PATH_BYTES)
        return weir_error_set(err, WEIR_INVALID, "path", "longer than %d bytes", PATH_BYTES);
    return WEIR_OK;
}

/* What a mark of another boot says; false: there is none. */
static bool marked_elsewhere(const char *image, char ret[MARK_BYTES])
{
    char path[PATH_BYTES], now[BOOT_BYTES];
    if (path_in(image, "unsynced", path, NULL) != WEIR_OK || !read_small(path, ret, MARK_BYTES) ||
        !this_boot(now))
        return false;
    size_t len = strlen(now);
    return strncmp(ret, now, len) != 0 || (ret[len] != '\n' && ret[len] != '\0');
}

bool unsynced_elsewhere(const char *image)
{
    char mark[MARK_BYTES];
    return marked_elsewhere(image, mark);
}

static int settle_past(const char *image, uint64_t flushed, weir_error_t *err)
{
    char path[PATH_BYTES];
    int rc = path_in(image, "data.mdb", path, err);
    if (rc != WEIR_OK)
        return rc;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0 && errno == ENOENT)
        return WEIR_OK; /* the machine went down before there was anything */
    bool done = file >= 0 && (lseek(file, 0, SEEK_END) == 0 || take_back(file, flushed));
    if (file >= 0)
        close(file);
    return done ? WEIR_OK
                : weir_error_set(err, WEIR_CORRUPT, NULL,
                                 "the machine went down, and the commit before is not there");
}

int unsynced_check(const char *image, weir_error_t *err)
{
    char mark[MARK_BYTES], path[PATH_BYTES];
    if (!marked_elsewhere(image, mark))
        return WEIR_OK;
    const char *word = strstr(mark, "\nlast ");
    char *end = NULL;
    uint64_t flushed = word != NULL ? strtoull(word + 6, &end, 10) : 0;
    if (word == NULL || *end != '\n')
        return weir_error_set(err, WEIR_CORRUPT, NULL,
                              "the machine went down before the image was on the disk");
    int rc = settle_past(image, flushed, err);
    if (rc == WEIR_OK && (rc = path_in(image, "unsynced", path, err)) == WEIR_OK)
        unlink(path);
    return rc;
}

static bool flush_text(int file, const char *text)
{
    size_t len = strlen(text);
    return pwrite(file, text, len, 0) == (ssize_t)len && fsync(file) == 0;
}

/* Of one length, so that it is written over in place, in one sector. */
static bool format_mark(const weir_image_t *image, char out[MARK_BYTES])
{
    char now[BOOT_BYTES];
    if (!this_boot(now))
        return false;
    if (image->options.sync && !image->distrusted)
        snprintf(out, MARK_BYTES, "%s\nlast %020" PRIu64 "\n", now, image->flushed);
    else
        snprintf(out, MARK_BYTES, "%s\nall  %020d\n", now, 0);
    return true;
}

static int write_mark(weir_image_t *image, weir_error_t *err)
{
    char path[PATH_BYTES], text[MARK_BYTES];
    int rc = path_in(image->path, "unsynced", path, err);
    if (rc != WEIR_OK || !format_mark(image, text))
        return rc;
    int directory = open(image->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0660);
    bool done = file >= 0 && directory >= 0 && flush_text(file, text) &&
                (image->marked || fsync(directory) == 0);
    int number = errno;
    if (file >= 0)
        close(file);
    if (directory >= 0)
        close(directory);
    if (!done)
        return weir_error_errno(err, number, "cannot write %s", path);
    image->marked = true;
    image->noted = image->flushed;
    return WEIR_OK;
}

bool unsynced_left(const weir_image_t *image)
{
    char path[PATH_BYTES];
    return path_in(image->path, "unsynced", path, NULL) == WEIR_OK && access(path, F_OK) == 0;
}

/* -- flushing -------------------------------------------------------------------------------- */

static int flush(weir_image_t *image, weir_error_t *err)
{
    MDB_envinfo info = { 0 };
    mdb_env_info(image->env, &info);
    int code = mdb_env_sync(image->env, 1);
    if (code != 0)
        return lmdb_error(code, err, "flush");
    image->unflushed = false;
    image->flushed = info.me_last_txnid;
    return WEIR_OK;
}

int weir_image_flush(weir_image_t *image, weir_error_t *err)
{
    if (!image->options.sync || !image->unflushed)
        return WEIR_OK;
    int rc = flush(image, err);
    if (rc != WEIR_OK && !image->distrusted) {
        /* The system may call these pages clean from now on: the next flush proves nothing. */
        image->distrusted = true;
        write_mark(image, NULL);
    }
    return rc;
}

int unsynced_before_commit(weir_image_t *image, weir_error_t *err)
{
    int rc = weir_image_flush(image, err);
    if (rc == WEIR_OK && !image->marked)
        rc = write_mark(image, err);
    if (rc == WEIR_OK)
        image->unflushed = true;
    return rc;
}

int weir_image_settle(weir_image_t *image, weir_error_t *err)
{
    if (!image->options.sync)
        return image->marked ? weir_image_sync(image, err) : WEIR_OK;
    int rc = weir_image_flush(image, err);
    if (rc == WEIR_OK && image->marked && image->noted != image->flushed)
        rc = write_mark(image, err);
    return rc;
}

int weir_image_sync(weir_image_t *image, weir_error_t *err)
{
    char path[PATH_BYTES];
    int rc = flush(image, err);
    if (rc != WEIR_OK)
        return rc;
    /* One that stays costs the last commit, or a full synchronisation, after the machine's
     * next death. */
    if (!image->distrusted && path_in(image->path, "unsynced", path, NULL) == WEIR_OK) {
        unlink(path);
        image->marked = false;
    }
    return WEIR_OK;
}
