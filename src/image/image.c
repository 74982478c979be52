/* image.c -- opening the environment, its state, growth and upkeep. */
#include "image/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static const char *const database_names[DATABASES] = {
    "state", "documents", "records",    "router",     "buckets", "ranks", "names",
    "plans", "links",     "dependents", "quarantine", "expiry",  "sums",  "told",
};

int lmdb_error(int code, weir_error_t *err, const char *what)
{
    int weir = WEIR_IO;
    if (code == MDB_NOTFOUND)
        return WEIR_NOT_FOUND;
    if (code == ENOSPC || code == EDQUOT || code == EFBIG || code == MDB_MAP_FULL)
        weir = WEIR_FULL;
    else if (code == ENOMEM)
        weir = WEIR_NO_MEMORY;
    else if (code == MDB_CORRUPTED || code == MDB_INVALID || code == MDB_PAGE_NOTFOUND ||
             code == MDB_PANIC)
        weir = WEIR_CORRUPT;
    else if (code == MDB_VERSION_MISMATCH)
        weir = WEIR_UNSUPPORTED;
    /* "map": weir_image_grow() helps; any other WEIR_FULL is the disk's. */
    return weir_error_set(err, weir, code == MDB_MAP_FULL ? "map" : NULL, "image: %s: %s", what,
                          mdb_strerror(code));
}

int each_record(MDB_txn *txn, MDB_dbi dbi, const char *what,
                int (*each)(void *context, MDB_val key, MDB_val value, weir_error_t *err),
                void *context, weir_error_t *err)
{
    MDB_cursor *cursor = NULL;
    int code = mdb_cursor_open(txn, dbi, &cursor);
    if (code != 0)
        return lmdb_error(code, err, what);
    MDB_val key;
    MDB_val value;
    int rc = WEIR_OK;
    while (rc == WEIR_OK && (code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
        rc = each(context, key, value, err);
    mdb_cursor_close(cursor);
    return code == 0 || code == MDB_NOTFOUND ? rc : lmdb_error(code, err, what);
}

int open_databases(MDB_env *env, MDB_txn *txn, unsigned flags, MDB_dbi dbi[DATABASES],
                   weir_error_t *err)
{
    (void)env;
    for (size_t i = 0; i < DATABASES; i++) {
        unsigned own = i == DB_ROUTER || i == DB_BUCKETS ? MDB_DUPSORT | MDB_DUPFIXED
                       : i == DB_NAMES                   ? MDB_DUPSORT
                                                         : 0;
        int code = mdb_dbi_open(txn, database_names[i], flags | own, &dbi[i]);
        if (code != 0)
            return lmdb_error(code, err, database_names[i]);
    }
    return WEIR_OK;
}

static int make_directory(const char *path, weir_error_t *err)
{
    mode_t before = umask(0);
    int rc = mkdir(path, 0770);
    int number = errno;
    umask(before);
    if (rc != 0 && number != EEXIST)
        return weir_error_errno(err, number, "cannot make the image directory %s", path);
    return WEIR_OK;
}

int load_state(const weir_image_t *image, MDB_txn *txn, state_t *ret, weir_error_t *err)
{
    MDB_val key = val("state", 5);
    MDB_val value;
    int code = mdb_get(txn, image->dbi[DB_STATE], &key, &value);
    if (code != 0)
        return lmdb_error(code, err, "state");
    uint32_t format = 0;
    if (value.mv_size >= sizeof(format))
        memcpy(&format, value.mv_data, sizeof(format));
    if (format != FORMAT_DOCUMENTS)
        return weir_error_set(err, WEIR_UNSUPPORTED, NULL,
                              "the image has format %u, this version reads format %d", format,
                              FORMAT_DOCUMENTS);
    if (value.mv_size != sizeof(*ret))
        return weir_error_set(err, WEIR_CORRUPT, NULL, "the image's state has %zu bytes, not %zu",
                              value.mv_size, sizeof(*ret));
    memcpy(ret, value.mv_data, sizeof(*ret));
    if (ret->format_records > FORMAT_RECORDS)
        return weir_error_set(err, WEIR_UNSUPPORTED, NULL,
                              "the image has records of format %u, this version reads up to %d",
                              ret->format_records, FORMAT_RECORDS);
    return WEIR_OK;
}

int load_note(const weir_image_t *image, MDB_txn *txn, const char *name, void *ret, size_t bytes,
              weir_error_t *err)
{
    MDB_val key = val(name, strlen(name));
    MDB_val value;
    int code = mdb_get(txn, image->dbi[DB_STATE], &key, &value);
    if (code != 0)
        return lmdb_error(code, err, name);
    if (value.mv_size != bytes)
        return weir_error_set(err, WEIR_CORRUPT, NULL, "the image's %s has %zu bytes, not %zu",
                              name, value.mv_size, bytes);
    memcpy(ret, value.mv_data, bytes);
    return WEIR_OK;
}

int store_note(const weir_image_t *image, MDB_txn *txn, const char *name, const void *data,
               size_t bytes, weir_error_t *err)
{
    MDB_val key = val(name, strlen(name));
    MDB_val value = val(data, bytes);
    int code = mdb_put(txn, image->dbi[DB_STATE], &key, &value, 0);
    return code == 0 ? WEIR_OK : lmdb_error(code, err, name);
}

/* Milliseconds in the upper bits, what is left of them below: later images have larger
 * ones, and no image commits as often as this counts. */
uint64_t new_generation(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    return ms << 20 | (uint64_t)now.tv_nsec % 1000000;
}

/* The first state of a new environment. */
static int first_state(const weir_image_t *image, MDB_txn *txn, const birth_t *birth, state_t *ret,
                       weir_error_t *err)
{
    *ret = (state_t){ .format_documents = FORMAT_DOCUMENTS,
                      .format_records = FORMAT_RECORDS,
                      .generation = birth != NULL ? birth->generation : new_generation(),
                      .documented_order = image->options.documented_order,
                      .build = build_number(&image->options) };
    int rc = store_note(image, txn, "state", ret, sizeof(*ret), err);
    if (rc == WEIR_OK && birth != NULL)
        rc = store_note(image, txn, NOTE_STAGE, &birth->stage, sizeof(birth->stage), err);
    return rc;
}

static int open_environment(weir_image_t *image, weir_error_t *err)
{
    int code = mdb_env_create(&image->env);
    if (code == 0)
        code = mdb_env_set_maxdbs(image->env, DATABASES + 2);
    if (code == 0)
        code = mdb_env_set_maxreaders(image->env, image->options.readers_max);
    if (code == 0)
        code = mdb_env_set_mapsize(image->env, image->map_bytes); /* 0: what it has */
    /* No MDB_WRITEMAP: on a full disk it ends in SIGBUS (engine notes 4). Flushing is
     * unsynced.c's. */
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD;
    flags |= image->options.look_only ? MDB_RDONLY : MDB_NOSYNC;
    mode_t before = umask(0);
    if (code == 0)
        code = mdb_env_open(image->env, image->path, flags, 0660);
    umask(before);
    return code == 0 ? WEIR_OK : lmdb_error(code, err, image->path);
}

bool in_place(MDB_env *env, const char *path)
{
    char file[4096];
    mdb_filehandle_t open_file = -1;
    struct stat opened;
    struct stat there;
    return snprintf(file, sizeof(file), "%s/data.mdb", path) < (int)sizeof(file) &&
           mdb_env_get_fd(env, &open_file) == 0 && fstat(open_file, &opened) == 0 &&
           stat(file, &there) == 0 && opened.st_dev == there.st_dev &&
           opened.st_ino == there.st_ino;
}

/* An image that serves is no stage: what says so is left of a switch. */
static int forget_stage(const weir_image_t *image, MDB_txn *txn, weir_error_t *err)
{
    MDB_val key = val(NOTE_STAGE, strlen(NOTE_STAGE));
    int code = mdb_del(txn, image->dbi[DB_STATE], &key, NULL);
    return code == 0 || code == MDB_NOTFOUND ? WEIR_OK : lmdb_error(code, err, "stage");
}

static int open_contents(weir_image_t *image, const birth_t *birth, state_t *ret, weir_error_t *err)
{
    MDB_txn *txn = NULL;
    int code = mdb_txn_begin(image->env, NULL, 0, &txn);
    if (code != 0)
        return lmdb_error(code, err, "begin");
    int rc = open_databases(image->env, txn, MDB_CREATE, image->dbi, err);
    if (rc == WEIR_OK)
        rc = load_state(image, txn, ret, err);
    if (rc == WEIR_NOT_FOUND)
        rc = first_state(image, txn, birth, ret, err);
    else if (rc == WEIR_OK && birth == NULL)
        rc = forget_stage(image, txn, err);
    if (rc == WEIR_OK)
        rc = sums_open(image, txn, err);
    if (rc == WEIR_OK && image->options.sync)
        rc = unsynced_before_commit(image, 0, err);
    if (rc != WEIR_OK) {
        mdb_txn_abort(txn);
        return rc;
    }
    code = mdb_txn_commit(txn);
    return code == 0 ? WEIR_OK : lmdb_error(code, err, "first commit");
}

int open_image(const weir_image_options_t *options, const birth_t *birth, weir_image_t **ret,
               weir_error_t *err)
{
    weir_image_t *image = weir_calloc(1, sizeof(*image));
    if (image == NULL)
        return weir_error_memory(err);
    image->options = *options;
    image->map_bytes = options->map_bytes;
    image->options.path = NULL; /* ours is `path` */
    image->path = weir_strdup(weir_str(options->path));
    state_t state = { 0 };
    int rc = image->path != NULL ? make_directory(options->path, err) : weir_error_memory(err);
    if (rc == WEIR_OK)
        rc = unsynced_check(image->path, err);
    if (rc == WEIR_OK)
        rc = open_environment(image, err);
    if (rc == WEIR_OK && (options->sync || unsynced_left(image)))
        rc = weir_image_sync(image, err); /* what a process left that died */
    if (rc == WEIR_OK)
        rc = open_contents(image, birth, &state, err);
    if (rc == WEIR_OK && (state.format_records != FORMAT_RECORDS ||
                          state.documented_order != options->documented_order))
        rc = weir_image_recompile(image, err);
    if (rc == WEIR_OK && options->build != NULL && state.build != build_number(options))
        rc = weir_image_retry(image, err);
    if (rc != WEIR_OK) {
        weir_image_close(image);
        return rc;
    }
    *ret = image;
    return WEIR_OK;
}

static int look_at_contents(weir_image_t *image, weir_error_t *err)
{
    MDB_txn *txn = NULL;
    state_t state = { 0 };
    int code = mdb_txn_begin(image->env, NULL, MDB_RDONLY, &txn);
    if (code != 0)
        return lmdb_error(code, err, "begin");
    int rc = open_databases(image->env, txn, 0, image->dbi, err);
    if (rc == WEIR_OK)
        rc = load_state(image, txn, &state, err);
    if (rc == WEIR_OK && (state.format_records != FORMAT_RECORDS ||
                          state.documented_order != image->options.documented_order))
        rc = weir_error_set(err, WEIR_UNSUPPORTED, NULL,
                            "the image's records are of another version or order");
    if (rc == WEIR_OK)
        rc = sums_open(image, txn, err);
    code = mdb_txn_commit(txn); /* keeps the handles */
    return rc != WEIR_OK || code == 0 ? rc : lmdb_error(code, err, "look");
}

static int open_to_look(const weir_image_options_t *options, weir_image_t **ret, weir_error_t *err)
{
    char file[4096];
    if (snprintf(file, sizeof(file), "%s/data.mdb", options->path) >= (int)sizeof(file) ||
        access(file, F_OK) != 0)
        return WEIR_NOT_FOUND;
    if (unsynced_elsewhere(options->path))
        return weir_error_set(err, WEIR_CORRUPT, NULL,
                              "the machine went down, and the agent has not put it right yet");
    weir_image_t *image = weir_calloc(1, sizeof(*image));
    if (image == NULL)
        return weir_error_memory(err);
    image->options = *options;
    image->options.path = NULL;
    image->path = weir_strdup(weir_str(options->path));
    int rc = image->path != NULL ? open_environment(image, err) : weir_error_memory(err);
    if (rc == WEIR_OK && !in_place(image->env, image->path))
        rc = weir_error_set(err, WEIR_AGAIN, NULL, "another image took its place just now");
    if (rc == WEIR_OK)
        rc = look_at_contents(image, err);
    if (rc == WEIR_OK)
        *ret = image;
    else
        weir_image_close(image);
    return rc;
}

/* Beside a switch: the image that took the place. */
static int look(const weir_image_options_t *options, weir_image_t **ret, weir_error_t *err)
{
    enum { LOOKS_MAX = 3 };
    int rc = WEIR_AGAIN;
    for (int looks = 0; rc == WEIR_AGAIN && looks < LOOKS_MAX; looks++)
        rc = open_to_look(options, ret, err);
    return rc;
}

int weir_image_open(const weir_image_options_t *options, weir_image_t **ret, weir_error_t *err)
{
    if (options->look_only)
        return look(options, ret, err);
    int rc = recover_switch(options->path, err);
    return rc == WEIR_OK ? open_image(options, NULL, ret, err) : rc;
}

void weir_image_close(weir_image_t *image)
{
    if (image == NULL)
        return;
    unsynced_wait(image, NULL);
    unsynced_let_go(image);
    if (image->env != NULL)
        mdb_env_close(image->env);
    sums_close(image);
    weir_buffer_release(&image->news);
    weir_free(image->path);
    weir_free(image);
}

int weir_image_set_aside(const char *path, int64_t now_ms, char *ret_name, size_t name_bytes,
                         weir_error_t *err)
{
    time_t seconds = (time_t)(now_ms / 1000);
    struct tm calendar;
    char stamp[32];
    gmtime_r(&seconds, &calendar);
    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &calendar);
    for (int n = 0; n < 100; n++) {
        snprintf(ret_name, name_bytes, n == 0 ? "%s.aside-%s" : "%s.aside-%s-%d", path, stamp, n);
        if (access(ret_name, F_OK) == 0)
            continue;
        if (rename(path, ret_name) == 0)
            return WEIR_OK;
        break;
    }
    return weir_error_errno(err, errno, "cannot set the image %s aside", path);
}

int weir_image_clear_stale(weir_image_t *image, size_t *ret_count, weir_error_t *err)
{
    int dead = 0;
    int code = mdb_reader_check(image->env, &dead);
    *ret_count = (size_t)dead;
    return code == 0 ? WEIR_OK : lmdb_error(code, err, "reader check");
}

void state_public(const state_t *state, MDB_env *env, weir_image_state_t *ret)
{
    MDB_envinfo info = { 0 };
    MDB_stat stat = { 0 };
    *ret = (weir_image_state_t){ .version = state->version,
                                 .complete = state->complete != 0,
                                 .quarantined = state->quarantined,
                                 .quarantine_stamp = state->generation + state->quarantine_changed,
                                 .entities = state->entities,
                                 .commits = state->commits,
                                 .committed_ms = state->committed_ms,
                                 .default_workspace = state->workspace,
                                 .has_digest = state->has_digest != 0,
                                 .digest = state->digest };
    if (mdb_env_info(env, &info) == 0 && mdb_env_stat(env, &stat) == 0) {
        ret->bytes_used = (uint64_t)(info.me_last_pgno + 1) * stat.ms_psize;
        ret->map_bytes = info.me_mapsize;
    }
}

int weir_image_state(weir_image_t *image, weir_image_state_t *ret, weir_error_t *err)
{
    MDB_txn *txn = NULL;
    int code = mdb_txn_begin(image->env, NULL, MDB_RDONLY, &txn);
    if (code != 0)
        return lmdb_error(code, err, "begin");
    state_t state = { 0 };
    int rc = load_state(image, txn, &state, err);
    if (rc == WEIR_OK)
        state_public(&state, image->env, ret);
    mdb_txn_abort(txn);
    return rc;
}
