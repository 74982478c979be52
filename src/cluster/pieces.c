/* pieces.c -- messages that are made of pieces: short texts of a session's own, and what
 * the encoder has compressed for all (codec.h, "pieces of a block"). */
#include "cluster/internal.h"

#include "base/json.h"

enum { HEAD_BYTES_MAX = 8192 };

/* A message of pieces: short texts, written as they are, and what the encoder
 * has compressed (message.h, "shared encodings"). */
typedef struct pieces {
    weir_session_t *session;
    bool measuring; /* the lengths first: the frame begins with them */
    uint64_t uncompressed, compressed;
    int rc;
} pieces_t;

static void put_bytes(pieces_t *p, weir_str_t bytes)
{
    p->compressed += bytes.len;
    if (!p->measuring && p->rc == WEIR_OK)
        p->rc = p->session->options.send(p->session->options.context, bytes);
}

static void put_text(pieces_t *p, weir_str_t text)
{
    WEIR_AUTO(buffer) weir_buffer_t literal;
    weir_buffer_init(&literal, 2 * text.len + 1024);
    if (weir_elements_literal(p->session->codec, text, &literal) != WEIR_OK)
        p->rc = literal.failed;
    p->uncompressed += text.len;
    put_bytes(p, weir_buffer_str(&literal));
}

static void put_elements(pieces_t *p, weir_answer_t *answer)
{
    uint64_t uncompressed = 0;
    weir_str_t elements = weir_answer_elements(answer, &uncompressed);
    p->uncompressed += uncompressed;
    p->compressed += elements.len;
    if (!p->measuring && p->rc == WEIR_OK)
        p->rc = p->session->options.send_answer(p->session->options.context, answer);
}

/* As the result of a call; without an id it is a whole message by itself. */
static void put_answer(pieces_t *p, const weir_json_t *id, weir_answer_t *answer)
{
    if (id == NULL) {
        put_elements(p, answer);
        return;
    }
    WEIR_AUTO(buffer) weir_buffer_t head;
    weir_buffer_init(&head, HEAD_BYTES_MAX);
    weir_buffer_append(&head, WEIR_STR("{\"jsonrpc\":\"2.0\",\"id\":"));
    weir_json_print(id, &head);
    if (weir_buffer_append(&head, WEIR_STR(",\"result\":")) != WEIR_OK)
        p->rc = head.failed;
    put_text(p, weir_buffer_str(&head));
    put_elements(p, answer);
    put_text(p, WEIR_STR("}"));
}

static void put_slot(pieces_t *p, const batch_slot_t *slot)
{
    if (slot->answer != NULL) {
        put_answer(p, slot->id, slot->answer);
        return;
    }
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, p->session->options.payload_max);
    if (weir_json_print(slot->message, &text) != WEIR_OK)
        p->rc = text.failed;
    put_text(p, weir_buffer_str(&text));
}

/* One slot is a message of its own, a batch an array of all. */
static void put_message(pieces_t *p, const batch_slot_t *slots, size_t count, bool array)
{
    if (array)
        put_text(p, WEIR_STR("["));
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            put_text(p, WEIR_STR(","));
        put_slot(p, &slots[i]);
    }
    if (array)
        put_text(p, WEIR_STR("]"));
}

int session_send_pieces(weir_session_t *s, const batch_slot_t *slots, size_t count, bool array,
                        weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t head;
    pieces_t measure = { .session = s, .measuring = true };
    put_message(&measure, slots, count, array);
    weir_buffer_init(&head, 16);
    weir_elements_length(s->codec, measure.uncompressed, &head);
    uint64_t len = head.len + measure.compressed;
    if (measure.rc != WEIR_OK || head.failed != WEIR_OK)
        return session_close(s, err, "out of memory for an answer");
    if (len > s->options.payload_max)
        return WEIR_TOO_LARGE;
    pieces_t p = { .session = s, .rc = weir_websocket_send_head(&s->socket, len, err) };
    put_bytes(&p, weir_buffer_str(&head));
    put_message(&p, slots, count, array);
    if (s->options.counters != NULL)
        s->options.counters->messages_out++;
    return p.rc == WEIR_OK ? WEIR_OK : weir_websocket_overflow(&s->socket, err);
}
