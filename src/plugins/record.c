/* record.c -- values in and out of a plugin's record. Little endian; every length
 * is checked when it is read: a record is data, not truth. */
#include "plugins/record.h"

#include "base/json.h"
#include "plugins/plugins.h"

#include <endian.h>

enum { ABSENT = 0xffffffff, JSON_BYTES_MAX = 1 << 24 };

int weir_record_put_u64(weir_record_writer_t *out, uint64_t value)
{
    char bytes[8];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(value >> 8 * i);
    return weir_buffer_append(out->out, (weir_str_t){ bytes, sizeof(bytes) });
}

int weir_record_put_status(weir_record_writer_t *out, double status)
{
    enum { LEAST = 200, MOST = 599 };
    uint64_t whole = status >= LEAST && status <= MOST ? (uint64_t)status : 0;
    return weir_record_put_u64(out, (double)whole == status ? whole : 0);
}

static int put_u32(weir_buffer_t *out, uint32_t value)
{
    char bytes[4];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (char)(value >> 8 * i);
    return weir_buffer_append(out, (weir_str_t){ bytes, sizeof(bytes) });
}

int weir_record_put_str(weir_record_writer_t *out, weir_str_t value)
{
    if (value.data == NULL)
        return put_u32(out->out, ABSENT);
    put_u32(out->out, (uint32_t)value.len);
    return weir_buffer_append(out->out, value);
}

int weir_record_put_json(weir_record_writer_t *out, const weir_json_t *value)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, JSON_BYTES_MAX);
    int rc = value != NULL ? weir_json_print(value, &text) : WEIR_NO_MEMORY;
    if (rc != WEIR_OK)
        return out->out->failed = rc; /* sticks, like all failures of a buffer */
    return weir_record_put_str(out, weir_buffer_str(&text));
}

static bool take(weir_record_reader_t *in, size_t bytes, const unsigned char **ret)
{
    if (in->left < bytes)
        return false;
    *ret = (const unsigned char *)in->at;
    in->at += bytes;
    in->left -= bytes;
    return true;
}

bool weir_record_u64(weir_record_reader_t *in, uint64_t *ret)
{
    const unsigned char *at = NULL;
    uint64_t value;
    if (!take(in, sizeof(value), &at))
        return false;
    memcpy(&value, at, sizeof(value));
    *ret = le64toh(value);
    return true;
}

bool weir_record_str(weir_record_reader_t *in, weir_str_t *ret)
{
    const unsigned char *at = NULL;
    uint32_t len;
    if (!take(in, sizeof(len), &at))
        return false;
    memcpy(&len, at, sizeof(len));
    len = le32toh(len);
    *ret = (weir_str_t){ NULL, 0 };
    if (len == ABSENT)
        return true;
    if (!take(in, len, &at))
        return false;
    *ret = (weir_str_t){ (const char *)at, len };
    return true;
}

int weir_plugin_compile(void *context, weir_str_t name, const weir_json_t *config,
                        weir_buffer_t *out, weir_error_t *err)
{
    (void)context;
    const weir_plugin_t *plugin = weir_plugin(name);
    if (plugin == NULL)
        return weir_error_set(err, WEIR_INVALID, "name", "plugin '%.*s' is not in this build",
                              WEIR_STR_ARG(name));
    if (plugin->compile == NULL)
        return WEIR_OK;
    weir_record_writer_t writer = { out };
    int rc = plugin->compile(config, &writer, err);
    return rc == WEIR_OK && out->failed != WEIR_OK ? weir_error_memory(err) : rc;
}
