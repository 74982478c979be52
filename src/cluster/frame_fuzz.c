/* frame_fuzz.c -- any bytes as frames, in pieces, at either end of a WebSocket. */
#include "cluster/fixture_fuzz.h"
#include "cluster/websocket.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAYLOAD_MAX = 4096 };

static int on_payload(void *context, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    size_t *bytes = context;
    (void)now_ms, (void)err;
    weir_assert(payload.len <= PAYLOAD_MAX);
    *bytes += payload.len;
    return WEIR_OK;
}

/* The first byte: how long the pieces are; the second: which end of which protocol. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    weir_websocket_protocol_t protocol = {
        .server = data[1] & 1,
        .begins_quietly = data[1] & 2,
        .message = on_payload,
        .ping = data[1] & 4 ? on_payload : NULL,
        .pong = data[1] & 8 ? on_payload : NULL,
        .text = data[1] & 16 ? on_payload : NULL,
    };
    size_t bytes = 0;
    weir_websocket_options_t options = {
        .protocol = &protocol,
        .context = &bytes,
        .payload_max = PAYLOAD_MAX,
        .ping_ms = 20,
        .idle_ms = 30,
        .send = fuzz_send,
        .random = fuzz_random,
    };
    weir_websocket_t ws = { 0 };
    size_t step = 1 + data[0];
    int rc = weir_websocket_begin(&ws, &options, 0, NULL);
    for (size_t at = 2; at < size && rc == WEIR_OK; at += step) {
        weir_str_t part = { (const char *)data + at, size - at < step ? size - at : step };
        rc = weir_websocket_input(&ws, part, (int64_t)at, NULL);
        if (rc == WEIR_OK)
            rc = weir_websocket_tick(&ws, (int64_t)at, NULL);
    }
    weir_assert(bytes <= size);
    weir_assert(rc == WEIR_OK || rc == WEIR_CLOSED || rc == WEIR_NO_MEMORY);
    weir_websocket_release(&ws);
    return 0;
}
