/* pairs.h -- certificates with keys, made when the test starts: as JSON strings, that is
 * with "\n" for the ends of lines. */
#ifndef WEIR_TESTS_PAIRS_H
#define WEIR_TESTS_PAIRS_H

enum { PAIRS = 6, PEM_BYTES_MAX = 4096 };

typedef struct pair {
    char certificate[PEM_BYTES_MAX], key[PEM_BYTES_MAX];
} pair_t;

extern pair_t pairs[PAIRS];
void pairs_make(void);

#endif
