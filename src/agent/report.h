/* report.h -- PREFIX/agent.json, which the agent writes (status.h), for those who read it:
 * the status endpoint and `weir sync status`. What is missing in it, or of another kind,
 * is as if it were not known: the agent may be of another build. */
#ifndef WEIR_AGENT_REPORT_H
#define WEIR_AGENT_REPORT_H

#include "base/buffer.h"
#include "base/process.h"
#include "weir/json.h"

enum { WEIR_AGENT_REPORT_BYTES_MAX = 256 * 1024 };

typedef struct weir_agent_report {
    weir_json_t *said; /* NULL: nothing (yet) */
    bool runs;         /* the process that wrote it is there, and is an agent */
    weir_process_t process;
} weir_agent_report_t;

/* One small read of PREFIX/agent.json, a look at the process. What cannot be read or is no
 * JSON object leaves `said` NULL. */
void weir_agent_report_read(const char *prefix, weir_agent_report_t *ret);
void weir_agent_report_release(weir_agent_report_t *report); /* zeroed is fine */

/* The `sync` member of /status: an object. Returns out->failed. */
int weir_agent_report_print(const weir_agent_report_t *report, weir_buffer_t *out);
/* weir_agent_..., in the text form of Prometheus. Returns out->failed. */
int weir_agent_report_metrics(const weir_agent_report_t *report, weir_buffer_t *out);

#endif
