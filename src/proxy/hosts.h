/* hosts.h -- names that need no name server, and where others are looked up.
 *
 * Reads files of the form of /etc/hosts and /etc/resolv.conf. Knows no network. */
#ifndef WEIR_PROXY_HOSTS_H
#define WEIR_PROXY_HOSTS_H

#include "base/base.h"

typedef struct weir_hosts weir_hosts_t;

/* The hosts file, and `localhost` (routing 9.3). A file that is not there is an
 * empty one. */
int weir_hosts_load(const char *path, weir_hosts_t **ret, weir_error_t *err);
void weir_hosts_free(weir_hosts_t *hosts); /* NULL is fine */
/* The address of a name in any case, IPv4 before IPv6; {NULL,0}: unknown. */
weir_str_t weir_hosts_find(const weir_hosts_t *hosts, weir_str_t name);

enum { WEIR_RESOLVERS_MAX = 3, WEIR_SEARCH_MAX = 6 };

typedef struct weir_resolv {
    char servers[WEIR_RESOLVERS_MAX][64]; /* as nginx wants them: "[::1]" */
    size_t server_count;
    char search[WEIR_SEARCH_MAX][256];
    size_t search_count;
    int ndots;
} weir_resolv_t;

/* A file that is not there, or has no server, gives none. */
void weir_resolv_load(const char *path, weir_resolv_t *ret);

/* The n-th (from 0) name to ask for in order to resolve `name`: with the search
 * domains, as its dots say. The length in `out`, or 0 after the last. */
size_t weir_resolv_candidate(const weir_resolv_t *resolv, weir_str_t name, size_t n, char *out,
                             size_t out_bytes);

#endif
