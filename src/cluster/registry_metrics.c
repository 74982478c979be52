/* registry_metrics.c -- the registry in numbers: over all data planes, and of each. */
#include "cluster/registry_internal.h"

#include "base/metrics.h"
#include "model/checks.h"

/* -- over all ------------------------------------------------------------------------------ */

typedef struct totals {
    weir_registry_totals_t *ret;
    uint64_t newest;
} totals_t;

static uint64_t lag_of(const node_t *node, uint64_t newest)
{
    return newest > node->version ? newest - node->version : 0;
}

static uint64_t quarantined_of(const node_t *node)
{
    double count = weir_json_get_number(node->row, "quarantined_count", 0);
    return count > 0 && count < 1e15 ? (uint64_t)count : 0;
}

static void add_node(const void *at, VISIT visit, void *context)
{
    totals_t *totals = context;
    weir_registry_totals_t *ret = totals->ret;
    const node_t *node = *(const node_t *const *)at;
    if ((visit != postorder && visit != leaf) || node->sockets == 0)
        return;
    uint64_t lag = lag_of(node, totals->newest);
    uint64_t quarantined = quarantined_of(node);
    ret->lagging += lag > 0;
    ret->lag_max = lag > ret->lag_max ? lag : ret->lag_max;
    ret->quarantining += quarantined > 0;
    ret->quarantined += quarantined;
    ret->compared += node->digest_equal >= 0;
    ret->differing += node->digest_equal == 0;
}

void weir_registry_totals(weir_registry_t *registry, uint64_t newest, weir_registry_totals_t *ret)
{
    totals_t totals = { ret, newest };
    pthread_mutex_lock(&registry->lock);
    *ret = (weir_registry_totals_t){ .known = registry->known, .connected = registry->connected };
    twalk_r(registry->nodes, add_node, &totals);
    pthread_mutex_unlock(&registry->lock);
}

/* -- of each -------------------------------------------------------------------------------- */

typedef enum series {
    SERIES_CONNECTED,
    SERIES_VERSION,
    SERIES_LAG,
    SERIES_QUARANTINED,
    SERIES_DIGEST_EQUAL,
    SERIES_LAST_SEEN,
    SERIES,
} series_t;

typedef struct printing {
    weir_buffer_t *out;
    uint64_t newest;
    size_t left;
    series_t series;
    const char *name;
} printing_t;

/* False: it is not known, and has no sample. */
static bool value_of(const node_t *node, series_t series, uint64_t newest, double *ret)
{
    switch (series) {
    case SERIES_CONNECTED:
        *ret = node->sockets > 0;
        return true;
    case SERIES_VERSION:
        *ret = (double)node->version;
        return true;
    case SERIES_LAG:
        *ret = (double)lag_of(node, newest);
        return true;
    case SERIES_QUARANTINED:
        *ret = (double)quarantined_of(node);
        return true;
    case SERIES_DIGEST_EQUAL:
        *ret = node->digest_equal;
        return node->digest_equal >= 0;
    case SERIES_LAST_SEEN:
        *ret = (double)node->last_seen_ms / 1000;
        return true;
    case SERIES:
        break;
    }
    return false;
}

/* Whoever reads the metrics refuses all of them for one that is no text. */
static weir_str_t text_of(weir_str_t text)
{
    size_t position = 0;
    return weir_utf8_valid(text, &position) ? text : WEIR_STR("?");
}

static void print_node(const void *at, VISIT visit, void *context)
{
    printing_t *p = context;
    const node_t *node = *(const node_t *const *)at;
    double value = 0;
    size_t position = 0;
    if ((visit != postorder && visit != leaf) || p->left == 0 ||
        !weir_utf8_valid(weir_str(node->id), &position))
        return;
    p->left--;
    if (!value_of(node, p->series, p->newest, &value))
        return;
    weir_buffer_printf(p->out, "%s{node_id=", p->name);
    weir_metric_label(p->out, weir_str(node->id));
    weir_buffer_append(p->out, WEIR_STR(",hostname="));
    weir_metric_label(p->out, text_of(weir_json_get_string(node->row, "hostname", WEIR_STR(""))));
    weir_buffer_byte(p->out, '}');
    weir_metric_sample(p->out, "", value);
}

int weir_registry_node_metrics(weir_registry_t *registry, uint64_t newest, size_t limit,
                               weir_buffer_t *out)
{
    static const struct {
        const char *name, *help;
    } all[SERIES] = {
        [SERIES_CONNECTED] = { "weir_data_plane_connected", "Whether it has an open connection" },
        [SERIES_VERSION] = { "weir_data_plane_version", "Version that it serves" },
        [SERIES_LAG] = { "weir_data_plane_lag_versions", "Versions that it is behind" },
        [SERIES_QUARANTINED] = { "weir_data_plane_quarantined_entities",
                                 "Entities that it could not accept" },
        [SERIES_DIGEST_EQUAL] = { "weir_data_plane_digest_equal",
                                  "Whether it had our set when that was last compared" },
        [SERIES_LAST_SEEN] = { "weir_data_plane_last_seen_timestamp_seconds",
                               "When it was last heard of" },
    };
    pthread_mutex_lock(&registry->lock);
    for (series_t series = 0; series < SERIES; series++) {
        printing_t p = { out, newest, limit, series, all[series].name };
        weir_metric_begin(out, p.name, WEIR_METRIC_GAUGE, all[series].help);
        twalk_r(registry->nodes, print_node, &p);
    }
    pthread_mutex_unlock(&registry->lock);
    return out->failed;
}
