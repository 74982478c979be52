/* hello.c -- the first message of each side. */
#include "cluster/hello.h"

#include "base/json.h"

#include <stdio.h>

static void copy(char out[WEIR_HELLO_TEXT_MAX + 1], weir_str_t text)
{
    size_t len = text.len < WEIR_HELLO_TEXT_MAX ? text.len : WEIR_HELLO_TEXT_MAX;
    memcpy(out, text.data, len);
    out[len] = '\0';
}

static bool lists(const weir_json_t *list, const char *text)
{
    for (const weir_json_t *item = weir_json_first(list); item != NULL; item = weir_json_next(item))
        if (weir_str_is(weir_json_string(item), text))
            return true;
    return false;
}

static weir_str_t cut(weir_str_t text)
{
    return (weir_str_t){ text.data,
                         text.len < WEIR_HELLO_TEXT_MAX ? text.len : WEIR_HELLO_TEXT_MAX };
}

static int copy_capabilities(const weir_json_t *list, weir_json_t **ret)
{
    weir_json_t *out = weir_json_new_array();
    int rc = out != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    size_t count = 0;
    for (const weir_json_t *item = weir_json_first(list);
         rc == WEIR_OK && item != NULL && count < WEIR_HELLO_LIST_MAX;
         item = weir_json_next(item)) {
        weir_str_t text = weir_json_string(item);
        if (text.data == NULL)
            continue;
        rc = weir_json_append(out, weir_json_new_string(cut(text)));
        count++;
    }
    *ret = out;
    return rc;
}

/* "key:value" texts into an object. */
static int copy_labels(const weir_json_t *conf, weir_json_t **ret)
{
    const weir_json_t *list = weir_json_get(conf, "cluster_dp_labels");
    if (weir_json_kind(list) != WEIR_JSON_ARRAY)
        return WEIR_OK;
    weir_json_t *labels = weir_json_new_object();
    int rc = labels != NULL ? WEIR_OK : WEIR_NO_MEMORY;
    size_t count = 0;
    for (const weir_json_t *item = weir_json_first(list);
         rc == WEIR_OK && item != NULL && count < WEIR_HELLO_LIST_MAX;
         item = weir_json_next(item)) {
        weir_str_t text = weir_json_string(item);
        const char *colon = text.data != NULL ? memchr(text.data, ':', text.len) : NULL;
        char key[WEIR_HELLO_TEXT_MAX + 1];
        if (colon == NULL || colon == text.data || colon - text.data > WEIR_HELLO_TEXT_MAX)
            continue;
        copy(key, (weir_str_t){ text.data, (size_t)(colon - text.data) });
        weir_str_t value = { colon + 1, text.len - (size_t)(colon + 1 - text.data) };
        rc = weir_json_set(labels, key, weir_json_new_string(cut(value)));
        count++;
    }
    *ret = labels;
    return rc;
}

static int refuse(weir_error_t *err, const char *why)
{
    return weir_error_set(err, WEIR_INVALID, NULL, "%s", why);
}

/* The texts that must be there. */
static int read_texts(const weir_json_t *params, weir_hello_t *hello, weir_error_t *err)
{
    weir_str_t none = { NULL, 0 };
    weir_str_t node_id = weir_json_get_string(params, "kong_node_id", none);
    weir_str_t hostname = weir_json_get_string(params, "kong_hostname", none);
    weir_str_t version = weir_json_get_string(params, "kong_version", none);
    if (node_id.data == NULL || hostname.data == NULL || version.data == NULL)
        return refuse(err, "the hello lacks kong_node_id, kong_hostname or kong_version");
    if (node_id.len == 0 || node_id.len > WEIR_HELLO_TEXT_MAX)
        return refuse(err, "kong_node_id is empty or longer than 128 bytes");
    for (size_t i = 0; i < node_id.len; i++)
        if ((unsigned char)node_id.data[i] < 0x21 || (unsigned char)node_id.data[i] > 0x7e)
            return refuse(err, "kong_node_id has characters that no id has");
    copy(hello->node_id, node_id);
    copy(hello->hostname, hostname);
    copy(hello->version, version);
    return WEIR_OK;
}

int weir_hello_read(weir_str_t payload, weir_hello_t *ret, weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *message = NULL;
    weir_hello_t hello = { 0 };
    weir_str_t none = { NULL, 0 };
    if (weir_json_parse(payload, &message, NULL) != WEIR_OK)
        return refuse(err, "the hello is no JSON");
    if (!weir_str_is(weir_json_get_string(message, "jsonrpc", none), "2.0") ||
        !weir_str_is(weir_json_get_string(message, "method", none), "kong.meta.v1.hello"))
        return refuse(err, "the first message is no hello");
    const weir_json_t *params = weir_json_get(message, "params");
    params = weir_json_kind(params) == WEIR_JSON_ARRAY ? weir_json_first(params) : NULL;
    if (weir_json_kind(params) != WEIR_JSON_OBJECT)
        return refuse(err, "the hello has no params");
    const weir_json_t *conf = weir_json_get(params, "kong_conf");
    if (weir_json_kind(conf) != WEIR_JSON_OBJECT)
        return refuse(err, "the hello lacks kong_conf");
    if (!lists(weir_json_get(params, "rpc_frame_encodings"), "x-snappy-framed"))
        return refuse(err, "the hello does not offer x-snappy-framed");
    int rc = read_texts(params, &hello, err);
    if (rc != WEIR_OK)
        return rc;
    const weir_json_t *capabilities = weir_json_get(params, "rpc_capabilities");
    hello.has_capabilities = weir_json_kind(capabilities) == WEIR_JSON_ARRAY ||
                             weir_json_kind(capabilities) == WEIR_JSON_OBJECT;
    hello.sync = lists(capabilities, WEIR_CAPABILITY_SYNC);
    hello.report = lists(capabilities, WEIR_CAPABILITY_REPORT);
    hello.sync_v1 = lists(capabilities, WEIR_CAPABILITY_SYNC_V1);
    hello.zstd =
        lists(weir_json_get(params, "rpc_frame_encodings"), weir_codec_name(WEIR_CODEC_ZSTD));
    rc = copy_capabilities(capabilities, &hello.capabilities);
    if (rc == WEIR_OK)
        rc = copy_labels(conf, &hello.labels);
    if (rc != WEIR_OK) {
        weir_hello_release(&hello);
        return weir_error_memory(err);
    }
    *ret = hello;
    return WEIR_OK;
}

void weir_hello_release(weir_hello_t *hello)
{
    weir_json_free(hello->capabilities);
    weir_json_free(hello->labels);
    hello->capabilities = hello->labels = NULL;
}

int weir_hello_answer(const weir_offer_t *offer, weir_buffer_t *out)
{
    /* The id is always 1; an empty list prints as the original prints it. */
    weir_buffer_append(out,
                       WEIR_STR("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"rpc_capabilities\":"));
    if (!offer->sync)
        weir_buffer_append(out, WEIR_STR("{}"));
    else
        weir_buffer_printf(out, "[\"" WEIR_CAPABILITY_SYNC "\"%s%s]",
                           offer->report ? ",\"" WEIR_CAPABILITY_REPORT "\"" : "",
                           offer->sync_v1 ? ",\"" WEIR_CAPABILITY_SYNC_V1 "\"" : "");
    return weir_buffer_printf(out, ",\"rpc_frame_encoding\":\"%s\"}}",
                              weir_codec_name(offer->codec));
}

int weir_hello_write(const weir_greeting_t *greeting, weir_buffer_t *out)
{
    weir_buffer_printf(out,
                       "{\"jsonrpc\":\"2.0\",\"method\":\"kong.meta.v1.hello\",\"id\":1,"
                       "\"params\":[{\"rpc_capabilities\":[\"" WEIR_CAPABILITY_SYNC
                       "\",\"" WEIR_CAPABILITY_REPORT "\"%s],\"rpc_frame_encodings\":[%s"
                       "\"x-snappy-framed\"],\"kong_version\":",
                       greeting->sync_v1 ? ",\"" WEIR_CAPABILITY_SYNC_V1 "\"" : "",
                       greeting->zstd ? "\"x-zstd\"," : "");
    weir_json_print_string(weir_str(greeting->version), out);
    weir_buffer_append(out, WEIR_STR(",\"kong_hostname\":"));
    weir_json_print_string(weir_str(greeting->hostname), out);
    weir_buffer_append(out, WEIR_STR(",\"kong_node_id\":"));
    weir_json_print_string(weir_str(greeting->node_id), out);
    /* The original sends its whole configuration; what we need not tell, we don't. */
    weir_buffer_append(out, WEIR_STR(",\"kong_conf\":{"));
    const char *const *labels = greeting->labels;
    if (labels != NULL && labels[0] != NULL) {
        weir_buffer_append(out, WEIR_STR("\"cluster_dp_labels\":["));
        for (size_t i = 0; labels[i] != NULL; i++) {
            weir_buffer_append(out, i > 0 ? WEIR_STR(",") : WEIR_STR(""));
            weir_json_print_string(weir_str(labels[i]), out);
        }
        weir_buffer_append(out, WEIR_STR("]"));
    }
    return weir_buffer_append(out, WEIR_STR("}}]}"));
}

int weir_hello_read_answer(weir_str_t payload, weir_offer_t *ret, weir_error_t *err)
{
    WEIR_AUTO(json) weir_json_t *answer = NULL;
    if (weir_json_parse(payload, &answer, NULL) != WEIR_OK)
        return refuse(err, "the answer to the hello is no JSON");
    const weir_json_t *result = weir_json_get(answer, "result");
    const weir_json_t *capabilities = weir_json_get(result, "rpc_capabilities");
    weir_str_t encoding = weir_json_get_string(result, "rpc_frame_encoding", WEIR_STR(""));
    *ret = (weir_offer_t){
        .sync = lists(capabilities, WEIR_CAPABILITY_SYNC),
        .report = lists(capabilities, WEIR_CAPABILITY_REPORT),
        .sync_v1 = lists(capabilities, WEIR_CAPABILITY_SYNC_V1),
    };
    if (ret->sync_v1 && weir_str_is(encoding, weir_codec_name(WEIR_CODEC_ZSTD)))
        ret->codec = WEIR_CODEC_ZSTD;
    else if (!weir_str_is(encoding, "x-snappy-framed"))
        return refuse(err, "the control plane does not answer the hello with x-snappy-framed");
    return WEIR_OK;
}

int64_t weir_hello_version(weir_str_t text)
{
    int64_t parts[3] = { 0 };
    size_t part = 0;
    bool digits = false;
    for (size_t i = 0; i < text.len && part < 3; i++) {
        char c = text.data[i];
        if (c >= '0' && c <= '9') {
            parts[part] = parts[part] * 10 + (c - '0');
            if (parts[part] > 999) /* no version that we could compare */
                parts[part] = 999;
            digits = true;
        } else if (c == '.') {
            part++;
        } else {
            break;
        }
    }
    return digits ? parts[0] * 1000000 + parts[1] * 1000 + parts[2] : -1;
}
