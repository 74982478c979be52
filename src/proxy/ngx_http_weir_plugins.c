/* ngx_http_weir_plugins.c -- runs the plugins of a request. */
#include "proxy/ngx_http_weir_proxy.h"

#include "plugins/plugins.h"

static int priority_of(const ngx_http_weir_step_t *step)
{
    return step->plugin != NULL ? step->plugin->schema->priority : INT_MIN;
}

/* Of equal priorities the name that is larger comes first (plugins 1.2). */
static bool comes_after(const ngx_http_weir_step_t *step, const ngx_http_weir_step_t *other)
{
    int priority = priority_of(step);
    size_t common = ngx_min(step->name.len, other->name.len);
    int order = memcmp(step->name.data, other->name.data, common);
    bool later = order < 0 || (order == 0 && step->name.len < other->name.len);
    return priority < priority_of(other) || (priority == priority_of(other) && later);
}

/* A consumer is known now: its plugins join, but nothing runs twice, and nothing that
 * comes before the plugin that has just run: up to that one the plan stays what it was,
 * also for the later phases (plugins 1.1). */
static ngx_int_t replan(ngx_http_weir_ctx_t *ctx)
{
    const ngx_http_weir_step_t *passed = ctx->plan;
    ngx_uint_t passed_count = ctx->plan_at + 1;
    ngx_uint_t at = 0;
    ctx->replan = 0;
    if (ngx_http_weir_plan(ctx) != NGX_OK)
        return NGX_ERROR;
    while (at < ctx->plan_count && !comes_after(&ctx->plan[at], &passed[passed_count - 1]))
        at++;
    ngx_uint_t left = ctx->plan_count - at;
    ngx_http_weir_step_t *steps = ngx_palloc(ctx->r->pool, (passed_count + left) * sizeof(*steps));
    if (steps == NULL)
        return NGX_ERROR;
    ngx_memcpy(steps, passed, passed_count * sizeof(*steps));
    ngx_memcpy(steps + passed_count, ctx->plan + at, left * sizeof(*steps));
    ctx->plan = steps;
    ctx->plan_count = passed_count + left;
    ctx->plan_at = passed_count;
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
