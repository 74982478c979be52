/* random.c -- randomness for plugins. */
#include "base/uuid.h"
#include "weir/plugin.h"

_Static_assert((int)WEIR_UUID_TEXT_BYTES == WEIR_UUID_TEXT + 1, "the text of a UUID has its end");

int weir_random_uuid(char ret[WEIR_UUID_TEXT_BYTES])
{
    weir_uuid_t id;
    if (weir_uuid_random(&id) != WEIR_OK)
        return WEIR_IO;
    weir_uuid_format(&id, ret);
    return WEIR_OK;
}
