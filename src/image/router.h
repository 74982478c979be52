/* router.h -- how routes lie in the image, private to src/image.
 *
 *   key    class | host | 0 | path, at most KEY_BYTES_MAX bytes; a longer path is
 *          cut, and the entry says so: the whole is compared with the record
 *   value  (DUPSORT, so that the best entry of a key comes first)
 *          ~sort key u64 | ~tie UUID | route UUID | methods u16 | port u16 |
 *          flags u8 | path index u16, all big endian
 *
 * One route has an entry for each host and each path. A change writes its own
 * entries only: O(log n) each, whatever else the image holds. A request asks each
 * host class for the stored prefixes of its path, longest first (match.c). */
#ifndef WEIR_ROUTER_H
#define WEIR_ROUTER_H

#include "image/internal.h"

enum {
    ENTRY_BYTES = 8 + 16 + 16 + 2 + 2 + 1 + 2,
    ENTRY_REGEX = 1,    /* the path is a regular expression: look at the record */
    ENTRY_RESIDUAL = 2, /* headers, SNIs or odd methods: look at the record */
    ENTRY_CUT = 4,      /* the path did not fit into the key */
    ENTRY_ANY_METHOD = 8,
    METHOD_OTHER = 1 << 15, /* a method without a bit: look at the record */
    NO_PATH = 0xffff,
};

typedef struct router_entry {
    uint64_t sort_key; /* larger is better */
    weir_uuid_t tie;   /* larger is better */
    weir_uuid_t route;
    uint16_t methods;
    uint16_t port; /* 0: any */
    uint8_t flags;
    uint16_t path; /* index in the record, or NO_PATH */
} router_entry_t;

void router_entry_encode(const router_entry_t *entry, uint8_t out[ENTRY_BYTES]);
bool router_entry_decode(MDB_val value, router_entry_t *ret);

/* The bit of a method, METHOD_OTHER for one without. */
uint16_t method_bit(weir_str_t method);

/* Host of a request or of a route: what is before the port, and the port. A number
 * that is no port is PORT_ODD: then only hosts without a port fit. */
enum { PORT_NONE = -1, PORT_ODD = -2 };
void split_host(weir_str_t host, weir_str_t *ret_name, int *ret_port);

/* Every entry of a route, with its key. */
int router_entries(const weir_uuid_t *route, weir_str_t record, bool documented_order,
                   int (*each)(void *context, MDB_val key, const router_entry_t *entry),
                   void *context, weir_error_t *err);

/* The literal text with which every match of a path regex begins. */
weir_str_t regex_literal_prefix(weir_str_t pattern);

#endif
