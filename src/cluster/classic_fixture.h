/* classic_fixture.h -- what the tests of the classic full sync share: rows in a store, a
 * host of one session, a data plane with one client, gzip. Included by tests only. */
#ifndef WEIR_CLASSIC_FIXTURE_H
#define WEIR_CLASSIC_FIXTURE_H

#include "cluster/classic.h"
#include "cluster/classic_client.h"
#include "cluster/classic_scan.h"
#include "cluster/fixture.h"

#include <openssl/evp.h>
#include <zlib.h>

/* The id of a row by its two decimal digits. */
#define FIXTURE_ID(hex) "00000000-0000-4000-8000-0000000000" #hex

#define FIXTURE_INFO                                                \
    "{\"type\":\"basic_info\",\"plugins\":[{\"name\":\"key-auth\"," \
    "\"version\":\"3.9.1\"}],\"filters\":{},\"labels\":{\"a\":\"b\"}}"

static inline void fixture_number_id(unsigned number, char out[WEIR_UUID_TEXT + 1])
{
    snprintf(out, WEIR_UUID_TEXT + 1, "00000000-0000-4000-8000-%012u", number);
}

static inline uint64_t fixture_put_row(fixture_store_t *f, weir_entity_type_t type, unsigned number,
                                       const char *members)
{
    char id[WEIR_UUID_TEXT + 1];
    char json[1024];
    weir_error_t err = { 0 };
    weir_store_result_t result;
    fixture_number_id(number, id);
    snprintf(json, sizeof(json), "{\"id\":\"%s\",%s}", id, members);
    weir_json_t *entity = fixture_json(json);
    weir_store_op_t op = {
        .kind = WEIR_STORE_PUT, .type = type, .entity = entity, .expected = WEIR_EXPECT_ANYTHING
    };
    assert_int_equal(weir_uuid_parse(weir_str(id), &op.id), WEIR_OK);
    assert_int_equal(weir_store_write(f->store, &op, 1, &result, &err), WEIR_OK);
    weir_json_free(entity);
    return result.version;
}

/* -- gzip ---------------------------------------------------------------------------------- */

static inline int fixture_gather(void *context, weir_str_t bytes, weir_error_t *err)
{
    (void)err;
    return weir_buffer_append(context, bytes);
}

static inline weir_json_t *fixture_unpack(weir_str_t payload)
{
    weir_json_t *message = NULL;
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 1u << 30);
    assert_int_equal(weir_scan_inflate(payload, 1u << 30, fixture_gather, &text, NULL), WEIR_OK);
    assert_int_equal(weir_json_parse(weir_buffer_str(&text), &message, NULL), WEIR_OK);
    return message;
}

/* The push of what `store` has, as a data plane of `level` gets it; the caller frees it. */
static inline weir_json_t *fixture_exported(fixture_store_t *store, int64_t level, char hash[33])
{
    weir_classic_exporter_t *exporter = NULL;
    weir_classic_frame_t *frame = NULL;
    weir_error_t err = { 0 };
    weir_classic_exporter_options_t options = { store->store, FIXTURE_PAYLOAD_MAX };
    assert_int_equal(weir_classic_exporter_new(&options, &exporter, &err), WEIR_OK);
    assert_int_equal(weir_classic_export(exporter, level, 0, 1700000000123, &frame, &err), WEIR_OK);
    weir_json_t *push = fixture_unpack(weir_classic_frame_payload(frame));
    snprintf(hash, 33, "%s", weir_classic_frame_hash(frame));
    assert_true(weir_str_is(weir_json_get_string(push, "config_hash", WEIR_STR("")), hash));
    weir_classic_frame_release(frame);
    weir_classic_exporter_free(exporter);
    return push;
}

static inline void fixture_gzip(weir_str_t text, weir_buffer_t *out)
{
    z_stream stream = { 0 };
    assert_int_equal(deflateInit2(&stream, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t most = deflateBound(&stream, text.len) + 64;
    char *room = weir_buffer_reserve(out, most);
    assert_non_null(room);
    stream.next_in = (Bytef *)(uintptr_t)text.data;
    stream.avail_in = (uInt)text.len;
    stream.next_out = (Bytef *)room;
    stream.avail_out = (uInt)most;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out->len += most - stream.avail_out;
    deflateEnd(&stream);
}

/* -- a host of one session -------------------------------------------------------------------- */

typedef struct fixture_classic {
    fixture_store_t *store;
    weir_classic_session_t *session;
    weir_classic_exporter_t *exporter;
    weir_buffer_t out; /* to the peer, as bytes */
    weir_classic_want_t want;
    int wants;
    bool busy;
    char hash[WEIR_CLASSIC_HASH + 1]; /* of the last push */
    char sent[8192];
} fixture_classic_t;

static inline int fixture_classic_bytes(void *context, weir_str_t bytes)
{
    return weir_buffer_append(&((fixture_classic_t *)context)->out, bytes);
}

static inline int fixture_classic_frame(void *context, weir_classic_frame_t *frame)
{
    fixture_classic_t *host = context;
    snprintf(host->hash, sizeof(host->hash), "%s", weir_classic_frame_hash(frame));
    return weir_buffer_append(&host->out, weir_classic_frame_payload(frame));
}

static inline bool fixture_classic_busy(void *context)
{
    return ((fixture_classic_t *)context)->busy;
}

static inline void fixture_classic_want(void *context, const weir_classic_want_t *want)
{
    fixture_classic_t *host = context;
    host->want = *want;
    host->wants++;
}

static inline void fixture_classic_event(void *context, const char *text)
{
    (void)context;
    assert_true(strlen(text) > 0);
}

static inline void fixture_classic_open(fixture_classic_t *host, fixture_store_t *store,
                                        const char *version, int64_t now_ms)
{
    *host = (fixture_classic_t){ .store = store };
    weir_buffer_init(&host->out, 1u << 30);
    weir_classic_exporter_options_t exporting = { store->store, FIXTURE_PAYLOAD_MAX };
    assert_int_equal(weir_classic_exporter_new(&exporting, &host->exporter, NULL), WEIR_OK);
    weir_classic_session_options_t options = {
        .query = { WEIR_STR(FIXTURE_NODE), WEIR_STR("dp"), weir_str(version) },
        .payload_max = FIXTURE_PAYLOAD_MAX,
        .compat_version = "3.9.1",
        .registry = store->registry,
        .ip = WEIR_STR("127.0.0.1"),
        .certificate_expiry_s = 1800000000,
        .context = host,
        .send = fixture_classic_bytes,
        .send_frame = fixture_classic_frame,
        .busy = fixture_classic_busy,
        .want = fixture_classic_want,
        .event = fixture_classic_event,
    };
    assert_int_equal(weir_classic_session_new(&options, now_ms, &host->session, NULL), WEIR_OK);
    weir_classic_session_push(host->session, weir_store_version(store->store), now_ms);
}

static inline void fixture_classic_close(fixture_classic_t *host, int64_t now_ms)
{
    weir_classic_session_free(host->session, now_ms);
    weir_classic_exporter_free(host->exporter);
    weir_buffer_release(&host->out);
}

static inline int fixture_classic_give(fixture_classic_t *host, unsigned opcode, weir_str_t payload,
                                       int64_t now_ms)
{
    WEIR_AUTO(buffer) weir_buffer_t bytes;
    weir_buffer_init(&bytes, 1u << 26);
    fixture_frame(&bytes, opcode, true, payload);
    return weir_classic_session_input(host->session, weir_buffer_str(&bytes), now_ms, NULL);
}

static inline int fixture_classic_say(fixture_classic_t *host, unsigned opcode, const char *payload,
                                      int64_t now_ms)
{
    return fixture_classic_give(host, opcode, weir_str(payload), now_ms);
}

/* Gives the wanted frame. */
static inline int fixture_classic_answer(fixture_classic_t *host, int64_t now_ms)
{
    weir_error_t why = { 0 };
    weir_classic_frame_t *frame = NULL;
    assert_int_equal(host->wants, 1);
    host->wants--;
    (void)weir_classic_export(host->exporter, host->want.level, host->want.version, now_ms, &frame,
                              &why);
    int rc = weir_classic_session_frame(host->session, frame, &why, now_ms, NULL);
    weir_classic_frame_release(frame);
    return rc;
}

/* What was sent since, one frame a line. */
static inline const char *fixture_classic_sent(fixture_classic_t *host)
{
    weir_frame_reader_t *reader = NULL;
    weir_frame_t frame;
    weir_str_t bytes = weir_buffer_str(&host->out);
    size_t len = 0;
    host->sent[0] = '\0';
    assert_int_equal(weir_frame_reader_new(false, 1u << 30, &reader, NULL), WEIR_OK);
    while (weir_frame_next(reader, &bytes, &frame, NULL) == WEIR_OK) {
        const char *name = frame.opcode == WEIR_FRAME_CLOSE  ? "close"
                           : frame.opcode == WEIR_FRAME_PONG ? "pong"
                                                             : "push";
        len += (size_t)snprintf(host->sent + len, sizeof(host->sent) - len, "%s\n", name);
    }
    weir_frame_reader_free(reader);
    weir_buffer_clear(&host->out);
    return host->sent;
}

/* -- a data plane with one client ----------------------------------------------------------------
 */

typedef struct fixture_plane {
    weir_classic_client_t *client;
    weir_buffer_t out;  /* to the peer, as bytes */
    weir_json_t *table; /* of the last push: {type: [rows]} */
    size_t applied, rows;
    int fails; /* what apply() returns, if not WEIR_OK */
    char pings[1024];
} fixture_plane_t;

static inline int fixture_plane_send(void *context, weir_str_t bytes)
{
    return weir_buffer_append(&((fixture_plane_t *)context)->out, bytes);
}

static inline int fixture_plane_random(void *context, uint8_t *bytes, size_t count)
{
    (void)context;
    memset(bytes, 7, count);
    return WEIR_OK;
}

static inline int fixture_plane_row(void *context, weir_str_t type, const weir_json_t *row,
                                    weir_error_t *err)
{
    fixture_plane_t *plane = context;
    char name[WEIR_SCAN_NAME_MAX + 1];
    (void)err;
    snprintf(name, sizeof(name), "%.*s", WEIR_STR_ARG(type));
    if (weir_json_get(plane->table, name) == NULL)
        assert_int_equal(weir_json_set(plane->table, name, weir_json_new_array()), WEIR_OK);
    plane->rows++;
    return weir_json_append(weir_json_get_mutable(plane->table, name), weir_json_copy(row));
}

static inline int fixture_plane_apply(void *context, const weir_classic_update_t *update,
                                      weir_error_t *err)
{
    fixture_plane_t *plane = context;
    if (plane->fails != WEIR_OK)
        return weir_error_set(err, plane->fails, NULL, "as the test wants it");
    weir_json_free(plane->table);
    plane->table = weir_json_new_object();
    plane->rows = 0;
    int rc = weir_classic_read_rows(update->payload, update->inflated_max, update->head,
                                    fixture_plane_row, plane, err);
    plane->applied += rc == WEIR_OK;
    return rc;
}

static inline void fixture_plane_event(void *context, const char *text)
{
    (void)context;
    assert_true(strlen(text) > 0);
}

/* Connected and upgraded; basic_info and the first ping wait to be carried. */
static inline void fixture_plane_open(fixture_plane_t *plane, int64_t now_ms)
{
    static const char *const plugins[] = { "key-auth", NULL };
    *plane = (fixture_plane_t){ 0 };
    weir_buffer_init(&plane->out, 1u << 26);
    weir_classic_client_options_t options = {
        .host = "127.0.0.1:8005",
        .node_id = WEIR_STR(FIXTURE_NODE),
        .hostname = "dp",
        .compat_version = "3.9.1",
        .plugins = plugins,
        .payload_max = FIXTURE_PAYLOAD_MAX,
        .context = plane,
        .send = fixture_plane_send,
        .random = fixture_plane_random,
        .apply = fixture_plane_apply,
        .event = fixture_plane_event,
    };
    char key[32];
    char text[128];
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned char accept[64];
    unsigned len = 0;
    assert_int_equal(weir_classic_client_new(&options, &plane->client, NULL), WEIR_OK);
    assert_int_equal(weir_classic_client_connected(plane->client, now_ms, NULL), WEIR_OK);
    EVP_EncodeBlock((unsigned char *)key, (const unsigned char *)"\7\7\7\7\7\7\7\7\7\7\7\7\7\7\7\7",
                    16);
    snprintf(text, sizeof(text), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    EVP_Digest(text, strlen(text), digest, &len, EVP_sha1(), NULL);
    EVP_EncodeBlock(accept, digest, (int)len);
    snprintf(text, sizeof(text), "HTTP/1.1 101 S\r\nSec-WebSocket-Accept: %s\r\n\r\n",
             (const char *)accept);
    weir_buffer_clear(&plane->out);
    assert_int_equal(weir_classic_client_input(plane->client, weir_str(text), now_ms, NULL),
                     WEIR_OK);
    assert_true(weir_classic_client_ready(plane->client));
}

static inline void fixture_plane_close(fixture_plane_t *plane)
{
    weir_classic_client_free(plane->client);
    weir_json_free(plane->table);
    weir_buffer_release(&plane->out);
}

/* Hashes of the pings that it sent since, one a line. */
static inline const char *fixture_plane_pings(fixture_plane_t *plane)
{
    weir_frame_reader_t *reader = NULL;
    weir_frame_t frame;
    weir_str_t bytes = weir_buffer_str(&plane->out);
    size_t len = 0;
    plane->pings[0] = '\0';
    assert_int_equal(weir_frame_reader_new(true, 1u << 26, &reader, NULL), WEIR_OK);
    while (weir_frame_next(reader, &bytes, &frame, NULL) == WEIR_OK)
        if (frame.opcode == WEIR_FRAME_PING)
            len += (size_t)snprintf(plane->pings + len, sizeof(plane->pings) - len, "%.*s\n",
                                    WEIR_STR_ARG(frame.payload));
    weir_frame_reader_free(reader);
    weir_buffer_clear(&plane->out);
    return plane->pings;
}

/* A frame to it, and a tick. What it says before is dropped. */
static inline int fixture_plane_give(fixture_plane_t *plane, unsigned opcode, weir_str_t payload,
                                     int64_t now_ms)
{
    WEIR_AUTO(buffer) weir_buffer_t bytes;
    weir_buffer_init(&bytes, 1u << 26);
    fixture_frame(&bytes, opcode, false, payload);
    weir_buffer_clear(&plane->out);
    int rc = weir_classic_client_input(plane->client, weir_buffer_str(&bytes), now_ms, NULL);
    return rc == WEIR_OK ? weir_classic_client_tick(plane->client, now_ms, NULL) : rc;
}

static inline int fixture_plane_push(fixture_plane_t *plane, const char *text, int64_t now_ms)
{
    WEIR_AUTO(buffer) weir_buffer_t payload;
    weir_buffer_init(&payload, 1u << 26);
    fixture_gzip(weir_str(text), &payload);
    return fixture_plane_give(plane, WEIR_FRAME_BINARY, weir_buffer_str(&payload), now_ms);
}

/* Carries bytes both ways until there is nothing more to say. */
static inline void fixture_join(fixture_classic_t *host, fixture_plane_t *plane, int64_t now_ms)
{
    while (plane->out.len > 0 || host->out.len > 0 || host->wants > 0) {
        weir_buffer_t up = plane->out;
        weir_buffer_init(&plane->out, 1u << 26);
        assert_int_equal(
            weir_classic_session_input(host->session, weir_buffer_str(&up), now_ms, NULL), WEIR_OK);
        weir_buffer_release(&up);
        while (host->wants > 0)
            assert_int_equal(fixture_classic_answer(host, now_ms), WEIR_OK);
        weir_buffer_t down = host->out;
        weir_buffer_init(&host->out, 1u << 30);
        assert_int_equal(
            weir_classic_client_input(plane->client, weir_buffer_str(&down), now_ms, NULL),
            WEIR_OK);
        assert_int_equal(weir_classic_client_tick(plane->client, now_ms, NULL), WEIR_OK);
        weir_buffer_release(&down);
    }
}

#endif
