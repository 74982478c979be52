/* link.c -- which protocol a connection speaks: the one of differences, or the classic
 * full sync, by setting or because the control plane has nothing else (sync-protocol C.7,
 * C.9). */
#include "agent/agent_internal.h"
#include "agent/classic.h"

#include "base/clock.h"
#include "base/log.h"

bool link_ready(const agent_t *agent)
{
    return agent->classic_now ? weir_classic_client_ready(agent->classic)
                              : agent->client != NULL && weir_client_ready(agent->client);
}

int link_connected(agent_t *agent, int64_t now, weir_error_t *err)
{
    return agent->classic_now ? weir_classic_client_connected(agent->classic, now, err)
                              : weir_client_connected(agent->client, now, err);
}

int link_input(agent_t *agent, weir_str_t bytes, int64_t now, weir_error_t *err)
{
    return agent->classic_now ? weir_classic_client_input(agent->classic, bytes, now, err)
                              : weir_client_input(agent->client, bytes, now, err);
}

int link_tick(agent_t *agent, int64_t now, weir_error_t *err)
{
    return agent->classic_now ? weir_classic_client_tick(agent->classic, now, err)
                              : weir_client_tick(agent->client, now, err);
}

int64_t link_deadline(const agent_t *agent)
{
    return agent->classic_now ? weir_classic_client_deadline(agent->classic)
                              : weir_client_deadline(agent->client);
}

const char *link_protocol(const agent_t *agent)
{
    return agent->classic_now ? "classic" : "rpc";
}

/* -- choosing ----------------------------------------------------------------------------- */

/* The other protocol may have changed what is here. */
static int tell_classic(agent_t *agent, weir_error_t *err)
{
    weir_image_state_t state;
    char hash[WEIR_CLASSIC_HASH_MAX + 1];
    int rc = weir_image_state(agent->image, &state, err);
    if (rc != WEIR_OK)
        return rc;
    classic_read_hash(agent->prefix, &state, hash);
    weir_classic_client_holds(agent->classic, hash);
    return WEIR_OK;
}

int link_choose(agent_t *agent, weir_error_t *err)
{
    agent->classic_now = agent->classic_only || agent->classic_next;
    agent->classic_next = false;
    if (agent->classic_now)
        return tell_classic(agent, err);
    if (agent->client != NULL && !agent->client_stale)
        return WEIR_OK;
    if (agent->client != NULL)
        agent->mismatches += weir_client_mismatches(agent->client);
    weir_client_free(agent->client);
    agent->client = NULL;
    int rc = agent_open_client(agent, err);
    agent->client_stale = rc != WEIR_OK;
    return rc;
}

bool link_lost(agent_t *agent)
{
    if (agent->classic_now) {
        weir_classic_client_disconnected(agent->classic);
        return false;
    }
    if (agent->client == NULL) /* there was no memory for one */
        return false;
    agent->classic_next = weir_client_unoffered(agent->client);
    weir_client_disconnected(agent->client);
    return agent->classic_next;
}

uint64_t link_newest(const agent_t *agent, uint64_t version)
{
    /* A push has no version, so nobody is behind one. */
    bool by_push = agent->classic_now || agent->client_stale || agent->client == NULL;
    return by_push ? version : weir_client_newest(agent->client);
}

void link_facts(const agent_t *agent, status_facts_t *ret)
{
    bool stale = agent->classic_now || agent->client_stale || agent->client == NULL;
    ret->digest_equal = stale ? -1 : weir_client_digest_equal(agent->client); /* of a push: none */
    ret->mismatches =
        agent->mismatches + (agent->client != NULL ? weir_client_mismatches(agent->client) : 0);
    if (agent->classic_now)
        ret->protocol = weir_classic_client_ready(agent->classic) ? "classic" : NULL;
    else
        ret->protocol = agent->client != NULL ? weir_client_protocol(agent->client) : NULL;
}

/* -- the classic push ------------------------------------------------------------------------ */

static int fill(weir_batch_t *batch, const void *what, weir_error_t *err)
{
    return classic_put(batch, what, err);
}

static int on_push(void *context, const weir_classic_update_t *update, weir_error_t *err)
{
    agent_t *agent = context;
    int64_t started_us = weir_clock_monotonic_us();
    weir_image_state_t state;
    int rc = weir_image_state(agent->image, &state, err);
    if (rc != WEIR_OK)
        return rc;
    uint64_t version = classic_next_version(&state);
    rc = agent_commit(agent, agent->image, true, version, fill, update, err);
    if (rc != WEIR_OK)
        return rc;
    classic_write_hash(agent->prefix, version, update->head->hash);
    agent->client_stale = true;
    weir_log(WEIR_LOG_NOTICE, "applied a push hash=%s", update->head->hash);
    agent_applied(agent, true, version, (size_t)update->head->rows,
                  weir_clock_monotonic_us() - started_us);
    return WEIR_OK;
}

int link_open_classic(agent_t *agent, const weir_classic_client_options_t *common,
                      weir_error_t *err)
{
    agent->classic_only = !weir_setting_boolean(agent->settings, "cluster_rpc_sync");
    int rc = classic_plugins(agent->settings, &agent->plugins, err);
    if (rc != WEIR_OK)
        return rc;
    weir_classic_client_options_t options = *common;
    options.plugins = agent->plugins;
    options.apply = on_push;
    return weir_classic_client_new(&options, &agent->classic, err);
}
