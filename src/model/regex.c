/* regex.c -- is a text a regular expression that routes may have?
 *
 * Twice: it must compile in PCRE2, which matches it, and be of the syntax of the
 * incumbent's engine (Rust's regex crate), so that a configuration goes both
 * ways. The second is a scan over what the two syntaxes do not share; it can rely
 * on PCRE2 having accepted the text (balanced groups, nothing to repeat missing). */
#include "model/checks.h"

#include <ctype.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

enum { CLASS_DEPTH_MAX = 200, SHOWN_BYTES = 160 };

/* -- PCRE2 ---------------------------------------------------------------- */

static int pcre_error(weir_str_t regex, int number, size_t offset, weir_error_t *err)
{
    PCRE2_UCHAR text[160] = "";
    pcre2_get_error_message(number, text, sizeof(text));
    if (offset >= regex.len)
        return weir_error_set(err, WEIR_INVALID, NULL,
                              "invalid regex: '" WEIR_REGEX "' (PCRE returned: pcre2_compile() "
                              "failed: %s in \"" WEIR_REGEX "\")",
                              (const char *)text);
    size_t left = regex.len - offset;
    return weir_error_set(err, WEIR_INVALID, NULL,
                          "invalid regex: '" WEIR_REGEX "' (PCRE returned: pcre2_compile() failed: "
                          "%s in \"" WEIR_REGEX "\" at \"%.*s\")",
                          (const char *)text, (int)(left < SHOWN_BYTES ? left : SHOWN_BYTES),
                          regex.data + offset);
}

int weir_check_regex(weir_str_t regex, weir_error_t *err)
{
    int number = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)regex.data, regex.len, PCRE2_ANCHORED, &number, &offset, NULL);
    if (code == NULL)
        return pcre_error(regex, number, offset, err);
    pcre2_code_free(code);
    return WEIR_OK;
}

int weir_check_any_or_regex(weir_str_t value, weir_error_t *err)
{
    int number = 0;
    PCRE2_SIZE offset = 0;
    if (weir_str_is(value, "*"))
        return WEIR_OK;
    pcre2_code *code =
        pcre2_compile((PCRE2_SPTR)value.data, value.len, PCRE2_ANCHORED, &number, &offset, NULL);
    if (code == NULL)
        return weir_error_set(err, WEIR_INVALID, NULL, "'" WEIR_VALUE "' is not a valid regex");
    pcre2_code_free(code);
    return WEIR_OK;
}

/* -- the other engine ----------------------------------------------------- */

typedef struct scan {
    const char *at, *end;
    const char *why; /* NULL: fine so far */
} scan_t;

static bool refuse(scan_t *s, const char *why)
{
    s->why = why;
    return false;
}

static bool ahead(const scan_t *s, const char *text)
{
    size_t len = strlen(text);
    return (size_t)(s->end - s->at) >= len && memcmp(s->at, text, len) == 0;
}

/* After \x, \u, \U, \p or \P: "{...}", or `digits` characters. */
static bool scan_argument(scan_t *s, size_t digits, bool hexadecimal)
{
    if (s->at < s->end && *s->at == '{') {
        const char *close = memchr(s->at, '}', (size_t)(s->end - s->at));
        if (close == NULL || close == s->at + 1)
            return refuse(s, "incomplete escape sequence, reached end of pattern prematurely");
        s->at = close + 1;
        return true;
    }
    for (size_t i = 0; i < digits; i++, s->at++)
        if (s->at == s->end || (hexadecimal && !isxdigit((unsigned char)*s->at)))
            return refuse(s, "invalid hexadecimal digit");
    return true;
}

/* At the character after a '\'. */
static bool scan_escape(scan_t *s, bool in_class)
{
    if (s->at == s->end)
        return refuse(s, "incomplete escape sequence, reached end of pattern prematurely");
    char c = *s->at++;
    if (isdigit((unsigned char)c))
        return refuse(s, "backreferences are not supported");
    switch (c) {
    case 'x':
        return scan_argument(s, 2, true);
    case 'u':
        return scan_argument(s, 4, true);
    case 'U':
        return scan_argument(s, 8, true);
    case 'p':
    case 'P':
        return scan_argument(s, 1, false);
    case 'b':
    case 'B':
    case 'A':
    case 'z':
        return !in_class || refuse(s, "invalid escape sequence found in character class");
    default:
        break;
    }
    if (strchr("aftnrvdDsSwW", c) != NULL && c != '\0')
        return true;
    bool plain = (unsigned char)c < 0x80 && !isalnum((unsigned char)c);
    return plain || refuse(s, "unrecognized escape sequence");
}

/* After a '['. Nested classes and [:names:] are both legal there. */
static bool scan_class(scan_t *s, unsigned depth)
{
    if (depth > CLASS_DEPTH_MAX)
        return refuse(s, "exceeded the maximum number of nested parentheses/brackets");
    if (s->at < s->end && *s->at == '^')
        s->at++;
    if (s->at < s->end && *s->at == ']')
        s->at++; /* the first one is literal */
    while (s->at < s->end) {
        char c = *s->at++;
        if (c == ']')
            return true;
        if (c == '\\' && !scan_escape(s, true))
            return false;
        if (c != '[')
            continue;
        const char *close = s->at < s->end && *s->at == ':'
                                ? memmem(s->at, (size_t)(s->end - s->at), ":]", 2)
                                : NULL;
        if (close != NULL)
            s->at = close + 2;
        else if (!scan_class(s, depth + 1))
            return false;
    }
    return refuse(s, "unclosed character class");
}

/* After "(?": flags, or a name. */
static bool scan_group(scan_t *s)
{
    if (ahead(s, "=") || ahead(s, "!") || ahead(s, "<=") || ahead(s, "<!"))
        return refuse(s, "look-around, including look-ahead and look-behind, is not supported");
    if (ahead(s, "P<") || ahead(s, "<")) {
        const char *close = memchr(s->at, '>', (size_t)(s->end - s->at));
        if (close == NULL)
            return refuse(s, "unclosed capture group name");
        s->at = close + 1;
        return true;
    }
    while (s->at < s->end && *s->at != ':' && *s->at != ')') {
        if (strchr("imsUuxR-", *s->at) == NULL || *s->at == '\0')
            return refuse(s, "unrecognized flag");
        s->at++;
    }
    if (s->at < s->end && *s->at == ':')
        s->at++;
    return true;
}

/* After '*', '+', '?' or "{n,m}": an optional '?' is lazy, a '+' possessive. */
static bool scan_greed(scan_t *s)
{
    if (s->at < s->end && *s->at == '+')
        return refuse(s, "possessive quantifiers are not supported");
    if (s->at < s->end && *s->at == '?')
        s->at++;
    return true;
}

/* After '{', which is never literal there. */
static bool scan_count(scan_t *s)
{
    size_t digits = 0;
    size_t commas = 0;
    for (; s->at < s->end && *s->at != '}'; s->at++) {
        bool digit = isdigit((unsigned char)*s->at);
        if (!digit && (*s->at != ',' || commas > 0 || digits == 0))
            return refuse(s, "repetition quantifier expects a valid decimal");
        digits += digit;
        commas += !digit;
    }
    if (s->at == s->end)
        return refuse(s, "unclosed counted repetition");
    if (digits == 0)
        return refuse(s, "repetition quantifier expects a valid decimal");
    s->at++;
    return scan_greed(s);
}

static bool scan_item(scan_t *s)
{
    char c = *s->at++;
    switch (c) {
    case '\\':
        return scan_escape(s, false);
    case '[':
        return scan_class(s, 0);
    case '(':
        if (ahead(s, "*"))
            return refuse(s, "repetition operator missing expression");
        if (!ahead(s, "?"))
            return true;
        s->at++;
        return scan_group(s);
    case '*':
    case '+':
    case '?':
        return scan_greed(s);
    case '{':
        return scan_count(s);
    default:
        return true;
    }
}

int weir_check_linear_regex(weir_str_t regex, weir_error_t *err)
{
    scan_t s = { .at = regex.data, .end = regex.data + regex.len };
    size_t position = 0;
    if (!weir_utf8_valid(regex, &position))
        s.why = "invalid UTF-8";
    while (s.why == NULL && s.at < s.end && scan_item(&s))
        continue;
    if (s.why == NULL)
        return WEIR_OK;
    return weir_error_set(err, WEIR_INVALID, NULL,
                          "Router Expression failed validation: regex parse error: %s in '%.*s'",
                          s.why, (int)(regex.len < SHOWN_BYTES ? regex.len : SHOWN_BYTES),
                          regex.data);
}

/* -- a route -------------------------------------------------------------- */

/* Values are compared in lower case, and so is the pattern (routing 1.2). */
static int check_header_regex(weir_str_t regex, weir_error_t *err)
{
    WEIR_AUTO(free) char *lower = weir_strdup(regex);
    if (lower == NULL)
        return weir_error_memory(err);
    for (size_t i = 0; i < regex.len; i++)
        lower[i] = (char)tolower((unsigned char)lower[i]);
    weir_str_t text = { lower, regex.len };
    int rc = weir_check_linear_regex(text, err);
    if (rc == WEIR_OK && weir_check_regex(text, NULL) != WEIR_OK)
        rc = weir_error_set(err, WEIR_INVALID, NULL,
                            "Router Expression failed validation: regex parse error in '%.*s'",
                            (int)(regex.len < SHOWN_BYTES ? regex.len : SHOWN_BYTES), regex.data);
    return rc;
}

int weir_check_route_expression(const weir_json_t *entity, int64_t now_s, weir_error_t *err)
{
    (void)now_s;
    int rc = WEIR_OK;
    for (const weir_json_t *path = weir_json_first(weir_json_get(entity, "paths"));
         rc == WEIR_OK && path != NULL; path = weir_json_next(path)) {
        weir_str_t text = weir_json_string(path);
        if (weir_str_starts(text, WEIR_STR("~")))
            rc = weir_check_linear_regex((weir_str_t){ text.data + 1, text.len - 1 }, err);
    }
    for (const weir_json_t *header = weir_json_first(weir_json_get(entity, "headers"));
         rc == WEIR_OK && header != NULL; header = weir_json_next(header)) {
        for (const weir_json_t *item = weir_json_first(header); rc == WEIR_OK && item != NULL;
             item = weir_json_next(item)) {
            weir_str_t text = weir_json_string(item);
            if (weir_str_starts(text, WEIR_STR("~*")))
                rc = check_header_regex((weir_str_t){ text.data + 2, text.len - 2 }, err);
        }
    }
    return rc;
}
