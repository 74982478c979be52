/* cli.h -- what the files of the `weir` command share. */
#ifndef WEIR_CLI_H
#define WEIR_CLI_H

#include "base/settings.h"

#include <stdio.h>
#include <sys/types.h>

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };
enum { CLI_PATH_MAX = 4096 };

/* What stood on the command line. */
typedef struct cli_options {
    const char *file;   /* -c; NULL: not given */
    const char *prefix; /* -p */
    bool yes;           /* -y */
    bool force;         /* -f */
    int timeout_s;      /* -t; 0: not given */
    int argument_count;
    char **arguments; /* after the command's words */
} cli_options_t;

/* -- commands: each returns an exit status ----------------------------------------- */

int cli_start(const cli_options_t *options);
int cli_stop(const cli_options_t *options);
int cli_quit(const cli_options_t *options);
int cli_restart(const cli_options_t *options);
int cli_reload(const cli_options_t *options);
int cli_health(const cli_options_t *options);
int cli_version(const cli_options_t *options);
int cli_check(const cli_options_t *options);
int cli_prepare(const cli_options_t *options);
int cli_gen_cert(const cli_options_t *options);
int cli_migrations_bootstrap(const cli_options_t *options);
int cli_migrations_up(const cli_options_t *options);
int cli_migrations_list(const cli_options_t *options);
int cli_migrations_reset(const cli_options_t *options);
int cli_sync_status(const cli_options_t *options);
int cli_sync_verify(const cli_options_t *options);
int cli_supervise(const cli_options_t *options);

/* -- the node and its files (node.c) -------------------------------------------------- */

/* Prints "weir: FIELD: REASON" to standard error; returns EXIT_FAILED. */
int cli_fail(const weir_error_t *err);

/* The prefix from -p, the environment, -c or the default; absolute, without
 * looking at other settings. */
int cli_prefix(const cli_options_t *options, char *ret, size_t bytes, weir_error_t *err);
/* The settings for a start: -c, or else PREFIX/weir.settings of the one before, or
 * else CLI_DEFAULT_FILE; the environment over it. */
int cli_settings(const cli_options_t *options, weir_settings_t **ret, weir_error_t *err);
#define CLI_DEFAULT_FILE "/etc/weir/weir.conf"

/* PREFIX/NAME. An assertion guards the length: prefixes are shorter. */
void cli_path(const char *prefix, const char *name, char *ret, size_t bytes);
/* What lies beside this executable, or where `ninja install` puts it. */
int cli_find(const char *name, char *ret, size_t bytes, weir_error_t *err);
int cli_find_nginx(char *ret, size_t bytes, weir_error_t *err);

/* The process in PREFIX/pids/NAME.pid, or else the one that holds PREFIX/pids/NAME.lock
 * (an agent does), if it lives and is of this node; else 0. */
pid_t cli_running(const char *prefix, const char *name);
/* The number in PREFIX/pids/NAME.pid, whether it lives or not; 0: none. */
pid_t cli_read_pid(const char *prefix, const char *name);
/* Whether the process has a file under `prefix` open: pids may be used anew. */
bool cli_belongs(pid_t pid, const char *prefix);
int cli_write_pid(const char *prefix, const char *name, pid_t pid, weir_error_t *err);
/* Kills what is left of the process group `group`, if it is of this node. */
size_t cli_kill_group(pid_t group, const char *prefix);
int cli_write_file(const char *path, weir_str_t text, mode_t mode, weir_error_t *err);
void cli_sleep_ms(int ms);

/* -- preparing (prepare.c, ownership.c, certificate.c) ------------------------------------ */

/* Folders, node id, certificates, weir.settings, nginx.conf; then nginx -t. */
int cli_prepare_prefix(weir_settings_t *settings, weir_error_t *err);
/* The user of the workers, or NULL for the one who starts nginx: "www-data" when
 * root starts and that user can use the prefix, else "root". */
int cli_worker_user(const weir_settings_t *settings, const char **ret, weir_error_t *err);
/* Gives that user what it has to write: the image, the database. */
int cli_give_files(const weir_settings_t *settings, const char *user, weir_error_t *err);

typedef enum cli_key { CLI_KEY_P384, CLI_KEY_P256, CLI_KEY_RSA } cli_key_t;
/* Self-signed. Neither file may exist; the key gets mode 0600. */
int cli_make_certificate(cli_key_t kind, const char *name, int days, const char *certificate_path,
                         const char *key_path, weir_error_t *err);

/* -- probing (probe.c) ---------------------------------------------------------------------- */

/* Whether something accepts connections there. */
bool cli_listens(const weir_listen_t *listen);
/* Status of GET `path`, or 0 if there was no answer; its body, cut, into `body`. */
int cli_get(const weir_listen_t *listen, const char *path, char *body, size_t bytes);
/* Binds each address of the node's listeners once. WEIR_CONFLICT: one is taken, and stayed so for
   two seconds: a node that was killed is only gone when its last thread is. */
int cli_check_ports(const weir_settings_t *settings, weir_error_t *err);
/* The address to ask for readiness: status, or else admin, or else the proxy. */
const weir_listen_t *cli_probe_address(const weir_settings_t *settings, const char **ret_path);

#endif
