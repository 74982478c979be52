/* frame.h -- WebSocket frames as the cluster speaks them (sync-protocol A.3).
 *
 * One message is one frame; reading goes on where it stopped, so a sender that
 * stalls in mid-frame does no harm. */
#ifndef WEIR_FRAME_H
#define WEIR_FRAME_H

#include "base/buffer.h"

typedef enum weir_opcode {
    WEIR_FRAME_CONTINUATION = 0,
    WEIR_FRAME_TEXT = 1,
    WEIR_FRAME_BINARY = 2,
    WEIR_FRAME_CLOSE = 8,
    WEIR_FRAME_PING = 9,
    WEIR_FRAME_PONG = 10,
} weir_opcode_t;

typedef struct weir_frame {
    weir_opcode_t opcode;
    bool fin;
    weir_str_t payload; /* unmasked; until the next call with the reader */
} weir_frame_t;

typedef struct weir_frame_reader weir_frame_reader_t;

/* `masked`: frames must be masked (a server); else they may be, though none should
 * (A.3). `payload_max`: as on the wire. */
int weir_frame_reader_new(bool masked, size_t payload_max, weir_frame_reader_t **ret,
                          weir_error_t *err);
void weir_frame_reader_free(weir_frame_reader_t *reader);

/* Takes from *bytes what it can use and makes the next whole frame of it.
 * WEIR_OK: *ret is one (call again: there may be more). WEIR_AGAIN: all used, no
 * whole frame yet. WEIR_INVALID: broken framing. WEIR_TOO_LARGE: payload_max. */
int weir_frame_next(weir_frame_reader_t *reader, weir_str_t *bytes, weir_frame_t *ret,
                    weir_error_t *err);

enum { WEIR_FRAME_HEADER_MAX = 14 };

/* The bytes before a payload of `len` bytes. With `mask` (4 bytes) the payload is
 * to be masked by weir_frame_mask(). Returns their number. */
size_t weir_frame_header(weir_opcode_t opcode, uint64_t len, const uint8_t *mask,
                         uint8_t out[WEIR_FRAME_HEADER_MAX]);
void weir_frame_mask(char *data, size_t len, const uint8_t mask[4]);

#endif
