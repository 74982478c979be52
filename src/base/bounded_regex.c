/* bounded_regex.c -- PCRE2 with bounds. */
#include "base/bounded_regex.h"

enum {
    MATCH_LIMIT = 1000000, /* some milliseconds at worst */
    DEPTH_LIMIT = 10000,
    HEAP_LIMIT_KIB = 1024,
    STACK_BYTES_FIRST = 32 * 1024, /* of compiled code */
    STACK_BYTES_MAX = 1024 * 1024,
};

int weir_regex_bounds_init(weir_regex_bounds_t *bounds)
{
    if (bounds->data == NULL)
        bounds->data = pcre2_match_data_create(1, NULL);
    if (bounds->context == NULL)
        bounds->context = pcre2_match_context_create(NULL);
    if (bounds->data == NULL || bounds->context == NULL)
        return WEIR_NO_MEMORY;
    pcre2_set_match_limit(bounds->context, MATCH_LIMIT);
    pcre2_set_depth_limit(bounds->context, DEPTH_LIMIT);
    pcre2_set_heap_limit(bounds->context, HEAP_LIMIT_KIB);
    if (bounds->stack == NULL)
        bounds->stack = pcre2_jit_stack_create(STACK_BYTES_FIRST, STACK_BYTES_MAX, NULL);
    if (bounds->stack != NULL)
        pcre2_jit_stack_assign(bounds->context, NULL, bounds->stack);
    return WEIR_OK;
}

void weir_regex_bounds_release(weir_regex_bounds_t *bounds)
{
    pcre2_match_data_free(bounds->data);
    pcre2_match_context_free(bounds->context);
    pcre2_jit_stack_free(bounds->stack);
    *bounds = (weir_regex_bounds_t){ NULL, NULL, NULL };
}

pcre2_code *weir_regex_compile(weir_str_t pattern, uint32_t options)
{
    int number = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)pattern.data, pattern.len, options, &number, &offset, NULL);
    if (code != NULL)
        pcre2_jit_compile(code, PCRE2_JIT_COMPLETE); /* without it: slower, the same */
    return code;
}
