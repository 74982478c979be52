/* ngx_http_weir_send.c -- hands a request to nginx's proxy module.
 *
 * Before nginx sends a request it asks the kernel whether the connection has been made,
 * also of a connection that is long in use: one system call of five, for each request. It
 * does not ask once sending has begun. So of a kept connection the balancer says that it is
 * not made yet; nginx leaves the request to the event that says otherwise, and returns to
 * us. We put the request where nginx puts one that it has begun to send, and are that event.
 *
 * A connection that has died meanwhile is found out by sending. nginx then tries the next
 * one, if the method allows to send a request twice: only those come here. */
#include "proxy/ngx_http_weir_proxy.h"

/* Whether the connection is chosen before the proxy module returns, and sending may be tried
 * again on another one. */
static bool goes_at_once(const ngx_http_request_t *r)
{
    return (r->method & (NGX_HTTP_GET | NGX_HTTP_HEAD)) && r->headers_in.content_length_n <= 0 &&
           !r->headers_in.chunked;
}

/* Mostly all of it is sent with one plain call, without a list of buffers. What is left goes
 * where nginx keeps it, as all does for TLS, which has buffers of its own. A failure nginx
 * finds when it tries to send the rest. Without memory it begins itself, and asks. */
static void send_kept(ngx_http_request_t *r, ngx_http_upstream_t *u)
{
    ngx_connection_t *c = u->peer.connection;
    ngx_buf_t *buffer = u->request_bufs->buf;
    ngx_chain_t *rest = u->request_bufs->next == NULL ? ngx_alloc_chain_link(r->pool) : NULL;
    if (rest != NULL) {
        size_t bytes = (size_t)(buffer->last - buffer->pos);
        ssize_t sent = c->ssl == NULL ? c->send(c, buffer->pos, bytes) : 0;
        if (sent > 0)
            buffer->pos += sent;
        if (buffer->pos < buffer->last) {
            *rest = (ngx_chain_t){ .buf = buffer };
            u->writer.out = rest;
            u->writer.last = &rest->next;
        }
        u->request_sent = 1;
    }
    u->write_event_handler(r, u);
}

ngx_int_t ngx_http_weir_send(ngx_http_weir_ctx_t *ctx)
{
    ngx_http_request_t *r = ctx->r;
    ctx->at_once = goes_at_once(r);
    ngx_http_weir_swap_in(ctx);
    ngx_int_t rc = ngx_http_weir_proxy_main(r)->proxy_handler(r);
    ctx->at_once = 0;
    if (ctx->kept && r->upstream != NULL && r->upstream->peer.connection != NULL)
        send_kept(r, r->upstream);
    ctx->kept = 0;
    return rc;
}
