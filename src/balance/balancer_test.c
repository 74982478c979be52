/* balancer_test.c -- who is picked, how often, and who when somebody is out. */
#include "balance/internal.h"

#include "image/chance.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { PEERS = 8 };

static weir_health_t *health;
static weir_peer_t peers[PEERS];
static char memory[WEIR_HEALTH_BYTES_MIN] __attribute__((aligned(64)));

static void add_peer(size_t at, const char *host, const char *address, unsigned port,
                     unsigned weight)
{
    peers[at] = (weir_peer_t){ .host = weir_str(host),
                               .address = weir_str(address),
                               .port = (uint16_t)port,
                               .weight = (uint16_t)weight };
    peers[at].health = weir_health_find(health, 1000 + at, 1);
}

static int setup(void **state)
{
    (void)state;
    memset(memory, 0, sizeof(memory));
    health = weir_health_make(memory, sizeof(memory));
    for (size_t i = 0; i < PEERS; i++)
        add_peer(i, "10.0.0.1", "10.0.0.1", 80 + (unsigned)i, 100);
    return 0;
}

static weir_balancer_t *make(weir_algorithm_t algorithm, size_t count, uint32_t slots)
{
    weir_balancer_t *balancer = NULL;
    weir_balancer_options_t options = { .algorithm = algorithm,
                                        .slots = slots,
                                        .health = health,
                                        .peers = peers,
                                        .count = count,
                                        .targets = count,
                                        .seed = 7 };
    assert_int_equal(weir_balancer_new(&options, &balancer), WEIR_OK);
    return balancer;
}

static void take_out(size_t peer)
{
    weir_health_report(health, &peers[peer].health, WEIR_HEALTH_TCP_FAILURE, 1);
}

static void bring_back(size_t peer)
{
    weir_health_report(health, &peers[peer].health, WEIR_HEALTH_SUCCESS, 1);
}

static int pick_once(weir_balancer_t *balancer)
{
    weir_pick_t pick = { .hash = 0 };
    return weir_balancer_pick(balancer, &pick, 0);
}

/* -- round robin ------------------------------------------------------------------------------ */

static void a_turn_has_each_as_often_as_its_weight_says(void **state)
{
    (void)state;
    static const unsigned weights[] = { 0, 100, 300, 50, 0, 65535 / 50 * 50, 50, 250 };
    unsigned total = 0;
    for (size_t i = 0; i < PEERS; i++) {
        peers[i].weight = (uint16_t)weights[i];
        total += weights[i] / 50;
    }
    weir_balancer_t *balancer = make(WEIR_ROUND_ROBIN, PEERS, 0);
    for (int turn = 0; turn < 3; turn++) {
        unsigned counts[PEERS] = { 0 };
        for (unsigned i = 0; i < total; i++)
            counts[pick_once(balancer)]++;
        for (size_t i = 0; i < PEERS; i++)
            assert_int_equal(counts[i], weights[i] / 50);
    }
    weir_balancer_free(balancer);
}

static void every_turn_has_the_same_order(void **state)
{
    (void)state;
    enum { TURN = 3 * PEERS };
    int first[TURN];
    peers[0].weight = (2 * PEERS + 1) * 100;
    weir_balancer_t *balancer = make(WEIR_ROUND_ROBIN, PEERS, 0);
    for (size_t i = 0; i < TURN; i++)
        first[i] = pick_once(balancer);
    for (size_t i = 0; i < TURN; i++)
        assert_int_equal(pick_once(balancer), first[i]);
    weir_balancer_free(balancer);
}

static void who_is_out_has_no_turn_until_it_is_back(void **state)
{
    (void)state;
    weir_balancer_t *balancer = make(WEIR_ROUND_ROBIN, 3, 0);
    take_out(1);
    unsigned counts[3] = { 0 };
    for (size_t i = 0; i < 20; i++)
        counts[pick_once(balancer)]++;
    assert_int_equal(counts[0], 10);
    assert_int_equal(counts[1], 0);
    bring_back(1);
    for (size_t i = 0; i < 30; i++)
        counts[pick_once(balancer)]++;
    assert_int_equal(counts[1], 10);
    weir_balancer_free(balancer);
}

static void nobody_is_picked_where_nobody_is(void **state)
{
    (void)state;
    for (int algorithm = WEIR_ROUND_ROBIN; algorithm <= WEIR_LATENCY; algorithm++) {
        setup(state);
        weir_balancer_t *balancer = make((weir_algorithm_t)algorithm, 0, 10);
        assert_int_equal(pick_once(balancer), WEIR_NO_PEER);
        weir_balancer_free(balancer);
        balancer = make((weir_algorithm_t)algorithm, 2, 10);
        take_out(0);
        assert_int_equal(pick_once(balancer), 1);
        take_out(1);
        assert_int_equal(pick_once(balancer), WEIR_NO_PEER);
        weir_balancer_free(balancer);
        peers[0].weight = peers[1].weight = 0;
        balancer = make((weir_algorithm_t)algorithm, 2, 10);
        assert_int_equal(pick_once(balancer), WEIR_NO_PEER);
        weir_balancer_free(balancer);
    }
}

/* Whatever the algorithm: a retry finds whoever has not failed, as long as there is one. */
static void a_retry_goes_elsewhere(void **state)
{
    (void)state;
    for (int algorithm = WEIR_ROUND_ROBIN; algorithm <= WEIR_LATENCY; algorithm++) {
        setup(state);
        peers[0].weight = 65535;
        weir_balancer_t *balancer = make((weir_algorithm_t)algorithm, PEERS, 1000);
        for (uint32_t hash = 0; hash < 20; hash++) {
            weir_pick_t pick = { .hash = hash * 49999 };
            bool seen[PEERS] = { false };
            for (size_t i = 0; i < PEERS; i++) {
                int peer = weir_balancer_pick(balancer, &pick, 0);
                assert_true(peer >= 0 && !seen[peer]);
                seen[peer] = true;
                weir_pick_failed(&pick, peer);
            }
            int last = weir_balancer_pick(balancer, &pick, 0);
            if (algorithm == WEIR_LATENCY)
                assert_int_equal(last, WEIR_NO_PEER);
            else
                assert_true(last >= 0); /* all have failed: begin anew */
        }
        weir_balancer_free(balancer);
    }
}

static void more_than_the_threshold_must_be_available(void **state)
{
    static const struct {
        uint32_t centi;
        bool served;
    } cases[] = { { 0, true }, { 4999, true }, { 5000, false }, { 6000, false } };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++) {
        setup(state);
        weir_balancer_t *balancer = NULL;
        weir_balancer_options_t options = { .threshold_centi = cases[i].centi,
                                            .health = health,
                                            .peers = peers,
                                            .count = 2,
                                            .targets = 2 };
        assert_int_equal(weir_balancer_new(&options, &balancer), WEIR_OK);
        assert_true(pick_once(balancer) >= 0);
        take_out(0);
        assert_int_equal(pick_once(balancer) >= 0, cases[i].served);
        weir_balancer_free(balancer);
    }
}

/* -- rings (routing 9.6, vectors) ----------------------------------------------------------------
 */

static const char *const values[] = { "", "foo", "bar", "1.2.3.4", "user-42", "a,b,c" };

static void assert_ring(uint32_t slots, size_t count, size_t targets, const uint16_t *used,
                        const int *picked)
{
    weir_balancer_t *balancer = NULL;
    weir_balancer_options_t options = { .algorithm = WEIR_CONSISTENT_HASHING,
                                        .slots = slots,
                                        .health = health,
                                        .peers = peers,
                                        .count = count,
                                        .targets = targets };
    ring_t ring;
    unsigned counts[PEERS + 1] = { 0 };
    assert_int_equal(ring_init(&ring, &options), WEIR_OK);
    for (uint32_t i = 0; i < ring.points; i++)
        counts[ring.slots[i]]++;
    ring_release(&ring);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(counts[i + 1], used[i]);
    assert_int_equal(weir_balancer_new(&options, &balancer), WEIR_OK);
    for (size_t i = 0; i < WEIR_COUNT(values); i++) {
        weir_pick_t pick = { .hash = weir_balance_hash(weir_str(values[i])) };
        assert_int_equal(weir_balancer_pick(balancer, &pick, 0), picked[i]);
    }
    weir_balancer_free(balancer);
}

static void a_ring_is_that_of_the_incumbent(void **state)
{
    add_peer(0, "127.0.0.1", "127.0.0.1", 8080, 100);
    add_peer(1, "127.0.0.2", "127.0.0.2", 8080, 100);
    assert_ring(10000, 2, 2, (uint16_t[]){ 160, 160 }, (int[]){ 0, 1, 0, 0, 0, 1 });
    take_out(1);
    assert_ring(10000, 2, 2, (uint16_t[]){ 160, 160 }, (int[]){ 0, 0, 0, 0, 0, 0 });
    setup(state);
    add_peer(2, "10.0.0.1", "10.0.0.1", 80, 100);
    add_peer(0, "10.0.0.2", "10.0.0.2", 80, 50);
    add_peer(1, "10.0.0.3", "10.0.0.3", 80, 1);
    assert_ring(1000, 3, 3, (uint16_t[]){ 158, 3, 317 }, (int[]){ 2, 0, 0, 0, 2, 0 });
    add_peer(0, "10.0.0.1", "10.0.0.1", 80, 100);
    add_peer(1, "10.0.0.2", "10.0.0.2", 80, 0);
    add_peer(2, "10.0.0.3", "10.0.0.3", 8080, 300);
    assert_ring(100, 3, 3, (uint16_t[]){ 120, 0, 360 }, (int[]){ 2, 2, 2, 2, 2, 2 });
    for (unsigned i = 0; i < 4; i++) {
        static const char *const addresses[] = { "10.1.0.1", "10.1.0.2", "10.1.0.3", "10.1.0.4" };
        add_peer(i, "svc.test", addresses[i], 80, 25);
    }
    add_peer(4, "10.9.9.9", "10.9.9.9", 80, 100);
    assert_ring(10000, 5, 2, (uint16_t[]){ 40, 40, 40, 40, 160 }, (int[]){ 3, 3, 2, 4, 4, 3 });
}

static void a_hash_is_that_of_xxhash(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint32_t hash;
    } cases[] = { { "", 0x02cc5d05 },
                  { "a", 0x550d7456 },
                  { "abc", 0x32d153ff },
                  { "abcd", 0xa3643705 },
                  { "The quick brown fox jumps over the lazy dog", 0xe85ea4de } };
    for (size_t i = 0; i < WEIR_COUNT(cases); i++)
        assert_int_equal(weir_balance_hash(weir_str(cases[i].text)), cases[i].hash);
}

/* -- the others ------------------------------------------------------------------------------- */

static void the_least_busy_is_picked(void **state)
{
    (void)state;
    peers[1].weight = 200;
    weir_balancer_t *balancer = make(WEIR_LEAST_CONNECTIONS, 2, 0);
    unsigned counts[2] = { 0 };
    for (size_t i = 0; i < 30; i++) {
        int peer = pick_once(balancer);
        weir_balancer_acquire(balancer, peer);
        counts[peer]++;
    }
    assert_int_equal(counts[0], 10);
    assert_int_equal(counts[1], 20);
    for (size_t i = 0; i < 10; i++)
        weir_balancer_release(balancer, 0);
    for (size_t i = 0; i < 10; i++) {
        assert_int_equal(pick_once(balancer), 0);
        weir_balancer_acquire(balancer, 0);
    }
    weir_balancer_free(balancer);
}

static void equals_take_turns(void **state)
{
    (void)state;
    for (int algorithm = WEIR_LEAST_CONNECTIONS; algorithm <= WEIR_LATENCY; algorithm++) {
        weir_balancer_t *balancer = make((weir_algorithm_t)algorithm, 4, 0);
        unsigned counts[4] = { 0 };
        for (size_t i = 0; i < 40; i++)
            counts[pick_once(balancer)]++;
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(counts[i], 10);
        weir_balancer_free(balancer);
    }
}

static void the_fastest_is_picked_until_that_is_long_ago(void **state)
{
    (void)state;
    weir_balancer_t *balancer = make(WEIR_LATENCY, 2, 0);
    weir_pick_t pick = { .hash = 0 };
    weir_balancer_latency(balancer, 0, 500, 1000);
    weir_balancer_latency(balancer, 1, 50, 1000);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(weir_balancer_pick(balancer, &pick, 2000), 1);
    weir_balancer_latency(balancer, 1, 50, 101000);
    assert_int_equal(weir_balancer_pick(balancer, &pick, 101000), 0);
    weir_balancer_free(balancer);
}

static void no_failing_allocation_leaves_a_balancer(void **state)
{
    (void)state;
    for (int algorithm = WEIR_ROUND_ROBIN; algorithm <= WEIR_LATENCY; algorithm++) {
        weir_balancer_options_t options = { .algorithm = (weir_algorithm_t)algorithm,
                                            .slots = 1000,
                                            .peers = peers,
                                            .count = PEERS,
                                            .targets = PEERS };
        int rc = WEIR_NO_MEMORY;
        for (unsigned fail = 1; rc != WEIR_OK; fail++) {
            weir_balancer_t *balancer = NULL;
            weir_test_fail_allocation(fail);
            rc = weir_balancer_new(&options, &balancer);
            weir_test_fail_allocation(0);
            assert_true(rc == WEIR_OK ? balancer != NULL : rc == WEIR_NO_MEMORY);
            assert_true(fail < 10);
            if (rc == WEIR_OK)
                weir_balancer_free(balancer);
        }
    }
}

/* -- any peers -------------------------------------------------------------------------------- */

/* Whatever happens: who is picked is usable and has weight, and somebody is picked if and only
 * if somebody is. */
static void whoever_is_picked_can_be_picked(void **state)
{
    start_random();
    for (unsigned round = rounds(300); round > 0; round--) {
        setup(state);
        size_t count = below(PEERS + 1);
        for (size_t i = 0; i < count; i++)
            peers[i].weight = (uint16_t)(below(3) ? below(300) : 0);
        weir_balancer_t *balancer = make((weir_algorithm_t)below(4), count, 10 + below(2000));
        for (unsigned i = 0; i < 200; i++) {
            bool any = false;
            if (count > 0 && below(3) == 0)
                below(2) ? take_out(below((unsigned)count)) : bring_back(below((unsigned)count));
            for (size_t k = 0; k < count; k++)
                any = any || (peers[k].weight > 0 && weir_health_usable(&peers[k].health));
            weir_pick_t pick = { .hash = below(1u << 30) };
            int peer = weir_balancer_pick(balancer, &pick, i);
            assert_int_equal(peer != WEIR_NO_PEER, any);
            if (peer == WEIR_NO_PEER)
                continue;
            assert_true(peers[peer].weight > 0 && weir_health_usable(&peers[peer].health));
            weir_balancer_acquire(balancer, peer);
            weir_balancer_latency(balancer, peer, below(1000), i);
            if (below(2))
                weir_balancer_release(balancer, peer);
        }
        weir_balancer_free(balancer);
    }
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_turn_has_each_as_often_as_its_weight_says),
        TEST(every_turn_has_the_same_order),
        TEST(who_is_out_has_no_turn_until_it_is_back),
        TEST(nobody_is_picked_where_nobody_is),
        TEST(a_retry_goes_elsewhere),
        TEST(more_than_the_threshold_must_be_available),
        TEST(a_ring_is_that_of_the_incumbent),
        TEST(a_hash_is_that_of_xxhash),
        TEST(the_least_busy_is_picked),
        TEST(equals_take_turns),
        TEST(the_fastest_is_picked_until_that_is_long_ago),
        TEST(no_failing_allocation_leaves_a_balancer),
        TEST(whoever_is_picked_can_be_picked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
