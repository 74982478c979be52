/* ngx_http_weir_metrics.c -- /metrics: the node in numbers (docs/observability.md).
 *
 * What the incumbent has under a name of its own keeps that name; the rest begins with
 * weir_. In the event loop, so nothing here waits or grows with the configuration. */
#include "host/ngx_http_weir_metrics.h"

#include "base/metrics.h"
#include "base/process.h"
#include "cluster/registry.h"
#include "host/ngx_http_weir_cluster_count.h"
#include "proxy/ngx_http_weir_proxy.h"

enum { NODES_MAX = 10000 }; /* with series of their own (metrics_data_planes) */

/* -- nginx ------------------------------------------------------------------------ */

static void print_node(const ngx_http_weir_status_t *status, weir_buffer_t *out)
{
    char id[WEIR_UUID_TEXT + 1];
    weir_uuid_format(&status->conf->node_id, id);
    weir_metric_begin(out, "kong_node_info", WEIR_METRIC_GAUGE, "Node metadata");
    weir_buffer_printf(out, "kong_node_info{node_id=\"%s\",version=\"%s\"} 1\n", id,
                       weir_setting_string(status->conf->settings, "cluster_compat_version"));
    if (status->has_store) {
        weir_metric(out, "kong_datastore_reachable", WEIR_METRIC_GAUGE,
                    "Datastore reachable, 0 is unreachable", (double)status->store_answers);
    }
}

static void print_nginx(weir_buffer_t *out)
{
    const struct {
        const char *state;
        ngx_atomic_t value;
    } states[] = {
        { "accepted", *ngx_stat_accepted }, { "active", *ngx_stat_active },
        { "handled", *ngx_stat_handled },   { "reading", *ngx_stat_reading },
        { "waiting", *ngx_stat_waiting },   { "writing", *ngx_stat_writing },
        { "total", *ngx_stat_accepted },
    };
    weir_metric_begin(out, "kong_nginx_connections_total", WEIR_METRIC_GAUGE,
                      "Number of connections by subsystem");
    for (size_t i = 0; i < WEIR_COUNT(states); i++) {
        weir_buffer_printf(out,
                           "kong_nginx_connections_total{subsystem=\"http\",state=\"%s\"} %lu\n",
                           states[i].state, states[i].value);
    }
    weir_metric(out, "kong_nginx_requests_total", WEIR_METRIC_GAUGE, "Number of requests total",
                (double)*ngx_stat_requests);
}

/* -- processes --------------------------------------------------------------------- */

/* All workers of this node: nginx tells each of the others. ngx_last_process is the
 * master's, and of no use here. */
static void add_workers(weir_process_t *sum)
{
    for (ngx_int_t i = 0; i < NGX_MAX_PROCESSES; i++) {
        weir_process_t one;
        ngx_pid_t pid = i == ngx_process_slot ? ngx_pid : ngx_processes[i].pid;
        if (pid <= 0 || weir_process_look(pid, &one) != WEIR_OK || one.parent != ngx_parent) {
            continue; /* gone; its number may be another's by now */
        }
        sum->cpu_seconds += one.cpu_seconds;
        sum->resident_bytes += one.resident_bytes;
        sum->shared_bytes += one.shared_bytes;
    }
}

static void print_processes(const ngx_http_weir_status_t *status, weir_buffer_t *out)
{
    static const char cpu[] = "weir_process_cpu_seconds_total";
    static const char own[] = "weir_process_private_bytes";
    static const char resident[] = "weir_process_resident_bytes";
    weir_process_t workers = { .parent = 0 };
    const weir_process_t *agent =
        status->has_agent && status->agent.runs ? &status->agent.process : NULL;
    const struct {
        const char *name;
        const weir_process_t *process;
    } all[] = { { "worker", &workers }, { "agent", agent } };
    add_workers(&workers);
    weir_metric_begin(out, cpu, WEIR_METRIC_COUNTER, "Processor time, of all workers or the agent");
    for (size_t i = 0; i < WEIR_COUNT(all) && all[i].process != NULL; i++) {
        weir_metric_labelled(out, cpu, "process", weir_str(all[i].name),
                             all[i].process->cpu_seconds);
    }
    weir_metric_begin(out, own, WEIR_METRIC_GAUGE, "Memory that is no file's");
    for (size_t i = 0; i < WEIR_COUNT(all) && all[i].process != NULL; i++) {
        weir_metric_labelled(out, own, "process", weir_str(all[i].name),
                             (double)all[i].process->resident_bytes -
                                 (double)all[i].process->shared_bytes);
    }
    weir_metric_begin(out, resident, WEIR_METRIC_GAUGE,
                      "With mapped files; the image counts for each process");
    for (size_t i = 0; i < WEIR_COUNT(all) && all[i].process != NULL; i++) {
        weir_metric_labelled(out, resident, "process", weir_str(all[i].name),
                             (double)all[i].process->resident_bytes);
    }
}

/* -- a data plane -------------------------------------------------------------------- */

static void print_image(const weir_image_state_t *image, weir_buffer_t *out)
{
    weir_metric(out, "weir_config_version", WEIR_METRIC_GAUGE,
                "Version of the configuration that serves", (double)image->version);
    weir_metric(out, "weir_config_complete", WEIR_METRIC_GAUGE,
                "Whether a complete configuration serves", image->complete);
    weir_metric(out, "weir_config_entities", WEIR_METRIC_GAUGE, "Entities of the configuration",
                (double)image->entities);
    weir_metric(out, "weir_config_quarantined_entities", WEIR_METRIC_GAUGE,
                "Entities that could not be accepted", (double)image->quarantined);
    weir_metric(out, "weir_config_commits_total", WEIR_METRIC_COUNTER,
                "Transactions since the image was made", (double)image->commits);
    weir_metric(out, "weir_config_committed_timestamp_seconds", WEIR_METRIC_GAUGE,
                "When the last one was", (double)image->committed_ms / 1000);
    weir_metric(out, "weir_config_bytes", WEIR_METRIC_GAUGE, "Bytes of the image in use",
                (double)image->bytes_used);
}

static void print_counters(weir_buffer_t *out)
{
    ngx_http_weir_counters_numbers_t numbers;
    if (!ngx_http_weir_counters_numbers((ngx_cycle_t *)ngx_cycle, &numbers)) {
        return;
    }
    weir_metric(out, "weir_plugin_counters_capacity", WEIR_METRIC_GAUGE,
                "Counters of plugins that fit into plugin_counters_size", (double)numbers.capacity);
    weir_metric(out, "weir_plugin_counters_full_total", WEIR_METRIC_COUNTER,
                "Requests that a plugin could not count because there was no place",
                (double)numbers.refused);
}

/* -- a control plane: the database ------------------------------------------------------ */

static void print_entities(weir_store_t *store, weir_buffer_t *out)
{
    size_t count = 0;
    const weir_entity_type_t *order = weir_schema_order(&count);
    weir_metric_begin(out, "weir_store_entities", WEIR_METRIC_GAUGE,
                      "Entities in the database, by type");
    for (size_t i = 0; i < count; i++) {
        weir_metric_labelled(out, "weir_store_entities", "type",
                             weir_str(weir_schema(order[i])->name),
                             (double)weir_store_count(store, order[i]));
    }
}

static void print_store(weir_store_t *store, weir_buffer_t *out)
{
    weir_store_numbers_t numbers;
    weir_store_numbers(store, &numbers);
    weir_metric(out, "weir_store_version", WEIR_METRIC_GAUGE, "Newest committed version",
                (double)weir_store_version(store));
    weir_metric(out, "weir_store_log_floor_version", WEIR_METRIC_GAUGE,
                "The log holds every version after this one", (double)weir_store_log_floor(store));
    weir_metric(out, "weir_store_log_entries", WEIR_METRIC_GAUGE, "Changes in the log",
                (double)numbers.log_entries);
    print_entities(store, out);
    weir_metric(out, "weir_store_writes_total", WEIR_METRIC_COUNTER,
                "Writes that were tried, also those that changed nothing", (double)numbers.writes);
    weir_metric(out, "weir_store_commits_total", WEIR_METRIC_COUNTER,
                "Transactions that the writes shared", (double)numbers.commits);
    weir_metric(out, "weir_store_commit_failures_total", WEIR_METRIC_COUNTER,
                "Transactions that could not be stored", (double)numbers.failures);
}

/* -- a control plane: its data planes ------------------------------------------------------ */

static void print_data_planes(const ngx_http_weir_main_conf_t *conf, weir_buffer_t *out)
{
    weir_registry_totals_t totals;
    uint64_t newest = weir_store_version(conf->store);
    weir_registry_totals(conf->registry, newest, &totals);
    const struct {
        const char *name, *help;
        uint64_t value;
    } all[] = {
        { "weir_data_planes_known", "Data planes that are not forgotten yet", totals.known },
        { "weir_data_planes_connected", "Data planes with an open connection", totals.connected },
        { "weir_data_planes_lagging", "Connected ones without the newest version", totals.lagging },
        { "weir_data_planes_lag_versions_max", "Versions that the last of them is behind",
          totals.lag_max },
        { "weir_data_planes_quarantining", "Connected ones that could not accept an entity",
          totals.quarantining },
        { "weir_data_planes_quarantined_entities", "Entities that they could not accept, together",
          totals.quarantined },
        { "weir_data_planes_compared", "Connected ones whose digest was compared",
          totals.compared },
        { "weir_data_planes_differing", "... and was another one than ours", totals.differing },
    };
    for (size_t i = 0; i < WEIR_COUNT(all); i++) {
        weir_metric(out, all[i].name, WEIR_METRIC_GAUGE, all[i].help, (double)all[i].value);
    }
    weir_registry_metrics(conf->registry, out);
    if (weir_setting_boolean(conf->settings, "metrics_data_planes")) {
        weir_registry_node_metrics(conf->registry, newest, NODES_MAX, out);
    }
}

/* -- a control plane: the cluster listener --------------------------------------------------- */

typedef struct {
    const char *label;
    uint64_t value;
} ngx_http_weir_sample_t;

static void print_family(weir_buffer_t *out, const char *name, const char *kind, const char *help,
                         const char *label, const ngx_http_weir_sample_t *samples, size_t count)
{
    weir_metric_begin(out, name, kind, help);
    for (size_t i = 0; i < count; i++) {
        weir_metric_labelled(out, name, label, weir_str(samples[i].label),
                             (double)samples[i].value);
    }
}

static void print_encoder(const weir_encoder_counters_t *encoder, weir_buffer_t *out)
{
    const ngx_http_weir_sample_t answers[] = {
        { "increment", encoder->increments },
        { "full", encoder->fulls },
        { "page", encoder->pages },
        { "heal", encoder->heals },
    };
    const ngx_http_weir_sample_t snapshots[] = {
        { "unknown", encoder->snapshots_unknown }, { "ahead", encoder->snapshots_ahead },
        { "behind", encoder->snapshots_behind },   { "threshold", encoder->snapshots_threshold },
        { "digest", encoder->snapshots_digest },
    };
    print_family(out, "weir_encoder_answers_total", WEIR_METRIC_COUNTER, "Answers made, by kind",
                 "kind", answers, WEIR_COUNT(answers));
    weir_metric(out, "weir_encoder_answers_reused_total", WEIR_METRIC_COUNTER,
                "Answers that were there already", (double)encoder->reused);
    print_family(out, "weir_encoder_snapshots_total", WEIR_METRIC_COUNTER,
                 "Whole sets instead of increments, by why", "reason", snapshots,
                 WEIR_COUNT(snapshots));
    weir_metric(out, "weir_encoder_deltas_total", WEIR_METRIC_COUNTER, "Entities in increments",
                (double)encoder->deltas);
    weir_metric(out, "weir_encoder_delta_bytes_total", WEIR_METRIC_COUNTER,
                "JSON of increments, before compression", (double)encoder->delta_bytes);
    weir_metric(out, "weir_encoder_cache_bytes", WEIR_METRIC_GAUGE,
                "Answers kept for other data planes", (double)encoder->kept_bytes);
}

static void print_lanes(const ngx_http_weir_cluster_counts_t *counts, weir_buffer_t *out)
{
    const ngx_http_weir_sample_t waiting[] = {
        { "increment", counts->increments.waiting },
        { "full", counts->fulls.waiting },
    };
    const ngx_http_weir_sample_t working[] = {
        { "increment", counts->increments.working },
        { "full", counts->fulls.working },
    };
    print_family(out, "weir_encoder_waiting", WEIR_METRIC_GAUGE,
                 "Answers that wait for a thread, by lane", "lane", waiting, WEIR_COUNT(waiting));
    print_family(out, "weir_encoder_working", WEIR_METRIC_GAUGE, "Answers in the making, by lane",
                 "lane", working, WEIR_COUNT(working));
}

static void print_sync(const weir_sync_counters_t *sync, weir_buffer_t *out)
{
    const struct {
        const char *name, *help;
        uint64_t value;
    } all[] = {
        { "weir_cluster_received_messages_total", "Messages of data planes", sync->messages_in },
        { "weir_cluster_sent_messages_total", "Messages to data planes", sync->messages_out },
        { "weir_sync_starts_total", "weir.sync.v1: data planes that said where to begin",
          sync->starts },
        { "weir_sync_acks_total", "weir.sync.v1: versions that were acknowledged", sync->acks },
        { "weir_sync_digest_mismatches_total",
          "weir.sync.v1: acknowledgements with another digest than ours", sync->mismatches },
        { "weir_sync_heals_total", "weir.sync.v1: times that a data plane was healed",
          sync->heals },
        { "weir_sync_healed_entities_total", "weir.sync.v1: entities that differed in these",
          sync->healed_entities },
        { "weir_sync_resumes_total", "weir.sync.v1: whole sets that went on after a cut",
          sync->resumes },
        { "weir_sync_failures_total", "weir.sync.v1: changes that a data plane could not apply",
          sync->failures },
    };
    for (size_t i = 0; i < WEIR_COUNT(all); i++) {
        weir_metric(out, all[i].name, WEIR_METRIC_COUNTER, all[i].help, (double)all[i].value);
    }
}

static void print_cluster(weir_buffer_t *out)
{
    ngx_http_weir_cluster_counts_t counts;
    if (!ngx_http_weir_cluster_count(&counts)) {
        return;
    }
    const ngx_http_weir_sample_t sessions[] = {
        { "none", counts.sessions[WEIR_SESSION_NO_HELLO] },
        { "kong.sync.v2/3.9", counts.sessions[WEIR_SESSION_KONG_39] },
        { "kong.sync.v2/3.10", counts.sessions[WEIR_SESSION_KONG_310] },
        { "weir.sync.v1", counts.sessions[WEIR_SESSION_WEIR_V1] },
        { "classic", counts.classic_sessions },
    };
    print_family(out, "weir_cluster_sessions", WEIR_METRIC_GAUGE,
                 "Open connections of data planes, by protocol", "protocol", sessions,
                 WEIR_COUNT(sessions));
    weir_metric(out, "weir_cluster_received_bytes_total", WEIR_METRIC_COUNTER,
                "Bytes from data planes, above TLS", (double)counts.bytes_in);
    weir_metric(out, "weir_cluster_sent_bytes_total", WEIR_METRIC_COUNTER,
                "Bytes to data planes, above TLS", (double)counts.bytes_out);
    weir_metric(out, "weir_cluster_outbox_bytes", WEIR_METRIC_GAUGE,
                "Bytes that wait to be written to data planes", (double)counts.outbox_bytes);
    print_sync(&counts.sync, out);
    print_encoder(&counts.encoder, out);
    print_lanes(&counts, out);
}

/* -- all of it ------------------------------------------------------------------------------- */

void ngx_http_weir_metrics(const ngx_http_weir_status_t *status, weir_buffer_t *out)
{
    const ngx_http_weir_main_conf_t *conf = status->conf;
    print_node(status, out);
    print_nginx(out);
    print_processes(status, out);
    if (status->has_image) {
        print_image(&status->image, out);
        print_counters(out);
    }
    if (status->has_agent) {
        weir_agent_report_metrics(&status->agent, out);
    }
    if (status->store_answers) {
        print_store(conf->store, out);
    }
    if (status->store_answers && conf->registry != NULL) {
        print_data_planes(conf, out);
    }
    print_cluster(out);
}
