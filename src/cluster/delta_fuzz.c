/* delta_fuzz.c -- any JSON as what a control plane says after the hello, lines of
 * it one after another, to a client whose image only looks at it. */
#include "cluster/client_internal.h"
#include "cluster/fixture_fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAYLOAD_MAX = 65536 };

/* What an image relies on. */
static int on_apply(void *context, const weir_update_t *update, weir_error_t *err)
{
    (void)context;
    weir_assert(weir_json_first(update->deltas) != NULL);
    for (const weir_json_t *d = weir_json_first(update->deltas); d != NULL; d = weir_json_next(d)) {
        const weir_json_t *entity = weir_json_get(d, "entity");
        weir_assert(weir_json_string(weir_json_get(d, "type")).data != NULL);
        weir_assert(weir_json_kind(weir_json_is_null(entity) ? weir_json_get(d, "pk") : entity) ==
                    WEIR_JSON_OBJECT);
    }
    return update->version % 5 == 4 ? weir_error_set(err, WEIR_FULL, NULL, "full") : WEIR_OK;
}

static weir_json_t *on_report(void *context, bool afresh)
{
    (void)context, (void)afresh;
    return weir_json_new_object();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    weir_client_t *client = NULL;
    if (size < 1 || size > PAYLOAD_MAX)
        return 0;
    weir_client_options_t options = {
        .host = "h:1",
        .node_id = WEIR_STR("n"),
        .hostname = "h",
        .compat_version = data[0] & 1 ? "3.9.1" : "3.10.0",
        .payload_max = PAYLOAD_MAX,
        .send = fuzz_send,
        .random = fuzz_random,
        .apply = on_apply,
        .report = on_report,
        .event = fuzz_event,
    };
    if (weir_client_new(&options, 1, &client, NULL) != WEIR_OK)
        return 0;
    int rc = weir_client_connected(client, 0, NULL);
    client->socket.upgrading = false; /* upgrade and hello have targets of their own */
    client->step = CLIENT_READY;
    client->weir_peer = data[0] & 2;
    client->dialect = data[0] & 1 ? WEIR_DIALECT_39 : WEIR_DIALECT_310;
    if (rc == WEIR_OK)
        rc = pull_ask(client, 0, NULL);
    int64_t now_ms = 0;
    weir_str_t lines = { (const char *)data + 1, size - 1 };
    for (weir_str_t line; rc == WEIR_OK && fuzz_line(&lines, &line); now_ms += 200) {
        weir_buffer_t bytes = fuzz_frame(line, false);
        rc = weir_client_input(client, weir_buffer_str(&bytes), now_ms, NULL);
        weir_buffer_release(&bytes);
        if (rc == WEIR_OK)
            rc = weir_client_tick(client, now_ms + 100, NULL);
    }
    weir_client_free(client);
    return 0;
}
