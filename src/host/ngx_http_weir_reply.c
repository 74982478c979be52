/* ngx_http_weir_reply.c -- replies whose headers and body lie in memory already. */
#include "host/ngx_http_weir_reply.h"

ngx_table_elt_t *ngx_http_weir_reply_header(ngx_http_request_t *r, weir_str_t name,
                                            weir_str_t value)
{
    ngx_table_elt_t *header = ngx_list_push(&r->headers_out.headers);
    if (header == NULL) {
        return NULL;
    }
    ngx_memzero(header, sizeof(*header));
    header->hash = 1;
    header->key.data = (u_char *)name.data;
    header->key.len = name.len;
    header->value.data = (u_char *)value.data;
    header->value.len = value.len;
    return header;
}

ngx_int_t ngx_http_weir_reply_send(ngx_http_request_t *r, weir_str_t body)
{
    r->headers_out.content_length_n = (off_t)body.len;
    if (body.len == 0 || r->headers_out.status == NGX_HTTP_NO_CONTENT) {
        r->header_only = 1;
    }
    ngx_int_t rc = ngx_http_send_header(r);
    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }
    ngx_buf_t *buffer = ngx_calloc_buf(r->pool);
    if (buffer == NULL) {
        return NGX_ERROR;
    }
    buffer->pos = (u_char *)body.data;
    buffer->last = buffer->pos + body.len;
    buffer->memory = 1;
    buffer->last_buf = r == r->main;
    buffer->last_in_chain = 1;
    ngx_chain_t chain = { .buf = buffer, .next = NULL };
    return ngx_http_output_filter(r, &chain);
}
