/* apply.c -- batches into the image, what became of them, and the report of it. */
#include "agent/agent_internal.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"

#include <stdio.h>

enum { QUARANTINED_LISTED = 100, QUARANTINED_SAID = WEIR_NEWS_MAX };

/* -- committing ------------------------------------------------------------------------ */

static int commit_once(weir_image_t *image, bool full, uint64_t version, agent_fill_t fill,
                       const void *what, weir_error_t *err)
{
    weir_batch_t *batch = NULL;
    int rc = weir_batch_begin(image, full, version, &batch, err);
    if (rc != WEIR_OK)
        return rc;
    rc = fill(batch, what, err);
    if (rc != WEIR_OK) {
        weir_batch_abort(batch);
        return rc;
    }
    return weir_batch_commit(batch, weir_clock_ms(), err);
}

int commit_growing(weir_image_t *image, bool full, uint64_t version, agent_fill_t fill,
                   const void *what, bool *ret_grown, weir_error_t *err)
{
    *ret_grown = false;
    int rc = commit_once(image, full, version, fill, what, err);
    while (rc == WEIR_FULL && strcmp(err->field, "map") == 0) {
        *ret_grown = true;
        if (weir_image_grow(image, err) != WEIR_OK)
            break;
        rc = commit_once(image, full, version, fill, what, err);
    }
    return rc;
}

int agent_commit(agent_t *agent, weir_image_t *image, bool full, uint64_t version,
                 agent_fill_t fill, const void *what, weir_error_t *err)
{
    bool grown = false;
    int rc = commit_growing(image, full, version, fill, what, &grown, err);
    if (grown)
        weir_log(WEIR_LOG_NOTICE, "the image's map grows");
    if (rc != WEIR_OK) {
        /* The old image serves on; the version stays, so it is asked for again. */
        status_failed(&agent->status, err->reason);
        return rc;
    }
    agent->expire_ms = 0;
    return WEIR_OK;
}

typedef struct saying {
    uint64_t version; /* of what is said; 0: any */
    uint64_t said, left_out;
} saying_t;

/* New bad entities, each once in the log. */
static int log_quarantined(void *context, const weir_quarantined_t *q)
{
    saying_t *s = context;
    if (s->version != 0 && q->version != s->version)
        return WEIR_OK;
    if (s->said++ >= QUARANTINED_SAID) {
        s->left_out++;
        return WEIR_OK;
    }
    weir_log(WEIR_LOG_WARN,
             "quarantined type=%.*s id=%.*s name=%.*s field=%.*s serving_older=%s reason=\"%.*s\"",
             WEIR_STR_ARG(q->type), WEIR_STR_ARG(q->id), WEIR_STR_ARG(q->name),
             WEIR_STR_ARG(q->field), q->serving ? "yes" : "no", WEIR_STR_ARG(q->reason));
    return WEIR_OK;
}

/* A whole set came in many commits: all that is quarantined is looked through. A change
 * must not cost that. */
static void say_quarantined(agent_t *agent, bool full, uint64_t version)
{
    saying_t s = { .version = full ? version : 0 };
    if (full)
        weir_image_quarantined(agent->image, log_quarantined, &s, NULL);
    else
        weir_image_news(agent->image, log_quarantined, &s, &s.left_out, NULL);
    if (s.left_out > 0)
        weir_log(WEIR_LOG_WARN, "quarantined and not named entities=%" PRIu64, s.left_out);
}

void agent_applied(agent_t *agent, bool full, uint64_t version, size_t entities, int64_t took_us)
{
    weir_log(full ? WEIR_LOG_NOTICE : WEIR_LOG_INFO,
             "applied version=%" PRIu64 " deltas=%zu full=%s us=%" PRId64, version, entities,
             full ? "yes" : "no", took_us);
    status_applied(&agent->status, full, entities, took_us);
    say_quarantined(agent, full, version);
}

/* -- kong.sync.v2 ------------------------------------------------------------------------ */

static int put_rows(weir_batch_t *batch, const void *what, weir_error_t *err)
{
    const weir_update_t *update = what;
    int rc = WEIR_OK;
    for (const weir_json_t *d = weir_json_first(update->deltas); rc == WEIR_OK && d != NULL;
         d = weir_json_next(d)) {
        weir_str_t type = weir_json_string(weir_json_get(d, "type"));
        const weir_json_t *entity = weir_json_get(d, "entity");
        rc = weir_json_is_null(entity) ? weir_batch_delete(batch, type, weir_json_get(d, "pk"), err)
                                       : weir_batch_put(batch, type, entity, err);
    }
    return rc;
}

int agent_apply(void *context, const weir_update_t *update, weir_error_t *err)
{
    agent_t *agent = context;
    int64_t started_us = weir_clock_monotonic_us();
    int rc =
        agent_commit(agent, agent->image, update->full, update->version, put_rows, update, err);
    if (rc == WEIR_OK)
        agent_applied(agent, update->full, update->version, weir_json_count(update->deltas),
                      weir_clock_monotonic_us() - started_us);
    return rc;
}

/* -- the report ---------------------------------------------------------------------------- */

typedef struct report {
    weir_json_t *list;
    bool first_ones; /* after the news, which are in the list already */
} report_t;

static bool is_listed(const report_t *r, const weir_quarantined_t *q)
{
    for (const weir_json_t *e = weir_json_first(r->list); e != NULL; e = weir_json_next(e))
        if (weir_str_equal(weir_json_string(weir_json_get(e, "id")), q->id) &&
            weir_str_equal(weir_json_string(weir_json_get(e, "type")), q->type))
            return true;
    return false;
}

static int report_one(void *context, const weir_quarantined_t *q)
{
    report_t *r = context;
    const struct {
        const char *name;
        weir_str_t text;
    } members[] = {
        { "type", q->type },   { "id", q->id },         { "name", q->name },
        { "field", q->field }, { "reason", q->reason },
    };
    if (weir_json_count(r->list) >= QUARANTINED_LISTED)
        return WEIR_AGAIN; /* the others are counted, not listed */
    if (r->first_ones && is_listed(r, q))
        return WEIR_OK;
    weir_json_t *entry = weir_json_new_object();
    int rc = entry != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    for (size_t i = 0; rc == WEIR_OK && i < WEIR_COUNT(members); i++)
        rc = weir_json_set(entry, members[i].name, weir_json_new_string(members[i].text));
    if (rc == WEIR_OK)
        rc = weir_json_set(entry, "serving_older", weir_json_new_boolean(q->serving));
    if (rc == WEIR_OK)
        return weir_json_append(r->list, entry);
    weir_json_free(entry);
    return rc;
}

/* The news first: whoever waits for a change must find in the list that it was refused. */
static int list_quarantined(agent_t *agent, report_t *r)
{
    uint64_t left_out = 0;
    int rc = weir_image_news(agent->image, report_one, r, &left_out, NULL);
    r->first_ones = true;
    return rc == WEIR_OK ? weir_image_quarantined(agent->image, report_one, r, NULL) : rc;
}

static weir_json_t *make_report(agent_t *agent, uint64_t quarantined)
{
    report_t r = { .list = weir_json_new_array() };
    weir_json_t *report = weir_json_new_object();
    int rc = r.list != NULL && report != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    if (rc == WEIR_OK && quarantined > 0)
        rc = list_quarantined(agent, &r);
    if (rc == WEIR_OK)
        rc = weir_json_set(report, "quarantined_count", weir_json_new_number((double)quarantined));
    if (rc == WEIR_OK) {
        rc = weir_json_set(report, "quarantined", r.list);
        r.list = NULL;
    }
    weir_str_t last = weir_str(agent->status.last_error);
    if (rc == WEIR_OK)
        rc = weir_json_set(report, "last_error",
                           last.len > 0 ? weir_json_new_string(last) : weir_json_new_null());
    if (rc == WEIR_OK)
        return report;
    weir_json_free(r.list);
    weir_json_free(report);
    return NULL;
}

weir_json_t *agent_report(void *context, bool afresh)
{
    agent_t *agent = context;
    weir_image_state_t state;
    if (weir_image_state(agent->image, &state, NULL) != WEIR_OK)
        return NULL;
    if (!afresh && state.quarantine_stamp == agent->reported_stamp &&
        strcmp(agent->reported_error, agent->status.last_error) == 0)
        return NULL;
    weir_json_t *report = make_report(agent, state.quarantined);
    agent->reported_stamp = report != NULL ? state.quarantine_stamp : 0;
    snprintf(agent->reported_error, sizeof(agent->reported_error), "%s", agent->status.last_error);
    return report;
}
