/* frame.c -- WebSocket frames, read by wslay's frame layer. */
#include "cluster/frame.h"

#include <wslay/wslay.h>

/* A full set must not stay in memory for as long as the connection. */
enum { KEPT_BYTES_MAX = 4096 };

struct weir_frame_reader {
    wslay_frame_context_ptr frames;
    weir_str_t input; /* of the call at work */
    weir_buffer_t payload;
    uint64_t expected; /* bytes of the payload in all */
    weir_opcode_t opcode;
    bool fin, inside, delivered, masked;
};

static ssize_t receive(uint8_t *out, size_t len, int flags, void *user)
{
    (void)flags;
    weir_frame_reader_t *reader = user;
    size_t take = len < reader->input.len ? len : reader->input.len;
    if (take == 0)
        return -1; /* more input is needed */
    memcpy(out, reader->input.data, take);
    reader->input = (weir_str_t){ reader->input.data + take, reader->input.len - take };
    return (ssize_t)take;
}

int weir_frame_reader_new(bool masked, size_t payload_max, weir_frame_reader_t **ret,
                          weir_error_t *err)
{
    static const struct wslay_frame_callbacks callbacks = { .recv_callback = receive };
    weir_frame_reader_t *reader = weir_calloc(1, sizeof(*reader));
    if (reader == NULL)
        return weir_error_memory(err);
    reader->masked = masked;
    weir_buffer_init(&reader->payload, payload_max);
    if (wslay_frame_context_init(&reader->frames, &callbacks, reader) != 0) {
        weir_free(reader);
        return weir_error_memory(err);
    }
    *ret = reader;
    return WEIR_OK;
}

void weir_frame_reader_free(weir_frame_reader_t *reader)
{
    if (reader == NULL)
        return;
    wslay_frame_context_free(reader->frames);
    weir_buffer_release(&reader->payload);
    weir_free(reader);
}

static bool known_opcode(unsigned opcode)
{
    return opcode <= WEIR_FRAME_BINARY || (opcode >= WEIR_FRAME_CLOSE && opcode <= WEIR_FRAME_PONG);
}

/* The first bytes of a frame are there: may it be? */
static int begin(weir_frame_reader_t *reader, const struct wslay_frame_iocb *io, weir_error_t *err)
{
    if (io->rsv != 0)
        return weir_error_set(err, WEIR_INVALID, NULL, "a frame with reserved bits");
    if (!known_opcode(io->opcode))
        return weir_error_set(err, WEIR_INVALID, NULL, "a frame with opcode %u", io->opcode);
    if (reader->masked && !io->mask)
        return weir_error_set(err, WEIR_INVALID, NULL, "a frame that is not masked");
    if (io->opcode >= WEIR_FRAME_CLOSE && (io->payload_length > 125 || !io->fin))
        return weir_error_set(err, WEIR_INVALID, NULL, "a control frame that is too long");
    if (io->payload_length > reader->payload.len_max)
        return weir_error_set(err, WEIR_TOO_LARGE, "cluster_max_payload",
                              "a frame of %llu bytes, more than %zu",
                              (unsigned long long)io->payload_length, reader->payload.len_max);
    reader->opcode = (weir_opcode_t)io->opcode;
    reader->fin = io->fin;
    reader->expected = io->payload_length;
    reader->inside = true;
    return WEIR_OK;
}

static void drop_payload(weir_frame_reader_t *reader)
{
    reader->delivered = false;
    if (reader->payload.capacity <= KEPT_BYTES_MAX)
        weir_buffer_clear(&reader->payload);
    else
        weir_buffer_release(&reader->payload);
}

int weir_frame_next(weir_frame_reader_t *reader, weir_str_t *bytes, weir_frame_t *ret,
                    weir_error_t *err)
{
    if (reader->delivered)
        drop_payload(reader);
    reader->input = *bytes;
    int rc = WEIR_AGAIN;
    while (rc == WEIR_AGAIN) {
        struct wslay_frame_iocb io = { 0 };
        ssize_t got = wslay_frame_recv(reader->frames, &io);
        if (got == WSLAY_ERR_WANT_READ)
            break;
        if (got < 0) {
            rc = weir_error_set(err, WEIR_INVALID, NULL, "broken framing");
            break;
        }
        int begun = reader->inside ? WEIR_OK : begin(reader, &io, err);
        if (begun != WEIR_OK) {
            rc = begun;
            break;
        }
        if (weir_buffer_append(&reader->payload,
                               (weir_str_t){ (const char *)io.data, io.data_length }) != WEIR_OK)
            rc = weir_error_memory(err);
        else if (reader->payload.len == reader->expected)
            rc = WEIR_OK;
    }
    /* wslay reads ahead only into its own small buffer; what is in `input` is not
     * used yet. */
    *bytes = reader->input;
    if (rc == WEIR_OK) {
        *ret = (weir_frame_t){ reader->opcode, reader->fin, weir_buffer_str(&reader->payload) };
        reader->inside = false;
        reader->delivered = true;
    }
    return rc;
}

size_t weir_frame_header(weir_opcode_t opcode, uint64_t len, const uint8_t *mask,
                         uint8_t out[WEIR_FRAME_HEADER_MAX])
{
    uint8_t masked = mask != NULL ? 0x80 : 0;
    size_t at = 0;
    out[at++] = (uint8_t)(0x80 | opcode);
    size_t more = len < 126 ? 0 : len <= 0xffff ? 2 : 8;
    out[at++] = (uint8_t)(masked | (more == 0 ? len : more == 2 ? 126 : 127));
    for (size_t i = 0; i < more; i++)
        out[at++] = (uint8_t)(len >> 8 * (more - 1 - i));
    if (mask != NULL) {
        memcpy(out + at, mask, 4);
        at += 4;
    }
    return at;
}

void weir_frame_mask(char *data, size_t len, const uint8_t mask[4])
{
    for (size_t i = 0; i < len; i++)
        data[i] = (char)((uint8_t)data[i] ^ mask[i & 3]);
}
