/* pair.h -- both ends of the wire in one process, joined by pipes of bytes that are cut
 * into random pieces. Included by *pair_test.c only; each puts a data plane of its own
 * behind the client. */
#ifndef WEIR_PAIR_H
#define WEIR_PAIR_H

#include "cluster/fixture.h"

#include <openssl/evp.h>

typedef struct wire {
    fixture_store_t store;
    fixture_host_t host;
    weir_client_t *client;
    weir_buffer_t up, down; /* to the control plane, and back */
    fixture_random_t random;
    bool connected, upgraded;
    int64_t now_ms;
    char events[8192]; /* of the client, one line each */
    /* Looks at, or changes, what goes down. NULL: nothing does. */
    void (*filter)(struct wire *wire);
} wire_t;

static inline int wire_send(void *context, weir_str_t bytes)
{
    return weir_buffer_append(&((wire_t *)context)->up, bytes);
}

static inline int wire_random(void *context, uint8_t *bytes, size_t count)
{
    wire_t *wire = context;
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)fixture_next(&wire->random, 256);
    return WEIR_OK;
}

static inline void wire_event(void *context, const char *text)
{
    wire_t *wire = context;
    size_t len = strlen(wire->events);
    snprintf(wire->events + len, sizeof(wire->events) - len, "%s\n", text);
}

static inline void wire_cut(wire_t *wire)
{
    if (!wire->connected)
        return;
    weir_client_disconnected(wire->client);
    fixture_host_close(&wire->host, wire->now_ms);
    weir_buffer_clear(&wire->up);
    weir_buffer_clear(&wire->down);
    wire->connected = wire->upgraded = false;
}

static inline void wire_connect(wire_t *wire)
{
    fixture_host_open(&wire->host, &wire->store, "3.9.1", wire->now_ms);
    assert_int_equal(weir_client_connected(wire->client, wire->now_ms, NULL), WEIR_OK);
    wire->connected = true;
}

/* What the nginx module does. */
static inline void wire_upgrade(wire_t *wire)
{
    weir_str_t head = weir_buffer_str(&wire->up);
    char *end = memmem(head.data, head.len, "\r\n\r\n", 4);
    char *key = memmem(head.data, head.len, "Sec-WebSocket-Key: ", 19);
    if (end == NULL)
        return;
    assert_true(weir_str_starts(head, WEIR_STR("GET /v2/outlet HTTP/1.1\r\nUpgrade: websocket\r\n"
                                               "Host: cp:8005\r\n")));
    char text[128];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned char base64[64];
    unsigned len = 0;
    snprintf(text, sizeof(text), "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 19);
    EVP_Digest(text, strlen(text), digest, &len, EVP_sha1(), NULL);
    EVP_EncodeBlock(base64, digest, (int)len);
    weir_buffer_printf(&wire->down,
                       "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n"
                       "Sec-WebSocket-Protocol: kong.meta.v1\r\nUpgrade: websocket\r\n"
                       "Sec-WebSocket-Accept: %s\r\n\r\n",
                       base64);
    weir_buffer_consume(&wire->up, (size_t)(end + 4 - head.data));
    wire->upgraded = true;
}

static inline void wire_deliver_up(wire_t *wire, size_t most)
{
    size_t len = wire->up.len < most ? wire->up.len : most;
    if (!wire->upgraded || len == 0)
        return;
    int rc = weir_session_input(wire->host.session, (weir_str_t){ wire->up.data, len },
                                wire->now_ms, NULL);
    weir_buffer_consume(&wire->up, len);
    if (rc != WEIR_OK)
        wire_cut(wire);
}

static inline void wire_deliver_down(wire_t *wire, size_t most)
{
    if (!wire->connected)
        return;
    weir_buffer_t out = fixture_take(&wire->host.out);
    weir_buffer_append(&wire->down, weir_buffer_str(&out));
    weir_buffer_release(&out);
    if (wire->filter != NULL)
        wire->filter(wire);
    size_t len = wire->down.len < most ? wire->down.len : most;
    if (len == 0)
        return;
    /* A copy of its own length, so that reading past it is seen. */
    char *copy = malloc(len);
    memcpy(copy, wire->down.data, len);
    weir_buffer_consume(&wire->down, len);
    int rc = weir_client_input(wire->client, (weir_str_t){ copy, len }, wire->now_ms, NULL);
    free(copy);
    if (rc != WEIR_OK)
        wire_cut(wire);
}

static inline void wire_tick(wire_t *wire)
{
    if (!wire->connected)
        return;
    if (weir_client_tick(wire->client, wire->now_ms, NULL) != WEIR_OK ||
        weir_session_tick(wire->host.session, wire->now_ms, NULL) != WEIR_OK)
        wire_cut(wire);
}

static inline void wire_step(wire_t *wire)
{
    static const size_t pieces[] = { 1, 2, 5, 17, 100, 1000, 100000 };
    size_t most = pieces[fixture_next(&wire->random, WEIR_COUNT(pieces))];
    wire->now_ms += fixture_next(&wire->random, 20);
    if (!wire->connected)
        wire_connect(wire);
    else if (!wire->upgraded)
        wire_upgrade(wire);
    switch (fixture_next(&wire->random, 4)) {
    case 0:
        wire_deliver_up(wire, most);
        break;
    case 1:
        wire_deliver_down(wire, most);
        break;
    case 2:
        if (wire->connected && wire->host.wants_count > 0 &&
            fixture_host_answer(&wire->host, wire->now_ms) != WEIR_OK)
            wire_cut(wire);
        break;
    case 3:
        wire_tick(wire);
        break;
    }
}

static inline void wire_settle(wire_t *wire)
{
    for (int i = 0; i < 200000; i++) {
        wire_step(wire);
        if (weir_client_version(wire->client) == weir_store_version(wire->store.store) &&
            wire->connected && wire->host.wants_count == 0 && wire->up.len == 0 &&
            wire->down.len == 0 && wire->host.out.first == NULL)
            return;
    }
}

/* WEIR_SEED repeats a run. */
static inline uint64_t wire_seed(unsigned run)
{
    const char *given = getenv("WEIR_SEED");
    return given != NULL ? strtoull(given, NULL, 10) : 1000 + run;
}

static inline void wire_open(wire_t *wire, uint64_t seed, uint64_t log_entries_max)
{
    *wire = (wire_t){ .random = { seed }, .now_ms = 1000000 };
    fixture_store_open(&wire->store, log_entries_max, FIXTURE_PAYLOAD_MAX, 0);
    weir_buffer_init(&wire->up, 1 << 26);
    weir_buffer_init(&wire->down, 1 << 26);
}

static inline void wire_close(wire_t *wire)
{
    wire_cut(wire);
    weir_client_free(wire->client);
    weir_buffer_release(&wire->up);
    weir_buffer_release(&wire->down);
    fixture_store_close(&wire->store);
}

/* There is something new. */
static inline void wire_notify(wire_t *wire)
{
    if (wire->connected &&
        weir_session_notify(wire->host.session, weir_store_version(wire->store.store), wire->now_ms,
                            NULL) != WEIR_OK)
        wire_cut(wire);
}

#endif
