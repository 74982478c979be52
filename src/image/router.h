/* router.h -- how routes lie in the image, private to src/image.
 *
 *   router   class | host | 0 | path, at most KEY_BYTES_MAX bytes; a longer path is
 *            cut, and the entry says so: the whole is compared with the record
 *   value    (DUPSORT, so that the best entry of a key comes first)
 *            ~sort key u64 | ~tie UUID | route UUID | path index u16 |
 *            methods u16 | port u16 | flags u8, all big endian
 *
 * One route has an entry for each host and each path. A change writes its own
 * entries only: O(log n) each, whatever else the image holds. A request asks each
 * host class for the stored prefixes of its path, longest first (match.c).
 *
 * Thousands of routes may share host and path, and differ in a header, an SNI or
 * a method of their own. They do not lie under the key itself, or each request
 * would try them one by one:
 *
 *   buckets  key | 0 | split | name | 0 | value -> entries as above, under the
 *            value that the request must have
 *   router   the first entry of the key is then a marker: which splits it has
 *   ranks    class | ~sort key -> how many entries have it. The best of a class
 *            goes into the state: a class that cannot win is not looked at
 *
 * Where an entry lies follows from the route's record alone. */
#ifndef WEIR_ROUTER_H
#define WEIR_ROUTER_H

#include "image/internal.h"

enum {
    ENTRY_BYTES = 8 + 16 + 16 + 2 + 2 + 1 + 2,
    ENTRY_REGEX = 1,    /* the path is a regular expression: look at the record */
    ENTRY_RESIDUAL = 2, /* headers, SNIs or odd methods: look at the record */
    ENTRY_CUT = 4,      /* the path did not fit into the key */
    ENTRY_ANY_METHOD = 8,
    ENTRY_MARKER = 16,      /* no route: `methods` are the SPLIT_ bits of the key */
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

/* What tells entries of one key apart; 0: nothing, they lie under the key. */
enum {
    SPLIT_HEADER = 1, /* name and value of a header */
    SPLIT_SNI = 2,    /* name: "=" the whole, "<" how it begins, ">" how it ends */
    SPLIT_NO_SNI = 4, /* the same routes again, for requests without TLS */
    SPLIT_METHOD = 8, /* a method without a bit */
    SPLIT_VALUES_MAX = 16,
    SPLIT_NAME_MAX = 64,
    SPLIT_TEXT_MAX = 128, /* a longer value is known by its hash */
    SPLIT_KEY_MAX = 240,  /* a longer key, too */
};

typedef struct place {
    MDB_val key; /* in the router */
    unsigned split;
    weir_str_t name, value; /* of the split; value in lower case where case is nothing */
} place_t;

/* Key in the buckets; without `name`, the part that all of the split have. */
size_t bucket_key(const place_t *place, bool whole, uint8_t out[KEY_BYTES_MAX]);

/* Every entry of a route, with its place. */
int router_entries(const weir_uuid_t *route, const route_view_t *view, bool documented_order,
                   int (*each)(void *context, const place_t *place, const router_entry_t *entry),
                   void *context);

/* entries.c: adds or takes away all of a route. */
int index_route(writer_t *w, const weir_uuid_t *route, weir_str_t record, bool add,
                weir_error_t *err);
/* What stands before the entries of a key that has splits. */
router_entry_t router_marker(unsigned splits);
/* The best sort key of each class, into the state. */
int rank_classes(writer_t *w, weir_error_t *err);

/* The name or the end of it that a configured SNI asks for (routing 1.4). */
weir_str_t sni_form(weir_str_t configured, char *ret_form);

/* conditions.c: does a request fulfil what the key of an entry does not say? */
typedef struct match {
    weir_reader_t *reader;
    const weir_match_request_t *request;
    weir_str_t host; /* without its port */
    int port;
    uint16_t method;
    bool found;
    router_entry_t best;
    size_t best_len;
    bool by_headers; /* weir_match_t */
    weir_error_t *err;
} match_t;
/* match.c: every form of the request's host that entries can lie under. */
void each_host_form(const weir_match_request_t *request,
                    void (*each)(void *context, uint8_t class, weir_str_t host), void *context);
bool read_route(match_t *m, const weir_uuid_t *route, route_view_t *ret);
/* *len: in, the bytes of the path that the key covers; out, those that matched. */
bool entry_holds(match_t *m, const router_entry_t *entry, size_t *len);
weir_str_t lower_text(weir_str_t text, char *out, size_t bytes);

/* The literal text with which every match of a path regex begins. */
weir_str_t regex_literal_prefix(weir_str_t pattern);

#endif
