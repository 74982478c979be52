/* touched.h -- what changes of routing concern, private to src/image.
 *
 * Workers remember which route a request line leads to, and the route with its service
 * and plugins. A change says by keys what of that it may have made untrue:
 *
 *   a route     its id, and each place that its entries have in the router: host class,
 *               host, and how the path begins (the longest of touched_steps[] that the
 *               entry's path has)
 *   a service   its id
 *   a plugin    the id of its route, else of its service, else everything. A plugin of a
 *               consumer is in no plan that is remembered
 *   an upstream its id, and its name: services may have that as their host
 *   a target    the id of its upstream
 *
 * A request looks at every host form and every beginning of its path: what it finds can
 * only change with one of their keys. What lies outside of that scheme (whether services
 * are disabled at all, whether any route has a host or a path) touches everything when
 * it changes.
 *
 * The image keeps the keys of the last TOUCHED_MAX changes, and how many there ever were
 * (state_t). A reader that follows within so many knows exactly what they were; for one
 * that comes later, or follows to another image, everything was touched. Keys are hashes,
 * and a reader knows some thousand of them by name: what it takes for touched and was
 * not costs a look-up. */
#ifndef WEIR_TOUCHED_H
#define WEIR_TOUCHED_H

#include "image/router.h"

/* -- writing --------------------------------------------------------------------------- */

/* Each of these is nothing while an index is only checked. */
void touch_everything(writer_t *w);
int touch_entity(writer_t *w, weir_entity_type_t type, const weir_uuid_t *id, weir_error_t *err);
/* The name of an upstream, that services may have as their host. */
int touch_host(writer_t *w, weir_str_t name, weir_error_t *err);
/* `router_key`: of an entry in DB_ROUTER. */
int touch_place(writer_t *w, MDB_val router_key, weir_error_t *err);
/* Into the transaction; with the state, which is written later. */
int touched_store(writer_t *w, weir_error_t *err);

/* -- reading --------------------------------------------------------------------------- */

followed_t *followed_new(void);
void followed_free(followed_t *followed); /* NULL is fine */
/* Inside, with the state of this transaction: what was touched since the one before. */
void follow_touched(weir_reader_t *reader);
/* It has moved to another image: nothing that was remembered stands. */
void follow_nothing(weir_reader_t *reader);

#endif
