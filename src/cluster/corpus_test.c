/* corpus_test.c -- sessions against the recordings of the original control plane:
 * the recorded data plane speaks, and what comes is compared with what came then. */
#include "cluster/fixture.h"

#include <dirent.h>

enum { FILES_MAX = 256, FRAMES_MAX = 32, LINE_MAX_BYTES = 1 << 20 };

/* Where we differ on purpose; see README.md. */
static const char *const differing[] = {
    "v2-3.9-err-id-float",        /* an id used again while pending: answered, not closed */
    "v2-3.9-err-version-float",   /* ahead of the control plane: the whole set, not nothing */
    "v2-3.9-keepalive",           /* pings come 30 s after the last sign, not 30 to 35 s */
    "v2-3.10-err-version-string", /* an older version: increments, not the whole set */
};

typedef struct frames {
    char *list[FRAMES_MAX];
    size_t count;
} frames_t;

static void add(frames_t *frames, weir_buffer_t *text)
{
    assert_true(frames->count < FRAMES_MAX);
    frames->list[frames->count++] = weir_strdup(weir_buffer_str(text));
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void release(frames_t *frames)
{
    for (size_t i = 0; i < frames->count; i++)
        weir_free(frames->list[i]);
}

/* What counts of an answer: ids, codes, texts, whether a set is whole or empty. */
static void describe(const weir_json_t *message, weir_buffer_t *out)
{
    if (weir_json_kind(message) == WEIR_JSON_ARRAY) {
        weir_buffer_append(out, WEIR_STR("["));
        for (const weir_json_t *i = weir_json_first(message); i != NULL; i = weir_json_next(i))
            describe(i, out);
        weir_buffer_append(out, WEIR_STR("]"));
        return;
    }
    const weir_json_t *id = weir_json_get(message, "id");
    if (weir_json_kind(id) == WEIR_JSON_NUMBER)
        weir_buffer_printf(out, "id=%.10g ", weir_json_number(id));
    else if (id != NULL)
        weir_buffer_printf(out, "id=\"%.*s\" ", WEIR_STR_ARG(weir_json_string(id)));
    const weir_json_t *result = weir_json_get(message, "result");
    const weir_json_t *space = weir_json_get(result, "default");
    const weir_json_t *flag = weir_json_get(space, "wipe");
    if (flag == NULL)
        flag = weir_json_get(space, "full_sync");
    if (space != NULL)
        weir_buffer_printf(out, "%s=%s %s", weir_json_name(flag),
                           weir_json_boolean(flag) ? "true" : "false",
                           weir_json_first(weir_json_get(space, "deltas")) ? "set" : "empty");
    else
        weir_json_print(result != NULL ? result : weir_json_get(message, "error"), out);
    if (weir_json_get(message, "method") != NULL)
        weir_buffer_append(out, WEIR_STR("call"));
}

static void describe_frame(const char *op, const weir_json_t *message, frames_t *frames)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 1 << 16);
    weir_buffer_printf(&text, "%s ", op);
    if (message != NULL)
        describe(message, &text);
    add(frames, &text);
}

static void collect(fixture_host_t *host, bool *hello_done, frames_t *frames)
{
    static const char *const names[] = {
        [1] = "text", [2] = "binary", [8] = "close", [9] = "ping", [10] = "pong"
    };
    weir_buffer_t bytes = fixture_take(&host->out);
    weir_str_t rest = weir_buffer_str(&bytes);
    weir_frame_reader_t *reader = NULL;
    weir_frame_t frame;
    assert_int_equal(weir_frame_reader_new(false, 1 << 24, &reader, NULL), WEIR_OK);
    while (weir_frame_next(reader, &rest, &frame, NULL) == WEIR_OK) {
        weir_json_t *message = NULL;
        if (frame.opcode == WEIR_FRAME_BINARY && !*hello_done)
            assert_int_equal(weir_json_parse(frame.payload, &message, NULL), WEIR_OK);
        else if (frame.opcode == WEIR_FRAME_BINARY)
            assert_int_equal(
                weir_message_decode(WEIR_CODEC_SNAPPY, frame.payload, 1 << 28, &message, NULL),
                WEIR_OK);
        *hello_done |= frame.opcode == WEIR_FRAME_BINARY;
        describe_frame(names[frame.opcode], message, frames);
        weir_json_free(message);
    }
    weir_frame_reader_free(reader);
    weir_buffer_release(&bytes);
}

static unsigned opcode_of(const weir_json_t *op)
{
    static const char *const names[] = { "continuation", "text", "binary" };
    if (weir_json_kind(op) == WEIR_JSON_NUMBER)
        return (unsigned)weir_json_number(op);
    for (unsigned i = 0; i < WEIR_COUNT(names); i++)
        if (weir_str_is(weir_json_string(op), names[i]))
            return i;
    return weir_str_is(weir_json_string(op), "close")  ? 8
           : weir_str_is(weir_json_string(op), "ping") ? 9
                                                       : 10;
}

/* The payload of a recorded frame as it was: from its JSON, or its bytes. */
static void payload_of(const weir_json_t *line, weir_buffer_t *out)
{
    const weir_json_t *message = weir_json_get(line, "json");
    weir_str_t hex = weir_json_get_string(line, "hex", WEIR_STR(""));
    size_t len = (size_t)weir_json_get_number(line, "len", 0);
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 1 << 24);
    if (message != NULL && weir_str_is(weir_json_get_string(line, "enc", WEIR_STR("")), "snappy")) {
        weir_json_print(message, &text);
        assert_int_equal(weir_codec_deflate(WEIR_CODEC_SNAPPY, weir_buffer_str(&text), out, NULL),
                         WEIR_OK);
        return;
    }
    if (message != NULL) {
        weir_json_print(message, out);
        return;
    }
    for (size_t i = 0; i + 1 < hex.len; i += 2) {
        char pair[3] = { hex.data[i], hex.data[i + 1], 0 };
        weir_buffer_byte(out, (char)strtoul(pair, NULL, 16));
    }
    while (out->len < len) /* only the beginning is recorded */
        weir_buffer_byte(out, 'x');
}

static void frame_of(const char *name, const weir_json_t *line, weir_buffer_t *out)
{
    WEIR_AUTO(buffer) weir_buffer_t payload;
    weir_buffer_init(&payload, 1 << 24);
    payload_of(line, &payload);
    unsigned opcode = opcode_of(weir_json_get(line, "op"));
    bool hello = weir_str_is(weir_json_get_string(line, "enc", WEIR_STR("")), "plain");
    /* What these are about does not show in the recording. */
    bool unmasked = strstr(name, "err-unmasked") != NULL && !hello;
    size_t at = out->len;
    fixture_frame(out, opcode, !unmasked, weir_buffer_str(&payload));
    if (strstr(name, "err-fragment") != NULL && !hello && opcode == WEIR_FRAME_BINARY)
        out->data[at] = (char)(out->data[at] & 0x7f);
}

typedef struct replay {
    const char *name;
    fixture_host_t host;
    bool hello_done, closed, ended, recorded_closed, upgraded;
    int64_t now_ms;
    frames_t wanted, got;
} replay_t;

static void pass_time(replay_t *r, int64_t to_ms)
{
    for (; r->now_ms + 1000 <= to_ms && !r->closed; r->now_ms += 1000)
        r->closed = weir_session_tick(r->host.session, r->now_ms + 1000, NULL) != WEIR_OK;
    r->now_ms = r->now_ms < to_ms ? to_ms : r->now_ms;
}

static void play(replay_t *r, const weir_json_t *line)
{
    weir_str_t dir = weir_json_get_string(line, "dir", WEIR_STR(""));
    pass_time(r, (int64_t)(weir_json_get_number(line, "t", 0) * 1000));
    if (weir_json_get(line, "http") != NULL)
        r->upgraded = weir_str_starts(weir_json_get_string(line, "status", WEIR_STR("")),
                                      WEIR_STR("HTTP/1.1 101"));
    if (weir_json_get(line, "end") != NULL) {
        r->recorded_closed = weir_str_is(weir_json_string(weir_json_get(line, "end")), "closed");
        if (r->recorded_closed) /* 5 s without a hello */
            pass_time(r, r->now_ms + 5000 * !r->hello_done);
    }
    if (weir_str_is(dir, "cp>dp") && !r->ended)
        describe_frame(weir_json_get_string(line, "op", WEIR_STR("?")).data,
                       weir_json_get(line, "json"), &r->wanted);
    if (!weir_str_is(dir, "dp>cp") || r->closed)
        return;
    if (opcode_of(weir_json_get(line, "op")) == 8) { /* the recorder leaves */
        r->ended = true;
        return;
    }
    WEIR_AUTO(buffer) weir_buffer_t bytes;
    weir_buffer_init(&bytes, 1 << 24);
    frame_of(r->name, line, &bytes);
    int rc = weir_session_input(r->host.session, weir_buffer_str(&bytes), r->now_ms, NULL);
    while (rc == WEIR_OK && r->host.wants_count > 0)
        rc = fixture_host_answer(&r->host, r->now_ms);
    r->closed |= rc != WEIR_OK;
}

static bool same(replay_t *r)
{
    qsort(r->wanted.list, r->wanted.count, sizeof(char *), by_text);
    qsort(r->got.list, r->got.count, sizeof(char *), by_text);
    bool same = r->wanted.count == r->got.count && r->closed == r->recorded_closed;
    for (size_t i = 0; same && i < r->got.count; i++)
        same = strcmp(r->wanted.list[i], r->got.list[i]) == 0;
    return same;
}

static void show(const replay_t *r)
{
    print_message("%s:\n", r->name);
    for (size_t i = 0; i < r->wanted.count; i++)
        print_message("   wanted %s\n", r->wanted.list[i]);
    print_message("   wanted the connection %s\n", r->recorded_closed ? "closed" : "open");
    for (size_t i = 0; i < r->got.count; i++)
        print_message("   got %s\n", r->got.list[i]);
    print_message("   got the connection %s\n", r->closed ? "closed" : "open");
}

/* True: as recorded, or nothing of it happens after an upgrade. */
static bool replay_file(const char *folder, const char *file, fixture_store_t *store)
{
    char path[512];
    char name[256];
    static char line[LINE_MAX_BYTES];
    snprintf(path, sizeof(path), "%s/%s", folder, file);
    snprintf(name, sizeof(name), "%.*s", (int)(strlen(file) - strlen(".jsonl")), file);
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    replay_t r = { .name = name, .upgraded = true };
    fixture_host_open(&r.host, store, strncmp(file, "v2-3.10", 7) == 0 ? "3.10.0" : "3.9.1", 0);
    for (size_t number = 0; fgets(line, sizeof(line), in) != NULL; number++) {
        weir_json_t *json = fixture_json(line);
        if (number > 0)
            play(&r, json);
        weir_json_free(json);
    }
    fclose(in);
    collect(&r.host, &r.hello_done, &r.got);
    bool fine = !r.upgraded || same(&r);
    bool listed = false;
    for (size_t i = 0; i < WEIR_COUNT(differing); i++)
        listed |= strcmp(name, differing[i]) == 0;
    if (fine == listed)
        show(&r);
    release(&r.wanted);
    release(&r.got);
    fixture_host_close(&r.host, r.now_ms);
    return fine != listed;
}

static void faults_and_handshakes_end_as_recorded(void **state)
{
    static char names[FILES_MAX][256];
    char folder[256];
    size_t count = 0;
    size_t bad = 0;
    (void)state;
    const char *corpus = getenv("WEIR_CORPUS");
    snprintf(folder, sizeof(folder), "%s/wire", corpus != NULL ? corpus : "../shared/corpus");
    DIR *dir = opendir(folder);
    if (dir == NULL)
        skip();
    for (struct dirent *entry; (entry = readdir(dir)) != NULL && count < FILES_MAX;) {
        const char *n = entry->d_name;
        if (strncmp(n, "v2-", 3) == 0 &&
            (strstr(n, "-err-") || strstr(n, "-hello-") || strstr(n, "-keepalive")))
            snprintf(names[count++], sizeof(names[0]), "%s", n);
    }
    closedir(dir);
    fixture_store_t store = { 0 };
    fixture_store_open(&store, 1000, FIXTURE_PAYLOAD_MAX, 0);
    for (unsigned i = 1; i <= 20; i++)
        fixture_put(&store, i, "t");
    for (size_t i = 0; i < count; i++)
        bad += !replay_file(folder, names[i], &store);
    fixture_store_close(&store);
    print_message("%zu recordings, %zu not as recorded or listed\n", count, bad);
    assert_true(count > 50);
    assert_int_equal(bad, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faults_and_handshakes_end_as_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
