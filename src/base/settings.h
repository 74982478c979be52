/* settings.h -- the node's settings: kong.conf style file + environment.
 *
 * One table (settings.c) names each setting, its default, its kind and what is
 * allowed; --help, the man page, the checks at start and `GET /` come from it.
 * Names and defaults are those of the incumbent where it has the setting
 * (sync-protocol F.1, routing 14); cluster_rpc and cluster_rpc_sync are on.
 *
 * Order of precedence: WEIR_NAME, then KONG_NAME in the environment, then the
 * file, then the default. An unknown or invalid one refuses the start. */
#ifndef WEIR_SETTINGS_H
#define WEIR_SETTINGS_H

#include "base/base.h"
#include "weir/json.h"

typedef struct weir_settings weir_settings_t;

typedef struct weir_listen {
    char address[64]; /* "127.0.0.1", "[::1]" or "0.0.0.0" */
    int port;
    bool ssl, http2, proxy_protocol, reuseport, deferred, bind;
    int backlog;     /* 0: not given */
    char nginx[192]; /* all of it, as an argument list of nginx's `listen` */
} weir_listen_t;

/* Reads `path` (NULL: none) and `environment` (as environ; NULL: none).
 * `prefix` (NULL: none) wins over every other source of the prefix setting.
 * WEIR_INVALID: field is the setting, reason has the value and what is allowed. */
int weir_settings_load(const char *path, const char *const *environment, const char *prefix,
                       weir_settings_t **ret, weir_error_t *err);
void weir_settings_free(weir_settings_t *settings);

/* The effective settings as a kong.conf text that weir_settings_load reads back:
 * `weir prepare` writes it to PREFIX/weir.settings, every process loads it. */
int weir_settings_save(const weir_settings_t *settings, const char *path, weir_error_t *err);

/* Changes one setting, as if the file had it; no check against the others. For
 * `weir prepare`, which puts certificates given as text into files. */
int weir_settings_set(weir_settings_t *settings, const char *name, weir_str_t value,
                      weir_error_t *err);
/* Whether a file or the environment named it. */
bool weir_setting_given(const weir_settings_t *settings, const char *name);

/* Asking for a name that the table lacks, or by another kind, is an assertion
 * failure. Strings live as long as `settings`; an unset string is "". */
/* The text of a setting of any kind, normalised. */
const char *weir_setting_string(const weir_settings_t *settings, const char *name);
/* Integers; sizes ("16k") in bytes. */
int64_t weir_setting_integer(const weir_settings_t *settings, const char *name);
bool weir_setting_boolean(const weir_settings_t *settings, const char *name);
/* Numbers and integers. */
double weir_setting_number(const weir_settings_t *settings, const char *name);
/* Items of a comma separated list, trimmed. NULL after the last. */
size_t weir_setting_count(const weir_settings_t *settings, const char *name);
const char *weir_setting_item(const weir_settings_t *settings, const char *name, size_t index);
/* Items of a *_listen setting; none when it is "off". */
size_t weir_setting_listen_count(const weir_settings_t *settings, const char *name);
const weir_listen_t *weir_setting_listen(const weir_settings_t *settings, const char *name,
                                         size_t index);

/* The directives given as nginx_BLOCK_DIRECTIVE settings (routing 14), e.g. block
 * "http" for nginx_http_keepalive_requests. Settings of the table are not among them. */
void weir_settings_directives(const weir_settings_t *settings, const char *block,
                              void (*each)(void *context, const char *directive, const char *value),
                              void *context);
/* Settings that were given but have no effect in Weir: to be warned of. */
void weir_settings_without_effect(const weir_settings_t *settings,
                                  void (*each)(void *context, const char *name), void *context);

/* The `configuration` member of GET / (admin-api 10.1): typed values, secrets as
 * "******", unset ones absent. NULL when memory is short; the caller frees. */
weir_json_t *weir_settings_json(const weir_settings_t *settings);
/* Name, kind, default and meaning of every setting, for --help and the man page. */
int weir_settings_describe(void (*line)(void *context, const char *name, const char *initial,
                                        const char *meaning),
                           void *context);

#endif
