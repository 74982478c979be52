/* base.c -- memory with injected failures, errors, assertions. */
#include "base/base.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static _Thread_local unsigned fail_countdown;

void weir_test_fail_allocation(unsigned n)
{
    fail_countdown = n;
}

static bool allocation_fails(void)
{
    if (fail_countdown == 0)
        return false;
    if (fail_countdown == 1)
        return true; /* stays at 1: everything after it fails too */
    fail_countdown--;
    return false;
}

void *weir_malloc(size_t bytes)
{
    return allocation_fails() ? NULL : malloc(bytes > 0 ? bytes : 1);
}

void *weir_calloc(size_t count, size_t bytes)
{
    return allocation_fails() ? NULL : calloc(count > 0 ? count : 1, bytes > 0 ? bytes : 1);
}

void *weir_realloc(void *block, size_t bytes)
{
    return allocation_fails() ? NULL : realloc(block, bytes > 0 ? bytes : 1);
}

void weir_free(void *block)
{
    free(block);
}

char *weir_strdup(weir_str_t text)
{
    char *copy = weir_malloc(text.len + 1);
    if (copy == NULL)
        return NULL;
    if (text.len > 0)
        memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    return copy;
}

_Noreturn void weir_assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "weir: assertion failed: %s (%s:%d)\n", condition, file, line);
    abort();
}

static const char *const code_names[] = {
    [WEIR_OK] = "ok",
    [WEIR_NOT_FOUND] = "not found",
    [WEIR_INVALID] = "invalid",
    [WEIR_CONFLICT] = "conflict",
    [WEIR_AGAIN] = "again",
    [WEIR_TOO_LARGE] = "too large",
    [WEIR_NO_MEMORY] = "out of memory",
    [WEIR_FULL] = "full",
    [WEIR_IO] = "input/output error",
    [WEIR_CORRUPT] = "corrupt",
    [WEIR_CLOSED] = "closed",
    [WEIR_TIMEOUT] = "timeout",
    [WEIR_UNSUPPORTED] = "unsupported",
};

const char *weir_code_name(int code)
{
    if (code < 0 || (size_t)code >= WEIR_COUNT(code_names))
        return "unknown";
    return code_names[code];
}

int weir_error_set(weir_error_t *err, int code, const char *field, const char *format, ...)
{
    if (err == NULL)
        return code;
    /* The arguments may point into *err itself: write to the side first. */
    weir_error_t next = { .code = code };
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(next.reason, sizeof(next.reason), format, arguments);
    va_end(arguments);
    if (field != NULL)
        snprintf(next.field, sizeof(next.field), "%s", field);
    *err = next;
    return code;
}

int weir_error_memory(weir_error_t *err)
{
    return weir_error_set(err, WEIR_NO_MEMORY, NULL, "out of memory");
}

int weir_error_errno(weir_error_t *err, int number, const char *format, ...)
{
    char what[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(what, sizeof(what), format, arguments);
    va_end(arguments);
    int code = number == ENOSPC || number == EDQUOT ? WEIR_FULL : WEIR_IO;
    char text[128];
    return weir_error_set(err, code, NULL, "%s: %s", what, strerror_r(number, text, sizeof(text)));
}

int weir_error_within(weir_error_t *err, int code, const char *format, ...)
{
    if (err == NULL)
        return code;
    char where[160];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(where, sizeof(where), format, arguments);
    va_end(arguments);
    char reason[sizeof(err->reason)];
    memcpy(reason, err->reason, sizeof(reason));
    snprintf(err->reason, sizeof(err->reason), "%s: %.*s", where,
             (int)(sizeof(err->reason) - sizeof(where) - 2), reason);
    err->code = code;
    return code;
}

weir_str_t weir_str_format(char *out, size_t bytes, const char *format, va_list arguments)
{
    int len = vsnprintf(out, bytes, format, arguments);
    if (len < 0)
        return (weir_str_t){ out, 0 }; /* a format that the C library refuses */
    return (weir_str_t){ out, (size_t)len < bytes ? (size_t)len : bytes - 1 };
}

weir_str_t weir_str_trim(weir_str_t text)
{
    while (text.len > 0 && isspace((unsigned char)text.data[0]))
        text = (weir_str_t){ text.data + 1, text.len - 1 };
    while (text.len > 0 && isspace((unsigned char)text.data[text.len - 1]))
        text.len--;
    return text;
}

int weir_parse_int64(weir_str_t text, int64_t min, int64_t max, int64_t *ret)
{
    char copy[24];
    if (text.len == 0 || text.len >= sizeof(copy))
        return WEIR_INVALID;
    memcpy(copy, text.data, text.len);
    copy[text.len] = '\0';
    if (copy[0] != '-' && (copy[0] < '0' || copy[0] > '9'))
        return WEIR_INVALID;
    char *end = NULL;
    errno = 0;
    long long value = strtoll(copy, &end, 10);
    if (errno != 0 || end != copy + text.len || value < min || value > max)
        return WEIR_INVALID;
    *ret = value;
    return WEIR_OK;
}
