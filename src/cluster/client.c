/* client.c -- the data plane's end of the wire. */
#include "cluster/client.h"

#include "base/json.h"
#include "cluster/encode.h"
#include "cluster/frame.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <strings.h>

enum {
    RESPONSE_BYTES_MAX = 16384, /* head of the HTTP answer */
    TEXT_BYTES_MAX = 256,
    UNCOMPRESSED_FACTOR = 16,
    KEY_TEXT = 24, /* 16 bytes in base64 */
};

typedef enum step { STEP_DOWN, STEP_UPGRADE, STEP_HELLO, STEP_READY } step_t;

struct weir_client {
    weir_client_options_t options;
    char host[TEXT_BYTES_MAX], node_id[TEXT_BYTES_MAX], hostname[TEXT_BYTES_MAX];
    char compat_version[TEXT_BYTES_MAX];
    step_t step;
    weir_frame_reader_t *frames;
    weir_buffer_t head;
    char key[KEY_TEXT + 1];
    weir_dialect_t dialect;
    bool weir_peer, flipped;
    uint64_t version, newest;
    int64_t started_ms, heard_ms, pinged_ms, asked_ms, next_poll_ms;
    bool asking;
    uint64_t ask_id, next_id;
};

static int closed(weir_error_t *err, const char *why)
{
    return weir_error_set(err, WEIR_CLOSED, NULL, "%s", why);
}

static int64_t version_number(const char *text)
{
    int major = 0;
    int minor = 0;
    return sscanf(text, "%d.%d", &major, &minor) == 2 ? major * 1000 + minor : 0;
}

/* -- sending ---------------------------------------------------------------------------- */

static int send_frame(weir_client_t *c, weir_opcode_t opcode, weir_str_t payload, weir_error_t *err)
{
    uint8_t mask[4];
    uint8_t header[WEIR_FRAME_HEADER_MAX];
    if (payload.len > c->options.payload_max)
        return closed(err, "a message larger than cluster_max_payload");
    if (c->options.random(c->options.context, mask, sizeof(mask)) != WEIR_OK)
        return closed(err, "no randomness for a mask");
    WEIR_AUTO(free) char *masked = weir_malloc(payload.len);
    if (masked == NULL)
        return closed(err, "out of memory for a frame");
    if (payload.len > 0)
        memcpy(masked, payload.data, payload.len);
    weir_frame_mask(masked, payload.len, mask);
    size_t len = weir_frame_header(opcode, payload.len, mask, header);
    int rc = c->options.send(c->options.context, (weir_str_t){ (const char *)header, len });
    if (rc == WEIR_OK && payload.len > 0)
        rc = c->options.send(c->options.context, (weir_str_t){ masked, payload.len });
    return rc == WEIR_OK ? rc : closed(err, "the output queue is full");
}

static int close_politely(weir_client_t *c, weir_error_t *err, const char *why)
{
    send_frame(c, WEIR_FRAME_CLOSE, (weir_str_t){ "", 0 }, err);
    return closed(err, why);
}

/* Takes `message`. */
static int send_message(weir_client_t *c, weir_json_t *message, weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *owned = message;
    WEIR_AUTO(buffer) weir_buffer_t block;
    weir_buffer_init(&block, c->options.payload_max + c->options.payload_max / 4);
    if (owned == NULL || weir_message_encode(owned, &block, err) != WEIR_OK)
        return closed(err, "out of memory for a message");
    return send_frame(c, WEIR_FRAME_BINARY, weir_buffer_str(&block), err);
}

/* -- upgrade (A.2) -------------------------------------------------------------------------- */

int weir_client_connected(weir_client_t *c, int64_t now_ms, weir_error_t *err)
{
    uint8_t random[16];
    if (c->options.random(c->options.context, random, sizeof(random)) != WEIR_OK)
        return closed(err, "no randomness for a key");
    EVP_EncodeBlock((unsigned char *)c->key, random, sizeof(random));
    weir_frame_reader_free(c->frames);
    c->frames = NULL;
    int rc = weir_frame_reader_new(false, c->options.payload_max, &c->frames, err);
    if (rc != WEIR_OK)
        return closed(err, "out of memory for a connection");
    weir_buffer_clear(&c->head);
    c->step = STEP_UPGRADE;
    c->started_ms = c->heard_ms = now_ms;
    c->asking = false;
    c->next_id = 0;
    char text[1024];
    int len = snprintf(text, sizeof(text),
                       "GET /v2/outlet HTTP/1.1\r\n"
                       "Upgrade: websocket\r\n"
                       "Host: %s\r\n"
                       "Sec-WebSocket-Key: %s\r\n"
                       "Sec-WebSocket-Protocol: kong.meta.v1\r\n"
                       "Sec-WebSocket-Version: 13\r\n"
                       "Connection: Upgrade\r\n\r\n",
                       c->host, c->key);
    rc = c->options.send(c->options.context, (weir_str_t){ text, (size_t)len });
    return rc == WEIR_OK ? rc : closed(err, "the output queue is full");
}

static bool accept_fits(const char *key, weir_str_t accept)
{
    static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    char text[KEY_TEXT + sizeof(magic)];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned char base64[64];
    unsigned len = 0;
    int text_len = snprintf(text, sizeof(text), "%s%s", key, magic);
    if (EVP_Digest(text, (size_t)text_len, digest, &len, EVP_sha1(), NULL) != 1)
        return false;
    EVP_EncodeBlock(base64, digest, (int)len);
    return weir_str_is(accept, (const char *)base64);
}

static weir_str_t trim(weir_str_t text)
{
    while (text.len > 0 && isspace((unsigned char)text.data[0]))
        text = (weir_str_t){ text.data + 1, text.len - 1 };
    while (text.len > 0 && isspace((unsigned char)text.data[text.len - 1]))
        text.len--;
    return text;
}

/* The value of a header in the head of an answer; data NULL: none. */
static weir_str_t header(weir_str_t head, const char *name)
{
    size_t name_len = strlen(name);
    for (size_t at = 0; at < head.len;) {
        const char *line = head.data + at;
        const char *end = memchr(line, '\n', head.len - at);
        size_t len = end != NULL ? (size_t)(end - line) : head.len - at;
        if (len > name_len && line[name_len] == ':' && strncasecmp(line, name, name_len) == 0)
            return trim((weir_str_t){ line + name_len + 1, len - name_len - 1 });
        at += len + 1;
    }
    return (weir_str_t){ NULL, 0 };
}

static int send_hello(weir_client_t *c, weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 64 * 1024);
    weir_buffer_append(&text,
                       WEIR_STR("{\"jsonrpc\":\"2.0\",\"method\":\"kong.meta.v1.hello\",\"id\":1,"
                                "\"params\":[{\"rpc_capabilities\":[\"kong.sync.v2\","
                                "\"weir.report.v1\"],\"rpc_frame_encodings\":[\"x-snappy-framed\"],"
                                "\"kong_version\":"));
    weir_json_print_string(weir_str(c->compat_version), &text);
    weir_buffer_append(&text, WEIR_STR(",\"kong_hostname\":"));
    weir_json_print_string(weir_str(c->hostname), &text);
    weir_buffer_append(&text, WEIR_STR(",\"kong_node_id\":"));
    weir_json_print_string(weir_str(c->node_id), &text);
    weir_buffer_append(&text, WEIR_STR(",\"kong_conf\":{"));
    const char *const *labels = c->options.labels;
    if (labels != NULL && labels[0] != NULL) {
        weir_buffer_append(&text, WEIR_STR("\"cluster_dp_labels\":["));
        for (size_t i = 0; labels[i] != NULL; i++) {
            weir_buffer_append(&text, i > 0 ? WEIR_STR(",") : WEIR_STR(""));
            weir_json_print_string(weir_str(labels[i]), &text);
        }
        weir_buffer_append(&text, WEIR_STR("]"));
    }
    weir_buffer_append(&text, WEIR_STR("}}]}"));
    if (text.failed != WEIR_OK)
        return closed(err, "the hello does not fit");
    c->step = STEP_HELLO;
    return send_frame(c, WEIR_FRAME_BINARY, weir_buffer_str(&text), err);
}

/* Uses what belongs to the head of the answer; the rest stays in *bytes. */
static int take_upgrade(weir_client_t *c, weir_str_t *bytes, weir_error_t *err)
{
    while (bytes->len > 0) {
        if (c->head.len >= RESPONSE_BYTES_MAX)
            return closed(err, "the answer to the upgrade has no end");
        weir_buffer_byte(&c->head, bytes->data[0]);
        *bytes = (weir_str_t){ bytes->data + 1, bytes->len - 1 };
        if (weir_str_ends(weir_buffer_str(&c->head), WEIR_STR("\r\n\r\n")))
            break;
    }
    weir_str_t head = weir_buffer_str(&c->head);
    if (c->head.failed != WEIR_OK)
        return closed(err, "out of memory for an answer");
    if (!weir_str_ends(head, WEIR_STR("\r\n\r\n")))
        return WEIR_OK;
    if (!weir_str_starts(head, WEIR_STR("HTTP/1.1 101"))) {
        const char *end = memchr(head.data, '\r', head.len);
        int len = end != NULL && end - head.data < 100 ? (int)(end - head.data) : 100;
        return weir_error_set(err, WEIR_CLOSED, NULL, "the control plane refuses the upgrade: %.*s",
                              len, head.data);
    }
    if (!accept_fits(c->key, header(head, "sec-websocket-accept")))
        return closed(err, "Sec-WebSocket-Accept does not fit");
    if (!weir_str_is(header(head, "sec-websocket-protocol"), "kong.meta.v1"))
        return closed(err, "Sec-WebSocket-Protocol is not kong.meta.v1");
    return send_hello(c, err);
}

/* -- get_delta ----------------------------------------------------------------------------------
 */

static weir_json_t *version_json(const weir_client_t *c)
{
    char token[WEIR_TOKEN_LEN + 1];
    if (c->dialect == WEIR_DIALECT_39)
        return weir_json_new_number((double)c->version);
    if (c->version == 0)
        return weir_json_new_string(WEIR_STR("00000000000000000000000000000000"));
    weir_token_format(c->version, token);
    return weir_json_new_string(weir_str(token));
}

static weir_json_t *get_delta(const weir_client_t *c, const weir_json_t *id)
{
    weir_json_t *inner = weir_json_new_object();
    weir_json_t *outer = weir_json_new_object();
    if (inner == NULL || outer == NULL ||
        weir_json_set(inner, "version", version_json(c)) != WEIR_OK) {
        weir_json_free(inner);
        weir_json_free(outer);
        return NULL;
    }
    if (weir_json_set(outer, "default", inner) != WEIR_OK) {
        weir_json_free(outer);
        return NULL;
    }
    return weir_message_call("kong.sync.v2.get_delta", outer, id);
}

static int ask(weir_client_t *c, int64_t now_ms, weir_error_t *err)
{
    if (c->asking)
        return WEIR_OK; /* what is new comes with, or after, its answer */
    WEIR_AUTO(json) weir_json_t *id = weir_json_new_number((double)c->next_id);
    if (id == NULL)
        return closed(err, "out of memory for a call");
    c->asking = true;
    c->ask_id = c->next_id++;
    c->asked_ms = now_ms;
    c->next_poll_ms = now_ms + WEIR_CLIENT_POLL_MS;
    return send_message(c, get_delta(c, id), err);
}

static int send_report(weir_client_t *c, weir_error_t *err)
{
    weir_json_t *report = c->options.report != NULL ? c->options.report(c->options.context) : NULL;
    if (report == NULL)
        return WEIR_OK;
    return send_message(c, weir_message_call("weir.report.v1.status", report, NULL), err);
}

/* Tells the control plane what is held now (C.7): Weir and 3.10 by a notification,
 * 3.9 by asking once more. */
static int tell_applied(weir_client_t *c, int64_t now_ms, weir_error_t *err)
{
    if (c->dialect == WEIR_DIALECT_39)
        return ask(c, now_ms, err);
    int rc = send_message(c, get_delta(c, NULL), err);
    return rc == WEIR_OK && c->weir_peer ? send_report(c, err) : rc;
}

/* The version of a delta. False: none, or of the wrong kind. */
static bool delta_version(const weir_client_t *c, const weir_json_t *delta, uint64_t *ret)
{
    const weir_json_t *version = weir_json_get(delta, "version");
    if (c->dialect == WEIR_DIALECT_310)
        return weir_token_parse(weir_json_string(version), ret);
    double number = weir_json_number(version);
    if (weir_json_kind(version) != WEIR_JSON_NUMBER || number < 0 || number > 1e15)
        return false;
    *ret = (uint64_t)number;
    return true;
}

/* A fault here drops the answer as a whole, as with the original (C.3): what is no
 * delta cannot be quarantined as an entity. */
static bool check_deltas(const weir_client_t *c, const weir_json_t *deltas, uint64_t *ret_version,
                         weir_error_t *why)
{
    size_t index = 0;
    for (const weir_json_t *d = weir_json_first(deltas); d != NULL;
         d = weir_json_next(d), index++) {
        const weir_json_t *entity = weir_json_get(d, "entity");
        const char *fault = NULL;
        if (weir_json_kind(d) != WEIR_JSON_OBJECT)
            fault = "is no object";
        else if (weir_json_string(weir_json_get(d, "type")).data == NULL)
            fault = "has no type";
        else if (!delta_version(c, d, ret_version))
            fault = "has no version of this dialect";
        else if (weir_json_is_null(entity) &&
                 weir_json_kind(weir_json_get(d, "pk")) != WEIR_JSON_OBJECT)
            fault = "deletes, but has no pk";
        else if (!weir_json_is_null(entity) && weir_json_kind(entity) != WEIR_JSON_OBJECT)
            fault = "has an entity that is no object";
        if (fault != NULL) {
            weir_error_set(why, WEIR_INVALID, "deltas", "delta %zu %s", index + 1, fault);
            return false;
        }
    }
    return true;
}

static void report_fault(weir_client_t *c, const char *what, const weir_error_t *why)
{
    char text[640];
    snprintf(text, sizeof(text), "%s field=%s reason=\"%s\"", what,
             why->field[0] != '\0' ? why->field : "-", why->reason);
    c->options.event(c->options.context, text);
}

static int take_result(weir_client_t *c, const weir_json_t *result, int64_t now_ms,
                       weir_error_t *err)
{
    const weir_json_t *space = weir_json_get(result, "default");
    const weir_json_t *deltas = weir_json_get(space, "deltas");
    weir_error_t why = { 0 };
    bool list = weir_json_kind(deltas) == WEIR_JSON_ARRAY ||
                (weir_json_kind(deltas) == WEIR_JSON_OBJECT && weir_json_first(deltas) == NULL);
    if (!list) {
        weir_error_set(&why, WEIR_INVALID, "deltas", "missing, or no list");
        report_fault(c, "an answer of get_delta is refused", &why);
        return WEIR_OK;
    }
    if (weir_json_first(deltas) == NULL) {
        if (c->version > c->newest)
            c->newest = c->version;
        return WEIR_OK;
    }
    weir_update_t update = { .deltas = deltas };
    update.full = weir_json_boolean(weir_json_get(space, "full_sync")) ||
                  weir_json_boolean(weir_json_get(space, "wipe"));
    if (!check_deltas(c, deltas, &update.version, &why)) {
        report_fault(c, "an answer of get_delta is refused", &why);
        return WEIR_OK;
    }
    if (c->options.apply(c->options.context, &update, &why) != WEIR_OK) {
        report_fault(c, "an answer of get_delta could not be applied", &why);
        return c->weir_peer ? send_report(c, err) : WEIR_OK;
    }
    c->version = update.version;
    if (c->version > c->newest || update.full)
        c->newest = c->version;
    return tell_applied(c, now_ms, err);
}

static int take_response(weir_client_t *c, const weir_json_t *message, int64_t now_ms,
                         weir_error_t *err)
{
    const weir_json_t *id = weir_json_get(message, "id");
    if (!c->asking || weir_json_kind(id) != WEIR_JSON_NUMBER ||
        weir_json_number(id) != (double)c->ask_id)
        return WEIR_OK; /* late, or to nothing */
    c->asking = false;
    const weir_json_t *error = weir_json_get(message, "error");
    if (error != NULL) {
        weir_error_t why = { 0 };
        weir_str_t text = weir_json_get_string(error, "message", WEIR_STR("no message"));
        weir_error_set(&why, WEIR_INVALID, NULL, "%.*s", WEIR_STR_ARG(text));
        report_fault(c, "get_delta was refused", &why);
        return WEIR_OK;
    }
    int rc = take_result(c, weir_json_get(message, "result"), now_ms, err);
    return rc == WEIR_OK && c->newest > c->version && !c->asking ? ask(c, now_ms, err) : rc;
}

/* -- calls of the control plane (C.5)
 * --------------------------------------------------------------- */

static int take_notify(weir_client_t *c, const weir_json_t *id, const weir_json_t *params,
                       int64_t now_ms, weir_error_t *err)
{
    const weir_json_t *space = weir_json_get(params, "default");
    const weir_json_t *token = weir_json_get(space, "new_version");
    const char *fault = NULL;
    uint64_t version = 0;
    if (weir_json_kind(space) != WEIR_JSON_OBJECT)
        fault = "default namespace does not exist inside params";
    else if (token == NULL || weir_json_is_null(token))
        fault = "'new_version' key does not exist";
    if (fault != NULL)
        return id != NULL ? send_message(c, weir_message_error(id, -32000, fault), err) : WEIR_OK;
    bool mine = c->dialect == WEIR_DIALECT_310 ? weir_token_parse(weir_json_string(token), &version)
                                               : weir_json_kind(token) == WEIR_JSON_NUMBER;
    if (mine && c->dialect == WEIR_DIALECT_39)
        version = weir_json_number(token) > 0 ? (uint64_t)weir_json_number(token) : 0;
    int rc = WEIR_OK;
    if (id != NULL)
        rc = send_message(c, weir_message_result(id, weir_json_new_boolean(true)), err);
    if (rc != WEIR_OK || !mine || version <= c->version)
        return rc;
    if (version > c->newest)
        c->newest = version;
    return ask(c, now_ms, err);
}

static int take_object(weir_client_t *c, const weir_json_t *message, int64_t now_ms,
                       weir_error_t *err)
{
    if (!weir_str_is(weir_json_get_string(message, "jsonrpc", WEIR_STR("")), "2.0"))
        return close_politely(c, err, "jsonrpc is not \"2.0\"");
    const weir_json_t *id = weir_json_get(message, "id");
    weir_id_kind_t kind = weir_message_id(message);
    if (kind == WEIR_ID_NULL || kind == WEIR_ID_ODD)
        return close_politely(c, err, "an id that is no number");
    const weir_json_t *method = weir_json_get(message, "method");
    if (method == NULL)
        return take_response(c, message, now_ms, err);
    if (!weir_str_is(weir_json_string(method), "kong.sync.v2.notify_new_version"))
        return id != NULL ? send_message(c, weir_message_error(id, -32601, "Method not found"), err)
                          : WEIR_OK;
    const weir_json_t *params = weir_json_get(message, "params");
    const weir_json_t *first =
        weir_json_kind(params) == WEIR_JSON_ARRAY ? weir_json_first(params) : NULL;
    if (first == NULL)
        return WEIR_OK; /* the original gives no answer (B.3) */
    return take_notify(c, id, first, now_ms, err);
}

static int take_message(weir_client_t *c, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *message = NULL;
    weir_error_t why = { 0 };
    int rc =
        weir_message_decode(payload, c->options.payload_max * UNCOMPRESSED_FACTOR, &message, &why);
    if (rc != WEIR_OK)
        return close_politely(c, err, why.reason);
    if (weir_json_kind(message) == WEIR_JSON_OBJECT)
        return take_object(c, message, now_ms, err);
    if (weir_json_kind(message) != WEIR_JSON_ARRAY || c->dialect == WEIR_DIALECT_39)
        return close_politely(c, err, "a message that is no object");
    for (const weir_json_t *item = weir_json_first(message); rc == WEIR_OK && item != NULL;
         item = weir_json_next(item))
        rc = take_object(c, item, now_ms, err);
    return rc;
}

/* -- the hello (B.1)
 * --------------------------------------------------------------------------------- */

static bool lists(const weir_json_t *capabilities, const char *name)
{
    for (const weir_json_t *item = weir_json_first(capabilities); item != NULL;
         item = weir_json_next(item))
        if (weir_str_is(weir_json_string(item), name))
            return true;
    return false;
}

static int take_hello(weir_client_t *c, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *answer = NULL;
    if (weir_json_parse(payload, &answer, NULL) != WEIR_OK)
        return closed(err, "the answer to the hello is no JSON");
    const weir_json_t *result = weir_json_get(answer, "result");
    const weir_json_t *capabilities = weir_json_get(result, "rpc_capabilities");
    if (!weir_str_is(weir_json_get_string(result, "rpc_frame_encoding", WEIR_STR("")),
                     "x-snappy-framed"))
        return closed(err, "the control plane does not answer the hello with x-snappy-framed");
    if (!lists(capabilities, "kong.sync.v2"))
        return closed(err, "the control plane does not offer kong.sync.v2");
    c->weir_peer = lists(capabilities, "weir.report.v1");
    c->dialect = c->weir_peer || version_number(c->compat_version) >= 3010 ? WEIR_DIALECT_310
                                                                           : WEIR_DIALECT_39;
    c->step = STEP_READY;
    c->options.event(c->options.context,
                     c->weir_peer ? "hello done peer=weir" : "hello done peer=kong");
    return ask(c, now_ms, err);
}

static int take_frame(weir_client_t *c, const weir_frame_t *frame, int64_t now_ms,
                      weir_error_t *err)
{
    switch (frame->opcode) {
    case WEIR_FRAME_PING:
        return send_frame(c, WEIR_FRAME_PONG, (weir_str_t){ "", 0 }, err);
    case WEIR_FRAME_PONG:
        return WEIR_OK;
    case WEIR_FRAME_CLOSE:
        return close_politely(c, err, "closed by the control plane");
    case WEIR_FRAME_BINARY:
        if (!frame->fin)
            break;
        return c->step == STEP_HELLO ? take_hello(c, frame->payload, now_ms, err)
                                     : take_message(c, frame->payload, now_ms, err);
    case WEIR_FRAME_TEXT:
    case WEIR_FRAME_CONTINUATION:
        break;
    }
    return close_politely(
        c, err, frame->opcode == WEIR_FRAME_TEXT ? "a text frame" : "a fragmented message");
}

/* -- the outside
 * ----------------------------------------------------------------------------------------- */

int weir_client_new(const weir_client_options_t *options, uint64_t version, weir_client_t **ret,
                    weir_error_t *err)
{
    weir_client_t *c = weir_calloc(1, sizeof(*c));
    if (c == NULL)
        return weir_error_memory(err);
    c->options = *options;
    if (c->options.call_timeout_ms <= 0)
        c->options.call_timeout_ms = WEIR_CLIENT_STEP_MS;
    snprintf(c->host, sizeof(c->host), "%s", options->host);
    snprintf(c->node_id, sizeof(c->node_id), "%.*s", WEIR_STR_ARG(options->node_id));
    snprintf(c->hostname, sizeof(c->hostname), "%s", options->hostname);
    snprintf(c->compat_version, sizeof(c->compat_version), "%s", options->compat_version);
    weir_buffer_init(&c->head, RESPONSE_BYTES_MAX);
    c->version = c->newest = version;
    *ret = c;
    return WEIR_OK;
}

void weir_client_free(weir_client_t *c)
{
    if (c == NULL)
        return;
    weir_frame_reader_free(c->frames);
    weir_buffer_release(&c->head);
    weir_free(c);
}

int weir_client_input(weir_client_t *c, weir_str_t bytes, int64_t now_ms, weir_error_t *err)
{
    int rc = WEIR_OK;
    if (c->step == STEP_UPGRADE)
        rc = take_upgrade(c, &bytes, err);
    if (rc != WEIR_OK || c->step == STEP_UPGRADE)
        return rc;
    while (rc == WEIR_OK) {
        weir_frame_t frame;
        rc = weir_frame_next(c->frames, &bytes, &frame, err);
        if (rc == WEIR_AGAIN)
            return WEIR_OK;
        if (rc != WEIR_OK) {
            if (err != NULL)
                err->code = WEIR_CLOSED;
            return WEIR_CLOSED;
        }
        c->heard_ms = now_ms;
        rc = take_frame(c, &frame, now_ms, err);
    }
    return rc;
}

int weir_client_tick(weir_client_t *c, int64_t now_ms, weir_error_t *err)
{
    if (c->step == STEP_DOWN)
        return WEIR_OK;
    if (c->step != STEP_READY)
        return now_ms - c->started_ms >= WEIR_CLIENT_STEP_MS
                   ? closed(err, "no answer to the upgrade or the hello within 5 seconds")
                   : WEIR_OK;
    if (c->asking && now_ms - c->asked_ms >= c->options.call_timeout_ms) {
        c->asking = false; /* a late answer is dropped */
        c->options.event(c->options.context, "get_delta got no answer in time");
    }
    if (now_ms - c->heard_ms >= WEIR_CLIENT_IDLE_MS)
        return close_politely(c, err, "nothing came for 45 seconds");
    if (now_ms - c->heard_ms >= WEIR_CLIENT_PING_MS &&
        now_ms - c->pinged_ms >= WEIR_CLIENT_STEP_MS) {
        c->pinged_ms = now_ms;
        int rc = send_frame(c, WEIR_FRAME_PING, (weir_str_t){ "", 0 }, err);
        if (rc != WEIR_OK)
            return rc;
    }
    return now_ms >= c->next_poll_ms ? ask(c, now_ms, err) : WEIR_OK;
}

int64_t weir_client_deadline(const weir_client_t *c)
{
    if (c->step == STEP_DOWN)
        return INT64_MAX;
    if (c->step != STEP_READY)
        return c->started_ms + WEIR_CLIENT_STEP_MS;
    int64_t at = c->next_poll_ms;
    if (c->asking && c->asked_ms + c->options.call_timeout_ms < at)
        at = c->asked_ms + c->options.call_timeout_ms;
    if (c->heard_ms + WEIR_CLIENT_PING_MS < at)
        at = c->heard_ms + WEIR_CLIENT_PING_MS;
    return at;
}

void weir_client_disconnected(weir_client_t *c)
{
    c->step = STEP_DOWN;
    c->asking = false;
}

bool weir_client_ready(const weir_client_t *c)
{
    return c->step == STEP_READY;
}

uint64_t weir_client_version(const weir_client_t *c)
{
    return c->version;
}

uint64_t weir_client_newest(const weir_client_t *c)
{
    return c->newest;
}
