/* chance.h -- chance for tests, from a seed that is printed (WEIR_SEED), and for as many
 * rounds as WEIR_ROUNDS says. Included by NAME_test.c only. */
#ifndef WEIR_IMAGE_CHANCE_H
#define WEIR_IMAGE_CHANCE_H

#include "image/fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <time.h>

#include <cmocka.h>

static uint64_t seed_state;

static inline unsigned below(unsigned n)
{
    seed_state ^= seed_state << 13;
    seed_state ^= seed_state >> 7;
    seed_state ^= seed_state << 17;
    return (unsigned)(seed_state >> 20) % n;
}

static inline void start_random(void)
{
    const char *text = getenv("WEIR_SEED");
    seed_state = text != NULL ? strtoull(text, NULL, 10) : (uint64_t)time(NULL) * 1000003;
    print_message("WEIR_SEED=%" PRIu64 "\n", seed_state);
    if (seed_state == 0)
        seed_state = 1;
}

static inline unsigned rounds(unsigned otherwise)
{
    const char *text = getenv("WEIR_ROUNDS");
    return text != NULL ? (unsigned)strtoul(text, NULL, 10) : otherwise;
}

#endif
