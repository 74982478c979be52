/* classic_session.c -- one data plane's socket of /v1/outlet, on the control plane
 * (sync-protocol D.1, D.4 to D.6). */
#include "cluster/classic_internal.h"

#include "base/json.h"
#include "cluster/compat.h"
#include "cluster/websocket.h"
#include "model/checks.h"

#include <stdio.h>

enum {
    EVENT_BYTES_MAX = 768,
    RETRY_MS = 30000, /* a frame could not be made: the next change, or then */
};

struct weir_classic_session {
    weir_classic_session_options_t options;
    weir_websocket_t socket;
    char node[WEIR_CLASSIC_TEXT_MAX + 1], hostname[WEIR_CLASSIC_TEXT_MAX + 1];
    char version[WEIR_CLASSIC_TEXT_MAX + 1], ip[WEIR_CLASSIC_TEXT_MAX + 1];
    classic_info_t info;
    int64_t level;
    bool ready;    /* basic_info is there, the version fits */
    bool nameable; /* what it says of itself can stand in a row of the registry */
    weir_registry_node_t *registered; /* it has pinged; NULL: there is no row */
    int64_t started_ms;
    const char *status; /* sync_status */
    /* Pushing: the newest version that is to be there, and the one that it was given. */
    uint64_t wanted, given;
    bool want_open;
    char hash[WEIR_CLASSIC_HASH + 1];      /* that it said last; empty: nothing */
    char sent_hash[WEIR_CLASSIC_HASH + 1]; /* empty: nothing was sent yet */
    uint64_t sent;                         /* the version of that */
    int64_t sent_ms, retry_ms;
    unsigned resends; /* of sent_hash */
};

static void event(weir_classic_session_t *s, const char *format, ...) WEIR_PRINTF(2, 3);
static void event(weir_classic_session_t *s, const char *format, ...)
{
    char text[EVENT_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)weir_str_format(text, sizeof(text), format, arguments);
    va_end(arguments);
    s->options.event(s->options.context, text);
}

static int end_with(weir_classic_session_t *s, weir_error_t *err, const char *why)
{
    return weir_websocket_close(&s->socket, err, why);
}

/* -- the registry ----------------------------------------------------------------------------- */

static bool is_text(weir_str_t text)
{
    size_t position = 0;
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f)
            return false;
    return weir_utf8_valid(text, &position);
}

/* A row needs an id, and a version that begins as one (A.2, D.5). */
static bool is_nameable(const weir_classic_session_t *s)
{
    size_t digits = strspn(s->version, "0123456789");
    return s->node[0] != '\0' && digits > 0 && s->version[digits] == '.' &&
           is_text(weir_str(s->node)) && is_text(weir_str(s->hostname)) &&
           is_text(weir_str(s->version));
}

static void warn_of_twin(weir_classic_session_t *s)
{
    char text[EVENT_BYTES_MAX];
    snprintf(text, sizeof(text), "node id claimed from two addresses node=%s", s->node);
    (s->options.warning != NULL ? s->options.warning : s->options.event)(s->options.context, text);
}

static void register_node(weir_classic_session_t *s, int64_t now_ms)
{
    bool twin = false;
    if (!s->nameable || s->registered != NULL)
        return;
    weir_node_facts_t facts = {
        .node_id = weir_str(s->node),
        .hostname = weir_str(s->hostname),
        .ip = weir_str(s->ip),
        .version = weir_str(s->version),
        .labels = s->info.labels,
        .certificate_expiry_s = s->options.certificate_expiry_s,
    };
    s->registered = weir_registry_connected(s->options.registry, &facts, now_ms, &twin);
    if (twin)
        warn_of_twin(s);
    weir_registry_status(s->options.registry, s->registered, weir_str(s->status), now_ms);
}

static void set_status(weir_classic_session_t *s, const char *status, const char *plugin,
                       int64_t now_ms)
{
    if (strcmp(s->status, status) == 0)
        return;
    s->status = status;
    event(s, "sync status node=%s status=%s plugin=%s", s->node, status,
          plugin != NULL ? plugin : "-");
    weir_registry_status(s->options.registry, s->registered, weir_str(status), now_ms);
}

/* The version that its hash stands for; 0: it is none of ours. */
static uint64_t version_held(const weir_classic_session_t *s)
{
    return s->sent_hash[0] != '\0' && strcmp(s->hash, s->sent_hash) == 0 ? s->sent : 0;
}

static void note_hash(weir_classic_session_t *s, int64_t now_ms)
{
    if (!s->registered || !is_text(weir_str(s->hash)))
        return;
    weir_registry_seen(s->options.registry, s->registered, weir_str(s->hash), version_held(s),
                       now_ms);
}

/* -- pushing (D.6) ------------------------------------------------------------------------- */

static void ask_for(weir_classic_session_t *s, uint64_t version)
{
    weir_classic_want_t wish = { .level = s->level, .version = version };
    s->want_open = true;
    s->options.want(s->options.context, &wish);
}

static void want(weir_classic_session_t *s, int64_t now_ms)
{
    if (s->ready && !s->want_open && s->wanted > s->given && now_ms >= s->retry_ms &&
        !s->options.busy(s->options.context))
        ask_for(s, s->wanted);
}

int weir_classic_session_push(weir_classic_session_t *s, uint64_t version, int64_t now_ms)
{
    if (version > s->wanted) {
        s->wanted = version;
        s->retry_ms = 0;
    }
    want(s, now_ms);
    return WEIR_OK;
}

/* A data plane that has this very set is left alone: it would do nothing with it. */
static int give(weir_classic_session_t *s, weir_classic_frame_t *frame, int64_t now_ms,
                weir_error_t *err)
{
    const char *hash = weir_classic_frame_hash(frame);
    bool same = strcmp(hash, s->sent_hash) == 0;
    bool held = strcmp(hash, s->hash) == 0 || (same && s->resends == 0);
    if (!same)
        s->resends = 0;
    s->sent = weir_classic_frame_version(frame);
    s->sent_ms = now_ms;
    memcpy(s->sent_hash, hash, sizeof(s->sent_hash));
    if (held) {
        note_hash(s, now_ms);
        return WEIR_OK;
    }
    int rc = weir_websocket_send_head(&s->socket, weir_classic_frame_payload(frame).len, err);
    if (rc == WEIR_OK && s->options.send_frame(s->options.context, frame) != WEIR_OK)
        rc = weir_websocket_overflow(&s->socket, err);
    return rc;
}

int weir_classic_session_frame(weir_classic_session_t *s, weir_classic_frame_t *frame,
                               const weir_error_t *failure, int64_t now_ms, weir_error_t *err)
{
    s->want_open = false;
    if (frame == NULL) {
        event(s, "push failed node=%s reason=\"%s\"", s->node, failure->reason);
        s->retry_ms = now_ms + RETRY_MS;
        return WEIR_OK;
    }
    const char *plugin = NULL;
    weir_str_t ours = weir_str(s->options.compat_version);
    const char *status = classic_plugins_fit(&s->info, ours, frame, &plugin);
    s->given = weir_classic_frame_version(frame);
    set_status(s, status, plugin, now_ms);
    if (strcmp(status, "normal") != 0)
        return WEIR_OK; /* withheld: the next set may fit */
    int rc = give(s, frame, now_ms, err);
    if (rc == WEIR_OK)
        want(s, now_ms);
    return rc;
}

/* A push can get lost in a data plane that has only just started (D.1). */
static void send_again(weir_classic_session_t *s, int64_t now_ms)
{
    if (s->sent_hash[0] == '\0' || strcmp(s->hash, s->sent_hash) == 0) {
        s->resends = 0;
        return;
    }
    if (s->want_open || s->wanted > s->given || s->resends >= WEIR_CLASSIC_RESENDS_MAX ||
        now_ms - s->sent_ms < WEIR_CLASSIC_RESEND_MS || strcmp(s->status, "normal") != 0 ||
        s->options.busy(s->options.context))
        return;
    s->resends++;
    event(s, "sent again, it does not have it node=%s", s->node);
    ask_for(s, s->given);
}

/* -- frames ------------------------------------------------------------------------------- */

static int take_ping(void *context, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    weir_classic_session_t *s = context;
    if (payload.len != WEIR_CLASSIC_HASH)
        return end_with(s, err, "a ping that carries no hash of 32 characters");
    memcpy(s->hash, payload.data, payload.len);
    register_node(s, now_ms);
    note_hash(s, now_ms);
    int rc = weir_websocket_send(&s->socket, WEIR_FRAME_PONG, WEIR_STR(""), err);
    if (rc == WEIR_OK)
        send_again(s, now_ms);
    return rc;
}

static int take_info(weir_classic_session_t *s, weir_str_t payload, int64_t now_ms,
                     weir_error_t *err)
{
    weir_error_t why = { 0 };
    if (classic_info_read(payload, &s->info, &why) != WEIR_OK)
        return end_with(s, err, why.reason);
    if (!classic_version_fits(weir_str(s->options.compat_version), weir_str(s->version))) {
        s->status = "kong_version_incompatible";
        memcpy(s->hash, WEIR_CLASSIC_NO_HASH, sizeof(s->hash));
        register_node(s, now_ms);
        note_hash(s, now_ms);
        return end_with(s, err, "its version does not fit: kong_version_incompatible");
    }
    s->ready = true;
    s->level = weir_compat_level(weir_compat_version(weir_str(s->version)));
    event(s, "connected node=%s version=%s dialect=classic", s->node, s->version);
    want(s, now_ms);
    return WEIR_OK;
}

/* Of a data plane that was told to say what it refused (D.4). */
static int take_fault(weir_classic_session_t *s, weir_str_t payload, int64_t now_ms,
                      weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *message = NULL;
    if (weir_json_parse(payload, &message, NULL) != WEIR_OK ||
        !weir_str_is(weir_json_get_string(message, "type", WEIR_STR("")), "error"))
        return end_with(s, err, "a binary frame after basic_info");
    const weir_json_t *error = weir_json_get(message, "error");
    weir_str_t text = weir_json_get_string(error, "message", WEIR_STR("no message"));
    event(s, "it refuses a push node=%s message=\"%.*s\"", s->node,
          (int)(text.len < 400 ? text.len : 400), text.data);
    weir_registry_refused(s->options.registry, s->registered, message, now_ms);
    return WEIR_OK;
}

static int take_message(void *context, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    weir_classic_session_t *s = context;
    return s->ready ? take_fault(s, payload, now_ms, err) : take_info(s, payload, now_ms, err);
}

static int refuse_pong(void *context, weir_str_t payload, int64_t now_ms, weir_error_t *err)
{
    (void)payload;
    (void)now_ms;
    return end_with(context, err, "a pong that nobody asked for");
}

/* -- its life ------------------------------------------------------------------------------ */

static void copy(char out[WEIR_CLASSIC_TEXT_MAX + 1], weir_str_t text)
{
    size_t len = text.len < WEIR_CLASSIC_TEXT_MAX ? text.len : WEIR_CLASSIC_TEXT_MAX;
    if (len > 0)
        memcpy(out, text.data, len);
    out[len] = '\0';
}

int weir_classic_session_new(const weir_classic_session_options_t *options, int64_t now_ms,
                             weir_classic_session_t **ret, weir_error_t *err)
{
    static const weir_websocket_protocol_t protocol = {
        .server = true,
        .message = take_message,
        .ping = take_ping,
        .pong = refuse_pong,
    };
    weir_classic_session_t *s = weir_calloc(1, sizeof(*s));
    if (s == NULL)
        return weir_error_memory(err);
    s->options = *options;
    copy(s->node, options->query.node_id);
    copy(s->hostname, options->query.hostname);
    copy(s->version, options->query.version);
    copy(s->ip, options->ip);
    s->nameable = options->query.node_id.len <= WEIR_CLASSIC_TEXT_MAX && is_nameable(s);
    s->started_ms = now_ms;
    s->status = "normal";
    weir_websocket_options_t socket = {
        .protocol = &protocol,
        .context = s,
        .payload_max = options->payload_max < WEIR_CLASSIC_INFO_MAX ? options->payload_max
                                                                    : WEIR_CLASSIC_INFO_MAX,
        .idle_ms = WEIR_CLASSIC_IDLE_MS,
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

void weir_classic_session_free(weir_classic_session_t *s, int64_t now_ms)
{
    if (s == NULL)
        return;
    weir_registry_disconnected(s->options.registry, s->registered, now_ms);
    classic_info_release(&s->info);
    weir_websocket_release(&s->socket);
    weir_free(s);
}

int weir_classic_session_input(weir_classic_session_t *s, weir_str_t bytes, int64_t now_ms,
                               weir_error_t *err)
{
    return weir_websocket_input(&s->socket, bytes, now_ms, err);
}

int weir_classic_session_tick(weir_classic_session_t *s, int64_t now_ms, weir_error_t *err)
{
    if (!s->ready)
        return now_ms - s->started_ms >= WEIR_CLASSIC_INFO_MS
                   ? end_with(s, err, "no basic_info within 5 seconds")
                   : WEIR_OK;
    int rc = weir_websocket_tick(&s->socket, now_ms, err);
    if (rc == WEIR_OK)
        want(s, now_ms);
    return rc;
}

weir_str_t weir_classic_session_node(const weir_classic_session_t *s)
{
    return weir_str(s->node);
}

/* -- rounds -------------------------------------------------------------------------------- */

int64_t weir_classic_due(const weir_classic_rounds_t *rounds, uint64_t newest)
{
    if (newest <= rounds->pushed)
        return INT64_MAX;
    return rounds->began_ms > 0 ? rounds->began_ms + rounds->pause_ms : 0;
}

void weir_classic_began(weir_classic_rounds_t *rounds, uint64_t newest, int64_t now_ms)
{
    rounds->pushed = newest;
    rounds->began_ms = now_ms;
}
