/* fleet_fault.c -- what faulty nodes send, and what becomes of what they would send. */
#include "fleet.h"

#include "base/json.h"
#include "cluster/codec.h"
#include "cluster/frame.h"
#include "cluster/message.h"

uint64_t fleet_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int put_frame(uint64_t *random, weir_opcode_t opcode, weir_str_t payload, weir_buffer_t *out)
{
    uint8_t head[WEIR_FRAME_HEADER_MAX];
    uint64_t number = fleet_random(random);
    uint8_t mask[4];
    memcpy(mask, &number, sizeof(mask));
    size_t len = weir_frame_header(opcode, payload.len, mask, head);
    weir_buffer_append(out, (weir_str_t){ (const char *)head, len });
    size_t at = out->len;
    if (weir_buffer_append(out, payload) == WEIR_OK)
        weir_frame_mask(out->data + at, payload.len, mask);
    return out->failed;
}

static int put_message(uint64_t *random, weir_str_t text, weir_buffer_t *out)
{
    WEIR_AUTO(buffer) weir_buffer_t block;
    weir_buffer_init(&block, text.len + text.len / 4 + 256);
    if (weir_codec_deflate(WEIR_CODEC_SNAPPY, text, &block, NULL) != WEIR_OK)
        return WEIR_NO_MEMORY;
    return put_frame(random, WEIR_FRAME_BINARY, weir_buffer_str(&block), out);
}

/* -- garbage ------------------------------------------------------------------------------- */

static void put_noise(uint64_t *random, weir_buffer_t *out)
{
    size_t bytes = 16 + fleet_random(random) % 512;
    for (size_t i = 0; i < bytes; i++)
        weir_buffer_byte(out, (char)fleet_random(random));
}

static void put_deep(uint64_t *random, weir_buffer_t *out)
{
    enum { DEPTH = 50000 };
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, DEPTH);
    for (int i = 0; i < DEPTH; i++)
        weir_buffer_byte(&text, '[');
    put_message(random, weir_buffer_str(&text), out);
}

/* Texts that are no message of the protocol, or one that means nothing. */
static weir_str_t odd_text(uint64_t number)
{
    static const char *const texts[] = {
        "{\"jsonrpc\":\"1.0\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"kong.sync.v2.get_delta\"}",
        "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"result\":{}}",
        "{\"jsonrpc\":\"2.0\",\"method\":\"kong.sync.v2.get_delta\",\"params\":[[[[]]]]",
        "true",
        "\xff\xfe\x00\x01",
    };
    return weir_str(texts[number % WEIR_COUNT(texts)]);
}

void fleet_garbage(uint64_t *random, weir_buffer_t *out)
{
    static const char bomb[] = "\xff\xff\xff\xff\x0f\x00"; /* a block that says it is of 4 GiB */
    WEIR_AUTO(buffer) weir_buffer_t noise;
    weir_buffer_init(&noise, 1024);
    put_noise(random, &noise);
    switch (fleet_random(random) % 8) {
    case 0: /* no framing */
        weir_buffer_append(out, weir_buffer_str(&noise));
        break;
    case 1: /* a frame that is no block */
        put_frame(random, WEIR_FRAME_BINARY, weir_buffer_str(&noise), out);
        break;
    case 2: /* a block that is no JSON */
        put_message(random, weir_buffer_str(&noise), out);
        break;
    case 3:
        put_frame(random, WEIR_FRAME_BINARY, (weir_str_t){ bomb, sizeof(bomb) - 1 }, out);
        break;
    case 4:
        put_frame(random, WEIR_FRAME_TEXT, WEIR_STR("hello"), out);
        break;
    case 5: /* half of a frame, and what follows is in it */
        weir_buffer_append(out, (weir_str_t){ "\x82\xff\0\0\0\0\0\x10\0\0abcd", 14 });
        break;
    case 6:
        put_deep(random, out);
        break;
    default:
        put_message(random, odd_text(fleet_random(random)), out);
        break;
    }
}

/* -- asking for everything ------------------------------------------------------------------ */

int fleet_ask_all(uint64_t *random, uint64_t id, weir_buffer_t *out)
{
    WEIR_AUTO(json) weir_json_t *number = weir_json_new_number((double)id);
    weir_str_t nothing = WEIR_STR("00000000000000000000000000000000");
    WEIR_AUTO(json)
    weir_json_t *call = weir_message_call(
        "kong.sync.v2.get_delta", weir_message_in_default("version", weir_json_new_string(nothing)),
        number);
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, 1024);
    if (number == NULL || call == NULL || weir_json_print(call, &text) != WEIR_OK)
        return WEIR_NO_MEMORY;
    return put_message(random, weir_buffer_str(&text), out);
}

/* -- muteness --------------------------------------------------------------------------------- */

bool fleet_muzzle_passes(fleet_muzzle_t *muzzle, weir_str_t bytes)
{
    if (muzzle->dropping == 0 && bytes.len >= 2) {
        const uint8_t *head = (const uint8_t *)bytes.data;
        size_t mask = (head[1] & 0x80) != 0 ? 4 : 0;
        size_t more = (head[1] & 0x7f) == 126 ? 2 : (head[1] & 0x7f) == 127 ? 8 : 0;
        uint64_t payload = head[1] & 0x7f;
        for (size_t i = 0; i < more && 2 + i < bytes.len; i++)
            payload = (i == 0 ? 0 : payload << 8) | head[2 + i];
        muzzle->passing = (head[0] & 0x0f) >= WEIR_FRAME_CLOSE;
        muzzle->dropping = 2 + more + mask + payload;
    }
    muzzle->dropping -= bytes.len < muzzle->dropping ? bytes.len : muzzle->dropping;
    return muzzle->passing;
}
