/* main.c -- the `weir` command: which words call what. */
#include "cli/cli.h"

#include "cli/help.h"

#include <getopt.h>
#include <stdlib.h>

static int parse_options(int argc, char **argv, cli_options_t *ret, bool *ret_help)
{
    static const struct option longs[] = {
        { "conf", required_argument, NULL, 'c' },
        { "prefix", required_argument, NULL, 'p' },
        { "yes", no_argument, NULL, 'y' },
        { "force", no_argument, NULL, 'f' },
        { "timeout", required_argument, NULL, 't' },
        { "help", no_argument, NULL, 'h' },
        { 0 },
    };
    int option = 0;
    int64_t seconds = 0;
    while ((option = getopt_long(argc, argv, "c:p:yft:h", longs, NULL)) != -1) {
        switch (option) {
        case 'c':
            ret->file = optarg;
            break;
        case 'p':
            ret->prefix = optarg;
            break;
        case 'y':
            ret->yes = true;
            break;
        case 'f':
            ret->force = true;
            break;
        case 't':
            if (weir_parse_int64(weir_str(optarg), 1, 86400, &seconds) != WEIR_OK) {
                fprintf(stderr, "weir: -t takes seconds, got \"%s\"\n", optarg);
                return EXIT_USAGE;
            }
            ret->timeout_s = (int)seconds;
            break;
        case 'h':
            *ret_help = true;
            break;
        default:
            return EXIT_USAGE; /* getopt has said why */
        }
    }
    ret->argument_count = argc - optind;
    ret->arguments = argv + optind;
    return EXIT_OK;
}

int main(int argc, char **argv)
{
    cli_options_t options = { 0 };
    bool help = false;
    if (parse_options(argc, argv, &options, &help) != EXIT_OK)
        return EXIT_USAGE;
    if (options.argument_count == 0) {
        cli_print_help(help ? stdout : stderr);
        return help ? EXIT_OK : EXIT_USAGE;
    }
    const cli_command_t *command = cli_find_command(&options);
    if (help && command == NULL && cli_print_group_help(options.arguments[0]))
        return EXIT_OK;
    if (command == NULL) {
        fprintf(stderr, "weir: there is no command \"%s%s%s\"; weir --help lists them\n",
                options.arguments[0], options.argument_count > 1 ? " " : "",
                options.argument_count > 1 ? options.arguments[1] : "");
        return EXIT_USAGE;
    }
    if (help) {
        cli_print_command_help(command);
        return EXIT_OK;
    }
    int words = command->subcommand != NULL ? 2 : 1;
    options.argument_count -= words;
    options.arguments += words;
    if (options.argument_count > command->arguments_max) {
        fprintf(stderr, "weir: %s: too many arguments, at \"%s\"\n", command->name,
                options.arguments[command->arguments_max]);
        return EXIT_USAGE;
    }
    return command->run(&options);
}
