/* process.h -- what the system says of a running process, for metrics. */
#ifndef WEIR_PROCESS_H
#define WEIR_PROCESS_H

#include "base/base.h"

#include <sys/types.h>

typedef struct weir_process {
    char name[16]; /* of the program, cut by the kernel */
    pid_t parent;
    double cpu_seconds;      /* user and system, since it started */
    uint64_t resident_bytes; /* of which ... */
    uint64_t shared_bytes;   /* ... are of files: the mapped image, programs */
} weir_process_t;

/* Two small reads below /proc. WEIR_NOT_FOUND: there is no such process (any more), or it
 * may not be looked at; *ret is as it was. */
int weir_process_look(pid_t pid, weir_process_t *ret);

#endif
