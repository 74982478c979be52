/* help.c -- the table of commands, and what --help says about them. */
#include "cli/help.h"

#define NODE_ARGUMENTS "[-c FILE] [-p PREFIX]"

static const cli_command_t commands[] = {
    { "start", NULL, 0, cli_start, NODE_ARGUMENTS " [-t SECONDS]",
      "start the node, return when it answers",
      "Prepares the prefix, starts the supervisor with nginx and, where there is a data\n"
      "plane, the sync agent, and waits until the listeners answer. A data plane that has\n"
      "no configuration yet (its control plane is away) has started all the same.\n"
      "A control plane needs `weir migrations bootstrap` once before.\n"
      "Exit status: 0 started; 1 not, with the reason and the last lines of the logs." },
    { "stop", NULL, 0, cli_stop, "[-p PREFIX] [-t SECONDS]", "stop the node at once",
      "Ends all of its processes; requests under way are cut.\n"
      "Exit status: 0 stopped; 1 nothing was running, or it did not stop in time." },
    { "quit", NULL, 0, cli_quit, "[-p PREFIX] [-t SECONDS]",
      "stop the node when requests under way have ended",
      "Takes no new connections and waits (-t, default 600 s).\n"
      "Exit status: 0 stopped; 1 nothing was running, or it did not stop in time." },
    { "restart", NULL, 0, cli_restart, NODE_ARGUMENTS, "stop, then start",
      "Settings that are refused leave the running node alone.\n"
      "Exit status: as start." },
    { "reload", NULL, 0, cli_reload, NODE_ARGUMENTS, "take new settings without dropping anybody",
      "Prepares the prefix anew and tells nginx and the agent. The role stays.\n"
      "Exit status: 0 told; 1 the settings were refused, or nothing runs." },
    { "health", NULL, 0, cli_health, "[-p PREFIX]", "say which processes of the node run",
      "Exit status: 0 all run; 1 one does not." },
    { "version", NULL, 0, cli_version, "", "print the version", "Exit status: 0." },
    { "check", NULL, 1, cli_check, "FILE", "say whether a settings file is good",
      "Reads FILE as start would, without the environment, and warns of settings that\n"
      "have no effect in Weir.\n"
      "Exit status: 0 good; 1 refused, with the setting and the reason." },
    { "prepare", NULL, 0, cli_prepare, NODE_ARGUMENTS, "write what start needs, start nothing",
      "Makes PREFIX with weir.settings (the effective settings), nginx.conf, certificates\n"
      "under ssl/, and weir.id, and has nginx check its configuration.\n"
      "Exit status: 0 prepared; 1 not, with the reason." },
    { "migrations", "bootstrap", 0, cli_migrations_bootstrap, NODE_ARGUMENTS,
      "make the database of a control plane",
      "Harmless where it is made already.\n"
      "Exit status: 0 the database is up to date; 1 not, with the reason." },
    { "migrations", "up", 0, cli_migrations_up, NODE_ARGUMENTS,
      "bring the database to this version of Weir",
      "The node must not be running if there is something to do.\n"
      "Exit status: 0 the database is up to date; 1 not, with the reason." },
    { "migrations", "list", 0, cli_migrations_list, NODE_ARGUMENTS, "list what has been migrated",
      "Exit status: 0; 1 there is no database." },
    { "migrations", "reset", 0, cli_migrations_reset, NODE_ARGUMENTS " --yes",
      "delete every entity",
      "The node must not be running.\n"
      "Exit status: 0 deleted; 1 not, with the reason." },
    { "hybrid", "gen_cert", 2, cli_gen_cert, "[CERTIFICATE KEY]",
      "make the certificate that both planes share",
      "Self-signed, EC secp384r1, CN=kong_clustering, 1095 days; the key gets mode 0600.\n"
      "Without names: cluster.crt and cluster.key. Existing files are left as they are.\n"
      "Exit status: 0 written; 1 not, with the reason." },
    { "sync", "status", 0, cli_sync_status, "[-p PREFIX]",
      "say which configuration a data plane holds",
      "Version, entities, quarantine, read from the image as of now; and the agent's\n"
      "connection to the control plane, with the age of what the agent said: it says\n"
      "something when something has changed, once a second at the most.\n"
      "Exit status: 0; 1 there is no configuration yet, or it cannot be read." },
    { "sync", "verify", 0, cli_sync_verify, NODE_ARGUMENTS,
      "prove that what the node holds is what its digest says",
      "Reads every entity, beside the running node, computes the sums of all buckets\n"
      "anew and compares them with those that are kept; tells the entities, the digest,\n"
      "and where the first difference is. Of an image, records and index entries too.\n"
      "Progress goes to standard error, on a terminal.\n"
      "Exit status: 0 equal; 1 different, or it cannot be read, with the reason." },
    { "supervise", NULL, 0, cli_supervise, "[-p PREFIX]",
      "watch the node's processes in the foreground",
      "What `weir start` leaves behind; also for systemd. PREFIX must be prepared.\n"
      "Signals: TERM stops, QUIT stops gently, HUP reloads, USR1 opens the logs anew.\n"
      "Exit status: 0 stopped; 1 it could not begin." },
};

const cli_command_t *cli_find_command(const cli_options_t *options)
{
    for (size_t i = 0; i < WEIR_COUNT(commands); i++) {
        if (strcmp(commands[i].name, options->arguments[0]) != 0)
            continue;
        if (commands[i].subcommand == NULL ||
            (options->argument_count > 1 &&
             strcmp(commands[i].subcommand, options->arguments[1]) == 0))
            return &commands[i];
    }
    return NULL;
}

static void print_line(FILE *out, const cli_command_t *command)
{
    char words[40];
    snprintf(words, sizeof(words), "%s%s%s", command->name, command->subcommand != NULL ? " " : "",
             command->subcommand != NULL ? command->subcommand : "");
    fprintf(out, "  %-22s %s\n", words, command->summary);
}

void cli_print_help(FILE *out)
{
    fputs("usage: weir COMMAND [OPTIONS]\n\n", out);
    for (size_t i = 0; i < WEIR_COUNT(commands); i++)
        print_line(out, &commands[i]);
    fputs(
        "\n"
        "Options of most commands:\n"
        "  -c, --conf FILE        settings; without it PREFIX/weir.settings of the start before,\n"
        "                         or else " CLI_DEFAULT_FILE "\n"
        "  -p, --prefix PREFIX    directory of the node (default /usr/local/weir)\n"
        "  -t, --timeout SECONDS  how long to wait\n"
        "  -y, --yes              mean it\n"
        "  -h, --help             of a command as well; weir settings --help lists the settings\n"
        "\n"
        "Each setting NAME can be given as WEIR_NAME (or KONG_NAME) in the environment too.\n"
        "Exit status: 0 done, 1 failed (the reason is on standard error), 2 wrong usage.\n",
        out);
}

void cli_print_command_help(const cli_command_t *command)
{
    printf("usage: weir %s%s%s %s\n\n%s.\n\n%s\n", command->name,
           command->subcommand != NULL ? " " : "",
           command->subcommand != NULL ? command->subcommand : "", command->arguments,
           command->summary, command->text);
}

static void print_setting(void *context, const char *name, const char *initial, const char *meaning)
{
    (void)context;
    printf("  %s = %s\n      %s\n", name, initial, meaning);
}

bool cli_print_group_help(const char *group)
{
    if (strcmp(group, "settings") == 0) {
        puts("Settings, with their defaults:\n");
        weir_settings_describe(print_setting, NULL);
        puts("\n  nginx_BLOCK_DIRECTIVE = ARGUMENTS\n"
             "      Any directive of nginx; BLOCK: main, events, http, proxy, admin, status.");
        return true;
    }
    bool found = false;
    for (size_t i = 0; i < WEIR_COUNT(commands); i++) {
        if (commands[i].subcommand == NULL || strcmp(commands[i].name, group) != 0)
            continue;
        if (!found)
            printf("usage: weir %s SUBCOMMAND [OPTIONS]\n\n", group);
        print_line(stdout, &commands[i]);
        found = true;
    }
    return found;
}
