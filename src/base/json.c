/* json.c -- the one file that knows cJSON.
 *
 * cJSON's own printer is not used: it prints 1e15 with an exponent, which
 * clients that read ids and timestamps as integers refuse (admin-api 1). */
#include "base/json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define INTEGER_MAX 9007199254740992.0 /* 2^53 */

static pthread_once_t hooks_once = PTHREAD_ONCE_INIT;

static _Thread_local weir_arena_t *place;

weir_arena_t *weir_json_place(weir_arena_t *arena)
{
    weir_arena_t *before = place;
    place = arena;
    return before;
}

/* Our allocator otherwise, so that the tests can make cJSON's allocations fail. */
static void *take(size_t bytes)
{
    return place != NULL ? weir_arena_alloc(place, bytes) : weir_malloc(bytes);
}

static void give_back(void *memory)
{
    if (place == NULL)
        weir_free(memory);
}

static char *take_copy(weir_str_t text)
{
    return place != NULL ? (char *)(uintptr_t)weir_arena_copy(place, text).data : weir_strdup(text);
}

static void install_hooks(void)
{
    cJSON_Hooks hooks = { take, give_back };
    cJSON_InitHooks(&hooks);
}

weir_json_kind_t weir_json_kind(const weir_json_t *value)
{
    if (value == NULL)
        return WEIR_JSON_ABSENT;
    switch (value->type & 0xff) {
    case cJSON_True:
    case cJSON_False:
        return WEIR_JSON_BOOLEAN;
    case cJSON_Number:
        return WEIR_JSON_NUMBER;
    case cJSON_String:
        return WEIR_JSON_STRING;
    case cJSON_Array:
        return WEIR_JSON_ARRAY;
    case cJSON_Object:
        return WEIR_JSON_OBJECT;
    default:
        return WEIR_JSON_NULL;
    }
}

/* Most names differ in the first character: that spares a call for each. */
static bool same_name(const char *a, const char *b)
{
    return a[0] == b[0] && strcmp(a, b) == 0;
}

weir_json_t *weir_json_get_mutable(weir_json_t *object, const char *name)
{
    if (weir_json_kind(object) != WEIR_JSON_OBJECT)
        return NULL;
    for (cJSON *member = object->child; member != NULL; member = member->next)
        if (same_name(member->string, name))
            return member;
    return NULL;
}

const weir_json_t *weir_json_get(const weir_json_t *object, const char *name)
{
    return weir_json_get_mutable((weir_json_t *)(uintptr_t)object, name);
}

weir_str_t weir_json_get_string(const weir_json_t *object, const char *name, weir_str_t otherwise)
{
    const weir_json_t *member = weir_json_get(object, name);
    return weir_json_kind(member) == WEIR_JSON_STRING ? weir_json_string(member) : otherwise;
}

double weir_json_get_number(const weir_json_t *object, const char *name, double otherwise)
{
    const weir_json_t *member = weir_json_get(object, name);
    return weir_json_kind(member) == WEIR_JSON_NUMBER ? member->valuedouble : otherwise;
}

bool weir_json_get_boolean(const weir_json_t *object, const char *name, bool otherwise)
{
    const weir_json_t *member = weir_json_get(object, name);
    return weir_json_kind(member) == WEIR_JSON_BOOLEAN ? weir_json_boolean(member) : otherwise;
}

weir_str_t weir_json_string(const weir_json_t *value)
{
    if (weir_json_kind(value) != WEIR_JSON_STRING)
        return (weir_str_t){ NULL, 0 };
    return weir_str(value->valuestring);
}

double weir_json_number(const weir_json_t *value)
{
    return weir_json_kind(value) == WEIR_JSON_NUMBER ? value->valuedouble : 0;
}

bool weir_json_boolean(const weir_json_t *value)
{
    return value != NULL && (value->type & 0xff) == cJSON_True;
}

bool weir_json_is_integer(const weir_json_t *value)
{
    if (weir_json_kind(value) != WEIR_JSON_NUMBER)
        return false;
    double number = value->valuedouble;
    return isfinite(number) && fabs(number) <= INTEGER_MAX && floor(number) == number;
}

size_t weir_json_count(const weir_json_t *container)
{
    size_t count = 0;
    for (const weir_json_t *child = weir_json_first(container); child != NULL; child = child->next)
        count++;
    return count;
}

weir_json_t *weir_json_first_mutable(weir_json_t *container)
{
    weir_json_kind_t kind = weir_json_kind(container);
    return kind == WEIR_JSON_ARRAY || kind == WEIR_JSON_OBJECT ? container->child : NULL;
}

const weir_json_t *weir_json_first(const weir_json_t *container)
{
    return weir_json_first_mutable((weir_json_t *)(uintptr_t)container);
}

weir_json_t *weir_json_next_mutable(weir_json_t *value)
{
    return value != NULL ? value->next : NULL;
}

const weir_json_t *weir_json_next(const weir_json_t *value)
{
    return value != NULL ? value->next : NULL;
}

const char *weir_json_name(const weir_json_t *member)
{
    return member != NULL ? member->string : NULL;
}

bool weir_json_equal(const weir_json_t *a, const weir_json_t *b)
{
    weir_json_kind_t kind = weir_json_kind(a);
    if (kind != weir_json_kind(b))
        return false;
    switch (kind) {
    case WEIR_JSON_ABSENT:
    case WEIR_JSON_NULL:
        return true;
    case WEIR_JSON_BOOLEAN:
        return weir_json_boolean(a) == weir_json_boolean(b);
    case WEIR_JSON_NUMBER:
        return a->valuedouble == b->valuedouble;
    case WEIR_JSON_STRING:
        return strcmp(a->valuestring, b->valuestring) == 0;
    case WEIR_JSON_ARRAY: {
        const weir_json_t *x = a->child;
        const weir_json_t *y = b->child;
        for (; x != NULL && y != NULL; x = x->next, y = y->next)
            if (!weir_json_equal(x, y))
                return false;
        return x == NULL && y == NULL;
    }
    case WEIR_JSON_OBJECT:
        break;
    }
    /* Members are usually in the same order: try that place first. */
    size_t count = 0;
    const weir_json_t *beside = b->child;
    for (const weir_json_t *x = a->child; x != NULL; x = x->next, count++) {
        const weir_json_t *y = beside != NULL && strcmp(x->string, beside->string) == 0
                                   ? beside
                                   : weir_json_get(b, x->string);
        if (y == NULL || !weir_json_equal(x, y))
            return false;
        beside = y->next;
    }
    return count == weir_json_count(b);
}

weir_json_t *weir_json_new_null(void)
{
    pthread_once(&hooks_once, install_hooks);
    return cJSON_CreateNull();
}

weir_json_t *weir_json_new_boolean(bool value)
{
    pthread_once(&hooks_once, install_hooks);
    return cJSON_CreateBool(value);
}

weir_json_t *weir_json_new_number(double value)
{
    pthread_once(&hooks_once, install_hooks);
    return cJSON_CreateNumber(value);
}

weir_json_t *weir_json_new_string(weir_str_t text)
{
    pthread_once(&hooks_once, install_hooks);
    char *copy = take_copy(text);
    weir_json_t *value = copy != NULL ? cJSON_CreateNull() : NULL;
    if (value == NULL) {
        give_back(copy);
        return NULL;
    }
    value->type = cJSON_String;
    value->valuestring = copy;
    return value;
}

weir_json_t *weir_json_new_array(void)
{
    pthread_once(&hooks_once, install_hooks);
    return cJSON_CreateArray();
}

weir_json_t *weir_json_new_object(void)
{
    pthread_once(&hooks_once, install_hooks);
    return cJSON_CreateObject();
}

weir_json_t *weir_json_copy(const weir_json_t *value)
{
    pthread_once(&hooks_once, install_hooks);
    return value != NULL ? cJSON_Duplicate(value, true) : NULL;
}

void weir_json_free(weir_json_t *value)
{
    cJSON_Delete(value);
}

int weir_json_set(weir_json_t *object, const char *name, weir_json_t *value)
{
    if (value == NULL)
        return WEIR_NO_MEMORY;
    weir_assert(weir_json_kind(object) == WEIR_JSON_OBJECT);
    weir_json_t *present = weir_json_get_mutable(object, name);
    if (present != NULL && present != value) {
        char *copy = take_copy(weir_str(name));
        if (copy == NULL) {
            cJSON_Delete(value);
            return WEIR_NO_MEMORY;
        }
        if (value->string != NULL)
            give_back(value->string);
        value->string = copy;
        value->type &= ~cJSON_StringIsConst;
        cJSON_ReplaceItemViaPointer(object, present, value);
        return WEIR_OK;
    }
    if (!cJSON_AddItemToObject(object, name, value)) {
        cJSON_Delete(value);
        return WEIR_NO_MEMORY;
    }
    return WEIR_OK;
}

int weir_json_append(weir_json_t *array, weir_json_t *value)
{
    if (value == NULL)
        return WEIR_NO_MEMORY;
    weir_assert(weir_json_kind(array) == WEIR_JSON_ARRAY);
    cJSON_AddItemToArray(array, value);
    return WEIR_OK;
}

weir_json_t *weir_json_take(weir_json_t *object, const char *name)
{
    weir_json_t *member = weir_json_get_mutable(object, name);
    return member != NULL ? cJSON_DetachItemViaPointer(object, member) : NULL;
}

void weir_json_remove(weir_json_t *object, const char *name)
{
    weir_json_free(weir_json_take(object, name));
}

void weir_json_detach(weir_json_t *container, weir_json_t *value)
{
    cJSON_DetachItemViaPointer(container, value);
}

/* cJSON keeps strings terminated, so a NUL inside would cut them silently. */
static bool has_nul_escape(weir_str_t text)
{
    for (size_t i = 0; i + 5 < text.len; i++) {
        if (text.data[i] != '\\')
            continue;
        if (memcmp(text.data + i, "\\u0000", 6) == 0)
            return true;
        i++; /* whatever is escaped, it does not start an escape itself */
    }
    return false;
}

/* Keeps the last of equal names, as the incumbent's parser does. Sorting would
 * lose the order; objects of our entities are short, long maps are rare. */
static void drop_duplicates(weir_json_t *value)
{
    enum { MEMBERS_PAIRWISE_MAX = 512 };
    bool object = weir_json_kind(value) == WEIR_JSON_OBJECT;
    size_t count = object ? weir_json_count(value) : 0;
    weir_json_t *next = NULL;
    for (weir_json_t *child = weir_json_first_mutable(value); child != NULL; child = next) {
        next = child->next;
        drop_duplicates(child);
        if (!object || count > MEMBERS_PAIRWISE_MAX)
            continue;
        for (const weir_json_t *later = next; later != NULL; later = later->next) {
            if (same_name(child->string, later->string)) {
                cJSON_Delete(cJSON_DetachItemViaPointer(value, child));
                break;
            }
        }
    }
}

int weir_json_parse_marked(weir_str_t text, weir_json_t **ret, weir_error_t *err)
{
    if (text.len == 0 || !has_nul_escape(text))
        return weir_json_parse(text, ret, err);
    WEIR_AUTO(free) char *copy = weir_malloc(text.len);
    if (copy == NULL)
        return weir_error_memory(err);
    memcpy(copy, text.data, text.len);
    for (size_t i = 0; i + 5 < text.len; i++) {
        if (copy[i] != '\\')
            continue;
        if (memcmp(copy + i, "\\u0000", 6) == 0)
            memcpy(copy + i, "\\ufdd0", 6); /* WEIR_JSON_NUL_MARK, escaped */
        i++;
    }
    return weir_json_parse((weir_str_t){ copy, text.len }, ret, err);
}

int weir_json_parse(weir_str_t text, weir_json_t **ret, weir_error_t *err)
{
    pthread_once(&hooks_once, install_hooks);
    if (text.len == 0)
        return weir_error_set(err, WEIR_INVALID, NULL, "empty text where JSON was expected");
    if (memchr(text.data, '\0', text.len) != NULL || has_nul_escape(text))
        return weir_error_set(err, WEIR_INVALID, NULL, "JSON with a NUL character");
    const char *end = NULL;
    weir_json_t *value = cJSON_ParseWithLengthOpts(text.data, text.len, &end, false);
    if (value == NULL)
        return weir_error_set(err, WEIR_INVALID, NULL, "not JSON at byte %zu",
                              end != NULL ? (size_t)(end - text.data) : (size_t)0);
    while (end < text.data + text.len && strchr(" \t\r\n", *end) != NULL)
        end++;
    if (end != text.data + text.len) {
        weir_json_free(value);
        return weir_error_set(err, WEIR_INVALID, NULL, "more than one JSON value, at byte %zu",
                              (size_t)(end - text.data));
    }
    drop_duplicates(value);
    *ret = value;
    return WEIR_OK;
}

int weir_json_print_string(weir_str_t text, weir_buffer_t *out)
{
    static const char hex[] = "0123456789abcdef";
    weir_buffer_byte(out, '"');
    size_t plain = 0; /* start of the run that needs no escape */
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0x7f)
            continue;
        weir_buffer_append(out, (weir_str_t){ text.data + plain, i - plain });
        plain = i + 1;
        char escape[6] = { '\\', 0, '0', '0', hex[byte >> 4], hex[byte & 15] };
        size_t len = 2;
        switch (byte) {
        case '"':
        case '\\':
            escape[1] = (char)byte;
            break;
        case '\n':
            escape[1] = 'n';
            break;
        case '\r':
            escape[1] = 'r';
            break;
        case '\t':
            escape[1] = 't';
            break;
        case '\b':
            escape[1] = 'b';
            break;
        case '\f':
            escape[1] = 'f';
            break;
        default:
            escape[1] = 'u';
            len = 6;
        }
        weir_buffer_append(out, (weir_str_t){ escape, len });
    }
    weir_buffer_append(out, (weir_str_t){ text.data + plain, text.len - plain });
    return weir_buffer_byte(out, '"');
}

/* Most numbers of a configuration are times and ports: printf() takes ten times as long. */
static int print_integer(double number, weir_buffer_t *out)
{
    char text[24];
    size_t at = sizeof(text);
    uint64_t left = (uint64_t)fabs(number);
    do
        text[--at] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    if (number < 0)
        text[--at] = '-';
    return weir_buffer_append(out, (weir_str_t){ text + at, sizeof(text) - at });
}

static int print_number(double number, weir_buffer_t *out)
{
    if (!isfinite(number))
        return weir_buffer_append(out, WEIR_STR("null"));
    if (fabs(number) <= INTEGER_MAX && floor(number) == number)
        return print_integer(number, out);
    for (int digits = 15; digits < 17; digits++) {
        char text[32];
        snprintf(text, sizeof(text), "%.*g", digits, number);
        if (strtod(text, NULL) == number)
            return weir_buffer_append(out, weir_str(text));
    }
    return weir_buffer_printf(out, "%.17g", number);
}

int weir_json_print(const weir_json_t *value, weir_buffer_t *out)
{
    weir_json_kind_t kind = weir_json_kind(value);
    switch (kind) {
    case WEIR_JSON_ABSENT:
    case WEIR_JSON_NULL:
        return weir_buffer_append(out, WEIR_STR("null"));
    case WEIR_JSON_BOOLEAN:
        return weir_buffer_append(out,
                                  weir_json_boolean(value) ? WEIR_STR("true") : WEIR_STR("false"));
    case WEIR_JSON_NUMBER:
        return print_number(value->valuedouble, out);
    case WEIR_JSON_STRING:
        return weir_json_print_string(weir_str(value->valuestring), out);
    case WEIR_JSON_ARRAY:
    case WEIR_JSON_OBJECT:
        break;
    }
    weir_buffer_byte(out, kind == WEIR_JSON_ARRAY ? '[' : '{');
    for (const weir_json_t *child = value->child; child != NULL; child = child->next) {
        if (child != value->child)
            weir_buffer_byte(out, ',');
        if (kind == WEIR_JSON_OBJECT) {
            weir_json_print_string(weir_str(child->string), out);
            weir_buffer_byte(out, ':');
        }
        weir_json_print(child, out);
    }
    return weir_buffer_byte(out, kind == WEIR_JSON_ARRAY ? ']' : '}');
}
