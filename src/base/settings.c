/* settings.c -- the node's settings: reading, writing, asking.
 *
 * Each source is applied over the one before it: defaults, the file, KONG_* of
 * the environment, WEIR_*; the checks over several settings come last. */
#include "base/buffer.h"
#include "base/settings_internal.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Older names of the incumbent. */
static const char *const aliases[][2] = {
    { "cluster_incremental_sync", "cluster_rpc_sync" },
    { "privileged_worker", "dedicated_config_processing" },
    { "nginx_daemon_worker_processes", "nginx_worker_processes" },
};

/* Variables of our own scripts and tests that begin with WEIR_ as well. */
static const char *const not_settings[] = { "build", "corpus", "sanitize", "seed" };

static const char *const blocks[] = { "main",   "events",   "http",     "upstream",
                                      "proxy",  "location", "status",   "admin",
                                      "stream", "sproxy",   "supstream" };

size_t weir_setting_index(weir_str_t name)
{
    for (size_t i = 0; i < WEIR_COUNT(aliases); i++)
        if (weir_str_is(name, aliases[i][0]))
            name = weir_str(aliases[i][1]);
    for (size_t i = 0; i < weir_setting_table_count; i++)
        if (weir_str_is(name, weir_setting_table[i].name))
            return i;
    return weir_setting_table_count;
}

/* -- unknown names ------------------------------------------------------------- */

enum { NAME_BYTES_MAX = 64, DISTANCE_MAX = 3 };

/* Edits that turn `a` into `b`; both are shorter than NAME_BYTES_MAX. */
static size_t distance(weir_str_t a, weir_str_t b)
{
    size_t row[NAME_BYTES_MAX];
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t best = diagonal + (a.data[i - 1] != b.data[j - 1]);
            diagonal = row[j];
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            if (row[j] + 1 < best)
                best = row[j] + 1;
            row[j] = best;
        }
    }
    return row[b.len];
}

static int unknown_name(weir_str_t name, weir_error_t *err)
{
    char field[NAME_BYTES_MAX];
    snprintf(field, sizeof(field), "%.*s", WEIR_STR_ARG(name));
    const char *nearest = NULL;
    size_t nearest_distance = DISTANCE_MAX + 1;
    for (size_t i = 0; i < weir_setting_table_count && name.len < NAME_BYTES_MAX; i++) {
        weir_str_t known = weir_str(weir_setting_table[i].name);
        size_t edits = known.len < NAME_BYTES_MAX ? distance(name, known) : DISTANCE_MAX + 1;
        if (edits < nearest_distance) {
            nearest_distance = edits;
            nearest = known.data;
        }
    }
    if (nearest != NULL)
        return weir_error_set(err, WEIR_INVALID, field,
                              "there is no such setting; did you mean %s?", nearest);
    return weir_error_set(err, WEIR_INVALID, field,
                          "there is no such setting (weir --help settings lists them)");
}

/* -- nginx_BLOCK_DIRECTIVE --------------------------------------------------------- */

/* What follows "nginx_BLOCK_"; data NULL if `name` is no such setting. */
static weir_str_t directive_of(weir_str_t name, const char *block)
{
    size_t skip = strlen("nginx_") + strlen(block) + 1;
    if (name.len <= skip || !weir_str_starts(name, WEIR_STR("nginx_")) ||
        memcmp(name.data + strlen("nginx_"), block, strlen(block)) != 0 ||
        name.data[skip - 1] != '_')
        return (weir_str_t){ NULL, 0 };
    return (weir_str_t){ name.data + skip, name.len - skip };
}

static bool is_directive(weir_str_t name)
{
    for (size_t i = 0; i < WEIR_COUNT(blocks); i++) {
        weir_str_t directive = directive_of(name, blocks[i]);
        if (directive.data == NULL)
            continue;
        for (size_t at = 0; at < directive.len; at++)
            if (!islower((unsigned char)directive.data[at]) &&
                !isdigit((unsigned char)directive.data[at]) && directive.data[at] != '_')
                return false;
        return true;
    }
    return false;
}

static int set_directive(weir_settings_t *settings, weir_str_t name, weir_str_t value,
                         weir_error_t *err)
{
    char field[NAME_BYTES_MAX];
    snprintf(field, sizeof(field), "%.*s", WEIR_STR_ARG(name));
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.data[i] < 0x20 || strchr(";{}", value.data[i]) != NULL)
            return weir_error_set(err, WEIR_INVALID, field, "must be arguments of one directive");
    setting_directive_t *to = NULL;
    for (size_t i = 0; i < settings->directive_count; i++)
        if (weir_str_is(name, settings->directives[i].name))
            to = &settings->directives[i];
    char *copy = weir_strdup(value);
    if (copy == NULL)
        return weir_error_memory(err);
    if (to != NULL) {
        weir_free(to->value);
        to->value = copy;
        return WEIR_OK;
    }
    char *name_copy = NULL;
    if (settings->directive_count >= DIRECTIVES_MAX) {
        weir_free(copy);
        return weir_error_set(err, WEIR_TOO_LARGE, field, "more than %d nginx directives",
                              DIRECTIVES_MAX);
    }
    setting_directive_t *all =
        weir_realloc(settings->directives, (settings->directive_count + 1) * sizeof(*all));
    if (all != NULL) {
        settings->directives = all;
        name_copy = weir_strdup(name);
    }
    if (name_copy == NULL) {
        weir_free(copy);
        return weir_error_memory(err);
    }
    all[settings->directive_count++] = (setting_directive_t){ name_copy, copy };
    return WEIR_OK;
}

static int set_value(weir_settings_t *settings, weir_str_t name, weir_str_t value,
                     weir_error_t *err)
{
    size_t index = weir_setting_index(name);
    if (index == weir_setting_table_count)
        return is_directive(name) ? set_directive(settings, name, value, err)
                                  : unknown_name(name, err);
    /* An empty value is "not said": the default stays. */
    return value.len > 0 ? weir_setting_parse(settings, index, value, err) : WEIR_OK;
}

/* -- the file ------------------------------------------------------------------------ */

static int read_file(const char *path, weir_buffer_t *out, weir_error_t *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return weir_error_errno(err, errno, "cannot read the settings file %s", path);
    for (;;) {
        char *to = weir_buffer_reserve(out, 4096);
        ssize_t got = to != NULL ? read(fd, to, 4096) : -1;
        if (got <= 0) {
            int number = errno;
            close(fd);
            if (out->failed == WEIR_TOO_LARGE)
                return weir_error_set(err, WEIR_TOO_LARGE, NULL, "%s is longer than %d bytes", path,
                                      SETTINGS_FILE_BYTES_MAX);
            if (out->failed != WEIR_OK)
                return weir_error_memory(err);
            return got == 0 ? WEIR_OK : weir_error_errno(err, number, "cannot read %s", path);
        }
        out->len += (size_t)got;
    }
}

/* Takes "\#" for '#' and cuts the comment after any other; in place. */
static weir_str_t without_comment(char *line, size_t len)
{
    size_t to = 0;
    for (size_t from = 0; from < len && line[from] != '#'; from++) {
        if (line[from] == '\\' && from + 1 < len && line[from + 1] == '#')
            from++;
        line[to++] = line[from];
    }
    return (weir_str_t){ line, to };
}

static weir_str_t unquoted(weir_str_t text)
{
    if (text.len >= 2 && (text.data[0] == '"' || text.data[0] == '\'') &&
        text.data[text.len - 1] == text.data[0])
        return (weir_str_t){ text.data + 1, text.len - 2 };
    return text;
}

static int apply_line(weir_settings_t *settings, char *line, size_t len, weir_error_t *err)
{
    if (memchr(line, '\0', len) != NULL)
        return weir_error_set(err, WEIR_INVALID, NULL, "a NUL byte in the settings file");
    weir_str_t text = weir_str_trim(without_comment(line, len));
    if (text.len == 0)
        return WEIR_OK;
    const char *sign = memchr(text.data, '=', text.len);
    if (sign == NULL)
        return weir_error_set(err, WEIR_INVALID, NULL, "\"%.*s\" is not NAME = VALUE",
                              WEIR_STR_ARG(text));
    size_t before = (size_t)(sign - text.data);
    weir_str_t name = weir_str_trim((weir_str_t){ text.data, before });
    weir_str_t value = weir_str_trim((weir_str_t){ sign + 1, text.len - before - 1 });
    return set_value(settings, name, unquoted(value), err);
}

static int apply_text(weir_settings_t *settings, const char *path, weir_buffer_t *text,
                      weir_error_t *err)
{
    size_t number = 0;
    for (size_t at = 0; at < text->len;) {
        char *line = text->data + at;
        char *end = memchr(line, '\n', text->len - at);
        size_t len = end != NULL ? (size_t)(end - line) : text->len - at;
        number++;
        int rc = apply_line(settings, line, len, err);
        if (rc != WEIR_OK)
            return weir_error_within(err, rc, "%s:%zu", path, number);
        at += len + 1;
    }
    return WEIR_OK;
}

static int apply_file(weir_settings_t *settings, const char *path, weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, SETTINGS_FILE_BYTES_MAX);
    int rc = read_file(path, &text, err);
    return rc == WEIR_OK ? apply_text(settings, path, &text, err) : rc;
}

/* -- the environment ------------------------------------------------------------------- */

static bool is_ours_alone(weir_str_t name)
{
    for (size_t i = 0; i < WEIR_COUNT(not_settings); i++)
        if (weir_str_is(name, not_settings[i]))
            return true;
    return false;
}

/* Unknown KONG_ variables are left alone: images of the incumbent set some that
 * are no settings. A WEIR_ one that we do not know is a mistake. */
static int apply_variable(weir_settings_t *settings, const char *variable, const char *prefix,
                          bool unknown_allowed, weir_error_t *err)
{
    size_t skip = strlen(prefix);
    const char *sign = strchr(variable, '=');
    if (sign == NULL || strncmp(variable, prefix, skip) != 0)
        return WEIR_OK;
    char lower[NAME_BYTES_MAX * 2];
    size_t len = (size_t)(sign - variable) - skip;
    if (len >= sizeof(lower))
        len = sizeof(lower) - 1; /* too long to be known */
    for (size_t i = 0; i < len; i++)
        lower[i] = (char)tolower((unsigned char)variable[skip + i]);
    weir_str_t name = { lower, len };
    bool known = weir_setting_index(name) < weir_setting_table_count || is_directive(name);
    if (!known && (unknown_allowed || is_ours_alone(name)))
        return WEIR_OK;
    int rc = set_value(settings, name, weir_str_trim(weir_str(sign + 1)), err);
    if (rc != WEIR_OK)
        return weir_error_within(err, rc, "%.*s", (int)(sign - variable), variable);
    return WEIR_OK;
}

static int apply_environment(weir_settings_t *settings, const char *const *environment,
                             weir_error_t *err)
{
    static const struct {
        const char *prefix;
        bool unknown_allowed;
    } sources[] = { { "KONG_", true }, { "WEIR_", false } };
    for (size_t source = 0; source < WEIR_COUNT(sources); source++) {
        for (size_t i = 0; environment[i] != NULL; i++) {
            int rc = apply_variable(settings, environment[i], sources[source].prefix,
                                    sources[source].unknown_allowed, err);
            if (rc != WEIR_OK)
                return rc;
        }
    }
    return WEIR_OK;
}

/* -- loading and saving ------------------------------------------------------------------ */

static int set_defaults(weir_settings_t *settings, weir_error_t *err)
{
    settings->values = weir_calloc(weir_setting_table_count, sizeof(*settings->values));
    if (settings->values == NULL)
        return weir_error_memory(err);
    for (size_t i = 0; i < weir_setting_table_count; i++) {
        int rc = weir_setting_parse(settings, i, weir_str(weir_setting_table[i].initial), err);
        if (rc != WEIR_OK)
            return rc;
        settings->values[i].given = false;
    }
    return WEIR_OK;
}

int weir_settings_load(const char *path, const char *const *environment, const char *prefix,
                       weir_settings_t **ret, weir_error_t *err)
{
    weir_settings_t *settings = weir_calloc(1, sizeof(*settings));
    if (settings == NULL)
        return weir_error_memory(err);
    int rc = set_defaults(settings, err);
    if (rc == WEIR_OK && path != NULL)
        rc = apply_file(settings, path, err);
    if (rc == WEIR_OK && environment != NULL)
        rc = apply_environment(settings, environment, err);
    if (rc == WEIR_OK && prefix != NULL)
        rc = set_value(settings, WEIR_STR("prefix"), weir_str(prefix), err);
    if (rc == WEIR_OK)
        rc = weir_settings_check(settings, err);
    if (rc != WEIR_OK) {
        weir_settings_free(settings);
        return rc;
    }
    *ret = settings;
    return WEIR_OK;
}

void weir_settings_free(weir_settings_t *settings)
{
    if (settings == NULL)
        return;
    for (size_t i = 0; settings->values != NULL && i < weir_setting_table_count; i++)
        weir_setting_value_release(&settings->values[i]);
    for (size_t i = 0; i < settings->directive_count; i++) {
        weir_free(settings->directives[i].name);
        weir_free(settings->directives[i].value);
    }
    weir_free(settings->directives);
    weir_free(settings->values);
    weir_free(settings);
}

int weir_settings_set(weir_settings_t *settings, const char *name, weir_str_t value,
                      weir_error_t *err)
{
    return set_value(settings, weir_str(name), value, err);
}

static void print_line(weir_buffer_t *out, const char *name, const char *value)
{
    weir_buffer_printf(out, "%s = ", name);
    /* Quotes, so that reading does not take off those of the value itself. */
    weir_buffer_byte(out, '"');
    for (; *value != '\0'; value++) {
        if (*value == '#')
            weir_buffer_byte(out, '\\');
        weir_buffer_byte(out, *value);
    }
    weir_buffer_append(out, WEIR_STR("\"\n"));
}

static int write_file(const char *path, const weir_buffer_t *text, weir_error_t *err)
{
    char beside[4200];
    snprintf(beside, sizeof(beside), "%s.new", path);
    int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0)
        return weir_error_errno(err, errno, "cannot write %s", beside);
    size_t done = 0;
    while (done < text->len) {
        ssize_t wrote = write(fd, text->data + done, text->len - done);
        if (wrote < 0 && errno == EINTR)
            continue;
        if (wrote < 0) {
            int number = errno;
            close(fd);
            return weir_error_errno(err, number, "cannot write %s", beside);
        }
        done += (size_t)wrote;
    }
    int failed = fchmod(fd, 0600) | fsync(fd);
    if ((close(fd) | failed) != 0 || rename(beside, path) != 0)
        return weir_error_errno(err, errno, "cannot write %s", path);
    return WEIR_OK;
}

int weir_settings_save(const weir_settings_t *settings, const char *path, weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, SETTINGS_FILE_BYTES_MAX);
    weir_buffer_append(&text, WEIR_STR("# Written by `weir prepare`; changes here are lost.\n"));
    for (size_t i = 0; i < weir_setting_table_count; i++)
        if (settings->values[i].text[0] != '\0')
            print_line(&text, weir_setting_table[i].name, settings->values[i].text);
    for (size_t i = 0; i < settings->directive_count; i++)
        print_line(&text, settings->directives[i].name, settings->directives[i].value);
    if (text.failed == WEIR_TOO_LARGE)
        return weir_error_set(err, WEIR_TOO_LARGE, NULL, "settings longer than %d bytes",
                              SETTINGS_FILE_BYTES_MAX);
    if (text.failed != WEIR_OK)
        return weir_error_memory(err);
    return write_file(path, &text, err);
}

/* -- asking ---------------------------------------------------------------------------------- */

static const setting_value_t *value_of(const weir_settings_t *settings, const char *name,
                                       unsigned kinds)
{
    size_t index = weir_setting_index(weir_str(name));
    weir_assert(index < weir_setting_table_count);
    weir_assert((1U << weir_setting_table[index].kind & kinds) != 0);
    return &settings->values[index];
}

#define KIND(kind) (1U << SETTING_##kind)
#define LISTS      (KIND(LIST) | KIND(PATHS) | KIND(LABELS))

bool weir_setting_given(const weir_settings_t *settings, const char *name)
{
    return value_of(settings, name, UINT_MAX)->given;
}

const char *weir_setting_string(const weir_settings_t *settings, const char *name)
{
    return value_of(settings, name, UINT_MAX)->text;
}

int64_t weir_setting_integer(const weir_settings_t *settings, const char *name)
{
    return value_of(settings, name, KIND(INTEGER) | KIND(SIZE))->integer;
}

bool weir_setting_boolean(const weir_settings_t *settings, const char *name)
{
    return value_of(settings, name, KIND(BOOLEAN))->boolean;
}

double weir_setting_number(const weir_settings_t *settings, const char *name)
{
    return value_of(settings, name, KIND(NUMBER) | KIND(INTEGER) | KIND(SIZE))->number;
}

size_t weir_setting_count(const weir_settings_t *settings, const char *name)
{
    return value_of(settings, name, LISTS)->item_count;
}

const char *weir_setting_item(const weir_settings_t *settings, const char *name, size_t index)
{
    const setting_value_t *value = value_of(settings, name, LISTS);
    return index < value->item_count ? value->items[index] : NULL;
}

size_t weir_setting_listen_count(const weir_settings_t *settings, const char *name)
{
    return value_of(settings, name, KIND(LISTEN))->listen_count;
}

const weir_listen_t *weir_setting_listen(const weir_settings_t *settings, const char *name,
                                         size_t index)
{
    const setting_value_t *value = value_of(settings, name, KIND(LISTEN));
    return index < value->listen_count ? &value->listen[index] : NULL;
}

void weir_settings_directives(const weir_settings_t *settings, const char *block,
                              void (*each)(void *context, const char *directive, const char *value),
                              void *context)
{
    for (size_t i = 0; i < settings->directive_count; i++) {
        weir_str_t directive = directive_of(weir_str(settings->directives[i].name), block);
        if (directive.data != NULL)
            each(context, directive.data, settings->directives[i].value);
    }
}

void weir_settings_without_effect(const weir_settings_t *settings,
                                  void (*each)(void *context, const char *name), void *context)
{
    for (size_t i = 0; i < weir_setting_table_count; i++)
        if (weir_setting_table[i].kind == SETTING_INERT && settings->values[i].given)
            each(context, weir_setting_table[i].name);
}

int weir_settings_describe(void (*line)(void *context, const char *name, const char *initial,
                                        const char *meaning),
                           void *context)
{
    for (size_t i = 0; i < weir_setting_table_count; i++)
        if (weir_setting_table[i].meaning != NULL)
            line(context, weir_setting_table[i].name, weir_setting_table[i].initial,
                 weir_setting_table[i].meaning);
    return WEIR_OK;
}

/* -- GET / ---------------------------------------------------------------------------------------
 */

static weir_json_t *list_json(const setting_value_t *value)
{
    if (value->item_count == 0)
        return weir_json_new_object(); /* as the incumbent prints an empty list */
    weir_json_t *array = weir_json_new_array();
    for (size_t i = 0; array != NULL && i < value->item_count; i++) {
        if (weir_json_append(array, weir_json_new_string(weir_str(value->items[i]))) != WEIR_OK) {
            weir_json_free(array);
            return NULL;
        }
    }
    return array;
}

static weir_json_t *texts_json(const setting_value_t *value)
{
    weir_json_t *array = weir_json_new_array();
    for (size_t i = 0; array != NULL && i < value->listen_count; i++) {
        if (weir_json_append(array, weir_json_new_string(weir_str(value->listen[i].nginx))) !=
            WEIR_OK) {
            weir_json_free(array);
            return NULL;
        }
    }
    return array;
}

static weir_json_t *value_json(const setting_definition_t *definition, const setting_value_t *value)
{
    if (definition->secret)
        return weir_json_new_string(WEIR_STR("******"));
    switch (definition->kind) {
    case SETTING_BOOLEAN:
        return weir_json_new_boolean(value->boolean);
    case SETTING_INTEGER:
    case SETTING_NUMBER:
        return weir_json_new_number(value->number);
    case SETTING_LIST:
    case SETTING_PATHS:
        return list_json(value);
    case SETTING_LISTEN:
        if (value->listen_count > 0)
            return texts_json(value);
        break;
    case SETTING_ENUM:
        /* Booleans of the incumbent of which this build has one value. */
        if (definition->only != NULL && strlen(definition->one_of) == strlen("on off"))
            return weir_json_new_boolean(strcmp(value->text, "on") == 0);
        break;
    case SETTING_TEXT:
    case SETTING_PATH:
    case SETTING_PEM:
    case SETTING_SIZE:
    case SETTING_LABELS:
    case SETTING_INERT:
        break;
    }
    return weir_json_new_string(weir_str(value->text));
}

/* `admin_listeners` and its like: one object for each address. */
static weir_json_t *listeners_json(const setting_value_t *value)
{
    weir_json_t *array = weir_json_new_array();
    for (size_t i = 0; array != NULL && i < value->listen_count; i++) {
        const weir_listen_t *listen = &value->listen[i];
        char address[96];
        snprintf(address, sizeof(address), "%s:%d", listen->address, listen->port);
        weir_json_t *one = weir_json_new_object();
        int rc = one == NULL ? WEIR_NO_MEMORY : WEIR_OK;
        if (rc == WEIR_OK)
            rc = weir_json_set(one, "ip", weir_json_new_string(weir_str(listen->address)));
        if (rc == WEIR_OK)
            rc = weir_json_set(one, "port", weir_json_new_number(listen->port));
        if (rc == WEIR_OK)
            rc = weir_json_set(one, "ssl", weir_json_new_boolean(listen->ssl));
        if (rc == WEIR_OK)
            rc = weir_json_set(one, "http2", weir_json_new_boolean(listen->http2));
        if (rc == WEIR_OK)
            rc =
                weir_json_set(one, "proxy_protocol", weir_json_new_boolean(listen->proxy_protocol));
        if (rc == WEIR_OK)
            rc = weir_json_set(one, "reuseport", weir_json_new_boolean(listen->reuseport));
        if (rc == WEIR_OK)
            rc = weir_json_set(one, "deferred", weir_json_new_boolean(listen->deferred));
        if (rc == WEIR_OK)
            rc = weir_json_set(one, "bind", weir_json_new_boolean(listen->bind));
        if (rc == WEIR_OK)
            rc = weir_json_set(one, "listener", weir_json_new_string(weir_str(address)));
        if (rc != WEIR_OK) {
            weir_json_free(one);
            weir_json_free(array);
            return NULL;
        }
        weir_json_append(array, one);
    }
    return array;
}

static int add_value(const weir_settings_t *settings, size_t index, weir_json_t *to)
{
    const setting_definition_t *definition = &weir_setting_table[index];
    const setting_value_t *value = &settings->values[index];
    bool list = definition->kind == SETTING_LIST || definition->kind == SETTING_PATHS;
    if (value->text[0] == '\0' && (!list || definition->secret))
        return WEIR_OK; /* unset ones are absent; empty lists are shown */
    int rc = weir_json_set(to, definition->name, value_json(definition, value));
    weir_str_t name = weir_str(definition->name);
    if (rc == WEIR_OK && definition->kind == SETTING_LISTEN) {
        char listeners[NAME_BYTES_MAX];
        snprintf(listeners, sizeof(listeners), "%.*sers", (int)name.len, name.data);
        rc = weir_json_set(to, listeners, listeners_json(value));
    }
    return rc;
}

weir_json_t *weir_settings_json(const weir_settings_t *settings)
{
    weir_json_t *all = weir_json_new_object();
    int rc = all == NULL ? WEIR_NO_MEMORY : WEIR_OK;
    for (size_t i = 0; rc == WEIR_OK && i < weir_setting_table_count; i++)
        rc = add_value(settings, i, all);
    for (size_t i = 0; rc == WEIR_OK && i < settings->directive_count; i++)
        rc = weir_json_set(all, settings->directives[i].name,
                           weir_json_new_string(weir_str(settings->directives[i].value)));
    if (rc != WEIR_OK) {
        weir_json_free(all);
        return NULL;
    }
    return all;
}
