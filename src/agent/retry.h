/* retry.h -- when a data plane connects again. Used by the agent and by the fleet
 * simulator, whose herds must be those of real agents. */
#ifndef WEIR_AGENT_RETRY_H
#define WEIR_AGENT_RETRY_H

#include <stdint.h>

enum {
    RETRY_CONNECT_MS = 5000, /* a connection and its TLS handshake: after that it failed */
    RETRY_FIRST_MS = 100,    /* the first try after a loss comes soon */
    RETRY_MIN_MS = 500,
    RETRY_MAX_MS = 10000, /* as the original's ten seconds */
};

/* Milliseconds to wait after `tries` failures since the last success, spread by a
 * random number so that a fleet does not come back as one. */
static inline int64_t retry_delay_ms(unsigned tries, uint32_t random)
{
    if (tries == 0)
        return RETRY_FIRST_MS + random % RETRY_FIRST_MS;
    int64_t most = (int64_t)RETRY_MIN_MS << (tries < 6 ? tries : 6);
    return RETRY_MIN_MS + random % (most < RETRY_MAX_MS ? most : RETRY_MAX_MS);
}

#endif
