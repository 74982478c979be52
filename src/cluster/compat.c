/* compat.c -- entities for data planes of older versions: the tables at work. */
#include "cluster/compat_internal.h"

enum { PART_MAX = 999, PARTS = 4 };

/* -- versions ---------------------------------------------------------------------------- */

/* The leading digits at *at; -1: none. Moves behind them. */
static int64_t take_number(weir_str_t text, size_t *at)
{
    int64_t value = -1;
    for (; *at < text.len && text.data[*at] >= '0' && text.data[*at] <= '9'; (*at)++) {
        int64_t digit = text.data[*at] - '0';
        value = value < 0 ? digit : value * 10 + digit;
        if (value > INT32_MAX)
            value = INT32_MAX;
    }
    return value;
}

int64_t weir_compat_version(weir_str_t text)
{
    int64_t version = 0;
    size_t at = 0;
    for (int part = 0; part < PARTS; part++) {
        int64_t value = take_number(text, &at);
        if (part == 0 && value < 0)
            return -1;
        value = value < 0 ? 0 : value;
        version = version * (PART_MAX + 1) + (value > PART_MAX ? PART_MAX : value);
        while (at < text.len && text.data[at] != '.')
            at++;
        at++;
    }
    return version;
}

bool weir_compat_parts(weir_str_t text, int64_t *ret_major, int64_t *ret_minor)
{
    size_t at = 0;
    *ret_major = *ret_minor = -1;
    int64_t major = take_number(text, &at);
    if (major < 0 || at >= text.len || text.data[at++] != '.')
        return false;
    int64_t minor = take_number(text, &at);
    if (minor < 0 || at >= text.len || text.data[at++] != '.' || take_number(text, &at) < 0)
        return false;
    *ret_major = major;
    *ret_minor = minor;
    return true;
}

/* The tables are short: a hundred rows, looked through once for each data plane. */
int64_t weir_compat_level(int64_t dp_version)
{
    int64_t level = 0;
    for (size_t i = 0; i < compat_fields_count; i++)
        if (compat_fields[i].before <= dp_version && compat_fields[i].before > level)
            level = compat_fields[i].before;
    for (size_t i = 0; i < compat_checks_count; i++)
        if (compat_checks[i].before <= dp_version && compat_checks[i].before > level)
            level = compat_checks[i].before;
    return level;
}

int64_t weir_compat_newest(void)
{
    return weir_compat_level(INT64_MAX);
}

/* -- editing ------------------------------------------------------------------------------- */

enum { NAME_MAX_BYTES = 63 };

void compat_remove(compat_edit_t *edit, weir_json_t *object, const char *path, size_t len)
{
    char name[NAME_MAX_BYTES + 1];
    while (object != NULL && len > 0) {
        const char *dot = memchr(path, '.', len);
        size_t part = dot != NULL ? (size_t)(dot - path) : len;
        weir_assert(part <= NAME_MAX_BYTES);
        memcpy(name, path, part);
        name[part] = '\0';
        if (dot == NULL) {
            edit->changed |= weir_json_get(object, name) != NULL;
            weir_json_remove(object, name);
            return;
        }
        object = weir_json_get_mutable(object, name);
        path += part + 1;
        len -= part + 1;
    }
}

void compat_set(compat_edit_t *edit, weir_json_t *object, const char *name, weir_json_t *value)
{
    if (object == NULL) {
        weir_json_free(value);
        return;
    }
    if (weir_json_set(object, name, value) == WEIR_OK)
        edit->changed = true;
    else
        edit->rc = WEIR_NO_MEMORY;
}

/* The next of some words separated by blanks; len 0: there is none. */
static weir_str_t next_word(const char **words)
{
    while (**words == ' ')
        (*words)++;
    const char *begin = *words;
    while (**words != ' ' && **words != '\0')
        (*words)++;
    return (weir_str_t){ begin, (size_t)(*words - begin) };
}

bool compat_has_word(const char *words, const char *word)
{
    for (weir_str_t next = next_word(&words); next.len > 0; next = next_word(&words))
        if (weir_str_is(next, word))
            return true;
    return false;
}

/* -- one entity ------------------------------------------------------------------------------ */

static void run_checks(compat_edit_t *edit, weir_str_t type, int64_t dp_version)
{
    for (size_t i = 0; i < compat_checks_count; i++) {
        const compat_check_t *check = &compat_checks[i];
        if (check->before <= dp_version || !weir_str_is(type, check->type))
            continue;
        if (check->plugins == NULL || compat_has_word(check->plugins, edit->plugin))
            check->check(edit);
    }
}

static void remove_fields(compat_edit_t *edit, int64_t dp_version)
{
    for (size_t i = 0; i < compat_fields_count; i++) {
        const compat_fields_t *fields = &compat_fields[i];
        if (fields->before <= dp_version || strcmp(fields->plugin, edit->plugin) != 0)
            continue;
        const char *words = fields->paths;
        for (weir_str_t path = next_word(&words); path.len > 0; path = next_word(&words))
            compat_remove(edit, edit->config, path.data, path.len);
    }
}

int weir_compat_adapt_named(weir_str_t type, weir_json_t *entity, int64_t dp_version,
                            bool *ret_changed, weir_error_t *err)
{
    compat_edit_t edit = { .entity = entity, .plugin = "", .rc = WEIR_OK };
    bool plugin = weir_str_is(type, "plugins");
    if (plugin) {
        weir_str_t name = weir_json_get_string(entity, "name", WEIR_STR(""));
        edit.plugin = name.data; /* terminated: a value of the tree */
        edit.config = weir_json_get_mutable(entity, "config");
        if (weir_json_kind(edit.config) != WEIR_JSON_OBJECT)
            edit.config = NULL;
    }
    run_checks(&edit, type, dp_version);
    if (plugin)
        remove_fields(&edit, dp_version);
    *ret_changed = edit.changed;
    return edit.rc == WEIR_OK ? WEIR_OK : weir_error_memory(err);
}

int weir_compat_adapt(weir_entity_type_t type, weir_json_t *entity, int64_t dp_version,
                      bool *ret_changed, weir_error_t *err)
{
    const weir_schema_t *schema = weir_schema(type);
    *ret_changed = false;
    return schema == NULL ? WEIR_OK
                          : weir_compat_adapt_named(weir_str(schema->name), entity, dp_version,
                                                    ret_changed, err);
}
