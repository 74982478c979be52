/* status.c -- what the agent says of itself. */
#include "agent/status.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum { STATUS_BYTES_MAX = 65536 }; /* no more than report.c reads */

void status_init(status_t *status, const char *prefix, const char *control_plane)
{
    *status = (status_t){ .changed = true, .facts = { .digest_equal = -1 } };
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

void status_facts(status_t *status, const status_facts_t *facts)
{
    const status_facts_t *before = &status->facts;
    status->changed |=
        before->version != facts->version || before->newest != facts->newest ||
        before->quarantined != facts->quarantined || before->complete != facts->complete ||
        before->protocol != facts->protocol || before->digest_equal != facts->digest_equal ||
        before->mismatches != facts->mismatches || before->has_digest != facts->has_digest ||
        before->stage_snapshot != facts->stage_snapshot ||
        before->stage_entities != facts->stage_entities || before->map_bytes != facts->map_bytes;
    status->facts = *facts;
    if (facts->newest < facts->version)
        status->facts.newest = facts->version;
}

static const char *const resync_names[RESYNC_REASONS] = {
    "first",          "image set aside", "sent by the control plane", "ahead of the control plane",
    "behind the log", "too far behind",  "too much differed",
};

/* Members of "resyncs"; labels of the metric. */
static const char *const resync_keys[RESYNC_REASONS] = {
    "first", "image_set_aside", "control_plane", "ahead", "behind", "threshold", "digest",
};

void status_full_begins(status_t *status, weir_str_t reason)
{
    if (status->expected != RESYNC_SENT)
        return; /* it is known better here */
    for (status_resync_t i = RESYNC_AHEAD; i < RESYNC_REASONS; i++)
        if (weir_str_is(reason, resync_keys[i]))
            status->expected = i;
}

void status_applied(status_t *status, bool full, size_t deltas, int64_t took_us)
{
    status->batches++;
    status->deltas += deltas;
    status->fulls += full;
    status->last_full = full;
    if (full) {
        status->full_us = (uint64_t)took_us;
        status->resyncs[status->expected]++;
        snprintf(status->last_resync, sizeof(status->last_resync), "%s",
                 resync_names[status->expected]);
        status->expected = RESYNC_SENT;
    } else {
        weir_durations_add(&status->applies, &weir_apply_bounds, took_us);
    }
    status->apply_us = (uint64_t)took_us;
    status->applied_ms = weir_clock_ms();
    status->last_error[0] = '\0';
    status->changed = true;
}

void status_healed(status_t *status, uint64_t entities)
{
    status->heals++;
    status->healed_entities += entities;
    status->last_healed_entities = entities;
    status->healed_ms = weir_clock_ms();
    status->changed = true;
}

void status_received(status_t *status, size_t bytes)
{
    status->bytes_in += bytes;
    status->heard_ms = weir_clock_ms();
    status->changed |= status->heard_ms - status->heard_said_ms >= STATUS_EVERY_MS;
}

void status_sent(status_t *status, size_t bytes)
{
    status->bytes_out += bytes;
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

/* -- printing ------------------------------------------------------------------------- */

static void print_text(const char *name, const char *text, weir_buffer_t *out)
{
    weir_buffer_printf(out, ",\"%s\":", name);
    if (text != NULL && text[0] != '\0')
        weir_json_print_string(weir_str(text), out);
    else
        weir_buffer_append(out, WEIR_STR("null"));
}

static const char *boolean(bool value)
{
    return value ? "true" : "false";
}

static void print_numbers(const status_t *s, weir_buffer_t *out)
{
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        { "version", s->facts.version },
        { "newest", s->facts.newest },
        { "lag", s->facts.newest - s->facts.version },
        { "quarantined", s->facts.quarantined },
        { "entities", s->facts.entities },
        { "image_bytes", s->facts.bytes_used },
        { "map_bytes", s->facts.map_bytes },
        { "batches", s->batches },
        { "deltas", s->deltas },
        { "full_syncs", s->fulls },
        { "apply_us", s->apply_us },
        { "full_sync_us", s->full_us },
        { "bytes_in", s->bytes_in },
        { "bytes_out", s->bytes_out },
        { "connected_since_ms", (uint64_t)s->connected_ms },
        { "heard_ms", (uint64_t)s->heard_ms },
        { "applied_ms", (uint64_t)s->applied_ms },
        { "written_ms", (uint64_t)weir_clock_ms() },
    };
    for (size_t i = 0; i < WEIR_COUNT(numbers); i++)
        weir_buffer_printf(out, ",\"%s\":%" PRIu64, numbers[i].name, numbers[i].value);
}

static void print_resyncs(const status_t *s, weir_buffer_t *out)
{
    weir_buffer_append(out, WEIR_STR(",\"resyncs\":"));
    for (size_t i = 0; i < RESYNC_REASONS; i++)
        weir_buffer_printf(out, "%c\"%s\":%" PRIu64, i == 0 ? '{' : ',', resync_keys[i],
                           s->resyncs[i]);
    weir_buffer_byte(out, '}');
    print_text("last_resync", s->last_resync, out);
}

/* Whether the set is the control plane's: what is known of that, what was done about it. */
static void print_proof(const status_t *s, weir_buffer_t *out)
{
    char digest[WEIR_DIGEST_TEXT + 1] = "";
    if (s->facts.has_digest)
        weir_digest_format(&s->facts.digest, digest);
    print_text("digest", digest, out);
    weir_buffer_printf(out, ",\"digest_equal\":%s",
                       s->facts.digest_equal < 0 ? "null" : boolean(s->facts.digest_equal == 1));
    weir_buffer_printf(out,
                       ",\"digest_mismatches\":%" PRIu64 ",\"heals\":%" PRIu64
                       ",\"healed_entities\":%" PRIu64 ",\"last_heal\":",
                       s->facts.mismatches, s->heals, s->healed_entities);
    if (s->heals > 0)
        weir_buffer_printf(out, "{\"at_ms\":%" PRId64 ",\"entities\":%" PRIu64 "}", s->healed_ms,
                           s->last_healed_entities);
    else
        weir_buffer_append(out, WEIR_STR("null"));
}

static void print_progress(const status_t *s, weir_buffer_t *out)
{
    weir_buffer_append(out, WEIR_STR(",\"full_sync\":"));
    if (s->facts.stage_snapshot > 0)
        weir_buffer_printf(
            out, "{\"snapshot\":%" PRIu64 ",\"entities\":%" PRIu64 ",\"expected\":%" PRIu64 "}",
            s->facts.stage_snapshot, s->facts.stage_entities, s->facts.stage_expected);
    else
        weir_buffer_append(out, WEIR_STR("null"));
}

static void print_applies(const status_t *s, weir_buffer_t *out)
{
    weir_buffer_append(out, WEIR_STR(",\"applies\":{\"buckets\":"));
    for (size_t i = 0; i <= weir_apply_bounds.count; i++)
        weir_buffer_printf(out, "%c%" PRIu64, i == 0 ? '[' : ',', s->applies.buckets[i]);
    weir_buffer_printf(out, "],\"count\":%" PRIu64 ",\"sum_us\":%" PRIu64 "}", s->applies.count,
                       s->applies.sum_us);
}

static void print(const status_t *s, weir_buffer_t *out)
{
    weir_buffer_printf(out, "{\"pid\":%d,\"connected\":%s,\"complete\":%s", (int)getpid(),
                       boolean(s->connected), boolean(s->facts.complete));
    print_text("control_plane", s->control_plane, out);
    print_text("protocol", s->facts.protocol, out);
    print_numbers(s, out);
    print_text("last_sync", s->batches == 0 ? NULL : s->last_full ? "full" : "increment", out);
    print_resyncs(s, out);
    print_proof(s, out);
    print_progress(s, out);
    print_applies(s, out);
    print_text("last_error", s->last_error, out);
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
    status->heard_said_ms = status->heard_ms;
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
