/* settings_internal.h -- how settings.c, its table and its checks see a setting. */
#ifndef WEIR_SETTINGS_INTERNAL_H
#define WEIR_SETTINGS_INTERNAL_H

#include "base/settings.h"

enum {
    SETTINGS_FILE_BYTES_MAX = 1024 * 1024,
    SETTING_BYTES_MAX = 64 * 1024, /* of one value: certificates as text are the largest */
    SETTING_ITEMS_MAX = 1024,
    DIRECTIVES_MAX = 256, /* settings of the form nginx_BLOCK_DIRECTIVE */
    LABELS_MAX = 10,
};

typedef enum setting_kind {
    SETTING_TEXT = 1,
    SETTING_PATH, /* of a file; relative to where the settings were read, kept absolute */
    SETTING_PEM,  /* a path, PEM text, or base64 of PEM text */
    SETTING_BOOLEAN,
    SETTING_INTEGER,
    SETTING_NUMBER,
    SETTING_ENUM,
    SETTING_SIZE, /* bytes, with k, m or g behind */
    SETTING_LIST,
    SETTING_PATHS, /* list of SETTING_PEM */
    SETTING_LISTEN,
    SETTING_LABELS,
    SETTING_INERT, /* of the incumbent, accepted and without effect here */
} setting_kind_t;

typedef struct setting_definition {
    const char *name;
    setting_kind_t kind;
    const char *initial; /* "": unset */
    const char *one_of;  /* words with blanks between; ENUM and the items of a LIST */
    const char *only;    /* the words of one_of that this build has; NULL: all of them */
    int64_t min, max;    /* INTEGER, NUMBER, SIZE */
    bool secret;
    const char *meaning;
} setting_definition_t;

extern const setting_definition_t weir_setting_table[];
extern const size_t weir_setting_table_count;

typedef struct setting_value {
    char *text; /* normalised; never NULL after loading */
    bool given; /* by file or environment */
    bool boolean;
    int64_t integer;
    double number;
    char **items;
    size_t item_count;
    weir_listen_t *listen;
    size_t listen_count;
} setting_value_t;

typedef struct setting_directive {
    char *name; /* whole: "nginx_http_keepalive_requests" */
    char *value;
} setting_directive_t;

struct weir_settings {
    setting_value_t *values; /* one for each row of the table */
    setting_directive_t *directives;
    size_t directive_count;
};

/* Index in the table (aliases resolved), or the table's length. */
size_t weir_setting_index(weir_str_t name);
/* Parses `text` for row `index` into its value. The old value is freed. */
int weir_setting_parse(weir_settings_t *settings, size_t index, weir_str_t text, weir_error_t *err);
void weir_setting_value_release(setting_value_t *value);
/* Defaults that depend on the role, then the checks over several settings. */
int weir_settings_check(weir_settings_t *settings, weir_error_t *err);
int weir_listen_parse(weir_str_t text, const char *name, weir_listen_t *ret, weir_error_t *err);

#endif
