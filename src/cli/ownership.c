/* ownership.c -- who may write what when root starts a node.
 *
 * nginx's workers then run as "www-data" (or nginx_user), if that user can reach
 * the prefix, else as root. The prefix belongs to that user's group and hands it
 * on (set-group-ID), so that what root's agent makes there, the image above all,
 * can be used by the workers. The database belongs to the user: the worker of a
 * control plane writes it. Keys and settings stay root's: only the nginx master
 * and the agent read them. */
#include "cli/cli.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define DEFAULT_USER "www-data"

/* As that user, in a process of its own. */
static bool can_use(const struct passwd *user, const char *prefix)
{
    pid_t child = fork();
    if (child == 0) {
        bool ok = setgroups(0, NULL) == 0 && setgid(user->pw_gid) == 0 &&
                  setuid(user->pw_uid) == 0 && access(prefix, R_OK | X_OK) == 0;
        _exit(ok ? 0 : 1);
    }
    int status = 1;
    while (child > 0 && waitpid(child, &status, 0) < 0 && errno == EINTR)
        continue;
    return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int cli_worker_user(const weir_settings_t *settings, const char **ret, weir_error_t *err)
{
    const char *wanted = weir_setting_string(settings, "nginx_user");
    const char *prefix = weir_setting_string(settings, "prefix");
    *ret = NULL;
    if (geteuid() != 0)
        return WEIR_OK;
    const char *name = wanted[0] != '\0' ? wanted : DEFAULT_USER;
    const struct passwd *user = getpwnam(name);
    if (user == NULL && wanted[0] != '\0')
        return weir_error_set(err, WEIR_INVALID, "nginx_user", "there is no user \"%s\"", wanted);
    bool usable = user != NULL && (user->pw_uid == 0 || can_use(user, prefix));
    if (!usable && wanted[0] != '\0')
        return weir_error_set(err, WEIR_INVALID, "nginx_user",
                              "\"%s\" cannot reach the prefix %s: a folder above it is closed",
                              wanted, prefix);
    *ret = usable ? name : "root";
    return WEIR_OK;
}

static int own(const char *path, uid_t user, gid_t group, mode_t mode, weir_error_t *err)
{
    if (chown(path, user, group) != 0 || chmod(path, mode) != 0)
        return errno == ENOENT
                   ? WEIR_OK
                   : weir_error_errno(err, errno, "cannot change the owner of %s", path);
    return WEIR_OK;
}

int cli_give_files(const weir_settings_t *settings, const char *user, weir_error_t *err)
{
    static const struct {
        const char *name;
        bool users; /* not only the group's */
        mode_t mode;
    } files[] = {
        { "image", false, 02770 },         { "image/data.mdb", false, 0660 },
        { "image/lock.mdb", false, 0660 }, { "weir.db", true, 0600 },
        { "weir.db-wal", true, 0600 },     { "weir.db-shm", true, 0600 },
    };
    if (user == NULL || strcmp(user, "root") == 0)
        return WEIR_OK;
    const struct passwd *entry = getpwnam(user);
    if (entry == NULL)
        return weir_error_set(err, WEIR_INVALID, "nginx_user", "there is no user \"%s\"", user);
    const char *prefix = weir_setting_string(settings, "prefix");
    int rc = own(prefix, 0, entry->pw_gid, 02775, err);
    for (size_t i = 0; rc == WEIR_OK && i < WEIR_COUNT(files); i++) {
        char path[CLI_PATH_MAX];
        cli_path(prefix, files[i].name, path, sizeof(path));
        rc = own(path, files[i].users ? entry->pw_uid : 0, entry->pw_gid, files[i].mode, err);
    }
    return rc;
}
