/* ngx_http_weir_status_module.c -- /status, /status/ready and /metrics
 * (admin-api 11, sync-protocol F.2).
 *
 * Directive: `weir_status;` in a location. Everything here takes microseconds:
 * numbers of nginx, one look into the image or into the store. */
#include "host/ngx_http_weir_metrics.h"

#include "agent/classic.h"
#include "base/json.h"
#include "host/ngx_http_weir_reply.h"

/* Of 10,000 data planes with series of their own (metrics_data_planes). */
enum { BODY_BYTES_MAX = 16 * 1024 * 1024, ROW_BYTES_MAX = 64 * 1024 };

static char *ngx_http_weir_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);

static ngx_command_t ngx_http_weir_status_commands[] = {
    { ngx_string("weir_status"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, ngx_http_weir_status, 0, 0,
      NULL },
    ngx_null_command,
};

static ngx_http_module_t ngx_http_weir_status_module_ctx = {
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
};

extern ngx_module_t ngx_http_weir_status_module;
ngx_module_t ngx_http_weir_status_module = {
    NGX_MODULE_V1,
    &ngx_http_weir_status_module_ctx,
    ngx_http_weir_status_commands,
    NGX_HTTP_MODULE,
    NULL,
    NULL,
    NULL,
    NULL,
    NULL,
    NULL,
    NULL,
    NGX_MODULE_V1_PADDING,
};

/* -- looking --------------------------------------------------------------------- */

static ngx_flag_t ngx_http_weir_status_ask_store(weir_store_t *store)
{
    static const weir_uuid_t nobody;
    weir_arena_t arena;
    weir_row_t row;
    weir_arena_init(&arena, ROW_BYTES_MAX);
    int rc = weir_store_get(store, WEIR_SERVICES, &nobody, &arena, &row, NULL);
    weir_arena_release(&arena);
    return rc == WEIR_OK || rc == WEIR_NOT_FOUND;
}

static ngx_flag_t ngx_http_weir_status_ask_image(ngx_http_weir_main_conf_t *conf, ngx_log_t *log,
                                                 weir_image_state_t *ret)
{
    struct weir_reader *reader = ngx_http_weir_reader(conf, log);
    weir_error_t err = { 0 };
    if (reader == NULL) {
        return 0;
    }
    int rc = weir_reader_enter(reader, &err);
    if (rc == WEIR_OK) {
        rc = weir_reader_state(reader, ret, &err);
        weir_reader_leave(reader);
    }
    if (rc != WEIR_OK) {
        ngx_log_error(NGX_LOG_ERR, log, 0, "cannot read the image: %s", err.reason);
    }
    return rc == WEIR_OK;
}

static void ngx_http_weir_status_look(ngx_http_weir_status_t *status, ngx_log_t *log)
{
    ngx_http_weir_main_conf_t *conf = status->conf;
    status->has_store = ngx_strcmp(conf->role, "data_plane") != 0;
    if (status->has_store) {
        status->store_answers = conf->store != NULL && ngx_http_weir_status_ask_store(conf->store);
        if (!status->store_answers) {
            status->not_ready = "failed to connect to database";
        }
    }
    if (ngx_strcmp(conf->role, "control_plane") != 0) {
        status->has_image = ngx_http_weir_status_ask_image(conf, log, &status->image);
        if (status->not_ready == NULL && (!status->has_image || !status->image.complete)) {
            status->not_ready = "no configuration available (empty configuration present)";
        }
    }
}

/* What the agent says of itself: one small file. */
static void ngx_http_weir_status_ask_agent(ngx_http_weir_status_t *status)
{
    status->has_agent = ngx_strcmp(status->conf->role, "data_plane") == 0;
    if (status->has_agent) {
        weir_agent_report_read(weir_setting_string(status->conf->settings, "prefix"),
                               &status->agent);
    }
}

/* -- saying -------------------------------------------------------------------------- */

/* Of a classic push its hash, as its control plane knows it; else the version. */
static void ngx_http_weir_status_hash(const ngx_http_weir_status_t *status, weir_buffer_t *out)
{
    char hash[WEIR_CLASSIC_HASH_MAX + 1];
    if (classic_is_local(status->image.version)) {
        classic_read_hash(weir_setting_string(status->conf->settings, "prefix"), &status->image,
                          hash);
    } else {
        snprintf(hash, sizeof(hash), "%032" PRIx64, status->image.version);
    }
    weir_buffer_append(out, WEIR_STR("\"configuration_hash\":"));
    weir_json_print_string(weir_str(hash), out);
    weir_buffer_byte(out, ',');
}

static void ngx_http_weir_status_body(const ngx_http_weir_status_t *status, weir_buffer_t *out)
{
    const char *compat = weir_setting_string(status->conf->settings, "cluster_compat_version");
    weir_buffer_byte(out, '{');
    if (status->has_store) {
        weir_buffer_printf(out, "\"database\":{\"reachable\":%s},",
                           status->store_answers ? "true" : "false");
    }
    if (ngx_strcmp(status->conf->role, "control_plane") != 0) {
        ngx_http_weir_status_hash(status, out);
        weir_buffer_printf(
            out,
            "\"configuration\":{\"version\":%" PRIu64 ",\"complete\":%s,"
            "\"entities\":%" PRIu64 ",\"quarantined\":%" PRIu64 ",\"committed_ms\":%" PRId64 "},",
            status->image.version, status->image.complete ? "true" : "false",
            status->image.entities, status->image.quarantined, status->image.committed_ms);
    }
    if (status->has_agent) {
        weir_buffer_append(out, WEIR_STR("\"sync\":"));
        weir_agent_report_print(&status->agent, out);
        weir_buffer_byte(out, ',');
    }
    weir_buffer_printf(out, "\"version\":\"%s\",\"role\":\"%s\",", compat, status->conf->role);
    weir_buffer_printf(out,
                       "\"server\":{\"connections_accepted\":%lu,\"connections_active\":%lu,"
                       "\"connections_handled\":%lu,\"connections_reading\":%lu,"
                       "\"connections_waiting\":%lu,\"connections_writing\":%lu,"
                       "\"total_requests\":%lu}}",
                       *ngx_stat_accepted, *ngx_stat_active, *ngx_stat_handled, *ngx_stat_reading,
                       *ngx_stat_waiting, *ngx_stat_writing, *ngx_stat_requests);
}

/* -- answering --------------------------------------------------------------------------- */

static void ngx_http_weir_status_release(void *data)
{
    weir_buffer_release(data);
}

static ngx_int_t ngx_http_weir_status_send(ngx_http_request_t *r, ngx_uint_t code, ngx_str_t type,
                                           weir_buffer_t *body)
{
    if (body->failed != WEIR_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    r->headers_out.status = code;
    r->headers_out.content_type = type;
    r->headers_out.content_type_len = type.len;
    if (ngx_http_weir_reply_header(r, WEIR_STR("Access-Control-Allow-Origin"), WEIR_STR("*")) ==
        NULL) {
        return NGX_ERROR;
    }
    return ngx_http_weir_reply_send(r, weir_buffer_str(body));
}

static ngx_int_t ngx_http_weir_status_answer(ngx_http_request_t *r, ngx_http_weir_status_t *status,
                                             weir_buffer_t *body)
{
    ngx_str_t json = ngx_string("application/json; charset=utf-8");
    ngx_str_t text = ngx_string("text/plain; charset=UTF-8");
    weir_str_t path = ngx_http_weir_str(r->uri);
    if (path.len > 1 && path.data[path.len - 1] == '/') {
        path.len--;
    }
    if (weir_str_is(path, "/status")) {
        ngx_http_weir_status_ask_agent(status);
        ngx_http_weir_status_body(status, body);
        return ngx_http_weir_status_send(r, NGX_HTTP_OK, json, body);
    }
    if (weir_str_is(path, "/status/ready")) {
        weir_buffer_printf(body, "{\"message\":\"%s\"}",
                           status->not_ready != NULL ? status->not_ready : "ready");
        ngx_uint_t code = status->not_ready != NULL ? NGX_HTTP_SERVICE_UNAVAILABLE : NGX_HTTP_OK;
        return ngx_http_weir_status_send(r, code, json, body);
    }
    if (weir_str_is(path, "/metrics")) {
        ngx_http_weir_status_ask_agent(status);
        ngx_http_weir_metrics(status, body);
        return ngx_http_weir_status_send(r, NGX_HTTP_OK, text, body);
    }
    weir_buffer_append(body, WEIR_STR("{\"message\":\"Not found\"}"));
    return ngx_http_weir_status_send(r, NGX_HTTP_NOT_FOUND, json, body);
}

static ngx_int_t ngx_http_weir_status_handler(ngx_http_request_t *r)
{
    ngx_http_weir_status_t status = { .conf = ngx_http_weir_main((ngx_cycle_t *)ngx_cycle) };
    if (status.conf == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    if (!(r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }
    ngx_int_t rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }
    weir_buffer_t *body = ngx_palloc(r->pool, sizeof(*body));
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(r->pool, 0);
    if (body == NULL || cleanup == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }
    weir_buffer_init(body, BODY_BYTES_MAX);
    cleanup->handler = ngx_http_weir_status_release;
    cleanup->data = body;
    ngx_http_weir_status_look(&status, r->connection->log);
    rc = ngx_http_weir_status_answer(r, &status, body);
    weir_agent_report_release(&status.agent);
    return rc;
}

static char *ngx_http_weir_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    (void)cmd;
    (void)conf;
    ngx_http_core_loc_conf_t *core = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    core->handler = ngx_http_weir_status_handler;
    return NGX_CONF_OK;
}
