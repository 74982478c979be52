/* retry_test.c -- a fleet does not come back as one. */
#include "agent/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void waits_grow_and_have_bounds(void **state)
{
    int64_t most = 0;
    (void)state;
    for (unsigned tries = 0; tries < 100; tries++) {
        int64_t longest = 0;
        for (uint32_t random = 0; random < 20000; random++) {
            int64_t wait = retry_delay_ms(tries, random);
            assert_true(wait >= (tries == 0 ? RETRY_FIRST_MS : RETRY_MIN_MS));
            longest = wait > longest ? wait : longest;
        }
        assert_true(longest >= most && longest < RETRY_MIN_MS + RETRY_MAX_MS);
        most = longest;
    }
    assert_true(most > RETRY_MAX_MS);
}

/* Of a fleet that lost its control plane together, no tenth of a second gets more than a
 * small share. */
static void a_fleet_comes_back_spread(void **state)
{
    enum { FLEET = 10000, SLICE_MS = 100, SLICES = 200 };
    unsigned slices[SLICES] = { 0 };
    uint64_t random = 7;
    (void)state;
    for (int i = 0; i < FLEET; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        slices[retry_delay_ms(6, (uint32_t)(random >> 33)) / SLICE_MS]++;
    }
    for (int i = 0; i < SLICES; i++)
        assert_true(slices[i] < FLEET / 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_grow_and_have_bounds),
        cmocka_unit_test(a_fleet_comes_back_spread),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
