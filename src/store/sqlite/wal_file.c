/* wal_file.c -- a file layer over the system's, which gathers what SQLite writes to its log.
 *
 * SQLite writes each page of a transaction into its write-ahead log with two calls, 24 bytes and
 * 4,096, which follow on each other in the file: ten calls for a lone write, a hundred for
 * a group. Here they are put together and written with one, before anybody could miss them:
 * when the log is synced, which every commit does (synchronous=FULL), read, measured or
 * cut. Other connections read the log only as far as its index says, and that SQLite
 * writes after the sync; so nothing is gathered where the system asks for padding, of which some is
 * written later (no SQLITE_IOCAP_POWERSAFE_OVERWRITE).
 *
 * Pages of a transaction that is rolled back must not be written: whoever gets the lock next, in
 * another process too, writes to the same place. So a rollback drops them, and so does the end
 * of the connection.
 *
 * A write may fail as late as at the sync, or when something is read, with its own code. What was
 * gathered is lost then, and from there on no write and no sync succeeds until the rollback.
 *
 * All other files are the system's own. */
#include "store/sqlite/internal.h"

/* Some fifteen pages; allocated when first written. SQLite's file layer for Unix takes a write
 * of 128 KiB for one of nothing, and says that the disk is full. */
enum { GATHERED_BYTES = 64 * 1024 };

typedef struct wal_file {
    sqlite3_file base;
    char *gathered;
    size_t len;          /* bytes gathered */
    sqlite3_int64 at;    /* where they belong */
    int failed;          /* the code of a write of what was gathered; until the rollback */
    bool writes_through; /* nothing is gathered */
    sqlite3_file *real;  /* behind this struct */
} wal_file_t;

static sqlite3_vfs *system_files;
static sqlite3_vfs with_wal;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int registered;

static wal_file_t *wal_of(sqlite3_file *file)
{
    return (wal_file_t *)file;
}

static const sqlite3_io_methods *methods_of(sqlite3_file *file)
{
    return wal_of(file)->real->pMethods;
}

static int flush(wal_file_t *wal)
{
    int len = (int)wal->len;
    wal->len = 0;
    if (len == 0)
        return SQLITE_OK;
    int code = wal->real->pMethods->xWrite(wal->real, wal->gathered, len, wal->at);
    if (code != SQLITE_OK)
        wal->failed = code;
    return code;
}

/* Whether the file can take what follows at `at` along; at first, room is made. */
static bool can_gather(wal_file_t *wal, size_t len)
{
    if (wal->writes_through || len > GATHERED_BYTES)
        return false;
    if (wal->gathered == NULL)
        wal->gathered = weir_malloc(GATHERED_BYTES);
    return wal->gathered != NULL;
}

static int write_some(sqlite3_file *file, const void *from, int bytes, sqlite3_int64 at)
{
    wal_file_t *wal = wal_of(file);
    size_t len = (size_t)bytes;
    bool follows = at == wal->at + (sqlite3_int64)wal->len && len <= GATHERED_BYTES - wal->len;
    int code = wal->failed;
    if (code == SQLITE_OK && !follows)
        code = flush(wal);
    if (code != SQLITE_OK)
        return code;
    if (!can_gather(wal, len))
        return methods_of(file)->xWrite(wal->real, from, bytes, at);
    if (wal->len == 0)
        wal->at = at;
    memcpy(wal->gathered + wal->len, from, len);
    wal->len += len;
    return SQLITE_OK;
}

static int read_some(sqlite3_file *file, void *to, int bytes, sqlite3_int64 at)
{
    int code = flush(wal_of(file));
    return code == SQLITE_OK ? methods_of(file)->xRead(wal_of(file)->real, to, bytes, at) : code;
}

static int truncate_to(sqlite3_file *file, sqlite3_int64 bytes)
{
    int code = flush(wal_of(file));
    return code == SQLITE_OK ? methods_of(file)->xTruncate(wal_of(file)->real, bytes) : code;
}

static int sync_all(sqlite3_file *file, int flags)
{
    int code = wal_of(file)->failed;
    if (code == SQLITE_OK)
        code = flush(wal_of(file));
    return code == SQLITE_OK ? methods_of(file)->xSync(wal_of(file)->real, flags) : code;
}

static int size_of_file(sqlite3_file *file, sqlite3_int64 *ret)
{
    int code = flush(wal_of(file));
    return code == SQLITE_OK ? methods_of(file)->xFileSize(wal_of(file)->real, ret) : code;
}

static int close_file(sqlite3_file *file)
{
    int code = methods_of(file)->xClose(wal_of(file)->real);
    weir_free(wal_of(file)->gathered);
    return code;
}

static int lock(sqlite3_file *file, int level)
{
    return methods_of(file)->xLock(wal_of(file)->real, level);
}

static int unlock(sqlite3_file *file, int level)
{
    return methods_of(file)->xUnlock(wal_of(file)->real, level);
}

static int is_reserved(sqlite3_file *file, int *ret)
{
    return methods_of(file)->xCheckReservedLock(wal_of(file)->real, ret);
}

static int control(sqlite3_file *file, int op, void *argument)
{
    return methods_of(file)->xFileControl(wal_of(file)->real, op, argument);
}

static int sector_size(sqlite3_file *file)
{
    return methods_of(file)->xSectorSize(wal_of(file)->real);
}

static int characteristics(sqlite3_file *file)
{
    return methods_of(file)->xDeviceCharacteristics(wal_of(file)->real);
}

static const sqlite3_io_methods wal_methods = {
    .iVersion = 1, /* neither shared memory nor maps: those are the database's own file's */
    .xClose = close_file,
    .xRead = read_some,
    .xWrite = write_some,
    .xTruncate = truncate_to,
    .xSync = sync_all,
    .xFileSize = size_of_file,
    .xLock = lock,
    .xUnlock = unlock,
    .xCheckReservedLock = is_reserved,
    .xFileControl = control,
    .xSectorSize = sector_size,
    .xDeviceCharacteristics = characteristics,
};

static int open_file(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret)
{
    (void)vfs;
    if ((flags & SQLITE_OPEN_WAL) == 0)
        return system_files->xOpen(system_files, name, file, flags, ret);
    wal_file_t *wal = wal_of(file);
    *wal = (wal_file_t){ .real = (sqlite3_file *)(wal + 1) };
    int code = system_files->xOpen(system_files, name, wal->real, flags, ret);
    wal->base.pMethods = wal->real->pMethods != NULL ? &wal_methods : NULL;
    wal->writes_through =
        code == SQLITE_OK && (characteristics(file) & SQLITE_IOCAP_POWERSAFE_OVERWRITE) == 0;
    return code;
}

static void drop_gathered(void *connection)
{
    sqlite3_file *file = NULL;
    int code = sqlite3_file_control(connection, "main", SQLITE_FCNTL_JOURNAL_POINTER, &file);
    if (code != SQLITE_OK || file == NULL || file->pMethods != &wal_methods)
        return; /* it has no log yet */
    wal_of(file)->len = 0;
    wal_of(file)->failed = SQLITE_OK;
}

void weir_sqlite_drop_at_rollback(sqlite3 *connection)
{
    sqlite3_rollback_hook(connection, drop_gathered, connection);
}

static void register_once(void)
{
    system_files = sqlite3_vfs_find(NULL);
    if (system_files == NULL) {
        registered = SQLITE_ERROR;
        return;
    }
    with_wal = *system_files;
    with_wal.pNext = NULL;
    with_wal.zName = "weir-wal";
    with_wal.szOsFile += (int)sizeof(wal_file_t);
    with_wal.xOpen = open_file;
    registered = sqlite3_vfs_register(&with_wal, false);
}

const char *weir_sqlite_files(void)
{
    pthread_once(&once, register_once);
    return registered == SQLITE_OK ? with_wal.zName : NULL;
}
