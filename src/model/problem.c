/* problem.c -- why a write is refused, composed as the incumbent composes it
 * (admin-api 6.3): a tree of errors as `fields`, and one line of text from it. */
#include "base/json.h"
#include "model/model.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MESSAGE_BYTES_MAX = 1024 * 1024, ITEMS_MAX = 4096 };

void weir_problem_init(weir_problem_t *problem)
{
    *problem = (weir_problem_t){ 0 };
    weir_buffer_init(&problem->message, MESSAGE_BYTES_MAX);
}

void weir_problem_release(weir_problem_t *problem)
{
    weir_buffer_release(&problem->message);
    weir_json_free(problem->fields);
    problem->fields = NULL;
    problem->code = 0;
}

int weir_problem_set(weir_problem_t *problem, int code, const char *name, weir_json_t *fields,
                     const char *format, ...)
{
    weir_problem_release(problem);
    problem->code = code;
    problem->name = name;
    problem->fields = fields;
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    weir_str_t said = weir_str_format(text, sizeof(text), format, arguments);
    va_end(arguments);
    int rc = weir_buffer_append(&problem->message, said);
    return rc == WEIR_OK ? WEIR_INVALID : WEIR_NO_MEMORY;
}

/* -- the line of text ----------------------------------------------------- */

static int by_name(const void *a, const void *b)
{
    return strcmp(weir_json_name(*(const weir_json_t *const *)a),
                  weir_json_name(*(const weir_json_t *const *)b));
}

/* Members sorted by name. *ret_count of them; NULL when memory is short. */
static const weir_json_t **sorted(const weir_json_t *object, size_t *ret_count)
{
    size_t count = weir_json_count(object);
    const weir_json_t **members = weir_malloc((count + 1) * sizeof(*members));
    *ret_count = 0;
    if (members == NULL)
        return NULL;
    for (const weir_json_t *m = weir_json_first(object); m != NULL; m = weir_json_next(m))
        members[(*ret_count)++] = m;
    qsort(members, *ret_count, sizeof(*members), by_name);
    return members;
}

static bool is_identifier(const char *name)
{
    if (!isalpha((unsigned char)name[0]) && name[0] != '_')
        return false;
    for (; *name != '\0'; name++)
        if (!isalnum((unsigned char)*name) && *name != '_')
            return false;
    return true;
}

static void indent(weir_buffer_t *out, unsigned depth)
{
    for (unsigned i = 0; i < depth; i++)
        weir_buffer_append(out, WEIR_STR("  "));
}

/* A table as Lua programs print it: parts of an array first, without index. */
static int print_table(const weir_json_t *value, unsigned depth, weir_buffer_t *out)
{
    weir_json_kind_t kind = weir_json_kind(value);
    if (kind == WEIR_JSON_STRING) {
        weir_buffer_byte(out, '"');
        weir_buffer_append(out, weir_json_string(value));
        return weir_buffer_byte(out, '"');
    }
    if (kind != WEIR_JSON_ARRAY && kind != WEIR_JSON_OBJECT)
        return weir_json_print(value, out);
    weir_buffer_append(out, WEIR_STR("{\n"));
    size_t count = 0;
    WEIR_AUTO(free)
    const weir_json_t **members = kind == WEIR_JSON_OBJECT ? sorted(value, &count) : NULL;
    const weir_json_t *item = kind == WEIR_JSON_ARRAY ? weir_json_first(value) : NULL;
    bool gap = false; /* nulls only fill places: what follows them shows its index */
    for (size_t i = 0; kind == WEIR_JSON_ARRAY ? item != NULL : i < count; i++) {
        const weir_json_t *at = kind == WEIR_JSON_ARRAY ? item : members[i];
        if (kind == WEIR_JSON_ARRAY && weir_json_is_null(at)) {
            gap = true;
            item = weir_json_next(item);
            continue;
        }
        indent(out, depth + 1);
        if (gap)
            weir_buffer_printf(out, "[%zu] = ", i + 1);
        if (kind == WEIR_JSON_OBJECT) {
            const char *name = weir_json_name(at);
            weir_buffer_printf(out, is_identifier(name) ? "%s = " : "[\"%s\"] = ", name);
        }
        print_table(at, depth + 1, out);
        item = item != NULL ? weir_json_next(item) : NULL;
        bool last = kind == WEIR_JSON_ARRAY ? item == NULL : i + 1 == count;
        weir_buffer_append(out, last ? WEIR_STR("\n") : WEIR_STR(",\n"));
    }
    indent(out, depth);
    return weir_buffer_byte(out, '}');
}

/* "name: text", or one item for each member one level down; *count goes up. */
static void print_items(const weir_json_t *member, weir_buffer_t *out, size_t *count)
{
    const char *name = weir_json_name(member);
    weir_json_kind_t kind = weir_json_kind(member);
    if (kind == WEIR_JSON_STRING) {
        weir_buffer_printf(out, "%s%s: ", *count > 0 ? "; " : "", name);
        weir_buffer_append(out, weir_json_string(member));
        ++*count;
        return;
    }
    size_t members_count = 0;
    WEIR_AUTO(free)
    const weir_json_t **members = kind == WEIR_JSON_OBJECT ? sorted(member, &members_count) : NULL;
    size_t index = 0;
    const weir_json_t *item = kind == WEIR_JSON_ARRAY ? weir_json_first(member) : NULL;
    for (;; index++) {
        const weir_json_t *at = kind == WEIR_JSON_ARRAY ? item
                                : index < members_count ? members[index]
                                                        : NULL;
        if (at == NULL || *count >= ITEMS_MAX)
            break;
        if (kind == WEIR_JSON_ARRAY)
            item = weir_json_next(item);
        if (weir_json_is_null(at))
            continue; /* only fills the place of an element that is fine */
        if (kind == WEIR_JSON_ARRAY)
            weir_buffer_printf(out, "%s%s.%zu: ", *count > 0 ? "; " : "", name, index + 1);
        else
            weir_buffer_printf(out, "%s%s.%s: ", *count > 0 ? "; " : "", name, weir_json_name(at));
        if (weir_json_kind(at) == WEIR_JSON_STRING)
            weir_buffer_append(out, weir_json_string(at));
        else
            print_table(at, 0, out);
        ++*count;
    }
}

int weir_problem_schema_violation(weir_problem_t *problem, weir_json_t *fields)
{
    weir_problem_release(problem);
    problem->code = 2;
    problem->name = "schema violation";
    problem->fields = fields;

    weir_buffer_t items;
    weir_buffer_init(&items, MESSAGE_BYTES_MAX);
    size_t count = 0;
    for (const weir_json_t *text = weir_json_first(weir_json_get(fields, "@entity")); text != NULL;
         text = weir_json_next(text), count++) {
        weir_buffer_append(&items, count > 0 ? WEIR_STR("; ") : WEIR_STR(""));
        weir_buffer_append(&items, weir_json_string(text));
    }
    size_t members_count = 0;
    WEIR_AUTO(free) const weir_json_t **members = sorted(fields, &members_count);
    for (size_t i = 0; i < members_count; i++)
        if (strcmp(weir_json_name(members[i]), "@entity") != 0)
            print_items(members[i], &items, &count);

    if (count == 1)
        weir_buffer_append(&problem->message, WEIR_STR("schema violation ("));
    else
        weir_buffer_printf(&problem->message, "%zu schema violations (", count);
    weir_buffer_append(&problem->message, weir_buffer_str(&items));
    int rc = weir_buffer_byte(&problem->message, ')');
    if (items.failed == WEIR_TOO_LARGE || rc == WEIR_TOO_LARGE) {
        items.failed = WEIR_OK;
        weir_buffer_clear(&problem->message);
        rc =
            weir_buffer_append(&problem->message, WEIR_STR("schema violations (too long to list)"));
    }
    bool failed = rc != WEIR_OK || items.failed != WEIR_OK || fields == NULL || members == NULL;
    weir_buffer_release(&items);
    return failed ? WEIR_NO_MEMORY : WEIR_INVALID;
}

/* -- keys in texts ---------------------------------------------------------- */

void weir_problem_print_key(const weir_json_t *key, weir_buffer_t *out)
{
    enum { KEY_PARTS_MAX = 16 };
    if (weir_json_kind(key) == WEIR_JSON_STRING) {
        weir_buffer_byte(out, '"');
        weir_buffer_append(out, weir_json_string(key));
        weir_buffer_byte(out, '"');
        return;
    }
    if (weir_json_kind(key) != WEIR_JSON_OBJECT) {
        weir_json_print(key, out);
        return;
    }
    const weir_json_t *parts[KEY_PARTS_MAX];
    size_t count = 0;
    for (const weir_json_t *m = weir_json_first(key); m != NULL && count < KEY_PARTS_MAX;
         m = weir_json_next(m))
        parts[count++] = m;
    qsort(parts, count, sizeof(*parts), by_name);
    weir_buffer_byte(out, '{');
    for (size_t i = 0; i < count; i++) {
        const char *name = weir_json_name(parts[i]);
        weir_buffer_printf(out, is_identifier(name) ? "%s%s=" : "%s[\"%s\"]=", i > 0 ? "," : "",
                           name);
        weir_problem_print_key(parts[i], out);
    }
    weir_buffer_byte(out, '}');
}
