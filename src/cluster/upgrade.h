/* upgrade.h -- a data plane's request for an upgrade to WebSocket, and the answer to
 * it (sync-protocol A.2). */
#ifndef WEIR_UPGRADE_H
#define WEIR_UPGRADE_H

#include "base/buffer.h"

enum {
    WEIR_UPGRADE_KEY = 24,           /* 16 bytes in base64 */
    WEIR_UPGRADE_ANSWER_MAX = 16384, /* bytes of the answer's head */
};

typedef struct weir_upgrade {
    char key[WEIR_UPGRADE_KEY + 1];
    weir_buffer_t head; /* of the answer, as far as it is there */
    int status;         /* of the answer, 0 before it is there */
} weir_upgrade_t;

void weir_upgrade_init(weir_upgrade_t *upgrade);
void weir_upgrade_release(weir_upgrade_t *upgrade);

/* Appends the request for `target` at `host`; `protocol` NULL: none is offered.
 * `random`: 16 bytes. Forgets an earlier answer. */
int weir_upgrade_request(weir_upgrade_t *upgrade, const uint8_t random[16], const char *host,
                         const char *target, const char *protocol, weir_buffer_t *out);
/* Takes of *bytes what belongs to the head of the answer. WEIR_OK: upgraded;
 * WEIR_AGAIN: more is needed; WEIR_CLOSED: refused, err->reason says why and
 * upgrade->status with what status, if it came to that. `protocol`: what must be
 * agreed upon, NULL: anything. */
int weir_upgrade_answer(weir_upgrade_t *upgrade, const char *protocol, weir_str_t *bytes,
                        weir_error_t *err);

#endif
