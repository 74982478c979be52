/* ngx_http_weir_admin_module.c -- the Admin API over HTTP.
 *
 * Directive: `weir_admin;` in a location. nginx reads the request with its body
 * (413 is its answer, too), a thread of the pool runs weir_admin_handle(), the
 * event loop sends what came out. */
#include "node/ngx_http_weir.h"

#include "admin/admin.h"
#include "cluster/registry.h"
#include "host/ngx_http_weir_admin_host.h"
#include "host/ngx_http_weir_admin_wait.h"
#include "host/ngx_http_weir_reply.h"

enum { RESPONSE_BYTES_MAX = 256 * 1024 * 1024, HEADERS_MAX = 256 };

/* One request on its way through the pool: in r->pool, released with it. */
typedef struct ngx_http_weir_admin_ctx_s {
    ngx_http_request_t *request;
    weir_admin_request_t input;
    weir_admin_header_t *headers;
    ngx_file_t *file;    /* the body, when it is in a temporary file */
    ngx_chain_t *pieces; /* the body, when it is in several buffers (chunks) */
    size_t body_bytes;
    char *body; /* made of either by the thread, on the heap */
    weir_admin_response_t response;
    weir_error_t err;
    ngx_http_weir_admin_wait_t wait;
} ngx_http_weir_admin_ctx_t;

static char *ngx_http_weir_admin(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_http_weir_admin_init_process(ngx_cycle_t *cycle);
static void ngx_http_weir_admin_exit_process(ngx_cycle_t *cycle);

/* Of this worker. */
static weir_admin_t *ngx_http_weir_admin_api;

static ngx_command_t ngx_http_weir_admin_commands[] = {
    { ngx_string("weir_admin"), NGX_HTTP_LOC_CONF | NGX_CONF_NOARGS, ngx_http_weir_admin, 0, 0,
      NULL },
    ngx_null_command,
};

static ngx_http_module_t ngx_http_weir_admin_module_ctx = {
    NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
};

extern ngx_module_t ngx_http_weir_admin_module;
ngx_module_t ngx_http_weir_admin_module = {
    NGX_MODULE_V1,
    &ngx_http_weir_admin_module_ctx,
    ngx_http_weir_admin_commands,
    NGX_HTTP_MODULE,
    NULL,
    NULL,
    ngx_http_weir_admin_init_process,
    NULL,
    NULL,
    ngx_http_weir_admin_exit_process,
    NULL,
    NGX_MODULE_V1_PADDING,
};

/* -- life of a worker ------------------------------------------------------------------ */

static ngx_int_t ngx_http_weir_admin_init_process(ngx_cycle_t *cycle)
{
    ngx_http_weir_main_conf_t *conf = ngx_http_weir_main(cycle);
    if (conf == NULL || conf->store == NULL) {
        return NGX_OK;
    }
    weir_admin_options_t options = {
        .store = conf->store,
        .settings = conf->settings,
        .node_id = conf->node_id,
        .hostname = conf->hostname,
        .host = ngx_http_weir_admin_host(conf),
    };
    weir_error_t err = { 0 };
    ngx_http_weir_admin_wait_places(
        (ngx_uint_t)weir_setting_integer(conf->settings, "admin_wait_requests"));
    if (weir_admin_new(&options, &ngx_http_weir_admin_api, &err) != WEIR_OK) {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0, "cannot start the Admin API: %s", err.reason);
        return NGX_ERROR;
    }
    return NGX_OK;
}

/* The pool's threads have ended before (its module comes earlier). */
static void ngx_http_weir_admin_exit_process(ngx_cycle_t *cycle)
{
    (void)cycle;
    weir_admin_free(ngx_http_weir_admin_api);
    ngx_http_weir_admin_api = NULL;
}

/* -- the answer ----------------------------------------------------------------------- */

static ngx_int_t ngx_http_weir_admin_set_headers(ngx_http_request_t *r,
                                                 const weir_admin_response_t *response)
{
    for (size_t i = 0; i < response->header_count; i++) {
        weir_str_t name = response->headers[i].name;
        weir_str_t value = response->headers[i].value;
        if (weir_str_is(name, "Content-Type")) {
            r->headers_out.content_type.data = (u_char *)value.data;
            r->headers_out.content_type.len = value.len;
            r->headers_out.content_type_len = value.len;
            r->headers_out.content_type_lowcase = NULL;
            continue;
        }
        ngx_table_elt_t *header = ngx_http_weir_reply_header(r, name, value);
        if (header == NULL) {
            return NGX_ERROR;
        }
        if (weir_str_is(name, "Server")) {
            r->headers_out.server = header;
        }
    }
    if (r->headers_out.server == NULL) {
        /* Hash 0: nginx adds none of its own and sends none of ours. */
        ngx_table_elt_t *none = ngx_http_weir_reply_header(r, WEIR_STR("Server"), WEIR_STR(""));
        if (none == NULL) {
            return NGX_ERROR;
        }
        none->hash = 0;
        r->headers_out.server = none;
    }
    return NGX_OK;
}

static ngx_flag_t ngx_http_weir_admin_waits(const ngx_http_weir_admin_ctx_t *ctx)
{
    return ctx->response.wish.kind != WEIR_WISH_NOT && ctx->response.status < 300;
}

static ngx_int_t ngx_http_weir_admin_send(ngx_http_request_t *r, ngx_http_weir_admin_ctx_t *ctx)
{
    weir_str_t body = weir_buffer_str(&ctx->response.body);
    r->headers_out.status = (ngx_uint_t)ctx->response.status;
    if (ngx_http_weir_admin_set_headers(r, &ctx->response) != NGX_OK) {
        return NGX_ERROR;
    }
    if (ngx_http_weir_admin_waits(ctx) &&
        ngx_http_weir_admin_wait_headers(&ctx->wait, r) != NGX_OK) {
        return NGX_ERROR;
    }
    return ngx_http_weir_reply_send(r, body);
}

static void ngx_http_weir_admin_answer(ngx_http_request_t *r)
{
    ngx_http_finalize_request(
        r, ngx_http_weir_admin_send(r, ngx_http_get_module_ctx(r, ngx_http_weir_admin_module)));
}

/* As r->write_event_handler: after the thread, unless the request was ended meanwhile. */
static void ngx_http_weir_admin_finish(ngx_http_request_t *r)
{
    ngx_http_weir_admin_ctx_t *ctx = ngx_http_get_module_ctx(r, ngx_http_weir_admin_module);
    if (r->aio) {
        return; /* the thread is at it; a write event of the connection came early */
    }
    r->write_event_handler = ngx_http_request_empty_handler;
    if (ctx->err.code != WEIR_OK) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0, "Admin API: %s%s%s", ctx->err.field,
                      ctx->err.field[0] != '\0' ? ": " : "", ctx->err.reason);
    }
    if (ctx->response.status == 0) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }
    if (ngx_http_weir_admin_waits(ctx) &&
        ngx_http_weir_admin_wait_begin(&ctx->wait, r,
                                       ngx_http_weir_main((ngx_cycle_t *)ngx_cycle)->registry,
                                       &ctx->response, ngx_http_weir_admin_answer) == NGX_AGAIN) {
        return;
    }
    ngx_http_weir_admin_answer(r);
}

/* -- the thread -------------------------------------------------------------------------- */

static int ngx_http_weir_admin_read_file(ngx_http_weir_admin_ctx_t *ctx)
{
    size_t done = 0;
    while (done < ctx->body_bytes) {
        ssize_t got = pread(ctx->file->fd, ctx->body + done, ctx->body_bytes - done, (off_t)done);
        if (got < 0 && ngx_errno == NGX_EINTR) {
            continue;
        }
        if (got <= 0) {
            return weir_error_errno(&ctx->err, got == 0 ? EIO : ngx_errno,
                                    "cannot read the request body back");
        }
        done += (size_t)got;
    }
    return WEIR_OK;
}

static int ngx_http_weir_admin_gather(ngx_http_weir_admin_ctx_t *ctx)
{
    if (ctx->body_bytes == 0) {
        return WEIR_OK; /* it is in one piece */
    }
    ctx->body = weir_malloc(ctx->body_bytes);
    if (ctx->body == NULL) {
        return weir_error_memory(&ctx->err);
    }
    ctx->input.body = (weir_str_t){ ctx->body, ctx->body_bytes };
    if (ctx->file != NULL) {
        return ngx_http_weir_admin_read_file(ctx);
    }
    char *to = ctx->body;
    for (ngx_chain_t *piece = ctx->pieces; piece != NULL; piece = piece->next) {
        to = (char *)ngx_cpymem(to, piece->buf->pos, piece->buf->last - piece->buf->pos);
    }
    return WEIR_OK;
}

static void ngx_http_weir_admin_run(void *data, ngx_log_t *log)
{
    (void)log;
    ngx_http_weir_admin_ctx_t *ctx = *(void **)data;
    if (ngx_http_weir_admin_gather(ctx) != WEIR_OK) {
        return; /* the status stays 0: a 500 */
    }
    weir_admin_handle(ngx_http_weir_admin_api, &ctx->input, &ctx->response, &ctx->err);
}

static void ngx_http_weir_admin_ran(ngx_event_t *event)
{
    ngx_http_request_t *r = event->data;
    ngx_connection_t *c = r->connection;
    ngx_http_set_log_request(c->log, r);
    r->main->blocked--;
    r->aio = 0;
    r->write_event_handler(r);
    ngx_http_run_posted_requests(c);
}

static void ngx_http_weir_admin_cleanup(void *data)
{
    ngx_http_weir_admin_ctx_t *ctx = data;
    ngx_http_weir_admin_wait_end(&ctx->wait);
    if (ctx->response.wish.place_taken) {
        ngx_http_weir_admin_wait_give_back();
    }
    weir_admin_response_release(&ctx->response);
    weir_free(ctx->body);
}

/* -- the request ---------------------------------------------------------------------------- */

static ngx_int_t ngx_http_weir_admin_take_headers(ngx_http_request_t *r,
                                                  ngx_http_weir_admin_ctx_t *ctx)
{
    size_t count = 0;
    ctx->headers = ngx_palloc(r->pool, HEADERS_MAX * sizeof(*ctx->headers));
    if (ctx->headers == NULL) {
        return NGX_ERROR;
    }
    for (ngx_list_part_t *part = &r->headers_in.headers.part; part != NULL; part = part->next) {
        ngx_table_elt_t *headers = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts && count < HEADERS_MAX; i++) {
            ctx->headers[count++] = (weir_admin_header_t){ ngx_http_weir_str(headers[i].key),
                                                           ngx_http_weir_str(headers[i].value) };
        }
    }
    ctx->input.headers = ctx->headers;
    ctx->input.header_count = count;
    return NGX_OK;
}

/* One buffer in memory is used where it is; what is in pieces or in a file is
 * gathered by the thread. */
static void ngx_http_weir_admin_take_body(ngx_http_request_t *r, ngx_http_weir_admin_ctx_t *ctx)
{
    ngx_http_request_body_t *body = r->request_body;
    ctx->input.chunked = r->headers_in.chunked;
    ctx->input.has_body = r->headers_in.chunked || r->headers_in.content_length_n > 0;
    ctx->input.body = (weir_str_t){ "", 0 };
    if (body == NULL || body->bufs == NULL) {
        return;
    }
    if (body->temp_file != NULL) {
        ctx->file = &body->temp_file->file;
        ctx->body_bytes = (size_t)body->temp_file->file.offset;
        return;
    }
    if (body->bufs->next == NULL) {
        ngx_buf_t *only = body->bufs->buf;
        ctx->input.body = (weir_str_t){ (const char *)only->pos, (size_t)(only->last - only->pos) };
        return;
    }
    ctx->pieces = body->bufs;
    for (ngx_chain_t *piece = body->bufs; piece != NULL; piece = piece->next) {
        ctx->body_bytes += (size_t)(piece->buf->last - piece->buf->pos);
    }
}

static ngx_http_weir_admin_ctx_t *ngx_http_weir_admin_create_ctx(ngx_http_request_t *r)
{
    ngx_http_weir_admin_ctx_t *ctx = ngx_pcalloc(r->pool, sizeof(*ctx));
    ngx_pool_cleanup_t *cleanup = ngx_pool_cleanup_add(r->pool, 0);
    if (ctx == NULL || cleanup == NULL) {
        return NULL;
    }
    weir_admin_response_init(&ctx->response, RESPONSE_BYTES_MAX);
    cleanup->handler = ngx_http_weir_admin_cleanup;
    cleanup->data = ctx;
    ctx->request = r;
    ctx->input.method = ngx_http_weir_str(r->method_name);
    ctx->input.target = ngx_http_weir_str(r->unparsed_uri);
    return ctx;
}

static void ngx_http_weir_admin_body_read(ngx_http_request_t *r)
{
    ngx_thread_pool_t *pool = ngx_http_weir_thread_pool((ngx_cycle_t *)ngx_cycle);
    ngx_http_weir_admin_ctx_t *ctx = ngx_http_weir_admin_create_ctx(r);
    ngx_thread_task_t *task = ngx_thread_task_alloc(r->pool, sizeof(void *));
    if (pool == NULL || ctx == NULL || task == NULL ||
        ngx_http_weir_admin_take_headers(r, ctx) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }
    ngx_http_weir_admin_take_body(r, ctx);
    ngx_http_set_ctx(r, ctx, ngx_http_weir_admin_module);

    *(void **)task->ctx = ctx;
    task->handler = ngx_http_weir_admin_run;
    task->event.handler = ngx_http_weir_admin_ran;
    task->event.data = r;
    if (ngx_thread_task_post(pool, task) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_SERVICE_UNAVAILABLE);
        return;
    }
    /* As nginx does for its own threads: the request stays until the thread ends. */
    r->main->blocked++;
    r->aio = 1;
    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_weir_admin_finish;
}

static ngx_int_t ngx_http_weir_admin_handler(ngx_http_request_t *r)
{
    if (ngx_http_weir_admin_api == NULL) {
        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }
    r->request_body_in_single_buf = 1;
    ngx_int_t rc = ngx_http_read_client_request_body(r, ngx_http_weir_admin_body_read);
    return rc >= NGX_HTTP_SPECIAL_RESPONSE ? rc : NGX_DONE;
}

static char *ngx_http_weir_admin(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    (void)cmd;
    (void)conf;
    ngx_http_core_loc_conf_t *core = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    core->handler = ngx_http_weir_admin_handler;
    return NGX_CONF_OK;
}
