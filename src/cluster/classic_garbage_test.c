/* classic_garbage_test.c -- 5,000 malformed messages of each kind to either end of the
 * classic full sync: refused or ignored, nothing of them applied, and memory bounded.
 *
 * Seeds are printed; WEIR_SEED repeats a run. */
#include "cluster/classic_fixture.h"

#include <sys/resource.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum {
    ROUNDS = 5000,
    BYTES_MAX = 2048,
    /* Of the process, over a whole test. AddressSanitizer keeps 256 MiB of what was freed. */
    GROWTH_MAX_KIB = (SANITIZED ? 640 : 96) * 1024,
    BOMB_GROWTH_MAX_KIB = (SANITIZED ? 640 : 16) * 1024,
};

static fixture_random_t seeded(const char *test)
{
    const char *given = getenv("WEIR_SEED");
    fixture_random_t random = { given != NULL ? strtoull(given, NULL, 0)
                                              : (uint64_t)time(NULL) * 1000003u };
    print_message("%s: WEIR_SEED=%llu\n", test, (unsigned long long)random.state);
    return random;
}

static long resident_kib(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

/* Some bytes of a text are replaced, lost or doubled; or it is cut; or it is nonsense. */
static void damage(fixture_random_t *random, const char *good, weir_buffer_t *out)
{
    weir_buffer_clear(out);
    size_t len = strlen(good);
    if (fixture_next(random, 8) == 0) {
        for (uint32_t left = fixture_next(random, BYTES_MAX); left > 0; left--)
            weir_buffer_byte(out, (char)fixture_next(random, 256));
        return;
    }
    static const char marks[] = "{}[]\",:\\0tfn-e \0\x80\xff";
    uint32_t damages = 1 + fixture_next(random, 6);
    size_t places[8];
    for (uint32_t i = 0; i < damages; i++)
        places[i] = fixture_next(random, (uint32_t)len);
    for (size_t at = 0; at < len; at++) {
        bool hit = false;
        for (uint32_t i = 0; i < damages; i++)
            hit |= places[i] == at;
        if (!hit || fixture_next(random, 3) == 0)
            weir_buffer_byte(out, good[at]);
        if (hit && fixture_next(random, 2) == 0)
            weir_buffer_byte(out, marks[fixture_next(random, sizeof(marks) - 1)]);
        if (hit && fixture_next(random, 5) == 0)
            return;
    }
}

/* -- to a control plane ------------------------------------------------------------------- */

static void malformed_basic_infos_are_refused(void **state)
{
    (void)state;
    static const char *const infos[] = {
        FIXTURE_INFO,
        "{\"type\":\"basic_info\",\"plugins\":[{\"name\":\"a\"},7,null,[],{\"version\":{}}],"
        "\"labels\":{\"a\":{},\"b\":\"c\"},\"process_conf\":{\"x\":[[[[]]]]}}",
    };
    fixture_random_t random = seeded("basic_info");
    fixture_store_t store = { 0 };
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 1 << 20);
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    long before = resident_kib();
    size_t refused = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        fixture_classic_t host;
        damage(&random, infos[fixture_next(&random, 2)], &text);
        fixture_classic_open(&host, &store, "3.9.1", 0);
        int rc = fixture_classic_give(&host, WEIR_FRAME_BINARY, weir_buffer_str(&text), 1);
        weir_json_t *parsed = NULL;
        bool fine = weir_json_parse(weir_buffer_str(&text), &parsed, NULL) == WEIR_OK &&
                    weir_str_is(weir_json_get_string(parsed, "type", WEIR_STR("")), "basic_info");
        weir_json_free(parsed);
        if (!fine)
            assert_int_equal(rc, WEIR_CLOSED);
        refused += rc == WEIR_CLOSED;
        assert_true(rc == WEIR_CLOSED || host.wants == 1);
        fixture_classic_close(&host, 2);
    }
    assert_true(refused > ROUNDS / 2);
    assert_true(resident_kib() - before < GROWTH_MAX_KIB);
    fixture_store_close(&store);
}

static void odd_frames_later_end_a_session(void **state)
{
    (void)state;
    fixture_random_t random = seeded("frames");
    fixture_store_t store = { 0 };
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 1 << 20);
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    long before = resident_kib();
    for (unsigned i = 0; i < ROUNDS; i++) {
        static const unsigned opcodes[] = { 0, 1, 2, 9, 10 };
        fixture_classic_t host;
        unsigned opcode = opcodes[fixture_next(&random, WEIR_COUNT(opcodes))];
        damage(&random, "{\"type\":\"error\",\"error\":{\"message\":\"m\",\"fields\":{}}}", &text);
        if (opcode >= 9 && text.len > 125)
            text.len = 125;
        fixture_classic_open(&host, &store, "3.9.1", 0);
        assert_int_equal(fixture_classic_say(&host, 2, FIXTURE_INFO, 1), WEIR_OK);
        int rc = fixture_classic_give(&host, opcode, weir_buffer_str(&text), 2);
        if (opcode != 2 && !(opcode == 9 && text.len == WEIR_CLASSIC_HASH))
            assert_int_equal(rc, WEIR_CLOSED);
        fixture_classic_close(&host, 3);
    }
    assert_true(resident_kib() - before < GROWTH_MAX_KIB);
    fixture_store_close(&store);
}

static void random_bytes_end_a_session(void **state)
{
    (void)state;
    fixture_random_t random = seeded("bytes to a session");
    fixture_store_t store = { 0 };
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    long before = resident_kib();
    for (unsigned i = 0; i < ROUNDS; i++) {
        char bytes[256];
        fixture_classic_t host;
        fixture_classic_open(&host, &store, "3.9.1", 0);
        for (size_t at = 0; at < sizeof(bytes); at++)
            bytes[at] = (char)fixture_next(&random, 256);
        (void)weir_classic_session_input(host.session, (weir_str_t){ bytes, sizeof(bytes) }, 1,
                                         NULL);
        assert_int_equal(host.wants, 0);
        assert_int_equal(weir_classic_session_tick(host.session, 60000, NULL), WEIR_CLOSED);
        fixture_classic_close(&host, 60000);
    }
    assert_true(resident_kib() - before < GROWTH_MAX_KIB);
    fixture_store_close(&store);
}

/* -- to a data plane -------------------------------------------------------------------------- */

static const char good_push[] =
    "{\"type\":\"reconfigure\",\"timestamp\":1.5,\"config_hash\":"
    "\"hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh\","
    "\"hashes\":{\"config\":\"x\"},\"config_table\":{\"_format_version\":\"3.0\",\"_transform\":"
    "false,"
    "\"services\":[{\"id\":\"00000000-0000-4000-8000-000000000001\",\"name\":\"s\"}],"
    "\"routes\":[{\"name\":\"r\",\"service\":\"s\",\"paths\":[\"/a\\\"b\",\"~/\\u0041\"]}],"
    "\"parameters\":[{\"key\":\"cluster_id\",\"value\":\"v\"}]}}";

/* Whatever was taken of it, it was JSON, and a push. */
static void judge(const fixture_plane_t *plane, weir_str_t text)
{
    weir_json_t *message = NULL;
    if (plane->applied == 0)
        return;
    if (weir_json_parse_marked(text, &message, NULL) != WEIR_OK)
        fail_msg("applied, though it is no JSON: %.*s", (int)text.len, text.data);
    assert_true(weir_str_is(weir_json_get_string(message, "type", WEIR_STR("")), "reconfigure"));
    weir_json_free(message);
}

static void malformed_pushes_are_refused(void **state)
{
    (void)state;
    fixture_random_t random = seeded("reconfigure");
    WEIR_AUTO(buffer) weir_buffer_t text;
    WEIR_AUTO(buffer) weir_buffer_t payload;
    weir_buffer_init(&text, 1 << 20);
    weir_buffer_init(&payload, 1 << 20);
    long before = resident_kib();
    size_t refused = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        fixture_plane_t plane;
        damage(&random, good_push, &text);
        weir_buffer_clear(&payload);
        fixture_gzip(weir_buffer_str(&text), &payload);
        fixture_plane_open(&plane, 0);
        (void)fixture_plane_give(&plane, WEIR_FRAME_BINARY, weir_buffer_str(&payload), 1);
        judge(&plane, weir_buffer_str(&text));
        refused += plane.applied == 0;
        fixture_plane_close(&plane);
    }
    assert_true(refused > ROUNDS / 2);
    assert_true(resident_kib() - before < GROWTH_MAX_KIB);
}

static void damaged_gzip_is_refused(void **state)
{
    (void)state;
    fixture_random_t random = seeded("gzip");
    WEIR_AUTO(buffer) weir_buffer_t good;
    weir_buffer_init(&good, 1 << 20);
    fixture_gzip(weir_str(good_push), &good);
    size_t intact = 0;
    long before = resident_kib();
    for (unsigned i = 0; i < ROUNDS; i++) {
        char bytes[1024];
        fixture_plane_t plane;
        assert_true(good.len <= sizeof(bytes));
        memcpy(bytes, good.data, good.len);
        size_t len =
            fixture_next(&random, 4) == 0 ? fixture_next(&random, (uint32_t)good.len) : good.len;
        size_t at = fixture_next(&random, (uint32_t)good.len);
        bytes[at] = (char)(bytes[at] ^ (1 << fixture_next(&random, 8)));
        fixture_plane_open(&plane, 0);
        (void)fixture_plane_give(&plane, WEIR_FRAME_BINARY, (weir_str_t){ bytes, len }, 1);
        if (plane.applied > 0) { /* some bits say nothing, or the same in another way */
            WEIR_AUTO(buffer) weir_buffer_t text;
            weir_buffer_init(&text, 1 << 20);
            assert_int_equal(
                weir_scan_inflate((weir_str_t){ bytes, len }, 1 << 20, fixture_gather, &text, NULL),
                WEIR_OK);
            assert_true(weir_str_is(weir_buffer_str(&text), good_push));
            intact++;
        }
        fixture_plane_close(&plane);
    }
    assert_true(intact < ROUNDS / 10);
    assert_true(resident_kib() - before < GROWTH_MAX_KIB);
}

static void bombs_need_no_memory(void **state)
{
    (void)state;
    enum { MIB = 1 << 20, BOMB_MIB = 512 };
    static char spaces[MIB];
    WEIR_AUTO(buffer) weir_buffer_t payload;
    z_stream stream = { 0 };
    weir_buffer_init(&payload, 16 * MIB);
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
    char *room = weir_buffer_reserve(&payload, 4 * MIB);
    assert_non_null(room);
    memset(spaces, ' ', sizeof(spaces));
    stream.next_out = (Bytef *)room;
    stream.avail_out = 4 * MIB;
    for (int i = 0; i < BOMB_MIB; i++) {
        stream.next_in = (Bytef *)spaces;
        stream.avail_in = sizeof(spaces);
        assert_int_equal(deflate(&stream, i + 1 < BOMB_MIB ? Z_NO_FLUSH : Z_FINISH),
                         i + 1 < BOMB_MIB ? Z_OK : Z_STREAM_END);
    }
    payload.len = 4 * MIB - stream.avail_out;
    deflateEnd(&stream);
    long before = resident_kib();
    fixture_plane_t plane;
    fixture_plane_open(&plane, 0);
    /* More than 64 times cluster_max_payload, 4 MiB here. */
    assert_int_equal(fixture_plane_give(&plane, WEIR_FRAME_BINARY, weir_buffer_str(&payload), 1),
                     WEIR_CLOSED);
    assert_int_equal(plane.applied, 0);
    fixture_plane_close(&plane);
    assert_true(resident_kib() - before < BOMB_GROWTH_MAX_KIB);
}

static void random_bytes_do_a_client_no_harm(void **state)
{
    (void)state;
    fixture_random_t random = seeded("bytes to a client");
    long before = resident_kib();
    for (unsigned i = 0; i < ROUNDS; i++) {
        char bytes[256];
        fixture_plane_t plane;
        fixture_plane_open(&plane, 0);
        for (size_t at = 0; at < sizeof(bytes); at++)
            bytes[at] = (char)fixture_next(&random, 256);
        int rc =
            weir_classic_client_input(plane.client, (weir_str_t){ bytes, sizeof(bytes) }, 1, NULL);
        if (rc == WEIR_OK)
            (void)weir_classic_client_tick(plane.client, 2, NULL);
        assert_int_equal(plane.applied, 0);
        fixture_plane_close(&plane);
    }
    assert_true(resident_kib() - before < GROWTH_MAX_KIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_basic_infos_are_refused),
        cmocka_unit_test(odd_frames_later_end_a_session),
        cmocka_unit_test(random_bytes_end_a_session),
        cmocka_unit_test(malformed_pushes_are_refused),
        cmocka_unit_test(damaged_gzip_is_refused),
        cmocka_unit_test(bombs_need_no_memory),
        cmocka_unit_test(random_bytes_do_a_client_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
