/* probe.c -- looking at a node from outside, through its listeners. */
#include "cli/cli.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    PROBE_TIMEOUT_S = 2,
    PORT_WAIT_MS = 2000, /* nginx itself gives a port 5 x 500 ms */
    PORT_POLL_MS = 20,
};

/* The address as one to connect to: "any" becomes loopback. */
static socklen_t address_of(const weir_listen_t *listen, bool connecting,
                            struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof(*ret));
    if (listen->address[0] == '[') {
        struct sockaddr_in6 *to = (struct sockaddr_in6 *)ret;
        char inside[sizeof(listen->address)];
        snprintf(inside, sizeof(inside), "%.*s", (int)strlen(listen->address) - 2,
                 listen->address + 1);
        to->sin6_family = AF_INET6;
        to->sin6_port = htons((uint16_t)listen->port);
        inet_pton(AF_INET6, inside, &to->sin6_addr);
        if (connecting && IN6_IS_ADDR_UNSPECIFIED(&to->sin6_addr))
            to->sin6_addr = in6addr_loopback;
        return sizeof(*to);
    }
    struct sockaddr_in *to = (struct sockaddr_in *)ret;
    to->sin_family = AF_INET;
    to->sin_port = htons((uint16_t)listen->port);
    inet_pton(AF_INET, listen->address, &to->sin_addr);
    if (connecting && to->sin_addr.s_addr == htonl(INADDR_ANY))
        to->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof(*to);
}

static int connect_to(const weir_listen_t *listen)
{
    struct sockaddr_storage address;
    socklen_t len = address_of(listen, true, &address);
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval timeout = { .tv_sec = PROBE_TIMEOUT_S };
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
    if (connect(fd, (struct sockaddr *)&address, len) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

bool cli_listens(const weir_listen_t *listen)
{
    int fd = connect_to(listen);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

int cli_get(const weir_listen_t *listen, const char *path, char *body, size_t bytes)
{
    char text[2048];
    size_t len = 0;
    int fd = connect_to(listen);
    if (fd < 0)
        return 0;
    int want = snprintf(text, sizeof(text), "GET %s HTTP/1.0\r\nHost: localhost\r\n\r\n", path);
    if (send(fd, text, (size_t)want, MSG_NOSIGNAL) == want) {
        ssize_t got = 0;
        while (len < sizeof(text) - 1 &&
               (got = recv(fd, text + len, sizeof(text) - 1 - len, 0)) > 0)
            len += (size_t)got;
    }
    close(fd);
    text[len] = '\0';
    int64_t status = 0; /* "HTTP/1.1 200 OK" */
    if (len < 12 || memcmp(text, "HTTP/1.", 7) != 0 ||
        weir_parse_int64((weir_str_t){ text + 9, 3 }, 100, 599, &status) != WEIR_OK)
        return 0;
    const char *end = strstr(text, "\r\n\r\n");
    snprintf(body, bytes, "%s", end != NULL ? end + 4 : "");
    return (int)status;
}

/* Binds once and lets go again; *ret_number is the errno. */
static int try_bind(const char *name, const weir_listen_t *listen, int *ret_number,
                    weir_error_t *err)
{
    *ret_number = 0;
    struct sockaddr_storage address;
    socklen_t len = address_of(listen, false, &address);
    int on = 1;
    int fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return weir_error_errno(err, errno, "cannot open a socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* as nginx does */
    if (address.ss_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    int number = bind(fd, (struct sockaddr *)&address, len) == 0 ? 0 : errno;
    if (number == 0 && listen->reuseport == false && cli_listens(listen))
        number = EADDRINUSE; /* SO_REUSEADDR let us past one on a more general address */
    close(fd);
    *ret_number = number;
    if (number == 0)
        return WEIR_OK;
    char text[128];
    return weir_error_set(err, WEIR_CONFLICT, name, "cannot listen on %s:%d: %s", listen->address,
                          listen->port, strerror_r(number, text, sizeof(text)));
}

/* A process that was killed may keep its port for a while: until its last thread is done with
   the disk. */
static int try_bind_for_a_while(const char *name, const weir_listen_t *listen, weir_error_t *err)
{
    for (int waited = 0;; waited += PORT_POLL_MS) {
        int number = 0;
        int rc = try_bind(name, listen, &number, err);
        if (number != EADDRINUSE || waited >= PORT_WAIT_MS)
            return rc;
        cli_sleep_ms(PORT_POLL_MS);
    }
}

int cli_check_ports(const weir_settings_t *settings, weir_error_t *err)
{
    static const char *const cp[] = { "admin_listen", "cluster_listen", "status_listen", NULL };
    static const char *const dp[] = { "proxy_listen", "status_listen", NULL };
    static const char *const all[] = { "admin_listen", "cluster_listen", "status_listen",
                                       "proxy_listen", NULL };
    const char *role = weir_setting_string(settings, "role");
    const char *const *names = strcmp(role, "control_plane") == 0 ? cp
                               : strcmp(role, "data_plane") == 0  ? dp
                                                                  : all;
    for (; *names != NULL; names++) {
        for (size_t i = 0; i < weir_setting_listen_count(settings, *names); i++) {
            int rc = try_bind_for_a_while(*names, weir_setting_listen(settings, *names, i), err);
            if (rc != WEIR_OK)
                return rc;
        }
    }
    return WEIR_OK;
}

/* Only what can be asked in plain HTTP. */
static const weir_listen_t *plain(const weir_settings_t *settings, const char *name)
{
    for (size_t i = 0; i < weir_setting_listen_count(settings, name); i++) {
        const weir_listen_t *listen = weir_setting_listen(settings, name, i);
        if (!listen->ssl && !listen->proxy_protocol)
            return listen;
    }
    return NULL;
}

const weir_listen_t *cli_probe_address(const weir_settings_t *settings, const char **ret_path)
{
    const weir_listen_t *listen = plain(settings, "status_listen");
    *ret_path = "/status/ready";
    if (listen != NULL)
        return listen;
    bool data_plane = strcmp(weir_setting_string(settings, "role"), "data_plane") == 0;
    *ret_path = "/status";
    return data_plane ? NULL : plain(settings, "admin_listen");
}
