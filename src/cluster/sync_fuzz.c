/* sync_fuzz.c -- any bytes as what is said in weir.sync.v1 after the hello, lines of it
 * one after another, at either end; and any bytes as a zstd frame. The first byte says
 * which: 'c' a client, 's' a session, 'z' a frame. */
#include "cluster/client_internal.h"
#include "cluster/fixture_fuzz.h"
#include "cluster/fixture_sync.h"
#include "cluster/internal.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PAYLOAD_MAX = 65536 };

/* -- a frame --------------------------------------------------------------------------- */

static void try_frame(weir_str_t bytes)
{
    weir_buffer_t out;
    weir_buffer_init(&out, 4 * PAYLOAD_MAX);
    int rc = weir_codec_inflate(WEIR_CODEC_ZSTD, bytes, PAYLOAD_MAX, &out, NULL);
    weir_assert(rc != WEIR_OK || out.len <= PAYLOAD_MAX);
    weir_buffer_release(&out);
}

/* -- a client ----------------------------------------------------------------------------- */

static weir_client_t *new_client(void)
{
    weir_client_t *client = NULL;
    weir_client_options_t options = {
        .host = "h:1",
        .node_id = WEIR_STR("n"),
        .hostname = "h",
        .compat_version = "3.10.0",
        .payload_max = 4 * PAYLOAD_MAX,
        .call_timeout_ms = 60000,
        .send = fuzz_send,
        .random = stub_random,
        .event = fuzz_event,
        .sync = &stub_callbacks,
    };
    if (weir_client_new(&options, 1, &client, NULL) != WEIR_OK)
        return NULL;
    if (weir_client_connected(client, 0, NULL) != WEIR_OK) {
        weir_client_free(client);
        return NULL;
    }
    client->socket.upgrading = false; /* upgrade and hello have targets of their own */
    client->step = CLIENT_READY;
    client->weir_peer = client->sync.agreed = true;
    client->dialect = WEIR_DIALECT_310;
    return client;
}

static void try_client(weir_str_t lines)
{
    weir_client_t *client = new_client();
    if (client == NULL)
        return;
    int rc = sync_begin(client, 0, NULL);
    int64_t now_ms = 0;
    for (weir_str_t line; rc == WEIR_OK && fuzz_line(&lines, &line); now_ms += 200) {
        weir_buffer_t bytes = fuzz_frame(line, false);
        rc = weir_client_input(client, weir_buffer_str(&bytes), now_ms, NULL);
        weir_buffer_release(&bytes);
        if (rc == WEIR_OK)
            rc = weir_client_tick(client, now_ms + 100, NULL);
    }
    weir_client_free(client);
}

/* -- a session ------------------------------------------------------------------------------ */

static bool holds(void *context, uint64_t version)
{
    (void)context;
    return version % 2 == 0;
}

static int answer_all(weir_session_t *session, fuzz_host_t *host, int rc)
{
    weir_error_t failure = { .code = WEIR_NOT_FOUND, .reason = "no store here" };
    for (size_t i = 0; i < host->count; i++) {
        /* What is wanted as deltas is answered by closing: leave those open. */
        if (rc == WEIR_OK && host->wants[i].kind != WEIR_WANT_DELTAS)
            rc = weir_session_answer(session, &host->wants[i], NULL, &failure, 1000, NULL);
        weir_want_release(&host->wants[i]);
    }
    host->count = 0;
    return rc;
}

static void try_session(weir_str_t lines)
{
    static weir_registry_t *registry;
    static const weir_digest_key_t key;
    fuzz_host_t host = { 0 };
    weir_session_t *session = NULL;
    if (registry == NULL && weir_registry_new(1000, &registry, NULL) != WEIR_OK)
        return;
    weir_session_options_t options = {
        .payload_max = 4 * PAYLOAD_MAX,
        .compat_version = "3.10.0",
        .sync = true,
        .sync_v1 = true,
        .digest_key = &key,
        .registry = registry,
        .ip = WEIR_STR("::1"),
        .context = &host,
        .send = fuzz_send,
        .send_answer = fuzz_send_answer,
        .want = fuzz_want,
        .holds = holds,
        .event = fuzz_event,
    };
    if (weir_session_new(&options, 0, &session, NULL) != WEIR_OK)
        return;
    session->ready = session->listed = session->sync.agreed = true;
    session->dialect = WEIR_DIALECT_310;
    snprintf(session->node, sizeof(session->node), "n");
    int rc = weir_session_notify(session, 40, 1000, NULL);
    for (weir_str_t line; rc == WEIR_OK && fuzz_line(&lines, &line);) {
        weir_buffer_t bytes = fuzz_frame(line, true);
        rc = weir_session_input(session, weir_buffer_str(&bytes), 1000, NULL);
        weir_buffer_release(&bytes);
        rc = answer_all(session, &host, rc);
    }
    session->ready = false; /* the registry never heard of it */
    weir_session_free(session, 1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1 || size > PAYLOAD_MAX)
        return 0;
    weir_str_t rest = { (const char *)data + 1, size - 1 };
    if (data[0] == 'z')
        try_frame(rest);
    else if (data[0] == 'c')
        try_client(rest);
    else
        try_session(rest);
    return 0;
}
