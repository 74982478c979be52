/* classic_info_fuzz.c -- any basic_info, and frames after it, to a session of the classic
 * full sync: the first line is the first message, each further one a frame of its kind. */
#include "cluster/classic.h"
#include "cluster/frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 65536 };

static int on_send(void *context, weir_str_t bytes)
{
    (void)context, (void)bytes;
    return WEIR_OK;
}

static int on_frame(void *context, weir_classic_frame_t *frame)
{
    (void)context, (void)frame;
    return WEIR_OK;
}

static bool on_busy(void *context)
{
    (void)context;
    return false;
}

static void on_want(void *context, const weir_classic_want_t *want)
{
    *(weir_classic_want_t *)context = *want;
}

static void on_event(void *context, const char *text)
{
    (void)context, (void)text;
}

static int give(weir_classic_session_t *session, weir_opcode_t opcode, weir_str_t payload)
{
    static const uint8_t mask[4] = { 1, 2, 3, 4 };
    uint8_t header[WEIR_FRAME_HEADER_MAX];
    size_t len = weir_frame_header(opcode, payload.len, mask, header);
    weir_buffer_t bytes;
    weir_buffer_init(&bytes, 2 * INPUT_MAX);
    weir_buffer_append(&bytes, (weir_str_t){ (char *)header, len });
    weir_buffer_append(&bytes, payload);
    if (payload.len > 0)
        weir_frame_mask(bytes.data + len, payload.len, mask);
    int rc = weir_classic_session_input(session, weir_buffer_str(&bytes), 1000, NULL);
    weir_buffer_release(&bytes);
    return rc;
}

static void give_lines(weir_classic_session_t *session, const char *text, size_t size)
{
    static const weir_opcode_t opcodes[] = { WEIR_FRAME_PING, WEIR_FRAME_BINARY, WEIR_FRAME_TEXT,
                                             WEIR_FRAME_PONG, WEIR_FRAME_CLOSE };
    weir_opcode_t opcode = WEIR_FRAME_BINARY;
    int rc = WEIR_OK;
    for (size_t at = 0; at < size && rc == WEIR_OK;) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t len = end != NULL ? (size_t)(end - text) - at : size - at;
        rc = give(session, opcode, (weir_str_t){ text + at, len });
        at += len + 1;
        opcode = at < size ? opcodes[(unsigned char)text[at] % WEIR_COUNT(opcodes)] : opcode;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static weir_registry_t *registry;
    weir_classic_want_t want = { 0 };
    weir_classic_session_t *session = NULL;
    if (size > INPUT_MAX ||
        (registry == NULL && weir_registry_new(1000, &registry, NULL) != WEIR_OK))
        return 0;
    weir_classic_session_options_t options = {
        .payload_max = INPUT_MAX,
        .compat_version = "3.9.1",
        .registry = registry,
        .ip = WEIR_STR("::1"),
        .context = &want,
        .send = on_send,
        .send_frame = on_frame,
        .busy = on_busy,
        .want = on_want,
        .event = on_event,
    };
    weir_classic_query_read(
        WEIR_STR("node_id=11111111-2222-4333-8444-555555555555&node_hostname=h&node_version=3.9.1"),
        &options.query);
    if (weir_classic_session_new(&options, 0, &session, NULL) != WEIR_OK)
        return 0;
    weir_classic_session_push(session, 1, 0);
    give_lines(session, (const char *)data, size);
    weir_classic_session_free(session, 2000);
    return 0;
}
