/* session.c -- one data plane's socket, on the control plane. */
#include "cluster/session.h"

#include "base/json.h"
#include "cluster/frame.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    TEXT_BYTES_MAX = 128,
    WANTS_MAX = 32,           /* get_delta calls under way in a session */
    UNCOMPRESSED_FACTOR = 16, /* of cluster_max_payload */
    LABELS_MAX = 64,
};

typedef struct pending_want {
    weir_want_t want;
    weir_json_t *id; /* of the call; NULL: the slot is free */
} pending_want_t;

struct weir_session {
    weir_session_options_t options;
    weir_frame_reader_t *frames;
    char ip[TEXT_BYTES_MAX], node[TEXT_BYTES_MAX + 1];
    weir_dialect_t dialect;
    bool ready;      /* the hello is done */
    bool weir_peer;  /* it lists weir.report.v1 */
    bool subscribed; /* it has called get_delta: it wants notifications */
    int64_t started_ms, heard_ms, pinged_ms;
    uint64_t next_id; /* of our calls */
    bool call_open;   /* a notification waits for its answer */
    uint64_t call_id;
    int64_t call_ms;
    uint64_t notified; /* newest version that it was told of, or sent */
    uint64_t newest;   /* newest that there is */
    pending_want_t wants[WANTS_MAX];
    size_t wants_open;
    uint64_t next_want;
};

static int closed(weir_error_t *err, const char *why)
{
    return weir_error_set(err, WEIR_CLOSED, NULL, "%s", why);
}

/* -- sending --------------------------------------------------------------------------- */

static int send_frame(weir_session_t *s, weir_opcode_t opcode, weir_str_t payload,
                      weir_error_t *err)
{
    uint8_t header[WEIR_FRAME_HEADER_MAX];
    size_t len = weir_frame_header(opcode, payload.len, NULL, header);
    int rc = s->options.send(s->options.context, (weir_str_t){ (const char *)header, len });
    if (rc == WEIR_OK && payload.len > 0)
        rc = s->options.send(s->options.context, payload);
    return rc == WEIR_OK ? rc : closed(err, "the output queue is full");
}

/* An empty close frame first: above the framing, a violation ends so (A.3). */
static int close_politely(weir_session_t *s, weir_error_t *err, const char *why)
{
    send_frame(s, WEIR_FRAME_CLOSE, (weir_str_t){ "", 0 }, err);
    return closed(err, why);
}

/* Takes `message`. */
static int send_message(weir_session_t *s, weir_json_t *message, weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *owned = message;
    WEIR_AUTO(buffer) weir_buffer_t block;
    weir_buffer_init(&block, s->options.payload_max + s->options.payload_max / 4);
    int rc = weir_message_encode(owned, &block, err);
    if (rc != WEIR_OK)
        return closed(err, "out of memory for a message");
    return send_frame(s, WEIR_FRAME_BINARY, weir_buffer_str(&block), err);
}

static int send_error(weir_session_t *s, const weir_json_t *id, int code, const char *text,
                      weir_error_t *err)
{
    return send_message(s, weir_message_error(id, code, text), err);
}

/* -- notifications ------------------------------------------------------------------------ */

static weir_json_t *version_json(weir_dialect_t dialect, uint64_t version)
{
    char token[WEIR_TOKEN_LEN + 1];
    if (dialect == WEIR_DIALECT_39)
        return weir_json_new_number((double)version);
    weir_token_format(version, token);
    return weir_json_new_string(weir_str(token));
}

/* {"default": {"NAME": value}}. Takes `value`. */
static weir_json_t *in_default(const char *name, weir_json_t *value)
{
    weir_json_t *inner = weir_json_new_object();
    weir_json_t *outer = weir_json_new_object();
    if (inner == NULL || outer == NULL || weir_json_set(inner, name, value) != WEIR_OK) {
        weir_json_free(inner);
        weir_json_free(outer);
        return NULL;
    }
    if (weir_json_set(outer, "default", inner) == WEIR_OK)
        return outer;
    weir_json_free(outer);
    return NULL;
}

static int push(weir_session_t *s, int64_t now_ms, weir_error_t *err)
{
    if (!s->ready || !s->subscribed || s->call_open || s->wants_open > 0 ||
        s->newest <= s->notified)
        return WEIR_OK;
    WEIR_AUTO(json) weir_json_t *id = weir_json_new_number((double)s->next_id);
    weir_json_t *params = in_default("new_version", version_json(s->dialect, s->newest));
    weir_json_t *message = id != NULL && params != NULL
                               ? weir_message_call("kong.sync.v2.notify_new_version", params, id)
                               : NULL;
    if (message == NULL)
        return closed(err, "out of memory for a notification");
    s->call_open = true;
    s->call_id = s->next_id++;
    s->call_ms = now_ms;
    s->notified = s->newest;
    return send_message(s, message, err);
}

int weir_session_notify(weir_session_t *session, uint64_t version, int64_t now_ms,
                        weir_error_t *err)
{
    if (version > session->newest)
        session->newest = version;
    return push(session, now_ms, err);
}

/* -- the hello (B.1) -------------------------------------------------------------------------- */

static bool has_text(const weir_json_t *list, const char *text)
{
    for (const weir_json_t *item = weir_json_first(list); item != NULL; item = weir_json_next(item))
        if (weir_str_is(weir_json_string(item), text))
            return true;
    return false;
}

/* major * 1000000 + minor * 1000 + patch; -1: no version. */
static int64_t version_number(weir_str_t text)
{
    int64_t parts[3] = { 0 };
    size_t part = 0;
    bool digits = false;
    for (size_t i = 0; i < text.len && part < 3; i++) {
        char c = text.data[i];
        if (c >= '0' && c <= '9' && parts[part] < 100000) {
            parts[part] = parts[part] * 10 + (c - '0');
            digits = true;
        } else if (c == '.') {
            part++;
        } else {
            break;
        }
    }
    return digits ? parts[0] * 1000000 + parts[1] * 1000 + parts[2] : -1;
}

/* "key:value" texts into an object. */
static weir_json_t *labels_of(const weir_json_t *conf)
{
    const weir_json_t *list = weir_json_get(conf, "cluster_dp_labels");
    if (weir_json_kind(list) != WEIR_JSON_ARRAY)
        return NULL;
    weir_json_t *labels = weir_json_new_object();
    size_t count = 0;
    for (const weir_json_t *item = weir_json_first(list);
         labels != NULL && item != NULL && count < LABELS_MAX; item = weir_json_next(item)) {
        weir_str_t text = weir_json_string(item);
        const char *colon = text.data != NULL ? memchr(text.data, ':', text.len) : NULL;
        char key[TEXT_BYTES_MAX];
        if (colon == NULL || (size_t)(colon - text.data) >= sizeof(key))
            continue;
        snprintf(key, sizeof(key), "%.*s", (int)(colon - text.data), text.data);
        count +=
            weir_json_set(labels, key,
                          weir_json_new_string((weir_str_t){
                              colon + 1, text.len - (size_t)(colon + 1 - text.data) })) == WEIR_OK;
    }
    return labels;
}

/* A control plane that claims 3.10 hides sync from an older node, as the original
 * does: the dialects do not fit (B.1, C.9). Weir's own nodes speak both. */
static int send_hello(weir_session_t *s, weir_str_t version, weir_error_t *err)
{
    int64_t ours = version_number(weir_str(s->options.compat_version));
    bool hidden =
        !s->options.sync || (!s->weir_peer && ours >= 3010000 && version_number(version) < ours);
    const char *capabilities = hidden         ? "{}"
                               : s->weir_peer ? "[\"kong.sync.v2\",\"weir.report.v1\"]"
                                              : "[\"kong.sync.v2\"]";
    char text[256];
    int len = snprintf(text, sizeof(text),
                       "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"rpc_capabilities\":%s,"
                       "\"rpc_frame_encoding\":\"x-snappy-framed\"}}",
                       capabilities);
    return send_frame(s, WEIR_FRAME_BINARY, (weir_str_t){ text, (size_t)len }, err);
}

static int take_hello(weir_session_t *s, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *hello = NULL;
    if (weir_json_parse(payload, &hello, NULL) != WEIR_OK)
        return closed(err, "the hello is no JSON");
    const weir_json_t *params = weir_json_first(weir_json_get(hello, "params"));
    const weir_json_t *conf = weir_json_get(params, "kong_conf");
    weir_str_t none = { NULL, 0 };
    weir_node_facts_t facts = {
        .node_id = weir_json_get_string(params, "kong_node_id", none),
        .hostname = weir_json_get_string(params, "kong_hostname", none),
        .version = weir_json_get_string(params, "kong_version", none),
        .ip = weir_str(s->ip),
        .capabilities = weir_json_get(params, "rpc_capabilities"),
        .certificate_expiry_s = s->options.certificate_expiry_s,
    };
    if (!weir_str_is(weir_json_get_string(hello, "jsonrpc", none), "2.0") ||
        !weir_str_is(weir_json_get_string(hello, "method", none), "kong.meta.v1.hello"))
        return closed(err, "the first message is no hello");
    if (facts.node_id.data == NULL || facts.hostname.data == NULL || facts.version.data == NULL ||
        weir_json_kind(conf) != WEIR_JSON_OBJECT)
        return closed(err,
                      "the hello lacks kong_node_id, kong_hostname, kong_version or kong_conf");
    if (facts.node_id.len == 0 || facts.node_id.len > TEXT_BYTES_MAX)
        return closed(err, "kong_node_id is empty or longer than 128 bytes");
    if (!has_text(weir_json_get(params, "rpc_frame_encodings"), "x-snappy-framed"))
        return closed(err, "the hello does not offer x-snappy-framed");
    s->weir_peer = has_text(facts.capabilities, "weir.report.v1");
    s->dialect = s->weir_peer || version_number(facts.version) >= 3010000 ? WEIR_DIALECT_310
                                                                          : WEIR_DIALECT_39;
    int rc = send_hello(s, facts.version, err);
    if (rc != WEIR_OK)
        return rc;
    if (facts.capabilities == NULL || weir_json_is_null(facts.capabilities))
        return closed(err, "the hello lacks rpc_capabilities");
    WEIR_AUTO(json) weir_json_t *labels = labels_of(conf);
    facts.labels = labels;
    snprintf(s->node, sizeof(s->node), "%.*s", WEIR_STR_ARG(facts.node_id));
    weir_registry_connected(s->options.registry, &facts, now_ms);
    s->ready = true;
    char text[256];
    snprintf(text, sizeof(text), "connected node=%s version=%.*s dialect=%s", s->node,
             (int)(facts.version.len < 32 ? facts.version.len : 32), facts.version.data,
             s->dialect == WEIR_DIALECT_310 ? "3.10" : "3.9");
    s->options.event(s->options.context, text);
    return WEIR_OK;
}

/* -- get_delta (C.2, C.6) --------------------------------------------------------------------- */

/* What version a node says that it has. False: no answer can be given. */
static bool reported_version(weir_session_t *s, const weir_json_t *space, weir_want_t *want)
{
    const weir_json_t *version = weir_json_get(space, "version");
    want->dialect = s->dialect;
    if (s->dialect == WEIR_DIALECT_310) {
        want->known = weir_token_parse(weir_json_string(version), &want->version);
        return true; /* anything else is unknown: everything is sent */
    }
    double number = weir_json_number(version);
    if (weir_json_kind(version) == WEIR_JSON_STRING) {
        char *end = NULL;
        number = strtod(weir_json_string(version).data, &end);
        if (end == weir_json_string(version).data || *end != '\0')
            return false;
    } else if (weir_json_kind(version) != WEIR_JSON_NUMBER) {
        return false; /* the original's handler dies here: no answer (C.1) */
    }
    want->known = number > 0;
    want->version = number <= 0 ? 0 : number >= 1e15 ? UINT64_MAX : (uint64_t)number;
    return true;
}

static void note_seen(weir_session_t *s, const weir_want_t *want, const weir_json_t *space,
                      int64_t now_ms)
{
    char hash[WEIR_TOKEN_LEN + 1];
    weir_str_t text = weir_json_string(weir_json_get(space, "version"));
    if (s->dialect == WEIR_DIALECT_39 || text.len != WEIR_TOKEN_LEN) {
        snprintf(hash, sizeof(hash), "%032llu", (unsigned long long)want->version);
        text = weir_str(hash);
    }
    weir_registry_seen(s->options.registry, weir_str(s->node), text,
                       want->known ? want->version : 0, now_ms);
}

static int take_get_delta(weir_session_t *s, const weir_json_t *message, const weir_json_t *params,
                          int64_t now_ms, weir_error_t *err)
{
    const weir_json_t *id = weir_json_get(message, "id");
    const weir_json_t *space = weir_json_get(params, "default");
    if (weir_json_kind(params) != WEIR_JSON_OBJECT && weir_json_kind(params) != WEIR_JSON_ARRAY)
        return WEIR_OK; /* no answer (B.3) */
    if (space == NULL)
        return id != NULL ? send_error(s, id, -32000,
                                       "default namespace does not exist inside params", err)
                          : WEIR_OK;
    weir_want_t want = { 0 };
    if (weir_json_kind(space) != WEIR_JSON_OBJECT || !reported_version(s, space, &want))
        return WEIR_OK;
    note_seen(s, &want, space, now_ms);
    s->subscribed = true;
    if (id == NULL)
        return push(s, now_ms, err); /* only a status report (C.7) */
    if (s->wants_open == WANTS_MAX)
        return close_politely(s, err, "too many get_delta calls at once");
    pending_want_t *slot = s->wants;
    while (slot->id != NULL)
        slot++;
    slot->id = weir_json_copy(id);
    if (slot->id == NULL)
        return closed(err, "out of memory for a call");
    want.number = s->next_want++;
    slot->want = want;
    s->wants_open++;
    s->options.want(s->options.context, &want);
    return WEIR_OK;
}

static int send_answer(weir_session_t *s, const weir_json_t *id, weir_answer_t *answer,
                       weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    WEIR_AUTO(buffer) weir_buffer_t head;
    WEIR_AUTO(buffer) weir_buffer_t tail;
    weir_buffer_init(&text, 4096);
    weir_buffer_init(&head, 8192);
    weir_buffer_init(&tail, 64);
    weir_buffer_append(&text, WEIR_STR("{\"jsonrpc\":\"2.0\",\"id\":"));
    weir_json_print(id, &text);
    weir_buffer_append(&text, WEIR_STR(",\"result\":"));
    if (text.failed != WEIR_OK)
        return closed(err, "an id that is too long");
    uint64_t uncompressed = 0;
    weir_str_t elements = weir_answer_elements(answer, &uncompressed);
    weir_elements_length(&head, uncompressed + text.len + 1);
    weir_elements_literal(&head, weir_buffer_str(&text));
    weir_elements_literal(&tail, WEIR_STR("}"));
    if (head.failed != WEIR_OK || tail.failed != WEIR_OK)
        return closed(err, "out of memory for an answer");
    uint8_t frame[WEIR_FRAME_HEADER_MAX];
    uint64_t len = head.len + elements.len + tail.len;
    size_t frame_len = weir_frame_header(WEIR_FRAME_BINARY, len, NULL, frame);
    void *context = s->options.context;
    int rc = s->options.send(context, (weir_str_t){ (const char *)frame, frame_len });
    if (rc == WEIR_OK)
        rc = s->options.send(context, weir_buffer_str(&head));
    if (rc == WEIR_OK)
        rc = s->options.send_answer(context, answer);
    if (rc == WEIR_OK)
        rc = s->options.send(context, weir_buffer_str(&tail));
    return rc == WEIR_OK ? rc : closed(err, "the output queue is full");
}

int weir_session_answer(weir_session_t *s, const weir_want_t *want, weir_answer_t *answer,
                        const weir_error_t *failure, int64_t now_ms, weir_error_t *err)
{
    pending_want_t *slot = s->wants;
    while (slot < s->wants + WANTS_MAX && (slot->id == NULL || slot->want.number != want->number))
        slot++;
    if (slot == s->wants + WANTS_MAX)
        return WEIR_OK;
    WEIR_AUTO(json) weir_json_t *id = slot->id;
    slot->id = NULL;
    s->wants_open--;
    if (answer == NULL) {
        char text[640];
        snprintf(text, sizeof(text), "cannot answer get_delta node=%s error=\"%s\"", s->node,
                 failure->reason);
        s->options.event(s->options.context, text);
        return send_error(s, id, -32000, failure->reason, err);
    }
    uint64_t version = weir_answer_version(answer);
    if (version > s->notified)
        s->notified = version;
    if (weir_answer_is_full(answer)) {
        char text[256];
        snprintf(text, sizeof(text), "full sync node=%s from=%llu to=%llu", s->node,
                 (unsigned long long)(want->known ? want->version : 0),
                 (unsigned long long)version);
        s->options.event(s->options.context, text);
    }
    int rc = send_answer(s, id, answer, err);
    return rc == WEIR_OK ? push(s, now_ms, err) : rc;
}

/* -- messages (B.3)
 * ---------------------------------------------------------------------------------- */

static int take_call(weir_session_t *s, const weir_json_t *message, int64_t now_ms,
                     weir_error_t *err)
{
    const weir_json_t *id = weir_json_get(message, "id");
    weir_str_t method = weir_json_get_string(message, "method", WEIR_STR(""));
    const weir_json_t *params = weir_json_get(message, "params");
    const weir_json_t *first =
        weir_json_kind(params) == WEIR_JSON_ARRAY ? weir_json_first(params) : NULL;
    bool modern = s->dialect == WEIR_DIALECT_310;
    bool known = s->options.sync && (weir_str_is(method, "kong.sync.v2.get_delta") ||
                                     weir_str_is(method, "kong.sync.v2.notify_validation_error") ||
                                     weir_str_is(method, "weir.report.v1.status"));
    if (!known) {
        if (id == NULL && modern)
            return WEIR_OK;
        return send_error(s, id, -32601, "Method not found", err);
    }
    if (id == NULL && !modern)
        return close_politely(s, err, "a call without an id");
    if (weir_str_is(method, "kong.sync.v2.get_delta"))
        return take_get_delta(s, message, first, now_ms, err);
    if (weir_str_is(method, "weir.report.v1.status"))
        weir_registry_report(s->options.registry, weir_str(s->node), first, now_ms);
    return id != NULL ? send_message(s, weir_message_result(id, weir_json_new_boolean(true)), err)
                      : WEIR_OK;
}

static int take_response(weir_session_t *s, const weir_json_t *message, int64_t now_ms,
                         weir_error_t *err)
{
    const weir_json_t *id = weir_json_get(message, "id");
    if (id == NULL && s->dialect == WEIR_DIALECT_39)
        return close_politely(s, err, "an answer without an id");
    if (!s->call_open || weir_json_kind(id) != WEIR_JSON_NUMBER ||
        weir_json_number(id) != (double)s->call_id)
        return WEIR_OK; /* late, or to nothing */
    s->call_open = false;
    weir_str_t text =
        weir_json_get_string(weir_json_get(message, "error"), "message", (weir_str_t){ NULL, 0 });
    if (text.data != NULL) {
        char line[512];
        snprintf(line, sizeof(line), "notify_new_version was refused node=%s error=\"%.*s\"",
                 s->node, (int)(text.len < 256 ? text.len : 256), text.data);
        s->options.event(s->options.context, line);
    }
    return push(s, now_ms, err);
}

static int take_object(weir_session_t *s, const weir_json_t *message, int64_t now_ms,
                       weir_error_t *err)
{
    if (!weir_str_is(weir_json_get_string(message, "jsonrpc", WEIR_STR("")), "2.0"))
        return close_politely(s, err, "jsonrpc is not \"2.0\"");
    weir_id_kind_t id = weir_message_id(message);
    if (id == WEIR_ID_NULL || id == WEIR_ID_ODD)
        return close_politely(s, err, "an id that is no number");
    if (weir_json_get(message, "method") != NULL)
        return take_call(s, message, now_ms, err);
    return take_response(s, message, now_ms, err);
}

static int take_batch(weir_session_t *s, const weir_json_t *batch, int64_t now_ms,
                      weir_error_t *err)
{
    if (s->dialect == WEIR_DIALECT_39)
        return close_politely(s, err, "a batch, which this dialect does not have");
    if (weir_json_first(batch) == NULL)
        return send_error(s, NULL, -32600, "empty batch array", err);
    int rc = WEIR_OK;
    for (const weir_json_t *item = weir_json_first(batch); rc == WEIR_OK && item != NULL;
         item = weir_json_next(item))
        rc = weir_json_kind(item) == WEIR_JSON_OBJECT
                 ? take_object(s, item, now_ms, err)
                 : send_error(s, NULL, -32600, "not a valid object", err);
    return rc;
}

static int take_message(weir_session_t *s, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *message = NULL;
    weir_error_t why = { 0 };
    int rc =
        weir_message_decode(payload, s->options.payload_max * UNCOMPRESSED_FACTOR, &message, &why);
    if (rc != WEIR_OK)
        return close_politely(s, err, why.reason);
    if (weir_json_kind(message) == WEIR_JSON_ARRAY)
        return take_batch(s, message, now_ms, err);
    if (weir_json_kind(message) == WEIR_JSON_OBJECT)
        return take_object(s, message, now_ms, err);
    return close_politely(s, err, "a message that is no object");
}

static int take_frame(weir_session_t *s, const weir_frame_t *frame, int64_t now_ms,
                      weir_error_t *err)
{
    if (!s->ready) {
        /* Before the hello everything odd ends without a close frame (A.3). */
        if (frame->opcode != WEIR_FRAME_BINARY || !frame->fin)
            return closed(err, "the first frame is not binary");
        return take_hello(s, frame->payload, now_ms, err);
    }
    switch (frame->opcode) {
    case WEIR_FRAME_PING:
        return send_frame(s, WEIR_FRAME_PONG, (weir_str_t){ "", 0 }, err);
    case WEIR_FRAME_PONG:
        return WEIR_OK;
    case WEIR_FRAME_CLOSE:
        return close_politely(s, err, "closed by the data plane");
    case WEIR_FRAME_BINARY:
        if (frame->fin)
            return take_message(s, frame->payload, now_ms, err);
        break;
    case WEIR_FRAME_TEXT:
    case WEIR_FRAME_CONTINUATION:
        break;
    }
    return close_politely(
        s, err, frame->opcode == WEIR_FRAME_TEXT ? "a text frame" : "a fragmented message");
}

/* -- the outside
 * ------------------------------------------------------------------------------------ */

int weir_session_new(const weir_session_options_t *options, int64_t now_ms, weir_session_t **ret,
                     weir_error_t *err)
{
    weir_session_t *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return weir_error_memory(err);
    s->options = *options;
    snprintf(s->ip, sizeof(s->ip), "%.*s", WEIR_STR_ARG(options->ip));
    s->started_ms = s->heard_ms = now_ms;
    int rc = weir_frame_reader_new(true, options->payload_max, &s->frames, err);
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
    if (s->ready)
        weir_registry_disconnected(s->options.registry, weir_str(s->node), now_ms);
    for (size_t i = 0; i < WANTS_MAX; i++)
        weir_json_free(s->wants[i].id);
    weir_frame_reader_free(s->frames);
    weir_free(s);
}

int weir_session_input(weir_session_t *s, weir_str_t bytes, int64_t now_ms, weir_error_t *err)
{
    int rc = WEIR_OK;
    while (rc == WEIR_OK) {
        weir_frame_t frame;
        rc = weir_frame_next(s->frames, &bytes, &frame, err);
        if (rc == WEIR_AGAIN)
            return WEIR_OK;
        if (rc != WEIR_OK) {
            if (err != NULL)
                err->code = WEIR_CLOSED;
            return WEIR_CLOSED; /* broken framing: no close frame (A.3) */
        }
        s->heard_ms = now_ms;
        s->pinged_ms = 0;
        rc = take_frame(s, &frame, now_ms, err);
    }
    return rc;
}

int weir_session_tick(weir_session_t *s, int64_t now_ms, weir_error_t *err)
{
    if (!s->ready)
        return now_ms - s->started_ms >= WEIR_SESSION_HELLO_MS
                   ? closed(err, "no hello within 5 seconds")
                   : WEIR_OK;
    int64_t silent = now_ms - s->heard_ms;
    if (silent >= WEIR_SESSION_IDLE_MS)
        return close_politely(s, err, "nothing came for 45 seconds");
    if (silent >= WEIR_SESSION_PING_MS && now_ms - s->pinged_ms >= WEIR_SESSION_HELLO_MS) {
        s->pinged_ms = now_ms;
        int rc = send_frame(s, WEIR_FRAME_PING, (weir_str_t){ "", 0 }, err);
        if (rc != WEIR_OK)
            return rc;
    }
    if (s->call_open && now_ms - s->call_ms >= WEIR_SESSION_CALL_MS)
        s->call_open = false; /* no answer came: the node asks by itself in time */
    return push(s, now_ms, err);
}

weir_str_t weir_session_node(const weir_session_t *session)
{
    return weir_str(session->node);
}
