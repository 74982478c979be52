/* rpc_fuzz.c -- any JSON as messages to a session, lines of it one after another. */
#include "cluster/fixture_fuzz.h"
#include "cluster/hello.h"
#include "cluster/session.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAYLOAD_MAX = 65536 };

static int give(weir_session_t *session, weir_str_t payload)
{
    static const uint8_t mask[4] = { 1, 2, 3, 4 };
    uint8_t header[WEIR_FRAME_HEADER_MAX];
    size_t len = weir_frame_header(WEIR_FRAME_BINARY, payload.len, mask, header);
    weir_buffer_t bytes;
    weir_buffer_init(&bytes, 4 * PAYLOAD_MAX);
    weir_buffer_append(&bytes, (weir_str_t){ (char *)header, len });
    weir_buffer_append(&bytes, payload);
    if (payload.len > 0)
        weir_frame_mask(bytes.data + len, payload.len, mask);
    int rc = weir_session_input(session, weir_buffer_str(&bytes), 1000, NULL);
    weir_buffer_release(&bytes);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static weir_registry_t *registry;
    fuzz_host_t host = { 0 };
    weir_session_t *session = NULL;
    char hello[512];
    if (size < 1 || size > PAYLOAD_MAX ||
        (registry == NULL && weir_registry_new(1000, &registry, NULL) != WEIR_OK))
        return 0;
    weir_session_options_t options = {
        .payload_max = PAYLOAD_MAX,
        .compat_version = "3.9.1",
        .sync = true,
        .registry = registry,
        .ip = WEIR_STR("::1"),
        .context = &host,
        .send = fuzz_send,
        .send_answer = fuzz_send_answer,
        .want = fuzz_want,
        .event = fuzz_event,
    };
    if (weir_session_new(&options, 0, &session, NULL) != WEIR_OK)
        return 0;
    snprintf(hello, sizeof(hello),
             "{\"jsonrpc\":\"2.0\",\"method\":\"kong.meta.v1.hello\",\"id\":1,\"params\":[{"
             "\"rpc_capabilities\":[\"kong.sync.v2\"],\"rpc_frame_encodings\":"
             "[\"x-snappy-framed\"],\"kong_version\":\"3.%s\",\"kong_hostname\":\"h\","
             "\"kong_node_id\":\"n\",\"kong_conf\":{}}]}",
             data[0] & 1 ? "9.1" : "10.0");
    int rc = give(session, weir_str(hello));
    weir_error_t failure = { .code = WEIR_IO, .reason = "no store here" };
    weir_str_t lines = { (const char *)data + 1, size - 1 };
    uint64_t version = 1;
    for (weir_str_t line; rc == WEIR_OK && fuzz_line(&lines, &line);) {
        weir_buffer_t bytes = fuzz_frame(line, true);
        rc = weir_session_input(session, weir_buffer_str(&bytes), 1000, NULL);
        weir_buffer_release(&bytes);
        if (rc == WEIR_OK)
            rc = weir_session_notify(session, version++, 1000, NULL);
        for (size_t i = 0; i < host.count && rc == WEIR_OK; i++)
            rc = weir_session_answer(session, &host.wants[i], NULL, &failure, 1000, NULL);
        host.count = rc == WEIR_OK ? 0 : host.count;
    }
    weir_session_free(session, 1000);
    return 0;
}
