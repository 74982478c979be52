/* fixture.h -- what the tests of this room share: a store in a directory of its
 * own, a host for sessions, a client that keeps a set, frames from JSON.
 * Included by *_test.c and *_fuzz.c only. */
#ifndef WEIR_CLUSTER_FIXTURE_H
#define WEIR_CLUSTER_FIXTURE_H

#include "base/json.h"
#include "cluster/client.h"
#include "cluster/frame.h"
#include "cluster/hello.h"
#include "cluster/internal.h"
#include "cluster/outbox.h"
#include "cluster/registry_internal.h"
#include "cluster/session.h"

/* cmocka wants these before its own header. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    FIXTURE_PAYLOAD_MAX = 4 * 1024 * 1024,
    FIXTURE_BATCH_BYTES = 4096,
    FIXTURE_WANTS_MAX = 64,
    FIXTURE_PURGE_S = 1209600,
};

#define FIXTURE_NODE "11111111-2222-4333-8444-555555555555"

static inline weir_json_t *fixture_json(const char *text)
{
    weir_json_t *value = NULL;
    assert_int_equal(weir_json_parse(weir_str(text), &value, NULL), WEIR_OK);
    return value;
}

/* The data plane of this id, as a session that is connected has it; NULL: not known. */
static inline weir_registry_node_t *fixture_node(weir_registry_t *registry, const char *id)
{
    return registry_find(registry, weir_str(id), false);
}

/* -- a store ------------------------------------------------------------------------- */

typedef struct fixture_store {
    char folder[64], path[96];
    weir_store_t *store;
    weir_encoder_t *encoder;
    weir_registry_t *registry;
    bool sync_v1, zstd; /* offered to who connects */
    const char *only;   /* the node that certificates name; NULL: nobody looks */
    weir_sync_counters_t counters;
} fixture_store_t;

static inline void fixture_store_open(fixture_store_t *f, uint64_t log_entries_max,
                                      size_t payload_max, uint64_t threshold)
{
    weir_error_t err = { 0 };
    size_t done = 0;
    snprintf(f->folder, sizeof(f->folder), "/tmp/weir-cluster-test-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof(f->path), "%s/weir.db", f->folder);
    weir_store_options_t options = { .path = f->path, .log_entries_max = log_entries_max };
    assert_int_equal(weir_store_migrate(&options, &done, &err), WEIR_OK);
    assert_int_equal(weir_store_open(&options, &f->store, &err), WEIR_OK);
    weir_encoder_options_t encoding = {
        .store = f->store,
        .payload_max = payload_max,
        .full_sync_threshold = threshold,
        .batch_bytes = FIXTURE_BATCH_BYTES,
        .kept_bytes = 16u * 1024 * 1024,
    };
    assert_int_equal(weir_encoder_new(&encoding, &f->encoder, &err), WEIR_OK);
    assert_int_equal(weir_registry_new(FIXTURE_PURGE_S, &f->registry, &err), WEIR_OK);
}

static inline void fixture_store_close(fixture_store_t *f)
{
    static const char *const files[] = { "", "-wal", "-shm" };
    char path[128];
    weir_encoder_free(f->encoder);
    weir_registry_free(f->registry);
    weir_store_close(f->store);
    for (size_t i = 0; i < WEIR_COUNT(files); i++) {
        snprintf(path, sizeof(path), "%s%s", f->path, files[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(f->folder), 0);
}

/* A consumer by number: made, or changed to `tag`, or deleted. */
static inline void fixture_id(unsigned number, weir_uuid_t *ret)
{
    *ret = (weir_uuid_t){ { 0, 0, 0, 0, 0, 0, 0x40, 0, 0x80, 0, 0, 0 } };
    for (int i = 0; i < 4; i++)
        ret->bytes[12 + i] = (uint8_t)(number >> 8 * (3 - i));
}

static inline uint64_t fixture_put(fixture_store_t *f, unsigned number, const char *tag)
{
    char text[WEIR_UUID_TEXT + 1];
    char json[65536 + 512];
    weir_uuid_t id;
    weir_error_t err = { 0 };
    fixture_id(number, &id);
    weir_uuid_format(&id, text);
    snprintf(json, sizeof(json),
             "{\"id\":\"%s\",\"username\":\"user-%u\",\"custom_id\":null,\"tags\":[\"%s\"],"
             "\"created_at\":1700000000,\"updated_at\":1700000000}",
             text, number, tag);
    weir_json_t *entity = fixture_json(json);
    weir_store_op_t op = { .kind = WEIR_STORE_PUT,
                           .type = weir_schema_named(WEIR_STR("consumers"))->type,
                           .id = id,
                           .entity = entity,
                           .expected = WEIR_EXPECT_ANYTHING };
    weir_store_result_t result;
    assert_int_equal(weir_store_write(f->store, &op, 1, &result, &err), WEIR_OK);
    weir_json_free(entity);
    return result.version;
}

static inline uint64_t fixture_delete(fixture_store_t *f, unsigned number)
{
    weir_error_t err = { 0 };
    weir_store_op_t op = { .kind = WEIR_STORE_DELETE,
                           .type = weir_schema_named(WEIR_STR("consumers"))->type,
                           .expected = WEIR_EXPECT_ANYTHING };
    fixture_id(number, &op.id);
    weir_store_result_t result;
    assert_int_equal(weir_store_write(f->store, &op, 1, &result, &err), WEIR_OK);
    return result.version;
}

/* -- a host of one session ------------------------------------------------------------------ */

typedef struct fixture_host {
    fixture_store_t *store;
    weir_session_t *session;
    weir_outbox_t out; /* to the peer */
    weir_want_t wants[FIXTURE_WANTS_MAX];
    size_t wants_count;
    char events[4096]; /* one line each */
} fixture_host_t;

static inline int fixture_host_send(void *context, weir_str_t bytes)
{
    return weir_outbox_put(&((fixture_host_t *)context)->out, bytes);
}

static inline int fixture_host_send_answer(void *context, weir_answer_t *answer)
{
    return weir_outbox_put_answer(&((fixture_host_t *)context)->out, answer);
}

static inline void fixture_host_want(void *context, const weir_want_t *want)
{
    fixture_host_t *host = context;
    assert_true(host->wants_count < FIXTURE_WANTS_MAX);
    host->wants[host->wants_count++] = *want;
}

static inline bool fixture_host_holds(void *context, uint64_t version)
{
    return weir_encoder_holds(((fixture_host_t *)context)->store->encoder, version);
}

static inline void fixture_host_event(void *context, const char *text)
{
    fixture_host_t *host = context;
    size_t len = strlen(host->events);
    snprintf(host->events + len, sizeof(host->events) - len, "%s\n", text);
}

static inline bool fixture_host_named(void *context, weir_str_t node_id)
{
    return weir_str_is(node_id, ((fixture_host_t *)context)->store->only);
}

static inline void fixture_host_open(fixture_host_t *host, fixture_store_t *store,
                                     const char *compat_version, int64_t now_ms)
{
    weir_error_t err = { 0 };
    *host = (fixture_host_t){ .store = store };
    weir_outbox_init(&host->out, 64u * 1024 * 1024);
    weir_session_options_t options = {
        .payload_max = FIXTURE_PAYLOAD_MAX,
        .compat_version = compat_version,
        .sync = true,
        .sync_v1 = store->sync_v1,
        .zstd = store->zstd,
        .digest_key = weir_store_digest_key(store->store),
        .counters = &store->counters,
        .holds = fixture_host_holds,
        .registry = store->registry,
        .ip = WEIR_STR("127.0.0.1"),
        .certificate_expiry_s = 1800000000,
        .context = host,
        .send = fixture_host_send,
        .send_answer = fixture_host_send_answer,
        .want = fixture_host_want,
        .named = store->only != NULL ? fixture_host_named : NULL,
        .event = fixture_host_event,
    };
    assert_int_equal(weir_session_new(&options, now_ms, &host->session, &err), WEIR_OK);
    weir_session_notify(host->session, weir_store_version(store->store), now_ms, NULL);
}

/* Answers the oldest wish. WEIR_CLOSED if the session ends with it. */
static inline int fixture_host_answer(fixture_host_t *host, int64_t now_ms)
{
    weir_error_t why = { 0 };
    weir_answer_t *answer = NULL;
    assert_true(host->wants_count > 0);
    weir_want_t want = host->wants[0];
    memmove(host->wants, host->wants + 1, --host->wants_count * sizeof(want));
    (void)weir_encoder_answer(host->store->encoder, &want, &answer, &why);
    int rc = weir_session_answer(host->session, &want, answer, &why, now_ms, NULL);
    weir_answer_release(answer);
    weir_want_release(&want);
    return rc;
}

static inline void fixture_host_close(fixture_host_t *host, int64_t now_ms)
{
    for (size_t i = 0; i < host->wants_count; i++)
        weir_want_release(&host->wants[i]);
    weir_session_free(host->session, now_ms);
    weir_outbox_release(&host->out);
    *host = (fixture_host_t){ 0 };
}

/* -- frames of a peer ------------------------------------------------------------------------ */

/* Appends a frame, masked as from a client if `mask`. */
static inline void fixture_frame(weir_buffer_t *out, unsigned opcode, bool mask, weir_str_t payload)
{
    static const uint8_t key[4] = { 1, 2, 3, 4 };
    uint8_t header[WEIR_FRAME_HEADER_MAX];
    size_t len = weir_frame_header((weir_opcode_t)opcode, payload.len, mask ? key : NULL, header);
    weir_buffer_append(out, (weir_str_t){ (char *)header, len });
    size_t at = out->len;
    weir_buffer_append(out, payload);
    if (mask && payload.len > 0)
        weir_frame_mask(out->data + at, payload.len, key);
    assert_int_equal(out->failed, WEIR_OK);
}

static inline void fixture_message(weir_buffer_t *out, bool mask, const char *json)
{
    WEIR_AUTO(buffer) weir_buffer_t block;
    weir_buffer_init(&block, 1 << 24);
    assert_int_equal(weir_codec_deflate(WEIR_CODEC_SNAPPY, weir_str(json), &block, NULL), WEIR_OK);
    fixture_frame(out, WEIR_FRAME_BINARY, mask, weir_buffer_str(&block));
}

static inline const char *fixture_hello(const char *version, bool report)
{
    static char text[512];
    snprintf(text, sizeof(text),
             "{\"jsonrpc\":\"2.0\",\"method\":\"kong.meta.v1.hello\",\"id\":1,\"params\":[{"
             "\"rpc_capabilities\":[\"kong.sync.v2\"%s],"
             "\"rpc_frame_encodings\":[\"x-snappy-framed\"],\"kong_version\":\"%s\","
             "\"kong_hostname\":\"dp\",\"kong_node_id\":\"" FIXTURE_NODE "\",\"kong_conf\":{"
             "\"cluster_dp_labels\":[\"env:test\"]}}]}",
             report ? ",\"weir.report.v1\"" : "", version);
    return text;
}

/* Everything that waits for the peer, as one run of bytes. The caller releases. */
static inline weir_buffer_t fixture_take(weir_outbox_t *outbox)
{
    weir_buffer_t bytes;
    weir_buffer_init(&bytes, 1u << 30);
    for (weir_str_t part; (part = weir_outbox_front(outbox)).len > 0;) {
        weir_buffer_append(&bytes, part);
        weir_outbox_advance(outbox, part.len);
    }
    assert_int_equal(bytes.failed, WEIR_OK);
    return bytes;
}

/* Describes frames as text, one a line: "close", "ping", JSON of a message. */
static inline void fixture_describe(weir_str_t bytes, bool first_plain, weir_buffer_t *out)
{
    weir_frame_reader_t *reader = NULL;
    weir_frame_t frame;
    weir_error_t err = { 0 };
    assert_int_equal(weir_frame_reader_new(false, 1u << 30, &reader, &err), WEIR_OK);
    int rc = WEIR_OK;
    while ((rc = weir_frame_next(reader, &bytes, &frame, &err)) == WEIR_OK) {
        weir_json_t *message = NULL;
        if (frame.opcode == WEIR_FRAME_CLOSE)
            weir_buffer_append(out, WEIR_STR("close"));
        else if (frame.opcode == WEIR_FRAME_PING)
            weir_buffer_append(out, WEIR_STR("ping"));
        else if (frame.opcode == WEIR_FRAME_PONG)
            weir_buffer_printf(out, "pong %zu", frame.payload.len);
        else if (first_plain)
            assert_int_equal(weir_json_parse(frame.payload, &message, &err), WEIR_OK);
        else
            assert_int_equal(
                weir_message_decode(WEIR_CODEC_SNAPPY, frame.payload, 1u << 30, &message, &err),
                WEIR_OK);
        if (message != NULL)
            weir_json_print(message, out);
        weir_json_free(message);
        weir_buffer_byte(out, '\n');
        first_plain = false;
    }
    assert_int_equal(rc, WEIR_AGAIN);
    weir_frame_reader_free(reader);
}

/* -- randomness that can be repeated ------------------------------------------------------------
 */

typedef struct fixture_random {
    uint64_t state;
} fixture_random_t;

static inline uint32_t fixture_next(fixture_random_t *random, uint32_t below)
{
    random->state = random->state * 6364136223846793005u + 1442695040888963407u;
    return below > 0 ? (uint32_t)(random->state >> 33) % below : 0;
}

#endif
