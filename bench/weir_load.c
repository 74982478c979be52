/* weir_load.c -- plays HTTP requests from a file over keep-alive connections.
 *
 *   weir_load HOST PORT CONNECTIONS FILE [RATE]
 *
 * A line of FILE is "METHOD PATH BODY" (no body: the line ends after the path).
 * A line "---" is a barrier: what follows is sent when all before is answered.
 * Each connection has one request on the way; with RATE no more than so many are
 * begun a second, counted from the start. The result is one line of JSON on
 * stdout; progress goes to stderr. A client in C, so that its cost does not hide
 * that of the server. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 1024, HEAD_BYTES = 16384, REQUEST_BYTES = 65536, RECONNECTS_MAX = 100000 };

#define NO_ANSWER_NS 30000000000u

typedef struct connection {
    int fd;
    bool busy;
    uint64_t started_ns;
    char request[REQUEST_BYTES];
    size_t request_bytes, sent;
    char head[HEAD_BYTES]; /* of the answer; the body is only counted */
    size_t head_bytes;
    bool in_body;
    size_t body_left;
    int status;
} connection_t;

static struct sockaddr_in address;
static const char *host_header;
static const char *script, *script_end;
static bool barrier; /* the next request waits until nothing is on the way */
static uint32_t *latencies_us;
static size_t requests_max, done, on_the_way, refused, reconnects;
static int poller;
static char first_refused[512];
static double rate; /* requests a second at the most; 0: as many as are answered */
static size_t begun;
static uint64_t began_ns;

static void die(const char *what)
{
    fprintf(stderr, "weir_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void connect_to_server(connection_t *c)
{
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        die("connect");
    int on = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (fcntl(c->fd, F_SETFL, O_NONBLOCK) != 0)
        die("fcntl");
    struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c };
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event) != 0)
        die("epoll_ctl");
}

/* Cuts the next line off the script; false at the end or before a barrier. */
static bool next_request(connection_t *c)
{
    if (barrier && on_the_way > 0)
        return false;
    barrier = false;
    if (script >= script_end)
        return false;
    const char *end = memchr(script, '\n', (size_t)(script_end - script));
    if (end == NULL)
        end = script_end;
    if (end - script == 3 && memcmp(script, "---", 3) == 0) {
        script = end + 1;
        barrier = true;
        return next_request(c);
    }
    const char *method_end = memchr(script, ' ', (size_t)(end - script));
    if (method_end == NULL) {
        fprintf(stderr, "weir_load: a line without a path\n");
        exit(1);
    }
    const char *path = method_end + 1;
    const char *path_end = memchr(path, ' ', (size_t)(end - path));
    const char *body = path_end == NULL ? end : path_end + 1;
    if (path_end == NULL)
        path_end = end;
    int bytes = snprintf(c->request, sizeof(c->request),
                         "%.*s %.*s HTTP/1.1\r\nHost: %s\r\n%sContent-Length: %d\r\n\r\n%.*s",
                         (int)(method_end - script), script, (int)(path_end - path), path,
                         host_header, body < end ? "Content-Type: application/json\r\n" : "",
                         (int)(end - body), (int)(end - body), body);
    if (bytes < 0 || (size_t)bytes >= sizeof(c->request)) {
        fprintf(stderr, "weir_load: a line of more than %d bytes\n", REQUEST_BYTES);
        exit(1);
    }
    c->request_bytes = (size_t)bytes;
    script = end + 1;
    return true;
}

static void lost(connection_t *c);

static void send_more(connection_t *c)
{
    while (c->sent < c->request_bytes) {
        ssize_t n = send(c->fd, c->request + c->sent, c->request_bytes - c->sent, MSG_NOSIGNAL);
        if (n <= 0) {
            lost(c);
            return;
        }
        c->sent += (size_t)n;
    }
}

/* Whether the next request has to wait for its moment. */
static bool too_early(void)
{
    return rate > 0 && (double)begun >= (double)(now_ns() - began_ns) * rate / 1e9;
}

static void start(connection_t *c)
{
    if (c->busy || too_early() || !next_request(c))
        return;
    c->busy = true;
    begun++;
    on_the_way++;
    c->started_ns = now_ns();
    c->sent = c->head_bytes = c->body_left = 0;
    c->in_body = false;
    send_more(c);
}

static void finish(connection_t *c)
{
    if (done < requests_max)
        latencies_us[done] = (uint32_t)((now_ns() - c->started_ns) / 1000);
    done++;
    on_the_way--;
    c->busy = false;
    if (c->status < 200 || c->status > 299) {
        if (refused++ == 0)
            snprintf(first_refused, sizeof(first_refused), "%d for %.300s", c->status, c->request);
    }
    if (done % 10000 == 0)
        fprintf(stderr, "%zu\n", done);
}

/* The server may end a connection between two requests: then the same request
 * goes over a new one (all of them are PUT). In the middle of an answer it may not. */
static void lost(connection_t *c)
{
    if (c->head_bytes > 0 || ++reconnects > RECONNECTS_MAX)
        die("the server closed a connection");
    close(c->fd);
    connect_to_server(c);
    c->sent = 0;
    send_more(c);
}

/* Reads Content-Length from a complete head. */
static void begin_body(connection_t *c, char *end)
{
    *end = '\0';
    c->status = (int)strtol(c->head + 9, NULL, 10);
    const char *length = strcasestr(c->head, "\r\ncontent-length:");
    size_t body = length == NULL ? 0 : (size_t)strtoull(length + 17, NULL, 10);
    size_t have = c->head_bytes - (size_t)(end + 4 - c->head);
    c->body_left = body > have ? body - have : 0;
    c->in_body = true;
}

static void receive(connection_t *c)
{
    static char sink[262144];
    for (;;) {
        ssize_t n;
        if (c->in_body) {
            n = recv(c->fd, sink, c->body_left < sizeof(sink) ? c->body_left : sizeof(sink), 0);
        } else {
            n = recv(c->fd, c->head + c->head_bytes, sizeof(c->head) - 1 - c->head_bytes, 0);
        }
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0) {
            lost(c);
            return;
        }
        if (c->in_body) {
            c->body_left -= (size_t)n;
        } else {
            c->head_bytes += (size_t)n;
            c->head[c->head_bytes] = '\0';
            char *end = memmem(c->head, c->head_bytes, "\r\n\r\n", 4);
            if (end != NULL)
                begin_body(c, end);
        }
        if (c->in_body && c->body_left == 0) {
            finish(c);
            return;
        }
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(uint64_t took_ns)
{
    qsort(latencies_us, done, sizeof(*latencies_us), by_value);
    double seconds = (double)took_ns / 1e9;
    for (char *at = first_refused; *at != '\0'; at++)
        if (*at == '"' || *at == '\\' || (unsigned char)*at < ' ')
            *at = '\'';
    printf("{\"requests\": %zu, \"seconds\": %.3f, \"per_second\": %.1f, \"p50_us\": %u, "
           "\"p99_us\": %u, \"max_us\": %u, \"refused\": %zu, \"first_refused\": \"%s\"}\n",
           done, seconds, (double)done / seconds, done ? latencies_us[done / 2] : 0,
           done ? latencies_us[done * 99 / 100] : 0, done ? latencies_us[done - 1] : 0, refused,
           first_refused);
}

static void open_script(const char *path)
{
    int fd = open(path, O_RDONLY);
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0)
        die(path);
    script = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (script == MAP_FAILED)
        die(path);
    script_end = script + status.st_size;
    for (const char *at = script; at < script_end; at++)
        requests_max += *at == '\n';
    latencies_us = calloc(requests_max + 1, sizeof(*latencies_us));
    if (latencies_us == NULL)
        die("memory");
}

int main(int argc, char **argv)
{
    if (argc != 5 && argc != 6) {
        fprintf(stderr, "usage: weir_load HOST PORT CONNECTIONS FILE [RATE]\n");
        return 2;
    }
    long count = strtol(argv[3], NULL, 10);
    if (count < 1 || count > CONNECTIONS_MAX) {
        fprintf(stderr, "weir_load: 1 to %d connections\n", CONNECTIONS_MAX);
        return 2;
    }
    if (argc == 6)
        rate = strtod(argv[5], NULL);
    host_header = argv[1];
    address.sin_family = AF_INET;
    address.sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10));
    if (inet_pton(AF_INET, argv[1], &address.sin_addr) != 1)
        die(argv[1]);
    open_script(argv[4]);
    connection_t *connections = calloc((size_t)count, sizeof(*connections));
    poller = epoll_create1(0);
    if (connections == NULL || poller < 0)
        die("memory");
    for (long i = 0; i < count; i++)
        connect_to_server(&connections[i]);
    uint64_t answered_ns = began_ns = now_ns();
    for (;;) {
        for (long i = 0; i < count; i++)
            start(&connections[i]);
        if (on_the_way == 0 && script >= script_end)
            break;
        struct epoll_event events[64];
        int n = epoll_wait(poller, events, 64, rate > 0 ? 1 : 1000);
        if (n < 0)
            die("epoll_wait");
        if (n > 0 || on_the_way == 0)
            answered_ns = now_ns();
        else if (now_ns() - answered_ns > NO_ANSWER_NS)
            die("no answer for 30 s");
        for (int i = 0; i < n; i++) {
            connection_t *c = events[i].data.ptr;
            if (c->busy && c->sent < c->request_bytes)
                send_more(c);
            if (c->busy)
                receive(c);
            start(c);
        }
    }
    report(now_ns() - began_ns);
    return refused > 0;
}
