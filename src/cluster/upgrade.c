/* upgrade.c -- a data plane's upgrade to WebSocket. */
#include "cluster/upgrade.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <strings.h>

void weir_upgrade_init(weir_upgrade_t *upgrade)
{
    *upgrade = (weir_upgrade_t){ 0 };
    weir_buffer_init(&upgrade->head, WEIR_UPGRADE_ANSWER_MAX);
}

void weir_upgrade_release(weir_upgrade_t *upgrade)
{
    weir_buffer_release(&upgrade->head);
}

int weir_upgrade_request(weir_upgrade_t *upgrade, const uint8_t random[16], const char *host,
                         const char *target, const char *protocol, weir_buffer_t *out)
{
    weir_buffer_clear(&upgrade->head);
    upgrade->status = 0;
    EVP_EncodeBlock((unsigned char *)upgrade->key, random, 16);
    weir_buffer_printf(out,
                       "GET %s HTTP/1.1\r\n"
                       "Upgrade: websocket\r\n"
                       "Host: %s\r\n"
                       "Sec-WebSocket-Key: %s\r\n",
                       target, host, upgrade->key);
    if (protocol != NULL)
        weir_buffer_printf(out, "Sec-WebSocket-Protocol: %s\r\n", protocol);
    return weir_buffer_printf(out, "Sec-WebSocket-Version: 13\r\n"
                                   "Connection: Upgrade\r\n\r\n");
}

static bool accept_fits(const char *key, weir_str_t accept)
{
    static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[WEIR_UPGRADE_KEY + sizeof(magic)];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned char base64[64];
    unsigned len = 0;
    int text_len = snprintf(text, sizeof(text), "%s%s", key, magic);
    if (EVP_Digest(text, (size_t)text_len, digest, &len, EVP_sha1(), NULL) != 1)
        return false;
    EVP_EncodeBlock(base64, digest, (int)len);
    return weir_str_is(accept, (const char *)base64);
}

/* The value of a header; data NULL: none. */
static weir_str_t header(weir_str_t head, const char *name)
{
    size_t name_len = strlen(name);
    for (size_t at = 0; at < head.len;) {
        const char *line = head.data + at;
        const char *end = memchr(line, '\n', head.len - at);
        size_t len = end != NULL ? (size_t)(end - line) : head.len - at;
        if (len > name_len && line[name_len] == ':' && strncasecmp(line, name, name_len) == 0)
            return weir_str_trim((weir_str_t){ line + name_len + 1, len - name_len - 1 });
        at += len + 1;
    }
    return (weir_str_t){ NULL, 0 };
}

static int refuse(weir_error_t *err, const char *why)
{
    return weir_error_set(err, WEIR_CLOSED, NULL, "%s", why);
}

/* "HTTP/1.1 404 ...": 404; 0: it is no such line. */
static int status_of(weir_str_t head)
{
    int64_t status = 0;
    enum { AT = sizeof("HTTP/1.1 ") - 1, DIGITS = 3 };
    if (!weir_str_starts(head, WEIR_STR("HTTP/1.1 ")) || head.len < AT + DIGITS ||
        weir_parse_int64((weir_str_t){ head.data + AT, DIGITS }, 100, 599, &status) != WEIR_OK)
        return 0;
    return (int)status;
}

static int judge(weir_upgrade_t *upgrade, const char *protocol, weir_error_t *err)
{
    weir_str_t head = weir_buffer_str(&upgrade->head);
    upgrade->status = status_of(head);
    if (upgrade->status != 101) {
        const char *end = memchr(head.data, '\r', head.len);
        int len = end != NULL && end - head.data < 100 ? (int)(end - head.data) : 100;
        if ((size_t)len > head.len)
            len = (int)head.len;
        return weir_error_set(err, WEIR_CLOSED, NULL, "the control plane refuses the upgrade: %.*s",
                              len, head.data);
    }
    if (!accept_fits(upgrade->key, header(head, "sec-websocket-accept")))
        return refuse(err, "Sec-WebSocket-Accept does not fit");
    if (protocol != NULL && !weir_str_is(header(head, "sec-websocket-protocol"), protocol))
        return weir_error_set(err, WEIR_CLOSED, NULL, "Sec-WebSocket-Protocol is not %s", protocol);
    return WEIR_OK;
}

int weir_upgrade_answer(weir_upgrade_t *upgrade, const char *protocol, weir_str_t *bytes,
                        weir_error_t *err)
{
    weir_buffer_t *head = &upgrade->head;
    while (bytes->len > 0) {
        if (head->len >= WEIR_UPGRADE_ANSWER_MAX)
            return refuse(err, "the answer to the upgrade has no end");
        weir_buffer_byte(head, bytes->data[0]);
        *bytes = (weir_str_t){ bytes->data + 1, bytes->len - 1 };
        if (weir_str_ends(weir_buffer_str(head), WEIR_STR("\r\n\r\n")))
            return head->failed == WEIR_OK ? judge(upgrade, protocol, err)
                                           : refuse(err, "out of memory for an answer");
    }
    return head->failed == WEIR_OK ? WEIR_AGAIN : refuse(err, "out of memory for an answer");
}
