/* image_edit.c -- changes the image of a data plane behind its agent's back, as a fault
 * would: for tests of healing. Stop the agent first, or be quick.
 *
 *   weir-image-edit IMAGE delete TYPE ID
 *   weir-image-edit IMAGE put TYPE ID JSON */
#include "image/image.h"

#include "base/json.h"

#include <stdio.h>
#include <string.h>

static int change(weir_image_t *image, const char *type, const char *id_text, const char *json,
                  weir_error_t *err)
{
    weir_image_state_t state;
    weir_batch_t *batch = NULL;
    weir_uuid_t id;
    WEIR_AUTO(json) weir_json_t *row = NULL;
    int rc = weir_uuid_parse(weir_str(id_text), &id);
    if (rc != WEIR_OK)
        return weir_error_set(err, rc, "id", "is no UUID");
    if (json != NULL)
        rc = weir_json_parse(weir_str(json), &row, err);
    if (rc == WEIR_OK)
        rc = weir_image_state(image, &state, err);
    if (rc == WEIR_OK)
        rc = weir_batch_begin(image, false, state.version, &batch, err);
    if (rc != WEIR_OK)
        return rc;
    rc = row != NULL ? weir_batch_put_told(batch, weir_str(type), &id, row, NULL, err)
                     : weir_batch_delete_id(batch, weir_str(type), &id, err);
    if (rc == WEIR_OK)
        return weir_batch_commit(batch, state.committed_ms, err);
    weir_batch_abort(batch);
    return rc;
}

int main(int argc, char **argv)
{
    weir_image_t *image = NULL;
    weir_error_t err = { 0 };
    bool put = argc == 6 && strcmp(argv[2], "put") == 0;
    if (!put && (argc != 5 || strcmp(argv[2], "delete") != 0)) {
        fprintf(stderr, "usage: %s IMAGE delete TYPE ID | IMAGE put TYPE ID JSON\n", argv[0]);
        return 2;
    }
    weir_image_options_t options = {
        .path = argv[1], .map_bytes = 1 << 26, .readers_max = 126, .sync = true
    };
    int rc = weir_image_open(&options, &image, &err);
    if (rc == WEIR_OK)
        rc = change(image, argv[3], argv[4], put ? argv[5] : NULL, &err);
    weir_image_close(image);
    if (rc != WEIR_OK)
        fprintf(stderr, "%s: %s\n", argv[0], err.reason);
    return rc == WEIR_OK ? 0 : 1;
}
