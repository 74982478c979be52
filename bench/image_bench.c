/* image_bench.c -- what a look-up and a change cost in an image of 1e3, 1e5, 1e6 routes.
 *
 *   image-bench [LARGEST]    default 100000; 1000000 takes a minute and 3 GB of disk
 *   image-bench stage [N]    a first set of N entities (default 1000000) through a stage,
 *                            in pages of 1 MiB: how fast, and in how much memory
 *
 * N routes (N/10 hosts with 10 paths each) of N/10 services, N consumers with a key
 * each, 200 wildcard and any-host routes, a global plugin and one a service. Requests
 * are drawn from all N at random. The last column is the ratio to 1e3. */
#include "image/fixture.h"

#include <stdarg.h>
#include <time.h>

enum { LOOKUPS = 200000, DELTAS = 1000, TENANTS = 10000, BATCHES = 5 };

typedef struct figures {
    double load_s, match_ns, miss_ns, chain_ns, delta_p50_us, delta_p99_us;
} figures_t;

static uint64_t random_state = 88172645463325252ULL;

static unsigned below(unsigned n)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (unsigned)((random_state >> 16) % n);
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* Of the processor: what others do on this machine does not count. */
static double cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void put_text(fixture_t *f, const char *type, const char *format, ...) WEIR_PRINTF(3, 4);

static void put_text(fixture_t *f, const char *type, const char *format, ...)
{
    char row[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(row, sizeof(row), format, args);
    va_end(args);
    fixture_put(f, type, row);
}

/* A control plane sends rows ordered by id; so ids rise with the number, and names
 * do not rise with the ids (scatter). */
static const char *id_text(char text[WEIR_UUID_TEXT + 1], unsigned kind, unsigned number)
{
    snprintf(text, WEIR_UUID_TEXT + 1, "%08x-%04x-4000-8000-%012x", number * 4000 + number % 3999,
             kind, number);
    return text;
}

static unsigned scatter(unsigned i, unsigned n)
{
    return (unsigned)((uint64_t)i * 7919 % n);
}

static unsigned services_of(unsigned n)
{
    return n >= 10 ? n / 10 : 1;
}

enum { SERVICE, ROUTE, CONSUMER, KEY, PLUGIN };

static void put_route(fixture_t *f, unsigned i, unsigned n, const char *suffix)
{
    char id[WEIR_UUID_TEXT + 1], service[WEIR_UUID_TEXT + 1];
    put_text(f, "routes",
             "{\"id\":\"%s\",\"hosts\":[\"h%u.example.com\"],\"paths\":[\"/api/v1/resource-%u%s\"],"
             "\"service\":{\"id\":\"%s\"}}",
             id_text(id, ROUTE, i), scatter(i, n) / 10, scatter(i, n) % 10, suffix,
             id_text(service, SERVICE, i % services_of(n)));
}

static void put_others(fixture_t *f, unsigned services)
{
    char id[WEIR_UUID_TEXT + 1], other[WEIR_UUID_TEXT + 1];
    put_text(f, "plugins", "{\"id\":\"%s\",\"name\":\"key-auth\"}", id_text(id, PLUGIN, 1000000));
    for (unsigned i = 0; i < services; i++)
        put_text(f, "plugins",
                 "{\"id\":\"%s\",\"name\":\"request-termination\",\"service\":{\"id\":\"%s\"}}",
                 id_text(id, PLUGIN, i), id_text(other, SERVICE, i));
    for (unsigned i = 0; i < 200; i++) {
        char hosts[64] = "";
        char name[32];
        snprintf(name, sizeof(name), i % 4 == 0 ? "*.w%u.com" : "w%u.*", i);
        if (i % 4 < 2)
            snprintf(hosts, sizeof(hosts), "\"hosts\":[\"%s\"],", name);
        put_text(f, "routes", "{\"id\":\"%s\",%s\"paths\":[\"/shared/%u\"]}",
                 id_text(id, ROUTE, 1000000 + i), hosts, i);
    }
}

static double load(fixture_t *f, unsigned n)
{
    char id[WEIR_UUID_TEXT + 1], other[WEIR_UUID_TEXT + 1];
    double start = now_ns();
    unsigned services = services_of(n);
    fixture_begin(f, true);
    for (unsigned i = 0; i < n; i++)
        put_text(f, "consumers", "{\"id\":\"%s\",\"username\":\"user-%u\"}",
                 id_text(id, CONSUMER, i), scatter(i, n));
    for (unsigned i = 0; i < services; i++)
        put_text(f, "services", "{\"id\":\"%s\",\"host\":\"up-%u.internal\"}",
                 id_text(id, SERVICE, i), i);
    for (unsigned i = 0; i < n; i++)
        put_route(f, i, n, "");
    put_others(f, services);
    for (unsigned i = 0; i < n; i++)
        put_text(f, "keyauth_credentials",
                 "{\"id\":\"%s\",\"key\":\"secret-key-of-%u\",\"consumer\":{\"id\":\"%s\"}}",
                 id_text(id, KEY, i), scatter(i, n), id_text(other, CONSUMER, i));
    fixture_commit(f);
    return (now_ns() - start) / 1e9;
}

static bool match_one(fixture_t *f, unsigned i, const char *format, weir_match_t *ret)
{
    static fixture_request_t request;
    char host[64], path[64];
    snprintf(host, sizeof(host), "h%u.example.com", i / 10);
    snprintf(path, sizeof(path), format, i % 10);
    fixture_request(&request, "GET", host, path);
    return weir_reader_match(f->reader, &request.match, ret, &f->err) == WEIR_OK;
}

/* Everything a request with a key needs. */
static bool chain_one(fixture_t *f, unsigned i)
{
    weir_match_t match;
    weir_service_t service;
    weir_credential_t credential;
    weir_consumer_t consumer;
    static weir_plan_t plan;
    char key[64];
    snprintf(key, sizeof(key), "secret-key-of-%u", i);
    return match_one(f, i, "/api/v1/resource-%u/item/7", &match) &&
           weir_reader_service(f->reader, &match.route.service, &service, &f->err) == WEIR_OK &&
           weir_reader_plan(f->reader, &match.route.id, &service.id, NULL, &plan, &f->err) ==
               WEIR_OK &&
           plan.count == 2 &&
           weir_reader_credential(f->reader, WEIR_KEYAUTH_CREDENTIALS, weir_str(key), 0,
                                  &credential, &f->err) == WEIR_OK &&
           weir_reader_consumer(f->reader, &credential.consumer, &consumer, &f->err) == WEIR_OK;
}

static double look_up(fixture_t *f, unsigned n, int what)
{
    unsigned wrong = 0;
    weir_match_t match;
    double best = 1e12;
    for (int round = 0; round < BATCHES; round++) {
        double start = now_ns();
        for (unsigned k = 0; k < LOOKUPS / BATCHES; k++) {
            unsigned i = below(n);
            fixture_ok(f, weir_reader_enter(f->reader, &f->err));
            bool found = what == 2   ? chain_one(f, i)
                         : what == 1 ? !match_one(f, i, "/none/%u", &match)
                                     : match_one(f, i, "/api/v1/resource-%u/item/7", &match);
            weir_reader_leave(f->reader);
            wrong += !found;
        }
        double each = (now_ns() - start) / (LOOKUPS / BATCHES);
        best = each < best ? each : best;
    }
    if (wrong > 0)
        printf("%u wrong answers\n", wrong);
    return best;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A route of `n` changes its path: begin, put, commit. */
static void change(fixture_t *f, unsigned n, figures_t *ret)
{
    static double each[DELTAS];
    for (int k = 0; k < DELTAS; k++) {
        char suffix[32];
        unsigned i = below(n);
        snprintf(suffix, sizeof(suffix), "-%d", k);
        double start = now_ns();
        fixture_begin(f, false);
        put_route(f, i, n, suffix);
        fixture_commit(f);
        each[k] = (now_ns() - start) / 1e3;
    }
    qsort(each, DELTAS, sizeof(each[0]), compare_doubles);
    ret->delta_p50_us = each[DELTAS / 2];
    ret->delta_p99_us = each[DELTAS * 99 / 100];
}

static figures_t measure(unsigned n)
{
    fixture_t f;
    figures_t figures;
    weir_image_options_t options = fixture_options(&f);
    options.map_bytes = 64ULL << 30;
    fixture_open_with(&f, &options);
    figures.load_s = load(&f, n);
    figures.match_ns = look_up(&f, n, 0);
    figures.miss_ns = look_up(&f, n, 1);
    figures.chain_ns = look_up(&f, n, 2);
    change(&f, n, &figures);
    weir_image_state_t state;
    fixture_ok(&f, weir_image_state(f.image, &state, &f.err));
    printf("%u routes: %" PRIu64 " MiB, %" PRIu64 " quarantined\n", n, state.bytes_used >> 20,
           state.quarantined);
    fixture_close(&f);
    return figures;
}

/* Many routes on one path, told apart by a header. */
static void measure_tenants(void)
{
    fixture_t f;
    fixture_open(&f);
    char id[WEIR_UUID_TEXT + 1];
    fixture_begin(&f, true);
    for (unsigned i = 0; i < TENANTS; i++)
        put_text(&f, "routes",
                 "{\"id\":\"%s\",\"paths\":[\"/t\"],\"headers\":{\"tenant\":[\"tenant-%u\"]}}",
                 id_text(id, ROUTE, i), i);
    fixture_commit(&f);
    static fixture_request_t request;
    unsigned wrong = 0;
    double start = now_ns();
    for (int k = 0; k < LOOKUPS; k++) {
        char value[32];
        weir_match_t match;
        snprintf(value, sizeof(value), "tenant-%u", below(TENANTS));
        fixture_request(&request, "GET", "any.test", "/t/x");
        fixture_add_header(&request, WEIR_STR("Tenant"), weir_str(value));
        fixture_ok(&f, weir_reader_enter(f.reader, &f.err));
        wrong += weir_reader_match(f.reader, &request.match, &match, &f.err) != WEIR_OK;
        weir_reader_leave(f.reader);
    }
    double match_ns = (now_ns() - start) / LOOKUPS;
    start = now_ns();
    for (unsigned k = 0; k < DELTAS; k++) {
        fixture_begin(&f, false);
        put_text(&f, "routes",
                 "{\"id\":\"%s\",\"paths\":[\"/t\"],\"headers\":{\"tenant\":[\"other-%u\"]}}",
                 id_text(id, ROUTE, below(TENANTS)), k);
        fixture_commit(&f);
    }
    printf("%d routes on one path, by header: match %.0f ns, one change %.1f us, %u wrong\n",
           TENANTS, match_ns, (now_ns() - start) / 1e3 / DELTAS, wrong);
    fixture_close(&f);
}

static void print_row(const char *what, double value, double first)
{
    printf("  %-28s %10.1f %8.2f x\n", what, value, value / first);
}

/* -- a first set, in pages ------------------------------------------------------------------ */

enum { PAGE_BYTES = 1024 * 1024, PAGE_ROWS_MAX = 8192 };

typedef struct page {
    weir_json_t *rows[PAGE_ROWS_MAX];
    const char *types[PAGE_ROWS_MAX];
    weir_uuid_t ids[PAGE_ROWS_MAX];
    size_t count, bytes;
} page_t;

/* Of 100 entities: 5 services, 40 routes, 25 consumers, 25 keys, 5 plugins; in the order
 * of references, and of ids within a type. */
static const char *one_row(unsigned i, unsigned n, char *row, size_t bytes)
{
    char id[WEIR_UUID_TEXT + 1], other[WEIR_UUID_TEXT + 1];
    unsigned consumers = n / 4, services = n / 20 + 1, routes = n * 2 / 5;
    if (i < consumers) {
        snprintf(row, bytes, "{\"id\":\"%s\",\"username\":\"user-%u\"}", id_text(id, CONSUMER, i),
                 scatter(i, consumers));
        return "consumers";
    }
    i -= consumers;
    if (i < services) {
        snprintf(row, bytes, "{\"id\":\"%s\",\"host\":\"up-%u.internal\",\"name\":\"service-%u\"}",
                 id_text(id, SERVICE, i), i, i);
        return "services";
    }
    i -= services;
    if (i < routes) {
        unsigned name = scatter(i, routes);
        snprintf(row, bytes,
                 "{\"id\":\"%s\",\"name\":\"route-%u\",\"hosts\":[\"h%u.example.com\"],"
                 "\"paths\":[\"/api/v1/resource-%u\"],\"service\":{\"id\":\"%s\"}}",
                 id_text(id, ROUTE, i), name, name / 10, name % 10,
                 id_text(other, SERVICE, i % services));
        return "routes";
    }
    i -= routes;
    if (i < services) {
        snprintf(row, bytes,
                 "{\"id\":\"%s\",\"name\":\"request-termination\",\"service\":{\"id\":\"%s\"}}",
                 id_text(id, PLUGIN, i), id_text(other, SERVICE, i));
        return "plugins";
    }
    i -= services;
    snprintf(row, bytes,
             "{\"id\":\"%s\",\"key\":\"secret-key-of-%u\",\"consumer\":{\"id\":\"%s\"}}",
             id_text(id, KEY, i), scatter(i, consumers), id_text(other, CONSUMER, i % consumers));
    return "keyauth_credentials";
}

/* Complete rows, as a control plane of the same version sends them. */
static void make_page(fixture_t *f, unsigned n, unsigned *at, page_t *page)
{
    page->count = page->bytes = 0;
    while (*at < n && page->bytes < PAGE_BYTES && page->count < PAGE_ROWS_MAX) {
        char text[1024];
        weir_problem_t problem;
        weir_problem_init(&problem);
        const char *type = one_row((*at)++, n, text, sizeof(text));
        const weir_schema_t *schema = weir_schema_named(weir_str(type));
        WEIR_AUTO(json) weir_json_t *row = fixture_json(f, text);
        weir_json_t *whole = NULL;
        if (weir_model_accept(schema, row, 1700000000, &whole, &problem) != WEIR_OK)
            abort();
        weir_problem_release(&problem);
        WEIR_AUTO(buffer) weir_buffer_t printed;
        weir_buffer_init(&printed, 1 << 20);
        weir_json_print(whole, &printed);
        weir_entity_id(schema, whole, &page->ids[page->count]);
        page->bytes += printed.len;
        page->types[page->count] = type;
        page->rows[page->count++] = whole;
    }
}

static long memory_kb(const char *what)
{
    long kb = 0;
    char line[256];
    FILE *in = fopen("/proc/self/smaps_rollup", "r");
    while (in != NULL && fgets(line, sizeof(line), in) != NULL)
        if (strncmp(line, what, strlen(what)) == 0)
            kb = strtol(line + strlen(what), NULL, 10);
    if (in != NULL)
        fclose(in);
    return kb;
}

static void put_page(fixture_t *f, weir_image_t *stage, const page_t *page)
{
    weir_stage_t now;
    fixture_ok(f, weir_image_stage(stage, &now, &f->err));
    fixture_ok(f, weir_batch_begin(stage, false, now.snapshot, &f->batch, &f->err));
    for (size_t i = 0; i < page->count; i++)
        fixture_ok(f, weir_batch_put_told(f->batch, weir_str(page->types[i]), &page->ids[i],
                                          page->rows[i], NULL, &f->err));
    weir_batch_stage(f->batch, &now);
    fixture_commit(f);
}

static void measure_proof(fixture_t *f)
{
    static const weir_digest_key_t other = { { 2 } };
    weir_image_verdict_t verdict;
    double busy = cpu_ns();
    fixture_ok(f, weir_image_verify(f->image, NULL, NULL, &verdict, &f->err));
    double verify_s = (cpu_ns() - busy) / 1e9;
    busy = cpu_ns();
    fixture_ok(f, weir_image_set_digest_key(f->image, &other, &f->err));
    printf("  verified in %.1f s of the processor (%" PRIu64 " bad records, %zu bad buckets); all "
           "sums anew %.1f s\n",
           verify_s, verdict.bad_records, verdict.bad_buckets, (cpu_ns() - busy) / 1e9);
}

static void measure_stage(unsigned n)
{
    fixture_t f;
    static page_t page;
    static const weir_digest_key_t key = { { 1 } };
    weir_image_t *stage = NULL;
    weir_image_options_t options = fixture_options(&f);
    options.map_bytes = 64ULL << 30;
    fixture_open_with(&f, &options);
    fixture_ok(&f, weir_image_set_digest_key(f.image, &key, &f.err));
    fixture_ok(&f, weir_image_stage_open(f.image, 1, &stage, &f.err));
    double put_ns = 0;
    double busy_ns = 0;
    long most = 0;
    for (unsigned at = 0; at < n;) {
        make_page(&f, n, &at, &page);
        double start = now_ns();
        double busy = cpu_ns();
        put_page(&f, stage, &page);
        put_ns += now_ns() - start;
        busy_ns += cpu_ns() - busy;
        long kb = memory_kb("Pss:");
        most = kb > most ? kb : most;
        for (size_t i = 0; i < page.count; i++)
            weir_json_free(page.rows[i]);
    }
    double start = now_ns();
    fixture_ok(&f, weir_image_switch(&f.image, stage, &f.err));
    double switch_s = (now_ns() - start) / 1e9;
    weir_image_state_t state;
    fixture_ok(&f, weir_image_state(f.image, &state, &f.err));
    printf("%u entities through a stage: %.1f s, %.0f a second (%.1f us of the processor each)\n"
           "  PSS at most %ld MiB, anonymous at the end %ld MiB; switch %.2f s\n"
           "  image %" PRIu64 " MiB, %" PRIu64 " quarantined\n",
           n, put_ns / 1e9, n / (put_ns / 1e9), busy_ns / 1e3 / n, most >> 10,
           memory_kb("Pss_Anon:") >> 10, switch_s, state.bytes_used >> 20, state.quarantined);
    measure_proof(&f);
    fixture_close(&f);
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "stage") == 0) {
        measure_stage(argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1000000);
        return 0;
    }
    unsigned largest = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 100000;
    static const unsigned sizes[] = { 1000, 100000, 1000000 };
    figures_t first = { 0 };
    for (size_t i = 0; i < WEIR_COUNT(sizes) && sizes[i] <= largest; i++) {
        figures_t figures = measure(sizes[i]);
        if (i == 0)
            first = figures;
        print_row("full load, us each route", figures.load_s * 1e6 / sizes[i],
                  first.load_s * 1e6 / sizes[0]);
        print_row("match, ns", figures.match_ns, first.match_ns);
        print_row("no match, ns", figures.miss_ns, first.miss_ns);
        print_row("whole chain, ns", figures.chain_ns, first.chain_ns);
        print_row("change of a route p50, us", figures.delta_p50_us, first.delta_p50_us);
        print_row("change of a route p99, us", figures.delta_p99_us, first.delta_p99_us);
    }
    measure_tenants();
    return 0;
}
