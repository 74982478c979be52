/* wal_file_test.c -- what is gathered for SQLite's log is there for whoever looks, and what was
 * rolled back is there for nobody. */
#include "store/fixture.h"

#include "store/faulty_vfs.h"
#include "store/sqlite/internal.h"

#include <fcntl.h>
#include <limits.h>

enum { ROWS = 400, CHANGED = 120, SPILLED = 60, TEXT = 1000 };

/* A file as SQLite opens its log; the caller closes and frees it. */
static sqlite3_file *open_log(const test_store_t *test, char path[PATH_MAX])
{
    sqlite3_vfs *files = sqlite3_vfs_find("weir-wal");
    assert_non_null(files);
    snprintf(path, PATH_MAX, "%s-walled", test->path);
    sqlite3_file *file = calloc(1, (size_t)files->szOsFile);
    assert_non_null(file);
    int flags = SQLITE_OPEN_WAL | SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    assert_int_equal(files->xOpen(files, path, file, flags, NULL), SQLITE_OK);
    return file;
}

static void nothing_is_gathered_where_commits_are_padded(void **state)
{
    char path[PATH_MAX];
    faulty.pads = true;
    sqlite3_file *file = open_log(*state, path);
    faulty.pads = false;
    int writes = faulty.log_writes;
    assert_int_equal(file->pMethods->xWrite(file, "ab", 2, 0), SQLITE_OK);
    assert_int_equal(file->pMethods->xWrite(file, "cd", 2, 2), SQLITE_OK);
    assert_int_equal(faulty.log_writes, writes + 2);
    assert_int_equal(file->pMethods->xClose(file), SQLITE_OK);
    free(file);
    unlink(path);
}

static void what_is_gathered_is_there_for_whoever_looks(void **state)
{
    char path[PATH_MAX];
    sqlite3_file *file = open_log(*state, path);
    const sqlite3_io_methods *does = file->pMethods;
    int writes = faulty.log_writes;
    char text[8] = { 0 };
    sqlite3_int64 size = 0;
    assert_int_equal(does->xWrite(file, "ab", 2, 0), SQLITE_OK);
    assert_int_equal(does->xWrite(file, "cd", 2, 2), SQLITE_OK);
    assert_int_equal(faulty.log_writes, writes);
    assert_int_equal(does->xRead(file, text, 4, 0), SQLITE_OK);
    assert_string_equal(text, "abcd");
    assert_int_equal(faulty.log_writes, writes + 1);
    assert_int_equal(does->xWrite(file, "ef", 2, 4), SQLITE_OK);
    assert_int_equal(does->xFileSize(file, &size), SQLITE_OK);
    assert_int_equal(size, 6);
    assert_int_equal(does->xWrite(file, "gh", 2, 6), SQLITE_OK);
    assert_int_equal(does->xTruncate(file, 7), SQLITE_OK);
    assert_int_equal(does->xFileSize(file, &size), SQLITE_OK);
    assert_int_equal(size, 7);
    assert_int_equal(does->xWrite(file, "X", 1, 1), SQLITE_OK); /* elsewhere */
    assert_int_equal(does->xWrite(file, "Y", 1, 5), SQLITE_OK);
    assert_int_equal(does->xRead(file, text, 7, 0), SQLITE_OK);
    assert_string_equal(text, "aXcdeYg");
    /* What could not be written is not written later, behind somebody's back, and nothing is
     * on disk as if it had been. */
    faulty.code = SQLITE_FULL;
    assert_int_equal(does->xWrite(file, "Z", 1, 0), SQLITE_OK);
    faulty.countdown = 1;
    assert_int_equal(does->xSync(file, SQLITE_SYNC_NORMAL), SQLITE_FULL);
    faulty.countdown = 0;
    assert_int_equal(does->xSync(file, SQLITE_SYNC_NORMAL), SQLITE_FULL);
    assert_int_equal(does->xWrite(file, "h", 1, 7), SQLITE_FULL);
    assert_int_equal(does->xClose(file), SQLITE_OK);
    free(file);
    FILE *kept = fopen(path, "r");
    assert_non_null(kept);
    char line[32] = { 0 };
    assert_non_null(fgets(line, sizeof(line), kept));
    assert_string_equal(line, "aXcdeYg");
    fclose(kept);
    unlink(path);
}

/* -- two that write, as in a reload ---------------------------------------------------------- */

static void execute(connection_t *connection, const char *sql)
{
    char *message = NULL;
    if (sqlite3_exec(connection->db, sql, NULL, NULL, &message) != SQLITE_OK)
        fail_msg("%s: %s", sql, message);
}

static void connect_writer(const char *path, connection_t *ret)
{
    weir_error_t err = { 0 };
    if (weir_sqlite_connect(path, true, ret, &err) != WEIR_OK)
        fail_msg("%s", err.reason);
}

/* A table whose pages are all in the file, and none in the log. */
static void make_table(const char *path)
{
    connection_t connection;
    char sql[256];
    int fd = creat(path, 0600);
    assert_true(fd >= 0);
    close(fd);
    connect_writer(path, &connection);
    snprintf(sql, sizeof(sql),
             "CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT);"
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<%d) "
             "INSERT INTO t SELECT i, hex(zeroblob(%d)) FROM n;"
             "PRAGMA wal_checkpoint(TRUNCATE)",
             ROWS, TEXT / 2);
    execute(&connection, sql);
    weir_sqlite_disconnect(&connection);
}

/* Some pages more than the cache holds: those go to the log, and are gathered. */
static void change_and_roll_back(connection_t *connection)
{
    char sql[160];
    snprintf(sql, sizeof(sql),
             "PRAGMA cache_size=10; BEGIN IMMEDIATE;"
             "UPDATE t SET text=replace(text,'0','a') WHERE id>%d; ROLLBACK",
             ROWS - SPILLED);
    execute(connection, sql);
}

static void change_and_commit(connection_t *connection)
{
    char sql[128];
    snprintf(sql, sizeof(sql), "UPDATE t SET text=replace(text,'0','b') WHERE id<=%d", CHANGED);
    execute(connection, sql);
}

static void assert_whole(const char *path)
{
    assert_int_equal(test_ask(path, "SELECT count(*) FROM t WHERE text LIKE 'b%'"), CHANGED);
    assert_int_equal(test_ask(path, "SELECT count(*) FROM t WHERE text LIKE '0%'"), ROWS - CHANGED);
    assert_int_equal(test_ask(path, "SELECT count(*) FROM pragma_integrity_check WHERE "
                                    "integrity_check<>'ok'"),
                     0);
}

static void copy_file(const char *from, const char *to)
{
    static char bytes[1 << 20];
    FILE *in = fopen(from, "r");
    FILE *out = fopen(to, "w");
    assert_true(in != NULL && out != NULL);
    for (size_t len = 0; (len = fread(bytes, 1, sizeof(bytes), in)) > 0;)
        assert_int_equal(fwrite(bytes, 1, len, out), len);
    fclose(in);
    assert_int_equal(fclose(out), 0);
}

/* As the death of both would leave it: the file and its log, and nobody's memory. */
static void assert_whole_after_death(const char *path)
{
    char from[PATH_MAX + 8];
    char to[PATH_MAX + 8];
    snprintf(to, sizeof(to), "%s-dead-wal", path);
    snprintf(from, sizeof(from), "%s-wal", path);
    copy_file(from, to);
    snprintf(to, sizeof(to), "%s-dead", path);
    copy_file(path, to);
    assert_whole(to);
}

typedef enum next { READS, WRITES, CLOSES } next_t;

/* One rolls back, the other one writes to the same place of the log, and then the first goes on. */
static void roll_back_beside_a_writer(const test_store_t *test, next_t next)
{
    connection_t rolling;
    connection_t committing;
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s-two-%d", test->path, (int)next);
    make_table(path);
    connect_writer(path, &rolling);
    connect_writer(path, &committing);
    change_and_roll_back(&rolling);
    change_and_commit(&committing);
    if (next == READS)
        execute(&rolling, "SELECT count(*) FROM t");
    else if (next == WRITES)
        execute(&rolling, "BEGIN IMMEDIATE; UPDATE t SET text=text WHERE id=1; COMMIT");
    else
        weir_sqlite_disconnect(&rolling);
    assert_whole_after_death(path);
    assert_whole(path);
    weir_sqlite_disconnect(&rolling);
    weir_sqlite_disconnect(&committing);
    assert_whole(path);
}

static void what_was_rolled_back_is_not_written_when_it_is_read_on(void **state)
{
    roll_back_beside_a_writer(*state, READS);
}

static void what_was_rolled_back_is_not_written_with_what_comes_next(void **state)
{
    roll_back_beside_a_writer(*state, WRITES);
}

static void what_was_rolled_back_is_not_written_at_the_end(void **state)
{
    roll_back_beside_a_writer(*state, CLOSES);
}

/* The pages that it takes back are needed for nothing, those before them for the commit. */
static void a_savepoint_takes_only_its_own_back(void **state)
{
    const test_store_t *test = *state;
    connection_t connection;
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s-savepoint", test->path);
    make_table(path);
    connect_writer(path, &connection);
    execute(&connection, "PRAGMA cache_size=10; BEGIN IMMEDIATE");
    change_and_commit(&connection); /* not yet: it is inside */
    execute(&connection, "SAVEPOINT w; UPDATE t SET text=replace(text,'0','a');"
                         "ROLLBACK TO w; RELEASE w; COMMIT");
    assert_whole_after_death(path);
    weir_sqlite_disconnect(&connection);
    assert_whole(path);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, test_setup, test_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_gathered_is_there_for_whoever_looks),
        TEST(nothing_is_gathered_where_commits_are_padded),
        TEST(what_was_rolled_back_is_not_written_when_it_is_read_on),
        TEST(what_was_rolled_back_is_not_written_with_what_comes_next),
        TEST(what_was_rolled_back_is_not_written_at_the_end),
        TEST(a_savepoint_takes_only_its_own_back),
    };
    faulty_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
