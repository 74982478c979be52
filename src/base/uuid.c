/* uuid.c -- UUIDs as 16 bytes and as text. */
#include "base/uuid.h"

#include <openssl/evp.h>
#include <sys/random.h>

/* The value of a digit, negative if it is none. A table: no processor foresees the
 * branches of random ids, and a first sync reads millions of them. */
static int hex_digit(char c)
{
    static const uint8_t one_more[UINT8_MAX + 1] = {
        ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,
        ['6'] = 7,  ['7'] = 8,  ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12,
        ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16, ['A'] = 11, ['B'] = 12,
        ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
    };
    return one_more[(uint8_t)c] - 1;
}

static bool is_dash(size_t i)
{
    return i == 8 || i == 13 || i == 18 || i == 23;
}

int weir_uuid_parse(weir_str_t text, weir_uuid_t *ret)
{
    if (text.len != WEIR_UUID_TEXT)
        return WEIR_INVALID;
    weir_uuid_t uuid;
    size_t byte = 0;
    for (size_t i = 0; i < WEIR_UUID_TEXT;) {
        if (is_dash(i)) {
            if (text.data[i] != '-')
                return WEIR_INVALID;
            i++;
            continue;
        }
        int high = hex_digit(text.data[i]);
        int low = hex_digit(text.data[i + 1]);
        if (high < 0 || low < 0)
            return WEIR_INVALID;
        uuid.bytes[byte++] = (uint8_t)(high << 4 | low);
        i += 2;
    }
    *ret = uuid;
    return WEIR_OK;
}

void weir_uuid_format(const weir_uuid_t *uuid, char text[WEIR_UUID_TEXT + 1])
{
    static const char hex[] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < WEIR_UUID_BYTES; i++) {
        if (is_dash(at))
            text[at++] = '-';
        text[at++] = hex[uuid->bytes[i] >> 4];
        text[at++] = hex[uuid->bytes[i] & 15];
    }
    text[at] = '\0';
}

static void set_version(weir_uuid_t *uuid, uint8_t version)
{
    uuid->bytes[6] = (uint8_t)((uuid->bytes[6] & 0x0f) | version << 4);
    uuid->bytes[8] = (uint8_t)((uuid->bytes[8] & 0x3f) | 0x80);
}

int weir_uuid_random(weir_uuid_t *ret)
{
    weir_uuid_t uuid;
    if (getrandom(uuid.bytes, sizeof(uuid.bytes), 0) != (ssize_t)sizeof(uuid.bytes))
        return WEIR_IO;
    set_version(&uuid, 4);
    *ret = uuid;
    return WEIR_OK;
}

void weir_uuid_named(const weir_uuid_t *space, weir_str_t name, weir_uuid_t *ret)
{
    unsigned char digest[EVP_MAX_MD_SIZE] = { 0 };
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    weir_assert(context != NULL);
    int ok = EVP_DigestInit_ex(context, EVP_sha1(), NULL) &&
             EVP_DigestUpdate(context, space->bytes, WEIR_UUID_BYTES) &&
             EVP_DigestUpdate(context, name.data, name.len) &&
             EVP_DigestFinal_ex(context, digest, NULL);
    EVP_MD_CTX_free(context);
    weir_assert(ok);
    memcpy(ret->bytes, digest, WEIR_UUID_BYTES);
    set_version(ret, 5);
}
