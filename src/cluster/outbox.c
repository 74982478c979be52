/* outbox.c -- what waits to be written to one data plane. */
#include "cluster/outbox.h"

enum {
    WRITE_BYTES_MAX = 16384, /* one TLS record */
    PIECE_BYTES_MIN = 4096,  /* room for the pieces that follow a short one */
    ANSWER_COPY_MAX = 16384, /* answers up to this are copied */
};

struct weir_outbox_piece {
    weir_outbox_piece_t *next;
    void *owner; /* of the bytes; NULL: they are behind this struct */
    void (*release)(void *owner);
    weir_str_t bytes; /* not yet written */
    size_t room;      /* behind them */
    bool handed_out;  /* nothing may be added any more */
};

void weir_outbox_init(weir_outbox_t *outbox, size_t bytes_max)
{
    *outbox = (weir_outbox_t){ .bytes_max = bytes_max };
}

static void drop_first(weir_outbox_t *outbox)
{
    weir_outbox_piece_t *piece = outbox->first;
    outbox->first = piece->next;
    if (outbox->first == NULL)
        outbox->last = NULL;
    if (piece->owner != NULL)
        piece->release(piece->owner);
    weir_free(piece);
}

void weir_outbox_release(weir_outbox_t *outbox)
{
    while (outbox->first != NULL)
        drop_first(outbox);
    outbox->bytes = 0;
}

static weir_outbox_piece_t *add_piece(weir_outbox_t *outbox, size_t room)
{
    weir_outbox_piece_t *piece = weir_malloc(sizeof(*piece) + room);
    if (piece == NULL)
        return NULL;
    *piece = (weir_outbox_piece_t){ .bytes = { (char *)(piece + 1), 0 }, .room = room };
    if (outbox->last != NULL)
        outbox->last->next = piece;
    else
        outbox->first = piece;
    outbox->last = piece;
    return piece;
}

static bool has_room(const weir_outbox_t *outbox, size_t bytes)
{
    return outbox->bytes <= outbox->bytes_max && bytes <= outbox->bytes_max - outbox->bytes;
}

int weir_outbox_put(weir_outbox_t *outbox, weir_str_t bytes)
{
    if (!has_room(outbox, bytes.len))
        return WEIR_TOO_LARGE;
    weir_outbox_piece_t *piece = outbox->last;
    if (piece == NULL || piece->owner != NULL || piece->handed_out || piece->room < bytes.len)
        piece = add_piece(outbox, bytes.len < PIECE_BYTES_MIN ? PIECE_BYTES_MIN : bytes.len);
    if (piece == NULL)
        return WEIR_NO_MEMORY;
    if (bytes.len > 0)
        memcpy((char *)piece->bytes.data + piece->bytes.len, bytes.data, bytes.len);
    piece->bytes.len += bytes.len;
    piece->room -= bytes.len;
    outbox->bytes += bytes.len;
    return WEIR_OK;
}

int weir_outbox_put_shared(weir_outbox_t *outbox, weir_str_t bytes, void *owner,
                           void (*release)(void *owner))
{
    if (!has_room(outbox, bytes.len))
        return WEIR_TOO_LARGE;
    weir_outbox_piece_t *piece = add_piece(outbox, 0);
    if (piece == NULL)
        return WEIR_NO_MEMORY;
    piece->owner = owner;
    piece->release = release;
    piece->bytes = bytes;
    outbox->bytes += bytes.len;
    return WEIR_OK;
}

static void release_answer(void *owner)
{
    weir_answer_release(owner);
}

int weir_outbox_put_answer(weir_outbox_t *outbox, weir_answer_t *answer)
{
    uint64_t uncompressed = 0;
    weir_str_t bytes = weir_answer_elements(answer, &uncompressed);
    if (bytes.len <= ANSWER_COPY_MAX)
        return weir_outbox_put(outbox, bytes);
    weir_answer_t *kept = weir_answer_keep(answer);
    int rc = weir_outbox_put_shared(outbox, bytes, kept, release_answer);
    if (rc != WEIR_OK)
        weir_answer_release(kept);
    return rc;
}

weir_str_t weir_outbox_front(weir_outbox_t *outbox)
{
    while (outbox->first != NULL && outbox->first->bytes.len == 0)
        drop_first(outbox);
    weir_outbox_piece_t *piece = outbox->first;
    if (piece == NULL)
        return (weir_str_t){ "", 0 };
    piece->handed_out = true;
    size_t len = piece->bytes.len < WRITE_BYTES_MAX ? piece->bytes.len : WRITE_BYTES_MAX;
    return (weir_str_t){ piece->bytes.data, len };
}

void weir_outbox_advance(weir_outbox_t *outbox, size_t bytes)
{
    weir_outbox_piece_t *piece = outbox->first;
    weir_assert(piece != NULL && bytes <= piece->bytes.len);
    piece->bytes = (weir_str_t){ piece->bytes.data + bytes, piece->bytes.len - bytes };
    outbox->bytes -= bytes;
    if (piece->bytes.len == 0)
        drop_first(outbox);
}
