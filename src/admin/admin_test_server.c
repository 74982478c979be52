/* admin_test_server.c -- a TEST TOOL: this room behind a bare HTTP/1.1 loop.
 *
 *   admin-test-server PORT DIRECTORY [NAME=VALUE ...]     (settings)
 *
 * One connection at a time on 127.0.0.1, no TLS, no limits worth the name: only
 * for replaying recorded exchanges without nginx. Never installed. */
#include "admin/admin.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { REQUEST_BYTES_MAX = 64 * 1024 * 1024, HEADERS_MAX = 100 };

typedef struct message {
    char *data;
    size_t len, capacity;
} message_t;

static int set_log_level(void *context, int level, weir_error_t *err)
{
    (void)context, (void)level, (void)err;
    return WEIR_OK;
}

static int status(void *context, weir_json_t *to)
{
    (void)context;
    return weir_json_set(to, "server", weir_json_new_object());
}

/* More bytes into `in`. False at the end of the connection. */
static bool more(int fd, message_t *in)
{
    if (in->capacity - in->len < 65536) {
        in->capacity = in->capacity * 2 + 131072;
        in->data = realloc(in->data, in->capacity);
        if (in->data == NULL || in->capacity > REQUEST_BYTES_MAX)
            exit(1);
    }
    ssize_t got = read(fd, in->data + in->len, 65536);
    if (got <= 0)
        return false;
    in->len += (size_t)got;
    return true;
}

static void send_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t sent = write(fd, data, len);
        if (sent <= 0)
            return;
        data += sent;
        len -= (size_t)sent;
    }
}

static void answer(int fd, const weir_admin_response_t *response, bool head)
{
    weir_buffer_t out;
    weir_buffer_init(&out, SIZE_MAX);
    weir_buffer_printf(&out, "HTTP/1.1 %d X\r\n", response->status);
    for (size_t i = 0; i < response->header_count; i++)
        weir_buffer_printf(&out, "%.*s: %.*s\r\n", WEIR_STR_ARG(response->headers[i].name),
                           WEIR_STR_ARG(response->headers[i].value));
    if (response->status != 204)
        weir_buffer_printf(&out, "Content-Length: %zu\r\n", response->body.len);
    weir_buffer_append(&out, WEIR_STR("\r\n"));
    if (!head)
        weir_buffer_append(&out, weir_buffer_str(&response->body));
    send_all(fd, out.data, out.len);
    weir_buffer_release(&out);
}

/* Decodes a chunked body in place. Returns the bytes that it took, 0: incomplete. */
static size_t unchunk(char *data, size_t len, size_t *ret_len)
{
    size_t at = 0;
    size_t to = 0;
    for (;;) {
        char *line = memmem(data + at, len - at, "\r\n", 2);
        if (line == NULL)
            return 0;
        size_t bytes = strtoul(data + at, NULL, 16);
        size_t from = (size_t)(line - data) + 2;
        if (from + bytes + 2 > len)
            return 0;
        memmove(data + to, data + from, bytes);
        to += bytes;
        at = from + bytes + 2;
        if (bytes == 0) {
            *ret_len = to;
            return at;
        }
    }
}

/* One request. False: the connection is over. */
static bool serve(weir_admin_t *admin, int fd, message_t *in)
{
    char *end = NULL;
    while (in->len == 0 || (end = memmem(in->data, in->len, "\r\n\r\n", 4)) == NULL)
        if (!more(fd, in))
            return false;
    size_t head_len = (size_t)(end - in->data) + 4;
    weir_admin_header_t headers[HEADERS_MAX];
    weir_admin_request_t request = { .headers = headers };
    /* Lines are copied, because reading on may move the buffer. */
    char *head = strndup(in->data, head_len);
    char *at = strstr(head, "\r\n");
    *at = '\0';
    char *target = strchr(head, ' ');
    char *version = target != NULL ? strrchr(head, ' ') : NULL;
    if (target == NULL || version == target)
        exit(1);
    request.method = (weir_str_t){ head, (size_t)(target - head) };
    request.target = (weir_str_t){ target + 1, (size_t)(version - target) - 1 };
    size_t length = 0;
    for (char *line = at + 2; *line != '\r' && request.header_count < HEADERS_MAX;) {
        char *next = strstr(line, "\r\n");
        char *colon = memchr(line, ':', (size_t)(next - line));
        char *value = colon + 1;
        while (*value == ' ')
            value++;
        headers[request.header_count++] =
            (weir_admin_header_t){ { line, (size_t)(colon - line) },
                                   { value, (size_t)(next - value) } };
        if (strncasecmp(line, "content-length:", 15) == 0)
            length = strtoul(value, NULL, 10);
        if (strncasecmp(line, "transfer-encoding: chunked", 26) == 0)
            request.chunked = true;
        line = next + 2;
    }
    size_t taken = head_len + length;
    size_t chunked_len = 0;
    if (request.chunked) {
        size_t used = 0;
        while ((used = unchunk(in->data + head_len, in->len - head_len, &chunked_len)) == 0)
            if (!more(fd, in))
                return false;
        taken = head_len + used;
        length = chunked_len;
    }
    while (in->len < taken)
        if (!more(fd, in))
            return false;
    request.body = (weir_str_t){ in->data + head_len, length };
    request.has_body = length > 0 || request.chunked;
    weir_admin_response_t response;
    weir_admin_response_init(&response, 512 * 1024 * 1024);
    weir_error_t err = { 0 };
    weir_admin_handle(admin, &request, &response, &err);
    if (err.code != WEIR_OK)
        fprintf(stderr, "%.*s %.*s: %s %s\n", WEIR_STR_ARG(request.method),
                WEIR_STR_ARG(request.target), err.field, err.reason);
    answer(fd, &response, weir_str_is(request.method, "HEAD"));
    weir_admin_response_release(&response);
    free(head);
    memmove(in->data, in->data + taken, in->len - taken);
    in->len -= taken;
    return true;
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    weir_error_t err = { 0 };
    char path[4096];
    snprintf(path, sizeof(path), "%s/weir.db", argv[2]);
    weir_store_options_t store_options = { .path = path, .log_entries_max = 100000 };
    size_t done = 0;
    weir_settings_t *settings = NULL;
    weir_admin_options_t options = {
        .hostname = "test",
        .host = { .status = status, .set_log_level = set_log_level },
    };
    weir_admin_t *admin = NULL;
    int rc = weir_store_migrate(&store_options, &done, &err);
    if (rc == WEIR_OK)
        rc = weir_store_open(&store_options, &options.store, &err);
    if (rc == WEIR_OK)
        rc = weir_settings_load(NULL, NULL, argv[2], &settings, &err);
    for (int i = 3; rc == WEIR_OK && i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (equals == NULL)
            return 2;
        *equals = '\0';
        rc = weir_settings_set(settings, argv[i], weir_str(equals + 1), &err);
    }
    options.settings = settings;
    if (rc == WEIR_OK)
        rc = weir_uuid_random(&options.node_id);
    if (rc == WEIR_OK)
        rc = weir_admin_new(&options, &admin, &err);
    if (rc != WEIR_OK) {
        fprintf(stderr, "%s %s\n", err.field, err.reason);
        return 1;
    }
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    struct sockaddr_in address = { .sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)strtoul(argv[1], NULL, 10)),
                                   .sin_addr = { htonl(INADDR_LOOPBACK) } };
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(listener, 16) != 0) {
        perror("listen");
        return 1;
    }
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        message_t in = { 0 };
        while (fd >= 0 && serve(admin, fd, &in))
            continue;
        free(in.data);
        close(fd);
    }
}
