/* unsynced.c -- what of an image is on the disk, and what may be believed after the
 * machine went down.
 *
 * LMDB does not flush here (MDB_NOSYNC): a commit serves readers at once. The death of a
 * process does no harm, for the kernel has all pages; the death of the machine leaves any
 * of those that were not flushed, and nobody would see it. So, while an image is written,
 * a file "unsynced" beside it has the identity of this boot and one of two words:
 *
 *   last T META   all up to transaction T is on the disk, and META is the meta page from
 *                 which LMDB finds it. A read transaction holds T for as long: no commit
 *                 writes over its pages. After the death of the machine META is put back,
 *                 whatever of the later commits is there.
 *   all           flushed by weir_image_sync() only: the image is not to be believed.
 *
 * Moving on to a later T takes two flushes, of the image and of the file, and what T holds
 * is room in the image; hence once a second, or whenever much has come together. A thread
 * flushes, and commits go on. */
#include "image/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { PATH_BYTES = 4096, BOOT_BYTES = 64, MARK_BYTES = 512 };

static const uint32_t META_MAGIC = 0xBEEFC0DE;

/* About what a commit writes, beside what it writes for each row; and how many pages are
 * much: while they are not settled, the image needs room for them once more. */
enum { COMMIT_PAGES = 8, ROW_PAGES = 5, MUCH_PAGES = 512 };

/* So many more while a flush is on its way, and commits wait for it (256 MiB): the image would
 * grow as long as the disk stands still. */
enum { LATE_PAGES = 64 * 1024 };

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

static bool read_newest(int file, meta_t *ret)
{
    meta_t metas[2];
    if (!read_meta(file, 0, &metas[0]) || !read_meta(file, 1, &metas[1]))
        return false;
    *ret = metas[meta_txnid(&metas[1]) > meta_txnid(&metas[0]) ? 1 : 0];
    return true;
}

/* On both pages: neither leads to a later transaction then. */
static bool put_back(int file, const meta_t *meta)
{
    for (unsigned page = 0; page < 2; page++)
        if (pwrite(file, meta->bytes, META_BYTES, meta_offset(page)) != (ssize_t)META_BYTES)
            return false;
    return fdatasync(file) == 0;
}

static void print_meta(const meta_t *meta, char out[2 * META_BYTES + 1])
{
    for (size_t i = 0; i < META_BYTES; i++)
        snprintf(out + 2 * i, 3, "%02x", meta->bytes[i]);
}

/* False: these are not the digits of a meta page. */
static bool parse_meta(const char *digits, meta_t *ret)
{
    uint32_t magic;
    for (size_t i = 0; i < META_BYTES; i++) {
        char pair[3] = { digits[2 * i], digits[2 * i] != '\0' ? digits[2 * i + 1] : '\0', '\0' };
        char *end = NULL;
        ret->bytes[i] = (uint8_t)strtoul(pair, &end, 16);
        if (end != pair + 2)
            return false;
    }
    memcpy(&magic, ret->bytes, sizeof(magic));
    return magic == META_MAGIC;
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

static int go_back(const char *image, const meta_t *meta, weir_error_t *err)
{
    char path[PATH_BYTES];
    int rc = path_in(image, "data.mdb", path, err);
    if (rc != WEIR_OK)
        return rc;
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0 && errno == ENOENT)
        return WEIR_OK; /* the machine went down before there was anything */
    meta_t there;       /* or it is no image at all */
    bool done = file >= 0 && (lseek(file, 0, SEEK_END) == 0 ||
                              (read_meta(file, 0, &there) && put_back(file, meta)));
    if (file >= 0)
        close(file);
    return done ? WEIR_OK
                : weir_error_set(err, WEIR_CORRUPT, NULL,
                                 "the machine went down, and the commit before is not there");
}

int unsynced_check(const char *image, weir_error_t *err)
{
    char mark[MARK_BYTES], path[PATH_BYTES];
    meta_t meta;
    if (!marked_elsewhere(image, mark))
        return WEIR_OK;
    const char *word = strstr(mark, "\nlast ");
    const char *digits = word != NULL ? strchr(word + 6, ' ') : NULL;
    if (digits == NULL || !parse_meta(digits + 1, &meta) ||
        meta_txnid(&meta) != strtoull(word + 6, NULL, 10))
        return weir_error_set(err, WEIR_CORRUPT, NULL,
                              "the machine went down before the image was on the disk");
    int rc = go_back(image, &meta, err);
    if (rc == WEIR_OK && (rc = path_in(image, "unsynced", path, err)) == WEIR_OK)
        unlink(path);
    return rc;
}

static bool flush_text(int file, const char *text)
{
    size_t len = strlen(text);
    return pwrite(file, text, len, 0) == (ssize_t)len && fsync(file) == 0;
}

/* Of one length, so that it is written over in place, in one sector. Empty: the system does
 * not tell which boot this is. */
static int format_mark(const weir_image_t *image, char out[MARK_BYTES], weir_error_t *err)
{
    char now[BOOT_BYTES], digits[2 * META_BYTES + 1];
    mdb_filehandle_t file = -1;
    meta_t meta;
    out[0] = '\0';
    if (!this_boot(now))
        return WEIR_OK;
    if (!image->options.sync || image->distrusted) {
        snprintf(out, MARK_BYTES, "%s\nall  %020d %0*d\n", now, 0, 2 * META_BYTES, 0);
        return WEIR_OK;
    }
    if (mdb_env_get_fd(image->env, &file) != 0 || !read_newest(file, &meta))
        return weir_error_set(err, WEIR_IO, NULL, "cannot read the image's meta pages");
    print_meta(&meta, digits);
    snprintf(out, MARK_BYTES, "%s\nlast %020" PRIu64 " %s\n", now, meta_txnid(&meta), digits);
    return WEIR_OK;
}

/* The file of the mark, to be written; made, and its name on the disk, if it is the first time.
 * -1: errno says why. */
static int open_mark(const weir_image_t *image, char path[PATH_BYTES])
{
    int directory = open(image->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0660);
    bool there = file >= 0 && directory >= 0 && (image->marked || fsync(directory) == 0);
    int number = errno;
    if (directory >= 0)
        close(directory);
    if (!there && file >= 0)
        close(file);
    errno = number;
    return there ? file : -1;
}

/* *ret is -1 where there is nothing to write. */
static int prepare_mark(const weir_image_t *image, char text[MARK_BYTES], int *ret,
                        weir_error_t *err)
{
    char path[PATH_BYTES];
    *ret = -1;
    int rc = path_in(image->path, "unsynced", path, err);
    if (rc == WEIR_OK)
        rc = format_mark(image, text, err);
    if (rc != WEIR_OK || text[0] == '\0')
        return rc;
    *ret = open_mark(image, path);
    return *ret >= 0 ? WEIR_OK : weir_error_errno(err, errno, "cannot write %s", path);
}

static int write_mark(weir_image_t *image, weir_error_t *err)
{
    char text[MARK_BYTES];
    int file = -1;
    int rc = prepare_mark(image, text, &file, err);
    if (file < 0)
        return rc;
    bool done = flush_text(file, text);
    int number = errno;
    close(file);
    if (!done)
        return weir_error_errno(err, number, "cannot write the mark of %s", image->path);
    image->marked = true;
    return WEIR_OK;
}

bool unsynced_left(const weir_image_t *image)
{
    char path[PATH_BYTES];
    return path_in(image->path, "unsynced", path, NULL) == WEIR_OK && access(path, F_OK) == 0;
}

/* -- flushing --------------------------------------------------------------------------------
 *
 * A flush takes what the disk takes, which may be half a second; so a thread does it, and commits
 * go on meanwhile. What it flushes is held from its beginning, what the mark leads to until it
 * has ended: both are there, whenever the machine goes down. */

struct flushing {
    pthread_t thread;
    bool has_thread; /* or it was done when it began */
    atomic_bool done;
    MDB_env *env;
    MDB_txn *held; /* of what is flushed */
    uint64_t pages;
    int mark; /* open, so it stays this image's when directories change places; -1: none */
    char text[MARK_BYTES];
    /* What became of it. */
    int code, number; /* of LMDB; errno of the mark */
};

/* What is committed just now, from the next one on. */
int unsynced_hold(weir_image_t *image, weir_error_t *err)
{
    unsynced_let_go(image);
    int code = mdb_txn_begin(image->env, NULL, MDB_RDONLY, &image->held);
    image->failing |= code != 0; /* a commit would write over it */
    return code == 0 ? WEIR_OK : lmdb_error(code, err, "hold");
}

void unsynced_let_go(weir_image_t *image)
{
    mdb_txn_abort(image->held); /* NULL is fine */
    image->held = NULL;
}

static void *run(void *context)
{
    struct flushing *f = context;
    f->code = mdb_env_sync(f->env, 1);
    if (f->code == 0 && f->mark >= 0 && !flush_text(f->mark, f->text))
        f->number = errno;
    atomic_store(&f->done, true);
    return NULL;
}

static void free_flushing(struct flushing *f)
{
    mdb_txn_abort(f->held);
    if (f->mark >= 0)
        close(f->mark);
    weir_free(f);
}

static int prepare(const weir_image_t *image, struct flushing *f, weir_error_t *err)
{
    int rc = prepare_mark(image, f->text, &f->mark, err);
    int code = rc == WEIR_OK ? mdb_txn_begin(image->env, NULL, MDB_RDONLY, &f->held) : 0;
    return code == 0 ? rc : lmdb_error(code, err, "hold");
}

/* Of all that is committed; there is none on its way. On failure the mark leads where it led,
 * and that is held. */
static int begin(weir_image_t *image, weir_error_t *err)
{
    weir_assert(image->flushing == NULL);
    struct flushing *f = weir_calloc(1, sizeof(*f));
    image->failing = true; /* the image would grow without end */
    if (f == NULL)
        return weir_error_memory(err);
    f->env = image->env;
    f->pages = image->unsettled_pages;
    int rc = prepare(image, f, err);
    if (rc != WEIR_OK) {
        free_flushing(f);
        return rc;
    }
    image->failing = false;
    image->flushing = f;
    f->has_thread = pthread_create(&f->thread, NULL, run, f) == 0;
    if (!f->has_thread)
        run(f);
    return WEIR_OK;
}

/* Waits for it. What the mark led to is let go of last: it may lead there still. */
static int end(weir_image_t *image, weir_error_t *err)
{
    struct flushing *f = image->flushing;
    weir_assert(f != NULL);
    if (f->has_thread)
        pthread_join(f->thread, NULL);
    image->flushing = NULL;
    int rc = WEIR_OK;
    if (f->code != 0)
        rc = lmdb_error(f->code, err, "flush");
    else if (f->number != 0)
        rc = weir_error_errno(err, f->number, "cannot write the mark of %s", image->path);
    if (f->code != 0 && !image->distrusted) {
        /* The system may call these pages clean from now on: the next flush proves nothing. */
        image->distrusted = true;
        write_mark(image, NULL);
    }
    image->failing = rc != WEIR_OK;
    if (rc == WEIR_OK) {
        image->marked |= f->mark >= 0;
        image->unsettled_pages -= f->pages;
        unsynced_let_go(image);
        image->held = f->held;
        f->held = NULL;
    }
    free_flushing(f);
    return rc;
}

int unsynced_wait(weir_image_t *image, weir_error_t *err)
{
    return image->flushing != NULL ? end(image, err) : WEIR_OK;
}

/* All that is committed is on the disk, is what the mark leads to, and is held. */
int unsynced_settle(weir_image_t *image, weir_error_t *err)
{
    unsynced_wait(image, NULL); /* one that failed is tried again */
    if (image->unsettled_pages == 0 && !image->failing && image->marked)
        return WEIR_OK;
    int rc = begin(image, err);
    return rc == WEIR_OK ? end(image, err) : rc;
}

/* One that has ended is looked at, and another begins if more than `pages` have come together
 * since. */
static int go_on(weir_image_t *image, uint64_t pages, weir_error_t *err)
{
    struct flushing *f = image->flushing;
    bool late = f != NULL && image->unsettled_pages - f->pages > LATE_PAGES;
    int rc = f != NULL && (late || atomic_load(&f->done)) ? end(image, err) : WEIR_OK;
    if (rc == WEIR_OK && image->failing)
        return unsynced_settle(image, err);
    return rc == WEIR_OK && image->flushing == NULL && image->unsettled_pages > pages
               ? begin(image, err)
               : rc;
}

int weir_image_flush(weir_image_t *image, weir_error_t *err)
{
    return image->options.sync ? go_on(image, MUCH_PAGES, err) : WEIR_OK;
}

int unsynced_before_commit(weir_image_t *image, uint64_t rows, weir_error_t *err)
{
    int rc = WEIR_OK;
    if (image->options.sync && (!image->marked || image->failing))
        rc = unsynced_settle(image, err);
    else if (!image->marked)
        rc = write_mark(image, err);
    if (rc == WEIR_OK)
        image->unsettled_pages += COMMIT_PAGES + rows * ROW_PAGES;
    return rc;
}

int weir_image_settle(weir_image_t *image, weir_error_t *err)
{
    if (image->unsettled_pages == 0 && !image->failing) {
        cool_if_much(image); /* nothing was written for a while */
        return WEIR_OK;
    }
    return image->options.sync ? go_on(image, 0, err) : weir_image_sync(image, err);
}

int weir_image_sync(weir_image_t *image, weir_error_t *err)
{
    char path[PATH_BYTES];
    unsynced_wait(image, NULL); /* what became of it says nothing of this one */
    int code = mdb_env_sync(image->env, 1);
    if (code != 0)
        return lmdb_error(code, err, "flush");
    image->unsettled_pages = 0;
    /* One that stays costs the last commits, or a full synchronisation, after the machine's
     * next death. */
    if (!image->distrusted && path_in(image->path, "unsynced", path, NULL) == WEIR_OK &&
        (unlink(path) == 0 || errno == ENOENT)) {
        image->marked = false;
        unsynced_let_go(image);
    }
    return WEIR_OK;
}
