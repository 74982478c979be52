/* check.c -- `weir check` and `weir version`. */
#include "cli/cli.h"

static void warn(void *context, const char *name)
{
    (void)context;
    printf("warning: %s has no effect in Weir\n", name);
}

int cli_check(const cli_options_t *options)
{
    weir_settings_t *settings = NULL;
    weir_error_t err = { 0 };
    const char *file = options->argument_count > 0 ? options->arguments[0] : options->file;
    if (file == NULL) {
        fputs("usage: weir check FILE\n", stderr);
        return EXIT_USAGE;
    }
    if (weir_settings_load(file, NULL, options->prefix, &settings, &err) != WEIR_OK)
        return cli_fail(&err);
    weir_settings_without_effect(settings, warn, NULL);
    printf("%s is good\n", file);
    weir_settings_free(settings);
    return EXIT_OK;
}

int cli_version(const cli_options_t *options)
{
    (void)options;
    puts("weir " WEIR_VERSION);
    return EXIT_OK;
}
