/* help.h -- the table of commands, and what --help says about them. */
#ifndef WEIR_CLI_HELP_H
#define WEIR_CLI_HELP_H

#include "cli/cli.h"

typedef struct cli_command {
    const char *name;
    const char *subcommand; /* NULL: none */
    int arguments_max;
    int (*run)(const cli_options_t *options);
    const char *arguments; /* as shown in the usage line */
    const char *summary;
    const char *text; /* more, for its own --help */
} cli_command_t;

/* By the first words of the arguments; NULL if there is none. */
const cli_command_t *cli_find_command(const cli_options_t *options);
void cli_print_help(FILE *out);
void cli_print_command_help(const cli_command_t *command);
/* Of "migrations", "hybrid", "sync"; and the list of settings for "settings".
 * False: no such group. */
bool cli_print_group_help(const char *group);

#endif
