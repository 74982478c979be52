/* probe.h -- what an active check says and hears (routing 10). Knows no sockets. */
#ifndef WEIR_BALANCE_PROBE_H
#define WEIR_BALANCE_PROBE_H

#include "base/buffer.h"
#include "image/image.h"

enum {
    WEIR_PROBE_STATUS_BYTES = 12,         /* "HTTP/1.1 200": all that is read */
    WEIR_PROBE_REQUEST_BYTES_MAX = 65536, /* of a request */
};

/* "GET ..." with the configured headers. WEIR_TOO_LARGE, WEIR_NO_MEMORY. */
int weir_probe_request(const weir_probes_t *probes, weir_str_t host, weir_buffer_t *out);
/* The status in the first bytes of an answer; 0: more of them are needed; -1: this is no
 * HTTP. */
int weir_probe_status(weir_str_t received);

#endif
