/* ngx_http_weir_plugins.c -- runs the plugins of a request. */
#include "proxy/ngx_http_weir_proxy.h"

#include "plugins/plugins.h"

static int priority_of(const ngx_http_weir_step_t *step)
{
    return step->plugin != NULL ? step->plugin->schema->priority : INT_MIN;
}

/* A consumer is known now: its plugins join, but nothing runs twice, and nothing
 * that comes before the plugin that has just run. Of equal priorities the name
 * that is larger comes first (plugins 1.2). */
static ngx_int_t replan(ngx_http_weir_ctx_t *ctx)
{
    weir_str_t name = ctx->plan[ctx->plan_at].name;
    int done = priority_of(&ctx->plan[ctx->plan_at]);
    ctx->replan = 0;
    if (ngx_http_weir_plan(ctx) != NGX_OK)
        return NGX_ERROR;
    for (ctx->plan_at = 0; ctx->plan_at < ctx->plan_count; ctx->plan_at++) {
        weir_str_t other = ctx->plan[ctx->plan_at].name;
        int priority = priority_of(&ctx->plan[ctx->plan_at]);
        size_t common = ngx_min(other.len, name.len);
        int order = memcmp(other.data, name.data, common);
        bool later = order < 0 || (order == 0 && other.len < name.len);
        if (priority < done || (priority == done && later))
            break;
    }
    return NGX_OK;
}

ngx_int_t ngx_http_weir_run_plugins(ngx_http_weir_ctx_t *ctx)
{
    while (ctx->plan_at < ctx->plan_count) {
        const ngx_http_weir_step_t *step = &ctx->plan[ctx->plan_at];
        weir_phase_result_t result = WEIR_PHASE_NEXT;
        if (step->refused)
            result = WEIR_PHASE_ERROR; /* quarantined: nobody passes in its stead */
        ctx->running = step;
        if (step->plugin != NULL && step->plugin->access != NULL)
            result = step->plugin->access(ctx, step->record);
        if (result == WEIR_PHASE_AGAIN && !ctx->body_read)
            return NGX_AGAIN; /* the same plugin once more, when the body is there */
        if (result == WEIR_PHASE_ANSWER)
            return NGX_OK;
        if (result != WEIR_PHASE_NEXT) {
            ngx_log_error(NGX_LOG_ERR, ctx->r->connection->log, 0, "weir: plugin %*s failed",
                          step->name.len, step->name.data);
            return NGX_ERROR;
        }
        if (!ctx->replan)
            ctx->plan_at++;
        else if (replan(ctx) != NGX_OK)
            return NGX_ERROR;
    }
    return NGX_OK;
}

/* Requests that matched no route have the global plugins (plugins 1.1). Most
 * builds have few plugins with a later phase, so look at that first. */
static bool has_later_phases(void)
{
    static int known = -1;
    if (known < 0) {
        size_t count = 0;
        const weir_plugin_t *const *plugins = weir_plugins(&count);
        known = 0;
        for (size_t i = 0; i < count; i++)
            known |= plugins[i]->header_filter != NULL || plugins[i]->log != NULL;
    }
    return known;
}

static bool has_plan(ngx_http_weir_ctx_t *ctx)
{
    if (!has_later_phases())
        return false;
    return ctx->plan != NULL || ngx_http_weir_plan(ctx) == NGX_OK;
}

void ngx_http_weir_run_header_filters(ngx_http_weir_ctx_t *ctx)
{
    if (!has_plan(ctx))
        return;
    for (ngx_uint_t i = 0; i < ctx->plan_count; i++) {
        const weir_plugin_t *plugin = ctx->plan[i].plugin;
        ctx->running = &ctx->plan[i];
        if (plugin != NULL && plugin->header_filter != NULL)
            plugin->header_filter(ctx, ctx->plan[i].record);
    }
}

void ngx_http_weir_run_logs(ngx_http_weir_ctx_t *ctx)
{
    if (!has_plan(ctx))
        return;
    for (ngx_uint_t i = 0; i < ctx->plan_count; i++) {
        const weir_plugin_t *plugin = ctx->plan[i].plugin;
        ctx->running = &ctx->plan[i];
        if (plugin != NULL && plugin->log != NULL)
            plugin->log(ctx, ctx->plan[i].record);
    }
}
