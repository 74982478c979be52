/* regex.c -- regular expressions of plugins, compiled once in each process.
 *
 * What is kept follows from the text of an expression alone, so no change of the
 * configuration can make it wrong. Least recently used go first; matching is bounded. */
#include "base/base.h"
#include "weir/plugin.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum {
    MATCH_LIMIT = 1000000, /* some milliseconds at worst */
    DEPTH_LIMIT = 10000,
    HEAP_LIMIT_KIB = 1024,
    STACK_BYTES_FIRST = 32 * 1024, /* of compiled code */
    STACK_BYTES_MAX = 1024 * 1024,
    REGEX_BYTES_MAX = 16384,
    SETS = 64,
    WAYS = 4, /* places that one expression may have */
};

typedef struct slot {
    char *text; /* NULL: free */
    size_t len;
    pcre2_code *code; /* NULL: it is none */
    uint64_t used;    /* the clock of the cache */
} slot_t;

static slot_t slots[SETS * WAYS];
static uint64_t uses;
static pcre2_match_data *match_data;
static pcre2_match_context *context;

static bool prepare(void)
{
    if (context != NULL)
        return true;
    if (match_data == NULL)
        match_data = pcre2_match_data_create(1, NULL);
    pcre2_match_context *made = match_data != NULL ? pcre2_match_context_create(NULL) : NULL;
    if (made == NULL)
        return false;
    pcre2_set_match_limit(made, MATCH_LIMIT);
    pcre2_set_depth_limit(made, DEPTH_LIMIT);
    pcre2_set_heap_limit(made, HEAP_LIMIT_KIB);
    pcre2_jit_stack *stack = pcre2_jit_stack_create(STACK_BYTES_FIRST, STACK_BYTES_MAX, NULL);
    if (stack != NULL)
        pcre2_jit_stack_assign(made, NULL, stack);
    context = made;
    return true;
}

static slot_t *set_of(weir_str_t regex)
{
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < regex.len; i++)
        hash = (hash ^ (unsigned char)regex.data[i]) * UINT64_C(1099511628211);
    return &slots[(hash >> 16) % SETS * WAYS];
}

/* WEIR_OK: *ret has it, compiled or found to be none. */
static int slot_of(weir_str_t regex, slot_t **ret)
{
    slot_t *set = set_of(regex);
    slot_t *oldest = set;
    int number = 0;
    PCRE2_SIZE offset = 0;
    for (slot_t *slot = set; slot < set + WAYS; slot++) {
        *ret = slot;
        if (slot->text != NULL && weir_str_equal((weir_str_t){ slot->text, slot->len }, regex))
            return WEIR_OK;
        if (slot->used < oldest->used)
            oldest = slot;
    }
    char *text = weir_strdup(regex);
    if (text == NULL)
        return WEIR_NO_MEMORY;
    weir_free(oldest->text);
    pcre2_code_free(oldest->code);
    *oldest = (slot_t){ .text = text, .len = regex.len };
    oldest->code =
        pcre2_compile((PCRE2_SPTR)regex.data, regex.len, PCRE2_ANCHORED, &number, &offset, NULL);
    if (oldest->code != NULL)
        pcre2_jit_compile(oldest->code, PCRE2_JIT_COMPLETE); /* without it: slower, the same */
    *ret = oldest;
    return WEIR_OK;
}

int weir_regex_match(weir_str_t regex, weir_str_t text)
{
    slot_t *slot = NULL;
    if (regex.data == NULL || regex.len > REGEX_BYTES_MAX)
        return WEIR_INVALID;
    int rc = prepare() ? slot_of(regex, &slot) : WEIR_NO_MEMORY;
    if (rc != WEIR_OK)
        return rc;
    slot->used = ++uses;
    if (slot->code == NULL)
        return WEIR_INVALID;
    int found = pcre2_match(slot->code, (PCRE2_SPTR)text.data, text.len, 0, 0, match_data, context);
    return found >= 0 ? WEIR_OK : WEIR_NOT_FOUND;
}
