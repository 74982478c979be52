/* stage.c -- a second image beside the one that serves, filled in as many batches as it
 * takes, and the switch to it.
 *
 * The switch: the stage is complete and on the disk; then the two directories change
 * places in one step; then the old image is told that it is superseded. A reader that
 * sees that in the state, which it reads anyway, finds the next one in place. Where the
 * file system cannot exchange, the old one goes to PATH.superseded first; a crash just
 * then is put right when the image is opened. */
#include "image/batch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PATH_BYTES = 4096 };

bool image_test_without_exchange;

static int path_beside(const char *path, const char *suffix, char out[PATH_BYTES],
                       weir_error_t *err)
{
    if (snprintf(out, PATH_BYTES, "%s%s", path, suffix) >= PATH_BYTES)
        return weir_error_set(err, WEIR_INVALID, "path", "longer than %d bytes", PATH_BYTES);
    return WEIR_OK;
}

/* An image's directory is flat. One that is not there is fine. */
static int remove_image(const char *path, weir_error_t *err)
{
    DIR *directory = opendir(path);
    if (directory == NULL)
        return errno == ENOENT ? WEIR_OK : weir_error_errno(err, errno, "cannot open %s", path);
    for (const struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            unlinkat(dirfd(directory), entry->d_name, 0);
    closedir(directory);
    return rmdir(path) == 0 ? WEIR_OK : weir_error_errno(err, errno, "cannot remove %s", path);
}

/* -- opening --------------------------------------------------------------------------------- */

/* Later than anything that `live` has written, or writes while the stage fills: also if
 * the clock went back. */
static int stage_generation(const weir_image_t *live, MDB_txn *txn, uint64_t *ret,
                            weir_error_t *err)
{
    state_t state;
    int rc = load_state(live, txn, &state, err);
    if (rc != WEIR_OK)
        return rc;
    uint64_t after = state.generation + state.commits + (UINT64_C(1) << 32);
    uint64_t now = new_generation();
    *ret = now > state.generation + state.commits ? now : after;
    return WEIR_OK;
}

static int make_birth(const weir_image_t *live, uint64_t snapshot, birth_t *ret, weir_error_t *err)
{
    MDB_txn *txn = NULL;
    *ret = (birth_t){ .stage = { .snapshot = snapshot } };
    int code = mdb_txn_begin(live->env, NULL, MDB_RDONLY, &txn);
    if (code != 0)
        return lmdb_error(code, err, "begin");
    int rc = stage_generation(live, txn, &ret->generation, err);
    mdb_txn_abort(txn);
    return rc;
}

int weir_image_stage(weir_image_t *stage, weir_stage_t *ret, weir_error_t *err)
{
    MDB_txn *txn = NULL;
    int code = mdb_txn_begin(stage->env, NULL, MDB_RDONLY, &txn);
    if (code != 0)
        return lmdb_error(code, err, "begin");
    int rc = load_note(stage, txn, NOTE_STAGE, ret, sizeof(*ret), err);
    mdb_txn_abort(txn);
    ret->cursor[WEIR_STAGE_CURSOR_MAX - 1] = '\0';
    return rc;
}

void weir_batch_stage(weir_batch_t *batch, const weir_stage_t *now)
{
    batch->stage = *now;
    batch->has_stage = true;
}

/* What is there, if it is a stage of `snapshot` (0: of any). */
static int open_stored(const weir_image_options_t *options, const birth_t *birth, uint64_t snapshot,
                       weir_image_t **ret, weir_error_t *err)
{
    weir_stage_t stage = { 0 };
    weir_image_t *image = NULL;
    if (access(options->path, F_OK) != 0)
        return WEIR_NOT_FOUND;
    int rc = open_image(options, birth, &image, err);
    if (rc != WEIR_OK)
        return rc == WEIR_CORRUPT || rc == WEIR_UNSUPPORTED ? WEIR_NOT_FOUND : rc;
    rc = weir_image_stage(image, &stage, err);
    if (rc == WEIR_OK && stage.snapshot != 0 && (snapshot == 0 || stage.snapshot == snapshot)) {
        *ret = image;
        return WEIR_OK;
    }
    weir_image_close(image);
    return rc == WEIR_OK || rc == WEIR_CORRUPT ? WEIR_NOT_FOUND : rc;
}

int weir_image_stage_open(weir_image_t *live, uint64_t snapshot, weir_image_t **ret,
                          weir_error_t *err)
{
    birth_t birth;
    char path[PATH_BYTES];
    weir_image_t *stage = NULL;
    weir_image_options_t options = live->options;
    options.path = path;
    options.map_bytes = live->map_bytes;
    options.sync = false; /* once, before the switch */
    int rc = path_beside(live->path, ".stage", path, err);
    if (rc == WEIR_OK)
        rc = make_birth(live, snapshot, &birth, err);
    if (rc == WEIR_OK)
        rc = open_stored(&options, &birth, snapshot, &stage, err);
    if (rc == WEIR_NOT_FOUND) {
        int removed = remove_image(path, err);
        if (removed != WEIR_OK || snapshot == 0)
            return removed != WEIR_OK ? removed : WEIR_NOT_FOUND;
        rc = open_image(&options, &birth, &stage, err);
    }
    if (rc == WEIR_OK && live->digester != NULL)
        rc = weir_image_set_digest_key(stage, &live->key, err);
    if (rc != WEIR_OK) {
        weir_image_close(stage);
        return rc;
    }
    stage->filling = true;
    *ret = stage;
    return WEIR_OK;
}

void weir_image_stage_discard(weir_image_t *stage)
{
    if (stage == NULL)
        return;
    char *path = stage->path;
    stage->path = NULL;
    weir_image_close(stage);
    remove_image(path, NULL); /* what stays is thrown away when the next one is opened */
    weir_free(path);
}

/* -- the switch -------------------------------------------------------------------------------- */

static int exchange_in_steps(const char *stage, const char *live, weir_error_t *err)
{
    char aside[PATH_BYTES];
    int rc = path_beside(live, ".superseded", aside, err);
    if (rc == WEIR_OK)
        rc = remove_image(aside, err);
    if (rc != WEIR_OK)
        return rc;
    if (rename(live, aside) != 0)
        return weir_error_errno(err, errno, "cannot rename %s", live);
    if (rename(stage, live) != 0) {
        int number = errno;
        if (rename(aside, live) != 0)
            number = errno;
        return weir_error_errno(err, number, "cannot rename %s", stage);
    }
    rename(aside, stage); /* where it does not help, the next opening removes it */
    return WEIR_OK;
}

static int exchange(const char *stage, const char *live, weir_error_t *err)
{
    if (!image_test_without_exchange) {
        if (renameat2(AT_FDCWD, stage, AT_FDCWD, live, RENAME_EXCHANGE) == 0)
            return WEIR_OK;
        if (errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP)
            return weir_error_errno(err, errno, "cannot exchange %s and %s", stage, live);
    }
    return exchange_in_steps(stage, live, err);
}

int recover_switch(const char *path, weir_error_t *err)
{
    char aside[PATH_BYTES];
    int rc = path_beside(path, ".superseded", aside, err);
    if (rc != WEIR_OK || access(aside, F_OK) != 0)
        return rc;
    if (access(path, F_OK) == 0)
        return remove_image(aside, err); /* the switch was done */
    if (rename(aside, path) != 0)
        return weir_error_errno(err, errno, "cannot rename %s", aside);
    return WEIR_OK; /* the stage is there still, for the next attempt */
}

/* Changes the state, and nothing else, in a transaction of its own. */
static int change_state(weir_image_t *image, void (*change)(weir_batch_t *batch), weir_error_t *err)
{
    weir_batch_t *batch = NULL;
    int rc = weir_batch_begin(image, false, 0, &batch, err);
    if (rc != WEIR_OK)
        return rc;
    batch->version = batch->state.version;
    change(batch);
    return batch_finish(batch, 0, batch->state.committed_ms, err);
}

static void make_complete(weir_batch_t *batch)
{
    batch->state.complete = 1;
}

static void make_superseded(weir_batch_t *batch)
{
    batch->state.superseded = 1;
}

static void make_no_stage(weir_batch_t *batch)
{
    MDB_val key = val(NOTE_STAGE, strlen(NOTE_STAGE));
    mdb_del(batch->txn, batch->image->dbi[DB_STATE], &key, NULL);
}

static void sync_parent(const char *path)
{
    char copy[PATH_BYTES];
    snprintf(copy, sizeof(copy), "%s", path);
    int directory = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0)
        return;
    fsync(directory);
    close(directory);
}

int weir_image_switch(weir_image_t **live, weir_image_t *stage, weir_error_t *err)
{
    weir_image_t *old = *live;
    int rc = change_state(stage, make_complete, err);
    if (rc == WEIR_OK)
        rc = weir_image_sync(stage, err);
    if (rc == WEIR_OK)
        rc = exchange(stage->path, old->path, err);
    if (rc != WEIR_OK)
        return rc;
    char *path = stage->path;
    stage->path = old->path;
    old->path = path;
    sync_parent(stage->path);
    /* From here on all is done. A mark that fails costs readers up to a second. */
    if (change_state(old, make_superseded, NULL) == WEIR_OK)
        change_state(stage, make_no_stage, NULL);
    if (old->options.sync) {
        weir_image_sync(stage, NULL);
        stage->options.sync = true;
    }
    stage->filling = false;
    *live = stage;
    weir_image_stage_discard(old);
    return WEIR_OK;
}

/* -- memory ----------------------------------------------------------------------------------- */

/* Each page that is touched brings up to 15 neighbours with it, and of an image much larger
 * than this most are never looked at again. */
enum { COOL_ABOVE_BYTES = 40 * 1024 * 1024, COOL_EVERY = 64 };

/* Where the map is: LMDB does not say. `inside` is an address in it. */
static bool find_map(const void *inside, void **ret, size_t *ret_bytes)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[PATH_BYTES + 256];
    uintptr_t begin = 0;
    uintptr_t end = 0;
    bool found = false;
    while (maps != NULL && !found && fgets(line, sizeof(line), maps) != NULL) {
        char *rest = NULL;
        begin = strtoull(line, &rest, 16);
        end = *rest == '-' ? strtoull(rest + 1, NULL, 16) : 0;
        found = begin <= (uintptr_t)inside && (uintptr_t)inside < end;
    }
    if (maps != NULL)
        fclose(maps);
    *ret = (void *)begin;
    *ret_bytes = end - begin;
    return found;
}

static void look_for_map(weir_image_t *image)
{
    MDB_txn *txn = NULL;
    MDB_val key = val("state", 5);
    MDB_val value;
    if (mdb_txn_begin(image->env, NULL, MDB_RDONLY, &txn) != 0)
        return;
    if (mdb_get(txn, image->dbi[DB_STATE], &key, &value) != 0 ||
        !find_map(value.mv_data, &image->map, &image->map_length))
        image->map = NULL;
    mdb_txn_abort(txn);
}

/* The pages stay in the system's cache; only our claim on them ends. So this does no
 * harm within a transaction either. */
void cool(weir_image_t *image)
{
    if (image->map == NULL)
        look_for_map(image);
    if (image->map != NULL)
        madvise(image->map, image->map_length, MADV_DONTNEED);
}

/* Pages of files that this process has mapped just now; UINT64_MAX: cannot be read. */
static uint64_t mapped_pages(void)
{
    char text[128]; /* "SIZE RESIDENT SHARED ..." */
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof(text) - 1) : 0;
    if (fd >= 0)
        close(fd);
    text[len > 0 ? len : 0] = '\0';
    const char *at = strchr(text, ' ');
    at = at != NULL ? strchr(at + 1, ' ') : NULL;
    return at != NULL ? strtoull(at, NULL, 10) : UINT64_MAX;
}

void cool_if_much(weir_image_t *image)
{
    if (mapped_pages() > COOL_ABOVE_BYTES / (uint64_t)getpagesize())
        cool(image);
}

void cool_sometimes(weir_image_t *image, uint64_t count)
{
    if (count % COOL_EVERY == 0)
        cool_if_much(image);
}
