/* settings_fuzz.c -- a settings file of any bytes is read or refused; what was
 * read is written and read again as the same. */
#include "base/buffer.h"
#include "base/settings_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_all(const char *path, const uint8_t *data, size_t size)
{
    FILE *file = fopen(path, "w");
    weir_assert(file != NULL);
    weir_assert(fwrite(data, 1, size, file) == size);
    fclose(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    snprintf(path, sizeof(path), "/dev/shm/weir-fuzz-settings-%d", (int)getpid());
    write_all(path, data, size);
    weir_settings_t *settings = NULL;
    weir_error_t err = { 0 };
    if (weir_settings_load(path, NULL, NULL, &settings, &err) != WEIR_OK) {
        weir_assert(err.reason[0] != '\0');
        unlink(path);
        return 0;
    }
    weir_settings_t *again = NULL;
    weir_assert(weir_settings_save(settings, path, &err) == WEIR_OK);
    weir_assert(weir_settings_load(path, NULL, NULL, &again, &err) == WEIR_OK);
    for (size_t i = 0; i < weir_setting_table_count; i++)
        weir_assert(strcmp(settings->values[i].text, again->values[i].text) == 0);
    weir_settings_free(settings);
    weir_settings_free(again);
    unlink(path);
    return 0;
}
