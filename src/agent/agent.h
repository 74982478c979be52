/* agent.h -- the sync agent: the control plane's deltas into the image.
 *
 * The only writer of the image, never in the path of traffic. One thread, one
 * poll loop. If it dies it is started again; if the control plane is away, it
 * tries again with jitter, and the workers serve the last committed image. */
#ifndef WEIR_AGENT_H
#define WEIR_AGENT_H

#include "base/settings.h"

/* Runs until *stop is set (by a signal handler). Logs by base/log.h, which the
 * caller has opened. WEIR_OK after a stop; else why it could not begin. */
int weir_agent_run(const weir_settings_t *settings, volatile int *stop, volatile int *reopen,
                   weir_error_t *err);

#endif
