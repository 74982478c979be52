/* ngx_http_weir_request.c -- what plugins see of a request, and do to it
 * (weir/plugin.h). */
#include "proxy/ngx_http_weir_proxy.h"

#include "proxy/query.h"
#include "proxy/rules.h"

/* -- the request line ---------------------------------------------------------------- */

weir_str_t weir_request_method(weir_request_t *request)
{
    return ngx_http_weir_str(request->r->method_name);
}

weir_str_t weir_request_target(weir_request_t *request)
{
    return ngx_http_weir_str(request->r->unparsed_uri);
}

weir_str_t weir_request_path(weir_request_t *request)
{
    return request->path.data != NULL ? ngx_http_weir_str(request->path) : (weir_str_t){ NULL, 0 };
}

weir_str_t weir_request_scheme(weir_request_t *request)
{
    return request->r->connection->ssl != NULL ? WEIR_STR("https") : WEIR_STR("http");
}

weir_str_t weir_request_host(weir_request_t *request)
{
    ngx_http_core_srv_conf_t *server =
        ngx_http_get_module_srv_conf(request->r, ngx_http_core_module);
    return ngx_http_weir_str(request->r->headers_in.server.len > 0 ? request->r->headers_in.server
                                                                   : server->server_name);
}

unsigned weir_request_port(weir_request_t *request)
{
    in_port_t port = 0;
    if (ngx_connection_local_sockaddr(request->r->connection, NULL, 0) == NGX_OK)
        port = ngx_inet_get_port(request->r->connection->local_sockaddr);
    return port;
}

/* -- headers --------------------------------------------------------------------------- */

bool weir_request_header_at(weir_request_t *request, size_t index, weir_str_t *ret_name,
                            weir_str_t *ret_value)
{
    ngx_list_part_t *part = &request->r->headers_in.headers.part;
    for (; part != NULL; part = part->next) {
        if (index >= part->nelts) {
            index -= part->nelts;
            continue;
        }
        ngx_table_elt_t *header = (ngx_table_elt_t *)part->elts + index;
        *ret_name = ngx_http_weir_str(header->key);
        *ret_value = ngx_http_weir_str(header->value);
        return true;
    }
    return false;
}

static ngx_http_weir_override_t *find_override(weir_request_t *request, weir_str_t name)
{
    ngx_http_weir_override_t *overrides =
        request->overrides != NULL ? request->overrides->elts : NULL;
    for (ngx_uint_t i = 0; overrides != NULL && i < request->overrides->nelts; i++)
        if (weir_str_equal_nocase(ngx_http_weir_str(overrides[i].name), name))
            return &overrides[i];
    return NULL;
}

bool weir_request_header(weir_request_t *request, weir_str_t name, size_t nth, weir_str_t *ret)
{
    const ngx_http_weir_override_t *override = find_override(request, name);
    if (override == NULL)
        return ngx_http_weir_header(request->r, name, nth, ret);
    if (override->value.data == NULL || nth > 0)
        return false;
    *ret = ngx_http_weir_str(override->value);
    return true;
}

int weir_request_set_header(weir_request_t *request, weir_str_t name, weir_str_t value)
{
    ngx_pool_t *pool = request->r->pool;
    ngx_str_t text = ngx_http_weir_copy(pool, value);
    if (value.data != NULL && text.data == NULL)
        return WEIR_NO_MEMORY;
    ngx_http_weir_override_t *override = find_override(request, name);
    if (override != NULL) {
        override->value = text;
        return WEIR_OK;
    }
    if (request->overrides == NULL)
        request->overrides = ngx_array_create(pool, 8, sizeof(ngx_http_weir_override_t));
    override = request->overrides != NULL ? ngx_array_push(request->overrides) : NULL;
    if (override == NULL)
        return WEIR_NO_MEMORY;
    override->name = ngx_http_weir_copy(pool, name);
    override->value = text;
    return override->name.data != NULL ? WEIR_OK : WEIR_NO_MEMORY;
}

/* -- the query --------------------------------------------------------------------------- */

/* Without its '?'. */
static weir_str_t query_of(weir_request_t *request)
{
    weir_str_t target = ngx_http_weir_str(request->r->unparsed_uri);
    if (request->arguments_changed) {
        weir_str_t changed = ngx_http_weir_str(request->arguments);
        return changed.len > 0 ? (weir_str_t){ changed.data + 1, changed.len - 1 } : changed;
    }
    const char *mark = target.len > 1 ? memchr(target.data + 1, '?', target.len - 1) : NULL;
    if (mark == NULL)
        return (weir_str_t){ "", 0 };
    return (weir_str_t){ mark + 1, target.len - (size_t)(mark - target.data) - 1 };
}

/* data NULL: no memory, or there was none. */
static weir_str_t decode(weir_request_t *request, weir_str_t text)
{
    if (text.data == NULL)
        return text;
    char *out = ngx_pnalloc(request->r->pool, text.len + 1);
    if (out == NULL)
        return (weir_str_t){ NULL, 0 };
    return (weir_str_t){ out, weir_query_decode(text, out) };
}

bool weir_request_argument_at(weir_request_t *request, size_t index, weir_str_t *ret_name,
                              weir_str_t *ret_value)
{
    weir_str_t query = query_of(request);
    weir_query_argument_t argument;
    if (index >= WEIR_QUERY_ARGUMENTS_MAX)
        return false;
    for (size_t i = 0; weir_query_next(&query, &argument); i++) {
        if (i < index)
            continue;
        *ret_name = decode(request, argument.name);
        *ret_value = decode(request, argument.value);
        return ret_name->data != NULL;
    }
    return false;
}

bool weir_request_argument(weir_request_t *request, weir_str_t name, size_t nth, weir_str_t *ret)
{
    weir_str_t query = query_of(request);
    weir_query_argument_t argument;
    for (size_t i = 0; i < WEIR_QUERY_ARGUMENTS_MAX && weir_query_next(&query, &argument); i++) {
        if (!weir_query_decodes_to(argument.name, name) || nth-- > 0)
            continue;
        *ret = decode(request, argument.value);
        return true;
    }
    return false;
}

int weir_request_remove_argument(weir_request_t *request, weir_str_t name)
{
    weir_str_t query = query_of(request);
    char *out = ngx_pnalloc(request->r->pool, 3 * query.len + 2);
    size_t len = 0;
    if (out == NULL)
        return WEIR_NO_MEMORY;
    if (!weir_query_without(query, name, out + 1, &len))
        return WEIR_OK;
    out[0] = '?';
    request->arguments.data = (u_char *)out;
    request->arguments.len = len > 0 ? len + 1 : 0;
    request->arguments_changed = 1;
    return WEIR_OK;
}

/* -- the body ------------------------------------------------------------------------------ */

/* A body that nginx has put into a file is not read back: that would block. */
int weir_request_read_body(weir_request_t *request)
{
    ngx_http_request_t *r = request->r;
    if (!request->body_read && r->headers_in.content_length_n <= 0 && !r->headers_in.chunked)
        return WEIR_OK; /* there is none */
    if (!request->body_read)
        return WEIR_AGAIN;
    return r->request_body != NULL && r->request_body->temp_file != NULL ? WEIR_TOO_LARGE : WEIR_OK;
}

weir_str_t weir_request_body(weir_request_t *request)
{
    ngx_http_request_t *r = request->r;
    weir_str_t none = { NULL, 0 };
    size_t len = 0;
    if (!request->body_read || r->request_body == NULL || r->request_body->bufs == NULL ||
        r->request_body->temp_file != NULL)
        return none;
    for (ngx_chain_t *c = r->request_body->bufs; c != NULL; c = c->next)
        len += (size_t)(c->buf->last - c->buf->pos);
    if (r->request_body->bufs->next == NULL)
        return (weir_str_t){ (const char *)r->request_body->bufs->buf->pos, len };
    u_char *out = ngx_pnalloc(r->pool, len + 1);
    u_char *at = out;
    for (ngx_chain_t *c = r->request_body->bufs; out != NULL && c != NULL; c = c->next)
        at = ngx_cpymem(at, c->buf->pos, c->buf->last - c->buf->pos);
    return out != NULL ? (weir_str_t){ (const char *)out, len } : none;
}

int64_t weir_request_body_size(weir_request_t *request)
{
    const ngx_http_request_body_t *body = request->r->request_body;
    int64_t size = 0;
    if (!request->body_read || body == NULL)
        return 0;
    for (ngx_chain_t *c = body->bufs; c != NULL; c = c->next)
        size += ngx_buf_size(c->buf);
    return size;
}

int weir_request_set_body(weir_request_t *request, weir_str_t body)
{
    ngx_http_request_t *r = request->r;
    if (!request->body_read || r->request_body == NULL)
        return WEIR_INVALID;
    ngx_chain_t *chain = ngx_alloc_chain_link(r->pool);
    ngx_buf_t *buffer = ngx_calloc_buf(r->pool);
    if (chain == NULL || buffer == NULL)
        return WEIR_NO_MEMORY;
    buffer->pos = buffer->start = (u_char *)(uintptr_t)body.data;
    buffer->last = buffer->end = buffer->pos + body.len;
    buffer->memory = 1;
    buffer->last_buf = 1;
    chain->buf = buffer;
    chain->next = NULL;
    r->request_body->bufs = body.len > 0 ? chain : NULL;
    r->request_body->buf = buffer;
    r->headers_in.content_length_n = (off_t)body.len;
    r->headers_in.chunked = 0;
    return WEIR_OK;
}

/* -- the rest -------------------------------------------------------------------------------- */

void *weir_request_alloc(weir_request_t *request, size_t bytes)
{
    return ngx_palloc(request->r->pool, bytes);
}

int64_t weir_request_now_s(weir_request_t *request)
{
    (void)request;
    return ngx_time();
}

int64_t weir_request_now_ms(weir_request_t *request)
{
    (void)request;
    ngx_time_t *now = ngx_timeofday();
    return (int64_t)now->sec * 1000 + (int64_t)now->msec;
}

/* realip has put the address there that counts. */
weir_str_t weir_request_client_address(weir_request_t *request)
{
    return ngx_http_weir_str(request->r->connection->addr_text);
}

int weir_request_connection(weir_request_t *request, weir_connection_t *ret)
{
    ngx_connection_t *c = request->r->connection;
    ngx_str_t address = { NGX_SOCKADDR_STRLEN, ngx_pnalloc(request->r->pool, NGX_SOCKADDR_STRLEN) };
    if (address.data == NULL || ngx_connection_local_sockaddr(c, &address, 0) != NGX_OK)
        return WEIR_NO_MEMORY;
    *ret = (weir_connection_t){ .server_address = ngx_http_weir_str(address),
                                .serial = c->number,
                                .requests = c->requests };
    return WEIR_OK;
}

const char *weir_request_id(weir_request_t *request)
{
    return (const char *)request->request_id;
}

/* data NULL: no memory. */
static weir_str_t uuid_text(weir_request_t *request, const weir_uuid_t *id)
{
    char *text = ngx_pnalloc(request->r->pool, WEIR_UUID_TEXT + 1);
    if (text == NULL)
        return (weir_str_t){ NULL, 0 };
    weir_uuid_format(id, text);
    return (weir_str_t){ text, WEIR_UUID_TEXT };
}

weir_str_t weir_request_node_id(weir_request_t *request)
{
    weir_str_t text = uuid_text(request, &ngx_http_weir_proxy_main(request->r)->node->node_id);
    return text.data != NULL ? text : (weir_str_t){ "", 0 };
}

weir_str_t weir_request_route_id(weir_request_t *request)
{
    return request->routed != NULL ? uuid_text(request, &request->routed->route.id)
                                   : (weir_str_t){ NULL, 0 };
}

weir_str_t weir_request_service_id(weir_request_t *request)
{
    return request->routed != NULL && request->routed->has_service
               ? uuid_text(request, &request->routed->service.id)
               : (weir_str_t){ NULL, 0 };
}

void weir_request_scope(weir_request_t *request, weir_scope_t *ret)
{
    weir_uuid_format(&request->running->route, ret->route);
    weir_uuid_format(&request->running->service, ret->service);
    weir_uuid_format(&request->running->consumer, ret->consumer);
}

/* -- identity ---------------------------------------------------------------------------------- */

static weir_reader_t *enter(weir_request_t *request)
{
    ngx_log_t *log = request->r->connection->log;
    weir_error_t err = { 0 };
    weir_reader_t *reader = ngx_http_weir_reader(ngx_http_weir_proxy_main(request->r)->node, log);
    if (reader == NULL)
        return NULL;
    if (weir_reader_enter(reader, &err) == WEIR_OK)
        return reader;
    ngx_log_error(NGX_LOG_ERR, log, 0, "weir: the image cannot be read: %s", err.reason);
    return NULL;
}

static int copy_consumer(weir_request_t *request, const weir_consumer_t *consumer,
                         weir_identity_t *ret)
{
    weir_uuid_format(&consumer->id, ret->consumer_id);
    ret->consumer_version = consumer->version;
    ret->username = ngx_http_weir_str(ngx_http_weir_copy(request->r->pool, consumer->username));
    ret->custom_id = ngx_http_weir_str(ngx_http_weir_copy(request->r->pool, consumer->custom_id));
    bool failed = (consumer->username.data != NULL && ret->username.data == NULL) ||
                  (consumer->custom_id.data != NULL && ret->custom_id.data == NULL);
    return failed ? WEIR_NO_MEMORY : WEIR_OK;
}

static void log_reader_error(weir_request_t *request, int rc, const weir_error_t *err)
{
    if (rc != WEIR_OK && rc != WEIR_NOT_FOUND)
        ngx_log_error(NGX_LOG_ERR, request->r->connection->log, 0,
                      "weir: the image cannot be read: %s", err->reason);
}

int weir_request_find_credential(weir_request_t *request, const char *entity, weir_str_t key,
                                 weir_identity_t *ret)
{
    const weir_schema_t *schema = weir_schema_named(weir_str(entity));
    weir_credential_t credential;
    weir_consumer_t consumer;
    weir_error_t err = { 0 };
    *ret = (weir_identity_t){ 0 };
    weir_reader_t *reader = schema != NULL ? enter(request) : NULL;
    if (reader == NULL)
        return WEIR_IO;
    int rc = weir_reader_credential(reader, schema->type, key, ngx_time(), &credential, &err);
    if (rc == WEIR_OK)
        rc = weir_reader_consumer(reader, &credential.consumer, &consumer, &err);
    if (rc == WEIR_OK) {
        weir_uuid_format(&credential.id, ret->credential_id);
        ret->credential_version = credential.version;
        ret->expires_s = credential.expires_s;
        rc = copy_consumer(request, &consumer, ret);
    }
    weir_reader_leave(reader);
    log_reader_error(request, rc, &err);
    return rc;
}

int weir_request_find_consumer(weir_request_t *request, weir_str_t id_or_name, weir_identity_t *ret)
{
    weir_consumer_t consumer;
    weir_error_t err = { 0 };
    *ret = (weir_identity_t){ 0 };
    weir_reader_t *reader = enter(request);
    if (reader == NULL)
        return WEIR_IO;
    int rc = weir_reader_consumer_named(reader, id_or_name, &consumer, &err);
    if (rc == WEIR_OK)
        rc = copy_consumer(request, &consumer, ret);
    weir_reader_leave(reader);
    log_reader_error(request, rc, &err);
    return rc;
}

int weir_request_authenticate(weir_request_t *request, const weir_identity_t *identity,
                              bool anonymous)
{
    weir_str_t none = { NULL, 0 };
    weir_str_t credential = weir_str(identity->credential_id);
    const struct {
        weir_str_t name, value;
    } headers[] = {
        { WEIR_STR("X-Consumer-ID"), weir_str(identity->consumer_id) },
        { WEIR_STR("X-Consumer-Custom-ID"), identity->custom_id },
        { WEIR_STR("X-Consumer-Username"), identity->username },
        { WEIR_STR("X-Credential-Identifier"), anonymous ? none : credential },
        { WEIR_STR("X-Anonymous-Consumer"), anonymous ? WEIR_STR("true") : none },
    };
    for (size_t i = 0; i < WEIR_COUNT(headers); i++) {
        int rc = weir_request_set_header(request, headers[i].name, headers[i].value);
        if (rc != WEIR_OK)
            return rc;
    }
    request->authenticated = anonymous ? 0 : 1;
    ngx_memzero(&request->credential, sizeof(request->credential));
    if (!anonymous) /* one without an id of its own stays of zeros */
        weir_uuid_parse(credential, &request->credential);
    if (weir_uuid_parse(weir_str(identity->consumer_id), &request->consumer) == WEIR_OK)
        request->replan = 1;
    return WEIR_OK;
}

bool weir_request_is_authenticated(weir_request_t *request)
{
    return request->authenticated;
}

weir_str_t weir_request_consumer_id(weir_request_t *request)
{
    return !weir_uuid_is_zero(&request->consumer) ? uuid_text(request, &request->consumer)
                                                  : (weir_str_t){ NULL, 0 };
}

weir_str_t weir_request_credential_id(weir_request_t *request)
{
    return !weir_uuid_is_zero(&request->credential) ? uuid_text(request, &request->credential)
                                                    : (weir_str_t){ NULL, 0 };
}

static weir_str_t document(weir_request_t *request, weir_entity_type_t type, const weir_uuid_t *id)
{
    weir_str_t text = { NULL, 0 };
    weir_error_t err = { 0 };
    weir_reader_t *reader = enter(request);
    if (reader == NULL)
        return text;
    if (weir_reader_document(reader, type, id, &text, &err) == WEIR_OK)
        text = ngx_http_weir_str(ngx_http_weir_copy(request->r->pool, text));
    weir_reader_leave(reader);
    return text;
}

weir_str_t weir_request_route_json(weir_request_t *request)
{
    return document(request, WEIR_ROUTES, &request->routed->route.id);
}

weir_str_t weir_request_service_json(weir_request_t *request)
{
    return request->routed->has_service
               ? document(request, WEIR_SERVICES, &request->routed->service.id)
               : (weir_str_t){ NULL, 0 };
}

/* -- answers -------------------------------------------------------------------------------------
 */

int weir_request_answer_header(weir_request_t *request, weir_str_t name, weir_str_t value)
{
    ngx_str_t key = ngx_http_weir_copy(request->r->pool, name);
    ngx_str_t text = ngx_http_weir_copy(request->r->pool, value);
    if (key.data == NULL || text.data == NULL)
        return WEIR_NO_MEMORY;
    return ngx_http_weir_add_header(request->r, ngx_http_weir_str(key), text) != NULL
               ? WEIR_OK
               : WEIR_NO_MEMORY;
}

/* Those that nginx keeps apart from the list: a second one would contradict them. */
static bool is_framing(weir_str_t name)
{
    static const char *const names[] = { "content-length", "transfer-encoding", "connection",
                                         "content-type" };
    for (size_t i = 0; i < WEIR_COUNT(names); i++)
        if (name.len == strlen(names[i]) &&
            ngx_strncasecmp((u_char *)name.data, (u_char *)names[i], name.len) == 0)
            return true;
    return false;
}

int weir_request_set_answer_header(weir_request_t *request, weir_str_t name, weir_str_t value)
{
    if (is_framing(name))
        return WEIR_INVALID;
    ngx_list_part_t *part = &request->r->headers_out.headers.part;
    do {
        ngx_table_elt_t *headers = part->elts;
        for (ngx_uint_t i = 0; i < part->nelts; i++)
            if (headers[i].hash != 0 && headers[i].key.len == name.len &&
                ngx_strncasecmp(headers[i].key.data, (u_char *)name.data, name.len) == 0)
                headers[i].hash = 0; /* nginx's way to leave one out */
        part = part->next;
    } while (part != NULL);
    return value.data != NULL ? weir_request_answer_header(request, name, value) : WEIR_OK;
}

int weir_request_answer(weir_request_t *request, int status, weir_str_t content_type,
                        weir_str_t body)
{
    request->answered = 1;
    request->answer_status = (ngx_uint_t)status;
    request->answer_type = ngx_http_weir_copy(request->r->pool, content_type);
    request->answer_body = ngx_http_weir_copy(request->r->pool, body);
    bool failed = (content_type.data != NULL && request->answer_type.data == NULL) ||
                  (body.data != NULL && request->answer_body.data == NULL);
    return failed ? WEIR_NO_MEMORY : WEIR_OK;
}

int weir_request_fail(weir_request_t *request, int status, weir_str_t message)
{
    char scratch[64];
    if (message.data == NULL)
        message = weir_str(weir_status_message(status, scratch, sizeof(scratch)));
    request->answered = 1;
    request->failed = 1;
    request->answer_status = (ngx_uint_t)status;
    request->answer_body = ngx_http_weir_copy(request->r->pool, message);
    return request->answer_body.data != NULL ? WEIR_OK : WEIR_NO_MEMORY;
}
