/* image_load.c -- test tool: fills an image from a declarative configuration.
 *
 * usage: image-load DIRECTORY VERSION < CONFIG.json
 * The whole set is replaced. Flat lists only, references as id strings, as in the
 * corpus. Says on standard error what is quarantined. */
#include "base/clock.h"
#include "base/json.h"
#include "image/image.h"
#include "plugins/record.h"

#include <stdio.h>

enum { CONFIG_BYTES_MAX = 64 * 1024 * 1024, MAP_BYTES = 1024 * 1024 * 1024, READERS = 128 };

static int fail(const char *what, const weir_error_t *err)
{
    fprintf(stderr, "image-load: %s: %s %s\n", what, err->field, err->reason);
    return 1;
}

static int read_config(weir_json_t **ret, weir_error_t *err)
{
    weir_buffer_t text;
    weir_buffer_init(&text, CONFIG_BYTES_MAX);
    char piece[65536];
    size_t got;
    while ((got = fread(piece, 1, sizeof(piece), stdin)) > 0)
        weir_buffer_append(&text, (weir_str_t){ piece, got });
    int rc = weir_json_parse(weir_buffer_str(&text), ret, err);
    weir_buffer_release(&text);
    return rc;
}

/* "ID" -> {"id":"ID"} */
static int expand_references(const weir_schema_t *schema, weir_json_t *row)
{
    for (const weir_field_t *field = schema->fields; field->name != NULL; field++) {
        const weir_json_t *value = weir_json_get(row, field->name);
        if (field->type != WEIR_TYPE_FOREIGN || weir_json_kind(value) != WEIR_JSON_STRING)
            continue;
        weir_json_t *reference = weir_json_new_object();
        int rc = reference != NULL
                     ? weir_json_set(reference, "id", weir_json_new_string(weir_json_string(value)))
                     : WEIR_NO_MEMORY;
        if (rc == WEIR_OK)
            rc = weir_json_set(row, field->name, reference);
        if (rc != WEIR_OK)
            return rc;
    }
    return WEIR_OK;
}

static int put_all(weir_batch_t *batch, const weir_schema_t *schema, weir_json_t *rows,
                   weir_error_t *err)
{
    int rc = WEIR_OK;
    for (weir_json_t *row = weir_json_first_mutable(rows); rc == WEIR_OK && row != NULL;
         row = weir_json_next_mutable(row)) {
        rc = expand_references(schema, row);
        if (rc == WEIR_OK)
            rc = weir_batch_put(batch, weir_str(schema->name), row, err);
    }
    return rc;
}

static int load(weir_image_t *image, uint64_t version, weir_json_t *config, weir_error_t *err)
{
    weir_batch_t *batch = NULL;
    size_t count = 0;
    const weir_entity_type_t *order = weir_schema_order(&count);
    int rc = weir_batch_begin(image, true, version, &batch, err);
    for (size_t i = 0; rc == WEIR_OK && i < count; i++) {
        const weir_schema_t *schema = weir_schema(order[i]);
        rc = put_all(batch, schema, weir_json_get_mutable(config, schema->name), err);
    }
    if (rc == WEIR_OK)
        return weir_batch_commit(batch, weir_clock_ms(), err);
    weir_batch_abort(batch);
    return rc;
}

static int say(void *context, const weir_quarantined_t *entry)
{
    (void)context;
    fprintf(stderr, "quarantined %.*s %.*s: %.*s %.*s\n", WEIR_STR_ARG(entry->type),
            WEIR_STR_ARG(entry->id), WEIR_STR_ARG(entry->field), WEIR_STR_ARG(entry->reason));
    return WEIR_OK;
}

int main(int argc, char **argv)
{
    weir_error_t err = { 0 };
    weir_json_t *config = NULL;
    weir_image_t *image = NULL;
    int64_t version = 0;
    if (argc != 3 || weir_parse_int64(weir_str(argv[2]), 1, INT64_MAX, &version) != WEIR_OK) {
        fprintf(stderr, "usage: image-load DIRECTORY VERSION < CONFIG.json\n");
        return 2;
    }
    weir_image_options_t options = {
        .path = argv[1],
        .map_bytes = MAP_BYTES,
        .readers_max = READERS,
        .compile_plugin = weir_plugin_compile,
    };
    if (read_config(&config, &err) != WEIR_OK)
        return fail("standard input", &err);
    if (weir_image_open(&options, &image, &err) != WEIR_OK)
        return fail(argv[1], &err);
    int rc = load(image, (uint64_t)version, config, &err);
    if (rc == WEIR_OK)
        rc = weir_image_quarantined(image, say, NULL, &err);
    weir_image_close(image);
    weir_json_free(config);
    return rc == WEIR_OK ? 0 : fail("load", &err);
}
