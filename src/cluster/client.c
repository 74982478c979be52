/* client.c -- the data plane's end of the wire: the connection. */
#include "cluster/client_internal.h"

#include "base/json.h"

#include <stdio.h>

enum {
    UNCOMPRESSED_FACTOR = 16, /* of cluster_max_payload: a message of the control plane */
    BATCH_MAX = 256,
    /* Of the memory of a message, for the next: while a set comes, that is another page. */
    KEPT_BYTES = 64 * 1024,
    KEPT_BYTES_FILLING = 16 * 1024 * 1024,
};

/* -- sending ---------------------------------------------------------------------------- */

int client_close(weir_client_t *c, weir_error_t *err, const char *why)
{
    return weir_websocket_close(&c->socket, err, why);
}

/* Takes `message`. */
int client_send(weir_client_t *c, weir_json_t *message, weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *owned = message;
    WEIR_AUTO(buffer) weir_buffer_t block;
    weir_buffer_init(&block, c->options.payload_max + c->options.payload_max / 4);
    if (owned == NULL || weir_message_encode(c->codec, owned, &block, err) != WEIR_OK)
        return weir_websocket_drop(err, "out of memory for a message");
    return weir_websocket_send(&c->socket, WEIR_FRAME_BINARY, weir_buffer_str(&block), err);
}

void client_fault(weir_client_t *c, const char *what, const weir_error_t *why)
{
    char text[640];
    snprintf(text, sizeof(text), "%s field=%s reason=\"%s\"", what,
             why->field[0] != '\0' ? why->field : "-", why->reason);
    c->options.event(c->options.context, text);
}

/* -- calls of the control plane (C.5) --------------------------------------------------------- */

/* The token of a notification. False: it is of the other dialect. */
static bool read_token(const weir_client_t *c, const weir_json_t *token, uint64_t *ret)
{
    if (c->dialect == WEIR_DIALECT_310)
        return weir_json_kind(token) == WEIR_JSON_STRING &&
               weir_token_parse(weir_json_string(token), ret);
    double number = weir_json_number(token);
    *ret = number > 0 && number < 1e15 ? (uint64_t)number : 0;
    return weir_json_kind(token) == WEIR_JSON_NUMBER;
}

/* The answer for a call of notify_new_version; NULL: no memory. *ret_version is 0
 * when there is nothing to fetch. */
static weir_json_t *answer_notify(const weir_client_t *c, const weir_json_t *id,
                                  const weir_json_t *params, uint64_t *ret_version)
{
    const weir_json_t *space = weir_json_get(params, "default");
    const weir_json_t *token = weir_json_get(space, "new_version");
    *ret_version = 0;
    if (weir_json_kind(space) != WEIR_JSON_OBJECT)
        return weir_message_error(id, WEIR_RPC_SERVER_ERROR,
                                  "default namespace does not exist inside params");
    if (weir_json_is_null(token))
        return weir_message_error(id, WEIR_RPC_SERVER_ERROR, "'new_version' key does not exist");
    if (!read_token(c, token, ret_version))
        *ret_version = 0;
    return weir_message_result(id, weir_json_new_boolean(true));
}

/* Sends the answer, or puts it into the array of a batch. Takes it. */
static int give(weir_client_t *c, weir_json_t *batch, weir_json_t *answer, weir_error_t *err)
{
    if (batch == NULL || answer == NULL)
        return client_send(c, answer, err);
    return weir_json_append(batch, answer) == WEIR_OK
               ? WEIR_OK
               : client_close(c, err, "out of memory for an answer");
}

static int take_call(weir_client_t *c, const weir_json_t *message, weir_json_t *batch,
                     int64_t now_ms, weir_error_t *err)
{
    const weir_json_t *id = weir_json_get(message, "id");
    weir_str_t method = weir_json_get_string(message, "method", WEIR_STR(""));
    if (c->sync.agreed && batch == NULL && id == NULL)
        return sync_take_call(c, message, now_ms, err);
    if (!weir_str_is(method, WEIR_CAPABILITY_SYNC ".notify_new_version"))
        return id != NULL
                   ? give(c, batch,
                          weir_message_error(id, WEIR_RPC_METHOD_NOT_FOUND, "Method not found"),
                          err)
                   : WEIR_OK;
    const weir_json_t *params = weir_json_get(message, "params");
    const weir_json_t *first =
        weir_json_kind(params) == WEIR_JSON_ARRAY ? weir_json_first(params) : NULL;
    if (first == NULL)
        return WEIR_OK; /* the original gives no answer (B.3) */
    uint64_t version = 0;
    weir_json_t *answer = answer_notify(c, id, first, &version);
    int rc = WEIR_OK;
    if (id != NULL)
        rc = give(c, batch, answer, err);
    else
        weir_json_free(answer);
    return rc == WEIR_OK ? pull_noticed(c, version, now_ms, err) : rc;
}

static int take_object(weir_client_t *c, const weir_json_t *message, weir_json_t *batch,
                       int64_t now_ms, weir_error_t *err)
{
    if (!weir_str_is(weir_json_get_string(message, "jsonrpc", WEIR_STR("")), "2.0"))
        return client_close(c, err, "jsonrpc is not \"2.0\"");
    weir_id_kind_t kind = weir_message_id(message);
    if (kind == WEIR_ID_NULL || kind == WEIR_ID_ODD)
        return client_close(c, err, "an id that is no number");
    if (weir_json_get(message, "method") != NULL)
        return take_call(c, message, batch, now_ms, err);
    return c->sync.agreed ? sync_take_response(c, message, now_ms, err)
                          : pull_take_response(c, message, now_ms, err);
}

static int take_batch(weir_client_t *c, const weir_json_t *array, int64_t now_ms, weir_error_t *err)
{
    if (c->dialect == WEIR_DIALECT_39)
        return client_close(c, err, "a batch, which this dialect does not have");
    if (weir_json_first(array) == NULL)
        return client_send(
            c, weir_message_error(NULL, WEIR_RPC_INVALID_REQUEST, "empty batch array"), err);
    weir_json_t *answers = weir_json_new_array();
    int rc = answers != NULL ? WEIR_OK : client_close(c, err, "out of memory for a batch");
    size_t count = 0;
    for (const weir_json_t *item = weir_json_first(array); rc == WEIR_OK && item != NULL;
         item = weir_json_next(item)) {
        if (count++ == BATCH_MAX)
            rc = client_close(c, err, "a batch of more than 256 messages");
        else if (weir_json_kind(item) == WEIR_JSON_OBJECT)
            rc = take_object(c, item, answers, now_ms, err);
        else
            rc = client_send(
                c, weir_message_error(NULL, WEIR_RPC_INVALID_REQUEST, "not a valid object"), err);
    }
    if (rc == WEIR_OK && weir_json_first(answers) != NULL)
        return client_send(c, answers, err);
    weir_json_free(answers);
    return rc;
}

static int read_message(weir_client_t *c, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    const weir_json_t *message = NULL;
    weir_error_t why = { 0 };
    size_t uncompressed_max = c->options.payload_max * UNCOMPRESSED_FACTOR;
    if (weir_message_read(c->codec, payload, uncompressed_max, &c->memory, &message, &why) !=
        WEIR_OK)
        return client_close(c, err, why.reason);
    if (weir_json_kind(message) == WEIR_JSON_OBJECT)
        return take_object(c, message, NULL, now_ms, err);
    if (weir_json_kind(message) == WEIR_JSON_ARRAY)
        return take_batch(c, message, now_ms, err);
    return client_close(c, err, "a message that is no object");
}

static int take_message(weir_client_t *c, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    int rc = read_message(c, payload, now_ms, err);
    weir_arena_clear(&c->memory, c->sync.filling ? KEPT_BYTES_FILLING : KEPT_BYTES);
    return rc;
}

/* -- the hello (B.1) ----------------------------------------------------------------------- */

static int send_hello(void *context, int64_t now_ms, weir_error_t *err)
{
    (void)now_ms;
    weir_client_t *c = context;
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 64 * 1024);
    weir_greeting_t greeting = {
        .node_id = c->node_id,
        .hostname = c->hostname,
        .version = c->compat_version,
        .labels = c->options.labels,
        .sync_v1 = c->options.sync != NULL,
        .zstd = c->options.sync != NULL && c->options.zstd,
    };
    if (weir_hello_write(&greeting, &text) != WEIR_OK)
        return weir_websocket_drop(err, "the hello does not fit");
    return weir_websocket_send(&c->socket, WEIR_FRAME_BINARY, weir_buffer_str(&text), err);
}

static int take_hello(weir_client_t *c, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    weir_offer_t offer = { 0 };
    weir_error_t why = { 0 };
    if (weir_hello_read_answer(payload, &offer, &why) != WEIR_OK)
        return weir_websocket_drop(err, why.reason);
    c->unoffered = !offer.sync;
    if (!offer.sync)
        return weir_websocket_drop(err, "the control plane does not offer kong.sync.v2");
    bool modern = weir_hello_version(weir_str(c->compat_version)) >= WEIR_VERSION_3_10;
    c->weir_peer = offer.report;
    c->dialect = c->weir_peer || modern ? WEIR_DIALECT_310 : WEIR_DIALECT_39;
    c->sync.agreed = offer.sync_v1 && c->options.sync != NULL;
    if (offer.sync_v1 && !c->sync.agreed)
        return weir_websocket_drop(err,
                                   "the control plane speaks weir.sync.v1, which was not offered");
    c->codec = offer.codec;
    c->step = CLIENT_READY;
    c->options.event(c->options.context, c->sync.agreed ? "hello done protocol=weir.sync.v1"
                                         : c->weir_peer
                                             ? "hello done protocol=kong.sync.v2 peer=weir"
                                             : "hello done protocol=kong.sync.v2 peer=kong");
    /* The next says which version is held: what is not served of it goes before. */
    int rc = pull_report(c, err);
    if (rc != WEIR_OK)
        return rc;
    return c->sync.agreed ? sync_begin(c, now_ms, err) : pull_ask(c, now_ms, err);
}

static int take_payload(void *context, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    weir_client_t *c = context;
    return c->step == CLIENT_HELLO ? take_hello(c, payload, now_ms, err)
                                   : take_message(c, payload, now_ms, err);
}

static int begin_socket(weir_client_t *c, int64_t now_ms, weir_error_t *err)
{
    static const weir_websocket_protocol_t protocol = {
        .opened = send_hello,
        .message = take_payload,
    };
    weir_websocket_options_t socket = {
        .protocol = &protocol,
        .context = c,
        .payload_max = c->options.payload_max,
        .ping_ms = c->options.ping_ms,
        .idle_ms = c->options.ping_ms + c->options.ping_ms / 2,
        .host = c->options.context,
        .send = c->options.send,
        .random = c->options.random,
    };
    return weir_websocket_begin(&c->socket, &socket, now_ms, err);
}

/* -- the outside ------------------------------------------------------------------------------ */

int weir_client_new(const weir_client_options_t *options, uint64_t version, weir_client_t **ret,
                    weir_error_t *err)
{
    weir_client_t *c = weir_calloc(1, sizeof(*c));
    if (c == NULL)
        return weir_error_memory(err);
    c->options = *options;
    weir_arena_init(&c->memory, SIZE_MAX / 2); /* what a message may have, its bytes say */
    if (c->options.call_timeout_ms <= 0)
        c->options.call_timeout_ms = WEIR_CLIENT_STEP_MS;
    if (c->options.ping_ms <= 0)
        c->options.ping_ms = WEIR_CLIENT_PING_MS;
    snprintf(c->host, sizeof(c->host), "%s", options->host);
    snprintf(c->node_id, sizeof(c->node_id), "%.*s", WEIR_STR_ARG(options->node_id));
    snprintf(c->hostname, sizeof(c->hostname), "%s", options->hostname);
    snprintf(c->compat_version, sizeof(c->compat_version), "%s", options->compat_version);
    c->version = c->newest = version;
    c->digest_equal = -1;
    *ret = c;
    return WEIR_OK;
}

void weir_client_free(weir_client_t *c)
{
    if (c == NULL)
        return;
    weir_websocket_release(&c->socket);
    weir_json_free(c->reported);
    weir_arena_release(&c->memory);
    weir_free(c);
}

int weir_client_connected(weir_client_t *c, int64_t now_ms, weir_error_t *err)
{
    weir_websocket_request_t request = { c->host, "/v2/outlet", "kong.meta.v1" };
    if (begin_socket(c, now_ms, err) != WEIR_OK)
        return weir_websocket_drop(err, "out of memory for a connection");
    c->step = CLIENT_HELLO;
    c->started_ms = now_ms;
    c->asking = c->proven = c->flipped = c->unoffered = false;
    c->sync = (client_sync_t){ 0 };
    c->codec = WEIR_CODEC_SNAPPY;
    c->next_id = 0;
    c->failures = 0;
    weir_json_free(c->reported);
    c->reported = NULL;
    return weir_websocket_upgrade(&c->socket, &request, err);
}

int weir_client_input(weir_client_t *c, weir_str_t bytes, int64_t now_ms, weir_error_t *err)
{
    return weir_websocket_input(&c->socket, bytes, now_ms, err);
}

int weir_client_tick(weir_client_t *c, int64_t now_ms, weir_error_t *err)
{
    if (c->step == CLIENT_DOWN)
        return WEIR_OK;
    if (c->step != CLIENT_READY)
        return now_ms - c->started_ms >= WEIR_CLIENT_STEP_MS
                   ? weir_websocket_drop(err,
                                         "no answer to the upgrade or the hello within 5 seconds")
                   : WEIR_OK;
    int rc = weir_websocket_tick(&c->socket, now_ms, err);
    if (rc != WEIR_OK)
        return rc;
    return c->sync.agreed ? sync_tick(c, now_ms, err) : pull_tick(c, now_ms, err);
}

int64_t weir_client_deadline(const weir_client_t *c)
{
    if (c->step == CLIENT_DOWN)
        return INT64_MAX;
    if (c->step != CLIENT_READY)
        return c->started_ms + WEIR_CLIENT_STEP_MS;
    int64_t patience = c->weir_peer ? c->options.call_timeout_ms : WEIR_CLIENT_STEP_MS;
    int64_t at = c->next_ask_ms;
    if (c->sync.agreed)
        at = sync_deadline(c);
    else if (c->asking)
        at = c->asked_ms + patience;
    int64_t socket = weir_websocket_deadline(&c->socket);
    return socket < at ? socket : at;
}

void weir_client_disconnected(weir_client_t *c)
{
    c->step = CLIENT_DOWN;
    c->asking = false;
}

bool weir_client_unoffered(const weir_client_t *c)
{
    return c->unoffered || c->socket.upgrade.status == 404; /* 404: cluster_rpc is off */
}

bool weir_client_ready(const weir_client_t *c)
{
    return c->step == CLIENT_READY;
}

uint64_t weir_client_version(const weir_client_t *c)
{
    return c->version;
}

uint64_t weir_client_newest(const weir_client_t *c)
{
    return c->newest;
}

const char *weir_client_protocol(const weir_client_t *client)
{
    if (client->step != CLIENT_READY)
        return NULL;
    return client->sync.agreed ? WEIR_CAPABILITY_SYNC_V1 : "kong.sync.v2";
}

int weir_client_digest_equal(const weir_client_t *client)
{
    return client->digest_equal;
}

uint64_t weir_client_mismatches(const weir_client_t *client)
{
    return client->mismatches;
}
