/* store_bench.c -- durable writes and reads per second of the control plane's
 * database, and what memory it takes: of the heap, and of its files mapped.
 *
 * Threads write services, routes, consumers, credentials and plugins, one
 * entity per write, as many concurrent Admin API requests would: each waits
 * until its write is on disk. Then the same rows are read by id, changed and
 * deleted. Usage: store-bench [ENTITIES [THREADS [DIRECTORY]]] */
#include "base/clock.h"
#include "base/json.h"
#include "store/store.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { ENTITIES = 90000, THREADS = 16, THREADS_MAX = 256, UNIT = 5, READS_PER_THREAD = 50000 };

typedef struct item {
    weir_entity_type_t type;
    weir_uuid_t id;
    weir_json_t *entity;
} item_t;

typedef struct worker {
    weir_store_t *store;
    unsigned number;
    item_t *items;
    size_t count;
    int64_t slowest_us;
    uint64_t hits;
} worker_t;

static _Noreturn void die(const char *what, const weir_error_t *err)
{
    fprintf(stderr, "store-bench: %s: %s\n", what, err != NULL ? err->reason : "");
    exit(1);
}

static int letters(void *context, char *text, size_t len)
{
    unsigned *seed = context;
    for (size_t i = 0; i < len; i++)
        text[i] = (char)('a' + rand_r(seed) % 26);
    return WEIR_OK;
}

static void make(worker_t *worker, weir_entity_type_t type, const char *text)
{
    weir_error_t err = { 0 };
    WEIR_AUTO(json) weir_json_t *body = NULL;
    if (weir_json_parse(weir_str(text), &body, &err) != WEIR_OK)
        die(text, &err);
    weir_model_env_t env = { .now = (double)weir_clock_ms() / 1000,
                             .random_text = letters,
                             .context = &worker->number };
    weir_problem_t problem;
    weir_problem_init(&problem);
    item_t *item = &worker->items[worker->count++];
    item->type = type;
    if (weir_model_write(weir_schema(type), WEIR_INSERT, body, NULL, &env, &item->entity,
                         &problem) != WEIR_OK) {
        fprintf(stderr, "%.*s\n", WEIR_STR_ARG(weir_buffer_str(&problem.message)));
        die(text, NULL);
    }
    weir_problem_release(&problem);
    if (weir_entity_id(weir_schema(type), item->entity, &item->id) != WEIR_OK)
        die("no id", NULL);
}

static const char *last_id(const worker_t *worker, char text[WEIR_UUID_TEXT + 1])
{
    weir_uuid_format(&worker->items[worker->count - 1].id, text);
    return text;
}

/* A service with a route that asks for a key, and a consumer with one. */
static void make_unit(worker_t *worker, size_t number)
{
    char text[512];
    char id[WEIR_UUID_TEXT + 1];
    unsigned w = worker->number;
    snprintf(text, sizeof(text),
             "{\"name\":\"service-%u-%zu\",\"url\":\"http://backend-%zu.test:8080/api\","
             "\"tags\":[\"team-%zu\"]}",
             w, number, number % 500, number % 50);
    make(worker, WEIR_SERVICES, text);
    snprintf(text, sizeof(text),
             "{\"name\":\"route-%u-%zu\",\"paths\":[\"/t%u/%zu\"],\"methods\":[\"GET\",\"POST\"],"
             "\"service\":{\"id\":\"%s\"}}",
             w, number, w, number, last_id(worker, id));
    make(worker, WEIR_ROUTES, text);
    snprintf(text, sizeof(text), "{\"name\":\"key-auth\",\"route\":{\"id\":\"%s\"}}",
             last_id(worker, id));
    make(worker, WEIR_PLUGINS, text);
    snprintf(text, sizeof(text), "{\"username\":\"user-%u-%zu\"}", w, number);
    make(worker, WEIR_CONSUMERS, text);
    snprintf(text, sizeof(text), "{\"consumer\":{\"id\":\"%s\"}}", last_id(worker, id));
    make(worker, WEIR_KEYAUTH_CREDENTIALS, text);
}

static void write_one(worker_t *worker, const item_t *item, weir_store_kind_t kind)
{
    weir_error_t err = { 0 };
    weir_store_result_t result;
    weir_store_op_t op = { .kind = kind,
                           .type = item->type,
                           .id = item->id,
                           .entity = item->entity,
                           .expected = WEIR_EXPECT_ANYTHING };
    int64_t start = weir_clock_monotonic_us();
    if (weir_store_write(worker->store, &op, 1, &result, &err) != WEIR_OK)
        die("write", &err);
    int64_t took = weir_clock_monotonic_us() - start;
    worker->slowest_us = took > worker->slowest_us ? took : worker->slowest_us;
}

static void *insert_all(void *argument)
{
    worker_t *worker = argument;
    for (size_t i = 0; i < worker->count; i++)
        write_one(worker, &worker->items[i], WEIR_STORE_PUT);
    return NULL;
}

static void *read_all(void *argument)
{
    worker_t *worker = argument;
    unsigned seed = worker->number + 1;
    weir_error_t err = { 0 };
    for (size_t i = 0; i < READS_PER_THREAD; i++) {
        const item_t *item = &worker->items[(size_t)rand_r(&seed) % worker->count];
        WEIR_AUTO(arena) weir_arena_t arena;
        weir_arena_init(&arena, 1 << 20);
        weir_row_t row;
        if (weir_store_get(worker->store, item->type, &item->id, &arena, &row, &err) != WEIR_OK)
            die("get", &err);
        worker->hits++;
    }
    return NULL;
}

/* What PATCH does: one field of each changes. */
static void *update_all(void *argument)
{
    worker_t *worker = argument;
    for (size_t i = 0; i < worker->count; i += 2) {
        weir_json_t *tags = weir_json_new_array();
        if (weir_json_append(tags, weir_json_new_string(WEIR_STR("changed"))) != WEIR_OK ||
            weir_json_set(worker->items[i].entity, "tags", tags) != WEIR_OK)
            die("memory", NULL);
        write_one(worker, &worker->items[i], WEIR_STORE_PUT);
    }
    return NULL;
}

static void *delete_all(void *argument)
{
    worker_t *worker = argument;
    for (size_t i = worker->count; i > 0; i--)
        write_one(worker, &worker->items[i - 1], WEIR_STORE_DELETE);
    return NULL;
}

/* Of the files that begin with `path`, as far as they are mapped and resident. */
static double mapped_mib(const char *path)
{
    FILE *maps = fopen("/proc/self/smaps", "re");
    char line[2048];
    bool ours = false;
    long kib = 0;
    while (maps != NULL && fgets(line, sizeof(line), maps) != NULL) {
        int64_t more = 0;
        char *unit = strstr(line, " kB");
        if (strchr(line, '-') != NULL && unit == NULL)
            ours = strstr(line, path) != NULL;
        else if (ours && unit != NULL && strncmp(line, "Pss:", 4) == 0) {
            *unit = '\0';
            if (weir_parse_int64(weir_str_trim(weir_str(line + 4)), 0, INT64_MAX, &more) == WEIR_OK)
                kib += more;
        }
    }
    if (maps != NULL)
        fclose(maps);
    return (double)kib / 1024;
}

static struct {
    const char *path;
    size_t heap; /* in use before the first write, by the entities themselves */
} memory;

static void run(worker_t *workers, unsigned threads, const char *what, void *(*body)(void *),
                size_t operations)
{
    pthread_t ids[THREADS_MAX];
    int64_t start = weir_clock_monotonic_us();
    for (unsigned i = 0; i < threads; i++)
        workers[i].slowest_us = 0;
    for (unsigned i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, body, &workers[i]) != 0)
            die("thread", NULL);
    int64_t slowest = 0;
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        slowest = workers[i].slowest_us > slowest ? workers[i].slowest_us : slowest;
    }
    double seconds = (double)(weir_clock_monotonic_us() - start) / 1e6;
    printf("%-10s %8zu in %7.3f s: %9.0f /s", what, operations, seconds,
           (double)operations / seconds);
    printf("; heap %+.1f MiB, mapped %.1f MiB",
           ((double)mallinfo2().uordblks - (double)memory.heap) / (1 << 20),
           mapped_mib(memory.path));
    printf(slowest > 0 ? ", slowest %.1f ms\n" : "\n", (double)slowest / 1000);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    int64_t entities = ENTITIES;
    int64_t threads = THREADS;
    if ((argc > 1 && weir_parse_int64(weir_str(argv[1]), UNIT, 10000000, &entities) != WEIR_OK) ||
        (argc > 2 && weir_parse_int64(weir_str(argv[2]), 1, THREADS_MAX, &threads) != WEIR_OK)) {
        fprintf(stderr, "usage: store-bench [ENTITIES [THREADS [DIRECTORY]]]\n");
        return 2;
    }
    char directory[512];
    char path[1024];
    snprintf(directory, sizeof(directory), "%s/weir-store-bench-XXXXXX",
             argc > 3 ? argv[3] : P_tmpdir);
    if (mkdtemp(directory) == NULL)
        die("mkdtemp", NULL);
    snprintf(path, sizeof(path), "%s/weir.db", directory);
    weir_store_options_t options = { .path = path, .log_entries_max = 100000 };
    weir_store_t *store = NULL;
    weir_error_t err = { 0 };
    size_t done = 0;
    if (weir_store_migrate(&options, &done, &err) != WEIR_OK ||
        weir_store_open(&options, &store, &err) != WEIR_OK)
        die("open", &err);

    static worker_t workers[THREADS_MAX];
    size_t units = (size_t)entities / UNIT / (size_t)threads;
    size_t total = units * UNIT * (size_t)threads;
    for (unsigned i = 0; i < threads; i++) {
        workers[i].store = store;
        workers[i].number = i;
        workers[i].items = calloc(units * UNIT, sizeof(item_t));
        for (size_t n = 0; n < units; n++)
            make_unit(&workers[i], n);
    }
    memory.path = path;
    memory.heap = mallinfo2().uordblks;
    printf("%zu entities, %d threads, each write durable before it returns\n", total, (int)threads);
    run(workers, (unsigned)threads, "insert", insert_all, total);
    run(workers, (unsigned)threads, "get", read_all, READS_PER_THREAD * (size_t)threads);
    run(workers, (unsigned)threads, "update", update_all, (units * UNIT + 1) / 2 * (size_t)threads);
    run(workers, (unsigned)threads, "delete", delete_all, total);

    weir_store_close(store);
    for (unsigned i = 0; i < threads; i++) {
        for (size_t n = 0; n < workers[i].count; n++)
            weir_json_free(workers[i].items[n].entity);
        free(workers[i].items);
    }
    if (weir_store_reset(&options, &err) != WEIR_OK)
        die("reset", &err);
    rmdir(directory);
    return 0;
}
