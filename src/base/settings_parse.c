/* settings_parse.c -- the text of one setting becomes a value of its kind, or a
 * refusal that says what would be right. */
#include "base/buffer.h"
#include "base/settings_internal.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { LABEL_BYTES_MAX = 63, PATH_BYTES_MAX = 4096 };

/* Cuts the part before the next `separator` off *rest; false at the end. */
static bool next_part(weir_str_t *rest, char separator, weir_str_t *ret)
{
    if (rest->data == NULL)
        return false;
    const char *end = rest->len > 0 ? memchr(rest->data, separator, rest->len) : NULL;
    if (end == NULL) {
        *ret = *rest;
        *rest = (weir_str_t){ NULL, 0 };
        return true;
    }
    size_t len = (size_t)(end - rest->data);
    *ret = (weir_str_t){ rest->data, len };
    *rest = (weir_str_t){ end + 1, rest->len - len - 1 };
    return true;
}

static bool next_word(weir_str_t *rest, weir_str_t *ret)
{
    *rest = weir_str_trim(*rest);
    if (rest->len == 0)
        return false;
    size_t len = 0;
    while (len < rest->len && !isspace((unsigned char)rest->data[len]))
        len++;
    *ret = (weir_str_t){ rest->data, len };
    rest->data += len;
    rest->len -= len;
    return true;
}

/* The word of `words` that equals `text`; data NULL if there is none. */
static weir_str_t find_word(const char *words, weir_str_t text, bool any_case)
{
    weir_str_t rest = weir_str(words);
    weir_str_t word;
    while (next_word(&rest, &word)) {
        if (weir_str_equal(word, text))
            return word;
        if (any_case && word.len == text.len && strncasecmp(word.data, text.data, text.len) == 0)
            return word;
    }
    return (weir_str_t){ NULL, 0 };
}

static int parse_boolean(weir_str_t text, const char *name, setting_value_t *value,
                         weir_error_t *err)
{
    if (find_word("on true yes", text, true).data != NULL)
        value->boolean = true;
    else if (find_word("off false no", text, true).data != NULL)
        value->boolean = false;
    else
        return weir_error_set(err, WEIR_INVALID, name, "must be on or off, got \"%.*s\"",
                              WEIR_STR_ARG(text));
    return WEIR_OK;
}

static int parse_integer(weir_str_t text, const setting_definition_t *definition,
                         setting_value_t *value, weir_error_t *err)
{
    if (weir_parse_int64(text, definition->min, definition->max, &value->integer) != WEIR_OK)
        return weir_error_set(err, WEIR_INVALID, definition->name,
                              "must be a whole number from %" PRId64 " to %" PRId64
                              ", got \"%.*s\"",
                              definition->min, definition->max, WEIR_STR_ARG(text));
    value->number = (double)value->integer;
    return WEIR_OK;
}

static int parse_number(weir_str_t text, const setting_definition_t *definition,
                        setting_value_t *value, weir_error_t *err)
{
    char copy[40];
    char *end = NULL;
    snprintf(copy, sizeof(copy), "%.*s", WEIR_STR_ARG(text));
    value->number = strtod(copy, &end);
    if (text.len == 0 || text.len >= sizeof(copy) || *end != '\0' || !isfinite(value->number) ||
        value->number < (double)definition->min || value->number > (double)definition->max)
        return weir_error_set(err, WEIR_INVALID, definition->name,
                              "must be a number from %" PRId64 " to %" PRId64 ", got \"%.*s\"",
                              definition->min, definition->max, WEIR_STR_ARG(text));
    return WEIR_OK;
}

static int parse_size(weir_str_t text, const setting_definition_t *definition,
                      setting_value_t *value, weir_error_t *err)
{
    weir_str_t digits = text;
    int shift = 0;
    if (text.len > 0) {
        switch (text.data[text.len - 1]) {
        case 'k':
        case 'K':
            shift = 10;
            break;
        case 'm':
        case 'M':
            shift = 20;
            break;
        case 'g':
        case 'G':
            shift = 30;
            break;
        }
    }
    if (shift > 0)
        digits.len--;
    int64_t count = 0;
    if (weir_parse_int64(digits, 0, INT64_MAX >> shift, &count) != WEIR_OK ||
        count << shift < definition->min || count << shift > definition->max)
        return weir_error_set(err, WEIR_INVALID, definition->name,
                              "must be a size like 16k, 10m or 2g, from %" PRId64 " to %" PRId64
                              " bytes, got \"%.*s\"",
                              definition->min, definition->max, WEIR_STR_ARG(text));
    value->integer = count << shift;
    value->number = (double)value->integer;
    return WEIR_OK;
}

static int check_word(weir_str_t text, const setting_definition_t *definition, weir_error_t *err)
{
    if (find_word(definition->one_of, text, false).data == NULL)
        return weir_error_set(err, WEIR_INVALID, definition->name,
                              "must be one of: %s; got \"%.*s\"", definition->one_of,
                              WEIR_STR_ARG(text));
    if (definition->only != NULL && find_word(definition->only, text, false).data == NULL)
        return weir_error_set(err, WEIR_UNSUPPORTED, definition->name,
                              "\"%.*s\" is not in this build, which has: %s", WEIR_STR_ARG(text),
                              definition->only);
    return WEIR_OK;
}

/* -- lists ------------------------------------------------------------------- */

static int add_item(setting_value_t *value, weir_str_t text, weir_error_t *err)
{
    char **items = weir_realloc(value->items, (value->item_count + 2) * sizeof(*items));
    if (items == NULL)
        return weir_error_memory(err);
    value->items = items;
    items[value->item_count] = weir_strdup(text);
    if (items[value->item_count] == NULL)
        return weir_error_memory(err);
    items[++value->item_count] = NULL;
    return WEIR_OK;
}

static int too_many(const char *name, int max, weir_error_t *err)
{
    return weir_error_set(err, WEIR_TOO_LARGE, name, "must have at most %d items", max);
}

static int parse_list(weir_str_t text, const setting_definition_t *definition,
                      setting_value_t *value, weir_error_t *err)
{
    weir_str_t rest = text;
    weir_str_t item;
    while (next_part(&rest, ',', &item)) {
        item = weir_str_trim(item);
        if (item.len == 0)
            continue;
        if (definition->one_of != NULL) {
            weir_str_t known = find_word(definition->one_of, item, true);
            if (known.data == NULL)
                return weir_error_set(err, WEIR_INVALID, definition->name,
                                      "invalid entry '%.*s', allowed: %s", WEIR_STR_ARG(item),
                                      definition->one_of);
        }
        if (value->item_count >= SETTING_ITEMS_MAX)
            return too_many(definition->name, SETTING_ITEMS_MAX, err);
        int rc = add_item(value, item, err);
        if (rc != WEIR_OK)
            return rc;
    }
    return WEIR_OK;
}

/* -- labels (sync-protocol F.1) ------------------------------------------------ */

static bool is_label_text(weir_str_t text)
{
    if (text.len < 1 || text.len > LABEL_BYTES_MAX || !isalnum((unsigned char)text.data[0]) ||
        !isalnum((unsigned char)text.data[text.len - 1]))
        return false;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char byte = (unsigned char)text.data[i];
        if (!isalnum(byte) && strchr("_.:-", byte) == NULL)
            return false;
    }
    return true;
}

static int check_label(weir_str_t item, const char *name, weir_error_t *err)
{
    static const char *const reserved[] = { "kong", "konnect", "insomnia", "mesh", "kic" };
    weir_str_t text = item;
    weir_str_t key;
    next_part(&text, ':', &key);
    if (text.data == NULL)
        return weir_error_set(err, WEIR_INVALID, name, "\"%.*s\" must be key:value",
                              WEIR_STR_ARG(item));
    for (size_t i = 0; i < WEIR_COUNT(reserved); i++)
        if (key.len >= strlen(reserved[i]) &&
            strncasecmp(key.data, reserved[i], strlen(reserved[i])) == 0)
            return weir_error_set(err, WEIR_INVALID, name,
                                  "label key \"%.*s\" must not start with \"%s\"",
                                  WEIR_STR_ARG(key), reserved[i]);
    if (!is_label_text(key) || !is_label_text(text))
        return weir_error_set(err, WEIR_INVALID, name,
                              "\"%.*s\": key and value must be 1 to %d of A-Z a-z 0-9 _ . : - and "
                              "start and end with a letter or digit",
                              WEIR_STR_ARG(item), LABEL_BYTES_MAX);
    return WEIR_OK;
}

static int parse_labels(weir_str_t text, const setting_definition_t *definition,
                        setting_value_t *value, weir_error_t *err)
{
    int rc = parse_list(text, definition, value, err);
    for (size_t i = 0; rc == WEIR_OK && i < value->item_count; i++)
        rc = check_label(weir_str(value->items[i]), definition->name, err);
    if (rc == WEIR_OK && value->item_count > LABELS_MAX)
        rc = too_many(definition->name, LABELS_MAX, err);
    return rc;
}

/* -- listeners ----------------------------------------------------------------- */

static bool split_address(weir_str_t text, weir_listen_t *ret)
{
    size_t colon = text.len;
    while (colon > 0 && text.data[colon - 1] != ':')
        colon--;
    if (colon < 2 || colon - 1 >= sizeof(ret->address))
        return false;
    weir_str_t host = { text.data, colon - 1 };
    weir_str_t digits = { text.data + colon, text.len - colon };
    int64_t port = 0;
    if (weir_parse_int64(digits, 1, 65535, &port) != WEIR_OK)
        return false;
    ret->port = (int)port;
    snprintf(ret->address, sizeof(ret->address), "%.*s", WEIR_STR_ARG(host));

    unsigned char binary[sizeof(struct in6_addr)];
    if (host.data[0] != '[')
        return inet_pton(AF_INET, ret->address, binary) == 1;
    if (host.len < 3 || host.data[host.len - 1] != ']')
        return false;
    char inside[sizeof(ret->address)];
    snprintf(inside, sizeof(inside), "%.*s", (int)(host.len - 2), host.data + 1);
    return inet_pton(AF_INET6, inside, binary) == 1;
}

/* Flags with a value, which only nginx looks at. */
static bool is_passed_flag(weir_str_t flag)
{
    if (weir_str_starts(flag, WEIR_STR("ipv6only=")))
        return weir_str_is(flag, "ipv6only=on") || weir_str_is(flag, "ipv6only=off");
    if (!weir_str_starts(flag, WEIR_STR("so_keepalive=")))
        return false;
    for (size_t i = strlen("so_keepalive="); i < flag.len; i++)
        if (!isalnum((unsigned char)flag.data[i]) && flag.data[i] != ':')
            return false;
    return flag.len > strlen("so_keepalive=");
}

static bool take_flag(weir_str_t flag, weir_listen_t *ret)
{
    const struct {
        const char *name;
        bool *to;
    } flags[] = {
        { "ssl", &ret->ssl },
        { "http2", &ret->http2 },
        { "proxy_protocol", &ret->proxy_protocol },
        { "reuseport", &ret->reuseport },
        { "deferred", &ret->deferred },
        { "bind", &ret->bind },
    };
    for (size_t i = 0; i < WEIR_COUNT(flags); i++) {
        if (weir_str_is(flag, flags[i].name)) {
            *flags[i].to = true;
            return true;
        }
    }
    if (weir_str_starts(flag, WEIR_STR("backlog="))) {
        weir_str_t digits = { flag.data + 8, flag.len - 8 };
        int64_t backlog = 0;
        if (weir_parse_int64(digits, 1, 1 << 20, &backlog) != WEIR_OK)
            return false;
        ret->backlog = (int)backlog;
        return true;
    }
    return is_passed_flag(flag);
}

int weir_listen_parse(weir_str_t text, const char *name, weir_listen_t *ret, weir_error_t *err)
{
    weir_listen_t listen = { 0 };
    weir_str_t rest = text;
    weir_str_t word = { NULL, 0 };
    if (!next_word(&rest, &word) || !split_address(word, &listen))
        return weir_error_set(err, WEIR_INVALID, name,
                              "must be off or IP:PORT [ssl] [http2] [proxy_protocol] [deferred] "
                              "[bind] [reuseport] [backlog=N] [ipv6only=on|off] "
                              "[so_keepalive=...], with commas between several; got \"%.*s\"",
                              WEIR_STR_ARG(text));
    size_t len =
        (size_t)snprintf(listen.nginx, sizeof(listen.nginx), "%s:%d", listen.address, listen.port);
    while (next_word(&rest, &word)) {
        if (!take_flag(word, &listen))
            return weir_error_set(err, WEIR_INVALID, name, "unknown flag \"%.*s\" in \"%.*s\"",
                                  WEIR_STR_ARG(word), WEIR_STR_ARG(text));
        if (len + word.len + 2 > sizeof(listen.nginx))
            return weir_error_set(err, WEIR_TOO_LARGE, name, "too many flags in \"%.*s\"",
                                  WEIR_STR_ARG(text));
        len += (size_t)snprintf(listen.nginx + len, sizeof(listen.nginx) - len, " %.*s",
                                WEIR_STR_ARG(word));
    }
    *ret = listen;
    return WEIR_OK;
}

static int parse_listen(weir_str_t text, const setting_definition_t *definition,
                        setting_value_t *value, weir_error_t *err)
{
    if (weir_str_is(weir_str_trim(text), "off"))
        return WEIR_OK;
    weir_str_t rest = text;
    weir_str_t item;
    while (next_part(&rest, ',', &item)) {
        if (value->listen_count >= SETTING_ITEMS_MAX)
            return too_many(definition->name, SETTING_ITEMS_MAX, err);
        weir_listen_t *listen =
            weir_realloc(value->listen, (value->listen_count + 1) * sizeof(*listen));
        if (listen == NULL)
            return weir_error_memory(err);
        value->listen = listen;
        int rc = weir_listen_parse(item, definition->name, &listen[value->listen_count], err);
        if (rc != WEIR_OK)
            return rc;
        value->listen_count++;
    }
    return WEIR_OK;
}

/* -- paths and certificates ------------------------------------------------------ */

static int absolute_path(weir_str_t text, const char *name, weir_buffer_t *out, weir_error_t *err)
{
    char folder[PATH_BYTES_MAX];
    if (text.len > 0 && text.data[0] != '/') {
        if (getcwd(folder, sizeof(folder)) == NULL)
            return weir_error_set(err, WEIR_IO, name, "the current directory has no name");
        weir_buffer_printf(out, "%s/", folder);
    }
    while (text.len > 1 && text.data[text.len - 1] == '/')
        text.len--;
    /* A blank there would be lost when the setting is written to a file and read again. */
    if (text.len != weir_str_trim(text).len)
        return weir_error_set(err, WEIR_INVALID, name, "a path must not end in a blank");
    weir_buffer_append(out, text);
    if (out->len >= PATH_BYTES_MAX)
        return weir_error_set(err, WEIR_TOO_LARGE, name, "a path longer than %d bytes",
                              PATH_BYTES_MAX);
    return out->failed;
}

/* PEM text is kept in base64, so that it fits on the one line of a file. */
static int normal_pem(weir_str_t text, const char *name, weir_buffer_t *out, weir_error_t *err)
{
    if (weir_str_starts(text, WEIR_STR("LS0tLS1CRUdJTi"))) /* base64 of "-----BEGIN" */
        return weir_buffer_append(out, text);
    if (!weir_str_starts(text, WEIR_STR("-----BEGIN ")))
        return absolute_path(text, name, out, err);
    char *to = weir_buffer_reserve(out, 4 * (text.len / 3 + 1) + 1);
    if (to == NULL)
        return out->failed;
    out->len += (size_t)EVP_EncodeBlock((unsigned char *)to, (const unsigned char *)text.data,
                                        (int)text.len);
    return WEIR_OK;
}

static int normal_pems(weir_str_t text, const char *name, weir_buffer_t *out, weir_error_t *err)
{
    weir_str_t rest = text;
    weir_str_t item;
    int rc = WEIR_OK;
    while (rc == WEIR_OK && next_part(&rest, ',', &item)) {
        item = weir_str_trim(item);
        if (item.len == 0)
            continue;
        if (out->len > 0)
            weir_buffer_byte(out, ',');
        rc = normal_pem(item, name, out, err);
    }
    return rc;
}

/* The text as it is kept: what two spellings have in common. */
static int normalise(const setting_definition_t *definition, weir_str_t text, weir_buffer_t *out,
                     weir_error_t *err)
{
    if (text.len == 0)
        return WEIR_OK;
    int rc = WEIR_OK;
    if (definition->kind == SETTING_PATH)
        rc = absolute_path(text, definition->name, out, err);
    else if (definition->kind == SETTING_PEM)
        rc = normal_pem(text, definition->name, out, err);
    else if (definition->kind == SETTING_PATHS)
        rc = normal_pems(text, definition->name, out, err);
    else
        rc = weir_buffer_append(out, text);
    if (rc == WEIR_NO_MEMORY)
        return weir_error_memory(err);
    if (rc == WEIR_TOO_LARGE && out->failed != WEIR_OK)
        return weir_error_set(err, rc, definition->name, "longer than %d bytes", SETTING_BYTES_MAX);
    if (rc != WEIR_OK)
        return rc;
    for (size_t i = 0; i < out->len; i++)
        if ((unsigned char)out->data[i] < 0x20 || out->data[i] == 0x7f)
            return weir_error_set(err, WEIR_INVALID, definition->name,
                                  "must have no control characters");
    return WEIR_OK;
}

static int parse_kind(const setting_definition_t *definition, weir_str_t text,
                      setting_value_t *value, weir_error_t *err)
{
    switch (definition->kind) {
    case SETTING_BOOLEAN:
        return parse_boolean(text, definition->name, value, err);
    case SETTING_INTEGER:
        return parse_integer(text, definition, value, err);
    case SETTING_NUMBER:
        return parse_number(text, definition, value, err);
    case SETTING_SIZE:
        return parse_size(text, definition, value, err);
    case SETTING_ENUM:
        return check_word(text, definition, err);
    case SETTING_LIST:
    case SETTING_PATHS:
        return parse_list(text, definition, value, err);
    case SETTING_LABELS:
        return parse_labels(text, definition, value, err);
    case SETTING_LISTEN:
        return parse_listen(text, definition, value, err);
    case SETTING_TEXT:
    case SETTING_PATH:
    case SETTING_PEM:
    case SETTING_INERT:
        break;
    }
    return WEIR_OK;
}

void weir_setting_value_release(setting_value_t *value)
{
    weir_free(value->text);
    for (size_t i = 0; i < value->item_count; i++)
        weir_free(value->items[i]);
    weir_free(value->items);
    weir_free(value->listen);
    *value = (setting_value_t){ 0 };
}

int weir_setting_parse(weir_settings_t *settings, size_t index, weir_str_t text, weir_error_t *err)
{
    const setting_definition_t *definition = &weir_setting_table[index];
    setting_value_t value = { .given = true };
    WEIR_AUTO(buffer) weir_buffer_t normal;
    weir_buffer_init(&normal, SETTING_BYTES_MAX);
    int rc = normalise(definition, weir_str_trim(text), &normal, err);
    weir_str_t kept = weir_buffer_str(&normal);
    if (rc == WEIR_OK && weir_str_starts(kept, WEIR_STR("{vault://")))
        rc = weir_error_set(err, WEIR_UNSUPPORTED, definition->name,
                            "references to vaults are not in this build");
    if (rc == WEIR_OK && kept.len > 0)
        rc = parse_kind(definition, kept, &value, err);
    if (rc == WEIR_OK && (value.text = weir_strdup(kept)) == NULL)
        rc = weir_error_memory(err);
    if (rc != WEIR_OK) {
        weir_setting_value_release(&value);
        return rc;
    }
    weir_setting_value_release(&settings->values[index]);
    settings->values[index] = value;
    return WEIR_OK;
}
