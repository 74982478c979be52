/* regex.c -- regular expressions of plugins, compiled once in each process.
 *
 * What is kept follows from the text of an expression alone, so no change of the
 * configuration can make it wrong. Least recently used go first; matching is bounded. */
#include "base/bounded_regex.h"
#include "weir/plugin.h"

enum {
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
static weir_regex_bounds_t bounds;
static bool prepared;

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
    oldest->code = weir_regex_compile(regex, PCRE2_ANCHORED);
    *ret = oldest;
    return WEIR_OK;
}

int weir_regex_match(weir_str_t regex, weir_str_t text)
{
    slot_t *slot = NULL;
    if (regex.data == NULL || regex.len > WEIR_REGEX_BYTES_MAX)
        return WEIR_INVALID;
    int rc = prepared ? WEIR_OK : weir_regex_bounds_init(&bounds);
    prepared = rc == WEIR_OK;
    if (rc == WEIR_OK)
        rc = slot_of(regex, &slot);
    if (rc != WEIR_OK)
        return rc;
    slot->used = ++uses;
    if (slot->code == NULL)
        return WEIR_INVALID;
    int found =
        pcre2_match(slot->code, (PCRE2_SPTR)text.data, text.len, 0, 0, bounds.data, bounds.context);
    return found >= 0 ? WEIR_OK : WEIR_NOT_FOUND;
}
