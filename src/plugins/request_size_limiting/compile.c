/* compile.c -- the configuration of request-size-limiting as a record
 * (request_size_limiting.h). */
#include "plugins/request_size_limiting/request_size_limiting.h"

int request_size_limiting_compile(const weir_json_t *config, weir_record_writer_t *out,
                                  weir_error_t *err)
{
    enum { DEFAULT = 128, KILOBYTE = 1024, MEGABYTE = 1024 * 1024 };
    static const double most = 4611686018427387904; /* 2^62: a body is never so long */
    (void)err; /* the configuration is valid, and a lack of memory needs no words */
    weir_str_t unit = weir_json_get_string(config, "size_unit", WEIR_STR("megabytes"));
    double size = weir_json_get_number(config, "allowed_payload_size", DEFAULT);
    if (weir_str_is(unit, "megabytes"))
        size *= MEGABYTE;
    else if (weir_str_is(unit, "kilobytes"))
        size *= KILOBYTE;
    if (size > most)
        size = most;
    if (size < -1)
        size = -1; /* nothing is that short */
    weir_record_put_u64(out, (uint64_t)(int64_t)size);
    return weir_record_put_u64(out, weir_json_get_boolean(config, "require_content_length", false));
}
