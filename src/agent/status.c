/* status.c -- what the agent says of itself. */
#include "agent/status.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { STATUS_BYTES_MAX = 65536 };

void status_init(status_t *status, const char *prefix, const char *control_plane)
{
    *status = (status_t){ .changed = true };
    snprintf(status->path, sizeof(status->path), "%s/agent.json", prefix);
    snprintf(status->control_plane, sizeof(status->control_plane), "%s", control_plane);
}

void status_connected(status_t *status, bool connected)
{
    status->changed |= status->connected != connected;
    if (connected && !status->connected) {
        status->connected_ms = weir_clock_ms();
        status->last_error[0] = '\0'; /* it was about the connection */
    }
    status->connected = connected;
}

void status_versions(status_t *status, uint64_t version, uint64_t newest, uint64_t quarantined,
                     uint64_t entities, bool complete)
{
    if (newest < version)
        newest = version;
    status->changed |= status->version != version || status->newest != newest ||
                       status->quarantined != quarantined || status->complete != complete;
    status->version = version;
    status->newest = newest;
    status->quarantined = quarantined;
    status->entities = entities;
    status->complete = complete;
}

void status_applied(status_t *status, bool full, size_t deltas, int64_t took_us)
{
    status->batches++;
    status->deltas += deltas;
    status->fulls += full;
    status->last_full = full;
    if (full) {
        static const char *const names[] = { "first", "image set aside",
                                             "sent by the control plane" };
        status->resyncs[status->expected]++;
        snprintf(status->last_resync, sizeof(status->last_resync), "%s", names[status->expected]);
    }
    status->expected = RESYNC_SENT;
    status->apply_us = (uint64_t)took_us;
    status->applied_ms = weir_clock_ms();
    status->last_error[0] = '\0';
    status->changed = true;
}

void status_error(status_t *status, const char *reason)
{
    status->changed |= strcmp(status->last_error, reason) != 0;
    snprintf(status->last_error, sizeof(status->last_error), "%s", reason);
}

void status_failed(status_t *status, const char *reason)
{
    status_error(status, reason);
}

void status_set_aside(status_t *status)
{
    status->expected = RESYNC_SET_ASIDE;
    status->changed = true;
}

static void print(const status_t *s, weir_buffer_t *out)
{
    uint64_t lag = s->newest - s->version;
    weir_buffer_printf(
        out, "{\"pid\":%d,\"connected\":%s,\"complete\":%s,\"control_plane\":", (int)getpid(),
        s->connected ? "true" : "false", s->complete ? "true" : "false");
    weir_json_print_string(weir_str(s->control_plane), out);
    weir_buffer_printf(
        out,
        ",\"version\":%" PRIu64 ",\"newest\":%" PRIu64 ",\"lag\":%" PRIu64
        ",\"quarantined\":%" PRIu64 ",\"entities\":%" PRIu64 ",\"batches\":%" PRIu64
        ",\"deltas\":%" PRIu64 ",\"full_syncs\":%" PRIu64 ",\"apply_us\":%" PRIu64
        ",\"connected_since_ms\":%" PRId64 ",\"applied_ms\":%" PRId64 ",\"written_ms\":%" PRId64,
        s->version, s->newest, lag, s->quarantined, s->entities, s->batches, s->deltas, s->fulls,
        s->apply_us, s->connected_ms, s->applied_ms, weir_clock_ms());
    weir_buffer_printf(out,
                       ",\"last_sync\":%s,\"resyncs\":{\"first\":%" PRIu64
                       ",\"image_set_aside\":%" PRIu64 ",\"control_plane\":%" PRIu64 "}",
                       s->batches == 0 ? "null"
                       : s->last_full  ? "\"full\""
                                       : "\"increment\"",
                       s->resyncs[RESYNC_FIRST], s->resyncs[RESYNC_SET_ASIDE],
                       s->resyncs[RESYNC_SENT]);
    weir_buffer_append(out, WEIR_STR(",\"last_error\":"));
    if (s->last_error[0] != '\0')
        weir_json_print_string(weir_str(s->last_error), out);
    else
        weir_buffer_append(out, WEIR_STR("null"));
    weir_buffer_append(out, WEIR_STR(",\"last_resync\":"));
    if (s->last_resync[0] != '\0')
        weir_json_print_string(weir_str(s->last_resync), out);
    else
        weir_buffer_append(out, WEIR_STR("null"));
    weir_buffer_append(out, WEIR_STR("}\n"));
}

/* To the side, then renamed: a reader sees the old one or the new one. */
static int replace(const char *path, weir_str_t text)
{
    char side[PATH_MAX_BYTES + 8];
    snprintf(side, sizeof(side), "%s.new", path);
    int fd = open(side, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return errno;
    ssize_t written = write(fd, text.data, text.len);
    int number = written == (ssize_t)text.len ? 0 : written < 0 ? errno : ENOSPC;
    if (close(fd) != 0 && number == 0)
        number = errno;
    if (number == 0 && rename(side, path) != 0)
        number = errno;
    return number;
}

void status_write(status_t *status, bool force)
{
    int64_t now = weir_clock_monotonic_ms();
    if (!force && (!status->changed || now - status->written_ms < STATUS_EVERY_MS))
        return;
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, STATUS_BYTES_MAX);
    print(status, &text);
    int number = text.failed == WEIR_OK ? replace(status->path, weir_buffer_str(&text)) : ENOMEM;
    if (number != 0)
        weir_log(WEIR_LOG_ERROR, "cannot write path=%s errno=%d", status->path, number);
    status->changed = false;
    status->written_ms = now;
}

void status_reopen_log(status_t *status, const weir_settings_t *settings)
{
    (void)status;
    char path[PATH_MAX_BYTES];
    weir_log_level_t level = WEIR_LOG_NOTICE;
    weir_log_level_parse(weir_str(weir_setting_string(settings, "log_level")), &level);
    snprintf(path, sizeof(path), "%s/logs/agent.log", weir_setting_string(settings, "prefix"));
    weir_error_t err = { 0 };
    if (weir_log_open(path, level, "agent", &err) != WEIR_OK)
        weir_log(WEIR_LOG_ERROR, "%s", err.reason);
}
