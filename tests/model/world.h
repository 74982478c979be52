/* world.h -- a store under random writes: entities of every type that refer to each
 * other, in slots whose ids never change, with small vocabularies so that everything
 * collides with everything.
 *
 * A slot's number says what it may hold (slot_kind). Why kinds: a good entity that
 * becomes bad goes on serving by its older record. That is history, which an image
 * made at once cannot have; so here nothing good ever becomes bad under its id. */
#ifndef WEIR_TESTS_WORLD_H
#define WEIR_TESTS_WORLD_H

#include "store/fixture.h"

enum { SLOTS = 40, LAST_OPS = 60, LAST_BYTES = 200 };

typedef enum slot_kind {
    SLOT_BAD,     /* a data plane refuses it, always */
    SLOT_HEALS,   /* bad until it is good once; bad again only when no image knows it */
    SLOT_LEANING, /* good itself, but may refer to bad ones; always to the same */
    SLOT_GOOD,    /* good, and refers to good ones only; this is most slots */
} slot_kind_t;

typedef struct world {
    test_store_t store;
    uint64_t random;
    bool healed[WEIR_ENTITY_TYPES][SLOTS];
    char *references[WEIR_ENTITY_TYPES][SLOTS]; /* of the kinds that keep theirs */
    unsigned long ops, writes, changes, refused, invalid, cascaded;
    unsigned long refusals[8];       /* by weir_refusal_t */
    char last[LAST_OPS][LAST_BYTES]; /* for the report of a failure */
} world_t;

unsigned world_below(world_t *w, unsigned n);
bool world_percent(world_t *w, unsigned n);

void world_open(world_t *w, uint64_t seed, uint64_t log_entries_max);
void world_close(world_t *w);
/* One random write, which may be refused; it may hold several operations. */
void world_write(world_t *w);
/* Rows whose time has come are deleted, as a control plane does now and then; how many. */
size_t world_expire(world_t *w);
/* The image holds what the store holds: slots that are empty may be bad again. */
void world_settled(world_t *w);
void world_print_last(const world_t *w);

/* rows.c: the body of a write as a client would send it, or as a control plane that
 * knows more than this data plane would; *ret_good: the model should accept it. */
slot_kind_t slot_kind(unsigned slot);
weir_uuid_t slot_id(weir_entity_type_t type, unsigned slot);
weir_json_t *random_row(world_t *w, weir_entity_type_t type, unsigned slot, bool *ret_good);
weir_json_t *random_patch(world_t *w, weir_entity_type_t type);
/* The types that are written here, in the order of references. */
extern const weir_entity_type_t world_types[];
extern const size_t world_type_count;

#endif
