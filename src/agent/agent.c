/* agent.c -- the sync agent's main loop. */
#include "agent/agent.h"

#include "agent/agent_internal.h"
#include "agent/classic.h"
#include "agent/retry.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "plugins/record.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    READ_BYTES = 65536,
    UPKEEP_MS = 1000,       /* stale readers, expiry */
    READERS_PER_WORKER = 4, /* a reload doubles the workers for a while */
    READERS_SPARE = 128,
    LOG_EVERY_MS = 30000, /* the same failure is not said more often */
};

/* -- callbacks of the client ---------------------------------------------------------- */

static int on_send(void *context, weir_str_t bytes)
{
    agent_t *agent = context;
    weir_error_t err = { 0 };
    int rc = tls_write(agent->tls, bytes, agent->queue_max, &err);
    agent->lost |= rc != WEIR_OK;
    if (rc == WEIR_OK)
        status_sent(&agent->status, bytes.len);
    return rc;
}

static int on_random(void *context, uint8_t *bytes, size_t count)
{
    (void)context;
    return getrandom(bytes, count, 0) == (ssize_t)count ? WEIR_OK : WEIR_IO;
}

static void on_event(void *context, const char *text)
{
    agent_t *agent = context;
    weir_assert(text != NULL);
    bool fault = strstr(text, "refused") != NULL || strstr(text, "could not") != NULL ||
                 strstr(text, "no answer") != NULL;
    weir_log(fault ? WEIR_LOG_ERROR : WEIR_LOG_NOTICE, "%s", text);
    if (fault)
        status_error(&agent->status, text);
}

/* -- connecting ---------------------------------------------------------------------------- */

static uint32_t random_number(void)
{
    uint32_t random = 0;
    if (getrandom(&random, sizeof(random), 0) != (ssize_t)sizeof(random))
        random = (uint32_t)weir_clock_monotonic_us();
    return random;
}

/* A control plane that is away for long must not fill the log. */
static void say_failure(agent_t *agent, const char *reason)
{
    int64_t now = weir_clock_monotonic_ms();
    if (strcmp(agent->said, reason) == 0 && now - agent->said_ms < LOG_EVERY_MS)
        return;
    agent->said_ms = now;
    snprintf(agent->said, sizeof(agent->said), "%s", reason);
    weir_log(WEIR_LOG_WARN, "not connected control_plane=%s tries=%u reason=\"%s\"", agent->address,
             agent->tries, reason);
}

static void disconnect(agent_t *agent, const char *reason)
{
    bool was_ready = link_ready(agent);
    bool classic_next = link_lost(agent);
    tls_free(agent->tls);
    agent->tls = NULL;
    agent->lost = false;
    if (classic_next) {
        agent->retry_ms = weir_clock_monotonic_ms(); /* at once */
        weir_log(WEIR_LOG_NOTICE, "classic full sync instead control_plane=%s reason=\"%s\"",
                 agent->address, reason);
        return;
    }
    if (was_ready)
        agent->tries = 0;
    agent->retry_ms = weir_clock_monotonic_ms() + retry_delay_ms(agent->tries, random_number());
    agent->tries++;
    say_failure(agent, reason);
    status_connected(&agent->status, false);
    status_error(&agent->status, reason);
}

static void try_connect(agent_t *agent)
{
    weir_error_t err = { 0 };
    agent->connecting_ms = weir_clock_monotonic_ms();
    if (link_choose(agent, &err) != WEIR_OK ||
        tls_connect(agent->context, agent->address, NULL, &agent->tls, &err) != WEIR_OK)
        disconnect(agent, err.reason);
}

static int handshake(agent_t *agent, int64_t now, weir_error_t *err)
{
    int rc = tls_handshake(agent->tls, err);
    if (rc == WEIR_AGAIN)
        return WEIR_OK;
    return rc == WEIR_OK ? link_connected(agent, now, err) : rc;
}

static int read_all(agent_t *agent, int64_t now, weir_error_t *err)
{
    static char bytes[READ_BYTES];
    int rc = WEIR_OK;
    while (rc == WEIR_OK && !agent->lost) {
        size_t len = 0;
        rc = tls_read(agent->tls, bytes, sizeof(bytes), &len, err);
        if (rc == WEIR_OK)
            status_received(&agent->status, len);
        if (rc == WEIR_OK)
            rc = link_input(agent, (weir_str_t){ bytes, len }, now, err);
    }
    return rc == WEIR_AGAIN ? WEIR_OK : rc;
}

static void serve_connection(agent_t *agent, short revents)
{
    weir_error_t err = { 0 };
    int64_t now = weir_clock_monotonic_ms();
    int rc = WEIR_OK;
    bool was_ready = link_ready(agent);
    if (!tls_ready(agent->tls)) {
        if (revents != 0)
            rc = handshake(agent, now, &err);
        else if (now - agent->connecting_ms >= RETRY_CONNECT_MS)
            rc = weir_error_set(&err, WEIR_TIMEOUT, NULL, "no connection within 5 seconds");
    } else if (revents & (POLLIN | POLLHUP | POLLERR)) {
        rc = read_all(agent, now, &err);
    }
    if (rc == WEIR_OK)
        rc = link_tick(agent, weir_clock_monotonic_ms(), &err);
    weir_error_t flush = { 0 };
    int flushed = tls_flush(agent->tls, &flush); /* a close frame goes out, too */
    if (rc == WEIR_OK && flushed != WEIR_OK) {
        rc = flushed;
        err = flush;
    }
    if (rc == WEIR_OK && agent->lost)
        rc = weir_error_set(&err, WEIR_CLOSED, NULL, "the output queue is full");
    if (rc != WEIR_OK) {
        disconnect(agent, err.reason);
        return;
    }
    if (!was_ready && link_ready(agent)) {
        agent->tries = 0;
        agent->said[0] = '\0';
        weir_log(WEIR_LOG_NOTICE, "connected control_plane=%s protocol=%s", agent->address,
                 link_protocol(agent));
        status_connected(&agent->status, true);
    }
}

/* -- the image ------------------------------------------------------------------------------- */

static int64_t workers(const weir_settings_t *settings)
{
    int64_t count = 0;
    const char *text = weir_setting_string(settings, "nginx_worker_processes");
    if (weir_parse_int64(weir_str(text), 1, 4096, &count) != WEIR_OK)
        count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? count : 1;
}

static int open_image(agent_t *agent, weir_error_t *err)
{
    static char path[PATH_MAX_BYTES];
    snprintf(path, sizeof(path), "%s/image", agent->prefix);
    weir_image_options_t options = {
        .path = path,
        .map_bytes = (uint64_t)weir_setting_integer(agent->settings, "lmdb_map_size"),
        .readers_max = (unsigned)(READERS_PER_WORKER * workers(agent->settings) + READERS_SPARE),
        .sync = weir_setting_boolean(agent->settings, "image_sync"),
        .documented_order =
            strcmp(weir_setting_string(agent->settings, "router_priority"), "documented") == 0,
        .build = WEIR_VERSION,
        .compile_plugin = weir_plugin_compile,
    };
    int rc = weir_image_open(&options, &agent->image, err);
    if (rc == WEIR_CORRUPT || rc == WEIR_UNSUPPORTED) {
        char aside[PATH_MAX_BYTES];
        weir_error_t why = *err;
        rc = weir_image_set_aside(path, weir_clock_ms(), aside, sizeof(aside), err);
        if (rc != WEIR_OK)
            return rc;
        weir_log(WEIR_LOG_ERROR, "the image is set aside as=%s reason=\"%s\"", aside, why.reason);
        status_set_aside(&agent->status);
        rc = weir_image_open(&options, &agent->image, err);
    }
    return rc;
}

static void say_not_flushed(agent_t *agent, const char *reason)
{
    int64_t now = weir_clock_monotonic_ms();
    status_failed(&agent->status, reason);
    if (agent->flush_said_ms != 0 && now - agent->flush_said_ms < LOG_EVERY_MS)
        return;
    agent->flush_said_ms = now;
    weir_log(WEIR_LOG_ERROR,
             "the image is not on disk, no change is taken until it is reason=\"%s\"", reason);
}

static void upkeep(agent_t *agent)
{
    weir_error_t err = { 0 };
    size_t count = 0;
    if (weir_image_clear_stale(agent->image, &count, &err) == WEIR_OK && count > 0)
        weir_log(WEIR_LOG_NOTICE, "cleared slots of dead readers count=%zu", count);
    int64_t now_ms = weir_clock_ms();
    if (agent->expire_ms == 0 || now_ms >= agent->expire_ms) {
        int64_t next = 0;
        if (weir_image_expire(agent->image, now_ms, &count, &next, &err) != WEIR_OK)
            weir_log(WEIR_LOG_ERROR, "expired entities stay reason=\"%s\"", err.reason);
        else if (count > 0)
            weir_log(WEIR_LOG_INFO, "expired entities count=%zu", count);
        agent->expire_ms = next > 0 ? next : INT64_MAX;
    }
    if (weir_image_settle(agent->image, &err) != WEIR_OK)
        say_not_flushed(agent, err.reason);
}

/* Whoever waits for a change has been told that it serves. */
static void flush(agent_t *agent)
{
    weir_error_t err = { 0 };
    if (weir_image_flush(agent->image, &err) != WEIR_OK)
        say_not_flushed(agent, err.reason);
}

/* -- the loop ------------------------------------------------------------------------------------
 */

static void update_status(agent_t *agent, bool force)
{
    weir_image_state_t state = { 0 };
    if (weir_image_state(agent->image, &state, NULL) != WEIR_OK)
        return;
    status_facts_t facts = {
        .version = state.version,
        .newest = link_newest(agent, state.version),
        .quarantined = state.quarantined,
        .entities = state.entities,
        .complete = state.complete,
        .bytes_used = state.bytes_used,
        .map_bytes = state.map_bytes,
        .has_digest = state.has_digest,
        .digest = state.digest,
    };
    link_facts(agent, &facts);
    if (agent->stage != NULL) { /* which may be the thread's of a page just now */
        facts.stage_snapshot = agent->stage_snapshot;
        facts.stage_entities = agent->stage_entities;
        facts.stage_expected = agent->stage_expected;
    }
    status_facts(&agent->status, &facts);
    status_write(&agent->status, force);
}

static int64_t next_deadline(const agent_t *agent, int64_t upkeep_ms)
{
    int64_t at = upkeep_ms;
    if (agent->tls == NULL)
        return agent->retry_ms < at ? agent->retry_ms : at;
    int64_t client = link_deadline(agent);
    return client < at ? client : at;
}

static void loop(agent_t *agent, volatile const int *stop, volatile int *reopen)
{
    int64_t upkeep_ms = 0;
    while (!*stop) {
        int64_t now = weir_clock_monotonic_ms();
        if (agent->tls == NULL && now >= agent->retry_ms)
            try_connect(agent);
        int64_t wait = next_deadline(agent, upkeep_ms) - weir_clock_monotonic_ms();
        struct pollfd fd = { .fd = -1 };
        if (agent->tls != NULL)
            fd = (struct pollfd){ .fd = tls_fd(agent->tls), .events = tls_events(agent->tls) };
        int ready = poll(&fd, 1, wait > 0 ? (int)wait : 0);
        if (ready < 0 && errno != EINTR)
            weir_log(WEIR_LOG_ERROR, "poll failed errno=%d", errno);
        if (agent->tls != NULL)
            serve_connection(agent, ready > 0 ? fd.revents : 0);
        flush(agent);
        if (*reopen) {
            *reopen = 0;
            status_reopen_log(&agent->status, agent->settings);
        }
        now = weir_clock_monotonic_ms();
        if (now >= upkeep_ms) {
            upkeep(agent);
            upkeep_ms = now + UPKEEP_MS;
        }
        update_status(agent, false);
    }
}

static int read_node_id(agent_t *agent, weir_error_t *err)
{
    char path[PATH_MAX_BYTES];
    char text[WEIR_UUID_TEXT + 1] = "";
    weir_uuid_t id;
    snprintf(path, sizeof(path), "%s/weir.id", agent->prefix);
    FILE *file = fopen(path, "re");
    size_t len = file != NULL ? fread(text, 1, WEIR_UUID_TEXT, file) : 0;
    if (file != NULL)
        fclose(file);
    if (weir_uuid_parse((weir_str_t){ text, len }, &id) != WEIR_OK)
        return weir_error_set(err, WEIR_INVALID, "node_id", "%s holds no UUID: run `weir prepare`",
                              path);
    weir_uuid_format(&id, agent->node_id);
    return WEIR_OK;
}

int agent_open_client(agent_t *agent, weir_error_t *err)
{
    weir_image_state_t state;
    int rc = weir_image_state(agent->image, &state, err);
    if (rc != WEIR_OK)
        return rc;
    size_t labels = weir_setting_count(agent->settings, "cluster_dp_labels");
    for (size_t i = 0; i < labels && i < AGENT_LABELS_MAX; i++)
        agent->labels[i] = weir_setting_item(agent->settings, "cluster_dp_labels", i);
    weir_client_options_t options = {
        .host = agent->address,
        .node_id = weir_str(agent->node_id),
        .hostname = agent->hostname,
        .compat_version = weir_setting_string(agent->settings, "cluster_compat_version"),
        .labels = agent->labels,
        .payload_max = (size_t)weir_setting_integer(agent->settings, "cluster_max_payload"),
        .call_timeout_ms = 60000, /* a large full set may take its time */
        .ping_ms = weir_setting_integer(agent->settings, "cluster_heartbeat_interval") * 1000,
        .context = agent,
        .send = on_send,
        .random = on_random,
        .apply = agent_apply,
        .report = agent_report,
        .sync = strcmp(weir_setting_string(agent->settings, "cluster_sync_protocol"),
                       "weir.sync.v1") == 0
                    ? &agent_sync
                    : NULL,
        .zstd =
            strcmp(weir_setting_string(agent->settings, "cluster_sync_compression"), "zstd") == 0,
        .event = on_event,
    };
    agent->queue_max = 2 * options.payload_max;
    if (state.complete)
        agent->status.expected = RESYNC_SENT;
    return weir_client_new(&options, classic_told_version(&state), &agent->client, err);
}

static int open_classic(agent_t *agent, weir_error_t *err)
{
    weir_classic_client_options_t options = {
        .host = agent->address,
        .node_id = weir_str(agent->node_id),
        .hostname = agent->hostname,
        .compat_version = weir_setting_string(agent->settings, "cluster_compat_version"),
        .labels = agent->labels,
        .payload_max = (size_t)weir_setting_integer(agent->settings, "cluster_max_payload"),
        .context = agent,
        .send = on_send,
        .random = on_random,
        .event = on_event,
    };
    return link_open_classic(agent, &options, err);
}

int weir_agent_run(const weir_settings_t *settings, volatile int *stop, volatile int *reopen,
                   weir_error_t *err)
{
    agent_t *agent = weir_calloc(1, sizeof(*agent));
    if (agent == NULL)
        return weir_error_memory(err);
    agent->settings = settings;
    snprintf(agent->prefix, sizeof(agent->prefix), "%s", weir_setting_string(settings, "prefix"));
    snprintf(agent->address, sizeof(agent->address), "%s",
             weir_setting_string(settings, "cluster_control_plane"));
    if (gethostname(agent->hostname, sizeof(agent->hostname) - 1) != 0)
        snprintf(agent->hostname, sizeof(agent->hostname), "unknown");
    status_init(&agent->status, agent->prefix, agent->address);
    int rc = read_node_id(agent, err);
    if (rc == WEIR_OK)
        rc = open_image(agent, err);
    if (rc == WEIR_OK)
        rc = agent_open_stage(agent, err);
    if (rc == WEIR_OK)
        rc = agent_open_client(agent, err);
    if (rc == WEIR_OK)
        rc = open_classic(agent, err);
    if (rc == WEIR_OK)
        rc = tls_context_new(settings, &agent->context, err);
    if (rc == WEIR_OK) {
        weir_log(WEIR_LOG_NOTICE, "started node=%s control_plane=%s version=%" PRIu64,
                 agent->node_id, agent->address, weir_client_version(agent->client));
        update_status(agent, true);
        loop(agent, stop, reopen);
        status_connected(&agent->status, false);
        update_status(agent, true);
        weir_image_sync(agent->image, NULL);
        weir_log(WEIR_LOG_NOTICE, "stopped version=%" PRIu64, agent->status.facts.version);
    }
    tls_free(agent->tls);
    tls_context_free(agent->context);
    weir_client_free(agent->client);
    weir_classic_client_free(agent->classic);
    weir_free(agent->plugins);
    page_drop(&agent->put);
    weir_image_close(agent->stage);
    weir_image_close(agent->image);
    weir_free(agent);
    return rc;
}
