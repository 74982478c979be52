/* hosts.c -- rules for host names, addresses, targets. */
#include "model/checks.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>

typedef enum host_kind { HOST_NAME, HOST_IPV4, HOST_IPV6 } host_kind_t;

/* "IPv6 is what has more than one colon, IPv4 is digits and dots only": the same
 * rule that the balancer uses (routing 9.1). */
static host_kind_t kind_of(weir_str_t text)
{
    size_t colons = 0;
    bool digits_only = text.len > 0;
    for (size_t i = 0; i < text.len; i++) {
        colons += text.data[i] == ':';
        digits_only = digits_only && (isdigit((unsigned char)text.data[i]) || text.data[i] == '.');
        if (text.data[i] == ':' && colons == 1) {
            /* What follows a single colon is a port: judge the part before it. */
            continue;
        }
    }
    if (colons > 1)
        return HOST_IPV6;
    return digits_only ? HOST_IPV4 : HOST_NAME;
}

typedef struct split_host {
    host_kind_t kind;
    weir_str_t host; /* IPv6 without brackets */
    weir_str_t port; /* data NULL: none */
} split_host_t;

static bool split_ipv6(weir_str_t text, split_host_t *ret)
{
    ret->kind = HOST_IPV6;
    ret->port = (weir_str_t){ NULL, 0 };
    if (text.len == 0 || text.data[0] != '[') {
        ret->host = text;
        return true;
    }
    const char *end = memchr(text.data, ']', text.len);
    if (end == NULL)
        return false;
    ret->host = (weir_str_t){ text.data + 1, (size_t)(end - text.data) - 1 };
    size_t rest = text.len - (size_t)(end - text.data) - 1;
    if (rest == 0)
        return true;
    if (end[1] != ':')
        return false;
    ret->port = (weir_str_t){ end + 2, rest - 1 };
    return true;
}

/* What follows a colon is a port only then; else the colon is a bad character. */
static bool all_digits(const char *at, const char *end)
{
    if (at == end)
        return false;
    while (at < end && isdigit((unsigned char)*at))
        at++;
    return at == end;
}

static bool split(weir_str_t text, split_host_t *ret)
{
    if (kind_of(text) == HOST_IPV6)
        return split_ipv6(text, ret);
    const char *colon = memchr(text.data, ':', text.len);
    ret->host = text;
    ret->port = (weir_str_t){ NULL, 0 };
    if (colon != NULL && all_digits(colon + 1, text.data + text.len)) {
        ret->host.len = (size_t)(colon - text.data);
        ret->port = (weir_str_t){ colon + 1, text.len - ret->host.len - 1 };
    }
    ret->kind = kind_of(ret->host);
    return true;
}

static bool valid_ipv4(weir_str_t text)
{
    unsigned parts = 0;
    size_t i = 0;
    while (i < text.len) {
        unsigned value = 0;
        size_t digits = 0;
        for (; i < text.len && isdigit((unsigned char)text.data[i]) && digits < 4; i++, digits++)
            value = value * 10 + (unsigned)(text.data[i] - '0');
        if (digits == 0 || digits > 3 || value > 255)
            return false;
        parts++;
        if (i < text.len && (text.data[i++] != '.' || i == text.len))
            return false;
    }
    return parts == 4;
}

static bool valid_ipv6(weir_str_t text, struct in6_addr *ret)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (text.len == 0 || text.len >= sizeof(copy))
        return false;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    return inet_pton(AF_INET6, copy, ret != NULL ? ret : &address) == 1;
}

static bool valid_name(weir_str_t text)
{
    if (text.len > 0 && text.data[text.len - 1] == '.')
        text.len--; /* one trailing dot is fine */
    if (text.len == 0)
        return false;
    char before = '.';
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '.') {
            if (before == '.' || before == '-')
                return false;
        } else if (!isalnum((unsigned char)c) && c != '-' && c != '_') {
            return false;
        }
        before = c;
    }
    return before != '-' && before != '.';
}

static bool valid_host(const split_host_t *parts)
{
    switch (parts->kind) {
    case HOST_IPV4:
        return valid_ipv4(parts->host);
    case HOST_IPV6:
        return valid_ipv6(parts->host, NULL);
    case HOST_NAME:
        return valid_name(parts->host);
    }
    return false;
}

static bool valid_port(weir_str_t port)
{
    int64_t number = 0;
    return weir_parse_int64(port, 0, 65535, &number) == WEIR_OK;
}

static int invalid_value(weir_error_t *err)
{
    return weir_error_set(err, WEIR_INVALID, NULL, "invalid value: " WEIR_VALUE);
}

int weir_check_host(weir_str_t value, weir_error_t *err)
{
    split_host_t parts;
    if (!split(value, &parts))
        return invalid_value(err);
    if (parts.port.data != NULL && parts.kind != HOST_IPV6)
        return valid_host(&parts) || parts.host.len > 0
                   ? weir_error_set(err, WEIR_INVALID, NULL, "must not have a port")
                   : invalid_value(err);
    if (parts.port.data != NULL)
        return weir_error_set(err, WEIR_INVALID, NULL, "must not have a port");
    return valid_host(&parts) ? WEIR_OK : invalid_value(err);
}

int weir_check_host_with_optional_port(weir_str_t value, weir_error_t *err)
{
    static const char *const words[] = { "hostname", "ipv4 address", "ipv6 address" };
    split_host_t parts;
    bool fine = split(value, &parts);
    if (!fine || !valid_host(&parts))
        return weir_error_set(err, WEIR_INVALID, NULL, "invalid %s: " WEIR_VALUE,
                              words[fine ? parts.kind : HOST_IPV6]);
    if (parts.port.data != NULL && !valid_port(parts.port))
        return weir_error_set(err, WEIR_INVALID, NULL, "invalid port number");
    return WEIR_OK;
}

/* Writes `value` with every '*' replaced by "abc"; false if it is too long. */
static bool without_wildcards(weir_str_t value, char *out, size_t bytes, weir_str_t *ret)
{
    size_t len = 0;
    for (size_t i = 0; i < value.len; i++) {
        bool star = value.data[i] == '*';
        if (len + 3 >= bytes)
            return false;
        memcpy(out + len, star ? "abc" : value.data + i, star ? 3 : 1);
        len += star ? 3 : 1;
    }
    *ret = (weir_str_t){ out, len };
    return true;
}

/* Puts `plain`, which was judged, where the text would show the value. */
static int about(weir_str_t plain, int rc, weir_error_t *err)
{
    char start[sizeof(err->reason)];
    const char *mark = rc != WEIR_OK && err != NULL ? strstr(err->reason, WEIR_VALUE) : NULL;
    if (mark == NULL)
        return rc;
    snprintf(start, sizeof(start), "%.*s", (int)(mark - err->reason), err->reason);
    return weir_error_set(err, rc, NULL, "%s%.*s", start, WEIR_STR_ARG(plain));
}

enum { HOST_BYTES_MAX = 1024 };

int weir_check_route_host(weir_str_t value, weir_error_t *err)
{
    size_t stars = 0;
    for (size_t i = 0; i < value.len; i++)
        stars += value.data[i] == '*';
    if (stars > 1)
        return weir_error_set(err, WEIR_INVALID, NULL,
                              "invalid wildcard: must have at most one wildcard");
    if (stars == 1 && !weir_str_starts(value, WEIR_STR("*.")) &&
        !weir_str_ends(value, WEIR_STR(".*")))
        return weir_error_set(err, WEIR_INVALID, NULL,
                              "invalid wildcard: must be placed at leftmost or rightmost label");
    char out[HOST_BYTES_MAX];
    weir_str_t plain;
    if (!without_wildcards(value, out, sizeof(out), &plain))
        return weir_error_set(err, WEIR_INVALID, NULL, "invalid hostname: longer than %d bytes",
                              HOST_BYTES_MAX);
    int rc = weir_check_host_with_optional_port(plain, err);
    return stars > 0 ? about(plain, rc, err) : rc;
}

int weir_check_sni(weir_str_t value, weir_error_t *err)
{
    split_host_t parts;
    if (!split(value, &parts))
        return invalid_value(err);
    if (parts.kind != HOST_NAME && valid_host(&parts))
        return weir_error_set(err, WEIR_INVALID, NULL, "must not be an IP");
    if (parts.port.data != NULL && parts.kind == HOST_NAME && valid_host(&parts))
        return weir_error_set(err, WEIR_INVALID, NULL, "must not have a port");
    return parts.port.data == NULL && parts.kind == HOST_NAME && valid_host(&parts)
               ? WEIR_OK
               : invalid_value(err);
}

int weir_check_wildcard_host(weir_str_t value, weir_error_t *err)
{
    size_t stars = 0;
    for (size_t i = 0; i < value.len; i++)
        stars += value.data[i] == '*';
    if (stars == 0)
        return weir_check_sni(value, err);
    if (stars > 1)
        return weir_error_set(err, WEIR_INVALID, NULL, "only one wildcard must be specified");
    if (value.data[0] != '*' && value.data[value.len - 1] != '*')
        return weir_error_set(err, WEIR_INVALID, NULL,
                              "wildcard must be leftmost or rightmost character");
    char out[HOST_BYTES_MAX];
    weir_str_t plain;
    if (!without_wildcards(value, out, sizeof(out), &plain))
        return invalid_value(err);
    return about(plain, weir_check_sni(plain, err), err);
}

int weir_check_upstream_name(weir_str_t value, weir_error_t *err)
{
    split_host_t parts;
    size_t position = 0;
    if (!weir_utf8_valid(value, &position))
        return weir_error_set(err, WEIR_INVALID, NULL, "Invalid name; must be a valid hostname");
    const char *why = NULL;
    if (!split(value, &parts) || !valid_host(&parts) ||
        (parts.port.data != NULL && !valid_port(parts.port)))
        why = "must be a valid hostname";
    else if (parts.kind != HOST_NAME)
        why = "no ip addresses allowed";
    else if (parts.port.data != NULL)
        why = "no port allowed";
    if (why == NULL)
        return WEIR_OK;
    return weir_error_set(err, WEIR_INVALID, NULL, "Invalid name ('" WEIR_VALUE "'); %s", why);
}

int weir_target_normalize(weir_str_t target, char *ret, size_t bytes)
{
    split_host_t parts;
    int64_t port = 8000;
    if (!split(target, &parts) || !valid_host(&parts) ||
        (parts.port.data != NULL && weir_parse_int64(parts.port, 0, 65535, &port) != WEIR_OK))
        return WEIR_INVALID;
    int len = 0;
    if (parts.kind == HOST_IPV6) {
        struct in6_addr a;
        if (!valid_ipv6(parts.host, &a))
            return WEIR_INVALID;
        const uint8_t *b = a.s6_addr;
        len = snprintf(ret, bytes,
                       "[%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x:%02x%02x]"
                       ":%d",
                       b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11],
                       b[12], b[13], b[14], b[15], (int)port);
    } else if (parts.kind == HOST_IPV4) {
        unsigned part[4] = { 0 };
        size_t index = 0;
        for (size_t i = 0; i < parts.host.len; i++) {
            if (parts.host.data[i] == '.')
                index++;
            else
                part[index] = part[index] * 10 + (unsigned)(parts.host.data[i] - '0');
        }
        len = snprintf(ret, bytes, "%u.%u.%u.%u:%d", part[0], part[1], part[2], part[3], (int)port);
    } else {
        len = snprintf(ret, bytes, "%.*s:%d", WEIR_STR_ARG(parts.host), (int)port);
    }
    return len > 0 && (size_t)len < bytes ? WEIR_OK : WEIR_INVALID;
}

int weir_check_target(weir_str_t value, weir_error_t *err)
{
    char normal[HOST_BYTES_MAX];
    if (weir_target_normalize(value, normal, sizeof(normal)) == WEIR_OK)
        return WEIR_OK;
    return weir_error_set(err, WEIR_INVALID, NULL,
                          "Invalid target ('" WEIR_VALUE "'); not a valid hostname or ip address");
}

int weir_check_ip_or_cidr(weir_str_t value, weir_error_t *err)
{
    const char *slash = memchr(value.data, '/', value.len);
    weir_str_t address = { value.data, slash != NULL ? (size_t)(slash - value.data) : value.len };
    bool v4 = valid_ipv4(address);
    bool fine = v4 || valid_ipv6(address, NULL);
    if (fine && slash != NULL) {
        int64_t bits = 0;
        weir_str_t prefix = { slash + 1, value.len - address.len - 1 };
        fine = weir_parse_int64(prefix, 0, v4 ? 32 : 128, &bits) == WEIR_OK;
    }
    if (fine)
        return WEIR_OK;
    return weir_error_set(err, WEIR_INVALID, NULL, "invalid ip or cidr range: '" WEIR_VALUE "'");
}
