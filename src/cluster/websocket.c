/* websocket.c -- one end of a WebSocket: from frames to messages, and back. */
#include "cluster/websocket.h"

enum {
    PING_AGAIN_MS = 5000, /* while no answer comes */
    REQUEST_BYTES_MAX = 2048,
};

/* -- its end ------------------------------------------------------------------------------ */

int weir_websocket_drop(weir_error_t *err, const char *why)
{
    return weir_error_set(err, WEIR_CLOSED, NULL, "%s", why);
}

int weir_websocket_close(weir_websocket_t *ws, weir_error_t *err, const char *why)
{
    (void)weir_websocket_send(ws, WEIR_FRAME_CLOSE, WEIR_STR(""), NULL);
    return weir_websocket_drop(err, why);
}

int weir_websocket_overflow(const weir_websocket_t *ws, weir_error_t *err)
{
    return weir_websocket_drop(err, ws->options.protocol->server
                                        ? "its output queue is full: it is too slow"
                                        : "the output queue is full");
}

/* -- sending ------------------------------------------------------------------------------ */

static int put(weir_websocket_t *ws, weir_str_t bytes, weir_error_t *err)
{
    if (bytes.len == 0 || ws->options.send(ws->options.host, bytes) == WEIR_OK)
        return WEIR_OK;
    return weir_websocket_overflow(ws, err);
}

static int send_bare(weir_websocket_t *ws, weir_opcode_t opcode, weir_str_t payload,
                     weir_error_t *err)
{
    uint8_t header[WEIR_FRAME_HEADER_MAX];
    size_t len = weir_frame_header(opcode, payload.len, NULL, header);
    int rc = put(ws, (weir_str_t){ (const char *)header, len }, err);
    return rc == WEIR_OK ? put(ws, payload, err) : rc;
}

static int send_masked(weir_websocket_t *ws, weir_opcode_t opcode, weir_str_t payload,
                       weir_error_t *err)
{
    uint8_t mask[4];
    uint8_t header[WEIR_FRAME_HEADER_MAX];
    WEIR_AUTO(buffer) weir_buffer_t bytes;
    weir_buffer_init(&bytes, sizeof(header) + payload.len);
    if (ws->options.random(ws->options.host, mask, sizeof(mask)) != WEIR_OK)
        return weir_websocket_drop(err, "no randomness for a mask");
    size_t len = weir_frame_header(opcode, payload.len, mask, header);
    weir_buffer_append(&bytes, (weir_str_t){ (const char *)header, len });
    if (weir_buffer_append(&bytes, payload) != WEIR_OK)
        return weir_websocket_drop(err, "out of memory for a frame");
    weir_frame_mask(bytes.data + len, payload.len, mask);
    return put(ws, weir_buffer_str(&bytes), err);
}

int weir_websocket_send(weir_websocket_t *ws, weir_opcode_t opcode, weir_str_t payload,
                        weir_error_t *err)
{
    if (payload.len > ws->options.payload_max)
        return weir_websocket_drop(err, "a message larger than cluster_max_payload");
    return ws->options.protocol->server ? send_bare(ws, opcode, payload, err)
                                        : send_masked(ws, opcode, payload, err);
}

int weir_websocket_send_head(weir_websocket_t *ws, uint64_t len, weir_error_t *err)
{
    uint8_t header[WEIR_FRAME_HEADER_MAX];
    weir_assert(ws->options.protocol->server);
    size_t bytes = weir_frame_header(WEIR_FRAME_BINARY, len, NULL, header);
    return put(ws, (weir_str_t){ (const char *)header, bytes }, err);
}

/* -- a client's beginning (A.2) ------------------------------------------------------------- */

int weir_websocket_upgrade(weir_websocket_t *ws, const weir_websocket_request_t *request,
                           weir_error_t *err)
{
    uint8_t random[16];
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, REQUEST_BYTES_MAX);
    if (ws->options.random(ws->options.host, random, sizeof(random)) != WEIR_OK)
        return weir_websocket_drop(err, "no randomness for a key");
    if (weir_upgrade_request(&ws->upgrade, random, request->host, request->target,
                             request->subprotocol, &text) != WEIR_OK)
        return weir_websocket_drop(err, "out of memory for a request");
    ws->subprotocol = request->subprotocol;
    ws->upgrading = true;
    return put(ws, weir_buffer_str(&text), err);
}

/* What does not belong to the answer stays in *bytes. */
static int take_upgrade(weir_websocket_t *ws, weir_str_t *bytes, int64_t now_ms, weir_error_t *err)
{
    int rc = weir_upgrade_answer(&ws->upgrade, ws->subprotocol, bytes, err);
    if (rc != WEIR_OK)
        return rc == WEIR_AGAIN ? WEIR_OK : rc;
    ws->upgrading = false;
    return ws->options.protocol->opened(ws->options.context, now_ms, err);
}

/* -- what comes ----------------------------------------------------------------------------- */

/* WEIR_OK, or what is wrong with it whatever the protocol. */
static int check(weir_websocket_t *ws, const weir_frame_t *frame, weir_error_t *err)
{
    const weir_websocket_protocol_t *protocol = ws->options.protocol;
    bool first = protocol->server && !ws->begun;
    ws->begun = true;
    if (first && (frame->opcode != WEIR_FRAME_BINARY || (!frame->fin && protocol->begins_quietly)))
        return weir_websocket_drop(err, "the first frame is not a whole binary message");
    if (!frame->fin || frame->opcode == WEIR_FRAME_CONTINUATION)
        return weir_websocket_close(ws, err, "a fragmented message");
    return WEIR_OK;
}

static int take(weir_websocket_t *ws, const weir_frame_t *frame, int64_t now_ms, weir_error_t *err)
{
    const weir_websocket_protocol_t *protocol = ws->options.protocol;
    weir_websocket_take_t *taker = NULL;
    switch (frame->opcode) {
    case WEIR_FRAME_BINARY:
        taker = protocol->message;
        break;
    case WEIR_FRAME_PING:
        if (protocol->ping == NULL)
            return weir_websocket_send(ws, WEIR_FRAME_PONG, WEIR_STR(""), err);
        taker = protocol->ping;
        break;
    case WEIR_FRAME_PONG:
        if (protocol->pong == NULL)
            return WEIR_OK;
        taker = protocol->pong;
        break;
    case WEIR_FRAME_TEXT:
        if (protocol->text == NULL)
            return weir_websocket_close(ws, err, "a text frame");
        taker = protocol->text;
        break;
    case WEIR_FRAME_CLOSE:
    case WEIR_FRAME_CONTINUATION: /* check() has refused it */
        return weir_websocket_close(
            ws, err, protocol->server ? "closed by the data plane" : "closed by the control plane");
    }
    return taker(ws->options.context, frame->payload, now_ms, err);
}

int weir_websocket_input(weir_websocket_t *ws, weir_str_t bytes, int64_t now_ms, weir_error_t *err)
{
    /* An answer that is not whole yet leaves nothing of `bytes`. */
    int rc = ws->upgrading ? take_upgrade(ws, &bytes, now_ms, err) : WEIR_OK;
    while (rc == WEIR_OK) {
        weir_frame_t frame;
        rc = weir_frame_next(ws->frames, &bytes, &frame, err);
        if (rc == WEIR_AGAIN)
            return WEIR_OK;
        if (rc != WEIR_OK) {
            if (err != NULL)
                err->code = WEIR_CLOSED;
            return WEIR_CLOSED; /* broken framing: no close frame (A.3) */
        }
        ws->heard_ms = now_ms;
        rc = check(ws, &frame, err);
        if (rc == WEIR_OK)
            rc = take(ws, &frame, now_ms, err);
    }
    return rc;
}

/* -- silence -------------------------------------------------------------------------------- */

/* A while after the last frame, and then at intervals. */
static int64_t ping_due_ms(const weir_websocket_t *ws)
{
    if (ws->options.ping_ms == 0)
        return INT64_MAX;
    return ws->pinged_ms > ws->heard_ms ? ws->pinged_ms + PING_AGAIN_MS
                                        : ws->heard_ms + ws->options.ping_ms;
}

int weir_websocket_tick(weir_websocket_t *ws, int64_t now_ms, weir_error_t *err)
{
    int64_t silent_ms = now_ms - ws->heard_ms;
    if (silent_ms >= ws->options.idle_ms) {
        (void)weir_websocket_close(ws, NULL, "");
        return weir_error_set(err, WEIR_CLOSED, NULL, "nothing came for %lld seconds",
                              (long long)silent_ms / 1000);
    }
    if (now_ms < ping_due_ms(ws))
        return WEIR_OK;
    ws->pinged_ms = now_ms;
    return weir_websocket_send(ws, WEIR_FRAME_PING, WEIR_STR(""), err);
}

int64_t weir_websocket_deadline(const weir_websocket_t *ws)
{
    int64_t ping_ms = ping_due_ms(ws);
    int64_t end_ms = ws->heard_ms + ws->options.idle_ms;
    return ping_ms < end_ms ? ping_ms : end_ms;
}

/* -- its life ------------------------------------------------------------------------------- */

int weir_websocket_begin(weir_websocket_t *ws, const weir_websocket_options_t *options,
                         int64_t now_ms, weir_error_t *err)
{
    weir_websocket_release(ws);
    *ws = (weir_websocket_t){ .options = *options, .heard_ms = now_ms };
    weir_upgrade_init(&ws->upgrade);
    return weir_frame_reader_new(options->protocol->server, options->payload_max, &ws->frames, err);
}

void weir_websocket_release(weir_websocket_t *ws)
{
    weir_frame_reader_free(ws->frames);
    weir_upgrade_release(&ws->upgrade);
    *ws = (weir_websocket_t){ 0 };
}
