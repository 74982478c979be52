/* ngx_http_weir_cluster_peer.c -- the connection of a data plane: bytes to its session,
 * bytes out of its outbox, its end. */
#include "host/ngx_http_weir_cluster.h"

enum {
    READ_BYTES = 16384,
    READS_MAX = 16, /* in one turn of the loop, for one data plane */
};

void ngx_http_weir_peer_unref(ngx_http_weir_peer_t *peer)
{
    if (peer->connection == NULL && peer->works == 0) {
        ngx_free(peer);
    }
}

void ngx_http_weir_peer_cleanup(void *data)
{
    ngx_http_weir_peer_t *peer = data;
    ngx_queue_remove(&peer->queue);
    if (peer->session != NULL) {
        peer->protocol->free(peer->session, ngx_http_weir_now_ms());
    }
    peer->session = NULL;
    weir_outbox_release(&peer->out);
    peer->connection = NULL;
    peer->request = NULL;
    ngx_http_weir_peer_unref(peer);
}

void ngx_http_weir_peer_end(ngx_http_weir_peer_t *peer)
{
    ngx_connection_t *c = peer->connection;
    u_char scrap[READ_BYTES];
    /* What lies unread would make the kernel send a reset, which can overtake the
     * close frame. */
    for (ngx_uint_t i = 0; i < READS_MAX && c->recv(c, scrap, sizeof(scrap)) > 0; i++) {
        continue;
    }
    ngx_http_finalize_request(peer->request, NGX_HTTP_CLOSE);
    ngx_http_run_posted_requests(c);
}

/* Writes what can be written. The peer may be gone afterwards. */
static void ngx_http_weir_peer_flush(ngx_http_weir_peer_t *peer)
{
    ngx_connection_t *c = peer->connection;
    for (;;) {
        weir_str_t bytes = weir_outbox_front(&peer->out);
        if (bytes.len == 0) {
            peer->written_ms = ngx_http_weir_now_ms();
            break;
        }
        ssize_t sent = c->send(c, (u_char *)bytes.data, bytes.len);
        if (sent == NGX_ERROR) {
            ngx_http_weir_peer_end(peer);
            return;
        }
        if (sent <= 0) {
            break;
        }
        weir_outbox_advance(&peer->out, (size_t)sent);
        weir_cluster->bytes_out += (uint64_t)sent;
        peer->written_ms = ngx_http_weir_now_ms();
    }
    if ((peer->closing && peer->out.first == NULL) ||
        ngx_handle_write_event(c->write, 0) != NGX_OK) {
        ngx_http_weir_peer_end(peer);
    }
}

/* After each call of the session: its verdict, then what it wants to say. */
void ngx_http_weir_peer_after(ngx_http_weir_peer_t *peer, int rc, const weir_error_t *err)
{
    if (peer->failed && rc == WEIR_OK) {
        rc = WEIR_NO_MEMORY;
        err = NULL;
    }
    if (rc != WEIR_OK && !peer->closing) {
        weir_str_t node = peer->protocol->node(peer->session);
        ngx_log_error(NGX_LOG_NOTICE, peer->connection->log, 0,
                      "weir: data plane disconnected node=%*s peer=%V reason=\"%s\"", node.len,
                      node.data, &peer->connection->addr_text,
                      err != NULL ? err->reason : "out of memory");
        peer->closing = 1;
        peer->written_ms = ngx_http_weir_now_ms();
    }
    ngx_http_weir_peer_flush(peer);
}

void ngx_http_weir_peer_goodbye(ngx_http_weir_peer_t *peer)
{
    if (!peer->closing) {
        (void)weir_outbox_put(&peer->out, (weir_str_t){ "\x88\0", 2 });
        peer->closing = 1;
        peer->written_ms = ngx_http_weir_now_ms();
    }
    ngx_http_weir_peer_flush(peer);
}

void ngx_http_weir_peer_read(ngx_event_t *rev)
{
    ngx_connection_t *c = rev->data;
    ngx_http_weir_peer_t *peer;
    u_char bytes[READ_BYTES];
    weir_error_t err = { 0 };
    int rc = WEIR_OK;

    peer = ngx_http_get_module_ctx((ngx_http_request_t *)c->data, ngx_http_weir_cluster_module);
    if (c->close) {
        ngx_http_weir_peer_goodbye(peer);
        return;
    }
    for (ngx_uint_t i = 0; rc == WEIR_OK && !peer->failed; i++) {
        if (i == READS_MAX) {
            ngx_post_event(rev, &ngx_posted_next_events);
            break;
        }
        ssize_t got = c->recv(c, bytes, sizeof(bytes));
        if (got == NGX_AGAIN) {
            break;
        }
        if (got <= 0) {
            if (!peer->closing) {
                weir_str_t node = peer->protocol->node(peer->session);
                ngx_log_error(NGX_LOG_NOTICE, c->log, 0,
                              "weir: data plane gone node=%*s peer=%V reason=\"%s\"", node.len,
                              node.data, &c->addr_text,
                              got == 0 ? "it closed the connection" : "the connection broke");
            }
            ngx_http_weir_peer_end(peer);
            return;
        }
        weir_cluster->bytes_in += (uint64_t)got;
        if (!peer->closing) {
            weir_str_t input = { (const char *)bytes, (size_t)got };
            rc = peer->protocol->input(peer->session, input, ngx_http_weir_now_ms(), &err);
        }
        if (!rev->ready) {
            break; /* it has seen the end of what is there: asking again is a system call */
        }
    }
    if (ngx_handle_read_event(rev, 0) != NGX_OK) {
        ngx_http_weir_peer_end(peer);
        return;
    }
    ngx_http_weir_peer_after(peer, rc, &err);
    ngx_http_weir_cluster_pump();
}

void ngx_http_weir_peer_write(ngx_event_t *wev)
{
    ngx_connection_t *c = wev->data;
    ngx_http_weir_peer_flush(
        ngx_http_get_module_ctx((ngx_http_request_t *)c->data, ngx_http_weir_cluster_module));
}
