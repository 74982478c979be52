/* classic_client.c -- the data plane's end of the classic full sync. */
#include "cluster/classic_client.h"

#include "base/json.h"
#include "cluster/websocket.h"

#include <stdio.h>

enum { TEXT_MAX = 256, TARGET_MAX = 1024, INFO_BYTES_MAX = 1 << 20 };

#define NO_HASH "00000000000000000000000000000000"

typedef enum classic_step { CLASSIC_DOWN, CLASSIC_UPGRADE, CLASSIC_READY } classic_step_t;

struct weir_classic_client {
    weir_classic_client_options_t options;
    char host[TEXT_MAX], node_id[TEXT_MAX], hostname[TEXT_MAX], compat_version[TEXT_MAX];
    char hash[WEIR_CLASSIC_HASH_MAX + 1];
    classic_step_t step;
    weir_websocket_t socket;
    weir_buffer_t pending; /* the newest push that is not applied yet */
    bool has_pending;
    int64_t started_ms, next_ping_ms, next_apply_ms;
};

static void fault(weir_classic_client_t *c, const char *what, const weir_error_t *why)
{
    char text[640];
    snprintf(text, sizeof(text), "%s field=%s reason=\"%s\"", what,
             why->field[0] != '\0' ? why->field : "-", why->reason);
    c->options.event(c->options.context, text);
}

static int ping(weir_classic_client_t *c, int64_t now_ms, weir_error_t *err)
{
    c->next_ping_ms = now_ms + WEIR_CLASSIC_PING_MS;
    return weir_websocket_send(&c->socket, WEIR_FRAME_PING, weir_str(c->hash), err);
}

/* -- basic_info (D.1) ---------------------------------------------------------------------------
 */

static void write_plugins(const weir_classic_client_t *c, weir_buffer_t *out)
{
    const char *const *names = c->options.plugins;
    for (size_t i = 0; names != NULL && names[i] != NULL; i++) {
        weir_buffer_append(out, i == 0 ? WEIR_STR("{\"name\":") : WEIR_STR(",{\"name\":"));
        weir_json_print_string(weir_str(names[i]), out);
        weir_buffer_append(out, WEIR_STR(",\"version\":"));
        weir_json_print_string(weir_str(c->compat_version), out);
        weir_buffer_byte(out, '}');
    }
}

static void write_labels(const weir_classic_client_t *c, weir_buffer_t *out)
{
    const char *const *labels = c->options.labels;
    if (labels == NULL || labels[0] == NULL)
        return;
    weir_buffer_append(out, WEIR_STR(",\"labels\":{"));
    for (size_t i = 0; labels[i] != NULL; i++) {
        const char *colon = strchr(labels[i], ':');
        size_t len = colon != NULL ? (size_t)(colon - labels[i]) : strlen(labels[i]);
        if (i > 0)
            weir_buffer_byte(out, ',');
        weir_json_print_string((weir_str_t){ labels[i], len }, out);
        weir_buffer_byte(out, ':');
        weir_json_print_string(weir_str(colon != NULL ? colon + 1 : ""), out);
    }
    weir_buffer_byte(out, '}');
}

/* No process_conf: it concerns nobody, and nobody reads it. */
static int send_info(void *context, int64_t now_ms, weir_error_t *err)
{
    weir_classic_client_t *c = context;
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, INFO_BYTES_MAX);
    c->step = CLASSIC_READY;
    c->options.event(c->options.context, "classic full sync begins");
    weir_buffer_append(&text, WEIR_STR("{\"type\":\"basic_info\",\"plugins\":["));
    write_plugins(c, &text);
    weir_buffer_append(&text, WEIR_STR("],\"filters\":{}"));
    write_labels(c, &text);
    if (weir_buffer_byte(&text, '}') != WEIR_OK)
        return weir_websocket_drop(err, "basic_info does not fit");
    int rc = weir_websocket_send(&c->socket, WEIR_FRAME_BINARY, weir_buffer_str(&text), err);
    return rc == WEIR_OK ? ping(c, now_ms, err) : rc;
}

/* -- pushes (D.7) -------------------------------------------------------------------------- */

static int take_push(void *context, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    weir_classic_client_t *c = context;
    weir_buffer_clear(&c->pending);
    c->has_pending = weir_buffer_append(&c->pending, payload) == WEIR_OK;
    c->next_apply_ms = now_ms;
    return c->has_pending ? WEIR_OK
                          : weir_websocket_close(&c->socket, err, "out of memory for a push");
}

/* The memory of a large push does not stay for ever. */
static void forget_push(weir_classic_client_t *c)
{
    size_t max = c->pending.len_max;
    c->has_pending = false;
    weir_buffer_release(&c->pending);
    weir_buffer_init(&c->pending, max);
}

static int apply_head(weir_classic_client_t *c, const weir_classic_head_t *head, weir_error_t *why)
{
    weir_classic_update_t update = {
        .head = head,
        .payload = weir_buffer_str(&c->pending),
        .inflated_max = (uint64_t)c->options.payload_max * WEIR_CLASSIC_INFLATE_MAX,
    };
    if (strcmp(head->hash, c->hash) == 0)
        return WEIR_OK; /* it is here already */
    int rc = c->options.apply(c->options.context, &update, why);
    if (rc == WEIR_OK)
        snprintf(c->hash, sizeof(c->hash), "%s", head->hash);
    return rc;
}

static int apply_pending(weir_classic_client_t *c, int64_t now_ms, weir_error_t *err)
{
    weir_classic_head_t head;
    weir_error_t why = { 0 };
    uint64_t most = (uint64_t)c->options.payload_max * WEIR_CLASSIC_INFLATE_MAX;
    int rc = weir_classic_read_head(weir_buffer_str(&c->pending), most, &head, &why);
    if (rc == WEIR_OK && !head.reconfigure) {
        forget_push(c);
        return WEIR_OK; /* messages of other types mean nothing (D.2) */
    }
    if (rc == WEIR_OK)
        rc = apply_head(c, &head, &why);
    if (rc == WEIR_OK) {
        forget_push(c);
        return ping(c, now_ms, err);
    }
    fault(c, rc == WEIR_INVALID ? "a push is refused" : "a push could not be applied", &why);
    if (rc == WEIR_CORRUPT || rc == WEIR_TOO_LARGE) {
        forget_push(c);
        return weir_websocket_close(&c->socket, err, why.reason);
    }
    if (rc == WEIR_INVALID)
        forget_push(c);
    c->next_apply_ms = now_ms + WEIR_CLASSIC_RETRY_MS;
    return WEIR_OK;
}

/* -- the connection ------------------------------------------------------------------------ */

/* Texts and pings are not answered (D.2). */
static int ignore(void *context, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    (void)context;
    (void)payload;
    (void)now_ms;
    (void)err;
    return WEIR_OK;
}

static int begin_socket(weir_classic_client_t *c, int64_t now_ms, weir_error_t *err)
{
    static const weir_websocket_protocol_t protocol = {
        .opened = send_info,
        .message = take_push,
        .ping = ignore,
        .text = ignore,
    };
    weir_websocket_options_t socket = {
        .protocol = &protocol,
        .context = c,
        .payload_max = c->options.payload_max,
        .idle_ms = WEIR_CLASSIC_QUIET_MS,
        .host = c->options.context,
        .send = c->options.send,
        .random = c->options.random,
    };
    return weir_websocket_begin(&c->socket, &socket, now_ms, err);
}

int weir_classic_client_connected(weir_classic_client_t *c, int64_t now_ms, weir_error_t *err)
{
    char target[TARGET_MAX];
    weir_websocket_request_t request = { c->host, target, NULL };
    if (begin_socket(c, now_ms, err) != WEIR_OK)
        return weir_websocket_drop(err, "out of memory for a connection");
    snprintf(target, sizeof(target), "/v1/outlet?node_id=%s&node_hostname=%s&node_version=%s",
             c->node_id, c->hostname, c->compat_version);
    c->step = CLASSIC_UPGRADE;
    c->started_ms = now_ms;
    return weir_websocket_upgrade(&c->socket, &request, err);
}

int weir_classic_client_input(weir_classic_client_t *c, weir_str_t bytes, int64_t now_ms,
                              weir_error_t *err)
{
    return weir_websocket_input(&c->socket, bytes, now_ms, err);
}

int weir_classic_client_tick(weir_classic_client_t *c, int64_t now_ms, weir_error_t *err)
{
    int rc = WEIR_OK;
    if (c->step == CLASSIC_DOWN)
        return rc;
    if (c->step == CLASSIC_UPGRADE)
        return now_ms - c->started_ms >= WEIR_CLASSIC_STEP_MS
                   ? weir_websocket_drop(err, "no answer to the upgrade within 5 seconds")
                   : WEIR_OK;
    if (c->has_pending && now_ms >= c->next_apply_ms)
        rc = apply_pending(c, now_ms, err);
    if (rc == WEIR_OK)
        rc = weir_websocket_tick(&c->socket, now_ms, err);
    if (rc == WEIR_OK && now_ms >= c->next_ping_ms)
        rc = ping(c, now_ms, err);
    return rc;
}

int64_t weir_classic_client_deadline(const weir_classic_client_t *c)
{
    if (c->step == CLASSIC_DOWN)
        return INT64_MAX;
    if (c->step == CLASSIC_UPGRADE)
        return c->started_ms + WEIR_CLASSIC_STEP_MS;
    int64_t at = weir_websocket_deadline(&c->socket);
    at = c->next_ping_ms < at ? c->next_ping_ms : at;
    return c->has_pending && c->next_apply_ms < at ? c->next_apply_ms : at;
}

/* -- its life ------------------------------------------------------------------------------ */

int weir_classic_client_new(const weir_classic_client_options_t *options,
                            weir_classic_client_t **ret, weir_error_t *err)
{
    weir_classic_client_t *c = weir_calloc(1, sizeof(*c));
    if (c == NULL)
        return weir_error_memory(err);
    c->options = *options;
    snprintf(c->host, sizeof(c->host), "%s", options->host);
    snprintf(c->node_id, sizeof(c->node_id), "%.*s", WEIR_STR_ARG(options->node_id));
    snprintf(c->hostname, sizeof(c->hostname), "%s", options->hostname);
    snprintf(c->compat_version, sizeof(c->compat_version), "%s", options->compat_version);
    weir_classic_client_holds(c, NO_HASH);
    weir_buffer_init(&c->pending, options->payload_max);
    *ret = c;
    return WEIR_OK;
}

void weir_classic_client_free(weir_classic_client_t *c)
{
    if (c == NULL)
        return;
    weir_websocket_release(&c->socket);
    weir_buffer_release(&c->pending);
    weir_free(c);
}

void weir_classic_client_disconnected(weir_classic_client_t *c)
{
    c->step = CLASSIC_DOWN;
    forget_push(c);
}

void weir_classic_client_holds(weir_classic_client_t *c, const char *hash)
{
    snprintf(c->hash, sizeof(c->hash), "%s", hash);
}

bool weir_classic_client_ready(const weir_classic_client_t *c)
{
    return c->step == CLASSIC_READY;
}

const char *weir_classic_client_hash(const weir_classic_client_t *c)
{
    return c->hash;
}
