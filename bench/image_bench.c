/* image_bench.c -- what a look-up and a change cost in an image of 1e3, 1e5, 1e6 routes.
 *
 *   image-bench [LARGEST]    default 100000; 1000000 takes a minute and 3 GB of disk
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

int main(int argc, char **argv)
{
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
