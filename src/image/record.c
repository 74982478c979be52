/* record.c -- values in and out of flat records. Little endian, no padding, so a
 * record means the same wherever it is read; every length is checked. */
#include "image/internal.h"

#include "weir/plugin.h"

enum { ABSENT = 0xffffffff };

static void put_bytes(weir_buffer_t *out, const void *data, size_t bytes)
{
    weir_buffer_append(out, (weir_str_t){ data, bytes });
}

void put_u8(weir_buffer_t *out, uint8_t value)
{
    put_bytes(out, &value, 1);
}

void put_u16(weir_buffer_t *out, uint16_t value)
{
    uint8_t bytes[2] = { (uint8_t)value, (uint8_t)(value >> 8) };
    put_bytes(out, bytes, sizeof(bytes));
}

void put_u32(weir_buffer_t *out, uint32_t value)
{
    put_u16(out, (uint16_t)value);
    put_u16(out, (uint16_t)(value >> 16));
}

void put_u64(weir_buffer_t *out, uint64_t value)
{
    put_u32(out, (uint32_t)value);
    put_u32(out, (uint32_t)(value >> 32));
}

void put_uuid(weir_buffer_t *out, const weir_uuid_t *uuid)
{
    put_bytes(out, uuid->bytes, WEIR_UUID_BYTES);
}

void put_str(weir_buffer_t *out, weir_str_t text)
{
    put_u32(out, text.data != NULL ? (uint32_t)text.len : ABSENT);
    if (text.data != NULL)
        put_bytes(out, text.data, text.len);
}

static const uint8_t *take(record_in_t *in, size_t bytes)
{
    static const uint8_t zeros[WEIR_UUID_BYTES];
    if (in->bad || in->left < bytes) {
        in->bad = true;
        return zeros;
    }
    const uint8_t *at = (const uint8_t *)in->at;
    in->at += bytes;
    in->left -= bytes;
    return at;
}

uint8_t get_u8(record_in_t *in)
{
    return *take(in, 1);
}

uint16_t get_u16(record_in_t *in)
{
    const uint8_t *at = take(in, 2);
    return (uint16_t)(at[0] | at[1] << 8);
}

uint32_t get_u32(record_in_t *in)
{
    const uint8_t *at = take(in, 4);
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

uint64_t get_u64(record_in_t *in)
{
    uint64_t low = get_u32(in);
    return low | (uint64_t)get_u32(in) << 32;
}

weir_uuid_t get_uuid(record_in_t *in)
{
    weir_uuid_t uuid;
    memcpy(uuid.bytes, take(in, WEIR_UUID_BYTES), WEIR_UUID_BYTES);
    return uuid;
}

weir_str_t get_str(record_in_t *in)
{
    uint32_t len = get_u32(in);
    if (in->bad || len == ABSENT)
        return (weir_str_t){ NULL, 0 };
    if (in->left < len) {
        in->bad = true;
        return (weir_str_t){ NULL, 0 };
    }
    weir_str_t text = { in->at, len };
    in->at += len;
    in->left -= len;
    return text;
}

/* -- views ------------------------------------------------------------------------- */

record_in_t open_record(weir_str_t record, uint64_t *ret_version)
{
    record_in_t in = { record.data, record.len, false };
    *ret_version = get_u64(&in);
    return in;
}

record_in_t get_block(record_in_t *in)
{
    uint32_t len = get_u32(in);
    if (in->bad || in->left < len) {
        in->bad = true;
        return (record_in_t){ "", 0, true };
    }
    record_in_t block = { in->at, len, false };
    in->at += len;
    in->left -= len;
    return block;
}

weir_str_t route_path(const route_view_t *view, unsigned index)
{
    record_in_t offsets = view->path_offsets;
    record_in_t paths = view->paths;
    if (index >= view->path_count || offsets.left / 4 <= index)
        return (weir_str_t){ NULL, 0 };
    offsets.at += 4 * (size_t)index;
    offsets.left -= 4 * (size_t)index;
    uint32_t at = get_u32(&offsets);
    if (at > paths.left)
        return (weir_str_t){ NULL, 0 };
    paths.at += at;
    paths.left -= at;
    return get_str(&paths);
}

bool view_route(weir_str_t record, route_view_t *ret)
{
    *ret = (route_view_t){ 0 };
    weir_route_t *route = &ret->route;
    record_in_t in = open_record(record, &route->version);
    route->service = get_uuid(&in);
    uint8_t flags = get_u8(&in);
    route->strip_path = flags & 1;
    route->preserve_host = flags & 2;
    route->request_buffering = flags & 4;
    route->response_buffering = flags & 8;
    ret->hosts_given = flags & 16;
    route->protocols = get_u8(&in);
    route->https_redirect_status_code = get_u16(&in);
    ret->regex_priority = (int64_t)get_u64(&in);
    ret->weight_base = get_u8(&in);
    route->name = get_str(&in);
    ret->method_count = get_u16(&in);
    ret->host_count = get_u16(&in);
    ret->path_count = get_u16(&in);
    ret->header_count = get_u16(&in);
    ret->sni_count = get_u16(&in);
    ret->methods = get_block(&in);
    ret->hosts = get_block(&in);
    ret->path_offsets = get_block(&in);
    ret->paths = get_block(&in);
    ret->snis = get_block(&in);
    ret->headers = get_block(&in);
    return !in.bad;
}

bool view_service(weir_str_t record, service_view_t *ret)
{
    *ret = (service_view_t){ 0 };
    weir_service_t *s = &ret->service;
    record_in_t in = open_record(record, &s->version);
    ret->enabled = get_u8(&in);
    s->protocol = get_u8(&in);
    s->port = get_u16(&in);
    s->retries = get_u16(&in);
    s->connect_timeout_ms = get_u32(&in);
    s->write_timeout_ms = get_u32(&in);
    s->read_timeout_ms = get_u32(&in);
    s->tls_verify = (int8_t)get_u8(&in);
    s->tls_verify_depth = (int8_t)get_u8(&in);
    s->client_certificate = get_uuid(&in);
    s->name = get_str(&in);
    s->host = get_str(&in);
    s->path = get_str(&in);
    s->ca_certificate_count = get_u16(&in);
    if (in.bad || in.left < s->ca_certificate_count * sizeof(weir_uuid_t))
        return false;
    s->ca_certificates = (const weir_uuid_t *)(const void *)in.at; /* bytes: no alignment */
    return true;
}

bool view_consumer(weir_str_t record, weir_consumer_t *ret)
{
    *ret = (weir_consumer_t){ 0 };
    record_in_t in = open_record(record, &ret->version);
    ret->username = get_str(&in);
    ret->custom_id = get_str(&in);
    return !in.bad;
}

bool view_credential(weir_str_t record, credential_view_t *ret)
{
    *ret = (credential_view_t){ 0 };
    record_in_t in = open_record(record, &ret->version);
    ret->consumer = get_uuid(&in);
    ret->expires_s = (int64_t)get_u64(&in);
    ret->key = get_str(&in);
    return !in.bad;
}

bool view_certificate(weir_str_t record, weir_certificate_t *ret)
{
    *ret = (weir_certificate_t){ 0 };
    record_in_t in = open_record(record, &ret->version);
    ret->cert = get_str(&in);
    ret->key = get_str(&in);
    ret->cert_alt = get_str(&in);
    ret->key_alt = get_str(&in);
    return !in.bad;
}

bool view_ca_certificate(weir_str_t record, weir_str_t *ret_pem, uint64_t *ret_version)
{
    record_in_t in = open_record(record, ret_version);
    *ret_pem = get_str(&in);
    return !in.bad;
}

bool view_sni(weir_str_t record, sni_view_t *ret)
{
    uint64_t version = 0;
    record_in_t in = open_record(record, &version);
    ret->certificate = get_uuid(&in);
    ret->name = get_str(&in);
    return !in.bad && ret->name.data != NULL;
}

bool view_plugin(weir_str_t record, plugin_view_t *ret)
{
    *ret = (plugin_view_t){ 0 };
    record_in_t in = open_record(record, &ret->version);
    ret->enabled = get_u8(&in);
    ret->priority = (int32_t)get_u32(&in);
    ret->route = get_uuid(&in);
    ret->service = get_uuid(&in);
    ret->consumer = get_uuid(&in);
    ret->name = get_str(&in);
    ret->record = get_str(&in);
    return !in.bad;
}
