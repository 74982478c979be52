/* prepare.c -- `weir prepare`: a prefix with everything that a start needs.
 *
 * Certificates, in whatever form the settings have them, become files under
 * PREFIX/ssl, so that nginx and the agent know only paths. */
#include "cli/cli.h"

#include "base/buffer.h"
#include "base/uuid.h"
#include "host/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PEM_BYTES_MAX = 256 * 1024, CONF_BYTES_MAX = 1024 * 1024, DEFAULT_DAYS = 7300 };

static const char *prefix_of(const weir_settings_t *settings)
{
    return weir_setting_string(settings, "prefix");
}

static bool role_is(const weir_settings_t *settings, const char *role)
{
    return strcmp(weir_setting_string(settings, "role"), role) == 0;
}

/* -- folders and the node id --------------------------------------------------------- */

static int make_folder(const char *path, mode_t mode, weir_error_t *err)
{
    if (mkdir(path, mode) != 0 && errno != EEXIST)
        return weir_error_errno(err, errno, "cannot make the folder %s", path);
    return WEIR_OK;
}

static int make_parents(const char *prefix, weir_error_t *err)
{
    char path[CLI_PATH_MAX];
    snprintf(path, sizeof(path), "%s", prefix);
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int rc = make_folder(path, 0755, err);
        *slash = '/';
        if (rc != WEIR_OK)
            return rc;
    }
    return WEIR_OK;
}

static int make_folders(const char *prefix, weir_error_t *err)
{
    static const struct {
        const char *name;
        mode_t mode;
    } folders[] = {
        { "", 0755 }, { "logs", 0755 }, { "pids", 0755 }, { "ssl", 0700 }, { "tmp", 0755 }
    };
    int rc = make_parents(prefix, err);
    for (size_t i = 0; rc == WEIR_OK && i < WEIR_COUNT(folders); i++) {
        char path[CLI_PATH_MAX];
        cli_path(prefix, folders[i].name, path, sizeof(path));
        rc = make_folder(path, folders[i].mode, err);
    }
    return rc;
}

static int read_text(const char *path, weir_buffer_t *out, weir_error_t *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return weir_error_errno(err, errno, "cannot read %s", path);
    for (;;) {
        char *to = weir_buffer_reserve(out, 4096);
        size_t got = to != NULL ? fread(to, 1, 4096, file) : 0;
        if (got == 0)
            break;
        out->len += got;
    }
    int failed = ferror(file);
    fclose(file);
    if (failed != 0 || out->failed != WEIR_OK)
        return weir_error_set(err, WEIR_IO, NULL, "cannot read %s, or it is too long", path);
    return WEIR_OK;
}

/* Kept for ever: the control plane knows the node by it. */
static int make_id(const weir_settings_t *settings, weir_error_t *err)
{
    char path[CLI_PATH_MAX];
    char text[WEIR_UUID_TEXT + 2];
    weir_uuid_t id;
    WEIR_AUTO(buffer) weir_buffer_t before;
    weir_buffer_init(&before, 8192);
    cli_path(prefix_of(settings), "weir.id", path, sizeof(path));
    const char *wanted = weir_setting_string(settings, "node_id");
    if (wanted[0] != '\0') {
        weir_uuid_parse(weir_str(wanted), &id); /* checked when it was loaded */
    } else if (read_text(path, &before, NULL) == WEIR_OK && before.len >= WEIR_UUID_TEXT &&
               weir_uuid_parse((weir_str_t){ before.data, WEIR_UUID_TEXT }, &id) == WEIR_OK) {
        return WEIR_OK;
    } else if (weir_uuid_random(&id) != WEIR_OK) {
        return weir_error_set(err, WEIR_IO, NULL, "the system has no randomness");
    }
    weir_uuid_format(&id, text);
    text[WEIR_UUID_TEXT] = '\n';
    return cli_write_file(path, (weir_str_t){ text, WEIR_UUID_TEXT + 1 }, 0644, err);
}

/* -- certificates ----------------------------------------------------------------------- */

static int decode(weir_str_t text, const char *setting, weir_buffer_t *out, weir_error_t *err)
{
    char *to = weir_buffer_reserve(out, text.len);
    if (to == NULL)
        return weir_error_memory(err);
    int len = EVP_DecodeBlock((unsigned char *)to, (const unsigned char *)text.data, (int)text.len);
    if (len < 0)
        return weir_error_set(err, WEIR_INVALID, setting, "is not base64");
    for (size_t at = text.len; at > 0 && text.data[at - 1] == '='; at--)
        len--; /* what stands for the padding is counted as well */
    out->len += (size_t)len;
    return WEIR_OK;
}

/* Copies `text` (a path, or base64 of PEM) to PREFIX/ssl/NAME and appends that path. */
static int settle(const weir_settings_t *settings, const char *setting, weir_str_t text,
                  const char *name, char *ret, size_t bytes, weir_error_t *err)
{
    char file[128];
    WEIR_AUTO(buffer) weir_buffer_t pem;
    weir_buffer_init(&pem, PEM_BYTES_MAX);
    snprintf(file, sizeof(file), "ssl/%s", name);
    cli_path(prefix_of(settings), file, ret, bytes);
    weir_error_t reason = { 0 };
    char path[CLI_PATH_MAX];
    snprintf(path, sizeof(path), "%.*s", WEIR_STR_ARG(text));
    int rc =
        text.data[0] == '/' ? read_text(path, &pem, &reason) : decode(text, setting, &pem, &reason);
    if (rc != WEIR_OK)
        return weir_error_set(err, rc, setting, "%s", reason.reason);
    if (memmem(pem.data, pem.len, "-----BEGIN ", 11) == NULL)
        return weir_error_set(err, WEIR_INVALID, setting, "%s has no PEM text in it",
                              text.data[0] == '/' ? path : "the value");
    return cli_write_file(ret, weir_buffer_str(&pem), 0600, err);
}

static int settle_one(weir_settings_t *settings, const char *setting, const char *name,
                      weir_error_t *err)
{
    char path[CLI_PATH_MAX];
    weir_str_t text = weir_str(weir_setting_string(settings, setting));
    if (text.len == 0)
        return WEIR_OK;
    int rc = settle(settings, setting, text, name, path, sizeof(path), err);
    return rc == WEIR_OK ? weir_settings_set(settings, setting, weir_str(path), err) : rc;
}

static int settle_list(weir_settings_t *settings, const char *setting, const char *suffix,
                       weir_error_t *err)
{
    WEIR_AUTO(buffer) weir_buffer_t all;
    weir_buffer_init(&all, PEM_BYTES_MAX);
    size_t count = weir_setting_count(settings, setting);
    for (size_t i = 0; i < count; i++) {
        char name[96];
        char path[CLI_PATH_MAX];
        snprintf(name, sizeof(name), "%s-%zu.%s", setting, i + 1, suffix);
        int rc = settle(settings, setting, weir_str(weir_setting_item(settings, setting, i)), name,
                        path, sizeof(path), err);
        if (rc != WEIR_OK)
            return rc;
        weir_buffer_printf(&all, "%s%s", i > 0 ? "," : "", path);
    }
    if (count == 0)
        return WEIR_OK;
    return all.failed == WEIR_OK ? weir_settings_set(settings, setting, weir_buffer_str(&all), err)
                                 : weir_error_memory(err);
}

/* A pair of our own where none is given; made once. */
static int default_pair(const weir_settings_t *settings, cli_key_t kind, const char *name,
                        const char *subject, char *certificate, char *key, weir_error_t *err)
{
    char file[96];
    snprintf(file, sizeof(file), "ssl/%s.crt", name);
    cli_path(prefix_of(settings), file, certificate, CLI_PATH_MAX);
    snprintf(file, sizeof(file), "ssl/%s.key", name);
    cli_path(prefix_of(settings), file, key, CLI_PATH_MAX);
    if (access(certificate, F_OK) == 0 && access(key, F_OK) == 0)
        return WEIR_OK;
    unlink(certificate); /* half a pair, of a run that was cut short */
    unlink(key);
    return cli_make_certificate(kind, subject, DEFAULT_DAYS, certificate, key, err);
}

static int default_certificates(weir_settings_t *settings, const char *setting,
                                const char *key_setting, weir_error_t *err)
{
    char certificates[2][CLI_PATH_MAX];
    char keys[2][CLI_PATH_MAX];
    char both[2 * CLI_PATH_MAX + 2];
    if (weir_setting_count(settings, setting) > 0)
        return WEIR_OK;
    int rc =
        default_pair(settings, CLI_KEY_RSA, "default", "localhost", certificates[0], keys[0], err);
    if (rc == WEIR_OK)
        rc = default_pair(settings, CLI_KEY_P256, "default-ecdsa", "localhost", certificates[1],
                          keys[1], err);
    if (rc != WEIR_OK)
        return rc;
    snprintf(both, sizeof(both), "%s,%s", certificates[0], certificates[1]);
    rc = weir_settings_set(settings, setting, weir_str(both), err);
    snprintf(both, sizeof(both), "%s,%s", keys[0], keys[1]);
    return rc == WEIR_OK ? weir_settings_set(settings, key_setting, weir_str(both), err) : rc;
}

static bool has_tls(const weir_settings_t *settings, const char *listeners)
{
    for (size_t i = 0; i < weir_setting_listen_count(settings, listeners); i++)
        if (weir_setting_listen(settings, listeners, i)->ssl)
            return true;
    return false;
}

/* A traditional node speaks to itself; nobody else needs that certificate. */
static int own_cluster_pair(weir_settings_t *settings, weir_error_t *err)
{
    char certificate[CLI_PATH_MAX];
    char key[CLI_PATH_MAX];
    if (!role_is(settings, "traditional") ||
        weir_setting_string(settings, "cluster_cert")[0] != '\0')
        return WEIR_OK;
    int rc =
        default_pair(settings, CLI_KEY_P384, "cluster", "kong_clustering", certificate, key, err);
    if (rc == WEIR_OK)
        rc = weir_settings_set(settings, "cluster_cert", weir_str(certificate), err);
    return rc == WEIR_OK ? weir_settings_set(settings, "cluster_cert_key", weir_str(key), err) : rc;
}

static int settle_certificates(weir_settings_t *settings, weir_error_t *err)
{
    static const struct {
        const char *listeners, *certificates, *keys;
    } servers[] = { { "proxy_listen", "ssl_cert", "ssl_cert_key" },
                    { "admin_listen", "admin_ssl_cert", "admin_ssl_cert_key" },
                    { "status_listen", "status_ssl_cert", "status_ssl_cert_key" } };
    int rc = own_cluster_pair(settings, err);
    if (rc == WEIR_OK)
        rc = settle_one(settings, "cluster_cert", "cluster.crt", err);
    if (rc == WEIR_OK)
        rc = settle_one(settings, "cluster_cert_key", "cluster.key", err);
    if (rc == WEIR_OK)
        rc = settle_one(settings, "cluster_ca_cert", "cluster_ca.crt", err);
    if (rc == WEIR_OK)
        rc = settle_one(settings, "client_ssl_cert", "client.crt", err);
    if (rc == WEIR_OK)
        rc = settle_one(settings, "client_ssl_cert_key", "client.key", err);
    for (size_t i = 0; rc == WEIR_OK && i < WEIR_COUNT(servers); i++) {
        rc = settle_list(settings, servers[i].certificates, "crt", err);
        if (rc == WEIR_OK)
            rc = settle_list(settings, servers[i].keys, "key", err);
        if (rc == WEIR_OK && has_tls(settings, servers[i].listeners))
            rc = default_certificates(settings, servers[i].certificates, servers[i].keys, err);
    }
    return rc;
}

/* -- nginx.conf ---------------------------------------------------------------------------- */

/* What this process may give to its children. 0: any number. */
static uint64_t files_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max == RLIM_INFINITY)
        return 0;
    return limit.rlim_max;
}

static int write_conf(const weir_settings_t *settings, const char *settings_path, const char *user,
                      weir_error_t *err)
{
    char module[CLI_PATH_MAX];
    char path[CLI_PATH_MAX];
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    WEIR_AUTO(buffer) weir_buffer_t text;
    weir_buffer_init(&text, CONF_BYTES_MAX);
    int rc = cli_find("ngx_http_weir_module.so", module, sizeof(module), err);
    if (rc != WEIR_OK)
        return rc;
    const weir_host_conf_t conf = { .module = module,
                                    .settings_path = settings_path,
                                    .user = user,
                                    .cores = cores > 0 ? (unsigned)cores : 1,
                                    .files_max = files_max() };
    rc = weir_host_conf(settings, &conf, &text, err);
    cli_path(prefix_of(settings), "nginx.conf", path, sizeof(path));
    return rc == WEIR_OK ? cli_write_file(path, weir_buffer_str(&text), 0644, err) : rc;
}

/* nginx's own words, without its time stamps, when it refuses the file. */
static int refused_by_nginx(FILE *said, weir_error_t *err)
{
    char line[512];
    char words[512] = "nginx refuses its configuration";
    while (fgets(line, sizeof(line), said) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strstr(line, "[emerg]") != NULL)
            snprintf(words, sizeof(words), "%s", strstr(line, "[emerg]"));
    }
    return weir_error_set(err, WEIR_INVALID, NULL, "nginx.conf: %.380s", words);
}

static int test_conf(const weir_settings_t *settings, weir_error_t *err)
{
    char nginx[CLI_PATH_MAX];
    char conf[CLI_PATH_MAX];
    char folder[CLI_PATH_MAX];
    int ends[2];
    int rc = cli_find_nginx(nginx, sizeof(nginx), err);
    if (rc != WEIR_OK)
        return rc;
    cli_path(prefix_of(settings), "nginx.conf", conf, sizeof(conf));
    cli_path(prefix_of(settings), "", folder, sizeof(folder));
    if (pipe2(ends, O_CLOEXEC) != 0)
        return weir_error_errno(err, errno, "cannot open a pipe");
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        execl(nginx, nginx, "-t", "-q", "-p", folder, "-c", conf, (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    FILE *said = fdopen(ends[0], "r");
    int status = 1;
    weir_error_t refusal = { 0 };
    if (said != NULL)
        refused_by_nginx(said, &refusal);
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    if (said != NULL)
        fclose(said);
    if (child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return WEIR_OK;
    return weir_error_set(err, WEIR_INVALID, NULL, "%s", refusal.reason);
}

int cli_prepare_prefix(weir_settings_t *settings, weir_error_t *err)
{
    char path[CLI_PATH_MAX];
    const char *user = NULL;
    if (strlen(prefix_of(settings)) > CLI_PATH_MAX - 128)
        return weir_error_set(err, WEIR_TOO_LARGE, "prefix", "too long a path");
    int rc = make_folders(prefix_of(settings), err);
    if (rc == WEIR_OK)
        rc = make_id(settings, err);
    if (rc == WEIR_OK)
        rc = settle_certificates(settings, err);
    if (rc == WEIR_OK)
        rc = cli_worker_user(settings, &user, err);
    if (rc == WEIR_OK)
        rc = cli_give_files(settings, user, err);
    cli_path(prefix_of(settings), "weir.settings", path, sizeof(path));
    if (rc == WEIR_OK)
        rc = weir_settings_save(settings, path, err);
    if (rc == WEIR_OK)
        rc = write_conf(settings, path, user, err);
    return rc == WEIR_OK ? test_conf(settings, err) : rc;
}

int cli_prepare(const cli_options_t *options)
{
    weir_settings_t *settings = NULL;
    weir_error_t err = { 0 };
    int rc = cli_settings(options, &settings, &err);
    if (rc == WEIR_OK)
        rc = cli_prepare_prefix(settings, &err);
    if (rc == WEIR_OK)
        printf("prepared %s\n", prefix_of(settings));
    weir_settings_free(settings);
    return rc == WEIR_OK ? EXIT_OK : cli_fail(&err);
}
