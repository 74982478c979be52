/* session.c -- one data plane's socket, on the control plane: its life, its hello. */
#include "cluster/internal.h"

#include "base/json.h"
#include "cluster/compat.h"

#include <stdarg.h>
#include <stdio.h>

enum { EVENT_BYTES_MAX = 768 };

void session_event(weir_session_t *s, const char *format, ...)
{
    char text[EVENT_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)weir_str_format(text, sizeof(text), format, arguments);
    va_end(arguments);
    s->options.event(s->options.context, text);
}

/* Another machine may use a copy of this one's prefix, or pretend to be it. */
static void warn_of_twin(weir_session_t *s)
{
    char text[EVENT_BYTES_MAX];
    snprintf(text, sizeof(text), "node id claimed from two addresses node=%s", s->node);
    (s->options.warning != NULL ? s->options.warning : s->options.event)(s->options.context, text);
}

/* -- sending --------------------------------------------------------------------------- */

static int send_message(weir_session_t *s, weir_str_t payload, weir_error_t *err)
{
    if (s->options.counters != NULL)
        s->options.counters->messages_out++;
    return weir_websocket_send(&s->socket, WEIR_FRAME_BINARY, payload, err);
}

int session_close(weir_session_t *s, weir_error_t *err, const char *why)
{
    return weir_websocket_close(&s->socket, err, why);
}

int session_send(weir_session_t *s, weir_json_t *message, weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *owned = message;
    WEIR_AUTO(buffer) weir_buffer_t block;
    weir_buffer_init(&block, s->options.payload_max + 1024 * 1024);
    if (weir_message_encode(s->codec, owned, &block, NULL) != WEIR_OK)
        return session_close(s, err, "out of memory for a message");
    return send_message(s, weir_buffer_str(&block), err);
}

/* -- notifications (C.5) ----------------------------------------------------------------- */

static weir_json_t *version_json(weir_dialect_t dialect, uint64_t version)
{
    char token[WEIR_TOKEN_LEN + 1];
    if (dialect == WEIR_DIALECT_39)
        return weir_json_new_number((double)version);
    weir_token_format(version, token);
    return weir_json_new_string(weir_str(token));
}

int session_push(weir_session_t *s, int64_t now_ms, weir_error_t *err)
{
    if (s->sync.agreed)
        return session_sync_push(s, err);
    if (!s->ready || !s->subscribed || s->call_open || s->wants_open > 0 ||
        s->newest <= s->notified)
        return WEIR_OK;
    WEIR_AUTO(json) weir_json_t *id = weir_json_new_number((double)s->next_id);
    weir_json_t *message =
        id == NULL
            ? NULL
            : weir_message_call(
                  "kong.sync.v2.notify_new_version",
                  weir_message_in_default("new_version", version_json(s->dialect, s->newest)), id);
    s->call_open = true;
    s->call_id = s->next_id++;
    s->call_ms = now_ms;
    s->notified = s->newest;
    return session_send(s, message, err);
}

int weir_session_notify(weir_session_t *session, uint64_t version, int64_t now_ms,
                        weir_error_t *err)
{
    if (version > session->newest)
        session->newest = version;
    return session_push(session, now_ms, err);
}

/* -- the hello (B.1) ----------------------------------------------------------------------- */

/* The original from 3.10 on hides kong.sync.v2 from every older node. We hide it
 * only from those that are too old to know it: 3.9 has nothing to fall back on. */
static weir_offer_t offer_for(const weir_session_t *s, const weir_hello_t *hello)
{
    bool modern = weir_hello_version(weir_str(s->options.compat_version)) >= WEIR_VERSION_3_10;
    bool sync =
        s->options.sync && (!modern || hello->report ||
                            weir_hello_version(weir_str(hello->version)) >= WEIR_VERSION_3_9);
    bool sync_v1 = sync && hello->report && hello->sync_v1 && s->options.sync_v1;
    return (weir_offer_t){
        .sync = sync,
        .report = sync && hello->report,
        .sync_v1 = sync_v1,
        .codec = sync_v1 && hello->zstd && s->options.zstd ? WEIR_CODEC_ZSTD : WEIR_CODEC_SNAPPY,
    };
}

static int answer_hello(weir_session_t *s, const weir_hello_t *hello, const weir_offer_t *offer,
                        weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 4096);
    if (weir_hello_answer(offer, &text) != WEIR_OK)
        return weir_websocket_drop(err, "out of memory for the hello");
    int rc = send_message(s, weir_buffer_str(&text), err);
    if (rc == WEIR_OK && !hello->has_capabilities)
        rc = weir_websocket_drop(err, "the hello lacks rpc_capabilities");
    return rc;
}

/* Only who is older than we are is sent something else than what is stored. */
static int64_t level_of(const weir_session_t *s, const weir_hello_t *hello)
{
    int64_t theirs = weir_compat_version(weir_str(hello->version));
    int64_t ours = weir_compat_version(weir_str(s->options.compat_version));
    return theirs < 0 || theirs >= ours ? weir_compat_newest() : weir_compat_level(theirs);
}

static void begin(weir_session_t *s, const weir_hello_t *hello, const weir_offer_t *offer,
                  int64_t now_ms)
{
    /* C.9: until its first get_delta shows what it speaks. */
    bool modern =
        hello->report || weir_hello_version(weir_str(hello->version)) >= WEIR_VERSION_3_10;
    s->dialect = modern ? WEIR_DIALECT_310 : WEIR_DIALECT_39;
    s->listed = hello->sync;
    s->sync.agreed = offer->sync_v1;
    s->codec = offer->codec;
    s->level = level_of(s, hello);
    snprintf(s->node, sizeof(s->node), "%s", hello->node_id);
    weir_node_facts_t facts = {
        .node_id = weir_str(s->node),
        .hostname = weir_str(hello->hostname),
        .ip = weir_str(s->ip),
        .version = weir_str(hello->version),
        .labels = hello->labels,
        .capabilities = hello->capabilities,
        .certificate_expiry_s = s->options.certificate_expiry_s,
    };
    bool twin = false;
    s->registered = weir_registry_connected(s->options.registry, &facts, now_ms, &twin);
    s->ready = true;
    session_event(s, "connected node=%s version=%s protocol=%s encoding=%s", s->node,
                  hello->version,
                  offer->sync_v1 ? WEIR_CAPABILITY_SYNC_V1
                  : modern       ? "kong.sync.v2 (3.10)"
                                 : "kong.sync.v2 (3.9)",
                  weir_codec_name(offer->codec));
    if (twin)
        warn_of_twin(s);
}

/* Before anything is answered or written: a claim that is refused changes nothing. */
static int check_claim(const weir_session_t *s, const weir_hello_t *hello, weir_error_t *err)
{
    if (s->options.named == NULL || s->options.named(s->options.context, weir_str(hello->node_id)))
        return WEIR_OK;
    return weir_error_set(err, WEIR_CLOSED, NULL,
                          "it claims the node id %s, which its certificate does not name "
                          "(cluster_bind_identity)",
                          hello->node_id);
}

static int take_hello(weir_session_t *s, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    weir_hello_t hello = { 0 };
    int rc = weir_hello_read(payload, &hello, err);
    if (rc != WEIR_OK) {
        if (err != NULL)
            err->code = WEIR_CLOSED;
        return WEIR_CLOSED;
    }
    weir_offer_t offer = offer_for(s, &hello);
    rc = check_claim(s, &hello, err);
    if (rc == WEIR_OK)
        rc = answer_hello(s, &hello, &offer, err);
    if (rc == WEIR_OK)
        begin(s, &hello, &offer, now_ms);
    weir_hello_release(&hello);
    return rc;
}

static int take_message(void *context, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    weir_session_t *s = context;
    if (s->options.counters != NULL)
        s->options.counters->messages_in++;
    return s->ready ? session_take_message(s, payload, now_ms, err)
                    : take_hello(s, payload, now_ms, err);
}

/* -- the outside ------------------------------------------------------------------------------ */

int weir_session_new(const weir_session_options_t *options, int64_t now_ms, weir_session_t **ret,
                     weir_error_t *err)
{
    static const weir_websocket_protocol_t protocol = {
        .server = true,
        .begins_quietly = true,
        .message = take_message,
    };
    weir_session_t *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return weir_error_memory(err);
    s->options = *options;
    snprintf(s->ip, sizeof(s->ip), "%.*s", WEIR_STR_ARG(options->ip));
    s->started_ms = now_ms;
    weir_websocket_options_t socket = {
        .protocol = &protocol,
        .context = s,
        .payload_max = options->payload_max,
        .ping_ms = WEIR_SESSION_PING_MS,
        .idle_ms = WEIR_SESSION_IDLE_MS,
        .host = options->context,
        .send = options->send,
    };
    int rc = weir_websocket_begin(&s->socket, &socket, now_ms, err);
    if (rc != WEIR_OK) {
        weir_free(s);
        return rc;
    }
    *ret = s;
    return WEIR_OK;
}

void weir_session_free(weir_session_t *s, int64_t now_ms)
{
    if (s == NULL)
        return;
    weir_registry_disconnected(s->options.registry, s->registered, now_ms);
    session_drop_calls(s);
    weir_websocket_release(&s->socket);
    weir_free(s);
}

int weir_session_input(weir_session_t *s, weir_str_t bytes, int64_t now_ms, weir_error_t *err)
{
    return weir_websocket_input(&s->socket, bytes, now_ms, err);
}

int weir_session_tick(weir_session_t *s, int64_t now_ms, weir_error_t *err)
{
    if (!s->ready)
        return now_ms - s->started_ms >= WEIR_SESSION_HELLO_MS
                   ? weir_websocket_drop(err, "no hello within 5 seconds")
                   : WEIR_OK;
    int rc = weir_websocket_tick(&s->socket, now_ms, err);
    if (rc != WEIR_OK)
        return rc;
    if (s->call_open && now_ms - s->call_ms >= WEIR_SESSION_CALL_MS)
        s->call_open = false; /* no answer came: the node asks by itself in time */
    return s->sync.agreed ? session_sync_tick(s, now_ms, err) : session_push(s, now_ms, err);
}

weir_str_t weir_session_node(const weir_session_t *session)
{
    return weir_str(session->node);
}

weir_session_protocol_t weir_session_protocol(const weir_session_t *session)
{
    if (!session->ready)
        return WEIR_SESSION_NO_HELLO;
    if (session->sync.agreed)
        return WEIR_SESSION_WEIR_V1;
    return session->dialect == WEIR_DIALECT_39 ? WEIR_SESSION_KONG_39 : WEIR_SESSION_KONG_310;
}
