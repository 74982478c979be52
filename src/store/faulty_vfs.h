/* faulty_vfs.h -- a file layer for tests: the default one of SQLite, in which
 * the n-th write or sync fails, and which knows whether the log of pages has
 * bytes that were not synced, and how often it was written. Included by fault_test.c and
 * wal_file_test.c only. */
#ifndef WEIR_STORE_FAULTY_VFS_H
#define WEIR_STORE_FAULTY_VFS_H

#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

typedef struct faulty_file {
    sqlite3_file base;
    bool is_log;
    sqlite3_file *real; /* behind this struct */
} faulty_file_t;

static struct {
    sqlite3_vfs vfs;
    sqlite3_vfs *real;
    sqlite3_io_methods methods;
    atomic_int countdown; /* the call that brings it to 0 fails, and all after it */
    atomic_int failures;  /* calls that failed */
    atomic_int code;      /* what failing calls return */
    atomic_bool log_dirty;
    atomic_bool pads; /* a write may damage what is beside it, so SQLite pads its commits */
    atomic_int log_syncs, log_writes;
} faulty;

static sqlite3_file *faulty_real(sqlite3_file *file)
{
    return ((faulty_file_t *)file)->real;
}

static bool faulty_fails(void)
{
    if (faulty.countdown == 0)
        return false;
    if (faulty.countdown > 1) {
        faulty.countdown--;
        return false;
    }
    faulty.failures++;
    return true;
}

static int faulty_close(sqlite3_file *file)
{
    return faulty_real(file)->pMethods->xClose(faulty_real(file));
}

static int faulty_read(sqlite3_file *file, void *to, int bytes, sqlite3_int64 at)
{
    return faulty_real(file)->pMethods->xRead(faulty_real(file), to, bytes, at);
}

static int faulty_write(sqlite3_file *file, const void *from, int bytes, sqlite3_int64 at)
{
    if (faulty_fails())
        return faulty.code;
    if (((faulty_file_t *)file)->is_log) {
        faulty.log_dirty = true;
        faulty.log_writes++;
    }
    return faulty_real(file)->pMethods->xWrite(faulty_real(file), from, bytes, at);
}

static int faulty_truncate(sqlite3_file *file, sqlite3_int64 bytes)
{
    return faulty_real(file)->pMethods->xTruncate(faulty_real(file), bytes);
}

static int faulty_sync(sqlite3_file *file, int flags)
{
    if (faulty_fails())
        return faulty.code;
    if (((faulty_file_t *)file)->is_log) {
        faulty.log_dirty = false;
        faulty.log_syncs++;
    }
    return faulty_real(file)->pMethods->xSync(faulty_real(file), flags);
}

static int faulty_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    return faulty_real(file)->pMethods->xFileSize(faulty_real(file), ret);
}

static int faulty_lock(sqlite3_file *file, int level)
{
    return faulty_real(file)->pMethods->xLock(faulty_real(file), level);
}

static int faulty_unlock(sqlite3_file *file, int level)
{
    return faulty_real(file)->pMethods->xUnlock(faulty_real(file), level);
}

static int faulty_reserved(sqlite3_file *file, int *ret)
{
    return faulty_real(file)->pMethods->xCheckReservedLock(faulty_real(file), ret);
}

static int faulty_control(sqlite3_file *file, int op, void *argument)
{
    return faulty_real(file)->pMethods->xFileControl(faulty_real(file), op, argument);
}

static int faulty_sector(sqlite3_file *file)
{
    return faulty_real(file)->pMethods->xSectorSize(faulty_real(file));
}

static int faulty_characteristics(sqlite3_file *file)
{
    int real = faulty_real(file)->pMethods->xDeviceCharacteristics(faulty_real(file));
    return faulty.pads ? real & ~SQLITE_IOCAP_POWERSAFE_OVERWRITE : real;
}

static int faulty_shm_map(sqlite3_file *file, int page, int bytes, int extend, void volatile **ret)
{
    return faulty_real(file)->pMethods->xShmMap(faulty_real(file), page, bytes, extend, ret);
}

static int faulty_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
    return faulty_real(file)->pMethods->xShmLock(faulty_real(file), offset, count, flags);
}

static void faulty_shm_barrier(sqlite3_file *file)
{
    faulty_real(file)->pMethods->xShmBarrier(faulty_real(file));
}

static int faulty_shm_unmap(sqlite3_file *file, int remove)
{
    return faulty_real(file)->pMethods->xShmUnmap(faulty_real(file), remove);
}

static int faulty_fetch(sqlite3_file *file, sqlite3_int64 at, int bytes, void **ret)
{
    return faulty_real(file)->pMethods->xFetch(faulty_real(file), at, bytes, ret);
}

static int faulty_unfetch(sqlite3_file *file, sqlite3_int64 at, void *page)
{
    return faulty_real(file)->pMethods->xUnfetch(faulty_real(file), at, page);
}

static int faulty_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret)
{
    (void)vfs;
    faulty_file_t *own = (faulty_file_t *)file;
    own->real = (sqlite3_file *)(own + 1);
    own->is_log = (flags & SQLITE_OPEN_WAL) != 0;
    int code = faulty.real->xOpen(faulty.real, name, own->real, flags, ret);
    own->base.pMethods = own->real->pMethods != NULL ? &faulty.methods : NULL;
    return code;
}

/* Becomes the default of this process. */
static void faulty_install(void)
{
    faulty.real = sqlite3_vfs_find(NULL);
    faulty.vfs = *faulty.real;
    faulty.vfs.zName = "faulty";
    faulty.vfs.szOsFile += (int)sizeof(faulty_file_t);
    faulty.vfs.xOpen = faulty_open;
    faulty.methods = (sqlite3_io_methods){
        .iVersion = 3,
        .xClose = faulty_close,
        .xRead = faulty_read,
        .xWrite = faulty_write,
        .xTruncate = faulty_truncate,
        .xSync = faulty_sync,
        .xFileSize = faulty_size,
        .xLock = faulty_lock,
        .xUnlock = faulty_unlock,
        .xCheckReservedLock = faulty_reserved,
        .xFileControl = faulty_control,
        .xSectorSize = faulty_sector,
        .xDeviceCharacteristics = faulty_characteristics,
        .xShmMap = faulty_shm_map,
        .xShmLock = faulty_shm_lock,
        .xShmBarrier = faulty_shm_barrier,
        .xShmUnmap = faulty_shm_unmap,
        .xFetch = faulty_fetch,
        .xUnfetch = faulty_unfetch,
    };
    sqlite3_vfs_register(&faulty.vfs, 1);
}

#endif
